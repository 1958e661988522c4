//! A thread that ends, or the process with it, writes out what it has gathered.
//!
//! Messages of a burst wait for the flusher for some tenths of a millisecond. A program that sends and
//! exits at once would lose them, though each `send` returned Ok. So each thread remembers where it has
//! gathered something, in a thread-local whose destructor runs when the thread ends; the thread that
//! calls `exit`, or returns from `main`, runs its destructors as well.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Sender;
use super::queue::SendQueue;
use crate::net::os::lock;
use crate::net::os::sync::{Instant, thread_local};

/// How long a thread that ends waits for sockets that are full, in all.
const PATIENCE: Duration = Duration::from_millis(200);

/// The list is cleaned at this length, and when it has doubled since.
const CLEAN: usize = 32;

thread_local! {
    /// Its address tells one living thread from another. A later thread may get the same address. That
    /// does no harm: the list of a thread that ends is written out, which clears the mark in each queue.
    static MARK: u8 = const { 0 };
    /// Until when it waits, once it ends. Nothing drops it, so destructors of the program find it too.
    static ENDS_BY: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Written out by its destructor, when the thread ends.
    static GATHERED: RefCell<Gathered> = const { RefCell::new(Gathered {
        senders: Vec::new(),
        clean_at: CLEAN,
    }) };
}

/// Where a thread has gathered something that may still wait.
struct Gathered {
    /// Weak: the list of a thread that lives long keeps no connection that has ended.
    senders: Vec<Weak<Sender>>,
    /// At this length the list is cleaned of ended connections and of those that are in it twice.
    clean_at: usize,
}

/// Who writes out what a thread has gathered, if it ends before anyone else does.
#[must_use]
pub(super) enum AtExit {
    /// The thread's list, when it is dropped.
    List,
    /// Nobody: the thread has ended but for destructors, or the process but for what runs at its exit.
    Nobody,
}

impl AtExit {
    /// Writes it out where nobody else would. To be called without the queue's lock.
    #[inline]
    pub fn settle(self, sender: &Arc<Sender>) {
        if let AtExit::Nobody = self {
            write_out(std::slice::from_ref(sender));
        }
    }
}

/// The current thread puts a message into the queue, to be written later. Called under the queue's lock,
/// for each such message, so it only compares unless another thread was the last to gather here.
#[inline]
pub(super) fn note(sender: &Arc<Sender>, queue: &mut SendQueue) -> AtExit {
    let own = own_mark();
    if queue.gatherer == own {
        return AtExit::List;
    }
    if enter(sender) {
        queue.gatherer = own;
        return AtExit::List;
    }
    // Without the mark the next message of this thread comes here too.
    queue.forget_gatherer();
    AtExit::Nobody
}

/// The current thread, as the queue knows it.
#[inline]
pub(super) fn own_mark() -> usize {
    MARK.with(|mark| mark as *const u8 as usize)
}

/// Adds the sender to the current thread's list. `false`: the list was written out, and is no more.
#[cold]
fn enter(sender: &Arc<Sender>) -> bool {
    let entered = GATHERED.try_with(|gathered| {
        // It is being written out, by this very thread.
        let Ok(mut gathered) = gathered.try_borrow_mut() else {
            return false;
        };
        if gathered.senders.len() >= gathered.clean_at {
            let senders = &mut gathered.senders;
            senders.retain(|other| other.strong_count() > 0);
            senders.sort_unstable_by_key(|other| other.as_ptr() as usize);
            senders.dedup_by_key(|other| other.as_ptr());
            gathered.clean_at = CLEAN.max(2 * gathered.senders.len());
        }
        gathered.senders.push(Arc::downgrade(sender));
        true
    });
    entered.unwrap_or(false)
}

/// The current thread ends: writes what waits, and waits a moment for a socket that is full.
#[cold]
fn write_out(senders: &[Arc<Sender>]) {
    // All are written before any is waited for, so that one full socket does not hold up the others.
    for sender in senders {
        // Whoever gathers there next is not this thread, also where somebody else has the turn just now.
        lock(&sender.queue).forget_gatherer();
        sender.flush_now();
    }
    // Once for all: destructors may send many messages, one by one, to somebody who takes nothing.
    let deadline = ENDS_BY.with(Cell::get);
    let deadline = deadline.unwrap_or_else(|| Instant::now() + PATIENCE);
    ENDS_BY.with(|by| by.set(Some(deadline)));
    for sender in senders {
        if !sender.is_drained() {
            let _ = sender.drain(Some(deadline));
        }
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        let senders: Vec<_> = self.senders.drain(..).filter_map(|s| s.upgrade()).collect();
        write_out(&senders);
    }
}
