//! A peer: listens, connects, and holds the connections.
//!
//! A long file for the examples in its docs; the code is the smaller part.

use std::fmt;
use std::net::{SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::TrySendError;

use crate::builder::PeerBuilder;
use crate::connection::{Connection, Keeps};
use crate::error::{CloseReason, Error, Result};
use crate::event::Event;
use crate::format::{DataType, Format};
use crate::info::ConnectionInfo;
use crate::neighbour::{Neighbour, PeerId, ToPeerAddrs};
use crate::net::discovery::Discovery;
use crate::net::endpoint::Endpoint;
use crate::net::endpoint::connect::{Withdrawal, connect};
use crate::net::endpoint::stats::PeerStats;
use crate::net::handshake::client;
use crate::net::link::Link;
use crate::net::link::serving::Request;
use crate::net::os::dice::Dice;
use crate::net::os::sync::{Instant, Receiver, bounded};
use crate::net::os::system::TcpListener;
use crate::net::wire::early::Start;
use crate::net::{listen, resolve};
use crate::offer::{Incoming, Offer};
use crate::options::{ConnectOptions, StreamSize, check_timeout};
use crate::proto::who::Attempt;
use crate::secure::TagKeys;
#[cfg(feature = "secure")]
use crate::secure::{Allowed, MAX_ACCEPTED, PublicKey, Secret, Trust};

/// Offers that wait for the program; further ones are denied with the reason `busy`.
const OFFERS: usize = 256;

/// A program's place on the local network: it listens, connects, and holds the connections.
///
/// A handle: clones are cheap and mean the same peer. Dropping the last one stops the peer, as
/// [`stop`](Peer::stop) does and in the same time, and so ends its connections. Keep the peer as long as
/// they are used.
///
/// ```
/// use lanpeer::{Json, Peer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bob = Peer::bind("127.0.0.1:0")?; // a free port, on this host only
/// println!("listening on {}", bob.local_addr());
///
/// let bob_addr = bob.local_addr();
/// let alice = std::thread::spawn(move || {
///     let alice = Peer::bind("127.0.0.1:0").unwrap();
///     let conn = alice.connect::<Json<String>>(bob_addr).unwrap();
///     conn.send("hello").unwrap();
///     conn.close().unwrap();
/// });
/// let conn = bob.accept::<Json<String>>()?;
/// assert_eq!(conn.recv()?, "hello");
/// alice.join().unwrap();
/// bob.stop();
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a peer stops when its last handle is dropped, and ends its connections: keep it as long as they are used"]
pub struct Peer {
    inner: Arc<Inner>,
}

/// Shared by the handles of a peer, and by nothing else: its drop stops the peer.
struct Inner {
    endpoint: Arc<Endpoint>,
    offers: Receiver<Offer>,
    discovery: Discovery,
    wake_listener: Box<dyn Fn() + Send + Sync>,
}

impl Inner {
    /// `why` is the reason of the connections that this ends.
    fn stop(&self, why: CloseReason) {
        // First, so that no search finds this peer any more.
        self.discovery.stop();
        self.endpoint.stop(why, &*self.wake_listener);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop(CloseReason::PeerDropped);
    }
}

impl Peer {
    /// Listens on `addr`, with default settings. When this returns, the peer is listening and
    /// answers searches.
    ///
    /// `"0.0.0.0:0"` means every interface of this host and a free port; `"127.0.0.1:0"` means this host
    /// only. A host name works as in [`std::net`]: the peer listens on the first of its IPv4 addresses on
    /// which it can.
    ///
    /// ```
    /// use lanpeer::{Error, Peer};
    ///
    /// let bob = Peer::bind("127.0.0.1:0")?;
    /// assert!(matches!(Peer::bind(bob.local_addr()), Err(Error::Bind { .. }))); // in use
    /// assert!(matches!(Peer::bind("[::1]:0"), Err(Error::Ipv6 { .. })));
    /// assert!(Peer::bind("127.0.0.1").unwrap_err().to_string().contains("the port is missing"));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Ipv6`], [`Error::Resolve`], [`Error::Bind`] (for example, the port is in use), or
    /// [`Error::Io`] if the system has no thread left. It is no error if others cannot find the peer: see
    /// [`not_discoverable`](Peer::not_discoverable).
    pub fn bind(addr: impl ToSocketAddrs) -> Result<Peer> {
        Peer::builder().bind(addr)
    }

    /// Settings, to be followed by [`bind`](PeerBuilder::bind).
    ///
    /// ```
    /// use lanpeer::Peer;
    ///
    /// let peer = Peer::builder().max_connections(8).bind("127.0.0.1:0")?;
    /// assert!(peer.connections().is_empty());
    /// # Ok::<(), lanpeer::Error>(())
    /// ```
    pub fn builder() -> PeerBuilder {
        PeerBuilder::default()
    }

    /// Where this peer listens. If it was bound to port 0, this has the port that the system chose. The IP is
    /// 0.0.0.0 if it listens on every interface.
    ///
    /// ```
    /// # use lanpeer::Peer;
    /// let peer = Peer::bind("127.0.0.1:0")?;
    /// assert!(peer.local_addr().ip().is_loopback());
    /// assert_ne!(peer.local_addr().port(), 0);
    /// # Ok::<(), lanpeer::Error>(())
    /// ```
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.endpoint.local_addr.into()
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.inner.endpoint
    }

    pub(crate) fn discovery(&self) -> &Discovery {
        &self.inner.discovery
    }

    // Offers

    /// Waits for the next offer of the format's data type, and accepts it. Waits for ever; for a deadline, see
    /// [`accept_timeout`](Peer::accept_timeout).
    ///
    /// Offers of other data types that come first are denied with the reason `type`. A program
    /// that serves several types, or wants to look at an offer first, uses
    /// [`incoming`](Peer::incoming).
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let bob_addr = bob.local_addr();
    /// let asking = std::thread::spawn(move || {
    ///     let denied = alice.connect::<Json<String>>(bob_addr).unwrap_err();
    ///     let conn = alice.connect::<Bytes>(bob_addr).unwrap();
    ///     conn.send("hello").unwrap();
    ///     conn.close().unwrap();
    ///     denied.to_string()
    /// });
    /// let conn = bob.accept::<Bytes>()?; // the first offer was of `json`
    /// assert_eq!(conn.recv()?, b"hello");
    /// assert_eq!(asking.join().unwrap(), format!("{bob_addr} denied the connection: type"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Stopped`]: the peer is stopped, meanwhile or before.
    pub fn accept<F: Format>(&self) -> Result<Connection<F>> {
        self.accept_until(None)
    }

    /// As [`accept`](Peer::accept), and waits for at most `time`. Even if `time` is zero, it accepts an offer
    /// that is there already.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// let nobody = bob.accept_timeout::<Bytes>(Duration::from_millis(1));
    /// assert!(matches!(nobody, Err(Error::NothingReceived)));
    /// # let bob_addr = bob.local_addr();
    /// # let asking = std::thread::spawn(move || alice.connect::<Bytes>(bob_addr).map(|c| (alice, c)));
    /// // Alice connects.
    /// let conn = bob.accept_timeout::<Bytes>(Duration::from_secs(5))?;
    /// # let (_alice, to_bob) = asking.join().unwrap()?;
    /// # to_bob.send("hello")?;
    /// assert_eq!(conn.recv()?, b"hello");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::NothingReceived`]: no such offer came in time; offers of other data types were denied.
    /// [`Error::Stopped`], as [`accept`](Peer::accept).
    pub fn accept_timeout<F: Format>(&self, time: Duration) -> Result<Connection<F>> {
        // A time too far away for the clock never comes.
        self.accept_until(Instant::now().checked_add(time))
    }

    fn accept_until<F: Format>(&self, deadline: Option<Instant>) -> Result<Connection<F>> {
        let mut incoming = self.incoming();
        let mut late = 0;
        while let Some(offer) = incoming.next_until(deadline)? {
            match offer.accept() {
                // Of another type, gone in this moment, or not to be trusted any more: not the one we wait for.
                Err(
                    Error::TypeMismatch { .. }
                    | Error::Withdrawn
                    | Error::NotSecure { .. }
                    | Error::SecretWithdrawn { .. }
                    | Error::WrongKey { .. },
                ) => {}
                accepted => return accepted,
            }
            // An offer that waits at the deadline may be the wanted one. Offers of other types that come
            // after it do not put off the end for ever.
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                late += 1;
                if late > OFFERS {
                    return Err(Error::NothingReceived);
                }
            }
        }
        Err(Error::Stopped)
    }

    /// Iterates over offers: waits for each, and ends when the peer is stopped. Several can iterate
    /// at the same time; each offer goes to one of them. Offers whose other side has hung up
    /// meanwhile are skipped.
    ///
    /// 256 offers wait at most; further ones are denied with the reason `busy`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let bob_addr = bob.local_addr();
    /// # let asking = std::thread::spawn(move || alice.connect::<Bytes>(bob_addr).map(drop));
    /// let mut count = 0;
    /// for offer in bob.incoming() {
    ///     count += 1;
    ///     offer.deny("closing")?;
    ///     bob.stop(); // ends the loop
    /// }
    /// assert_eq!(count, 1);
    /// # assert!(asking.join().unwrap().is_err());
    /// # Ok(()) }
    /// ```
    pub fn incoming(&self) -> Incoming {
        Incoming::new(self.offers())
    }

    /// The channel behind [`incoming`](Peer::incoming), for `select!` and for deadlines.
    ///
    /// Unlike `incoming`, it also has offers whose other side has hung up meanwhile, and those that still
    /// waited when the peer was stopped: accepting one is [`Error::Withdrawn`]. After them the channel of a
    /// stopped peer ends.
    ///
    /// ```
    /// use lanpeer::{Peer, RecvTimeoutError};
    /// use std::time::Duration;
    ///
    /// let bob = Peer::bind("127.0.0.1:0")?;
    /// let offers = bob.offers();
    /// let none = offers.recv_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(none, RecvTimeoutError::Timeout);
    /// bob.stop();
    /// assert!(offers.recv().is_err());
    /// # Ok::<(), lanpeer::Error>(())
    /// ```
    pub fn offers(&self) -> Receiver<Offer> {
        self.inner.offers.clone()
    }

    // Connections

    /// Connects to the peer that listens at `addr`, and waits until the program there has accepted, for at
    /// most this peer's [`timeout`](PeerBuilder::timeout), 2 seconds by default. The connection is strict and
    /// no stream; for other options see [`ConnectOptions`].
    ///
    /// A [`Neighbour`](crate::Neighbour) (`peer.connect(&neighbour)`), a host name or a slice may have several
    /// IPv4 addresses. They are tried in order: if one does not take the TCP connection within 50 ms, or takes
    /// it and does not answer within 250 ms, the next is tried beside it, all within the one timeout. The
    /// first that accepts wins. The program there sees one offer. Only a peer that speaks no frames may see
    /// several, of which all but one are withdrawn. A `Neighbour` that is a lanpeer is only connected to if
    /// that very peer answers.
    ///
    /// The connection ends when the last handle of this peer is dropped. So a function that makes a peer and
    /// connects must return both.
    ///
    /// ```
    /// use lanpeer::{Bytes, CloseReason, Connection, Peer};
    /// use std::net::SocketAddr;
    ///
    /// fn join(addr: SocketAddr) -> lanpeer::Result<(Peer, Connection<Bytes>)> {
    ///     let peer = Peer::bind("127.0.0.1:0")?;
    ///     let conn = peer.connect(addr)?;
    ///     Ok((peer, conn))
    /// }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bob = Peer::bind("127.0.0.1:0")?;
    /// # let bob_addr = bob.local_addr();
    /// # let joining = std::thread::spawn(move || join(bob_addr));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let joined = joining.join().unwrap();
    /// // let joined = join(bob_addr);
    /// let (alice, to_bob) = joined?;
    /// to_bob.send("hello")?;
    /// drop(alice);
    /// assert_eq!(to_bob.close_reason(), Some(CloseReason::PeerDropped));
    /// assert_eq!(from_alice.recv()?, b"hello"); // what was sent before arrives all the same
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::TimedOut`] (for example, nobody accepted in time), [`Error::Connect`]
    /// (nobody listens there), [`Error::Handshake`] (what listens there is no peer),
    /// [`Error::SelfConnection`], [`Error::TooManyConnections`], [`Error::FeatureMissing`],
    /// [`Error::NotWhoItSaid`] (of a neighbour), [`Error::Ipv6`], [`Error::Resolve`], [`Error::Stopped`],
    /// and [`Error::Io`] if the system has no thread or file descriptor left. With a secret also
    /// [`Error::NotSecure`], [`Error::Forged`], [`Error::WrongKey`] and [`Error::SecretWithdrawn`].
    pub fn connect<F: Format>(&self, addr: impl ToPeerAddrs) -> Result<Connection<F>> {
        ConnectOptions::new().connect(self, addr)
    }

    /// Connects, and passes each message that comes to `handler`, on the connection's reader
    /// thread; see [`Offer::accept_with`] for what a handler may do. The connection lives until
    /// either side ends it or this peer is stopped, whether or not the returned handle is kept.
    ///
    /// ```
    /// use lanpeer::{Json, Peer};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bob = Peer::bind("127.0.0.1:0")?;
    /// let alice = Peer::bind("127.0.0.1:0")?;
    /// let offers = bob.incoming();
    /// let echo = std::thread::spawn(move || {
    ///     for offer in offers {
    ///         offer.accept_with::<Json<u32>>(|conn, n| conn.send(&(n + 1)).unwrap()).unwrap();
    ///     }
    /// });
    /// let (answers, answered) = lanpeer::crossbeam_channel::bounded(1);
    /// let conn = alice.connect_with::<Json<u32>>(bob.local_addr(), move |_, n| {
    ///     answers.send(n).unwrap()
    /// })?;
    /// conn.send(&41)?;
    /// assert_eq!(answered.recv()?, 42);
    /// bob.stop();
    /// echo.join().unwrap();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`connect`](Peer::connect).
    pub fn connect_with<F: Format>(
        &self,
        addr: impl ToPeerAddrs,
        handler: impl FnMut(&Connection<F>, F::Item) + Send + 'static,
    ) -> Result<Connection<F>> {
        ConnectOptions::new().connect_with(self, addr, handler)
    }

    /// The open connections, oldest first, whatever their formats. A connection that is being closed is listed
    /// until its end.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// let listed = alice.connections();
    /// assert_eq!(listed.len(), 1);
    /// assert_eq!(listed[0].id(), to_bob.id());
    /// to_bob.close()?;
    /// assert!(alice.connections().is_empty());
    /// # Ok(()) }
    /// ```
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.inner
            .endpoint
            .links()
            .iter()
            .filter(|link| link.close_reason().is_none())
            .map(ConnectionInfo::new)
            .collect()
    }

    // Watching

    /// What happens at this peer: connections made, denied, failed and closed.
    ///
    /// The channel holds 256 events, has them from the peer's beginning on, and ends when the peer is stopped.
    /// It never holds up the peer: while it is full, events are dropped, and an [`Event::Dropped`] before the
    /// next one counts them. All receivers share the events: each event goes to one receiver.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// let events = alice.events();
    /// std::thread::spawn(move || {
    ///     for event in events {
    ///         println!("{event}"); // connection 1 with 127.0.0.1:62626: bytes
    ///     }
    /// });
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// # let events = bob.events();
    /// to_bob.close()?;
    /// bob.stop();
    /// let all: Vec<String> = events.iter().map(|event| event.to_string()).collect();
    /// assert!(all.last().unwrap().ends_with("ended: closed by the other side"));
    /// # Ok(()) }
    /// ```
    pub fn events(&self) -> Receiver<Event> {
        self.inner.endpoint.events()
    }

    /// Totals since this peer was bound, of its open connections and of those that have ended: for a
    /// dashboard, or a line in a log. It adds up what the connections count.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// to_bob.send("12345")?;
    /// to_bob.close()?;
    /// let stats = alice.stats();
    /// assert_eq!((stats.connected, stats.ended.total()), (1, 1));
    /// assert_eq!(stats.ended.closed_here, 1);
    /// assert_eq!((stats.messages_sent, stats.bytes_sent), (1, 5));
    /// # Ok(()) }
    /// ```
    pub fn stats(&self) -> PeerStats {
        self.inner.endpoint.stats()
    }

    /// Changes the secret while the peer runs. From now on this peer connects with `secret`, and accepts it
    /// and those in `accepted`, at most 7, as [`PeerBuilder::accept_secret`] says. Connections with another
    /// secret end with [`CloseReason::Revoked`](crate::CloseReason::Revoked) before this returns: they are
    /// reset, so what was on its way is lost. An offer with another secret can no longer be accepted
    /// ([`Error::SecretWithdrawn`]), and a handshake with it fails. Needs the feature `secure`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (old, new) = (Secret::random()?, Secret::random()?);
    /// let builder = Peer::builder().secret(old.clone());
    /// let (bob, alice) = (builder.clone().bind("127.0.0.1:0")?, builder.bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// bob.set_secrets(new.clone(), [old])?; // while the others get the new one: nothing ends
    /// assert_eq!(from_alice.close_reason(), None);
    /// bob.set_secrets(new, [])?; // it is over
    /// assert_eq!(from_alice.close_reason(), Some(CloseReason::Revoked));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: more than 7 accepted ones, this peer was bound without a secret, or it has
    /// [tags](PeerBuilder::discovery_tags) and one of the secrets is made of a passphrase.
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    pub fn set_secrets(
        &self,
        secret: Secret,
        accepted: impl IntoIterator<Item = Secret>,
    ) -> Result<()> {
        let accepted: Vec<Secret> = accepted.into_iter().collect();
        let endpoint = &self.inner.endpoint;
        let invalid = |reason| Err(Error::invalid_option("set_secrets", reason));
        if !endpoint.settings.has_secret() {
            return invalid("this peer was bound without a secret");
        }
        if accepted.len() > MAX_ACCEPTED {
            return invalid("at most 7 can be accepted");
        }
        let mut trust = Trust::default();
        trust.replace(secret.clone(), accepted.clone());
        let tag_keys = match self.inner.discovery.has_tags() {
            false => None,
            true => match trust.tag_keys() {
                Ok(keys) => Some(keys),
                Err(reason) => return invalid(reason),
            },
        };
        endpoint.change_trust(|trust| {
            trust.replace(secret, accepted);
            // Under the same lock: of two calls at the same time one wins as a whole.
            if let Some(keys) = tag_keys {
                self.inner.discovery.set_tag_keys(keys);
            }
        });
        Ok(())
    }

    /// From now on only peers with one of these keys connect, as [`PeerBuilder::allow`] says; with an empty
    /// list nobody does. Connections of others end with
    /// [`CloseReason::Revoked`](crate::CloseReason::Revoked) before this returns: they are reset, so what was
    /// on its way is lost. A waiting offer of another peer can no longer be accepted, and its handshake
    /// fails. Needs the feature `secure`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (alices, carols) = (Identity::generate()?, Identity::generate()?);
    /// let keys = [alices.public_key(), carols.public_key()];
    /// let builder = Peer::builder().secret(Secret::random()?);
    /// let bob = builder.clone().allow(keys).bind("127.0.0.1:0")?;
    /// let alice = builder.identity(alices).bind("127.0.0.1:0")?;
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// bob.allow([keys[1]])?; // Alice's machine was stolen
    /// assert_eq!(from_alice.close_reason(), Some(CloseReason::Revoked));
    /// assert!(alice.connect::<Bytes>(bob.local_addr()).is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: this peer has no secret, so nobody shows it a key.
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    pub fn allow(&self, keys: impl IntoIterator<Item = PublicKey>) -> Result<()> {
        let endpoint = &self.inner.endpoint;
        if !endpoint.settings.has_secret() {
            let reason = "this peer has no secret, and so nobody shows it a key";
            return Err(Error::invalid_option("allow", reason));
        }
        endpoint.change_trust(|trust| trust.allow(Allowed::only(keys)));
        Ok(())
    }

    /// Stops the peer: ends its connections gracefully, wakes every blocked call, and waits for
    /// every thread.
    ///
    /// Offers that wait are denied. Connections get [`close_timeout`](PeerBuilder::close_timeout), 5 seconds
    /// by default, to send what is queued and to hear from the other side; then they are reset. `stop` takes
    /// at most two seconds more. If a handler does not return, its thread is left behind. Called from a
    /// handler, `stop` returns at once and goes on in the background.
    ///
    /// Stopping twice is fine: a second call waits as well. Afterwards calls that make or accept connections,
    /// or search, return [`Error::Stopped`]; messages that have arrived can still be received.
    ///
    /// ```
    /// use lanpeer::{Bytes, Error, Peer};
    ///
    /// let bob = Peer::bind("127.0.0.1:0")?;
    /// let handle = bob.clone();
    /// let waits = std::thread::spawn(move || handle.accept::<Bytes>());
    /// bob.stop();
    /// assert!(matches!(waits.join().unwrap(), Err(Error::Stopped)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn stop(&self) {
        self.inner.stop(CloseReason::Stopped);
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("local_addr", &self.local_addr())
            .field("is_stopped", &self.inner.endpoint.is_stopped())
            .finish_non_exhaustive()
    }
}

impl PeerBuilder {
    /// Makes the peer: when this returns, it is listening. The builder can make more peers.
    ///
    /// ```
    /// use lanpeer::{Error, Peer};
    ///
    /// let error = Peer::builder().send_queue(0).bind("127.0.0.1:0").unwrap_err();
    /// assert!(matches!(error, Error::InvalidOption { option: "send_queue", .. }));
    /// assert_eq!(error.to_string(), "option send_queue: must be at least 1");
    /// ```
    ///
    /// # Errors
    /// As [`Peer::bind`], and [`Error::InvalidOption`]: a setting is outside its bounds.
    pub fn bind(&self, addr: impl ToSocketAddrs) -> Result<Peer> {
        self.settings.check()?;
        self.discovery.check()?;
        self.tag_keys()?;
        let mut failure = None;
        for addr in resolve(addr)? {
            match TcpListener::bind(addr) {
                Ok(listener) => return self.start(listener, addr),
                Err(source) => {
                    failure = Some(Error::Bind {
                        addr: addr.into(),
                        source,
                    })
                }
            }
        }
        Err(failure.unwrap_or(Error::Resolve {
            source: std::io::ErrorKind::NotFound.into(),
        }))
    }

    /// Those of the secrets, where there are tags.
    fn tag_keys(&self) -> Result<Option<TagKeys>> {
        let (tags, members_only) = (self.discovery.tags, self.discovery.members_only);
        let option = match members_only {
            true => "discovery_members_only",
            false => "discovery_tags",
        };
        let keys = (tags || members_only).then(|| self.settings.trusts.now().tag_keys());
        keys.transpose()
            .map_err(|reason| Error::invalid_option(option, reason))
    }

    fn start(&self, listener: TcpListener, asked: SocketAddrV4) -> Result<Peer> {
        let keys = self.tag_keys()?;
        let bound = listener.local_addr();
        let bound = bound.map_err(|source| Error::Bind {
            addr: asked.into(),
            source,
        })?;
        let local_addr = SocketAddrV4::new(*asked.ip(), bound.port());
        let (sender, offers) = bounded(OFFERS);
        let deliver = Box::new(move |pending| match sender.try_send(Offer::new(pending)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(offer) | TrySendError::Disconnected(offer)) => {
                Err(offer.into_pending())
            }
        });
        let mut settings = self.settings.clone();
        settings.card = self.discovery.draw_card();
        let card = settings.card.clone();
        let endpoint = Endpoint::new(settings, local_addr, deliver);
        let wake_listener = Box::new(listen(&endpoint, listener)?);
        let discovery = Discovery::start(self.discovery.clone(), local_addr, card, keys)
            .inspect_err(|_| endpoint.stop(CloseReason::Stopped, &*wake_listener))?;
        if let Some(reason) = discovery.not_discoverable() {
            let reason = reason.to_owned();
            endpoint.emit(Event::NotDiscoverable { reason });
        }
        Ok(Peer {
            inner: Arc::new(Inner {
                endpoint,
                offers,
                discovery,
                wake_listener,
            }),
        })
    }
}

impl ConnectOptions {
    /// Connects with these options, as [`Peer::connect`] does with the default ones.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let to_bob = ConnectOptions::new().stream_of(4).connect::<Bytes>(&alice, bob.local_addr())?;
    /// assert_eq!(to_bob.stream(), Some(StreamSize::Of(4)));
    /// # taking.join().unwrap()?;
    /// let error = ConnectOptions::new().stream_of(0).connect::<Bytes>(&alice, bob.local_addr());
    /// assert!(matches!(error, Err(Error::InvalidOption { option: "stream_of", .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Peer::connect`], and [`Error::InvalidOption`].
    pub fn connect<F: Format>(&self, peer: &Peer, addr: impl ToPeerAddrs) -> Result<Connection<F>> {
        match self.latest {
            true => self.connect_as(peer, addr, Connection::with_latest),
            false => self.connect_as(peer, addr, Connection::with_queue),
        }
    }

    /// Connects with these options, and passes each message that comes to `handler`, as
    /// [`Peer::connect_with`] does with the default ones.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let (sender, received) = crossbeam_channel::bounded(1);
    /// ConnectOptions::new().stream_of(4).connect_with::<Bytes>(
    ///     &alice,
    ///     bob.local_addr(),
    ///     move |_, frame| sender.send(frame).unwrap(),
    /// )?; // the handle need not be kept
    /// # let from_alice = taking.join().unwrap()?;
    /// from_alice.send(b"1234")?;
    /// assert_eq!(received.recv()?, b"1234");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Peer::connect`], and [`Error::InvalidOption`].
    pub fn connect_with<F: Format>(
        &self,
        peer: &Peer,
        addr: impl ToPeerAddrs,
        handler: impl FnMut(&Connection<F>, F::Item) + Send + 'static,
    ) -> Result<Connection<F>> {
        if self.latest {
            let reason = "a handler gets each message: use `connect` and receive";
            return Err(Error::invalid_option("latest", reason));
        }
        self.connect_as(peer, addr, |link| Connection::with_handler(link, handler))
    }

    /// Connects with these options, and passes each request of the other side to `serve`, on the
    /// connection's reader thread; see [`Offer::accept_serving`] for what it may do.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Json<u32>>());
    /// let options = ConnectOptions::new();
    /// let _ = options.connect_serving::<Json<u32>>(&alice, bob.local_addr(), |request| {
    ///     let _ = request.reply(&(request.item() + 1)); // an error: the connection ends
    /// })?; // the handle need not be kept
    /// # let from_alice = taking.join().unwrap()?;
    /// // Bob:
    /// assert_eq!(from_alice.request(&41, Duration::from_secs(5))?, 42);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Peer::connect`], and [`Error::InvalidOption`].
    pub fn connect_serving<F: Format>(
        &self,
        peer: &Peer,
        addr: impl ToPeerAddrs,
        serve: impl FnMut(Request<F>) + Send + 'static,
    ) -> Result<Connection<F>> {
        let keeps = match self.latest {
            true => Keeps::Latest,
            false => Keeps::All,
        };
        self.connect_as(peer, addr, |link| {
            Connection::with_server(link, keeps, serve)
        })
    }

    /// What is asked for with these options, if they are in order.
    pub(crate) fn request<F: Format>(&self, peer: &Peer) -> Result<client::Request> {
        let endpoint = &peer.inner.endpoint;
        let timeout = self.timeout.unwrap_or(endpoint.settings.timeout);
        check_timeout("timeout", timeout)?;
        let limit = endpoint.settings.max_message_size;
        match self.stream {
            Some(StreamSize::Of(0)) => {
                return Err(Error::invalid_option(
                    "stream_of",
                    "must be at least 1 byte",
                ));
            }
            Some(StreamSize::Of(size)) if size > limit => {
                let reason = format!("{size} bytes are more than max_message_size, {limit}");
                return Err(Error::invalid_option("stream_of", reason));
            }
            _ => {}
        }
        let data_type = match (F::DATA_TYPE, self.data_type) {
            (Some(data_type), Some(asked)) if asked != data_type => {
                let reason = format!("the format's is {data_type}; only Dynamic leaves the choice");
                return Err(Error::invalid_option("data_type", reason));
            }
            (Some(data_type), _) | (None, Some(data_type)) => data_type,
            (None, None) => DataType::Json,
        };
        let is_secure = endpoint.settings.has_secret() && !self.in_the_clear;
        if self.expected.demands() && !is_secure {
            let reason = "a key is shown only where the connection is encrypted";
            return Err(Error::invalid_option("expect", reason));
        }
        let strict = self.strict.unwrap_or(F::DATA_TYPE.is_some());
        Ok(client::Request {
            data_type,
            strict,
            stream: self.stream,
            timeout,
            in_the_clear: self.in_the_clear,
            attempt: None,
            whom: None,
            expected: self.expected.clone(),
        })
    }

    fn connect_as<F: Format>(
        &self,
        peer: &Peer,
        addr: impl ToPeerAddrs,
        start: impl FnOnce(&Arc<Link>) -> (Connection<F>, Start),
    ) -> Result<Connection<F>> {
        let endpoint = &peer.inner.endpoint;
        let mut request = self.request::<F>(peer)?;
        request.whom = addr
            .whom()
            .and_then(Neighbour::card)
            .map(|card| client::Whom {
                id: PeerId::of(&card),
                card: Some(Arc::new(card)),
            });
        let addrs = addr.addrs().map_err(|source| Error::Resolve { source })?;
        let addrs = resolve(&addrs[..])?;
        if addrs.len() > 1 {
            request.attempt = Some(Attempt::Call(Dice::new().draw_id()));
        }
        connect(endpoint, &addrs, request, &Withdrawal::new(), start)
    }
}
