//! The thread of one `keep_connected`. It waits for news only: each attempt to connect has a thread of its
//! own, and so has each offer that comes in, until it is handed over here. So the machine belongs to one
//! thread and needs no lock, and no attempt that takes long holds up another.
//!
//! A long file, since the thread, what it hears and what it does about it are read together.

use std::convert::Infallible;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::{Arc, Weak};
use std::time::Duration;

use log::warn;

use super::machine::{Begin, Failure, Links, Machine, REFUSED_MAX, Tell, Verdict};
use crate::error::{Error, Result};
use crate::neighbour::{PeerId, Presence};
use crate::net::endpoint::attempts::{Keeper, TWICE};
use crate::net::endpoint::connect::{Withdrawal, connect};
use crate::net::endpoint::offers::Pending;
use crate::net::endpoint::{Endpoint, next_id};
use crate::net::handshake::client::{Request, Whom};
use crate::net::link::{Agreement, Link};
use crate::net::os::dice::Dice;
use crate::net::os::socket::resolve;
use crate::net::os::sync::{
    HashMap, Instant, Mutex, Receiver, Sender, bounded, never, select, unbounded,
};
use crate::net::os::{LOG, lock};
use crate::net::wire::early::Start;
use crate::proto::who::{Attempt, Kept};
use crate::target::{Kind, Target};

/// The word by which a program says that it is not to be asked again.
const NEVER: &str = "never";

/// How long an offer of this side may go unanswered before the other side's offer is taken instead. A
/// `keep_connected` there answers at once; an offer that waits longer waits for a program, which may never
/// look at it.
const PATIENCE: Duration = Duration::from_millis(500);

/// The least time between two watches that are begun to learn all addresses anew.
const RENEW: Duration = Duration::from_secs(1);

/// Makes a connection for the program, of a link. Called on the thread of an attempt, and on the keeper's
/// for an offer.
type Make<C> = dyn Fn(&Arc<Link>) -> (C, Start) + Send + Sync;

/// What discovery tells, if the target is found by it.
pub(crate) struct Sight {
    /// The watch with which it begins.
    pub first: Option<Watch>,
    /// Begins another watch. Each first tells of everyone who is there, with all addresses; later only of
    /// those whose first address changes.
    pub begin: Box<dyn Fn() -> Watch + Send>,
    /// The addresses of this host.
    pub own: Box<dyn Fn() -> Vec<SocketAddrV4> + Send>,
}

/// A watch under way.
pub(crate) struct Watch {
    /// What it tells. The responder thread is at the other end.
    pub presences: Receiver<Presence>,
    /// Its drop ends the watch.
    pub life: Option<Box<dyn Send>>,
}

impl Watch {
    fn none() -> Watch {
        Watch {
            presences: never(),
            life: None,
        }
    }
}

/// What is to be kept, and how.
pub(crate) struct Plan<C> {
    pub endpoint: Arc<Endpoint>,
    /// Whom.
    pub target: Target,
    /// With which options each attempt is made.
    pub request: Request,
    /// `None`: the target is an address, and needs no discovery.
    pub sight: Option<Sight>,
    pub make: Arc<Make<C>>,
}

/// The program's side. Its drop ends the thread.
pub(crate) struct Handle<C> {
    /// Unbounded, but with at most one connection for each peer: a further one is made only when the
    /// program has taken the one before.
    pub connections: Receiver<C>,
    /// The addresses of those who have said "never". Written by the thread, read by the program.
    refused: Arc<Mutex<Vec<SocketAddr>>>,
    /// Weak: a `KeepConnected` that the program holds keeps no peer.
    endpoint: Weak<Endpoint>,
    /// Taken off the peer's list by the drop, before the thread learns of it.
    keeper: Option<Arc<dyn Keeper>>,
    /// Its drop wakes the thread, which waits at the other end. No message ever goes through it.
    life: Option<Sender<Infallible>>,
}

impl<C> Handle<C> {
    pub fn refused(&self) -> Vec<SocketAddr> {
        lock(&self.refused).clone()
    }

    /// A handle that has ended before it began: its iterator yields nothing.
    pub fn ended() -> Handle<C> {
        Handle {
            connections: unbounded().1,
            refused: Arc::default(),
            endpoint: Weak::new(),
            keeper: None,
            life: None,
        }
    }
}

impl<C> Drop for Handle<C> {
    fn drop(&mut self) {
        // From now on no offer becomes a connection that nobody would see.
        if let (Some(endpoint), Some(keeper)) = (self.endpoint.upgrade(), &self.keeper) {
            endpoint.remove_keeper(keeper);
        }
        drop(self.life.take());
    }
}

/// Starts the thread. The keeper is entered before, so that an offer that comes at once finds it; the
/// drop of the handle takes it off again if there is no thread.
pub(crate) fn start<C: Send + 'static>(plan: Plan<C>) -> Result<Handle<C>> {
    let endpoint = Arc::clone(&plan.endpoint);
    endpoint.check_running()?;
    let (tell, told) = unbounded();
    let (yielded, connections) = unbounded();
    let (life, is_held) = bounded(0);
    let refused = Arc::default();
    let shared = Arc::new(Shared {
        target: plan.target.clone(),
        request: plan.request.clone(),
        is_secure: endpoint.settings.has_secret() && !plan.request.in_the_clear,
        learnt: Mutex::default(),
        tell: tell.clone(),
    });
    let keeper: Arc<dyn Keeper> = Arc::clone(&shared) as _;
    let (mut dice, now) = (Dice::new(), Instant::now());
    let me = PeerId::of(&endpoint.settings.card);
    let first = (dice.draw() as u32) >> 1;
    let driver = Driver {
        machine: Machine::new(me, plan.target, first, now),
        keep: dice.draw_id(),
        dice,
        request: plan.request,
        make: plan.make,
        shared,
        asking: HashMap::default(),
        tell,
        told,
        yielded,
        known: Known::default(),
        is_stale: false,
        refused: Arc::clone(&refused),
        endpoint: Arc::clone(&endpoint),
    };
    endpoint.add_keeper(Arc::clone(&keeper));
    let handle = Handle {
        connections,
        refused,
        endpoint: Arc::downgrade(&endpoint),
        keeper: Some(Arc::clone(&keeper)),
        life: Some(life),
    };
    let sight = plan.sight;
    let work = move || {
        driver.run(sight, &is_held, &keeper);
    };
    endpoint
        .threads
        .spawn("lanpeer-keep".to_owned(), work)
        .map_err(|source| {
            let context = "the thread that keeps connected";
            Error::Io { context, source }
        })?;
    Ok(handle)
}

/// What other threads tell the keeper's thread, by one channel, so that it hears it in one order.
enum News<C> {
    /// An attempt is over. From its own thread.
    Asked(u32, Result<(C, Arc<Link>)>),
    /// A connection has ended. From its reader thread.
    Ended(u64),
    /// An offer of somebody who keeps this peer. From the reader thread that has brought it, and waits
    /// for the decision.
    Offer(Pending),
}

/// What offers are compared with, on the threads that bring them. All but `learnt` never changes.
struct Shared<C> {
    target: Target,
    request: Request,
    /// Are the connections to be encrypted?
    is_secure: bool,
    /// For a target that is an address: where it leads, and to whom. Written by the threads of attempts
    /// and by the keeper's, read by those that bring offers. No other lock is taken under it.
    learnt: Mutex<(Vec<SocketAddrV4>, Option<PeerId>)>,
    /// To the keeper's thread.
    tell: Sender<News<C>>,
}

impl<C: Send + 'static> Keeper for Shared<C> {
    fn wants(&self, agreed: &Agreement) -> bool {
        let (Some(who), Some(Attempt::Keep(_))) = (&agreed.who, agreed.theirs) else {
            return false;
        };
        let Request {
            data_type,
            strict,
            stream,
            ..
        } = self.request;
        let is_same = agreed.data_type == data_type
            && agreed.strict == strict
            && agreed.stream == stream
            && agreed.secure == self.is_secure;
        let id = Some(PeerId::of(who));
        let is_meant = match self.target.kind {
            Kind::Addr(_) => {
                let learnt = lock(&self.learnt);
                learnt.1 == id || learnt.0.contains(&agreed.peer_addr)
            }
            _ => self.target.is_meant(id, &who.name, &who.service),
        };
        is_same && is_meant
    }

    /// Hands the offer to the keeper's thread, and returns at once: the caller is a reader thread.
    fn take(&self, offer: Pending) -> std::result::Result<(), Pending> {
        // The channel fails when the keeper's thread has ended. Then the offer is for the program.
        match self.tell.send(News::Offer(offer)) {
            Ok(()) => Ok(()),
            Err(crossbeam_channel::SendError(News::Offer(offer))) => Err(offer),
            Err(_) => Ok(()),
        }
    }
}

/// What is known of the connections that the program was given. It tells which of them it has taken by
/// counting: the channel keeps their order, and says how many still wait.
#[derive(Default)]
struct Known {
    /// Each with its number in the order in which they were given. Weak: the program alone decides how long
    /// a connection lives.
    links: HashMap<u64, (Weak<Link>, u64)>,
    /// How many the program was given.
    given: u64,
    /// How many of them the program has taken.
    taken: u64,
}

/// A connection that is not known any more has ended, and was taken.
impl Links for Known {
    fn is_over(&self, link: u64) -> bool {
        let link = self.links.get(&link).and_then(|(link, _)| link.upgrade());
        link.is_none_or(|link| link.life.is_over())
    }

    fn is_taken(&self, link: u64) -> bool {
        let number = self.links.get(&link).map(|(_, number)| *number);
        number.is_none_or(|number| number < self.taken)
    }
}

/// The state of the keeper's thread, which alone has it.
struct Driver<C> {
    /// Decides; this thread does what it says.
    machine: Machine,
    /// The number by which the other side knows all attempts as those of one `keep_connected`.
    keep: u64,
    dice: Dice,
    request: Request,
    make: Arc<Make<C>>,
    /// What the threads of attempts and of offers look at.
    shared: Arc<Shared<C>>,
    /// Attempts that are under way, each with what withdraws it.
    asking: HashMap<u32, Arc<Withdrawal>>,
    /// Cloned for each attempt and each connection. Kept here too, so the channel never ends by itself.
    tell: Sender<News<C>>,
    told: Receiver<News<C>>,
    /// To the program. Its drop, at the end of the thread, ends the program's iterator.
    yielded: Sender<C>,
    known: Known,
    /// Somebody was lost, or not reached: discovery may know other addresses by now.
    is_stale: bool,
    refused: Arc<Mutex<Vec<SocketAddr>>>,
    endpoint: Arc<Endpoint>,
}

impl<C: Send + 'static> Driver<C> {
    /// Runs until the program has dropped its side, the peer is stopped, or nobody is left to ask.
    ///
    /// Each round asks whoever is due, and then waits for the first of: news, something that discovery
    /// tells, the time at which somebody is due. A watch that has ended, since the peer is being stopped,
    /// is replaced by one that never tells anything, so that the loop does not spin.
    fn run(
        mut self,
        mut sight: Option<Sight>,
        is_held: &Receiver<Infallible>,
        keeper: &Arc<dyn Keeper>,
    ) {
        let first = sight.as_mut().and_then(|sight| sight.first.take());
        let (mut watch, mut older) = (first.unwrap_or_else(Watch::none), Watch::none());
        let mut renewed = Instant::now();
        // A neighbour that the program has named counts as seen.
        if let Some(known) = self.shared.target.known.clone() {
            self.see(&Presence::Found(known), &sight);
        }
        while !self.machine.is_over() {
            self.ask_who_is_due();
            let next = self.machine.next();
            let left = next.map(|at| at.saturating_duration_since(Instant::now()));
            // Without anything due it waits for news; an hour is as good as for ever.
            let left = left.unwrap_or(Duration::from_secs(3600));
            let is_stale = self.is_stale && watch.life.is_some();
            let renew_in = RENEW.saturating_sub(renewed.elapsed());
            if is_stale && renew_in.is_zero() {
                self.is_stale = false;
                renewed = Instant::now();
                // The older watch goes on for a while beside the newer one, so that nothing is missed
                // between the two.
                for presence in older.presences.try_iter() {
                    self.see(&presence, &sight);
                }
                let begin = || sight.as_ref().map(|sight| (sight.begin)());
                older = std::mem::replace(&mut watch, begin().unwrap_or_else(Watch::none));
                continue;
            }
            let left = match is_stale {
                true => left.min(renew_in),
                false => left,
            };
            select! {
                // The program has dropped its side.
                recv(is_held) -> _ => break,
                // The peer is stopped.
                recv(self.endpoint.stopping) -> _ => break,
                recv(self.told) -> news => {
                    if let Ok(news) = news {
                        self.hear(news);
                    }
                }
                recv(older.presences) -> presence => match presence {
                    Ok(presence) => self.see(&presence, &sight),
                    Err(_) => older = Watch::none(),
                },
                recv(watch.presences) -> presence => match presence {
                    Ok(presence) => self.see(&presence, &sight),
                    Err(_) => watch = Watch::none(),
                },
                default(left) => {}
            }
        }
        // Attempts end at once. What they have agreed on meanwhile is told to nobody, and so is dropped.
        for withdrawal in self.asking.values() {
            withdrawal.withdraw();
        }
        self.endpoint.remove_keeper(keeper);
        // Taken off the list first, so that no further offer comes: those that wait go to the program.
        for news in self.told.try_iter() {
            if let News::Offer(offer) = news {
                self.endpoint.hand_to_program(offer);
            }
        }
    }

    /// Discovery has told of a peer.
    fn see(&mut self, presence: &Presence, sight: &Option<Sight>) {
        let neighbour = presence.neighbour();
        let own = sight
            .as_ref()
            .map(|sight| (sight.own)())
            .unwrap_or_default();
        let is_own = |ip| own.iter().any(|own| own.ip() == ip);
        let ips = neighbour.addrs.iter().map(|addr| addr.ip());
        let is_local = ips.clone().any(|ip| ip.is_loopback() || is_own(ip));
        let now = Instant::now();
        match presence {
            Presence::Found(_) => {
                // Another peer listens where these attempts ask.
                for attempt in self.machine.found(neighbour, is_local, now) {
                    self.withdraw(attempt);
                }
            }
            Presence::Lost(_) => self.machine.lost(neighbour, is_local, now),
        }
    }

    /// Begins the attempts that are due.
    fn ask_who_is_due(&mut self) {
        self.look_what_is_taken();
        for begin in self.machine.due(Instant::now(), &self.known) {
            let attempt = begin.attempt;
            let withdrawal = Withdrawal::new();
            // Before its thread is started, which may be over at once.
            self.asking.insert(attempt, Arc::clone(&withdrawal));
            if let Err(source) = self.ask(begin, withdrawal) {
                let context = "a thread to connect";
                self.over(attempt, Err(Error::Io { context, source }));
            }
        }
    }

    /// Asks on a thread of its own, which tells this one what came of it.
    fn ask(&mut self, begin: Begin, withdrawal: Arc<Withdrawal>) -> std::io::Result<()> {
        let Begin {
            attempt,
            seen,
            addrs,
        } = begin;
        let mut request = self.request.clone();
        // If another peer listens there now, its library says so, and its program sees no offer.
        let id = self.shared.target.peer();
        request.whom = id.map(|id| Whom { id, card: None });
        request.attempt = Some(Attempt::Keep(Kept {
            keep: self.keep,
            attempt,
            seen,
        }));
        let (endpoint, shared) = (Arc::clone(&self.endpoint), Arc::clone(&self.shared));
        let (make, tell) = (Arc::clone(&self.make), self.tell.clone());
        let work = move || {
            let made = |link: &Arc<Link>| {
                let (connection, start) = make(link);
                ((connection, Arc::clone(link)), start)
            };
            let connected = shared
                .addrs(addrs)
                .and_then(|addrs| connect(&endpoint, &addrs, request, &withdrawal, made));
            // If the keeper's thread has ended, this drops the connection, which closes it.
            drop(tell.send(News::Asked(attempt, connected)));
        };
        let name = format!("lanpeer-k-{}", next_id());
        self.endpoint.threads.spawn(name, work)
    }

    /// Ends an attempt that is not wanted any more. It does nothing if the attempt has just succeeded: the
    /// machine then decides about its connection.
    fn withdraw(&mut self, attempt: u32) {
        if let Some(withdrawal) = self.asking.remove(&attempt) {
            withdrawal.withdraw();
        }
    }

    /// Does what one piece of news asks for.
    fn hear(&mut self, news: News<C>) {
        self.look_what_is_taken();
        match news {
            News::Asked(attempt, outcome) => self.over(attempt, outcome),
            News::Ended(link) => {
                self.is_stale = true;
                self.machine.ended(link, Instant::now(), &mut self.dice);
                self.forget_links();
            }
            News::Offer(offer) => self.offered(offer),
        }
    }

    /// An attempt is over.
    ///
    /// The machine may have given it up since: then its connection is dropped here, and its failure
    /// changes nothing.
    fn over(&mut self, attempt: u32, outcome: Result<(C, Arc<Link>)>) {
        self.asking.remove(&attempt);
        let now = Instant::now();
        let error = match outcome {
            Ok((connection, link)) => {
                let id = link.who.as_deref().map(PeerId::of);
                let (name, service) = match &link.who {
                    Some(who) => (&*who.name, &*who.service),
                    None => ("", ""),
                };
                let is_meant = self.shared.target.is_meant(id, name, service);
                let addr = v4(&link);
                let number = link.id;
                let answer =
                    self.machine
                        .connected(attempt, (id, is_meant), addr, number, now, &self.known);
                // Another attempt was under way to the same peer.
                if let Some(other) = answer.withdraw {
                    self.withdraw(other);
                }
                // Else the drop of the connection closes it.
                if answer.keep {
                    if id.is_some() {
                        lock(&self.shared.learnt).1 = id;
                    }
                    self.give(connection, &link);
                }
                return;
            }
            Err(error) => error,
        };
        self.is_stale = true;
        // Another peer has answered there, so the address is no longer that of the one that is meant.
        if let Error::NotWhoItSaid {
            addr: SocketAddr::V4(addr),
            ..
        } = &error
        {
            self.machine.not_there(attempt, *addr, now);
        }
        let why = failure(&error);
        match self.machine.failed(attempt, why, now, &mut self.dice) {
            Tell::Nothing => {}
            // Once for each peer: it is asked again and again, and the log is not to be filled.
            Tell::Lasting => {
                let target = &self.shared.target;
                warn!(target: LOG, "not connected to {target}, and trying on slowly: {}", error.without_quotes());
            }
            Tell::Never(id) => {
                if let Error::Denied { addr, .. } = error {
                    let mut refused = lock(&self.refused);
                    if refused.len() >= REFUSED_MAX {
                        refused.remove(0);
                    }
                    refused.push(addr);
                    drop(refused);
                    self.endpoint.refused(addr, id);
                }
            }
        }
    }

    /// A peer that keeps itself connected to this one has asked for the connection that is to be kept.
    fn offered(&mut self, offer: Pending) {
        let (Some(who), Some(Attempt::Keep(kept))) = (&offer.agreed.who, offer.agreed.theirs)
        else {
            return self.endpoint.hand_to_program(offer);
        };
        let (id, now) = (PeerId::of(who), Instant::now());
        let verdict = self
            .machine
            .offered(id, kept, now, &self.known, &mut self.dice);
        let is_taken = match verdict {
            Verdict::Take => true,
            Verdict::Deny => false,
            // Only if the other side has not answered: after that the connection may be up there.
            Verdict::DenyUnlessUnanswered(attempt) => self
                .asking
                .get(&attempt)
                .is_some_and(|withdrawal| withdrawal.withdraw_unanswered(PATIENCE)),
            Verdict::Pass => return self.endpoint.hand_to_program(offer),
        };
        if !is_taken {
            return offer.deny_quietly(TWICE);
        }
        let make = Arc::clone(&self.make);
        // Without the lock of the offer. The reader thread that has brought it waits for this.
        let accepted = offer.accept(|link| {
            let (connection, start) = make(link);
            ((connection, Arc::clone(link)), start)
        });
        // Else the other side has withdrawn it.
        if let Ok((connection, link)) = accepted {
            let addr = v4(&link);
            if let Some(attempt) = self.machine.took(id, kept, addr, link.id, Instant::now()) {
                self.withdraw(attempt);
            }
            lock(&self.shared.learnt).1 = Some(id);
            self.give(connection, &link);
        }
    }

    /// Gives the program a connection. The callback is set before the program has it, so that no end is missed.
    fn give(&mut self, connection: C, link: &Arc<Link>) {
        let number = link.id;
        let known = (Arc::downgrade(link), self.known.given);
        self.known.links.insert(number, known);
        self.known.given += 1;
        let tell = self.tell.clone();
        link.on_end(move |_| drop(tell.send(News::Ended(number))));
        drop(self.yielded.send(connection));
    }

    /// Counts what the program has taken: all that it was given, less what still waits in the channel. Called
    /// before each decision, since the program tells nobody when it takes one.
    fn look_what_is_taken(&mut self) {
        self.known.taken = self.known.given - self.yielded.len() as u64;
    }

    /// Forgets the connections that have ended and were taken: nothing depends on them any more.
    fn forget_links(&mut self) {
        let taken = self.known.taken;
        self.known.links.retain(|_, (link, number)| {
            *number >= taken || link.upgrade().is_some_and(|link| !link.life.is_over())
        });
    }
}

impl<C> Shared<C> {
    /// Where to ask: where the peer was seen, or where the program's address leads now. On the thread of the
    /// attempt, since a look-up of a name may take long.
    fn addrs(&self, seen: Vec<SocketAddrV4>) -> Result<Vec<SocketAddrV4>> {
        let Kind::Addr(text) = &self.target.kind else {
            return Ok(seen);
        };
        let addrs = resolve(text.as_str())?;
        lock(&self.learnt).0.clone_from(&addrs);
        Ok(addrs)
    }
}

/// Where the other side listens.
fn v4(link: &Link) -> SocketAddrV4 {
    match link.peer_addr {
        SocketAddr::V4(addr) => addr,
        SocketAddr::V6(_) => unreachable!("only IPv4 sockets are made"),
    }
}

/// How the machine takes an error: whether it may be over soon, or stays until somebody changes something.
fn failure(error: &Error) -> Failure {
    match error {
        Error::Denied { reason, .. } => match reason.as_deref() {
            Some(NEVER) => Failure::Never,
            Some("secret" | "no-secret") => Failure::Lasting,
            // Over soon: a place becomes free, the peer is started again, the other connection is up.
            Some("busy" | "stopped") => Failure::Passing,
            Some(word) if word == TWICE => Failure::Passing,
            _ => Failure::Denied,
        },
        Error::Forged { .. } | Error::NotSecure { .. } => Failure::Lasting,
        // Somebody else is there, or nobody who is allowed.
        Error::WrongKey { .. } | Error::SecretWithdrawn { .. } => Failure::Denied,
        Error::FeatureMissing { .. } | Error::SelfConnection { .. } | Error::Ipv6 { .. } => {
            Failure::Lasting
        }
        _ => Failure::Passing,
    }
}
