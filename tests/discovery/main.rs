//! Discovery, on one host's loopback and on LANs; what becomes of connections when a host dies; and other
//! programs: peerpy's, the examples, the compiler.
//!
//! | file | |
//! | --- | --- |
//! | `search` | on loopback: peers find each other |
//! | `watch` | who comes and goes is told |
//! | `wire` | what a responder answers, byte by byte |
//! | `across` | hosts with one and with two networks |
//! | `dead_remotes` | connections to hosts that die |
//! | `keep` | connections that come back |
//! | `peerpy`, in `tests/peerpy` | connections to and from Python programs |
//! | `examples`, in `tests/examples` | the examples run as their first lines say |
//! | `mistakes`, in `tests/mistakes` | what the compiler says |
//!
//! One program for all of these, because nearly all of its tests wait: together they wait at the same time.
//! The tests run in the order of their names, and those that take longest are in `across`: they begin early.
//!
//! A LAN is made of network namespaces; its hosts' programs are this one in another role: `actor`,
//! `keep::actor`, and `role` in `dead_remotes`. On loopback each test has a discovery port of its own.
//!
//! Kept apart from the tests of other behaviour because [`beacons`] ends the process when a thread
//! of the library panics, which there some handlers do.

mod actor;
#[path = "../common/beacons.rs"]
mod beacons;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/dice.rs"]
mod dice;
mod network;
#[path = "../common/peers.rs"]
mod peers;

mod across;
mod dead_remotes;
#[path = "../examples/mod.rs"]
mod examples;
mod keep;
#[path = "../mistakes/mod.rs"]
mod mistakes;
#[path = "../peerpy/mod.rs"]
mod peerpy;
mod search;
mod watch;
mod wire;
