//! The thread that writes what bursts have gathered when their senders go quiet. One per peer, however
//! many connections it has: started when it is first needed, asleep while there is no burst.
//!
//! It writes at once when a burst begins. From then on it looks every [`TICK`]: what has gathered on
//! a connection is written when nothing has come since the last look, or when it gets old. So a burst
//! over many connections costs its sender no wake-ups, and few writes.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use crate::net::endpoint::Endpoint;
use crate::net::link::Link;
use crate::net::os::lock;
use crate::net::os::sync::{Condvar, Instant, Mutex};

/// Systems make about twice that of it.
const TICK: Duration = Duration::from_micros(50);

/// In a burst that goes on, nothing waits much longer.
const OLD: Duration = Duration::from_micros(500);

/// What a full socket did not take is tried again after this time.
const TRY_AGAIN: Duration = Duration::from_millis(5);

/// Without a burst the thread ends after this time.
const RETIRE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Flusher {
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
    /// Full sockets without a thread that waits for them.
    full: Vec<Arc<Link>>,
    stopped: bool,
}

/// A connection in a burst, as it was seen last.
struct Burst {
    link: Arc<Link>,
    /// `None`: it has just begun.
    seen: Option<Numbers>,
    /// When it was last written, or first seen.
    since: Instant,
}

/// How many messages were accepted for a connection, and how often what gathered was written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub messages: u64,
    pub writes: u64,
}

impl Burst {
    /// Says whether the burst goes on.
    fn look(&mut self, now: Instant, grown: &mut Vec<Weak<Link>>) -> bool {
        let old = now.duration_since(self.since) >= OLD;
        let (numbers, first) = self.link.flush_listed(self.seen, old);
        if first {
            if grown.len() == grown.capacity() {
                grown.retain(|link| link.strong_count() > 0);
            }
            grown.push(Arc::downgrade(&self.link));
        }
        if self.seen.is_none_or(|seen| seen.writes != numbers.writes) {
            self.since = now;
        }
        let goes_on = self
            .seen
            .is_none_or(|seen| seen.messages != numbers.messages);
        self.seen = Some(numbers);
        goes_on
    }
}

impl Flusher {
    /// `false`: there is no such thread to be had.
    pub fn add(&self, link: &Arc<Link>) -> bool {
        let mut state = lock(&self.state);
        if state.stopped {
            return false;
        }
        if !state.running {
            let endpoint = Arc::clone(&link.endpoint);
            let run = move || run(&endpoint);
            if link
                .endpoint
                .spawn("lanpeer-flush".to_owned(), run)
                .is_err()
            {
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
        state.full.push(Arc::clone(link));
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

fn run(endpoint: &Arc<Endpoint>) {
    let flusher = &endpoint.flusher;
    let mut bursts: Vec<Burst> = Vec::new();
    // Whose buffers have grown.
    let mut grown: Vec<Weak<Link>> = Vec::new();
    let mut tried = Instant::now();
    let mut state = lock(&flusher.state);
    loop {
        if !state.full.is_empty() && Instant::now().duration_since(tried) >= TRY_AGAIN {
            let State { due, full, .. } = &mut *state;
            due.append(full);
            tried = Instant::now();
        }
        if !state.due.is_empty() || !bursts.is_empty() {
            let due = std::mem::take(&mut state.due);
            drop(state);
            let now = Instant::now();
            bursts.extend(due.into_iter().map(|link| Burst {
                link,
                seen: None,
                since: now,
            }));
            bursts.retain_mut(|burst| burst.look(now, &mut grown));
            state = lock(&flusher.state);
        }
        let parked = bursts.is_empty() && state.due.is_empty();
        let idle = parked && state.full.is_empty();
        if state.stopped && idle {
            state.running = false;
            return;
        }
        state.parked = parked;
        let time = match () {
            () if idle => RETIRE,
            () if parked => TRY_AGAIN,
            () => TICK,
        };
        let waited = flusher.wake.wait_timeout(state, time);
        let timeout;
        (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        state.parked = false;
        if idle && timeout.timed_out() && state.due.is_empty() && state.full.is_empty() {
            state.running = false;
            drop(state);
            for link in grown.iter().filter_map(Weak::upgrade) {
                link.trim_queue();
            }
            return;
        }
    }
}
