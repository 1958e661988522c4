//! A LAN: hosts whose peers find each other, and keep themselves connected, while processes are killed,
//! stopped and started again, and links are cut.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanpeer::{Bytes, Connection, Peer, PeerId, Presence, RecvTimeoutError, SendError, Target};
use simulated_system::dice::Dice;
use simulated_system::net;
use simulated_system::sync::thread;
use simulated_system::world::{self, MILLI, SECOND, Time};

use crate::common::{Wrongs, copies, lock};
use crate::left;

/// Once nothing goes wrong any more, all find each other, lose who is gone, and have their data flow again
/// within this time: the longest pause of one who keeps a connection, three signs of life of few peers,
/// and what a lossy network adds.
const SETTLED: Time = 30 * SECOND;

/// So long no datagram is sent when nobody watches any more, once a peer would be lost.
const SILENT: Time = 10 * SECOND;

#[derive(Clone, Debug)]
pub struct Plan {
    pub hosts: Vec<Host>,
    /// In their order in time.
    pub faults: Vec<Fault>,
}

#[derive(Clone, Debug)]
pub struct Host {
    /// Milliseconds until its process starts.
    pub start: u64,
    pub watches: bool,
    /// It keeps itself connected to all of the service.
    pub keeps: bool,
    /// It is one of the service, and answers each message.
    pub serves: bool,
    pub second: Second,
    /// Its system sends from the second interface where both are in one network.
    pub prefers_second: bool,
    /// In seconds: what it keeps takes it so long to notice that another is dead.
    pub keepalive: u64,
}

/// A second interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    No,
    /// In the same network.
    Same,
    /// In another one, where only those are who have it.
    Other,
}

#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Milliseconds since the begin.
    pub at: u64,
    pub what: What,
}

#[derive(Clone, Copy, Debug)]
pub enum What {
    /// A host's process is killed, and started again after so many milliseconds.
    Kill(usize, Option<u64>),
    /// The same, stopped.
    Stop(usize, Option<u64>),
    /// Two hosts, for so many milliseconds.
    Cut(usize, usize, u64),
}

impl Plan {
    pub fn draw(seed: u64) -> Plan {
        let mut dice = Dice::new(seed ^ 0x1a9);
        let dice = &mut dice;
        let count = dice.between(2, 5) as usize;
        let hosts: Vec<Host> = (0..count).map(|_| Host::draw(dice)).collect();
        let mut faults: Vec<Fault> = (0..dice.below(5))
            .map(|_| Fault::draw(dice, count as u64))
            .collect();
        faults.sort_by_key(|fault| fault.at);
        Plan { hosts, faults }
    }

    pub fn smaller(&self) -> Vec<Plan> {
        copies(self, |add| {
            for index in 0..self.faults.len() {
                add(&|plan| _ = plan.faults.remove(index));
            }
            let used = |host: usize| {
                self.faults.iter().any(|fault| match fault.what {
                    What::Kill(own, _) | What::Stop(own, _) => own == host,
                    What::Cut(one, other, _) => one == host || other == host,
                })
            };
            let last = self.hosts.len() - 1;
            if last > 1 && !used(last) {
                add(&|plan| _ = plan.hosts.pop());
            }
            for (index, host) in self.hosts.iter().enumerate() {
                if host.keeps {
                    add(&|plan| plan.hosts[index].keeps = false);
                }
                if host.watches {
                    add(&|plan| plan.hosts[index].watches = false);
                }
                if host.second != Second::No {
                    add(&|plan| plan.hosts[index].second = Second::No);
                }
            }
        })
    }
}

impl Host {
    fn draw(dice: &mut Dice) -> Host {
        let keeps = dice.one_in(2);
        Host {
            start: dice.below(*dice.clone().pick(&[1, 500, 3000])),
            watches: !dice.one_in(3),
            keeps,
            prefers_second: dice.one_in(2),
            // One that only answers need not notice it soon.
            keepalive: if keeps { 4 } else { *dice.pick(&[4, 60]) },
            serves: !dice.one_in(3),
            second: *dice.pick(&[
                Second::No,
                Second::No,
                Second::No,
                Second::Same,
                Second::Other,
            ]),
        }
    }
}

impl Fault {
    fn draw(dice: &mut Dice, hosts: u64) -> Fault {
        let host = dice.below(hosts) as usize;
        let other = (host + 1 + dice.below(hosts - 1) as usize) % hosts as usize;
        let again = |dice: &mut Dice| {
            let most = *dice.pick(&[10, 1000, 10_000]);
            (!dice.one_in(3)).then(|| dice.below(most))
        };
        Fault {
            at: dice.below(15_000),
            what: match dice.below(4) {
                0 => What::Kill(host, again(dice)),
                1 => What::Stop(host, again(dice)),
                // About as long as the keepalive: one side may give up, and the other not.
                2 => What::Cut(host, other, 3000 + dice.below(3000)),
                _ => What::Cut(host, other, *dice.pick(&[100, 2000, 8000, 20_000])),
            },
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, host) in self.hosts.iter().enumerate() {
            writeln!(f, "host {index}: {host:?}")?;
        }
        for fault in &self.faults {
            writeln!(f, "{fault:?}")?;
        }
        Ok(())
    }
}

/// What the referee sees of one host. Its locks are those of the machine: nobody holds one where another
/// thread of the run could go on.
#[derive(Default)]
struct View {
    /// Who sees it: one that is about to stop may live on beside the next.
    process: usize,
    id: Option<PeerId>,
    seen: BTreeMap<PeerId, ()>,
    /// When data last came back from whom.
    flows: BTreeMap<PeerId, Time>,
}

struct Shared {
    views: Vec<Mutex<View>>,
    wrong: Wrongs,
    /// Nobody is to watch any more; all are to stop.
    is_quiet: AtomicBool,
    is_over: AtomicBool,
    /// Those that are to stop now, with the process that is meant.
    stops: Mutex<Vec<usize>>,
}

fn ip_of(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, host as u8 + 1)
}

/// Runs the plan; a panic says what was wrong.
pub fn run(plan: &Plan) {
    let shared = Arc::new(Shared {
        views: plan.hosts.iter().map(|_| Mutex::default()).collect(),
        wrong: Wrongs::default(),
        is_quiet: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        stops: Mutex::default(),
    });
    for (index, host) in plan.hosts.iter().enumerate() {
        let id = net::add_host(&format!("host{index}"), ip_of(index));
        assert_eq!(id, index);
        let own = index as u8 + 1;
        match host.second {
            Second::No => {}
            Second::Same => {
                net::add_interface(id, "wlan0", Ipv4Addr::new(10, 0, 0, 100 + own));
                if host.prefers_second {
                    net::prefer_last_interface(id);
                }
            }
            Second::Other => net::add_interface(id, "eth1", Ipv4Addr::new(10, 0, 1, own)),
        }
    }
    let begin = world::now();
    // What happens at which time.
    let mut due: Vec<(u64, Deed)> = Vec::new();
    for (index, host) in plan.hosts.iter().enumerate() {
        due.push((host.start, Deed::Start(index)));
    }
    for fault in &plan.faults {
        match fault.what {
            What::Kill(host, again) | What::Stop(host, again) => {
                let deed = match fault.what {
                    What::Kill(..) => Deed::Kill(host),
                    _ => Deed::Stop(host),
                };
                due.push((fault.at, deed));
                due.extend(again.map(|later| (fault.at + later, Deed::Start(host))));
            }
            What::Cut(one, other, time) => {
                due.push((fault.at, Deed::Cut(one, other)));
                due.push((fault.at + time, Deed::Heal(one, other)));
            }
        }
    }
    due.sort_by_key(|(at, _)| *at);
    let mut processes: Vec<Option<(usize, usize)>> = vec![None; plan.hosts.len()];
    let mut mains = Vec::new();
    let mut starts = 0;
    for (at, deed) in due {
        wait_until(begin + at * MILLI);
        match deed {
            Deed::Start(host) => {
                if processes[host].is_none() {
                    let (own, shared) = (plan.hosts[host].clone(), Arc::clone(&shared));
                    let work = move || live(host, &own, &shared);
                    let started = world::spawn_process(&format!("host{host}"), host, work);
                    processes[host] = Some(started);
                    mains.push(started.1);
                    starts += 1;
                }
            }
            Deed::Kill(host) => {
                if let Some((process, _)) = processes[host].take() {
                    world::kill(process);
                    *lock(&shared.views[host]) = View::default();
                }
            }
            Deed::Stop(host) => {
                if let Some((process, _)) = processes[host].take() {
                    lock(&shared.stops).push(process);
                    *lock(&shared.views[host]) = View::default();
                }
            }
            Deed::Cut(one, other) => net::cut(one, other),
            Deed::Heal(one, other) => net::heal(one, other),
        }
    }
    let calm = world::now();
    world::note(format_args!("nothing goes wrong any more"));
    loop {
        let missing = missing(plan, &shared, &processes, calm);
        if missing.is_empty() {
            break;
        }
        if world::now() > calm + SETTLED {
            shared.wrong.add(missing);
            break;
        }
        world::sleep(Duration::from_millis(100));
    }
    let seconds = (world::now() - begin) / SECOND + 1;
    let sent = world::with(|inner, _| inner.net.datagrams);
    // A sign of life of each peer in a second or so, by each interface; and what a start brings with it.
    let hosts = plan.hosts.len() as u64;
    if sent > 40 * seconds + 100 * hosts * starts {
        shared.wrong.add(format!("{sent} datagrams in {seconds} s"));
    }
    shared.is_quiet.store(true, Ordering::SeqCst);
    world::sleep(Duration::from_secs(15));
    let before = world::with(|inner, _| inner.net.datagrams);
    world::sleep(Duration::from_nanos(SILENT));
    let after = world::with(|inner, _| inner.net.datagrams);
    if after > before {
        let count = after - before;
        shared
            .wrong
            .add(format!("{count} datagrams, and nobody watches"));
    }
    shared.is_over.store(true, Ordering::SeqCst);
    for main in mains {
        world::join(main);
    }
    shared.wrong.assert_none();
}

enum Deed {
    Start(usize),
    Kill(usize),
    Stop(usize),
    Cut(usize, usize),
    Heal(usize, usize),
}

fn wait_until(at: Time) {
    let left = at.saturating_sub(world::now());
    if left > 0 {
        world::sleep(Duration::from_nanos(left));
    }
}

/// What is not yet as it is to be; empty: nothing.
fn missing(
    plan: &Plan,
    shared: &Shared,
    processes: &[Option<(usize, usize)>],
    calm: Time,
) -> String {
    let mut text = String::new();
    let ids: Vec<Option<PeerId>> = shared.views.iter().map(|view| lock(view).id).collect();
    for (index, own) in plan.hosts.iter().enumerate() {
        if processes[index].is_none() {
            continue;
        }
        // When data last came back to the others from this one.
        let own_flows: Vec<Option<Time>> = shared
            .views
            .iter()
            .map(|view| lock(view).flows.get(&ids[index]?).copied())
            .collect();
        let view = lock(&shared.views[index]);
        for (other, id) in ids.iter().enumerate() {
            if other == index || processes[other].is_none() {
                continue;
            }
            let Some(id) = id else {
                text += &format!("host {other} has not started; ");
                continue;
            };
            if own.watches && !view.seen.contains_key(id) {
                text += &format!("host {index} does not see host {other}; ");
            }
            // Where both keep each other, the first offer may have come to the echo before its host began.
            let is_kept = plan.hosts[other].keeps && own.serves;
            let to_own = own_flows[other].is_some_and(|at| at > calm);
            let flows = view.flows.get(id).is_some_and(|at| *at > calm) || (is_kept && to_own);
            if own.keeps && plan.hosts[other].serves && !flows {
                text += &format!("no data between host {index} and host {other}; ");
            }
        }
        for id in view.seen.keys() {
            let is_alive = ids.iter().zip(processes).enumerate();
            let mut is_alive = is_alive
                .filter(|(other, (_, process))| *other != index && process.is_some())
                .map(|(_, (id, _))| id);
            if own.watches && !is_alive.any(|alive| *alive == Some(*id)) {
                text += &format!("host {index} sees {id}, who is gone; ");
            }
        }
    }
    text
}

/// The life of one process.
fn live(index: usize, own: &Host, shared: &Arc<Shared>) {
    let process = world::who().1;
    let service = if own.serves { "echo" } else { "none" };
    let peer = Peer::builder()
        .name(format!("host{index}"))
        .service(service)
        .keepalive(Some(Duration::from_secs(own.keepalive)))
        .close_timeout(Duration::from_secs(1))
        .bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0))
        .expect("a peer");
    *lock(&shared.views[index]) = View {
        process,
        id: Some(peer.id()),
        ..View::default()
    };
    let mut threads = Vec::new();
    let mut start = |work: Box<dyn FnOnce() + Send>| threads.push(thread::spawn(work));
    {
        let (peer, shared) = (peer.clone(), Arc::clone(shared));
        let most = if own.keeps { 2 } else { 1 };
        start(Box::new(move || echo(&peer, most, &shared)));
    }
    // Dropped when all is to be quiet.
    let mut watch = own.watches.then(|| peer.watch());
    if own.keeps {
        let (peer, shared) = (peer.clone(), Arc::clone(shared));
        start(Box::new(move || keep(index, &peer, &shared)));
    }
    let is_to_stop =
        || lock(&shared.stops).contains(&process) || shared.is_over.load(Ordering::SeqCst);
    while !is_to_stop() {
        if shared.is_quiet.load(Ordering::SeqCst) {
            watch = None;
        }
        let Some(watch) = &watch else {
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        let Ok(presence) = watch.recv_timeout(Duration::from_millis(100)) else {
            continue;
        };
        world::note(format_args!("host {index}: {presence}"));
        let id = presence.neighbour().id();
        let mut view = lock(&shared.views[index]);
        if view.process != process {
            continue;
        }
        match (presence, id) {
            (Presence::Found(_), Some(id)) => _ = view.seen.insert(id, ()),
            (Presence::Lost(_), Some(id)) => _ = view.seen.remove(&id),
            _ => {}
        }
    }
    drop(watch);
    let begin = world::now();
    peer.stop();
    let took = world::now() - begin;
    if took > 4 * SECOND {
        shared
            .wrong
            .add(format!("host {index}: stop took {} ms", took / MILLI));
    }
    drop(peer);
    for thread in threads {
        let _ = thread.join();
    }
    let left = left::of_this_process(0);
    if !left.is_empty() {
        shared.wrong.add(format!("host {index}: {left}"));
    }
}

/// Answers each message of whoever connects.
fn echo(peer: &Peer, most: usize, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    for offer in peer.incoming() {
        let Ok(conn) = offer.accept::<Bytes>() else {
            continue;
        };
        check_one(peer, &conn, most, shared);
        threads.push(thread::spawn(move || {
            while let Ok(item) = conn.recv() {
                if conn.send(&item).is_err() {
                    break;
                }
            }
        }));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// One connection for each peer, here of those that are open. Where both keep each other, one of two may
/// end only now.
fn check_one(peer: &Peer, conn: &Connection<Bytes>, most: usize, shared: &Shared) {
    let Some(id) = conn.peer_id() else { return };
    let open = peer.connections();
    let same = open
        .iter()
        .filter(|info| info.peer_id() == Some(id) && info.close_reason().is_none());
    let count = same.count();
    if count > most {
        shared.wrong.add(format!("{count} connections with {id}"));
    }
}

/// Keeps itself connected to all of the service, and sends to each on and on.
fn keep(index: usize, peer: &Peer, shared: &Arc<Shared>) {
    let process = world::who().1;
    let kept = peer.keep_connected::<Bytes>(Target::service("echo"));
    let mut threads = Vec::new();
    let is_quiet = |shared: &Shared| shared.is_quiet.load(Ordering::SeqCst);
    while !is_quiet(shared) {
        let conn = match kept.receiver().recv_timeout(Duration::from_millis(500)) {
            Ok(conn) => conn,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        check_one(peer, &conn, 2, shared);
        let shared = Arc::clone(shared);
        threads.push(thread::spawn(move || {
            let Some(id) = conn.peer_id() else { return };
            let mut number = 0_u32;
            while !shared.is_quiet.load(Ordering::SeqCst) {
                number += 1;
                let sent = conn.send_timeout(&number.to_le_bytes()[..], Duration::from_secs(1));
                if matches!(sent, Err(SendError::Closed(_))) {
                    break;
                }
                if let Ok(item) = conn.recv_timeout(Duration::from_millis(500)) {
                    let now = world::now();
                    let mut view = lock(&shared.views[index]);
                    if item.len() == 4 && view.process == process {
                        view.flows.insert(id, now);
                    }
                }
                if conn.close_reason().is_some() {
                    break;
                }
                thread::sleep(Duration::from_millis(500));
            }
            let _ = conn.close();
        }));
    }
    drop(kept);
    for thread in threads {
        let _ = thread.join();
    }
}
