//! Messages to the socket, in order.
//!
//! | file | |
//! | --- | --- |
//! | `line` | waiting: for room, in the order in which the callers came, or until all is written |
//! | `large` | messages that are written from where they lie |
//! | `queue` | what is accepted and not yet written, who has the turn, who waits: a machine |
//! | `call` | requests, replies, and the word that there is none |
//! | `head` | the bytes before a payload |
//! | `last` | what is said at the end |
//! | `latest` | messages of which only the newest counts |
//! | `gathering` | when a burst is written: a machine |
//! | `turn` | one write without the lock, and how its rest comes back |
//! | `writer` | who waits for a full socket: the writer thread, or the watchdog in its place |
//! | `flusher` | the tasks that write bursts, and give their memory back |
//! | `exit` | what a thread has gathered is written out when it ends |
//!
//! A lone message is written at once by the caller: one lock, one system call. Messages that follow
//! closely gather in the queue; when there are many, a caller writes them all, and when the sender
//! goes quiet before, the flusher does. What the socket does not take is left to the connection's
//! writer. A large message is written by the caller from where it lies, without a copy, where nothing
//! waits before it. Whoever writes without the lock owns the writing half meanwhile, so that the order
//! of messages is the order in which they were accepted.

mod call;
pub(crate) mod exit;
mod flusher;
mod gathering;
mod head;
mod large;
mod last;
mod latest;
mod line;
mod queue;
mod turn;
mod writer;

use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use call::Replies;
use head::Shape;
pub(crate) use last::Last;
pub(crate) use line::InLine;
use queue::{Ending, GATHERED, Next, Offer, SendQueue, Writer};
use turn::Turn;

use super::burst;
use super::context::Context;
use super::life::Life;
use super::os::lock;
use super::os::socket::{is_pause, wake_reader};
use super::os::sync::{AtomicBool, Condvar, Instant, Mutex, MutexGuard, TcpStream};
use super::wire::stream::{Size, Stream};
use super::wire::write_half::{Patience, WriteHalf};
use crate::error::{CloseReason, SendError};
use crate::format::{DataType, Dialect, Encoded};
use crate::proto::frames::{Call, is_marked};

/// A peerpy starts to read before its program has set its handlers. Nothing is written so long after
/// the connection is agreed on; what is sent meanwhile waits in the queue. Measured: after 5 ms no
/// message was lost any more, on a quiet machine.
const HOLD_BACK: Duration = Duration::from_millis(50);

/// How long a send may wait for room in the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    No,
    Until(Instant),
    Forever,
}

/// What the handshake has agreed on, as far as sending is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Of the connection, for its threads and its log lines.
    pub id: u64,
    pub peer_addr: SocketAddr,
    pub data_type: DataType,
    pub strict: bool,
    pub dialect: Dialect,
}

/// The sending side of one connection.
pub(crate) struct Sender {
    terms: Terms,
    /// What stands before a message of the agreed type.
    usual_shape: Shape,
    /// A smaller message of the agreed type needs no look at the limits, nor at a stream.
    append_below: usize,
    context: Arc<Context>,
    life: Arc<Life>,
    stream: Arc<Stream>,
    queue: Mutex<SendQueue>,
    /// Signalled when bytes have left the queue, or it has ended.
    room: Condvar,
    /// Signalled when the writer thread has something to do.
    work: Condvar,
    /// The socket, also while the half is with the thread that writes; taken at the end.
    socket: Mutex<Option<Arc<TcpStream>>>,
    /// The system's buffer is kept short.
    is_short: AtomicBool,
    /// The reader thread will soon write the requests that wait; see [`Replies`].
    reader_writes: AtomicBool,
}

impl Sender {
    pub fn new(
        terms: Terms,
        half: WriteHalf,
        context: &Arc<Context>,
        life: &Arc<Life>,
        stream: &Arc<Stream>,
    ) -> Arc<Sender> {
        let held_back = terms.dialect == Dialect::Peerpy;
        let socket = Arc::clone(half.socket());
        let usual_shape = match terms.dialect {
            Dialect::Frames => Shape::Frame,
            Dialect::Headers | Dialect::Peerpy => Shape::Text,
        };
        let append_below = match stream.is_on() {
            true => 0,
            false => context.settings.max_message_size.min(GATHERED),
        };
        let sender = Arc::new(Sender {
            terms,
            usual_shape,
            append_below,
            context: Arc::clone(context),
            life: Arc::clone(life),
            stream: Arc::clone(stream),
            queue: Mutex::new(SendQueue::new(half, context.settings.send_queue, held_back)),
            room: Condvar::new(),
            work: Condvar::new(),
            socket: Mutex::new(Some(socket)),
            is_short: AtomicBool::new(false),
            reader_writes: AtomicBool::new(false),
        });
        if held_back {
            sender.release_later(Instant::now() + HOLD_BACK);
        }
        sender
    }

    /// Messages and bytes accepted, and bytes that wait.
    pub fn numbers(&self) -> (u64, u64, usize) {
        let queue = lock(&self.queue);
        let (messages, bytes) = queue.numbers();
        (messages, bytes, queue.waiting())
    }

    /// Has no byte of any message been written, not even of one that was then not accepted?
    pub fn is_unused(&self) -> bool {
        lock(&self.queue).is_unused()
    }

    // Sending

    /// Sends a message, or says why not. `burst`: whether the message is part of one, where the
    /// caller knows.
    pub fn send(
        self: &Arc<Sender>,
        message: Encoded<'_>,
        wait: Wait,
        burst: Option<bool>,
    ) -> Result<(), SendError> {
        let (size, data_type) = (message.payload.len(), message.data_type);
        let mut queue = lock(&self.queue);
        // Most messages of a burst need nothing else.
        if data_type == self.terms.data_type && size < self.append_below {
            let mark = exit::own_mark();
            if queue.append(message.payload, data_type, self.usual_shape, mark) {
                return Ok(());
            }
        }
        self.check(&message)?;
        let total = size + head::room(self.terms.dialect);
        if !queue.admits_at_once(total) {
            drop(queue);
            return self.send_in_line(message, wait, burst, &mut None);
        }
        self.send_admitted(queue, message, None, wait, burst)
    }

    /// The same for one who may have a place in the line already, and keeps it where there is no
    /// room yet.
    pub fn send_in_line(
        self: &Arc<Sender>,
        message: Encoded<'_>,
        wait: Wait,
        burst: Option<bool>,
        place: &mut Option<InLine>,
    ) -> Result<(), SendError> {
        self.check(&message)?;
        let total = message.payload.len() + head::room(self.terms.dialect);
        let queue = self.wait_in_line(lock(&self.queue), total, wait, place)?;
        self.send_admitted(queue, message, None, wait, burst)
    }

    #[inline(always)]
    fn send_admitted(
        self: &Arc<Sender>,
        mut queue: MutexGuard<'_, SendQueue>,
        message: Encoded<'_>,
        call: Option<Call>,
        wait: Wait,
        burst: Option<bool>,
    ) -> Result<(), SendError> {
        let payload = message.payload;
        let size = payload.len();
        let header_len = match call {
            None => {
                let shape = self.shape(&queue, &message)?;
                queue.head.make(size, message.data_type, shape)
            }
            Some(call) => self.make_call(&mut queue, &message, call),
        };
        let offer = queue.offer(size, || burst.unwrap_or_else(burst::is_on));
        let written = match offer {
            Offer::WriteFromWhereItLies if !matches!(wait, Wait::No) => {
                return self.write_large(queue, header_len, payload, wait);
            }
            Offer::WriteFromWhereItLies | Offer::WriteNow => {
                self.write_directly(&mut queue, header_len, payload)?
            }
            Offer::Gather | Offer::Queue => {
                if offer == Offer::Gather {
                    burst::note();
                }
                exit::note(self, &mut queue);
                queue.push(header_len, 0, payload);
                // Whoever writes looks at the queue afterwards.
                let next = match queue.is_held() {
                    true => Next::Nothing,
                    false => queue.next(),
                };
                if next == Next::Nothing {
                    queue.note_append();
                } else {
                    self.see_to(queue);
                }
                return Ok(());
            }
        };
        burst::note();
        if written < header_len + size {
            exit::note(self, &mut queue);
            queue.push(header_len, written, payload);
        }
        if queue.has_work() {
            self.wake_writer(queue);
        } else {
            self.settle(&mut queue);
            drop(queue);
        }
        self.context.note_write();
        Ok(())
    }

    #[inline]
    fn check(&self, message: &Encoded<'_>) -> Result<(), SendError> {
        let (size, limit) = (
            message.payload.len(),
            self.context.settings.max_message_size,
        );
        if size > limit {
            return Err(SendError::TooLarge { size, limit });
        }
        let Terms {
            data_type, strict, ..
        } = self.terms;
        if message.data_type != data_type && (strict || self.stream.is_on()) {
            return Err(SendError::WrongType {
                expected: data_type,
                got: message.data_type,
            });
        }
        if self.stream.is_on() {
            let stream = self.stream.known();
            if size == 0 || stream.is_some_and(|stream| stream != size) {
                return Err(SendError::WrongSize {
                    size,
                    stream: stream.unwrap_or(0),
                });
            }
        }
        Ok(())
    }

    /// What is to stand before the payload.
    #[inline]
    fn shape(&self, queue: &SendQueue, message: &Encoded<'_>) -> Result<Shape, SendError> {
        if self.stream.is_on() {
            return self.shape_in_stream(queue, message);
        }
        Ok(match self.terms.dialect {
            Dialect::Frames if message.data_type == self.terms.data_type => Shape::Frame,
            Dialect::Frames => Shape::OtherType,
            Dialect::Headers | Dialect::Peerpy => Shape::Text,
        })
    }

    fn shape_in_stream(
        &self,
        queue: &SendQueue,
        message: &Encoded<'_>,
    ) -> Result<Shape, SendError> {
        let size = message.payload.len();
        let first = match self.terms.dialect {
            Dialect::Frames => Shape::Frame,
            Dialect::Headers | Dialect::Peerpy => Shape::Text,
        };
        // The first message in either direction decides the size, once.
        match self.stream.agree(size) {
            Size::Other(stream) => Err(SendError::WrongSize { size, stream }),
            Size::Same if self.is_headless(queue) => {
                let is_marked = message.payload.first().copied().is_some_and(is_marked);
                Ok(match self.terms.dialect {
                    Dialect::Frames if is_marked => Shape::Marked,
                    _ => Shape::Bare,
                })
            }
            // It has sent the first message, and expects no header, once it looks again.
            Size::Same if self.stream.is_headerless() => Ok(Shape::Bare),
            Size::Same | Size::First => Ok(first),
        }
    }

    /// Does the next message of a stream need no head?
    fn is_headless(&self, queue: &SendQueue) -> bool {
        self.stream.is_on() && (queue.numbers().0 > 0 || self.stream.is_named())
    }

    /// One write of what the socket takes at once, under the lock: it never waits. Says how much.
    #[inline(always)]
    fn write_directly(
        &self,
        queue: &mut SendQueue,
        header_len: usize,
        payload: &[u8],
    ) -> Result<usize, SendError> {
        let Some((half, header)) = queue.half_and_header() else {
            return Ok(0);
        };
        match half.write([&header[..header_len], payload], Patience::None) {
            Ok(written) => Ok(written),
            Err(error) if is_pause(&error) => Ok(0),
            Err(error) => {
                queue.take_back(payload.len());
                Err(SendError::Closed(self.fail(queue, &error)))
            }
        }
    }

    // Who writes what waits

    /// Sees to it that what waits is written.
    #[inline]
    fn see_to(self: &Arc<Sender>, queue: MutexGuard<'_, SendQueue>) {
        match queue.next() {
            Next::Nothing => {}
            Next::WriteGathered => Turn::take(self, queue).write(),
            Next::TellFlusher => self.tell_flusher(queue),
            Next::WakeWriter => self.wake_writer(queue),
        }
    }

    /// After a write without the lock: others may have queued messages meanwhile.
    fn continue_writing(self: &Arc<Sender>, mut queue: MutexGuard<'_, SendQueue>) {
        self.settle(&mut queue);
        match queue.next() {
            Next::Nothing => {}
            // Whoever has just written is not to write for the others for ever.
            Next::WriteGathered | Next::WakeWriter => self.wake_writer(queue),
            Next::TellFlusher => self.tell_flusher(queue),
        }
    }

    /// After bytes have left the queue: tells those who wait, and sends the FIN that is due.
    #[inline]
    fn settle(&self, queue: &mut SendQueue) {
        self.tell_waiters(queue);
        if queue.ending() == Ending::Fin {
            self.send_fin(queue);
        }
    }

    #[cold]
    fn send_fin(&self, queue: &mut SendQueue) {
        // In frames, a word before it says what was taken in, so that it misleads nobody.
        if self.terms.dialect != Dialect::Frames && !self.life.begin_fin() {
            // By now the connection is to end without one.
            queue.fin_is_cancelled();
            return;
        }
        let Some(half) = queue.half() else { return };
        match half.end() {
            Ok(true) => {
                self.life.fin_sent();
                let _ = half.socket().shutdown(Shutdown::Write);
            }
            Ok(false) => queue.fin_is_due(),
            Err(error) => drop(self.fail(queue, &error)),
        }
    }

    /// Tells all who wait, for whatever it is. Where nobody does, no system call is made.
    fn tell_all(&self, queue: &SendQueue) {
        self.tell_waiters(queue);
        if queue.writer == Writer::Parked {
            self.work.notify_one();
        }
    }

    fn tell_waiters(&self, queue: &SendQueue) {
        if queue.waiters > 0 {
            self.room.notify_all();
        }
    }

    /// A write failed. The reader goes on: what arrived before is still to be delivered, and it
    /// finds the end by itself.
    fn fail(&self, queue: &mut SendQueue, error: &std::io::Error) -> CloseReason {
        let reason = CloseReason::from_io(error);
        self.life.note_fault(reason.clone());
        queue.fail(reason.clone());
        if let Some(socket) = lock(&self.socket).as_ref() {
            wake_reader(socket);
        }
        self.tell_waiters(queue);
        reason
    }

    /// Writes what has gathered, unless someone is at it, and never waits.
    pub fn flush_now(self: &Arc<Sender>) {
        let queue = lock(&self.queue);
        if queue.next() != Next::Nothing || (queue.has_work() && !queue.is_held()) {
            Turn::take(self, queue).write();
        }
    }

    /// Is everything that was accepted handed to the system?
    pub fn is_drained(&self) -> bool {
        lock(&self.queue).is_drained()
    }

    // The end

    /// The socket is about to be closed as a whole, and everything is written: an encrypted connection
    /// says its end before that.
    pub fn say_end(&self) {
        let mut queue = lock(&self.queue);
        if !queue.is_drained() {
            return;
        }
        let Some(half) = queue.half() else { return };
        if matches!(half.end(), Ok(true)) {
            let _ = half.socket().shutdown(Shutdown::Write);
        }
    }

    /// The connection is about to be over.
    pub fn accept_no_more(&self, reason: &CloseReason) {
        lock(&self.queue).close(reason.clone());
    }

    /// The connection is over: drops what waits, and lets go of the socket, which it returns.
    pub fn give_up(&self, reason: CloseReason) -> Option<Arc<TcpStream>> {
        let mut queue = lock(&self.queue);
        queue.give_up(reason);
        self.tell_all(&queue);
        drop(queue);
        lock(&self.socket).take()
    }
}
