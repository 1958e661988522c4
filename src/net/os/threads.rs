//! The threads of one peer: each is known from its start to its end, so that `stop` can wait for all.
//!
//! A long file, since a thread's states and the mailbox by which it gets work are one protocol.

use std::cell::Cell;
use std::io;
#[cfg(test)]
use std::net::SocketAddrV4;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::condvar::{is_late, wait};
use super::lock;
use super::sync::{Condvar, HashMap, Instant, JoinHandle, Mutex, bounded, thread, thread_local};

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

/// The most threads of a group that stay idle: enough for connections that come and go, and a bound for
/// the stacks that idle threads keep.
const IDLE_MAX: usize = 16;

/// How long an idle thread waits for work before it ends.
const IDLE_FOR: Duration = Duration::from_secs(1);

/// A group of threads. A call of the program can count as a thread while it lasts.
///
/// A thread works; then it is gone, or waits a while for more work (idle): starting a thread costs several
/// times what waking one does, and connections may come and go quickly. On its way out it runs the
/// destructors of the program's thread-locals. [`Threads::wait`] waits until none works, and once the
/// group is closed until none is idle either; [`Threads::join`] for the way out.
///
/// Work that runs the program's code says [`retire`]: what that has left in its thread-locals ends with
/// it, and no other connection's code meets it.
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
    /// All threads by number, from before their start to the end of their last work. `None` while a
    /// thread is being started: its handle is not known yet, though it may work already.
    threads: HashMap<u64, Option<JoinHandle<()>>>,
    /// Those of them that have no work, the one that has waited longest first.
    idle: Vec<(u64, Arc<Mailbox>)>,
    /// Counts the threads ever started, which gives each its number. A number is never used twice, so
    /// that the late end of one thread is not taken for that of a newer one.
    started: u64,
    /// Calls of [`Threads::wait`]: without one, nobody is told of an end.
    waiting: usize,
    /// Calls of the program that are to be over before [`Threads::wait`] returns.
    held: usize,
    /// `stop` has begun: no further call is held, no thread stays idle, and each thread that ends is kept
    /// to be joined.
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
    /// The current thread takes no more work.
    static RETIRES: Cell<bool> = const { Cell::new(false) };
}

/// The current thread runs code of the program: it ends with the work that it has.
pub(crate) fn retire() {
    RETIRES.set(true);
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
        self.start(name, move |_| work())
    }

    /// Gets a thread that waits for its work: an idle one, or a new one. Callers do this before they promise
    /// anything that needs a thread, such as an accepted connection.
    pub fn spawn_waiting(self: &Arc<Threads>, name: String) -> io::Result<Waiting> {
        #[cfg(test)]
        crate::net::faults::before_thread(self.peer, &name)?;
        // The last one that became idle: its stack is still in the caches, and the others may retire.
        let idle = lock(&self.state).idle.pop();
        if let Some((_, mailbox)) = idle {
            return Ok(Waiting {
                mailbox: Some(mailbox),
            });
        }
        let mailbox = Arc::<Mailbox>::default();
        let own = Arc::clone(&mailbox);
        self.start(name, move |ended| {
            while ended.group.wait_for_work(ended.number, &own) {
                if RETIRES.get() || !ended.group.rest(ended.number, &own) {
                    break;
                }
            }
        })?;
        Ok(Waiting {
            mailbox: Some(mailbox),
        })
    }

    /// Runs `work` at once on an idle thread, or on a new one.
    pub fn run(
        self: &Arc<Threads>,
        name: String,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        self.spawn_waiting(name)
            .map(|thread| thread.run(Box::new(work)))
    }

    /// Starts a thread by this name that runs `work` and counts as one of the group until that returns.
    fn start(
        self: &Arc<Threads>,
        name: String,
        work: impl FnOnce(&Ended) + Send + 'static,
    ) -> io::Result<()> {
        let number = {
            let mut state = lock(&self.state);
            state.started += 1;
            let number = state.started;
            state.threads.insert(number, None);
            number
        };
        // Owned by the closure. So it marks the end of the work, and also a thread that cannot be
        // started, since the system then drops the closure.
        let ended = Ended {
            group: Arc::clone(self),
            number,
        };
        let handle = thread::Builder::new().name(name).spawn(move || {
            WORKS_FOR.set(Arc::as_ptr(&ended.group).cast());
            work(&ended);
        })?;
        let mut state = lock(&self.state);
        match state.threads.get_mut(&number) {
            Some(own) => *own = Some(handle),
            // The thread has ended before its handle was known.
            None => drop(state.keep(handle)),
        }
        Ok(())
    }

    /// Called by an idle or new thread, of this number: waits for work and does it. `false`: the thread is
    /// to end.
    fn wait_for_work(&self, number: u64, mailbox: &Mailbox) -> bool {
        let mut deadline = Some(Instant::now() + IDLE_FOR);
        loop {
            match mailbox.take(deadline) {
                Taken::Work(work) => {
                    work();
                    return true;
                }
                // It was had for a connection that has come to nothing.
                Taken::Nothing => return true,
                Taken::Late => {
                    let idle = &mut lock(&self.state).idle;
                    let Some(at) = idle.iter().position(|(own, _)| *own == number) else {
                        // Someone has it, and will say what it is to do.
                        deadline = None;
                        continue;
                    };
                    idle.remove(at);
                    return false;
                }
            }
        }
    }

    /// Called by a thread that has done its work: makes it idle. `false`: it is to end instead, because
    /// the group is closed or has enough idle threads.
    ///
    /// The mailbox is opened before anyone can find it in the list. A mailbox that is still shut ignores
    /// what it is given, and that work would be lost.
    fn rest(&self, number: u64, mailbox: &Arc<Mailbox>) -> bool {
        let mut state = lock(&self.state);
        if state.closed || state.idle.len() >= IDLE_MAX {
            return false;
        }
        mailbox.open();
        state.idle.push((number, Arc::clone(mailbox)));
        if state.waiting > 0 {
            self.ended.notify_all();
        }
        true
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

    /// From now on no call is held, and no thread idle. Threads can still be started, since connections
    /// that end may need a writer.
    pub fn close(&self) {
        let idle = {
            let mut state = lock(&self.state);
            state.closed = true;
            std::mem::take(&mut state.idle)
        };
        for (_, mailbox) in idle {
            mailbox.shut();
        }
    }

    /// Is the current thread one of the group? Such a thread cannot wait for the group's end.
    pub fn is_own(&self) -> bool {
        WORKS_FOR.get() == (self as *const Threads).cast()
    }

    /// Waits until no thread works any more and no call is held. `false`: not before the deadline.
    pub fn wait(&self, deadline: Instant) -> bool {
        let mut state = lock(&self.state);
        while state.working() > 0 || state.held > 0 {
            if is_late(Some(deadline)) {
                return false;
            }
            state.waiting += 1;
            state = wait(&self.ended, state, Some(deadline));
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
        let (done, joined) = bounded(1);
        // A join has no deadline. So a thread of its own joins them, and this one waits for that
        // with a deadline.
        let joiner = thread::Builder::new().name("lanpeer-join".to_owned());
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
        lock(&self.state).working()
    }
}

/// A thread that waits for its work. If this is dropped without any, the thread becomes idle, or ends.
pub(crate) struct Waiting {
    /// Taken with the work: the thread may be had by someone else before this is dropped.
    mailbox: Option<Arc<Mailbox>>,
}

impl Waiting {
    pub fn run(mut self, work: Box<dyn FnOnce() + Send>) {
        if let Some(mailbox) = self.mailbox.take() {
            mailbox.put(Work::Given(work));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(mailbox) = self.mailbox.take() {
            mailbox.shut();
        }
    }
}

/// Between a thread that waits and whoever has its [`Waiting`]: where the one leaves work for the other.
#[derive(Default)]
struct Mailbox {
    /// Taken on its own by whoever gives work; by [`Threads::rest`] under the lock of the group, never the
    /// other way round.
    work: Mutex<Work>,
    /// Signalled when `work` stops being [`Work::Awaited`]. Only the thread waits for that.
    changed: Condvar,
}

#[derive(Default)]
enum Work {
    /// The thread waits.
    #[default]
    Awaited,
    /// It is to run this. It has not seen it yet.
    Given(Box<dyn FnOnce() + Send>),
    /// There will be none.
    None,
    /// It has taken its work.
    Taken,
}

/// What a thread has found in its mailbox.
enum Taken {
    Work(Box<dyn FnOnce() + Send>),
    /// There will be no work.
    Nothing,
    /// None was there before the deadline.
    Late,
}

impl Mailbox {
    /// Leaves `news` for the thread, if it still waits. Work that was given before stays, and is done.
    fn put(&self, news: Work) {
        let mut work = lock(&self.work);
        if matches!(*work, Work::Awaited) {
            *work = news;
            drop(work);
            self.changed.notify_one();
        }
    }

    fn shut(&self) {
        self.put(Work::None);
    }

    /// Called by the thread itself before it is listed as idle: it will wait once more.
    fn open(&self) {
        *lock(&self.work) = Work::Awaited;
    }

    /// Called by the thread: waits for work until the deadline.
    fn take(&self, deadline: Option<Instant>) -> Taken {
        let mut work = lock(&self.work);
        loop {
            match std::mem::replace(&mut *work, Work::Taken) {
                Work::Given(work) => return Taken::Work(work),
                Work::None | Work::Taken => return Taken::Nothing,
                Work::Awaited => *work = Work::Awaited,
            }
            if is_late(deadline) {
                return Taken::Late;
            }
            work = wait(&self.changed, work, deadline);
        }
    }
}

impl State {
    /// How many threads are not idle. Once the group is closed those that were are on their way out, and
    /// count until they are gone.
    fn working(&self) -> usize {
        self.threads.len() - self.idle.len()
    }

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

/// Marks the end of a thread's last work when it is dropped, also where the work panics.
struct Ended {
    /// Keeps the group alive while one of its threads runs.
    group: Arc<Threads>,
    number: u64,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let (before, is_awaited) = {
            let mut state = lock(&self.group.state);
            let own = state.threads.remove(&self.number).flatten();
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
mod tests;
