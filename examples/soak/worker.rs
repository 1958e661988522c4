//! One of the processes: a peer that talks with everyone it finds, until its input ends.

use std::collections::HashSet;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use lanpeer::{
    Bytes, CloseError, CloseReason, Connection, Error, Neighbour, Peer, PeerId, Presence,
};
use lanpeer::{RecvTimeoutError, SendError};

use crate::Outcome;
use crate::dice::Dice;
use crate::ledger::{Field, Ledger, Page, end, process, reason};
use crate::message::{self, Arrived, BACKWARDS, RELAYED};
use crate::relay;

pub const SERVICE: &str = "soak";

struct Worker {
    peer: Peer,
    ledger: Ledger,
    index: u64,
    generation: u64,
    seed: u64,
    relays: Ipv4Addr,
    sessions: AtomicU64,
    stopping: AtomicBool,
    /// Who is there, and so is called again and again.
    there: Mutex<HashSet<PeerId>>,
}

/// Its arguments: place, generation, discovery port, seed, IP of the peer, of relays, ledger.
pub fn run(args: &[String]) -> Outcome<()> {
    // A panic anywhere, also in a thread of the library, shall not pass unnoticed.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        std::process::abort();
    }));
    let [index, generation, port, seed, ip, relays, ledger] = args else {
        return Err("a worker is started by the soak itself".into());
    };
    let peer = Peer::builder()
        .discovery_port(port.parse()?)
        .service(SERVICE)
        .name(format!("{index}.{generation}"))
        // Small, so that they are full at times.
        .receive_queue(64)
        .send_queue(64 << 10)
        .timeout(Duration::from_secs(5))
        .close_timeout(Duration::from_secs(10))
        .bind((ip.parse::<Ipv4Addr>()?, 0))?;
    if let Some(reason) = peer.not_discoverable() {
        return Err(reason.into());
    }
    let worker = Worker {
        peer,
        ledger: Ledger::create(Path::new(ledger))?,
        index: index.parse()?,
        generation: generation.parse()?,
        seed: seed.parse()?,
        relays: relays.parse()?,
        sessions: AtomicU64::new(0),
        stopping: AtomicBool::new(false),
        there: Mutex::default(),
    };
    thread::scope(|scope| {
        let worker = &worker;
        scope.spawn(move || {
            for offer in worker.peer.incoming() {
                scope.spawn(move || {
                    if let Ok(conn) = offer.accept::<Bytes>() {
                        worker.answer(conn);
                    }
                });
            }
        });
        scope.spawn(move || {
            for presence in worker.peer.watch_service(SERVICE) {
                let Some(id) = presence.neighbour().id() else {
                    continue;
                };
                let mut there = worker.there.lock().expect("nothing panics");
                match presence {
                    Presence::Found(neighbour) => {
                        if there.insert(id) {
                            scope.spawn(move || worker.call(id, &neighbour));
                        }
                    }
                    _ => drop(there.remove(&id)),
                }
            }
        });
        // Ends when the supervisor says so, or has died itself.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        worker.stopping.store(true, Ordering::SeqCst);
        worker.peer.stop();
        worker.there.lock().expect("nothing panics").clear();
    });
    Ok(())
}

impl Worker {
    fn dice(&self, number: u64) -> Dice {
        Dice::new(self.seed ^ process(self.index, self.generation) ^ (number << 40))
    }

    /// Connects to a neighbour again and again, as long as it is there.
    fn call(&self, id: PeerId, neighbour: &Neighbour) {
        let place = neighbour.name().and_then(|name| name.split_once('.'));
        let Some((Ok(index), Ok(generation))) = place.map(|(i, g)| (i.parse(), g.parse())) else {
            panic!("{neighbour} is no worker");
        };
        while self.there.lock().expect("nothing panics").contains(&id) {
            let number = self.sessions.fetch_add(1, Ordering::Relaxed);
            let mut dice = self.dice(number);
            let mut addr = neighbour.addr();
            let mut flags = 0;
            if dice.one_in(3) {
                // From a few bytes to megabytes, each order of magnitude as often.
                let bytes = dice.next() >> (41 + dice.number_below(17));
                if let Ok(relayed) = relay::start(self.relays, addr, bytes as i64) {
                    (addr, flags) = (relayed, RELAYED);
                }
            }
            match self.peer.connect::<Bytes>(addr) {
                Ok(conn) => {
                    let session = self.index << 56 | self.generation << 32 | (number + 1);
                    let page = self.ledger.page(session, flags, process(index, generation));
                    Session {
                        page: &page,
                        stopping: &self.stopping,
                        session,
                        sends: flags,
                        receives: flags | BACKWARDS,
                    }
                    .run(conn, Arrived::default(), plan(&mut dice), &mut dice);
                }
                Err(Error::Stopped) => return,
                // Its process was killed, perhaps, or the relay cut the handshake.
                Err(_) => thread::sleep(Duration::from_millis(100)),
            }
            thread::sleep(Duration::from_millis(dice.number_below(200)));
        }
    }

    fn answer(&self, conn: Connection<Bytes>) {
        // Which connection this is, the first message says.
        let Ok(first) = conn.recv() else {
            return;
        };
        let (session, flags) = match message::read(&first) {
            Some((session, flags, _)) => (session, flags),
            None => (0, 0),
        };
        let page = self.ledger.page(session, flags | BACKWARDS, 0);
        let mut dice = self.dice(session ^ 1);
        let plan = if flags & RELAYED != 0 || dice.one_in(2) {
            // What a relay has acknowledged may be lost behind it: no end of ours waits there.
            Plan {
                messages: u64::MAX,
                end: End::Close,
            }
        } else {
            plan(&mut dice)
        };
        let session = Session {
            page: &page,
            stopping: &self.stopping,
            session,
            sends: flags | BACKWARDS,
            receives: flags,
        };
        let mut arrived = Arrived::default();
        session.take(&mut arrived, &first);
        session.run(conn, arrived, plan, &mut dice);
    }
}

/// When and how a side ends a connection, if the other does not before.
struct Plan {
    messages: u64,
    end: End,
}

enum End {
    Close,
    Abort,
    Drop,
}

fn plan(dice: &mut Dice) -> Plan {
    let magnitude = dice.number_below(12);
    Plan {
        messages: dice.number_below(1 << magnitude),
        end: match dice.number_below(4) {
            0 => End::Abort,
            1 => End::Drop,
            _ => End::Close,
        },
    }
}

/// One side of one connection.
struct Session<'a> {
    page: &'a Page<'a>,
    stopping: &'a AtomicBool,
    session: u64,
    sends: u64,
    receives: u64,
}

impl Session<'_> {
    fn run(&self, conn: Connection<Bytes>, arrived: Arrived, plan: Plan, dice: &mut Dice) {
        let letting_go = AtomicBool::new(false);
        thread::scope(|scope| {
            let (reading, letting_go) = (conn.clone(), &letting_go);
            let slow = dice.one_in(4);
            scope.spawn(move || self.receive(reading, arrived, letting_go, slow));
            let finished = self.send(&conn, plan.messages, dice);
            match plan.end {
                End::Drop if finished => {
                    letting_go.store(true, Ordering::SeqCst);
                    drop(conn);
                    return self.page.set(Field::End, end::DROPPED);
                }
                End::Abort if finished => conn.abort(),
                _ => {}
            }
            // The receiving thread goes on taking, so that this ends.
            let closed = loop {
                match conn.close() {
                    Err(CloseError::Timeout) => {}
                    closed => break closed,
                }
            };
            let end = match closed {
                Ok(()) => end::ACKNOWLEDGED,
                Err(_) => end::ERROR,
            };
            self.page.set(Field::End, end);
        });
    }

    /// Sends so many, unless the connection ends before.
    fn send(&self, conn: &Connection<Bytes>, messages: u64, dice: &mut Dice) -> bool {
        let mut buffer = Vec::new();
        let mut number = 0;
        while number < messages {
            for _ in 0..dice.number_below(40) + 1 {
                let size = match dice.number_below(256) {
                    0 => dice.number_below(200_000),
                    1..16 => dice.number_below(8_000),
                    _ => dice.number_below(500),
                };
                message::write(&mut buffer, self.session, self.sends, number, size as usize);
                let sent = match dice.number_below(8) {
                    0 => conn.try_send(&buffer),
                    1 => conn.send_timeout(&buffer, Duration::from_millis(dice.number_below(5))),
                    _ => conn.send(&buffer),
                };
                match sent {
                    Ok(()) => {
                        number += 1;
                        self.page.set(Field::Sent, number);
                    }
                    Err(SendError::Full | SendError::Timeout) => break,
                    Err(_) => return false,
                }
                if number >= messages {
                    return true;
                }
            }
            if dice.one_in(50) {
                let _ = conn.flush();
            }
            thread::sleep(Duration::from_millis(dice.number_below(60)));
        }
        true
    }

    fn receive(
        &self,
        conn: Connection<Bytes>,
        mut arrived: Arrived,
        letting_go: &AtomicBool,
        slow: bool,
    ) {
        let reason = loop {
            if letting_go.load(Ordering::SeqCst) {
                break reason::DROPPED;
            }
            match conn.recv_timeout(Duration::from_millis(20)) {
                Ok(message) => self.take(&mut arrived, &message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    break match conn.close_reason() {
                        Some(CloseReason::ClosedThere) => reason::CLOSED_THERE,
                        // Its FIN is out, whatever came first.
                        Some(CloseReason::Aborted) if self.stopping.load(Ordering::SeqCst) => {
                            reason::STOPPED_AND_ABORTED
                        }
                        _ if self.stopping.load(Ordering::SeqCst) => reason::STOPPED,
                        Some(CloseReason::ClosedHere) => reason::CLOSED_HERE,
                        Some(CloseReason::Stopped) => reason::STOPPED,
                        Some(CloseReason::Aborted) => reason::ABORTED,
                        Some(CloseReason::Reset) => reason::RESET,
                        Some(CloseReason::Truncated) => reason::TRUNCATED,
                        Some(CloseReason::TimedOut) => reason::TIMED_OUT,
                        Some(CloseReason::Vanished) => reason::VANISHED,
                        other => panic!("no reason for an end here: {other:?}"),
                    };
                }
            }
            if slow && arrived.received % 100 == 0 {
                thread::sleep(Duration::from_millis(20));
            }
        };
        self.page.set(Field::Missing, arrived.missing());
        self.page.set(Field::Reason, reason);
    }

    fn take(&self, arrived: &mut Arrived, message: &[u8]) {
        arrived.take(message, self.session, self.receives);
        self.page.set(Field::Received, arrived.received);
        for (field, count) in [
            (Field::Altered, arrived.altered),
            (Field::Doubled, arrived.doubled),
            (Field::Reordered, arrived.reordered),
        ] {
            if count > 0 {
                self.page.set(field, count);
            }
        }
    }
}
