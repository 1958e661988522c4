//! Programs as peerpy's README writes them, which set their handlers in the handler of "connection":
//! peerpy reads before that has run, and what we send at once reaches them all the same.
//!
//! `LANPEER_ROUNDS=100` has so many of each.

use std::process::Command;

use lanpeer::{Connection, Json};
use serde_json::{Value, json};

use crate::common::peerpy::{Process, python};
use crate::common::{next_offer, peer};

fn program(arguments: &[&str]) -> Option<Process> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peerpy/handlers.py");
    let mut command = Command::new(python()?);
    Some(Process::start(command.arg(script).args(arguments)).expect("start python"))
}

fn rounds() -> usize {
    std::env::var("LANPEER_ROUNDS").map_or(3, |count| count.parse().expect("a count"))
}

/// Sends as soon as there is a connection: does the first one arrive?
#[track_caller]
fn the_first_arrives(conn: &Connection<Json<Value>>, program: &mut Process) -> bool {
    conn.send(&json!("first")).expect("send");
    // One that comes later ends the wait where the first one is lost.
    std::thread::sleep(std::time::Duration::from_millis(500));
    conn.send(&json!("second")).expect("send");
    let first = program.line_after("data ");
    if first == "first" {
        assert_eq!(program.line_after("data "), "second");
    } else {
        assert_eq!(first, "second", "{}", program.story());
    }
    conn.abort();
    first == "first"
}

/// How long a program takes to set its handlers is the system's affair: on a machine that does not let it
/// run, it may be later than the first message, but not as a rule.
#[track_caller]
fn hardly_any_is_lost(arrived: &[bool]) {
    let lost = arrived.iter().filter(|arrived| !**arrived).count();
    assert!(lost * 3 <= arrived.len(), "{lost} of {}", arrived.len());
}

#[test]
fn the_first_message_reaches_one_that_listens() {
    let alice = peer();
    let mut arrived = Vec::new();
    for _ in 0..rounds() {
        let Some(mut program) = program(&["listen"]) else {
            return;
        };
        let addr = program.line_after("listening on ");
        let conn = alice
            .connect::<Json<Value>>(addr.as_str())
            .expect("connect");
        arrived.push(the_first_arrives(&conn, &mut program));
    }
    hardly_any_is_lost(&arrived);
}

#[test]
fn the_first_message_reaches_one_that_connects() {
    let bob = peer();
    let addr = bob.local_addr().to_string();
    let mut arrived = Vec::new();
    for _ in 0..rounds() {
        let Some(mut program) = program(&["connect", &addr]) else {
            return;
        };
        let conn = next_offer(&bob).accept::<Json<Value>>().expect("accept");
        arrived.push(the_first_arrives(&conn, &mut program));
    }
    hardly_any_is_lost(&arrived);
}
