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
//!
//! A long file, since the ways to the socket and who takes which are decided in one place.

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
use exit::AtExit;
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

/// How long nothing is written to a peerpy after the connection is agreed on. A peerpy starts to read
/// before its program has set its handlers. What is sent meanwhile waits in the queue. Measured on a quiet
/// machine: after 5 ms no message was lost any more.
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

/// The sending side of one connection. The program's threads share it with the connection's reader and
/// writer threads, the flusher and the watchdog; any of them may write, one at a time.
///
/// Its locks in their order: the queue's; then, where both are held, the socket's, and those of the life.
/// No thread waits for the system while it has one of them.
pub(crate) struct Sender {
    /// What the handshake has agreed on. Never changes.
    terms: Terms,
    /// What stands before a message of the agreed type.
    usual_shape: Shape,
    /// A smaller message of the agreed type needs no look at the limits, nor at a stream.
    append_below: usize,
    /// The timers, which write in place of a thread that has left.
    context: Arc<Context>,
    /// Whether the connection ends, and the first fault of its socket. Shared with the reading half.
    life: Arc<Life>,
    /// The size of a stream's messages. Shared with the reading half.
    stream: Arc<Stream>,
    /// What waits, who may write, who waits for room. Held for at most one write that does not wait.
    queue: Mutex<SendQueue>,
    /// Signalled when bytes have left the queue, or it has ended. Every thread that waits for room or for
    /// an empty queue waits here. All are woken, and each asks the queue whether it may go on.
    room: Condvar,
    /// Signalled when the writer thread has something to do. Only that thread waits here.
    work: Condvar,
    /// The socket, also while the half is with the thread that writes: a failed write wakes the reader by
    /// it, and the end resets it. Taken at the end.
    socket: Mutex<Option<Arc<TcpStream>>>,
    /// The system's buffer is kept short. Guards nothing; see [`keep_short`](Sender::keep_short).
    is_short: AtomicBool,
    /// The reader thread will soon write the requests that wait; see [`Replies`]. Read under the queue's
    /// lock by those who queue a request.
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
                let at_exit = exit::note(self, &mut queue);
                queue.push(header_len, 0, payload);
                // Whoever writes looks at the queue afterwards.
                let next = match queue.is_held() {
                    true => Next::Nothing,
                    false => queue.next(),
                };
                if next == Next::Nothing {
                    queue.note_append();
                    drop(queue);
                } else {
                    self.see_to(queue);
                }
                at_exit.settle(self);
                return Ok(());
            }
        };
        burst::note();
        let mut at_exit = AtExit::List;
        if written < header_len + size {
            at_exit = exit::note(self, &mut queue);
            queue.push(header_len, written, payload);
        }
        if queue.has_work() {
            self.wake_writer(queue);
        } else {
            self.settle(&mut queue);
            drop(queue);
        }
        at_exit.settle(self);
        self.context.note_write();
        Ok(())
    }

    /// May the connection carry this message? Needs no lock. What depends on other messages is decided
    /// later, by [`shape`](Sender::shape).
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

    /// What is to stand before the payload. Decided under the lock, in the order in which messages leave,
    /// since in a stream it depends on those before.
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

    /// [`shape`](Sender::shape) in a stream, whose first message in either direction decides the size.
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

    /// One write of what the socket takes at once, under the lock: it never waits. Returns how much was
    /// written. So a lone message costs one lock and one system call.
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

    /// Has what waits written, by the thread that the queue names. The caller's write, or the call that wakes
    /// another thread, comes after the lock was released.
    #[inline]
    fn see_to(self: &Arc<Sender>, queue: MutexGuard<'_, SendQueue>) {
        match queue.next() {
            Next::Nothing => {}
            Next::WriteGathered => {
                Turn::take(self, queue).write();
                // The burst goes on, however long the write took. A lone write of the next message would
                // cost a call and a wake-up of the other side for every batch.
                burst::note();
            }
            Next::TellFlusher => self.tell_flusher(queue),
            Next::WakeWriter => self.wake_writer(queue),
        }
    }

    /// Writes what waits, unless another thread has the turn and looks at the queue afterwards.
    fn write_unless_held(self: &Arc<Sender>, queue: MutexGuard<'_, SendQueue>) {
        if !queue.is_held() {
            Turn::take(self, queue).write_on();
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

    /// After bytes have left the queue: wakes those who wait, and sends the FIN that is due. Called by every
    /// thread that has written, under the lock, so that the FIN follows the last byte whoever wrote that.
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

    /// Wakes all who wait, for whatever it is. If nobody does, no system call is made.
    fn tell_all(&self, queue: &SendQueue) {
        self.tell_waiters(queue);
        if queue.writer == Writer::Parked {
            self.work.notify_one();
        }
    }

    /// Wakes those who wait for room, or for an empty queue. Called under the lock that they wait with.
    fn tell_waiters(&self, queue: &SendQueue) {
        if queue.waiters > 0 {
            self.room.notify_all();
        }
    }

    /// A write failed. The reader goes on: what arrived before is still to be delivered, and it finds the end
    /// by itself.
    ///
    /// The fault is noted before the reader is woken. The system tells an error once, so the reader's read
    /// only finds "end of input", and asks the life what that means.
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

    /// Writes what has gathered, unless another thread has the turn. Never waits for the socket.
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

    /// The connection is about to be over: from here on `send` fails with this reason. What waits stays until
    /// [`give_up`](Sender::give_up).
    pub fn accept_no_more(&self, reason: &CloseReason) {
        lock(&self.queue).close(reason.clone());
    }

    /// The connection is over: drops what waits, wakes every thread that waits here, and returns the socket.
    /// A thread that has the turn finds it gone when it gives it back.
    pub fn give_up(&self, reason: CloseReason) -> Option<Arc<TcpStream>> {
        let mut queue = lock(&self.queue);
        queue.give_up(reason);
        self.tell_all(&queue);
        drop(queue);
        lock(&self.socket).take()
    }
}
