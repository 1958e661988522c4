//! Messages of which only the newest counts: nobody waits for them, the newest is never lost, what was
//! replaced is counted, and everything else on the connection is as ever.

use std::thread;
use std::time::{Duration, Instant};

use lanpeer::crossbeam_channel::{RecvTimeoutError, TryRecvError};
use lanpeer::{
    Bytes, CloseError, CloseReason, ConnectOptions, Connection, Error, Format, Json, Peer,
    PeerBuilder, SendError,
};

use crate::peers::*;

/// Two peers' ends of a connection, of which the second keeps the newest.
fn latest_of<F: Format + 'static>(
    options: &ConnectOptions,
    builder: &PeerBuilder,
) -> (Peer, Peer, Connection<F>, Connection<F>) {
    let (alice, bob) = (bind(builder.clone()), bind(builder.clone()));
    let offers = bob.offers();
    let accepting = Call::start("accept", move || {
        let offer = offers.recv().expect("an offer");
        offer.accept_latest::<F>().expect("accepted")
    });
    let to_bob = options.connect::<F>(&alice, bob.local_addr());
    (alice, bob, to_bob.expect("connected"), accepting.finish())
}

fn latest<F: Format + 'static>() -> (Peer, Peer, Connection<F>, Connection<F>) {
    latest_of(&ConnectOptions::new(), &builder())
}

/// Sends frames until nothing of the newest can leave: the other side takes nothing. Says which is the
/// newest.
fn send_in_vain(conn: &Connection<Bytes>, size: usize) -> u64 {
    let (mut newest, start) = (0, Instant::now());
    settle(|| {
        assert!(start.elapsed() < extended(SOON), "it never stays full");
        newest += 1;
        let before = conn.stats().send_replaced;
        let begin = Instant::now();
        conn.send_latest(&numbered(newest, size)).unwrap();
        assert!(begin.elapsed() < SOON / 4, "it waits");
        thread::sleep(Duration::from_millis(2));
        conn.stats().send_replaced > before
    });
    newest
}

#[test]
fn a_slow_program_gets_the_newest_and_what_it_missed_is_counted() {
    test(|| {
        let (alice, bob, to_bob, from_alice) = latest::<Bytes>();
        let mut last = 0;
        for round in 1..=20_u64 {
            for number in 0..50 {
                let number = round * 100 + number;
                to_bob.send_latest(&numbered(number, 20_000)).unwrap();
            }
            let newest = round * 100 + 49;
            eventually("the newest arrives", || {
                let taken = from_alice.try_recv();
                let number = taken.as_deref().map_or(last, number_of);
                assert!(number >= last, "{number} behind {last}");
                last = number;
                last == newest
            });
        }
        to_bob.close().unwrap();
        let (sent, received) = (to_bob.stats(), from_alice.stats());
        assert_eq!(sent.messages_sent + sent.send_replaced, 1000);
        assert_eq!(received.messages_received, sent.messages_sent);
        assert_eq!(received.bytes_received, 20_000 * sent.messages_sent);
        assert_eq!((sent.receive_replaced, received.send_replaced), (0, 0));
        assert_eq!(alice.stats().replaced, sent.send_replaced);
        assert_eq!(bob.stats().replaced, received.receive_replaced);
        assert_eq!(alice.stats().messages_sent, sent.messages_sent);
    });
}

#[test]
fn the_other_side_need_not_know_of_it() {
    test(|| {
        for text in [false, true] {
            let builder = builder().text_headers(text);
            // Plain messages to one that keeps the newest.
            let (_alice, _bob, to_bob, from_alice) =
                latest_of::<Json<u32>>(&ConnectOptions::new(), &builder);
            for n in 0..1000 {
                to_bob.send(&n).unwrap();
            }
            to_bob.close().unwrap();
            assert_eq!(from_alice.iter().collect::<Vec<_>>(), [999]);
            assert_eq!(from_alice.stats().receive_replaced, 999);
            assert_eq!(from_alice.close_reason(), Some(CloseReason::ClosedThere));
            // The newest to one that takes all.
            let (_alice, _bob, to_bob, from_alice) = pair_of::<Json<u32>>(builder.clone(), builder);
            for n in 0..1000 {
                to_bob.send_latest(&n).unwrap();
            }
            to_bob.close().unwrap();
            let all: Vec<u32> = from_alice.iter().collect();
            assert!(all.is_sorted() && all.last() == Some(&999));
            let stats = to_bob.stats();
            assert_eq!(stats.messages_sent, all.len() as u64);
            assert_eq!(stats.messages_sent + stats.send_replaced, 1000);
        }
    });
}

/// A socket that only makes its offer.
#[test]
fn one_that_never_reads_holds_up_nobody_and_costs_two_messages() {
    const SIZE: usize = 4 << 20;
    test(|| {
        let bob = peer();
        let _raw = raw_offer(&bob);
        let conn = bob.accept::<Bytes>().unwrap();
        let newest = send_in_vain(&conn, SIZE);
        let stats = conn.stats();
        assert!(stats.messages_sent + stats.send_replaced == newest);
        assert!(stats.send_queue_bytes <= 2 * (SIZE + 1000), "{stats:?}");
        // Nor does a close in its time, which says that not all has arrived.
        conn.abort();
        assert!(matches!(
            conn.close(),
            Err(CloseError::Incomplete(CloseReason::Aborted))
        ));
        assert_eq!(
            conn.send_latest(&[1]),
            Err(SendError::Closed(CloseReason::Aborted))
        );
    });
}

/// The system's buffers hold less than one frame that the other side has not asked for.
#[test]
fn one_that_reads_again_gets_what_had_begun_to_leave_and_then_the_newest() {
    const SIZE: usize = 1 << 20;
    test(|| {
        let (_alice, _bob, to_bob, from_alice) =
            pair_of::<Bytes>(builder(), builder().receive_queue(1));
        let newest = send_in_vain(&to_bob, SIZE);
        let closing = to_bob.clone();
        let closing = Call::start("close", move || closing.close());
        let seen: Vec<u64> = from_alice.iter().map(|frame| number_of(&frame)).collect();
        assert_eq!(seen.last(), Some(&newest));
        assert!(seen.is_sorted());
        closing.finish().unwrap();
        assert_eq!(to_bob.stats().messages_sent, seen.len() as u64);
    });
}

#[test]
fn what_is_sent_by_send_is_never_replaced_and_nothing_overtakes_anything() {
    test(|| {
        let (_alice, _bob, to_bob, from_alice) = pair::<Json<(bool, u32)>>();
        let sending = to_bob.clone();
        let sending = Call::start("sends", move || {
            for n in 0..20_000 {
                match n % 7 {
                    0 => sending.send(&(false, n)).unwrap(),
                    _ => sending.send_latest(&(true, n)).unwrap(),
                }
            }
            sending.close()
        });
        let all: Vec<(bool, u32)> = from_alice.iter().collect();
        sending.finish().unwrap();
        assert!(all.is_sorted_by_key(|(_, n)| *n));
        let plain = all.iter().filter(|(is_latest, _)| !is_latest);
        let plain: Vec<u32> = plain.map(|(_, n)| *n).collect();
        assert_eq!(plain, (0..20_000).step_by(7).collect::<Vec<_>>());
        assert_eq!(all.last().map(|(_, n)| *n), Some(19_999));
        let stats = to_bob.stats();
        assert_eq!(all.len() as u64 + stats.send_replaced, 20_000);
    });
}

/// Small messages have room beside a large one, and a large one gets its turn.
#[test]
fn a_plain_message_waits_for_its_turn_and_not_for_room() {
    const SIZE: usize = 1 << 20;
    test(|| {
        let (_alice, _bob, to_bob, from_alice) =
            pair_of::<Bytes>(builder().send_queue(1000), builder().receive_queue(1));
        let newest = send_in_vain(&to_bob, SIZE);
        to_bob.try_send(&numbered(newest + 1, 500)).unwrap();
        assert_eq!(
            to_bob.try_send(&[0; 600]),
            Err(SendError::Full),
            "beside that one"
        );
        to_bob.send_latest(&numbered(newest + 2, SIZE)).unwrap();
        let mut seen = Vec::new();
        while seen.last() != Some(&(newest + 2)) {
            seen.push(number_of(&next(&from_alice)));
        }
        assert!(seen.is_sorted() && seen.contains(&(newest + 1)));
        assert!(
            !seen.contains(&newest),
            "the one before the plain message was replaced"
        );
    });
}

#[test]
fn close_is_not_ok_where_the_newest_was_not_taken() {
    test(|| {
        let (_alice, _bob, to_bob, from_alice) = latest::<Bytes>();
        for n in 0..10 {
            to_bob.send(&numbered(n, 100)).unwrap();
        }
        eventually("all are there", || {
            from_alice.stats().messages_received == 10
        });
        drop(from_alice);
        let closed = to_bob.close();
        assert_eq!(closed, Err(CloseError::Incomplete(CloseReason::Reset)));

        let (_alice, _bob, to_bob, from_alice) = latest::<Bytes>();
        for n in 0..10 {
            to_bob.send(&numbered(n, 100)).unwrap();
        }
        eventually("all are there", || {
            from_alice.stats().messages_received == 10
        });
        assert_eq!(number_of(&next(&from_alice)), 9);
        drop(from_alice);
        // It has left first, and says that it took in all.
        assert_eq!(to_bob.close(), Ok(()));
    });
}

#[test]
fn a_flush_waits_for_the_newest() {
    test(|| {
        let (_alice, _bob, to_bob, from_alice) =
            pair_of::<Bytes>(builder(), builder().receive_queue(1));
        let newest = send_in_vain(&to_bob, 1 << 20);
        let flushing = to_bob.clone();
        let flushing = Call::start("flush", move || flushing.flush());
        flushing.wait_until_blocked();
        let taking = Call::start("recv", move || {
            loop {
                if number_of(&next(&from_alice)) == newest {
                    return from_alice;
                }
            }
        });
        flushing.finish().unwrap();
        assert_eq!(to_bob.stats().send_queue_bytes, 0);
        drop(taking.finish());
    });
}

#[test]
fn frames_of_a_stream_are_replaced_but_for_the_first() {
    test(|| {
        for named in [false, true] {
            let options = match named {
                true => ConnectOptions::new().stream_of(300_000),
                false => ConnectOptions::new().stream(),
            };
            let (alice, bob) = (peer(), bind(builder().receive_queue(1)));
            let (to_bob, from_alice) = link_as::<Bytes, Bytes>(&options, &alice, &bob);
            let newest = send_in_vain(&to_bob, 300_000);
            let wrong = to_bob.send_latest(&[0; 5]);
            assert!(matches!(
                wrong,
                Err(SendError::WrongSize {
                    size: 5,
                    stream: 300_000
                })
            ));
            let before = to_bob.stats();
            assert_eq!(
                before.messages_sent + before.send_replaced,
                newest,
                "nothing was lost"
            );
            let closing = to_bob.clone();
            let closing = Call::start("close", move || closing.close());
            let seen: Vec<u64> = from_alice.iter().map(|frame| number_of(&frame)).collect();
            closing.finish().unwrap();
            assert!(seen.is_sorted() && seen[0] == 1 && seen.last() == Some(&newest));

            // And received so.
            let (_alice, _bob, to_bob, from_alice) = latest_of::<Bytes>(&options, &builder());
            for n in 0..50 {
                to_bob.send(&numbered(n, 300_000)).unwrap();
            }
            to_bob.close().unwrap();
            assert_eq!(number_of(&next(&from_alice)), 49);
        }
    });
}

#[test]
fn the_channel_holds_the_newest() {
    test(|| {
        let (_alice, _bob, to_bob, from_alice) = latest::<Json<u32>>();
        for n in 0..100 {
            to_bob.send(&n).unwrap();
        }
        eventually("all are there", || {
            from_alice.stats().messages_received == 100
        });
        let pictures = from_alice.receiver().clone();
        for n in 100..200 {
            to_bob.send(&n).unwrap();
        }
        to_bob.close().unwrap();
        assert_eq!(
            (pictures.len(), from_alice.stats().receive_queue_messages),
            (1, 1)
        );
        assert_eq!(pictures.recv(), Ok(199));
        assert_eq!(from_alice.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(from_alice.stats().receive_replaced, 199);
    });
}

#[test]
fn whoever_waits_gets_the_next_at_once_and_the_end_as_ever() {
    test(|| {
        let (_alice, _bob, to_bob, from_alice) = latest::<Json<u32>>();
        let none = from_alice.recv_timeout(Duration::from_millis(1));
        assert_eq!(none, Err(RecvTimeoutError::Timeout));
        for n in 0..200 {
            let own = from_alice.clone();
            let waiting = Call::start("recv", move || own.recv());
            if n % 10 == 0 {
                waiting.wait_until_blocked();
            }
            to_bob.send_latest(&n).unwrap();
            assert_eq!(waiting.finish(), Ok(n));
        }
        let own = from_alice.clone();
        let waiting = Call::start("recv", move || own.recv());
        waiting.wait_until_blocked();
        to_bob.abort();
        assert!(waiting.finish().is_err());
        assert_eq!(ended(&from_alice), CloseReason::Reset);
    });
}

#[test]
fn what_is_no_value_of_the_type_ends_it_though_it_would_be_replaced() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let offers = bob.offers();
        let accepting = Call::start("accept", move || {
            offers
                .recv()
                .expect("an offer")
                .accept_latest::<Json<u32>>()
        });
        let to_bob = alice.connect::<Json<String>>(bob.local_addr()).unwrap();
        let from_alice = accepting.finish().unwrap();
        to_bob.send("not a number").unwrap();
        let reason = ended(&from_alice);
        assert!(matches!(reason, CloseReason::Malformed(_)), "{reason:?}");
    });
}

#[test]
fn requests_go_on_beside_it() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let offers = bob.offers();
        let accepting = Call::start("accept", move || {
            offers.recv().expect("an offer").accept::<Json<u32>>()
        });
        let options = ConnectOptions::new().latest();
        let served = options.connect_serving::<Json<u32>>(&alice, bob.local_addr(), |request| {
            let _ = request.reply(&(request.item() + 1));
        });
        let (served, conn) = (served.unwrap(), accepting.finish().unwrap());
        for n in 0..100 {
            conn.send_latest(&n).unwrap();
            assert_eq!(conn.request(&n, SOON), Ok(n + 1));
        }
        // A reply is behind what was sent before it.
        assert_eq!(served.try_recv(), Ok(99));
        let wrong = options.connect_with::<Json<u32>>(&alice, bob.local_addr(), |_, _| {});
        assert!(matches!(
            wrong,
            Err(Error::InvalidOption {
                option: "latest",
                ..
            })
        ));
    });
}

/// As a camera with many viewers: a loop over them.
#[test]
fn the_slow_one_of_many_is_the_only_one_to_miss_something() {
    const SIZE: usize = 500_000;
    test(|| {
        let camera = peer();
        let viewer = |receives: usize| {
            let viewer = bind(builder().receive_queue(receives));
            let (conn, to_camera) = link::<Bytes>(&camera, &viewer);
            (viewer, conn, to_camera)
        };
        let (_slow_peer, slow, _slow_end) = viewer(1);
        let fast: Vec<_> = (0..3).map(|_| viewer(4096)).collect();
        for number in 0..100 {
            slow.send_latest(&numbered(number, SIZE)).unwrap();
            for (_, conn, end) in &fast {
                conn.send_latest(&numbered(number, SIZE)).unwrap();
                assert_eq!(number_of(&next(end)), number);
            }
        }
        assert!(slow.stats().send_replaced > 50, "{:?}", slow.stats());
        for (_, conn, _) in &fast {
            assert_eq!(conn.stats().send_replaced, 0);
        }
    });
}

#[test]
fn many_threads_may_send_the_newest() {
    test(|| {
        let (_alice, _bob, to_bob, from_alice) = latest::<Json<(u32, u32)>>();
        thread::scope(|scope| {
            for name in 0..4 {
                let conn = &to_bob;
                scope.spawn(move || {
                    for n in 0..5000 {
                        conn.send_latest(&(name, n)).unwrap();
                    }
                });
            }
            let mut last = [None; 4];
            while last.iter().all(|n| *n != Some(4999)) {
                let (name, n) = next(&from_alice);
                let last = &mut last[name as usize];
                assert!(last.is_none_or(|last| last < n));
                *last = Some(n);
            }
        });
        to_bob.close().unwrap();
        let (sent, received) = (to_bob.stats(), from_alice.stats());
        assert_eq!(sent.messages_sent + sent.send_replaced, 20_000);
        assert_eq!(received.messages_received, sent.messages_sent);
    });
}

#[test]
fn a_connection_that_is_kept_may_keep_the_newest() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let offers = bob.offers();
        let accepting = Call::start("accept", move || {
            offers.recv().expect("an offer").accept::<Json<u32>>()
        });
        let options = ConnectOptions::new().latest();
        let kept = options.keep_connected::<Json<u32>>(&alice, bob.local_addr());
        let to_bob = kept.unwrap().next().expect("a connection");
        let from_alice = accepting.finish().unwrap();
        for n in 0..100 {
            from_alice.send(&n).unwrap();
        }
        eventually("all are there", || to_bob.stats().messages_received == 100);
        assert_eq!((next(&to_bob), to_bob.stats().receive_replaced), (99, 99));
    });
}
