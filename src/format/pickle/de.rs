//! From the arena to the program's type: each visit of a value is paid for, and counted in depth.
//!
//! The only recursion is serde's own, from a container to its items, and it is bounded by the depth:
//! so that a list that contains itself ends too.

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor, value::U8Deserializer,
};
use serde::forward_to_deserialize_any;

use super::arena::{Arena, Chain, Items, Node, NodeId, Span};
use super::budget::{Budget, VALUE};
use super::error::{Error, Result};

pub(super) fn value<T: DeserializeOwned>(
    arena: &Arena<'_>,
    root: NodeId,
    budget: &Budget,
) -> Result<T> {
    let place = Place {
        arena,
        budget,
        depth: 0,
    };
    T::deserialize(place.visit(root)?)
}

/// Where a visit is: shared by all items of a container.
#[derive(Clone, Copy)]
struct Place<'r> {
    arena: &'r Arena<'r>,
    budget: &'r Budget,
    /// Containers around it.
    depth: usize,
}

impl<'r> Place<'r> {
    fn visit(self, id: NodeId) -> Result<Value<'r>> {
        self.budget.pay(VALUE)?;
        let node = self.arena.node(id);
        Ok(Value { place: self, node })
    }
}

/// A value in one of its places.
#[derive(Clone, Copy)]
struct Value<'r> {
    place: Place<'r>,
    node: Node,
}

impl<'r> Value<'r> {
    fn inside(self) -> Result<Place<'r>> {
        let depth = self.place.depth + 1;
        if depth > self.place.budget.depth {
            return Err(Error::new(format_args!(
                "nested more than {} deep, or contains itself",
                self.place.budget.depth
            )));
        }
        Ok(Place {
            depth,
            ..self.place
        })
    }

    fn text(self) -> Result<&'r str> {
        let text = self.place.arena.text(self.node).unwrap_or_default();
        self.place.budget.pay(text.len())?;
        Ok(text)
    }

    fn bytes(self, span: Span) -> Result<&'r [u8]> {
        let bytes = self.place.arena.bytes(span);
        self.place.budget.pay(bytes.len())?;
        Ok(bytes)
    }

    fn latin1(self, text: NodeId) -> Result<Vec<u8>> {
        let arena = self.place.arena;
        let length = arena.text(arena.node(text)).map_or(0, str::len);
        self.place.budget.pay(length)?;
        arena.latin1(text)
    }

    fn items(self, chain: Chain) -> Result<Sequence<'r>> {
        let place = self.inside()?;
        Ok(Sequence {
            place,
            items: place.arena.items(chain),
        })
    }

    fn visit_items<'de, V: Visitor<'de>>(self, chain: Chain, visitor: V) -> Result<V::Value> {
        let mut items = self.items(chain)?;
        let value = visitor.visit_seq(&mut items)?;
        match items.items.len() {
            0 => Ok(value),
            _ => Err(Error::invalid_length(chain.len as usize, &"fewer items")),
        }
    }

    fn visit_pairs<'de, V: Visitor<'de>>(self, chain: Chain, visitor: V) -> Result<V::Value> {
        let mut items = self.items(chain)?;
        let value = visitor.visit_map(&mut items)?;
        match items.items.len() {
            0 => Ok(value),
            _ => Err(Error::invalid_length(chain.len as usize / 2, &"fewer keys")),
        }
    }

    /// Bytes where a sequence is asked for (`Vec<u8>`): each byte is an item, and counts as one.
    fn visit_bytes_as_items<'de, V: Visitor<'de>>(
        self,
        bytes: &[u8],
        visitor: V,
    ) -> Result<V::Value> {
        self.place.budget.pay(bytes.len().saturating_mul(VALUE))?;
        let mut items = bytes.iter();
        let value = visitor.visit_seq(Bytes(&mut items))?;
        match items.len() {
            0 => Ok(value),
            _ => Err(Error::invalid_length(bytes.len(), &"fewer bytes")),
        }
    }
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.node {
            Node::None => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(value),
            Node::Int(value) => match u64::try_from(value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_i64(value),
            },
            Node::Large(value) => visitor.visit_u64(value),
            Node::Float(value) => visitor.visit_f64(value),
            Node::Text(_) | Node::Unescaped(_) => visitor.visit_str(self.text()?),
            Node::Bytes(span) => visitor.visit_bytes(self.bytes(span)?),
            Node::Latin1(text) => visitor.visit_byte_buf(self.latin1(text)?),
            Node::List(chain) | Node::Tuple(chain) | Node::Set(chain) | Node::Frozen(chain) => {
                self.visit_items(chain, visitor)
            }
            Node::Dict(chain) => self.visit_pairs(chain, visitor),
            Node::Function(function) => Err(Error::new(format_args!(
                "{function:?}, a function of Python, is no plain data"
            ))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.node {
            Node::None => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.node {
            Node::Bytes(span) => self.visit_bytes_as_items(self.bytes(span)?, visitor),
            Node::Latin1(text) => self.visit_bytes_as_items(&self.latin1(text)?, visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    /// As `serde_json` has them: a text is a variant without a value, a dict with one key a variant
    /// with one.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let (variant, value) = match self.node {
            Node::Dict(chain) if chain.len == 2 => {
                let mut items = self.items(chain)?;
                let mut next = || {
                    items
                        .items
                        .next()
                        .map(|id| items.place.visit(id))
                        .transpose()
                };
                match (next()?, next()?) {
                    (Some(variant), Some(value)) => (variant, Some(value)),
                    _ => (self, None),
                }
            }
            Node::Dict(_) => {
                let what = Unexpected::Other("a dict that has not one key");
                return Err(Error::invalid_value(what, &"an enum"));
            }
            _ => (self, None),
        };
        visitor.visit_enum(Enum { variant, value })
    }

    /// What nobody wants is not looked at, and costs nothing.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct map struct identifier
    }
}

struct Sequence<'r> {
    /// Of the items.
    place: Place<'r>,
    items: Items<'r>,
}

impl Sequence<'_> {
    fn next<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        let Some(id) = self.items.next() else {
            return Ok(None);
        };
        seed.deserialize(self.place.visit(id)?).map(Some)
    }
}

impl<'de> SeqAccess<'de> for &mut Sequence<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

impl<'de> MapAccess<'de> for &mut Sequence<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        self.next(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        self.next(seed)?
            .ok_or_else(|| Error::new("a key without a value"))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() / 2)
    }
}

struct Bytes<'r, 'b>(&'r mut std::slice::Iter<'b, u8>);

impl<'de> SeqAccess<'de> for Bytes<'_, '_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        let Some(&byte) = self.0.next() else {
            return Ok(None);
        };
        seed.deserialize(U8Deserializer::new(byte)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Enum<'r> {
    variant: Value<'r>,
    value: Option<Value<'r>>,
}

impl<'de, 'r> EnumAccess<'de> for Enum<'r> {
    type Error = Error;
    type Variant = Variant<'r>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Variant<'r>)> {
        Ok((seed.deserialize(self.variant)?, Variant(self.value)))
    }
}

/// What a variant holds.
struct Variant<'r>(Option<Value<'r>>);

impl<'r> Variant<'r> {
    fn value(self, expected: &str) -> Result<Value<'r>> {
        self.0
            .ok_or_else(|| Error::invalid_type(Unexpected::UnitVariant, &expected))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<()> {
        match self.0 {
            None => Ok(()),
            Some(value) => serde::Deserialize::deserialize(value),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        seed.deserialize(self.value("a variant with a value")?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.value("a variant with a tuple")?
            .deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.value("a variant with fields")?
            .deserialize_any(visitor)
    }
}
