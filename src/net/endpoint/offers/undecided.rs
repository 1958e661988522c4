//! An offer until it is decided.
//!
//! A well-behaved client says nothing between HELLO and its answer. So the reader thread sleeps in
//! a look at the socket, which ends when the client sends its first message, or hangs up. Nobody
//! has to wake it when the program accepts. A client that sends sooner would hide its end behind
//! its data. From then on what it sends is read into a bounded buffer, by whoever holds the lock:
//! the reader thread every [`LOOK_EVERY`], and a call that decides. Once accepted, the connection
//! begins with that buffer.
//!
//! The reader thread does not sleep in a read instead: what it has read then would wait with it
//! for the client's next bytes, or a call that accepts would always have to wake it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use crate::error::CloseReason;
use crate::net::endpoint::{Endpoint, Slot, Watched};
use crate::net::handshake::io::{deny, linger};
use crate::net::os::condvar::wait;
use crate::net::os::lock;
use crate::net::os::socket::{is_pause, peek, read_now, reset, wait_for_input};
use crate::net::os::sync::{
    Condvar, Mutex, MutexGuard, Receiver, Sender, TcpStream, bounded, select,
};
use crate::net::wire::early::{Early, Seen, Start};
use crate::secure::Session;

/// A client that sends more bytes than this before it has its answer is refused.
const MAX_EARLY: usize = 64 << 10;

/// The pause between two looks at a client that has sent before it has its answer.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What both sides of an offer share. Under the lock no code of the program runs, and nothing is logged:
/// the logger is the program's too.
pub(super) struct Shared {
    pub decision: Mutex<Decision>,
    /// Signalled when the reader thread has noticed that the client sends before it has its answer,
    /// and when a call of `accept` has finished for which that thread waits.
    pub changed: Condvar,
}

/// What becomes of an offer. It leaves `Undecided` once, by whoever comes first.
pub(super) enum Decision {
    /// The client waits for the program's word.
    Undecided(Undecided),
    /// A call of `accept` is at work. `true`: the reader thread waits until it has finished.
    Accepting(bool),
    /// The connection is open, and these bytes of it were read already.
    Accepted(Start, Vec<u8>),
    Denied,
    /// It was accepted, but the peer was stopped before the connection could begin.
    Reset,
    /// The client has sent too much before it had its answer. It was told so; this is for the
    /// events.
    Refused(String),
    /// Nothing can be decided any more: the client has hung up, or the peer was stopped.
    Over,
}

/// What an undecided offer holds.
pub(super) struct Undecided {
    pub endpoint: Arc<Endpoint>,
    /// Shared with the reader thread, which waits for its client in a look at it.
    pub socket: Arc<TcpStream>,
    /// What an encrypted answer is sealed with.
    pub session: Option<Session>,
    /// Its place among the connections. Free as soon as the offer is over.
    pub slot: Slot,
    /// Its place among the handshakes, where `stop` finds its socket.
    pub watched: Arc<Watched>,
    /// What the client has sent before its answer. `None` until the reader thread has noticed that
    /// it does: till then that thread may be in a look at the socket, and only it may read.
    pub early: Option<Vec<u8>>,
    /// Dropped with a decision, which wakes a reader thread that waits for nothing else.
    pub awaited: Option<Sender<Infallible>>,
}

/// What a look at an undecided offer's client has found.
enum Look {
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
    fn look(&mut self) -> Look {
        let Some(early) = &mut self.early else {
            return match peek::<1>(&self.socket) {
                Ok(0) => Look::Gone,
                Ok(_) => Look::Sends,
                Err(error) if is_pause(&error) => Look::Waits,
                Err(_) => Look::Gone,
            };
        };
        let mut chunk = [0; 4096];
        while early.len() <= MAX_EARLY {
            match read_now(&self.socket, &mut chunk) {
                Ok(0) => return Look::Gone,
                // Encrypted bytes cannot be kept: the session that they would be for has not begun.
                Ok(_) if self.session.is_some() => {
                    let reason = "it sent encrypted data before it had an answer";
                    return Look::Floods(reason.to_owned());
                }
                Ok(n) => early.extend_from_slice(&chunk[..n]),
                Err(error) if is_pause(&error) => return Look::Waits,
                Err(_) => return Look::Gone,
            }
        }
        let reason = format!("it sent more than {MAX_EARLY} bytes before it had an answer");
        Look::Floods(reason)
    }
}

impl Shared {
    /// The lock, while the offer is undecided and its client waits. One whose client does not is
    /// over: nobody will decide it any more.
    pub fn undecided(&self) -> Option<MutexGuard<'_, Decision>> {
        let mut decision = lock(&self.decision);
        let next = loop {
            let Decision::Undecided(undecided) = &mut *decision else {
                return None;
            };
            match undecided.look() {
                Look::Waits => return Some(decision),
                Look::Gone => break Decision::Over,
                Look::Floods(reason) => break Decision::Refused(reason),
                // The client's end may be hidden behind what it has sent. Only the reader thread may
                // read that. Its look at the socket ends now, so this waits for a moment only.
                Look::Sends => {
                    decision = self.wait(decision);
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

    /// Waits until the reader thread has noticed something, or a call of `accept` has finished.
    fn wait<'a>(&self, decision: MutexGuard<'a, Decision>) -> MutexGuard<'a, Decision> {
        wait(&self.changed, decision, None)
    }

    /// Takes an undecided offer whose client waits, and leaves what comes `next`.
    pub fn take(&self, next: Decision) -> Option<Undecided> {
        let mut decision = self.undecided()?;
        match std::mem::replace(&mut *decision, next) {
            Decision::Undecided(undecided) => Some(undecided),
            other => {
                *decision = other;
                None
            }
        }
    }
}

/// The reader thread's side of an offer.
pub(super) struct Waiter {
    pub socket: Arc<TcpStream>,
    pub shared: Arc<Shared>,
    /// Its place among those who wait.
    pub watched: Arc<Watched>,
}

impl Waiter {
    /// Waits for the program's word, and if it accepts, runs the connection's reader.
    pub fn wait(self, endpoint: &Endpoint, remote: SocketAddrV4) {
        let (decision, seen) = self.wait_for_decision(endpoint);
        let reason = match decision {
            Decision::Accepted(start, bytes) => {
                // The connection alone decides from here on how long its socket lives.
                drop(self);
                return start(Early { bytes, seen });
            }
            Decision::Denied => return linger(&self.socket),
            Decision::Refused(reason) => {
                self.watched.leaving();
                endpoint.handshake_failed(remote, reason);
                return linger(&self.socket);
            }
            Decision::Reset => {
                reset(&self.socket);
                "the peer was stopped"
            }
            withdrawn => {
                let is_stopped = endpoint.is_stopped();
                let is_turned_away = self.watched.is_turned_away();
                if is_stopped {
                    // `stop` may not have come to it yet.
                    deny(&self.socket, None, "stopped");
                }
                // Its place is free before anybody is told.
                drop(withdrawn);
                if is_stopped {
                    "the peer was stopped"
                } else if is_turned_away {
                    "its place was needed before it had an answer"
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
            let may_wait = matches!(seen, Seen::Nothing | Seen::Bytes) && !endpoint.is_stopped();
            let mut decision = lock(&self.shared.decision);
            let decided = match &mut *decision {
                Decision::Accepting(is_awaited) => {
                    *is_awaited = true;
                    drop(self.shared.wait(decision));
                    continue;
                }
                Decision::Undecided(undecided) if may_wait => {
                    if undecided.early.is_none() {
                        undecided.early = Some(Vec::new());
                        self.shared.changed.notify_all();
                    }
                    decided.get_or_insert_with(|| {
                        let (sender, receiver) = bounded(0);
                        undecided.awaited = Some(sender);
                        receiver
                    })
                }
                _ => {
                    let last = std::mem::replace(&mut *decision, Decision::Over);
                    self.shared.changed.notify_all();
                    return (last, seen);
                }
            };
            drop(decision);
            if self.shared.undecided().is_some() {
                select! {
                    recv(decided) -> _ => {}
                    recv(endpoint.stopping) -> _ => {}
                    default(LOOK_EVERY) => {}
                }
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
            match wait_for_input(&self.socket) {
                Ok(0) => return Seen::End,
                Ok(_) => return Seen::Bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Seen::Failure(CloseReason::from_io(&error)),
            }
        }
    }
}

#[cfg(test)]
#[cfg(feature = "secure")]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};
    use std::time::Duration;

    use crate::error::Error;
    use crate::event::Event;
    use crate::format::DataType;
    use crate::net::handshake::client::{Client, Failure, Request};
    use crate::net::handshake::{Input, Machine, Step};
    use crate::options::Settings;
    use crate::peer::Peer;
    use crate::secure::Secret;

    const SOON: Duration = Duration::from_secs(20);

    /// A client with the secret that sends behind its proof, before it has its answer.
    #[test]
    fn an_encrypted_client_that_sends_before_its_answer_is_refused() {
        let secret = Secret::random().unwrap();
        let builder = Peer::builder().invisible(true).timeout(SOON);
        let bob = builder.secret(secret.clone()).bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(addr) = bob.local_addr() else {
            panic!()
        };
        let mut socket = TcpStream::connect(addr).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();

        let settings = Settings::default();
        settings.trusts.change(|trust| trust.set(secret));
        let request = Request {
            data_type: DataType::Bytes,
            strict: true,
            stream: None,
            timeout: SOON,
            in_the_clear: false,
            attempt: None,
            whom: None,
            expected: crate::secure::Allowed::default(),
        };
        let own = "127.0.0.1:40000".parse().unwrap();
        let client = Client::new(&settings, own, Ipv4Addr::LOCALHOST, addr, request);
        let (mut client, hello) = client.unwrap();
        socket.write_all(&hello).unwrap();
        let mut step = client.take(Input::Bytes(&[]));
        let outcome = loop {
            step = match step {
                Step::Read { most, .. } => {
                    let mut bytes = vec![0; most];
                    let len = socket.read(&mut bytes).unwrap();
                    client.take(Input::Bytes(&bytes[..len]))
                }
                Step::Write(proof) => {
                    socket.write_all(&[&proof[..], b"x"].concat()).unwrap();
                    client.take(Input::Written)
                }
                Step::Pass(_) => client.take(Input::Passed(true)),
                Step::Over(outcome) => break outcome,
            };
        };
        match outcome {
            Err(Failure {
                error: Error::Denied { reason, .. },
                ..
            }) => assert_eq!(reason.as_deref(), Some("malformed")),
            _ => panic!("not denied"),
        }
        match bob.events().recv_timeout(SOON).unwrap() {
            Event::HandshakeFailed { reason, .. } => {
                assert_eq!(reason, "it sent encrypted data before it had an answer");
            }
            event => panic!("{event:?}"),
        }
        let offer = bob.offers().recv_timeout(SOON).unwrap();
        let accepted = offer.accept::<crate::format::Bytes>().map(|_| "accepted");
        assert!(matches!(accepted, Err(Error::Withdrawn)), "{accepted:?}");
    }
}
