//! The side that asks: opens the TCP connection, sends HELLO, reads the answer.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::debug;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::error::{CloseReason, Error, Result};
use crate::format::{DataType, Dialect, HAS_PICKLE};
use crate::net::endpoint::{Endpoint, Side, Watched, next_id};
use crate::net::handshake::{NoHeader, read_full, read_header};
use crate::net::link::pump::{Early, Seen, Start};
use crate::net::link::{Agreement, Link};
use crate::net::os::LOG;
use crate::net::os::socket::{ends, prepare, reset};
use crate::net::wire::record::read_answer;
use crate::options::StreamSize;
use crate::proto::header::{Answer, HEADER_LEN, Hello, Stream, Suite, reachable};
use crate::secure::handshake::{MESSAGE, join};
use crate::secure::{self, Forged, Session};

/// What a connection is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub data_type: DataType,
    pub strict: bool,
    pub stream: Option<StreamSize>,
    pub timeout: Duration,
    /// Not encrypted, also where there is a secret.
    pub in_the_clear: bool,
}

/// Asks the peer that listens at one of `addrs`, and starts the connection's reader.
pub(crate) fn connect<T>(
    endpoint: &Arc<Endpoint>,
    addrs: &[SocketAddrV4],
    request: Request,
    start: impl FnOnce(&Arc<Link>) -> (T, Start),
) -> Result<T> {
    let connected = try_connect(endpoint, addrs, request, start);
    if let (Err(error), Some(addr)) = (&connected, addrs.last()) {
        debug!(target: LOG, "no connection to {addr}: {}", error.without_quotes());
    }
    connected
}

fn try_connect<T>(
    endpoint: &Arc<Endpoint>,
    addrs: &[SocketAddrV4],
    request: Request,
    start: impl FnOnce(&Arc<Link>) -> (T, Start),
) -> Result<T> {
    endpoint.check_running()?;
    let slot = endpoint.slot()?;
    let deadline = Instant::now() + request.timeout;
    let reached = reach(endpoint, addrs, request.timeout, deadline);
    let Reached {
        socket,
        addr,
        ends,
        watched,
    } = match reached {
        Err(_) if endpoint.is_stopped() => return Err(Error::Stopped),
        reached => reached?,
    };
    let io = |context| move |source| Error::Io { context, source };
    let _held = endpoint.hold().inspect_err(|_| reset(&socket))?;
    let hello = greet(endpoint, &socket, addr, *ends.0.ip(), request);
    let hello = hello.map_err(|error| endpoint.check_running().err().unwrap_or(error))?;
    // It starts while the other side thinks.
    let reader = endpoint
        .spawn_waiting(format!("lanpeer-r-{}", next_id()))
        .map_err(|source| {
            reset(&socket);
            io("the reader thread")(source)
        })?;
    let answered = read_answers(endpoint, &socket, addr, request, hello, deadline);
    let Answered {
        dialect,
        session,
        early: bytes,
    } = answered.map_err(|error| endpoint.check_running().err().unwrap_or(error))?;
    if request.data_type == DataType::Raw && dialect == Dialect::Peerpy && !HAS_PICKLE {
        // It has accepted, and would not notice a FIN.
        reset(&socket);
        return Err(Error::FeatureMissing {
            feature: "pickle",
            needed_for: "raw towards a peer that is not a lanpeer",
        });
    }
    let early = Early {
        bytes,
        seen: Seen::Nothing,
    };
    let Request {
        data_type,
        strict,
        stream,
        ..
    } = request;
    let agreed = Agreement {
        peer_addr: addr,
        data_type,
        strict,
        stream,
        dialect,
        secure: session.is_some(),
    };
    let link = endpoint.link(&socket, ends, agreed, slot, session);
    let (connection, start) = start(&link);
    // From here on `stop` ends it as a connection.
    drop(watched);
    // Accepted, the other side may send already: a FIN would say that all of it was taken in.
    endpoint
        .enter(&link)
        .inspect_err(|_| link.kill(CloseReason::Stopped))?;
    #[cfg(test)]
    let _ = crate::net::faults::before_thread(endpoint.local_addr, "entered");
    reader.run(Box::new(move || start(early)));
    Ok(connection)
}

/// A TCP connection.
struct Reached {
    socket: Arc<TcpStream>,
    addr: SocketAddrV4,
    /// Seen at once: whoever accepts may reset it, and then it has none any more.
    ends: (SocketAddrV4, SocketAddrV4),
    watched: Watched,
}

/// Opens it.
fn reach(
    endpoint: &Arc<Endpoint>,
    addrs: &[SocketAddrV4],
    timeout: Duration,
    deadline: Instant,
) -> Result<Reached> {
    let own = endpoint.local_addr;
    let mut failure = None;
    for &addr in addrs {
        let own_ip =
            own.ip() == addr.ip() || (own.ip().is_unspecified() && addr.ip().is_loopback());
        if addr.port() == own.port() && (own_ip || addr.ip().is_unspecified()) {
            return Err(Error::SelfConnection { addr: addr.into() });
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
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
        // `stop` shuts it down, which also ends a connect that waits.
        let watched = endpoint.watch(&socket, Side::Asking)?;
        // It counts in milliseconds and rounds down.
        let left = left + Duration::from_millis(1);
        let connected = SockRef::from(&*socket).connect_timeout(&addr.into(), left);
        match connected.and_then(|()| ends(&socket)) {
            Ok(ends) => {
                let here = ends.0.ip() == addr.ip();
                if here && addr.port() == own.port() && own.ip().is_unspecified() {
                    return Err(Error::SelfConnection { addr: addr.into() });
                }
                return Ok(Reached {
                    socket,
                    addr,
                    ends,
                    watched,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            Err(source) => {
                failure = Some(Error::Connect {
                    addr: addr.into(),
                    source,
                })
            }
        }
    }
    match (failure, addrs.last()) {
        (Some(failure), _) => Err(failure),
        (None, Some(&addr)) => Err(Error::TimedOut {
            addr: addr.into(),
            after: timeout,
        }),
        (None, None) => Err(Error::Resolve {
            source: io::ErrorKind::NotFound.into(),
        }),
    }
}

/// What was answered, if not no.
struct Answered {
    dialect: Dialect,
    session: Option<Session>,
    early: Vec<u8>,
}

/// Sends HELLO; returns what it said, and its bytes.
fn greet(
    endpoint: &Endpoint,
    mut socket: &TcpStream,
    addr: SocketAddrV4,
    source: Ipv4Addr,
    request: Request,
) -> Result<(Hello, [u8; HEADER_LEN])> {
    let failed = |reason: String| Error::Handshake {
        addr: addr.into(),
        reason,
    };
    let stream = request.stream.map(|stream| match stream {
        StreamSize::FromFirst => Stream::FromFirst,
        StreamSize::Of(size) => Stream::Of(size as u64),
    });
    let hello = Hello {
        addr: reachable(endpoint.local_addr, source),
        data_type: request.data_type,
        strict: request.strict,
        stream,
        lanpeer: true,
        secure: own_suite(endpoint, request),
    };
    let header = hello.write().map_err(|error| failed(error.to_string()))?;
    socket
        .write_all(&header)
        .map_err(|error| failed(error.to_string()))?;
    Ok((hello, header))
}

/// Reads the answer to it.
fn read_answers(
    endpoint: &Endpoint,
    socket: &TcpStream,
    addr: SocketAddrV4,
    request: Request,
    (hello, header): (Hello, [u8; HEADER_LEN]),
    deadline: Instant,
) -> Result<Answered> {
    let failed = |reason: String| Error::Handshake {
        addr: addr.into(),
        reason,
    };
    let (answer, early) = read_header(socket, &[], deadline, Answer::may_be_whole)
        .map_err(|missing| unanswered(missing, addr, request))?;
    let parse = |answer: &[u8]| Answer::parse(answer).map_err(|error| failed(error.to_string()));
    let denied = |reason| Error::Denied {
        addr: addr.into(),
        reason,
    };
    let (lanpeer, accepted) = match parse(&answer)? {
        Answer::Accept { lanpeer, secure } => (lanpeer, secure),
        Answer::Deny { reason } => return Err(denied(reason)),
    };
    let session = match (hello.secure, accepted) {
        (None, None) => None,
        (Some(_), None) => {
            // A peerpy has accepted, and would not notice a FIN.
            reset(socket);
            return Err(Error::NotSecure { addr: addr.into() });
        }
        (Some(offered), Some(suite))
            if lanpeer
                && [offered, Suite::ChaCha].contains(&suite)
                && answer.len() == HEADER_LEN
                && early.is_empty() =>
        {
            let headers = (&header[..], &answer[..]);
            let proved = prove(endpoint, socket, suite, headers, deadline);
            let (session, answer) = proved
                .map_err(|missing| unanswered(missing, addr, request))?
                .map_err(|Forged| Error::Forged { addr: addr.into() })?;
            match parse(&answer)? {
                Answer::Accept { .. } => Some(session),
                Answer::Deny { reason } => return Err(denied(reason)),
            }
        }
        _ => {
            return Err(failed(
                "it wants an encryption that was not offered".to_owned(),
            ));
        }
    };
    let dialect = if lanpeer {
        Dialect::Lanpeer
    } else {
        Dialect::Peerpy
    };
    Ok(Answered {
        dialect,
        session,
        early,
    })
}

/// How this connection is to be encrypted, if at all.
fn own_suite(endpoint: &Endpoint, request: Request) -> Option<Suite> {
    endpoint.settings.secrets.own()?;
    (!request.in_the_clear).then(secure::preferred)
}

fn unanswered(missing: NoHeader, addr: SocketAddrV4, request: Request) -> Error {
    let failed = |reason| Error::Handshake {
        addr: addr.into(),
        reason,
    };
    match missing {
        NoHeader::Timeout => Error::TimedOut {
            addr: addr.into(),
            after: request.timeout,
        },
        NoHeader::Closed => failed("it hung up without an answer".to_owned()),
        NoHeader::Io(error) => failed(error.to_string()),
    }
}

/// Proves that this side has the secret, and reads the answer that proves it of the other.
fn prove(
    endpoint: &Endpoint,
    mut socket: &TcpStream,
    suite: Suite,
    (hello, accept): (&[u8], &[u8]),
    deadline: Instant,
) -> std::result::Result<std::result::Result<(Session, Vec<u8>), Forged>, NoHeader> {
    let Some(secret) = endpoint.settings.secrets.own() else {
        return Ok(Err(Forged));
    };
    let mut first = [0; MESSAGE];
    read_full(socket, &mut first, deadline)?;
    let (second, mut session) = match join(suite, secret, hello, accept, &first) {
        Ok(joined) => joined,
        Err(forged) => return Ok(Err(forged)),
    };
    socket.write_all(&second).map_err(NoHeader::Io)?;
    let answer = read_answer(socket, &mut session.opener, deadline)?;
    Ok(answer.map(|answer| (session, answer)))
}
