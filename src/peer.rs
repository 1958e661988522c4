//! A peer: listens, connects, and holds the connections.

use std::fmt;
use std::net::{SocketAddr, SocketAddrV4, TcpListener, ToSocketAddrs};
use std::sync::Arc;

use crossbeam_channel::{Receiver, TrySendError};

use crate::builder::PeerBuilder;
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::format::{DataType, Format};
use crate::info::ConnectionInfo;
use crate::net::ask::{self, Request};
use crate::net::discovery::Discovery;
use crate::net::handshake::Start;
use crate::net::hub::Hub;
use crate::net::link::Link;
use crate::net::{listen, resolve};
use crate::offer::{Incoming, Offer};
use crate::options::{ConnectOptions, StreamSize, check_timeout};

/// Offers that wait for the program; further ones are denied with the reason `busy`.
const OFFERS: usize = 256;

/// A program's place on the local network: it listens, connects, and holds the connections.
///
/// A handle: clones are cheap and mean the same peer. Dropping the last one stops the peer, and so
/// ends its connections: keep it as long as they are used.
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
pub struct Peer {
    inner: Arc<Inner>,
}

/// Shared by the handles of a peer, and by nothing else: its drop stops the peer.
struct Inner {
    hub: Arc<Hub>,
    offers: Receiver<Offer>,
    discovery: Discovery,
    wake_listener: Box<dyn Fn() + Send + Sync>,
}

impl Inner {
    fn stop(&self) {
        // First, so that nobody is sent here any more.
        self.discovery.stop();
        self.hub.stop(&*self.wake_listener);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Peer {
    /// Listens on `addr`, with default settings.
    ///
    /// `"0.0.0.0:0"` is every interface of this host and a free port; `"127.0.0.1:0"` this host
    /// only. A host name works as in [`std::net`]; the first of its addresses that can be listened
    /// on is taken.
    ///
    /// # Errors
    /// [`Error::Ipv6`], [`Error::Resolve`], [`Error::Bind`] (the port is in use, for example), or
    /// [`Error::Io`] when the system has no thread left.
    pub fn bind(addr: impl ToSocketAddrs) -> Result<Peer> {
        Peer::builder().bind(addr)
    }

    /// Settings, to be followed by [`bind`](PeerBuilder::bind).
    pub fn builder() -> PeerBuilder {
        PeerBuilder::default()
    }

    /// Where this peer listens, with the port that the system chose if it was 0. The IP is 0.0.0.0
    /// if it listens on every interface.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.hub.local_addr.into()
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.inner.hub
    }

    pub(crate) fn discovery(&self) -> &Discovery {
        &self.inner.discovery
    }

    // Offers

    /// Waits for the next offer of the format's data type, and accepts it.
    ///
    /// Offers of other data types that come first are denied with the reason `type`. A program
    /// that serves several types, or wants to look at an offer first, uses
    /// [`incoming`](Peer::incoming).
    ///
    /// # Errors
    /// [`Error::Stopped`]: the peer is stopped, meanwhile or before.
    pub fn accept<F: Format>(&self) -> Result<Connection<F>> {
        for offer in self.incoming() {
            match offer.accept() {
                // Of another type, or gone in this moment: not the one we wait for.
                Err(Error::TypeMismatch { .. } | Error::Withdrawn) => {}
                accepted => return accepted,
            }
        }
        Err(Error::Stopped)
    }

    /// Iterates over offers: waits for each, and ends when the peer is stopped. Several can iterate
    /// at the same time; each offer goes to one of them.
    ///
    /// 256 offers wait at most; further ones are denied with the reason `busy`.
    pub fn incoming(&self) -> Incoming {
        Incoming::new(self.offers())
    }

    /// The channel behind [`incoming`](Peer::incoming), for `select!`.
    ///
    /// Unlike there, offers whose other side has hung up meanwhile come too: accepting one is
    /// [`Error::Withdrawn`].
    pub fn offers(&self) -> Receiver<Offer> {
        self.inner.offers.clone()
    }

    // Connections

    /// Connects to the peer that listens at `addr`: strict, no stream, this peer's timeout. For
    /// others see [`ConnectOptions`].
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::TimedOut`], [`Error::Connect`] (nobody listens there),
    /// [`Error::Handshake`] (who listens there is no peer), [`Error::SelfConnection`],
    /// [`Error::TooManyConnections`], [`Error::FeatureMissing`], [`Error::Ipv6`],
    /// [`Error::Resolve`], [`Error::Stopped`].
    pub fn connect<F: Format>(&self, addr: impl ToSocketAddrs) -> Result<Connection<F>> {
        ConnectOptions::new().connect(self, addr)
    }

    /// Connects, and passes each message that comes to `handler`, on the connection's reader
    /// thread; see [`Offer::accept_with`] for what a handler may do.
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
    /// let conn = alice.connect_with::<Json<u32>>(bob.local_addr(), move |_, n| answers.send(n).unwrap())?;
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
        addr: impl ToSocketAddrs,
        handler: impl FnMut(&Connection<F>, F::Item) + Send + 'static,
    ) -> Result<Connection<F>> {
        ConnectOptions::new().connect_with(self, addr, handler)
    }

    /// The open connections, oldest first.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.inner
            .hub
            .links()
            .iter()
            .filter(|link| link.close_reason().is_none())
            .map(ConnectionInfo::new)
            .collect()
    }

    // Watching

    /// What happens at this peer: connections made, denied, failed and closed.
    ///
    /// The channel holds 256 events and ends when the peer is stopped. It never holds up the peer:
    /// events that find it full are dropped, and counted by an [`Event::Dropped`] before the next
    /// one. All receivers share the events: each goes to one of them.
    ///
    /// ```
    /// # let peer = lanpeer::Peer::bind("127.0.0.1:0")?;
    /// let events = peer.events();
    /// std::thread::spawn(move || {
    ///     for event in events {
    ///         println!("{event}");
    ///     }
    /// });
    /// # Ok::<(), lanpeer::Error>(())
    /// ```
    pub fn events(&self) -> Receiver<Event> {
        self.inner.hub.events()
    }

    /// Stops the peer: ends its connections gracefully, wakes every blocked call, and waits for
    /// every thread.
    ///
    /// Offers that wait are denied. Connections get
    /// [`close_timeout`](PeerBuilder::close_timeout), 5 seconds by default, to send what is queued
    /// and to hear from the other side; then they are reset. Takes at most one second more, also
    /// when a handler does not return: its thread is then left behind. Called from a handler, it
    /// returns at once and the rest happens in the background.
    ///
    /// Stopping twice is fine.
    pub fn stop(&self) {
        self.inner.stop();
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("local_addr", &self.local_addr())
            .field("is_stopped", &self.inner.hub.is_stopped())
            .finish_non_exhaustive()
    }
}

impl PeerBuilder {
    /// Makes the peer: when this returns, it is listening.
    ///
    /// # Errors
    /// As [`Peer::bind`], and [`Error::InvalidOption`].
    pub fn bind(&self, addr: impl ToSocketAddrs) -> Result<Peer> {
        self.settings.check()?;
        self.discovery.check()?;
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

    fn start(&self, listener: TcpListener, asked: SocketAddrV4) -> Result<Peer> {
        let bound = listener.local_addr();
        let bound = bound.map_err(|source| Error::Bind {
            addr: asked.into(),
            source,
        })?;
        let local_addr = SocketAddrV4::new(*asked.ip(), bound.port());
        let (sender, offers) = crossbeam_channel::bounded(OFFERS);
        let deliver = Box::new(move |pending| match sender.try_send(Offer::new(pending)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(offer) | TrySendError::Disconnected(offer)) => {
                Err(offer.into_pending())
            }
        });
        let hub = Hub::new(self.settings.clone(), local_addr, deliver);
        let wake_listener = Box::new(listen(&hub, listener)?);
        let discovery = Discovery::start(self.discovery.clone(), local_addr)
            .inspect_err(|_| hub.stop(&*wake_listener))?;
        if let Some(reason) = discovery.not_discoverable() {
            let reason = reason.to_owned();
            hub.emit(Event::NotDiscoverable { reason });
        }
        Ok(Peer {
            inner: Arc::new(Inner {
                hub,
                offers,
                discovery,
                wake_listener,
            }),
        })
    }
}

impl ConnectOptions {
    /// Connects with these options.
    ///
    /// # Errors
    /// As [`Peer::connect`], and [`Error::InvalidOption`].
    pub fn connect<F: Format>(
        &self,
        peer: &Peer,
        addr: impl ToSocketAddrs,
    ) -> Result<Connection<F>> {
        self.connect_as(peer, addr, Connection::with_channel)
    }

    /// Connects with these options, and passes each message that comes to `handler`.
    ///
    /// # Errors
    /// As [`Peer::connect`], and [`Error::InvalidOption`].
    pub fn connect_with<F: Format>(
        &self,
        peer: &Peer,
        addr: impl ToSocketAddrs,
        handler: impl FnMut(&Connection<F>, F::Item) + Send + 'static,
    ) -> Result<Connection<F>> {
        self.connect_as(peer, addr, |link| Connection::with_handler(link, handler))
    }

    fn connect_as<F: Format>(
        &self,
        peer: &Peer,
        addr: impl ToSocketAddrs,
        start: impl FnOnce(&Arc<Link>) -> (Connection<F>, Start),
    ) -> Result<Connection<F>> {
        let hub = &peer.inner.hub;
        let timeout = self.timeout.unwrap_or(hub.settings.timeout);
        check_timeout("timeout", timeout)?;
        let invalid = |option, reason: String| Err(Error::InvalidOption { option, reason });
        let limit = hub.settings.max_message_size;
        match self.stream {
            Some(StreamSize::Of(0)) => {
                return invalid("stream_of", "must be at least 1 byte".to_owned());
            }
            Some(StreamSize::Of(size)) if size > limit => {
                return invalid(
                    "stream_of",
                    format!("{size} bytes are more than max_message_size, {limit}"),
                );
            }
            _ => {}
        }
        let data_type = match (F::DATA_TYPE, self.data_type) {
            (Some(data_type), Some(asked)) if asked != data_type => {
                return invalid(
                    "data_type",
                    format!("the format's is {data_type}; only Dynamic leaves the choice"),
                );
            }
            (Some(data_type), _) | (None, Some(data_type)) => data_type,
            (None, None) => DataType::Json,
        };
        let strict = self.strict.unwrap_or(F::DATA_TYPE.is_some());
        let request = Request {
            data_type,
            strict,
            stream: self.stream,
            timeout,
        };
        ask::connect(hub, &resolve(addr)?, request, start)
    }
}
