//! Addresses, socket options, and reads and writes that do not wait for ever.

use std::io;
use std::net::{Shutdown, SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::time::Duration;

use super::sync::{Instant, TcpStream, thread};
use super::system::{SockRef, TcpKeepalive};
pub(crate) use super::transfer::{
    connect, peek, read_now, reader, wait_for_input, write_all, write_now, write_slice,
};
use crate::error::{Error, Result};

/// A blocked write returns this often to see whether its connection was ended meanwhile.
pub(crate) const WRITE_SLICE: Duration = Duration::from_millis(50);

/// The IPv4 addresses that `addr` stands for: at least one. IPv6 addresses are left out, and an
/// error where there is nothing else.
pub(crate) fn resolve(addr: impl ToSocketAddrs) -> Result<Vec<SocketAddrV4>> {
    let mut v6 = None;
    let mut v4 = Vec::new();
    for addr in addr
        .to_socket_addrs()
        .map_err(|source| Error::Resolve { source })?
    {
        match addr {
            SocketAddr::V4(addr) => v4.push(addr),
            SocketAddr::V6(_) => v6 = Some(addr),
        }
    }
    match v6 {
        _ if !v4.is_empty() => Ok(v4),
        Some(addr) => Err(Error::Ipv6 { addr }),
        None => {
            let source = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            Err(Error::Resolve { source })
        }
    }
}

/// This end of a TCP connection and the other. An error means that the connection was reset
/// meanwhile: it has no other end any more.
pub(crate) fn ends(stream: &TcpStream) -> io::Result<(SocketAddrV4, SocketAddrV4)> {
    let v4 = |addr| match addr {
        SocketAddr::V4(addr) => addr,
        SocketAddr::V6(_) => unreachable!("only IPv4 sockets are made"),
    };
    Ok((v4(stream.local_addr()?), v4(stream.peer_addr()?)))
}

/// Sets the options of a connection's socket. `keepalive` is the silence after which a remote counts
/// as dead: half of it passes before the first probe, and five probes share the rest.
pub(crate) fn prepare(stream: &TcpStream, keepalive: Option<Duration>) -> io::Result<()> {
    // Small messages leave at once. Bursts are gathered by `send`, which knows when they end.
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_SLICE))?;
    super::transfer::prepare(stream)?;
    if let Some(time) = keepalive {
        let seconds = time.as_secs();
        // Linux takes no more than 32,767 seconds for either.
        let idle = Duration::from_secs((seconds / 2).clamp(1, 32_767));
        let interval = Duration::from_secs((seconds / 10).max(1));
        let params = TcpKeepalive::new().with_time(idle);
        let socket = SockRef::from(stream);
        // OpenBSD has neither for one socket.
        #[cfg(target_os = "openbsd")]
        {
            let _ = interval;
            socket.set_tcp_keepalive(&params)?;
        }
        #[cfg(not(target_os = "openbsd"))]
        {
            let retries = ((seconds - idle.as_secs()) / interval.as_secs()).max(1) as u32;
            let params = params.with_interval(interval);
            let set = params.clone().with_retries(retries);
            let is_set = socket.set_tcp_keepalive(&set);
            // Windows before 10 sends ten probes, and lets nobody change that.
            let is_set = match cfg!(windows) {
                true => is_set
                    .or_else(|_| socket.set_tcp_keepalive(&params.with_interval(interval / 2))),
                false => is_set,
            };
            is_set?;
        }
    }
    Ok(())
}

/// The most bytes that wait in the system if only the newest message counts: few enough that they leave in
/// a millisecond or two on a link of 1 Gbit/s, and enough to keep it busy.
const SHORT: usize = 128 << 10;

/// How often a write that waits returns if only the newest message counts, to see whether there is a newer
/// one.
const SHORT_SLICE: Duration = Duration::from_millis(5);

/// What is written is to leave soon: the system takes little that it cannot send yet.
pub(crate) fn keep_send_buffer_short(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    // What is on its way may be much on a long link; it is no older for that.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.set_tcp_notsent_lowat(SHORT as u32);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = socket.set_send_buffer_size(2 * SHORT);
    let _ = stream.set_write_timeout(Some(SHORT_SLICE));
}

/// Is this no error but a pause? The socket is full, or has nothing, or a signal came: the caller tries
/// again.
pub(crate) fn is_pause(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted)
}

/// Have N bytes arrived? Looks without waiting.
pub(crate) fn has_arrived<const N: usize>(stream: &TcpStream) -> io::Result<bool> {
    // The listener looks before it knows whether the socket is to become a connection's.
    super::transfer::prepare(stream)?;
    match peek::<N>(stream) {
        Err(error) if !is_pause(&error) => Err(error),
        seen => Ok(seen.is_ok_and(|n| n == N)),
    }
}

/// Prepares a reset: wakes a thread that reads the socket, and makes the system send RST when the last
/// handle of the socket is closed. Only the reading side is shut down, because shutting down the
/// writing side would send FIN first. A peerpy would never notice the reset behind a FIN, and a
/// lanpeer would take the FIN for a polite end.
pub(crate) fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    wake_reader(stream);
}

/// Wakes a thread that waits in a read: the socket is to be closed. On Windows the thread notices within
/// a tenth of a second; see `transfer`.
pub(crate) fn wake_reader(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Read);
}

/// Makes the system reset the connection if this process dies. With a FIN instead, a peerpy on the
/// other side would spin.
pub(crate) fn reset_if_it_dies(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Has the connection ended in both directions? A FIN of one side alone does not end it. Always
/// `false` except on Linux, where a socket without a connection has no remote address.
pub(crate) fn is_over(stream: &TcpStream) -> bool {
    cfg!(any(target_os = "linux", target_os = "android")) && stream.peer_addr().is_err()
}

/// Waits until the other side's system has acknowledged everything, FIN included, after both sides
/// have sent FIN. `false` means that it did not before the deadline, or has reset the connection, or that
/// nobody wants to know any more.
pub(crate) fn acknowledged(
    stream: &TcpStream,
    deadline: Instant,
    is_over: impl Fn() -> bool,
) -> bool {
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        return true;
    }
    let mut pause = Duration::from_micros(50);
    loop {
        if !matches!(stream.take_error(), Ok(None)) {
            return false;
        }
        // A socket has no remote address any more when the last FIN is acknowledged. A reset in this
        // moment has the same effect, but leaves an error.
        if stream.peer_addr().is_err() {
            return matches!(stream.take_error(), Ok(None));
        }
        if is_over() || Instant::now() >= deadline {
            return false;
        }
        // Nothing on the socket would wake a thread that waits: no byte comes after FIN.
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn addresses() {
        assert!(matches!(resolve("[::1]:5"), Err(Error::Ipv6 { .. })));
        assert!(matches!(resolve("127.0.0.1"), Err(Error::Resolve { .. })));
        assert_eq!(
            resolve(("127.0.0.1", 5)).unwrap(),
            ["127.0.0.1:5".parse().unwrap()]
        );
    }
}
