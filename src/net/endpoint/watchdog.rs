//! The thread that notices what nobody else waits for: remotes that died while data was on its way
//! to them, closes that the other side never answers, and programs that have read a connection and
//! do not come back. One per peer, started when it is first needed, asleep while nothing is
//! outstanding. Where the system has no thread for a connection's writer, this one does its work
//! meanwhile.
//!
//! The system's keepalive notices a dead remote only while nothing is unacknowledged; then its
//! retransmissions take over, for a quarter of an hour. Its user timeout would end those in time,
//! but, measured on Linux 6.18, it also ends a connection whose remote is alive and merely slow: a
//! full window counts as no progress even while each probe is answered. So the table of
//! connections in /proc is asked instead, which tells the two apart.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::error::CloseReason;
use crate::net::endpoint::Endpoint;
use crate::net::link::Link;
use crate::net::os::lock;
use crate::net::os::socket::{has_kernel_table, kernel_table};
use crate::net::os::sync::{AtomicBool, Condvar, Instant, Mutex, Ordering};
use crate::net::recv::lease::TICK;

pub(crate) struct Watchdog {
    /// The silence after which a remote is dead; `None` if nobody is to look.
    keepalive: Option<Duration>,
    /// Something was sent since the last look.
    sent: AtomicBool,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    running: bool,
    stopped: bool,
    /// Closes under way, and when they are overdue.
    closes: Vec<(Instant, Weak<Link>)>,
    /// Connections with something to write and no thread for it.
    unwritten: Vec<Weak<Link>>,
    /// Connections that their programs read, and when to look at them.
    leases: Vec<Weak<Link>>,
    tick_at: Option<Instant>,
    /// Until when the thread sleeps, if it does and nobody wakes it.
    until: Option<Instant>,
}

/// What a socket did not take is tried again after this time.
const TRY_AGAIN: Duration = Duration::from_millis(5);

impl Watchdog {
    pub fn new(keepalive: Option<Duration>) -> Watchdog {
        let keepalive = keepalive.filter(|_| has_kernel_table());
        Watchdog {
            keepalive,
            sent: AtomicBool::new(false),
            state: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    /// Something was written. Costs a load while the thread is awake.
    #[inline]
    pub fn note_write(&self, endpoint: &Arc<Endpoint>) {
        if self.keepalive.is_some() && !self.sent.load(Ordering::Relaxed) {
            self.note_first_write(endpoint);
        }
    }

    #[cold]
    fn note_first_write(&self, endpoint: &Arc<Endpoint>) {
        if !self.sent.swap(true, Ordering::SeqCst) {
            self.wake(endpoint, |_| true);
        }
    }

    /// Ends `link` at `deadline`, unless it ends before. `false`: there is no thread for that.
    pub fn kill_at(&self, deadline: Instant, link: &Arc<Link>) -> bool {
        self.wake(&link.endpoint, |state| {
            if state.closes.len() == state.closes.capacity() {
                state
                    .closes
                    .retain(|(_, link)| link.upgrade().is_some_and(|link| !link.is_dead()));
            }
            state.closes.push((deadline, Arc::downgrade(link)));
            state.until.is_none_or(|until| deadline < until)
        })
    }

    /// Writes for `link` until it has a thread of its own, or nothing to write. `false`: there is no
    /// thread for that either.
    pub fn write_for(&self, link: &Arc<Link>) -> bool {
        self.wake(&link.endpoint, |state| {
            if state.running {
                state.unwritten.push(Arc::downgrade(link));
            }
            true
        })
    }

    /// Looks from time to time how the program comes along that reads `link`. `false`: there is no
    /// thread for that.
    pub fn watch(&self, link: &Arc<Link>) -> bool {
        self.wake(&link.endpoint, |state| {
            if !state.running {
                return false;
            }
            state.leases.push(Arc::downgrade(link));
            let tick_at = *state.tick_at.get_or_insert_with(|| Instant::now() + TICK);
            state.until.is_none_or(|until| tick_at < until)
        })
    }

    /// From now on it only finishes what it writes.
    pub fn stop(&self) {
        let mut state = lock(&self.state);
        state.stopped = true;
        state.closes.clear();
        self.wake.notify_one();
    }

    /// `change` says whether the thread is to look now. `false`: there is none.
    fn wake(&self, endpoint: &Arc<Endpoint>, change: impl FnOnce(&mut State) -> bool) -> bool {
        let mut state = lock(&self.state);
        if state.stopped {
            return false;
        }
        if !state.running {
            let own = Arc::clone(endpoint);
            // Without a thread to be had, the next send tries again.
            state.running = endpoint
                .spawn("lanpeer-timer".to_owned(), move || run(&own))
                .is_ok();
            self.sent.fetch_and(state.running, Ordering::SeqCst);
        }
        if change(&mut state) {
            self.wake.notify_one();
        }
        state.running
    }
}

fn run(endpoint: &Arc<Endpoint>) {
    let watchdog = &endpoint.watchdog;
    let tick = watchdog.keepalive.map(|time| time / 8);
    let mut suspects = HashMap::new();
    let mut look_at: Option<Instant> = None;
    let mut write_at = Instant::now();
    let mut state = lock(&watchdog.state);
    loop {
        if state.stopped && state.unwritten.is_empty() {
            state.running = false;
            return;
        }
        let now = Instant::now();
        if !state.unwritten.is_empty() && write_at <= now {
            let mut links = std::mem::take(&mut state.unwritten);
            drop(state);
            links.retain(|link| link.upgrade().is_some_and(|link| link.write_some()));
            write_at = Instant::now() + TRY_AGAIN;
            state = lock(&watchdog.state);
            state.unwritten.append(&mut links);
            continue;
        }
        if state.tick_at.is_some_and(|time| time <= now) {
            let mut links = std::mem::take(&mut state.leases);
            state.tick_at = None;
            drop(state);
            links.retain(|link| link.upgrade().is_some_and(|link| link.tick()));
            state = lock(&watchdog.state);
            state.leases.append(&mut links);
            if !state.leases.is_empty() {
                state.tick_at.get_or_insert(now + TICK);
            }
            continue;
        }
        let (overdue, open): (Vec<_>, Vec<_>) = std::mem::take(&mut state.closes)
            .into_iter()
            .partition(|(deadline, _)| *deadline <= now);
        state.closes = open;
        let look = look_at.is_some_and(|time| time <= now);
        if look || !overdue.is_empty() {
            drop(state);
            for link in overdue.iter().filter_map(|(_, link)| link.upgrade()) {
                // Without effect on one that has ended meanwhile.
                link.kill(CloseReason::TimedOut);
            }
            if look {
                look_at = None;
                watchdog.sent.store(false, Ordering::SeqCst);
                if look_for_the_dead(endpoint, &mut suspects) {
                    watchdog.sent.store(true, Ordering::SeqCst);
                }
            }
            state = lock(&watchdog.state);
            continue;
        }
        if let (true, None, Some(tick)) = (watchdog.sent.load(Ordering::SeqCst), look_at, tick) {
            look_at = Some(now + tick);
        }
        let next = state
            .closes
            .iter()
            .map(|(deadline, _)| *deadline)
            .chain(look_at)
            .chain(state.tick_at)
            .chain((!state.unwritten.is_empty()).then_some(write_at))
            .min();
        state.until = next;
        state = match next {
            Some(next) => match watchdog
                .wake
                .wait_timeout(state, next.saturating_duration_since(now))
            {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            },
            None => watchdog
                .wake
                .wait(state)
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        };
    }
}

/// Ends the connections whose remote has left everything unanswered for seven eighths of the
/// keepalive (it was silent for some time before that was seen). Says whether any connection
/// still has unacknowledged data.
fn look_for_the_dead(endpoint: &Arc<Endpoint>, suspects: &mut HashMap<u64, Instant>) -> bool {
    let Some(keepalive) = endpoint.watchdog.keepalive else {
        return false;
    };
    let Some(table) = kernel_table() else {
        // No file descriptor to be had for it: perhaps at the next look.
        return true;
    };
    let rows: HashMap<_, _> = table
        .into_iter()
        .map(|row| ((row.local, row.remote), row))
        .collect();
    let now = Instant::now();
    let mut outstanding = false;
    let mut still = HashMap::new();
    for link in endpoint.links().iter() {
        let Some(row) = rows.get(&link.ends) else {
            continue;
        };
        outstanding |= row.unacknowledged > 0;
        if row.unanswered {
            let since = suspects.get(&link.id).copied().unwrap_or(now);
            if now.duration_since(since) >= keepalive * 7 / 8 {
                link.kill(CloseReason::TimedOut);
            } else {
                still.insert(link.id, since);
            }
        }
    }
    *suspects = still;
    outstanding
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::options::Settings;
    use std::fs::File;
    use std::process::Command;

    /// That says nothing of the remotes.
    #[test]
    fn a_table_that_can_not_be_read_is_looked_at_again() {
        const ROLE: &str = "LANPEER_TEST_WITHOUT_FILES";
        if std::env::var_os(ROLE).is_none() {
            // In a process of its own: other tests want file descriptors.
            let name =
                "net::endpoint::watchdog::tests::a_table_that_can_not_be_read_is_looked_at_again";
            let mut shell = Command::new("sh");
            shell.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""]);
            shell.arg(std::env::current_exe().unwrap());
            let ran = shell.args(["--exact", name]).env(ROLE, "1").output();
            let story = String::from_utf8(ran.unwrap().stdout).unwrap();
            assert!(story.contains(" 1 passed"), "{story}");
            return;
        }
        let endpoint = Endpoint::new(
            Settings::default(),
            "127.0.0.1:1".parse().unwrap(),
            Box::new(Err),
        );
        let files: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        assert!(look_for_the_dead(&endpoint, &mut HashMap::new()));
        drop(files);
        assert!(!look_for_the_dead(&endpoint, &mut HashMap::new()));
    }
}
