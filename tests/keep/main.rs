//! Connections that come back: `keep_connected`, and what it does on both sides.
//!
//! | file | |
//! | --- | --- |
//! | `loopback` | ends of every kind, denials, limits, drop and stop |
//! | `settling` | two that keep each other, and a connection that the other side has lost |

#[path = "../common/beacons.rs"]
mod beacons;
#[path = "../common/peers.rs"]
mod peers;

mod loopback;
mod settling;
