//! Whatever is done to the bytes on their way, it is noticed, and nothing false is delivered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use lanpeer::{Bytes, CloseReason, Event, Peer};

use crate::common::until;
use crate::identity::known;
use crate::passphrases::with_words;
use crate::proxy::{Proxy, Way};
use crate::{DEADLINE, bind, secured};

/// What became of a session at one of its ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    what: String,
    delivered: Vec<Vec<u8>>,
}

/// What two peers have in common, and what they show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A secret.
    Secret,
    /// They have identities too, and show their keys.
    Known,
    /// A passphrase, which is the second of three that Bob has.
    Words,
}

/// Two peers for one session after another.
struct Pair {
    alice: Peer,
    bob: Peer,
    kind: Kind,
    /// Of each connection that Bob had.
    ended: Receiver<End>,
}

impl Pair {
    /// Bob greets, and takes what comes.
    fn new() -> Pair {
        Pair::with(Kind::Secret)
    }

    fn with(kind: Kind) -> Pair {
        // In text each side says its last without hearing the other's first: so the records of one
        // direction can be counted.
        let builders = match kind {
            Kind::Secret => [secured(), secured()],
            Kind::Known => [known().0, known().0],
            Kind::Words => [with_words(&[1]), with_words(&[0, 1, 2])],
        };
        let [alice, bob] = builders.map(|builder| bind(builder.text_headers(true)));
        let (end, ended) = channel();
        let offers = bob.incoming();
        thread::spawn(move || {
            for offer in offers {
                let Ok(conn) = offer.accept::<Bytes>() else {
                    continue;
                };
                let _ = conn.send(b"greeting");
                let delivered = conn.iter().collect();
                let what = format!("{:?}", conn.close_reason().expect("it has ended"));
                if end.send(End { what, delivered }).is_err() {
                    return;
                }
            }
        });
        Pair {
            alice,
            bob,
            kind,
            ended,
        }
    }

    /// Alice sends `messages` and closes; her end and Bob's.
    fn session(&self, proxy: &Proxy, messages: usize) -> (End, End) {
        let mut delivered = Vec::new();
        let what = match self.alice.connect::<Bytes>(proxy.addr) {
            Err(error) => format!("{error:?}"),
            Ok(conn) => {
                // Bob has said his before Alice ends it.
                let units = back(self.kind);
                let greeted = units.iter().rev().skip(2).map(|(_, len)| len).sum();
                until("the greeting", || proxy.seen()[1].len() >= greeted);
                for number in 0..messages {
                    // Each of them a record of its own.
                    let _ = conn.send(format!("message {number}").as_bytes());
                    let _ = conn.flush();
                }
                let closed = conn.close();
                delivered = conn.iter().collect();
                match closed {
                    Ok(()) => "Ok".to_owned(),
                    Err(error) => format!("{error:?}"),
                }
            }
        };
        let bob = loop {
            match self.bob.events().recv_timeout(DEADLINE).expect("an event") {
                Event::Closed { .. } => break self.ended.recv_timeout(DEADLINE).expect("an end"),
                event @ (Event::Denied { .. } | Event::HandshakeFailed { .. }) => {
                    let (what, delivered) = (format!("{event:?}"), Vec::new());
                    break End { what, delivered };
                }
                _ => {}
            }
        };
        (End { what, delivered }, bob)
    }
}

const GREETING: &[u8] = b"greeting";

fn messages(count: usize) -> Vec<Vec<u8>> {
    let text = |number| format!("message {number}").into_bytes();
    (0..count).map(text).collect()
}

/// The units of a session with one message: their names and lengths. A record's length is one.
type Units = Vec<(&'static str, usize)>;

fn there(kind: Kind) -> Units {
    let mut units = THERE.to_vec();
    match kind {
        Kind::Secret => {}
        Kind::Known => units[1] = ("Alice's proof, with her key", 96),
        Kind::Words => units[1] = ("her share, three words and her proof", 32 + 3 * 32 + 48),
    }
    units
}

fn back(kind: Kind) -> Units {
    let mut units = BACK.to_vec();
    match kind {
        Kind::Secret => {}
        Kind::Known => {
            let shown = [("the length of his shown key", 2), ("his shown key", 64)];
            units.splice(2..2, shown);
        }
        Kind::Words => units[1] = ("Bob's key and three shares", 3 * 32 + 48),
    }
    units
}

const THERE: [(&str, usize); 6] = [
    ("HELLO", 128),
    ("Alice's proof", 48),
    ("a message's length", 2),
    ("a message", 128 + 9 + 16),
    ("the end's length", 2),
    ("the end", 16),
];
const BACK: [(&str, usize); 8] = [
    ("ACCEPT", 128),
    ("Bob's key", 48),
    ("Bob's answer's length", 2),
    ("Bob's answer", 128 + 16),
    ("a message's length", 2),
    ("a message", 128 + 8 + 16),
    ("the end's length", 2),
    ("the end", 16),
];

fn flipped(way: Way, at: usize) -> impl Fn(Way, usize, Vec<u8>) -> Vec<Vec<u8>> {
    let passed = AtomicUsize::new(0);
    move |this, _, mut unit| {
        if this == way {
            let begin = passed.fetch_add(unit.len(), Ordering::SeqCst);
            if let Some(byte) = at.checked_sub(begin).and_then(|at| unit.get_mut(at)) {
                *byte ^= 1 << (at % 8);
            }
        }
        vec![unit]
    }
}

#[test]
fn each_byte_of_a_session() {
    each_byte(Kind::Secret);
}

#[test]
fn each_byte_of_a_session_with_keys() {
    each_byte(Kind::Known);
}

#[test]
fn each_byte_of_a_session_with_passphrases() {
    each_byte(Kind::Words);
}

fn each_byte(kind: Kind) {
    let pair = Pair::with(kind);
    let proxy = Proxy::start(pair.bob.local_addr(), |_, _, unit| vec![unit]);
    let (alice, bob) = pair.session(&proxy, 1);
    assert_eq!((&*alice.what, &*bob.what), ("Ok", "ClosedThere"));
    assert_eq!(
        (alice.delivered, bob.delivered),
        (vec![GREETING.to_vec()], messages(1))
    );
    let lengths = proxy.seen().map(|bytes| bytes.len());
    let units = [there(kind), back(kind)];
    let sums = units
        .each_ref()
        .map(|units| units.iter().map(|(_, len)| len).sum::<usize>());
    assert_eq!(lengths, sums);
    let suite = if proxy.seen()[1].starts_with(b"ACCEPT|v=1&secure=aes") {
        "aes"
    } else {
        "chacha"
    };

    let next = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let next = Arc::clone(&next);
            thread::spawn(move || {
                let (pair, mut rows) = (Pair::with(kind), Vec::new());
                loop {
                    let at = next.fetch_add(1, Ordering::SeqCst);
                    let (way, at) = match at.checked_sub(lengths[0]) {
                        None => (Way::There, at),
                        Some(at) if at < lengths[1] => (Way::Back, at),
                        Some(_) => return rows,
                    };
                    let proxy = Proxy::start(pair.bob.local_addr(), flipped(way, at));
                    rows.push((way, at, pair.session(&proxy, 1)));
                }
            })
        })
        .collect();
    let mut table: BTreeMap<_, BTreeMap<String, usize>> = BTreeMap::new();
    let rows = workers.into_iter().map(|worker| worker.join());
    for (way, at, (alice, bob)) in rows.flat_map(|rows| rows.expect("a worker")) {
        let what = format!("{way:?}, byte {at}: {alice:?}, {bob:?}");
        let units = &units[way as usize];
        let mut end = 0;
        let unit = units.iter().position(|(_, len)| {
            end += len;
            at < end
        });
        let unit = unit.unwrap_or_else(|| panic!("what is {what}"));
        // Whoever reads the byte notices.
        let noticed = match way {
            Way::There => &bob.what,
            Way::Back => &alice.what,
        };
        assert!(
            !["Ok", "ClosedThere", "ClosedHere"].contains(&&**noticed),
            "{what}"
        );
        // What is delivered is what was sent, before the byte.
        let to_bob = usize::from(way == Way::Back || unit > 3);
        assert!(
            bob.delivered.is_empty() || bob.delivered == messages(1),
            "{what}"
        );
        assert!(bob.delivered.len() <= to_bob, "{what}");
        assert!(
            alice.delivered.is_empty() || alice.delivered == [GREETING],
            "{what}"
        );
        assert!(
            alice.delivered.is_empty() || way == Way::There || unit > units.len() - 3,
            "{what}"
        );
        let end = noticed.find([' ', '(', '{']).unwrap_or(noticed.len());
        let mut short = noticed[..end].to_owned();
        if let Some(inside) = noticed.strip_prefix("Incomplete(") {
            short = inside.trim_end_matches(')').to_owned();
        }
        *table
            .entry((way as usize, unit))
            .or_default()
            .entry(short)
            .or_default() += 1;
    }
    println!(
        "| way | what was changed (suite {suite}) | bytes | what the reader of it says |\n| --- | --- | --- | --- |"
    );
    for ((way, unit), outcomes) in table {
        let (name, len) = units[way][unit];
        let way = ["to Bob", "to Alice"][way];
        let said: Vec<_> = outcomes
            .iter()
            .map(|(what, n)| format!("`{what}` {n}"))
            .collect();
        println!("| {way} | {name} | {len} | {} |", said.join(", "));
    }
}

/// Does something with the records to Bob; the first is number 2.
fn with_records(
    meddle: impl Fn(usize, Vec<u8>) -> Vec<Vec<u8>> + Send + Sync + 'static,
) -> (End, End) {
    let pair = Pair::new();
    let proxy = Proxy::start(pair.bob.local_addr(), move |way, number, unit| match way {
        Way::There if number >= 2 => meddle(number - 2, unit),
        _ => vec![unit],
    });
    pair.session(&proxy, 5)
}

#[test]
fn records_that_are_left_out_repeated_or_swapped() {
    for at in 0..6 {
        let (alice, bob) = with_records(move |number, unit| match number == at {
            true => Vec::new(),
            false => vec![unit],
        });
        // Without the last there is only the end of TCP left.
        let expected = if at == 5 {
            CloseReason::Cut
        } else {
            CloseReason::Forged
        };
        assert_eq!(bob.what, format!("{expected:?}"), "without record {at}");
        assert_eq!(bob.delivered, messages(at));
        assert_ne!(alice.what, "Ok");
    }
    for at in 0..5 {
        let (_, bob) = with_records(move |number, unit| match number == at {
            true => vec![unit.clone(), unit],
            false => vec![unit],
        });
        assert_eq!(
            (&*bob.what, bob.delivered),
            ("Forged", messages(at + 1)),
            "{at} twice"
        );
    }
    for at in 0..5 {
        let kept = std::sync::Mutex::new(Vec::new());
        let (_, bob) = with_records(move |number, unit| {
            let mut kept = kept.lock().expect("no panic");
            match number.checked_sub(at) {
                Some(0) => {
                    *kept = unit;
                    Vec::new()
                }
                Some(1) => vec![unit, std::mem::take(&mut *kept)],
                _ => vec![unit],
            }
        });
        assert_eq!(
            (&*bob.what, bob.delivered),
            ("Forged", messages(at)),
            "{at} and the next"
        );
    }
}

#[test]
fn a_cut_is_no_polite_end() {
    for at in 0..6 {
        let cut = AtomicBool::new(false);
        let (alice, bob) = with_records(move |number, mut unit| {
            if cut.load(Ordering::SeqCst) {
                return Vec::new();
            }
            if number == at {
                // In the middle of a record, or between two.
                cut.store(true, Ordering::SeqCst);
                unit.truncate(if at % 2 == 0 { 0 } else { unit.len() / 2 });
            }
            vec![unit]
        });
        assert_eq!(
            (&*bob.what, bob.delivered),
            ("Cut", messages(at)),
            "before record {at}"
        );
        assert_ne!(alice.what, "Ok");
    }
}

#[test]
fn ones_own_records_are_not_anothers() {
    let pair = Pair::new();
    let own = Arc::new(std::sync::Mutex::new(Vec::new()));
    let proxy = Proxy::start(pair.bob.local_addr(), move |way, number, unit| {
        let mut own = own.lock().expect("no panic");
        match (way, number) {
            // Bob's answer comes back to him as the first record of Alice.
            (Way::Back, 2) => own.clone_from(&unit),
            (Way::There, 2) => return vec![own.clone()],
            _ => {}
        }
        vec![unit]
    });
    let (_, bob) = pair.session(&proxy, 1);
    assert_eq!((&*bob.what, bob.delivered.len()), ("Forged", 0));
}
