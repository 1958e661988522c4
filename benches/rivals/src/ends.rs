//! What libraries have in common whose connections have a blocking `send` and a blocking receive:
//! from that, each row of the table.

use std::any::Any;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use tungstenite::Bytes;

use crate::link::Watch;
use crate::program::{
    Blob, Form, JsonText, MessagePack, Program, RECEIVERS, Reading, Served, What,
};

pub trait End: Send + 'static {
    fn send(&mut self, payload: &[u8]);
    /// The same payload once more, for a library that can share it.
    fn send_again(&mut self, payload: &Bytes) {
        self.send(payload);
    }
    fn receive(&mut self, consume: impl FnOnce(&[u8]));
}

pub trait Library {
    type End: End;
    const NAME: &'static str;

    /// Both ends of a connection.
    fn pair() -> (Self::End, Self::End);
    fn connect(count: usize) -> Vec<f64>;
    fn serve() -> Served;
    fn dial(addr: SocketAddr, count: usize) -> Box<dyn Any>;

    /// Listens at this IP, for one who [connects](Library::connect_to) from another host. `None`: the
    /// rows of the link leave it out.
    fn listen_at(_ip: &str) -> Option<(Self::End, SocketAddr)> {
        None
    }

    fn connect_to(_addr: SocketAddr) -> Option<Self::End> {
        None
    }

    /// The same message to all; by default one after the other.
    fn broadcast(size: usize, count: usize) -> Duration {
        let (mut senders, receivers): (Vec<_>, Vec<_>) =
            (0..RECEIVERS).map(|_| Self::pair()).unzip();
        let payload = Bytes::from(vec![7; size]);
        let send = move || {
            for sender in &mut senders {
                sender.send_again(&payload);
            }
        };
        deliver::<Blob, _>(receivers, count, send)
    }
}

impl<L: Library> Program for L {
    fn name(&self) -> &'static str {
        L::NAME
    }

    fn one_way(&self, what: What, count: usize) -> Option<Duration> {
        let (mut sender, receiver) = L::pair();
        Some(match what {
            What::Bytes(size) => {
                let payload = Bytes::from(vec![7; size]);
                let send = move || sender.send_again(black_box(&payload));
                deliver::<Blob, _>(vec![receiver], count, send)
            }
            What::MessagePack => {
                encoded::<MessagePack, _>(sender, receiver, Reading::example(), count)
            }
            What::Json => encoded::<JsonText, _>(sender, receiver, Reading::example(), count),
        })
    }

    fn broadcast(&self, size: usize, count: usize) -> Option<Duration> {
        Some(L::broadcast(size, count))
    }

    fn round_trip(&self, count: usize) -> Option<Vec<f64>> {
        let (mut end, mut other) = L::pair();
        let echo = thread::spawn(move || {
            for _ in 0..count {
                let mut message = [0; 64];
                other.receive(|payload| message.copy_from_slice(payload));
                other.send(&message);
            }
            other
        });
        let times = (0..count).map(|_| {
            let begin = Instant::now();
            end.send(&[7; 64]);
            end.receive(|payload| {
                black_box(payload);
            });
            begin.elapsed().as_secs_f64()
        });
        let times = times.collect();
        drop(echo.join().expect("the echo"));
        Some(times)
    }

    fn link_receive(
        &self,
        ip: &str,
        _size: usize,
        count: usize,
        tell: &mut dyn FnMut(SocketAddr),
    ) -> Option<f64> {
        let (mut receiver, addr) = L::listen_at(ip)?;
        tell(addr);
        let mut watch = Watch::default();
        for _ in 0..count {
            receiver.receive(Blob::consume);
            watch.start();
        }
        let seconds = watch.seconds();
        receiver.send(b"done");
        // Its sender has closed when it has that.
        thread::sleep(Duration::from_millis(200));
        Some(seconds)
    }

    fn link_send(&self, addr: SocketAddr, size: usize, count: usize) {
        let Some(mut sender) = L::connect_to(addr) else {
            return;
        };
        let payload = Bytes::from(vec![7; size]);
        for _ in 0..count {
            sender.send_again(black_box(&payload));
        }
        sender.receive(|_| ());
    }

    fn connect(&self, count: usize) -> Option<Vec<f64>> {
        Some(L::connect(count))
    }

    fn serve(&self) -> Option<Served> {
        Some(L::serve())
    }

    fn dial(&self, addr: SocketAddr, count: usize) -> Box<dyn Any> {
        L::dial(addr, count)
    }
}

fn encoded<F: Form, E: End>(mut sender: E, receiver: E, item: F::Item, count: usize) -> Duration {
    let mut payload = Vec::new();
    let send = move || {
        payload.clear();
        F::encode(black_box(&item), &mut payload);
        sender.send(&payload);
    };
    deliver::<F, _>(vec![receiver], count, send)
}

/// Calls `send` so many times; the time until each receiver has consumed so many messages.
pub fn deliver<F: Form, E: End>(
    receivers: Vec<E>,
    count: usize,
    mut send: impl FnMut() + Send + 'static,
) -> Duration {
    let ready = Arc::new(Barrier::new(receivers.len() + 2));
    let receiving: Vec<_> = receivers
        .into_iter()
        .map(|mut receiver| {
            let ready = Arc::clone(&ready);
            thread::spawn(move || {
                ready.wait();
                for _ in 0..count {
                    receiver.receive(F::consume);
                }
                receiver
            })
        })
        .collect();
    let sending = Arc::clone(&ready);
    let sender = thread::spawn(move || {
        sending.wait();
        for _ in 0..count {
            send();
        }
        // What it owns may still have to deliver something.
        send
    });
    ready.wait();
    let begin = Instant::now();
    let ends: Vec<_> = receiving
        .into_iter()
        .map(|thread| thread.join().expect("a receiver"))
        .collect();
    let time = begin.elapsed();
    drop(sender.join().expect("the sender"));
    drop(ends);
    time
}

/// A port that is free at this moment, for libraries that do not say which one they took.
pub fn free_addr() -> SocketAddr {
    free_addr_at("127.0.0.1")
}

/// The same at another address of this host. A host of the bench's own may have no loopback.
pub fn free_addr_at(ip: &str) -> SocketAddr {
    let listener = std::net::TcpListener::bind((ip, 0)).expect("a port");
    listener.local_addr().expect("its address")
}
