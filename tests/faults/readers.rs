//! The link is in order, and the program takes nothing.
#![cfg(target_os = "linux")]

use std::thread;
use std::time::Duration;

use lanpeer::PeerBuilder;

use super::exchange::World;
use super::peers::{alone, fill, take};
use super::proxy::Plan;

const SIZE: usize = 16 << 10;

/// A reader whose program takes nothing sleeps until that changes, however long that is.
#[test]
fn a_stalled_reader_sleeps() {
    alone("readers::a_stalled_reader_sleeps", || {
        let in_bytes = |b: PeerBuilder| b.keepalive(None).receive_queue_bytes(100_000);
        let in_messages = |b: PeerBuilder| b.keepalive(None).receive_queue(2);
        for settings in [in_bytes, in_messages] {
            let world = World::new(|b| b.send_queue(64 << 10), settings);
            let (_passage, to_bob, to_alice) = world.link(Plan::default());
            let count = fill(&to_bob, 0, SIZE);
            let before = wake_ups();
            thread::sleep(Duration::from_secs(1));
            let woken = wake_ups() - before;
            assert!(woken < 20, "{woken} times in a second");
            take(&to_alice, 0, count);
            assert_eq!(to_bob.close(), Ok(()));
        }
    });
}

/// How often the library's readers have slept, in this process.
fn wake_ups() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("the threads");
    let status = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("status"));
    let readers = tasks
        .filter_map(|task| status(task.ok()?).ok())
        .filter(|status| status.starts_with("Name:\tlanpeer-r-"));
    let count = |status: String| {
        let line = status.lines().find(|line| line.starts_with("voluntary"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number
            .and_then(|number| number.parse::<u64>().ok())
            .expect("a number")
    };
    let counts: Vec<u64> = readers.map(count).collect();
    assert!(!counts.is_empty(), "a reader");
    counts.iter().sum()
}
