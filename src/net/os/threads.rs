//! The threads of one peer: each is known from its start to its end, so that `stop` can wait for all.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
#[cfg(test)]
use std::net::SocketAddrV4;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use super::lock;

/// What a thread of many tasks does for one of them: a panic there ends nothing but the task.
pub(crate) fn unless_it_panics<T>(run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => Some(value),
        Err(panic) => {
            // It is the program's, and may panic in its drop. What that panics with is not dropped.
            if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
                std::mem::forget(again);
            }
            None
        }
    }
}

/// A group of threads. A call of the program can count as a thread while it lasts.
///
/// A thread goes through three states: it works (`running`), it has done its work and runs the
/// destructors of the program's thread-locals (`leaving`), it is gone. [`Threads::wait`] waits for
/// the end of the first, [`Threads::join`] for the end of the second.
pub(crate) struct Threads {
    /// Never held while a thread is started, which can take long and can fail.
    state: Mutex<State>,
    /// Signalled when a thread of the group has done its work, or a call is over.
    ended: Condvar,
    /// The address for which tests refuse threads.
    #[cfg(test)]
    peer: SocketAddrV4,
}

#[derive(Default)]
struct State {
    /// Threads by number, from before their start to the end of their work. `None` while a thread is
    /// being started: its handle is not known yet, though it may work already.
    running: HashMap<u64, Option<JoinHandle<()>>>,
    started: u64,
    /// Calls of [`Threads::wait`]: without one, nobody is told of an end.
    waiting: usize,
    /// Calls of the program that are to be over before [`Threads::wait`] returns.
    held: usize,
    /// `stop` has begun: no further call is held, and each thread that ends is kept to be joined.
    closed: bool,
    /// Threads that have done their work and may still be on their way out. While the group is
    /// open it holds only the last one: a handle that is dropped earlier lets the system free the
    /// thread by itself.
    leaving: Vec<JoinHandle<()>>,
}

thread_local! {
    /// The address of the group for which the current thread works. It is compared and never
    /// followed, and so may outlive the group.
    static WORKS_FOR: Cell<*const ()> = const { Cell::new(std::ptr::null()) };
}

impl Threads {
    pub fn new(#[cfg(test)] peer: SocketAddrV4) -> Arc<Threads> {
        Arc::new(Threads {
            state: Mutex::default(),
            ended: Condvar::new(),
            #[cfg(test)]
            peer,
        })
    }

    /// Starts a thread of the group. Its name should have at most 15 bytes, where Linux cuts it.
    pub fn spawn(
        self: &Arc<Threads>,
        name: String,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        #[cfg(test)]
        crate::net::faults::before_thread(self.peer, &name)?;
        let number = {
            let mut state = lock(&self.state);
            state.started += 1;
            let number = state.started;
            state.running.insert(number, None);
            number
        };
        // Owned by the closure. So it marks the end of the work, and also a thread that cannot be
        // started, since the system then drops the closure.
        let ended = Ended {
            group: Arc::clone(self),
            number,
        };
        let handle = std::thread::Builder::new().name(name).spawn(move || {
            WORKS_FOR.set(Arc::as_ptr(&ended.group).cast());
            let _ended = ended;
            work();
        })?;
        let mut state = lock(&self.state);
        match state.running.get_mut(&number) {
            Some(running) => *running = Some(handle),
            // The thread has done its work before its handle was known.
            None => drop(state.keep(handle)),
        }
        Ok(())
    }

    /// Starts a thread that waits for its work. So a thread is known to be had before anything is
    /// promised that needs it.
    pub fn spawn_waiting(self: &Arc<Threads>, name: String) -> io::Result<Waiting> {
        let shared = Arc::new((Mutex::new(Work::Awaited), Condvar::new()));
        let own = Arc::clone(&shared);
        self.spawn(name, move || {
            if let Some(work) = wait_for_work(own) {
                work();
            }
        })?;
        Ok(Waiting { shared })
    }

    /// Counts a call as a thread until the guard is dropped. `None`: the group was closed.
    pub fn hold(self: &Arc<Threads>) -> Option<Held> {
        let mut state = lock(&self.state);
        if state.closed {
            return None;
        }
        state.held += 1;
        Some(Held(Arc::clone(self)))
    }

    /// From now on no call is held. Threads can still be started, since connections that end may need
    /// a writer.
    pub fn close(&self) {
        lock(&self.state).closed = true;
    }

    /// Is the current thread one of the group? Such a thread cannot wait for the group's end.
    pub fn is_own(&self) -> bool {
        WORKS_FOR.get() == (self as *const Threads).cast()
    }

    /// Waits until no thread works any more and no call is held. `false`: not before the deadline.
    pub fn wait(&self, deadline: Instant) -> bool {
        let mut state = lock(&self.state);
        while !state.running.is_empty() || state.held > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state.waiting += 1;
            state = match self.ended.wait_timeout(state, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
            state.waiting -= 1;
        }
        true
    }

    /// Waits until the threads that have done their work are gone from the system. What they still
    /// run is the program's: the destructors of its thread-locals. `false`: not before the deadline.
    pub fn join(&self, deadline: Instant) -> bool {
        let leaving = std::mem::take(&mut lock(&self.state).leaving);
        if leaving.is_empty() {
            return true;
        }
        let (done, joined) = crossbeam_channel::bounded(1);
        // A join has no deadline. So a thread of its own joins them, and this one waits for that
        // with a deadline.
        let joiner = std::thread::Builder::new().name("lanpeer-join".to_owned());
        let joiner = joiner.spawn(move || {
            for thread in leaving {
                let _ = thread.join();
            }
            let _ = done.send(());
        });
        match joiner {
            Ok(joiner) if joined.recv_deadline(deadline).is_ok() => joiner.join().is_ok(),
            Ok(_) => false,
            // Without a thread for it they are left to the system.
            Err(_) => true,
        }
    }

    /// How many have not done their work yet.
    pub fn running(&self) -> usize {
        lock(&self.state).running.len()
    }
}

/// A thread that waits for its work. If this is dropped without any, the thread ends.
pub(crate) struct Waiting {
    shared: Arc<(Mutex<Work>, Condvar)>,
}

/// Between a waiting thread and whoever has its [`Waiting`].
enum Work {
    /// The thread waits.
    Awaited,
    /// It is to run this. It has not seen it yet.
    Given(Box<dyn FnOnce() + Send>),
    /// It has taken its work, or there will be none.
    Over,
}

impl Waiting {
    pub fn run(self, work: Box<dyn FnOnce() + Send>) {
        *lock(&self.shared.0) = Work::Given(work);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let (work, given) = &*self.shared;
        let mut work = lock(work);
        if matches!(*work, Work::Awaited) {
            *work = Work::Over;
        }
        drop(work);
        given.notify_one();
    }
}

/// The thread's wait. `None` means that there will be no work.
fn wait_for_work(shared: Arc<(Mutex<Work>, Condvar)>) -> Option<Box<dyn FnOnce() + Send>> {
    let (work, given) = &*shared;
    let mut work = lock(work);
    loop {
        match std::mem::replace(&mut *work, Work::Over) {
            Work::Given(work) => return Some(work),
            Work::Over => return None,
            Work::Awaited => *work = Work::Awaited,
        }
        work = given.wait(work).unwrap_or_else(|p| p.into_inner());
    }
}

impl State {
    /// Keeps the handle of a thread that has done its work. Gives back what need not be kept any
    /// more, to be dropped without the lock, since each drop is a call of the system.
    fn keep(&mut self, handle: JoinHandle<()>) -> Vec<JoinHandle<()>> {
        let before = match self.closed {
            true => Vec::new(),
            false => std::mem::take(&mut self.leaving),
        };
        self.leaving.push(handle);
        before
    }
}

/// Marks the end of a thread's work when it is dropped, also where the work panics.
struct Ended {
    group: Arc<Threads>,
    number: u64,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let (before, is_awaited) = {
            let mut state = lock(&self.group.state);
            let own = state.running.remove(&self.number).flatten();
            (own.map(|own| state.keep(own)), state.waiting > 0)
        };
        if is_awaited {
            self.group.ended.notify_all();
        }
        drop(before);
    }
}

/// A call of the program that counts as a thread; see [`Threads::hold`].
pub(crate) struct Held(Arc<Threads>);

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.held -= 1;
        if state.waiting > 0 {
            self.0.ended.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn group() -> Arc<Threads> {
        Threads::new("127.0.0.1:1".parse().unwrap())
    }

    #[test]
    fn a_thread_is_waited_for_and_joined() {
        let threads = group();
        let (go, wait) = crossbeam_channel::bounded::<()>(0);
        let work = move || {
            let _ = wait.recv();
        };
        threads.spawn("lanpeer-test".to_owned(), work).unwrap();
        assert_eq!(threads.running(), 1);
        assert!(!threads.wait(Instant::now()));
        drop(go);
        threads.close();
        assert!(threads.wait(Instant::now() + SOON));
        assert!(threads.join(Instant::now() + SOON));
        assert!(threads.hold().is_none());
    }

    /// Its work is done, and what it does afterwards is the program's.
    #[test]
    fn a_slow_destructor_of_a_thread_local_delays_nobody_beyond_the_deadline() {
        struct Slow(Arc<AtomicBool>, crossbeam_channel::Receiver<()>);
        impl Drop for Slow {
            fn drop(&mut self) {
                let _ = self.1.recv_timeout(SOON);
                self.0.store(true, Ordering::SeqCst);
            }
        }
        thread_local! {
            static KEPT: std::cell::RefCell<Option<Slow>> = const { std::cell::RefCell::new(None) };
        }
        let threads = group();
        threads.close();
        let gone = Arc::new(AtomicBool::new(false));
        let (go, wait) = crossbeam_channel::bounded::<()>(0);
        let slow = Slow(Arc::clone(&gone), wait);
        let work = move || KEPT.with(|kept| drop(kept.replace(Some(slow))));
        threads.spawn("lanpeer-test".to_owned(), work).unwrap();
        assert!(threads.wait(Instant::now() + SOON));
        assert!(!threads.join(Instant::now() + Duration::from_millis(1)));
        assert!(!gone.load(Ordering::SeqCst));
        drop(go);
    }
}
