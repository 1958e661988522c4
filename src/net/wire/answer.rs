//! What follows the other side's goodbye, where it speaks frames: its answer to ours.

use super::half::ReadHalf;
use super::reasons::{BEHIND, TWICE, malformed, refusal, why};
use crate::error::CloseReason;
use crate::net::os::socket::is_pause;
use crate::net::os::sync::Instant;
use crate::proto::frame::{FrameError, Rules, Step};
use crate::proto::frames::{FrameDecoder, Word};

/// Reads what follows the other side's goodbye, until the deadline: its count of the messages that it
/// took in. `None`: FIN or the deadline came first. `Err`: what came breaks the protocol or refuses a
/// message, or the connection broke.
///
/// The reader thread calls this, as its last read: no other thread reads the socket at this point.
pub(crate) fn read_answer(
    half: &ReadHalf,
    rules: Rules,
    headless: bool,
    deadline: Instant,
) -> Result<Option<u64>, CloseReason> {
    // The read that brought the goodbye may have brought its beginning too.
    let mut bytes = half.take_rest();
    // A stream sends no message behind its goodbye, so any size will do for the decoder.
    let mut decoder = FrameDecoder::new(rules, headless);
    // The answer is one short frame. A side that sends more breaks the protocol, so nothing is gained by a
    // larger buffer.
    let mut chunk = [0; 512];
    loop {
        let step = match decoder.next(&bytes, rules.streaming.then_some(1)) {
            Ok(step) => step,
            Err(FrameError::Frame(fault)) => return Err(why(FrameError::Frame(fault))),
            // Any message here is one too many, whatever else is wrong with it.
            Err(_) => return Err(malformed(BEHIND)),
        };
        match step {
            Step::Need(_) => {}
            // Passed over: it says nothing about messages.
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
        // The end may never come: the other side's system keeps the connection up even while its process
        // hangs. So each read ends at the deadline.
        let _ = socket.set_read_timeout(Some(left));
        match half.read(&socket, &mut chunk) {
            Ok(0) => {
                half.end_of_input(&socket)?;
                // FIN in the middle of a frame is no goodbye, but a connection that was cut.
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
