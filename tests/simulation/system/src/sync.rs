//! Locks, waits, threads and the clock, as std's.

use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hasher};
use std::ops::{Add, AddAssign, Deref, DerefMut, Sub};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
use std::time::Duration;

use crate::world::{self, step};

pub use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub type HashMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<DefaultHasher>>;
pub type HashSet<T> = std::collections::HashSet<T, BuildHasherDefault<DefaultHasher>>;

pub use self::thread::{JoinHandle, ThreadId, yield_now};
pub use crate::channel::{Iter, Receiver, Sender, bounded, never, unbounded};
pub use crate::simulated_select as select;
pub use crate::simulated_thread_local as thread_local;
pub use crate::system::TcpStream;
pub use crate::world::next_number;

pub fn process_id() -> u32 {
    world::who().1 as u32
}

/// Draws its keys from the dice of the run.
pub struct RandomState(u64);

impl RandomState {
    #[allow(clippy::new_without_default)]
    pub fn new() -> RandomState {
        RandomState(world::below(u64::MAX))
    }
}

impl BuildHasher for RandomState {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

// The clock

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    pub fn now() -> Instant {
        Instant(Duration::from_nanos(world::now()))
    }

    pub fn elapsed(self) -> Duration {
        Instant::now().duration_since(self)
    }

    pub fn duration_since(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub fn saturating_duration_since(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }

    pub fn checked_duration_since(self, earlier: Instant) -> Option<Duration> {
        self.0.checked_sub(earlier.0)
    }

    pub fn checked_add(self, time: Duration) -> Option<Instant> {
        self.0.checked_add(time).map(Instant)
    }

    pub fn checked_sub(self, time: Duration) -> Option<Instant> {
        self.0.checked_sub(time).map(Instant)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, time: Duration) -> Instant {
        Instant(self.0 + time)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, time: Duration) {
        self.0 += time;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, time: Duration) -> Instant {
        Instant(self.0 - time)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }
}

// Locks

#[derive(Default)]
pub struct Mutex<T: ?Sized> {
    is_held: AtomicBool,
    waiting: AtomicUsize,
    value: std::sync::Mutex<T>,
}

pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    guard: Option<std::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Mutex<T> {
        Mutex {
            is_held: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            value: std::sync::Mutex::new(value),
        }
    }

    pub fn into_inner(self) -> LockResult<T> {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    fn key(&self) -> usize {
        std::ptr::from_ref(&self.is_held).addr()
    }

    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        step();
        self.lock_at_once()
    }

    fn lock_at_once(&self) -> LockResult<MutexGuard<'_, T>> {
        while self.is_held.swap(true, Ordering::Relaxed) {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            world::wait(&[self.key()], None, "a lock");
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        let guard = |guard| MutexGuard {
            mutex: self,
            guard: Some(guard),
        };
        match self.value.try_lock() {
            Ok(own) => Ok(guard(own)),
            Err(TryLockError::Poisoned(own)) => Err(PoisonError::new(guard(own.into_inner()))),
            Err(TryLockError::WouldBlock) => unreachable!("held by one at a time"),
        }
    }

    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        step();
        match self.is_held.load(Ordering::Relaxed) {
            true => Err(TryLockError::WouldBlock),
            false => self.lock_at_once().map_err(TryLockError::Poisoned),
        }
    }

    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.value.get_mut()
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.guard = None;
        self.mutex.is_held.store(false, Ordering::Relaxed);
        if self.mutex.waiting.load(Ordering::Relaxed) > 0 && world::is_inside() {
            world::wake_one(self.mutex.key());
        }
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect("held")
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect("held")
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

#[derive(Debug, Default)]
pub struct Condvar {
    /// Its address is what is waited for.
    key: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub fn timed_out(self) -> bool {
        self.0
    }
}

impl Condvar {
    pub const fn new() -> Condvar {
        Condvar { key: 0 }
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(&self.key).addr()
    }

    fn wait_until<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<world::Time>,
    ) -> (LockResult<MutexGuard<'a, T>>, bool) {
        let mutex = guard.mutex;
        drop(guard);
        // A condition variable may wake for nothing.
        let deadline = match world::one_in(200) {
            true => Some(world::now()),
            false => deadline,
        };
        let is_woken = world::wait(&[self.key()], deadline, "a condition variable");
        (mutex.lock_at_once(), !is_woken)
    }

    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.wait_until(guard, None).0
    }

    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        time: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let deadline = world::now() + world::nanos(time);
        match self.wait_until(guard, Some(deadline)) {
            (Ok(guard), is_late) => Ok((guard, WaitTimeoutResult(is_late))),
            (Err(poisoned), is_late) => Err(PoisonError::new((
                poisoned.into_inner(),
                WaitTimeoutResult(is_late),
            ))),
        }
    }

    pub fn notify_one(&self) {
        if world::is_inside() {
            world::wake_one(self.key());
            step();
        }
    }

    pub fn notify_all(&self) {
        if world::is_inside() {
            world::wake_all(self.key());
            step();
        }
    }
}

/// Set once, by whoever comes first; the others wait.
pub struct OnceLock<T> {
    turn: Mutex<()>,
    value: std::sync::OnceLock<T>,
}

impl<T> Default for OnceLock<T> {
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

impl<T> OnceLock<T> {
    pub const fn new() -> OnceLock<T> {
        OnceLock {
            turn: Mutex::new(()),
            value: std::sync::OnceLock::new(),
        }
    }

    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    pub fn set(&self, value: T) -> Result<(), T> {
        let _turn = self.turn.lock();
        self.value.set(value)
    }

    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let _turn = self.turn.lock();
        if self.value.get().is_none() {
            let _ = self.value.set(make());
        }
        self.value.get().expect("just set")
    }

    pub fn take(&mut self) -> Option<T> {
        self.value.take()
    }

    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

// Threads

pub mod thread {
    //! As `std::thread`.

    use std::io;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use crate::world;

    pub use std::thread::{Result, panicking};

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct ThreadId(usize);

    #[derive(Clone, Debug)]
    pub struct Thread(ThreadId);

    impl Thread {
        pub fn id(&self) -> ThreadId {
            self.0
        }
    }

    pub fn current() -> Thread {
        Thread(ThreadId(world::who().0))
    }

    pub fn sleep(time: Duration) {
        world::sleep(time);
    }

    pub fn yield_now() {
        world::give_way();
    }

    #[derive(Default)]
    pub struct Builder {
        name: Option<String>,
    }

    impl Builder {
        pub fn new() -> Builder {
            Builder::default()
        }

        pub fn name(self, name: String) -> Builder {
            Builder { name: Some(name) }
        }

        pub fn spawn<T: Send + 'static>(
            self,
            work: impl FnOnce() -> T + Send + 'static,
        ) -> io::Result<JoinHandle<T>> {
            let name = self.name.unwrap_or_else(|| "unnamed".to_owned());
            let result = Arc::<Mutex<Option<Result<T>>>>::default();
            let own = Arc::clone(&result);
            let run = move || {
                let done = catch_unwind(AssertUnwindSafe(work));
                *own.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
            };
            let id = world::spawn(name, Box::new(run));
            let id = id.ok_or_else(|| io::Error::from(io::ErrorKind::WouldBlock))?;
            Ok(JoinHandle { id, result })
        }
    }

    pub fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        Builder::new().spawn(work).expect("a thread")
    }

    pub struct JoinHandle<T> {
        id: usize,
        result: Arc<Mutex<Option<Result<T>>>>,
    }

    impl<T> JoinHandle<T> {
        pub fn is_finished(&self) -> bool {
            self.result
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_some()
        }

        pub fn join(self) -> Result<T> {
            world::step();
            let end = world::with(|inner, _| inner.threads[self.id].end);
            while !world::with(|inner, _| inner.is_done(self.id)) {
                world::wait(&[end], None, "a join");
            }
            let result = self
                .result
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            result.expect("a thread that has ended")
        }
    }
}
