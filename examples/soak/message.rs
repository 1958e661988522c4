//! The messages: what they say of themselves, and what a receiver finds out about them.
//!
//! `session · flags and direction · number · checksum`, 8 bytes each, and random bytes.

use std::collections::BTreeSet;

use super::dice::Dice;

const HEAD: usize = 32;

/// The connection goes through a relay.
pub const RELAYED: u64 = 2;
/// From the side that was asked to the one that asked.
pub const BACKWARDS: u64 = 1;

/// Writes a message of so many random bytes into `buffer`.
pub fn write(buffer: &mut Vec<u8>, session: u64, flags: u64, number: u64, size: usize) {
    buffer.clear();
    for word in [session, flags, number, 0] {
        buffer.extend_from_slice(&word.to_le_bytes());
    }
    let mut dice = Dice::new(session ^ (number << 20) ^ flags);
    while buffer.len() < HEAD + size {
        buffer.extend_from_slice(&dice.next().to_le_bytes());
    }
    buffer.truncate(HEAD + size);
    let sum = checksum(buffer).to_le_bytes();
    buffer[24..32].copy_from_slice(&sum);
}

/// Session, flags and number of a message; `None` if it is not as it was sent.
pub fn read(message: &[u8]) -> Option<(u64, u64, u64)> {
    let word = |at: usize| {
        let bytes = message.get(at..at + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    let (head, sum) = ((word(0)?, word(8)?, word(16)?), word(24)?);
    (sum == checksum(message)).then_some(head)
}

/// Of everything except the checksum itself.
fn checksum(message: &[u8]) -> u64 {
    let mut sum = message.len() as u64;
    for part in [&message[..24], &message[HEAD..]] {
        for bytes in part.chunks(8) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            sum =
                (sum.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        }
    }
    sum ^ (sum >> 32)
}

/// What one direction of a connection delivers, in order: 0, 1, 2, …
#[derive(Default)]
pub struct Arrived {
    next: u64,
    gaps: BTreeSet<u64>,
    pub received: u64,
    pub altered: u64,
    pub doubled: u64,
    pub reordered: u64,
}

impl Arrived {
    pub fn take(&mut self, message: &[u8], session: u64, flags: u64) {
        let number = match read(message) {
            Some((s, f, number)) if (s, f) == (session, flags) => number,
            _ => {
                self.altered += 1;
                return;
            }
        };
        if number >= self.next {
            // A gap of millions would be a finding in itself: no need to remember all of it.
            self.gaps.extend((self.next..number).take(1000));
            self.next = number + 1;
        } else if self.gaps.remove(&number) {
            self.reordered += 1;
        } else {
            self.doubled += 1;
            return;
        }
        self.received += 1;
    }

    /// Messages that others overtook and that never came.
    pub fn missing(&self) -> u64 {
        self.gaps.len() as u64
    }
}
