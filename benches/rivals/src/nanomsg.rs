//! nng, the successor of nanomsg, by its Rust crate.

use std::any::Any;
use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use nng::options::{Options, RecvBufferSize, SendBufferSize};
use nng::{Protocol, Socket};

use crate::ends::{End, Library, free_addr};
use crate::program::Served;

pub struct Nng;

impl End for Socket {
    fn send(&mut self, payload: &[u8]) {
        Socket::send(self, payload).expect("sent");
    }

    fn receive(&mut self, consume: impl FnOnce(&[u8])) {
        consume(&self.recv().expect("a message"));
    }
}

/// Messages that may wait in it, each way.
const QUEUE: i32 = 128;

fn socket(protocol: Protocol) -> Socket {
    let socket = Socket::new(protocol).expect("a socket");
    // Not all protocols have both.
    let _ = socket.set_opt::<SendBufferSize>(QUEUE);
    let _ = socket.set_opt::<RecvBufferSize>(QUEUE);
    socket
}

fn listening(protocol: Protocol) -> (Socket, SocketAddr) {
    let (socket, addr) = (socket(protocol), free_addr());
    socket.listen(&format!("tcp://{addr}")).expect("listening");
    (socket, addr)
}

fn dialled(protocol: Protocol, addr: SocketAddr) -> Socket {
    let socket = socket(protocol);
    socket.dial(&format!("tcp://{addr}")).expect("connected");
    socket
}

impl Library for Nng {
    type End = Socket;
    const NAME: &'static str = "nng";

    fn pair() -> (Socket, Socket) {
        let (bob, addr) = listening(Protocol::Pair0);
        (dialled(Protocol::Pair0, addr), bob)
    }

    fn connect(count: usize) -> Vec<f64> {
        let (bob, addr) = listening(Protocol::Rep0);
        let echo = thread::spawn(move || {
            for _ in 0..count {
                let message = bob.recv().expect("a message");
                Socket::send(&bob, message).expect("sent");
            }
            bob
        });
        let times = (0..count).map(|_| {
            let begin = Instant::now();
            let socket = dialled(Protocol::Req0, addr);
            Socket::send(&socket, &b"hello"[..]).expect("sent");
            socket.recv().expect("the answer");
            drop(socket);
            begin.elapsed().as_secs_f64()
        });
        let times = times.collect();
        drop(echo.join().expect("the echo"));
        times
    }

    fn serve() -> Served {
        let (bob, addr) = listening(Protocol::Pull0);
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
        let sockets: Vec<Socket> = (0..count)
            .map(|_| {
                let socket = dialled(Protocol::Push0, addr);
                Socket::send(&socket, &[7; 64][..]).expect("sent");
                socket
            })
            .collect();
        Box::new(sockets)
    }
}
