use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Bound, Range};
use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::Value;

use super::is_clean;
use super::plan::Plan;
use super::values::{depth, value};
use crate::format::{
    DataType, DecodeError, Dialect, Encode, Format, Json, Limits, MAX_DEPTH, Raw, Reading,
};

/// One of each kind that serde has: what a program's own types are made of.
type Text = BTreeMap<String, String>;
type Results = Vec<Result<i64, Option<String>>>;
type Tuple = (u8, char, (), [f32; 2], bool);
type Struct = Range<Option<f64>>;
type Enum = Vec<Bound<Duration>>;
type Octets = BTreeMap<i8, Vec<u8>>;

/// Any bytes as a `json` payload, and any value as one.
pub fn json(data: &[u8]) {
    let any = Payload::new(Dialect::Headers, data);
    let found = any.read::<Json<Value>>();
    any.check::<Json<Text>>();
    any.check::<Json<Results>>();
    any.check::<Json<Tuple>>();
    any.check::<Json<Struct>>();
    any.check::<Json<Enum>>();
    any.check::<Json<Octets>>();
    any.check::<Json<String>>();
    any.check::<Json<u64>>();
    if let Ok((found, size)) = found {
        assert_eq!(size, data.len());
        let depth = depth(&found);
        assert!(depth < MAX_DEPTH);
        // The short cut for what begins as nearly every message does is no other language: with a
        // space before it, it is not taken. Only the wrapper around the value counts there too.
        let spaced = [b" ", data].concat();
        match decode::<Json<Value>>(any.reading, &spaced) {
            Ok((slow, _)) => assert_eq!(slow, found),
            Err(error) => assert_eq!(depth, MAX_DEPTH - 1, "{error}"),
        }
        // It ends with its brace, and what follows may only be space.
        let text = data.trim_ascii_end();
        any.is_no_other::<Json<IgnoredAny>>(text);
    }
    let mut plan = Plan::new(data);
    any.survives::<Json<Value>>(&value(&mut plan, 6));

    // On a connection that is not strict, bytes become what can hold them.
    let reading = any.reading;
    let bytes = decode_as::<Json<Vec<u8>>>(DataType::Bytes, reading, data);
    assert_eq!(bytes.expect("bytes are bytes"), (data.to_vec(), data.len()));
    let text = decode_as::<Json<String>>(DataType::Bytes, reading, data);
    assert_eq!(
        text.ok().map(|(text, _)| text),
        String::from_utf8(data.to_vec()).ok()
    );
}

/// Any bytes as a `raw` payload between lanpeers, which is MessagePack, and any value as one.
pub fn raw(data: &[u8]) {
    let any = Payload::new(Dialect::Headers, data);
    let found = any.read_all();
    if let Ok((found, size)) = found {
        assert_eq!(size, data.len());
        assert!(depth(&found) <= MAX_DEPTH);
        any.is_no_other::<Raw<IgnoredAny>>(data);
    }
    let mut plan = Plan::new(data);
    any.survives::<Raw<Value>>(&value(&mut plan, 6));
}

/// Any bytes as a `raw` payload from a peer that is not a lanpeer, which is a pickle, and any value
/// as one.
#[cfg(feature = "pickle")]
pub fn pickle(data: &[u8]) {
    use crate::format::reserved_for_pickle;

    let mut plan = Plan::new(data);
    let strict = Limits {
        depth: usize::from(plan.byte()).min(MAX_DEPTH),
        expansion: plan.pick(&[0, 1000, 1 << 16, 1 << 20]),
    };
    let bytes = plan.rest();
    let (reserved, bound) = reserved_for_pickle(bytes);
    assert!(reserved <= bound, "{reserved} bytes for {}", bytes.len());

    let mut any = Payload::new(Dialect::Peerpy, bytes);
    any.reading.limits.expansion = 1 << 20;
    let found = any.read_all();
    if let Ok((found, size)) = &found {
        let limits = any.reading.limits;
        let became = is_within(limits, bytes, found);
        assert!(
            *size == bytes.len() || *size >= became,
            "{size}, became {became}"
        );
        any.is_no_other::<Raw<IgnoredAny>>(bytes);
    }
    // A tighter limit refuses more, and changes nothing.
    let reading = Reading {
        limits: strict,
        ..any.reading
    };
    if let Ok((within, _)) = decode::<Raw<Value>>(reading, bytes) {
        is_within(strict, bytes, &within);
        assert_eq!(found.expect("within the wider limits too").0, within);
    }
    // What repeats nothing is never too large.
    any.reading.limits.expansion = 0;
    any.survives::<Raw<Value>>(&value(&mut Plan::new(bytes), 6));
}

/// What the limits count of a value is within them.
#[cfg(feature = "pickle")]
fn is_within(limits: Limits, pickle: &[u8], value: &Value) -> usize {
    fn counted(value: &Value) -> usize {
        let inside: usize = match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(counted).sum(),
            // Of two equal keys one is left here, and both were counted there.
            Value::Object(entries) => entries
                .iter()
                .map(|(key, value)| 32 + key.len() + counted(value))
                .sum(),
            _ => 0,
        };
        32 + inside
    }
    let counted = counted(value);
    assert!(counted <= limits.expansion.max(33 * pickle.len()));
    assert!(depth(value) <= limits.depth);
    counted
}

/// A payload, and how it is read.
struct Payload<'a> {
    bytes: &'a [u8],
    reading: Reading,
}

type Found<F> = Result<(<F as Format>::Item, usize), DecodeError>;

impl<'a> Payload<'a> {
    fn new(dialect: Dialect, bytes: &'a [u8]) -> Payload<'a> {
        let limits = Limits::default();
        let reading = Reading { dialect, limits };
        Payload { bytes, reading }
    }

    fn check<G>(&self)
    where
        G: Format,
        G::Item: Encode<G> + Debug,
    {
        let _ = self.read::<G>();
    }

    /// What can be read can be written, and is then read as the same.
    fn read<G>(&self) -> Found<G>
    where
        G: Format,
        G::Item: Encode<G> + Debug,
    {
        let found = decode::<G>(self.reading, self.bytes);
        match &found {
            Ok((item, _)) => self.survives::<G>(item),
            Err(error) => is_clean(error),
        }
        found
    }

    fn survives<G>(&self, item: &G::Item)
    where
        G: Format,
        G::Item: Encode<G> + Debug,
    {
        let mut out = Vec::new();
        let Reading { dialect, .. } = self.reading;
        let bytes = item
            .encode(dialect, &mut out)
            .expect("it was read")
            .payload()
            .to_vec();
        let (again, size) =
            decode::<G>(self.reading, &bytes).unwrap_or_else(|error| panic!("{error}: {item:?}"));
        assert_eq!(size, bytes.len());
        // Not by `==`, for which NaN is not NaN, and 0 is -0.
        assert_eq!(format!("{again:?}"), format!("{item:?}"));
        let mut out = Vec::new();
        let twice = again
            .encode(dialect, &mut out)
            .expect("it was read")
            .payload()
            .to_vec();
        assert_eq!(twice, bytes);
    }

    /// No message is the beginning of another: what is cut, or has something behind it, is malformed.
    fn is_no_other<G: Format>(&self, whole: &[u8]) {
        let cut = |end: usize| decode::<G>(self.reading, &whole[..end]).is_ok();
        // Near both ends, so that a long message costs little.
        let near = (0..whole.len()).filter(|end| *end < 32 || whole.len() - *end <= 32);
        let ends: Vec<usize> = near.filter(|end| cut(*end)).collect();
        assert!(ends.is_empty(), "{ends:?} of {}", whole.escape_ascii());
        for more in [0, b'.', b'}', b'N', 0x90, 0xc0, 0xff] {
            let longer = [whole, &[more]].concat();
            assert!(decode::<G>(self.reading, &longer).is_err(), "{more}");
        }
    }

    /// As every type, for `raw`.
    fn read_all(&self) -> Found<Raw<Value>> {
        self.check::<Raw<Text>>();
        self.check::<Raw<Results>>();
        self.check::<Raw<Tuple>>();
        self.check::<Raw<Struct>>();
        self.check::<Raw<Enum>>();
        self.check::<Raw<Octets>>();
        self.check::<Raw<String>>();
        self.check::<Raw<u64>>();
        // Not even looked at, but as deep.
        if let Err(error) = decode::<Raw<IgnoredAny>>(self.reading, self.bytes) {
            is_clean(&error);
        }
        self.read::<Raw<Value>>()
    }
}

fn decode<F: Format>(reading: Reading, payload: &[u8]) -> Found<F> {
    let data_type = F::DATA_TYPE.expect("it has one");
    decode_as::<F>(data_type, reading, payload)
}

fn decode_as<F: Format>(data_type: DataType, reading: Reading, payload: &[u8]) -> Found<F> {
    let mut item = None;
    let size = F::decode(data_type, reading, Cow::Borrowed(payload), &mut item)?;
    Ok((item.expect("it was decoded"), size))
}
