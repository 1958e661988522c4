//! Where the processor or the system is emulated, and everything takes several times as long. Also the
//! sources' own tests include this file.
#![allow(dead_code)] // each program uses its own part of it

use std::process::Command;
use std::time::Duration;

/// How many times less campaigns do there: `.ci/platforms` says so by this variable. None if nothing is emulated.
fn less() -> Option<usize> {
    let value = std::env::var("LANPEER_TEST_EMULATED").ok()?;
    Some(value.parse().expect("LANPEER_TEST_EMULATED: a number"))
}

/// Whether it is so.
pub fn emulated() -> bool {
    less().is_some()
}

/// How often a campaign goes round.
pub fn campaign(rounds: usize) -> usize {
    rounds.div_ceil(less().unwrap_or(1))
}

/// How far apart the places are that a campaign tries. An odd number, so that each bit of a byte is one of them.
pub fn stride() -> usize {
    less().map_or(1, |less| less | 1)
}

/// A deadline for what must happen: in emulation three times as far.
pub fn extended(deadline: Duration) -> Duration {
    deadline * if emulated() { 3 } else { 1 }
}

/// How long a whole test may take.
pub fn patience() -> Duration {
    Duration::from_secs(if emulated() { 300 } else { 90 })
}

/// This program once more, behind other words of a command. Where the processor that it is for is emulated,
/// `LANPEER_TEST_EMULATOR` says how to run it.
pub fn this_program_after(before: &[&str]) -> Command {
    let own = std::env::current_exe().expect("this program");
    let emulator = std::env::var("LANPEER_TEST_EMULATOR").unwrap_or_default();
    let mut words = before.iter().copied().chain(emulator.split_whitespace());
    let Some(first) = words.next() else {
        return Command::new(own);
    };
    let mut command = Command::new(first);
    command.args(words).arg(own);
    command
}

/// This program once more.
pub fn this_program() -> Command {
    this_program_after(&[])
}
