//! Everything that blocks: the sockets and the threads, and the only place that names them.
//!
//! | file | |
//! | --- | --- |
//! | `hub` | what a peer's threads share: settings, open connections, events |
//! | `threads` | the threads, and waiting for their end |
//! | `listener` | the thread that accepts, and waits for nothing else |
//! | `ask`, `answer` | the handshake, on the side that asks and on the one that is asked |
//! | `handshake` | what both need |
//! | `link` | one connection, whatever its type: its life and its end |
//! | `cipher` | an encrypted connection's bytes, on their way in and out |
//! | `reader` | a connection's bytes, to messages |
//! | `source` | what becomes of them: the reader thread, with a queue or a handler |
//! | `inbox` | what it hands to the program: a queue, bounded in messages and bytes |
//! | `intake` | the reader's end of it |
//! | `seat` | who reads: the reader thread, or the program while it waits |
//! | `batch` | messages that change hands together |
//! | `channel` | the same as a crossbeam channel, for programs that `select!` |
//! | `outbox` | the send queue, and who may write to the socket |
//! | `sender` | the send path |
//! | `writer` | how the queue is emptied, and the thread that waits for the socket |
//! | `flusher` | the thread that writes what has gathered when a sender goes quiet |
//! | `pulse` | the thread that notices dead remotes and overdue closes |
//! | `discovery` | the responder thread, searches and watches |
//! | `spin` | looking for a moment before waiting, where the program asked for it |
//! | `sync` | the types that threads wait with and share, which a model checker replaces |
//! | `faults` | for tests: threads that can not be started |
//! | `socket` | socket options, and what the system knows about a connection |

pub(crate) mod answer;
pub(crate) mod ask;
mod batch;
mod channel;
pub(crate) mod cipher;
pub(crate) mod discovery;
#[cfg(test)]
#[path = "../../tests/inside/faults.rs"]
mod faults;
mod flusher;
pub(crate) mod handshake;
pub(crate) mod hub;
pub(crate) mod inbox;
pub(crate) mod intake;
pub(crate) mod link;
mod listener;
mod outbox;
mod pulse;
mod reader;
mod seat;
mod sender;
mod socket;
pub(crate) mod source;
mod spin;
mod sync;
mod threads;
mod writer;

pub(crate) use listener::listen;
pub(crate) use sender::{Burst, Wait};
pub(crate) use socket::resolve;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The target of log lines, which is not to change when a module does. `docs/logging.md`
/// lists every line.
const LOG: &str = "lanpeer";

/// Locks, whatever became of others who held the lock: no code of ours panics while it holds one,
/// and the program's code does not run under one (only its handler may be dropped there).
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
