//! Formats: what can be sent and in which form, what a strict and a loose
//! connection take, and what happens to a message that does not fit.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use lanpeer::{
    Bytes, CloseReason, ConnectOptions, DataType, Dynamic, Json, Message, Raw, SendError,
};
use serde::{Deserialize, Serialize};

use crate::peers::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Reading {
    sensor: String,
    celsius: f64,
    tags: Vec<String>,
    note: Option<String>,
    counts: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Command {
    Stop,
    Move { x: i32, y: i32 },
    Say(String),
    Pair(u8, i64),
}

fn readings() -> Vec<Reading> {
    vec![
        Reading {
            sensor: "kitchen".to_owned(),
            celsius: 21.5,
            tags: vec![
                "warm".to_owned(),
                "räume | & =".to_owned(),
                "日本".to_owned(),
            ],
            note: Some("a \"quoted\"\nnote \\ \u{0}".to_owned()),
            counts: BTreeMap::from([("all".to_owned(), u64::MAX), (String::new(), 0)]),
        },
        Reading {
            sensor: String::new(),
            celsius: -0.000_001,
            tags: Vec::new(),
            note: None,
            counts: BTreeMap::new(),
        },
    ]
}

fn commands() -> Vec<Command> {
    vec![
        Command::Stop,
        Command::Move { x: i32::MIN, y: 7 },
        Command::Say("|DATA|data_size=1|".to_owned()),
        Command::Pair(255, i64::MIN),
    ]
}

#[test]
fn structs_and_enums_arrive_as_they_were_sent() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (json, json_end) = link::<Json<Reading>>(&alice, &bob);
        let (raw, raw_end) = link::<Raw<Reading>>(&alice, &bob);
        for reading in readings() {
            json.send(&reading).unwrap();
            assert_eq!(next(&json_end), reading);
            raw_end.send(&reading).unwrap();
            assert_eq!(next(&raw), reading);
        }
        let (json, json_end) = link::<Json<Command>>(&alice, &bob);
        let (raw, raw_end) = link::<Raw<Command>>(&alice, &bob);
        for command in commands() {
            json.send(&command).unwrap();
            assert_eq!(next(&json_end), command);
            raw_end.send(&command).unwrap();
            assert_eq!(next(&raw), command);
        }
    });
}

#[test]
fn plain_values_arrive_as_they_were_sent() {
    test(|| {
        type Plain = (Option<bool>, char, u64, i64, f32, (), Vec<Option<u8>>);
        let (alice, bob) = (peer(), peer());
        let value: Plain = (
            None,
            '\u{10ffff}',
            u64::MAX,
            i64::MIN,
            0.1,
            (),
            vec![None, Some(0)],
        );
        let (json, json_end) = link::<Json<Plain>>(&alice, &bob);
        json.send(&value).unwrap();
        assert_eq!(next(&json_end), value);
        let (raw, raw_end) = link::<Raw<Plain>>(&alice, &bob);
        raw.send(&value).unwrap();
        assert_eq!(next(&raw_end), value);

        let (json, json_end) = link::<Json<()>>(&alice, &bob);
        json.send(&()).unwrap();
        next(&json_end);
        let (raw, raw_end) = link::<Raw<()>>(&alice, &bob);
        raw.send(&()).unwrap();
        next(&raw_end);

        // Keys that are no text: MessagePack has them.
        type Map = HashMap<(u8, u8), f64>;
        let map: Map = HashMap::from([((1, 2), 0.5), ((3, 4), f64::INFINITY)]);
        let (raw, raw_end) = link::<Raw<Map>>(&alice, &bob);
        raw.send(&map).unwrap();
        assert_eq!(next(&raw_end), map);
    });
}

#[test]
fn send_takes_what_the_item_can_be_borrowed_as() {
    test(|| {
        let (alice, bob) = (peer(), peer());

        let (to_bob, to_alice) = link::<Json<String>>(&alice, &bob);
        to_bob.send("literal").unwrap();
        to_bob.send(&String::from("owned")).unwrap();
        to_bob.try_send("tried").unwrap();
        to_bob.send_timeout("in time", SOON).unwrap();
        for text in ["literal", "owned", "tried", "in time"] {
            assert_eq!(next(&to_alice), text);
        }

        let (to_bob, to_alice) = link::<Raw<Vec<u16>>>(&alice, &bob);
        let numbers = [1, 2, 3];
        to_bob.send(&numbers[..2]).unwrap();
        to_bob.send(&numbers.to_vec()).unwrap();
        assert_eq!(next(&to_alice), [1, 2]);
        assert_eq!(next(&to_alice), [1, 2, 3]);

        let (to_bob, to_alice) = link::<Bytes>(&alice, &bob);
        to_bob.send(b"array").unwrap();
        to_bob.send(&b"slice"[..]).unwrap();
        to_bob.send("text").unwrap();
        to_bob.send(&vec![0, 255]).unwrap();
        to_bob.send(&String::from("string")).unwrap();
        for bytes in [&b"array"[..], b"slice", b"text", &[0, 255], b"string"] {
            assert_eq!(next(&to_alice), bytes);
        }
    });
}

#[test]
fn empty_and_large_messages() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        for size in [0, 1, 127, 128, 129, 65_535, 65_536, 65_537, 5_000_000, 0] {
            let message = numbered(7, size);
            to_bob.send(&message).unwrap();
            assert!(next(&to_alice) == message, "{size} bytes");
        }

        let (_alice, _bob, to_bob, to_alice) = pair::<Json<String>>();
        for text in [String::new(), "ä\"\\\n".repeat(300_000)] {
            to_bob.send(&text).unwrap();
            assert!(next(&to_alice) == text, "{} bytes of text", text.len());
        }
    });
}

#[test]
fn raw_carries_field_names() {
    #[derive(Serialize, Deserialize)]
    struct Old {
        name: String,
        size: u32,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct New {
        #[serde(default)]
        color: String,
        size: u64,
        name: String,
    }
    test(|| {
        // Two programs of different versions: fields in another order, one new.
        let (alice, bob) = (peer(), peer());
        let (old, new) = link_as::<Raw<Old>, Raw<New>>(&ConnectOptions::new(), &alice, &bob);
        let name = "box".to_owned();
        old.send(&Old {
            name: name.clone(),
            size: 3,
        })
        .unwrap();
        assert_eq!(
            next(&new),
            New {
                color: String::new(),
                size: 3,
                name: name.clone()
            }
        );
        new.send(&New {
            color: "red".to_owned(),
            size: 4,
            name,
        })
        .unwrap();
        assert_eq!(next(&old).size, 4);
    });
}

#[test]
fn a_message_that_can_not_be_encoded_is_the_senders_error_alone() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Json<BTreeMap<Vec<u8>, u8>>>();
        let refused = to_bob.send(&BTreeMap::from([(vec![1], 1)]));
        assert!(matches!(refused, Err(SendError::Encode(_))), "{refused:?}");
        to_bob.send(&BTreeMap::new()).unwrap();
        assert_eq!(next(&to_alice), BTreeMap::new());
        assert_eq!(to_bob.stats().messages_sent, 1);
    });
}

#[test]
fn a_message_that_can_not_be_decoded_ends_its_connection_alone() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (other, other_end) = link::<Json<u32>>(&alice, &bob);
        let (text, number) =
            link_as::<Json<String>, Json<u32>>(&ConnectOptions::new(), &alice, &bob);
        text.send("not a number").unwrap();
        assert!(number.recv_timeout(SOON).is_err());
        assert!(matches!(ended(&number), CloseReason::Malformed(_)));
        match ended(&text) {
            CloseReason::RefusedThere(why) => assert_eq!(
                why,
                "malformed json message: invalid type: string \"not a number\", expected u32 \
                 at line 1 column 14"
            ),
            other => panic!("{other:?}"),
        }
        other.send(&6).unwrap();
        assert_eq!(next(&other_end), 6);

        let (text, number) = link_as::<Raw<String>, Raw<u32>>(&ConnectOptions::new(), &alice, &bob);
        text.send("not a number").unwrap();
        assert!(number.recv_timeout(SOON).is_err());
        assert!(matches!(ended(&number), CloseReason::Malformed(_)));
    });
}

#[test]
fn a_message_over_the_limit_is_refused_before_it_is_sent() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) =
            pair_of::<Bytes>(builder().max_message_size(1000), builder());
        to_bob.send(&numbered(1, 1000)).unwrap();
        match to_bob.send(&numbered(2, 1001)) {
            Err(SendError::TooLarge { size, limit }) => assert_eq!((size, limit), (1001, 1000)),
            other => panic!("{other:?}"),
        }
        to_bob.send(&numbered(3, 8)).unwrap();
        assert_eq!(number_of(&next(&to_alice)), 1);
        assert_eq!(number_of(&next(&to_alice)), 3);
    });
}

#[test]
fn a_message_over_the_receivers_limit_ends_the_connection() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) =
            pair_of::<Bytes>(builder(), builder().max_message_size(1000));
        to_bob.send(&numbered(1, 1000)).unwrap();
        assert_eq!(number_of(&next(&to_alice)), 1);
        to_bob.send(&numbered(2, 1001)).unwrap();
        match ended(&to_alice) {
            CloseReason::TooLarge { size, limit } => assert_eq!((size, limit), (1001, 1000)),
            other => panic!("{other:?}"),
        }
        let why = "a message of 1001 bytes, the limit is 1000".to_owned();
        assert_eq!(ended(&to_bob), CloseReason::RefusedThere(why));
        assert!(to_alice.recv_timeout(SOON).is_err());
    });
}

#[test]
fn dynamic_takes_whatever_comes() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        for (data_type, message) in [
            (DataType::Json, Message::json(&readings()).unwrap()),
            (DataType::Raw, Message::raw(&readings()).unwrap()),
            (DataType::Bytes, Message::bytes(*b"\x00\xff")),
        ] {
            let options = ConnectOptions::new().data_type(data_type);
            let (to_bob, to_alice) = link_as::<Dynamic, Dynamic>(&options, &alice, &bob);
            assert_eq!(to_bob.data_type(), data_type);
            assert_eq!(to_alice.data_type(), data_type);
            to_bob.send(&message).unwrap();
            let arrived = next(&to_alice);
            assert_eq!(arrived.data_type(), data_type);
            assert_eq!(arrived.payload(), message.payload());
            if data_type == DataType::Bytes {
                assert_eq!(arrived.into_payload(), b"\x00\xff");
            } else {
                assert_eq!(arrived.decode::<Vec<Reading>>().unwrap(), readings());
                assert!(arrived.decode::<u32>().is_err());
                // Decoded or not, the connection goes on.
                to_bob.send(&message).unwrap();
                next(&to_alice);
            }
        }
    });
}

#[test]
fn dynamic_and_typed_ends_understand_each_other() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (typed, dynamic) = link_as::<Json<u32>, Dynamic>(&ConnectOptions::new(), &alice, &bob);
        typed.send(&7).unwrap();
        let message = next(&dynamic);
        assert_eq!(message.payload(), b"7");
        assert_eq!(message.decode::<u32>().unwrap(), 7);
        dynamic.send(&Message::json(&8).unwrap()).unwrap();
        assert_eq!(next(&typed), 8);
    });
}

#[test]
fn a_strict_connection_takes_one_type() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let options = ConnectOptions::new().data_type(DataType::Json).strict(true);
        let (to_bob, to_alice) = link_as::<Dynamic, Dynamic>(&options, &alice, &bob);
        for end in [&to_bob, &to_alice] {
            match end.send(&Message::raw(&1).unwrap()) {
                Err(SendError::WrongType { expected, got }) => {
                    assert_eq!((expected, got), (DataType::Json, DataType::Raw));
                }
                other => panic!("{other:?}"),
            }
        }
        // Nothing was sent, so nothing ended.
        to_bob.send(&Message::json(&2).unwrap()).unwrap();
        assert_eq!(next(&to_alice).decode::<u32>().unwrap(), 2);
        assert_eq!(to_alice.stats().messages_received, 1);
    });
}

#[test]
fn a_loose_connection_takes_them_all_mixed() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let options = ConnectOptions::new()
            .data_type(DataType::Bytes)
            .strict(false);
        let (to_bob, to_alice) = link_as::<Dynamic, Dynamic>(&options, &alice, &bob);
        for number in 0..300_u32 {
            let message = match number % 3 {
                0 => Message::json(&number).unwrap(),
                1 => Message::raw(&number).unwrap(),
                _ => Message::bytes(number.to_be_bytes()),
            };
            to_bob.send(&message).unwrap();
            let arrived = next(&to_alice);
            assert_eq!(arrived.data_type(), message.data_type());
            match arrived.data_type() {
                DataType::Bytes => assert_eq!(arrived.payload(), number.to_be_bytes()),
                _ => assert_eq!(arrived.decode::<u32>().unwrap(), number),
            }
        }
    });
}

#[test]
fn a_loose_connection_decodes_a_message_as_the_type_it_names() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let options = ConnectOptions::new()
            .data_type(DataType::Json)
            .strict(false);
        let (to_bob, to_alice) = link_as::<Dynamic, Json<Vec<u32>>>(&options, &alice, &bob);
        to_bob.send(&Message::json(&[1, 2]).unwrap()).unwrap();
        to_bob.send(&Message::raw(&[3, 4]).unwrap()).unwrap();
        assert_eq!(next(&to_alice), [1, 2]);
        assert_eq!(next(&to_alice), [3, 4]);
    });
}

#[test]
fn strict_is_for_types_and_not_for_shapes() {
    test(|| {
        // What the two programs call the item is theirs; the type on the wire is the same.
        let (alice, bob) = (peer(), peer());
        let (narrow, wide) =
            link_as::<Json<Vec<u8>>, Json<Vec<f64>>>(&ConnectOptions::new(), &alice, &bob);
        narrow.send(&[1, 2][..]).unwrap();
        assert_eq!(next(&wide), [1.0, 2.0]);
    });
}

#[test]
fn data_types_have_names() {
    for (data_type, name) in [
        (DataType::Raw, "raw"),
        (DataType::Json, "json"),
        (DataType::Bytes, "bytes"),
    ] {
        assert_eq!(data_type.to_string(), name);
        assert_eq!(DataType::from_str(name).unwrap(), data_type);
    }
    for name in ["", "JSON", "json ", "pickle"] {
        assert!(DataType::from_str(name).is_err(), "{name:?}");
    }
}
