//! How connections end, from either side.

use std::time::Duration;

use lanpeer::{Bytes, CloseError, CloseReason, Json, SendError};

use super::common::wire::{End, HEADER, Wire, json};
use super::common::{builder, ended, peer, receive, spawn, until, within_deadline};
use super::{LANPEER, PEERPY};

#[test]
fn the_remote_ends_between_messages() {
    let bob = peer();
    for keys in [PEERPY, LANPEER] {
        let (mut wire, conn) = Wire::accepted::<Json<u32>>(&bob, keys);
        wire.write(&json("1"));
        wire.fin();
        assert_eq!(receive(&conn), 1);
        assert_eq!(ended(&conn), CloseReason::ClosedThere);
        wire.end();

        let (mut wire, conn) = Wire::accepted::<Json<u32>>(&bob, keys);
        wire.write(&json("1"));
        assert_eq!(receive(&conn), 1);
        wire.reset();
        assert_eq!(ended(&conn), CloseReason::Reset);
    }
    until("the end of all", || bob.connections().is_empty());
}

#[test]
fn the_remote_ends_inside_a_message() {
    let bob = peer();
    let message = json("1");
    for cut in [1, 5, HEADER - 1, HEADER, HEADER + 1, message.len() - 1] {
        let (mut wire, conn) = Wire::accepted::<Json<u32>>(&bob, LANPEER);
        wire.write(&message);
        wire.write(&message[..cut]);
        wire.fin();
        assert_eq!(receive(&conn), 1);
        assert_eq!(ended(&conn), CloseReason::Truncated, "cut at {cut}");
    }
    let (mut wire, conn) = Wire::accepted::<Bytes>(&bob, "data_type=bytes&stream=1&data_size=4");
    wire.write(b"abcdef");
    wire.fin();
    assert_eq!(receive(&conn), b"abcd");
    assert_eq!(ended(&conn), CloseReason::Truncated);
}

#[test]
fn lanpeer_closes_towards_a_lanpeer() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted::<Json<String>>(&bob, LANPEER);
    conn.send("last").expect("send");
    let closing = conn.clone();
    let close = spawn(move || closing.close());
    assert_eq!(wire.read(HEADER + 15), json("\"last\""));
    assert_eq!(wire.end(), End::Fin);
    // What comes after the FIN is still taken; our own end is what close waits for.
    wire.write(&json("\"late\""));
    assert_eq!(receive(&conn), "late");
    wire.fin();
    close.wait("close").expect("all was taken in");
    assert_eq!(ended(&conn), CloseReason::ClosedHere);
    assert!(matches!(
        conn.send("no"),
        Err(SendError::Closed(CloseReason::ClosedHere))
    ));
}

#[test]
fn lanpeer_closes_towards_another_program() {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted::<Json<String>>(&bob, PEERPY);
    conn.send("last").expect("send");
    let closing = conn.clone();
    within_deadline("close", move || closing.close()).expect("all was taken in");
    let (bytes, end) = wire.rest();
    assert_eq!(bytes, json("\"last\""));
    assert_eq!(end, End::Reset, "a FIN would make peerpy spin");
    assert_eq!(ended(&conn), CloseReason::ClosedHere);
}

#[test]
fn lanpeer_drops_and_stops() {
    for (keys, expected) in [(LANPEER, End::Fin), (PEERPY, End::Reset)] {
        for stop in [true, false] {
            let bob = peer();
            let (mut wire, conn) = Wire::accepted::<Json<String>>(&bob, keys);
            conn.send("last").expect("send");
            let ending = spawn(move || {
                drop(conn);
                if stop {
                    bob.stop();
                }
                bob
            });
            let (bytes, end) = wire.rest();
            assert_eq!(bytes, json("\"last\""));
            assert_eq!(end, expected, "{keys}, stop: {stop}");
            drop(wire);
            let _ = ending.wait("the end");
        }
    }
}

#[test]
fn close_does_not_wait_for_ever() {
    let bob = builder()
        .close_timeout(Duration::from_millis(150))
        .bind("127.0.0.1:0")
        .expect("bind");
    let (_wire, conn) = Wire::accepted::<Json<String>>(&bob, LANPEER);
    let closing = conn.clone();
    let result = within_deadline("close", move || closing.close());
    assert!(matches!(result, Err(CloseError::Timeout)), "{result:?}");
}

#[test]
fn abort_resets() {
    let bob = peer();
    for keys in [PEERPY, LANPEER] {
        let (mut wire, conn) = Wire::accepted::<Json<String>>(&bob, keys);
        conn.abort();
        assert_eq!(wire.end(), End::Reset);
        assert_eq!(ended(&conn), CloseReason::Aborted);
    }
}

#[test]
fn stop_denies_what_waits() {
    let bob = peer();
    let mut wire = Wire::offer(bob.local_addr(), LANPEER);
    let offers = bob.offers();
    until("an offer", || !offers.is_empty());
    within_deadline("stop", move || bob.stop());
    assert_eq!(wire.denied().as_deref(), Some("stopped"));
    wire.end();
}
