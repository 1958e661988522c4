//! Who waits for a socket that is full: the connection's writer thread. Where the system has none, the
//! watchdog tries again and again in its place.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use log::trace;

use super::Sender;
use super::queue::{SendQueue, Writer};
use super::turn::Turn;
use crate::net::os::sync::{Instant, MutexGuard};
use crate::net::os::timer::Task;
use crate::net::os::{LOG, lock};
use crate::net::wire::write_half::Patience;

/// A writer thread without work ends after this time.
const RETIRE: Duration = Duration::from_secs(1);

/// How long the watchdog pauses before it tries again what a full socket did not take.
const TRY_AGAIN: Duration = Duration::from_millis(5);

impl Sender {
    /// Has the writer thread write what waits, and wait for the socket. Starts that thread if there is none.
    pub(super) fn wake_writer(self: &Arc<Sender>, mut queue: MutexGuard<'_, SendQueue>) {
        // Someone writes, or the sender is held back: in either case the queue is looked at afterwards.
        if queue.is_held() {
            return;
        }
        // The state is changed under the lock, before the thread is woken or started: so no two callers
        // start one, and a writer that is about to park or to retire looks at it once more.
        match queue.writer {
            Writer::Awake | Writer::Watchdog => {}
            Writer::Parked => {
                queue.writer = Writer::Awake;
                drop(queue);
                self.work.notify_one();
            }
            Writer::None => {
                queue.writer = Writer::Awake;
                drop(queue);
                // Not under the lock: starting a thread may take long, and senders would wait for it.
                if !self.start_writer() {
                    lock(&self.queue).writer = Writer::Watchdog;
                    self.context.watch(
                        Instant::now() + TRY_AGAIN,
                        Arc::new(InPlaceOfWriter(Arc::clone(self))),
                    );
                }
            }
        }
    }

    /// Starts the writer thread. `false`: the system has no thread.
    fn start_writer(self: &Arc<Sender>) -> bool {
        let (id, peer_addr) = (self.terms.id, self.terms.peer_addr);
        let own = Arc::clone(self);
        // The thread holds the sender, and so writes what was accepted when all else is gone.
        let writer = self
            .context
            .threads
            .spawn(format!("lanpeer-w-{id}"), move || own.write_loop());
        if let Err(error) = &writer {
            trace!(target: LOG, "connection {id} with {peer_addr}: no writer thread: {error}");
        }
        writer.is_ok()
    }

    /// The writer thread: writes, parks until it is woken, and ends after [`RETIRE`] without work. Its state
    /// changes under the queue's lock only, so a wake-up is never lost between a look and the wait.
    fn write_loop(self: &Arc<Sender>) {
        loop {
            self.write_all();
            let mut queue = lock(&self.queue);
            // Nothing can come behind FIN, and nothing leaves when the connection is gone.
            if queue.is_gone() || queue.is_fin_sent() {
                queue.writer = Writer::None;
                return;
            }
            // Something has come between the last turn and this lock. Where another thread has the half,
            // that one goes on with it, or wakes this one.
            if queue.half().is_some() && queue.has_work() {
                continue;
            }
            queue.writer = Writer::Parked;
            let waited = self.work.wait_timeout(queue, RETIRE);
            let (mut queue, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            // A wake-up and the timeout may come at the same moment: what there is to do decides.
            if timeout.timed_out() && !queue.has_work() {
                queue.writer = Writer::None;
                queue.trim();
                return;
            }
            queue.writer = Writer::Awake;
        }
    }

    /// Writes until nothing waits, or another thread has the turn.
    fn write_all(self: &Arc<Sender>) {
        let mut queue = lock(&self.queue);
        while queue.has_work() && queue.half().is_some() {
            queue = self.write_turn(queue, Patience::Slice);
        }
    }

    /// One turn, for everything that waits.
    fn write_turn<'a>(
        self: &'a Arc<Sender>,
        queue: MutexGuard<'_, SendQueue>,
        patience: Patience,
    ) -> MutexGuard<'a, SendQueue> {
        let mut turn = Turn::take(self, queue);
        let failure = turn.write_batch(patience);
        let mut queue = turn.give_back();
        if let Some(error) = failure {
            self.fail(&mut queue, &error);
        }
        self.settle(&mut queue);
        queue
    }
}

/// The watchdog's task if the system has no thread for a writer. It writes what the socket takes at once, so
/// that the timer's thread never waits for one connection, and tries to start the thread each time.
struct InPlaceOfWriter(Arc<Sender>);

impl Task for InPlaceOfWriter {
    fn run(&self, now: Instant) -> Option<Instant> {
        let sender = &self.0;
        let mut queue = lock(&sender.queue);
        if queue.has_work() && queue.half().is_some() {
            queue = sender.write_turn(queue, Patience::None);
        }
        // While another thread has the half, what it leaves is not known: this looks again later.
        let is_left = !queue.is_gone() && (queue.half().is_none() || queue.has_work());
        if !is_left {
            // The task ends here, so the next sender that needs a writer starts one.
            queue.writer = Writer::None;
            return None;
        }
        queue.writer = Writer::Awake;
        drop(queue);
        // There may be a thread by now. `Awake` is set first, so that no sender starts one beside it.
        if sender.start_writer() {
            return None;
        }
        lock(&sender.queue).writer = Writer::Watchdog;
        Some(now + TRY_AGAIN)
    }
}
