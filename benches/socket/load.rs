//! Latency under load: requests and replies on one connection while others stream at full speed.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lanpeer::crossbeam_channel::bounded;
use lanpeer::{Bytes, Connection};

use crate::limit::{HEADER, pair};
use crate::peers::{By, peer};

/// Connections that stream.
pub const OTHERS: usize = 15;
/// Bytes of each of their messages.
pub const SIZE: usize = 4 << 10;
/// Bytes of requests and replies.
const SMALL: usize = 64;
const TIME: Duration = Duration::from_secs(2);

pub struct Load {
    /// Seconds of each request and reply, and of the `send` in it.
    pub round_trips: Vec<f64>,
    pub sends: Vec<f64>,
    /// Bytes per second that the others received in all.
    pub others: f64,
}

/// What the threads of one run share.
#[derive(Default)]
struct Shared {
    over: AtomicBool,
    received: AtomicU64,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn count(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Times requests and replies until [`TIME`] is over.
#[derive(Default)]
struct Clock {
    begin: Option<Instant>,
    round_trips: Vec<f64>,
    sends: Vec<f64>,
}

impl Clock {
    fn send(&mut self, send: impl FnOnce()) {
        let begin = Instant::now();
        send();
        self.sends.push(begin.elapsed().as_secs_f64());
        self.begin = Some(begin);
    }

    fn reply(&mut self) {
        let begin = self.begin.take();
        let time = begin.map(|begin| begin.elapsed().as_secs_f64());
        self.round_trips.extend(time);
    }
}

pub fn limit() -> Load {
    let shared = Arc::new(Shared::default());
    let mut threads = Vec::new();
    for _ in 0..OTHERS {
        let (mut socket, mut other) = pair();
        let (writing, reading) = (Arc::clone(&shared), Arc::clone(&shared));
        threads.push(thread::spawn(move || {
            let message = [&[b'|'; HEADER][..], &[7; SIZE]].concat();
            let mut buffer = Vec::new();
            while !writing.is_over() {
                buffer.clear();
                for _ in 0..60 {
                    buffer.extend_from_slice(&message);
                }
                socket.write_all(&buffer).expect("written");
            }
        }));
        threads.push(thread::spawn(move || {
            let mut buffer = vec![0; 256 << 10];
            while let Ok(n @ 1..) = other.read(&mut buffer) {
                reading.count(n * SIZE / (HEADER + SIZE));
            }
        }));
    }
    let (mut socket, mut other) = pair();
    let echo = thread::spawn(move || {
        let mut message = [0; HEADER + SMALL];
        while other.read_exact(&mut message).is_ok() {
            other.write_all(&message).expect("written");
        }
    });
    let begin = Instant::now();
    let mut clock = Clock::default();
    let mut message = [0; HEADER + SMALL];
    while begin.elapsed() < TIME {
        clock.send(|| socket.write_all(&message).expect("written"));
        socket.read_exact(&mut message).expect("read");
        clock.reply();
    }
    drop(socket);
    threads.push(echo);
    finish(&shared, begin, clock, threads)
}

pub fn lanpeer(by: By) -> Load {
    let shared = Arc::new(Shared::default());
    let (bob, alice) = (peer(), peer());
    let addr = bob.local_addr();
    let mut threads = Vec::new();

    let (receiving, offers) = (Arc::clone(&shared), bob.incoming());
    let accepting = thread::spawn(move || {
        let mut receivers = Vec::new();
        for (i, offer) in offers.take(OTHERS + 1).enumerate() {
            let shared = Arc::clone(&receiving);
            let take = move |conn: &Connection<Bytes>, message: Vec<u8>| match i {
                0 => conn.send(&message).expect("sent"),
                _ => shared.count(message.len()),
            };
            match by {
                By::Handler => drop(offer.accept_with(take).expect("accepted")),
                By::Recv => {
                    let conn = offer.accept::<Bytes>().expect("accepted");
                    receivers.push(thread::spawn(move || {
                        for message in &conn {
                            take(&conn, message);
                        }
                    }));
                }
            }
        }
        for receiver in receivers {
            receiver.join().expect("a receiver");
        }
    });
    // The first connection is the one of requests and replies.
    let (told, done) = bounded(1);
    let (go, may_go) = bounded::<Instant>(1);
    let mut clock = Clock::default();
    let mut begin = None;
    let on_reply = move |conn: &Connection<Bytes>, message: Vec<u8>| {
        clock.reply();
        let begin = *begin.get_or_insert_with(|| may_go.recv().expect("the beginning"));
        if begin.elapsed() < TIME {
            clock.send(|| conn.send(&message).expect("sent"));
        } else {
            let _ = told.send(std::mem::take(&mut clock));
        }
    };
    let conn = match by {
        By::Handler => alice.connect_with::<Bytes>(addr, on_reply),
        By::Recv => alice.connect::<Bytes>(addr),
    };
    let conn = conn.expect("connected");
    for _ in 0..OTHERS {
        let (shared, alice) = (Arc::clone(&shared), alice.clone());
        let conn = alice.connect::<Bytes>(addr).expect("connected");
        threads.push(thread::spawn(move || {
            let message = vec![7; SIZE];
            while !shared.is_over() {
                conn.send(&message).expect("sent");
            }
            conn.close().expect("closed");
        }));
    }
    let begin = Instant::now();
    let clock = match by {
        By::Handler => {
            go.send(begin).expect("told");
            conn.send(&[7; SMALL]).expect("sent");
            done.recv().expect("the times")
        }
        By::Recv => {
            let mut clock = Clock::default();
            while begin.elapsed() < TIME {
                clock.send(|| conn.send(&[7; SMALL]).expect("sent"));
                conn.recv().expect("a reply");
                clock.reply();
            }
            clock
        }
    };
    let load = finish(&shared, begin, clock, threads);
    conn.close().expect("closed");
    accepting.join().expect("the other side");
    load
}

fn finish(shared: &Shared, begin: Instant, clock: Clock, threads: Vec<JoinHandle<()>>) -> Load {
    let received = shared.received.load(Ordering::Relaxed) as f64;
    let others = received / begin.elapsed().as_secs_f64();
    shared.over.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("a thread");
    }
    Load {
        round_trips: clock.round_trips,
        sends: clock.sends,
        others,
    }
}
