//! A search by a program that is no peer.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::reach::Reach;
use super::search::{Ask, Neighbours, start};
use super::{DISCOVERY_PORT, check_port};
use crate::error::Result;

/// Searches the local network for peers, for a program that is none itself; else see
/// [`Peer::discover`](crate::Peer::discover).
///
/// Asks on every IPv4 network of this host, and on this host itself, on port 1024;
/// [`DiscoverOptions`] can change that.
///
/// ```no_run
/// // Not run as a test: it asks on the real network.
/// for found in lanpeer::discover(std::time::Duration::from_millis(500))? {
///     println!("{found}"); // 192.168.0.3:62626 bob
/// }
/// # Ok::<(), lanpeer::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Io`](crate::Error::Io) if nothing could be sent on any network.
pub fn discover(time: Duration) -> Result<Neighbours> {
    DiscoverOptions::new().discover(time)
}

/// Options of a search by a program that is no peer itself.
///
/// ```
/// use lanpeer::DiscoverOptions;
/// use std::net::Ipv4Addr;
/// use std::time::Duration;
///
/// # use lanpeer::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
/// # let builder = Peer::builder().discovery_port(port);
/// let bob = builder.name("bob").service("chat").bind("127.0.0.1:0")?;
/// let mut options = DiscoverOptions::new();
/// options.bind(Ipv4Addr::LOCALHOST).port(port).service("chat");
/// let found = options.discover(Duration::from_secs(5))?.next().unwrap();
/// assert_eq!(found.addr(), bob.local_addr());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct DiscoverOptions {
    bound: Ipv4Addr,
    port: u16,
    service: Option<String>,
}

impl Default for DiscoverOptions {
    fn default() -> DiscoverOptions {
        DiscoverOptions {
            bound: Ipv4Addr::UNSPECIFIED,
            port: DISCOVERY_PORT,
            service: None,
        }
    }
}

impl DiscoverOptions {
    /// All networks, port 1024, every service.
    ///
    /// ```
    /// # use lanpeer::DiscoverOptions;
    /// let (new, default) = (DiscoverOptions::new(), DiscoverOptions::default());
    /// assert_eq!(format!("{new:?}"), format!("{default:?}"));
    /// ```
    pub fn new() -> DiscoverOptions {
        DiscoverOptions::default()
    }

    /// Asks only on the network on which this host has this address; with 127.0.0.1 only on this
    /// host. Default: 0.0.0.0, all networks.
    ///
    /// ```
    /// # use std::{net::Ipv4Addr, time::Duration};
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// # let bob = builder.bind("127.0.0.1:0")?;
    /// let mut options = DiscoverOptions::new();
    /// options.bind(Ipv4Addr::LOCALHOST).port(port);
    /// let found = options.discover(Duration::from_secs(5))?.next().unwrap();
    /// assert!(found.addr().ip().is_loopback());
    /// // An address that this host does not have:
    /// options.bind(Ipv4Addr::new(192, 0, 2, 1));
    /// assert!(options.discover(Duration::from_millis(10)).is_err());
    /// # Ok(()) }
    /// ```
    pub fn bind(&mut self, addr: Ipv4Addr) -> &mut DiscoverOptions {
        self.bound = addr;
        self
    }

    /// The UDP port that the peers answer at, not 0. Default: 1024.
    ///
    /// ```
    /// # use std::{net::Ipv4Addr, time::Duration};
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// let bob = builder.bind("127.0.0.1:0")?; // with .discovery_port(port)
    /// let mut options = DiscoverOptions::new();
    /// options.bind(Ipv4Addr::LOCALHOST).port(port);
    /// assert_eq!(options.discover(Duration::from_secs(5))?.next().unwrap().id(), Some(bob.id()));
    /// # Ok(()) }
    /// ```
    pub fn port(&mut self, port: u16) -> &mut DiscoverOptions {
        self.port = port;
        self
    }

    /// Only peers that offer this service. Default: all.
    ///
    /// ```
    /// # use std::{net::Ipv4Addr, time::Duration};
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// # let bob = builder.service("chat").bind("127.0.0.1:0")?;
    /// let mut options = DiscoverOptions::new();
    /// options.bind(Ipv4Addr::LOCALHOST).port(port).service("print");
    /// assert_eq!(options.discover(Duration::from_millis(10))?.count(), 0); // there is only a chat
    /// options.service("chat");
    /// assert!(options.discover(Duration::from_secs(5))?.next().is_some());
    /// # Ok(()) }
    /// ```
    pub fn service(&mut self, service: &str) -> &mut DiscoverOptions {
        self.service = Some(service.to_owned());
        self
    }

    /// Begins to search, for so long. The options can be used again.
    ///
    /// ```
    /// use lanpeer::{DiscoverOptions, Error};
    /// use std::time::Duration;
    ///
    /// let search = DiscoverOptions::new().port(0).discover(Duration::from_millis(10));
    /// assert!(matches!(search, Err(Error::InvalidOption { .. })));
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) if nothing could be sent on any network, and [`Error::InvalidOption`](crate::Error::InvalidOption) if the
    /// port is 0.
    pub fn discover(&self, time: Duration) -> Result<Neighbours> {
        check_port(self.port)?;
        let (bound, port, service) = (self.bound, self.port, self.service.clone());
        let stopped = Arc::new(AtomicBool::new(false));
        start(
            Ask {
                reach: Reach::new(bound),
                port,
                listen_port: 0,
                card: None,
                service,
                tags: None,
                stopped,
            },
            time,
        )
    }
}
