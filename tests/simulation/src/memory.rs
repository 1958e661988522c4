//! Memory that a run leaves behind: what its peers and connections have taken must be given back. Not looked at
//! where messages are encoded: each thread of the pool keeps the library's buffer for that.

use std::alloc::System;
use std::sync::atomic::Ordering;
use std::time::Duration;

use simulated_system::pool::STARTED;
use simulated_system::world::Report;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A run may leave so many bytes behind: what the pool of threads and the logger keep.
const NOISE: usize = 4 << 10;

/// A program that seems to leave something is run so often again: what each thread of the pool takes once, for
/// good, is not taken again.
const AGAIN: u32 = 3;

/// Bytes of memory that are in use in this process, of all runs and of what is around them.
pub fn in_use() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.wrapping_sub(stats.bytes_deallocated)
}

/// Does the run, and looks at what it leaves. A run that ends with threads in it leaves theirs.
pub fn watch(encodes: bool, run: impl Fn() -> Report) -> Report {
    if encodes {
        return run();
    }
    let mut left = 0;
    for _ in 0..AGAIN {
        let (before, threads) = (in_use(), STARTED.load(Ordering::Relaxed));
        let mut report = run();
        // A thread that joins the pool takes memory for good.
        let has_started = STARTED.load(Ordering::Relaxed) > threads;
        if report.failure.is_some() || report.lost > 0 || has_started {
            return report;
        }
        let grown = || in_use().saturating_sub(before);
        // The last thread of the run may still be on its way out of it.
        for _ in 0..10 {
            if grown() <= NOISE {
                return report;
            }
            std::thread::sleep(Duration::from_micros(300));
        }
        left = grown();
        report.failure = Some(format!("it leaves {left} bytes behind"));
        report.lost = 0;
    }
    let mut report = run();
    report.failure = Some(format!("each run of it leaves about {left} bytes behind"));
    report
}
