//! Depth, expanded size and memory.

use super::*;

/// `x = []`, so often `x = [x, x]`.
fn doubled(times: usize) -> Vec<u8> {
    let mut pickle = b"]".to_vec();
    for _ in 0..times {
        // MEMOIZE would do too. PUT 0, MARK, GET 0 twice, LIST.
        pickle.extend(b"q\x000(h\x00h\x00l");
    }
    pickle.push(op::STOP);
    pickle
}

fn nested(depth: usize) -> Vec<u8> {
    let mut pickle = vec![op::EMPTY_LIST; depth];
    pickle.extend(vec![op::APPEND; depth - 1]);
    pickle.push(op::STOP);
    pickle
}

#[test]
fn depth_is_bounded() {
    #[derive(Debug, Deserialize)]
    struct Nest(#[allow(dead_code)] Vec<Nest>);

    let limits = |depth| Limits {
        depth,
        ..Limits::default()
    };
    for depth in [1, 10, MAX_DEPTH] {
        decode::<Value>(&nested(depth), limits(depth)).unwrap();
        decode::<Nest>(&nested(depth), limits(depth)).unwrap();
        decode::<Value>(&nested(depth + 1), limits(depth)).unwrap_err();
    }
    refused(&nested(500_000), "nested more than 128 deep");
    // l = []; l.append(l)
    refused(b"\x80\x04]\x94h\x00a.", "contains itself");
    refused(b"\x80\x04}\x94\x8c\x01ah\x00s.", "contains itself");
}

#[test]
fn expansion_is_bounded() {
    let limits = Limits::default();
    decode::<Value>(&doubled(10), limits).unwrap();
    refused(&doubled(30), "become more than 16777216");
    // A text of 100 kB in 10,000 places; and the same as bytes, as protocol 2 has them.
    let text = |pickle: &mut Vec<u8>| {
        pickle.extend(b"X\xa0\x86\x01\x00");
        pickle.extend([b'a'; 100_000]);
    };
    let mut texts = b"\x80\x02](".to_vec();
    text(&mut texts);
    texts.extend(b"q\x00");
    texts.extend(b"h\x00".repeat(10_000));
    texts.extend(b"e.");
    refused(&texts, "become more than 16777216");
    let mut bytes = b"\x80\x02](c_codecs\nencode\nq\x01".to_vec();
    text(&mut bytes);
    bytes.extend(b"q\x02\x8c\x06latin1q\x03\x86R");
    bytes.extend(b"h\x01h\x02h\x03\x86R".repeat(10_000));
    bytes.extend(b"e.");
    assert!(decode::<Vec<String>>(&bytes, limits).is_err());
    // What nobody wants costs nothing.
    decode::<IgnoredAny>(&doubled(30), limits).unwrap();
}

#[test]
fn what_repeats_nothing_is_never_too_large() {
    let limits = Limits {
        expansion: 0,
        ..Limits::default()
    };
    for value in [
        json!([[], [], [null], {}, "", "a", {"": {"": 0}}]),
        json!("a".repeat(1000)),
    ] {
        let pickle = encoded(&value);
        assert_eq!(decode(&pickle, limits), Ok((value, pickle.len())));
    }
    let bytes = b"C\xff"
        .iter()
        .chain(&[1; 255])
        .chain(b".")
        .copied()
        .collect::<Vec<_>>();
    assert_eq!(decode(&bytes, limits), Ok((vec![1u8; 255], bytes.len())));
    assert!(decode::<Value>(&doubled(10), limits).is_err());
}

#[test]
fn what_repeats_counts_as_what_it_became() {
    let (_, size) = decode::<Value>(&doubled(12), Limits::default()).unwrap();
    assert_eq!(size, ((1 << 13) - 1) * 32);
}

/// The worst that pickles of a mebibyte do to the reader itself.
#[test]
fn the_memory_of_the_reader_is_bounded() {
    const SIZE: usize = 1 << 20;
    let row = |first: &[u8], again: &[u8], last: &[u8]| {
        let times = (SIZE - first.len() - last.len()) / again.len();
        [first, &again.repeat(times), last].concat()
    };
    let mut worst = 0;
    for pickle in [
        row(b"", b"]", b""),
        row(b"(", b"]", b"l."),
        row(b"(", b"]\x94", b"l."),
        row(b"N", b"\x85", b"."),
        row(b"(N", b"\x85\x94", b"l."),
        row(b"", b"(", b""),
        row(b"](", b"N(l", b"e."),
        row(b"](", b"(", b"e."),
        row(b"", b"]a", b"."),
        row(b"(N", b"2", b"t."),
        row(b"(K\x01", b"\x94", b"t."),
        row(b"(", b"]]2", b"\x94\x94t."),
        row(b"V", b"\xff", b"\n."),
        row(b"(", b"V\xff\n", b"l."),
    ] {
        worst = worst.max(measured(&pickle));
    }
    println!("at most {worst} bytes for a byte of the pickle");
    assert!(worst <= ARENA_PER_BYTE);
}

fn measured(pickle: &[u8]) -> usize {
    super::read::memory(pickle).div_ceil(pickle.len())
}
