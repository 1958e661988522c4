//! Measures what is asked for, and prints tables as they grow.

use std::marker::PhantomData;
use std::time::Duration;

use crate::measure::{median, percentile};
use crate::program::Program;
use crate::rows::ROWS;
use crate::{idle, latest, limit, link, load, many, peers, requests};

/// Lines of tables in Markdown, and the ratios for a plot.
#[derive(Default)]
pub struct Report {
    pub rows: Vec<String>,
    /// What, and of each program how much of the limit it reached: more is better.
    pub ratios: Vec<(&'static str, Vec<Option<f64>>)>,
    pub load: Vec<String>,
    pub many: Vec<String>,
}

pub struct Asked {
    rounds: usize,
    names: Vec<String>,
    /// Arguments that begin with `--`.
    pub flags: Vec<String>,
}

impl Asked {
    /// From the command line. `None`: this is a child process, and its work is done.
    pub fn from_args(programs: &[&dyn Program]) -> Option<Asked> {
        let args: Vec<String> = std::env::args().skip(1).collect();
        match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [idle::ARG, name] => {
                idle::end(named(programs, name));
                return None;
            }
            [link::RECEIVE, name, size, count] => {
                let (size, count) = (number(size), number(count));
                link::receive(named(programs, name), size, count);
                return None;
            }
            [link::SEND, name, addr, size, count] => {
                let addr = addr.parse().expect("an address");
                named(programs, name).link_send(addr, number(size), number(count));
                return None;
            }
            [latest::CAMERA, way] => {
                latest::film(way);
                return None;
            }
            [latest::VIEWER, way, addr, pause] => {
                let pause = Duration::from_millis(number(pause) as u64);
                latest::view(way, addr.parse().expect("an address"), pause);
                return None;
            }
            [many::ARG, name, count] => {
                many::run(name, count.parse().expect("a number"));
                return None;
            }
            _ => {}
        }
        let mut asked = Asked {
            rounds: 5,
            names: Vec::new(),
            flags: Vec::new(),
        };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            if arg == "--rounds" {
                let rounds = args.next().and_then(|n| n.parse().ok());
                asked.rounds = rounds.filter(|n| *n > 0).expect("a number of rounds");
            } else if arg.starts_with("--") {
                asked.flags.push(arg);
            } else {
                asked.names.push(arg);
            }
        }
        Some(asked)
    }

    fn for_(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|begin| name.starts_with(begin))
    }

    /// The first of the programs is the limit.
    pub fn measure(&self, programs: &[&dyn Program]) -> Report {
        let mut report = Report::default();
        self.table(programs, &mut report);
        if self.for_("load") {
            self.load(&mut report.load);
        }
        if self.for_("many") {
            self.many(&mut report.many);
        }
        if self.for_("requests") {
            self.requests();
        }
        if self.for_("latest") {
            self.latest();
        }
        report
    }

    fn table(&self, programs: &[&dyn Program], report: &mut Report) {
        let names = programs.iter().map(|program| program.name().to_owned());
        begin(&mut report.rows, names, "");
        let mut processor = None;
        for row in ROWS.iter().filter(|row| self.for_(row.name)) {
            let outcome = row.measure(programs, self.rounds);
            let unit = row.unit();
            let limit = outcome.values[0].expect("the limit does all");
            let ratios = outcome.values[1..]
                .iter()
                .map(|value| value.map(|value| value / limit));
            let cells = ratios
                .clone()
                .map(|ratio| ratio.map_or(String::new(), ratio_text));
            add(
                &mut report.rows,
                row.what,
                [unit.show(limit)].into_iter().chain(cells),
            );
            let lower = unit == crate::rows::Unit::Seconds;
            let better = ratios.map(|ratio| ratio.map(|r| if lower { 1.0 / r } else { r }));
            report.ratios.push((row.what, better.collect()));
            if row.name == "64B" {
                processor = Some(outcome.processor);
            }
        }
        if let Some(processor) = processor {
            let cells = processor
                .iter()
                .map(|seconds| seconds.map_or(String::new(), |s| format!("{s:.2} s")));
            add(
                &mut report.rows,
                "processor time per million of 64 B",
                cells,
            );
        }
        if self.for_("link") {
            self.link(programs, report);
        }
        if self.for_("idle") {
            let idle: Vec<_> = programs
                .iter()
                .map(|program| idle::measure(*program))
                .collect();
            let mut add = |what, text: fn(&idle::Idle) -> String| {
                let cells = idle
                    .iter()
                    .map(|idle| idle.as_ref().map_or(String::new(), text));
                add(&mut report.rows, what, cells);
            };
            add("memory per idle connection, one end", |idle| {
                format!("{:.1} KiB", idle.kib)
            });
            add("threads per idle connection, one end", |idle| {
                format!("{:.2}", idle.threads)
            });
            add("processor time of 510 idle, per second", |idle| {
                format!("{:.2} s", idle.processor)
            });
        }
    }

    /// Messages per second on a link of 1 Gbit/s.
    fn link(&self, programs: &[&dyn Program], report: &mut Report) {
        let Some(rows) = link::measure(programs, self.rounds) else {
            return println!("no link of 1 Gbit/s: it needs root, `ip` and `tc`");
        };
        for (values, (_, what)) in rows.into_iter().zip(link::ROWS) {
            let limit = values[0].expect("the limit does all");
            let ratios: Vec<_> = values[1..]
                .iter()
                .map(|value| value.map(|value| value / limit))
                .collect();
            let cells = ratios
                .iter()
                .map(|ratio| ratio.map_or(String::new(), ratio_text))
                .collect::<Vec<_>>();
            let first = crate::rows::Unit::Messages.show(limit);
            add(&mut report.rows, what, [first].into_iter().chain(cells));
            report.ratios.push((what, ratios));
        }
    }

    fn load(&self, lines: &mut Vec<String>) {
        println!();
        let columns = [
            "p50",
            "p99",
            "p99.9",
            "`send`: p50",
            "p99",
            "p99.9",
            "the others",
        ];
        begin(lines, columns.map(String::from).into_iter(), "");
        let programs: [fn() -> load::Load; 3] = [
            load::limit,
            || load::lanpeer(peers::By::Handler),
            || load::lanpeer(peers::By::Recv),
        ];
        let mut runs = programs.map(|_| Vec::new());
        for _ in 0..self.rounds.min(3) {
            for (i, run) in programs.iter().enumerate() {
                runs[i].push(run());
            }
        }
        for (name, runs) in ["limit", "handler", "recv"].into_iter().zip(&runs) {
            let middle =
                |of: &dyn Fn(&load::Load) -> f64| median(&runs.iter().map(of).collect::<Vec<_>>());
            let mut cells = Vec::new();
            let both: [fn(&load::Load) -> &Vec<f64>; 2] =
                [|load| &load.round_trips, |load| &load.sends];
            for times in both {
                for part in [0.5, 0.99, 0.999] {
                    cells.push(time_text(middle(&|load| percentile(times(load), part))));
                }
            }
            cells.push(format!("{:.2} GB/s", middle(&|load| load.others) / 1e9));
            add(lines, name, cells.into_iter());
        }
    }

    /// Ratios to the first, which is that of messages.
    fn requests(&self) {
        println!();
        let mut lines = Vec::new();
        let columns = [
            "round trip, p50",
            "to messages",
            "16 threads",
            "to messages",
        ];
        begin(&mut lines, columns.map(String::from).into_iter(), "");
        let mut runs = requests::ALL.map(|_| (Vec::new(), Vec::new()));
        for _ in 0..self.rounds {
            for ((_, by), (trips, speeds)) in requests::ALL.iter().zip(&mut runs) {
                trips.push(median(&requests::round_trips(*by, 20_000)));
                speeds.push(requests::many(*by, 2_000));
            }
        }
        let medians = runs.map(|(trips, speeds)| (median(&trips), median(&speeds)));
        for ((name, _), (trip, speed)) in requests::ALL.iter().zip(medians) {
            let (first_trip, first_speed) = medians[0];
            let cells = [
                time_text(trip),
                ratio_text(trip / first_trip),
                format!("{:.0} /s", speed),
                ratio_text(speed / first_speed),
            ];
            add(&mut lines, name, cells.into_iter());
        }
    }

    /// How old pictures are when they are taken.
    fn latest(&self) {
        println!();
        let columns = [
            "seen", "age: p50", "p99", "worst", "the slow", "p50", "p99", "worst", "a call",
        ];
        begin(&mut Vec::new(), columns.map(String::from).into_iter(), "");
        for (place_name, place) in latest::PLACES {
            let Some(place) = place() else {
                println!("no {place_name}: it needs root, `ip` and `tc`");
                continue;
            };
            for (way, name) in latest::WAYS {
                let (fast, slow, longest) = latest::measure(&place, way);
                let mut cells = Vec::new();
                for seen in [&fast, &slow] {
                    cells.push(format!("{} of {}", seen.ages.len(), seen.filmed));
                    cells.extend([0.5, 0.99, 1.0].map(|part| time_text(seen.age(part))));
                }
                cells.push(time_text(longest));
                let row = format!("{place_name}: {name}");
                add(&mut Vec::new(), &row, cells.into_iter());
            }
        }
    }

    fn many(&self, lines: &mut Vec<String>) {
        println!();
        let names = ["limit", "handler", "recv"];
        let columns = ["", ", peak memory", ", threads"]
            .iter()
            .flat_map(|what| names.map(|name| format!("{name}{what}")));
        begin(lines, columns, "connections");
        for count in many::COUNTS {
            let mut runs = names.map(|_| Vec::new());
            for _ in 0..self.rounds.min(3) {
                for (i, name) in names.iter().enumerate() {
                    runs[i].push(many::measure(name, count));
                }
            }
            let medians = |of: fn(&many::Many) -> f64| {
                let middle =
                    |runs: &Vec<many::Many>| median(&runs.iter().map(of).collect::<Vec<_>>());
                runs.iter().map(middle).collect::<Vec<_>>()
            };
            let speed = medians(|run| run.speed / 1e9)
                .into_iter()
                .map(|s| format!("{s:.2} GB/s"));
            let memory = medians(|run| run.peak_mib)
                .into_iter()
                .map(|m| format!("{m:.0} MiB"));
            let threads = medians(|run| run.threads as f64)
                .into_iter()
                .map(|t| format!("{t:.0}"));
            add(
                lines,
                &count.to_string(),
                speed.chain(memory).chain(threads),
            );
        }
    }
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

fn named<'a>(programs: &[&'a dyn Program], name: &str) -> &'a dyn Program {
    let program = programs.iter().find(|program| program.name() == name);
    *program.expect("a program")
}

fn begin(lines: &mut Vec<String>, columns: impl Iterator<Item = String>, first: &str) {
    let columns: Vec<_> = columns.collect();
    let rule = columns.iter().map(|_| String::from("---:"));
    add(lines, first, columns.iter().cloned());
    add(lines, "---", rule);
}

fn add(lines: &mut Vec<String>, first: &str, cells: impl Iterator<Item = String>) {
    let mut line = format!("| {first:<45} |");
    for cell in cells {
        line += &format!(" {cell:>12} |");
    }
    println!("{line}");
    lines.push(line);
}

fn ratio_text(ratio: f64) -> String {
    match ratio {
        10.0.. => format!("{ratio:.0}"),
        0.0095.. => format!("{ratio:.2}"),
        _ => format!("{ratio:.3}"),
    }
}

fn time_text(seconds: f64) -> String {
    match seconds {
        1e-3.. => format!("{:.1} ms", seconds * 1e3),
        1e-4.. => format!("{:.0} µs", seconds * 1e6),
        _ => format!("{:.1} µs", seconds * 1e6),
    }
}

/// The limit, with heads of 4 bytes and of 128, and lanpeer's two ways.
pub fn own() -> [&'static dyn Program; 5] {
    [
        &limit::Limit::<limit::Lean>(PhantomData),
        &limit::Limit::<limit::Owned>(PhantomData),
        &limit::Limit::<limit::Text>(PhantomData),
        &peers::By::Handler,
        &peers::By::Recv,
    ]
}
