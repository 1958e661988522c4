//! Thousands of values, from Python and to Python, in every protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use lanpeer::{Dynamic, Message, Raw, SendError};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::PEERPY;
use super::common::wire::{Wire, data};
use super::common::{peer, receive};
use super::plain::Plain;
use super::python::{from_hex, hex, values};

#[test]
fn python_to_rust() {
    for seed in 1..=4 {
        let seed = seed.to_string();
        let Some(lines) = values(&["write", &seed, "500"], String::new()) else {
            return;
        };
        assert_eq!(lines.len(), 6 * 500);
        let bob = peer();
        let (mut wire, conn) = Wire::accepted::<Raw<Plain>>(&bob, PEERPY);
        for line in lines {
            let mut words = line.split(' ');
            let mut word = || words.next().expect("three words");
            let (protocol, pickle, text) = (word(), word(), word());
            wire.write(&data("raw", &from_hex(pickle)));
            let value = receive(&conn).to_string();
            assert_eq!(value, text, "protocol {protocol}: {pickle}");
        }
    }
}

#[test]
fn rust_to_python() {
    let mut runner = TestRunner::deterministic();
    let values: Vec<Plain> = (0..3_000)
        .map(|_| {
            any_value()
                .new_tree(&mut runner)
                .expect("a value")
                .current()
        })
        .collect();
    reads_as(&values, |value, text, _| {
        assert_eq!(value.to_string(), text)
    });
}

/// Has Python read what is sent over a connection; `check` is given each value, its text and repr.
#[track_caller]
fn reads_as<T>(sent: &[T], check: impl Fn(&T, &str, &str))
where
    T: Serialize,
{
    let bob = peer();
    let (mut wire, conn) = Wire::accepted::<Dynamic>(&bob, PEERPY);
    let mut pickles = String::new();
    for value in sent {
        let message = Message::pickle(value).expect("encode");
        message.decode::<IgnoredAny>().expect("its own reader");
        conn.send(&message).expect("send");
        let fields = wire.fields();
        assert_eq!(
            (&*fields.kind, fields.get("data_type")),
            ("DATA", Some("raw"))
        );
        let size = fields
            .get("data_size")
            .expect("a size")
            .parse()
            .expect("a number");
        let pickle = wire.read(size);
        assert_eq!(pickle, message.payload());
        pickles += &hex(&pickle);
        pickles.push('\n');
    }
    let Some(lines) = values(&["read"], pickles) else {
        return;
    };
    assert_eq!(lines.len(), sent.len());
    for (value, line) in sent.iter().zip(lines) {
        let (text, repr) = line.split_once(' ').expect("text and repr");
        check(value, text, repr);
    }
}

fn any_key() -> impl Strategy<Value = Plain> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Plain::Int),
        any::<String>().prop_map(Plain::Text),
        prop::collection::vec(any::<u8>(), 0..5).prop_map(Plain::Bytes),
    ];
    leaf.prop_recursive(2, 4, 3, |inner| {
        prop::collection::vec(inner, 0..3).prop_map(Plain::Tuple)
    })
}

fn any_value() -> impl Strategy<Value = Plain> {
    let edges = prop_oneof![
        Just(i64::MIN),
        Just(i64::MAX),
        Just(i32::MIN.into()),
        (-1i64..=1).prop_map(|by| i64::from(u16::MAX) + by),
        (-1i64..=1).prop_map(|by| i64::from(u8::MAX) + by),
        (-1i64..=1).prop_map(|by| i64::from(i32::MAX) + by),
        (-1i64..=1).prop_map(|by| i64::from(i32::MIN) + by),
    ];
    let leaf = prop_oneof![
        Just(Plain::None),
        any::<bool>().prop_map(Plain::Bool),
        any::<i64>().prop_map(Plain::Int),
        edges.prop_map(Plain::Int),
        (i64::MAX as u64..).prop_map(Plain::Large),
        any::<f64>().prop_map(Plain::Float),
        any::<String>().prop_map(Plain::Text),
        "[a-z]{250,260}".prop_map(Plain::Text),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Plain::Bytes),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Plain::List),
            prop::collection::vec(inner.clone(), 0..6).prop_map(Plain::Tuple),
            prop::collection::vec((any_key(), inner), 0..4).prop_map(distinct),
        ]
    })
}

/// Of two equal keys, Python keeps one.
fn distinct(mut pairs: Vec<(Plain, Plain)>) -> Plain {
    let mut seen = BTreeSet::new();
    pairs.retain(|(key, _)| seen.insert(key.to_string()));
    Plain::Dict(pairs)
}

#[derive(Serialize)]
struct Unit;

#[derive(Serialize)]
struct Pair(u8, &'static str);

#[derive(Serialize)]
struct Record {
    id: u32,
    name: Option<&'static str>,
}

#[derive(Serialize)]
enum Shape {
    Point,
    Circle(f32),
    Line(i8, i8),
    Square { side: u8 },
}

#[test]
fn structs_and_enums_as_documented() {
    macro_rules! reads {
        ($($value:expr => $repr:expr),* $(,)?) => {$(
            reads_as(&[$value], |_, _, repr| assert_eq!(repr, $repr));
        )*};
    }
    reads! {
        () => "None",
        Unit => "None",
        Some(1) => "1",
        None::<u8> => "None",
        'ä' => "'ä'",
        0.1f32 => "0.10000000149011612",
        [1, 2] => "(1, 2)",
        vec![1, 2] => "[1, 2]",
        Vec::<u8>::new() => "[]",
        BTreeSet::from([1]) => "[1]",
        Pair(1, "a") => "(1, 'a')",
        (1,) => "(1,)",
        Record { id: 1, name: Some("a") } => "{'id': 1, 'name': 'a'}",
        Record { id: 1, name: None } => "{'id': 1, 'name': None}",
        BTreeMap::from([((1, "a"), 2)]) => "{(1, 'a'): 2}",
        BTreeMap::<u8, u8>::new() => "{}",
        [Shape::Point] => "('Point',)",
        Shape::Circle(0.5) => "{'Circle': 0.5}",
        Shape::Line(-1, 1) => "{'Line': (-1, 1)}",
        Shape::Square { side: 2 } => "{'Square': {'side': 2}}",
        u64::MAX => "18446744073709551615",
        i128::from(i64::MIN) => "-9223372036854775808",
        Ipv4Addr::LOCALHOST => "'127.0.0.1'",
    }
}

#[test]
fn what_python_has_not_is_an_error_of_send() {
    let bob = peer();
    let (_wire, conn) = Wire::accepted::<Raw<BTreeMap<Vec<u8>, i128>>>(&bob, PEERPY);
    let list = BTreeMap::from([(vec![1], 1)]);
    let large = BTreeMap::from([(vec![], i128::MAX)]);
    for (value, words) in [
        (list, "a sequence as a key"),
        (large, "a sequence as a key"),
    ] {
        match conn.send(&value) {
            Err(SendError::Encode(error)) => assert!(error.to_string().contains(words), "{error}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(conn.close_reason(), None);
}

#[test]
fn messages_of_dynamic_connections() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted::<Dynamic>(&bob, PEERPY);
    wire.write(&data("raw", b"\x80\x04](}\x94\x8c\x01a\x94K\x01sh\x00e."));
    let message = receive(&conn);
    let expected = serde_json::json!([{"a": 1}, {"a": 1}]);
    assert_eq!(message.decode::<Value>(), Ok(expected));
    // As it came, back to where it came from; but MessagePack does not go there.
    conn.send(&message).expect("send");
    assert!(conn.send(&Message::raw(&1).expect("encode")).is_err());
}
