//! Waiting for a change of what a lock guards.

use std::sync::PoisonError;

use super::sync::{Condvar, Instant, MutexGuard};

/// Releases the lock until the condition variable is notified or the deadline comes, then takes it
/// again. May wake for no reason, so every caller looks again in a loop. Ignores poison, as
/// [`lock`](super::lock) does.
pub(crate) fn wait<'a, T>(
    told: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Option<Instant>,
) -> MutexGuard<'a, T> {
    match deadline {
        None => {
            let waited = told.wait(guard);
            waited.unwrap_or_else(PoisonError::into_inner)
        }
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            let waited = told.wait_timeout(guard, left);
            waited.unwrap_or_else(PoisonError::into_inner).0
        }
    }
}

/// Has the deadline come?
pub(crate) fn is_late(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}
