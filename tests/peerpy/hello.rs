//! Against a real peerpy 1.2.2: the example program in both directions, and the library itself.

use std::process::Command;

#[cfg(not(feature = "pickle"))]
use lanpeer::Raw;
use lanpeer::{Bytes, CloseReason, Connection, DataType, Error, Format, Json, Peer};
use serde_json::{Value, json};

use crate::common::example::example;
use crate::common::peerpy::{Peerpy, Process, python};
use crate::common::{DEADLINE, ended, next_offer, peer, receive, spawn, until, within_deadline};

/// A timeout for peerpy, in seconds: so soon its reader sees that its own side has closed, and so
/// often it sends keepalives. It counts from the next message on.
const QUICK: f64 = 0.1;

/// Or ends the test early, where there is no peerpy.
macro_rules! peerpy_or_skip {
    () => {
        match Peerpy::start() {
            Some(peerpy) => peerpy,
            None => return,
        }
    };
}

// The example program, as its first lines say.

#[test]
fn hello_world_listens_and_peerpy_connects() {
    let mut peerpy = peerpy_or_skip!();
    let mut hello =
        Process::start(&mut Command::new(example("hello_world"))).expect("start the example");
    let addr = hello
        .line_after("listening on ")
        .parse()
        .expect("an address");

    assert!(peerpy.connect(addr, json!({ "data_type": "json" })));
    peerpy.tell(json!({ "do": "timeout", "seconds": QUICK }));
    for message in [
        json!("hello from Python"),
        json!({ "n": 1, "list": [true, null, 0.5] }),
    ] {
        peerpy.send(message.clone());
        assert_eq!(
            hello
                .line_after("received: ")
                .parse::<Value>()
                .expect("JSON"),
            message
        );
        assert_eq!(peerpy.data(), json!({ "heard": message }));
    }

    peerpy.tell(json!({ "do": "close" }));
    peerpy.event("close");
    let status = hello.wait(DEADLINE);
    assert!(
        status.is_some_and(|s| s.success()),
        "{status:?}\n{}",
        hello.story()
    );
}

#[test]
fn peerpy_listens_and_hello_world_connects() {
    let mut peerpy = peerpy_or_skip!();
    peerpy.tell(json!({ "do": "set", "reply": true }));
    let mut command = Command::new(example("hello_world"));
    let mut hello = Process::start(command.arg(peerpy.addr.to_string())).expect("start");

    let offer = peerpy.event("offer");
    assert_eq!(offer["data_type"], "json");
    assert_eq!(offer["strict"], true);
    let mut messages = 0;
    while let Some(line) = hello.line() {
        if let Some(sent) = line.strip_prefix("sent: ") {
            let sent: Value = sent.parse().expect("JSON");
            assert_eq!(peerpy.data(), sent);
            let answer: Value = hello.line_after("received: ").parse().expect("JSON");
            assert_eq!(answer, json!({ "heard": sent }));
            messages += 1;
        }
    }
    assert!(messages > 0, "{}", hello.story());
    let status = hello.wait(DEADLINE);
    assert!(
        status.is_some_and(|s| s.success()),
        "{status:?}\n{}",
        hello.story()
    );
    peerpy.event("close");
    sees_the_end_and_rests(&mut peerpy);
}

// The library: messages.

#[test]
fn json_when_peerpy_connects() {
    let mut peerpy = peerpy_or_skip!();
    let bob = peer();
    let conn = peerpy_connects::<Json<Value>>(&mut peerpy, &bob, json!({ "data_type": "json" }));
    assert_eq!(conn.data_type(), DataType::Json);
    assert!(conn.is_strict());
    assert_eq!(conn.stream(), None);
    json_both_ways(&mut peerpy, &conn);
}

#[test]
fn json_when_lanpeer_connects() {
    let mut peerpy = peerpy_or_skip!();
    let alice = peer();
    let conn = lanpeer_connects::<Json<Value>>(&mut peerpy, &alice);
    let offer = peerpy.event("offer");
    assert_eq!(offer["target"], alice.local_addr().to_string());
    assert_eq!(offer["data_type"], "json");
    assert_eq!(offer["strict"], true);
    assert_eq!(offer["stream"], false);
    assert_eq!(offer["data_size"], "auto");
    json_both_ways(&mut peerpy, &conn);
}

#[test]
fn bytes_when_peerpy_connects() {
    let mut peerpy = peerpy_or_skip!();
    let bob = peer();
    let conn = peerpy_connects::<Bytes>(&mut peerpy, &bob, json!({ "data_type": "bytes" }));
    bytes_both_ways(&mut peerpy, &conn);
}

#[test]
fn bytes_when_lanpeer_connects() {
    let mut peerpy = peerpy_or_skip!();
    let alice = peer();
    let conn = lanpeer_connects::<Bytes>(&mut peerpy, &alice);
    assert_eq!(peerpy.event("offer")["data_type"], "bytes");
    bytes_both_ways(&mut peerpy, &conn);
}

#[test]
fn a_connection_that_is_not_strict() {
    let mut peerpy = peerpy_or_skip!();
    let bob = peer();
    // peerpy writes strict=False, and would itself read that as strict.
    assert!(!spawned_offer_is_strict(&mut peerpy, &bob));

    let addr = peerpy.addr;
    let alice = bob.clone();
    let conn = within_deadline("connect", move || {
        lanpeer::ConnectOptions::new()
            .strict(false)
            .connect::<Json<Value>>(&alice, addr)
    })
    .expect("connect");
    assert_eq!(peerpy.event("offer")["strict"], false);
    peerpy.event("connection");
    json_both_ways(&mut peerpy, &conn);
}

fn spawned_offer_is_strict(peerpy: &mut Peerpy, bob: &Peer) -> bool {
    let offers = bob.clone();
    let strict = spawn(move || {
        let offer = next_offer(&offers);
        let strict = offer.is_strict();
        offer.deny("seen").map(|()| strict)
    });
    assert!(!peerpy.connect(
        bob.local_addr(),
        json!({ "data_type": "json", "strict": false })
    ));
    strict.wait("the offer").expect("deny")
}

#[test]
fn keepalive_pings_are_no_messages() {
    let mut peerpy = peerpy_or_skip!();
    let bob = peer();
    let conn = peerpy_connects::<Json<Value>>(&mut peerpy, &bob, json!({ "data_type": "json" }));
    peerpy.tell(json!({ "do": "timeout", "seconds": QUICK }));
    for n in 0..3 {
        conn.send(&json!("to wake its reader")).expect("send");
        peerpy.event("ping");
        peerpy.event("ping");
        peerpy.send(json!(n));
        assert_eq!(receive(&conn), json!(n));
    }
    assert_eq!(conn.close_reason(), None);
    assert_eq!(conn.stats().messages_received, 3);
}

// Refusals.

#[test]
fn peerpy_denies() {
    let mut peerpy = peerpy_or_skip!();
    peerpy.tell(json!({ "do": "set", "welcome": false }));
    let (alice, addr) = (peer(), peerpy.addr);
    match within_deadline("connect", move || alice.connect::<Json<Value>>(addr)) {
        Err(Error::Denied {
            addr: by,
            reason: None,
            by_member: false,
        }) => assert_eq!(by, addr),
        other => panic!("{:?}", other.map(|c| c.peer_addr())),
    }
    peerpy.event("offer");
}

#[test]
fn lanpeer_denies() {
    let mut peerpy = peerpy_or_skip!();
    let bob = peer();
    let offers = bob.clone();
    let denied = spawn(move || next_offer(&offers).deny("busy"));
    assert!(!peerpy.connect(bob.local_addr(), json!({ "data_type": "json" })));
    denied.wait("the offer").expect("deny");
    assert!(bob.connections().is_empty());
}

#[cfg(not(feature = "pickle"))]
#[test]
fn raw_needs_a_feature() {
    let mut peerpy = peerpy_or_skip!();
    let bob = peer();
    assert!(!peerpy.connect(bob.local_addr(), json!({ "data_type": "raw" })));
    assert!(bob.offers().try_recv().is_err());

    let addr = peerpy.addr;
    match within_deadline("connect", move || bob.connect::<Raw<Value>>(addr)) {
        Err(e @ Error::FeatureMissing { .. }) => {
            assert!(e.to_string().contains("pickle"), "{e}");
        }
        other => panic!("{:?}", other.map(|c| c.peer_addr())),
    }
}

// Ends.

#[test]
fn peerpy_closes_first() {
    let mut peerpy = peerpy_or_skip!();
    let bob = peer();
    let conn = peerpy_connects::<Json<Value>>(&mut peerpy, &bob, json!({ "data_type": "json" }));
    peerpy.tell(json!({ "do": "timeout", "seconds": QUICK }));
    conn.send(&json!("to wake its reader")).expect("send");
    peerpy.data();
    peerpy.send(json!("last"));
    peerpy.tell(json!({ "do": "close" }));
    assert_eq!(receive(&conn), json!("last"));
    assert_eq!(ended(&conn), CloseReason::ClosedThere);
    peerpy.event("close");
    until("the end", || bob.connections().is_empty());
}

#[test]
fn lanpeer_closes_first() {
    let mut peerpy = peerpy_or_skip!();
    let alice = peer();
    let conn = lanpeer_connects::<Json<Value>>(&mut peerpy, &alice);
    conn.send(&json!("last")).expect("send");
    let closing = conn.clone();
    within_deadline("close", move || closing.close()).expect("close");
    assert_eq!(ended(&conn), CloseReason::ClosedHere);
    assert_eq!(peerpy.data(), json!("last"));
    peerpy.event("close");
    sees_the_end_and_rests(&mut peerpy);
}

#[test]
fn lanpeer_drops_the_connection() {
    let mut peerpy = peerpy_or_skip!();
    let bob = peer();
    let conn = peerpy_connects::<Json<Value>>(&mut peerpy, &bob, json!({ "data_type": "json" }));
    conn.send(&json!("last")).expect("send");
    drop(conn);
    assert_eq!(peerpy.data(), json!("last"));
    peerpy.event("close");
    sees_the_end_and_rests(&mut peerpy);
}

#[test]
fn lanpeer_stops() {
    let mut peerpy = peerpy_or_skip!();
    let bob = peer();
    let conn = peerpy_connects::<Bytes>(&mut peerpy, &bob, json!({ "data_type": "bytes" }));
    conn.send(b"last").expect("send");
    within_deadline("stop", move || bob.stop());
    assert_eq!(peerpy.data(), json!({ "hex": "6c617374" }));
    peerpy.event("close");
    sees_the_end_and_rests(&mut peerpy);
}

#[test]
fn lanpeer_aborts() {
    let mut peerpy = peerpy_or_skip!();
    let bob = peer();
    let conn = peerpy_connects::<Json<Value>>(&mut peerpy, &bob, json!({ "data_type": "json" }));
    conn.abort();
    assert_eq!(ended(&conn), CloseReason::Aborted);
    peerpy.event("close");
    sees_the_end_and_rests(&mut peerpy);
}

// What they share.

fn peerpy_connects<F: Format>(peerpy: &mut Peerpy, bob: &Peer, options: Value) -> Connection<F> {
    let offers = bob.clone();
    let accepted = spawn(move || next_offer(&offers).accept::<F>());
    assert!(peerpy.connect(bob.local_addr(), options));
    let conn = accepted.wait("the offer").expect("accept");
    assert_eq!(conn.peer_addr(), peerpy.addr);
    conn
}

fn lanpeer_connects<F: Format>(peerpy: &mut Peerpy, alice: &Peer) -> Connection<F> {
    let (alice, addr) = (alice.clone(), peerpy.addr);
    let conn = within_deadline("connect", move || alice.connect::<F>(addr)).expect("connect");
    assert_eq!(conn.peer_addr(), peerpy.addr);
    // Before this, it has sent ACCEPT but does not yet count the connection as its own.
    peerpy.event("connection");
    conn
}

fn json_both_ways(peerpy: &mut Peerpy, conn: &Connection<Json<Value>>) {
    let values = [
        json!("text, \u{e4}\u{20ac}\u{1f600}, \"quoted\" \\ \n"),
        json!(""),
        json!(-1),
        json!(u64::MAX),
        json!(0.1),
        json!([]),
        json!([1, "two", [3.5, null], {}]),
        json!({ "name": { "of": ["a", { "thing": false }] }, "": 0, "data": 1 }),
        json!("|".repeat(300)),
        json!("long ".repeat(1_500)),
    ];
    for value in values {
        conn.send(&value).expect("send");
        assert_eq!(peerpy.data(), value);
        peerpy.send(value.clone());
        assert_eq!(receive(conn), value);
    }
}

fn bytes_both_ways(peerpy: &mut Peerpy, conn: &Connection<Bytes>) {
    // One piece is as much as peerpy is sure to read whole.
    let messages = [
        b"x".to_vec(),
        (0..=255).collect(),
        vec![b'|'; 128],
        b"PING".repeat(50),
        vec![0xff; 8_192],
    ];
    for message in messages {
        let hex = message
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        conn.send(&message).expect("send");
        assert_eq!(peerpy.data(), json!({ "hex": hex }));
        peerpy.send(json!({ "hex": hex }));
        assert_eq!(receive(conn), message);
    }
}

/// After its `close` event: peerpy knows, and has no thread that spins, as it would after a FIN.
#[track_caller]
fn sees_the_end_and_rests(peerpy: &mut Peerpy) {
    let state = peerpy.tell(json!({ "do": "state" }));
    assert_eq!(state["closed"], true);
    // Its accept thread wakes now and then; a thread that spins takes a whole core where there
    // is one, and at least a good part of one where others want it too.
    let share = peerpy.tell(json!({ "do": "cpu", "seconds": 0.3 }))["share"].as_f64();
    assert!(share.expect("a number") < 0.1, "takes {share:?} of a core");
    assert_eq!(peerpy.unasked("close"), 0, "closed twice");
}

/// `sees_the_end_and_rests` can fail: this is what a FIN does to peerpy.
#[test]
fn a_fin_would_make_peerpy_spin() {
    let mut peerpy = peerpy_or_skip!();
    let mut wire = crate::common::wire::Wire::offer(peerpy.addr, "data_type=json&strict=1");
    assert_eq!(wire.fields().kind, "ACCEPT");
    wire.fin();
    until("a reader that spins", || {
        // Where others want the core too, it has to wait for it.
        let wanted = peerpy.tell(json!({ "do": "cpu", "seconds": 0.2 }))["wanted"].as_f64();
        wanted.expect("a number") > 0.5
    });
    assert_eq!(peerpy.unasked("close"), 0);
}

#[test]
fn the_python_is_made_once() {
    assert_eq!(python(), python());
}
