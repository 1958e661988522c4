//! Requests of one connection, either way, as far as the type of its messages does not matter: which of
//! this side's wait for a reply, and how many of the other side's are unanswered.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Link;
use crate::error::{CloseReason, RequestError};
use crate::format::{DataType, Dialect, Encoded, Payload};
use crate::net::os::condvar::{is_late, wait};
use crate::net::os::lock;
use crate::net::os::sync::{AtomicBool, AtomicU64, Condvar, Instant, Mutex, Ordering};
use crate::net::recv::waiter::{Waited, Waiter};
use crate::net::send::Wait;
use crate::proto::frames::Failure;

/// What has become of a request of this side.
pub(crate) type Answer = Result<(DataType, Vec<u8>), RequestError>;

/// Requests of one connection, both ways. The threads that ask share it with whoever reads the socket, and
/// with those who answer. No thread holds both of its locks at once.
#[derive(Default)]
pub(crate) struct Calls {
    /// This side's requests that wait. Held to enter or take out a slot, never while its answer is told.
    asked: Mutex<Asked>,
    /// How many of the other side's wait, for the limits.
    unanswered: Mutex<Unanswered>,
    /// Requests and replies that this side has taken in: part of the count that a goodbye tells.
    taken: AtomicU64,
    /// Replies, and words that there is none, for which nobody waited any more.
    late: AtomicU64,
}

/// Requests of this side that wait for a reply.
#[derive(Default)]
struct Asked {
    /// By their ids. Mostly there are few, and to hash would take longer.
    slots: BTreeMap<u32, Arc<Slot>>,
    /// The id that is tried next.
    next: u32,
    /// Why there can be none any more. Set under the lock that empties `slots`, so no request is entered
    /// behind that and waits for ever.
    over: Option<CloseReason>,
}

/// Requests of the other side that have no reply yet, nor the word that there is none, and their bytes.
#[derive(Default)]
struct Unanswered {
    count: usize,
    bytes: usize,
}

/// Where one request of this side waits for its answer. Shared by the thread that asked and whoever brings
/// the answer: a thread that reads the socket, or one that ends the connection.
struct Slot {
    /// Set once. It may be looked at under the receive queue's lock, so no other lock is taken under it.
    answer: Mutex<Option<Answer>>,
    /// Signalled when the answer is there. Only the thread that asked waits here.
    told: Condvar,
    /// The thread that asked does not wait here but at the receive queue, where it may read the socket. It
    /// says so before its last look at the answer; whoever brings the answer looks at this afterwards.
    leads: AtomicBool,
}

impl Default for Slot {
    fn default() -> Slot {
        Slot {
            answer: Mutex::default(),
            told: Condvar::default(),
            leads: AtomicBool::new(true),
        }
    }
}

impl Slot {
    fn is_done(&self) -> bool {
        lock(&self.answer).is_some()
    }

    /// Waits until it is done, or until the deadline.
    fn wait(&self, deadline: Option<Instant>) {
        let mut answer = lock(&self.answer);
        while answer.is_none() && !is_late(deadline) {
            answer = wait(&self.told, answer, deadline);
        }
    }
}

/// A request that has its place. Its drop gives the place back, so an early return leaves none behind.
struct UnderWay<'a> {
    calls: &'a Calls,
    id: u32,
    /// No other is under way.
    alone: bool,
    slot: Arc<Slot>,
    /// The place was given back, here or by whoever has brought the answer.
    is_free: Cell<bool>,
}

impl UnderWay<'_> {
    /// Takes the slot off the list, so that no answer can come any more. `false`: whoever brings the answer
    /// has taken it off already, and will tell it.
    fn give_back(&self) -> bool {
        let was_free = self.is_free.replace(true);
        !was_free && lock(&self.calls.asked).slots.remove(&self.id).is_some()
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Calls {
    /// How many requests and replies were taken in.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// A place for a request of this side, unless `limit` requests wait or the connection ends.
    fn begin(&self, limit: usize) -> Result<UnderWay<'_>, RequestError> {
        let mut asked = lock(&self.asked);
        if let Some(reason) = &asked.over {
            return Err(RequestError::Closed(reason.clone()));
        }
        if asked.slots.len() >= limit {
            return Err(RequestError::Full);
        }
        // The limit is far below the number of ids.
        while asked.slots.contains_key(&asked.next) {
            asked.next = asked.next.wrapping_add(1);
        }
        let id = asked.next;
        asked.next = id.wrapping_add(1);
        let slot = Arc::<Slot>::default();
        asked.slots.insert(id, Arc::clone(&slot));
        let alone = asked.slots.len() == 1;
        drop(asked);
        Ok(UnderWay {
            calls: self,
            id,
            alone,
            slot,
            is_free: Cell::new(false),
        })
    }

    /// Counts a request of the other side as unanswered, unless there are too many. One that is larger
    /// than the limit may wait alone.
    fn admit(&self, size: usize, (count, bytes): (usize, usize)) -> bool {
        let mut unanswered = lock(&self.unanswered);
        let sum = unanswered.bytes.saturating_add(size);
        let has_room = unanswered.count == 0 || (unanswered.count < count && sum <= bytes);
        if has_room {
            unanswered.count += 1;
            unanswered.bytes = sum;
        }
        has_room
    }

    /// A request of the other side is answered, or will never be.
    fn answered(&self, size: usize) {
        let mut unanswered = lock(&self.unanswered);
        unanswered.count -= 1;
        unanswered.bytes -= size;
    }
}

impl Link {
    /// Sends a request and waits for what becomes of it. `payload`, of an encoded item, is called with
    /// what sends it.
    pub fn ask<T: Send + 'static>(
        &self,
        deadline: Option<Instant>,
        waiter: &Waiter<T>,
        encoded: impl FnOnce(
            &dyn Fn(Encoded<'_>) -> Result<(), RequestError>,
        ) -> Result<(), RequestError>,
    ) -> Answer {
        if self.dialect != Dialect::Frames || self.stream.is_some() {
            return Err(RequestError::Unsupported);
        }
        if self.on_reader_thread() {
            return Err(RequestError::WaitsForItself);
        }
        let under_way = self.calls.begin(self.context.settings.max_requests)?;
        let slot = &under_way.slot;
        let wait = deadline.map_or(Wait::Forever, Wait::Until);
        encoded(&|message| {
            let UnderWay { id, alone, .. } = under_way;
            Ok(self.sender.send_request(message, id, wait, alone)?)
        })?;
        // Runs under the receive queue's lock; it takes the slot's, which comes after that.
        let is_done = || slot.is_done();
        let leads = |leads| slot.leads.store(leads, Ordering::SeqCst);
        match waiter.wait(deadline, under_way.alone, is_done, leads) {
            Waited::Done | Waited::Late => {}
            Waited::Follow(_awaits) => slot.wait(deadline),
        }
        let mut answer = lock(&slot.answer).take();
        under_way.is_free.set(answer.is_some());
        if answer.is_none() && !under_way.give_back() {
            // The thread that brings the answer has taken the slot off the list, and is about to tell it. It
            // waits for nothing in between, so this wait needs no deadline.
            leads(false);
            slot.wait(None);
            answer = lock(&slot.answer).take();
        }
        answer.unwrap_or(Err(RequestError::TimedOut))
    }

    /// A reply has come.
    pub(super) fn take_reply(&self, id: u32, data_type: DataType, payload: Payload<'_>) {
        self.calls.taken.fetch_add(1, Ordering::SeqCst);
        self.tell_of(id, || Ok((data_type, payload.into_owned())));
    }

    /// The word has come that there will be no reply.
    pub(super) fn take_failure(&self, id: u32, why: Failure, words: String) {
        self.tell_of(id, || Err(reason(why, words)));
    }

    /// Brings the answer to the request with this id. The slot is taken off under the lock, so one answer at
    /// most is told; a second one is late.
    fn tell_of(&self, id: u32, answer: impl FnOnce() -> Answer) {
        let slot = lock(&self.calls.asked).slots.remove(&id);
        match slot {
            Some(slot) => self.tell(&slot, answer()),
            None => drop(self.calls.late.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Puts the answer into the slot and wakes the thread that asked, wherever it waits.
    fn tell(&self, slot: &Slot, answer: Answer) {
        lock(&slot.answer).get_or_insert(answer);
        // It looks at the answer again, with a lock, after it has said where it waits.
        if slot.leads.load(Ordering::SeqCst) {
            self.tell_waiters();
        } else {
            slot.told.notify_one();
        }
    }

    /// Whoever waits at the receive queue for what is no message looks again.
    pub(super) fn tell_waiters(&self) {
        if let Some(queue) = self.queue.get() {
            queue.news();
        }
    }

    /// No reply can come any more: all requests that wait fail, and new ones too. Called by whichever thread
    /// ends the connection; the slots are told without the lock.
    pub(super) fn fail_requests(&self, reason: CloseReason) {
        let slots = {
            let mut asked = lock(&self.calls.asked);
            let reason = asked.over.get_or_insert(reason).clone();
            let slots = std::mem::take(&mut asked.slots);
            slots.into_values().map(move |slot| (slot, reason.clone()))
        };
        for (slot, reason) in slots {
            self.tell(&slot, Err(RequestError::Closed(reason)));
        }
        self.tell_waiters();
    }

    /// A request has come. `None`: too many are unanswered, and the other side is told so; or this side
    /// can answer none any more.
    pub(super) fn admit_request(self: &Arc<Link>, id: u32, size: usize) -> Option<Unreplied> {
        self.calls.taken.fetch_add(1, Ordering::SeqCst);
        if self.life.is_ending() {
            return None;
        }
        let settings = &self.context.settings;
        let limit = (settings.max_requests, settings.receive_queue_bytes);
        if !self.calls.admit(size, limit) {
            self.sender.say_failed(id, Failure::Busy, "");
            return None;
        }
        Some(Unreplied {
            link: Arc::clone(self),
            id,
            size,
            said: AtomicBool::new(false),
            has_place: AtomicBool::new(true),
        })
    }
}

/// A request of the other side that has to be answered. Its drop tells the other side that there is no
/// reply, unless it was answered. The program may answer from any thread, and from several at once: the
/// flags decide which answer counts.
pub(super) struct Unreplied {
    /// Keeps the connection's memory, but not the connection open.
    pub link: Arc<Link>,
    /// The other side's number for it.
    pub id: u32,
    /// What it counts against the limit in bytes.
    size: usize,
    /// There is a reply, or the word that there is none; or a thread is about to say one.
    said: AtomicBool,
    /// It counts among those that are unanswered.
    has_place: AtomicBool,
}

impl Unreplied {
    pub fn is_said(&self) -> bool {
        self.said.load(Ordering::SeqCst)
    }

    /// It is answered: the other side may ask another one in its place.
    pub fn give_place_back(&self) {
        if self.has_place.swap(false, Ordering::SeqCst) {
            self.link.calls.answered(self.size);
        }
    }

    /// Is there a reply, or the word that there is none? If not, it is the caller's turn to say one.
    pub fn take_turn(&self) -> bool {
        !self.said.swap(true, Ordering::SeqCst)
    }

    /// What was to be said could not be.
    pub fn give_turn_back(&self) {
        self.said.store(false, Ordering::SeqCst);
    }

    /// There will be no reply.
    pub fn fail(&self, why: Failure, words: &str) {
        if self.take_turn() {
            self.link.sender.say_failed(self.id, why, words);
        }
    }
}

impl Drop for Unreplied {
    fn drop(&mut self) {
        self.give_place_back();
        self.fail(
            match std::thread::panicking() {
                true => Failure::Panicked,
                false => Failure::Dropped,
            },
            "",
        );
    }
}

fn reason(why: Failure, words: String) -> RequestError {
    match why {
        Failure::Dropped => RequestError::Unanswered,
        Failure::Panicked => RequestError::Panicked,
        Failure::NotServed => RequestError::NotServed,
        Failure::Busy => RequestError::Busy,
        Failure::Refused => RequestError::Refused(words),
        // A later version says more than this one knows.
        Failure::Other(_) => RequestError::Unanswered,
    }
}
