//! The limit: the best simple blocking program that we know over a bare `TcpStream`, with headers
//! as lanpeer's: the size of a message, in decimal digits, and padding. It reads them as it must to
//! find the messages, and checks nothing.

use std::hint::black_box;
use std::io::{IoSlice, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::program::{Blob, Form, JsonText, MessagePack, Program, RECEIVERS, Reading, What};

pub const HEADER: usize = 128;
const BEFORE_SIZE: &str = "DATA|data_size=";
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
    let ready = Arc::new(Barrier::new(receivers + 2));
    let mut sockets = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..receivers {
        let (socket, other) = pair();
        sockets.push(socket);
        let ready = Arc::clone(&ready);
        readers.push(thread::spawn(move || {
            ready.wait();
            read_all::<F>(other, count);
        }));
    }
    let ready_too = Arc::clone(&ready);
    let sender = thread::spawn(move || {
        ready_too.wait();
        if one.len() >= BUFFER {
            write_each(&mut sockets, &one, count);
        } else if receivers == 1 {
            write_one::<F>(&mut sockets[0], &item, count);
        } else {
            write_gathered::<F>(&mut sockets, &item, count);
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

/// The header of the last message: most are as large as the one before.
struct Header {
    size: usize,
    text: [u8; HEADER],
}

impl Header {
    fn new() -> Header {
        Header {
            size: usize::MAX,
            text: [b'|'; HEADER],
        }
    }

    fn of(&mut self, size: usize) -> &[u8; HEADER] {
        if self.size != size {
            self.size = size;
            self.text = [b'|'; HEADER];
            write!(&mut self.text[..], "{BEFORE_SIZE}{size}&data_type=bytes").expect("room");
        }
        &self.text
    }
}

/// The size that a header says.
fn size_in(header: &[u8]) -> usize {
    let digits = header[BEFORE_SIZE.len()..].iter();
    let digits = digits.take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |size, digit| size * 10 + usize::from(digit - b'0'))
}

/// Encoded where it is written from.
fn write_one<F: Form>(socket: &mut TcpStream, item: &F::Item, count: usize) {
    let mut header = Header::new();
    let mut buffer = Vec::with_capacity(BUFFER + BUFFER / 4);
    for _ in 0..count {
        let begin = buffer.len();
        buffer.extend_from_slice(&header.text);
        F::encode(black_box(item), &mut buffer);
        let size = buffer.len() - begin - HEADER;
        if size != header.size {
            buffer[begin..begin + HEADER].copy_from_slice(header.of(size));
        }
        if buffer.len() >= BUFFER {
            socket.write_all(&buffer).expect("written");
            buffer.clear();
        }
    }
    socket.write_all(&buffer).expect("written");
}

/// Encoded once. Each socket has a buffer of its own, as where some get more than the broadcasts.
fn write_gathered<F: Form>(sockets: &mut [TcpStream], item: &F::Item, count: usize) {
    let mut header = Header::new();
    let mut buffers: Vec<_> = sockets
        .iter_mut()
        .map(|socket| (socket, Vec::with_capacity(BUFFER + BUFFER / 4)))
        .collect();
    let mut payload = Vec::new();
    for _ in 0..count {
        payload.clear();
        F::encode(black_box(item), &mut payload);
        let header = header.of(payload.len());
        for (socket, buffer) in &mut buffers {
            buffer.extend_from_slice(header);
            buffer.extend_from_slice(&payload);
            if buffer.len() >= BUFFER {
                socket.write_all(buffer).expect("written");
                buffer.clear();
            }
        }
    }
    for (socket, buffer) in &mut buffers {
        socket.write_all(buffer).expect("written");
    }
}

/// Large messages: the payload is written from where it is.
fn write_each(sockets: &mut [TcpStream], payload: &[u8], count: usize) {
    let mut header = Header::new();
    let header = header.of(payload.len());
    for _ in 0..count {
        for socket in &mut *sockets {
            let both = [IoSlice::new(header), IoSlice::new(payload)];
            let written = socket.write_vectored(&both).expect("written");
            let rest = written.checked_sub(HEADER).expect("more than the header");
            socket.write_all(&payload[rest..]).expect("written");
        }
    }
}

fn read_all<F: Form>(mut socket: TcpStream, count: usize) {
    let mut buffer = vec![0; BUFFER];
    let (mut begin, mut end, mut seen) = (0, 0, 0);
    loop {
        let mut whole = HEADER;
        while end - begin >= whole {
            whole = HEADER + size_in(&buffer[begin..begin + HEADER]);
            if end - begin < whole {
                break;
            }
            F::consume(&buffer[begin + HEADER..begin + whole]);
            begin += whole;
            whole = HEADER;
            seen += 1;
        }
        if seen == count {
            return;
        }
        buffer.copy_within(begin..end, 0);
        (begin, end) = (0, end - begin);
        if whole > buffer.len() {
            buffer.resize(whole, 0);
        }
        let read = socket.read(&mut buffer[end..]).expect("read");
        assert!(read > 0, "more messages were announced");
        end += read;
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
