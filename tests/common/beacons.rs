//! The discovery protocol as bytes, on loopback, for the tests of discovery.
#![allow(dead_code)] // each test program uses its own part of it

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use lanpeer::{DiscoverOptions, Neighbours, Peer, PeerBuilder, Presence, Receiver};
use socket2::{Domain, Socket, Type};

/// What must happen, happens within this time, also on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(20);
/// Enough for a PING on loopback and its answer, also on a loaded machine. Searches that must find
/// something stop as soon as they have.
pub const LONG: Duration = Duration::from_secs(10);
/// What must not happen, has not happened within this time.
pub const A_WHILE: Duration = Duration::from_millis(400);

/// A discovery port that no other test uses, and a socket on it that hears what is said there.
pub struct Port {
    pub number: u16,
    pub ear: UdpSocket,
}

impl Port {
    pub fn new() -> Port {
        LazyLock::force(&FATAL);
        // The system gives a free number only to a socket that shares with nobody. Between that one
        // and the one that stays, another test may be given the same: then once more.
        for _ in 0..100 {
            let alone = UdpSocket::bind("0.0.0.0:0").expect("a free port");
            let number = alone.local_addr().unwrap().port();
            drop(alone);
            if let Some(ear) = shared(number) {
                return Port { number, ear };
            }
        }
        panic!("no free port");
    }

    pub fn builder(&self) -> PeerBuilder {
        Peer::builder().discovery_port(self.number)
    }

    /// A peer on loopback.
    pub fn peer(&self, name: &str) -> Peer {
        self.builder()
            .name(name)
            .bind("127.0.0.1:0")
            .expect("a free port")
    }

    /// A search on loopback, by nobody in particular.
    pub fn discover(&self, time: Duration) -> Neighbours {
        let mut options = DiscoverOptions::new();
        options.port(self.number).bind(Ipv4Addr::LOCALHOST);
        options.discover(time).expect("loopback can broadcast")
    }

    /// Finds so many, and says who they are: their `Display`s, sorted.
    pub fn find(&self, count: usize) -> Vec<String> {
        let mut found: Vec<_> = self
            .discover(LONG)
            .take(count)
            .map(|n| n.to_string())
            .collect();
        found.sort();
        found
    }

    pub fn broadcast_addr(&self) -> SocketAddr {
        (Ipv4Addr::new(127, 255, 255, 255), self.number).into()
    }

    /// The next datagram that is said here, with this word.
    pub fn hear(&self, word: &str) -> (String, SocketAddr) {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {word} was heard");
            self.ear.set_read_timeout(Some(left)).unwrap();
            let mut buffer = [0; 600];
            let Ok((len, source)) = self.ear.recv_from(&mut buffer) else {
                continue;
            };
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if text.starts_with(word) {
                return (text, source);
            }
        }
    }

    /// Who asks for a search next, while others may ask for a watch.
    pub fn hear_searcher(&self) -> SocketAddr {
        loop {
            let (text, asker) = self.hear("PING");
            if !text.contains("watch=") {
                return asker;
            }
        }
    }
}

/// A panic in one of the library's own threads would pass unnoticed by a test.
static FATAL: LazyLock<()> = LazyLock::new(|| {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        if std::thread::current()
            .name()
            .is_some_and(|name| name.starts_with("lanpeer"))
        {
            std::process::abort();
        }
    }));
});

fn shared(port: u16) -> Option<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket
        .bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())
        .ok()?;
    Some(socket.into())
}

/// Someone on loopback who speaks the protocol byte by byte.
pub struct Speaker {
    pub socket: UdpSocket,
}

impl Speaker {
    pub fn new() -> Speaker {
        Speaker::on("127.0.0.1")
    }

    pub fn on(ip: &str) -> Speaker {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_broadcast(true).unwrap();
        Speaker { socket }
    }

    pub fn addr(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub fn say(&self, text: impl AsRef<[u8]>, to: SocketAddr) {
        self.socket
            .send_to(text.as_ref(), to)
            .expect("loopback takes it");
    }

    /// The next datagram that comes to this socket; None if none comes within this time.
    pub fn answer(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut buffer = [0; 600];
        let (len, _) = self.socket.recv_from(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..len]).into_owned())
    }
}

/// What a watch tells next.
#[track_caller]
pub fn told(watch: &Receiver<Presence>) -> Presence {
    watch.recv_timeout(DEADLINE).expect("something to tell")
}

/// Pads to 128 bytes.
pub fn padded(text: &str) -> String {
    format!("{text:|<128}")
}
