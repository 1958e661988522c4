//! A connection as its peer lists it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::error::{CloseError, CloseReason};
use crate::format::DataType;
use crate::neighbour::PeerId;
use crate::net::link::{Link, Stats};
use crate::options::StreamSize;
use crate::proto::beacon::Card;
use crate::secure::PublicKey;

/// A connection as its peer lists it, whatever its format: in
/// [`Peer::connections`](crate::Peer::connections), and in a [`Broadcast`](crate::Broadcast).
///
/// Holding one does not keep the connection open. Two are equal if they are of the same connection.
///
/// ```
/// # use lanpeer::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// # let (to, asker) = (bob.local_addr(), alice.clone());
/// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
/// # let from_alice = bob.accept::<Bytes>()?;
/// # let to_bob = asking.join().unwrap()?;
/// let listed = &bob.connections()[0];
/// assert_eq!(listed.id(), from_alice.id());
/// assert_eq!(listed.peer_addr(), alice.local_addr());
/// assert_eq!((listed.peer_id(), listed.peer_service()), (Some(alice.id()), None));
/// assert_eq!(listed.data_type(), DataType::Bytes);
/// assert!(listed.is_strict() && listed.stream().is_none());
/// assert_eq!(listed.stats().messages_received, 0);
/// assert_eq!(listed.close_reason(), None);
/// assert_eq!(*listed, bob.connections()[0]);
/// let words = format!("connection {} with {}", from_alice.id(), alice.local_addr());
/// assert_eq!(listed.to_string(), words);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ConnectionInfo {
    link: Arc<Link>,
}

impl ConnectionInfo {
    pub(crate) fn new(link: &Arc<Link>) -> ConnectionInfo {
        ConnectionInfo {
            link: Arc::clone(link),
        }
    }

    /// The connection's number, unique in this process.
    pub fn id(&self) -> u64 {
        self.link.id
    }

    /// Where the other peer listens.
    pub fn peer_addr(&self) -> SocketAddr {
        self.link.peer_addr
    }

    /// The id of the peer on the other side. `None`: it speaks no frames, since it is no lanpeer or has
    /// [`text_headers`](crate::PeerBuilder::text_headers).
    pub fn peer_id(&self) -> Option<PeerId> {
        self.link.who.as_deref().map(PeerId::of)
    }

    /// The other side's name, at most 24 bytes, as in [`Neighbour::name`](crate::Neighbour::name). `None`:
    /// it has none, or speaks no frames. A name proves nothing.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bob = Peer::bind("127.0.0.1:0")?;
    /// let alice = Peer::builder().name("alice").service("chat").bind("127.0.0.1:0")?;
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let _from_alice = bob.accept::<Bytes>()?;
    /// let listed = &bob.connections()[0]; // she has connected to him
    /// assert_eq!(listed.peer_name(), Some("alice"));
    /// # drop(asking.join().unwrap()?);
    /// # Ok(()) }
    /// ```
    pub fn peer_name(&self) -> Option<&str> {
        self.link.who.as_deref().and_then(Card::name)
    }

    /// The other side's kind of program, at most 16 bytes, as in
    /// [`Neighbour::service`](crate::Neighbour::service). `None`: it has none, or speaks no frames.
    pub fn peer_service(&self) -> Option<&str> {
        self.link.who.as_deref().and_then(Card::service)
    }

    /// The public key that the other side has proved to own; see
    /// [`Connection::peer_key`](crate::Connection::peer_key). `None`: it shows none.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// assert_eq!(alice.connections()[0].peer_key(), None); // there is no secret, and so no key
    /// # Ok(()) }
    /// ```
    pub fn peer_key(&self) -> Option<PublicKey> {
        self.link.proof.as_ref().and_then(|proof| proof.key)
    }

    /// The data type that the handshake agreed on.
    pub fn data_type(&self) -> DataType {
        self.link.data_type
    }

    /// Does a message of another data type end the connection?
    pub fn is_strict(&self) -> bool {
        self.link.strict
    }

    /// Is the connection encrypted, between two peers that have the same secret? Needs the feature `secure`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// assert!(!alice.connections()[0].is_secure()); // she has no secret
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    pub fn is_secure(&self) -> bool {
        self.link.secure
    }

    /// `Some` if all messages have one size.
    pub fn stream(&self) -> Option<StreamSize> {
        self.link.stream
    }

    /// Messages and bytes so far, and what waits.
    pub fn stats(&self) -> Stats {
        self.link.stats()
    }

    /// As [`Connection::close`](crate::Connection::close).
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// for listed in alice.connections() {
    ///     listed.close()?;
    /// }
    /// assert_eq!(to_bob.close_reason(), Some(CloseReason::ClosedHere));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Connection::close`](crate::Connection::close).
    pub fn close(&self) -> Result<(), CloseError> {
        self.link.close()
    }

    /// As [`Connection::abort`](crate::Connection::abort).
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// alice.connections()[0].abort();
    /// assert_eq!(to_bob.close_reason(), Some(CloseReason::Aborted));
    /// # Ok(()) }
    /// ```
    pub fn abort(&self) {
        self.link.kill(CloseReason::Aborted);
    }

    /// Why the connection ended; `None` while it has not.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.link.close_reason()
    }

    /// As [`Connection::on_end`](crate::Connection::on_end).
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// let (ended, all_ended) = crossbeam_channel::unbounded();
    /// alice.connections()[0].on_end(move |reason| ended.send(reason).unwrap());
    /// to_bob.close()?;
    /// assert_eq!(all_ended.recv()?, CloseReason::ClosedHere);
    /// # Ok(()) }
    /// ```
    pub fn on_end(&self, f: impl FnOnce(CloseReason) + Send + 'static) {
        self.link.on_end(f);
    }
}

impl PartialEq for ConnectionInfo {
    fn eq(&self, other: &ConnectionInfo) -> bool {
        self.id() == other.id()
    }
}

impl Eq for ConnectionInfo {}

/// As events begin: `connection 1 with 127.0.0.1:62626`.
impl fmt::Display for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {} with {}", self.id(), self.peer_addr())
    }
}

impl fmt::Debug for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionInfo")
            .field("id", &self.id())
            .field("peer_addr", &self.peer_addr())
            .field("data_type", &self.data_type())
            .field("close_reason", &self.close_reason())
            .finish_non_exhaustive()
    }
}
