//! Only the newest, with a peerpy on the other side, which knows nothing of it.

use lanpeer::{Bytes, ConnectOptions, Json};
use serde_json::json;

use crate::common::peerpy::Peerpy;
use crate::common::{next_offer, peer, until};

#[test]
fn peerpy_gets_the_newest() {
    let bob = peer();
    let Some(mut peerpy) = Peerpy::start() else {
        return;
    };
    let addr = bob.local_addr().to_string();
    peerpy.begin(json!({ "do": "connect", "address": addr, "data_type": "json" }));
    let conn = next_offer(&bob).accept::<Json<u32>>().expect("accept");
    assert_eq!(peerpy.answer("connect")["connected"], true);
    for n in 0..=500 {
        conn.send_latest(&n).expect("sent");
    }
    let mut seen = vec![peerpy.data()];
    while seen.last() != Some(&json!(500)) {
        seen.push(peerpy.data());
    }
    assert!(seen.is_sorted_by_key(|n| n.as_u64()));
    let stats = conn.stats();
    assert_eq!(stats.messages_sent, seen.len() as u64);
    assert_eq!(stats.messages_sent + stats.send_replaced, 501);
    conn.close().expect("it has everything");
}

#[test]
fn what_peerpy_sends_replaces_what_waits() {
    let alice = peer();
    let Some(mut peerpy) = Peerpy::start() else {
        return;
    };
    let options = ConnectOptions::new().latest();
    let conn = options.connect::<Bytes>(&alice, peerpy.addr);
    let conn = conn.expect("connected");
    peerpy.event("connection");
    for n in 0..20 {
        peerpy.send(json!({ "hex": format!("{n:02x}") }));
    }
    until("all are there", || conn.stats().messages_received == 20);
    assert_eq!(conn.try_recv(), Ok(vec![19]));
    assert_eq!(conn.stats().receive_replaced, 19);
}
