//! Finds the messages in bytes, in text or in frames.

use super::reasons::why;
use crate::error::CloseReason;
use crate::format::{DataType, Dialect};
use crate::proto::frame::{Decoder, Rules, Step};
use crate::proto::frames::FrameDecoder;
use crate::proto::header::HEADER_LEN;

/// Finds the messages in bytes, as the two sides have agreed to write them.
#[derive(Clone)]
pub(super) enum Decoding {
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

    pub fn next(&mut self, input: &[u8], stream_size: Option<usize>) -> Result<Step, CloseReason> {
        let step = match self {
            Decoding::Text(decoder) => decoder.next(input, stream_size),
            Decoding::Frames(decoder) => decoder.next(input, stream_size),
        };
        step.map_err(why)
    }

    /// The head, the size and the type of the message that `input` begins with, where that can be
    /// told in an instant.
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

    pub fn take_as_frame(&mut self) {
        if let Decoding::Text(decoder) = self {
            decoder.take_as_frame();
        }
    }

    pub fn is_frames(&self) -> bool {
        matches!(self, Decoding::Frames(_))
    }
}
