//! ZeroMQ, by libzmq. Each end has a context, and so an I/O thread, of its own.

use std::any::Any;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use zmq::{Context, Message, Socket, SocketType};

use crate::ends::{End, Library, deliver};
use crate::program::{Blob, RECEIVERS, Served};

pub struct ZeroMq;

pub struct ZmqEnd {
    socket: Socket,
    message: Message,
}

impl End for ZmqEnd {
    fn send(&mut self, payload: &[u8]) {
        self.socket.send(payload, 0).expect("sent");
    }

    fn receive(&mut self, consume: impl FnOnce(&[u8])) {
        self.socket.recv(&mut self.message, 0).expect("a message");
        consume(&self.message);
    }
}

fn socket(kind: SocketType) -> Socket {
    Context::new().socket(kind).expect("a socket")
}

fn bind(socket: &Socket) -> SocketAddr {
    bind_at(socket, "127.0.0.1")
}

fn bind_at(socket: &Socket, ip: &str) -> SocketAddr {
    socket.bind(&format!("tcp://{ip}:*")).expect("a port");
    let endpoint = socket
        .get_last_endpoint()
        .expect("its address")
        .expect("text");
    let addr = endpoint.trim_start_matches("tcp://").parse();
    addr.expect("an address")
}

fn bound(kind: SocketType) -> (Socket, SocketAddr) {
    let socket = socket(kind);
    let addr = bind(&socket);
    (socket, addr)
}

fn connected(kind: SocketType, addr: SocketAddr) -> Socket {
    let socket = socket(kind);
    socket.connect(&format!("tcp://{addr}")).expect("connected");
    socket
}

fn end(socket: Socket) -> ZmqEnd {
    ZmqEnd {
        socket,
        message: Message::new(),
    }
}

impl Library for ZeroMq {
    type End = ZmqEnd;
    const NAME: &'static str = "zmq";

    fn pair() -> (ZmqEnd, ZmqEnd) {
        let (bob, addr) = bound(SocketType::DEALER);
        let (mut alice, mut bob) = (end(connected(SocketType::DEALER, addr)), end(bob));
        alice.send(b"hello");
        bob.receive(|_| ());
        (alice, bob)
    }

    fn listen_at(ip: &str) -> Option<(ZmqEnd, SocketAddr)> {
        let socket = socket(SocketType::DEALER);
        let addr = bind_at(&socket, ip);
        Some((end(socket), addr))
    }

    fn connect_to(addr: SocketAddr) -> Option<ZmqEnd> {
        Some(end(connected(SocketType::DEALER, addr)))
    }

    fn broadcast(size: usize, count: usize) -> Duration {
        let publisher = socket(SocketType::XPUB);
        // It drops what does not fit; all is to be delivered.
        publisher.set_sndhwm(0).expect("set");
        // Tells of each subscription, not only of the first to the same.
        publisher.set_xpub_verbose(true).expect("set");
        // Options hold for what is bound after them.
        let addr = bind(&publisher);
        let receivers = (0..RECEIVERS).map(|_| {
            let receiver = connected(SocketType::SUB, addr);
            receiver.set_subscribe(b"").expect("subscribed");
            publisher.recv_bytes(0).expect("a subscription");
            end(receiver)
        });
        let receivers = receivers.collect();
        let payload = vec![7; size];
        deliver::<Blob, _>(receivers, count, move || {
            publisher.send(&payload, 0).expect("sent")
        })
    }

    fn connect(count: usize) -> Vec<f64> {
        let (bob, addr) = bound(SocketType::ROUTER);
        let echo = thread::spawn(move || {
            for _ in 0..count {
                let parts = bob.recv_multipart(0).expect("a message");
                bob.send_multipart(parts, 0).expect("sent");
            }
            bob
        });
        let alice = Context::new();
        let times = (0..count).map(|_| {
            let begin = Instant::now();
            let socket = alice.socket(SocketType::DEALER).expect("a socket");
            socket.connect(&format!("tcp://{addr}")).expect("connected");
            socket.send("hello", 0).expect("sent");
            socket.recv_bytes(0).expect("the answer");
            drop(socket);
            begin.elapsed().as_secs_f64()
        });
        let times = times.collect();
        drop(echo.join().expect("the echo"));
        times
    }

    fn serve() -> Served {
        let (bob, addr) = bound(SocketType::PULL);
        let wait = move |count: usize| {
            for _ in 0..count {
                bob.recv_bytes(0).expect("a message");
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
                let socket = context.socket(SocketType::PUSH).expect("a socket");
                socket.connect(&format!("tcp://{addr}")).expect("connected");
                socket.send(vec![7; 64], 0).expect("sent");
                socket
            })
            .collect();
        Box::new(sockets)
    }
}
