//! The link between two peers that speak frames ends, or falls silent, in place of each byte of a
//! conversation. What must hold has no exceptions: `close` is Ok only where the other side took in
//! all, an end is normal only where the other side has said goodbye, nothing comes twice or is left
//! out, and both sides know the end in time.
//!
//! Alice sends `a1`, Bob answers `b1`, she sends `a2`, he answers `b2`; then she closes, and so does
//! he when he knows of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lanpeer::crossbeam_channel::{bounded, select};
use lanpeer::{
    Bytes, CloseError, CloseReason, ConnectOptions, Connection, Error, PeerBuilder,
    RecvTimeoutError, SendError,
};

use super::cuts::MANUAL_ACCEPT;
use super::exchange::World;
use super::many::try_all;
use super::peers::{Call, SOON};
use super::proxy::{Fault, Plan, Way};

/// How long a side waits for what does not come.
const SHORT: Duration = Duration::from_millis(300);

/// How long for what has to come, or for the end that comes instead.
const PATIENT: Duration = Duration::from_secs(10);

/// How many positions are tried at a time.
const BUSY: usize = 12;
const WAITING: usize = 48;

const MESSAGES: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Stream,
    StreamOf,
    #[cfg(feature = "secure")]
    Secure,
}

impl Kind {
    const ALL: &[Kind] = &[
        Kind::Plain,
        Kind::Stream,
        Kind::StreamOf,
        #[cfg(feature = "secure")]
        Kind::Secure,
    ];

    fn options(self) -> ConnectOptions {
        match self {
            Kind::Stream => ConnectOptions::new().stream(),
            Kind::StreamOf => ConnectOptions::new().stream_of(3),
            _ => ConnectOptions::new(),
        }
    }

    /// One of them begins with the byte that stands for a head in a stream.
    fn message(who: u8, number: usize) -> Vec<u8> {
        vec![[0xff, who][number % 2], who, b'0' + number as u8]
    }

    fn is_secure(self) -> bool {
        !matches!(self, Kind::Plain | Kind::Stream | Kind::StreamOf)
    }

    /// Where the messages of a direction begin, and where it ends.
    fn ends(self, way: Way) -> (u64, u64) {
        let handshake = match (self, way) {
            (Kind::Stream | Kind::StreamOf, Way::Back) => 3 * 128,
            (Kind::Plain | Kind::Stream | Kind::StreamOf, _) => 2 * 128,
            // HELLO, the second message, WHO
            #[cfg(feature = "secure")]
            (Kind::Secure, Way::Forth) => 128 + 48 + 146,
            // ACCEPT, the first message, ACCEPT, WHO
            #[cfg(feature = "secure")]
            (Kind::Secure, Way::Back) => 128 + 48 + 2 * 146,
        };
        // Both messages, a goodbye, a count; each may be a record of its own, and one ends all.
        let rest = match self.is_secure() {
            true => 5 * 18 + 14,
            false => 15,
        };
        (handshake, handshake + rest)
    }
}

#[derive(Clone, Copy, Debug)]
struct Case {
    kind: Kind,
    way: Way,
    at: u64,
    fault: Fault,
}

impl Case {
    /// With `LANPEER_EVERY_BYTE` all, else all behind the handshake and some within.
    fn all(fault: Fault) -> Vec<Case> {
        let every = std::env::var_os("LANPEER_EVERY_BYTE").is_some();
        let mut cases = Vec::new();
        for kind in Kind::ALL.iter().copied() {
            for way in [Way::Forth, Way::Back] {
                let (begin, end) = kind.ends(way);
                let chosen = |at: &u64| every || *at + 2 > begin || at % 128 < 2 || at % 23 == 0;
                // See `cuts`: as the first word of an answer, this is one of a peer that is no lanpeer.
                let is_manual = |at: u64| way == Way::Back && at == MANUAL_ACCEPT;
                let silent = matches!(fault, Fault::Stall);
                let chosen = |at: &u64| chosen(at) && !(silent && is_manual(*at));
                cases.extend((0..=end).filter(chosen).map(|at| Case {
                    kind,
                    way,
                    at,
                    fault,
                }));
            }
        }
        cases
    }

    fn run(self, world: &World) {
        let passage = world.proxy.next(Plan::fault(self.way, self.at, self.fault));
        world.bob.offers().try_iter().for_each(drop);
        let said: [Arc<AtomicBool>; 2] = Default::default();
        let (alice, bob) = (world.alice.clone(), world.bob.clone());
        let patience = patience(self.fault);
        let (addr, options) = (world.proxy.addr(), self.kind.options().timeout(patience));
        let (own, others) = (Arc::clone(&said[0]), Arc::clone(&said[1]));
        // Ends with her part.
        let (at_it, is_done) = bounded::<()>(0);
        let of_alice = Call::start("Alice", move || {
            let _at_it = at_it;
            let conn = match options.connect::<Bytes>(&alice, addr) {
                Ok(conn) => conn,
                // Nobody has a connection of which she does not know how it ends.
                Err(Error::Handshake { .. } | Error::TimedOut { .. } | Error::Forged { .. }) => {
                    return None;
                }
                Err(error) => panic!("{error:?}"),
            };
            Some(speaks(conn, b'a', patience, &own, &others))
        });
        let (own, others) = (Arc::clone(&said[1]), Arc::clone(&said[0]));
        let of_bob = Call::start("Bob", move || {
            let offer = select! {
                recv(bob.offers()) -> offer => offer.ok(),
                // She has given up; her HELLO may have come through all the same.
                recv(is_done) -> _ => bob.offers().recv_timeout(SHORT).ok(),
            };
            match offer?.accept::<Bytes>() {
                Ok(conn) => Some(speaks(conn, b'b', patience, &own, &others)),
                Err(Error::Withdrawn) => None,
                Err(error) => panic!("{error:?}"),
            }
        });
        let (of_alice, of_bob) = (
            of_alice.finish_within(3 * SOON),
            of_bob.finish_within(3 * SOON),
        );
        passage.release();
        // What has happened is noted by then.
        passage.end();
        match (&of_alice, &of_bob) {
            (Some(alice), Some(bob)) => {
                self.holds(alice, bob, "Alice");
                self.holds(bob, alice, "Bob");
            }
            // One who is not there says and takes in nothing.
            (Some(one), None) | (None, Some(one)) => {
                self.holds(one, &Seen::default(), "the only one");
            }
            (None, None) => {}
        }
        if let (false, Some(alice), Some(bob)) = (passage.has_struck(), &of_alice, &of_bob) {
            // It would have come behind the last byte. On a busy machine either may have given up, and
            // then the other one has less as well.
            if alice.took < patience && bob.took < patience {
                for seen in [alice, bob] {
                    assert_eq!(seen.close, Some(Ok(())), "{self:?} {alice:?} {bob:?}");
                    assert_eq!(seen.received.len(), MESSAGES, "{self:?}");
                }
            }
        }
    }

    fn holds(&self, own: &Seen, other: &Seen, who: &str) {
        let both = format!("{who}, {self:?}: {own:?}; the other: {other:?}");
        assert!(other.sent.starts_with(&own.received), "{both}");
        assert!(own.sent.starts_with(&other.received), "{both}");
        if own.close == Some(Ok(())) {
            assert_eq!(own.sent, other.received, "{both}");
        }
        let reason = own.reason.as_ref().expect("it has ended");
        if *reason == CloseReason::ClosedThere {
            assert!(own.others_goodbye, "{both}");
        }
        if *reason == CloseReason::ClosedHere {
            // A close that has timed out goes on, and may come to its end after all.
            let closed = [Some(Ok(())), Some(Err(CloseError::Timeout))];
            assert!(closed.contains(&own.close), "{both}");
        }
        assert!(own.took < SOON, "{both}");
    }
}

/// What one side saw.
#[derive(Debug, Default)]
struct Seen {
    sent: Vec<Vec<u8>>,
    received: Vec<Vec<u8>>,
    close: Option<Result<(), CloseError>>,
    reason: Option<CloseReason>,
    /// When the end was known, the other side had begun one.
    others_goodbye: bool,
    took: Duration,
}

fn speaks(
    conn: Connection<Bytes>,
    who: u8,
    patience: Duration,
    own: &AtomicBool,
    others: &AtomicBool,
) -> Seen {
    let begin = Instant::now();
    let mut seen = Seen::default();
    let first = who == b'a';
    let say = |seen: &mut Seen| {
        let message = Kind::message(who, seen.sent.len() + 1);
        match conn.send(&message) {
            Ok(()) => seen.sent.push(message),
            Err(SendError::Closed(_)) => {}
            Err(error) => panic!("send: {error}"),
        }
    };
    if first {
        say(&mut seen);
    }
    loop {
        match conn.recv_timeout(patience) {
            Ok(message) => seen.received.push(message),
            Err(RecvTimeoutError::Disconnected) => break,
            // The link is silent.
            Err(RecvTimeoutError::Timeout) => break,
        }
        if first && seen.received.len() == MESSAGES {
            break;
        }
        say(&mut seen);
    }
    // Who has learnt of the end from the other side says goodbye only by its answer.
    seen.others_goodbye = others.load(Ordering::SeqCst);
    if conn.close_reason().is_none() {
        own.store(true, Ordering::SeqCst);
    }
    seen.close = Some(conn.close());
    seen.received.extend(conn.try_iter());
    let end = Instant::now() + SOON;
    while conn.close_reason().is_none() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    seen.others_goodbye |= others.load(Ordering::SeqCst);
    seen.reason = conn.close_reason();
    seen.took = begin.elapsed();
    seen
}

/// A side waits for nothing that does not come, but where the link falls silent.
fn patience(fault: Fault) -> Duration {
    match fault {
        Fault::Stall => SHORT,
        _ => PATIENT,
    }
}

fn with_patience(builder: PeerBuilder, fault: Fault) -> PeerBuilder {
    let patience = patience(fault);
    builder.close_timeout(patience).timeout(patience)
}

#[cfg(feature = "secure")]
fn secured(builder: PeerBuilder) -> PeerBuilder {
    let secret = "008J-4CT4-ANK7-F24S-NAXW-SQFE-ZWEA".parse();
    builder.secret(secret.expect("a secret"))
}

fn ends(what: &str, fault: Fault, workers: usize) {
    let (secure, clear): (Vec<Case>, Vec<Case>) = Case::all(fault)
        .into_iter()
        .partition(|case| case.kind.is_secure());
    let world = move || World::in_frames(|builder| with_patience(builder, fault));
    try_all(what, clear, workers, world, Case::run);
    #[cfg(feature = "secure")]
    try_all(
        &format!("{what}, encrypted"),
        secure,
        workers,
        move || World::in_frames(|builder| secured(with_patience(builder, fault))),
        Case::run,
    );
    #[cfg(not(feature = "secure"))]
    assert!(secure.is_empty());
}

#[test]
fn a_fin_in_one_direction() {
    ends("frames, FIN to one side", Fault::HalfFin, BUSY);
}

#[test]
fn a_fin_in_both_directions() {
    ends("frames, FIN to both sides", Fault::Fin, BUSY);
}

#[test]
fn a_reset() {
    ends("frames, reset", Fault::Reset, BUSY);
}

#[test]
fn silence() {
    ends("frames, silence", Fault::Stall, WAITING);
}
