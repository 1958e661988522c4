//! Notices remotes that died while data was on its way to them: a task of the watchdog, which sleeps
//! while nothing is unacknowledged.
//!
//! The system's keepalive notices a dead remote only while nothing is unacknowledged; then its
//! retransmissions take over, for a quarter of an hour. Its user timeout would end those in time,
//! but, measured on Linux 6.18, it also ends a connection whose remote is alive and merely slow: a
//! full window counts as no progress even while each probe is answered. So the system's
//! table of connections is asked instead, which tells the two apart.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Endpoint;
use crate::error::CloseReason;
use crate::net::context::Context;
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
    /// Connections whose remote owes an answer, by number, and since when that is seen. Only the watchdog's
    /// thread changes it. The lock of the open connections is taken under it.
    suspects: Mutex<HashMap<u64, Instant>>,
}

impl DeadRemotes {
    pub fn new(endpoint: &Weak<Endpoint>, keepalive: Option<Duration>) -> Arc<DeadRemotes> {
        Arc::new(DeadRemotes {
            endpoint: endpoint.clone(),
            keepalive,
            suspects: Mutex::default(),
        })
    }

    /// From now on each write after a look asks the watchdog for the next one.
    pub fn begin(self: &Arc<DeadRemotes>, context: &Context) {
        if let Some(keepalive) = self.keepalive {
            let look: Arc<dyn Task> = self.clone();
            context.look_after_writes(Arc::downgrade(&look), keepalive / 8);
        }
    }

    /// Ends the connections whose remote has left everything unanswered for seven eighths of the
    /// keepalive (it was silent for some time before that was seen). Says whether any connection
    /// still has unacknowledged data.
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
                let since = suspects.get(&link.id).copied().unwrap_or(now);
                if now.duration_since(since) >= keepalive * 7 / 8 {
                    dead.push(Arc::clone(link));
                } else {
                    still.insert(link.id, since);
                }
            }
        }
        *suspects = still;
        // A kill tells the peer, which takes other locks.
        drop(suspects);
        for link in dead {
            link.kill(CloseReason::TimedOut);
        }
        outstanding
    }
}

impl Task for DeadRemotes {
    fn run(&self, now: Instant) -> Option<Instant> {
        let (endpoint, keepalive) = (self.endpoint.upgrade()?, self.keepalive?);
        // Before the table is read: a write from here on asks for the next look, because this one may
        // not see it.
        endpoint.begin_look();
        let again = self.look(&endpoint, keepalive) && endpoint.look_again();
        again.then(|| now + keepalive / 8)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::File;
    use std::process::Command;

    use super::*;
    use crate::options::Settings;

    /// That says nothing of the remotes.
    #[test]
    fn a_table_that_cannot_be_read_is_looked_at_again() {
        const ROLE: &str = "LANPEER_TEST_WITHOUT_FILES";
        if std::env::var_os(ROLE).is_none() {
            // In a process of its own: other tests want file descriptors.
            let name = "net::endpoint::dead_remotes::tests::a_table_that_cannot_be_read_is_looked_at_again";
            let mut shell = Command::new("sh");
            shell.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""]);
            shell.arg(std::env::current_exe().unwrap());
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
