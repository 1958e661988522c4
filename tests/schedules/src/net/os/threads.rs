//! Threads that can be refused.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use shuttle::thread::JoinHandle;

use super::lock;
use super::socket::without_waiting;
use super::sync::{Mutex, be_a_timer};

// A run has a thread of the system for itself.
thread_local! {
    /// There are no threads with these beginnings of their names.
    static REFUSED: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

/// From now on, and until the next call.
pub(crate) fn refuse(names: Vec<&'static str>) {
    REFUSED.set(names);
}

/// A panic is a failure here.
pub(crate) fn unless_it_panics<T>(run: impl FnOnce() -> T) -> Option<T> {
    Some(run())
}

#[derive(Default)]
pub(crate) struct Threads {
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    pub fn new() -> Arc<Threads> {
        Arc::default()
    }

    pub fn spawn(&self, name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        if REFUSED.with_borrow(|names| names.iter().any(|refused| name.starts_with(refused))) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let waits = name.starts_with("lanpeer-w");
        let thread = shuttle::thread::spawn(move || match waits {
            true => work(),
            // It has others to serve.
            false => {
                be_a_timer();
                without_waiting(work);
            }
        });
        lock(&self.threads).push(thread);
        Ok(())
    }

    /// Every thread ends.
    pub fn join(&self) {
        loop {
            let Some(thread) = lock(&self.threads).pop() else {
                return;
            };
            thread.join().expect("a thread of the library");
        }
    }
}
