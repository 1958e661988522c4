//! The reader and the writer without Python; tests/pickle has them against Python's own.

mod bounds;

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::opcode as op;
use super::read::read;
use super::*;

fn try_decode<T: DeserializeOwned>(pickle: &[u8]) -> Result<T, String> {
    decode(pickle, Limits::default())
        .map(|(value, _)| value)
        .map_err(|error| error.to_string())
}

#[track_caller]
fn refused(pickle: &[u8], words: &str) {
    let error = try_decode::<Value>(pickle).unwrap_err();
    assert!(error.starts_with("malformed raw message: "), "{error}");
    assert!(error.contains(words), "{error}");
}

fn encoded<Q: Serialize + ?Sized>(value: &Q) -> Vec<u8> {
    let mut out = Vec::new();
    encode(value, &mut out).unwrap();
    out
}

// Values

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f32),
    Line(i64, i64),
    Square { side: u64 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    unit: (),
    flag: bool,
    small: i8,
    large: u64,
    float: f64,
    letter: char,
    text: String,
    maybe: Option<Box<Record>>,
    list: Vec<Shape>,
    tuple: (u8, String),
    map: BTreeMap<i32, Vec<u8>>,
    keys: BTreeMap<(bool, String), [u16; 2]>,
}

fn record() -> impl Strategy<Value = Record> {
    let shape = prop_oneof![
        Just(Shape::Point),
        (-1e9f32..1e9).prop_map(Shape::Circle),
        any::<(i64, i64)>().prop_map(|(a, b)| Shape::Line(a, b)),
        any::<u64>().prop_map(|side| Shape::Square { side }),
    ];
    let scalars = (
        any::<bool>(),
        any::<i8>(),
        any::<u64>(),
        -1e300f64..1e300,
        any::<char>(),
    );
    let bytes = prop::collection::vec(any::<u8>(), 0..30);
    let others = (
        any::<String>(),
        prop::collection::vec(shape, 0..4),
        any::<(u8, String)>(),
        prop::collection::btree_map(any::<i32>(), bytes, 0..4),
        prop::collection::btree_map(any::<(bool, String)>(), any::<[u16; 2]>(), 0..3),
    );
    let leaf = (scalars, others).prop_map(|(scalars, others)| {
        let (flag, small, large, float, letter) = scalars;
        let (text, list, tuple, map, keys) = others;
        Record {
            unit: (),
            flag,
            small,
            large,
            float,
            letter,
            text,
            maybe: None,
            list,
            tuple,
            map,
            keys,
        }
    });
    leaf.prop_recursive(3, 4, 1, |inner| {
        (inner.clone(), inner).prop_map(|(mut outer, inner)| {
            outer.maybe = Some(Box::new(inner));
            outer
        })
    })
}

proptest! {
    #[test]
    fn values_round_trip(value in record(), from in 0..50usize) {
        let pickle = encoded(&value);
        prop_assert_eq!(try_decode(&pickle), Ok(value));
        for end in (from..pickle.len()).step_by(50) {
            prop_assert!(try_decode::<IgnoredAny>(&pickle[..end]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = try_decode::<Value>(&bytes);
        let _ = try_decode::<IgnoredAny>(&bytes);
    }

    #[test]
    fn any_opcodes_are_answered(
        parts in prop::collection::vec(prop::sample::select(PARTS), 0..60),
    ) {
        let mut pickle = parts.concat();
        pickle.push(op::STOP);
        let _ = try_decode::<Value>(&pickle);
    }
}

/// Whole instructions, so that random rows of them come far.
const PARTS: &[&[u8]] = &[
    b"\x80\x04",
    b"N",
    b"\x88",
    b"\x89",
    b"I01\n",
    b"I5\n",
    b"L-7L\n",
    b"J\xff\xff\xff\xff",
    b"K\x01",
    b"M\x01\x02",
    b"\x8a\x01\x80",
    b"F1.5\n",
    b"G@\x00\x00\x00\x00\x00\x00\x00",
    b"Va\\u20ac\n",
    b"\x8c\x01a",
    b"X\x01\x00\x00\x00b",
    b"C\x01\xff",
    b"]",
    b"}",
    b"\x8f",
    b")",
    b"(",
    b"l",
    b"t",
    b"d",
    b"\x91",
    b"\x85",
    b"\x86",
    b"\x87",
    b"a",
    b"e",
    b"s",
    b"u",
    b"\x90",
    b"0",
    b"1",
    b"2",
    b"p0\n",
    b"q\x01",
    b"r\x02\x00\x00\x00",
    b"\x94",
    b"g0\n",
    b"h\x01",
    b"j\x02\x00\x00\x00",
    b"c_codecs\nencode\n",
    b"cbuiltins\nset\n",
    b"R",
    b"\x8c\x06latin1",
    b"\x8c\x08builtins\x8c\x09bytearray\x93",
];

#[test]
fn cut_anywhere() {
    let bytes = serde_json::Map::from_iter([("a".repeat(300), json!([1, -1, 70_000, 0.5, null]))]);
    let pickle = encoded(&(bytes, u64::MAX, Shape::Square { side: 1 }, "x", true));
    try_decode::<IgnoredAny>(&pickle).unwrap();
    for end in 0..pickle.len() {
        refused(&pickle[..end], "the pickle is cut");
    }
}

#[test]
fn one_value_in_many_places() {
    // d = {'a': 1}; [d, d]
    let pickle = b"\x80\x04](}\x94\x8c\x01a\x94K\x01sh\x00e.";
    assert_eq!(try_decode(pickle), Ok(json!([{"a": 1}, {"a": 1}])));
    // A set keeps what its list was when it was made.
    let pickle = b"](cbuiltins\nset\n]q\x00K\x01a\x85Rh\x00K\x02ae.";
    assert_eq!(try_decode(pickle), Ok(json!([[1], [1, 2]])));
    // A tuple in a list in that tuple: Python builds it twice and throws one away.
    let pickle = b"\x80\x02]q\x00h\x00K\x01\x86q\x01a0h\x01.";
    assert!(
        try_decode::<Value>(pickle)
            .unwrap_err()
            .contains("contains itself")
    );
}

#[test]
fn what_can_not_be_written_is_named() {
    let error = |error: Result<(), EncodeError>| error.unwrap_err().to_string();
    let out = &mut Vec::new();
    for (error, words) in [
        (error(encode(&i128::MAX, out)), "more than 64 bits"),
        (error(encode(&u128::MAX, out)), "more than 64 bits"),
        (
            error(encode(&BTreeMap::from([(vec![1], 1)]), out)),
            "a sequence as a key",
        ),
        (
            error(encode(
                &BTreeMap::from([((1, BTreeMap::from([(1, 1)])), 1)]),
                out,
            )),
            "a map or a struct as a key",
        ),
    ] {
        assert!(
            error.starts_with("the value cannot be encoded as raw: "),
            "{error}"
        );
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(encoded(&i128::from(u64::MAX)), encoded(&u64::MAX));
    assert_eq!(encoded(&-1i128), encoded(&-1));
}

#[test]
fn what_can_not_be_read_is_named() {
    for (pickle, words) in [
        (&b""[..], "cut, at byte 0"),
        (b"\x80\x06N.", "protocol 6"),
        (b"\x80\xffN.", "protocol 255"),
        (b"\x95\x05\x00\x00\x00\x00\x00\x00\x00N.", "cut"),
        (b"N", "cut, at byte 1"),
        (b".", "nothing is on the stack"),
        (b"NN.", "more than one value"),
        (b"(N.", "more than one value"),
        (b"N.N", "left over after STOP"),
        (b"h\x00.", "nothing is in entry 0"),
        (b"Nr\xff\xff\xff\xff.", "entry 4294967295"),
        (
            b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x02.",
            "more than 64 bits",
        ),
        (b"\x8b\xff\xff\xff\xff.", "negative"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "cut"),
        (b"\x8c\x02\xff\xfe.", "not UTF-8"),
        (b"\x8c\x03\xed\xa0\x80.", "surrogate"),
        (b"Nl.", "no MARK"),
        (b"(Nd.", "a key without a value"),
        (b"N\x86.", "a tuple of more"),
        (b"NNa.", "APPEND to None"),
        (b"}Na.", "APPEND to a dict"),
        (b"](K\x01a.", "nothing to add it to"),
        (
            b"cos\nsystem\n(S'x'\ntR.",
            "would look up `system` of Python's module `os`",
        ),
        (
            b"\x8c\x05posix\x8c\x06system\x93.",
            "STACK_GLOBAL would look up `system`",
        ),
        (b"(ios\nsystem\n.", "INST would look up `system`"),
        (b"cbuiltins\nset\n.", "Set, a function of Python"),
        (b"cbuiltins\nset\nN\x85R.", "REDUCE would call Set"),
        (
            b"c_codecs\nencode\n\x8c\x01a\x8c\x05rot13\x86R.",
            "REDUCE would call Encode",
        ),
        (
            b"c_codecs\nencode\n\x8c\x03\xe2\x82\xac\x8c\x06latin1\x86R.",
            "above 255",
        ),
        (b"N)R.", "no function"),
        (b"S'x'\n.", "STRING would make a text of Python 2"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"I1e5\n.", "no integer"),
        (b"Fx\n.", "no float"),
    ] {
        refused(pickle, words);
    }
}

#[test]
fn every_opcode_is_read_or_refused_by_name() {
    for opcode in 0..=255 {
        let error = match read(&[opcode]) {
            Ok(_) => panic!("{opcode:#04x} is no pickle"),
            Err(error) => error.to_string(),
        };
        let known = PARTS.iter().any(|part| part[0] == opcode)
            || b".\x95\x8b\x8d\x8e\x93\x96B".contains(&opcode);
        assert_eq!(
            op::refused(opcode).is_some(),
            error.contains(" would "),
            "{error}"
        );
        let unknown = !known && op::refused(opcode).is_none();
        assert_eq!(unknown, error.contains("unknown opcode"), "{error}");
    }
}

#[test]
fn values_of_other_types_are_refused() {
    assert!(try_decode::<u8>(b"M\x00\x01.").is_err());
    assert!(try_decode::<String>(b"K\x01.").is_err());
    assert!(try_decode::<(u8, u8)>(b"(K\x01K\x01K\x01t.").is_err());
    assert!(try_decode::<[u8; 2]>(b"C\x03abc.").is_err());
    assert!(try_decode::<Shape>(b"}.").is_err());
    assert!(try_decode::<Shape>(b"\x8c\x06Circle.").is_err());
    assert_eq!(try_decode::<Vec<u8>>(b"C\x03abc."), Ok(b"abc".to_vec()));
    assert_eq!(try_decode::<String>(b"C\x03abc."), Ok("abc".to_owned()));
}
