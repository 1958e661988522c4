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

use simulated_system::dice::Dice;
use simulated_system::{net, world};

pub use plan::Program;

/// After all peers are stopped, their threads and sockets are gone at the latest when so much time has
/// passed.
const GONE: Duration = Duration::from_secs(20);

/// In one program of three, links are cut for a moment, a few times: too short for anyone to be taken for dead,
/// so the model permits no more for it.
fn cut_now_and_then(seed: u64, hosts: u64) {
    let mut dice = Dice::new(seed ^ 0xc01);
    if hosts < 2 || !dice.one_in(3) {
        return;
    }
    let work = move || {
        for _ in 0..dice.between(1, 4) {
            let most = *dice.pick(&[100, 1000, 20_000]);
            world::sleep(Duration::from_micros(dice.below(most)));
            let one = dice.below(hosts);
            let other = (one + 1 + dice.below(hosts - 1)) % hosts;
            net::cut(one as usize, other as usize);
            let most = *dice.pick(&[100, 1000, 500_000]);
            world::sleep(Duration::from_micros(dice.below(most)));
            net::heal(one as usize, other as usize);
        }
    };
    world::spawn_in(0, "cuts", Box::new(work));
}

/// Runs the program; a panic says what was wrong.
pub fn run(program: &Program) {
    cut_now_and_then(program.seed, program.peers.len() as u64);
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
