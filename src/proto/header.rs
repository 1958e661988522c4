//! Headers: `TYPE|key=value&key=value`, padded with `|` to 128 bytes.
//!
//! A long file, so that the form of all headers is in one place.

use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};

use super::data_type::DataType;

/// Every header has this length.
pub(crate) const HEADER_LEN: usize = 128;

/// What peerpy sends between messages, and between the frames of a stream, when it heard nothing.
pub(crate) const PING: [u8; HEADER_LEN] = {
    let mut header = [b'|'; HEADER_LEN];
    header[0] = b'P';
    header[1] = b'I';
    header[2] = b'N';
    header[3] = b'G';
    header
};

/// Why bytes are not a header, or cannot become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    TooLong {
        len: usize,
    },
    NotUtf8,
    Stray(String),
    NoEquals(String),
    Repeated(String),
    Missing(&'static str),
    Number {
        key: &'static str,
        value: String,
    },
    Address {
        key: &'static str,
        value: String,
    },
    DataType(String),
    Suite(String),
    Unexpected {
        expected: &'static str,
        got: String,
    },
    LongLabel {
        key: &'static str,
        len: usize,
        max: usize,
    },
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Text from the network is escaped, so that it cannot write its own log lines.
        match self {
            Self::TooLong { len } => write!(f, "a header of {len} bytes, at most {HEADER_LEN} fit"),
            Self::NotUtf8 => f.write_str("a header that is not UTF-8"),
            Self::Stray(text) => {
                write!(f, "`{}` after the padding of a header", text.escape_debug())
            }
            Self::NoEquals(part) => {
                write!(f, "`{}` in a header is not key=value", part.escape_debug())
            }
            Self::Repeated(key) => write!(f, "the key `{}` twice in a header", key.escape_debug()),
            Self::Missing(key) => write!(f, "a header without {key}"),
            Self::Number { key, value } => {
                write!(f, "{key}=`{}` is not a number", value.escape_debug())
            }
            Self::Address { key, value } => {
                write!(f, "{key}=`{}` is not IP:PORT", value.escape_debug())
            }
            Self::DataType(name) => write!(f, "unknown data type `{}`", name.escape_debug()),
            Self::LongLabel { key, len, max } => {
                write!(f, "a {key} of {len} bytes, at most {max} fit")
            }
            Self::Suite(name) => write!(f, "unknown secure=`{}`", name.escape_debug()),
            Self::Unexpected { expected, got } => {
                write!(
                    f,
                    "a header `{}` where {expected} was expected",
                    got.escape_debug()
                )
            }
        }
    }
}

impl std::error::Error for HeaderError {}

/// The text of a header, split: the word before the first `|`, and its keys.
///
/// Accepts any length up to 128 bytes, with or without padding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    word: &'a str,
    pairs: &'a str,
}

impl<'a> Fields<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Fields<'a>, HeaderError> {
        if bytes.len() > HEADER_LEN {
            return Err(HeaderError::TooLong { len: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| HeaderError::NotUtf8)?;
        let text = text.trim_end_matches('|');
        let (word, pairs) = text.split_once('|').unwrap_or((text, ""));
        if let Some((_, stray)) = pairs.split_once('|') {
            return Err(HeaderError::Stray(stray.trim_start_matches('|').to_owned()));
        }
        let fields = Fields { word, pairs };
        for (index, part) in fields.parts().enumerate() {
            match part.split_once('=') {
                Some((key, value)) if !value.contains('=') => {
                    if fields
                        .parts()
                        .take(index)
                        .any(|p| p.split('=').next() == Some(key))
                    {
                        return Err(HeaderError::Repeated(key.to_owned()));
                    }
                }
                _ => return Err(HeaderError::NoEquals(part.to_owned())),
            }
        }
        Ok(fields)
    }

    /// What stands before the first `|`: `HELLO`, or `PING 192.168.0.2:51515`.
    pub fn word(&self) -> &'a str {
        self.word
    }

    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.parts().find_map(|part| {
            part.split_once('=')
                .filter(|(k, _)| *k == key)
                .map(|(_, v)| v)
        })
    }

    fn parts(&self) -> impl Iterator<Item = &'a str> {
        let pairs = self.pairs;
        (!pairs.is_empty())
            .then(|| pairs.split('&'))
            .into_iter()
            .flatten()
    }

    fn size(&self, key: &'static str) -> Result<Option<u64>, HeaderError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        // `parse` alone would take a leading plus sign.
        match value.parse() {
            Ok(size) if value.bytes().all(|b| b.is_ascii_digit()) => Ok(Some(size)),
            _ => Err(HeaderError::Number {
                key,
                value: value.to_owned(),
            }),
        }
    }

    /// A decimal number of at most 32 bits.
    pub fn number(&self, key: &'static str) -> Result<Option<u32>, HeaderError> {
        let Some(number) = self.size(key)? else {
            return Ok(None);
        };
        let number = u32::try_from(number).map_err(|_| HeaderError::Number {
            key,
            value: number.to_string(),
        })?;
        Ok(Some(number))
    }

    /// A number in hexadecimal digits.
    pub fn hex(&self, key: &'static str) -> Result<Option<u64>, HeaderError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        // `from_str_radix` alone would take a leading plus sign.
        match u64::from_str_radix(value, 16) {
            Ok(number) if value.bytes().all(|b| b.is_ascii_hexdigit()) => Ok(Some(number)),
            _ => Err(HeaderError::Number {
                key,
                value: value.to_owned(),
            }),
        }
    }

    fn address(&self, key: &'static str) -> Result<Option<SocketAddrV4>, HeaderError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        value.parse().map(Some).map_err(|_| HeaderError::Address {
            key,
            value: value.to_owned(),
        })
    }

    /// Absent is `default`; of the texts, those that say "no" are false and all others true, as
    /// peerpy reads them, except that peerpy takes `False` for true.
    fn flag(&self, key: &str, default: bool) -> bool {
        self.get(key).map_or(default, |value| {
            !matches!(value, "" | "0" | "false" | "False")
        })
    }

    /// The highest version that the other side speaks; one that is higher than ours includes ours.
    fn version(&self) -> Version {
        match self.get("v") {
            None | Some("" | "0") => Version::Peerpy,
            Some(v) if v.parse().is_ok_and(|v: u32| v >= 2) => Version::Frames,
            Some(_) => Version::Headers,
        }
    }

    fn key(&self) -> Option<bool> {
        self.get("key").map(|_| self.flag("key", false))
    }

    fn wanted(&self) -> Result<Option<Wanted>, HeaderError> {
        let Some(text) = self.get("secure") else {
            return Ok(None);
        };
        let (name, passphrase) = match text.strip_suffix(Wanted::PASSPHRASE) {
            Some(name) => (name, true),
            None => (text, false),
        };
        let suite = Suite::parse(name).ok_or_else(|| HeaderError::Suite(text.to_owned()))?;
        Ok(Some(Wanted { suite, passphrase }))
    }

    fn taken(&self) -> Result<Option<Taken>, HeaderError> {
        let Some(name) = self.get("secure") else {
            return Ok(None);
        };
        let suite = Suite::parse(name).ok_or_else(|| HeaderError::Suite(name.to_owned()))?;
        let shares = match self.number("shares")? {
            None => 0,
            Some(shares) if (1..=MAX_SHARES).contains(&shares) => shares as u8,
            Some(shares) => {
                return Err(HeaderError::Number {
                    key: "shares",
                    value: shares.to_string(),
                });
            }
        };
        Ok(Some(Taken { suite, shares }))
    }
}

/// Builds a header; what does not fit into 128 bytes is an error, never cut.
pub(crate) struct HeaderWriter {
    bytes: [u8; HEADER_LEN],
    len: usize,
    pairs: usize,
}

impl HeaderWriter {
    pub fn new(word: impl fmt::Display) -> HeaderWriter {
        let mut writer = HeaderWriter {
            bytes: [b'|'; HEADER_LEN],
            len: 0,
            pairs: 0,
        };
        let _ = write!(writer, "{word}");
        writer
    }

    pub fn pair(mut self, key: &str, value: impl fmt::Display) -> HeaderWriter {
        let separator = if self.pairs == 0 { '|' } else { '&' };
        self.pairs += 1;
        let _ = write!(self, "{separator}{key}={value}");
        self
    }

    pub fn finish(self) -> Result<[u8; HEADER_LEN], HeaderError> {
        if self.len > HEADER_LEN {
            return Err(HeaderError::TooLong { len: self.len });
        }
        Ok(self.bytes)
    }
}

impl fmt::Write for HeaderWriter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        if end <= HEADER_LEN {
            self.bytes[self.len..end].copy_from_slice(text.as_bytes());
        }
        // Beyond the end only the length is counted, so that `finish` can name it.
        self.len = end;
        Ok(())
    }
}

/// Which extensions a side speaks: `v=` in HELLO, and in ACCEPT the lower of both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// None: no `v`.
    Peerpy,
    /// `v=1`: text headers, and MessagePack.
    Headers,
    /// `v=2`: frames.
    Frames,
}

impl Version {
    fn write(self, writer: HeaderWriter) -> HeaderWriter {
        match self {
            Version::Peerpy => writer,
            Version::Headers => writer.pair("v", 1),
            Version::Frames => writer.pair("v", 2),
        }
    }
}

/// HELLO: who asks for a connection, and for which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Where the asker listens, as it says itself.
    pub addr: SocketAddrV4,
    pub data_type: DataType,
    pub strict: bool,
    pub stream: Option<Stream>,
    /// What the asker speaks.
    pub version: Version,
    /// WHO stands right behind it.
    pub who: bool,
    /// The connection is to be encrypted; if with AES, then ChaCha20 would do as well.
    pub secure: Option<Wanted>,
    /// The id of the peer that is meant, where the asker knows one.
    pub to: Option<u64>,
    /// With encryption: the asker knows of keys, and shows one of its own or not.
    pub key: Option<bool>,
}

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    Aes,
    ChaCha,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Suite::Aes => "aes",
            Suite::ChaCha => "chacha",
        })
    }
}

impl Suite {
    fn parse(name: &str) -> Option<Suite> {
        match name {
            "aes" => Some(Suite::Aes),
            "chacha" => Some(Suite::ChaCha),
            _ => None,
        }
    }
}

/// The encryption that HELLO asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub suite: Suite,
    /// The asker's secret is made of a passphrase.
    pub passphrase: bool,
}

impl Wanted {
    /// Behind the suite. Short, or the longest HELLO would not fit.
    const PASSPHRASE: &str = "-p";
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let behind = if self.passphrase {
            Self::PASSPHRASE
        } else {
            ""
        };
        write!(f, "{}{behind}", self.suite)
    }
}

/// At most so many shares stand behind an ACCEPT: a peer has at most so many secrets.
pub(crate) const MAX_SHARES: u32 = 8;

/// The encryption that ACCEPT answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub suite: Suite,
    /// Of the passphrase exchange, where that was asked for; else none.
    pub shares: u8,
}

/// How a stream says its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    FromFirst,
    Of(u64),
}

impl Hello {
    pub fn parse(bytes: &[u8]) -> Result<Hello, HeaderError> {
        let fields = Fields::parse(bytes)?;
        if fields.word() != "HELLO" {
            return Err(HeaderError::Unexpected {
                expected: "HELLO",
                got: fields.word().to_owned(),
            });
        }
        let addr = match fields.address("address_name")? {
            Some(addr) => addr,
            None => fields
                .address("peer_name")?
                .ok_or(HeaderError::Missing("peer_name"))?,
        };
        let data_type = fields
            .get("data_type")
            .ok_or(HeaderError::Missing("data_type"))?;
        let data_type = data_type
            .parse()
            .map_err(|_| HeaderError::DataType(data_type.to_owned()))?;
        let size = fields.size("data_size")?;
        let stream = match (fields.flag("stream", false), size) {
            (false, _) => None,
            (true, None) => Some(Stream::FromFirst),
            (true, Some(0)) => {
                return Err(HeaderError::Number {
                    key: "data_size",
                    value: "0".to_owned(),
                });
            }
            (true, Some(size)) => Some(Stream::Of(size)),
        };
        let strict = fields.flag("strict", true);
        Ok(Hello {
            addr,
            data_type,
            strict,
            stream,
            version: fields.version(),
            who: fields.flag("who", false),
            secure: fields.wanted()?,
            to: fields.hex("to")?,
            key: fields.key(),
        })
    }

    /// Can these bytes, behind which nothing comes for a while, be a whole HELLO without padding? Not
    /// if they give both names: so begins a lanpeer's, which is padded.
    pub fn may_be_whole(bytes: &[u8]) -> bool {
        let has = |key, fields: &Fields<'_>| fields.get(key).is_some();
        Fields::parse(bytes).is_ok_and(|f| !(has("address_name", &f) && has("peer_name", &f)))
            && Hello::parse(bytes).is_ok()
    }

    pub fn write(&self) -> Result<[u8; HEADER_LEN], HeaderError> {
        let with = |both: bool, to: Option<u64>| {
            let mut writer = HeaderWriter::new("HELLO");
            if both {
                writer = writer.pair("address_name", self.addr);
            }
            writer = writer.pair("peer_name", self.addr);
            writer = writer.pair("data_type", self.data_type);
            writer = writer.pair("strict", if self.strict { "1" } else { "" });
            match self.stream {
                None => {}
                Some(Stream::FromFirst) => writer = writer.pair("stream", "1"),
                Some(Stream::Of(size)) => {
                    writer = writer.pair("stream", "1").pair("data_size", size)
                }
            }
            writer = self.version.write(writer);
            if self.who {
                writer = writer.pair("who", 1);
            }
            if let Some(wanted) = self.secure {
                writer = writer.pair("secure", wanted);
            }
            if let Some(key) = self.key {
                writer = writer.pair("key", u8::from(key));
            }
            if let Some(to) = to {
                writer = writer.pair("to", format_args!("{to:010x}"));
            }
            writer.finish()
        };
        // `peer_name` is what peerpy needs, `address_name` what its manual says.
        let short = with(true, self.to).or_else(|_| with(false, self.to));
        // Where not even that fits, who answers is known only from what it says of itself.
        short.or_else(|_| with(false, None))
    }
}

/// The answer to a HELLO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accept {
        /// What the two will speak.
        version: Version,
        secure: Option<Taken>,
        /// With encryption: the side that is asked knows of keys, and shows one of its own or not.
        key: Option<bool>,
    },
    Deny {
        reason: Option<String>,
    },
}

impl Answer {
    pub fn parse(bytes: &[u8]) -> Result<Answer, HeaderError> {
        let fields = Fields::parse(bytes)?;
        match fields.word() {
            "ACCEPT" => Ok(Answer::Accept {
                version: fields.version(),
                secure: fields.taken()?,
                key: fields.key(),
            }),
            "DENY" => Ok(Answer::Deny {
                reason: fields.get("reason").map(str::to_owned),
            }),
            other => Err(HeaderError::Unexpected {
                expected: "ACCEPT or DENY",
                got: other.to_owned(),
            }),
        }
    }

    /// The same for an answer: not if it says `v`.
    pub fn may_be_whole(bytes: &[u8]) -> bool {
        Fields::parse(bytes).is_ok_and(|fields| fields.get("v").is_none())
            && Answer::parse(bytes).is_ok()
    }

    pub fn write(&self) -> Result<[u8; HEADER_LEN], HeaderError> {
        match self {
            Answer::Accept {
                version,
                secure,
                key,
            } => {
                let mut writer = version.write(HeaderWriter::new("ACCEPT"));
                if let Some(taken) = secure {
                    writer = writer.pair("secure", taken.suite);
                }
                if let Some(key) = key {
                    writer = writer.pair("key", u8::from(*key));
                }
                if let Some(Taken {
                    shares: shares @ 1..,
                    ..
                }) = secure
                {
                    writer = writer.pair("shares", shares);
                }
                writer.finish()
            }
            Answer::Deny {
                reason: Some(reason),
            } => HeaderWriter::new("DENY").pair("reason", reason).finish(),
            Answer::Deny { reason: None } => HeaderWriter::new("DENY").finish(),
        }
    }
}

/// Is this a word that a DENY can carry as its reason?
pub(crate) fn is_reason(word: &str) -> bool {
    (1..=64).contains(&word.len())
        && word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// What may stand between two messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Between {
    Data {
        size: u64,
        data_type: DataType,
    },
    /// PING, or a header of a kind that this version does not know: no message.
    Other,
}

impl Between {
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Between, HeaderError> {
        let fields = Fields::parse(bytes)?;
        if fields.word() != "DATA" {
            // Later versions may have new words, but what is no word at all is a lost place.
            let is_word = fields.word().starts_with(|c: char| c.is_ascii_uppercase())
                && fields
                    .word()
                    .bytes()
                    .all(|b| b == b' ' || b.is_ascii_graphic());
            return if is_word {
                Ok(Between::Other)
            } else {
                Err(HeaderError::Unexpected {
                    expected: "DATA",
                    got: fields.word().to_owned(),
                })
            };
        }
        let size = fields
            .size("data_size")?
            .ok_or(HeaderError::Missing("data_size"))?;
        let name = fields
            .get("data_type")
            .ok_or(HeaderError::Missing("data_type"))?;
        let data_type = name
            .parse()
            .map_err(|_| HeaderError::DataType(name.to_owned()))?;
        Ok(Between::Data { size, data_type })
    }
}

/// The header of one message. Infallible: the longest needs 56 bytes.
pub(crate) fn data_header(size: usize, data_type: DataType) -> [u8; HEADER_LEN] {
    let writer = HeaderWriter::new("DATA")
        .pair("data_size", size)
        .pair("data_type", data_type);
    writer.finish().unwrap_or([b'|'; HEADER_LEN])
}

/// The address in a header, made reachable: a remote that listens on every interface may say
/// 0.0.0.0, and then it is the one that its packets came from.
pub(crate) fn reachable(claimed: SocketAddrV4, source: Ipv4Addr) -> SocketAddrV4 {
    if claimed.ip().is_unspecified() {
        SocketAddrV4::new(source, claimed.port())
    } else {
        claimed
    }
}

#[cfg(test)]
mod tests;
