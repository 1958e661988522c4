//! The datagrams of discovery: who is there, and where it listens.
//!
//! ```text
//! PING IP:PORT|pinger=IP:P&v=1&id=…&name=…&service=…       "who is there?" to a broadcast address
//! PONG IP:PORT|ponger=IP:PORT&v=1&id=…&name=…&service=…    the answer, to the PING's sender
//! HERE IP:PORT|v=1&id=…&name=…&service=…&every=SECONDS     a sign of life, to a broadcast address
//! GONE|v=1&id=…                                            a polite goodbye, to a broadcast address
//! ```
//!
//! PING and PONG are peerpy's, with keys added that it ignores; so is each word that it does not
//! know, and so HERE and GONE are free to use. A PING with `watch=` comes from a peer that wants to
//! be kept up to date, and is answered by HERE (`docs/discovery.md` says how).
//!
//! A long file, so that the form of all datagrams is in one place.

use std::net::SocketAddrV4;

use super::header::{Fields, HEADER_LEN, HeaderError, HeaderWriter};
use super::tag::Nonce;

/// The longest name of a peer, in bytes of UTF-8.
pub(crate) const NAME_MAX: usize = 24;
/// The longest service, in bytes of UTF-8.
pub(crate) const SERVICE_MAX: usize = 16;
/// Ids are ten hexadecimal digits: with more, the longest PING would pass 128 bytes.
pub(crate) const ID_MASK: u64 = (1 << 40) - 1;
/// The longest time that a HERE may claim until the next one, in seconds.
pub(crate) const EVERY_MAX: u16 = 900;

/// One datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Beacon {
    Ping(Ping),
    Pong(Pong),
    Here(Here),
    Gone { id: u64 },
}

/// "Who is there?"
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ping {
    /// Where the asker listens. Port 0, or nothing: it does not, or does not say.
    pub addr: Option<SocketAddrV4>,
    /// Where peerpy sends its answer. lanpeer answers to the datagram's source and to nothing that
    /// its text claims: else a responder could be aimed at a third machine.
    pub pinger: Option<SocketAddrV4>,
    pub card: Option<Card>,
    pub watch: Option<Watch>,
}

/// The answer to a PING.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pong {
    pub addr: SocketAddrV4,
    /// None from peerpy.
    pub card: Option<Card>,
}

/// The form of a PING, in which it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// In bytes, with padding.
    len: usize,
    has_pinger: bool,
    /// `PING IP:PORT`, as the manual has it.
    has_addr: bool,
    /// That of a question with a tag, which gets an answer with one.
    pub nonce: Option<Nonce>,
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Here {
    pub addr: SocketAddrV4,
    pub card: Card,
    /// The next one comes within this many seconds; None: the sender promises nothing.
    pub every: Option<u16>,
}

/// Who a lanpeer is. Empty texts stand for "none" and are not written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Card {
    pub id: u64,
    pub name: String,
    pub service: String,
}

/// What the sender of a PING wants to be told beyond the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// It has just begun to watch, and knows nobody: tell it soon.
    New,
    /// Go on as before.
    Keep,
}

impl Beacon {
    /// Reads a datagram, padded or not; a line's end after it is taken off, for `nc` and `echo`.
    pub fn parse(datagram: &[u8]) -> Result<Beacon, HeaderError> {
        let fields = Fields::parse(datagram.trim_ascii_end())?;
        let (word, rest) = match fields.word().split_once(' ') {
            Some((word, rest)) => (word, Some(rest.trim())),
            None => (fields.word(), None),
        };
        match word {
            "PING" => Ok(Beacon::Ping(Ping {
                addr: rest.map(|text| address("PING", text)).transpose()?,
                pinger: fields.get("pinger").and_then(|text| text.parse().ok()),
                card: Card::parse(&fields)?,
                watch: fields.get("watch").map(|value| match value {
                    "new" => Watch::New,
                    _ => Watch::Keep,
                }),
            })),
            "PONG" => {
                let addr = match (rest, fields.get("ponger")) {
                    (Some(text), _) => address("PONG", text)?,
                    (None, Some(text)) => address("ponger", text)?,
                    (None, None) => return Err(HeaderError::Missing("ponger")),
                };
                Ok(Beacon::Pong(Pong {
                    addr,
                    card: Card::parse(&fields)?,
                }))
            }
            "HERE" => {
                let addr = address("HERE", rest.unwrap_or_default())?;
                let card = Card::parse(&fields)?.ok_or(HeaderError::Missing("id"))?;
                let every = match fields.get("every") {
                    Some(text) => Some(number("every", text)?.clamp(1, EVERY_MAX)),
                    None => None,
                };
                Ok(Beacon::Here(Here { addr, card, every }))
            }
            "GONE" => {
                let card = Card::parse(&fields)?.ok_or(HeaderError::Missing("id"))?;
                Ok(Beacon::Gone { id: card.id })
            }
            other => Err(HeaderError::Unexpected {
                expected: "PING, PONG, HERE or GONE",
                got: other.to_owned(),
            }),
        }
    }

    /// The 128 bytes to send. Names of at most [`NAME_MAX`] and services of at most
    /// [`SERVICE_MAX`] bytes always fit.
    pub fn write(&self) -> Result<[u8; HEADER_LEN], HeaderError> {
        match self {
            Beacon::Ping(ping) => {
                let mut writer = match ping.addr {
                    Some(addr) => HeaderWriter::new(format_args!("PING {addr}")),
                    None => HeaderWriter::new("PING"),
                };
                if let Some(pinger) = ping.pinger {
                    writer = writer.pair("pinger", pinger);
                }
                if let Some(card) = &ping.card {
                    writer = card.write(writer);
                }
                match ping.watch {
                    Some(Watch::New) => writer = writer.pair("watch", "new"),
                    Some(Watch::Keep) => writer = writer.pair("watch", "keep"),
                    None => {}
                }
                writer.finish()
            }
            Beacon::Pong(Pong { addr, card }) => {
                let writer = HeaderWriter::new(format_args!("PONG {addr}")).pair("ponger", addr);
                match card {
                    Some(card) => card.write(writer).finish(),
                    None => writer.finish(),
                }
            }
            Beacon::Here(Here { addr, card, every }) => {
                let writer = card.write(HeaderWriter::new(format_args!("HERE {addr}")));
                match every {
                    Some(every) => writer.pair("every", every).finish(),
                    None => writer.finish(),
                }
            }
            Beacon::Gone { id } => {
                let card = Card {
                    id: *id,
                    name: String::new(),
                    service: String::new(),
                };
                card.write(HeaderWriter::new("GONE")).finish()
            }
        }
    }
}

impl Question {
    /// The form of most PINGs, with all keys.
    #[cfg(test)]
    pub const PADDED: Question = Question {
        len: HEADER_LEN,
        has_pinger: true,
        has_addr: true,
        nonce: None,
    };

    /// None if it names no address: such a PING is not answered.
    pub fn new(ping: &Ping, len: usize) -> Option<Question> {
        let (has_addr, has_pinger) = (ping.addr.is_some(), ping.pinger.is_some());
        let form = Question {
            len,
            has_pinger,
            has_addr,
            nonce: None,
        };
        (has_addr || has_pinger).then_some(form)
    }

    /// With this nonce in its tag. An answer with a tag has 128 bytes, and is to be no longer than the question.
    pub fn with_nonce(mut self, nonce: Nonce) -> Question {
        self.nonce = (self.len >= HEADER_LEN).then_some(nonce);
        self
    }
}

impl Pong {
    /// The answer to this question: 128 bytes to a PING of as many, else no longer than the
    /// question, or in its words and longer only by what one address is longer than another.
    ///
    /// The sender of a PING can be forged. So no more is sent to whoever it names than was sent
    /// here; None if it would be more than 1.7 times as much.
    pub fn answer(&self, question: Question) -> Result<Option<Vec<u8>>, HeaderError> {
        let all = Beacon::Pong(self.clone()).write()?;
        if question.len >= all.len() {
            return Ok(Some(all.to_vec()));
        }
        let addr = self.addr;
        let with_card = String::from_utf8_lossy(&all);
        let with_card = with_card.trim_end_matches('|');
        let both = format!("PONG {addr}|ponger={addr}");
        let same = match question {
            Question {
                has_addr: true,
                has_pinger: true,
                ..
            } => both.clone(),
            Question { has_addr: true, .. } => format!("PONG {addr}"),
            _ => format!("PONG|ponger={addr}"),
        };
        let fit = [with_card, &*both]
            .into_iter()
            .find(|text| text.len() <= question.len)
            .unwrap_or(&same);
        Ok((fit.len() * 10 <= question.len * 17).then(|| fit.as_bytes().to_vec()))
    }
}

impl Card {
    pub fn name(&self) -> Option<&str> {
        Some(&*self.name).filter(|name| !name.is_empty())
    }

    pub fn service(&self) -> Option<&str> {
        Some(&*self.service).filter(|service| !service.is_empty())
    }

    /// None unless a lanpeer wrote it.
    fn parse(fields: &Fields<'_>) -> Result<Option<Card>, HeaderError> {
        if !fields.get("v").is_some_and(|v| !v.is_empty() && v != "0") {
            return Ok(None);
        }
        Card::parse_labels(fields)
    }

    /// The same, where the header alone says that a lanpeer wrote it. None: it has no id.
    pub fn parse_labels(fields: &Fields<'_>) -> Result<Option<Card>, HeaderError> {
        let Some(id) = fields.hex("id")? else {
            return Ok(None);
        };
        // What is too long for a header even so is as good as absent.
        let label = |key| {
            let text = visible(fields.get(key).unwrap_or_default());
            match check_label(&text, HEADER_LEN) {
                Ok(()) => text,
                Err(_) => String::new(),
            }
        };
        Ok(Some(Card {
            id,
            name: label("name"),
            service: label("service"),
        }))
    }

    pub fn write(&self, writer: HeaderWriter) -> HeaderWriter {
        self.write_labels(writer.pair("v", 1))
    }

    pub fn write_labels(&self, writer: HeaderWriter) -> HeaderWriter {
        let mut writer = writer.pair("id", format_args!("{:010x}", self.id));
        if !self.name.is_empty() {
            writer = writer.pair("name", &self.name);
        }
        if !self.service.is_empty() {
            writer = writer.pair("service", &self.service);
        }
        writer
    }
}

/// Can this text be a name or a service of at most `max` bytes? Says what is wrong with it.
pub(crate) fn check_label(text: &str, max: usize) -> Result<(), String> {
    if text.len() > max {
        return Err(format!(
            "`{}` has {} bytes, at most {max} fit",
            text.escape_debug(),
            text.len()
        ));
    }
    match text.chars().find(|&c| breaks_header(c) || is_hidden(c)) {
        Some(c) if is_hidden(c) && !c.is_control() => Err(format!(
            "`{}` contains {}, which is not seen where a name is shown",
            visible(text),
            c.escape_unicode()
        )),
        Some(c) => Err(format!(
            "`{}` contains {c:?}, which would break a header",
            text.escape_debug()
        )),
        None if text.trim() != text => Err(format!(
            "`{}` begins or ends with a space",
            text.escape_debug()
        )),
        None => Ok(()),
    }
}

/// The text with what would not be seen in it written out: `\u{202e}`.
///
/// A name comes from a stranger and is shown to people: it is not to move a terminal's cursor, to
/// turn what stands behind it around, or to look like another one.
fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for c in text.chars() {
        match is_hidden(c) {
            true => visible.extend(c.escape_unicode()),
            false => visible.push(c),
        }
    }
    visible
}

fn breaks_header(c: char) -> bool {
    matches!(c, '|' | '&' | '=') || c.is_control()
}

/// Is this a character that has no shape of its own, but changes how others are shown, or makes
/// texts different that look the same? These are control characters, and those that Unicode calls
/// bidirectional controls or ignorable by default.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            // Spaces without width, joiners, and marks of direction.
            | '\u{200b}'..='\u{200f}'
            // Separators of lines and paragraphs, and what embeds or overrides a direction.
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            // Tags, and further variants of glyphs.
            | '\u{e0000}'..='\u{e0fff}')
}

/// The host's name made fit to be a peer's: its first label, without what would break a header.
pub(crate) fn label_from_host(host: &str) -> String {
    let mut name = String::new();
    for c in host.split('.').next().unwrap_or_default().trim().chars() {
        let fit = if breaks_header(c) || is_hidden(c) {
            '-'
        } else {
            c
        };
        if name.len() + fit.len_utf8() > NAME_MAX {
            break;
        }
        name.push(fit);
    }
    name.truncate(name.trim_end().len());
    name
}

fn address(key: &'static str, text: &str) -> Result<SocketAddrV4, HeaderError> {
    text.parse().map_err(|_| HeaderError::Address {
        key,
        value: text.to_owned(),
    })
}

fn number(key: &'static str, text: &str) -> Result<u16, HeaderError> {
    match text.parse() {
        Ok(number) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
        _ => Err(HeaderError::Number {
            key,
            value: text.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
