//! Requests, replies, and the word that there will be no reply.

use std::sync::Arc;

use super::exit;
use super::queue::{LARGE, SendQueue};
use super::{Sender, Wait};
use crate::error::SendError;
use crate::format::Encoded;
use crate::net::os::lock;
use crate::net::os::sync::{MutexGuard, Ordering};
use crate::proto::frames::{Call, Failure, HEAD_ROOM, Pulse, Word, pulse, word};

/// After this many replies the reader thread writes what was asked meanwhile, and goes on reading.
const REPLIES: usize = 16;

/// How many bytes of [`Word::Failed`] may wait beyond the limit of the queue. A side that reads nothing and
/// asks on and on is no longer told what fails, so that it cannot make the queue grow without bound.
const FAILURES: usize = 1 << 20;

/// Replies that the reader thread passes on, one close behind the other, to threads that mostly ask again
/// at once. It wakes them all, and then writes what they have asked meanwhile in one piece, since a
/// wake-up takes less time than a write. Meanwhile they leave the writing to it.
pub(crate) struct Replies<'a> {
    sender: &'a Arc<Sender>,
    count: usize,
}

impl Replies<'_> {
    pub fn new(sender: &Arc<Sender>) -> Replies<'_> {
        Replies { sender, count: 0 }
    }

    /// The reader thread is about to pass a reply on. From the first on, threads that ask leave the writing
    /// to it. The flag is set before the thread that gets the reply is woken, so that thread sees it.
    pub fn one_more(&mut self) {
        if self.count == REPLIES {
            self.end();
        }
        if self.count == 0 {
            self.sender.reader_writes.store(true, Ordering::SeqCst);
        }
        self.count += 1;
    }

    /// The reader thread is about to do something else, which may take long: it writes what it owes first.
    #[inline]
    pub fn end(&mut self) {
        if self.count > 0 {
            self.write();
        }
    }

    fn write(&mut self) {
        self.count = 0;
        // Before the look at the queue: a thread that still finds it set has queued its request before.
        self.sender.reader_writes.store(false, Ordering::SeqCst);
        self.sender.write_for_all();
    }
}

impl Drop for Replies<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

impl Sender {
    /// Sends a reply, which counts as a message, as [`send`](Sender::send) does.
    pub fn send_reply(
        self: &Arc<Sender>,
        message: Encoded<'_>,
        id: u32,
        wait: Wait,
    ) -> Result<(), SendError> {
        let queue = self.admit_call(&message, wait)?;
        self.send_admitted(queue, message, Some(Call::Reply(id)), wait, None)
    }

    /// Sends a request, which counts as a message. Its sender is about to wait, so it is not left to the
    /// flusher. `alone`: no other thread is likely to send one at this moment. If others do, one thread
    /// writes for all.
    pub fn send_request(
        self: &Arc<Sender>,
        message: Encoded<'_>,
        id: u32,
        wait: Wait,
        alone: bool,
    ) -> Result<(), SendError> {
        let mut queue = self.admit_call(&message, wait)?;
        let (call, size) = (Call::Request(id), message.payload.len());
        if size >= LARGE || (alone && queue.is_drained()) {
            return self.send_admitted(queue, message, Some(call), wait, Some(false));
        }
        let header_len = self.make_call(&mut queue, &message, call);
        // It goes into the queue in any case, behind what is there.
        queue.offer(size, || true);
        let at_exit = exit::note(self, &mut queue);
        queue.push(header_len, 0, message.payload);
        // Whoever writes looks at the queue afterwards, and so does the reader thread.
        match self.reader_writes.load(Ordering::SeqCst) {
            true => drop(queue),
            false => self.write_unless_held(queue),
        }
        at_exit.settle(self);
        Ok(())
    }

    /// Writes what waits, unless another thread has the turn, which looks at the queue afterwards.
    fn write_for_all(self: &Arc<Sender>) {
        let queue = lock(&self.queue);
        if queue.has_work() {
            self.write_unless_held(queue);
        }
    }

    /// The lock of the queue, once it has room for this request or reply.
    fn admit_call(
        self: &Arc<Sender>,
        message: &Encoded<'_>,
        wait: Wait,
    ) -> Result<MutexGuard<'_, SendQueue>, SendError> {
        self.check(message)?;
        let total = message.payload.len() + HEAD_ROOM;
        let queue = lock(&self.queue);
        // A request without room waits in line like a message, and a deadline ends that too.
        match queue.admits_at_once(total) {
            true => Ok(queue),
            false => self.wait_in_line(queue, total, wait, &mut None),
        }
    }

    /// Makes the head of a request or a reply. Says how long it is.
    pub(super) fn make_call(
        &self,
        queue: &mut SendQueue,
        message: &Encoded<'_>,
        call: Call,
    ) -> usize {
        let other = message.data_type != self.terms.data_type;
        let other = other.then_some(message.data_type);
        queue.head.make_call(message.payload.len(), other, call)
    }

    /// Says that a request of the other side will have no reply, unless the connection ends. Never
    /// waits, so that also the thread may say it that reads.
    pub fn say_failed(self: &Arc<Sender>, id: u32, why: Failure, words: &str) {
        let failed = Word::Failed { id, why, skip: 0 };
        lock(&self.queue).push_word(&word(failed, words, false), FAILURES);
        self.flush_now();
    }

    /// Says a heartbeat, or asks for one. Never waits. Not behind bytes that the socket has not taken
    /// yet: those are a sign of life themselves, and the other side's system holds some that it has not
    /// read.
    pub fn say_pulse(self: &Arc<Sender>, what: Pulse) {
        {
            let mut queue = lock(&self.queue);
            if !queue.is_drained() {
                return;
            }
            let headless = self.is_headless(&queue);
            queue.push_word(&pulse(what, headless), 0);
        }
        self.flush_now();
    }
}
