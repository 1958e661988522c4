//! Frames: what follows the handshake where both sides have said `v=2`.
//!
//! A frame is a head of 1 to 9 bytes and a payload. The head of a message is its length, in the
//! fewest bytes:
//!
//! ```text
//! 0LLLLLLL                                a message of 0 to 127 bytes
//! 10LLLLLL LLLLLLLL                       of 128 and so many bytes, to 16,511
//! 110LLLLL LLLLLLLL LLLLLLLL              of 16,512 and so many bytes, to 2,113,663
//! 11100NNN and NNN + 1 bytes              of more, as a number without leading zeros
//! 1111KKKK, a length as above, a body     a frame of another kind
//! ```
//!
//! The messages of a stream have one size, and stand there without a head, one behind the other.
//! Only a message whose first byte is 255 has a head before it, and so has every other frame there:
//! the byte 255, and then the frame. So the end of a stream can be told from its data.
//!
//! docs/protocol.md has all kinds, with examples as bytes. As in [`frame`](super::frame), input that
//! is not whole is [`Step::Need`] and consumes nothing, and a size is checked against the limit
//! before anyone reserves memory for it.
//!
//! A long file, so that the form of all frames is in one place.

use std::fmt;

use super::data_type::DataType;
use super::frame::{FrameError, Rules, Step};

/// The longest head of a message of the agreed type.
pub(crate) const HEAD_MAX: usize = 9;

/// The longest head of any message: of a request or a reply.
pub(crate) const HEAD_ROOM: usize = 16;

/// The most bytes in which a side says why it takes no more.
pub(crate) const WORDS_MAX: usize = 256;

/// The most bytes of an id, which has 32 bits.
const ID_MAX: usize = 5;

/// The most bytes of a frame that may be skipped because its kind is not known.
const SKIP_MAX: u64 = 1024;

/// The first lengths of two, three and more bytes.
const TWO: u64 = 1 << 7;
const THREE: u64 = TWO + (1 << 14);
const MORE: u64 = THREE + (1 << 21);

/// In a stream, before a frame that is no message without a head.
const MARK: u8 = 0xff;

/// Kinds of frames with a body; see docs/protocol.md.
mod kind {
    /// A message of another type than the agreed one, where the connection is not strict.
    pub const OTHER_TYPE: u8 = 0xf0;
    pub const REQUEST: u8 = 0xf1;
    pub const REPLY: u8 = 0xf2;
    pub const FAILED: u8 = 0xf3;
    pub const GOODBYE: u8 = 0xf4;
    pub const TAKEN: u8 = 0xf5;
    pub const REFUSED: u8 = 0xf6;
    /// From here on, kinds that are not known are skipped,
    pub const SKIPPED: u8 = 0xf8;
    /// and a lanpeer that does not know these two skips them as well.
    pub const HEAR_ME: u8 = 0xf8;
    pub const BEAT: u8 = 0xf9;
    /// and from here on they end the connection.
    pub const NOT_SKIPPED: u8 = 0xfc;
}

/// What a frame says that is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// No message follows. `Some`: and no more of the other side's messages are taken in, so many
    /// were.
    Goodbye(Option<u64>),
    /// The answer: so many of the other side's messages were taken in.
    Taken(u64),
    /// One of the other side's messages could not be taken in. Behind so many bytes the frame says
    /// why, in text.
    Refused { skip: usize },
    /// The other side's answer to a request that has no reply. Behind `skip` bytes the frame may say
    /// more, in text.
    Failed { id: u32, why: Failure, skip: usize },
}

/// A heartbeat, or the wish for one. Neither is a message, and neither is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// The other side's system does not tell it in time that a remote has died. It wants a sign of life
    /// within so many milliseconds, and then as often while anything of its own has not been read here.
    Wanted(u64),
    /// The sign of life.
    Beat,
}

/// A message that is a request or the reply to one, with its id: a number that the side draws which
/// sends the request, and which is under way once at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Request(u32),
    Reply(u32),
}

/// Why a request has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The program has dropped it unanswered.
    Dropped,
    /// The program has panicked over it.
    Panicked,
    /// The program takes no requests.
    NotServed,
    /// Too many are unanswered already.
    Busy,
    /// It is no value of the type there. The words say why.
    Refused,
    /// Something that a later version knows.
    Other(u8),
}

impl Failure {
    fn of(code: u8) -> Failure {
        match code {
            1 => Failure::Dropped,
            2 => Failure::Panicked,
            3 => Failure::NotServed,
            4 => Failure::Busy,
            5 => Failure::Refused,
            other => Failure::Other(other),
        }
    }

    fn code(self) -> u8 {
        match self {
            Failure::Dropped => 1,
            Failure::Panicked => 2,
            Failure::NotServed => 3,
            Failure::Busy => 4,
            Failure::Refused => 5,
            Failure::Other(code) => code,
        }
    }
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A kind that is not known and may not be skipped.
    Kind(u8),
    /// A length that has no meaning, or could be written in fewer bytes.
    Length,
    /// A body that is longer or shorter than its kind can have.
    Body { kind: &'static str, size: u64 },
    /// A type that is none.
    Type(u8),
    /// The words of a refusal are no text.
    Words,
    /// An id of a request that has more than 32 bits.
    Id(u64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kind(kind) => write!(f, "a frame of the unknown kind {kind:#04x}"),
            Fault::Length => f.write_str("a frame whose length is not in its shortest form"),
            Fault::Body { kind, size } => write!(f, "a {kind} of {size} bytes"),
            Fault::Type(byte) => write!(f, "a message of the unknown type {byte}"),
            Fault::Words => f.write_str("a refusal whose words are not UTF-8"),
            Fault::Id(id) => write!(f, "a request of the id {id}, which has more than 32 bits"),
        }
    }
}

// Writing

/// Some bytes of a head, in an array.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    bytes: [u8; HEAD_ROOM],
    len: usize,
}

impl Head {
    pub const NONE: Head = Head {
        bytes: [0; HEAD_ROOM],
        len: 0,
    };

    /// The head of a message of `size` bytes and the agreed type.
    #[inline]
    pub fn of(size: usize) -> Head {
        let mut head = Head::NONE;
        head.push_length(size as u64);
        head
    }

    /// The head of a message of another type than the agreed one.
    pub fn of_type(size: usize, data_type: DataType) -> Head {
        let mut head = Head::NONE;
        head.push(kind::OTHER_TYPE);
        head.push_length(size as u64 + 1);
        head.push(type_byte(data_type));
        head
    }

    /// The head of a request or a reply. `data_type`: of another type than the agreed one.
    pub fn of_call(size: usize, data_type: Option<DataType>, call: Call) -> Head {
        let (kind, id) = match call {
            Call::Request(id) => (kind::REQUEST, id),
            Call::Reply(id) => (kind::REPLY, id),
        };
        let mut number = Head::NONE;
        number.push_length(id.into());
        let mut head = Head::NONE;
        head.push(kind);
        head.push_length((1 + number.len + size) as u64);
        head.push(data_type.map_or(0, type_byte));
        for byte in number.bytes() {
            head.push(*byte);
        }
        head
    }

    /// The head of a message in a stream, behind whose first byte it would be taken for one.
    pub fn marked(size: usize) -> Head {
        let mut head = Head::NONE;
        head.push(MARK);
        head.push_length(size as u64);
        head
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    #[inline]
    fn push_length(&mut self, size: u64) {
        if size < TWO {
            return self.push(size as u8);
        }
        let (first, rest, count) = match size {
            0..THREE => (0x80 | (size - TWO) >> 8, size - TWO, 1),
            THREE..MORE => (0xc0 | (size - THREE) >> 16, size - THREE, 2),
            _ => {
                let count = size.ilog2() as usize / 8 + 1;
                (0xe0 | (count - 1) as u64, size, count)
            }
        };
        self.push(first as u8);
        for byte in &rest.to_be_bytes()[8 - count..] {
            self.push(*byte);
        }
    }
}

/// Must a message in a stream that begins with this byte have a head?
#[inline]
pub(crate) fn is_marked(first: u8) -> bool {
    first == MARK
}

/// A frame that says this; of a refusal or a failure, with these words, of which as many are written as
/// fit.
/// `headless`: it stands in a stream, where messages have no heads.
pub(crate) fn word(word: Word, words: &str, headless: bool) -> Vec<u8> {
    let number = |number: u64| {
        let mut head = Head::NONE;
        head.push_length(number);
        head
    };
    let (kind, body) = match word {
        Word::Goodbye(None) => (kind::GOODBYE, Vec::new()),
        Word::Goodbye(Some(taken)) => (kind::GOODBYE, number(taken).bytes().to_vec()),
        Word::Taken(taken) => (kind::TAKEN, number(taken).bytes().to_vec()),
        Word::Refused { .. } => (kind::REFUSED, words.as_bytes()[..fit(words)].to_vec()),
        Word::Failed { id, why, .. } => {
            let mut body = number(id.into()).bytes().to_vec();
            body.push(why.code());
            body.extend_from_slice(&words.as_bytes()[..fit(words)]);
            (kind::FAILED, body)
        }
    };
    of_kind(kind, &body, headless)
}

/// A frame that is a heartbeat, or asks for one. `headless`: as for [`word`].
pub(crate) fn pulse(pulse: Pulse, headless: bool) -> Vec<u8> {
    let mut body = Head::NONE;
    let kind = match pulse {
        Pulse::Wanted(milliseconds) => {
            body.push_length(milliseconds);
            kind::HEAR_ME
        }
        Pulse::Beat => kind::BEAT,
    };
    of_kind(kind, body.bytes(), headless)
}

/// A frame of this kind. `headless`: as for [`word`].
fn of_kind(kind: u8, body: &[u8], headless: bool) -> Vec<u8> {
    let mut size = Head::NONE;
    size.push_length(body.len() as u64);
    let mut frame = Vec::with_capacity(HEAD_ROOM + body.len());
    frame.extend(headless.then_some(MARK));
    frame.push(kind);
    frame.extend_from_slice(size.bytes());
    frame.extend_from_slice(body);
    frame
}

/// How many bytes of a text make the longest that has room.
fn fit(words: &str) -> usize {
    let most = words.len().min(WORDS_MAX);
    (0..=most)
        .rev()
        .find(|end| words.is_char_boundary(*end))
        .unwrap_or(0)
}

fn type_byte(data_type: DataType) -> u8 {
    match data_type {
        DataType::Raw => 1,
        DataType::Json => 2,
        DataType::Bytes => 3,
    }
}

// Reading

/// A length at the beginning of `input`: how many bytes it has, and what it says. `Err(None)`: it is
/// not whole.
#[inline]
fn length(input: &[u8]) -> Result<(usize, u64), Option<Fault>> {
    let first = *input.first().ok_or(None)?;
    if first < 0x80 {
        return Ok((1, u64::from(first)));
    }
    longer_length(first, input)
}

fn longer_length(first: u8, input: &[u8]) -> Result<(usize, u64), Option<Fault>> {
    let (count, high, base) = match first {
        0x80..=0xbf => (1, first & 0x3f, TWO),
        0xc0..=0xdf => (2, first & 0x1f, THREE),
        0xe0..=0xe7 => (usize::from(first & 7) + 1, 0, 0),
        _ => return Err(Some(Fault::Length)),
    };
    let rest = input.get(1..=count).ok_or(None)?;
    let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    let number = rest.iter().fold(u64::from(high), add) + base;
    let shortest = base > 0 || (number >= MORE && rest.first() != Some(&0));
    match shortest {
        true => Ok((1 + count, number)),
        false => Err(Some(Fault::Length)),
    }
}

/// Why a request has no reply; `skip` bytes stand before the body.
fn failed(body: &[u8], skip: usize) -> Result<Word, Fault> {
    let kind = "failure of a request";
    let size = body.len() as u64;
    let (len, id) = length(body).map_err(|fault| fault.unwrap_or(Fault::Body { kind, size }))?;
    let id = u32::try_from(id).map_err(|_| Fault::Id(id))?;
    let code = *body.get(len).ok_or(Fault::Body { kind, size })?;
    let words = &body[len + 1..];
    if words.len() > WORDS_MAX {
        return Err(Fault::Body { kind, size });
    }
    std::str::from_utf8(words).map_err(|_| Fault::Words)?;
    Ok(Word::Failed {
        id,
        why: Failure::of(code),
        skip: skip + len + 1,
    })
}

/// Finds the messages of one connection.
#[derive(Clone, Debug)]
pub(crate) struct FrameDecoder {
    rules: Rules,
    /// In a stream whose size is known to both sides: messages have no heads.
    headless: bool,
    /// The last heartbeat, or wish for one, until it is taken.
    pulse: Option<Pulse>,
}

impl FrameDecoder {
    /// `named`: HELLO named the size of the stream, so not even the first message has a head.
    pub fn new(rules: Rules, named: bool) -> FrameDecoder {
        FrameDecoder {
            rules,
            headless: rules.streaming && named,
            pulse: None,
        }
    }

    /// The heartbeat, or the wish for one, that a skipped frame was.
    pub fn take_pulse(&mut self) -> Option<Pulse> {
        self.pulse.take()
    }

    /// The head and the size of the message that the unread bytes begin with, where that can be told
    /// in an instant.
    #[inline]
    pub fn at_once(&self, input: &[u8]) -> Option<(usize, usize)> {
        let (head, size) = match *input {
            [first, ..] if first < 0x80 => (1, usize::from(first)),
            [first, second, ..] if first < 0xc0 => {
                let high = usize::from(first & 0x3f);
                (2, (high << 8 | usize::from(second)) + TWO as usize)
            }
            _ => return None,
        };
        // All else is for the long way, which says what is wrong.
        let plain = !self.rules.streaming && size > 0 && size <= self.rules.max_size;
        plain.then_some((head, size))
    }

    pub fn data_type(&self) -> DataType {
        self.rules.data_type
    }

    /// What do the unread bytes begin with? `stream_size` is the size of the stream's messages as far
    /// as it is known by now, by a message in either direction.
    pub fn next(&mut self, input: &[u8], stream_size: Option<usize>) -> Result<Step, FrameError> {
        let Some(first) = input.first() else {
            return Ok(Step::Need(1));
        };
        if !self.headless {
            return self.frame(input, 0, stream_size);
        }
        match stream_size {
            Some(size) if *first != MARK => Ok(Step::Message {
                skip: 0,
                size,
                data_type: self.rules.data_type,
            }),
            _ => self.frame(input, 1, stream_size),
        }
    }

    /// The frame behind `mark` bytes.
    fn frame(
        &mut self,
        input: &[u8],
        mark: usize,
        stream_size: Option<usize>,
    ) -> Result<Step, FrameError> {
        let whole = |step: Result<Step, Option<Fault>>| match step {
            Ok(step) => Ok(step),
            // One byte more may be enough.
            Err(None) => Ok(Step::Need(input.len() + 1)),
            Err(Some(fault)) => Err(FrameError::Frame(fault)),
        };
        let rest = &input[mark..];
        let Some(&first) = rest.first() else {
            return Ok(Step::Need(mark + 1));
        };
        if first < 0xf0 {
            return match length(rest) {
                Ok((head, size)) => {
                    let size = self.admit(size, self.rules.data_type, stream_size)?;
                    Ok(self.message(mark + head, size, self.rules.data_type))
                }
                Err(fault) => whole(Err(fault)),
            };
        }
        let (len, size) = match length(&rest[1..]) {
            Ok(length) => length,
            Err(fault) => return whole(Err(fault)),
        };
        let skip = mark + 1 + len;
        match first {
            kind::OTHER_TYPE => return self.other_type(input, skip, size, stream_size),
            kind::REQUEST | kind::REPLY if !self.rules.streaming => {
                return self.call(first, input, skip, size);
            }
            _ => {}
        }
        let (name, least, most) = match first {
            kind::GOODBYE => ("goodbye", 0, HEAD_MAX as u64),
            kind::TAKEN => ("count of messages", 1, HEAD_MAX as u64),
            kind::REFUSED => ("refusal", 0, WORDS_MAX as u64),
            kind::FAILED if !self.rules.streaming => {
                ("failure of a request", 2, (ID_MAX + 1 + WORDS_MAX) as u64)
            }
            kind::SKIPPED..kind::NOT_SKIPPED => ("frame of an unknown kind", 0, SKIP_MAX),
            unknown => return Err(FrameError::Frame(Fault::Kind(unknown))),
        };
        if !(least..=most).contains(&size) {
            return Err(FrameError::Frame(Fault::Body { kind: name, size }));
        }
        let end = skip + size as usize;
        let Some(body) = input.get(skip..end) else {
            return Ok(Step::Need(end));
        };
        let number = || match length(body) {
            Ok((len, number)) if len == body.len() => Ok(number),
            _ => Err(FrameError::Frame(Fault::Length)),
        };
        let word = match first {
            kind::GOODBYE if body.is_empty() => Word::Goodbye(None),
            kind::GOODBYE => Word::Goodbye(Some(number()?)),
            kind::TAKEN => Word::Taken(number()?),
            kind::REFUSED if std::str::from_utf8(body).is_err() => {
                return Err(FrameError::Frame(Fault::Words));
            }
            kind::REFUSED => Word::Refused { skip },
            kind::FAILED => failed(body, skip).map_err(FrameError::Frame)?,
            kind::HEAR_ME => {
                // A body that says more belongs to a later version.
                if let Ok((len, milliseconds)) = length(body) {
                    let is_wish = len == body.len();
                    self.pulse = is_wish.then_some(Pulse::Wanted(milliseconds));
                }
                return Ok(Step::Skip(end));
            }
            kind::BEAT if body.is_empty() => {
                self.pulse = Some(Pulse::Beat);
                return Ok(Step::Skip(end));
            }
            _ => return Ok(Step::Skip(end)),
        };
        Ok(Step::Word { end, word })
    }

    /// A request or a reply; its body begins behind `skip` bytes and has `size`.
    fn call(&mut self, kind: u8, input: &[u8], skip: usize, size: u64) -> Result<Step, FrameError> {
        let fault = |fault| Err(FrameError::Frame(fault));
        let body = Fault::Body {
            kind: if kind == kind::REQUEST {
                "request"
            } else {
                "reply"
            },
            size,
        };
        let Some(&byte) = input.get(skip) else {
            return match size {
                0 => fault(body),
                _ => Ok(Step::Need(skip + 1)),
            };
        };
        let data_type = match byte {
            _ if size < 2 => return fault(body),
            0 => self.rules.data_type,
            1 => DataType::Raw,
            2 => DataType::Json,
            3 => DataType::Bytes,
            _ => return fault(Fault::Type(byte)),
        };
        let rest = &input[skip + 1..];
        let whole = usize::try_from(size - 1).unwrap_or(usize::MAX);
        let (len, id) = match length(&rest[..rest.len().min(whole)]) {
            Ok(number) => number,
            Err(Some(what)) => return fault(what),
            Err(None) if rest.len() >= whole => return fault(body),
            Err(None) => return Ok(Step::Need(input.len() + 1)),
        };
        let id = u32::try_from(id).map_err(|_| FrameError::Frame(Fault::Id(id)))?;
        let size = self.rules.admit(size - 1 - len as u64, data_type)?;
        Ok(Step::Call {
            skip: skip + 1 + len,
            size,
            data_type,
            call: match kind {
                kind::REQUEST => Call::Request(id),
                _ => Call::Reply(id),
            },
        })
    }

    /// A message of another type; its body begins behind `skip` bytes.
    fn other_type(
        &mut self,
        input: &[u8],
        skip: usize,
        size: u64,
        stream_size: Option<usize>,
    ) -> Result<Step, FrameError> {
        let Some(size) = size.checked_sub(1) else {
            let kind = "message with a type";
            return Err(FrameError::Frame(Fault::Body { kind, size }));
        };
        let Some(byte) = input.get(skip) else {
            return Ok(Step::Need(skip + 1));
        };
        let data_type = match byte {
            1 => DataType::Raw,
            2 => DataType::Json,
            3 => DataType::Bytes,
            _ => return Err(FrameError::Frame(Fault::Type(*byte))),
        };
        let size = self.admit(size, data_type, stream_size)?;
        Ok(self.message(skip + 1, size, data_type))
    }

    fn message(&mut self, skip: usize, size: usize, data_type: DataType) -> Step {
        self.headless = self.rules.streaming;
        Step::Message {
            skip,
            size,
            data_type,
        }
    }

    fn admit(
        &self,
        size: u64,
        data_type: DataType,
        stream_size: Option<usize>,
    ) -> Result<usize, FrameError> {
        let size = self.rules.admit(size, data_type)?;
        match stream_size {
            Some(stream) if self.rules.streaming && stream != size => {
                let size = size as u64;
                Err(FrameError::StreamSize { size, stream })
            }
            _ if self.rules.streaming && size == 0 => Err(FrameError::Empty(data_type)),
            _ => Ok(size),
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
