//! A program that waits for messages reads for itself: whatever happens meanwhile, it gets the same
//! messages and the same ends as from the reader thread.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lanpeer::{
    Bytes, CloseReason, Connection, DataType, Json, Peer, Raw, RecvError, RecvTimeoutError,
    TryRecvError,
};
use serde::{Deserialize, Deserializer};

use crate::peers::*;

/// A thread that has received a message, and waits for the next: it reads.
fn reading(conn: &Connection<Bytes>, other: &Connection<Bytes>) -> Call<Option<Vec<u8>>> {
    let call = Call::start("recv", {
        let conn = conn.clone();
        move || {
            conn.recv().expect("the first message");
            conn.recv().ok()
        }
    });
    other.send("the first").unwrap();
    eventually("the first message", || {
        conn.stats().messages_received > 0 && conn.stats().receive_queue_messages == 0
    });
    call.wait_until_blocked();
    call
}

fn is_woken(
    expected: CloseReason,
    end: impl FnOnce(Peer, &Peer, Connection<Bytes>, &Connection<Bytes>),
) {
    let (alice, bob, to_bob, to_alice) = pair::<Bytes>();
    let call = reading(&to_alice, &to_bob);
    end(alice, &bob, to_bob, &to_alice);
    assert_eq!(call.finish(), None);
    assert_eq!(to_alice.close_reason(), Some(expected));
}

#[test]
fn every_end_is_seen() {
    test(|| {
        is_woken(CloseReason::ClosedThere, |_, _, to_bob, _| {
            to_bob.close().unwrap()
        });
        is_woken(CloseReason::ClosedThere, |_, _, to_bob, _| drop(to_bob));
        is_woken(CloseReason::ClosedThere, |alice, _, _, _| alice.stop());
        is_woken(CloseReason::Reset, |_, _, to_bob, _| to_bob.abort());
        is_woken(CloseReason::ClosedHere, |_, _, _, to_alice| {
            to_alice.close().unwrap()
        });
        is_woken(CloseReason::Aborted, |_, _, _, to_alice| to_alice.abort());
        is_woken(CloseReason::Stopped, |_, bob, _, _| bob.stop());
    });
}

/// Also at the moment at which the program begins to read.
#[test]
fn an_abort_is_seen_whenever_it_comes() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        for round in 0..200 {
            let (to_bob, to_alice) = link::<Bytes>(&alice, &bob);
            let waiting = Arc::new(AtomicBool::new(false));
            let call = Call::start("recv", {
                let (to_alice, waiting) = (to_alice.clone(), Arc::clone(&waiting));
                move || {
                    waiting.store(true, Ordering::SeqCst);
                    to_alice.iter().count()
                }
            });
            while !waiting.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_micros(round % 50) {}
            to_alice.abort();
            assert_eq!(call.finish(), 0);
            assert_eq!(ended(&to_bob), CloseReason::Reset);
        }
    });
}

#[test]
fn a_program_that_does_something_else_is_read_for() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        let call = reading(&to_alice, &to_bob);
        for number in 0..100 {
            to_bob.send(&numbered(number, 50)).unwrap();
        }
        assert_eq!(number_of(&call.finish().expect("a message")), 0);
        eventually("the others in the queue", || {
            to_alice.stats().receive_queue_messages == 99
        });
        take(&to_alice, 1, 99);
    });
}

#[test]
fn what_was_read_with_a_message_is_there_at_once() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        let call = reading(&to_alice, &to_bob);
        for number in 0..100 {
            to_bob.send(&numbered(number, 50)).unwrap();
        }
        to_bob.close().unwrap(); // Bob's side has taken in everything
        assert_eq!(number_of(&call.finish().expect("a message")), 0);
        let there = to_alice.try_iter().map(|message| number_of(&message));
        assert!(there.eq(1..100));
    });
}

#[test]
fn a_drop_with_messages_unread_is_no_polite_end() {
    test(|| {
        let bob = peer();
        let mut remote = raw_offer(&bob);
        let to_remote = bob.accept::<Bytes>().unwrap();
        remote.read_exact(&mut [0; 128]).unwrap();
        let call = Call::start("recv", move || to_remote.recv());
        call.wait_until_blocked();
        // Together, so that one read takes all of them.
        let message = [header(2).as_bytes(), b"hi"].concat();
        remote.write_all(&message.repeat(3)).unwrap();
        assert_eq!(call.finish(), Ok(b"hi".to_vec()));
        let end = remote.read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset));
    });
}

fn header(size: usize) -> String {
    format!("{:|<128}", format!("DATA|data_size={size}&data_type=bytes"))
}

/// What is not all one value is none.
#[test]
fn a_value_that_something_follows_is_not_received() {
    test(|| {
        let bob = peer();
        let mut remote = raw_offer_of(&bob, DataType::Raw);
        let to_remote = bob.accept::<Raw<u8>>().unwrap();
        remote.read_exact(&mut [0; 128]).unwrap();
        let call = Call::start("recv", {
            let to_remote = to_remote.clone();
            move || (to_remote.recv(), to_remote.recv())
        });
        call.wait_until_blocked();
        let header = |size| format!("{:|<128}", format!("DATA|data_size={size}&data_type=raw"));
        let messages = [header(1).as_bytes(), &[5], header(2).as_bytes(), &[6, 7]].concat();
        remote.write_all(&messages).unwrap();
        assert_eq!(call.finish(), (Ok(5), Err(RecvError)));
        let reason = to_remote.close_reason();
        assert!(
            matches!(&reason, Some(CloseReason::Malformed(what)) if what.contains("left over")),
            "{reason:?}"
        );
    });
}

/// Half a large message is no message, and nobody waits for the rest who did not want to.
#[test]
fn deadlines_hold_in_the_middle_of_a_message() {
    test(|| {
        const SIZE: usize = 1 << 20;
        for size in [100, SIZE] {
            let bob = peer();
            let mut remote = raw_offer(&bob);
            let to_remote = bob.accept::<Bytes>().unwrap();
            let call = Call::start("recv", {
                let to_remote = to_remote.clone();
                move || to_remote.recv()
            });
            call.wait_until_blocked();
            let first = [header(2).as_bytes(), b"hi", header(size).as_bytes()].concat();
            remote.write_all(&first).unwrap();
            remote.write_all(&vec![7; size / 2]).unwrap();
            assert_eq!(call.finish(), Ok(b"hi".to_vec()));
            for _ in 0..10 {
                assert_eq!(to_remote.try_recv(), Err(TryRecvError::Empty));
            }
            assert_eq!(
                to_remote.recv_timeout(Duration::from_millis(20)),
                Err(RecvTimeoutError::Timeout)
            );
            remote.write_all(&vec![7; size - size / 2]).unwrap();
            assert_eq!(to_remote.recv().unwrap(), vec![7; size]);
        }
    });
}

#[test]
fn a_channel_that_is_asked_for_meanwhile_gets_what_comes() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        let call = reading(&to_alice, &to_bob);
        let messages = to_alice.receiver();
        for number in 0..100 {
            to_bob.send(&numbered(number, 50)).unwrap();
        }
        to_bob.close().unwrap();
        let one = number_of(&call.finish().expect("one of them"));
        let mut numbers: Vec<_> = messages.iter().map(|message| number_of(&message)).collect();
        assert!(numbers.is_sorted());
        numbers.push(one);
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..100));
    });
}

/// The library takes in what comes, as far as its queue goes: the other side's `close` does not wait
/// for a program that is busy with each message.
#[test]
fn a_slow_program_is_read_ahead_for() {
    test(|| {
        const COUNT: u64 = 2_000;
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        let taken = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&taken);
        let slow = Call::start("a slow program", move || {
            for number in 0..COUNT {
                assert_eq!(number_of(&to_alice.recv().expect("a message")), number);
                counter.store(number, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
            to_alice.recv().is_err()
        });
        slow.wait_until_blocked();
        for number in 0..COUNT {
            to_bob.send(&numbered(number, 1_000)).unwrap();
        }
        to_bob.close().unwrap();
        // All of it takes the program more than two seconds.
        let taken = taken.load(Ordering::Relaxed);
        assert!(taken < COUNT * 3 / 4, "{taken} before the close returned");
        assert!(slow.finish());
    });
}

/// A message that comes between two looks is found by one of the next.
fn is_found_by_looking(builder: impl Fn() -> lanpeer::PeerBuilder) {
    let (_alice, _bob, to_bob, to_alice) = pair_of::<Bytes>(builder(), builder());
    for number in 0..20 {
        let call = Call::start("recv", {
            let to_alice = to_alice.clone();
            move || to_alice.recv()
        });
        call.wait_until_blocked();
        to_bob.send(&numbered(2 * number, 10)).unwrap();
        assert_eq!(number_of(&call.finish().unwrap()), 2 * number);
        assert_eq!(to_alice.try_recv(), Err(TryRecvError::Empty));
        to_bob.send(&numbered(2 * number + 1, 10)).unwrap();
        let begun = Instant::now();
        let found = std::iter::repeat_with(|| to_alice.try_recv()).find(|found| {
            assert!(begun.elapsed() < SOON, "never found");
            found.is_ok()
        });
        assert_eq!(number_of(&found.unwrap().unwrap()), 2 * number + 1);
    }
}

#[test]
fn what_comes_is_found_by_looking() {
    test(|| is_found_by_looking(builder));
}

#[cfg(feature = "secure")]
#[test]
fn what_comes_encrypted_is_found_by_looking() {
    use lanpeer::Secret;

    test(|| {
        let secret = Secret::random().unwrap();
        is_found_by_looking(|| builder().secret(secret.clone()));
    });
}

/// Headers that announce no message are skipped; they hold nobody who does not wait.
#[test]
fn a_flood_of_nothing_holds_no_look_up() {
    test(|| {
        let bob = peer();
        let mut remote = raw_offer(&bob);
        let to_remote = bob.accept::<Bytes>().unwrap();
        let call = Call::start("recv", {
            let to_remote = to_remote.clone();
            move || to_remote.recv()
        });
        call.wait_until_blocked();
        let first = [header(2).as_bytes(), b"hi"].concat();
        remote.write_all(&first).unwrap();
        assert_eq!(call.finish(), Ok(b"hi".to_vec()));
        // Until the other end is dropped.
        let flood = Call::start("a flood", move || {
            let nothing = format!("{:|<128}", "NOTHING").repeat(512);
            while remote.write_all(nothing.as_bytes()).is_ok() {}
        });
        for _ in 0..1_000 {
            assert_eq!(to_remote.try_recv(), Err(TryRecvError::Empty));
        }
        to_remote.abort();
        flood.finish();
    });
}

struct Panics;

impl<'de> Deserialize<'de> for Panics {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Panics, D::Error> {
        panic!("as a test demands");
    }
}

/// As on the reader thread: it ends the connection, and nothing else.
#[test]
fn a_panic_of_the_programs_own_type_ends_the_connection() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (to_bob, to_alice) =
            link_as::<Json<u8>, Json<Panics>>(&lanpeer::ConnectOptions::new(), &alice, &bob);
        let call = Call::start("recv", {
            let to_alice = to_alice.clone();
            move || to_alice.recv().is_err()
        });
        call.wait_until_blocked();
        to_bob.send(&1).unwrap();
        assert!(call.finish());
        let reason = to_alice.close_reason();
        assert!(
            matches!(&reason, Some(CloseReason::HandlerPanicked(text)) if text.contains("demands")),
            "{reason:?}"
        );
    });
}
