//! Reads one connection: bytes from the socket, through the decoder, to messages.

use std::any::Any;
use std::borrow::Cow;
use std::io;
use std::net::TcpStream;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::error::CloseReason;
use crate::format::{DataType, Payload};
use crate::net::link::Link;
use crate::net::os::lock;
use crate::net::os::socket::is_over;
use crate::net::os::spin::Spin;
use crate::net::send::sender::Burst;
use crate::net::wire::early::{Early, Seen};
use crate::options::StreamSize;
use crate::proto::frame::{Decoder, FrameError, Step};
use crate::proto::header::HEADER_LEN;

/// The buffer begins with this size and doubles while reads fill it.
const BUFFER_MIN: usize = 512;
const BUFFER_MAX: usize = 256 << 10;

/// From this payload size on a message is read straight into its own memory.
const LARGE: usize = 64 << 10;

/// So much may be reserved for a message before more of it than its header has arrived; or as much
/// as the largest message before it had, so that equal ones cost no growing.
const RESERVE: usize = 64 << 10;

/// What counts as silence where bytes alone do not tell whether more belongs to them.
pub(crate) const SILENCE: Duration = Duration::from_millis(100);

/// What a reader may have to wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Any bytes.
    Some,
    /// All of a large message, which may take many reads.
    All,
}

pub(crate) enum Next<'a> {
    Message(DataType, Payload<'a>),
    /// The other side's FIN came, between two messages.
    End,
    /// It would have to wait, and was not to.
    Wait,
}

pub(crate) struct Reader {
    link: Arc<Link>,
    decoder: Decoder,
    /// Bytes read and not yet used are `bytes[start..end]`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// What the decoder has said, and what could not be done yet.
    step: Option<Step>,
    /// The size of the largest message so far.
    largest: usize,
    /// The last one was large: so may be the next, and what the buffer took of it would be copied.
    after_large: bool,
    spin: Spin,
}

impl Reader {
    pub fn new(link: Arc<Link>, early: Early) -> Reader {
        let named = matches!(link.stream, Some(StreamSize::Of(_)));
        let decoder = Decoder::new(link.rules(), named);
        let spin = Spin::new(link.endpoint.settings.spin);
        let Early { bytes, seen } = early;
        let end = bytes.len();
        if let Seen::Failure(failure) = seen {
            link.has_met(failure);
        }
        Reader {
            link,
            decoder,
            bytes,
            start: 0,
            end,
            step: None,
            largest: 0,
            after_large: false,
            spin,
        }
    }

    /// The next message. `may_wait` is asked before each wait for the socket; after a no, it goes on
    /// where it was when it is called again.
    #[inline]
    pub fn next(
        &mut self,
        may_wait: impl FnMut(Need) -> Result<bool, CloseReason>,
    ) -> Result<Next<'_>, CloseReason> {
        if self.link.read_ahead.is_used() {
            self.use_read_ahead();
        }
        match self.at_hand() {
            Some((body, data_type)) => {
                let payload = Cow::Borrowed(&self.bytes[body]);
                Ok(Next::Message(data_type, payload))
            }
            None => self.look_for_next(may_wait),
        }
    }

    /// A small message that is whole in the buffer and has the header of the one before: most are.
    #[inline]
    fn at_hand(&mut self) -> Option<(Range<usize>, DataType)> {
        let unread = &self.bytes[self.start..self.end];
        let (size, data_type) = self.decoder.same_again(unread)?;
        let whole = size < LARGE && HEADER_LEN + size <= unread.len();
        if !whole || self.step.is_some() {
            return None;
        }
        let body = self.start + HEADER_LEN;
        self.start = body + size;
        self.link.received.count(size);
        Some((body..self.start, data_type))
    }

    fn look_for_next(
        &mut self,
        mut may_wait: impl FnMut(Need) -> Result<bool, CloseReason>,
    ) -> Result<Next<'_>, CloseReason> {
        loop {
            let input = &self.bytes[self.start..self.end];
            let step = match self.step.take() {
                Some(step) => step,
                None => {
                    let stream_size = self.link.known_stream_size();
                    self.decoder.next(input, stream_size).map_err(why)?
                }
            };
            let unread = self.end - self.start;
            match step {
                Step::Skip(n) => {
                    self.start += n;
                    self.after_large = false;
                    if self.link.received.messages.load(Ordering::Relaxed) > 0 {
                        // Only peerpy's keepalive is skipped in a stream.
                        self.link.headerless.store(true, Ordering::SeqCst);
                    }
                }
                Step::Message {
                    skip,
                    size,
                    data_type,
                } => {
                    if self.link.stream.is_some() {
                        self.agree(size)?;
                    }
                    let large = size >= LARGE;
                    self.after_large = large;
                    if unread < skip + size {
                        if !may_wait(if large { Need::All } else { Need::Some })? {
                            self.step = Some(step);
                            return Ok(Next::Wait);
                        }
                        if !large {
                            if !self.fill(skip + size)? {
                                return Err(CloseReason::Truncated);
                            }
                            self.step = Some(step);
                            continue;
                        }
                    }
                    self.start += skip;
                    let payload = if large {
                        Cow::Owned(self.read_large(size)?)
                    } else {
                        let body = self.start;
                        self.start += size;
                        Cow::Borrowed(&self.bytes[body..body + size])
                    };
                    self.link.received.count(size);
                    return Ok(Next::Message(data_type, payload));
                }
                Step::Need(n) => {
                    if !may_wait(Need::Some)? {
                        return Ok(Next::Wait);
                    }
                    if !self.fill(n)? {
                        return match unread {
                            0 => Ok(Next::End),
                            _ => Err(CloseReason::Truncated),
                        };
                    }
                }
                Step::Ambiguous => {
                    if !may_wait(Need::All)? {
                        return Ok(Next::Wait);
                    }
                    self.wait_for_silence()?;
                }
            }
        }
    }

    /// Are there bytes that have been read, and are no message yet?
    #[inline]
    pub fn is_begun(&self) -> bool {
        self.start < self.end || self.step.is_some()
    }

    /// All messages of a stream have one size, whichever side says it first.
    fn agree(&self, size: usize) -> Result<(), CloseReason> {
        let first =
            self.link
                .stream_size
                .compare_exchange(0, size, Ordering::SeqCst, Ordering::SeqCst);
        match first {
            Err(stream) if stream != size => Err(why(FrameError::StreamSize {
                size: size as u64,
                stream,
            })),
            _ => Ok(()),
        }
    }

    /// Reads once, waiting; there will be room for `need` unread bytes. `false`: end of input.
    fn fill(&mut self, need: usize) -> Result<bool, CloseReason> {
        let unread = self.end - self.start;
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, unread);
        }
        let size = self.bytes.len();
        let full = unread == size && size < BUFFER_MAX;
        if need > size || full {
            let grown = (size * 2).clamp(BUFFER_MIN, BUFFER_MAX).max(need);
            self.bytes.resize(grown, 0);
        }
        let end = if self.after_large {
            need
        } else {
            self.bytes.len()
        };
        let read = self.read_once(end)?;
        self.end += read;
        if self.end == self.bytes.len() && read > 0 && self.end < BUFFER_MAX {
            // It filled the buffer: there is probably more than it holds.
            self.bytes.resize(self.end * 2, 0);
        }
        Ok(read > 0)
    }

    /// Up to this place in the buffer.
    fn read_once(&mut self, end: usize) -> Result<usize, CloseReason> {
        Burst::end();
        let socket = self.link.reading()?;
        self.spin.until(None, || self.link.is_readable(&socket));
        loop {
            match self.link.read(&socket, &mut self.bytes[self.end..end]) {
                Ok(0) => return self.link.end_of_input(&socket).map(|()| 0),
                Ok(n) => return Ok(n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.link.why_unread(&socket, &error)),
            }
        }
    }

    /// Memory follows what has arrived: never more than twice that, or what [`RESERVE`] says.
    fn read_large(&mut self, size: usize) -> Result<Vec<u8>, CloseReason> {
        Burst::end();
        let reserve = self.largest.max(RESERVE);
        let mut body = Vec::with_capacity(size.min(reserve));
        let early = (self.end - self.start).min(size);
        body.extend_from_slice(&self.bytes[self.start..self.start + early]);
        self.start += early;
        let socket = self.link.reading()?;
        while body.len() < size {
            let want = (size - body.len()).min(body.len().max(reserve));
            body.reserve_exact(want);
            match self.link.read_onto(&socket, &mut body, want) {
                Ok(n) if n == want => {}
                Ok(_) => {
                    return self
                        .link
                        .end_of_input(&socket)
                        .and(Err(CloseReason::Truncated));
                }
                Err(error) => return Err(self.link.why_unread(&socket, &error)),
            }
        }
        self.largest = self.largest.max(size);
        Ok(body)
    }

    /// A short frame from a peerpy that begins like a keepalive: only what follows can tell.
    fn wait_for_silence(&mut self) -> Result<(), CloseReason> {
        let socket = self.link.reading()?;
        let _ = socket.set_read_timeout(Some(SILENCE));
        let filled = self.fill(self.end - self.start + 1);
        let _ = socket.set_read_timeout(None);
        match filled {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.decoder.take_as_frame();
                Ok(())
            }
            Err(CloseReason::Io {
                kind: io::ErrorKind::WouldBlock,
                ..
            }) => {
                self.decoder.take_as_frame();
                Ok(())
            }
            Err(reason) => Err(reason),
        }
    }

    /// Goes on with what a `close` inside the handler has read.
    #[cold]
    fn use_read_ahead(&mut self) {
        if let Some(ahead) = self.link.read_ahead.take() {
            let mut bytes = self.bytes[self.start..self.end].to_vec();
            bytes.extend_from_slice(&ahead);
            (self.start, self.end) = (0, bytes.len());
            self.bytes = bytes;
        }
    }
}

impl Link {
    /// The socket says "end of input": because the other side sent FIN (`Ok`), or because of us.
    pub(crate) fn end_of_input(&self, socket: &TcpStream) -> Result<(), CloseReason> {
        if let Some(error) = self.read_ahead.error().or_else(|| self.met()) {
            return Err(error);
        }
        // The error that the writer met was the end; the reader sees only its shadow.
        if let Some(failure) = self.outbox.failure() {
            return Err(failure);
        }
        match self.close_reason() {
            Some(reason) if self.is_dead() => Err(reason),
            // A write may have met the error in this moment, and not said so yet.
            _ if is_over(socket) && !self.outbox.is_fin_sent() => Err(CloseReason::Reset),
            _ => Ok(()),
        }
    }

    /// A read met this.
    fn why_unread(&self, socket: &TcpStream, error: &io::Error) -> CloseReason {
        match CloseReason::from_io(error) {
            // Only what the socket says; its cause may be here.
            CloseReason::Cut => self.end_of_input(socket).err().unwrap_or(CloseReason::Cut),
            reason => reason,
        }
    }
}

fn why(error: FrameError) -> CloseReason {
    match error {
        FrameError::TooLarge { size, limit } => CloseReason::TooLarge { size, limit },
        FrameError::DeniedType { expected, got } => CloseReason::DeniedType { expected, got },
        other => CloseReason::Malformed(format!("malformed: {other}")),
    }
}

/// What a thread does that reads a connection: `read` until it ends, and then end it. `way` is where
/// the messages go.
pub(crate) fn run<W>(
    link: &Arc<Link>,
    mut way: W,
    read: impl FnOnce(&mut W) -> Result<(), CloseReason>,
) {
    let _ = link.reader.set(std::thread::current().id());
    let result = unless_it_panics(|| read(&mut way));
    match result {
        Ok(()) => {
            link.remote_finished();
            // Ends the program's `recv` now: no further message will come.
            let_go(way);
            link.answer_fin(Instant::now() + link.endpoint.settings.close_timeout);
        }
        Err(reason) => {
            link.kill(reason);
            let_go(way);
        }
    }
    link.end();
}

/// `run` calls the program's code: its handler, or the `Deserialize` of its type.
#[inline]
pub(crate) fn unless_it_panics<T>(
    run: impl FnOnce() -> Result<T, CloseReason>,
) -> Result<T, CloseReason> {
    let result = catch_unwind(AssertUnwindSafe(run));
    result.unwrap_or_else(|panic| {
        let text = text_of(&*panic);
        // It is the program's too.
        let_go(panic);
        Err(CloseReason::HandlerPanicked(text))
    })
}

/// Drops the handler; what it owns is the program's, and may panic.
fn let_go<T>(way: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(way)));
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a text").to_owned()
}

/// What a `close` inside a handler read beyond the message that is being handled.
#[derive(Default)]
pub(crate) struct ReadAhead {
    used: AtomicBool,
    state: Mutex<(Vec<u8>, Option<CloseReason>)>,
}

impl ReadAhead {
    /// Reads until the end of input (`true`), an error, the deadline, or `limit` bytes.
    pub fn read(&self, link: &Link, socket: &TcpStream, deadline: Instant, limit: usize) -> bool {
        self.used.store(true, Ordering::SeqCst);
        let mut state = lock(&self.state);
        let mut chunk = [0; 4096];
        let ended = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.0.len() >= limit || state.1.is_some() {
                break false;
            }
            let _ = socket.set_read_timeout(Some(left));
            match link.read(socket, &mut chunk) {
                Ok(0) => break true,
                Ok(n) => state.0.extend_from_slice(&chunk[..n]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                        if Instant::now() >= deadline => {}
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => {}
                    _ => state.1 = Some(CloseReason::from_io(&error)),
                },
            }
        };
        let _ = socket.set_read_timeout(None);
        ended
    }

    #[inline]
    fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self) -> Option<Vec<u8>> {
        (self.used.load(Ordering::Relaxed)).then(|| {
            self.used.store(false, Ordering::Relaxed);
            std::mem::take(&mut lock(&self.state).0)
        })
    }

    fn error(&self) -> Option<CloseReason> {
        lock(&self.state).1.clone()
    }
}
