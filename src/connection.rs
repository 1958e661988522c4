//! A connection and its typed messages.
//!
//! A long file for the examples in its docs; the code is the smaller part.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::{RecvError, RecvTimeoutError, TryRecvError};

use crate::error::{CloseError, CloseReason, RequestError, SendError};
use crate::format::{DataType, Encode, Format, with_encoded};
use crate::neighbour::PeerId;
use crate::net::Wait;
use crate::net::link::pump::{run_handler, run_queue};
use crate::net::link::serving::{Request, Requests, Serve, Server};
use crate::net::link::{Link, Stats};
use crate::net::os::sync::{Instant, OnceLock, Receiver, bounded};
use crate::net::recv::consumer::Consumer;
use crate::net::recv::producer::Producer;
use crate::net::recv::{latest_queue, receive_queue};
use crate::net::wire::early::Start;
use crate::options::StreamSize;
use crate::proto::beacon::Card;
use crate::secure::PublicKey;

/// An open connection to another peer, over which messages of the format `F` go both ways.
///
/// A handle: clones are cheap and mean the same connection, and any thread may use any of them at any
/// time. Messages arrive in the order in which they were sent, also when many threads send.
///
/// Without a handler, dropping the last handle closes the connection gracefully in the background:
/// what was sent is still delivered, as long as the [`Peer`](crate::Peer) lives. If a panic drops it,
/// the other side sees [`CloseReason::Vanished`] after what was sent. With a handler
/// ([`connect_with`](crate::Peer::connect_with), [`accept_with`](crate::Offer::accept_with)) the
/// connection lives until either side ends it.
///
/// A connection does not keep its [`Peer`](crate::Peer) alive: when the peer's last handle is dropped, the
/// connection ends gracefully. Keep the peer as long as the connection is used; a function that makes
/// both returns both.
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
///
/// In the examples below, Alice has connected to Bob: `to_bob` is her handle, `from_alice` is his.
///
/// ```
/// # use lanpeer::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// # let (to, asker) = (bob.local_addr(), alice.clone());
/// # let asking = std::thread::spawn(move || asker.connect::<Json<String>>(to));
/// # let from_alice = bob.accept::<Json<String>>()?;
/// # let to_bob = asking.join().unwrap()?;
/// assert_eq!(to_bob.peer_addr(), bob.local_addr());
/// assert_eq!((to_bob.peer_id(), to_bob.peer_service()), (Some(bob.id()), None));
/// assert_eq!(from_alice.peer_addr(), alice.local_addr());
/// assert_eq!(to_bob.data_type(), DataType::Json);
/// assert!(to_bob.is_strict() && to_bob.stream().is_none());
/// assert_ne!(to_bob.id(), from_alice.id());
/// to_bob.send("hello")?;
/// assert_eq!(to_bob.stats().messages_sent, 1);
/// # Ok(()) }
/// ```
#[must_use = "a connection without a handler closes when its last handle is dropped: keep it; if it has a handler, `let _ =` says that it need not be kept"]
pub struct Connection<F: Format> {
    handle: Arc<Handle<F>>,
}

struct Handle<F: Format> {
    link: Arc<Link>,
    consumer: Consumer<F::Item>,
    server: Arc<Server<F>>,
    /// Which code of the program the reader thread runs.
    runs: Runs,
    /// A channel that has ended, for a handler that asks for messages.
    silent: OnceLock<Receiver<F::Item>>,
}

/// Which code of the program a connection's reader thread runs. If it runs any, dropping handles does not
/// end the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Runs {
    Nothing,
    Handler,
    /// What answers requests. Messages go to the queue.
    Server,
}

/// Which of the messages that come wait for the program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    All,
    Latest,
}

impl<F: Format> Drop for Handle<F> {
    fn drop(&mut self) {
        if self.runs == Runs::Server {
            // From now on nobody takes messages: the next one ends the connection.
            drop(self.consumer.abandon().1);
        }
        if self.runs == Runs::Nothing {
            // The other side must learn which messages were not taken in.
            let (queued, items) = self.consumer.abandon();
            let unread = queued || self.link.has_unread();
            self.link.leave_in_background(unread);
            // The program's code, which may panic.
            drop(items);
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
    /// A connection whose messages wait for `recv`, and what its reader thread runs.
    pub(crate) fn with_queue(link: &Arc<Link>) -> (Connection<F>, Start) {
        Connection::start_queue(link, Keeps::All, Runs::Nothing, None)
    }

    /// A connection of whose messages only the newest waits for `recv`.
    pub(crate) fn with_latest(link: &Arc<Link>) -> (Connection<F>, Start) {
        Connection::start_queue(link, Keeps::Latest, Runs::Nothing, None)
    }

    /// A connection whose requests go to `serve`, on its reader thread.
    pub(crate) fn with_server(
        link: &Arc<Link>,
        keeps: Keeps,
        serve: impl FnMut(Request<F>) + Send + 'static,
    ) -> (Connection<F>, Start) {
        Connection::start_queue(link, keeps, Runs::Server, Some(Box::new(serve)))
    }

    fn start_queue(
        link: &Arc<Link>,
        keeps: Keeps,
        runs: Runs,
        serve: Option<Serve<F>>,
    ) -> (Connection<F>, Start) {
        let (connection, producer) = Connection::new(link, keeps, runs);
        let (link, server) = (Arc::clone(link), Arc::clone(&connection.handle.server));
        let start = move |early| run_queue::<F>(&link, early, producer, server, serve);
        (connection, Box::new(start))
    }

    /// A connection whose messages go to `handler`, on its reader thread.
    pub(crate) fn with_handler(
        link: &Arc<Link>,
        handler: impl FnMut(&Connection<F>, F::Item) + Send + 'static,
    ) -> (Connection<F>, Start) {
        link.set_handled();
        let (connection, producer) = Connection::new(link, Keeps::All, Runs::Handler);
        // No message goes through the queue. Its end tells `recv` that the connection has ended.
        let handled = (connection.clone(), handler, producer);
        let (link, server) = (Arc::clone(link), Arc::clone(&connection.handle.server));
        let start = move |early| {
            run_handler::<F, _>(
                &link,
                early,
                server,
                handled,
                |(connection, handler, _), item| handler(connection, item),
            )
        };
        (connection, Box::new(start))
    }

    fn new(link: &Arc<Link>, keeps: Keeps, runs: Runs) -> (Connection<F>, Producer<F::Item>) {
        let settings = &link.context.settings;
        let (producer, consumer) = match keeps {
            Keeps::All => receive_queue(
                settings.receive_queue,
                settings.receive_queue_bytes,
                F::PLAIN,
                &link.context,
            ),
            Keeps::Latest => latest_queue(F::PLAIN, &link.context),
        };
        link.set_producer(&producer);
        let server = Server::new();
        let own = Arc::clone(&server);
        link.set_end_of_requests(move || own.end());
        let handle = Arc::new(Handle {
            link: Arc::clone(link),
            consumer,
            server,
            runs,
            silent: OnceLock::new(),
        });
        // Weak: a strong one would hide the drop of the last handle.
        let weak: Weak<Handle<F>> = Arc::downgrade(&handle);
        link.set_queue_len(move || weak.upgrade().map_or(0, |handle| handle.consumer.len()));
        (Connection { handle }, producer)
    }

    fn link(&self) -> &Arc<Link> {
        &self.handle.link
    }

    // Sending

    fn send_with(&self, item: &(impl Encode<F> + ?Sized), wait: Wait) -> Result<(), SendError> {
        let link = self.link();
        with_encoded(item, link.dialect, |message| link.send(message, wait, None))
    }

    /// Sends a message; waits while the send queue is full.
    ///
    /// `Ok` means accepted: the message will be delivered, in order, or the connection ends with a
    /// [`close_reason`](Connection::close_reason) that says otherwise. A message on an idle
    /// connection is written to the socket at once. Messages that follow each other within 10 µs gather
    /// for one write: until the thread has sent nothing for 0.1 to 0.2 ms, until 120 KiB have come, or for
    /// about 0.5 ms. They, and what the socket does not take, wait in a queue of
    /// [`send_queue`](crate::PeerBuilder::send_queue) bytes, 1 MiB by default. While the queue is full,
    /// `send` waits, for ever if the other side takes nothing; `close`, `abort`, `stop` and the end of the
    /// connection end the wait. A message of 64 KiB or more is written without a copy. For that `send` may
    /// wait up to 50 ms for the socket, even if the queue has room.
    ///
    /// A thread that ends, returns from `main` or calls [`exit`](std::process::exit) first writes what it
    /// has gathered. A process that is killed or aborts loses it.
    ///
    /// Takes the item by reference, or what the item can be borrowed as; see
    /// [`Encode`](crate::Encode).
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<Vec<u32>>>(to));
    /// # let from_alice = bob.accept::<Json<Vec<u32>>>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// to_bob.send(&vec![1, 2])?;
    /// to_bob.send(&[3][..])?; // a slice will do
    /// assert_eq!(from_alice.recv()?, [1, 2]);
    /// assert_eq!(from_alice.recv()?, [3]);
    /// to_bob.close()?;
    /// assert_eq!(to_bob.send(&vec![4]), Err(SendError::Closed(CloseReason::ClosedHere)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SendError::Closed`], or the message cannot go over this connection: it is too large, has not the
    /// size of the stream, has another type, or cannot be encoded. Then nothing was sent and the connection
    /// goes on.
    pub fn send(&self, item: &(impl Encode<F> + ?Sized)) -> Result<(), SendError> {
        self.send_with(item, Wait::Forever)
    }

    /// Sends a message if the send queue has room; never waits.
    ///
    /// An empty queue has room for any message, even one larger than the queue.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// let frame = vec![0; 1 << 20];
    /// let error = loop { // Bob takes nothing, so it becomes full
    ///     if let Err(error) = to_bob.try_send(&frame) { break error }
    /// };
    /// assert_eq!(error, SendError::Full);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SendError::Full`], or as [`send`](Connection::send).
    pub fn try_send(&self, item: &(impl Encode<F> + ?Sized)) -> Result<(), SendError> {
        self.send_with(item, Wait::No)
    }

    /// Sends a message; waits for room in the send queue for at most `timeout`.
    ///
    /// Once a part of a large message is written, the whole message is accepted: the rest goes into the
    /// queue.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// let frame = vec![0; 1 << 20];
    /// let error = loop { // Bob takes nothing, so it becomes full
    ///     let sent = to_bob.send_timeout(&frame, Duration::from_millis(5));
    ///     if let Err(error) = sent { break error }
    /// };
    /// assert_eq!(error, SendError::Timeout);
    /// # Ok(()) }
    /// ```
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

    /// Sends a message of which only the newest counts, such as a camera picture or a position; never waits.
    ///
    /// The next call replaces it, as long as nothing of it has left. So a slow receiver gets fewer messages,
    /// each as new as can be: if the other side takes nothing, one message waits here, besides one that has
    /// begun to leave. From the first call on, the system's buffer for this connection is kept short: on
    /// Linux and Android it holds 128 KiB that it cannot send yet, and at most a segment more
    /// (`TCP_NOTSENT_LOWAT`), elsewhere 256 KiB in all (`SO_SNDBUF`). If the other side reads by
    /// [`accept_latest`](crate::Offer::accept_latest) or
    /// [`ConnectOptions::latest`](crate::ConnectOptions::latest), nothing old waits there either.
    ///
    /// Messages of [`send`](Connection::send) on the same connection are never replaced, and order is kept:
    /// everything arrives as it was sent, except the replaced messages. The message that waits takes no room
    /// in the send queue, so no `send` waits because of it.
    ///
    /// [`flush`](Connection::flush) and [`close`](Connection::close) send the message that waits too. A
    /// replaced message no longer counts: [`stats`](Connection::stats) has it in `send_replaced` and not in
    /// `messages_sent`, and `close` is Ok without it. The first message of a
    /// [stream](crate::ConnectOptions::stream) is not replaced.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<u32>>(to));
    /// let from_alice = bob.incoming().next().unwrap().accept_latest::<Json<u32>>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// for position in 0..1000 {
    ///     to_bob.send_latest(&position)?; // Bob takes nothing yet
    /// }
    /// to_bob.close()?; // Ok: Bob has the newest
    /// assert_eq!(from_alice.recv()?, 999);
    /// let replaced = to_bob.stats().send_replaced + from_alice.stats().receive_replaced;
    /// assert_eq!(replaced, 999);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`send`](Connection::send).
    pub fn send_latest(&self, item: &(impl Encode<F> + ?Sized)) -> Result<(), SendError> {
        let link = self.link();
        with_encoded(item, link.dialect, |message| {
            link.sender().send_latest(message)
        })
    }

    /// Waits until everything that was sent is handed to the system, also what other threads send
    /// meanwhile. If the other side takes nothing it waits for ever; `abort` and the end of the connection end
    /// the wait. `close` and `stop` go on writing, and so end it when they have ended the connection: at the
    /// latest after twice [`close_timeout`](crate::PeerBuilder::close_timeout), or that and a second.
    ///
    /// The other side may not have it yet. Call [`close`](Connection::close) to find out.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// for _ in 0..100 { to_bob.send("many messages that follow each other closely")?; }
    /// to_bob.flush()?;
    /// assert_eq!(to_bob.stats().send_queue_bytes, 0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SendError::Closed`]: the connection ended first.
    pub fn flush(&self) -> Result<(), SendError> {
        self.link().flush()
    }

    // Receiving

    /// Waits for the next message, however long.
    ///
    /// If several threads receive, each message goes to one of them. Messages that arrived before the end are
    /// returned before the error. With a handler it only waits for the end.
    ///
    /// A thread that waits here, or in another call that receives, may read the socket itself. Then the message is
    /// decoded on it, for example by your `Deserialize`, and with it up to 32 of those behind it: at most 4 KiB,
    /// or one larger one. It stops if 50 µs have passed after the first, second, fourth, eighth or sixteenth of
    /// these.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<String>>(to));
    /// # let from_alice = bob.accept::<Json<String>>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// to_bob.send("last")?;
    /// to_bob.close()?;
    /// assert_eq!(from_alice.recv()?, "last");
    /// assert!(from_alice.recv().is_err());
    /// assert_eq!(from_alice.close_reason(), Some(CloseReason::ClosedThere));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The connection has ended and all its messages were taken;
    /// [`close_reason`](Connection::close_reason) says why.
    pub fn recv(&self) -> Result<F::Item, RecvError> {
        self.recv_until(None).map_err(|_| RecvError)
    }

    /// The next message, if there is one; never waits.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<String>>(to));
    /// # let from_alice = bob.accept::<Json<String>>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// assert_eq!(from_alice.try_recv(), Err(TryRecvError::Empty));
    /// to_bob.send("last")?;
    /// to_bob.close()?; // Ok: Bob's queue has it
    /// assert_eq!(from_alice.try_recv()?, "last");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`TryRecvError::Empty`], or [`TryRecvError::Disconnected`] as [`recv`](Connection::recv).
    pub fn try_recv(&self) -> Result<F::Item, TryRecvError> {
        self.handle.consumer.try_recv()
    }

    /// Waits for the next message for at most `timeout`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<String>>(to));
    /// # let from_alice = bob.accept::<Json<String>>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// let none = from_alice.recv_timeout(Duration::from_millis(1));
    /// assert_eq!(none, Err(RecvTimeoutError::Timeout));
    /// to_bob.send("hello")?;
    /// assert_eq!(from_alice.recv_timeout(Duration::from_secs(5))?, "hello");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`RecvTimeoutError::Timeout`], or [`RecvTimeoutError::Disconnected`] as
    /// [`recv`](Connection::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<F::Item, RecvTimeoutError> {
        self.recv_until(deadline(timeout))
    }

    fn recv_until(&self, deadline: Option<Instant>) -> Result<F::Item, RecvTimeoutError> {
        if self.waits_for_itself() {
            return Err(RecvTimeoutError::Disconnected);
        }
        self.handle.consumer.recv(deadline)
    }

    /// Would the connection's own handler wait here? It would wait for the end of the connection, which
    /// cannot come before the handler returns.
    fn waits_for_itself(&self) -> bool {
        self.handle.runs != Runs::Nothing && self.link().on_reader_thread()
    }

    /// Iterates over messages until the connection ends; waits for each. `for item in &conn` does
    /// the same.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<u32>>(to));
    /// # let from_alice = bob.accept::<Json<u32>>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// for n in 0..3 { to_bob.send(&n)?; }
    /// to_bob.close()?;
    /// assert_eq!(from_alice.iter().sum::<u32>(), 0 + 1 + 2);
    /// # Ok(()) }
    /// ```
    pub fn iter(&self) -> Iter<'_, F> {
        Iter { connection: self }
    }

    /// Iterates over the messages that are there; never waits. Its end is not the end of the connection.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<u32>>(to));
    /// # let from_alice = bob.accept::<Json<u32>>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// assert_eq!(from_alice.try_iter().count(), 0);
    /// for n in 0..3 { to_bob.send(&n)?; }
    /// to_bob.close()?; // Ok: Bob's queue has them
    /// assert_eq!(from_alice.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    /// # Ok(()) }
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, F> {
        TryIter { connection: self }
    }

    /// A crossbeam channel of the messages, for `select!` over many connections.
    ///
    /// From the first call on, all messages go through it, also those for [`recv`](Connection::recv), one by
    /// one instead of in batches. That is a little slower for many small messages. The channel is bounded by
    /// [`receive_queue`](crate::PeerBuilder::receive_queue) messages and by
    /// [`receive_queue_bytes`](crate::PeerBuilder::receive_queue_bytes). While it is full, the connection is
    /// not read, so the other side's `send` waits. A clone of it does not keep the connection open. With a
    /// handler it has no messages and ends with the connection; inside the handler it has ended already.
    ///
    /// ```
    /// use lanpeer::{Connection, Json, crossbeam_channel::{after, select}};
    /// use std::time::Duration;
    ///
    /// fn next_of(a: &Connection<Json<f64>>, b: &Connection<Json<f64>>) -> Option<f64> {
    ///     select! {
    ///         recv(a.receiver()) -> value => value.ok(),
    ///         recv(b.receiver()) -> value => value.ok(),
    ///         recv(after(Duration::from_secs(1))) -> _ => None,
    ///     }
    /// }
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<f64>>(to));
    /// # let from_alice = bob.accept::<Json<f64>>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// to_bob.send(&0.5)?;
    /// assert_eq!(next_of(&from_alice, &to_bob), Some(0.5));
    /// # Ok(()) }
    /// ```
    pub fn receiver(&self) -> &Receiver<F::Item> {
        if self.waits_for_itself() {
            return self.handle.silent.get_or_init(|| bounded(0).1);
        }
        self.handle.consumer.channel()
    }

    // Requests

    /// Sends a request and waits for its reply, for at most `timeout` in all.
    ///
    /// Any number of threads may ask at once, on both sides of one connection, up to
    /// [`max_requests`](crate::PeerBuilder::max_requests), 16,384 by default. Replies come in any order.
    /// Messages go on beside them: those that come meanwhile wait for [`recv`](Connection::recv). A thread
    /// that waits here may read the socket itself, as in `recv`.
    ///
    /// While the receive queue is full, because nobody receives the messages, no reply is read either.
    ///
    /// Takes what [`send`](Connection::send) takes, and returns what `recv` returns. The wait ends at
    /// once, with the reason, if the connection ends or is closed, if either peer stops, or if the program
    /// there drops the request or panics. A request that fails or times out is not sent again: the other
    /// side may have worked on it.
    ///
    /// ```
    /// use lanpeer::{Connection, Json, RequestError};
    /// use std::time::Duration;
    ///
    /// /// This side asks with a word, and gets a number.
    /// fn letters(conn: &Connection<Json<String, usize>>, word: &str) -> Result<usize, RequestError> {
    ///     conn.request(word, Duration::from_secs(1))
    /// }
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<String, usize>>(to));
    /// let from_alice = bob.accept::<Json<usize, String>>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// let bobs_side = std::thread::spawn(move || {
    ///     for request in from_alice.requests() {
    ///         request.reply(&request.item().chars().count()).unwrap();
    ///     }
    /// });
    /// assert_eq!(letters(&to_bob, "twelve"), Ok(6));
    /// to_bob.close()?;
    /// # bobs_side.join().unwrap();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`RequestError`], whose variants say whether the other side may have worked on the request.
    /// [`RequestError::Unsupported`]: the other side speaks no frames, or this is a stream.
    /// [`RequestError::WaitsForItself`]: this is the connection's own handler.
    pub fn request(
        &self,
        item: &(impl Encode<F> + ?Sized),
        timeout: Duration,
    ) -> Result<F::Item, RequestError> {
        let link = self.link();
        let waiter = self.handle.consumer.waiter();
        let (data_type, payload) = link.ask(deadline(timeout), &waiter, |send| {
            with_encoded(item, link.dialect, send)
        })?;
        let mut reply = None;
        F::decode(data_type, link.reading(), payload.into(), &mut reply)?;
        // A decoder that says Ok has made an item.
        reply.ok_or(RequestError::Unanswered)
    }

    /// The other side's requests, as they come: an iterator that ends with the connection, and a
    /// crossbeam channel.
    ///
    /// From the first call on, this side takes requests for as long as the connection lives. Clones of the
    /// result and further calls share them: each request goes to one. Before the first call, requests wait
    /// for at most a second after the connection was made; then they fail with
    /// [`RequestError::NotServed`], later ones at once. [`max_requests`](crate::PeerBuilder::max_requests)
    /// bounds the requests that are not answered yet, taken or not; further ones fail at once with
    /// [`RequestError::Busy`]. Requests hold up no message.
    ///
    /// The result does not keep the connection open. On a connection that has a server
    /// ([`accept_serving`](crate::Offer::accept_serving)) nothing comes here.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<u64>>(to));
    /// # let from_alice = bob.accept::<Json<u64>>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// # let bobs_side = std::thread::spawn(move || -> lanpeer::Result<()> {
    /// for request in from_alice.requests() {
    ///     request.reply(&(request.item() + 1))?;
    /// }
    /// # Ok(()) });
    /// assert_eq!(to_bob.request(&41, Duration::from_secs(5))?, 42);
    /// # to_bob.close()?;
    /// # bobs_side.join().unwrap()?;
    /// # Ok(()) }
    /// ```
    pub fn requests(&self) -> Requests<F> {
        let waiter = self.handle.consumer.waiter();
        self.handle.server.requests(self.link(), waiter)
    }

    // Facts

    /// The connection's number, unique in this process; log lines and events carry it. The other
    /// side has its own number for the same connection.
    pub fn id(&self) -> u64 {
        self.link().id
    }

    /// Where the other peer listens: the address to connect to.
    pub fn peer_addr(&self) -> SocketAddr {
        self.link().peer_addr
    }

    /// The id of the peer on the other side. `None`: it speaks no frames, since it is no lanpeer or has
    /// [`text_headers`](crate::PeerBuilder::text_headers).
    pub fn peer_id(&self) -> Option<PeerId> {
        self.link().who.as_deref().map(PeerId::of)
    }

    /// The other side's name, at most 24 bytes, as in [`Neighbour::name`](crate::Neighbour::name). `None`:
    /// it has none, or speaks no frames. A name proves nothing.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bob = Peer::bind("127.0.0.1:0")?;
    /// let alice = Peer::builder().name("alice").service("chat").bind("127.0.0.1:0")?;
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// let from_alice = bob.accept::<Bytes>()?; // she connects to him
    /// assert_eq!(from_alice.peer_name(), Some("alice"));
    /// # drop(asking.join().unwrap()?);
    /// # Ok(()) }
    /// ```
    pub fn peer_name(&self) -> Option<&str> {
        self.link().who.as_deref().and_then(Card::name)
    }

    /// The other side's kind of program, at most 16 bytes, as in
    /// [`Neighbour::service`](crate::Neighbour::service). `None`: it has none, or speaks no frames.
    pub fn peer_service(&self) -> Option<&str> {
        self.link().who.as_deref().and_then(Card::service)
    }

    /// The public key that the other side has proved to own. It tells one peer from another among those who
    /// have the secret, and stays the same as long as the other side keeps its identity, whatever its name,
    /// address and id. `None`: it shows no key, since it has no [identity](crate::PublicKey) or does not
    /// know of identities; or the connection is not encrypted.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # #[cfg(feature = "secure")] {
    /// let identity = Identity::generate()?;
    /// let key = identity.public_key();
    /// let builder = Peer::builder().secret(Secret::random()?);
    /// let bob = builder.clone().identity(identity).bind("127.0.0.1:0")?;
    /// # let alice = builder.bind("127.0.0.1:0")?;
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let to_bob = alice.connect::<Bytes>(bob.local_addr())?;
    /// assert_eq!(to_bob.peer_key(), Some(key));
    /// # taking.join().unwrap()?;
    /// # }
    /// # Ok(()) }
    /// ```
    pub fn peer_key(&self) -> Option<PublicKey> {
        self.link().proof.as_ref().and_then(|proof| proof.key)
    }

    /// The data type that the handshake agreed on.
    pub fn data_type(&self) -> DataType {
        self.link().data_type
    }

    /// Does a message of another data type end the connection?
    pub fn is_strict(&self) -> bool {
        self.link().strict
    }

    /// Is the connection encrypted, between two peers that have the same secret? Needs the feature `secure`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = Peer::builder().secret(Secret::random()?);
    /// let (bob, alice) = (builder.clone().bind("127.0.0.1:0")?, builder.bind("127.0.0.1:0")?);
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let to_bob = alice.connect::<Bytes>(bob.local_addr())?;
    /// # taking.join().unwrap()?;
    /// assert!(to_bob.is_secure());
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    pub fn is_secure(&self) -> bool {
        self.link().secure
    }

    /// The label of the secret that both sides have, as this side has set it with
    /// [`Secret::with_label`](crate::Secret::with_label). While a secret is being changed, it tells who still
    /// has the old one. `None`: the secret has no label, or the connection is not encrypted. Needs the
    /// feature `secure`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = Peer::builder().secret(Secret::random()?.with_label("lab"));
    /// let (bob, alice) = (builder.clone().bind("127.0.0.1:0")?, builder.bind("127.0.0.1:0")?);
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let to_bob = alice.connect::<Bytes>(bob.local_addr())?;
    /// # taking.join().unwrap()?;
    /// assert_eq!(to_bob.secret_label(), Some("lab"));
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    pub fn secret_label(&self) -> Option<&str> {
        self.link().proof.as_ref()?.label.as_deref()
    }

    /// 32 bytes that both sides of this connection have and no other connection has: the hash of its
    /// handshake. Sign them, or compare them on both sides, to know that nobody stands between. They are no
    /// secret. `None`: the connection is not encrypted. Needs the feature `secure`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let builder = Peer::builder().secret(Secret::random()?);
    /// # let (bob, alice) = (builder.clone().bind("127.0.0.1:0")?, builder.bind("127.0.0.1:0")?);
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let to_bob = alice.connect::<Bytes>(bob.local_addr())?;
    /// # let from_alice = taking.join().unwrap()?;
    /// assert!(to_bob.channel_binding().is_some());
    /// assert_eq!(to_bob.channel_binding(), from_alice.channel_binding());
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    pub fn channel_binding(&self) -> Option<[u8; 32]> {
        self.link().proof.as_ref().map(|proof| proof.binding)
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
    /// Sends what is queued, then a goodbye (FIN to a peer without frames), and waits for the other side's.
    /// That comes when the library there has read everything into its queue. So a program there that does
    /// not receive can make this time out. Waits at most
    /// [`close_timeout`](crate::PeerBuilder::close_timeout), 5 seconds by default. Messages that the other
    /// side sent before it learnt of the close can still be received. Calling it again, or after the other
    /// side has closed, is fine.
    ///
    /// A peerpy does not notice that a connection is closed, only that it is reset. There `Ok` means that its
    /// system has acknowledged everything; then the connection is reset.
    ///
    /// Inside the connection's own handler, `close` reads on until the other side's end, and keeps what comes
    /// before it for the handler: up to [`receive_queue_bytes`](crate::PeerBuilder::receive_queue_bytes),
    /// and at least 1 MiB. If more comes, it times out.
    ///
    /// In the text protocol, if both sides close at the same moment, `Ok` means that the other side's system
    /// has everything and its library is reading it.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<String>>(to));
    /// # let from_alice = bob.accept::<Json<String>>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// to_bob.send("last")?;
    /// assert_eq!(to_bob.close(), Ok(())); // Bob's queue has it
    /// assert_eq!(to_bob.close_reason(), Some(CloseReason::ClosedHere));
    /// assert_eq!(from_alice.recv()?, "last");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`CloseError::Timeout`]: the other side's program did not receive, or this side's receive queue is
    /// full and nobody takes what waits there. The connection goes on closing for another `close_timeout`,
    /// at least a second; with a handler it has ended. [`CloseError::Incomplete`]: the connection ended in
    /// another way.
    pub fn close(&self) -> Result<(), CloseError> {
        self.link().close()
    }

    /// Ends the connection at once: what is queued is dropped, the other side sees a reset.
    /// Messages that have arrived can still be received.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<String>>(to));
    /// # let from_alice = bob.accept::<Json<String>>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// to_bob.abort();
    /// assert_eq!(to_bob.close_reason(), Some(CloseReason::Aborted));
    /// assert!(from_alice.recv().is_err());
    /// assert_eq!(from_alice.close_reason(), Some(CloseReason::Reset));
    /// # Ok(()) }
    /// ```
    pub fn abort(&self) {
        self.link().kill(CloseReason::Aborted);
    }

    /// Why the connection ended; `None` while it has not. The reason is there before `recv` reports the
    /// end, and perhaps while messages still wait to be received.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<String>>(to));
    /// # let from_alice = bob.accept::<Json<String>>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// assert_eq!(to_bob.close_reason(), None);
    /// from_alice.close()?;
    /// assert!(to_bob.recv().is_err());
    /// let reason = to_bob.close_reason().unwrap();
    /// assert_eq!(reason.to_string(), "closed by the other side");
    /// assert!(reason.is_normal());
    /// # Ok(()) }
    /// ```
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.link().close_reason()
    }

    /// Calls `f` once with the reason, when the connection has ended; also if it has ended already.
    ///
    /// `f` runs on a thread of the library, without a lock: it may use this connection and its peer. It is
    /// the last thing that the connection's reader thread does, after the last call of a handler. So a
    /// handler that does not return puts it off, and `f` puts off [`stop`](crate::Peer::stop), within the
    /// time that `stop` takes at most. If the connection has ended already, `f` runs on a thread of its own,
    /// or on the calling thread if the system has no thread left. Several are called in the order in which
    /// they were given. A panic in one ends nothing.
    ///
    /// A handle of this connection that `f` owns keeps the connection open, as any handle does.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// let (ended, all_ended) = crossbeam_channel::unbounded();
    /// from_alice.on_end(move |reason| ended.send(reason).unwrap());
    /// to_bob.close()?;
    /// assert_eq!(all_ended.recv()?, CloseReason::ClosedThere);
    /// assert!(all_ended.recv().is_err()); // it was called once, and dropped
    /// # Ok(()) }
    /// ```
    pub fn on_end(&self, f: impl FnOnce(CloseReason) + Send + 'static) {
        self.link().on_end(f);
    }
}

/// The time at which a timeout ends. `None`: it is so far away that it never does.
fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// Iterates over messages until the connection ends; see [`Connection::iter`].
///
/// ```
/// # use lanpeer::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// # let (to, asker) = (bob.local_addr(), alice.clone());
/// # let asking = std::thread::spawn(move || asker.connect::<Json<u32>>(to));
/// # let from_alice = bob.accept::<Json<u32>>()?;
/// # let to_bob = asking.join().unwrap()?;
/// for n in 0..3 { to_bob.send(&n)?; }
/// assert_eq!(from_alice.iter().take(2).collect::<Vec<_>>(), [0, 1]);
/// assert_eq!(from_alice.recv()?, 2); // what an iterator did not take is still there
/// # Ok(()) }
/// ```
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
///
/// ```
/// # use lanpeer::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// # let (to, asker) = (bob.local_addr(), alice.clone());
/// # let asking = std::thread::spawn(move || asker.connect::<Json<u32>>(to));
/// # let from_alice = bob.accept::<Json<u32>>()?;
/// # let to_bob = asking.join().unwrap()?;
/// let mut there = from_alice.try_iter();
/// assert_eq!(there.next(), None);
/// to_bob.send(&1)?;
/// to_bob.close()?;
/// assert_eq!(there.next(), Some(1)); // it has come meanwhile
/// # Ok(()) }
/// ```
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
