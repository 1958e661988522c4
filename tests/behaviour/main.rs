//! What peers and connections do, seen through the public API by programs on loopback: one
//! behaviour a file.
//!
//! The tests run side by side in one process. Those that count what belongs to a process (its
//! threads, memory, log lines, open files) therefore start themselves anew in one of their own: see
//! [`peers::alone`].

#[path = "../common/peers.rs"]
mod peers;

mod broadcast;
mod closing;
mod connecting;
mod drops;
mod ends;
mod events;
mod formats;
mod handlers;
mod latest;
mod logging;
mod offers;
mod promises;
mod races;
mod reading;
mod receiving;
mod replies;
mod requests;
mod sending;
mod settings;
mod stats;
mod streams;
mod two_types;
