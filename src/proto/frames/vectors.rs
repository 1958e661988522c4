//! The vectors of tests/wire/frames.txt, made by a program that has nothing in common with this code.

use super::*;
use crate::proto::who;

const TEXT: &str = include_str!("../../../tests/wire/frames.txt");

const RULES: Rules = Rules {
    data_type: DataType::Bytes,
    strict: false,
    streaming: false,
    lanpeer: true,
    max_size: usize::MAX,
};

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// The words of a line before its bytes; `-` is none.
fn words(what: &str) -> Vec<&str> {
    what.split(' ').filter(|word| *word != "-").collect()
}

fn data_type_of(name: &str) -> DataType {
    match name {
        "raw" => DataType::Raw,
        "json" => DataType::Json,
        _ => DataType::Bytes,
    }
}

fn step(rules: Rules, wire: &[u8]) -> Result<Step, FrameError> {
    for end in 0..wire.len() {
        let cut = FrameDecoder::new(rules, false).next(&wire[..end], None);
        let is_early = matches!(
            cut,
            Ok(Step::Message { skip, .. } | Step::Call { skip, .. }) if skip <= end
        );
        assert!(
            is_early || matches!(cut, Ok(Step::Need(_))),
            "{cut:?} at {end} of {wire:x?}"
        );
    }
    FrameDecoder::new(rules, false).next(wire, None)
}

#[test]
fn the_vectors() {
    let mut seen = 0;
    for line in TEXT
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        seen += 1;
        let (name, rest) = line.split_once(": ").expect("a name");
        let (what, wire) = rest.split_once(" = ").expect("bytes");
        let wire = bytes(wire);
        let end = wire.len();
        let number = || what.parse::<u64>().expect("a number");
        let is_word = |said, text: &str| {
            assert_eq!(word(said, text, false), wire, "{line}");
            let read = step(RULES, &wire);
            assert_eq!(read, Ok(Step::Word { end, word: said }), "{line}");
        };
        match name {
            "length" => {
                let mut head = Head::NONE;
                head.push_length(number());
                assert_eq!(head.bytes(), wire, "{line}");
                assert_eq!(length(&wire), Ok((end, number())), "{line}");
                let message = match usize::try_from(number()) {
                    Ok(size) => Ok(Step::Message {
                        skip: end,
                        size,
                        data_type: DataType::Bytes,
                    }),
                    // Where a pointer has 32 bits.
                    Err(_) => Err(FrameError::TooLarge {
                        size: number(),
                        limit: usize::MAX,
                    }),
                };
                assert_eq!(step(RULES, &wire), message, "{line}");
            }
            "no length" => assert_eq!(length(&wire), Err(Some(Fault::Length)), "{line}"),
            "of type" => {
                let [data_type, payload] = words(what)[..] else {
                    panic!("{line}")
                };
                let data_type = data_type_of(data_type);
                let payload = bytes(payload);
                let head = Head::of_type(payload.len(), data_type);
                assert_eq!([head.bytes(), &payload].concat(), wire, "{line}");
                let (skip, size) = (end - payload.len(), payload.len());
                let message = Step::Message {
                    skip,
                    size,
                    data_type,
                };
                assert_eq!(step(RULES, &wire), Ok(message), "{line}");
            }
            "goodbye" | "taken" => {
                let said = match name {
                    "taken" => Word::Taken(number()),
                    _ => Word::Goodbye(words(what).first().map(|_| number())),
                };
                is_word(said, "");
            }
            "refused" => {
                let text = bytes(&words(what).concat());
                let text = std::str::from_utf8(&text).expect("UTF-8");
                let said = Word::Refused {
                    skip: end - text.len(),
                };
                is_word(said, text);
            }
            "request" | "reply" => {
                let [id, ref data_type @ .., payload] = words(what)[..] else {
                    panic!("{line}")
                };
                let id = id.parse().expect("32 bits");
                let call = match name {
                    "request" => Call::Request(id),
                    _ => Call::Reply(id),
                };
                let named = data_type.first().map(|name| data_type_of(name));
                let payload = bytes(payload);
                let size = payload.len();
                let head = Head::of_call(size, named, call);
                assert_eq!([head.bytes(), &payload].concat(), wire, "{line}");
                let taken = Step::Call {
                    skip: end - size,
                    size,
                    data_type: named.unwrap_or(DataType::Bytes),
                    call,
                };
                assert_eq!(step(RULES, &wire), Ok(taken), "{line}");
            }
            "failed" => {
                let [id, code, ref text @ ..] = words(what)[..] else {
                    panic!("{line}")
                };
                let text = bytes(&text.concat());
                let text = std::str::from_utf8(&text).expect("UTF-8");
                let said = Word::Failed {
                    id: id.parse().expect("32 bits"),
                    why: Failure::of(code.parse().expect("a byte")),
                    skip: end - text.len(),
                };
                is_word(said, text);
            }
            "no request" => {
                let read = FrameDecoder::new(RULES, false).next(&wire, None);
                assert!(
                    matches!(read, Err(FrameError::Frame(_))),
                    "{line}: {read:?}"
                );
            }
            "skipped" => assert_eq!(step(RULES, &wire), Ok(Step::Skip(end)), "{line}"),
            "wanted" => {
                assert_eq!(pulse(Pulse::Wanted(number()), false), wire, "{line}");
                let mut decoder = FrameDecoder::new(RULES, false);
                assert_eq!(decoder.next(&wire, None), Ok(Step::Skip(end)), "{line}");
                assert_eq!(
                    decoder.take_pulse(),
                    Some(Pulse::Wanted(number())),
                    "{line}"
                );
            }
            "beat" => {
                assert_eq!(pulse(Pulse::Beat, false), wire, "{line}");
                assert_eq!(step(RULES, &wire), Ok(Step::Skip(end)), "{line}");
            }
            "ends it" => {
                let unknown = FrameError::Frame(Fault::Kind(wire[0]));
                assert_eq!(
                    FrameDecoder::new(RULES, false).next(&wire, None),
                    Err(unknown)
                );
            }
            "stream" => stream(what, &wire, None),
            "stream of 3" => stream(what, &wire, Some(3)),
            "stream of 1" => stream(what, &wire, Some(1)),
            "who" => {
                let [id, ref labels @ ..] = words(what)[..] else {
                    panic!("{line}")
                };
                let label = |at: usize| labels.get(at).copied().unwrap_or_default().to_owned();
                let card = crate::proto::beacon::Card {
                    id: u64::from_str_radix(id, 16).expect("an id"),
                    name: label(0),
                    service: label(1),
                };
                assert_eq!(who::write(&card).to_vec(), wire, "{line}");
                let header = wire.first_chunk().expect("128 bytes");
                assert_eq!(who::parse(header), Ok(card), "{line}");
            }
            "who is it" => assert_eq!(who::QUESTION.to_vec(), wire, "{line}"),
            _ => panic!("{line}"),
        }
    }
    assert!(seen > 150, "{seen} vectors");
}

/// One direction of a stream with its goodbye, which is read and written.
fn stream(what: &str, wire: &[u8], named: Option<usize>) {
    let rules = Rules {
        streaming: true,
        ..RULES
    };
    let mut decoder = FrameDecoder::new(rules, named.is_some());
    let (mut size, mut start, mut written) = (named, 0, Vec::new());
    for payload in words(what) {
        let payload = bytes(payload);
        let headless = start > 0 || named.is_some();
        match decoder.next(&wire[start..], size) {
            Ok(Step::Message { skip, size: is, .. }) => {
                start += skip;
                assert_eq!(wire[start..start + is], payload);
                start += is;
                size = Some(is);
            }
            other => panic!("{other:?} in {wire:x?} at {start}"),
        }
        let head = match headless {
            false => Head::of(payload.len()),
            true if is_marked(payload[0]) => Head::marked(payload.len()),
            true => Head::NONE,
        };
        written.extend_from_slice(head.bytes());
        written.extend(payload);
    }
    let end = wire.len() - start;
    let goodbye = Step::Word {
        end,
        word: Word::Goodbye(None),
    };
    assert_eq!(decoder.next(&wire[start..], size), Ok(goodbye), "{wire:x?}");
    let headless = start > 0 || named.is_some();
    written.extend(word(Word::Goodbye(None), "", headless));
    assert_eq!(written, wire);
}
