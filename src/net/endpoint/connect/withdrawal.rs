//! What ends an attempt to connect that is not wanted any more, from another thread.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::net::os::lock;
use crate::net::os::socket::reset;
use crate::net::os::sync::{Instant, Mutex, TcpStream};

/// What one call asks for, by one socket or by several, until one of them is agreed on or all are
/// withdrawn.
///
/// The threads that ask share it with whoever may withdraw. The lock decides between the two: after it, a
/// call has either a connection or none. Sockets are reset without the lock.
pub(crate) struct Withdrawal(Mutex<State>);

enum State {
    /// These sockets ask.
    Asking {
        sockets: Vec<Arc<TcpStream>>,
        /// When one of them has said something to the other side.
        spoken: Option<Instant>,
    },
    /// One was agreed on.
    Settled,
    Withdrawn,
}

impl Withdrawal {
    pub fn new() -> Arc<Withdrawal> {
        Arc::new(Withdrawal(Mutex::new(State::Asking {
            sockets: Vec::new(),
            spoken: None,
        })))
    }

    /// From now on this socket asks too.
    pub(super) fn cover(&self, socket: &Arc<TcpStream>) -> Result<()> {
        match &mut *lock(&self.0) {
            State::Asking { sockets, .. } => sockets.push(Arc::clone(socket)),
            State::Settled | State::Withdrawn => return Err(Error::Withdrawn),
        }
        Ok(())
    }

    /// One of the sockets is about to say something.
    pub(super) fn speak(&self) -> Result<()> {
        match &mut *lock(&self.0) {
            State::Asking { spoken, .. } => {
                spoken.get_or_insert_with(Instant::now);
            }
            State::Settled | State::Withdrawn => return Err(Error::Withdrawn),
        }
        Ok(())
    }

    /// The other side has agreed by this socket; the others do not ask any more. `false`: nobody asks
    /// any more, and there will be no connection.
    pub(super) fn settle(&self, winner: &Arc<TcpStream>) -> bool {
        self.end(State::Settled, Some(winner), None)
    }

    /// Nobody asks any more. `false`: there is a connection already, or it was withdrawn before.
    ///
    /// The other side may accept in this moment, and send. It is to see a reset, since a FIN would tell
    /// it that all of that was taken in.
    pub fn withdraw(&self) -> bool {
        self.end(State::Withdrawn, None, None)
    }

    /// As [`withdraw`](Withdrawal::withdraw), but only if the other side has heard nothing yet, or has
    /// left it unanswered for `patience`.
    pub fn withdraw_unanswered(&self, patience: Duration) -> bool {
        self.end(State::Withdrawn, None, Some(patience))
    }

    fn end(&self, end: State, winner: Option<&Arc<TcpStream>>, patience: Option<Duration>) -> bool {
        let mut state = lock(&self.0);
        let State::Asking { sockets, spoken } = &mut *state else {
            return false;
        };
        if let (Some(patience), Some(at)) = (patience, *spoken) {
            if at.elapsed() < patience {
                return false;
            }
        }
        let sockets = std::mem::take(sockets);
        *state = end;
        drop(state);
        let is_winner = |socket: &Arc<TcpStream>| winner.is_some_and(|w| Arc::ptr_eq(w, socket));
        let losers = sockets.iter().filter(|socket| !is_winner(socket));
        losers.for_each(|socket| reset(socket));
        true
    }
}
