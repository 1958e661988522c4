//! The peer under attack, and the connection that must not notice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use lanpeer::{CloseReason, Connection, Event, Format, Json, Peer, PeerBuilder, Receiver};

use super::Then;
use crate::common::wire::{End, HEADER, Wire, shown};
use crate::common::{
    self, DEADLINE, Task, builder, ended, next_offer, spawn, until, within_deadline,
};

pub struct Arena {
    pub bob: Peer,
    pub events: Receiver<Event>,
    told: Mutex<BTreeMap<SocketAddr, String>>,
    bystander: Connection<Json<u64>>,
    rounds: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    exchange: Option<Task<Result<(), String>>>,
    _alice: Peer,
    _alone: MutexGuard<'static, ()>,
}

impl Arena {
    pub fn new() -> Arena {
        Arena::with(builder())
    }

    pub fn with(builder: PeerBuilder) -> Arena {
        // One at a time: memory and threads are counted for the whole process.
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        count_panics();

        let bob = builder.bind("127.0.0.1:0").expect("bind");
        let events = bob.events();
        let alice = common::peer();
        let (caller, addr) = (alice.clone(), bob.local_addr());
        let connecting = spawn(move || caller.connect::<Json<u64>>(addr));
        let _ = next_offer(&bob)
            // Where it does not get through, the other end misses it.
            .accept_with::<Json<u64>>(|conn, n| drop(conn.send(&n)))
            .expect("accept");
        let bystander = connecting.wait("connect").expect("connect");

        let (rounds, over) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (conn, counter, ending) = (bystander.clone(), rounds.clone(), over.clone());
        let exchange = spawn(move || {
            while !ending.load(Ordering::Relaxed) {
                let n = counter.load(Ordering::Relaxed) + 1;
                conn.send(&n).map_err(|e| e.to_string())?;
                match conn.recv_timeout(DEADLINE) {
                    Ok(echo) if echo == n => counter.store(n, Ordering::Relaxed),
                    other => return Err(format!("{other:?} where {n} was due")),
                }
                // Leaves the machine to the others.
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        Arena {
            bob,
            events,
            told: Mutex::default(),
            bystander,
            rounds,
            over,
            exchange: Some(exchange),
            _alice: alice,
            _alone: alone,
        }
    }

    /// The other connection exchanges messages as before.
    #[track_caller]
    pub fn is_untouched(&self) {
        let before = self.rounds.load(Ordering::Relaxed);
        until("a further round of the other connection", || {
            assert_eq!(self.bystander.close_reason(), None);
            self.rounds.load(Ordering::Relaxed) > before + 1
        });
        assert_eq!(
            PANICS.load(Ordering::Relaxed),
            0,
            "a thread of the library panicked"
        );
    }

    /// Attacks the data phase of a connection; gives why the connection ended.
    #[track_caller]
    pub fn attack<F: Format>(&self, keys: &str, bytes: &[u8], then: Then) -> CloseReason {
        let (mut wire, conn) = Wire::accepted::<F>(&self.bob, keys);
        wire.write_what_goes(bytes);
        match then {
            Then::Wait => {}
            Then::Fin => wire.fin(),
            Then::Reset => {
                wire.reset();
                return self.ended(&conn);
            }
        }
        let reason = self.ended(&conn);
        let (answer, end) = wire.rest();
        assert_eq!(answer, b"", "{}", shown(&answer));
        match (&reason, then) {
            (CloseReason::ClosedThere | CloseReason::Truncated, Then::Fin) => {}
            _ => assert_eq!(end, End::Reset, "{reason}"),
        }
        reason
    }

    #[track_caller]
    pub fn ended<F: Format>(&self, conn: &Connection<F>) -> CloseReason {
        let reason = ended(conn);
        is_clean(&reason.to_string());
        self.is_untouched();
        reason
    }

    /// `attack`, with an end that must be "malformed"; gives the words.
    #[track_caller]
    pub fn malformed<F: Format>(&self, keys: &str, bytes: &[u8]) -> String {
        match self.attack::<F>(keys, bytes, Then::Wait) {
            CloseReason::Malformed(words) => {
                let what = bytes
                    .get(HEADER..)
                    .filter(|payload| !payload.is_empty())
                    .unwrap_or(bytes);
                println!("{:60} {words}", shown(&what[..what.len().min(40)]));
                assert!(!words.is_empty());
                words
            }
            other => panic!("{other:?} after {}", shown(bytes)),
        }
    }

    /// What the program is told about the handshake of this wire, which came to nothing.
    #[track_caller]
    pub fn told(&self, wire: SocketAddr) -> String {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        while !told.contains_key(&wire) {
            let (of, reason) = match self.events.recv_timeout(DEADLINE).expect("an event") {
                Event::HandshakeFailed { remote, reason } => (remote, reason),
                // The address that the wire itself has given.
                Event::Denied {
                    peer_addr, reason, ..
                } => (peer_addr, reason),
                _ => continue,
            };
            is_clean(&reason);
            assert!(!reason.is_empty());
            told.insert(of, reason);
        }
        told.remove(&wire).expect("just seen")
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let exchange = self.exchange.take().expect("only taken here");
        if !std::thread::panicking() {
            exchange
                .wait("the other connection")
                .expect("it went on to the end");
            let conn = self.bystander.clone();
            within_deadline("close", move || conn.close()).expect("an ordinary close");
        }
    }
}

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts the panics that do not come from the tests themselves.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !panic
                .location()
                .is_some_and(|at| at.file().starts_with("tests"))
            {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            usual(panic);
        }));
    });
}

/// Text for logs and terminals: bounded, and nothing in it that a remote could steer them with.
#[track_caller]
pub fn is_clean(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(
        text.len() < 2_000,
        "{} bytes: {}",
        text.len(),
        shown(text.as_bytes())
    );
}

/// Threads, sockets and places of connections that have ended do not add up.
#[track_caller]
pub fn everything_is_given_back(arena: &Arena, connections: usize) {
    until("the end of all but the other connection", || {
        arena.bob.connections().len() == connections
    });
    #[cfg(target_os = "linux")]
    {
        let count = |path: &str| std::fs::read_dir(path).expect(path).count();
        let mut seen = (0, 0);
        until("few threads and few open files", || {
            let now = (count("/proc/self/task"), count("/proc/self/fd"));
            if now != seen {
                println!("{} threads, {} open files", now.0, now.1);
            }
            seen = now;
            now.0 < 30 && now.1 < 40
        });
    }
}
