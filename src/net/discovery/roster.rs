//! Who is there, from what was heard and when. No sockets and no clock: time is an argument.
//!
//! An entry is a neighbour; its places are the addresses where it was heard. A place goes when it has been
//! silent for longer than its peer promised, or when its own address says GONE; the entry goes with its last
//! place. The program is told when an entry comes, when its nearest address changes, and when it goes.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::LOG;
use super::quota::{Origin, Standing, Verdict, admit};
use crate::neighbour::{Neighbour, Presence};
use crate::net::os::sync::{HashMap, Instant};
use crate::proto::beacon::Card;

/// So many neighbours are known at most; who comes later is not seen until others have gone.
pub(crate) const NEIGHBOURS_MAX: usize = 1024;
/// So many addresses of one neighbour are known at most.
pub(crate) const ADDRS_MAX: usize = 8;

/// What makes two sightings one neighbour.
///
/// A lanpeer is known by its id, but anyone can claim an id. So a claim with another name or
/// service, or one from this host where the other is from the network, is another neighbour: what
/// it says changes nothing about the first. Any other peer is known by its address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Card {
        card: Card,
        is_local: bool,
        /// What it says has the tag of somebody with the secret. Whoever claims the same without one
        /// is another neighbour.
        is_member: bool,
    },
    Addr(SocketAddrV4),
}

impl Key {
    pub fn new(addr: SocketAddrV4, card: Option<Card>, origin: Origin, is_member: bool) -> Key {
        let is_local = origin.is_local;
        card.map_or(Key::Addr(addr), |card| Key::Card {
            card,
            is_local,
            is_member,
        })
    }

    pub fn is_member(&self) -> bool {
        matches!(
            self,
            Key::Card {
                is_member: true,
                ..
            }
        )
    }

    fn has_id(&self, wanted: u64) -> bool {
        matches!(self, Key::Card { card, .. } if card.id == wanted)
    }

    /// Can what has this key be the same program as what has that one? Not if only one of them is
    /// on this host.
    fn may_be(&self, other: &Key) -> bool {
        match (self, other) {
            (Key::Card { is_local: a, .. }, Key::Card { is_local: b, .. }) => a == b,
            _ => true,
        }
    }

    pub fn neighbour(&self, addrs: Vec<SocketAddrV4>) -> Neighbour {
        match self {
            Key::Card {
                card, is_member, ..
            } => Neighbour {
                is_member: *is_member,
                ..Neighbour::new(addrs, Some(card))
            },
            Key::Addr(_) => Neighbour::new(addrs, None),
        }
    }
}

/// A sign of life.
#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    pub addr: SocketAddrV4,
    /// How far away that address is; see [`super::networks::distance`].
    pub distance: u8,
    pub origin: Origin,
    pub card: Option<Card>,
    /// The count of a member's sign of life; `None`: it has proved nothing.
    pub count: Option<u64>,
    /// It is gone if it is silent for longer.
    pub patience: Duration,
    /// The patience is what the peer promised itself, and not only our guess.
    pub promised: bool,
}

/// The neighbours that are there.
#[derive(Default)]
pub(crate) struct Roster {
    /// None of them is without a place.
    entries: HashMap<Key, Entry>,
}

/// A neighbour.
struct Entry {
    /// In the order in which they are told: nearest first.
    places: Vec<Place>,
    /// As it was last told.
    neighbour: Neighbour,
}

/// An address where a neighbour was heard.
struct Place {
    addr: SocketAddrV4,
    distance: u8,
    /// The count with which a member has said so last.
    count: Option<u64>,
    /// Who said so, since when, and when last.
    standing: Standing,
    /// How much silence is allowed,
    patience: Duration,
    /// and when that is over.
    until: Instant,
    /// When its silence is long enough to ask for it.
    doubt: Instant,
}

impl Roster {
    /// Takes in a sign of life; what changed by it is appended to `out`.
    pub fn seen(&mut self, sighting: Sighting, now: Instant, out: &mut Vec<(Key, Presence)>) {
        let Sighting {
            addr,
            distance,
            origin,
            card,
            count,
            patience,
            promised,
        } = sighting;
        let key = Key::new(addr, card, origin, count.is_some());
        let is_there = |entry: &Entry| entry.places.iter().any(|place| place.addr == addr);
        let until = now + patience;
        if let Some(place) = self.place(&key, addr) {
            place.standing.heard = now;
            // An answer may have been overtaken.
            place.count = place.count.max(count);
            // A guess does not shorten a promise.
            place.until = match promised {
                true => until,
                false => place.until.max(until),
            };
            place.patience = patience;
            place.doubt = now + patience / 2;
            return;
        }
        // Where a member is, only members are believed; and of those that have been there one after another,
        // what an earlier one has said was recorded and is said again.
        let mut places = self.entries.values().flat_map(|entry| &entry.places);
        if places.any(|place| place.addr == addr && place.count > count) {
            return;
        }
        // What was known at this address until now, if it may be the same program.
        let other = self
            .entries
            .iter()
            .find(|(other, entry)| is_there(entry) && key.may_be(other))
            .map(|(other, _)| other.clone());
        // The same peer again, in the words of the protocol without ids.
        if other.is_some() && matches!(key, Key::Addr(_)) {
            return;
        }
        // A neighbour that claims ever more addresses keeps its first ones.
        if let Some(entry) = self.entries.get(&key) {
            if entry.places.len() >= ADDRS_MAX {
                return;
            }
        }
        // Whoever listened there before does so no longer: it was started again.
        if let Some(other) = other {
            self.retain(&other, out, |place| place.addr != addr);
        }
        if !self.make_room(&key, origin, now, out) {
            log::trace!(target: LOG, "{addr} not listed: enough neighbours are known");
            return;
        }
        let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry {
            places: Vec::new(),
            neighbour: key.neighbour(Vec::new()),
        });
        let behind = entry
            .places
            .partition_point(|place| place.distance <= distance);
        entry.places.insert(
            behind,
            Place {
                addr,
                distance,
                count,
                standing: Standing::new(origin, now),
                patience,
                until,
                doubt: now + patience / 2,
            },
        );
        entry.neighbour.addrs = entry.places.iter().map(|place| place.addr).collect();
        // Told again where the address to connect to is another one; a farther one is no news.
        if behind == 0 {
            out.push((key, Presence::Found(entry.neighbour.clone())));
        }
    }

    /// A goodbye. It counts for what is at the address that it came from, and nothing else, and for a member
    /// only if a member said it.
    pub fn gone(
        &mut self,
        id: u64,
        origin: Origin,
        by_member: bool,
        out: &mut Vec<(Key, Presence)>,
    ) {
        let meant: Vec<Key> = self
            .entries
            .keys()
            .filter(|key| key.has_id(id) && (by_member || !key.is_member()))
            .cloned()
            .collect();
        for key in meant {
            self.retain(&key, out, |place| {
                !origin.speaks_for(&place.standing.origin)
            });
        }
    }

    /// Takes off who was silent for too long.
    pub fn expire(&mut self, now: Instant, out: &mut Vec<(Key, Presence)>) {
        let late = |entry: &Entry| entry.places.iter().any(|place| place.until <= now);
        let keys: Vec<Key> = self
            .entries
            .iter()
            .filter(|(_, e)| late(e))
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            self.retain(&key, out, |place| place.until > now);
        }
    }

    /// Where those are whose silence has become long enough to ask for them; each is told again
    /// later, if it stays silent.
    pub fn doubted(&mut self, now: Instant) -> Vec<Ipv4Addr> {
        let mut from: Vec<Ipv4Addr> = Vec::new();
        let places = self
            .entries
            .values_mut()
            .flat_map(|entry| &mut entry.places);
        for place in places.filter(|place| place.doubt <= now) {
            place.doubt = now + (place.patience / 4).max(Duration::from_millis(500));
            if !from.contains(&place.standing.origin.ip) {
                from.push(place.standing.origin.ip);
            }
        }
        from
    }

    /// When `expire` or `doubted` next has something to do.
    pub fn next(&self) -> Option<Instant> {
        self.entries
            .values()
            .flat_map(|entry| &entry.places)
            .map(|place| place.until.min(place.doubt))
            .min()
    }

    pub fn get(&self, key: &Key) -> Option<&Neighbour> {
        self.entries.get(key).map(|entry| &entry.neighbour)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Neighbour)> {
        self.entries
            .iter()
            .map(|(key, entry)| (key, &entry.neighbour))
    }

    fn place(&mut self, key: &Key, addr: SocketAddrV4) -> Option<&mut Place> {
        let places = &mut self.entries.get_mut(key)?.places;
        places.iter_mut().find(|place| place.addr == addr)
    }

    /// Makes room for one more place from there, if it is due any; each address has its share. Those who are no
    /// members have what members leave.
    fn make_room(
        &mut self,
        key: &Key,
        origin: Origin,
        now: Instant,
        out: &mut Vec<(Key, Presence)>,
    ) -> bool {
        let is_member = key.is_member();
        let of_kind = |entry: &(&Key, &Entry)| entry.0.is_member() == is_member;
        let places = self.entries.iter().filter(of_kind);
        let places = places.flat_map(|(key, entry)| {
            let places = entry.places.iter();
            places.map(move |place| ((key, place.addr), place.standing))
        });
        // First the places of this sender, of which each address has its share.
        match admit(places, usize::MAX, origin, now) {
            Verdict::Welcome => {}
            Verdict::Refused => return false,
            Verdict::Instead((key, addr)) => {
                let key = key.clone();
                self.retain(&key, out, |place| place.addr != addr);
            }
        }
        if self.entries.contains_key(key) {
            return true;
        }
        // Then the entries, of which there are only so many. The first place stands for its entry.
        let of_others = self.entries.iter().filter(|entry| !of_kind(entry));
        let of_others = of_others.map(|(key, entry)| (key, entry.places[0].standing));
        let entries = self.entries.iter().filter(of_kind);
        let entries = entries.map(|(key, entry)| (key, entry.places[0].standing));
        let max = match is_member {
            true => NEIGHBOURS_MAX,
            false => NEIGHBOURS_MAX - of_others.clone().count().min(NEIGHBOURS_MAX),
        };
        match admit(entries, max, origin, now) {
            Verdict::Welcome if self.entries.len() < NEIGHBOURS_MAX => {}
            Verdict::Welcome => {
                let other = of_others.min_by_key(|(_, standing)| standing.heard);
                let Some((other, _)) = other else {
                    return false;
                };
                let other = other.clone();
                self.retain(&other, out, |_| false);
            }
            Verdict::Refused => return false,
            Verdict::Instead(key) => {
                let key = key.clone();
                self.retain(&key, out, |_| false);
            }
        }
        true
    }

    /// Keeps only some places of an entry, and says what that means.
    fn retain(
        &mut self,
        key: &Key,
        out: &mut Vec<(Key, Presence)>,
        keep: impl FnMut(&Place) -> bool,
    ) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.places.retain(keep);
        match entry.places.first() {
            None => {
                let neighbour = entry.neighbour.clone();
                self.entries.remove(key);
                out.push((key.clone(), Presence::Lost(neighbour)));
            }
            Some(nearest) => {
                let moved = entry.neighbour.addrs.first() != Some(&nearest.addr);
                entry.neighbour.addrs = entry.places.iter().map(|place| place.addr).collect();
                if moved {
                    out.push((key.clone(), Presence::Found(entry.neighbour.clone())));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
