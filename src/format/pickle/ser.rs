//! From the program's type to a pickle of protocol 4, which Python 3.4 and later read.
//!
//! | serde | Python |
//! | --- | --- |
//! | `None`, unit, unit struct | `None` |
//! | bool, integers, floats | `bool`, `int`, `float` |
//! | char, string; bytes | `str`; `bytes` |
//! | sequence; tuple, array, tuple struct | `list`; `tuple` |
//! | map; struct | `dict`; `dict` with the fields' names |
//! | variant, as in JSON | its name, or `{name: value}`; several values are a `tuple`, fields a `dict` |
//!
//! Nothing is written into the memo, because nothing in a value of serde is there twice.

use serde::ser::{self, Serialize};

use super::error::{Error, Result};
use super::lines::too_large;
use super::opcode as op;

pub(super) fn write<Q: Serialize + ?Sized>(value: &Q, out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(&[op::PROTO, 4]);
    let mut writer = Writer { out, keys: 0 };
    value.serialize(&mut writer)?;
    writer.out.push(op::STOP);
    Ok(())
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Keys of maps that are being written, one inside another. A key of Python has to be hashable:
    /// no list and no dict.
    keys: usize,
}

impl Writer<'_> {
    fn int(&mut self, value: i64) {
        if let Ok(value) = u8::try_from(value) {
            self.out.extend_from_slice(&[op::BININT1, value]);
        } else if let Ok(value) = u16::try_from(value) {
            self.out.push(op::BININT2);
            self.out.extend_from_slice(&value.to_le_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            self.out.push(op::BININT);
            self.out.extend_from_slice(&value.to_le_bytes());
        } else {
            self.out.extend_from_slice(&[op::LONG1, 8]);
            self.out.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn large(&mut self, value: u64) {
        self.out.extend_from_slice(&[op::LONG1, 9]); // 9: a byte for the sign
        self.out.extend_from_slice(&value.to_le_bytes());
        self.out.push(0);
    }

    /// The opcode for a length of 1, 4 or 8 bytes, the length, and the bytes.
    fn sized(&mut self, opcodes: [u8; 3], bytes: &[u8]) {
        let length = (bytes.len() as u64).to_le_bytes();
        let (opcode, digits) = match bytes.len() {
            0..=0xff => (opcodes[0], 1),
            0x100..=0xffff_ffff => (opcodes[1], 4),
            _ => (opcodes[2], 8),
        };
        self.out.push(opcode);
        self.out.extend_from_slice(&length[..digits]);
        self.out.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        let opcodes = [op::SHORT_BINUNICODE, op::BINUNICODE, op::BINUNICODE8];
        self.sized(opcodes, text.as_bytes());
    }

    fn no_key(&self, what: &str) -> Result<()> {
        match self.keys {
            0 => Ok(()),
            _ => Err(Error::new(format_args!(
                "{what} as a key, or in one: Python's dicts cannot have it"
            ))),
        }
    }

    fn list(&mut self) -> Result<()> {
        self.no_key("a sequence")?;
        self.out.extend_from_slice(&[op::EMPTY_LIST, op::MARK]);
        Ok(())
    }

    fn dict(&mut self) -> Result<()> {
        self.no_key("a map or a struct")?;
        self.out.extend_from_slice(&[op::EMPTY_DICT, op::MARK]);
        Ok(())
    }

    /// The beginning of `{name: value}`.
    fn variant(&mut self, name: &str) -> Result<()> {
        self.no_key("a variant with a value")?;
        self.out.push(op::EMPTY_DICT);
        self.text(name);
        Ok(())
    }
}

/// What is being written, and the opcodes that end it.
struct Open<'w, 'a> {
    writer: &'w mut Writer<'a>,
    end: &'static [u8],
}

const LIST: &[u8] = &[op::APPENDS];
const TUPLE: &[u8] = &[op::TUPLE];
const DICT: &[u8] = &[op::SETITEMS];
const TUPLE_OF_VARIANT: &[u8] = &[op::TUPLE, op::SETITEM];
const DICT_OF_VARIANT: &[u8] = &[op::SETITEMS, op::SETITEM];

impl<'w, 'a> ser::Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Open<'w, 'a>;
    type SerializeTuple = Open<'w, 'a>;
    type SerializeTupleStruct = Open<'w, 'a>;
    type SerializeTupleVariant = Open<'w, 'a>;
    type SerializeMap = Open<'w, 'a>;
    type SerializeStruct = Open<'w, 'a>;
    type SerializeStructVariant = Open<'w, 'a>;

    fn serialize_bool(self, value: bool) -> Result<()> {
        self.out
            .push(if value { op::NEWTRUE } else { op::NEWFALSE });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<()> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<()> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<()> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<()> {
        self.int(value);
        Ok(())
    }

    fn serialize_i128(self, value: i128) -> Result<()> {
        match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => self.serialize_i64(value),
            (_, Ok(value)) => self.serialize_u64(value),
            _ => Err(too_large()),
        }
    }

    fn serialize_u8(self, value: u8) -> Result<()> {
        self.serialize_i64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<()> {
        self.serialize_i64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<()> {
        self.serialize_i64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<()> {
        match i64::try_from(value) {
            Ok(value) => self.int(value),
            Err(_) => self.large(value),
        }
        Ok(())
    }

    fn serialize_u128(self, value: u128) -> Result<()> {
        self.serialize_u64(u64::try_from(value).map_err(|_| too_large())?)
    }

    fn serialize_f32(self, value: f32) -> Result<()> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<()> {
        self.out.push(op::BINFLOAT);
        self.out.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<()> {
        self.text(value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<()> {
        self.sized([op::SHORT_BINBYTES, op::BINBYTES, op::BINBYTES8], value);
        Ok(())
    }

    fn serialize_none(self) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<()> {
        self.out.push(op::NONE);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<()> {
        self.serialize_str(name)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<()> {
        self.variant(name)?;
        value.serialize(&mut *self)?;
        self.out.push(op::SETITEM);
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Open<'w, 'a>> {
        self.list()?;
        let end = LIST;
        Ok(Open { writer: self, end })
    }

    fn serialize_tuple(self, _: usize) -> Result<Open<'w, 'a>> {
        self.out.push(op::MARK);
        let end = TUPLE;
        Ok(Open { writer: self, end })
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Open<'w, 'a>> {
        self.serialize_tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Open<'w, 'a>> {
        self.variant(name)?;
        self.out.push(op::MARK);
        let end = TUPLE_OF_VARIANT;
        Ok(Open { writer: self, end })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Open<'w, 'a>> {
        self.dict()?;
        let end = DICT;
        Ok(Open { writer: self, end })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Open<'w, 'a>> {
        self.serialize_map(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Open<'w, 'a>> {
        self.variant(name)?;
        self.dict()?;
        let end = DICT_OF_VARIANT;
        Ok(Open { writer: self, end })
    }
}

impl Open<'_, '_> {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(&mut *self.writer)
    }

    fn close(self) -> Result<()> {
        self.writer.out.extend_from_slice(self.end);
        Ok(())
    }
}

macro_rules! items {
    ($($trait:ident $method:ident),*) => {$(
        impl ser::$trait for Open<'_, '_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.item(value)
            }

            fn end(self) -> Result<()> {
                self.close()
            }
        }
    )*};
}

macro_rules! fields {
    ($($trait:ident),*) => {$(
        impl ser::$trait for Open<'_, '_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<()> {
                self.writer.text(name);
                self.item(value)
            }

            fn end(self) -> Result<()> {
                self.close()
            }
        }
    )*};
}

items! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
}
fields! { SerializeStruct, SerializeStructVariant }

impl ser::SerializeMap for Open<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.writer.keys += 1;
        self.item(key)?;
        self.writer.keys -= 1;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.item(value)
    }

    fn end(self) -> Result<()> {
        self.close()
    }
}
