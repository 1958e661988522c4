//! Finds the messages in bytes, in text or in frames. One connection uses one of the two for its whole
//! life, as its handshake agreed.

use super::reasons::why;
use crate::error::CloseReason;
use crate::format::{DataType, Dialect};
use crate::proto::frame::{Decoder, Rules, Step};
use crate::proto::frames::FrameDecoder;
use crate::proto::header::HEADER_LEN;

/// Finds the messages in bytes, as the two sides have agreed to write them. It belongs to whoever reads
/// the socket, so it needs no lock. Its clone looks ahead, for a `close` inside a handler.
#[derive(Clone)]
pub(super) enum Decoding {
    /// Boxed, since it is much larger than the other and the rarer one.
    Text(Box<Decoder>),
    Frames(FrameDecoder),
}

impl Decoding {
    pub fn new(rules: Rules, dialect: Dialect, named: bool) -> Decoding {
        match dialect {
            Dialect::Frames => Decoding::Frames(FrameDecoder::new(rules, named)),
            Dialect::Headers | Dialect::Peerpy => {
                Decoding::Text(Box::new(Decoder::new(rules, named)))
            }
        }
    }

    /// What `input` begins with, and how much more it takes to know. `stream_size`: of the stream's
    /// messages, if the connection is a stream and its size is known.
    pub fn next(&mut self, input: &[u8], stream_size: Option<usize>) -> Result<Step, CloseReason> {
        let step = match self {
            Decoding::Text(decoder) => decoder.next(input, stream_size),
            Decoding::Frames(decoder) => decoder.next(input, stream_size),
        };
        step.map_err(why)
    }

    /// The head's length, the payload's size and the type of the message that `input` begins with, if no
    /// state has to be looked at or changed. `None`: call [`next`](Decoding::next), which knows every case.
    #[inline]
    pub fn at_once(&self, input: &[u8]) -> Option<(usize, usize, DataType)> {
        match self {
            Decoding::Frames(decoder) => {
                let (head, size) = decoder.at_once(input)?;
                Some((head, size, decoder.data_type()))
            }
            Decoding::Text(decoder) => {
                let (size, data_type) = decoder.same_again(input)?;
                Some((HEADER_LEN, size, data_type))
            }
        }
    }

    /// Goes through the messages that `input` begins with, as long as they are whole,
    /// [`at_once`](Decoding::at_once) can tell them, and `wanted` says yes. `wanted` gets the head's length
    /// and the payload's size of each. Returns how many bytes they take.
    #[inline]
    pub fn each_at_once(&self, input: &[u8], wanted: impl FnMut(usize, usize) -> bool) -> usize {
        // The kind of decoder is asked for once, and not for each message.
        match self {
            Decoding::Frames(decoder) => go_through(input, |rest| decoder.at_once(rest), wanted),
            Decoding::Text(decoder) => {
                let head_and_size = |rest: &[u8]| {
                    let (size, _) = decoder.same_again(rest)?;
                    Some((HEADER_LEN, size))
                };
                go_through(input, head_and_size, wanted)
            }
        }
    }

    /// Within how many milliseconds the other side wants a heartbeat, if it has just asked for one.
    pub fn take_wanted(&mut self) -> Option<u64> {
        match self {
            Decoding::Frames(decoder) => decoder.take_wanted(),
            Decoding::Text(_) => None,
        }
    }

    /// Was a heartbeat skipped?
    pub fn take_beat(&mut self) -> bool {
        match self {
            Decoding::Frames(decoder) => decoder.take_beat(),
            Decoding::Text(_) => false,
        }
    }

    /// Silence has told that an ambiguous beginning was a short message and no keepalive. Only text has
    /// that question.
    pub fn take_as_frame(&mut self) {
        if let Decoding::Text(decoder) = self {
            decoder.take_as_frame();
        }
    }

    pub fn is_frames(&self) -> bool {
        matches!(self, Decoding::Frames(_))
    }
}

/// For [`each_at_once`](Decoding::each_at_once); `at_once` gives the head and the size of the next.
#[inline]
fn go_through(
    input: &[u8],
    at_once: impl Fn(&[u8]) -> Option<(usize, usize)>,
    mut wanted: impl FnMut(usize, usize) -> bool,
) -> usize {
    let mut at = 0;
    while let Some((head, size)) = at_once(&input[at..]) {
        let end = at + head + size;
        if end > input.len() || !wanted(head, size) {
            break;
        }
        at = end;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::frames::Head;
    use crate::proto::header::data_header;

    const LARGEST: usize = 20_000;

    fn decoding(dialect: Dialect) -> Decoding {
        let rules = Rules {
            data_type: DataType::Bytes,
            strict: true,
            streaming: false,
            max_size: LARGEST,
            lanpeer: true,
        };
        Decoding::new(rules, dialect, false)
    }

    /// Messages of these sizes.
    fn written(dialect: Dialect, sizes: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &size in sizes {
            match dialect {
                Dialect::Frames => bytes.extend_from_slice(Head::of(size).bytes()),
                _ => bytes.extend_from_slice(&data_header(size, DataType::Bytes)),
            }
            bytes.resize(bytes.len() + size, 7);
        }
        bytes
    }

    proptest! {
        /// Whatever is found at a glance is what the long way finds, wherever the input is cut.
        #[test]
        fn many_at_once_are_what_they_are_one_by_one(
            frames in any::<bool>(),
            sizes in prop::collection::vec(1..300usize, 1..20),
            cut in any::<prop::sample::Index>(),
            most in 0..20usize,
        ) {
            let dialect = if frames { Dialect::Frames } else { Dialect::Headers };
            let all = written(dialect, &sizes);
            let input = &all[..cut.index(all.len() + 1)];
            let mut decoding = decoding(dialect);
            let mut at = 0;
            let mut found = Vec::new();
            // In text the first of a size is found by the long way, which then knows its header.
            while let Ok(Step::Message { skip, size, .. }) = decoding.next(&input[at..], None) {
                if at + skip + size > input.len() {
                    break;
                }
                found.push(size);
                at += skip + size;
                let mut at_once = Vec::new();
                let used = decoding.each_at_once(&input[at..], |head, size| {
                    let is_wanted = at_once.len() < most;
                    if is_wanted {
                        at_once.push((head, size));
                    }
                    is_wanted
                });
                prop_assert!(at_once.len() <= most);
                prop_assert_eq!(used, at_once.iter().map(|(head, size)| head + size).sum::<usize>());
                if most > 0 && frames && at < input.len() {
                    let next = sizes[found.len()];
                    let is_whole = at + Head::of(next).bytes().len() + next <= input.len();
                    prop_assert_eq!(!at_once.is_empty(), is_whole);
                }
                found.extend(at_once.iter().map(|(_, size)| size));
                at += used;
            }
            prop_assert_eq!(&found[..], &sizes[..found.len()]);
            let head = |size| if frames { Head::of(size).bytes().len() } else { HEADER_LEN };
            let whole = found.iter().map(|&size| head(size) + size).sum::<usize>();
            prop_assert_eq!(at, whole);
            if let Some(&next) = sizes.get(found.len()) {
                prop_assert!(at + head(next) + next > input.len(), "one is whole and not found");
            }
        }
    }
}
