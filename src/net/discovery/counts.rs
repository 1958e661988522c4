//! Which counts of members were heard: what was recorded and is said again is old. No sockets and no clock:
//! time is an argument.
//!
//! All that a peer says has one count, which rises. On each of its networks it says its own signs of life, and
//! one that hears several may hear them in another order; so signs are compared for each address that they
//! name, but none may be much older than the newest. A goodbye names none, and is compared with all of them.

use std::net::SocketAddrV4;

use super::roster::ADDRS_MAX;
use crate::net::os::sync::{HashMap, Instant};

/// So many members are remembered, also when they have gone: the one that was not heard for the longest is
/// forgotten. Only what was said by somebody with the secret comes here, and a peer has one id while it runs.
const MEMBERS_MAX: usize = 4096;

/// A peer says at most so much, on all of its networks, before what it said first is heard.
const INTERLEAVED: u64 = 64;

#[derive(Default)]
pub(crate) struct Counts {
    /// By their ids.
    members: HashMap<u64, Heard>,
}

struct Heard {
    /// Of its last goodbye; 0 before the first.
    gone: u64,
    /// The highest of the signs that were forgotten: what was said before is not taken again at their addresses.
    forgotten: u64,
    /// Of the last sign of life, by the address that it named.
    signs: Vec<(SocketAddrV4, u64)>,
    last: Instant,
}

impl Heard {
    fn highest(&self) -> u64 {
        let signs = self.signs.iter().map(|(_, count)| *count);
        signs
            .max()
            .unwrap_or_default()
            .max(self.gone)
            .max(self.forgotten)
    }
}

impl Counts {
    /// A sign of life. False: it was said before, or before what was heard since.
    pub fn sign(&mut self, id: u64, addr: SocketAddrV4, count: u64, now: Instant) -> bool {
        let heard = self.heard(id, now);
        let highest = heard.highest();
        let known = heard.signs.iter_mut().find(|(known, _)| *known == addr);
        let last = known.as_ref().map_or(heard.forgotten, |(_, last)| *last);
        if count <= last.max(heard.gone) || count + INTERLEAVED <= highest {
            return false;
        }
        match known {
            Some((_, last)) => *last = count,
            None => {
                // Addresses come and go: the one of the oldest sign goes.
                if heard.signs.len() >= ADDRS_MAX {
                    heard.signs.sort_by_key(|(_, count)| *count);
                    heard.forgotten = heard.forgotten.max(heard.signs.remove(0).1);
                }
                heard.signs.push((addr, count));
            }
        }
        true
    }

    /// A goodbye. False: the peer has spoken since.
    pub fn gone(&mut self, id: u64, count: u64, now: Instant) -> bool {
        let heard = self.heard(id, now);
        let is_new = count > heard.highest();
        if is_new {
            heard.gone = count;
        }
        is_new
    }

    fn heard(&mut self, id: u64, now: Instant) -> &mut Heard {
        if self.members.len() >= MEMBERS_MAX && !self.members.contains_key(&id) {
            let oldest = self.members.iter().min_by_key(|(_, heard)| heard.last);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.members.remove(&oldest);
            }
        }
        let new = || Heard {
            gone: 0,
            forgotten: 0,
            signs: Vec::new(),
            last: now,
        };
        let heard = self.members.entry(id).or_insert_with(new);
        heard.last = now;
        heard
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn addr(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new([10, 0, 0, 1].into(), port)
    }

    #[test]
    fn what_was_heard_is_old_and_so_is_what_came_before() {
        let (mut counts, now) = (Counts::default(), Instant::now());
        assert!(counts.sign(1, addr(1), 10, now));
        assert!(!counts.sign(1, addr(1), 10, now));
        assert!(!counts.sign(1, addr(1), 9, now));
        assert!(counts.sign(1, addr(1), 11, now));
        // On another network it was said before, and comes later. Another peer counts for itself.
        assert!(counts.sign(1, addr(2), 10, now));
        // At an address that it has left since.
        assert!(counts.sign(3, addr(2), 100, now));
        assert!(!counts.sign(3, addr(1), 30, now));
        assert!(counts.sign(2, addr(1), 1, now));
    }

    #[test]
    fn an_old_goodbye_takes_nobody_off() {
        let (mut counts, now) = (Counts::default(), Instant::now());
        assert!(counts.gone(1, 5, now));
        assert!(!counts.sign(1, addr(1), 4, now), "said before the goodbye");
        assert!(counts.sign(1, addr(1), 6, now));
        assert!(!counts.gone(1, 5, now) && !counts.gone(1, 6, now));
        assert!(counts.sign(1, addr(2), 8, now));
        assert!(!counts.gone(1, 7, now));
        assert!(counts.gone(1, 9, now));
        assert!(!counts.sign(1, addr(1), 7, now) && !counts.sign(1, addr(3), 9, now));
    }

    #[test]
    fn memory_is_bounded_and_the_latest_are_kept() {
        let (mut counts, begin) = (Counts::default(), Instant::now());
        let members = MEMBERS_MAX as u64 + 100;
        for id in 0..members {
            let now = begin + Duration::from_millis(id);
            (0..20).for_each(|port| assert!(counts.sign(id, addr(port), 7 + u64::from(port), now)));
        }
        assert_eq!(counts.members.len(), MEMBERS_MAX);
        assert!(
            counts
                .members
                .values()
                .all(|heard| heard.signs.len() <= ADDRS_MAX)
        );
        let now = begin + Duration::from_secs(60);
        assert!(!counts.sign(members - 1, addr(19), 26, now));
        assert!(counts.sign(0, addr(19), 26, now), "long forgotten");
    }

    #[test]
    fn a_sign_of_a_forgotten_address_is_old_too() {
        let (mut counts, now) = (Counts::default(), Instant::now());
        let signs = (1..=20).map(|port| (addr(port), u64::from(port)));
        signs
            .clone()
            .for_each(|(addr, count)| assert!(counts.sign(1, addr, count, now)));
        for (addr, count) in signs {
            assert!(!counts.sign(1, addr, count, now), "{addr}");
        }
        assert!(counts.sign(1, addr(1), 21, now));
    }
}
