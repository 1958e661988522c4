//! Who else is on the network.

use std::fmt;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, ToSocketAddrs};

use crate::proto::beacon::Card;

/// A peer that was found on the local network.
///
/// Its `Display` is the address to connect to, and then its name if it has one:
/// `192.168.0.3:62626 bob`.
///
/// Nothing proves what a peer says of itself, unless it [is a member](Neighbour::is_member). In names and
/// services, characters that control a terminal, have no width or turn the direction of writing are always
/// written out, as `\u{202e}`.
///
/// ```
/// # use std::time::Duration;
/// # use lanpeer::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
/// # let builder = Peer::builder().discovery_port(port);
/// let bob = builder.clone().name("bob").service("chat").bind("127.0.0.1:0")?;
/// # let alice = builder.bind("127.0.0.1:0")?;
/// let found = alice.discover(Duration::from_secs(5))?.next().unwrap();
/// assert_eq!(found.addr(), bob.local_addr());
/// assert_eq!(found.addrs().count(), 1);
/// assert_eq!(found.id(), Some(bob.id()));
/// assert_eq!((found.name(), found.service()), (Some("bob"), Some("chat")));
/// assert!(!found.is_member()); // neither has a secret
/// assert_eq!(found.to_string(), format!("{} bob", bob.local_addr()));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Nearest first; never empty.
    pub(crate) addrs: Vec<SocketAddrV4>,
    pub(crate) id: Option<PeerId>,
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) is_member: bool,
}

impl Neighbour {
    /// A lanpeer has a card, any other peer none.
    pub(crate) fn new(addrs: Vec<SocketAddrV4>, card: Option<&Card>) -> Neighbour {
        let label = |text: fn(&Card) -> &String| card.map(text).cloned().unwrap_or_default();
        Neighbour {
            addrs,
            id: card.map(PeerId::of),
            name: label(|card| &card.name),
            service: label(|card| &card.service),
            is_member: false,
        }
    }

    /// Where the peer listens: the address to connect to. Of several it is the nearest one (this host's
    /// loopback, then a network that both are on).
    pub fn addr(&self) -> SocketAddr {
        self.addrs[0].into()
    }

    /// Every address at which the peer has answered so far, the nearest first; at least one.
    pub fn addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addrs.iter().map(|&addr| addr.into())
    }

    /// The peer's random id, the same on all its networks. `None`: it is no lanpeer, but for example a
    /// peerpy.
    pub fn id(&self) -> Option<PeerId> {
        self.id
    }

    /// The peer's name, at most 24 bytes; by default the name of its host. `None`: it is not a lanpeer, or
    /// has no name.
    pub fn name(&self) -> Option<&str> {
        (!self.name.is_empty()).then_some(&*self.name)
    }

    /// The kind of program, in a word that the program chose; at most 16 bytes. `None`: it is not a lanpeer,
    /// or has none.
    pub fn service(&self) -> Option<&str> {
        (!self.service.is_empty()).then_some(&*self.service)
    }

    /// Has it proved, with what it said of itself, that it has a secret of the peer that found it?
    ///
    /// True only if both use tags (`PeerBuilder::discovery_tags`), which need the feature `secure`.
    /// `docs/security.md` says what the proof is worth.
    pub fn is_member(&self) -> bool {
        self.is_member
    }

    /// What it says of itself, if it is a lanpeer.
    pub(crate) fn card(&self) -> Option<Card> {
        let PeerId(id) = self.id?;
        Some(Card {
            id,
            name: self.name.clone(),
            service: self.service.clone(),
        })
    }

    /// Does it offer this service? `None`: any service will do.
    pub(crate) fn offers(&self, service: &Option<String>) -> bool {
        service
            .as_ref()
            .is_none_or(|service| *service == self.service)
    }
}

/// Where a peer is: what [`connect`](crate::Peer::connect) takes.
///
/// Anything that has socket addresses, as in [`std::net`], for whoever is there; or a [`Neighbour`] that
/// was found, with all of its addresses, the nearest first, and for that peer only.
///
/// ```
/// # use std::time::Duration;
/// # use lanpeer::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
/// # let builder = Peer::builder().discovery_port(port);
/// # let (bob, alice) = (builder.bind("127.0.0.1:0")?, builder.bind("127.0.0.1:0")?);
/// # let taker = bob.clone();
/// # let taking = std::thread::spawn(move || while taker.accept::<Bytes>().is_ok() {});
/// let found = alice.discover(Duration::from_secs(5))?.next().unwrap();
/// let conn = alice.connect::<Bytes>(&found)?; // nobody but him
/// assert_eq!(conn.peer_id(), found.id());
/// let conn = alice.connect::<Bytes>(found.addr())?; // whoever is there
/// # bob.stop();
/// # taking.join().unwrap();
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say where a peer is",
    label = "no address, and no `Neighbour`",
    note = "use an IPv4 address with its port, such as \"192.168.0.3:62626\", or a `Neighbour` that was found"
)]
pub trait ToPeerAddrs: sealed::Sealed {}

impl<T: sealed::Sealed> ToPeerAddrs for T {}

pub(crate) mod sealed {
    use super::{Neighbour, SocketAddr, ToSocketAddrs, io};

    pub trait Sealed {
        fn addrs(&self) -> io::Result<Vec<SocketAddr>>;

        /// Who has to be there.
        fn whom(&self) -> Option<&Neighbour> {
            None
        }
    }

    impl<T: ToSocketAddrs> Sealed for T {
        fn addrs(&self) -> io::Result<Vec<SocketAddr>> {
            self.to_socket_addrs().map(Iterator::collect)
        }
    }

    impl Sealed for Neighbour {
        fn addrs(&self) -> io::Result<Vec<SocketAddr>> {
            Ok(Neighbour::addrs(self).collect())
        }

        fn whom(&self) -> Option<&Neighbour> {
            Some(self)
        }
    }

    impl Sealed for &Neighbour {
        fn addrs(&self) -> io::Result<Vec<SocketAddr>> {
            Ok(Neighbour::addrs(self).collect())
        }

        fn whom(&self) -> Option<&Neighbour> {
            Some(self)
        }
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

/// A random number that each peer draws when it is built, the same on all its networks.
///
/// 40 bits; no secret, and it proves nothing. Its `Display` is ten hexadecimal digits.
///
/// ```
/// let peer = lanpeer::Peer::bind("127.0.0.1:0")?;
/// assert_eq!(peer.id().to_string().len(), 10); // 0f3a91c27e
/// # Ok::<(), lanpeer::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(u64);

impl PeerId {
    pub(crate) fn of(card: &Card) -> PeerId {
        PeerId(card.id)
    }

    /// As HELLO has it.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010x}", self.0)
    }
}

/// What a watch tells; see [`Peer::watch`](crate::Peer::watch).
///
/// ```
/// use lanpeer::Presence;
///
/// # use std::time::Duration;
/// # use lanpeer::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
/// # let builder = Peer::builder().discovery_port(port);
/// # let alice = builder.clone().bind("127.0.0.1:0")?;
/// let watch = alice.watch();
/// let bob = builder.bind("127.0.0.1:0")?;
/// let presence = watch.recv_timeout(Duration::from_secs(5))?;
/// assert_eq!(presence.neighbour().addr(), bob.local_addr());
/// match presence {
///     Presence::Found(found) => println!("{found} is there"),
///     Presence::Lost(lost) => println!("{lost} is gone"),
///     _ => {}
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Presence {
    /// This peer is there. Told again when its nearest address, its name or its service changes.
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
