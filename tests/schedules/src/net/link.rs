//! A connection as far as its queues and its threads know it. Its end is that of `src/net`, without
//! the reader.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::OnceLock;

use super::cipher::Sealing;
use super::hub::Hub;
use super::inbox::Wake;
use super::lock;
use super::outbox::Outbox;
use super::socket::{TcpStream, reset, without_waiting};
use super::sync::{AtomicBool, AtomicUsize, Mutex, Ordering};
use crate::error::CloseReason;
use crate::format::{DataType, Dialect};
use crate::options::StreamSize;

pub(super) const HERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);

pub(super) struct Link {
    pub id: u64,
    pub peer_addr: SocketAddr,
    pub ends: (SocketAddrV4, SocketAddrV4),
    pub data_type: DataType,
    pub strict: bool,
    pub stream: Option<StreamSize>,
    pub stream_size: AtomicUsize,
    pub headerless: AtomicBool,
    pub hub: Arc<Hub>,
    pub outbox: Outbox,
    pub waker: OnceLock<Arc<dyn Wake>>,
    reason: Mutex<Option<CloseReason>>,
    dead: AtomicBool,
}

impl Link {
    pub fn new(hub: &Arc<Hub>, socket: TcpStream, sealing: Option<Sealing>) -> Arc<Link> {
        let link = Arc::new(Link {
            id: 1,
            peer_addr: HERE.into(),
            ends: (HERE, HERE),
            data_type: DataType::Bytes,
            strict: true,
            stream: None,
            stream_size: AtomicUsize::new(0),
            headerless: AtomicBool::new(false),
            hub: Arc::clone(hub),
            outbox: Outbox::new(Arc::new(socket), sealing),
            waker: OnceLock::new(),
            reason: Mutex::default(),
            dead: AtomicBool::new(false),
        });
        hub.enter(&link);
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
        self.outbox.desert();
        self.outbox.finish(reason, Dialect::Lanpeer);
        without_waiting(|| self.hurry());
    }

    /// Returns when all is written.
    pub fn close(self: &Arc<Link>) {
        self.outbox
            .finish(CloseReason::ClosedHere, Dialect::Lanpeer);
        if !self.hurry() {
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
