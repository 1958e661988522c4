//! `raw` towards a peer that is not a lanpeer: Python's pickle, of plain data only.
//!
//! A pickle is a program for a small stack machine, which may name any function of Python and call
//! it. What is here runs the part of it that builds plain data and looks nothing up.
//!
//! ```text
//! bytes ─ read ─▶ arena: values that refer to each other ─ de ─▶ the program's type
//!        one pass, no recursion; a value that stands       each place is a visit: depth and
//!        in many places is there once                      expanded size are bounded here
//! ```
//!
//! Reading takes at most [`ARENA_PER_BYTE`] bytes of memory for each byte of the pickle, and time in
//! proportion to it. What the values then become is bounded by [`Limits`].

mod arena;
mod budget;
mod calls;
mod containers;
mod de;
mod error;
mod input;
mod lines;
mod opcode;
mod read;
mod ser;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(test)]
use super::MAX_DEPTH;
use super::{DataType, DecodeError, EncodeError, Limits};
use budget::Budget;

/// What the arena, the stack, the marks and the memo take at most. A byte of a pickle is at most one
/// value (16 bytes), which stands once on the stack (4) and once in a container (8); or it is a mark,
/// or an entry of the memo (4). While the values are moved to grow, half of them are there twice.
#[cfg(any(test, fuzzing))]
const ARENA_PER_BYTE: usize = 40;

/// What reading this pickle reserves, and the most that it may, in bytes.
#[cfg(any(test, fuzzing))]
pub(crate) fn reserved(pickle: &[u8]) -> (usize, usize) {
    /// What is reserved for the first values, however few there are.
    const FIRST: usize = 1024;
    (read::memory(pickle), pickle.len() * ARENA_PER_BYTE + FIRST)
}

/// Writes a pickle that every Python since 3.4 reads (protocol 4).
pub(super) fn encode<Q: Serialize + ?Sized>(
    item: &Q,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    ser::write(item, out).map_err(|error| EncodeError::new(DataType::Raw, error))
}

/// Reads a pickle of any protocol, 0 to 5. Gives also how large the value counts in a queue: more
/// than the payload where it repeats values.
pub(super) fn decode<T: DeserializeOwned>(
    payload: &[u8],
    limits: Limits,
) -> Result<(T, usize), DecodeError> {
    let failed = |error| DecodeError::new(DataType::Raw, error);
    let (arena, root) = read::read(payload).map_err(failed)?;
    let budget = Budget::new(payload.len(), limits);
    let value = de::value(&arena, root, &budget).map_err(failed)?;
    Ok((value, budget.counts_as()))
}
