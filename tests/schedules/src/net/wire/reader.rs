//! What of the reader the queue uses. No program's code runs here.

use crate::error::CloseReason;

pub(crate) fn unless_it_panics<T>(
    run: impl FnOnce() -> Result<T, CloseReason>,
) -> Result<T, CloseReason> {
    run()
}
