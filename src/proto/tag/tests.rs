use std::net::SocketAddrV4;

use proptest::prelude::*;

use super::*;
use crate::proto::beacon::{Here, ID_MASK, NAME_MAX, SERVICE_MAX, Watch};

/// Stands in for a MAC: depends on every byte and on their order.
fn mac(covered: &[u8]) -> Tag {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let sum = covered.iter().fold(0xcbf2_9ce4_8422_2325, step);
    sum.to_be_bytes()[1..].try_into().unwrap()
}

fn is_right(datagram: &[u8], question: Option<&Nonce>) -> bool {
    Tagged::parse(datagram).is_some_and(|tagged| mac(&tagged.covered(question)) == tagged.tag)
}

fn longest() -> Card {
    Card {
        id: ID_MASK,
        name: "n".repeat(NAME_MAX),
        service: "s".repeat(SERVICE_MAX),
    }
}

const FARTHEST: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::BROADCAST, 65535);
const NONCE: Nonce = [0xf1, 2, 3, 4, 5, 6, 7, 0x8f];

/// One of each kind, as long as they become, with their numbers and the nonce of the question.
fn each() -> [(Beacon, Number, Option<Nonce>); 4] {
    let card = longest();
    let count = Number::Count(COUNT_MAX);
    let ping = Ping {
        addr: Some(FARTHEST),
        pinger: Some(FARTHEST),
        card: Some(card.clone()),
        watch: Some(Watch::Keep),
    };
    let pong = Pong {
        addr: FARTHEST,
        card: Some(card.clone()),
    };
    let here = Here {
        addr: FARTHEST,
        card: card.clone(),
        every: Some(900),
    };
    [
        (Beacon::Ping(ping), Number::Nonce(NONCE), None),
        (Beacon::Pong(pong), count, Some(NONCE)),
        (Beacon::Here(here), count, None),
        (Beacon::Gone { id: card.id }, count, None),
    ]
}

#[test]
fn the_longest_of_each_fits_and_says_the_same_to_those_who_know_no_tags() {
    for (beacon, number, question) in each() {
        let datagram = write(&beacon, number, question.as_ref(), mac).expect("fits");
        assert!(is_right(&datagram, question.as_ref()));
        assert_eq!(Tagged::parse(&datagram).unwrap().number, number);
        let expected = match beacon {
            // Nobody reads who it is that asks.
            Beacon::Ping(ping) => Beacon::Ping(Ping {
                card: Some(Card {
                    id: ID_MASK,
                    ..Card::default()
                }),
                ..ping
            }),
            other => other,
        };
        assert_eq!(Beacon::parse(&datagram), Ok(expected));
        // Padding and a line's end are not covered, and mean nothing.
        let text = String::from_utf8(datagram.to_vec()).unwrap();
        let short = text.trim_end_matches('|');
        assert!(is_right(short.as_bytes(), question.as_ref()));
        assert!(is_right(
            format!("{short}\r\n").as_bytes(),
            question.as_ref()
        ));
    }
}

#[test]
fn every_byte_counts_and_so_does_the_question() {
    for (beacon, number, question) in each() {
        let datagram = write(&beacon, number, question.as_ref(), mac).expect("fits");
        let len = 128 - datagram.iter().rev().take_while(|b| **b == b'|').count();
        for at in 0..len {
            for bit in 0..8 {
                let mut changed = datagram;
                changed[at] ^= 1 << bit;
                assert!(!is_right(&changed, question.as_ref()), "{at}");
            }
        }
        for end in 0..len {
            assert!(
                !is_right(&datagram[..end], question.as_ref()),
                "cut at {end}"
            );
        }
        let other = [9; 8];
        assert!(!is_right(&datagram, Some(&other)));
        if question.is_some() {
            assert!(!is_right(&datagram, None));
        }
    }
}

#[test]
fn what_is_no_tag() {
    for text in [
        "",
        "|",
        "&t=",
        "HERE 1.2.3.4:5|v=1&id=1",
        "HERE 1.2.3.4:5|v=1&id=1&t=",
        "HERE 1.2.3.4:5|v=1&id=1&t=AAAAAAAAAAAAAAA",
        "HERE 1.2.3.4:5|v=1&id=1&t=AAAAAAAAAAAAAAAAA",
        "HERE 1.2.3.4:5|v=1&id=1&t=AAAAAAAAAAAAAAA=",
        "HERE 1.2.3.4:5|v=1&id=1&t=AAAAAAAAAAAAAAA+",
        // Of a question, in what is none, and the other way round.
        "HERE 1.2.3.4:5|v=1&id=1&t=AAAAAAAAAAAAAAAAAAAA",
        "PING 1.2.3.4:5|v=1&id=1&t=AAAAAAAAAAAAAAAA",
        // Not the last key.
        "HERE 1.2.3.4:5|v=1&id=1&t=AAAAAAAAAAAAAAAA&every=9",
        "HERE 1.2.3.4:5|t=AAAAAAAAAAAAAAAA",
    ] {
        assert_eq!(Tagged::parse(text.as_bytes()), None, "{text}");
    }
    let zero = "HERE 1.2.3.4:5|v=1&id=1&t=AAAAAAAAAAAAAAAA";
    let tagged = Tagged::parse(zero.as_bytes()).expect("one that is wrong");
    assert_eq!((tagged.number, tagged.tag), (Number::Count(0), [0; 7]));
}

proptest! {
    #[test]
    fn any_bytes_have_a_tag_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Some(tagged) = Tagged::parse(&bytes) {
            prop_assert!(tagged.covered(None).len() < bytes.len());
        }
    }

    #[test]
    fn near_tags_have_a_tag_or_none(
        text in "(PING|PONG|HERE|GONE)[ -~]{0,60}(&t=[A-Za-z0-9_-]{14,21}){0,2}\\|{0,4}"
    ) {
        let _ = Tagged::parse(text.as_bytes());
    }

    #[test]
    fn digits_are_read_as_they_were_written(bytes in proptest::collection::vec(any::<[u8; 3]>(), 0..6)) {
        let bytes: Vec<u8> = bytes.into_iter().flatten().collect();
        let mut read = vec![0; bytes.len()];
        prop_assert_eq!(decode(&encode(&bytes), &mut read), Some(()));
        prop_assert_eq!(read, bytes);
    }
}
