//! How much the values of a pickle may become.

use std::cell::Cell;

use super::error::{Error, Result};
use crate::format::Limits;

/// What every value counts, wherever it stands, beside the bytes of a text or of bytes: about what
/// it takes in a tree such as `serde_json::Value`.
pub(super) const VALUE: usize = 32;

/// No pickle exceeds this, for each of its bytes, unless it uses a value in several places: a value
/// takes at least a byte, and a character of a text too.
const UNSHARED: usize = VALUE + 1;

/// What is left for the values that are still to come. Every visit of a value is paid for, so that a
/// value in ten places is paid for ten times, as it will be there ten times.
pub(super) struct Budget {
    left: Cell<usize>,
    whole: usize,
    unshared: usize,
    payload: usize,
    pub depth: usize,
}

impl Budget {
    pub fn new(payload: usize, limits: Limits) -> Budget {
        let unshared = payload.saturating_mul(UNSHARED);
        let whole = limits.expansion.max(unshared);
        Budget {
            left: Cell::new(whole),
            whole,
            unshared,
            payload,
            depth: limits.depth,
        }
    }

    pub fn pay(&self, cost: usize) -> Result<()> {
        match self.left.get().checked_sub(cost) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(Error::new(format_args!(
                "a pickle of {} bytes whose values, each in several places, become more than {}",
                self.payload, self.whole
            ))),
        }
    }

    /// What the value counts in a queue: its payload, as with the other formats; but what it became
    /// where that is more than any pickle becomes that repeats nothing.
    pub fn counts_as(&self) -> usize {
        let spent = self.whole - self.left.get();
        if spent > self.unshared {
            spent
        } else {
            self.payload
        }
    }
}
