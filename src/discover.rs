//! Who else is on the network: the part of [`Peer`] that searches and watches.

use std::time::Duration;

use crossbeam_channel::Receiver;

use crate::error::Result;
use crate::neighbour::{PeerId, Presence};
use crate::net::discovery::Neighbours;
use crate::peer::Peer;

impl Peer {
    /// Searches the local network for `time`: iterates over the peers that answer, each as it
    /// does, and ends then. Half a second finds every peer on a quiet network.
    ///
    /// Asks on every IPv4 network of this host, and on this host itself; a peer that is bound to
    /// one address asks only there. Repeats itself within the time, so that a lost datagram is not
    /// a lost peer. A peer that answers on several networks is found once. The peer does not find
    /// itself.
    ///
    /// ```
    /// # let alice = lanpeer::Peer::bind("127.0.0.1:0")?;
    /// use std::time::Duration;
    ///
    /// for found in alice.discover(Duration::from_millis(50))? {
    ///     println!("{found}"); // 192.168.0.3:62626 bob
    /// }
    /// # Ok::<(), lanpeer::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io): nothing could be sent on any network. [`Error::Stopped`](crate::Error::Stopped).
    pub fn discover(&self, time: Duration) -> Result<Neighbours> {
        self.discovery().discover(time, None)
    }

    /// As [`discover`](Peer::discover), but finds only peers of this
    /// [`service`](crate::PeerBuilder::service).
    ///
    /// # Errors
    /// As [`discover`](Peer::discover).
    pub fn discover_service(&self, service: &str, time: Duration) -> Result<Neighbours> {
        self.discovery().discover(time, Some(service.to_owned()))
    }

    /// Watches the local network: a channel of who is found and who is lost, from now until the
    /// peer is stopped. Those who are there already are found first.
    ///
    /// ```
    /// # let alice = lanpeer::Peer::bind("127.0.0.1:0")?;
    /// use lanpeer::Presence;
    ///
    /// let watch = alice.watch();
    /// std::thread::spawn(move || {
    ///     for presence in watch {
    ///         match presence {
    ///             Presence::Found(peer) => println!("{peer} is there"),
    ///             Presence::Lost(peer) => println!("{peer} is gone"),
    ///             _ => {}
    ///         }
    ///     }
    /// });
    /// # Ok::<(), lanpeer::Error>(())
    /// ```
    pub fn watch(&self) -> Receiver<Presence> {
        self.discovery().watch(None)
    }

    /// As [`watch`](Peer::watch), but only for peers of this [`service`](crate::PeerBuilder::service).
    pub fn watch_service(&self, service: &str) -> Receiver<Presence> {
        self.discovery().watch(Some(service.to_owned()))
    }

    /// Hides the peer from searches, or shows it again; takes effect before it returns.
    pub fn set_invisible(&self, invisible: bool) {
        self.discovery().set_invisible(invisible);
    }

    /// Why other peers can not find this one: another program has the discovery port for itself,
    /// for example. `None` if they can, as far as this host is concerned.
    pub fn not_discoverable(&self) -> Option<&str> {
        self.discovery().not_discoverable()
    }

    /// The random id by which searches know the peer, on whichever network.
    pub fn id(&self) -> PeerId {
        self.discovery().id()
    }
}
