//! HELLO and its answer, on either side.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{select, Receiver, Sender};
use log::debug;

use super::hub::{next_id, Hub, Side, Slot, Watched, MAX_HANDSHAKES};
use super::link::{Agreement, Link};
use super::lock;
use super::reader::SILENCE;
use super::socket::{prepare, reset, write_now};
use crate::error::{CloseReason, Error, Result};
use crate::event::Event;
use crate::format::{DataType, Dialect};
use crate::options::StreamSize;
use crate::proto::header::{is_reason, reachable, Answer, HeaderError, Hello, Stream, HEADER_LEN};

/// Runs a connection's reader, given the socket and what came early.
pub(crate) type Start = Box<dyn FnOnce(Arc<TcpStream>, Vec<u8>) + Send>;

/// Why no header came.
enum NoHeader {
    Timeout,
    Closed,
    Io(io::Error),
}

/// Reads one header before the deadline: 128 bytes, or fewer ended by a newline or by silence.
/// peerpy takes what one `recv` returns, and people type headers into `nc`. Also returns the bytes
/// that follow a newline. `whole` says whether what came before a silence can be all.
fn read_header(
    socket: &TcpStream,
    deadline: Instant,
    whole: impl Fn(&[u8]) -> bool,
) -> std::result::Result<(Vec<u8>, Vec<u8>), NoHeader> {
    let mut bytes = [0; HEADER_LEN];
    let mut len = 0;
    let found = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break Err(NoHeader::Timeout);
        }
        let wait = if len > 0 { left.min(SILENCE) } else { left };
        socket.set_read_timeout(Some(wait)).map_err(NoHeader::Io)?;
        match (&*socket).read(&mut bytes[len..]) {
            Ok(0) => break Err(NoHeader::Closed),
            Ok(n) => {
                let newline = bytes[len..len + n].iter().position(|b| *b == b'\n');
                len += n;
                if let Some(newline) = newline {
                    let end = len - n + newline;
                    let header = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
                    break Ok((header.to_vec(), bytes[end + 1..len].to_vec()));
                }
                if len == HEADER_LEN {
                    break Ok((bytes.to_vec(), Vec::new()));
                }
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    if len > 0 && whole(&bytes[..len]) {
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

/// Tells the other side no; says whether that could be written. The program's reasons are checked
/// before.
pub(super) fn deny(socket: &TcpStream, reason: &str) -> bool {
    let answer = Answer::Deny {
        reason: Some(reason.to_owned()),
    };
    let written = answer
        .write()
        .is_ok_and(|header| write_answer(socket, &header));
    let _ = socket.shutdown(Shutdown::Write);
    written
}

/// The socket of a handshake is empty: either it takes a header whole, or it is broken.
fn write_answer(socket: &TcpStream, header: &[u8]) -> bool {
    if cfg!(unix) {
        matches!(write_now(socket, &[IoSlice::new(header)]), Ok(n) if n == header.len())
    } else {
        (&*socket).write_all(header).is_ok()
    }
}

/// Lets the other side read a DENY: closing a socket with unread input would reset it.
fn linger(socket: &TcpStream) {
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

// The side that is asked

/// Takes an accepted socket: a thread of its own reads the HELLO.
pub(super) fn receive(hub: &Arc<Hub>, socket: TcpStream, remote: SocketAddrV4) {
    let socket = Arc::new(socket);
    let failed = |reason: String| {
        hub.emit(Event::HandshakeFailed {
            remote: remote.into(),
            reason,
        })
    };
    if hub.handshakes() >= MAX_HANDSHAKES {
        deny(&socket, "busy");
        return failed(format!("there are {MAX_HANDSHAKES} handshakes under way"));
    }
    let Ok(watched) = hub.watch(&socket, Side::Asked) else {
        return;
    };
    let (own_hub, own) = (Arc::clone(hub), Arc::clone(&socket));
    let work = move || answer(&own_hub, own, remote, watched);
    if let Err(error) = hub.spawn(format!("lanpeer-r-{}", next_id()), work) {
        deny(&socket, "busy");
        failed(format!("no thread for it: {error}"));
    }
}

/// A new connection's reader thread: the handshake, the program's word, and then its reader.
fn answer(hub: &Arc<Hub>, socket: Arc<TcpStream>, remote: SocketAddrV4, watched: Watched) {
    let (hello, early) = match read_hello(hub, &socket) {
        Ok(read) => read,
        Err(reason) => {
            debug!("{remote}: {reason}");
            return hub.emit(Event::HandshakeFailed {
                remote: remote.into(),
                reason,
            });
        }
    };
    let peer_addr = reachable(hello.addr, *remote.ip());
    let refuse = |word: &str| {
        deny(&socket, word);
        debug!("denied {peer_addr}: {word}");
        hub.emit(Event::Denied {
            peer_addr: peer_addr.into(),
            reason: word.to_owned(),
        });
        linger(&socket);
    };
    let dialect = if hello.lanpeer {
        Dialect::Lanpeer
    } else {
        Dialect::Peerpy
    };
    let stream = match hello.stream.map(|stream| stream_size(stream, hub)) {
        None => None,
        Some(Ok(stream)) => Some(stream),
        Some(Err(word)) => return refuse(word),
    };
    if hello.data_type == DataType::Raw && dialect == Dialect::Peerpy {
        return refuse("unsupported");
    }
    if peer_addr == hub.local_addr {
        return refuse("self");
    }
    let Ok(slot) = hub.slot() else {
        return refuse("busy");
    };
    let agreed = Agreement {
        peer_addr,
        data_type: hello.data_type,
        strict: hello.strict,
        stream,
        dialect,
    };
    let (decided, decision) = crossbeam_channel::bounded(1);
    let shared = Arc::new(Mutex::new(Decision::Waiting(Asked {
        hub: Arc::clone(hub),
        socket: Arc::clone(&socket),
        slot,
        watched,
    })));
    let pending = Pending {
        shared: Arc::clone(&shared),
        agreed,
        _decided: decided,
    };
    if let Err(pending) = hub.deliver(pending) {
        pending.deny("busy");
    }
    wait_for_decision(hub, &socket, &shared, &decision, early.is_empty());
    let decision = std::mem::replace(&mut *lock(&shared), Decision::Over);
    match decision {
        Decision::Accepted(start) => start(socket, early),
        Decision::Denied => linger(&socket),
        // The other side has hung up, or the peer was stopped.
        Decision::Waiting(_) | Decision::Over => {}
    }
}

fn read_hello(hub: &Hub, socket: &TcpStream) -> std::result::Result<(Hello, Vec<u8>), String> {
    let timeout = hub.settings.timeout;
    let refuse = |word: &str, error: HeaderError| {
        deny(socket, word);
        linger(socket);
        error.to_string()
    };
    prepare(socket, hub.settings.keepalive).map_err(|error| error.to_string())?;
    let (header, early) = read_header(socket, Instant::now() + timeout, |b| {
        Hello::parse(b).is_ok()
    })
    .map_err(|missing| match missing {
        NoHeader::Timeout => format!("no HELLO within {timeout:?}"),
        NoHeader::Closed => "it hung up before HELLO".to_owned(),
        NoHeader::Io(error) => error.to_string(),
    })?;
    match Hello::parse(&header) {
        Ok(hello) => Ok((hello, early)),
        Err(error @ HeaderError::DataType(_)) => Err(refuse("type", error)),
        Err(error) => Err(refuse("malformed", error)),
    }
}

fn stream_size(stream: Stream, hub: &Hub) -> std::result::Result<StreamSize, &'static str> {
    match stream {
        Stream::FromFirst => Ok(StreamSize::FromFirst),
        Stream::Of(size) => match usize::try_from(size) {
            Ok(size) if size <= hub.settings.max_message_size => Ok(StreamSize::Of(size)),
            _ => Err("size"),
        },
    }
}

/// Waits until the program has decided, the other side has hung up, or the peer is stopped.
///
/// Most of that waiting is a blocked look at the socket: it ends when data comes, which is when the
/// other side has its ACCEPT and sends, or at the end of input. So an accepted connection needs no
/// wake-up between its threads.
fn wait_for_decision(
    hub: &Hub,
    socket: &TcpStream,
    shared: &Mutex<Decision>,
    decision: &Receiver<()>,
    nothing_early: bool,
) {
    let mut gone = false;
    while nothing_early {
        match socket.peek(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(n) if n > 0 => break,
            _ => gone = true,
        }
        break;
    }
    if gone || !matches!(*lock(shared), Decision::Waiting(_)) {
        return;
    }
    // It speaks before it is asked to. The end of input would now be hidden behind its data.
    select! {
        recv(decision) -> _ => {}
        recv(hub.stopping) -> _ => {}
    }
}

enum Decision {
    Waiting(Asked),
    Accepted(Start),
    Denied,
    /// Nothing can be decided any more.
    Over,
}

/// What an undecided offer holds.
struct Asked {
    hub: Arc<Hub>,
    socket: Arc<TcpStream>,
    slot: Slot,
    watched: Watched,
}

/// An offer that waits for the program's word. Dropped without one, it is denied.
pub(crate) struct Pending {
    shared: Arc<Mutex<Decision>>,
    pub agreed: Agreement,
    /// Its drop tells the reader thread that there is a decision.
    _decided: Sender<()>,
}

impl Pending {
    /// Has the other side hung up?
    pub fn is_gone(&self) -> bool {
        matches!(*lock(&self.shared), Decision::Over)
    }

    /// Answers ACCEPT. `start` makes, for the new connection, what its reader thread will run.
    pub fn accept<T>(self, start: impl FnOnce(&Arc<Link>) -> (T, Start)) -> Result<T> {
        let mut decision = lock(&self.shared);
        let asked = match std::mem::replace(&mut *decision, Decision::Over) {
            Decision::Waiting(asked) => asked,
            other => {
                *decision = other;
                return Err(Error::Withdrawn);
            }
        };
        let Asked {
            hub,
            socket,
            slot,
            watched,
        } = asked;
        let entered = Link::new(&hub, &socket, self.agreed, slot)
            .map_err(|_| Error::Withdrawn)
            .and_then(|link| {
                let made = start(&link);
                hub.enter(&link)?;
                Ok((link, made))
            });
        drop(watched);
        let (link, (connection, start)) = entered.inspect_err(|_| {
            deny(&socket, "stopped");
            let _ = socket.shutdown(Shutdown::Read);
        })?;
        // Before the answer goes out: the other side may send at once.
        *decision = Decision::Accepted(start);
        let answer = Answer::Accept {
            lanpeer: self.agreed.dialect == Dialect::Lanpeer,
        };
        if !answer
            .write()
            .is_ok_and(|header| write_answer(&socket, &header))
        {
            link.kill(CloseReason::Reset);
            return Err(Error::Withdrawn);
        }
        Ok(connection)
    }

    /// Answers DENY, if that still makes a difference.
    pub fn deny(&self, reason: &str) -> bool {
        let mut decision = lock(&self.shared);
        let asked = match std::mem::replace(&mut *decision, Decision::Denied) {
            Decision::Waiting(asked) => asked,
            other => {
                *decision = other;
                return false;
            }
        };
        let told = deny(&asked.socket, reason);
        // Wakes the reader thread, which looks at the socket.
        let _ = asked.socket.shutdown(Shutdown::Read);
        let peer_addr = self.agreed.peer_addr.into();
        asked.hub.emit(Event::Denied {
            peer_addr,
            reason: reason.to_owned(),
        });
        told
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.deny("dropped");
    }
}

/// Checks a reason that the program gives.
pub(crate) fn check_reason(reason: &str) -> Result<()> {
    if is_reason(reason) {
        return Ok(());
    }
    let what = "one word of 1 to 64 letters, digits, `-`, `_` or `.`";
    Err(Error::InvalidOption {
        option: "reason",
        reason: format!("`{}` is not {what}", reason.escape_debug()),
    })
}

// The side that asks

/// What a connection is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub data_type: DataType,
    pub strict: bool,
    pub stream: Option<StreamSize>,
    pub timeout: Duration,
}

/// Asks the peer that listens at one of `addrs`, and starts the connection's reader.
pub(crate) fn connect<T>(
    hub: &Arc<Hub>,
    addrs: &[SocketAddrV4],
    request: Request,
    start: impl FnOnce(&Arc<Link>) -> (T, Start),
) -> Result<T> {
    hub.check_running()?;
    let slot = hub.slot()?;
    let deadline = Instant::now() + request.timeout;
    let (socket, addr) = reach(hub, addrs, request.timeout, deadline)?;
    let io = |context| move |source| Error::Io { context, source };
    prepare(&socket, hub.settings.keepalive).map_err(io("the socket's options"))?;
    let socket = Arc::new(socket);
    let watched = hub.watch(&socket, Side::Asking)?;
    let result = ask(hub, &socket, addr, request, deadline);
    let (dialect, early) = match result {
        Err(_) if hub.is_stopped() => return Err(Error::Stopped),
        result => result?,
    };
    if request.data_type == DataType::Raw && dialect == Dialect::Peerpy {
        // It has accepted, and would not notice a FIN.
        reset(&socket);
        return Err(Error::FeatureMissing {
            feature: "pickle",
            needed_for: "raw towards a peer that is not a lanpeer",
        });
    }
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
    };
    let link = Link::new(hub, &socket, agreed, slot).map_err(io("the socket's addresses"))?;
    let (connection, start) = start(&link);
    hub.enter(&link)?;
    drop(watched);
    if let Err(source) = hub.spawn(format!("lanpeer-r-{}", link.id), move || {
        start(socket, early)
    }) {
        link.kill(CloseReason::Aborted);
        link.end();
        return Err(Error::Io {
            context: "the reader thread",
            source,
        });
    }
    Ok(connection)
}

/// Opens the TCP connection.
fn reach(
    hub: &Hub,
    addrs: &[SocketAddrV4],
    timeout: Duration,
    deadline: Instant,
) -> Result<(TcpStream, SocketAddrV4)> {
    let own = hub.local_addr;
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
        match TcpStream::connect_timeout(&addr.into(), left) {
            Ok(socket) => {
                let here = socket
                    .local_addr()
                    .is_ok_and(|here| here.ip() == *addr.ip());
                if here && addr.port() == own.port() && own.ip().is_unspecified() {
                    return Err(Error::SelfConnection { addr: addr.into() });
                }
                return Ok((socket, addr));
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

/// Sends HELLO and reads the answer.
fn ask(
    hub: &Hub,
    socket: &TcpStream,
    addr: SocketAddrV4,
    request: Request,
    deadline: Instant,
) -> Result<(Dialect, Vec<u8>)> {
    let failed = |reason: String| Error::Handshake {
        addr: addr.into(),
        reason,
    };
    let source = socket
        .local_addr()
        .map_err(|error| failed(error.to_string()))?;
    let std::net::IpAddr::V4(source) = source.ip() else {
        return Err(failed("not IPv4".to_owned()));
    };
    let stream = request.stream.map(|stream| match stream {
        StreamSize::FromFirst => Stream::FromFirst,
        StreamSize::Of(size) => Stream::Of(size as u64),
    });
    let hello = Hello {
        addr: reachable(hub.local_addr, source),
        data_type: request.data_type,
        strict: request.strict,
        stream,
        lanpeer: true,
    };
    let header = hello.write().map_err(|error| failed(error.to_string()))?;
    (&*socket)
        .write_all(&header)
        .map_err(|error| failed(error.to_string()))?;
    let (answer, early) = read_header(socket, deadline, |bytes| Answer::parse(bytes).is_ok())
        .map_err(|missing| match missing {
            NoHeader::Timeout => Error::TimedOut {
                addr: addr.into(),
                after: request.timeout,
            },
            NoHeader::Closed => failed("it hung up without an answer".to_owned()),
            NoHeader::Io(error) => failed(error.to_string()),
        })?;
    match Answer::parse(&answer).map_err(|error| failed(error.to_string()))? {
        Answer::Accept { lanpeer: true } => Ok((Dialect::Lanpeer, early)),
        Answer::Accept { lanpeer: false } => Ok((Dialect::Peerpy, early)),
        Answer::Deny { reason } => Err(Error::Denied {
            addr: addr.into(),
            reason,
        }),
    }
}
