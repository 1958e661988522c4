//! Who else is on the network: the part of [`Peer`] that searches and watches, and its settings.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use crate::builder::PeerBuilder;
use crate::error::Result;
use crate::neighbour::PeerId;
use crate::net::discovery::{Interface, Neighbours, Watch};
use crate::peer::Peer;

impl Peer {
    /// Searches the local network for `time`: iterates over the peers as they answer, and then ends. Half a
    /// second finds every peer on a quiet network. At most 1,024 are found.
    ///
    /// Asks on every IPv4 network of this host, and on this host itself; a peer that is bound to one
    /// address asks only there. Asks several times, in case datagrams are lost. A peer that answers on
    /// several networks is found once. The peer does not find itself.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// let bob = builder.clone().name("bob").bind("127.0.0.1:0")?;
    /// let alice = builder.bind("127.0.0.1:0")?;
    /// for found in alice.discover(Duration::from_secs(5))? {
    ///     println!("{found}"); // 127.0.0.1:62626 bob
    ///     assert_eq!(found.addr(), bob.local_addr());
    ///     break; // ends the search
    /// }
    /// # assert_eq!(alice.discover(Duration::from_secs(5))?.next().unwrap().name(), Some("bob"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io): nothing could be sent on any network.
    /// [`Error::Stopped`](crate::Error::Stopped).
    pub fn discover(&self, time: Duration) -> Result<Neighbours> {
        self.discovery().discover(time, None)
    }

    /// As [`discover`](Peer::discover), but finds only peers of this
    /// [`service`](crate::PeerBuilder::service).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// let bob = builder.clone().service("chat").bind("127.0.0.1:0")?;
    /// let alice = builder.service("print").bind("127.0.0.1:0")?;
    /// let found = alice.discover_service("chat", Duration::from_secs(5))?.next().unwrap();
    /// assert_eq!(found.addr(), bob.local_addr());
    /// assert_eq!(alice.discover_service("print", Duration::from_millis(10))?.count(), 0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`discover`](Peer::discover).
    pub fn discover_service(&self, service: &str, time: Duration) -> Result<Neighbours> {
        self.discovery().discover(time, Some(service.to_owned()))
    }

    /// Watches the local network: a channel of who is found and who is lost, from now until the peer is
    /// stopped. Use the [`Watch`] like the crossbeam [`Receiver`](crate::Receiver) that it dereferences to.
    /// Peers that are there already are found first, within half a second on a quiet network.
    ///
    /// The channel holds 1,024 reports. While it is full, nothing more is reported; when the program has taken
    /// half of them, it is told what has changed meanwhile. Dropping the last clone of the [`Watch`] ends it
    /// within 250 ms.
    ///
    /// ```
    /// use lanpeer::Presence;
    ///
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// let alice = builder.clone().bind("127.0.0.1:0")?;
    /// let watch = alice.watch();
    /// let bob = builder.name("bob").bind("127.0.0.1:0")?;
    /// let presence = watch.recv_timeout(Duration::from_secs(5))?;
    /// assert_eq!(presence.to_string(), format!("found {} bob", bob.local_addr()));
    /// bob.stop();
    /// assert!(matches!(watch.recv_timeout(Duration::from_secs(5))?, Presence::Lost(_)));
    /// # Ok(()) }
    /// ```
    pub fn watch(&self) -> Watch {
        self.discovery().watch(None)
    }

    /// As [`watch`](Peer::watch), but only for peers of this
    /// [`service`](crate::PeerBuilder::service).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// let alice = builder.clone().bind("127.0.0.1:0")?;
    /// let watch = alice.watch_service("chat");
    /// # let eve = builder.clone().service("print").bind("127.0.0.1:0")?;
    /// let bob = builder.service("chat").bind("127.0.0.1:0")?;
    /// let presence = watch.recv_timeout(Duration::from_secs(5))?;
    /// assert_eq!(presence.neighbour().addr(), bob.local_addr());
    /// # Ok(()) }
    /// ```
    pub fn watch_service(&self, service: &str) -> Watch {
        self.discovery().watch(Some(service.to_owned()))
    }

    /// Hides the peer from searches, or shows it again; takes effect before it returns. Watches of others lose
    /// it, and find it again. While it is hidden, its own searches do not tell of it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// # let bob = builder.clone().bind("127.0.0.1:0")?;
    /// # let alice = builder.bind("127.0.0.1:0")?;
    /// bob.set_invisible(true);
    /// assert_eq!(alice.discover(Duration::from_millis(10))?.count(), 0);
    /// bob.set_invisible(false);
    /// assert!(alice.discover(Duration::from_secs(5))?.next().is_some());
    /// # Ok(()) }
    /// ```
    pub fn set_invisible(&self, invisible: bool) {
        self.discovery().set_invisible(invisible);
    }

    /// Why other peers cannot find this one; for example, another program holds the discovery port. `None`
    /// if they can, as far as this host is concerned.
    ///
    /// The peer still searches, connects and accepts, and tries to get the port every 2 seconds.
    /// [`Event::NotDiscoverable`](crate::Event::NotDiscoverable) and a warning in the log tell the reason
    /// once, when the peer is made.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// let peer = builder.bind("127.0.0.1:0")?;
    /// assert_eq!(peer.not_discoverable(), None);
    /// # Ok(()) }
    /// ```
    pub fn not_discoverable(&self) -> Option<&str> {
        self.discovery().not_discoverable()
    }

    /// Every address at which others reach this peer: one for each network that the host is on now, and
    /// 127.0.0.1 last; never 0.0.0.0. A peer that is bound to one address has only that one.
    ///
    /// ```
    /// # use lanpeer::Peer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// let peer = builder.bind("127.0.0.1:0")?;
    /// assert_eq!(peer.addrs(), [peer.local_addr()]);
    /// # Ok(()) }
    /// ```
    pub fn addrs(&self) -> Vec<SocketAddr> {
        let addrs = self.discovery().addrs();
        addrs.into_iter().map(SocketAddr::from).collect()
    }

    /// The random id by which others know this peer on all networks. Each new peer draws one.
    ///
    /// ```
    /// # use lanpeer::Peer;
    /// let (alice, bob) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// assert_ne!(alice.id(), bob.id());
    /// assert_eq!(alice.id(), alice.clone().id());
    /// # Ok::<(), lanpeer::Error>(())
    /// ```
    pub fn id(&self) -> PeerId {
        self.discovery().id()
    }
}

/// Settings of discovery.
impl PeerBuilder {
    /// Which networks discovery uses: those of the interfaces for which `choose` returns true. On the
    /// others it neither asks, answers nor hears. Loopback is always used. Connections are not limited.
    /// Default: all.
    ///
    /// `choose` is called every two seconds and for each search, with each IPv4 address of each interface; it
    /// should be quick. An interface for which it panics is not used.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// let builder = builder.interfaces(|interface| !interface.name().starts_with("docker"));
    /// let (alice, bob) = (builder.bind("127.0.0.1:0")?, builder.bind("127.0.0.1:0")?);
    /// let found = alice.discover(Duration::from_secs(5))?.next().unwrap();
    /// assert_eq!(found.addr(), bob.local_addr());
    /// # Ok(()) }
    /// ```
    pub fn interfaces(
        mut self,
        choose: impl Fn(&Interface) -> bool + Send + Sync + 'static,
    ) -> PeerBuilder {
        self.discovery.reach.choose(choose);
        self
    }

    /// Hosts that broadcasts do not reach, on a VPN or in another subnet: searches and watches ask them one by
    /// one, besides everybody else. IPv4 addresses, with or without a port, as text or as std's types; at most
    /// 256. Each is asked at the discovery port, and also at its own port if it has one. Default: none.
    ///
    /// A peer there answers if its host has a route back, and this host's address is private
    /// (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, 169.254.0.0/16). Of several peers
    /// on one such host its system lets only one hear the question. A watch loses one that stops at
    /// once if it has this host among its own seeds, and else when it does not answer any more.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// let builder = builder.seeds(["10.8.0.3", "10.8.0.4"]);
    /// let alice = builder.bind("127.0.0.1:0")?;
    /// let error = Peer::builder().seeds(["no address"]).bind("127.0.0.1:0").unwrap_err();
    /// assert!(matches!(error, Error::InvalidOption { option: "seeds", .. }));
    /// # Ok(()) }
    /// ```
    pub fn seeds<A: Display>(mut self, hosts: impl IntoIterator<Item = A>) -> PeerBuilder {
        self.discovery.seeds = hosts.into_iter().map(|host| host.to_string()).collect();
        self
    }
}
