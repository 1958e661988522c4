//! Discovery among lies: a peer that watches and searches, another that is to be found, and a host that says
//! what it likes. None of it may hide the other, or make anyone send more than it was sent.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanpeer::{Peer, PeerId, Presence};
use simulated_system::dice::Dice;
use simulated_system::net::{self, udp};
use simulated_system::sync::thread;
use simulated_system::system::UdpSocket;
use simulated_system::world::{self, MILLI, SECOND, Time};

use crate::common::{Wrongs, copies, lock};
use crate::left;

const PORT: u16 = 1024;

const VICTIM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const GOOD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const LIAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 66);
/// Where the answers to forged questions go.
const THIRD: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 77), 9);

/// So many places of one host are known at most, and of one neighbour.
const OF_A_HOST: usize = 64;
const OF_A_NEIGHBOUR: usize = 8;

/// So many answers a second go to one address.
const ANSWERS: u64 = 50;

#[derive(Clone, Debug)]
pub struct Plan {
    /// Milliseconds before each.
    pub lies: Vec<(u64, Lie)>,
    /// Milliseconds until the good one is killed.
    pub kill: Option<u64>,
    /// To each question the liar says so much, as one and the same neighbour or as many.
    pub answers: Option<(u16, bool)>,
    /// It searches as well.
    pub searches: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// One neighbour is at so many ports.
    Ports(u16),
    /// There are so many neighbours.
    Invented(u16),
    /// The good one is gone.
    Gone,
    /// It is the good one; else one with its id.
    Same(bool),
    /// Some bytes.
    Garbage(u64),
    /// So many questions of this kind.
    Pings(u16, Kind),
    /// Somebody watches already.
    Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Padded,
    /// As people type it.
    Short,
    Pinger,
    NoAddress,
    /// A short one in the name of a third machine.
    Forged,
}

impl Plan {
    pub fn draw(seed: u64) -> Plan {
        let mut dice = Dice::new(seed ^ 0x11a2);
        let dice = &mut dice;
        let lies = (0..dice.between(1, 6)).map(|_| {
            let lie = match dice.below(8) {
                0 => Lie::Ports(*dice.pick(&[9, 20, 200])),
                1 => Lie::Invented(*dice.pick(&[3, 70])),
                2 => Lie::Gone,
                3 => Lie::Same(dice.one_in(2)),
                4 => Lie::Garbage(dice.draw()),
                5 => Lie::Keep,
                _ => {
                    let kinds = [
                        Kind::Padded,
                        Kind::Short,
                        Kind::Pinger,
                        Kind::NoAddress,
                        Kind::Forged,
                    ];
                    Lie::Pings(*dice.pick(&[1, 5, 80]), *dice.pick(&kinds))
                }
            };
            (dice.below(*dice.clone().pick(&[1, 300, 2000])), lie)
        });
        Plan {
            lies: lies.collect(),
            kill: dice.one_in(3).then(|| 3000 + dice.below(3000)),
            answers: dice
                .one_in(3)
                .then(|| (*dice.pick(&[2, 20]), dice.one_in(2))),
            searches: dice.one_in(2),
        }
    }

    pub fn smaller(&self) -> Vec<Plan> {
        copies(self, |add| {
            for index in 0..self.lies.len() {
                add(&|plan| _ = plan.lies.remove(index));
            }
            if self.kill.is_some() {
                add(&|plan| plan.kill = None);
            }
            if self.answers.is_some() {
                add(&|plan| plan.answers = None);
            }
            if self.searches {
                add(&|plan| plan.searches = false);
            }
        })
    }

    /// Somebody claims to be the good one, name and all, at another address.
    fn is_doubled(&self) -> bool {
        self.lies.iter().any(|(_, lie)| *lie == Lie::Same(true))
    }

    /// How many peers there may seem to be: it decides how often each of them speaks.
    fn seem(&self) -> u64 {
        let invents = |lie: &Lie| matches!(lie, Lie::Invented(_) | Lie::Ports(_) | Lie::Same(_));
        let is_any = self.lies.iter().any(|(_, lie)| invents(lie)) || self.answers.is_some();
        if is_any { 3 + OF_A_HOST as u64 } else { 3 }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "kill {:?}, answers {:?}, searches {}",
            self.kill, self.answers, self.searches
        )?;
        for (pause, lie) in &self.lies {
            writeln!(f, "{pause} ms, then {lie:?}")?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Shared {
    good: Mutex<Option<(PeerId, u16)>>,
    victim: Mutex<Option<u16>>,
    is_killed: AtomicBool,
    is_over: AtomicBool,
    /// Whether the victim sees the good one, and since when it does or does not.
    seen: Mutex<(bool, Time)>,
    wrong: Wrongs,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }
}

/// Runs the plan; a panic says what was wrong.
pub fn run(plan: &Plan) {
    net::lose_nothing();
    let shared = Arc::<Shared>::default();
    let hosts = [
        ("victim", VICTIM),
        ("good", GOOD),
        ("liar", LIAR),
        ("third", *THIRD.ip()),
    ]
    .map(|(name, ip)| net::add_host(name, ip));
    let own = Arc::clone(&shared);
    let (good, _) = world::spawn_process("good", hosts[1], move || be_good(&own));
    let (own, other) = (plan.clone(), Arc::clone(&shared));
    let (_, victim) = world::spawn_process("victim", hosts[0], move || watch(&own, &other));
    while lock(&shared.good).is_none() || lock(&shared.victim).is_none() {
        world::sleep(Duration::from_millis(1));
    }
    let begin = world::now();
    let own = Arc::clone(&shared);
    let (_, third) = world::spawn_process("third", hosts[3], move || be_third(&own));
    let (own, other) = (plan.clone(), Arc::clone(&shared));
    let (_, liar) = world::spawn_process("liar", hosts[2], move || lie_on(&own, &other));
    // Lies are no reason to be found later than where datagrams are lost.
    let wait_until = |wanted: bool, most: Time| {
        let end = world::now() + most;
        while world::now() < end && lock(&shared.seen).0 != wanted {
            world::sleep(Duration::from_millis(20));
        }
        lock(&shared.seen).0 == wanted
    };
    if !wait_until(true, 3 * SECOND) {
        shared
            .wrong
            .add("the good one was not found in 3 s".to_owned());
    }
    let kill = begin + plan.kill.unwrap_or(6000) * MILLI;
    let left = kill.saturating_sub(world::now());
    world::sleep(Duration::from_nanos(left));
    if !lock(&shared.seen).0 {
        shared
            .wrong
            .add("the good one seems lost, and is there".to_owned());
    }
    if plan.kill.is_some() {
        shared.is_killed.store(true, Ordering::SeqCst);
        world::kill(good);
        let most = 3 * (plan.seem() / 4 + 1) + 3;
        if !plan.is_doubled() && !wait_until(false, most * SECOND) {
            let what = format!("the good one was killed, and not lost in {most} s");
            shared.wrong.add(what);
        }
    }
    shared.is_over.store(true, Ordering::SeqCst);
    for main in [victim, liar, third] {
        world::join(main);
    }
    shared.wrong.assert_none();
}

fn be_good(shared: &Shared) {
    let peer = Peer::builder()
        .name("good")
        .service("echo")
        .bind("0.0.0.0:0");
    let peer = peer.expect("a peer");
    *lock(&shared.good) = Some((peer.id(), peer.local_addr().port()));
    while !shared.is_over() {
        thread::sleep(Duration::from_millis(200));
    }
    peer.stop();
}

fn watch(plan: &Plan, shared: &Arc<Shared>) {
    let peer = Peer::builder()
        .name("victim")
        .bind("0.0.0.0:0")
        .expect("a peer");
    *lock(&shared.victim) = Some(peer.local_addr().port());
    let watch = peer.watch();
    let searcher = plan.searches.then(|| {
        let (peer, shared) = (peer.clone(), Arc::clone(shared));
        thread::spawn(move || search(&peer, &shared))
    });
    let mut all: BTreeMap<String, usize> = BTreeMap::new();
    let mut was_at_home = false;
    while !shared.is_over() {
        let Ok(presence) = watch.recv_timeout(Duration::from_millis(100)) else {
            continue;
        };
        world::note(format_args!("{presence}"));
        let neighbour = presence.neighbour();
        // By its name: it may be found before it has told its id.
        let is_good = neighbour.name() == Some("good") && neighbour.service() == Some("echo");
        let count = neighbour.addrs().count();
        if count > OF_A_NEIGHBOUR {
            shared
                .wrong
                .add(format!("a neighbour has {count} addresses"));
        }
        let key = match neighbour.id() {
            Some(id) => format!("{id} {:?} {:?}", neighbour.name(), neighbour.service()),
            None => neighbour.addr().to_string(),
        };
        let is_found = matches!(presence, Presence::Found(_));
        match is_found {
            true => _ = all.insert(key, count),
            false => _ = all.remove(&key),
        }
        // Those of the liar, the good one, and none of its own.
        if all.len() > OF_A_HOST + 1 {
            shared
                .wrong
                .add(format!("there are {} neighbours", all.len()));
        }
        if !is_good {
            continue;
        }
        *lock(&shared.seen) = (is_found, world::now());
        let is_alive = !shared.is_killed.load(Ordering::SeqCst);
        // Who says it before the good one does is believed.
        let is_at_home = neighbour.addr().ip() == GOOD;
        was_at_home |= is_at_home;
        let is_wrong = !is_found || !is_at_home;
        if is_alive && is_wrong && (was_at_home || !plan.is_doubled()) {
            shared
                .wrong
                .add(format!("of the good one it was told: {presence}"));
        }
    }
    searcher.map(thread::JoinHandle::join);
    drop(watch);
    peer.stop();
    drop(peer);
    let left = left::of_this_process(0);
    if !left.is_empty() {
        shared.wrong.add(left);
    }
}

fn search(peer: &Peer, shared: &Shared) {
    while lock(&shared.good).is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    while !shared.is_over() {
        let begin = world::now();
        let is_alive = || !shared.is_killed.load(Ordering::SeqCst) && !shared.is_over();
        let Ok(found) = peer.discover(Duration::from_millis(300)) else {
            continue;
        };
        let good = *lock(&shared.good);
        let mut is_found = false;
        for neighbour in found {
            world::note(format_args!("the search found {neighbour}"));
            is_found |= good.is_some_and(|(id, _)| neighbour.id() == Some(id));
        }
        if world::now() - begin > SECOND {
            shared
                .wrong
                .add("a search took more than a second".to_owned());
        }
        if is_alive() && !is_found {
            shared
                .wrong
                .add("a search did not find the good one".to_owned());
        }
        thread::sleep(Duration::from_millis(700));
    }
}

/// Gets what others have asked for in its name.
fn be_third(shared: &Shared) {
    let socket = UdpSocket::bind(THIRD).expect("a socket");
    let _ = socket.set_read_timeout(Some(Duration::from_millis(200)));
    let begin = world::now();
    let (mut count, mut buffer) = (0, [0; 500]);
    while !shared.is_over() {
        let Ok((len, _)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        count += 1;
        if len * 10 > short().len() * 17 {
            let what = format!("a third machine got {len} bytes for {}", short().len());
            shared.wrong.add(what);
        }
        // Of two peers, which have as many at once after a pause.
        let seconds = (world::now() - begin) / SECOND + 2;
        if count > 2 * ANSWERS * seconds {
            let what = format!("a third machine got {count} answers in {seconds} s");
            shared.wrong.add(what);
        }
    }
}

fn short() -> String {
    format!("PING {THIRD}")
}

fn padded(text: &str) -> Vec<u8> {
    format!("{text:|<128}").into_bytes()
}

fn lie_on(plan: &Plan, shared: &Arc<Shared>) {
    let socket = Arc::new(
        UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT)).expect("a socket"),
    );
    let _ = socket.set_broadcast(true);
    let answerer = plan.answers.map(|(count, is_one)| {
        let (socket, shared) = (Arc::clone(&socket), Arc::clone(shared));
        thread::spawn(move || answer_all(&socket, count, is_one, &shared))
    });
    let everyone = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 255), PORT);
    let victim = SocketAddrV4::new(VICTIM, PORT);
    let Some((good, good_port)) = *lock(&shared.good) else {
        return;
    };
    let say = |text: String| {
        let _ = socket.send_to(&padded(&text), everyone);
        world::sleep(Duration::from_micros(200));
    };
    let here = |port: u16, id: u64, name: &str, service: &str| {
        format!("HERE {LIAR}:{port}|v=1&id={id:010x}&name={name}&service={service}&every=3")
    };
    for &(pause, lie) in &plan.lies {
        world::sleep(Duration::from_millis(pause));
        match lie {
            Lie::Ports(count) => (0..count).for_each(|n| say(here(5000 + n, 7, "many", "x"))),
            Lie::Invented(count) => {
                (0..count).for_each(|n| say(here(6000 + n, 100 + u64::from(n), "new", "x")));
            }
            Lie::Gone => say(format!("GONE|v=1&id={good}")),
            Lie::Same(is_whole) => {
                let name = if is_whole { "good" } else { "evil" };
                say(format!(
                    "HERE {LIAR}:{good_port}|v=1&id={good}&name={name}&service=echo&every=3"
                ));
            }
            Lie::Garbage(seed) => {
                let mut dice = Dice::new(seed);
                let mut bytes = padded(&here(4000, 3, "x", "y"));
                for _ in 0..dice.between(1, 20) {
                    let at = dice.below(bytes.len() as u64) as usize;
                    bytes[at] = dice.draw() as u8;
                }
                bytes.truncate(dice.between(0, 128) as usize);
                let _ = socket.send_to(&bytes, everyone);
            }
            Lie::Keep => {
                let keep =
                    format!("PING {LIAR}:0|pinger=10.0.0.255:{PORT}&v=1&id=00000000ff&watch=keep");
                let _ = socket.send_to(&padded(&keep), victim);
            }
            Lie::Pings(count, kind) => {
                // Answers to others are not taken for those.
                let asker = UdpSocket::bind(SocketAddrV4::new(LIAR, 0)).expect("a socket");
                let _ = asker.set_read_timeout(Some(Duration::from_millis(1)));
                (0..count).for_each(|_| ask(kind, &asker, victim, shared));
            }
        }
    }
    while !shared.is_over() {
        world::sleep(Duration::from_millis(200));
    }
    answerer.map(thread::JoinHandle::join);
}

/// Asks the victim, and looks how long the answer is.
fn ask(kind: Kind, asker: &UdpSocket, victim: SocketAddrV4, shared: &Shared) {
    let own = asker.local_addr().expect("its own address");
    let question = match kind {
        Kind::Padded => padded(&format!("PING {own}|pinger={own}")),
        Kind::Short => format!("PING {own}").into_bytes(),
        Kind::Pinger => format!("PING|pinger={own}").into_bytes(),
        Kind::NoAddress => b"PING".to_vec(),
        Kind::Forged => {
            udp::forge(short().as_bytes(), THIRD, victim);
            return world::sleep(Duration::from_micros(500));
        }
    };
    let _ = asker.send_to(&question, victim);
    let mut buffer = [0; 500];
    while let Ok((len, _)) = asker.recv_from(&mut buffer) {
        let most = match kind {
            Kind::Padded => question.len(),
            _ => question.len() * 17 / 10,
        };
        if len > most {
            let asked = question.len();
            shared
                .wrong
                .add(format!("{len} bytes answer a question of {asked}"));
        }
    }
}

/// Says so much to each question of others.
fn answer_all(socket: &UdpSocket, count: u16, is_one: bool, shared: &Shared) {
    let _ = socket.set_read_timeout(Some(Duration::from_millis(200)));
    let mut buffer = [0; 500];
    while !shared.is_over() {
        let Ok((len, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        if !buffer[..len].starts_with(b"PING") || from.ip() == LIAR {
            continue;
        }
        for n in 0..count {
            let id = if is_one { 9 } else { 300 + u64::from(n) };
            let port = 7000 + n;
            let pong = format!(
                "PONG {LIAR}:{port}|ponger={LIAR}:{port}&v=1&id={id:010x}&name=pong&service=x"
            );
            let _ = socket.send_to(&padded(&pong), from);
        }
    }
}
