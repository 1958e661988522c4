//! Formats: what a message is in Rust, and what it is on the wire.

mod bytes;
mod dynamic;
mod json;
#[cfg(feature = "pickle")]
mod pickle;
mod plain;
mod raw;
mod scratch;

use std::any::{TypeId, type_name};
use std::borrow::{Borrow, Cow};
use std::fmt;

pub use crate::proto::data_type::{DataType, UnknownDataType};
pub use bytes::Bytes;
pub use dynamic::{Dynamic, Message};
pub use json::Json;
pub use raw::Raw;

#[cfg(all(feature = "pickle", any(test, fuzzing)))]
pub(crate) use pickle::reserved as reserved_for_pickle;
pub(crate) use scratch::with_encoded;

/// How deep arrays and maps in a message may nest: 128, the limit of `serde_json`.
///
/// The bound keeps a message from the network from overflowing a thread's stack.
pub(crate) const MAX_DEPTH: usize = 128;

/// How two peers speak after the handshake, which has agreed on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Frames, agreed by `v=2` on both sides: `raw` is MessagePack, and `json` the value itself.
    Frames,
    /// Text headers between two lanpeers, agreed by `v=1`: `raw` is MessagePack, and `json` wraps the
    /// value.
    Headers,
    /// The other side is a peerpy: as `Headers`, and `raw` is pickle.
    Peerpy,
}

impl Dialect {
    pub(crate) const ALL: [Dialect; 3] = [Dialect::Frames, Dialect::Headers, Dialect::Peerpy];

    /// Is the other side a lanpeer?
    pub(crate) fn is_lanpeer(self) -> bool {
        self != Dialect::Peerpy
    }
}

/// Can this build read and write the pickles that `raw` is towards a peer that is not a lanpeer?
pub(crate) const HAS_PICKLE: bool = cfg!(feature = "pickle");

/// What a pickle may become; see [`PeerBuilder`](crate::PeerBuilder), where they are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Containers in each other.
    pub depth: usize,
    /// Bytes, as the budget of the feature `pickle` counts them.
    pub expansion: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            depth: MAX_DEPTH,
            expansion: 16 << 20,
        }
    }
}

/// How a connection's payloads are read.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub(crate) dialect: Dialect,
    pub(crate) limits: Limits,
}

/// Makes an item of a payload that needs no decoding.
#[doc(hidden)]
pub type Plain<T> = fn(&[u8]) -> T;

/// A payload as it was received: borrowed from the reader's buffer when it is small, owned when it
/// is large.
pub type Payload<'a> = Cow<'a, [u8]>;

/// What the messages of a connection are.
///
/// | format | sends | receives | on the wire |
/// | --- | --- | --- | --- |
/// | [`Json<T>`](Json) | any serde type `T` | `T` | JSON |
/// | [`Raw<T>`](Raw) | any serde type `T` | `T` | MessagePack, structs as maps with field names |
/// | [`Json<Out, In>`](Json), [`Raw<Out, In>`](Raw) | `Out` | `In` | the same |
/// | [`Bytes`] | bytes | `Vec<u8>` | the bytes |
/// | [`Dynamic`] | [`Message`] | [`Message`] | each message says what it is |
///
/// If the two directions carry different types, each side names first what it sends: one side is
/// `Json<Command, Reading>`, the other `Json<Reading, Command>`.
///
/// The trait is sealed: the protocol knows no other data types.
///
/// ```
/// use lanpeer::{Connection, DataType, Dynamic, Format, Json};
///
/// /// Whatever the format is.
/// fn count<F: Format>(conn: &Connection<F>) -> usize {
///     conn.iter().count()
/// }
/// # use lanpeer::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// # let (to, asker) = (bob.local_addr(), alice.clone());
/// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
/// # let from_alice = bob.accept::<Bytes>()?;
/// # let to_bob = asking.join().unwrap()?;
/// to_bob.send("one")?;
/// to_bob.close()?;
/// assert_eq!(count(&from_alice), 1);
/// assert_eq!(Json::<String>::DATA_TYPE, Some(DataType::Json));
/// assert_eq!(Dynamic::DATA_TYPE, None);
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a format: a connection carries `Json<T>`, `Raw<T>`, `Bytes` or `Dynamic`",
    label = "did you mean `Json<{Self}>`?"
)]
pub trait Format: sealed::Sealed + Sized + 'static {
    /// What [`recv`](crate::Connection::recv) returns. What [`send`](crate::Connection::send) takes
    /// is [`Encode<Self>`](Encode).
    type Item: Send + 'static;

    /// The data type that HELLO announces; `None` if the program chooses at run time.
    const DATA_TYPE: Option<DataType>;

    /// Makes an item of a payload, if payloads need no decoding.
    #[doc(hidden)]
    const PLAIN: Option<Plain<Self::Item>> = None;

    /// Decodes a payload into `item`: moving an item can take longer than decoding it, so it is put where it
    /// is needed. Returns its size for the receive queue, in bytes: that of its payload, or of what a pickle
    /// that repeats values became.
    #[doc(hidden)]
    fn decode(
        data_type: DataType,
        reading: Reading,
        payload: Payload<'_>,
        item: &mut Option<Self::Item>,
    ) -> Result<usize, DecodeError>;
}

/// What can be sent as a message of the format `F`: the item, or what it can be borrowed as.
///
/// | format | takes |
/// | --- | --- |
/// | `Json<T>`, `Raw<T>` | `&T`, and `&Q` where `T: Borrow<Q>`: `&str` for `String`, `&[U]` for `Vec<U>` |
/// | `Json<Out, In>`, `Raw<Out, In>` | `&Out`, and `&Q` where `Out: Borrow<Q>` |
/// | `Bytes` | everything that is `AsRef<[u8]>`: `b"…"`, `&vec`, `&slice`, `"text"` |
/// | `Dynamic` | `&Message` |
///
/// Implemented for all of these; it cannot be implemented elsewhere, because the formats are
/// fixed.
///
/// ```
/// use lanpeer::{Connection, Encode, Format, Json, SendError};
///
/// fn twice<F, Q>(conn: &Connection<F>, item: &Q) -> Result<(), SendError>
/// where
///     F: Format,
///     Q: Encode<F> + ?Sized,
/// {
///     conn.send(item)?;
///     conn.send(item)
/// }
/// # use lanpeer::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// # let (to, asker) = (bob.local_addr(), alice.clone());
/// # let asking = std::thread::spawn(move || asker.connect::<Json<String>>(to));
/// # let from_alice = bob.accept::<Json<String>>()?;
/// # let to_bob = asking.join().unwrap()?;
/// twice(&to_bob, "hello")?; // &str for String
/// twice(&to_bob, &"hello".to_owned())?;
/// to_bob.close()?;
/// assert_eq!(from_alice.iter().count(), 4);
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent on a connection of `{F}`",
    label = "cannot be encoded as a message of `{F}`",
    note = "`Json<T>` and `Raw<T>` send a `T` that has `#[derive(serde::Serialize)]`, or what it can be borrowed as",
    note = "`Bytes` sends everything that is `AsRef<[u8]>`, `Dynamic` sends a `Message`"
)]
pub trait Encode<F: Format> {
    /// What it will be; `None`: only `F` itself can say, and does.
    #[doc(hidden)]
    fn data_type(&self) -> Option<DataType> {
        F::DATA_TYPE
    }

    /// The message, where the item is its own encoding.
    #[doc(hidden)]
    fn plain(&self) -> Option<Encoded<'_>> {
        None
    }

    /// Encodes into `out`, or names the bytes in `self` that need no encoding.
    #[doc(hidden)]
    fn encode<'a>(
        &'a self,
        dialect: Dialect,
        out: &'a mut Vec<u8>,
    ) -> Result<Encoded<'a>, EncodeError>;
}

/// `Self` is what one side sends: can that be sent as a `&Q`?
///
/// The same as `Borrow<Q>`. It is a trait of its own so that the compiler's message is helpful if a
/// program sends something else.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "this side sends `{Self}`, not `{Q}`",
    label = "not a `{Self}`, nor what one can be borrowed as",
    note = "`Json<Out, In>` and `Raw<Out, In>` name first what this side sends, then what it receives; the other side names them the other way round"
)]
pub trait Sends<Q: ?Sized> {}

#[diagnostic::do_not_recommend]
impl<T: Borrow<Q>, Q: ?Sized> Sends<Q> for T {}

/// A message that is ready for the wire.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    pub(crate) data_type: DataType,
    pub(crate) payload: &'a [u8],
}

impl<'a> Encoded<'a> {
    pub(crate) fn new(data_type: DataType, payload: &'a [u8]) -> Encoded<'a> {
        Encoded { data_type, payload }
    }

    pub(crate) fn payload(&self) -> &'a [u8] {
        self.payload
    }

    pub(crate) fn data_type(&self) -> DataType {
        self.data_type
    }
}

mod sealed {
    pub trait Sealed {}
    impl<Out, In> Sealed for super::Json<Out, In> {}
    impl<Out, In> Sealed for super::Raw<Out, In> {}
    impl Sealed for super::Bytes {}
    impl Sealed for super::Dynamic {}
}

/// The program's value cannot be encoded, for example a map whose keys are not strings as JSON.
///
/// Nothing was sent, and the connection goes on.
///
/// ```
/// use lanpeer::Message;
///
/// let no_json = std::collections::HashMap::from([((1, 2), 3)]);
/// let error = Message::json(&no_json).unwrap_err();
/// assert_eq!(error.to_string(), "the value cannot be encoded as json: key must be a string");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError {
    data_type: DataType,
    what: String,
}

impl EncodeError {
    pub(crate) fn new(data_type: DataType, what: impl fmt::Display) -> EncodeError {
        EncodeError {
            data_type,
            what: what.to_string(),
        }
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the value cannot be encoded as {}: {}",
            self.data_type, self.what
        )
    }
}

impl std::error::Error for EncodeError {}

/// The bytes of a message do not fit its data type, or are no value of the wanted type.
///
/// Its text may quote the message: at most 200 characters, none of them a control character.
///
/// ```
/// use lanpeer::Message;
///
/// let error = Message::bytes(*b"text").decode::<f64>().unwrap_err();
/// assert!(error.to_string().starts_with("malformed bytes message: invalid type"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    data_type: DataType,
    what: String,
}

impl DecodeError {
    pub(crate) fn new(data_type: DataType, what: impl fmt::Display) -> DecodeError {
        // What the parser says may quote the message: without control characters and cut, so that
        // a log stays readable.
        let what = what.to_string();
        let plain = |c: char| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        };
        DecodeError {
            data_type,
            what: what.chars().take(200).map(plain).collect(),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed {} message: {}", self.data_type, self.what)
    }
}

impl std::error::Error for DecodeError {}

/// Decodes a payload of any data type into one serde type: for messages of another type than the
/// connection's, on a connection that is not strict.
#[inline]
fn decode_any<T: serde::de::DeserializeOwned>(
    data_type: DataType,
    reading: Reading,
    payload: &[u8],
    item: &mut Option<T>,
) -> Result<usize, DecodeError> {
    match (data_type, reading.dialect) {
        (DataType::Json, Dialect::Frames) => json::decode_bare(payload, item)?,
        (DataType::Json, Dialect::Headers | Dialect::Peerpy) => json::decode_into(payload, item)?,
        (DataType::Raw, Dialect::Frames | Dialect::Headers) => raw::decode_into(payload, item)?,
        (DataType::Raw, Dialect::Peerpy) => {
            let (value, size) = pickle::decode(payload, reading.limits)?;
            *item = Some(value);
            return Ok(size);
        }
        (DataType::Bytes, _) => *item = Some(plain::decode(payload)?),
    }
    Ok(payload.len())
}

/// Adds what this side expects, if it sends something else: one side may have named the two types the
/// wrong way round.
#[cold]
fn name_both<Out: 'static, In: 'static>(mut error: DecodeError) -> DecodeError {
    if TypeId::of::<Out>() != TypeId::of::<In>() {
        let (sends, receives) = (type_name::<Out>(), type_name::<In>());
        error.what += &format!("; this side receives `{receives}` and sends `{sends}`");
    }
    error
}

/// In place of the feature: says that it is missing.
#[cfg(not(feature = "pickle"))]
mod pickle {
    use super::{DataType, DecodeError, EncodeError, Limits};

    const MISSING: &str = "the other side is not a lanpeer, so that raw is a pickle: \
        this needs lanpeer's feature `pickle`";

    pub fn encode<Q: ?Sized>(_: &Q, _: &mut Vec<u8>) -> Result<(), EncodeError> {
        Err(EncodeError::new(DataType::Raw, MISSING))
    }

    pub fn decode<T>(_: &[u8], _: Limits) -> Result<(T, usize), DecodeError> {
        Err(DecodeError::new(DataType::Raw, MISSING))
    }
}
