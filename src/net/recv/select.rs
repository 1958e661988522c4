//! The receive queue as a crossbeam channel, for programs that wait at several things at once.
//!
//! The channel bounds the messages by itself, unless that would reserve memory for more than
//! [`RESERVED`] of them. The bytes are bounded here. The channel says how many messages wait in it, and
//! the order is known, so the bytes that wait can be summed up. But it cannot tell when the program
//! takes a message. So a reader thread that waits for room in bytes looks every few milliseconds.
//!
//! An item that nobody can receive is dropped here by [`let_go`], since its drop is the program's code. If it
//! panicked through this thread, the drop of what is left in the channel could panic as well, and two at once
//! abort the process.
//!
//! Where only the newest message counts, the channel holds one, and the reader thread takes it out for the
//! next. It waits for nothing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, TrySendError};

use crate::error::CloseReason;
use crate::net::life::Life;
use crate::net::os::sync::{AtomicBool, Ordering, Receiver, Sender, bounded, select, unbounded};
use crate::net::panics::let_go;

/// A bounded channel has the memory for all of its messages from the beginning. A channel for more
/// messages than this is an unbounded one, and they are counted here.
const RESERVED: usize = 1 << 16;

/// The pauses between two looks for room in bytes: the first, and the longest.
const LOOK_MIN: Duration = Duration::from_millis(1);
const LOOK_MAX: Duration = Duration::from_millis(20);

/// The list of sizes may always become so long before it is compared with the channel.
const LIST: usize = 1024;

/// The reader thread's end of the channel.
pub(crate) struct SelectProducer<T> {
    sender: Sender<T>,
    /// The sizes of the messages that were in the channel when it was last looked at, and since,
    sizes: VecDeque<usize>,
    /// which may become so long until the next look.
    look_at: usize,
    /// Their sum, and the most that it may be.
    bytes: usize,
    limit: usize,
    /// The most messages, where the channel does not bound them by itself.
    messages: Option<usize>,
    /// Where only the newest message counts: takes out the one that it replaces.
    replaces: Option<Receiver<T>>,
    /// Ends when the connection is over. No message ever comes through it.
    killed: Receiver<Infallible>,
}

/// Its drop wakes a reader thread that waits at the channel.
pub(crate) struct KillSwitch(
    #[expect(dead_code, reason = "only its drop matters")] Sender<Infallible>,
);

/// A channel for at most so many messages and bytes.
pub(crate) fn open<T>(
    messages: usize,
    bytes: usize,
) -> (SelectProducer<T>, KillSwitch, Receiver<T>) {
    let (sender, receiver) = match messages {
        0..=RESERVED => bounded(messages),
        _ => unbounded(),
    };
    let (kill, killed) = bounded(0);
    let producer = SelectProducer {
        sender,
        sizes: VecDeque::new(),
        look_at: LIST,
        bytes: 0,
        limit: bytes,
        messages: (messages > RESERVED).then_some(messages),
        replaces: None,
        killed,
    };
    (producer, KillSwitch(kill), receiver)
}

/// A channel for one message, the newest.
pub(crate) fn open_latest<T>() -> (SelectProducer<T>, KillSwitch, Receiver<T>) {
    let (mut producer, kill_switch, receiver) = open(1, usize::MAX);
    producer.replaces = Some(receiver.clone());
    (producer, kill_switch, receiver)
}

impl<T> SelectProducer<T> {
    /// Waits for room; `false`: the item was dropped, because nobody can receive any more, or no
    /// handle is left (`abandoned`) and the bytes that wait for a mere receiver are enough. `Err`:
    /// the connection was ended.
    pub fn push(
        &mut self,
        life: &Life,
        abandoned: &AtomicBool,
        item: T,
        size: usize,
    ) -> Result<bool, CloseReason> {
        let mut pause = LOOK_MIN;
        // Between two looks at the channel the list may count what is taken already.
        let mut long = self.sizes.len() >= self.look_at;
        while long || !self.fits(size) {
            long = false;
            self.count();
            if self.fits(size) {
                break;
            }
            if abandoned.load(Ordering::SeqCst) {
                let_go(item);
                return Ok(false);
            }
            // Killed before this channel was made, nobody dropped its kill switch.
            let is_killed = life.is_over() || {
                let killed = self.killed.recv_timeout(pause);
                killed == Err(RecvTimeoutError::Disconnected)
            };
            if is_killed {
                let_go(item);
                return Err(life.why());
            }
            pause = (pause * 2).min(LOOK_MAX);
        }
        if life.is_over() {
            let_go(item);
            return Err(life.why());
        }
        select! {
            send(self.sender, item) -> sent => {
                self.note(size);
                Ok(sent.map_err(let_go).is_ok())
            }
            recv(self.killed) -> _ => {
                let_go(item);
                Err(life.why())
            }
        }
    }

    /// Puts an item in the place of the one that waits. Says how many it has replaced: none where the program
    /// has just taken that.
    pub fn replace(&mut self, mut item: T) -> u64 {
        let mut replaced = 0;
        // Only this thread puts anything in, so that there is room in the end.
        while let Err(TrySendError::Full(back)) = self.sender.try_send(item) {
            item = back;
            let old = self.replaces.as_ref().and_then(|old| old.try_recv().ok());
            replaced += u64::from(old.is_some());
            // Its drop is the program's code.
            let_go(old);
        }
        replaced
    }

    /// Puts an item into a channel that has room for it. `false`: nobody can receive any more.
    pub fn push_at_once(&mut self, item: T, size: usize) -> bool {
        let sent = self.sender.try_send(item).map_err(let_go);
        self.note(size);
        sent.is_ok()
    }

    fn fits(&self, size: usize) -> bool {
        let has_place = self.messages.is_none_or(|most| self.sizes.len() < most);
        self.sizes.is_empty() || (has_place && self.bytes.saturating_add(size) <= self.limit)
    }

    fn note(&mut self, size: usize) {
        self.sizes.push_back(size);
        self.bytes += size;
    }

    /// Forgets the sizes of messages that the program has taken: those at the front.
    fn count(&mut self) {
        let waiting = self.sender.len();
        while self.sizes.len() > waiting {
            self.bytes -= self.sizes.pop_front().unwrap_or(0);
        }
        // So a look costs little for each message, and the list no more than what waits.
        self.look_at = LIST.max(2 * self.sizes.len());
        if self.sizes.capacity() > 2 * self.look_at {
            self.sizes.shrink_to(self.look_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PanicsInDrop;

    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("a drop of an item");
        }
    }

    /// Each of these items would panic through the thread that puts it in.
    #[test]
    fn what_nobody_can_receive_is_dropped_without_a_panic() {
        let life = Life::default();
        let (mut producer, kill_switch, receiver) = open(10, usize::MAX);
        assert!(producer.push_at_once(PanicsInDrop, 1));
        drop(receiver);
        assert!(!producer.push_at_once(PanicsInDrop, 1));
        let abandoned = AtomicBool::new(false);
        let sent = producer.push(&life, &abandoned, PanicsInDrop, 1);
        assert!(matches!(sent, Ok(false)));
        // The one that waits in the channel goes with it.
        let_go(producer);
        drop(kill_switch);
    }

    #[test]
    fn an_item_that_waits_for_room_is_dropped_without_a_panic() {
        let life = Life::default();
        let no_handle_is_left = AtomicBool::new(true);
        for (bytes, is_killed) in [(usize::MAX, true), (1, false)] {
            let (mut producer, kill_switch, receiver) = open(1, bytes);
            assert!(producer.push_at_once(PanicsInDrop, 1));
            let kill_switch = (!is_killed).then_some(kill_switch);
            let sent = producer.push(&life, &no_handle_is_left, PanicsInDrop, 1);
            assert_eq!(sent.is_err(), is_killed);
            assert_ne!(sent, Ok(true));
            drop((receiver, kill_switch));
            let_go(producer);
        }
    }
}
