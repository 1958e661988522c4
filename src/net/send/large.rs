//! Large messages: written by their caller, from where they lie.

use std::sync::Arc;
use std::time::Duration;

use super::exit;
use super::queue::SendQueue;
use super::turn::Turn;
use super::{Sender, Wait};
use crate::error::SendError;
use crate::net::burst;
use crate::net::os::socket::{WRITE_SLICE, is_pause};
use crate::net::os::sync::{Instant, MutexGuard};
use crate::net::wire::write_half::Patience;

/// How long a large message waits for the socket before its rest is copied into the queue, if it fits
/// there. The other side takes it sooner if its program reads.
const COPY_AFTER: Duration = Duration::from_millis(50);

impl Sender {
    /// Writes a large message from where it lies, and waits for the socket. The message was admitted, so it
    /// is accepted in any case: what is not written when the deadline or a close comes, or when the socket
    /// has taken too long, goes to the queue.
    ///
    /// The program's thread calls this, without the lock: a write may take long, and other threads that only
    /// want to queue a message are not to wait for it.
    pub(super) fn write_large<'a>(
        self: &'a Arc<Sender>,
        queue: MutexGuard<'a, SendQueue>,
        header_len: usize,
        payload: &[u8],
        wait: Wait,
    ) -> Result<(), SendError> {
        // The turn gives the lock away, and the next message makes its head in the same place.
        let header = *queue.head.bytes();
        let header = &header[..header_len];
        let total = header_len + payload.len();
        // What is left after `written` bytes, of the head and of the payload.
        let rest = |written: usize| {
            [
                &header[written.min(header_len)..],
                &payload[written.saturating_sub(header_len)..],
            ]
        };
        // While this thread has the turn, whatever others send gathers behind this message: the order on
        // the wire is the order of the admissions.
        let mut turn = Turn::take_for(self, queue, total);
        // The first write does not wait. Only a socket that was full once is waited for, in slices, so
        // that a deadline, a close and a slow receiver are seen between two of them.
        let mut patience = Patience::None;
        let copy_at = Instant::now() + COPY_AFTER;
        let limit = self.context.settings.send_queue;
        let mut written = 0;
        let failure = loop {
            // `left`: of an encrypted connection, what is sealed in a record and not yet on its way.
            if written == total && turn.left() == 0 {
                break None;
            }
            if patience != Patience::None {
                let now = Instant::now();
                // A wait for the socket lasts a whole slice.
                let late = matches!(wait, Wait::Until(deadline) if now + WRITE_SLICE > deadline);
                let slow = now >= copy_at && total - written <= limit;
                if late || slow || self.life.is_ending() {
                    break None;
                }
            }
            match turn.write_parts(rest(written), patience) {
                Ok(n) => written += n,
                Err(error) if is_pause(&error) => {}
                Err(error) => break Some(error),
            }
            patience = Patience::Slice;
        };
        let mut queue = turn.give_back();
        burst::note();
        if let Some(error) = failure {
            queue.take_back(payload.len());
            return Err(SendError::Closed(self.fail(&mut queue, &error)));
        }
        // The connection has ended while the lock was not held. A message of which a part is missing was
        // not accepted, and is not counted.
        if queue.is_gone() && written < total {
            queue.take_back(payload.len());
            self.tell_waiters(&queue);
            return Err(SendError::Closed(queue.why_closed()));
        }
        // Others may have gathered meanwhile: they are behind it.
        if written < total {
            let at_exit = exit::note(self, &mut queue);
            queue.push_front(rest(written));
            self.wake_writer(queue);
            at_exit.settle(self);
        } else {
            self.continue_writing(queue);
        }
        Ok(())
    }
}
