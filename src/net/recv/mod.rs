//! Messages to the program: the receive queue, and who reads.
//!
//! | file | |
//! | --- | --- |
//! | `queue` | what waits, and by which of three ways messages come out of it: a machine |
//! | `batch` | messages that change hands together |
//! | `producer` | the reader thread's end of the queue |
//! | `consumer` | the program's end |
//! | `lease` | what a program needs that reads the socket itself |
//! | `waiter` | a wait for what is no message: a reply, a request |
//! | `select` | the way out for `select!`: a crossbeam channel |
//!
//! Messages change hands in batches. The reader thread hands over what it has decoded before it waits
//! for the socket again, and in a long burst now and then; or each at once, where only the newest counts
//! and replaces the one that waits. The program takes one message after the other from the oldest batch. So the
//! two threads meet once for each batch, not for each message, and a program that waits is woken no later for a
//! lone message.

pub(crate) mod batch;
pub(crate) mod consumer;
pub(crate) mod lease;
pub(crate) mod producer;
mod queue;
mod select;
pub(crate) mod waiter;

use std::sync::Arc;

use crossbeam_channel::RecvTimeoutError;

use batch::{Amount, Make};
use consumer::Consumer;
use lease::{Awaiting, TICK};
use producer::Producer;
use queue::ReceiveQueue;
use select::KillSwitch;

use super::context::Context;
use super::os::condvar::{is_late, wait};
use super::os::lock;
use super::os::spin::Spin;
use super::os::sync::{
    AtomicBool, AtomicU64, AtomicUsize, Condvar, Instant, Mutex, MutexGuard, Ordering,
};
use super::os::timer::Task;

/// The most that a thread decodes beside the message that it wants, when it reads for itself. Enough to make
/// what it costs to give the source back a small part of each. How late the first may be for it, time says, as
/// for a batch of the reader thread.
const RUN: Amount = Amount {
    messages: 32,
    bytes: 4 << 10,
};

/// Where the two ends of a receive queue meet: the reader thread, as the producer, and the threads of the
/// program, as the consumer.
///
/// The queue changes under its lock only. Each change that a thread may wait for notifies one of the three
/// condition variables, so none is missed.
struct Meeting<T> {
    /// For the watchdog, which looks after a lease.
    context: Arc<Context>,
    /// The most that may wait.
    limit: Amount,
    /// Only the newest message counts: the reader thread reads on, and replaces what waits.
    is_latest: bool,
    /// How many it has replaced.
    replaced: AtomicU64,
    make: Make<T>,
    /// What waits, and by which way it comes. Held for a look at the queue or the socket, never while the
    /// program's code runs.
    queue: Mutex<ReceiveQueue<T>>,
    /// The reader thread's wait for room, or for what it has lent, is over. Only that thread waits here.
    room: Condvar,
    /// There is something to take, or there never will be. Threads of the program wait here; the queue
    /// counts them, so that nobody is notified in vain.
    news: Condvar,
    /// The reader thread no longer waits for room in the channel.
    settled: Condvar,
    /// Counts what was handed over, so that a thread that spins sees news without the lock.
    handed_over: AtomicUsize,
    /// Threads of the program that wait, for a reader thread that may lend its source to one.
    awaiting: Awaiting,
    spin: Spin,
    /// The last handle was dropped. Set under the lock; the channel looks at it without.
    abandoned: AtomicBool,
    /// Wakes a reader thread that waits at the channel. Taken after the queue's lock, if both are.
    kill_switch: Mutex<Option<KillSwitch>>,
}

/// A queue of at most this many messages and bytes, or one larger message.
pub(crate) fn receive_queue<T: Send + 'static>(
    messages: usize,
    bytes: usize,
    make: Make<T>,
    context: &Arc<Context>,
) -> (Producer<T>, Consumer<T>) {
    let limit = Amount { messages, bytes };
    open(limit, false, make, context)
}

/// A queue of one message, the newest: each replaces the one before it.
pub(crate) fn latest_queue<T: Send + 'static>(
    make: Make<T>,
    context: &Arc<Context>,
) -> (Producer<T>, Consumer<T>) {
    let limit = Amount {
        messages: 1,
        bytes: usize::MAX,
    };
    open(limit, true, make, context)
}

fn open<T: Send + 'static>(
    limit: Amount,
    is_latest: bool,
    make: Make<T>,
    context: &Arc<Context>,
) -> (Producer<T>, Consumer<T>) {
    let meeting = Arc::new(Meeting {
        context: Arc::clone(context),
        limit,
        is_latest,
        replaced: AtomicU64::new(0),
        make,
        queue: Mutex::new(ReceiveQueue::new(limit, make)),
        room: Condvar::new(),
        news: Condvar::new(),
        settled: Condvar::new(),
        handed_over: AtomicUsize::new(0),
        awaiting: Awaiting::default(),
        spin: Spin::new(context.settings.spin),
        abandoned: AtomicBool::new(false),
        kill_switch: Mutex::new(None),
    });
    (Producer::new(Arc::clone(&meeting)), Consumer::new(meeting))
}

/// Wakes the reader thread at its receive queue, for whatever type of messages.
pub(crate) trait Wake: Send + Sync {
    /// The reader thread is to read for itself, if it does not.
    fn recall(&self);

    /// A reader thread that waits for room looks again whether its connection is over.
    fn wake(&self);

    /// How many messages were taken in: all that were handed over; or, once the last handle is dropped,
    /// those that the program has taken.
    fn taken(&self) -> u64;

    /// How many messages were replaced by newer ones. They were taken in.
    fn replaced(&self) -> u64;

    /// What is no message has come. A thread that waits for that looks again.
    fn news(&self);

    /// The connection of a handler is over. Its queue has had no messages, and ends without the
    /// reader thread, which may be in the handler for long.
    fn end(&self);
}

impl<T: Send> Wake for Meeting<T> {
    fn recall(&self) {
        if lock(&self.queue).recall() {
            self.room.notify_one();
        }
    }

    fn wake(&self) {
        drop(lock(&self.kill_switch).take());
        // With the lock, or a reader thread that has just looked would miss it.
        let _queue = lock(&self.queue);
        self.room.notify_one();
    }

    fn taken(&self) -> u64 {
        lock(&self.queue).taken()
    }

    fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::SeqCst)
    }

    fn news(&self) {
        // A thread that waits is counted before it looks for the last time. If none is counted, none can
        // have missed the news.
        if self.awaiting.is_any() {
            // With the lock, so that no thread is between its look and its wait.
            self.tell(&lock(&self.queue));
        }
    }

    fn end(&self) {
        let mut queue = lock(&self.queue);
        let channel = queue.end(None);
        self.tell(&queue);
        drop(queue);
        drop(channel);
    }
}

/// Does the program that reads for itself come back?
impl<T: Send> Task for Meeting<T> {
    fn run(&self, now: Instant) -> Option<Instant> {
        let tick = lock(&self.queue).tick();
        if tick.wake_reader {
            self.room.notify_one();
        }
        tick.goes_on.then(|| now + TICK)
    }
}

impl<T> Meeting<T> {
    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    /// [`RUN`], and no more than may wait.
    fn run_limit(&self) -> Amount {
        Amount {
            messages: RUN.messages.min(self.limit.messages),
            bytes: RUN.bytes.min(self.limit.bytes),
        }
    }

    fn count_replaced(&self, count: u64) {
        self.replaced.fetch_add(count, Ordering::SeqCst);
    }

    /// Waits for news: with the lock since the last look, so that none is missed. `Err`: it is late.
    fn wait(
        &self,
        mut queue: MutexGuard<'_, ReceiveQueue<T>>,
        deadline: Option<Instant>,
    ) -> Result<(), RecvTimeoutError> {
        if is_late(deadline) {
            return Err(RecvTimeoutError::Timeout);
        }
        queue.waiters += 1;
        queue = wait(&self.news, queue, deadline);
        queue.waiters -= 1;
        Ok(())
    }

    /// Something has changed for all threads of the program that wait.
    fn tell(&self, queue: &ReceiveQueue<T>) {
        self.handed_over.fetch_add(1, Ordering::Release);
        if queue.waiters > 0 {
            self.news.notify_all();
        }
    }
}

impl<T: Send + 'static> Meeting<T> {
    /// Has the watchdog look again and again how the program comes along that reads for itself.
    fn watch(self: &Arc<Self>) {
        let task = Arc::clone(self) as Arc<dyn Task>;
        self.context.watch(Instant::now() + TICK, task);
    }
}

#[cfg(test)]
mod tests;
