//! Secrets that are made of words: proved by an exchange of which nothing can be tried afterwards.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Instant;

use lanpeer::{Bytes, CloseReason, Error, Event, Peer, PeerBuilder, Secret};

use crate::common::wire::{Wire, header};
use crate::common::{builder, ended, receive, spawn};
use crate::proxy::Proxy;
use crate::words::WORDS;
use crate::{DEADLINE, bind, connect, secret};

fn words(number: usize) -> Secret {
    WORDS[number].parse().expect("a secret")
}

/// A peer that asks with the first of these, and takes all of them.
pub fn with_words(numbers: &[usize]) -> PeerBuilder {
    let builder = builder().timeout(DEADLINE).secret(words(numbers[0]));
    numbers[1..].iter().fold(builder, |builder, number| {
        builder.accept_secret(words(*number))
    })
}

fn is_denied(alice: &Peer, bob: &Peer) {
    match alice.connect::<Bytes>(bob.local_addr()).map(drop) {
        Err(Error::Denied {
            reason, by_member, ..
        }) => assert_eq!((reason.as_deref(), by_member), (Some("secret"), false)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_knows_the_words_gets_in() {
    let of = |words: &str| Secret::from_passphrase(words, "example lab, hall 3").expect("words");
    let (right, wrong) = (
        of("six words drawn by lot and more"),
        of("six words drawn by lot and less"),
    );
    let bob = bind(builder().timeout(DEADLINE).secret(right.clone()));
    let path = std::env::temp_dir().join(format!("lanpeer-words-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    right.save(&path).expect("saved");
    // However the others have got it.
    let from_file = Secret::from_file(&path).expect("a secret");
    std::fs::remove_file(&path).expect("removed");
    for secret in [right.reveal().parse().expect("its text"), from_file, right] {
        let alice = bind(builder().timeout(DEADLINE).secret(secret));
        let (to_bob, from_alice) = connect::<Bytes>(&alice, &bob);
        to_bob.send(b"hello").expect("sent");
        assert_eq!(receive(&from_alice), b"hello");
        assert_eq!(to_bob.channel_binding(), from_alice.channel_binding());
        assert!(to_bob.is_secure());
    }
    is_denied(&bind(builder().timeout(DEADLINE).secret(wrong)), &bob);
}

#[test]
fn several_on_either_side_in_any_order() {
    let orders: [&[usize]; 4] = [
        &[0, 1, 2, 3, 4, 5, 6, 7],
        &[7, 6, 5, 4, 3, 2, 1, 0],
        &[3, 0],
        &[5],
    ];
    for alices in orders {
        for bobs in orders {
            let (alice, bob) = (bind(with_words(alices)), bind(with_words(bobs)));
            // Which of them counts is the one that she asks with.
            match bobs.contains(&alices[0]) {
                true => drop(connect::<Bytes>(&alice, &bob)),
                false => is_denied(&alice, &bob),
            }
        }
    }
}

#[test]
fn the_words_are_changed_without_stopping_the_world() {
    let with = |own: Secret, accepted: &[Secret]| {
        let builder = builder().timeout(DEADLINE).secret(own.with_label("own"));
        let accepted = accepted.iter().cloned();
        bind(accepted.fold(builder, |builder, secret| {
            builder.accept_secret(secret.with_label("accepted"))
        }))
    };
    // From words to others, and from words to a key.
    for (old, new) in [(words(0), words(1)), (words(2), secret())] {
        let (alice, bob) = (
            with(old.clone(), &[]),
            with(old.clone(), std::slice::from_ref(&new)),
        );
        let (to_bob, from_alice) = connect::<Bytes>(&alice, &bob);
        assert_eq!(from_alice.secret_label(), Some("own"));
        let carol = with(new.clone(), std::slice::from_ref(&old));
        let (_carols, from_carol) = connect::<Bytes>(&carol, &bob);
        assert_eq!(from_carol.secret_label(), Some("accepted"));
        let (_bobs, from_bob) = connect::<Bytes>(&bob, &carol);
        assert_eq!(from_bob.secret_label(), Some("accepted"));
        bob.set_secrets(new, []).expect("it has one");
        assert_eq!(from_alice.close_reason(), Some(CloseReason::Revoked));
        assert!(!ended(&to_bob).is_normal());
        assert_eq!(from_carol.close_reason(), None);
        is_denied(&alice, &bob);
    }
}

/// A key and words that have led to the same 16 bytes are not the same.
#[test]
fn words_are_no_key() {
    let of = |secret: Secret| bind(builder().timeout(DEADLINE).secret(secret));
    let (words, key) = (of(words(0)), of(secret()));
    is_denied(&words, &key);
    is_denied(&key, &words);
    let both = bind(with_words(&[0]).accept_secret(secret()));
    drop(connect::<Bytes>(&words, &both));
    drop(connect::<Bytes>(&key, &both));
}

/// What is on the wire of one who has the words: the announced shares, and of each session others.
#[test]
fn each_session_looks_different() {
    let bob = bind(with_words(&[0, 1, 2]));
    let alice = bind(with_words(&[1]));
    let mut all = Vec::new();
    for _ in 0..3 {
        let proxy = Proxy::start(bob.local_addr(), |_, _, unit| vec![unit]);
        let taker = bob.clone();
        let taking = spawn(move || taker.accept::<Bytes>().expect("accepted"));
        let conn = alice.connect::<Bytes>(proxy.addr).expect("connected");
        conn.close().expect("closed");
        drop(taking.wait("accept"));
        let [there, back] = proxy.seen();
        let text = String::from_utf8_lossy(&back[..128]).into_owned();
        assert!(text.contains("&shares=3"), "{text}");
        let text = String::from_utf8_lossy(&there[..128]).into_owned();
        assert!(text.contains("-p"), "{text}");
        for part in there[128..][..128]
            .chunks(32)
            .chain(back[128..][..128].chunks(32))
        {
            assert!(!all.contains(&part.to_vec()), "twice");
            all.push(part.to_vec());
        }
    }
}

/// A false listener sends shares that are none, or an ACCEPT without any: she says nothing of her words.
#[test]
fn a_false_listener_gets_no_other_proof() {
    for (accept, len) in [
        ("ACCEPT|v=1&secure=chacha", 48),
        ("ACCEPT|v=1&secure=chacha&shares=9", 48 + 9 * 32),
        ("ACCEPT|v=1&secure=chacha&shares=1", 48 + 32),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("its address");
        let alice = bind(with_words(&[0]));
        let asking = spawn(move || alice.connect::<Bytes>(addr).map(drop));
        let (mut socket, _) = listener.accept().expect("alice");
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        socket.read_exact(&mut [0; 128]).expect("HELLO");
        let bytes = [&header(accept)[..], &vec![1; len]].concat();
        socket.write_all(&bytes).expect("sent");
        let result = asking.wait("connect");
        let is_refused = matches!(result, Err(Error::Handshake { .. } | Error::Forged { .. }));
        assert!(is_refused, "{accept}: {result:?}");
        let mut said = Vec::new();
        let _ = socket.read_to_end(&mut said);
        assert_eq!(said, [0; 0], "{accept}");
    }
}

/// A false client whose share is none is told so, and others that they are wrong: he has one guess a
/// connection, and ten a second.
#[test]
fn a_false_client_is_turned_away() {
    let bob = bind(with_words(&[0, 1]));
    let begin = Instant::now();
    let word = |share: [u8; 32]| {
        let keys = "data_type=bytes&strict=1&v=1&secure=chacha-p";
        let mut wire = Wire::offer(bob.local_addr(), keys);
        let fields = wire.fields();
        assert_eq!(fields.get("shares"), Some("2"));
        wire.read(48 + 2 * 32);
        wire.write(&[&share[..], &[7; 2 * 32 + 48]].concat());
        wire.denied()
    };
    assert_eq!(word([0; 32]).as_deref(), Some("malformed"));
    assert_eq!(word([0xff; 32]).as_deref(), Some("malformed"));
    // The group's base.
    let base = "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76";
    let base = std::array::from_fn(|at| {
        u8::from_str_radix(&base[2 * at..2 * at + 2], 16).expect("two digits")
    });
    for _ in 0..12 {
        assert_eq!(word(base).as_deref(), Some("secret"));
    }
    assert!(begin.elapsed().as_millis() >= 300, "{:?}", begin.elapsed());
    let events: Vec<String> = bob
        .events()
        .try_iter()
        .map(|event| match event {
            Event::HandshakeFailed { reason, .. } | Event::Denied { reason, .. } => reason,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        events[..2],
        [
            "its share of the passphrase exchange is the neutral element",
            "its share of the passphrase exchange is no element of the group"
        ]
    );
    assert!(events[2..].iter().all(|reason| reason == "secret"));
}
