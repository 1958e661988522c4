//! Threads that can be refused, and what a connection asks its peer for.

pub(crate) mod noticing;
#[path = "../../../../../src/net/endpoint/watchdog.rs"]
pub(crate) mod watchdog;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use shuttle::thread::JoinHandle;

use crate::net::endpoint::watchdog::Watchdog;
use crate::net::link::Link;
use crate::net::os::lock;
use crate::net::os::socket::without_waiting;
use crate::net::os::sync::Mutex;
use crate::net::send::flusher::Flusher;

pub(crate) struct Endpoint {
    pub settings: Settings,
    pub flusher: Flusher,
    pub watchdog: Watchdog,
    /// There are no threads with these beginnings of their names.
    refused: Vec<&'static str>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    links: Mutex<Vec<Arc<Link>>>,
}

pub(crate) struct Settings {
    pub send_queue: usize,
    pub max_message_size: usize,
}

impl Endpoint {
    pub fn new(
        send_queue: usize,
        keepalive: Option<Duration>,
        refused: Vec<&'static str>,
    ) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            settings: Settings {
                send_queue,
                max_message_size: usize::MAX,
            },
            flusher: Flusher::default(),
            watchdog: Watchdog::new(keepalive),
            refused,
            threads: Mutex::default(),
            links: Mutex::default(),
        })
    }

    pub fn enter(&self, link: &Arc<Link>) {
        lock(&self.links).push(Arc::clone(link));
    }

    pub fn links(&self) -> Vec<Arc<Link>> {
        lock(&self.links).clone()
    }

    pub fn spawn(&self, name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        if self.refused.iter().any(|refused| name.starts_with(refused)) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let waits = name.starts_with("lanpeer-w");
        let thread = shuttle::thread::spawn(move || match waits {
            true => work(),
            // It has others to serve.
            false => without_waiting(work),
        });
        lock(&self.threads).push(thread);
        Ok(())
    }

    /// Every thread ends.
    pub fn stop(&self) {
        self.watchdog.stop();
        self.flusher.stop();
        loop {
            let Some(thread) = lock(&self.threads).pop() else {
                break;
            };
            thread.join().expect("a thread of the library");
        }
        lock(&self.links).clear();
    }
}
