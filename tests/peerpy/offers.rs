//! Offers that are refused, and what the side that asked is told.

use std::thread;

use lanpeer::{Bytes, Error, Event, Json, Peer, Result};
use serde_json::{Value, json};

use crate::common::peerpy::Peerpy;
use crate::common::{DEADLINE, Task, builder, next_offer, peer, spawn, until, within_deadline};

/// The rows of the page's table. `None` where there is no peerpy.
pub fn table() -> Option<Vec<String>> {
    let asked = thread::spawn(lanpeer_refuses);
    let asking = thread::spawn(peerpy_refuses);
    let mut rows = vec![
        "| connects | what happens | what the side that connects sees |".to_owned(),
        "| --- | --- | --- |".to_owned(),
    ];
    rows.extend(asked.join().expect("a case failed; see above")?);
    rows.extend(asking.join().expect("a case failed; see above")?);
    Some(rows)
}

/// Has peerpy connect, and what its `connect` returned.
fn asks(peerpy: &mut Peerpy, ours: &Peer, data_type: &str) -> &'static str {
    let options = json!({ "data_type": data_type });
    match peerpy.connect(ours.local_addr(), options) {
        true => "accepted",
        false => "`connect` returns `False`",
    }
}

fn lanpeer_refuses() -> Option<Vec<String>> {
    let mut peerpy = Peerpy::start()?;
    let mut rows = Vec::new();
    let mut row = |what: &str, seen: &str| rows.push(format!("| peerpy | {what} | {seen} |"));
    let ours = peer();

    let refusing = |ours: &Peer, how: fn(lanpeer::Offer)| -> Task<()> {
        let ours = ours.clone();
        spawn(move || how(next_offer(&ours)))
    };
    let offer = refusing(&ours, |offer| offer.deny("not-today").expect("deny"));
    row("lanpeer denies the offer", asks(&mut peerpy, &ours, "json"));
    offer.wait("the offer");
    let offer = refusing(&ours, drop);
    row("lanpeer drops the offer", asks(&mut peerpy, &ours, "bytes"));
    offer.wait("the offer");
    let offer = refusing(&ours, |offer| {
        let other = offer.accept::<Bytes>().map(|conn| conn.peer_addr());
        assert!(
            matches!(other, Err(Error::TypeMismatch { .. })),
            "{other:?}"
        );
    });
    let seen = asks(&mut peerpy, &ours, "json");
    row("lanpeer accepts another data type", seen);
    offer.wait("the offer");
    until("nothing is left", || ours.connections().is_empty());
    denied(&ours, &["not-today", "dropped", "type"]);

    let full = builder().max_connections(1).bind("127.0.0.1:0");
    let full = full.expect("a free port on loopback");
    let accepted = refusing(&full, |offer| {
        // Lives as long as its peer, with a handler.
        let _ = offer.accept_with::<Json<Value>>(|_, _| ()).expect("accept");
    });
    let mut other = Peerpy::start()?;
    assert_eq!(asks(&mut other, &full, "json"), "accepted");
    accepted.wait("the offer");
    let seen = asks(&mut peerpy, &full, "json");
    row("lanpeer has as many connections as it takes", seen);
    denied(&full, &["busy"]);

    ours.stop();
    let answer = peerpy.connect_error(ours.local_addr());
    row(
        "no lanpeer listens there",
        &format!("`connect` raises `{answer}`"),
    );
    Some(rows)
}

/// The reasons in the peer's events, which its own program can read.
#[track_caller]
fn denied(peer: &Peer, expected: &[&str]) {
    let events = peer.events();
    let mut reasons = Vec::new();
    while reasons.len() < expected.len() {
        if let Event::Denied { reason, .. } = events.recv_timeout(DEADLINE).expect("an event") {
            reasons.push(reason);
        }
    }
    assert_eq!(reasons, expected);
}

fn peerpy_refuses() -> Option<Vec<String>> {
    let mut peerpy = Peerpy::start()?;
    let mut rows = Vec::new();
    let mut row = |what: &str, seen: &str| rows.push(format!("| lanpeer | {what} | {seen} |"));
    let ours = peer();
    let connect = |addr: std::net::SocketAddr| -> Result<()> {
        let ours = ours.clone();
        within_deadline("connect", move || {
            ours.connect::<Json<Value>>(addr).map(|_| ())
        })
    };

    peerpy.tell(json!({ "do": "set", "welcome": false }));
    match connect(peerpy.addr) {
        Err(Error::Denied { reason: None, .. }) => row(
            "peerpy's `offer` handler returns `False`",
            "`Error::Denied`, no reason",
        ),
        other => panic!("{other:?}"),
    }
    peerpy.event("offer");

    // Its accept thread asks its handler, and nobody else is answered meanwhile.
    peerpy.tell(json!({ "do": "set", "busy": 4.0 }));
    let first = ours.clone();
    let addr = peerpy.addr;
    let _first = spawn(move || first.connect::<Json<Value>>(addr).map(|_| ()));
    peerpy.event("offer");
    match connect(peerpy.addr) {
        Err(Error::TimedOut { .. }) => row(
            "peerpy is busy with another offer for longer than the timeout",
            "`Error::TimedOut`",
        ),
        other => panic!("{other:?}"),
    }

    let addr = peerpy.addr;
    drop(peerpy);
    match connect(addr) {
        Err(Error::Connect { .. }) => row("no peerpy listens there", "`Error::Connect`"),
        other => panic!("{other:?}"),
    }
    Some(rows)
}
