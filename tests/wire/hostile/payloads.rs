//! JSON and MessagePack that are none, or nest without end.

use lanpeer::{CloseReason, Dynamic, Format, Json, Raw};
use serde_json::Value;

use super::arena::Arena;
use super::{JSON, MILLION, Nested, Point, RAW};
use crate::common::wire::{Wire, data, json};
use crate::common::{DEADLINE, ended, receive};

#[test]
fn json_that_is_none() {
    let arena = Arena::new();
    for payload in [
        b" ".as_slice(),
        b"x",
        b"null",
        b"1",
        b"[]",
        b"[1]",
        b"\"data\"",
        b"{",
        b"{}",
        b"{\"data\"",
        b"{\"data\"}",
        b"{\"data\":}",
        b"{\"data\":1",
        b"{\"data\":1,}",
        b"{'data':1}",
        b"{\"data\":1}x",
        b"{\"data\":1}{\"data\":2}",
        b"{\"Data\":1}",
        b"{\"other\":1}",
        b"{\"data\":1,\"data\":2}",
        b"{\"data\":\"\xff\"}",
        b"{\"data\":\"\\ud800\"}",
        b"{\"data\":\"\\x00\"}",
        b"{\"data\":\"\n\"}",
        b"{\"data\":1e999}",
        b"{\"data\":01}",
        b"{\"data\":NaN}",
        b"\xef\xbb\xbf{\"data\":1}",
        b"\xff\xfe{\0",
        b"\x80\x04K\x01.",
    ] {
        arena.malformed::<Json<Value>>(JSON, &data("json", payload));
    }
    // JSON, but not of this program's type.
    for value in ["null", "\"1\"", "-1", "256", "1.5", "[1]", "{}"] {
        arena.malformed::<Json<u8>>(JSON, &json(value));
    }
    arena.malformed::<Json<Point>>(JSON, &json("{\"y\":1}"));
    arena.malformed::<Json<Point>>(JSON, &json("{\"x\":1,\"x\":1}"));
    arena.malformed::<Json<Point>>(JSON, &json(&"\\u001b[2J".repeat(100_000)));
    arena.malformed::<Json<Point>>(
        JSON,
        &json(&format!("\"{}\"", "\\u001b[2J".repeat(100_000))),
    );
    arena.malformed::<Json<Point>>(
        JSON,
        &json(&format!("{{\"{}\":1}}", "\\u001b[2J".repeat(100_000))),
    );
}

#[test]
fn json_nested_a_million_deep() {
    let arena = Arena::new();
    let open = |text: &str| json(&text.repeat(MILLION));
    let whole = format!("{}{}", "[".repeat(MILLION), "]".repeat(MILLION));
    let whole_maps = format!("{}1{}", "{\"a\":".repeat(MILLION), "}".repeat(MILLION));
    for bytes in [open("["), open("{\"a\":"), json(&whole), json(&whole_maps)] {
        arena.malformed::<Json<Value>>(JSON, &bytes);
        arena.malformed::<Json<Nested>>(JSON, &bytes);
        arena.malformed::<Json<Point>>(JSON, &bytes);
    }
    // Where nobody wants it: passed over or refused, and nothing else.
    let beside = data(
        "json",
        format!("{{\"other\":{whole},\"data\":{{\"x\":1}}}}").as_bytes(),
    );
    let inside = json(&format!("{{\"other\":{whole},\"x\":1}}"));
    for bytes in [beside, inside] {
        passed_over_or_refused::<Json<Point>>(&arena, JSON, &bytes);
    }
}

#[test]
fn messagepack_that_is_none() {
    let arena = Arena::new();
    let malformed = |payload: &[u8]| arena.malformed::<Raw<Value>>(RAW, &data("raw", payload));
    malformed(b"\xc1"); // not used by the format
    malformed(b"\x93\x01"); // an array of three, one of them there
    malformed(b"\x81\xa1x"); // a map without its value
    malformed(b"\xa5nor"); // a string cut
    malformed(b"\xcd\x01"); // a number cut
    malformed(b"\xd9"); // a length cut
    // Bytes left over.
    malformed(b"\x01\x02");
    malformed(b"\xc0\xc0");
    malformed(b"\x91\x01\x00");
    malformed(b"\x01\n");
    // MessagePack, but not of this program's type.
    for payload in [
        b"\xc0".as_slice(),
        b"\xff",
        b"\xcd\x01\x00",
        b"\xa11",
        b"\x91\x01",
        b"\x80",
    ] {
        arena.malformed::<Raw<u8>>(RAW, &data("raw", payload));
    }
    for payload in [b"\x81\xa1y\x01".as_slice(), b"\x82\xa1x\x01\xa1x\x01"] {
        arena.malformed::<Raw<Point>>(RAW, &data("raw", payload));
    }
    arena.malformed::<Raw<String>>(RAW, &data("raw", b"\xa2\xff\xfe"));
}

#[test]
fn messagepack_nested_a_million_deep() {
    let arena = Arena::new();
    let arrays = [b"\x91".repeat(MILLION), b"\x90".to_vec()].concat();
    let maps = [b"\x81\xa1a".repeat(MILLION), b"\x01".to_vec()].concat();
    let keys = [b"\x81".repeat(MILLION), b"\x01".to_vec()].concat();
    for payload in [arrays.clone(), arrays[..MILLION].to_vec(), maps, keys] {
        let bytes = data("raw", &payload);
        arena.malformed::<Raw<Value>>(RAW, &bytes);
        arena.malformed::<Raw<Nested>>(RAW, &bytes);
        arena.malformed::<Raw<Point>>(RAW, &bytes);
        arena.malformed::<Raw<u8>>(RAW, &bytes);
    }
    // A field that nobody wants is decoded too, to find its end.
    let mut unwanted = b"\x82\xa1y".to_vec();
    unwanted.extend(&arrays);
    unwanted.extend(b"\xa1x\x01");
    passed_over_or_refused::<Raw<Point>>(&arena, RAW, &data("raw", &unwanted));

    // Undecoded until the program asks, and then on its own thread.
    let keys = "data_type=raw&strict=1&v=1";
    let (mut wire, conn) = Wire::accepted::<Dynamic>(&arena.bob, keys);
    wire.write(&data("raw", &arrays));
    let message = receive(&conn);
    message.decode::<Value>().expect_err("too deep");
    message.decode::<Nested>().expect_err("too deep");
    wire.write(&json(&"[".repeat(MILLION)));
    assert!(matches!(ended(&conn), CloseReason::DeniedType { .. }));
    arena.is_untouched();
}

#[track_caller]
fn passed_over_or_refused<F: Format>(arena: &Arena, keys: &str, bytes: &[u8]) {
    let (mut wire, conn) = Wire::accepted::<F>(&arena.bob, keys);
    wire.write_what_goes(bytes);
    match conn.recv_timeout(DEADLINE) {
        Ok(_) => println!("passed over"),
        Err(_) => match conn.close_reason() {
            Some(CloseReason::Malformed(words)) => println!("refused: {words}"),
            other => panic!("{other:?}"),
        },
    }
    arena.is_untouched();
}
