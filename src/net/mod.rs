//! Everything that blocks: the sockets and the threads, and the only place that names them.
//!
//! Each folder is a room; docs/contributing.md says what is in it, and who may use whom.

mod burst;
mod context;
pub(crate) mod discovery;
pub(crate) mod endpoint;
#[cfg(test)]
#[path = "../../tests/inside/faults.rs"]
mod faults;
pub(crate) mod handshake;
pub(crate) mod keep;
mod life;
pub(crate) mod link;
pub(crate) mod os;
mod panics;
pub(crate) mod recv;
pub(crate) mod send;
#[cfg(all(test, feature = "secure", target_os = "linux"))]
#[path = "../../tests/inside/wiped.rs"]
mod wiped;
pub(crate) mod wire;

pub(crate) use endpoint::listener::listen;
pub(crate) use os::socket::resolve;
pub(crate) use send::{InLine, Wait};

/// Is the current thread in a burst of sends? See [`Link::send`](link::Link::send).
pub(crate) use burst::is_on as in_burst;
