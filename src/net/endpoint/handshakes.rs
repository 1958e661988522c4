//! Handshakes under way, and who has to go where there is no room for all. No sockets and no clock:
//! time is an argument.
//!
//! A stranger costs a file descriptor and a thread before he has said anything. So there is a bound
//! on their number, and each address has a share of it. A client that says nothing goes first.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::net::os::sync::{HashMap, Instant};

/// The most handshakes under way, offers without an answer among them.
const MOST: usize = 256;
/// Handshakes take at most this part of the file descriptors that the process may have.
const PART_OF_FILES: usize = 4;
/// The silent ones of one address take at most this part of all handshakes.
const PART_OF_ALL: usize = 8;
/// The bound is never lower than this, however few file descriptors there are.
const FEWEST: usize = 8;

/// A client that has said nothing at all for this time is silent. It should say HELLO at once.
const MUTE: Duration = Duration::from_millis(10);

/// How far a handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// This peer has asked. It is no stranger's, and does not count.
    Asking,
    /// A client that has not yet said, or proved, all.
    UnderWay,
    /// A client that waits for the program's word.
    Offered,
    /// A client that was told no, and is to read that.
    Leaving,
}

/// One handshake.
#[derive(Debug)]
struct Entry<T> {
    what: T,
    ip: Ipv4Addr,
    stage: Stage,
    /// It has said something.
    heard: bool,
    /// Its thread has waited for [`SLOW`](crate::net::handshake::io::SLOW) for what it owes. The time
    /// alone does not tell: on a busy machine its words may be here, and its thread has not run yet.
    is_quiet: bool,
    /// Since when it owes something.
    since: Instant,
}

impl<T> Entry<T> {
    /// `has_said`: whether something that it has said waits to be read.
    fn is_silent(&self, now: Instant, has_said: impl Fn(&T) -> bool) -> bool {
        match self.stage {
            Stage::Asking | Stage::Offered => false,
            Stage::Leaving => true,
            Stage::UnderWay if self.heard => self.is_quiet,
            Stage::UnderWay => {
                now.saturating_duration_since(self.since) >= MUTE && !has_said(&self.what)
            }
        }
    }
}

/// Is there room for one more?
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Room<T> {
    /// Yes.
    Free,
    /// Yes: this one was taken off, and is to be told.
    Instead(T),
    /// No.
    None,
}

/// All handshakes of one peer, by number. Under a lock of the endpoint: the listener admits, reader threads
/// tell what they hear, `stop` empties it.
#[derive(Debug)]
pub(crate) struct Handshakes<T> {
    entries: HashMap<u64, Entry<T>>,
    most: usize,
}

impl<T> Handshakes<T> {
    /// `files` is how many file descriptors the process may have, if that is known.
    pub fn new(files: Option<usize>) -> Handshakes<T> {
        let most = files.map_or(MOST, |files| files / PART_OF_FILES);
        Handshakes {
            entries: HashMap::default(),
            most: most.clamp(FEWEST, MOST),
        }
    }

    pub fn most(&self) -> usize {
        self.most
    }

    /// How many of one address may be silent.
    fn share(&self) -> usize {
        self.most / PART_OF_ALL
    }

    /// Enters a handshake, for which [`room`](Handshakes::room) was made.
    pub fn insert(&mut self, id: u64, what: T, ip: Ipv4Addr, stage: Stage, now: Instant) {
        let entry = Entry {
            what,
            ip,
            stage,
            heard: false,
            is_quiet: false,
            since: now,
        };
        self.entries.insert(id, entry);
    }

    /// `None`: it had to go already.
    pub fn remove(&mut self, id: u64) -> Option<T> {
        self.entries.remove(&id).map(|entry| entry.what)
    }

    pub fn contains(&self, id: u64) -> bool {
        self.entries.contains_key(&id)
    }

    /// Takes all off, for `stop`.
    pub fn drain(&mut self) -> impl Iterator<Item = (T, Stage)> + '_ {
        self.entries
            .drain()
            .map(|(_, entry)| (entry.what, entry.stage))
    }

    /// It has said something.
    pub fn heard(&mut self, id: u64, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&id) {
            (entry.heard, entry.is_quiet, entry.since) = (true, false, now);
        }
    }

    /// It has come further. What it owes now, it owes from here on.
    pub fn set_stage(&mut self, id: u64, stage: Stage, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&id) {
            (entry.stage, entry.is_quiet, entry.since) = (stage, false, now);
        }
    }

    /// Is there room for one from this address? `has_said` tells of one whether something that it has said
    /// waits to be read.
    pub fn room(&mut self, ip: Ipv4Addr, now: Instant, has_said: impl Fn(&T) -> bool) -> Room<T> {
        let is_mine = |entry: &Entry<T>| entry.ip == ip && entry.stage != Stage::Asking;
        let silent = |entry: &Entry<T>| entry.is_silent(now, &has_said);
        let silent_here = |entry: &Entry<T>| is_mine(entry) && silent(entry);
        if self.count(silent_here) >= self.share() {
            return self.take_oldest(silent_here);
        }
        if self.count(|entry| entry.stage != Stage::Asking) < self.most {
            return Room::Free;
        }
        if let Some(largest) = self.largest(silent) {
            return self.take_oldest(|entry| entry.ip == largest && silent(entry));
        }
        // Everybody makes progress, or waits for the program. An address with few handshakes gets the
        // place of one that has more than its share.
        let under_way = |entry: &Entry<T>| entry.stage == Stage::UnderWay;
        if self.count(is_mine) < self.share() {
            if let Some(largest) = self.largest(|entry| entry.stage != Stage::Asking) {
                let of_largest = |entry: &Entry<T>| entry.ip == largest;
                if self.count(of_largest) > self.share() {
                    let goes = |entry: &Entry<T>| of_largest(entry) && under_way(entry);
                    return match self.count(goes) {
                        0 => self.take_oldest(|entry| {
                            of_largest(entry) && entry.stage == Stage::Offered
                        }),
                        _ => self.take_oldest(goes),
                    };
                }
            }
        }
        // The new client may say something; the oldest that has said nothing may never.
        let mute = |entry: &Entry<T>| {
            entry.stage == Stage::UnderWay && !entry.heard && !has_said(&entry.what)
        };
        match self.largest(mute) {
            Some(largest) => self.take_oldest(|entry| entry.ip == largest && mute(entry)),
            None => Room::None,
        }
    }

    /// The thread of this handshake has waited for it for long. Returns those of its address that have to go
    /// because of that.
    pub fn quiet(&mut self, id: u64, now: Instant, has_said: impl Fn(&T) -> bool) -> Vec<T> {
        let mut gone = Vec::new();
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.is_quiet = true;
            let ip = entry.ip;
            let silent_here = |entry: &Entry<T>| entry.ip == ip && entry.is_silent(now, &has_said);
            while self.count(silent_here) > self.share() {
                let Room::Instead(what) = self.take_oldest(silent_here) else {
                    break;
                };
                gone.push(what);
            }
        }
        gone
    }

    fn count(&self, which: impl Fn(&Entry<T>) -> bool) -> usize {
        self.entries.values().filter(|entry| which(entry)).count()
    }

    /// The address that has the most, of those that have any such.
    fn largest(&self, which: impl Fn(&Entry<T>) -> bool) -> Option<Ipv4Addr> {
        let mut counts: HashMap<Ipv4Addr, (usize, bool)> = HashMap::default();
        for entry in self.entries.values() {
            if entry.stage != Stage::Asking {
                let (count, has_such) = counts.entry(entry.ip).or_default();
                *count += 1;
                *has_such |= which(entry);
            }
        }
        let mut counts: Vec<_> = counts.into_iter().filter(|(_, (_, has))| *has).collect();
        counts.sort_unstable_by_key(|(ip, (count, _))| (*count, *ip));
        counts.pop().map(|(ip, _)| ip)
    }

    fn take_oldest(&mut self, which: impl Fn(&Entry<T>) -> bool) -> Room<T> {
        let such = self.entries.iter().filter(|(_, entry)| which(entry));
        // Numbers grow: of two that came in one moment the lower one is older.
        let oldest = such.min_by_key(|(id, entry)| (entry.since, **id));
        match oldest.map(|(id, _)| *id) {
            Some(id) => self.remove(id).map_or(Room::None, Room::Instead),
            None => Room::None,
        }
    }
}

#[cfg(test)]
mod tests;
