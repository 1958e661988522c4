use proptest::prelude::*;

use super::*;
use crate::net::handshake::play::{Play, padded};

const ADDR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 40_000);
const LISTENS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 50_000);
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

fn request(data_type: DataType) -> Request {
    Request {
        data_type,
        strict: true,
        stream: None,
        timeout: Duration::from_secs(7),
        in_the_clear: false,
        attempt: None,
        whom: None,
        expected: crate::secure::Allowed::default(),
    }
}

fn client(settings: &Settings, request: Request) -> Play<Client<'_>> {
    let client = Client::new(settings, LISTENS, SOURCE, ADDR, request);
    Play::new(client.expect("it fits").0)
}

fn alice() -> Card {
    Card {
        id: 42,
        name: "alice".to_owned(),
        service: String::new(),
    }
}

/// What comes of an answer to a client without a secret.
fn answered(text: &str) -> Outcome {
    let settings = Settings::default();
    let play = client(&settings, request(DataType::Json));
    play.all(&padded(text), HEADER_LEN).0.expect("an outcome")
}

/// An outcome as text that can be compared.
fn shown(outcome: &Option<Outcome>) -> String {
    match outcome {
        None => "none".to_owned(),
        Some(Ok(accepted)) => format!("{:?} {}", accepted.agreed, accepted.session.is_some()),
        Some(Err(Failure { error, reset })) => format!("{error}, {reset}"),
    }
}

#[test]
fn hello_says_what_is_asked_for() {
    let settings = Settings {
        card: alice(),
        ..Settings::default()
    };
    for (stream, keys) in [
        (None, "&v=2&who=1"),
        (Some(StreamSize::FromFirst), "&stream=1&v=2"),
        (Some(StreamSize::Of(48)), "&stream=1&data_size=48&v=2"),
    ] {
        let request = Request {
            stream,
            ..request(DataType::Bytes)
        };
        let (_, hello) = Client::new(&settings, LISTENS, SOURCE, ADDR, request).unwrap();
        let own = "127.0.0.9:50000";
        let text =
            format!("HELLO|address_name={own}&peer_name={own}&data_type=bytes&strict=1{keys}");
        let mut expected = padded(&text);
        if stream.is_none() {
            expected.extend(padded("WHO|id=000000002a&name=alice"));
        }
        let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
        assert_eq!(shown(&hello), shown(&expected));
    }
}

#[test]
fn an_answer_is_understood_however_it_is_split() {
    let settings = Settings::default();
    for (text, dialect) in [
        ("ACCEPT|v=1", Dialect::Headers),
        ("ACCEPT", Dialect::Peerpy),
        ("ACCEPT|v=0&colour=blue", Dialect::Peerpy),
    ] {
        for size in 1..=HEADER_LEN {
            let bytes = [padded(text), b"behind".to_vec()].concat();
            let play = client(&settings, request(DataType::Json));
            let (outcome, left) = play.all(&bytes, size);
            assert_eq!(left, b"behind", "only a header is taken");
            let accepted = outcome.expect("whole").expect("accepted");
            assert!(accepted.session.is_none() && accepted.early.is_empty());
            let agreed = accepted.agreed;
            assert_eq!((agreed.peer_addr, agreed.dialect), (ADDR, dialect));
            assert!(agreed.strict && !agreed.secure);
        }
    }
}

#[test]
fn a_line_or_silence_ends_an_answer() {
    let settings = Settings::default();
    let play = || client(&settings, request(DataType::Json));
    for size in [1, 5, HEADER_LEN] {
        let (outcome, left) = play().all(b"ACCEPT|v=1\r\nand more", size);
        let accepted = outcome.expect("whole").expect("accepted");
        assert_eq!([accepted.early, left].concat(), b"and more");
    }
    for (text, ends) in [
        ("ACCEPT", true),
        ("DENY|reason=no", true),
        ("", false),
        ("ACC", false),
        ("ACCEPT|", false),
        ("ACCEPT|v=1", false),
    ] {
        let outcome = play().then(text.as_bytes(), Input::Silence);
        assert_eq!(outcome.is_some(), ends, "{text}");
    }
}

#[test]
fn every_word_of_a_denial_is_told() {
    for word in [
        "busy",
        "type",
        "dropped",
        "malformed",
        "size",
        "unsupported",
        "self",
        "stopped",
        "secret",
        "no-secret",
        "The-program.s_own",
    ] {
        match answered(&format!("DENY|reason={word}")) {
            Err(Failure {
                error:
                    Error::Denied {
                        addr,
                        reason,
                        by_member: false,
                    },
                reset: false,
            }) => {
                assert_eq!((addr, reason.as_deref()), (ADDR.into(), Some(word)));
            }
            other => panic!("{}", shown(&Some(other))),
        }
    }
    let silent = answered("DENY");
    assert!(
        matches!(
            &silent,
            Err(Failure {
                error: Error::Denied { reason: None, .. },
                ..
            })
        ),
        "{}",
        shown(&Some(silent))
    );
}

#[test]
fn what_is_no_answer_fails() {
    for (text, reason) in [
        ("PING", "a header `PING` where ACCEPT or DENY was expected"),
        ("ACCEPT|v", "`v` in a header is not key=value"),
        ("ACCEPT|v=1&secure=rot13", "unknown secure=`rot13`"),
        (
            "ACCEPT|v=1&secure=aes",
            "it wants an encryption that was not offered",
        ),
        (
            "ACCEPT|secure=chacha",
            "it wants an encryption that was not offered",
        ),
    ] {
        match answered(text) {
            Err(Failure {
                error: Error::Handshake { addr, reason: told },
                reset: false,
            }) => {
                assert_eq!((addr, told.as_str()), (ADDR.into(), reason));
            }
            other => panic!("{}", shown(&Some(other))),
        }
    }
}

#[test]
fn every_prefix_waits_and_its_end_is_told() {
    let settings = Settings::default();
    for len in 0..HEADER_LEN {
        let prefix = &padded("ACCEPT|v=1")[..len];
        let play = || client(&settings, request(DataType::Json));
        let mut waiting = play();
        waiting.feed(&mut prefix.iter().copied().collect(), 3);
        assert_eq!(waiting.reads(), Some((HEADER_LEN - len, len > 0)));
        for (input, reason) in [
            (Input::Ended(Ended::Closed), "it hung up without an answer"),
            (Input::Ended(Ended::Lost("lost".to_owned())), "lost"),
            (Input::NotWritten("a full disk".to_owned()), "a full disk"),
        ] {
            match play().then(prefix, input) {
                Some(Err(Failure {
                    error: Error::Handshake { reason: told, .. },
                    ..
                })) => {
                    assert_eq!(told, reason);
                }
                other => panic!("{}", shown(&other)),
            }
        }
        match play().then(prefix, Input::Ended(Ended::Deadline)) {
            Some(Err(Failure {
                error: Error::TimedOut { addr, after },
                reset: false,
            })) => {
                assert_eq!((addr, after), (ADDR.into(), Duration::from_secs(7)));
            }
            other => panic!("{}", shown(&other)),
        }
    }
}

/// It has accepted, and is to see a reset.
#[test]
fn raw_towards_another_needs_pickle() {
    let settings = Settings::default();
    let play = client(&settings, request(DataType::Raw));
    let (outcome, _) = play.all(&padded("ACCEPT"), HEADER_LEN);
    match outcome.expect("whole") {
        Ok(accepted) => {
            let of_lanpeer = accepted.agreed.dialect.is_lanpeer();
            assert_eq!((HAS_PICKLE, of_lanpeer), (true, false));
        }
        Err(Failure { error, reset }) => {
            assert_eq!((HAS_PICKLE, reset), (false, true));
            assert!(matches!(
                error,
                Error::FeatureMissing {
                    feature: "pickle",
                    ..
                }
            ));
        }
    }
}

/// A server that speaks frames says who it is, and may ask that of a client whose HELLO went alone.
#[test]
fn two_that_speak_frames_say_who_they_are() {
    let settings = Settings {
        card: alice(),
        ..Settings::default()
    };
    let bob = || padded("WHO|id=0000000007&name=bob&service=chat");
    for size in [1, 50, HEADER_LEN] {
        let bytes = [padded("ACCEPT|v=2"), bob(), b"behind".to_vec()].concat();
        let (outcome, left) = client(&settings, request(DataType::Json)).all(&bytes, size);
        let agreed = outcome.expect("whole").expect("accepted").agreed;
        assert_eq!(
            (left, agreed.dialect),
            (b"behind".to_vec(), Dialect::Frames)
        );
        let who = agreed.who.expect("it has said so");
        assert_eq!((who.id, &*who.name, &*who.service), (7, "bob", "chat"));

        let stream = Request {
            stream: Some(StreamSize::FromFirst),
            ..request(DataType::Json)
        };
        let mut asked = client(&settings, stream);
        asked.feed(&mut padded("WHO").into(), size);
        assert_eq!(asked.written, padded("WHO|id=000000002a&name=alice"));
        let (outcome, _) = asked.all(&bytes, size);
        assert_eq!(
            outcome.expect("whole").expect("accepted").agreed.dialect,
            Dialect::Frames
        );
    }
    // Once, and only who has not said it.
    match answered("WHO") {
        Err(Failure { error, .. }) => assert!(error.to_string().contains("`WHO`"), "{error}"),
        other => panic!("{}", shown(&Some(other))),
    }
    let bytes = [padded("ACCEPT|v=2"), padded("WHO|name=bob")].concat();
    let (outcome, _) = client(&settings, request(DataType::Json)).all(&bytes, HEADER_LEN);
    match outcome {
        Some(Err(Failure { error, reset: true })) => {
            assert!(
                error.to_string().ends_with("a header without id"),
                "{error}"
            );
        }
        other => panic!("{}", shown(&other)),
    }
    // One that is typed by hand is followed by no frames, and one who speaks none gets none.
    let (outcome, _) = client(&settings, request(DataType::Json)).all(b"ACCEPT|v=2\n", 5);
    assert_eq!(
        outcome.expect("whole").expect("accepted").agreed.dialect,
        Dialect::Headers
    );
    let text = Settings {
        text_headers: true,
        ..Settings::default()
    };
    let (outcome, _) = client(&text, request(DataType::Json)).all(&padded("ACCEPT|v=2"), 5);
    assert_eq!(
        outcome.expect("whole").expect("accepted").agreed.dialect,
        Dialect::Headers
    );
}

/// The short form of an answer is not that of a server who speaks frames, and has said so.
#[test]
fn after_the_question_who_it_is_no_silence_ends_an_answer() {
    let settings = Settings::default();
    let stream = Request {
        stream: Some(StreamSize::FromFirst),
        ..request(DataType::Json)
    };
    let mut play = client(&settings, stream);
    play.feed(&mut who::QUESTION.into_iter().collect(), HEADER_LEN);
    play.feed(&mut b"ACCEPT".iter().copied().collect(), HEADER_LEN);
    play.input(Input::Silence);
    assert!(play.outcome.is_none());
    let rest = &padded("ACCEPT|v=2")["ACCEPT".len()..];
    let (outcome, _) = play.all(&[rest, &padded("WHO|id=1")].concat(), HEADER_LEN);
    let accepted = outcome.expect("whole").expect("accepted");
    assert_eq!(accepted.agreed.dialect, Dialect::Frames);
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_come_to_the_same(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "(ACCEPT|DENY|PING)\\|(v=1&)?(secure=(aes|chacha)&)?(reason=a&)?x=[\n|]?[|a]{0,120}"
                .prop_map(String::into_bytes),
        ],
        size in 1..HEADER_LEN,
    ) {
        let settings = Settings::default();
        let play = || client(&settings, request(DataType::Json));
        let (whole, whole_left) = play().all(&bytes, HEADER_LEN);
        let (split, left) = play().all(&bytes, size);
        prop_assert_eq!(shown(&whole), shown(&split));
        if let (Some(Ok(whole)), Some(Ok(split))) = (whole, split) {
            prop_assert_eq!([whole.early, whole_left].concat(), [split.early, left].concat());
        }
    }
}
