//! Closing: what Ok means, every way to end, the reason on both sides, and that
//! nothing waits for ever and nothing stays behind.

use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use lanpeer::{Bytes, CloseError, CloseReason, ConnectOptions, Connection, Error, Peer, SendError};
use socket2::SockRef;

use crate::peers::*;

/// Two ends, Alice's full, and given `close_timeout` for closing.
fn full(close_timeout: Duration) -> (Peer, Peer, Connection<Bytes>, Connection<Bytes>, u64) {
    let narrow = || builder().send_queue(64 << 10).receive_queue(4);
    let (alice, bob, to_bob, to_alice) = pair_of(narrow().close_timeout(close_timeout), narrow());
    let count = fill(&to_bob, 0, 16 << 10);
    (alice, bob, to_bob, to_alice, count)
}

// ------------------------------------------------------- Ok means all of it

#[test]
fn a_thousand_connections_that_burst_and_close_lose_nothing() {
    test(|| {
        const THREADS: u64 = 8;
        const EACH: u64 = 125;
        let (alice, bob) = (peer(), peer());
        // What connection number N sends: 1 to 40 messages, of up to 20 kB.
        let burst = |number: u64| 1 + number % 40;
        let size = |number: u64, at: u64| 8 + ((number * 7919 + at * 104_729) % 20_000) as usize;

        let bob_receives = Call::start("receive", {
            let bob = bob.clone();
            move || {
                let ends: Vec<_> = bob
                    .incoming()
                    .take((THREADS * EACH) as usize)
                    .map(|offer| {
                        let to_alice = offer.accept::<Bytes>().unwrap();
                        Call::start("receive", move || {
                            let all: Vec<_> = to_alice.iter().collect();
                            assert_eq!(ended(&to_alice), CloseReason::ClosedThere);
                            let number = number_of(&all[0]) >> 16;
                            for (at, message) in (0..).zip(&all) {
                                assert_eq!(number_of(message), number << 16 | at);
                                assert_eq!(message.len(), size(number, at));
                            }
                            assert_eq!(all.len() as u64, burst(number), "of {number}");
                            number
                        })
                    })
                    .collect();
                let mut numbers: Vec<_> = ends.into_iter().map(Call::finish).collect();
                numbers.sort();
                assert_eq!(numbers, (0..THREADS * EACH).collect::<Vec<_>>());
            }
        });
        let alice_sends: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (alice, addr) = (alice.clone(), bob.local_addr());
                Call::start("send", move || {
                    for number in thread * EACH..(thread + 1) * EACH {
                        let to_bob = alice.connect::<Bytes>(addr).unwrap();
                        for at in 0..burst(number) {
                            to_bob
                                .send(&numbered(number << 16 | at, size(number, at)))
                                .unwrap();
                        }
                        to_bob.close().unwrap();
                        assert_eq!(to_bob.close_reason(), Some(CloseReason::ClosedHere));
                    }
                })
            })
            .collect();
        for call in alice_sends {
            call.finish_within(3 * SOON);
        }
        bob_receives.finish();
        assert!(alice.connections().is_empty());
        eventually("Bob's ends are gone", || bob.connections().is_empty());
    });
}

#[test]
fn both_sides_may_close_at_once() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        for round in 0..150 {
            let (to_bob, to_alice) = link::<Bytes>(&alice, &bob);
            let start = Arc::new(Barrier::new(2));
            let count = round % 5;
            let closing: Vec<_> = [&to_bob, &to_alice]
                .into_iter()
                .map(|end| {
                    let (end, start) = (end.clone(), start.clone());
                    for number in 0..count {
                        end.send(&numbered(number, 500)).unwrap();
                    }
                    Call::start("close", move || {
                        start.wait();
                        end.close()
                    })
                })
                .collect();
            for call in closing {
                call.finish().unwrap();
            }
            for end in [&to_bob, &to_alice] {
                let reason = end.close_reason();
                assert!(
                    matches!(
                        reason,
                        Some(CloseReason::ClosedHere | CloseReason::ClosedThere)
                    ),
                    "{reason:?}"
                );
                take(end, 0, count);
                assert!(end.recv().is_err());
            }
        }
    });
}

#[test]
fn close_waits_until_the_other_side_took_all() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice, count) = full(3 * SOON);
        let closing = Call::start("close", {
            let to_bob = to_bob.clone();
            move || to_bob.close()
        });
        closing.wait_until_blocked();
        take(&to_alice, 0, count - 1);
        // The last one is in Bob's queue: his side has it, that is enough.
        closing.finish().unwrap();
        take(&to_alice, count - 1, 1);
        assert_eq!(ended(&to_bob), CloseReason::ClosedHere);
        assert_eq!(ended(&to_alice), CloseReason::ClosedThere);
    });
}

#[test]
fn close_on_a_remote_that_does_not_read_is_bounded() {
    test(|| {
        let timeout = Duration::from_millis(200);
        let (_alice, _bob, to_bob, to_alice, count) = full(timeout);
        let start = Instant::now();
        let closed = to_bob.close();
        assert!(matches!(closed, Err(CloseError::Timeout)), "{closed:?}");
        assert!(start.elapsed() >= timeout);
        assert!(start.elapsed() < timeout + SOON / 2);
        // No more sends, but it goes on closing: nothing that was sent is lost.
        let refused = to_bob.try_send(b"more");
        assert!(
            matches!(refused, Err(SendError::Closed(CloseReason::ClosedHere))),
            "{refused:?}"
        );
        take(&to_alice, 0, count);
        assert!(to_alice.recv().is_err());
        assert_eq!(ended(&to_alice), CloseReason::ClosedThere);
        assert_eq!(ended(&to_bob), CloseReason::ClosedHere);
        to_bob.close().unwrap();
    });
}

#[test]
fn close_says_when_the_other_side_did_not_take_all() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice, _) = full(3 * SOON);
        let closing = Call::start("close", {
            let to_bob = to_bob.clone();
            move || to_bob.close()
        });
        closing.wait_until_blocked();
        to_alice.abort();
        match closing.finish() {
            Err(CloseError::Incomplete(reason)) => assert_eq!(reason, CloseReason::Reset),
            other => panic!("{other:?}"),
        }
        // Nor does it become true by asking again.
        assert!(matches!(to_bob.close(), Err(CloseError::Incomplete(_))));
    });
}

#[test]
fn repeated_and_concurrent_closes_agree() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        to_bob.send(&numbered(0, 8)).unwrap();
        let closing: Vec<_> = (0..6)
            .map(|_| {
                let to_bob = to_bob.clone();
                Call::start("close", move || to_bob.close())
            })
            .collect();
        for call in closing {
            call.finish().unwrap();
        }
        to_bob.close().unwrap();
        take(&to_alice, 0, 1);
        // The other side's close of a connection that is over.
        assert_eq!(ended(&to_alice), CloseReason::ClosedThere);
        to_alice.close().unwrap();
        to_alice.abort();
        to_bob.abort();
        assert_eq!(to_alice.close_reason(), Some(CloseReason::ClosedThere));
        assert_eq!(to_bob.close_reason(), Some(CloseReason::ClosedHere));
    });
}

// ------------------------------------------------------------ the reasons

#[test]
fn both_sides_know_why() {
    test(|| {
        type End = fn(Peer, Peer, Connection<Bytes>);
        let cases: [(&str, End, Option<CloseReason>, CloseReason); 5] = [
            (
                "close",
                |_, _, to_bob| to_bob.close().unwrap(),
                Some(CloseReason::ClosedHere),
                CloseReason::ClosedThere,
            ),
            (
                "abort",
                |_, _, to_bob| to_bob.abort(),
                Some(CloseReason::Aborted),
                CloseReason::Reset,
            ),
            (
                "stop",
                |alice, _, _| alice.stop(),
                Some(CloseReason::Stopped),
                CloseReason::ClosedThere,
            ),
            (
                "drop of the peer",
                |alice, _, _| drop(alice),
                Some(CloseReason::PeerDropped),
                CloseReason::ClosedThere,
            ),
            (
                "drop",
                |_, _, to_bob| drop(to_bob),
                None,
                CloseReason::ClosedThere,
            ),
        ];
        for (what, end, here, there) in cases {
            let (alice, bob, to_bob, to_alice) = pair::<Bytes>();
            let kept = here.as_ref().map(|_| to_bob.clone());
            let info = alice.connections().remove(0);
            end(alice, bob.clone(), to_bob);
            assert_eq!(ended(&to_alice), there, "after {what}");
            if let Some(kept) = kept {
                assert_eq!(Some(ended(&kept)), here, "after {what}");
                assert!(!ended(&kept).to_string().is_empty());
            }
            eventually("the end", || info.close_reason().is_some());
            let own = here.unwrap_or(CloseReason::ClosedHere);
            assert_eq!(info.close_reason(), Some(own), "after {what}");
        }
    });
}

#[test]
fn nothing_can_be_sent_after_the_end() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        to_bob.close().unwrap();
        eventually("Bob knows", || to_alice.close_reason().is_some());
        for (end, reason) in [
            (&to_bob, CloseReason::ClosedHere),
            (&to_alice, CloseReason::ClosedThere),
        ] {
            for result in [
                end.send(b"late"),
                end.try_send(b"late"),
                end.send_timeout(b"late", SOON),
            ] {
                match result {
                    Err(SendError::Closed(said)) => assert_eq!(said, reason),
                    other => panic!("{other:?}"),
                }
            }
            assert!(end.recv().is_err());
            assert_eq!(end.stats().messages_sent, 0);
        }
    });
}

#[test]
fn abort_ends_at_once_also_where_nobody_reads() {
    test(|| {
        let (alice, _bob, to_bob, to_alice, _) = full(10 * SOON);
        within("abort", SOON, {
            let to_bob = to_bob.clone();
            move || to_bob.abort()
        });
        assert_eq!(ended(&to_bob), CloseReason::Aborted);
        // Bob's side is not reading while its queue is full: it learns of it as he takes.
        assert!(within("the rest", SOON, {
            let to_alice = to_alice.clone();
            move || to_alice.iter().count() > 0
        }));
        assert_eq!(ended(&to_alice), CloseReason::Reset);
        eventually("it is gone", || alice.connections().is_empty());
    });
}

#[test]
fn a_reset_within_a_message_is_a_reset_also_where_a_send_meets_it_first() {
    test(|| {
        let bob = bind(builder().receive_queue(1));
        let mut socket = raw_offer(&bob);
        let to_socket = bob.accept::<Bytes>().unwrap();
        socket.read_exact(&mut [0; 128]).unwrap();
        // Bob's reader has all of it, and waits with the second message for room.
        let data = |size, payload: &str| {
            let header = format!("DATA|data_size={size}&data_type=bytes");
            format!("{header:|<128}{payload}")
        };
        let all = data(3, "one") + &data(3, "two") + &data(1000, "a part");
        socket.write_all(all.as_bytes()).unwrap();
        eventually("both are read", || to_socket.stats().messages_received == 2);
        SockRef::from(&socket)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(socket);
        eventually("a send fails", || to_socket.send(b"x").is_err());
        assert_eq!(to_socket.recv_timeout(SOON).unwrap(), b"one");
        assert_eq!(to_socket.recv_timeout(SOON).unwrap(), b"two");
        assert!(to_socket.recv_timeout(SOON).is_err());
        assert_eq!(ended(&to_socket), CloseReason::Reset);
    });
}

#[test]
fn close_tells_a_reset_from_a_fin_also_where_a_reader_that_spins_sees_it_first() {
    test(|| {
        let bob = bind(builder().spin(Duration::from_millis(10)));
        for handled in [false, true] {
            let mut socket = raw_offer(&bob);
            let offer = bob.incoming().next().unwrap();
            let to_socket = match handled {
                false => offer.accept::<Bytes>().unwrap(),
                true => offer.accept_with::<Bytes>(|_, _| {}).unwrap(),
            };
            socket.read_exact(&mut [0; 128]).unwrap();
            let closing = Call::start("a close", move || to_socket.close());
            assert_eq!(socket.read(&mut [0; 1]).unwrap(), 0, "Bob's FIN is there");
            // It is awake, and looks for more, when the reset comes.
            let header = format!("{:|<128}", "DATA|data_size=1&data_type=bytes");
            socket.write_all(format!("{header}x").as_bytes()).unwrap();
            SockRef::from(&socket)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
            drop(socket);
            let closed = closing.finish();
            assert_eq!(closed, Err(CloseError::Incomplete(CloseReason::Reset)));
        }
    });
}

// ----------------------------------------------------------------- dropping

#[test]
fn the_last_handle_closes_and_only_the_last() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        let other = to_bob.clone();
        drop(to_bob);
        other.send(&numbered(0, 8)).unwrap();
        take(&to_alice, 0, 1);
        assert_eq!(to_alice.close_reason(), None);
        drop(other);
        assert_eq!(ended(&to_alice), CloseReason::ClosedThere);
    });
}

#[test]
fn a_drop_is_graceful_and_does_not_wait() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice, count) = full(SOON / 2);
        within("the drop", SOON, move || drop(to_bob));
        take(&to_alice, 0, count);
        assert!(to_alice.recv().is_err());
        assert_eq!(ended(&to_alice), CloseReason::ClosedThere);
    });
}

#[test]
fn dropping_the_receiver_of_a_full_connection_lets_the_sender_go() {
    test(|| {
        // Also in bytes: both bounds have to let go.
        for full_of_bytes in [false, true] {
            let narrow = || builder().send_queue(64 << 10).close_timeout(3 * SOON);
            let bob = if full_of_bytes {
                narrow().receive_queue_bytes(64 << 10)
            } else {
                narrow().receive_queue(4)
            };
            let (alice, bob, to_bob, to_alice) = pair_of::<Bytes>(narrow(), bob);
            let count = fill(&to_bob, 0, 16 << 10);
            let sending = Call::start("send", {
                let to_bob = to_bob.clone();
                move || to_bob.send(&numbered(count, 16 << 10))
            });
            sending.wait_until_blocked();
            drop(to_alice);
            let _ = sending.finish();
            assert_eq!(ended(&to_bob), CloseReason::Reset);
            eventually("both ends are gone", || {
                alice.connections().is_empty() && bob.connections().is_empty()
            });
        }
    });
}

#[test]
fn the_sender_learns_that_messages_were_dropped_unreceived() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        for untaken in 0..20 {
            let (to_bob, to_alice) = link::<Bytes>(&alice, &bob);
            for number in 0..=untaken {
                to_bob.send(&numbered(number, 60)).unwrap();
            }
            take(&to_alice, 0, 1);
            eventually("the others are there", || {
                to_alice.stats().receive_queue_messages as u64 == untaken
            });
            for number in 0..3 {
                to_alice.send(&numbered(number, 60)).unwrap();
            }
            drop(to_alice);
            // What Bob has sent arrives in either case.
            take(&to_bob, 0, 3);
            let closed = to_bob.close();
            if untaken == 0 {
                closed.unwrap();
                let reason = ended(&to_bob);
                assert!(reason.is_normal(), "{reason:?}");
            } else {
                assert_eq!(closed, Err(CloseError::Incomplete(CloseReason::Reset)));
                assert_eq!(ended(&to_bob), CloseReason::Reset);
            }
        }
    });
}

#[test]
fn a_drop_with_everything_received_is_a_close() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        for number in 0..100 {
            to_bob.send(&numbered(number, 60)).unwrap();
        }
        take(&to_alice, 0, 100);
        drop(to_alice);
        assert!(to_bob.recv_timeout(SOON).is_err());
        assert_eq!(ended(&to_bob), CloseReason::ClosedThere);
        to_bob.close().unwrap();
    });
}

#[test]
fn a_message_for_a_dropped_connection_ends_in_a_reset() {
    test(|| {
        let bob = bind(builder().close_timeout(3 * SOON));
        let mut socket = raw_offer(&bob);
        let to_socket = bob.accept::<Bytes>().unwrap();
        socket.read_exact(&mut [0; 128]).unwrap();
        drop(to_socket);
        // The FIN; this remote sends on all the same.
        assert_eq!(socket.read(&mut [0]).unwrap(), 0);
        let header = "DATA|data_size=4&data_type=bytes";
        socket
            .write_all(format!("{header:|<128}more").as_bytes())
            .unwrap();
        eventually("a reset", || socket.take_error().unwrap().is_some());
        eventually("nothing stays", || bob.connections().is_empty());
    });
}

#[test]
fn a_dropped_connection_nobody_reads_does_not_stay() {
    test(|| {
        // On a busy machine the system may take the rest in the end; then it was not full.
        let was_full = (0..10).any(|_| {
            let (alice, _bob, to_bob, to_alice, count) = full(Duration::from_millis(200));
            drop(to_bob);
            eventually("it is gone", || alice.connections().is_empty());
            let taken = to_alice.iter().count() as u64;
            assert!(taken <= count);
            let reason = ended(&to_alice);
            // Bob learns that it was not all.
            let told = matches!(reason, CloseReason::Reset | CloseReason::Truncated);
            assert!(told || taken == count, "{taken} of {count}: {reason}");
            taken < count
        });
        assert!(was_full);
    });
}

/// Tells the process of the next test that it is the child, which lives until its input ends.
const CHILD: &str = "LANPEER_TEST_CHILD";

/// A program that a connected program starts has nothing of the connection, on either side.
#[test]
fn a_child_process_keeps_no_connection_open() {
    if std::env::var_os(CHILD).is_some() {
        let _ = std::io::stdin().read(&mut [0]);
        return;
    }
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair_of::<Bytes>(builder(), builder());
        let (_carol, _dave, to_dave, to_carol) = pair_of::<Bytes>(builder(), builder());
        let mut child = this_program()
            .args([
                "--exact",
                "closing::a_child_process_keeps_no_connection_open",
            ])
            .env(CHILD, "")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        // One that was accepted, and one that was not.
        to_alice.abort();
        to_dave.abort();
        // Wine has no resets.
        for reason in [ended(&to_bob), ended(&to_carol)] {
            let told = matches!(reason, CloseReason::Reset | CloseReason::Vanished);
            assert!(told, "{reason}");
        }
        assert!(
            child.try_wait().unwrap().is_none(),
            "it has lived until now"
        );
        drop(child.stdin.take());
        child.wait().expect("its end");
    });
}

// --------------------------------------------------------------------- stop

#[test]
fn stop_wakes_every_blocked_call() {
    test(|| {
        let (alice, bob, to_bob, to_alice, count) = full(Duration::from_millis(200));
        // Somebody who never answers.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let somebody = silent.local_addr().unwrap();
        // Each call says true when it returned as it should.
        let calls: Vec<Call<bool>> = vec![
            Call::start("accept", {
                let alice = alice.clone();
                move || matches!(alice.accept::<Bytes>(), Err(Error::Stopped))
            }),
            Call::start("incoming", {
                let alice = alice.clone();
                move || alice.incoming().next().is_none()
            }),
            Call::start("offers", {
                let offers = alice.offers();
                move || offers.recv().is_err()
            }),
            Call::start("connect", {
                let alice = alice.clone();
                move || {
                    let refused = ConnectOptions::new()
                        .timeout(10 * SOON)
                        .connect::<Bytes>(&alice, somebody);
                    matches!(refused, Err(Error::Stopped))
                }
            }),
            Call::start("recv", {
                let to_bob = to_bob.clone();
                move || to_bob.recv().is_err()
            }),
            Call::start("send", {
                let to_bob = to_bob.clone();
                move || {
                    let sent = to_bob.send(&numbered(count, 16 << 10));
                    matches!(sent, Err(SendError::Closed(CloseReason::Stopped)))
                }
            }),
            Call::start("flush", {
                let to_bob = to_bob.clone();
                move || to_bob.flush().is_err()
            }),
        ];
        for call in &calls {
            call.wait_until_blocked();
        }
        within("stop", SOON, {
            let alice = alice.clone();
            move || alice.stop()
        });
        for (number, call) in calls.into_iter().enumerate() {
            assert!(call.finish(), "call {number} returned something else");
        }
        assert_eq!(to_bob.close_reason(), Some(CloseReason::Stopped));

        // And whatever is called from now on returns at once.
        assert!(matches!(alice.accept::<Bytes>(), Err(Error::Stopped)));
        assert!(alice.incoming().next().is_none());
        let refused = alice.connect::<Bytes>(bob.local_addr());
        assert!(matches!(refused, Err(Error::Stopped)));
        assert!(alice.connections().is_empty());
        alice.stop();
        drop(to_alice);
    });
}

#[test]
fn stop_wakes_a_blocked_close() {
    test(|| {
        // A close that has a long time, in a peer whose stop is asked for now.
        let (alice, _bob, to_bob, _to_alice, _) = full(Duration::from_secs(2));
        let closing = Call::start("close", {
            let to_bob = to_bob.clone();
            move || to_bob.close()
        });
        closing.wait_until_blocked();
        within("stop", SOON, move || alice.stop());
        assert!(closing.finish().is_err(), "not all was taken");
    });
}

#[test]
fn several_may_stop_a_peer_at_once() {
    test(|| {
        let (alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        to_bob.send(&numbered(0, 8)).unwrap();
        let stopping: Vec<_> = (0..4)
            .map(|_| {
                let alice = alice.clone();
                Call::start("stop", move || alice.stop())
            })
            .collect();
        for call in stopping {
            call.finish();
        }
        take(&to_alice, 0, 1);
        assert!(to_alice.recv().is_err());
    });
}

#[test]
fn clones_of_a_peer_are_one_peer_and_the_last_one_stops_it() {
    test(|| {
        let (alice, bob, to_bob, to_alice) = pair::<Bytes>();
        let clone = alice.clone();
        assert_eq!(clone.local_addr(), alice.local_addr());
        drop(alice);
        to_bob.send(&numbered(0, 8)).unwrap();
        take(&to_alice, 0, 1);
        assert_eq!(clone.connections().len(), 1);
        let addr = clone.local_addr();
        within("the drop", SOON, move || drop(clone));
        assert_eq!(ended(&to_bob), CloseReason::PeerDropped);
        assert!(matches!(
            bob.connect::<Bytes>(addr),
            Err(Error::Connect { .. })
        ));
    });
}

#[test]
fn stop_joins_every_thread() {
    alone("closing::stop_joins_every_thread", || {
        assert_eq!(lanpeer_threads(), Vec::<String>::new());
        let soon = || builder().close_timeout(Duration::from_millis(300));
        let (alice, bob) = (
            bind(soon().send_queue(64 << 10)),
            bind(soon().receive_queue(4)),
        );
        let ends: Vec<_> = (0..10).map(|_| link::<Bytes>(&alice, &bob)).collect();
        let handled = alice
            .connect_with::<Bytes>(peer_that_accepts(&bob), |_, _| {})
            .unwrap();
        let silent: Vec<_> = (0..10)
            .map(|_| std::net::TcpStream::connect(alice.local_addr()).unwrap())
            .collect();
        let count = fill(&ends[0].0, 0, 16 << 10);
        assert!(count > 0);
        if cfg!(target_os = "linux") {
            assert!(
                !lanpeer_threads().is_empty(),
                "the library's threads have other names"
            );
        }
        // Bob's handles are still there, and so are the connections that nobody reads.
        let start = Instant::now();
        alice.stop();
        bob.stop();
        assert!(
            start.elapsed() < SOON,
            "stopped after {:?}",
            start.elapsed()
        );
        eventually(&format!("all threads end: {:?}", lanpeer_threads()), || {
            lanpeer_threads().is_empty()
        });
        drop((ends, handled, silent));
    });
}

/// Lets `bob` accept the next offer, and returns his address.
fn peer_that_accepts(bob: &Peer) -> std::net::SocketAddr {
    let accepting = bob.clone();
    std::thread::spawn(move || {
        let end = accepting.accept::<Bytes>().expect("accepted");
        // Keeps its handle until the end.
        let _ = end.recv();
    });
    bob.local_addr()
}

#[test]
fn ended_connections_leave_no_threads_behind() {
    alone("closing::ended_connections_leave_no_threads_behind", || {
        // A connection's threads carry its number; a peer's own threads have none.
        let of_connections = || {
            let mut names = lanpeer_threads();
            names.retain(|name| name.contains(|c: char| c.is_ascii_digit()));
            names
        };
        let alice = bind(
            builder()
                .close_timeout(Duration::from_millis(300))
                .send_queue(64 << 10),
        );
        let bob = bind(builder().receive_queue(4));
        // Handles are kept; every kind of end frees the threads all the same.
        let kept: Vec<_> = (0..5).map(|_| link::<Bytes>(&alice, &bob)).collect();
        for (to_bob, _) in &kept {
            fill(to_bob, 0, 64 << 10);
        }
        if cfg!(target_os = "linux") {
            assert!(
                of_connections().len() >= 2 * kept.len(),
                "{:?}",
                lanpeer_threads()
            );
        }
        kept[0].0.abort();
        kept[1].1.abort();
        assert!(kept[2].0.close().is_err());
        kept[2].0.abort();
        let _ = kept[3].0.close();
        kept[4].1.abort();
        for (_, to_alice) in &kept {
            // A full queue keeps its reader waiting for the program.
            while to_alice.recv_timeout(SOON).is_ok() {}
        }
        eventually("no threads of connections", || of_connections().is_empty());
        eventually("no connections", || {
            alice.connections().is_empty() && bob.connections().is_empty()
        });
        drop(kept);
    });
}
