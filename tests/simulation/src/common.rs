//! What the families of programs share.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use simulated_system::sync::thread;
use simulated_system::world;

/// It does not matter what became of others who held it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Copies of a plan, each with one of the changes that `each` adds.
pub fn copies<P: Clone>(plan: &P, each: impl FnOnce(&mut dyn FnMut(&dyn Fn(&mut P)))) -> Vec<P> {
    let mut all = Vec::new();
    each(&mut |change| {
        let mut plan = plan.clone();
        change(&mut plan);
        all.push(plan);
    });
    all
}

/// What was wrong in a run.
#[derive(Default)]
pub struct Wrongs(Mutex<Vec<String>>);

impl Wrongs {
    pub fn add(&self, what: String) {
        world::note(format_args!("wrong: {what}"));
        lock(&self.0).push(what);
    }

    /// Panics with all of it.
    pub fn assert_none(&self) {
        let wrong = lock(&self.0);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// Where the other side listens, which it says within a second, if it still can.
pub fn awaited(addr: &Mutex<Option<SocketAddr>>) -> Option<SocketAddr> {
    for _ in 0..1000 {
        let known = *lock(addr);
        if known.is_some() {
            return known;
        }
        thread::sleep(Duration::from_millis(1));
    }
    *lock(addr)
}
