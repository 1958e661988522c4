//! Waiting at the send queue: for room, in the order in which the callers came, and until everything is
//! written.

use std::sync::Arc;

use super::queue::{Next, Place, SendQueue};
use super::turn::Turn;
use super::{Sender, Wait};
use crate::error::SendError;
use crate::net::os::condvar::{is_late, wait};
use crate::net::os::lock;
use crate::net::os::sync::{Instant, MutexGuard};

/// A place in the line of those who wait for room at one connection. Its drop gives it up and wakes those
/// behind it: one of them may be the first now.
pub(crate) struct InLine {
    sender: Arc<Sender>,
    /// `None`: it was given up.
    place: Option<Place>,
}

impl InLine {
    /// It is the turn of this place. The caller has the lock, which a drop would take a second time, so the
    /// place is given up here.
    fn end(mut self, queue: &mut SendQueue) {
        if let Some(place) = self.place.take() {
            queue.leave_line(place);
            // There may be room for the next in line as well, and nobody else wakes it.
            self.sender.tell_waiters(queue);
        }
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let mut queue = lock(&self.sender.queue);
            queue.leave_line(place);
            self.sender.tell_waiters(&queue);
        }
    }
}

impl Sender {
    /// Waits in line for room for `total` bytes. Returns the lock, under which the message then goes in, so
    /// that no other takes the room. `in_line` keeps the place of a caller that tries again later.
    #[cold]
    pub(super) fn wait_in_line<'a>(
        self: &'a Arc<Sender>,
        mut queue: MutexGuard<'a, SendQueue>,
        total: usize,
        wait: Wait,
        in_line: &mut Option<InLine>,
    ) -> Result<MutexGuard<'a, SendQueue>, SendError> {
        let mut tried = false;
        loop {
            let place = in_line.as_ref().and_then(|own| own.place);
            // Only whoever is first in line is asked about room. A small message behind a large one would
            // otherwise take each bit of room as it comes, and the large one would wait for ever.
            if queue.admits(total, place)? {
                if let Some(own) = in_line.take() {
                    own.end(&mut queue);
                }
                return Ok(queue);
            }
            // Room can be made by whoever waits for it. Once: where the socket does not take enough, the
            // writer waits for it, and this thread waits for the writer.
            if !tried && queue.next() != Next::Nothing {
                tried = true;
                Turn::take(self, queue).write();
                queue = lock(&self.queue);
                continue;
            }
            if in_line.is_none() && !matches!(wait, Wait::No) {
                *in_line = Some(InLine {
                    sender: Arc::clone(self),
                    place: Some(queue.queue_up()),
                });
            }
            // Tried once more at the deadline, above: room that came in time is used.
            let deadline = match wait {
                Wait::No => return Err(SendError::Full),
                Wait::Until(deadline) if Instant::now() >= deadline => {
                    return Err(SendError::Timeout);
                }
                Wait::Until(deadline) => Some(deadline),
                Wait::Forever => None,
            };
            queue = self.wait_for_room(queue, deadline);
        }
    }

    /// Waits until bytes have left the queue, or until the deadline.
    fn wait_for_room<'a>(
        &self,
        mut queue: MutexGuard<'a, SendQueue>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, SendQueue> {
        // Counted under the lock, so that a thread that makes room wakes nobody where nobody waits:
        // that would be a call of the system for each write.
        queue.waiters += 1;
        queue = wait(&self.room, queue, deadline);
        queue.waiters -= 1;
        queue
    }

    /// Writes what has gathered, and waits until everything accepted is handed to the system, also what
    /// others send meanwhile. `Err`: it never will be, or not before the deadline.
    pub fn drain(self: &Arc<Sender>, deadline: Option<Instant>) -> Result<(), SendError> {
        self.flush_now();
        let mut queue = lock(&self.queue);
        loop {
            // What the socket met while it was read ends the writing as well, and may be known before any
            // write fails.
            if let Some(fault) = self.life.fault() {
                // A thread that hears of the end here must get no Ok from a later send.
                queue.close(fault.clone());
                return Err(SendError::Closed(fault));
            }
            if queue.is_gone() {
                return Err(SendError::Closed(queue.why_closed()));
            }
            if queue.is_drained() {
                return Ok(());
            }
            if is_late(deadline) {
                return Err(SendError::Timeout);
            }
            queue = self.wait_for_room(queue, deadline);
        }
    }
}
