//! What a connection's reader hands to the program: a queue, bounded in messages and in bytes.
//!
//! Messages change hands in batches. The reader hands over what it has decoded before it waits for
//! the socket again, and in a long burst now and then; whoever receives takes all of that at once,
//! and then one message after the other from it. So the two threads meet once for each batch, not
//! for each message, and a program that waits is woken no later for a lone message.
//!
//! A program that waits may read for itself instead, without another thread: see `lease`.
//!
//! [`Consumer::channel`] turns the queue into a crossbeam channel, for programs that `select!`.

use std::mem::{swap, take};
use std::sync::Arc;

use crossbeam_channel::{RecvTimeoutError, TryRecvError};

use crate::net::burst;
use crate::net::context::Context;
use crate::net::os::lock;
use crate::net::os::spin::Spin;
use crate::net::os::sync::{
    AtomicBool, AtomicU64, AtomicUsize, Condvar, Instant, Mutex, MutexGuard, OnceLock, Ordering,
    Receiver,
};
use crate::net::os::timer::Task;
use crate::net::panics::{let_go_of_all, unless_it_panics};
use crate::net::recv::batch::{Amount, Batch, Make};
use crate::net::recv::lease::{Awaiting, Lease, Returned, Source, TICK, Taken};
use crate::net::recv::producer::Producer;
use crate::net::recv::select::{KillSwitch, SelectProducer, open};

/// The program's end of the queue.
pub(crate) struct Consumer<T> {
    shared: Arc<Shared<T>>,
    channel: OnceLock<Receiver<T>>,
}

/// Both locks at once are taken in the order of the fields.
pub(crate) struct Shared<T> {
    context: Arc<Context>,
    pub limit: Amount,
    pub make: Make<T>,
    /// What the program takes from.
    pub taking: Mutex<Taking<T>>,
    /// What the reader has handed over since that was filled.
    pub arrived: Mutex<Arrived<T>>,
    /// Counts what was handed over, for those who look without a lock.
    pub handed_over: AtomicUsize,
    /// Who waits for it.
    pub awaiting: Awaiting,
    pub spin: Spin,
    /// With `taking`: the reader's wait for room is over.
    pub room: Condvar,
    /// With `arrived`: there is something to take, or there never will be.
    pub news: Condvar,
    /// The last handle was dropped. Changed under both locks.
    pub abandoned: AtomicBool,
    /// Messages that the reader has handed over.
    pub brought: AtomicU64,
    /// With `abandoned`: messages that the program has taken.
    pub kept: AtomicU64,
    pub kill_switch: Mutex<Option<KillSwitch>>,
}

pub(crate) struct Taking<T> {
    pub batch: Batch<T>,
    /// The reader waits until fewer messages than this are left; 0 while it does not wait.
    pub wanted: usize,
    pub lease: Lease<T>,
}

pub(crate) struct Arrived<T> {
    pub batch: Batch<T>,
    /// What `taking` was filled with.
    pub before: Amount,
    /// Threads that wait for news.
    pub waiters: usize,
    /// Nothing more will arrive.
    pub ended: bool,
    /// The program has asked for the channel, where everything is from now on,
    pub selected: bool,
    /// and the reader has not looked since.
    pub channel: Option<SelectProducer<T>>,
}

/// A queue of at most so many messages and bytes, or one larger message.
pub(crate) fn receive_queue<T: Send + 'static>(
    messages: usize,
    bytes: usize,
    make: Make<T>,
    context: &Arc<Context>,
) -> (Producer<T>, Consumer<T>) {
    let shared = Arc::new(Shared {
        context: Arc::clone(context),
        limit: Amount { messages, bytes },
        make,
        taking: Mutex::new(Taking {
            batch: Batch::default(),
            wanted: 0,
            lease: Lease::default(),
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
        awaiting: Awaiting::default(),
        spin: Spin::new(context.settings.spin),
        room: Condvar::new(),
        news: Condvar::new(),
        abandoned: AtomicBool::new(false),
        brought: AtomicU64::new(0),
        kept: AtomicU64::new(0),
        kill_switch: Mutex::new(None),
    });
    let producer = Producer::new(Arc::clone(&shared));
    let channel = OnceLock::new();
    (producer, Consumer { shared, channel })
}

/// How the program's own thread reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    /// However long a message takes.
    Wait,
    /// What is there already; then it waits for the reader thread to bring more,
    AndLeave,
    /// or for nothing.
    WhatIsThere,
}

/// What taking came to.
enum Look<'a, T> {
    Item(T),
    /// There is nothing, and the program may read.
    Source(Box<dyn Source<T>>),
    Nothing(MutexGuard<'a, Arrived<T>>),
    Ended,
    Selected,
}

impl<T: Send + 'static> Consumer<T> {
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        match self.shared.look() {
            Look::Item(item) => Ok(item),
            Look::Source(source) => {
                let mut item = None;
                self.shared.read(source, Read::WhatIsThere, &mut item);
                item.ok_or(TryRecvError::Empty)
            }
            Look::Nothing(_) => Err(TryRecvError::Empty),
            Look::Ended => Err(TryRecvError::Disconnected),
            Look::Selected => self.channel().try_recv(),
        }
    }

    /// Waits for a message until the deadline.
    pub fn recv(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        let read = match deadline {
            None => Read::Wait,
            Some(_) => Read::AndLeave,
        };
        let mut awaits = None;
        let mut spun = false;
        loop {
            let seen = self.shared.handed_over.load(Ordering::Acquire);
            let mut arrived = match self.shared.look() {
                Look::Item(item) => return Ok(item),
                Look::Source(source) => {
                    // This one is not among the others that wait.
                    awaits = None;
                    let mut item = None;
                    self.shared.read(source, read, &mut item);
                    match item {
                        Some(item) => return Ok(item),
                        None => continue,
                    }
                }
                Look::Nothing(arrived) => arrived,
                Look::Ended => return Err(RecvTimeoutError::Disconnected),
                Look::Selected => break,
            };
            if awaits.is_none() {
                // Whoever sees this wakes us; who did not has left something to be found.
                drop(arrived);
                awaits = Some(self.shared.awaiting.count(deadline.is_none()));
                continue;
            }
            burst::end();
            if !spun && self.shared.spin.is_on() {
                spun = true;
                drop(arrived);
                let news = || self.shared.handed_over.load(Ordering::Acquire) != seen;
                self.shared.spin.until(deadline, news);
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
        drop(awaits);
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
    /// waited, and gives back what did: to be dropped when all else is done, since the drop of an
    /// item is the program's code, and may panic.
    pub fn abandon(&self) -> (bool, impl Sized + use<T>) {
        let shared = &self.shared;
        let mut taking = lock(&shared.taking);
        let mut arrived = lock(&shared.arrived);
        shared.abandoned.store(true, Ordering::SeqCst);
        let dropped = (take(&mut taking.batch), take(&mut arrived.batch));
        let unread = taking.lease.has_unread();
        let direct = taking.lease.messages();
        let (old, new) = &dropped;
        let queued = (old.amount() + new.amount()).messages;
        let queued = queued + self.channel.get().map_or(0, Receiver::len);
        let brought = shared.brought.load(Ordering::SeqCst) + direct;
        let kept = brought.saturating_sub(queued as u64);
        shared.kept.store(kept, Ordering::SeqCst);
        let unread = unread || queued > 0;
        drop((taking, arrived));
        shared.room.notify_one();
        (unread, dropped)
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        // Where nobody else has the channel, what waits in it goes as well.
        let_go_of_all(self.channel.take());
    }
}

impl<T: Send + 'static> Shared<T> {
    fn look(&self) -> Look<'_, T> {
        let mut taking = lock(&self.taking);
        if let Some(item) = taking.take(self) {
            return Look::Item(item);
        }
        if self.make.is_some() {
            if let Some(item) = taking.lease.take_plain() {
                return Look::Item(item);
            }
        }
        if let Some(source) = taking.lease.take() {
            taking.batch.trim();
            return Look::Source(source);
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

    /// The program reads for itself: puts the next message into `item`, if there is one.
    fn read(self: &Arc<Self>, mut source: Box<dyn Source<T>>, read: Read, item: &mut Option<T>) {
        let taken = unless_it_panics(|| source.take(read == Read::Wait, item));
        let wanted = item.is_none() && (read == Read::AndLeave || source.is_begun());
        let mut taking = lock(&self.taking);
        let lease = &mut taking.lease;
        let Returned { mut wake, watch } = match taken {
            Ok(Taken::Message(size)) => {
                lease.count();
                lease.put_back(source, size)
            }
            Ok(Taken::Nothing) => lease.put_back(source, 0),
            Ok(Taken::End) => lease.finish(Ok(())),
            Err(reason) => lease.finish(Err(reason)),
        };
        if wanted || self.awaiting.is_any() {
            // Others wait for the queue, or this thread is about to.
            wake |= lease.recall();
        }
        drop(taking);
        if watch {
            self.watch();
        }
        if wake {
            self.room.notify_one();
        }
    }

    /// Has the watchdog look again and again how the program comes along that reads for itself.
    pub fn watch(self: &Arc<Self>) {
        let task = Arc::clone(self) as Arc<dyn Task>;
        self.context.watch(Instant::now() + TICK, task);
    }

    fn select(&self) -> Receiver<T> {
        let mut taking = lock(&self.taking);
        let mut arrived = lock(&self.arrived);
        let (mut producer, kill_switch, receiver) = open(self.limit.messages, self.limit.bytes);
        let mut waiting = take(&mut taking.batch);
        waiting.append(&mut arrived.batch);
        while let Some((item, size)) = waiting.pop(self.make) {
            // There are never more messages than the channel holds.
            producer.push_at_once(item, size);
        }
        arrived.selected = true;
        taking.lease.recall();
        if !arrived.ended {
            arrived.channel = Some(producer);
            *lock(&self.kill_switch) = Some(kill_switch);
        }
        drop((taking, arrived));
        self.handed_over.fetch_add(1, Ordering::Release);
        self.news.notify_all();
        self.room.notify_one();
        receiver
    }
}

impl<T> Shared<T> {
    /// With `arrived`: these are handed over.
    pub fn count(&self, fresh: &Batch<T>) {
        let messages = fresh.len() as u64;
        self.brought.fetch_add(messages, Ordering::SeqCst);
    }

    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }
}

impl<T> Taking<T> {
    fn take(&mut self, shared: &Shared<T>) -> Option<T> {
        let (item, _) = self.batch.pop(shared.make)?;
        if self.batch.len() < self.wanted {
            self.wanted = 0;
            shared.room.notify_one();
        }
        Some(item)
    }
}

/// Wakes the reader of an inbox, for whatever type of messages.
pub(crate) trait Wake: Send + Sync {
    /// The reader thread is to read for itself, if it does not.
    fn recall(&self);

    /// A reader that waits for room looks again whether its connection is over.
    fn wake(&self);

    /// How many messages were taken in: all that the reader has handed over; or, once the last handle
    /// is dropped, those that the program has taken.
    fn taken(&self) -> u64;

    /// The connection of a handler is over: its queue has had no messages, and ends without the
    /// reader thread, which may be in the handler for long.
    fn end(&self);
}

impl<T: Send> Wake for Shared<T> {
    fn recall(&self) {
        if lock(&self.taking).lease.recall() {
            self.room.notify_one();
        }
    }

    fn wake(&self) {
        drop(lock(&self.kill_switch).take());
        let _guard = lock(&self.taking);
        self.room.notify_one();
    }

    fn taken(&self) -> u64 {
        let taking = lock(&self.taking);
        let _arrived = lock(&self.arrived);
        match self.is_abandoned() {
            true => self.kept.load(Ordering::SeqCst),
            false => self.brought.load(Ordering::SeqCst) + taking.lease.messages(),
        }
    }

    fn end(&self) {
        let mut arrived = lock(&self.arrived);
        arrived.ended = true;
        let channel = arrived.channel.take();
        self.handed_over.fetch_add(1, Ordering::Release);
        drop(arrived);
        self.news.notify_all();
        drop(channel);
    }
}

/// Does the program that reads for itself come back?
impl<T: Send> Task for Shared<T> {
    fn run(&self, now: Instant) -> Option<Instant> {
        let seen = lock(&self.taking).lease.tick();
        if seen.wake {
            self.room.notify_one();
        }
        seen.goes_on.then(|| now + TICK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::life::Life;

    const BURST: usize = 20_000;
    /// What each of the three batches may keep.
    const KEPT: usize = 300 << 10;

    struct Queue {
        life: Life,
        producer: Producer<Vec<u8>>,
        inbox: Consumer<Vec<u8>>,
    }

    impl Queue {
        fn new() -> Queue {
            let addr = "127.0.0.1:1".parse().unwrap();
            let context = Arc::new(Context::new(Default::default(), addr));
            let make: fn(&[u8]) -> Vec<u8> = <[u8]>::to_vec;
            let (producer, inbox) = receive_queue(usize::MAX, usize::MAX, Some(make), &context);
            Queue {
                life: Life::default(),
                producer,
                inbox,
            }
        }

        fn push(&mut self, count: usize) {
            for _ in 0..count {
                self.producer.push_plain(&self.life, &[7; 100]).unwrap();
            }
            self.producer.hand_over();
        }

        /// These, of which there are enough.
        fn take(&self, count: usize) {
            for _ in 0..count {
                assert_eq!(self.inbox.try_recv(), Ok(vec![7; 100]));
            }
        }

        /// Memory of what the program takes from, what has arrived, and what the reader has.
        fn memory(&self) -> [usize; 3] {
            let (taking, arrived) = (lock(&self.inbox.shared.taking), &self.inbox.shared.arrived);
            let arrived = lock(arrived).batch.memory();
            [taking.batch.memory(), arrived, self.producer.memory()]
        }
    }

    #[test]
    fn a_burst_leaves_no_memory_behind() {
        let mut queue = Queue::new();
        queue.push(BURST);
        assert!(queue.memory()[1] > 2_000_000);
        queue.take(BURST);
        assert_eq!(queue.inbox.try_recv(), Err(TryRecvError::Empty));
        assert!(
            queue.memory().iter().all(|kept| *kept <= KEPT),
            "{:?}",
            queue.memory()
        );
    }

    /// The burst's memory is where the next messages will arrive.
    #[test]
    fn a_burst_with_something_behind_it_leaves_none_either() {
        let mut queue = Queue::new();
        queue.push(BURST);
        queue.take(BURST);
        queue.push(1);
        queue.take(1);
        assert!(queue.memory()[1] > 2_000_000);
        assert_eq!(queue.inbox.try_recv(), Err(TryRecvError::Empty));
        assert!(
            queue.memory().iter().all(|kept| *kept <= KEPT),
            "{:?}",
            queue.memory()
        );
    }

    /// It changes places with what the reader has.
    #[test]
    fn the_reader_keeps_no_memory_of_a_burst() {
        let mut queue = Queue::new();
        queue.push(BURST);
        queue.take(BURST);
        queue.push(1);
        queue.take(1);
        queue.push(1);
        assert!(
            queue.memory().iter().all(|kept| *kept <= KEPT),
            "{:?}",
            queue.memory()
        );
        queue.take(1);
    }
}
