//! Whole peers in simulation: the library as it is, on a system whose threads take turns, whose time is a
//! number, and whose network is a few queues. All chance comes from one seed, which replays a run exactly.
//!
//! ```sh
//! cd tests/simulation
//! cargo run --release                      # ten seconds of programs
//! cargo run --release -- --time 600        # as many as there is time for
//! cargo run --release -- --seeds 0..1000   # these
//! LANPEER_SEED=7 cargo run --release       # one of them, twice, with all that happens
//! ```
//!
//! A program that fails is made smaller before it is printed. `seeds.txt` has those that have failed once.

mod plan;
mod program;

use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plan::Plan;
use simulated_system::world::{self, Report};

/// So many threads of the system may be lost, by runs that ended with threads in them, before a new process
/// goes on.
const LOST_MAX: usize = 1500;

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

fn run(seed: u64, plan: &Plan, has_text: bool) -> Report {
    log::set_max_level(match has_text {
        true => log::LevelFilter::Trace,
        false => log::LevelFilter::Off,
    });
    let plan = Arc::new(plan.clone());
    world::run(seed, has_text, move || program::run(&plan))
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
    let mut seeds = 0..u64::MAX;
    let mut time = Duration::from_secs(10);
    let mut is_worker = false;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value");
        match argument.as_str() {
            "--seeds" => {
                let text = value();
                let (from, to) = text.split_once("..").expect("A..B");
                seeds = from.parse().expect("a number")..to.parse().expect("a number");
                time = Duration::from_secs(1 << 30);
            }
            "--time" => time = Duration::from_secs_f64(value().parse().expect("seconds")),
            "--worker" => is_worker = true,
            other => panic!("{other}: see the head of src/main.rs"),
        }
    }
    if let Ok(seed) = std::env::var("LANPEER_SEED") {
        return replay(seed.parse().expect("LANPEER_SEED is a number"));
    }
    match is_worker {
        true => work(seeds, time),
        false => direct(seeds, time),
    }
}

/// Runs one seed twice, and compares.
fn replay(seed: u64) -> ExitCode {
    let plan = Plan::draw(seed);
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

/// Has other processes run the seeds, one after the other: threads that are lost end with their process.
fn direct(mut seeds: std::ops::Range<u64>, time: Duration) -> ExitCode {
    let begin = Instant::now();
    let first = seeds.start;
    let known = SEEDS
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok());
    let mut failed = 0;
    for seed in known {
        let report = run(seed, &Plan::draw(seed), false);
        if let Some(failure) = report.failure {
            println!("seed {seed}, which failed once, fails again: {failure}");
            failed += 1;
        }
    }
    let own = std::env::current_exe().expect("this program");
    while !seeds.is_empty() && begin.elapsed() < time && failed < 10 {
        let left = time.saturating_sub(begin.elapsed());
        let range = format!("{}..{}", seeds.start, seeds.end);
        let left = left.as_secs_f64().to_string();
        let worker = Command::new(&own)
            .args(["--worker", "--seeds", &range, "--time", &left])
            .output()
            .expect("a worker");
        let said = String::from_utf8_lossy(&worker.stdout);
        let (before, last) = said
            .trim_end()
            .rsplit_once('\n')
            .unwrap_or(("", said.trim_end()));
        if !before.is_empty() {
            println!("{before}");
        }
        let mut numbers = last.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(next)), Some(Ok(failures))) = (numbers.next(), numbers.next()) else {
            println!("a worker of {range} ended: {}\n{said}", worker.status);
            println!("{}", String::from_utf8_lossy(&worker.stderr));
            return ExitCode::FAILURE;
        };
        seeds.start = next;
        failed += failures;
    }
    let count = seeds.start - first;
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    println!("{count} programs, {rate:.0} a second, {failed} failed");
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Runs seeds until there are no more, or no time, or too many threads are lost. The last line says where
/// to go on, and how many have failed.
fn work(seeds: std::ops::Range<u64>, time: Duration) -> ExitCode {
    let begin = Instant::now();
    let (mut lost, mut failed) = (0, 0);
    let mut next = seeds.start;
    for seed in seeds {
        if lost > LOST_MAX || failed > 2 || begin.elapsed() >= time {
            break;
        }
        next = seed + 1;
        let plan = Plan::draw(seed);
        let report = run(seed, &plan, false);
        lost += report.lost;
        if report.failure.is_some() {
            failed += 1;
            tell(report, plan);
        }
    }
    println!("{next} {failed}");
    ExitCode::SUCCESS
}

/// Makes a failing program smaller, and prints it with the end of its trace.
fn tell(mut report: Report, mut plan: Plan) {
    let seed = report.seed;
    println!(
        "seed {seed} failed: {}",
        report.failure.as_deref().unwrap_or_default()
    );
    let mut runs = 0;
    'smaller: while runs < SHRINK_MAX {
        for smaller in plan.smaller() {
            runs += 1;
            let again = run(seed, &smaller, false);
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
