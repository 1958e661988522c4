//! Events: who came, who was denied, who failed, who went and why; never in
//! the library's way.

use std::net::TcpStream;
use std::time::Duration;

use lanpeer::{Bytes, CloseReason, DataType, Error, Event, Json, Peer, Receiver, RecvTimeoutError};

use crate::peers::*;

/// The next event.
#[track_caller]
fn next(events: &Receiver<Event>) -> Event {
    let event = events.recv_timeout(SOON).expect("an event");
    assert!(!event.to_string().is_empty());
    event
}

/// Alice connects to Bob, who denies it with `reason`.
fn denied(alice: &Peer, bob: &Peer, reason: &str) {
    let calling = Call::start("connect", {
        let (alice, addr) = (alice.clone(), bob.local_addr());
        move || alice.connect::<Bytes>(addr).map(|_| ())
    });
    bob.offers()
        .recv_timeout(SOON)
        .unwrap()
        .deny(reason)
        .unwrap();
    assert!(matches!(calling.finish(), Err(Error::Denied { .. })));
}

#[test]
fn events_say_who_the_other_side_is() {
    test(|| {
        let alice = bind(builder().name("alice").service("tests"));
        let (bob, old) = (peer(), bind(builder().text_headers(true)));
        let events = bob.events();
        let is_alice = |event: Event| {
            assert_eq!(event.peer_id(), Some(alice.id()), "{event}");
            let names = (event.peer_name(), event.peer_service());
            assert_eq!(names, (Some("alice"), Some("tests")), "{event}");
        };
        denied(&alice, &bob, "closed");
        is_alice(next(&events));
        let (to_bob, to_alice) = link::<Bytes>(&alice, &bob);
        is_alice(next(&events));
        to_bob.close().unwrap();
        is_alice(next(&events));
        drop(to_alice);
        let (to_bob, _from_old) = link::<Bytes>(&old, &bob);
        let event = next(&events);
        assert_eq!((event.peer_id(), event.peer_name()), (None, None));
        drop(TcpStream::connect(bob.local_addr()).unwrap());
        assert_eq!(next(&events).peer_id(), None);
        drop(to_bob);
    });
}

#[test]
fn both_sides_tell_of_a_connection_and_its_end() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (at_alice, at_bob) = (alice.events(), bob.events());
        let (to_bob, to_alice) = link::<Json<u32>>(&alice, &bob);
        let (own_id, his_id) = (to_bob.id(), to_alice.id());
        for (events, own, other) in [(&at_alice, own_id, &bob), (&at_bob, his_id, &alice)] {
            match next(events) {
                Event::Connected {
                    id,
                    peer_addr,
                    data_type,
                    ..
                } => {
                    assert_eq!(id, own);
                    assert_eq!(peer_addr, other.local_addr());
                    assert_eq!(data_type, DataType::Json);
                }
                other => panic!("{other:?}"),
            }
        }
        to_bob.close().unwrap();
        for (events, own, other, why) in [
            (&at_alice, own_id, &bob, CloseReason::ClosedHere),
            (&at_bob, his_id, &alice, CloseReason::ClosedThere),
        ] {
            match next(events) {
                Event::Closed {
                    id,
                    peer_addr,
                    reason,
                    ..
                } => {
                    assert_eq!(id, own);
                    assert_eq!(peer_addr, other.local_addr());
                    assert_eq!(reason, why);
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(at_alice.try_recv().is_err());
        assert!(at_bob.try_recv().is_err());
    });
}

#[test]
fn connections_have_ids_of_their_own() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let events = bob.events();
        let ends: Vec<_> = (0..5).map(|_| link::<Bytes>(&alice, &bob)).collect();
        let mut ids: Vec<_> = ends.iter().map(|(_, to_alice)| to_alice.id()).collect();
        ends[3].0.abort();
        let mut closed = None;
        while closed.is_none() {
            if let Event::Closed { id, reason, .. } = next(&events) {
                assert_eq!(reason, CloseReason::Reset);
                closed = Some(id);
            }
        }
        assert_eq!(closed, Some(ids[3]));
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 5);
    });
}

#[test]
fn a_denial_is_told_with_its_reason() {
    test(|| {
        let (alice, bob) = (peer(), bind(builder().max_connections(1)));
        let events = bob.events();
        denied(&alice, &bob, "later");
        match next(&events) {
            Event::Denied {
                peer_addr, reason, ..
            } => {
                assert_eq!(peer_addr, alice.local_addr());
                assert_eq!(reason, "later");
            }
            other => panic!("{other:?}"),
        }
        // Also where the library denied by itself.
        let _ends = link::<Bytes>(&alice, &bob);
        assert!(matches!(next(&events), Event::Connected { .. }));
        assert!(alice.connect::<Bytes>(bob.local_addr()).is_err());
        match next(&events) {
            Event::Denied { reason, .. } => assert_eq!(reason, "busy"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_failed_handshake_is_told_with_who_and_why() {
    test(|| {
        let bob = bind(builder().timeout(Duration::from_millis(100)));
        let events = bob.events();
        // One that says nothing, and one that goes away.
        for leaves in [false, true] {
            let client = TcpStream::connect(bob.local_addr()).unwrap();
            let addr = client.local_addr().unwrap();
            let client = (!leaves).then_some(client);
            match next(&events) {
                Event::HandshakeFailed { remote, reason, .. } => {
                    assert_eq!(remote, addr);
                    assert!(!reason.is_empty());
                }
                other => panic!("{other:?}"),
            }
            drop(client);
        }
    });
}

#[test]
fn an_offer_that_was_withdrawn_is_a_failed_handshake() {
    test(|| {
        let bob = peer();
        let events = bob.events();
        let client = raw_offer(&bob);
        let addr = client.local_addr().unwrap();
        let offer = bob.offers().recv_timeout(SOON).unwrap();
        drop(client);
        assert!(matches!(offer.accept::<Bytes>(), Err(Error::Withdrawn)));
        match next(&events) {
            Event::HandshakeFailed { remote, reason, .. } => {
                assert_eq!(remote, addr);
                assert!(!reason.is_empty());
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn nobody_listens_and_nothing_waits() {
    test(|| {
        const ROUNDS: u64 = 150; // two events each: more than the queue holds
        let (alice, bob) = (peer(), peer());
        let events = bob.events();
        for _ in 0..ROUNDS {
            let (to_bob, to_alice) = link::<Bytes>(&alice, &bob);
            to_bob.close().unwrap();
            eventually("Bob's end", || to_alice.close_reason().is_some());
        }
        // Denied comes last. What the queue held, and how many it did not, is all of it.
        let (mut told, mut lost) = (0, 0);
        for _ in 0..256 {
            assert!(matches!(
                next(&events),
                Event::Connected { .. } | Event::Closed { .. }
            ));
            told += 1;
        }
        denied(&alice, &bob, "no");
        loop {
            match next(&events) {
                Event::Dropped { count, .. } => lost += count,
                Event::Denied { .. } => break,
                // The end of the last connection, told late.
                Event::Closed { .. } => told += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            told + lost,
            2 * ROUNDS,
            "{told} told, {lost} counted as lost"
        );
        assert_eq!(
            events.recv_timeout(Duration::from_millis(1)),
            Err(RecvTimeoutError::Timeout)
        );
    });
}

#[test]
fn a_stopped_peer_tells_its_last_and_then_no_more() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let events = bob.events();
        let _ends = link::<Bytes>(&alice, &bob);
        assert!(matches!(next(&events), Event::Connected { .. }));
        let waiting = Call::start("events", {
            let events = events.clone();
            move || events.iter().collect::<Vec<_>>()
        });
        waiting.wait_until_blocked();
        bob.stop();
        drop(bob);
        match &waiting.finish()[..] {
            [Event::Closed { reason, .. }] => assert_eq!(*reason, CloseReason::Stopped),
            other => panic!("{other:?}"),
        }
    });
}

// ------------------------------------------------- nothing without a word

/// Connects and aborts, so often: each time Bob has two events.
fn come_and_go(bob: &Peer, times: usize) -> Call<()> {
    let to = bob.local_addr();
    Call::start("connect", move || {
        let alice = peer();
        for _ in 0..times {
            alice.connect::<Bytes>(to).unwrap().abort();
        }
    })
}

/// Accepts whatever comes, and holds none of it.
fn accept_all(bob: &Peer) {
    let offers = bob.incoming();
    std::thread::spawn(move || {
        for offer in offers {
            // Who is gone already is no connection: that is an event as well.
            let _ = offer.accept_with::<Bytes>(|_, _| ());
        }
    });
}

/// How many events were told, and how many were said to be dropped.
fn counted(events: impl Iterator<Item = Event>) -> (u64, u64) {
    events.fold((0, 0), |(told, dropped), event| match event {
        Event::Dropped { count } => (told, dropped + count),
        _ => (told + 1, dropped),
    })
}

#[test]
fn what_was_dropped_last_is_told_when_the_peer_stops() {
    test(|| {
        const TIMES: usize = 200;
        let bob = peer();
        let events = bob.events();
        accept_all(&bob);
        come_and_go(&bob, TIMES).finish_within(3 * SOON);
        // A client may have its answer, and go, before Bob's side has entered the connection.
        eventually("all have come", || {
            let stats = bob.stats();
            stats.connected + stats.handshakes_failed == TIMES as u64
        });
        eventually("all have gone", || bob.connections().is_empty());
        within("stop", SOON, move || bob.stop());
        let (told, dropped) = counted(events.iter());
        assert_eq!(told, 256);
        assert_eq!(told + dropped, 2 * TIMES as u64);
    });
}

#[test]
fn events_that_are_taken_slowly_are_told_or_counted() {
    test(|| {
        const TIMES: usize = 150;
        let bob = peer();
        let events = bob.events();
        accept_all(&bob);
        let coming: Vec<_> = (0..4).map(|_| come_and_go(&bob, TIMES)).collect();
        let mut seen = Vec::new();
        // Room comes for one at a time, just as others are told.
        while coming.iter().any(Call::is_waiting) {
            if events.len() >= 250 {
                seen.extend(events.try_recv());
            }
            std::thread::yield_now();
        }
        for one in coming {
            one.finish();
        }
        eventually("all have gone", || bob.connections().is_empty());
        within("stop", SOON, move || bob.stop());
        let (told, dropped) = counted(seen.into_iter().chain(events.iter()));
        assert_eq!(told + dropped, 8 * TIMES as u64);
    });
}
