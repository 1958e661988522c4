//! A peer that restarts: what the other side sees, and that it can connect again.

use std::thread;

use lanpeer::{CloseReason, Json, Peer};
use serde_json::{Value, json};

use crate::common::peerpy::Peerpy;
use crate::common::{builder, ended, next_offer, peer, receive, spawn, until, within_deadline};

/// The rows of the page's table. `None` where there is no peerpy.
pub fn table() -> Option<Vec<String>> {
    let cases: [fn() -> Option<String>; 3] = [peerpy_killed, lanpeer_stopped, lanpeer_killed];
    let cases = cases.map(thread::spawn);
    let mut rows = vec![
        "| restarts | how | what the other side sees | afterwards |".to_owned(),
        "| --- | --- | --- | --- |".to_owned(),
    ];
    for case in cases {
        rows.push(case.join().expect("a case failed; see above")?);
    }
    Some(rows)
}

fn peerpy_killed() -> Option<String> {
    let mut peerpy = Peerpy::start()?;
    let ours = peer();
    let conn = connected(&mut peerpy, &ours);
    let addr = peerpy.addr;
    drop(peerpy);
    let reason = ended(&conn);
    assert_eq!(reason, CloseReason::ClosedThere);
    until("the end", || ours.connections().is_empty());

    // The same address at once, although the old connection's may still be in the system's table.
    let mut peerpy = Peerpy::start_at(&addr.to_string())?;
    assert_eq!(peerpy.addr, addr);
    let _ = connected(&mut peerpy, &ours);
    Some(format!(
        "| peerpy | its process is killed | `{reason:?}` | lanpeer connects again |"
    ))
}

fn lanpeer_stopped() -> Option<String> {
    let mut peerpy = Peerpy::start()?;
    let ours = peer();
    let conn = accepted(&mut peerpy, &ours);
    let addr = ours.local_addr();
    within_deadline("stop", move || ours.stop());
    assert_eq!(ended(&conn), CloseReason::Stopped);
    gone(&mut peerpy);

    let ours = builder().bind(addr).expect("the same address again");
    let _ = accepted(&mut peerpy, &ours);
    Some("| lanpeer | `stop` | its `close` event | peerpy connects again |".to_owned())
}

/// In a process of its own, that no destructor sees die.
fn lanpeer_killed() -> Option<String> {
    let mut peerpy = Peerpy::start()?;
    let mut first = crate::peerpy::programs::Role::start("echo 127.0.0.1:0");
    let addr = first.addr();
    assert!(peerpy.connect(addr, json!({ "data_type": "json" })));
    peerpy.send(json!("to the first"));
    assert_eq!(peerpy.data(), json!("to the first"));
    drop(first);
    gone(&mut peerpy);

    let mut second = crate::peerpy::programs::Role::start(&format!("echo {addr}"));
    assert_eq!(second.addr(), addr);
    assert!(peerpy.connect(addr, json!({ "data_type": "json" })));
    peerpy.send(json!("to the second"));
    assert_eq!(peerpy.data(), json!("to the second"));
    Some(
        "| lanpeer | its process is killed | its `close` event | peerpy connects again |"
            .to_owned(),
    )
}

fn connected(peerpy: &mut Peerpy, ours: &Peer) -> lanpeer::Connection<Json<Value>> {
    let (alice, addr) = (ours.clone(), peerpy.addr);
    let conn = within_deadline("connect", move || alice.connect(addr)).expect("connect");
    peerpy.event("connection");
    both_ways(peerpy, &conn);
    conn
}

fn accepted(peerpy: &mut Peerpy, ours: &Peer) -> lanpeer::Connection<Json<Value>> {
    let offers = ours.clone();
    let accepted = spawn(move || next_offer(&offers).accept());
    assert!(peerpy.connect(ours.local_addr(), json!({ "data_type": "json" })));
    let conn = accepted.wait("the offer").expect("accept");
    peerpy.event("connection");
    both_ways(peerpy, &conn);
    conn
}

fn both_ways(peerpy: &mut Peerpy, conn: &lanpeer::Connection<Json<Value>>) {
    conn.send(&json!("there")).expect("send");
    assert_eq!(peerpy.data(), json!("there"));
    peerpy.send(json!("and back"));
    assert_eq!(receive(conn), json!("and back"));
}

/// peerpy has noticed, and forgotten the connection: only then its `connect` makes a new one.
fn gone(peerpy: &mut Peerpy) {
    peerpy.event("close");
    until("the end", || {
        peerpy.tell(json!({ "do": "state" }))["connections"] == 0
    });
}
