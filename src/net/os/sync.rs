//! What waits, what is shared between threads, what differs from run to run, and the time: std's and
//! crossbeam's types. `tests/schedules` compiles the two queues with others here, which let it choose which
//! thread runs next. Sockets are here where those queues need them; the rest is in [`system`](super::system).

use std::sync::atomic::AtomicU64 as Counter;

pub(crate) use std::collections::{HashMap, HashSet};
pub(crate) use std::hash::RandomState;
pub(crate) use std::net::TcpStream;
pub(crate) use std::process::id as process_id;
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};
pub(crate) use std::thread::{self, JoinHandle, yield_now};
pub(crate) use std::thread_local;
pub(crate) use std::time::Instant;

pub(crate) use crossbeam_channel::{Iter, Receiver, Sender, bounded, never, select, unbounded};

/// A number that no one else in the process has.
pub(crate) fn next_number() -> u64 {
    static NEXT: Counter = Counter::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
