//! The scheduler. Each simulated thread is a thread of the system, and one of them runs at a time: at each
//! lock, wait and call of a socket it may hand over to another, chosen by the dice of the run. Time is a
//! number. It goes on a little with each such step, and jumps to the next thing that is due when all wait.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::dice::Dice;
use crate::net::{Event, Net};
use crate::pool::{self, Go};

pub type Time = u64;

/// Times are in nanoseconds.
pub const MICRO: Time = 1_000;
pub const MILLI: Time = 1_000_000;
pub const SECOND: Time = 1_000_000_000;

/// A run that takes more steps than this does not end.
const STEPS_MAX: u64 = 3_000_000;

/// Nor does one that takes so long.
const TIME_MAX: Time = 6 * 3600 * SECOND;

pub struct World {
    inner: Mutex<Inner>,
    /// Woken when the run is over.
    pub over: Go,
}

pub struct Inner {
    pub now: Time,
    pub dice: Dice,
    /// One switch in so many steps.
    switch: u64,
    /// One long pause in so many steps; 0: none.
    stall: u64,
    pub threads: Vec<Thread>,
    current: usize,
    ready: Vec<usize>,
    pub processes: Vec<Process>,
    pub events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    event_count: u64,
    pub net: Net,
    steps: u64,
    trace: Trace,
    pub failure: Option<String>,
    is_over: bool,
}

pub struct Thread {
    pub name: String,
    pub process: usize,
    state: State,
    go: Go,
    /// For those who wait for its end.
    pub end: usize,
}

#[derive(Debug)]
enum State {
    Ready,
    Waits {
        keys: Vec<usize>,
        deadline: Option<Time>,
        at: &'static str,
        /// Woken by the deadline.
        is_late: bool,
    },
    Done,
    /// Its process was killed: it never runs again.
    Killed,
}

pub struct Process {
    pub name: String,
    pub host: usize,
    pub is_killed: bool,
    pub threads: usize,
    pub threads_max: usize,
    pub fds: usize,
    pub fds_max: usize,
    numbers: u64,
}

/// What happens, as a hash, and as text if that is asked for.
pub struct Trace {
    pub hash: u64,
    pub text: Option<String>,
}

impl Trace {
    pub fn add(&mut self, now: Time, thread: &str, line: &std::fmt::Arguments<'_>) {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{:>14.6} {thread:<14} {line}",
            now as f64 / SECOND as f64
        );
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if let Some(all) = &mut self.text {
            all.push_str(&text);
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<(Arc<World>, usize)>> = const { RefCell::new(None) };
}

/// Sets whom this thread of the system stands for.
pub(crate) fn set_current(current: Option<(Arc<World>, usize)>) {
    CURRENT.set(current);
}

pub fn is_inside() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

/// What a run came to.
pub struct Report {
    pub seed: u64,
    pub failure: Option<String>,
    pub hash: u64,
    pub text: Option<String>,
    pub steps: u64,
    pub time: Duration,
    /// Threads of the system that are lost to it: those that wait in it for ever.
    pub lost: usize,
}

/// Runs a program from its seed.
pub fn run(seed: u64, has_text: bool, program: impl FnOnce() + Send + 'static) -> Report {
    let mut dice = Dice::new(seed);
    let switch = *dice.pick(&[2, 3, 5, 10, 30]);
    let stall = *dice.pick(&[0, 0, 300, 2000]);
    let world = Arc::new(World {
        inner: Mutex::new(Inner {
            now: SECOND,
            switch,
            stall,
            threads: Vec::new(),
            current: 0,
            ready: Vec::new(),
            processes: Vec::new(),
            events: BinaryHeap::new(),
            event_count: 0,
            net: Net::new(&mut dice),
            dice,
            steps: 0,
            trace: Trace {
                hash: 0xcbf2_9ce4_8422_2325,
                text: has_text.then(String::new),
            },
            failure: None,
            is_over: false,
        }),
        over: Go::new(),
    });
    {
        let mut inner = world.lock();
        inner.processes.push(Process::new("referee".to_owned(), 0));
        drop(inner);
        let id = world.add_thread("referee".to_owned(), 0, Box::new(program));
        let mut inner = world.lock();
        inner.ready.retain(|ready| *ready != id);
        inner.current = id;
        let go = inner.threads[id].go.clone();
        drop(inner);
        go.set();
    }
    world.over.wait();
    let mut inner = world.lock();
    let lost = inner.threads.iter();
    let lost = lost
        .filter(|thread| !matches!(thread.state, State::Done))
        .count();
    Report {
        seed,
        failure: inner.failure.take(),
        hash: inner.trace.hash,
        text: inner.trace.text.take(),
        steps: inner.steps,
        time: Duration::from_nanos(inner.now),
        lost,
    }
}

impl Process {
    fn new(name: String, host: usize) -> Process {
        Process {
            name,
            host,
            is_killed: false,
            threads: 0,
            threads_max: usize::MAX,
            fds: 0,
            fds_max: 1024,
            numbers: 0,
        }
    }
}

impl World {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new thread, which is ready.
    fn add_thread(
        self: &Arc<World>,
        name: String,
        process: usize,
        work: Box<dyn FnOnce() + Send>,
    ) -> usize {
        let mut inner = self.lock();
        let id = inner.threads.len();
        let go = pool::assign(Arc::clone(self), id, work);
        inner.processes[process].threads += 1;
        inner.threads.push(Thread {
            name,
            process,
            state: State::Ready,
            go,
            end: fresh_key(),
        });
        inner.ready.push(id);
        id
    }
}

/// A number that no address has: for waits for what has no address of its own.
pub fn fresh_key() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    NEXT.fetch_add(2, Ordering::Relaxed) | 1
}

fn current() -> (Arc<World>, usize) {
    let current = CURRENT.with_borrow(Clone::clone);
    current.expect("a call outside of a run")
}

/// Calls `f` with the state of the run and the number of this thread, without a step.
pub fn with<T>(f: impl FnOnce(&mut Inner, usize) -> T) -> T {
    CURRENT.with_borrow(|current| {
        let (world, me) = current.as_ref().expect("a call outside of a run");
        f(&mut world.lock(), *me)
    })
}

/// A line of the trace, which is part of what a seed must give again.
pub fn note(line: std::fmt::Arguments<'_>) {
    if is_inside() {
        with(|inner, me| inner.note(me, line));
    }
}

/// A step: others may run meanwhile.
pub fn step() {
    if !is_inside() {
        return;
    }
    hand_over(|inner, me| {
        inner.tick();
        if inner.stall > 0 && inner.dice.one_in(inner.stall) {
            let pause = inner.dice.between(10 * MICRO, 5 * MILLI);
            let deadline = Some(inner.now + pause);
            inner.wait(me, Vec::new(), deadline, "a stall");
        } else if inner.dice.one_in(inner.switch) {
            inner.ready.push(me);
        } else {
            return false;
        }
        true
    });
}

/// Others run first, if there are any.
pub fn give_way() {
    if !is_inside() {
        return std::thread::yield_now();
    }
    hand_over(|inner, me| {
        inner.tick();
        let others = !inner.ready.is_empty();
        if others {
            // Not this one, so that a thread that looks again and again lets others go on.
            let next = inner.take_ready();
            inner.ready.push(me);
            inner.current = next;
        } else {
            inner.now += MICRO;
            inner.deliver();
        }
        others
    });
}

/// Waits until one of the keys is woken, or until the deadline: `false`.
pub fn wait(keys: &[usize], deadline: Option<Time>, at: &'static str) -> bool {
    !hand_over(|inner, me| {
        // What happens in this step may be what is waited for.
        inner.wait(me, keys.to_vec(), deadline, at);
        inner.tick();
        true
    })
}

pub fn wake_all(key: usize) {
    with(|inner, _| inner.wake_all(key));
}

/// Wakes one that waits for this key, whichever.
pub fn wake_one(key: usize) {
    with(|inner, _| inner.wake_one(key));
}

/// Runs `before`, which says whether this thread lets go; and returns when it is its turn again. `true`: a
/// deadline has woken it.
fn hand_over(before: impl FnOnce(&mut Inner, usize) -> bool) -> bool {
    let (world, me) = current();
    let mut inner = world.lock();
    if inner.is_over {
        drop(inner);
        // Nobody runs any more.
        loop {
            std::thread::park();
        }
    }
    inner.current = usize::MAX;
    if !before(&mut inner, me) {
        inner.current = me;
        return false;
    }
    if inner.current == usize::MAX {
        match inner.choose() {
            Some(next) => inner.current = next,
            None => {
                inner.is_over = true;
                drop(inner);
                world.over.set();
                loop {
                    std::thread::park();
                }
            }
        }
    }
    let next = inner.current;
    if next == me {
        return inner.threads[me].restart();
    }
    let own = inner.threads[me].go.clone();
    let go = inner.threads[next].go.clone();
    drop(inner);
    go.set();
    own.wait();
    world.lock().threads[me].restart()
}

/// The current thread has done its work. `true`: and so is the run.
pub(crate) fn finish(world: &Arc<World>, me: usize, panicked: Option<String>) {
    let mut inner = world.lock();
    let name = inner.threads[me].name.clone();
    if let Some(panic) = panicked {
        inner.fail(format!("thread {name} panicked: {panic}"));
    }
    let process = inner.threads[me].process;
    inner.processes[process].threads -= 1;
    inner.threads[me].state = State::Done;
    let end = inner.threads[me].end;
    inner.wake_all(end);
    // The referee is the first thread, and the run ends with it.
    let is_over = me == 0 || inner.failure.is_some();
    let next = if is_over { None } else { inner.choose() };
    match next {
        Some(next) => {
            inner.current = next;
            let go = inner.threads[next].go.clone();
            drop(inner);
            go.set();
        }
        None => {
            inner.is_over = true;
            drop(inner);
            world.over.set();
        }
    }
}

impl Thread {
    /// Its turn has come. `true`: by a deadline.
    fn restart(&mut self) -> bool {
        let state = std::mem::replace(&mut self.state, State::Ready);
        matches!(state, State::Waits { is_late: true, .. })
    }
}

impl Inner {
    pub fn note(&mut self, me: usize, line: std::fmt::Arguments<'_>) {
        let name = self.threads.get(me).map_or("", |thread| &thread.name);
        self.trace.add(self.now, name, &line);
    }

    pub fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    /// A little time passes.
    fn tick(&mut self) {
        self.steps += 1;
        self.trace.hash = (self.trace.hash ^ self.now).wrapping_mul(0x0000_0100_0000_01b3);
        self.now += 100 + self.dice.below(400);
        self.deliver();
        if self.steps > STEPS_MAX || self.now > TIME_MAX {
            let (steps, now) = (self.steps, self.now / SECOND);
            let threads = self.list_threads();
            self.fail(format!(
                "no end after {steps} steps and {now} s:\n{threads}"
            ));
        }
    }

    /// Does what is due.
    fn deliver(&mut self) {
        while let Some(Reverse((at, ..))) = self.events.peek() {
            if *at > self.now {
                break;
            }
            let Some(Reverse((_, _, event))) = self.events.pop() else {
                break;
            };
            self.happen(event);
        }
    }

    pub fn schedule(&mut self, at: Time, event: Event) {
        self.event_count += 1;
        self.events.push(Reverse((at, self.event_count, event)));
    }

    fn wait(&mut self, me: usize, keys: Vec<usize>, deadline: Option<Time>, at: &'static str) {
        self.threads[me].state = State::Waits {
            keys,
            deadline,
            at,
            is_late: false,
        };
    }

    pub fn wake_all(&mut self, key: usize) {
        for id in 0..self.threads.len() {
            if self.waits_for(id, key) {
                self.make_ready(id);
            }
        }
    }

    pub fn wake_one(&mut self, key: usize) {
        let waiting = (0..self.threads.len()).filter(|&id| self.waits_for(id, key));
        let waiting: Vec<usize> = waiting.collect();
        if !waiting.is_empty() {
            let id = *self.dice.pick(&waiting);
            self.make_ready(id);
        }
    }

    fn waits_for(&self, id: usize, key: usize) -> bool {
        match &self.threads[id].state {
            State::Waits { keys, is_late, .. } => !is_late && keys.contains(&key),
            _ => false,
        }
    }

    fn make_ready(&mut self, id: usize) {
        self.threads[id].state = State::Ready;
        self.ready.push(id);
    }

    fn take_ready(&mut self) -> usize {
        let index = self.dice.below(self.ready.len() as u64) as usize;
        self.ready.swap_remove(index)
    }

    /// Who runs next; `None`: the run is over.
    fn choose(&mut self) -> Option<usize> {
        loop {
            if self.failure.is_some() {
                return None;
            }
            self.wake_late();
            if !self.ready.is_empty() {
                return Some(self.take_ready());
            }
            let deadlines = self.threads.iter().filter_map(|thread| match thread.state {
                State::Waits {
                    deadline, is_late, ..
                } if !is_late => deadline,
                _ => None,
            });
            let event = self.events.peek().map(|Reverse((at, ..))| *at);
            let Some(next) = deadlines.chain(event).min().filter(|&at| at < TIME_MAX) else {
                let threads = self.list_threads();
                self.fail(format!("all threads wait for ever:\n{threads}"));
                return None;
            };
            self.now = self.now.max(next);
            self.deliver();
        }
    }

    fn wake_late(&mut self) {
        for (id, thread) in self.threads.iter_mut().enumerate() {
            match &mut thread.state {
                State::Waits {
                    deadline: Some(deadline),
                    is_late,
                    ..
                } if !*is_late && *deadline <= self.now => {
                    *is_late = true;
                    self.ready.push(id);
                }
                _ => {}
            }
        }
    }

    pub fn list_threads(&self) -> String {
        let mut list = String::new();
        for thread in &self.threads {
            let process = &self.processes[thread.process].name;
            match &thread.state {
                State::Done | State::Killed => {}
                State::Ready => _ = writeln!(list, "  {process}/{}: runs", thread.name),
                State::Waits { at, deadline, .. } => {
                    let until = deadline.map_or("for ever".to_owned(), |at| {
                        format!("until {:.6}", at as f64 / SECOND as f64)
                    });
                    _ = writeln!(list, "  {process}/{}: waits in {at}, {until}", thread.name);
                }
            }
        }
        list
    }

    /// The threads of a process that are not over, by name.
    pub fn threads_of(&self, process: usize) -> Vec<String> {
        let threads = self.threads.iter();
        let own = threads.filter(|thread| thread.process == process);
        let alive = own.filter(|thread| !matches!(thread.state, State::Done | State::Killed));
        alive.map(|thread| thread.name.clone()).collect()
    }

    fn is_gone(&self, id: usize) -> bool {
        matches!(self.threads[id].state, State::Done | State::Killed)
    }

    pub fn is_done(&self, id: usize) -> bool {
        matches!(self.threads[id].state, State::Done)
    }

    pub fn process_of(&self, me: usize) -> usize {
        self.threads[me].process
    }

    /// Stops every thread of a process where it is.
    pub fn kill_threads(&mut self, process: usize) {
        self.processes[process].is_killed = true;
        for id in 0..self.threads.len() {
            let thread = &mut self.threads[id];
            if thread.process == process && !matches!(thread.state, State::Done) {
                thread.state = State::Killed;
                let end = thread.end;
                self.ready.retain(|ready| *ready != id);
                self.wake_all(end);
            }
        }
    }
}

/// The number of this thread, and of its process.
pub fn who() -> (usize, usize) {
    with(|inner, me| (me, inner.threads[me].process))
}

/// A number that no one else in the process has.
pub fn next_number() -> u64 {
    with(|inner, me| {
        let process = inner.process_of(me);
        let numbers = &mut inner.processes[process].numbers;
        *numbers += 1;
        *numbers
    })
}

/// Starts a thread of this process. `None`: it has as many as it may have.
pub fn spawn(name: String, work: Box<dyn FnOnce() + Send>) -> Option<usize> {
    step();
    let (world, me) = current();
    let process = {
        let inner = world.lock();
        let process = inner.process_of(me);
        let of = &inner.processes[process];
        if of.threads >= of.threads_max {
            return None;
        }
        process
    };
    let id = world.add_thread(name, process, work);
    step();
    Some(id)
}

/// A process on a host, without threads.
pub fn new_process(name: &str, host: usize) -> usize {
    with(|inner, _| {
        inner.processes.push(Process::new(name.to_owned(), host));
        inner.processes.len() - 1
    })
}

/// Starts a thread in a process: its number.
pub fn spawn_in(process: usize, name: &str, work: Box<dyn FnOnce() + Send>) -> usize {
    current().0.add_thread(name.to_owned(), process, work)
}

/// Starts a process on a host: its number, and that of its first thread.
pub fn spawn_process(
    name: &str,
    host: usize,
    work: impl FnOnce() + Send + 'static,
) -> (usize, usize) {
    let process = new_process(name, host);
    (process, spawn_in(process, name, Box::new(work)))
}

/// Waits until a thread has ended, or was killed.
pub fn join(id: usize) {
    step();
    let end = with(|inner, _| inner.threads[id].end);
    while !with(|inner, _| inner.is_gone(id)) {
        wait(&[end], None, "a join");
    }
}

/// Ends a process at once, as `kill -9` does: none of its threads goes on, and its host closes its sockets.
pub fn kill(process: usize) {
    with(|inner, me| {
        assert_ne!(
            inner.process_of(me),
            process,
            "a process does not kill itself"
        );
        inner.note(me, format_args!("kills process {process}"));
        inner.kill_threads(process);
        inner.close_all_of(process);
    });
}

/// Ends the process of this thread as `exit` does: the thread's own thread-locals are destroyed, and then none
/// of the process's threads goes on.
pub fn exit() -> ! {
    crate::local::end_thread();
    hand_over(|inner, me| {
        let process = inner.process_of(me);
        inner.note(me, format_args!("exits"));
        inner.kill_threads(process);
        inner.close_all_of(process);
        true
    });
    unreachable!("a thread that has ended")
}

pub fn now() -> Time {
    with(|inner, _| {
        inner.now += 30;
        inner.now
    })
}

/// A number from the dice of the run, below `n`.
pub fn below(n: u64) -> u64 {
    with(|inner, _| inner.dice.below(n))
}

pub fn one_in(n: u64) -> bool {
    below(n) == 0
}

/// As many nanoseconds as a run can count.
pub fn nanos(time: Duration) -> Time {
    u64::try_from(time.as_nanos())
        .unwrap_or(u64::MAX / 4)
        .min(u64::MAX / 4)
}

pub fn sleep(time: Duration) {
    let deadline = with(|inner, _| inner.now + nanos(time));
    wait(&[], Some(deadline), "sleep");
}
