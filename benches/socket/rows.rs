//! The rows of the table, and how one is measured.

use crate::measure::{median, processor_time};
use crate::program::{Program, RECEIVERS, What};

pub struct Row {
    /// As on the command line.
    pub name: &'static str,
    pub what: &'static str,
    task: Task,
}

enum Task {
    OneWay(What, usize),
    Broadcast(usize, usize),
    RoundTrip(usize),
}

/// What the limit reached is printed in this unit.
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
        Task::OneWay(What::Bytes(64), 2_000_000),
    ),
    row(
        "4KiB",
        "one-way, 4 KiB",
        Task::OneWay(What::Bytes(4 << 10), 300_000),
    ),
    row(
        "1MiB",
        "one-way, 1 MiB",
        Task::OneWay(What::Bytes(1 << 20), 2_000),
    ),
    row(
        "msgpack",
        "small struct, MessagePack, decoded",
        Task::OneWay(What::MessagePack, 1_000_000),
    ),
    row("json", "the same, JSON", Task::OneWay(What::Json, 500_000)),
    row(
        "broadcast-64B",
        "broadcast to 16, 64 B, delivered",
        Task::Broadcast(64, 60_000),
    ),
    row(
        "broadcast-64KiB",
        "broadcast to 16, 64 KiB",
        Task::Broadcast(64 << 10, 1_500),
    ),
    row(
        "round-trip",
        "round trip, 64 B, p50 (lower is better)",
        Task::RoundTrip(10_000),
    ),
];

const fn row(name: &'static str, what: &'static str, task: Task) -> Row {
    Row { name, what, task }
}

impl Row {
    pub fn unit(&self) -> Unit {
        match self.task {
            Task::OneWay(What::Bytes(size), _) if size > 64 => Unit::Bytes(size),
            Task::OneWay(..) | Task::Broadcast(..) => Unit::Messages,
            Task::RoundTrip(_) => Unit::Seconds,
        }
    }

    /// Runs each program once per round, in turn.
    pub fn measure(&self, programs: &[&dyn Program], rounds: usize) -> Outcome {
        let mut values = vec![Vec::new(); programs.len()];
        let mut processor = vec![0.0; programs.len()];
        for _ in 0..rounds {
            for (i, program) in programs.iter().enumerate() {
                let before = processor_time();
                values[i].extend(self.task.run(*program));
                processor[i] += processor_time() - before;
            }
        }
        let messages = self.task.messages() * rounds as f64;
        let ran = |i: usize| !values[i].is_empty();
        Outcome {
            values: values
                .iter()
                .map(|values| (!values.is_empty()).then(|| median(values)))
                .collect(),
            processor: processor
                .iter()
                .enumerate()
                .map(|(i, seconds)| ran(i).then(|| seconds / messages * 1e6))
                .collect(),
        }
    }
}

impl Task {
    fn messages(&self) -> f64 {
        match *self {
            Task::OneWay(_, count) => count as f64,
            Task::Broadcast(_, count) => (count * RECEIVERS) as f64,
            Task::RoundTrip(count) => (count * 2) as f64,
        }
    }

    fn run(&self, program: &dyn Program) -> Option<f64> {
        let time = match *self {
            Task::OneWay(what, count) => program.one_way(what, count)?,
            Task::Broadcast(size, count) => program.broadcast(size, count)?,
            Task::RoundTrip(count) => return Some(median(&program.round_trip(count)?)),
        };
        Some(self.messages() / time.as_secs_f64())
    }
}
