//! A peer that connects to servers that do not keep to anything: half answers, late ones, garbage. A connect
//! ends in time, and nothing that is no whole answer counts as one.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanpeer::{Bytes, Error, Peer};
use simulated_system::dice::Dice;
use simulated_system::net;
use simulated_system::system::{SockRef, TcpListener};
use simulated_system::world::{self, MILLI, SECOND, Time};

use crate::common::{Wrongs, awaited, copies, lock};
use crate::left;

/// A header that is not padded ends with a silence of this length.
const SILENCE: u64 = 100;

/// What a call may take beyond its bound.
const SLACK: Time = SECOND;

#[derive(Clone, Debug)]
pub struct Plan {
    /// In milliseconds, of a connect.
    pub timeout: u64,
    pub text: bool,
    /// What the server sends, and the milliseconds before it.
    pub parts: Vec<(u64, Vec<u8>)>,
    /// Milliseconds until it goes, and how.
    pub stays: u64,
    pub resets: bool,
}

impl Plan {
    pub fn draw(seed: u64) -> Plan {
        let mut dice = Dice::new(seed ^ 0x5e47);
        let dice = &mut dice;
        let timeout = dice.between(20, *dice.clone().pick(&[150, 600, 2000]));
        let text = dice.one_in(3);
        let version = match text {
            true => "v=1",
            false => "v=2",
        };
        let answer = match dice.below(8) {
            0..4 => format!("ACCEPT|{version}"),
            4 => "ACCEPT".to_owned(),
            5 | 6 => "DENY|reason=not-now".to_owned(),
            _ => "ACCEP".to_owned(),
        };
        let mut bytes = format!("{answer:|<128}").into_bytes();
        if dice.one_in(8) {
            let at = dice.below(bytes.len() as u64) as usize;
            bytes[at] = dice.draw() as u8;
        }
        // Whole, or a piece of it, mostly one that ends with its first word.
        let len = match dice.below(4) {
            0 => bytes.len(),
            1 => dice.below(bytes.len() as u64) as usize,
            _ => *dice.pick(&[4, 6]),
        };
        let at = match dice.one_in(2) {
            true => timeout.saturating_sub(dice.below(120)),
            false => dice.below(timeout + 50),
        };
        let mut parts = vec![(at, bytes[..len].to_vec())];
        if dice.one_in(2) {
            let garbage = (0..dice.between(1, 300))
                .map(|_| dice.draw() as u8)
                .collect();
            parts.push((dice.below(*dice.clone().pick(&[1, 60, 300])), garbage));
        }
        Plan {
            timeout,
            text,
            parts,
            stays: dice.below(*dice.clone().pick(&[1, 100, 3000])),
            resets: dice.one_in(2),
        }
    }

    pub fn smaller(&self) -> Vec<Plan> {
        copies(self, |add| {
            if self.parts.len() > 1 {
                add(&|plan| _ = plan.parts.pop());
            }
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "timeout {} ms, text {}, stays {} ms, resets {}",
            self.timeout, self.text, self.stays, self.resets
        )?;
        for (pause, bytes) in &self.parts {
            writeln!(f, "{pause} ms, then {}", bytes.escape_ascii())?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Shared {
    addr: Mutex<Option<SocketAddr>>,
    /// What was sent, and when the last of it.
    sent: Mutex<(Vec<u8>, Time)>,
    wrong: Wrongs,
}

/// Runs the plan; a panic says what was wrong.
pub fn run(plan: &Plan) {
    let shared = Arc::<Shared>::default();
    let server = net::add_host("server", Ipv4Addr::new(10, 0, 0, 2));
    let alice = net::add_host("alice", Ipv4Addr::new(10, 0, 0, 1));
    let (own, other) = (plan.clone(), Arc::clone(&shared));
    let (_, server) = world::spawn_process("server", server, move || serve(&own, &other));
    let (own, other) = (plan.clone(), Arc::clone(&shared));
    let (_, alice) = world::spawn_process("alice", alice, move || ask(&own, &other));
    world::join(alice);
    world::join(server);
    shared.wrong.assert_none();
}

fn serve(plan: &Plan, shared: &Shared) {
    let listener = TcpListener::bind("10.0.0.2:0").expect("a listener");
    *lock(&shared.addr) = Some(listener.local_addr().expect("its address"));
    let Ok((mut socket, _)) = listener.accept() else {
        return;
    };
    let _ = socket.set_read_timeout(Some(Duration::from_millis(50)));
    let _ = socket.read(&mut [0; 128]);
    for (pause, bytes) in &plan.parts {
        world::sleep(Duration::from_millis(*pause));
        {
            let now = world::now();
            let mut sent = lock(&shared.sent);
            sent.0.extend_from_slice(bytes);
            sent.1 = now;
        }
        if socket.write_all(bytes).is_err() {
            break;
        }
    }
    world::sleep(Duration::from_millis(plan.stays));
    if plan.resets {
        let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
    }
}

fn ask(plan: &Plan, shared: &Shared) {
    let peer = Peer::builder()
        .invisible(true)
        .text_headers(plan.text)
        .timeout(Duration::from_millis(plan.timeout))
        .close_timeout(Duration::from_millis(300))
        .bind("10.0.0.1:0")
        .expect("a peer");
    let Some(addr) = awaited(&shared.addr) else {
        return;
    };
    let begin = world::now();
    let asked = peer.connect::<Bytes>(addr);
    let end = world::now();
    if end - begin > plan.timeout * MILLI + SLACK {
        let took = (end - begin) / MILLI;
        shared.wrong.add(format!("connect took {took} ms"));
    }
    let (sent, last) = lock(&shared.sent).clone();
    // The silence behind a short header begins when that was sent, at the earliest.
    let is_whole = sent.len() >= 128;
    let was_silent = end.saturating_sub(last) >= SILENCE * MILLI;
    let is_answered = match &asked {
        Ok(_) => sent.starts_with(b"ACCEPT"),
        Err(Error::Denied { .. }) => sent.starts_with(b"DENY"),
        Err(_) => true,
    };
    let is_answer = matches!(asked, Ok(_) | Err(Error::Denied { .. }));
    // An end of the server's is none of a header, but its system may end what is too short.
    let is_gone = end >= last + plan.stays * MILLI;
    if !is_answered || (is_answer && !is_whole && !was_silent && !is_gone) {
        let told = asked.as_ref().map(|_| ());
        let len = sent.len();
        let ago = end.saturating_sub(last) / MILLI;
        shared.wrong.add(format!(
            "connect is {told:?}, {ago} ms behind {len} bytes of an answer"
        ));
    }
    if let Ok(conn) = asked {
        let begin = world::now();
        let closed = conn.close();
        world::note(format_args!("close is {closed:?}"));
        if world::now() - begin > 300 * MILLI + SLACK {
            shared.wrong.add("close took too long".to_owned());
        }
    }
    let begin = world::now();
    peer.stop();
    if world::now() - begin > 2300 * MILLI + SLACK {
        shared.wrong.add("stop took too long".to_owned());
    }
    drop(peer);
    let left = left::of_this_process(0);
    if !left.is_empty() {
        shared.wrong.add(left);
    }
}
