//! Whom to stay connected to.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::neighbour::{Neighbour, PeerId};

/// Whom [`keep_connected`](crate::Peer::keep_connected) connects to.
///
/// All but [`addr`](Target::addr) are found by discovery, as with [`watch`](crate::Peer::watch).
///
/// ```
/// use lanpeer::{Peer, Target};
///
/// let peer = Peer::bind("127.0.0.1:0")?;
/// assert_eq!(Target::service("thermometer").to_string(), "service thermometer");
/// assert_eq!(Target::name("kitchen").to_string(), "name kitchen");
/// assert_eq!(Target::id(peer.id()).to_string(), format!("id {}", peer.id()));
/// assert_eq!(Target::addr("kitchen.local:5000").to_string(), "kitchen.local:5000");
/// assert_eq!(Target::from(peer.local_addr()), Target::addr(peer.local_addr()));
/// assert_eq!(Target::any().to_string(), "any peer");
/// # Ok::<(), lanpeer::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub(crate) kind: Kind,
    /// Where the peer was found already.
    pub(crate) known: Option<Neighbour>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As text, which is resolved at each attempt.
    Addr(String),
    Name(String),
    Service(String),
    Id(PeerId),
    Any,
}

impl Target {
    /// Whoever listens at this address. A host name is looked up at each attempt. Needs no discovery.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (taker, addr) = (bob.clone(), bob.local_addr());
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let mut kept = alice.keep_connected::<Bytes>(Target::addr(addr)); // or "kitchen.local:5000"
    /// let to_bob = kept.next().unwrap();
    /// assert_eq!(to_bob.peer_addr(), addr);
    /// # taking.join().unwrap()?;
    /// # Ok(()) }
    /// ```
    pub fn addr(addr: impl ToSocketAddrs + fmt::Display) -> Target {
        let text = addr.to_string();
        // What a neighbour says of itself begins with its address.
        let addr = text.split(' ').next().unwrap_or_default();
        Target::new(Kind::Addr(addr.to_owned()))
    }

    /// All peers of this [`name`](crate::PeerBuilder::name), each by a connection of its own.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// # let bob = builder.clone().name("kitchen").bind("127.0.0.1:0")?;
    /// # let alice = builder.bind("127.0.0.1:0")?;
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let mut kept = alice.keep_connected::<Bytes>(Target::name("kitchen"));
    /// let to_bob = kept.next().unwrap();
    /// assert_eq!(to_bob.peer_name(), Some("kitchen"));
    /// # taking.join().unwrap()?;
    /// # Ok(()) }
    /// ```
    pub fn name(name: impl Into<String>) -> Target {
        Target::new(Kind::Name(name.into()))
    }

    /// All peers of this [`service`](crate::PeerBuilder::service).
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// # let bob = builder.clone().service("thermometer").bind("127.0.0.1:0")?;
    /// # let alice = builder.bind("127.0.0.1:0")?;
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let mut kept = alice.keep_connected::<Bytes>(Target::service("thermometer"));
    /// let to_bob = kept.next().unwrap();
    /// assert_eq!(to_bob.peer_service(), Some("thermometer"));
    /// # taking.join().unwrap()?;
    /// # Ok(()) }
    /// ```
    pub fn service(service: impl Into<String>) -> Target {
        Target::new(Kind::Service(service.into()))
    }

    /// This one peer. A process that is started again has another [`id`](crate::Peer::id), and no longer
    /// matches; for that use a name, a service or an address.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// # let bob = builder.clone().bind("127.0.0.1:0")?;
    /// # let alice = builder.bind("127.0.0.1:0")?;
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let mut kept = alice.keep_connected::<Bytes>(Target::id(bob.id()));
    /// let to_bob = kept.next().unwrap();
    /// assert_eq!(to_bob.peer_id(), Some(bob.id()));
    /// # taking.join().unwrap()?;
    /// # Ok(()) }
    /// ```
    pub fn id(id: PeerId) -> Target {
        Target::new(Kind::Id(id))
    }

    /// Every peer that is found.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// # let bob = builder.clone().bind("127.0.0.1:0")?;
    /// # let alice = builder.bind("127.0.0.1:0")?;
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let mut kept = alice.keep_connected::<Bytes>(Target::any());
    /// assert!(kept.next().is_some());
    /// # taking.join().unwrap()?;
    /// # Ok(()) }
    /// ```
    pub fn any() -> Target {
        Target::new(Kind::Any)
    }

    fn new(kind: Kind) -> Target {
        Target { kind, known: None }
    }

    /// The id, if the target is one peer by its id.
    pub(crate) fn peer(&self) -> Option<PeerId> {
        match &self.kind {
            Kind::Id(id) => Some(*id),
            _ => None,
        }
    }

    /// Is a peer meant that says this of itself?
    pub(crate) fn is_meant(&self, id: Option<PeerId>, name: &str, service: &str) -> bool {
        match &self.kind {
            Kind::Addr(_) => false,
            Kind::Name(wanted) => wanted == name,
            Kind::Service(wanted) => wanted == service,
            Kind::Id(wanted) => id == Some(*wanted),
            Kind::Any => true,
        }
    }
}

impl From<SocketAddr> for Target {
    fn from(addr: SocketAddr) -> Target {
        Target::addr(addr)
    }
}

/// This one peer, as with [`Target::id`], where it was found. A peer that is no lanpeer has no id; then it
/// is whoever listens at its address.
impl From<&Neighbour> for Target {
    fn from(neighbour: &Neighbour) -> Target {
        match neighbour.id() {
            Some(id) => Target {
                kind: Kind::Id(id),
                known: Some(neighbour.clone()),
            },
            None => Target::addr(neighbour.addr()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Addr(addr) => f.write_str(addr),
            Kind::Name(name) => write!(f, "name {}", name.escape_debug()),
            Kind::Service(service) => write!(f, "service {}", service.escape_debug()),
            Kind::Id(id) => write!(f, "id {id}"),
            Kind::Any => f.write_str("any peer"),
        }
    }
}
