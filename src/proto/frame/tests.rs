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
                Step::Word { .. } | Step::Call { .. } => panic!("text has none"),
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

/// Where the bytes are cut: at any places, in their order.
pub fn cuts(wire: &[u8], picks: Vec<prop::sample::Index>) -> Vec<usize> {
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
        // A frame that looks like a keepalive cannot be told from one; leave those out.
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
                Ok(Step::Word { .. } | Step::Call { .. }) => prop_assert!(false, "text has none"),
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
    let wire = [&data_header(3, DataType::Bytes)[..], b"abc"].concat();
    assert_eq!(decoder.next(&wire, Some(3)), Ok(crossed));
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

#[test]
fn a_keepalive_between_a_header_and_its_payload() {
    let rules = Rules {
        data_type: DataType::Json,
        lanpeer: false,
        ..RULES
    };
    for size in [2, 10, 127, 128, 129, 400] {
        let payload = vec![b'7'; size];
        let header = data_header(size, DataType::Json);
        let plain = [&header[..], &payload].concat();
        let wire = [&plain[..], &header, &PING, &payload, &plain].concat();
        for cut in 0..wire.len() {
            let messages = read(rules, None, &wire, &[cut]).unwrap();
            assert_eq!(messages, vec![payload.clone(); 3], "{size} {cut}");
        }
    }
    // Bytes may be anything: where nothing follows, they were the message.
    let rules = Rules {
        data_type: DataType::Bytes,
        ..rules
    };
    for payload in [&PING[..], b"PING", b"PING||||", b"P", b"PINGPING"] {
        let header = data_header(payload.len(), DataType::Bytes);
        let plain = [&header[..], payload].concat();
        assert_eq!(read(rules, None, &plain, &[]).unwrap(), [payload]);
        let wire = [&header[..], &PING, payload].concat();
        assert_eq!(read(rules, None, &wire, &[]).unwrap(), [payload]);
    }
    // A stream's first message.
    let header = data_header(3, DataType::Bytes);
    let wire = [&header[..], &PING, b"one", &PING, b"two"].concat();
    for cut in 0..wire.len() {
        let messages = read(PEERPY_STREAM, None, &wire, &[cut]).unwrap();
        assert_eq!(messages, [b"one", b"two"], "{cut}");
    }
}
