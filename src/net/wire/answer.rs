//! What follows the other side's goodbye, where it speaks frames: its answer to ours.

use super::half::ReadHalf;
use super::reasons::{BEHIND, TWICE, malformed, refusal, why};
use crate::error::CloseReason;
use crate::net::os::socket::is_pause;
use crate::net::os::sync::Instant;
use crate::proto::frame::{FrameError, Rules, Step};
use crate::proto::frames::{FrameDecoder, Word};

/// Reads what follows the other side's goodbye, until the deadline: its word how many messages it
/// took in. `None`: FIN came, or the time is over, without that. `Err`: what came breaks the protocol,
/// or says that a message was refused, or the connection has broken.
pub(crate) fn read_answer(
    half: &ReadHalf,
    rules: Rules,
    headless: bool,
    deadline: Instant,
) -> Result<Option<u64>, CloseReason> {
    // What was read together with the goodbye.
    let mut bytes = half.take_rest();
    // A stream has no message here any more, so that its size does not matter.
    let mut decoder = FrameDecoder::new(rules, headless);
    let mut chunk = [0; 512];
    loop {
        let step = match decoder.next(&bytes, rules.streaming.then_some(1)) {
            Ok(step) => step,
            Err(FrameError::Frame(fault)) => return Err(why(FrameError::Frame(fault))),
            // What else is wrong with a message does not matter.
            Err(_) => return Err(malformed(BEHIND)),
        };
        match step {
            Step::Need(_) => {}
            Step::Skip(n) => {
                bytes.drain(..n);
                continue;
            }
            Step::Word {
                word: Word::Taken(taken),
                ..
            } => return Ok(Some(taken)),
            Step::Word {
                end,
                word: Word::Refused { skip },
            } => return Err(refusal(&bytes[skip..end])),
            Step::Word {
                word: Word::Goodbye(_),
                ..
            } => return Err(malformed(TWICE)),
            Step::Message { .. }
            | Step::Call { .. }
            | Step::Ambiguous
            | Step::Word {
                word: Word::Failed { .. },
                ..
            } => {
                return Err(malformed(BEHIND));
            }
        }
        let Ok(socket) = half.socket() else {
            return Ok(None);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        // Its end may never come: the other side's system answers for a process that does not.
        let _ = socket.set_read_timeout(Some(left));
        match half.read(&socket, &mut chunk) {
            Ok(0) => {
                half.end_of_input(&socket)?;
                return match bytes.is_empty() {
                    true => Ok(None),
                    false => Err(CloseReason::Truncated),
                };
            }
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            Err(error) if is_pause(&error) => {}
            Err(error) => return Err(half.why_unread(&socket, &error)),
        }
    }
}
