//! Frames by their bytes, written, read, cut and altered.
//!
//! A long file, since the tests share their rules and the way in which they read.

use proptest::prelude::*;

use super::*;
use crate::proto::frame::tests::cuts;

const RULES: Rules = Rules {
    data_type: DataType::Bytes,
    strict: false,
    streaming: false,
    lanpeer: true,
    max_size: 3 << 20,
};

const STRICT: Rules = Rules {
    strict: true,
    ..RULES
};

const OF_RAW: Rules = Rules {
    data_type: DataType::Raw,
    ..RULES
};
const STREAM: Rules = Rules {
    streaming: true,
    ..RULES
};

fn next(rules: Rules, input: &[u8]) -> Result<Step, FrameError> {
    FrameDecoder::new(rules, false).next(input, None)
}

fn message(skip: usize, size: usize, data_type: DataType) -> Result<Step, FrameError> {
    Ok(Step::Message {
        skip,
        size,
        data_type,
    })
}

fn failed(id: u32, why: Failure, skip: usize) -> Word {
    Word::Failed { id, why, skip }
}

fn call(skip: usize, size: usize, data_type: DataType, call: Call) -> Result<Step, FrameError> {
    Ok(Step::Call {
        skip,
        size,
        data_type,
        call,
    })
}

fn fault(fault: Fault) -> Result<Step, FrameError> {
    Err(FrameError::Frame(fault))
}

#[test]
fn heads_are_as_the_manual_has_them() {
    for (size, head) in [
        (0, &[0][..]),
        (127, &[0x7f]),
        (128, &[0x80, 0]),
        (16_511, &[0xbf, 0xff]),
        (16_512, &[0xc0, 0, 0]),
        (2_113_663, &[0xdf, 0xff, 0xff]),
        (2_113_664, &[0xe2, 0x20, 0x40, 0x80]),
        (1 << 24, &[0xe3, 1, 0, 0, 0]),
        (0xffff_ffff, &[0xe3, 255, 255, 255, 255]),
        #[cfg(target_pointer_width = "64")]
        (1 << 32, &[0xe4, 1, 0, 0, 0, 0]),
        #[cfg(target_pointer_width = "64")]
        (usize::MAX, &[0xe7, 255, 255, 255, 255, 255, 255, 255, 255]),
    ] {
        assert_eq!(Head::of(size).bytes(), head, "{size}");
        assert_eq!(length(head), Ok((head.len(), size as u64)), "{size}");
        for end in 0..head.len() {
            assert_eq!(length(&head[..end]), Err(None), "{size}");
        }
    }
    assert_eq!(Head::of_type(5, DataType::Json).bytes(), [0xf0, 6, 2]);
    assert_eq!(Head::marked(5).bytes(), [0xff, 5]);
}

#[test]
fn words_are_as_the_manual_has_them() {
    for (said, text, bytes) in [
        (Word::Goodbye(None), "", &[0xf4, 0][..]),
        (Word::Goodbye(Some(300)), "", &[0xf4, 2, 0x80, 0xac]),
        (Word::Taken(7), "", &[0xf5, 1, 7]),
        (Word::Refused { skip: 2 }, "no", &[0xf6, 2, b'n', b'o']),
        (failed(7, Failure::Dropped, 4), "", &[0xf3, 2, 7, 1]),
        (
            failed(300, Failure::Refused, 5),
            "no",
            &[0xf3, 5, 0x80, 0xac, 5, b'n', b'o'],
        ),
        (failed(0, Failure::Other(99), 4), "", &[0xf3, 2, 0, 99]),
    ] {
        assert_eq!(word(said, text, false), bytes);
        let end = bytes.len();
        assert_eq!(next(RULES, bytes), Ok(Step::Word { end, word: said }));
        assert_eq!(word(said, text, true), [&[0xff], bytes].concat());
        for end in 0..bytes.len() {
            assert!(matches!(next(RULES, &bytes[..end]), Ok(Step::Need(n)) if n > end));
        }
    }
    let long = "ä".repeat(200);
    let refusal = word(Word::Refused { skip: 0 }, &long, false);
    assert_eq!(refusal[..3], [0xf6, 0x80, 0x80], "256 bytes of it");
    assert_eq!(refusal[3..], long.as_bytes()[..256]);
    let odd = format!("x{long}");
    assert_eq!(word(Word::Refused { skip: 0 }, &odd, false).len(), 258);
}

#[test]
fn what_is_wrong_is_named() {
    use DataType::{Bytes, Json, Raw};
    let cases: [(Rules, &[u8], Result<Step, FrameError>); 20] = [
        (RULES, &[0], message(1, 0, Bytes)),
        (OF_RAW, &[0], Err(FrameError::Empty(Raw))),
        (RULES, &[0xf0, 3, 2], message(3, 2, Json)),
        (RULES, &[0xf0, 1, 3], message(3, 0, Bytes)),
        (RULES, &[0xf0, 1, 1], Err(FrameError::Empty(Raw))),
        (RULES, &[0xf0, 2, 4], fault(Fault::Type(4))),
        (STRICT, &[0xf0, 2, 3], message(3, 1, Bytes)),
        (
            STRICT,
            &[0xf0, 2, 1],
            Err(FrameError::DeniedType {
                expected: Bytes,
                got: Raw,
            }),
        ),
        (RULES, &[0xe0, 5], fault(Fault::Length)),
        (RULES, &[0xe3, 0, 0xff, 0xff, 0xff], fault(Fault::Length)),
        (RULES, &[0xe8], fault(Fault::Length)),
        (RULES, &[0xf4, 0xf4], fault(Fault::Length)),
        (RULES, &[0xf4, 2, 5, 5], fault(Fault::Length)),
        (RULES, &[0xf5, 1, 0x80], fault(Fault::Length)),
        (
            RULES,
            &[0xe7, 0x80, 0, 0, 0, 0, 0, 0, 0],
            Err(FrameError::TooLarge {
                size: 1 << 63,
                limit: 3 << 20,
            }),
        ),
        (RULES, &[0xf6, 1, 0xff], fault(Fault::Words)),
        (RULES, &[0xf8, 0], Ok(Step::Skip(2))),
        (RULES, &[0xfb, 1], Ok(Step::Need(3))),
        (RULES, &[0xfc, 0], fault(Fault::Kind(0xfc))),
        (RULES, &[0xff, 0], fault(Fault::Kind(0xff))),
    ];
    for (rules, bytes, expected) in cases {
        assert_eq!(next(rules, bytes), expected, "{bytes:x?}");
    }
    for (kind, bytes, size) in [
        ("goodbye", &[0xf4, 10][..], 10),
        ("count of messages", &[0xf5, 0], 0),
        ("refusal", &[0xf6, 0x80, 0x81], 257),
        ("frame of an unknown kind", &[0xf8, 0x83, 0x81], 1025),
        ("message with a type", &[0xf0, 0], 0),
    ] {
        assert_eq!(next(RULES, bytes), fault(Fault::Body { kind, size }));
    }
}

#[test]
fn requests_and_replies_are_as_the_manual_has_them() {
    use DataType::{Bytes, Json};
    let request = Call::Request(7);
    let long = Call::Request(u32::MAX);
    let cases: [(usize, Option<DataType>, Call, &[u8]); 4] = [
        (4, None, request, &[0xf1, 6, 0, 7]),
        (0, None, request, &[0xf1, 2, 0, 7]),
        (2, Some(Json), Call::Reply(300), &[0xf2, 5, 2, 0x80, 0xac]),
        (
            1 << 20,
            None,
            long,
            &[0xf1, 0xcf, 0xbf, 0x86, 0, 0xe3, 255, 255, 255, 255],
        ),
    ];
    for (size, other, which, bytes) in cases {
        assert_eq!(Head::of_call(size, other, which).bytes(), bytes);
        let data_type = other.unwrap_or(Bytes);
        let step = call(bytes.len(), size, data_type, which);
        assert_eq!(next(RULES, bytes), step);
        for end in 0..bytes.len() {
            let step = next(RULES, &bytes[..end]);
            assert!(matches!(step, Ok(Step::Need(n)) if n > end), "{step:?}");
        }
    }
    let longest = Head::of_call(usize::MAX - 100, None, long);
    // There is room for a length of 64 bits.
    let unused = 8 - usize::BITS as usize / 8;
    assert_eq!(longest.bytes().len(), HEAD_ROOM - unused);
}

#[test]
fn what_is_wrong_with_a_request_is_named() {
    use DataType::{Bytes, Json, Raw};
    let body = |kind, size| fault(Fault::Body { kind, size });
    let long_id = &[0xf1, 9, 0, 0xe4, 1, 0, 0, 0, 0, 0];
    let large = &[0xf1, 0xe2, 0x40, 0, 0, 0, 7];
    let limit = 3 << 20;
    let cases: [(Rules, &[u8], Result<Step, FrameError>); 16] = [
        (RULES, &[0xf1, 0], body("request", 0)),
        (RULES, &[0xf1, 1, 0], body("request", 1)),
        (RULES, &[0xf2, 1, 0], body("reply", 1)),
        (RULES, &[0xf2, 2, 0, 0x80], body("reply", 2)),
        (RULES, &[0xf1, 3, 4, 7], fault(Fault::Type(4))),
        (RULES, &[0xf1, 3, 0, 0xf0], fault(Fault::Length)),
        (RULES, long_id, fault(Fault::Id(1 << 32))),
        (
            RULES,
            large,
            Err(FrameError::TooLarge {
                size: (1 << 22) - 2,
                limit,
            }),
        ),
        (OF_RAW, &[0xf1, 2, 0, 7], Err(FrameError::Empty(Raw))),
        (
            STRICT,
            &[0xf1, 3, 2, 7],
            Err(FrameError::DeniedType {
                expected: Bytes,
                got: Json,
            }),
        ),
        (RULES, &[0xf3, 1, 7], body("failure of a request", 1)),
        (RULES, &[0xf3, 2, 0x80, 7], body("failure of a request", 2)),
        (RULES, &[0xf3, 3, 7, 5, 0xff], fault(Fault::Words)),
        (STREAM, &[0xf1, 3, 0, 7, 1], fault(Fault::Kind(0xf1))),
        (STREAM, &[0xf2, 3, 0, 7, 1], fault(Fault::Kind(0xf2))),
        (STREAM, &[0xf3, 2, 7, 1], fault(Fault::Kind(0xf3))),
    ];
    for (rules, bytes, expected) in cases {
        assert_eq!(next(rules, bytes), expected, "{bytes:x?}");
    }
    let mut long = vec![0xf3, 0x80, 0x83, 7, 5];
    long.extend([b'x'; 257]);
    assert_eq!(next(RULES, &long), body("failure of a request", 259));
}

#[test]
fn a_stream_has_heads_only_where_it_needs_them() {
    let mut decoder = FrameDecoder::new(STREAM, false);
    assert_eq!(decoder.next(&[], None), Ok(Step::Need(1)));
    assert_eq!(
        decoder.next(&[3, 1, 2, 3], None),
        message(1, 3, DataType::Bytes)
    );
    let size = Some(3);
    assert_eq!(decoder.next(&[9], size), message(0, 3, DataType::Bytes));
    assert_eq!(decoder.next(&[0xff], size), Ok(Step::Need(2)));
    assert_eq!(
        decoder.next(&[0xff, 3, 0xff], size),
        message(2, 3, DataType::Bytes)
    );
    let other = FrameError::StreamSize { size: 4, stream: 3 };
    assert_eq!(decoder.next(&[0xff, 4], size), Err(other));
    let word = Word::Goodbye(None);
    assert_eq!(
        decoder.next(&[0xff, 0xf4, 0], size),
        Ok(Step::Word { end: 3, word })
    );
    let mut named = FrameDecoder::new(STREAM, true);
    assert_eq!(named.next(&[9], size), message(0, 3, DataType::Bytes));
}

/// Reads everything, given in pieces that end at `cuts`.
fn read(rules: Rules, wire: &[u8], cuts: &[usize]) -> (Vec<(DataType, Vec<u8>)>, Vec<Word>) {
    let mut decoder = FrameDecoder::new(rules, false);
    let (mut messages, mut words) = (Vec::new(), Vec::new());
    let (mut start, mut stream) = (0, None);
    for end in cuts.iter().copied().chain([wire.len()]) {
        loop {
            let input = &wire[start..end];
            let mut looked = decoder.clone();
            if let Some((skip, size)) = decoder.at_once(input) {
                let same = message(skip, size, rules.data_type);
                assert_eq!(decoder.clone().next(input, stream), same, "the short cut");
            }
            match looked.next(input, stream).unwrap() {
                Step::Need(n) => {
                    assert!(n > input.len());
                    break;
                }
                Step::Skip(n) => start += n,
                Step::Word { end, word } => {
                    words.push(word);
                    start += end;
                }
                Step::Message {
                    skip,
                    size,
                    data_type,
                } => {
                    let Some(payload) = input.get(skip..skip + size) else {
                        break;
                    };
                    messages.push((data_type, payload.to_vec()));
                    start += skip + size;
                    stream = rules.streaming.then_some(size);
                }
                Step::Call {
                    skip,
                    size,
                    data_type,
                    call,
                } => {
                    let Some(payload) = input.get(skip..skip + size) else {
                        break;
                    };
                    let (which, id) = match call {
                        Call::Request(id) => (0xf1, id),
                        Call::Reply(id) => (0xf2, id),
                    };
                    let mut named = vec![which];
                    named.extend_from_slice(&id.to_be_bytes());
                    named.extend_from_slice(payload);
                    messages.push((data_type, named));
                    start += skip + size;
                }
                Step::Ambiguous => panic!(),
            }
            decoder = looked;
        }
    }
    assert_eq!(start, wire.len());
    (messages, words)
}

proptest! {
    #[test]
    fn messages_survive_every_split(
        sizes in prop::collection::vec((prop_oneof![0..300usize, 16_400..16_600usize], 0..4u8), 0..6),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let (mut wire, mut expected) = (Vec::new(), Vec::new());
        for (size, kind) in sizes {
            let payload: Vec<u8> = (0..size).map(|i| (i * 31) as u8).collect();
            let data_type = if kind == 0 && size > 0 { DataType::Raw } else { DataType::Bytes };
            let head = match data_type {
                DataType::Bytes => Head::of(size),
                other => Head::of_type(size, other),
            };
            wire.extend_from_slice(head.bytes());
            wire.extend_from_slice(&payload);
            expected.push((data_type, payload));
        }
        let goodbye = Word::Goodbye(Some(wire.len() as u64));
        wire.extend(word(goodbye, "", false));
        let (messages, words) = read(RULES, &wire, &cuts(&wire, picks));
        prop_assert_eq!(messages, expected);
        prop_assert_eq!(words, [goodbye]);
    }

    #[test]
    fn requests_survive_every_split(
        calls in prop::collection::vec((any::<bool>(), any::<u32>(), 0..300usize, 0..4u8), 0..6),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let (mut wire, mut expected, mut said) = (Vec::new(), Vec::new(), Vec::new());
        for (asks, id, size, kind) in calls {
            let payload: Vec<u8> = (0..size).map(|i| (i * 31) as u8).collect();
            let (call, which) = match asks {
                true => (Call::Request(id), 0xf1),
                false => (Call::Reply(id), 0xf2),
            };
            let other = (kind == 0 && size > 0).then_some(DataType::Json);
            wire.extend_from_slice(Head::of_call(size, other, call).bytes());
            wire.extend_from_slice(&payload);
            let named = [&[which], &id.to_be_bytes()[..], &payload].concat();
            expected.push((other.unwrap_or(DataType::Bytes), named));
            if kind == 1 {
                wire.extend(word(failed(id, Failure::Busy, 0), "busy", false));
                said.push((id, Failure::Busy));
            }
        }
        let (messages, words) = read(RULES, &wire, &cuts(&wire, picks));
        prop_assert_eq!(messages, expected);
        let words: Vec<_> = words
            .into_iter()
            .map(|word| match word {
                Word::Failed { id, why, .. } => (id, why),
                other => panic!("{other:?}"),
            })
            .collect();
        prop_assert_eq!(words, said);
    }

    #[test]
    fn streams_survive_every_split(
        size in 1..200usize, count in 1..8usize, seed: u8,
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let messages: Vec<(DataType, Vec<u8>)> = (0..count)
            .map(|i| (0..size).map(|j| (i * 85 + j) as u8 ^ seed).collect())
            .map(|payload| (DataType::Bytes, payload))
            .collect();
        let mut wire = Vec::new();
        for (i, (_, payload)) in messages.iter().enumerate() {
            match i {
                0 => wire.extend_from_slice(Head::of(size).bytes()),
                _ if is_marked(payload[0]) => wire.extend_from_slice(Head::marked(size).bytes()),
                _ => {}
            }
            wire.extend_from_slice(payload);
        }
        wire.extend(word(Word::Goodbye(None), "", true));
        wire.extend(word(Word::Taken(3), "", true));
        let (read_messages, words) = read(STREAM, &wire, &cuts(&wire, picks));
        prop_assert_eq!(read_messages, messages);
        prop_assert_eq!(words, [Word::Goodbye(None), Word::Taken(3)]);
    }

    #[test]
    fn any_length_is_read_as_it_was_written(size: u64, short in 0..3_000_000u64) {
        for size in [size, short] {
            let mut head = Head::NONE;
            head.push_length(size);
            prop_assert!(head.bytes().len() <= HEAD_MAX);
            prop_assert_eq!(length(head.bytes()), Ok((head.bytes().len(), size)));
        }
    }

    #[test]
    fn any_bytes_are_answered(
        input in prop::collection::vec(any::<u8>(), 0..400),
        streaming: bool, strict: bool, named: bool, known in prop::option::of(1..300usize),
    ) {
        let rules = Rules { streaming, strict, ..RULES };
        let mut decoder = FrameDecoder::new(rules, named);
        for end in 0..=input.len() {
            match decoder.next(&input[..end], known) {
                Ok(Step::Need(n)) => prop_assert!(n > end && n <= end + 1100),
                Ok(Step::Skip(n)) => prop_assert!(n <= end && n > 0),
                Ok(Step::Word { end: n, .. }) => prop_assert!(n <= end),
                Ok(Step::Message { skip, size, .. }) => {
                    prop_assert!(skip <= end && size <= rules.max_size.max(300));
                }
                Ok(Step::Call { skip, size, .. }) => {
                    prop_assert!(skip <= end && size <= rules.max_size && !streaming);
                }
                Ok(Step::Ambiguous) => prop_assert!(false),
                Err(_) => {}
            }
        }
    }
}

#[test]
fn heartbeats_are_skipped_and_the_wish_for_them_is_kept() {
    let wish = pulse(Pulse::Wanted(2_500), false);
    assert_eq!(wish, [0xf8, 2, 0x89, 0x44]);
    assert_eq!(pulse(Pulse::Beat, false), [0xf9, 0]);
    assert_eq!(pulse(Pulse::Beat, true), [0xff, 0xf9, 0]);

    let mut decoder = FrameDecoder::new(RULES, false);
    assert_eq!(decoder.next(&wish, None), Ok(Step::Skip(4)));
    assert_eq!(decoder.take_pulse(), Some(Pulse::Wanted(2_500)));
    assert_eq!(decoder.take_pulse(), None, "it is taken once");
    assert_eq!(decoder.next(&[0xf9, 0], None), Ok(Step::Skip(2)));
    assert_eq!(decoder.take_pulse(), Some(Pulse::Beat));
    for end in 0..wish.len() {
        let step = decoder.next(&wish[..end], None);
        assert!(matches!(step, Ok(Step::Need(need)) if need > end), "{end}");
    }
    // A body that is no number, or says more, is a later version's.
    for other in [&[0xf8, 0][..], &[0xf8, 2, 7, 7], &[0xf8, 1, 0x80]] {
        assert_eq!(decoder.next(other, None), Ok(Step::Skip(other.len())));
        assert_eq!(decoder.take_pulse(), None, "{other:?}");
    }
}
