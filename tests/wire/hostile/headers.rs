//! DATA headers that are malformed, claim too much, or break the rules of a stream.

use lanpeer::{Bytes, CloseReason, DataType, Dynamic, Json, Raw};
use serde_json::Value;

use super::arena::Arena;
use super::{BYTES, JSON, RAW, Then};
use crate::common::wire::{HEADER, Wire, data, data_header, header};
use crate::common::{builder, receive};

#[test]
fn malformed_data_headers() {
    let arena = Arena::new();
    let mut not_utf8 = header("DATA|data_size=1&data_type=json&x=####");
    not_utf8[34..38].copy_from_slice(b"\xff\xfe\xfd\xfc");
    let mut stray = data_header(1, "json");
    stray[HEADER - 1] = b'x';
    for bytes in [
        not_utf8,
        stray,
        [0; HEADER],
        [b'|'; HEADER],
        [b'\n'; HEADER],
        header("DATA"),
        header("DATA|data_size=1"),
        header("DATA|data_type=json"),
        header("DATA|data_size&data_type=json"),
        header("DATA|data_size=1&data_type"),
        header("DATA|data_size=1&data_size=1&data_type=json"),
        header("DATA|data_size=1&data_type=json&data_type=json"),
        header("DATA|data_size=1&data_type=json&later=1&later=2"),
        header("PING|no_value"),
        header("PING|a=1&a=1"),
        data_header(-1, "json"),
        data_header("", "json"),
        data_header("0x10", "json"),
        data_header("+1", "json"),
        data_header(" 1", "json"),
        data_header("1e3", "json"),
        data_header(1, "pickle"),
        data_header(1, ""),
        data_header(0, "json"),
    ] {
        arena.malformed::<Json<Value>>(JSON, &bytes);
        arena.malformed::<Json<Value>>("data_type=json&strict=1", &bytes);
        arena.malformed::<Dynamic>("data_type=json&strict=", &bytes);
    }
    arena.malformed::<Raw<Value>>(RAW, &data_header(0, "raw"));
    // Without padding, what follows is taken for the rest of the header.
    let mut unpadded = b"DATA|data_size=10&data_type=json\n".to_vec();
    unpadded.extend([b'x'; HEADER]);
    arena.malformed::<Json<Value>>(JSON, &unpadded);
}

#[test]
fn an_empty_message_of_bytes_is_fine() {
    let arena = Arena::new();
    let (mut wire, conn) = Wire::accepted::<Bytes>(&arena.bob, BYTES);
    wire.write(&data_header(0, "bytes"));
    assert_eq!(receive(&conn), b"");
    wire.write(&data("bytes", b"more"));
    assert_eq!(receive(&conn), b"more");
}

#[test]
fn sizes_beyond_the_limit() {
    let arena = Arena::with(builder().max_message_size(1_000));
    for (size, expected) in [("1001", 1_001), ("1000000000000", 10u64.pow(12))] {
        for keys in [
            BYTES,
            "data_type=bytes&strict=1",
            "data_type=bytes&stream=1&v=1",
        ] {
            let reason = arena.attack::<Bytes>(keys, &data_header(size, "bytes"), Then::Wait);
            assert_eq!(
                reason,
                CloseReason::TooLarge {
                    size: expected,
                    limit: 1_000
                }
            );
        }
    }
    for zeros in [20, 23, 90] {
        let size = format!("1{}", "0".repeat(zeros));
        match arena.attack::<Bytes>(BYTES, &data_header(&size, "bytes"), Then::Wait) {
            CloseReason::TooLarge { limit: 1_000, .. } | CloseReason::Malformed(_) => {}
            other => panic!("{other:?}"),
        }
    }
    // The limit itself is none.
    let (mut wire, conn) = Wire::accepted::<Bytes>(&arena.bob, BYTES);
    wire.write(&data("bytes", &[7; 1_000]));
    assert_eq!(receive(&conn), [7; 1_000]);
}

#[test]
fn streams_that_break_their_rules() {
    let arena = Arena::new();
    let stream = "data_type=bytes&strict=1&stream=1&v=1";
    for bytes in [
        header("PONG").to_vec(),
        data_header(0, "bytes").to_vec(),
        data_header(-1, "bytes").to_vec(),
        vec![0; HEADER],
    ] {
        arena.malformed::<Bytes>(stream, &bytes);
        arena.malformed::<Bytes>("data_type=bytes&strict=1&stream=1", &bytes);
    }
    let reason = arena.attack::<Bytes>(stream, &data("json", b"{}"), Then::Wait);
    let denied = CloseReason::DeniedType {
        expected: DataType::Bytes,
        got: DataType::Json,
    };
    assert_eq!(reason, denied);
    let reason = arena.attack::<Bytes>(stream, &data_header(10u64.pow(12), "bytes"), Then::Wait);
    assert!(matches!(reason, CloseReason::TooLarge { .. }), "{reason:?}");
}
