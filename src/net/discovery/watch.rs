//! Those who are told of neighbours that come and go.

use std::collections::HashMap;

use crossbeam_channel::{Receiver, SendError, Sender};

use super::roster::{Key, Roster};
use crate::neighbour::{Neighbour, Presence};

/// So many untaken reports are kept per watch.
const REPORTS_MAX: usize = 1024;

/// One watch.
///
/// A program that does not take its reports costs a bounded memory and misses no outcome: when its
/// channel is full it is told nothing more, and once it has taken some, what then differs from
/// what it was told last.
pub(crate) struct Subscriber {
    sender: Sender<Presence>,
    service: Option<String>,
    told: HashMap<Key, Neighbour>,
    behind: bool,
}

impl Subscriber {
    pub fn new(service: Option<String>) -> (Subscriber, Receiver<Presence>) {
        let (sender, receiver) = crossbeam_channel::unbounded();
        // It begins behind: those who are there already are news for it.
        (
            Subscriber {
                sender,
                service,
                told: HashMap::new(),
                behind: true,
            },
            receiver,
        )
    }

    /// Passes on what happened; false when nobody listens any more.
    #[must_use]
    pub fn tell(&mut self, events: &[(Key, Presence)]) -> bool {
        events.iter().all(|(key, presence)| {
            let now = match presence {
                Presence::Found(neighbour) => Some(neighbour),
                Presence::Lost(_) => None,
            };
            self.behind || self.update(*key, now)
        })
    }

    /// Tells what it has missed, as far as there is room; false when nobody listens any more.
    #[must_use]
    pub fn catch_up(&mut self, roster: &Roster) -> bool {
        if !self.behind || self.sender.len() > REPORTS_MAX / 2 {
            return true;
        }
        self.behind = false;
        let told: Vec<Key> = self.told.keys().copied().collect();
        let gone = told
            .into_iter()
            .filter(|key| roster.get(key).is_none())
            .map(|key| (key, None));
        let here = roster.iter().map(|(key, neighbour)| (key, Some(neighbour)));
        gone.chain(here)
            .all(|(key, now)| self.behind || self.update(key, now))
    }

    /// Brings this watch's view of one neighbour up to date; false when nobody listens any more.
    fn update(&mut self, key: Key, now: Option<&Neighbour>) -> bool {
        let now = now.filter(|neighbour| neighbour.offers(&self.service));
        let report = match (self.told.get(&key), now) {
            (Some(then), Some(now)) if then == now => return true,
            (None, None) => return true,
            (_, Some(now)) => Presence::Found(now.clone()),
            (Some(then), None) => Presence::Lost(then.clone()),
        };
        // Only this thread sends, so the bound holds; a bounded channel would reserve it all at once.
        if self.sender.len() >= REPORTS_MAX {
            self.behind = true;
            return true;
        }
        match self.sender.send(report) {
            Ok(()) => {
                match now {
                    Some(now) => self.told.insert(key, now.clone()),
                    None => self.told.remove(&key),
                };
                true
            }
            Err(SendError(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::net::discovery::roster::Sighting;
    use crate::proto::beacon::Card;

    fn see(roster: &mut Roster, id: u64, service: &str) -> Vec<(Key, Presence)> {
        let card = Card {
            id,
            name: String::new(),
            service: service.to_owned(),
        };
        let addr = std::net::SocketAddrV4::new([10, 0, 0, 1].into(), 1000 + id as u16);
        let patience = Duration::from_secs(9);
        let mut out = Vec::new();
        let sighting = Sighting {
            addr,
            distance: 2,
            card: Some(card),
            patience,
            promised: true,
        };
        roster.seen(sighting, Instant::now(), &mut out);
        out
    }

    fn lose(roster: &mut Roster, id: u64) -> Vec<(Key, Presence)> {
        let mut out = Vec::new();
        roster.gone(id, [10, 0, 0, 1].into(), &mut out);
        out
    }

    /// Adds up the reports to who is there.
    fn view(receiver: &Receiver<Presence>, there: &mut Vec<u16>) {
        for presence in receiver.try_iter() {
            let port = presence.neighbour().addr().port();
            there.retain(|&other| other != port);
            if let Presence::Found(_) = presence {
                there.push(port);
            }
        }
        there.sort_unstable();
    }

    #[test]
    fn a_watch_of_a_service_hears_of_no_other() {
        let mut roster = Roster::default();
        let (mut chat, receiver) = Subscriber::new(Some("chat".into()));
        assert!(chat.catch_up(&roster));
        for (id, service) in [(1, "chat"), (2, "print"), (3, "")] {
            assert!(chat.tell(&see(&mut roster, id, service)));
        }
        assert!(chat.tell(&lose(&mut roster, 2)));
        assert_eq!(receiver.try_iter().count(), 1);
        // One that becomes another program is lost to this watch.
        assert!(chat.tell(&see(&mut roster, 1, "print")));
        assert!(matches!(receiver.try_recv(), Ok(Presence::Lost(_))));
    }

    #[test]
    fn one_who_does_not_listen_for_long_misses_no_outcome() {
        let mut roster = Roster::default();
        let (mut slow, receiver) = Subscriber::new(None);
        assert!(slow.catch_up(&roster));
        for round in 0..600 {
            for id in 0..3 {
                assert!(slow.tell(&see(&mut roster, id, "")));
                if round < 599 || id == 1 {
                    assert!(slow.tell(&lose(&mut roster, id)));
                }
            }
        }
        assert!(slow.behind);
        assert_eq!(receiver.len(), REPORTS_MAX);
        assert!(slow.catch_up(&roster));
        assert!(slow.behind, "there is no room yet");
        let mut there = Vec::new();
        view(&receiver, &mut there);
        assert!(slow.catch_up(&roster));
        view(&receiver, &mut there);
        assert_eq!(there, [1000, 1002]);
    }

    #[test]
    fn one_who_went_away_is_noticed() {
        let mut roster = Roster::default();
        let (mut gone, receiver) = Subscriber::new(None);
        drop(receiver);
        assert!(gone.catch_up(&roster), "nothing to tell, nothing noticed");
        assert!(!gone.tell(&see(&mut roster, 1, "")));
    }
}
