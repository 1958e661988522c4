//! A connection and its typed messages.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvError, RecvTimeoutError, TryRecvError};

use crate::error::{CloseError, CloseReason, SendError};
use crate::format::{DataType, Encode, Format, with_encoded};
use crate::net::Wait;
use crate::net::handshake::Start;
use crate::net::inbox::Inbox;
use crate::net::link::{Link, Stats};
use crate::net::reader::Reader;
use crate::options::StreamSize;

/// An open connection to another peer, over which messages of the format `F` go both ways.
///
/// A handle: clones are cheap and mean the same connection, and all of them can be used from any
/// thread at the same time. Messages arrive in the order in which they were sent, also when many
/// threads send.
///
/// Without a handler, dropping the last handle closes the connection gracefully in the background:
/// what was sent is still delivered, as long as the [`Peer`](crate::Peer) lives. With a handler
/// ([`connect_with`](crate::Peer::connect_with), [`accept_with`](crate::Offer::accept_with)) the
/// connection lives until either side ends it.
///
/// ```
/// use lanpeer::{Json, Peer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bob = Peer::bind("127.0.0.1:0")?;
/// let bob_addr = bob.local_addr();
/// let alice = std::thread::spawn(move || -> Result<(), lanpeer::Error> {
///     let alice = Peer::bind("127.0.0.1:0")?;
///     let conn = alice.connect::<Json<String>>(bob_addr)?;
///     conn.send("first").unwrap();
///     conn.send("second").unwrap();
///     conn.close().unwrap(); // Bob has both
///     Ok(())
/// });
/// let conn = bob.accept::<Json<String>>()?;
/// let all: Vec<String> = conn.iter().collect();
/// assert_eq!(all, ["first", "second"]);
/// assert_eq!(conn.close_reason(), Some(lanpeer::CloseReason::ClosedThere));
/// # alice.join().unwrap()?;
/// # Ok(()) }
/// ```
pub struct Connection<F: Format> {
    handle: Arc<Handle<F>>,
}

struct Handle<F: Format> {
    link: Arc<Link>,
    receiver: Receiver<F::Item>,
    /// The handler's thread keeps the connection; dropping handles does not end it.
    handled: bool,
}

impl<F: Format> Drop for Handle<F> {
    fn drop(&mut self) {
        if !self.handled {
            self.link.abandon();
            self.link.close_in_background(CloseReason::ClosedHere);
        }
    }
}

impl<F: Format> Clone for Connection<F> {
    fn clone(&self) -> Connection<F> {
        Connection {
            handle: Arc::clone(&self.handle),
        }
    }
}

impl<F: Format> fmt::Debug for Connection<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id())
            .field("peer_addr", &self.peer_addr())
            .field("data_type", &self.data_type())
            .field("close_reason", &self.close_reason())
            .finish_non_exhaustive()
    }
}

impl<F: Format> Connection<F> {
    /// A connection whose messages go to a channel, and what its reader thread runs.
    pub(crate) fn with_channel(link: &Arc<Link>) -> (Connection<F>, Start) {
        let settings = &link.hub.settings;
        let (sender, receiver) = crossbeam_channel::bounded(settings.receive_queue);
        let mut inbox = Inbox::new(sender, settings.receive_queue_bytes);
        let connection = Connection::new(link, receiver, false);
        let link = Arc::clone(link);
        let start = move |early| {
            let dialect = link.dialect;
            Reader::new(Arc::clone(&link), early).run(move |data_type, payload| {
                if inbox.is_abandoned() {
                    return Ok(());
                }
                let size = payload.len();
                let item = F::decode(data_type, dialect, payload);
                let item = item.map_err(|error| CloseReason::Malformed(error.to_string()))?;
                inbox.push(&link, item, size)
            });
        };
        (connection, Box::new(start))
    }

    /// A connection whose messages go to `handler`, on its reader thread.
    pub(crate) fn with_handler(
        link: &Arc<Link>,
        mut handler: impl FnMut(&Connection<F>, F::Item) + Send + 'static,
    ) -> (Connection<F>, Start) {
        link.set_handled();
        // Nothing goes through the channel; its end tells `recv` of the connection's.
        let (until_the_end, receiver) = crossbeam_channel::bounded(0);
        let connection = Connection::new(link, receiver, true);
        let own = connection.clone();
        let link = Arc::clone(link);
        let start = move |early| {
            let dialect = link.dialect;
            Reader::new(link, early).run(move |data_type, payload| {
                let _until_the_end = &until_the_end;
                let item = F::decode(data_type, dialect, payload);
                let item = item.map_err(|error| CloseReason::Malformed(error.to_string()))?;
                handler(&own, item);
                Ok(())
            });
        };
        (connection, Box::new(start))
    }

    fn new(link: &Arc<Link>, receiver: Receiver<F::Item>, handled: bool) -> Connection<F> {
        let handle = Arc::new(Handle {
            link: Arc::clone(link),
            receiver,
            handled,
        });
        // Weak: the receiver's last drop tells the reader that nobody listens.
        let weak: Weak<Handle<F>> = Arc::downgrade(&handle);
        link.set_queue_len(move || weak.upgrade().map_or(0, |handle| handle.receiver.len()));
        Connection { handle }
    }

    fn link(&self) -> &Arc<Link> {
        &self.handle.link
    }

    // Sending

    fn send_with(&self, item: &(impl Encode<F> + ?Sized), wait: Wait) -> Result<(), SendError> {
        let link = self.link();
        with_encoded::<F, _>(item, link.dialect, |message| link.send(message, wait, None))?
    }

    /// Sends a message; waits while the send queue is full.
    ///
    /// `Ok` means accepted: the message will be delivered, in order, or the connection ends with a
    /// [`close_reason`](Connection::close_reason) that says otherwise. A message on an idle
    /// connection is written to the socket at once; what the socket does not take, and messages
    /// that follow each other closely, wait in a queue of
    /// [`send_queue`](crate::PeerBuilder::send_queue) bytes which a thread empties. While that is
    /// full, `send` waits: for ever if the other side takes nothing, until `close`, `abort`, `stop`
    /// or the end of the connection.
    ///
    /// Takes the item by reference, or what the item can be borrowed as; see
    /// [`Encode`](crate::Encode).
    ///
    /// # Errors
    /// [`SendError::Closed`], or the message can not go over this connection: too large, of
    /// another size than the stream's, of another type, not encodable. Then nothing was sent and
    /// the connection goes on.
    pub fn send(&self, item: &(impl Encode<F> + ?Sized)) -> Result<(), SendError> {
        self.send_with(item, Wait::Forever)
    }

    /// Sends a message if the send queue has room; never waits.
    ///
    /// # Errors
    /// [`SendError::Full`], or as [`send`](Connection::send).
    pub fn try_send(&self, item: &(impl Encode<F> + ?Sized)) -> Result<(), SendError> {
        self.send_with(item, Wait::No)
    }

    /// Sends a message; waits for room in the send queue for at most `timeout`.
    ///
    /// # Errors
    /// [`SendError::Timeout`], or as [`send`](Connection::send).
    pub fn send_timeout(
        &self,
        item: &(impl Encode<F> + ?Sized),
        timeout: Duration,
    ) -> Result<(), SendError> {
        self.send_with(item, deadline(timeout).map_or(Wait::Forever, Wait::Until))
    }

    /// Waits until everything that was sent so far is handed to the system.
    ///
    /// The other side may not have it yet: only [`close`](Connection::close) can tell.
    ///
    /// # Errors
    /// [`SendError::Closed`]: the connection ended first.
    pub fn flush(&self) -> Result<(), SendError> {
        self.link().flush()
    }

    // Receiving

    /// Waits for the next message.
    ///
    /// Each message goes to one of those who receive on this connection. Messages that arrived
    /// before the end are returned before the error. With a handler it only waits for the end.
    ///
    /// # Errors
    /// The connection has ended and all its messages were taken;
    /// [`close_reason`](Connection::close_reason) says why.
    pub fn recv(&self) -> Result<F::Item, RecvError> {
        let received = self.link().receive(&self.handle.receiver, None);
        received.map_err(|_| RecvError)
    }

    /// The next message, if there is one.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`], or [`TryRecvError::Disconnected`] as [`recv`](Connection::recv).
    pub fn try_recv(&self) -> Result<F::Item, TryRecvError> {
        let received = self.handle.receiver.try_recv();
        self.link().taken(|| self.handle.receiver.len());
        received
    }

    /// Waits for the next message for at most `timeout`.
    ///
    /// # Errors
    /// [`RecvTimeoutError::Timeout`], or [`RecvTimeoutError::Disconnected`] as
    /// [`recv`](Connection::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<F::Item, RecvTimeoutError> {
        self.link()
            .receive(&self.handle.receiver, deadline(timeout))
    }

    /// Iterates over messages until the connection ends; waits for each.
    pub fn iter(&self) -> Iter<'_, F> {
        Iter { connection: self }
    }

    /// Iterates over the messages that are there; does not wait.
    pub fn try_iter(&self) -> TryIter<'_, F> {
        TryIter { connection: self }
    }

    /// The channel behind [`recv`](Connection::recv), for `select!` over many connections.
    ///
    /// It is bounded by [`receive_queue`](crate::PeerBuilder::receive_queue) messages and by
    /// [`receive_queue_bytes`](crate::PeerBuilder::receive_queue_bytes). While it is full, the
    /// connection is not read, and so the other side's `send` waits. A clone of it does not keep
    /// the connection open.
    ///
    /// ```
    /// # use lanpeer::{crossbeam_channel::{select, after}, Connection, Json};
    /// # use std::time::Duration;
    /// fn next_of(a: &Connection<Json<f64>>, b: &Connection<Json<f64>>) -> Option<f64> {
    ///     select! {
    ///         recv(a.receiver()) -> value => value.ok(),
    ///         recv(b.receiver()) -> value => value.ok(),
    ///         recv(after(Duration::from_secs(1))) -> _ => None,
    ///     }
    /// }
    /// ```
    pub fn receiver(&self) -> &Receiver<F::Item> {
        self.link().select();
        &self.handle.receiver
    }

    // Facts

    /// The connection's number, unique in this process; log lines and events carry it.
    pub fn id(&self) -> u64 {
        self.link().id
    }

    /// Where the other peer listens: an address that can be connected to.
    pub fn peer_addr(&self) -> SocketAddr {
        self.link().peer_addr
    }

    /// The data type that the handshake agreed on.
    pub fn data_type(&self) -> DataType {
        self.link().data_type
    }

    /// Does a message of another data type end the connection?
    pub fn is_strict(&self) -> bool {
        self.link().strict
    }

    /// `Some` if all messages have one size.
    pub fn stream(&self) -> Option<StreamSize> {
        self.link().stream
    }

    /// Messages and bytes so far, and what waits.
    pub fn stats(&self) -> Stats {
        self.link().stats()
    }

    // The end

    /// Closes the connection, and waits until the other side has taken in everything.
    ///
    /// Sends what is queued, then FIN, and waits for the other side's. That comes when its library
    /// has read everything into its queue: so a program there that does not receive can make this
    /// time out. Waits for at most [`close_timeout`](crate::PeerBuilder::close_timeout), 5 seconds
    /// by default. Messages that the other side sent before it learnt of the close can still be
    /// received. Calling it again, or after the other side has closed, is fine.
    ///
    /// Where both sides close at the same moment, `Ok` means that the other side's system has
    /// everything and its library is reading it.
    ///
    /// # Errors
    /// [`CloseError::Timeout`]: it goes on closing until the last handle is dropped.
    /// [`CloseError::Incomplete`]: the connection ended otherwise.
    pub fn close(&self) -> Result<(), CloseError> {
        self.link().close()
    }

    /// Ends the connection at once: what is queued is dropped, the other side sees a reset.
    pub fn abort(&self) {
        self.link().kill(CloseReason::Aborted);
    }

    /// Why the connection ended; `None` while it has not.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.link().close_reason()
    }
}

/// `None` is too far away to be told from never.
fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// Iterates over messages until the connection ends; see [`Connection::iter`].
pub struct Iter<'a, F: Format> {
    connection: &'a Connection<F>,
}

impl<F: Format> Iterator for Iter<'_, F> {
    type Item = F::Item;

    fn next(&mut self) -> Option<F::Item> {
        self.connection.recv().ok()
    }
}

impl<F: Format> fmt::Debug for Iter<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Iter").field(self.connection).finish()
    }
}

/// Iterates over the messages that are there; see [`Connection::try_iter`].
pub struct TryIter<'a, F: Format> {
    connection: &'a Connection<F>,
}

impl<F: Format> Iterator for TryIter<'_, F> {
    type Item = F::Item;

    fn next(&mut self) -> Option<F::Item> {
        self.connection.try_recv().ok()
    }
}

impl<F: Format> fmt::Debug for TryIter<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TryIter").field(self.connection).finish()
    }
}

impl<'a, F: Format> IntoIterator for &'a Connection<F> {
    type Item = F::Item;
    type IntoIter = Iter<'a, F>;

    fn into_iter(self) -> Iter<'a, F> {
        self.iter()
    }
}
