//! Puts together what comes in pieces: a header, and bytes whose number is known.

use crate::net::handshake::Step;
use crate::proto::header::HEADER_LEN;

/// A header of a handshake as it comes: 128 bytes, or fewer that are ended by a newline or by
/// silence. peerpy takes what one `recv` returns for a header, and people type headers into `nc`.
pub(super) struct HeaderReader {
    bytes: [u8; HEADER_LEN],
    len: usize,
}

/// A header that is whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Without the newline.
    pub bytes: Vec<u8>,
    /// What came behind the newline.
    pub early: Vec<u8>,
}

impl HeaderReader {
    pub fn new() -> HeaderReader {
        HeaderReader {
            bytes: [0; HEADER_LEN],
            len: 0,
        }
    }

    /// How to go on where the header is not whole. A silence says nothing before the first byte.
    pub fn read<T>(&self) -> Step<T> {
        Step::Read {
            most: HEADER_LEN - self.len,
            silence: self.len > 0,
        }
    }

    /// Takes bytes, no more of them than [`read`](Self::read) has asked for. Only what is new is
    /// searched for a newline, so that a client that sends byte by byte costs no more than another.
    pub fn take(&mut self, bytes: &[u8]) -> Option<Header> {
        let (looked, len) = (self.len, self.len + bytes.len());
        self.bytes[looked..len].copy_from_slice(bytes);
        self.len = len;
        if let Some(newline) = bytes.iter().position(|byte| *byte == b'\n') {
            let end = looked + newline;
            let line = &self.bytes[..end];
            return Some(Header {
                bytes: line.strip_suffix(b"\r").unwrap_or(line).to_vec(),
                early: self.bytes[end + 1..len].to_vec(),
            });
        }
        (len == HEADER_LEN).then(|| self.whole())
    }

    /// The header that a silence has ended, if it has: `may_be_whole` says whether the bytes can be
    /// all.
    pub fn take_silence(&self, may_be_whole: impl Fn(&[u8]) -> bool) -> Option<Header> {
        let bytes = &self.bytes[..self.len];
        // More padding follows the first of it.
        let ended = self.len > 0 && !bytes.ends_with(b"|") && may_be_whole(bytes);
        ended.then(|| self.whole())
    }

    /// All that was read, as a header with nothing behind it.
    fn whole(&self) -> Header {
        Header {
            bytes: self.bytes[..self.len].to_vec(),
            early: Vec::new(),
        }
    }
}

/// Exactly N bytes as they come. No more than these are asked for, since what follows may belong to the
/// connection's reader.
pub(super) struct Exactly<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Exactly<N> {
    pub fn new() -> Exactly<N> {
        Exactly {
            bytes: [0; N],
            len: 0,
        }
    }

    /// How to go on where they are not all there. No silence ends them: there is no short form.
    pub fn read<T>(&self) -> Step<T> {
        Step::Read {
            most: (N - self.len).min(HEADER_LEN),
            silence: false,
        }
    }

    /// Has what is missing read, in the state that this makes of it.
    pub fn read_in<T, S>(self, state: &mut S, next: impl FnOnce(Self) -> S) -> Step<T> {
        let step = self.read();
        *state = next(self);
        step
    }

    /// Takes bytes, no more of them than [`read`](Self::read) has asked for.
    pub fn take(&mut self, bytes: &[u8]) -> Option<[u8; N]> {
        let end = self.len + bytes.len();
        self.bytes[self.len..end].copy_from_slice(bytes);
        self.len = end;
        (end == N).then_some(self.bytes)
    }
}

/// Bytes as they come, so many that only the handshake before them has told how many.
pub(super) struct Several {
    bytes: Vec<u8>,
    len: usize,
}

impl Several {
    pub fn new(len: usize) -> Several {
        let bytes = Vec::with_capacity(len);
        Several { bytes, len }
    }

    /// How to go on where they are not all there.
    pub fn read<T>(&self) -> Step<T> {
        Step::Read {
            most: (self.len - self.bytes.len()).min(HEADER_LEN),
            silence: false,
        }
    }

    /// Has what is missing read, in the state that this makes of it.
    pub fn read_in<T, S>(self, state: &mut S, next: impl FnOnce(Self) -> S) -> Step<T> {
        let step = self.read();
        *state = next(self);
        step
    }

    /// Takes bytes, no more of them than [`read`](Self::read) has asked for. `true`: they are all there.
    pub fn take(&mut self, bytes: &[u8]) -> bool {
        self.bytes.extend_from_slice(bytes);
        self.bytes.len() >= self.len
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes of these bytes, in pieces of these sizes, and how many of them were taken.
    fn read(bytes: &[u8], sizes: &[usize]) -> (Option<Header>, usize) {
        let mut reader = HeaderReader::new();
        let mut sizes = sizes.iter().copied().cycle();
        let mut taken = 0;
        while taken < bytes.len() {
            let Step::Read { most, silence } = reader.read::<()>() else {
                panic!()
            };
            assert_eq!((most, silence), (HEADER_LEN - taken, taken > 0));
            let size = sizes.next().unwrap_or(1).clamp(1, most);
            let piece = &bytes[taken..(taken + size).min(bytes.len())];
            taken += piece.len();
            if let Some(header) = reader.take(piece) {
                return (Some(header), taken);
            }
        }
        (None, taken)
    }

    fn padded(text: &str) -> Vec<u8> {
        format!("{text:|<HEADER_LEN$}").into_bytes()
    }

    #[test]
    fn a_padded_header_is_whole_with_its_last_byte() {
        let header = padded("HELLO|a=b");
        let long = [&header[..], b"behind"].concat();
        for size in 1..=HEADER_LEN {
            for len in 0..HEADER_LEN {
                assert_eq!(read(&header[..len], &[size]), (None, len));
            }
            let (found, taken) = read(&long, &[size]);
            let found = found.expect("whole");
            assert_eq!((found.bytes, found.early), (header.clone(), Vec::new()));
            assert_eq!(taken, HEADER_LEN, "what is behind it stays where it is");
        }
    }

    #[test]
    fn a_line_ends_with_its_newline() {
        for (line, early) in [("HELLO|a=b\n", ""), ("HELLO|a=b\r\n", ""), ("\n", "\n")] {
            let bytes = [line.as_bytes(), early.as_bytes()].concat();
            for size in 1..=bytes.len() {
                let (found, taken) = read(&bytes, &[size]);
                let found = found.expect("whole");
                assert_eq!(found.bytes, line.trim_end().as_bytes());
                let behind = [&found.early[..], &bytes[taken..]].concat();
                assert_eq!(behind, early.as_bytes());
            }
        }
    }

    #[test]
    fn silence_ends_what_can_be_all() {
        let mut reader = HeaderReader::new();
        assert_eq!(reader.take_silence(|_| true), None, "nothing has come");
        assert_eq!(reader.take(b"HELLO|a=b"), None);
        assert_eq!(reader.take_silence(|_| false), None);
        let header = reader.take_silence(|bytes| bytes == b"HELLO|a=b");
        assert_eq!(header.expect("whole").bytes, b"HELLO|a=b");
        assert_eq!(reader.take(b"|"), None);
        assert_eq!(reader.take_silence(|_| true), None, "padding has begun");
    }

    proptest! {
        #[test]
        fn splits_make_no_difference(
            bytes in proptest::collection::vec(prop_oneof![4 => any::<u8>(), 1 => Just(b'\n')], 0..300),
            sizes in proptest::collection::vec(1usize..200, 1..10),
        ) {
            let (whole, taken_at_once) = read(&bytes, &[HEADER_LEN]);
            let (split, taken) = read(&bytes, &sizes);
            prop_assert!(taken <= HEADER_LEN && taken_at_once <= HEADER_LEN);
            match (whole, split) {
                (None, None) => {}
                (Some(whole), Some(split)) => {
                    prop_assert_eq!(whole.bytes, split.bytes);
                    let behind = |early: Vec<u8>, taken| [&early[..], &bytes[taken..]].concat();
                    prop_assert_eq!(behind(whole.early, taken_at_once), behind(split.early, taken));
                }
                (whole, split) => prop_assert!(false, "{:?} {:?}", whole, split),
            }
        }

        #[test]
        fn exactly_so_many(sizes in proptest::collection::vec(1usize..60, 1..60)) {
            let bytes: Vec<u8> = (0..48).collect();
            let (mut reader, mut taken) = (Exactly::<48>::new(), 0);
            for size in sizes.iter().copied().cycle() {
                let Step::Read { most, silence } = reader.read::<()>() else { panic!() };
                prop_assert_eq!((most, silence), (48 - taken, false));
                let end = taken + size.min(most);
                let all = reader.take(&bytes[taken..end]);
                taken = end;
                prop_assert_eq!(all.is_some(), taken == 48);
                if let Some(all) = all {
                    prop_assert_eq!(&all[..], &bytes[..]);
                    break;
                }
            }
        }
    }
}
