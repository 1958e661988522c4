//! A connection as far as its queues and its threads know it. Its end is that of `src/net`, without
//! the reader.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::OnceLock;

use crate::error::CloseReason;
use crate::format::{DataType, Dialect};
use crate::net::endpoint::Endpoint;
use crate::net::os::lock;
use crate::net::os::socket::{TcpStream, reset, without_waiting};
use crate::net::os::sync::{AtomicBool, AtomicUsize, Mutex, Ordering};
use crate::net::recv::consumer::Wake;
use crate::net::send::queue::Outbox;
use crate::net::wire::record::RecordWriter;
use crate::options::StreamSize;

pub(crate) const HERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);

pub(crate) struct Link {
    pub id: u64,
    pub peer_addr: SocketAddr,
    pub ends: (SocketAddrV4, SocketAddrV4),
    pub data_type: DataType,
    pub strict: bool,
    pub stream: Option<StreamSize>,
    pub stream_size: AtomicUsize,
    pub headerless: AtomicBool,
    pub endpoint: Arc<Endpoint>,
    pub outbox: Outbox,
    pub waker: OnceLock<Arc<dyn Wake>>,
    reason: Mutex<Option<CloseReason>>,
    dead: AtomicBool,
}

impl Link {
    pub fn new(
        endpoint: &Arc<Endpoint>,
        socket: TcpStream,
        sealing: Option<RecordWriter>,
    ) -> Arc<Link> {
        let link = Arc::new(Link {
            id: 1,
            peer_addr: HERE.into(),
            ends: (HERE, HERE),
            data_type: DataType::Bytes,
            strict: true,
            stream: None,
            stream_size: AtomicUsize::new(0),
            headerless: AtomicBool::new(false),
            endpoint: Arc::clone(endpoint),
            outbox: Outbox::new(Arc::new(socket), sealing),
            waker: OnceLock::new(),
            reason: Mutex::default(),
            dead: AtomicBool::new(false),
        });
        endpoint.enter(&link);
        link
    }

    pub fn known_stream_size(&self) -> Option<usize> {
        None
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    pub fn close_reason(&self) -> Option<CloseReason> {
        lock(&self.reason).clone()
    }

    pub fn is_ending(&self) -> bool {
        self.is_dead() || self.outbox.closing.load(Ordering::SeqCst)
    }

    pub fn why_dead(&self) -> CloseReason {
        self.close_reason().unwrap_or(CloseReason::Aborted)
    }

    /// Returns at once.
    pub fn close_in_background(self: &Arc<Link>, reason: CloseReason) {
        self.outbox.abandon_close();
        self.outbox.finish(reason, Dialect::Lanpeer);
        without_waiting(|| self.flush_now());
    }

    /// Returns when all is written.
    pub fn close(self: &Arc<Link>) {
        self.outbox
            .finish(CloseReason::ClosedHere, Dialect::Lanpeer);
        if !self.flush_now() {
            let _ = self.drain(None);
        }
    }

    pub fn kill(&self, reason: CloseReason) {
        let reason = lock(&self.reason).get_or_insert(reason).clone();
        let socket = self.outbox.give_up(reason);
        self.dead.store(true, Ordering::SeqCst);
        if let Some(socket) = socket {
            reset(&socket);
        }
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }

    pub fn tick(&self) -> bool {
        self.waker.get().is_some_and(|waker| waker.tick())
    }

    /// After both FINs.
    pub fn end(&self) {
        let reason = lock(&self.reason)
            .get_or_insert(CloseReason::ClosedHere)
            .clone();
        self.dead.store(true, Ordering::SeqCst);
        drop(self.outbox.give_up(reason));
    }
}
