//! The random programs of `tests/model`, and what they are checked against: here with each peer on a host
//! of its own.

#[path = "../../../model/check/mod.rs"]
mod check;
#[path = "../../../common/dice.rs"]
mod dice;
#[path = "../../../model/ends.rs"]
mod ends;
#[path = "../../../model/handshakes.rs"]
mod handshakes;
#[path = "../../../model/history.rs"]
mod history;
mod os;
#[path = "../../../model/plan/mod.rs"]
mod plan;
#[path = "../../../model/run.rs"]
mod run;
mod smaller;
#[path = "../../../model/traffic.rs"]
mod traffic;
#[path = "../../../model/word.rs"]
mod word;

use std::time::Duration;

use simulated_system::{net, world};

pub use plan::Program;

/// After all peers are stopped, their threads and sockets are gone at the latest when so much time has
/// passed.
const GONE: Duration = Duration::from_secs(20);

/// Runs the program; a panic says what was wrong.
pub fn run(program: &Program) {
    let (stage, result) = run::run(program.clone());
    if let Err(hangs) = result {
        panic!("{hangs}");
    }
    let wrong = check::check(&stage);
    if !wrong.is_empty() {
        let history = history::print(&history::lock(&stage.diaries));
        panic!("{history}\n{}", wrong.join("\n"));
    }
    for process in stage.place.processes() {
        let left = || {
            let threads = world::with(|inner, _| inner.threads_of(process));
            (threads, net::open_sockets(process))
        };
        let end = world::now() + world::nanos(GONE);
        while left() != (Vec::new(), 0) {
            assert!(
                world::now() < end,
                "left after all was stopped: {:?}",
                left()
            );
            world::sleep(Duration::from_millis(10));
        }
    }
}
