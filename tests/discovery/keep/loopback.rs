//! A connection that is kept, on loopback: how it comes back, and what ends it.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use lanpeer::{
    Bytes, CloseReason, ConnectOptions, Connection, Error, Event, KeepConnected, Neighbour, Peer,
    StreamSize, Target,
};

use crate::beacons::{Port, padded};
use crate::peers::*;

/// The next connection, which has to come.
#[track_caller]
pub fn up(kept: &KeepConnected<Bytes>) -> Connection<Bytes> {
    let conn = kept.receiver().recv_timeout(SOON);
    conn.unwrap_or_else(|error| panic!("no connection: {error}"))
}

/// The next offer, accepted.
#[track_caller]
pub fn accepted(bob: &Peer) -> Connection<Bytes> {
    bob.accept_timeout::<Bytes>(SOON).expect("an offer")
}

/// Both ends of the next connection, hers first. An attempt may be withdrawn when it has just been accepted,
/// because discovery says then that somebody else listens at its address; the next one is accepted as well.
#[track_caller]
pub fn both(kept: &KeepConnected<Bytes>, bob: &Peer) -> (Connection<Bytes>, Connection<Bytes>) {
    let mut theirs = accepted(bob);
    let deadline = Instant::now() + SOON;
    loop {
        match kept.receiver().recv_timeout(Duration::from_millis(5)) {
            Ok(ours) => return (ours, theirs),
            Err(_) if theirs.close_reason().is_some() => theirs = accepted(bob),
            Err(_) => assert!(Instant::now() < deadline, "no connection"),
        }
    }
}

#[track_caller]
pub fn talk_on((one, other): (Connection<Bytes>, Connection<Bytes>)) {
    talk(&one, &other);
}

/// Works both ways.
#[track_caller]
pub fn talk(one: &Connection<Bytes>, other: &Connection<Bytes>) {
    for (from, to) in [(one, other), (other, one)] {
        from.send("hello").unwrap();
        assert_eq!(next(to), b"hello");
    }
}

#[test]
fn it_comes_back_however_it_ends() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let kept = alice.keep_connected::<Bytes>(bob.local_addr());
        type End = fn(&Connection<Bytes>, &Connection<Bytes>);
        let ends: [End; 4] = [
            |to_bob, _| to_bob.abort(),
            |to_bob, _| to_bob.close().unwrap(),
            |_, to_alice| to_alice.abort(),
            |_, to_alice| to_alice.close().unwrap(),
        ];
        for end in ends {
            let (to_bob, to_alice) = both(&kept, &bob);
            talk(&to_bob, &to_alice);
            end(&to_bob, &to_alice);
            ended(&to_bob);
            ended(&to_alice);
        }
        // Handles that are merely dropped end it too.
        drop(both(&kept, &bob));
        talk_on(both(&kept, &bob));
    });
}

/// The next connection comes while the other side is still taking in what the one before has brought.
#[test]
fn what_was_sent_before_a_polite_end_is_not_replaced() {
    test(|| {
        let narrow = || builder().receive_queue(4);
        let (alice, bob) = (bind(narrow()), bind(narrow()));
        let kept = alice.keep_connected::<Bytes>(bob.local_addr());
        let offers = bob.incoming();
        let receiving = Call::start("receive", move || {
            let each: Vec<_> = offers
                .filter_map(|offer| offer.accept::<Bytes>().ok())
                .map(|conn| {
                    Call::start("receive", move || {
                        let slowly = |message: Vec<u8>| {
                            std::thread::sleep(Duration::from_millis(2));
                            number_of(&message)
                        };
                        let all: Vec<u64> = conn.iter().map(slowly).collect();
                        (all, ended(&conn))
                    })
                })
                .collect();
            each.into_iter().map(Call::finish).collect::<Vec<_>>()
        });
        for round in 0..6 {
            let to_bob = up(&kept);
            for number in 0..100 {
                to_bob.send(&numbered(number, 1000)).unwrap();
            }
            match round % 2 {
                0 => to_bob.close().unwrap(),
                _ => drop(to_bob),
            }
        }
        drop((kept, alice));
        bob.stop();
        let got = receiving.finish();
        for (all, reason) in got.iter().filter(|(all, _)| !all.is_empty()) {
            assert_eq!(*all, (0..100).collect::<Vec<_>>());
            assert_eq!(*reason, CloseReason::ClosedThere);
        }
        assert_eq!(got.iter().filter(|(all, _)| !all.is_empty()).count(), 6);
    });
}

#[test]
fn a_peer_that_is_started_again_is_found_at_the_same_port_and_at_another() {
    test(|| {
        let port = Port::new();
        let alice = port.peer("alice");
        let kept = alice.keep_connected::<Bytes>(Target::name("bob"));
        let mut bob = port.peer("bob");
        let mut ids = vec![];
        for at in ["same", "other", "same"] {
            let (to_bob, to_alice) = both(&kept, &bob);
            talk(&to_bob, &to_alice);
            assert_eq!(to_bob.peer_id(), Some(bob.id()));
            ids.push(bob.id());
            let addr = bob.local_addr();
            bob.stop();
            ended(&to_bob);
            drop(bob);
            bob = match at {
                "same" => port.builder().name("bob").bind(addr).expect("it is free"),
                _ => port.peer("bob"),
            };
        }
        let (to_bob, to_alice) = both(&kept, &bob);
        talk(&to_bob, &to_alice);
        ids.push(bob.id());
        ids.dedup();
        assert_eq!(ids.len(), 4);
        // One connection, and no second one on the way.
        std::thread::sleep(Duration::from_millis(500));
        assert!(kept.receiver().is_empty() && bob.offers().is_empty());
        assert_eq!((alice.connections().len(), bob.connections().len()), (1, 1));
    });
}

/// Bob as a search finds him, after answers in his name that say that he is at these addresses.
fn bob_at(port: &Port, alice: &Peer, bob: &Peer, addrs: &[SocketAddr]) -> Neighbour {
    let mut search = alice.discover(SOON).expect("loopback can broadcast");
    let asker = port.hear_searcher();
    for addr in addrs {
        let pong = format!("PONG {addr}|ponger={addr}&v=1&id={}&name=bob", bob.id());
        let sent = port.ear.send_to(padded(&pong).as_bytes(), asker);
        assert_eq!(sent.expect("sent"), 128);
    }
    let found = search.find(|found| found.id() == Some(bob.id()));
    let found = found.expect("he is found");
    assert!(found.addrs().eq(addrs.iter().copied()), "{found:?}");
    found
}

#[test]
fn another_peer_at_the_address_of_an_id_is_neither_taken_nor_bothered() {
    test(|| {
        let port = Port::new();
        let alice = port.peer("alice");
        let invisible = port.builder().name("bob").invisible(true);
        let bob = invisible.bind("127.0.0.1:0").expect("a free port");
        let eve = peer();
        // Where she alone is asked, nothing comes of it.
        let hers = bob_at(&port, &alice, &bob, &[eve.local_addr()]);
        let kept = alice.keep_connected::<Bytes>(&hers);
        let deadline = Instant::now() + SOON;
        while alice.stats().connects_failed == 0 {
            assert!(Instant::now() < deadline, "{:?}", alice.stats());
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(kept.receiver().is_empty() && eve.offers().is_empty());
        drop(kept);
        // Where she is asked first, bob is asked next.
        let addrs = [eve.local_addr(), bob.local_addr()];
        let both_addrs = bob_at(&port, &alice, &bob, &addrs);
        let kept = alice.keep_connected::<Bytes>(&both_addrs);
        let (to_bob, to_alice) = both(&kept, &bob);
        assert_eq!(to_bob.peer_id(), Some(bob.id()));
        talk(&to_bob, &to_alice);
        assert!(eve.offers().is_empty());
        // After its end as well.
        to_alice.abort();
        ended(&to_bob);
        talk_on(both(&kept, &bob));
        assert!(eve.offers().is_empty() && eve.connections().is_empty());
    });
}

#[test]
fn two_of_one_name_are_kept_each_for_itself() {
    test(|| {
        let port = Port::new();
        let alice = port.peer("alice");
        let bobs = [port.peer("bob"), port.peer("bob")];
        let _eve = port.peer("eve");
        let kept = alice.keep_connected::<Bytes>(Target::name("bob"));
        for _ in 0..3 {
            let theirs: Vec<_> = bobs.iter().map(accepted).collect();
            let ours = [up(&kept), up(&kept)];
            let mut ids: Vec<_> = ours.iter().map(|conn| conn.peer_id().unwrap()).collect();
            let mut all: Vec<_> = bobs.iter().map(|bob| bob.id()).collect();
            ids.sort();
            all.sort();
            assert_eq!(ids, all);
            for (bob, to_alice) in bobs.iter().zip(&theirs) {
                assert_eq!(bob.connections().len(), 1);
                to_alice.abort();
            }
            ours.iter().for_each(|conn| drop(ended(conn)));
        }
    });
}

#[test]
fn a_denial_is_not_forgotten_because_a_peer_is_seen_again() {
    test(|| {
        let port = Port::new();
        let alice = port.peer("alice");
        let bob = port.peer("bob");
        let kept = alice.keep_connected::<Bytes>(Target::id(bob.id()));
        let (to_bob, _to_alice) = both(&kept, &bob);
        // From now on he denies, so that the pauses become long.
        to_bob.abort();
        let denying = Call::start("deny", {
            let bob = bob.clone();
            move || {
                bob.offers()
                    .recv_timeout(SOON)
                    .unwrap()
                    .deny("later")
                    .unwrap()
            }
        });
        denying.finish();
        let asked = Instant::now();
        bob.set_invisible(true);
        bob.set_invisible(false);
        // A denial is not forgotten because he is seen again.
        talk_on(both(&kept, &bob));
        assert!(
            asked.elapsed() > Duration::from_millis(500),
            "{:?}",
            asked.elapsed()
        );
    });
}

#[test]
fn pauses_grow_where_each_connection_ends_the_moment_it_is_up() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let kept = alice.keep_connected::<Bytes>(bob.local_addr());
        let begin = Instant::now();
        let mut count = 0;
        while begin.elapsed() < Duration::from_secs(3) {
            if let Ok(offer) = bob.offers().recv_timeout(Duration::from_millis(100)) {
                drop(offer.accept::<Bytes>());
                count += 1;
            }
            kept.receiver().try_iter().for_each(drop);
        }
        // 50, 100, 200, 400, 800, 1600 ms.
        assert!((4..=8).contains(&count), "{count} connections in 3 s");
    });
}

#[test]
fn a_program_that_takes_none_has_one_waiting() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let kept = alice.keep_connected::<Bytes>(bob.local_addr());
        accepted(&bob).abort();
        assert!(bob.accept_timeout::<Bytes>(Duration::from_secs(1)).is_err());
        assert_eq!(kept.receiver().len(), 1);
        // It learns of that one, and gets the next.
        assert!(!ended(&up(&kept)).is_normal());
        talk_on(both(&kept, &bob));
    });
}

#[test]
fn a_peer_that_speaks_no_frames_is_kept_as_well() {
    test(|| {
        let port = Port::new();
        let alice = port.peer("alice");
        let bob = port.builder().name("bob").text_headers(true);
        let bob = bob.bind("127.0.0.1:0").unwrap();
        for target in [Target::name("bob"), Target::addr(bob.local_addr())] {
            let kept = alice.keep_connected::<Bytes>(target);
            for _ in 0..3 {
                let (to_bob, to_alice) = both(&kept, &bob);
                talk(&to_bob, &to_alice);
                to_alice.abort();
            }
        }
    });
}

#[test]
fn other_connections_to_the_same_peer_stay() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let kept = alice.keep_connected::<Bytes>(bob.local_addr());
        let first = both(&kept, &bob);
        let by_hand = link::<Bytes>(&alice, &bob);
        let again = alice.keep_connected::<Bytes>(bob.local_addr());
        let second = both(&again, &bob);
        for (ours, theirs) in [&first, &by_hand, &second] {
            talk(ours, theirs);
        }
        first.0.abort();
        talk_on(both(&kept, &bob));
        for (ours, theirs) in [&by_hand, &second] {
            talk(ours, theirs);
        }
        assert_eq!(bob.stats().ended.replaced, 0);
    });
}

#[test]
fn options_are_those_of_each_connection() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let options = ConnectOptions::new().stream_of(5).strict(false);
        let kept = options.keep_connected::<Bytes>(&alice, bob.local_addr());
        let kept = kept.unwrap();
        for _ in 0..2 {
            let (to_bob, to_alice) = both(&kept, &bob);
            assert_eq!(to_alice.stream(), Some(StreamSize::Of(5)));
            assert!(!to_alice.is_strict());
            talk(&to_bob, &to_alice);
            to_alice.abort();
        }
        let bad = ConnectOptions::new().stream_of(0);
        let bad = bad.keep_connected::<Bytes>(&alice, Target::any());
        assert!(matches!(
            bad,
            Err(Error::InvalidOption {
                option: "stream_of",
                ..
            })
        ));
    });
}

// ------------------------------------------------------------- no

#[test]
fn never_ends_it_for_that_peer_and_is_told() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let mut kept = alice.keep_connected::<Bytes>(bob.local_addr());
        bob.offers()
            .recv_timeout(SOON)
            .unwrap()
            .deny("never")
            .unwrap();
        assert!(
            within("the end", SOON, move || {
                assert!(kept.next().is_none());
                kept.refused()
            }) == [bob.local_addr()]
        );
        let told = |alice: &Peer| {
            let mut events = alice.events().try_iter().collect::<Vec<_>>();
            events.retain(|event| matches!(event, Event::KeepRefused { .. }));
            events
        };
        let peer_addr = bob.local_addr();
        assert_eq!(
            told(&alice),
            [Event::KeepRefused {
                peer_addr,
                peer_id: None
            }]
        );
        assert!(bob.offers().is_empty());
        // Where several are meant, the others are kept.
        let port = Port::new();
        let (alice, bob, eve) = (port.peer("alice"), port.peer("bob"), port.peer("eve"));
        let kept = alice.keep_connected::<Bytes>(Target::any());
        bob.offers()
            .recv_timeout(SOON)
            .unwrap()
            .deny("never")
            .unwrap();
        let (to_eve, _) = both(&kept, &eve);
        assert_eq!(to_eve.peer_id(), Some(eve.id()));
        eventually("it is told", || kept.refused() == [bob.local_addr()]);
        let peer_addr = bob.local_addr();
        let peer_id = Some(bob.id());
        eventually("so is the event", || {
            told(&alice) == [Event::KeepRefused { peer_addr, peer_id }]
        });
        bob.set_invisible(true);
        bob.set_invisible(false);
        assert!(
            bob.offers()
                .recv_timeout(Duration::from_millis(700))
                .is_err()
        );
    });
}

#[test]
fn a_denial_slows_it_down() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let kept = alice.keep_connected::<Bytes>(bob.local_addr());
        let mut asked = vec![];
        for _ in 0..3 {
            bob.offers()
                .recv_timeout(SOON)
                .unwrap()
                .deny("later")
                .unwrap();
            asked.push(Instant::now());
        }
        let pauses: Vec<_> = asked.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(pauses[0] >= Duration::from_millis(740), "{pauses:?}");
        assert!(pauses[1] >= Duration::from_millis(1490), "{pauses:?}");
        talk_on(both(&kept, &bob));
    });
}

#[test]
fn where_there_is_no_room_it_waits_for_some() {
    test(|| {
        // Bob's.
        let (alice, bob) = (peer(), bind(builder().max_connections(1)));
        let eve = peer();
        let other = link::<Bytes>(&eve, &bob);
        let kept = alice.keep_connected::<Bytes>(bob.local_addr());
        eventually("he is busy", || bob.stats().denied > 1);
        other.1.abort();
        talk_on(both(&kept, &bob));
        // Her own.
        let (alice, bob, eve) = (bind(builder().max_connections(1)), peer(), peer());
        let other = link::<Bytes>(&alice, &eve);
        let kept = alice.keep_connected::<Bytes>(bob.local_addr());
        eventually("she is busy", || alice.stats().connects_failed > 1);
        other.0.abort();
        talk_on(both(&kept, &bob));
    });
}

#[test]
#[cfg(feature = "secure")]
fn a_wrong_secret_is_tried_slowly() {
    test(|| {
        let secret = || lanpeer::Secret::random().unwrap();
        let alice = bind(builder().secret(secret()));
        let bob = bind(builder().secret(secret()));
        let kept = alice.keep_connected::<Bytes>(bob.local_addr());
        let begin = Instant::now();
        eventually("twice", || bob.stats().denied == 2);
        assert!(begin.elapsed() > Duration::from_millis(700));
        drop(kept);
    });
}

// ------------------------------------------------------------ ends

/// Takes TCP connections, and says nothing.
fn mute() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn drop_and_stop_end_it_at_once_whatever_it_does() {
    alone(
        "keep::loopback::drop_and_stop_end_it_at_once_whatever_it_does",
        || {
            let threads = || {
                let all = lanpeer_threads();
                all.into_iter()
                    .filter(|name| name.starts_with("lanpeer-k"))
                    .count()
            };
            for wait in [0, 1, 5, 30, 100, 300] {
                for round in 0..6 {
                    let (alice, bob, mute) = (peer(), peer(), mute());
                    let (_refuses, refusing) = refusing();
                    // While it connects, while it pauses, while it is connected.
                    let target =
                        [mute.local_addr().unwrap(), refusing, bob.local_addr()][round % 3];
                    let mut kept = alice.keep_connected::<Bytes>(target);
                    let _accepting = Call::start("accept", move || {
                        bob.incoming()
                            .filter_map(|offer| offer.accept::<Bytes>().ok())
                            .count()
                    });
                    std::thread::sleep(Duration::from_millis(wait));
                    let begin = Instant::now();
                    if round < 3 {
                        drop(kept);
                    } else {
                        alice.stop();
                        let taken = within("the end", SOON, move || kept.by_ref().count());
                        assert!(taken <= 1);
                    }
                    eventually("its threads end", || threads() == 0);
                    assert!(begin.elapsed() < SOON / 4, "{:?}", begin.elapsed());
                    eventually("nothing is left", || alice.connections().is_empty());
                }
            }
        },
    );
}

#[test]
fn a_connection_that_was_taken_outlives_it() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let kept = alice.keep_connected::<Bytes>(bob.local_addr());
        let (to_bob, to_alice) = both(&kept, &bob);
        let receiver = kept.receiver().clone();
        drop(kept);
        assert!(receiver.recv_timeout(SOON).is_err());
        talk(&to_bob, &to_alice);
        to_bob.close().unwrap();
        assert!(
            bob.accept_timeout::<Bytes>(Duration::from_millis(300))
                .is_err()
        );
        assert_eq!(ended(&to_alice), CloseReason::ClosedThere);
        // One that nobody has taken ends with it.
        let kept = alice.keep_connected::<Bytes>(bob.local_addr());
        let to_alice = accepted(&bob);
        eventually("it waits", || kept.receiver().len() == 1);
        drop(kept);
        assert_eq!(ended(&to_alice), CloseReason::ClosedThere);
    });
}

#[test]
fn at_a_stopped_peer_it_has_ended_from_the_beginning() {
    test(|| {
        let alice = peer();
        alice.stop();
        let kept = alice.keep_connected::<Bytes>(Target::any());
        assert_eq!(kept.count(), 0);
        let kept = ConnectOptions::new().keep_connected::<Bytes>(&alice, Target::any());
        assert!(matches!(kept, Err(Error::Stopped)));
    });
}
