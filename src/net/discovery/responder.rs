//! The thread that answers PINGs, gives signs of life, and keeps watch.
//!
//! It alternates between [`Responder::turn`], which does all that is due, and [`Responder::listen`], which waits
//! for one datagram until something is due again. What is to be done when is decided elsewhere, by parts that
//! know neither sockets nor the clock: `answers` (who is answered), `pace` (when this peer speaks), `crowd` (how
//! many peers there are) and `roster` (who is there). Other threads reach this one through [`Shared`] and
//! [`Begun`], and wake it by a datagram to its own socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::LOG;
use super::answers::Answers;
use super::counts::Counts;
use super::crowd::Crowd;
use super::dice::Dice;
use super::networks::{Network, address_for, networks_and_others, shared_socket};
use super::pace::{Pace, every};
use super::roster::{Key, Roster};
use super::shared::{Ear, Shared, log_unsent};
use super::watch::{Begun, Subscriber};
use crate::neighbour::Presence;
use crate::net::os::sync::{Instant, thread};
use crate::net::os::{datagram, lock};
use crate::proto::beacon::{Beacon, Here, Pong};

mod hearing;

/// The thread looks around this often, also when nothing comes in. It is woken for what is urgent,
/// but through loopback, which may be down.
const TURN: Duration = Duration::from_millis(250);
/// Interfaces come and go; they are looked up this often.
const NETWORKS_EVERY: Duration = Duration::from_secs(2);

pub(super) struct Responder {
    /// What the peer's other threads share with this one.
    shared: Arc<Shared>,
    /// As in `shared`, which has a copy.
    ear: Ear,
    /// Watches that begin.
    begun: Arc<Begun>,
    /// The networks that this peer uses.
    networks: Vec<Network>,
    /// Those of this host that are not used.
    other_networks: Vec<Network>,
    /// The plans for each network, in their order.
    paces: Vec<Pace>,
    /// When the interfaces are looked up again.
    networks_due: Instant,
    /// When far hosts are asked next, if somebody watches.
    seeds_due: Instant,
    /// PINGs that are to be answered.
    answers: Answers,
    /// How many peers there are; it decides how often each of them speaks.
    crowd: Crowd,
    /// Which counts of members were heard; empty without tags.
    counts: Counts,
    /// Kept only while somebody watches.
    roster: Roster,
    /// The program's watches. While there is one, this peer asks, and keeps the roster.
    subscribers: Vec<Subscriber>,
    dice: Dice,
    /// Errors of the socket in a row.
    errors: u32,
}

impl Responder {
    pub fn new(shared: Arc<Shared>, ear: Ear, begun: Arc<Begun>) -> Responder {
        let now = Instant::now();
        let mut responder = Responder {
            shared,
            ear,
            begun,
            networks: Vec::new(),
            other_networks: Vec::new(),
            paces: Vec::new(),
            networks_due: now,
            seeds_due: now,
            answers: Answers::new(now),
            crowd: Crowd::default(),
            counts: Counts::default(),
            roster: Roster::default(),
            subscribers: Vec::new(),
            dice: Dice::new(),
            errors: 0,
        };
        // Known before the thread runs, so that the first PING is answered.
        responder.look_up_networks(now);
        responder
    }

    /// Runs until the peer is stopped.
    pub fn run(mut self) {
        while !self.shared.stopped.load(Ordering::Acquire) {
            let now = Instant::now();
            let next = self.turn(now);
            self.listen(next.min(now + TURN));
        }
    }

    /// Does all that is due; says when something will be.
    fn turn(&mut self, now: Instant) -> Instant {
        if now >= self.networks_due {
            self.look_up_networks(now);
            self.crowd.expire(now);
            self.claim_port(now);
        }
        if self.shared.announce.swap(false, Ordering::AcqRel) {
            self.paces.iter_mut().for_each(|pace| pace.announce(now));
        }
        for subscriber in self.begun.take() {
            // With the first watch this peer begins to ask. Later ones are told what the roster knows.
            if self.subscribers.is_empty() {
                self.paces.iter_mut().for_each(|pace| pace.watch(now));
                self.seeds_due = now;
            }
            self.subscribers.push(subscriber);
        }
        // Before anything is sent: what nobody watches any more is not asked for.
        let mut events = Vec::new();
        self.roster.expire(now, &mut events);
        self.tell(&events);
        self.ask_for_the_silent(now);
        self.send_answers(now);
        self.send_signs(now);
        self.send_pings(now);

        // The earliest of all that is planned ends the next wait for a datagram.
        let paces = self
            .paces
            .iter()
            .flat_map(|pace| [pace.next_sign, pace.next_ping()]);
        let others = [
            self.answers.next(),
            self.roster.next(),
            Some(self.networks_due),
            self.asks_seeds().then_some(self.seeds_due),
        ];
        paces.chain(others).flatten().min().unwrap_or(now)
    }

    /// Looks which interfaces there are. A network that stays keeps its plans; a new one announces this peer.
    fn look_up_networks(&mut self, now: Instant) {
        self.networks_due = now + NETWORKS_EVERY;
        if let Some(tags) = &self.shared.tags {
            tags.renew();
        }
        let found = match networks_and_others(&self.shared.reach) {
            Ok((found, others)) => {
                self.other_networks = others;
                found
            }
            Err(error) => {
                // Those that were known are used on, until the next look.
                let listen = self.shared.listen;
                log::debug!(target: LOG, "{listen}: cannot list the network interfaces: {error}");
                return;
            }
        };
        if found == self.networks {
            return;
        }
        let mut before: Vec<_> = self.networks.drain(..).zip(self.paces.drain(..)).collect();
        for network in found {
            let pace = match before.iter().position(|(known, _)| *known == network) {
                Some(index) => before.swap_remove(index).1,
                None => {
                    let (listen, name, addr) = (self.shared.listen, &network.name, network.addr);
                    log::debug!(target: LOG, "{listen}: {name} has the address {addr}");
                    let mut pace = Pace::default();
                    pace.announce(now);
                    if !self.subscribers.is_empty() {
                        pace.watch(now);
                    }
                    pace
                }
            };
            self.networks.push(network);
            self.paces.push(pace);
        }
        for (network, _) in before {
            let (listen, name, addr) = (self.shared.listen, &network.name, network.addr);
            log::debug!(target: LOG, "{listen}: {name} no longer has the address {addr}");
        }
    }

    /// Tries again to get the discovery port, if another program had it.
    fn claim_port(&mut self, now: Instant) {
        if self.ear.hears_port {
            return;
        }
        let Shared { listen, port, .. } = *self.shared;
        match shared_socket(port) {
            Ok(socket) => {
                log::debug!(target: LOG, "{listen}: discoverable: UDP port {port} is free");
                self.ear = Ear {
                    socket: Arc::new(socket),
                    hears_port: true,
                };
                *lock(&self.shared.ear) = Some(self.ear.clone());
                // From now on this peer can be found and can hear others, as if it had just started.
                for pace in &mut self.paces {
                    pace.announce(now);
                    if !self.subscribers.is_empty() {
                        pace.watch(now);
                    }
                }
            }
            Err(error) => {
                log::trace!(target: LOG, "{listen}: UDP port {port} can still not be had: {error}");
            }
        }
    }

    /// Waits until this moment for a datagram.
    fn listen(&mut self, until: Instant) {
        let time = until
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        // One byte more than any beacon has, so that a longer one is seen to be longer.
        let mut buffer = [0; 129];
        match datagram::receive(&self.ear.socket, &mut buffer, time) {
            // Someone wakes a thread, perhaps this one.
            Ok((0, _)) => {}
            Ok((len, SocketAddr::V4(source))) => {
                self.errors = 0;
                self.hear(&buffer[..len], source);
            }
            Ok(_) => {}
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::Interrupted => {}
                _ => {
                    // No error ends this thread, and none makes it spin.
                    self.errors += 1;
                    if self.errors.is_power_of_two() {
                        let Shared { listen, port, .. } = *self.shared;
                        log::warn!(target: LOG, "{listen}: UDP port {port}: {error}");
                    }
                    if self.errors > 8 {
                        thread::sleep(Duration::from_millis(20));
                    }
                }
            },
        }
    }

    /// Asks where someone has been silent for long, although others ask as well.
    fn ask_for_the_silent(&mut self, now: Instant) {
        let others = self.crowd.others().staying;
        for ip in self.roster.doubted(now) {
            let mut networks = self.networks.iter();
            if let Some(network) = networks.position(|network| network.contains(ip)) {
                self.paces[network].doubt(others, now, &mut self.dice);
            }
        }
    }

    /// Answers those whose time has come. An answer goes to where the question came from, and tells an address that
    /// can be reached from there.
    fn send_answers(&mut self, now: Instant) {
        // The lock is held while sending: once `set_invisible` has returned, nothing goes out.
        let visible = lock(&self.shared.visible);
        if !*visible {
            return self.answers.clear();
        }
        let mut unsent = Vec::new();
        for (asker, question) in self.answers.due(now) {
            let Some(addr) = address_for(self.shared.listen, *asker.ip(), &self.networks) else {
                unsent.push((asker, io::Error::other("it could not reach this peer")));
                continue;
            };
            let card = Some(self.shared.card.clone());
            let pong = Pong { addr, card };
            let answer = match (&self.shared.tags, question.nonce) {
                (Some(tags), Some(nonce)) => {
                    tags.answer(pong, &nonce).map(|all| Some(all.to_vec()))
                }
                _ => pong.answer(question),
            };
            let sent = match answer {
                Ok(Some(datagram)) => self
                    .shared
                    .voice(&self.ear.socket, *asker.ip())
                    .send_to(&datagram, asker),
                Ok(None) => Err(io::Error::other("it would be longer than the question")),
                Err(error) => Err(io::Error::other(error)),
            };
            if let Err(error) = sent {
                unsent.push((asker, error));
            }
        }
        // The program's logger runs under no lock.
        drop(visible);
        for (asker, error) in unsent {
            log::trace!(target: LOG, "no answer to {asker}: {error}");
        }
    }

    /// Broadcasts a HERE on each network where one is due. The plan goes on while this peer is invisible, so that it
    /// is in step when it becomes visible again.
    fn send_signs(&mut self, now: Instant) {
        let visible = lock(&self.shared.visible);
        let mut outcomes = Vec::new();
        for (network, pace) in self.networks.iter().zip(&mut self.paces) {
            if pace.next_sign.is_none_or(|at| at > now) {
                continue;
            }
            let every = pace.sign(self.crowd.others().staying, now, &mut self.dice);
            // One who does not hear the port could not keep what a sign of life promises.
            if *visible && self.ear.hears_port {
                let here = Here {
                    addr: self.shared.address_on(network),
                    card: self.shared.card.clone(),
                    every,
                };
                let here = Beacon::Here(here);
                let sent = self.shared.try_broadcast(&self.ear.socket, network, &here);
                outcomes.push((network, sent));
            }
        }
        // The program's logger runs under no lock.
        drop(visible);
        for (network, sent) in outcomes {
            log_unsent(network, sent);
        }
    }

    /// Hosts that no broadcast reaches are asked one by one, but only while somebody watches.
    fn asks_seeds(&self) -> bool {
        !self.subscribers.is_empty() && !self.shared.reach.seeds.is_empty()
    }

    /// Asks on each network where a PING of the watch is due, and the seeds.
    fn send_pings(&mut self, now: Instant) {
        let visible = *lock(&self.shared.visible);
        if self.asks_seeds() && now >= self.seeds_due {
            let every = every(self.crowd.others().staying);
            self.seeds_due = now + Duration::from_secs(every.into());
            for &seed in self.shared.reach.seeds.iter() {
                self.shared.ask(&self.ear, seed, visible);
            }
        }
        for (network, pace) in self.networks.iter().zip(&mut self.paces) {
            if pace.next_ping().is_none_or(|at| at > now) {
                continue;
            }
            // Planned anew also where nothing can be sent: what is overdue for ever would keep this
            // thread from sleeping.
            let watch = pace.ping(self.crowd.others().staying, now);
            if let Some(broadcast) = network.broadcast {
                let ping = self
                    .shared
                    .watch_ping(&self.ear, network, broadcast, visible, watch);
                self.shared
                    .broadcast(&self.ear.socket, network, &Beacon::Ping(ping));
            }
        }
    }

    /// Tells those who watch what has happened, and forgets those who do so no longer.
    fn tell(&mut self, events: &[(Key, Presence)]) {
        if self.subscribers.is_empty() {
            return;
        }
        let roster = &self.roster;
        self.subscribers.retain_mut(|subscriber| {
            subscriber.is_held() && subscriber.tell(events) && subscriber.catch_up(roster)
        });
        if self.subscribers.is_empty() {
            self.paces.iter_mut().for_each(Pace::unwatch);
            // Unwatched, it would grow stale.
            self.roster = Roster::default();
        }
    }
}
