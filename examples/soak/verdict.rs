//! What became of each message, from the two sides of each connection.
//!
//! Demanded is:
//!
//! - Nothing arrives altered, twice, out of order, or with a gap before it.
//! - Where a side's `close` said Ok, everything that it had sent has arrived.
//! - Where a side's end was `ClosedThere`, everything that the other had sent has arrived.
//!
//! A process that was killed could be told nothing, and can tell nothing: what it had in hand, sent
//! or received, is counted apart.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::ledger::{Field, Record, end, reason};
use super::message::{BACKWARDS, RELAYED};

#[derive(Debug, Default)]
pub struct Verdict {
    /// Connections over which something was sent or could have been.
    pub connections: u64,
    pub relayed: u64,
    pub sent: u64,
    pub delivered: u64,
    pub lost: Lost,
    pub altered: u64,
    pub doubled: u64,
    pub reordered: u64,
    pub missing: u64,
    /// What was wrong, for the first few.
    pub findings: Vec<String>,
}

/// Sent and not delivered, by who was told.
#[derive(Debug, Default)]
pub struct Lost {
    /// The sender: `close` was an error.
    pub told_sender: u64,
    /// The receiver, by its close reason; the sender had dropped its handle, or a relay that was
    /// cut had acknowledged them.
    pub told_receiver: u64,
    /// The receiving program dropped its handle and did not take them from its queue.
    pub left: u64,
    /// The process that had sent them was killed.
    pub with_sender: u64,
    /// The process that had received them was killed.
    pub with_receiver: u64,
    /// Nobody.
    pub silent: u64,
}

impl Lost {
    fn all(&self) -> u64 {
        self.told_sender
            + self.told_receiver
            + self.left
            + self.with_sender
            + self.with_receiver
            + self.silent
    }
}

impl Verdict {
    /// `killed` are the processes that could not finish their ledgers.
    pub fn of(records: impl IntoIterator<Item = Record>, killed: &HashSet<u64>) -> Verdict {
        let mut verdict = Verdict::default();
        let mut connections: HashMap<u64, [Option<Record>; 2]> = HashMap::new();
        for record in records {
            let side = (record.get(Field::Flags) & BACKWARDS) as usize;
            let sides = connections.entry(record.get(Field::Session)).or_default();
            if sides[side].replace(record).is_some() {
                verdict.find(&record, "a number that two connections have");
            }
        }
        verdict.connections = connections.len() as u64;
        for sides in connections.values() {
            let Some(asker) = sides[0] else {
                verdict.find(
                    &sides[1].unwrap_or_default(),
                    "a connection that nobody asked for",
                );
                continue;
            };
            verdict.relayed += u64::from(asker.get(Field::Flags) & RELAYED != 0);
            // The side that was asked is written down when its first message has come.
            let there = !killed.contains(&asker.get(Field::Partner));
            let asked = sides[1].unwrap_or_else(|| {
                let mut nothing = Record::default();
                nothing.0[Field::Reason as usize] = if there { reason::NEVER_BEGAN } else { 0 };
                nothing
            });
            verdict.direction(&asker, &asked);
            verdict.direction(&asked, &asker);
        }
        verdict
    }

    fn direction(&mut self, from: &Record, to: &Record) {
        let received = to.get(Field::Received);
        // One that was killed has perhaps not written down its last.
        let sent = from.get(Field::Sent).max(received);
        self.sent += sent;
        self.delivered += received;
        for (count, field, what) in [
            (&mut self.altered, Field::Altered, "altered"),
            (&mut self.doubled, Field::Doubled, "doubled"),
            (&mut self.reordered, Field::Reordered, "reordered"),
            (&mut self.missing, Field::Missing, "missing"),
        ] {
            *count += to.get(field);
            if to.get(field) > 0 && self.findings.len() < 10 {
                self.findings.push(format!("{what}: {:?}", to.0));
            }
        }
        let silent_before = self.lost.silent;
        let lost = sent - received;
        if lost == 0 {
            return;
        }
        let count = &mut self.lost;
        let (sender, receiver) = (from.get(Field::End), to.get(Field::Reason));
        let count = match (sender, receiver) {
            (0, _) => &mut count.with_sender,
            // A dropped handle closes in the background, for as long as the process lives.
            (end::DROPPED, _) if from.get(Field::Killed) == 1 => &mut count.with_sender,
            (_, reason::CLOSED_THERE) => &mut count.silent,
            (end::ERROR, _) => &mut count.told_sender,
            (_, 0) => &mut count.with_receiver,
            (_, reason::DROPPED) => &mut count.left,
            // It had closed before.
            (_, reason::ABORTED | reason::STOPPED_AND_ABORTED)
                if from.get(Field::Reason) == reason::CLOSED_THERE =>
            {
                &mut count.left
            }
            (end::DROPPED, _) => &mut count.told_receiver,
            _ => &mut count.silent,
        };
        *count += lost;
        if self.lost.silent > silent_before {
            self.find(
                from,
                &format!(
                    "{lost} lost, and nobody was told; the other side: {:?}",
                    to.0
                ),
            );
        }
    }

    fn find(&mut self, record: &Record, what: &str) {
        if self.findings.len() < 10 {
            self.findings.push(format!("{what}: {:?}", record.0));
        }
    }

    pub fn holds(&self) -> bool {
        self.findings.is_empty()
            && self.delivered > 0
            && self.lost.silent + self.altered + self.doubled + self.reordered + self.missing == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lost {
            told_sender,
            told_receiver,
            left,
            with_sender,
            with_receiver,
            silent,
        } = self.lost;
        writeln!(
            f,
            "connections {:>12}, {} of them through a relay that was cut or meant to be",
            self.connections, self.relayed
        )?;
        writeln!(f, "sent        {:>12}", self.sent)?;
        writeln!(f, "delivered   {:>12}", self.delivered)?;
        writeln!(f, "lost        {:>12}", self.lost.all())?;
        writeln!(f, "  {told_sender:>12}  and close told the sender")?;
        writeln!(
            f,
            "  {told_receiver:>12}  and the close reason told the receiver, the sender having let go"
        )?;
        writeln!(
            f,
            "  {left:>12}  taken in, and left in the queue by a program that let go"
        )?;
        writeln!(f, "  {with_sender:>12}  with a sender that was killed")?;
        writeln!(
            f,
            "  {with_receiver:>12}  taken in, with a receiver that was killed"
        )?;
        writeln!(f, "  {silent:>12}  silently")?;
        write!(
            f,
            "doubled {}, altered {}, reordered {}, missing {}",
            self.doubled, self.altered, self.reordered, self.missing
        )?;
        for finding in &self.findings {
            write!(f, "\nFOUND {finding}")?;
        }
        Ok(())
    }
}
