//! Many connections, many connects, many at once, and a system that has no more to give.
//!
//! Peers whose number of file descriptors or threads matters live in processes of their own; see
//! `child`. Each test prints its figures: `cargo test --release --test load -- --nocapture`.
//! `LANPEER_LOAD=1` has the full number of connects and closes in a row.

#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;

mod child;
mod crowd;
mod ends;
mod idle;
mod limits;
mod many;
mod row;
mod silent;
