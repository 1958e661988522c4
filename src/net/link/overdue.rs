//! What follows an end that has begun, when the other side's system has acknowledged everything, or
//! at the deadline: the watchdog's task.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Link;
use crate::error::CloseReason;
use crate::format::Dialect;
use crate::net::life::{Manner, Outcome};
use crate::net::os::lock;
use crate::net::os::socket::{reset, wake_reader};
use crate::net::os::sync::{Instant, Mutex, thread};
use crate::net::os::timer::Task;

/// The system tells nobody when an acknowledgement comes: the table is looked at again after this
/// time at first, and then less and less often. So is a queue that a full socket does not empty.
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
/// acknowledged, and the deadline at which it is over in any case. Each `close` begins one, and each ends
/// when it finds the connection over.
pub(super) struct Overdue {
    /// Weak: a deadline that is far keeps no connection that has ended.
    link: Weak<Link>,
    /// When the connection ends in any case.
    deadline: Instant,
    /// Changed by the watchdog alone. Its lock is released before the connection is ended, which takes
    /// locks that come before it.
    progress: Mutex<Progress>,
}

/// How far an end has come that waits for acknowledgements.
#[derive(Clone, Copy)]
enum Progress {
    /// Something may not be handed to the system yet. The next look is due after the pause.
    Writing { pause: Duration },
    /// Everything was, at this time. The next look is due after the pause.
    Written { at: Instant, pause: Duration },
}

impl Overdue {
    pub fn task(link: &Arc<Link>, deadline: Instant) -> Arc<Overdue> {
        Arc::new(Overdue {
            link: Arc::downgrade(link),
            deadline,
            progress: Mutex::new(Progress::Writing { pause: LOOK_MIN }),
        })
    }
}

impl Task for Overdue {
    /// The deadline may be far when the connection is gone.
    fn is_pointless(&self) -> bool {
        self.link.strong_count() == 0
    }

    fn run(&self, now: Instant) -> Option<Instant> {
        let link = self.link.upgrade()?;
        if link.life.is_over() {
            return None;
        }
        if now >= self.deadline {
            let late = match link.life.why() {
                // What is left when a peer stops ends by that.
                why @ (CloseReason::Stopped | CloseReason::PeerDropped) => why,
                _ => CloseReason::TimedOut,
            };
            link.kill(link.life.fault().unwrap_or(late));
            return None;
        }
        let manner = link.life.manner()?;
        // In frames, what follows is the other side's word.
        let is_told = link.dialect == Dialect::Frames;
        if manner == Manner::Finish || is_told || link.is_released() {
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
            Progress::Writing { pause } if !link.sender.is_drained() => {
                let pause = (pause * 2).min(LOOK_MAX);
                *progress = Progress::Writing { pause };
                now + pause
            }
            Progress::Writing { .. } => {
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
        match self.context.look_at_row(self.ends, since) {
            Some(Some(row)) if row.unacknowledged > 0 => Acknowledged::NotYet,
            Some(Some(_)) => Acknowledged::All,
            Some(None) => Acknowledged::Gone,
            None => Acknowledged::Untold,
        }
    }

    /// Waits until the other side's system has everything. `false`: it never will, or not before the
    /// deadline. For the reader thread, which has nothing else to do at that point. The system tells nobody
    /// of an acknowledgement, so it looks again and again.
    pub(super) fn wait_until_acknowledged(&self, deadline: Instant) -> bool {
        let mut pause = LOOK_MIN;
        loop {
            match self.acknowledged(Instant::now()) {
                Acknowledged::All => return true,
                Acknowledged::Gone => return false,
                Acknowledged::Untold => {
                    thread::sleep(WITHOUT_TABLE);
                    return true;
                }
                Acknowledged::NotYet => {}
            }
            if self.life.is_over() || Instant::now() >= deadline {
                return false;
            }
            thread::sleep(pause);
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
                wake_reader(&socket);
            }
            return true;
        }
        let outcome = match self.dialect {
            Dialect::Peerpy => Outcome::Complete,
            Dialect::Frames | Dialect::Headers => Outcome::Unknown,
        };
        self.end(self.life.why(), outcome, reset);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::os::socket::WRITE_SLICE;
    use crate::{Bytes, Connection, Peer};

    type Ends = (Connection<Bytes>, Connection<Bytes>);

    /// A connection whose other side takes nothing, with more sent than the system takes.
    fn full() -> (Peer, Peer, Ends, Arc<Link>) {
        let bind = || {
            let builder = Peer::builder().invisible(true).text_headers(true);
            let builder = builder.receive_queue(1);
            builder.bind("127.0.0.1:0").unwrap()
        };
        let (alice, bob) = (bind(), bind());
        let (peer, addr) = (alice.clone(), bob.local_addr());
        let connecting = std::thread::spawn(move || peer.connect::<Bytes>(addr).unwrap());
        let to_alice = bob.accept::<Bytes>().unwrap();
        let to_bob = connecting.join().unwrap();
        while to_bob.send_timeout(&[7; 60_000], WRITE_SLICE * 4).is_ok() {}
        let link = Arc::clone(&alice.endpoint().links()[0]);
        (alice, bob, (to_bob, to_alice), link)
    }

    /// A socket may stay full until the deadline.
    #[test]
    fn what_waits_for_a_full_socket_is_looked_at_less_and_less_often() {
        let (_alice, _bob, _ends, link) = full();
        assert!(!link.sender.is_drained());
        link.life.begin(CloseReason::ClosedHere, Manner::Leave);
        let begin = Instant::now();
        let deadline = begin + Duration::from_secs(3600);
        let task = Overdue::task(&link, deadline);
        let mut now = begin;
        let looks = (0..).take_while(|_| {
            now = task.run(now).expect("it is not over");
            now < begin + Duration::from_secs(1)
        });
        let looks = looks.count();
        assert!((40..80).contains(&looks), "{looks} looks in a second");
        assert_eq!(task.run(deadline - LOOK_MIN), Some(deadline));
    }

    #[test]
    fn a_task_whose_connection_is_gone_is_pointless() {
        let (alice, bob, ends, link) = full();
        let task = Overdue::task(&link, Instant::now());
        assert!(!task.is_pointless());
        link.kill(CloseReason::Aborted);
        drop((ends, link));
        alice.stop();
        bob.stop();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !task.is_pointless() {
            assert!(Instant::now() < deadline, "something keeps the connection");
            thread::sleep(LOOK_MIN);
        }
    }
}
