//! Is a message part of a burst, in which gathering pays?

use std::cell::Cell;
use std::time::Duration;

use super::os::sync::{Instant, thread_local};

/// A message that follows the last one of its thread within this time is part of a burst. About
/// the time that one write takes.
const GAP: Duration = Duration::from_micros(10);

thread_local! {
    /// When this thread last sent, on whichever connection.
    static LAST_SEND: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Does the thread send one message close behind the other?
pub(crate) fn is_on() -> bool {
    let last = LAST_SEND.with(Cell::get);
    last.is_some_and(|last| Instant::now().duration_since(last) < GAP)
}

/// The thread has sent a message.
pub(crate) fn note() {
    LAST_SEND.with(|last| last.set(Some(Instant::now())));
}

/// The thread is about to wait for others: what it sends next answers them, however soon.
pub(crate) fn end() {
    LAST_SEND.with(|last| last.set(None));
}
