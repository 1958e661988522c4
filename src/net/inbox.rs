//! What a connection's reader hands to the program: a channel, bounded in messages and in bytes.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{select, Sender, TrySendError};

use super::link::Link;
use super::lock;
use crate::error::CloseReason;

/// The reader's end of the program's channel: bounded in messages by the channel itself, and in
/// bytes here.
///
/// The channel is crossbeam's own, so that the program can `select!` on it; it says how many
/// messages wait in it, and the order is known, so the bytes that wait can be summed up. What it
/// can not do is to tell when the program takes one. The connection's own `recv` and its siblings
/// do tell; a program that receives through `receiver()` is looked after every few milliseconds,
/// only while the limit in bytes is reached.
pub(crate) struct Inbox<T> {
    sender: Sender<T>,
    /// The sizes of the messages that were in the channel when it was last looked at, and since.
    sizes: VecDeque<usize>,
    bytes: usize,
    limit: usize,
    /// So many sizes are kept before the channel is looked at again.
    look_after: usize,
    /// Nobody can receive any more.
    abandoned: bool,
}

impl<T> Inbox<T> {
    pub fn new(sender: Sender<T>, limit: usize) -> Inbox<T> {
        let look_after = sender.capacity().unwrap_or(0).max(64) * 2;
        Inbox {
            sender,
            sizes: VecDeque::new(),
            bytes: 0,
            limit,
            look_after,
            abandoned: false,
        }
    }

    /// Nobody can receive any more: messages need not even be decoded.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Waits for room, then passes `item` on. `Err`: the connection was ended meanwhile.
    pub fn push(&mut self, link: &Link, item: T, size: usize) -> Result<(), CloseReason> {
        let size = size + size_of::<T>();
        if self.bytes + size > self.limit || self.sizes.len() >= self.look_after {
            self.wait_for_bytes(link, size)?;
        }
        let sent = match self.sender.try_send(item) {
            Err(TrySendError::Full(item)) => select! {
                send(self.sender, item) -> sent => sent.is_ok(),
                recv(link.killed) -> _ => return Err(link.close_reason().unwrap_or(CloseReason::Aborted)),
            },
            sent => sent.is_ok(),
        };
        self.abandoned = !sent;
        self.sizes.push_back(size);
        self.bytes += size;
        Ok(())
    }

    fn count(&mut self) {
        let waiting = self.sender.len();
        while self.sizes.len() > waiting {
            self.bytes -= self.sizes.pop_front().unwrap_or(0);
        }
    }

    fn wait_for_bytes(&mut self, link: &Link, size: usize) -> Result<(), CloseReason> {
        self.count();
        let mut pause = Duration::from_millis(1);
        while !self.sizes.is_empty() && self.bytes + size > self.limit {
            link.room.waiting.store(true, Ordering::SeqCst);
            let guard = lock(&link.room.mutex);
            self.count();
            if self.sizes.is_empty() || self.bytes + size <= self.limit {
                break;
            }
            if link.is_dead() {
                return Err(link.close_reason().unwrap_or(CloseReason::Aborted));
            }
            drop(link.room.made.wait_timeout(guard, pause));
            pause = (pause * 2).min(Duration::from_millis(20));
            self.count();
        }
        link.room.waiting.store(false, Ordering::SeqCst);
        Ok(())
    }
}
