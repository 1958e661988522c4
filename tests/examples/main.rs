//! The examples run as their first lines say: as processes, with each other.

#[path = "../discovery/actor.rs"]
mod actor;
#[path = "../common/beacons.rs"]
mod beacons;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/dice.rs"]
mod dice;
#[path = "../discovery/network.rs"]
mod network;
mod program;
mod terminal;

mod camera;
mod chatroom;
mod doctor;
mod lab;
mod netcat;
mod secret;
mod send_file;
mod soak;
mod sync_worker;
mod telemetry;
mod tour;
