//! Who is who, among those who have the secret: keys that are shown, expected, allowed and taken out, and
//! what those see who have not the secret, or a key that is another's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lanpeer::{
    Bytes, CloseReason, ConnectOptions, Connection, Error, Event, Identity, Peer, PeerBuilder,
    PublicKey,
};

use crate::common::wire::{Wire, WireListener, header};
use crate::common::{ended, receive, spawn};
use crate::proxy::{Proxy, Way};
use crate::{DEADLINE, bind, connect, connect_in_the_clear, secured};

pub fn identity() -> Identity {
    Identity::generate().expect("random numbers")
}

/// With an identity of its own, whose key this is.
pub fn known() -> (PeerBuilder, PublicKey) {
    let identity = identity();
    let key = identity.public_key();
    (secured().identity(identity), key)
}

/// Accepts all offers, and sends back what comes.
fn accepting(peer: &Peer) {
    let offers = peer.incoming();
    std::thread::spawn(move || {
        for offer in offers {
            let _ = offer.accept_with::<Bytes>(|conn, message| drop(conn.send(&message)));
        }
    });
}

fn expect(alice: &Peer, key: PublicKey, addr: SocketAddr) -> Result<Connection<Bytes>, Error> {
    ConnectOptions::new().expect(key).connect(alice, addr)
}

fn is_wrong(result: Result<Connection<Bytes>, Error>, shown: Option<PublicKey>) {
    match result {
        Err(Error::WrongKey { key, .. }) => assert_eq!(key, shown),
        other => panic!("{:?}", other.map(|conn| conn.peer_key())),
    }
}

fn word(result: Result<Connection<Bytes>, Error>) -> String {
    match result {
        Err(Error::Denied {
            reason, by_member, ..
        }) => format!("{} {by_member}", reason.as_deref().unwrap_or("nothing")),
        other => panic!("{:?}", other.map(|conn| conn.peer_key())),
    }
}

/// With and without an identity on either side, in frames and in text, as a stream or not: all talk, and
/// each knows the key that the other shows.
#[test]
fn whoever_shows_a_key_is_known_by_it() {
    for number in 0..32 {
        let flag = |bit: u32| number >> bit & 1 == 1;
        let side = |has_key: bool, text: bool| {
            let (builder, key) = known();
            let builder = if has_key { builder } else { secured() };
            let peer = bind(builder.name("somebody").text_headers(text));
            (peer, has_key.then_some(key))
        };
        let (alice, alices) = side(flag(0), flag(2));
        let (bob, bobs) = side(flag(1), flag(3));
        let offers = bob.offers();
        let taking = spawn(move || {
            let offer = offers.recv().expect("an offer");
            (offer.peer_key(), offer.accept::<Bytes>().expect("accepted"))
        });
        let options = match flag(4) {
            true => ConnectOptions::new().stream_of(5),
            false => ConnectOptions::new(),
        };
        let to_bob = options.connect::<Bytes>(&alice, bob.local_addr());
        let to_bob = to_bob.expect("connected");
        let (offered, from_alice) = taking.wait("accept");
        to_bob.send(b"hello").expect("sent");
        assert_eq!(receive(&from_alice), b"hello");
        from_alice.send(b"world").expect("sent");
        assert_eq!(receive(&to_bob), b"world");
        assert!(to_bob.is_secure() && from_alice.is_secure());
        assert_eq!((to_bob.peer_key(), from_alice.peer_key()), (bobs, alices));
        assert_eq!((offered, bob.connections()[0].peer_key()), (alices, alices));
        assert_eq!(to_bob.channel_binding(), from_alice.channel_binding());
        to_bob.close().expect("taken in");
        ended(&from_alice);
        for (peer, key) in [(&alice, bobs), (&bob, alices)] {
            let events = peer.events();
            for _ in 0..2 {
                let event = events.recv_timeout(DEADLINE).expect("an event");
                assert!(matches!(
                    event,
                    Event::Connected { .. } | Event::Closed { .. }
                ));
                assert_eq!(event.peer_key(), key, "{event:?}");
            }
        }
        if !flag(2) && !flag(3) {
            assert_eq!(from_alice.peer_name(), Some("somebody"));
        }
    }
}

/// A peer of an earlier version says nothing of keys, and is told nothing of them.
#[test]
fn who_knows_of_no_keys_talks_as_before() {
    let (builder, key) = known();
    let bob = bind(builder);
    let hello = "data_type=bytes&strict=1&v=2&secure=chacha";
    let mut old = Wire::offer(bob.local_addr(), hello);
    assert_eq!(old.fields().get("key"), None);
    let mut new = Wire::offer(bob.local_addr(), &format!("{hello}&key=0"));
    assert_eq!(new.fields().get("key"), Some("1"));
    // The other way round: one who answers so has no key, and who demands one says nothing more.
    for demanding in [false, true] {
        let listener = WireListener::bind();
        let (alice, addr) = (bind(known().0), listener.addr());
        let asking = spawn(move || match demanding {
            true => expect(&alice, key, addr),
            false => alice.connect(addr),
        });
        let mut wire = listener.accept();
        assert_eq!(wire.fields().get("key"), Some("1"));
        wire.write(&header("ACCEPT|v=2&secure=chacha"));
        match demanding {
            true => {
                is_wrong(asking.wait("connect"), None);
                wire.end();
            }
            false => {
                // She goes on, and finds out that this is no peer with the secret.
                wire.write(&[7; 48]);
                let result = asking.wait("connect");
                assert!(matches!(result, Err(Error::Forged { .. })), "{result:?}");
            }
        }
    }
}

#[test]
fn only_who_is_expected_will_do() {
    let ((alice, _), (bob, bobs), (carol, carols)) = (known(), known(), known());
    let (alice, bob, carol) = (bind(alice), bind(bob), bind(carol));
    let nobody = bind(secured());
    [&bob, &carol, &nobody].into_iter().for_each(accepting);
    let conn = expect(&alice, bobs, bob.local_addr()).expect("connected");
    assert_eq!(conn.peer_key(), Some(bobs));
    is_wrong(expect(&alice, bobs, carol.local_addr()), Some(carols));
    is_wrong(expect(&alice, bobs, nobody.local_addr()), None);
    // Who has no key of her own expects one as well.
    let anonymous = bind(secured());
    assert!(expect(&anonymous, bobs, bob.local_addr()).is_ok());
    is_wrong(expect(&anonymous, bobs, carol.local_addr()), Some(carols));
    // Whoever is not meant does not keep her from the next address.
    let addrs = [carol.local_addr(), nobody.local_addr(), bob.local_addr()];
    let options = ConnectOptions::new().expect(bobs);
    let conn = options.connect::<Bytes>(&alice, &addrs[..]);
    assert_eq!(conn.expect("connected").peer_key(), Some(bobs));
    // Nothing to expect where nothing is encrypted.
    let clear = ConnectOptions::new().expect(bobs).in_the_clear(true);
    for result in [
        clear.connect::<Bytes>(&alice, bob.local_addr()),
        expect(&crate::common::peer(), bobs, bob.local_addr()),
    ] {
        let is_refused = matches!(
            &result,
            Err(Error::InvalidOption {
                option: "expect",
                ..
            })
        );
        assert!(is_refused, "{result:?}");
    }
}

/// Carol has the secret and stands between: as a relay she can only lead to somebody who is seen to be
/// somebody else, and as a peer of her own she has her own key.
#[test]
fn a_member_cannot_pretend_to_be_another() {
    let ((alice, _), (bob, bobs), (carol, carols)) = (known(), known(), known());
    let (alice, bob, carol) = (bind(alice), bind(bob), bind(carol));
    [&bob, &carol].into_iter().for_each(accepting);
    let relay = Proxy::start(carol.local_addr(), |_, _, unit| vec![unit]);
    is_wrong(expect(&alice, bobs, relay.addr), Some(carols));
    // Back to herself.
    accepting(&alice);
    let relay = Proxy::start(alice.local_addr(), |_, _, unit| vec![unit]);
    assert!(expect(&alice, bobs, relay.addr).is_err());
    // Bob's own words of another session.
    let first = Proxy::start(bob.local_addr(), |_, _, unit| vec![unit]);
    let conn = expect(&alice, bobs, first.addr).expect("connected");
    conn.close().expect("closed");
    let [_, old] = first.seen();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let replaying = spawn(move || {
        let (mut stream, _) = listener.accept().expect("alice");
        stream.read_exact(&mut [0; 128]).expect("HELLO");
        let _ = stream.write_all(&old);
        let _ = stream.read(&mut [0; 4096]);
    });
    let result = expect(&alice, bobs, addr);
    assert!(matches!(result, Err(Error::Forged { .. })), "{result:?}");
    replaying.wait("the replay");
}

/// Somebody on the way changes what HELLO or ACCEPT says of keys: with the secret on both sides nobody
/// ends with fewer keys than both have, whether a key is demanded or not.
#[test]
fn keys_cannot_be_talked_away() {
    let ((alice, alices), (bob, bobs)) = (known(), known());
    for is_demanded in [true, false] {
        let (mut alice, mut bob) = (alice.clone(), bob.clone());
        if is_demanded {
            (alice, bob) = (alice.allow([bobs]), bob.allow([alices]));
        }
        let (alice, bob) = (bind(alice), bind(bob));
        accepting(&bob);
        for (way, old, new) in [
            (Way::There, "&key=1", "&key=0"),
            (Way::There, "&key=1", "&kex=1"),
            (Way::Back, "&key=1", "&key=0"),
            (Way::Back, "&key=1", "&kex=1"),
        ] {
            let proxy = Proxy::start(bob.local_addr(), move |this, number, mut unit| {
                if (this, number) == (way, 0) {
                    let at = unit
                        .windows(old.len())
                        .position(|part| part == old.as_bytes());
                    let at = at.expect("it says whether it has a key");
                    unit[at..at + new.len()].copy_from_slice(new.as_bytes());
                }
                vec![unit]
            });
            let result = alice.connect::<Bytes>(proxy.addr);
            match (way, result) {
                // The answer says that Bob shows no key, or does not speak of keys: she does not even try.
                (_, Err(Error::WrongKey { key: None, .. })) if is_demanded => {}
                (_, Err(Error::Forged { .. })) => {}
                (way, other) => panic!("{way:?} {new}: {:?}", other.map(drop)),
            }
        }
        assert!(alice.connect::<Bytes>(bob.local_addr()).is_ok());
        for event in bob.events().try_iter() {
            let is_known = event.peer_key() == Some(alices);
            assert!(
                is_known || !matches!(event, Event::Connected { .. }),
                "{event:?}"
            );
        }
    }
}

#[test]
fn only_who_is_allowed_gets_in() {
    let ((alice, alices), (carol, carols)) = (known(), known());
    let (alice, carol, nobody) = (bind(alice), bind(carol), bind(secured()));
    let (builder, bobs) = known();
    let bob = bind(builder.allow([alices]));
    accepting(&bob);
    let addr = bob.local_addr();
    assert!(alice.connect::<Bytes>(addr).is_ok());
    for (peer, key) in [(&carol, Some(carols)), (&nobody, None)] {
        assert_eq!(word(peer.connect(addr)), "key true");
        let denied = bob
            .events()
            .iter()
            .find(|event| matches!(event, Event::Denied { .. }));
        let denied = denied.expect("an event");
        assert_eq!(
            denied.peer_key(),
            key,
            "whom to allow, if it was meant to be"
        );
    }
    // Who has not the secret learns nothing of keys.
    let stranger = bind(
        known()
            .0
            .secret(lanpeer::Secret::random().expect("random numbers")),
    );
    assert_eq!(word(stranger.connect(addr)), "secret false");
    // It holds for those whom this peer asks as well.
    [&alice, &carol, &nobody].into_iter().for_each(accepting);
    let conn = bob.connect::<Bytes>(alice.local_addr()).expect("connected");
    assert_eq!(conn.peer_key(), Some(alices));
    is_wrong(bob.connect(carol.local_addr()), Some(carols));
    is_wrong(bob.connect(nobody.local_addr()), None);
    // Both lists count.
    is_wrong(expect(&bob, bobs, alice.local_addr()), Some(alices));
    let empty = bind(secured().allow([]));
    assert_eq!(word(alice.connect(empty.local_addr())), "key true");
}

#[test]
fn keys_need_a_secret() {
    let plain = || crate::common::builder();
    for (builder, option) in [
        (plain().identity(identity()), "identity"),
        (plain().allow([identity().public_key()]), "allow"),
    ] {
        let error = builder.bind("127.0.0.1:0").map(drop).unwrap_err();
        let is_told =
            matches!(&error, Error::InvalidOption { option: told, .. } if *told == option);
        assert!(is_told, "{error:?}");
    }
    let error = crate::common::peer().allow([]).unwrap_err();
    assert!(
        matches!(
            error,
            Error::InvalidOption {
                option: "allow",
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn who_is_taken_out_is_gone() {
    let ((alice, alices), (carol, carols)) = (known(), known());
    let (alice, carol) = (bind(alice), bind(carol));
    let bob = bind(known().0.allow([alices, carols]).clear_offers(true));
    let (to_bob, from_alice) = connect::<Bytes>(&alice, &bob);
    let (carol_to_bob, from_carol) = connect::<Bytes>(&carol, &bob);
    // An offer that waits for Bob's word.
    let (asker, addr) = (alice.clone(), bob.local_addr());
    let asking = spawn(move || asker.connect::<Bytes>(addr));
    let offer = bob.offers().recv_timeout(DEADLINE).expect("an offer");
    // A connection in the clear, which has no key and was allowed by the program itself.
    let plain = crate::common::peer();
    let (clear, from_plain) = connect_in_the_clear(&plain, &bob);

    bob.allow([carols]).expect("it has a secret");
    assert_eq!(from_alice.close_reason(), Some(CloseReason::Revoked));
    assert!(matches!(
        ended(&to_bob),
        CloseReason::Reset | CloseReason::Cut
    ));
    assert_eq!(bob.stats().ended.revoked, 1);
    match offer.accept::<Bytes>() {
        Err(Error::WrongKey { key, .. }) => assert_eq!(key, Some(alices)),
        other => panic!("{other:?}"),
    }
    let late = asking.wait("connect").map(|conn| ended(&conn));
    assert!(
        !matches!(late, Ok(ref reason) if reason.is_normal()),
        "{late:?}"
    );
    assert_eq!(word(alice.connect(addr)), "key true");
    carol_to_bob.send(b"still here").expect("sent");
    assert_eq!(receive(&from_carol), b"still here");
    clear.send(b"so am I").expect("sent");
    assert_eq!(receive(&from_plain), b"so am I");
    // And back again.
    bob.allow([alices]).expect("it has a secret");
    assert_eq!(from_carol.close_reason(), Some(CloseReason::Revoked));
    let _again = connect::<Bytes>(&alice, &bob);
}

/// A key is taken out while its owner connects: whatever the moment, no connection of it is left.
#[test]
fn nobody_slips_through_while_he_is_taken_out() {
    let (builder, alices) = known();
    let alice = bind(builder);
    let bob = bind(known().0.allow([alices]));
    accepting(&bob);
    let rounds = std::env::var("LANPEER_ROUNDS").ok();
    let rounds: u64 = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(40);
    for round in 0..rounds {
        bob.allow([alices]).expect("it has a secret");
        let (asker, addr) = (alice.clone(), bob.local_addr());
        let asking = spawn(move || asker.connect::<Bytes>(addr));
        // From before it begins to after its end.
        std::thread::sleep(std::time::Duration::from_micros(round * 37 % 1200));
        bob.allow([]).expect("it has a secret");
        if let Ok(conn) = asking.wait("connect") {
            assert!(!ended(&conn).is_normal(), "{round}");
        }
        crate::common::until("nothing is left", || bob.connections().is_empty());
    }
}

/// What is seen by one who listens, by one who asks and by one who answers without the secret: no key, in
/// any form.
#[test]
fn no_key_is_shown_to_those_without_the_secret() {
    let ((alice, alices), (bob, bobs)) = (known(), known());
    let (alice, bob) = (bind(alice), bind(bob));
    let bytes = |key: PublicKey| -> Vec<u8> {
        let text = key.to_string();
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("two digits");
        (0..64).step_by(2).map(byte).collect()
    };
    let is_in = |seen: &[u8], key: PublicKey| {
        let parts = [bytes(key), key.to_string().into_bytes()];
        let has = |part: &[u8]| seen.windows(8).any(|window| window == part);
        parts.iter().any(|part| part.windows(8).any(has))
    };
    // One who listens.
    let proxy = Proxy::start(bob.local_addr(), |_, _, unit| vec![unit]);
    let taker = bob.clone();
    let taking = spawn(move || taker.accept::<Bytes>().expect("accepted"));
    let conn = expect(&alice, bobs, proxy.addr).expect("connected");
    assert_eq!(taking.wait("accept").peer_key(), Some(alices));
    conn.close().expect("closed");
    for seen in proxy.seen() {
        assert!(!is_in(&seen, alices) && !is_in(&seen, bobs));
    }
    // One who asks gets what depends on neither secret nor key, and a word.
    let hello = "data_type=bytes&strict=1&v=1&secure=chacha&key=1";
    let mut wire = Wire::offer(bob.local_addr(), hello);
    assert_eq!(wire.fields().get("key"), Some("1"));
    let first = wire.read(48);
    wire.write(&[7; 96]);
    assert_eq!(wire.denied().as_deref(), Some("secret"));
    assert!(!is_in(&first, bobs));
    // What one who answers can read of hers is tried inside the library.
}

/// As many as ask at once, with keys on both sides, while the list changes all the time.
#[test]
fn a_list_that_changes_all_the_time() {
    let (builder, alices) = known();
    let alice = bind(builder);
    let (builder, bobs) = known();
    let bob = bind(builder.allow([alices]));
    accepting(&bob);
    let (changing, done) = (bob.clone(), Arc::new(AtomicUsize::new(0)));
    let is_done = Arc::clone(&done);
    let other = identity().public_key();
    let changer = spawn(move || {
        while is_done.load(Ordering::SeqCst) < 4 {
            changing.allow([alices, other]).expect("it has a secret");
            changing.allow([alices]).expect("it has a secret");
        }
    });
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let (alice, addr, done) = (alice.clone(), bob.local_addr(), Arc::clone(&done));
            spawn(move || {
                let met = (0..25).all(|_| {
                    let conn = expect(&alice, bobs, addr).expect("always allowed");
                    conn.send(b"hello").expect("sent");
                    receive(&conn) == b"hello"
                });
                done.fetch_add(1, Ordering::SeqCst);
                met
            })
        })
        .collect();
    for task in asking {
        assert!(task.wait("the clients"));
    }
    changer.wait("the changer");
}

/// Processes that create it at once, as threads: whoever is first has it for all.
#[test]
fn who_creates_a_file_at_once_has_the_same() {
    let name = format!("lanpeer-identity-once-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    for round in 0..20 {
        let path = folder.join(format!("{round}.key"));
        let barrier = std::sync::Barrier::new(8);
        let create = || {
            barrier.wait();
            Identity::load_or_create(&path).expect("one").public_key()
        };
        let keys: Vec<PublicKey> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
            let keys = threads.into_iter().map(|thread| thread.join());
            keys.map(|key| key.expect("no panic")).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    }
    let left = std::fs::read_dir(&folder).expect("the folder").count();
    std::fs::remove_dir_all(&folder).expect("removed");
    assert_eq!(left, 20, "nothing else is left");
}
