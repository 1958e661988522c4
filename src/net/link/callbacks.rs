//! What the program wants to be called at the end of a connection.
//!
//! The connection's reader thread calls it, as the last thing that it does: so behind the last call of
//! a handler, and never beside one. Whoever asks later gets a thread for it.

use std::sync::Arc;

use super::{Link, READS};
use crate::error::CloseReason;
use crate::net::os::lock;
use crate::net::os::sync::Mutex;
use crate::net::os::threads::retire;
use crate::net::panics::unless_it_panics;

type Callback = Box<dyn FnOnce(CloseReason) + Send>;

pub(super) struct Callbacks(Mutex<State>);

enum State {
    /// The reader thread will call these.
    Waiting(Vec<Callback>),
    /// It has gone.
    Called,
}

impl Default for Callbacks {
    fn default() -> Callbacks {
        Callbacks(Mutex::new(State::Waiting(Vec::new())))
    }
}

impl Link {
    /// Has `callback` called once, when the connection has ended, with the reason.
    pub fn on_end(&self, callback: impl FnOnce(CloseReason) + Send + 'static) {
        let callback: Callback = Box::new(callback);
        let callback = match &mut *lock(&self.callbacks.0) {
            State::Waiting(waiting) => return waiting.push(callback),
            State::Called => callback,
        };
        let reason = self.life.why();
        // Kept outside the thread's work, which is dropped where the system has no thread.
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
