//! Frames as a fuzzer sends them.
//!
//! A long file, since it has a second, plainer reading of the whole protocol to compare with.

use super::agreed::{Agreed, is_the_same_in_pieces, some_payload};
use super::is_clean;
use super::plan::Plan;
use crate::proto::data_type::DataType;
use crate::proto::frame::{FrameError, Rules, Step};
use crate::proto::frames::{Call, Failure, FrameDecoder, Head, Word, is_marked, word};

/// No step waits for more than this: a mark, the head of a frame to be skipped, and its body.
const NEED_MAX: usize = 1 + 10 + 1024;

/// Any bytes as frames, what follows the handshake of two lanpeers: they mean what a second, plainer
/// reading of the protocol says, however they are cut. And what is written by the rules is read as
/// what it is.
pub fn framed(data: &[u8]) {
    let mut plan = Plan::new(data);
    let agreed = Agreed::new(&mut plan, Some(true));
    let seed = plan.byte();
    match plan.flag() {
        true => {
            let (wire, said) = conversation(&mut plan, agreed);
            let outcome = check(agreed, &wire, seed);
            assert_eq!(outcome, (said, End::Input { left: 0 }));
        }
        false => drop(check(agreed, plan.rest(), seed)),
    }
}

fn check(agreed: Agreed, wire: &[u8], seed: u8) -> Outcome {
    let outcome = read(agreed, wire, []);
    assert_eq!(outcome, plainly(agreed, wire));
    if let End::Error(error) = &outcome.1 {
        is_clean(error);
    }
    is_the_same_in_pieces(wire, seed, &outcome, |cuts| read(agreed, wire, cuts));
    outcome
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    Message(DataType, Vec<u8>),
    Call(Call, DataType, Vec<u8>),
    Failed(u32, Failure, String),
    Goodbye(Option<u64>),
    Taken(u64),
    Refused(String),
}

pub(super) type End = super::agreed::End<String>;

pub(super) type Outcome = (Vec<Said>, End);

/// Reads `wire` as the reader thread does, given it in pieces that end at `cuts`.
pub(super) fn read(agreed: Agreed, wire: &[u8], cuts: impl IntoIterator<Item = usize>) -> Outcome {
    let Agreed { rules, named, sent } = agreed;
    let mut decoder = FrameDecoder::new(rules, named.is_some());
    let mut stream = named.or(sent);
    let mut said = Vec::new();
    let (mut start, mut need, mut payload) = (0, 0, None);
    for end in cuts.into_iter().chain([wire.len()]) {
        loop {
            let input = &wire[start..end];
            if let Some((call, data_type, size)) = payload {
                let Some(bytes) = input.get(..size) else {
                    break;
                };
                said.push(message(call, data_type, bytes));
                start += size;
                payload = None;
                continue;
            }
            let at_once = decoder.at_once(input);
            let step = match decoder.next(input, stream) {
                Ok(step) => step,
                Err(error) => return (said, End::Error(error.to_string())),
            };
            if let Some((skip, size)) = at_once {
                let data_type = rules.data_type;
                let message = Step::Message {
                    skip,
                    size,
                    data_type,
                };
                assert_eq!(step, message, "the short cut leads elsewhere");
            }
            let waits = matches!(step, Step::Need(_));
            let has_all = input.len() >= need;
            assert!(waits || has_all, "{step:?} before it has {need}");
            need = 0;
            match step {
                Step::Need(n) => {
                    assert!(n > input.len() && n <= NEED_MAX, "{n} of {}", input.len());
                    need = n;
                    break;
                }
                Step::Skip(n) => {
                    assert!(n > 1 && n <= input.len());
                    start += n;
                }
                Step::Message {
                    skip,
                    size,
                    data_type,
                } => {
                    assert!(skip <= input.len() && (skip > 0 || size > 0));
                    assert!(size <= rules.max_size || stream == Some(size));
                    assert!(!rules.strict || data_type == rules.data_type);
                    start += skip;
                    payload = Some((None, data_type, size));
                    if rules.streaming {
                        assert_eq!(*stream.get_or_insert(size), size);
                    }
                }
                Step::Call {
                    skip,
                    size,
                    data_type,
                    call,
                } => {
                    assert!(!rules.streaming && skip <= input.len() && skip > 3);
                    assert!(size <= rules.max_size);
                    assert!(!rules.strict || data_type == rules.data_type);
                    start += skip;
                    payload = Some((Some(call), data_type, size));
                }
                Step::Word { end, word } => {
                    let words = |skip| {
                        let words = input[skip..end].to_vec();
                        String::from_utf8(words).expect("it was checked")
                    };
                    said.push(match word {
                        Word::Goodbye(taken) => Said::Goodbye(taken),
                        Word::Taken(taken) => Said::Taken(taken),
                        Word::Refused { skip } => Said::Refused(words(skip)),
                        Word::Failed { id, why, skip } => Said::Failed(id, why, words(skip)),
                    });
                    start += end;
                }
                Step::Ambiguous => panic!("frames are not"),
            }
        }
    }
    let left = wire.len() - start;
    let end = match payload {
        Some((_, _, size)) => End::Payload {
            missing: size - left,
        },
        None => End::Input { left },
    };
    (said, end)
}

fn message(call: Option<Call>, data_type: DataType, payload: &[u8]) -> Said {
    match call {
        Some(call) => Said::Call(call, data_type, payload.to_vec()),
        None => Said::Message(data_type, payload.to_vec()),
    }
}

/// Why a plain reading does not go on.
enum Stop {
    /// More bytes would have to come.
    Short,
    /// These many would complete a payload.
    Payload(usize),
    Error(String),
}

impl From<FrameError> for Stop {
    fn from(error: FrameError) -> Stop {
        Stop::Error(error.to_string())
    }
}

/// The second reading: of all bytes at once, from the front to the back, as docs/protocol.md has it.
pub(super) fn plainly(agreed: Agreed, wire: &[u8]) -> Outcome {
    let mut said = Vec::new();
    let mut state = (agreed.named.is_some(), agreed.named.or(agreed.sent));
    let mut rest = wire;
    while !rest.is_empty() {
        let mut cursor = rest;
        match one(agreed.rules, &mut state, &mut cursor) {
            Ok(frame) => said.extend(frame),
            Err(Stop::Short) => return (said, End::Input { left: rest.len() }),
            Err(Stop::Payload(missing)) => return (said, End::Payload { missing }),
            Err(Stop::Error(error)) => return (said, End::Error(error)),
        }
        rest = cursor;
    }
    (said, End::Input { left: 0 })
}

/// One frame; `None` for one that is skipped.
fn one(
    rules: Rules,
    (headless, stream): &mut (bool, Option<usize>),
    wire: &mut &[u8],
) -> Result<Option<Said>, Stop> {
    let (mut data_type, mut call) = (rules.data_type, None);
    let size = if *headless && wire[0] != 0xff {
        stream.expect("known where messages have no heads") as u64
    } else {
        if *headless {
            take(wire, 1)?;
        }
        let first = *wire.first().ok_or(Stop::Short)?;
        let size = match first {
            0xf0.. => {
                take(wire, 1)?;
                let size = number(wire)?;
                let (name, least) = match first {
                    0xf0 => ("message with a type", 1),
                    0xf1 if !rules.streaming => ("request", 2),
                    0xf2 if !rules.streaming => ("reply", 2),
                    0xf3 if rules.streaming => return Err(unknown(first)),
                    _ => return word_of(first, size, wire),
                };
                let no_body = || Stop::Error(format!("a {name} of {size} bytes"));
                if size == 0 {
                    return Err(no_body());
                }
                let byte = take(wire, 1)?[0];
                if size < least {
                    return Err(no_body());
                }
                data_type = match byte {
                    0 if first != 0xf0 => rules.data_type,
                    1 => DataType::Raw,
                    2 => DataType::Json,
                    3 => DataType::Bytes,
                    byte => {
                        let error = format!("a message of the unknown type {byte}");
                        return Err(Stop::Error(error));
                    }
                };
                if first == 0xf0 {
                    size - 1
                } else {
                    let whole = wire.len().min((size - 1).try_into().unwrap_or(usize::MAX));
                    let mut body = &wire[..whole];
                    let id = match id(&mut body) {
                        Err(Stop::Short) if whole as u64 == size - 1 => return Err(no_body()),
                        id => id?,
                    };
                    call = Some(match first {
                        0xf1 => Call::Request(id),
                        _ => Call::Reply(id),
                    });
                    let taken = whole - body.len();
                    take(wire, taken)?;
                    size - 1 - taken as u64
                }
            }
            _ => number(wire)?,
        };
        let (expected, got) = (rules.data_type, data_type);
        if rules.strict && got != expected {
            return Err(FrameError::DeniedType { expected, got }.into());
        }
        if size == 0 && data_type != DataType::Bytes {
            return Err(FrameError::Empty(data_type).into());
        }
        if size > rules.max_size as u64 {
            let limit = rules.max_size;
            return Err(FrameError::TooLarge { size, limit }.into());
        }
        size
    };
    if rules.streaming {
        match *stream {
            Some(stream) if stream as u64 != size => {
                return Err(FrameError::StreamSize { size, stream }.into());
            }
            None if size == 0 => return Err(FrameError::Empty(data_type).into()),
            _ => {}
        }
        (*headless, *stream) = (true, Some(size as usize));
    }
    let missing = size.saturating_sub(wire.len() as u64);
    match missing {
        0 => Ok(Some(message(call, data_type, take(wire, size as usize)?))),
        _ => Err(Stop::Payload(missing as usize)),
    }
}

/// A frame of this kind, with a body of this size.
fn word_of(kind: u8, size: u64, wire: &mut &[u8]) -> Result<Option<Said>, Stop> {
    let (name, sizes) = match kind {
        0xf4 => ("goodbye", 0..=9),
        0xf5 => ("count of messages", 1..=9),
        0xf6 => ("refusal", 0..=256),
        0xf3 => ("failure of a request", 2..=262),
        0xf8..=0xfb => ("frame of an unknown kind", 0..=1024),
        _ => return Err(unknown(kind)),
    };
    let not_so = || Stop::Error(format!("a {name} of {size} bytes"));
    if !sizes.contains(&size) {
        return Err(not_so());
    }
    let mut body = take(wire, size as usize)?;
    let words = |words: &[u8]| {
        let words = String::from_utf8(words.to_vec());
        words.map_err(|_| Stop::Error("a refusal whose words are not UTF-8".into()))
    };
    if kind == 0xf6 {
        return Ok(Some(Said::Refused(words(body)?)));
    }
    if kind == 0xf3 {
        let id = match id(&mut body) {
            Err(Stop::Short) => return Err(not_so()),
            id => id?,
        };
        let (&code, text) = body.split_first().ok_or_else(not_so)?;
        if text.len() > 256 {
            return Err(not_so());
        }
        let why = match code {
            1 => Failure::Dropped,
            2 => Failure::Panicked,
            3 => Failure::NotServed,
            4 => Failure::Busy,
            5 => Failure::Refused,
            code => Failure::Other(code),
        };
        return Ok(Some(Said::Failed(id, why, words(text)?)));
    }
    if kind >= 0xf8 {
        return Ok(None);
    }
    if body.is_empty() {
        return Ok(Some(Said::Goodbye(None)));
    }
    match number(&mut body) {
        Ok(number) if body.is_empty() => Ok(Some(match kind {
            0xf4 => Said::Goodbye(Some(number)),
            _ => Said::Taken(number),
        })),
        _ => Err(Stop::Error(NOT_SHORTEST.into())),
    }
}

const NOT_SHORTEST: &str = "a frame whose length is not in its shortest form";

fn unknown(kind: u8) -> Stop {
    Stop::Error(format!("a frame of the unknown kind 0x{kind:x}"))
}

/// The id of a request.
fn id(wire: &mut &[u8]) -> Result<u32, Stop> {
    let id = number(wire)?;
    id.try_into().map_err(|_| {
        let error = format!("a request of the id {id}, which has more than 32 bits");
        Stop::Error(error)
    })
}

/// A number in the form of a length.
fn number(wire: &mut &[u8]) -> Result<u64, Stop> {
    let first = take(wire, 1)?[0];
    let (more, high, base) = match first {
        0..=0x7f => return Ok(first.into()),
        0x80..=0xbf => (1, first - 0x80, 128),
        0xc0..=0xdf => (2, first - 0xc0, 16_512),
        0xe0..=0xe7 => (first as usize - 0xdf, 0, 0),
        _ => return Err(Stop::Error(NOT_SHORTEST.into())),
    };
    let bytes = take(wire, more)?;
    let mut number = u64::from(high);
    for byte in bytes {
        number = number * 256 + u64::from(*byte);
    }
    if base == 0 && (bytes[0] == 0 || number < 2_113_664) {
        return Err(Stop::Error(NOT_SHORTEST.into()));
    }
    Ok(base + number)
}

fn take<'a>(wire: &mut &'a [u8], size: usize) -> Result<&'a [u8], Stop> {
    let (taken, rest) = wire.split_at_checked(size).ok_or(Stop::Short)?;
    *wire = rest;
    Ok(taken)
}

/// As many words as have room.
fn fitting(words: &str) -> String {
    let mut end = words.len().min(256);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    words[..end].to_owned()
}

/// What a remote that keeps the rules writes.
fn conversation(plan: &mut Plan<'_>, agreed: Agreed) -> (Vec<u8>, Vec<Said>) {
    let Agreed { rules, named, sent } = agreed;
    let (mut wire, mut said) = (Vec::new(), Vec::new());
    let mut stream = named.or(sent);
    let mut headless = named.is_some();
    while !plan.is_done() && wire.len() < 6000 {
        let counted = |plan: &mut Plan<'_>| match plan.byte() % 3 {
            0 => u64::from(plan.byte()),
            1 => u64::from(u32::from_le_bytes(plan.array())),
            _ => u64::from_le_bytes(plan.array()),
        };
        match plan.byte() % 13 {
            0 => {
                let taken = plan.flag().then(|| counted(plan));
                wire.extend(word(Word::Goodbye(taken), "", headless));
                said.push(Said::Goodbye(taken));
            }
            1 => {
                let taken = counted(plan);
                wire.extend(word(Word::Taken(taken), "", headless));
                said.push(Said::Taken(taken));
            }
            2 => {
                let words = plan.text(100);
                wire.extend(word(Word::Refused { skip: 0 }, &words, headless));
                said.push(Said::Refused(fitting(&words)));
            }
            3 => {
                let body = plan.bytes(200);
                wire.extend(headless.then_some(0xff));
                wire.push(0xf8 + plan.byte() % 4);
                wire.extend_from_slice(Head::of(body.len()).bytes());
                wire.extend_from_slice(body);
            }
            10 if !rules.streaming => {
                let (id, words) = (u32::from_le_bytes(plan.array()), plan.text(100));
                let why = match plan.byte() {
                    1 => Failure::Dropped,
                    2 => Failure::Panicked,
                    3 => Failure::NotServed,
                    4 => Failure::Busy,
                    5 => Failure::Refused,
                    code => Failure::Other(code),
                };
                let failed = Word::Failed { id, why, skip: 0 };
                wire.extend(word(failed, &words, false));
                said.push(Said::Failed(id, why, fitting(&words)));
            }
            kind @ 11.. if !rules.streaming => {
                let id = u32::from_le_bytes(plan.array()) >> (plan.byte() % 32);
                let call = match kind {
                    11 => Call::Request(id),
                    _ => Call::Reply(id),
                };
                let (size, data_type) = agreed.some_message(plan, None);
                let payload = some_payload(plan, size);
                let named = Some(data_type).filter(|_| data_type != rules.data_type || plan.flag());
                wire.extend_from_slice(Head::of_call(size, named, call).bytes());
                wire.extend_from_slice(&payload);
                said.push(Said::Call(call, data_type, payload));
            }
            kind => {
                let (size, data_type) = agreed.some_message(plan, stream);
                let payload = some_payload(plan, size);
                let head = match payload.first() {
                    Some(first) if headless && is_marked(*first) => Head::marked(size),
                    _ if headless => Head::NONE,
                    _ if data_type != rules.data_type || kind == 4 => {
                        Head::of_type(size, data_type)
                    }
                    _ => Head::of(size),
                };
                wire.extend_from_slice(head.bytes());
                wire.extend_from_slice(&payload);
                said.push(Said::Message(data_type, payload));
                stream = stream.or(Some(size).filter(|_| rules.streaming));
                headless |= rules.streaming;
            }
        }
    }
    (wire, said)
}
