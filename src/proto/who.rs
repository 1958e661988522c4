//! WHO: which peer this is, said behind HELLO and behind ACCEPT by those who speak frames.
//!
//! ```text
//! WHO|id=0f3a91c27e&name=bob&service=chat|||…     128 bytes
//! WHO|||…                                          a question, to a client that has not said it
//! ```
//!
//! A client may also say which of its attempts to connect this is:
//!
//! ```text
//! WHO|id=0f3a91c27e&call=5d20c1f7aa                           one call, by several ways at once
//! WHO|id=0f3a91c27e&keep=77ab03915c&try=1804289383&seen=719885386   one of a connection that is kept
//! ```

use super::beacon::{Card, NAME_MAX, SERVICE_MAX};
use super::header::{Fields, HEADER_LEN, HeaderError, HeaderWriter};

/// Which of a client's attempts to connect this is. Its numbers are random, so that nobody who does
/// not hear them can claim to be the same client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Attempt {
    /// One call that tries several addresses: of the offers with this number one is meant.
    Call(u64),
    /// One attempt of a client that keeps itself connected.
    Keep(Kept),
}

/// An attempt of a client that keeps itself connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kept {
    /// The same in all of its attempts. It wants one connection.
    pub keep: u64,
    /// Above those of its earlier attempts. The same by several ways at once.
    pub attempt: u32,
    /// The `attempt` of the last offer of the other side that it has taken for its own, where both
    /// sides keep each other. 0: none.
    pub seen: u32,
}

impl Attempt {
    /// Do the two ask for one and the same connection?
    pub fn is_same(self, other: Attempt) -> bool {
        match (self, other) {
            (Attempt::Call(a), Attempt::Call(b)) => a == b,
            (Attempt::Keep(a), Attempt::Keep(b)) => a.keep == b.keep && a.attempt == b.attempt,
            _ => false,
        }
    }

    fn write(self, writer: HeaderWriter) -> HeaderWriter {
        match self {
            Attempt::Call(number) => writer.pair("call", format_args!("{number:010x}")),
            Attempt::Keep(Kept {
                keep,
                attempt,
                seen,
            }) => {
                let writer = writer.pair("keep", format_args!("{keep:010x}"));
                let writer = writer.pair("try", attempt);
                match seen {
                    0 => writer,
                    _ => writer.pair("seen", seen),
                }
            }
        }
    }

    fn parse(fields: &Fields<'_>) -> Result<Option<Attempt>, HeaderError> {
        if let Some(keep) = fields.hex("keep")? {
            let attempt = fields.number("try")?.ok_or(HeaderError::Missing("try"))?;
            let seen = fields.number("seen")?.unwrap_or(0);
            return Ok(Some(Attempt::Keep(Kept {
                keep,
                attempt,
                seen,
            })));
        }
        Ok(fields.hex("call")?.map(Attempt::Call))
    }
}

/// Asks a client who it is.
pub(crate) const QUESTION: [u8; HEADER_LEN] = {
    let mut header = [b'|'; HEADER_LEN];
    header[0] = b'W';
    header[1] = b'H';
    header[2] = b'O';
    header
};

/// Says who this peer is.
pub(crate) fn write(card: &Card) -> [u8; HEADER_LEN] {
    write_client(card, None)
}

/// Says who this client is, and which of its attempts this is. Infallible: the longest needs 120
/// bytes.
pub(crate) fn write_client(card: &Card, attempt: Option<Attempt>) -> [u8; HEADER_LEN] {
    let mut writer = card.write_labels(HeaderWriter::new("WHO"));
    if let Some(attempt) = attempt {
        writer = attempt.write(writer);
    }
    writer.finish().unwrap_or(QUESTION)
}

/// Reads who the other side is. Its name and its service must be as short as they must be where they
/// are set.
pub(crate) fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Card, HeaderError> {
    parse_card(&Fields::parse(bytes)?)
}

/// The same of a client, and which of its attempts this is, where it says so.
pub(crate) fn parse_client(
    bytes: &[u8; HEADER_LEN],
) -> Result<(Card, Option<Attempt>), HeaderError> {
    let fields = Fields::parse(bytes)?;
    Ok((parse_card(&fields)?, Attempt::parse(&fields)?))
}

fn parse_card(fields: &Fields<'_>) -> Result<Card, HeaderError> {
    if fields.word() != "WHO" {
        return Err(HeaderError::Unexpected {
            expected: "WHO",
            got: fields.word().to_owned(),
        });
    }
    for (key, max) in [("name", NAME_MAX), ("service", SERVICE_MAX)] {
        let len = fields.get(key).map_or(0, str::len);
        if len > max {
            return Err(HeaderError::LongLabel { key, len, max });
        }
    }
    Card::parse_labels(fields)?.ok_or(HeaderError::Missing("id"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::beacon::{ID_MASK, check_label};

    fn padded(text: &str) -> [u8; HEADER_LEN] {
        let mut header = [b'|'; HEADER_LEN];
        header[..text.len()].copy_from_slice(text.as_bytes());
        header
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = format!("WHO|id=1&name={}", "n".repeat(25));
        for (text, word) in [
            ("HELLO|id=1", "where WHO was expected"),
            ("WHO|name=bob", "without id"),
            ("WHO|id=+1", "id=`+1`"),
            ("WHO|id=1&id=2", "twice"),
            (&long, "a name of 25 bytes, at most 24 fit"),
            (
                "WHO|id=1&service=12345678901234567",
                "a service of 17 bytes",
            ),
        ] {
            let error = parse(&padded(text)).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let mut header = padded("WHO|id=1&name=b");
        header[14] = 0xff;
        assert_eq!(parse(&header), Err(HeaderError::NotUtf8));
        assert!(parse(&QUESTION).is_err());
    }

    #[test]
    fn what_is_wrong_with_an_attempt_is_named() {
        for (text, word) in [
            ("WHO|id=1&keep=x&try=1", "keep=`x`"),
            ("WHO|id=1&keep=1", "without try"),
            ("WHO|id=1&keep=1&try=+1", "try=`+1`"),
            ("WHO|id=1&keep=1&try=4294967296", "try=`4294967296`"),
            ("WHO|id=1&keep=1&try=1&seen=", "seen=``"),
            ("WHO|id=1&call=-1", "call=`-1`"),
        ] {
            let error = parse_client(&padded(text)).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
            assert!(parse(&padded(text)).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(id: u64, name in "[a-zé ]{0,12}", service in "[a-z0-9-]{0,16}") {
            prop_assume!(check_label(&name, NAME_MAX).is_ok());
            let card = Card { id: id & ID_MASK, name, service };
            prop_assert_eq!(parse(&write(&card)), Ok(card));
        }

        #[test]
        fn an_attempt_fits_behind_the_longest_card(
            keep in prop::option::of((0..=ID_MASK, 1..=u32::MAX, any::<u32>())),
            call in prop::option::of(0..=ID_MASK),
        ) {
            let card = Card { id: ID_MASK, name: "n".repeat(NAME_MAX), service: "s".repeat(SERVICE_MAX) };
            let kept = |(keep, attempt, seen)| Attempt::Keep(Kept { keep, attempt, seen });
            let attempt = keep.map(kept).or(call.map(Attempt::Call));
            let written = write_client(&card, attempt);
            prop_assert_eq!(parse_client(&written), Ok((card.clone(), attempt)));
            // Who does not know of attempts reads the card.
            prop_assert_eq!(parse(&written), Ok(card));
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), HEADER_LEN)) {
            let _ = parse(bytes.first_chunk().expect("128"));
            let _ = parse_client(bytes.first_chunk().expect("128"));
        }
    }
}
