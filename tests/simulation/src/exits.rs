//! Processes that exit right behind a burst of messages: what `send` was Ok for arrives all the same.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanpeer::{Bytes, Connection, Peer};
use simulated_system::dice::Dice;
use simulated_system::net;
use simulated_system::sync::thread;
use simulated_system::world;

use crate::common::{Wrongs, awaited, copies, lock};

#[derive(Clone, Debug)]
pub struct Plan {
    pub text: bool,
    pub how: How,
    /// Messages of so many bytes each; together they fit into any socket.
    pub bursts: Vec<(u32, usize)>,
    /// Microseconds between two bursts.
    pub pause: u64,
    /// The other side takes messages by a handler.
    pub is_handled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The thread that sends calls `exit`.
    Exits,
    /// It ends, and then the process is killed.
    ThreadEnds,
    /// It is the main thread and returns, while another one holds the peer.
    Returns,
}

impl Plan {
    pub fn draw(seed: u64) -> Plan {
        let mut dice = Dice::new(seed ^ 0xe817);
        let dice = &mut dice;
        let bursts = (0..dice.between(1, 3)).map(|_| {
            let size = *dice.pick(&[4, 8, 20]);
            (dice.between(1, 12) as u32, size)
        });
        Plan {
            bursts: bursts.collect(),
            text: dice.one_in(3),
            how: *dice.pick(&[How::Exits, How::ThreadEnds, How::Returns]),
            pause: *dice.pick(&[0, 5, 100, 3000]),
            is_handled: dice.one_in(3),
        }
    }

    pub fn smaller(&self) -> Vec<Plan> {
        copies(self, |add| {
            for index in 0..self.bursts.len() {
                if self.bursts.len() > 1 {
                    add(&|plan| _ = plan.bursts.remove(index));
                }
                if self.bursts[index].0 > 1 {
                    add(&|plan| plan.bursts[index].0 -= 1);
                }
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
    /// How many messages `send` was Ok for, and those that came.
    sent: Mutex<u32>,
    received: Mutex<Vec<u32>>,
    wrong: Wrongs,
}

/// Runs the plan; a panic says what was wrong.
pub fn run(plan: &Plan) {
    let shared = Arc::<Shared>::default();
    let alice = net::add_host("alice", Ipv4Addr::new(10, 0, 0, 1));
    let bob = net::add_host("bob", Ipv4Addr::new(10, 0, 0, 2));
    let (own, other) = (plan.clone(), Arc::clone(&shared));
    let (_, bob) = world::spawn_process("bob", bob, move || take(&own, &other));
    let (own, other) = (plan.clone(), Arc::clone(&shared));
    world::spawn_process("alice", alice, move || leave(&own, &other));
    world::join(bob);
    let (sent, received) = (*lock(&shared.sent), lock(&shared.received));
    if !received.iter().copied().eq(0..sent) {
        let received = received.len();
        let what = format!("{received} messages came of {sent} that were sent before the exit");
        shared.wrong.add(what);
    }
    drop(received);
    shared.wrong.assert_none();
}

fn peer(plan: &Plan) -> Peer {
    let builder = Peer::builder().invisible(true).text_headers(plan.text);
    builder.bind("0.0.0.0:0").expect("a peer")
}

fn leave(plan: &Plan, shared: &Arc<Shared>) {
    let peer = peer(plan);
    let Some(addr) = awaited(&shared.addr) else {
        return shared.wrong.add("bob does not listen".to_owned());
    };
    let conn = match peer.connect::<Bytes>(addr) {
        Ok(conn) => Arc::new(conn),
        Err(error) => return shared.wrong.add(format!("connect is {error}")),
    };
    let (own, other, sending) = (plan.clone(), Arc::clone(shared), Arc::clone(&conn));
    match plan.how {
        How::Exits => {
            let sends = move || {
                send(&own, &sending, &other);
                world::exit();
            };
            let _ = thread::spawn(sends).join();
        }
        How::ThreadEnds => {
            let _ = thread::spawn(move || send(&own, &sending, &other)).join();
            world::exit();
        }
        How::Returns => {
            let holds = move || {
                let _held = (peer, sending);
                thread::sleep(Duration::from_secs(60));
            };
            thread::spawn(holds);
            send(plan, &conn, shared);
            world::exit();
        }
    }
}

fn send(plan: &Plan, conn: &Connection<Bytes>, shared: &Shared) {
    let mut number = 0_u32;
    for &(messages, size) in &plan.bursts {
        for _ in 0..messages {
            let mut body = vec![0; size];
            body[..4].copy_from_slice(&number.to_le_bytes());
            if let Err(error) = conn.send(&body) {
                return shared.wrong.add(format!("a send is {error}"));
            }
            number += 1;
            *lock(&shared.sent) = number;
        }
        if plan.pause > 0 {
            thread::sleep(Duration::from_micros(plan.pause));
        }
    }
}

fn take(plan: &Plan, shared: &Arc<Shared>) {
    let peer = peer(plan);
    let addr = SocketAddr::from(([10, 0, 0, 2], peer.local_addr().port()));
    *lock(&shared.addr) = Some(addr);
    let note = |item: &[u8], shared: &Shared| {
        let number = u32::from_le_bytes(item[..4].try_into().expect("4 bytes"));
        lock(&shared.received).push(number);
    };
    let Ok(offer) = peer.offers().recv_timeout(Duration::from_secs(4)) else {
        return shared.wrong.add("no offer".to_owned());
    };
    if plan.is_handled {
        let own = Arc::clone(shared);
        let accepted = offer.accept_with(move |_: &Connection<Bytes>, item| note(&item, &own));
        match accepted {
            Ok(conn) => {
                let (told, heard) = simulated_system::channel::bounded(1);
                conn.on_end(move |_| _ = told.send(()));
                let _ = heard.recv();
            }
            Err(error) => shared.wrong.add(format!("accept is {error}")),
        }
    } else {
        match offer.accept::<Bytes>() {
            Ok(conn) => {
                while let Ok(item) = conn.recv() {
                    note(&item, shared);
                }
            }
            Err(error) => shared.wrong.add(format!("accept is {error}")),
        }
    }
    peer.stop();
}
