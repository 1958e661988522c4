//! DATA headers and payloads, and what else may stand between messages.

use lanpeer::{Bytes, CloseReason, DataType, Dynamic, Json, Raw};

use super::common::wire::{End, HEADER, Wire, data, data_header, header, json};
use super::common::{ended, peer, receive};
use super::{LANPEER, PEERPY, POINT, Point, point};

#[test]
fn json_byte_for_byte() {
    let bob = peer();
    for keys in [PEERPY, LANPEER] {
        let (mut wire, conn) = Wire::accepted::<Json<Point>>(&bob, keys);
        conn.send(&point()).expect("send");
        let payload = br#"{"data":{"x":7,"name":"north"}}"#;
        assert_eq!(
            wire.read(HEADER),
            header("DATA|data_size=31&data_type=json")
        );
        assert_eq!(wire.read(31), payload);

        wire.write(&data("json", payload));
        assert_eq!(receive(&conn), point());
        // As Python writes it, and with more than is needed.
        wire.write(&data(
            "json",
            br#" {"data": {"name": "\u006eorth", "x": 7}} "#,
        ));
        assert_eq!(receive(&conn), point());
        wire.write(&data(
            "json",
            br#"{"id": [1], "data": {"x": 7, "name": "north"}, "to": {}}"#,
        ));
        assert_eq!(receive(&conn), point());
    }
}

#[test]
fn two_types_byte_for_byte() {
    let bob = peer();
    for keys in [PEERPY, LANPEER] {
        let (mut wire, conn) = Wire::accepted::<Json<Point, String>>(&bob, keys);
        conn.send(&point()).expect("send");
        assert_eq!(
            wire.read(HEADER),
            header("DATA|data_size=31&data_type=json")
        );
        assert_eq!(wire.read(31), br#"{"data":{"x":7,"name":"north"}}"#);
        wire.write(&data("json", br#"{"data": "where is north?"}"#));
        assert_eq!(receive(&conn), "where is north?");
        // What this side sends is nothing that it receives.
        wire.write(&data("json", br#"{"data": {"x": 7, "name": "north"}}"#));
        let reason = ended(&conn).to_string();
        assert!(
            reason.contains("receives `alloc::string::String`"),
            "{reason}"
        );
    }
    let (mut wire, conn) = Wire::accepted::<Raw<u8, Point>>(&bob, "data_type=raw&strict=1&v=1");
    conn.send(&7).expect("send");
    assert_eq!(wire.read(HEADER), header("DATA|data_size=1&data_type=raw"));
    assert_eq!(wire.read(1), [7]);
    wire.write(&data("raw", POINT));
    assert_eq!(receive(&conn), point());
}

#[test]
fn raw_byte_for_byte() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted::<Raw<Point>>(&bob, "data_type=raw&strict=1&v=1");
    conn.send(&point()).expect("send");
    assert_eq!(wire.read(HEADER), header("DATA|data_size=15&data_type=raw"));
    assert_eq!(wire.read(15), POINT);
    wire.write(&data("raw", POINT));
    assert_eq!(receive(&conn), point());
}

#[test]
fn bytes_byte_for_byte() {
    let bob = peer();
    for keys in ["data_type=bytes&strict=1", "data_type=bytes&strict=1&v=1"] {
        let (mut wire, conn) = Wire::accepted::<Bytes>(&bob, keys);
        for payload in [b"".as_slice(), b"\0\xff|", &header("PING"), &header("DATA")] {
            conn.send(payload).expect("send");
            assert_eq!(wire.read(HEADER), data_header(payload.len(), "bytes"));
            assert_eq!(wire.read(payload.len()), payload);
            wire.write(&data("bytes", payload));
            assert_eq!(receive(&conn), payload);
        }
    }
}

#[test]
fn messages_in_pieces_and_many_at_once() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted::<Json<u32>>(&bob, PEERPY);
    wire.write_byte_by_byte(&json("1"));
    assert_eq!(receive(&conn), 1);
    let many: Vec<u8> = (0..100).flat_map(|n| json(&n.to_string())).collect();
    wire.write(&many);
    for n in 0..100 {
        assert_eq!(receive(&conn), n);
    }
    assert_eq!(conn.stats().messages_received, 101);
}

#[test]
fn a_data_header_in_any_order_with_keys_of_a_later_version() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted::<Bytes>(&bob, "data_type=bytes&strict=1");
    wire.write(&header("DATA|colour=blue&data_type=bytes&data_size=2"));
    wire.write(b"in");
    assert_eq!(receive(&conn), b"in");
}

#[test]
fn other_headers_between_messages_are_skipped() {
    let bob = peer();
    for keys in [PEERPY, LANPEER] {
        let (mut wire, conn) = Wire::accepted::<Json<u32>>(&bob, keys);
        for (n, text) in ["PING", "PING|key=value", "PONG", "ACCEPT|v=1", "LATER|key="]
            .iter()
            .enumerate()
        {
            wire.write(&header(text));
            wire.write(&json(&n.to_string()));
            assert_eq!(receive(&conn) as usize, n, "{text}");
        }
        assert_eq!(conn.stats().messages_received, 5);
    }
}

#[test]
fn strict_ends_at_a_message_of_another_type() {
    let bob = peer();
    for keys in [PEERPY, LANPEER] {
        let (mut wire, conn) = Wire::accepted::<Json<String>>(&bob, keys);
        wire.write(&json("\"good\""));
        wire.write(&data("bytes", b"bad"));
        assert_eq!(receive(&conn), "good");
        let expected = CloseReason::DeniedType {
            expected: DataType::Json,
            got: DataType::Bytes,
        };
        assert_eq!(ended(&conn), expected);
        assert_eq!(wire.end(), End::Reset);
    }
}

#[test]
fn not_strict_takes_each_message_as_what_it_says() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted::<Dynamic>(&bob, "data_type=json&strict=&v=1");
    assert!(!conn.is_strict());
    wire.write(&json("1"));
    wire.write(&data("bytes", b"\xff"));
    wire.write(&data("raw", POINT));
    let message = receive(&conn);
    assert_eq!(message.data_type(), DataType::Json);
    assert_eq!(message.decode::<u8>().expect("a number"), 1);
    let message = receive(&conn);
    assert_eq!(
        (message.data_type(), message.payload()),
        (DataType::Bytes, b"\xff".as_slice())
    );
    let message = receive(&conn);
    assert_eq!(message.data_type(), DataType::Raw);
    assert_eq!(message.decode::<Point>().expect("a point"), point());
}
