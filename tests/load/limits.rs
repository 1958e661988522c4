//! A system that has no more file descriptors or threads: who comes then is refused, it is told,
//! what is open goes on, and as soon as there is room it is as before.

use std::time::{Duration, Instant};

use lanpeer::{Bytes, ConnectOptions, Connection, Error, Peer, Result};

use crate::child::Child;
use crate::common::{DEADLINE, peer, until};

fn connect(alice: &Peer, to: &Child, timeout: Duration) -> Result<Connection<Bytes>> {
    ConnectOptions::new()
        .timeout(timeout)
        .connect(alice, to.addr)
}

/// Time for one that can be, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(4);

#[track_caller]
fn works(conn: &Connection<Bytes>) {
    conn.send("there and back").expect("sent");
    assert_eq!(
        conn.recv_timeout(DEADLINE).as_deref(),
        Ok(&b"there and back"[..])
    );
}

/// As [`works`], with answers that come too fast for one write each.
#[track_caller]
fn works_in_bursts(conn: &Connection<Bytes>) {
    conn.send("burst").expect("sent");
    for _ in 0..100 {
        assert_eq!(conn.recv_timeout(DEADLINE).as_deref(), Ok(&b"burst"[..]));
    }
}

/// Connects until that is refused: those that are open, and what was said then.
#[track_caller]
fn fill(alice: &Peer, to: &Child) -> (Vec<Connection<Bytes>>, Error) {
    let mut open = Vec::new();
    while open.len() < 1000 {
        match connect(alice, to, PATIENCE) {
            Ok(conn) => open.push(conn),
            Err(error) => return (open, error),
        }
    }
    panic!("there is no limit");
}

#[test]
fn out_of_file_descriptors() {
    let mut bob = Child::start("ulimit -n 64");
    let alice = peer();
    let (mut open, refused) = fill(&alice, &bob);
    println!(
        "with 64 file descriptors, {} connections; then: {refused}",
        open.len()
    );
    assert!(open.len() > 30);
    // It waits in the system's queue: there may be room before its time is over.
    assert!(matches!(refused, Error::TimedOut { .. }), "{refused:?}");
    assert!(bob.ask("events accept:") >= 1);
    let told = bob.ask("events accept:");

    // Whoever keeps knocking does not keep it busy.
    let (ticks, start) = (bob.ticks(), Instant::now());
    for conn in &open {
        works_in_bursts(conn);
    }
    let used_by_messages = bob.ticks() - ticks;
    let ticks = bob.ticks();
    while start.elapsed() < Duration::from_secs(2) {
        let _ = connect(&alice, &bob, Duration::from_millis(100));
    }
    let used = bob.ticks() - ticks;
    println!(
        "{used_by_messages} hundredths of a second for the messages, {used} for 2 s of knocking"
    );
    assert!(used < 50, "{used} hundredths of a second");
    assert_eq!(bob.ask("events accept:"), told, "told once");

    // Room again: whoever comes is served, and what was open has not noticed.
    for conn in open.drain(..5) {
        conn.close().expect("closed in peace");
    }
    let mut more = None;
    until("a connection", || {
        more = connect(&alice, &bob, PATIENCE).ok();
        more.is_some()
    });
    works(&more.expect("just made"));
    open.iter().for_each(works);
}

#[test]
fn out_of_file_descriptors_on_the_side_that_asks() {
    let (mut bob, mut carol) = (Child::start("ulimit -n 64"), Child::start("true"));
    let order = format!("connect {} 1", carol.addr);
    assert_eq!(bob.ask(&order), 1);
    assert!(bob.ask("files") > 20);
    let refused = bob.tell(&order);
    assert!(
        refused.starts_with("Io { context: \"a socket\""),
        "{refused}"
    );
    assert_eq!(bob.ask("use"), 1);
    bob.ask("release");
    assert_eq!(bob.ask(&order), 2);
    assert_eq!(bob.ask("use"), 2);
    assert_eq!(bob.ask("close 2"), 2);
    until("the other side has none either", || carol.ask("open") == 0);
}

/// A limit of threads would be one for all processes of a user, and root has none. So stacks are
/// large here and addresses few: the system says the same.
const FORTY_THREADS: &str = "export RUST_MIN_STACK=8388608 && ulimit -v 440000";

#[test]
fn out_of_threads() {
    let mut bob = Child::start(FORTY_THREADS);
    let alice = peer();
    let (mut open, refused) = fill(&alice, &bob);
    println!(
        "with {} threads, {} connections; then: {refused}",
        bob.threads(),
        open.len()
    );
    assert!(open.len() > 10);
    assert!(
        matches!(&refused, Error::Denied { reason: Some(reason), .. } if reason == "busy"),
        "{refused:?}"
    );
    until("it is told", || bob.ask("events thread") > 0);
    for conn in &open {
        works(conn);
        // There is no thread for a writer: the one that sends writes.
        works_in_bursts(conn);
    }
    for conn in open.drain(..5) {
        conn.close().expect("closed in peace");
    }
    let mut more = None;
    until("a connection", || {
        more = connect(&alice, &bob, PATIENCE).ok();
        more.is_some()
    });
    works(&more.expect("just made"));
    open.iter().for_each(works);
}

#[test]
fn out_of_threads_on_the_side_that_asks() {
    let (mut bob, mut carol) = (Child::start(FORTY_THREADS), Child::start("true"));
    let order = format!("connect {} 1", carol.addr);
    let mut made = 0;
    let refused = loop {
        let answer = bob.tell(&order);
        match answer.parse::<u64>() {
            Ok(count) => made = count,
            Err(_) => break answer,
        }
        assert!(made < 1000, "there is no limit");
    };
    assert!(
        refused.starts_with("Io { context: \"the reader thread\""),
        "{refused}"
    );
    assert_eq!(bob.ask("use"), made);
    // The one that was refused is not left hanging there.
    until("the other side has as many", || carol.ask("open") == made);
    assert_eq!(bob.ask(&format!("close {made}")), made);
    assert_eq!(bob.ask(&order), 1);
    assert_eq!(bob.ask("use"), 1);
}
