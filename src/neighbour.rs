//! Who else is on the network.

use std::fmt;
use std::net::{SocketAddr, SocketAddrV4};

/// A peer that was found on the local network.
///
/// Its `Display` is the address to connect to, and then its name if it has one:
/// `192.168.0.3:62626 bob`.
///
/// Names and services are what the other side says of itself: nothing on the network proves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Nearest first; never empty.
    pub(crate) addrs: Vec<SocketAddrV4>,
    pub(crate) id: Option<PeerId>,
    pub(crate) name: String,
    pub(crate) service: String,
}

impl Neighbour {
    /// Where it listens: an address that can be connected to as it stands, and of several the
    /// nearest one (this host's loopback, then a network that both are on).
    pub fn addr(&self) -> SocketAddr {
        self.addrs[0].into()
    }

    /// Every address that it answered at so far, the nearest first; at least one.
    pub fn addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addrs.iter().map(|&addr| addr.into())
    }

    /// Its random id, the same on every network that it is on. None for a peer that is not a
    /// lanpeer, such as peerpy.
    pub fn id(&self) -> Option<PeerId> {
        self.id
    }

    /// Its name, at most 24 bytes; by default the name of its host. None for a peer that is not a
    /// lanpeer, or that has none.
    pub fn name(&self) -> Option<&str> {
        (!self.name.is_empty()).then_some(&*self.name)
    }

    /// What program it is, in a word that the program chose; at most 16 bytes.
    pub fn service(&self) -> Option<&str> {
        (!self.service.is_empty()).then_some(&*self.service)
    }

    /// Is it limited to nothing, or to this service?
    pub(crate) fn offers(&self, service: &Option<String>) -> bool {
        service
            .as_ref()
            .is_none_or(|service| *service == self.service)
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.addrs[0])?;
        match self.name() {
            Some(name) => write!(f, " {name}"),
            None => Ok(()),
        }
    }
}

/// A number that a peer draws when it is built, to be known by on several networks.
///
/// Of 40 random bits: no secret, and no proof of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub(crate) u64);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010x}", self.0)
    }
}

/// What a watch tells; see [`Peer::watch`](crate::Peer::watch).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Presence {
    /// This peer is there. Told again when its nearest address, its name or its service changed.
    Found(Neighbour),
    /// This peer is gone: it said so, or was silent for too long.
    Lost(Neighbour),
}

impl Presence {
    /// The peer that it is about.
    pub fn neighbour(&self) -> &Neighbour {
        match self {
            Presence::Found(neighbour) | Presence::Lost(neighbour) => neighbour,
        }
    }
}

impl fmt::Display for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Presence::Found(neighbour) => write!(f, "found {neighbour}"),
            Presence::Lost(neighbour) => write!(f, "lost {neighbour}"),
        }
    }
}
