//! What waits, what is shared between threads, and the time, for the two queues and the threads that
//! serve them: std's and crossbeam's types. `tests/schedules` compiles the same files with others
//! here, which let it choose which thread runs next.

pub(crate) use std::net::TcpStream;
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};
pub(crate) use std::thread::yield_now;
pub(crate) use std::thread_local;
pub(crate) use std::time::Instant;

pub(crate) use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};
