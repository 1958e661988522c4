//! The protocol's bytes over a bare `TcpStream`: what a program in any other language would do.
//!
//! Nothing here comes from the library, so that the two cannot be wrong together.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use lanpeer::{Connection, Format, Peer};
use socket2::SockRef;

use super::{DEADLINE, next_offer};

/// Bytes in a header.
pub const HEADER: usize = 128;

/// A header as the protocol has it: the text, padded at its end.
#[track_caller]
pub fn header(text: &str) -> [u8; HEADER] {
    assert!(
        text.len() <= HEADER,
        "{} bytes do not fit a header: {text}",
        text.len()
    );
    let mut bytes = [b'|'; HEADER];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}

/// A message: its DATA header and its payload.
pub fn data(data_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = data_header(payload.len(), data_type).to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

/// A DATA header; the size is whatever is claimed.
pub fn data_header(size: impl std::fmt::Display, data_type: &str) -> [u8; HEADER] {
    header(&format!("DATA|data_size={size}&data_type={data_type}"))
}

/// A JSON message; `value` is JSON text.
pub fn json(value: &str) -> Vec<u8> {
    data("json", format!("{{\"data\":{value}}}").as_bytes())
}

/// Who the bare socket says it is.
pub const WHO: &str = "WHO|id=5eed&name=wire&service=test";

/// A length in frames: the fewest bytes.
pub fn length(number: u64) -> Vec<u8> {
    match number {
        0..128 => vec![number as u8],
        128..16_512 => (0x8000 + number - 128).to_be_bytes()[6..].to_vec(),
        16_512..2_113_664 => (0xc0_0000 + number - 16_512).to_be_bytes()[5..].to_vec(),
        _ => {
            let bytes = number.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let mut length = vec![0xe0 + 7 - zeros as u8];
            length.extend(&bytes[zeros..]);
            length
        }
    }
}

/// A message in frames.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    [&length(payload.len() as u64), payload].concat()
}

/// A frame of this kind.
pub fn of_kind(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &frame(body)[..]].concat()
}

/// The frame that says why a message was not taken in.
pub fn refusal(words: &str) -> Vec<u8> {
    of_kind(0xf6, words.as_bytes())
}

/// The frames that say goodbye, alone and with the number of messages that were taken in, and the
/// answer.
pub const GOODBYE: &[u8] = &[0xf4, 0];
pub fn leaving(taken: u64) -> Vec<u8> {
    of_kind(0xf4, &length(taken))
}
pub fn taken(taken: u64) -> Vec<u8> {
    of_kind(0xf5, &length(taken))
}

/// A header that was read, taken apart.
#[derive(Debug, PartialEq)]
pub struct Fields {
    /// HELLO, ACCEPT, …
    pub kind: String,
    /// Its keys; a repeated one fails the test.
    pub keys: BTreeMap<String, String>,
}

impl Fields {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.keys.get(key).map(String::as_str)
    }

    #[track_caller]
    fn parse(text: &str) -> Fields {
        let (kind, rest) = text.split_once('|').unwrap_or((text, ""));
        let mut keys = BTreeMap::new();
        for pair in rest.split('&').filter(|_| !rest.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .unwrap_or_else(|| panic!("no '=': {text}"));
            let before = keys.insert(key.to_string(), value.to_string());
            assert_eq!(before, None, "repeated key: {text}");
        }
        Fields {
            kind: kind.to_string(),
            keys,
        }
    }
}

/// How the other side ended the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// TCP's FIN.
    Fin,
    /// TCP's RST.
    Reset,
}

/// One connection, spoken byte by byte.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
}

impl Wire {
    /// Opens TCP and says nothing.
    #[track_caller]
    pub fn connect(addr: SocketAddr) -> Wire {
        Wire::from(TcpStream::connect_timeout(&addr, DEADLINE).expect("connect"))
    }

    /// Opens TCP and sends HELLO with its own address and these keys.
    #[track_caller]
    pub fn offer(addr: SocketAddr, keys: &str) -> Wire {
        let mut wire = Wire::connect(addr);
        let me = wire.local_addr();
        wire.write(&header(&format!("HELLO|peer_name={me}&{keys}")));
        wire
    }

    /// A connection that `peer` has accepted, both ends of it.
    #[track_caller]
    pub fn accepted<F: Format>(peer: &Peer, keys: &str) -> (Wire, Connection<F>) {
        let mut wire = Wire::offer(peer.local_addr(), keys);
        let conn = next_offer(peer).accept::<F>().expect("accept");
        assert_eq!(wire.fields().kind, "ACCEPT");
        (wire, conn)
    }

    /// The same in frames: HELLO and WHO, or, for a stream, WHO when it is asked for.
    #[track_caller]
    pub fn accepted_frames<F: Format>(peer: &Peer, keys: &str) -> (Wire, Connection<F>) {
        let mut wire = Wire::offer_frames(peer.local_addr(), keys);
        let conn = next_offer(peer).accept::<F>().expect("accept");
        assert_eq!(wire.read(HEADER), header("ACCEPT|v=2"));
        let who = wire.one_header();
        assert_eq!(who.get("id"), Some(peer.id().to_string().as_str()));
        (wire, conn)
    }

    /// Opens TCP and asks for a connection in frames.
    #[track_caller]
    pub fn offer_frames(addr: SocketAddr, keys: &str) -> Wire {
        if keys.contains("stream=1") {
            let mut wire = Wire::offer(addr, &format!("{keys}&v=2"));
            assert_eq!(wire.read(HEADER), header("WHO"));
            wire.write(&header(WHO));
            return wire;
        }
        let mut wire = Wire::connect(addr);
        let me = wire.local_addr();
        let hello = header(&format!("HELLO|peer_name={me}&{keys}&v=2&who=1"));
        wire.write(&[hello, header(WHO)].concat());
        wire
    }

    /// This end's address.
    pub fn local_addr(&self) -> SocketAddr {
        self.stream.local_addr().expect("local address")
    }

    /// Writes all of it at once.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("write");
    }

    /// Writes as much as the other side lets it; a hostile test does not care how much.
    pub fn write_what_goes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Writes one byte at a time, each as its own segment.
    #[track_caller]
    pub fn write_byte_by_byte(&mut self, bytes: &[u8]) {
        for byte in bytes.chunks(1) {
            self.write(byte);
        }
    }

    /// Reads exactly this many bytes.
    #[track_caller]
    pub fn read(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        let (mut filled, end) = (0, Instant::now() + DEADLINE);
        while filled < size {
            match self.read_some(&mut bytes[filled..], end) {
                Ok(0) => panic!(
                    "FIN after {filled} of {size} bytes: {}",
                    shown(&bytes[..filled])
                ),
                Ok(n) => filled += n,
                Err(e) => panic!(
                    "{e} after {filled} of {size} bytes: {}",
                    shown(&bytes[..filled])
                ),
            }
        }
        bytes
    }

    /// Reads a header and takes it apart. It must be padded as the protocol has it.
    #[track_caller]
    pub fn fields(&mut self) -> Fields {
        let fields = self.one_header();
        if fields.get("who") == Some("1") {
            let who = self.one_header();
            assert!(who.kind == "WHO" && who.get("id").is_some(), "{who:?}");
        }
        fields
    }

    #[track_caller]
    fn one_header(&mut self) -> Fields {
        let bytes = self.read(HEADER);
        let text = std::str::from_utf8(&bytes).expect("a header in UTF-8");
        let fields = Fields::parse(text.trim_end_matches('|'));
        assert_eq!(bytes, header(text.trim_end_matches('|')), "padding");
        fields
    }

    /// Reads a DENY and gives its reason.
    #[track_caller]
    pub fn denied(&mut self) -> Option<String> {
        let fields = self.fields();
        assert_eq!(fields.kind, "DENY", "{fields:?}");
        fields.get("reason").map(str::to_string)
    }

    /// Reads to the end: what came before it, and which end it was.
    #[track_caller]
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
        let end = Instant::now() + DEADLINE;
        loop {
            match self.read_some(&mut chunk, end) {
                Ok(0) => return (bytes, End::Fin),
                Ok(n) => bytes.extend_from_slice(&chunk[..n]),
                Err(e) if is_reset(e.kind()) => return (bytes, End::Reset),
                Err(e) => panic!("no end: {e}; came so far: {}", shown(&bytes)),
            }
        }
    }

    /// The end, before which nothing may come.
    #[track_caller]
    pub fn end(&mut self) -> End {
        let (bytes, end) = self.rest();
        assert!(
            bytes.is_empty(),
            "unexpected before the {end:?}: {}",
            shown(&bytes)
        );
        end
    }

    /// Whether nothing to read has come. Only for what would have come already.
    pub fn is_silent(&self) -> bool {
        self.stream.set_nonblocking(true).expect("nonblocking");
        let result = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("blocking");
        matches!(result, Err(e) if e.kind() == ErrorKind::WouldBlock)
    }

    /// Ends this direction with FIN; the other goes on.
    pub fn fin(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the connection with RST.
    pub fn reset(self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Closes the socket; gives the address it had.
    pub fn hang_up(self) -> SocketAddr {
        self.local_addr()
    }

    fn read_some(&mut self, buffer: &mut [u8], end: Instant) -> std::io::Result<usize> {
        let left = end
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(left))?;
        match self.stream.read(buffer) {
            // A signal, as they are more frequent in emulation.
            Err(e) if e.kind() == ErrorKind::Interrupted && Instant::now() < end => {
                self.read_some(buffer, end)
            }
            read => read,
        }
    }
}

impl From<TcpStream> for Wire {
    fn from(stream: TcpStream) -> Wire {
        stream.set_nodelay(true).expect("nodelay");
        stream
            .set_write_timeout(Some(DEADLINE))
            .expect("write timeout");
        Wire { stream }
    }
}

fn is_reset(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
    )
}

/// Bytes for a person to read.
pub fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(300)];
    format!("{} bytes \"{}\"", bytes.len(), cut.escape_ascii())
}

/// A listening socket that takes what connects to it.
pub struct WireListener(TcpListener);

impl WireListener {
    /// On a free port of loopback.
    pub fn bind() -> WireListener {
        WireListener(TcpListener::bind("127.0.0.1:0").expect("a free port on loopback"))
    }

    /// Where to connect to.
    pub fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("local address")
    }

    /// The next connection.
    #[track_caller]
    pub fn accept(&self) -> Wire {
        self.0.set_nonblocking(true).expect("nonblocking");
        let mut accepted = None;
        super::until("a connection to the listener", || {
            accepted = self.0.accept().ok();
            accepted.is_some()
        });
        let (stream, _) = accepted.expect("accepted");
        stream.set_nonblocking(false).expect("blocking");
        Wire::from(stream)
    }
}
