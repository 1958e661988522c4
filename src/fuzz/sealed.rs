//! Encrypted handshakes and records, of which someone on the way touches some.
//!
//! A long file, since one run goes through all of them: handshake, both directions, and what was touched.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, IoSlice, Read};
use std::net::{Ipv4Addr, SocketAddrV4};

use super::plan::Plan;
use crate::format::DataType;
use crate::net::wire::record::{RecordReader, RecordWriter};
use crate::proto::header::{Answer, HEADER_LEN, Hello, Suite, Taken, Version, Wanted};
use crate::secure::handshake::{Beginning, Joined, Joining, second_len};
use crate::secure::record::{MAX_PLAIN, Opener, PREFIX, Sealer, TAG};
use crate::secure::{Identity, Keys, Secret, Session, Trust};

const SUITES: &[Suite] = &[Suite::Aes, Suite::ChaCha];

/// A connection has two buffers for records, and neither is ever larger.
const BUFFER_MAX: usize = 2 * (PREFIX + MAX_PLAIN + TAG);

/// The handshake with someone on the way, who can change each of its parts: where he does, it
/// ends, and else both sides understand each other, and know the keys that are shown, if Bob takes Alice's
/// secret.
pub fn handshake(data: &[u8]) {
    meet(data, "008J-4CT4-ANK7-F24S-NAXW-SQFE-ZWEA");
}

/// The same where Alice's secret is made of a passphrase, as some of Bob's are: the exchange has shares that
/// may be none.
pub fn passphrase(data: &[u8]) {
    meet(data, PASSPHRASE);
}

const PASSPHRASE: &str = "000G-40R4-0M30-E209-185G-R38E-1Y05";

fn meet(data: &[u8], alices: &str) {
    let mut plan = Plan::new(data);
    let alices: Secret = alices.parse().expect("a secret");
    let (mut bobs, known) = secrets(&alices, &mut plan);
    let identity = plan
        .flag()
        .then(|| Identity::generate().expect("random numbers"));
    if plan.flag() {
        bobs.set_identity(Identity::generate().expect("random numbers"));
    }
    let offered = plan.pick(SUITES);
    let hello = Hello {
        addr: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 50_001),
        data_type: DataType::Json,
        strict: true,
        stream: None,
        version: Version::Headers,
        who: false,
        secure: Some(Wanted {
            suite: offered,
            passphrase: alices.is_passphrase(),
        }),
        to: None,
        key: Some(identity.is_some()),
    };
    let hello = hello.write().expect("fits");

    // Bob's side.
    let heard = header_on_the_way(hello, &mut plan);
    let wanted = Hello::parse(&heard)
        .ok()
        .filter(|hello| hello.version != Version::Peerpy);
    let Some((wanted, alices_key)) = wanted.and_then(|hello| Some((hello.secure?, hello.key)))
    else {
        return; // He denies.
    };
    let shares = match wanted.passphrase {
        true => bobs.count(true),
        false => 0,
    };
    if bobs.count(wanted.passphrase) == 0 {
        return; // So he does here.
    }
    let taken = match plan.flag() {
        true => Suite::ChaCha,
        false => wanted.suite,
    };
    let accept = Answer::Accept {
        version: Version::Headers,
        secure: Some(Taken {
            suite: taken,
            shares: shares as u8,
        }),
        key: alices_key.map(|_| bobs.identity().is_some()),
    };
    let accept = accept.write().expect("fits");
    let bobs_keys = Keys::agreed(alices_key, alices_key.map(|_| bobs.identity().is_some()));
    let beginning = Beginning {
        suite: taken,
        keys: bobs_keys,
        passphrase: wanted.passphrase,
        hello: &heard,
        accept: &accept,
    };
    let begin = || beginning.begin(&bobs).expect("a first message");
    let (asked, first) = begin();

    // Alice's side.
    let answer = header_on_the_way(accept, &mut plan);
    let seen = match plan.byte() % 4 {
        1 => begin().1,
        _ => altered(first.clone(), &mut plan),
    };
    let (taken, key) = match Answer::parse(&answer) {
        Ok(Answer::Accept { secure, key, .. }) => (secure, key),
        _ => (None, None),
    };
    let taken = taken.filter(|taken| {
        let is_offered = [offered, Suite::ChaCha].contains(&taken.suite);
        is_offered && alices.is_passphrase() == (taken.shares > 0)
    });
    let payload = plan.bytes(20).to_vec();
    let joined = taken.and_then(|taken| {
        let joining = Joining {
            suite: taken.suite,
            keys: Keys::agreed(Some(identity.is_some()), key),
            secret: &alices,
            identity: identity.as_ref(),
            hello: &hello,
            accept: &answer,
            shares: taken.shares.into(),
        };
        joining.answer(&seen, &payload).ok()
    });
    let untouched = (heard, answer, &seen) == (hello, accept, &first);
    if seen == first {
        assert_eq!(joined.is_some(), untouched);
    } // Else it may be an old one: only Bob can tell.

    // Bob's again.
    let second = match &joined {
        Some((second, _)) => second.clone(),
        // Someone else's.
        None => {
            let len = second_len(shares, Keys::default(), 0);
            (0..len).map(|_| plan.byte()).collect()
        }
    };
    let proof = any_on_the_way(second.clone(), &mut plan);
    let session = asked.finish(&bobs, &proof);
    assert_eq!(session.is_ok(), untouched && proof == second && known);
    let (Some((_, joined)), Ok((mut bob, heard_payload))) = (joined, session) else {
        return;
    };
    assert_eq!(heard_payload, payload);
    let alices = identity.as_ref().map(Identity::public_key);
    assert_eq!(bob.proof.key, alices);
    let mut alice = match joined {
        Joined::Whole(session) => session,
        Joined::Waits(waiting) => {
            let third = std::mem::take(&mut bob.first);
            let third = <[u8; 66]>::try_from(&third[..]).expect("66 bytes");
            let met = on_the_way(third, &mut plan);
            let session = waiting.finish(&met);
            assert_eq!(session.is_ok(), met == third);
            let Ok(session) = session else { return };
            session
        }
    };
    let bobs_key = bobs.identity().map(Identity::public_key);
    assert_eq!(alice.proof.key, bobs_key);
    assert_eq!(alice.proof.binding, bob.proof.binding);
    for _ in 0..3 {
        talk(&mut bob, &mut alice, &mut plan);
        talk(&mut alice, &mut bob, &mut plan);
    }
    // An old proof does not fit a new key.
    let (asked, _) = begin();
    assert!(asked.finish(&bobs, &second).is_err());
}

/// Bob's, and whether one of them is Alice's.
fn secrets(alices: &Secret, plan: &mut Plan<'_>) -> (Trust, bool) {
    let mut secrets = Trust::default();
    let (count, place) = (plan.byte() % 8, plan.byte() % 9);
    for number in 0..=count {
        let secret = match number == place {
            true => alices.clone(),
            // Where hers is a passphrase, his are of both kinds.
            false if alices.is_passphrase() && number % 2 == 1 => {
                OTHERS[usize::from(number) / 2].parse().expect("another")
            }
            false => Secret::random().expect("random numbers"),
        };
        match number {
            0 => secrets.set(secret),
            _ => secrets.accept(secret),
        }
    }
    assert_eq!(secrets.trouble(), None);
    (secrets, place <= count)
}

/// Made of passphrases, too.
const OTHERS: [&str; 4] = [
    "208H-44RM-2MB1-E60S-38DH-R78Y-3YFQ",
    "40GJ-48S4-4MK2-EA19-58NJ-RB9E-5YT4",
    "60RK-4CSM-6MV3-EE1S-78XK-RF9Y-7YNP",
    "810M-4GT4-8N34-EJ29-995M-RKAE-9YV9",
];

/// The same length, since that is all that is read.
fn altered(mut bytes: Vec<u8>, plan: &mut Plan<'_>) -> Vec<u8> {
    let len = bytes.len();
    match plan.byte() % 8 {
        1 => bytes[usize::from(plan.byte()) % len] ^= plan.byte(),
        2 => {
            let at = usize::from(plan.byte()) % len;
            let other = plan.up_to(len - at);
            let other = plan.bytes(other);
            bytes[at..at + other.len()].copy_from_slice(other);
        }
        3 => bytes.fill_with(|| plan.byte()),
        4 => bytes.rotate_left(usize::from(plan.byte()) % len),
        _ => {}
    }
    bytes
}

/// The same of an array.
fn on_the_way<const N: usize>(bytes: [u8; N], plan: &mut Plan<'_>) -> [u8; N] {
    let altered = altered(bytes.to_vec(), plan);
    altered.try_into().expect("the same length")
}

/// The same of any length.
fn any_on_the_way(mut bytes: Vec<u8>, plan: &mut Plan<'_>) -> Vec<u8> {
    match plan.byte() % 8 {
        1 => {
            let at = usize::from(plan.byte()) % bytes.len();
            bytes[at] ^= plan.byte();
        }
        2 => {
            let len = usize::from(plan.byte()).min(bytes.len());
            bytes.rotate_left(len);
        }
        3 => bytes.truncate(usize::from(plan.byte())),
        4 => bytes.push(plan.byte()),
        _ => {}
    }
    bytes
}

fn header_on_the_way(bytes: [u8; HEADER_LEN], plan: &mut Plan<'_>) -> [u8; HEADER_LEN] {
    if plan.byte() % 4 != 1 {
        return on_the_way(bytes, plan);
    }
    let text = std::str::from_utf8(&bytes).expect("text");
    let suites = [
        "secure=aes",
        "secure=chacha",
        "v=1",
        "",
        "secure=",
        "v=0",
        "key=0",
        "key=1",
    ];
    let (old, new) = (plan.pick(&suites), plan.pick(&suites));
    let text = text.replacen(old, new, 1);
    let text = text.trim_end_matches('|').as_bytes();
    let mut bytes = [b'|'; HEADER_LEN];
    let len = text.len().min(HEADER_LEN);
    bytes[..len].copy_from_slice(&text[..len]);
    bytes
}

/// What one says the other understands, and nobody else; not even who said it.
fn talk(from: &mut Session, to: &mut Session, plan: &mut Plan<'_>) {
    let text = plan.bytes(20);
    let mut record = Vec::new();
    from.sealer
        .seal(b"said: ", text, &mut record)
        .expect("it is sealed");
    assert!(from.opener.open(&mut record.clone()).is_err());
    let opened = to.opener.open(&mut record).expect("it opens");
    assert_eq!(opened.strip_prefix(b"said: "), Some(text));
}

/// One direction of a connection: what is written to a socket that takes it in pieces, changed by
/// someone on the way, and read in other pieces. What is delivered are the bytes before the first
/// that was changed, as far as they are whole records; then comes an error, or the end, which only
/// the sender can make.
pub fn records(data: &[u8]) {
    let mut plan = Plan::new(data);
    let suite = plan.pick(SUITES);
    let key = key(data);
    let sent = Sent::new(suite, &key, &mut plan);
    let bytes = changed(suite, &sent, &mut plan);
    let (due, end) = sent.due(&bytes);

    let mut wire = Wire { left: &bytes, plan };
    let opener = Opener::new(suite, &key).expect("a key");
    let (mut opening, mut got) = (RecordReader::new(opener), Vec::new());
    let mut out = vec![0; 100_000];
    let mut ends = Vec::new();
    while ends.len() < 3 {
        let size = match wire.plan.byte() {
            0 => out.len(),
            size => usize::from(size),
        };
        match opening.read(&mut wire, &mut out[..size]) {
            Ok(0) => ends.push(None),
            Ok(n) => got.extend_from_slice(&out[..n]),
            Err(error) if is_pause(error.kind()) => {}
            Err(error) => ends.push(Some(error.kind())),
        }
        assert!(
            due.starts_with(&got),
            "{} of {} bytes",
            got.len(),
            due.len()
        );
    }
    assert_eq!((got.len(), &ends[..]), (due.len(), &[end; 3][..]));
}

/// Of each input its own: a fuzzer keeps records that it has seen, and tries them again.
fn key(data: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    for (number, part) in key.chunks_mut(8).enumerate() {
        let mut hasher = DefaultHasher::new();
        (number, data).hash(&mut hasher);
        part.copy_from_slice(&hasher.finish().to_le_bytes());
    }
    key
}

/// What was sent, and the records that it became.
struct Sent<'a> {
    plain: Vec<u8>,
    wire: Vec<u8>,
    /// Where each record ends in `wire`.
    ends: Vec<usize>,
    key: [u8; 32],
    /// What someone else says.
    text: &'a [u8],
}

impl<'a> Sent<'a> {
    fn new(suite: Suite, key: &[u8; 32], plan: &mut Plan<'a>) -> Sent<'a> {
        let mut sealing = RecordWriter::new(Sealer::new(suite, key).expect("a key"));
        let (mut plain, mut wire) = (Vec::new(), Vec::new());
        for _ in 0..plan.byte() % 8 {
            let size = match plan.byte() {
                size @ 0..250 => usize::from(size),
                250..253 => MAX_PLAIN - 1 + plan.up_to(2),
                _ => 3 * plan.up_to(MAX_PLAIN),
            };
            let seed = plan.byte();
            let message: Vec<u8> = (0..size)
                .map(|at| (at as u8).wrapping_mul(7) ^ seed)
                .collect();
            let mut rest = &message[..];
            while !rest.is_empty() {
                let (first, second) = rest.split_at(plan.up_to(300).min(rest.len()));
                match sealing.write([first, second], |bytes| accept(bytes, plan, &mut wire)) {
                    Ok(taken) => rest = &rest[taken..],
                    Err(error) => assert!(is_pause(error.kind())),
                }
                assert!(sealing.left() <= BUFFER_MAX);
            }
            plain.extend(message);
        }
        while sealing.left() > 0 {
            let written = sealing.write([&[], &[]], |bytes| accept(bytes, plan, &mut wire));
            assert!(written.map_or_else(|error| is_pause(error.kind()), |taken| taken == 0));
        }
        if !plan.flag() {
            while !sealing
                .end(|bytes| accept(bytes, plan, &mut wire))
                .expect("it can be sealed")
            {}
        }
        let (mut ends, mut end) = (Vec::new(), 0);
        while end < wire.len() {
            end += PREFIX + usize::from(u16::from_be_bytes([wire[end], wire[end + 1]]));
            ends.push(end);
        }
        assert_eq!(end, wire.len());
        let text = plan.bytes(8);
        Sent {
            plain,
            wire,
            ends,
            key: *key,
            text,
        }
    }

    fn records(&self) -> impl Iterator<Item = &[u8]> {
        let begins = [0].into_iter().chain(self.ends.iter().copied());
        begins
            .zip(&self.ends)
            .map(|(begin, end)| &self.wire[begin..*end])
    }

    /// What must come of these bytes: so much of what was sent, and the end or an error.
    fn due(&self, mut bytes: &[u8]) -> (&[u8], Option<ErrorKind>) {
        let mut len = 0;
        for record in self.records() {
            let Some(rest) = bytes.strip_prefix(record) else {
                break;
            };
            if record.len() == PREFIX + TAG {
                return (&self.plain[..len], None);
            }
            len += record.len() - PREFIX - TAG;
            bytes = rest;
        }
        let whole = match bytes {
            [high, low, rest @ ..] => match usize::from(*high) << 8 | usize::from(*low) {
                0..16 => true,
                len => rest.len() >= len,
            },
            _ => false,
        };
        let error = match whole {
            true => ErrorKind::InvalidData,
            false => ErrorKind::UnexpectedEof,
        };
        (&self.plain[..len], Some(error))
    }
}

/// A socket that takes all, or some, or nothing now.
fn accept(bytes: &[IoSlice<'_>], plan: &mut Plan<'_>, wire: &mut Vec<u8>) -> io::Result<usize> {
    let [bytes] = bytes else {
        panic!("{} pieces", bytes.len());
    };
    assert!(!bytes.is_empty() && bytes.len() <= BUFFER_MAX);
    let n = match plan.byte() {
        0 => bytes.len(),
        1 => return Err(ErrorKind::WouldBlock.into()),
        2 => return Err(ErrorKind::Interrupted.into()),
        3 => plan.up_to(MAX_PLAIN).max(1),
        n => usize::from(n),
    };
    let n = n.min(bytes.len());
    wire.extend_from_slice(&bytes[..n]);
    Ok(n)
}

/// What someone on the way makes of it: he knows where records begin, and can make others, with
/// another key.
fn changed(suite: Suite, sent: &Sent<'_>, plan: &mut Plan<'_>) -> Vec<u8> {
    let mut records: Vec<Vec<u8>> = sent.records().map(<[u8]>::to_vec).collect();
    for _ in 0..plan.byte() % 4 {
        let what = plan.byte() % 9;
        let (at, other) = (usize::from(plan.byte()), usize::from(plan.byte()));
        let (at, other) = (at % (records.len() + 1), other % (records.len() + 1));
        let record = records.get(other).filter(|record| !record.is_empty());
        match (what, record.cloned()) {
            (0, _) => records.insert(at, strange(suite, sent, plan)),
            (1, Some(record)) => records.insert(at, record),
            (2, Some(record)) => records.insert(at, record[..plan.up_to(record.len())].to_vec()),
            (3, Some(_)) => drop(records.remove(other)),
            (4, Some(_)) if at < records.len() => records.swap(at, other),
            (5, Some(mut record)) => {
                let place = plan.up_to(MAX_PLAIN) % record.len();
                record[place] ^= plan.byte();
                records[other] = record;
            }
            (6, Some(mut record)) => {
                record.truncate(plan.up_to(record.len()));
                records[other] = record;
            }
            (7, Some(mut record)) => {
                let place = plan.up_to(MAX_PLAIN) % record.len();
                let len = plan.up_to(40);
                record.splice(place..place, plan.bytes(len).iter().copied());
                records[other] = record;
            }
            _ => {
                let len = plan.up_to(40);
                records.insert(at, plan.bytes(len).to_vec());
            }
        }
    }
    let mut bytes = records.concat();
    if plan.flag() {
        let end = bytes.len() - plan.up_to(MAX_PLAIN).min(bytes.len());
        bytes.truncate(end);
    }
    bytes
}

/// A record of another connection, or of the other suite, with the number that is due or another.
fn strange(suite: Suite, sent: &Sent<'_>, plan: &mut Plan<'_>) -> Vec<u8> {
    let other = plan.pick(SUITES);
    let key = match other == suite || plan.flag() {
        true => [8; 32],
        false => sent.key,
    };
    let mut sealer = Sealer::new(other, &key).expect("a key");
    let mut record = Vec::new();
    for _ in 0..=plan.byte() % 4 {
        record.clear();
        match sent.text {
            [] => return sealer.end(&mut record).map(|()| record).expect("the first"),
            text => sealer.seal(text, &[], &mut record).expect("a record"),
        }
    }
    record
}

/// The other end of the socket: all that is there, or a piece of it, or nothing now.
struct Wire<'a> {
    left: &'a [u8],
    plan: Plan<'a>,
}

impl Read for Wire<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // Nothing read would pass for the end of input.
        assert!(!out.is_empty() && out.len() <= BUFFER_MAX);
        let most = match self.plan.byte() {
            0 => out.len(),
            1 => return Err(ErrorKind::WouldBlock.into()),
            2 => return Err(ErrorKind::Interrupted.into()),
            3 => self.plan.up_to(MAX_PLAIN).max(1),
            n => usize::from(n),
        };
        let n = most.min(out.len());
        self.left.read(&mut out[..n])
    }
}

fn is_pause(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
