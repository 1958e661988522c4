//! Connections that this peer asks for: the TCP connection, the client's handshake, and the reader.
//!
//! With one address the calling thread does it all. Meanwhile it keeps a place among the connections,
//! and the socket where `stop` finds it. With several, [`race`] tries them.

mod race;
mod withdrawal;

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use log::debug;

pub(crate) use self::withdrawal::Withdrawal;
use crate::error::{Error, Result};
use crate::net::endpoint::{Begin, Endpoint, Watched, begun};
use crate::net::handshake::client::{Accepted, Client, Failure, Request, handshake_error};
use crate::net::handshake::{Input, Machine, io as handshake};
use crate::net::link::Link;
use crate::net::os::LOG;
use crate::net::os::socket::{self, ends, prepare, reset};
use crate::net::os::sync::{Instant, TcpStream};
use crate::net::os::system::{Domain, Protocol, Socket, Type};
use crate::net::os::threads::{Held, Waiting};
use crate::net::wire::early::{Early, Seen, Start};

/// Connects to the peer that listens at one of `addrs`, the likeliest first, and starts the
/// connection's reader. Gives up, with any error, when it is withdrawn.
pub(crate) fn connect<T>(
    endpoint: &Arc<Endpoint>,
    addrs: &[SocketAddrV4],
    request: Request,
    withdrawal: &Arc<Withdrawal>,
    start: impl FnOnce(&Arc<Link>) -> (T, Start),
) -> Result<T> {
    begun(start, |start| {
        connect_any(endpoint, addrs, request, withdrawal, start)
    })
}

/// [`connect`] for any type of connection, so that it is compiled once and not for each.
fn connect_any(
    endpoint: &Arc<Endpoint>,
    addrs: &[SocketAddrV4],
    request: Request,
    withdrawal: &Arc<Withdrawal>,
    start: Begin<'_>,
) -> Result<()> {
    let connected = try_connect(endpoint, addrs, request, withdrawal, start);
    if connected.is_err() {
        endpoint.connect_failed();
    }
    if let (Err(error), Some(addr)) = (&connected, addrs.last()) {
        debug!(target: LOG, "no connection to {addr}: {}", error.without_quotes());
    }
    connected
}

/// [`connect_any`], without what is told of a failure.
fn try_connect(
    endpoint: &Arc<Endpoint>,
    addrs: &[SocketAddrV4],
    request: Request,
    withdrawal: &Arc<Withdrawal>,
    start: Begin<'_>,
) -> Result<()> {
    endpoint.check_running()?;
    // Its place, given back wherever this returns without a connection.
    let slot = endpoint.slot()?;
    let deadline = Instant::now() + request.timeout;
    let Agreed {
        accepted,
        socket,
        ends,
        watched,
        reader,
        held: _held,
    } = match addrs {
        [] => {
            let source = io::ErrorKind::NotFound.into();
            return Err(Error::Resolve { source });
        }
        [addr] => agree(endpoint, *addr, request, deadline, withdrawal, || {})?,
        addrs => race::agree_with_one(endpoint, addrs, request, deadline, withdrawal)?,
    };
    // The other side has accepted and may send already. A FIN would tell it that all of that was
    // taken in.
    if !withdrawal.settle(&socket) {
        reset(&socket);
        return Err(Error::Withdrawn);
    }
    let Accepted {
        agreed,
        session,
        early,
    } = *accepted;
    let link = endpoint.link(&socket, ends, agreed, slot, session);
    // Before the connection is entered: from there on others find it, and it must have its queue.
    let start = start(&link);
    // Takes the socket off the list of handshakes. From here on `stop` finds it among the connections,
    // once it is entered; or `enter` finds the flag.
    drop(watched);
    // A reset and no FIN where the peer was stopped meanwhile, for the same reason as above.
    endpoint
        .enter(&link)
        .inspect_err(|error| link.kill(endpoint.why_not_entered(error)))?;
    #[cfg(test)]
    let _ = crate::net::faults::before_thread(endpoint.local_addr, "entered");
    let early = Early {
        bytes: early,
        seen: Seen::Nothing,
    };
    // Last: the reader may run a handler, which finds a connection that is listed.
    reader.run(Box::new(move || start(early)));
    Ok(())
}

/// The other side has accepted; there is no connection yet. Several threads may get this far in one call;
/// what each holds is given back when this is dropped.
struct Agreed {
    accepted: Box<Accepted>,
    socket: Arc<TcpStream>,
    ends: (SocketAddrV4, SocketAddrV4),
    /// Keeps the socket where `stop` finds it.
    watched: Watched,
    /// The thread that will read the connection.
    reader: Waiting,
    /// `stop` waits for this call as it does for a thread.
    held: Held,
}

/// Asks at one address, and waits for the answer. `reached` is called when the TCP connection is there.
/// Runs on the calling thread if there is one address, else on a thread for each.
fn agree(
    endpoint: &Arc<Endpoint>,
    addr: SocketAddrV4,
    request: Request,
    deadline: Instant,
    withdrawal: &Withdrawal,
    reached: impl FnOnce(),
) -> Result<Agreed> {
    // `stop` shuts the socket down; what comes of that is no failure of the other side.
    let unless_stopped = |error| endpoint.check_running().err().unwrap_or(error);
    let Reached {
        socket,
        ends,
        watched,
    } = reach(endpoint, addr, request.timeout, deadline, withdrawal).map_err(unless_stopped)?;
    // From here on the other side may learn of this attempt. Fails if it was withdrawn before.
    withdrawal.speak().inspect_err(|_| reset(&socket))?;
    reached();
    // `stop` waits for this call as it does for a thread: it must not return while one is entered.
    let held = endpoint.hold().inspect_err(|_| reset(&socket))?;
    let settings = &endpoint.settings;
    let (mut client, hello) =
        Client::new(settings, endpoint.local_addr, *ends.0.ip(), addr, request)
            .map_err(unless_stopped)?;
    handshake::write(&socket, &hello)
        .map_err(|error| unless_stopped(handshake_error(addr, error.to_string())))?;
    // The thread is started now, while the other side decides, and so it is known to be had before
    // the connection is open.
    let reader = endpoint.reader_thread().map_err(|source| {
        reset(&socket);
        let context = "the reader thread";
        Error::Io { context, source }
    })?;
    let first = client.take(Input::Bytes(&[]));
    let accepted = handshake::run(&socket, &mut client, first, deadline, &|_| {}, &|_| true);
    let accepted = accepted.map_err(|failure| {
        let Failure {
            error,
            reset: is_due,
        } = failure;
        // The other side has accepted and may send already. A FIN would tell it that all of that was
        // taken in.
        if is_due {
            reset(&socket);
        }
        unless_stopped(error)
    })?;
    Ok(Agreed {
        accepted,
        socket,
        ends,
        watched,
        reader,
        held,
    })
}

/// A TCP connection.
struct Reached {
    socket: Arc<TcpStream>,
    /// Asked for at once. Whoever accepts the connection may reset it at any time, and then it has no
    /// ends any more.
    ends: (SocketAddrV4, SocketAddrV4),
    watched: Watched,
}

/// Opens a TCP connection. From before the system's connect on, `stop` and whoever withdraws can end it.
fn reach(
    endpoint: &Arc<Endpoint>,
    addr: SocketAddrV4,
    timeout: Duration,
    deadline: Instant,
    withdrawal: &Withdrawal,
) -> Result<Reached> {
    let own = endpoint.local_addr;
    // A peer does not connect to itself, by whichever of the addresses that lead to it.
    let own_ip = own.ip() == addr.ip() || (own.ip().is_unspecified() && addr.ip().is_loopback());
    if addr.port() == own.port() && (own_ip || addr.ip().is_unspecified()) {
        return Err(Error::SelfConnection { addr: addr.into() });
    }
    let late = || Error::TimedOut {
        addr: addr.into(),
        after: timeout,
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(late());
    }
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP));
    let socket = socket.map_err(|source| Error::Io {
        context: "a socket",
        source,
    })?;
    let socket = Arc::new(TcpStream::from(socket));
    prepare(&socket, endpoint.settings.keepalive).map_err(|source| Error::Io {
        context: "the socket's options",
        source,
    })?;
    // Before the connect: `stop` shuts the socket down, which ends a connect that waits. So does
    // whoever withdraws.
    let watched = endpoint.watch(&socket)?;
    withdrawal.cover(&socket)?;
    // The system counts the timeout in milliseconds and rounds it down: without one more it could end
    // before the deadline.
    let left = left + Duration::from_millis(1);
    let connected = socket::connect(&socket, addr, left);
    match connected.and_then(|()| ends(&socket)) {
        Ok(ends) => {
            // Where this peer listens on every interface, only a connection shows which addresses are
            // its own: then both ends have the same.
            let here = ends.0.ip() == addr.ip();
            if here && addr.port() == own.port() && own.ip().is_unspecified() {
                return Err(Error::SelfConnection { addr: addr.into() });
            }
            Ok(Reached {
                socket,
                ends,
                watched,
            })
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(late()),
        Err(source) => Err(Error::Connect {
            addr: addr.into(),
            source,
        }),
    }
}
