//! Why a connection ends whose bytes are not what they should be.

use std::fmt::Display;

use crate::error::CloseReason;
use crate::proto::frame::FrameError;

// What breaks the rules of a goodbye, in the words of the close reason.

pub(super) const BEHIND: &str = "a message behind the goodbye";
pub(super) const TWICE: &str = "a second goodbye";
pub(super) const TOO_EARLY: &str = "a count of messages before the goodbye";

/// The other side has said, in these words, that it could not take in a message.
pub(super) fn refusal(words: &[u8]) -> CloseReason {
    CloseReason::RefusedThere(clean(&String::from_utf8_lossy(words)))
}

/// Words of a stranger, made safe for logs and terminals: control characters become `?`. The text does
/// not become longer, so its limit still holds.
pub(super) fn clean(words: &str) -> String {
    let plain = |c: char| match c.is_control() {
        true => '?',
        false => c,
    };
    words.chars().map(plain).collect()
}

/// What came breaks the protocol.
pub(crate) fn malformed(what: impl Display) -> CloseReason {
    CloseReason::Malformed(format!("malformed: {what}"))
}

/// The close reason for what a decoder has refused.
pub(super) fn why(error: FrameError) -> CloseReason {
    match error {
        FrameError::TooLarge { size, limit } => CloseReason::TooLarge { size, limit },
        FrameError::DeniedType { expected, got } => CloseReason::DeniedType { expected, got },
        other => malformed(other),
    }
}
