//! Everything that blocks: the sockets and the threads, and the only place that names them.
//!
//! Each folder is a room, and imports only from the rooms above it in this table; `tests/layering`
//! checks that.
//!
//! | room | |
//! | --- | --- |
//! | `os` | the operating system: sockets, its table of connections, threads, timers |
//! | `burst`, `panics` | what a thread has just sent; code of the program that panics |
//! | `context` | what all connections of a peer share: settings, threads, timers |
//! | `life` | whether, how far and why a connection has ended |
//! | `wire` | one socket's bytes, plain or encrypted |
//! | `recv` | messages to the program: the receive queue, and who reads |
//! | `send` | messages to the socket, in order: the send queue, and who writes |
//! | `link` | one connection, whatever its type: its threads, its end |
//! | `handshake` | from a socket to an agreement: client and server as machines of bytes, and what runs them |
//! | `endpoint` | one peer: its open connections, connecting, offers, its listener, stop, dead remotes |
//! | `keep` | connections that come back: whom to ask, when, and which of two stays |
//! | `discovery` | the responder thread, searches and watches |

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
pub(crate) mod wire;

pub(crate) use endpoint::listener::listen;
pub(crate) use os::socket::resolve;
pub(crate) use send::{InLine, Wait};

/// Is the current thread in a burst of sends? See [`Link::send`](link::Link::send).
pub(crate) use burst::is_on as in_burst;
