//! Connections that clients ask this peer for: from an accepted socket to the program's decision.
//!
//! An offer has two sides. The program's is [`Pending`]: with it the program decides. The other is
//! the connection's reader thread, which waits for the decision and then reads the connection. It
//! also notices when the client gives up, so that its place and its thread are free at once.
//!
//! A well-behaved client says nothing between HELLO and its answer. So the reader thread sleeps in
//! a look at the socket, which ends when the client sends its first message, or hangs up. Nobody
//! has to wake it when the program accepts. A client that sends sooner would hide its end behind
//! its data. From then on what it sends is read into a bounded buffer, by whoever holds the lock:
//! the reader thread every [`LOOK`], and a call that decides. Accepted, the connection begins with
//! that buffer.

use std::convert::Infallible;
use std::io;
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::error::{CloseReason, Error, Result};
use crate::net::endpoint::{Endpoint, MAX_HANDSHAKES, Side, Slot, Watched, next_id};
use crate::net::handshake::io::{deny, linger, run, write_answer};
use crate::net::handshake::server::{Offered, Outcome, Server, acceptance};
use crate::net::handshake::{Input, Machine, Step};
use crate::net::link::{Agreement, Link};
use crate::net::os::lock;
#[cfg(unix)]
use crate::net::os::socket::peek;
use crate::net::os::socket::{ends, has_arrived, is_pause, prepare, read_now, reset};
use crate::net::wire::early::{Early, Seen, Start};
use crate::proto::header::{HEADER_LEN, is_reason};
use crate::secure::Session;

/// A client may send so many bytes before it has its answer.
const MAX_EARLY: usize = 64 << 10;

/// How often a client is looked at that has sent before it has its answer.
const LOOK: Duration = Duration::from_millis(100);

/// Takes an accepted socket, never waiting. Where its HELLO is here already, its offer is made at
/// once. All others get a thread that reads it.
pub(crate) fn receive(endpoint: &Arc<Endpoint>, socket: TcpStream, remote: SocketAddrV4) {
    let socket = Arc::new(socket);
    let failed = |reason| endpoint.handshake_failed(remote, reason);
    if endpoint.handshakes() >= MAX_HANDSHAKES {
        deny(&socket, None, "busy");
        return failed(format!("there are {MAX_HANDSHAKES} handshakes under way"));
    }
    let Ok(watched) = endpoint.watch(&socket, Side::Server) else {
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
        Some((offered, slot)) => {
            let (pending, waiter) = offer(endpoint, &socket, *offered, slot, watched);
            let work = move || waiter.wait(&own_endpoint, remote);
            (endpoint.spawn(name, work), Some(pending))
        }
        None => {
            let own = Arc::clone(&socket);
            let work = move || {
                if let Some(waiter) = examine(&own_endpoint, own, begun, remote, watched) {
                    waiter.wait(&own_endpoint, remote);
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
        io::Read::read_exact(&mut socket, &mut header)?;
    }
    Ok(header)
}

/// What a client wants whose HELLO is here, if it can be offered and nothing is to be proved.
fn examine_at_once(
    endpoint: &Arc<Endpoint>,
    socket: &TcpStream,
    begun: &[u8],
    remote: SocketAddrV4,
) -> Option<(Box<Offered>, Slot)> {
    // Proofs take time, which the listener has not.
    if begun.is_empty() || endpoint.settings.secrets.own().is_some() {
        return None;
    }
    let mut server = Server::new(&endpoint.settings, endpoint.local_addr, *remote.ip());
    let Step::Over(Outcome::Offer(offered)) = server.take(Input::Bytes(begun)) else {
        return None;
    };
    prepare(socket, endpoint.settings.keepalive).ok()?;
    Some((offered, endpoint.slot().ok()?))
}

/// Runs the handshake, of which `begun` was read already, and makes the client's offer, if it comes
/// to that. A function of its own, so that a connection need not keep the memory of the stack that
/// it takes.
#[inline(never)]
fn examine(
    endpoint: &Arc<Endpoint>,
    socket: Arc<TcpStream>,
    begun: Vec<u8>,
    remote: SocketAddrV4,
    watched: Watched,
) -> Option<Waiter> {
    let refuse = |peer_addr, session: Option<&mut Session>, word: &str| {
        deny(&socket, session, word);
        endpoint.denied(peer_addr, word);
        linger(&socket);
        None
    };
    match handshake(endpoint, &socket, &begun, remote) {
        Outcome::Offer(mut offered) => match endpoint.slot() {
            Ok(slot) => {
                let (pending, waiter) = offer(endpoint, &socket, *offered, slot, watched);
                deliver(endpoint, pending);
                Some(waiter)
            }
            Err(_) => refuse(offered.agreed.peer_addr, offered.session.as_mut(), "busy"),
        },
        Outcome::Denied {
            peer_addr,
            word,
            mut session,
        } => refuse(peer_addr, session.as_deref_mut(), word),
        Outcome::Failed { reason, word } => {
            endpoint.handshake_failed(remote, reason);
            if let Some(word) = word {
                deny(&socket, None, word);
                linger(&socket);
            }
            None
        }
    }
}

fn handshake(
    endpoint: &Endpoint,
    socket: &TcpStream,
    begun: &[u8],
    remote: SocketAddrV4,
) -> Outcome {
    let deadline = Instant::now() + endpoint.settings.timeout;
    if let Err(error) = prepare(socket, endpoint.settings.keepalive) {
        let reason = error.to_string();
        return Outcome::Failed { reason, word: None };
    }
    let mut server = Server::new(&endpoint.settings, endpoint.local_addr, *remote.ip());
    let first = server.take(Input::Bytes(begun));
    run(socket, &mut server, first, deadline)
}

/// Both sides of an offer.
fn offer(
    endpoint: &Arc<Endpoint>,
    socket: &Arc<TcpStream>,
    offered: Offered,
    slot: Slot,
    watched: Watched,
) -> (Pending, Waiter) {
    let Offered {
        agreed,
        session,
        early,
    } = offered;
    let shared = Arc::new(Shared {
        decision: Mutex::new(Decision::Undecided(Undecided {
            endpoint: Arc::clone(endpoint),
            socket: Arc::clone(socket),
            session,
            slot,
            watched,
            early: Some(early).filter(|early| !early.is_empty()),
            awaited: None,
        })),
        noticed: Condvar::new(),
    });
    let pending = Pending {
        shared: Arc::clone(&shared),
        agreed,
        forbidden: endpoint.settings.secrets.own().is_some() && !agreed.secure,
    };
    let waiter = Waiter {
        socket: Arc::clone(socket),
        shared,
    };
    (pending, waiter)
}

fn deliver(endpoint: &Endpoint, pending: Pending) {
    if let Err(pending) = endpoint.deliver(pending) {
        pending.deny("busy");
    }
}

/// What both sides of an offer share. No program's code runs and nothing is logged under the lock.
struct Shared {
    decision: Mutex<Decision>,
    /// Signalled when the reader thread has noticed that the client sends before it has its answer.
    noticed: Condvar,
}

enum Decision {
    /// The client waits for the program's word.
    Undecided(Undecided),
    /// A call of `accept` is at work. When it has finished, it drops the sender, which wakes the
    /// reader thread where that waits for nothing else.
    Accepting(Option<Sender<Infallible>>),
    /// The connection is open, and these bytes of it were read already.
    Accepted(Start, Vec<u8>),
    Denied,
    /// The client has sent too much before it had its answer. It was told so; this is for the
    /// events.
    Refused(String),
    /// Nothing can be decided any more.
    Over,
}

/// What an undecided offer holds.
struct Undecided {
    endpoint: Arc<Endpoint>,
    socket: Arc<TcpStream>,
    session: Option<Session>,
    slot: Slot,
    watched: Watched,
    /// What the client has sent before its answer. `None` until the reader thread has noticed that
    /// it does: till then that thread may be in a look at the socket, and only it may read.
    early: Option<Vec<u8>>,
    /// See [`Decision::Accepting`].
    awaited: Option<Sender<Infallible>>,
}

/// What a look at an undecided offer's client has found.
enum Client {
    /// It waits for its answer.
    Waits,
    /// It has sent something, and the reader thread is about to notice that.
    Sends,
    /// It has hung up.
    Gone,
    /// It has sent more than it may.
    Floods(String),
}

impl Undecided {
    /// Looks at the client without waiting.
    fn look(&mut self) -> Client {
        let Some(early) = &mut self.early else {
            #[cfg(unix)]
            return match peek::<1>(&self.socket) {
                Ok(0) => Client::Gone,
                Ok(_) => Client::Sends,
                Err(error) if is_pause(&error) => Client::Waits,
                Err(_) => Client::Gone,
            };
            // It can not be told before the reader thread has noticed something.
            #[cfg(not(unix))]
            return Client::Waits;
        };
        let mut chunk = [0; 4096];
        while early.len() <= MAX_EARLY {
            match read_now(&self.socket, &mut chunk) {
                Ok(0) => return Client::Gone,
                // The session has not begun that these bytes would be for.
                Ok(_) if self.session.is_some() => {
                    let reason = "it sent encrypted data before it had an answer";
                    return Client::Floods(reason.to_owned());
                }
                Ok(n) => early.extend_from_slice(&chunk[..n]),
                Err(error) if is_pause(&error) => return Client::Waits,
                Err(_) => return Client::Gone,
            }
        }
        let reason = format!("it sent more than {MAX_EARLY} bytes before it had an answer");
        Client::Floods(reason)
    }
}

impl Shared {
    /// The lock, while the offer is undecided and its client waits. One whose client does not is
    /// over: nobody will decide it any more.
    fn undecided(&self) -> Option<MutexGuard<'_, Decision>> {
        let mut decision = lock(&self.decision);
        let next = loop {
            let Decision::Undecided(undecided) = &mut *decision else {
                return None;
            };
            match undecided.look() {
                Client::Waits => return Some(decision),
                Client::Gone => break Decision::Over,
                Client::Floods(reason) => break Decision::Refused(reason),
                // Its end may be hidden behind that. The reader thread's look ends now, if it has
                // begun; so this waits for a moment only.
                Client::Sends => {
                    decision = self
                        .noticed
                        .wait(decision)
                        .unwrap_or_else(|poisoned| poisoned.into_inner());
                }
            }
        };
        let is_refused = matches!(next, Decision::Refused(_));
        let before = std::mem::replace(&mut *decision, next);
        drop(decision);
        if let (true, Decision::Undecided(mut undecided)) = (is_refused, before) {
            deny(&undecided.socket, undecided.session.as_mut(), "malformed");
        }
        None
    }

    /// Notices, on the reader thread, that the client sends before it has its answer.
    fn notice(&self) {
        if let Decision::Undecided(undecided) = &mut *lock(&self.decision) {
            if undecided.early.is_none() {
                undecided.early = Some(Vec::new());
                self.noticed.notify_all();
            }
        }
    }

    /// Takes an undecided offer whose client waits, and leaves what `next` says.
    fn take(&self, next: impl FnOnce(&mut Undecided) -> Decision) -> Option<Undecided> {
        let mut decision = self.undecided()?;
        match std::mem::replace(&mut *decision, Decision::Over) {
            Decision::Undecided(mut undecided) => {
                *decision = next(&mut undecided);
                Some(undecided)
            }
            other => {
                *decision = other;
                None
            }
        }
    }
}

/// The reader thread's side of an offer.
struct Waiter {
    socket: Arc<TcpStream>,
    shared: Arc<Shared>,
}

impl Waiter {
    /// Waits for the program's word, and if it accepts, runs the connection's reader.
    fn wait(self, endpoint: &Endpoint, remote: SocketAddrV4) {
        let (decision, seen) = self.wait_for_decision(endpoint);
        let reason = match decision {
            Decision::Accepted(start, bytes) => {
                // The connection alone decides from here on how long its socket lives.
                drop(self);
                return start(Early { bytes, seen });
            }
            Decision::Denied => return linger(&self.socket),
            Decision::Refused(reason) => {
                endpoint.handshake_failed(remote, reason);
                return linger(&self.socket);
            }
            withdrawn => {
                let is_stopped = endpoint.is_stopped();
                if is_stopped {
                    // `stop` may not have come to it yet.
                    deny(&self.socket, None, "stopped");
                }
                // Its place is free before anybody is told.
                drop(withdrawn);
                if is_stopped {
                    "the peer was stopped"
                } else {
                    "it hung up before it had an answer"
                }
            }
        };
        endpoint.handshake_failed(remote, reason.to_owned());
    }

    /// Waits until the program has decided, the client has given up, or the peer is stopped.
    #[inline(never)]
    fn wait_for_decision(&self, endpoint: &Endpoint) -> (Decision, Seen) {
        let seen = self.wait_for_client();
        let mut decided: Option<Receiver<Infallible>> = None;
        loop {
            let may_wait = matches!(seen, Seen::Nothing) && !endpoint.is_stopped();
            if may_wait {
                self.shared.notice();
                drop(self.shared.undecided());
            }
            let mut decision = lock(&self.shared.decision);
            let (awaited, is_undecided) = match &mut *decision {
                Decision::Undecided(undecided) if may_wait => (&mut undecided.awaited, true),
                Decision::Accepting(awaited) => (awaited, false),
                _ => {
                    let last = std::mem::replace(&mut *decision, Decision::Over);
                    self.shared.noticed.notify_all();
                    return (last, seen);
                }
            };
            // The sender stays with the offer, and goes with it to the call that accepts.
            let decided = decided.get_or_insert_with(|| {
                let (sender, receiver) = bounded(0);
                *awaited = Some(sender);
                receiver
            });
            drop(decision);
            if is_undecided {
                select! {
                    recv(decided) -> _ => {}
                    recv(endpoint.stopping) -> _ => {}
                    default(LOOK) => {}
                }
            } else {
                let _ = decided.recv();
            }
        }
    }

    /// Waits in a look at the socket until the client sends or hangs up, unless it is known to have
    /// sent already. A client that has its ACCEPT and sends ends this wait as well.
    fn wait_for_client(&self) -> Seen {
        if let Decision::Undecided(Undecided { early: Some(_), .. }) = &*lock(&self.shared.decision)
        {
            return Seen::Nothing;
        }
        loop {
            match self.socket.peek(&mut [0]) {
                Ok(0) => return Seen::End,
                Ok(_) => return Seen::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Seen::Failure(CloseReason::from_io(&error)),
            }
        }
    }
}

/// An offer that waits for the program's word. Dropped without one, it is denied.
pub(crate) struct Pending {
    shared: Arc<Shared>,
    pub agreed: Agreement,
    /// It is in the clear, and this peer has a secret: the program must allow it.
    pub forbidden: bool,
}

impl Pending {
    /// Has the client given up?
    pub fn is_gone(&self) -> bool {
        self.shared.undecided().is_none()
    }

    /// Answers ACCEPT. `start` makes, for the new connection, what its reader thread will run.
    pub fn accept<T>(self, start: impl FnOnce(&Arc<Link>) -> (T, Start)) -> Result<T> {
        let accepting = |undecided: &mut Undecided| Decision::Accepting(undecided.awaited.take());
        let undecided = self.shared.take(accepting).ok_or(Error::Withdrawn)?;
        let mut accepting = Accepting {
            shared: &self.shared,
            decision: Decision::Over,
        };
        let Undecided {
            endpoint,
            socket,
            mut session,
            slot,
            watched,
            early,
            awaited: _,
        } = undecided;
        // From here on it is not for `stop` to deny it.
        drop(watched);
        let answer = acceptance(session.as_mut());
        let entered = ends(&socket)
            .map_err(|_| Error::Withdrawn)
            .and_then(|ends| {
                endpoint.check_running()?;
                let agreed = self.agreed;
                Ok(Link::new(&endpoint, &socket, ends, agreed, slot, session))
            });
        let link = entered.inspect_err(|_| {
            deny(&socket, None, "stopped");
            let _ = socket.shutdown(Shutdown::Read);
        })?;
        // Before the connection is entered: what a broadcast sends must follow the answer. The
        // reader thread starts only when the decision is there.
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
        accepting.decision = Decision::Accepted(start, early.unwrap_or_default());
        Ok(connection)
    }

    /// As if it had never been.
    fn forget(self) {
        let undecided = std::mem::replace(&mut *lock(&self.shared.decision), Decision::Over);
        drop(undecided);
    }

    /// Answers DENY, if that still makes a difference.
    pub fn deny(&self, word: &str) -> bool {
        let Some(undecided) = self.shared.take(|_| Decision::Denied) else {
            return false;
        };
        let Undecided {
            endpoint,
            socket,
            mut session,
            slot: _slot,
            watched,
            early: _,
            awaited: _awaited,
        } = undecided;
        // From here on it is not for `stop` to deny it.
        drop(watched);
        let told = deny(&socket, session.as_mut(), word);
        // Wakes the reader thread, which looks at the socket.
        let _ = socket.shutdown(Shutdown::Read);
        endpoint.denied(self.agreed.peer_addr, word);
        told
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.deny("dropped");
    }
}

/// A call of `accept` at work. However that ends, its drop tells the reader thread.
struct Accepting<'a> {
    shared: &'a Shared,
    decision: Decision,
}

impl Drop for Accepting<'_> {
    fn drop(&mut self) {
        let decision = std::mem::replace(&mut self.decision, Decision::Over);
        let before = std::mem::replace(&mut *lock(&self.shared.decision), decision);
        drop(before);
    }
}

impl Endpoint {
    /// Ends all handshakes for `stop`, and with them the offers that nobody has decided.
    pub(super) fn end_handshakes(&self) {
        for (_, (socket, side)) in lock(&self.sockets).drain() {
            match side {
                // Accepted in this moment, the other side may send already: a FIN would say that
                // all of it was taken in.
                Side::Client => reset(&socket),
                Side::Server => {
                    deny(&socket, None, "stopped");
                    let _ = socket.shutdown(Shutdown::Both);
                }
            }
        }
    }
}

/// Checks a word that the program gives as its reason.
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
