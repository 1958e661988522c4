//! `raw` between lanpeers: MessagePack.

use std::marker::PhantomData;

use rmp_serde::decode::Error as RmpError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{
    DataType, DecodeError, Dialect, Encode, EncodeError, Encoded, Format, MAX_DEPTH, Payload,
    Reading, Sends, decode_any, name_both, pickle,
};

/// Messages are `raw`: MessagePack between two lanpeers, of any serde type.
///
/// `Raw<T>` sends and receives `T`. `Raw<Out, In>` sends `Out` and receives `In`; the other side
/// names the two the other way round, as with [`Json`](crate::Json).
///
/// Structs are maps with field names, so that both sides may add fields. Values nest at most 128
/// deep. Bytes after the value make a message malformed. Smaller and faster than [`Json`](crate::Json).
///
/// A peer that is not a lanpeer, such as peerpy, speaks Python's pickle here. That needs the feature
/// `pickle`; without it, a raw connection to or from such a peer fails at the handshake.
///
/// # With the feature `pickle`
///
/// | Python | serde, received | serde, sent |
/// | --- | --- | --- |
/// | `None` | `None`, unit | `None`, unit, unit struct |
/// | `bool`; `int` of at most 64 bits; `float` | bool; integers; floats | the same |
/// | `str` | string, char, variant without a value | the same |
/// | `bytes`, `bytearray` | bytes, and what asks for a sequence (`Vec<u8>`) | bytes as serde has them (`serde_bytes`), as `bytes` |
/// | `list`; `tuple` | sequence, tuple, tuple struct | sequence, as `list`; tuple, array, tuple struct, as `tuple` |
/// | `set`, `frozenset` | the same | – |
/// | `dict` | map, struct | map; struct, with the names of its fields |
/// | `{'Name': value}` | variant with a value | the same, several values as a `tuple`, fields as a `dict` |
///
/// It reads every protocol, 0 to 5, also with one object in several places, and writes protocol 4.
/// Nothing that a pickle names is looked up or run: an object of any other kind, a text with half of a
/// surrogate pair, or an integer of more than 64 bits makes the message malformed, with a text that says
/// so. So does a pickle that nests deeper or becomes larger than `PeerBuilder::max_pickle_depth` and
/// `PeerBuilder::max_pickle_expansion` allow. A value that cannot be sent, such as an integer of more than
/// 64 bits or a key that Python cannot hash (a sequence, a map, a struct), is an error of `send`.
///
/// ```
/// use lanpeer::{Peer, Raw};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Reading { sensor: u32, celsius: f64 }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// let bob_addr = bob.local_addr();
/// let asking = std::thread::spawn(move || alice.connect::<Raw<Reading>>(bob_addr).map(|c| (alice, c)));
/// let from_alice = bob.accept::<Raw<Reading>>()?;
/// let (_alice, to_bob) = asking.join().unwrap()?;
/// to_bob.send(&Reading { sensor: 7, celsius: 21.5 })?;
/// assert_eq!(from_alice.recv()?, Reading { sensor: 7, celsius: 21.5 });
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Raw<Out, In = Out>(PhantomData<fn(Out) -> In>);

impl<Out: 'static, In: DeserializeOwned + Send + 'static> Format for Raw<Out, In> {
    type Item = In;
    const DATA_TYPE: Option<DataType> = Some(DataType::Raw);

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

impl<Out, In, Q> Encode<Raw<Out, In>> for Q
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
            data_type: DataType::Raw,
            payload: out,
        })
    }
}

pub(super) fn encode<Q>(item: &Q, dialect: Dialect, out: &mut Vec<u8>) -> Result<(), EncodeError>
where
    Q: Serialize + ?Sized,
{
    if dialect == Dialect::Peerpy {
        return pickle::encode(item, out);
    }
    let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
    item.serialize(&mut serializer)
        .map_err(|error| EncodeError::new(DataType::Raw, error))
}

#[inline]
pub(super) fn decode_into<T: DeserializeOwned>(
    payload: &[u8],
    item: &mut Option<T>,
) -> Result<(), DecodeError> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(payload);
    // The default, 1,024, is more than a thread's stack holds.
    deserializer.set_max_depth(MAX_DEPTH);
    match T::deserialize(&mut deserializer) {
        Ok(value) => *item = Some(value),
        Err(error) => return Err(DecodeError::new(DataType::Raw, error)),
    }
    // The crate does not say what it left over. But the next value begins with a marker, and only
    // at the end can none be read; `bool` reads no further than one value's marker and data.
    match bool::deserialize(&mut deserializer) {
        Err(RmpError::InvalidMarkerRead(_)) => Ok(()),
        _ => Err(DecodeError::new(
            DataType::Raw,
            "bytes left over after the value",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::Value;

    fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, DecodeError> {
        let mut value = None;
        decode_into(payload, &mut value)?;
        Ok(value.expect("it is there"))
    }

    #[test]
    fn left_over_bytes_are_malformed() {
        assert_eq!(decode::<u8>(&[5]), Ok(5));
        for rest in [
            &[0x00][..],
            &[0x91],
            &[0xc1],
            &[0xc3],
            &[0xdc],
            &[0x81, 0xa1],
            &[0xd9, 0xff],
        ] {
            let error = decode::<u8>(&[&[5], rest].concat()).unwrap_err();
            assert!(error.to_string().contains("left over"), "{rest:?}: {error}");
        }
    }

    #[test]
    fn claims_reserve_nothing_and_nesting_is_bounded() {
        for claim in [
            &[0xdd, 0xff, 0xff, 0xff, 0xff][..],
            &[0xdf, 0xff, 0xff, 0xff, 0xff],
            &[0xdb, 0xff, 0xff, 0xff, 0xff],
            &[0xc6, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(decode::<Value>(claim).is_err());
            assert!(decode::<Vec<u64>>(claim).is_err());
            assert!(decode::<IgnoredAny>(claim).is_err());
        }
        // On a thread with the default stack, in debug builds too: an overflow aborts the process.
        let nested = vec![0x91; 1_000_000];
        for decode in [
            |b: &[u8]| decode::<Value>(b).is_err(),
            |b: &[u8]| decode::<IgnoredAny>(b).is_err(),
        ] {
            let nested = nested.clone();
            assert!(std::thread::spawn(move || decode(&nested)).join().unwrap());
        }
    }

    #[cfg(not(feature = "pickle"))]
    #[test]
    fn pickles_are_refused_by_name() {
        let error = encode(&1, Dialect::Peerpy, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("pickle"), "{error}");
    }

    type Example = (Vec<u64>, Option<String>, BTreeMap<String, f32>);

    fn any_value() -> impl Strategy<Value = Example> {
        let map = prop::collection::btree_map("[a-z]{0,3}", any::<f32>(), 0..4);
        (
            prop::collection::vec(any::<u64>(), 0..5),
            prop::option::of("[a-z]{0,40}"),
            map,
        )
    }

    proptest! {
        #[test]
        fn values_round_trip(value in any_value()) {
            let mut out = Vec::new();
            encode(&value, Dialect::Frames, &mut out).unwrap();
            prop_assert_eq!(decode(&out), Ok(value));
            for end in 0..out.len() {
                prop_assert!(decode::<Example>(&out[..end]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode::<Value>(&bytes);
            let _ = decode::<IgnoredAny>(&bytes);
        }
    }
}
