//! Who is let in, and who learns what.

use std::time::{Duration, Instant};

use lanpeer::{
    Bytes, CloseReason, ConnectOptions, Error, Event, Identity, Json, Peer, RecvTimeoutError,
    Secret,
};

use serde_json::json;

use crate::common::peerpy::{self, Peerpy};
use crate::common::wire::{Wire, WireListener, header};
use crate::common::{builder, ended, peer, receive, spawn};
use crate::proxy::{Proxy, Way};
use crate::{DEADLINE, bind, connect, connect_in_the_clear, secured};

fn other() -> Secret {
    Secret::random().expect("random numbers")
}

/// What `alice` gets when she asks `bob`, who would accept anyone.
fn asked(alice: &Peer, bob: &Peer, options: &ConnectOptions) -> Result<bool, Error> {
    let taker = bob.clone();
    std::thread::spawn(move || taker.accept::<Bytes>());
    let result = options.connect::<Bytes>(alice, bob.local_addr());
    result.map(|conn| conn.is_secure())
}

fn word(result: Result<bool, Error>) -> String {
    match result {
        Err(Error::Denied { reason, .. }) => reason.expect("a reason"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_those_with_the_secret_are_let_in() {
    let plain = ConnectOptions::new();
    let clear = ConnectOptions::new().in_the_clear(true);
    let (bob, stranger) = (bind(secured()), peer());
    assert!(asked(&bind(secured()), &bob, &plain).expect("connected"));
    // Without any, with another, with the right one but in the clear: all are told the same.
    assert_eq!(word(asked(&stranger, &bob, &plain)), "secret");
    assert_eq!(
        word(asked(&bind(builder().secret(other())), &bob, &plain)),
        "secret"
    );
    assert_eq!(word(asked(&bind(secured()), &bob, &clear)), "secret");
    // The other direction: one with a secret says nothing to one without.
    assert_eq!(word(asked(&bob, &stranger, &plain)), "no-secret");
    assert!(!asked(&bob, &stranger, &clear).expect("connected"));
    assert!(!asked(&peer(), &stranger, &plain).expect("connected"));
}

#[test]
fn the_program_sees_nobody_who_has_not_the_secret() {
    let bob = bind(secured());
    let strangers = [peer(), bind(builder().secret(other()))];
    for stranger in &strangers {
        let denied = stranger.connect::<Bytes>(bob.local_addr());
        assert!(matches!(denied, Err(Error::Denied { .. })), "{denied:?}");
    }
    // Neither does a HELLO that no proof follows, or a wrong one, come to it.
    let mut silent = Wire::offer(bob.local_addr(), "data_type=bytes&strict=1&v=1&secure=aes");
    let mut liar = Wire::offer(bob.local_addr(), "data_type=bytes&strict=1&v=1&secure=aes");
    assert_eq!(liar.fields().kind, "ACCEPT");
    liar.read(48);
    liar.write(&[7; 48]);
    assert_eq!(liar.denied().as_deref(), Some("secret"));
    silent.fields();
    let none = bob.offers().try_recv();
    assert!(none.is_err(), "{none:?}");
    for _ in 0..3 {
        let event = bob.events().recv_timeout(DEADLINE).expect("an event");
        assert!(
            matches!(&event, Event::Denied { reason, .. } if reason == "secret"),
            "{event:?}"
        );
    }
    drop(silent);
    let event = bob.events().recv_timeout(DEADLINE).expect("an event");
    assert!(matches!(event, Event::HandshakeFailed { .. }), "{event:?}");
}

#[test]
fn outsiders_learn_nothing_but_that() {
    // Whatever else would be wrong with what they ask for, they are told of the secret.
    let bob = bind(secured().max_connections(1).max_message_size(10));
    let own = bob.local_addr();
    for keys in [
        "data_type=raw&strict=1".to_owned(),
        "data_type=bytes&strict=1&stream=1&data_size=11&v=1".to_owned(),
        format!("address_name={own}&data_type=bytes&strict=1&v=1"),
    ] {
        let mut wire = Wire::offer(own, &keys);
        assert_eq!(wire.denied().as_deref(), Some("secret"), "{keys}");
    }
    for (keys, reason) in [
        ("data_type=bytes&strict=1&v=1&secure=rot13", "unsupported"),
        ("data_type=bytes&strict=1&secure=aes", "malformed"),
    ] {
        assert_eq!(
            Wire::offer(own, keys).denied().as_deref(),
            Some(reason),
            "{keys}"
        );
    }
}

#[test]
fn reasons_go_through_the_session() {
    let bob = bind(secured());
    let proxy = Proxy::start(bob.local_addr(), |_, _, unit| vec![unit]);
    let offers = bob.offers();
    let denying = spawn(move || offers.recv().expect("an offer").deny("top-secret-reason"));
    let denied = bind(secured()).connect::<Bytes>(proxy.addr);
    match denied {
        Err(Error::Denied { reason, .. }) => {
            assert_eq!(reason.as_deref(), Some("top-secret-reason"));
        }
        other => panic!("{other:?}"),
    }
    denying.wait("deny").expect("told");
    let [_, back] = proxy.seen();
    assert!(!back.windows(10).any(|window| window == b"top-secret"));
}

#[test]
fn one_who_answers_in_the_clear_is_left() {
    for answer in ["ACCEPT", "ACCEPT|v=1"] {
        let listener = WireListener::bind();
        let (alice, addr) = (bind(secured()), listener.addr());
        let asking = spawn(move || alice.connect::<Bytes>(addr).map(drop));
        let mut wire = listener.accept();
        assert!(wire.fields().get("secure").is_some());
        wire.write(&header(answer));
        let result = asking.wait("connect");
        assert!(matches!(result, Err(Error::NotSecure { .. })), "{result:?}");
        wire.end();
    }
}

#[test]
fn records_are_spoken_with_lanpeers_only() {
    // Another one's connections end in another way, which would pass for a cut.
    let listener = WireListener::bind();
    let (alice, addr) = (bind(secured()), listener.addr());
    let asking = spawn(move || alice.connect::<Bytes>(addr).map(drop));
    let mut wire = listener.accept();
    wire.fields();
    wire.write(&header("ACCEPT|secure=chacha"));
    wire.write(&[1; 48]);
    let result = asking.wait("connect");
    assert!(matches!(result, Err(Error::Handshake { .. })), "{result:?}");
}

#[test]
fn one_who_only_pretends_is_found_out() {
    // He says that he encrypts, and has not the secret: nothing but noise can follow.
    let suites = ["aes", "chacha"];
    for (suite, expected) in suites.into_iter().zip(["Forged", "Forged"]) {
        let listener = WireListener::bind();
        let (alice, addr) = (bind(secured()), listener.addr());
        let asking = spawn(move || alice.connect::<Bytes>(addr).map(drop));
        let mut wire = listener.accept();
        wire.fields();
        wire.write(&header(&format!("ACCEPT|v=1&secure={suite}")));
        wire.write(&[1; 48]);
        let result = asking.wait("connect");
        let shown = format!("{result:?}");
        // Where her processor has no AES she has not offered it.
        assert!(
            shown.contains(expected) || shown.contains("not offered"),
            "{shown}"
        );
    }
    // A whole peer with another secret in his place: the man in the middle.
    let (alice, mallory) = (bind(secured()), bind(builder().secret(other())));
    let denied = alice.connect::<Bytes>(mallory.local_addr());
    assert!(matches!(denied, Err(Error::Denied { .. })), "{denied:?}");
}

#[test]
fn stripping_the_wish_from_hello_does_not_help() {
    // The man in the middle makes a HELLO in the clear of hers; Bob would even take it.
    let bob = bind(secured().clear_offers(true));
    let proxy = || {
        Proxy::start(bob.local_addr(), |way, number, unit| match (way, number) {
            (Way::There, 0) => {
                let text = String::from_utf8(unit).expect("a header");
                let text = text
                    .replace("&secure=aes", "")
                    .replace("&secure=chacha", "");
                vec![header(text.trim_end_matches('|')).to_vec()]
            }
            _ => vec![unit],
        })
    };
    let offers = bob.offers();
    let taking = spawn(move || {
        // Of one who speaks frames he first asks who it is.
        let offer = offers.recv().ok()?;
        Some(offer.in_the_clear().accept::<Bytes>())
    });
    for text in [false, true] {
        let alice = bind(secured().text_headers(text));
        let proxy = proxy();
        let result = alice.connect::<Bytes>(proxy.addr);
        assert!(matches!(result, Err(Error::NotSecure { .. })), "{result:?}");
    }
    bob.stop();
    drop(taking.wait("accept"));
}

#[test]
fn clear_offers_need_the_programs_word_each() {
    let (bob, stranger) = (bind(secured().clear_offers(true)), peer());
    let asking = |peer: &Peer| {
        let (peer, addr) = (peer.clone(), bob.local_addr());
        spawn(move || peer.connect::<Bytes>(addr))
    };
    let asked = asking(&stranger);
    let refused = bob.offers().recv_timeout(DEADLINE).expect("an offer");
    assert!(!refused.is_secure());
    let refused = refused.accept::<Bytes>();
    assert!(
        matches!(refused, Err(Error::NotSecure { .. })),
        "{refused:?}"
    );
    assert!(asked.wait("connect").is_err());

    let asked = asking(&stranger);
    let offer = bob.offers().recv_timeout(DEADLINE).expect("an offer");
    let conn = offer.in_the_clear().accept::<Bytes>().expect("accepted");
    let to_bob = asked.wait("connect").expect("connected");
    to_bob.send(b"in the clear").expect("sent");
    assert_eq!(receive(&conn), b"in the clear");

    // `accept` passes them over.
    let taker = bob.clone();
    let taking = spawn(move || taker.accept::<Bytes>().expect("accepted"));
    let denied = asking(&stranger).wait("connect");
    assert!(matches!(denied, Err(Error::Denied { .. })), "{denied:?}");
    let secure = asking(&bind(secured())).wait("connect").expect("connected");
    assert!(secure.is_secure() && taking.wait("accept").is_secure());
}

#[test]
fn a_secret_is_changed_without_stopping_the_world() {
    let (old, new) = (other(), other());
    let with = |own: &Secret, accepted: &[&Secret]| {
        let builder = builder().timeout(DEADLINE).secret(own.clone());
        bind(accepted.iter().fold(builder, |builder, secret| {
            builder.accept_secret((*secret).clone())
        }))
    };
    let stages = [
        (with(&old, &[]), with(&old, &[&new])),
        (with(&old, &[&new]), with(&new, &[&old])),
        (with(&new, &[&old]), with(&new, &[])),
    ];
    for (before, after) in &stages {
        let _ = connect::<Bytes>(before, after);
        let _ = connect::<Bytes>(after, before);
    }
    let (first, last) = (&stages[0].0, &stages[2].1);
    let denied = first.connect::<Bytes>(last.local_addr());
    assert!(matches!(denied, Err(Error::Denied { .. })), "{denied:?}");

    let many = (0..8).fold(builder().secret(old), |builder, _| {
        builder.accept_secret(other())
    });
    let many = many.bind("127.0.0.1:0").map(drop);
    assert!(
        matches!(
            many,
            Err(Error::InvalidOption {
                option: "accept_secret",
                ..
            })
        ),
        "{many:?}"
    );
}

#[test]
fn who_has_a_secret_that_is_withdrawn_is_gone() {
    let (old, new) = (other(), other());
    let with = |secret: &Secret| builder().timeout(DEADLINE).secret(secret.clone());
    let (alice, carol) = (bind(with(&old)), bind(with(&new)));
    let bob = bind(with(&old).accept_secret(new.clone()).clear_offers(true));
    let (to_bob, from_alice) = connect::<Bytes>(&alice, &bob);
    let (carol_to_bob, from_carol) = connect::<Bytes>(&carol, &bob);
    // One that Bob has asked for himself.
    let (to_alice, _from_bob) = connect::<Bytes>(&bob, &alice);
    let plain = peer();
    let (clear, from_plain) = connect_in_the_clear(&plain, &bob);
    // An offer that waits for Bob's word.
    let (asker, addr) = (alice.clone(), bob.local_addr());
    let asking = spawn(move || asker.connect::<Bytes>(addr));
    let offer = bob.offers().recv_timeout(DEADLINE).expect("an offer");

    // Both are still taken, whatever copy of them it is.
    let again = old.reveal().parse().expect("its text");
    bob.set_secrets(new.clone(), [again]).expect("it has one");
    to_bob.send(b"still here").expect("sent");
    assert_eq!(receive(&from_alice), b"still here");
    assert_eq!(to_alice.close_reason(), None);

    bob.set_secrets(new.clone(), []).expect("it has one");
    for conn in [&from_alice, &to_alice] {
        assert_eq!(conn.close_reason(), Some(CloseReason::Revoked));
    }
    assert!(!ended(&to_bob).is_normal());
    let accepted = offer.accept::<Bytes>();
    let is_told = matches!(&accepted, Err(Error::SecretWithdrawn { .. }));
    assert!(is_told, "{accepted:?}");
    let late = asking.wait("connect").map(|conn| ended(&conn));
    assert!(
        !matches!(&late, Ok(reason) if reason.is_normal()),
        "{late:?}"
    );
    let denied = alice.connect::<Bytes>(addr).map(|conn| conn.is_secure());
    assert_eq!(word(denied), "secret");
    // The others go on, and what begins now begins with the new one.
    carol_to_bob.send(b"still here").expect("sent");
    assert_eq!(receive(&from_carol), b"still here");
    clear.send(b"so am I").expect("sent");
    assert_eq!(receive(&from_plain), b"so am I");
    let _ = connect::<Bytes>(&bob, &carol);

    let many: Vec<Secret> = (0..8).map(|_| other()).collect();
    for result in [
        bob.set_secrets(new.clone(), many),
        plain.set_secrets(new, []),
    ] {
        let is_refused = matches!(
            &result,
            Err(Error::InvalidOption {
                option: "set_secrets",
                ..
            })
        );
        assert!(is_refused, "{result:?}");
    }
    assert_eq!(from_carol.close_reason(), None);
}

/// An offer that waits, and may not be accepted any more: who waits for the next connection waits on.
#[test]
fn accept_skips_an_offer_that_is_not_trusted_any_more() {
    let (old, new, identity) = (other(), other(), Identity::generate().expect("random"));
    let with = |secret: &Secret| builder().timeout(DEADLINE).secret(secret.clone());
    let alice = bind(with(&old).identity(identity.clone()));
    let bob = bind(with(&old));
    let wait_for_an_offer = || {
        let (asker, addr) = (alice.clone(), bob.local_addr());
        let asking = spawn(move || asker.connect::<Bytes>(addr));
        let begin = Instant::now();
        while bob.offers().is_empty() {
            assert!(begin.elapsed() < DEADLINE, "no offer");
            std::thread::sleep(Duration::from_millis(1));
        }
        asking
    };
    let asking = wait_for_an_offer();
    bob.allow([]).expect("it has a secret");
    let none = bob.accept_timeout::<Bytes>(Duration::ZERO);
    assert!(matches!(none, Err(Error::NothingReceived)), "{none:?}");
    drop(asking.wait("connect"));

    bob.allow([identity.public_key()]).expect("it has a secret");
    let asking = wait_for_an_offer();
    bob.set_secrets(new, []).expect("it has one");
    let none = bob.accept_timeout::<Bytes>(Duration::ZERO);
    assert!(matches!(none, Err(Error::NothingReceived)), "{none:?}");
    drop(asking.wait("connect"));
}

/// A secret is withdrawn while somebody connects with it: whatever the moment, nothing of it is left.
#[test]
fn nobody_slips_through_while_his_secret_is_withdrawn() {
    let (old, new) = (other(), other());
    let alice = bind(builder().timeout(DEADLINE).secret(old.clone()));
    let bob = bind(builder().timeout(DEADLINE).secret(old.clone()));
    let offers = bob.incoming();
    std::thread::spawn(move || {
        for offer in offers {
            let _ = offer.accept_with::<Bytes>(|conn, message| drop(conn.send(&message)));
        }
    });
    let rounds = std::env::var("LANPEER_ROUNDS").ok();
    let rounds: u64 = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(40);
    for round in 0..rounds {
        bob.set_secrets(old.clone(), []).expect("it has one");
        let (asker, addr) = (alice.clone(), bob.local_addr());
        let asking = spawn(move || asker.connect::<Bytes>(addr));
        // From before it begins to after its end.
        std::thread::sleep(Duration::from_micros(round * 37 % 1200));
        bob.set_secrets(new.clone(), []).expect("it has one");
        if let Ok(conn) = asking.wait("connect") {
            assert!(!ended(&conn).is_normal(), "{round}");
        }
        crate::common::until("nothing is left", || bob.connections().is_empty());
    }
}

#[test]
fn an_old_session_says_nothing_new() {
    let bob = bind(secured());
    let proxy = Proxy::start(bob.local_addr(), |_, _, unit| vec![unit]);
    let taker = bob.clone();
    let taking = spawn(move || taker.accept::<Bytes>().expect("accepted"));
    let alice = bind(secured());
    let to_bob = alice.connect::<Bytes>(proxy.addr).expect("connected");
    to_bob.send(b"open the door").expect("sent");
    assert_eq!(receive(&taking.wait("accept")), b"open the door");
    let [there, _] = proxy.seen();

    // The same bytes again, to the same peer.
    let mut wire = Wire::connect(bob.local_addr());
    wire.write(&there[..128]);
    assert_eq!(wire.fields().kind, "ACCEPT");
    wire.read(48);
    wire.write_what_goes(&there[128..]);
    assert_eq!(wire.denied().as_deref(), Some("secret"));
    let none = bob.offers().recv_timeout(Duration::from_millis(1));
    assert!(matches!(none, Err(RecvTimeoutError::Timeout)), "{none:?}");
}

#[test]
fn stop_ends_handshakes_under_way() {
    let bob = bind(secured());
    let mut silent = Wire::offer(
        bob.local_addr(),
        "data_type=bytes&strict=1&v=1&secure=chacha",
    );
    assert_eq!(silent.fields().get("secure"), Some("chacha"));
    silent.read(48);
    spawn(move || bob.stop()).wait("stop");
    assert_eq!(silent.denied().as_deref(), Some("stopped"));
}

#[test]
fn peerpy_is_denied_and_lives_on() {
    if peerpy::python().is_none() {
        return;
    }
    let mut peerpy = Peerpy::start().expect("there is one");
    let (bob, plain) = (bind(secured()), peer());
    assert!(
        !peerpy.connect(bob.local_addr(), json!({})),
        "it has no secret"
    );
    let refused = bob.connect::<Bytes>(peerpy.addr);
    assert!(
        matches!(refused, Err(Error::NotSecure { .. })),
        "{refused:?}"
    );
    // It goes on with one who has no secret either; a thread of it that died fails the test.
    let offers = plain.offers();
    let taking = spawn(move || offers.recv().expect("an offer").accept::<Json<String>>());
    assert!(peerpy.connect(plain.local_addr(), json!({ "data_type": "json" })));
    let conn = taking.wait("accept").expect("accepted");
    peerpy.send(json!("still here"));
    assert_eq!(receive(&conn), "still here");
}

/// As many handshakes at once from one address as members of one machine may begin: none has to go,
/// since none is silent.
#[test]
fn a_crowd_of_one_address_gets_in() {
    let bob = bind(secured());
    let (offers, to) = (bob.incoming(), bob.local_addr());
    std::thread::spawn(move || {
        for offer in offers {
            let _ = offer.accept_with::<Bytes>(|conn, message| drop(conn.send(&message)));
        }
    });
    let alice = bind(secured());
    let asking: Vec<_> = (0..200)
        .map(|_| {
            let alice = alice.clone();
            spawn(move || alice.connect::<Bytes>(to).map(drop))
        })
        .collect();
    for task in asking {
        task.wait("a connection").expect("accepted");
    }
}
