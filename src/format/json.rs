//! `json`: the value, or `{"data": VALUE}`, as peerpy wraps every value.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::{
    DataType, DecodeError, Dialect, Encode, EncodeError, Encoded, Format, Payload, Reading, Sends,
    decode_any, name_both,
};

/// Messages are JSON, of any serde type.
///
/// `Json<T>` sends and receives `T`. `Json<Out, In>` sends `Out` and receives `In`; the other side
/// names the two the other way round. What is sent must be `Serialize`, what is received
/// `Deserialize`.
///
/// The wire has the value as JSON. For a side without frames, such as peerpy, it is wrapped as
/// `{"data": VALUE}`. Values nest at most 126 deep. JSON has no NaN and no infinities: serde writes them
/// as `null`.
///
/// ```
/// use lanpeer::{Json, Peer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// let bob_addr = bob.local_addr();
/// let asking = std::thread::spawn(move || alice.connect::<Json<Vec<f64>>>(bob_addr).map(|c| (alice, c)));
/// let from_alice = bob.accept::<Json<Vec<f64>>>()?;
/// let (_alice, to_bob) = asking.join().unwrap()?;
/// to_bob.send(&[0.5, 1.5][..])?;
/// assert_eq!(from_alice.recv()?, [0.5, 1.5]);
/// # Ok(()) }
/// ```
///
/// A type for each direction:
///
/// ```
/// use lanpeer::{Json, Peer};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum Command { Measure, Stop }
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Reading { celsius: f64 }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// # let bob_addr = bob.local_addr();
/// # let asking = std::thread::spawn(move || alice.connect::<Json<Command, Reading>>(bob_addr).map(|c| (alice, c)));
/// let from_alice = bob.accept::<Json<Reading, Command>>()?; // sends readings
/// // Alice, at the same time: alice.connect::<Json<Command, Reading>>(bob_addr)?
/// # let (_alice, to_bob) = asking.join().unwrap()?;
/// to_bob.send(&Command::Measure)?;
/// if let Command::Measure = from_alice.recv()? {
///     from_alice.send(&Reading { celsius: 21.5 })?;
/// }
/// assert_eq!(to_bob.recv()?, Reading { celsius: 21.5 });
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Json<Out, In = Out>(PhantomData<fn(Out) -> In>);

impl<Out: 'static, In: DeserializeOwned + Send + 'static> Format for Json<Out, In> {
    type Item = In;
    const DATA_TYPE: Option<DataType> = Some(DataType::Json);

    #[inline]
    fn decode(
        data_type: DataType,
        reading: Reading,
        payload: Payload<'_>,
        item: &mut Option<In>,
    ) -> Result<usize, DecodeError> {
        decode_any(data_type, reading, &payload, item).map_err(name_both::<Out, In>)
    }
}

impl<Out, In, Q> Encode<Json<Out, In>> for Q
where
    Out: Sends<Q> + 'static,
    In: DeserializeOwned + Send + 'static,
    Q: Serialize + ?Sized,
{
    fn encode<'a>(
        &'a self,
        dialect: Dialect,
        out: &'a mut Vec<u8>,
    ) -> Result<Encoded<'a>, EncodeError> {
        encode(self, dialect, out)?;
        Ok(Encoded {
            data_type: DataType::Json,
            payload: out,
        })
    }
}

const OPEN: &[u8] = b"{\"data\":";

pub(super) fn encode<Q: Serialize + ?Sized>(
    item: &Q,
    dialect: Dialect,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let wrapped = dialect != Dialect::Frames;
    if wrapped {
        out.extend_from_slice(OPEN);
    }
    serde_json::to_writer(&mut *out, item)
        .map_err(|error| EncodeError::new(DataType::Json, error))?;
    out.extend(wrapped.then_some(b'}'));
    Ok(())
}

/// The text of a value that is not wrapped, wrapped.
pub(super) fn wrap(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(OPEN);
    out.extend_from_slice(value);
    out.push(b'}');
}

/// The text of the value in a wrapper.
pub(super) fn unwrap(payload: &[u8]) -> Result<&[u8], DecodeError> {
    let value: Result<Wrapped<&RawValue>, _> = serde_json::from_slice(payload);
    value
        .map(|Wrapped(value)| value.get().as_bytes())
        .map_err(|error| DecodeError::new(DataType::Json, error))
}

/// A value that is not wrapped, at most as deep as one in a wrapper may be.
#[inline]
pub(super) fn decode_bare<T: DeserializeOwned>(
    payload: &[u8],
    item: &mut Option<T>,
) -> Result<(), DecodeError> {
    let value = serde_json::from_slice(payload);
    *item = Some(value.map_err(|error| DecodeError::new(DataType::Json, error))?);
    Ok(())
}

#[inline]
pub(super) fn decode_into<T: DeserializeOwned>(
    payload: &[u8],
    item: &mut Option<T>,
) -> Result<(), DecodeError> {
    // Nearly every message is exactly the wrapper around a value. If what stands between its ends
    // is one whole value then the text was valid JSON with `data` as its only key.
    if let Some(value) = payload
        .strip_prefix(OPEN)
        .and_then(|rest| rest.strip_suffix(b"}"))
    {
        if let Ok(value) = serde_json::from_slice(value) {
            *item = Some(value);
            return Ok(());
        }
    }
    *item = Some(decode_slowly(payload)?);
    Ok(())
}

#[cold]
fn decode_slowly<T: DeserializeOwned>(payload: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(payload)
        .map(|Wrapped(value)| value)
        .map_err(|error| DecodeError::new(DataType::Json, error))
}

struct Wrapped<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Wrapped<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WrappedVisitor(PhantomData))
    }
}

struct WrappedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for WrappedVisitor<T> {
    type Value = Wrapped<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the key `data`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Wrapped<T>, A::Error> {
        let mut data = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "data" {
                map.next_value::<IgnoredAny>()?;
            } else if data.replace(map.next_value()?).is_some() {
                return Err(A::Error::duplicate_field("data"));
            }
        }
        data.map(Wrapped)
            .ok_or_else(|| A::Error::missing_field("data"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, DecodeError> {
        let mut value = None;
        decode_into(payload, &mut value)?;
        Ok(value.expect("it is there"))
    }

    fn try_decode(text: &str) -> Result<Value, String> {
        decode::<Value>(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn wrapped_as_peerpy_wraps() {
        let mut out = Vec::new();
        encode(&json!([1, "a"]), Dialect::Headers, &mut out).unwrap();
        assert_eq!(out, br#"{"data":[1,"a"]}"#);
        for text in [
            r#"{"data": [1, "a"]}"#,
            r#"{"x":{},"data":[1,"a"],"y":1}"#,
            " {\"data\":[1,\"a\"]}\n",
        ] {
            assert_eq!(try_decode(text), Ok(json!([1, "a"])), "{text}");
        }
        assert_eq!(try_decode(r#"{"data":null}"#), Ok(Value::Null));
    }

    #[test]
    fn malformed_is_named() {
        for (text, word) in [
            ("", "EOF"),
            ("[1]", "object with the key `data`"),
            (r#"{"date":1}"#, "missing field `data`"),
            (r#"{"data":1,"data":2}"#, "duplicate field"),
            (r#"{"data":1}}"#, "trailing"),
            (r#"{"data":1,}"#, "trailing comma"),
            (r#"{"data":}"#, "expected value"),
            ("{\"data\":\"\u{1}\"}", "control character"),
        ] {
            let error = try_decode(text).unwrap_err();
            assert!(
                error.starts_with("malformed json message: ") && error.contains(word),
                "{text}: {error}"
            );
        }
        assert!(decode::<Value>(b"{\"data\":\"\xff\"}").is_err());
    }

    #[test]
    fn floats_are_not_altered() {
        // Each of these was once read as its neighbour.
        for float in [
            -7.361979679030232e-123,
            2.638344616030823e-256,
            5e-324,
            0.1 + 0.2,
        ] {
            let mut out = Vec::new();
            encode(&float, Dialect::Headers, &mut out).unwrap();
            assert_eq!(
                decode::<f64>(&out).map(f64::to_bits),
                Ok(f64::to_bits(float))
            );
        }
    }

    #[test]
    fn nesting_is_bounded() {
        for depth in [1, 126] {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            for text in [
                format!("{{\"data\":{text}}}"),
                format!("{{ \"data\" : {text} }}"),
            ] {
                assert!(try_decode(&text).is_ok(), "{depth}");
            }
        }
        for depth in [200, 1_000_000] {
            let text = format!("{{\"data\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            assert!(try_decode(&text).unwrap_err().contains("recursion"));
            assert!(decode::<IgnoredAny>(text.as_bytes()).is_ok() || depth > 0);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..60), wrap: bool) {
            let mut text = bytes.clone();
            if wrap {
                text = [OPEN, &bytes, b"}"].concat();
            }
            // The short cut says the same as the whole parse.
            let whole = serde_json::from_slice::<Wrapped<Value>>(&text).ok().map(|w| w.0);
            prop_assert_eq!(decode::<Value>(&text).ok(), whole);
        }
    }
}
