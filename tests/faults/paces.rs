//! The link takes its time, and takes to pieces or puts together what goes through: which changes
//! nothing at all.

use std::time::Duration;

use super::cuts::{MANUAL_ACCEPT, seen};
use super::exchange::{Course, HEADER, Kind, MESSAGES, Outcome, World};
use super::many::try_all;
use super::proxy::{Fault, Pace, Plan, Way};
use lanpeer::CloseReason::{ClosedHere, ClosedThere};

const PACES: [Pace; 7] = [
    Pace::Straight,
    Pace::Split,
    Pace::Merge(Duration::from_millis(5)),
    Pace::Delay(Duration::from_millis(5)),
    Pace::Throttle(1, Duration::from_micros(50)),
    Pace::Throttle(100, Duration::from_millis(1)),
    Pace::Throttle(HEADER as usize + 1, Duration::from_millis(1)),
];

/// Long enough for the other side to read what came before.
const MOMENT: Duration = Duration::from_millis(1);

/// Longer than the silence that ends a header without padding.
const SILENCE: Duration = Duration::from_millis(150);

fn as_ever() -> (Outcome, Outcome) {
    (
        seen("a", MESSAGES, "b", MESSAGES, Ok(()), ClosedHere),
        seen("b", MESSAGES, "a", MESSAGES, Ok(()), ClosedThere),
    )
}

fn world() -> World {
    World::new(|b| b, |b| b)
}

#[test]
fn every_pace() {
    let cases = Kind::ALL
        .into_iter()
        .flat_map(|kind| PACES.map(|pace| (kind, pace)));
    try_all("paces", cases.collect(), 4, world, |(kind, pace), world| {
        let outcome = world.run(kind, Plan::pace(pace), Course::STRAIGHT);
        assert_eq!(outcome, as_ever());
    });
}

#[test]
fn a_pause_before_every_byte() {
    let cases = pauses(MOMENT, |kind| 0..=kind.total()).collect();
    try_all("short pauses", cases, 8, world, pause);
}

#[test]
fn a_long_pause_before_every_byte_of_the_handshake() {
    let cases = pauses(SILENCE, |_| 0..=HEADER).collect();
    try_all("long pauses", cases, 64, world, pause);
}

type Case = (Kind, Way, u64, Duration);

fn pauses(
    time: Duration,
    places: impl Fn(Kind) -> std::ops::RangeInclusive<u64>,
) -> impl Iterator<Item = Case> {
    Kind::ALL.into_iter().flat_map(move |kind| {
        let places = places(kind);
        [Way::Forth, Way::Back].into_iter().flat_map(move |way| {
            let places = places.clone();
            // There a pause that grows long, for whatever reason, has a meaning of its own.
            let plain = places.filter(move |at| (way, *at) != (Way::Back, MANUAL_ACCEPT));
            plain.map(move |at| (kind, way, at, time))
        })
    })
}

fn pause((kind, way, at, time): Case, world: &World) {
    let plan = Plan::fault(way, at, Fault::Pause(time));
    let course = Course {
        struck: true,
        ..Course::STRAIGHT
    };
    assert_eq!(world.run(kind, plan, course), as_ever());
}
