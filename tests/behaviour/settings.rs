//! Settings at their extremes: whatever `bind` accepts works.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use lanpeer::{Bytes, CloseReason, Error, PeerBuilder};

use crate::peers::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Sends 300 small messages and a large one each way; the other side takes them by `recv`, or as a
/// channel of which some have come before it is asked for. Then closes.
#[track_caller]
fn works(what: &str, set: impl Fn(PeerBuilder) -> PeerBuilder) {
    for as_channel in [false, true] {
        println!("{what}, as a channel: {as_channel}");
        let (_alice, _bob, to_bob, to_alice) = pair_of::<Bytes>(set(builder()), set(builder()));
        for (from, to) in [(&to_bob, &to_alice), (&to_alice, &to_bob)] {
            let from = from.clone();
            let sending = Call::start("send", move || {
                for number in 0..=300 {
                    let size = if number == 300 { 300_000 } else { 8 };
                    from.send(&numbered(number, size)).unwrap();
                }
            });
            if as_channel {
                take(to, 0, 10);
                for number in 10..=300 {
                    let message = to.receiver().recv_timeout(SOON).expect(what);
                    assert_eq!(number_of(&message), number);
                }
            } else {
                take(to, 0, 301);
            }
            sending.finish();
        }
        assert_eq!(to_bob.close(), Ok(()), "{what}");
        assert!(to_alice.recv_timeout(SOON).is_err());
        assert_eq!(to_alice.close_reason(), Some(CloseReason::ClosedThere));
    }
}

/// In a process of its own: some of these could end it.
#[test]
fn what_bind_accepts_works() {
    alone("settings::what_bind_accepts_works", || {
        for size in [
            1,
            2,
            8192,
            8193,
            1 << 20,
            usize::MAX >> 24,
            usize::MAX / 2,
            usize::MAX,
        ] {
            works(&format!("receive_queue {size}"), |b| b.receive_queue(size));
        }
        for size in [1, usize::MAX - 1, usize::MAX] {
            works(&format!("receive_queue_bytes {size}"), |b| {
                b.receive_queue_bytes(size)
            });
            works(&format!("send_queue {size}"), |b| b.send_queue(size));
        }
        works("no bounds", |b| {
            b.receive_queue(usize::MAX)
                .receive_queue_bytes(usize::MAX)
                .send_queue(usize::MAX)
                .max_message_size(usize::MAX)
                .max_connections(usize::MAX)
        });
        works("max_connections", |b| b.max_connections(1));
        works("the longest", |b| {
            b.timeout(DAY).close_timeout(DAY).keepalive(Some(DAY))
        });
        works("no keepalive", |b| b.keepalive(None));
        works("the shortest keepalive", |b| {
            b.keepalive(Some(Duration::from_secs(4)))
        });
        for time in [Duration::from_nanos(1), Duration::from_millis(10)] {
            works(&format!("spin {time:?}"), |b| b.spin(time));
        }
    });
}

/// Nothing can be done in a nanosecond, and all say so.
#[test]
fn the_shortest_times_are_over_at_once() {
    test(|| {
        let nanosecond = Duration::from_nanos(1);
        let hurried = bind(builder().timeout(nanosecond));
        let bob = peer();
        let asking = {
            let (hurried, addr) = (hurried.clone(), bob.local_addr());
            Call::start("connect", move || hurried.connect::<Bytes>(addr).map(drop))
        };
        let refused = asking.finish();
        assert!(
            matches!(refused, Err(Error::TimedOut { .. })),
            "{refused:?}"
        );
        let (alice, _bob, to_bob, to_alice) =
            pair_of::<Bytes>(builder().close_timeout(nanosecond), builder());
        to_bob.send("text").unwrap();
        // Whether it was in time is chance; that it ends is not.
        let _ = within("close", SOON, move || to_bob.close());
        eventually("the end", || to_alice.close_reason().is_some());
        within("stop", SOON, move || alice.stop());
    });
}

/// Where there is no limit, memory is still reserved only as bytes come.
#[test]
fn a_size_without_end_is_announced_where_there_is_no_limit() {
    test(|| {
        let bob = bind(builder().max_message_size(usize::MAX));
        for size in [
            usize::MAX,
            usize::MAX - 128,
            usize::MAX >> 4,
            usize::MAX >> 24,
        ] {
            let mut socket = raw_offer(&bob);
            let to_alice = bob
                .offers()
                .recv_timeout(SOON)
                .unwrap()
                .accept::<Bytes>()
                .unwrap();
            socket.read_exact(&mut [0; 128]).unwrap();
            let header = format!("DATA|data_size={size}&data_type=bytes");
            socket
                .write_all(format!("{header:|<128}").as_bytes())
                .unwrap();
            socket.write_all(&[7; 100_000]).unwrap();
            drop(socket);
            assert!(to_alice.recv_timeout(SOON).is_err());
            eventually("its end", || to_alice.close_reason().is_some());
            let reason = to_alice.close_reason().unwrap();
            assert!(!reason.is_normal(), "{size}: {reason}");
        }
        // Bob is as before.
        let alice = peer();
        let (to_bob, to_alice) = link::<Bytes>(&alice, &bob);
        to_bob.send(&numbered(1, 100)).unwrap();
        take(&to_alice, 1, 1);
    });
}

/// A channel that is too long to have all its memory from the beginning is bounded all the same.
#[test]
fn a_long_channel_is_bounded_in_messages() {
    test(|| {
        const QUEUE: usize = 70_000;
        let (_alice, _bob, to_bob, to_alice) = pair_of::<Bytes>(
            builder().send_queue(64 << 10),
            builder().receive_queue(QUEUE),
        );
        let messages = to_alice.receiver().clone();
        assert_eq!(messages.capacity(), None);
        let sending = Call::start("send", {
            let to_bob = to_bob.clone();
            move || {
                for number in 0..4 * QUEUE as u64 {
                    to_bob.send(&numbered(number, 100)).unwrap();
                }
            }
        });
        for taken in [0, 1, 5_000, 10_000] {
            for _ in 0..taken {
                messages.recv_timeout(SOON).unwrap();
            }
            eventually("full", || messages.len() == QUEUE);
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(100) {
                assert!(messages.len() <= QUEUE, "{} wait", messages.len());
                std::thread::yield_now();
            }
        }
        let rest = std::iter::from_fn(|| messages.recv_timeout(SOON).ok());
        let rest = rest.take(4 * QUEUE - 15_001);
        for (number, message) in (15_001..).zip(rest) {
            assert_eq!(number_of(&message), number);
        }
        sending.finish();
    });
}

/// Of messages that have been taken nothing is left, however many they were.
#[test]
fn a_channel_without_bounds_keeps_nothing_of_what_was_taken() {
    alone(
        "settings::a_channel_without_bounds_keeps_nothing_of_what_was_taken",
        || {
            let boundless = || {
                builder()
                    .receive_queue(usize::MAX)
                    .receive_queue_bytes(usize::MAX)
            };
            let (_alice, _bob, to_bob, to_alice) = pair_of::<Bytes>(builder(), boundless());
            let messages = to_alice.receiver().clone();
            let pass = |count: u64| {
                let to_bob = to_bob.clone();
                let sending = Call::start("send", move || {
                    for _ in 0..count {
                        to_bob.send(b"12345678").unwrap();
                    }
                });
                for _ in 0..count {
                    messages.recv_timeout(SOON).unwrap();
                }
                sending.finish_within(3 * SOON);
            };
            // Batches, so that little ever waits.
            (0..100).for_each(|_| pass(1_000));
            let before = memory();
            (0..campaign(2_000)).for_each(|_| pass(1_000));
            let more = memory().saturating_sub(before);
            println!("{more} bytes more after 2,000,000 messages");
            // A pointer for each message would be 16 MB. What the threads' own heaps keep is less.
            assert!(more < 12 << 20, "{more} bytes");
        },
    );
}
