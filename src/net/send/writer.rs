//! How the send queue is emptied: in one write of what has gathered, by whoever comes first, or by
//! the connection's writer thread, which waits for the socket.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use log::trace;

use crate::error::{CloseReason, SendError};
use crate::net::link::Link;
use crate::net::os::socket::{is_pause, write_now, write_slice};
use crate::net::os::sync::{Instant, MutexGuard, TcpStream};
use crate::net::os::{LOG, lock};
use crate::net::send::flusher::Numbers;
use crate::net::send::queue::{Fin, Queue};
use crate::net::send::sender::GATHERED;

/// A writer thread without work ends after this time.
const RETIRE: Duration = Duration::from_secs(1);

/// Queue buffers above this size are given back after a burst.
const KEEP: usize = 4 << 10;

impl Link {
    /// After a write outside the lock: others may have queued messages meanwhile. For this and the
    /// following, `false` is [`Queue::is_left`].
    pub(crate) fn continue_writing(self: &Arc<Link>, mut queue: MutexGuard<'_, Queue>) -> bool {
        self.outbox.settle(&mut queue);
        queue.is_held() || !queue.has_work() || self.schedule_flush(queue)
    }

    /// Sees to it that what has gathered is written when the sender has gone quiet; or at once, by
    /// the writer thread, where it is much or the end.
    pub(crate) fn schedule_flush(self: &Arc<Link>, mut queue: MutexGuard<'_, Queue>) -> bool {
        if queue.pending.len() >= GATHERED || queue.sealed() > 0 || queue.closed.is_some() {
            return self.wake_writer(queue);
        }
        if !queue.listed {
            queue.listed = true;
            drop(queue);
            if !self.endpoint.flusher.add(self) {
                let mut queue = lock(&self.outbox.queue);
                queue.listed = false;
                return self.wake_writer(queue);
            }
        }
        true
    }

    /// Writes what has gathered, as far as the socket takes it at once. The writer thread gets the
    /// rest.
    pub(crate) fn write_gathered(self: &Arc<Link>, queue: MutexGuard<'_, Queue>) -> bool {
        self.write_batch(queue, write_now)
    }

    /// The same, with another first write.
    fn write_batch(
        self: &Arc<Link>,
        mut queue: MutexGuard<'_, Queue>,
        mut write: fn(&TcpStream, &[IoSlice<'_>]) -> io::Result<usize>,
    ) -> bool {
        let Some(socket) = queue.socket.clone() else {
            return true;
        };
        let mut batch = std::mem::take(&mut queue.spare);
        std::mem::swap(&mut batch, &mut queue.pending);
        queue.writes += 1;
        queue.busy = true;
        queue.in_flight = batch.len() + queue.sealed();
        let mut sealing = queue.sealing.take();
        drop(queue);

        let mut written = 0;
        let failure = loop {
            let rest = &batch[written..];
            let result = match &mut sealing {
                None if rest.is_empty() => break None,
                None => write(&socket, &[IoSlice::new(rest)]),
                Some(sealing) if rest.is_empty() && sealing.left() == 0 => break None,
                Some(sealing) => sealing.write([rest, &[]], |records| write(&socket, records)),
            };
            match result {
                Ok(n) => {
                    written += n;
                    write = write_now;
                    self.note_write();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break (!is_pause(&error)).then_some(error),
            }
        };
        drop(socket);

        let mut queue = lock(&self.outbox.queue);
        queue.busy = false;
        queue.in_flight = 0;
        queue.sealing = sealing;
        if let Some(error) = failure {
            self.outbox.fail(&mut queue, &error);
        }
        let is_left = written < batch.len() || queue.sealed() > 0;
        let is_full = is_left && queue.socket.is_some() && queue.failure.is_none();
        if is_full {
            batch.drain(..written);
            batch.extend_from_slice(&queue.pending);
            std::mem::swap(&mut batch, &mut queue.pending);
        }
        batch.clear();
        queue.spare = batch;
        if is_full {
            self.wake_writer(queue)
        } else {
            self.continue_writing(queue)
        }
    }

    /// The flusher's turn, in a burst that was last seen like this. Writes what has gathered if that
    /// is all for now, or `old`. Says how it is now, and whether this is the first time since memory
    /// was given back.
    pub(crate) fn flush_listed(
        self: &Arc<Link>,
        seen: Option<Numbers>,
        old: bool,
    ) -> (Numbers, bool) {
        let mut queue = lock(&self.outbox.queue);
        let numbers = Numbers {
            messages: queue.messages,
            writes: queue.writes,
        };
        let over = seen.is_some_and(|seen| seen.messages == numbers.messages);
        queue.listed = !over;
        let first = !std::mem::replace(&mut queue.grown, true);
        if (over || old || seen.is_none()) && !queue.is_held() && queue.has_work() {
            self.write_gathered(queue);
        }
        (numbers, first)
    }

    /// Gives memory back that a burst has taken.
    pub(crate) fn trim_queue(&self) {
        let mut queue = lock(&self.outbox.queue);
        queue.grown = false;
        if queue.is_idle() {
            queue.pending.shrink_to(KEEP);
            queue.spare = Vec::new();
        }
    }

    /// Waits until bytes have left the queue; where nobody else writes them, this thread does.
    /// `None`: the deadline has passed.
    pub(crate) fn wait_for_room<'a>(
        self: &'a Arc<Link>,
        queue: MutexGuard<'a, Queue>,
        deadline: Option<Instant>,
    ) -> Option<MutexGuard<'a, Queue>> {
        if !queue.is_left() {
            return self.outbox.wait_for_room(queue, deadline);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return None;
        }
        self.write_batch(queue, write_slice);
        Some(lock(&self.outbox.queue))
    }

    /// Waits until everything accepted is handed to the system. `Err`: it never will be, or not
    /// before the deadline.
    pub(crate) fn wait_until_empty(
        self: &Arc<Link>,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let mut queue = lock(&self.outbox.queue);
        loop {
            if let Some(failure) = &queue.failure {
                return Err(SendError::Closed(failure.clone()));
            }
            if queue.socket.is_none() {
                let reason = queue.closed.clone();
                return Err(SendError::Closed(reason.unwrap_or(CloseReason::ClosedHere)));
            }
            if queue.is_idle() {
                return Ok(());
            }
            queue = self
                .wait_for_room(queue, deadline)
                .ok_or(SendError::Timeout)?;
        }
    }

    /// Has the writer thread write what is pending.
    pub(crate) fn wake_writer(self: &Arc<Link>, mut queue: MutexGuard<'_, Queue>) -> bool {
        if queue.is_held() {
            return true;
        }
        if queue.writer {
            queue.parked = false;
            drop(queue);
            self.outbox.work.notify_one();
            return true;
        }
        queue.writer = true;
        drop(queue);
        let link = Arc::clone(self);
        if let Err(error) = self
            .endpoint
            .spawn(format!("lanpeer-w-{}", self.id), move || link.write_loop())
        {
            // The system has no thread for us. Then one that is there writes what the socket takes.
            let (id, peer_addr) = (self.id, self.peer_addr);
            trace!(target: LOG, "connection {id} with {peer_addr}: no writer thread: {error}");
            return cfg!(unix) && self.endpoint.watchdog.write_for(self) || self.leave();
        }
        true
    }

    /// There is no thread to write what is pending, and this one may not wait: the flusher tries
    /// again and again, if it runs, or else those who wait for room do. With neither, it is written
    /// at the next call, and where none is to come, the connection ends.
    fn leave(self: &Arc<Link>) -> bool {
        let mut queue = lock(&self.outbox.queue);
        queue.writer = false;
        let listed = std::mem::replace(&mut queue.listed, true);
        drop(queue);
        if listed || cfg!(unix) && self.endpoint.flusher.try_again(self) {
            return true;
        }
        let mut queue = lock(&self.outbox.queue);
        queue.listed = false;
        // They waited because this one was at it.
        if queue.waiters > 0 {
            self.outbox.room.notify_all();
        }
        let reason = queue.closed.clone().filter(|_| queue.deserted);
        match reason.filter(|_| queue.is_left()) {
            Some(reason) => {
                drop(queue);
                self.kill(reason);
                true
            }
            None => !queue.is_left(),
        }
    }

    /// In place of the writer thread: writes what the socket takes at once. `false`: there is nothing
    /// left to write, or a thread for it again.
    pub(crate) fn write_some(self: &Arc<Link>) -> bool {
        let mut queue = lock(&self.outbox.queue);
        if !queue.busy && queue.has_work() {
            let Queue {
                socket,
                pending,
                sealing,
                ..
            } = &mut *queue;
            let write = |socket: &TcpStream| match sealing {
                None => write_now(socket, &[IoSlice::new(pending)]),
                Some(sealing) => {
                    sealing.write([pending, &[]], |records| write_now(socket, records))
                }
            };
            match socket.as_deref().map(write) {
                Some(Ok(written)) => drop(queue.pending.drain(..written)),
                Some(Err(error)) if !is_pause(&error) => self.outbox.fail(&mut queue, &error),
                _ => {}
            }
            self.outbox.settle(&mut queue);
        }
        let left = queue.socket.is_some() && (queue.busy || queue.has_work());
        queue.writer = left;
        drop(queue);
        if !left {
            return false;
        }
        let link = Arc::clone(self);
        let writer = self
            .endpoint
            .spawn(format!("lanpeer-w-{}", self.id), move || link.write_loop());
        writer.is_err()
    }

    /// The writer thread.
    fn write_loop(&self) {
        let outbox = &self.outbox;
        // Changes places with the queue's own buffer, so that a burst needs no new memory.
        let mut batch = Vec::new();
        loop {
            self.write_pending(&mut batch);
            let mut queue = lock(&outbox.queue);
            if queue.socket.is_none() || queue.fin == Fin::Sent {
                queue.writer = false;
                return;
            }
            if !queue.busy && queue.has_work() {
                continue;
            }
            queue.parked = true;
            let (mut queue, timeout) = outbox
                .work
                .wait_timeout(queue, RETIRE)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            queue.parked = false;
            if timeout.timed_out() && !queue.has_work() {
                queue.writer = false;
                drop(queue);
                self.trim_queue();
                return;
            }
        }
    }

    /// Writes until nothing is pending, or another holds the socket.
    fn write_pending(&self, batch: &mut Vec<u8>) {
        let outbox = &self.outbox;
        let mut queue = lock(&outbox.queue);
        while !queue.busy && queue.has_work() {
            let Some(socket) = queue.socket.clone() else {
                return;
            };
            batch.clear();
            std::mem::swap(batch, &mut queue.pending);
            queue.busy = true;
            queue.in_flight = batch.len() + queue.sealed();
            let mut sealing = queue.sealing.take();
            drop(queue);

            let mut rest = &batch[..];
            let mut failure = None;
            while !self.is_dead() {
                let result = match &mut sealing {
                    None if rest.is_empty() => break,
                    None => write_slice(&socket, &[IoSlice::new(rest)]),
                    Some(sealing) if rest.is_empty() && sealing.left() == 0 => break,
                    Some(sealing) => {
                        sealing.write([rest, &[]], |records| write_slice(&socket, records))
                    }
                };
                match result {
                    Ok(n) => {
                        rest = &rest[n..];
                        self.note_write();
                    }
                    Err(error) if is_pause(&error) => {}
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                }
            }
            drop(socket);

            queue = lock(&outbox.queue);
            queue.busy = false;
            queue.in_flight = 0;
            queue.sealing = sealing;
            if let Some(error) = failure {
                outbox.fail(&mut queue, &error);
            }
            outbox.settle(&mut queue);
        }
    }
}
