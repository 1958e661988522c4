//! Threads that can be refused, and what a connection asks its peer for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use shuttle::thread::JoinHandle;

use super::flusher::Flusher;
use super::link::Link;
use super::lock;
use super::pulse::Pulse;
use super::socket::without_waiting;
use super::sync::Mutex;

pub(super) struct Hub {
    pub settings: Settings,
    pub flusher: Flusher,
    pub pulse: Pulse,
    /// There are no threads with these beginnings of their names.
    refused: Vec<&'static str>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    links: Mutex<Vec<Arc<Link>>>,
}

pub(super) struct Settings {
    pub send_queue: usize,
    pub max_message_size: usize,
}

impl Hub {
    pub fn new(
        send_queue: usize,
        keepalive: Option<Duration>,
        refused: Vec<&'static str>,
    ) -> Arc<Hub> {
        Arc::new(Hub {
            settings: Settings {
                send_queue,
                max_message_size: usize::MAX,
            },
            flusher: Flusher::default(),
            pulse: Pulse::new(keepalive),
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
        self.pulse.stop();
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
