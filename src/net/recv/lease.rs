//! Who reads a connection whose messages are queued.
//!
//! Its reader thread does, and puts what it has decoded into the queue. But while the program waits
//! for a message, the way through another thread only costs time. So a reader thread that would wait
//! for the socket, while the program waits for a message, lends its source of messages: it leaves it in
//! the queue. The program's thread takes it from there, reads for itself, and puts it back with what one
//! read has brought. When the program does not come back for a moment, which the watchdog notices, the reader
//! thread takes the source back and reads on. So the connection is read whatever the program does.
//!
//! The states of the lease are among those of the queue; see `queue`.

use std::time::Duration;

use crate::error::CloseReason;
use crate::net::os::sync::{AtomicUsize, Instant, Ordering};
use crate::net::recv::batch::{Amount, Batch};
use crate::net::recv::producer::Producer;

/// How often the watchdog looks at a lease. So between this time and twice as much passes until a
/// program loses it that does not come back, or leaves something behind because it is slow.
pub(crate) const TICK: Duration = Duration::from_millis(2);

/// A program that takes this many messages or bytes in one tick is fast enough: nobody needs to read ahead
/// for it.
const FAST: Amount = Amount {
    messages: 64,
    bytes: 1 << 20,
};

/// Where messages come from. One thread has it at a time: the connection's reader thread, or one of
/// the program's that waits for a message.
pub(crate) trait Source<T>: Send {
    /// For the program: puts the next message into `item`. `wait`: however long that takes.
    fn take(&mut self, wait: bool, item: &mut Option<T>) -> Result<Taken, CloseReason>;

    /// After a message: puts those behind it into `run`, as far as they have been read already, and up to
    /// `limit`, for a moment. So a program that takes many gives the source back once for all of them. What is
    /// wrong with one, also a panic of its decoder, is told by the next call. A source whose messages [`take_plain`](Source::take_plain) makes does nothing
    /// here.
    fn take_along(&mut self, _run: &mut Batch<T>, _limit: Amount) {}

    /// For a thread of the program that waits for a reply or a request: reads on until `done` says yes, or
    /// puts the message that came first into `item`. `done` said no when the thread took the source.
    /// `Nothing`: it is done, or late, or could only go on by a wait that has no deadline.
    fn read_until(
        &mut self,
        deadline: Option<Instant>,
        item: &mut Option<T>,
        done: &mut dyn FnMut() -> bool,
    ) -> Result<Taken, CloseReason>;

    /// As `take`, for a message of plain bytes that has been read already; returns its size. It runs no code
    /// of the program and reads no socket, so it may be called under a lock.
    fn take_plain(&mut self, item: &mut Option<T>) -> Option<usize>;

    /// For the reader thread: passes messages on until they end, or until it would wait while the
    /// program does.
    fn feed(&mut self, producer: &mut Producer<T>) -> Result<Fed, CloseReason>;

    /// Has a part of a message been read, or more? True if unknown.
    fn is_begun(&self) -> bool;

    /// Has more come than was taken?
    fn has_unread(&self) -> bool;
}

/// What the program has read.
pub(crate) enum Taken {
    /// A message: how large it was, in bytes.
    Message(usize),
    /// The other side's FIN came.
    End,
    /// None has arrived whole.
    Nothing,
}

/// Why the reader thread has stopped passing messages on.
pub(crate) enum Fed {
    /// The other side's FIN came.
    End,
    /// The program waits, and may as well read for itself.
    Awaited,
}

/// How the reader thread gets back what it has lent.
pub(crate) enum Back<T> {
    Source(Box<dyn Source<T>>),
    /// The program has found the end.
    End(Result<(), CloseReason>),
}

/// How fast a program is that reads for itself. Lies in the queue's `Way`, under its lock.
#[derive(Default)]
pub(super) struct Pace {
    /// What it has taken since the watchdog's last look.
    taken: Amount,
    /// It was slow then, and left something behind.
    was_behind: bool,
}

impl Pace {
    /// The program has taken a message of `size` bytes, or at least come back.
    #[inline]
    pub fn note(&mut self, size: usize) {
        self.note_all(Amount {
            messages: 1,
            bytes: size,
        });
    }

    /// The program has read this much.
    #[inline]
    pub fn note_all(&mut self, amount: Amount) {
        self.taken = self.taken + amount;
    }

    /// [`TICK`] has passed. Does the program lose the lease? `has_unread`: more has come than it took.
    pub fn is_lost(&mut self, has_unread: impl FnOnce() -> bool) -> bool {
        let taken = std::mem::take(&mut self.taken);
        if taken.messages == 0 {
            return true;
        }
        let is_fast = taken.messages >= FAST.messages || taken.bytes >= FAST.bytes;
        let is_behind = !is_fast && has_unread();
        // What is left behind once may have come just now.
        std::mem::replace(&mut self.was_behind, is_behind) && is_behind
    }
}

/// Threads of the program that wait for messages. Each is counted before it looks for the last time. So
/// either the reader thread sees the count, and wakes it or lends its source; or the waiting thread's
/// last look finds what the reader thread has handed over.
#[derive(Default)]
pub(crate) struct Awaiting {
    /// Those that wait however long it takes.
    patient: AtomicUsize,
    /// These, and those with a deadline.
    all: AtomicUsize,
}

impl Awaiting {
    /// Does one thread wait, and without a deadline? Only then may it read for itself: several threads
    /// share the work better where there is a queue.
    #[inline]
    pub fn is_one_patient(&self) -> bool {
        self.all.load(Ordering::SeqCst) == 1 && self.patient.load(Ordering::SeqCst) == 1
    }

    #[inline]
    pub fn is_any(&self) -> bool {
        self.all.load(Ordering::SeqCst) > 0
    }

    /// Counts the current thread, until the result is dropped.
    pub fn count(&self, patient: bool) -> Awaits<'_> {
        let patient = patient.then_some(&self.patient);
        let counters = [Some(&self.all), patient];
        for counter in counters.into_iter().flatten() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        Awaits(counters)
    }
}

/// A thread that waits; see [`Awaiting::count`].
pub(crate) struct Awaits<'a>([Option<&'a AtomicUsize>; 2]);

impl Drop for Awaits<'_> {
    fn drop(&mut self) {
        for counter in self.0.into_iter().flatten() {
            counter.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
