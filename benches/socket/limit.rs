//! The limit: the best simple blocking program that we know over a bare `TcpStream`, with headers
//! of the same size. It knows the size of each message beforehand, and never looks at a header.

use std::hint::black_box;
use std::io::{IoSlice, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::program::{Blob, Form, JsonText, MessagePack, Program, RECEIVERS, Reading, What};

pub const HEADER: usize = 128;
/// Writes and reads are gathered up to this.
const BUFFER: usize = 256 << 10;

pub struct Limit;

impl Program for Limit {
    fn name(&self) -> &'static str {
        "limit"
    }

    fn one_way(&self, what: What, count: usize) -> Option<Duration> {
        Some(match what {
            What::Bytes(size) => one_way::<Blob>(vec![7; size], 1, count),
            What::MessagePack => one_way::<MessagePack>(Reading::example(), 1, count),
            What::Json => one_way::<JsonText>(Reading::example(), 1, count),
        })
    }

    fn broadcast(&self, size: usize, count: usize) -> Option<Duration> {
        Some(one_way::<Blob>(vec![7; size], RECEIVERS, count))
    }

    fn round_trip(&self, count: usize) -> Option<Vec<f64>> {
        let (mut socket, mut other) = pair();
        let echo = thread::spawn(move || {
            let mut message = [0; HEADER + 64];
            while other.read_exact(&mut message).is_ok() {
                other.write_all(&message).expect("written");
            }
        });
        let mut message = [0; HEADER + 64];
        let times = (0..count).map(|_| {
            let begin = Instant::now();
            socket.write_all(&message).expect("written");
            socket.read_exact(&mut message).expect("read");
            begin.elapsed().as_secs_f64()
        });
        let times = times.collect();
        drop(socket);
        echo.join().expect("the echo");
        Some(times)
    }

    fn spinning(&self, count: usize) -> Option<Vec<f64>> {
        // It always blocks: what spinning is compared with.
        self.round_trip(count)
    }

    fn connect(&self, count: usize) -> Option<Vec<f64>> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("its address");
        let accepting = thread::spawn(move || {
            for _ in 0..count {
                let (mut other, _) = listener.accept().expect("accepted");
                let mut hello = [0; HEADER];
                other.read_exact(&mut hello).expect("read");
                other.write_all(&hello).expect("written");
                assert_eq!(other.read(&mut hello).expect("read"), 0);
            }
        });
        let times = (0..count).map(|_| {
            let begin = Instant::now();
            let mut socket = TcpStream::connect(addr).expect("connected");
            let mut hello = [b'|'; HEADER];
            socket.write_all(&hello).expect("written");
            socket.read_exact(&mut hello).expect("read");
            socket.shutdown(Shutdown::Write).expect("shut down");
            assert_eq!(socket.read(&mut hello).expect("read"), 0);
            begin.elapsed().as_secs_f64()
        });
        let times = times.collect();
        accepting.join().expect("the other side");
        Some(times)
    }
}

/// The same messages to each of `receivers` sockets.
fn one_way<F: Form>(item: F::Item, receivers: usize, count: usize) -> Duration {
    let mut one = Vec::new();
    F::encode(&item, &mut one);
    let size = one.len();
    let ready = Arc::new(Barrier::new(receivers + 2));
    let mut sockets = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..receivers {
        let (socket, other) = pair();
        sockets.push(socket);
        let ready = Arc::clone(&ready);
        readers.push(thread::spawn(move || {
            ready.wait();
            read_all::<F>(other, size, count);
        }));
    }
    let ready_too = Arc::clone(&ready);
    let sender = thread::spawn(move || {
        ready_too.wait();
        if size >= BUFFER {
            write_each(&mut sockets, &one, count);
        } else {
            write_gathered::<F>(&mut sockets, &item, size, count);
        }
    });
    ready.wait();
    let begin = Instant::now();
    for reader in readers {
        reader.join().expect("a reader");
    }
    let time = begin.elapsed();
    sender.join().expect("the sender");
    time
}

/// Each socket has a buffer of its own, as where some connections get more than the broadcasts.
fn write_gathered<F: Form>(sockets: &mut [TcpStream], item: &F::Item, size: usize, count: usize) {
    let header = [b'|'; HEADER];
    let mut buffers: Vec<_> = sockets
        .iter_mut()
        .map(|socket| (socket, Vec::with_capacity(BUFFER)))
        .collect();
    let mut payload = Vec::new();
    for _ in 0..count {
        if buffers.len() > 1 {
            payload.clear();
            F::encode(black_box(item), &mut payload);
        }
        for (socket, buffer) in &mut buffers {
            if buffer.len() + HEADER + size > BUFFER {
                socket.write_all(buffer).expect("written");
                buffer.clear();
            }
            buffer.extend_from_slice(&header);
            if payload.is_empty() {
                F::encode(black_box(item), buffer);
            } else {
                buffer.extend_from_slice(&payload);
            }
        }
    }
    for (socket, buffer) in &mut buffers {
        socket.write_all(buffer).expect("written");
    }
}

/// Large messages: the payload is written from where it is.
fn write_each(sockets: &mut [TcpStream], payload: &[u8], count: usize) {
    let header = [b'|'; HEADER];
    for _ in 0..count {
        for socket in &mut *sockets {
            let both = [IoSlice::new(&header), IoSlice::new(payload)];
            let written = socket.write_vectored(&both).expect("written");
            let rest = written.checked_sub(HEADER).expect("more than the header");
            socket.write_all(&payload[rest..]).expect("written");
        }
    }
}

fn read_all<F: Form>(mut socket: TcpStream, size: usize, count: usize) {
    let whole = HEADER + size;
    let mut buffer = vec![0; BUFFER.max(whole)];
    let (mut have, mut seen) = (0, 0);
    while seen < count {
        have += socket.read(&mut buffer[have..]).expect("read");
        let mut messages = buffer[..have].chunks_exact(whole);
        for message in &mut messages {
            F::consume(&message[HEADER..]);
            seen += 1;
        }
        let rest = messages.remainder().len();
        buffer.copy_within(have - rest..have, 0);
        have = rest;
    }
}

/// Two ends of one connection.
pub fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("its address");
    let socket = TcpStream::connect(addr).expect("connected");
    let (other, _) = listener.accept().expect("accepted");
    for socket in [&socket, &other] {
        socket.set_nodelay(true).expect("nodelay");
    }
    (socket, other)
}
