//! The reader thread's end of the receive queue: what that thread has decoded, until it hands it over.

use std::mem::size_of;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::TrySendError;

use super::batch::{Amount, Batch};
use super::lease::{Back, Source};
use super::queue::{Channel, Room};
use super::select::{SelectProducer, Unsent};
use super::{Meeting, Wake};
use crate::error::CloseReason;
use crate::net::life::Life;
use crate::net::os::condvar::{is_late, wait};
use crate::net::os::lock;
use crate::net::os::sync::{Instant, Ordering};
use crate::net::panics::let_go;
use crate::net::wire::span::Span;

/// In a long burst, a batch is handed over when it has this many messages.
const BATCH: usize = 512;

/// This many bytes count as one more message of a batch, because large messages take longer to decode.
const BATCH_SHARE: usize = 128;

/// A batch that is older than this is handed over too, since decoding can be slow. The clock is read after the
/// first, the second, the fourth and the eighth message, and after every [`LOOK`] messages.
pub(crate) const BATCH_AGE: Duration = Duration::from_micros(50);
const LOOK: usize = 16;

/// A reader thread that found the queue full goes on when half of it is taken, or after this time when
/// something is. If it went on as soon as there is room for one message, the two threads would wake
/// each other for every single one.
const PATIENCE: Duration = Duration::from_millis(1);

/// The reader thread's end of the queue. Only that thread has it; its drop ends the queue.
///
/// It decodes without the lock and takes it once for each batch. What it has learned at the last look is
/// kept in fields here, so that most messages cost no lock.
pub(crate) struct Producer<T> {
    meeting: Arc<Meeting<T>>,
    /// Decoded, and not yet handed over.
    fresh: Batch<T>,
    /// The messages in `fresh`, as [`BATCH`] counts them, and when the clock was first read since the
    /// last hand-over.
    weight: usize,
    begun: Option<Instant>,
    /// What waited in the queue at the last look. The program may have taken some of it since; so
    /// while this leaves room, the queue has room, and need not be looked at.
    waiting: Amount,
    /// The program has asked for the channel, and this thread has learned of it.
    channel: Channel<T>,
    /// This thread has learned that nobody can receive any more.
    abandoned: bool,
}

impl<T: Send + 'static> Producer<T> {
    pub(super) fn new(meeting: Arc<Meeting<T>>) -> Producer<T> {
        Producer {
            meeting,
            fresh: Batch::default(),
            weight: 0,
            begun: None,
            waiting: Amount::default(),
            channel: None,
            abandoned: false,
        }
    }

    /// For the end of the connection, which is to wake a reader that waits for room.
    pub(crate) fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.meeting) as _
    }

    /// Nobody can receive any more: messages need not even be decoded.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Waits for room, then passes `item` on. `Err`: the connection was ended meanwhile.
    pub fn push(&mut self, life: &Life, item: T, size: usize) -> Result<(), CloseReason> {
        let size = size + size_of::<T>();
        if self.meeting.is_latest {
            self.replace(item, size);
            return Ok(());
        }
        if self.channel.is_none() {
            self.make_room(life, size)?;
        }
        if self.channel.is_some() {
            return self.push_by_channel(life, item, size);
        }
        if !self.abandoned {
            self.fresh.push(item, size);
            self.note(size);
        }
        Ok(())
    }

    /// Waits for room in the channel, then puts `item` there.
    fn push_by_channel(&mut self, life: &Life, item: T, size: usize) -> Result<(), CloseReason> {
        let meeting = &*self.meeting;
        let Some(channel) = &mut self.channel else {
            return Ok(());
        };
        match channel.make_room(life, &meeting.abandoned, size) {
            Ok(true) => {}
            // Nobody takes it.
            no_room => {
                let_go(item);
                self.abandoned = true;
                return no_room.map(drop);
            }
        }
        let mut queue = lock(&meeting.queue);
        let mut item = match channel.try_push(item, size) {
            Ok(()) => {
                queue.count_one();
                // Whoever drops the last handle later finds the message in the channel.
                self.abandoned = meeting.is_abandoned();
                return Ok(());
            }
            Err(TrySendError::Disconnected(item)) => {
                drop(queue);
                let_go(item);
                self.abandoned = true;
                return Ok(());
            }
            Err(TrySendError::Full(item)) => item,
        };
        // It waits without the lock, and counts behind that. One who drops the last handle meanwhile wakes it,
        // and waits for that.
        queue.is_pushing = true;
        drop(queue);
        loop {
            let pushed = channel.push(life, item, size);
            let mut queue = lock(&meeting.queue);
            queue.is_pushing = false;
            if pushed.is_ok() {
                queue.count_one();
            }
            meeting.settled.notify_one();
            self.abandoned = meeting.is_abandoned();
            if self.abandoned {
                // What comes now is for a mere receiver. It is put in when all else is counted.
                while !queue.is_left() {
                    queue = wait(&meeting.room, queue, None);
                }
                *lock(&meeting.kill_switch) = Some(channel.arm_again());
            }
            drop(queue);
            item = match pushed {
                Ok(()) => return Ok(()),
                Err(Unsent::Nobody(unsent)) => {
                    let_go(unsent);
                    self.abandoned = true;
                    return Ok(());
                }
                Err(Unsent::Woken(unsent)) if life.is_over() => {
                    let_go(unsent);
                    return Err(life.why());
                }
                Err(Unsent::Woken(unsent)) => unsent,
            };
        }
    }

    /// The same as `push` for a run of payloads that need no decoding: as many as there is room for, of which none
    /// is waited for. `find` is told so, and what each message costs beside its payload; see
    /// [`FrameReader::run`](crate::net::wire::frames::FrameReader::run). `false`: there is none.
    #[inline]
    pub fn push_run<'a>(
        &mut self,
        find: impl FnOnce(usize, usize, usize, &mut Vec<Span>) -> &'a [u8],
    ) -> bool {
        if self.meeting.is_latest || self.channel.is_some() || self.abandoned {
            return false;
        }
        let (limit, used) = (self.meeting.limit, self.waiting + self.fresh.amount());
        let messages = limit.messages.saturating_sub(used.messages).min(BATCH);
        let bytes = limit.bytes.saturating_sub(used.bytes);
        let bytes = bytes.min(BATCH * BATCH_SHARE);
        let run = self
            .fresh
            .push_run(|spans| find(messages, bytes, size_of::<T>(), spans));
        self.weight += run.messages + run.bytes / BATCH_SHARE;
        if self.weight >= BATCH {
            self.hand_over();
        }
        run.messages > 0
    }

    /// Only the newest message counts: puts `item` in the place of the one that waits.
    fn replace(&mut self, item: T, size: usize) {
        self.fresh.push(item, size);
        if self.channel.is_none() {
            let meeting = Arc::clone(&self.meeting);
            let mut queue = lock(&meeting.queue);
            self.channel = queue.channel();
            self.abandoned |= meeting.is_abandoned();
            if self.channel.is_none() && !self.abandoned {
                let replaced = queue.replace(&mut self.fresh);
                meeting.count_replaced(replaced as u64);
                meeting.tell(&queue);
            }
        }
        if let (Some(channel), false) = (&mut self.channel, self.abandoned) {
            let mut item = None;
            self.fresh.pop(None, &mut item);
            if let Some(item) = item {
                let mut queue = lock(&self.meeting.queue);
                let old = channel.replace(item);
                queue.count_one();
                self.meeting.count_replaced(old.is_some().into());
                self.abandoned = self.meeting.is_abandoned();
                drop(queue);
                let_go(old);
            }
        }
        // What was replaced, or comes for nobody.
        self.fresh.clear();
    }

    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.fresh.memory()
    }

    /// A message was put into `fresh`. Hands over in a long burst.
    fn note(&mut self, size: usize) {
        self.weight += 1 + size / BATCH_SHARE;
        if self.weight >= BATCH || self.is_old() {
            self.hand_over();
        }
    }

    fn is_old(&mut self) -> bool {
        let count = self.fresh.len();
        if count % LOOK != 0 && !count.is_power_of_two() {
            return false;
        }
        let now = Instant::now();
        let begun = *self.begun.get_or_insert(now);
        now.duration_since(begun) > BATCH_AGE
    }

    /// Hands over what is decoded: in a long burst, and before this thread waits for anything.
    pub fn hand_over(&mut self) {
        if self.fresh.len() == 0 {
            return;
        }
        (self.weight, self.begun) = (0, None);
        // All decisions are made under one lock. So a program that asks for the channel, or drops its
        // last handle, does it before this hand-over or behind it.
        let mut queue = lock(&self.meeting.queue);
        if let Some(channel) = queue.channel() {
            drop(queue);
            return self.go_by(channel);
        }
        if self.meeting.is_abandoned() {
            self.abandoned = true;
            return;
        }
        queue.hand_over(&mut self.fresh);
        self.waiting = queue.amount();
        let waiters = queue.waiters;
        self.meeting.handed_over.fetch_add(1, Ordering::Release);
        drop(queue);
        // Woken without the lock, which each of them takes at once.
        if waiters > 0 {
            self.meeting.news.notify_all();
        }
    }

    /// From now on messages go by the channel.
    fn go_by(&mut self, mut channel: Box<SelectProducer<T>>) {
        let sent = self.pour_into(&mut channel);
        self.abandoned |= !sent;
        self.abandoned |= self.meeting.is_abandoned();
        self.channel = Some(channel);
    }

    /// Does the program wait, by one thread that may as well read for itself?
    pub fn is_awaited(&self) -> bool {
        // Whoever reads for itself would get the oldest.
        !self.meeting.is_latest && self.channel.is_none() && self.meeting.awaiting.is_one_patient()
    }

    /// Nothing is left to be decoded: leaves the source to the program until it is wanted back.
    pub fn lend(&mut self, life: &Life, source: Box<dyn Source<T>>) -> Back<T> {
        let meeting = Arc::clone(&self.meeting);
        let mut queue = lock(&meeting.queue);
        if let Some(channel) = queue.channel() {
            self.channel = Some(channel);
            return Back::Source(source);
        }
        if meeting.is_abandoned() {
            return Back::Source(source);
        }
        self.waiting = queue.amount();
        // A program that spins looks again, and finds the source.
        meeting.handed_over.fetch_add(1, Ordering::Release);
        if queue.lend(source) {
            meeting.watch();
        }
        meeting.news.notify_all();
        loop {
            // Whoever ends the connection wakes this thread after it has changed the life.
            let over = life.is_ending() || meeting.is_abandoned();
            if let Some(back) = queue.collect(over) {
                // The program may have put messages in that it read beside what it wanted. What this thread
                // brings has to find room behind them, here or in the channel that was asked for meanwhile.
                self.waiting = queue.amount();
                self.channel = queue.channel();
                return back;
            }
            queue = wait(&meeting.room, queue, None);
        }
    }

    /// Waits until the queue has room for a message of `size` bytes. Returns without room where
    /// nobody can receive any more, or all goes by the channel by now, which has bounds of its own.
    fn make_room(&mut self, life: &Life, size: usize) -> Result<(), CloseReason> {
        if (self.waiting + self.fresh.amount()).has_room(size, self.meeting.limit) {
            return Ok(());
        }
        self.hand_over();
        let meeting = Arc::clone(&self.meeting);
        let mut queue = lock(&meeting.queue);
        let mut until = None;
        loop {
            if let Some(channel) = queue.channel() {
                self.channel = Some(channel);
                return Ok(());
            }
            if meeting.is_abandoned() {
                self.abandoned = true;
                return Ok(());
            }
            if life.is_over() {
                return Err(life.why());
            }
            let until = Some(*until.get_or_insert_with(|| Instant::now() + PATIENCE));
            let room = &meeting.room;
            queue = match queue.room(size, !is_late(until)) {
                Room::Here => {
                    self.waiting = queue.amount();
                    return Ok(());
                }
                Room::AtHalf => wait(room, queue, until),
                Room::AtAny => wait(room, queue, None),
            };
        }
    }
}

impl<T> Producer<T> {
    /// Puts what is decoded into the channel: room was made for it when it came. `false`: nobody can receive
    /// any more. The lock is held over all of them, so that one who drops the last handle counts all or none.
    fn pour_into(&mut self, channel: &mut SelectProducer<T>) -> bool {
        let mut item = None;
        let mut queue = lock(&self.meeting.queue);
        let unsent = loop {
            let Some(size) = self.fresh.pop(self.meeting.make, &mut item) else {
                break None;
            };
            match item.take().map(|item| channel.try_push(item, size)) {
                Some(Ok(())) => queue.count_one(),
                Some(Err(why)) => break Some(why.into_inner()),
                None => {}
            }
        };
        drop(queue);
        // The drop of each is the program's code.
        let all_sent = unsent.is_none();
        let_go(unsent);
        self.fresh.clear();
        all_sent
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        let mut queue = lock(&self.meeting.queue);
        // What comes for nobody is dropped with this.
        let is_wanted = self.channel.is_none() && !self.meeting.is_abandoned();
        let channel = queue.end(is_wanted.then_some(&mut self.fresh));
        self.meeting.tell(&queue);
        drop(queue);
        let channel = self.channel.take().or(channel);
        // Without the lock: an item that is dropped here runs the program's code. Where all receivers are
        // gone, the items that are left in the channel go with it.
        if let Some(mut channel) = channel {
            self.pour_into(&mut channel);
            let_go(channel);
        }
    }
}
