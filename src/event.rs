//! What happens at a peer, for programs that want to show or count it.

use std::fmt;
use std::net::SocketAddr;

use crate::error::CloseReason;
use crate::format::DataType;
use crate::neighbour::PeerId;
use crate::secure::PublicKey;

/// Something that happened at a peer; see [`Peer::events`](crate::Peer::events).
///
/// Its `Display` is one line of text.
///
/// ```
/// use lanpeer::{Event, Peer};
///
/// let bob = Peer::bind("127.0.0.1:0")?;
/// drop(std::net::TcpStream::connect(bob.local_addr())?); // no peer: it says nothing
/// let failed = bob.events().iter().find_map(|event| match event {
///     Event::HandshakeFailed { reason, .. } => Some(reason),
///     _ => None,
/// });
/// assert_eq!(failed.unwrap(), "it hung up before HELLO");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Some events say who the other side is:
///
/// ```
/// # use lanpeer::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bob = Peer::bind("127.0.0.1:0")?;
/// let alice = Peer::builder().name("alice").service("chat").bind("127.0.0.1:0")?;
/// # let (to, asker) = (bob.local_addr(), alice.clone());
/// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
/// # let from_alice = bob.accept::<Bytes>()?;
/// let event = bob.events().recv()?; // she has connected to him
/// assert_eq!(event.peer_id(), Some(alice.id()));
/// assert_eq!((event.peer_name(), event.peer_service()), (Some("alice"), Some("chat")));
/// assert_eq!(event.peer_key(), None); // without the feature `secure`, or an identity
/// # drop(asking.join().unwrap()?);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A connection was made, by either side.
    Connected {
        /// The connection's number, unique within this process.
        id: u64,
        /// Where the other peer listens.
        peer_addr: SocketAddr,
        /// What it is for.
        data_type: DataType,
        /// The id of the peer on the other side; `None` if it speaks no frames.
        peer_id: Option<PeerId>,
        /// Its name, if it has one and speaks frames.
        peer_name: Option<String>,
        /// Its service, if it has one and speaks frames.
        peer_service: Option<String>,
        /// Its key, if it has shown one.
        peer_key: Option<PublicKey>,
    },
    /// This side denied an offer.
    Denied {
        /// Where the other peer listens.
        peer_addr: SocketAddr,
        /// The word that the other peer was told.
        reason: String,
        /// The id of the peer on the other side; `None` if it speaks no frames, or had not sent it yet.
        peer_id: Option<PeerId>,
        /// Its name, if it has one and speaks frames.
        peer_name: Option<String>,
        /// Its service, if it has one and speaks frames.
        peer_service: Option<String>,
        /// Its key, if it has shown one.
        peer_key: Option<PublicKey>,
    },
    /// Someone connected, but no connection came of it.
    HandshakeFailed {
        /// The other end of the TCP connection.
        remote: SocketAddr,
        /// What was wrong.
        reason: String,
    },
    /// A connection ended.
    Closed {
        /// The connection's number.
        id: u64,
        /// Where the other peer listens.
        peer_addr: SocketAddr,
        /// Why.
        reason: CloseReason,
        /// The id of the peer on the other side; `None` if it speaks no frames.
        peer_id: Option<PeerId>,
        /// Its name, if it has one and speaks frames.
        peer_name: Option<String>,
        /// Its service, if it has one and speaks frames.
        peer_service: Option<String>,
        /// Its key, if it has shown one.
        peer_key: Option<PublicKey>,
    },
    /// A peer that [`keep_connected`](crate::Peer::keep_connected) has asked said
    /// `deny("never")`: it is not asked again.
    KeepRefused {
        /// Where it listens.
        peer_addr: SocketAddr,
        /// Its id, if it is known.
        peer_id: Option<PeerId>,
    },
    /// The peer cannot take connections right now, for example because there are no file
    /// descriptors left; it goes on trying.
    ListenerTrouble {
        /// What the system said.
        reason: String,
    },
    /// Other peers cannot find this one, because it could not get the discovery port; everything else
    /// works. [`Peer::not_discoverable`](crate::Peer::not_discoverable) says the same.
    NotDiscoverable {
        /// What the system said.
        reason: String,
    },
    /// Events found the queue full and were dropped; the queue holds 256.
    Dropped {
        /// How many.
        count: u64,
    },
}

impl Event {
    /// The id of the peer on the other side, of `Connected`, `Denied`, `KeepRefused` and `Closed`. `None` for
    /// other events, and if that peer speaks no frames, since it is no lanpeer or has
    /// [`text_headers`](crate::PeerBuilder::text_headers).
    pub fn peer_id(&self) -> Option<PeerId> {
        match self {
            Event::Connected { peer_id, .. }
            | Event::Denied { peer_id, .. }
            | Event::KeepRefused { peer_id, .. }
            | Event::Closed { peer_id, .. } => *peer_id,
            _ => None,
        }
    }

    /// The public key that the other side has proved to own, of `Connected`, `Denied` and `Closed`; see
    /// [`Connection::peer_key`](crate::Connection::peer_key).
    pub fn peer_key(&self) -> Option<PublicKey> {
        match self {
            Event::Connected { peer_key, .. }
            | Event::Denied { peer_key, .. }
            | Event::Closed { peer_key, .. } => *peer_key,
            _ => None,
        }
    }

    /// The other side's name, at most 24 bytes, as in [`Neighbour::name`](crate::Neighbour::name). A name
    /// proves nothing.
    pub fn peer_name(&self) -> Option<&str> {
        match self {
            Event::Connected { peer_name, .. }
            | Event::Denied { peer_name, .. }
            | Event::Closed { peer_name, .. } => peer_name.as_deref(),
            _ => None,
        }
    }

    /// The other side's kind of program, at most 16 bytes, as in
    /// [`Neighbour::service`](crate::Neighbour::service).
    pub fn peer_service(&self) -> Option<&str> {
        match self {
            Event::Connected { peer_service, .. }
            | Event::Denied { peer_service, .. }
            | Event::Closed { peer_service, .. } => peer_service.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Connected {
                id,
                peer_addr,
                data_type,
                ..
            } => {
                write!(f, "connection {id} with {peer_addr}: {data_type}")
            }
            Event::Denied {
                peer_addr, reason, ..
            } => write!(f, "denied {peer_addr}: {reason}"),
            Event::HandshakeFailed { remote, reason } => {
                write!(f, "handshake with {remote} failed: {reason}")
            }
            Event::Closed {
                id,
                peer_addr,
                reason,
                ..
            } => {
                write!(f, "connection {id} with {peer_addr} ended: {reason}")
            }
            Event::KeepRefused { peer_addr, .. } => {
                write!(f, "{peer_addr} is not to be asked again")
            }
            Event::ListenerTrouble { reason } => write!(f, "cannot accept: {reason}"),
            Event::NotDiscoverable { reason } => write!(f, "not discoverable: {reason}"),
            Event::Dropped { count } => write!(f, "{count} events were dropped"),
        }
    }
}
