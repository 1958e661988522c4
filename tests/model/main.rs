//! Random programs against a model.
//!
//! A seed makes a program: two to six peers, and threads that connect, accept, deny, send and
//! receive in every way there is, flush, close, abort, drop and stop. It is run on loopback, and
//! what each call returned, what arrived, and which events came must be what the model permits
//! (`check.rs`). How threads interleave is different in each run.
//!
//! ```sh
//! LANPEER_SEED=123 cargo test --test model               # one program, fifty times
//! LANPEER_SEEDS=10000 cargo test --release --test model  # seeds 0 to 9,999
//! ```

mod check;
#[path = "../common/dice.rs"]
mod dice;
mod ends;
mod handshakes;
mod history;
mod os;
mod plan;
mod run;
mod traffic;
mod word;

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use history::lock;
use plan::Program;

/// Without further wishes: so many programs, or as many as fit in the time; with `LANPEER_CI` set,
/// as in `.ci/run`, in the longer one.
const SEEDS: u64 = 400;
const TIME: Duration = Duration::from_secs(3);
const TIME_IN_CI: Duration = Duration::from_secs(8);

/// Programs at one time: most of their threads wait.
const AT_ONCE: u64 = 6;

/// After so many programs everything must have been given back.
const ROUND: u64 = 48;

#[test]
fn random_programs_do_what_the_model_permits() {
    let wish = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse().expect(name))
    };
    quiet_panics();
    let start = Instant::now();
    let mut ran = 0;
    if let Some(seed) = wish("LANPEER_SEED") {
        println!("{}", Program::from_seed(seed));
        for _ in 0..50 {
            ran += round(&[seed]);
        }
    } else {
        let first = wish("LANPEER_FIRST").unwrap_or(0);
        let (count, time) = match wish("LANPEER_SEEDS") {
            Some(count) => (count, Duration::MAX),
            None if std::env::var_os("LANPEER_CI").is_some() => (SEEDS, TIME_IN_CI),
            None => (SEEDS, TIME),
        };
        let seeds: Vec<u64> = (first..first + count).collect();
        for seeds in seeds.chunks(ROUND as usize) {
            ran += round(seeds);
            if start.elapsed() > time {
                break;
            }
        }
    }
    println!("{ran} programs in {:?}", start.elapsed());
}

/// Runs some programs, several at a time; afterwards no thread and no file may be left.
fn round(seeds: &[u64]) -> u64 {
    let before = open_files();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if let Err(failure) = run_one(*seed) {
                        lock(&failures).push(failure);
                    }
                }
            });
        }
    });
    let failures = lock(&failures);
    if let Some(first) = failures.first() {
        let count = failures.len();
        panic!(
            "{first}\n{count} of {} programs failed, this is one",
            seeds.len()
        );
    }
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let (threads, files) = (lanpeer_threads(), open_files());
        if threads.is_empty() && files == before {
            return seeds.len() as u64;
        }
        let what = format!("{threads:?}, {before} files before and {files} now");
        assert!(
            Instant::now() < end,
            "after seeds {seeds:?} are left: {what}"
        );
        thread::sleep(Duration::from_millis(2));
    }
}

fn run_one(seed: u64) -> Result<(), String> {
    let (stage, result) = run::run(Program::from_seed(seed));
    let wrong = match result {
        Ok(()) => check::check(&stage),
        Err(hangs) => vec![hangs],
    };
    if wrong.is_empty() {
        return Ok(());
    }
    let history = history::print(&lock(&stage.diaries));
    let (program, wrong) = (&stage.program, wrong.join("\n"));
    Err(format!(
        "{program}\n{history}\nseed {seed} (LANPEER_SEED={seed}):\n{wrong}"
    ))
}

/// Handlers panic as planned; the library tells of it by the connection's end.
fn quiet_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref() != Some(&"as planned") {
            usual(info);
        }
    }));
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn lanpeer_threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.starts_with("lanpeer"))
        .collect()
}
