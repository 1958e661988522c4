//! Real peerpy 1.2.2 programs and lanpeer programs with each other: every way to connect, every data
//! type, strict or not, streams, sizes, both ends, refusals, restarts.
//!
//! Each case is asserted where it runs, and says what it saw. Of that the tables of
//! `docs/interop.md` are made: [`page`] fails where the page says something else. To have the page's
//! tables written anew, run the tests with `LANPEER_WRITE_TABLES=1`.
//!
//! What peerpy itself cannot do is in [`limits`]: measured and printed, not asserted as a success.

mod connections;
mod discovery;
mod handlers;
mod hello;
mod kinds;
mod latest;
mod limits;
mod offers;
mod page;
mod pieces;
mod programs;
mod restarts;
mod scenarios;
mod visibility;

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Peerpy,
    Lanpeer,
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Who::Peerpy => "peerpy",
            Who::Lanpeer => "lanpeer",
        })
    }
}
