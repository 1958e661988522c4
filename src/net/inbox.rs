//! What a connection's reader hands to the program: a channel, bounded in messages and in bytes.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, select};

use super::arrivals::{BATCH, BATCH_SHARE};
use super::link::Link;
use super::lock;
use crate::error::CloseReason;

/// How long a reader waits for more room than one message needs.
const PATIENCE: Duration = Duration::from_millis(1);

/// The reader's end of the program's channel: bounded in messages by the channel itself, and in
/// bytes here.
///
/// The channel is crossbeam's own, so that the program can `select!` on it; it says how many
/// messages wait in it, and the order is known, so the bytes that wait can be summed up. What it
/// can not do is to tell when the program takes one. The connection's own `recv` and its siblings
/// do tell. A program that receives through `receiver()` is looked after every few milliseconds
/// instead, only while the limit in bytes is reached.
///
/// A reader that found the channel full goes on when half of it is taken, or something and a moment
/// has passed: at each message the two threads would wake each other for every single one.
pub(crate) struct Inbox<T> {
    sender: Sender<T>,
    capacity: usize,
    /// The sizes of the messages that were in the channel when it was last looked at, and since.
    sizes: VecDeque<usize>,
    bytes: usize,
    limit: usize,
    /// Messages since those who wait were last told.
    unannounced: usize,
    /// Nobody can receive any more.
    abandoned: bool,
}

impl<T> Inbox<T> {
    pub fn new(sender: Sender<T>, limit: usize) -> Inbox<T> {
        Inbox {
            capacity: sender.capacity().unwrap_or(usize::MAX),
            sender,
            sizes: VecDeque::new(),
            bytes: 0,
            limit,
            unannounced: 0,
            abandoned: false,
        }
    }

    /// Nobody can receive any more: messages need not even be decoded.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Waits for room, then passes `item` on. `Err`: the connection was ended meanwhile.
    pub fn push(&mut self, link: &Link, item: T, size: usize) -> Result<(), CloseReason> {
        let size = size + size_of::<T>();
        // Between two looks at the channel this list may count what is taken already.
        if self.bytes + size > self.limit || self.sizes.len() >= 2 * self.capacity {
            let limit = self.limit;
            self.wait(link, usize::MAX, |inbox| {
                inbox.sizes.is_empty() || inbox.bytes + size <= limit
            })?;
            if !self.sizes.is_empty() && self.bytes + size > limit {
                // No handle is left, and so no room can be waited for: the bound holds all the same.
                self.abandoned = true;
                return Ok(());
            }
        }
        let sent = match self.sender.try_send(item) {
            Err(TrySendError::Full(item)) => {
                link.arrivals.announce();
                if !link.room.selected.load(Ordering::Relaxed) {
                    let (half, full) = (self.capacity / 2, self.capacity);
                    let soon = Instant::now() + PATIENCE;
                    self.wait(link, half + 1, |inbox| {
                        inbox.sizes.len() <= half
                            || (inbox.sizes.len() < full && Instant::now() >= soon)
                    })?;
                }
                select! {
                    send(self.sender, item) -> sent => sent.is_ok(),
                    recv(link.killed) -> _ => return Err(killed(link)),
                }
            }
            sent => sent.is_ok(),
        };
        self.unannounced += 1 + size / BATCH_SHARE;
        if self.unannounced >= BATCH {
            self.unannounced = 0;
            link.arrivals.announce();
        }
        self.abandoned = !sent;
        self.sizes.push_back(size);
        self.bytes += size;
        Ok(())
    }

    fn count(&mut self) {
        let waiting = self.sender.len();
        while self.sizes.len() > waiting {
            self.bytes -= self.sizes.pop_front().unwrap_or(0);
        }
    }

    /// Waits until `enough`; those who take messages notify when fewer than `below` are left.
    fn wait(
        &mut self,
        link: &Link,
        mut below: usize,
        enough: impl Fn(&Inbox<T>) -> bool,
    ) -> Result<(), CloseReason> {
        let room = &link.room;
        let mut pause = Duration::from_millis(1);
        self.count();
        link.arrivals.announce();
        // Where no handle is left, the channel itself knows best whether anyone still receives.
        while !enough(self) && !room.abandoned.load(Ordering::SeqCst) {
            let guard = lock(&room.mutex);
            room.below.store(below, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            self.count();
            if link.is_dead() {
                return Err(killed(link));
            }
            if !enough(self) && !room.abandoned.load(Ordering::SeqCst) {
                drop(room.made.wait_timeout(guard, pause));
                let polled = room.selected.load(Ordering::Relaxed);
                let longest = if polled { 20 } else { 1000 };
                pause = (pause * 2).min(Duration::from_millis(longest));
                // From now on any message that is taken is news.
                below = usize::MAX;
                self.count();
            }
        }
        room.below.store(0, Ordering::SeqCst);
        Ok(())
    }
}

fn killed(link: &Link) -> CloseReason {
    link.close_reason().unwrap_or(CloseReason::Aborted)
}

/// How a reader that waits for room learns that there is some.
#[derive(Default)]
pub(super) struct Room {
    /// Whoever leaves fewer messages than this in the channel notifies; 0 while nobody waits.
    pub below: AtomicUsize,
    /// The program receives through the channel itself, where nobody notifies.
    pub selected: AtomicBool,
    /// The last handle was dropped.
    pub abandoned: AtomicBool,
    pub mutex: Mutex<()>,
    pub made: Condvar,
}

impl Link {
    /// Waits for a message until the deadline.
    pub fn receive<T>(
        &self,
        receiver: &Receiver<T>,
        deadline: Option<Instant>,
    ) -> Result<T, RecvTimeoutError> {
        if self.is_handled() && self.on_reader_thread() {
            // A handler would wait for the end of its own connection, which it holds up.
            return Err(RecvTimeoutError::Disconnected);
        }
        let item = self.arrivals.wait(deadline, || receiver.try_recv())?;
        self.taken(|| receiver.len());
        Ok(item)
    }

    /// The program has taken a message; `left` is how many still wait.
    pub fn taken(&self, left: impl FnOnce() -> usize) {
        fence(Ordering::SeqCst);
        let below = self.room.below.load(Ordering::Relaxed);
        if below > 0 && left() < below {
            // A waiting reader looks by itself now and then, so that a notice that is missed in
            // this moment does no harm.
            self.room.below.store(0, Ordering::Relaxed);
            let _guard = lock(&self.room.mutex);
            self.room.made.notify_one();
        }
    }

    /// The last handle was dropped: a reader that waits for room goes on.
    pub fn abandon(&self) {
        self.room.abandoned.store(true, Ordering::SeqCst);
        let _guard = lock(&self.room.mutex);
        self.room.made.notify_one();
    }

    /// The program will receive through the channel itself.
    pub fn select(&self) {
        if !self.room.selected.swap(true, Ordering::SeqCst) {
            let _guard = lock(&self.room.mutex);
            self.room.made.notify_one();
        }
    }
}
