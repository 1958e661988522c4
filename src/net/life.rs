//! Whether, how far and why one connection has ended. Every thread and every call asks here, and
//! nothing else knows.
//!
//! ```text
//!           begin                       end
//!   Open ──────────▶ Closing ─────────────────────▶ Over
//!    │ the other side's FIN                          ▲
//!    ├─────────────▶ Answering ──────────────────────┤
//!    └───────────────────────────────────────────────┘
//! ```
//!
//! *Closing*: this side has begun the end. It accepts no more messages, writes those that it has
//! accepted, and then ends its direction in one of three [`Manner`]s.
//!
//! *Answering*: the other side's FIN came first. No more messages will come; what this side has
//! accepted is still written, and its own FIN behind it.
//!
//! *Over*: nothing comes or goes. The first cause of the end is its reason, and only a connection
//! that ended [`Outcome::Complete`] lets `close` return Ok.

use super::os::condvar::{is_late, wait};
use super::os::lock;
use super::os::sync::{AtomicU8, Condvar, Instant, Mutex, Ordering};
use crate::error::CloseReason;

/// How this side ends its direction of the connection, once what it has accepted is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// FIN; the reader goes on until the other side's. What comes until then is still taken in.
    Finish,
    /// Nobody takes messages any more, and nothing that has come is left. The socket is closed as a
    /// whole once everything sent has been acknowledged: its system then answers whatever still
    /// comes with a reset, so that nobody takes that for delivered. Where FIN was sent before, it is
    /// closed at once: the other side could take that FIN for an answer to its own.
    Leave,
    /// A reset, once everything sent has been acknowledged: something that came was thrown away, or
    /// the other side is a peerpy, which does not notice a FIN.
    Reset,
}

/// What can be said of the messages that this side has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The other side has taken in all of them.
    Complete,
    /// Maybe not.
    Unknown,
}

/// What has become of our own FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnFin {
    /// A harder manner can still do without it.
    No,
    /// The sender is at it, or at the record of an encrypted connection that stands before it.
    Begun,
    /// It is on its way.
    Sent,
}

/// How far the end has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    Closing {
        reason: CloseReason,
        manner: Manner,
        fin: OwnFin,
        /// [`Outcome::Complete`] as soon as that is known: what follows cannot change it any more.
        outcome: Outcome,
    },
    Answering {
        reason: CloseReason,
        /// [`Manner::Reset`] where something that came is thrown away meanwhile.
        manner: Manner,
        fin: OwnFin,
    },
    Over {
        reason: CloseReason,
        outcome: Outcome,
    },
}

impl State {
    /// This side is to end it. A manner can only become harder; a FIN that is decided goes out all the
    /// same. `false`: it was over already.
    fn begin(&mut self, why: CloseReason, how: Manner) -> bool {
        match self {
            State::Open => {
                *self = State::Closing {
                    reason: why,
                    manner: how,
                    fin: OwnFin::No,
                    outcome: Outcome::Unknown,
                };
            }
            State::Closing { manner, .. } => *manner = manner.harder(how),
            // The other side was first. What is thrown away here still has to be told there.
            State::Answering { manner, .. } => {
                if how == Manner::Reset {
                    *manner = how;
                }
            }
            State::Over { .. } => return false,
        }
        true
    }

    /// The reader has read the other side's FIN, between two messages.
    fn remote_finished(&mut self) {
        match self {
            State::Open => {
                *self = State::Answering {
                    reason: CloseReason::ClosedThere,
                    manner: Manner::Finish,
                    fin: OwnFin::No,
                };
            }
            // Nothing can come any more, so our FIN misleads nobody.
            State::Closing { manner, .. } if *manner == Manner::Leave => *manner = Manner::Finish,
            State::Closing { .. } | State::Answering { .. } | State::Over { .. } => {}
        }
    }

    /// Everything is written: is FIN to follow? If so, it is decided by that.
    fn begin_fin(&mut self) -> bool {
        let (State::Closing { manner, fin, .. } | State::Answering { manner, fin, .. }) = self
        else {
            return false;
        };
        if *fin == OwnFin::No && *manner == Manner::Finish {
            *fin = OwnFin::Begun;
        }
        *fin == OwnFin::Begun
    }

    fn fin_sent(&mut self) {
        if let State::Closing { fin, .. } | State::Answering { fin, .. } = self {
            *fin = OwnFin::Sent;
        }
    }

    /// The other side has finished as well, and its system has everything.
    fn complete(&mut self) {
        if let State::Closing { outcome, .. } = self {
            *outcome = Outcome::Complete;
        }
    }

    /// The end: by this cause, unless there was another before. `None`: it was over already.
    fn end(&mut self, cause: CloseReason, outcome: Outcome) -> Option<CloseReason> {
        let (reason, outcome) = match self {
            State::Over { .. } => return None,
            State::Answering { reason, .. } => (reason.clone(), outcome),
            // It is late, and nothing is missing.
            State::Closing {
                reason,
                outcome: Outcome::Complete,
                ..
            } if cause == CloseReason::TimedOut => (reason.clone(), Outcome::Complete),
            State::Closing {
                outcome: Outcome::Complete,
                ..
            } => (cause, Outcome::Complete),
            State::Open | State::Closing { .. } => (cause, outcome),
        };
        *self = State::Over {
            reason: reason.clone(),
            outcome,
        };
        Some(reason)
    }

    /// What `close_reason` says: a connection that is being closed has not ended yet.
    fn reason(&self) -> Option<&CloseReason> {
        match self {
            State::Open | State::Closing { .. } => None,
            State::Answering { reason, .. } | State::Over { reason, .. } => Some(reason),
        }
    }

    fn phase(&self) -> u8 {
        match self {
            State::Open => OPEN,
            State::Closing { .. } | State::Answering { .. } => ENDING,
            State::Over { .. } => OVER,
        }
    }
}

impl Manner {
    fn harder(self, other: Manner) -> Manner {
        let rank = |manner| match manner {
            Manner::Finish => 0,
            Manner::Leave => 1,
            Manner::Reset => 2,
        };
        if rank(other) > rank(self) {
            other
        } else {
            self
        }
    }
}

const OPEN: u8 = 0;
const ENDING: u8 = 1;
const OVER: u8 = 2;

/// [`State`], shared by the threads of one connection.
pub(crate) struct Life {
    state: Mutex<State>,
    /// Signalled when it is over.
    over: Condvar,
    /// How far the state has come, for those who look at each message. Changed under the lock, and
    /// never back.
    phase: AtomicU8,
    /// The first error of the socket. The system tells an error once, to whoever comes first; after
    /// that a read finds "end of input", as after a FIN. Whoever finds that asks here.
    fault: Mutex<Option<CloseReason>>,
}

impl Default for Life {
    fn default() -> Life {
        Life {
            state: Mutex::new(State::Open),
            over: Condvar::new(),
            phase: AtomicU8::new(OPEN),
            fault: Mutex::new(None),
        }
    }
}

impl Life {
    /// Is this side, or the other, about to end it, or has it ended? No more messages are accepted.
    #[inline]
    pub fn is_ending(&self) -> bool {
        self.phase.load(Ordering::SeqCst) != OPEN
    }

    /// Has it ended? Threads and blocked calls let go of the socket.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.phase.load(Ordering::SeqCst) == OVER
    }

    /// Begins the end by this side; see [`Manner`]. `false`: it was over already.
    pub fn begin(&self, reason: CloseReason, manner: Manner) -> bool {
        self.change(|state| state.begin(reason, manner))
    }

    /// The other side's FIN was read, between two messages.
    pub fn remote_finished(&self) {
        self.change(State::remote_finished);
    }

    /// Everything is written: is FIN to follow? If so, it is decided by that: no harder manner can do
    /// without it any more.
    pub fn begin_fin(&self) -> bool {
        self.change(State::begin_fin)
    }

    /// Our FIN is on its way.
    pub fn fin_sent(&self) {
        self.change(State::fin_sent);
    }

    /// Both sides have sent FIN, and the other side's system has everything. A deadline that passes
    /// before the end makes no difference any more.
    pub fn complete(&self) {
        self.change(State::complete);
    }

    /// Ends it. The first cause counts: `Some` is the reason, for the one call that ended it, which
    /// then lets go of all that the connection holds.
    pub fn end(&self, cause: CloseReason, outcome: Outcome) -> Option<CloseReason> {
        let ended = self.change(|state| state.end(cause, outcome));
        if ended.is_some() {
            self.over.notify_all();
        }
        ended
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = lock(&self.state);
        let result = change(&mut state);
        self.phase.store(state.phase(), Ordering::SeqCst);
        result
    }

    /// What `close_reason` says.
    pub fn reason(&self) -> Option<CloseReason> {
        lock(&self.state).reason().cloned()
    }

    /// Why no message is accepted, or none will come: the reason of the end, or of one under way.
    pub fn why(&self) -> CloseReason {
        match &*lock(&self.state) {
            State::Closing { reason, .. }
            | State::Answering { reason, .. }
            | State::Over { reason, .. } => reason.clone(),
            // Nobody asks an open connection.
            State::Open => CloseReason::ClosedHere,
        }
    }

    /// How this side ends its direction, if an end is under way.
    pub fn manner(&self) -> Option<Manner> {
        match *lock(&self.state) {
            State::Closing { manner, .. } | State::Answering { manner, .. } => Some(manner),
            State::Open | State::Over { .. } => None,
        }
    }

    /// Was the other side the first to end it? Then the program knows the end already.
    pub fn is_answering(&self) -> bool {
        matches!(*lock(&self.state), State::Answering { .. })
    }

    pub fn is_fin_sent(&self) -> bool {
        matches!(
            *lock(&self.state),
            State::Closing {
                fin: OwnFin::Sent,
                ..
            } | State::Answering {
                fin: OwnFin::Sent,
                ..
            }
        )
    }

    /// Waits until it is over. `None`: not before the deadline.
    pub fn wait(&self, deadline: Instant) -> Option<(CloseReason, Outcome)> {
        let mut state = lock(&self.state);
        loop {
            if let State::Over { reason, outcome } = &*state {
                return Some((reason.clone(), *outcome));
            }
            if is_late(Some(deadline)) {
                return None;
            }
            state = wait(&self.over, state, Some(deadline));
        }
    }

    /// The first error of the socket that anyone has met.
    pub fn fault(&self) -> Option<CloseReason> {
        lock(&self.fault).clone()
    }

    /// An error of the socket was met.
    pub fn note_fault(&self, reason: CloseReason) {
        lock(&self.fault).get_or_insert(reason);
    }

    /// Runs something that may take an error from the socket. Whoever asks for the fault meanwhile
    /// waits until it is known.
    pub fn look<T>(&self, look: impl FnOnce() -> Result<T, CloseReason>) -> Option<T> {
        let mut fault = lock(&self.fault);
        look().map_err(|met| fault.get_or_insert(met)).ok()
    }
}

#[cfg(test)]
#[path = "life/tests.rs"] // found from tests/schedules as well
mod tests;
