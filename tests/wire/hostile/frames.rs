//! Frames that break the protocol, in every way that docs/protocol.md names: each has its own reason,
//! the other side is told, and nothing else is disturbed.

use std::time::Duration;

use lanpeer::{
    Bytes, CloseError, CloseReason, ConnectOptions, DataType, Dynamic, Error, Format, Json, Raw,
};
use serde_json::Value;

use super::MILLION;
use super::arena::{Arena, everything_is_given_back};
#[cfg(target_os = "linux")]
use super::memory::kilobytes;
use crate::common::wire::{
    End, GOODBYE, HEADER, Wire, WireListener, data_header, frame, header, json, leaving, length,
    of_kind, refusal, shown, taken,
};
use crate::common::{builder, peer, receive, spawn, within_deadline};
use crate::connecting;
use crate::peers::alone;

const JSON: &str = "data_type=json&strict=1";
const RAW: &str = "data_type=raw&strict=1";
const BYTES: &str = "data_type=bytes&strict=1";
const LOOSE: &str = "data_type=bytes&strict=";
const STREAM: &str = "data_type=bytes&strict=1&stream=1";
const STREAM_OF_3: &str = "data_type=bytes&strict=1&stream=1&data_size=3";
const LIMIT: usize = 64 << 20;

fn malformed(words: &str) -> CloseReason {
    CloseReason::Malformed(format!("malformed: {words}"))
}

impl Arena {
    /// These bytes, in one piece and byte by byte, end a connection for this reason, and the other
    /// side is told why.
    #[track_caller]
    fn refuses<F: Format>(&self, keys: &str, bytes: &[u8], reason: &CloseReason) {
        self.begins_to_refuse::<F>(keys, bytes, reason)();
    }

    /// [`refuses`](Arena::refuses), as far as nothing waits; what it returns waits, and looks. So that many can
    /// wait at the same time for their remotes to read why.
    fn begins_to_refuse<F: Format>(
        &self,
        keys: &str,
        bytes: &[u8],
        reason: &CloseReason,
    ) -> Box<dyn FnOnce() + '_> {
        let (bytes, reason) = (bytes.to_vec(), reason.clone());
        let marked = keys == STREAM_OF_3;
        let begun = [true, false].map(|at_once| {
            let (mut wire, conn) = Wire::accepted_frames::<F>(&self.bob, keys);
            match at_once {
                true => wire.write_what_goes(&bytes),
                false => bytes.chunks(1).for_each(|byte| wire.write_what_goes(byte)),
            }
            (wire, conn)
        });
        Box::new(move || {
            for (mut wire, conn) in begun {
                assert_eq!(self.ended(&conn), reason, "{}", shown(&bytes));
                let close = within_deadline("close", move || conn.close());
                let expected = Err(CloseError::Incomplete(reason.clone()));
                assert_eq!(close, expected, "{}", shown(&bytes));
                let words = refusal(&reason.to_string());
                let (told, _) = wire.rest();
                let told = told.strip_prefix(&[0xff][..usize::from(marked)]);
                assert_eq!(told, Some(&words[..]), "{}", shown(&bytes));
            }
            println!("{:60} {reason}", shown(&bytes[..bytes.len().min(40)]));
        })
    }

    #[track_caller]
    fn refuses_behind(&self, keys: &str, first: &[u8], bytes: &[u8], reason: &CloseReason) {
        let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&self.bob, keys);
        wire.write(first);
        receive(&conn);
        wire.write(bytes);
        assert_eq!(self.ended(&conn), *reason);
        assert_eq!(wire.rest().0, refusal(&reason.to_string()));
    }

    /// Why a connection ends whose remote says this.
    #[track_caller]
    fn ends(&self, keys: &str, bytes: &[u8]) -> CloseReason {
        let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&self.bob, keys);
        wire.write(bytes);
        self.ended(&conn)
    }

    /// Bob closes, behind one message; the remote answers this to his goodbye.
    #[track_caller]
    fn closes(
        &self,
        answers: &[&[u8]],
        then: super::Then,
    ) -> (Result<(), CloseError>, CloseReason) {
        let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&self.bob, BYTES);
        conn.send(b"abc").expect("send");
        let closing = conn.clone();
        let close = spawn(move || closing.close());
        assert_eq!(wire.read(6), b"\x03abc\xf4\0");
        answers.iter().for_each(|bytes| wire.write_what_goes(bytes));
        match then {
            super::Then::Wait => {}
            super::Then::Fin => wire.fin(),
            super::Then::Reset => {
                wire.reset();
                return (close.wait("close"), self.ended(&conn));
            }
        }
        let close = close.wait("close");
        conn.try_iter().for_each(drop);
        (close, self.ended(&conn))
    }
}

#[test]
fn what_breaks_the_protocol_is_named() {
    alone("hostile::frames::what_breaks_the_protocol_is_named", || {
        let arena = Arena::new();
        let mut begun = Vec::new();
        for kind in [0xf7, 0xfc, 0xfd, 0xfe, 0xff] {
            let words = format!("a frame of the unknown kind {kind:#04x}");
            for body in [&b""[..], b"hello"] {
                let bytes = of_kind(kind, body);
                begun.push(arena.begins_to_refuse::<Bytes>(BYTES, &bytes, &malformed(&words)));
            }
        }
        let shortest = malformed("a frame whose length is not in its shortest form");
        for bytes in [
            &[0xe0, 5][..],
            &[0xe1, 0x40, 0x80],
            &[0xe2, 0x20, 0x40, 0x7f],
            &[0xe3, 0, 0xff, 0xff, 0xff],
            &[0xe7, 0, 0x80, 0, 0, 0, 0, 0, 0],
            &[0xe8],
            &[0xef],
            &[0xf4, 0xf4],
            &[0xf8, 0xe0, 5],
            // in the number that a goodbye has
            &[0xf4, 2, 5, 5],
            &[0xf4, 1, 0x80],
            &[0xf4, 2, 0xe0, 5],
            &[0xf4, 1, 0xf4],
            &[0xf5, 1, 0x80],
        ] {
            begun.push(arena.begins_to_refuse::<Bytes>(BYTES, bytes, &shortest));
        }
        for (bytes, words) in [
            (&[0xf0, 0][..], "a message with a type of 0 bytes"),
            (&[0xf4, 10], "a goodbye of 10 bytes"),
            (
                &[0xf4, 0xe7, 255, 255, 255, 255, 255, 255, 255, 255],
                "a goodbye of 18446744073709551615 bytes",
            ),
            (&[0xf5, 0], "a count of messages of 0 bytes"),
            (&[0xf5, 10], "a count of messages of 10 bytes"),
            (&[0xf6, 0x80, 0x81], "a refusal of 257 bytes"),
            (
                &[0xf8, 0x83, 0x81],
                "a frame of an unknown kind of 1025 bytes",
            ),
            (
                &[0xfb, 0xe7, 0x80, 0, 0, 0, 0, 0, 0, 0],
                "a frame of an unknown kind of 9223372036854775808 bytes",
            ),
            (&[0xf6, 1, 0xff], "a refusal whose words are not UTF-8"),
            (&[0xf6, 1, 0xc3], "a refusal whose words are not UTF-8"),
            (&[0xf5, 1, 0], "a count of messages before the goodbye"),
            (&[0xf1, 0], "a request of 0 bytes"),
            (&[0xf2, 1, 0], "a reply of 1 bytes"),
            (&[0xf1, 3, 0, 0xe4, 1], "a request of 3 bytes"),
            (&[0xf2, 3, 9, 7], "a message of the unknown type 9"),
            (
                &[0xf1, 9, 0, 0xe4, 1, 0, 0, 0, 0],
                "a request of the id 4294967296, which has more than 32 bits",
            ),
            (&[0xf3, 1], "a failure of a request of 1 bytes"),
            (&[0xf3, 0x80, 0x87], "a failure of a request of 263 bytes"),
            (&[0xf3, 2, 0x80, 7], "a failure of a request of 2 bytes"),
            (
                &[0xf3, 3, 7, 1, 0xff],
                "a refusal whose words are not UTF-8",
            ),
        ] {
            begun.push(arena.begins_to_refuse::<Bytes>(BYTES, bytes, &malformed(words)));
        }
        // A stream has no requests.
        for kind in [0xf1, 0xf2, 0xf3] {
            let words = format!("a frame of the unknown kind {kind:#04x}");
            let bytes = of_kind(kind, b"hello");
            begun.push(arena.begins_to_refuse::<Bytes>(STREAM, &bytes, &malformed(&words)));
        }
        for byte in [0, 4, 0xff] {
            let words = format!("a message of the unknown type {byte}");
            begun.push(arena.begins_to_refuse::<Dynamic>(
                LOOSE,
                &[0xf0, 2, byte, 0],
                &malformed(&words),
            ));
        }
        let (expected, got) = (DataType::Bytes, DataType::Json);
        let denied = CloseReason::DeniedType { expected, got };
        begun.push(arena.begins_to_refuse::<Bytes>(BYTES, &[0xf0, 3, 2, b'4', b'2'], &denied));
        begun.push(arena.begins_to_refuse::<Json<Value>>(
            JSON,
            &[0],
            &malformed("a json message of 0 bytes"),
        ));
        begun.push(arena.begins_to_refuse::<Raw<u8>>(
            RAW,
            &[0],
            &malformed("a raw message of 0 bytes"),
        ));
        let empty = malformed("a json message of 0 bytes");
        begun.push(arena.begins_to_refuse::<Dynamic>(LOOSE, &[0xf0, 1, 2], &empty));
        begun.into_iter().for_each(|look| look());
        everything_is_given_back(&arena, 1);
    });
}

#[test]
fn lengths_beyond_the_limit() {
    alone("hostile::frames::lengths_beyond_the_limit", || {
        let arena = Arena::new();
        let mut begun = Vec::new();
        let limit = LIMIT;
        for size in [LIMIT as u64 + 2, 1 << 32, (1 << 63) - 1, 1 << 63, u64::MAX] {
            let too_large = |size| CloseReason::TooLarge { size, limit };
            begun.push(arena.begins_to_refuse::<Bytes>(BYTES, &length(size), &too_large(size)));
            begun.push(arena.begins_to_refuse::<Bytes>(STREAM, &length(size), &too_large(size)));
            // The byte that names the type counts.
            let typed = [&[0xf0][..], &length(size), &[1]].concat();
            begun.push(arena.begins_to_refuse::<Dynamic>(LOOSE, &typed, &too_large(size - 1)));
        }
        begun.into_iter().for_each(|look| look());
        everything_is_given_back(&arena, 1);
    });
}

/// A program that takes messages of any size: no sum of a size and a head is too large for a number.
#[test]
fn lengths_without_a_limit() {
    alone("hostile::frames::lengths_without_a_limit", || {
        let limit = usize::MAX;
        let arena = Arena::with(builder().max_message_size(limit));
        for size in [
            usize::MAX as u64 >> 8,
            1 << 40,
            (1 << 63) - 1,
            1 << 63,
            u64::MAX - 8,
            u64::MAX,
        ] {
            // Where a pointer has 32 bits, that is a limit.
            let expected = match usize::try_from(size) {
                Ok(_) => CloseReason::Truncated,
                Err(_) => CloseReason::TooLarge { size, limit },
            };
            for then_more in [&b""[..], b"some of it"] {
                let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&arena.bob, BYTES);
                wire.write_what_goes(&[&length(size), then_more].concat());
                wire.fin();
                assert_eq!(arena.ended(&conn), expected, "{size}");
            }
            let head = data_header(size, "bytes");
            let keys = "data_type=bytes&v=1";
            let (mut wire, conn) = Wire::accepted::<Bytes>(&arena.bob, keys);
            wire.write(&head);
            wire.fin();
            assert_eq!(arena.ended(&conn), expected, "{size}");
        }
        everything_is_given_back(&arena, 1);
    });
}

#[test]
fn streams() {
    alone("hostile::frames::streams", || {
        let arena = Arena::new();
        let size = |size| malformed(&format!("a message of {size} bytes in a stream of 3 bytes"));
        for (bytes, reason) in [
            (&b"\xff\x04abcd"[..], size(4)),
            (b"\xff\0", size(0)),
            (b"\xff\xfc\0", malformed("a frame of the unknown kind 0xfc")),
            (
                b"\xff\xff\x03",
                malformed("a frame of the unknown kind 0xff"),
            ),
            (
                b"\xff\xe0\x05",
                malformed("a frame whose length is not in its shortest form"),
            ),
            (
                b"\xff\xf5\x01\0",
                malformed("a count of messages before the goodbye"),
            ),
        ] {
            arena.refuses::<Bytes>(STREAM_OF_3, bytes, &reason);
        }
        arena.refuses::<Bytes>(STREAM, b"\0", &malformed("a bytes message of 0 bytes"));
        // A mark before the first message is a kind, whose length follows.
        let mark = malformed("a frame whose length is not in its shortest form");
        arena.refuses::<Bytes>(STREAM, b"\xff\xf4\0", &mark);
        let second = size(4);
        arena.refuses_behind(STREAM, b"\x03abc", b"\xff\x04abcd", &second);
        everything_is_given_back(&arena, 1);
    });
}

#[test]
fn payloads() {
    alone("hostile::frames::payloads", || {
        let arena = Arena::new();
        for payload in [&b"{"[..], b"1 2", b"\xff", b"[".repeat(MILLION).as_slice()] {
            let (mut wire, conn) = Wire::accepted_frames::<Json<Value>>(&arena.bob, JSON);
            wire.write_what_goes(&frame(payload));
            let reason = arena.ended(&conn);
            assert!(matches!(&reason, CloseReason::Malformed(_)), "{reason:?}");
            assert_eq!(wire.rest().0, refusal(&reason.to_string()));
            println!("{:40} {reason}", shown(&payload[..payload.len().min(20)]));
        }
        let (mut wire, conn) = Wire::accepted_frames::<Raw<u8>>(&arena.bob, RAW);
        wire.write(&frame(b"\x01\x02"));
        let reason = arena.ended(&conn);
        assert!(matches!(&reason, CloseReason::Malformed(_)), "{reason:?}");
        assert_eq!(wire.rest().0, refusal(&reason.to_string()));
        everything_is_given_back(&arena, 1);
    });
}

#[test]
fn what_the_remote_says_of_itself() {
    alone("hostile::frames::what_the_remote_says_of_itself", || {
        let arena = Arena::new();
        let refused = |words: &str| CloseReason::RefusedThere(words.into());
        for (words, shown) in [
            ("no", "no"),
            ("", ""),
            ("two\nlines\u{1b}[2J\u{85}", "two?lines?[2J?"),
            (&"\n".repeat(256), &"?".repeat(256)),
            (&"\u{e4}".repeat(128), &"\u{e4}".repeat(128)),
        ] {
            assert_eq!(arena.ends(BYTES, &refusal(words)), refused(shown));
        }
        // What it took in cannot be more than there was.
        for count in [1, 300, 1 << 63, u64::MAX] {
            let words = format!("the other side took in {count} messages of 0");
            assert_eq!(arena.ends(BYTES, &leaving(count)), malformed(&words));
        }
        assert_eq!(arena.ends(BYTES, GOODBYE), CloseReason::ClosedThere);
        assert_eq!(arena.ends(BYTES, &leaving(0)), CloseReason::ClosedThere);
        everything_is_given_back(&arena, 1);
    });
}

#[test]
fn answers_to_a_goodbye() {
    use super::Then::{Fin, Reset, Wait};
    alone("hostile::frames::answers_to_a_goodbye", || {
        let arena = Arena::with(builder().close_timeout(Duration::from_millis(1500)));
        let too_many = |count| malformed(&format!("the other side took in {count} messages of 1"));
        let second = malformed("a second goodbye");
        let behind = malformed("a message behind the goodbye");
        let (one, all) = (taken(1), leaving(1));
        let large = length(u64::MAX);
        for (answer, then, reason) in [
            // all is well
            (&[GOODBYE, &one][..], Fin, None),
            (&[GOODBYE, &one], Wait, None),
            (&[GOODBYE, b"\xf8\x01\x01", &one], Wait, None),
            (&[&all], Fin, None),
            (&[b"\x01a", &all], Fin, None),
            // too much was taken in, or too little
            (&[GOODBYE, b"\xf5\x01\x02"], Wait, Some(too_many(2))),
            (&[b"\xf4\x01\x02"], Wait, Some(too_many(2))),
            (&[&leaving(u64::MAX)], Wait, Some(too_many(u64::MAX))),
            (&[GOODBYE, b"\xf5\x01\0"], Wait, Some(CloseReason::Reset)),
            (&[b"\xf4\x01\0"], Wait, Some(CloseReason::Reset)),
            // too much was said
            (&[GOODBYE, GOODBYE], Wait, Some(second.clone())),
            (&[GOODBYE, &all], Wait, Some(second)),
            (&[GOODBYE, b"\x01a"], Wait, Some(behind.clone())),
            (&[GOODBYE, b"\0"], Wait, Some(behind.clone())),
            (&[GOODBYE, &large], Wait, Some(behind.clone())),
            (&[GOODBYE, b"\xf0\x02\x02a"], Wait, Some(behind)),
            (
                &[GOODBYE, b"\xfc\0"],
                Wait,
                Some(malformed("a frame of the unknown kind 0xfc")),
            ),
            (
                &[GOODBYE, b"\xf5\0"],
                Wait,
                Some(malformed("a count of messages of 0 bytes")),
            ),
            (
                &[&one],
                Wait,
                Some(malformed("a count of messages before the goodbye")),
            ),
            // or something else
            (
                &[b"\xf6\x02no"],
                Wait,
                Some(CloseReason::RefusedThere("no".into())),
            ),
            (
                &[GOODBYE, b"\xf6\x02no"],
                Wait,
                Some(CloseReason::RefusedThere("no".into())),
            ),
            // or too little
            (&[], Fin, Some(CloseReason::Vanished)),
            (&[b"\x01"], Fin, Some(CloseReason::Truncated)),
            (&[b"\xf4"], Fin, Some(CloseReason::Truncated)),
            (&[GOODBYE], Fin, Some(CloseReason::Vanished)),
            (&[GOODBYE, b"\xf5"], Fin, Some(CloseReason::Truncated)),
            (&[GOODBYE, b"\xf5\x01"], Fin, Some(CloseReason::Truncated)),
            (&[], Reset, Some(CloseReason::Reset)),
            (&[GOODBYE], Reset, Some(CloseReason::Reset)),
        ] {
            for in_one in [true, false] {
                let joined = answer.concat();
                let answer = match in_one {
                    true => &[&joined[..]][..],
                    false => answer,
                };
                let (close, _) = arena.closes(answer, then);
                let expected = match &reason {
                    None => Ok(()),
                    Some(reason) => Err(CloseError::Incomplete(reason.clone())),
                };
                assert_eq!(close, expected, "{answer:x?} {then:?}");
            }
        }
        for answer in [&[][..], &[GOODBYE], &[GOODBYE, b"\xf5"]] {
            let (close, reason) = arena.closes(answer, Wait);
            assert_eq!(
                (close, reason),
                (Err(CloseError::Timeout), CloseReason::TimedOut)
            );
        }
        everything_is_given_back(&arena, 1);
    });
}

/// The remote was first, and then goes on talking: the program knows the end, but is not told that
/// its own messages were taken in.
#[test]
fn more_behind_the_first_goodbye() {
    alone("hostile::frames::more_behind_the_first_goodbye", || {
        let arena = Arena::new();
        for (bytes, is_ok) in [
            (&b"\xf5\x01\x01"[..], true),
            (b"\xf8\0\xf5\x01\x01", true),
            (b"\xf5\x01\x02", false),
            (b"\xf5\x01\0", false),
            (GOODBYE, false),
            (b"\x01a\xf5\x01\x01", false),
            (b"\xfc\0", false),
            (b"\xf6\x02no", false),
            (b"", false),
        ] {
            for together in [true, false] {
                let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&arena.bob, BYTES);
                conn.send(b"abc").expect("send");
                match together {
                    true => wire.write(&[GOODBYE, bytes].concat()),
                    false => {
                        wire.write(GOODBYE);
                        assert_eq!(wire.read(7), b"\x03abc\xf4\x01\0");
                        wire.write_what_goes(bytes);
                    }
                }
                wire.fin();
                let reason = arena.ended(&conn);
                // A count that comes with the goodbye is looked at before the end is told.
                let is_count = together && !is_ok && bytes.starts_with(b"\xf5");
                let expected = match is_count.then_some(bytes[bytes.len().max(1) - 1..].first()) {
                    Some(Some(0)) => CloseReason::Reset,
                    Some(_) => CloseReason::Malformed(
                        "malformed: the other side took in 2 messages of 1".to_owned(),
                    ),
                    None => CloseReason::ClosedThere,
                };
                assert_eq!(reason, expected, "{}", shown(bytes));
                let close = within_deadline("close", move || conn.close());
                assert_eq!(close.is_ok(), is_ok, "{} {close:?}", shown(bytes));
                if together && is_ok {
                    // The `close` may have been before the answer, which then is two words.
                    let (said, end) = wire.rest();
                    let is_answer = [&b"\x03abc\xf4\x01\0"[..], b"\x03abc\xf4\0\xf5\x01\0"]
                        .contains(&&said[..]);
                    assert!(is_answer && end == End::Fin, "{}", shown(&said));
                }
            }
        }
        everything_is_given_back(&arena, 1);
    });
}

#[test]
fn who_that_is_none() {
    alone("hostile::frames::who_that_is_none", || {
        let arena = Arena::new();
        let alice = peer();
        let mut not_utf8 = header("WHO|id=1&name=b");
        not_utf8[14] = 0xff;
        let mut unpadded = header("WHO|id=1");
        unpadded[100] = b'x';
        let long = |key: &str, len: usize| header(&format!("WHO|id=1&{key}={}", "n".repeat(len)));
        for (who, word) in [
            (not_utf8, "UTF-8"),
            (unpadded, "padding"),
            (long("name", 25), "a name of 25 bytes, at most 24 fit"),
            (long("service", 17), "a service of 17 bytes, at most 16 fit"),
            (header("WHO|name=bob"), "without id"),
            (header("WHO"), "without id"),
            (header("WHO|id="), "id"),
            (header("WHO|id=x"), "id=`x`"),
            (header("WHO|id=1&id=2"), "twice"),
            (header("WHO|id"), "="),
            (
                header("DATA|data_size=1&data_type=json"),
                "where WHO was expected",
            ),
            (header("HELLO|id=1"), "where WHO was expected"),
            ([0; HEADER], ""),
        ] {
            // behind HELLO,
            let mut wire = Wire::connect(arena.bob.local_addr());
            let from = wire.local_addr();
            let hello = header(&format!("HELLO|peer_name={from}&{JSON}&v=2&who=1"));
            wire.write(&[hello, who].concat());
            assert_eq!(wire.denied().as_deref(), Some("malformed"));
            let reason = arena.told(from);
            assert!(reason.contains(word), "{reason}");
            println!("{:60} {reason}", shown(&who[..40]));

            // where it was asked for,
            let mut wire = Wire::offer(arena.bob.local_addr(), &format!("{STREAM}&v=2"));
            let from = wire.local_addr();
            assert_eq!(wire.read(HEADER), header("WHO"));
            wire.write(&who);
            assert_eq!(wire.denied().as_deref(), Some("malformed"));
            assert_eq!(arena.told(from), reason);

            // and behind ACCEPT.
            let listener = WireListener::bind();
            let options = ConnectOptions::new();
            let connecting = connecting::<Json<u32>>(&alice, listener.addr(), options);
            let mut wire = listener.accept();
            wire.fields();
            wire.write(&[header("ACCEPT|v=2"), who].concat());
            match connecting.wait("connect").err() {
                Some(Error::Handshake { reason: by, .. }) => assert_eq!(by, reason),
                other => panic!("{other:?}"),
            }
            assert_eq!(wire.end(), End::Reset);
        }
        assert!(arena.bob.offers().is_empty());
        everything_is_given_back(&arena, 1);
    });
}

/// Text in place of frames, and frames in place of text.
#[test]
fn one_protocol_is_not_taken_for_the_other() {
    alone(
        "hostile::frames::one_protocol_is_not_taken_for_the_other",
        || {
            let arena = Arena::new();
            let (mut wire, conn) = Wire::accepted_frames::<Json<Value>>(&arena.bob, JSON);
            wire.write(&json("1"));
            let reason = arena.ended(&conn);
            assert!(matches!(reason, CloseReason::Malformed(_)), "{reason:?}");
            let (mut wire, conn) = Wire::accepted::<Json<Value>>(&arena.bob, "data_type=json&v=1");
            wire.write(&[&frame(b"1"), GOODBYE].concat().repeat(40));
            let reason = arena.ended(&conn);
            assert!(matches!(reason, CloseReason::Malformed(_)), "{reason:?}");
            everything_is_given_back(&arena, 1);
        },
    );
}

/// See `memory`: what is only claimed reserves nothing.
#[cfg(target_os = "linux")]
#[test]
fn claimed_lengths_reserve_nothing() {
    alone("hostile::frames::claimed_lengths_reserve_nothing", || {
        let arena = Arena::new();
        let mut claims = Vec::new();
        let stream = format!("data_type=bytes&stream=1&data_size={LIMIT}");
        for keys in [BYTES, LOOSE, STREAM, &stream].repeat(12) {
            let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&arena.bob, keys);
            if !keys.contains("stream") {
                wire.write(&frame(b"first"));
                assert_eq!(receive(&conn), b"first");
            }
            let claim = match keys {
                LOOSE => [&[0xf0][..], &length(LIMIT as u64 + 1), &[3]].concat(),
                keys if keys == stream => Vec::new(),
                _ => length(LIMIT as u64),
            };
            claims.push((wire, conn, claim));
        }
        let before = kilobytes("VmData:");
        for (wire, _, claim) in &mut claims {
            wire.write(&[claim, &[1; 100][..]].concat());
        }
        for _ in 0..30 {
            arena.is_untouched();
            let grown = kilobytes("VmData:").saturating_sub(before);
            assert!(
                grown < LIMIT >> 10,
                "{grown} kB for {} claims",
                claims.len()
            );
        }
        for (wire, conn, _) in claims {
            wire.fin();
            assert_eq!(crate::common::ended(&conn), CloseReason::Truncated);
        }
    });
}
