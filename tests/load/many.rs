//! Two thousand connections between two processes, held open and used.

use std::time::Instant;

use crate::child::Child;
use crate::common::until;

#[test]
fn two_thousand_connections_are_held_and_used() {
    let files = "ulimit -n 4096";
    let (mut asked, mut asking) = (Child::start(files), Child::start(files));
    let start = Instant::now();
    for made in 1..=40 {
        let order = format!("connect {} 50", asked.addr);
        assert_eq!(asking.ask(&order), 50 * made);
    }
    println!("2,000 connections in {:?}", start.elapsed());
    until("the other side has them too", || asked.ask("open") == 2000);
    for _ in 0..3 {
        let start = Instant::now();
        assert_eq!(asking.ask("use"), 2000);
        println!(
            "a message there and back over each in {:?}",
            start.elapsed()
        );
    }
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(asking.ask("close 100"), 100);
    }
    println!("closed one by one in {:?}", start.elapsed());
    until("the other side has none either", || asked.ask("open") == 0);
}
