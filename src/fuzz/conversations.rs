//! Any bytes as a connection in text, with a real peer over loopback.
//!
//! A long file, since both sides of it, and what other bodies use of them, are one scene.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use socket2::SockRef;

use super::agreed::Agreed;
use super::frames::{End, Outcome, read};
use super::is_clean;
use super::plan::Plan;
use crate::connection::Connection;
use crate::error::{CloseReason, Error};
use crate::event::Event;
use crate::format::{DataType, Dynamic, HAS_PICKLE};
use crate::options::{ConnectOptions, StreamSize};
use crate::peer::Peer;
use crate::proto::frame::{FrameError, Rules};
use crate::proto::header::{Answer, HEADER_LEN, HeaderError, Hello, Stream, Version, reachable};

/// What must happen happens within this time, also on a loaded machine.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// So large may a message be that the peers here take.
pub(super) const MAX_SIZE: usize = 100_000;

/// Any bytes to a peer that listens, in place of a HELLO and what follows it: the right answer, the
/// right reason, and the messages that are in them.
pub fn asked(data: &[u8]) {
    let scene = Scene::alone();
    let mut plan = Plan::new(data);
    let choice = plan.byte();
    let bytes = plan.rest();
    if bytes.len() < HEADER_LEN && Hello::parse(bytes).is_ok() {
        return; // Silence would end it: that takes its time, and has a test of its own.
    }
    let mut wire = Wire::new(TcpStream::connect(scene.peer.local_addr()).expect("it listens"));
    wire.write(bytes);
    let Some((header, rest)) = header(bytes) else {
        wire.fin();
        assert_eq!(scene.failed(&wire), "it hung up before HELLO");
        return wire.ends_with(b"");
    };
    let hello = match Hello::parse(header) {
        Ok(hello) => hello,
        Err(error) => {
            assert_eq!(scene.failed(&wire), error.to_string());
            return wire.ends_with(&denial(match error {
                HeaderError::DataType(_) => "type",
                HeaderError::Suite(_) => "unsupported",
                _ => "malformed",
            }));
        }
    };
    let peer_addr = SocketAddr::V4(reachable(hello.addr, Ipv4Addr::LOCALHOST));
    let too_large = matches!(hello.stream, Some(Stream::Of(size)) if size > MAX_SIZE as u64);
    let refused = if hello.secure.is_some() {
        Some("no-secret")
    } else if too_large {
        Some("size")
    } else if hello.data_type == DataType::Raw && hello.version == Version::Peerpy && !HAS_PICKLE {
        Some("unsupported")
    } else if peer_addr == scene.peer.local_addr() {
        Some("self")
    } else {
        None
    };
    if let Some(word) = refused {
        assert_eq!(scene.denied(), (peer_addr, word.to_owned()));
        return wire.ends_with(&denial(word));
    }

    let offer = scene
        .peer
        .offers()
        .recv_timeout(DEADLINE)
        .expect("an offer");
    let stream = hello.stream.map(|stream| match stream {
        Stream::FromFirst => StreamSize::FromFirst,
        Stream::Of(size) => StreamSize::Of(size as usize),
    });
    assert_eq!(
        (
            offer.peer_addr(),
            offer.data_type(),
            offer.is_strict(),
            offer.stream()
        ),
        (peer_addr, hello.data_type, hello.strict, stream)
    );
    let word = match choice % 8 {
        0 => {
            drop(offer);
            "dropped"
        }
        1 => {
            offer.deny("no").expect("it waits");
            "no"
        }
        _ => {
            let conn = offer.accept::<Dynamic>().expect("it waits");
            let accept = Answer::Accept {
                version: Version::Headers,
                secure: None,
                key: None,
            };
            assert_eq!(wire.read(), accept.write().expect("fits"));
            wire.fin();
            return hears(conn, stream, hello.version != Version::Peerpy, rest, wire);
        }
    };
    assert_eq!(scene.denied(), (peer_addr, word.to_owned()));
    wire.ends_with(&denial(word));
}

/// Any bytes to a peer that has asked for a connection, in place of an answer and what follows it.
pub fn asking(data: &[u8]) {
    let scene = Scene::alone();
    let mut plan = Plan::new(data);
    let choice = plan.byte();
    let data_type = plan.pick(&[DataType::Bytes, DataType::Json, DataType::Raw]);
    let size = plan.up_to(500) + 1;
    let bytes = plan.rest();
    if bytes.len() < HEADER_LEN && Answer::parse(bytes).is_ok() {
        return; // As above.
    }
    let options = ConnectOptions::new()
        .data_type(data_type)
        .strict(choice & 1 == 1)
        .timeout(DEADLINE);
    let stream = match choice >> 1 & 3 {
        0 | 1 => None,
        2 => Some(StreamSize::FromFirst),
        _ => Some(StreamSize::Of(size)),
    };
    let options = match stream {
        None => options,
        Some(StreamSize::FromFirst) => options.stream(),
        Some(StreamSize::Of(size)) => options.stream_of(size),
    };
    let addr = scene.listener.local_addr().expect("it listens");
    let (mut wire, result) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| options.connect::<Dynamic>(&scene.peer, addr));
        let (socket, _) = scene.listener.accept().expect("it connects");
        let mut wire = Wire::new(socket);
        let hello = Hello::parse(&wire.read()).expect("a HELLO");
        assert_eq!(SocketAddr::V4(hello.addr), scene.peer.local_addr());
        assert_eq!(
            (hello.data_type, hello.strict),
            (data_type, choice & 1 == 1)
        );
        wire.write(bytes);
        wire.fin();
        (wire, asking.join().expect("no panic"))
    });
    let expected = match header(bytes) {
        None => Err("it hung up without an answer".to_owned()),
        Some((header, rest)) => match Answer::parse(header) {
            Ok(answer) => Ok((answer, rest)),
            Err(error) => Err(error.to_string()),
        },
    };
    match (result, expected) {
        (
            Ok(conn),
            Ok((
                Answer::Accept {
                    version,
                    secure: None,
                    ..
                },
                rest,
            )),
        ) => {
            assert_eq!((conn.data_type(), conn.stream()), (data_type, stream));
            return hears(conn, stream, version != Version::Peerpy, rest, wire);
        }
        (Err(Error::Handshake { reason, .. }), Err(expected)) => assert_eq!(reason, expected),
        (Err(error @ Error::Denied { .. }), Ok((Answer::Deny { reason: expected }, _))) => {
            is_clean(&error);
            assert!(matches!(error, Error::Denied { reason, .. } if reason == expected));
        }
        (
            Err(Error::FeatureMissing { .. }),
            Ok((
                Answer::Accept {
                    version: Version::Peerpy,
                    secure: None,
                    ..
                },
                _,
            )),
        ) => {
            assert!(data_type == DataType::Raw && !HAS_PICKLE);
        }
        (
            Err(Error::Handshake { reason, .. }),
            Ok((
                Answer::Accept {
                    secure: Some(_), ..
                },
                _,
            )),
        ) => {
            assert_eq!(reason, "it wants an encryption that was not offered");
        }
        (result, expected) => panic!("{result:?} where {expected:?} was due"),
    }
    wire.ends_with(b"");
}

/// The connection delivers the messages that are in these bytes, and then ends for the reason that
/// they are: what the bytes mean is what they mean in one piece, to the decoder alone.
fn hears(
    conn: Connection<Dynamic>,
    stream: Option<StreamSize>,
    lanpeer: bool,
    bytes: &[u8],
    mut wire: Wire,
) {
    let rules = Rules {
        data_type: conn.data_type(),
        strict: conn.is_strict(),
        streaming: stream.is_some(),
        lanpeer,
        max_size: MAX_SIZE,
    };
    let named = match stream {
        Some(StreamSize::Of(size)) => Some(size),
        _ => None,
    };
    let agreed = Agreed {
        rules,
        named,
        sent: None,
    };
    let Outcome { messages, end } = read(agreed, bytes, []);
    for (data_type, payload) in messages {
        let message = conn.recv_timeout(DEADLINE).expect("a message");
        assert_eq!(
            (message.data_type(), message.payload()),
            (data_type, &payload[..])
        );
    }
    let over = conn
        .recv_timeout(DEADLINE)
        .map(|message| message.payload().len());
    assert_eq!(over, Err(RecvTimeoutError::Disconnected));
    let expected = match end {
        End::Input { left: 0 } => CloseReason::ClosedThere,
        End::Input { .. } | End::Payload { .. } => CloseReason::Truncated,
        End::Error(FrameError::TooLarge { size, limit }) => CloseReason::TooLarge { size, limit },
        End::Error(FrameError::DeniedType { expected, got }) => {
            CloseReason::DeniedType { expected, got }
        }
        End::Error(error) => CloseReason::Malformed(format!("malformed: {error}")),
    };
    let reason = conn.close_reason().expect("it has ended");
    is_clean(&reason);
    assert_eq!(reason, expected);
    drop(conn);
    wire.ends_with(b"");
}

/// The header that a handshake takes these bytes for, and what is behind it: a line, or 128 bytes.
fn header(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let first = &bytes[..bytes.len().min(HEADER_LEN)];
    match first.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = &first[..end];
            Some((line.strip_suffix(b"\r").unwrap_or(line), &bytes[end + 1..]))
        }
        None => bytes.split_at_checked(HEADER_LEN),
    }
}

pub(super) fn denial(word: &str) -> Vec<u8> {
    format!("{:|<HEADER_LEN$}", format!("DENY|reason={word}")).into_bytes()
}

/// The peer that is talked to, and where its remotes listen: the same for all runs.
pub(super) struct Scene {
    pub peer: Peer,
    pub listener: TcpListener,
}

impl Scene {
    /// One run at a time: each takes what it caused out of the peer's queues.
    fn alone() -> MutexGuard<'static, Scene> {
        static SCENE: OnceLock<Mutex<Scene>> = OnceLock::new();
        Scene::enter(SCENE.get_or_init(|| Mutex::new(Scene::new(true))))
    }

    /// Forgets what earlier runs have left: where too many events wait, the one that this run waits for is
    /// dropped.
    pub(super) fn enter(scene: &Mutex<Scene>) -> MutexGuard<'_, Scene> {
        let scene = scene.lock().unwrap_or_else(PoisonError::into_inner);
        scene.peer.events().try_iter().for_each(drop);
        scene
    }

    pub(super) fn new(text_headers: bool) -> Scene {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let timeout = SockRef::from(&listener).set_read_timeout(Some(DEADLINE));
        timeout.expect("a timeout for `accept`");
        let peer = Peer::builder()
            .invisible(true)
            .timeout(DEADLINE)
            .close_timeout(DEADLINE)
            // On most systems it would ask for heartbeats in between.
            .keepalive(None)
            .max_message_size(MAX_SIZE)
            .text_headers(text_headers);
        let peer = peer.bind("127.0.0.1:0").expect("a free port");
        Scene { peer, listener }
    }

    /// Why no connection came of this one.
    pub(super) fn failed(&self, wire: &Wire) -> String {
        loop {
            match self.event() {
                Event::HandshakeFailed { remote, reason } if remote == wire.local_addr() => {
                    is_clean(&reason);
                    return reason;
                }
                event => drop(event),
            }
        }
    }

    /// Who was denied last, and with which word.
    fn denied(&self) -> (SocketAddr, String) {
        loop {
            if let Event::Denied {
                peer_addr, reason, ..
            } = self.event()
            {
                return (peer_addr, reason);
            }
        }
    }

    fn event(&self) -> Event {
        self.peer.events().recv_timeout(DEADLINE).expect("an event")
    }
}

/// A remote of the peer.
pub(super) struct Wire(TcpStream);

impl Wire {
    pub(super) fn new(socket: TcpStream) -> Wire {
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        socket.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        // Its end is a reset, unless it said FIN before: no port is kept for it.
        SockRef::from(&socket)
            .set_linger(Some(Duration::ZERO))
            .expect("linger");
        Wire(socket)
    }

    fn local_addr(&self) -> SocketAddr {
        self.0.local_addr().expect("connected")
    }

    /// All, unless the peer has ended it.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        match self.0.write_all(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("it is not read"),
            _ => {}
        }
    }

    pub(super) fn fin(&self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }

    pub(super) fn read(&mut self) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        self.0.read_exact(&mut header).expect("a header");
        header
    }

    /// What comes before the end.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Err(error) = self.0.read_to_end(&mut bytes) {
            assert_ne!(
                error.kind(),
                ErrorKind::WouldBlock,
                "no end after {bytes:?}"
            );
        }
        bytes
    }

    /// Nothing more than this comes, and then the end.
    pub(super) fn ends_with(&mut self, expected: &[u8]) {
        let bytes = self.rest();
        assert_eq!(
            bytes.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }
}
