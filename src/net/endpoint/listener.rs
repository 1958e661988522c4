//! The thread that accepts connections. It waits for none of them: each gets a thread of its own at
//! once, so that no client can delay another.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use log::{debug, warn};

use crate::error::{Error, Result};
use crate::event::Event;
use crate::net::endpoint::{Endpoint, offers};
use crate::net::os::LOG;
use crate::net::os::sync::TcpStream;
use crate::net::os::system::{SockRef, TcpListener};

/// How many connections the system keeps for this peer until they are accepted; std asks for 128. The TCP
/// of a client that finds no room tries again only after a second.
const BACKLOG: i32 = 1024;

/// Starts the thread that listens. The closure that it returns ends the thread's `accept`, for `stop`,
/// which has set the flag before.
pub(crate) fn listen(
    endpoint: &Arc<Endpoint>,
    listener: TcpListener,
) -> Result<impl Fn() + Send + Sync + use<>> {
    let context = "the listener";
    make_room(&listener);
    let listener = Arc::new(listener);
    let (own_endpoint, own) = (Arc::clone(endpoint), Arc::clone(&listener));
    endpoint
        .threads
        .spawn("lanpeer-listen".to_owned(), move || {
            accept_all(&own_endpoint, &own)
        })
        .map_err(|source| Error::Io { context, source })?;
    debug!(target: LOG, "{}: listening", endpoint.local_addr);
    let endpoint = Arc::clone(endpoint);
    let listener = Arc::downgrade(&listener);
    Ok(move || {
        if let Some(listener) = listener.upgrade() {
            end_accept(&listener, endpoint.local_addr);
        }
    })
}

/// Ends a blocked `accept`.
fn end_accept(listener: &TcpListener, mut addr: SocketAddrV4) {
    // This needs no file descriptor, of which there may be none.
    let _ = SockRef::from(listener).shutdown(std::net::Shutdown::Both);
    // On Linux that ends `accept`. It also frees the port, and so a connection to it could meet a
    // stranger. Elsewhere only a connection ends `accept`.
    if cfg!(not(any(target_os = "linux", target_os = "android"))) {
        if addr.ip().is_unspecified() {
            addr.set_ip(Ipv4Addr::LOCALHOST);
        }
        let _ = TcpStream::connect_timeout(&addr.into(), Duration::from_millis(200));
    }
}

/// Asks for a longer queue. Linux gives at most what net.core.somaxconn says, and some systems keep
/// the length that was asked for first. So it may fail, and does no harm then.
fn make_room(listener: &TcpListener) {
    let _ = SockRef::from(listener).listen(BACKLOG);
}

/// The listener thread: accepts until `stop` sets the flag and wakes it. No error ends it, since nobody
/// could connect any more.
fn accept_all(endpoint: &Arc<Endpoint>, listener: &TcpListener) {
    let mut trouble = 0;
    loop {
        let accepted = listener.accept();
        if endpoint.is_stopped() {
            return;
        }
        match accepted {
            Ok((socket, SocketAddr::V4(remote))) => {
                trouble = 0;
                offers::receive(endpoint, socket, remote);
            }
            // Cannot be: the listener is an IPv4 socket.
            Ok((_, SocketAddr::V6(_))) => {}
            // The client has gone before it was accepted.
            Err(error) if is_transient(&error) => {}
            Err(error) => {
                // There are no file descriptors, or no memory. The program is told once. Then this
                // is tried again until it works, with pauses of 10 to 100 ms.
                if trouble == 0 {
                    warn!(target: LOG, "{}: cannot accept: {error}", endpoint.local_addr);
                    endpoint.emit(Event::ListenerTrouble {
                        reason: error.to_string(),
                    });
                }
                trouble += 1;
                endpoint.pause(Duration::from_millis(10 * trouble.min(10)));
            }
        }
    }
}

/// Does this error concern one client, or nothing at all? Then the next may be accepted at once.
fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | WouldBlock
    )
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};

    /// The one that is stopped, and another that has got its port meanwhile.
    #[test]
    fn who_has_the_port_next_hears_nothing_of_it() {
        let bind = |port| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_reuse_port(true).unwrap();
            let addr = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
            socket.bind(&addr.into()).unwrap();
            socket.listen(1).unwrap();
            TcpListener::from(socket)
        };
        let stopped = bind(0);
        let addr = stopped.local_addr().unwrap();
        let SocketAddr::V4(v4) = addr else {
            panic!("{addr}")
        };
        let next = bind(addr.port());
        let accepting = std::thread::spawn({
            let stopped = stopped.try_clone().unwrap();
            move || stopped.accept().map(|_| ())
        });
        end_accept(&stopped, v4);
        assert!(accepting.join().unwrap().is_err());
        next.set_nonblocking(true).unwrap();
        let heard = next.accept().map(|_| ()).map_err(|error| error.kind());
        assert_eq!(heard, Err(io::ErrorKind::WouldBlock));
    }

    #[test]
    fn those_who_come_at_once_find_room() {
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let count = 300.min(most.trim().parse().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        make_room(&listener);
        let addr = listener.local_addr().unwrap();
        // Nobody accepts them: all wait in the system's queue.
        let waiting: Result<Vec<_>, _> = (0..count)
            .map(|_| TcpStream::connect_timeout(&addr, Duration::from_secs(20)))
            .collect();
        assert_eq!(waiting.unwrap().len(), count);
    }
}
