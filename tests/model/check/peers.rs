//! Handshakes, broadcasts and events.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use lanpeer::{Error, Event, SendError};

use super::super::history::{Diary, Fact, lock};
use super::super::plan::{Accepting, Answer};
use super::super::run::Stage;
use super::super::word::{Source, Word};
use super::{Model, Took};

impl Model<'_> {
    pub(super) fn check_handshakes(&mut self, diaries: &[Arc<Diary>]) {
        for diary in diaries {
            let Some(number) = diary.end else { continue };
            for entry in diary.entries().iter() {
                let right = match &entry.fact {
                    Fact::Asked(result) => self.asked_rightly(number / 2, result, entry.end),
                    Fact::Accepted => {
                        let plan = &self.program.links[number / 2];
                        let given_up = plan.timeout.is_some()
                            || !self.stops[plan.peers[0]].is_empty()
                                && !self.program.hazards.are_none();
                        plan.answer == Answer::Accept && (self.ends[number ^ 1].exists || given_up)
                    }
                    Fact::Lost(error) => {
                        let plan = &self.program.links[number / 2];
                        let gone =
                            plan.timeout.is_some() || self.stopped_before(plan.peers[0], entry.end);
                        let stopped = self.stopped_before(plan.peers[1], entry.end);
                        match error {
                            Error::Withdrawn => gone || stopped,
                            Error::Stopped => stopped,
                            _ => false,
                        }
                    }
                    _ => continue,
                };
                if !right {
                    let fact = &entry.fact;
                    self.wrong
                        .push(format!("link {}: no cause for {fact:?}", number / 2));
                }
            }
        }
    }

    pub(super) fn stopped_before(&self, peer: usize, tick: u64) -> bool {
        self.stops[peer].iter().any(|act| act.begin < tick)
    }

    fn asked_rightly(&self, link: usize, result: &Result<(), Error>, tick: u64) -> bool {
        let plan = &self.program.links[link];
        let [asker, asked] = plan.peers;
        let busy = self.program.hazards.busy;
        let stopped = self.stopped_before(asked, tick);
        match result {
            // An `accept` that `stop` met, perhaps after the answer, returns no connection, and does
            // not say whose it was.
            Ok(()) => {
                let other = &self.ends[2 * link + 1];
                let accepts = matches!(self.program.peers[asked].accepting, Accepting::Accept(_));
                other.exists || other.lost || (accepts && !self.stops[asked].is_empty())
            }
            Err(Error::Denied { reason, .. }) => match (plan.answer, reason.as_deref()) {
                (Answer::Deny, Some("not-today")) => true,
                (Answer::Drop, Some("dropped")) => true,
                (Answer::WrongType, Some("type")) => true,
                (_, Some("busy")) => busy || stopped,
                (_, Some("stopped" | "dropped")) => stopped,
                _ => false,
            },
            Err(Error::TimedOut { .. }) => plan.timeout.is_some(),
            Err(Error::Stopped) => self.stopped_before(asker, tick),
            Err(Error::TooManyConnections { .. }) => busy,
            Err(Error::Connect { .. } | Error::Handshake { .. }) => stopped,
            Err(_) => false,
        }
    }

    /// The report names peers, not connections: so what it says holds for all connections of a
    /// peer with another together.
    pub(super) fn check_broadcasts(&mut self, diaries: &[Arc<Diary>]) {
        for diary in diaries {
            for entry in diary.entries().iter() {
                let Fact::Cast { word, report } = &entry.fact else {
                    continue;
                };
                let Ok(report) = report else {
                    self.wrong.push(format!("{}: {report:?}", diary.label));
                    continue;
                };
                for (_, error) in &report.failed {
                    let right = matches!(
                        error,
                        SendError::Full
                            | SendError::Timeout
                            | SendError::Closed(_)
                            | SendError::WrongSize { .. }
                    );
                    if !right {
                        self.wrong.push(format!("{}: {error:?}", diary.label));
                    }
                }
                self.check_cast(diary.peer, *word, report.sent.len());
            }
        }
        // Each connection has them in order.
        for (number, end) in self.ends.iter().enumerate() {
            let casts = || {
                let of_broadcast =
                    |took: &&Took| matches!(took.word.source, Source::Broadcast { .. });
                end.took.iter().filter(of_broadcast)
            };
            for late in casts() {
                for early in casts() {
                    if early.word.number < late.word.number && late.end < early.begin {
                        let (late, early) = (late.word, early.word);
                        self.wrong
                            .push(format!("end {number}: {late:?} overtook {early:?}"));
                    }
                }
            }
        }
    }

    pub(super) fn check_cast(&mut self, peer: usize, word: Word, sent: usize) {
        let receivers = || (0..self.ends.len()).filter(|end| self.peer_of(end ^ 1) == peer);
        let took = |end: &usize| self.ends[*end].took.iter().any(|took| took.word == word);
        let delivered = receivers().filter(took).count();
        let calm = self.program.hazards.are_none();
        let may_be_replaced = receivers().any(|end| self.ends[end].latest);
        if delivered > sent || (calm && !may_be_replaced && delivered < sent) {
            let what = format!("broadcast {word:?}: sent to {sent}, taken by {delivered}");
            self.wrong.push(what);
        }
    }

    pub(super) fn check_events(&mut self, stage: &Stage, diaries: &[Arc<Diary>]) {
        for peer in 0..self.program.peers.len() {
            let mut connected = BTreeMap::new();
            let mut closed = BTreeMap::new();
            let mut denied = Vec::new();
            let mut dropped = false;
            let mut failed = 0;
            for diary in diaries.iter().filter(|diary| diary.peer == peer) {
                for entry in diary.entries().iter() {
                    let Fact::Happened(event) = &entry.fact else {
                        continue;
                    };
                    match event {
                        Event::Connected { id, .. } => {
                            if connected.insert(*id, entry.begin).is_some() {
                                self.wrong.push(format!("peer {peer}: {event:?} twice"));
                            }
                        }
                        Event::Closed { id, reason, .. } => {
                            if !connected.contains_key(id) || closed.contains_key(id) {
                                self.wrong
                                    .push(format!("peer {peer}: {event:?} without Connected"));
                            }
                            closed.insert(*id, reason.clone());
                        }
                        Event::Denied { reason, .. } => denied.push(reason.clone()),
                        Event::HandshakeFailed { .. } => failed += 1,
                        Event::Dropped { .. } => dropped = true,
                        other => self.wrong.push(format!("peer {peer}: {other:?}")),
                    }
                }
            }
            if dropped || self.gave_up[peer] {
                continue;
            }
            let ends = lock(&stage.ends);
            let own: Vec<_> = ends
                .iter()
                .filter(|(end, _)| self.peer_of(**end) == peer)
                .collect();
            let mut known = HashSet::new();
            for (end, info) in own {
                known.insert(info.id);
                if !connected.contains_key(&info.id) {
                    self.wrong.push(format!("end {end}: no event Connected"));
                }
                if closed.get(&info.id) != self.reason(*end) {
                    let (event, own) = (closed.get(&info.id), self.reason(*end));
                    self.wrong
                        .push(format!("end {end}: event {event:?}, reason {own:?}"));
                }
            }
            for id in connected.keys().filter(|id| !known.contains(*id)) {
                self.wrong
                    .push(format!("peer {peer}: Connected {id}, which nobody got"));
            }
            if self.program.hazards.are_none() {
                let count = |answer| {
                    let mine = self
                        .program
                        .links
                        .iter()
                        .filter(|link| link.peers[1] == peer);
                    mine.filter(|link| link.answer == answer).count()
                };
                // A peer that is stopped while it answers, in the last moment of the program, may
                // have told all its events already.
                let late = diaries
                    .iter()
                    .filter(|diary| diary.peer == peer)
                    .map(|diary| {
                        let entries = diary.entries();
                        let answers = entries.iter().filter(|entry| {
                            matches!(entry.fact, Fact::Denied | Fact::Gone | Fact::Lost(_))
                                && self.stopped_before(peer, entry.end)
                        });
                        answers.count()
                    })
                    .sum::<usize>();
                // A call that accepts one type alone denies the others while it waits on, and writes
                // none of it down.
                let plan = &self.program.peers[peer];
                let unwritten = match plan.accepting {
                    Accepting::Accept(_) => plan.acceptors,
                    _ => 0,
                };
                for (answer, word) in [
                    (Answer::Deny, "not-today"),
                    (Answer::Drop, "dropped"),
                    (Answer::WrongType, "type"),
                ] {
                    let told = denied.iter().filter(|reason| *reason == word).count();
                    if told > count(answer) || told + late + unwritten < count(answer) {
                        self.wrong
                            .push(format!("peer {peer}: {told} events Denied with `{word}`"));
                    }
                }
                if failed > late {
                    self.wrong
                        .push(format!("peer {peer}: {failed} handshakes failed"));
                }
            }
        }
    }
}
