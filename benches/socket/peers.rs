//! The same by lanpeer: a plain loop of `send`, received by a handler or by a plain loop of `recv`,
//! with default options.

use std::any::Any;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use lanpeer::crossbeam_channel::{bounded, unbounded};
use lanpeer::{Bytes, Connection, Peer};

use crate::link::Watch;
use crate::program::{
    Blob, Form, JsonText, MessagePack, Program, RECEIVERS, Reading, Served, What,
};

/// How long threads look for messages before they sleep, where spinning is asked for.
const SPIN: Duration = Duration::from_micros(50);

/// What takes the messages.
#[derive(Clone, Copy)]
pub enum By {
    /// A handler.
    Handler,
    /// A loop of `recv`.
    Recv,
}

impl Program for By {
    fn name(&self) -> &'static str {
        match self {
            By::Handler => "handler",
            By::Recv => "recv",
        }
    }

    fn one_way(&self, what: What, count: usize) -> Option<Duration> {
        Some(one_way(what, *self, count))
    }

    fn broadcast(&self, size: usize, count: usize) -> Option<Duration> {
        Some(broadcast(size, *self, count))
    }

    fn round_trip(&self, count: usize) -> Option<Vec<f64>> {
        Some(answered(*self, Duration::ZERO, count))
    }

    fn spinning(&self, count: usize) -> Option<Vec<f64>> {
        Some(answered(*self, SPIN, count))
    }

    fn connect(&self, count: usize) -> Option<Vec<f64>> {
        Some(connect(*self, count))
    }

    fn link_receive(
        &self,
        ip: &str,
        _size: usize,
        count: usize,
        tell: &mut dyn FnMut(SocketAddr),
    ) -> Option<f64> {
        Some(link_receive(*self, ip, count, tell))
    }

    fn link_send(&self, addr: SocketAddr, size: usize, count: usize) {
        link_send(addr, size, count);
    }

    fn serve(&self) -> Option<Served> {
        Some(serve(*self))
    }

    fn dial(&self, addr: SocketAddr, count: usize) -> Box<dyn Any> {
        dial(addr, count)
    }
}

fn one_way(what: What, by: By, count: usize) -> Duration {
    match what {
        What::Bytes(size) => one_way_of::<Blob>(vec![7; size], by, count),
        What::MessagePack => one_way_of::<MessagePack>(Reading::example(), by, count),
        What::Json => one_way_of::<JsonText>(Reading::example(), by, count),
    }
}

fn one_way_of<F: Form>(item: F::Item, by: By, count: usize) -> Duration {
    let (bob, alice) = (peer(), peer());
    let addr = bob.local_addr();
    let ready = Arc::new(Barrier::new(3));
    let receiving = receive::<F>(&bob, by, count, &ready);
    let ready_too = Arc::clone(&ready);
    let sender = thread::spawn(move || {
        let conn = alice.connect::<F::Format>(addr).expect("connected");
        ready_too.wait();
        for _ in 0..count {
            conn.send(black_box(&item)).expect("sent");
        }
        conn.close().expect("closed");
    });
    ready.wait();
    let begin = Instant::now();
    receiving.wait();
    let time = begin.elapsed();
    sender.join().expect("the sender");
    time
}

fn broadcast(size: usize, by: By, count: usize) -> Duration {
    let (bob, alice) = (peer(), peer());
    let addr = bob.local_addr();
    let ready = Arc::new(Barrier::new(RECEIVERS + 2));
    let receiving: Vec<Receiving> = (0..RECEIVERS)
        .map(|_| receive::<Blob>(&bob, by, count, &ready))
        .collect();
    let ready_too = Arc::clone(&ready);
    let sender = thread::spawn(move || {
        let conns: Vec<_> = (0..RECEIVERS)
            .map(|_| alice.connect::<Bytes>(addr).expect("connected"))
            .collect();
        let payload = vec![7; size];
        ready_too.wait();
        for _ in 0..count {
            // `broadcast` never waits, so it would leave out who is full.
            let report = alice.broadcast_timeout::<Bytes>(&payload, Duration::from_secs(60));
            assert_eq!(report.expect("sent").sent.len(), RECEIVERS);
        }
        for conn in conns {
            conn.close().expect("closed");
        }
    });
    ready.wait();
    let begin = Instant::now();
    for receiving in receiving {
        receiving.wait();
    }
    let time = begin.elapsed();
    sender.join().expect("the sender");
    time
}

/// A thread that accepts one offer, waits at the barrier, and sees to it that the messages come.
struct Receiving(thread::JoinHandle<()>);

impl Receiving {
    fn wait(self) {
        self.0.join().expect("a receiver");
    }
}

fn receive<F: Form>(bob: &Peer, by: By, count: usize, ready: &Arc<Barrier>) -> Receiving {
    let (bob, ready) = (bob.clone(), Arc::clone(ready));
    Receiving(thread::spawn(move || match by {
        By::Recv => {
            let conn = bob.accept::<F::Format>().expect("accepted");
            ready.wait();
            for _ in 0..count {
                black_box(conn.recv().expect("a message"));
            }
        }
        By::Handler => {
            let (told, done) = bounded(1);
            let mut seen = 0;
            let offer = bob.incoming().next().expect("an offer");
            let conn = offer.accept_with::<F::Format>(move |_, item| {
                black_box(item);
                seen += 1;
                if seen == count {
                    told.send(()).expect("told");
                }
            });
            let _conn = conn.expect("accepted");
            ready.wait();
            done.recv().expect("done");
        }
    }))
}

fn answered(by: By, spin: Duration, count: usize) -> Vec<f64> {
    match by {
        By::Handler => answered_by_handler(spin, count),
        By::Recv => answered_by_recv(spin, count),
    }
}

fn answered_by_handler(spin: Duration, count: usize) -> Vec<f64> {
    let (bob, alice) = (spinning(spin), spinning(spin));
    let addr = bob.local_addr();
    let offers = bob.incoming();
    let accepting = thread::spawn(move || {
        for offer in offers {
            let echo =
                |conn: &Connection<Bytes>, message: Vec<u8>| conn.send(&message).expect("sent");
            let _ = offer.accept_with(echo).expect("accepted");
        }
    });
    let (told, done) = bounded(1);
    let mut times = Vec::with_capacity(count);
    let mut begin = None::<Instant>;
    let pong = move |conn: &Connection<Bytes>, message: Vec<u8>| {
        times.extend(begin.map(|begin| begin.elapsed().as_secs_f64()));
        if times.len() == count {
            told.send(std::mem::take(&mut times)).expect("told");
        } else {
            begin = Some(Instant::now());
            conn.send(&message).expect("sent");
        }
    };
    let conn = alice.connect_with::<Bytes>(addr, pong).expect("connected");
    conn.send(&[0; 64]).expect("sent");
    let times = done.recv().expect("the times");
    conn.close().expect("closed");
    bob.stop();
    accepting.join().expect("the echo");
    times
}

fn answered_by_recv(spin: Duration, count: usize) -> Vec<f64> {
    let (bob, alice) = (spinning(spin), spinning(spin));
    let addr = bob.local_addr();
    let echo = thread::spawn(move || {
        let conn = bob.accept::<Bytes>().expect("accepted");
        for message in &conn {
            conn.send(&message).expect("sent");
        }
    });
    let conn = alice.connect::<Bytes>(addr).expect("connected");
    let times = (0..count).map(|_| {
        let begin = Instant::now();
        conn.send(&[0; 64]).expect("sent");
        black_box(conn.recv().expect("an answer"));
        begin.elapsed().as_secs_f64()
    });
    let times = times.collect();
    conn.close().expect("closed");
    echo.join().expect("the echo");
    times
}

fn connect(by: By, count: usize) -> Vec<f64> {
    let (bob, alice) = (peer(), peer());
    let addr = bob.local_addr();
    let offers = bob.incoming();
    let accepting = thread::spawn(move || {
        for offer in offers {
            match by {
                By::Handler => drop(offer.accept_with::<Bytes>(|_, _| ()).expect("accepted")),
                By::Recv => {
                    let conn = offer.accept::<Bytes>().expect("accepted");
                    conn.recv().expect_err("the end");
                }
            }
        }
    });
    let times = (0..count).map(|_| {
        let begin = Instant::now();
        let conn = alice.connect::<Bytes>(addr).expect("connected");
        conn.close().expect("closed");
        begin.elapsed().as_secs_f64()
    });
    let times = times.collect();
    bob.stop();
    accepting.join().expect("the other side");
    times
}

fn link_receive(by: By, ip: &str, count: usize, tell: &mut dyn FnMut(SocketAddr)) -> f64 {
    let bob = Peer::builder()
        .invisible(true)
        .bind((ip, 0))
        .expect("a peer");
    tell(bob.local_addr());
    let mut watch = Watch::default();
    match by {
        By::Recv => {
            let conn = bob.accept::<Bytes>().expect("accepted");
            for _ in 0..count {
                black_box(conn.recv().expect("a message"));
                watch.start();
            }
            let seconds = watch.seconds();
            conn.recv().expect_err("the end");
            seconds
        }
        By::Handler => {
            let (told, done) = bounded(1);
            let mut seen = 0;
            let offer = bob.incoming().next().expect("an offer");
            let conn = offer.accept_with::<Bytes>(move |_, item| {
                black_box(item);
                watch.start();
                seen += 1;
                if seen == count {
                    told.send(watch.seconds()).expect("told");
                }
            });
            let conn = conn.expect("accepted");
            let seconds = done.recv().expect("done");
            conn.recv().expect_err("the end");
            seconds
        }
    }
}

fn link_send(addr: SocketAddr, size: usize, count: usize) {
    let alice = Peer::builder()
        .invisible(true)
        .bind("0.0.0.0:0")
        .expect("a peer");
    let conn = alice.connect::<Bytes>(addr).expect("connected");
    let item = vec![7; size];
    for _ in 0..count {
        conn.send(black_box(&item)).expect("sent");
    }
    conn.close().expect("closed");
}

fn serve(by: By) -> Served {
    let bob = peer();
    let addr = bob.local_addr();
    let (told, messages) = unbounded();
    let mut conns = Vec::new();
    let wait = move |count: usize| {
        for _ in 0..count {
            let offer = bob.incoming().next().expect("an offer");
            match by {
                By::Handler => {
                    let told = told.clone();
                    let handler = move |_: &_, _| told.send(()).expect("told");
                    conns.push(offer.accept_with::<Bytes>(handler).expect("accepted"));
                    messages.recv().expect("a message");
                }
                By::Recv => {
                    let conn = offer.accept::<Bytes>().expect("accepted");
                    conn.recv().expect("a message");
                    conns.push(conn);
                }
            }
        }
    };
    Served {
        addr,
        wait: Box::new(wait),
    }
}

fn dial(addr: SocketAddr, count: usize) -> Box<dyn Any> {
    let alice = peer();
    let conns: Vec<_> = (0..count)
        .map(|_| {
            let conn = alice.connect::<Bytes>(addr).expect("connected");
            conn.send(&[7; 64]).expect("sent");
            conn
        })
        .collect();
    Box::new((alice, conns))
}

pub fn peer() -> Peer {
    spinning(Duration::ZERO)
}

fn spinning(time: Duration) -> Peer {
    Peer::builder()
        .spin(time)
        .invisible(true)
        .bind("127.0.0.1:0")
        .expect("a peer")
}
