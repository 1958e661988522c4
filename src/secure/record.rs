//! What follows the handshake: records, each the bytes of the plain protocol, sealed.
//!
//! ```text
//! length, 2 bytes, the high one first: 16 to 65,535
//! length bytes: up to 65,519 bytes sealed, and their tag of 16
//! ```
//!
//! Records are counted from 0 in each direction, and the number is the nonce: so one that is
//! altered, repeated, left out or out of order does not open. A record of no bytes is the last.
//! After every 65,536th record its direction has a new key, Noise's `REKEY` of the old one.

use std::hint::black_box;

use ring::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::noise::{nonce, wipe_stack};
use super::{Forged, Suite};

/// The length before each record.
pub(crate) const PREFIX: usize = 2;
pub(crate) const TAG: usize = 16;
/// So many bytes of the plain protocol fit into one record.
pub(crate) const MAX_PLAIN: usize = u16::MAX as usize - TAG;

const RECORDS_PER_KEY: u64 = 1 << 16;

/// The key of one direction, and the number of its next record.
struct Cipher {
    suite: Suite,
    /// Large, and it changes hands with the right to write.
    key: Box<LessSafeKey>,
    next: u64,
}

impl Cipher {
    fn new(suite: Suite, key: &[u8; 32]) -> Result<Cipher, Forged> {
        let key = Box::new(Self::key(suite, key)?);
        Ok(Cipher {
            suite,
            key,
            next: 0,
        })
    }

    fn key(suite: Suite, key: &[u8]) -> Result<LessSafeKey, Forged> {
        let key = UnboundKey::new(algorithm(suite), key).map_err(|_| Forged)?;
        Ok(LessSafeKey::new(key))
    }

    fn nonce(&self, number: u64) -> Nonce {
        nonce(self.suite, number)
    }

    /// After each record.
    fn count(&mut self) -> Result<(), Forged> {
        self.next += 1;
        if self.next % RECORDS_PER_KEY == 0 {
            self.change_key()?;
            wipe_stack();
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn change_key(&mut self) -> Result<(), Forged> {
        let mut key = Zeroizing::new([0; 32]);
        let nonce = self.nonce(u64::MAX);
        // The tag is not part of the new key.
        let _ = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::empty(), &mut key[..])
            .map_err(|_| Forged)?;
        // In the place of the old one, which is so gone.
        *self.key = Self::key(self.suite, &key[..])?;
        Ok(())
    }
}

impl Drop for Cipher {
    fn drop(&mut self) {
        // `ring` does not wipe what it makes of a key. Another one in its place does.
        if let Ok(none) = Self::key(self.suite, &[0; 32]) {
            *self.key = none;
        }
        // Looked at, so that the compiler does not leave that out.
        black_box(&mut *self.key);
    }
}

pub(super) fn algorithm(suite: Suite) -> &'static Algorithm {
    match suite {
        Suite::Aes => &AES_256_GCM,
        Suite::ChaCha => &CHACHA20_POLY1305,
    }
}

/// Makes the records of one direction.
pub(crate) struct Sealer {
    cipher: Cipher,
    ended: bool,
}

impl Sealer {
    pub fn new(suite: Suite, key: &[u8; 32]) -> Result<Sealer, Forged> {
        let cipher = Cipher::new(suite, key)?;
        let ended = false;
        Ok(Sealer { cipher, ended })
    }

    /// Appends `first` and `second`, one behind the other, to `out` as records. `Err`, which no
    /// input leads to: nothing of them is in `out`.
    pub fn seal(
        &mut self,
        mut first: &[u8],
        mut second: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Forged> {
        while !(first.is_empty() && second.is_empty()) {
            let (head, first_rest) = first.split_at(first.len().min(MAX_PLAIN));
            let room = MAX_PLAIN - head.len();
            let (tail, second_rest) = second.split_at(second.len().min(room));
            self.record(head, tail, out)?;
            (first, second) = (first_rest, second_rest);
        }
        Ok(())
    }

    /// Appends the record that says that no other follows.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Forged> {
        self.record(&[], &[], out)?;
        self.ended = true;
        Ok(())
    }

    /// Is the last record made?
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    fn record(&mut self, head: &[u8], tail: &[u8], out: &mut Vec<u8>) -> Result<(), Forged> {
        let begin = out.len();
        let len = (head.len() + tail.len() + TAG) as u16;
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(head);
        out.extend_from_slice(tail);
        let nonce = self.cipher.nonce(self.cipher.next);
        let plain = &mut out[begin + PREFIX..];
        let key = &self.cipher.key;
        match key.seal_in_place_separate_tag(nonce, Aad::empty(), plain) {
            Ok(tag) if !self.ended => out.extend_from_slice(tag.as_ref()),
            _ => {
                out.truncate(begin);
                return Err(Forged);
            }
        }
        self.cipher.count()
    }
}

/// Opens the records of one direction.
pub(crate) struct Opener {
    cipher: Cipher,
}

impl Opener {
    pub fn new(suite: Suite, key: &[u8; 32]) -> Result<Opener, Forged> {
        let cipher = Cipher::new(suite, key)?;
        Ok(Opener { cipher })
    }

    /// The length of the record that `bytes` begin with, its prefix included; `None`: more bytes
    /// are needed to tell.
    pub fn record_len(bytes: &[u8]) -> Result<Option<usize>, Forged> {
        let Some(prefix) = bytes.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        match usize::from(u16::from_be_bytes(*prefix)) {
            len if len < TAG => Err(Forged),
            len => Ok(Some(PREFIX + len)),
        }
    }

    /// Opens one whole record, where it lies. What it held; empty for the last record.
    pub fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<&'a [u8], Forged> {
        if Opener::record_len(record)? != Some(record.len()) {
            return Err(Forged);
        }
        let nonce = self.cipher.nonce(self.cipher.next);
        let sealed = record.get_mut(PREFIX..).ok_or(Forged)?;
        let opened = self.cipher.key.open_in_place(nonce, Aad::empty(), sealed);
        let opened = opened.map_err(|_| Forged)?;
        self.cipher.count()?;
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const SUITES: [Suite; 2] = [Suite::Aes, Suite::ChaCha];

    fn pair(suite: Suite) -> (Sealer, Opener) {
        let sealer = Sealer::new(suite, &KEY).ok().unwrap();
        (sealer, Opener::new(suite, &KEY).ok().unwrap())
    }

    fn opened(opener: &mut Opener, mut bytes: &mut [u8]) -> Result<Vec<Vec<u8>>, Forged> {
        let mut records = Vec::new();
        while let Some(len) = Opener::record_len(bytes)?.filter(|len| *len <= bytes.len()) {
            let (record, rest) = bytes.split_at_mut(len);
            records.push(opener.open(record)?.to_vec());
            bytes = rest;
        }
        assert!(bytes.is_empty());
        Ok(records)
    }

    #[test]
    fn what_is_sealed_opens() {
        for suite in SUITES {
            let (mut sealer, mut opener) = pair(suite);
            for (first, second, records) in [
                (0, 0, 0),
                (0, 1, 1),
                (1, 0, 1),
                (128, 1000, 1),
                (128, MAX_PLAIN - 128, 1),
                (128, MAX_PLAIN - 127, 2),
                (MAX_PLAIN + 5, 2 * MAX_PLAIN, 4),
            ] {
                let mut out = Vec::new();
                let plain: Vec<u8> = (0..first + second).map(|i| i as u8).collect();
                let (first, second) = plain.split_at(first);
                sealer.seal(first, second, &mut out).ok().unwrap();
                let opened = opened(&mut opener, &mut out).ok().unwrap();
                assert_eq!(opened.len(), records);
                assert_eq!(opened.concat(), plain);
            }
        }
    }

    #[test]
    fn the_last_record_is_empty() {
        let (mut sealer, mut opener) = pair(Suite::Aes);
        let mut out = Vec::new();
        sealer.end(&mut out).ok().unwrap();
        assert_eq!(out.len(), PREFIX + TAG);
        assert!(opener.open(&mut out).is_ok_and(|plain| plain.is_empty()));
        assert!(sealer.seal(b"more", b"", &mut out).is_err());
        assert_eq!(out.len(), PREFIX + TAG, "no plain text is left behind");
    }

    #[test]
    fn any_bit_that_is_changed_is_found() {
        for suite in SUITES {
            let mut whole = Vec::new();
            pair(suite)
                .0
                .seal(b"a message", b"", &mut whole)
                .ok()
                .unwrap();
            for bit in 0..whole.len() * 8 {
                let mut altered = whole.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                // A changed length cuts the bytes elsewhere, or waits for more.
                let len = Opener::record_len(&altered).ok().flatten();
                let end = len.unwrap_or(whole.len()).min(whole.len());
                assert!(
                    pair(suite).1.open(&mut altered[..end]).is_err(),
                    "bit {bit}"
                );
            }
        }
    }

    #[test]
    fn records_open_once_and_in_order() {
        let records: Vec<Vec<u8>> = {
            let mut sealer = pair(Suite::Aes).0;
            let seal = |i: u8| {
                let mut out = Vec::new();
                sealer.seal(&[i], b"", &mut out).ok().unwrap();
                out
            };
            (0..3).map(seal).collect()
        };
        for order in [[0, 0], [1, 0], [0, 2], [2, 2]] {
            let mut opener = pair(Suite::Aes).1;
            let all = order
                .iter()
                .all(|i| opener.open(&mut records[*i].clone()).is_ok());
            assert!(!all, "{order:?}");
        }
    }

    #[test]
    fn keys_change() {
        for suite in SUITES {
            let (mut sealer, mut opener) = pair(suite);
            let mut out = Vec::new();
            for number in 0..RECORDS_PER_KEY + 2 {
                out.clear();
                sealer
                    .seal(&number.to_be_bytes(), b"", &mut out)
                    .ok()
                    .unwrap();
                if number == RECORDS_PER_KEY {
                    // The key, not only the number, must be another.
                    let mut old = pair(suite).1;
                    old.cipher.next = number;
                    assert!(old.open(&mut out.clone()).is_err());
                }
                let plain = opener.open(&mut out).ok().unwrap();
                assert_eq!(plain, number.to_be_bytes());
            }
        }
    }

    #[test]
    fn lengths_that_no_record_has() {
        for len in 0..TAG as u16 {
            assert!(Opener::record_len(&len.to_be_bytes()).is_err());
        }
        assert!(matches!(Opener::record_len(&[0]), Ok(None)));
        assert!(matches!(Opener::record_len(&[0xff, 0xff]), Ok(Some(65537))));
        assert!(pair(Suite::Aes).1.open(&mut []).is_err());
    }
}
