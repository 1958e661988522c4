//! How many wrong proofs of a secret one address may bring, so that nobody guesses it by trying.
//!
//! Each address has a bucket of [`MOST_WRONG`] tokens, of which one comes back each [`INTERVAL`]. A wrong
//! proof costs one, a right one nothing. Where there is none, proofs wait for one in the order in which
//! they came, and only so many that all of them have their turn in time; further clients are turned away
//! before anything is computed for them.
//!
//! [`Buckets`] is the machine, without a lock and a clock; [`Proofs`] waits.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use log::warn;

use crate::net::os::condvar::{is_late, wait};
use crate::net::os::sync::{Condvar, HashMap, Instant, Mutex};
use crate::net::os::{LOG, lock};

/// How many wrong proofs of one address are looked at in one go. A fuzzer makes nothing else, and is not to
/// wait.
const MOST_WRONG: u32 = if cfg!(fuzzing) { 1_000_000 } else { 10 };
/// After those, one more proof of the address is looked at in each such time.
const INTERVAL: Duration = Duration::from_millis(100);
/// The most proofs of one address that wait: the last of them for a second.
const MOST_WAITING: usize = 10;
/// The most addresses whose wrong proofs are counted. Someone with more addresses than this is remembered
/// for less long.
const MOST_ADDRESSES: usize = 1024;
/// A warning is given once in this time.
const WARN_AGAIN: Duration = Duration::from_secs(60);

/// The wrong proofs of one peer's clients. The reader threads of their handshakes share it.
#[derive(Default)]
pub(super) struct Proofs {
    /// Never held while a proof is looked at, which takes much longer than anything under this lock.
    buckets: Mutex<Buckets>,
    /// Signalled when a proof has been looked at, or waits no more. All are woken, since each waits behind
    /// others of its own address.
    changed: Condvar,
}

impl Proofs {
    /// Is it worth while to ask a client from there for a proof? `false`: it would not be looked at in
    /// time.
    pub fn has_room(&self, ip: Ipv4Addr) -> bool {
        lock(&self.buckets).has_room(ip, Instant::now())
    }

    /// Waits until a proof from there may be looked at. `None`: it may not, until the deadline.
    pub fn turn(&self, ip: Ipv4Addr, deadline: Instant) -> Option<Turn<'_>> {
        let source = source(ip);
        let mut buckets = lock(&self.buckets);
        let ticket = buckets.enter(source, Instant::now())?;
        loop {
            let looked = buckets.take(source, ticket, Instant::now());
            if let Some(Looked::Now) = looked {
                self.changed.notify_all();
                return Some(Turn {
                    proofs: self,
                    source,
                    is_right: false,
                });
            }
            if looked.is_none() || is_late(Some(deadline)) {
                buckets.leave(source, ticket);
                self.changed.notify_all();
                return None;
            }
            let again = match looked {
                Some(Looked::In(time)) => deadline.min(Instant::now() + time),
                _ => deadline,
            };
            buckets = wait(&self.changed, buckets, Some(again));
        }
    }

    /// Nobody waits any more.
    pub fn end(&self) {
        lock(&self.buckets).is_over = true;
        self.changed.notify_all();
    }
}

/// A proof is being looked at. Unless it is said to be right, it was wrong.
pub(super) struct Turn<'a> {
    proofs: &'a Proofs,
    source: Ipv4Addr,
    is_right: bool,
}

impl Turn<'_> {
    pub fn right(mut self) {
        self.is_right = true;
    }

    /// Also warns, now and then, where this was one too many. `local` is where this peer listens.
    pub fn wrong(self, local: impl std::fmt::Display) {
        let source = self.source;
        let mut buckets = lock(&self.proofs.buckets);
        let is_due = buckets.warns(source, Instant::now());
        drop(buckets);
        drop(self);
        if is_due {
            warn!(
                target: LOG, "{local}: wrong proofs of a secret from {source}: {MOST_WRONG} a second are looked at"
            );
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut buckets = lock(&self.proofs.buckets);
        buckets.looked(self.source, self.is_right, Instant::now());
        drop(buckets);
        self.proofs.changed.notify_all();
    }
}

/// The address by which a client is counted. A program that can use one address of loopback can use all
/// of them, so they count as one.
fn source(ip: Ipv4Addr) -> Ipv4Addr {
    match ip.is_loopback() {
        true => Ipv4Addr::LOCALHOST,
        false => ip,
    }
}

/// Whose turn it is.
#[derive(Debug, PartialEq, Eq)]
enum Looked {
    /// This one's.
    Now,
    /// This one's, as soon as there is a token; no later than in this time.
    In(Duration),
    /// Another's, which came first.
    Behind,
}

/// One address.
#[derive(Debug, Default)]
struct Bucket {
    /// How long until all tokens are back, as it was at `since`.
    debt: Duration,
    since: Option<Instant>,
    /// Proofs that are being looked at. Each may turn out to be wrong.
    looking: u32,
    /// Those that wait, by their tickets.
    waiting: VecDeque<u64>,
}

impl Bucket {
    fn debt(&self, now: Instant) -> Duration {
        let since = self.since.unwrap_or(now);
        self.debt
            .saturating_sub(now.saturating_duration_since(since))
    }

    /// How long until a proof can be looked at, if those that are being looked at are wrong.
    fn wait(&self, now: Instant) -> Duration {
        let all = self.debt(now) + INTERVAL * (self.looking + 1);
        all.saturating_sub(INTERVAL * MOST_WRONG)
    }

    fn is_idle(&self) -> bool {
        self.looking == 0 && self.waiting.is_empty()
    }
}

#[derive(Debug, Default)]
struct Buckets {
    by_source: HashMap<Ipv4Addr, Bucket>,
    /// Of the next one that waits.
    next: u64,
    warned: Option<Instant>,
    is_over: bool,
}

impl Buckets {
    fn has_room(&self, ip: Ipv4Addr, now: Instant) -> bool {
        let bucket = self.by_source.get(&source(ip));
        bucket
            .is_none_or(|bucket| bucket.waiting.len() < MOST_WAITING || bucket.wait(now).is_zero())
    }

    /// A place among those that wait, by its ticket. `None`: there is none.
    fn enter(&mut self, source: Ipv4Addr, now: Instant) -> Option<u64> {
        if !self.by_source.contains_key(&source) && self.by_source.len() >= MOST_ADDRESSES {
            self.forget_one(now);
        }
        let bucket = self.by_source.entry(source).or_default();
        if bucket.waiting.len() >= MOST_WAITING {
            return None;
        }
        let ticket = self.next;
        self.next += 1;
        bucket.waiting.push_back(ticket);
        Some(ticket)
    }

    /// The address that has the least to make up for. Handshakes are far fewer than addresses here, and so
    /// one of these has none.
    fn forget_one(&mut self, now: Instant) {
        let idle = self.by_source.iter().filter(|(_, bucket)| bucket.is_idle());
        let least = idle.min_by_key(|(source, bucket)| (bucket.debt(now), **source));
        if let Some(source) = least.map(|(source, _)| *source) {
            self.by_source.remove(&source);
        }
    }

    /// Looks whether it is this one's turn, and if so takes it. `None`: nobody's any more.
    fn take(&mut self, source: Ipv4Addr, ticket: u64, now: Instant) -> Option<Looked> {
        let bucket = self.by_source.get_mut(&source).filter(|_| !self.is_over)?;
        if bucket.waiting.front() != Some(&ticket) {
            return Some(Looked::Behind);
        }
        let time = bucket.wait(now);
        if !time.is_zero() {
            return Some(Looked::In(time));
        }
        bucket.waiting.pop_front();
        bucket.looking += 1;
        Some(Looked::Now)
    }

    /// This one waits no more.
    fn leave(&mut self, source: Ipv4Addr, ticket: u64) {
        if let Some(bucket) = self.by_source.get_mut(&source) {
            bucket.waiting.retain(|other| *other != ticket);
        }
    }

    fn looked(&mut self, source: Ipv4Addr, is_right: bool, now: Instant) {
        if let Some(bucket) = self.by_source.get_mut(&source) {
            bucket.looking = bucket.looking.saturating_sub(1);
            if !is_right {
                (bucket.debt, bucket.since) = (bucket.debt(now) + INTERVAL, Some(now));
            }
            if bucket.is_idle() && bucket.debt(now).is_zero() {
                self.by_source.remove(&source);
            }
        }
    }

    /// One more wrong proof of this address: has that taken its last token, and was nothing said of it
    /// lately?
    fn warns(&mut self, source: Ipv4Addr, now: Instant) -> bool {
        let bucket = self.by_source.get(&source);
        let is_last =
            bucket.is_some_and(|bucket| bucket.debt(now) + INTERVAL * 2 > INTERVAL * MOST_WRONG);
        let is_new = self
            .warned
            .is_none_or(|at| now.saturating_duration_since(at) >= WARN_AGAIN);
        if is_last && is_new {
            self.warned = Some(now);
        }
        is_last && is_new
    }
}

#[cfg(test)]
mod tests;
