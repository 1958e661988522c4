//! Ordinary conversations, changed at random: the same in every run.

use lanpeer::{DataType, Dynamic, Json, Raw};
use serde_json::Value;

use super::arena::{Arena, everything_is_given_back};
use super::{BYTES, JSON, RAW, hello};
use crate::common::wire::{HEADER, Wire, data, header, json, shown};
use crate::common::{spawn, until};
use crate::dice::Dice;
use crate::peers::{alone, campaign};

#[test]
fn conversations_changed_at_random() {
    alone("hostile::random::conversations_changed_at_random", || {
        let arena = Arena::new();
        let bob = arena.bob.clone();
        spawn(move || {
            for offer in bob.incoming() {
                // Dynamic takes any; the others decode, on a connection of their type.
                let _ = match offer.data_type() {
                    DataType::Json => offer.accept_with::<Json<Value>>(|_, _| {}).map(|_| ()),
                    DataType::Raw => offer.accept_with::<Raw<Value>>(|_, _| {}).map(|_| ()),
                    _ => offer.accept_with::<Dynamic>(|_, _| {}).map(|_| ()),
                };
            }
        });
        let conversation = |keys: &str, messages: &[&[u8]]| {
            [hello(keys)]
                .into_iter()
                .chain(messages.iter().map(|m| m.to_vec()))
                .collect::<Vec<_>>()
        };
        let point = data("raw", b"\x82\xa1x\x07\xa4name\xa5north");
        let ping = header("PING");
        let seeds = [
            conversation(
                JSON,
                &[&json("{\"x\": [1, 2.5, null]}"), &ping, &json("\"second\"")],
            ),
            conversation(
                "data_type=json&strict=False",
                &[&json("1"), &data("bytes", b"2"), &point],
            ),
            conversation(RAW, &[&point, &point]),
            conversation(BYTES, &[&data("bytes", &[b'|'; 200]), &data("bytes", b"")]),
            conversation(
                "data_type=bytes&stream=1",
                &[&data("bytes", b"four"), &ping, b"more", b"last"],
            ),
            conversation(
                "data_type=bytes&stream=1&data_size=4&v=1",
                &[b"four", b"more", b"last"],
            ),
        ];
        let mut dice = Dice::new(1);
        let (mut accepted, rounds) = (0, campaign(600));
        for round in 0..rounds {
            let mut bytes = seeds[dice.below(seeds.len())].concat();
            for _ in 0..=dice.below(3) {
                let at = dice.below(bytes.len());
                match dice.below(6) {
                    0 => bytes[at] ^= 1 << dice.below(8),
                    1 => bytes[at] = dice.pick(b"|&=0919-\n\0\xff{[\"\x91\xdd\xdf"),
                    2 => bytes.truncate(at + 1),
                    3 => drop(bytes.remove(at)),
                    4 => bytes.insert(at, dice.pick(b"|&=09-\n\0\xff{[\"")),
                    _ => {
                        let end = at + dice.below(bytes.len() - at);
                        let copy = bytes[at..end].to_vec();
                        bytes.splice(at..at, copy);
                    }
                }
                if bytes.is_empty() {
                    break;
                }
            }
            let mut wire = Wire::connect(arena.bob.local_addr());
            wire.write_what_goes(&bytes);
            if dice.below(4) == 0 {
                wire.reset();
            } else {
                // An end before the answer would withdraw the offer.
                if bytes.len() >= HEADER || bytes.contains(&b'\n') {
                    until("an answer", || !wire.is_silent());
                }
                wire.fin();
                let (answer, _) = wire.rest();
                let clean = answer.is_empty()
                    || answer.starts_with(b"ACCEPT|")
                    || answer.starts_with(b"DENY|reason=");
                assert!(
                    clean && answer.len() <= HEADER,
                    "round {round}: {} after {}",
                    shown(&answer),
                    shown(&bytes)
                );
                accepted += usize::from(answer.starts_with(b"ACCEPT"));
            }
            if round % 20 == 0 {
                arena.is_untouched();
            }
        }
        println!("{accepted} came past the handshake");
        assert!(
            accepted > rounds / 6,
            "the sweep hardly ever reached the messages: {accepted}"
        );
        arena.is_untouched();
        everything_is_given_back(&arena, 1);
    });
}
