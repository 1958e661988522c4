//! Who is there, from what was heard and when. No sockets and no clock: time is an argument.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::LOG;
use crate::neighbour::{Neighbour, PeerId, Presence};
use crate::proto::beacon::Card;

/// So many neighbours are known at most; who comes later is not seen until others have gone.
pub(crate) const NEIGHBOURS_MAX: usize = 1024;
/// So many addresses of one neighbour are known at most.
const ADDRS_MAX: usize = 8;

/// A lanpeer is known by its id, any other by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Id(u64),
    Addr(SocketAddrV4),
}

impl Key {
    pub fn new(addr: SocketAddrV4, card: Option<&Card>) -> Key {
        card.map_or(Key::Addr(addr), |card| Key::Id(card.id))
    }
}

/// A sign of life.
#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    pub addr: SocketAddrV4,
    /// How far away that address is; see [`super::networks::distance`].
    pub distance: u8,
    pub card: Option<Card>,
    /// It is gone if it is silent for longer.
    pub patience: Duration,
    /// The patience is what the peer promised itself, and not only our guess.
    pub promised: bool,
}

/// The neighbours that are there.
#[derive(Default)]
pub(crate) struct Roster {
    entries: HashMap<Key, Entry>,
}

struct Entry {
    /// In the order in which they are told: nearest first.
    places: Vec<Place>,
    neighbour: Neighbour,
}

struct Place {
    addr: SocketAddrV4,
    distance: u8,
    until: Instant,
}

impl Roster {
    /// Takes in a sign of life; what changed by it is appended to `out`.
    pub fn seen(&mut self, sighting: Sighting, now: Instant, out: &mut Vec<(Key, Presence)>) {
        let Sighting {
            addr,
            distance,
            card,
            patience,
            promised,
        } = sighting;
        let key = Key::new(addr, card.as_ref());
        if !self.entries.contains_key(&key) && self.entries.len() >= NEIGHBOURS_MAX {
            log::trace!(target: LOG, "{addr} not listed: {NEIGHBOURS_MAX} neighbours are known already");
            return;
        }
        let is_there = |entry: &Entry| entry.places.iter().any(|place| place.addr == addr);
        if !self.entries.get(&key).is_some_and(is_there) {
            let other = self
                .entries
                .iter()
                .find(|(_, entry)| is_there(entry))
                .map(|(key, _)| *key);
            match (other, key) {
                // The same peer again, in the words of the protocol without ids.
                (Some(_), Key::Addr(_)) => return,
                // Whoever listened there before does so no longer: it was started again.
                (Some(other), Key::Id(_)) => self.retain(other, out, |place| place.addr != addr),
                (None, _) => {}
            }
        }
        let id = card.as_ref().map(|card| PeerId(card.id));
        let (name, service) = card
            .map(|card| (card.name, card.service))
            .unwrap_or_default();
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            places: Vec::new(),
            neighbour: Neighbour {
                addrs: Vec::new(),
                id,
                name: String::new(),
                service: String::new(),
            },
        });
        let until = now + patience;
        match entry.places.iter().position(|place| place.addr == addr) {
            Some(index) => {
                let place = &mut entry.places[index];
                // A guess does not shorten a promise.
                place.until = if promised {
                    until
                } else {
                    place.until.max(until)
                };
            }
            None if entry.places.len() < ADDRS_MAX => {
                let behind = entry
                    .places
                    .partition_point(|place| place.distance <= distance);
                entry.places.insert(
                    behind,
                    Place {
                        addr,
                        distance,
                        until,
                    },
                );
            }
            None => {}
        }
        let nearest = entry.neighbour.addrs.first().copied();
        let changed = nearest != Some(entry.places[0].addr)
            || entry.neighbour.name != name
            || entry.neighbour.service != service;
        entry.neighbour.addrs = entry.places.iter().map(|place| place.addr).collect();
        if changed {
            entry.neighbour.name = name;
            entry.neighbour.service = service;
            out.push((key, Presence::Found(entry.neighbour.clone())));
        }
    }

    /// A goodbye, believed only from where the peer lives.
    pub fn gone(&mut self, id: u64, source: Ipv4Addr, out: &mut Vec<(Key, Presence)>) {
        let key = Key::Id(id);
        let Some(entry) = self.entries.get(&key) else {
            return;
        };
        let lives_there = |place: &Place| *place.addr.ip() == source;
        // On loopback it may have any of this host's addresses.
        if source.is_loopback() || entry.places.iter().any(lives_there) {
            self.retain(key, out, |_| false);
        }
    }

    /// Takes off who was silent for too long.
    pub fn expire(&mut self, now: Instant, out: &mut Vec<(Key, Presence)>) {
        let late = |entry: &Entry| entry.places.iter().any(|place| place.until <= now);
        let keys: Vec<Key> = self
            .entries
            .iter()
            .filter(|(_, e)| late(e))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.retain(key, out, |place| place.until > now);
        }
    }

    /// When `expire` next has something to do.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.entries
            .values()
            .flat_map(|entry| &entry.places)
            .map(|place| place.until)
            .min()
    }

    pub fn get(&self, key: &Key) -> Option<&Neighbour> {
        self.entries.get(key).map(|entry| &entry.neighbour)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Key, &Neighbour)> {
        self.entries
            .iter()
            .map(|(key, entry)| (*key, &entry.neighbour))
    }

    /// Keeps only some places of an entry, and says what that means.
    fn retain(
        &mut self,
        key: Key,
        out: &mut Vec<(Key, Presence)>,
        keep: impl FnMut(&Place) -> bool,
    ) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        entry.places.retain(keep);
        match entry.places.first() {
            None => {
                let neighbour = entry.neighbour.clone();
                self.entries.remove(&key);
                out.push((key, Presence::Lost(neighbour)));
            }
            Some(nearest) => {
                let moved = entry.neighbour.addrs.first() != Some(&nearest.addr);
                entry.neighbour.addrs = entry.places.iter().map(|place| place.addr).collect();
                if moved {
                    out.push((key, Presence::Found(entry.neighbour.clone())));
                }
            }
        }
    }
}

/// How many peers there are, roughly: it decides how far answers are spread. Kept also by peers
/// that watch nobody, from what they overhear.
#[derive(Default)]
pub(crate) struct Crowd {
    until: HashMap<u64, Instant>,
}

impl Crowd {
    /// A peer that promised nothing is counted for this long.
    const UNPROMISED: Duration = Duration::from_secs(300);

    pub fn note(&mut self, id: u64, promise: Option<Duration>, now: Instant) {
        let full = self.until.len() >= NEIGHBOURS_MAX;
        match (self.until.get_mut(&id), promise) {
            (Some(until), Some(promise)) => *until = now + promise,
            (Some(_), None) => {}
            (None, _) if full => {}
            (None, promise) => {
                self.until
                    .insert(id, now + promise.unwrap_or(Self::UNPROMISED));
            }
        }
    }

    pub fn gone(&mut self, id: u64) {
        self.until.remove(&id);
    }

    pub fn expire(&mut self, now: Instant) {
        self.until.retain(|_, until| *until > now);
    }

    /// The others.
    pub fn len(&self) -> usize {
        self.until.len()
    }
}

#[cfg(test)]
mod tests;
