//! One connection, whatever the type of its messages: what its threads and its handles share.
//!
//! | file | |
//! | --- | --- |
//! | `callbacks` | what the program wants to be called at the end |
//! | `calls` | requests either way, whatever their type: which wait, how many may |
//! | `dispatch` | what was read and is no message, to those who wait for it |
//! | `serving` | requests of the other side, on their way to the program |
//! | `heartbeat` | signs of life, where the other side's system needs them |
//! | `end` | how it ends, gracefully or at once |
//! | `overdue` | what follows an end that has begun: the watchdog's task |
//! | `pump` | from its socket to its program: the reader thread |
//!
//! A long file, since it has what all of these share: the type, and how it begins.

mod callbacks;
mod calls;
mod dispatch;
mod end;
mod heartbeat;
mod overdue;
pub(crate) mod pump;
pub(crate) mod serving;

use std::cell::Cell;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::callbacks::Callbacks;
use self::calls::Calls;
use super::context::{Context, Numbers};
use super::life::Life;
use super::os::lock;
use super::os::socket::reset_if_it_dies;
use super::os::table::Ends;
use super::recv::Wake;
use super::recv::producer::Producer;
use super::send::{Sender, Terms, Wait};
use super::wire::frames::Received;
use super::wire::half::ReadHalf;
use super::wire::record::split;
use super::wire::stream::Stream;
use super::wire::write_half::WriteHalf;
use crate::error::{CloseReason, SendError};
use crate::format::{DataType, Dialect, Encoded, Reading};
use crate::net::os::sync::{Mutex, OnceLock, TcpStream, thread_local};
use crate::options::StreamSize;
use crate::proto::beacon::Card;
use crate::proto::frame::Rules;
use crate::proto::who::Attempt;
use crate::secure::{Proof, Session};

thread_local! {
    /// The connection that the current thread reads, so that a `close` inside its handler can be told from
    /// others: it must not wait for this thread. 0: none.
    static READS: Cell<u64> = const { Cell::new(0) };
}

/// What a handshake agreed on.
#[derive(Clone, Debug)]
pub(crate) struct Agreement {
    /// Where the other peer listens.
    pub peer_addr: SocketAddrV4,
    pub data_type: DataType,
    pub strict: bool,
    pub stream: Option<StreamSize>,
    pub dialect: Dialect,
    /// Who the other side is, where it has said so.
    pub who: Option<Arc<Card>>,
    /// Is it encrypted?
    pub secure: bool,
    /// What makes it so.
    pub proof: Option<Arc<Proof>>,
    /// Which of this side's attempts it was, where this side has asked for it and said so.
    pub ours: Option<Attempt>,
    /// Which of the other side's.
    pub theirs: Option<Attempt>,
}

/// What a connection holds of its peer until it ends. Closures and boxes, so that this room need not
/// know of `endpoint`.
pub(crate) struct OnEnd {
    /// Its place among the connections, which is free before anyone can learn of the end.
    pub slot: Box<dyn Send>,
    /// Tells the peer.
    pub tell: Tell,
}

/// Tells a peer that this connection has ended, and why.
pub(crate) type Tell = Box<dyn FnOnce(&Link, CloseReason) + Send>;

/// One connection. Its threads, its handles and its peer share it; what changes in it has a lock of its
/// own, inside the type of each field.
pub(crate) struct Link {
    /// Unique in the process.
    pub id: u64,
    /// Where the other peer listens; the socket's own remote address is in `ends`.
    pub peer_addr: SocketAddr,
    pub data_type: DataType,
    pub strict: bool,
    pub stream: Option<StreamSize>,
    pub dialect: Dialect,
    pub who: Option<Arc<Card>>,
    /// Is it encrypted?
    pub secure: bool,
    /// What makes it so.
    #[cfg_attr(not(feature = "secure"), allow(dead_code))]
    pub proof: Option<Arc<Proof>>,
    /// Which of this side's attempts it was, where this side has asked for it and said so.
    pub ours: Option<Attempt>,
    /// Which of the other side's.
    pub theirs: Option<Attempt>,
    pub context: Arc<Context>,
    /// This end of the TCP connection and the other.
    pub ends: Ends,

    /// Whether, how far and why it has ended. All others ask it.
    pub life: Arc<Life>,
    /// What the socket is read through: by the reader thread, or by the program with the lease.
    reading: Arc<ReadHalf>,
    /// The send queue, and whoever writes.
    sender: Arc<Sender>,
    /// The size of all messages of a stream, which the first in either direction may decide.
    stream_terms: Arc<Stream>,
    /// Counts what was read.
    received: Arc<Received>,

    // What follows is set later, once, by whoever makes the typed handle or the reader: this type knows no
    // type of messages.
    /// The receive queue, to be woken by the end.
    queue: OnceLock<Arc<dyn Wake>>,
    /// Asks the receive queue for its length.
    queue_len: OnceLock<QueueLen>,
    /// The connection has a handler: no handle's drop will end it. Set before its reader starts.
    handled: AtomicBool,
    /// Everything sent was acknowledged, and the reader is to close the socket as a whole; see
    /// [`Manner::Leave`](super::life::Manner::Leave). Set by the watchdog, before it wakes the reader.
    released: AtomicBool,
    /// A panic of the program's code dropped it: the other side is to see a crash and no goodbye. Set before
    /// that end begins, so the reader finds it.
    crashed: AtomicBool,
    /// Taken by whoever ends the connection, so that its peer is told once. The send queue's lock and the
    /// life's are taken under this one.
    on_end: Mutex<Option<OnEnd>>,
    /// What the program wants to be called at the end.
    callbacks: Callbacks,
    /// Requests that wait for an answer, both ways.
    calls: Calls,
    /// Ends the wait for requests.
    end_of_requests: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// What the peer's totals have of this connection. Held over the whole addition, so that nothing is
    /// added twice; the send queue's lock is taken under it.
    told: Mutex<Numbers>,
}

/// What came after the end was told is still counted.
impl Drop for Link {
    fn drop(&mut self) {
        self.tell_totals();
    }
}

type QueueLen = Box<dyn Fn() -> usize + Send + Sync>;

/// Numbers of one connection; see [`Connection::stats`](crate::Connection::stats).
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
/// let sent = to_bob.stats();
/// assert_eq!((sent.messages_sent, sent.bytes_sent, sent.send_queue_bytes), (1, 5, 0));
/// assert_eq!(from_alice.stats().receive_queue_messages, 1);
/// assert_eq!(from_alice.iter().count(), 1);
/// let received = from_alice.stats();
/// assert_eq!((received.messages_received, received.bytes_received), (1, 5));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages accepted by `send` and its siblings, except those that a newer one has replaced.
    pub messages_sent: u64,
    /// Their payloads, in bytes.
    pub bytes_sent: u64,
    /// Messages read, whether or not the program has taken them yet.
    pub messages_received: u64,
    /// Their payloads, in bytes.
    pub bytes_received: u64,
    /// Bytes, including headers, that are accepted and not yet handed to the system.
    pub send_queue_bytes: usize,
    /// Messages that are decoded and not yet taken by the program; 0 with a handler.
    pub receive_queue_messages: usize,
    /// Replies that came after the request had timed out, and were dropped.
    pub late_replies: u64,
    /// Messages of [`send_latest`](crate::Connection::send_latest) that a newer one has replaced before
    /// any part of them left.
    pub send_replaced: u64,
    /// Messages that a newer one has replaced before the program took them, on connections of
    /// [`accept_latest`](crate::Offer::accept_latest) and
    /// [`ConnectOptions::latest`](crate::ConnectOptions::latest). They count as received.
    pub receive_replaced: u64,
}

impl Link {
    pub fn new(
        id: u64,
        context: &Arc<Context>,
        socket: &Arc<TcpStream>,
        ends: Ends,
        agreed: Agreement,
        session: Option<Session>,
        on_end: OnEnd,
    ) -> Arc<Link> {
        if agreed.dialect == Dialect::Peerpy {
            reset_if_it_dies(socket);
        }
        let (record_writer, record_reader) = split(session);
        let life = Arc::new(Life::default());
        let stream_terms = Arc::new(Stream::new(agreed.stream));
        let peer_addr = agreed.peer_addr.into();
        let terms = Terms {
            id,
            peer_addr,
            data_type: agreed.data_type,
            strict: agreed.strict,
            dialect: agreed.dialect,
        };
        let half = WriteHalf::new(Arc::clone(socket), record_writer);
        let sender = Sender::new(terms, half, context, &life, &stream_terms);
        let reading = ReadHalf::new(Arc::clone(socket), record_reader, Arc::clone(&life));
        Arc::new(Link {
            id,
            peer_addr,
            data_type: agreed.data_type,
            strict: agreed.strict,
            stream: agreed.stream,
            dialect: agreed.dialect,
            who: agreed.who,
            secure: agreed.secure,
            proof: agreed.proof,
            ours: agreed.ours,
            theirs: agreed.theirs,
            context: Arc::clone(context),
            ends,
            life,
            reading,
            sender,
            stream_terms,
            received: Arc::default(),
            queue: OnceLock::new(),
            queue_len: OnceLock::new(),
            handled: AtomicBool::new(false),
            released: AtomicBool::new(false),
            crashed: AtomicBool::new(false),
            on_end: Mutex::new(Some(on_end)),
            callbacks: Callbacks::default(),
            calls: Calls::default(),
            end_of_requests: OnceLock::new(),
            told: Mutex::default(),
        })
    }

    fn rules(&self) -> Rules {
        Rules {
            data_type: self.data_type,
            strict: self.strict,
            streaming: self.stream.is_some(),
            lanpeer: self.dialect.is_lanpeer(),
            max_size: self.context.settings.max_message_size,
        }
    }

    // Sending

    /// Sends a message, or says why not. `burst`: whether it is part of one, where the caller knows.
    #[inline]
    pub fn send(
        &self,
        message: Encoded<'_>,
        wait: Wait,
        burst: Option<bool>,
    ) -> Result<(), SendError> {
        self.sender.send(message, wait, burst)
    }

    pub fn sender(&self) -> &Arc<Sender> {
        &self.sender
    }

    /// Waits until everything accepted so far is handed to the system.
    pub fn flush(&self) -> Result<(), SendError> {
        self.sender.drain(None)
    }

    // Receiving

    /// Has something come that nobody has read?
    pub fn has_unread(&self) -> bool {
        self.reading.has_unread()
    }

    pub fn set_handled(&self) {
        self.handled.store(true, Ordering::SeqCst);
    }

    fn is_handled(&self) -> bool {
        self.handled.load(Ordering::SeqCst)
    }

    /// Does the current thread read this connection, and so run its handler?
    pub fn on_reader_thread(&self) -> bool {
        READS.get() == self.id
    }

    /// The current thread reads this connection from now on, until it has called back.
    fn note_reader_thread(&self) {
        READS.set(self.id);
    }

    /// Whom to wake at the end.
    pub fn set_producer<T: Send + 'static>(&self, producer: &Producer<T>) {
        let _ = self.queue.set(producer.waker());
    }

    /// How to ask for the length of the receive queue, which only the typed handle knows.
    pub fn set_queue_len(&self, len: impl Fn() -> usize + Send + Sync + 'static) {
        let _ = self.queue_len.set(Box::new(len));
    }

    /// What is to be called when no requests can come any more.
    pub fn set_end_of_requests(&self, end: impl Fn() + Send + Sync + 'static) {
        let _ = self.end_of_requests.set(Box::new(end));
    }

    /// How payloads are read.
    pub fn reading(&self) -> Reading {
        Reading {
            dialect: self.dialect,
            limits: self.context.settings.pickle,
        }
    }

    // Facts

    pub fn close_reason(&self) -> Option<CloseReason> {
        self.life.reason()
    }

    /// What the peer's totals do not have yet.
    pub fn untold(&self) -> Numbers {
        self.numbers() - *lock(&self.told)
    }

    /// Adds it to them.
    pub fn tell_totals(&self) {
        let mut told = lock(&self.told);
        let numbers = self.numbers();
        self.context.totals.add(numbers - *told);
        *told = numbers;
    }

    fn numbers(&self) -> Numbers {
        let (messages_sent, bytes_sent, _) = self.sender.numbers();
        let (messages_received, bytes_received) = self.received.numbers();
        Numbers {
            messages_sent,
            bytes_sent,
            messages_received,
            bytes_received,
            replaced: self.sender.replaced() + self.receive_replaced(),
        }
    }

    fn receive_replaced(&self) -> u64 {
        self.queue.get().map_or(0, |queue| queue.replaced())
    }

    pub fn stats(&self) -> Stats {
        let (messages_sent, bytes_sent, send_queue_bytes) = self.sender.numbers();
        let (messages_received, bytes_received) = self.received.numbers();
        Stats {
            messages_sent,
            bytes_sent,
            messages_received,
            bytes_received,
            send_queue_bytes,
            receive_queue_messages: self.queue_len.get().map_or(0, |len| len()),
            late_replies: self.calls.late(),
            send_replaced: self.sender.replaced(),
            receive_replaced: self.receive_replaced(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{Bytes, Connection, Peer};

    /// Whatever a connection has left to timers and threads, nothing keeps it when its peer is gone.
    #[test]
    fn a_stopped_peer_keeps_nothing_of_its_connections() {
        let (alice, bob) = (
            Peer::bind("127.0.0.1:0").unwrap(),
            Peer::bind("127.0.0.1:0").unwrap(),
        );
        let addr = bob.local_addr();
        let accepting = std::thread::spawn(move || (bob.accept::<Bytes>().unwrap(), bob));
        let to_bob = alice.connect::<Bytes>(addr).unwrap();
        let (to_alice, bob) = accepting.join().unwrap();
        // A burst for the flusher, and a full socket for the writer.
        for _ in 0..100 {
            to_bob.send(&[7; 100]).unwrap();
        }
        while to_alice.try_send(&[7; 100_000]).is_ok() {}
        let kept: Vec<Weak<Link>> = [&alice, &bob]
            .iter()
            .flat_map(|peer| {
                peer.endpoint()
                    .links()
                    .iter()
                    .map(Arc::downgrade)
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(kept.len(), 2);
        let _: (Connection<Bytes>, Connection<Bytes>) = (to_bob.clone(), to_alice.clone());
        drop((to_bob, to_alice));
        drop((alice, bob));
        let deadline = Instant::now() + Duration::from_secs(20);
        while kept.iter().any(|link| link.strong_count() > 0) {
            assert!(Instant::now() < deadline, "something keeps a connection");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
