//! The tasks of the timers that serve a sender: writing what a burst has gathered, giving its memory
//! back, and letting a held-back sender go.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Sender;
use super::gathering::TICK;
use super::queue::SendQueue;
use super::turn::Turn;
use crate::net::os::lock;
use crate::net::os::sync::{Instant, MutexGuard};
use crate::net::os::timer::Task;

/// How long after a burst its memory is given back. Sooner, a program that sends in bursts would allocate
/// for each.
const TRIM_AFTER: Duration = Duration::from_secs(1);

impl Sender {
    /// A burst has begun: the flusher is to write what it gathers. If the system has no thread for the
    /// flusher, the watchdog does it.
    ///
    /// The burst is noted under the lock, so no second sender tells the flusher. The lock is released before
    /// the flusher is told, since that may start a thread.
    pub(super) fn tell_flusher(self: &Arc<Sender>, mut queue: MutexGuard<'_, SendQueue>) {
        queue.gathering.begin();
        drop(queue);
        let context = &self.context;
        let now = Instant::now();
        let task = Arc::new(Flush(Arc::clone(self)));
        let flusher = context.flusher.schedule(&context.threads, now, task);
        if flusher.is_err() {
            context.watch(now, Arc::new(Flush(Arc::clone(self))));
        }
    }

    /// Has the watchdog release a sender that is held back, at this time.
    pub(super) fn release_later(self: &Arc<Sender>, at: Instant) {
        self.context
            .watch(at, Arc::new(Release(Arc::downgrade(self))));
    }
}

/// The flusher's task for one connection: a look at its burst, again and again until that is over; see
/// [`Gathering`](super::gathering::Gathering).
struct Flush(Arc<Sender>);

impl Task for Flush {
    fn run(&self, now: Instant) -> Option<Instant> {
        let sender = &self.0;
        let mut queue = lock(&sender.queue);
        let look = queue.look(now);
        // Asked under the same lock as the look: a burst that begins after it asks for a look of its own.
        let trim = !look.goes_on && queue.gathering.is_to_be_trimmed();
        // Whoever has the turn looks at the queue afterwards, so there is nothing to do for this thread.
        if look.write && !queue.is_held() && queue.has_work() {
            Turn::take(sender, queue).write();
        } else {
            drop(queue);
        }
        if trim {
            let at = now + TRIM_AFTER;
            sender
                .context
                .watch(at, Arc::new(Trim(Arc::downgrade(sender))));
        }
        look.goes_on.then(|| now + TICK)
    }
}

/// The watchdog's task that gives the memory of past bursts back.
struct Trim(Weak<Sender>);

impl Task for Trim {
    fn run(&self, now: Instant) -> Option<Instant> {
        // Weak: memory that is to be given back later keeps no connection that has ended.
        let sender = self.0.upgrade()?;
        let mut queue = lock(&sender.queue);
        if queue.is_gone() {
            return None;
        }
        if queue.gathering.is_on() {
            return Some(now + TRIM_AFTER);
        }
        queue.gathering.trimmed();
        queue.trim();
        None
    }
}

/// The watchdog's task that releases a sender that was held back.
struct Release(Weak<Sender>);

impl Task for Release {
    fn run(&self, _: Instant) -> Option<Instant> {
        let sender = self.0.upgrade()?;
        let mut queue = lock(&sender.queue);
        queue.release();
        if queue.has_work() {
            Turn::take(&sender, queue).write();
        } else {
            sender.continue_writing(queue);
        }
        None
    }
}
