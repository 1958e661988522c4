//! Many that connect to one peer: peerpys that all end when the peer stops, on a host with a long table of
//! connections; and clients that hang up at once, whose events are taken slowly.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanpeer::{Bytes, Connection, Event, Peer};
use simulated_system::dice::Dice;
use simulated_system::net;
use simulated_system::system::TcpStream;
use simulated_system::world::{self, MILLI, SECOND};

use crate::common::{Wrongs, awaited, lock};
use crate::left;

/// So many events wait for a program.
const WAITING: u64 = 256;

#[derive(Clone, Debug)]
pub enum Plan {
    /// So many peerpys, rows of others in the table, milliseconds between their end and `stop`.
    Peerpys { count: u64, rows: u64, before: u64 },
    /// In turn: so many clients hang up, and so many events are taken.
    Events(Vec<(u64, u64)>),
}

impl Plan {
    pub fn draw(seed: u64) -> Plan {
        let mut dice = Dice::new(seed ^ 0xc20d5);
        let dice = &mut dice;
        if dice.one_in(2) {
            return Plan::Peerpys {
                count: dice.between(50, 250),
                rows: *dice.pick(&[0, 10_000, 20_000]),
                before: dice.below(30),
            };
        }
        let first = WAITING - 2 + dice.below(8);
        let mut turns = vec![(first, dice.below(4))];
        for _ in 0..dice.between(1, 4) {
            turns.push((dice.below(5), dice.below(5)));
        }
        Plan::Events(turns)
    }

    pub fn smaller(&self) -> Vec<Plan> {
        match self {
            Plan::Peerpys {
                count,
                rows,
                before,
            } if *count > 10 => vec![Plan::Peerpys {
                count: count / 2,
                rows: *rows,
                before: *before,
            }],
            _ => Vec::new(),
        }
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
    /// So many clients have done their work.
    done: Mutex<u64>,
    /// So many may do theirs.
    due: Mutex<u64>,
    wrong: Wrongs,
}

/// Runs the plan; a panic says what was wrong.
pub fn run(plan: &Plan) {
    let shared = Arc::<Shared>::default();
    let alice = net::add_host("alice", Ipv4Addr::new(10, 0, 0, 1));
    let crowd = net::add_host("crowd", Ipv4Addr::new(10, 0, 0, 2));
    let (own, other) = (plan.clone(), Arc::clone(&shared));
    let (_, alice) = world::spawn_process("alice", alice, move || match own {
        Plan::Peerpys { count, rows, .. } => serve_all(count, rows, &other),
        Plan::Events(turns) => be_slow(&turns, &other),
    });
    let (own, other) = (plan.clone(), Arc::clone(&shared));
    let (_, crowd) = world::spawn_process("crowd", crowd, move || match own {
        Plan::Peerpys { count, before, .. } => be_peerpys(count, before, &other),
        Plan::Events(turns) => hang_up(turns.iter().map(|(clients, _)| clients).sum(), &other),
    });
    world::join(alice);
    world::join(crowd);
    shared.wrong.assert_none();
}

fn peer(shared: &Shared) -> Peer {
    let peer = Peer::builder()
        .invisible(true)
        .close_timeout(Duration::from_millis(100))
        .bind("10.0.0.1:0")
        .expect("a peer");
    *lock(&shared.addr) = Some(peer.local_addr());
    peer
}

fn stop(peer: Peer, shared: &Shared) {
    let begin = world::now();
    peer.stop();
    let took = world::now() - begin;
    if took > 3 * SECOND {
        shared.wrong.add(format!("stop took {} ms", took / MILLI));
    }
    drop(peer);
    let left = left::of_this_process(0);
    if !left.is_empty() {
        shared.wrong.add(left);
    }
}

fn wait_for(count: &Mutex<u64>, least: u64) {
    while *lock(count) < least {
        world::sleep(Duration::from_millis(1));
    }
}

// Peerpys

fn serve_all(count: u64, rows: u64, shared: &Shared) {
    net::crowd_table(0, rows);
    let peer = peer(shared);
    let offers = peer.offers();
    let mut all: Vec<Connection<Bytes>> = Vec::new();
    for _ in 0..count {
        let offer = offers.recv_timeout(Duration::from_secs(4));
        match offer
            .map_err(|_| ())
            .and_then(|offer| offer.accept().map_err(|_| ()))
        {
            Ok(conn) => all.push(conn),
            Err(()) => {
                shared
                    .wrong
                    .add(format!("{} of {count} are there", all.len()));
                break;
            }
        }
    }
    for conn in &all {
        let _ = conn.send(&b"so long"[..]);
    }
    *lock(&shared.due) = 1;
    wait_for(&shared.done, 1);
    stop(peer, shared);
}

fn be_peerpys(count: u64, before: u64, shared: &Shared) {
    let Some(addr) = awaited(&shared.addr) else {
        return;
    };
    let mut all = Vec::new();
    for _ in 0..count {
        let Ok(mut socket) = TcpStream::connect_timeout(&addr, Duration::from_secs(2)) else {
            continue;
        };
        let text = "HELLO|peer_name=10.0.0.2:4000&data_type=bytes&strict=1";
        let _ = socket.write_all(format!("{text:|<128}").as_bytes());
        let _ = socket.set_read_timeout(Some(Duration::from_secs(4)));
        let _ = socket.read_exact(&mut [0; 128]);
        all.push(socket);
    }
    wait_for(&shared.due, 1);
    for socket in &all {
        let _ = socket.shutdown(std::net::Shutdown::Write);
    }
    world::sleep(Duration::from_millis(before));
    *lock(&shared.done) = 1;
    world::sleep(Duration::from_secs(4));
}

// Events

/// Of all that happens here, the program is told, or told how much it was not.
fn be_slow(turns: &[(u64, u64)], shared: &Shared) {
    let peer = peer(shared);
    let events = peer.events();
    let (mut told, mut dropped, mut clients) = (0, 0, 0);
    let mut count = |event: Event| match event {
        Event::HandshakeFailed { .. } => told += 1,
        Event::Dropped { count } => dropped += count,
        other => shared.wrong.add(format!("nobody did that: {other:?}")),
    };
    for &(more, takes) in turns {
        clients += more;
        *lock(&shared.due) = clients;
        wait_for(&shared.done, clients);
        // The last of them may not have been looked at yet.
        world::sleep(Duration::from_millis(300));
        events.try_iter().take(takes as usize).for_each(&mut count);
    }
    stop(peer, shared);
    events.iter().for_each(&mut count);
    if told + dropped != clients {
        let what = format!("{told} events and a word of {dropped} dropped ones, of {clients}");
        shared.wrong.add(what);
    }
}

fn hang_up(count: u64, shared: &Shared) {
    let Some(addr) = awaited(&shared.addr) else {
        return;
    };
    for number in 0..count {
        wait_for(&shared.due, number + 1);
        if TcpStream::connect_timeout(&addr, Duration::from_secs(2)).is_err() {
            shared.wrong.add("a client could not connect".to_owned());
        }
        *lock(&shared.done) += 1;
    }
}
