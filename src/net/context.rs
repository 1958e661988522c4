//! What every connection of a peer shares with the peer: its settings, its threads and its timers.

use std::io;
use std::net::SocketAddrV4;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use super::os::sync::{AtomicBool, Instant, Ordering};
use super::os::table::{Table, has_table};
use super::os::threads::Threads;
use super::os::timer::{Task, Timer};
use crate::options::Settings;

/// A flusher without bursts ends its thread after this time.
const RETIRE: Duration = Duration::from_secs(1);

/// The flusher looks at its bursts every 50 µs, of which systems make about twice that: for a
/// burst that begins between two looks it is not woken.
const SLACK: Duration = Duration::from_micros(100);

pub(crate) struct Context {
    pub settings: Settings,
    /// Where the peer listens; the IP is 0.0.0.0 if on every interface.
    pub local_addr: SocketAddrV4,
    pub threads: Arc<Threads>,
    /// Runs what may take a while: ends that are overdue, and looks at the system's table. Its
    /// thread is there from the first connection until the peer stops.
    pub watchdog: Arc<Timer>,
    /// Writes what bursts have gathered.
    pub flusher: Arc<Timer>,
    pub table: Table,
    writes: Writes,
}

/// Writes that may stay unacknowledged: while there are some, the watchdog looks whether the other
/// sides still answer.
#[derive(Default)]
struct Writes {
    /// Something was written since the last look.
    noted: AtomicBool,
    /// The look, and how long after a write it is due. Empty where nobody is to look.
    look: OnceLock<(Weak<dyn Task>, Duration)>,
}

impl Context {
    pub fn new(settings: Settings, local_addr: SocketAddrV4) -> Context {
        Context {
            settings,
            local_addr,
            threads: Threads::new(
                #[cfg(test)]
                local_addr,
            ),
            watchdog: Arc::new(Timer::new("lanpeer-timer", None, Duration::ZERO)),
            flusher: Arc::new(Timer::new("lanpeer-flush", Some(RETIRE), SLACK)),
            table: Table::default(),
            writes: Writes::default(),
        }
    }

    /// Starts the watchdog, if it does not run. From then on every task that is given to it is run,
    /// so that what a connection leaves to it is done.
    pub fn start_watchdog(&self) -> io::Result<()> {
        self.watchdog.start(&self.threads)
    }

    /// Has the watchdog run `task` at a time. The peer has had a connection, so the watchdog was
    /// started; a peer that was stopped drops the task.
    pub fn watch(&self, at: Instant, task: Arc<dyn Task>) {
        let _ = self.watchdog.schedule(&self.threads, at, task);
    }

    /// From now on, `look` is run `after` a write.
    pub fn look_after_writes(&self, look: Weak<dyn Task>, after: Duration) {
        if has_table() {
            let _ = self.writes.look.set((look, after));
        }
    }

    /// Something was written: to be said afterwards, or the watchdog could look in between, see
    /// nothing, and go to sleep. Costs a load while a look is due.
    #[inline]
    pub fn note_write(&self) {
        if !self.writes.noted.load(Ordering::Relaxed) {
            self.note_first_write();
        }
    }

    #[cold]
    fn note_first_write(&self) {
        let Some((look, after)) = self.writes.look.get() else {
            return;
        };
        if !self.writes.noted.swap(true, Ordering::SeqCst) {
            if let Some(look) = look.upgrade() {
                self.watch(Instant::now() + *after, look);
            }
        }
    }

    /// A look begins: writes from here on ask for another.
    pub fn begin_look(&self) {
        self.writes.noted.store(false, Ordering::SeqCst);
    }

    /// A look has found something unacknowledged, and will come again. `false`: a write has asked
    /// for one already.
    pub fn look_again(&self) -> bool {
        !self.writes.noted.swap(true, Ordering::SeqCst)
    }
}
