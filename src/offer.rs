//! Offers: connections that someone asks for.
//!
//! A long file for the examples in its docs; the code is the smaller part.

use std::fmt;
use std::net::SocketAddr;

use crossbeam_channel::RecvTimeoutError;

use crate::connection::{Connection, Keeps};
use crate::error::{Error, Result};
use crate::format::{DataType, Format};
use crate::neighbour::PeerId;
use crate::net::endpoint::offers::{Pending, check_reason};
use crate::net::link::Link;
use crate::net::link::serving::Request;
use crate::net::os::sync::{Instant, Receiver};
use crate::net::wire::early::Start;
use crate::options::StreamSize;
use crate::proto::beacon::Card;
use crate::secure::PublicKey;

/// Another peer asks for a connection: accept it or deny it.
///
/// Dropping an offer denies it with the reason `dropped`. The other side waits until its own timeout, 2
/// seconds by default, and then withdraws; accepting then fails with [`Error::Withdrawn`].
///
/// ```
/// use lanpeer::{DataType, Error, Json, Peer};
///
/// let bob = Peer::bind("127.0.0.1:0")?;
/// let bob_addr = bob.local_addr();
/// let asking = std::thread::spawn(move || {
///     Peer::bind("127.0.0.1:0")?.connect::<Json<String>>(bob_addr).map(drop)
/// });
/// let offer = bob.incoming().next().unwrap();
/// assert!(offer.peer_addr().ip().is_loopback());
/// assert_eq!(offer.data_type(), DataType::Json);
/// assert!(offer.is_strict() && offer.stream().is_none());
/// assert!(offer.peer_id().is_some() && offer.peer_service().is_none());
/// drop(offer);
/// match asking.join().unwrap() {
///     Err(Error::Denied { reason, .. }) => assert_eq!(reason.as_deref(), Some("dropped")),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Error>(())
/// ```
#[must_use = "an offer that is dropped is denied"]
pub struct Offer {
    pending: Pending,
}

impl Offer {
    pub(crate) fn new(pending: Pending) -> Offer {
        Offer { pending }
    }

    pub(crate) fn into_pending(self) -> Pending {
        self.pending
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.pending.is_gone()
    }

    /// Who asks, if it has said so.
    fn who(&self) -> Option<&Card> {
        self.pending.agreed.who.as_deref()
    }

    /// Where the peer that asks listens: the address to connect to.
    pub fn peer_addr(&self) -> SocketAddr {
        self.pending.agreed.peer_addr.into()
    }

    /// The id of the peer that asks. `None`: it speaks no frames, since it is no lanpeer or has
    /// [`text_headers`](crate::PeerBuilder::text_headers).
    pub fn peer_id(&self) -> Option<PeerId> {
        self.who().map(PeerId::of)
    }

    /// The name of the peer that asks, at most 24 bytes, as in [`Neighbour::name`](crate::Neighbour::name).
    /// `None`: it has none, or speaks no frames. A name proves nothing.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bob = Peer::bind("127.0.0.1:0")?;
    /// let alice = Peer::builder().name("alice").service("chat").bind("127.0.0.1:0")?;
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// let offer = bob.incoming().next().unwrap(); // she connects to him
    /// assert_eq!((offer.peer_name(), offer.peer_service()), (Some("alice"), Some("chat")));
    /// # drop(offer);
    /// # assert!(asking.join().unwrap().is_err());
    /// # Ok(()) }
    /// ```
    pub fn peer_name(&self) -> Option<&str> {
        self.who().and_then(Card::name)
    }

    /// Its kind of program, at most 16 bytes, as in [`Neighbour::service`](crate::Neighbour::service).
    /// `None`: it has none, or speaks no frames.
    pub fn peer_service(&self) -> Option<&str> {
        self.who().and_then(Card::service)
    }

    /// The public key that the peer that asks has proved to own; see
    /// [`Connection::peer_key`](crate::Connection::peer_key). `None`: it shows none.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # #[cfg(feature = "secure")] {
    /// let identity = Identity::generate()?;
    /// let key = identity.public_key();
    /// let builder = Peer::builder().secret(Secret::random()?);
    /// let alice = builder.clone().identity(identity).bind("127.0.0.1:0")?;
    /// # let bob = builder.bind("127.0.0.1:0")?;
    /// # let to = bob.local_addr();
    /// # let asking = std::thread::spawn(move || alice.connect::<Bytes>(to));
    /// let offer = bob.incoming().next().unwrap(); // she connects to him
    /// assert_eq!(offer.peer_key(), Some(key));
    /// # drop(offer);
    /// # assert!(asking.join().unwrap().is_err());
    /// # }
    /// # Ok(()) }
    /// ```
    pub fn peer_key(&self) -> Option<PublicKey> {
        self.pending
            .agreed
            .proof
            .as_ref()
            .and_then(|proof| proof.key)
    }

    /// The data type of the connection that is offered.
    pub fn data_type(&self) -> DataType {
        self.pending.agreed.data_type
    }

    /// Would a message of another data type end the connection?
    pub fn is_strict(&self) -> bool {
        self.pending.agreed.strict
    }

    /// `Some` if all messages would have one size.
    pub fn stream(&self) -> Option<StreamSize> {
        self.pending.agreed.stream
    }

    /// Is the offer encrypted, and from a peer that has the secret? The program of a peer with a secret sees
    /// other offers only with [`PeerBuilder::clear_offers`](crate::PeerBuilder::clear_offers). Needs the
    /// feature `secure`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = Peer::builder().secret(Secret::random()?);
    /// let (bob, alice) = (builder.clone().bind("127.0.0.1:0")?, builder.bind("127.0.0.1:0")?);
    /// # let bob_addr = bob.local_addr();
    /// # let asking = std::thread::spawn(move || alice.connect::<Bytes>(bob_addr).map(drop));
    /// let offer = bob.incoming().next().unwrap();
    /// assert!(offer.is_secure());
    /// # drop(offer);
    /// # assert!(asking.join().unwrap().is_err());
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    pub fn is_secure(&self) -> bool {
        self.pending.agreed.secure
    }

    /// Allows this offer to be accepted though it is in the clear and this peer has a secret.
    /// Anyone may have made it, and anyone on the way can read and change what is sent. Needs the
    /// feature `secure`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = Peer::builder().secret(Secret::random()?);
    /// let bob = builder.clear_offers(true).bind("127.0.0.1:0")?;
    /// let stranger = Peer::bind("127.0.0.1:0")?; // has no secret
    /// # let bob_addr = bob.local_addr();
    /// # let asker = stranger.clone();
    /// # let asking = std::thread::spawn(move || {
    /// #     assert!(asker.connect::<Bytes>(bob_addr).is_err());
    /// #     asker.connect::<Bytes>(bob_addr)
    /// # });
    /// let mut offers = bob.incoming(); // it offers twice
    /// let denied = offers.next().unwrap().accept::<Bytes>();
    /// assert!(matches!(denied, Err(Error::NotSecure { .. })));
    /// let conn = offers.next().unwrap().in_the_clear().accept::<Bytes>()?;
    /// assert!(!conn.is_secure());
    /// # asking.join().unwrap()?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    pub fn in_the_clear(mut self) -> Offer {
        self.pending.forbidden = false;
        self
    }

    /// Accepts the offer. The format's data type must be the offered one; [`Dynamic`](crate::Dynamic) takes
    /// every type.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let bob_addr = bob.local_addr();
    /// # let asking = std::thread::spawn(move || {
    /// #     assert!(alice.connect::<Bytes>(bob_addr).is_err());
    /// #     alice.connect::<Bytes>(bob_addr).map(|conn| (alice, conn))
    /// # });
    /// let mut offers = bob.incoming(); // two offers of `bytes` come
    /// let wrong = offers.next().unwrap().accept::<Json<String>>();
    /// assert!(matches!(wrong, Err(Error::TypeMismatch { offered: DataType::Bytes, .. })));
    /// let conn = offers.next().unwrap().accept::<Bytes>()?;
    /// assert_eq!(conn.data_type(), DataType::Bytes);
    /// # asking.join().unwrap()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::TypeMismatch`]: the offer was denied with the reason `type`. [`Error::NotSecure`]: the offer
    /// is in the clear, this peer has a secret, and the program has not called `in_the_clear`; the offer was
    /// denied with the reason `secret`. [`Error::SecretWithdrawn`], [`Error::WrongKey`]: `set_secrets` or
    /// `allow` has left out its secret or key while the offer waited. [`Error::Withdrawn`]: the other side has
    /// hung up, or this peer was stopped while the offer waited. [`Error::Stopped`]: this peer is stopped at
    /// this moment.
    pub fn accept<F: Format>(self) -> Result<Connection<F>> {
        self.accept_as(Connection::with_queue)
    }

    /// Accepts the offer, and keeps only the newest of the messages that come: a slow program gets fewer
    /// messages, each as new as can be.
    ///
    /// The connection is always read, whether or not the program takes anything, so the other side never
    /// waits for it. Each message replaces the one that the program has not taken. This concerns this side
    /// only: the other side may send by [`send_latest`](Connection::send_latest), so that nothing old waits
    /// on the way either, or by [`send`](Connection::send), and need not be a lanpeer. Replaced messages
    /// count as received: the other side's `close` is Ok when the newest is here.
    ///
    /// [`receiver`](Connection::receiver) holds the newest too; while a message is replaced, it is empty
    /// for a moment.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let bob_addr = bob.local_addr();
    /// # let asker = alice.clone();
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(bob_addr));
    /// let picture = bob.incoming().next().unwrap().accept_latest::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// // Alice:
    /// for number in 0..100 {
    ///     to_bob.send(&[number; 1000])?;
    /// }
    /// to_bob.close()?;
    /// assert_eq!(picture.recv()?, [99; 1000]);
    /// assert_eq!(picture.stats().receive_replaced, 99);
    /// assert!(picture.recv().is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`accept`](Offer::accept).
    pub fn accept_latest<F: Format>(self) -> Result<Connection<F>> {
        self.accept_as(Connection::with_latest)
    }

    /// Accepts the offer, and passes each message to `handler` on the connection's reader thread. With no
    /// second thread and no channel in between, this has the lowest latency.
    ///
    /// While the handler runs, the connection is not read. The handler may send on its connection and close
    /// it; `recv` there fails at once, since it would wait for itself. A handler that panics ends its
    /// connection with [`CloseReason::HandlerPanicked`](crate::CloseReason::HandlerPanicked). The connection
    /// lives until either side ends it, or its peer is stopped, whether or not the returned handle is kept.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let bob_addr = bob.local_addr();
    /// # let asker = alice.clone();
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<u32>>(bob_addr));
    /// let offer = bob.incoming().next().unwrap();
    /// offer.accept_with::<Json<u32>>(|conn, n| {
    ///     let _ = conn.send(&(n + 1)); // an error: the connection ends
    /// })?;
    /// # let to_bob = asking.join().unwrap()?;
    /// // Alice:
    /// to_bob.send(&41)?;
    /// assert_eq!(to_bob.recv()?, 42);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`accept`](Offer::accept).
    pub fn accept_with<F: Format>(
        self,
        handler: impl FnMut(&Connection<F>, F::Item) + Send + 'static,
    ) -> Result<Connection<F>> {
        self.accept_as(|link| Connection::with_handler(link, handler))
    }

    /// Accepts the offer, and passes each request of the other side to `serve` on the connection's reader
    /// thread, with no second thread and no channel in between.
    ///
    /// `serve` answers each request by [`Request::reply`], or passes it to threads that do, in any order. A
    /// request that it drops fails at the other side. While `serve` runs, the connection is not read. A panic
    /// in it fails the current request, and `serve` is called again for the next. It must not wait for
    /// anything that comes over this connection: inside it, `request` and `recv` fail at once, and `close`
    /// returns at once as timed out, while the connection closes in the background.
    ///
    /// Messages wait for [`recv`](Connection::recv) as usual. The connection lives until either side ends it,
    /// or its peer is stopped, whether or not the returned handle is kept. If you drop every handle, an ordinary
    /// message of the other side ends the connection.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let bob_addr = bob.local_addr();
    /// # let asker = alice.clone();
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<u32>>(bob_addr));
    /// let offer = bob.incoming().next().unwrap();
    /// let _ = offer.accept_serving::<Json<u32>>(|request| {
    ///     let _ = request.reply(&(request.item() + 1)); // an error: the connection ends
    /// })?; // the handle need not be kept
    /// # let to_bob = asking.join().unwrap()?;
    /// // Alice:
    /// assert_eq!(to_bob.request(&41, Duration::from_secs(5))?, 42);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`accept`](Offer::accept).
    pub fn accept_serving<F: Format>(
        self,
        serve: impl FnMut(Request<F>) + Send + 'static,
    ) -> Result<Connection<F>> {
        self.accept_as(|link| Connection::with_server(link, Keeps::All, serve))
    }

    fn accept_as<F: Format>(
        self,
        start: impl FnOnce(&std::sync::Arc<Link>) -> (Connection<F>, Start),
    ) -> Result<Connection<F>> {
        if self.pending.forbidden {
            self.pending.deny("secret");
            let addr = self.peer_addr();
            return Err(Error::NotSecure { addr });
        }
        let offered = self.data_type();
        if let Some(requested) = F::DATA_TYPE.filter(|requested| *requested != offered) {
            self.pending.deny("type");
            return Err(Error::TypeMismatch { offered, requested });
        }
        self.pending.accept(start)
    }

    /// Denies the offer, with one word for the other side: 1 to 64 letters, digits, `-`, `_` or `.`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let bob_addr = bob.local_addr();
    /// # let asking = std::thread::spawn(move || alice.connect::<Bytes>(bob_addr).map(drop));
    /// bob.incoming().next().unwrap().deny("not-today")?;
    /// // Alice:
    /// let error = asking.join().unwrap().unwrap_err();
    /// assert_eq!(error.to_string(), format!("{bob_addr} denied the connection: not-today"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: `reason` is no such word; the offer is denied as if dropped.
    /// [`Error::Withdrawn`]: the other side has hung up, or this peer was stopped.
    pub fn deny(self, reason: &str) -> Result<()> {
        check_reason(reason)?;
        if self.pending.deny(reason) {
            Ok(())
        } else {
            Err(Error::Withdrawn)
        }
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("peer_addr", &self.peer_addr())
            .field("data_type", &self.data_type())
            .field("is_strict", &self.is_strict())
            .field("stream", &self.stream())
            .finish()
    }
}

/// Iterates over offers; waits for each, and ends when the peer is stopped. See
/// [`Peer::incoming`](crate::Peer::incoming).
///
/// ```
/// let bob = lanpeer::Peer::bind("127.0.0.1:0")?;
/// let mut offers = bob.incoming();
/// bob.stop();
/// assert!(offers.next().is_none());
/// # Ok::<(), lanpeer::Error>(())
/// ```
#[derive(Debug)]
pub struct Incoming {
    offers: Receiver<Offer>,
}

impl Incoming {
    pub(crate) fn new(offers: Receiver<Offer>) -> Incoming {
        Incoming { offers }
    }

    /// The next offer, or `None` at the end. [`Error::NothingReceived`]: none came in time.
    pub(crate) fn next_until(&mut self, deadline: Option<Instant>) -> Result<Option<Offer>> {
        let Some(deadline) = deadline else {
            return Ok(self.next());
        };
        loop {
            match self.offers.recv_deadline(deadline) {
                // Of no use to anyone, as below.
                Ok(offer) if offer.is_gone() => {}
                Ok(offer) => return Ok(Some(offer)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(timeout) => return Err(timeout.into()),
            }
        }
    }
}

impl Iterator for Incoming {
    type Item = Offer;

    fn next(&mut self) -> Option<Offer> {
        // Offers whose other side has hung up meanwhile are of no use to anyone.
        self.offers.iter().find(|offer| !offer.is_gone())
    }
}
