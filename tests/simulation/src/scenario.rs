//! The families of programs, and which of them a seed stands for.

use std::fmt;

use simulated_system::dice::Dice;

use crate::{asks, hostile, lan, model, pair};

#[derive(Clone)]
pub enum Scenario {
    Pair(pair::plan::Plan),
    Model(Box<model::Program>),
    Lan(lan::Plan),
    Asks(asks::Plan),
    Hostile(hostile::Plan),
}

impl Scenario {
    pub const FAMILIES: &[&str] = &["pair", "brief", "model", "lan", "asks", "hostile"];

    /// To which family a seed belongs.
    pub fn family(seed: u64) -> &'static str {
        // The list of seeds that failed once lives from this: what comes later takes its share of "pair".
        match Dice::new(seed ^ 0xfa31).below(64) {
            0..2 => "lan",
            2..10 => "asks",
            10..16 => "hostile",
            16..40 => "pair",
            53..64 => "brief",
            _ => "model",
        }
    }

    pub fn draw(seed: u64) -> Scenario {
        match Scenario::family(seed) {
            "lan" => Scenario::Lan(lan::Plan::draw(seed)),
            "asks" => Scenario::Asks(asks::Plan::draw(seed)),
            "hostile" => Scenario::Hostile(hostile::Plan::draw(seed)),
            "pair" => Scenario::Pair(pair::plan::Plan::draw(seed)),
            "brief" => Scenario::Pair(pair::plan::Plan::draw_brief(seed)),
            _ => Scenario::Model(Box::new(model::Program::from_seed(seed))),
        }
    }

    /// Those that are a little smaller, the smallest first.
    pub fn smaller(&self) -> Vec<Scenario> {
        match self {
            Scenario::Pair(plan) => plan.smaller().into_iter().map(Scenario::Pair).collect(),
            Scenario::Lan(plan) => plan.smaller().into_iter().map(Scenario::Lan).collect(),
            Scenario::Asks(plan) => plan.smaller().into_iter().map(Scenario::Asks).collect(),
            Scenario::Hostile(plan) => plan.smaller().into_iter().map(Scenario::Hostile).collect(),
            Scenario::Model(program) => {
                let smaller = program.smaller().into_iter();
                smaller.map(|one| Scenario::Model(Box::new(one))).collect()
            }
        }
    }

    /// Runs it, inside of a run of the system; a panic says what was wrong.
    pub fn run(&self) {
        match self {
            Scenario::Pair(plan) => pair::run(plan),
            Scenario::Model(program) => model::run(program),
            Scenario::Lan(plan) => lan::run(plan),
            Scenario::Asks(plan) => asks::run(plan),
            Scenario::Hostile(plan) => hostile::run(plan),
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scenario::Pair(plan) => plan.fmt(f),
            Scenario::Model(program) => program.fmt(f),
            Scenario::Lan(plan) => plan.fmt(f),
            Scenario::Asks(plan) => plan.fmt(f),
            Scenario::Hostile(plan) => plan.fmt(f),
        }
    }
}
