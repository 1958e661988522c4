//! A program: two peers on two hosts, one connection, numbered messages both ways. And what must hold of
//! what came of it.

mod brief;
mod events;
pub mod plan;

use std::cell::RefCell;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanpeer::{Bytes, CloseError, CloseReason, ConnectOptions, Connection, Error, Peer, SendError};
use simulated_system::channel;
use simulated_system::net;
use simulated_system::sync::thread;
use simulated_system::world::{self, MICRO, MILLI, SECOND, Time};

use crate::common::{awaited, lock};
use crate::left;
use plan::{Act, Answer, End, How, Plan, Sender, Side, Takes, What};

/// What a call may take beyond its bound: threads stall, and locks are waited for.
const SLACK: Time = SECOND;

/// Messages of this size are written by the thread that sends them, part by part.
const LARGE: usize = 64 << 10;

/// What has become of one side, for the referee.
#[derive(Debug, Default)]
struct History {
    /// How many messages each thread has begun to send, and for how many of them `send` was Ok.
    sent: Vec<(u32, u32)>,
    /// What was received: thread and number.
    received: Vec<(u32, u32)>,
    /// The receiving ended by itself, before this side did anything to end the connection.
    is_drained: bool,
    is_connected: bool,
    has_begun_end: bool,
    close: Option<Result<(), CloseError>>,
    /// Of a close in its handler.
    inner_close: Option<Result<(), CloseError>>,
    /// Its setting, in milliseconds.
    close_timeout: u64,
    reason: Option<CloseReason>,
    /// When its close began, and when the last message was sent that was accepted.
    close_begun: Time,
    last_sent: Time,
    /// Its last handle was dropped by then, while the connection was open.
    dropped: Option<Time>,
    /// Its events are listened to.
    has_listener: bool,
    /// What the event of its end says.
    told: Option<CloseReason>,
    is_over: bool,
    wrong: Vec<String>,
}

/// What the two sides share: not through the simulated system, which knows nothing of it. So nobody may hold
/// one of these locks in a call of the library or of the system.
#[derive(Default)]
struct Shared {
    addr: Mutex<Option<SocketAddr>>,
    sides: [Mutex<History>; 2],
}

/// Runs the plan; a panic says what was wrong.
pub fn run(plan: &Plan) {
    let shared = Arc::<Shared>::default();
    let hosts = [
        net::add_host("alice", Ipv4Addr::new(10, 0, 0, 1)),
        net::add_host("bob", Ipv4Addr::new(10, 0, 0, 2)),
    ];
    for (host, _) in hosts.iter().zip(plan.tableless).filter(|(_, hides)| *hides) {
        net::hide_table(*host);
    }
    let begin = world::now();
    let processes = [0, 1].map(|index| {
        let plan = plan.clone();
        {
            let mut side = lock(&shared.sides[index]);
            side.close_timeout = plan.sides[index].close_timeout;
            side.has_listener = plan.is_brief;
        }
        let shared = Arc::clone(&shared);
        let name = ["alice", "bob"][index];
        world::spawn_process(name, hosts[index], move || {
            play(index, &plan, &shared);
        })
    });
    let mut killed = [false; 2];
    let mut heal_at = None;
    for fault in &plan.faults {
        let at = begin + fault.at * MICRO;
        if heal_at.is_some_and(|heal| heal <= at) {
            heal(&mut heal_at, hosts);
        }
        wait_until(at);
        match fault.what {
            What::Cut(time) if heal_at.is_none() => {
                net::cut(hosts[0], hosts[1]);
                heal_at = Some(at + time * MILLI);
            }
            What::Cut(_) => {}
            What::Kill(side) => {
                killed[side] |= !lock(&shared.sides[side]).is_over;
                world::kill(processes[side].0);
            }
            What::PowerOff(side) => {
                killed[side] |= !lock(&shared.sides[side]).is_over;
                net::power_off(hosts[side]);
            }
        }
    }
    if heal_at.is_some() {
        heal(&mut heal_at, hosts);
    }
    for (_, main) in processes {
        world::join(main);
    }
    let sides = [lock(&shared.sides[0]), lock(&shared.sides[1])];
    let mut wrongs = String::new();
    for (index, side) in sides.iter().enumerate() {
        for wrong in &side.wrong {
            let _ = writeln!(wrongs, "{}: {wrong}", name(index));
        }
    }
    for from in 0..2 {
        check(
            plan,
            from,
            &sides[from],
            &sides[1 - from],
            killed,
            &mut wrongs,
        );
    }
    assert!(
        wrongs.is_empty(),
        "\n{wrongs}{:#?}\n{:#?}",
        *sides[0],
        *sides[1]
    );
}

fn wait_until(at: Time) {
    let left = at.saturating_sub(world::now());
    if left > 0 {
        world::sleep(Duration::from_nanos(left));
    }
}

fn heal(at: &mut Option<Time>, hosts: [usize; 2]) {
    if let Some(at) = at.take() {
        wait_until(at);
        net::heal(hosts[0], hosts[1]);
    }
}

fn name(index: usize) -> &'static str {
    ["alice", "bob"][index]
}

fn wrong(shared: &Shared, index: usize, what: String) {
    lock(&shared.sides[index]).wrong.push(what);
}

/// Calls something that must be over in time.
fn bounded<T>(shared: &Shared, index: usize, what: &str, most: u64, call: impl FnOnce() -> T) -> T {
    let begin = world::now();
    let result = call();
    let took = world::now() - begin;
    if took > most * MILLI + SLACK {
        wrong(
            shared,
            index,
            format!("{what} took {} ms, and may take {most}", took / MILLI),
        );
    }
    result
}

const CONNECT_TIMEOUT: u64 = 2000;

fn play(index: usize, plan: &Plan, shared: &Arc<Shared>) {
    let side = &plan.sides[index];
    let peer = Peer::builder()
        .text_headers(plan.text)
        .invisible(true)
        .send_queue(side.send_queue)
        .receive_queue(side.receive_queue)
        .receive_queue_bytes(side.receive_queue_bytes)
        .spin(Duration::from_micros(side.spin))
        .max_connections(match side.end {
            _ if plan.is_brief => 1,
            End::AbortsAfter(_) => 1,
            _ => 1024,
        })
        .timeout(Duration::from_millis(CONNECT_TIMEOUT))
        .close_timeout(Duration::from_millis(side.close_timeout))
        .bind("0.0.0.0:0")
        .expect("a peer");
    let listener = plan
        .is_brief
        .then(|| events::listen(index, &peer, Arc::clone(shared)));
    let conn = match index {
        0 => {
            let addr = awaited(&shared.addr);
            let most = CONNECT_TIMEOUT;
            addr.and_then(|addr| {
                let asked = bounded(shared, index, "connect", most, || match side.takes {
                    Takes::Handler(act) => peer.connect_with(addr, handler(index, act, shared)),
                    _ => peer.connect::<Bytes>(addr),
                });
                if let Err(error) = &asked {
                    check_denial(index, plan, error, shared);
                }
                asked.ok()
            })
        }
        _ => {
            let addr = SocketAddr::from(([10, 0, 0, 2], peer.local_addr().port()));
            *lock(&shared.addr) = Some(addr);
            let time = Duration::from_millis(4000);
            let offers = peer.offers();
            let offer = match plan.answer {
                Answer::Never => {
                    thread::sleep(time);
                    None
                }
                _ => bounded(shared, index, "an offer", 4000, || {
                    offers.recv_timeout(time)
                })
                .ok(),
            };
            offer.and_then(|offer| match plan.answer {
                Answer::Denies => {
                    let _ = offer.deny("not-now");
                    None
                }
                Answer::Drops | Answer::Never => None,
                Answer::Accepts | Answer::AcceptsAfter(_) => {
                    if let Answer::AcceptsAfter(time) = plan.answer {
                        thread::sleep(Duration::from_millis(time));
                    }
                    bounded(shared, index, "accept", 2000, || match side.takes {
                        Takes::Handler(act) => offer.accept_with(handler(index, act, shared)),
                        _ => offer.accept::<Bytes>(),
                    })
                    .ok()
                }
            })
        }
    };
    if let Some(conn) = conn {
        lock(&shared.sides[index]).is_connected = true;
        world::note(format_args!("{}: connected", name(index)));
        talk(index, side, &peer, conn, shared);
        if side.lingers > 0 {
            thread::sleep(Duration::from_millis(side.lingers));
        }
    }
    let most = side.close_timeout + 2000;
    bounded(shared, index, "stop", most, || peer.stop());
    drop(peer);
    // The events end when nothing of the peer is left that could tell any.
    listener.map(thread::JoinHandle::join);
    lock(&shared.sides[index]).is_over = true;
    // What a handler does may take longer.
    let own = match side.takes {
        Takes::Handler(Some((_, Act::Sleep(time) | Act::Dawdle(time)))) => 2 * time,
        _ => 0,
    };
    let left = left::of_this_process(own);
    if !left.is_empty() {
        wrong(shared, index, left);
    }
}

/// Behind an abort the place of the connection is free: there is no other. Nobody accepts this one.
fn check_place(index: usize, peer: &Peer, shared: &Shared) {
    let addr = *lock(&shared.addr);
    if let (0, Some(addr)) = (index, addr) {
        let options = ConnectOptions::new().timeout(Duration::from_millis(5));
        let again = options.connect::<Bytes>(peer, addr);
        if matches!(again, Err(Error::TooManyConnections { .. })) {
            let what = "its place is not free behind an abort";
            wrong(shared, index, what.to_owned());
        }
    }
}

/// What the library may say to one who asks.
fn check_denial(index: usize, plan: &Plan, error: &Error, shared: &Shared) {
    let Error::Denied { reason, .. } = error else {
        return;
    };
    let word = match plan.answer {
        Answer::Denies => "not-now",
        Answer::Drops => "dropped",
        // It stops when nothing has come in time.
        _ => "stopped",
    };
    // A header without padding ends with a silence: so does one that a fault has cut.
    let may_be_cut = plan
        .faults
        .iter()
        .any(|fault| matches!(fault.what, What::Cut(_) | What::PowerOff(1)));
    let is_right = match reason.as_deref() {
        Some(said) if may_be_cut => word.starts_with(said),
        None => may_be_cut,
        Some(said) => said == word,
    };
    if !is_right {
        wrong(shared, index, format!("connect is {error}"));
    }
}

struct Dawdler(u64);

impl Drop for Dawdler {
    fn drop(&mut self) {
        world::sleep(Duration::from_millis(self.0));
    }
}

simulated_system::sync::thread_local! {
    static DAWDLER: RefCell<Option<Dawdler>> = RefCell::new(None);
}

fn handler(
    index: usize,
    act: Option<(u32, Act)>,
    shared: &Arc<Shared>,
) -> impl FnMut(&Connection<Bytes>, Vec<u8>) + Send + 'static + use<> {
    let shared = Arc::clone(shared);
    let mut count = 0;
    move |conn, item| {
        take(index, &item, &shared);
        count += 1;
        let Some((_, act)) = act.filter(|(number, _)| *number == count) else {
            return;
        };
        match act {
            Act::Close => {
                lock(&shared.sides[index]).has_begun_end = true;
                let begin = world::now();
                let closed = conn.close();
                let took = world::now() - begin;
                world::note(format_args!(
                    "{}: close in the handler is {closed:?}",
                    name(index)
                ));
                let mut side = lock(&shared.sides[index]);
                let most = side.close_timeout * MILLI;
                if took > most + SLACK || (closed == Err(CloseError::Timeout) && took < most) {
                    side.wrong.push(format!(
                        "close in a handler is {closed:?} after {} of {} ms",
                        took / MILLI,
                        most / MILLI
                    ));
                }
                side.inner_close = Some(closed);
            }
            Act::Abort => {
                lock(&shared.sides[index]).has_begun_end = true;
                bounded(&shared, index, "abort", 0, || conn.abort());
            }
            Act::Receive => {
                let received = bounded(&shared, index, "recv in a handler", 0, || conn.recv());
                if received.is_ok() {
                    wrong(&shared, index, "recv in a handler is Ok".to_owned());
                }
            }
            Act::ReceiveByChannel => {
                let received = bounded(&shared, index, "recv in a handler", 0, || {
                    conn.receiver().recv()
                });
                if received.is_ok() {
                    wrong(&shared, index, "recv in a handler is Ok".to_owned());
                }
            }
            Act::Sleep(time) => world::sleep(Duration::from_millis(time)),
            Act::Dawdle(time) => DAWDLER.set(Some(Dawdler(time))),
        }
    }
}

fn talk(index: usize, side: &Side, peer: &Peer, conn: Connection<Bytes>, shared: &Arc<Shared>) {
    lock(&shared.sides[index]).sent = vec![(0, 0); side.senders.len()];
    let conn = Arc::new(conn);
    let senders: Vec<_> = side
        .senders
        .iter()
        .cloned()
        .enumerate()
        .map(|(number, sender)| {
            let (conn, shared) = (Arc::clone(&conn), Arc::clone(shared));
            let (is_alone, limit) = (side.senders.len() == 1, side.send_queue);
            let flushes = side.flushes;
            let builder = thread::Builder::new().name(format!("{}-s{number}", name(index)));
            builder
                .spawn(move || {
                    let own = (&sender, is_alone, limit, flushes);
                    send(index, number, own, &conn, &shared);
                })
                .expect("a thread")
        })
        .collect();
    let most = match side.end {
        End::Drops(most) => Some(most),
        _ => side.takes_only,
    };
    let receiver = {
        let (conn, shared) = (Arc::clone(&conn), Arc::clone(shared));
        let (slowness, takes) = (side.slowness, side.takes);
        let builder = thread::Builder::new().name(format!("{}-r", name(index)));
        builder
            .spawn(move || match takes {
                Takes::Handler(_) => wait_for_the_end(index, &conn, &shared),
                _ => receive(index, (most, slowness, takes), &conn, &shared),
            })
            .expect("a thread")
    };
    let close_most = side.close_timeout;
    let begin_end = || lock(&shared.sides[index]).has_begun_end = true;
    let close = || {
        begin_end();
        let begin = world::now();
        lock(&shared.sides[index]).close_begun = begin;
        let closed = bounded(shared, index, "close", close_most, || conn.close());
        // Some drop it at once.
        if closed == Err(CloseError::Timeout) && side.takes_only.is_none() {
            // It goes on closing for a while, but not for ever.
            let own = close_most.max(1000);
            let most = match side.takes {
                Takes::Handler(_) => close_most,
                _ => close_most + own,
            };
            let until = begin + most * MILLI + SLACK;
            while conn.close_reason().is_none() && world::now() < until {
                thread::sleep(Duration::from_millis(10));
            }
            if conn.close_reason().is_none() {
                let what = format!("open {most} ms after a close that timed out");
                wrong(shared, index, what);
            }
        }
        world::note(format_args!("{}: close is {closed:?}", name(index)));
        lock(&shared.sides[index]).close = Some(closed);
    };
    let join = |threads: Vec<thread::JoinHandle<()>>| {
        for thread in threads {
            thread.join().expect("no panic");
        }
    };
    let pause = |time| thread::sleep(Duration::from_millis(time));
    // A wait for nothing is a step as well, and programs are to stay what they were.
    let jitter = || {
        if side.jitter > 0 {
            thread::sleep(Duration::from_micros(side.jitter));
        }
    };
    match side.end {
        End::Waits => {
            join(vec![receiver]);
            jitter();
            close();
            join(senders);
        }
        End::Closes => {
            join(senders);
            jitter();
            close();
            join(vec![receiver]);
        }
        End::ClosesAfter(time) => {
            pause(time);
            jitter();
            close();
            join(senders);
            join(vec![receiver]);
        }
        End::AbortsAfter(time) => {
            pause(time);
            jitter();
            begin_end();
            let (told, heard) = channel::bounded(1);
            conn.on_end(move |_| _ = told.send(()));
            bounded(shared, index, "abort", 0, || conn.abort());
            if !lock(&shared.sides[index]).has_listener {
                check_place(index, peer, shared);
            }
            // Its reader has let go, though this program holds it still.
            let is_busy = matches!(
                side.takes,
                Takes::Handler(Some((_, Act::Sleep(_) | Act::Dawdle(_))))
            );
            let limit = Duration::from_nanos(SLACK);
            if heard.recv_timeout(limit).is_err() && !is_busy {
                wrong(shared, index, "an abort is not over".to_owned());
            }
            join(senders);
            join(vec![receiver]);
        }
        End::StopsAfter(time) => {
            pause(time);
            jitter();
            begin_end();
            bounded(shared, index, "stop", close_most + 2000, || peer.stop());
            join(senders);
            join(vec![receiver]);
        }
        End::Stops => {
            join(senders);
            jitter();
            begin_end();
            bounded(shared, index, "stop", close_most + 2000, || peer.stop());
            join(vec![receiver]);
        }
        End::Drops(_) => {
            join(senders);
            join(vec![receiver]);
            jitter();
            begin_end();
        }
    }
    let reason = conn.close_reason();
    let is_open = reason.is_none();
    {
        let mut own = lock(&shared.sides[index]);
        // What was told at the end of the messages is kept.
        own.reason = own.reason.take().or(reason);
    }
    // The last handle, but for one in a handler.
    drop(conn);
    let is_handled = matches!(side.takes, Takes::Handler(_));
    if is_open && !is_handled {
        lock(&shared.sides[index]).dropped = Some(world::now());
    }
}

fn send(
    index: usize,
    number: usize,
    (sender, is_alone, limit, flushes): (&Sender, bool, usize, bool),
    conn: &Connection<Bytes>,
    shared: &Shared,
) {
    let mut body = vec![0; sender.size];
    for message in 0..sender.messages {
        if sender.pause > 0 {
            thread::sleep(Duration::from_micros(sender.pause));
        }
        body[..4].copy_from_slice(&(number as u32).to_le_bytes());
        body[4..8].copy_from_slice(&message.to_le_bytes());
        lock(&shared.sides[index]).sent[number].0 += 1;
        let sent = loop {
            // Nobody else fills the queue meanwhile.
            let has_room = is_alone && conn.stats().send_queue_bytes + sender.size + 128 <= limit;
            let sent = match sender.how {
                How::Send => conn.send(&body[..]),
                How::Latest => bounded(shared, index, "send_latest", 0, || {
                    conn.send_latest(&body[..])
                }),
                How::Timeout(time) => bounded(shared, index, "send_timeout", time, || {
                    conn.send_timeout(&body[..], Duration::from_millis(time))
                }),
                How::Try => bounded(shared, index, "try_send", 0, || conn.try_send(&body[..])),
            };
            match sent {
                Err(error @ (SendError::Full | SendError::Timeout)) => {
                    if has_room {
                        let what = format!("a send is {error}, and the queue has room");
                        return wrong(shared, index, what);
                    }
                    thread::sleep(Duration::from_millis(1))
                }
                sent => break sent,
            }
        };
        match sent {
            Ok(()) => {
                let now = world::now();
                let mut side = lock(&shared.sides[index]);
                side.sent[number].1 += 1;
                side.last_sent = now;
            }
            Err(SendError::Closed(_)) => return,
            Err(error) => return wrong(shared, index, format!("a send is {error}")),
        }
        if flushes {
            match conn.flush() {
                Ok(()) => {}
                Err(SendError::Closed(_)) => {
                    if conn.try_send(&body[..]).is_ok() {
                        let what = "a send is Ok behind a flush that has told of the end";
                        wrong(shared, index, what.to_owned());
                    }
                    return;
                }
                Err(error) => return wrong(shared, index, format!("a flush is {error}")),
            }
        }
    }
}

/// A message was received.
fn take(index: usize, item: &[u8], shared: &Shared) {
    let number = |at: usize| u32::from_le_bytes(item[at..at + 4].try_into().expect("4 bytes"));
    lock(&shared.sides[index])
        .received
        .push((number(0), number(4)));
}

/// The messages have ended.
fn note_end(index: usize, reason: Option<CloseReason>, shared: &Shared) {
    let mut side = lock(&shared.sides[index]);
    side.is_drained = !side.has_begun_end;
    if side.is_drained {
        side.reason.clone_from(&reason);
    }
    drop(side);
    world::note(format_args!("{}: the end is {reason:?}", name(index)));
}

/// Until the handler of this connection is called no more.
fn wait_for_the_end(index: usize, conn: &Connection<Bytes>, shared: &Arc<Shared>) {
    let (told, heard) = channel::bounded(1);
    let own = Arc::clone(shared);
    conn.on_end(move |reason| {
        note_end(index, Some(reason), &own);
        let _ = told.send(());
    });
    let _ = heard.recv();
}

fn receive(
    index: usize,
    (most, slowness, takes): (Option<u32>, u64, Takes),
    conn: &Connection<Bytes>,
    shared: &Shared,
) {
    let mut count = 0;
    while most.is_none_or(|most| count < most) {
        let item = match takes {
            Takes::Channel => conn.receiver().recv(),
            _ => conn.recv(),
        };
        let Ok(item) = item else {
            let reason = conn.close_reason();
            if reason.is_none() {
                wrong(
                    shared,
                    index,
                    "its messages ended without a reason".to_owned(),
                );
            }
            return note_end(index, reason, shared);
        };
        count += 1;
        take(index, &item, shared);
        if slowness > 0 {
            thread::sleep(Duration::from_millis(slowness));
        }
    }
}

/// Each reason has a cause. What one side has heard of the end is looked at; the other is the sender.
fn check_reasons(
    plan: &Plan,
    from: usize,
    sender: &History,
    receiver: &History,
    wrongs: &mut String,
) {
    let to = 1 - from;
    let closed = match &receiver.close {
        Some(Err(CloseError::Incomplete(reason))) => Some(reason),
        _ => None,
    };
    let heard = [closed, receiver.told.as_ref(), receiver.reason.as_ref()];
    let has_heard = |reason: &CloseReason| heard.contains(&Some(reason));
    let closed_well = [&sender.close, &sender.inner_close].contains(&&Some(Ok(())));
    if closed_well && has_heard(&CloseReason::Truncated) {
        let (from, to) = (name(from), name(to));
        let _ = writeln!(
            wrongs,
            "{from} was told of no loss: its close is Ok, and {to} got half a message"
        );
    }
    // Nothing of it was accepted, and yet a part of it was on its way.
    let begun = plan.sides[from].senders.iter().zip(&sender.sent);
    let mut begun = begun.filter(|(own, (begun, sent))| own.size >= LARGE && begun > sent);
    let has_given_up = receiver.told == Some(CloseReason::TimedOut);
    let is_calm = plan.faults.is_empty();
    if plan.is_brief && is_calm && closed_well && has_given_up && begun.next().is_some() {
        let (from, to) = (name(from), name(to));
        let _ = writeln!(
            wrongs,
            "{from}'s close is Ok, and {to} has given up in the middle of a message"
        );
    }
    if !is_calm || plan.text {
        return;
    }
    if has_heard(&CloseReason::Vanished) {
        let (from, to) = (name(from), name(to));
        let _ = writeln!(wrongs, "{to} says that {from} has vanished, who has not");
    }
    // One that merely closes tells who has let go nothing of a reset.
    let closes = matches!(
        plan.sides[from].end,
        End::Waits | End::Closes | End::ClosesAfter(_)
    );
    let is_late = matches!(sender.close, Some(Err(CloseError::Timeout)));
    let acts = matches!(plan.sides[from].takes, Takes::Handler(Some(_)));
    let has_let_go = matches!(plan.sides[to].end, End::Drops(_));
    if has_let_go && closes && !is_late && !acts && receiver.told == Some(CloseReason::Reset) {
        let (from, to) = (name(from), name(to));
        let _ = writeln!(
            wrongs,
            "{to} has let go, and hears that {from} has reset it"
        );
    }
}

/// What one side has sent, and what of it the other has received.
fn check(
    plan: &Plan,
    from: usize,
    sender: &History,
    receiver: &History,
    killed: [bool; 2],
    wrongs: &mut String,
) {
    let to = 1 - from;
    let mut next = vec![0; sender.sent.len()];
    let is_latest = |thread: u32| {
        let senders = &plan.sides[from].senders;
        senders
            .get(thread as usize)
            .is_some_and(|one| one.how == How::Latest)
    };
    for &(thread, number) in &receiver.received {
        match next.get_mut(thread as usize) {
            Some(next) if *next == number => *next += 1,
            // Those between were replaced.
            Some(next) if *next < number && is_latest(thread) => *next = number + 1,
            Some(next) => {
                let due = *next;
                let (from, to) = (name(from), name(to));
                let _ = writeln!(
                    wrongs,
                    "{to} received {number} of {from}'s {thread} for {due}"
                );
                *next = number + 1;
            }
            None => _ = writeln!(wrongs, "{} received from thread {thread}", name(to)),
        }
    }
    let mut is_whole = true;
    for (thread, (&received, &(begun, sent))) in next.iter().zip(&sender.sent).enumerate() {
        // A thread that was killed may have been in the middle of a call.
        let most = if killed[from] { begun } else { sent };
        if received > most {
            let (from, to) = (name(from), name(to));
            let _ = writeln!(
                wrongs,
                "{to} received {received} of {from}'s {thread}, of {most}"
            );
        }
        is_whole &= received >= sent;
    }
    // Nobody is dead who is merely slow, or has nothing to say. An end that has begun may take too long.
    let is_open = |side: &History| !side.has_begun_end && side.dropped.is_none();
    if plan.faults.is_empty()
        && receiver.reason == Some(CloseReason::TimedOut)
        && is_open(sender)
        && is_open(receiver)
    {
        let _ = writeln!(wrongs, "{} took the other for dead", name(to));
    }
    check_reasons(plan, from, sender, receiver, wrongs);
    let told = format!("{} was told of no loss", name(from));
    let closed_well = [&sender.close, &sender.inner_close].contains(&&Some(Ok(())));
    if closed_well && receiver.is_drained && !killed[to] && !is_whole {
        let _ = writeln!(wrongs, "{told}: its close is Ok, and not all was taken in");
    }
    // Nothing is taken in any more for a program that has let go, and left some of it. In text its own
    // close, which has timed out, makes an exception for what crosses the drop.
    if let (Some(at), Some(Ok(()))) = (receiver.dropped, &sender.close) {
        let is_excepted =
            plan.text && receiver.close.is_some() && sender.last_sent < at + 100 * MILLI;
        // What a close in its handler was told may be of the time before.
        let is_excepted = is_excepted || sender.inner_close.is_some();
        if sender.close_begun > at && !killed[to] && !is_whole && !is_excepted {
            let _ = writeln!(wrongs, "{told}: its close is Ok, and the other had let go");
        }
    }
    if !receiver.is_drained {
        return;
    }
    let reason = receiver.reason.clone();
    if reason == Some(CloseReason::ClosedThere) {
        // The text protocol has no word for it.
        let is_excepted = plan.text && killed[from];
        if !is_whole && !is_excepted {
            let _ = writeln!(
                wrongs,
                "{} was told of no loss: a normal end, and not all came",
                name(to)
            );
        }
        if killed[from] && !sender.has_begun_end && !plan.text {
            let _ = writeln!(
                wrongs,
                "{} saw a normal end of a process that was killed",
                name(to)
            );
        }
        let aborted = matches!(plan.sides[from].end, End::AbortsAfter(_));
        let aborted = aborted && sender.inner_close.is_none();
        if aborted && !plan.text && sender.reason == Some(CloseReason::Aborted) {
            let _ = writeln!(wrongs, "{} saw a normal end of what was aborted", name(to));
        }
    }
    if matches!(reason, Some(CloseReason::ClosedHere | CloseReason::Stopped)) {
        let _ = writeln!(
            wrongs,
            "{} did not end it, and its reason is {reason:?}",
            name(to)
        );
    }
    if reason.is_none() {
        let _ = writeln!(wrongs, "{} received the end, and has no reason", name(to));
    }
}
