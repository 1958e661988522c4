//! Discovery, on one host's loopback and on LANs, and what becomes of connections when a host dies.
//!
//! | file | |
//! | --- | --- |
//! | `search` | on loopback: peers find each other |
//! | `watch` | who comes and goes is told |
//! | `wire` | what a responder answers, byte by byte |
//! | `lan` | hosts with one and with two networks |
//! | `dead_remotes` | connections to hosts that die |
//! | `keep` | connections that come back |
//!
//! One program for all of these, because nearly all of its tests wait: together they wait at the same time.
//!
//! A LAN is made of network namespaces; its hosts' programs are this one in another role: `actor`,
//! `keep::actor`, and `role` in `dead_remotes`. On loopback each test has a discovery port of its own.
//!
//! Kept apart from the tests of other behaviour because [`beacons`] ends the process when a thread
//! of the library panics, which there some handlers do.

mod actor;
#[path = "../common/beacons.rs"]
mod beacons;
mod network;
#[path = "../common/peers.rs"]
mod peers;

mod dead_remotes;
mod keep;
mod lan;
mod search;
mod watch;
mod wire;
