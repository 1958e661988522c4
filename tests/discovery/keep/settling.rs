//! Two that keep each other settle on one connection; and what becomes of one that the other side has
//! lost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use lanpeer::{Bytes, CloseReason, Connection, KeepConnected, Peer, Target};

use super::loopback::{accepted, both, talk, talk_on, up};
use crate::beacons::Port;
use crate::peers::*;

/// Both sides' ends of the one connection on which they have settled.
#[track_caller]
fn settled(
    (alice, kept_by_alice): (&Peer, &KeepConnected<Bytes>),
    (bob, kept_by_bob): (&Peer, &KeepConnected<Bytes>),
) -> (Connection<Bytes>, Connection<Bytes>) {
    let deadline = Instant::now() + SOON;
    let is_up = |conn: &Connection<Bytes>| conn.close_reason().is_none();
    let (mut ours, mut theirs) = (None, None);
    // One that has lost against the other ends. Both sides take what comes: for one whose program leaves a
    // connection waiting nothing more is done.
    let (ours, theirs) = loop {
        ours = kept_by_alice.receiver().try_iter().last().or(ours);
        theirs = kept_by_bob.receiver().try_iter().last().or(theirs);
        match (
            ours.take_if(|conn| is_up(conn)),
            theirs.take_if(|conn| is_up(conn)),
        ) {
            (Some(ours), Some(theirs)) => break (ours, theirs),
            (one, other) => (ours, theirs) = (one, other),
        }
        assert!(Instant::now() < deadline, "they do not settle");
        std::thread::sleep(Duration::from_millis(1));
    };
    talk(&ours, &theirs);
    assert_eq!((alice.connections().len(), bob.connections().len()), (1, 1));
    (ours, theirs)
}

#[test]
fn two_that_keep_each_other_have_one_connection() {
    test(|| {
        let rounds =
            std::env::var("LANPEER_ROUNDS").map_or(campaign(30), |text| text.parse().unwrap());
        for round in 0..rounds {
            let (alice, bob) = (peer(), peer());
            let (to_bob, to_alice) = (bob.local_addr(), alice.local_addr());
            let other = Call::start("keep", {
                let bob = bob.clone();
                move || bob.keep_connected::<Bytes>(to_alice)
            });
            let alices = alice.keep_connected::<Bytes>(to_bob);
            let bobs = other.finish();
            for end in 0..3 {
                let (ours, theirs) = settled((&alice, &alices), (&bob, &bobs));
                match (round + end) % 3 {
                    0 => ours.abort(),
                    1 => theirs.abort(),
                    _ => {
                        ours.abort();
                        theirs.abort();
                    }
                }
                ended(&ours);
                ended(&theirs);
            }
            nothing_is_offered(&alice);
            nothing_is_offered(&bob);
            let few = |peer: &Peer| peer.stats().connected <= 9;
            assert!(
                few(&alice) && few(&bob),
                "{:?} {:?}",
                alice.stats(),
                bob.stats()
            );
        }
    });
}

#[test]
fn many_that_keep_each_other_have_one_connection_for_each_pair() {
    test(|| {
        let port = Port::new();
        let peers: Vec<Peer> = (0..6).map(|n| port.peer(&format!("peer{n}"))).collect();
        let kept: Vec<_> = peers
            .iter()
            .map(|peer| peer.keep_connected::<Bytes>(Target::any()))
            .collect();
        let mut open: Vec<Vec<Connection<Bytes>>> = vec![Vec::new(); peers.len()];
        let mut look = || {
            for (kept, open) in kept.iter().zip(&mut open) {
                open.extend(kept.receiver().try_iter());
                open.retain(|conn| conn.close_reason().is_none());
            }
            open.iter().all(|open| open.len() == 5)
        };
        eventually("all are connected", &mut look);
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            assert!(look(), "they do not stay");
            std::thread::sleep(Duration::from_millis(10));
        }
        for (peer, open) in peers.iter().zip(&open) {
            let mut ids: Vec<_> = open.iter().map(|conn| conn.peer_id()).collect();
            ids.sort();
            ids.dedup();
            assert_eq!((ids.len(), peer.connections().len()), (5, 5));
            nothing_is_offered(peer);
        }
    });
}

/// What came before this side was asked to keep the other was the program's, and is withdrawn.
#[track_caller]
fn nothing_is_offered(peer: &Peer) {
    let offers = peer.offers();
    assert!(
        offers
            .try_iter()
            .all(|offer| offer.accept::<Bytes>().is_err())
    );
}

#[test]
fn who_only_accepts_is_asked_as_by_anyone() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let bobs = bob.keep_connected::<lanpeer::Json<u32>>(alice.local_addr());
        // Of another type: not what Bob keeps.
        let alices = alice.keep_connected::<Bytes>(bob.local_addr());
        talk_on(both(&alices, &bob));
        let offer = alice.offers().recv_timeout(SOON).unwrap();
        assert_eq!(offer.data_type(), lanpeer::DataType::Json);
        drop((offer, bobs));
    });
}

// ------------------------------------------------- as bytes

fn header(text: &str) -> Vec<u8> {
    format!("{text:|<128}").into_bytes()
}

/// Asks as a peer that keeps itself connected.
fn ask(bob: &Peer, who: &str) -> TcpStream {
    let mut socket = TcpStream::connect(bob.local_addr()).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let hello = header("HELLO|peer_name=127.0.0.1:9&data_type=bytes&strict=1&v=2&who=1");
    socket.write_all(&[hello, header(who)].concat()).unwrap();
    socket
}

/// The first word of the answer.
fn answer(socket: &mut TcpStream) -> String {
    let mut bytes = [0; 128];
    socket.read_exact(&mut bytes).unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    text.trim_end_matches('|').to_owned()
}

#[test]
fn who_comes_again_replaces_what_it_has_lost_before_it_is_offered() {
    test(|| {
        let bob = bind(builder().max_connections(3));
        let _first = ask(&bob, "WHO|id=a&keep=77&try=5");
        let first = accepted(&bob);
        // Another of its connections, and somebody else's with the same numbers.
        let _other = ask(&bob, "WHO|id=a&keep=78&try=5");
        let other = accepted(&bob);
        let _eve = ask(&bob, "WHO|id=b&keep=77&try=6");
        let eve = accepted(&bob);
        // There is no room but that of what it takes the place of.
        let _second = ask(&bob, "WHO|id=a&keep=77&try=6");
        let offer = bob.offers().recv_timeout(SOON).unwrap();
        assert_eq!(first.close_reason(), Some(CloseReason::Replaced));
        assert!(first.recv().is_err());
        let second = offer.accept::<Bytes>().unwrap();
        for conn in [&other, &eve, &second] {
            assert_eq!(conn.close_reason(), None);
        }
        let stats = bob.stats();
        assert_eq!((stats.ended.replaced, stats.ended.total()), (1, 1));
        // What is older than what is there comes too late, and the same once more too often.
        for late in [
            "WHO|id=a&keep=77&try=4",
            "WHO|id=a&keep=77&try=6",
            "WHO|id=a&keep=77&try=5",
        ] {
            assert_eq!(answer(&mut ask(&bob, late)), "DENY|reason=twice", "{late}");
        }
        assert!(bob.offers().is_empty() && second.close_reason().is_none());
    });
}

#[test]
fn an_older_offer_that_waits_still_does_not_become_a_second_connection() {
    test(|| {
        let bob = peer();
        // Its client has gone, but that is not known here.
        let _first = ask(&bob, "WHO|id=a&keep=77&try=5");
        let old = bob.offers().recv_timeout(SOON).unwrap();
        let _second = ask(&bob, "WHO|id=a&keep=77&try=6");
        let new = bob.offers().recv_timeout(SOON).unwrap();
        let old = old.accept::<Bytes>().unwrap();
        let new = new.accept::<Bytes>().unwrap();
        assert_eq!(old.close_reason(), Some(CloseReason::Replaced));
        assert_eq!((new.close_reason(), bob.connections().len()), (None, 1));
        // In the other order.
        let _third = ask(&bob, "WHO|id=c&keep=77&try=5");
        let old = bob.offers().recv_timeout(SOON).unwrap();
        let _fourth = ask(&bob, "WHO|id=c&keep=77&try=6");
        let new = bob.offers().recv_timeout(SOON).unwrap();
        let new = new.accept::<Bytes>().unwrap();
        assert!(old.accept::<Bytes>().is_err());
        assert_eq!((new.close_reason(), bob.connections().len()), (None, 2));
    });
}

/// Bob's side of a connection that Alice has lost, while both keep each other.
#[test]
fn what_one_of_two_has_lost_ends_at_the_other_whoever_has_asked() {
    test(|| {
        let bob = peer();
        let alice = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let bobs = bob.keep_connected::<Bytes>(alice.local_addr().unwrap());
        // Alice's id is higher than any that is drawn, so that Bob's offer stays.
        let id = "ffffffffff";
        let (mut asked, _) = alice.accept().unwrap();
        asked.set_read_timeout(Some(SOON)).unwrap();
        assert!(answer(&mut asked).starts_with("HELLO|"));
        let who = answer(&mut asked);
        let tried = who.split("&try=").nth(1).unwrap().to_owned();
        // Her own offer has crossed it.
        let mut crossing = ask(&bob, &format!("WHO|id={id}&keep=1&try=7"));
        asked.write_all(&header("ACCEPT|v=2")).unwrap();
        asked.write_all(&header(&format!("WHO|id={id}"))).unwrap();
        let to_alice = up(&bobs);
        // Whether it was answered before she was known, or after.
        let crossed = bob.offers().recv_timeout(Duration::from_millis(50));
        let is_crossing = crossed.is_ok();
        drop(crossed);
        let word = answer(&mut crossing);
        assert_eq!(
            word,
            if is_crossing {
                "DENY|reason=dropped"
            } else {
                "DENY|reason=twice"
            }
        );
        // She still has not seen his: it has crossed once more.
        let mut crossing = ask(&bob, &format!("WHO|id={id}&keep=1&try=8"));
        assert_eq!(answer(&mut crossing), "DENY|reason=twice");
        assert_eq!(to_alice.close_reason(), None);
        // Now she has, and comes all the same.
        let _again = ask(&bob, &format!("WHO|id={id}&keep=1&try=9&seen={tried}"));
        let second = up(&bobs);
        assert_eq!(to_alice.close_reason(), Some(CloseReason::Replaced));
        // And once more.
        let _again = ask(&bob, &format!("WHO|id={id}&keep=1&try=10&seen={tried}"));
        let third = up(&bobs);
        assert_eq!(second.close_reason(), Some(CloseReason::Replaced));
        assert_eq!((third.close_reason(), bob.connections().len()), (None, 1));
        assert!(bob.offers().is_empty());
    });
}
