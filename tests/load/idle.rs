//! What a connection costs that says nothing.

use std::thread::sleep;
use std::time::Duration;

use crate::child::Child;

#[test]
fn an_idle_connection_costs_a_thread_and_no_time() {
    let count = 1000;
    let files = "ulimit -n 2048";
    let (asked, mut asking) = (Child::start(files), Child::start(files));
    assert_eq!(asking.ask(&format!("connect {} 1", asked.addr)), 1);
    let look = |side: &Child| [side.memory(), side.private(), side.threads(), side.files()];
    let before = [look(&asked), look(&asking)];
    assert_eq!(
        asking.ask(&format!("connect {} {count}", asked.addr)),
        count + 1
    );
    let after = [look(&asked), look(&asking)];
    for (what, before, after) in [
        ("with a handler", before[0], after[0]),
        ("with a receive queue", before[1], after[1]),
    ] {
        let more = std::array::from_fn::<_, 4, _>(|n| after[n].saturating_sub(before[n]));
        let [memory, private, threads, files] = more.map(|n| n as f64 / count as f64);
        println!(
            "each {what}: {memory} kB, private {private} kB, {threads} threads, {files} files"
        );
        assert!(memory < 128.0, "{memory} kB");
        // The last ones accepted may still be on their way.
        assert!((0.9..1.1).contains(&threads), "{threads} threads");
        assert!((0.9..1.1).contains(&files), "{files} file descriptors");
    }
    let time = Duration::from_secs(3);
    let ticks = |sides: [&Child; 2]| sides.map(Child::ticks);
    // What just began may not have settled on a busy machine: one quiet time of several will do.
    let is_quiet = (0..5).any(|_| {
        let before = ticks([&asked, &asking]);
        sleep(time);
        let after = ticks([&asked, &asking]);
        let used = [after[0] - before[0], after[1] - before[1]];
        println!("{used:?} hundredths of a second of processor time in {time:?}");
        // One look a second at each connection, and it would be more.
        used.iter().all(|ticks| *ticks <= 3)
    });
    assert!(is_quiet);
}
