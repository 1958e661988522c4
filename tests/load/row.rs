//! Connects and closes in a row: nothing may be left of them.

use std::time::Instant;

use crate::child::Child;
use crate::common::until;

/// The side that closes first keeps the port for a minute (TIME_WAIT); on loopback Linux gives it
/// out again after a second. So this says nothing about ports where the other machine is another.
#[test]
fn many_connects_and_closes_leave_nothing_behind() {
    let full = std::env::var_os("LANPEER_LOAD").is_some();
    let count = if full { 20_000 } else { 2_000 };
    let at_once = 200;
    let (mut asked, mut asking) = (Child::start("true"), Child::start("true"));
    // The first ones fill what is filled once.
    let order = format!("row {} {at_once}", asked.addr);
    assert_eq!(asking.ask(&order), at_once);
    let before = [&asked, &asking].map(|side| (side.memory(), side.files()));
    let start = Instant::now();
    for _ in 0..count / at_once {
        assert_eq!(asking.ask(&order), at_once);
    }
    let took = start.elapsed();
    println!(
        "{count} connects and closes in {took:?}, {:?} each",
        took / count as u32
    );
    for (side, (memory, files)) in [&mut asked, &mut asking].into_iter().zip(before) {
        assert_eq!(side.ask("open"), 0);
        until("the file descriptors are given back", || {
            side.files() <= files
        });
        println!("memory {memory} kB before, {} kB after", side.memory());
        // 100 bytes for each would be 2 MB.
        assert!(
            side.memory() < memory + 2048,
            "{} kB, before {memory}",
            side.memory()
        );
    }
}
