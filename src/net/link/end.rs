//! How a connection ends; the top of [`link`](super) says in which two ways.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Link;
use crate::error::{CloseError, CloseReason};
use crate::format::Dialect;
use crate::net::os::lock;
use crate::net::os::socket::{kernel_table, reset};

impl Link {
    /// Ends the connection at once: resets it, and wakes everyone who is blocked on it.
    pub fn kill(&self, reason: CloseReason) {
        let reason = lock(&self.life).reason.get_or_insert(reason).clone();
        // First, so that nothing is written behind a message that the writer gives up because of
        // `dead`.
        let socket = self.outbox.give_up(reason);
        self.dead.store(true, Ordering::SeqCst);
        drop(lock(&self.reading).take());
        if let Some(socket) = socket {
            reset(&socket);
        }
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }

    /// Begins a graceful end and returns at once. A deadline is set for the other side.
    pub fn close_in_background(self: &Arc<Link>, reason: CloseReason) {
        if self.dialect == Dialect::Peerpy {
            return self.reset_in_background(reason);
        }
        let deadline = Instant::now() + self.endpoint.settings.close_timeout;
        // First, so that there is a thread which can write what is queued.
        if !lock(&self.life).ended {
            self.endpoint.watchdog.kill_at(deadline, self);
        }
        self.outbox.abandon_close();
        self.begin_close(reason);
    }

    /// Begins an end without FIN and returns at once: what is queued is still delivered, then the
    /// connection is reset.
    pub fn reset_in_background(self: &Arc<Link>, reason: CloseReason) {
        let deadline = Instant::now() + self.endpoint.settings.close_timeout;
        self.begin(&reason, Dialect::Peerpy);
        if lock(&self.life).ended {
            return;
        }
        let (link, why) = (Arc::clone(self), reason.clone());
        let finish = move || link.drain_and_reset(deadline, why);
        let name = format!("lanpeer-c-{}", self.id);
        if self.endpoint.spawn(name, finish).is_err()
            && !self.endpoint.watchdog.kill_at(deadline, self)
            // At whose deadline it is killed.
            && !self.endpoint.is_stopped()
        {
            self.kill(reason);
        }
    }

    /// A message came for which nobody is left: delivers what this side has sent, and says why the
    /// reader is to end. Then the connection is reset, so that the other side learns of the loss.
    pub fn discard(self: &Arc<Link>) -> CloseReason {
        let deadline = Instant::now() + self.endpoint.settings.close_timeout;
        let _ = self.drain(Some(deadline)).is_ok() && self.taken_by_kernel(deadline);
        let life = lock(&self.life);
        life.closing.clone().unwrap_or(CloseReason::ClosedHere)
    }

    fn begin_close(self: &Arc<Link>, reason: CloseReason) -> bool {
        self.begin(&reason, self.dialect)
    }

    /// Accepts no more messages. A FIN follows what is queued, unless the end is to be as peerpy
    /// needs it. `false`: there is no thread to write what is queued.
    fn begin(self: &Arc<Link>, reason: &CloseReason, dialect: Dialect) -> bool {
        let reason = {
            let mut life = lock(&self.life);
            if let Some(reason) = &life.reason {
                reason.clone()
            } else {
                life.closing.get_or_insert(reason.clone()).clone()
            }
        };
        self.outbox.finish(reason, dialect);
        // The other side's end is to be read, whether or not the program receives.
        if let Some(waker) = self.waker.get() {
            waker.recall();
        }
        self.flush_now()
    }

    /// Closes gracefully and waits for the other side, for at most `close_timeout`.
    pub fn close(self: &Arc<Link>) -> Result<(), CloseError> {
        let deadline = Instant::now() + self.endpoint.settings.close_timeout;
        if !self.begin_close(CloseReason::ClosedHere) {
            let _ = self.drain(Some(deadline));
        }
        let here = self.on_reader_thread();
        match self.dialect {
            Dialect::Peerpy => self.drain_and_reset(deadline, CloseReason::ClosedHere),
            // Only this thread could see the other side's FIN: it reads until there.
            Dialect::Lanpeer if here => self.read_to_the_end(deadline),
            Dialect::Lanpeer => {}
        }
        let mut life = lock(&self.life);
        while !life.ended && !here && self.dialect == Dialect::Lanpeer {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            life = match self.ended.wait_timeout(life, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        match &life.reason {
            _ if life.clean => Ok(()),
            Some(reason) => Err(CloseError::Incomplete(reason.clone())),
            None => {
                drop(life);
                if self.is_handled() && !here {
                    // No handle's drop will end it.
                    self.kill(CloseReason::TimedOut);
                }
                Err(CloseError::Timeout)
            }
        }
    }

    /// peerpy never notices a FIN, but a reset: so when its system has everything, reset. Measured:
    /// it then still hands over the last message, and then its `close` event comes.
    fn drain_and_reset(self: &Arc<Link>, deadline: Instant, reason: CloseReason) {
        let drained = self.drain(Some(deadline)).is_ok() && self.taken_by_kernel(deadline);
        let reason = match self.outbox.failure() {
            _ if drained => reason,
            Some(failure) => failure,
            None if Instant::now() >= deadline => CloseReason::TimedOut,
            // It ended meanwhile; the first cause counts.
            None => reason,
        };
        {
            let mut life = lock(&self.life);
            if life.reason.is_none() {
                life.clean = drained && self.dialect == Dialect::Peerpy;
            }
        }
        self.kill(reason);
    }

    /// Waits until the other side's system has acknowledged every byte.
    fn taken_by_kernel(&self, deadline: Instant) -> bool {
        let mut pause = Duration::from_micros(200);
        loop {
            let Some(table) = kernel_table() else {
                // No such table on this system: what a LAN needs for the last segment, generously.
                std::thread::sleep(Duration::from_millis(200));
                return true;
            };
            let row = table
                .into_iter()
                .find(|row| (row.local, row.remote) == self.ends);
            match row {
                Some(row) if row.unacknowledged > 0 => {}
                Some(_) => return true,
                None => return false,
            }
            if self.is_dead() || Instant::now() >= deadline {
                return false;
            }
            // The system tells nobody when an acknowledgement comes.
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// The reader has read the other side's FIN, between two messages: the reason why no further
    /// message will come.
    pub(crate) fn remote_finished(&self) -> CloseReason {
        let reason = {
            let mut life = lock(&self.life);
            let reason = match (self.outbox.failure(), &life.closing) {
                // The error that the writer met was the end; the reader sees only its shadow.
                (Some(failure), _) => failure,
                (None, Some(closing)) => closing.clone(),
                (None, None) => CloseReason::ClosedThere,
            };
            life.reason.get_or_insert(reason).clone()
        };
        self.outbox.finish(reason.clone(), self.dialect);
        reason
    }

    /// Sends what is still queued and the FIN, after the other side's FIN: it goes on reading.
    pub(crate) fn answer_fin(self: &Arc<Link>, deadline: Instant) {
        let Ok(socket) = self.reading() else { return };
        let sent = self.outbox.failure().is_none() && self.drain(Some(deadline)).is_ok();
        let clean = match self.dialect {
            Dialect::Lanpeer if self.outbox.is_to_be_reset() => {
                let _ = sent && self.taken_by_kernel(deadline);
                false
            }
            Dialect::Lanpeer => sent && self.is_acknowledged(&socket, deadline),
            Dialect::Peerpy => sent && self.taken_by_kernel(deadline),
        };
        lock(&self.life).clean |= clean && !self.is_dead();
    }

    /// A `close` inside the connection's own handler, which runs on the thread that would read the
    /// other side's FIN: reads until there, and keeps what comes before for the reader.
    fn read_to_the_end(&self, deadline: Instant) {
        let Some(socket) = self.outbox.socket() else {
            return;
        };
        let limit = self.endpoint.settings.receive_queue_bytes;
        if self.read_ahead.read(self, &socket, deadline, limit)
            && self.end_of_input(&socket).is_ok()
        {
            let clean = self.is_acknowledged(&socket, deadline);
            lock(&self.life).clean |= clean;
        }
    }

    /// The reader ends: the last thing that happens to a connection.
    pub(crate) fn end(&self) {
        let reason = lock(&self.life)
            .reason
            .get_or_insert(CloseReason::ClosedThere)
            .clone();
        if self.dialect == Dialect::Peerpy || !lock(&self.life).clean {
            // Nothing that waits in the socket may leave a half-closed connection behind.
            self.kill(reason.clone());
        }
        self.dead.store(true, Ordering::SeqCst);
        drop(lock(&self.reading).take());
        drop(self.outbox.give_up(reason.clone()));
        drop(lock(&self.slot).take());
        self.endpoint.leave(self, reason);
        lock(&self.life).ended = true;
        self.ended.notify_all();
    }
}
