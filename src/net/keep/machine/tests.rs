//! One machine against events; and two that keep each other, over a network whose delays are drawn.
//!
//! A long file, since both are driven by the same few functions.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::proto::beacon::Card;

fn id(number: u64) -> PeerId {
    PeerId::of(&Card {
        id: number,
        ..Card::default()
    })
}

fn addr(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new([10, 0, 0, 1].into(), port)
}

fn neighbour(number: u64, name: &str, ports: &[u16]) -> Neighbour {
    let card = Card {
        id: number,
        name: name.to_owned(),
        service: String::new(),
    };
    Neighbour::new(ports.iter().map(|port| addr(*port)).collect(), Some(&card))
}

/// Ended, and not taken.
#[derive(Default)]
struct Ends {
    over: Vec<u64>,
    untaken: Vec<u64>,
}

impl Links for Ends {
    fn is_over(&self, link: u64) -> bool {
        self.over.contains(&link)
    }

    fn is_taken(&self, link: u64) -> bool {
        !self.untaken.contains(&link)
    }
}

const MS: Duration = Duration::from_millis(1);

struct Bench {
    machine: Machine,
    now: Instant,
    dice: Dice,
    ends: Ends,
}

impl Bench {
    fn new(target: Target) -> Bench {
        let now = Instant::now();
        Bench {
            machine: Machine::new(id(5), target, 100, now),
            now,
            dice: Dice::new(),
            ends: Ends::default(),
        }
    }

    fn due(&mut self) -> Vec<Begin> {
        self.machine.due(self.now, &self.ends)
    }

    /// The one attempt that is due now.
    fn begin(&mut self) -> Begin {
        let mut due = self.due();
        assert_eq!(due.len(), 1, "{due:?}");
        due.remove(0)
    }

    fn found(&mut self, seen: &Neighbour) -> Vec<u32> {
        self.machine.found(seen, false, self.now)
    }

    /// It was lost meanwhile.
    fn found_again(&mut self, seen: &Neighbour) {
        self.machine.lost(seen, false, self.now);
        self.found(seen);
    }

    fn up(&mut self, begin: &Begin, who: u64, port: u16, link: u64) -> Connected {
        let (machine, now) = (&mut self.machine, self.now);
        machine.connected(
            begin.attempt,
            (Some(id(who)), true),
            addr(port),
            link,
            now,
            &self.ends,
        )
    }

    fn fail(&mut self, begin: &Begin, why: Failure) -> Tell {
        self.machine
            .failed(begin.attempt, why, self.now, &mut self.dice)
    }

    fn end(&mut self, link: u64) {
        self.ends.over.push(link);
        self.machine.ended(link, self.now, &mut self.dice);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// How long until it has something to do.
    fn pause(&self) -> Duration {
        self.machine.next().expect("something is due") - self.now
    }
}

const KEPT: Connected = Connected {
    keep: true,
    withdraw: None,
};
const CLOSED: Connected = Connected {
    keep: false,
    withdraw: None,
};

#[test]
fn one_that_is_up_is_not_asked_whatever_discovery_says() {
    let mut bench = Bench::new(Target::name("bob"));
    let bob = neighbour(9, "bob", &[1, 2]);
    bench.found(&bob);
    bench.found(&neighbour(8, "eve", &[3]));
    let begin = bench.begin();
    assert_eq!(begin.addrs, [addr(1), addr(2)]);
    assert_eq!(bench.up(&begin, 9, 1, 7), KEPT);
    for _ in 0..3 {
        bench.machine.lost(&bob, false, bench.now);
        assert_eq!(bench.due(), []);
        bench.wait(Duration::from_secs(100));
        bench.found(&bob);
        assert_eq!(bench.due(), []);
    }
    bench.end(7);
    assert!(bench.pause() <= 50 * MS);
    bench.wait(50 * MS);
    assert_eq!(bench.begin().addrs, [addr(1), addr(2)]);
}

#[test]
fn pauses_grow_and_begin_anew_when_it_is_seen_but_not_after_a_denial() {
    let mut bench = Bench::new(Target::any());
    let bob = neighbour(9, "bob", &[1]);
    bench.found(&bob);
    for round in 0..12 {
        let begin = bench.begin();
        assert_eq!(bench.fail(&begin, Failure::Passing), Tell::Nothing);
        let most = (50 << round.min(7)).min(5_000);
        assert!(
            bench.pause() > most * 3 / 4 * MS && bench.pause() <= most * MS,
            "{round}"
        );
        let pause = bench.pause();
        bench.wait(pause);
    }
    let begin = bench.begin();
    bench.fail(&begin, Failure::Passing);
    bench.found_again(&bob);
    let begin = bench.begin();
    // Not on and on: whoever makes us see it a thousand times does not make us ask as often.
    bench.fail(&begin, Failure::Passing);
    bench.found_again(&bob);
    assert_eq!(bench.due(), []);
    bench.wait(50 * MS);
    let begin = bench.begin();
    assert_eq!(bench.fail(&begin, Failure::Lasting), Tell::Lasting);
    bench.wait(HURRY_EVERY / 2);
    bench.found_again(&bob);
    assert_eq!(bench.due(), []);
    bench.wait(HURRY_EVERY / 2);
    let begin = bench.begin();
    assert_eq!(
        bench.fail(&begin, Failure::Lasting),
        Tell::Nothing,
        "it is told once"
    );
    assert!(bench.pause() > 1_400 * MS);
}

#[test]
fn one_that_ends_the_moment_it_is_up_is_a_failure_and_one_that_lasts_is_none() {
    let mut bench = Bench::new(Target::addr("10.0.0.1:1"));
    for round in 0..8 {
        let begin = bench.begin();
        assert_eq!(bench.up(&begin, 9, 1, round), KEPT);
        bench.end(round);
        let most = (50 << round).min(5_000) as u32;
        assert!(
            bench.pause() > most * 3 / 4 * MS,
            "{round}: {:?}",
            bench.pause()
        );
        let pause = bench.pause();
        bench.wait(pause);
    }
    let begin = bench.begin();
    bench.up(&begin, 9, 1, 99);
    bench.wait(STEADY);
    bench.end(99);
    assert!(bench.pause() <= 50 * MS);
}

#[test]
fn what_the_program_has_not_taken_is_not_made_anew() {
    let mut bench = Bench::new(Target::addr("10.0.0.1:1"));
    let begin = bench.begin();
    bench.up(&begin, 9, 1, 7);
    bench.ends.untaken.push(7);
    bench.end(7);
    for _ in 0..100 {
        bench.wait(LOOK);
        assert_eq!(bench.due(), []);
    }
    // Nor by an offer of the other side.
    let kept = Kept {
        keep: 1,
        attempt: 1,
        seen: 0,
    };
    let verdict = bench
        .machine
        .offered(id(9), kept, bench.now, &bench.ends, &mut bench.dice);
    assert_eq!(verdict, Verdict::Deny);
    bench.ends.untaken.clear();
    bench.wait(LOOK);
    bench.begin();
}

#[test]
fn one_that_was_started_again_is_another_at_the_same_address() {
    let mut bench = Bench::new(Target::name("bob"));
    bench.found(&neighbour(9, "bob", &[1]));
    let begin = bench.begin();
    bench.up(&begin, 9, 1, 7);
    bench.end(7);
    bench.wait(50 * MS);
    // Asked before anything is heard of the new one.
    let begin = bench.begin();
    assert_eq!(bench.up(&begin, 10, 1, 8), KEPT);
    bench
        .machine
        .lost(&neighbour(9, "bob", &[1]), false, bench.now);
    bench.found(&neighbour(10, "bob", &[1]));
    bench.wait(FORGET * 2);
    assert_eq!(bench.due(), [], "the old one is forgotten");
    assert_eq!(bench.machine.entries.len(), 1);
    // Heard of while the old one is being asked there.
    bench.end(8);
    bench.wait(50 * MS);
    let old = bench.begin();
    assert_eq!(bench.found(&neighbour(11, "bob", &[1])), [old.attempt]);
    let new = bench.begin();
    assert_eq!(
        bench.up(&old, 11, 1, 20),
        CLOSED,
        "what was withdrawn comes too late"
    );
    assert_eq!(bench.up(&new, 11, 1, 21), KEPT);
    assert_eq!(bench.up(&old, 11, 1, 22), CLOSED);
}

#[test]
fn who_is_lost_is_tried_for_a_minute_and_who_was_never_connected_not_at_all() {
    let mut bench = Bench::new(Target::any());
    let (bob, eve) = (neighbour(9, "bob", &[1]), neighbour(8, "eve", &[2]));
    bench.found(&bob);
    let begin = bench.begin();
    bench.up(&begin, 9, 1, 7);
    bench.found(&eve);
    let asked = bench.begin();
    bench.machine.lost(&eve, false, bench.now);
    bench.fail(&asked, Failure::Passing);
    bench.machine.lost(&bob, false, bench.now);
    bench.end(7);
    let end = bench.now;
    let mut attempts = 0;
    while let Some(next) = bench.machine.next() {
        bench.now = bench.now.max(next);
        for begin in bench.due() {
            assert_eq!(begin.addrs, [addr(1)]);
            attempts += 1;
            bench.fail(&begin, Failure::Passing);
        }
    }
    assert_eq!(bench.machine.entries.len(), 0);
    assert!(
        bench.now - end <= FORGET + LONGEST_PAUSE && attempts > 12,
        "{attempts}"
    );
}

const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[test]
fn never_is_for_ever() {
    let mut bench = Bench::new(Target::any());
    let bob = neighbour(9, "bob", &[1]);
    bench.found(&bob);
    let begin = bench.begin();
    assert_eq!(bench.fail(&begin, Failure::Never), Tell::Never(Some(id(9))));
    bench.machine.lost(&bob, false, bench.now);
    bench.found(&bob);
    assert_eq!((bench.due(), bench.machine.is_over()), (Vec::new(), false));
    let mut bench = Bench::new(Target::id(id(9)));
    bench.found(&bob);
    let begin = bench.begin();
    bench.fail(&begin, Failure::Never);
    assert!(bench.machine.is_over());
    let mut bench = Bench::new(Target::addr("10.0.0.1:1"));
    let begin = bench.begin();
    bench.fail(&begin, Failure::Never);
    assert!(bench.machine.is_over());
}

#[test]
fn so_many_are_asked_at_one_time() {
    let mut bench = Bench::new(Target::any());
    for number in 0..200 {
        bench.found(&neighbour(number + 10, "", &[number as u16 + 1]));
    }
    let first = bench.due();
    assert_eq!(first.len(), ASKING_MAX);
    assert_eq!(bench.due(), []);
    assert!(bench.pause() > Duration::ZERO, "it does not spin");
    for (link, begin) in first.iter().enumerate() {
        let port = begin.addrs[0].port();
        bench.up(begin, u64::from(port) + 9, port, link as u64);
    }
    bench.wait(LOOK);
    assert_eq!(bench.due().len(), ASKING_MAX);
}

// ------------------------------------------------------- two machines

/// One of two peers that keep each other, as its endpoint and its driver do it.
struct Side {
    machine: Machine,
    keep: u64,
    dice: Dice,
    ends: Ends,
    /// The attempt that is under way.
    asking: Option<u32>,
    /// Open connections: the attempt of this side's, or of the other's, that each came of.
    open: HashMap<u64, (Option<u32>, Option<Kept>)>,
}

#[derive(Clone, Debug)]
enum Message {
    Offer(Kept),
    /// The offer of this attempt is accepted, as this connection.
    Accept(u32, u64),
    Deny(u32),
    /// The attempt is withdrawn.
    Withdraw(u32),
    /// This connection has ended.
    Reset(u64),
}

/// Two of them, and what is on its way.
struct World {
    sides: [Side; 2],
    start: Instant,
    now: Instant,
    /// When it arrives, where, and what.
    network: Vec<(Instant, usize, Message)>,
    dice: Dice,
    /// The longest way, in milliseconds.
    longest: u64,
    links: u64,
    /// Offers that were withdrawn before they were answered.
    withdrawn: Vec<(usize, u32)>,
    connections: u32,
}

impl World {
    fn new(longest: u64) -> World {
        let now = Instant::now();
        let side = |own: u64, other: u16| Side {
            machine: Machine::new(id(own), Target::addr(addr(other)), 1_000 * own as u32, now),
            keep: own,
            dice: Dice::new(),
            ends: Ends::default(),
            asking: None,
            open: HashMap::new(),
        };
        World {
            sides: [side(1, 2), side(2, 1)],
            start: now,
            now,
            network: Vec::new(),
            dice: Dice::new(),
            longest,
            links: 0,
            withdrawn: Vec::new(),
            connections: 0,
        }
    }

    fn send(&mut self, to: usize, message: Message) {
        let delay = MS + self.dice.up_to(Duration::from_millis(self.longest));
        self.network.push((self.now + delay, to, message));
    }

    fn begin_what_is_due(&mut self) {
        for at in 0..2 {
            let side = &mut self.sides[at];
            let Some(begin) = side.machine.due(self.now, &side.ends).pop() else {
                continue;
            };
            side.asking = Some(begin.attempt);
            let kept = Kept {
                keep: side.keep,
                attempt: begin.attempt,
                seen: begin.seen,
            };
            self.send(1 - at, Message::Offer(kept));
        }
    }

    fn close(&mut self, at: usize, link: u64) {
        let side = &mut self.sides[at];
        if side.open.remove(&link).is_some() {
            side.ends.over.push(link);
            side.machine.ended(link, self.now, &mut side.dice);
            self.send(1 - at, Message::Reset(link));
        }
    }

    fn withdraw(&mut self, at: usize, attempt: u32) {
        if self.sides[at].asking == Some(attempt) {
            self.sides[at].asking = None;
            self.withdrawn.push((at, attempt));
            self.send(1 - at, Message::Withdraw(attempt));
        }
    }

    fn hear(&mut self, at: usize, message: Message) {
        let now = self.now;
        match message {
            Message::Offer(kept) => self.offered(at, kept),
            Message::Accept(attempt, link) => {
                let side = &mut self.sides[at];
                let waits = side.asking == Some(attempt);
                if !waits {
                    return self.send(1 - at, Message::Reset(link));
                }
                side.asking = None;
                let other = id(2 - at as u64);
                let answer = side.machine.connected(
                    attempt,
                    (Some(other), true),
                    addr(1),
                    link,
                    now,
                    &side.ends,
                );
                match answer.keep {
                    true => drop(side.open.insert(link, (Some(attempt), None))),
                    false => self.send(1 - at, Message::Reset(link)),
                }
            }
            Message::Deny(attempt) => {
                let side = &mut self.sides[at];
                if side.asking == Some(attempt) {
                    side.asking = None;
                    side.machine
                        .failed(attempt, Failure::Passing, now, &mut side.dice);
                }
            }
            Message::Withdraw(attempt) => {
                let side = &self.sides[at];
                let link = side
                    .open
                    .iter()
                    .find(|(_, (_, theirs))| theirs.is_some_and(|kept| kept.attempt == attempt));
                if let Some(link) = link.map(|(link, _)| *link) {
                    self.close(at, link);
                }
            }
            Message::Reset(link) => self.close(at, link),
        }
    }

    fn offered(&mut self, at: usize, kept: Kept) {
        // As the endpoint does it, before anyone is asked.
        let older = self.sides[at].open.iter().find(|(_, (ours, theirs))| {
            theirs.is_some_and(|old| old.keep == kept.keep && old.attempt < kept.attempt)
                || *ours == Some(kept.seen)
        });
        if let Some(link) = older.map(|(link, _)| *link) {
            self.close(at, link);
        }
        let (now, other) = (self.now, id(2 - at as u64));
        let side = &mut self.sides[at];
        let verdict = side
            .machine
            .offered(other, kept, now, &side.ends, &mut side.dice);
        if verdict != Verdict::Take {
            return self.send(1 - at, Message::Deny(kept.attempt));
        }
        self.links += 1;
        self.connections += 1;
        let link = self.links;
        side.open.insert(link, (None, Some(kept)));
        if let Some(attempt) = side.machine.took(other, kept, addr(1), link, now) {
            self.withdraw(at, attempt);
        }
        self.send(1 - at, Message::Accept(kept.attempt, link));
    }

    /// Goes on for so long.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.begin_what_is_due();
            for side in &self.sides {
                assert!(side.open.len() <= 1, "two at once: {:?}", side.open);
            }
            let due = self.sides.iter().filter_map(|side| side.machine.next());
            let arrives = self.network.iter().map(|(at, ..)| *at);
            let next = due.chain(arrives).min().unwrap_or(end).min(end);
            self.now = self.now.max(next);
            if self.now >= end {
                return;
            }
            let now = self.now;
            if let Some(index) = self.network.iter().position(|(at, ..)| *at <= now) {
                let (_, to, message) = self.network.swap_remove(index);
                self.hear(to, message);
            }
        }
    }

    fn is_settled(&self) -> bool {
        let open = |at: usize| self.sides[at].open.keys().copied().collect::<Vec<_>>();
        open(0).len() == 1 && open(0) == open(1)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the delays, and whichever side loses the connection when, neither has two at once, and
    /// both soon have the same. One that is lost costs one more, or two where the loss crosses what the
    /// two of them are saying of the one before.
    #[test]
    fn two_machines_settle_on_one_connection(
        longest in 0u64..200,
        losses in prop::collection::vec((0u64..6_000, 0usize..2, any::<bool>()), 0..6),
    ) {
        let mut world = World::new(longest);
        let most = 1 + 2 * losses.len() as u32;
        for (after, at, is_silent) in losses {
            world.run(Duration::from_millis(after));
            let link = world.sides[at].open.keys().next().copied();
            if let Some(link) = link {
                world.close(at, link);
                if is_silent {
                    // The other side does not hear of it.
                    world.network.retain(|(_, _, m)| !matches!(m, Message::Reset(l) if *l == link));
                }
            }
        }
        world.run(Duration::from_secs(30));
        prop_assert!(world.is_settled(), "after {:?}", world.now - world.start);
        let made = world.connections;
        prop_assert!(made <= most, "{made} connections");
        world.run(Duration::from_secs(3600));
        prop_assert!(world.is_settled() && world.connections == made, "they do not stay so");
    }
}

/// Whoever has no id and says "never" is remembered as long as discovery sees it, and a while longer.
#[test]
fn those_without_an_id_that_say_never_are_forgotten() {
    let mut bench = Bench::new(Target::any());
    for number in 0..5_000_u32 {
        let addr = SocketAddrV4::new((0x0a00_0000 + number).into(), 5000);
        let seen = Neighbour::new(vec![addr], None);
        bench.found(&seen);
        let begin = bench.begin();
        assert_eq!(bench.fail(&begin, Failure::Never), Tell::Never(None));
        bench.found(&seen);
        assert!(bench.due().is_empty(), "it is seen, and not asked again");
        bench.machine.lost(&seen, false, bench.now);
        bench.wait(2 * FORGET);
        bench.due();
    }
    let kept = bench.machine.entries.len();
    assert!(kept <= 1, "{kept} are kept");
}
