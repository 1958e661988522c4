//! `on_end`: called once, with the reason, on a thread of the library, however the connection ends.

use std::sync::{Arc, Mutex};
use std::thread;

use lanpeer::crossbeam_channel::{Receiver, unbounded};
use lanpeer::{Bytes, CloseReason, Connection, Peer};

use crate::peers::*;

/// What `on_end` says, and the name of the thread on which it does.
fn told(conn: &Connection<Bytes>) -> Receiver<(CloseReason, Option<String>)> {
    let (tell, told) = unbounded();
    conn.on_end(move |reason| {
        let _ = tell.send((reason, thread::current().name().map(str::to_owned)));
    });
    told
}

type End = fn(Peer, Peer, &Connection<Bytes>, Connection<Bytes>);

#[test]
fn each_end_is_told_once_on_both_sides() {
    let ends: [(End, CloseReason, CloseReason); 5] = [
        (
            |_, _, to_bob, _| drop(to_bob.close()),
            CloseReason::ClosedHere,
            CloseReason::ClosedThere,
        ),
        (
            |_, _, _, to_alice| drop(to_alice.close()),
            CloseReason::ClosedThere,
            CloseReason::ClosedHere,
        ),
        (
            |_, _, to_bob, _| to_bob.abort(),
            CloseReason::Aborted,
            CloseReason::Reset,
        ),
        (
            |alice, _, _, _| alice.stop(),
            CloseReason::Stopped,
            CloseReason::ClosedThere,
        ),
        (
            |alice, _, _, _| drop(alice),
            CloseReason::PeerDropped,
            CloseReason::ClosedThere,
        ),
    ];
    for (end, here, there) in ends {
        test(move || {
            let (alice, bob, to_bob, to_alice) = pair::<Bytes>();
            let kept = (bob.clone(), to_alice.clone());
            let (at_alice, at_bob) = (told(&to_bob), told(&to_alice));
            let second = told(&to_bob);
            assert!(at_alice.is_empty());
            end(alice, bob, &to_bob, to_alice);
            for (told, reason) in [(&at_alice, &here), (&at_bob, &there), (&second, &here)] {
                let (said, thread) = told.recv_timeout(SOON).unwrap();
                assert_eq!(said, *reason);
                let thread = thread.unwrap();
                assert!(thread.starts_with("lanpeer-"), "{thread}");
                assert!(told.recv_timeout(SOON).is_err(), "told twice");
            }
            assert_eq!(to_bob.close_reason(), Some(here));
            // Now it has ended already.
            let late = told(&to_bob);
            let (said, thread) = late.recv_timeout(SOON).unwrap();
            assert_eq!(Some(said), to_bob.close_reason());
            assert!(thread.unwrap().starts_with("lanpeer-"));
            assert!(late.recv_timeout(SOON).is_err(), "told twice");
            drop(kept);
        });
    }
}

#[test]
fn a_panic_in_it_harms_nothing() {
    test(|| {
        let (alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        to_bob.on_end(|_| panic!("as planned"));
        let second = told(&to_bob);
        to_alice.close().unwrap();
        assert_eq!(
            second.recv_timeout(SOON).unwrap().0,
            CloseReason::ClosedThere
        );
        to_bob.on_end(|_| panic!("as planned"));
        assert_eq!(
            told(&to_bob).recv_timeout(SOON).unwrap().0,
            CloseReason::ClosedThere
        );
        alice.stop();
    });
}

/// It may ask, close and stop what it likes, and ask for more.
#[test]
fn it_may_use_its_connection_and_its_peer() {
    test(|| {
        let (alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        let (tell, told) = unbounded();
        let (own, peer) = (to_bob.clone(), alice.clone());
        to_bob.on_end(move |reason| {
            assert_eq!(own.close_reason(), Some(reason));
            assert!(peer.connections().is_empty());
            assert_eq!(peer.stats().ended.closed_there, 1);
            let _ = own.close();
            assert!(own.recv().is_err() && own.send("late").is_err());
            own.on_end({
                let tell = tell.clone();
                move |_| tell.send("inner").unwrap()
            });
            peer.stop();
            tell.send("outer").unwrap();
        });
        to_alice.close().unwrap();
        let mut all: Vec<_> = [(); 2].map(|()| told.recv_timeout(SOON).unwrap()).into();
        all.sort_unstable();
        assert_eq!(all, ["inner", "outer"]);
        drop((alice, to_bob));
    });
}

/// What the handler has at the end is complete: it is not called any more.
#[test]
fn it_comes_behind_the_last_call_of_a_handler() {
    test(|| {
        for _ in 0..50 {
            let (alice, bob) = (peer(), peer());
            let seen = Arc::new(Mutex::new(Vec::new()));
            let (handler, ended) = (Arc::clone(&seen), Arc::clone(&seen));
            let accepting = Call::start("accept", {
                let bob = bob.clone();
                move || {
                    let offer = bob.offers().recv().unwrap();
                    offer
                        .accept_with::<Bytes>(move |_, item| {
                            handler.lock().unwrap().push(item.len())
                        })
                        .unwrap()
                }
            });
            let to_bob = alice.connect::<Bytes>(bob.local_addr()).unwrap();
            let to_alice = accepting.finish();
            let (tell, told) = unbounded();
            to_alice.on_end(move |_| tell.send(ended.lock().unwrap().len()).unwrap());
            for _ in 0..100 {
                to_bob.send("12345").unwrap();
            }
            drop(to_bob);
            assert_eq!(told.recv_timeout(SOON).unwrap(), 100);
        }
    });
}

/// It is called exactly once also where it is asked for while the connection ends.
#[test]
fn asked_for_at_the_end_it_is_called_once() {
    test(|| {
        for _ in 0..200 {
            let (alice, _bob, to_bob, to_alice) = pair::<Bytes>();
            let asking = thread::spawn({
                let to_bob = to_bob.clone();
                move || (0..20).map(|_| told(&to_bob)).collect::<Vec<_>>()
            });
            to_alice.abort();
            for told in asking.join().unwrap() {
                assert_eq!(told.recv_timeout(SOON).unwrap().0, CloseReason::Reset);
                assert!(told.recv_timeout(SOON).is_err(), "told twice");
            }
            drop(alice);
        }
    });
}

/// Of a program that crashes the other side has what was sent, and no goodbye, however much of the stack
/// is unwound.
#[test]
fn a_panic_that_drops_the_last_handle_is_no_goodbye() {
    for drops_peer in [false, true] {
        for text_headers in [false, true] {
            let (alice, bob) = (
                builder()
                    .text_headers(text_headers)
                    .bind("127.0.0.1:0")
                    .unwrap(),
                peer(),
            );
            let (to_bob, to_alice) = link::<Bytes>(&alice, &bob);
            let kept = (!drops_peer).then(|| alice.clone());
            let own = told(&to_bob);
            let panicking = thread::spawn(move || {
                for number in 0..100 {
                    to_bob.send(&numbered(number, 100)).unwrap();
                }
                panic!("as planned, with {alice:?} and {to_bob:?}");
            });
            assert!(panicking.join().is_err());
            take(&to_alice, 0, 100);
            let expected = match text_headers {
                // It has no word for a goodbye.
                true => CloseReason::ClosedThere,
                false => CloseReason::Vanished,
            };
            let case = format!("{drops_peer} {text_headers}");
            let (here, _) = own.recv_timeout(SOON).unwrap();
            let whose = match drops_peer {
                // Both are dropped, in the order in which the closure has them.
                true => matches!(here, CloseReason::ClosedHere | CloseReason::PeerDropped),
                false => here == CloseReason::ClosedHere,
            };
            assert!(whose, "{case}: {here:?}");
            assert_eq!(ended(&to_alice), expected, "{case}");
            assert_eq!(to_alice.close().is_ok(), text_headers, "{case}");
            if let Some(alice) = kept {
                eventually("Alice has none", || alice.connections().is_empty());
                within("stop", SOON, move || alice.stop());
            }
        }
    }
}

/// A `stop` is one, whatever the thread does that calls it.
#[test]
fn a_stop_while_a_thread_unwinds_is_a_stop() {
    struct Stops(Peer);
    impl Drop for Stops {
        fn drop(&mut self) {
            self.0.stop();
        }
    }
    let (alice, bob) = (peer(), peer());
    let (to_bob, to_alice) = link::<Bytes>(&alice, &bob);
    let panicking = thread::spawn(move || {
        let _stops = Stops(alice);
        panic!("as planned");
    });
    assert!(panicking.join().is_err());
    assert_eq!(ended(&to_alice), CloseReason::ClosedThere);
    assert_eq!(ended(&to_bob), CloseReason::Stopped);
}
