//! What each thread of a program did, and when.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lanpeer::{Broadcast, CloseError, CloseReason, Event, SendError};

use super::os::Instant;
use super::word::Word;

/// One order for all threads of a program.
#[derive(Default)]
pub struct Clock(AtomicU64);

impl Clock {
    pub fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// What came of a call.
#[derive(Debug)]
pub enum Fact {
    Sent(Word, Result<(), SendError>),
    Cast {
        word: Word,
        report: Result<Broadcast, SendError>,
    },
    Flushed(Result<(), SendError>),
    Took(Word),
    /// A receive operation said that the connection has ended.
    End(Option<CloseReason>),
    Closed {
        result: Result<(), CloseError>,
        reason: Option<CloseReason>,
        in_handler: bool,
    },
    Aborted,
    /// The last handle is about to be dropped; was the connection still open?
    Dropped {
        open: bool,
    },
    Panics,
    /// This peer was stopped.
    Stopped(usize),
    Asked(Result<(), lanpeer::Error>),
    Accepted,
    /// The offer was not accepted.
    Denied,
    Lost(lanpeer::Error),
    Happened(Event),
    /// The offer had been withdrawn before it was denied.
    Gone,
    /// What may never be.
    Wrong(String),
}

#[derive(Debug)]
pub struct Entry {
    pub begin: u64,
    pub end: u64,
    pub at: Instant,
    pub took: Duration,
    pub doing: &'static str,
    pub fact: Fact,
}

/// One thread's, or one handler's.
pub struct Diary {
    pub label: String,
    /// The end of a link that it works for.
    pub end: Option<usize>,
    pub peer: usize,
    clock: Arc<Clock>,
    entries: Mutex<Vec<Entry>>,
    /// A call under way.
    now: Mutex<Option<(&'static str, u64, Instant)>>,
}

impl Diary {
    pub fn new(clock: &Arc<Clock>, label: String, peer: usize, end: Option<usize>) -> Arc<Diary> {
        Arc::new(Diary {
            label,
            end,
            peer,
            clock: Arc::clone(clock),
            entries: Mutex::default(),
            now: Mutex::default(),
        })
    }

    /// Does something, and writes down what came of it.
    pub fn act<T>(
        &self,
        doing: &'static str,
        call: impl FnOnce() -> T,
        fact: impl FnOnce(&T) -> Option<Fact>,
    ) -> T {
        let (begin, at) = (self.clock.tick(), Instant::now());
        *lock(&self.now) = Some((doing, begin, at));
        let value = call();
        let (end, took) = (self.clock.tick(), at.elapsed());
        *lock(&self.now) = None;
        if let Some(fact) = fact(&value) {
            lock(&self.entries).push(Entry {
                begin,
                end,
                at,
                took,
                doing,
                fact,
            });
        }
        value
    }

    pub fn note(&self, fact: Fact) {
        self.act("notes", || (), |()| Some(fact));
    }

    pub fn wrong(&self, what: impl Into<String>) {
        self.note(Fact::Wrong(what.into()));
    }

    pub fn check(&self, right: bool, what: &str) {
        if !right {
            self.wrong(what);
        }
    }

    pub fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        lock(&self.entries)
    }

    /// Where a thread hangs.
    pub fn now(&self) -> Option<String> {
        let now = *lock(&self.now);
        now.map(|(doing, begin, at)| {
            format!(
                "{}: {doing}, since {begin}, for {:?}",
                self.label,
                at.elapsed()
            )
        })
    }
}

/// For people: all entries in the order in which they began.
pub fn print(diaries: &[Arc<Diary>]) -> String {
    let start = diaries
        .iter()
        .filter_map(|diary| diary.entries().first().map(|entry| entry.at))
        .min();
    let mut lines = Vec::new();
    for diary in diaries {
        for entry in diary.entries().iter() {
            let Entry {
                begin,
                end,
                at,
                doing,
                fact,
                ..
            } = entry;
            let took = entry.took.as_micros();
            let at = start
                .map_or(Duration::ZERO, |start| at.duration_since(start))
                .as_micros();
            lines.push((
                *begin,
                format!(
                    "{begin:>6}-{end:<6} {at:>8} us +{took:<6} {}: {doing}: {fact:?}",
                    diary.label
                ),
            ));
        }
    }
    lines.sort();
    let mut text = String::new();
    for (_, line) in lines {
        let _ = writeln!(text, "{line}");
    }
    text
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
