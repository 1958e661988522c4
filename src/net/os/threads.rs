//! The threads of a peer: each is known from its start to its end, so that `stop` can wait for all.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{JoinHandle, ThreadId};
use std::time::Instant;

use crate::error::Result;
use crate::net::endpoint::Endpoint;
use crate::net::os::lock;

#[derive(Default)]
pub(crate) struct Threads {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    running: HashMap<ThreadId, JoinHandle<()>>,
    /// Calls of the program that are to be over before `stop` returns.
    held: usize,
    /// The last that ended, for the next one to join: until then its stack is kept.
    ended: Option<JoinHandle<()>>,
}

thread_local! {
    /// Which endpoint the current thread works for.
    static WORKS_FOR: Cell<*const ()> = const { Cell::new(std::ptr::null()) };
}

impl Endpoint {
    /// Starts a thread that `stop` waits for. Names are cut by Linux at 15 bytes.
    pub fn spawn(
        self: &Arc<Endpoint>,
        name: String,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        #[cfg(test)]
        crate::net::faults::before_thread(self.local_addr, &name)?;
        let endpoint = Arc::clone(self);
        let mut threads = lock(&self.threads.state);
        let handle = std::thread::Builder::new().name(name).spawn(move || {
            WORKS_FOR.set(Arc::as_ptr(&endpoint).cast());
            let _ended = Ended(endpoint);
            work();
        })?;
        threads.running.insert(handle.thread().id(), handle);
        Ok(())
    }

    /// Starts a thread that waits for its work.
    pub(crate) fn spawn_waiting(self: &Arc<Endpoint>, name: String) -> io::Result<Waiting> {
        let shared = Arc::new((Mutex::new(Work::Awaited), Condvar::new()));
        let own = Arc::clone(&shared);
        self.spawn(name, move || {
            if let Some(work) = wait_for_work(own) {
                work();
            }
        })?;
        Ok(Waiting { shared })
    }

    /// Until this is dropped, `stop` waits as for a thread.
    pub(crate) fn hold(self: &Arc<Endpoint>) -> Result<Held> {
        let mut threads = lock(&self.threads.state);
        self.check_running()?;
        threads.held += 1;
        Ok(Held(Arc::clone(self)))
    }

    pub(crate) fn on_own_thread(&self) -> bool {
        WORKS_FOR.get() == (self as *const Endpoint).cast()
    }

    pub(crate) fn wait_for_threads(&self, deadline: Instant) -> bool {
        let mut threads = lock(&self.threads.state);
        while !threads.running.is_empty() || threads.held > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            threads = match self.threads.ended.wait_timeout(threads, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        let last = threads.ended.take();
        drop(threads);
        if let Some(last) = last {
            let _ = last.join();
        }
        true
    }

    pub(crate) fn threads_running(&self) -> usize {
        lock(&self.threads.state).running.len()
    }
}

/// A thread that waits for its work, and ends if this is dropped instead.
pub(crate) struct Waiting {
    shared: Arc<(Mutex<Work>, Condvar)>,
}

enum Work {
    Awaited,
    Given(Box<dyn FnOnce() + Send>),
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

/// `None`: there will be none.
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

/// Marks the end of a thread, also of one that panics.
struct Ended(Arc<Endpoint>);

impl Drop for Ended {
    fn drop(&mut self) {
        let before = {
            let mut threads = lock(&self.0.threads.state);
            let own = threads.running.remove(&std::thread::current().id());
            std::mem::replace(&mut threads.ended, own)
        };
        self.0.threads.ended.notify_all();
        if let Some(before) = before {
            let _ = before.join();
        }
    }
}

/// See [`Endpoint::hold`].
pub(crate) struct Held(Arc<Endpoint>);

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.0.threads.state).held -= 1;
        self.0.threads.ended.notify_all();
    }
}
