//! Sending: order, what a full connection does, what wakes a blocked call, and
//! that nothing lies about in a buffer.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use lanpeer::{Bytes, CloseReason, ConnectOptions, Connection, Peer, SendError};

use crate::peers::*;

/// Alice's and Bob's ends of a connection that is soon full: small queues.
fn narrow() -> (Peer, Peer, Connection<Bytes>, Connection<Bytes>) {
    narrow_with(SOON)
}

/// [`narrow`], with what Alice gives a close.
fn narrow_with(close_timeout: Duration) -> (Peer, Peer, Connection<Bytes>, Connection<Bytes>) {
    let narrow = || builder().send_queue(64 << 10).receive_queue(4);
    pair_of(narrow().close_timeout(close_timeout), narrow())
}

const SIZE: usize = 16 << 10;

/// A `send` that waits because the connection is full.
fn blocked_send(connection: &Connection<Bytes>, number: u64) -> Call<Result<(), SendError>> {
    let connection = connection.clone();
    let call = Call::start("send", move || connection.send(&numbered(number, SIZE)));
    call.wait_until_blocked();
    call
}

/// Checks that a call on a connection that ended said so.
#[track_caller]
fn assert_closed(result: Result<(), SendError>, expected: CloseReason) {
    match result {
        Err(SendError::Closed(reason)) => assert_eq!(reason, expected),
        other => panic!("{other:?} instead of {expected:?}"),
    }
}

// ------------------------------------------------------------------ order

#[test]
fn many_threads_send_on_one_connection_in_order() {
    test(|| {
        const THREADS: u64 = 8;
        const EACH: u64 = 1500;
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        let sending: Vec<_> = (0..THREADS)
            .map(|thread| {
                let to_bob = to_bob.clone();
                Call::start("send", move || {
                    for number in 0..EACH {
                        // Sizes from nothing to speak of to more than a queue
                        // holds, and every way of sending.
                        let size = match number % 300 {
                            299 => 300_000,
                            rest => 8 + (rest as usize * 37) % 900,
                        };
                        let message = numbered(thread << 32 | number, size);
                        match number % 3 {
                            0 => to_bob.send(&message).unwrap(),
                            1 => to_bob.send_timeout(&message, SOON).unwrap(),
                            _ => loop {
                                match to_bob.try_send(&message) {
                                    Ok(()) => break,
                                    Err(SendError::Full) => std::thread::yield_now(),
                                    Err(error) => panic!("{error}"),
                                }
                            },
                        }
                    }
                })
            })
            .collect();
        let mut next = [0; THREADS as usize];
        for _ in 0..THREADS * EACH {
            let number = number_of(&to_alice.recv_timeout(SOON).unwrap());
            let (thread, number) = ((number >> 32) as usize, number & 0xffff_ffff);
            assert_eq!(number, next[thread], "of thread {thread}");
            next[thread] += 1;
        }
        for call in sending {
            call.finish();
        }
        assert!(to_alice.try_recv().is_err(), "more than was sent");
    });
}

#[test]
fn large_and_small_messages_keep_their_order() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        const SIZES: [usize; 7] = [8, 3_000_000, 8, 9, 70_000, 100, 1_500_000];
        const COUNT: u64 = 70;
        let sending = Call::start("send", move || {
            for (number, size) in (0..COUNT).zip(SIZES.into_iter().cycle()) {
                to_bob.send(&numbered(number, size)).unwrap();
            }
            to_bob
        });
        for (number, size) in (0..COUNT).zip(SIZES.into_iter().cycle()) {
            let message = to_alice.recv_timeout(SOON).unwrap();
            assert_eq!((number_of(&message), message.len()), (number, size));
        }
        let _ = sending.finish();
    });
}

#[test]
fn a_message_larger_than_the_send_queue_goes_through() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair_of::<Bytes>(builder().send_queue(1), builder());
        for number in 0..50 {
            to_bob.send(&numbered(number, 200_000)).unwrap();
            if number % 2 == 1 {
                take(&to_alice, number - 1, 2);
            }
        }
    });
}

// -------------------------------------------- nothing waits for another send

#[test]
fn what_was_sent_arrives_without_another_send() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        let (mut sent, mut times) = (0, Vec::new());
        // Lone messages, and bursts of every length: after each one silence,
        // and all of it must come.
        for burst in (0..150).map(|round| if round % 3 == 0 { 1 } else { round % 50 + 1 }) {
            let start = Instant::now();
            for number in sent..sent + burst {
                to_bob
                    .send(&numbered(number, 8 + number as usize % 3000))
                    .unwrap();
            }
            take(&to_alice, sent, burst);
            sent += burst;
            times.push(start.elapsed());
        }
        // And not only when some timer looks after it.
        let half = median(times);
        assert!(half < Duration::from_millis(200), "half took over {half:?}");
    });
}

#[test]
fn try_send_leaves_nothing_behind_either() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        let mut sent = 0;
        for _ in 0..100 {
            let first = sent;
            while sent < first + 20 && to_bob.try_send(&numbered(sent, 2000)).is_ok() {
                sent += 1;
            }
            assert!(sent > first, "full although all was taken");
            take(&to_alice, first, sent - first);
        }
    });
}

#[test]
fn an_answer_takes_no_longer_than_over_a_bare_socket() {
    test(|| {
        // Two writes and an answer, the pattern that a delayed
        // acknowledgement holds up by 40 ms where Nagle is left on.
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        let answering = Call::start("answer", move || {
            while let Ok(message) = to_alice.recv() {
                if message[0] == 2 {
                    to_alice.send(&message).unwrap();
                }
            }
        });
        let library = median(
            (0..51)
                .map(|_| {
                    let start = Instant::now();
                    to_bob.send(&[1; 50]).unwrap();
                    to_bob.send(&[2; 50]).unwrap();
                    to_bob.recv_timeout(SOON).unwrap();
                    start.elapsed()
                })
                .collect(),
        );
        to_bob.close().unwrap();
        answering.finish();

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.set_nodelay(true).unwrap();
        far.set_nodelay(true).unwrap();
        let answering = Call::start("answer", move || {
            let mut both = [0; 100];
            while far.read_exact(&mut both).is_ok() {
                far.write_all(&both).unwrap();
            }
        });
        let socket = median(
            (0..51)
                .map(|_| {
                    let start = Instant::now();
                    near.write_all(&[1; 50]).unwrap();
                    near.write_all(&[2; 50]).unwrap();
                    near.read_exact(&mut [0; 100]).unwrap();
                    start.elapsed()
                })
                .collect(),
        );
        drop(near);
        answering.finish();
        let limit = 10 * socket + Duration::from_millis(25);
        assert!(
            library < limit,
            "{library:?}, and {socket:?} over a bare socket"
        );
    });
}

// ------------------------------------------------------------------- full

#[test]
fn try_send_says_full_and_goes_on_when_the_other_side_takes() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = narrow();
        // Both send, neither receives.
        let from_alice = fill(&to_bob, 0, SIZE);
        let from_bob = fill(&to_alice, 0, SIZE);
        for end in [&to_bob, &to_alice] {
            let refused = end.try_send(&numbered(u64::MAX, SIZE));
            assert!(matches!(refused, Err(SendError::Full)), "{refused:?}");
        }

        // Bob takes: exactly what Alice was told is underway, and then she can go on.
        take(&to_alice, 0, from_alice);
        eventually("room", || {
            to_bob.try_send(&numbered(from_alice, SIZE)).is_ok()
        });
        take(&to_alice, from_alice, 1);
        take(&to_bob, 0, from_bob);
        eventually("room", || {
            to_alice.try_send(&numbered(from_bob, SIZE)).is_ok()
        });
        take(&to_bob, from_bob, 1);
        assert!(to_bob.try_recv().is_err());
        assert!(to_alice.try_recv().is_err());
    });
}

#[test]
fn send_blocks_where_both_are_full_and_goes_on_when_either_takes() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = narrow();
        let from_alice = fill(&to_bob, 0, SIZE);
        let from_bob = fill(&to_alice, 0, SIZE);
        let alice_sends = blocked_send(&to_bob, from_alice);
        let bob_sends = blocked_send(&to_alice, from_bob);

        // Bob takes: Alice goes on, and Bob still waits for her.
        take(&to_alice, 0, from_alice + 1);
        alice_sends.finish().unwrap();
        assert!(bob_sends.is_waiting());
        take(&to_bob, 0, from_bob + 1);
        bob_sends.finish().unwrap();
    });
}

#[test]
fn send_timeout_gives_up_and_sends_nothing() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = narrow();
        let count = fill(&to_bob, 0, SIZE);
        for timeout in [Duration::ZERO, Duration::from_millis(100)] {
            let start = Instant::now();
            let refused = to_bob.send_timeout(&numbered(u64::MAX, SIZE), timeout);
            assert!(matches!(refused, Err(SendError::Timeout)), "{refused:?}");
            assert!(start.elapsed() >= timeout);
            assert!(start.elapsed() < timeout + SOON / 2);
        }
        // It did not come later either.
        let next = blocked_send(&to_bob, count);
        take(&to_alice, 0, count + 1);
        next.finish().unwrap();
        assert!(to_alice.try_recv().is_err());
    });
}

#[test]
fn send_timeout_goes_on_when_the_other_side_takes() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = narrow();
        let count = fill(&to_bob, 0, SIZE);
        let sending = Call::start("send_timeout", move || {
            to_bob.send_timeout(&numbered(count, SIZE), 3 * SOON)
        });
        sending.wait_until_blocked();
        take(&to_alice, 0, count + 1);
        sending.finish().unwrap();
    });
}

#[test]
fn several_blocked_sends_all_go_on() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = narrow();
        let count = fill(&to_bob, 0, SIZE);
        let blocked: Vec<_> = (count..count + 5)
            .map(|number| blocked_send(&to_bob, number))
            .collect();
        take(&to_alice, 0, count);
        let mut rest: Vec<_> = (0..5)
            .map(|_| number_of(&to_alice.recv_timeout(SOON).unwrap()))
            .collect();
        rest.sort();
        assert_eq!(rest, (count..count + 5).collect::<Vec<_>>());
        for call in blocked {
            call.finish().unwrap();
        }
    });
}

#[test]
fn the_send_queue_is_bounded_in_bytes() {
    test(|| {
        const QUEUE: usize = 100_000;
        for size in [100, 30_000, 1_000_000] {
            let (_alice, _bob, to_bob, to_alice) =
                pair_of::<Bytes>(builder().send_queue(QUEUE), builder().receive_queue(4));
            let mut most = 0;
            let mut count = 0;
            loop {
                match to_bob.send_timeout(&numbered(count, size), Duration::from_millis(300)) {
                    Ok(()) => count += 1,
                    Err(SendError::Timeout) => break,
                    Err(error) => panic!("{error}"),
                }
                most = most.max(to_bob.stats().send_queue_bytes);
            }
            // Headers count too, 128 bytes each.
            let bound = QUEUE + size + 128;
            assert!(most > 0, "the queue was never used");
            assert!(
                most <= bound,
                "{most} bytes in a queue of {QUEUE}, messages of {size}"
            );
            take(&to_alice, 0, count);
        }
    });
}

// ------------------------------------------------------------------ flush

#[test]
fn flush_returns_when_nothing_is_queued() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = narrow();
        to_bob.flush().unwrap();
        let count = fill(&to_bob, 0, SIZE);
        assert!(to_bob.stats().send_queue_bytes > 0);
        let flushing = Call::start("flush", {
            let to_bob = to_bob.clone();
            move || {
                to_bob.flush().unwrap();
                to_bob.stats().send_queue_bytes
            }
        });
        flushing.wait_until_blocked();
        take(&to_alice, 0, count);
        assert_eq!(flushing.finish(), 0);
        to_bob.flush().unwrap();
    });
}

// ----------------------------------------------- what wakes a blocked call

/// Fills a connection, lets one call of each kind block on it, ends it with
/// `end`, and checks what the calls say.
#[track_caller]
fn wakes(
    close_timeout: Duration,
    expected: CloseReason,
    end: impl FnOnce(&Peer, &Peer, &Connection<Bytes>, &Connection<Bytes>),
) {
    let (alice, bob, to_bob, to_alice) = narrow_with(close_timeout);
    let count = fill(&to_bob, 0, SIZE);
    let sending = blocked_send(&to_bob, count);
    let in_time = Call::start("send_timeout", {
        let to_bob = to_bob.clone();
        move || to_bob.send_timeout(&numbered(count, SIZE), 10 * SOON)
    });
    let flushing = Call::start("flush", {
        let to_bob = to_bob.clone();
        move || to_bob.flush()
    });
    in_time.wait_until_blocked();
    flushing.wait_until_blocked();
    end(&alice, &bob, &to_bob, &to_alice);
    assert_closed(sending.finish(), expected.clone());
    assert_closed(in_time.finish(), expected.clone());
    assert_closed(flushing.finish(), expected.clone());
    assert_closed(to_bob.send(&numbered(count, SIZE)), expected.clone());
    assert_closed(to_bob.try_send(&numbered(count, SIZE)), expected);
}

#[test]
fn abort_wakes() {
    test(|| {
        wakes(SOON, CloseReason::Aborted, |_, _, to_bob, _| to_bob.abort());
    });
}

#[test]
fn an_abort_of_the_other_side_wakes() {
    test(|| {
        wakes(SOON, CloseReason::Reset, |_, _, _, to_alice| {
            to_alice.abort()
        });
    });
}

#[test]
fn stop_wakes() {
    test(|| {
        wakes(
            Duration::from_millis(200),
            CloseReason::Stopped,
            |alice, _, _, _| alice.stop(),
        );
    });
}

#[test]
fn close_wakes_a_blocked_send() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = narrow();
        let count = fill(&to_bob, 0, SIZE);
        let sending = blocked_send(&to_bob, count);
        let closing = Call::start("close", {
            let to_bob = to_bob.clone();
            move || to_bob.close()
        });
        // At once, and not only when the close is through.
        assert_closed(sending.finish(), CloseReason::ClosedHere);
        assert!(closing.is_waiting(), "closed although nothing was taken");
        assert_closed(
            to_bob.try_send(&numbered(count, SIZE)),
            CloseReason::ClosedHere,
        );

        // All that was sent before is still underway, and the blocked one is not.
        take(&to_alice, 0, count);
        assert!(to_alice.recv_timeout(SOON).is_err());
        closing.finish().unwrap();
    });
}

#[test]
fn close_wakes_a_send_in_the_middle_of_a_large_message() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) =
            pair_of::<Bytes>(builder(), builder().receive_queue(1));
        // One for Bob's queue and one for his reader's hand, then one that
        // fits into no buffer on the way.
        to_bob.send(&numbered(0, 8)).unwrap();
        to_bob.send(&numbered(1, 8)).unwrap();
        let sending = Call::start("send", {
            let to_bob = to_bob.clone();
            move || to_bob.send(&numbered(2, 60 << 20))
        });
        sending.wait_until_blocked();
        let closing = Call::start("close", {
            let to_bob = to_bob.clone();
            move || to_bob.close()
        });
        let sent = sending.finish_within(SOON / 2);
        assert!(closing.is_waiting(), "closed although nothing was taken");
        take(&to_alice, 0, 2);
        match sent {
            // Begun, and so part of what the close is for.
            Ok(()) => {
                take(&to_alice, 2, 1);
                closing.finish().unwrap();
            }
            other => {
                assert_closed(other, CloseReason::ClosedHere);
                assert!(to_alice.recv_timeout(SOON).is_err());
            }
        }
    });
}

#[test]
fn a_close_of_the_other_side_wakes_a_blocked_send() {
    test(|| {
        let (_alice, bob, to_bob, to_alice) = narrow();
        let count = fill(&to_bob, 0, SIZE);
        let sending = blocked_send(&to_bob, count);
        let closing = Call::start("close", {
            let to_alice = to_alice.clone();
            move || to_alice.close()
        });
        // Bob takes what came before the end, as he should.
        let mut taken = 0;
        while let Ok(message) = to_alice.recv_timeout(SOON) {
            assert_eq!(number_of(&message), taken);
            taken += 1;
        }
        assert!(taken >= count, "{taken} of {count}");
        match sending.finish() {
            // It still went, or it heard of the end.
            Ok(()) => assert_eq!(taken, count + 1),
            other => {
                assert_closed(other, CloseReason::ClosedThere);
                assert_eq!(taken, count);
            }
        }
        closing.finish().unwrap();
        drop(bob);
    });
}

#[test]
fn an_idle_connection_takes_a_large_message_at_once() {
    test(|| {
        const LARGE: usize = 100_000;
        let (alice, bob) = (peer(), peer());
        let mut options = ConnectOptions::new();
        for stream in [false, true] {
            if stream {
                options = options.stream();
            }
            let (to_bob, to_alice) = link_as::<Bytes, Bytes>(&options, &alice, &bob);
            for number in 0..20 {
                let message = numbered(number, LARGE);
                to_bob.send_timeout(&message, Duration::ZERO).unwrap();
                take(&to_alice, number, 1);
            }
            to_bob.close().unwrap();
        }
    });
}

// ------------------------------------------------------- room in the queue

/// A pair whose second peer takes nothing, with a queue of 1 MiB at the first.
fn untaken() -> (Peer, Peer, Connection<Bytes>, Connection<Bytes>) {
    pair_of(
        builder().close_timeout(Duration::from_millis(100)),
        builder().receive_queue(1),
    )
}

const QUEUE: usize = 1 << 20;

/// Is there room in the queue for a message of so many bytes?
fn has_room(connection: &Connection<Bytes>, size: usize) -> bool {
    let waits = connection.stats().send_queue_bytes;
    waits == 0 || waits + 128 + size <= QUEUE
}

#[test]
fn large_messages_wait_for_nothing_while_the_queue_has_room() {
    test(|| {
        const SIZE: usize = 100_000;
        let (_alice, _bob, to_bob, _to_alice) = untaken();
        let mut longest = Duration::ZERO;
        let mut count = 0;
        while has_room(&to_bob, SIZE) {
            let (start, sender) = (Instant::now(), to_bob.clone());
            let sent = within("a send", SOON, move || sender.send(&numbered(count, SIZE)));
            sent.unwrap();
            longest = longest.max(start.elapsed());
            count += 1;
        }
        println!("{count} messages, the longest took {longest:?}");
        // The first one that finds the socket full gives it 50 ms.
        assert!(longest < Duration::from_secs(3), "{longest:?}");
        assert!(to_bob.stats().send_queue_bytes > QUEUE - SIZE - 128);
        assert!(to_bob.stats().send_queue_bytes <= QUEUE);
        assert_eq!(to_bob.try_send(&numbered(0, SIZE)), Err(SendError::Full));
    });
}

/// Where `try_send` would take it, so does `send_timeout`, whatever the time.
#[test]
fn send_timeout_takes_what_there_is_room_for() {
    test(|| {
        let time = Duration::from_millis(1);
        // With their headers these are multiples of the pieces in which the system takes bytes: so now
        // and then the last one leaves the socket full and the queue empty.
        for size in [(64 << 10) - 128, 64 << 10, (128 << 10) - 128, 100_000] {
            let (_alice, _bob, to_bob, _to_alice) = untaken();
            let mut waiting = Vec::new();
            while has_room(&to_bob, size) {
                waiting.push(to_bob.stats().send_queue_bytes);
                let sent = to_bob.send_timeout(&numbered(0, size), time);
                assert_eq!(sent, Ok(()), "{size} bytes with {waiting:?} waiting");
            }
        }
    });
}
