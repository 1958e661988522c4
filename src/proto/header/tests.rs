use super::*;
use crate::proto::beacon::ID_MASK;
use proptest::prelude::*;

fn hello(text: &str) -> Result<Hello, HeaderError> {
    Hello::parse(text.as_bytes())
}

#[test]
fn hello_takes_either_dialect() {
    let expected = Hello {
        addr: "10.0.0.7:4000".parse().unwrap(),
        data_type: DataType::Json,
        strict: true,
        stream: None,
        version: Version::Peerpy,
        who: false,
        secure: None,
        to: None,
        key: None,
    };
    for text in [
        "HELLO|address_name=10.0.0.7:4000&data_type=json&strict=1",
        "HELLO|peer_name=10.0.0.7:4000&data_type=json&strict=True|||||",
        "HELLO|strict=yes&data_type=json&address_name=10.0.0.7:4000&peer_name=x||",
        "HELLO|data_type=json&unknown=&peer_name=10.0.0.7:4000",
    ] {
        assert_eq!(hello(text), Ok(expected.clone()), "{text}");
    }
}

#[test]
fn strict_reads_as_documented() {
    for (text, strict) in [
        ("", false),
        ("0", false),
        ("false", false),
        ("False", false),
        ("1", true),
        ("no", true),
    ] {
        let text = format!("HELLO|peer_name=1.2.3.4:5&data_type=raw&strict={text}");
        assert_eq!(hello(&text).unwrap().strict, strict, "{text}");
    }
}

#[test]
fn what_is_malformed_is_named() {
    use HeaderError::*;
    let address = |value: &str| Address {
        key: "peer_name",
        value: value.into(),
    };
    let number = |value: &str| Number {
        key: "data_size",
        value: value.into(),
    };
    for (text, error) in [
        ("HELLO", Missing("peer_name")),
        ("HELLO|peer_name=1.2.3.4:5", Missing("data_type")),
        ("HELLO|peer_name", NoEquals("peer_name".into())),
        ("HELLO|a=b=c", NoEquals("a=b=c".into())),
        ("HELLO|a=1&&b=2", NoEquals("".into())),
        ("HELLO|a=1&b=2&a=3", Repeated("a".into())),
        ("HELLO|a=1||||x", Stray("x".into())),
        (
            "HELLO|peer_name=1.2.3.4:5&data_type=raw&secure=1",
            Suite("1".into()),
        ),
        (
            "HELLO|peer_name=nonsense&data_type=raw",
            address("nonsense"),
        ),
        (
            "HELLO|peer_name=1.2.3.4:99999&data_type=raw",
            address("1.2.3.4:99999"),
        ),
        ("HELLO|peer_name=[::1]:5&data_type=raw", address("[::1]:5")),
        (
            "HELLO|peer_name=1.2.3.4:5&data_type=xml",
            DataType("xml".into()),
        ),
        (
            "HELLO|peer_name=1.2.3.4:5&data_type=raw&stream=1&data_size=0",
            number("0"),
        ),
        (
            "HELLO|peer_name=1.2.3.4:5&data_type=raw&stream=1&data_size=-1",
            number("-1"),
        ),
        (
            "HELLO|peer_name=1.2.3.4:5&data_type=raw&stream=1&data_size=+1",
            number("+1"),
        ),
        (
            "GET / HTTP/1.1",
            Unexpected {
                expected: "HELLO",
                got: "GET / HTTP/1.1".into(),
            },
        ),
    ] {
        assert_eq!(hello(text), Err(error), "{text}");
    }
    assert_eq!(Hello::parse(b"HELLO|a=\xff"), Err(NotUtf8));
    assert_eq!(Hello::parse(&[b'A'; 129]), Err(TooLong { len: 129 }));
}

#[test]
fn the_longest_hello_leaves_out_address_name() {
    let longest_suite = Wanted {
        suite: Suite::ChaCha,
        passphrase: true,
    };
    let longest = Hello {
        addr: "255.255.255.255:65535".parse().unwrap(),
        data_type: DataType::Bytes,
        strict: true,
        stream: Some(Stream::Of(u64::MAX)),
        version: Version::Frames,
        who: true,
        secure: Some(longest_suite),
        to: None,
        key: None,
    };
    let bytes = longest.write().unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("address_name"));
    assert_eq!(Hello::parse(&bytes), Ok(longest.clone()));
    // With a size of 4 GB, and one of WHO and encryption, there is room for who is meant; else that is
    // left out.
    let to = Some(ID_MASK);
    for (size, who, secure, key, fits) in [
        (u32::MAX.into(), true, None, None, true),
        (999_999, false, Some(longest_suite), Some(true), true),
        (9_999_999, false, Some(longest_suite), Some(true), false),
        (u64::MAX, false, Some(longest_suite), Some(false), false),
        (u64::MAX, true, Some(longest_suite), None, false),
    ] {
        let stream = Some(Stream::Of(size));
        let hello = Hello {
            stream,
            who,
            secure,
            to,
            key,
            ..longest.clone()
        };
        let read = Hello::parse(&hello.write().unwrap()).unwrap();
        assert_eq!(
            read,
            Hello {
                to: to.filter(|_| fits),
                ..hello
            }
        );
    }
}

#[test]
fn sizes_that_are_no_sizes() {
    for value in [
        "-1",
        "",
        "1e3",
        "0x10",
        "1 ",
        "99999999999999999999999",
        "１",
    ] {
        let mut bytes = [b'|'; HEADER_LEN];
        let text = format!("DATA|data_size={value}&data_type=raw");
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        let expected = HeaderError::Number {
            key: "data_size",
            value: value.into(),
        };
        assert_eq!(Between::parse(&bytes), Err(expected));
    }
}

#[test]
fn a_header_that_does_not_fit_is_an_error() {
    let word = "x".repeat(119);
    assert!(
        HeaderWriter::new("DENY")
            .pair("r", "")
            .pair("q", &word[..118])
            .finish()
            .is_ok()
    );
    let too_long = HeaderWriter::new("DENY")
        .pair("r", "")
        .pair("q", &word)
        .finish();
    assert_eq!(too_long, Err(HeaderError::TooLong { len: 129 }));
}

#[test]
fn ping_is_what_peerpy_sends() {
    assert_eq!(HeaderWriter::new("PING").finish(), Ok(PING));
    assert_eq!(Between::parse(&PING), Ok(Between::Other));
}

fn any_type() -> impl Strategy<Value = DataType> {
    prop_oneof![
        Just(DataType::Raw),
        Just(DataType::Json),
        Just(DataType::Bytes)
    ]
}

fn any_stream() -> impl Strategy<Value = Option<Stream>> {
    prop_oneof![
        Just(None),
        Just(Some(Stream::FromFirst)),
        (1..=u64::MAX).prop_map(|n| Some(Stream::Of(n)))
    ]
}

fn any_version() -> impl Strategy<Value = Version> {
    prop_oneof![
        Just(Version::Peerpy),
        Just(Version::Headers),
        Just(Version::Frames)
    ]
}

fn any_wanted() -> impl Strategy<Value = Option<Wanted>> {
    let suite = prop_oneof![Just(Suite::Aes), Just(Suite::ChaCha)];
    let wanted = (suite, any::<bool>());
    prop::option::of(wanted.prop_map(|(suite, passphrase)| Wanted { suite, passphrase }))
}

/// So many shares as there can be, and as there cannot.
#[test]
fn shares() {
    for (text, expected) in [
        ("ACCEPT|v=1&secure=aes", Some(0)),
        ("ACCEPT|v=1&secure=aes&shares=1", Some(1)),
        ("ACCEPT|v=1&secure=chacha&shares=8", Some(8)),
        ("ACCEPT|v=1&secure=aes&shares=0", None),
        ("ACCEPT|v=1&secure=aes&shares=9", None),
        ("ACCEPT|v=1&secure=aes&shares=+1", None),
        ("ACCEPT|v=1&secure=aes&shares=", None),
        ("ACCEPT|v=1&secure=aes-p&shares=1", None),
    ] {
        let shares = match Answer::parse(text.as_bytes()) {
            Ok(answer @ Answer::Accept { secure, .. }) => {
                assert_eq!(
                    Answer::parse(&answer.write().unwrap()),
                    Ok(answer),
                    "{text}"
                );
                Some(secure.unwrap().shares)
            }
            _ => None,
        };
        assert_eq!(shares, expected, "{text}");
    }
}

proptest! {
    #[test]
    fn hello_round_trips(ip: u32, port: u16, data_type in any_type(), strict: bool,
                         stream in any_stream(), version in any_version(), who: bool, secure in any_wanted(),
                         key: Option<bool>, to in prop::option::of(0..=ID_MASK)) {
        let addr = SocketAddrV4::new(ip.into(), port);
        // What is encrypted has no WHO behind its HELLO, and there is room for either.
        let key = key.filter(|_| secure.is_some() && !who);
        let hello = Hello { addr, data_type, strict, stream, version, who, secure, to, key };
        let read = Hello::parse(&hello.write().unwrap()).unwrap();
        // Left out where there is no room for it.
        prop_assert!(read.to == to || read.to.is_none());
        prop_assert_eq!(Hello { to, ..read }, hello);
    }

    #[test]
    fn data_round_trips(size: usize, data_type in any_type()) {
        let expected = Between::Data { size: size as u64, data_type };
        prop_assert_eq!(Between::parse(&data_header(size, data_type)), Ok(expected));
    }

    #[test]
    fn every_prefix_and_any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..140)) {
        for end in 0..=bytes.len() {
            let _ = Hello::parse(&bytes[..end]);
            let _ = Answer::parse(&bytes[..end]);
        }
    }

    #[test]
    fn near_headers_are_answered(text in "(HELLO|DATA|ACCEPT|DENY|PING)(\\||&|=|[a-z_]{1,9}|[0-9.:]{1,6}){0,20}") {
        let bytes = &text.as_bytes()[..text.len().min(HEADER_LEN)];
        let _ = Hello::parse(bytes);
        let _ = Answer::parse(bytes);
    }
}

/// Whatever a silence in the middle of it means: the beginning is not taken for all of it.
#[test]
fn no_beginning_of_a_lanpeers_header_may_be_whole() {
    for stream in [None, Some(Stream::FromFirst), Some(Stream::Of(4711))] {
        let hello = Hello {
            addr: "192.168.178.100:50001".parse().unwrap(),
            data_type: DataType::Bytes,
            strict: false,
            stream,
            version: Version::Frames,
            who: stream.is_none(),
            secure: None,
            to: None,
            key: None,
        };
        let header = hello.write().unwrap();
        for end in 0..HEADER_LEN {
            assert!(!Hello::may_be_whole(&header[..end]), "{stream:?} at {end}");
        }
    }
    let accept = Answer::Accept {
        version: Version::Frames,
        secure: None,
        key: None,
    }
    .write()
    .unwrap();
    for end in 0..HEADER_LEN {
        // The word alone is the manual's own form. What ends with padding is never taken for whole.
        let manual = &accept[..end] == b"ACCEPT" || &accept[..end] == b"ACCEPT|";
        assert_eq!(Answer::may_be_whole(&accept[..end]), manual, "at {end}");
    }
}

#[test]
fn what_others_say_may_be_whole_without_padding() {
    for text in [
        "HELLO|address_name=10.0.0.7:4000&data_type=json&strict=1",
        "HELLO|peer_name=10.0.0.7:4000&data_type=json&strict=True",
    ] {
        assert!(Hello::may_be_whole(text.as_bytes()), "{text}");
    }
    for text in ["ACCEPT", "DENY", "DENY|reason=busy"] {
        assert!(Answer::may_be_whole(text.as_bytes()), "{text}");
    }
}
