//! From a connection's socket to its program: a thread that feeds the receive queue, or one that calls
//! the program's handler.
//!
//! A long file, since the reader thread, a handler's thread and a program with the lease read the same
//! frames, and what each does with them is compared here.

use std::cell::RefCell;
use std::io;
use std::mem::take;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Link;
use super::dispatch::{Dispatcher, Other};
use super::serving::{Serve, Server};
use crate::error::CloseReason;
use crate::format::{DataType, Format, Payload, Reading};
use crate::net::os::sync::{Instant, thread_local};
use crate::net::os::threads::retire;
use crate::net::panics::{let_go, unless_it_panics};
use crate::net::recv::batch::{Amount, Batch};
use crate::net::recv::lease::{Back, Fed, Source, Taken};
use crate::net::recv::producer::{BATCH_AGE, Producer};
use crate::net::send::Replies;
use crate::net::wire::early::{Early, Seen};
use crate::net::wire::frames::{Ahead, FrameReader, Need, Next};
use crate::proto::frames::Call;

/// A read that is to end with a wait for a reply may end so much later.
const TIMEOUT_SLACK: Duration = Duration::from_micros(200);

/// The connection's socket, as the source of its messages. It is moved between the reader thread and a
/// thread of the program that has the lease, through the receive queue, and so needs no lock.
struct Socket<F: Format> {
    link: Arc<Link>,
    /// The bytes that were read, and the decoder.
    frames: FrameReader,
    /// How payloads are decoded.
    reading: Reading,
    /// Where requests and replies go that are met between messages.
    calls: Dispatcher<F>,
    /// Met under the queue's lock, where the connection cannot be ended. The next call tells it.
    failure: Option<CloseReason>,
    /// A request or a reply that was met under the queue's lock, where the program's code must not run. The
    /// next call takes it.
    stashed: Option<Other>,
    /// The end of input came already, during the handshake: the program has nothing to read.
    ended: bool,
    /// The thread that has the source was woken by bytes that it has not read yet.
    is_awake: bool,
    /// The read timeout that the socket has, so that it is set only when it changes; `None`: for ever.
    timeout: Option<Duration>,
}

impl<F: Format> Source<F::Item> for Socket<F> {
    fn take(&mut self, wait: bool, item: &mut Option<F::Item>) -> Result<Taken, CloseReason> {
        self.prepare(None)?;
        let link = &self.link;
        // One read, and no more: what is no message could come without end, and the caller did not want to
        // wait.
        let mut once = true;
        let mut may_wait =
            |need| Ok(wait || (take(&mut once) && need == Need::Some && has_bytes(link)));
        loop {
            return Ok(match self.frames.next(&mut may_wait)? {
                Next::Message(data_type, payload) => {
                    Taken::Message(decode::<F>(data_type, self.reading, payload, item)?)
                }
                Next::Call(call, data_type, payload) => {
                    self.calls.take(call, data_type, payload);
                    continue;
                }
                Next::Failed(id, why, words) => {
                    link.take_failure(id, why, words);
                    continue;
                }
                Next::End => Taken::End,
                Next::Wait => Taken::Nothing,
            });
        }
    }

    fn take_along(&mut self, run: &mut Batch<F::Item>, limit: Amount) {
        if F::PLAIN.is_some() {
            // These are made one at a time, and under the lock: that costs less.
            return;
        }
        let (mut begun, mut item) = (None, None);
        let decoded = unless_it_panics(|| {
            loop {
                let has_room = |size| run.amount().has_room(size + size_of::<F::Item>(), limit);
                let Some((data_type, payload)) = self.frames.at_once_if(has_room) else {
                    return Ok(());
                };
                // A lone message needs no clock.
                let begun = *begun.get_or_insert_with(Instant::now);
                let payload = Payload::Borrowed(payload);
                let size = decode::<F>(data_type, self.reading, payload, &mut item)?;
                if let Some(item) = item.take() {
                    run.push(item, size + size_of::<F::Item>());
                }
                // A clock costs as much as a small message, so it is looked at a few times for each run.
                let is_due = run.len().is_power_of_two();
                if is_due && Instant::now().duration_since(begun) > BATCH_AGE {
                    return Ok(());
                }
            }
        });
        self.failure = decoded.err();
    }

    fn read_until(
        &mut self,
        deadline: Option<Instant>,
        item: &mut Option<F::Item>,
        done: &mut dyn FnMut() -> bool,
    ) -> Result<Taken, CloseReason> {
        // A record may be torn by a read that ends before it.
        let can_end = deadline.is_none() || !self.link.reading.is_encrypted();
        // It is asked again only after something that may have changed the answer.
        let mut has_news = self.take_stashed();
        loop {
            if has_news && done() {
                return Ok(Taken::Nothing);
            }
            has_news = true;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            self.prepare(left.filter(|_| can_end))?;
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Taken::Nothing);
            }
            let link = &self.link;
            // The clock was looked at just now.
            let mut first = true;
            let next = self.frames.next(|need| {
                Ok(match deadline {
                    None => {
                        // A thread that answers requests: that is to leave before it waits.
                        link.sender.flush_now();
                        true
                    }
                    Some(deadline) => {
                        let in_time = take(&mut first) || Instant::now() < deadline;
                        can_end && need == Need::Some && in_time
                    }
                })
            });
            match next {
                Ok(Next::Message(data_type, payload)) => {
                    let size = decode::<F>(data_type, self.reading, payload, item)?;
                    return Ok(Taken::Message(size));
                }
                Ok(Next::Call(call, data_type, payload)) => {
                    self.calls.take(call, data_type, payload);
                }
                Ok(Next::Failed(id, why, words)) => self.link.take_failure(id, why, words),
                Ok(Next::End) => return Ok(Taken::End),
                Ok(Next::Wait) => return Ok(Taken::Nothing),
                Err(reason) if deadline.is_some() && is_pause_of(&reason) => {
                    return Ok(Taken::Nothing);
                }
                Err(reason) => return Err(reason),
            }
        }
    }

    fn take_plain(&mut self, item: &mut Option<F::Item>) -> Option<usize> {
        let make = F::PLAIN?;
        if self.failure.is_some() || self.stashed.is_some() {
            return None;
        }
        if let Some((_, payload)) = self.frames.at_once() {
            *item = Some(make(payload));
            return Some(payload.len());
        }
        match self.frames.next(|_| Ok(false)) {
            Ok(Next::Message(_, payload)) => {
                *item = Some(make(&payload));
                return Some(payload.len());
            }
            Ok(Next::Call(call, data_type, payload)) => {
                self.stashed = Some(Other::Call(call, data_type, payload.into_owned()));
            }
            Ok(Next::Failed(id, why, words)) => self.stashed = Some(Other::Failed(id, why, words)),
            Ok(Next::End | Next::Wait) => {}
            Err(reason) => self.failure = Some(reason),
        }
        None
    }

    fn feed(&mut self, producer: &mut Producer<F::Item>) -> Result<Fed, CloseReason> {
        self.prepare(None)?;
        // The reader thread sleeps in here most of its life, inside the read of the socket.
        match self.feed_queue(producer) {
            // The socket of an encrypted connection that nobody holds any more is closed between
            // two records.
            Err(CloseReason::Cut)
                if self.link.is_released()
                    && !self.frames.is_begun()
                    && !self.link.has_unread() =>
            {
                Ok(Fed::End)
            }
            fed => fed,
        }
    }

    fn is_begun(&self) -> bool {
        self.frames.is_begun() || self.stashed.is_some() || self.link.reading.is_encrypted()
    }

    fn has_unread(&self) -> bool {
        self.frames.is_begun() || self.stashed.is_some() || self.link.has_unread()
    }
}

impl<F: Format> Socket<F> {
    /// To be called before each read. `timeout`: how long that read may wait; `None`: for ever. Does what an
    /// earlier call under a lock had to leave.
    #[inline]
    fn prepare(&mut self, timeout: Option<Duration>) -> Result<(), CloseReason> {
        if self.timeout != timeout {
            self.set_timeout(timeout);
        }
        self.take_stashed();
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Takes what was stashed. `true`: there was something.
    #[inline]
    fn take_stashed(&mut self) -> bool {
        let stashed = self.stashed.take();
        let was_there = stashed.is_some();
        if let Some(other) = stashed {
            self.calls.take_other(other);
        }
        was_there
    }

    /// Sets the socket's read timeout a little longer than asked for: if the next is for about the same
    /// time, that saves a system call.
    #[cold]
    fn set_timeout(&mut self, timeout: Option<Duration>) {
        if let (Some(set), Some(timeout)) = (self.timeout, timeout) {
            if timeout <= set && set <= timeout + timeout / 32 + 2 * TIMEOUT_SLACK {
                return;
            }
        }
        let longer = timeout.map(|timeout| timeout + timeout / 64 + TIMEOUT_SLACK);
        if let Ok(socket) = self.link.reading.socket() {
            let _ = socket.set_read_timeout(longer);
        }
        self.timeout = longer;
    }

    /// The reader thread's loop: passes messages on until they end, or until it would wait for the socket
    /// while one thread of the program waits for a message.
    fn feed_queue(&mut self, producer: &mut Producer<F::Item>) -> Result<Fed, CloseReason> {
        let link = &self.link;
        let calls = &mut self.calls;
        let is_awake = &mut self.is_awake;
        let is_serving = calls.serve.is_some();
        let may_lend = !self.ended && !is_serving;
        let mut item = None;
        let mut replies = Replies::new(&link.sender);
        loop {
            // Asked for each message, since a remote that never pauses would otherwise never let the read
            // come to the place where it is asked below.
            if producer.is_abandoned() {
                return Err(link.discard());
            }
            if F::PLAIN.is_some() {
                let frames = &mut self.frames;
                if producer.push_run(|messages, bytes, each, spans| {
                    frames.run(messages, bytes, each, spans)
                }) {
                    replies.end();
                    continue;
                }
            }
            let next = self.frames.next(|_| {
                replies.end();
                // Before a wait, the program gets what was decoded, however little it is.
                producer.hand_over();
                if producer.is_abandoned() {
                    return Err(link.discard());
                }
                if is_serving {
                    // What the program has answered meanwhile.
                    link.sender.flush_now();
                }
                // A thread of the program that waits for the next message reads for itself: it would be
                // woken by the socket, and not by this thread, which saves one of two wake-ups. Where the
                // bytes are here and have woken this thread, nothing would be saved, and if they are the other
                // side's goodbye, this thread answers it.
                Ok(take(is_awake) || !may_lend || !is_lendable(link) || !producer.is_awaited())
            });
            let next = next?;
            match &next {
                Next::Call(Call::Reply(_), ..) => replies.one_more(),
                _ => replies.end(),
            }
            match next {
                Next::Message(data_type, payload) => {
                    let size = decode::<F>(data_type, self.reading, payload, &mut item)?;
                    if let Some(item) = item.take() {
                        producer.push(&link.life, item, size)?;
                    }
                }
                Next::Call(call, data_type, payload) => calls.take(call, data_type, payload),
                Next::Failed(id, why, words) => link.take_failure(id, why, words),
                Next::End => {
                    // What it counts as taken in has to be in the queue.
                    producer.hand_over();
                    return Ok(Fed::End);
                }
                Next::Wait => return Ok(Fed::Awaited),
            }
        }
    }
}

/// Reads until the connection ends, on the current thread, and ends it. Messages go to the queue, and
/// requests to the server, or to what the program does with each.
pub(crate) fn run_queue<F: Format>(
    link: &Arc<Link>,
    early: Early,
    producer: Producer<F::Item>,
    server: Arc<Server<F>>,
    serve: Option<Serve<F>>,
) {
    if serve.is_some() {
        retire();
    }
    let (ended, is_awake) = match early.seen {
        Seen::End => (true, false),
        // Unless it has sent before its answer: then all that the look has found is among the early bytes.
        Seen::Bytes => (false, early.bytes.is_empty()),
        Seen::Nothing | Seen::Failure(_) => (false, false),
    };
    let mut source: Box<dyn Source<F::Item>> = Box::new(Socket::<F> {
        link: Arc::clone(link),
        ended,
        is_awake,
        frames: frames(link, early),
        reading: reading(link),
        calls: Dispatcher {
            link: Arc::clone(link),
            reading: reading(link),
            server,
            serve,
        },
        failure: None,
        stashed: None,
        timeout: None,
    });
    run(link, producer, |producer| {
        loop {
            match source.feed(producer)? {
                Fed::End => return Ok(()),
                Fed::Awaited => match producer.lend(&link.life, source) {
                    Back::Source(back) => source = back,
                    Back::End(end) => return end,
                },
            }
        }
    });
    link.call_back();
}

thread_local! {
    /// What a handler's thread reads from, so that a `close` inside the handler finds it: the handler gets
    /// no reference to it. Empty on every other thread.
    static HANDLED: RefCell<Option<Rc<RefCell<Handled>>>> = const { RefCell::new(None) };
}

/// What a `close` inside a handler needs to read ahead.
struct Handled {
    frames: FrameReader,
    reading: Reading,
    /// Can this be decoded? `None`: everything can.
    probe: Option<Probe>,
}

type Probe = fn(DataType, Reading, &[u8]) -> Result<(), CloseReason>;

/// As [`run_queue`], but messages go to `handle`, with the handler. The handler is dropped before the other
/// side's end is answered.
pub(crate) fn run_handler<F: Format, H>(
    link: &Arc<Link>,
    early: Early,
    server: Arc<Server<F>>,
    handler: H,
    mut handle: impl FnMut(&mut H, F::Item),
) {
    let reading = reading(link);
    retire();
    let mut calls = Dispatcher {
        link: Arc::clone(link),
        reading,
        server,
        serve: None,
    };
    let handled = Rc::new(RefCell::new(Handled {
        frames: frames(link, early),
        reading,
        probe: F::PLAIN.is_none().then_some(probe::<F>),
    }));
    HANDLED.set(Some(Rc::clone(&handled)));
    run(link, handler, |handler| {
        let mut item = None;
        loop {
            if link.life.is_over() {
                return Err(link.life.why());
            }
            // Not borrowed while the handler runs: a `close` inside it reads ahead from the same frames.
            // And a message is made where it is passed on, since each time that it is moved costs time.
            let plain = F::PLAIN.and_then(|make| {
                let mut handled = handled.borrow_mut();
                handled.frames.at_once().map(|(_, payload)| make(payload))
            });
            if let Some(plain) = plain {
                handle(handler, plain);
                continue;
            }
            let is_end = next::<F>(&mut handled.borrow_mut().frames, &mut calls, &mut item)?;
            if let Some(item) = item.take() {
                handle(handler, item);
            }
            if is_end {
                return Ok(());
            }
        }
    });
    HANDLED.set(None);
    link.call_back();
}

/// Puts the next message into `item`, or takes what is no message. `true`: no more will come.
fn next<F: Format>(
    frames: &mut FrameReader,
    calls: &mut Dispatcher<F>,
    item: &mut Option<F::Item>,
) -> Result<bool, CloseReason> {
    match frames.next(|_| Ok(true))? {
        Next::Message(data_type, payload) => {
            decode::<F>(data_type, calls.reading, payload, item)?;
        }
        Next::Call(call, data_type, payload) => calls.take(call, data_type, payload),
        Next::Failed(id, why, words) => calls.link.take_failure(id, why, words),
        Next::End | Next::Wait => return Ok(true),
    }
    Ok(false)
}

/// Would this message become an item?
fn probe<F: Format>(
    data_type: DataType,
    reading: Reading,
    payload: &[u8],
) -> Result<(), CloseReason> {
    unless_it_panics(|| {
        let mut item = None;
        decode::<F>(data_type, reading, Payload::Borrowed(payload), &mut item)?;
        let_go(item);
        Ok(())
    })
}

/// For a `close` inside the handler that runs on this thread: looks for the other side's end, and
/// keeps what comes before it for the handler. `said_goodbye` is told how many messages there are when
/// the other side has sent its last, and all of them can be decoded. `None`: the end was not found
/// before the deadline.
pub(super) fn read_ahead(
    deadline: Instant,
    limit: usize,
    said_goodbye: impl Fn(u64),
) -> Option<Ahead> {
    let handled = HANDLED.with_borrow(Option::clone)?;
    // Borrowed while a message is decoded. A `Deserialize` of the program that closes its connection cannot
    // read ahead.
    let mut handled = handled.try_borrow_mut().ok()?;
    let (reading, probe) = (handled.reading, handled.probe);
    let check = |data_type, payload: &[u8]| match probe {
        Some(probe) => probe(data_type, reading, payload),
        None => Ok(()),
    };
    let frames = &mut handled.frames;
    frames.read_ahead(deadline, limit, check, said_goodbye)
}

/// What a thread does that reads a connection: `read` until it ends, and then end it. `way` is where
/// the messages go.
fn run<W>(link: &Arc<Link>, mut way: W, read: impl FnOnce(&mut W) -> Result<(), CloseReason>) {
    // From now on a `close` on this thread knows that it must not wait for it.
    link.note_reader_thread();
    match unless_it_panics(|| read(&mut way)) {
        // Dropping the way ends the program's `recv`.
        Ok(()) => {
            let mut way = Some(way);
            link.finish_reading(&mut || way.take().into_iter().for_each(let_go));
        }
        Err(reason) => {
            link.fail_reading(reason);
            let_go(way);
        }
    }
}

fn frames(link: &Arc<Link>, early: Early) -> FrameReader {
    // Met while an offer waited for the program's word, behind bytes that are still to be delivered.
    if let Seen::Failure(failure) = early.seen {
        link.life.note_fault(failure);
    }
    FrameReader::new(
        Arc::clone(&link.reading),
        Arc::clone(&link.stream_terms),
        Arc::clone(&link.received),
        (link.rules(), link.dialect),
        link.context.settings.spin,
        early.bytes,
    )
}

fn reading(link: &Link) -> Reading {
    link.reading()
}

/// May the program read? Not at the end, which the reader thread is to find.
fn is_lendable(link: &Link) -> bool {
    !link.life.is_ending()
}

/// Has a read that had a time to wait found nothing in it?
fn is_pause_of(reason: &CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::Io {
            kind: io::ErrorKind::WouldBlock,
            ..
        }
    )
}

/// Would one read return at once? A record is more than one.
fn has_bytes(link: &Link) -> bool {
    let reading = &link.reading;
    !reading.is_encrypted()
        && reading
            .socket()
            .is_ok_and(|socket| reading.is_readable(&socket))
}

/// Decodes a payload into `item`, and returns its size.
#[inline]
fn decode<F: Format>(
    data_type: DataType,
    reading: Reading,
    payload: Payload<'_>,
    item: &mut Option<F::Item>,
) -> Result<usize, CloseReason> {
    if let (Some(make), Payload::Borrowed(payload)) = (F::PLAIN, &payload) {
        *item = Some(make(payload));
        return Ok(payload.len());
    }
    F::decode(data_type, reading, payload, item).map_err(|error| {
        // It may have been followed by what does not belong to it.
        *item = None;
        CloseReason::Malformed(error.to_string())
    })
}
