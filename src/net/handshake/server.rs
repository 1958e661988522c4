//! The side that is asked: reads HELLO, waits for the program's word, answers.

use std::convert::Infallible;
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crossbeam_channel::{Sender, select};

use crate::error::{CloseReason, Error, Result};
use crate::format::{DataType, Dialect, HAS_PICKLE};
use crate::net::endpoint::{Endpoint, MAX_HANDSHAKES, Side, Slot, Watched, next_id};
use crate::net::handshake::{NoHeader, deny, linger, read_full, read_header, sealed, write_answer};
use crate::net::link::pump::{Early, Seen, Start};
use crate::net::link::{Agreement, Link};
use crate::net::os::lock;
use crate::net::os::socket::{ends, has_arrived, has_hung_up, prepare};
use crate::options::StreamSize;
use crate::proto::header::{Answer, HEADER_LEN, HeaderError, Hello, Stream, Suite};
use crate::proto::header::{is_reason, reachable};
use crate::secure::handshake::{Asked as Prover, MESSAGE};
use crate::secure::{self, Session};

/// Takes an accepted socket, never waiting. Where its HELLO is here already, its offer can be made. All
/// others get a thread that reads it.
pub(crate) fn receive(endpoint: &Arc<Endpoint>, socket: TcpStream, remote: SocketAddrV4) {
    let socket = Arc::new(socket);
    let failed = |reason| endpoint.handshake_failed(remote, reason);
    if endpoint.handshakes() >= MAX_HANDSHAKES {
        deny(&socket, None, "busy");
        return failed(format!("there are {MAX_HANDSHAKES} handshakes under way"));
    }
    let Ok(watched) = endpoint.watch(&socket, Side::Asked) else {
        return;
    };
    let begun = match read_at_once(&socket) {
        Ok(begun) => begun,
        // The system tells it once, so that a thread would not meet it.
        Err(error) => return failed(error.to_string()),
    };
    let name = format!("lanpeer-r-{}", next_id());
    let own_endpoint = Arc::clone(endpoint);
    let (started, pending) = match examine_at_once(endpoint, &socket, &begun, remote) {
        Some((agreed, slot)) => {
            let (pending, undecided) = offer(endpoint, &socket, agreed, None, slot, watched);
            let work = move || undecided.wait(&own_endpoint, remote, Vec::new());
            (endpoint.spawn(name, work), Some(pending))
        }
        None => {
            let own = Arc::clone(&socket);
            let work = move || {
                if let Some((undecided, early)) =
                    examine(&own_endpoint, own, begun, remote, watched)
                {
                    undecided.wait(&own_endpoint, remote, early);
                }
            };
            (endpoint.spawn(name, work), None)
        }
    };
    match (started, pending) {
        (Ok(()), Some(pending)) => deliver(endpoint, pending),
        (Ok(()), None) => {}
        (Err(error), pending) => {
            if let Some(pending) = pending {
                pending.forget();
            }
            deny(&socket, None, "busy");
            failed(format!("no thread for it: {error}"));
        }
    }
}

/// A header that is here whole, or else nothing.
fn read_at_once(mut socket: &TcpStream) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    if has_arrived::<HEADER_LEN>(socket)? {
        header.resize(HEADER_LEN, 0);
        socket.read_exact(&mut header)?;
    }
    Ok(header)
}

/// What a client wants whose HELLO is here, if nothing is to be refused and nothing to be proved.
fn examine_at_once(
    endpoint: &Arc<Endpoint>,
    socket: &TcpStream,
    begun: &[u8],
    remote: SocketAddrV4,
) -> Option<(Agreement, Slot)> {
    // One with a newline has an end of its own.
    let whole = begun.len() == HEADER_LEN && !begun.contains(&b'\n');
    if !whole || endpoint.settings.secrets.own().is_some() {
        return None;
    }
    let hello = Hello::parse(begun).ok()?;
    if hello.secure.is_some() {
        return None;
    }
    let agreed = agree(endpoint, &hello, remote).ok()?;
    prepare(socket, endpoint.settings.keepalive).ok()?;
    Some((agreed, endpoint.slot().ok()?))
}

/// Reads HELLO, of which `begun` was read already, has the other side prove what it must, and makes
/// its offer. Returns also what came early. A function of its own, so that a connection need not keep
/// the memory of the stack that it takes.
#[inline(never)]
fn examine(
    endpoint: &Arc<Endpoint>,
    socket: Arc<TcpStream>,
    begun: Vec<u8>,
    remote: SocketAddrV4,
    watched: Watched,
) -> Option<(Undecided, Vec<u8>)> {
    let deadline = Instant::now() + endpoint.settings.timeout;
    let fail = |Unanswerable { reason, word }| {
        endpoint.handshake_failed(remote, reason);
        if let Some(word) = word {
            deny(&socket, None, word);
            linger(&socket);
        }
        None
    };
    let (hello, header, early) = match read_hello(endpoint, &socket, &begun, deadline) {
        Ok(read) => read,
        Err(unanswerable) => return fail(unanswerable),
    };
    let peer_addr = reachable(hello.addr, *remote.ip());
    let refuse = |session: Option<&mut Session>, word: &str| {
        deny(&socket, session, word);
        endpoint.denied(peer_addr, word);
        linger(&socket);
        None
    };
    // First of all: who has not the secret learns nothing else.
    let has_secret = endpoint.settings.secrets.own().is_some();
    let mut session = match hello.secure {
        None if has_secret && !endpoint.settings.clear_offers => return refuse(None, "secret"),
        None => None,
        Some(_) if !has_secret => return refuse(None, "no-secret"),
        Some(_) if header.len() != HEADER_LEN || !hello.lanpeer => {
            return refuse(None, "malformed");
        }
        Some(suite) => match prove(endpoint, &socket, suite, &header, deadline) {
            Ok(Some(session)) => Some(session),
            Ok(None) => return refuse(None, "secret"),
            Err(unanswerable) => return fail(unanswerable),
        },
    };
    let mut agreed = match agree(endpoint, &hello, remote) {
        Ok(agreed) => agreed,
        Err(word) => return refuse(session.as_mut(), word),
    };
    agreed.secure = session.is_some();
    let Ok(slot) = endpoint.slot() else {
        return refuse(session.as_mut(), "busy");
    };
    let (pending, undecided) = offer(endpoint, &socket, agreed, session, slot, watched);
    deliver(endpoint, pending);
    Some((undecided, early))
}

/// What is agreed on if the program accepts; or a word why it will not be asked.
fn agree(
    endpoint: &Endpoint,
    hello: &Hello,
    remote: SocketAddrV4,
) -> Result<Agreement, &'static str> {
    let peer_addr = reachable(hello.addr, *remote.ip());
    let dialect = if hello.lanpeer {
        Dialect::Lanpeer
    } else {
        Dialect::Peerpy
    };
    let stream = hello.stream.map(|stream| stream_size(stream, endpoint));
    let stream = stream.transpose()?;
    if hello.data_type == DataType::Raw && dialect == Dialect::Peerpy && !HAS_PICKLE {
        return Err("unsupported");
    }
    if peer_addr == endpoint.local_addr {
        return Err("self");
    }
    Ok(Agreement {
        peer_addr,
        data_type: hello.data_type,
        strict: hello.strict,
        stream,
        dialect,
        secure: false,
    })
}

/// An offer for the program, and what the reader thread needs until it is decided.
fn offer(
    endpoint: &Arc<Endpoint>,
    socket: &Arc<TcpStream>,
    agreed: Agreement,
    session: Option<Session>,
    slot: Slot,
    watched: Watched,
) -> (Pending, Undecided) {
    let shared = Arc::new(Mutex::new(Decision::Waiting(Asked {
        endpoint: Arc::clone(endpoint),
        socket: Arc::clone(socket),
        session,
        slot,
        watched,
        awaited: None,
    })));
    let pending = Pending {
        shared: Arc::clone(&shared),
        agreed,
        forbidden: endpoint.settings.secrets.own().is_some() && !agreed.secure,
    };
    let undecided = Undecided {
        socket: Arc::clone(socket),
        shared,
    };
    (pending, undecided)
}

fn deliver(endpoint: &Endpoint, pending: Pending) {
    if let Err(pending) = endpoint.deliver(pending) {
        pending.deny("busy");
    }
}

/// An offer, for its reader thread.
struct Undecided {
    socket: Arc<TcpStream>,
    shared: Arc<Mutex<Decision>>,
}

impl Undecided {
    /// Waits for the program's word, and if it accepts, runs the connection's reader.
    fn wait(self, endpoint: &Endpoint, remote: SocketAddrV4, early: Vec<u8>) {
        let seen = self.wait_for_decision(endpoint, early.is_empty());
        let decision = std::mem::replace(&mut *lock(&self.shared), Decision::Over);
        match decision {
            Decision::Accepted(start) => {
                // The connection alone decides from here on how long its socket lives.
                drop(self);
                start(Early { bytes: early, seen });
            }
            Decision::Denied => linger(&self.socket),
            Decision::Waiting(_) | Decision::Over => {
                let reason = if endpoint.is_stopped() {
                    "the peer was stopped"
                } else {
                    "it hung up before it had an answer"
                };
                endpoint.handshake_failed(remote, reason.to_owned());
            }
        }
    }

    /// Waits until the program has decided, the other side has hung up, or the peer is stopped.
    ///
    /// Most of that waiting is a blocked look at the socket: it ends when data comes, which is when
    /// the other side has its ACCEPT and sends, or at the end of input. So an accepted connection
    /// needs no wake-up between its threads.
    #[inline(never)]
    fn wait_for_decision(&self, endpoint: &Endpoint, nothing_early: bool) -> Seen {
        if nothing_early {
            let seen = loop {
                match self.socket.peek(&mut [0]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    seen => break seen,
                }
            };
            match seen {
                Ok(0) => return Seen::End,
                Ok(_) => {}
                Err(error) => return Seen::Failure(CloseReason::from_io(&error)),
            }
        }
        let decision = match &mut *lock(&self.shared) {
            Decision::Waiting(asked) => {
                let (awaited, decision) = crossbeam_channel::bounded(0);
                asked.awaited = Some(awaited);
                decision
            }
            _ => return Seen::Nothing,
        };
        // It speaks before it is asked to. The end of input would now be hidden behind its data.
        select! {
            recv(decision) -> _ => {}
            recv(endpoint.stopping) -> _ => {}
        }
        Seen::Nothing
    }
}

/// A client that asks for nothing that could be offered to the program.
struct Unanswerable {
    reason: String,
    /// For a DENY, if there is anyone to tell.
    word: Option<&'static str>,
}

/// Also returns the header's own bytes, and what came behind them.
fn read_hello(
    endpoint: &Endpoint,
    socket: &TcpStream,
    begun: &[u8],
    deadline: Instant,
) -> Result<(Hello, Vec<u8>, Vec<u8>), Unanswerable> {
    let silent = |reason: String| Unanswerable { reason, word: None };
    let timeout = endpoint.settings.timeout;
    prepare(socket, endpoint.settings.keepalive).map_err(|error| silent(error.to_string()))?;
    let header = read_header(socket, begun, deadline, Hello::may_be_whole);
    let (header, early) = header.map_err(|missing| {
        silent(match missing {
            NoHeader::Timeout => format!("no HELLO within {timeout:?}"),
            NoHeader::Closed => "it hung up before HELLO".to_owned(),
            NoHeader::Io(error) => error.to_string(),
        })
    })?;
    let hello = Hello::parse(&header).map_err(|error| {
        let word = match error {
            HeaderError::DataType(_) => "type",
            HeaderError::Suite(_) => "unsupported",
            _ => "malformed",
        };
        let reason = error.to_string();
        Unanswerable {
            reason,
            word: Some(word),
        }
    })?;
    Ok((hello, header, early))
}

/// Lets the side that asks prove that it has the secret; `None`: it could not.
fn prove(
    endpoint: &Endpoint,
    socket: &TcpStream,
    theirs: Suite,
    hello: &[u8],
    deadline: Instant,
) -> Result<Option<Session>, Unanswerable> {
    let silent = |reason: String| Unanswerable { reason, word: None };
    let suite = secure::agreed(theirs);
    let accept = Answer::Accept {
        lanpeer: true,
        secure: Some(suite),
    };
    let accept = accept.write().map_err(|error| silent(error.to_string()))?;
    let (prover, first) = Prover::begin(suite, hello, &accept)
        .map_err(|_| silent("the handshake can not be encrypted".to_owned()))?;
    if !write_answer(socket, &[&accept[..], &first].concat()) {
        return Err(silent(
            "it hung up before the proof of its secret".to_owned(),
        ));
    }
    let mut second = [0; MESSAGE];
    read_full(socket, &mut second, deadline).map_err(|missing| {
        silent(match missing {
            NoHeader::Timeout => {
                format!(
                    "no proof of its secret within {:?}",
                    endpoint.settings.timeout
                )
            }
            NoHeader::Closed => "it hung up before the proof of its secret".to_owned(),
            NoHeader::Io(error) => error.to_string(),
        })
    })?;
    Ok(prover.finish(&endpoint.settings.secrets, &second).ok())
}

fn stream_size(
    stream: Stream,
    endpoint: &Endpoint,
) -> std::result::Result<StreamSize, &'static str> {
    match stream {
        Stream::FromFirst => Ok(StreamSize::FromFirst),
        Stream::Of(size) => match usize::try_from(size) {
            Ok(size) if size <= endpoint.settings.max_message_size => Ok(StreamSize::Of(size)),
            _ => Err("size"),
        },
    }
}

enum Decision {
    Waiting(Asked),
    Accepted(Start),
    Denied,
    /// Nothing can be decided any more.
    Over,
}

impl Decision {
    /// What is still undecided. One whose other side has hung up is over: nobody will decide it any
    /// more, and its reader thread may see nothing of the end.
    fn take(&mut self) -> Option<Asked> {
        match std::mem::replace(self, Decision::Over) {
            Decision::Waiting(asked) => Some(asked).filter(|asked| !has_hung_up(&asked.socket)),
            other => {
                *self = other;
                None
            }
        }
    }
}

/// What an undecided offer holds.
struct Asked {
    endpoint: Arc<Endpoint>,
    socket: Arc<TcpStream>,
    session: Option<Session>,
    slot: Slot,
    watched: Watched,
    /// Its drop tells the reader thread that there is a decision, where that waits for nothing else.
    awaited: Option<Sender<Infallible>>,
}

/// An offer that waits for the program's word. Dropped without one, it is denied.
pub(crate) struct Pending {
    shared: Arc<Mutex<Decision>>,
    pub agreed: Agreement,
    /// It is in the clear, and this peer has a secret: the program must allow it.
    pub forbidden: bool,
}

impl Pending {
    /// Has the other side hung up?
    pub fn is_gone(&self) -> bool {
        match &*lock(&self.shared) {
            Decision::Waiting(asked) => has_hung_up(&asked.socket),
            _ => true,
        }
    }

    /// Answers ACCEPT. `start` makes, for the new connection, what its reader thread will run.
    pub fn accept<T>(self, start: impl FnOnce(&Arc<Link>) -> (T, Start)) -> Result<T> {
        let mut decision = lock(&self.shared);
        let asked = decision.take().ok_or(Error::Withdrawn)?;
        let Asked {
            endpoint,
            socket,
            mut session,
            slot,
            watched,
            // Until the decision is there.
            awaited: _awaited,
        } = asked;
        // From here on it is not for `stop` to deny it.
        drop(watched);
        let answer = Answer::Accept {
            lanpeer: true,
            secure: None,
        };
        let answer = sealed(&answer, session.as_mut());
        let entered = ends(&socket)
            .map_err(|_| Error::Withdrawn)
            .and_then(|ends| {
                endpoint.check_running()?;
                Ok(endpoint.link(&socket, ends, self.agreed, slot, session))
            });
        let link = entered.inspect_err(|_| {
            deny(&socket, None, "stopped");
            let _ = socket.shutdown(Shutdown::Read);
        })?;
        // Before the connection is entered: what a broadcast sends must follow the answer. The
        // reader thread looks at the decision, and so starts only after this function.
        if !answer.is_some_and(|bytes| write_answer(&socket, &bytes)) {
            let _ = socket.shutdown(Shutdown::Both);
            return Err(Error::Withdrawn);
        }
        let (connection, start) = start(&link);
        endpoint.enter(&link).inspect_err(|_| {
            // Wakes the reader thread, which looks at the socket. The other side may send already:
            // a FIN would say that all of it was taken in.
            link.kill(CloseReason::Stopped);
        })?;
        *decision = Decision::Accepted(start);
        Ok(connection)
    }

    /// As if it had never been.
    fn forget(self) {
        let asked = std::mem::replace(&mut *lock(&self.shared), Decision::Over);
        drop(asked);
    }

    /// Answers DENY, if that still makes a difference.
    pub fn deny(&self, reason: &str) -> bool {
        let mut decision = lock(&self.shared);
        let Some(mut asked) = decision.take() else {
            return false;
        };
        *decision = Decision::Denied;
        let told = deny(&asked.socket, asked.session.as_mut(), reason);
        // Wakes the reader thread, which looks at the socket.
        let _ = asked.socket.shutdown(Shutdown::Read);
        asked.endpoint.denied(self.agreed.peer_addr, reason);
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
