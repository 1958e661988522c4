//! One `keep_connected`, as a machine: whom it knows, who is connected, and what is to be done next. It
//! owns no socket, no thread and no clock; the thread in `driver` tells it what happens, and does what it
//! says.
//!
//! ```text
//!             due                  accepted
//!   Waiting ───────▶ Asking ─────────────────▶ Up
//!     ▲ ▲               │                      │
//!     │ └───────────────┘ failed, denied       │
//!     └────────────────────────────────────────┘ ended
//! ```
//!
//! Where both sides keep each other, the connection that the side with the lower id asks for stays. Each
//! decides alone and both come to the same: the lower denies the other's offer while its own is under
//! way, the higher takes the other's offer and withdraws its own. What a side has `seen` of the other's
//! offers tells an offer that has crossed ours from one that comes because a connection was lost.
//!
//! A long file, since it is one machine: what each event does to each state is read together.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::time::Duration;

use super::pause::Pause;
use crate::neighbour::{Neighbour, PeerId};
use crate::net::os::dice::Dice;
use crate::net::os::sync::Instant;
use crate::proto::who::Kept;
use crate::target::{Kind, Target};

/// The most peers that are asked at one time. Each costs a thread.
const ASKING_MAX: usize = 64;

/// A connection that has lasted this long was no failure: after it the pauses begin anew.
const STEADY: Duration = Duration::from_secs(5);

/// How long a peer that discovery has lost is tried after the end of its connection.
const FORGET: Duration = Duration::from_secs(60);

/// The least time between two resets of a peer's pauses because it is seen: a peer that is seen again and
/// again must not be asked without a pause.
const HURRY_EVERY: Duration = Duration::from_secs(1);

/// The pause between two looks at a peer that waits for the program to take a connection, or for others
/// that are being asked: nobody tells when that is over.
const LOOK: Duration = Duration::from_millis(50);

/// The most peers that have said "never" and are remembered.
pub(super) const REFUSED_MAX: usize = 1024;

/// All that one `keep_connected` knows. It belongs to the keeper's thread, and so needs no lock.
pub(super) struct Machine {
    /// This peer, which is compared with others: of two that keep each other, the lower one asks.
    me: PeerId,
    target: Target,
    /// The peers that it knows. For a target that is an address, one entry that is never removed.
    entries: Vec<Entry>,
    /// The number of the last attempt.
    attempt: u32,
    /// Who has said "never".
    refused: VecDeque<PeerId>,
}

/// One peer.
#[derive(Debug)]
struct Entry {
    /// `None`: it is not known yet, or the peer is no lanpeer.
    id: Option<PeerId>,
    /// Where discovery has seen it, by what is said of it there.
    places: Vec<Place>,
    /// The program has given its address.
    is_fixed: bool,
    /// Where it was connected last.
    last: Option<SocketAddrV4>,
    phase: Phase,
    pause: Pause,
    /// When its pauses were last reset because it was seen.
    hurried: Option<Instant>,
    /// The other side's last attempt that became a connection here. Sent with each attempt of this side:
    /// it tells the other side what this one knew when it asked.
    seen: u32,
    /// A connection that has ended. If the program has not taken it yet, it gets no further one.
    untaken: Option<u64>,
    /// Since when discovery does not see it.
    lost: Instant,
    /// The program was told that this lasts, which is said once.
    warned: bool,
}

#[derive(Debug)]
struct Place {
    label: Label,
    addrs: Vec<SocketAddrV4>,
}

#[derive(Debug)]
enum Phase {
    /// `until` is when it is asked; `None`: when it is seen.
    Waiting {
        until: Option<Instant>,
        /// It has said no. Then it is not asked sooner because it is seen.
        is_slow: bool,
    },
    /// An attempt is under way, on a thread of its own.
    Asking {
        attempt: u32,
        /// Where, so that the attempt is withdrawn if another peer is seen there.
        addrs: Vec<SocketAddrV4>,
    },
    /// There is a connection.
    Up {
        /// Its number.
        link: u64,
        since: Instant,
        /// The number by which the other side keeps itself connected, if it has asked.
        theirs: Option<u64>,
    },
    /// It has said "never", and has no id by which it could be remembered, or is the only one meant.
    Refused,
}

/// An attempt that the driver is to begin.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Begin {
    pub attempt: u32,
    /// The other side's last attempt that became a connection here.
    pub seen: u32,
    /// Empty: at the address that the program has given.
    pub addrs: Vec<SocketAddrV4>,
}

/// Why an attempt has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// That may be over soon.
    Passing,
    /// The other side said no.
    Denied,
    /// Only a person ends that: the secrets differ, the address can never be connected to, or a feature is missing.
    Lasting,
    /// The other side said "never".
    Never,
}

/// What the program is to be told of a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tell {
    Nothing,
    /// For the first time.
    Lasting,
    Never(Option<PeerId>),
}

/// What becomes of an offer of the other side. Both sides decide by the same rule and come to the same
/// connection, without a further word between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the connection that is wanted.
    Take,
    /// There is one, or one is on its way.
    Deny,
    /// As `Deny`, unless this attempt has reached nobody yet, or nobody who answers, and can be withdrawn.
    DenyUnlessUnanswered(u32),
    /// It is another one, for the program to decide.
    Pass,
}

/// What becomes of a connection that was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Connected {
    /// It is the one that is wanted; else it is closed.
    pub keep: bool,
    /// An attempt that is not wanted any more.
    pub withdraw: Option<u32>,
}

/// What the driver knows of connections. Asked at each decision, since a connection may have ended, or
/// been taken, before the news of it has come.
pub(super) trait Links {
    /// Has it ended?
    fn is_over(&self, link: u64) -> bool;
    /// Has the program taken it?
    fn is_taken(&self, link: u64) -> bool;
}

impl Machine {
    /// A machine that knows nobody, or the one address that it was given. The first attempt gets the number
    /// behind `first`.
    pub fn new(me: PeerId, target: Target, first: u32, now: Instant) -> Machine {
        let mut machine = Machine {
            me,
            entries: Vec::new(),
            attempt: first,
            refused: VecDeque::new(),
            target,
        };
        if machine.is_fixed() {
            let mut entry = Entry::new(None, now);
            entry.is_fixed = true;
            machine.entries.push(entry);
        }
        machine
    }

    fn is_fixed(&self) -> bool {
        matches!(self.target.kind, Kind::Addr(_))
    }

    /// Is nobody left who is meant and may be asked?
    pub fn is_over(&self) -> bool {
        match self.target.kind {
            Kind::Addr(_) => self
                .entries
                .iter()
                .all(|e| matches!(e.phase, Phase::Refused)),
            Kind::Id(id) => self.refused.contains(&id),
            _ => false,
        }
    }

    // What discovery says

    /// A peer was seen. Returns the attempts that are not wanted any more.
    pub fn found(&mut self, seen: &Neighbour, is_local: bool, now: Instant) -> Vec<u32> {
        let mut withdrawn = Vec::new();
        let is_meant = self.target.is_meant(seen.id, &seen.name, &seen.service);
        if !is_meant || seen.id.is_some_and(|id| self.refused.contains(&id)) {
            return withdrawn;
        }
        let own = self.position(seen.id, &seen.addrs);
        // Two peers cannot listen at one address: whoever was known there has gone.
        for (at, other) in self.entries.iter_mut().enumerate() {
            if Some(at) != own {
                withdrawn.extend(other.lose_addrs(&seen.addrs, now));
            }
        }
        let own = own.unwrap_or_else(|| {
            self.entries.push(Entry::new(seen.id, now));
            self.entries.len() - 1
        });
        self.entries[own].see(label(seen, is_local), &seen.addrs, now);
        withdrawn
    }

    /// A peer is not seen any more.
    pub fn lost(&mut self, lost: &Neighbour, is_local: bool, now: Instant) {
        let Some(at) = self.position(lost.id, &lost.addrs) else {
            return;
        };
        let entry = &mut self.entries[at];
        let label = label(lost, is_local);
        entry.places.retain(|place| place.label != label);
        entry.note_loss(now);
        self.forget(now);
    }

    /// The entry of a peer: by its id, or by its addresses if it has none.
    fn position(&self, id: Option<PeerId>, addrs: &[SocketAddrV4]) -> Option<usize> {
        self.entries.iter().position(|entry| match id {
            Some(id) => entry.id == Some(id),
            None => entry.id.is_none() && entry.has_any(addrs),
        })
    }

    /// Forgets peers that were not seen for long, and that nothing waits for.
    fn forget(&mut self, now: Instant) {
        self.entries.retain(|entry| {
            // Of those that have said "never" only ids are remembered for good.
            let waits = matches!(entry.phase, Phase::Waiting { .. } | Phase::Refused);
            let is_gone = !entry.is_fixed && entry.places.is_empty() && waits;
            let is_old = now.saturating_duration_since(entry.lost) >= FORGET;
            !(is_gone && is_old)
        });
    }

    // Attempts

    /// Whom to ask now. Each counts as being asked from here on, so the driver must tell what came of it.
    pub fn due(&mut self, now: Instant, links: &impl Links) -> Vec<Begin> {
        self.forget(now);
        let mut asking = self.entries.iter().filter(|e| e.is_asking()).count();
        let mut all = Vec::new();
        for entry in &mut self.entries {
            let Phase::Waiting { until, is_slow } = &mut entry.phase else {
                continue;
            };
            let is_slow = *is_slow;
            if until.is_none_or(|at| at > now) {
                continue;
            }
            // The program takes the connection that has ended before it gets another.
            entry.untaken = entry.untaken.filter(|link| !links.is_taken(*link));
            if entry.untaken.is_some() || asking >= ASKING_MAX {
                *until = Some(now + LOOK);
                continue;
            }
            // Without an address it waits until it is seen.
            let addrs = entry.addrs();
            if addrs.is_empty() && !entry.is_fixed {
                entry.wait(None, is_slow);
                continue;
            }
            asking += 1;
            // 0 is no attempt: as `seen` it says that none was seen.
            self.attempt = self.attempt.wrapping_add(1).max(1);
            all.push(Begin {
                attempt: self.attempt,
                seen: entry.seen,
                addrs: addrs.clone(),
            });
            entry.phase = Phase::Asking {
                attempt: self.attempt,
                addrs,
            };
        }
        all
    }

    /// When [`due`](Machine::due) has something to do next; `None`: not before there is news.
    pub fn next(&self) -> Option<Instant> {
        let due = self.entries.iter().filter_map(|entry| match entry.phase {
            Phase::Waiting { until, .. } if entry.places.is_empty() && !entry.is_fixed => {
                let forgotten = entry.lost + FORGET;
                Some(until.map_or(forgotten, |until| until.min(forgotten)))
            }
            Phase::Waiting { until, .. } => until,
            _ => None,
        });
        due.min()
    }

    /// An attempt has become this connection, with the peer `id` at `addr`. `is_meant`: by what it says of
    /// itself, which may differ from what discovery said. The attempt may have been withdrawn meanwhile: then
    /// it belongs to no entry any more.
    pub fn connected(
        &mut self,
        attempt: u32,
        (id, is_meant): (Option<PeerId>, bool),
        addr: SocketAddrV4,
        link: u64,
        now: Instant,
        links: &impl Links,
    ) -> Connected {
        // `None`: the attempt was withdrawn, and has succeeded in the same moment.
        let owner = self.entries.iter().position(|e| e.asks(attempt));
        if self.is_fixed() {
            // The program's address leads to whoever has answered there.
            let waits = |e: &Entry| matches!(e.phase, Phase::Waiting { .. });
            let own = owner.or_else(|| self.entries.iter().position(waits));
            let Some(at) = own else {
                return Connected::default();
            };
            self.entries[at].id = id;
            return self.up(at, addr, link, now);
        }
        let known = id.and_then(|id| self.entries.iter().position(|e| e.id == Some(id)));
        if let Some(at) = owner {
            let entry = &mut self.entries[at];
            // It is the peer that was asked, or one that does not say who it is.
            if known == Some(at) || id.is_none() {
                return self.up(at, addr, link, now);
            }
            // Discovery did not say who it is. Now that is known.
            if entry.id.is_none() && known.is_none() {
                entry.id = id;
                return self.up(at, addr, link, now);
            }
            // Somebody else listens there now: started again, perhaps.
            entry.lose_addrs(&[addr], now);
        }
        let is_refused = id.is_some_and(|id| self.refused.contains(&id));
        let is_wanted = is_meant && !is_refused;
        match known {
            _ if !is_wanted => Connected::default(),
            // Another peer has answered than the one that was asked, and it is known too.
            Some(at) => {
                let entry = &self.entries[at];
                match entry.phase {
                    Phase::Up { link, .. } if !links.is_over(link) => Connected::default(),
                    // What was withdrawn is older.
                    Phase::Asking { attempt: other, .. } if other > attempt => Connected::default(),
                    Phase::Refused => Connected::default(),
                    Phase::Asking { attempt, .. } => Connected {
                        withdraw: Some(attempt),
                        ..self.up(at, addr, link, now)
                    },
                    _ => self.up(at, addr, link, now),
                }
            }
            // Another peer has answered than the one that was asked, and discovery has not told of it.
            None if owner.is_some() => {
                self.entries.push(Entry::new(id, now));
                self.up(self.entries.len() - 1, addr, link, now)
            }
            None => Connected::default(),
        }
    }

    /// The entry has this connection from now on.
    fn up(&mut self, at: usize, addr: SocketAddrV4, link: u64, now: Instant) -> Connected {
        let entry = &mut self.entries[at];
        entry.last = Some(addr);
        entry.warned = false;
        entry.phase = Phase::Up {
            link,
            since: now,
            theirs: None,
        };
        Connected {
            keep: true,
            withdraw: None,
        }
    }

    /// At this address somebody else has answered an attempt. What is left of its addresses is asked next.
    pub fn not_there(&mut self, attempt: u32, addr: SocketAddrV4, now: Instant) {
        if let Some(entry) = self.entries.iter_mut().find(|e| e.asks(attempt)) {
            entry.lose_addrs(&[addr], now);
        }
    }

    /// An attempt has failed. Says what the program is to be told. One that was withdrawn belongs to no entry,
    /// and changes nothing.
    pub fn failed(&mut self, attempt: u32, why: Failure, now: Instant, dice: &mut Dice) -> Tell {
        let Some(at) = self.entries.iter().position(|e| e.asks(attempt)) else {
            return Tell::Nothing;
        };
        let entry = &mut self.entries[at];
        match why {
            Failure::Passing => {
                let pause = entry.pause.after_failure(dice);
                entry.wait(Some(now + pause), false);
            }
            Failure::Denied | Failure::Lasting => {
                let pause = entry.pause.after_refusal(dice);
                entry.wait(Some(now + pause), true);
            }
            Failure::Never => {
                let id = entry.id;
                entry.phase = Phase::Refused;
                if let (Some(id), false) = (id, entry.is_fixed) {
                    // Whoever it was, the id is enough to know it again.
                    self.entries.remove(at);
                    if self.refused.len() >= REFUSED_MAX {
                        self.refused.pop_front();
                    }
                    self.refused.push_back(id);
                }
                return Tell::Never(id);
            }
        }
        match why {
            Failure::Lasting if !std::mem::replace(&mut entry.warned, true) => Tell::Lasting,
            _ => Tell::Nothing,
        }
    }

    /// A connection has ended.
    pub fn ended(&mut self, link: u64, now: Instant, dice: &mut Dice) {
        let is_up = |e: &&mut Entry| matches!(e.phase, Phase::Up { link: own, .. } if own == link);
        if let Some(entry) = self.entries.iter_mut().find(is_up) {
            entry.end(link, now, dice);
        }
    }

    // Offers of those who keep themselves connected to us

    /// What becomes of an offer of a peer that is meant.
    pub fn offered(
        &mut self,
        id: PeerId,
        kept: Kept,
        now: Instant,
        links: &impl Links,
        dice: &mut Dice,
    ) -> Verdict {
        let is_lower = self.me < id;
        if self.refused.contains(&id) {
            return Verdict::Pass;
        }
        let Some(entry) = self.entry_of(id) else {
            return Verdict::Take;
        };
        // The news of its end may still be on the way.
        if let Phase::Up { link, .. } = entry.phase {
            if links.is_over(link) {
                entry.end(link, now, dice);
            }
        }
        match entry.phase {
            // Another `keep_connected` of that peer asks: its connection is another one.
            Phase::Up {
                theirs: Some(keep), ..
            } if keep != kept.keep => Verdict::Pass,
            // The connection that both want is up.
            Phase::Up { .. } => Verdict::Deny,
            // It has had our offer, and asks all the same.
            Phase::Asking { attempt, .. } if kept.seen == attempt => Verdict::Take,
            // Both have asked, and ours stays, unless it waits for a program there.
            Phase::Asking { attempt, .. } if is_lower => Verdict::DenyUnlessUnanswered(attempt),
            // Both have asked, and theirs stays.
            Phase::Asking { .. } => Verdict::Take,
            Phase::Waiting { .. } => {
                // The program takes the connection that has ended before it gets another.
                entry.untaken = entry.untaken.filter(|link| !links.is_taken(*link));
                match entry.untaken {
                    Some(_) => Verdict::Deny,
                    None => Verdict::Take,
                }
            }
            Phase::Refused => Verdict::Pass,
        }
    }

    /// An offer has become this connection. Returns the attempt that is not wanted any more.
    pub fn took(
        &mut self,
        id: PeerId,
        kept: Kept,
        addr: SocketAddrV4,
        link: u64,
        now: Instant,
    ) -> Option<u32> {
        if self.entry_of(id).is_none() {
            self.entries.push(Entry::new(Some(id), now));
        }
        let entry = self.entry_of(id)?;
        // The attempt of this side is no longer wanted.
        let withdraw = match entry.phase {
            Phase::Asking { attempt, .. } => Some(attempt),
            _ => None,
        };
        entry.id = Some(id);
        entry.last = Some(addr);
        entry.seen = kept.attempt;
        entry.phase = Phase::Up {
            link,
            since: now,
            theirs: Some(kept.keep),
        };
        withdraw
    }

    /// The entry of this peer; for a target that is an address, the only one.
    fn entry_of(&mut self, id: PeerId) -> Option<&mut Entry> {
        let is_fixed = self.is_fixed();
        let mut entries = self.entries.iter_mut();
        entries.find(|entry| is_fixed || entry.id == Some(id))
    }
}

impl Entry {
    fn new(id: Option<PeerId>, now: Instant) -> Entry {
        Entry {
            id,
            places: Vec::new(),
            is_fixed: false,
            last: None,
            phase: Phase::Waiting {
                until: Some(now),
                is_slow: false,
            },
            pause: Pause::default(),
            hurried: None,
            seen: 0,
            untaken: None,
            lost: now,
            warned: false,
        }
    }

    /// Is an attempt under way?
    fn is_asking(&self) -> bool {
        matches!(self.phase, Phase::Asking { .. })
    }

    /// Is this attempt under way?
    fn asks(&self, attempt: u32) -> bool {
        matches!(self.phase, Phase::Asking { attempt: own, .. } if own == attempt)
    }

    /// Was it seen, or connected last, at one of these addresses?
    fn has_any(&self, addrs: &[SocketAddrV4]) -> bool {
        let own = self.places.iter().flat_map(|place| &place.addrs);
        own.chain(&self.last).any(|addr| addrs.contains(addr))
    }

    /// Where to ask, the likeliest first.
    fn addrs(&self) -> Vec<SocketAddrV4> {
        let mut all = Vec::new();
        let seen = self.places.iter().flat_map(|place| &place.addrs);
        for addr in seen.chain(self.last.iter().filter(|_| !self.is_fixed)) {
            if !all.contains(addr) {
                all.push(*addr);
            }
        }
        all
    }

    /// From now on it waits; see [`Phase::Waiting`].
    fn wait(&mut self, until: Option<Instant>, is_slow: bool) {
        self.phase = Phase::Waiting { until, is_slow };
    }

    /// It was seen there.
    fn see(&mut self, label: Label, addrs: &[SocketAddrV4], now: Instant) {
        let addrs = addrs.to_vec();
        match self.places.iter_mut().find(|place| place.label == label) {
            // It is told once more, and nothing has changed.
            Some(place) if place.addrs == addrs => return,
            Some(place) => place.addrs = addrs,
            None => self.places.push(Place { label, addrs }),
        }
        let not_before = self.hurried.map_or(now, |at| at + HURRY_EVERY);
        let Phase::Waiting { until, is_slow } = &mut self.phase else {
            return;
        };
        // What it says does not change because it is seen.
        if !*is_slow && not_before <= now {
            *until = Some(now);
            self.hurried = Some(now);
            self.pause.reset();
        } else if until.is_none() {
            *until = Some(now.max(not_before));
        }
    }

    /// Somebody else listens at these addresses now. Returns the attempt that is not wanted any more.
    fn lose_addrs(&mut self, addrs: &[SocketAddrV4], now: Instant) -> Option<u32> {
        for place in &mut self.places {
            place.addrs.retain(|addr| !addrs.contains(addr));
        }
        self.places.retain(|place| !place.addrs.is_empty());
        self.last = self.last.filter(|last| !addrs.contains(last));
        self.note_loss(now);
        match &self.phase {
            Phase::Asking {
                attempt,
                addrs: asked,
            } if asked.iter().any(|addr| addrs.contains(addr)) => {
                let attempt = *attempt;
                self.wait(Some(now), false);
                Some(attempt)
            }
            _ => None,
        }
    }

    /// Notes the time, if discovery does not see it anywhere.
    fn note_loss(&mut self, now: Instant) {
        if self.places.is_empty() {
            self.lost = now;
        }
    }

    /// Its connection has ended: it is asked again after a pause.
    fn end(&mut self, link: u64, now: Instant, dice: &mut Dice) {
        if let Phase::Up { since, .. } = self.phase {
            if now.saturating_duration_since(since) >= STEADY {
                self.pause.reset();
            }
        }
        self.untaken = Some(link);
        self.note_loss(now);
        let pause = self.pause.after_failure(dice);
        self.wait(Some(now + pause), false);
    }
}

/// Name, service, whether it is on this host, and whether it is a member.
type Label = (String, String, bool, bool);

/// What tells two of one id apart: another name, or one on this host and one on the network. Anyone can
/// claim an id.
fn label(neighbour: &Neighbour, is_local: bool) -> Label {
    let Neighbour { name, service, .. } = neighbour;
    (name.clone(), service.clone(), is_local, neighbour.is_member)
}

#[cfg(test)]
mod tests;
