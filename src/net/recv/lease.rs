//! Who reads a connection whose messages are queued.
//!
//! Its reader thread does, and puts what it has decoded into the queue. But while the program waits
//! for a message, the way through another thread only costs time. So the reader thread, when it would
//! wait for the socket while the program waits for it, leaves the source of messages on the lease: the
//! program's thread takes it from there, reads for itself, and puts it back with each message. When
//! the program has not come back for a moment, which the watchdog notices, the reader thread takes the
//! source from the lease and goes on, so that the connection is read whatever the program does.

use std::time::Duration;

use crate::error::CloseReason;
use crate::net::os::sync::{AtomicUsize, Ordering};
use crate::net::recv::batch::Amount;
use crate::net::recv::producer::Producer;

/// After this time to twice as much the reader thread takes the source back from a program that does
/// not come, or leaves something behind that it takes too slowly.
pub(crate) const TICK: Duration = Duration::from_millis(2);

/// A program that takes so many messages in that time, or so many bytes, needs no one to read ahead.
const FAST: Amount = Amount {
    messages: 64,
    bytes: 1 << 20,
};

/// Where messages come from. One thread has it at a time: the connection's reader thread, or one of
/// the program's that waits for a message.
pub(crate) trait Source<T>: Send {
    /// For the program: puts the next message into `item`. `wait`: however long that takes.
    fn take(&mut self, wait: bool, item: &mut Option<T>) -> Result<Taken, CloseReason>;

    /// The same; only a message that is here and runs no code of the program's to be decoded.
    fn take_plain(&mut self) -> Option<(T, usize)>;

    /// For the reader thread: passes messages on until they end, or until it would wait while the
    /// program does.
    fn feed(&mut self, producer: &mut Producer<T>) -> Result<Fed, CloseReason>;

    /// Has a part of a message been read, or more? Yes where that can not be told.
    fn is_begun(&self) -> bool;

    /// Has more come than was taken?
    fn has_unread(&self) -> bool;
}

pub(crate) enum Taken {
    /// How large it was, in bytes.
    Message(usize),
    /// The other side's FIN came.
    End,
    /// It would have to wait.
    Nothing,
}

pub(crate) enum Fed {
    End,
    /// The program waits, and may as well read for itself.
    Awaited,
}

/// The lock around it is that of the messages which the program takes.
pub(crate) struct Lease<T> {
    source: Option<Box<dyn Source<T>>>,
    /// The reader thread waits to have it back.
    lent: bool,
    /// The watchdog comes to look. It does whenever the source is here.
    watched: bool,
    /// What the program has taken since its last look.
    taken: Amount,
    /// What it has taken in all.
    messages: u64,
    /// It was slow then, and left something.
    behind: bool,
    /// The reader thread is to have it as soon as it is here.
    recalled: bool,
    /// What the program found at the end of the messages.
    end: Option<Result<(), CloseReason>>,
}

impl<T> Default for Lease<T> {
    fn default() -> Lease<T> {
        Lease {
            source: None,
            lent: false,
            watched: false,
            taken: Amount::default(),
            messages: 0,
            behind: false,
            recalled: false,
            end: None,
        }
    }
}

/// How the reader thread gets it back.
pub(crate) enum Back<T> {
    Source(Box<dyn Source<T>>),
    End(Result<(), CloseReason>),
}

/// What is to be done when the program has put the source back.
pub(crate) struct Returned {
    /// The reader thread is to be woken.
    pub wake: bool,
    /// The watchdog is to be told to come.
    pub watch: bool,
}

/// What came of a look of the watchdog.
pub(crate) struct Seen {
    /// The reader thread is to be woken.
    pub wake: bool,
    /// It is to look again.
    pub goes_on: bool,
}

impl<T> Lease<T> {
    // The reader thread

    /// Says whether the watchdog is to be told to come.
    pub fn lend(&mut self, source: Box<dyn Source<T>>) -> bool {
        self.lent = true;
        self.source = Some(source);
        self.note(0);
        self.behind = false;
        self.recalled = false;
        !std::mem::replace(&mut self.watched, true)
    }

    /// `over`: the program is not to read any more. `None`: it is to wait until it is woken.
    pub fn look(&mut self, over: bool) -> Option<Back<T>> {
        self.recalled |= over;
        let back = match self.end.take() {
            Some(end) => Back::End(end),
            None => Back::Source(self.source.take_if(|_| self.recalled)?),
        };
        self.lent = false;
        Some(back)
    }

    // The watchdog

    /// [`TICK`] has passed.
    pub fn tick(&mut self) -> Seen {
        let taken = std::mem::take(&mut self.taken);
        let idle = taken.messages == 0;
        let fast = taken.messages >= FAST.messages || taken.bytes >= FAST.bytes;
        let source = self.source.as_ref().filter(|_| !fast && !idle);
        let left = source.is_some_and(|source| source.has_unread());
        // Once, it may have come just now.
        self.recalled |= left && self.behind;
        self.behind = left;
        self.recalled |= idle && self.source.is_some();
        // While the program waits with it, there is nothing to be seen.
        self.watched = self.lent && !idle && !self.recalled;
        Seen {
            wake: self.recalled && self.source.is_some(),
            goes_on: self.watched,
        }
    }

    // The program

    pub fn take(&mut self) -> Option<Box<dyn Source<T>>> {
        self.source.take_if(|_| !self.recalled)
    }

    /// A message that is here already, and needs no decoding.
    #[inline]
    pub fn take_plain(&mut self) -> Option<T> {
        let source = self.source.as_mut().filter(|_| !self.recalled)?;
        let (item, size) = source.take_plain()?;
        self.messages += 1;
        self.note(size);
        Some(item)
    }

    fn note(&mut self, size: usize) {
        self.taken = self.taken + Amount::one(size);
    }

    /// How many messages the program has taken by reading for itself.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// The program has read a message for itself.
    pub fn count(&mut self) {
        self.messages += 1;
    }

    pub fn put_back(&mut self, source: Box<dyn Source<T>>, size: usize) -> Returned {
        self.source = Some(source);
        self.note(size);
        Returned {
            wake: self.recalled,
            watch: !self.recalled && !std::mem::replace(&mut self.watched, true),
        }
    }

    /// The program has found the end in place of a message.
    pub fn finish(&mut self, end: Result<(), CloseReason>) -> Returned {
        self.end = Some(end);
        Returned {
            wake: true,
            watch: false,
        }
    }

    /// The reader thread is to read. Says whether it is to be woken.
    pub fn recall(&mut self) -> bool {
        self.recalled = true;
        self.source.is_some()
    }

    /// Has something come that nobody will take?
    pub fn has_unread(&self) -> bool {
        let source = self.source.as_ref();
        source.is_some_and(|source| source.has_unread())
    }
}

/// Threads of the program that wait for messages, counted before they look for the last time.
#[derive(Default)]
pub(crate) struct Awaiting {
    /// However long it takes.
    patient: AtomicUsize,
    all: AtomicUsize,
}

impl Awaiting {
    /// One that waits however long it takes, and no others: they share the work better when there is
    /// a queue.
    #[inline]
    pub fn is_one_patient(&self) -> bool {
        self.all.load(Ordering::SeqCst) == 1 && self.patient.load(Ordering::SeqCst) == 1
    }

    #[inline]
    pub fn is_any(&self) -> bool {
        self.all.load(Ordering::SeqCst) > 0
    }

    /// Until its drop.
    pub fn count(&self, patient: bool) -> Awaits<'_> {
        let patient = patient.then_some(&self.patient);
        let counters = [Some(&self.all), patient];
        for counter in counters.into_iter().flatten() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        Awaits(counters)
    }
}

pub(crate) struct Awaits<'a>([Option<&'a AtomicUsize>; 2]);

impl Drop for Awaits<'_> {
    fn drop(&mut self) {
        for counter in self.0.into_iter().flatten() {
            counter.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
