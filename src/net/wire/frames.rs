//! Reads one connection: bytes from the socket, through the decoder, to messages.
//!
//! A long file, since one buffer and one decoder are behind every way to take a message from it.

mod ahead;

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use ahead::Ahead;

use super::decoding::Decoding;
use super::half::{Farewell, ReadHalf};
use super::reasons::{TOO_EARLY, clean, malformed, refusal, why};
use super::span::Span;
use super::stream::{Size, Stream};
use crate::error::CloseReason;
use crate::format::{DataType, Dialect, Payload};
use crate::net::burst;
use crate::net::os::spin::Spin;
use crate::proto::frame::{FrameError, Rules, Step};
use crate::proto::frames::{Call, Failure, Pulse, Word};

/// The buffer begins with this size, so that an idle connection costs little.
const BUFFER_MIN: usize = 512;
/// The buffer doubles while reads fill it, up to this size: it then holds what a burst brings in few reads.
const BUFFER_MAX: usize = 256 << 10;

/// From this payload size on a message is read straight into its own memory.
const LARGE: usize = 64 << 10;

/// So much may be reserved for a message before more of it than its header has arrived; or as much
/// as the largest message before it had, so that equal ones cost no growing.
const RESERVE: usize = 64 << 10;

/// What counts as silence if bytes alone do not tell whether more belongs to them.
pub(crate) const SILENCE: Duration = Duration::from_millis(100);

/// What a reader may have to wait for. A thread of the program that has a deadline can take the first
/// upon itself, and leaves the second to the reader thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Any bytes.
    Some,
    /// All of a large message, which may take many reads.
    All,
}

/// What [`FrameReader::next`] has found. A payload borrows from the buffer, and so has to be used before
/// the next call.
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

/// Numbers of what was received. Only the thread that reads the socket writes them, and there is one at a
/// time, so a load and a store make an addition. Any thread may read them, for `stats`; they guard nothing.
#[derive(Default)]
pub(crate) struct Received {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Received {
    /// Before the message is passed on, so that whoever has it finds it counted.
    #[inline]
    fn count(&self, size: usize) {
        self.count_all(1, size);
    }

    #[inline]
    fn count_all(&self, messages: usize, size: usize) {
        let messages = self.messages.load(Ordering::Relaxed) + messages as u64;
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

/// Finds the messages in what the socket has. One thread has it at a time: the connection's reader thread,
/// or a thread of the program with the lease. So nothing in it is locked but what others need: the half,
/// the stream's size, the counters.
pub(crate) struct FrameReader {
    /// The socket. Shared with those who end the connection, and who look whether something is unread.
    half: Arc<ReadHalf>,
    /// The size of a stream's messages, which the sending thread may be the first to decide.
    stream: Arc<Stream>,
    /// Counted here, read by `stats` and by the exchange of goodbyes.
    received: Arc<Received>,
    decoder: Decoding,
    /// Bytes read and not yet used are `bytes[start..end]`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// What the decoder has said, and what could not be done yet: the caller did not want to wait. The
    /// decoder has counted it, so it must not be asked about the same bytes again.
    step: Option<Step>,
    /// The size of the largest message so far.
    largest: usize,
    /// The last message was large. The next may be too, and what the buffer took of it would be copied.
    after_large: bool,
    /// The goodbye was read: the socket has no messages any more, only the answer to ours.
    ended: bool,
    /// How long a read looks before it sleeps, if the program asked for that.
    spin: Spin,
}

impl FrameReader {
    /// A reader that begins with `early`, which the handshake has read from the socket.
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

    /// The next message, if it is small and whole in the buffer, as most are. Never reads the socket, so it
    /// may be called under a lock.
    #[inline]
    pub fn at_once(&mut self) -> Option<(DataType, &[u8])> {
        self.at_once_if(|_| true)
    }

    /// The same, if one of its size is wanted. Otherwise it stays where it is.
    #[inline]
    pub fn at_once_if(
        &mut self,
        is_wanted: impl FnOnce(usize) -> bool,
    ) -> Option<(DataType, &[u8])> {
        let (body, data_type) = self.at_hand(is_wanted)?;
        Some((data_type, &self.bytes[body]))
    }

    /// The small messages that are whole in the buffer, up to the first that is not, and up to `messages` and
    /// `bytes`. Each message counts `each` bytes beside its payload, for the memory of its item. Puts their
    /// places behind `spans`, and returns the bytes of all.
    pub fn run(
        &mut self,
        messages: usize,
        bytes: usize,
        each: usize,
        spans: &mut Vec<Span>,
    ) -> &[u8] {
        let begin = self.start;
        if self.step.is_none() {
            // A message that was told and not taken yet is the first; `next` takes it.
            let (mut payload, before) = (0, spans.len());
            let unread = &self.bytes[begin..self.end];
            let used = self.decoder.each_at_once(unread, |head, size| {
                let behind = spans.len() - before + 1;
                let fits = behind <= messages && payload + size + behind * each <= bytes;
                let Some(span) = Span::new(head, size).filter(|_| fits) else {
                    return false;
                };
                payload += size;
                spans.push(span);
                true
            });
            self.start += used;
            self.received.count_all(spans.len() - before, payload);
        }
        &self.bytes[begin..self.start]
    }

    /// The next message. `may_wait` is asked before each wait for the socket. After a no this returns
    /// [`Next::Wait`], and the next call goes on where this one stopped.
    ///
    /// The closure is where a reader does what must not be put off while it sleeps: it hands over what it
    /// has decoded, or lends the socket to the program.
    #[inline]
    pub fn next(
        &mut self,
        mut may_wait: impl FnMut(Need) -> Result<bool, CloseReason>,
    ) -> Result<Next<'_>, CloseReason> {
        match self.at_hand(|_| true) {
            Some((body, data_type)) => {
                let payload = Cow::Borrowed(&self.bytes[body]);
                Ok(Next::Message(data_type, payload))
            }
            None => self.look_for_next(&mut may_wait),
        }
    }

    /// The place and the type of a small message that is whole in the buffer, and whose head is a frame's or
    /// that of the one before: most are.
    #[inline]
    fn at_hand(
        &mut self,
        is_wanted: impl FnOnce(usize) -> bool,
    ) -> Option<(Range<usize>, DataType)> {
        let unread = &self.bytes[self.start..self.end];
        let (head, size, data_type) = self.decoder.at_once(unread)?;
        let whole = size < LARGE && head + size <= unread.len();
        if !whole || self.step.is_some() || !is_wanted(size) {
            return None;
        }
        let body = self.start + head;
        // Used, although the caller has not looked at it yet: only the next read moves what the buffer has.
        self.start = body + size;
        self.received.count(size);
        Some((body..self.start, data_type))
    }

    /// [`next`](FrameReader::next) for every other case: apart from it, so that the usual case stays small,
    /// and this one is compiled once and not for each format.
    fn look_for_next(
        &mut self,
        may_wait: &mut dyn FnMut(Need) -> Result<bool, CloseReason>,
    ) -> Result<Next<'_>, CloseReason> {
        if self.ended {
            return Ok(Next::End);
        }
        loop {
            let input = &self.bytes[self.start..self.end];
            // What was found before a wait is not looked for again: the decoder counts some of it.
            let step = match self.step.take() {
                Some(step) => step,
                None => {
                    // Asked each time: the sending thread may have decided it since.
                    let stream_size = self.stream.known();
                    self.decoder.next(input, stream_size)?
                }
            };
            let unread = self.end - self.start;
            match step {
                Step::Skip(n) => {
                    self.start += n;
                    self.after_large = false;
                    match self.decoder.take_pulse() {
                        Some(Pulse::Wanted(milliseconds)) => self.half.hears.want(milliseconds),
                        Some(Pulse::Beat) => self.half.hears.note_beat(),
                        None => {}
                    }
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
                    // Both directions have one size, and either may be the first to say it.
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
                        // A large one is read into memory of its own below, as it comes.
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
                // Between two messages, or in the middle of a head.
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
                    // The answer that follows is read from the half alone.
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
            // What is wrong with it is found when the answer is read.
            return Farewell::Goodbye;
        };
        self.start += end;
        Farewell::Leaving(taken)
    }

    /// Are there bytes that have been read, and are no message yet?
    #[inline]
    // Asked before the lease is given back: a thread that leaves a part of a message behind must not be the
    // last to look.
    pub fn is_begun(&self) -> bool {
        self.start < self.end || self.step.is_some()
    }

    /// Compares a message of a stream with the stream's size, or makes its size that of the stream.
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
        // Only a part of one message is left here, if anything: what is moved is less than what is read.
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
        // Behind a large message no more is read than the head of the next: what the buffer took of the
        // body would be copied out of it again.
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

    /// Reads once, waiting, into the buffer up to `end`. 0: end of input.
    fn read_once(&mut self, end: usize) -> Result<usize, CloseReason> {
        // A thread that waits has stopped sending, so its next message is not part of a burst.
        burst::end();
        // Taken anew for each read. A reader that kept it would keep the socket open after the end.
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

    /// Reads the payload of a large message into memory of its own, without a copy through the buffer.
    ///
    /// Memory follows what has arrived: never more than twice that, or what [`RESERVE`] says. So a header
    /// that promises a gigabyte costs nothing until its bytes come.
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

    /// A short message from a peerpy begins like its keepalive. Only what follows, or silence, tells which it
    /// was.
    fn wait_for_silence(&mut self) -> Result<(), CloseReason> {
        if self.fill_within(self.end - self.start + 1, SILENCE)? != Some(true) {
            self.decoder.take_as_frame();
        }
        Ok(())
    }

    /// Reads once, and waits at most `time`. `None`: nothing came. The socket's timeout is taken back
    /// afterwards, since other reads of this thread wait for ever.
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
            filled => filled.map(Some),
        }
    }
}
