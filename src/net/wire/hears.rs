//! What a connection has heard of the other side, and whether it owes it a heartbeat.
//!
//! Where a system does not say in time that a remote has died, that side asks the other one for
//! heartbeats: see docs/protocol.md. This is what both need to know of a socket's input.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::net::os::sync::OnceLock;

/// The other side may ask for heartbeats no more and no less often than this.
const OFTEN: Duration = Duration::from_millis(500);
const SELDOM: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Hears {
    /// Either side wants to know of reads. Most connections are between systems that need none of this.
    is_on: AtomicBool,
    /// Reads that have brought something. Only a change of it means anything.
    reads: AtomicU64,
    /// Heartbeats that were read.
    beats: AtomicU64,
    /// How many more reads than heartbeats there were when the last heartbeat was due.
    more_then: AtomicU64,
    /// A thread waits for the socket, or reads it. While none does, because the program keeps it, what comes
    /// plans no heartbeat.
    is_read: AtomicBool,
    /// The other side waits for a heartbeat.
    owed: AtomicBool,
    /// How often it wants them. Set by the first wish; 0 as long as there was none.
    every: AtomicU64,
    /// A heartbeat is on the watchdog's list, or is being added to it.
    planned: AtomicBool,
    /// Puts it there.
    plan: OnceLock<Box<dyn Fn(Duration) + Send + Sync>>,
}

impl Hears {
    /// What to do when a heartbeat is to be thought of after such a time.
    pub fn set_plan(&self, plan: impl Fn(Duration) + Send + Sync + 'static) {
        let _ = self.plan.set(Box::new(plan));
    }

    /// Reads are counted from now on.
    pub fn count_reads(&self) {
        self.is_on.store(true, Ordering::SeqCst);
    }

    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// A read begins, or has ended. Its end is said before [`note_taken`](Hears::note_taken): whoever finds that a
    /// thread reads then knows that what it reads will plan a heartbeat.
    #[inline]
    pub fn set_read(&self, is_read: bool) {
        if self.is_on() {
            self.is_read.store(is_read, Ordering::SeqCst);
        }
    }

    /// A heartbeat was read. It is not answered by one: two sides that both ask would do so for ever.
    pub fn note_beat(&self) {
        self.beats.fetch_add(1, Ordering::SeqCst);
    }

    /// A read has brought something.
    #[inline]
    pub fn note_read(&self) {
        if self.is_on() {
            self.note();
        }
    }

    #[cold]
    fn note(&self) {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.every.load(Ordering::Relaxed) > 0 {
            self.plan();
        }
    }

    /// What was read is taken, by a thread that may then read no more for long.
    #[inline]
    pub fn note_taken(&self) {
        if self.is_on() && self.every.load(Ordering::Relaxed) > 0 {
            self.plan();
        }
    }

    /// How many reads have brought something.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    /// The other side wants a heartbeat within this time.
    pub fn want(&self, milliseconds: u64) {
        let every = Duration::from_millis(milliseconds).clamp(OFTEN, SELDOM);
        self.every
            .store(every.as_millis() as u64, Ordering::Relaxed);
        self.owed.store(true, Ordering::SeqCst);
        self.count_reads();
        self.plan();
    }

    fn plan(&self) {
        let is_planned = self.planned.load(Ordering::SeqCst);
        if is_planned || self.planned.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(plan) = self.plan.get() {
            plan(self.every());
        }
    }

    /// A planned heartbeat is due. Is it owed, because the other side has asked since the last one, or has
    /// sent more than heartbeats: it may be sending still, and its question wait behind that? From here on, a
    /// read plans the next.
    ///
    /// Where each read has brought a heartbeat, little has come with it, and its question comes soon.
    pub fn due(&self) -> bool {
        self.planned.store(false, Ordering::SeqCst);
        let more = self
            .reads()
            .saturating_sub(self.beats.load(Ordering::SeqCst));
        let has_heard = self.more_then.swap(more, Ordering::SeqCst) < more;
        self.owed.swap(false, Ordering::SeqCst) || has_heard
    }

    /// Does a thread read, so that whatever comes plans a heartbeat? To be asked behind [`due`](Hears::due).
    pub fn is_read(&self) -> bool {
        self.is_read.load(Ordering::SeqCst)
    }

    /// Plans the next one without a read, and says after what time. `None`: a read was faster.
    pub fn again(&self) -> Option<Duration> {
        let is_planned = self.planned.swap(true, Ordering::SeqCst);
        (!is_planned).then(|| self.every())
    }

    fn every(&self) -> Duration {
        Duration::from_millis(self.every.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::net::os::lock;
    use crate::net::os::sync::Mutex;

    fn hears() -> (Hears, Arc<Mutex<Vec<Duration>>>) {
        let (hears, planned) = (Hears::default(), Arc::<Mutex<Vec<Duration>>>::default());
        let list = Arc::clone(&planned);
        hears.set_plan(move |after| lock(&list).push(after));
        (hears, planned)
    }

    #[test]
    fn nobody_who_has_not_asked_gets_one() {
        let (hears, planned) = hears();
        hears.note_read();
        assert_eq!(hears.reads(), 0, "nobody wants to know");
        hears.count_reads();
        for read in 1..100 {
            hears.note_read();
            assert_eq!(hears.reads(), read);
        }
        assert!(lock(&planned).is_empty());
    }

    #[test]
    fn one_is_planned_at_a_time() {
        let (hears, planned) = hears();
        hears.want(2_500);
        hears.note_read();
        hears.want(2_500);
        assert_eq!(*lock(&planned), [Duration::from_millis(2_500)]);
        assert!(hears.due(), "it was asked for");
        // What is read from now on plans another.
        hears.note_read();
        assert_eq!(lock(&planned).len(), 2);
        assert!(hears.due(), "something was heard");
        assert!(!hears.due(), "nothing since");
        assert_eq!(hears.again(), Some(Duration::from_millis(2_500)));
        assert_eq!(hears.again(), None);
        hears.note_read();
        assert_eq!(lock(&planned).len(), 2, "it is planned already");
    }

    #[test]
    fn a_heartbeat_is_not_answered_by_one() {
        let (hears, _) = hears();
        hears.want(500);
        assert!(hears.due());
        for beat in [true, false, true, true] {
            hears.note_read();
            if beat {
                hears.note_beat();
            }
            assert_eq!(hears.due(), !beat);
        }
    }

    #[test]
    fn a_wish_is_bounded() {
        for (asked, every) in [(0, 500), (1, 500), (600, 600), (u64::MAX, 60_000)] {
            let (hears, planned) = hears();
            hears.want(asked);
            assert_eq!(*lock(&planned), [Duration::from_millis(every)]);
        }
    }
}
