//! The receive queue as a crossbeam channel, for programs that wait at several things at once.
//!
//! The channel bounds the messages by itself, unless that would reserve memory for more than
//! [`RESERVED`] of them. The bytes are bounded here. The channel says how many messages wait in it, and
//! the order is known, so the bytes that wait can be summed up. But it cannot tell when the program
//! takes a message. So a reader thread that waits for room in bytes looks every few milliseconds.
//!
//! An item that nobody can receive is given back, to be dropped without a lock by [`let_go`](crate::net::panics::let_go),
//! since its drop is the program's code. If it panicked through this thread, the drop of what is left in the
//! channel could panic as well, and two at once abort the process.
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

/// A bounded channel has the memory for all of its messages from the beginning. A channel for more
/// messages than this is an unbounded one, and they are counted here.
const RESERVED: usize = 1 << 16;

/// The pauses between two looks for room in bytes: the first, and the longest.
const LOOK_MIN: Duration = Duration::from_millis(1);
const LOOK_MAX: Duration = Duration::from_millis(20);

/// The length up to which the list of sizes may always grow before it is compared with the channel.
const LIST: usize = 1024;

/// The reader thread's end of the channel.
pub(crate) struct SelectProducer<T> {
    sender: Sender<T>,
    /// The sizes of the messages that were in the channel when it was last looked at, and since.
    sizes: VecDeque<usize>,
    /// The length of the list at which the channel is looked at again.
    look_at: usize,
    /// The sum of the sizes.
    bytes: usize,
    /// The most that the sum may be.
    limit: usize,
    /// The most messages, where the channel does not bound them by itself.
    messages: Option<usize>,
    /// Where only the newest message counts: takes out the one that it replaces.
    replaces: Option<Receiver<T>>,
    /// Ends when the connection is over. No message ever comes through it.
    killed: Receiver<Infallible>,
}

/// Why an item was not put into the channel.
pub(crate) enum Unsent<T> {
    /// Nobody can receive any more.
    Nobody(T),
    /// The kill switch was dropped first.
    Woken(T),
}

/// Its drop wakes a reader thread that waits at the channel.
pub(crate) struct KillSwitch(
    #[expect(dead_code, reason = "only its drop matters")] Sender<Infallible>,
);

/// A channel for at most this many messages and bytes.
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
    /// Waits until there is room in bytes. `false`: no handle is left (`abandoned`), and the bytes that wait
    /// for a mere receiver are enough. `Err`: the connection was ended.
    pub fn make_room(
        &mut self,
        life: &Life,
        abandoned: &AtomicBool,
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
                return Ok(false);
            }
            // Killed before this channel was made, nobody dropped its kill switch.
            let is_killed = life.is_over() || {
                let killed = self.killed.recv_timeout(pause);
                killed == Err(RecvTimeoutError::Disconnected)
            };
            if is_killed {
                return Err(life.why());
            }
            pause = (pause * 2).min(LOOK_MAX);
        }
        match life.is_over() {
            true => Err(life.why()),
            false => Ok(true),
        }
    }

    /// Puts an item in, if the channel has a place for it.
    pub fn try_push(&mut self, item: T, size: usize) -> Result<(), TrySendError<T>> {
        self.sender.try_send(item)?;
        self.note(size);
        Ok(())
    }

    /// Waits for a place, and puts an item in.
    pub fn push(&mut self, life: &Life, item: T, size: usize) -> Result<(), Unsent<T>> {
        // Ended before this channel was made, or armed again, nobody dropped its kill switch.
        if life.is_over() {
            return Err(Unsent::Woken(item));
        }
        select! {
            send(self.sender, item) -> sent => {
                sent.map_err(|unsent| Unsent::Nobody(unsent.0))?;
                self.note(size);
                Ok(())
            }
            recv(self.killed) -> _ => {
                Err(Unsent::Woken(item))
            }
        }
    }

    /// The kill switch was dropped only to wake the reader thread: another one for the next time.
    pub fn arm_again(&mut self) -> KillSwitch {
        let (kill, killed) = bounded(0);
        self.killed = killed;
        KillSwitch(kill)
    }

    /// Puts an item in the place of the one that waits, and gives that back, unless the program has just
    /// taken it.
    pub fn replace(&mut self, mut item: T) -> Option<T> {
        let mut old = None;
        // Only this thread puts anything in, so that there is room the second time.
        while let Err(TrySendError::Full(back)) = self.sender.try_send(item) {
            item = back;
            old = self.replaces.as_ref().and_then(|old| old.try_recv().ok());
        }
        old
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
    use crate::net::life::Outcome;
    use crate::net::panics::let_go;

    struct PanicsInDrop;

    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("a drop of an item");
        }
    }

    /// It goes back to whoever drops it without a lock.
    #[test]
    fn an_item_that_nobody_can_receive_comes_back() {
        let life = Life::default();
        let (mut producer, kill_switch, receiver) = open(10, usize::MAX);
        assert!(producer.try_push(PanicsInDrop, 1).is_ok());
        drop(receiver);
        let unsent = producer.try_push(PanicsInDrop, 1);
        assert!(matches!(unsent, Err(TrySendError::Disconnected(_))));
        let_go(unsent);
        let unsent = producer.push(&life, PanicsInDrop, 1);
        assert!(matches!(unsent, Err(Unsent::Nobody(_))));
        let_go(unsent);
        // The one that waits in the channel goes with it.
        let_go(producer);
        drop(kill_switch);
    }

    #[test]
    fn a_wait_for_a_place_ends_when_the_kill_switch_goes_and_can_be_begun_again() {
        let life = Life::default();
        let (mut producer, kill_switch, receiver) = open(1, usize::MAX);
        assert!(producer.try_push(1, 1).is_ok());
        drop(kill_switch);
        assert!(matches!(producer.push(&life, 2, 1), Err(Unsent::Woken(2))));
        let kill_switch = producer.arm_again();
        assert_eq!(receiver.try_recv(), Ok(1));
        assert!(producer.push(&life, 2, 1).is_ok());
        life.end(CloseReason::Aborted, Outcome::Unknown);
        assert!(matches!(producer.push(&life, 3, 1), Err(Unsent::Woken(3))));
        drop(kill_switch);
    }

    #[test]
    fn bytes_of_a_mere_receiver_are_waited_for_by_nobody() {
        let life = Life::default();
        let nobody = AtomicBool::new(true);
        let (mut producer, kill_switch, receiver) = open(1, 1);
        assert_eq!(producer.make_room(&life, &nobody, 1), Ok(true));
        assert!(producer.try_push(1, 1).is_ok());
        assert_eq!(producer.make_room(&life, &nobody, 1), Ok(false));
        drop((kill_switch, receiver));
    }
}
