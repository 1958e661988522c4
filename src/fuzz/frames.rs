use super::agreed::{Agreed, is_the_same_in_pieces, some_payload};
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
    let agreed = Agreed::new(&mut plan, None);
    let seed = plan.byte();
    let written = plan.flag();
    if written {
        let (wire, expected) = conversation(&mut plan, agreed);
        let outcome = read(agreed, &wire, []);
        assert_eq!(outcome, expected);
        is_the_same_in_pieces(&wire, seed, &outcome, |cuts| read(agreed, &wire, cuts));
    } else {
        let wire = plan.rest();
        let outcome = read(agreed, wire, []);
        if let End::Error(error) = &outcome.end {
            is_clean(error);
        }
        is_the_same_in_pieces(wire, seed, &outcome, |cuts| read(agreed, wire, cuts));
    }
}

#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    pub messages: Vec<(DataType, Vec<u8>)>,
    pub end: End,
}

pub(super) type End = super::agreed::End<FrameError>;

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
                let (size, data_type) = agreed.some_message(plan, stream);
                let with_header = has_header && (!first_may_lack_it || kind > 5);
                if with_header {
                    wire.extend(data_header(size, data_type));
                    // The keepalives of a peerpy come from another thread.
                    if !rules.lanpeer && size > 0 && kind == 9 {
                        wire.extend(PING);
                    }
                }
                let mut payload = some_payload(plan, size);
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
