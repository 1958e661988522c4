//! Whole peers in simulation: the library as it is, on a system whose threads take turns, whose time is a
//! number, and whose network is a few queues. All chance comes from one seed, which replays a run exactly.
//!
//! ```sh
//! cd tests/simulation
//! cargo run --release                      # ten seconds of programs
//! cargo run --release -- --time 600        # as many as there is time for
//! cargo run --release -- --seeds 0..1000   # these
//! cargo run --release -- --only model      # those of one family: src/scenario.rs has them
//! cargo run --release -- --first           # until one fails, which is not made smaller
//! cargo run --release -- --jobs 1          # on one processor; else on all
//! LANPEER_SEED=7 cargo run --release       # one of them, twice, with all that happens
//! ```
//!
//! A program that fails is made smaller before it is printed. `seeds.txt` has those that have failed once.

mod asks;
mod common;
mod crowd;
mod exits;
mod hostile;
mod lan;
mod left;
mod liar;
mod memory;
mod model;
mod pair;
mod peerpy;
mod scenario;
mod servers;

use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use scenario::Scenario;
use simulated_system::world::{self, Report};

/// So many threads of the system may be lost, by runs that ended with threads in them, before a new process
/// goes on.
const LOST_MAX: usize = 1500;

/// So many seeds are given to a process.
const PORTION: u64 = 500;

/// A failing program is made smaller in at most so many runs.
const SHRINK_MAX: usize = 300;

/// The seeds of programs that failed once.
const SEEDS: &str = include_str!("../seeds.txt");

struct Log;

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        world::note(format_args!("{} {}", record.level(), record.args()));
    }

    fn flush(&self) {}
}

/// What is asked for.
struct Wishes {
    seeds: std::ops::Range<u64>,
    time: Duration,
    /// Programs of this family alone.
    only: Option<&'static str>,
    /// Until one has failed, which is not made smaller.
    first: bool,
    /// So many processes at one time.
    jobs: usize,
}

fn run(seed: u64, plan: &Scenario, has_text: bool) -> Report {
    log::set_max_level(match has_text {
        true => log::LevelFilter::Trace,
        false => log::LevelFilter::Off,
    });
    let plan = Arc::new(plan.clone());
    world::run(seed, has_text, move || plan.run())
}

fn main() -> ExitCode {
    log::set_logger(&Log).expect("the only logger");
    // What panics in a run is told with the run.
    std::panic::set_hook(Box::new(|info| {
        world::note(format_args!("panic: {info}"));
        if !world::is_inside() {
            eprintln!("{info}");
        }
    }));
    let mut arguments = std::env::args().skip(1);
    let mut wishes = Wishes {
        seeds: 0..u64::MAX,
        time: Duration::from_secs(10),
        only: None,
        first: false,
        jobs: std::thread::available_parallelism().map_or(1, |count| count.get()),
    };
    let mut is_worker = false;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value");
        match argument.as_str() {
            "--seeds" => {
                let text = value();
                let (from, to) = text.split_once("..").expect("A..B");
                wishes.seeds = from.parse().expect("a number")..to.parse().expect("a number");
                wishes.time = Duration::from_secs(1 << 30);
            }
            "--time" => {
                wishes.time = Duration::from_secs_f64(value().parse().expect("seconds"));
            }
            "--only" => {
                let family = value();
                let known = Scenario::FAMILIES.iter().find(|own| **own == family);
                wishes.only = Some(*known.expect("a family of programs: see src/scenario.rs"));
            }
            "--first" => wishes.first = true,
            "--jobs" => wishes.jobs = value().parse().expect("a number"),
            "--worker" => is_worker = true,
            other => panic!("{other}: see the head of src/main.rs"),
        }
    }
    if let Ok(seed) = std::env::var("LANPEER_SEED") {
        return replay(seed.parse().expect("LANPEER_SEED is a number"));
    }
    match is_worker {
        true => work(&wishes),
        false => direct(&wishes),
    }
}

/// Runs one seed twice, and compares.
fn replay(seed: u64) -> ExitCode {
    let plan = Scenario::draw(seed);
    let [one, other] = [(); 2].map(|()| run(seed, &plan, true));
    print!("{}", one.text.as_deref().unwrap_or_default());
    println!("seed {seed}\n{plan}");
    println!(
        "{} steps, {:?}, trace {:016x}",
        one.steps, one.time, one.hash
    );
    if one.text != other.text || one.hash != other.hash {
        println!("the second run differs: trace {:016x}", other.hash);
        return ExitCode::FAILURE;
    }
    println!("the second run is the same");
    if let Some(failure) = one.failure {
        println!("failed: {failure}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Runs the seeds that failed once, and then has other processes run the others, one at a time for each
/// processor: threads that are lost end with their process.
fn direct(wishes: &Wishes) -> ExitCode {
    let begin = Instant::now();
    let known = SEEDS
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .filter(|_| !wishes.first);
    let (mut again, mut count) = (0, 0);
    for seed in known {
        count += 1;
        if let Some(failure) = run(seed, &Scenario::draw(seed), false).failure {
            println!("seed {seed}, which failed once, fails again: {failure}");
            again += 1;
        }
    }
    let totals = Totals {
        next: wishes.seeds.start.into(),
        failed: again.into(),
        count: count.into(),
        is_broken: false.into(),
    };
    std::thread::scope(|scope| {
        for core in 0..wishes.jobs {
            let totals = &totals;
            scope.spawn(move || have_run(wishes, begin, core, totals));
        }
    });
    let (failed, count) = (totals.failed.into_inner(), totals.count.into_inner());
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    println!("{count} programs, {rate:.0} a second, {failed} failed");
    match failed == 0 && !totals.is_broken.into_inner() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// What all of them have come to.
struct Totals {
    next: AtomicU64,
    failed: AtomicU64,
    count: AtomicU64,
    is_broken: AtomicBool,
}

/// Has processes run seeds on one processor, until there are none, or no time, or enough has failed.
fn have_run(wishes: &Wishes, begin: Instant, core: usize, totals: &Totals) {
    let own = std::env::current_exe().expect("this program");
    let most = if wishes.first { 1 } else { 10 };
    let is_pinned = Command::new("taskset").arg("--version").output().is_ok();
    loop {
        let mut from = totals.next.fetch_add(PORTION, Ordering::SeqCst);
        let to = wishes.seeds.end.min(from.saturating_add(PORTION));
        while from < to {
            let left = wishes.time.saturating_sub(begin.elapsed());
            if left.is_zero() || totals.failed.load(Ordering::SeqCst) >= most {
                return;
            }
            let mut command = match is_pinned {
                true => Command::new("taskset"),
                false => Command::new(&own),
            };
            if is_pinned {
                command.args(["--cpu-list", &core.to_string()]).arg(&own);
            }
            let (range, left) = (format!("{from}..{to}"), left.as_secs_f64().to_string());
            command.args(["--worker", "--seeds", &range, "--time", &left]);
            command.args(wishes.first.then_some("--first"));
            command.args(wishes.only.iter().flat_map(|only| ["--only", only]));
            let worker = command.output().expect("a worker");
            let said = String::from_utf8_lossy(&worker.stdout);
            let said = said.trim_end();
            let (before, last) = said.rsplit_once('\n').unwrap_or(("", said));
            if !before.is_empty() {
                println!("{before}");
            }
            let mut numbers = last.split_whitespace().map(str::parse::<u64>);
            let mut number = || numbers.next().and_then(Result::ok);
            let (Some(next), Some(failed), Some(count)) = (number(), number(), number()) else {
                println!("a worker of {range} ended: {}\n{said}", worker.status);
                println!("{}", String::from_utf8_lossy(&worker.stderr));
                totals.is_broken.store(true, Ordering::SeqCst);
                return;
            };
            from = next;
            totals.failed.fetch_add(failed, Ordering::SeqCst);
            totals.count.fetch_add(count, Ordering::SeqCst);
        }
        if to == wishes.seeds.end {
            return;
        }
    }
}

/// Runs seeds until there are no more, or no time, or too many threads are lost. The last line says where
/// to go on, how many have failed, and how many were run.
fn work(wishes: &Wishes) -> ExitCode {
    let begin = Instant::now();
    let (mut lost, mut failed, mut ran) = (0, 0, 0);
    let most = if wishes.first { 0 } else { 2 };
    let mut next = wishes.seeds.start;
    for seed in wishes.seeds.clone() {
        if lost > LOST_MAX || failed > most || begin.elapsed() >= wishes.time {
            break;
        }
        next = seed + 1;
        if wishes
            .only
            .is_some_and(|only| only != Scenario::family(seed))
        {
            continue;
        }
        ran += 1;
        let scenario = Scenario::draw(seed);
        let report = memory::watch(scenario.encodes(), || run(seed, &scenario, false));
        lost += report.lost;
        if let Some(failure) = &report.failure {
            failed += 1;
            match wishes.first {
                true => println!("seed {seed} failed: {}", essence(failure)),
                false => tell(report, scenario),
            }
        }
    }
    println!("{next} {failed} {ran}");
    ExitCode::SUCCESS
}

/// The line of a failure that says what was wrong, among those that say what happened.
fn essence(failure: &str) -> &str {
    let says = |line: &&str| {
        let said = line
            .split_once("panicked: ")
            .map_or(*line, |(_, said)| said);
        said.starts_with(|first: char| first.is_alphanumeric())
    };
    failure.lines().find(says).unwrap_or(failure.trim())
}

/// Makes a failing program smaller, and prints it with the end of its trace.
fn tell(mut report: Report, mut plan: Scenario) {
    let seed = report.seed;
    println!(
        "seed {seed} failed: {}",
        report.failure.as_deref().unwrap_or_default()
    );
    let mut runs = 0;
    'smaller: while runs < SHRINK_MAX {
        for smaller in plan.smaller() {
            runs += 1;
            let again = memory::watch(smaller.encodes(), || run(seed, &smaller, false));
            if again.failure.is_some() {
                (report, plan) = (again, smaller);
                continue 'smaller;
            }
            if runs >= SHRINK_MAX {
                break;
            }
        }
        break;
    }
    let failure = report.failure.unwrap_or_default();
    println!("smaller, after {runs} runs:\n{plan}{failure}");
    let text = run(seed, &plan, true).text.unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    println!("the end of what happened:");
    for line in &lines[lines.len().saturating_sub(80)..] {
        println!("{line}");
    }
}
