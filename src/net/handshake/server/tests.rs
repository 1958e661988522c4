use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::net::handshake::play::{Play, padded};

const HELLO: &str = "HELLO|peer_name=127.0.0.1:40000&data_type=bytes&strict=1&v=1";
const LANPEER: &str = "HELLO|address_name=127.0.0.1:40000&peer_name=127.0.0.1:40000&data_type=json";
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const LISTENS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 50_000);

fn settings() -> Settings {
    Settings {
        max_message_size: 1000,
        ..Settings::default()
    }
}

fn server(settings: &Settings) -> Play<Server<'_>> {
    Play::new(Server::new(settings, LISTENS, SOURCE))
}

/// An outcome as text that can be compared.
fn shown(outcome: &Option<Outcome>) -> String {
    match outcome {
        None => "none".to_owned(),
        Some(Outcome::Offer(offered)) => {
            assert_eq!(offered.agreed.secure, offered.session.is_some());
            let early = offered.early.escape_ascii();
            format!("{:?} \"{early}\"", offered.agreed)
        }
        Some(Outcome::Denied {
            peer_addr, word, ..
        }) => format!("{peer_addr} denied: {word}"),
        Some(Outcome::Failed { reason, word }) => format!("failed: {reason}, {word:?}"),
    }
}

fn offered(outcome: Option<Outcome>) -> Offered {
    match outcome {
        Some(Outcome::Offer(offered)) => *offered,
        other => panic!("{}", shown(&other)),
    }
}

#[test]
fn a_hello_becomes_an_offer_however_it_is_split() {
    let settings = settings();
    for size in 1..=HEADER_LEN {
        let bytes = [padded(HELLO), b"behind".to_vec()].concat();
        let (outcome, left) = server(&settings).all(&bytes, size);
        assert_eq!(left, b"behind", "only a header is taken");
        let Offered {
            agreed,
            session,
            early,
        } = offered(outcome);
        assert!(session.is_none() && early.is_empty() && !agreed.secure);
        assert_eq!(agreed.peer_addr, "127.0.0.1:40000".parse().unwrap());
        assert_eq!(agreed.data_type, DataType::Bytes);
        assert_eq!((agreed.strict, agreed.stream), (true, None));
        assert_eq!(agreed.dialect, Dialect::Headers);
    }
}

#[test]
fn every_prefix_waits_and_its_end_is_told() {
    let settings = settings();
    let timeout = settings.timeout;
    for len in 0..HEADER_LEN {
        let prefix = &padded(HELLO)[..len];
        let mut waiting = server(&settings);
        waiting.feed(&mut prefix.iter().copied().collect(), 7);
        assert_eq!(waiting.reads(), Some((HEADER_LEN - len, len > 0)));
        for (ended, reason) in [
            (Ended::Closed, "it hung up before HELLO".to_owned()),
            (Ended::Deadline, format!("no HELLO within {timeout:?}")),
            (Ended::Lost("a reason".to_owned()), "a reason".to_owned()),
        ] {
            let outcome = server(&settings).then(prefix, Input::Ended(ended));
            assert_eq!(shown(&outcome), format!("failed: {reason}, None"));
        }
    }
}

#[test]
fn a_line_is_a_hello_and_what_is_behind_it_is_early() {
    let settings = settings();
    for end in ["\n", "\r\n"] {
        for size in [1, 50, HEADER_LEN] {
            let text = format!("{HELLO}{end}and more");
            let (outcome, left) = server(&settings).all(text.as_bytes(), size);
            let early = offered(outcome).early;
            assert_eq!([early, left].concat(), b"and more");
        }
    }
}

#[test]
fn silence_ends_a_hello_that_can_be_whole() {
    let settings = settings();
    let silenced = |text: &str| server(&settings).then(text.as_bytes(), Input::Silence);
    let peerpy = "HELLO|peer_name=127.0.0.1:40000&strict=True&data_type=json";
    assert_eq!(offered(silenced(peerpy)).agreed.dialect, Dialect::Peerpy);
    for text in [
        "",
        "HELLO",
        &peerpy[..peerpy.len() - 1],
        &format!("{peerpy}|"),
        LANPEER,
    ] {
        assert_eq!(shown(&silenced(text)), "none", "{text}");
    }
    // What comes after a silence still belongs to it.
    let mut waiting = server(&settings);
    let (begin, end) = HELLO.split_at(30);
    waiting.feed(&mut begin.bytes().collect(), 30);
    waiting.input(Input::Silence);
    let (outcome, _) = waiting.all(&padded(HELLO)[begin.len()..], 9);
    assert!(padded(HELLO)[begin.len()..].starts_with(end.as_bytes()));
    assert_eq!(offered(outcome).agreed.data_type, DataType::Bytes);
}

#[test]
fn who_asks_for_nothing_fails() {
    let settings = settings();
    for (text, reason, word) in [
        (
            "HELLO|peer_name=127.0.0.1:1&data_type=pickle",
            "unknown data type `pickle`",
            "type",
        ),
        (
            "HELLO|peer_name=127.0.0.1:1&data_type=json&v=1&secure=rot13",
            "unknown secure=`rot13`",
            "unsupported",
        ),
        (
            "HELLO|data_type=json",
            "a header without peer_name",
            "malformed",
        ),
        (
            "PING",
            "a header `PING` where HELLO was expected",
            "malformed",
        ),
    ] {
        let (outcome, _) = server(&settings).all(&padded(text), HEADER_LEN);
        let expected = format!("failed: {reason}, Some({word:?})");
        assert_eq!(shown(&outcome), expected);
    }
}

#[test]
fn who_asks_for_what_is_not_to_be_had_is_denied() {
    let settings = settings();
    for (keys, word) in [
        ("data_type=bytes&stream=1&data_size=1001", "size"),
        (
            "data_type=bytes&stream=1&data_size=99999999999999999999",
            "",
        ),
        (
            "data_type=raw",
            if HAS_PICKLE { "-" } else { "unsupported" },
        ),
        ("data_type=json&v=1&secure=aes", "no-secret"),
        ("data_type=json&secure=chacha", "no-secret"),
    ] {
        let hello = format!("HELLO|peer_name=0.0.0.0:40000&{keys}");
        let (outcome, _) = server(&settings).all(&padded(&hello), HEADER_LEN);
        match word {
            "-" => drop(offered(outcome)),
            "" => assert!(shown(&outcome).starts_with("failed: ")),
            _ => assert_eq!(shown(&outcome), format!("127.0.0.9:40000 denied: {word}")),
        }
    }
    let own = format!("HELLO|peer_name={LISTENS}&data_type=json");
    let (outcome, _) = server(&settings).all(&padded(&own), HEADER_LEN);
    assert_eq!(shown(&outcome), format!("{LISTENS} denied: self"));
    let most = "HELLO|peer_name=0.0.0.0:1&data_type=bytes&stream=1&data_size=1000";
    let (outcome, _) = server(&settings).all(&padded(most), HEADER_LEN);
    assert_eq!(offered(outcome).agreed.stream, Some(StreamSize::Of(1000)));
}

/// A client that speaks frames says who it is, right behind HELLO or when it is asked.
#[test]
fn one_that_speaks_frames_says_who_it_is() {
    let settings = settings();
    let hello = |keys: &str| {
        padded(&format!(
            "HELLO|peer_name=127.0.0.1:40000&data_type=bytes&v=2{keys}"
        ))
    };
    let who = padded("WHO|id=000000002a&name=alice");
    for size in [1, 50, HEADER_LEN] {
        let bytes = [hello("&who=1"), who.clone()].concat();
        let agreed = offered(server(&settings).all(&bytes, size).0).agreed;
        assert_eq!(agreed.dialect, Dialect::Frames);
        let alice = agreed.who.expect("it has said so");
        assert_eq!((alice.id, &*alice.name, &*alice.service), (42, "alice", ""));

        let mut asking = server(&settings);
        asking.feed(&mut hello("&stream=1").into(), size);
        assert_eq!(asking.written, padded("WHO"));
        let agreed = offered(asking.all(&who, size).0).agreed;
        assert_eq!((agreed.dialect, agreed.who), (Dialect::Frames, Some(alice)));
    }
    let bytes = [hello("&who=1"), padded("PING")].concat();
    let (outcome, _) = server(&settings).all(&bytes, HEADER_LEN);
    let reason = "a header `PING` where WHO was expected";
    assert_eq!(
        shown(&outcome),
        format!("failed: {reason}, Some(\"malformed\")")
    );
    let play = server(&settings);
    let outcome = play.then(&hello("&who=1"), Input::Ended(Ended::Closed));
    assert_eq!(shown(&outcome), "failed: it hung up before WHO, None");

    // Not where this side speaks no frames, or a hand has typed it.
    let text = Settings {
        text_headers: true,
        ..Settings::default()
    };
    let agreed = offered(server(&text).all(&hello("&who=1"), 9).0).agreed;
    assert_eq!((agreed.dialect, agreed.who), (Dialect::Headers, None));
    let line = b"HELLO|peer_name=127.0.0.1:40000&data_type=bytes&v=2\n";
    let agreed = offered(server(&settings).all(line, 9).0).agreed;
    assert_eq!(agreed.dialect, Dialect::Headers);
}

#[test]
fn answers() {
    let card = Card {
        id: 7,
        name: "bob".to_owned(),
        service: "chat".to_owned(),
    };
    for dialect in [Dialect::Peerpy, Dialect::Headers] {
        assert_eq!(acceptance(dialect, &card, None), Some(padded("ACCEPT|v=1")));
    }
    let who = padded("WHO|id=0000000007&name=bob&service=chat");
    let expected = [padded("ACCEPT|v=2"), who].concat();
    assert_eq!(acceptance(Dialect::Frames, &card, None), Some(expected));
    assert_eq!(denial("busy", None), Some(padded("DENY|reason=busy")));
    assert_eq!(denial(&"x".repeat(200), None), None, "it does not fit");
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_come_to_the_same(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "HELLO\\|(peer_name=127.0.0.1:4&)?(data_type=(json|raw|x)&)?(strict=[01]&)?v=1[\n|]?[|a]{0,100}"
                .prop_map(String::into_bytes),
        ],
        size in 1..HEADER_LEN,
        end in 0..5,
    ) {
        let settings = Settings { timeout: Duration::from_secs(1), ..settings() };
        let (whole, whole_left) = server(&settings).all(&bytes, HEADER_LEN);
        let (split, left) = server(&settings).all(&bytes, size);
        match (&whole, &split) {
            (Some(Outcome::Offer(whole)), Some(Outcome::Offer(split))) => {
                prop_assert_eq!(format!("{:?}", whole.agreed), format!("{:?}", split.agreed));
                let behind = |early: &[u8], left: &[u8]| [early, left].concat();
                prop_assert_eq!(behind(&whole.early, &whole_left), behind(&split.early, &left));
            }
            _ => prop_assert_eq!(shown(&whole), shown(&split)),
        }
        if whole.is_none() {
            let input = match end {
                0 => Input::Silence,
                1 => Input::Ended(Ended::Closed),
                2 => Input::Ended(Ended::Deadline),
                3 => Input::Ended(Ended::Lost(String::new())),
                _ => Input::NotWritten(String::new()),
            };
            let is_end = end > 0;
            prop_assert!(server(&settings).then(&bytes, input).is_some() || !is_end);
        }
    }
}
