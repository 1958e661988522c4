//! Locks, atomics and channels that let the checker choose who goes next, and a clock of its own.
//!
//! A wait of up to [`SHORT`] is over whether or not anyone woke it: such waits are part of how the
//! library works. Longer ones are only there for what may go wrong. In half of all runs they are
//! never over by themselves, so that nobody is woken late by one who should have been woken in time.
//! In the other half each may be over at any moment. A timer's wait for its next task is always over
//! when that is due.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::{Add, Deref, DerefMut};
use std::sync::{Arc, LockResult};
use std::time::Duration;

use crossbeam_channel::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync as checked;

pub use std::collections::HashMap;

pub use shuttle::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
pub use shuttle::thread::yield_now;
pub use shuttle::thread_local;

pub use crate::net::os::socket::TcpStream;

const SHORT: Duration = Duration::from_millis(20);

/// One in so many.
pub fn one_in(n: u32) -> bool {
    thread_rng().gen_range(0..n) == 0
}

pub fn up_to(n: usize) -> usize {
    thread_rng().gen_range(0..=n)
}

/// Lets others run for a while.
pub fn dawdle() {
    for _ in 0..up_to(4) {
        yield_now();
    }
}

// The clock

// A run has a thread of the system for itself.
std::thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static LONG_WAITS_END: Cell<bool> = const { Cell::new(false) };
}

shuttle::thread_local! {
    static IS_TIMER: Cell<bool> = Cell::new(false);
}

/// The current thread runs tasks when they are due.
pub fn be_a_timer() {
    IS_TIMER.with(|is| is.set(true));
}

/// A new run.
pub fn begin() {
    NOW.set(Duration::ZERO);
    LONG_WAITS_END.set(one_in(2));
    crate::net::burst::end();
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    pub fn now() -> Instant {
        let steps = [0, 0, 1, 20].map(Duration::from_micros);
        NOW.set(NOW.get() + steps[up_to(3)]);
        Instant(NOW.get())
    }

    pub fn duration_since(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub fn saturating_duration_since(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, time: Duration) -> Instant {
        Instant(self.0 + time)
    }
}

impl std::ops::Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }
}

// Locks

#[derive(Default)]
pub struct Mutex<T>(checked::Mutex<T>);

pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    guard: checked::MutexGuard<'a, T>,
}

impl<T> Mutex<T> {
    pub fn new(value: T) -> Mutex<T> {
        Mutex(checked::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        let guard = self.0.lock().expect("nobody panics under a lock");
        MutexGuard { mutex: self, guard }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[derive(Default)]
pub struct Condvar(checked::Condvar);

pub struct TimedOut(bool);

impl TimedOut {
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    pub fn new() -> Condvar {
        Condvar::default()
    }

    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let MutexGuard { mutex, guard } = guard;
        let guard = self.0.wait(guard).expect("nobody panics under a lock");
        Ok(MutexGuard { mutex, guard })
    }

    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        time: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, TimedOut)> {
        let ends = time <= SHORT || IS_TIMER.try_with(Cell::get).unwrap_or(false);
        if ends || (LONG_WAITS_END.get() && one_in(2)) {
            let mutex = guard.mutex;
            drop(guard);
            dawdle();
            NOW.set(NOW.get() + time);
            return Ok((mutex.lock(), TimedOut(true)));
        }
        Ok((self.wait(guard).expect("no poison"), TimedOut(false)))
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Set once, by whoever comes first; the others wait.
pub struct OnceLock<T> {
    turn: checked::Mutex<()>,
    value: std::sync::OnceLock<T>,
}

impl<T> Default for OnceLock<T> {
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

impl<T> OnceLock<T> {
    pub fn new() -> OnceLock<T> {
        OnceLock {
            turn: checked::Mutex::new(()),
            value: std::sync::OnceLock::new(),
        }
    }

    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    pub fn set(&self, value: T) -> Result<(), T> {
        let _turn = self.turn.lock().expect("nobody panics under a lock");
        self.value.set(value)
    }

    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let _turn = self.turn.lock().expect("nobody panics under a lock");
        if self.value.get().is_none() {
            let _ = self.value.set(make());
        }
        self.value.get().expect("just set")
    }

    pub fn take(&mut self) -> Option<T> {
        self.value.take()
    }
}

// Channels, as crossbeam's

struct Channel<T> {
    state: checked::Mutex<State<T>>,
    changed: checked::Condvar,
    capacity: usize,
}

struct State<T> {
    items: VecDeque<T>,
    sender: bool,
    receivers: usize,
}

pub struct Sender<T>(Arc<Channel<T>>);

pub struct Receiver<T>(Arc<Channel<T>>);

pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel {
        state: checked::Mutex::new(State {
            items: VecDeque::new(),
            sender: true,
            receivers: 1,
        }),
        changed: checked::Condvar::new(),
        capacity,
    });
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    bounded(usize::MAX)
}

impl<T> Channel<T> {
    fn state(&self) -> checked::MutexGuard<'_, State<T>> {
        self.state.lock().expect("nobody panics under a lock")
    }
}

impl<T> Sender<T> {
    pub fn len(&self) -> usize {
        self.0.state().items.len()
    }

    pub fn capacity(&self) -> Option<usize> {
        Some(self.0.capacity)
    }

    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        let mut state = self.0.state();
        if state.receivers == 0 {
            return Err(TrySendError::Disconnected(item));
        }
        if state.items.len() == self.0.capacity {
            return Err(TrySendError::Full(item));
        }
        state.items.push_back(item);
        drop(state);
        self.0.changed.notify_all();
        Ok(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.state().sender = false;
        self.0.changed.notify_all();
    }
}

impl<T> Receiver<T> {
    pub fn len(&self) -> usize {
        self.0.state().items.len()
    }

    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut state = self.0.state();
        match state.items.pop_front() {
            Some(item) => Ok(item),
            None if state.sender => Err(TryRecvError::Empty),
            None => Err(TryRecvError::Disconnected),
        }
    }

    pub fn recv(&self) -> Result<T, RecvError> {
        let mut state = self.0.state();
        loop {
            match state.items.pop_front() {
                Some(item) => return Ok(item),
                None if state.sender => state = self.0.changed.wait(state).expect("no poison"),
                None => return Err(RecvError),
            }
        }
    }

    pub fn recv_timeout(&self, time: Duration) -> Result<T, RecvTimeoutError> {
        dawdle();
        self.try_recv().map_err(|error| match error {
            TryRecvError::Empty => {
                NOW.set(NOW.get() + time);
                RecvTimeoutError::Timeout
            }
            TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
        })
    }

    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_timeout(deadline.duration_since(Instant::now()))
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        self.0.state().receivers += 1;
        Receiver(Arc::clone(&self.0))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.state().receivers -= 1;
    }
}

/// Sends, unless the other channel ends first: `None`.
pub fn send_or<T, K>(
    sender: &Sender<T>,
    mut item: T,
    other: &Receiver<K>,
) -> Result<Result<(), SendError<T>>, T> {
    loop {
        if one_in(2) && matches!(other.try_recv(), Err(TryRecvError::Disconnected)) {
            return Err(item);
        }
        item = match sender.try_send(item) {
            Ok(()) => return Ok(Ok(())),
            Err(TrySendError::Disconnected(item)) => return Ok(Err(SendError(item))),
            Err(TrySendError::Full(item)) => item,
        };
        yield_now();
    }
}

macro_rules! select {
    (send($sender:expr, $item:ident) -> $sent:ident => $then:block recv($other:expr) -> _ => $else:expr $(,)?) => {
        match $crate::net::os::sync::send_or(&$sender, $item, &$other) {
            Ok($sent) => $then
            Err(back) => {
                let $item = back;
                $else
            }
        }
    };
}
pub(crate) use select;
