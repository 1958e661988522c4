use super::is_clean;
use super::plan::Plan;
use crate::proto::beacon::{
    Beacon, Card, EVERY_MAX, Here, ID_MASK, NAME_MAX, Ping, Pong, SERVICE_MAX, Watch, check_label,
    label_from_host,
};
use crate::proto::header::{HEADER_LEN, HeaderError};
use crate::proto::tag::{self, COUNT_MAX, Number, Tag, Tagged};

/// Any bytes as a datagram of discovery, and any datagram written and read again.
pub fn datagrams(data: &[u8]) {
    match Beacon::parse(data) {
        Ok(beacon) => {
            is_fit(&beacon);
            again(&beacon);
            // Padding means nothing, nor does a line's end where there is room for both.
            let text = data.trim_ascii_end();
            let mut padded = [b'|'; HEADER_LEN];
            padded[..text.len()].copy_from_slice(text);
            assert_eq!(Beacon::parse(&padded).as_ref(), Ok(&beacon));
            assert_eq!(
                Beacon::parse(&[text, b"\r\n"].concat()).as_ref(),
                Ok(&beacon)
            );
        }
        Err(error) => is_clean(&error),
    }
    if let Some(tagged) = Tagged::parse(data) {
        assert!(tagged.covered(None).len() < data.len());
    }
    let beacon = made(&mut Plan::new(data));
    is_fit(&beacon);
    assert_eq!(
        Beacon::parse(&again(&beacon).expect("fits")).as_ref(),
        Ok(&beacon)
    );
    tagged(beacon, data);

    let host = String::from_utf8_lossy(data);
    assert_eq!(check_label(&label_from_host(&host), NAME_MAX), Ok(()));
}

/// With a tag it fits as well, says the same to those who do not know of tags, and has that tag.
fn tagged(beacon: Beacon, data: &[u8]) {
    let expected = match &beacon {
        Beacon::Ping(Ping { card: None, .. }) | Beacon::Pong(Pong { card: None, .. }) => return,
        Beacon::Ping(
            ping @ Ping {
                card: Some(card), ..
            },
        ) => Beacon::Ping(Ping {
            card: Some(Card {
                id: card.id,
                ..Card::default()
            }),
            ..ping.clone()
        }),
        other => other.clone(),
    };
    let byte = |at: usize| data.get(at).copied().unwrap_or_default();
    let bytes: [u8; 8] = std::array::from_fn(byte);
    let number = match &beacon {
        Beacon::Ping(_) => Number::Nonce(bytes),
        _ => Number::Count(u64::from_be_bytes(bytes) & COUNT_MAX),
    };
    let question = matches!(beacon, Beacon::Pong(_)).then_some(bytes);
    // Depends on every byte and on their order.
    let mac = |covered: &[u8]| -> Tag {
        let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let sum = covered.iter().fold(0xcbf2_9ce4_8422_2325, step);
        std::array::from_fn(|at| sum.to_be_bytes()[at + 1])
    };
    let written = tag::write(&beacon, number, question.as_ref(), mac).expect("fits");
    assert_eq!(Beacon::parse(&written), Ok(expected));
    let tagged = Tagged::parse(&written).expect("a tag");
    assert_eq!(tagged.number, number);
    assert_eq!(mac(&tagged.covered(question.as_ref())), tagged.tag);
}

/// Written, if it fits, it reads the same.
fn again(beacon: &Beacon) -> Option<[u8; HEADER_LEN]> {
    match beacon.write() {
        Ok(bytes) => {
            assert_eq!(Beacon::parse(&bytes).as_ref(), Ok(beacon));
            Some(bytes)
        }
        Err(error) => {
            assert!(matches!(error, HeaderError::TooLong { len } if len > HEADER_LEN));
            None
        }
    }
}

fn is_fit(beacon: &Beacon) {
    let card = match beacon {
        Beacon::Ping(ping) => ping.card.as_ref(),
        Beacon::Pong(pong) => pong.card.as_ref(),
        Beacon::Here(here) => {
            let every = here.every.unwrap_or(1);
            assert!((1..=EVERY_MAX).contains(&every), "{every} s");
            Some(&here.card)
        }
        Beacon::Gone { .. } => None,
    };
    for label in card.iter().flat_map(|card| [&card.name, &card.service]) {
        assert_eq!(check_label(label, HEADER_LEN), Ok(()));
        is_clean(label);
    }
}

/// One that a peer may send.
fn made(plan: &mut Plan<'_>) -> Beacon {
    let kind = plan.byte();
    let addr = |plan: &mut Plan<'_>| {
        let [a, b, c, d, e, f] = plan.array();
        std::net::SocketAddrV4::new([a, b, c, d].into(), u16::from_le_bytes([e, f]))
    };
    let first = addr(plan);
    let id = u64::from_le_bytes(plan.array()) & ID_MASK;
    let mut label = |most: usize| {
        let mut text = label_from_host(&plan.text(most));
        while text.len() > most || text.ends_with(char::is_whitespace) {
            text.pop();
        }
        text
    };
    let (name, service) = (label(NAME_MAX), label(SERVICE_MAX));
    let card = Card { id, name, service };
    match kind % 8 {
        0 => Beacon::Gone { id },
        1 | 2 => Beacon::Here(Here {
            addr: first,
            card,
            every: (kind % 8 == 1).then(|| plan.up_to(899) as u16 + 1),
        }),
        3 | 4 => Beacon::Pong(Pong {
            addr: first,
            card: (kind % 8 == 3).then_some(card),
        }),
        // A search names the asker, a watch does not: both together might not fit.
        5 | 6 => Beacon::Ping(Ping {
            addr: Some(first),
            pinger: Some(addr(plan)),
            card: (kind % 8 == 5).then_some(card),
            watch: None,
        }),
        _ => Beacon::Ping(Ping {
            addr: plan.flag().then_some(first),
            pinger: plan.flag().then(|| addr(plan)),
            card: Some(Card {
                id,
                name: String::new(),
                service: String::new(),
            }),
            watch: plan.pick(&[None, Some(Watch::New), Some(Watch::Keep)]),
        }),
    }
}
