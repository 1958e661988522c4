//! Streams, with their size in HELLO or from the first message, in both dialects.

use lanpeer::{Bytes, CloseReason, ConnectOptions, Connection, Json, Raw, SendError, StreamSize};

use super::common::wire::{HEADER, Wire, data, header, json};
use super::common::{ended, peer, receive};
use super::{POINT, Point, answered, point};

const STREAM_OF_4: &str = "data_type=bytes&strict=1&stream=1&data_size=4";
const STREAM: &str = "data_type=bytes&strict=1&stream=1";

fn lanpeer(keys: &str) -> String {
    format!("{keys}&v=1")
}

/// Bytes of the size that was agreed, no headers, both ways.
#[track_caller]
fn flows_both_ways(wire: &mut Wire, conn: &Connection<Bytes>) {
    wire.write(b"abcdefgh");
    assert_eq!(receive(conn), b"abcd");
    assert_eq!(receive(conn), b"efgh");
    wire.write_byte_by_byte(b"ijkl");
    assert_eq!(receive(conn), b"ijkl");
    conn.send(b"1234").expect("send");
    conn.send(b"5678").expect("send");
    assert_eq!(wire.read(8), b"12345678");
    for wrong in [b"".as_slice(), b"123", b"12345"] {
        match conn.send(wrong) {
            Err(SendError::WrongSize { size, stream: 4 }) => assert_eq!(size, wrong.len()),
            other => panic!("{other:?}"),
        }
    }
    conn.send(b"9abc").expect("send");
    assert_eq!(
        wire.read(4),
        b"9abc",
        "nothing of the wrong ones was written"
    );
}

#[test]
fn stream_with_its_size_in_hello() {
    let bob = peer();
    for keys in [STREAM_OF_4.to_string(), lanpeer(STREAM_OF_4)] {
        let (mut wire, conn) = Wire::accepted::<Bytes>(&bob, &keys);
        assert_eq!(conn.stream(), Some(StreamSize::Of(4)));
        flows_both_ways(&mut wire, &conn);
    }
}

#[test]
fn stream_with_its_size_in_hello_when_lanpeer_connects() {
    let alice = peer();
    for answer in ["ACCEPT", "ACCEPT|v=1"] {
        let options = ConnectOptions::new().stream_of(4);
        let (mut wire, result) = answered::<Bytes>(&alice, options, &header(answer));
        flows_both_ways(&mut wire, &result.expect("accepted"));
    }
}

#[test]
fn stream_whose_size_the_remote_sets() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted::<Bytes>(&bob, STREAM);
    assert_eq!(conn.stream(), Some(StreamSize::FromFirst));
    wire.write(&data("bytes", b"0000"));
    assert_eq!(receive(&conn), b"0000");
    // A peerpy that sent the first message itself still waits for a header,
    conn.send(b"1111").expect("send");
    assert_eq!(wire.read(HEADER + 4), data("bytes", b"1111"));
    flows_both_ways(&mut wire, &conn);

    // until its keepalive tells that it has begun to wait anew.
    let (mut wire, conn) = Wire::accepted::<Bytes>(&bob, STREAM);
    wire.write(&header("PING"));
    wire.write(&data("bytes", b"0000"));
    wire.write(&header("PING"));
    wire.write(b"0001");
    assert_eq!(receive(&conn), b"0000");
    assert_eq!(receive(&conn), b"0001");
    flows_both_ways(&mut wire, &conn);
}

#[test]
fn stream_whose_size_lanpeer_sets() {
    let alice = peer();
    let options = ConnectOptions::new().stream();
    let (mut wire, result) = answered::<Bytes>(&alice, options, &header("ACCEPT"));
    let conn = result.expect("accepted");
    conn.send(b"0000").expect("send");
    assert_eq!(wire.read(HEADER + 4), data("bytes", b"0000"));
    flows_both_ways(&mut wire, &conn);
}

#[test]
fn between_lanpeers_each_direction_of_a_stream_begins_with_a_header() {
    let bob = peer();
    for remote_first in [true, false] {
        let (mut wire, conn) = Wire::accepted::<Bytes>(&bob, &lanpeer(STREAM));
        let mut step = |remote: bool| {
            if remote {
                wire.write(&data("bytes", b"0000"));
                assert_eq!(receive(&conn), b"0000");
            } else {
                conn.send(b"0000").expect("send");
                assert_eq!(wire.read(HEADER + 4), data("bytes", b"0000"));
            }
        };
        step(remote_first);
        step(!remote_first);
        flows_both_ways(&mut wire, &conn);
    }
}

#[test]
fn first_messages_of_a_stream_that_cross() {
    let bob = peer();
    // Between lanpeers the sizes must agree,
    let (mut wire, conn) = Wire::accepted::<Bytes>(&bob, &lanpeer(STREAM));
    conn.send(b"0000").expect("send");
    wire.write(&data("bytes", b"00000"));
    assert!(
        matches!(ended(&conn), CloseReason::Malformed(_)),
        "{:?}",
        conn.close_reason()
    );

    // and a remote that sent its first before it saw ours still has a header on it.
    let (mut wire, conn) = Wire::accepted::<Bytes>(&bob, STREAM);
    conn.send(b"0000").expect("send");
    wire.write(&data("bytes", b"0000"));
    assert_eq!(receive(&conn), b"0000");
    assert_eq!(wire.read(HEADER + 4), data("bytes", b"0000"));
    flows_both_ways(&mut wire, &conn);
}

#[test]
fn keepalives_inside_a_stream_are_no_messages() {
    let bob = peer();
    for keys in [
        STREAM_OF_4,
        STREAM,
        "data_type=bytes&stream=1&data_size=1000",
    ] {
        let (mut wire, conn) = Wire::accepted::<Bytes>(&bob, keys);
        let frame = vec![b'x'; if keys.ends_with("1000") { 1000 } else { 4 }];
        wire.write(&header("PING"));
        wire.write(&if keys == STREAM {
            data("bytes", &frame)
        } else {
            frame.clone()
        });
        assert_eq!(receive(&conn), frame);
        wire.write(&header("PING")[..3]);
        wire.write(&header("PING")[3..]);
        let mut more = header("PING").to_vec();
        more.extend(&frame);
        more.extend(header("PING"));
        more.extend(header("PING"));
        more.extend(&frame);
        wire.write(&more);
        assert_eq!(receive(&conn), frame);
        assert_eq!(receive(&conn), frame);
        assert_eq!(conn.stats().messages_received, 3);
    }
}

#[test]
fn frames_that_only_begin_like_a_keepalive_are_messages() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted::<Bytes>(&bob, STREAM_OF_4);
    wire.write(b"PINGPING");
    assert_eq!(receive(&conn), b"PING");
    assert_eq!(receive(&conn), b"PING", "also when nothing follows");
    wire.write(b"PING||||");
    assert_eq!(receive(&conn), b"PING");
    assert_eq!(receive(&conn), b"||||");
}

/// The remote knows the size from our first message, so its own first has no header; but where
/// the two cross it has one.
#[test]
fn frames_that_only_begin_like_a_first_header_are_messages() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted::<Bytes>(&bob, STREAM);
    conn.send(b"00000").expect("send");
    assert_eq!(wire.read(HEADER + 5), data("bytes", b"00000"));
    wire.write(b"DATA|");
    assert_eq!(receive(&conn), b"DATA|", "also when nothing follows");
    wire.write(b"DATA|");
    assert_eq!(receive(&conn), b"DATA|");
}

#[test]
fn between_lanpeers_a_frame_may_be_anything() {
    let bob = peer();
    let keys = lanpeer("data_type=bytes&strict=1&stream=1&data_size=128");
    let (mut wire, conn) = Wire::accepted::<Bytes>(&bob, &keys);
    for text in ["PING", "DATA|data_size=1&data_type=bytes", ""] {
        wire.write(&header(text));
        assert_eq!(receive(&conn), header(text));
    }
}

#[test]
fn streams_of_json_and_raw() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted::<Json<u32>>(&bob, "data_type=json&stream=1");
    wire.write(&json("12"));
    assert_eq!(receive(&conn), 12);
    wire.write(b"{\"data\":34}{\"data\": 5}");
    assert_eq!(receive(&conn), 34);
    assert_eq!(receive(&conn), 5);
    conn.send(&67).expect("send");
    assert_eq!(wire.read(HEADER + 11), json("67"));
    conn.send(&89).expect("send");
    assert_eq!(wire.read(11), b"{\"data\":89}");
    assert!(matches!(
        conn.send(&8),
        Err(SendError::WrongSize {
            size: 10,
            stream: 11
        })
    ));

    let keys = "data_type=raw&stream=1&data_size=15&v=1";
    let (mut wire, conn) = Wire::accepted::<Raw<Point>>(&bob, keys);
    wire.write(POINT);
    assert_eq!(receive(&conn), point());
    conn.send(&point()).expect("send");
    assert_eq!(wire.read(15), POINT);
}
