//! Messages of which only the newest counts, on their way through the queue.
//!
//! One that has not begun to leave does not lie among the bytes of the others but beside them, with its
//! place in their order. So a newer one can take it out, and everything else keeps its order.

use std::mem::take;

use super::SendQueue;
use crate::error::CloseReason;
use crate::net::wire::write_half::Unwritten;

/// The part of the queue that knows of replaceable messages. Like the rest it changes under the queue's lock.
#[derive(Default)]
pub(super) struct Latest {
    /// The message that has not begun to leave.
    waiting: Option<Replaceable>,
    /// The size of the payload of the message that a thread tries to write, without the lock. Until the
    /// socket has taken some of it, it may be replaced as well: it counts as replaced when it comes back.
    out: Option<usize>,
    /// How many of the bytes that leave next are the rest of such a message. They take no room from others.
    leaving: usize,
    /// How many were replaced.
    replaced: u64,
}

/// A message that may be replaced.
pub(in crate::net::send) struct Replaceable {
    /// Its head, and its payload.
    bytes: Vec<u8>,
    /// The size of its payload.
    size: usize,
    /// How many bytes of the queue were accepted before it.
    behind: usize,
}

impl Latest {
    #[inline]
    /// Does a message wait that has not begun to leave?
    pub fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    /// This many bytes were put before those of the queue.
    pub fn more_before(&mut self, bytes: usize) {
        if let Some(waiting) = &mut self.waiting {
            waiting.behind += bytes;
        }
    }

    /// The connection is over: nothing is written any more.
    pub fn clear(&mut self) {
        self.waiting = None;
        self.leaving = 0;
    }
}

impl<W: Unwritten> SendQueue<W> {
    /// Why a message would not be accepted: the queue is closed. A full queue is no reason here, since the
    /// message replaces one or waits beside the others.
    pub fn refusal(&self) -> Option<&CloseReason> {
        self.closed.as_ref()
    }

    /// Takes the message back that waits and may be replaced.
    pub fn withdraw(&mut self) -> Option<Replaceable> {
        let waiting = self.latest.waiting.take()?;
        self.take_back(waiting.size);
        Some(waiting)
    }

    /// The withdrawn message waits again: the newer one was not accepted.
    pub fn restore(&mut self, withdrawn: Option<Replaceable>) {
        if let Some(waiting) = withdrawn {
            self.messages += 1;
            self.bytes += waiting.size as u64;
            self.latest.waiting = Some(waiting);
        }
    }

    /// Counts a message that takes the place of the withdrawn one, if there was one, or of none. Says
    /// whether the caller may write it now.
    pub fn offer_latest(&mut self, size: usize, withdrawn: Option<Replaceable>) -> bool {
        self.is_begun = true;
        self.messages += 1;
        self.bytes += size as u64;
        if let Some(Replaceable { mut bytes, .. }) = withdrawn {
            self.latest.replaced += 1;
            if bytes.capacity() > self.spare.capacity() {
                bytes.clear();
                self.spare = bytes;
            }
        }
        self.is_idle()
    }

    /// Puts it behind everything else, of which nothing is written yet. `header_len`: of the head that
    /// was made last.
    pub fn push_latest(&mut self, header_len: usize, payload: &[u8]) {
        self.append_to = 0;
        let mut bytes = take(&mut self.spare);
        bytes.reserve_exact(header_len + payload.len());
        bytes.extend_from_slice(&self.head.bytes()[..header_len]);
        bytes.extend_from_slice(payload);
        self.latest.waiting = Some(Replaceable {
            bytes,
            size: payload.len(),
            behind: self.pending.len(),
        });
    }

    /// Puts the rest of it into the queue, which is empty: it has begun to leave.
    pub fn push_rest_of_latest(&mut self, header_len: usize, written: usize, payload: &[u8]) {
        self.push(header_len, written, payload);
        self.latest.leaving = self.pending.len();
    }

    /// What is to be written next, where a message waits that may be replaced. `None`: all of the rest.
    pub(super) fn latest_batch(&mut self) -> Option<Vec<u8>> {
        let waiting = self.latest.waiting.as_mut()?;
        let before = take(&mut waiting.behind);
        if before == self.pending.len() && before > 0 {
            return None;
        }
        if before > 0 {
            let rest = self.pending.split_off(before);
            return Some(std::mem::replace(&mut self.pending, rest));
        }
        let Replaceable { bytes, size, .. } = self.latest.waiting.take()?;
        self.latest.out = Some(size);
        self.latest.leaving = bytes.len();
        Some(bytes)
    }

    /// Is what was just taken such a message, whole?
    pub fn is_latest_out(&self) -> bool {
        self.latest.out.is_some()
    }

    /// A batch comes back, of which so much was written. Where that is nothing of a message that may be
    /// replaced, it waits again, unless it was replaced meanwhile; then the batch is empty.
    pub(super) fn give_latest(&mut self, batch: &mut Vec<u8>, written: usize) {
        let leaving = self.latest.leaving;
        self.latest.leaving = leaving.saturating_sub(written);
        let Some(size) = self.latest.out.take().filter(|_| written == 0) else {
            return;
        };
        self.latest.leaving = 0;
        if self.latest.waits() {
            self.take_back(size);
            self.latest.replaced += 1;
            batch.clear();
            return;
        }
        self.latest.waiting = Some(Replaceable {
            bytes: take(batch),
            size,
            behind: 0,
        });
    }

    /// Bytes that wait or are being written, and take room from messages that no newer one replaces.
    #[inline]
    pub(super) fn used_by_others(&self) -> usize {
        self.used().saturating_sub(self.latest.leaving)
    }

    /// All bytes that wait or are being written.
    pub fn waiting(&self) -> usize {
        let waiting = self.latest.waiting.as_ref();
        self.used() + waiting.map_or(0, |waiting| waiting.bytes.len())
    }

    /// How many were replaced.
    pub fn replaced(&self) -> u64 {
        self.latest.replaced
    }
}

#[cfg(test)]
mod tests;
