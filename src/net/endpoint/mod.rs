//! One peer: what all of its threads share.
//!
//! | file | |
//! | --- | --- |
//! | `listener` | the thread that accepts TCP connections |
//! | `offers` | connections that clients ask for, until the program has decided |
//! | `handshakes` | how many of those there may be, and who has to go |
//! | `connect` | connections that this peer asks for |
//! | `proofs` | how many wrong proofs of a secret one address may bring |
//! | `attempts` | offers that are one of several attempts of their client |
//! | `events` | what the program is told |
//! | `dead_remotes` | remotes that died while data was on its way to them |
//!
//! A connection is in one place at each time. While its handshake is under way, or its offer is
//! undecided, its socket is in `sockets`; from then on its link is in `links`. `stop` sets the flag
//! first, and then goes through both. Whatever enters one of them looks at the flag under the lock of
//! that place. So nothing escapes `stop`.
//!
//! A long file, since `stop`, and whatever it must find, are read together.

pub(crate) mod attempts;
pub(crate) mod connect;
mod dead_remotes;
mod events;
mod handshakes;
pub(crate) mod listener;
pub(crate) mod offers;
mod proofs;
pub(crate) mod stats;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use log::{debug, warn};

use self::attempts::{Ask, Keeper, Recent, Twice, replaced};
use self::dead_remotes::DeadRemotes;
use self::events::Events;
use self::handshakes::{Handshakes, Room, Stage};
use self::offers::Pending;
use self::proofs::Proofs;
use self::stats::{Counts, PeerStats};
use super::context::Context;
use super::handshake::io::deny;
use super::link::{Agreement, Link, OnEnd};
use super::os::condvar::{is_late, wait};
use super::os::files::file_limit;
use super::os::socket::has_arrived;
use super::os::table::Ends;
use super::os::threads::{Held, Waiting};
use super::os::{LOG, lock};
use super::wire::early::Start;
use crate::error::{CloseReason, Error, Result, without_quotes};
use crate::event::Event;
use crate::neighbour::PeerId;
use crate::net::os::sync::{
    Condvar, HashMap, Instant, Mutex, OnceLock, Receiver, Sender, TcpStream, bounded, next_number,
    thread,
};
use crate::options::Settings;
use crate::proto::beacon::Card;
#[cfg(feature = "secure")]
use crate::secure::Trust;
use crate::secure::{Distrust, Proof, PublicKey, Session};
use crate::target::Target;

/// Hands an offer to the program, or gives it back where nobody can take it.
pub(crate) type Deliver = Box<dyn Fn(Pending) -> std::result::Result<(), Pending> + Send + Sync>;

/// Makes a connection out of its link, and says what the connection's reader runs. Boxed, so that what
/// surrounds it is compiled once, and not for each format.
type Begin<'a> = Box<dyn FnOnce(&Arc<Link>) -> Start + 'a>;

/// The connection that `start` makes, where `begin` calls it and goes on to the end.
fn begun<T>(
    start: impl FnOnce(&Arc<Link>) -> (T, Start),
    begin: impl FnOnce(Begin<'_>) -> Result<()>,
) -> Result<T> {
    let mut connection = None;
    begin(Box::new(|link| {
        let (made, start) = start(link);
        connection = Some(made);
        start
    }))?;
    connection.ok_or(Error::Withdrawn)
}

/// One peer. Its threads, its handles and its connections share it. `links` is taken before `events`,
/// `counts`, what this peer trusts, and what a connection locks for its numbers. No thread holds two of
/// its other locks at once.
pub(crate) struct Endpoint {
    /// What its connections know of it. They hold this and not the endpoint, except to tell it of their end.
    context: Arc<Context>,

    /// Set once, by `stop`; everything that would begin looks at it first.
    stopped: AtomicBool,
    /// Why, for its connections. Set before `stopped`.
    why_stopped: OnceLock<CloseReason>,
    /// Dropped by `stop`, which ends the channel `stopping`.
    stop_signal: Mutex<Option<Sender<Infallible>>>,
    /// Ends when the peer stops; no message ever comes through it. So a thread can wait for that among
    /// other things.
    pub(crate) stopping: Receiver<Infallible>,
    /// How offers reach the program; taken by `stop`, which ends the channel behind it.
    deliver: Mutex<Option<Deliver>>,
    /// Open connections by number. Held while a connection enters or leaves, with its event, so that
    /// events and list agree; never while one is ended, which takes it.
    links: Mutex<Links>,
    /// Signalled when the last connection has ended. Only `stop` waits for that.
    all_ended: Condvar,
    /// Open connections and pending offers, for `max_connections`. An atomic, since a place is given back
    /// under whatever locks its connection ends with.
    slots: AtomicUsize,
    /// Sockets whose handshake is under way or whose offer is undecided, so that `stop` can wake
    /// the threads that read them, and that there are not too many.
    sockets: Mutex<Handshakes<Arc<TcpStream>>>,
    /// The wrong proofs of clients, and those that wait to be looked at.
    proofs: Proofs,
    /// Which of their attempts clients have made lately, where they say so.
    recent: Mutex<Recent>,
    /// What keeps this peer connected to others. Copied to be asked, since a keeper takes its own locks.
    keepers: Mutex<Vec<Arc<dyn Keeper>>>,
    events: Events,
    counts: Counts,
    /// The watchdog's task that looks for dead remotes.
    dead_remotes: Arc<DeadRemotes>,
}

/// The open connections.
#[derive(Default)]
struct Links {
    open: HashMap<u64, Arc<Link>>,
    /// The same as a list in the order of their numbers. Made when it is asked for after something has
    /// changed, so that a broadcast needs no list of its own.
    list: Option<Arc<[Arc<Link>]>>,
}

/// Does something wait to be read from this client?
fn has_said(socket: &Arc<TcpStream>) -> bool {
    has_arrived::<1>(socket).unwrap_or(false)
}

/// Not the connection's number: a thread may read one after the other.
fn reader_name() -> String {
    format!("lanpeer-r-{}", next_id())
}

/// Numbers for connections, sockets and threads, unique in the process.
pub(crate) fn next_id() -> u64 {
    next_number()
}

impl Deref for Endpoint {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

impl Endpoint {
    pub fn new(settings: Settings, local_addr: SocketAddrV4, deliver: Deliver) -> Arc<Endpoint> {
        let (stop_signal, stopping) = bounded(0);
        let context = Arc::new(Context::new(settings, local_addr));
        let endpoint = Arc::new_cyclic(|endpoint| Endpoint {
            dead_remotes: DeadRemotes::new(endpoint, context.settings.keepalive),
            context,
            stopped: AtomicBool::new(false),
            why_stopped: OnceLock::new(),
            stop_signal: Mutex::new(Some(stop_signal)),
            stopping,
            deliver: Mutex::new(Some(deliver)),
            links: Mutex::default(),
            all_ended: Condvar::new(),
            slots: AtomicUsize::new(0),
            sockets: Mutex::new(Handshakes::new(file_limit())),
            proofs: Proofs::default(),
            recent: Mutex::default(),
            keepers: Mutex::default(),
            events: Events::default(),
            counts: Counts::default(),
        });
        endpoint.dead_remotes.begin(&endpoint.context);
        endpoint
    }

    // Threads

    /// A reader thread for a connection to come, which does this. `stop` waits for it.
    pub fn read_on_thread(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.run(reader_name(), work)
    }

    /// A reader thread that waits for its work.
    pub fn reader_thread(&self) -> io::Result<Waiting> {
        self.threads.spawn_waiting(reader_name())
    }

    /// Until this is dropped, `stop` waits as for a thread.
    pub fn hold(&self) -> Result<Held> {
        self.threads.hold().ok_or(Error::Stopped)
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

    /// Waits for this time, or until the peer is stopped.
    pub fn pause(&self, time: Duration) {
        let _ = self.stopping.recv_timeout(time);
    }

    // Events

    pub fn events(&self) -> Receiver<Event> {
        self.events.receiver()
    }

    /// Tells the program, if it listens; never waits.
    pub fn emit(&self, event: Event) {
        self.events.emit(event);
    }

    /// Tells of a client that came to nothing.
    pub fn handshake_failed(&self, remote: SocketAddrV4, reason: String) {
        debug!(target: LOG, "handshake with {remote} failed: {}", without_quotes(&reason));
        self.counts.handshake_failed();
        let remote = remote.into();
        self.emit(Event::HandshakeFailed { remote, reason });
    }

    /// Tells of an offer that was denied, with this word. `who` made it, and has proved this, where that
    /// is known.
    pub fn denied(
        &self,
        peer_addr: SocketAddrV4,
        who: Option<&Card>,
        proof: Option<&Proof>,
        word: &str,
    ) {
        debug!(target: LOG, "offer of {peer_addr} denied: {word}");
        self.counts.denied();
        let Who {
            id,
            name,
            service,
            key,
        } = Who::of(who, proof);
        self.emit(Event::Denied {
            peer_addr: peer_addr.into(),
            reason: word.to_owned(),
            peer_id: id,
            peer_name: name,
            peer_service: service,
            peer_key: key,
        });
    }

    /// A peer that this one was to be kept connected to has said that it is not to be asked again.
    pub fn refused(&self, peer_addr: SocketAddr, peer_id: Option<PeerId>) {
        debug!(target: LOG, "{peer_addr} is not to be asked again");
        self.emit(Event::KeepRefused { peer_addr, peer_id });
    }

    /// This target is not kept connected at all.
    pub fn warn_not_kept(&self, target: &Target, error: &Error) {
        let error = error.without_quotes();
        warn!(target: LOG, "{}: {target} is not kept connected: {error}", self.local_addr);
    }

    /// A call that was to make a connection has made none.
    pub fn connect_failed(&self) {
        self.counts.connect_failed();
    }

    /// Totals since the peer was bound.
    pub fn stats(&self) -> PeerStats {
        // Under the lock, so that each connection is counted once: as an open one or as one that has
        // ended.
        let links = lock(&self.links);
        let mut stats = self.counts.stats();
        let open = links.open.values().map(|link| link.untold());
        stats.add(open.fold(self.totals.numbers(), |sum, numbers| sum + numbers));
        // A thread that has learnt of an end finds it counted, even before it leaves the list.
        let over = links.open.values().filter(|link| link.life.is_over());
        over.for_each(|link| stats.ended.count(&link.life.why()));
        stats.events_dropped = self.events.count_dropped();
        stats
    }

    // Offers

    /// Hands an offer to the program; an offer that nobody can take comes back. Called by the listener and by
    /// reader threads; under the lock, so that none comes after `stop` has taken the way.
    pub fn deliver(&self, offer: Pending) -> std::result::Result<(), Pending> {
        match lock(&self.deliver).as_ref() {
            Some(deliver) => deliver(offer),
            None => Err(offer),
        }
    }

    // Connections

    /// A place for one more connection, given back when the slot is dropped. Taken before anything is agreed
    /// on, so that of two that come at once one gets the last place.
    pub fn slot(self: &Arc<Endpoint>) -> Result<Slot> {
        let limit = self.settings.max_connections;
        let taken = self
            .slots
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| {
                (n < limit).then_some(n + 1)
            });
        if taken.is_err() {
            return Err(Error::TooManyConnections { limit });
        }
        let slot = Slot(Arc::clone(self));
        // A connection leaves work to the watchdog, and must not begin without one.
        self.start_watchdog().map_err(|source| {
            let context = "the timer thread";
            let stopped = self.check_running().err();
            stopped.unwrap_or(Error::Io { context, source })
        })?;
        Ok(slot)
    }

    /// Makes a connection of what a handshake has agreed on. It keeps its slot until it ends.
    pub fn link(
        self: &Arc<Endpoint>,
        socket: &Arc<TcpStream>,
        ends: Ends,
        agreed: Agreement,
        slot: Slot,
        session: Option<Session>,
    ) -> Arc<Link> {
        let endpoint = Arc::clone(self);
        let on_end = OnEnd {
            slot: Box::new(slot),
            tell: Box::new(move |link: &Link, reason| endpoint.leave(link, reason)),
        };
        let context = &self.context;
        Link::new(next_id(), context, socket, ends, agreed, session, on_end)
    }

    /// Enters a connection, unless the peer was stopped meanwhile, or the client has come again since.
    pub fn enter(&self, link: &Arc<Link>) -> Result<()> {
        let replaced = {
            let mut links = lock(&self.links);
            // Under the lock: `stop` sets the flag first and then goes through the list.
            self.check_running()?;
            // In the same way: a change of what this peer trusts comes first. What is not encrypted the
            // program has asked for expressly.
            if let Some(proof) = &link.proof {
                let (addr, key) = (link.peer_addr, proof.key);
                let admitted = self.settings.trusts.now().admits(proof);
                admitted.map_err(|distrust| match distrust {
                    Distrust::Key => Error::WrongKey { addr, key },
                    Distrust::Secret => Error::SecretWithdrawn { addr },
                })?;
            }
            // An older offer of the same client may have been accepted since this one was made.
            let replaced = match link.theirs {
                None => Vec::new(),
                Some(_) => replaced(&Ask::of_link(link), links.open.values())
                    .map_err(|Twice| Error::Withdrawn)?,
            };
            links.open.insert(link.id, Arc::clone(link));
            links.list = None;
            self.counts.connected();
            let Who {
                id,
                name,
                service,
                key,
            } = Who::of(link.who.as_deref(), link.proof.as_deref());
            // Also under the lock, so that the end of the connection is told behind it.
            self.emit(Event::Connected {
                id: link.id,
                peer_addr: link.peer_addr,
                data_type: link.data_type,
                peer_id: id,
                peer_name: name,
                peer_service: service,
                peer_key: key,
            });
            replaced
        };
        for other in replaced {
            other.kill(CloseReason::Replaced);
        }
        // The last word of the handshake may be on its way for ever: while it is not acknowledged, the
        // system's keepalive notices no remote that has died.
        self.context.note_write();
        link.begin_heartbeat();
        debug!(
            target: LOG,
            "connection {} with {} opened: {}",
            link.id, link.peer_addr, link.data_type
        );
        Ok(())
    }

    /// A connection has ended: tells the program, and takes it off the list.
    fn leave(&self, link: &Link, reason: CloseReason) {
        // It was never entered, because the peer was stopped.
        if !lock(&self.links).open.contains_key(&link.id) {
            return;
        }
        // The program's logger runs under no lock. Only this call takes the connection off the list,
        // and it is called once.
        debug!(
            target: LOG,
            "connection {} with {} ended: {}",
            link.id,
            link.peer_addr,
            reason.without_payload()
        );
        let Who {
            id,
            name,
            service,
            key,
        } = Who::of(link.who.as_deref(), link.proof.as_deref());
        let mut links = lock(&self.links);
        // Told before it is taken off the list: `stop` ends the events when the list is empty.
        self.counts.ended(&reason);
        link.tell_totals();
        self.emit(Event::Closed {
            id: link.id,
            peer_addr: link.peer_addr,
            reason,
            peer_id: id,
            peer_name: name,
            peer_service: service,
            peer_key: key,
        });
        let removed = links.open.remove(&link.id);
        links.list = None;
        if links.open.is_empty() {
            self.all_ended.notify_all();
        }
        drop(links);
        // Without the lock: this may be the last to hold the link, and its drop may run code of the
        // program.
        drop(removed);
    }

    /// Changes what this peer trusts. Connections that it would not make any more end.
    #[cfg(feature = "secure")]
    pub fn change_trust(&self, change: impl FnOnce(&mut Trust)) {
        self.settings.trusts.change(change);
        let trust = self.settings.trusts.now();
        for link in self.links().iter() {
            let proof = link.proof.as_ref();
            if proof.is_some_and(|proof| trust.admits(proof).is_err()) {
                link.kill(CloseReason::Revoked);
            }
        }
    }

    /// All open connections, in the order of their numbers.
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

    /// Keeps the socket of a connection that this peer asks for where `stop` finds it, until the guard
    /// is dropped.
    pub fn watch(self: &Arc<Endpoint>, socket: &Arc<TcpStream>) -> Result<Watched> {
        let mut sockets = lock(&self.sockets);
        self.check_running()?;
        Ok(self.keep(&mut sockets, socket, Ipv4Addr::UNSPECIFIED, Stage::Asking))
    }

    /// The same for a client's. Where there are too many, one that says nothing has to go for it.
    /// `None`: there is no room.
    pub fn admit(
        self: &Arc<Endpoint>,
        socket: &Arc<TcpStream>,
        ip: Ipv4Addr,
    ) -> Result<Option<Watched>> {
        let mut sockets = lock(&self.sockets);
        self.check_running()?;
        let other = match sockets.room(ip, Instant::now(), has_said) {
            Room::Free => None,
            Room::Instead(other) => Some(other),
            Room::None => return Ok(None),
        };
        let watched = self.keep(&mut sockets, socket, ip, Stage::UnderWay);
        drop(sockets);
        if let Some(other) = other {
            turn_away(&other);
        }
        Ok(Some(watched))
    }

    fn keep(
        self: &Arc<Endpoint>,
        sockets: &mut Handshakes<Arc<TcpStream>>,
        socket: &Arc<TcpStream>,
        ip: Ipv4Addr,
        stage: Stage,
    ) -> Watched {
        let id = next_id();
        sockets.insert(id, Arc::clone(socket), ip, stage, Instant::now());
        Watched {
            endpoint: Arc::clone(self),
            id,
            released: AtomicBool::new(false),
        }
    }

    /// How many handshakes there may be, and offers undecided.
    pub fn most_handshakes(&self) -> usize {
        lock(&self.sockets).most()
    }

    // Stopping

    /// Ends everything: connections gracefully, within `close_timeout`, then by force. `why` is what
    /// they are told, by the first call.
    pub fn stop(self: &Arc<Endpoint>, why: CloseReason, wake_listener: impl FnOnce()) {
        let _ = self.why_stopped.set(why);
        // The first call ends everything; all calls wait for it.
        if !self.stopped.swap(true, Ordering::SeqCst) {
            debug!(target: LOG, "{}: stopping", self.local_addr);
            // Wakes every thread that waits at `stopping`.
            drop(lock(&self.stop_signal).take());
            // From here on no further call is held, and idle threads end.
            self.threads.close();
            // No client is accepted any more.
            wake_listener();
            // The program gets no more offers: its `incoming` ends.
            drop(lock(&self.deliver).take());
            // Wakes the threads that wait for a client, for the program's word, or for the turn of a proof.
            self.end_handshakes();
            self.proofs.end();
            // All close at once, so that all together take as long as the slowest.
            for link in self.links().iter() {
                link.close_in_background(self.why_stopped());
            }
        }
        if self.threads.is_own() {
            // A handler has stopped its own peer. The thread that waits for the end of all threads
            // cannot be one of them.
            let endpoint = Arc::clone(self);
            let finish = move || endpoint.finish_stop();
            let builder = thread::Builder::new().name("lanpeer-stop".to_owned());
            if builder.spawn(finish).is_err() {
                // No thread to be had for a graceful end.
                self.kill_all();
                self.watchdog.stop();
                self.flusher.stop();
                self.events.end();
            }
        } else {
            self.finish_stop();
        }
    }

    /// Waits for the end of all connections and all threads. What does not end in time is ended by
    /// force, or left behind.
    fn finish_stop(&self) {
        let deadline = Instant::now() + self.settings.close_timeout;
        let grace = Duration::from_secs(1);
        // The timers run until the connections have ended, which need them for that.
        if !self.wait_for_links(deadline) {
            self.kill_all();
        }
        self.watchdog.stop();
        self.flusher.stop();
        if !self.threads.wait(deadline.max(Instant::now() + grace)) {
            warn!(
                target: LOG,
                "{}: {} threads did not end: does a handler not return?",
                self.local_addr,
                self.threads.running()
            );
        }
        self.threads.join(Instant::now() + grace);
        // Only now has everyone ended who may have an event to tell.
        if self.events.end() {
            debug!(target: LOG, "{}: stopped", self.local_addr);
        }
    }

    /// Waits until every connection has ended. `false`: not before the deadline. None can be entered
    /// meanwhile, since the flag is set.
    fn wait_for_links(&self, deadline: Instant) -> bool {
        let mut links = lock(&self.links);
        while !links.open.is_empty() {
            if is_late(Some(deadline)) {
                return false;
            }
            links = wait(&self.all_ended, links, Some(deadline));
        }
        true
    }

    /// Resets all connections.
    fn kill_all(&self) {
        for link in self.links().iter() {
            link.kill(self.why_stopped());
        }
    }

    /// Why a connection ends that could not be entered.
    pub fn why_not_entered(&self, error: &Error) -> CloseReason {
        match error {
            Error::WrongKey { .. } | Error::SecretWithdrawn { .. } => CloseReason::Revoked,
            _ => self.why_stopped(),
        }
    }

    /// Why connections end that the stop of this peer ends.
    pub fn why_stopped(&self) -> CloseReason {
        self.why_stopped
            .get()
            .cloned()
            .unwrap_or(CloseReason::Stopped)
    }
}

/// Who the other side is, for events.
struct Who {
    id: Option<PeerId>,
    name: Option<String>,
    service: Option<String>,
    key: Option<PublicKey>,
}

impl Who {
    fn of(card: Option<&Card>, proof: Option<&Proof>) -> Who {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Who {
            id: card.map(PeerId::of),
            name: text(card.and_then(Card::name)),
            service: text(card.and_then(Card::service)),
            key: proof.and_then(|proof| proof.key),
        }
    }
}

/// A place for one of `max_connections`. Its drop makes it free.
pub(crate) struct Slot(Arc<Endpoint>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.slots.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A socket of a handshake that `stop` finds and ends, until this is dropped. The thread of the handshake
/// has it, and a call that decides about the offer shares it.
pub(crate) struct Watched {
    /// Whose list it is on.
    endpoint: Arc<Endpoint>,
    /// Its number on that list.
    id: u64,
    /// It was taken off by this side's will. Tells that from a client that had to go for another.
    released: AtomicBool,
}

impl Watched {
    /// The client has said something.
    pub fn heard(&self) {
        lock(&self.endpoint.sockets).heard(self.id, Instant::now());
    }

    /// The client has owed something for half a second.
    pub fn quiet(&self) {
        let mut sockets = lock(&self.endpoint.sockets);
        let gone = sockets.quiet(self.id, Instant::now(), has_said);
        drop(sockets);
        gone.iter().for_each(|socket| turn_away(socket));
    }

    /// It waits for the program's word.
    pub fn offered(&self) {
        self.set_stage(Stage::Offered);
    }

    /// It was told no, or is about to be, and `stop` has nothing to tell it.
    pub fn leaving(&self) {
        self.set_stage(Stage::Leaving);
    }

    fn set_stage(&self, stage: Stage) {
        lock(&self.endpoint.sockets).set_stage(self.id, stage, Instant::now());
    }

    /// From here on neither `stop` nor a client that needs its place ends it. `false`: it was ended.
    pub fn release(&self) -> bool {
        let mut sockets = lock(&self.endpoint.sockets);
        let is_released = sockets.remove(self.id).is_some();
        if is_released {
            self.released.store(true, Ordering::Relaxed);
        }
        is_released
    }

    /// Had it to go for another one?
    pub fn is_turned_away(&self) -> bool {
        let is_there = lock(&self.endpoint.sockets).contains(self.id);
        !(is_there || self.released.load(Ordering::Relaxed) || self.endpoint.is_stopped())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.release();
    }
}

/// Tells a client that another one has its place.
fn turn_away(socket: &TcpStream) {
    deny(socket, None, "busy");
    let _ = socket.shutdown(Shutdown::Both);
}
