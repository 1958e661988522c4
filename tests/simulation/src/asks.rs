//! Two peers that ask each other: requests, replies, words that there is none, and messages beside them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanpeer::{Bytes, ConnectOptions, Connection, Peer, Request, RequestError, SendError};
use simulated_system::dice::Dice;
use simulated_system::net;
use simulated_system::sync::thread;
use simulated_system::world::{self, MICRO, MILLI, SECOND, Time};

use crate::common::{Wrongs, awaited, copies, lock};
use crate::left;

/// What a call may take beyond its bound.
const SLACK: Time = SECOND;

#[derive(Clone, Debug)]
pub struct Plan {
    pub sides: [Side; 2],
    /// Microseconds since the begin, and for how many milliseconds the link is cut.
    pub cut: Option<(u64, u64)>,
    /// Microseconds since the begin at which the process of this side is killed.
    pub kill: Option<(u64, usize)>,
}

#[derive(Clone, Debug)]
pub struct Side {
    pub max_requests: usize,
    pub send_queue: usize,
    pub receive_queue_bytes: usize,
    pub serves: Serves,
    pub habit: Habit,
    pub askers: Vec<Asker>,
    /// Plain messages beside them.
    pub messages: u32,
    pub end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    Nobody,
    /// So many threads that take requests.
    Loops(usize),
    /// On the connection's own thread.
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habit {
    /// Microseconds for each request.
    pub slowness: u64,
    /// One in so many is dropped; 0: none.
    pub drops: u32,
    pub panics: u32,
}

#[derive(Clone, Debug)]
pub struct Asker {
    pub requests: u32,
    pub size: usize,
    /// In milliseconds.
    pub timeout: u64,
    pub pause: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Waits,
    /// It closes when it has asked everything.
    Closes,
    /// After so many milliseconds.
    ClosesAfter(u64),
    AbortsAfter(u64),
    StopsAfter(u64),
}

impl Plan {
    pub fn draw(seed: u64) -> Plan {
        let mut dice = Dice::new(seed ^ 0xa5c);
        let dice = &mut dice;
        let mut sides = [Side::draw(dice), Side::draw(dice)];
        if sides.iter().all(|side| side.end == End::Waits) {
            sides[dice.below(2) as usize].end = End::Closes;
        }
        let at = |dice: &mut Dice| dice.below(*dice.clone().pick(&[1000, 10_000, 100_000]));
        let cut = dice
            .one_in(5)
            .then(|| (at(dice), *dice.pick(&[10, 500, 20_000])));
        let kill = dice.one_in(8).then(|| (at(dice), dice.below(2) as usize));
        Plan { sides, cut, kill }
    }

    pub fn smaller(&self) -> Vec<Plan> {
        copies(self, |add| {
            if self.cut.is_some() {
                add(&|plan| plan.cut = None);
            }
            if self.kill.is_some() {
                add(&|plan| plan.kill = None);
            }
            for (side, own) in self.sides.iter().enumerate() {
                if own.messages > 0 {
                    add(&|plan| plan.sides[side].messages = 0);
                }
                for (asker, one) in own.askers.iter().enumerate() {
                    add(&|plan| _ = plan.sides[side].askers.remove(asker));
                    if one.requests > 1 {
                        add(&|plan| plan.sides[side].askers[asker].requests /= 2);
                        add(&|plan| plan.sides[side].askers[asker].requests -= 1);
                    }
                }
            }
        })
    }

    /// Nothing can go wrong: each request has its reply.
    fn is_calm(&self) -> bool {
        let is_calm = |side: &Side| {
            let habit = side.habit;
            let fails = habit.drops > 0 || habit.panics > 0 || side.serves == Serves::Nobody;
            let in_time = side.askers.iter().all(|asker| asker.timeout > 10_000);
            let has_room = side.max_requests > 100 && side.receive_queue_bytes > 1 << 20;
            !fails && in_time && has_room && matches!(side.end, End::Waits | End::Closes)
        };
        // Who closes first cuts off what the other still asks.
        let closes = self
            .sides
            .iter()
            .filter(|side| side.end == End::Closes)
            .count();
        let asks_alone = self
            .sides
            .iter()
            .all(|side| side.end == End::Closes || side.askers.is_empty());
        let is_whole = self.cut.is_none() && self.kill.is_none();
        closes == 1 && asks_alone && is_whole && self.sides.iter().all(is_calm)
    }
}

impl Side {
    fn draw(dice: &mut Dice) -> Side {
        let count = *dice.pick(&[0, 1, 1, 2, 3]);
        let time = |dice: &mut Dice| dice.below(*dice.clone().pick(&[5, 30, 2000]));
        Side {
            max_requests: *dice.pick(&[1, 2, 16_384, 16_384]),
            send_queue: *dice.pick(&[1, 500, 1 << 20]),
            receive_queue_bytes: *dice.pick(&[1, 16 << 20, 16 << 20]),
            serves: match dice.below(8) {
                0 => Serves::Nobody,
                1..5 => Serves::Loops(dice.between(1, 2) as usize),
                _ => Serves::Server,
            },
            habit: Habit {
                slowness: *dice.pick(&[0, 0, 0, 100, 20_000]),
                drops: *dice.pick(&[0, 0, 0, 3]),
                panics: *dice.pick(&[0, 0, 0, 4]),
            },
            askers: (0..count)
                .map(|_| Asker {
                    requests: dice.between(1, *dice.clone().pick(&[2, 10, 30])) as u32,
                    size: *dice.pick(&[12, 12, 12, 12, 100, 100, 100, 1000, 3000]),
                    timeout: *dice.pick(&[1, 50, 2000, 60_000, 60_000]),
                    pause: *dice.pick(&[0, 0, 50, 2000]),
                })
                .collect(),
            messages: *dice.pick(&[0, 0, 5, 40]),
            end: match dice.below(8) {
                0..4 => End::Waits,
                4 | 5 => End::Closes,
                6 => match dice.one_in(2) {
                    true => End::ClosesAfter(time(dice)),
                    false => End::AbortsAfter(time(dice)),
                },
                _ => End::StopsAfter(time(dice)),
            },
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for side in &self.sides {
            writeln!(f, "{side:?}")?;
        }
        writeln!(f, "cut {:?}, kill {:?}", self.cut, self.kill)
    }
}

#[derive(Default)]
struct Shared {
    addr: Mutex<Option<SocketAddr>>,
    wrong: Wrongs,
    /// What each side has served: the other's asker, and its number.
    served: [Mutex<BTreeSet<(u32, u32)>>; 2],
}

impl Shared {
    fn bounded<T>(&self, what: &str, most: u64, call: impl FnOnce() -> T) -> T {
        let begin = world::now();
        let result = call();
        let took = world::now() - begin;
        if took > most * MILLI + SLACK {
            let took = took / MILLI;
            self.wrong
                .add(format!("{what} took {took} ms, and may take {most}"));
        }
        result
    }
}

/// Runs the plan; a panic says what was wrong.
pub fn run(plan: &Plan) {
    let shared = Arc::<Shared>::default();
    let hosts = [
        net::add_host("alice", Ipv4Addr::new(10, 0, 0, 1)),
        net::add_host("bob", Ipv4Addr::new(10, 0, 0, 2)),
    ];
    let begin = world::now();
    let processes = [0, 1].map(|index| {
        let (plan, shared) = (plan.clone(), Arc::clone(&shared));
        let name = ["alice", "bob"][index];
        world::spawn_process(name, hosts[index], move || play(index, &plan, &shared))
    });
    let wait_until = |at: Time| {
        let left = at.saturating_sub(world::now());
        if left > 0 {
            world::sleep(Duration::from_nanos(left));
        }
    };
    let mut due = Vec::new();
    if let Some((at, time)) = plan.cut {
        due.push((at, 0));
        due.push((at + time * 1000, 1));
    }
    if let Some((at, side)) = plan.kill {
        due.push((at, 2 + side));
    }
    due.sort_unstable();
    for (at, what) in due {
        wait_until(begin + at * MICRO);
        match what {
            0 => net::cut(hosts[0], hosts[1]),
            1 => net::heal(hosts[0], hosts[1]),
            side => world::kill(processes[side - 2].0),
        }
    }
    for (_, main) in processes {
        world::join(main);
    }
    shared.wrong.assert_none();
}

fn play(index: usize, plan: &Plan, shared: &Arc<Shared>) {
    let side = &plan.sides[index];
    let peer = Peer::builder()
        .invisible(true)
        .max_requests(side.max_requests)
        .send_queue(side.send_queue)
        .receive_queue_bytes(side.receive_queue_bytes)
        .close_timeout(Duration::from_secs(2))
        .bind("0.0.0.0:0")
        .expect("a peer");
    let mut server = Servant::new(index, side.habit, shared);
    let serve = move |request: Request<Bytes>| server.answer(request);
    let conn = match index {
        0 => {
            let addr = awaited(&shared.addr);
            addr.and_then(|addr| match side.serves {
                Serves::Server => ConnectOptions::new()
                    .connect_serving::<Bytes>(&peer, addr, serve)
                    .ok(),
                _ => peer.connect::<Bytes>(addr).ok(),
            })
        }
        _ => {
            let addr = SocketAddr::from(([10, 0, 0, 2], peer.local_addr().port()));
            *lock(&shared.addr) = Some(addr);
            let offer = peer.offers().recv_timeout(Duration::from_secs(4)).ok();
            offer.and_then(|offer| match side.serves {
                Serves::Server => offer.accept_serving::<Bytes>(serve).ok(),
                _ => offer.accept::<Bytes>().ok(),
            })
        }
    };
    if let Some(conn) = conn {
        talk(index, plan, &peer, conn, shared);
    }
    shared.bounded("stop", 4000, || peer.stop());
    drop(peer);
    let left = left::of_this_process(0);
    if !left.is_empty() {
        let who = ["alice", "bob"][index];
        shared.wrong.add(format!("{who}: {left}"));
    }
}

fn talk(index: usize, plan: &Plan, peer: &Peer, conn: Connection<Bytes>, shared: &Arc<Shared>) {
    let side = &plan.sides[index];
    let conn = Arc::new(conn);
    let mut others = Vec::new();
    if let Serves::Loops(count) = side.serves {
        for _ in 0..count {
            let requests = conn.requests();
            let mut servant = Servant::new(index, side.habit, shared);
            others.push(thread::spawn(move || {
                for request in requests {
                    let call = std::panic::AssertUnwindSafe(|| servant.answer(request));
                    let _ = std::panic::catch_unwind(call);
                }
            }));
        }
    }
    let receiving = Arc::clone(&conn);
    others.push(thread::spawn(move || while receiving.recv().is_ok() {}));
    let mut askers = Vec::new();
    for (number, asker) in side.askers.iter().cloned().enumerate() {
        let (plan, conn, shared) = (plan.clone(), Arc::clone(&conn), Arc::clone(shared));
        askers.push(thread::spawn(move || {
            ask(index, number as u32, &asker, &plan, &conn, &shared);
        }));
    }
    let (messages, sending) = (side.messages, Arc::clone(&conn));
    askers.push(thread::spawn(move || {
        for number in 0..messages {
            if sending.send(&number.to_le_bytes()[..]).is_err() {
                return;
            }
        }
    }));
    let close = || {
        let closed = shared.bounded("close", 2000, || conn.close());
        world::note(format_args!("close is {closed:?}"));
    };
    let pause = |time| thread::sleep(Duration::from_millis(time));
    match side.end {
        End::Waits => {}
        End::Closes => {
            askers
                .drain(..)
                .for_each(|asker| asker.join().expect("no panic"));
            close();
        }
        End::ClosesAfter(time) => {
            pause(time);
            close();
        }
        End::AbortsAfter(time) => {
            pause(time);
            shared.bounded("abort", 0, || conn.abort());
        }
        End::StopsAfter(time) => {
            pause(time);
            shared.bounded("stop", 4000, || peer.stop());
        }
    }
    for thread in askers.into_iter().chain(others) {
        thread.join().expect("no panic");
    }
}

struct Servant {
    index: usize,
    habit: Habit,
    shared: Arc<Shared>,
    count: u32,
}

impl Servant {
    fn new(index: usize, habit: Habit, shared: &Arc<Shared>) -> Servant {
        let shared = Arc::clone(shared);
        Servant {
            index,
            habit,
            shared,
            count: 0,
        }
    }

    fn answer(&mut self, request: Request<Bytes>) {
        let item = request.item().clone();
        let number = |at: usize| u32::from_le_bytes(item[at..at + 4].try_into().expect("4 bytes"));
        let own = (number(0), number(4));
        if !lock(&self.shared.served[self.index]).insert(own) {
            self.shared.wrong.add(format!("request {own:?} came twice"));
        }
        self.count += 1;
        if self.habit.slowness > 0 {
            thread::sleep(Duration::from_micros(self.habit.slowness));
        }
        let is_due = |one_in: u32| one_in > 0 && self.count % one_in == 0;
        if is_due(self.habit.panics) {
            std::panic::resume_unwind(Box::new("as planned"));
        }
        if is_due(self.habit.drops) {
            return;
        }
        let mut reply = item;
        reply.reverse();
        let replied = request.reply(&reply);
        if !matches!(replied, Ok(()) | Err(SendError::Closed(_))) {
            self.shared.wrong.add(format!("a reply is {replied:?}"));
        }
    }
}

fn ask(
    index: usize,
    own: u32,
    asker: &Asker,
    plan: &Plan,
    conn: &Connection<Bytes>,
    shared: &Shared,
) {
    let (here, there) = (&plan.sides[index], &plan.sides[1 - index]);
    let timeout = Duration::from_millis(asker.timeout);
    let is_calm = plan.is_calm();
    for number in 0..asker.requests {
        let mut body = vec![number as u8; asker.size];
        body[..4].copy_from_slice(&own.to_le_bytes());
        body[4..8].copy_from_slice(&number.to_le_bytes());
        let begin = world::now();
        let asked = shared.bounded("a request", asker.timeout, || conn.request(&body, timeout));
        let took = world::now() - begin;
        let is_served = lock(&shared.served[1 - index]).contains(&(own, number));
        let is_right = match &asked {
            Ok(reply) => {
                body.reverse();
                is_served && *reply == body
            }
            Err(RequestError::TimedOut | RequestError::Send(SendError::Timeout)) => {
                took + 1000 >= asker.timeout * MILLI
            }
            Err(RequestError::Closed(_) | RequestError::Send(SendError::Closed(_))) => true,
            // Those in its own queue go with the requests that nobody takes any more.
            Err(RequestError::Unanswered) => there.habit.drops > 0 || there.end != End::Waits,
            Err(RequestError::Panicked) => there.habit.panics > 0,
            Err(RequestError::NotServed) => there.serves != Serves::Server && !is_served,
            Err(RequestError::Full) => here.max_requests < 100,
            Err(RequestError::Busy) => {
                there.max_requests < 100 || there.receive_queue_bytes < 1 << 20
            }
            Err(_) => false,
        };
        if !is_right || (is_calm && asked.is_err()) {
            let told = asked.map(|reply| reply.len());
            shared.wrong.add(format!(
                "request {number} of {own} is {told:?} after {} us; served: {is_served}",
                took / MICRO
            ));
        } else if matches!(
            asked,
            Err(RequestError::Closed(_) | RequestError::Send(SendError::Closed(_)))
        ) {
            let again = shared.bounded("a request behind the end", 0, || {
                conn.request(&body, timeout)
            });
            if again.is_ok() {
                shared
                    .wrong
                    .add("a request was answered behind the end".to_owned());
            }
            return;
        }
        if asker.pause > 0 {
            thread::sleep(Duration::from_micros(asker.pause));
        }
    }
}
