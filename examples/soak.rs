//! Peers in several processes that exchange numbered messages for a stated time, while their
//! connections are cut and they themselves are killed; then the count of what became of each.
//!
//!     cargo run --release --example soak                 # 30 seconds
//!     cargo run --release --example soak -- 1800         # half an hour
//!     cargo run --release --example soak -- 30 --seed 7  # the same decisions again, not the same timing
//!
//! Six processes, all copies of this one, find each other through discovery on loopback and talk
//! with all others, in many short connections at once. The first lives all the time. Of the others
//! one is killed (`kill -9`) or stopped every second or so, and started anew. Connections end by
//! `close`, by `abort`, by dropping the handle, and every third goes through a relay that resets it
//! after a random number of bytes: in the handshake, inside a message, anywhere.
//!
//! Each message carries its connection, its number and a checksum. Each process writes down in a
//! file what it has sent and received, so that this is known of killed ones too. At the end the two
//! sides of each connection are held against each other: see `soak/verdict.rs` for what is demanded.
//! The exit code says whether it held.

#[path = "../tests/common/dice.rs"]
mod dice;
#[path = "soak/ledger.rs"]
mod ledger;
#[path = "soak/message.rs"]
mod message;
#[path = "soak/relay.rs"]
mod relay;
#[path = "soak/supervisor.rs"]
mod supervisor;
#[path = "soak/usage.rs"]
mod usage;
#[path = "soak/verdict.rs"]
mod verdict;
#[path = "soak/worker.rs"]
mod worker;

use std::process::ExitCode;
use std::time::Duration;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const USAGE: &str = "usage: soak [SECONDS] [--seed N]";

fn main() -> ExitCode {
    env_logger::init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.first().map(String::as_str) {
        Some("--worker") => worker::run(&args[1..]).map(|()| true),
        _ => parse(&args).and_then(|(time, seed)| supervisor::run(time, seed)),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: &[String]) -> Outcome<(Duration, u64)> {
    let (mut seconds, mut seed) = (30, u64::from(std::process::id()));
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match &**arg {
            "--seed" => seed = args.next().ok_or(USAGE)?.parse().map_err(|_| USAGE)?,
            number => seconds = number.parse().map_err(|_| USAGE)?,
        }
    }
    Ok((Duration::from_secs(seconds), seed))
}
