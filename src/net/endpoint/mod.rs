//! What all threads of a peer share.

pub(crate) mod connect;
pub(crate) mod listener;
pub(crate) mod offers;
pub(crate) mod watchdog;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use log::{debug, warn};

use crate::error::{CloseReason, Error, Result, without_quotes};
use crate::event::Event;
use crate::net::endpoint::offers::Pending;
use crate::net::endpoint::watchdog::Watchdog;
use crate::net::link::Link;
use crate::net::os::LOG;
use crate::net::os::lock;
use crate::net::os::threads::Threads;
use crate::net::send::flusher::Flusher;
use crate::options::Settings;

/// Events that wait for the program; the next ones are counted and dropped.
const EVENTS: usize = 256;

/// Connections whose handshake is under way at one time, or whose offer is undecided. Each costs a
/// thread.
pub(crate) const MAX_HANDSHAKES: usize = 1024;

/// Hands an offer to the program; gives it back where nobody can take it.
pub(crate) type Deliver = Box<dyn Fn(Pending) -> std::result::Result<(), Pending> + Send + Sync>;

pub(crate) struct Endpoint {
    pub settings: Settings,
    /// Where this peer listens; the IP is 0.0.0.0 if on every interface.
    pub local_addr: SocketAddrV4,
    pub(crate) watchdog: Watchdog,
    pub(crate) flusher: Flusher,

    /// Set once, by `stop`; everything that would begin looks at it first.
    stopped: AtomicBool,
    /// Dropped by `stop`, so that a thread can wait for that among other things.
    stop_signal: Mutex<Option<Sender<Infallible>>>,
    pub(crate) stopping: Receiver<Infallible>,
    /// How offers reach the program; taken by `stop`, which ends the channel behind it.
    deliver: Mutex<Option<Deliver>>,
    /// Open connections by number.
    links: Mutex<Links>,
    /// Open connections and pending offers, for `max_connections`.
    slots: AtomicUsize,
    /// Sockets whose handshake is under way or whose offer is undecided, so that `stop` can wake
    /// the threads that read them.
    sockets: Mutex<HashMap<u64, (Arc<TcpStream>, Side)>>,

    pub(crate) threads: Threads,

    events: Mutex<Option<Sender<Event>>>,
    event_receiver: Receiver<Event>,
    events_dropped: AtomicU64,
}

#[derive(Default)]
struct Links {
    open: HashMap<u64, Arc<Link>>,
    /// The same as a list, made when it is asked for and something changed.
    list: Option<Arc<[Arc<Link>]>>,
}

/// Numbers for connections and sockets, unique in the process.
pub(crate) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Endpoint {
    pub fn new(settings: Settings, local_addr: SocketAddrV4, deliver: Deliver) -> Arc<Endpoint> {
        let (events, event_receiver) = crossbeam_channel::bounded(EVENTS);
        let (stop_signal, stopping) = crossbeam_channel::bounded(0);
        Arc::new(Endpoint {
            watchdog: Watchdog::new(settings.keepalive),
            flusher: Flusher::default(),
            settings,
            local_addr,
            stopped: AtomicBool::new(false),
            stop_signal: Mutex::new(Some(stop_signal)),
            stopping,
            deliver: Mutex::new(Some(deliver)),
            links: Mutex::default(),
            slots: AtomicUsize::new(0),
            sockets: Mutex::default(),
            threads: Threads::default(),
            events: Mutex::new(Some(events)),
            event_receiver,
            events_dropped: AtomicU64::new(0),
        })
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub fn check_running(&self) -> Result<()> {
        if self.is_stopped() {
            return Err(Error::Stopped);
        }
        Ok(())
    }

    /// Waits, or until the peer is stopped.
    pub fn pause(&self, time: Duration) {
        let _ = self.stopping.recv_timeout(time);
    }

    // Events

    pub fn events(&self) -> Receiver<Event> {
        self.event_receiver.clone()
    }

    /// Tells the program, if it listens; never waits.
    pub fn emit(&self, event: Event) {
        let sender = lock(&self.events);
        let Some(sender) = sender.as_ref() else {
            return;
        };
        let dropped = self.events_dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 && sender.try_send(Event::Dropped { count: dropped }).is_err() {
            self.events_dropped.fetch_add(dropped, Ordering::Relaxed);
        }
        if let Err(TrySendError::Full(_)) = sender.try_send(event) {
            self.events_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells of a client that came to nothing.
    pub fn handshake_failed(&self, remote: SocketAddrV4, reason: String) {
        debug!(target: LOG, "handshake with {remote} failed: {}", without_quotes(&reason));
        let remote = remote.into();
        self.emit(Event::HandshakeFailed { remote, reason });
    }

    /// Tells of an offer that was denied, with this word.
    pub fn denied(&self, peer_addr: SocketAddrV4, word: &str) {
        debug!(target: LOG, "offer of {peer_addr} denied: {word}");
        let (peer_addr, reason) = (peer_addr.into(), word.to_owned());
        self.emit(Event::Denied { peer_addr, reason });
    }

    // Offers

    /// Hands an offer to the program; an offer that nobody can take comes back.
    pub fn deliver(&self, offer: Pending) -> std::result::Result<(), Pending> {
        match lock(&self.deliver).as_ref() {
            Some(deliver) => deliver(offer),
            None => Err(offer),
        }
    }

    // Connections

    /// A place for one more connection, given back when the slot is dropped.
    pub fn slot(self: &Arc<Endpoint>) -> Result<Slot> {
        let limit = self.settings.max_connections;
        let taken = self
            .slots
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| {
                (n < limit).then_some(n + 1)
            });
        match taken {
            Ok(_) => Ok(Slot(Arc::clone(self))),
            Err(_) => Err(Error::TooManyConnections { limit }),
        }
    }

    /// Enters a connection, unless the peer was stopped meanwhile.
    pub fn enter(&self, link: &Arc<Link>) -> Result<()> {
        {
            let mut links = lock(&self.links);
            // Under the lock: `stop` sets the flag first and then goes through the list.
            self.check_running()?;
            links.open.insert(link.id, Arc::clone(link));
            links.list = None;
        }
        debug!(
            target: LOG,
            "connection {} with {} opened: {}",
            link.id, link.peer_addr, link.data_type
        );
        self.emit(Event::Connected {
            id: link.id,
            peer_addr: link.peer_addr,
            data_type: link.data_type,
        });
        Ok(())
    }

    pub fn leave(&self, link: &Link, reason: CloseReason) {
        {
            let mut links = lock(&self.links);
            if links.open.remove(&link.id).is_none() {
                return;
            }
            links.list = None;
        }
        debug!(
            target: LOG,
            "connection {} with {} ended: {}",
            link.id,
            link.peer_addr,
            reason.without_payload()
        );
        self.emit(Event::Closed {
            id: link.id,
            peer_addr: link.peer_addr,
            reason,
        });
    }

    pub fn links(&self) -> Arc<[Arc<Link>]> {
        let mut links = lock(&self.links);
        if let Some(list) = &links.list {
            return Arc::clone(list);
        }
        let mut list: Vec<_> = links.open.values().cloned().collect();
        list.sort_unstable_by_key(|link| link.id);
        let list: Arc<[Arc<Link>]> = list.into();
        links.list = Some(Arc::clone(&list));
        list
    }

    // Sockets of handshakes

    /// Keeps a socket where `stop` finds it, until the guard is dropped.
    pub fn watch(self: &Arc<Endpoint>, socket: &Arc<TcpStream>, side: Side) -> Result<Watched> {
        let id = next_id();
        let mut sockets = lock(&self.sockets);
        self.check_running()?;
        sockets.insert(id, (Arc::clone(socket), side));
        Ok(Watched {
            endpoint: Arc::clone(self),
            id,
        })
    }

    pub fn handshakes(&self) -> usize {
        lock(&self.sockets).len()
    }

    // Stopping

    /// Ends everything: connections gracefully, within `close_timeout`, then by force.
    pub fn stop(self: &Arc<Endpoint>, wake_listener: impl FnOnce()) {
        if !self.stopped.swap(true, Ordering::SeqCst) {
            debug!(target: LOG, "{}: stopping", self.local_addr);
            drop(lock(&self.stop_signal).take());
            wake_listener();
            drop(lock(&self.deliver).take());
            self.end_handshakes();
            for link in self.links().iter() {
                link.close_in_background(CloseReason::Stopped);
            }
        }
        if self.on_own_thread() {
            // A handler stopped its own peer: this thread can not wait for itself.
            let endpoint = Arc::clone(self);
            let finish = move || endpoint.finish_stop();
            let builder = std::thread::Builder::new().name("lanpeer-stop".to_owned());
            if builder.spawn(finish).is_err() {
                // No thread to be had for a graceful end.
                self.watchdog.stop();
                self.flusher.stop();
                self.links()
                    .iter()
                    .for_each(|link| link.kill(CloseReason::Stopped));
                drop(lock(&self.events).take());
            }
        } else {
            self.finish_stop();
        }
    }

    fn finish_stop(&self) {
        let deadline = Instant::now() + self.settings.close_timeout;
        self.watchdog.stop();
        self.flusher.stop();
        if !self.wait_for_threads(deadline) {
            for link in self.links().iter() {
                link.kill(CloseReason::Stopped);
            }
            if !self.wait_for_threads(Instant::now() + Duration::from_secs(1)) {
                warn!(
                    target: LOG,
                    "{}: {} threads did not end: does a handler not return?",
                    self.local_addr,
                    self.threads_running()
                );
            }
        }
        // The channel ends when the last thread that may have something to say has ended.
        if lock(&self.events).take().is_some() {
            debug!(target: LOG, "{}: stopped", self.local_addr);
        }
    }
}

/// What this peer is in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// It has asked for the connection.
    Client,
    /// The other side waits for its answer.
    Server,
}

/// One of `max_connections`.
pub(crate) struct Slot(Arc<Endpoint>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.slots.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A socket that `stop` would find.
pub(crate) struct Watched {
    endpoint: Arc<Endpoint>,
    id: u64,
}

impl Drop for Watched {
    fn drop(&mut self) {
        lock(&self.endpoint.sockets).remove(&self.id);
    }
}
