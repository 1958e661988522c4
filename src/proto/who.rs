//! WHO: which peer this is, said behind HELLO and behind ACCEPT by those who speak frames.
//!
//! ```text
//! WHO|id=0f3a91c27e&name=bob&service=chat|||…     128 bytes
//! WHO|||…                                          a question, to a client that has not said it
//! ```

use super::beacon::{Card, NAME_MAX, SERVICE_MAX};
use super::header::{Fields, HEADER_LEN, HeaderError, HeaderWriter};

/// Asks a client who it is.
pub(crate) const QUESTION: [u8; HEADER_LEN] = {
    let mut header = [b'|'; HEADER_LEN];
    header[0] = b'W';
    header[1] = b'H';
    header[2] = b'O';
    header
};

/// Says who this peer is. Infallible: the longest needs 78 bytes.
pub(crate) fn write(card: &Card) -> [u8; HEADER_LEN] {
    let writer = card.write_labels(HeaderWriter::new("WHO"));
    writer.finish().unwrap_or(QUESTION)
}

/// Reads who the other side is. Its name and its service must be as short as they must be where they
/// are set.
pub(crate) fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Card, HeaderError> {
    let fields = Fields::parse(bytes)?;
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
    Card::parse_labels(&fields)?.ok_or(HeaderError::Missing("id"))
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

    proptest! {
        #[test]
        fn what_is_written_is_read(id: u64, name in "[a-zé ]{0,12}", service in "[a-z0-9-]{0,16}") {
            prop_assume!(check_label(&name, NAME_MAX).is_ok());
            let card = Card { id: id & ID_MASK, name, service };
            prop_assert_eq!(parse(&write(&card)), Ok(card));
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), HEADER_LEN)) {
            let _ = parse(bytes.first_chunk().expect("128"));
        }
    }
}
