//! Any plain value, and the text by which it is compared with Python's.

use std::fmt::{self, Write};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeTuple, Serializer};

/// What Python and serde share. Received tuples and sets are lists.
#[derive(Clone, Debug)]
pub enum Plain {
    None,
    Bool(bool),
    Int(i64),
    Large(u64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Plain>),
    Tuple(Vec<Plain>),
    Dict(Vec<(Plain, Plain)>),
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |f: &mut fmt::Formatter<'_>, sign: char, bytes: &[u8]| {
            f.write_char(sign)?;
            bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        };
        let items = |f: &mut fmt::Formatter<'_>, items: &[Plain]| {
            items.iter().enumerate().try_for_each(|(index, item)| {
                let comma = if index > 0 { "," } else { "" };
                write!(f, "{comma}{item}")
            })
        };
        match self {
            Plain::None => f.write_char('N'),
            Plain::Bool(true) => f.write_char('T'),
            Plain::Bool(false) => f.write_char('F'),
            Plain::Int(value) => write!(f, "i{value}"),
            Plain::Large(value) => write!(f, "i{value}"),
            Plain::Float(value) if value.is_nan() => f.write_str("fnan"),
            Plain::Float(value) => hex(f, 'f', &value.to_be_bytes()),
            Plain::Text(text) => hex(f, 's', text.as_bytes()),
            Plain::Bytes(bytes) => hex(f, 'b', bytes),
            Plain::List(list) => {
                f.write_char('[')?;
                items(f, list)?;
                f.write_char(']')
            }
            Plain::Tuple(tuple) => {
                f.write_char('(')?;
                items(f, tuple)?;
                f.write_char(')')
            }
            Plain::Dict(pairs) => {
                f.write_char('{')?;
                for (index, (key, value)) in pairs.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{key}:{value}")?;
                }
                f.write_char('}')
            }
        }
    }
}

impl Serialize for Plain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Plain::None => serializer.serialize_none(),
            Plain::Bool(value) => serializer.serialize_bool(*value),
            Plain::Int(value) => serializer.serialize_i64(*value),
            Plain::Large(value) => serializer.serialize_u64(*value),
            Plain::Float(value) => serializer.serialize_f64(*value),
            Plain::Text(text) => serializer.serialize_str(text),
            Plain::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Plain::List(list) => list.serialize(serializer),
            Plain::Tuple(items) => {
                let mut tuple = serializer.serialize_tuple(items.len())?;
                for item in items {
                    tuple.serialize_element(item)?;
                }
                tuple.end()
            }
            Plain::Dict(pairs) => {
                let mut map = serializer.serialize_map(None)?;
                for (key, value) in pairs {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Plain, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Plain;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plain data")
    }

    fn visit_unit<E: Error>(self) -> Result<Plain, E> {
        Ok(Plain::None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Plain, E> {
        Ok(Plain::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Plain, E> {
        Ok(Plain::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Plain, E> {
        Ok(Plain::Large(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Plain, E> {
        Ok(Plain::Float(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Plain, E> {
        Ok(Plain::Text(text.to_owned()))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Plain, E> {
        Ok(Plain::Bytes(bytes.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Plain, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            list.push(item);
        }
        Ok(Plain::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Plain, A::Error> {
        let mut dict = Vec::new();
        while let Some(entry) = map.next_entry()? {
            dict.push(entry);
        }
        Ok(Plain::Dict(dict))
    }
}
