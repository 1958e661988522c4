//! Connecting to a peer that has several addresses: the likeliest first, the next beside it, and one
//! connection in the end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use lanpeer::{Bytes, CloseReason, ConnectOptions, Connection, Error, Event, Peer};

use crate::peers::*;

/// A peer on every address of this host, and two of them: both are its own.
fn two_ways() -> (Peer, [SocketAddr; 2]) {
    let bob = builder().bind("0.0.0.0:0").expect("a free port");
    let port = bob.local_addr().port();
    let way = |last| SocketAddr::from(([127, 0, 0, last], port));
    (bob, [way(1), way(2)])
}

/// Takes TCP connections, and says nothing.
fn mute() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Another address of `to`, on a slow way: what goes there first waits for so long.
fn slow_way(to: SocketAddr, delay: Duration) -> SocketAddr {
    let (listener, addr) = mute();
    std::thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let server = TcpStream::connect(to).unwrap();
        let pass = |mut from: TcpStream, mut to: TcpStream, delay| {
            move || {
                let mut bytes = [0; 4096];
                let mut wait = delay;
                while let Ok(n @ 1..) = from.read(&mut bytes) {
                    std::thread::sleep(std::mem::take(&mut wait));
                    if to.write_all(&bytes[..n]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(std::net::Shutdown::Write);
            }
        };
        let clone = |stream: &TcpStream| stream.try_clone().unwrap();
        std::thread::spawn(pass(clone(&server), clone(&client), Duration::ZERO));
        pass(client, server, delay)();
    });
    addr
}

/// Accepts whoever comes: how many came, when the peer is stopped.
fn accept_all(bob: &Peer) -> Call<Vec<Connection<Bytes>>> {
    let offers = bob.incoming();
    Call::start("accept all", move || {
        offers
            .filter_map(|offer| offer.accept::<Bytes>().ok())
            .collect()
    })
}

#[test]
fn the_next_address_is_tried_beside_one_that_does_not_answer() {
    test(|| {
        let (_refuses, refusing) = refusing();
        let (_listens, mute) = mute();
        for dead in [refusing, mute] {
            let (alice, bob) = (peer(), peer());
            let bobs = accept_all(&bob);
            let begin = Instant::now();
            let to_bob = alice.connect::<Bytes>(&[dead, dead, bob.local_addr()][..]);
            let to_bob = to_bob.expect("one of the addresses is Bob's");
            assert_eq!(to_bob.peer_addr(), bob.local_addr());
            assert!(begin.elapsed() < SOON / 4, "{:?}", begin.elapsed());
            to_bob.close().unwrap();
            bob.stop();
            assert_eq!(bobs.finish().len(), 1);
        }
    });
}

#[test]
fn a_program_that_decides_late_is_asked_once() {
    test(|| {
        let (bob, ways) = two_ways();
        let alice = peer();
        let connecting = Call::start("connect", move || {
            let to_bob = alice.connect::<Bytes>(&ways[..]).unwrap();
            (alice, to_bob)
        });
        // Longer than the time after which the other way is tried.
        std::thread::sleep(Duration::from_millis(700));
        let offer = bob.offers().recv_timeout(SOON).unwrap();
        assert!(bob.offers().is_empty(), "the program is asked twice");
        let to_alice = offer.accept::<Bytes>().unwrap();
        let (_alice, to_bob) = connecting.finish();
        to_bob.send("hello").unwrap();
        assert_eq!(next(&to_alice), b"hello");
        to_bob.close().unwrap();
        bob.stop();
        assert_eq!(bob.offers().iter().count(), 0);
        let stats = bob.stats();
        assert_eq!((stats.connected, stats.denied), (1, 0), "{stats:?}");
    });
}

/// The slow way is asked first, so that both offers arrive at about the same time, in either order.
#[test]
fn of_two_ways_that_answer_at_once_one_is_taken() {
    test(|| {
        for round in 0..24 {
            let (alice, bob) = (peer(), peer());
            let bobs = accept_all(&bob);
            let way = slow_way(bob.local_addr(), Duration::from_millis(246 + round / 3));
            let to_bob = alice.connect::<Bytes>(&[way, bob.local_addr()][..]);
            let to_bob = to_bob.expect("both lead to Bob");
            to_bob.send("hello").unwrap();
            to_bob.close().unwrap();
            // What was on the slow way has come by now, or never will.
            std::thread::sleep(Duration::from_millis(20));
            bob.stop();
            let ends: Vec<_> = bobs.finish().iter().map(|c| (ended(c), c.recv())).collect();
            assert_eq!(ends, [(CloseReason::ClosedThere, Ok(b"hello".to_vec()))]);
            assert_eq!(alice.connections().len(), 0);
        }
    });
}

#[test]
fn a_denial_is_the_answer_of_all_addresses() {
    test(|| {
        let (bob, ways) = two_ways();
        let alice = peer();
        let denying = Call::start("deny", {
            let bob = bob.clone();
            move || bob.offers().recv().unwrap().deny("not-you").unwrap()
        });
        match alice.connect::<Bytes>(&ways[..]) {
            Err(Error::Denied { reason, .. }) => assert_eq!(reason.as_deref(), Some("not-you")),
            other => panic!("{other:?}"),
        }
        denying.finish();
        assert!(bob.offers().is_empty());
        assert_eq!(alice.stats().connects_failed, 1);
    });
}

#[test]
fn where_no_address_answers_the_time_is_kept() {
    test(|| {
        let (_listens, mute) = mute();
        let (_refuses, refusing) = refusing();
        let alice = peer();
        let time = Duration::from_secs(1);
        let options = ConnectOptions::new().timeout(time);
        let begin = Instant::now();
        // The failure that says more is told.
        let error = options.connect::<Bytes>(&alice, &[mute, refusing][..]);
        assert!(matches!(error, Err(Error::Connect { .. })), "{error:?}");
        assert!(begin.elapsed() >= time);
        let error = options.connect::<Bytes>(&alice, &[mute, mute][..]);
        assert!(matches!(error, Err(Error::TimedOut { after, .. }) if after == time));
        assert!(alice.connections().is_empty());
    });
}

#[test]
fn stop_ends_it_whatever_it_waits_for() {
    test(|| {
        for wait in [10, 100, 400] {
            let (_listens, one) = mute();
            let (_listens, other) = mute();
            let alice = peer();
            let connecting = Call::start("connect", {
                let alice = alice.clone();
                move || alice.connect::<Bytes>(&[one, other][..]).map(drop)
            });
            std::thread::sleep(Duration::from_millis(wait));
            within("stop", SOON / 4, move || alice.stop());
            let error = connecting.finish_within(SOON / 4);
            assert!(matches!(error, Err(Error::Stopped)), "{error:?}");
        }
    });
}

/// One that speaks no frames cannot know that two offers are one: the loser is reset.
#[test]
fn a_peer_without_frames_keeps_one_in_the_end() {
    test(|| {
        let alice = peer();
        let bob = bind(builder().text_headers(true));
        let bobs = accept_all(&bob);
        let way = slow_way(bob.local_addr(), Duration::from_millis(250));
        let to_bob = alice
            .connect::<Bytes>(&[way, bob.local_addr()][..])
            .unwrap();
        eventually("the loser is gone", || bob.connections().len() <= 1);
        to_bob.send("hello").unwrap();
        to_bob.close().unwrap();
        bob.stop();
        let got = bobs.finish();
        let got = got.iter().filter(|conn| conn.recv().is_ok()).count();
        assert_eq!(got, 1);
        let events: Vec<Event> = alice.events().try_iter().collect();
        assert_eq!(events.len(), 2, "{events:?}"); // Connected, Closed
    });
}
