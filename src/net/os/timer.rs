//! One thread that runs tasks when they are due. A peer has two: the watchdog, for what may take a
//! while, and the flusher, which is to be on time within microseconds.

use std::cmp::Ordering as Order;
use std::collections::BinaryHeap;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

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

/// Tasks that have become pointless are dropped when there are so many, and twice as many as were
/// left the last time.
const CLEAN: usize = 64;

/// A timer without a thread starts one when a task is scheduled.
pub(crate) struct Timer {
    name: &'static str,
    /// Without a task for so long the thread ends; `None`: it stays until `stop`.
    retire: Option<Duration>,
    /// A sleeping thread is not woken for a task that is due at most so long before it wakes.
    slack: Duration,
    state: Mutex<State>,
    wake: Condvar,
    /// Signalled when it is known whether the system has a thread.
    started: Condvar,
}

#[derive(Default)]
struct State {
    tasks: BinaryHeap<Entry>,
    clean_at: usize,
    /// Counts the entries, so that those that are due at the same time run in their order.
    scheduled: u64,
    thread: Thread,
    /// Counts the attempts to start a thread.
    starts: u64,
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

    /// The same where the timer was started: starts no thread, so the caller may hold a lock. `Err`:
    /// there is none.
    pub fn schedule_started(&self, at: Instant, task: Arc<dyn Task>) -> io::Result<()> {
        let state = lock(&self.state);
        if state.stopped || matches!(state.thread, Thread::None | Thread::Starting(_)) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.push(state, at, task);
        Ok(())
    }

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

    fn with_thread(self: &Arc<Timer>, threads: &Arc<Threads>) -> io::Result<MutexGuard<'_, State>> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                return Err(io::ErrorKind::NotConnected.into());
            }
            match state.thread {
                Thread::Awake | Thread::Asleep { .. } => return Ok(state),
                Thread::Starting(_) => {
                    let waited = self.started.wait(state);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
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
            state = match until {
                Some(until) => {
                    let left = until.saturating_duration_since(now);
                    let waited = self.wake.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.wake.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
            state.thread = Thread::Awake;
        }
    }
}

/// Drops tasks, each by itself: one may be the last to hold what is the program's.
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
mod tests {
    use crossbeam_channel::{Receiver, Sender, unbounded};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// Tells its name each time that it is run, and asks for some more runs.
    struct Told {
        name: &'static str,
        told: Sender<&'static str>,
        again: Mutex<u32>,
    }

    impl Task for Told {
        fn run(&self, now: Instant) -> Option<Instant> {
            let _ = self.told.send(self.name);
            let mut again = lock(&self.again);
            *again = again.checked_sub(1)?;
            Some(now)
        }
    }

    struct Bench {
        threads: Arc<Threads>,
        timer: Arc<Timer>,
        told: Sender<&'static str>,
        heard: Receiver<&'static str>,
    }

    fn bench(retire: Option<Duration>) -> Bench {
        with_slack(retire, Duration::ZERO)
    }

    fn with_slack(retire: Option<Duration>, slack: Duration) -> Bench {
        let (told, heard) = unbounded();
        Bench {
            threads: Threads::new("127.0.0.1:1".parse().unwrap()),
            timer: Arc::new(Timer::new("lanpeer-test", retire, slack)),
            told,
            heard,
        }
    }

    impl Bench {
        fn schedule(&self, at: Instant, name: &'static str, again: u32) {
            let (told, again) = (self.told.clone(), Mutex::new(again));
            let task = Arc::new(Told { name, told, again });
            self.timer.schedule(&self.threads, at, task).unwrap();
        }

        fn stop(&self) {
            self.timer.stop();
            assert!(self.threads.wait(Instant::now() + SOON));
        }
    }

    #[test]
    fn tasks_run_when_they_are_due_the_earliest_first() {
        let bench = bench(None);
        let now = Instant::now();
        bench.schedule(now + SOON, "never", 0);
        bench.schedule(now + Duration::from_millis(20), "second", 0);
        bench.schedule(now + Duration::from_millis(10), "first", 0);
        for expected in ["first", "second"] {
            assert_eq!(bench.heard.recv_timeout(SOON), Ok(expected));
        }
        assert!(now.elapsed() >= Duration::from_millis(20));
        bench.schedule(now, "twice", 1);
        for expected in ["twice", "twice"] {
            assert_eq!(bench.heard.recv_timeout(SOON), Ok(expected));
        }
        bench.stop();
        assert!(bench.heard.try_recv().is_err());
    }

    /// Keeps the thread until the other end is dropped.
    struct Gate(Receiver<()>);

    impl Task for Gate {
        fn run(&self, _: Instant) -> Option<Instant> {
            let _ = self.0.recv_timeout(SOON);
            None
        }
    }

    #[test]
    fn tasks_within_the_slack_run_with_the_first_of_them() {
        let bench = with_slack(None, 2 * SOON);
        let (open, closed) = unbounded();
        let now = Instant::now();
        let gate = Arc::new(Gate(closed));
        bench.timer.schedule(&bench.threads, now, gate).unwrap();
        // Awake behind the gate, the thread finds both of them when it looks next.
        bench.schedule(now + SOON, "later", 0);
        bench.schedule(now, "now", 0);
        drop(open);
        for expected in ["now", "later"] {
            assert_eq!(bench.heard.recv_timeout(SOON / 2), Ok(expected));
        }
        bench.stop();
    }

    /// Asks to be run again after a pause, and takes longer than that.
    struct Slow {
        ended: Mutex<Option<Instant>>,
        paused: Sender<Duration>,
    }

    const PAUSE: Duration = Duration::from_millis(5);

    impl Task for Slow {
        fn run(&self, now: Instant) -> Option<Instant> {
            let mut ended = lock(&self.ended);
            let paused = ended.map(|ended| Instant::now().duration_since(ended));
            let _ = paused.map(|paused| self.paused.send(paused));
            std::thread::sleep(4 * PAUSE);
            *ended = Some(Instant::now());
            Some(now + PAUSE)
        }
    }

    #[test]
    fn a_round_that_takes_long_is_followed_by_a_pause_all_the_same() {
        let bench = with_slack(None, PAUSE);
        let (paused, pauses) = unbounded();
        let ended = Mutex::new(None);
        let slow = Arc::new(Slow { ended, paused });
        let now = Instant::now();
        bench.timer.schedule(&bench.threads, now, slow).unwrap();
        for _ in 0..3 {
            assert!(pauses.recv_timeout(SOON).unwrap() >= PAUSE);
        }
        bench.stop();
    }

    #[test]
    fn a_thread_without_tasks_retires_and_another_takes_its_place() {
        let bench = bench(Some(Duration::from_millis(1)));
        for _ in 0..3 {
            bench.schedule(Instant::now(), "task", 0);
            assert_eq!(bench.heard.recv_timeout(SOON), Ok("task"));
            assert!(bench.threads.wait(Instant::now() + SOON), "it retires");
        }
        bench.stop();
    }

    #[test]
    fn a_thread_is_woken_only_for_what_is_due_before_it_wakes() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let asleep = Thread::Asleep {
            next: Some(after(5)),
        };
        assert!(asleep.is_late_for(after(4)));
        assert!(!asleep.is_late_for(after(5)) && !asleep.is_late_for(after(6)));
        assert!(Thread::Asleep { next: None }.is_late_for(after(60)));
        assert!(!Thread::Awake.is_late_for(now), "it looks before it sleeps");
    }

    /// Panics when it runs, or when it is dropped.
    struct Panics(&'static str);

    impl Task for Panics {
        fn run(&self, _: Instant) -> Option<Instant> {
            assert_ne!(self.0, "run", "a task's own panic");
            None
        }
    }

    impl Drop for Panics {
        fn drop(&mut self) {
            assert_ne!(self.0, "drop", "a panic of what a task holds");
        }
    }

    #[test]
    fn a_task_that_panics_ends_nothing_but_itself() {
        let bench = bench(None);
        for at in ["run", "drop"] {
            let now = Instant::now();
            let task = Arc::new(Panics(at));
            bench.timer.schedule(&bench.threads, now, task).unwrap();
            bench.schedule(now, "the next", 0);
            assert_eq!(bench.heard.recv_timeout(SOON), Ok("the next"));
        }
        for at in ["drop", "drop"] {
            let task = Arc::new(Panics(at));
            let never = Instant::now() + SOON;
            bench.timer.schedule(&bench.threads, never, task).unwrap();
        }
        bench.stop();
    }

    /// What a task belongs to, which is gone.
    struct Pointless(#[expect(dead_code, reason = "only its drop matters")] Arc<()>);

    impl Task for Pointless {
        fn run(&self, _: Instant) -> Option<Instant> {
            None
        }

        fn is_pointless(&self) -> bool {
            true
        }
    }

    #[test]
    fn what_has_become_pointless_does_not_stay_until_it_is_due() {
        let bench = bench(None);
        let held = Arc::new(());
        for _ in 0..1000 {
            let (at, task) = (Instant::now() + SOON, Pointless(Arc::clone(&held)));
            let task = Arc::new(task);
            bench.timer.schedule(&bench.threads, at, task).unwrap();
            let left = Arc::strong_count(&held);
            assert!(left <= CLEAN + 1, "{left} wait");
        }
        bench.stop();
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn a_timer_that_was_never_started_takes_no_task_without_a_thread() {
        let bench = bench(None);
        let (told, again) = (bench.told.clone(), Mutex::new(0));
        let name = "task";
        let task = Arc::new(Told { name, told, again });
        let now = Instant::now();
        assert!(bench.timer.schedule_started(now, task.clone()).is_err());
        bench.timer.start(&bench.threads).unwrap();
        assert!(bench.timer.schedule_started(now, task).is_ok());
        assert_eq!(bench.heard.recv_timeout(SOON), Ok("task"));
        bench.stop();
    }

    #[test]
    fn a_stopped_timer_takes_no_task_and_keeps_none() {
        let bench = bench(None);
        bench.timer.start(&bench.threads).unwrap();
        let task = Arc::new(Told {
            name: "late",
            told: bench.told.clone(),
            again: Mutex::new(0),
        });
        let at = Instant::now() + SOON;
        let scheduled = bench.timer.schedule(&bench.threads, at, task.clone());
        assert!(scheduled.is_ok() && Arc::strong_count(&task) == 2);
        bench.stop();
        assert_eq!(Arc::strong_count(&task), 1);
        let scheduled = bench.timer.schedule(&bench.threads, at, task.clone());
        assert!(scheduled.is_err() && Arc::strong_count(&task) == 1);
    }
}
