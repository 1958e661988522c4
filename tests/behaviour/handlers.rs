//! Handlers: on the connection's reader thread, with a connection that lives
//! on without handles; they may send, close, stop, panic and dawdle.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use lanpeer::crossbeam_channel::bounded;
use lanpeer::{Bytes, CloseReason, ConnectOptions, Connection, Event, Format, Json, Peer};

use crate::peers::*;

/// Alice connects; Bob's end has a handler. His handle, if the test wants it.
fn handled<F: Format + 'static>(
    alice: &Peer,
    bob: &Peer,
    handler: impl FnMut(&Connection<F>, F::Item) + Send + 'static,
) -> (Connection<F>, Connection<F>) {
    let accepting = Call::start("accept_with", {
        let offers = bob.offers();
        move || {
            let offer = offers.recv().expect("an offer");
            offer.accept_with::<F>(handler).expect("accepted")
        }
    });
    let to_bob = alice.connect::<F>(bob.local_addr()).expect("connected");
    (to_bob, accepting.finish())
}

#[test]
fn a_handler_gets_every_message_in_order_on_one_library_thread() {
    test(|| {
        const COUNT: u64 = 2000;
        let (alice, bob) = (peer(), peer());
        let (told, heard) = mpsc::channel();
        let (to_bob, _to_alice) = handled::<Bytes>(&alice, &bob, move |_, message| {
            let name = thread::current().name().unwrap_or_default().to_owned();
            told.send((number_of(&message), thread::current().id(), name))
                .unwrap();
        });
        for number in 0..COUNT {
            to_bob.send(&numbered(number, 60)).unwrap();
        }
        let mut on = None;
        for expected in 0..COUNT {
            let (number, thread, name) = heard.recv_timeout(SOON).unwrap();
            assert_eq!(number, expected);
            assert_eq!(*on.get_or_insert(thread), thread);
            assert!(name.starts_with("lanpeer"), "{name:?}");
        }
        to_bob.close().unwrap();
        // The handler and what it holds go with the connection.
        assert!(heard.recv_timeout(SOON).is_err());
    });
}

#[test]
fn a_handler_may_answer() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (to_bob, _to_alice) = handled::<Json<String>>(&alice, &bob, |conn, text| {
            conn.send(&text.to_uppercase()).unwrap();
            conn.send("!").unwrap();
        });
        for _ in 0..200 {
            to_bob.send("hey").unwrap();
            assert_eq!(to_bob.recv_timeout(SOON).unwrap(), "HEY");
            assert_eq!(to_bob.recv_timeout(SOON).unwrap(), "!");
        }
    });
}

#[test]
fn two_handlers_talk_to_each_other_without_any_handle() {
    test(|| {
        let rounds = campaign(1000) as u32;
        let (alice, bob) = (peer(), peer());
        let (done, finished) = mpsc::channel();
        let accepting = Call::start("accept_with", {
            let offers = bob.offers();
            move || {
                drop(
                    offers
                        .recv()
                        .unwrap()
                        .accept_with::<Json<u32>>(|conn, number| conn.send(&(number + 1)).unwrap())
                        .unwrap(),
                );
            }
        });
        let to_bob = alice
            .connect_with::<Json<u32>>(bob.local_addr(), move |conn, number| {
                if number < rounds {
                    conn.send(&(number + 1)).unwrap();
                } else {
                    done.send(number).unwrap();
                }
            })
            .unwrap();
        accepting.finish();
        to_bob.send(&0).unwrap();
        drop(to_bob);
        assert!(finished.recv_timeout(SOON).unwrap() >= rounds);
        assert_eq!(alice.connections().len(), 1);
        assert_eq!(bob.connections().len(), 1);
    });
}

#[test]
fn options_and_handler_go_together() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let accepting = Call::start("accept", {
            let bob = bob.clone();
            move || bob.accept::<Bytes>().unwrap()
        });
        let (told, heard) = mpsc::channel();
        let to_bob = ConnectOptions::new()
            .stream_of(16)
            .strict(false)
            .connect_with::<Bytes>(&alice, bob.local_addr(), move |_, message| {
                told.send(number_of(&message)).unwrap();
            })
            .unwrap();
        assert!(!to_bob.is_strict());
        accepting.finish().send(&numbered(5, 16)).unwrap();
        assert_eq!(heard.recv_timeout(SOON).unwrap(), 5);
    });
}

#[test]
fn a_handled_connection_lives_until_either_side_ends_it() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let echo = |conn: &Connection<Bytes>, message: Vec<u8>| conn.send(&message).unwrap();
        let (to_bob, to_alice) = handled::<Bytes>(&alice, &bob, echo);
        drop(to_alice);
        for number in 0..20 {
            to_bob.send(&numbered(number, 8)).unwrap();
            take(&to_bob, number, 1);
        }
        assert_eq!(bob.connections().len(), 1);
        let info = bob.connections().remove(0);
        to_bob.close().unwrap();
        eventually("Bob's end is gone", || bob.connections().is_empty());
        assert_eq!(info.close_reason(), Some(CloseReason::ClosedThere));

        // From this side, through the list of connections.
        let (to_bob, to_alice) = handled::<Bytes>(&alice, &bob, echo);
        drop(to_alice);
        bob.connections().remove(0).close().unwrap();
        assert_eq!(ended(&to_bob), CloseReason::ClosedThere);
    });
}

#[test]
fn a_kept_handle_of_a_handled_connection_works_too() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (to_bob, to_alice) = handled::<Bytes>(&alice, &bob, |_, _| {});
        to_alice.send(&numbered(1, 8)).unwrap();
        take(&to_bob, 1, 1);
        to_alice.close().unwrap();
        assert_eq!(ended(&to_bob), CloseReason::ClosedThere);
        assert_eq!(ended(&to_alice), CloseReason::ClosedHere);
        // Its messages went to the handler: there is nothing to receive.
        assert!(within("recv", SOON, move || to_alice.recv().is_err()));
    });
}

#[test]
fn a_panic_ends_its_connection_and_nothing_else() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let events = bob.events();
        let (other, other_end) = link::<Bytes>(&alice, &bob);
        let (to_bob, to_alice) = handled::<Bytes>(&alice, &bob, |_, message| {
            if message == b"panic" {
                panic!("the handler's own words");
            }
        });
        to_bob.send(b"fine").unwrap();
        assert_eq!(to_bob.close_reason(), None);
        to_bob.send(b"panic").unwrap();
        match ended(&to_alice) {
            CloseReason::HandlerPanicked(words) => {
                assert!(words.contains("the handler's own words"), "{words:?}");
            }
            other => panic!("{other:?}"),
        }
        // The other side must not take it for a normal close.
        assert_eq!(ended(&to_bob), CloseReason::Reset);
        loop {
            if let Event::Closed { id, reason, .. } = events.recv_timeout(SOON).unwrap() {
                assert_eq!(id, to_alice.id());
                assert!(matches!(reason, CloseReason::HandlerPanicked(_)));
                break;
            }
        }
        // Everything else goes on, also new connections with handlers.
        other.send(&numbered(0, 8)).unwrap();
        take(&other_end, 0, 1);
        let (to_bob, _to_alice) = handled::<Bytes>(&alice, &bob, |conn, message| {
            conn.send(&message).unwrap();
        });
        to_bob.send(&numbered(1, 8)).unwrap();
        take(&to_bob, 1, 1);
    });
}

#[test]
fn a_panic_with_any_payload_is_caught() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (to_bob, to_alice) = handled::<Bytes>(&alice, &bob, |_, message| {
            std::panic::panic_any(message.len());
        });
        to_bob.send(b"1234").unwrap();
        assert!(matches!(ended(&to_alice), CloseReason::HandlerPanicked(_)));
    });
}

#[test]
fn a_handler_may_close_its_own_connection() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (told, heard) = mpsc::channel();
        let (to_bob, to_alice) = handled::<Bytes>(&alice, &bob, move |conn, message| {
            conn.send(&message).unwrap();
            conn.send(b"and goodbye").unwrap();
            // Whatever it says: it must come back, and soon.
            let _ = conn.close();
            told.send(conn.send(b"too late").is_err()).unwrap();
        });
        to_bob.send(b"hello").unwrap();
        assert_eq!(to_bob.recv_timeout(SOON).unwrap(), b"hello");
        assert_eq!(to_bob.recv_timeout(SOON).unwrap(), b"and goodbye");
        assert!(to_bob.recv_timeout(SOON).is_err());
        assert!(heard.recv_timeout(SOON / 2).unwrap());
        assert_eq!(ended(&to_bob), CloseReason::ClosedThere);
        assert_eq!(ended(&to_alice), CloseReason::ClosedHere);
        eventually("both ends are gone", || {
            alice.connections().is_empty() && bob.connections().is_empty()
        });
    });
}

#[test]
fn handlers_on_both_sides_may_close_at_once() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        for _ in 0..30 {
            let close = |conn: &Connection<Bytes>, _| {
                let _ = conn.close();
            };
            let accepting = Call::start("accept_with", {
                let offers = bob.offers();
                move || offers.recv().unwrap().accept_with::<Bytes>(close).unwrap()
            });
            let to_bob = alice
                .connect_with::<Bytes>(bob.local_addr(), close)
                .unwrap();
            let to_alice = accepting.finish();
            let both = [to_bob.clone(), to_alice.clone()];
            for end in &both {
                let _ = end.send(b"close, please");
            }
            for end in &both {
                let reason = ended(end);
                assert!(
                    matches!(reason, CloseReason::ClosedHere | CloseReason::ClosedThere),
                    "{reason:?}"
                );
            }
        }
    });
}

#[test]
fn a_handler_may_abort_its_own_connection() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (to_bob, to_alice) = handled::<Bytes>(&alice, &bob, |conn, _| conn.abort());
        to_bob.send(b"go").unwrap();
        assert_eq!(ended(&to_bob), CloseReason::Reset);
        assert_eq!(ended(&to_alice), CloseReason::Aborted);
    });
}

#[test]
fn no_message_reaches_a_handler_after_its_abort() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let (to_bob, to_alice) = handled::<Bytes>(&alice, &bob, move |conn, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            conn.abort();
        });
        for _ in 0..50 {
            if to_bob.send(b"again").is_err() {
                break;
            }
        }
        ended(&to_alice);
        eventually("Bob's end is gone", || bob.connections().is_empty());
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_handler_may_stop_its_peer() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (told, heard) = mpsc::channel();
        let stopping = bob.clone();
        let (to_bob, _to_alice) = handled::<Bytes>(&alice, &bob, move |_, _| {
            stopping.stop();
            told.send(()).unwrap();
        });
        let (other, _other_end) = link::<Bytes>(&alice, &bob);
        to_bob.send(b"stop").unwrap();
        heard.recv_timeout(SOON).expect("stop comes back");
        assert!(within("accept", SOON, move || bob
            .accept::<Bytes>()
            .is_err()));
        assert_eq!(ended(&to_bob), CloseReason::ClosedThere);
        assert_eq!(ended(&other), CloseReason::ClosedThere);
    });
}

#[test]
fn a_handler_may_hold_the_last_handle_of_its_peer() {
    alone(
        "handlers::a_handler_may_hold_the_last_handle_of_its_peer",
        || {
            let (alice, bob) = (peer(), peer());
            let addr = bob.local_addr();
            let mut own: Option<Peer> = None;
            let (hand_over, taken) = bounded::<Peer>(1);
            let (to_bob, to_alice) = handled::<Bytes>(&alice, &bob, move |_, message| {
                // Takes over the peer with the first message, drops it with the second.
                match &message[..] {
                    b"take" => own = Some(taken.recv().unwrap()),
                    _ => drop(own.take()),
                }
            });
            hand_over.send(bob).unwrap();
            drop(to_alice);
            to_bob.send(b"take").unwrap();
            assert_eq!(to_bob.close_reason(), None);
            to_bob.send(b"drop").unwrap();
            assert_eq!(ended(&to_bob), CloseReason::ClosedThere);
            assert!(alice.connect::<Bytes>(addr).is_err());
            alice.stop();
            eventually("all threads end", || lanpeer_threads().is_empty());
        },
    );
}

#[test]
fn a_handler_that_dawdles_does_not_hold_up_stop_or_others() {
    test(|| {
        let alice = peer();
        let bob = bind(builder().close_timeout(Duration::from_millis(300)));
        let (let_go, held) = bounded::<()>(0);
        let (to_bob, _to_alice) = handled::<Bytes>(&alice, &bob, move |_, _| {
            let _ = held.recv();
        });
        to_bob.send(b"dawdle").unwrap();
        let (other, other_end) = link::<Bytes>(&alice, &bob);
        other.send(&numbered(0, 8)).unwrap();
        take(&other_end, 0, 1);
        within("stop", SOON, move || bob.stop());
        assert!(other_end.recv().is_err());
        drop(let_go);
    });
}

#[test]
fn abort_does_not_wait_for_a_handler_that_dawdles() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (let_go, held) = bounded::<()>(0);
        let (told, began) = mpsc::channel();
        let (to_bob, to_alice) = handled::<Bytes>(&alice, &bob, move |_, _| {
            let _ = told.send(());
            let _ = held.recv();
        });
        to_bob.send(b"dawdle").unwrap();
        began.recv_timeout(SOON).unwrap();
        to_alice.abort();
        assert_eq!(to_alice.close_reason(), Some(CloseReason::Aborted));
        assert_eq!(ended(&to_bob), CloseReason::Reset);
        drop(let_go);
    });
}

#[test]
fn a_handler_is_pushed_back_on_like_any_receiver() {
    test(|| {
        let alice = bind(builder().send_queue(64 << 10));
        let bob = peer();
        let (let_go, held) = bounded::<()>(0);
        let (told, heard) = mpsc::channel();
        let (to_bob, _to_alice) = handled::<Bytes>(&alice, &bob, move |_, message| {
            let _ = held.recv();
            told.send(number_of(&message)).unwrap();
        });
        let count = fill(&to_bob, 0, 32 << 10);
        drop(let_go);
        for expected in 0..count {
            assert_eq!(heard.recv_timeout(SOON).unwrap(), expected);
        }
    });
}

#[test]
fn handlers_that_flood_each_other_can_be_stopped() {
    test(|| {
        // Each sends two messages for each it gets, and waits for room: soon
        // both wait for the other. That is theirs; stop must work all the same.
        let small = || {
            builder()
                .send_queue(64 << 10)
                .close_timeout(Duration::from_millis(300))
        };
        let (alice, bob) = (bind(small()), bind(small()));
        let flood = |conn: &Connection<Bytes>, message: Vec<u8>| {
            let _ = conn.send(&message);
            let _ = conn.send(&message);
        };
        let accepting = Call::start("accept_with", {
            let offers = bob.offers();
            move || offers.recv().unwrap().accept_with::<Bytes>(flood).unwrap()
        });
        let to_bob = alice
            .connect_with::<Bytes>(bob.local_addr(), flood)
            .unwrap();
        let to_alice = accepting.finish();
        to_bob.send(&numbered(1, 256 << 10)).unwrap();
        // Stuck: nothing has moved for a while.
        let (mut last, mut still) = (0, 0);
        eventually("both are stuck", || {
            let now = to_bob.stats().messages_received + to_alice.stats().messages_received;
            still = if now == last { still + 1 } else { 0 };
            last = now;
            still > 100
        });
        within("stop of both", SOON, move || {
            alice.stop();
            bob.stop();
        });
        for end in [to_bob, to_alice] {
            assert!(end.close_reason().is_some());
        }
    });
}

#[test]
fn a_handler_that_receives_on_its_own_connection_does_not_wait() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (told, heard) = mpsc::channel();
        let (to_bob, _to_alice) = handled::<Bytes>(&alice, &bob, move |conn, _| {
            let _ = told.send((conn.recv().is_err(), conn.recv_timeout(SOON).is_err()));
        });
        to_bob.send(b"go").unwrap();
        assert_eq!(heard.recv_timeout(SOON).unwrap(), (true, true));
        to_bob.close().unwrap();
    });
}

/// What a handler owns, and what panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("dropped");
        }
    }
}

#[test]
fn a_handler_whose_drop_panics_holds_up_nothing() {
    test(|| {
        let (alice, bob) = (peer(), bind(builder().max_connections(1)));
        let events = bob.events();
        for close in [true, false, true] {
            let bomb = Bomb;
            let (to_bob, to_alice) = handled::<Bytes>(&alice, &bob, move |_, _| {
                let _ = &bomb;
            });
            let receiving = Call::start("recv", {
                let to_alice = to_alice.clone();
                move || to_alice.recv()
            });
            receiving.wait_until_blocked();
            if close {
                to_bob.close().unwrap();
            } else {
                to_bob.abort();
            }
            assert!(receiving.finish().is_err());
            let expected = if close {
                CloseReason::ClosedThere
            } else {
                CloseReason::Reset
            };
            assert_eq!(ended(&to_alice), expected);
            // The last thing that a connection does is to say so: its slot is free for the next one.
            while !matches!(events.recv_timeout(SOON).unwrap(), Event::Closed { .. }) {}
        }
        within("stop", SOON / 2, move || bob.stop());
    });
}

#[test]
fn a_handler_may_close_while_both_directions_are_full() {
    test(|| {
        const SIZE: usize = 16 << 10;
        let narrow = || {
            builder()
                .send_queue(64 << 10)
                .receive_queue(8)
                .close_timeout(SOON / 2)
        };
        let (alice, bob) = (bind(narrow()), bind(narrow()));
        let (told, heard) = mpsc::channel();
        let (go, gone) = bounded::<()>(0);
        let mut first = true;
        let (to_bob, to_alice) = handled::<Bytes>(&alice, &bob, move |conn, _| {
            if std::mem::take(&mut first) {
                let count = fill(conn, 0, SIZE);
                let _ = gone.recv();
                told.send((count, conn.close())).unwrap();
            }
        });
        let sent = fill(&to_bob, 0, SIZE);
        let sending = Call::start("send", {
            let to_bob = to_bob.clone();
            move || to_bob.send(&numbered(sent, SIZE))
        });
        sending.wait_until_blocked();
        // Alice takes nothing until her own messages have gone.
        go.send(()).unwrap();
        sending.finish().unwrap();
        let taken = to_bob.iter().count() as u64;
        let (count, closed) = heard.recv_timeout(SOON).unwrap();
        closed.unwrap();
        assert_eq!(taken, count);
        assert_eq!(ended(&to_bob), CloseReason::ClosedThere);
        eventually("Bob's handler has it all", || {
            to_alice.stats().messages_received == sent + 1
        });
    });
}
