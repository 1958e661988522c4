//! One encoding buffer per thread, used again for each message.

use std::cell::Cell;

use super::{Dialect, Encode, EncodeError, Encoded, Format};

/// A buffer that grew beyond this is given back to the allocator after use.
const KEEP: usize = 1 << 20;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Encodes `item` and hands the bytes to `then`.
///
/// The buffer is taken out of its place meanwhile, so that a `Serialize` that sends messages of its
/// own finds an empty place rather than a borrowed buffer.
pub(crate) fn with_encoded<F: Format, E: From<EncodeError>>(
    item: &(impl Encode<F> + ?Sized),
    dialect: Dialect,
    then: impl FnOnce(Encoded<'_>) -> Result<(), E>,
) -> Result<(), E> {
    if let Some(message) = item.plain() {
        return then(message);
    }
    let mut scratch = SCRATCH.take();
    scratch.clear();
    let result = match item.encode(dialect, &mut scratch) {
        Ok(message) => then(message),
        Err(error) => Err(error.into()),
    };
    if scratch.capacity() <= KEEP {
        SCRATCH.set(scratch);
    }
    result
}
