//! Connections that come back: the part of [`Peer`] and [`ConnectOptions`] that keeps them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::connection::Connection;
use crate::error::Result;
use crate::format::Format;
use crate::net::discovery;
use crate::net::keep::driver::{Handle, Plan, Sight, Watch, start};
use crate::net::os::sync::Receiver;
use crate::options::ConnectOptions;
use crate::peer::Peer;
use crate::target::{Kind, Target};

/// Connections to the peers of one [`Target`], each made anew whenever it has ended; see
/// [`Peer::keep_connected`].
///
/// An iterator, which waits for the next connection, and ends when the peer is stopped. Dropping it ends
/// the attempts at once, and also any clone of its receiver; connections that the program has taken stay.
///
/// ```
/// use lanpeer::{Bytes, KeepConnected, Peer, Target};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (alice, bob) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// # let taker = bob.clone();
/// # let taking = std::thread::spawn(move || (taker.accept::<Bytes>(), taker.accept::<Bytes>()));
/// let mut kept: KeepConnected<Bytes> = alice.keep_connected(Target::addr(bob.local_addr()));
/// let first = kept.next().unwrap();
/// first.abort(); // or a cable, or a crash
/// let second = kept.next().unwrap();
/// assert_eq!((first.peer_id(), second.peer_id()), (Some(bob.id()), Some(bob.id())));
/// assert!(first.id() != second.id() && kept.refused().is_empty());
/// alice.stop();
/// assert!(kept.next().is_none());
/// # drop(taking.join());
/// # Ok(()) }
/// ```
#[must_use = "it connects only while it is kept"]
pub struct KeepConnected<F: Format> {
    handle: Handle<Connection<F>>,
    target: Target,
}

impl<F: Format> KeepConnected<F> {
    /// The channel behind the iterator, for [`select!`](crossbeam_channel::select) and for deadlines.
    ///
    /// ```
    /// use lanpeer::{Bytes, Peer, Target, crossbeam_channel::select};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (alice, bob) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let kept = alice.keep_connected::<Bytes>(Target::addr(bob.local_addr()));
    /// select! {
    ///     recv(kept.receiver()) -> conn => assert_eq!(conn?.peer_id(), Some(bob.id())),
    ///     default(Duration::from_secs(20)) => panic!("bob is not there"),
    /// }
    /// # taking.join().unwrap()?;
    /// # Ok(()) }
    /// ```
    pub fn receiver(&self) -> &Receiver<Connection<F>> {
        &self.handle.connections
    }

    /// The addresses of peers that are not asked again, because they denied with the word `never`: the last
    /// 1,024, in their order. [`Event::KeepRefused`](crate::Event::KeepRefused) tells of each.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (alice, bob) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let offers = bob.offers();
    /// # let denying = std::thread::spawn(move || offers.recv().unwrap().deny("never").unwrap());
    /// let mut kept = alice.keep_connected::<Bytes>(bob.local_addr());
    /// // Bob: offer.deny("never")
    /// assert!(kept.next().is_none()); // nobody is left to be asked
    /// assert_eq!(kept.refused(), [bob.local_addr()]);
    /// # denying.join().unwrap();
    /// # Ok(()) }
    /// ```
    pub fn refused(&self) -> Vec<SocketAddr> {
        self.handle.refused()
    }
}

impl<F: Format> Iterator for KeepConnected<F> {
    type Item = Connection<F>;

    fn next(&mut self) -> Option<Connection<F>> {
        self.handle.connections.recv().ok()
    }
}

impl<F: Format> std::iter::FusedIterator for KeepConnected<F> {}

impl<F: Format> fmt::Debug for KeepConnected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepConnected")
            .field("target", &self.target)
            .field("waiting", &self.handle.connections.len())
            .finish_non_exhaustive()
    }
}

impl Peer {
    /// Stays connected to all peers of `target`: yields a connection each time that one is up, for as long as
    /// this peer lives. When a connection ends, for whatever reason, a new one is made; nothing is sent a
    /// second time. Use it instead of calling [`connect`](Peer::connect) in a loop.
    ///
    /// ```
    /// use lanpeer::{Peer, Raw, Target};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// # let sensor = builder.clone().name("kitchen").service("thermometer").bind("127.0.0.1:0")?;
    /// # let peer = builder.bind("127.0.0.1:0")?;
    /// # let taker = sensor.clone();
    /// # let taking = std::thread::spawn(move || {
    /// #     let conn = taker.accept::<Raw<f64>>().unwrap();
    /// #     conn.send(&21.5).unwrap();
    /// #     conn.close().unwrap();
    /// # });
    /// # let mut readings = Vec::new();
    /// for conn in peer.keep_connected::<Raw<f64>>(Target::service("thermometer")) {
    ///     println!("{} is here", conn.peer_name().unwrap_or("?"));
    ///     let reader = std::thread::spawn(move || {
    ///         let all: Vec<f64> = conn.iter().collect(); // ends with the connection
    ///         println!("ended: {:?}", conn.close_reason());
    ///         all
    ///     });
    /// #   readings.extend(reader.join().unwrap());
    /// #   peer.stop(); // only now: before, it might end while the connection is on its way here
    /// }
    /// # assert_eq!(readings, [21.5]);
    /// # taking.join().unwrap();
    /// # Ok(()) }
    /// ```
    ///
    /// **One connection for each peer**, known by its [`id`](Peer::id), at any time. If the other side still
    /// holds the previous connection, that ends there as [`Replaced`](crate::CloseReason::Replaced), before
    /// the new offer is handed out. A connection that the program makes by `connect`, or by a second
    /// `keep_connected`, is a separate one. But if the other peer keeps this peer as well, with the same
    /// format and options, the second is denied as long as the first is up.
    ///
    /// **Pauses** between two attempts grow from 50 milliseconds to 5 seconds, shortened by a random part of up
    /// to a quarter. They begin anew after a connection that has lasted 5 seconds, and at once when discovery
    /// sees the peer (also when it is back, or has moved). A peer that discovery has lost is tried for another
    /// minute. After a denial other than `busy`, `stopped` or `twice`, also because of a wrong secret, they grow
    /// from 1 to 30 seconds, and do not begin anew when discovery sees the peer; what only a
    /// person can mend (a wrong secret, an address of this peer's own or of IPv6, a missing feature) is logged
    /// once as a warning. `deny("never")` ends the attempts: see
    /// [`refused`](KeepConnected::refused). If a connection ends before the program has taken it, the next is
    /// made when the program has.
    ///
    /// **If two peers keep each other**, with the same format and options, they settle on one connection,
    /// which both iterators yield and neither `incoming`. If both ask at once, it is the one that the peer
    /// with the lower id asks for.
    ///
    /// The iterator ends when the peer is stopped, and when nobody is left to be asked; dropping it ends the
    /// attempts at once. If the peer is stopped already, or the system has no thread left, it ends at once,
    /// with a warning in the log.
    pub fn keep_connected<F: Format + 'static>(
        &self,
        target: impl Into<Target>,
    ) -> KeepConnected<F> {
        let target = target.into();
        let kept = ConnectOptions::new().keep_connected(self, target.clone());
        kept.unwrap_or_else(|error| {
            self.endpoint().warn_not_kept(&target, &error);
            let handle = Handle::ended();
            KeepConnected { handle, target }
        })
    }
}

impl ConnectOptions {
    /// Stays connected with these options, as [`Peer::keep_connected`] does with the default ones.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (alice, bob) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let options = ConnectOptions::new().stream_of(4);
    /// let mut kept = options.keep_connected::<Bytes>(&alice, bob.local_addr())?;
    /// assert_eq!(kept.next().unwrap().stream(), Some(StreamSize::Of(4)));
    /// # taking.join().unwrap()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidOption`](crate::Error::InvalidOption), [`Error::Stopped`](crate::Error::Stopped),
    /// and [`Error::Io`](crate::Error::Io) when the system has no thread left.
    pub fn keep_connected<F: Format + 'static>(
        &self,
        peer: &Peer,
        target: impl Into<Target>,
    ) -> Result<KeepConnected<F>> {
        let target = target.into();
        let request = self.request::<F>(peer)?;
        let service = match &target.kind {
            Kind::Service(service) => Some(service.clone()),
            _ => None,
        };
        let sight = match target.kind {
            Kind::Addr(_) => None,
            _ => {
                let watch = |watch: discovery::Watch| Watch {
                    presences: Receiver::clone(&watch),
                    life: Some(Box::new(watch)),
                };
                let begin = peer.discovery().watches(service.clone());
                Some(Sight {
                    first: Some(watch(peer.discovery().watch(service))),
                    begin: Box::new(move || watch(begin())),
                    own: peer.discovery().own_addrs(),
                })
            }
        };
        let handle = start(Plan {
            endpoint: Arc::clone(peer.endpoint()),
            target: target.clone(),
            request,
            sight,
            make: match self.latest {
                true => Arc::new(Connection::with_latest),
                false => Arc::new(Connection::with_queue),
            },
        })?;
        Ok(KeepConnected { handle, target })
    }
}
