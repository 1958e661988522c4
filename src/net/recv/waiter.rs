//! A wait of the program for something else than a message that comes over the same socket: a reply, or
//! a request. It reads the socket itself while it waits alone, as `recv` does; what messages it meets
//! there go into the queue.

use std::sync::Arc;

use super::Meeting;
use super::lease::{Awaits, Source, Taken};
use crate::net::burst;
use crate::net::os::condvar::is_late;
use crate::net::os::lock;
use crate::net::os::sync::{Instant, Ordering};
use crate::net::panics::unless_it_panics;

/// The program's end of a receive queue for those who want no messages.
pub(crate) struct Waiter<T> {
    meeting: Arc<Meeting<T>>,
}

impl<T> Clone for Waiter<T> {
    fn clone(&self) -> Waiter<T> {
        Waiter {
            meeting: Arc::clone(&self.meeting),
        }
    }
}

/// How a wait goes on.
pub(crate) enum Waited<'a> {
    /// What was waited for is there.
    Done,
    /// The deadline has come first.
    Late,
    /// Others wait as well, and the reader thread reads: wait for what it brings, by whatever tells of
    /// that. Meanwhile this is counted among those who wait.
    Follow(Awaits<'a>),
}

/// How a read by the lease has gone.
enum Read {
    /// What was waited for is there.
    Done,
    /// A message has come, or the deadline, or the end.
    Ended,
    /// It could not go on by itself.
    Stuck,
}

impl<T: Send + 'static> Waiter<T> {
    pub(super) fn new(meeting: &Arc<Meeting<T>>) -> Waiter<T> {
        Waiter {
            meeting: Arc::clone(meeting),
        }
    }

    /// Waits until `done`, which is asked again after each call of [`Wake::news`](super::Wake::news), and
    /// which runs under the lock of the queue. `may_read`: this thread may read the socket, unless others
    /// wait as well. Before it waits, `leads` is told whether it does so here, and so needs that call.
    pub fn wait(
        &self,
        deadline: Option<Instant>,
        mut may_read: bool,
        mut done: impl FnMut() -> bool,
        leads: impl Fn(bool),
    ) -> Waited<'_> {
        let meeting = &*self.meeting;
        let mut is_leader = may_read;
        let mut awaits = None;
        if !may_read {
            leads(false);
            awaits = Some(meeting.awaiting.count(false));
        }
        let mut spun = false;
        loop {
            let seen = meeting.handed_over.load(Ordering::Acquire);
            let mut queue = lock(&meeting.queue);
            if done() {
                return Waited::Done;
            }
            // Looked at before the source, which would be read for no time again and again.
            if is_late(deadline) {
                return Waited::Late;
            }
            if may_read {
                if let Some(source) = queue.borrow_source() {
                    drop(queue);
                    // A thread that reads is not among those that wait.
                    awaits = None;
                    // The lease is of no use to a thread that would give it back at once.
                    may_read = match self.read(source, deadline, &mut done) {
                        Read::Done => return Waited::Done,
                        Read::Ended => true,
                        Read::Stuck => false,
                    };
                    continue;
                }
            }
            let Some(counted) = awaits.take() else {
                // A full queue is for the reader thread, which reads on up to the first message, and waits there.
                may_read &= queue.has_room_for_one();
                // Counted before the last look, as in `recv`.
                drop(queue);
                is_leader = may_read && !meeting.awaiting.is_any();
                leads(is_leader);
                awaits = Some(meeting.awaiting.count(is_leader));
                continue;
            };
            if !may_read && queue.recall() {
                meeting.room.notify_one();
            }
            burst::end();
            if !is_leader {
                return Waited::Follow(counted);
            }
            awaits = Some(counted);
            if !spun && meeting.spin.is_on() {
                spun = true;
                drop(queue);
                let news = || meeting.handed_over.load(Ordering::Acquire) != seen;
                meeting.spin.until(deadline, news);
                continue;
            }
            // Late, it is looked at once more.
            let _ = meeting.wait(queue, deadline);
        }
    }

    /// This thread has the lease: it reads until `done`, or a message comes, or the deadline, and gives
    /// the source back.
    fn read(
        &self,
        mut source: Box<dyn Source<T>>,
        deadline: Option<Instant>,
        done: &mut dyn FnMut() -> bool,
    ) -> Read {
        let meeting = &self.meeting;
        let mut item = None;
        let mut is_done = false;
        let taken = unless_it_panics(|| {
            source.read_until(deadline, &mut item, &mut || {
                is_done = is_done || done();
                is_done
            })
        });
        let mut is_stuck = false;
        let mut queue = lock(&meeting.queue);
        let returned = match taken {
            Ok(Taken::Message(size)) => {
                if !meeting.is_abandoned() {
                    item = item.and_then(|item| queue.put_in(item, size).err());
                }
                queue.put_back(source, None)
            }
            Ok(Taken::Nothing) => {
                is_stuck = !is_done && !is_late(deadline);
                queue.put_back(source, None)
            }
            Ok(Taken::End) => queue.finish(Ok(())),
            Err(reason) => queue.finish(Err(reason)),
        };
        let mut wake_reader = returned.wake_reader;
        if is_stuck || meeting.awaiting.is_any() {
            wake_reader |= queue.recall();
        }
        let waiters = queue.waiters;
        meeting.handed_over.fetch_add(1, Ordering::Release);
        drop(queue);
        if returned.watch {
            meeting.watch();
        }
        if wake_reader {
            meeting.room.notify_one();
        }
        if waiters > 0 {
            meeting.news.notify_all();
        }
        // Where it could not go into the queue: the program's code, which may panic.
        crate::net::panics::let_go(item);
        match () {
            () if is_done => Read::Done,
            () if is_stuck => Read::Stuck,
            () => Read::Ended,
        }
    }
}
