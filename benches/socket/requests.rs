//! Request and reply beside plain messages that go to and fro.

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use lanpeer::{Bytes, Connection, Peer};

use crate::peers::peer;

/// Bytes of requests and replies.
const SMALL: usize = 64;
/// Threads that ask at once.
const THREADS: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(60);

/// How the other side takes what comes.
#[derive(Clone, Copy)]
pub enum By {
    /// Messages, by a loop of `recv` on both sides; by a handler.
    Recv,
    Handler,
    /// Requests, by a loop over `requests`; by `accept_serving`.
    Requests,
    Serving,
}

pub const ALL: [(&str, By); 4] = [
    ("messages, recv", By::Recv),
    ("messages, handler", By::Handler),
    ("requests, a loop", By::Requests),
    ("requests, accept_serving", By::Serving),
];

impl By {
    fn asks(self) -> bool {
        matches!(self, By::Requests | By::Serving)
    }

    fn once(self, conn: &Connection<Bytes>) {
        match self.asks() {
            true => drop(black_box(
                conn.request(&[0; SMALL], TIMEOUT).expect("a reply"),
            )),
            false => {
                conn.send(&[0; SMALL]).expect("sent");
                black_box(conn.recv().expect("an answer"));
            }
        }
    }
}

/// Serves so many connections.
fn serve(by: By, bob: &Peer, count: usize) -> Vec<thread::JoinHandle<()>> {
    let mut offers = bob.incoming();
    let mut threads = Vec::new();
    for _ in 0..count {
        let offer = offers.next().expect("an offer");
        threads.push(match by {
            By::Handler => {
                let echo = |conn: &Connection<Bytes>, item: Vec<u8>| {
                    let _ = conn.send(&item);
                };
                drop(offer.accept_with(echo).expect("accepted"));
                continue;
            }
            By::Serving => {
                let answer = |request: lanpeer::Request<Bytes>| {
                    let _ = request.reply(request.item());
                };
                drop(offer.accept_serving(answer).expect("accepted"));
                continue;
            }
            By::Recv => {
                let conn = offer.accept::<Bytes>().expect("accepted");
                thread::spawn(move || {
                    for message in &conn {
                        let _ = conn.send(&message);
                    }
                })
            }
            By::Requests => {
                let conn = offer.accept::<Bytes>().expect("accepted");
                thread::spawn(move || {
                    for request in conn.requests() {
                        let _ = request.reply(request.item());
                    }
                })
            }
        });
    }
    threads
}

/// Seconds of each round trip.
pub fn round_trips(by: By, count: usize) -> Vec<f64> {
    let (bob, alice) = (peer(), peer());
    let addr = bob.local_addr();
    let serving = thread::spawn(move || (serve(by, &bob, 1), bob));
    let conn = alice.connect::<Bytes>(addr).expect("connected");
    let (threads, bob) = serving.join().expect("served");
    let times = (0..count).map(|_| {
        let begin = Instant::now();
        by.once(&conn);
        begin.elapsed().as_secs_f64()
    });
    let times = times.collect();
    conn.close().expect("closed");
    for thread in threads {
        thread.join().expect("the server");
    }
    drop(bob);
    times
}

/// Round trips per second of so many threads: of one connection for all where they ask, of one for each
/// where they send.
pub fn many(by: By, each: usize) -> f64 {
    let (bob, alice) = (peer(), peer());
    let addr = bob.local_addr();
    let count = if by.asks() { 1 } else { THREADS };
    let serving = thread::spawn(move || (serve(by, &bob, count), bob));
    let conns: Vec<_> = (0..count)
        .map(|_| alice.connect::<Bytes>(addr).expect("connected"))
        .collect();
    let (threads, bob) = serving.join().expect("served");
    let ready = Arc::new(Barrier::new(THREADS + 1));
    let asking: Vec<_> = (0..THREADS)
        .map(|i| {
            let (conn, ready) = (conns[i % count].clone(), Arc::clone(&ready));
            thread::spawn(move || {
                ready.wait();
                for _ in 0..each {
                    by.once(&conn);
                }
            })
        })
        .collect();
    ready.wait();
    let begin = Instant::now();
    for asking in asking {
        asking.join().expect("asked");
    }
    let time = begin.elapsed().as_secs_f64();
    for conn in conns {
        conn.close().expect("closed");
    }
    for thread in threads {
        thread.join().expect("the server");
    }
    drop(bob);
    (THREADS * each) as f64 / time
}
