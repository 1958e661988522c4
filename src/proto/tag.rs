//! Where the tag of a discovery datagram is, and what it covers. What it is made with: `secure::tag`.
//!
//! ```text
//! PING IP:PORT|pinger=IP:P&v=1&id=…&t=…                        20 characters: 8 bytes of nonce, 7 of tag
//! PONG IP:PORT|v=1&id=…&name=…&service=…&t=…                   16 characters: 5 bytes of count, 7 of tag
//! HERE IP:PORT|v=1&id=…&name=…&service=…&every=SECONDS&t=…     the same
//! GONE|v=1&id=…&t=…                                            the same
//! ```
//!
//! The characters are base64url (RFC 4648, section 5). `t` is the last key, and the tag covers every byte
//! before it, then the number, and in a PONG the nonce of the PING that it answers. A peer that does not
//! know of tags ignores the key. To make room for it, a PING leaves out the name and the service, which
//! nobody reads there, and a PONG leaves out `ponger`: only who asked with a tag gets this form.

use super::beacon::{Beacon, Card, Ping, Pong};
use super::header::{HEADER_LEN, HeaderError, HeaderWriter};

/// Drawn for a question. Its answer covers it, so an answer to an earlier question does not pass for one.
pub(crate) type Nonce = [u8; 8];
/// The beginning of a MAC.
pub(crate) type Tag = [u8; 7];

/// Counts have 40 bits.
pub(crate) const COUNT_MAX: u64 = (1 << 40) - 1;

const COUNT: usize = 5;
const KEY: &[u8] = b"&t=";
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What makes a tag differ from those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    /// Of a question.
    Nonce(Nonce),
    /// Of anything else: it rises with all that a peer says.
    Count(u64),
}

/// A datagram with a tag, which may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tagged<'a> {
    text: &'a [u8],
    pub number: Number,
    pub tag: Tag,
}

impl<'a> Tagged<'a> {
    /// `None`: there is no tag, or it is malformed.
    pub fn parse(datagram: &'a [u8]) -> Option<Tagged<'a>> {
        let mut all = datagram.trim_ascii_end();
        while let Some(shorter) = all.strip_suffix(b"|") {
            all = shorter;
        }
        let at = all.windows(KEY.len()).rposition(|window| window == KEY)?;
        let (text, value) = (&all[..at], &all[at + KEY.len()..]);
        let mut bytes = [0; 15];
        let (number, tag) = if text.starts_with(b"PING") {
            decode(value, &mut bytes)?;
            let (nonce, tag) = bytes.split_at(size_of::<Nonce>());
            (Number::Nonce(nonce.try_into().ok()?), tag)
        } else {
            decode(value, &mut bytes[..12])?;
            let (count, tag) = bytes[..12].split_at(COUNT);
            let count = count
                .iter()
                .fold(0, |count, byte| count << 8 | u64::from(*byte));
            (Number::Count(count), tag)
        };
        let tag = tag.try_into().ok()?;
        Some(Tagged { text, number, tag })
    }

    /// What the tag is made over. With the nonce of the question, if this may be its answer.
    pub fn covered(&self, question: Option<&Nonce>) -> Vec<u8> {
        covered(self.text, self.number, question)
    }

    pub fn is_pong(&self) -> bool {
        self.text.starts_with(b"PONG")
    }
}

/// The 128 bytes to send. With the nonce of the question, if this is its answer. `mac` makes the tag.
pub(crate) fn write(
    beacon: &Beacon,
    number: Number,
    question: Option<&Nonce>,
    mac: impl FnOnce(&[u8]) -> Tag,
) -> Result<[u8; HEADER_LEN], HeaderError> {
    let nameless = |card: &Card| Card {
        id: card.id,
        ..Card::default()
    };
    let mut datagram = match beacon {
        Beacon::Ping(ping) => {
            let card = ping.card.as_ref().map(nameless);
            Beacon::Ping(Ping {
                card,
                ..ping.clone()
            })
            .write()?
        }
        Beacon::Pong(Pong {
            addr,
            card: Some(card),
        }) => card
            .write(HeaderWriter::new(format_args!("PONG {addr}")))
            .finish()?,
        other => other.write()?,
    };
    let padding = datagram.iter().rev().take_while(|byte| **byte == b'|');
    let len = HEADER_LEN - padding.count();
    let tag = mac(&covered(&datagram[..len], number, question));
    let mut value = match number {
        Number::Nonce(nonce) => nonce.to_vec(),
        Number::Count(count) => count.to_be_bytes()[8 - COUNT..].to_vec(),
    };
    value.extend_from_slice(&tag);
    let value = [KEY, &encode(&value)].concat();
    let room = datagram.get_mut(len..len + value.len());
    let len = len + value.len();
    room.ok_or(HeaderError::TooLong { len })?
        .copy_from_slice(&value);
    Ok(datagram)
}

fn covered(text: &[u8], number: Number, question: Option<&Nonce>) -> Vec<u8> {
    let mut all = text.to_vec();
    match number {
        Number::Nonce(nonce) => all.extend_from_slice(&nonce),
        Number::Count(count) => all.extend_from_slice(&count.to_be_bytes()[8 - COUNT..]),
    }
    all.extend(question.into_iter().flatten());
    all
}

/// Three bytes are four digits; all that is written here has a multiple of three.
fn encode(bytes: &[u8]) -> Vec<u8> {
    let groups = bytes.chunks_exact(3);
    groups
        .flat_map(|group| {
            let bits = group
                .iter()
                .fold(0, |bits, byte| bits << 8 | usize::from(*byte));
            [18, 12, 6, 0].map(|shift| DIGITS[bits >> shift & 63])
        })
        .collect()
}

/// `None` unless the digits are as many as fill `bytes`.
fn decode(digits: &[u8], bytes: &mut [u8]) -> Option<()> {
    if digits.len() * 3 != bytes.len() * 4 {
        return None;
    }
    for (group, bytes) in digits.chunks_exact(4).zip(bytes.chunks_exact_mut(3)) {
        let mut bits = 0_u32;
        for digit in group {
            let value = DIGITS.iter().position(|known| known == digit)?;
            bits = bits << 6 | value as u32;
        }
        bytes.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    Some(())
}

#[cfg(test)]
mod tests;
