//! The link ends, or falls silent, in place of each byte of a conversation.

use std::time::Duration;

use lanpeer::{CloseError, CloseReason};

use super::exchange::{Course, HEADER, Kind, MESSAGES, No, Outcome, Seen, World};
use super::many::try_all;
use super::proxy::{Fault, Plan, Way};

/// A timeout that is meant to be reached.
const SHORT: Duration = Duration::from_millis(50);

/// One that is meant to be reached, but not before Bob has answered.
const PATIENT: Duration = Duration::from_millis(200);

/// An ACCEPT of which so many bytes have come, and then nothing for a while, is the manual's own
/// form, and so that of a peer that is no lanpeer.
pub const MANUAL_ACCEPT: u64 = "ACCEPT".len() as u64;

/// One fault in place of one byte.
#[derive(Clone, Copy, Debug)]
struct Case {
    kind: Kind,
    way: Way,
    at: u64,
    fault: Fault,
}

impl Case {
    fn all(fault: Fault) -> impl Iterator<Item = Case> {
        let ways = [Way::Forth, Way::Back];
        let of = move |kind: Kind, way| {
            let case = move |at| Case {
                kind,
                way,
                at,
                fault,
            };
            (0..=kind.total()).map(case).filter(Case::is_chosen)
        };
        let of_kind = move |kind: Kind| ways.into_iter().flat_map(move |way| of(kind, way));
        Kind::ALL.into_iter().flat_map(of_kind)
    }

    /// All of them take half a minute: with `LANPEER_EVERY_BYTE` set they are tried, as `.ci/run` does,
    /// else those around the end of a header or a message, and one in five of the others.
    fn is_chosen(&self) -> bool {
        let ends = self.kind.ends();
        let near = ends.into_iter().any(|end| end.abs_diff(self.at) <= 2);
        let first = near || self.at % 5 == 0;
        first || std::env::var_os("LANPEER_EVERY_BYTE").is_some()
    }

    fn plan(&self) -> Plan {
        Plan::fault(self.way, self.at, self.fault)
    }

    fn is_in_handshake(&self) -> bool {
        self.at < HEADER
    }

    /// In place of the sender's own end.
    fn is_at_the_end(&self) -> bool {
        self.at == self.kind.total()
    }

    /// Messages that get through whole, in the direction of the fault.
    fn whole(&self) -> usize {
        let ends = self.kind.ends();
        ends[1..].iter().filter(|end| **end <= self.at).count()
    }

    /// Between two messages.
    fn is_between(&self) -> bool {
        self.kind.ends().contains(&self.at)
    }

    fn course(&self) -> Course {
        let (to_alice, to_bob) = match self.way {
            _ if self.is_in_handshake() => (0, 0),
            Way::Forth => (self.whole(), self.whole()),
            // Bob says so much in answer to what he has received.
            Way::Back => (self.whole(), MESSAGES.min(self.whole() + 1)),
        };
        // The one who speaks into the silence. At the very end that is Alice, who closes first.
        let silent = self.fault == Fault::Stall && !self.is_in_handshake();
        let closer = match self.is_at_the_end() {
            true => Way::Forth,
            false => self.way,
        };
        Course {
            to_alice,
            to_bob,
            closer: silent.then_some(closer),
            timeout: (self.fault == Fault::Stall && self.way == Way::Back && !silent)
                .then_some(PATIENT),
            struck: true,
        }
    }

    /// What Alice sees, and what Bob.
    fn expected(&self) -> (Outcome, Outcome) {
        use CloseReason::*;
        let none = Outcome::None;
        let course = self.course();
        // Alice says one message more than she has answers to, Bob answers each.
        let alice = |close, reason| {
            let sent = MESSAGES.min(course.to_alice + 1);
            seen("a", sent, "b", course.to_alice, close, reason)
        };
        let bob = |close, reason| seen("b", course.to_bob, "a", course.to_bob, close, reason);
        let broken = |reason: &CloseReason| Err(CloseError::Incomplete(reason.clone()));
        let timeout = || Err(CloseError::Timeout);

        if self.is_in_handshake() {
            // The side that waits for the header.
            let waiting = match self.fault {
                Fault::Reset => No::Reset,
                Fault::Stall => No::TimedOut,
                _ => No::HungUp,
            };
            return match self.way {
                // Alice is patient, and Bob gives up with a FIN.
                Way::Forth if self.fault == Fault::Stall => (none(No::HungUp), none(waiting)),
                Way::Forth => (none(waiting.clone()), none(waiting)),
                // Bob has accepted, and said nothing; Alice gives up with a FIN.
                Way::Back => match self.fault {
                    Fault::Reset => (none(waiting), bob(broken(&Reset), Reset)),
                    _ => (none(waiting), bob(Ok(()), ClosedThere)),
                },
            };
        }
        match (self.fault, self.way) {
            (Fault::HalfFin | Fault::Fin, _) if self.is_at_the_end() => {
                (alice(Ok(()), ClosedHere), bob(Ok(()), ClosedThere))
            }
            // A FIN between two messages, and everything that was sent is acknowledged: no side can
            // tell this from a close. Only a box that ends TCP itself can do that to them.
            (Fault::HalfFin | Fault::Fin, _) if self.is_between() => {
                (alice(Ok(()), ClosedThere), bob(Ok(()), ClosedThere))
            }
            // Who finds a message cut short resets the connection.
            (Fault::HalfFin, Way::Forth) => (
                alice(broken(&Reset), Reset),
                bob(broken(&Truncated), Truncated),
            ),
            (Fault::HalfFin, Way::Back) => (
                alice(broken(&Truncated), Truncated),
                bob(broken(&Reset), Reset),
            ),
            // The other side has its FIN between two messages.
            (Fault::Fin, Way::Forth) => (
                alice(Ok(()), ClosedThere),
                bob(broken(&Truncated), Truncated),
            ),
            (Fault::Fin, Way::Back) => (
                alice(broken(&Truncated), Truncated),
                bob(Ok(()), ClosedThere),
            ),
            // Bob has had Alice's FIN, and answered it.
            (Fault::Reset, Way::Back) if self.is_at_the_end() => {
                (alice(broken(&Reset), Reset), bob(Ok(()), ClosedThere))
            }
            (Fault::Reset, _) => (alice(broken(&Reset), Reset), bob(broken(&Reset), Reset)),
            (Fault::Stall, Way::Back) if self.is_at_the_end() => {
                (alice(timeout(), TimedOut), bob(Ok(()), ClosedThere))
            }
            (Fault::Stall, _) => (alice(timeout(), TimedOut), bob(timeout(), TimedOut)),
            (Fault::Pause(_) | Fault::Swallow(_), _) => unreachable!("no end"),
        }
    }

    fn run(self, world: &World) {
        let (mut alice, mut bob) = world.run(self.kind, self.plan(), self.course());
        let (for_alice, for_bob) = self.expected();
        let gives_up = self.fault == Fault::Stall && for_bob == Outcome::None(No::TimedOut);
        if gives_up && alice == Outcome::None(No::Reset) {
            // On a busy machine the bytes may come when Bob has gone: his system answers then.
            alice = Outcome::None(No::HungUp);
        }
        for (own, due) in [(&mut alice, &for_alice), (&mut bob, &for_bob)] {
            let (Outcome::Connection(seen), Outcome::Connection(due)) = (own, due) else {
                continue;
            };
            // A close that has timed out goes on for a while. The other side's end may come meanwhile; and
            // on a busy machine this side's own may not have begun before its last handle was dropped.
            let timed_out = seen.close == Err(CloseError::Timeout) && seen.close == due.close;
            if timed_out && seen.reason == CloseReason::ClosedHere {
                seen.reason = due.reason.clone();
            }
        }
        assert_eq!(alice, for_alice, "Alice, {self:?}");
        assert_eq!(bob, for_bob, "Bob, {self:?}");
    }
}

pub fn seen(
    own: &str,
    sent: usize,
    others: &str,
    received: usize,
    close: Result<(), CloseError>,
    reason: CloseReason,
) -> Outcome {
    let texts = |who: &str, count| (1..=count).map(|n| format!("{who}{n}")).collect();
    Outcome::Connection(Seen {
        sent: texts(own, sent),
        received: texts(others, received),
        close,
        reason,
    })
}

/// How many positions are tried at a time: those that wait for a timeout cost no time of the machine.
const BUSY: usize = 4;
const WAITING: usize = 64;

#[test]
fn a_fin_in_one_direction() {
    ends("FIN to one side", Fault::HalfFin);
}

#[test]
fn a_fin_in_both_directions() {
    ends("FIN to both sides", Fault::Fin);
}

#[test]
fn a_reset() {
    ends("reset", Fault::Reset);
}

fn ends(what: &str, fault: Fault) {
    let world = || World::new(|b| b, |b| b);
    try_all(what, Case::all(fault).collect(), BUSY, world, Case::run);
}

/// Bob gives up, and with that also Alice, who would wait longer.
#[test]
fn silence_in_hello() {
    let cases = Case::all(Fault::Stall).filter(|case| case.is_in_handshake());
    let cases = cases.filter(|case| case.way == Way::Forth).collect();
    let world = || World::new(|b| b, |b| b.timeout(SHORT));
    try_all("silence in HELLO", cases, WAITING, world, Case::run);
}

/// Alice gives up, and Bob sees that she has gone.
#[test]
fn silence_in_the_answer() {
    let cases = Case::all(Fault::Stall).filter(|case| case.is_in_handshake());
    let cases = cases.filter(|case| case.way == Way::Back && case.at != MANUAL_ACCEPT);
    let world = || World::new(|b| b, |b| b);
    try_all(
        "silence in ACCEPT",
        cases.collect(),
        WAITING,
        world,
        Case::run,
    );
}

#[test]
fn silence_after_the_handshake() {
    let cases = Case::all(Fault::Stall).filter(|case| !case.is_in_handshake());
    let world = || World::new(|b| b.close_timeout(SHORT), |b| b.close_timeout(SHORT));
    try_all(
        "silence after it",
        cases.collect(),
        WAITING,
        world,
        Case::run,
    );
}
