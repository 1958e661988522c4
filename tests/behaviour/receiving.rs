//! Receiving: bounded in messages and in bytes whatever the other side does,
//! nothing lost at the end, every way of waiting, and remotes that are dead or
//! only slow.

use std::collections::HashMap;
use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lanpeer::crossbeam_channel::{Select, never, select};
use lanpeer::{
    Bytes, CloseReason, ConnectOptions, Connection, Event, Json, Peer, RecvTimeoutError, SendError,
    TryRecvError,
};

use crate::peers::*;

/// What the kernel's buffers of one connection on loopback may hold, generously.
const KERNEL: u64 = 48 << 20;

// ----------------------------------------------------------------- bounds

#[test]
fn the_queue_is_bounded_in_messages() {
    test(|| {
        const QUEUE: usize = 8;
        let (_alice, _bob, to_bob, to_alice) = pair_of::<Bytes>(
            builder().send_queue(64 << 10),
            builder().receive_queue(QUEUE),
        );
        let count = fill(&to_bob, 0, 32 << 10);
        let stats = to_alice.stats();
        assert_eq!(stats.receive_queue_messages, QUEUE);
        assert!(
            stats.messages_received <= QUEUE as u64 + 1,
            "took in {} messages for a queue of {QUEUE}",
            stats.messages_received
        );
        // A reader that found the queue full may wait until half of it is taken.
        let taken = QUEUE as u64 / 2;
        take(&to_alice, 0, taken);
        eventually("more", || to_alice.stats().receive_queue_messages == QUEUE);
        assert!(to_alice.stats().messages_received <= QUEUE as u64 + taken + 1);
        take(&to_alice, taken, count - taken);
    });
}

#[test]
fn the_queue_is_bounded_in_bytes() {
    test(|| {
        const SIZE: usize = 64 << 10;
        for queue_bytes in [1, SIZE, 1 << 20] {
            let (_alice, _bob, to_bob, to_alice) = pair_of::<Bytes>(
                builder().send_queue(64 << 10),
                builder()
                    .receive_queue(1_000_000)
                    .receive_queue_bytes(queue_bytes),
            );
            let count = fill(&to_bob, 0, SIZE);
            let stats = to_alice.stats();
            let bound = queue_bytes + 2 * SIZE;
            assert!(
                stats.bytes_received <= bound as u64,
                "took in {} bytes for a queue of {queue_bytes}, messages of {SIZE}",
                stats.bytes_received
            );
            assert!(stats.receive_queue_messages >= 1);
            // All the rest is the sender's and the kernel's.
            let pushed = count * SIZE as u64;
            assert!(
                pushed <= bound as u64 + (64 << 10) + SIZE as u64 + KERNEL,
                "{pushed} bytes"
            );
            take(&to_alice, 0, count);
        }
    });
}

/// What comes when the last handle is dropped, and before the connection is over, may be in the channel.
#[test]
fn the_queue_is_bounded_in_bytes_also_where_only_its_receiver_is_left() {
    test(|| {
        const SIZE: usize = 100_000;
        for has_begun in [false, true] {
            let bob = bind(builder().receive_queue_bytes(3 * SIZE));
            let mut socket = raw_offer(&bob);
            let to_socket = bob.accept::<Bytes>().unwrap();
            let receiver = to_socket.receiver().clone();
            // This remote takes no notice of the end.
            let header = format!("DATA|data_size={SIZE}&data_type=bytes");
            let mut message = format!("{header:|<128}").into_bytes();
            message.resize(128 + SIZE, 0);
            if has_begun {
                socket.write_all(&message).unwrap();
                eventually("a message", || !receiver.is_empty());
            }
            drop(to_socket);
            let written = (0..50).take_while(|_| socket.write_all(&message).is_ok());
            println!("{} more messages written", written.count());
            let _ = socket.shutdown(Shutdown::Write);
            eventually("the end", || bob.connections().is_empty());
            let queued = receiver.iter().count();
            assert!(
                (usize::from(has_begun)..=3).contains(&queued),
                "{queued} messages"
            );
        }
    });
}

#[test]
fn a_message_larger_than_the_byte_bound_comes_through() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) =
            pair_of::<Bytes>(builder(), builder().receive_queue_bytes(1000));
        let sending = Call::start("send", move || {
            for number in 0..20 {
                to_bob.send(&numbered(number, 300_000)).unwrap();
            }
            to_bob.close().unwrap();
        });
        take(&to_alice, 0, 20);
        sending.finish();
    });
}

#[test]
fn memory_stays_bounded_whatever_is_sent() {
    alone("receiving::memory_stays_bounded_whatever_is_sent", || {
        const CONNECTIONS: usize = 16;
        const SIZE: usize = 256 << 10;
        const QUEUES: usize = 1 << 20;
        let alice = bind(builder().send_queue(QUEUES));
        let bob = bind(
            builder()
                .receive_queue(1_000_000)
                .receive_queue_bytes(QUEUES),
        );
        let ends: Vec<_> = (0..CONNECTIONS)
            .map(|_| link::<Bytes>(&alice, &bob))
            .collect();
        let before = memory();
        let filling: Vec<_> = ends
            .iter()
            .map(|(to_bob, _)| {
                let to_bob = to_bob.clone();
                Call::start("fill", move || fill(&to_bob, 0, SIZE))
            })
            .collect();
        let counts: Vec<_> = filling.into_iter().map(Call::finish).collect();
        let grown = memory().saturating_sub(before);
        // Both sides are in this process. Each may hold its queue, the message
        // over it, one in hand, and buffers that grew by doubling.
        let bound = CONNECTIONS * (2 * QUEUES + 4 * SIZE) * 2;
        assert!(
            grown < bound,
            "{grown} bytes more, {bound} expected at most"
        );
        for ((_, to_alice), count) in ends.iter().zip(counts) {
            take(to_alice, 0, count);
        }
    });
}

// ---------------------------------------------------------------- the end

/// Sends 500 messages, ends the connection with `end`, and takes them only
/// after Bob's side knows of the end as far as it can.
#[track_caller]
fn all_before_the_end(
    receive_queue: usize,
    expected: CloseReason,
    end: impl FnOnce(&lanpeer::Peer, Connection<Bytes>) + Send + 'static,
) {
    const COUNT: u64 = 500;
    let (alice, _bob, to_bob, to_alice) =
        pair_of::<Bytes>(builder(), builder().receive_queue(receive_queue));
    for number in 0..COUNT {
        to_bob.send(&numbered(number, 100)).unwrap();
    }
    let ending = Call::start("the end", move || end(&alice, to_bob));
    if receive_queue as u64 >= COUNT {
        eventually("Bob's side knows", || to_alice.close_reason().is_some());
        assert_eq!(to_alice.stats().receive_queue_messages as u64, COUNT);
    }
    take(&to_alice, 0, COUNT);
    assert!(to_alice.recv().is_err());
    assert!(matches!(
        to_alice.try_recv(),
        Err(TryRecvError::Disconnected)
    ));
    assert_eq!(to_alice.close_reason(), Some(expected));
    ending.finish();
}

#[test]
fn what_came_before_a_close_is_delivered_after_it() {
    test(|| {
        for queue in [1000, 4] {
            all_before_the_end(queue, CloseReason::ClosedThere, |_, to_bob| {
                to_bob.close().unwrap();
            });
        }
    });
}

#[test]
fn what_came_before_a_drop_is_delivered_after_it() {
    test(|| {
        for queue in [1000, 4] {
            all_before_the_end(queue, CloseReason::ClosedThere, |_, to_bob| drop(to_bob));
        }
    });
}

#[test]
fn what_came_before_a_stop_is_delivered_after_it() {
    test(|| {
        for queue in [1000, 4] {
            all_before_the_end(queue, CloseReason::ClosedThere, |alice, _| alice.stop());
        }
    });
}

#[test]
fn what_came_before_an_abort_is_delivered_after_it() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        for number in 0..50 {
            to_bob.send(&numbered(number, 100)).unwrap();
        }
        // What Bob's side has taken in is his, whatever comes after.
        eventually("all arrived", || {
            to_alice.stats().receive_queue_messages == 50
        });
        to_bob.abort();
        eventually("Bob's side knows", || to_alice.close_reason().is_some());
        take(&to_alice, 0, 50);
        assert!(to_alice.recv().is_err());
        assert_eq!(to_alice.close_reason(), Some(CloseReason::Reset));
    });
}

#[test]
fn what_comes_during_the_own_close_can_still_be_received() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) =
            pair_of::<Bytes>(builder(), builder().receive_queue(4));
        for number in 0..200 {
            to_bob.send(&numbered(number, 100)).unwrap();
        }
        let closing = Call::start("close", {
            let to_alice = to_alice.clone();
            move || to_alice.close()
        });
        take(&to_alice, 0, 200);
        assert!(to_alice.recv().is_err());
        closing.finish().unwrap();
        assert_eq!(to_alice.close_reason(), Some(CloseReason::ClosedHere));
    });
}

// --------------------------------------------------------- ways of waiting

#[test]
fn the_receive_calls_say_why_they_return_nothing() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        assert!(matches!(to_alice.try_recv(), Err(TryRecvError::Empty)));
        let start = Instant::now();
        let timeout = Duration::from_millis(60);
        assert!(matches!(
            to_alice.recv_timeout(timeout),
            Err(RecvTimeoutError::Timeout)
        ));
        assert!(start.elapsed() >= timeout);
        to_bob.close().unwrap();
        assert!(to_alice.recv().is_err());
        assert!(matches!(
            to_alice.try_recv(),
            Err(TryRecvError::Disconnected)
        ));
        assert!(matches!(
            to_alice.recv_timeout(SOON),
            Err(RecvTimeoutError::Disconnected)
        ));
    });
}

#[test]
fn iterators_end_with_the_connection() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        let send = |range: std::ops::Range<u64>| {
            for number in range {
                to_bob.send(&numbered(number, 10)).unwrap();
            }
        };
        send(0..3);
        eventually("all three", || to_alice.stats().receive_queue_messages == 3);
        // What is there, without waiting.
        let there: Vec<_> = to_alice
            .try_iter()
            .map(|message| number_of(&message))
            .collect();
        assert_eq!(there, [0, 1, 2]);
        assert_eq!(to_alice.try_iter().count(), 0);

        send(3..6);
        let some: Vec<_> = to_alice
            .iter()
            .take(3)
            .map(|message| number_of(&message))
            .collect();
        assert_eq!(some, [3, 4, 5]);
        let rest = Call::start("the iterator", {
            let to_alice = to_alice.clone();
            move || {
                let mut numbers = Vec::new();
                for message in &to_alice {
                    numbers.push(number_of(&message));
                }
                numbers
            }
        });
        send(6..9);
        rest.wait_until_blocked();
        to_bob.close().unwrap();
        assert_eq!(rest.finish(), [6, 7, 8]);
    });
}

#[test]
fn each_message_goes_to_one_of_several_receivers() {
    test(|| {
        const COUNT: u64 = 2000;
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        let receiving: Vec<_> = (0..4)
            .map(|_| {
                let to_alice = to_alice.clone();
                Call::start("recv", move || {
                    let numbers: Vec<_> =
                        to_alice.iter().map(|message| number_of(&message)).collect();
                    assert!(
                        numbers.windows(2).all(|two| two[0] < two[1]),
                        "out of order"
                    );
                    numbers
                })
            })
            .collect();
        for number in 0..COUNT {
            to_bob.send(&numbered(number, 20)).unwrap();
        }
        to_bob.close().unwrap();
        let mut all: Vec<_> = receiving.into_iter().flat_map(Call::finish).collect();
        all.sort();
        assert_eq!(all, (0..COUNT).collect::<Vec<_>>());
    });
}

#[test]
fn one_thread_selects_over_many_connections() {
    test(|| {
        const CONNECTIONS: usize = 30;
        const EACH: u64 = 60;
        let (alice, bob) = (peer(), peer());
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..CONNECTIONS)
            .map(|_| link::<Bytes>(&alice, &bob))
            .unzip();
        let sending = Call::start("send", move || {
            for number in 0..EACH {
                for to_bob in &senders {
                    to_bob.send(&numbered(number, 50)).unwrap();
                }
            }
            for to_bob in senders {
                to_bob.close().unwrap();
            }
        });

        let mut select = Select::new();
        let mut open: HashMap<_, _> = receivers
            .iter()
            .map(|end| (select.recv(end.receiver()), (end, 0)))
            .collect();
        while !open.is_empty() {
            let ready = select.select_timeout(SOON).expect("something to receive");
            let index = ready.index();
            let (end, next) = open.get_mut(&index).expect("one that is open");
            match ready.recv(end.receiver()) {
                Ok(message) => {
                    assert_eq!(number_of(&message), *next);
                    *next += 1;
                }
                Err(_) => {
                    assert_eq!(*next, EACH);
                    assert_eq!(end.close_reason(), Some(CloseReason::ClosedThere));
                    open.remove(&index);
                    select.remove(index);
                }
            }
        }
        sending.finish();
    });
}

#[test]
fn select_takes_connections_offers_and_whatever_else() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (to_bob, to_alice) = link::<Bytes>(&alice, &bob);
        let mut quit = never::<()>();
        let calling = Call::start("connect", {
            let (alice, addr) = (alice.clone(), bob.local_addr());
            move || alice.connect::<Bytes>(addr).unwrap()
        });
        to_bob.send(b"hello").unwrap();
        let offers = bob.offers();
        let (mut heard, mut accepted) = (0, Vec::new());
        while heard == 0 || accepted.is_empty() {
            select! {
                recv(to_alice.receiver()) -> message => {
                    assert_eq!(message.unwrap(), b"hello");
                    heard += 1;
                }
                recv(offers) -> offer => accepted.push(offer.unwrap().accept::<Bytes>().unwrap()),
                recv(quit) -> _ => unreachable!(),
                default(SOON) => panic!("neither a message nor an offer"),
            }
            quit = never();
        }
        let _ = calling.finish();
    });
}

/// A blocked `recv` that `end` has to wake.
#[track_caller]
fn wakes_recv(
    expected: CloseReason,
    end: impl FnOnce(lanpeer::Peer, &lanpeer::Peer, Connection<Bytes>, &Connection<Bytes>),
) {
    let (alice, bob, to_bob, to_alice) = pair::<Bytes>();
    let calls = [
        Call::start("recv", {
            let to_alice = to_alice.clone();
            move || to_alice.recv().is_err()
        }),
        Call::start("recv_timeout", {
            let to_alice = to_alice.clone();
            move || to_alice.recv_timeout(10 * SOON) == Err(RecvTimeoutError::Disconnected)
        }),
        Call::start("the iterator", {
            let to_alice = to_alice.clone();
            move || to_alice.iter().next().is_none()
        }),
    ];
    for call in &calls {
        call.wait_until_blocked();
    }
    end(alice, &bob, to_bob, &to_alice);
    for call in calls {
        assert!(call.finish());
    }
    assert_eq!(to_alice.close_reason(), Some(expected));
}

#[test]
fn every_end_wakes_a_blocked_recv() {
    test(|| {
        wakes_recv(CloseReason::ClosedThere, |_, _, to_bob, _| {
            to_bob.close().unwrap()
        });
        wakes_recv(CloseReason::ClosedThere, |_, _, to_bob, _| drop(to_bob));
        wakes_recv(CloseReason::ClosedThere, |alice, _, _, _| alice.stop());
        wakes_recv(CloseReason::ClosedThere, |alice, _, _, _| drop(alice));
        wakes_recv(CloseReason::Reset, |_, _, to_bob, _| to_bob.abort());
        wakes_recv(CloseReason::ClosedHere, |_, _, _, to_alice| {
            to_alice.close().unwrap()
        });
        wakes_recv(CloseReason::Aborted, |_, _, _, to_alice| to_alice.abort());
        wakes_recv(CloseReason::Stopped, |_, bob, _, _| bob.stop());
    });
}

// ----------------------------------------------------------- dead or slow

/// The shortest silence after which a remote can count as dead.
const KEEPALIVE: Duration = Duration::from_secs(4);

#[test]
fn a_slow_consumer_that_pauses_is_not_a_dead_remote() {
    test(|| {
        // The shortest keepalive there is, and a pause twice as long: the
        // sender's own wait for room.
        let short = || builder().keepalive(Some(KEEPALIVE));
        let (_alice, _bob, to_bob, to_alice) =
            pair_of::<Bytes>(short().send_queue(64 << 10), short().receive_queue(4));
        const SIZE: usize = 16 << 10;
        let count = fill(&to_bob, 0, SIZE);
        let paused = to_bob.send_timeout(&numbered(count, SIZE), 2 * KEEPALIVE);
        assert!(matches!(paused, Err(SendError::Timeout)), "{paused:?}");
        assert_eq!(to_bob.close_reason(), None);
        assert_eq!(to_alice.close_reason(), None);
        take(&to_alice, 0, count);
        to_bob.send(&numbered(count, SIZE)).unwrap();
        take(&to_alice, count, 1);
        to_bob.close().unwrap();
    });
}

/// A remote that was accepted and then fell silent for good, as if its cable
/// had been pulled: every packet to its socket is dropped, so the kernel
/// acknowledges nothing more.
#[cfg(target_os = "linux")]
fn dead_remote(bob: &lanpeer::Peer) -> (std::net::TcpStream, Connection<Bytes>) {
    use std::io::Read;
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K: how many bytes of the packet to keep
    let mut socket = raw_offer(bob);
    let offer = bob.offers().recv_timeout(SOON).expect("an offer");
    let to_remote = offer.accept::<Bytes>().expect("accepted");
    socket.read_exact(&mut [0; 128]).expect("ACCEPT");
    socket2::SockRef::from(&socket)
        .attach_filter(&[socket2::SockFilter::new(RETURN, 0, 0, 0)])
        .expect("a filter that keeps nothing");
    (socket, to_remote)
}

#[test]
#[cfg(target_os = "linux")]
fn dead_remotes_are_noticed() {
    test(|| {
        let bob = bind(builder().keepalive(Some(KEEPALIVE)));
        let patient = bind(builder().keepalive(None));
        // One that is idle, one with something underway that nobody acknowledges.
        let (_idle_socket, idle) = dead_remote(&bob);
        let (_busy_socket, busy) = dead_remote(&bob);
        let (_forgotten_socket, forgotten) = dead_remote(&patient);
        busy.send(b"is anybody there?").unwrap();
        let start = Instant::now();
        for end in [&idle, &busy] {
            assert_eq!(end.recv_timeout(SOON), Err(RecvTimeoutError::Disconnected));
            assert_eq!(end.close_reason(), Some(CloseReason::TimedOut));
        }
        assert!(
            start.elapsed() < 3 * KEEPALIVE,
            "noticed only after {:?}",
            start.elapsed()
        );
        // Without keepalive nobody asks, so nobody can know.
        assert_eq!(forgotten.close_reason(), None);
        forgotten.abort();
    });
}

/// The system's own bounds are narrower than the option's.
#[test]
fn the_longest_keepalive_is_one_that_the_system_takes() {
    test(|| {
        let day = || builder().keepalive(Some(Duration::from_secs(24 * 3600)));
        let (_alice, _bob, to_bob, to_alice) = pair_of::<Bytes>(day(), day());
        to_bob.send(&numbered(0, 8)).unwrap();
        take(&to_alice, 0, 1);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn an_idle_remote_is_not_a_dead_one() {
    test(|| {
        let short = || builder().keepalive(Some(KEEPALIVE));
        let (_alice, _bob, to_bob, to_alice) = pair_of::<Bytes>(short(), short());
        assert_eq!(
            to_alice.recv_timeout(2 * KEEPALIVE),
            Err(RecvTimeoutError::Timeout)
        );
        to_bob.send(&numbered(0, 8)).unwrap();
        take(&to_alice, 0, 1);
    });
}

#[test]
fn a_slow_consumer_gets_all_of_it_in_the_end() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair_of::<Bytes>(
            builder().send_queue(32 << 10),
            builder().receive_queue(2).receive_queue_bytes(10_000),
        );
        const COUNT: u64 = 1500;
        let sending = Call::start("send", move || {
            for number in 0..COUNT {
                to_bob.send(&numbered(number, 3000)).unwrap();
            }
            to_bob.close().unwrap();
        });
        for number in 0..COUNT {
            if number % 100 == 0 {
                // Falls behind on purpose: this is what is tested, not waited for.
                thread::sleep(Duration::from_millis(10));
            }
            take(&to_alice, number, 1);
        }
        sending.finish();
    });
}

/// Threads that look for messages instead of sleeping see the same ones, the same ends, and stop
/// looking when nothing comes.
#[test]
fn spinning_changes_nothing_but_the_time() {
    alone("receiving::spinning_changes_nothing_but_the_time", || {
        let spinning = || builder().spin(Duration::from_millis(1));
        let (_alice, _bob, to_bob, to_alice) = pair_of::<Bytes>(spinning(), spinning());
        let echo = Call::start("echo", move || {
            for message in &to_alice {
                to_alice.send(&message).unwrap();
            }
            to_alice.close_reason()
        });
        for number in 0..500 {
            to_bob.send(&numbered(number, 64)).unwrap();
            take(&to_bob, number, 1);
        }
        assert_eq!(
            to_bob.recv_timeout(Duration::from_millis(20)),
            Err(RecvTimeoutError::Timeout)
        );
        // Idle now: nobody looks any more.
        let before = processor_time();
        thread::sleep(Duration::from_millis(300));
        let spent = processor_time() - before;
        assert!(spent <= Duration::from_millis(100), "{spent:?} in 300 ms");
        to_bob.close().unwrap();
        assert_eq!(echo.finish(), Some(CloseReason::ClosedThere));
    });
}

/// The reader may wait for room while the connection is killed and the channel asked for.
#[test]
fn a_channel_asked_for_after_an_abort_holds_nobody_up() {
    test(|| {
        for _ in 0..20 {
            let (_alice, bob, to_bob, to_alice) =
                pair_of::<Bytes>(builder(), builder().receive_queue_bytes(10_000));
            for number in 0..20 {
                to_bob.send(&numbered(number, 2_000)).unwrap();
            }
            eventually("a full queue", || {
                to_alice.stats().receive_queue_messages >= 4
            });
            to_alice.abort();
            let messages = to_alice.receiver();
            let ended = |event: &Event| matches!(event, Event::Closed { .. });
            let events = bob.events();
            let end = std::iter::from_fn(|| events.recv_timeout(SOON).ok()).find(ended);
            assert!(end.is_some(), "the reader has not ended");
            assert_eq!(messages.iter().count(), 4);
        }
    });
}

#[test]
fn spinning_ends_at_the_deadline() {
    test(|| {
        let spinning = || builder().spin(Duration::from_millis(10));
        let (_alice, _bob, _to_bob, to_alice) = pair_of::<Bytes>(spinning(), spinning());
        let waits = (0..20).map(|_| {
            let begin = Instant::now();
            let none = to_alice.recv_timeout(Duration::from_micros(100));
            assert_eq!(none, Err(RecvTimeoutError::Timeout));
            begin.elapsed()
        });
        // The quickest: a busy machine makes the others late.
        let quickest = waits.min().unwrap();
        assert!(quickest < Duration::from_millis(10), "{quickest:?}");
    });
}

/// Memory follows what waits, not what might.
#[test]
fn a_channel_of_any_queue_that_bind_accepts_is_a_channel() {
    test(|| {
        for limit in [
            1,
            4096,
            1 << 16,
            (1 << 16) + 1,
            usize::MAX >> 24,
            usize::MAX,
        ] {
            let alice = Peer::bind("127.0.0.1:0").unwrap();
            let builder = Peer::builder();
            let builder = builder.receive_queue(limit).receive_queue_bytes(usize::MAX);
            let bob = builder.send_queue(usize::MAX).bind("127.0.0.1:0").unwrap();
            let addr = bob.local_addr();
            let connecting = std::thread::spawn(move || (alice.connect::<Bytes>(addr), alice));
            let from_alice = bob.accept::<Bytes>().unwrap();
            let (to_bob, _alice) = connecting.join().unwrap();
            let to_bob = to_bob.unwrap();
            let receiver = from_alice.receiver();
            for number in 0..100_u8 {
                to_bob.send(&[number]).unwrap();
            }
            for number in 0..100_u8 {
                assert_eq!(receiver.recv_timeout(SOON), Ok(vec![number]), "{limit}");
            }
            from_alice.send(b"back").unwrap();
            assert_eq!(to_bob.recv_timeout(SOON).unwrap(), b"back");
        }
    });
}

/// Lets messages from the fourth on be decoded.
static LET_ON: AtomicBool = AtomicBool::new(false);

/// Its decoding takes a moment; from the fourth on it waits until the test says so.
struct Slow(u32);

impl<'de> serde::Deserialize<'de> for Slow {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(from)?;
        thread::sleep(Duration::from_millis(1));
        if number >= 4 {
            eventually("the first was received", || LET_ON.load(Ordering::SeqCst));
        }
        Ok(Slow(number))
    }
}

#[test]
fn a_message_waits_for_few_others_whose_decoding_is_slow() {
    test(|| {
        for has_deadline in [false, true] {
            LET_ON.store(false, Ordering::SeqCst);
            let (alice, bob) = (peer(), peer());
            let (to_bob, to_alice) =
                link_as::<Json<u32>, Json<Slow>>(&ConnectOptions::new(), &alice, &bob);
            let receiving = to_alice.clone();
            let first = Call::start("receive", move || match has_deadline {
                true => receiving.recv_timeout(SOON).unwrap().0,
                false => receiving.recv().unwrap().0,
            });
            first.wait_until_blocked();
            (0..40).for_each(|number| to_bob.send(&number).unwrap());
            assert_eq!(first.finish(), 0);
            LET_ON.store(true, Ordering::SeqCst);
            for number in 1..40 {
                assert_eq!(next(&to_alice).0, number);
            }
        }
    });
}

#[test]
fn a_program_that_reads_for_itself_reads_no_more_ahead_than_may_wait() {
    test(|| {
        for _ in 0..20 {
            let (_alice, _bob, to_bob, to_alice) =
                pair_of::<Json<String>>(builder(), builder().receive_queue_bytes(1000));
            let receiving = to_alice.clone();
            let first = Call::start("receive", move || receiving.recv().unwrap());
            first.wait_until_blocked();
            let texts = ["x".to_owned(), "y".repeat(300), "z".repeat(16_000)];
            texts.iter().for_each(|text| to_bob.send(text).unwrap());
            assert_eq!(first.finish(), texts[0]);
            // The third is larger than what may wait, so it waits alone.
            assert!(to_alice.stats().receive_queue_messages <= 1);
            assert_eq!(next(&to_alice), texts[1]);
            assert_eq!(next(&to_alice), texts[2]);
        }
    });
}
