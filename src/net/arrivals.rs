//! How those who wait for messages learn that some have arrived.
//!
//! The channel could tell them itself, but it wakes a waiting thread for each message. Here the
//! reader tells once for all messages of one read from the socket, before it waits for the next:
//! no later for a lone message, and a burst wakes the program once in 256 messages. Programs
//! that wait at the channel itself, in a `select!`, are woken by the channel.

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use crossbeam_channel::{RecvTimeoutError, TryRecvError};

use super::lock;

/// In a long burst the program is told after so many messages.
pub(super) const BATCH: usize = 256;

/// So many bytes of a message count as a message more: large ones take longer to decode.
pub(super) const BATCH_SHARE: usize = 128;

#[derive(Default)]
pub(super) struct Arrivals {
    /// Threads that wait, or are about to.
    waiting: AtomicUsize,
    mutex: Mutex<()>,
    arrived: Condvar,
}

impl Arrivals {
    /// Messages have arrived, or the channel has ended.
    pub fn announce(&self) {
        // With the fence in `wait`: either this sees who waits, or they see what has arrived.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            drop(lock(&self.mutex));
            self.arrived.notify_all();
        }
    }

    /// Waits until `receive` has something to return.
    pub fn wait<T>(
        &self,
        deadline: Option<Instant>,
        mut receive: impl FnMut() -> Result<T, TryRecvError>,
    ) -> Result<T, RecvTimeoutError> {
        match receive() {
            Ok(item) => return Ok(item),
            Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) => {}
        }
        let mut guard = lock(&self.mutex);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let result = loop {
            fence(Ordering::SeqCst);
            match receive() {
                Ok(item) => break Ok(item),
                Err(TryRecvError::Disconnected) => break Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => {}
            }
            guard = match deadline {
                None => self.arrived.wait(guard).unwrap_or_else(|p| p.into_inner()),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break Err(RecvTimeoutError::Timeout);
                    }
                    let waited = self.arrived.wait_timeout(guard, left);
                    waited.unwrap_or_else(|p| p.into_inner()).0
                }
            };
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        result
    }
}
