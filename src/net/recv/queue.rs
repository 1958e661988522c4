//! The receive queue of a connection as a machine: what waits for the program, and by which way the
//! next message comes. It owns no lock, no thread and no clock.
//!
//! A long file, since it is one machine: its three ways out are told apart in one place.

use std::collections::VecDeque;
use std::mem::{replace, size_of, take};

use super::batch::{Amount, Batch, Make};
use super::lease::{Back, Pace, Source};
use super::select::SelectProducer;
use crate::error::CloseReason;

/// A batch up to this size is appended to the one before it. A larger one is never copied, so that neither
/// side holds the lock for long.
const SMALL: Amount = Amount {
    messages: 128,
    bytes: 64 << 10,
};

/// Between the reader thread, which hands over what it has decoded, and the program.
pub(crate) struct ReceiveQueue<T> {
    /// The most that may wait. A message larger than that waits alone.
    limit: Amount,
    make: Make<T>,
    /// What the program takes from.
    front: Batch<T>,
    /// Batches that were handed over since, the oldest first, and how much is in them.
    behind: VecDeque<Batch<T>>,
    behind_amount: Amount,
    /// Emptied batches, for the reader thread to fill again.
    spare: Vec<Batch<T>>,
    way: Way<T>,
    /// The watchdog is due to look at a lease; it is never asked for twice.
    watched: bool,
    /// The reader thread waits until fewer messages than this are left; 0 while it does not wait.
    wanted: usize,
    /// Threads of the program that wait for the next message.
    pub waiters: usize,
    /// Messages that came to the program, by whichever way.
    brought: u64,
    /// The reader thread waits for room in the channel, and may be about to count a message that is in it.
    pub is_pushing: bool,
    /// Of all messages, those that the program has taken when its last handle was dropped.
    kept: Option<u64>,
}

/// By which way messages come out of the queue.
enum Way<T> {
    /// In batches: the reader thread reads and hands them over.
    Batches,
    /// By the lease: the reader thread waits, and a thread of the program may take the source of
    /// messages from here and read for itself.
    Lent(Box<dyn Source<T>>, Pace),
    /// By the lease, which a thread of the program has taken.
    Reading(Pace),
    /// The reader thread is to have the source back, as soon as it is here. Where the program has
    /// asked for the channel, the reader thread's end of that waits beside it.
    Recalled(Option<Box<dyn Source<T>>>, Channel<T>),
    /// A thread of the program has found the end in place of a message. The reader thread is to
    /// learn of it.
    AtEnd(Result<(), CloseReason>, Channel<T>),
    /// By the crossbeam channel. The reader thread's end of it is here until that thread fetches it.
    Channel(Channel<T>),
    /// By none: nothing more will come. What was handed over may still wait.
    Ended,
}

impl<T> Way<T> {
    /// Has the program asked for the channel?
    fn is_channel(&self) -> bool {
        matches!(
            self,
            Way::Recalled(_, Some(_)) | Way::AtEnd(_, Some(_)) | Way::Channel(_)
        )
    }
}

/// The reader thread's end of the channel, where the program has asked for one.
pub(super) type Channel<T> = Option<Box<SelectProducer<T>>>;

/// What a thread of the program finds that wants a message.
pub(super) enum Found<T> {
    /// The next message is where it was wanted. Where it made room, the reader thread is to be woken.
    Item {
        wake_reader: bool,
    },
    /// Nothing waits, and this thread may read for itself; with an empty batch for what it reads beside
    /// the message that it wants.
    Source(Box<dyn Source<T>>, Batch<T>),
    Nothing,
    /// Nothing waits, and nothing will come.
    Ended,
    /// All messages are in the channel.
    Channel,
}

/// Is there room for the reader thread's next message?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Here,
    /// It is to wait until half of the messages are taken, or until it has been patient.
    AtHalf,
    /// It is to wait until something is taken.
    AtAny,
}

/// What is to be done when the program has put the source back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Returned {
    /// The reader thread is to be woken.
    pub wake_reader: bool,
    /// The watchdog is to be asked to look at the lease.
    pub watch: bool,
}

/// What came of a look of the watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tick {
    /// The reader thread is to be woken.
    pub wake_reader: bool,
    /// The watchdog is to look again.
    pub goes_on: bool,
}

impl<T> ReceiveQueue<T> {
    pub fn new(limit: Amount, make: Make<T>) -> ReceiveQueue<T> {
        ReceiveQueue {
            limit,
            make,
            front: Batch::default(),
            behind: VecDeque::new(),
            behind_amount: Amount::default(),
            spare: Vec::new(),
            way: Way::Batches,
            watched: false,
            wanted: 0,
            waiters: 0,
            brought: 0,
            is_pushing: false,
            kept: None,
        }
    }

    /// Everything that waits here; the channel's messages do not.
    pub fn amount(&self) -> Amount {
        self.front.amount() + self.behind_amount
    }

    // The program

    /// Puts the next message into `item`, or says why there is none. Not as a part of what it returns:
    /// a message that is moved under the lock costs the lock's time.
    #[inline]
    pub fn find(&mut self, item: &mut Option<T>) -> Found<T> {
        if self.pop(item).is_some() {
            let wake_reader = self.wanted > 0 && self.amount().messages < self.wanted;
            if wake_reader {
                self.wanted = 0;
            }
            return Found::Item { wake_reader };
        }
        if let Way::Lent(source, pace) = &mut self.way {
            // A message that is here already, and needs no decoding.
            if let Some(size) = self.make.and_then(|_| source.take_plain(item)) {
                pace.note(size);
                self.brought += 1;
                return Found::Item { wake_reader: false };
            }
        }
        let (way, found) = match replace(&mut self.way, Way::Batches) {
            Way::Lent(source, pace) => {
                let run = take(&mut self.front);
                (Way::Reading(pace), Found::Source(source, run))
            }
            Way::Ended => (Way::Ended, Found::Ended),
            way if way.is_channel() => (way, Found::Channel),
            way => (way, Found::Nothing),
        };
        self.way = way;
        found
    }

    /// Puts the next message that waits into `item`, and says how large it is.
    #[inline]
    fn pop(&mut self, item: &mut Option<T>) -> Option<usize> {
        if self.front.len() == 0 {
            self.next_batch()?;
        }
        self.front.pop(self.make, item)
    }

    #[cold]
    fn next_batch(&mut self) -> Option<()> {
        let next = self.behind.pop_front()?;
        self.behind_amount = self.behind_amount - next.amount();
        if self.behind.is_empty() {
            // A burst is over: its memory is given back.
            self.spare.truncate(1);
        }
        self.spare.push(replace(&mut self.front, next));
        Some(())
    }

    /// Is there room for a message, if one comes?
    pub fn has_room_for_one(&self) -> bool {
        self.amount().has_room(1, self.limit)
    }

    /// For a thread of the program that wants no message: the source, if it is on the lease and there is
    /// room for a message that may come.
    pub fn borrow_source(&mut self) -> Option<Box<dyn Source<T>>> {
        if !matches!(self.way, Way::Lent(..)) || !self.has_room_for_one() {
            return None;
        }
        match replace(&mut self.way, Way::Batches) {
            Way::Lent(source, pace) => {
                self.way = Way::Reading(pace);
                Some(source)
            }
            way => {
                self.way = way;
                None
            }
        }
    }

    /// Such a thread has read a message, which goes behind those that wait. `Err`: nobody can receive it.
    pub fn put_in(&mut self, item: T, size: usize) -> Result<(), T> {
        if let Way::Recalled(_, Some(channel)) | Way::AtEnd(_, Some(channel)) = &mut self.way {
            // There was room for one when the source was taken.
            return match channel.try_push(item, size) {
                Ok(()) => {
                    self.count_one();
                    Ok(())
                }
                Err(unsent) => Err(unsent.into_inner()),
            };
        }
        let mut one = Batch::default();
        one.push(item, size + size_of::<T>());
        self.hand_over(&mut one);
        Ok(())
    }

    /// A message was put into the channel. The caller has held the lock since before that, or has set
    /// `is_pushing`. So a thread that drops the last handle sees both the message and the count, or neither.
    pub fn count_one(&mut self) {
        self.brought += 1;
    }

    /// The program has read these messages beside the one that it wanted. It takes them before it reads again.
    pub fn put_run(&mut self, mut run: Batch<T>) {
        self.brought += run.len() as u64;
        if let Way::Reading(pace) = &mut self.way {
            pace.note_all(run.amount());
        }
        if let Way::Recalled(_, Some(channel)) = &mut self.way {
            // All that waited when the channel was made was in it by then: the program reads for itself only
            // when nothing waits. So the channel has room for as much as may wait.
            return pour(channel, |item| run.pop(self.make, item));
        }
        debug_assert_eq!(self.amount().messages, 0, "nobody else has the source");
        self.front = run;
    }

    /// The program has read a message of `size` bytes, or nothing, and puts the source back.
    pub fn put_back(&mut self, source: Box<dyn Source<T>>, size: Option<usize>) -> Returned {
        self.brought += u64::from(size.is_some());
        let size = size.unwrap_or(0);
        match replace(&mut self.way, Way::Batches) {
            Way::Recalled(_, channel) => {
                self.way = Way::Recalled(Some(source), channel);
                Returned {
                    wake_reader: true,
                    watch: false,
                }
            }
            Way::Reading(mut pace) => {
                pace.note(size);
                self.lend_at(source, pace)
            }
            // Nobody else has a source to put back.
            way => {
                self.way = way;
                self.lend_at(source, Pace::default())
            }
        }
    }

    /// The program has found the end in place of a message.
    pub fn finish(&mut self, end: Result<(), CloseReason>) -> Returned {
        self.way = match replace(&mut self.way, Way::Batches) {
            Way::Recalled(_, channel) | Way::AtEnd(_, channel) => Way::AtEnd(end, channel),
            _ => Way::AtEnd(end, None),
        };
        Returned {
            wake_reader: true,
            watch: false,
        }
    }

    /// From now on everything goes by the channel, of which this is the reader thread's end: also
    /// what waits. Gives that end back, to be dropped without the lock, where nothing more will come.
    pub fn select(&mut self, mut channel: Box<SelectProducer<T>>) -> Channel<T> {
        pour(&mut channel, |item| self.pop(item));
        let channel = Some(channel);
        let mut ended = None;
        self.way = match replace(&mut self.way, Way::Batches) {
            Way::Batches | Way::Channel(_) => Way::Channel(channel),
            Way::Lent(source, _) => Way::Recalled(Some(source), channel),
            Way::Reading(_) => Way::Recalled(None, channel),
            Way::Recalled(source, _) => Way::Recalled(source, channel),
            Way::AtEnd(end, _) => Way::AtEnd(end, channel),
            Way::Ended => {
                ended = channel;
                Way::Channel(None)
            }
        };
        ended
    }

    /// Nobody will receive any more; `in_channel` messages wait in the channel. Says whether something waits,
    /// and returns what waits here, to be dropped without the lock.
    pub fn abandon(&mut self, in_channel: usize) -> (bool, impl Sized + use<T>) {
        let unread = match &self.way {
            Way::Lent(source, _) | Way::Recalled(Some(source), _) => source.has_unread(),
            _ => false,
        };
        let waiting = self.amount().messages + in_channel;
        let unread = unread || waiting > 0;
        self.kept = Some(self.brought.saturating_sub(waiting as u64));
        self.behind_amount = Amount::default();
        (unread, (take(&mut self.front), take(&mut self.behind)))
    }

    /// How many messages were taken in: all that came, or, once nobody will receive any more, those
    /// that the program has taken.
    pub fn taken(&self) -> u64 {
        self.kept.unwrap_or(self.brought)
    }

    /// Is it counted what the program has taken in, because its last handle was dropped?
    pub fn is_left(&self) -> bool {
        self.kept.is_some()
    }

    // The reader thread

    /// Takes over what the reader thread has decoded, and leaves it an empty batch.
    pub fn hand_over(&mut self, fresh: &mut Batch<T>) {
        let amount = fresh.amount();
        if amount.messages == 0 {
            return;
        }
        self.brought += amount.messages as u64;
        self.behind_amount = self.behind_amount + amount;
        match self.behind.back_mut() {
            Some(last) if (last.amount() + amount).is_within(SMALL) => last.append(fresh),
            _ => {
                let spare = self.spare.pop();
                let empty = spare.unwrap_or_else(|| fresh.empty_one());
                self.behind.push_back(replace(fresh, empty));
            }
        }
    }

    /// Takes over a message that replaces those that wait; leaves these in its place, and says how many.
    pub fn replace(&mut self, fresh: &mut Batch<T>) -> usize {
        self.brought += fresh.len() as u64;
        // Nothing is ever behind it.
        std::mem::swap(&mut self.front, fresh);
        fresh.len()
    }

    /// The reader thread's end of the channel, where the program has asked for one since that thread
    /// looked last.
    pub fn channel(&mut self) -> Channel<T> {
        match &mut self.way {
            Way::Channel(channel) => channel.take(),
            _ => None,
        }
    }

    /// Is there room for a message of `size` bytes, or what is to be waited for? `patient`: the
    /// reader thread may wait a little longer than it must, so that it is not woken for each message.
    pub fn room(&mut self, size: usize, patient: bool) -> Room {
        let amount = self.amount();
        let half = self.limit.messages / 2;
        let waits_for_half = patient && amount.messages > half;
        let room = match () {
            () if !waits_for_half && amount.has_room(size, self.limit) => Room::Here,
            () if waits_for_half => Room::AtHalf,
            () => Room::AtAny,
        };
        self.wanted = match room {
            Room::Here => 0,
            Room::AtHalf => half + 1,
            Room::AtAny => usize::MAX,
        };
        room
    }

    /// Leaves the source to the program until it is wanted back. Says whether the watchdog is to be
    /// asked to look at the lease.
    pub fn lend(&mut self, source: Box<dyn Source<T>>) -> bool {
        let mut pace = Pace::default();
        // The program has a whole tick from now on.
        pace.note(0);
        self.lend_at(source, pace).watch
    }

    fn lend_at(&mut self, source: Box<dyn Source<T>>, pace: Pace) -> Returned {
        self.way = Way::Lent(source, pace);
        Returned {
            wake_reader: false,
            watch: !replace(&mut self.watched, true),
        }
    }

    /// What the reader thread has lent, or `None` while it is to wait. `over`: the program is not to
    /// read any more.
    pub fn collect(&mut self, over: bool) -> Option<Back<T>> {
        if over {
            self.recall();
        }
        let (back, channel) = match replace(&mut self.way, Way::Batches) {
            Way::Recalled(Some(source), channel) => (Back::Source(source), channel),
            Way::AtEnd(end, channel) => (Back::End(end), channel),
            way => {
                self.way = way;
                return None;
            }
        };
        if channel.is_some() {
            self.way = Way::Channel(channel);
        }
        Some(back)
    }

    /// Nothing more will come, after the last of what was decoded. Gives the reader thread's end of
    /// the channel back, to be dropped without the lock, where it is still here.
    pub fn end(&mut self, fresh: Option<&mut Batch<T>>) -> Channel<T> {
        if let Way::Channel(channel) = &mut self.way {
            return channel.take();
        }
        if let Some(fresh) = fresh {
            self.hand_over(fresh);
        }
        self.way = Way::Ended;
        None
    }

    // Whoever wants the reader thread to read

    /// The reader thread is to read. Says whether it is to be woken; otherwise it has the source, or
    /// the program does, and puts it back.
    pub fn recall(&mut self) -> bool {
        let (way, wake_reader) = match replace(&mut self.way, Way::Batches) {
            Way::Lent(source, _) => (Way::Recalled(Some(source), None), true),
            Way::Reading(_) => (Way::Recalled(None, None), false),
            way => (way, false),
        };
        self.way = way;
        wake_reader
    }

    /// A tick of the watchdog has passed. A program that has taken nothing since the last, or takes
    /// too slowly what comes, loses the lease.
    pub fn tick(&mut self) -> Tick {
        let (wake_reader, goes_on) = match &mut self.way {
            Way::Lent(source, pace) => {
                let lost = pace.is_lost(|| source.has_unread());
                (lost && self.recall(), !lost)
            }
            // A thread that waits for the socket is not slow. It asks for the watchdog again.
            Way::Reading(pace) => (false, !pace.is_lost(|| false)),
            _ => (false, false),
        };
        self.watched = goes_on;
        Tick {
            wake_reader,
            goes_on,
        }
    }

    #[cfg(test)]
    pub fn memory(&self) -> usize {
        let rest = self.behind.iter().chain(&self.spare);
        self.front.memory() + rest.map(Batch::memory).sum::<usize>()
    }
}

/// Moves into the channel all that `pop` gives. There are never more messages than it holds.
fn pour<T>(channel: &mut SelectProducer<T>, mut pop: impl FnMut(&mut Option<T>) -> Option<usize>) {
    let mut item = None;
    while let Some(size) = pop(&mut item) {
        if let Some(item) = item.take() {
            let sent = channel.try_push(item, size);
            debug_assert!(sent.is_ok(), "its receiver is here");
        }
    }
}

#[cfg(test)]
mod tests;
