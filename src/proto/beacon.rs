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

use std::net::SocketAddrV4;

use super::header::{Fields, HeaderError, HeaderWriter, HEADER_LEN};

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

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Here {
    pub addr: SocketAddrV4,
    pub card: Card,
    /// The next one comes within this many seconds; None: the sender promises nothing.
    pub every: Option<u16>,
}

/// Who a lanpeer is. Empty texts stand for "none" and are not written.
#[derive(Clone, Debug, PartialEq, Eq)]
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
                Ok(Beacon::Pong(Pong { addr, card: Card::parse(&fields)? }))
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
                let card = Card { id: *id, name: String::new(), service: String::new() };
                card.write(HeaderWriter::new("GONE")).finish()
            }
        }
    }
}

impl Card {
    /// None unless a lanpeer wrote it.
    fn parse(fields: &Fields<'_>) -> Result<Option<Card>, HeaderError> {
        if !fields.get("v").is_some_and(|v| !v.is_empty() && v != "0") {
            return Ok(None);
        }
        let Some(id) = fields.get("id") else { return Ok(None) };
        // `from_str_radix` alone would take a leading plus sign.
        let id = match u64::from_str_radix(id, 16) {
            Ok(number) if id.bytes().all(|b| b.is_ascii_hexdigit()) => number,
            _ => return Err(HeaderError::Number { key: "id", value: id.to_owned() }),
        };
        // What is not fit to be shown, such as a terminal's escape sequences, is as good as absent.
        let label = |key| match fields.get(key) {
            Some(text) if check_label(text, HEADER_LEN).is_ok() => text.to_owned(),
            _ => String::new(),
        };
        Ok(Some(Card { id, name: label("name"), service: label("service") }))
    }

    fn write(&self, writer: HeaderWriter) -> HeaderWriter {
        let mut writer = writer.pair("v", 1).pair("id", format_args!("{:010x}", self.id));
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
        return Err(format!("`{}` has {} bytes, at most {max} fit", text.escape_debug(), text.len()));
    }
    match text.chars().find(|c| matches!(c, '|' | '&' | '=') || c.is_control()) {
        Some(c) => Err(format!("`{}` contains {c:?}, which would break a header", text.escape_debug())),
        None if text.trim() != text => {
            Err(format!("`{}` begins or ends with a space", text.escape_debug()))
        }
        None => Ok(()),
    }
}

/// The host's name made fit to be a peer's: its first label, without what would break a header.
pub(crate) fn label_from_host(host: &str) -> String {
    let mut name = String::new();
    for c in host.split('.').next().unwrap_or_default().trim().chars() {
        let fit = if matches!(c, '|' | '&' | '=') || c.is_control() { '-' } else { c };
        if name.len() + fit.len_utf8() > NAME_MAX {
            break;
        }
        name.push(fit);
    }
    name.truncate(name.trim_end().len());
    name
}

fn address(key: &'static str, text: &str) -> Result<SocketAddrV4, HeaderError> {
    text.parse().map_err(|_| HeaderError::Address { key, value: text.to_owned() })
}

fn number(key: &'static str, text: &str) -> Result<u16, HeaderError> {
    match text.parse() {
        Ok(number) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
        _ => Err(HeaderError::Number { key, value: text.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Beacon, HeaderError> {
        Beacon::parse(text.as_bytes())
    }

    fn ping(text: &str) -> Ping {
        match parse(text) {
            Ok(Beacon::Ping(ping)) => ping,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn addr(text: &str) -> SocketAddrV4 {
        text.parse().unwrap()
    }

    #[test]
    fn a_ping_in_each_of_its_forms() {
        let manual = ping("PING 192.168.0.2:51515");
        assert_eq!(manual.addr, Some(addr("192.168.0.2:51515")));
        assert_eq!((manual.pinger, manual.card, manual.watch), (None, None, None));

        let peerpy = ping("PING|pinger=192.168.0.2:1024");
        assert_eq!((peerpy.addr, peerpy.pinger), (None, Some(addr("192.168.0.2:1024"))));

        let both = ping("PING 192.168.0.2:51515|pinger=192.168.0.2:40000&v=1&id=00000000ff&name=bob&service=chat");
        let card = Card { id: 255, name: "bob".into(), service: "chat".into() };
        assert_eq!(both.card, Some(card));

        assert_eq!(ping("PING").addr, None);
        assert_eq!(ping("PING 10.0.0.1:5\n"), ping("PING 10.0.0.1:5"));
        // Nobody reads it, so nobody minds.
        assert_eq!(ping("PING 10.0.0.1:5|pinger=nonsense").pinger, None);

        for text in ["PING 1.2.3.4:5", "PING|pinger=1.2.3.4:5", "PING 1.2.3.4:5|pinger=1.2.3.4:5&v=1&id=1"] {
            assert_eq!(ping(&format!("{text:|<128}")), ping(text), "padded: {text}");
        }
    }

    #[test]
    fn a_pong_in_each_of_its_forms() {
        let expected = Ok(Beacon::Pong(Pong { addr: addr("10.0.0.3:62626"), card: None }));
        for text in [
            "PONG|ponger=10.0.0.3:62626",
            "PONG 10.0.0.3:62626",
            "PONG 10.0.0.3:62626|ponger=10.0.0.3:62626",
            "PONG 10.0.0.3:62626|ponger=10.0.0.3:62626&unknown=&v=0&id=1||||",
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_malformed_is_named() {
        use HeaderError::*;
        let address = |key, value: &str| Err(Address { key, value: value.into() });
        let number = |key, value: &str| Err(Number { key, value: value.into() });
        for (text, error) in [
            ("", Err(Unexpected { expected: "PING, PONG, HERE or GONE", got: "".into() })),
            ("PINGU 1.2.3.4:5", Err(Unexpected { expected: "PING, PONG, HERE or GONE", got: "PINGU".into() })),
            ("PING there", address("PING", "there")),
            ("PING |v=1", address("PING", "")),
            ("PING [::1]:80", address("PING", "[::1]:80")),
            ("PONG", Err(Missing("ponger"))),
            ("PONG|ponger=1.2.3.4:70000", address("ponger", "1.2.3.4:70000")),
            ("PONG 1.2.3.4|ponger=1.2.3.4:5", address("PONG", "1.2.3.4")),
            ("PONG|ponger", Err(NoEquals("ponger".into()))),
            ("PONG|ponger=1.2.3.4:5&ponger=1.2.3.4:5", Err(Repeated("ponger".into()))),
            ("PONG 1.2.3.4:5|v=1&id=+1", number("id", "+1")),
            ("PONG 1.2.3.4:5|v=1&id=11112222333344445", number("id", "11112222333344445")),
            ("HERE 1.2.3.4:5", Err(Missing("id"))),
            ("HERE|v=1&id=1", address("HERE", "")),
            ("HERE 1.2.3.4:5|v=1&id=1&every=-1", number("every", "-1")),
            ("GONE|v=1", Err(Missing("id"))),
        ] {
            assert_eq!(parse(text), error, "{text}");
        }
        assert_eq!(Beacon::parse(b"PING \xff"), Err(NotUtf8));
        assert_eq!(Beacon::parse(&[b'|'; 129]), Err(TooLong { len: 129 }));
    }

    #[test]
    fn a_promise_is_kept_in_bounds() {
        for (text, every) in [("0", 1), ("1", 1), ("900", 900), ("65535", EVERY_MAX)] {
            let text = format!("HERE 1.2.3.4:5|v=1&id=1&every={text}");
            let Ok(Beacon::Here(here)) = parse(&text) else { panic!("{text}") };
            assert_eq!(here.every, Some(every));
        }
    }

    #[test]
    fn names_that_would_harm_a_terminal_are_dropped() {
        let ping = ping("PING|v=1&id=1&name=\x1b[2Jevil&service=ok");
        assert_eq!(ping.card, Some(Card { id: 1, name: "".into(), service: "ok".into() }));
    }

    /// The arithmetic that fixes the lengths of ids, names and services.
    #[test]
    fn the_longest_of_each_fits() {
        let card = Card { id: ID_MASK, name: "n".repeat(NAME_MAX), service: "s".repeat(SERVICE_MAX) };
        let addr = addr("255.255.255.255:65535");
        let ping = Ping { addr: Some(addr), pinger: Some(addr), card: Some(card.clone()), watch: None };
        for beacon in [
            Beacon::Ping(ping),
            Beacon::Pong(Pong { addr, card: Some(card.clone()) }),
            Beacon::Here(Here { addr, card: card.clone(), every: Some(EVERY_MAX) }),
            Beacon::Gone { id: card.id },
        ] {
            assert_eq!(Beacon::parse(&beacon.write().unwrap()), Ok(beacon));
        }
    }

    #[test]
    fn labels() {
        assert_eq!(check_label("kitchen display", NAME_MAX), Ok(()));
        assert_eq!(check_label("", NAME_MAX), Ok(()));
        assert_eq!(check_label("Küche", 6), Ok(()));
        for bad in ["a|b", "a&b", "a=b", "a\nb", "\x1b[0m", " a", "a ", "Küche!"] {
            assert!(check_label(bad, 6).is_err(), "{bad:?}");
        }
        assert_eq!(label_from_host("bob.example.org"), "bob");
        assert_eq!(label_from_host("a=b|c\n"), "a-b-c");
        assert_eq!(label_from_host(&"ü".repeat(20)), "ü".repeat(12));
        assert_eq!(label_from_host(""), "");
    }

    fn any_addr() -> impl Strategy<Value = SocketAddrV4> {
        (any::<u32>(), any::<u16>()).prop_map(|(ip, port)| SocketAddrV4::new(ip.into(), port))
    }

    fn any_card() -> impl Strategy<Value = Card> {
        let label = |max: usize| {
            proptest::collection::vec(any::<char>(), 0..max).prop_map(move |chars| {
                let mut text: String = chars.into_iter().filter(|c| !c.is_control()).collect();
                text.retain(|c| !matches!(c, '|' | '&' | '='));
                while text.len() > max {
                    text.pop();
                }
                text.trim().to_owned()
            })
        };
        (0..=ID_MASK, label(NAME_MAX), label(SERVICE_MAX))
            .prop_map(|(id, name, service)| Card { id, name, service })
    }

    fn any_beacon() -> impl Strategy<Value = Beacon> {
        let option = proptest::option::of::<BoxedStrategy<Card>>;
        prop_oneof![
            (proptest::option::of(any_addr()), proptest::option::of(any_addr()), option(any_card().boxed()))
                .prop_map(|(addr, pinger, card)| Beacon::Ping(Ping { addr, pinger, card, watch: None })),
            (any_addr(), any_addr(), prop_oneof![Just(Watch::New), Just(Watch::Keep)], 0..=ID_MASK)
                .prop_map(|(addr, pinger, watch, id)| Beacon::Ping(Ping {
                    addr: Some(addr),
                    pinger: Some(pinger),
                    card: Some(Card { id, name: String::new(), service: String::new() }),
                    watch: Some(watch),
                })),
            (any_addr(), option(any_card().boxed()))
                .prop_map(|(addr, card)| Beacon::Pong(Pong { addr, card })),
            (any_addr(), any_card(), proptest::option::of(1..=EVERY_MAX))
                .prop_map(|(addr, card, every)| Beacon::Here(Here { addr, card, every })),
            (0..=ID_MASK).prop_map(|id| Beacon::Gone { id }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(beacon in any_beacon()) {
            let bytes = beacon.write().unwrap();
            prop_assert_eq!(Beacon::parse(&bytes), Ok(beacon.clone()));
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            prop_assert_eq!(Beacon::parse(text.trim_end_matches('|').as_bytes()), Ok(beacon));
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Beacon::parse(&bytes);
        }

        #[test]
        fn near_beacons_are_answered(
            text in "(PING|PONG|HERE|GONE)( ?[0-9.:]{0,9})(\\||&|=|v=1|id=|every=|[a-z]{1,9}|[0-9.:]{1,6}){0,20}"
        ) {
            let _ = parse(&text);
        }

        #[test]
        fn every_prefix_of_a_beacon_is_answered(beacon in any_beacon()) {
            let bytes = beacon.write().unwrap();
            for end in 0..bytes.len() {
                let _ = Beacon::parse(&bytes[..end]);
            }
        }
    }
}
