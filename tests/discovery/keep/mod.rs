//! Connections that come back: `keep_connected`, and what it does on both sides.
//!
//! | file | |
//! | --- | --- |
//! | `loopback` | ends of every kind, denials, limits, drop and stop |
//! | `settling` | two that keep each other, and a connection that the other side has lost |
//! | `lan` | cables, addresses and processes, in network namespaces; the table of all that |
//!
//! The programs on the hosts of a LAN are this one in another role: `actor`.

pub mod actor;
mod lan;
mod loopback;
mod settling;
