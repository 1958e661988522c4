//! Both machines together, encrypted, with someone on the way.
//!
//! A long file: each of its tests is made with a key and with passphrases, by what they have in common.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::client::{Client, Failure, Request};
use super::play::{Play, padded};
use super::server::{Outcome, Server, acceptance, denial};
use super::{Ended, Gate, Input};
use crate::emulated::stride;
use crate::error::Error;
use crate::format::{DataType, Dialect};
use crate::options::Settings;
use crate::proto::header::HEADER_LEN;
use crate::secure::Secret;

const BOB: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 40_000);
const ALICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 50_000);

fn with_secret(secret: &Secret) -> Settings {
    let settings = Settings::default();
    settings.trusts.change(|trust| trust.set(secret.clone()));
    settings
}

/// Made of passphrases.
const WORDS: [&str; 4] = [
    "000G-40R4-0M30-E209-185G-R38E-1Y05",
    "208H-44RM-2MB1-E60S-38DH-R78Y-3YFQ",
    "40GJ-48S4-4MK2-EA19-58NJ-RB9E-5YT4",
    "60RK-4CSM-6MV3-EE1S-78XK-RF9Y-7YNP",
];

/// With those of these numbers, the first of them its own, and a key besides.
fn with_words(numbers: &[usize]) -> Settings {
    let settings = Settings::default();
    settings.trusts.change(|trust| {
        for (place, number) in numbers.iter().enumerate() {
            let secret = WORDS[*number].parse().expect("a secret");
            match place {
                0 => trust.set(secret),
                _ => trust.accept(secret),
            }
        }
        trust.accept(random());
    });
    settings
}

/// Alice, Bob, and how many shares he sends: with a key, and with passphrases.
fn pairs() -> [(Settings, Settings, usize); 3] {
    let same = with_secret(&random());
    [
        (same.clone(), same, 0),
        (with_words(&[2]), with_words(&[2]), 1),
        (with_words(&[1, 3]), with_words(&[0, 3, 1]), 3),
    ]
}

fn random() -> Secret {
    Secret::random().expect("random numbers")
}

fn request() -> Request {
    Request {
        data_type: DataType::Json,
        strict: true,
        stream: None,
        timeout: Duration::from_secs(7),
        in_the_clear: false,
        attempt: None,
        whom: None,
        expected: crate::secure::Allowed::default(),
    }
}

/// What both sides have come to.
type Outcomes = (
    Option<Result<Box<super::client::Accepted>, Failure>>,
    Option<Outcome>,
);

/// Both sides, in pieces of this size. `alter` may change what goes by: the first is HELLO. Bob
/// accepts what he is offered, or denies it with this word.
fn run(
    alice: &Settings,
    bob: &Settings,
    size: usize,
    word: Option<&str>,
    mut alter: impl FnMut(usize, &mut Vec<u8>),
) -> Outcomes {
    let client = Client::new(alice, ALICE, Ipv4Addr::LOCALHOST, BOB, request());
    let (client, hello) = client.expect("it fits");
    let mut client = Play::new(client);
    let mut server = Play::new(Server::new(bob, BOB, Ipv4Addr::LOCALHOST));
    let mut number = 0;
    let mut pass = |bytes: &mut Vec<u8>| -> VecDeque<u8> {
        let mut bytes = std::mem::take(bytes);
        if !bytes.is_empty() {
            alter(number, &mut bytes);
            number += 1;
        }
        bytes.into()
    };
    let mut there = pass(&mut hello.to_vec());
    let mut answered = false;
    for _ in 0..4 {
        server.feed(&mut there, size);
        if let (Some(outcome), false) = (&mut server.outcome, answered) {
            answered = true;
            let answer = match outcome {
                Outcome::Offer(offered) => match word {
                    None => acceptance(offered.agreed.dialect, &bob.card, offered.session.as_mut()),
                    Some(word) => denial(word, offered.session.as_mut()),
                },
                Outcome::Denied { word, session, .. } => denial(word, session.as_deref_mut()),
                Outcome::Failed { word, .. } => word.and_then(|word| denial(word, None)),
            };
            server.written.extend(answer.unwrap_or_default());
        }
        let mut back = pass(&mut server.written);
        client.feed(&mut back, size);
        there = pass(&mut client.written);
    }
    // Nothing more comes to a side that still waits.
    if server.outcome.is_none() {
        server.input(Input::Ended(Ended::Closed));
    }
    if client.outcome.is_none() {
        client.input(Input::Ended(Ended::Closed));
    }
    (client.outcome, server.outcome)
}

#[test]
fn who_shares_a_secret_agrees_however_it_is_split() {
    for (alice, bob, _) in pairs() {
        agrees(&alice, &bob);
    }
}

fn agrees(alice: &Settings, bob: &Settings) {
    for size in (1..=HEADER_LEN).step_by(stride()) {
        let (client, server) = run(alice, bob, size, None, |_, _| ());
        let accepted = client.expect("an outcome").expect("accepted");
        assert!(accepted.agreed.secure && accepted.early.is_empty());
        assert_eq!(accepted.agreed.dialect, Dialect::Frames);
        let Some(Outcome::Offer(mut offered)) = server else {
            panic!("no offer")
        };
        assert!(offered.agreed.secure && offered.early.is_empty());
        // What one session seals, the other opens.
        let mut session = accepted.session.expect("a session");
        let mut record = Vec::new();
        session.sealer.seal(b"hello", b"", &mut record).unwrap();
        let bobs = offered.session.as_mut().expect("a session");
        assert_eq!(bobs.opener.open(&mut record), Ok(&b"hello"[..]));
    }
}

#[test]
fn a_denial_of_the_program_comes_through_the_session() {
    let settings = with_secret(&random());
    let (client, server) = run(&settings, &settings, 5, Some("no"), |_, _| ());
    assert!(matches!(server, Some(Outcome::Offer(_))));
    match client {
        Some(Err(Failure {
            error: Error::Denied { reason, .. },
            reset: false,
        })) => assert_eq!(reason.as_deref(), Some("no")),
        _ => panic!("not denied"),
    }
}

#[test]
fn who_has_another_secret_or_none_is_denied() {
    let (one, other, none) = (random(), random(), Settings::default());
    let (one, other) = (with_secret(&one), with_secret(&other));
    let (words, more) = (with_words(&[0]), with_words(&[1, 2]));
    for (alice, bob, word) in [
        (&words, &more, "secret"),
        (&more, &words, "secret"),
        // He has none of her kind.
        (&words, &one, "secret"),
        (&one, &words, "secret"),
        (&none, &words, "secret"),
        (&words, &none, "no-secret"),
        (&one, &other, "secret"),
        (&none, &one, "secret"),
        (&one, &none, "no-secret"),
    ] {
        let (client, server) = run(alice, bob, 11, None, |_, _| ());
        match server {
            Some(Outcome::Denied {
                word: told,
                session: None,
                ..
            }) => assert_eq!(told, word),
            _ => panic!("not denied: {word}"),
        }
        match client {
            Some(Err(Failure {
                error: Error::Denied { reason, .. },
                ..
            })) => assert_eq!(reason.as_deref(), Some(word)),
            _ => panic!("not told: {word}"),
        }
    }
    let mut clear = one.clone();
    clear.clear_offers = true;
    let (client, server) = run(&none, &clear, 11, None, |_, _| ());
    assert!(client.is_some_and(|client| client.is_ok()));
    assert!(matches!(server, Some(Outcome::Offer(offered)) if offered.session.is_none()));
}

/// Whoever is turned away at a gate is told so, and nothing is computed for him.
#[test]
fn a_gate_that_is_shut_ends_it() {
    let settings = with_secret(&random());
    let hello = padded("HELLO|peer_name=127.0.0.1:1&data_type=json&v=1&secure=chacha");
    for (shut, written, gates) in [
        (Gate::Challenge, 0, &[Gate::Challenge][..]),
        (
            Gate::Proof,
            HEADER_LEN + 48,
            &[Gate::Challenge, Gate::Proof],
        ),
    ] {
        let mut server = Play::new(Server::new(&settings, BOB, Ipv4Addr::LOCALHOST));
        server.shut = Some(shut);
        let bytes = [&hello[..], &[7; 48]].concat();
        server.feed(&mut bytes.into(), HEADER_LEN);
        assert_eq!((server.written.len(), &server.gates[..]), (written, gates));
        assert!(matches!(
            server.outcome,
            Some(Outcome::Denied {
                word: "busy",
                session: None,
                ..
            })
        ));
    }
    // Whoever hangs up before his proof has guessed nothing.
    for len in 0..48 {
        let mut server = Play::new(Server::new(&settings, BOB, Ipv4Addr::LOCALHOST));
        server.feed(
            &mut [&hello[..], &[7; 48][..len]].concat().into(),
            HEADER_LEN,
        );
        server.input(Input::Ended(Ended::Closed));
        assert_eq!(server.gates, [Gate::Challenge]);
    }
    // A proof that is wrong does not come through the third, and one that is right does.
    let mut server = Play::new(Server::new(&settings, BOB, Ipv4Addr::LOCALHOST));
    server.feed(&mut [&hello[..], &[7; 48]].concat().into(), HEADER_LEN);
    assert_eq!(server.gates, [Gate::Challenge, Gate::Proof]);
    let client = Client::new(&settings, ALICE, Ipv4Addr::LOCALHOST, BOB, request());
    let (client, hello) = client.expect("it fits");
    let mut server = Play::new(Server::new(&settings, BOB, Ipv4Addr::LOCALHOST));
    server.feed(&mut hello.into(), HEADER_LEN);
    let mut client = Play::new(client);
    client.feed(&mut std::mem::take(&mut server.written).into(), HEADER_LEN);
    server.feed(&mut client.written.into(), HEADER_LEN);
    assert_eq!(server.gates, [Gate::Challenge, Gate::Proof, Gate::Proved]);
    assert!(matches!(server.outcome, Some(Outcome::Offer(_))));
}

/// Of what must be padded and of a lanpeer, nothing else will do.
#[test]
fn a_hello_that_cannot_be_encrypted_is_malformed() {
    let settings = with_secret(&random());
    let line = "HELLO|peer_name=127.0.0.1:1&data_type=json&v=1&secure=aes\n";
    let no_lanpeer = padded("HELLO|peer_name=127.0.0.1:1&data_type=json&secure=aes");
    for hello in [line.as_bytes(), &no_lanpeer] {
        let server = Play::new(Server::new(&settings, BOB, Ipv4Addr::LOCALHOST));
        let (outcome, _) = server.all(hello, HEADER_LEN);
        assert!(matches!(
            outcome,
            Some(Outcome::Denied {
                word: "malformed",
                ..
            })
        ));
    }
}

#[test]
fn each_suite_is_taken_that_both_can() {
    let settings = with_secret(&random());
    for suite in ["aes", "chacha"] {
        let hello = format!("HELLO|peer_name=127.0.0.1:1&data_type=json&v=1&secure={suite}");
        let mut server = Play::new(Server::new(&settings, BOB, Ipv4Addr::LOCALHOST));
        server.feed(&mut padded(&hello).into(), HEADER_LEN);
        // ACCEPT and the first message; then the second one is due.
        assert_eq!(server.written.len(), HEADER_LEN + 48);
        assert!(server.written.starts_with(b"ACCEPT|v=1&secure="));
        assert_eq!(server.reads(), Some((48, false)));
    }
}

#[test]
fn an_answer_that_does_not_fit_the_offer_is_refused() {
    let settings = with_secret(&random());
    let answered = |bytes: Vec<u8>| {
        let client = Client::new(&settings, ALICE, Ipv4Addr::LOCALHOST, BOB, request());
        let play = Play::new(client.expect("it fits").0);
        match play.all(&bytes, HEADER_LEN).0 {
            Some(Err(failure)) => Some(failure),
            Some(Ok(_)) => panic!("accepted"),
            None => None,
        }
    };
    // A FIN would say that all was taken in, and a peerpy would not notice it.
    for clear in ["ACCEPT|v=1", "ACCEPT"] {
        let failure = answered(padded(clear)).expect("an outcome");
        assert!(failure.reset && matches!(failure.error, Error::NotSecure { .. }));
    }
    let not_offered = |bytes| match answered(bytes).expect("an outcome").error {
        Error::Handshake { reason, .. } => {
            assert_eq!(reason, "it wants an encryption that was not offered");
        }
        error => panic!("{error}"),
    };
    not_offered(padded("ACCEPT|secure=chacha"));
    not_offered(b"ACCEPT|v=1&secure=chacha\n".to_vec());
    if crate::secure::preferred() == crate::proto::header::Suite::ChaCha {
        not_offered(padded("ACCEPT|v=1&secure=aes"));
    } else {
        assert!(answered(padded("ACCEPT|v=1&secure=aes")).is_none());
    }
    assert!(answered(padded("ACCEPT|v=1&secure=chacha")).is_none());
}

/// A false listener's shares, and a false client's: each that is none, with the reason, and before anything
/// that depends on the secret is said.
#[test]
fn shares_that_are_none_are_refused_with_the_reason() {
    let neutral = "its share of the passphrase exchange is the neutral element";
    let none = "its share of the passphrase exchange is no element of the group";
    let mut negative = [0; 32];
    negative[0] = 1;
    for (share, reason) in [([0; 32], neutral), (negative, none), ([0xff; 32], none)] {
        // Bob reads it where it stands in the clear.
        let (alice, bob, _) = &pairs()[2];
        let outcomes = run(alice, bob, HEADER_LEN, None, |number, bytes| {
            if number == 2 {
                bytes[..32].copy_from_slice(&share);
            }
        });
        match outcomes.1 {
            Some(Outcome::Failed {
                reason: told,
                word: Some("malformed"),
            }) => assert_eq!(told, reason),
            _ => panic!("not refused"),
        }
        assert!(matches!(outcomes.0, Some(Err(_))));
    }
    // An ACCEPT that announces no shares, too many, or some where none were asked for.
    let (words, key) = (with_words(&[0]), with_secret(&random()));
    for (settings, answer) in [
        (&words, "ACCEPT|v=1&secure=chacha"),
        (&words, "ACCEPT|v=1&secure=chacha&shares=0"),
        (&words, "ACCEPT|v=1&secure=chacha&shares=9"),
        (&key, "ACCEPT|v=1&secure=chacha&shares=1"),
    ] {
        let client = Client::new(settings, ALICE, Ipv4Addr::LOCALHOST, BOB, request());
        let client = Play::new(client.expect("it fits").0);
        let outcome = client.all(&padded(answer), HEADER_LEN).0;
        assert!(matches!(
            outcome,
            Some(Err(Failure {
                error: Error::Handshake { .. },
                ..
            }))
        ));
    }
}

/// Whatever bit is turned on the way, nobody takes the result for a connection with the other.
#[test]
fn nothing_can_be_altered() {
    for (alice, bob, shares) in pairs() {
        alters(&alice, &bob, shares);
    }
}

/// The lengths of what both say, with so many shares of the passphrase exchange.
fn lens(shares: usize) -> [usize; 4] {
    let record = 2 + HEADER_LEN + 16;
    let answer = if shares > 0 { 32 + 32 * shares } else { 0 };
    [
        HEADER_LEN,
        HEADER_LEN + 48 + 32 * shares,
        answer + 48 + record,
        2 * record,
    ]
}

fn alters(alice: &Settings, bob: &Settings, shares: usize) {
    let mut seen = Vec::new();
    run(alice, bob, HEADER_LEN, None, |_, bytes| {
        seen.push(bytes.len())
    });
    let lens = lens(shares);
    assert_eq!(seen, lens, "each side also says who it is");
    for (which, len) in lens.into_iter().enumerate() {
        for at in (0..len).step_by(stride()) {
            let (client, _) = run(alice, bob, HEADER_LEN, None, |number, bytes| {
                if number == which {
                    bytes[at] ^= 1 << (at % 8);
                }
            });
            let client = client.expect("an outcome");
            assert!(client.is_err(), "byte {at} of part {which}");
        }
    }
}

#[test]
fn every_cut_is_told() {
    for (alice, bob, shares) in pairs() {
        cuts(&alice, &bob, shares);
    }
}

fn cuts(alice: &Settings, bob: &Settings, shares: usize) {
    let record = 2 + HEADER_LEN + 16;
    let lens = lens(shares);
    let proof = lens[2] - record;
    for (which, len) in lens.into_iter().enumerate().skip(1) {
        for cut in (0..len).step_by(stride()) {
            let outcomes = run(alice, bob, HEADER_LEN, None, |number, bytes| {
                bytes.truncate(if number == which { cut } else { usize::MAX });
            });
            match outcomes.0 {
                Some(Err(Failure {
                    error: Error::Handshake { reason, .. },
                    ..
                })) => assert_eq!(reason, "it hung up without an answer"),
                _ => panic!("cut at {cut} of part {which}"),
            }
            let told = match &outcomes.1 {
                Some(Outcome::Failed { reason, word: None }) => reason.as_str(),
                Some(Outcome::Offer(_)) => "an offer",
                _ => panic!("cut at {cut} of part {which}"),
            };
            let due = match which {
                3 => "an offer",
                2 if cut >= proof => "it hung up before WHO",
                _ => "it hung up before the proof of its secret",
            };
            assert_eq!(told, due, "cut at {cut} of part {which}");
        }
    }
    // A server whose challenge is not written, or not answered in time.
    let settings = with_secret(&random());
    let hello = padded("HELLO|peer_name=127.0.0.1:1&data_type=json&v=1&secure=chacha");
    for (input, reason) in [
        (
            Input::Ended(Ended::Deadline),
            "no proof of its secret within 2s",
        ),
        (Input::Ended(Ended::Lost("lost".to_owned())), "lost"),
    ] {
        let server = Play::new(Server::new(&settings, BOB, Ipv4Addr::LOCALHOST));
        match server.then(&hello, input) {
            Some(Outcome::Failed { reason: told, .. }) => assert_eq!(told, reason),
            _ => panic!("not failed"),
        }
    }
}
