//! Callbacks for the end of a connection, given by `on_end`.
//!
//! The connection's reader thread calls them, as the last thing that it does: after the last call of a
//! handler, and never beside one. A callback that is given later gets a thread of its own.

use std::sync::Arc;

use super::{Link, READS};
use crate::error::CloseReason;
use crate::net::os::lock;
use crate::net::os::sync::Mutex;
use crate::net::os::threads::retire;
use crate::net::panics::unless_it_panics;

type Callback = Box<dyn FnOnce(CloseReason) + Send>;

/// The callbacks of one connection. A callback is taken out under the lock and called without it, since
/// it is the program's code. The lock decides for each callback who calls it: the reader thread or a
/// thread of its own, never both and never none.
pub(super) struct Callbacks(Mutex<State>);

enum State {
    /// The reader thread will call these.
    Waiting(Vec<Callback>),
    /// The reader thread has taken them, and takes no more.
    Called,
}

impl Default for Callbacks {
    fn default() -> Callbacks {
        Callbacks(Mutex::new(State::Waiting(Vec::new())))
    }
}

impl Link {
    /// Has `callback` called once, when the connection has ended, with the reason. If it has ended already,
    /// on a thread of its own, or on the caller's if the system has none.
    pub fn on_end(&self, callback: impl FnOnce(CloseReason) + Send + 'static) {
        let callback: Callback = Box::new(callback);
        let callback = match &mut *lock(&self.callbacks.0) {
            State::Waiting(waiting) => return waiting.push(callback),
            State::Called => callback,
        };
        let reason = self.life.why();
        // Kept outside the thread's work, which is dropped if the system has no thread.
        let shared = Arc::new(Mutex::new(Some(callback)));
        let own = Arc::clone(&shared);
        let take = |shared: &Mutex<Option<Callback>>| lock(shared).take();
        let name = format!("lanpeer-e-{}", self.id);
        let why = reason.clone();
        let started = self.context.threads.spawn(name, move || {
            if let Some(callback) = take(&own) {
                call(callback, why);
            }
        });
        if started.is_err() {
            if let Some(callback) = take(&shared) {
                call(callback, reason);
            }
        }
    }

    /// The reader thread is about to end, and the connection is over.
    pub(super) fn call_back(&self) {
        // What this thread has read since the end counts as well.
        self.tell_totals();
        let before = std::mem::replace(&mut *lock(&self.callbacks.0), State::Called);
        let waiting = match before {
            State::Waiting(waiting) => waiting,
            State::Called => Vec::new(),
        };
        // The thread may read another connection afterwards.
        READS.set(0);
        if waiting.is_empty() {
            return;
        }
        retire();
        let reason = self.life.why();
        for callback in waiting {
            call(callback, reason.clone());
        }
    }
}

/// The program's code may panic, which ends nothing else.
fn call(callback: Callback, reason: CloseReason) {
    let _ = unless_it_panics(|| {
        callback(reason);
        Ok(())
    });
}
