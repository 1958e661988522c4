use super::is_clean;
use super::plan::Plan;
use crate::proto::beacon::{
    Beacon, Card, EVERY_MAX, Here, ID_MASK, NAME_MAX, Ping, Pong, SERVICE_MAX, Watch, check_label,
    label_from_host,
};
use crate::proto::header::{HEADER_LEN, HeaderError};

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
    let beacon = made(&mut Plan::new(data));
    is_fit(&beacon);
    assert_eq!(Beacon::parse(&again(&beacon).expect("fits")), Ok(beacon));

    let host = String::from_utf8_lossy(data);
    assert_eq!(check_label(&label_from_host(&host), NAME_MAX), Ok(()));
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
