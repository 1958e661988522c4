//! Connects and closes in a row: nothing may be left of them.

use std::time::{Duration, Instant};

use crate::child::Child;
use crate::common::until;

/// The side that closes first keeps the port for a minute (TIME_WAIT); on loopback Linux gives it
/// out again after a second. So this says nothing about ports where the other machine is another.
#[test]
fn many_connects_and_closes_leave_nothing_behind() {
    // On a machine that is busy with other things, as many as fit into some seconds.
    let (most, time) = match std::env::var_os("LANPEER_LOAD") {
        Some(_) => (20_000, Duration::from_secs(600)),
        None => (2_000, Duration::from_secs(6)),
    };
    let (mut asked, mut asking) = (Child::start("true"), Child::start("true"));
    let order = format!("row {} 50", asked.addr);
    // The first ones fill what is filled once.
    for _ in 0..4 {
        assert_eq!(asking.ask(&order), 50);
    }
    let before = [&asked, &asking].map(|side| (side.memory(), side.files()));
    let start = Instant::now();
    let mut count = 0;
    while count < most && start.elapsed() < time {
        assert_eq!(asking.ask(&order), 50);
        count += 50;
    }
    let each = start.elapsed() / count;
    println!("{count} connects and closes in a row, {each:?} each");
    for (side, (memory, files)) in [&mut asked, &mut asking].into_iter().zip(before) {
        until("no connection is left", || side.ask("open") == 0);
        until("the file descriptors are given back", || {
            side.files() <= files
        });
        let after = side.memory();
        println!("memory {memory} kB before, {after} kB after");
        // Slack for threads that a busy machine lets end late. A connection has tens of kB.
        assert!(after < memory + 8192, "{after} kB, before {memory}");
    }
}
