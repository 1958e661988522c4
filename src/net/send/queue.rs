//! The send queue of a connection as a machine: what has been accepted and is not yet written, who
//! may write, and who waits for room. It owns no lock, no thread and no clock.
//!
//! A long file, since its states are all in one type; what may be replaced is in `latest`.

use std::collections::VecDeque;
use std::mem::{replace, take};

use crate::error::{CloseReason, SendError};
use crate::format::DataType;
use crate::net::os::sync::Instant;
use crate::net::wire::write_half::{Unwritten, WriteHalf};
use crate::proto::frames::HEAD_ROOM;
use crate::proto::header::HEADER_LEN;

use self::latest::Latest;
use super::gathering::{Gathering, Look};
use super::head::{LastHead, Shape};

/// From this payload size on the caller writes the message itself, without a copy.
pub(super) const LARGE: usize = 64 << 10;

/// When a burst has gathered this many bytes, the sender that brings them writes them.
///
/// It is less than two of loopback's segments, of 65,483 bytes each, with the message that reaches it: the few
/// hundred bytes behind the second would wake the reader once more.
pub(super) const GATHERED: usize = 120 << 10;

/// Buffers above this size are given back after a burst.
const KEEP: usize = 4 << 10;

pub(super) struct SendQueue<W = WriteHalf> {
    /// The most bytes that may wait. A message larger than that waits alone.
    limit: usize,
    /// Whole messages, to be written next; after a partial write, the rest of one first.
    pending: Vec<u8>,
    /// An empty buffer that changes places with `pending`, so that a burst needs no new memory.
    spare: Vec<u8>,
    half: Half<W>,
    pub writer: Writer,
    /// Nothing is written yet: the other side, a peerpy, may not listen. See `HOLD_BACK`.
    held_back: bool,
    pub gathering: Gathering,
    /// The thread that writes out what it has gathered here if it ends before anyone else does.
    pub gatherer: usize,
    /// As long as `pending` stays below this length, a message of that thread simply follows those
    /// that wait: someone will look at the queue, and there is room. 0 after every change of who
    /// writes, who waits, or whether messages are accepted.
    append_to: usize,
    /// Those who wait for room, in the order in which they came. Only the first may go in.
    line: VecDeque<Place>,
    /// The number of the next place.
    places: u64,
    /// Threads that wait for room, or for the queue to be empty.
    pub waiters: usize,
    /// Why no more messages are accepted, once that is so. The first reason stays.
    closed: Option<CloseReason>,
    /// What was said about the end, so that it is said once.
    said: Said,
    /// Whether FIN follows what waits.
    fin: Fin,
    /// The head of the message that is being accepted.
    pub head: LastHead,
    /// A message that a newer one may replace, beside the others.
    latest: Latest,
    /// Messages accepted, less those that were taken back or replaced: the other side's count of what it
    /// took in is compared with this.
    messages: u64,
    /// The bytes of their payloads.
    bytes: u64,
    /// A message was offered once: something of it may have been written, also where it was taken back.
    is_begun: bool,
}

/// The writing half of the socket. There is one, and who owns it has the turn.
///
/// `repr(u8)` gives it a tag of its own. A tag that the compiler hides in the half costs a handful of
/// instructions at each look, and every message has three.
#[repr(u8)]
enum Half<W> {
    Here(W),
    /// A thread writes, without the lock, and looks at the queue when it has written. `in_flight` bytes
    /// are with it.
    Out {
        in_flight: usize,
    },
    /// The connection is over.
    Gone,
}

/// Who waits for a socket that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// Nobody.
    None,
    /// The writer thread, which looks at the queue before it parks.
    Awake,
    /// The writer thread, which waits for work.
    Parked,
    /// The watchdog tries again and again: the system has no thread.
    Watchdog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fin {
    /// None is due: the connection is open, or ends otherwise.
    No,
    WhenEmpty,
    Sent,
}

/// What was said, in frames, about the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    /// That no message follows.
    Goodbye,
    /// The same, and how many messages were taken in or that one was refused. Only FIN follows.
    All,
}

/// A place in the line of those who wait for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u64);

/// What becomes of a message that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// Nothing waits before it: the caller writes it, and what the socket does not take is queued.
    WriteNow,
    /// The same, from where the message lies: it is large.
    WriteFromWhereItLies,
    /// It is part of a burst, and the first to wait in the queue.
    Gather,
    /// It goes into the queue, behind others.
    Queue,
}

/// Who sees to what waits in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Someone does already, or nothing waits.
    Nothing,
    /// The caller writes what has gathered: it is much.
    WriteGathered,
    /// The flusher is to be told of the burst.
    TellFlusher,
    /// The writer is to wait for the socket, or for the end.
    WakeWriter,
}

/// What has become of the FIN that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// None is due now.
    Nothing,
    /// Everything is written: FIN is to be sent.
    Fin,
}

impl<W: Unwritten> SendQueue<W> {
    pub fn new(half: W, limit: usize, held_back: bool) -> SendQueue<W> {
        SendQueue {
            limit,
            pending: Vec::new(),
            spare: Vec::new(),
            half: Half::Here(half),
            writer: Writer::None,
            held_back,
            gathering: Gathering::default(),
            gatherer: 0,
            append_to: 0,
            line: VecDeque::new(),
            places: 0,
            waiters: 0,
            closed: None,
            said: Said::Nothing,
            fin: Fin::No,
            head: LastHead::new(),
            latest: Latest::default(),
            messages: 0,
            bytes: 0,
            is_begun: false,
        }
    }

    // Room

    /// Bytes that wait, or are being written.
    #[inline]
    pub fn used(&self) -> usize {
        let half = match &self.half {
            Half::Here(half) => half.left(),
            Half::Out { in_flight } => *in_flight,
            Half::Gone => 0,
        };
        self.pending.len() + half
    }

    #[inline]
    fn has_room(&self, size: usize) -> bool {
        let used = self.used_by_others();
        used == 0 || used.saturating_add(size) <= self.limit
    }

    /// May a message of this size, header included, go in now? As [`admits`](SendQueue::admits), for
    /// the message that nobody is before.
    #[inline]
    pub fn admits_at_once(&self, size: usize) -> bool {
        let is_open = self.closed.is_none() && self.line.is_empty();
        is_open && self.has_room(size)
    }

    /// May a message of this size, header included, go in now, ahead of everyone in the line but its
    /// own place? `Ok(false)`: there is no room, or others were first.
    pub fn admits(&self, size: usize, place: Option<Place>) -> Result<bool, SendError> {
        if let Some(reason) = &self.closed {
            return Err(SendError::Closed(reason.clone()));
        }
        Ok(self.line.front().copied() == place && self.has_room(size))
    }

    /// The next place in the line.
    pub fn queue_up(&mut self) -> Place {
        self.append_to = 0;
        let place = Place(self.places);
        self.places += 1;
        self.line.push_back(place);
        place
    }

    pub fn leave_line(&mut self, place: Place) {
        self.line.retain(|waiting| *waiting != place);
    }

    // Messages

    /// Counts an admitted message, and says what becomes of it. `burst` is asked only where nothing
    /// waits.
    #[inline]
    pub fn offer(&mut self, size: usize, burst: impl FnOnce() -> bool) -> Offer {
        self.is_begun = true;
        self.messages += 1;
        self.bytes += size as u64;
        match () {
            () if !self.is_idle() => Offer::Queue,
            () if size >= LARGE => Offer::WriteFromWhereItLies,
            () if burst() => Offer::Gather,
            () => Offer::WriteNow,
        }
    }

    /// Counts a message and puts it behind those that wait, if nothing is to be decided about it:
    /// this is what most messages of a burst are. `false`: [`offer`](SendQueue::offer) it.
    #[inline]
    pub fn append(
        &mut self,
        payload: &[u8],
        data_type: DataType,
        shape: Shape,
        gatherer: usize,
    ) -> bool {
        let end = self.pending.len() + payload.len() + HEADER_LEN;
        if end > self.append_to || self.gatherer != gatherer {
            return false;
        }
        self.messages += 1;
        self.bytes += payload.len() as u64;
        let head_len = self.head.make(payload.len(), data_type, shape);
        self.push(head_len, 0, payload);
        true
    }

    /// No thread is known to write out at its end what waits here.
    pub fn forget_gatherer(&mut self) {
        self.gatherer = 0;
    }

    /// A message was put behind others. Says for the next ones how far they simply follow it.
    pub fn note_append(&mut self) {
        let in_flight = self.used() - self.pending.len();
        let room = self.limit.saturating_sub(in_flight);
        let is_open = self.closed.is_none() && self.line.is_empty();
        self.append_to = match &self.half {
            _ if !is_open => 0,
            // Whoever writes looks at the queue afterwards.
            Half::Out { .. } => room,
            // The flusher does, and much is written by whoever brings it.
            Half::Here(half) if !self.is_held() && self.gathering.is_on() && half.left() == 0 => {
                room.min(GATHERED)
            }
            Half::Here(_) | Half::Gone => 0,
        };
    }

    /// The flusher's look at a burst.
    pub fn look(&mut self, now: Instant) -> Look {
        self.append_to = 0;
        self.gathering.look(now, self.messages)
    }

    /// Was no message ever offered, not even one that was taken back?
    pub fn is_unused(&self) -> bool {
        !self.is_begun
    }

    /// An offered message was not sent after all.
    pub fn take_back(&mut self, size: usize) {
        self.messages -= 1;
        self.bytes -= size as u64;
    }

    /// Puts a message, or what is left of it, behind those that wait.
    #[inline]
    pub fn push(&mut self, header_len: usize, written: usize, payload: &[u8]) {
        if written > 0 {
            return self.push_rest(header_len, written, payload);
        }
        let head = self.head.bytes();
        self.pending.reserve(HEADER_LEN + payload.len());
        // As many bytes as the compiler knows: all of a text header, or more than the head of a frame.
        if header_len == HEADER_LEN {
            self.pending.extend_from_slice(head);
        } else {
            let begin = self.pending.len();
            self.pending.extend_from_slice(&head[..HEAD_ROOM]);
            self.pending.truncate(begin + header_len);
        }
        self.pending.extend_from_slice(payload);
    }

    #[inline(never)]
    fn push_rest(&mut self, header_len: usize, written: usize, payload: &[u8]) {
        let header = &self.head.bytes()[written.min(header_len)..header_len];
        let payload = &payload[written.saturating_sub(header_len)..];
        self.pending.reserve(header.len() + payload.len());
        self.pending.extend_from_slice(header);
        self.pending.extend_from_slice(payload);
    }

    /// Puts the rest of a message, of which a part is written, before those that wait.
    pub fn push_front(&mut self, parts: [&[u8]; 2]) {
        self.latest.more_before(parts[0].len() + parts[1].len());
        let mut pending = Vec::with_capacity(parts[0].len() + parts[1].len() + self.pending.len());
        pending.extend_from_slice(parts[0]);
        pending.extend_from_slice(parts[1]);
        pending.extend_from_slice(&self.pending);
        self.pending = pending;
    }

    /// Messages and bytes accepted so far, except those that were replaced.
    #[inline]
    pub fn numbers(&self) -> (u64, u64) {
        (self.messages, self.bytes)
    }

    // Who writes

    /// Does someone write, who looks at the queue afterwards?
    #[inline]
    pub fn is_held(&self) -> bool {
        self.held_back
            || matches!(self.half, Half::Out { .. })
            || matches!(self.writer, Writer::Awake | Writer::Watchdog)
    }

    /// May whoever has the lock write, and is nothing before it?
    #[inline]
    fn is_idle(&self) -> bool {
        !self.held_back && matches!(self.half, Half::Here(_)) && !self.has_work()
    }

    /// Is there something to be written?
    #[inline]
    pub fn has_work(&self) -> bool {
        !self.pending.is_empty()
            || self.latest.waits()
            || matches!(&self.half, Half::Here(half) if half.left() > 0)
    }

    /// Is everything that was accepted handed to the system?
    pub fn is_drained(&self) -> bool {
        self.is_idle()
    }

    /// Who is to see to what waits.
    #[inline]
    pub fn next(&self) -> Next {
        match &self.half {
            Half::Out { .. } | Half::Gone => Next::Nothing,
            Half::Here(_) if self.is_held() || !self.has_work() => Next::Nothing,
            Half::Here(half) if half.left() > 0 || self.closed.is_some() => Next::WakeWriter,
            Half::Here(_) if self.latest.waits() => Next::WakeWriter,
            Half::Here(_) if self.pending.len() >= GATHERED => Next::WriteGathered,
            Half::Here(_) if !self.gathering.is_on() => Next::TellFlusher,
            Half::Here(_) => Next::Nothing,
        }
    }

    /// The half, for a write under the lock. `None`: someone else has the turn, or it is over.
    pub fn half(&mut self) -> Option<&mut W> {
        self.half_and_header().map(|(half, _)| half)
    }

    /// The same with the header of the message that is to be written.
    #[inline]
    pub fn half_and_header(&mut self) -> Option<(&mut W, &[u8; HEADER_LEN])> {
        match &mut self.half {
            Half::Here(half) if !self.held_back => Some((half, self.head.bytes())),
            _ => None,
        }
    }

    /// Takes the turn for a write without the lock. `extra` bytes that are not in the queue count as
    /// waiting meanwhile. `None`: someone else has it, or it is over.
    pub fn take_half(&mut self, extra: usize) -> Option<W> {
        self.append_to = 0;
        if self.held_back {
            return None;
        }
        let Half::Here(half) = &self.half else {
            return None;
        };
        let in_flight = half.left() + extra;
        match replace(&mut self.half, Half::Out { in_flight }) {
            Half::Here(half) => Some(half),
            _ => None,
        }
    }

    /// Takes what comes next, to be written by the holder of the turn: everything that waits. Where a
    /// message is among it that a newer one may replace, only what is before that, or that alone.
    pub fn take_batch(&mut self) -> Vec<u8> {
        let batch = self.latest_batch().unwrap_or_else(|| {
            let mut batch = take(&mut self.spare);
            std::mem::swap(&mut batch, &mut self.pending);
            batch
        });
        if let Half::Out { in_flight } = &mut self.half {
            *in_flight += batch.len();
        }
        self.forget_gatherer();
        self.gathering.note_write();
        batch
    }

    /// Gives the turn back, with the rest of a batch. `false`: the connection is over meanwhile, and
    /// the half goes with it.
    pub fn give_half(&mut self, half: W, mut batch: Vec<u8>, written: usize) -> bool {
        self.append_to = 0;
        if matches!(self.half, Half::Gone) {
            return false;
        }
        self.half = Half::Here(half);
        self.give_latest(&mut batch, written);
        if written < batch.len() {
            self.latest.more_before(batch.len() - written);
            batch.drain(..written);
            batch.extend_from_slice(&self.pending);
            std::mem::swap(&mut batch, &mut self.pending);
        }
        if batch.capacity() > self.spare.capacity() {
            batch.clear();
            self.spare = batch;
        }
        true
    }

    /// From now on the other side can be expected to listen.
    pub fn release(&mut self) {
        self.held_back = false;
    }

    /// Gives memory back that a burst has taken.
    pub fn trim(&mut self) {
        if self.is_idle() {
            self.pending.shrink_to(KEEP);
            self.spare = Vec::new();
        }
    }

    // The end

    /// Why it accepts no more messages, where it does not.
    pub fn why_closed(&self) -> CloseReason {
        self.closed.clone().unwrap_or(CloseReason::ClosedHere)
    }

    /// Accepts no more messages.
    pub fn close(&mut self, reason: CloseReason) {
        self.append_to = 0;
        self.closed.get_or_insert(reason);
    }

    /// Puts frames about the end behind everything else, and remembers what is `said` by then. Not
    /// where that, or more, was said before.
    pub fn say(&mut self, said: Said, words: impl FnOnce(Said) -> Vec<u8>) {
        let is_news = match self.said {
            Said::Nothing => said != Said::Nothing,
            Said::Goodbye => said == Said::All,
            Said::All => false,
        };
        if is_news && !self.is_gone() {
            self.pending.extend(words(self.said));
            self.said = said;
        }
    }

    /// Puts a word behind the messages, while more may come. Not where the queue is `beyond` its limit
    /// by so much.
    pub fn push_word(&mut self, word: &[u8], beyond: usize) {
        let has_room = self.used() < self.limit.saturating_add(beyond);
        if has_room && self.closed.is_none() && self.said == Said::Nothing && !self.is_gone() {
            self.pending.extend_from_slice(word);
        }
    }

    /// FIN is to follow what was accepted.
    pub fn finish(&mut self) {
        if self.fin == Fin::No {
            self.fin = Fin::WhenEmpty;
        }
    }

    /// Is the FIN due? Then the caller sends it, now.
    pub fn ending(&mut self) -> Ending {
        if self.fin == Fin::WhenEmpty && self.is_idle() {
            self.fin = Fin::Sent;
            return Ending::Fin;
        }
        Ending::Nothing
    }

    /// The FIN could not be sent yet.
    pub fn fin_is_due(&mut self) {
        self.fin = Fin::WhenEmpty;
    }

    /// The FIN that was due is not to be sent after all.
    pub fn fin_is_cancelled(&mut self) {
        self.fin = Fin::No;
    }

    pub fn is_fin_sent(&self) -> bool {
        self.fin == Fin::Sent
    }

    /// A write has failed: nothing more will be written.
    pub fn fail(&mut self, reason: CloseReason) {
        self.close(reason);
        self.drop_all();
    }

    /// The connection is over.
    pub fn give_up(&mut self, reason: CloseReason) {
        self.fail(reason);
        self.half = Half::Gone;
    }

    pub fn is_gone(&self) -> bool {
        matches!(self.half, Half::Gone)
    }

    fn drop_all(&mut self) {
        self.pending = Vec::new();
        self.latest.clear();
        if let Half::Here(half) = &mut self.half {
            half.clear();
        }
    }
}

mod latest;
#[cfg(test)]
mod tests;
