//! What was delivered, and what the counts say of it.

use std::collections::{HashMap, HashSet};

use super::super::plan::Kind;
use super::super::word::Source;
use super::{Model, Sent};

impl Model<'_> {
    /// What an end took: what the other one sent, each once, in order, with nothing left out but what may
    /// have been replaced.
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
        let kept = |sent: &&Sent| !self.ends[to].latest && !sent.latest;
        for sent in self.ends[from].sent.iter().filter(kept) {
            let key = (sent.word.source, sent.word.number);
            if !seen.contains(&key) && last.is_some_and(|last| sent.end < last) {
                wrong.push(format!("left out: {:?}", sent.word));
            }
        }
        if self.must_have_all(to) {
            let untaken = |sent: &&Sent| !seen.contains(&(sent.word.source, sent.word.number));
            let lost = self.ends[from].sent.iter().filter(untaken);
            let lost = lost.filter(|sent| !self.may_be_replaced(to, sent)).count();
            if lost > 0 {
                wrong.push(format!("{lost} messages are lost"));
            }
            let newest = self.perhaps_newest(to);
            if !newest.is_empty() && newest.iter().all(untaken) {
                wrong.push(format!("the newest is lost, which is one of {newest:?}"));
            }
            wrong.extend(self.count_of_both(to));
        }
        self.wrong
            .extend(wrong.into_iter().map(|what| format!("end {to}: {what}")));
    }

    /// Was another one sent that may have come behind this one, and have taken its place: on its way out,
    /// or where it waited for the program?
    fn may_be_replaced(&self, to: usize, sent: &Sent) -> bool {
        let from = to ^ 1;
        let mut later = self.ends[from].sent.iter().filter(|other| {
            let is_other = other.word != sent.word;
            is_other && other.end > sent.begin
        });
        match self.ends[to].latest {
            true => later.next().is_some() || self.has_broadcasts(from),
            false => sent.latest && later.any(|other| other.latest),
        }
    }

    /// Those of which one was the last, and so was not replaced.
    fn perhaps_newest(&self, to: usize) -> Vec<&Sent> {
        let from = to ^ 1;
        if self.ends[to].latest && self.has_broadcasts(from) {
            return Vec::new();
        }
        let all = || {
            let counts = |sent: &&Sent| self.ends[to].latest || sent.latest;
            self.ends[from].sent.iter().filter(counts)
        };
        let last = all().map(|sent| sent.begin).max().unwrap_or(0);
        all().filter(|sent| sent.end >= last).collect()
    }

    fn has_broadcasts(&self, end: usize) -> bool {
        self.program.peers[self.peer_of(end)].broadcasts > 0
    }

    /// What leaves on one side comes on the other.
    fn count_of_both(&self, to: usize) -> Option<String> {
        let (to, from) = (self.ends[to].stats?, self.ends[to ^ 1].stats?);
        let (sent, received) = (from.messages_sent, to.messages_received);
        (sent != received).then(|| format!("{sent} messages have left, {received} have come"))
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
        let end = &self.ends[to];
        let took = end.exists && self.took_to_the_end(to) && end.aborts.is_empty();
        // At the deadline of another close a handler is called no more, though it has closed and read what
        // came before. Only lazy programs have deadlines that come.
        let mut closes = end.close_results.iter();
        let is_cut_short =
            self.program.hazards.lazy && closes.any(|(_, _, in_handler)| *in_handler);
        took && !is_cut_short && (both || (closed && self.is_polite(to)))
    }

    pub(super) fn check_stats(&mut self, number: usize) {
        let mut wrong = Vec::new();
        let end = &self.ends[number];
        let Some(stats) = end.stats else { return };
        let sent = end.sent.len() as u64;
        let perhaps = self.program.peers[self.peer_of(number)].broadcasts as u64;
        let (left, replaced) = (stats.messages_sent, stats.send_replaced);
        if !(sent..=sent + perhaps).contains(&(left + replaced)) {
            wrong.push(format!(
                "{sent} messages were accepted, stats say {left} and {replaced} replaced"
            ));
        }
        // The last one never is.
        let replaceable = end.sent.iter().filter(|sent| sent.latest).count() as u64;
        if replaced > replaceable.saturating_sub(1) {
            wrong.push(format!("{replaced} of {replaceable} were replaced"));
        }
        let taken = end.took.len() as u64;
        let exact = self.took_to_the_end(number) && self.is_polite(number);
        let (came, missed) = (stats.messages_received, stats.receive_replaced);
        if came < taken + missed || (exact && came > taken + missed) {
            wrong.push(format!(
                "{taken} messages were taken, stats say that {came} came and {missed} were replaced"
            ));
        }
        if missed > 0 && !end.latest {
            wrong.push(format!("{missed} messages were replaced that have come"));
        }
        let bytes = self.program.links[number / 2].kind == Kind::Bytes;
        if bytes && perhaps == 0 {
            let size: usize = end.sent.iter().map(|sent| sent.word.size).sum();
            let size = size as u64;
            if stats.bytes_sent > size || (replaced == 0 && stats.bytes_sent < size) {
                wrong.push(format!(
                    "{size} bytes were accepted, stats say {}",
                    stats.bytes_sent
                ));
            }
        }
        let size: usize = end.took.iter().map(|took| took.word.size).sum();
        let size = size as u64;
        let counted = stats.bytes_received;
        if bytes && exact && (counted < size || (missed == 0 && counted > size)) {
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
