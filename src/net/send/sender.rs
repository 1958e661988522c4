//! The send path.
//!
//! A lone message is written by the caller, at once. One that follows others closely is appended to
//! a queue. When [`GATHERED`] bytes are in it, the caller writes them all; if it goes quiet before,
//! the peer's flusher thread does. What the socket does not take is left to the connection's writer
//! thread. A large message is written by the caller from where it lies, without a copy, as soon as
//! the queue is empty. Whoever writes while not holding the lock has the queue's `busy` flag, so
//! that the order of messages is the order in which they were accepted.

use std::cell::Cell;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{CloseReason, SendError};
use crate::format::Encoded;
use crate::net::link::Link;
use crate::net::os::lock;
use crate::net::os::socket::{is_pause, write_now, write_slice};
use crate::net::os::sync::{Instant, MutexGuard, Ordering};
use crate::net::send::queue::Queue;
use crate::proto::header::{HEADER_LEN, data_header};

/// From this payload size on the caller writes the message itself, without a copy.
const LARGE: usize = 64 << 10;

/// A message that follows the last one of its thread within this time is part of a burst. About
/// the time that one write takes.
const BURST: Duration = Duration::from_micros(10);

/// So many bytes of a burst make a write of their own.
pub(crate) const GATHERED: usize = 128 << 10;

/// How long a send may wait for room in the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    No,
    Until(Instant),
    Forever,
}

/// Is a message part of a burst, in which gathering pays?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Burst(bool);

thread_local! {
    static LAST_SEND: Cell<Option<Instant>> = const { Cell::new(None) };
}

impl Burst {
    /// Sends of this thread on whichever connection count.
    pub fn now() -> Burst {
        let now = Instant::now();
        Burst(
            LAST_SEND
                .get()
                .is_some_and(|last| now.duration_since(last) < BURST),
        )
    }

    pub fn note() {
        LAST_SEND.set(Some(Instant::now()));
    }

    /// The thread is about to wait for others: what it sends next answers them, however soon.
    pub fn end() {
        LAST_SEND.set(None);
    }
}

impl Link {
    /// Sends a message, or says why not; see the top of this file for how.
    pub fn send(
        self: &Arc<Link>,
        message: Encoded<'_>,
        wait: Wait,
        burst: Option<Burst>,
    ) -> Result<(), SendError> {
        self.check(&message)?;
        let payload = message.payload;
        let outbox = &self.outbox;
        let mut queue = self.admit(payload.len() + HEADER_LEN, wait)?;
        let headed = self.header(&mut queue, &message)?;
        queue.messages += 1;
        queue.bytes += payload.len() as u64;

        let header_len = if headed { HEADER_LEN } else { 0 };
        let mut written = None;
        if queue.is_idle() {
            let large = payload.len() >= LARGE;
            if large && !matches!(wait, Wait::No) {
                return self.write_large(queue, header_len, payload, wait);
            }
            if large || burst.unwrap_or_else(Burst::now) == Burst(false) {
                written = Some(self.write_directly(&mut queue, header_len, payload)?);
            }
            Burst::note();
        }
        if written == Some(header_len + payload.len()) && !queue.has_work() {
            outbox.settle(&mut queue);
            drop(queue);
            self.note_write();
            return Ok(());
        }
        let is_full = written.is_some();
        let written = written.unwrap_or(0);
        let Queue {
            pending, header, ..
        } = &mut *queue;
        pending.reserve(header_len + payload.len() - written);
        pending.extend_from_slice(&header[written.min(header_len)..header_len]);
        pending.extend_from_slice(&payload[written.saturating_sub(header_len)..]);
        // Whoever holds the socket looks at the queue afterwards.
        let mut is_left = false;
        if queue.is_held() {
        } else if is_full {
            is_left = !self.wake_writer(queue);
            self.note_write();
        } else if queue.pending.len() >= GATHERED {
            is_left = !self.write_gathered(queue);
        } else if !queue.listed {
            is_left = !self.schedule_flush(queue);
        }
        if is_left {
            self.write_as_caller(wait);
        }
        Ok(())
    }

    /// A message was accepted, and no thread is to be had that would write it: this one does, as
    /// long as it may wait.
    #[cold]
    fn write_as_caller(self: &Arc<Link>, wait: Wait) {
        let _ = match wait {
            Wait::No => Ok(()),
            Wait::Until(deadline) => self.wait_until_empty(Some(deadline)),
            Wait::Forever => self.wait_until_empty(None),
        };
    }

    /// Something was written, so that it may write_as_caller unacknowledged: told afterwards, or the watchdog
    /// could look in between, see nothing, and go to sleep.
    pub(crate) fn note_write(&self) {
        self.endpoint.watchdog.note_write(&self.endpoint);
    }

    /// Waits until everything accepted so far is handed to the system.
    pub fn flush(self: &Arc<Link>) -> Result<(), SendError> {
        self.drain(None)
    }

    /// The same; `Err`: it never will be, or not before the deadline.
    pub(crate) fn drain(self: &Arc<Link>, deadline: Option<Instant>) -> Result<(), SendError> {
        self.flush_now();
        self.wait_until_empty(deadline)
    }

    /// Writes what has gathered, unless someone is at it, and never waits. `false`: nobody will
    /// write the rest.
    pub(crate) fn flush_now(self: &Arc<Link>) -> bool {
        let queue = lock(&self.outbox.queue);
        queue.is_held() || !queue.has_work() || self.write_gathered(queue)
    }

    fn check(&self, message: &Encoded<'_>) -> Result<(), SendError> {
        let (size, limit) = (
            message.payload.len(),
            self.endpoint.settings.max_message_size,
        );
        if size > limit {
            return Err(SendError::TooLarge { size, limit });
        }
        if message.data_type != self.data_type && (self.strict || self.stream.is_some()) {
            return Err(SendError::WrongType {
                expected: self.data_type,
                got: message.data_type,
            });
        }
        if self.stream.is_some() {
            let stream = self.known_stream_size();
            if size == 0 || stream.is_some_and(|stream| stream != size) {
                return Err(SendError::WrongSize {
                    size,
                    stream: stream.unwrap_or(0),
                });
            }
        }
        Ok(())
    }

    /// Waits in line for room for `total` bytes. A message larger than the queue goes when the
    /// queue is empty.
    fn admit(
        self: &Arc<Link>,
        total: usize,
        wait: Wait,
    ) -> Result<MutexGuard<'_, Queue>, SendError> {
        let limit = self.endpoint.settings.send_queue;
        let queue = lock(&self.outbox.queue);
        let fits = queue.line.is_empty() && queue.used() + total <= limit;
        if fits && queue.closed.is_none() {
            return Ok(queue);
        }
        self.wait_in_line(queue, total, wait)
    }

    #[cold]
    fn wait_in_line<'a>(
        self: &'a Arc<Link>,
        mut queue: MutexGuard<'a, Queue>,
        total: usize,
        wait: Wait,
    ) -> Result<MutexGuard<'a, Queue>, SendError> {
        let limit = self.endpoint.settings.send_queue;
        let mut ticket = None;
        let mut tried = false;
        let result = loop {
            if let Some(reason) = &queue.closed {
                break Err(SendError::Closed(reason.clone()));
            }
            let turn = queue.line.front().copied() == ticket;
            if turn && (queue.used() == 0 || queue.used() + total <= limit) {
                break Ok(());
            }
            if turn && !tried && !queue.is_held() && queue.socket.is_some() {
                tried = true;
                self.write_gathered(queue);
                queue = lock(&self.outbox.queue);
                continue;
            }
            let deadline = match wait {
                Wait::No => break Err(SendError::Full),
                Wait::Until(deadline) if Instant::now() >= deadline => {
                    break Err(SendError::Timeout);
                }
                Wait::Until(deadline) => Some(deadline),
                Wait::Forever => None,
            };
            if ticket.is_none() {
                let own = queue.next_ticket;
                queue.next_ticket += 1;
                queue.line.push_back(own);
                ticket = Some(own);
            }
            queue = match self.wait_for_room(queue, deadline) {
                Some(queue) => queue,
                None => lock(&self.outbox.queue),
            };
        };
        if ticket.is_some() {
            queue.line.retain(|waiting| Some(*waiting) != ticket);
            if queue.waiters > 0 {
                self.outbox.room.notify_all();
            }
        }
        result.map(|()| queue)
    }

    /// Puts the message's header into `queue.header`; says whether it needs one.
    fn header(&self, queue: &mut Queue, message: &Encoded<'_>) -> Result<bool, SendError> {
        let size = message.payload.len();
        if self.stream.is_some() {
            // The first message in either direction decides the size, once.
            let first =
                self.stream_size
                    .compare_exchange(0, size, Ordering::SeqCst, Ordering::SeqCst);
            match first {
                Err(stream) if stream != size => return Err(SendError::WrongSize { size, stream }),
                Err(_) if queue.messages > 0 || self.stream_is_named() => return Ok(false),
                // It has sent the first message, and expects no header, once it looks again.
                Err(_) if self.headerless.load(Ordering::SeqCst) => return Ok(false),
                _ => {}
            }
        }
        if queue.header_of != Some((size, message.data_type)) {
            queue.header = data_header(size, message.data_type);
            queue.header_of = Some((size, message.data_type));
        }
        Ok(true)
    }

    /// One write of what the socket takes at once, under the lock: it never waits. Says how much.
    fn write_directly(
        &self,
        queue: &mut Queue,
        header_len: usize,
        payload: &[u8],
    ) -> Result<usize, SendError> {
        let Some(socket) = &queue.socket else {
            return Ok(0);
        };
        let parts = [&queue.header[..header_len], payload];
        let result = match &mut queue.sealing {
            None => {
                let parts = parts.map(IoSlice::new);
                write_now(socket, &parts[usize::from(header_len == 0)..])
            }
            Some(sealing) => sealing.write(parts, |records| write_now(socket, records)),
        };
        match result {
            Ok(written) => Ok(written),
            Err(error) if is_pause(&error) => Ok(0),
            Err(error) => {
                queue.take_back(payload.len());
                self.outbox.fail(queue, &error);
                Err(SendError::Closed(CloseReason::from_io(&error)))
            }
        }
    }

    /// A large message from where it lies, waiting for the socket. When the deadline or a close
    /// comes, a message of which a part is written is accepted: its rest goes to the queue.
    fn write_large(
        self: &Arc<Link>,
        mut queue: MutexGuard<'_, Queue>,
        header_len: usize,
        payload: &[u8],
        wait: Wait,
    ) -> Result<(), SendError> {
        let outbox = &self.outbox;
        let total = header_len + payload.len();
        let header = queue.header;
        let Some(socket) = queue.socket.clone() else {
            return Ok(());
        };
        queue.busy = true;
        queue.in_flight = total;
        let mut sealing = queue.sealing.take();
        drop(queue);

        let mut written = 0;
        let mut tried = false;
        let result = loop {
            if written == total && sealing.as_ref().is_none_or(|sealing| sealing.left() == 0) {
                break Ok(());
            }
            if outbox.closing.load(Ordering::SeqCst) {
                break Ok(());
            }
            if tried && matches!(wait, Wait::Until(deadline) if Instant::now() >= deadline) {
                break Ok(());
            }
            let parts = [
                &header[written.min(header_len)..header_len],
                &payload[written.saturating_sub(header_len)..],
            ];
            let write = if tried { write_slice } else { write_now };
            tried = true;
            let result = match &mut sealing {
                None => {
                    let parts = parts.map(IoSlice::new);
                    write(&socket, &parts[usize::from(written >= header_len)..])
                }
                Some(sealing) => sealing.write(parts, |records| write(&socket, records)),
            };
            match result {
                Ok(n) => {
                    written += n;
                    self.note_write();
                }
                Err(error) if is_pause(&error) => {}
                Err(error) => break Err(error),
            }
        };
        drop(socket);

        let mut queue = lock(&outbox.queue);
        queue.busy = false;
        queue.in_flight = 0;
        queue.sealing = sealing;
        Burst::note();
        if let Err(error) = result {
            queue.take_back(payload.len());
            outbox.fail(&mut queue, &error);
            return Err(SendError::Closed(CloseReason::from_io(&error)));
        }
        // What was written whole may have arrived.
        if queue.socket.is_none() && written < total {
            queue.take_back(payload.len());
            let reason = queue.closed.clone().unwrap_or(CloseReason::ClosedHere);
            outbox.room.notify_all();
            return Err(SendError::Closed(reason));
        }
        // The first message of a stream has decided its size, and others may wait behind it without
        // headers: it is not taken back.
        let first = header_len > 0 && self.stream.is_some();
        if written == 0 && !first {
            // Not begun at the deadline, or when the connection was closed.
            queue.take_back(payload.len());
            let closed = queue.closed.clone();
            self.continue_writing(queue);
            return Err(closed.map_or(SendError::Timeout, SendError::Closed));
        }
        if written < total {
            let mut rest = Vec::with_capacity(total - written + queue.pending.len());
            rest.extend_from_slice(&header[written.min(header_len)..header_len]);
            rest.extend_from_slice(&payload[written.saturating_sub(header_len)..]);
            rest.extend_from_slice(&queue.pending);
            queue.pending = rest;
        }
        if !self.continue_writing(queue) {
            self.write_as_caller(wait);
        }
        Ok(())
    }

    fn stream_is_named(&self) -> bool {
        matches!(self.stream, Some(crate::options::StreamSize::Of(_)))
    }
}
