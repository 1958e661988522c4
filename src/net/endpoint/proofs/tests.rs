use super::*;

const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const MS: Duration = Duration::from_millis(1);

/// A proof that came at this time; whether it was looked at.
fn looks_at(buckets: &mut Buckets, source: Ipv4Addr, is_right: bool, now: Instant) -> bool {
    let Some(ticket) = buckets.enter(source, now) else {
        return false;
    };
    match buckets.take(source, ticket, now) {
        Some(Looked::Now) => {
            buckets.looked(source, is_right, now);
            true
        }
        _ => {
            buckets.leave(source, ticket);
            false
        }
    }
}

#[test]
fn wrong_ones_are_looked_at_ten_times_a_second() {
    let (mut buckets, start) = (Buckets::default(), Instant::now());
    for seconds in [4_u32, 7] {
        let start = start + Duration::from_secs(u64::from(seconds) * 100);
        let times = (0..seconds * 1000).map(|ms| start + MS * ms);
        let looked = times.filter(|now| looks_at(&mut buckets, A, false, *now));
        // The first ten at once.
        let looked = looked.count() as u32;
        assert_eq!(looked, MOST_WRONG * (seconds + 1) - 1, "in {seconds} s");
    }
}

#[test]
fn right_ones_cost_nothing() {
    let (mut buckets, now) = (Buckets::default(), Instant::now());
    assert!((0..1000).all(|_| looks_at(&mut buckets, A, true, now)));
    assert!(buckets.by_source.is_empty(), "nothing is kept of them");
    // Nor do they make up for wrong ones.
    assert!((0..MOST_WRONG).all(|_| looks_at(&mut buckets, A, false, now)));
    assert!(!looks_at(&mut buckets, A, true, now));
    assert!(looks_at(&mut buckets, A, true, now + INTERVAL));
    assert!(looks_at(&mut buckets, A, true, now + INTERVAL));
    // Others are not concerned.
    assert!(looks_at(&mut buckets, B, false, now));
}

/// As many right ones at once as there may be: those behind the tenth wait for those before them, and no
/// longer.
#[test]
fn each_that_is_looked_at_may_be_wrong() {
    let (mut buckets, now) = (Buckets::default(), Instant::now());
    for _ in 0..MOST_WRONG {
        let ticket = buckets.enter(A, now).expect("a place");
        assert_eq!(buckets.take(A, ticket, now), Some(Looked::Now));
    }
    let (first, second) = (
        buckets.enter(A, now).unwrap(),
        buckets.enter(A, now).unwrap(),
    );
    assert_eq!(buckets.take(A, second, now), Some(Looked::Behind));
    assert_eq!(buckets.take(A, first, now), Some(Looked::In(INTERVAL)));
    buckets.looked(A, true, now);
    assert_eq!(buckets.take(A, first, now), Some(Looked::Now));
    assert_eq!(buckets.take(A, second, now), Some(Looked::In(INTERVAL)));
    buckets.looked(A, false, now);
    assert_eq!(buckets.take(A, second, now), Some(Looked::In(INTERVAL)));
    assert_eq!(buckets.take(A, second, now + INTERVAL), Some(Looked::Now));
}

#[test]
fn those_that_wait_have_their_turn_within_a_second() {
    let (mut buckets, start) = (Buckets::default(), Instant::now());
    while looks_at(&mut buckets, A, false, start) {}
    assert!(buckets.has_room(A, start));
    let tickets: Vec<u64> = (0..MOST_WAITING)
        .map(|_| buckets.enter(A, start).expect("a place"))
        .collect();
    assert!(!buckets.has_room(A, start) && buckets.has_room(B, start));
    assert_eq!(buckets.enter(A, start), None);
    for (number, ticket) in (1..).zip(tickets) {
        let due = start + INTERVAL * number;
        let early = buckets.take(A, ticket, due - MS);
        assert_eq!(early, Some(Looked::In(MS)), "{number}");
        assert_eq!(buckets.take(A, ticket, due), Some(Looked::Now), "{number}");
        buckets.looked(A, false, due);
    }
    assert!(INTERVAL * MOST_WAITING as u32 <= Duration::from_secs(1));
}

#[test]
fn the_table_is_bounded_and_keeps_those_who_try_most() {
    let (mut buckets, now) = (Buckets::default(), Instant::now());
    while looks_at(&mut buckets, A, false, now) {}
    let ticket = buckets.enter(B, now).expect("a place");
    for number in 0..10_000_u32 {
        looks_at(&mut buckets, Ipv4Addr::from(number), false, now);
        assert!(buckets.by_source.len() <= MOST_ADDRESSES);
    }
    assert!(!looks_at(&mut buckets, A, false, now), "it is still known");
    assert_eq!(buckets.take(B, ticket, now), Some(Looked::Now));
}

#[test]
fn all_of_loopback_is_one() {
    let proofs = Proofs::default();
    let now = Instant::now();
    for number in 1..=MOST_WRONG as u8 {
        let turn = proofs.turn(Ipv4Addr::new(127, 0, number, 1), now);
        drop(turn.expect("a token"));
    }
    assert!(proofs.turn(Ipv4Addr::new(127, 9, 9, 9), now).is_none());
    assert!(proofs.turn(A, now).is_some());
}

#[test]
fn a_warning_comes_once_a_minute() {
    let (mut buckets, start) = (Buckets::default(), Instant::now());
    let mut warned = 0;
    for ms in 0..130_000_u32 {
        let now = start + MS * ms;
        let ticket = buckets.enter(A, now).expect("a place");
        if buckets.take(A, ticket, now) == Some(Looked::Now) {
            warned += u32::from(buckets.warns(A, now));
            buckets.looked(A, false, now);
        }
        buckets.leave(A, ticket);
    }
    assert_eq!(warned, 3);
    // Nine wrong ones are a person who mistypes.
    let mut buckets = Buckets::default();
    for _ in 1..MOST_WRONG {
        let ticket = buckets.enter(A, start).expect("a place");
        assert_eq!(buckets.take(A, ticket, start), Some(Looked::Now));
        assert!(!buckets.warns(A, start));
        buckets.looked(A, false, start);
    }
}

#[test]
fn whoever_waits_is_woken_by_the_end() {
    let proofs = Proofs::default();
    let deadline = Instant::now() + Duration::from_secs(60);
    let turns: Vec<_> = (0..MOST_WRONG)
        .map(|_| proofs.turn(A, deadline).expect("a token"))
        .collect();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| proofs.turn(A, deadline).is_some());
        while lock(&proofs.buckets).by_source[&A].waiting.is_empty() {
            std::thread::yield_now();
        }
        proofs.end();
        assert!(!waiting.join().expect("no panic"));
    });
    drop(turns);
    assert!(proofs.turn(B, deadline).is_none());
}

#[test]
fn whoever_waits_goes_on_as_soon_as_one_was_right() {
    let proofs = Proofs::default();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut turns: Vec<_> = (0..MOST_WRONG)
        .map(|_| proofs.turn(A, deadline).expect("a token"))
        .collect();
    // Nine are wrong, so that no token comes back before the time is measured.
    let last = turns.pop().expect("the tenth");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| proofs.turn(A, deadline).map(Turn::right).is_some());
        while lock(&proofs.buckets).by_source[&A].waiting.is_empty() {
            std::thread::yield_now();
        }
        last.right();
        assert!(waiting.join().expect("no panic"));
    });
}
