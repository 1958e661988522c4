//! The thread that writes what bursts have gathered when their senders go quiet. One per peer, however
//! many connections it has: started when it is first needed, asleep while there is no burst.
//!
//! It writes at once when a burst begins, and from then on every [`TICK`] what has come meanwhile: so
//! a burst over many connections costs its sender no wake-ups, and no message waits longer.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use super::hub::Hub;
use super::link::Link;
use super::lock;
use super::sync::{Condvar, Mutex};

/// Systems make about twice that of it.
const TICK: Duration = Duration::from_micros(50);

/// What a full socket did not take is tried again after this time.
const TRY_AGAIN: Duration = Duration::from_millis(5);

/// Without a burst the thread ends after this time.
const RETIRE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Flusher {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// Connections on which something has gathered.
    due: Vec<Arc<Link>>,
    running: bool,
    /// It waits for the next burst.
    parked: bool,
    /// There is a full socket in `due`.
    full: bool,
    stopped: bool,
}

impl Flusher {
    /// `false`: there is no such thread to be had.
    pub fn add(&self, link: &Arc<Link>) -> bool {
        let mut state = lock(&self.state);
        if state.stopped {
            return false;
        }
        if !state.running {
            let hub = Arc::clone(&link.hub);
            let run = move || run(&hub);
            if link.hub.spawn("lanpeer-flush".to_owned(), run).is_err() {
                return false;
            }
            state.running = true;
        }
        state.due.push(Arc::clone(link));
        if state.parked {
            state.parked = false;
            drop(state);
            self.wake.notify_one();
        }
        true
    }

    /// For a full socket without a thread that waits for it. `false`: there is no flusher now.
    pub fn try_again(&self, link: &Arc<Link>) -> bool {
        let mut state = lock(&self.state);
        if state.stopped || !state.running {
            return false;
        }
        state.due.push(Arc::clone(link));
        state.full = true;
        if state.parked {
            state.parked = false;
            drop(state);
            self.wake.notify_one();
        }
        true
    }

    pub fn stop(&self) {
        let mut state = lock(&self.state);
        state.stopped = true;
        self.wake.notify_one();
    }
}

fn run(hub: &Arc<Hub>) {
    let flusher = &hub.flusher;
    let mut due = Vec::new();
    // Whose buffers have grown.
    let mut grown: Vec<Weak<Link>> = Vec::new();
    let mut state = lock(&flusher.state);
    loop {
        std::mem::swap(&mut due, &mut state.due);
        let idle = due.is_empty();
        if !idle {
            drop(state);
            for link in due.drain(..) {
                if link.flush_listed() {
                    if grown.len() == grown.capacity() {
                        grown.retain(|link| link.strong_count() > 0);
                    }
                    grown.push(Arc::downgrade(&link));
                }
            }
            state = lock(&flusher.state);
        }
        if state.stopped && state.due.is_empty() {
            state.running = false;
            return;
        }
        let full = std::mem::take(&mut state.full);
        state.parked = idle || full;
        let time = match () {
            () if idle => RETIRE,
            () if full => TRY_AGAIN,
            () => TICK,
        };
        let waited = flusher.wake.wait_timeout(state, time);
        let timeout;
        (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        state.parked = false;
        if idle && timeout.timed_out() && state.due.is_empty() {
            state.running = false;
            drop(state);
            for link in grown.iter().filter_map(Weak::upgrade) {
                link.trim_queue();
            }
            return;
        }
    }
}
