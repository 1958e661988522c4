//! What follows the handshake, as a function of bytes: where the next message lies, or what to skip.
//!
//! The decoder sees the unread bytes and says what to do with them; it never holds any itself.
//! Incomplete input is [`Step::Need`] and consumes nothing. A size is checked against the limit
//! before anyone reserves memory for it.

use std::fmt;

use super::data_type::DataType;
use super::header::{Between, HeaderError, HEADER_LEN, PING};

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
    /// A whole frame of a stream is there, but it may also be the start of a keepalive. If nothing
    /// more comes at once it is the frame: then call [`Decoder::take_as_frame`].
    Ambiguous,
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

/// Finds the messages of one connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    rules: Rules,
    /// The last DATA header and what it meant: equal messages cost a comparison, not a parse.
    last: [u8; HEADER_LEN],
    last_step: Option<Step>,
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
            last_step: None,
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

    /// The answer to [`Step::Ambiguous`] when silence followed.
    pub fn take_as_frame(&mut self) {
        self.as_frame = true;
    }

    fn message(&mut self, input: &[u8]) -> Result<Step, FrameError> {
        let Some(header) = input.first_chunk::<HEADER_LEN>() else {
            return Ok(Step::Need(HEADER_LEN));
        };
        if let (Some(step), true) = (self.last_step, *header == self.last) {
            return Ok(step);
        }
        let step = match Between::parse(header)? {
            Between::Other => return Ok(Step::Skip(HEADER_LEN)),
            Between::Data { size, data_type } => Step::Message {
                skip: HEADER_LEN,
                size: self.admit(size, data_type)?,
                data_type,
            },
        };
        self.last = *header;
        self.last_step = Some(step);
        Ok(step)
    }

    fn admit(&self, size: u64, data_type: DataType) -> Result<usize, FrameError> {
        let Rules {
            strict,
            data_type: expected,
            max_size: limit,
            ..
        } = self.rules;
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
        let size = self.admit(size, data_type)?;
        match known {
            Some(stream) if stream != size => {
                return Err(FrameError::StreamSize {
                    size: size as u64,
                    stream,
                })
            }
            _ if size == 0 => return Err(FrameError::Empty(data_type)),
            _ => {}
        }
        self.stream = StreamState::Headerless;
        Ok(Step::Message {
            skip: HEADER_LEN,
            size,
            data_type,
        })
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
mod tests {
    use super::super::header::data_header;
    use super::*;
    use proptest::prelude::*;

    const RULES: Rules = Rules {
        data_type: DataType::Bytes,
        strict: true,
        streaming: false,
        lanpeer: true,
        max_size: 1000,
    };
    const STREAM: Rules = Rules {
        streaming: true,
        ..RULES
    };
    const PEERPY_STREAM: Rules = Rules {
        lanpeer: false,
        ..STREAM
    };

    /// Reads all messages, handing the decoder `wire` in pieces that end at `cuts`.
    fn read(
        rules: Rules,
        named: Option<usize>,
        wire: &[u8],
        cuts: &[usize],
    ) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut decoder = Decoder::new(rules, named.is_some());
        let mut stream = named;
        let mut messages = Vec::new();
        let (mut start, mut body) = (0, None);
        for end in cuts.iter().copied().chain([wire.len()]) {
            loop {
                let input = &wire[start..end];
                if let Some(size) = body {
                    if input.len() < size {
                        break;
                    }
                    messages.push(input[..size].to_vec());
                    start += size;
                    body = None;
                    continue;
                }
                match decoder.next(input, stream)? {
                    Step::Need(n) => {
                        assert!(n > input.len(), "asked for what is there");
                        break;
                    }
                    Step::Skip(n) => start += n,
                    Step::Message { skip, size, .. } => {
                        start += skip;
                        body = Some(size);
                        if rules.streaming {
                            stream = Some(size);
                        }
                    }
                    Step::Ambiguous if end < wire.len() => break,
                    Step::Ambiguous => decoder.take_as_frame(),
                }
            }
        }
        Ok(messages)
    }

    fn wire(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut wire = Vec::new();
        for message in messages {
            wire.extend_from_slice(&data_header(message.len(), DataType::Bytes));
            wire.extend_from_slice(message);
        }
        wire
    }

    fn cuts(wire: &[u8], picks: Vec<prop::sample::Index>) -> Vec<usize> {
        let mut cuts: Vec<usize> = picks.into_iter().map(|i| i.index(wire.len() + 1)).collect();
        cuts.sort_unstable();
        cuts
    }

    proptest! {
        #[test]
        fn messages_survive_every_split(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let wire = wire(&messages);
            prop_assert_eq!(read(RULES, None, &wire, &cuts(&wire, picks)), Ok(messages));
        }

        #[test]
        fn streams_survive_every_split(
            size in 1..200usize, count in 0..8usize, seed: u8, named: bool, peerpy: bool,
            pings in prop::collection::vec(any::<bool>(), 8),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let messages: Vec<Vec<u8>> = (0..count)
                .map(|i| (0..size).map(|j| (i * 31 + j) as u8 ^ seed).collect())
                .collect();
            let mut wire = Vec::new();
            for (i, message) in messages.iter().enumerate() {
                if peerpy && pings[i] {
                    wire.extend_from_slice(&PING);
                }
                if i == 0 && !named {
                    wire.extend_from_slice(&data_header(size, DataType::Bytes));
                }
                wire.extend_from_slice(message);
            }
            // A frame that looks like a keepalive can not be told from one; leave those out.
            prop_assume!(messages.iter().all(|m| !PING.starts_with(&m[..m.len().min(8)])));
            let rules = if peerpy { PEERPY_STREAM } else { STREAM };
            let got = read(rules, named.then_some(size), &wire, &cuts(&wire, picks));
            prop_assert_eq!(got, Ok(messages));
        }

        #[test]
        fn any_bytes_are_answered(input in prop::collection::vec(any::<u8>(), 0..400),
                                  streaming: bool, lanpeer: bool, known in prop::option::of(1..300usize)) {
            let rules = Rules { streaming, lanpeer, ..RULES };
            let mut decoder = Decoder::new(rules, false);
            for end in 0..=input.len() {
                match decoder.next(&input[..end], known) {
                    Ok(Step::Need(n)) => prop_assert!(n > end),
                    Ok(Step::Skip(n)) => prop_assert!(n <= end && n > 0),
                    Ok(Step::Message { skip, .. }) => prop_assert!(skip <= end),
                    Ok(Step::Ambiguous) | Err(_) => {}
                }
            }
        }
    }

    #[test]
    fn every_prefix_is_incomplete_and_consumes_nothing() {
        let header = data_header(5, DataType::Bytes);
        let mut decoder = Decoder::new(RULES, false);
        for end in 0..HEADER_LEN {
            assert_eq!(
                decoder.next(&header[..end], None),
                Ok(Step::Need(HEADER_LEN))
            );
        }
        let message = Step::Message {
            skip: HEADER_LEN,
            size: 5,
            data_type: DataType::Bytes,
        };
        assert_eq!(decoder.next(&header, None), Ok(message));
        assert_eq!(
            decoder.next(&header, None),
            Ok(message),
            "the remembered header means the same"
        );
    }

    #[test]
    fn limits_and_types() {
        let next = |rules, size, data_type| {
            Decoder::new(rules, false).next(&data_header(size, data_type), None)
        };
        assert_eq!(
            next(RULES, 1001, DataType::Bytes),
            Err(FrameError::TooLarge {
                size: 1001,
                limit: 1000
            })
        );
        let denied = FrameError::DeniedType {
            expected: DataType::Bytes,
            got: DataType::Json,
        };
        assert_eq!(next(RULES, 10, DataType::Json), Err(denied));
        let loose = Rules {
            strict: false,
            ..RULES
        };
        let json = Step::Message {
            skip: HEADER_LEN,
            size: 10,
            data_type: DataType::Json,
        };
        assert_eq!(next(loose, 10, DataType::Json), Ok(json));
        assert_eq!(
            next(loose, 0, DataType::Json),
            Err(FrameError::Empty(DataType::Json))
        );
        let empty = Step::Message {
            skip: HEADER_LEN,
            size: 0,
            data_type: DataType::Bytes,
        };
        assert_eq!(next(RULES, 0, DataType::Bytes), Ok(empty));
        assert_eq!(
            next(STREAM, 0, DataType::Bytes),
            Err(FrameError::Empty(DataType::Bytes))
        );
    }

    #[test]
    fn a_second_header_of_another_size_breaks_a_stream() {
        let mut decoder = Decoder::new(STREAM, false);
        let error = FrameError::StreamSize { size: 7, stream: 5 };
        assert_eq!(
            decoder.next(&data_header(7, DataType::Bytes), Some(5)),
            Err(error)
        );
    }

    #[test]
    fn our_first_message_ends_peerpys_headers() {
        let mut decoder = Decoder::new(PEERPY_STREAM, false);
        let frame = Step::Message {
            skip: 0,
            size: 3,
            data_type: DataType::Bytes,
        };
        assert_eq!(decoder.next(b"abc", Some(3)), Ok(frame));
        let mut decoder = Decoder::new(PEERPY_STREAM, false);
        let crossed = Step::Message {
            skip: HEADER_LEN,
            size: 3,
            data_type: DataType::Bytes,
        };
        assert_eq!(
            decoder.next(&data_header(3, DataType::Bytes), Some(3)),
            Ok(crossed)
        );
    }

    #[test]
    fn a_short_frame_that_begins_like_a_keepalive() {
        let mut decoder = Decoder::new(PEERPY_STREAM, true);
        assert_eq!(decoder.next(b"PI", Some(4)), Ok(Step::Need(3)));
        assert_eq!(decoder.next(b"PING", Some(4)), Ok(Step::Ambiguous));
        decoder.take_as_frame();
        let frame = Step::Message {
            skip: 0,
            size: 4,
            data_type: DataType::Bytes,
        };
        assert_eq!(decoder.next(b"PING", Some(4)), Ok(frame));
        assert_eq!(
            decoder.next(b"PING", Some(4)),
            Ok(Step::Ambiguous),
            "only once"
        );
    }
}
