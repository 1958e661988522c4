//! The remote goes away in the middle of a conversation in frames.

use std::time::Duration;

use lanpeer::{Bytes, CloseReason, ConnectOptions, Error, Json};

use super::Then;
use super::arena::{Arena, everything_is_given_back};
use crate::common::wire::{
    GOODBYE, HEADER, WHO, Wire, WireListener, frame, header, of_kind, refusal,
};
use crate::common::{peer, receive};
use crate::connecting;
use crate::peers::{alone, stride};

const JSON: &str = "data_type=json&strict=1";
const STREAM: &str = "data_type=bytes&strict=1&stream=1";
const STREAM_OF_3: &str = "data_type=bytes&strict=1&stream=1&data_size=3";

#[test]
fn ends_at_every_byte_of_hello_and_who() {
    alone(
        "hostile::frames_cut::ends_at_every_byte_of_hello_and_who",
        || {
            let arena = Arena::new();
            for then in [Then::Reset, Then::Fin] {
                for cut in (0..2 * HEADER).step_by(stride()) {
                    let mut wire = Wire::connect(arena.bob.local_addr());
                    let from = wire.local_addr();
                    // No part of it is a whole HELLO without padding.
                    let mut hello = format!("HELLO|filler=&peer_name={from}&{JSON}&v=2&who=1");
                    hello.insert_str(13, &"x".repeat(HEADER - hello.len()));
                    wire.write(&[header(&hello), header(WHO)].concat()[..cut]);
                    let missing = match then {
                        Then::Reset => {
                            wire.reset();
                            "Connection reset by peer"
                        }
                        _ if cut < HEADER => {
                            wire.fin();
                            "it hung up before HELLO"
                        }
                        _ => {
                            wire.fin();
                            "it hung up before WHO"
                        }
                    };
                    let told = arena.told(from);
                    assert!(told.starts_with(missing), "{told}, {then:?} at {cut}");
                }
                arena.is_untouched();
            }
            assert!(arena.bob.offers().is_empty());
            everything_is_given_back(&arena, 1);
        },
    );
}

#[test]
fn ends_at_every_byte_of_accept_and_who() {
    alone(
        "hostile::frames_cut::ends_at_every_byte_of_accept_and_who",
        || {
            let (arena, alice) = (Arena::new(), peer());
            let answer = [header("ACCEPT|v=2"), header(WHO)].concat();
            for then in [Then::Reset, Then::Fin] {
                for cut in (0..answer.len()).step_by(stride()) {
                    let listener = WireListener::bind();
                    let connecting =
                        connecting::<Json<u32>>(&alice, listener.addr(), ConnectOptions::new());
                    let mut wire = listener.accept();
                    wire.fields();
                    wire.write(&answer[..cut]);
                    let missing = match then {
                        Then::Reset => {
                            wire.reset();
                            "Connection reset by peer"
                        }
                        _ => {
                            wire.fin();
                            "it hung up without an answer"
                        }
                    };
                    match connecting.wait("connect").err() {
                        Some(Error::Handshake { reason, .. }) => {
                            assert!(reason.starts_with(missing), "{reason}, {then:?} at {cut}");
                        }
                        other => panic!("{other:?}, {then:?} at {cut}"),
                    }
                }
            }
            assert!(alice.connections().is_empty());
            arena.is_untouched();
        },
    );
}

#[test]
fn silence_in_place_of_who() {
    let timeout = Duration::from_millis(300);
    let arena = Arena::with(crate::common::builder().timeout(timeout));
    for sent in [0, 1, HEADER - 1] {
        let mut wire = Wire::connect(arena.bob.local_addr());
        let from = wire.local_addr();
        let hello = header(&format!("HELLO|peer_name={from}&{JSON}&v=2&who=1"));
        wire.write(&[&hello[..], &header(WHO)[..sent]].concat());
        assert_eq!(arena.told(from), "no WHO within 300ms");

        let listener = WireListener::bind();
        let options = ConnectOptions::new().timeout(timeout);
        let connecting = connecting::<Json<u32>>(&arena.bob, listener.addr(), options);
        let mut wire = listener.accept();
        wire.fields();
        wire.write(&[&header("ACCEPT|v=2")[..], &header(WHO)[..sent]].concat());
        let error = connecting.wait("connect").err();
        assert!(matches!(error, Some(Error::TimedOut { .. })), "{error:?}");
    }
}

/// The frames of a conversation, each whole, and which of them are messages.
fn ends_at_every_byte(arena: &Arena, keys: &str, frames: &[(Vec<u8>, Option<&[u8]>)]) {
    let all: Vec<u8> = frames.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
    for then in [Then::Reset, Then::Fin] {
        for cut in (0..=all.len()).step_by(stride()) {
            let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&arena.bob, keys);
            wire.write(&all[..cut]);
            let (mut end, mut is_between) = (0, true);
            let mut expected = Vec::new();
            for (bytes, message) in frames {
                is_between = end >= cut;
                end += bytes.len();
                if end > cut {
                    is_between |= end - bytes.len() == cut;
                    break;
                }
                is_between = true;
                expected.extend(*message);
            }
            let reason = match then {
                Then::Reset => CloseReason::Reset,
                _ if cut == all.len() => CloseReason::ClosedThere,
                _ if is_between => CloseReason::Vanished,
                _ => CloseReason::Truncated,
            };
            // A reset throws away what was not read.
            let read = |conn| {
                for message in &expected {
                    assert_eq!(receive::<Bytes>(conn), *message, "{then:?} at {cut}");
                }
            };
            let ended = match then {
                Then::Reset => {
                    read(&conn);
                    wire.reset();
                    arena.ended(&conn)
                }
                _ => {
                    wire.fin();
                    read(&conn);
                    arena.ended(&conn)
                }
            };
            // The goodbye may have been read before the reset.
            let polite = cut == all.len() && ended == CloseReason::ClosedThere;
            assert!(ended == reason || polite, "{ended:?}, {then:?} at {cut}");
        }
    }
}

#[test]
fn ends_at_every_byte_of_the_frames() {
    alone(
        "hostile::frames_cut::ends_at_every_byte_of_the_frames",
        || {
            let arena = Arena::new();
            let first = [7; 200];
            let conversation = [
                (frame(b"abc"), Some(&b"abc"[..])),
                (frame(&first), Some(&first[..])),
                (of_kind(0xf8, b"later"), None),
                (frame(b""), Some(&b""[..])),
                (GOODBYE.to_vec(), None),
            ];
            ends_at_every_byte(&arena, "data_type=bytes&strict=1", &conversation);
            everything_is_given_back(&arena, 1);
        },
    );
}

#[test]
fn ends_at_every_byte_of_a_stream() {
    alone(
        "hostile::frames_cut::ends_at_every_byte_of_a_stream",
        || {
            let arena = Arena::new();
            let mut conversation = [
                (b"\x03abc".to_vec(), Some(&b"abc"[..])),
                (b"\xff\x03\xff12".to_vec(), Some(b"\xff12")),
                (b"\xff\xf8\x01\x09".to_vec(), None),
                (b"def".to_vec(), Some(b"def")),
                (b"\xff\xf4\0".to_vec(), None),
            ];
            ends_at_every_byte(&arena, STREAM, &conversation);
            conversation[0].0.remove(0);
            ends_at_every_byte(&arena, STREAM_OF_3, &conversation);
            everything_is_given_back(&arena, 1);
        },
    );
}

/// A refusal that is cut is none.
#[test]
fn ends_at_every_byte_of_a_refusal() {
    alone(
        "hostile::frames_cut::ends_at_every_byte_of_a_refusal",
        || {
            let arena = Arena::new();
            let bytes = refusal("no number");
            for cut in 0..=bytes.len() {
                let (mut wire, conn) =
                    Wire::accepted_frames::<Bytes>(&arena.bob, "data_type=bytes");
                wire.write(&bytes[..cut]);
                wire.fin();
                let reason = match cut {
                    0 => CloseReason::Vanished,
                    _ if cut == bytes.len() => CloseReason::RefusedThere("no number".into()),
                    _ => CloseReason::Truncated,
                };
                assert_eq!(arena.ended(&conn), reason, "at {cut}");
            }
        },
    );
}
