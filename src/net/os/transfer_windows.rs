//! Reads and writes of a connection's socket on Windows. `transfer.rs` has the same functions for the
//! other systems.
//!
//! Windows has no calls that wait or not as each of them likes, and two properties that rule out a
//! socket that blocks. A call that its timeout ends leaves the socket in a state that is not defined:
//! what it has written is not known. And the end of one direction wakes no thread that is blocked in a
//! read. So the socket never blocks here. Who has to wait asks the system when the socket is ready
//! (`WSAPoll`), for [`SLICE`] at most, and then tries again, which also shows what this side has shut
//! down meanwhile.

use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, SocketAddrV4};
use std::os::windows::io::AsSocket;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::socket::WRITE_SLICE;
use super::sync::{Instant, TcpStream};
use super::system::{SockRef, UdpSocket};

/// A thread that waits for a socket looks this often whether it was shut down by this side.
const SLICE: Duration = Duration::from_millis(100);

/// From now on the socket does not block, and no process that this one starts has it too.
///
/// Windows gives a child the sockets that were accepted, unlike those that std or socket2 has made. The
/// connection would then outlive its end here: the other side would see it when the child ends.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_no_inherit(true)?;
    stream.set_nonblocking(true)
}

/// Connects, or fails with `TimedOut`.
pub(crate) fn connect(stream: &TcpStream, addr: SocketAddrV4, timeout: Duration) -> io::Result<()> {
    SockRef::from(stream).connect_timeout(&addr.into(), timeout)?;
    // That has left a socket that blocks.
    prepare(stream)
}

/// Reads from it wait until something has come, for as long as the socket's read timeout says; then
/// they fail with `WouldBlock`.
pub(crate) fn reader(stream: &TcpStream) -> Reader<'_> {
    Reader(stream)
}

/// Reads from the socket as above.
pub(crate) struct Reader<'a>(&'a TcpStream);

impl Read for Reader<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut stream = self.0;
        patiently(stream, || stream.read(bytes))
    }
}

/// Tries until it is no pause any more, or the socket's read timeout has passed.
fn patiently(
    stream: &TcpStream,
    mut attempt: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    let mut until = None;
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        let now = Instant::now();
        let until = match until {
            Some(until) => until,
            None => *until.insert(stream.read_timeout()?.map(|time| now + time)),
        };
        let left = until.map(|until| until.saturating_duration_since(now));
        match left {
            Some(left) if left.is_zero() => return Err(io::ErrorKind::WouldBlock.into()),
            left => wait(
                stream,
                PollFlags::IN,
                left.map_or(SLICE, |left| left.min(SLICE)),
            )?,
        }
    }
}

/// Waits until the socket is ready, or the time has passed.
fn wait(socket: &impl AsSocket, what: PollFlags, time: Duration) -> io::Result<()> {
    // The system counts milliseconds. With none, this would spin.
    let millis = time.as_micros().div_ceil(1000).max(1);
    let time = Timespec {
        tv_sec: (millis / 1000) as _,
        tv_nsec: (millis % 1000 * 1_000_000) as _,
    };
    poll(&mut [PollFd::new(socket, what)], Some(&time))?;
    Ok(())
}

/// Writes all. Only for what a socket takes at once: it fails where its write timeout passes first.
pub(crate) fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match write_slice(stream, &[IoSlice::new(bytes)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes what the socket takes without waiting.
pub(crate) fn write_now(mut stream: &TcpStream, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    stream.write_vectored(parts)
}

/// Writes, waiting for as long as the socket's write timeout says; then it fails with `WouldBlock`.
pub(crate) fn write_slice(stream: &TcpStream, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    match write_now(stream, parts) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        done => return done,
    }
    let time = stream.write_timeout()?.unwrap_or(WRITE_SLICE);
    wait(stream, PollFlags::OUT, time)?;
    write_now(stream, parts)
}

/// Looks at what has arrived, without waiting and without taking it: how much, up to N bytes. 0 means
/// the end of input. The system reports an error of the connection once only, also to this call: see
/// [`Life::look`](crate::net::life::Life::look).
pub(crate) fn peek<const N: usize>(stream: &TcpStream) -> io::Result<usize> {
    stream.peek(&mut [0; N])
}

/// Waits until something has arrived, and leaves it there. 0 means the end of input.
pub(crate) fn wait_for_input(stream: &TcpStream) -> io::Result<usize> {
    patiently(stream, || peek::<1>(stream))
}

/// Reads what has arrived, without waiting. 0 means the end of input.
pub(crate) fn read_now(mut stream: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    stream.read(bytes)
}

/// Waits for a datagram, for no longer than this, and receives it. The system's own timeout of a read is
/// half a second at least.
pub(crate) fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
    time: Duration,
) -> io::Result<(usize, SocketAddr)> {
    socket.set_nonblocking(true)?;
    match socket.recv_from(buffer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && !time.is_zero() => {}
        received => return received,
    }
    wait(socket, PollFlags::IN, time)?;
    socket.recv_from(buffer)
}
