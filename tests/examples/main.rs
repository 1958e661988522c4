//! The examples run as their first lines say: as processes, with each other.

#[path = "../common/beacons.rs"]
mod beacons;
mod program;

mod netcat;
mod sync_worker;
mod tour;
