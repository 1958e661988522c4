//! The receive queue and the send queue of `src/net`, run under a scheduler that chooses at each lock,
//! each wait and each atomic which thread goes next. So interleavings come about that no test with
//! real threads would meet, and a wait that nobody ends is seen at once.
//!
//! ```sh
//! cargo run --manifest-path tests/schedules/Cargo.toml            # so many schedules of each scenario
//! cargo run --manifest-path tests/schedules/Cargo.toml -- 60      # for so many seconds
//! cargo run --manifest-path tests/schedules/Cargo.toml -- 60 sent # those with this in their names
//! ```
//!
//! Weaker orderings of atomics count as the strongest here: what they allow is not found.
//!
//! A failure prints the seed of its schedule; with that in `SHUTTLE_RANDOM_SEED` it comes first.

// The library uses what these scenarios do not.
#![allow(dead_code)]

use std::time::{Duration, Instant};

use shuttle::scheduler::RandomScheduler;
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

#[path = "../../../src/error.rs"]
mod error;
mod format;
mod neighbour {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PeerId(u64);

    impl std::fmt::Display for PeerId {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{:010x}", self.0)
        }
    }
}
mod net;
mod options {
    pub(crate) struct Settings {
        pub send_queue: usize,
        pub max_message_size: usize,
        pub spin: std::time::Duration,
        pub keepalive: Option<std::time::Duration>,
    }

    #[derive(Clone, Copy)]
    pub(crate) enum StreamSize {
        FromFirst,
        Of(usize),
    }
}
#[path = "../../../src/proto/mod.rs"]
mod proto;
mod secure;

use net::endpoint::noticing;
use net::{asking, lending, receiving, replacing, requesting, sending};

const SCENARIOS: [(&str, fn()); 19] = [
    ("received", receiving::to_the_end),
    ("received, killed", receiving::killed),
    ("received, abandoned", receiving::abandoned),
    ("received, selected", receiving::selected),
    ("lent", lending::to_the_end),
    ("lent, killed", lending::killed),
    ("lent, left alone", lending::left_alone),
    ("lent, abandoned", lending::abandoned),
    ("lent, selected", lending::selected),
    ("asked by one", asking::by_one),
    ("asked by many", asking::by_many),
    ("sent, closed", sending::closed),
    ("sent, killed", sending::killed),
    ("sent in frames", sending::in_frames),
    ("sent without threads", sending::without_threads),
    ("asked, written for all", requesting::written),
    ("replaced on the way out", replacing::sent),
    ("replaced on the way in", replacing::received),
    ("noticed by the watchdog", noticing::dead_remote),
];

/// Schedules of each scenario, where no time is given.
const SCHEDULES: usize = 15_000;

/// So many at a time.
const BATCH: usize = 500;

fn main() {
    let mut args = std::env::args().skip(1);
    let seconds: Option<u64> = args.next().map(|time| time.parse().expect("seconds"));
    let wanted = args.next().unwrap_or_default();
    let chosen = SCENARIOS.iter().filter(|(name, _)| name.contains(&wanted));
    let share = seconds.map(|seconds| Duration::from_secs(seconds) / chosen.clone().count() as u32);
    for (name, scenario) in chosen {
        let (begun, mut done) = (Instant::now(), 0);
        while share.map_or(done < SCHEDULES, |share| begun.elapsed() < share) {
            let mut config = Config::new();
            config.max_steps = MaxSteps::FailAfter(200_000);
            config.silence_warnings = true;
            config.failure_persistence = FailurePersistence::None;
            let runner = Runner::new(RandomScheduler::new(BATCH), config);
            done += runner.run(|| {
                net::os::sync::begin();
                scenario();
            });
        }
        let time = begun.elapsed().as_secs_f64();
        println!("{name}: {done} schedules in {time:.1} s");
    }
}
