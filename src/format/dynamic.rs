//! Messages that say themselves what they are.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    DataType, DecodeError, Dialect, Encode, EncodeError, Encoded, Format, Limits, Payload, Reading,
    decode_any, json, raw,
};

/// For programs that take messages of any type; the item is a [`Message`].
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
/// assert_eq!(message.payload(), br#""hello""#);
/// assert_eq!(message.decode::<String>()?, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Message {
    data_type: DataType,
    /// What `raw` and `json` mean in this payload, and the bounds of the peer that received it.
    reading: Reading,
    payload: Vec<u8>,
}

/// Two messages are equal if they would be the same on the wire.
impl PartialEq for Message {
    fn eq(&self, other: &Message) -> bool {
        let is_pickle = |message: &Message| {
            message.data_type == DataType::Raw && !message.reading.dialect.is_lanpeer()
        };
        self.data_type == other.data_type
            && is_pickle(self) == is_pickle(other)
            && self.unwrapped() == other.unwrapped()
    }
}

impl Eq for Message {}

impl Message {
    /// A `json` message.
    ///
    /// ```
    /// use lanpeer::Message;
    ///
    /// assert_eq!(Message::json(&[1, 2])?.payload(), b"[1,2]");
    /// let no_json = std::collections::HashMap::from([((1, 2), 3)]); // keys must be strings
    /// assert!(Message::json(&no_json).is_err());
    /// # Ok::<(), lanpeer::EncodeError>(())
    /// ```
    ///
    /// # Errors
    /// The value cannot be expressed as JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Message, EncodeError> {
        let mut payload = Vec::new();
        json::encode(value, Dialect::Frames, &mut payload)?;
        Ok(Message::made(DataType::Json, Dialect::Frames, payload))
    }

    /// A `raw` message, as MessagePack: for a lanpeer.
    ///
    /// ```
    /// use lanpeer::{DataType, Message};
    ///
    /// let message = Message::raw(&[1, 2])?;
    /// assert_eq!(message.data_type(), DataType::Raw);
    /// assert_eq!(message.payload(), [0x92, 1, 2]); // an array of two
    /// # Ok::<(), lanpeer::EncodeError>(())
    /// ```
    ///
    /// # Errors
    /// The value cannot be expressed as MessagePack.
    pub fn raw<T: Serialize + ?Sized>(value: &T) -> Result<Message, EncodeError> {
        Message::raw_for(Dialect::Frames, value)
    }

    /// A `raw` message, as a pickle: for a peer that is not a lanpeer, such as peerpy.
    ///
    /// ```
    /// use lanpeer::{DataType, Message};
    ///
    /// let message = Message::pickle(&("text", [1, 2]))?;
    /// assert_eq!(message.data_type(), DataType::Raw);
    /// assert_eq!(message.decode::<(String, Vec<u8>)>()?, ("text".to_owned(), vec![1, 2]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The value cannot be expressed in plain data of Python; see [`Raw`](crate::Raw).
    #[cfg(feature = "pickle")]
    #[cfg_attr(docsrs, doc(cfg(feature = "pickle")))]
    pub fn pickle<T: Serialize + ?Sized>(value: &T) -> Result<Message, EncodeError> {
        Message::raw_for(Dialect::Peerpy, value)
    }

    fn raw_for<T: Serialize + ?Sized>(dialect: Dialect, value: &T) -> Result<Message, EncodeError> {
        let mut payload = Vec::new();
        raw::encode(value, dialect, &mut payload)?;
        Ok(Message::made(DataType::Raw, dialect, payload))
    }

    /// A `bytes` message, also an empty one.
    ///
    /// ```
    /// use lanpeer::{DataType, Message};
    ///
    /// let message = Message::bytes(vec![1, 2]);
    /// assert_eq!(message.data_type(), DataType::Bytes);
    /// assert_eq!(message.payload(), [1, 2]);
    /// ```
    pub fn bytes(payload: impl Into<Vec<u8>>) -> Message {
        Message::made(DataType::Bytes, Dialect::Frames, payload.into())
    }

    fn made(data_type: DataType, dialect: Dialect, payload: Vec<u8>) -> Message {
        let reading = Reading {
            dialect,
            limits: Limits::default(),
        };
        Message {
            data_type,
            reading,
            payload,
        }
    }

    /// What the payload is.
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// The bytes as they are on the wire, without a head. For `json` that is the value, or
    /// `{"data": VALUE}` if it has come from a peer without frames, such as peerpy.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Is it `{"data": VALUE}`?
    fn is_wrapped(&self) -> bool {
        self.data_type == DataType::Json && self.reading.dialect != Dialect::Frames
    }

    /// The payload; of JSON, without a wrapper.
    fn unwrapped(&self) -> &[u8] {
        match self.is_wrapped() {
            true => json::unwrap(&self.payload).unwrap_or(&self.payload),
            false => &self.payload,
        }
    }

    /// The payload, owned.
    ///
    /// ```
    /// use lanpeer::Message;
    ///
    /// assert_eq!(Message::bytes(*b"as they are").into_payload(), b"as they are");
    /// ```
    pub fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// The message's value, as the type that the caller expects.
    ///
    /// A `bytes` message decodes into `Vec<u8>` (and, if it is UTF-8, into `String`).
    ///
    /// ```
    /// use lanpeer::Message;
    ///
    /// let message = Message::raw(&(1, "one"))?;
    /// assert_eq!(message.decode::<(u8, String)>()?, (1, "one".to_owned()));
    /// assert!(message.decode::<f64>().is_err());
    /// assert_eq!(Message::bytes(*b"text").decode::<String>()?, "text");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The payload is not valid for its data type, or not a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        let mut value = None;
        decode_any(self.data_type, self.reading, &self.payload, &mut value)?;
        // Decoded, it is there.
        value.ok_or_else(|| DecodeError::new(self.data_type, "no value"))
    }
}

impl Format for Dynamic {
    type Item = Message;
    const DATA_TYPE: Option<DataType> = None;

    fn decode(
        data_type: DataType,
        reading: Reading,
        payload: Payload<'_>,
        item: &mut Option<Message>,
    ) -> Result<usize, DecodeError> {
        let size = payload.len();
        *item = Some(Message {
            data_type,
            reading,
            payload: payload.into_owned(),
        });
        Ok(size)
    }
}

// Not as a hint to those who send something else on another connection.
#[diagnostic::do_not_recommend]
impl Encode<Dynamic> for Message {
    fn data_type(&self) -> Option<DataType> {
        Some(self.data_type)
    }

    fn encode<'a>(
        &'a self,
        dialect: Dialect,
        out: &'a mut Vec<u8>,
    ) -> Result<Encoded<'a>, EncodeError> {
        let data_type = self.data_type;
        let is_lanpeers = self.reading.dialect.is_lanpeer();
        if data_type == DataType::Raw && is_lanpeers != dialect.is_lanpeer() {
            let what =
                "the message is MessagePack where the other side expects a pickle, or the reverse";
            return Err(EncodeError::new(DataType::Raw, what));
        }
        let wrapped = data_type == DataType::Json && dialect != Dialect::Frames;
        let payload = match (self.is_wrapped(), wrapped) {
            (false, true) => {
                json::wrap(&self.payload, out);
                out
            }
            (true, false) => {
                let value = json::unwrap(&self.payload);
                value.map_err(|error| EncodeError::new(data_type, error))?
            }
            (true, true) | (false, false) => &self.payload,
        };
        Ok(Encoded { data_type, payload })
    }
}
