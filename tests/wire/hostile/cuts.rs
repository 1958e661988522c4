//! The remote goes away in the middle of anything.

use std::time::Duration;

use lanpeer::{CloseReason, Error, Json};
use serde_json::Value;

use super::arena::{Arena, everything_is_given_back};
use super::{JSON, Then, hello};
use crate::common::wire::{HEADER, Wire, json};
use crate::common::{ended, receive};
use crate::peers::{alone, stride};

/// HELLO, then two messages.
fn conversation() -> Vec<u8> {
    let mut bytes = hello("data_type=json&strict=1&v=1");
    bytes.extend(json("\"first\""));
    bytes.extend(json("\"second\""));
    bytes
}

#[test]
fn ends_at_every_byte_of_a_handshake() {
    alone("hostile::cuts::ends_at_every_byte_of_a_handshake", || {
        let arena = Arena::new();
        let offers = arena.bob.offers();
        for then in [Then::Reset, Then::Fin] {
            for cut in (0..HEADER).step_by(stride()) {
                let mut wire = Wire::connect(arena.bob.local_addr());
                wire.write(&conversation()[..cut]);
                match then {
                    Then::Reset => wire.reset(),
                    _ => wire.fin(),
                }
                // A HELLO that lacks only padding may pass for a whole one.
                if let Ok(offer) = offers.try_recv() {
                    let _ = offer.deny("late");
                }
            }
            arena.is_untouched();
        }
        for _ in 0..20 {
            Wire::offer(arena.bob.local_addr(), JSON).reset();
            // It may have gone before, or with, or after the accept.
            if let Ok(offer) = offers.recv_timeout(Duration::from_millis(20)) {
                match offer.accept::<Json<Value>>() {
                    Ok(conn) => assert_eq!(ended(&conn), CloseReason::Reset),
                    Err(Error::Withdrawn) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
        arena.is_untouched();
        everything_is_given_back(&arena, 1);
    });
}

#[test]
fn ends_at_every_byte_of_the_messages() {
    alone("hostile::cuts::ends_at_every_byte_of_the_messages", || {
        let arena = Arena::new();
        let conversation = &conversation()[HEADER..];
        let first = json("\"first\"").len();
        for then in [Then::Reset, Then::Fin] {
            for cut in (0..=conversation.len()).step_by(stride()) {
                let (mut wire, conn) = Wire::accepted::<Json<String>>(&arena.bob, JSON);
                wire.write(&conversation[..cut]);
                let whole = cut == 0 || cut == first || cut == conversation.len();
                let expected = match then {
                    Then::Reset => CloseReason::Reset,
                    _ if whole => CloseReason::ClosedThere,
                    _ => CloseReason::Truncated,
                };
                match then {
                    Then::Reset => wire.reset(),
                    _ => wire.fin(),
                }
                if cut >= first {
                    assert_eq!(receive(&conn), "first", "{then:?} at {cut}");
                }
                if cut == conversation.len() {
                    assert_eq!(receive(&conn), "second", "{then:?} at {cut}");
                }
                assert_eq!(ended(&conn), expected, "{then:?} at {cut}");
            }
            arena.is_untouched();
        }
        everything_is_given_back(&arena, 1);
    });
}
