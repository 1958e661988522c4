//! WebSocket over blocking sockets, by tungstenite. The accepting side sends, as it need not mask.

use std::any::Any;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use tungstenite::{Bytes, Message, WebSocket, accept, client};

use crate::ends::{End, Library};
use crate::program::Served;

pub struct Tungstenite;

impl End for WebSocket<TcpStream> {
    fn send(&mut self, payload: &[u8]) {
        self.send_again(&Bytes::copy_from_slice(payload));
    }

    fn send_again(&mut self, payload: &Bytes) {
        WebSocket::send(self, Message::Binary(payload.clone())).expect("sent");
    }

    fn receive(&mut self, consume: impl FnOnce(&[u8])) {
        consume(&self.read().expect("a message").into_data());
    }
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("its address");
    (listener, addr)
}

fn accepted(listener: &TcpListener) -> WebSocket<TcpStream> {
    let (socket, _) = listener.accept().expect("accepted");
    socket.set_nodelay(true).expect("nodelay");
    accept(socket).expect("a handshake")
}

fn connected(addr: SocketAddr) -> WebSocket<TcpStream> {
    let socket = TcpStream::connect(addr).expect("connected");
    socket.set_nodelay(true).expect("nodelay");
    client(format!("ws://{addr}/"), socket)
        .expect("a handshake")
        .0
}

impl Library for Tungstenite {
    type End = WebSocket<TcpStream>;
    const NAME: &'static str = "tungstenite";

    fn pair() -> (WebSocket<TcpStream>, WebSocket<TcpStream>) {
        let (listener, addr) = listen();
        let connecting = thread::spawn(move || connected(addr));
        let bob = accepted(&listener);
        (bob, connecting.join().expect("connected"))
    }

    fn connect(count: usize) -> Vec<f64> {
        let (listener, addr) = listen();
        let bob = thread::spawn(move || {
            for _ in 0..count {
                let mut socket = accepted(&listener);
                while socket.read().is_ok() {}
            }
        });
        let times = (0..count).map(|_| {
            let begin = Instant::now();
            let mut socket = connected(addr);
            socket.close(None).expect("closing");
            while socket.read().is_ok() {}
            begin.elapsed().as_secs_f64()
        });
        let times = times.collect();
        bob.join().expect("the other side");
        times
    }

    fn serve() -> Served {
        let (listener, addr) = listen();
        let wait = move |count: usize| {
            for _ in 0..count {
                let mut socket = accepted(&listener);
                socket.read().expect("a message");
                // Who receives by blocking calls needs a thread for each.
                thread::spawn(move || while socket.read().is_ok() {});
            }
        };
        Served {
            addr,
            wait: Box::new(wait),
        }
    }

    fn dial(addr: SocketAddr, count: usize) -> Box<dyn Any> {
        let sockets: Vec<_> = (0..count)
            .map(|_| {
                let mut socket = connected(addr);
                End::send(&mut socket, &[7; 64]);
                socket
            })
            .collect();
        Box::new(sockets)
    }
}
