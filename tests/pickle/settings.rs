//! The bounds can be set, and are those of the peer that receives.

use lanpeer::{CloseReason, Dynamic, Error, Raw};
use serde_json::{Value, json};

use super::PEERPY;
use super::common::wire::{End, Wire, data};
use super::common::{builder, ended, receive};

/// [[[None]]]
const DEEP: &[u8] = b"\x80\x04]]]Naaa.";

/// x = [None, None], ten times x = [x, x].
fn wide() -> Vec<u8> {
    let doubled = b"q\x000(h\x00h\x00l".repeat(10);
    [&b"(NNl"[..], &doubled, b"."].concat()
}

#[test]
fn depth() {
    for depth in [0, 129, usize::MAX] {
        match builder().max_pickle_depth(depth).bind("127.0.0.1:0") {
            Err(Error::InvalidOption { option, .. }) => assert_eq!(option, "max_pickle_depth"),
            other => panic!("{:?}", other.map(|peer| peer.local_addr())),
        }
    }
    let bob = builder()
        .max_pickle_depth(3)
        .bind("127.0.0.1:0")
        .expect("bind");
    let (mut wire, conn) = Wire::accepted::<Raw<Value>>(&bob, PEERPY);
    wire.write(&data("raw", DEEP));
    assert_eq!(receive(&conn), json!([[[null]]]));

    let bob = builder()
        .max_pickle_depth(2)
        .bind("127.0.0.1:0")
        .expect("bind");
    let (mut wire, conn) = Wire::accepted::<Raw<Value>>(&bob, PEERPY);
    wire.write(&data("raw", DEEP));
    match ended(&conn) {
        CloseReason::Malformed(words) => assert!(words.contains("more than 2 deep"), "{words}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(wire.end(), End::Reset);
}

#[test]
fn expansion() {
    let bob = builder()
        .max_pickle_expansion(100_000)
        .bind("127.0.0.1:0")
        .expect("bind");
    let (mut wire, conn) = Wire::accepted::<Dynamic>(&bob, PEERPY);
    wire.write(&data("raw", &wide()));
    let message = receive(&conn);
    let error = message
        .decode::<Value>()
        .expect_err("too large")
        .to_string();
    assert!(error.contains("become more than 100000"), "{error}");

    let bob = builder()
        .max_pickle_expansion(200_000)
        .bind("127.0.0.1:0")
        .expect("bind");
    let (mut wire, conn) = Wire::accepted::<Dynamic>(&bob, PEERPY);
    wire.write(&data("raw", &wide()));
    receive(&conn)
        .decode::<Value>()
        .expect("2,047 lists and 2,048 times None");
}

/// What a pickle became fills the receive queue, not the few bytes that it was.
#[test]
fn the_receive_queue_counts_what_pickles_became() {
    let bob = builder()
        .receive_queue_bytes(300_000)
        .bind("127.0.0.1:0")
        .expect("bind");
    let (mut wire, conn) = Wire::accepted::<Raw<Value>>(&bob, PEERPY);
    for _ in 0..40 {
        wire.write(&data("raw", &wide()));
    }
    // It fills up while nobody takes anything.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while conn.stats().receive_queue_messages < 2 {
        assert!(std::time::Instant::now() < deadline, "nothing is queued");
        std::thread::yield_now();
    }
    let all = |conn: &lanpeer::Connection<_>| conn.stats().messages_received == 40;
    let mut most = 0;
    let mut received = 0;
    while !all(&conn) || received < 40 {
        most = most.max(conn.stats().receive_queue_messages);
        receive(&conn);
        received += 1;
    }
    // Each is 131,040 bytes.
    assert!((1..=3).contains(&most), "{most} in the queue");
}
