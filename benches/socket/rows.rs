//! The rows of the table, and how one is measured.

use std::time::Instant;

use crate::measure::{median, processor_time};
use crate::program::{Program, RECEIVERS, What};

pub struct Row {
    /// As on the command line.
    pub name: &'static str,
    pub what: &'static str,
    task: Task,
    /// At most so many messages in one round.
    most: usize,
}

#[derive(Clone, Copy)]
enum Task {
    OneWay(What),
    Broadcast(usize),
    RoundTrip,
    Spinning,
    Connect,
}

/// In what the value of a program is printed.
#[derive(Clone, Copy, PartialEq)]
pub enum Unit {
    /// Messages per second.
    Messages,
    /// Bytes per second; the size of a message.
    Bytes(usize),
    /// Seconds: lower is better.
    Seconds,
}

/// Medians of one row, in the order of the programs.
pub struct Outcome {
    /// Messages per second, or seconds.
    pub values: Vec<Option<f64>>,
    /// Processor seconds per million messages.
    pub processor: Vec<Option<f64>>,
}

pub const ROWS: &[Row] = &[
    row(
        "64B",
        "one-way, 64 B",
        Task::OneWay(What::Bytes(64)),
        2_000_000,
    ),
    row(
        "4KiB",
        "one-way, 4 KiB",
        Task::OneWay(What::Bytes(4 << 10)),
        300_000,
    ),
    row(
        "1MiB",
        "one-way, 1 MiB",
        Task::OneWay(What::Bytes(1 << 20)),
        2_000,
    ),
    row(
        "msgpack",
        "small struct, MessagePack, decoded",
        Task::OneWay(What::MessagePack),
        1_000_000,
    ),
    row("json", "the same, JSON", Task::OneWay(What::Json), 500_000),
    row(
        "broadcast-64B",
        "broadcast to 16, 64 B, delivered",
        Task::Broadcast(64),
        200_000,
    ),
    row(
        "broadcast-64KiB",
        "broadcast to 16, 64 KiB",
        Task::Broadcast(64 << 10),
        1_500,
    ),
    row(
        "round-trip",
        "round trip, 64 B, p50 (lower is better)",
        Task::RoundTrip,
        10_000,
    ),
    row(
        "spinning",
        "the same, spinning asked for",
        Task::Spinning,
        10_000,
    ),
    row(
        "connect",
        "connect + handshake + close (lower is better)",
        Task::Connect,
        300,
    ),
];

const fn row(name: &'static str, what: &'static str, task: Task, most: usize) -> Row {
    Row {
        name,
        what,
        task,
        most,
    }
}

/// About how long one program runs in one round.
const ROUND: f64 = 0.4;

impl Row {
    pub fn unit(&self) -> Unit {
        match self.task {
            Task::OneWay(What::Bytes(size)) if size > 64 => Unit::Bytes(size),
            Task::OneWay(_) | Task::Broadcast(_) => Unit::Messages,
            Task::RoundTrip | Task::Spinning | Task::Connect => Unit::Seconds,
        }
    }

    /// Runs each program once per round, in turn.
    pub fn measure(&self, programs: &[&dyn Program], rounds: usize) -> Outcome {
        let task = self.task;
        let counts: Vec<_> = programs
            .iter()
            .map(|program| self.count(*program))
            .collect();
        let mut values = vec![Vec::new(); programs.len()];
        let mut processor = vec![0.0; programs.len()];
        for _ in 0..rounds {
            for (i, program) in programs.iter().enumerate() {
                let Some(count) = counts[i] else { continue };
                let before = processor_time();
                values[i].extend(task.run(*program, count));
                processor[i] += processor_time() - before;
            }
        }
        let per_million = |i: usize| {
            let messages = task.messages(counts[i]?) * rounds as f64;
            Some(processor[i] / messages * 1e6)
        };
        Outcome {
            values: values
                .iter()
                .map(|values| (!values.is_empty()).then(|| median(values)))
                .collect(),
            processor: (0..programs.len()).map(per_million).collect(),
        }
    }

    /// So many messages that one round takes about [`ROUND`] seconds, found by trying.
    fn count(&self, program: &dyn Program) -> Option<usize> {
        let mut count = 5;
        loop {
            let (begin, before) = (Instant::now(), processor_time());
            self.task.run(program, count)?;
            let time = begin.elapsed().as_secs_f64();
            // On a busy machine most of it is spent waiting for a processor.
            let time = time.min(processor_time() - before + time / 8.0);
            let fits = (count as f64 * ROUND / time) as usize;
            if count == self.most || time > ROUND / 10.0 {
                return Some(fits.clamp(5, self.most));
            }
            count = fits.clamp(count * 2, count * 30).min(self.most);
        }
    }
}

impl Task {
    fn messages(self, count: usize) -> f64 {
        match self {
            Task::OneWay(_) => count as f64,
            Task::Broadcast(_) => (count * RECEIVERS) as f64,
            Task::RoundTrip | Task::Spinning | Task::Connect => (count * 2) as f64,
        }
    }

    fn run(self, program: &dyn Program, count: usize) -> Option<f64> {
        let time = match self {
            Task::OneWay(what) => program.one_way(what, count)?,
            Task::Broadcast(size) => program.broadcast(size, count)?,
            Task::RoundTrip => return Some(median(&program.round_trip(count)?)),
            Task::Spinning => return Some(median(&program.spinning(count)?)),
            Task::Connect => return Some(median(&program.connect(count)?)),
        };
        Some(self.messages(count) / time.as_secs_f64())
    }
}

impl Unit {
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Seconds => format!("{:.1} µs", value * 1e6),
            Unit::Bytes(size) => format!("{:.2} GB/s", value * size as f64 / 1e9),
            Unit::Messages if value >= 1e6 => format!("{:.1} M/s", value / 1e6),
            Unit::Messages => format!("{:.1} k/s", value / 1e3),
        }
    }
}
