//! Reads one connection: bytes from the socket, through the decoder, to messages.

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::half::{Farewell, ReadHalf};
use super::reasons::{BEHIND, TOO_EARLY, TWICE, clean, malformed, refusal, why};
use super::stream::{Size, Stream};
use crate::error::CloseReason;
use crate::format::{DataType, Dialect, Payload};
use crate::net::burst;
use crate::net::os::spin::Spin;
use crate::net::os::sync::Instant;
use crate::proto::frame::{Decoder, FrameError, Rules, Step};
use crate::proto::frames::{Call, Failure, FrameDecoder, Word};
use crate::proto::header::HEADER_LEN;

/// The buffer begins with this size and doubles while reads fill it.
const BUFFER_MIN: usize = 512;
const BUFFER_MAX: usize = 256 << 10;

/// From this payload size on a message is read straight into its own memory.
const LARGE: usize = 64 << 10;

/// So much may be reserved for a message before more of it than its header has arrived; or as much
/// as the largest message before it had, so that equal ones cost no growing.
const RESERVE: usize = 64 << 10;

/// A `close` inside a handler reads ahead so much at once.
const READ_AHEAD: usize = 64 << 10;

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
    /// A request or a reply.
    Call(Call, DataType, Payload<'a>),
    /// No reply will come to this request, and why.
    Failed(u32, Failure, String),
    /// The other side has said that no more messages come: by a goodbye, or, where it speaks no
    /// frames, by FIN between two messages.
    End,
    /// It would have to wait, and was not to.
    Wait,
}

/// Finds the messages in bytes, as the two sides have agreed to write them.
#[derive(Clone)]
enum Decoding {
    Text(Box<Decoder>),
    Frames(FrameDecoder),
}

impl Decoding {
    fn new(rules: Rules, dialect: Dialect, named: bool) -> Decoding {
        match dialect {
            Dialect::Frames => Decoding::Frames(FrameDecoder::new(rules, named)),
            Dialect::Headers | Dialect::Peerpy => {
                Decoding::Text(Box::new(Decoder::new(rules, named)))
            }
        }
    }

    fn next(&mut self, input: &[u8], stream_size: Option<usize>) -> Result<Step, CloseReason> {
        let step = match self {
            Decoding::Text(decoder) => decoder.next(input, stream_size),
            Decoding::Frames(decoder) => decoder.next(input, stream_size),
        };
        step.map_err(why)
    }

    /// The head, the size and the type of the message that `input` begins with, where that can be
    /// told in an instant.
    #[inline]
    fn at_once(&self, input: &[u8]) -> Option<(usize, usize, DataType)> {
        match self {
            Decoding::Frames(decoder) => {
                let (head, size) = decoder.at_once(input)?;
                Some((head, size, decoder.data_type()))
            }
            Decoding::Text(decoder) => {
                let (size, data_type) = decoder.same_again(input)?;
                Some((HEADER_LEN, size, data_type))
            }
        }
    }

    fn take_as_frame(&mut self) {
        if let Decoding::Text(decoder) = self {
            decoder.take_as_frame();
        }
    }

    fn is_frames(&self) -> bool {
        matches!(self, Decoding::Frames(_))
    }
}

/// Numbers of what was received, written by whoever reads.
#[derive(Default)]
pub(crate) struct Received {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Received {
    /// Before the message is passed on, so that whoever has it finds it counted.
    #[inline]
    fn count(&self, size: usize) {
        let messages = self.messages.load(Ordering::Relaxed) + 1;
        self.messages.store(messages, Ordering::Relaxed);
        let bytes = self.bytes.load(Ordering::Relaxed) + size as u64;
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Messages, and the bytes of their payloads.
    pub fn numbers(&self) -> (u64, u64) {
        let (messages, bytes) = (&self.messages, &self.bytes);
        (
            messages.load(Ordering::Relaxed),
            bytes.load(Ordering::Relaxed),
        )
    }
}

/// Finds the messages in what the socket has.
pub(crate) struct FrameReader {
    half: Arc<ReadHalf>,
    stream: Arc<Stream>,
    received: Arc<Received>,
    decoder: Decoding,
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
    /// The goodbye was read.
    ended: bool,
    spin: Spin,
}

impl FrameReader {
    /// `early` was read from the socket already.
    pub fn new(
        half: Arc<ReadHalf>,
        stream: Arc<Stream>,
        received: Arc<Received>,
        (rules, dialect): (Rules, Dialect),
        spin: Duration,
        early: Vec<u8>,
    ) -> FrameReader {
        let decoder = Decoding::new(rules, dialect, stream.is_named());
        let end = early.len();
        FrameReader {
            half,
            stream,
            received,
            decoder,
            bytes: early,
            start: 0,
            end,
            step: None,
            largest: 0,
            after_large: false,
            ended: false,
            spin: Spin::new(spin),
        }
    }

    /// The next message, where it is small and whole in the buffer: most are.
    #[inline]
    pub fn at_once(&mut self) -> Option<(DataType, &[u8])> {
        let (body, data_type) = self.at_hand()?;
        Some((data_type, &self.bytes[body]))
    }

    /// The next message. `may_wait` is asked before each wait for the socket; after a no, it goes on
    /// where it was when it is called again.
    #[inline]
    pub fn next(
        &mut self,
        may_wait: impl FnMut(Need) -> Result<bool, CloseReason>,
    ) -> Result<Next<'_>, CloseReason> {
        match self.at_hand() {
            Some((body, data_type)) => {
                let payload = Cow::Borrowed(&self.bytes[body]);
                Ok(Next::Message(data_type, payload))
            }
            None => self.look_for_next(may_wait),
        }
    }

    /// A small message that is whole in the buffer, and whose head is a frame's or that of the one
    /// before: most are.
    #[inline]
    fn at_hand(&mut self) -> Option<(Range<usize>, DataType)> {
        let unread = &self.bytes[self.start..self.end];
        let (head, size, data_type) = self.decoder.at_once(unread)?;
        let whole = size < LARGE && head + size <= unread.len();
        if !whole || self.step.is_some() {
            return None;
        }
        let body = self.start + head;
        self.start = body + size;
        self.received.count(size);
        Some((body..self.start, data_type))
    }

    fn look_for_next(
        &mut self,
        mut may_wait: impl FnMut(Need) -> Result<bool, CloseReason>,
    ) -> Result<Next<'_>, CloseReason> {
        if self.ended {
            return Ok(Next::End);
        }
        loop {
            let input = &self.bytes[self.start..self.end];
            let step = match self.step.take() {
                Some(step) => step,
                None => {
                    let stream_size = self.stream.known();
                    self.decoder.next(input, stream_size)?
                }
            };
            let unread = self.end - self.start;
            match step {
                Step::Skip(n) => {
                    self.start += n;
                    self.after_large = false;
                    if self.received.numbers().0 > 0 && !self.decoder.is_frames() {
                        // In text, only peerpy's keepalive is skipped in a stream.
                        self.stream.set_headerless();
                    }
                }
                Step::Message {
                    skip,
                    size,
                    data_type,
                }
                | Step::Call {
                    skip,
                    size,
                    data_type,
                    ..
                } => {
                    if self.stream.is_on() {
                        self.agree(size)?;
                    }
                    let large = size >= LARGE;
                    self.after_large = large;
                    // Not `skip + size`, which the other side could make larger than a number can be.
                    if unread < skip.saturating_add(size) {
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
                    self.received.count(size);
                    return Ok(match step {
                        Step::Call { call, .. } => Next::Call(call, data_type, payload),
                        _ => Next::Message(data_type, payload),
                    });
                }
                Step::Need(n) => {
                    if !may_wait(Need::Some)? {
                        return Ok(Next::Wait);
                    }
                    if !self.fill(n)? {
                        return match unread {
                            0 if self.decoder.is_frames() => Err(CloseReason::Vanished),
                            0 => Ok(Next::End),
                            _ => Err(CloseReason::Truncated),
                        };
                    }
                }
                Step::Word {
                    end,
                    word: Word::Failed { id, why, skip },
                } => {
                    let words = &self.bytes[self.start + skip..self.start + end];
                    let words = clean(&String::from_utf8_lossy(words));
                    self.start += end;
                    return Ok(Next::Failed(id, why, words));
                }
                Step::Word { end, word } => {
                    let frame = self.start..self.start + end;
                    self.start = frame.end;
                    let farewell = match word {
                        Word::Goodbye(None) => self.farewell(),
                        Word::Goodbye(Some(taken)) => Farewell::Leaving(taken),
                        Word::Refused { skip } => {
                            return Err(refusal(&self.bytes[frame][skip..]));
                        }
                        Word::Taken(_) | Word::Failed { .. } => {
                            return Err(malformed(TOO_EARLY));
                        }
                    };
                    // Whoever reads what follows has only the half.
                    let rest = self.bytes[self.start..self.end].to_vec();
                    self.half.keep_farewell(farewell, rest);
                    self.start = self.end;
                    self.ended = true;
                    return Ok(Next::End);
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

    /// What a goodbye means that was read: where the word that no more is taken in follows at once, both
    /// are one.
    fn farewell(&mut self) -> Farewell {
        let behind = &self.bytes[self.start..self.end];
        let next = self.decoder.next(behind, self.stream.known());
        let Ok(Step::Word {
            end,
            word: Word::Taken(taken),
        }) = next
        else {
            // Whoever reads the answer says what is wrong with it.
            return Farewell::Goodbye;
        };
        self.start += end;
        Farewell::Leaving(taken)
    }

    /// Are there bytes that have been read, and are no message yet?
    #[inline]
    pub fn is_begun(&self) -> bool {
        self.start < self.end || self.step.is_some()
    }

    fn agree(&self, size: usize) -> Result<(), CloseReason> {
        match self.stream.agree(size) {
            Size::First | Size::Same => Ok(()),
            Size::Other(stream) => Err(why(FrameError::StreamSize {
                size: size as u64,
                stream,
            })),
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
        burst::end();
        let socket = self.half.socket()?;
        self.spin.until(None, || self.half.is_readable(&socket));
        loop {
            match self.half.read(&socket, &mut self.bytes[self.end..end]) {
                Ok(0) => return self.half.end_of_input(&socket).map(|()| 0),
                Ok(n) => return Ok(n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.half.why_unread(&socket, &error)),
            }
        }
    }

    /// Memory follows what has arrived: never more than twice that, or what [`RESERVE`] says.
    fn read_large(&mut self, size: usize) -> Result<Vec<u8>, CloseReason> {
        burst::end();
        let reserve = self.largest.max(RESERVE);
        let mut body = Vec::with_capacity(size.min(reserve));
        let early = (self.end - self.start).min(size);
        body.extend_from_slice(&self.bytes[self.start..self.start + early]);
        self.start += early;
        let socket = self.half.socket()?;
        while body.len() < size {
            let want = (size - body.len()).min(body.len().max(reserve));
            body.reserve_exact(want);
            match self.half.read_onto(&socket, &mut body, want) {
                Ok(n) if n == want => {}
                Ok(_) => {
                    return self
                        .half
                        .end_of_input(&socket)
                        .and(Err(CloseReason::Truncated));
                }
                Err(error) => return Err(self.half.why_unread(&socket, &error)),
            }
        }
        self.largest = self.largest.max(size);
        Ok(body)
    }

    /// A short frame from a peerpy that begins like a keepalive: only what follows can tell.
    fn wait_for_silence(&mut self) -> Result<(), CloseReason> {
        if self.fill_within(self.end - self.start + 1, SILENCE)? != Some(true) {
            self.decoder.take_as_frame();
        }
        Ok(())
    }

    /// For a `close` inside the handler, which runs on the thread that would read: reads on until the
    /// other side has ended, and keeps all of it, up to `limit` bytes, for the handler. `check` says whether
    /// a message can be taken in, and `said_goodbye` is told how many there are when the other side has
    /// sent its last. Says what was found; `None`: no end before the deadline.
    pub fn read_ahead(
        &mut self,
        deadline: Instant,
        limit: usize,
        check: impl Fn(DataType, &[u8]) -> Result<(), CloseReason>,
        said_goodbye: impl Fn(u64),
    ) -> Option<Ahead> {
        let mut decoder = self.decoder.clone();
        let mut step = self.step;
        let mut stream_size = self.stream.known();
        let (mut messages, _) = self.received.numbers();
        let mut ended = false;
        let mut at = self.start;
        self.after_large = false;
        loop {
            let input = &self.bytes[at..self.end];
            let need = if !decoder.is_frames() {
                // Only FIN is an end.
                input.len() + READ_AHEAD
            } else {
                let next = match step.take() {
                    Some(step) => step,
                    None => match decoder.next(input, stream_size) {
                        Ok(step) => step,
                        Err(reason) => return Some(Ahead::Broken(reason)),
                    },
                };
                match next {
                    Step::Skip(n) => {
                        at += n;
                        continue;
                    }
                    Step::Message { .. } | Step::Call { .. } if ended => {
                        return Some(Ahead::Broken(malformed(BEHIND)));
                    }
                    Step::Message {
                        skip,
                        size,
                        data_type,
                    }
                    | Step::Call {
                        skip,
                        size,
                        data_type,
                        ..
                    } if skip.saturating_add(size) <= input.len() => {
                        let payload = &input[skip..skip + size];
                        // A request that is no value of the type is answered, and ends nothing.
                        let is_message = matches!(next, Step::Message { .. });
                        match check(data_type, payload) {
                            Err(reason) if is_message => return Some(Ahead::Broken(reason)),
                            _ => {}
                        }
                        at += skip + size;
                        messages += 1;
                        stream_size = stream_size.or(Some(size));
                        continue;
                    }
                    Step::Word { end, word } => {
                        at += end;
                        match word {
                            Word::Taken(taken) if ended => return Some(Ahead::Taken(taken)),
                            Word::Goodbye(taken) if !ended => {
                                ended = true;
                                said_goodbye(messages);
                                if let Some(taken) = taken {
                                    return Some(Ahead::Taken(taken));
                                }
                            }
                            Word::Goodbye(_) => {
                                return Some(Ahead::Broken(malformed(TWICE)));
                            }
                            Word::Taken(_) => {
                                return Some(Ahead::Broken(malformed(TOO_EARLY)));
                            }
                            Word::Failed { .. } if !ended => {}
                            Word::Failed { .. } => {
                                return Some(Ahead::Broken(malformed(BEHIND)));
                            }
                            Word::Refused { skip } => {
                                return Some(Ahead::Broken(refusal(&input[skip..end])));
                            }
                        }
                        continue;
                    }
                    waits => {
                        let is_message = matches!(waits, Step::Message { .. } | Step::Call { .. });
                        step = is_message.then_some(waits);
                        input.len() + READ_AHEAD
                    }
                }
            };
            if self.end - self.start >= limit {
                return None;
            }
            let unread = at - self.start;
            let filled = self.fill_until(unread + need, deadline);
            at = self.start + unread;
            match filled? {
                true => {}
                false if decoder.is_frames() => {
                    let is_between = at == self.end;
                    return Some(Ahead::Broken(match is_between {
                        true => CloseReason::Vanished,
                        false => CloseReason::Truncated,
                    }));
                }
                false => return Some(Ahead::Fin),
            }
        }
    }

    /// Reads once, and waits until the deadline. `None`: it came, or the socket met an error.
    fn fill_until(&mut self, need: usize, deadline: Instant) -> Option<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let filled = self.fill_within(need, left);
        let life = self.half.life();
        filled.unwrap_or_else(|reason| {
            if !life.is_over() {
                life.note_fault(reason);
            }
            None
        })
    }

    /// Reads once, and waits at most so long. `None`: nothing came.
    fn fill_within(&mut self, need: usize, time: Duration) -> Result<Option<bool>, CloseReason> {
        let socket = self.half.socket()?;
        let _ = socket.set_read_timeout(Some(time));
        let filled = self.fill(need);
        let _ = socket.set_read_timeout(None);
        match filled {
            Err(CloseReason::Io {
                kind: io::ErrorKind::WouldBlock,
                ..
            }) => Ok(None),
            // What Windows calls a read timeout.
            Err(CloseReason::TimedOut) if cfg!(windows) => Ok(None),
            filled => filled.map(Some),
        }
    }
}

/// What a `close` inside a handler has found behind what it keeps for the handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// FIN.
    Fin,
    /// The other side's word that it took in so many messages.
    Taken(u64),
    /// Something that ends the connection, in frames: nothing behind it will be read.
    Broken(CloseReason),
}
