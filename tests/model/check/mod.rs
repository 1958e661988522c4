//! The model: what may have happened, given what the threads did.
//!
//! A cause must have begun before its effect was seen; so every rule asks only for acts that did.

mod ends;
mod messages;
mod peers;

use std::sync::Arc;
use std::time::Duration;

use lanpeer::{CloseError, CloseReason, Event, SendError, Stats};

use super::history::{Diary, Entry, Fact, lock};
use super::os::{HashMap, Instant};
use super::plan::Program;
use super::run::Stage;
use super::traffic::SEND_LATEST;
use super::word::Word;

/// Something that an end or a peer did.
#[derive(Clone, Copy, Debug)]
struct Act {
    begin: u64,
    at: Instant,
}

#[derive(Clone, Debug)]
struct Sent {
    word: Word,
    /// By `send_latest`.
    latest: bool,
    begin: u64,
    end: u64,
}

#[derive(Clone, Copy, Debug)]
struct Took {
    word: Word,
    begin: u64,
    end: u64,
}

/// One end of a connection, as its threads saw it.
#[derive(Default)]
struct End {
    exists: bool,
    handled: bool,
    /// Of what comes, only the newest waits.
    latest: bool,
    /// When the program learnt of it.
    made: u64,
    /// Here it was accepted, and did not come about all the same.
    lost: bool,
    sent: Vec<Sent>,
    refused: Vec<(Word, SendError)>,
    took: Vec<Took>,
    /// A receive operation said that it is the end.
    took_all: bool,
    closes: Vec<Act>,
    close_results: Vec<(Result<(), CloseError>, Duration, bool)>,
    aborts: Vec<Act>,
    panics: Vec<Act>,
    /// The last handle was dropped while the connection was open.
    drops: Vec<Act>,
    /// The last handle was dropped, perhaps while the other side's end was being answered.
    left: Vec<Act>,
    /// Reasons that were seen, and when.
    reasons: Vec<(CloseReason, u64, Instant)>,
    /// Reasons in the errors of `send`: also that of a close that has only begun.
    send_reasons: Vec<(CloseReason, u64, Instant)>,
    stats: Option<Stats>,
}

pub struct Model<'a> {
    program: &'a Program,
    ends: Vec<End>,
    stops: Vec<Vec<Act>>,
    /// Peers whose `stop` went on without threads that did not end in time.
    gave_up: Vec<bool>,
    wrong: Vec<String>,
}

/// What of a stage contradicts the model.
pub fn check(stage: &Stage) -> Vec<String> {
    let diaries = lock(&stage.diaries);
    let mut model = Model::new(stage, &diaries);
    for end in 0..model.ends.len() {
        model.check_delivery(end);
        model.check_reasons(end);
        model.check_closes(end);
        model.check_stats(end);
    }
    model.check_handshakes(&diaries);
    model.check_broadcasts(&diaries);
    model.check_events(stage, &diaries);
    model.wrong
}

impl<'a> Model<'a> {
    fn new(stage: &'a Stage, diaries: &[Arc<Diary>]) -> Model<'a> {
        let program = &stage.program;
        let mut model = Model {
            program,
            ends: (0..2 * program.links.len())
                .map(|_| End::default())
                .collect(),
            stops: vec![Vec::new(); program.peers.len()],
            gave_up: vec![false; program.peers.len()],
            wrong: Vec::new(),
        };
        for (number, end) in model.ends.iter_mut().enumerate() {
            let plan = &program.links[number / 2].ends[number % 2];
            end.handled = plan.handler.is_some();
            end.latest = plan.latest;
        }
        for (number, known) in lock(&stage.ends).iter() {
            let end = &mut model.ends[*number];
            end.exists = true;
            if let Some(info) = &known.info {
                end.stats = Some(info.stats());
                match info.close_reason() {
                    Some(reason) => end.reasons.push((reason, u64::MAX, Instant::now())),
                    None => model.wrong.push(format!("end {number}: open after stop")),
                }
            }
        }
        // Each process counts its own.
        let ids: HashMap<(usize, u64), usize> = lock(&stage.ends)
            .iter()
            .map(|(end, info)| ((model.peer_of(*end), info.id), *end))
            .collect();
        for diary in diaries {
            for entry in diary.entries().iter() {
                model.note(diary, entry);
                if let Fact::Happened(Event::Closed { id, reason, .. }) = &entry.fact {
                    if let Some(end) = ids.get(&(diary.peer, *id)) {
                        let seen = (reason.clone(), entry.end, entry.at + entry.took);
                        model.ends[*end].reasons.push(seen);
                    }
                }
            }
        }
        for end in &mut model.ends {
            end.reasons.sort_by_key(|(_, at, _)| *at);
        }
        model
    }

    fn note(&mut self, diary: &Diary, entry: &Entry) {
        let act = Act {
            begin: entry.begin,
            at: entry.at,
        };
        let seen = |reason: &CloseReason| (reason.clone(), entry.end, entry.at + entry.took);
        match (&entry.fact, diary.end) {
            (Fact::Wrong(what), _) => self.wrong.push(format!("{}: {what}", diary.label)),
            (Fact::Stopped(peer), _) => {
                self.stops[*peer].push(act);
                let timeout = self.program.peers[*peer].close_timeout;
                self.gave_up[*peer] |= entry.took >= timeout + Duration::from_secs(1);
            }
            (Fact::Sent(word, result), Some(number)) => {
                let end = &mut self.ends[number];
                match result {
                    Ok(()) => end.sent.push(Sent {
                        word: *word,
                        latest: entry.doing == SEND_LATEST,
                        begin: entry.begin,
                        end: entry.end,
                    }),
                    Err(error) => {
                        end.refused.push((*word, error.clone()));
                        if let SendError::Closed(reason) = error {
                            end.send_reasons.push(seen(reason));
                        }
                        let right = matches!(
                            (entry.doing, error),
                            (_, SendError::Closed(_))
                                | ("try_send", SendError::Full)
                                | ("send_timeout", SendError::Timeout)
                        );
                        if !right {
                            self.wrong
                                .push(format!("{}: {}: {error:?}", diary.label, entry.doing));
                        }
                    }
                }
            }
            (Fact::Flushed(Err(error)), Some(number)) => match error {
                SendError::Closed(reason) => self.ends[number].send_reasons.push(seen(reason)),
                other => self
                    .wrong
                    .push(format!("{}: flush: {other:?}", diary.label)),
            },
            (Fact::Took(word), Some(number)) => {
                let took = Took {
                    word: *word,
                    begin: entry.begin,
                    end: entry.end,
                };
                self.ends[number].took.push(took);
            }
            (Fact::End(reason), Some(number)) => {
                self.ends[number].took_all = true;
                self.ends[number].reasons.extend(reason.as_ref().map(seen));
            }
            (
                Fact::Closed {
                    result,
                    reason,
                    in_handler,
                },
                Some(number),
            ) => {
                let end = &mut self.ends[number];
                end.closes.push(act);
                end.close_results
                    .push((result.clone(), entry.took, *in_handler));
                end.reasons.extend(reason.as_ref().map(seen));
            }
            (Fact::Asked(Ok(())) | Fact::Accepted, Some(number)) => {
                self.ends[number].made = entry.begin;
            }
            (Fact::Lost(_), Some(number)) => self.ends[number].lost = true,
            (Fact::Aborted, Some(number)) => self.ends[number].aborts.push(act),
            (Fact::Panics, Some(number)) => self.ends[number].panics.push(act),
            (Fact::Dropped { open }, Some(number)) if !self.ends[number].handled => {
                self.ends[number].left.push(act);
                if *open {
                    self.ends[number].drops.push(act);
                }
            }
            _ => {}
        }
    }

    fn peer_of(&self, end: usize) -> usize {
        self.program.links[end / 2].peers[end % 2]
    }

    /// Did this end's program take what came until there was no more?
    fn took_to_the_end(&self, end: usize) -> bool {
        let seen = &self.ends[end];
        if seen.handled {
            seen.panics.is_empty()
        } else {
            seen.took_all && seen.drops.is_empty()
        }
    }

    /// Why the connection ended, as this end sees it; `None` for one that has none.
    fn reason(&self, end: usize) -> Option<&CloseReason> {
        self.ends[end].reasons.first().map(|(reason, _, _)| reason)
    }

    fn is_normal(&self, end: usize) -> bool {
        self.reason(end).is_some_and(CloseReason::is_normal)
    }

    /// Did the connection end politely? `stop` is not polite to connections that are made in that
    /// moment, nor to those that it cannot close in time.
    fn is_polite(&self, end: usize) -> bool {
        let forced = self.program.hazards.lazy || self.is_stopped_early(end);
        self.is_normal(end) && !(forced && self.reason(end) == Some(&CloseReason::Stopped))
    }

    fn is_stopped_early(&self, end: usize) -> bool {
        self.stopped_before(self.peer_of(end), self.ends[end].made)
    }
}
