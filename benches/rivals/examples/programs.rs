//! Three small programs as a user writes them, with lanpeer and with the crate zmq: how many lines they
//! take, and what they do on loopback.
//!
//!     cargo run --release --example programs
//!
//! A lab: four sensors send readings, a collector tells all of them when to stop; how old is a reading
//! when it is there? A work queue: three workers get one job at a time, until all is done. A screen: five
//! viewers, of which one takes 200 ms for a picture of 1 MB, thirty times a second; how old is what that
//! one sees? Both sides are threads of one process, each with sockets of its own.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lanpeer::crossbeam_channel::unbounded;
use lanpeer::{Bytes, ConnectOptions, Json, Peer, Raw, RecvTimeoutError};
use serde::{Deserialize, Serialize};
use zmq::{Context, SocketType};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Serialize, Deserialize)]
struct Reading {
    value: f64,
    at: u64,
}

#[derive(Serialize, Deserialize)]
struct Stop;

#[derive(Serialize, Deserialize)]
struct Job(u64);

const SENSORS: usize = 4;
const EVERY: Duration = Duration::from_millis(2);
const READINGS: usize = 2_000;
const WORKERS: usize = 3;
const JOBS: u64 = 20_000;
const PICTURE: usize = 1_000_000;
const PICTURES: u32 = 150;
const VIEWERS: usize = 5;

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_nanos() as u64
}

fn since(at: u64) -> f64 {
    now().saturating_sub(at) as f64 / 1e6
}

fn work(Job(number): &Job) -> u64 {
    number * number
}

/// What is in a picture: when it was made.
fn paint(picture: &mut [u8]) {
    picture[..8].copy_from_slice(&now().to_le_bytes());
}

fn age(picture: &[u8]) -> f64 {
    since(u64::from_le_bytes(
        picture[..8].try_into().expect("8 bytes"),
    ))
}

/// So long the viewer of this number takes for a picture.
fn pause(viewer: usize) -> Duration {
    Duration::from_millis(if viewer == 0 { 200 } else { 0 })
}

// begin: lab, lanpeer
fn sensor_lanpeer(collector: SocketAddr) -> Result<()> {
    let peer = Peer::bind("127.0.0.1:0")?;
    let conn = peer.connect::<Raw<Reading, Stop>>(collector)?;
    loop {
        conn.send(&Reading {
            value: 21.0,
            at: now(),
        })?;
        match conn.recv_timeout(EVERY) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return Ok(()),
        }
    }
}

fn lab_lanpeer() -> Result<Vec<f64>> {
    let peer = Peer::bind("127.0.0.1:0")?;
    let (addr, mut offers) = (peer.local_addr(), peer.incoming());
    let sensors: Vec<_> = (0..SENSORS)
        .map(|_| thread::spawn(move || sensor_lanpeer(addr)))
        .collect();
    let (ages, all) = unbounded();
    for offer in offers.by_ref().take(SENSORS) {
        let ages = ages.clone();
        let _ = offer.accept_with::<Raw<Stop, Reading>>(move |_, reading| {
            let _ = ages.send(since(reading.at));
        })?;
    }
    let ages = all.iter().take(READINGS).collect();
    peer.broadcast::<Raw<Stop, Reading>>(&Stop)?;
    for sensor in sensors {
        sensor.join().expect("a sensor panicked")?;
    }
    Ok(ages)
}
// end

// begin: lab, zmq
fn sensor_zmq(readings: &str, commands: &str) -> Result<()> {
    let context = Context::new();
    let (push, sub) = (
        context.socket(SocketType::PUSH)?,
        context.socket(SocketType::SUB)?,
    );
    push.connect(readings)?;
    sub.connect(commands)?;
    sub.set_subscribe(b"")?;
    sub.set_rcvtimeo(EVERY.as_millis() as i32)?;
    loop {
        push.send(
            rmp_serde::to_vec(&Reading {
                value: 21.0,
                at: now(),
            })?,
            0,
        )?;
        match sub.recv_bytes(0) {
            Err(zmq::Error::EAGAIN) => {}
            _ => return Ok(()),
        }
    }
}

fn lab_zmq() -> Result<Vec<f64>> {
    let context = Context::new();
    let (pull, commands) = (
        context.socket(SocketType::PULL)?,
        context.socket(SocketType::PUB)?,
    );
    pull.bind("tcp://127.0.0.1:*")?;
    commands.bind("tcp://127.0.0.1:*")?;
    let addrs = [&pull, &commands].map(|socket| socket.get_last_endpoint());
    let [readings, told] = addrs.map(|addr| addr.expect("bound").expect("text"));
    let sensor = |_| {
        let (readings, told) = (readings.clone(), told.clone());
        thread::spawn(move || sensor_zmq(&readings, &told))
    };
    let sensors: Vec<_> = (0..SENSORS).map(sensor).collect();
    let mut ages = Vec::new();
    while ages.len() < READINGS {
        let reading: Reading = rmp_serde::from_slice(&pull.recv_bytes(0)?)?;
        ages.push(since(reading.at));
    }
    commands.send("stop", 0)?;
    for sensor in sensors {
        sensor.join().expect("a sensor panicked")?;
    }
    Ok(ages)
}
// end

// begin: work queue, lanpeer
fn worker_lanpeer(queue: SocketAddr) -> Result<()> {
    let peer = Peer::bind("127.0.0.1:0")?;
    let conn = peer.connect::<Json<u64, Job>>(queue)?;
    for request in conn.requests() {
        request.reply(&work(request.item()))?;
    }
    Ok(())
}

fn queue_lanpeer() -> Result<u64> {
    let queue = Peer::bind("127.0.0.1:0")?;
    let addr = queue.local_addr();
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| thread::spawn(move || worker_lanpeer(addr)))
        .collect();
    let (next, sum) = (AtomicU64::new(0), AtomicU64::new(0));
    let serve = || -> Result<()> {
        let conn = queue.accept::<Json<Job, u64>>()?;
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if job >= JOBS {
                return Ok(conn.close()?);
            }
            // An error: the worker has gone, and the job is for another.
            let answer = conn.request(&Job(job), Duration::from_secs(5))?;
            sum.fetch_add(answer, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..WORKERS).map(|_| scope.spawn(serve)).collect();
        all.into_iter()
            .try_for_each(|one| one.join().expect("a thread panicked"))
    })?;
    for worker in workers {
        worker.join().expect("a worker panicked")?;
    }
    Ok(sum.into_inner())
}
// end

// begin: work queue, zmq
fn worker_zmq(queue: &str) -> Result<()> {
    let socket = Context::new().socket(SocketType::REQ)?;
    socket.connect(queue)?;
    socket.send("", 0)?;
    loop {
        let job = socket.recv_bytes(0)?;
        if job.is_empty() {
            return Ok(());
        }
        let job: Job = serde_json::from_slice(&job)?;
        socket.send(serde_json::to_vec(&work(&job))?, 0)?;
    }
}

fn queue_zmq() -> Result<u64> {
    let queue = Context::new().socket(SocketType::REP)?;
    queue.bind("tcp://127.0.0.1:*")?;
    let addr = queue.get_last_endpoint()?.expect("text");
    let worker = |_| {
        let addr = addr.clone();
        thread::spawn(move || worker_zmq(&addr))
    };
    let workers: Vec<_> = (0..WORKERS).map(worker).collect();
    let (mut next, mut gone, mut sum) = (0, 0, 0);
    // A worker that goes takes its job along, and nobody learns of it.
    while gone < WORKERS {
        let answer = queue.recv_bytes(0)?;
        if !answer.is_empty() {
            sum += serde_json::from_slice::<u64>(&answer)?;
        }
        if next < JOBS {
            queue.send(serde_json::to_vec(&Job(next))?, 0)?;
            next += 1;
        } else {
            queue.send("", 0)?;
            gone += 1;
        }
    }
    for worker in workers {
        worker.join().expect("a worker panicked")?;
    }
    Ok(sum)
}
// end

// begin: screen, lanpeer
fn viewer_lanpeer(screen: SocketAddr, pause: Duration) -> Result<Vec<f64>> {
    let peer = Peer::bind("127.0.0.1:0")?;
    let conn = ConnectOptions::new()
        .latest()
        .connect::<Bytes>(&peer, screen)?;
    let mut ages = Vec::new();
    for picture in &conn {
        ages.push(age(&picture));
        thread::sleep(pause);
    }
    Ok(ages)
}

fn screen_lanpeer() -> Result<Vec<f64>> {
    let screen = Peer::bind("127.0.0.1:0")?;
    let addr = screen.local_addr();
    let viewers: Vec<_> = (0..VIEWERS)
        .map(|i| thread::spawn(move || viewer_lanpeer(addr, pause(i))))
        .collect();
    let conns = (0..VIEWERS)
        .map(|_| screen.accept::<Bytes>())
        .collect::<lanpeer::Result<Vec<_>>>()?;
    let mut picture = vec![0; PICTURE];
    for _ in 0..PICTURES {
        paint(&mut picture);
        for conn in &conns {
            conn.send_latest(&picture)?;
        }
        thread::sleep(Duration::from_millis(33));
    }
    screen.stop();
    let mut ages = viewers
        .into_iter()
        .map(|viewer| viewer.join().expect("a viewer panicked"));
    ages.next().expect("the slow one")
}
// end

// begin: screen, zmq
fn viewer_zmq(screen: &str, pause: Duration) -> Result<Vec<f64>> {
    let sub = Context::new().socket(SocketType::SUB)?;
    sub.set_conflate(true)?;
    sub.set_subscribe(b"")?;
    sub.set_rcvtimeo(1000)?; // nothing says that the screen has gone
    sub.connect(screen)?;
    let mut ages = Vec::new();
    while let Ok(picture) = sub.recv_bytes(0) {
        ages.push(age(&picture));
        thread::sleep(pause);
    }
    Ok(ages)
}

fn screen_zmq() -> Result<Vec<f64>> {
    let screen = Context::new().socket(SocketType::PUB)?;
    screen.set_sndhwm(1)?;
    screen.bind("tcp://127.0.0.1:*")?;
    let addr = screen.get_last_endpoint()?.expect("text");
    let viewer = |i| {
        let addr = addr.clone();
        thread::spawn(move || viewer_zmq(&addr, pause(i)))
    };
    let viewers: Vec<_> = (0..VIEWERS).map(viewer).collect();
    let mut picture = vec![0; PICTURE];
    for _ in 0..PICTURES {
        paint(&mut picture);
        screen.send(&picture, 0)?; // before there is a viewer, it is lost
        thread::sleep(Duration::from_millis(33));
    }
    drop(screen);
    let mut ages = viewers
        .into_iter()
        .map(|viewer| viewer.join().expect("a viewer panicked"));
    ages.next().expect("the slow one")
}
// end

/// Lines of code between the marks, as `rustfmt` leaves them.
fn lines(program: &str) -> usize {
    let source = include_str!("programs.rs").lines();
    let begin = format!("// begin: {program}");
    let lines = source.skip_while(|line| *line != begin).skip(1);
    let lines = lines.take_while(|line| *line != "// end");
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    lines.filter(is_code).count()
}

fn ages(mut ages: Vec<f64>) -> String {
    ages.sort_by(f64::total_cmp);
    let at = |part: usize| ages[(ages.len() * part / 100).min(ages.len() - 1)];
    let (middle, late, worst) = (at(50), at(99), at(100));
    format!("age: median {middle:.2} ms, 99th {late:.2} ms, worst {worst:.2} ms")
}

fn rate(work: fn() -> Result<u64>) -> Result<String> {
    let begin = now();
    assert_eq!(
        work()?,
        (0..JOBS).map(|number| number * number).sum::<u64>()
    );
    Ok(format!("{:.0} jobs/s", JOBS as f64 / (since(begin) / 1e3)))
}

fn main() -> Result<()> {
    for _ in 0..3 {
        let figures = [
            ("lab, lanpeer", ages(lab_lanpeer()?)),
            ("lab, zmq", ages(lab_zmq()?)),
            ("work queue, lanpeer", rate(queue_lanpeer)?),
            ("work queue, zmq", rate(queue_zmq)?),
            ("screen, lanpeer", ages(screen_lanpeer()?)),
            ("screen, zmq", ages(screen_zmq()?)),
        ];
        for (program, figure) in figures {
            println!("{program:<20} {:>3} lines  {figure}", lines(program));
        }
        println!();
    }
    Ok(())
}
