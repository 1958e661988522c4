//! Reads and writes of a connection's socket, on systems like Unix: the socket blocks, and single calls
//! say that they do not want to. And the wait for a datagram. `transfer_windows.rs` has the same functions.

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use super::sync::TcpStream;
use super::system::{SockRef, UdpSocket};

/// The system needs nothing for what is below.
pub(crate) fn prepare(_: &TcpStream) -> io::Result<()> {
    Ok(())
}

/// Connects, or fails with `TimedOut`.
pub(crate) fn connect(stream: &TcpStream, addr: SocketAddrV4, timeout: Duration) -> io::Result<()> {
    SockRef::from(stream).connect_timeout(&addr.into(), timeout)
}

/// Reads from the socket as below.
pub(crate) type Reader<'a> = &'a TcpStream;

/// Reads from it wait until something has come, for as long as the socket's read timeout says; then
/// they fail with `WouldBlock`.
pub(crate) fn reader(stream: &TcpStream) -> Reader<'_> {
    stream
}

/// Writes all. Only for what a socket takes at once: it fails where its write timeout passes first.
pub(crate) fn write_all(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)
}

/// Writes what the socket takes without waiting.
pub(crate) fn write_now(stream: &TcpStream, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | NO_SIGNAL;
    SockRef::from(stream).send_vectored_with_flags(parts, flags)
}

/// Writes, waiting for as long as the socket's write timeout says; then it fails with `WouldBlock`.
pub(crate) fn write_slice(stream: &TcpStream, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    SockRef::from(stream).send_vectored_with_flags(parts, NO_SIGNAL)
}

/// Looks at what has arrived, without waiting and without taking it: how much, up to N bytes. 0 means
/// the end of input. The system reports an error of the connection once only, also to this call: see
/// [`Life::look`](crate::net::life::Life::look).
pub(crate) fn peek<const N: usize>(stream: &TcpStream) -> io::Result<usize> {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    SockRef::from(stream).recv_with_flags(&mut [MaybeUninit::uninit(); N], flags)
}

/// Waits until something has arrived, and leaves it there. 0 means the end of input.
pub(crate) fn wait_for_input(stream: &TcpStream) -> io::Result<usize> {
    stream.peek(&mut [0])
}

/// Reads what has arrived, without waiting. 0 means the end of input. Nobody else may read the socket
/// meanwhile: the bytes that the look has found would be gone, and the read would wait.
pub(crate) fn read_now(mut stream: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    match peek::<1>(stream)? {
        0 => Ok(0),
        _ => stream.read(bytes),
    }
}

/// Waits for a datagram, for no longer than this, and receives it.
pub(crate) fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
    wait: Duration,
) -> io::Result<(usize, SocketAddr)> {
    socket.set_nonblocking(wait.is_zero())?;
    if !wait.is_zero() {
        socket.set_read_timeout(Some(wait))?;
    }
    socket.recv_from(buffer)
}

/// A write to a connection that was reset must not raise SIGPIPE, which ends a program unless it
/// ignores the signal. Rust programs do; one in another language that embeds this library may not.
#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: libc::c_int = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: libc::c_int = 0;
