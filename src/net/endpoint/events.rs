//! What a peer tells its program: a bounded channel. Where the program does not listen, events are
//! dropped, counted, and told as dropped before the next event that finds room.

use crate::event::Event;
use crate::net::os::lock;
use crate::net::os::sync::{Mutex, Receiver, Sender, bounded};

/// The most events that wait for the program. Further ones are counted and dropped.
const WAITING: usize = 256;

/// The events of one peer. Any thread of it may tell one, also under other locks: this one comes last, and
/// nothing waits under it.
pub(crate) struct Events {
    /// Held by whoever adds to the channel, so that events come in the order of the calls.
    state: Mutex<State>,
    /// Cloned for the program. Kept here, so that the channel lives before anyone asks for it.
    receiver: Receiver<Event>,
}

struct State {
    /// Taken at the end. The channel has one place more than [`WAITING`], so that even a full one can
    /// be told at its end how many events were dropped.
    sender: Option<Sender<Event>>,
    /// Events that were dropped since the program was told of some.
    dropped: u64,
    /// All that were dropped.
    dropped_in_all: u64,
}

impl Default for Events {
    fn default() -> Events {
        let (sender, receiver) = bounded(WAITING + 1);
        Events {
            state: Mutex::new(State {
                sender: Some(sender),
                dropped: 0,
                dropped_in_all: 0,
            }),
            receiver,
        }
    }
}

impl Events {
    pub fn receiver(&self) -> Receiver<Event> {
        self.receiver.clone()
    }

    /// Tells the program, if there is room; never waits.
    pub fn emit(&self, event: Event) {
        lock(&self.state).emit(event);
    }

    /// How many events found no room.
    pub fn count_dropped(&self) -> u64 {
        lock(&self.state).dropped_in_all
    }

    /// Ends the channel, behind the word of what was dropped last. `false`: it had ended. Called when all
    /// threads have ended that could tell anything.
    pub fn end(&self) -> bool {
        let mut state = lock(&self.state);
        let Some(sender) = state.sender.take() else {
            return false;
        };
        if state.dropped > 0 {
            let count = state.dropped;
            let _ = sender.try_send(Event::Dropped { count });
        }
        true
    }
}

impl State {
    fn emit(&mut self, event: Event) {
        let Some(sender) = &self.sender else { return };
        // Only those who have the lock add to the channel, so the room that is seen here stays. An
        // event after dropped ones needs two places: the first is for the word of those.
        let room = WAITING.saturating_sub(sender.len());
        let needed = if self.dropped > 0 { 2 } else { 1 };
        if room < needed {
            self.dropped += 1;
            self.dropped_in_all += 1;
            return;
        }
        if self.dropped > 0 {
            let count = std::mem::take(&mut self.dropped);
            let _ = sender.try_send(Event::Dropped { count });
        }
        let _ = sender.try_send(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event::NotDiscoverable {
            reason: String::new(),
        }
    }

    /// Takes what is there: how many events, and how many were said to be dropped. Between two
    /// events that are not neighbours there is always a word of it.
    fn take(receiver: &Receiver<Event>, most: usize) -> (u64, u64) {
        receiver
            .try_iter()
            .take(most)
            .fold((0, 0), |(told, dropped), event| match event {
                Event::Dropped { count } => (told, dropped + count),
                _ => (told + 1, dropped),
            })
    }

    #[test]
    fn what_is_dropped_is_told_before_the_next_event() {
        let events = Events::default();
        let receiver = events.receiver();
        for _ in 0..WAITING + 5 {
            events.emit(event());
        }
        assert_eq!(take(&receiver, 1), (1, 0));
        events.emit(event());
        // There was room for one, not for the word and the event.
        assert_eq!(take(&receiver, usize::MAX), (WAITING as u64 - 1, 0));
        events.emit(event());
        assert_eq!(receiver.try_recv(), Ok(Event::Dropped { count: 6 }));
        assert_eq!(receiver.try_recv(), Ok(event()));
    }

    #[test]
    fn what_is_dropped_last_is_told_at_the_end() {
        let events = Events::default();
        let receiver = events.receiver();
        for _ in 0..WAITING + 3 {
            events.emit(event());
        }
        assert!(events.end() && !events.end());
        events.emit(event());
        assert_eq!(take(&receiver, usize::MAX), (WAITING as u64, 3));
        assert!(receiver.recv().is_err());
    }

    /// Whatever is taken when: told and dropped add up.
    #[test]
    fn nothing_is_lost_without_word() {
        for step in 1..400 {
            let events = Events::default();
            let receiver = events.receiver();
            let mut seen = (0, 0);
            for index in 0..2_000_u64 {
                events.emit(event());
                if index % step == 0 {
                    let (told, dropped) = take(&receiver, (index % 7) as usize);
                    seen = (seen.0 + told, seen.1 + dropped);
                }
            }
            events.end();
            let (told, dropped) = take(&receiver, usize::MAX);
            assert_eq!(seen.0 + told + seen.1 + dropped, 2_000);
        }
    }
}
