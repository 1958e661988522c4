use super::dice::Dice;
use super::is_clean;
use super::plan::Plan;
use crate::proto::data_type::DataType;
use crate::proto::frame::{Decoder, FrameError, Rules, Step};
use crate::proto::header::{HEADER_LEN, HeaderWriter, PING, data_header};

/// No step waits for more than this: a header, and a keepalive between it and its payload.
const NEED_MAX: usize = 2 * HEADER_LEN;

/// Any bytes as what follows a handshake: how they are cut does not matter. And messages that were
/// written by the rules are read as what they are.
pub fn frames(data: &[u8]) {
    let mut plan = Plan::new(data);
    let agreed = agreed(&mut plan);
    let seed = plan.byte();
    let written = plan.flag();
    if written {
        let (wire, expected) = conversation(&mut plan, agreed);
        let outcome = read(agreed, &wire, []);
        assert_eq!(outcome, expected);
        cut(agreed, &wire, seed, &outcome);
    } else {
        let wire = plan.rest();
        let outcome = read(agreed, wire, []);
        if let End::Error(error) = &outcome.end {
            is_clean(error);
        }
        cut(agreed, wire, seed, &outcome);
    }
}

/// What a handshake agreed on, and what this side has done since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    pub rules: Rules,
    /// The size of a stream's messages that HELLO named.
    pub named: Option<usize>,
    /// The size that our own first message gave the stream.
    pub sent: Option<usize>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    pub messages: Vec<(DataType, Vec<u8>)>,
    pub end: End,
}

#[derive(Debug, PartialEq)]
pub(super) enum End {
    /// Between two messages, or so many bytes after that.
    Input {
        left: usize,
    },
    /// In a payload that lacks so many bytes.
    Payload {
        missing: usize,
    },
    Error(FrameError),
}

fn agreed(plan: &mut Plan<'_>) -> Agreed {
    let flags = plan.byte();
    let is = |bit: u8| flags >> bit & 1 == 1;
    let max_size = plan.pick(&[300, 1, 127, 128, 129, 2000, 70_000, usize::MAX]);
    let rules = Rules {
        data_type: plan.pick(&[DataType::Bytes, DataType::Json, DataType::Raw]),
        strict: is(0),
        streaming: is(1),
        lanpeer: is(2),
        max_size,
    };
    let size = Some(plan.up_to(299).min(max_size - 1) + 1);
    Agreed {
        rules,
        named: size.filter(|_| is(1) && is(3)),
        sent: size.filter(|_| is(1) && is(4)),
    }
}

/// Reads `wire` as the reader thread does, given it in pieces that end at `cuts`, each before the
/// silence that would settle what is ambiguous, except for the last.
pub(super) fn read(agreed: Agreed, wire: &[u8], cuts: impl IntoIterator<Item = usize>) -> Outcome {
    let Agreed { rules, named, sent } = agreed;
    let mut decoder = Decoder::new(rules, named.is_some());
    let mut stream = named.or(sent);
    let mut messages = Vec::new();
    let (mut start, mut need, mut payload) = (0, 0, None);
    for end in cuts.into_iter().chain([wire.len()]) {
        loop {
            let input = &wire[start..end];
            if let Some((data_type, size)) = payload {
                let Some(bytes) = input.get(..size) else {
                    break;
                };
                messages.push((data_type, bytes.to_vec()));
                start += size;
                payload = None;
                continue;
            }
            let again = decoder.same_again(input);
            let step = match decoder.next(input, stream) {
                Ok(step) => step,
                Err(error) => {
                    return Outcome {
                        messages,
                        end: End::Error(error),
                    };
                }
            };
            if let Some((size, data_type)) = again {
                let skip = HEADER_LEN;
                let message = Step::Message {
                    skip,
                    size,
                    data_type,
                };
                assert_eq!(step, message, "the short cut leads elsewhere");
            }
            let waits = matches!(step, Step::Need(_));
            assert!(
                waits || input.len() >= need,
                "{step:?} before it has the {need} it needs"
            );
            need = 0;
            match step {
                Step::Need(n) => {
                    assert!(n > input.len() && n <= NEED_MAX, "{n} of {}", input.len());
                    need = n;
                    break;
                }
                Step::Skip(n) => {
                    assert!(n == HEADER_LEN && n <= input.len());
                    start += n;
                }
                Step::Message {
                    skip,
                    size,
                    data_type,
                } => {
                    assert!(skip <= input.len() && skip + size.min(1) > 0);
                    assert!(size <= rules.max_size || stream == Some(size));
                    assert!(!rules.strict || data_type == rules.data_type);
                    start += skip;
                    payload = Some((data_type, size));
                    if rules.streaming {
                        assert_eq!(*stream.get_or_insert(size), size);
                    }
                }
                Step::Word { .. } | Step::Call { .. } => panic!("text has none"),
                Step::Ambiguous => {
                    assert!(!rules.lanpeer && !input.is_empty());
                    if end < wire.len() {
                        break;
                    }
                    decoder.take_as_frame();
                }
            }
        }
    }
    let left = wire.len() - start;
    let end = match payload {
        Some((_, size)) => End::Payload {
            missing: size - left,
        },
        None => End::Input { left },
    };
    Outcome { messages, end }
}

/// The same bytes one by one, and in pieces.
fn cut(agreed: Agreed, wire: &[u8], seed: u8, whole: &Outcome) {
    let one_by_one = read(agreed, wire, 0..wire.len());
    assert_eq!(&one_by_one, whole, "one by one");
    let mut dice = Dice::new(seed.into());
    let mut end = 0;
    let pieces = std::iter::from_fn(|| {
        end += dice.below(150);
        (end < wire.len()).then_some(end)
    });
    let pieces: Vec<usize> = pieces.collect();
    let in_pieces = read(agreed, wire, pieces.iter().copied());
    assert_eq!(&in_pieces, whole, "cut at {pieces:?}");
}

/// What a remote that keeps the rules writes, perhaps up to one that it breaks.
fn conversation(plan: &mut Plan<'_>, agreed: Agreed) -> (Vec<u8>, Outcome) {
    let Agreed { rules, named, sent } = agreed;
    let mut wire = Vec::new();
    let mut messages = Vec::new();
    let mut stream = named.or(sent);
    let mut headerless = named.is_some();
    let mut end = End::Input { left: 0 };
    while !plan.is_done() && wire.len() < 6000 {
        // Where a header may stand: in a stream, only before its first message.
        let has_header = !rules.streaming || !headerless;
        let first_may_lack_it = sent.is_some() && !rules.lanpeer;
        match plan.byte() % 10 {
            0 if !rules.lanpeer || has_header => wire.extend(PING),
            1 if !rules.streaming => {
                let later = HeaderWriter::new("LATER").pair("key", plan.byte());
                wire.extend(later.finish().expect("fits"));
            }
            2 if has_header && !first_may_lack_it => {
                let (bytes, error) = broken(plan, rules);
                wire.extend(bytes);
                end = End::Error(error);
                break;
            }
            kind => {
                let size = stream.unwrap_or(plan.up_to(299).min(rules.max_size));
                let data_type = match rules.strict || rules.streaming {
                    true => rules.data_type,
                    false => plan.pick(&[DataType::Bytes, DataType::Json, DataType::Raw]),
                };
                let may_be_empty = data_type == DataType::Bytes && !rules.streaming;
                let size = if may_be_empty { size } else { size.max(1) };
                let with_header = has_header && (!first_may_lack_it || kind > 5);
                if with_header {
                    wire.extend(data_header(size, data_type));
                    // The keepalives of a peerpy come from another thread.
                    if !rules.lanpeer && size > 0 && kind == 9 {
                        wire.extend(PING);
                    }
                }
                let seed = plan.byte();
                let mut payload: Vec<u8> = (0..size)
                    .map(|at| seed.wrapping_add((at * 7) as u8))
                    .collect();
                // One that begins like a keepalive or a header may be taken for one, from a peerpy.
                if payload.first().is_some_and(|first| b"PD".contains(first)) {
                    payload[0] = b'{';
                }
                wire.extend(&payload);
                messages.push((data_type, payload));
                stream = stream.or(Some(size).filter(|_| rules.streaming));
                headerless |= rules.streaming;
            }
        }
    }
    (wire, Outcome { messages, end })
}

/// A DATA header that no remote may send, and what it is.
fn broken(plan: &mut Plan<'_>, rules: Rules) -> ([u8; HEADER_LEN], FrameError) {
    let Rules {
        data_type,
        max_size: limit,
        ..
    } = rules;
    let other = match data_type {
        DataType::Json => DataType::Raw,
        _ => DataType::Json,
    };
    match plan.byte() % 3 {
        0 if limit < usize::MAX => {
            let size = limit + 1 + plan.up_to(1000);
            let error = FrameError::TooLarge {
                size: size as u64,
                limit,
            };
            (data_header(size, data_type), error)
        }
        1 if rules.strict => {
            let error = FrameError::DeniedType {
                expected: data_type,
                got: other,
            };
            (data_header(1, other), error)
        }
        _ => {
            let bytes = [0xff; HEADER_LEN];
            (
                bytes,
                FrameError::Header(crate::proto::header::HeaderError::NotUtf8),
            )
        }
    }
}
