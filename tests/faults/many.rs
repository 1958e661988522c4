//! Many cases, several at a time.

use std::fmt::Debug;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lanpeer::RecvTimeoutError;
use lanpeer::crossbeam_channel::unbounded;

use super::exchange::World;
use super::peers::eventually;

/// No case takes so long.
const HANG: Duration = Duration::from_secs(45);

/// Tries `cases` in worlds of their own, so many at a time, each world for one after the other.
/// Reports which of them failed, or hung.
pub fn try_all<C: Copy + Debug + Send + Sync + 'static>(
    what: &str,
    cases: Vec<C>,
    workers: usize,
    world: impl Fn() -> World + Send + Sync + 'static,
    one: impl Fn(C, &World) + Send + Sync + 'static,
) {
    let begin = Instant::now();
    let cases = Arc::new(cases);
    let next = Arc::new(AtomicUsize::new(0));
    let (world, one) = (Arc::new(world), Arc::new(one));
    let finished = Arc::new(AtomicUsize::new(0));
    let (report, reports) = unbounded();
    for worker in 0..workers {
        let (cases, next) = (Arc::clone(&cases), Arc::clone(&next));
        let finished = Arc::clone(&finished);
        let (world, one, report) = (Arc::clone(&world), Arc::clone(&one), report.clone());
        let work = move || {
            let mut place = world();
            while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                let _ = report.send((worker, Some(*case), None));
                let tried = panic::catch_unwind(AssertUnwindSafe(|| one(*case, &place)));
                if tried.is_err() {
                    let _ = report.send((worker, None, Some(*case)));
                    place = world();
                }
            }
            eventually("no connection is left", || {
                place.alice.connections().is_empty() && place.bob.connections().is_empty()
            });
            drop(place);
            let _ = report.send((worker, None, None));
            finished.fetch_add(1, Ordering::SeqCst);
        };
        thread::spawn(work);
    }
    drop(report);
    let mut at = vec![None; workers];
    let mut failed = Vec::new();
    loop {
        match reports.recv_timeout(HANG) {
            Ok((worker, case, failure)) => {
                at[worker] = case;
                failed.extend(failure);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("{what} hangs at {at:?}"),
        }
    }
    println!(
        "{what}: {} tried in {:.1?}, {} failed",
        cases.len(),
        begin.elapsed(),
        failed.len()
    );
    assert!(failed.is_empty(), "{what}: {failed:?}");
    let finished = finished.load(Ordering::SeqCst);
    assert_eq!(finished, workers, "{what}: not all is given back");
}
