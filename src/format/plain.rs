//! A `bytes` message on a connection whose items are serde types, not strict: offered to the type
//! as bytes, or, where it asks for one, as a sequence of numbers (`Vec<u8>`).

use serde::de::value::{BytesDeserializer, Error, SeqDeserializer};
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

use super::{DataType, DecodeError};

pub(super) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, DecodeError> {
    T::deserialize(Plain(payload)).map_err(|error| DecodeError::new(DataType::Bytes, error))
}

struct Plain<'a>(&'a [u8]);

impl<'de> Deserializer<'de> for Plain<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        BytesDeserializer::new(self.0).deserialize_any(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        SeqDeserializer::new(self.0.iter().copied()).deserialize_seq(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_what_can_hold_them() {
        assert_eq!(decode::<Vec<u8>>(b"abc").unwrap(), b"abc");
        assert_eq!(decode::<Option<Vec<u8>>>(b"").unwrap(), Some(vec![]));
        assert_eq!(decode::<String>(b"abc").unwrap(), "abc");
        let error = decode::<f64>(b"abc").unwrap_err().to_string();
        assert!(
            error.starts_with("malformed bytes message: invalid type"),
            "{error}"
        );
    }
}
