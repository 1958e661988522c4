//! The families of programs, and which of them a seed stands for.

use std::fmt;

use simulated_system::dice::Dice;

use crate::{asks, crowd, exits, hostile, lan, liar, model, pair, peerpy, servers};

#[derive(Clone)]
pub enum Scenario {
    Pair(pair::plan::Plan),
    Model(Box<model::Program>),
    Lan(lan::Plan),
    Asks(asks::Plan),
    Hostile(hostile::Plan),
    Servers(servers::Plan),
    Peerpy(peerpy::Plan),
    Exits(exits::Plan),
    Liar(liar::Plan),
    Crowd(crowd::Plan),
}

impl Scenario {
    pub const FAMILIES: &[&str] = &[
        "pair", "brief", "model", "lan", "asks", "hostile", "servers", "peerpy", "exits", "liar",
        "crowd",
    ];

    /// To which family a seed belongs.
    pub fn family(seed: u64) -> &'static str {
        // The list of seeds that failed once lives from this: what came later has taken from the share of others
        // what none of them needs.
        match Dice::new(seed ^ 0xfa31).below(64) {
            0..2 => "lan",
            2..10 => "asks",
            10..16 => "hostile",
            30 if Dice::new(seed ^ 0xc20d).one_in(4) => "crowd",
            30..32 => "liar",
            32..34 => "servers",
            34..36 => "exits",
            36..38 => "peerpy",
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
            "servers" => Scenario::Servers(servers::Plan::draw(seed)),
            "peerpy" => Scenario::Peerpy(peerpy::Plan::draw(seed)),
            "exits" => Scenario::Exits(exits::Plan::draw(seed)),
            "liar" => Scenario::Liar(liar::Plan::draw(seed)),
            "crowd" => Scenario::Crowd(crowd::Plan::draw(seed)),
            "pair" => Scenario::Pair(pair::plan::Plan::draw(seed)),
            "brief" => Scenario::Pair(pair::plan::Plan::draw_brief(seed)),
            _ => Scenario::Model(Box::new(model::Program::from_seed(seed))),
        }
    }

    /// Are there messages other than plain bytes?
    pub fn encodes(&self) -> bool {
        matches!(self, Scenario::Model(_))
    }

    /// Those that are a little smaller, the smallest first.
    pub fn smaller(&self) -> Vec<Scenario> {
        match self {
            Scenario::Pair(plan) => plan.smaller().into_iter().map(Scenario::Pair).collect(),
            Scenario::Lan(plan) => plan.smaller().into_iter().map(Scenario::Lan).collect(),
            Scenario::Asks(plan) => plan.smaller().into_iter().map(Scenario::Asks).collect(),
            Scenario::Hostile(plan) => plan.smaller().into_iter().map(Scenario::Hostile).collect(),
            Scenario::Servers(plan) => plan.smaller().into_iter().map(Scenario::Servers).collect(),
            Scenario::Peerpy(plan) => plan.smaller().into_iter().map(Scenario::Peerpy).collect(),
            Scenario::Exits(plan) => plan.smaller().into_iter().map(Scenario::Exits).collect(),
            Scenario::Liar(plan) => plan.smaller().into_iter().map(Scenario::Liar).collect(),
            Scenario::Crowd(plan) => plan.smaller().into_iter().map(Scenario::Crowd).collect(),
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
            Scenario::Servers(plan) => servers::run(plan),
            Scenario::Peerpy(plan) => peerpy::run(plan),
            Scenario::Exits(plan) => exits::run(plan),
            Scenario::Liar(plan) => liar::run(plan),
            Scenario::Crowd(plan) => crowd::run(plan),
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
            Scenario::Servers(plan) => plan.fmt(f),
            Scenario::Peerpy(plan) => plan.fmt(f),
            Scenario::Exits(plan) => plan.fmt(f),
            Scenario::Liar(plan) => plan.fmt(f),
            Scenario::Crowd(plan) => plan.fmt(f),
        }
    }
}
