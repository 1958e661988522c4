//! Who may be kept in a table of bounded size, so that no machine can fill it alone. No sockets and
//! no clock: time is an argument.

use std::hash::Hash;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::net::os::sync::{HashMap, Instant};

/// A table has so many entries from one address at most…
pub(crate) const PER_ADDRESS: usize = 64;
/// …and so many of them from other ports than that of discovery, from which lanpeers speak. So a
/// program of another user cannot crowd out the peers of its own host.
pub(crate) const PER_ADDRESS_FROM_OTHER_PORTS: usize = PER_ADDRESS / 2;
/// Whoever was heard for so long is not given up for a newcomer from the same address.
const PROBATION: Duration = Duration::from_secs(3);
/// Whoever was heard within this time is not either. A peer that starts says so for 750 ms, so it
/// gets in behind a flood that is over.
const SILENCE: Duration = Duration::from_millis(500);

/// Where a datagram came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub ip: Ipv4Addr,
    /// It is an address of this host.
    pub is_local: bool,
    /// It came from the port of discovery, as all that lanpeers broadcast does.
    pub from_port: bool,
}

impl Origin {
    /// May this one take back what that one said? Only a machine for itself, but this host's
    /// addresses all stand for one machine.
    pub fn speaks_for(&self, other: &Origin) -> bool {
        self.ip == other.ip || (self.is_local && other.is_local)
    }
}

/// What decides whether an entry stays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub origin: Origin,
    /// When it was heard first…
    pub since: Instant,
    /// …and last.
    pub heard: Instant,
}

impl Standing {
    pub fn new(origin: Origin, now: Instant) -> Standing {
        Standing {
            origin,
            since: now,
            heard: now,
        }
    }

    /// It was heard again and again, and not only in one burst.
    pub fn is_proven(&self) -> bool {
        self.heard.saturating_duration_since(self.since) >= PROBATION
    }

    fn may_go(&self, now: Instant) -> bool {
        !self.is_proven() && now.saturating_duration_since(self.heard) >= SILENCE
    }
}

/// What a table does with a newcomer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<K> {
    /// It has room.
    Welcome,
    /// It has room once this one is taken off.
    Instead(K),
    /// It has none.
    Refused,
}

/// Is there room for a newcomer from `origin` in a table with these entries, `max` at most?
pub(crate) fn admit<K: Copy + Eq + Hash>(
    entries: impl Iterator<Item = (K, Standing)> + Clone,
    max: usize,
    origin: Origin,
    now: Instant,
) -> Verdict<K> {
    let longest_silent = |entries: &mut dyn Iterator<Item = (K, Standing)>| {
        let oldest = entries.min_by_key(|(_, standing)| standing.heard);
        oldest.map_or(Verdict::Refused, |(key, _)| Verdict::Instead(key))
    };
    let mine = || {
        let entries = entries.clone();
        entries.filter(move |(_, standing)| standing.origin.ip == origin.ip)
    };
    let from_others = || mine().filter(|(_, standing)| !standing.origin.from_port);
    if !origin.from_port && from_others().count() >= PER_ADDRESS_FROM_OTHER_PORTS {
        return longest_silent(&mut from_others().filter(|(_, standing)| standing.may_go(now)));
    }
    let count = mine().count();
    if count >= PER_ADDRESS {
        return longest_silent(&mut mine().filter(|(_, standing)| standing.may_go(now)));
    }
    if entries.clone().count() < max {
        return Verdict::Welcome;
    }
    let mut counts: HashMap<Ipv4Addr, usize> = HashMap::default();
    for (_, standing) in entries.clone() {
        *counts.entry(standing.origin.ip).or_default() += 1;
    }
    match counts.into_iter().max_by_key(|&(ip, count)| (count, ip)) {
        Some((largest, most)) if most > count + 1 => {
            let of_largest = || {
                let entries = entries.clone();
                entries.filter(move |(_, standing)| standing.origin.ip == largest)
            };
            let unproven = || of_largest().filter(|(_, standing)| !standing.is_proven());
            match unproven().next() {
                Some(_) => longest_silent(&mut unproven()),
                None => longest_silent(&mut of_largest()),
            }
        }
        _ => Verdict::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    fn origin(ip: [u8; 4], from_port: bool) -> Origin {
        Origin {
            ip: ip.into(),
            is_local: false,
            from_port,
        }
    }

    /// A table that does what it is told; the keys are numbers.
    struct Table(Vec<(u32, Standing)>, u32);

    impl Table {
        fn admit(&mut self, origin: Origin, now: Instant) -> Option<u32> {
            match admit(self.0.iter().copied(), 200, origin, now) {
                Verdict::Welcome => {}
                Verdict::Instead(key) => self.0.retain(|(other, _)| *other != key),
                Verdict::Refused => return None,
            }
            self.1 += 1;
            self.0.push((self.1, Standing::new(origin, now)));
            assert!(self.0.len() <= 200);
            Some(self.1)
        }

        fn count(&self, origin: Origin) -> usize {
            self.0.iter().filter(|(_, s)| s.origin == origin).count()
        }
    }

    #[test]
    fn one_address_gets_its_share_and_no_more() {
        let (now, mut table) = (Instant::now(), Table(Vec::new(), 0));
        let (flood, real) = (origin([10, 0, 0, 1], true), origin([10, 0, 0, 2], true));
        let admitted = (0..1000)
            .filter(|_| table.admit(flood, now).is_some())
            .count();
        assert_eq!((admitted, table.count(flood)), (PER_ADDRESS, PER_ADDRESS));
        assert!(table.admit(real, now).is_some());
        // A newcomer of the same address gets in as soon as the flood is over.
        assert!(table.admit(flood, now + SILENCE / 2).is_none());
        assert!(table.admit(flood, now + SILENCE).is_some());
        assert_eq!(table.count(flood), PER_ADDRESS);
    }

    #[test]
    fn other_ports_do_not_take_the_place_of_peers() {
        let (now, mut table) = (Instant::now(), Table(Vec::new(), 0));
        let (flood, real) = (origin([10, 0, 0, 1], false), origin([10, 0, 0, 1], true));
        for _ in 0..1000 {
            table.admit(flood, now);
        }
        assert_eq!(table.count(flood), PER_ADDRESS_FROM_OTHER_PORTS);
        assert!(table.admit(real, now).is_some());
    }

    #[test]
    fn who_is_known_for_long_is_not_given_up_to_its_neighbour() {
        let (now, mut table) = (Instant::now(), Table(Vec::new(), 0));
        let real = origin([10, 0, 0, 1], true);
        let known = table.admit(real, now).unwrap();
        table.0[0].1.heard = now + PROBATION;
        for n in 0..1000 {
            table.admit(real, now + PROBATION + SEC * n);
        }
        assert!(table.0.iter().any(|(key, _)| *key == known));
        // All of them known for long: the next one is refused.
        let late = now + 2000 * SEC;
        table
            .0
            .iter_mut()
            .for_each(|(_, standing)| standing.heard = late);
        assert_eq!(table.admit(real, late + 900 * SEC), None);
    }

    #[test]
    fn a_full_table_makes_room_at_the_cost_of_the_largest() {
        let (now, mut table) = (Instant::now(), Table(Vec::new(), 0));
        for host in 0..4 {
            for _ in 0..PER_ADDRESS {
                table.admit(origin([10, 0, 0, host], true), now);
            }
        }
        assert_eq!(table.0.len(), 200);
        let before: Vec<_> = (0..4)
            .map(|n| table.count(origin([10, 0, 0, n], true)))
            .collect();
        assert!(
            before.iter().max().unwrap() - before.iter().min().unwrap() <= 2,
            "{before:?}"
        );
        for host in 4..100 {
            assert!(table.admit(origin([10, 0, 0, host], true), now).is_some());
        }
        assert!((4..100).all(|n| table.count(origin([10, 0, 0, n], true)) == 1));
        // Who would itself be the largest is refused.
        let mut table = Table(Vec::new(), 0);
        for host in 0..200 {
            table.admit(origin([10, 0, 1, host], true), now);
        }
        assert_eq!(table.admit(origin([10, 0, 2, 0], true), now), None);
    }

    #[test]
    fn who_speaks_for_whom() {
        let local = |ip| Origin {
            is_local: true,
            ..origin(ip, true)
        };
        let remote = |ip| origin(ip, true);
        assert!(local([127, 0, 0, 1]).speaks_for(&local([10, 0, 0, 1])));
        assert!(!local([127, 0, 0, 1]).speaks_for(&remote([10, 0, 0, 2])));
        assert!(remote([10, 0, 0, 2]).speaks_for(&remote([10, 0, 0, 2])));
        assert!(!remote([10, 0, 0, 3]).speaks_for(&remote([10, 0, 0, 2])));
    }
}
