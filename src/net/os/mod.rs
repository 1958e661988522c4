//! The operating system: what the other rooms know of it goes through here.

pub(crate) mod condvar;
pub(crate) mod datagram;
mod diag;
pub(crate) mod dice;
pub(crate) mod files;
// The tests run it on Linux, whose call is the same.
#[cfg(any(target_vendor = "apple", all(test, target_os = "linux")))]
mod outlet;
pub(crate) mod socket;
pub(crate) mod spin;
#[cfg(not(lanpeer_simulation))]
pub(crate) mod sync;
#[cfg(not(lanpeer_simulation))]
pub(crate) mod system;
pub(crate) mod table;
pub(crate) mod threads;
pub(crate) mod timer;
#[cfg_attr(windows, path = "transfer_windows.rs")]
mod transfer;
#[cfg(test)]
mod transfer_tests;

// `tests/simulation` has the library run on a system of its own.
#[cfg(lanpeer_simulation)]
pub(crate) use simulated_system::{sync, system};

use sync::{Mutex, MutexGuard};

/// The target of log lines, which is not to change when a module does. `docs/logging.md`
/// lists every line.
pub(crate) const LOG: &str = "lanpeer";

/// Locks, and ignores poison. None of our code panics while it holds a lock, and the program's code
/// does not run under one (only its handler may be dropped there), so the data is whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
