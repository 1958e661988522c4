//! Messages that say themselves what they are.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    DataType, DecodeError, Dialect, Encode, EncodeError, Encoded, Format, Payload, decode_any,
    json, raw,
};

/// For programs that take whatever comes; the item is a [`Message`].
///
/// Accepts offers of every data type. A connection that is opened with it announces
/// [`ConnectOptions::data_type`](crate::ConnectOptions::data_type), by default `json`, and, unless
/// [`strict`](crate::ConnectOptions::strict) says otherwise, is not strict: then messages of all
/// data types may follow each other.
///
/// ```
/// use lanpeer::{DataType, Dynamic, Message, Peer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// let bob_addr = bob.local_addr();
/// let asking = std::thread::spawn(move || alice.connect::<Dynamic>(bob_addr).map(|c| (alice, c)));
/// let from_alice = bob.accept::<Dynamic>()?;
/// let (_alice, to_bob) = asking.join().unwrap()?;
/// to_bob.send(&Message::json(&[1, 2, 3])?)?;
/// to_bob.send(&Message::bytes(*b"as they are"))?;
///
/// let first = from_alice.recv()?;
/// assert_eq!(first.data_type(), DataType::Json);
/// assert_eq!(first.decode::<Vec<i32>>()?, [1, 2, 3]);
/// assert_eq!(from_alice.recv()?.payload(), b"as they are");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Dynamic(());

/// A message of any data type: the type and the payload.
///
/// ```
/// use lanpeer::{DataType, Message};
///
/// let message = Message::json("hello")?;
/// assert_eq!(message.data_type(), DataType::Json);
/// assert_eq!(message.payload(), br#"{"data":"hello"}"#);
/// assert_eq!(message.decode::<String>()?, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    data_type: DataType,
    /// What `raw` means in this payload.
    dialect: Dialect,
    payload: Vec<u8>,
}

impl Message {
    /// A `json` message.
    ///
    /// # Errors
    /// The value can not be expressed as JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Message, EncodeError> {
        let mut payload = Vec::new();
        json::encode(value, &mut payload)?;
        Ok(Message {
            data_type: DataType::Json,
            dialect: Dialect::Lanpeer,
            payload,
        })
    }

    /// A `raw` message, as MessagePack.
    ///
    /// # Errors
    /// The value can not be expressed as MessagePack.
    pub fn raw<T: Serialize + ?Sized>(value: &T) -> Result<Message, EncodeError> {
        let mut payload = Vec::new();
        raw::encode(value, Dialect::Lanpeer, &mut payload)?;
        Ok(Message {
            data_type: DataType::Raw,
            dialect: Dialect::Lanpeer,
            payload,
        })
    }

    /// A `bytes` message.
    pub fn bytes(payload: impl Into<Vec<u8>>) -> Message {
        Message {
            data_type: DataType::Bytes,
            dialect: Dialect::Lanpeer,
            payload: payload.into(),
        }
    }

    /// What the payload is.
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// The bytes as they are on the wire, without a header: for `json`, `{"data":VALUE}`.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The same, owned.
    pub fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// The value in it, as whichever type the caller expects.
    ///
    /// A `bytes` message decodes into `Vec<u8>` (and, if it is UTF-8, into `String`).
    ///
    /// # Errors
    /// The payload is not valid for its data type, or not a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        decode_any(self.data_type, self.dialect, &self.payload)
    }
}

impl Format for Dynamic {
    type Item = Message;
    const DATA_TYPE: Option<DataType> = None;

    fn decode(
        data_type: DataType,
        dialect: Dialect,
        payload: Payload<'_>,
    ) -> Result<Message, DecodeError> {
        Ok(Message {
            data_type,
            dialect,
            payload: payload.into_owned(),
        })
    }
}

impl Encode<Dynamic> for Message {
    fn encode<'a>(
        &'a self,
        dialect: Dialect,
        _: &'a mut Vec<u8>,
    ) -> Result<Encoded<'a>, EncodeError> {
        if self.data_type == DataType::Raw && self.dialect != dialect {
            let what =
                "the message is MessagePack where the other side expects a pickle, or the reverse";
            return Err(EncodeError::new(DataType::Raw, what));
        }
        Ok(Encoded {
            data_type: self.data_type,
            payload: &self.payload,
        })
    }
}
