//! What follows the handshake, as a function of bytes: where the next message lies, or what to skip.
//! This is the text protocol; between two lanpeers that speak frames, [`frames`](super::frames) comes
//! to the same steps.
//!
//! The decoder sees the unread bytes and says what to do with them; it never holds any itself.
//! Incomplete input is [`Step::Need`] and consumes nothing. A size is checked against the limit
//! before anyone reserves memory for it.

use std::fmt;

use super::data_type::DataType;
use super::frames::{Call, Fault, Word};
use super::header::{Between, HEADER_LEN, HeaderError, PING};

/// What the unread bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing can be said before this many bytes are there.
    Need(usize),
    /// This many bytes are no message: drop them.
    Skip(usize),
    /// A message: `skip` bytes of header (0 in a stream), then `size` bytes of payload.
    Message {
        skip: usize,
        size: usize,
        data_type: DataType,
    },
    /// A whole payload is there, but it may also be the start of a keepalive. If nothing more comes
    /// at once it is the payload: then call [`Decoder::take_as_frame`].
    Ambiguous,
    /// A request or a reply: as a message.
    Call {
        skip: usize,
        size: usize,
        data_type: DataType,
        call: Call,
    },
    /// A frame that is no message, whole, and its last byte.
    Word { end: usize, word: Word },
}

/// Why the bytes end the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    Header(HeaderError),
    TooLarge { size: u64, limit: usize },
    DeniedType { expected: DataType, got: DataType },
    Empty(DataType),
    StreamSize { size: u64, stream: usize },
    StreamStart,
    Frame(Fault),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(error) => error.fmt(f),
            Self::TooLarge { size, limit } => {
                write!(f, "a message of {size} bytes, the limit is {limit}")
            }
            Self::DeniedType { expected, got } => {
                write!(f, "a {got} message on a strict {expected} connection")
            }
            Self::Empty(data_type) => write!(f, "a {data_type} message of 0 bytes"),
            Self::StreamSize { size, stream } => {
                write!(f, "a message of {size} bytes in a stream of {stream} bytes")
            }
            Self::StreamStart => f.write_str("a stream that does not start with a DATA header"),
            Self::Frame(fault) => fault.fmt(f),
        }
    }
}

impl From<HeaderError> for FrameError {
    fn from(error: HeaderError) -> FrameError {
        FrameError::Header(error)
    }
}

/// What the handshake agreed on, as far as reading is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub data_type: DataType,
    pub strict: bool,
    pub streaming: bool,
    /// Both sides are lanpeers.
    pub lanpeer: bool,
    pub max_size: usize,
}

impl Rules {
    /// Is a message of this size and type allowed here?
    pub fn admit(&self, size: u64, data_type: DataType) -> Result<usize, FrameError> {
        let Rules {
            strict,
            data_type: expected,
            max_size: limit,
            ..
        } = *self;
        if strict && data_type != expected {
            return Err(FrameError::DeniedType {
                expected,
                got: data_type,
            });
        }
        if size == 0 && data_type != DataType::Bytes {
            return Err(FrameError::Empty(data_type));
        }
        match usize::try_from(size) {
            Ok(size) if size <= limit => Ok(size),
            _ => Err(FrameError::TooLarge { size, limit }),
        }
    }
}

/// Finds the messages of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    rules: Rules,
    /// The last DATA header and what it meant: equal messages cost a comparison, not a parse.
    last: [u8; HEADER_LEN],
    meaning: Option<(usize, DataType)>,
    stream: StreamState,
    as_frame: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamState {
    /// The first message is still to come, with a header of its own.
    First,
    Headerless,
}

impl Decoder {
    /// `named`: HELLO named the size of the stream, so not even the first message has a header.
    pub fn new(rules: Rules, named: bool) -> Decoder {
        let stream = if named {
            StreamState::Headerless
        } else {
            StreamState::First
        };
        Decoder {
            rules,
            last: [0; HEADER_LEN],
            meaning: None,
            stream,
            as_frame: false,
        }
    }

    /// What do the unread bytes begin with? `stream_size` is the size of the stream's messages
    /// as far as it is known by now, by a message in either direction.
    pub fn next(&mut self, input: &[u8], stream_size: Option<usize>) -> Result<Step, FrameError> {
        if !self.rules.streaming {
            return self.message(input);
        }
        match (self.stream, stream_size) {
            (StreamState::Headerless, Some(size)) => Ok(self.frame(input, size)),
            (_, known) => self.first(input, known),
        }
    }

    /// The size and the type of the message that the unread bytes begin with, where that can be told
    /// in an instant: its header is that of the message before it. Both sides are lanpeers then.
    #[inline]
    pub fn same_again(&self, input: &[u8]) -> Option<(usize, DataType)> {
        self.known(input.first_chunk()?)
            .filter(|_| self.rules.lanpeer)
    }

    #[inline]
    fn known(&self, header: &[u8; HEADER_LEN]) -> Option<(usize, DataType)> {
        self.meaning.filter(|_| *header == self.last)
    }

    /// The answer to [`Step::Ambiguous`] when silence followed.
    pub fn take_as_frame(&mut self) {
        self.as_frame = true;
    }

    fn message(&mut self, input: &[u8]) -> Result<Step, FrameError> {
        let Some(header) = input.first_chunk::<HEADER_LEN>() else {
            return Ok(Step::Need(HEADER_LEN));
        };
        let (size, data_type) = match self.known(header) {
            Some(known) => known,
            None => match Between::parse(header)? {
                Between::Other => return Ok(Step::Skip(HEADER_LEN)),
                Between::Data { size, data_type } => {
                    let meaning = (self.rules.admit(size, data_type)?, data_type);
                    self.last = *header;
                    *self.meaning.insert(meaning)
                }
            },
        };
        if !self.rules.lanpeer && size > 0 {
            return Ok(self.after_header(&input[HEADER_LEN..], size, data_type));
        }
        Ok(Step::Message {
            skip: HEADER_LEN,
            size,
            data_type,
        })
    }

    /// peerpy sends header and payload one after the other, and its keepalives from another thread:
    /// so one may come between the two. No JSON and no plain pickle begins like one.
    fn after_header(&mut self, input: &[u8], size: usize, data_type: DataType) -> Step {
        let seen = input.len().min(HEADER_LEN);
        let mut skip = HEADER_LEN;
        if !self.as_frame && PING.starts_with(&input[..seen]) {
            if input.len() == size && seen == size && data_type == DataType::Bytes {
                return Step::Ambiguous;
            }
            if seen < HEADER_LEN {
                return Step::Need(HEADER_LEN + seen + 1);
            }
            skip += HEADER_LEN;
        }
        self.as_frame = false;
        Step::Message {
            skip,
            size,
            data_type,
        }
    }

    /// The first message of this direction of a stream, or of both directions towards peerpy.
    fn first(&mut self, input: &[u8], known: Option<usize>) -> Result<Step, FrameError> {
        if let (Some(size), false) = (known, self.rules.lanpeer) {
            // peerpy has one size for both directions: our first message ended its headers. One
            // that it sent before it saw ours still has one, and then it names the known size.
            let begun = b"DATA|".starts_with(&input[..input.len().min(5)]);
            if begun && input.len() < HEADER_LEN && !self.as_frame {
                let whole = input.len() >= size;
                return Ok(if whole {
                    Step::Ambiguous
                } else {
                    Step::Need(input.len() + 1)
                });
            }
            let crossed = input.first_chunk().is_some_and(|header| {
                matches!(Between::parse(header), Ok(Between::Data { size: s, .. }) if s == size as u64)
            });
            if !crossed {
                return Ok(self.frame(input, size));
            }
        }
        let Some(header) = input.first_chunk::<HEADER_LEN>() else {
            return Ok(Step::Need(HEADER_LEN));
        };
        if header == &PING {
            return Ok(Step::Skip(HEADER_LEN));
        }
        let (size, data_type) = match Between::parse(header)? {
            Between::Data { size, data_type } => (size, data_type),
            Between::Other => return Err(FrameError::StreamStart),
        };
        let size = self.rules.admit(size, data_type)?;
        match known {
            Some(stream) if stream != size => {
                return Err(FrameError::StreamSize {
                    size: size as u64,
                    stream,
                });
            }
            _ if size == 0 => return Err(FrameError::Empty(data_type)),
            _ => {}
        }
        let step = if self.rules.lanpeer {
            Step::Message {
                skip: HEADER_LEN,
                size,
                data_type,
            }
        } else {
            self.after_header(&input[HEADER_LEN..], size, data_type)
        };
        if matches!(step, Step::Message { .. }) {
            self.stream = StreamState::Headerless;
        }
        Ok(step)
    }

    /// A frame without a header, or peerpy's keepalive between two of them.
    fn frame(&mut self, input: &[u8], size: usize) -> Step {
        if !self.rules.lanpeer && !self.as_frame {
            let seen = input.len().min(HEADER_LEN);
            if PING.starts_with(&input[..seen]) {
                if seen == HEADER_LEN {
                    return Step::Skip(HEADER_LEN);
                }
                // The first bytes settle it almost always; a frame that begins like a keepalive
                // needs as many bytes as a keepalive has.
                return if seen >= size {
                    Step::Ambiguous
                } else {
                    Step::Need(seen + 1)
                };
            }
        }
        if input.is_empty() {
            return Step::Need(1);
        }
        self.as_frame = false;
        self.stream = StreamState::Headerless;
        Step::Message {
            skip: 0,
            size,
            data_type: self.rules.data_type,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
