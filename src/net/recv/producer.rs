//! The reader's end of the receive queue: what it has decoded, until it hands it over.

use std::mem::{size_of, take};
use std::sync::Arc;
use std::time::Duration;

use crate::error::CloseReason;
use crate::net::life::Life;
use crate::net::os::lock;
use crate::net::os::sync::{Instant, Ordering};
use crate::net::recv::batch::{Amount, Batch};
use crate::net::recv::consumer::{Shared, Wake};
use crate::net::recv::lease::{Back, Source};
use crate::net::recv::select::SelectProducer;

/// Up to this size, plain bytes wait side by side in one buffer, and become a message of their own
/// where they are taken: memory that one thread allocates and another frees is slow.
const SMALL: usize = 1 << 10;

/// In a long burst a batch is handed over when it has so many messages,
const BATCH: usize = 512;

/// where so many bytes count as a message more, because large ones take longer to decode,
const BATCH_SHARE: usize = 128;

/// or when it is so old, looked at after every so many messages: decoding can be slow.
const BATCH_AGE: Duration = Duration::from_micros(50);
const LOOK: usize = 16;

/// A reader that found the queue full goes on when half of it is taken, or something and so much
/// time has passed: at each message the two threads would wake each other for every single one.
const PATIENCE: Duration = Duration::from_millis(1);

/// The reader's end of the queue. Its drop ends it.
pub(crate) struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// Decoded, and not yet handed over.
    fresh: Batch<T>,
    /// `fresh` as [`BATCH`] counts it, and since when it grows.
    weight: usize,
    begun: Option<Instant>,
    /// The most that can wait of what was handed over.
    waiting: Amount,
    /// The program has asked for the channel.
    channel: Option<SelectProducer<T>>,
    /// Nobody can receive any more.
    abandoned: bool,
}

impl<T: Send + 'static> Producer<T> {
    pub(crate) fn new(shared: Arc<Shared<T>>) -> Producer<T> {
        Producer {
            shared,
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
        Arc::clone(&self.shared) as _
    }

    /// Nobody can receive any more: messages need not even be decoded.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Waits for room, then passes `item` on. `Err`: the connection was ended meanwhile.
    pub fn push(&mut self, life: &Life, item: T, size: usize) -> Result<(), CloseReason> {
        let size = size + size_of::<T>();
        if self.channel.is_none() {
            self.make_room(life, size)?;
        }
        if let Some(channel) = &mut self.channel {
            let sent = channel.push(life, &self.shared.abandoned, item, size)?;
            self.shared.brought.fetch_add(sent.into(), Ordering::SeqCst);
            // Looked at behind the push: either this finds that the last handle was dropped, or
            // that drop finds the message in the channel.
            self.abandoned = !sent || self.shared.is_abandoned();
        } else if !self.abandoned {
            self.fresh.push(item, size);
            self.note(size);
        }
        Ok(())
    }

    /// The same for a payload that needs no decoding.
    pub fn push_plain(&mut self, life: &Life, payload: &[u8]) -> Result<(), CloseReason> {
        let size = payload.len() + size_of::<T>();
        if payload.len() <= SMALL && self.channel.is_none() {
            self.make_room(life, size)?;
        }
        if payload.len() > SMALL || self.channel.is_some() {
            return match self.shared.make {
                Some(make) => self.push(life, make(payload), payload.len()),
                None => Ok(()),
            };
        }
        if !self.abandoned {
            self.fresh.push_plain(payload);
            self.note(size);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.fresh.memory()
    }

    fn note(&mut self, size: usize) {
        self.weight += 1 + size / BATCH_SHARE;
        if self.weight >= BATCH || self.is_old() {
            self.hand_over();
        }
    }

    fn is_old(&mut self) -> bool {
        if self.fresh.len() % LOOK != 0 {
            return false;
        }
        let now = Instant::now();
        let begun = *self.begun.get_or_insert(now);
        now.duration_since(begun) > BATCH_AGE
    }

    /// The reader is about to wait for the socket.
    pub fn hand_over(&mut self) {
        if self.fresh.len() == 0 {
            return;
        }
        (self.weight, self.begun) = (0, None);
        let mut arrived = lock(&self.shared.arrived);
        if let Some(mut channel) = arrived.channel.take() {
            drop(arrived);
            let mut fresh = take(&mut self.fresh);
            while let Some((item, size)) = fresh.pop(self.shared.make) {
                // Room was made for them when they came.
                let sent = channel.push_at_once(item, size);
                self.shared.brought.fetch_add(sent.into(), Ordering::SeqCst);
                self.abandoned |= !sent;
            }
            self.abandoned |= self.shared.is_abandoned();
            self.channel = Some(channel);
        } else if self.shared.is_abandoned() {
            self.abandoned = true;
        } else {
            self.shared.count(&self.fresh);
            arrived.batch.append(&mut self.fresh);
            // It may have changed places with one that has grown.
            self.fresh.trim();
            self.waiting = arrived.before + arrived.batch.amount();
            let waiters = arrived.waiters;
            self.shared.handed_over.fetch_add(1, Ordering::Release);
            drop(arrived);
            if waiters > 0 {
                self.shared.news.notify_all();
            }
        }
    }

    /// Does the program wait, by one thread that may as well read for itself?
    pub fn is_awaited(&self) -> bool {
        self.channel.is_none() && self.shared.awaiting.is_one_patient()
    }

    /// Nothing is left to be decoded: leaves the source to the program until it is wanted back.
    pub fn lend(&mut self, life: &Life, source: Box<dyn Source<T>>) -> Back<T> {
        let shared = Arc::clone(&self.shared);
        let mut taking = lock(&shared.taking);
        let mut arrived = lock(&shared.arrived);
        if let Some(channel) = arrived.channel.take() {
            self.channel = Some(channel);
            return Back::Source(source);
        }
        if shared.is_abandoned() {
            return Back::Source(source);
        }
        // Whoever finds the source has no other place to look.
        taking.batch.append(&mut arrived.batch);
        arrived.batch.trim();
        arrived.before = taking.batch.amount();
        self.waiting = arrived.before;
        shared.handed_over.fetch_add(1, Ordering::Release);
        drop(arrived);
        if taking.lease.lend(source) {
            shared.watch();
        }
        shared.news.notify_all();
        loop {
            let over = life.is_ending() || shared.is_abandoned();
            if let Some(back) = taking.lease.look(over) {
                return back;
            }
            taking = shared.room.wait(taking).unwrap_or_else(|p| p.into_inner());
        }
    }

    /// Waits until the queue has room for a message of `size` bytes, unless that may be abandoned
    /// or is a channel by now.
    fn make_room(&mut self, life: &Life, size: usize) -> Result<(), CloseReason> {
        let limit = self.shared.limit;
        let fits = |all: Amount| {
            all.messages == 0
                || (all.messages < limit.messages && all.bytes.saturating_add(size) <= limit.bytes)
        };
        if fits(self.waiting + self.fresh.amount()) {
            return Ok(());
        }
        self.hand_over();
        let shared = Arc::clone(&self.shared);
        let mut taking = lock(&shared.taking);
        let mut soon = None;
        loop {
            let mut arrived = lock(&shared.arrived);
            if let Some(channel) = arrived.channel.take() {
                self.channel = Some(channel);
                break;
            }
            if shared.is_abandoned() {
                self.abandoned = true;
                break;
            }
            if life.is_over() {
                return Err(life.why());
            }
            taking.batch.append(&mut arrived.batch);
            let amount = taking.batch.amount();
            arrived.before = amount;
            drop(arrived);
            self.waiting = amount;

            let half = limit.messages / 2;
            let fits = fits(amount);
            let now = Instant::now();
            let left = soon
                .get_or_insert(now + PATIENCE)
                .saturating_duration_since(now);
            if fits && (amount.messages <= half || left.is_zero()) {
                break;
            }
            // Full in messages, for now: when half are taken, or after a moment when some are.
            let patient = amount.messages > half && !left.is_zero();
            taking.wanted = if patient { half + 1 } else { usize::MAX };
            let room = &shared.room;
            taking = if patient {
                let waited = room.wait_timeout(taking, left);
                waited.unwrap_or_else(|p| p.into_inner()).0
            } else {
                room.wait(taking).unwrap_or_else(|p| p.into_inner())
            };
            taking.wanted = 0;
        }
        Ok(())
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        let mut arrived = lock(&self.shared.arrived);
        let channel = self.channel.take().or(arrived.channel.take());
        if channel.is_none() && !self.shared.is_abandoned() {
            self.shared.count(&self.fresh);
            arrived.batch.append(&mut self.fresh);
        }
        arrived.ended = true;
        self.shared.handed_over.fetch_add(1, Ordering::Release);
        drop(arrived);
        self.shared.news.notify_all();
        // Without a lock: an item that is dropped here runs the program's code.
        if let Some(mut channel) = channel {
            while let Some((item, size)) = self.fresh.pop(self.shared.make) {
                let sent = channel.push_at_once(item, size);
                self.shared.brought.fetch_add(sent.into(), Ordering::SeqCst);
            }
        }
    }
}
