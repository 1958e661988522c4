//! Offers: connections that someone asks for.

use std::fmt;
use std::net::SocketAddr;

use crossbeam_channel::Receiver;

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::format::{DataType, Format};
use crate::net::answer::{Pending, check_reason};
use crate::net::handshake::Start;
use crate::net::link::Link;
use crate::options::StreamSize;

/// Another peer asks for a connection: accept it or deny it.
///
/// An offer that is dropped is denied with the reason `dropped`. The other side waits only for its
/// own timeout, 2 seconds by default, and then withdraws: accepting is [`Error::Withdrawn`].
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
/// assert_eq!(offer.data_type(), DataType::Json);
/// offer.deny("not-today")?;
/// match asking.join().unwrap() {
///     Err(Error::Denied { reason, .. }) => assert_eq!(reason.as_deref(), Some("not-today")),
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

    /// Where the peer that asks listens.
    pub fn peer_addr(&self) -> SocketAddr {
        self.pending.agreed.peer_addr.into()
    }

    /// What the connection would be for.
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

    /// Accepts. The format's data type must be the offered one; [`Dynamic`](crate::Dynamic) takes all.
    ///
    /// # Errors
    /// [`Error::TypeMismatch`]: the offer was denied with the reason `type`. [`Error::Withdrawn`]:
    /// the other side has hung up. [`Error::Stopped`].
    pub fn accept<F: Format>(self) -> Result<Connection<F>> {
        self.accept_as(Connection::with_channel)
    }

    /// Accepts, and passes each message to `handler`, on the connection's reader thread: no second
    /// thread and no channel lie between, which is the lowest latency there is.
    ///
    /// While the handler runs, the connection is not read. It may send and close on the connection
    /// that it is given. A handler that panics ends its connection with
    /// [`CloseReason::HandlerPanicked`](crate::CloseReason::HandlerPanicked). The connection lives
    /// until either side ends it, whether or not the returned handle is kept.
    ///
    /// # Errors
    /// As [`accept`](Offer::accept).
    pub fn accept_with<F: Format>(
        self,
        handler: impl FnMut(&Connection<F>, F::Item) + Send + 'static,
    ) -> Result<Connection<F>> {
        self.accept_as(|link| Connection::with_handler(link, handler))
    }

    fn accept_as<F: Format>(
        self,
        start: impl FnOnce(&std::sync::Arc<Link>) -> (Connection<F>, Start),
    ) -> Result<Connection<F>> {
        let offered = self.data_type();
        if let Some(requested) = F::DATA_TYPE.filter(|requested| *requested != offered) {
            self.pending.deny("type");
            return Err(Error::TypeMismatch { offered, requested });
        }
        self.pending.accept(start)
    }

    /// Denies, with one word for the other side: 1 to 64 letters, digits, `-`, `_` or `.`.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: not such a word; the offer is then denied as if dropped.
    /// [`Error::Withdrawn`]: the other side has hung up.
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
#[derive(Debug)]
pub struct Incoming {
    offers: Receiver<Offer>,
}

impl Incoming {
    pub(crate) fn new(offers: Receiver<Offer>) -> Incoming {
        Incoming { offers }
    }
}

impl Iterator for Incoming {
    type Item = Offer;

    fn next(&mut self) -> Option<Offer> {
        // Those whose other side has hung up meanwhile are of no use to anyone.
        self.offers.iter().find(|offer| !offer.is_gone())
    }
}
