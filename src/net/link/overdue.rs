//! What follows an end that has begun, when the other side's system has acknowledged everything, or
//! at the deadline: the watchdog's task.

use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::sleep;
use std::time::Duration;

use super::Link;
use crate::error::CloseReason;
use crate::format::Dialect;
use crate::net::life::{Manner, Outcome};
use crate::net::os::lock;
use crate::net::os::socket::reset;
use crate::net::os::sync::{Instant, Mutex};
use crate::net::os::timer::Task;

/// The system tells nobody when an acknowledgement comes: the table is looked at again after this
/// time at first, and then less and less often.
const LOOK_MIN: Duration = Duration::from_micros(200);
const LOOK_MAX: Duration = Duration::from_millis(20);

/// Where the system has no table: what a LAN needs for the last segment, generously.
const WITHOUT_TABLE: Duration = Duration::from_millis(200);

/// What has become of everything that was written.
enum Acknowledged {
    NotYet,
    All,
    /// The system knows no such connection any more.
    Gone,
    /// There is no table.
    Untold,
}

/// The watchdog's task for an end that has begun: what is to follow when everything is written and
/// acknowledged, and the deadline at which it is over in any case.
pub(super) struct Overdue {
    link: Weak<Link>,
    deadline: Instant,
    progress: Mutex<Progress>,
}

/// How far an end has come that waits for acknowledgements.
#[derive(Clone, Copy)]
enum Progress {
    /// Something may not be handed to the system yet.
    Writing,
    /// Everything was, at this time. The next look is due after the pause.
    Written { at: Instant, pause: Duration },
}

impl Overdue {
    pub fn task(link: &Arc<Link>, deadline: Instant) -> Arc<Overdue> {
        Arc::new(Overdue {
            link: Arc::downgrade(link),
            deadline,
            progress: Mutex::new(Progress::Writing),
        })
    }
}

impl Task for Overdue {
    fn run(&self, now: Instant) -> Option<Instant> {
        let link = self.link.upgrade()?;
        if link.life.is_over() {
            return None;
        }
        if now >= self.deadline {
            let late = match link.life.why() {
                // What is left when a peer stops ends by that.
                CloseReason::Stopped => CloseReason::Stopped,
                _ => CloseReason::TimedOut,
            };
            link.kill(link.life.fault().unwrap_or(late));
            return None;
        }
        let manner = link.life.manner()?;
        if manner == Manner::Finish || link.is_released() {
            return Some(self.deadline);
        }
        if let Some(fault) = link.life.fault() {
            link.kill(fault);
            return None;
        }
        if manner == Manner::Leave && link.life.is_fin_sent() {
            return link.finish_unread(manner).then_some(self.deadline);
        }
        let mut progress = lock(&self.progress);
        let again = match *progress {
            Progress::Writing if !link.sender.is_drained() => now + LOOK_MIN * 5,
            Progress::Writing => {
                // The table is looked at in a later run: one reading serves all that have come so far.
                let at = Instant::now();
                *progress = Progress::Written {
                    at,
                    pause: LOOK_MIN,
                };
                at + LOOK_MIN
            }
            Progress::Written { at, pause } => match link.acknowledged(at) {
                Acknowledged::NotYet => {
                    let pause = (pause * 2).min(LOOK_MAX);
                    *progress = Progress::Written { at: now, pause };
                    now + pause
                }
                Acknowledged::Untold if now < at + WITHOUT_TABLE => at + WITHOUT_TABLE,
                Acknowledged::Gone => {
                    drop(progress);
                    let over = match link.life.is_fin_sent() {
                        // Both sides have finished: there is nothing left to be reset.
                        true => link.life.why(),
                        false => CloseReason::Reset,
                    };
                    link.kill(link.life.fault().unwrap_or(over));
                    return None;
                }
                Acknowledged::All | Acknowledged::Untold => {
                    drop(progress);
                    return link.finish_unread(manner).then_some(self.deadline);
                }
            },
        };
        Some(again.min(self.deadline))
    }
}

impl Link {
    /// What has become of everything that this side had written by `since`.
    fn acknowledged(&self, since: Instant) -> Acknowledged {
        let Some(rows) = self.context.table.look(since) else {
            return Acknowledged::Untold;
        };
        match rows.get(&self.ends) {
            Some(row) if row.unacknowledged > 0 => Acknowledged::NotYet,
            Some(_) => Acknowledged::All,
            None => Acknowledged::Gone,
        }
    }

    /// Waits until the other side's system has everything. `false`: it never will, or not before the
    /// deadline.
    pub(super) fn wait_until_acknowledged(&self, deadline: Instant) -> bool {
        let mut pause = LOOK_MIN;
        loop {
            match self.acknowledged(Instant::now()) {
                Acknowledged::All => return true,
                Acknowledged::Gone => return false,
                Acknowledged::Untold => {
                    sleep(WITHOUT_TABLE);
                    return true;
                }
                Acknowledged::NotYet => {}
            }
            if self.life.is_over() || Instant::now() >= deadline {
                return false;
            }
            sleep(pause);
            pause = (pause * 2).min(LOOK_MAX);
        }
    }

    /// Everything that was sent is acknowledged, or left to the system, and nobody takes what comes.
    /// `true`: the reader is to do the rest.
    fn finish_unread(&self, manner: Manner) -> bool {
        if manner == Manner::Leave {
            self.released.store(true, Ordering::SeqCst);
            // The reader wakes, and closes the socket if nothing of a message has come.
            if let Ok(socket) = self.reading.socket() {
                let _ = socket.shutdown(Shutdown::Read);
            }
            return true;
        }
        let outcome = match self.dialect {
            Dialect::Peerpy => Outcome::Complete,
            Dialect::Lanpeer => Outcome::Unknown,
        };
        self.end(self.life.why(), outcome, reset);
        false
    }
}
