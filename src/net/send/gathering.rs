//! When what a burst has gathered is to be written, as a machine.
//!
//! Messages that follow each other closely gather for one write. The flusher writes at once when a
//! burst begins. From then on it looks at it every [`TICK`]: what has gathered is written when
//! nothing has come since the last look, or when it gets old. So a burst costs its sender no
//! wake-ups and few writes.

use std::time::Duration;

use crate::net::os::sync::Instant;

/// The flusher's pause between two looks at a burst. Systems sleep about twice as long.
pub(super) const TICK: Duration = Duration::from_micros(50);

/// In a burst that goes on, no message waits much longer than this.
const OLD: Duration = Duration::from_micros(500);

/// The state of one connection's burst. Lies in the send queue, under its lock: senders and the flusher
/// change it.
#[derive(Default)]
pub(super) struct Gathering {
    burst: Burst,
    /// How often what had gathered was written.
    writes: u64,
    /// The memory of past bursts will be given back.
    trim: bool,
}

#[derive(Default)]
enum Burst {
    #[default]
    None,
    /// The flusher has been told, and has not looked yet.
    Begun,
    /// What the flusher saw last.
    Seen {
        messages: u64,
        writes: u64,
        /// When it was last written, or first seen.
        since: Instant,
    },
}

/// What the flusher is to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Write what has gathered, if something has.
    pub write: bool,
    /// Look again.
    pub goes_on: bool,
}

impl Gathering {
    /// Does the flusher look at this connection?
    #[inline]
    pub fn is_on(&self) -> bool {
        !matches!(self.burst, Burst::None)
    }

    /// A burst has begun; the flusher is told of it.
    pub fn begin(&mut self) {
        self.burst = Burst::Begun;
    }

    /// A burst is over: is somebody to be told to give its memory back? Once, until that is done.
    pub fn is_to_be_trimmed(&mut self) -> bool {
        !std::mem::replace(&mut self.trim, true)
    }

    /// The memory was given back.
    pub fn trimmed(&mut self) {
        self.trim = false;
    }

    /// What had gathered was taken to be written, by whichever thread.
    pub fn note_write(&mut self) {
        self.writes += 1;
    }

    /// The flusher's look, with the number of messages so far.
    pub fn look(&mut self, now: Instant, messages: u64) -> Look {
        let (write, over, since) = match self.burst {
            Burst::None => (false, true, now),
            Burst::Begun => (true, false, now),
            Burst::Seen {
                messages: seen,
                writes,
                since,
            } => {
                let over = seen == messages;
                let since = if writes == self.writes { since } else { now };
                let old = now.duration_since(since) >= OLD;
                (over || old, over, since)
            }
        };
        self.burst = match over {
            true => Burst::None,
            false => Burst::Seen {
                messages,
                writes: self.writes,
                since,
            },
        };
        Look {
            write,
            goes_on: !over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: Look = Look {
        write: true,
        goes_on: true,
    };
    const WAIT: Look = Look {
        write: false,
        goes_on: true,
    };
    const OVER: Look = Look {
        write: true,
        goes_on: false,
    };

    #[test]
    fn a_burst_is_written_at_its_beginning_when_it_is_old_and_at_its_end() {
        let mut gathering = Gathering::default();
        let begun = Instant::now();
        gathering.begin();
        assert_eq!(gathering.look(begun, 1), WRITE);
        gathering.note_write();
        assert_eq!(gathering.look(begun + TICK, 2), WAIT);
        assert_eq!(
            gathering.look(begun + OLD + TICK, 3),
            WRITE,
            "since the last write"
        );
        gathering.note_write();
        assert_eq!(gathering.look(begun + OLD + 2 * TICK, 4), WAIT);
        assert_eq!(gathering.look(begun + OLD + 3 * TICK, 4), OVER);
        assert!(!gathering.is_on());
    }

    #[test]
    fn a_look_too_many_does_nothing() {
        let look = Gathering::default().look(Instant::now(), 5);
        assert!(!look.write && !look.goes_on);
    }
}
