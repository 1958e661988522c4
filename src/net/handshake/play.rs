//! Plays the other side of a machine, for tests.

use std::collections::VecDeque;

use super::{Gate, Input, Machine, Step};
use crate::proto::header::HEADER_LEN;

/// A machine and what it has asked for.
pub(super) struct Play<M: Machine> {
    machine: M,
    step: Option<Step<M::Outcome>>,
    /// What the machine has written.
    pub written: Vec<u8>,
    pub outcome: Option<M::Outcome>,
    /// Where it has asked whether it may go on.
    pub gates: Vec<Gate>,
    /// Where it may not.
    pub shut: Option<Gate>,
}

impl<M: Machine> Play<M> {
    pub fn new(machine: M) -> Play<M> {
        let mut play = Play {
            machine,
            step: None,
            written: Vec::new(),
            outcome: None,
            gates: Vec::new(),
            shut: None,
        };
        play.input(Input::Bytes(&[]));
        play
    }

    /// Gives the machine this, and writes what it wants to write.
    pub fn input(&mut self, input: Input<'_>) {
        let mut step = self.machine.take(input);
        loop {
            step = match step {
                Step::Write(bytes) => {
                    self.written.extend(bytes);
                    self.machine.take(Input::Written)
                }
                Step::Pass(gate) => {
                    self.gates.push(gate);
                    self.machine.take(Input::Passed(self.shut != Some(gate)))
                }
                _ => break,
            };
        }
        match step {
            Step::Over(outcome) => (self.step, self.outcome) = (None, Some(outcome)),
            step => self.step = Some(step),
        }
    }

    /// How many bytes are asked for, and whether a silence is to be told.
    pub fn reads(&self) -> Option<(usize, bool)> {
        match self.step {
            Some(Step::Read { most, silence }) => Some((most, silence)),
            _ => None,
        }
    }

    /// Gives these bytes in pieces of this size, and takes away those that the machine has taken.
    pub fn feed(&mut self, bytes: &mut VecDeque<u8>, size: usize) {
        while let (Some((most, _)), false) = (self.reads(), bytes.is_empty()) {
            assert!((1..=HEADER_LEN).contains(&most), "{most} bytes at once");
            let len = size.clamp(1, most).min(bytes.len());
            let piece: Vec<u8> = bytes.drain(..len).collect();
            self.input(Input::Bytes(&piece));
        }
    }

    /// The outcome after all of these bytes, and those that were left.
    pub fn all(mut self, bytes: &[u8], size: usize) -> (Option<M::Outcome>, Vec<u8>) {
        let mut bytes = bytes.iter().copied().collect();
        self.feed(&mut bytes, size);
        (self.outcome, bytes.into())
    }

    /// The outcome after these bytes and this.
    pub fn then(mut self, bytes: &[u8], input: Input<'_>) -> Option<M::Outcome> {
        self.feed(&mut bytes.iter().copied().collect(), HEADER_LEN);
        self.input(input);
        self.outcome
    }
}

pub(super) fn padded(text: &str) -> Vec<u8> {
    format!("{text:|<HEADER_LEN$}").into_bytes()
}
