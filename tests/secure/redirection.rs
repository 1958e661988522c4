//! Someone who leads a connection elsewhere: by lies of discovery, by passing bytes on, by answering
//! first.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use lanpeer::{Bytes, Error, Neighbour, Peer, Secret};

use crate::beacons::Port;
use crate::common::spawn;
use crate::proxy::Proxy;
use crate::{DEADLINE, bind, secret, secured};

/// A peer with the secret that others find.
fn member(port: &Port, name: &str, service: &str) -> Peer {
    let builder = port.builder().timeout(DEADLINE).secret(secret());
    bind(builder.name(name).service(service))
}

fn accepting(peer: &Peer) {
    let offers = peer.incoming();
    std::thread::spawn(move || {
        for offer in offers {
            let _ = offer.accept_with::<Bytes>(|conn, message| drop(conn.send(&message)));
        }
    });
}

/// What `alice` finds when somebody answers her search with this card.
fn lie(port: &Port, alice: &Peer, addr: SocketAddr, card: &str) -> Neighbour {
    let search = alice.discover(DEADLINE).expect("loopback can broadcast");
    let (_, asker) = port.hear("PING");
    let pong = format!("PONG {addr}|ponger={addr}&v=1&{card}");
    let sent = port.ear.send_to(format!("{pong:|<128}").as_bytes(), asker);
    assert_eq!(sent.expect("sent"), 128);
    let found = |neighbour: &Neighbour| neighbour.addr() == addr;
    search.into_iter().find(found).expect("believed")
}

/// Bob is asked for; Carol, a member as well, is who is there.
#[test]
fn a_relay_to_another_member_is_refused() {
    let port = Port::new();
    let carol = bind(secured().name("carol").service("print"));
    let alice = member(&port, "alice", "");
    accepting(&carol);
    let carols_id = carol.id();
    for card in [
        "id=0123456789&name=bob&service=chat".to_owned(),
        // Her own id does not help: she is not called bob.
        format!("id={carols_id}&name=bob&service=chat"),
        format!("id={carols_id}&name=carol&service=chat"),
        format!("id={carols_id}&name=bob&service=print"),
    ] {
        let relay = Proxy::start(carol.local_addr(), |_, _, unit| vec![unit]);
        let bob = lie(&port, &alice, relay.addr, &card);
        match alice.connect::<Bytes>(&bob) {
            Err(Error::NotWhoItSaid { addr, .. }) => assert_eq!(addr, relay.addr),
            other => panic!(
                "{card}: {:?}",
                other.map(|conn| conn.peer_name().map(String::from))
            ),
        }
    }
    println!("4 of 4 relays to another member are refused: NotWhoItSaid");
    // Whoever asks for her by name gets her.
    let relay = Proxy::start(carol.local_addr(), |_, _, unit| vec![unit]);
    let card = format!("id={carols_id}&name=carol&service=print");
    let found = lie(&port, &alice, relay.addr, &card);
    let conn = alice.connect::<Bytes>(&found).expect("connected");
    assert_eq!(conn.peer_id(), Some(carols_id));
}

/// Without encryption nothing is proved, but mistakes are found: another program has the address now.
#[test]
fn another_peer_at_the_address_is_refused() {
    let port = Port::new();
    let carol = bind(crate::common::builder().name("carol"));
    let alice = bind(port.builder());
    accepting(&carol);
    let bob = lie(&port, &alice, carol.local_addr(), "id=0123456789&name=bob");
    let refused = alice.connect::<Bytes>(&bob);
    assert!(
        matches!(refused, Err(Error::NotWhoItSaid { .. })),
        "{refused:?}"
    );
    // As an address it is what it is.
    assert!(alice.connect::<Bytes>(bob.addr()).is_ok());
}

#[test]
fn whoever_is_found_is_reached() {
    let port = Port::new();
    let (alice, bob) = (member(&port, "alice", ""), member(&port, "bob", "chat"));
    accepting(&bob);
    let mut search = alice.discover(DEADLINE).expect("a search");
    let found = search
        .find(|found| found.id() == Some(bob.id()))
        .expect("bob");
    let conn = alice.connect::<Bytes>(&found).expect("connected");
    assert!(conn.is_secure());
    assert_eq!(
        (conn.peer_name(), conn.peer_id()),
        (Some("bob"), Some(bob.id()))
    );
}

/// Answers each client with these bytes, as soon as it has said HELLO.
fn evil(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            let _ = stream.read_exact(&mut [0; 128]);
            let _ = stream.write_all(&answer);
            // Until it hangs up.
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = stream.read(&mut [0; 512]);
        }
    });
    addr
}

fn padded(text: &str) -> Vec<u8> {
    format!("{text:|<128}").into_bytes()
}

/// Whoever cannot prove that it has the secret is not the end of it: the next address is tried.
#[test]
fn who_has_not_the_secret_does_not_keep_members_apart() {
    let bob = bind(secured());
    accepting(&bob);
    let other = bind(secured().secret(Secret::random().expect("random numbers")));
    accepting(&other);
    let false_proof = [padded("ACCEPT|v=2&secure=chacha"), vec![7; 48]].concat();
    for first in [
        evil(padded("DENY|reason=secret")),
        evil(padded("DENY|reason=go-away")),
        evil(padded("DENY")),
        evil(padded("ACCEPT|v=2")),
        evil(padded("nonsense")),
        evil(false_proof),
        other.local_addr(),
    ] {
        let addrs = [first, bob.local_addr()];
        let conn = bind(secured()).connect::<Bytes>(&addrs[..]);
        let conn = conn.unwrap_or_else(|error| panic!("{first}: {error}"));
        assert_eq!(conn.peer_id(), Some(bob.id()));
    }
}

/// What `Denied` says of the one who said no.
#[test]
fn a_stranger_does_not_speak_for_a_member() {
    let alice = bind(secured());
    for (answer, word) in [
        ("DENY|reason=you-are-fired", None),
        ("DENY|reason=dropped", None),
        ("DENY|reason=secret", Some("secret")),
        ("DENY|reason=busy", Some("busy")),
        ("DENY", None),
    ] {
        match alice.connect::<Bytes>(evil(padded(answer))) {
            Err(Error::Denied {
                reason, by_member, ..
            }) => {
                assert_eq!((reason.as_deref(), by_member), (word, false), "{answer}");
            }
            other => panic!("{answer}: {:?}", other.map(drop)),
        }
    }
    // A member's word is its own.
    let bob = bind(secured());
    let offers = bob.offers();
    let denying = spawn(move || offers.recv().expect("an offer").deny("you-are-fired"));
    match alice.connect::<Bytes>(bob.local_addr()) {
        Err(Error::Denied {
            reason, by_member, ..
        }) => {
            assert_eq!(
                (reason.as_deref(), by_member),
                (Some("you-are-fired"), true)
            );
        }
        other => panic!("{:?}", other.map(drop)),
    }
    denying.wait("deny").expect("told");
}
