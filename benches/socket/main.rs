//! lanpeer beside a bare socket, in one run.
//!
//!     cargo bench --bench socket                         # everything
//!     cargo bench --bench socket -- 64B broadcast        # rows whose names begin so
//!     cargo bench --bench socket -- --rounds 3
//!
//! The limit is the best simple blocking program that we know over a bare `TcpStream`, with headers
//! of the same size. Both ends run in this process. Rounds are interleaved, and medians are printed,
//! as ratios to the limit of the same run. It prints figures and asserts nothing.

mod limit;
mod measure;
mod peers;
mod program;
mod rows;

use program::Program;
use rows::{ROWS, Unit};

fn main() {
    let mut rounds = 5;
    let mut wanted = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--rounds" => {
                rounds = args
                    .next()
                    .and_then(|n| n.parse().ok())
                    .expect("a number of rounds")
            }
            "--bench" => {} // says cargo
            _ => wanted.push(arg),
        }
    }
    let programs: [&dyn Program; 3] = [&limit::Limit, &peers::Handler, &peers::Recv];
    let names = programs.map(|program| format!("{:>10}", program.name()));
    println!("{:<42}{}   processor s per million", "", names.concat());
    for row in ROWS {
        if !wanted.is_empty() && !wanted.iter().any(|name| row.name.starts_with(name)) {
            continue;
        }
        let outcome = row.measure(&programs, rounds);
        let limit = outcome.values[0].expect("the limit does all");
        print!("{:<42}{:>10}", row.what, absolute(limit, row.unit()));
        for value in &outcome.values[1..] {
            print!(
                "{:>10}",
                value.map_or(String::new(), |value| format!("{:.2}", value / limit))
            );
        }
        let processor: Vec<_> = outcome
            .processor
            .iter()
            .flatten()
            .map(|s| format!("{s:.2}"))
            .collect();
        println!("   {}", processor.join("  "));
    }
}

fn absolute(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds => format!("{:.1} µs", value * 1e6),
        Unit::Bytes(size) => format!("{:.2} GB/s", value * size as f64 / 1e9),
        Unit::Messages if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
        Unit::Messages => format!("{:.1} k/s", value / 1e3),
    }
}
