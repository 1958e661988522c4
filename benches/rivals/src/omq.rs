//! OMQ, ZeroMQ's protocol in Rust, by its blocking sockets. Each end has a context, and so an I/O thread,
//! of its own. It receives many messages by one call, which is its fastest way.

use std::any::Any;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use omq_tokio::blocking::Socket;
use omq_tokio::{Context, Message, Options, SocketType};

use crate::ends::{End, Library, deliver, free_addr, free_addr_at};
use crate::program::{Blob, RECEIVERS, Served};

pub struct Omq;

/// So many messages at once.
const MANY: usize = 256;

pub struct OmqEnd {
    socket: Socket,
    /// The first is the last of those that were received.
    received: Vec<Message>,
}

impl End for OmqEnd {
    fn send(&mut self, payload: &[u8]) {
        self.socket
            .send(Message::from_slice(payload))
            .expect("sent");
    }

    fn receive(&mut self, consume: impl FnOnce(&[u8])) {
        if self.received.is_empty() {
            let many = self.socket.recv_many_into(MANY, &mut self.received);
            assert!(many.expect("a message") > 0);
            self.received.reverse();
        }
        let message = self.received.pop().expect("a message");
        consume(message.get(0).expect("a part"));
    }
}

fn socket(kind: SocketType, options: Options) -> Socket {
    Context::new().blocking_socket(kind, options)
}

fn bind(socket: &Socket, addr: SocketAddr) {
    socket.bind(&*format!("tcp://{addr}")).expect("bound");
}

fn connected(kind: SocketType, addr: SocketAddr) -> Socket {
    let socket = socket(kind, Options::default());
    socket
        .connect(&*format!("tcp://{addr}"))
        .expect("connected");
    socket
}

fn end(socket: Socket) -> OmqEnd {
    OmqEnd {
        socket,
        received: Vec::with_capacity(MANY),
    }
}

fn bound(kind: SocketType) -> (Socket, SocketAddr) {
    let (socket, addr) = (socket(kind, Options::default()), free_addr());
    bind(&socket, addr);
    (socket, addr)
}

impl Library for Omq {
    type End = OmqEnd;
    const NAME: &'static str = "omq";

    fn pair() -> (OmqEnd, OmqEnd) {
        let (bob, addr) = bound(SocketType::Dealer);
        let (mut alice, mut bob) = (end(connected(SocketType::Dealer, addr)), end(bob));
        alice.send(b"hello");
        bob.receive(|_| ());
        (alice, bob)
    }

    fn listen_at(ip: &str) -> Option<(OmqEnd, SocketAddr)> {
        let socket = socket(SocketType::Dealer, Options::default());
        let addr = free_addr_at(ip);
        bind(&socket, addr);
        Some((end(socket), addr))
    }

    fn connect_to(addr: SocketAddr) -> Option<OmqEnd> {
        Some(end(connected(SocketType::Dealer, addr)))
    }

    fn broadcast(size: usize, count: usize) -> Duration {
        // It drops what does not fit, unless it is told to wait; all is to be delivered.
        let mut options = Options::default();
        options.xpub_nodrop = true;
        let publisher = socket(SocketType::Pub, options);
        let addr = free_addr();
        bind(&publisher, addr);
        let receivers = (0..RECEIVERS).map(|_| {
            let receiver = connected(SocketType::Sub, addr);
            receiver.subscribe(&b""[..]).expect("subscribed");
            end(receiver)
        });
        let receivers: Vec<_> = receivers.collect();
        let all = publisher.wait_subscribed(RECEIVERS as u64, Duration::from_secs(10));
        all.expect("the subscriptions");
        let payload = vec![7; size];
        deliver::<Blob, _>(receivers, count, move || {
            publisher.send(Message::from_slice(&payload)).expect("sent")
        })
    }

    fn connect(count: usize) -> Vec<f64> {
        let (bob, addr) = bound(SocketType::Rep);
        let echo = thread::spawn(move || {
            for _ in 0..count {
                let message = bob.recv().expect("a message");
                bob.send(message).expect("sent");
            }
            bob
        });
        let alice = Context::new();
        let times = (0..count).map(|_| {
            let begin = Instant::now();
            let socket = alice.blocking_socket(SocketType::Req, Options::default());
            socket
                .connect(&*format!("tcp://{addr}"))
                .expect("connected");
            socket.send(Message::from_slice(b"hello")).expect("sent");
            socket.recv().expect("the answer");
            socket.close().expect("closed");
            begin.elapsed().as_secs_f64()
        });
        let times = times.collect();
        drop(echo.join().expect("the echo"));
        times
    }

    fn serve() -> Served {
        let (bob, addr) = bound(SocketType::Pull);
        let wait = move |count: usize| {
            for _ in 0..count {
                bob.recv().expect("a message");
            }
        };
        Served {
            addr,
            wait: Box::new(wait),
        }
    }

    fn dial(addr: SocketAddr, count: usize) -> Box<dyn Any> {
        let context = Context::new();
        let sockets: Vec<Socket> = (0..count)
            .map(|_| {
                let socket = context.blocking_socket(SocketType::Push, Options::default());
                socket
                    .connect(&*format!("tcp://{addr}"))
                    .expect("connected");
                socket.send(Message::from_slice(&[7; 64])).expect("sent");
                socket
            })
            .collect();
        Box::new((sockets, context))
    }
}
