//! The program's end of the receive queue.

use std::sync::Arc;

use crossbeam_channel::{RecvTimeoutError, TryRecvError};

use super::Meeting;
use super::batch::Batch;
use super::lease::{Source, Taken};
use super::queue::{Found, Returned};
use super::select::{open, open_latest};
use super::waiter::Waiter;
use crate::net::burst;
use crate::net::os::condvar::wait;
use crate::net::os::lock;
use crate::net::os::sync::{Instant, OnceLock, Ordering, Receiver};
use crate::net::panics::{let_go_of_all, unless_it_panics};

/// The program's end. Its handles share it, and any of their threads may receive at any time.
pub(crate) struct Consumer<T> {
    /// Shared with the reader thread's [`Producer`](super::producer::Producer).
    pub(super) meeting: Arc<Meeting<T>>,
    /// Made when the program first asks for it; from then on all messages go through it, also those of
    /// `recv`. Set once: of several threads that ask at once, one makes it and the others wait for that.
    channel: OnceLock<Receiver<T>>,
}

/// How a thread of the program reads the socket while it has the lease.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    /// It waits for a message, however long that takes: for `recv`.
    Wait,
    /// It reads what has arrived. Where that is no message, it gives the source back to the reader
    /// thread and waits for the queue, since a read of the socket has no deadline: for `recv_timeout`.
    AndLeave,
    /// It reads what has arrived, and waits for nothing: for `try_recv`.
    WhatIsThere,
}

impl<T: Send + 'static> Consumer<T> {
    pub(super) fn new(meeting: Arc<Meeting<T>>) -> Consumer<T> {
        Consumer {
            meeting,
            channel: OnceLock::new(),
        }
    }

    /// The next message, without waiting. Reads the socket if the reader thread has lent it.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut item = None;
        let found = lock(&self.meeting.queue).find(&mut item);
        match found {
            Found::Item { wake_reader } => {
                self.note_room(wake_reader);
                item.ok_or(TryRecvError::Empty)
            }
            Found::Source(source, run) => {
                let item = self.read(source, run, Read::WhatIsThere);
                item.ok_or(TryRecvError::Empty)
            }
            Found::Nothing => Err(TryRecvError::Empty),
            Found::Ended => Err(TryRecvError::Disconnected),
            Found::Channel => self.channel().try_recv(),
        }
    }

    /// Waits for the next message, until the deadline if there is one.
    ///
    /// Before it sleeps it looks up to three times: as it comes; once it is counted as waiting, so that the
    /// reader thread may lend its source; and after a spin, if the program asked for that.
    pub fn recv(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        let meeting = &*self.meeting;
        let mut item = None;
        let mut awaits = None;
        let mut spun = false;
        loop {
            // Loaded before the look: what is handed over later ends the spin.
            let seen = meeting.handed_over.load(Ordering::Acquire);
            let mut queue = lock(&meeting.queue);
            match queue.find(&mut item) {
                Found::Item { wake_reader } => {
                    drop(queue);
                    self.note_room(wake_reader);
                    return item.ok_or(RecvTimeoutError::Disconnected);
                }
                Found::Source(source, run) => {
                    drop(queue);
                    // A thread that reads is not among those that wait.
                    awaits = None;
                    let read = match deadline {
                        None => Read::Wait,
                        Some(_) => Read::AndLeave,
                    };
                    match self.read(source, run, read) {
                        Some(item) => return Ok(item),
                        None => continue,
                    }
                }
                Found::Nothing => {}
                Found::Ended => return Err(RecvTimeoutError::Disconnected),
                Found::Channel => break,
            }
            if awaits.is_none() {
                // Counted before the last look. A reader thread that sees the count wakes us; one
                // that does not has left something to be found.
                drop(queue);
                awaits = Some(meeting.awaiting.count(deadline.is_none()));
                continue;
            }
            burst::end();
            if !spun && meeting.spin.is_on() {
                spun = true;
                drop(queue);
                let news = || meeting.handed_over.load(Ordering::Acquire) != seen;
                meeting.spin.until(deadline, news);
                continue;
            }
            meeting.wait(queue, deadline)?;
        }
        // At the channel this thread needs no lease, so it is not counted as one that does.
        drop(awaits);
        match deadline {
            None => {
                let received = self.channel().recv();
                received.map_err(|_| RecvTimeoutError::Disconnected)
            }
            Some(deadline) => self.channel().recv_deadline(deadline),
        }
    }

    /// A message was taken: wakes a reader thread that waits for room. The lock is released before, since
    /// that thread takes it at once.
    #[inline]
    fn note_room(&self, wake_reader: bool) {
        if wake_reader {
            self.meeting.room.notify_one();
        }
    }

    /// The calling thread has the lease: reads the next message, if there is one, decodes those behind it that
    /// came with it, for whoever receives next, and gives the source back.
    /// The reader thread waits for the source or for the end, so every path leaves one of the two in the
    /// queue, also a panic of the program's decoder.
    fn read(&self, mut source: Box<dyn Source<T>>, mut run: Batch<T>, read: Read) -> Option<T> {
        let meeting = &self.meeting;
        let mut item = None;
        // Without the lock: it may wait for long, and decoding runs the program's code.
        let taken = unless_it_panics(|| {
            let taken = source.take(read == Read::Wait, &mut item);
            if matches!(taken, Ok(Taken::Message(_))) {
                source.take_along(&mut run, meeting.run_limit());
            }
            taken
        });
        let wanted = item.is_none() && (read == Read::AndLeave || source.is_begun());
        let mut queue = lock(&meeting.queue);
        let brings = run.len() > 0;
        queue.put_run(run);
        let Returned {
            mut wake_reader,
            watch,
        } = match taken {
            Ok(Taken::Message(size)) => queue.put_back(source, Some(size)),
            Ok(Taken::Nothing) => queue.put_back(source, None),
            Ok(Taken::End) => queue.finish(Ok(())),
            Err(reason) => queue.finish(Err(reason)),
        };
        if brings {
            meeting.tell(&queue);
        }
        if wanted || meeting.awaiting.is_any() {
            // Others wait for the queue, or this thread is about to.
            wake_reader |= queue.recall();
        }
        drop(queue);
        if watch {
            meeting.watch();
        }
        if wake_reader {
            meeting.room.notify_one();
        }
        item
    }

    /// For threads that wait for a reply or a request instead of a message.
    pub fn waiter(&self) -> Waiter<T> {
        Waiter::new(&self.meeting)
    }

    /// Everything that waits and that will come, as a channel.
    pub fn channel(&self) -> &Receiver<T> {
        self.channel.get_or_init(|| self.select())
    }

    /// Makes the channel, and turns the queue over to it.
    fn select(&self) -> Receiver<T> {
        let meeting = &self.meeting;
        let limit = meeting.limit;
        let (producer, kill_switch, receiver) = match meeting.is_latest {
            true => open_latest(),
            false => open(limit.messages, limit.bytes),
        };
        // What waits is moved under the lock, so that nothing can come between it and what follows.
        let mut queue = lock(&meeting.queue);
        let ended = queue.select(Box::new(producer));
        if ended.is_none() {
            *lock(&meeting.kill_switch) = Some(kill_switch);
        }
        // Threads that wait in `recv` go on at the channel, and a reader thread that waits for room or
        // for its source learns of it.
        meeting.tell(&queue);
        drop(queue);
        drop(ended);
        meeting.room.notify_one();
        receiver
    }

    /// How many messages wait, here or in the channel.
    pub fn len(&self) -> usize {
        let queue = lock(&self.meeting.queue);
        queue.amount().messages + self.channel.get().map_or(0, Receiver::len)
    }

    /// Nobody will receive any more, except through clones of the channel. Says whether messages
    /// waited, and gives back what did: to be dropped when all else is done, since the drop of an
    /// item is the program's code, and may panic.
    pub fn abandon(&self) -> (bool, impl Sized + use<T>) {
        let meeting = &self.meeting;
        let mut queue = lock(&meeting.queue);
        meeting.abandoned.store(true, Ordering::SeqCst);
        if queue.is_pushing {
            // The reader thread waits for room in the channel. Whether its message is in by now only that thread
            // can say: it is woken, and counts the message or takes it back.
            drop(lock(&meeting.kill_switch).take());
            while queue.is_pushing {
                queue = wait(&meeting.settled, queue, None);
            }
        }
        let in_channel = self.channel.get().map_or(0, Receiver::len);
        let (unread, dropped) = queue.abandon(in_channel);
        drop(queue);
        meeting.room.notify_one();
        (unread, dropped)
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        // Where nobody else has the channel, what waits in it goes as well.
        let_go_of_all(self.channel.take());
    }
}
