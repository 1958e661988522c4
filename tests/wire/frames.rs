//! Frames, byte for byte: the handshake that agrees on them, messages, streams, and the end.

use std::{thread, time::Duration};

use lanpeer::{
    Bytes, CloseError, CloseReason, ConnectOptions, DataType, Dynamic, Error, Json, Message, Raw,
    StreamSize,
};

use super::common::wire::{
    End, GOODBYE, HEADER, WHO, Wire, WireListener, data, frame, header, json, leaving, length,
    of_kind, taken,
};
use super::common::{DEADLINE, builder, ended, next_offer, peer, receive, spawn, within_deadline};
use super::{POINT, Point, connecting, point};

const JSON: &str = "data_type=json&strict=1";
const BYTES: &str = "data_type=bytes&strict=1";
const STREAM: &str = "data_type=bytes&strict=1&stream=1";
const STREAM_OF_3: &str = "data_type=bytes&strict=1&stream=1&data_size=3";

// The handshake

#[test]
fn the_lowest_version_is_spoken_and_both_say_who_they_are() {
    let bob = builder().name("bob").service("chat");
    let bob = bob.bind("127.0.0.1:0").expect("bind");
    let own = header(&format!("WHO|id={}&name=bob&service=chat", bob.id()));
    for (version, spoken) in [("2", 2), ("3", 2), ("17", 2), ("1", 1)] {
        let mut wire = Wire::connect(bob.local_addr());
        let hello = format!("HELLO|peer_name=127.0.0.1:9&{JSON}&v={version}&who=1");
        wire.write(&[header(&hello), header(WHO)].concat());
        let offer = next_offer(&bob);
        let name = (spoken == 2).then_some("wire");
        assert_eq!(offer.peer_name(), name, "v={version}");
        let conn = offer.accept::<Json<u32>>().expect("accept");
        let answer = header(&format!("ACCEPT|v={spoken}"));
        if spoken == 1 {
            // WHO is a header of an unknown kind to one who speaks no frames.
            assert_eq!(wire.read(HEADER), answer);
            wire.write(&json("1"));
        } else {
            assert_eq!(wire.read(2 * HEADER), [answer, own].concat());
            assert_eq!(conn.peer_id().expect("told").to_string(), "0000005eed");
            assert_eq!(conn.peer_service(), Some("test"));
            wire.write(&frame(b"1"));
        }
        assert_eq!(receive(&conn), 1);
    }
}

#[test]
fn who_may_come_in_pieces_and_with_what_is_not_known() {
    let bob = peer();
    let mut wire = Wire::connect(bob.local_addr());
    let hello = header(&format!("HELLO|peer_name=127.0.0.1:9&{BYTES}&v=2&who=1"));
    wire.write_byte_by_byte(&hello);
    wire.write_byte_by_byte(&header("WHO|colour=blue&service=&id=7"));
    wire.write(&frame(b"early"));
    let conn = next_offer(&bob).accept::<Bytes>().expect("accept");
    assert_eq!((conn.peer_name(), conn.peer_service()), (None, None));
    assert_eq!(receive(&conn), b"early");
}

#[test]
fn a_client_without_who_is_asked() {
    let bob = peer();
    for keys in [BYTES, STREAM] {
        let mut wire = Wire::offer(bob.local_addr(), &format!("{keys}&v=2"));
        assert_eq!(wire.read(HEADER), header("WHO"));
        assert!(bob.offers().is_empty(), "it is not known who it is");
        wire.write(&header(WHO));
        let conn = next_offer(&bob).accept::<Bytes>().expect("accept");
        assert_eq!(conn.peer_name(), Some("wire"));
        assert_eq!(wire.read(HEADER), header("ACCEPT|v=2"));
        assert!(wire.read(HEADER).starts_with(b"WHO|id="));
        wire.write(&frame(b"abc"));
        assert_eq!(receive(&conn), b"abc");
    }
}

#[test]
fn a_denial_is_text_and_says_nothing_of_who_it_is() {
    let bob = peer();
    let mut wire = Wire::offer_frames(bob.local_addr(), JSON);
    next_offer(&bob).deny("no").expect("deny");
    assert_eq!(wire.read(HEADER), header("DENY|reason=no"));
    assert_eq!(wire.end(), End::Fin);
}

#[test]
fn a_header_that_is_not_padded_agrees_on_no_frames() {
    let bob = peer();
    let mut wire = Wire::connect(bob.local_addr());
    wire.write(format!("HELLO|peer_name=127.0.0.1:9&{JSON}&v=2&who=1\n").as_bytes());
    let conn = next_offer(&bob).accept::<Json<u32>>().expect("accept");
    assert_eq!(wire.read(HEADER), header("ACCEPT|v=1"));
    wire.write(&json("1"));
    assert_eq!(receive(&conn), 1);

    let alice = peer();
    let (mut wire, connecting) = asked(&alice, ConnectOptions::new());
    wire.write(b"ACCEPT|v=2\n");
    let conn = connecting.wait("connect").expect("accepted");
    assert_eq!(conn.peer_id(), None);
    wire.write(&json("1"));
    assert_eq!(receive(&conn), 1);
}

/// Alice has asked, and said who she is where that is asked of her.
fn asked(alice: &lanpeer::Peer, options: ConnectOptions) -> (Wire, super::Connecting<Json<u32>>) {
    let listener = WireListener::bind();
    let connecting = connecting::<Json<u32>>(alice, listener.addr(), options);
    let mut wire = listener.accept();
    assert_eq!(wire.fields().get("v"), Some("2"));
    (wire, connecting)
}

#[test]
fn lanpeer_asks_for_frames() {
    let alice = builder().name("alice").bind("127.0.0.1:0").expect("bind");
    let own = header(&format!("WHO|id={}&name=alice", alice.id()));
    for stream in [false, true] {
        let options = match stream {
            true => ConnectOptions::new().stream(),
            false => ConnectOptions::new(),
        };
        let (mut wire, connecting) = asked(&alice, options);
        if stream {
            wire.write(&header("WHO"));
            assert_eq!(wire.read(HEADER), own);
        }
        // Messages may come with the answer.
        let answer = [header("ACCEPT|v=2"), header(WHO)].concat();
        let second = match stream {
            true => b"8".to_vec(),
            false => frame(b"8"),
        };
        wire.write(&[answer, frame(b"7"), second].concat());
        let conn = connecting.wait("connect").expect("accepted");
        assert_eq!(conn.peer_name(), Some("wire"));
        assert_eq!((receive(&conn), receive(&conn)), (7, 8));
        conn.send(&9).expect("send");
        assert_eq!(wire.read(2), frame(b"9"));
    }
}

#[test]
fn lanpeer_says_who_it_is_once() {
    let alice = peer();
    let refused = |result: Result<lanpeer::Connection<Json<u32>>, Error>| match result.err() {
        Some(Error::Handshake { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    // It has said so behind HELLO;
    let (mut wire, connecting) = asked(&alice, ConnectOptions::new());
    wire.write(&header("WHO"));
    let twice = refused(connecting.wait("connect"));
    assert!(twice.contains("WHO"), "{twice}");
    // and where it was asked.
    let (mut wire2, connecting) = asked(&alice, ConnectOptions::new().stream());
    wire2.write(&header("WHO"));
    assert!(wire2.read(HEADER).starts_with(b"WHO|id="));
    wire2.write(&header("WHO"));
    assert_eq!(refused(connecting.wait("connect")), twice);
    for mut wire in [wire, wire2] {
        assert!(wire.rest().0.is_empty());
    }
}

// Messages

/// At each length at which the head becomes longer.
#[test]
fn messages_with_heads_of_each_length() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&bob, BYTES);
    let mut heads = Vec::new();
    for size in [
        0, 1, 127, 128, 129, 383, 384, 16_511, 16_512, 65_535, 65_536, 82_047, 82_048, 2_113_663,
        2_113_664, 16_777_216,
    ] {
        let payload: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        let bytes = frame(&payload);
        heads.push(bytes.len() - payload.len());
        wire.write(&bytes);
        assert_eq!(receive(&conn), payload, "{size}");
        // One that is larger than the queue waits for who reads it.
        let sending = conn.clone();
        let send = spawn(move || sending.send(&payload));
        assert!(wire.read(bytes.len()) == bytes, "{size}");
        send.wait("send").expect("it is read");
    }
    heads.dedup();
    assert_eq!(heads, [1, 2, 3, 4, 5]);
    assert_eq!(conn.stats().messages_received, 16);
}

#[test]
fn messages_in_pieces_and_many_at_once() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&bob, BYTES);
    let sizes = [0, 3, 127, 128, 300];
    let all: Vec<u8> = sizes
        .iter()
        .flat_map(|size| frame(&vec![9; *size]))
        .collect();
    wire.write_byte_by_byte(&all);
    wire.write(&all.repeat(20));
    for size in sizes.repeat(21) {
        assert_eq!(receive(&conn), vec![9; size]);
    }
}

#[test]
fn json_has_no_envelope_and_raw_is_messagepack() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted_frames::<Json<Point>>(&bob, JSON);
    wire.write(b"\x18{\"x\": 7, \"name\":\"north\"}");
    assert_eq!(receive(&conn), point());
    conn.send(&point()).expect("send");
    assert_eq!(wire.read(23), b"\x16{\"x\":7,\"name\":\"north\"}");

    let keys = "data_type=raw&strict=1";
    let (mut wire, conn) = Wire::accepted_frames::<Raw<Point>>(&bob, keys);
    wire.write(&frame(POINT));
    assert_eq!(receive(&conn), point());
    conn.send(&point()).expect("send");
    assert_eq!(wire.read(1 + POINT.len()), frame(POINT));
}

/// A program that waits reads for itself, and decodes several messages of one read together.
#[test]
fn what_is_wrong_with_one_message_of_a_read_comes_behind_those_before_it() {
    let good: Vec<u8> = (10..50)
        .flat_map(|n: u32| frame(n.to_string().as_bytes()))
        .collect();
    for bad in 0..12 {
        let bob = peer();
        let (mut wire, conn) = Wire::accepted_frames::<Json<u32>>(&bob, JSON);
        let receiving = conn.clone();
        let numbers = spawn(move || receiving.iter().collect::<Vec<u32>>());
        // Each is a length and two digits.
        let before = &good[..bad * 3];
        wire.write(&[before, &frame(b"\"x\""), &good[..]].concat());
        assert_eq!(
            numbers.wait("the receiver"),
            Vec::from_iter(10..10 + bad as u32)
        );
        assert!(matches!(ended(&conn), CloseReason::Malformed(_)));
    }
}

/// Its decoder panics at 13.
#[derive(Debug)]
struct Superstitious(u32);

impl<'de> serde::Deserialize<'de> for Superstitious {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(from)?;
        assert_ne!(number, 13, "on purpose");
        Ok(Superstitious(number))
    }
}

#[test]
fn a_decoder_that_panics_takes_nothing_from_the_messages_before() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted_frames::<Json<Superstitious>>(&bob, JSON);
    let receiving = conn.clone();
    let numbers = spawn(move || receiving.iter().map(|item| item.0).collect::<Vec<u32>>());
    let all: Vec<u8> = (10..50)
        .flat_map(|n: u32| frame(n.to_string().as_bytes()))
        .collect();
    wire.write(&all);
    assert_eq!(numbers.wait("the receiver"), [10, 11, 12]);
    ended(&conn);
}

/// peerpy's envelope is a value like any other here.
#[test]
fn an_envelope_is_no_special_value() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted_frames::<Json<u32>>(&bob, JSON);
    wire.write(&frame(b"{\"data\":5}"));
    assert!(matches!(ended(&conn), CloseReason::Malformed(_)));
}

#[test]
fn a_message_of_another_type_names_it() {
    let bob = peer();
    let keys = "data_type=bytes&strict=";
    let (mut wire, conn) = Wire::accepted_frames::<Dynamic>(&bob, keys);
    for (bytes, data_type, payload) in [
        (&b"\xf0\x03\x0242"[..], DataType::Json, &b"42"[..]),
        (b"\xf0\x02\x01\x2a", DataType::Raw, b"\x2a"),
        (b"\xf0\x01\x03", DataType::Bytes, b""),
        // also the agreed one
        (b"\xf0\x04\x03abc", DataType::Bytes, b"abc"),
        (b"\x03abc", DataType::Bytes, b"abc"),
        (b"\x00", DataType::Bytes, b""),
    ] {
        wire.write_byte_by_byte(bytes);
        let message = receive(&conn);
        assert_eq!(
            (message.data_type(), message.payload()),
            (data_type, payload)
        );
    }
    conn.send(&Message::json(&42).expect("a value"))
        .expect("send");
    conn.send(&Message::raw(&42).expect("a value"))
        .expect("send");
    conn.send(&Message::bytes(*b"abc")).expect("send");
    let expected = b"\xf0\x03\x0242\xf0\x02\x01\x2a\x03abc";
    assert_eq!(wire.read(expected.len()), expected);
}

#[test]
fn kinds_to_come_are_skipped() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&bob, BYTES);
    for kind in 0xf8..=0xfb {
        for size in [0, 1, 127, 128, 1024] {
            wire.write(&of_kind(kind, &vec![0xfc; size]));
            wire.write(&frame(b"next"));
            assert_eq!(receive(&conn), b"next");
        }
    }
    wire.write_byte_by_byte(&of_kind(0xf8, b"\xf4\0"));
    wire.write_byte_by_byte(GOODBYE);
    assert_eq!(ended(&conn), CloseReason::ClosedThere);
}

const BEAT: &[u8] = b"\xf9\0";

#[test]
fn who_asks_for_a_heartbeat_gets_one() {
    let bob = builder()
        .receive_queue(1)
        .bind("127.0.0.1:0")
        .expect("bind");
    let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&bob, BYTES);
    wire.write(&of_kind(0xf8, &length(500)));
    assert_eq!(wire.read(BEAT.len()), BEAT);
    wire.write(&of_kind(0xf8, &length(500)));
    assert_eq!(wire.read(BEAT.len()), BEAT, "each time");
    // A program that takes nothing is alive all the same, and a question would not be read.
    // It fits into the system's buffers, and not into the queue.
    wire.write(&frame(&[7; 1000]).repeat(600));
    for _ in 0..4 {
        assert_eq!(wire.read(BEAT.len()), BEAT);
    }
    assert_eq!(conn.stats().messages_sent, 0, "it is no message");
    assert!(conn.close_reason().is_none());
}

/// Nothing was unread when the first heartbeat was due, and the thread that would read what comes later
/// waits for the program.
#[test]
fn a_program_that_takes_nothing_is_alive_also_when_something_comes_later() {
    let bob = builder()
        .receive_queue(1)
        .bind("127.0.0.1:0")
        .expect("bind");
    let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&bob, BYTES);
    let two = frame(b"a").repeat(2);
    wire.write(&[of_kind(0xf8, &length(500)), two].concat());
    assert_eq!(wire.read(BEAT.len()), BEAT);
    wire.write(&frame(b"b"));
    for _ in 0..3 {
        assert_eq!(wire.read(BEAT.len()), BEAT);
    }
    assert!(conn.close_reason().is_none());
}

/// Or two sides that both ask would answer each other for ever.
#[test]
fn a_heartbeat_is_not_answered_by_one() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&bob, BYTES);
    wire.write(&of_kind(0xf8, &length(500)));
    assert_eq!(wire.read(BEAT.len()), BEAT);
    wire.write(BEAT);
    // An answer would come in this time.
    thread::sleep(Duration::from_millis(1500));
    conn.send(b"abc").expect("send");
    assert_eq!(wire.read(4), frame(b"abc"));
}

#[test]
fn a_heartbeat_in_a_stream_is_marked() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&bob, STREAM_OF_3);
    wire.write(&[&[0xff][..], &of_kind(0xf8, &length(500))].concat());
    assert_eq!(wire.read(3), b"\xff\xf9\0");
    conn.send(b"abc").expect("send");
    assert_eq!(wire.read(3), b"abc");
}

// Streams

#[test]
fn a_stream_whose_size_hello_named() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&bob, STREAM_OF_3);
    assert_eq!(conn.stream(), Some(StreamSize::Of(3)));
    let bytes = b"abc\xff\x03\xff12\x00\xff\xff\xff\x03\xff\xff\xff";
    wire.write_byte_by_byte(bytes);
    wire.write(&bytes.repeat(50));
    for message in [b"abc", b"\xff12", b"\x00\xff\xff", b"\xff\xff\xff"].repeat(51) {
        assert_eq!(receive(&conn), message);
        conn.send(message).expect("send");
    }
    assert_eq!(wire.read(bytes.len() * 51), bytes.repeat(51));
    wire.write(b"\xff\xf4\0");
    assert_eq!(ended(&conn), CloseReason::ClosedThere);
    assert_eq!(wire.read(4), [&[0xff], &leaving(204)[..3]].concat());
}

#[test]
fn a_stream_whose_first_messages_have_heads() {
    let bob = peer();
    for remote_first in [true, false] {
        let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&bob, STREAM);
        let mut step = |remote: bool, message: &[u8], bytes: &[u8]| match remote {
            true => {
                wire.write(bytes);
                assert_eq!(receive(&conn), message);
            }
            false => {
                conn.send(message).expect("send");
                assert_eq!(wire.read(bytes.len()), bytes);
            }
        };
        // The first one has no mark, whatever it begins with.
        step(remote_first, b"\xff12", b"\x03\xff12");
        step(!remote_first, b"\xff34", b"\x03\xff34");
        for remote in [true, false] {
            step(remote, b"abc", b"abc");
            step(remote, b"\xff56", b"\xff\x03\xff56");
        }
        wire.write(b"\xff\xf4\0");
        assert_eq!(wire.read(4), b"\xff\xf4\x01\x03");
        assert_eq!(wire.end(), End::Fin);
        wire.write(b"\xff\xf5\x01\x03");
        wire.fin();
        assert_eq!(ended(&conn), CloseReason::ClosedThere);
    }
}

/// Where nothing was sent in a direction, its goodbye has no mark.
#[test]
fn a_stream_without_messages() {
    let bob = peer();
    for (keys, goodbye, answer) in [
        (STREAM, &b"\xf4\0"[..], &b"\xf4\x01\0"[..]),
        (STREAM_OF_3, b"\xff\xf4\0", b"\xff\xf4\x01\0"),
    ] {
        let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&bob, keys);
        wire.write(goodbye);
        assert_eq!(wire.read(answer.len()), answer, "{keys}");
        assert_eq!(ended(&conn), CloseReason::ClosedThere);
    }
}

/// What is skipped is no reason to leave a head out.
#[test]
fn a_kind_that_is_skipped_changes_nothing_in_a_stream() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&bob, STREAM);
    wire.write(b"\xf8\0\x03abc\xff\xf8\0def");
    assert_eq!(receive(&conn), b"abc");
    assert_eq!(receive(&conn), b"def");
    conn.send(b"ghi").expect("send");
    conn.send(b"jkl").expect("send");
    assert_eq!(wire.read(7), b"\x03ghijkl");
}

#[test]
fn first_messages_of_different_sizes_that_cross() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&bob, STREAM);
    conn.send(b"abc").expect("send");
    wire.write(b"\x04abcd");
    let words = "malformed: a message of 4 bytes in a stream of 3 bytes";
    assert_eq!(ended(&conn), CloseReason::Malformed(words.into()));
}

// The end

#[test]
fn the_remote_says_goodbye() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted_frames::<Json<u32>>(&bob, JSON);
    conn.send(&5).expect("send");
    wire.write(b"\x011\x012\xf4\0");
    assert_eq!((receive(&conn), receive(&conn)), (1, 2));
    assert_eq!(ended(&conn), CloseReason::ClosedThere);
    let (bytes, end) = wire.rest();
    assert_eq!((bytes, end), (b"\x015\xf4\x01\x02".to_vec(), End::Fin));
    wire.write(&taken(1));
    wire.fin();
    let closing = conn.clone();
    let close = within_deadline("close", move || closing.close());
    assert_eq!(close, Ok(()));
}

#[test]
fn lanpeer_closes() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted_frames::<Json<u32>>(&bob, JSON);
    conn.send(&5).expect("send");
    let closing = conn.clone();
    let close = spawn(move || closing.close());
    assert_eq!(wire.read(4), b"\x015\xf4\0");
    assert!(wire.is_silent());
    // What comes after its goodbye is still taken in.
    wire.write(b"\x017");
    assert_eq!(receive(&conn), 7);
    wire.write(&[&b"\x018"[..], &leaving(1)].concat());
    let (bytes, end) = wire.rest();
    assert_eq!((bytes, end), (taken(2), End::Fin));
    wire.fin();
    close.wait("close").expect("all was taken in");
    assert_eq!(receive(&conn), 8);
    assert_eq!(ended(&conn), CloseReason::ClosedHere);
}

/// Each has said goodbye before it had the other's.
#[test]
fn goodbyes_that_cross() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&bob, BYTES);
    conn.send(b"abc").expect("send");
    wire.write(b"\x02no");
    let closing = conn.clone();
    let close = spawn(move || closing.close());
    assert_eq!(wire.read(6), b"\x03abc\xf4\0");
    wire.write(GOODBYE);
    assert_eq!(wire.rest(), (taken(1), End::Fin));
    wire.write_byte_by_byte(&taken(1));
    assert_eq!(close.wait("close"), Ok(()));
}

#[test]
fn a_remote_that_did_not_take_in_all() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&bob, BYTES);
    conn.send(b"abc").expect("send");
    let closing = conn.clone();
    let close = spawn(move || closing.close());
    assert_eq!(wire.read(6), b"\x03abc\xf4\0");
    wire.write(&leaving(0));
    let reason = CloseReason::Reset;
    assert_eq!(close.wait("close"), Err(CloseError::Incomplete(reason)));

    let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&bob, BYTES);
    conn.send(b"abc").expect("send");
    assert_eq!(wire.read(4), b"\x03abc");
    wire.write(&leaving(0));
    assert_eq!(ended(&conn), CloseReason::Reset);
}

#[test]
fn a_dropped_handle_says_what_was_taken() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&bob, BYTES);
    wire.write(&[frame(b"1"), frame(b"2")].concat());
    assert_eq!(
        (receive(&conn), receive(&conn)),
        (b"1".to_vec(), b"2".to_vec())
    );
    conn.send(b"3").expect("send");
    drop(conn);
    assert_eq!(wire.read(2), b"\x013");
    assert_eq!(wire.rest(), (leaving(2), End::Fin));
    wire.write(&leaving(1));
    wire.fin();
}

#[test]
fn an_abort_says_nothing() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted_frames::<Bytes>(&bob, BYTES);
    conn.abort();
    assert_eq!(wire.end(), End::Reset);
    let (wire, conn) = Wire::accepted_frames::<Bytes>(&bob, BYTES);
    wire.reset();
    assert_eq!(ended(&conn), CloseReason::Reset);
}

/// A `close` in the connection's own handler reads ahead, and says at once what it finds.
#[test]
fn a_close_in_a_handler_learns_how_it_ended() {
    let malformed = |words: &str| CloseReason::Malformed(format!("malformed: {words}"));
    let too_many = "the other side took in 5 messages of 1";
    for (bytes, fin, reason) in [
        (&b"\x01b\xf4\0\xf5\x01\x01"[..], false, None),
        (b"\x01b\xf4\x01\x01", false, None),
        (b"\xf8\0\xf4\x01\0", false, Some(CloseReason::Reset)),
        (
            b"\x01b\xf6\x02no",
            false,
            Some(CloseReason::RefusedThere("no".into())),
        ),
        (
            b"\xfc\0",
            false,
            Some(malformed("a frame of the unknown kind 0xfc")),
        ),
        (b"\xf4\0\xf4\0", false, Some(malformed("a second goodbye"))),
        (
            b"\xf4\0\x01b",
            false,
            Some(malformed("a message behind the goodbye")),
        ),
        (
            b"\xf5\x01\x01",
            false,
            Some(malformed("a count of messages before the goodbye")),
        ),
        (b"\xf4\x01\x05", false, Some(malformed(too_many))),
        (b"\x01b", true, Some(CloseReason::Vanished)),
        (b"\xf4\0", true, Some(CloseReason::Vanished)),
        (b"\x01", true, Some(CloseReason::Truncated)),
        (b"\x01b\xf4", true, Some(CloseReason::Truncated)),
    ] {
        let bob = builder().close_timeout(DEADLINE * 2);
        let bob = bob.bind("127.0.0.1:0").expect("bind");
        let mut wire = Wire::offer_frames(bob.local_addr(), BYTES);
        let (tell, told) = lanpeer::crossbeam_channel::unbounded();
        let handler = move |conn: &lanpeer::Connection<Bytes>, message: Vec<u8>| {
            if message == b"a" {
                conn.send(b"last").expect("send");
                let _ = tell.send(conn.close());
            }
        };
        let _ = next_offer(&bob)
            .accept_with::<Bytes>(handler)
            .expect("accept");
        wire.read(2 * HEADER);
        wire.write(b"\x01a");
        assert_eq!(wire.read(7), b"\x04last\xf4\0");
        wire.write(bytes);
        if fin {
            wire.fin();
        }
        let close = told.recv_timeout(DEADLINE).expect("at once");
        let expected = match reason {
            None => Ok(()),
            Some(reason) => Err(CloseError::Incomplete(reason)),
        };
        assert_eq!(close, expected, "{}", bytes.escape_ascii());
    }
}

// Lanpeers of before, and other programs

/// A lanpeer that speaks no frames: HELLO with `v=1`, headers, FIN.
#[test]
fn a_lanpeer_of_before_connects() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted::<Json<u32>>(&bob, &format!("{JSON}&v=1"));
    assert_eq!((conn.peer_id(), conn.peer_name()), (None, None));
    wire.write(&json("1"));
    assert_eq!(receive(&conn), 1);
    conn.send(&2).expect("send");
    assert_eq!(wire.read(HEADER + 10), json("2"));
    wire.fin();
    assert_eq!(ended(&conn), CloseReason::ClosedThere);
    assert_eq!(wire.end(), End::Fin);
}

#[test]
fn a_lanpeer_of_before_opens_streams() {
    let bob = peer();
    for (keys, first) in [(STREAM, true), (STREAM_OF_3, false)] {
        let (mut wire, conn) = Wire::accepted::<Bytes>(&bob, &format!("{keys}&v=1"));
        let head = |message: &[u8]| match first {
            true => data("bytes", message),
            false => message.to_vec(),
        };
        wire.write(&[&head(b"abc")[..], b"\xff12"].concat());
        assert_eq!(receive(&conn), b"abc");
        assert_eq!(receive(&conn), b"\xff12");
        conn.send(b"\xffgh").expect("send");
        conn.send(b"\xffij").expect("send");
        let expected = [&head(b"\xffgh")[..], b"\xffij"].concat();
        assert_eq!(wire.read(expected.len()), expected);
        drop(conn);
        assert_eq!(wire.end(), End::Fin);
    }
}

/// What it does with HELLO: `v=2` is at least 1, `who` no key of its own, and WHO, behind HELLO, a
/// header between two messages of a kind that it does not know. It answers `v=1`.
#[test]
fn a_lanpeer_of_before_is_asked() {
    let alice = peer();
    let (mut wire, connecting) = asked(&alice, ConnectOptions::new());
    wire.write(&header("ACCEPT|v=1"));
    let conn = connecting.wait("connect").expect("accepted");
    assert_eq!(conn.peer_id(), None);
    conn.send(&2).expect("send");
    assert_eq!(wire.read(HEADER + 10), json("2"));
    wire.write(&json("1"));
    assert_eq!(receive(&conn), 1);
    let closing = conn.clone();
    let close = spawn(move || closing.close());
    assert_eq!(wire.end(), End::Fin);
    wire.fin();
    assert_eq!(close.wait("close"), Ok(()));
}

/// The HELLO of a stream goes alone: nothing is in front of what it takes for data.
#[test]
fn a_lanpeer_of_before_is_asked_for_streams() {
    let alice = peer();
    for (size, version) in [(None, 1), (Some(1), 1), (None, 0), (Some(1), 0)] {
        let options = match size {
            None => ConnectOptions::new().stream(),
            Some(size) => ConnectOptions::new().stream_of(size),
        };
        let listener = WireListener::bind();
        let connecting = connecting::<Bytes>(&alice, listener.addr(), options);
        let mut wire = listener.accept();
        let hello = wire.fields();
        assert_eq!((hello.get("v"), hello.get("who")), (Some("2"), None));
        assert!(wire.is_silent());
        wire.write(&header(["ACCEPT", "ACCEPT|v=1"][version]));
        let conn = connecting.wait("connect").expect("accepted");
        let head = |message: &[u8]| match size {
            None => data("bytes", message),
            Some(_) => message.to_vec(),
        };
        conn.send(b"\xff").expect("send");
        conn.send(b"\xff").expect("send");
        let expected = [&head(b"\xff")[..], b"\xff"].concat();
        assert_eq!(wire.read(expected.len()), expected);
        // A peerpy's first message has no header any more.
        wire.write(&match version {
            1 => head(b"\xff"),
            _ => b"\xff".to_vec(),
        });
        wire.write(b"\xff");
        assert_eq!(receive(&conn), b"\xff");
        assert_eq!(receive(&conn), b"\xff");
        assert_eq!(conn.peer_name(), None);
    }
}

/// The same bytes towards a peerpy as if there were no frames.
#[test]
fn towards_other_programs_nothing_is_different() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted::<Json<u32>>(&bob, "data_type=json&strict=True");
    conn.send(&2).expect("send");
    assert_eq!(wire.read(HEADER + 10), json("2"));
    drop(conn);
    assert_eq!(wire.end(), End::Reset);

    let alice = peer();
    let (mut wire, connecting) = asked(&alice, ConnectOptions::new());
    wire.write(&header("ACCEPT"));
    let conn = connecting.wait("connect").expect("accepted");
    conn.send(&2).expect("send");
    assert_eq!(wire.read(HEADER + 10), json("2"));
    drop(conn);
    assert_eq!(wire.end(), End::Reset);
}

/// A peer with `text_headers` offers no frames and takes none.
#[test]
fn text_alone() {
    let bob = builder().text_headers(true).bind("127.0.0.1:0").unwrap();
    let mut wire = Wire::connect(bob.local_addr());
    let hello = format!("HELLO|peer_name=127.0.0.1:9&{JSON}&v=2&who=1");
    wire.write(&[header(&hello), header(WHO)].concat());
    let conn = next_offer(&bob).accept::<Json<u32>>().expect("accept");
    assert_eq!(wire.read(HEADER), header("ACCEPT|v=1"));
    wire.write(&json("1"));
    assert_eq!(receive(&conn), 1);
    conn.send(&2).expect("send");
    assert_eq!(wire.read(HEADER + 10), json("2"));

    // A stream's client is not asked who it is.
    let (_wire, conn) = Wire::accepted::<Bytes>(&bob, &format!("{STREAM}&v=2"));
    assert_eq!(conn.peer_id(), None);
}

#[test]
fn lengths_are_as_the_manual_has_them() {
    for (number, bytes) in [
        (172, &[0x80, 0x2c][..]),
        (300, &[0x80, 0xac]),
        (16_512, &[0xc0, 0, 0]),
        (2_113_664, &[0xe2, 0x20, 0x40, 0x80]),
        (u64::MAX, &[0xe7, 255, 255, 255, 255, 255, 255, 255, 255]),
    ] {
        assert_eq!(length(number), bytes);
    }
}
