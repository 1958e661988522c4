//! How many peers there are, roughly. No sockets and no clock: time is an argument.
//!
//! All peers together send about as many signs of life however many they are, so each speaks the less often the
//! more there are. That makes this number worth an attack: whoever could inflate it would make every peer slow,
//! and a dead one late to be noticed.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::quota::{Origin, Standing, Verdict, admit};
use super::roster::NEIGHBOURS_MAX;
use crate::net::os::sync::{HashMap, Instant};

/// So many of one address count that have not proved to be there: by being heard for some seconds,
/// and from the port of discovery.
const UNPROVEN_PER_ADDRESS: usize = 4;

/// How many others there are.
///
/// Those who stay decide how often each speaks, and so after how much silence one is given up. Were
/// all counted that were ever heard, one burst of invented peers would make everyone slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Others {
    /// All that were heard: over so many answers are spread.
    pub heard: usize,
    /// Those of them that stay.
    pub staying: usize,
}

impl From<usize> for Others {
    fn from(count: usize) -> Others {
        Others {
            heard: count,
            staying: count,
        }
    }
}

/// The peers that were heard of lately. Kept also by peers that watch nobody, from what they
/// overhear.
#[derive(Default)]
pub(crate) struct Crowd {
    /// By their ids.
    peers: HashMap<u64, Heard>,
    /// Counted when the peers change, and asked for with each datagram.
    others: Others,
}

struct Heard {
    standing: Standing,
    /// Forgotten then, if it is not heard again.
    until: Instant,
}

impl Crowd {
    /// A peer that promised nothing is counted for this long.
    pub const UNPROMISED: Duration = Duration::from_secs(300);

    /// A peer was heard, which promised to be heard again within `promise`, if it promised anything. The first
    /// address that an id comes from is its own; what others say of it is not counted.
    pub fn note(&mut self, id: u64, origin: Origin, promise: Option<Duration>, now: Instant) {
        let until = now + promise.unwrap_or(Self::UNPROMISED);
        if let Some(peer) = self.peers.get_mut(&id) {
            // From elsewhere it may be a lie, and is not needed.
            if peer.standing.origin == origin {
                let was_proven = peer.standing.is_proven();
                peer.standing.heard = now;
                if promise.is_some() {
                    peer.until = until;
                }
                if was_proven != peer.standing.is_proven() {
                    self.count();
                }
            }
            return;
        }
        let standings = self.peers.iter().map(|(id, peer)| (*id, peer.standing));
        match admit(standings, NEIGHBOURS_MAX, origin, now) {
            Verdict::Welcome => {}
            Verdict::Instead(other) => drop(self.peers.remove(&other)),
            Verdict::Refused => return,
        }
        let standing = Standing::new(origin, now);
        self.peers.insert(id, Heard { standing, until });
        self.count();
    }

    /// A goodbye: it counts only from where the peer itself was heard.
    pub fn gone(&mut self, id: u64, origin: Origin) {
        let known = self.peers.get(&id);
        if known.is_some_and(|peer| origin.speaks_for(&peer.standing.origin)) {
            self.peers.remove(&id);
            self.count();
        }
    }

    /// Forgets those who were silent for too long. Called every other second or so: nobody waits for it.
    pub fn expire(&mut self, now: Instant) {
        self.peers.retain(|_, peer| peer.until > now);
        self.count();
    }

    pub fn others(&self) -> Others {
        self.others
    }

    /// Counts those who have proved that they stay, and of the others only a few for each address.
    fn count(&mut self) {
        let mut unproven: HashMap<Ipv4Addr, usize> = HashMap::default();
        let mut staying = 0;
        for Heard { standing, .. } in self.peers.values() {
            if standing.is_proven() && standing.origin.from_port {
                staying += 1;
            } else {
                *unproven.entry(standing.origin.ip).or_default() += 1;
            }
        }
        let few = unproven
            .values()
            .map(|count| count.min(&UNPROVEN_PER_ADDRESS));
        self.others = Others {
            heard: self.peers.len(),
            staying: staying + few.sum::<usize>(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    fn origin(host: u8, from_port: bool) -> Origin {
        Origin {
            ip: [10, 0, 0, host].into(),
            is_local: false,
            from_port,
        }
    }

    #[test]
    fn a_burst_of_invented_peers_makes_nobody_slow() {
        let (mut crowd, now) = (Crowd::default(), Instant::now());
        for from_port in [false, true] {
            for id in 0..1024 {
                crowd.note(id, origin(9, from_port), Some(900 * SEC), now);
            }
            assert_eq!(crowd.others().staying, UNPROVEN_PER_ADDRESS);
            assert!(crowd.others().heard <= 64);
        }
        // What does not come from the port of discovery is no lanpeer, however long it goes on.
        let mut crowd = Crowd::default();
        for second in 0..100 {
            (0..1024).for_each(|id| crowd.note(id, origin(9, false), None, now + SEC * second));
        }
        assert_eq!(crowd.others().staying, UNPROVEN_PER_ADDRESS);
    }

    #[test]
    fn those_who_stay_all_count() {
        let (mut crowd, now) = (Crowd::default(), Instant::now());
        for second in [0, 2, 4] {
            for host in 0..10 {
                for id in 0..20 {
                    let id = u64::from(host) << 8 | id;
                    crowd.note(id, origin(host, true), Some(10 * SEC), now + SEC * second);
                }
            }
            let staying = if second < 3 { 40 } else { 200 };
            assert_eq!(
                crowd.others(),
                Others {
                    heard: 200,
                    staying
                }
            );
        }
        crowd.expire(now + 13 * SEC);
        assert_eq!(crowd.others(), 200.into());
        crowd.expire(now + 14 * SEC);
        assert_eq!(crowd.others(), 0.into());
    }

    #[test]
    fn a_goodbye_from_elsewhere_is_not_believed_nor_a_promise() {
        let (mut crowd, now) = (Crowd::default(), Instant::now());
        crowd.note(1, origin(1, true), Some(4 * SEC), now);
        crowd.gone(1, origin(2, true));
        crowd.note(1, origin(2, true), Some(900 * SEC), now);
        assert_eq!(crowd.others().heard, 1);
        crowd.gone(1, origin(1, true));
        assert_eq!(crowd.others().heard, 0);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut crowd, now) = (Crowd::default(), Instant::now());
        for id in 0..NEIGHBOURS_MAX as u64 + 200 {
            crowd.note(id, origin((id % 200) as u8, true), None, now);
        }
        assert_eq!(crowd.others().heard, NEIGHBOURS_MAX);
        crowd.expire(now + Crowd::UNPROMISED);
        assert_eq!(crowd.others().heard, 0);
    }
}
