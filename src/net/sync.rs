//! What waits, what is shared between threads, and the time, for the two queues and the threads that
//! serve them: std's and crossbeam's types. `tests/schedules` compiles the same files with others
//! here, which let it choose which thread runs next.

pub(super) use std::net::TcpStream;
pub(super) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
pub(super) use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};
pub(super) use std::thread::yield_now;
pub(super) use std::time::Instant;

pub(super) use crossbeam_channel::{Receiver, Sender, bounded, select};
