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

/// Sends as soon as there is a connection; the first one arrives.
#[track_caller]
fn the_first_arrives(conn: &Connection<Json<Value>>, program: &mut Process) {
    conn.send(&json!("first")).expect("send");
    // One that comes later ends the wait where the first one is lost.
    std::thread::sleep(std::time::Duration::from_millis(500));
    conn.send(&json!("second")).expect("send");
    assert_eq!(program.line_after("data "), "first", "{}", program.story());
    assert_eq!(program.line_after("data "), "second");
    conn.abort();
}

#[test]
fn the_first_message_reaches_one_that_listens() {
    let alice = peer();
    for _ in 0..rounds() {
        let Some(mut program) = program(&["listen"]) else {
            return;
        };
        let addr = program.line_after("listening on ");
        let conn = alice
            .connect::<Json<Value>>(addr.as_str())
            .expect("connect");
        the_first_arrives(&conn, &mut program);
    }
}

#[test]
fn the_first_message_reaches_one_that_connects() {
    let bob = peer();
    let addr = bob.local_addr().to_string();
    for _ in 0..rounds() {
        let Some(mut program) = program(&["connect", &addr]) else {
            return;
        };
        let conn = next_offer(&bob).accept::<Json<Value>>().expect("accept");
        the_first_arrives(&conn, &mut program);
    }
}
