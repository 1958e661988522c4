//! What a connection's reader hands to the program: a queue, bounded in messages and in bytes.
//!
//! Messages change hands in batches. The reader hands over what it has decoded before it waits for
//! the socket again, and in a long burst now and then; whoever receives takes all of that at once,
//! and then one message after the other from it. So the two threads meet once for each batch, not
//! for each message, and a program that waits is woken no later for a lone message.
//!
//! [`Inbox::channel`] turns the queue into a crossbeam channel, for programs that `select!`.

use std::collections::VecDeque;
use std::mem::{size_of, swap, take};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use super::channel::{ChannelIntake, KillSwitch, open};
use super::link::Link;
use super::lock;
use super::sender::Burst;
use super::spin::Spin;
use crate::error::CloseReason;

/// Up to this size, plain bytes wait side by side in one buffer, and become a message of their own
/// where they are taken: memory that one thread allocates and another frees is slow.
const SMALL: usize = 1 << 10;

/// So much room a queue keeps when nothing waits, in messages and in bytes.
const KEEP: usize = 1 << 10;
const KEEP_BYTES: usize = 128 << 10;

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

/// The program's end of the queue.
pub(crate) struct Inbox<T> {
    shared: Arc<Shared<T>>,
    channel: OnceLock<Receiver<T>>,
}

/// The reader's end of the queue. Its drop ends it.
pub(crate) struct Intake<T> {
    shared: Arc<Shared<T>>,
    /// Decoded, and not yet handed over.
    fresh: Batch<T>,
    /// `fresh` as [`BATCH`] counts it, and since when it grows.
    weight: usize,
    begun: Option<Instant>,
    /// The most that can wait of what was handed over.
    waiting: Amount,
    /// The program has asked for the channel.
    channel: Option<ChannelIntake<T>>,
    /// Nobody can receive any more.
    abandoned: bool,
}

/// Both locks at once are taken in the order of the fields.
struct Shared<T> {
    limit: Amount,
    make: Make<T>,
    /// What the program takes from.
    taking: Mutex<Taking<T>>,
    /// What the reader has handed over since that was filled.
    arrived: Mutex<Arrived<T>>,
    /// Counts what was handed over, for those who look without a lock.
    handed_over: AtomicUsize,
    spin: Spin,
    /// With `taking`: the reader's wait for room is over.
    room: Condvar,
    /// With `arrived`: there is something to take, or there never will be.
    news: Condvar,
    /// The last handle was dropped. Changed under both locks.
    abandoned: AtomicBool,
    kill_switch: Mutex<Option<KillSwitch>>,
}

struct Taking<T> {
    batch: Batch<T>,
    /// The reader waits until fewer messages than this are left; 0 while it does not wait.
    wanted: usize,
}

struct Arrived<T> {
    batch: Batch<T>,
    /// What `taking` was filled with.
    before: Amount,
    /// Threads that wait for news.
    waiters: usize,
    /// Nothing more will arrive.
    ended: bool,
    /// The program has asked for the channel, where everything is from now on,
    selected: bool,
    /// and the reader has not looked since.
    channel: Option<ChannelIntake<T>>,
}

#[derive(Clone, Copy, Default)]
struct Amount {
    messages: usize,
    bytes: usize,
}

impl std::ops::Add for Amount {
    type Output = Amount;

    fn add(self, other: Amount) -> Amount {
        Amount {
            messages: self.messages + other.messages,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// Messages that wait.
struct Batch<T> {
    /// Messages and their sizes; `None` is the next of `plain`.
    items: VecDeque<(Option<T>, usize)>,
    bytes: usize,
    /// Small messages of plain bytes, one behind the other, from `read` on.
    plain: Vec<u8>,
    read: usize,
}

/// Makes a message of plain bytes.
type Make<T> = Option<fn(&[u8]) -> T>;

impl<T> Default for Batch<T> {
    fn default() -> Batch<T> {
        Batch {
            items: VecDeque::new(),
            bytes: 0,
            plain: Vec::new(),
            read: 0,
        }
    }
}

impl<T> Batch<T> {
    fn push(&mut self, item: T, size: usize) {
        self.items.push_back((Some(item), size));
        self.bytes += size;
    }

    fn push_plain(&mut self, payload: &[u8]) {
        let size = payload.len() + size_of::<T>();
        self.plain.extend_from_slice(payload);
        self.items.push_back((None, size));
        self.bytes += size;
    }

    fn pop(&mut self, make: Make<T>) -> Option<(T, usize)> {
        let (item, size) = self.items.pop_front()?;
        self.bytes -= size;
        let item = item.or_else(|| {
            let begin = self.read;
            self.read += size - size_of::<T>();
            make.map(|make| make(&self.plain[begin..self.read]))
        });
        if self.items.is_empty() {
            self.plain.clear();
            self.read = 0;
        }
        Some((item?, size))
    }

    fn append(&mut self, other: &mut Batch<T>) {
        if self.items.is_empty() {
            return swap(self, other);
        }
        self.plain.drain(..take(&mut self.read));
        self.plain
            .extend_from_slice(&other.plain[take(&mut other.read)..]);
        other.plain.clear();
        self.items.append(&mut other.items);
        self.bytes += take(&mut other.bytes);
    }

    /// Gives memory back that a burst has taken.
    fn trim(&mut self) {
        if self.items.capacity() > KEEP {
            self.items.shrink_to(KEEP);
        }
        if self.plain.capacity() > KEEP_BYTES {
            self.plain.shrink_to(KEEP_BYTES);
        }
    }

    fn amount(&self) -> Amount {
        Amount {
            messages: self.items.len(),
            bytes: self.bytes,
        }
    }
}

/// A queue of at most so many messages and bytes, or one larger message.
pub(crate) fn inbox<T: Send + 'static>(
    messages: usize,
    bytes: usize,
    make: Make<T>,
    spin: Duration,
) -> (Intake<T>, Inbox<T>) {
    let shared = Arc::new(Shared {
        limit: Amount { messages, bytes },
        make,
        taking: Mutex::new(Taking {
            batch: Batch::default(),
            wanted: 0,
        }),
        arrived: Mutex::new(Arrived {
            batch: Batch::default(),
            before: Amount::default(),
            waiters: 0,
            ended: false,
            selected: false,
            channel: None,
        }),
        handed_over: AtomicUsize::new(0),
        spin: Spin::new(spin),
        room: Condvar::new(),
        news: Condvar::new(),
        abandoned: AtomicBool::new(false),
        kill_switch: Mutex::new(None),
    });
    let intake = Intake {
        shared: Arc::clone(&shared),
        fresh: Batch::default(),
        weight: 0,
        begun: None,
        waiting: Amount::default(),
        channel: None,
        abandoned: false,
    };
    let channel = OnceLock::new();
    (intake, Inbox { shared, channel })
}

/// What taking came to.
enum Look<'a, T> {
    Item(T),
    Nothing(MutexGuard<'a, Arrived<T>>),
    Ended,
    Selected,
}

impl<T: Send + 'static> Inbox<T> {
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        match self.shared.look() {
            Look::Item(item) => Ok(item),
            Look::Nothing(_) => Err(TryRecvError::Empty),
            Look::Ended => Err(TryRecvError::Disconnected),
            Look::Selected => self.channel().try_recv(),
        }
    }

    /// Waits for a message until the deadline.
    pub fn recv(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        let mut spun = false;
        loop {
            let seen = self.shared.handed_over.load(Ordering::Acquire);
            let mut arrived = match self.shared.look() {
                Look::Item(item) => return Ok(item),
                Look::Nothing(arrived) => arrived,
                Look::Ended => return Err(RecvTimeoutError::Disconnected),
                Look::Selected => break,
            };
            Burst::end();
            if !spun && self.shared.spin.is_on() {
                spun = true;
                drop(arrived);
                let news = || self.shared.handed_over.load(Ordering::Acquire) != seen;
                self.shared.spin.until(news);
                continue;
            }
            arrived.waiters += 1;
            let news = &self.shared.news;
            let mut arrived = match deadline {
                None => news.wait(arrived).unwrap_or_else(|p| p.into_inner()),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        arrived.waiters -= 1;
                        return Err(RecvTimeoutError::Timeout);
                    }
                    let waited = news.wait_timeout(arrived, left);
                    waited.unwrap_or_else(|p| p.into_inner()).0
                }
            };
            arrived.waiters -= 1;
        }
        match deadline {
            None => {
                let received = self.channel().recv();
                received.map_err(|_| RecvTimeoutError::Disconnected)
            }
            Some(deadline) => self.channel().recv_deadline(deadline),
        }
    }

    /// Everything that waits and that will come, as a channel.
    pub fn channel(&self) -> &Receiver<T> {
        self.channel.get_or_init(|| self.shared.select())
    }

    pub fn len(&self) -> usize {
        let shared = &self.shared;
        let (taking, arrived) = (lock(&shared.taking), lock(&shared.arrived));
        let queued = taking.batch.amount() + arrived.batch.amount();
        queued.messages + self.channel.get().map_or(0, Receiver::len)
    }

    /// Nobody will receive any more, except through clones of the channel. Says whether messages
    /// waited.
    pub fn abandon(&self) -> bool {
        let shared = &self.shared;
        let mut taking = lock(&shared.taking);
        let mut arrived = lock(&shared.arrived);
        shared.abandoned.store(true, Ordering::SeqCst);
        let dropped = (take(&mut taking.batch), take(&mut arrived.batch));
        drop((taking, arrived));
        shared.room.notify_one();
        let (old, new) = &dropped;
        // The items go last, without a lock: their drop is the program's code.
        (old.amount() + new.amount()).messages + self.channel.get().map_or(0, Receiver::len) > 0
    }
}

impl<T: Send + 'static> Shared<T> {
    fn look(&self) -> Look<'_, T> {
        let mut taking = lock(&self.taking);
        if let Some(item) = taking.take(self) {
            return Look::Item(item);
        }
        let mut arrived = lock(&self.arrived);
        swap(&mut taking.batch, &mut arrived.batch);
        arrived.before = taking.batch.amount();
        if let Some(item) = taking.take(self) {
            return Look::Item(item);
        }
        taking.batch.trim();
        arrived.batch.trim();
        match () {
            () if arrived.selected => Look::Selected,
            () if arrived.ended => Look::Ended,
            () => Look::Nothing(arrived),
        }
    }

    fn select(&self) -> Receiver<T> {
        let mut taking = lock(&self.taking);
        let mut arrived = lock(&self.arrived);
        let (mut intake, kill_switch, receiver) = open(self.limit.messages, self.limit.bytes);
        let mut waiting = take(&mut taking.batch);
        waiting.append(&mut arrived.batch);
        while let Some((item, size)) = waiting.pop(self.make) {
            // There are never more messages than the channel holds.
            intake.push_at_once(item, size);
        }
        arrived.selected = true;
        if !arrived.ended {
            arrived.channel = Some(intake);
            *lock(&self.kill_switch) = Some(kill_switch);
        }
        drop((taking, arrived));
        self.news.notify_all();
        self.room.notify_one();
        receiver
    }
}

impl<T> Shared<T> {
    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }
}

impl<T> Taking<T> {
    fn take(&mut self, shared: &Shared<T>) -> Option<T> {
        let (item, _) = self.batch.pop(shared.make)?;
        if self.batch.items.len() < self.wanted {
            self.wanted = 0;
            shared.room.notify_one();
        }
        Some(item)
    }
}

/// Wakes the reader of an inbox, for whatever type of messages.
pub(super) trait Wake: Send + Sync {
    /// A reader that waits for room looks again whether its connection is dead.
    fn wake(&self);
}

impl<T: Send> Wake for Shared<T> {
    fn wake(&self) {
        drop(lock(&self.kill_switch).take());
        let _guard = lock(&self.taking);
        self.room.notify_one();
    }
}

impl<T: Send + 'static> Intake<T> {
    /// For the end of the connection, which is to wake a reader that waits for room.
    pub(super) fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.shared) as _
    }

    /// Nobody can receive any more: messages need not even be decoded.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Waits for room, then passes `item` on. `Err`: the connection was ended meanwhile.
    pub fn push(&mut self, link: &Link, item: T, size: usize) -> Result<(), CloseReason> {
        let size = size + size_of::<T>();
        if self.channel.is_none() {
            self.make_room(link, size)?;
        }
        if let Some(channel) = &mut self.channel {
            self.abandoned = !channel.push(link, &self.shared.abandoned, item, size)?;
        } else if !self.abandoned {
            self.fresh.push(item, size);
            self.note(size);
        }
        Ok(())
    }

    /// The same for a payload that needs no decoding.
    pub fn push_plain(&mut self, link: &Link, payload: &[u8]) -> Result<(), CloseReason> {
        let size = payload.len() + size_of::<T>();
        if payload.len() <= SMALL && self.channel.is_none() {
            self.make_room(link, size)?;
        }
        if payload.len() > SMALL || self.channel.is_some() {
            return match self.shared.make {
                Some(make) => self.push(link, make(payload), payload.len()),
                None => Ok(()),
            };
        }
        if !self.abandoned {
            self.fresh.push_plain(payload);
            self.note(size);
        }
        Ok(())
    }

    fn note(&mut self, size: usize) {
        self.weight += 1 + size / BATCH_SHARE;
        if self.weight >= BATCH || self.is_old() {
            self.hand_over();
        }
    }

    fn is_old(&mut self) -> bool {
        if self.fresh.items.len() % LOOK != 0 {
            return false;
        }
        let now = Instant::now();
        let begun = *self.begun.get_or_insert(now);
        now.duration_since(begun) > BATCH_AGE
    }

    /// The reader is about to wait for the socket.
    pub fn hand_over(&mut self) {
        if self.fresh.items.is_empty() {
            return;
        }
        (self.weight, self.begun) = (0, None);
        let mut arrived = lock(&self.shared.arrived);
        if let Some(mut channel) = arrived.channel.take() {
            drop(arrived);
            let mut fresh = take(&mut self.fresh);
            while let Some((item, size)) = fresh.pop(self.shared.make) {
                // Room was made for them when they came.
                self.abandoned |= !channel.push_at_once(item, size);
            }
            self.channel = Some(channel);
        } else if self.shared.is_abandoned() {
            self.abandoned = true;
        } else {
            arrived.batch.append(&mut self.fresh);
            self.waiting = arrived.before + arrived.batch.amount();
            let waiters = arrived.waiters;
            self.shared.handed_over.fetch_add(1, Ordering::Release);
            drop(arrived);
            if waiters > 0 {
                self.shared.news.notify_all();
            }
        }
    }

    /// Waits until the queue has room for a message of `size` bytes, unless that may be abandoned
    /// or is a channel by now.
    fn make_room(&mut self, link: &Link, size: usize) -> Result<(), CloseReason> {
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
            if link.is_dead() {
                return Err(link.close_reason().unwrap_or(CloseReason::Aborted));
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

impl<T> Drop for Intake<T> {
    fn drop(&mut self) {
        let mut arrived = lock(&self.shared.arrived);
        let channel = self.channel.take().or(arrived.channel.take());
        if channel.is_none() && !self.shared.is_abandoned() {
            arrived.batch.append(&mut self.fresh);
        }
        arrived.ended = true;
        self.shared.handed_over.fetch_add(1, Ordering::Release);
        drop(arrived);
        self.shared.news.notify_all();
        // Without a lock: an item that is dropped here runs the program's code.
        if let Some(mut channel) = channel {
            while let Some((item, size)) = self.fresh.pop(self.shared.make) {
                channel.push_at_once(item, size);
            }
        }
    }
}
