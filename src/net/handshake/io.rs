//! What a handshake does with a socket.
//!
//! A machine decides what happens; here it only happens. So whatever depends on a socket or on time is
//! in [`run`], once for both sides.

use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::time::Duration;

use crate::net::handshake::server::denial;
use crate::net::handshake::{Ended, Gate, Input, Machine, Step};
use crate::net::os::socket::{reader, write_all, write_now};
use crate::net::os::sync::{Instant, TcpStream};
use crate::net::wire::frames::SILENCE;
use crate::proto::header::HEADER_LEN;
use crate::secure::Session;

/// The other side owes something for so long: its part is slow.
pub(crate) const SLOW: Duration = Duration::from_millis(500);

/// What a handshake tells of the other side while it waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It has said something.
    Heard,
    /// It has been [`SLOW`]. Told once, or now and then.
    Quiet,
}

/// Runs a machine from its `first` step to its outcome, which is there soon after the deadline at
/// the latest. `pass` says whether a gate is open, by the deadline too. Never inlined, so that a
/// connection's thread need not keep the memory of the stack that it takes.
#[inline(never)]
pub(crate) fn run<M: Machine>(
    socket: &TcpStream,
    machine: &mut M,
    first: Step<M::Outcome>,
    deadline: Instant,
    tell: &dyn Fn(Sign),
    pass: &dyn Fn(Gate) -> bool,
) -> M::Outcome {
    let mut bytes = [0; HEADER_LEN];
    let mut step = first;
    loop {
        step = match step {
            Step::Read { most, silence } => {
                let most = most.min(bytes.len());
                machine.take(read(socket, &mut bytes[..most], silence, deadline, tell))
            }
            Step::Write(bytes) => machine.take(match write(socket, &bytes) {
                Ok(()) => Input::Written,
                Err(error) => Input::NotWritten(error.to_string()),
            }),
            Step::Pass(gate) => machine.take(Input::Passed(pass(gate))),
            // The connection's reader waits without a deadline; the next to read sets what it needs.
            Step::Over(outcome) => {
                let _ = socket.set_read_timeout(None);
                return outcome;
            }
        }
    }
}

/// Waits for bytes, for silence if that is asked for, or for the end of it.
fn read<'a>(
    socket: &TcpStream,
    bytes: &'a mut [u8],
    silence: bool,
    deadline: Instant,
    tell: &dyn Fn(Sign),
) -> Input<'a> {
    let mut is_slow = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Input::Ended(Ended::Deadline);
        }
        // A wait is cut short only where its end says something: that the other side is silent, or, once,
        // that it is slow.
        let wait = match (silence, is_slow) {
            (true, _) => left.min(SILENCE),
            (false, false) => left.min(SLOW),
            (false, true) => left,
        };
        let read = socket
            .set_read_timeout(Some(wait))
            .and_then(|()| reader(socket).read(bytes));
        match read {
            Ok(0) => return Input::Ended(Ended::Closed),
            Ok(n) => {
                tell(Sign::Heard);
                return Input::Bytes(&bytes[..n]);
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    tell(Sign::Quiet);
                    // A silence that the deadline has cut short ends no header: more of it may have been
                    // on its way.
                    if silence && wait == SILENCE {
                        return Input::Silence;
                    }
                    is_slow = true;
                }
                io::ErrorKind::Interrupted => {}
                _ => return Input::Ended(Ended::Lost(error.to_string())),
            },
        }
    }
}

/// Writes all, for the thread that does the handshake.
pub(crate) fn write(socket: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    write_all(socket, bytes)
}

/// Writes an answer without waiting. The socket of a handshake is empty: it takes an answer whole,
/// or it is broken.
pub(crate) fn write_answer(socket: &TcpStream, answer: &[u8]) -> bool {
    matches!(write_now(socket, &[IoSlice::new(answer)]), Ok(n) if n == answer.len())
}

/// Tells the client no without waiting, through the session if there is one; says whether that
/// could be written. The program's words are checked before.
pub(crate) fn deny(socket: &TcpStream, session: Option<&mut Session>, word: &str) -> bool {
    let written = denial(word, session).is_some_and(|bytes| write_answer(socket, &bytes));
    let _ = socket.shutdown(Shutdown::Write);
    written
}

/// Lets the other side read a DENY: closing a socket with unread input would reset it.
///
/// Bounded in time and in bytes, because the other side is a stranger who may go on sending.
pub(crate) fn linger(socket: &TcpStream) {
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut scrap = [0; 1024];
    for _ in 0..64 {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match reader(socket).read(&mut scrap) {
            Ok(n) if n > 0 => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    /// It would be taken for the short form of one that is whole.
    #[test]
    fn a_header_that_the_deadline_cuts_is_not_ended_by_silence() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.write_all(b"DENY|not-toda").unwrap();
        let mut bytes = [0; HEADER_LEN];
        let enough = Instant::now() + Duration::from_secs(20);
        let input = read(&server, &mut bytes, true, enough, &|_| {});
        assert!(matches!(input, Input::Bytes(b"DENY|not-toda")));
        let soon = Instant::now() + SILENCE / 2;
        let input = read(&server, &mut bytes, true, soon, &|_| {});
        assert!(matches!(input, Input::Ended(Ended::Deadline)));
        let input = read(&server, &mut bytes, true, enough, &|_| {});
        assert!(matches!(input, Input::Silence));
    }
}
