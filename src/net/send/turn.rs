//! One turn at the socket: a write without the lock.

use std::io;
use std::sync::Arc;

use super::Sender;
use super::queue::SendQueue;
use crate::net::os::lock;
use crate::net::os::socket::is_pause;
use crate::net::os::sync::MutexGuard;
use crate::net::wire::write_half::{Patience, Unwritten, WriteHalf};

/// Owns the writing half, and what of the queue it is to write. Its drop gives both back, so that a
/// turn cannot be lost.
pub(super) struct Turn<'a> {
    sender: &'a Arc<Sender>,
    /// `None`: someone else has the turn, or the connection is over. Then there is nothing to do.
    half: Option<WriteHalf>,
    batch: Vec<u8>,
    written: usize,
}

impl<'a> Turn<'a> {
    /// A turn for everything that waits.
    pub fn take(sender: &'a Arc<Sender>, mut queue: MutexGuard<'_, SendQueue>) -> Turn<'a> {
        let half = queue.take_half(0);
        let batch = match &half {
            Some(_) => queue.take_batch(),
            None => Vec::new(),
        };
        Turn {
            sender,
            half,
            batch,
            written: 0,
        }
    }

    /// A turn for `size` bytes that are not in the queue.
    pub fn take_for(
        sender: &'a Arc<Sender>,
        mut queue: MutexGuard<'_, SendQueue>,
        size: usize,
    ) -> Turn<'a> {
        Turn {
            sender,
            half: queue.take_half(size),
            batch: Vec::new(),
            written: 0,
        }
    }

    /// Bytes that are sealed and not yet written.
    pub fn left(&self) -> usize {
        self.half.as_ref().map_or(0, Unwritten::left)
    }

    /// Writes once what is not in the queue.
    pub fn write_parts(&mut self, parts: [&[u8]; 2], patience: Patience) -> io::Result<usize> {
        let Some(half) = &mut self.half else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let written = half.write(parts, patience)?;
        self.sender.context.note_write();
        Ok(written)
    }

    /// Writes the batch as far as the socket takes it, and gives the turn back. What is left is for
    /// the writer.
    pub fn write(mut self) {
        if self.half.is_none() {
            return;
        }
        let failure = self.write_batch(Patience::None);
        let sender = self.sender;
        let is_full = self.left() > 0 || self.written < self.batch.len();
        let mut queue = self.give_back();
        match failure {
            Some(error) => drop(sender.fail(&mut queue, &error)),
            None if is_full && !queue.is_gone() => sender.wake_writer(queue),
            None => sender.continue_writing(queue),
        }
    }

    /// Writes the batch: as far as the socket takes it at once, or else until all is written or the
    /// connection is over. An error is what the socket met.
    pub fn write_batch(&mut self, patience: Patience) -> Option<io::Error> {
        let half = self.half.as_mut()?;
        loop {
            let rest = &self.batch[self.written..];
            if rest.is_empty() && half.left() == 0 {
                return None;
            }
            match half.write([rest, &[]], patience) {
                Ok(written) => {
                    self.written += written;
                    self.sender.context.note_write();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_pause(&error) => {
                    if patience == Patience::None || self.sender.life.is_over() {
                        return None;
                    }
                }
                Err(error) => return Some(error),
            }
        }
    }

    /// Gives the half back, and what is left of the batch.
    pub fn give_back(mut self) -> MutexGuard<'a, SendQueue> {
        self.put_back()
    }

    fn put_back(&mut self) -> MutexGuard<'a, SendQueue> {
        let mut queue = lock(&self.sender.queue);
        if let Some(half) = self.half.take() {
            queue.give_half(half, std::mem::take(&mut self.batch), self.written);
        }
        queue
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.half.is_some() {
            drop(self.put_back());
        }
    }
}
