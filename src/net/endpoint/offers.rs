//! Connections that clients ask this peer for: from an accepted socket to the program's decision.
//!
//! An offer has two sides. The program's is [`Pending`]: with it the program decides. The other is
//! the connection's reader thread, which waits for the decision and then reads the connection. It
//! also notices when the client gives up, so that its place and its thread are free at once.
//!
//! A long file, since it is the whole way from a socket to a decision, with every place to turn back.

mod undecided;

use std::cell::Cell;
use std::io;
use std::net::{Shutdown, SocketAddrV4};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::net::endpoint::attempts::TWICE;
use crate::net::endpoint::handshakes::Stage;
use crate::net::endpoint::offers::undecided::{Decision, Shared, Undecided, Waiter};
use crate::net::endpoint::{Begin, Endpoint, Slot, Watched, begun};
use crate::net::handshake::io::{Sign, deny, linger, run, write_answer};
use crate::net::handshake::server::{Offered, Outcome, Server, acceptance};
use crate::net::handshake::{Gate, Input, Machine, Step};
use crate::net::link::{Agreement, Link};
use crate::net::os::lock;
use crate::net::os::socket::{ends, has_arrived, prepare, reset};
use crate::net::os::sync::{Condvar, Instant, Mutex, TcpStream};
use crate::net::wire::early::Start;
use crate::proto::beacon::Card;
use crate::proto::header::{HEADER_LEN, is_reason};
use crate::secure::Session;

/// Takes an accepted socket, never waiting. Where its HELLO is here already, its offer is made at
/// once. All others get a thread that reads it.
pub(crate) fn receive(endpoint: &Arc<Endpoint>, socket: TcpStream, remote: SocketAddrV4) {
    let socket = Arc::new(socket);
    let failed = |reason| endpoint.handshake_failed(remote, reason);
    let watched = match endpoint.admit(&socket, *remote.ip()) {
        Ok(Some(watched)) => watched,
        // Written by the listener: a new socket takes these few bytes at once.
        Ok(None) => {
            deny(&socket, None, "busy");
            let most = endpoint.most_handshakes();
            return failed(format!("there are {most} handshakes under way"));
        }
        Err(_) => return,
    };
    // Most clients have said HELLO before they are accepted, and need no thread that waits for it.
    let mut begun = Vec::new();
    // The system tells an error once, so that a thread would not meet it.
    let examined = examine_at_once(endpoint, &socket, &mut begun, remote);
    let examined = match examined {
        Ok(examined) => examined,
        Err(error) => return failed(error.to_string()),
    };
    if !begun.is_empty() {
        // Its thread may come to it late.
        watched.heard();
    }
    let own_endpoint = Arc::clone(endpoint);
    let (started, pending) = match examined {
        Some((offered, slot)) => {
            let (pending, waiter) = offer(endpoint, &socket, *offered, slot, watched);
            let work = move || waiter.wait(&own_endpoint, remote);
            (endpoint.read_on_thread(work), Some(pending))
        }
        None => {
            let own = Arc::clone(&socket);
            let work = move || {
                if let Some(waiter) = examine(&own_endpoint, own, begun, remote, watched) {
                    waiter.wait(&own_endpoint, remote);
                }
            };
            (endpoint.read_on_thread(work), None)
        }
    };
    match (started, pending) {
        // Delivered only when its thread was started, which carries out what the program decides.
        (Ok(()), Some(pending)) => endpoint.hand_over(pending),
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

/// A header that is here whole, or else nothing. What was read is also put behind `begun`.
fn read_at_once<'a>(mut socket: &TcpStream, begun: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    let start = begun.len();
    if has_arrived::<HEADER_LEN>(socket)? {
        begun.resize(start + HEADER_LEN, 0);
        io::Read::read_exact(&mut socket, &mut begun[start..])?;
    }
    Ok(&begun[start..])
}

/// What a client wants whose HELLO is here, if it can be offered and nothing is to be proved. What was
/// read is in `begun`.
fn examine_at_once(
    endpoint: &Arc<Endpoint>,
    socket: &TcpStream,
    begun: &mut Vec<u8>,
    remote: SocketAddrV4,
) -> io::Result<Option<(Box<Offered>, Slot)>> {
    let mut server = Server::new(&endpoint.settings, endpoint.local_addr, *remote.ip());
    // HELLO, and who the client is.
    for _ in 0..2 {
        let header = read_at_once(socket, begun)?;
        // Proofs take time, which the listener has not.
        if header.is_empty() || endpoint.settings.has_secret() {
            return Ok(None);
        }
        match server.take(Input::Bytes(header)) {
            Step::Read { .. } => {}
            // What it takes the place of is to be ended first, which is not for the listener.
            Step::Over(Outcome::Offer(offered)) if offered.agreed.theirs.is_some() => {
                return Ok(None);
            }
            Step::Over(Outcome::Offer(offered)) => {
                let is_prepared = prepare(socket, endpoint.settings.keepalive).is_ok();
                let slot = endpoint.slot().ok().filter(|_| is_prepared);
                return Ok(slot.map(|slot| (offered, slot)));
            }
            Step::Write(_) | Step::Pass(_) | Step::Over(_) => return Ok(None),
        }
    }
    Ok(None)
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
    let refuse = |peer_addr, who: Option<&Card>, mut session: Option<&mut Session>, word: &str| {
        watched.leaving();
        deny(&socket, session.as_deref_mut(), word);
        let proof = session.map(|session| &*session.proof);
        endpoint.denied(peer_addr, who, proof, word);
        linger(&socket);
        None
    };
    match handshake(endpoint, &socket, &begun, remote, &watched) {
        Outcome::Offer(mut offered) => {
            // First, since what it takes the place of has a place among the connections.
            if endpoint.make_way(&offered.agreed).is_err() {
                // The program has nothing to learn from that.
                watched.leaving();
                deny(&socket, offered.session.as_mut(), TWICE);
                linger(&socket);
                return None;
            }
            let Ok(slot) = endpoint.slot() else {
                // Looked at after the proof of the secret, so that only those who have it learn how
                // busy this peer is.
                let Agreement { peer_addr, who, .. } = offered.agreed;
                return refuse(peer_addr, who.as_deref(), offered.session.as_mut(), "busy");
            };
            let (pending, waiter) = offer(endpoint, &socket, *offered, slot, watched);
            endpoint.hand_over(pending);
            Some(waiter)
        }
        Outcome::Denied {
            peer_addr,
            word,
            mut session,
        } => refuse(peer_addr, None, session.as_deref_mut(), word),
        Outcome::Failed { reason, word } => {
            let reason = match watched.is_turned_away() {
                true => "it kept silent, and its place was needed".to_owned(),
                false => reason,
            };
            endpoint.handshake_failed(remote, reason);
            if let Some(word) = word {
                watched.leaving();
                deny(&socket, None, word);
                linger(&socket);
            }
            None
        }
    }
}

/// Runs the server's machine until the deadline, on the reader thread: it may wait for its client, and for
/// the turn of its proof.
fn handshake(
    endpoint: &Endpoint,
    socket: &TcpStream,
    begun: &[u8],
    remote: SocketAddrV4,
    watched: &Watched,
) -> Outcome {
    let deadline = Instant::now() + endpoint.settings.timeout;
    if let Err(error) = prepare(socket, endpoint.settings.keepalive) {
        let reason = error.to_string();
        return Outcome::Failed { reason, word: None };
    }
    let mut server = Server::new(&endpoint.settings, endpoint.local_addr, *remote.ip());
    let mut first = server.take(Input::Bytes(&[]));
    let mut begun = begun;
    while let (Step::Read { most, .. }, false) = (&first, begun.is_empty()) {
        let (next, rest) = begun.split_at((*most).min(begun.len()));
        first = server.take(Input::Bytes(next));
        begun = rest;
    }
    let tell = |sign| match sign {
        Sign::Heard => watched.heard(),
        Sign::Quiet => watched.quiet(),
    };
    let (proofs, ip) = (&endpoint.proofs, *remote.ip());
    // Of the proof that is being looked at.
    let turn = Cell::new(None);
    let pass = |gate| match gate {
        Gate::Challenge => proofs.has_room(ip),
        Gate::Proof => {
            let taken = proofs.turn(ip, deadline);
            let is_open = taken.is_some();
            turn.set(taken);
            is_open
        }
        Gate::Proved => {
            if let Some(turn) = turn.take() {
                turn.right();
            }
            true
        }
    };
    let outcome = run(socket, &mut server, first, deadline, &tell, &pass);
    if let Some(turn) = turn.take() {
        turn.wrong(endpoint.local_addr);
    }
    outcome
}

/// Makes both sides of an offer. From here on its handshake counts as one that waits for the program, and
/// not as a silent one.
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
    watched.offered();
    let watched = Arc::new(watched);
    let shared = Arc::new(Shared {
        decision: Mutex::new(Decision::Undecided(Undecided {
            endpoint: Arc::clone(endpoint),
            socket: Arc::clone(socket),
            session,
            slot,
            watched: Arc::clone(&watched),
            early: Some(early).filter(|early| !early.is_empty()),
            awaited: None,
        })),
        changed: Condvar::new(),
    });
    let pending = Pending {
        shared: Arc::clone(&shared),
        forbidden: endpoint.settings.has_secret() && !agreed.secure,
        agreed,
    };
    let waiter = Waiter {
        socket: Arc::clone(socket),
        shared,
        watched,
    };
    (pending, waiter)
}

/// The program's side of an offer, which waits for its word. Dropped without one, it is denied. `stop`, the
/// client and the reader thread may end the offer at the same moment: the lock of the decision says who
/// was first.
pub(crate) struct Pending {
    /// The decision, which the reader thread waits for.
    shared: Arc<Shared>,
    pub agreed: Agreement,
    /// It is not encrypted though this peer has a secret, so the program must allow it expressly.
    pub forbidden: bool,
}

impl Pending {
    /// Has the client given up? An offer of one that has is over from then on.
    pub fn is_gone(&self) -> bool {
        self.shared.undecided().is_none()
    }

    /// Answers ACCEPT. Holds no lock meanwhile: entering the connection logs, and what the program
    /// has given for it may be dropped. `start` makes, for the new connection, what its reader thread
    /// will run.
    pub fn accept<T>(self, start: impl FnOnce(&Arc<Link>) -> (T, Start)) -> Result<T> {
        begun(start, |start| self.accept_any(start))
    }

    /// [`accept`](Pending::accept) for any type of connection, so that it is compiled once and not for each.
    fn accept_any(self, start: Begin<'_>) -> Result<()> {
        let undecided = self.shared.take(Decision::Accepting(false));
        let undecided = undecided.ok_or(Error::Withdrawn)?;
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
            // It stays in `undecided`, which is dropped after `accepting`. So when its drop wakes the
            // reader thread, that finds the decision.
            awaited: _,
        } = undecided;
        // From here on `stop` does not deny it: its client gets this answer. Of `stop` and this call, whoever
        // takes the socket off the list first has the say.
        if !watched.release() {
            endpoint.check_running()?;
            return Err(Error::Withdrawn);
        }
        let card = &endpoint.settings.card;
        let answer = acceptance(self.agreed.dialect, card, session.as_mut());
        // A client that has reset the connection has no address any more.
        let entered = ends(&socket)
            .map_err(|_| Error::Withdrawn)
            .and_then(|ends| {
                endpoint.check_running()?;
                let agreed = self.agreed.clone();
                Ok(endpoint.link(&socket, ends, agreed, slot, session))
            });
        let link = entered.inspect_err(|_| {
            deny(&socket, None, "stopped");
            let _ = socket.shutdown(Shutdown::Read);
        })?;
        // The answer is written before the connection is entered, because what a broadcast sends must
        // follow it. The reader thread reads nothing before the decision is there.
        if !answer.is_some_and(|bytes| write_answer(&socket, &bytes)) {
            let _ = socket.shutdown(Shutdown::Both);
            return Err(Error::Withdrawn);
        }
        // The other side may send already, and hear no other answer any more.
        accepting.decision = Decision::Reset;
        let start = start(&link);
        // A reset wakes the reader thread, which looks at the socket. A FIN would say that all was
        // taken in.
        endpoint
            .enter(&link)
            .inspect_err(|error| link.kill(endpoint.why_not_entered(error)))?;
        accepting.decision = Decision::Accepted(start, early.unwrap_or_default());
        Ok(())
    }

    /// Drops an offer that has got no reader thread, without an answer: the caller tells the client.
    fn forget(self) {
        let undecided = std::mem::replace(&mut *lock(&self.shared.decision), Decision::Over);
        drop(undecided);
    }

    /// Answers DENY, if that still makes a difference. Its place is free when this returns.
    pub fn deny(&self, word: &str) -> bool {
        self.answer_no(word, true)
    }

    /// As [`deny`](Pending::deny), without an event: the program has nothing to learn from it.
    pub fn deny_quietly(&self, word: &str) {
        self.answer_no(word, false);
    }

    /// Takes the offer, if it is still undecided, and answers DENY without the lock. `false`: it was decided
    /// before, or its client has gone.
    fn answer_no(&self, word: &str, is_news: bool) -> bool {
        // Whoever changes the decision first decides: a second word is too late.
        let Some(undecided) = self.shared.take(Decision::Denied) else {
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
        // From here on `stop` does not deny it a second time. It has its place until it has read that,
        // or the reader thread has waited for it long enough.
        watched.leaving();
        let told = deny(&socket, session.as_mut(), word);
        // This wakes the reader thread, which sleeps in a look at the socket.
        let _ = socket.shutdown(Shutdown::Read);
        if is_news {
            let (who, proof) = (self.agreed.who.as_deref(), self.agreed.proof.as_deref());
            endpoint.denied(self.agreed.peer_addr, who, proof, word);
        }
        told
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.deny("dropped");
    }
}

/// A call of `accept` at work, which holds no lock. Its drop puts the decision in place and wakes the reader
/// thread, however the call ends, also by a panic of the program's code: that thread would wait for ever.
struct Accepting<'a> {
    shared: &'a Shared,
    decision: Decision,
}

impl Drop for Accepting<'_> {
    fn drop(&mut self) {
        let decision = std::mem::replace(&mut self.decision, Decision::Over);
        let before = std::mem::replace(&mut *lock(&self.shared.decision), decision);
        if matches!(before, Decision::Accepting(true)) {
            self.shared.changed.notify_all();
        }
    }
}

impl Endpoint {
    /// Ends all handshakes for `stop`, and with them the offers that nobody has decided.
    pub(super) fn end_handshakes(&self) {
        for (socket, stage) in lock(&self.sockets).drain() {
            match stage {
                // The other side may accept in this moment and send already. A FIN would tell it that
                // all of that was taken in.
                Stage::Asking => reset(&socket),
                Stage::Leaving => {
                    let _ = socket.shutdown(Shutdown::Both);
                }
                Stage::UnderWay | Stage::Offered => {
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
