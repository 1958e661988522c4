//! What was delivered, and what the counts say of it.

use std::collections::{HashMap, HashSet};

use super::super::plan::Kind;
use super::super::word::Source;
use super::{Model, Sent};

impl Model<'_> {
    /// What an end took: what the other one sent, each once, in order, with nothing left out.
    pub(super) fn check_delivery(&mut self, to: usize) {
        let from = to ^ 1;
        let mut wrong = Vec::new();
        let sent: HashMap<(Source, u32), &Sent> = self.ends[from]
            .sent
            .iter()
            .map(|sent| ((sent.word.source, sent.word.number), sent))
            .collect();
        let own_broadcasts = Source::Broadcast {
            peer: self.peer_of(from),
        };
        let mut seen = HashSet::new();
        let took = &self.ends[to].took;
        let mut delivered = Vec::new();
        for took in took {
            let key = (took.word.source, took.word.number);
            if !seen.insert(key) {
                wrong.push(format!("delivered twice: {:?}", took.word));
            }
            match sent.get(&key) {
                Some(sent) if sent.word == took.word => {
                    delivered.push((sent.begin, sent.end, *took));
                    if took.end < sent.begin {
                        wrong.push(format!("taken before it was sent: {:?}", took.word));
                    }
                }
                _ if took.word.source == own_broadcasts => {}
                _ => wrong.push(format!(
                    "delivered, but not accepted by send: {:?}",
                    took.word
                )),
            }
        }
        // A message that was accepted before another was offered goes before it.
        for (begin, _, late) in &delivered {
            for (_, end, early) in &delivered {
                if end < begin && late.end < early.begin {
                    let (late, early) = (late.word, early.word);
                    wrong.push(format!("{late:?} overtook {early:?}"));
                }
            }
        }
        let last = delivered.iter().map(|(begin, _, _)| *begin).max();
        for sent in &self.ends[from].sent {
            let key = (sent.word.source, sent.word.number);
            if !seen.contains(&key) && last.is_some_and(|last| sent.end < last) {
                wrong.push(format!("left out: {:?}", sent.word));
            }
        }
        let missing = self.missing(to);
        if missing > 0 && self.must_have_all(to) {
            wrong.push(format!("{missing} messages are lost"));
        }
        self.wrong
            .extend(wrong.into_iter().map(|what| format!("end {to}: {what}")));
    }

    /// Messages that the other end accepted and this one's program did not take.
    pub(super) fn missing(&self, to: usize) -> usize {
        let accepted = self.ends[to ^ 1].sent.iter();
        let took: HashSet<_> = self.ends[to]
            .took
            .iter()
            .map(|took| (took.word.source, took.word.number))
            .collect();
        accepted
            .filter(|sent| !took.contains(&(sent.word.source, sent.word.number)))
            .count()
    }

    fn must_have_all(&self, to: usize) -> bool {
        let from = to ^ 1;
        let closed = self.ends[from]
            .close_results
            .iter()
            .any(|(result, _, _)| result.is_ok());
        let both = self.is_polite(to) && self.is_polite(from);
        let took =
            self.ends[to].exists && self.took_to_the_end(to) && self.ends[to].aborts.is_empty();
        took && (both || (closed && self.is_polite(to)))
    }

    pub(super) fn check_stats(&mut self, number: usize) {
        let mut wrong = Vec::new();
        let end = &self.ends[number];
        let Some(stats) = end.stats else { return };
        let sent = end.sent.len() as u64;
        let perhaps = self.program.peers[self.peer_of(number)].broadcasts as u64;
        if !(sent..=sent + perhaps).contains(&stats.messages_sent) {
            wrong.push(format!(
                "{sent} messages were accepted, stats say {}",
                stats.messages_sent
            ));
        }
        let taken = end.took.len() as u64;
        let exact = self.took_to_the_end(number) && self.is_polite(number);
        if stats.messages_received < taken || (exact && stats.messages_received > taken) {
            let counted = stats.messages_received;
            wrong.push(format!("{taken} messages were taken, stats say {counted}"));
        }
        let bytes = self.program.links[number / 2].kind == Kind::Bytes;
        if bytes && perhaps == 0 {
            let size: usize = end.sent.iter().map(|sent| sent.word.size).sum();
            if stats.bytes_sent != size as u64 {
                wrong.push(format!(
                    "{size} bytes were accepted, stats say {}",
                    stats.bytes_sent
                ));
            }
        }
        let size: usize = end.took.iter().map(|took| took.word.size).sum();
        if bytes && exact && stats.bytes_received != size as u64 {
            wrong.push(format!(
                "{size} bytes were taken, stats say {}",
                stats.bytes_received
            ));
        }
        if stats.send_queue_bytes != 0 {
            wrong.push(format!(
                "{} bytes in the send queue at the end",
                stats.send_queue_bytes
            ));
        }
        if stats.receive_queue_messages != 0 {
            let waiting = stats.receive_queue_messages;
            wrong.push(format!("{waiting} messages in the receive queue of nobody"));
        }
        self.wrong.extend(
            wrong
                .into_iter()
                .map(|what| format!("end {number}: {what}")),
        );
    }
}
