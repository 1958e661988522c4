//! Messages of each data type, of any size, as both programs name them.

#[cfg(feature = "pickle")]
use lanpeer::Raw;
use lanpeer::{Bytes, Encode, Format, Json};
use serde_json::{Value, json};

use crate::peerpy::Who;

/// A format whose messages can be made in any size.
pub trait Kind: Format<Item: PartialEq + std::fmt::Debug + Send + Encode<Self>> + 'static {
    /// The data type.
    const NAME: &'static str;

    /// The message of this length: the digits, again and again.
    fn item(length: usize) -> Self::Item;

    /// The same, for the driver to send.
    fn told(length: usize) -> Value;

    /// The same, as the driver reports it.
    fn reported(length: usize) -> Value;

    /// How long a message is whose payload has `size` bytes, when this program encodes it.
    fn length_in(size: usize, by: Who) -> usize;
}

pub fn digits(length: usize) -> String {
    "0123456789".chars().cycle().take(length).collect()
}

impl Kind for Bytes {
    const NAME: &'static str = "bytes";

    fn item(length: usize) -> Vec<u8> {
        digits(length).into_bytes()
    }

    fn told(length: usize) -> Value {
        json!({ "bytes": length })
    }

    fn reported(length: usize) -> Value {
        let hex: String = Bytes::item(length)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        json!({ "hex": hex })
    }

    fn length_in(size: usize, _: Who) -> usize {
        size
    }
}

impl Kind for Json<String> {
    const NAME: &'static str = "json";

    fn item(length: usize) -> String {
        digits(length)
    }

    fn told(length: usize) -> Value {
        json!({ "text": length })
    }

    fn reported(length: usize) -> Value {
        json!(digits(length))
    }

    /// Python writes a space after the colon.
    fn length_in(size: usize, by: Who) -> usize {
        match by {
            Who::Peerpy => size - r#"{"data": ""}"#.len(),
            Who::Lanpeer => size - r#"{"data":""}"#.len(),
        }
    }
}

#[cfg(feature = "pickle")]
impl Kind for Raw<String> {
    const NAME: &'static str = "raw";

    fn item(length: usize) -> String {
        digits(length)
    }

    fn told(length: usize) -> Value {
        json!({ "text": length })
    }

    fn reported(length: usize) -> Value {
        json!(digits(length))
    }

    /// Protocol, the text's kind and length, the end; Python adds a frame, and remembers the text.
    fn length_in(size: usize, by: Who) -> usize {
        let around = match by {
            Who::Peerpy => 2 + 9 + 1 + 1,
            Who::Lanpeer => 2 + 1,
        };
        // A length of one byte, or of four.
        match size - around - 2 {
            short @ 0..=255 => short,
            _ => size - around - 5,
        }
    }
}
