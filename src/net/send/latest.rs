//! Messages of which only the newest counts.
//!
//! The system's own buffer would hold old ones, so it is kept short from the first of them on. What it
//! does not take at once is left to the writer; and while it has taken nothing of a message, a newer one
//! replaces that.

use std::sync::Arc;

use super::Sender;
use super::exit;
use super::head::Shape;
use super::queue::SendQueue;
use super::turn::Turn;
use crate::error::SendError;
use crate::format::Encoded;
use crate::net::os::lock;
use crate::net::os::socket::keep_send_buffer_short;
use crate::net::os::sync::{MutexGuard, Ordering};

impl Sender {
    /// Sends a message that a newer one may replace while nothing of it has left. Never waits.
    pub fn send_latest(self: &Arc<Sender>, message: Encoded<'_>) -> Result<(), SendError> {
        self.check(&message)?;
        let payload = message.payload;
        let mut queue = lock(&self.queue);
        if let Some(reason) = queue.refusal() {
            return Err(SendError::Closed(reason.clone()));
        }
        self.keep_short();
        let withdrawn = queue.withdraw();
        let shape = match self.shape(&queue, &message) {
            Ok(shape) => shape,
            Err(error) => {
                queue.restore(withdrawn);
                return Err(error);
            }
        };
        let header_len = queue.head.make(payload.len(), message.data_type, shape);
        let is_free = queue.offer_latest(payload.len(), withdrawn);
        // The messages behind the first of a stream have no head, so that one is never taken out.
        let is_first = self.stream.is_on() && matches!(shape, Shape::Frame | Shape::Text);
        if is_free {
            let written = self.write_directly(&mut queue, header_len, payload)?;
            if written == header_len + payload.len() {
                self.settle(&mut queue);
            } else {
                exit::note(self, &mut queue);
                match written {
                    0 if !is_first => queue.push_latest(header_len, payload),
                    _ => queue.push_rest_of_latest(header_len, written, payload),
                }
                self.wake_writer(queue);
            }
            self.context.note_write();
            return Ok(());
        }
        exit::note(self, &mut queue);
        match is_first {
            true => queue.push(header_len, 0, payload),
            false => queue.push_latest(header_len, payload),
        }
        self.write_unless_held(queue);
        Ok(())
    }

    /// Has what waits written now, if nobody is at it who looks at the queue afterwards.
    fn write_unless_held(self: &Arc<Sender>, queue: MutexGuard<'_, SendQueue>) {
        if !queue.is_held() {
            Turn::take(self, queue).write_on();
        }
    }

    /// From now on the system is to hold little.
    fn keep_short(&self) {
        if !self.is_short.swap(true, Ordering::Relaxed) {
            if let Some(socket) = lock(&self.socket).as_ref() {
                keep_send_buffer_short(socket);
            }
        }
    }

    /// How many messages were replaced by newer ones.
    pub fn replaced(&self) -> u64 {
        lock(&self.queue).replaced()
    }
}
