//! One connection, whatever the type of its messages: what its threads and its handles share, and
//! how it ends.
//!
//! A connection ends in one of two ways. *Gracefully*: this side sends what is queued, then FIN,
//! and goes on reading until the other side's FIN, which comes when that side has taken in
//! everything. Or by [`kill`](Link::kill): the socket is reset, and everyone who is blocked on it
//! let go.

mod end;
mod look;
pub(crate) mod pump;

use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::ThreadId;

use crate::error::CloseReason;
use crate::format::{DataType, Dialect};
use crate::net::endpoint::{Endpoint, Slot, next_id};
use crate::net::os::lock;
use crate::net::os::socket::reset_if_it_dies;
use crate::net::recv::consumer::Wake;
use crate::net::recv::producer::Producer;
use crate::net::send::queue::Outbox;
use crate::net::wire::reader::ReadAhead;
use crate::net::wire::record::{RecordReader, split};
use crate::options::StreamSize;
use crate::proto::frame::Rules;
use crate::secure::Session;

/// What a handshake agreed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreement {
    /// Where the other peer listens.
    pub peer_addr: SocketAddrV4,
    pub data_type: DataType,
    pub strict: bool,
    pub stream: Option<StreamSize>,
    pub dialect: Dialect,
    /// Is it encrypted?
    pub secure: bool,
}

pub(crate) struct Link {
    pub id: u64,
    pub peer_addr: SocketAddr,
    pub data_type: DataType,
    pub strict: bool,
    pub stream: Option<StreamSize>,
    pub dialect: Dialect,
    /// Is it encrypted?
    #[cfg_attr(not(feature = "secure"), allow(dead_code))]
    pub secure: bool,
    pub endpoint: Arc<Endpoint>,
    /// This end of the TCP connection and the other.
    pub(crate) ends: (SocketAddrV4, SocketAddrV4),

    /// The error that a look at the socket met.
    met: Mutex<Option<CloseReason>>,
    /// For the reader, which holds it only while it reads; taken away by `kill`, so that a handler
    /// that does not return keeps no aborted connection open.
    reading: Mutex<Option<Arc<TcpStream>>>,
    /// The way out: the queue, and who may write to the socket.
    pub(crate) outbox: Outbox,
    /// The way in of an encrypted connection, for the reader's thread.
    pub(crate) opening: Option<Mutex<RecordReader>>,
    /// The size of a stream's messages; 0 until the first message in either direction says it.
    pub(crate) stream_size: AtomicUsize,
    /// A peerpy whose own message was the stream's first goes on waiting for a header until its
    /// timeout, and then for none: it tells by its keepalive. Set by the reader for `send`.
    pub(crate) headerless: AtomicBool,

    /// How far the end has come.
    life: Mutex<Life>,
    /// Signalled when the reader has ended.
    ended: Condvar,
    /// Set by `kill`: threads and blocked calls let go of the socket.
    dead: AtomicBool,
    /// Wakes a reader that waits until the program has taken messages.
    waker: OnceLock<Arc<dyn Wake>>,

    /// Which thread reads, so that a handler's own `close` can be told from others.
    pub(crate) reader: OnceLock<ThreadId>,
    /// What a `close` inside a handler has read ahead, for the reader to go on with.
    pub(crate) read_ahead: ReadAhead,

    pub(crate) received: Received,
    queue_len: OnceLock<QueueLen>,
    /// The connection has a handler: no handle's drop will end it.
    handled: AtomicBool,
    /// Given back at the end, however long the program keeps its handles.
    slot: Mutex<Option<Slot>>,
}

impl Received {
    /// Before the message is passed on, so that whoever has it finds it counted.
    #[inline]
    pub fn count(&self, size: usize) {
        let messages = self.messages.load(Ordering::Relaxed) + 1;
        self.messages.store(messages, Ordering::Relaxed);
        let bytes = self.bytes.load(Ordering::Relaxed) + size as u64;
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}

type QueueLen = Box<dyn Fn() -> usize + Send + Sync>;

/// Written by the reader only.
#[derive(Default)]
pub(crate) struct Received {
    pub messages: AtomicU64,
    pub bytes: AtomicU64,
}

#[derive(Default)]
struct Life {
    /// This side has begun a close, for this reason.
    closing: Option<CloseReason>,
    /// The first cause of the end.
    reason: Option<CloseReason>,
    /// Both sides have sent FIN, and the other side's system has acknowledged all of ours.
    clean: bool,
    /// The reader has ended.
    ended: bool,
}

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
    /// Messages accepted by `send` and its siblings.
    pub messages_sent: u64,
    /// Their payloads, in bytes.
    pub bytes_sent: u64,
    /// Messages read, whether or not the program has taken them yet.
    pub messages_received: u64,
    /// Their payloads, in bytes.
    pub bytes_received: u64,
    /// Bytes, headers included, that are accepted and not yet handed to the system.
    pub send_queue_bytes: usize,
    /// Messages that are decoded and not yet taken by the program; 0 with a handler.
    pub receive_queue_messages: usize,
}

impl Link {
    pub fn new(
        endpoint: &Arc<Endpoint>,
        socket: &Arc<TcpStream>,
        ends: (SocketAddrV4, SocketAddrV4),
        agreed: Agreement,
        slot: Slot,
        session: Option<Session>,
    ) -> Arc<Link> {
        if agreed.dialect == Dialect::Peerpy {
            reset_if_it_dies(socket);
        }
        let (sealing, opening) = split(session);
        let stream_size = match agreed.stream {
            Some(StreamSize::Of(size)) => size,
            _ => 0,
        };
        Arc::new(Link {
            id: next_id(),
            peer_addr: agreed.peer_addr.into(),
            data_type: agreed.data_type,
            strict: agreed.strict,
            stream: agreed.stream,
            dialect: agreed.dialect,
            secure: agreed.secure,
            endpoint: Arc::clone(endpoint),
            ends,
            met: Mutex::default(),
            reading: Mutex::new(Some(Arc::clone(socket))),
            outbox: Outbox::new(Arc::clone(socket), sealing),
            opening: opening.map(Mutex::new),
            stream_size: AtomicUsize::new(stream_size),
            headerless: AtomicBool::new(false),
            life: Mutex::default(),
            ended: Condvar::new(),
            dead: AtomicBool::new(false),
            waker: OnceLock::new(),
            reader: OnceLock::new(),
            read_ahead: ReadAhead::default(),
            received: Received::default(),
            queue_len: OnceLock::new(),
            handled: AtomicBool::new(false),
            slot: Mutex::new(Some(slot)),
        })
    }

    /// The socket, for one read; `Err`: the connection was ended.
    pub(crate) fn reading(&self) -> Result<Arc<TcpStream>, CloseReason> {
        let socket = lock(&self.reading).clone();
        socket.ok_or_else(|| self.why_dead())
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules {
            data_type: self.data_type,
            strict: self.strict,
            streaming: self.stream.is_some(),
            lanpeer: self.dialect == Dialect::Lanpeer,
            max_size: self.endpoint.settings.max_message_size,
        }
    }

    #[inline]
    pub(crate) fn known_stream_size(&self) -> Option<usize> {
        match self.stream_size.load(Ordering::SeqCst) {
            0 => None,
            size => Some(size),
        }
    }

    pub fn on_reader_thread(&self) -> bool {
        self.reader.get() == Some(&std::thread::current().id())
    }

    pub(crate) fn is_handled(&self) -> bool {
        self.handled.load(Ordering::SeqCst)
    }

    pub fn set_handled(&self) {
        self.handled.store(true, Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Is it dead, or has a close begun?
    pub(crate) fn is_ending(&self) -> bool {
        self.is_dead() || self.outbox.closing.load(Ordering::SeqCst)
    }

    pub fn close_reason(&self) -> Option<CloseReason> {
        lock(&self.life).reason.clone()
    }

    /// The reason of a dead connection.
    pub(crate) fn why_dead(&self) -> CloseReason {
        self.close_reason().unwrap_or(CloseReason::Aborted)
    }

    /// Whom to wake at the end.
    pub fn set_producer<T: Send + 'static>(&self, producer: &Producer<T>) {
        let _ = self.waker.set(producer.waker());
    }

    /// See [`Wake::tick`].
    pub(crate) fn tick(&self) -> bool {
        self.waker.get().is_some_and(|waker| waker.tick())
    }

    /// How to ask for the length of the receive queue, which only the typed handle knows.
    pub fn set_queue_len(&self, len: impl Fn() -> usize + Send + Sync + 'static) {
        let _ = self.queue_len.set(Box::new(len));
    }

    pub fn stats(&self) -> Stats {
        let (messages_sent, bytes_sent, send_queue_bytes) = self.outbox.numbers();
        Stats {
            messages_sent,
            bytes_sent,
            messages_received: self.received.messages.load(Ordering::Relaxed),
            bytes_received: self.received.bytes.load(Ordering::Relaxed),
            send_queue_bytes,
            receive_queue_messages: self.queue_len.get().map_or(0, |len| len()),
        }
    }

    /// Of two lanpeers, before anything was sent.
    #[cfg(test)]
    pub(crate) fn without_threads(socket: TcpStream) -> Arc<Link> {
        let socket = Arc::new(socket);
        let ends = crate::net::os::socket::ends(&socket).unwrap();
        let endpoint = Endpoint::new(Default::default(), ends.0, Box::new(Err));
        let agreed = Agreement {
            peer_addr: ends.1,
            data_type: DataType::Bytes,
            strict: true,
            stream: None,
            dialect: Dialect::Lanpeer,
            secure: false,
        };
        Link::new(
            &endpoint,
            &socket,
            ends,
            agreed,
            endpoint.slot().unwrap(),
            None,
        )
    }
}
