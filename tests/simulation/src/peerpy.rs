//! A peer and a peerpy as its README writes one: it reads before its program has set its handlers, so what
//! comes in the first moment is lost; and it does not notice a FIN.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanpeer::{Bytes, Connection, Peer};
use simulated_system::dice::Dice;
use simulated_system::net;
use simulated_system::sync::thread;
use simulated_system::system::{TcpListener, TcpStream};
use simulated_system::world::{self, MICRO, MILLI, SECOND, Time};

use crate::common::{Wrongs, awaited, copies, lock};
use crate::left;

/// What a call may take beyond its bound.
const SLACK: Time = SECOND;

#[derive(Clone, Debug)]
pub struct Plan {
    /// The peerpy connects; else it listens.
    pub connects: bool,
    /// Microseconds after the handshake until its program's handlers are set.
    pub handlers: u64,
    /// Messages of so many bytes, of the peer and of the peerpy.
    pub from_peer: (u32, usize),
    pub from_peerpy: u32,
    /// Milliseconds between two reads of the peerpy.
    pub slowness: u64,
    /// Milliseconds until the peer closes, at the latest; until then it waits for all messages.
    pub closes_after: u64,
    /// It drops the connection in place of a close.
    pub drops: bool,
}

impl Plan {
    pub fn draw(seed: u64) -> Plan {
        let mut dice = Dice::new(seed ^ 0x9e391);
        let dice = &mut dice;
        Plan {
            connects: dice.one_in(2),
            handlers: dice.below(5000),
            from_peer: (dice.below(6) as u32, *dice.pick(&[1, 20, 500])),
            from_peerpy: dice.below(6) as u32,
            slowness: *dice.pick(&[0, 0, 1, 20]),
            closes_after: dice.below(*dice.clone().pick(&[1, 100, 2000])),
            drops: dice.one_in(3),
        }
    }

    pub fn smaller(&self) -> Vec<Plan> {
        copies(self, |add| {
            if self.from_peer.0 > 0 {
                add(&|plan| plan.from_peer.0 -= 1);
            }
            if self.from_peerpy > 0 {
                add(&|plan| plan.from_peerpy -= 1);
            }
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{self:?}")
    }
}

#[derive(Default)]
struct Shared {
    addr: Mutex<Option<SocketAddr>>,
    /// When the peer began to accept.
    accepts: Mutex<Option<Time>>,
    /// How many messages reached the peerpy.
    received: Mutex<u32>,
    /// How many messages the peer has sent, and whether its close was Ok.
    sent: Mutex<(u32, bool)>,
    wrong: Wrongs,
}

/// Runs the plan; a panic says what was wrong.
pub fn run(plan: &Plan) {
    let shared = Arc::<Shared>::default();
    let alice = net::add_host("alice", Ipv4Addr::new(10, 0, 0, 1));
    let python = net::add_host("python", Ipv4Addr::new(10, 0, 0, 2));
    let (own, other) = (plan.clone(), Arc::clone(&shared));
    let (_, alice) = world::spawn_process("alice", alice, move || play(&own, &other));
    let (own, other) = (plan.clone(), Arc::clone(&shared));
    let (_, python) = world::spawn_process("python", python, move || be_peerpy(&own, &other));
    world::join(alice);
    world::join(python);
    let (sent, is_closed) = *lock(&shared.sent);
    let received = *lock(&shared.received);
    if is_closed && received < sent {
        let what = format!("a close is Ok, and {received} of {sent} messages reached the peerpy");
        shared.wrong.add(what);
    }
    shared.wrong.assert_none();
}

fn play(plan: &Plan, shared: &Shared) {
    let peer = Peer::builder()
        .invisible(true)
        .close_timeout(Duration::from_secs(2))
        .bind("10.0.0.1:0")
        .expect("a peer");
    let conn = match plan.connects {
        true => {
            *lock(&shared.addr) = Some(peer.local_addr());
            let offer = peer.offers().recv_timeout(Duration::from_secs(4)).ok();
            *lock(&shared.accepts) = Some(world::now());
            offer.and_then(|offer| offer.accept::<Bytes>().ok())
        }
        false => awaited(&shared.addr).and_then(|addr| peer.connect::<Bytes>(addr).ok()),
    };
    match conn {
        Some(conn) => talk(plan, conn, shared),
        None => shared.wrong.add("no connection with a peerpy".to_owned()),
    }
    let begin = world::now();
    peer.stop();
    if world::now() - begin > 4 * SECOND + SLACK {
        shared.wrong.add("stop took too long".to_owned());
    }
    drop(peer);
    let left = left::of_this_process(0);
    if !left.is_empty() {
        shared.wrong.add(left);
    }
}

fn talk(plan: &Plan, conn: Connection<Bytes>, shared: &Shared) {
    let (messages, size) = plan.from_peer;
    let body = vec![7; size];
    for number in 0..messages {
        if let Err(error) = conn.send(&body) {
            shared.wrong.add(format!("a send to a peerpy is {error}"));
        }
        lock(&shared.sent).0 = number + 1;
    }
    let until = world::now() + plan.closes_after * MILLI;
    let mut next = 0;
    while next < plan.from_peerpy {
        let left = until.saturating_sub(world::now());
        let Ok(item) = conn.recv_timeout(Duration::from_nanos(left.max(MICRO))) else {
            break;
        };
        if item != format!("message {next}").into_bytes() {
            let what = format!("message {next} of a peerpy is {}", item.escape_ascii());
            shared.wrong.add(what);
        }
        next += 1;
    }
    if plan.drops {
        return drop(conn);
    }
    let begin = world::now();
    let closed = conn.close();
    world::note(format_args!("close is {closed:?}"));
    if world::now() - begin > 2 * SECOND + SLACK {
        shared.wrong.add("close took too long".to_owned());
    }
    lock(&shared.sent).1 = closed.is_ok();
}

fn header(text: &str) -> Vec<u8> {
    format!("{text:|<128}").into_bytes()
}

fn be_peerpy(plan: &Plan, shared: &Arc<Shared>) {
    let Some((socket, agreed)) = shake_hands(plan, shared) else {
        return;
    };
    let socket = Arc::new(socket);
    let set = agreed + plan.handlers * MICRO;
    // Where ACCEPT was on its way for long, the peer could not know.
    let accepts = *lock(&shared.accepts);
    let is_prompt = accepts.is_none_or(|at| agreed < at + 30 * MILLI);
    let writer = {
        let pause = Duration::from_nanos(set.saturating_sub(world::now()));
        let (messages, socket) = (plan.from_peerpy, Arc::clone(&socket));
        thread::spawn(move || {
            thread::sleep(pause);
            let mut socket = &*socket;
            for number in 0..messages {
                if number == 2 && socket.write_all(&header("PING|")).is_err() {
                    return;
                }
                let body = format!("message {number}");
                let head = header(&format!("DATA|data_size={}&data_type=bytes", body.len()));
                let all = [&head[..], body.as_bytes()].concat();
                if socket.write_all(&all).is_err() {
                    return;
                }
            }
        })
    };
    let _ = socket.set_read_timeout(Some(Duration::from_secs(1)));
    let (mut all, mut chunk, mut silence) = (Vec::new(), [0; 300], 0);
    while silence < 15 {
        match (&*socket).read(&mut chunk) {
            // It would read on and on.
            Ok(0) => {
                shared
                    .wrong
                    .add("a peerpy got a FIN, which it does not notice".to_owned());
                break;
            }
            Ok(len) => {
                silence = 0;
                all.extend_from_slice(&chunk[..len]);
                let early = set.saturating_sub(world::now()) / MICRO;
                if take(&mut all, plan, shared) && early > 0 && is_prompt {
                    let what = format!("a message came {early} us before the handlers were set");
                    shared.wrong.add(what);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => silence += 1,
            Err(_) => break,
        }
        if plan.slowness > 0 {
            world::sleep(Duration::from_millis(plan.slowness));
        }
    }
    drop(socket);
    let _ = writer.join();
}

/// Takes the messages that are whole; other headers it skips. `true`: there was a message.
fn take(all: &mut Vec<u8>, plan: &Plan, shared: &Shared) -> bool {
    let mut has_taken = false;
    while all.len() >= 128 {
        let head = String::from_utf8_lossy(&all[..128]).into_owned();
        let size = head.split("data_size=").nth(1);
        let digits = size.map(|text| text.chars().take_while(char::is_ascii_digit));
        let size = digits.and_then(|digits| digits.collect::<String>().parse::<usize>().ok());
        if head.starts_with("PING|") || head.starts_with("WHO|") {
            all.drain(..128);
            continue;
        }
        if !head.starts_with("DATA|") || size != Some(plan.from_peer.1) {
            shared.wrong.add(format!("a peerpy got {head}"));
            all.clear();
            break;
        }
        let len = 128 + plan.from_peer.1;
        if all.len() < len {
            break;
        }
        all.drain(..len);
        has_taken = true;
        *lock(&shared.received) += 1;
    }
    has_taken
}

/// The connection, and when it was agreed on, as a peerpy knows.
fn shake_hands(plan: &Plan, shared: &Shared) -> Option<(TcpStream, Time)> {
    if plan.connects {
        let addr = awaited(&shared.addr)?;
        let mut socket = TcpStream::connect_timeout(&addr, Duration::from_secs(2)).ok()?;
        let own = socket.local_addr().ok()?;
        let hello = format!("HELLO|peer_name={}:4000&data_type=bytes&strict=1", own.ip());
        socket.write_all(&header(&hello)).ok()?;
        let _ = socket.set_read_timeout(Some(Duration::from_secs(4)));
        let mut answer = [0; 128];
        socket.read_exact(&mut answer).ok()?;
        return answer
            .starts_with(b"ACCEPT")
            .then(|| (socket, world::now()));
    }
    let listener = TcpListener::bind("10.0.0.2:0").ok()?;
    *lock(&shared.addr) = listener.local_addr().ok();
    let (mut socket, _) = listener.accept().ok()?;
    let _ = socket.set_read_timeout(Some(Duration::from_secs(4)));
    socket.read_exact(&mut [0; 128]).ok()?;
    socket.write_all(&header("ACCEPT|")).ok()?;
    Some((socket, world::now()))
}
