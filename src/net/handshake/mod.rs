//! What both sides of a handshake need: reading a header in time, and DENY.

pub(crate) mod client;
pub(crate) mod server;

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::net::os::socket::write_now;
use crate::net::wire::frames::SILENCE;
use crate::proto::header::{Answer, HEADER_LEN};
use crate::secure::Session;

/// Why no header came.
pub(crate) enum NoHeader {
    Timeout,
    Closed,
    Io(io::Error),
}

/// Reads one header before the deadline: 128 bytes, or fewer ended by a newline or by silence.
/// peerpy takes what one `recv` returns, and people type headers into `nc`. Also returns the bytes
/// that follow a newline. At most a header is `begun` already. `whole` says whether what came before
/// a silence can be all.
pub(crate) fn read_header(
    socket: &TcpStream,
    begun: &[u8],
    deadline: Instant,
    whole: impl Fn(&[u8]) -> bool,
) -> std::result::Result<(Vec<u8>, Vec<u8>), NoHeader> {
    let mut bytes = [0; HEADER_LEN];
    bytes[..begun.len()].copy_from_slice(begun);
    let (mut looked, mut len) = (0, begun.len());
    let found = loop {
        if let Some(newline) = bytes[looked..len].iter().position(|b| *b == b'\n') {
            let end = looked + newline;
            let header = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
            break Ok((header.to_vec(), bytes[end + 1..len].to_vec()));
        }
        if len == HEADER_LEN {
            break Ok((bytes.to_vec(), Vec::new()));
        }
        looked = len;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break Err(NoHeader::Timeout);
        }
        let wait = if len > 0 { left.min(SILENCE) } else { left };
        socket.set_read_timeout(Some(wait)).map_err(NoHeader::Io)?;
        match (&*socket).read(&mut bytes[len..]) {
            Ok(0) => break Err(NoHeader::Closed),
            Ok(n) => len += n,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    // Behind the first padding there is more to come.
                    let padded = bytes[..len].ends_with(b"|");
                    if len > 0 && !padded && whole(&bytes[..len]) {
                        break Ok((bytes[..len].to_vec(), Vec::new()));
                    }
                }
                io::ErrorKind::Interrupted => {}
                _ => break Err(NoHeader::Io(error)),
            },
        }
    };
    socket.set_read_timeout(None).map_err(NoHeader::Io)?;
    found
}

/// Fills `bytes` before the deadline.
pub(crate) fn read_full(
    mut socket: &TcpStream,
    bytes: &mut [u8],
    deadline: Instant,
) -> std::result::Result<(), NoHeader> {
    let mut filled = 0;
    while filled < bytes.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(NoHeader::Timeout);
        }
        socket.set_read_timeout(Some(left)).map_err(NoHeader::Io)?;
        match socket.read(&mut bytes[filled..]) {
            Ok(0) => return Err(NoHeader::Closed),
            Ok(n) => filled += n,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::Interrupted => {}
                _ => return Err(NoHeader::Io(error)),
            },
        }
    }
    socket.set_read_timeout(None).map_err(NoHeader::Io)
}

/// Tells the other side no, through the session if there is one; says whether that could be
/// written. The program's reasons are checked before.
pub(crate) fn deny(socket: &TcpStream, session: Option<&mut Session>, reason: &str) -> bool {
    let answer = Answer::Deny {
        reason: Some(reason.to_owned()),
    };
    let written = sealed(&answer, session).is_some_and(|bytes| write_answer(socket, &bytes));
    let _ = socket.shutdown(Shutdown::Write);
    written
}

/// The bytes of an answer, as a record where there is a session.
pub(crate) fn sealed(answer: &Answer, session: Option<&mut Session>) -> Option<Vec<u8>> {
    let header = answer.write().ok()?;
    let Some(session) = session else {
        return Some(header.to_vec());
    };
    let mut record = Vec::new();
    session.sealer.seal(&header, &[], &mut record).ok()?;
    Some(record)
}

/// The socket of a handshake is empty: either it takes a header whole, or it is broken.
pub(crate) fn write_answer(socket: &TcpStream, header: &[u8]) -> bool {
    if cfg!(unix) {
        matches!(write_now(socket, &[IoSlice::new(header)]), Ok(n) if n == header.len())
    } else {
        (&*socket).write_all(header).is_ok()
    }
}

/// Lets the other side read a DENY: closing a socket with unread input would reset it.
pub(crate) fn linger(socket: &TcpStream) {
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut scrap = [0; 1024];
    for _ in 0..64 {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match (&*socket).read(&mut scrap) {
            Ok(n) if n > 0 => {}
            _ => return,
        }
    }
}
