//! Totals of a peer, for dashboards and logs.

use crate::error::CloseReason;
use crate::net::context::Numbers;
use crate::net::os::lock;
use crate::net::os::sync::Mutex;

/// Totals of a peer since it was bound; see [`Peer::stats`](crate::Peer::stats).
///
/// ```
/// use lanpeer::Peer;
///
/// let peer = Peer::bind("127.0.0.1:0")?;
/// drop(std::net::TcpStream::connect(peer.local_addr())?); // no peer: it says nothing
/// peer.events().recv()?;
/// let stats = peer.stats();
/// assert_eq!((stats.connected, stats.handshakes_failed), (0, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerStats {
    /// Connections made, by either side.
    pub connected: u64,
    /// Offers that this side denied: the program, or lanpeer, for example because there was no room for another
    /// connection or the secret was wrong. Offers that end with `stop`, or because too many had no answer,
    /// count in `handshakes_failed`.
    pub denied: u64,
    /// How often someone connected without making an offer or a connection.
    pub handshakes_failed: u64,
    /// Calls of `connect` and its siblings that made no connection: the other side denied it, did not
    /// answer, or could not be reached.
    pub connects_failed: u64,
    /// Connections that have ended, by their reasons; `connected - ended.total()` are open.
    pub ended: Ended,
    /// Messages accepted by `send` and its siblings, on all connections, except those that a newer one
    /// has replaced before they left.
    pub messages_sent: u64,
    /// Their payloads, in bytes.
    pub bytes_sent: u64,
    /// Messages read, whether or not the program has taken them.
    pub messages_received: u64,
    /// Their payloads, in bytes.
    pub bytes_received: u64,
    /// Messages that a newer one has replaced: before they left this side
    /// ([`send_latest`](crate::Connection::send_latest)), or before the program took them
    /// ([`accept_latest`](crate::Offer::accept_latest)).
    pub replaced: u64,
    /// Events that found no room in the channel of [`Peer::events`](crate::Peer::events).
    pub events_dropped: u64,
}

impl PeerStats {
    pub(super) fn add(&mut self, numbers: Numbers) {
        self.messages_sent += numbers.messages_sent;
        self.bytes_sent += numbers.bytes_sent;
        self.messages_received += numbers.messages_received;
        self.bytes_received += numbers.bytes_received;
        self.replaced += numbers.replaced;
    }
}

/// How many connections have ended by each [`CloseReason`](crate::CloseReason); part of
/// [`PeerStats`](crate::PeerStats).
///
/// ```
/// # use lanpeer::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// # let (to, asker) = (bob.local_addr(), alice.clone());
/// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
/// # let from_alice = bob.accept::<Bytes>()?;
/// # let to_bob = asking.join().unwrap()?;
/// to_bob.abort();
/// let ended = alice.stats().ended;
/// assert_eq!((ended.aborted, ended.total(), ended.normal()), (1, 1, 0));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// This side closed it.
    pub closed_here: u64,
    /// The other side closed it.
    pub closed_there: u64,
    /// This side called `abort`.
    pub aborted: u64,
    /// This peer was stopped.
    pub stopped: u64,
    /// The last handle of this peer was dropped.
    pub peer_dropped: u64,
    /// The other side reset it.
    pub reset: u64,
    /// The other side was silent for too long.
    pub timed_out: u64,
    /// The other side ended without a goodbye.
    pub vanished: u64,
    /// The other side has come again with a new connection.
    pub replaced: u64,
    /// The other side's key, or the secret, was no longer accepted.
    pub revoked: u64,
    /// The other side ended in the middle of a message.
    pub truncated: u64,
    /// An encrypted connection ended without the record that ends it.
    pub cut: u64,
    /// An encrypted connection was tampered with.
    pub forged: u64,
    /// A message of another data type came.
    pub denied_type: u64,
    /// What came broke the protocol, or was no value of this side's type.
    pub malformed: u64,
    /// A message that came was too large.
    pub too_large: u64,
    /// The other side could not take in a message of this side.
    pub refused_there: u64,
    /// The program's handler panicked.
    pub handler_panicked: u64,
    /// The system met another error.
    pub io: u64,
}

impl Ended {
    pub(super) fn count(&mut self, reason: &CloseReason) {
        *self.of(reason) += 1;
    }

    fn of(&mut self, reason: &CloseReason) -> &mut u64 {
        match reason {
            CloseReason::ClosedHere => &mut self.closed_here,
            CloseReason::ClosedThere => &mut self.closed_there,
            CloseReason::Aborted => &mut self.aborted,
            CloseReason::Stopped => &mut self.stopped,
            CloseReason::PeerDropped => &mut self.peer_dropped,
            CloseReason::Reset => &mut self.reset,
            CloseReason::TimedOut => &mut self.timed_out,
            CloseReason::Vanished => &mut self.vanished,
            CloseReason::Replaced => &mut self.replaced,
            CloseReason::Revoked => &mut self.revoked,
            CloseReason::Truncated => &mut self.truncated,
            CloseReason::Cut => &mut self.cut,
            CloseReason::Forged => &mut self.forged,
            CloseReason::DeniedType { .. } => &mut self.denied_type,
            CloseReason::Malformed(_) => &mut self.malformed,
            CloseReason::TooLarge { .. } => &mut self.too_large,
            CloseReason::RefusedThere(_) => &mut self.refused_there,
            CloseReason::HandlerPanicked(_) => &mut self.handler_panicked,
            CloseReason::Io { .. } => &mut self.io,
        }
    }

    /// The sum of all reasons.
    pub fn total(&self) -> u64 {
        let broken = [
            self.aborted,
            self.reset,
            self.timed_out,
            self.vanished,
            self.replaced,
            self.revoked,
            self.truncated,
            self.cut,
            self.forged,
            self.denied_type,
            self.malformed,
            self.too_large,
            self.refused_there,
            self.handler_panicked,
            self.io,
        ];
        self.normal() + broken.iter().sum::<u64>()
    }

    /// The connections that one of the two sides simply closed; see
    /// [`CloseReason::is_normal`](crate::CloseReason::is_normal).
    pub fn normal(&self) -> u64 {
        self.closed_here + self.closed_there + self.stopped + self.peer_dropped
    }
}

/// What a peer counts by itself; its connections count their messages. The lock is held for one addition.
#[derive(Default)]
pub(super) struct Counts(Mutex<PeerStats>);

impl Counts {
    pub fn connected(&self) {
        lock(&self.0).connected += 1;
    }

    pub fn denied(&self) {
        lock(&self.0).denied += 1;
    }

    pub fn handshake_failed(&self) {
        lock(&self.0).handshakes_failed += 1;
    }

    pub fn connect_failed(&self) {
        lock(&self.0).connects_failed += 1;
    }

    pub fn ended(&self, reason: &CloseReason) {
        lock(&self.0).ended.count(reason);
    }

    pub fn stats(&self) -> PeerStats {
        *lock(&self.0)
    }
}
