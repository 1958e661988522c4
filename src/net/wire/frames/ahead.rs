//! A `close` inside a handler runs on the connection's reader thread, and so nobody else would read the
//! other side's end. It looks for that end itself, and leaves what comes before it for the handler.

use super::FrameReader;
use crate::error::CloseReason;
use crate::format::DataType;
use crate::net::os::sync::Instant;
use crate::net::wire::reasons::{BEHIND, TOO_EARLY, TWICE, malformed, refusal};
use crate::proto::frame::Step;
use crate::proto::frames::Word;

/// How much one read asks for.
const READ_AHEAD: usize = 64 << 10;

/// What a `close` inside a handler has found behind the messages that it keeps for the handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// FIN.
    Fin,
    /// The other side's word that it took in this many messages.
    Taken(u64),
    /// Something that ends the connection, in frames: nothing behind it will be read.
    Broken(CloseReason),
}

impl FrameReader {
    /// For a `close` inside the handler, which runs on the thread that would read: reads on until the
    /// other side has ended, and keeps all of it, up to `limit` bytes, for the handler. `check` says whether
    /// a message can be taken in, and `said_goodbye` is told how many there are when the other side has
    /// sent its last. Says what was found; `None`: no end before the deadline.
    pub fn read_ahead(
        &mut self,
        deadline: Instant,
        limit: usize,
        check: impl Fn(DataType, &[u8]) -> Result<(), CloseReason>,
        said_goodbye: impl Fn(u64),
    ) -> Option<Ahead> {
        // A clone looks ahead. The decoder itself stays at the message that the handler gets next.
        let mut decoder = self.decoder.clone();
        let mut step = self.step;
        let mut stream_size = self.stream.known();
        let (mut messages, _) = self.received.numbers();
        // The other side's goodbye was seen; its count of our messages may still follow.
        let mut ended = false;
        // How far the look has come in the buffer. What lies before it stays unread.
        let mut at = self.start;
        self.after_large = false;
        loop {
            let input = &self.bytes[at..self.end];
            let need = if !decoder.is_frames() {
                // Only FIN is an end.
                input.len() + READ_AHEAD
            } else {
                let next = match step.take() {
                    Some(step) => step,
                    None => match decoder.next(input, stream_size) {
                        Ok(step) => step,
                        Err(reason) => return Some(Ahead::Broken(reason)),
                    },
                };
                match next {
                    Step::Skip(n) => {
                        at += n;
                        continue;
                    }
                    Step::Message { .. } | Step::Call { .. } if ended => {
                        return Some(Ahead::Broken(malformed(BEHIND)));
                    }
                    Step::Message {
                        skip,
                        size,
                        data_type,
                    }
                    | Step::Call {
                        skip,
                        size,
                        data_type,
                        ..
                    } if skip.saturating_add(size) <= input.len() => {
                        let payload = &input[skip..skip + size];
                        // A request that is no value of the type is answered, and ends nothing.
                        let is_message = matches!(next, Step::Message { .. });
                        match check(data_type, payload) {
                            Err(reason) if is_message => return Some(Ahead::Broken(reason)),
                            _ => {}
                        }
                        at += skip + size;
                        messages += 1;
                        stream_size = stream_size.or(Some(size));
                        continue;
                    }
                    Step::Word { end, word } => {
                        at += end;
                        match word {
                            Word::Taken(taken) if ended => return Some(Ahead::Taken(taken)),
                            Word::Goodbye(taken) if !ended => {
                                ended = true;
                                said_goodbye(messages);
                                if let Some(taken) = taken {
                                    return Some(Ahead::Taken(taken));
                                }
                            }
                            Word::Goodbye(_) => {
                                return Some(Ahead::Broken(malformed(TWICE)));
                            }
                            Word::Taken(_) => {
                                return Some(Ahead::Broken(malformed(TOO_EARLY)));
                            }
                            Word::Failed { .. } if !ended => {}
                            Word::Failed { .. } => {
                                return Some(Ahead::Broken(malformed(BEHIND)));
                            }
                            Word::Refused { skip } => {
                                return Some(Ahead::Broken(refusal(&input[skip..end])));
                            }
                        }
                        continue;
                    }
                    // The beginning of something. A message's head is kept, since the decoder has counted
                    // it. A word is found anew when more of it is here.
                    waits => {
                        let is_message = matches!(waits, Step::Message { .. } | Step::Call { .. });
                        step = is_message.then_some(waits);
                        input.len() + READ_AHEAD
                    }
                }
            };
            // The handler is not called meanwhile, so what it will get has to fit into memory.
            if self.end - self.start >= limit {
                return None;
            }
            // A read may move the buffer's content, so the place is kept relative to `start`.
            let unread = at - self.start;
            let filled = self.fill_until(unread + need, deadline);
            at = self.start + unread;
            match filled? {
                true => {}
                false if decoder.is_frames() => {
                    let is_between = at == self.end;
                    return Some(Ahead::Broken(match is_between {
                        true => CloseReason::Vanished,
                        false => CloseReason::Truncated,
                    }));
                }
                false => return Some(Ahead::Fin),
            }
        }
    }

    /// Reads once, and waits until the deadline. `None`: it came, or the socket met an error.
    fn fill_until(&mut self, need: usize, deadline: Instant) -> Option<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let filled = self.fill_within(need, left);
        let life = self.half.life();
        filled.unwrap_or_else(|reason| {
            if !life.is_over() {
                life.note_fault(reason);
            }
            None
        })
    }
}
