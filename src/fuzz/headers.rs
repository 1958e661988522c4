use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use super::is_clean;
use super::plan::Plan;
use crate::proto::beacon::ID_MASK;
use crate::proto::data_type::DataType;
use crate::proto::header::{
    Answer, Between, Fields, HEADER_LEN, HeaderError, HeaderWriter, Hello, Stream, Suite, Taken,
    Version, Wanted, data_header, is_reason,
};

/// Any bytes as a header of each kind, and any header written and read again.
pub fn headers(data: &[u8]) {
    read(data);
    if let Some(plainly) = Plain::read(data) {
        in_any_order(&plainly, data);
    }
    write(Plan::new(data));
}

fn read(data: &[u8]) {
    let plain = Plain::read(data);
    let fields = Fields::parse(data);
    match (&fields, &plain) {
        (Ok(fields), Some(plain)) => {
            assert_eq!(fields.word(), plain.word);
            for (key, value) in &plain.pairs {
                assert_eq!(fields.get(key), Some(*value));
            }
            assert_eq!(fields.get("="), None);
        }
        (Err(error), None) => is_clean(error),
        _ => panic!("{fields:?}, plainly {plain:?}"),
    }

    let hello = Hello::parse(data);
    assert_eq!(
        hello.as_ref().ok(),
        plain.as_ref().and_then(Plain::hello).as_ref()
    );
    let answer = Answer::parse(data);
    assert_eq!(
        answer.as_ref().ok(),
        plain.as_ref().and_then(Plain::answer).as_ref()
    );

    // Padding means nothing; without it a whole header can be shorter.
    let mut padded = [b'|'; HEADER_LEN];
    if data.len() <= HEADER_LEN {
        padded[..data.len()].copy_from_slice(data);
        assert_eq!(Hello::parse(&padded), hello);
        assert_eq!(Answer::parse(&padded), answer);
    } else {
        padded.copy_from_slice(&data[..HEADER_LEN]);
        let too_long = HeaderError::TooLong { len: data.len() };
        assert_eq!(hello, Err(too_long));
    }
    let between = Between::parse(&padded);
    let plainly = Plain::read(&padded);
    assert_eq!(
        between.as_ref().ok(),
        plainly.and_then(|plain| plain.between()).as_ref()
    );

    match &hello {
        Ok(hello) => assert_eq!(
            Hello::parse(&hello.write().expect("fits")),
            Ok(hello.clone())
        ),
        Err(error) => is_clean(error),
    }
    match &answer {
        Ok(answer) => assert_eq!(
            Answer::parse(&answer.write().expect("fits")),
            Ok(answer.clone())
        ),
        Err(error) => is_clean(error),
    }
    match &between {
        Ok(Between::Data { size, data_type }) => {
            assert_eq!(
                Between::parse(&data_header(*size as usize, *data_type)),
                between
            );
        }
        Ok(Between::Other) => {}
        Err(error) => is_clean(error),
    }
}

/// The order of the keys means nothing, nor does a key that nobody knows.
fn in_any_order(plain: &Plain<'_>, data: &[u8]) {
    let mut text = plain.word.to_owned();
    let unknown = ("zz", "1");
    let add = !plain.pairs.contains_key(unknown.0);
    let pairs = plain.pairs.iter().rev().map(|(key, value)| (*key, *value));
    for (index, (key, value)) in pairs.chain(add.then_some(unknown)).enumerate() {
        text += if index == 0 { "|" } else { "&" };
        text += &format!("{key}={value}");
    }
    if text.len() <= HEADER_LEN {
        assert_eq!(Hello::parse(text.as_bytes()).ok(), Hello::parse(data).ok());
        assert_eq!(
            Answer::parse(text.as_bytes()).ok(),
            Answer::parse(data).ok()
        );
    }
}

fn write(mut plan: Plan<'_>) {
    let [a, b, c, d] = plan.array();
    let mut hello = Hello {
        addr: SocketAddrV4::new([a, b, c, d].into(), u16::from_le_bytes(plan.array())),
        data_type: plan.pick(&[DataType::Raw, DataType::Json, DataType::Bytes]),
        strict: plan.flag(),
        stream: match plan.byte() % 3 {
            0 => None,
            1 => Some(Stream::FromFirst),
            _ => Some(Stream::Of(u64::from_le_bytes(plan.array()).max(1))),
        },
        version: plan.pick(&[Version::Peerpy, Version::Headers, Version::Frames]),
        who: plan.flag(),
        secure: plan
            .pick(&[None, Some(Suite::Aes), Some(Suite::ChaCha)])
            .map(|suite| Wanted {
                suite,
                passphrase: false,
            }),
        to: plan
            .flag()
            .then(|| u64::from_le_bytes(plan.array()) & ID_MASK),
        key: None,
    };
    // What is encrypted has no WHO behind its HELLO, and there is room for either.
    if hello.secure.is_some() && !hello.who {
        hello.key = plan.pick(&[None, Some(false), Some(true)]);
        let passphrase = plan.flag();
        hello.secure = hello.secure.map(|wanted| Wanted {
            passphrase,
            ..wanted
        });
    }
    let written = Hello::parse(&hello.write().expect("every HELLO fits")).expect("a HELLO");
    // Who is meant is left out where there is no room for it.
    assert!(written.to == hello.to || written.to.is_none());
    let to = hello.to;
    assert_eq!(Hello { to, ..written }, hello);

    let reason = plan.text(70);
    if is_reason(&reason) {
        let reason = Some(reason);
        let deny = Answer::Deny { reason };
        assert_eq!(Answer::parse(&deny.write().expect("fits")), Ok(deny));
    }

    // What does not fit is an error that says how long it would be, and never cut.
    let word = plan.text(20);
    let mut text = word.clone();
    let mut writer = HeaderWriter::new(&word);
    while !plan.is_done() {
        let most = usize::from(plan.byte() % 40);
        let (key, value) = (plan.text(3), plan.text(most));
        text += if text.len() == word.len() { "|" } else { "&" };
        text += &format!("{key}={value}");
        writer = writer.pair(&key, &value);
    }
    match writer.finish() {
        Ok(bytes) => {
            assert!(bytes.starts_with(text.as_bytes()));
            assert!(bytes[text.len()..].iter().all(|byte| *byte == b'|'));
        }
        Err(error) => {
            assert!(text.len() > HEADER_LEN);
            assert_eq!(error, HeaderError::TooLong { len: text.len() });
        }
    }
}

/// A header as docs/protocol.md has it, read a second time: all of it at once, and with copies.
#[derive(Debug)]
struct Plain<'a> {
    word: &'a str,
    pairs: BTreeMap<&'a str, &'a str>,
}

impl<'a> Plain<'a> {
    fn read(bytes: &'a [u8]) -> Option<Plain<'a>> {
        let text = std::str::from_utf8(bytes)
            .ok()
            .filter(|text| text.len() <= HEADER_LEN)?;
        let mut columns: Vec<&str> = text.split('|').collect();
        while columns.len() > 1 && columns.last() == Some(&"") {
            columns.pop();
        }
        let (word, rest) = match columns[..] {
            [word] => (word, None),
            [word, rest] => (word, Some(rest)),
            _ => return None,
        };
        let mut pairs = BTreeMap::new();
        for pair in rest.iter().flat_map(|rest| rest.split('&')) {
            let (key, value) = pair.split_once('=')?;
            if value.contains('=') || pairs.insert(key, value).is_some() {
                return None;
            }
        }
        Some(Plain { word, pairs })
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.pairs.get(key).copied()
    }

    /// `Err`: there is one, and it is none.
    fn size(&self) -> Result<Option<u64>, ()> {
        let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        let number = |text: &'a str| text.parse().ok().filter(|_| digits(text));
        self.get("data_size")
            .map(|text| number(text).ok_or(()))
            .transpose()
    }

    fn is_set(&self, key: &str) -> bool {
        !matches!(self.get(key), None | Some("" | "0" | "false" | "False"))
    }

    fn version(&self) -> Version {
        match self.get("v") {
            None | Some("" | "0") => Version::Peerpy,
            Some(text) => match text.parse::<u32>() {
                Ok(0 | 1) | Err(_) => Version::Headers,
                Ok(_) => Version::Frames,
            },
        }
    }

    /// `None`: there is one, and it is none.
    fn wanted(&self) -> Option<Option<Wanted>> {
        let (suite, passphrase) = match self.get("secure") {
            None => return Some(None),
            Some("aes") => (Suite::Aes, false),
            Some("chacha") => (Suite::ChaCha, false),
            Some("aes-p") => (Suite::Aes, true),
            Some("chacha-p") => (Suite::ChaCha, true),
            Some(_) => return None,
        };
        Some(Some(Wanted { suite, passphrase }))
    }

    /// `None`: there is one, and it is none.
    fn taken(&self) -> Option<Option<Taken>> {
        let Some(wanted) = self.wanted()?.filter(|wanted| !wanted.passphrase) else {
            let is_there = self.get("secure").is_some();
            return if is_there { None } else { Some(None) };
        };
        let shares = match self.get("shares") {
            None => 0,
            Some(digits) if digits.chars().all(|c| c.is_ascii_digit()) => {
                let shares = digits.parse().ok()?;
                (1..=8).contains(&shares).then_some(shares)?
            }
            Some(_) => return None,
        };
        let suite = wanted.suite;
        Some(Some(Taken { suite, shares }))
    }

    fn hello(&self) -> Option<Hello> {
        let size = self.size().ok()?;
        let stream = match (self.is_set("stream"), size) {
            (false, _) => None,
            (true, None) => Some(Stream::FromFirst),
            (true, Some(0)) => return None,
            (true, Some(size)) => Some(Stream::Of(size)),
        };
        (self.word == "HELLO").then_some(Hello {
            addr: self
                .get("address_name")
                .or(self.get("peer_name"))?
                .parse()
                .ok()?,
            data_type: self.get("data_type")?.parse().ok()?,
            strict: self.is_set("strict") || self.get("strict").is_none(),
            stream,
            version: self.version(),
            who: self.is_set("who"),
            secure: self.wanted()?,
            to: match self.get("to") {
                None => None,
                Some(to) if to.starts_with('+') => return None,
                Some(to) => Some(u64::from_str_radix(to, 16).ok()?),
            },
            key: self.get("key").map(|_| self.is_set("key")),
        })
    }

    fn answer(&self) -> Option<Answer> {
        match self.word {
            "ACCEPT" => Some(Answer::Accept {
                version: self.version(),
                secure: self.taken()?,
                key: self.get("key").map(|_| self.is_set("key")),
            }),
            "DENY" => Some(Answer::Deny {
                reason: self.get("reason").map(str::to_owned),
            }),
            _ => None,
        }
    }

    fn between(&self) -> Option<Between> {
        if self.word == "DATA" {
            return Some(Between::Data {
                size: self.size().ok()??,
                data_type: self.get("data_type")?.parse().ok()?,
            });
        }
        let first = self.word.chars().next()?;
        let printable = self.word.chars().all(|c| matches!(c, ' '..='~'));
        (first.is_ascii_uppercase() && printable).then_some(Between::Other)
    }
}
