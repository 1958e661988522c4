//! A peer among clients that do not keep to anything, and peerpys: whatever they do, once they are gone
//! a good one is served, and nothing of them is left.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanpeer::{Bytes, Peer};
use simulated_system::dice::Dice;
use simulated_system::net;
use simulated_system::sync::thread;
use simulated_system::system::{SockRef, TcpStream};
use simulated_system::world::{self, MILLI, SECOND};

use crate::common::{Wrongs, copies, lock};
use crate::left;

/// The peer's `timeout`, in milliseconds.
const TIMEOUT: u64 = 1000;

#[derive(Clone, Debug)]
pub struct Plan {
    pub max_connections: usize,
    pub accepts: Accepts,
    pub clients: Vec<Client>,
    pub fds: usize,
    pub threads: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// Each offer, and answers its messages.
    All,
    /// None before the clients are gone.
    Nothing,
    Denies,
}

#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Milliseconds since the begin.
    pub at: u64,
    pub says: Says,
    /// Milliseconds until it goes.
    pub stays: u64,
    pub goes: Goes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Nothing,
    HalfHello,
    Garbage(u64),
    Hello,
    /// And one byte behind it.
    HelloAndByte,
    HelloAndFlood,
    /// And a frame that claims to be so long.
    HelloAndHuge,
    HelloAndGarbage(u64),
    /// A peerpy, which sends so many messages.
    Peerpy(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goes {
    Fin,
    Reset,
    /// Its host loses its power: only for those who are alone on theirs.
    PowerOff,
}

impl Plan {
    pub fn draw(seed: u64) -> Plan {
        let mut dice = Dice::new(seed ^ 0x4057);
        let dice = &mut dice;
        let count = dice.between(1, *dice.clone().pick(&[2, 5, 12]));
        let accepts = *dice.pick(&[
            Accepts::All,
            Accepts::All,
            Accepts::Nothing,
            Accepts::Denies,
        ]);
        let mut clients: Vec<Client> = (0..count).map(|_| Client::draw(dice)).collect();
        for client in &mut clients {
            // Its system goes on sending for it, little by little, when it is gone itself.
            if accepts == Accepts::Nothing && client.says == Says::HelloAndFlood {
                client.says = Says::HelloAndByte;
            }
        }
        Plan {
            max_connections: *dice.pick(&[1, 2, 8, 1024]),
            accepts,
            clients,
            fds: *dice.pick(&[1024, 1024, 1024, 8, 12]),
            threads: *dice.pick(&[usize::MAX, usize::MAX, usize::MAX, 10, 14]),
        }
    }

    pub fn smaller(&self) -> Vec<Plan> {
        copies(self, |add| {
            for index in 0..self.clients.len() {
                add(&|plan| _ = plan.clients.remove(index));
            }
            if self.fds < 1024 || self.threads < usize::MAX {
                add(&|plan| (plan.fds, plan.threads) = (1024, usize::MAX));
            }
        })
    }
}

impl Client {
    fn draw(dice: &mut Dice) -> Client {
        let seed = dice.draw();
        Client {
            at: dice.below(*dice.clone().pick(&[1, 20, 1500])),
            says: match dice.below(10) {
                0 => Says::Nothing,
                1 => Says::HalfHello,
                2 => Says::Garbage(seed),
                3 => Says::Hello,
                4 => Says::HelloAndByte,
                5 => Says::HelloAndFlood,
                6 => Says::HelloAndHuge,
                7 => Says::HelloAndGarbage(seed),
                _ => Says::Peerpy(dice.below(10) as u32),
            },
            stays: dice.below(*dice.clone().pick(&[1, 50, 3000])),
            goes: *dice.pick(&[Goes::Fin, Goes::Fin, Goes::Reset, Goes::PowerOff]),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan {
            max_connections,
            accepts,
            fds,
            threads,
            ..
        } = self;
        writeln!(
            f,
            "{accepts:?}, {max_connections} connections, {fds} files, {threads} threads"
        )?;
        for client in &self.clients {
            writeln!(f, "{client:?}")?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Shared {
    addr: Mutex<Option<SocketAddr>>,
    /// Nobody hostile is there any more.
    are_gone: Mutex<bool>,
    good: Mutex<Option<SocketAddr>>,
    /// The peer takes the next one for a good one.
    is_ready: Mutex<bool>,
    wrong: Wrongs,
}

/// Runs the plan; a panic says what was wrong.
pub fn run(plan: &Plan) {
    let shared = Arc::<Shared>::default();
    let host = net::add_host("victim", Ipv4Addr::new(10, 0, 0, 1));
    let good = net::add_host("good", Ipv4Addr::new(10, 0, 0, 2));
    let (own, of_peer) = (plan.clone(), Arc::clone(&shared));
    let (_, victim) = world::spawn_process("victim", host, move || serve(&own, &of_peer));
    let mut addr = None;
    while addr.is_none() {
        world::sleep(Duration::from_millis(1));
        addr = *lock(&shared.addr);
    }
    let addr = addr.expect("the peer's");
    let begin = world::now();
    let mut clients = Vec::new();
    for (index, client) in plan.clients.iter().enumerate() {
        let client = *client;
        let name = format!("client{index}");
        let own = net::add_host(&name, Ipv4Addr::new(10, 0, 0, 10 + index as u8));
        let shared = Arc::clone(&shared);
        let work = move || {
            world::sleep(Duration::from_millis(client.at));
            talk(&client, addr, &shared);
        };
        clients.push((own, client, world::spawn_process(&name, own, work).1));
    }
    clients.sort_by_key(|(_, client, _)| client.at + client.stays);
    for (host, client, main) in clients {
        let at = begin + (client.at + client.stays) * MILLI;
        let left = at.saturating_sub(world::now());
        if client.goes == Goes::PowerOff {
            if left > 0 {
                world::sleep(Duration::from_nanos(left));
            }
            net::power_off(host);
        }
        world::join(main);
    }
    // One that lost its power is noticed after the keepalive at the latest.
    let is_silent = plan
        .clients
        .iter()
        .any(|client| client.goes == Goes::PowerOff);
    let wait = if is_silent { 10 * TIMEOUT } else { 2 * TIMEOUT };
    world::sleep(Duration::from_millis(wait));
    *lock(&shared.are_gone) = true;
    while !*lock(&shared.is_ready) {
        world::sleep(Duration::from_millis(1));
    }
    let own = Arc::clone(&shared);
    let (_, main) = world::spawn_process("good", good, move || ask_well(addr, &own));
    world::join(main);
    world::join(victim);
    shared.wrong.assert_none();
}

/// The peer.
fn serve(plan: &Plan, shared: &Arc<Shared>) {
    let process = world::who().1;
    let peer = Peer::builder()
        .invisible(true)
        .max_connections(plan.max_connections)
        .timeout(Duration::from_millis(TIMEOUT))
        .keepalive(Some(Duration::from_secs(4)))
        .close_timeout(Duration::from_secs(1))
        .bind("10.0.0.1:0")
        .expect("a peer");
    world::with(|inner, _| {
        let own = &mut inner.processes[process];
        own.fds_max = plan.fds;
        own.threads_max = plan.threads;
    });
    *lock(&shared.addr) = Some(peer.local_addr());
    let are_gone = || *lock(&shared.are_gone);
    let mut threads = Vec::new();
    let offers = peer.offers();
    while !are_gone() {
        if plan.accepts == Accepts::Nothing {
            thread::sleep(Duration::from_millis(10));
            continue;
        }
        let Ok(offer) = offers.recv_timeout(Duration::from_millis(100)) else {
            continue;
        };
        if plan.accepts == Accepts::Denies {
            let _ = offer.deny("no");
            continue;
        }
        let Ok(conn) = offer.accept::<Bytes>() else {
            continue;
        };
        let echo = move || {
            while let Ok(item) = conn.recv() {
                if conn.send(&item).is_err() {
                    break;
                }
            }
        };
        threads.extend(thread::Builder::new().spawn(echo));
    }
    let open = peer.connections().len();
    if open > 0 {
        shared
            .wrong
            .add(format!("{open} connections of those who are gone"));
    }
    world::with(|inner, _| {
        let own = &mut inner.processes[process];
        (own.fds_max, own.threads_max) = (1024, usize::MAX);
    });
    *lock(&shared.is_ready) = true;
    let begin = world::now();
    let conn = peer.accept_timeout::<Bytes>(Duration::from_secs(6));
    let took = (world::now() - begin) / MILLI;
    match conn {
        Ok(conn) => {
            if Some(conn.peer_addr()) != *lock(&shared.good) {
                shared
                    .wrong
                    .add(format!("accepted {}, who is gone", conn.peer_addr()));
            }
            while let Ok(item) = conn.recv() {
                let _ = conn.send(&item);
            }
        }
        Err(error) => shared
            .wrong
            .add(format!("no good client after {took} ms: {error}")),
    }
    let begin = world::now();
    peer.stop();
    let took = world::now() - begin;
    if took > 4 * SECOND {
        shared.wrong.add(format!("stop took {} ms", took / MILLI));
    }
    drop((peer, offers));
    for thread in threads {
        let _ = thread.join();
    }
    let left = left::of_this_process(0);
    if !left.is_empty() {
        shared.wrong.add(left);
    }
}

/// One that is as it should be.
fn ask_well(addr: SocketAddr, shared: &Shared) {
    let peer = Peer::builder()
        .invisible(true)
        .bind("10.0.0.2:0")
        .expect("a peer");
    *lock(&shared.good) = Some(peer.local_addr());
    let begin = world::now();
    match peer.connect::<Bytes>(addr) {
        Ok(conn) => {
            let echoed =
                conn.send(&b"well"[..]).is_ok() && conn.recv().is_ok_and(|item| item == b"well");
            if !echoed {
                shared.wrong.add("a good client had no answer".to_owned());
            }
            let closed = conn.close();
            if closed.is_err() {
                shared
                    .wrong
                    .add(format!("a good client's close is {closed:?}"));
            }
        }
        Err(error) => {
            let took = (world::now() - begin) / MILLI;
            shared.wrong.add(format!(
                "a good client was not served, after {took} ms: {error}"
            ));
        }
    }
    peer.stop();
}

fn header(text: &str) -> Vec<u8> {
    format!("{text:|<128}").into_bytes()
}

/// What a client that is not well does.
fn talk(client: &Client, addr: SocketAddr, shared: &Shared) {
    let Ok(mut socket) = TcpStream::connect_timeout(&addr, Duration::from_secs(2)) else {
        return;
    };
    let begin = world::now();
    let _ = socket.set_read_timeout(Some(Duration::from_millis(200)));
    let _ = socket.set_write_timeout(Some(Duration::from_millis(200)));
    let own = socket.local_addr().expect("its own address");
    let ip = own.ip();
    let hello = |version: &str| {
        header(&format!(
            "HELLO|peer_name={ip}:4000&data_type=bytes&strict=1{version}"
        ))
    };
    let garbage = |seed: u64| {
        let mut dice = Dice::new(seed);
        let len = dice.between(1, 2000);
        (0..len).map(|_| dice.draw() as u8).collect::<Vec<u8>>()
    };
    let lanpeer = hello("&v=1");
    let bytes = match client.says {
        Says::Nothing => Vec::new(),
        Says::HalfHello => lanpeer[..60].to_vec(),
        Says::Garbage(seed) => garbage(seed),
        Says::Hello => lanpeer,
        Says::HelloAndByte => [&lanpeer[..], b"x"].concat(),
        Says::HelloAndFlood => [&lanpeer[..], &vec![7; 80_000]].concat(),
        Says::HelloAndHuge => [
            &lanpeer[..],
            &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ]
        .concat(),
        Says::HelloAndGarbage(seed) => [&lanpeer[..], &garbage(seed)].concat(),
        Says::Peerpy(_) => hello(""),
    };
    let _ = socket.write_all(&bytes);
    if let Says::Peerpy(messages) = client.says {
        be_peerpy(&mut socket, messages, shared);
    }
    let stays = begin + client.stays * MILLI;
    let left = stays.saturating_sub(world::now());
    if left > 0 {
        world::sleep(Duration::from_nanos(left));
    }
    if client.goes == Goes::Reset {
        let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
    }
}

/// As a peerpy: it waits for ACCEPT, sends header and payload in one write, and a PING between.
fn be_peerpy(socket: &mut TcpStream, messages: u32, shared: &Shared) {
    let mut answer = [0; 128];
    let mut len = 0;
    for _ in 0..10 {
        match socket.read(&mut answer[len..]) {
            Ok(0) => return,
            Ok(n) => len += n,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        if len == answer.len() {
            break;
        }
    }
    if !answer.starts_with(b"ACCEPT") || len < answer.len() {
        return;
    }
    for number in 0..messages {
        if number == 2 && socket.write_all(&header("PING|")).is_err() {
            return;
        }
        let body = format!("message {number}");
        let head = header(&format!("DATA|data_size={}&data_type=bytes", body.len()));
        if socket
            .write_all(&[&head[..], body.as_bytes()].concat())
            .is_err()
        {
            return;
        }
    }
    // What comes back is what was sent.
    let mut all = Vec::new();
    let mut chunk = [0; 500];
    for _ in 0..20 {
        match socket.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(n) => all.extend_from_slice(&chunk[..n]),
        }
    }
    let mut expected = Vec::new();
    for number in 0..messages {
        let body = format!("message {number}");
        let text = String::from_utf8_lossy(&all);
        if !text.contains(&body) {
            break;
        }
        expected.push(text.find(&body));
    }
    if !expected.is_sorted() {
        shared
            .wrong
            .add("a peerpy's messages came back in another order".to_owned());
    }
}
