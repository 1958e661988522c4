//! Asking who is there: a search that lasts a stated time.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::LOG;
use super::networks::{Network, distance, is_local, networks, plausible, source_towards};
use super::quota::{Origin, PER_ADDRESS, PER_ADDRESS_FROM_OTHER_PORTS};
use super::reach::Reach;
use super::roster::{ADDRS_MAX, Key, NEIGHBOURS_MAX};
use super::tags::{Tags, draw};
use crate::error::{Error, Result, without_quotes};
use crate::neighbour::Neighbour;
use crate::net::os::datagram;
use crate::net::os::sync::{HashMap, HashSet, Instant, thread};
use crate::net::os::system::{SockRef, UdpSocket};
use crate::proto::beacon::{Beacon, Card, Ping, Pong};
use crate::proto::tag::Nonce;

/// A search looks this often whether its peer was stopped.
const STOP_CHECK: Duration = Duration::from_millis(50);
/// The longest pause between two PINGs of one search. The firewall of Windows lets in answers to a broadcast
/// for three seconds, also to a program that nobody has allowed; each PING begins them anew.
const REPEAT_MAX: Duration = Duration::from_secs(1);
/// So many datagrams that have already come are still read once the time is over.
const LAST_READS: usize = 1024;

/// Begins a search.
pub(super) fn start(ask: Ask, time: Duration) -> Result<Neighbours> {
    let context = "asking who is on the network";
    Neighbours::start(ask, time).map_err(|source| Error::Io { context, source })
}

/// The neighbours, as they answer; see [`Peer::discover`](crate::Peer::discover).
///
/// `next` blocks at most until the time is over. The iterator ends then, or when the peer is stopped.
/// Dropping it ends the search.
///
/// ```
/// # use std::time::{Duration, Instant};
/// # use lanpeer::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
/// # let builder = Peer::builder().discovery_port(port);
/// # let alice = builder.bind("127.0.0.1:0")?;
/// let begun = Instant::now();
/// let mut search = alice.discover(Duration::from_millis(20))?;
/// assert!(search.next().is_none()); // nobody is there: the time is over
/// assert!(begun.elapsed() >= Duration::from_millis(20));
/// # Ok(()) }
/// ```
pub struct Neighbours {
    ask: Ask,
    /// What the answers of members must cover.
    nonce: Nonce,
    /// Answers come here; an ephemeral port of our own, so that no other socket can take them.
    socket: UdpSocket,
    deadline: Instant,
    next_ping: Instant,
    /// The pause before the next PING but one.
    pause: Duration,
    networks: Vec<Network>,
    /// Who was yielded or is about to be.
    known: HashSet<Key>,
    /// How many members each address has told of, or others, and how many of those from other ports than
    /// that of discovery.
    shares: HashMap<(Ipv4Addr, bool), (usize, usize)>,
    ready: VecDeque<(Key, Neighbour)>,
    over: bool,
}

/// Who asks, where, and for whom.
pub(super) struct Ask {
    pub reach: Reach,
    /// The discovery port.
    pub port: u16,
    /// The asker's own listening port, 0 if it has none or does not want it known.
    pub listen_port: u16,
    pub card: Option<Card>,
    pub service: Option<String>,
    /// By which members are known.
    pub tags: Option<Arc<Tags>>,
    /// Set when the asker is stopped.
    pub stopped: Arc<AtomicBool>,
}

impl Neighbours {
    /// Sends the first PING; fails if it could not be sent on any network.
    fn start(ask: Ask, time: Duration) -> io::Result<Neighbours> {
        let socket = UdpSocket::bind((ask.reach.bound, 0))?;
        socket.set_broadcast(true)?;
        // Room for the answers of a few hundred peers at once; the system may give less.
        let _ = SockRef::from(&socket).set_recv_buffer_size(1 << 20);
        let nonce = match &ask.tags {
            Some(_) => draw().map_err(io::Error::other)?,
            None => Nonce::default(),
        };
        let now = Instant::now();
        // At least three PINGs in any time, and the last of them early enough to be answered.
        let pause = (time / 5).clamp(Duration::from_millis(5), Duration::from_millis(100));
        let mut search = Neighbours {
            ask,
            nonce,
            socket,
            // A time that no clock can hold is as good as for ever.
            deadline: now
                .checked_add(time)
                .unwrap_or(now + Duration::from_secs(1 << 32)),
            next_ping: now + pause,
            pause: pause * 2,
            networks: Vec::new(),
            known: HashSet::default(),
            shares: HashMap::default(),
            ready: VecDeque::new(),
            over: false,
        };
        search.ping()?;
        Ok(search)
    }

    /// Asks on each network. An error only if none could be asked.
    fn ping(&mut self) -> io::Result<()> {
        // Read anew each time: interfaces come and go.
        self.networks = networks(&self.ask.reach)?;
        let port = self.socket.local_addr()?.port();
        let mut sent = 0;
        let mut trouble = None;
        let broadcasts = self.networks.iter().filter_map(|network| {
            let to = SocketAddrV4::new(network.broadcast?, self.ask.port);
            Some((to, network.addr, &*network.name))
        });
        // To hosts that no broadcast reaches, one by one.
        let seeds = self.ask.reach.seeds.iter();
        let seeds = seeds.map(|&to| {
            let from = source_towards(*to.ip()).unwrap_or(self.ask.reach.bound);
            (to, from, "a route")
        });
        for (to, from, name) in broadcasts.chain(seeds) {
            let ping = Beacon::Ping(Ping {
                addr: Some(SocketAddrV4::new(from, self.ask.listen_port)),
                pinger: Some(SocketAddrV4::new(from, port)),
                card: self.ask.card.clone(),
                watch: None,
            });
            let written = match &self.ask.tags {
                Some(tags) => tags.ask(&ping, self.nonce),
                None => ping.write(),
            };
            let datagram = written.map_err(io::Error::other)?;
            match datagram::send(&self.socket, &datagram, to) {
                Ok(()) => sent += 1,
                Err(error) => {
                    let ip = to.ip();
                    log::debug!(target: LOG, "nothing sent to {ip} on {name}: {error}");
                    trouble = Some(error);
                }
            }
        }
        match trouble {
            Some(error) if sent == 0 => Err(error),
            None if sent == 0 => Err(io::Error::new(
                io::ErrorKind::NetworkUnreachable,
                format!(
                    "no interface with the address {} can broadcast",
                    self.ask.reach.bound
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Waits until this moment for one datagram, and takes it in. False: none came.
    fn listen(&mut self, until: Option<Instant>) -> bool {
        let wait = until.map_or(Duration::ZERO, |until| {
            let time = until.saturating_duration_since(Instant::now());
            time.clamp(Duration::from_millis(1), STOP_CHECK)
        });
        // One byte more than any beacon has, so that a longer one is seen to be longer.
        let mut buffer = [0; 129];
        match datagram::receive(&self.socket, &mut buffer, wait) {
            Ok((len, SocketAddr::V4(source))) => {
                self.take(&buffer[..len], source);
                true
            }
            Ok(_) => true,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => false,
                // Perhaps in place of a datagram: there may be more.
                io::ErrorKind::Interrupted => true,
                _ => {
                    log::debug!(target: LOG, "search: {error}");
                    // Not to spin, should it come again at once.
                    thread::sleep(Duration::from_millis(5));
                    false
                }
            },
        }
    }

    fn take(&mut self, datagram: &[u8], source: SocketAddrV4) {
        let (claimed, card) = match Beacon::parse(datagram) {
            Ok(Beacon::Pong(Pong { addr, card })) => (addr, card),
            // The manual once prints an answer's word as PING.
            Ok(Beacon::Ping(Ping {
                addr: Some(addr),
                card,
                ..
            })) => (addr, card),
            Ok(_) => return,
            Err(error) => {
                // In the macro, so that it costs nothing where nobody listens.
                log::trace!(target: LOG, "datagram from {source} ignored: {}", without_quotes(&error.to_string()));
                return;
            }
        };
        if self
            .ask
            .card
            .as_ref()
            .is_some_and(|me| card.as_ref().is_some_and(|card| card.id == me.id))
        {
            return;
        }
        let Some(addr) = plausible(claimed, *source.ip(), card.is_some(), &self.networks) else {
            log::trace!(target: LOG, "datagram from {source} ignored: it claims to be at {claimed}");
            return;
        };
        let origin = Origin {
            ip: *source.ip(),
            is_local: is_local(*source.ip(), &self.networks),
            from_port: source.port() == self.ask.port,
        };
        let tags = self.ask.tags.as_ref();
        let is_member =
            tags.is_some_and(|tags| tags.check(datagram, &[self.nonce]).count().is_some());
        if !is_member && tags.is_some_and(|tags| tags.members_only) {
            log::trace!(target: LOG, "datagram from {source} ignored: not of a member");
            return;
        }
        let key = Key::new(addr, card, origin, is_member);
        if self.known.contains(&key) {
            // Not yielded yet: another address of the same peer, which may be nearer.
            if let Some((_, neighbour)) = self.ready.iter_mut().find(|(ready, _)| *ready == key) {
                let addrs = &mut neighbour.addrs;
                if !addrs.contains(&addr) && addrs.len() < ADDRS_MAX {
                    addrs.push(addr);
                    addrs.sort_by_key(|addr| distance(*addr.ip(), &self.networks));
                }
            }
            return;
        }
        let neighbour = key.neighbour(vec![addr]);
        if neighbour.offers(&self.ask.service) && self.has_room(origin, is_member) {
            self.known.insert(key.clone());
            self.ready.push_back((key, neighbour));
        }
    }

    /// Is there room for one more, told of from there?
    fn has_room(&mut self, origin: Origin, is_member: bool) -> bool {
        let whose = (origin.ip, is_member);
        let (all, from_others) = self.shares.get(&whose).copied().unwrap_or_default();
        let has_share =
            all < PER_ADDRESS && (origin.from_port || from_others < PER_ADDRESS_FROM_OTHER_PORTS);
        // Those who are no members leave members their room.
        let alike = self.known.iter().filter(|key| key.is_member() == is_member);
        if !has_share || alike.count() >= NEIGHBOURS_MAX {
            return false;
        }
        let share = (all + 1, from_others + usize::from(!origin.from_port));
        self.shares.insert(whose, share);
        true
    }
}

impl Iterator for Neighbours {
    type Item = Neighbour;

    fn next(&mut self) -> Option<Neighbour> {
        loop {
            if self.ask.stopped.load(Ordering::Acquire) {
                self.over = true;
                return None;
            }
            // All that has come already, so that of one peer's answers the nearest is yielded.
            let mut reads = 0;
            while !self.over && reads < LAST_READS && self.listen(None) {
                reads += 1;
            }
            if let Some((_, neighbour)) = self.ready.pop_front() {
                return Some(neighbour);
            }
            let now = Instant::now();
            if self.over || now >= self.deadline {
                self.over = true;
                return None;
            }
            if now >= self.next_ping {
                if let Err(error) = self.ping() {
                    log::debug!(target: LOG, "search: {error}");
                }
                self.next_ping = now + self.pause;
                self.pause = (self.pause * 2).min(REPEAT_MAX);
            }
            self.listen(Some(self.deadline.min(self.next_ping)));
        }
    }
}

impl std::iter::FusedIterator for Neighbours {}

impl std::fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let left = self.deadline.saturating_duration_since(Instant::now());
        f.debug_struct("Neighbours")
            .field("left", &left)
            .finish_non_exhaustive()
    }
}
