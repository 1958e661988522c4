//! One thread that runs tasks when they are due. A peer has two: the watchdog, for what may take a
//! while, and the flusher, which is to be on time within microseconds.

use std::cmp::Ordering as Order;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::condvar::wait;
use super::lock;
use super::sync::{Condvar, Instant, Mutex, MutexGuard};
use super::threads::{Threads, unless_it_panics};

/// What a timer runs. It may be run more often than it asked for, and looks by itself whether there
/// is something to do.
pub(crate) trait Task: Send + Sync {
    /// Says when it is to be run again; `None`: not until it is scheduled anew. One that panics is
    /// not run again.
    fn run(&self, now: Instant) -> Option<Instant>;

    /// Will a run do nothing any more? Then the task may be dropped before it is due. Asked under the
    /// lock of the timer, so it looks at a counter at most.
    fn is_pointless(&self) -> bool {
        false
    }
}

/// Tasks that have become pointless are dropped when there are more tasks than this, and more than twice
/// as many as were left the last time.
const CLEAN: usize = 64;

/// A heap of tasks and the thread that runs them. A timer without a thread starts one when a task is
/// scheduled.
pub(crate) struct Timer {
    name: &'static str,
    /// How long the thread stays without a task; `None`: until `stop`.
    retire: Option<Duration>,
    /// How much later than asked for a task may run: a thread that sleeps is not woken for less.
    slack: Duration,
    /// Not held while a task runs, nor while the thread is started. A task may hold what is the program's,
    /// so it is dropped without the lock too, unless it has become pointless: then it holds nothing.
    /// Other locks may be held when this one is taken; none is taken under it.
    state: Mutex<State>,
    /// Signalled for the timer's thread alone: a task is due sooner than it sleeps, or it is to end.
    wake: Condvar,
    /// Signalled when it is known whether the system has a thread, for those who wait to schedule.
    started: Condvar,
}

#[derive(Default)]
struct State {
    /// What is to be run, the earliest first.
    tasks: BinaryHeap<Entry>,
    /// With more tasks than this, pointless ones are dropped: see [`CLEAN`].
    clean_at: usize,
    /// Counts the entries, so that those that are due at the same time run in their order.
    scheduled: u64,
    thread: Thread,
    /// Counts the attempts to start a thread.
    starts: u64,
    /// The peer was stopped: tasks are refused, and the thread ends. Never unset.
    stopped: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Thread {
    #[default]
    None,
    /// Somebody starts one, by this number. Whether the system has it is not known yet.
    Starting(u64),
    /// It runs tasks, and looks at the heap before it sleeps.
    Awake,
    /// It sleeps until its next task is due, or until it is woken.
    Asleep { next: Option<Instant> },
}

struct Entry {
    at: Instant,
    number: u64,
    task: Arc<dyn Task>,
}

impl Timer {
    pub fn new(name: &'static str, retire: Option<Duration>, slack: Duration) -> Timer {
        Timer {
            name,
            retire,
            slack,
            state: Mutex::default(),
            wake: Condvar::new(),
            started: Condvar::new(),
        }
    }

    /// Starts the thread if there is none. A timer that does not retire then takes every task until
    /// it is stopped.
    pub fn start(self: &Arc<Timer>, threads: &Arc<Threads>) -> io::Result<()> {
        self.with_thread(threads).map(drop)
    }

    /// Has `task` run at a time. `Err`: the system has no thread for the timer.
    pub fn schedule(
        self: &Arc<Timer>,
        threads: &Arc<Threads>,
        at: Instant,
        task: Arc<dyn Task>,
    ) -> io::Result<()> {
        let state = self.with_thread(threads)?;
        self.push(state, at, task);
        Ok(())
    }

    /// As [`schedule`](Timer::schedule), but starts no thread, so the caller may hold a lock. `Err`: the
    /// timer has no thread.
    pub fn schedule_started(&self, at: Instant, task: Arc<dyn Task>) -> io::Result<()> {
        let state = lock(&self.state);
        if state.stopped || matches!(state.thread, Thread::None | Thread::Starting(_)) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.push(state, at, task);
        Ok(())
    }

    /// Adds a task and wakes the thread if it would sleep too long. It is woken without the lock, which
    /// it takes at once.
    fn push(&self, mut state: MutexGuard<'_, State>, at: Instant, task: Arc<dyn Task>) {
        state.push(at, task);
        if state.thread.is_late_for(at + self.slack) {
            state.thread = Thread::Awake;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Drops every task. The thread ends.
    pub fn stop(&self) {
        let mut state = lock(&self.state);
        state.stopped = true;
        let tasks = std::mem::take(&mut state.tasks);
        self.wake.notify_one();
        drop(state);
        let_go(tasks);
    }

    /// The state, once the timer has a thread. Of several callers that come while it has none, one starts
    /// it without the lock, and the others wait for the result.
    fn with_thread(self: &Arc<Timer>, threads: &Arc<Threads>) -> io::Result<MutexGuard<'_, State>> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                return Err(io::ErrorKind::NotConnected.into());
            }
            match state.thread {
                Thread::Awake | Thread::Asleep { .. } => return Ok(state),
                Thread::Starting(_) => {
                    state = wait(&self.started, state, None);
                }
                Thread::None => {
                    state.starts += 1;
                    let starting = Thread::Starting(state.starts);
                    state.thread = starting;
                    drop(state);
                    let own = Arc::clone(self);
                    let started = threads.spawn(self.name.to_owned(), move || own.run());
                    state = lock(&self.state);
                    // It may sleep already, or have retired.
                    if state.thread == starting {
                        state.thread = match started {
                            Ok(()) => Thread::Awake,
                            Err(_) => Thread::None,
                        };
                    }
                    self.started.notify_all();
                    started?;
                }
            }
        }
    }

    /// The timer's thread: runs what is due, then sleeps until the next task.
    fn run(&self) {
        let mut state = lock(&self.state);
        let mut idle_since = None;
        loop {
            if state.stopped {
                state.thread = Thread::None;
                return;
            }
            let now = Instant::now();
            if let Some(due) = state.pop_due(now, self.slack) {
                idle_since = None;
                drop(state);
                let again: Vec<_> = due
                    .into_iter()
                    .filter_map(|task| {
                        // Its run, or its drop, may be the program's: that of an item, say.
                        unless_it_panics(|| task.run(now).map(|at| (at, task))).flatten()
                    })
                    .collect();
                // Where the tasks have slack, their pauses begin when all have run: or a round that
                // takes longer than its pause would follow the next without one.
                let spent = match self.slack.is_zero() {
                    true => Duration::ZERO,
                    false => Instant::now().duration_since(now),
                };
                state = lock(&self.state);
                if state.stopped {
                    // A task may be the last to hold its connection: it goes without the lock.
                    state.thread = Thread::None;
                    drop(state);
                    let_go(again);
                    return;
                }
                for (at, task) in again {
                    state.push(at + spent, task);
                }
                continue;
            }
            let next = state.tasks.peek().map(|entry| entry.at);
            let until = next.or_else(|| {
                let since = *idle_since.get_or_insert(now);
                self.retire.map(|time| since + time)
            });
            if next.is_none() && until.is_some_and(|until| until <= now) {
                state.thread = Thread::None;
                return;
            }
            state.thread = Thread::Asleep { next };
            state = wait(&self.wake, state, until);
            state.thread = Thread::Awake;
        }
    }
}

/// Drops tasks, each by itself: one may hold the last handle of something of the program's, whose drop may
/// panic.
fn let_go<T>(tasks: impl IntoIterator<Item = T>) {
    for task in tasks {
        unless_it_panics(|| drop(task));
    }
}

impl State {
    fn push(&mut self, at: Instant, task: Arc<dyn Task>) {
        let number = self.scheduled;
        self.scheduled += 1;
        self.tasks.push(Entry { at, number, task });
        if self.tasks.len() > self.clean_at.max(CLEAN) {
            self.tasks.retain(|entry| !entry.task.is_pointless());
            self.clean_at = 2 * self.tasks.len();
        }
    }

    /// All that are due now, the earliest first, and with them those that are within the slack, so
    /// that the thread does not wake for each; `None`: none is due.
    fn pop_due(&mut self, now: Instant, slack: Duration) -> Option<Vec<Arc<dyn Task>>> {
        let mut due = Vec::new();
        let mut until = now;
        while self.tasks.peek().is_some_and(|entry| entry.at <= until) {
            until = now + slack;
            due.extend(self.tasks.pop().map(|entry| entry.task));
        }
        (!due.is_empty()).then_some(due)
    }
}

impl Thread {
    /// Does it sleep beyond this time, and has to be woken?
    fn is_late_for(self, at: Instant) -> bool {
        match self {
            Thread::None | Thread::Starting(_) | Thread::Awake => false,
            Thread::Asleep { next } => next.is_none_or(|next| next > at),
        }
    }
}

impl Ord for Entry {
    /// The heap gives its greatest entry first, which is to be the earliest.
    fn cmp(&self, other: &Entry) -> Order {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.cmp(other) == Order::Equal
    }
}

impl Eq for Entry {}

#[cfg(test)]
#[path = "timer/tests.rs"] // found from tests/schedules as well
mod tests;
