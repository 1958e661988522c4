//! Streams: all messages of one size, named in the offer or by the first
//! message, in both directions.

use std::sync::{Arc, Barrier};

use lanpeer::{
    Bytes, CloseReason, ConnectOptions, Connection, Error, Format, Json, Peer, Raw, SendError,
};

use crate::peers::*;

/// Two peers' ends of a stream of `size` bytes, or of the first message's size.
fn stream<F: Format + 'static>(size: Option<usize>) -> (Connection<F>, Connection<F>, Peers) {
    let (alice, bob) = (peer(), peer());
    let (to_bob, to_alice) = stream_between(size, &alice, &bob);
    (to_bob, to_alice, (alice, bob))
}

/// [`stream`] between two peers that are there already.
fn stream_between<F: Format + 'static>(
    size: Option<usize>,
    alice: &Peer,
    bob: &Peer,
) -> (Connection<F>, Connection<F>) {
    let options = match size {
        Some(size) => ConnectOptions::new().stream_of(size),
        None => ConnectOptions::new().stream(),
    };
    link_as::<F, F>(&options, alice, bob)
}

type Peers = (Peer, Peer);

/// Sends `count` messages each way, all of them underway at the same time.
fn exchange(to_bob: &Connection<Bytes>, to_alice: &Connection<Bytes>, count: u64, size: usize) {
    let sending: Vec<_> = [to_bob, to_alice]
        .into_iter()
        .map(|end| {
            let end = end.clone();
            Call::start("send", move || {
                for number in 0..count {
                    end.send(&numbered(number, size)).unwrap();
                }
            })
        })
        .collect();
    let taking = Call::start("take", {
        let to_bob = to_bob.clone();
        move || take(&to_bob, 0, count)
    });
    take(to_alice, 0, count);
    taking.finish();
    for call in sending {
        call.finish();
    }
}

#[test]
fn a_size_named_in_the_offer_holds_in_both_directions() {
    test(|| {
        for size in [8, 128, 129, 1000, 100_000] {
            let (to_bob, to_alice, _peers) = stream::<Bytes>(Some(size));
            exchange(&to_bob, &to_alice, 100, size);
        }
    });
}

#[test]
fn the_first_message_names_the_size() {
    test(|| {
        for size in [8, 128, 129, 1000, 100_000] {
            let (to_bob, to_alice, _peers) = stream::<Bytes>(None);
            exchange(&to_bob, &to_alice, 100, size);
        }
    });
}

#[test]
fn a_stream_of_many_messages() {
    test(|| {
        let (to_bob, to_alice, _peers) = stream::<Bytes>(None);
        exchange(&to_bob, &to_alice, 20_000, 24);
        let (to_bob, to_alice, _peers) = stream::<Bytes>(Some(24));
        exchange(&to_bob, &to_alice, 20_000, 24);
        // The end of a stream is an end like any other.
        to_bob.send(&numbered(1, 24)).unwrap();
        to_bob.close().unwrap();
        take(&to_alice, 1, 1);
        assert!(to_alice.recv().is_err());
        assert_eq!(to_alice.close_reason(), Some(CloseReason::ClosedThere));
    });
}

/// Checks that `send` refused the message because of its size.
#[track_caller]
fn assert_wrong_size(result: Result<(), SendError>, got: usize, agreed: usize) {
    match result {
        Err(SendError::WrongSize { size, stream }) => assert_eq!((size, stream), (got, agreed)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_size_is_refused_before_anything_is_written() {
    test(|| {
        let (to_bob, to_alice, _peers) = stream::<Bytes>(Some(16));
        for end in [&to_bob, &to_alice] {
            for size in [0, 8, 15, 17, 10_000] {
                let message = numbered(99, size);
                assert_wrong_size(end.send(&message), size, 16);
                assert_wrong_size(end.try_send(&message), size, 16);
                assert_wrong_size(end.send_timeout(&message, SOON), size, 16);
            }
        }
        exchange(&to_bob, &to_alice, 10, 16);
        assert_eq!(to_alice.stats().messages_received, 10);
        assert_eq!(to_alice.stats().bytes_received, 160);
    });
}

#[test]
fn another_size_than_the_first_messages_is_refused() {
    test(|| {
        let (to_bob, to_alice, _peers) = stream::<Bytes>(None);
        to_bob.send(&numbered(0, 16)).unwrap();
        assert_wrong_size(to_bob.send(&numbered(1, 17)), 17, 16);
        take(&to_alice, 0, 1);
        // It is the size of the answers too.
        assert_wrong_size(to_alice.send(&numbered(0, 15)), 15, 16);
        exchange(&to_bob, &to_alice, 10, 16);
    });
}

#[test]
fn a_stream_has_no_empty_messages() {
    test(|| {
        let (to_bob, to_alice, _peers) = stream::<Bytes>(None);
        let empty = to_bob.send(b"");
        assert!(
            matches!(empty, Err(SendError::WrongSize { size: 0, .. })),
            "{empty:?}"
        );
        exchange(&to_bob, &to_alice, 3, 8);
    });
}

#[test]
fn first_messages_may_cross() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        for _ in 0..50 {
            let (to_bob, to_alice) = stream_between::<Bytes>(None, &alice, &bob);
            let start = Arc::new(Barrier::new(2));
            let sending: Vec<_> = [&to_bob, &to_alice]
                .into_iter()
                .map(|end| {
                    let (end, start) = (end.clone(), start.clone());
                    Call::start("send", move || {
                        start.wait();
                        end.send(&numbered(0, 40)).unwrap();
                        end.send(&numbered(1, 40)).unwrap();
                    })
                })
                .collect();
            take(&to_alice, 0, 2);
            take(&to_bob, 0, 2);
            for call in sending {
                call.finish();
            }
        }
    });
}

#[test]
fn first_messages_that_cross_and_disagree_are_never_misread() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        for _ in 0..50 {
            let (to_bob, to_alice) = stream_between::<Bytes>(None, &alice, &bob);
            let start = Arc::new(Barrier::new(2));
            let send = |end: &Connection<Bytes>, size| {
                let (end, start) = (end.clone(), start.clone());
                Call::start("send", move || {
                    start.wait();
                    end.send(&numbered(0, size))
                })
            };
            let (eight, nine) = (send(&to_bob, 8), send(&to_alice, 9));
            match (eight.finish(), nine.finish()) {
                // One was first: the other one heard of it in time.
                (Ok(()), Err(SendError::WrongSize { size: 9, stream: 8 })) => take(&to_alice, 0, 1),
                (Err(SendError::WrongSize { size: 8, stream: 9 }), Ok(())) => take(&to_bob, 0, 1),
                // Both were, or one ended the other: it is over on both sides,
                // and neither got a message of the wrong size.
                (Ok(()) | Err(SendError::Closed(_)), Ok(()) | Err(SendError::Closed(_))) => {
                    for (end, own) in [(&to_bob, 8), (&to_alice, 9)] {
                        eventually("the end", || end.close_reason().is_some());
                        assert!(end.try_iter().all(|message| message.len() == own));
                    }
                    let saw = [to_bob.close_reason(), to_alice.close_reason()];
                    assert!(
                        saw.iter()
                            .any(|reason| matches!(reason, Some(CloseReason::Malformed(_)))),
                        "{saw:?}"
                    );
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn json_and_raw_can_stream_too() {
    test(|| {
        let (to_bob, to_alice, _peers) = stream::<Json<[u8; 3]>>(None);
        to_bob.send(&[1, 2, 3]).unwrap();
        to_bob.send(&[4, 5, 6]).unwrap();
        assert_eq!(to_alice.recv_timeout(SOON).unwrap(), [1, 2, 3]);
        assert_eq!(to_alice.recv_timeout(SOON).unwrap(), [4, 5, 6]);
        let refused = to_alice.send(&[10, 11, 12]);
        assert!(
            matches!(refused, Err(SendError::WrongSize { .. })),
            "{refused:?}"
        );
        to_alice.send(&[7, 8, 9]).unwrap();
        assert_eq!(to_bob.recv_timeout(SOON).unwrap(), [7, 8, 9]);

        // A float is 9 bytes of MessagePack, whatever its value.
        let (to_bob, to_alice, _peers) = stream::<Raw<f64>>(Some(9));
        for value in [0.0, f64::MAX, -1.5] {
            to_bob.send(&value).unwrap();
            assert_eq!(to_alice.recv_timeout(SOON).unwrap(), value);
        }
    });
}

#[test]
fn a_stream_of_nothing_is_no_stream() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let refused = ConnectOptions::new()
            .stream_of(0)
            .connect::<Bytes>(&alice, bob.local_addr());
        assert!(matches!(refused, Err(Error::InvalidOption { .. })));
        // Nor is one whose messages this side would refuse.
        let small = bind(builder().max_message_size(1000));
        let refused = ConnectOptions::new()
            .stream_of(1001)
            .connect::<Bytes>(&small, bob.local_addr());
        assert!(matches!(refused, Err(Error::InvalidOption { .. })));
        assert!(bob.offers().is_empty());
    });
}

#[test]
fn a_stream_over_the_other_sides_limit_never_begins_or_ends_at_once() {
    test(|| {
        let (alice, bob) = (peer(), bind(builder().max_message_size(1000)));
        // Named in the offer: denied without asking the program.
        let refused = ConnectOptions::new()
            .stream_of(1001)
            .connect::<Bytes>(&alice, bob.local_addr());
        assert!(matches!(refused, Err(Error::Denied { .. })));

        // Named by the first message: a message over the limit like any other.
        let options = ConnectOptions::new().stream();
        let (to_bob, to_alice) = link_as::<Bytes, Bytes>(&options, &alice, &bob);
        to_bob.send(&numbered(0, 1001)).unwrap();
        eventually("the end", || to_alice.close_reason().is_some());
        assert_eq!(
            to_alice.close_reason(),
            Some(CloseReason::TooLarge {
                size: 1001,
                limit: 1000
            })
        );
    });
}
