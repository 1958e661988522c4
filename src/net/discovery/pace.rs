//! When to speak on one network. No sockets and no clock: time is an argument.
//!
//! The aim is a bounded traffic, however many peers there are: about four signs of life a second on
//! a network, and none at all while nobody watches.

use std::time::Duration;

use super::crowd::Others;
use super::dice::Dice;
use crate::net::os::sync::Instant;
use crate::proto::beacon::{EVERY_MAX, Watch};

/// The signs of life that all peers of a network together send in a second, while somebody watches.
const SIGNS_PER_SECOND: usize = 4;
/// After a start, or a new address, so many signs are sent at once: a datagram may get lost.
const ANNOUNCEMENTS: u32 = 3;
/// The pause after the first announcement; it doubles.
const ANNOUNCEMENT_PAUSE: Duration = Duration::from_millis(250);
/// A watch begins with so many PINGs, a second apart.
const OPENINGS: u32 = 2;
/// However many ask, this long is between a sign and the next that is sent for being asked.
const LEAST_PAUSE: Duration = Duration::from_millis(500);
/// Those who are asked by a watch that begins wait up to this long for each peer that they know…
const SPREAD_EACH: Duration = Duration::from_millis(2);
/// …and no longer than this.
const SPREAD_MAX: Duration = Duration::from_millis(500);

/// How often each of this many peers gives a sign of life, in seconds.
pub(crate) fn every(others: usize) -> u16 {
    let seconds = (others + 1).div_ceil(SIGNS_PER_SECOND);
    u16::try_from(seconds)
        .unwrap_or(EVERY_MAX)
        .clamp(1, EVERY_MAX)
}

/// How long a peer may be silent that promised a sign of life every so many seconds: three of them
/// may get lost.
pub(crate) fn patience(every: u16) -> Duration {
    Duration::from_secs(3 * u64::from(every) + 1)
}

/// The plans for one network.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Somebody wants signs of life, at least until then.
    watched_until: Option<Instant>,
    /// So many are still to be sent for having just come.
    announcements: u32,
    last_sign: Option<Instant>,
    pub next_sign: Option<Instant>,
    /// So many PINGs of a watch that has just begun are still to be sent.
    openings: u32,
    /// None while we watch nobody. Later when others ask for us.
    next_ping: Option<Instant>,
    /// A PING of our own that the PINGs of others do not spare us.
    needed_ping: Option<Instant>,
    last_ping: Option<Instant>,
}

impl Pace {
    /// We have just come to this network, or become visible on it.
    pub fn announce(&mut self, now: Instant) {
        self.announcements = ANNOUNCEMENTS;
        self.next_sign = Some(now);
    }

    /// We begin to watch.
    pub fn watch(&mut self, now: Instant) {
        self.openings = OPENINGS;
        self.next_ping = Some(now);
    }

    /// We watch no more.
    pub fn unwatch(&mut self) {
        (self.next_ping, self.needed_ping) = (None, None);
    }

    /// When we are to send a PING next.
    pub fn next_ping(&self) -> Option<Instant> {
        let due = self.next_ping?;
        Some(self.needed_ping.map_or(due, |needed| needed.min(due)))
    }

    /// Someone whom we know has been silent for long. Perhaps nobody has asked for signs of life:
    /// we may have kept quiet for a PING that only we could hear. So we ask, whoever else does.
    pub fn doubt(&mut self, others: usize, now: Instant, dice: &mut Dice) {
        if self.next_ping.is_none() || self.needed_ping.is_some() {
            return;
        }
        let half = Duration::from_secs(every(others).into()) / 2;
        // All who watch doubt at the same moment, and are not to ask at the same moment.
        let soon = now + dice.up_to(half);
        self.needed_ping = Some(self.last_ping.map_or(soon, |last| soon.max(last + half)));
    }

    /// A sign of life is sent now; in how many seconds comes the next one, if it is promised?
    pub fn sign(&mut self, others: usize, now: Instant, dice: &mut Dice) -> Option<u16> {
        let promise = self.is_watched(now).then(|| every(others));
        self.last_sign = Some(now);
        self.announcements = self.announcements.saturating_sub(1);
        self.next_sign = if self.announcements > 0 {
            Some(now + ANNOUNCEMENT_PAUSE * (1 << (ANNOUNCEMENTS - 1 - self.announcements)))
        } else {
            // Early by up to a quarter, so that peers that began together drift apart.
            promise.map(|every| {
                let every = Duration::from_secs(every.into());
                now + every - dice.up_to(every / 4)
            })
        };
        promise
    }

    /// A PING of our own watch is sent now; of which kind is it?
    pub fn ping(&mut self, others: usize, now: Instant) -> Watch {
        let watch = if self.openings > 0 {
            Watch::New
        } else {
            Watch::Keep
        };
        self.openings = self.openings.saturating_sub(1);
        let pause = if self.openings > 0 { 1 } else { every(others) };
        self.next_ping = Some(now + Duration::from_secs(pause.into()));
        (self.needed_ping, self.last_ping) = (None, Some(now));
        // Others who watch keep quiet when they hear this PING, and yet want signs of us.
        self.watched(watch, others.into(), now, &mut None);
        watch
    }

    /// The PING of someone else's watch was heard.
    pub fn heard(&mut self, watch: Watch, others: Others, now: Instant, dice: &mut Dice) {
        if let (Some(next), 0) = (self.next_ping, self.openings) {
            // It asked for us too. The one that has the shortest pause goes on asking.
            let every = Duration::from_secs(every(others.staying).into());
            self.next_ping = Some(next.max(now + every + dice.up_to(every / 2)));
        }
        self.asked(watch, others, now, dice);
    }

    /// The same, of somebody on whom this peer does not rely: it goes on asking itself.
    pub fn asked(&mut self, watch: Watch, others: Others, now: Instant, dice: &mut Dice) {
        self.watched(watch, others, now, &mut Some(dice));
    }

    /// With dice: a sign of life is wanted soon, by someone who has just begun.
    fn watched(
        &mut self,
        watch: Watch,
        others: Others,
        now: Instant,
        dice: &mut Option<&mut Dice>,
    ) {
        let news = watch == Watch::New || !self.is_watched(now);
        let until = now + patience(every(others.staying));
        self.watched_until = Some(self.watched_until.map_or(until, |before| before.max(until)));
        if news {
            let spread = SPREAD_EACH
                .saturating_mul(others.heard as u32)
                .min(SPREAD_MAX);
            let delay = dice
                .as_mut()
                .map_or(Duration::ZERO, |dice| dice.up_to(spread));
            let earliest = self.last_sign.map_or(now, |last| last + LEAST_PAUSE);
            let soon = (now + delay).max(earliest);
            self.next_sign = Some(self.next_sign.map_or(soon, |next| next.min(soon)));
        }
    }

    fn is_watched(&self, now: Instant) -> bool {
        self.watched_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    /// Runs a network of peers that hear each other, for so long; counts datagrams per second.
    struct World {
        now: Instant,
        dice: Dice,
        peers: Vec<Pace>,
        signs: Vec<usize>,
        pings: Vec<usize>,
    }

    impl World {
        fn new(peers: usize) -> World {
            let mut peers: Vec<Pace> = (0..peers).map(|_| Pace::default()).collect();
            let now = Instant::now();
            peers.iter_mut().for_each(|peer| peer.announce(now));
            World {
                now,
                dice: Dice::new(),
                peers,
                signs: Vec::new(),
                pings: Vec::new(),
            }
        }

        fn run(&mut self, seconds: usize) {
            let others = self.peers.len() - 1;
            for _ in 0..seconds {
                let (mut signs, mut pings) = (0, 0);
                for _ in 0..20 {
                    self.now += SEC / 20;
                    let mut asked = Vec::new();
                    for (index, peer) in self.peers.iter_mut().enumerate() {
                        if peer.next_ping().is_some_and(|at| at <= self.now) {
                            asked.push((index, peer.ping(others, self.now)));
                            pings += 1;
                        }
                    }
                    for (asker, watch) in asked {
                        for (index, peer) in self.peers.iter_mut().enumerate() {
                            if index != asker {
                                peer.heard(watch, others.into(), self.now, &mut self.dice);
                            }
                        }
                    }
                    for peer in &mut self.peers {
                        if peer.next_sign.is_some_and(|at| at <= self.now) {
                            peer.sign(others, self.now, &mut self.dice);
                            signs += 1;
                        }
                    }
                }
                self.signs.push(signs);
                self.pings.push(pings);
            }
        }
    }

    #[test]
    fn a_network_that_nobody_watches_is_quiet_after_three_announcements() {
        let mut world = World::new(5);
        world.run(10);
        assert_eq!(world.signs[0], 15);
        assert_eq!(world.signs[1..].iter().sum::<usize>(), 0);
        assert_eq!(world.pings.iter().sum::<usize>(), 0);
    }

    #[test]
    fn traffic_does_not_grow_with_the_number_of_peers_or_of_watchers() {
        for peers in [2, 20, 200, 1000] {
            let mut world = World::new(peers);
            let now = world.now;
            world.peers.iter_mut().for_each(|peer| peer.watch(now));
            let settle = 2 * usize::from(every(peers - 1)) + 5;
            world.run(settle);
            world.signs.clear();
            world.pings.clear();
            let seconds = 4 * usize::from(every(peers - 1)) + 60;
            world.run(seconds);
            let rate = |counts: &[usize]| counts.iter().sum::<usize>() as f64 / seconds as f64;
            let (signs, pings) = (rate(&world.signs), rate(&world.pings));
            println!(
                "{peers} peers that all watch: {signs:.2} signs and {pings:.2} PINGs a second"
            );
            assert!(signs <= 5.4, "{peers} peers: {signs} signs a second");
            assert!(pings <= 1.3, "{peers} peers: {pings} PINGs a second");
        }
    }

    #[test]
    fn each_sign_comes_within_what_the_one_before_promised() {
        let (mut pace, mut dice, mut now) = (Pace::default(), Dice::new(), Instant::now());
        for _ in 0..1000 {
            pace.heard(Watch::Keep, 7.into(), now, &mut dice);
            let at = pace.next_sign.unwrap();
            let Some(promise) = pace.sign(7, at, &mut dice) else {
                panic!("nothing promised")
            };
            assert!(pace.next_sign.unwrap() <= at + Duration::from_secs(promise.into()));
            now = at;
        }
    }

    #[test]
    fn a_watch_that_begins_is_answered_soon_but_not_by_a_storm() {
        let (mut pace, mut dice, now) = (Pace::default(), Dice::new(), Instant::now());
        let mut signs = 0;
        for millis in 0..2000 {
            let now = now + Duration::from_millis(millis);
            pace.heard(Watch::New, 100.into(), now, &mut dice);
            if pace.next_sign.is_some_and(|at| at <= now) {
                pace.sign(100, now, &mut dice);
                signs += 1;
                assert!(millis < 1500 || signs > 1);
            }
        }
        assert!((3..=4).contains(&signs), "{signs}");
    }

    #[test]
    fn patience_outlasts_three_promises() {
        for others in [0, 1, 19, 199, usize::MAX - 1] {
            assert!(patience(every(others)) > 3 * Duration::from_secs(every(others).into()));
        }
        assert_eq!((every(0), every(1), every(19), every(199)), (1, 1, 5, 50));
    }

    #[test]
    fn who_is_kept_quiet_asks_once_someone_falls_silent() {
        let (mut pace, mut dice, begin) = (Pace::default(), Dice::new(), Instant::now());
        pace.watch(begin);
        for _ in 0..2 {
            pace.ping(3, begin);
        }
        // PINGs that perhaps nobody else hears, five a second.
        let mut asked = Vec::new();
        for fifth in 1..100 {
            let now = begin + SEC / 5 * fifth;
            pace.heard(Watch::Keep, 3.into(), now, &mut dice);
            if fifth == 50 {
                pace.doubt(3, now, &mut dice);
            }
            if pace.next_ping().unwrap() <= now {
                pace.ping(3, now);
                asked.push(fifth);
            }
        }
        assert!(matches!(asked[..], [50..=53]), "{asked:?}");
        // However many are silent, it asks no more than twice as often as else.
        let mut asked = 0;
        for hundredth in 0..1000 {
            let now = begin + 20 * SEC + SEC / 100 * hundredth;
            pace.heard(Watch::Keep, 3.into(), now, &mut dice);
            pace.doubt(3, now, &mut dice);
            if pace.next_ping().unwrap() <= now {
                pace.ping(3, now);
                asked += 1;
            }
        }
        assert!((5..=20).contains(&asked), "{asked}");
        pace.unwatch();
        pace.doubt(3, begin, &mut dice);
        assert_eq!(pace.next_ping(), None);
    }
}
