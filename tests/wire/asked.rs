//! HELLO as it may come, and what lanpeer answers.

use std::net::SocketAddr;

use lanpeer::{Bytes, CloseReason, DataType, Error, Json, Offer, Peer, StreamSize};

use super::common::wire::{HEADER, Wire, header, json};
use super::common::{builder, ended, next_offer, peer, receive, until};
use super::{LANPEER, PEERPY};

/// Sends HELLO by `send`, and gives the offer that becomes of it.
fn offered(bob: &Peer, send: impl FnOnce(&mut Wire)) -> (Wire, Offer) {
    let mut wire = Wire::connect(bob.local_addr());
    send(&mut wire);
    let offer = next_offer(bob);
    (wire, offer)
}

/// The whole path: the offer is the one of the text, ACCEPT comes, and messages go both ways.
#[track_caller]
fn is_understood(bob: &Peer, send: impl FnOnce(&mut Wire)) {
    let (mut wire, offer) = offered(bob, send);
    assert_eq!(
        offer.peer_addr(),
        SocketAddr::from(([127, 0, 0, 1], 40_000))
    );
    assert_eq!(offer.data_type(), DataType::Json);
    assert!(offer.is_strict());
    assert_eq!(offer.stream(), None);
    let conn = offer.accept::<Json<String>>().expect("accept");
    assert_eq!(wire.read(HEADER), header("ACCEPT|v=1"));
    assert_eq!(conn.peer_addr(), SocketAddr::from(([127, 0, 0, 1], 40_000)));
    wire.write(&json("\"in\""));
    assert_eq!(receive(&conn), "in");
    conn.send("out").expect("send");
    assert_eq!(wire.read(HEADER + 14), json("\"out\""));
}

#[test]
fn hello_in_both_dialects() {
    let bob = peer();
    for text in [
        // the manual's, peerpy's, lanpeer's
        "HELLO|address_name=127.0.0.1:40000&data_type=json&strict=1",
        "HELLO|peer_name=127.0.0.1:40000&data_type=json&strict=True",
        "HELLO|address_name=127.0.0.1:40000&peer_name=127.0.0.1:40000&data_type=json&strict=1&v=1",
        // in any order, with keys of a later version
        "HELLO|strict=1&colour=blue&data_type=json&peer_name=127.0.0.1:40000&empty=",
    ] {
        is_understood(&bob, |wire| wire.write(&header(text)));
    }
}

#[test]
fn hello_that_fills_its_header() {
    let bob = peer();
    let mut text = "HELLO|peer_name=127.0.0.1:40000&data_type=json&filler=".to_string();
    text.push_str(&"x".repeat(HEADER - text.len()));
    is_understood(&bob, |wire| wire.write(&header(&text)));
}

#[test]
fn hello_unpadded_ended_by_a_newline() {
    let bob = peer();
    is_understood(&bob, |wire| {
        wire.write(b"HELLO|address_name=127.0.0.1:40000&data_type=json&strict=1\n");
    });
}

#[test]
fn hello_unpadded_followed_by_silence() {
    let bob = peer();
    is_understood(&bob, |wire| {
        wire.write(b"HELLO|peer_name=127.0.0.1:40000&strict=True&data_type=json");
    });
}

/// Where the pieces are so that no prefix could pass for a whole header: a machine that is busy
/// between two of them makes no difference.
#[test]
fn hello_in_pieces() {
    let bob = peer();
    let mut full = "HELLO|filler=&peer_name=127.0.0.1:40000&strict=True&data_type=json".to_string();
    full.insert_str(13, &"x".repeat(HEADER - full.len()));
    is_understood(&bob, |wire| wire.write_byte_by_byte(full.as_bytes()));

    let text = "HELLO|peer_name=127.0.0.1:40000&strict=True&data_type=json";
    is_understood(&bob, |wire| wire.write_byte_by_byte(text.as_bytes()));
    let newline = format!("{text}\n");
    for cut in [1, 5, 6, 30, text.len() - 1] {
        for whole in [header(text).as_slice(), newline.as_bytes()] {
            is_understood(&bob, |wire| {
                wire.write(&whole[..cut]);
                wire.write(&whole[cut..]);
            });
        }
    }
}

#[test]
fn strict_in_all_its_forms() {
    let bob = peer();
    for (key, strict) in [
        ("&strict=1", true),
        ("&strict=True", true),
        ("&strict=true", true),
        ("&strict=yes", true),
        ("", true),
        ("&strict=", false),
        ("&strict=0", false),
        ("&strict=false", false),
        ("&strict=False", false),
    ] {
        let _wire = Wire::offer(bob.local_addr(), &format!("data_type=json{key}"));
        assert_eq!(next_offer(&bob).is_strict(), strict, "{key}");
    }
}

#[test]
fn every_data_type_and_stream() {
    let bob = peer();
    for (keys, data_type, stream) in [
        ("data_type=json", DataType::Json, None),
        ("data_type=bytes", DataType::Bytes, None),
        ("data_type=raw&v=1", DataType::Raw, None),
        ("data_type=bytes&stream=", DataType::Bytes, None),
        ("data_type=bytes&stream=0", DataType::Bytes, None),
        (
            "data_type=bytes&stream=1",
            DataType::Bytes,
            Some(StreamSize::FromFirst),
        ),
        (
            "data_type=bytes&stream=True",
            DataType::Bytes,
            Some(StreamSize::FromFirst),
        ),
        (
            "data_type=bytes&stream=1&data_size=16",
            DataType::Bytes,
            Some(StreamSize::Of(16)),
        ),
        (
            "data_type=raw&stream=1&data_size=1&v=1",
            DataType::Raw,
            Some(StreamSize::Of(1)),
        ),
    ] {
        let _wire = Wire::offer(bob.local_addr(), keys);
        let offer = next_offer(&bob);
        assert_eq!(
            (offer.data_type(), offer.stream()),
            (data_type, stream),
            "{keys}"
        );
    }
}

// The answers.

#[test]
fn deny_says_why() {
    let bob = peer();
    for keys in [PEERPY, LANPEER] {
        let mut wire = Wire::offer(bob.local_addr(), keys);
        next_offer(&bob).deny("not_today").expect("deny");
        assert_eq!(wire.read(HEADER), header("DENY|reason=not_today"));
        wire.end();

        let mut wire = Wire::offer(bob.local_addr(), keys);
        drop(next_offer(&bob));
        assert_eq!(wire.read(HEADER), header("DENY|reason=dropped"));
        wire.end();

        let mut wire = Wire::offer(bob.local_addr(), keys);
        match next_offer(&bob).accept::<Bytes>() {
            Err(Error::TypeMismatch {
                offered: DataType::Json,
                requested: DataType::Bytes,
            }) => {}
            other => panic!("{other:?}", other = other.map(|conn| conn.peer_addr())),
        }
        assert_eq!(wire.read(HEADER), header("DENY|reason=type"));
        wire.end();
    }
    assert!(bob.connections().is_empty());
}

#[test]
fn what_no_program_needs_to_decide_is_denied_without_an_offer() {
    let bob = peer();
    for (keys, reason) in [
        ("data_type=pickle&strict=1", "type"),
        ("data_type=JSON&strict=1", "type"),
        ("data_type=&strict=1", "type"),
        #[cfg(not(feature = "pickle"))]
        ("data_type=raw&strict=1", "unsupported"),
        ("strict=1", "malformed"),
    ] {
        let mut wire = Wire::offer(bob.local_addr(), keys);
        assert_eq!(wire.denied().as_deref(), Some(reason), "{keys}");
        wire.end();
    }
    assert!(bob.offers().try_recv().is_err());
}

#[test]
fn one_too_many_is_denied() {
    let bob = builder()
        .max_connections(1)
        .bind("127.0.0.1:0")
        .expect("bind");
    let (first, conn) = Wire::accepted::<Json<String>>(&bob, LANPEER);
    let mut second = Wire::offer(bob.local_addr(), LANPEER);
    assert_eq!(second.denied().as_deref(), Some("busy"));
    second.end();

    // The place is free again once the first has ended.
    drop(first);
    assert_eq!(ended(&conn), CloseReason::ClosedThere);
    let events = bob.events();
    until("a free place", || {
        events
            .try_iter()
            .any(|event| matches!(event, lanpeer::Event::Closed { .. }))
    });
    let _ = Wire::accepted::<Json<String>>(&bob, LANPEER);
}
