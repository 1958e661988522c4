//! Notices remotes that died while data was on its way to them: a task of the watchdog, which sleeps
//! while nothing is unacknowledged.
//!
//! The system's keepalive notices a dead remote only while nothing is unacknowledged; then its
//! retransmissions take over, for a quarter of an hour. Its user timeout would end those in time,
//! but, measured on Linux 6.18, it also ends a connection whose remote is alive and merely slow: a
//! full window counts as no progress even while each probe is answered. So the system's
//! table of connections is asked instead, which tells the two apart.
//!
//! Only Linux has that table. Elsewhere the remote is asked for a sign of life whenever something was
//! sent to it, and is dead when nothing of it was heard for too long. See `link/heartbeat`.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Endpoint;
use crate::error::CloseReason;
use crate::format::Dialect;
use crate::net::context::Context;
use crate::net::link::Link;
use crate::net::os::lock;
use crate::net::os::sync::{HashMap, Instant, Mutex};
use crate::net::os::timer::Task;

/// The watchdog's task. After a look that has found something unacknowledged it runs again; otherwise
/// the next write asks for it.
pub(crate) struct DeadRemotes {
    /// Weak, since the endpoint owns it.
    endpoint: Weak<Endpoint>,
    /// The silence after which a remote is dead. `None` where the program wants nobody to look.
    keepalive: Option<Duration>,
    /// Connections whose remote owes an answer, by number. Only the watchdog's thread changes it. The lock of
    /// the open connections is taken under it.
    suspects: Mutex<HashMap<u64, Suspect>>,
    /// What was heard of each remote by the last look, where the system has no table.
    heard: Mutex<HashMap<u64, Heard>>,
}

/// A remote that has left something unanswered.
#[derive(Clone, Copy)]
struct Suspect {
    /// Since when that is seen.
    since: Instant,
    /// The silence before that, as far as it counts.
    before: Duration,
}

impl Suspect {
    /// Nothing was heard of it for `silence`: it may have been silent before this side began to send, and the
    /// system's probes, which had found that out, end when data is on its way. A remote that is heard now and
    /// then has until its keepalive is over.
    fn new(since: Instant, silence: Duration, keepalive: Duration) -> Suspect {
        Suspect {
            since,
            before: silence.saturating_sub(keepalive / 8),
        }
    }

    fn is_dead(&self, now: Instant, keepalive: Duration) -> bool {
        now.duration_since(self.since) + self.before >= keepalive * 7 / 8
    }
}

/// What one look knows of a remote, for the next.
#[derive(Clone, Copy, Default)]
struct Heard {
    /// Reads that brought something.
    reads: u64,
    /// Messages sent to it.
    sent: u64,
    /// Some waited to be written: it could not be asked.
    waits: bool,
    /// Something of it was there that was not read yet.
    is_unread: bool,
    /// Since when it owes a sign of life.
    owes_since: Option<Instant>,
}

impl Heard {
    /// Is there a reason to ask it, or was it asked and owes the answer?
    fn is_of_interest(&self, (sent, waits): (u64, bool)) -> bool {
        self.owes_since.is_some() || sent != self.sent || waits
    }

    /// What is known now. `sent`: and whether some wait to be written. Says whether the remote is to be
    /// asked for a sign of life. What was read since it was asked may have come before that, and it may not have
    /// been asked because bytes waited: then it is asked again.
    fn next(
        self,
        reads: u64,
        (sent, waits): (u64, bool),
        is_unread: bool,
        now: Instant,
    ) -> (Heard, bool) {
        let owes_since = self.owes_since.filter(|_| reads == self.reads);
        let is_old = self.owes_since.is_some() && (self.is_unread || self.waits);
        let is_asked = owes_since.is_none() && (sent != self.sent || waits || is_old);
        let next = Heard {
            reads,
            sent,
            waits,
            is_unread,
            owes_since: owes_since.or(is_asked.then_some(now)),
        };
        (next, is_asked)
    }
}

impl DeadRemotes {
    pub fn new(endpoint: &Weak<Endpoint>, keepalive: Option<Duration>) -> Arc<DeadRemotes> {
        Arc::new(DeadRemotes {
            endpoint: endpoint.clone(),
            keepalive,
            suspects: Mutex::default(),
            heard: Mutex::default(),
        })
    }

    /// From now on each write after a look asks the watchdog for the next one.
    pub fn begin(self: &Arc<DeadRemotes>, context: &Context) {
        if let Some(keepalive) = self.keepalive {
            let look: Arc<dyn Task> = self.clone();
            context.look_after_writes(Arc::downgrade(&look), keepalive / 8);
        }
    }

    /// Ends the connections whose remote has left everything unanswered for seven eighths of the keepalive. If
    /// it was silent before that was seen, that silence counts. Says whether any connection still has
    /// unacknowledged data.
    fn look(&self, endpoint: &Endpoint, keepalive: Duration) -> bool {
        let Some(rows) = endpoint.context.look_at_table(Instant::now()) else {
            // There is no file descriptor for the table. The next look may find one.
            return true;
        };
        let now = Instant::now();
        let mut suspects = lock(&self.suspects);
        let mut outstanding = false;
        let mut still = HashMap::default();
        let mut dead = Vec::new();
        for link in endpoint.links().iter() {
            let Some(row) = rows.get(&link.ends) else {
                continue;
            };
            outstanding |= row.unacknowledged > 0;
            if row.unanswered {
                // The suspicion ends with the first look that finds an answer.
                let suspect = suspects.get(&link.id).copied();
                let suspect = suspect.unwrap_or_else(|| {
                    let silence = endpoint.context.silence_of(link.ends);
                    Suspect::new(now, silence.unwrap_or_default(), keepalive)
                });
                if suspect.is_dead(now, keepalive) {
                    dead.push(Arc::clone(link));
                } else {
                    still.insert(link.id, suspect);
                }
            }
        }
        *suspects = still;
        // A kill tells the peer, which takes other locks.
        drop(suspects);
        end(dead);
        outstanding
    }

    /// The same where the system has no table: those are dead of which nothing was heard for so long
    /// after they were asked for a sign of life.
    fn listen(&self, endpoint: &Endpoint, keepalive: Duration) -> bool {
        let now = Instant::now();
        let mut heard = lock(&self.heard);
        let mut outstanding = false;
        let mut still = HashMap::default();
        let (mut asked, mut dead) = (Vec::new(), Vec::new());
        let links = endpoint.links();
        // In the text protocol nobody can be asked: the system's own times hold there.
        for link in links.iter().filter(|link| link.dialect == Dialect::Frames) {
            let last = heard.get(&link.id).copied().unwrap_or_default();
            let sent = link.sent();
            // Looked at before the reads are: or what is read in between would look new.
            let is_unread = last.is_of_interest(sent) && link.has_unread();
            let (next, is_asked) = last.next(link.heard(), sent, is_unread, now);
            let silence = next.owes_since.map(|since| now.duration_since(since));
            // What has come and was not read yet may be its sign of life.
            if silence >= Some(keepalive * 7 / 8) && !is_unread {
                dead.push(Arc::clone(link));
            }
            if is_asked {
                asked.push(Arc::clone(link));
            }
            outstanding |= next.owes_since.is_some();
            still.insert(link.id, next);
        }
        *heard = still;
        drop(heard);
        // Both take other locks.
        asked.iter().for_each(Link::want_heartbeat);
        end(dead);
        outstanding
    }
}

fn end(dead: Vec<Arc<Link>>) {
    for link in dead {
        link.kill(CloseReason::TimedOut);
    }
}

impl Task for DeadRemotes {
    fn run(&self, now: Instant) -> Option<Instant> {
        let (endpoint, keepalive) = (self.endpoint.upgrade()?, self.keepalive?);
        // Before the table is read: a write from here on asks for the next look, because this one may
        // not see it.
        endpoint.begin_look();
        let is_outstanding = match endpoint.listens_for_remotes() {
            true => self.listen(&endpoint, keepalive),
            false => self.look(&endpoint, keepalive),
        };
        let again = is_outstanding && endpoint.look_again();
        again.then(|| now + keepalive / 8)
    }
}

#[cfg(test)]
mod heard_tests {
    use super::*;

    fn at(begin: Instant, seconds: u64) -> Instant {
        begin + Duration::from_secs(seconds)
    }

    #[test]
    fn who_was_sent_something_is_asked_once_until_it_is_heard() {
        let begin = Instant::now();
        let (heard, asked) = Heard::default().next(0, (0, false), false, begin);
        assert_eq!((heard.owes_since, asked), (None, false), "nothing was sent");
        let (heard, asked) = heard.next(0, (1, false), false, at(begin, 1));
        assert_eq!((heard.owes_since, asked), (Some(at(begin, 1)), true));
        let (heard, asked) = heard.next(0, (2, false), false, at(begin, 2));
        assert_eq!((heard.owes_since, asked), (Some(at(begin, 1)), false));
        // It is heard, and nothing was sent since.
        let (heard, asked) = heard.next(1, (2, false), false, at(begin, 3));
        assert_eq!((heard.owes_since, asked), (None, false));
        let (heard, asked) = heard.next(1, (2, false), false, at(begin, 4));
        assert_eq!((heard.owes_since, asked), (None, false));
    }

    /// What was heard may be older than what was sent since the last look.
    #[test]
    fn who_is_heard_and_sent_something_between_two_looks_is_asked_again() {
        let begin = Instant::now();
        let (heard, _) = Heard::default().next(0, (1, false), false, begin);
        let (heard, asked) = heard.next(1, (2, false), false, at(begin, 1));
        assert_eq!((heard.owes_since, asked), (Some(at(begin, 1)), true));
    }

    /// A slow program reads what came long ago from a remote that has died since.
    #[test]
    fn what_had_come_before_the_question_is_no_answer() {
        let begin = Instant::now();
        let (heard, asked) = Heard::default().next(1, (1, false), true, begin);
        assert!(asked);
        let (heard, asked) = heard.next(2, (1, false), false, at(begin, 1));
        assert_eq!((heard.owes_since, asked), (Some(at(begin, 1)), true));
        // From here on it can only be an answer.
        let (heard, asked) = heard.next(3, (1, false), false, at(begin, 2));
        assert_eq!((heard.owes_since, asked), (None, false));
    }

    /// What it was heard of meanwhile says nothing of bytes that had not left.
    #[test]
    fn who_could_not_be_asked_is_asked_when_all_is_written() {
        let begin = Instant::now();
        let (heard, _) = Heard::default().next(1, (1, true), false, begin);
        let (heard, asked) = heard.next(2, (1, false), false, at(begin, 1));
        assert_eq!((heard.owes_since, asked), (Some(at(begin, 1)), true));
        let (heard, asked) = heard.next(3, (1, false), false, at(begin, 2));
        assert_eq!((heard.owes_since, asked), (None, false));
    }

    #[test]
    fn what_waits_to_be_written_counts_as_sent() {
        let begin = Instant::now();
        let (heard, _) = Heard::default().next(5, (1, true), false, begin);
        let (heard, _) = heard.next(6, (1, true), false, at(begin, 1));
        assert_eq!(heard.owes_since, Some(at(begin, 1)));
        let (heard, _) = heard.next(6, (1, true), false, at(begin, 9));
        assert_eq!(heard.owes_since, Some(at(begin, 1)), "nothing was heard");
    }
}

#[cfg(test)]
mod suspect_tests {
    use super::*;

    #[test]
    fn a_remote_that_was_silent_before_has_less_time() {
        let (begin, keepalive) = (Instant::now(), Duration::from_secs(8));
        for (silence, left) in [(0, 7), (1, 7), (6, 2), (8, 0), (1_000, 0)] {
            let suspect = Suspect::new(begin, Duration::from_secs(silence), keepalive);
            let dies_at =
                |seconds| suspect.is_dead(begin + Duration::from_secs(seconds), keepalive);
            assert!(dies_at(left), "{silence}");
            assert!(left == 0 || !dies_at(left - 1), "{silence}");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::emulated::this_program_after;
    use crate::options::Settings;

    /// That says nothing of the remotes.
    #[test]
    fn a_table_that_cannot_be_read_is_looked_at_again() {
        const ROLE: &str = "LANPEER_TEST_WITHOUT_FILES";
        if std::env::var_os(ROLE).is_none() {
            // In a process of its own: other tests want file descriptors.
            let name = "net::endpoint::dead_remotes::tests::a_table_that_cannot_be_read_is_looked_at_again";
            let mut shell = this_program_after(&["sh", "-c", "ulimit -n 64 && exec \"$0\" \"$@\""]);
            let ran = shell.args(["--exact", name]).env(ROLE, "1").output();
            let story = String::from_utf8(ran.unwrap().stdout).unwrap();
            assert!(story.contains(" 1 passed"), "{story}");
            return;
        }
        let local_addr = "127.0.0.1:1".parse().unwrap();
        let endpoint = Endpoint::new(Settings::default(), local_addr, Box::new(Err));
        let keepalive = Duration::from_secs(10);
        let look = || endpoint.dead_remotes.look(&endpoint, keepalive);
        let files: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        assert!(look());
        drop(files);
        assert!(!look());
    }
}
