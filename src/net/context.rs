//! What every connection of a peer shares with the peer: its settings, its threads and its timers.

use std::io;
use std::net::SocketAddrV4;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::os::lock;
use super::os::sync::{AtomicBool, Instant, Mutex, OnceLock, Ordering};
use super::os::table::{Ends, Row, Rows, Table, has_table};
use super::os::threads::Threads;
use super::os::timer::{Task, Timer};
use crate::options::Settings;

/// A flusher without bursts ends its thread after this time.
const RETIRE: Duration = Duration::from_secs(1);

/// The flusher looks at its bursts every 50 µs, of which systems make about twice that: for a
/// burst that begins between two looks it is not woken.
const SLACK: Duration = Duration::from_micros(100);

/// A reading of the system's table, which has a row for each connection of the machine, is kept for so
/// long after the first look of several.
const KEEP_TABLE: Duration = Duration::from_secs(1);

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
    table: Table,
    /// The system has that table. Where it has none, remotes are asked for signs of life.
    has_table: bool,
    /// The watchdog will give the memory of the last reading back.
    forgets: AtomicBool,
    writes: Writes,
    /// Messages of connections that have ended.
    pub totals: Totals,
}

/// Messages, and the bytes of their payloads, each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub messages_sent: u64,
    pub bytes_sent: u64,
    pub messages_received: u64,
    pub bytes_received: u64,
    pub replaced: u64,
}

impl Numbers {
    fn zip(self, other: Numbers, with: fn(u64, u64) -> u64) -> Numbers {
        Numbers {
            messages_sent: with(self.messages_sent, other.messages_sent),
            bytes_sent: with(self.bytes_sent, other.bytes_sent),
            messages_received: with(self.messages_received, other.messages_received),
            bytes_received: with(self.bytes_received, other.bytes_received),
            replaced: with(self.replaced, other.replaced),
        }
    }
}

/// Numbers may also shrink: a message that could not be written is taken back.
impl std::ops::Add for Numbers {
    type Output = Numbers;

    fn add(self, other: Numbers) -> Numbers {
        self.zip(other, u64::wrapping_add)
    }
}

impl std::ops::Sub for Numbers {
    type Output = Numbers;

    fn sub(self, other: Numbers) -> Numbers {
        self.zip(other, u64::wrapping_sub)
    }
}

/// A sum of them.
#[derive(Default)]
pub(crate) struct Totals(Mutex<Numbers>);

impl Totals {
    pub fn add(&self, numbers: Numbers) {
        let mut sum = lock(&self.0);
        *sum = *sum + numbers;
    }

    pub fn numbers(&self) -> Numbers {
        *lock(&self.0)
    }
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
            has_table: has_table(),
            settings,
            local_addr,
            threads: Threads::new(
                #[cfg(test)]
                local_addr,
            ),
            watchdog: Arc::new(Timer::new("lanpeer-timer", None, Duration::ZERO)),
            flusher: Arc::new(Timer::new("lanpeer-flush", Some(RETIRE), SLACK)),
            table: Table::default(),
            forgets: AtomicBool::new(false),
            writes: Writes::default(),
            totals: Totals::default(),
        }
    }

    /// Starts the watchdog, if it does not run. From then on every task that is given to it is run,
    /// so that what a connection leaves to it is done.
    pub fn start_watchdog(&self) -> io::Result<()> {
        self.watchdog.start(&self.threads)
    }

    /// Has the watchdog run `task` at a time. The peer has had a connection, so the watchdog was
    /// started; a peer that was stopped drops the task. Starts no thread, so the caller may hold a
    /// lock.
    pub fn watch(&self, at: Instant, task: Arc<dyn Task>) {
        let _ = self.watchdog.schedule_started(at, task);
    }

    /// The system's table as it was after `since`. `None`: there is none, or no file descriptor for it.
    pub fn look_at_table(self: &Arc<Context>, since: Instant) -> Option<Arc<Rows>> {
        let rows = self.table.look(since)?;
        self.forget_later();
        Some(rows)
    }

    /// The same for one connection. `Some(None)`: the system does not know it any more.
    pub fn look_at_row(self: &Arc<Context>, ends: Ends, since: Instant) -> Option<Option<Row>> {
        let row = self.table.look_at(ends, since)?;
        self.forget_later();
        Some(row)
    }

    /// For how long nothing has come of the other side's system, not even an acknowledgement. `None`: this
    /// system does not say.
    pub fn silence_of(&self, ends: Ends) -> Option<Duration> {
        self.table.silence(ends)
    }

    fn forget_later(self: &Arc<Context>) {
        if !self.forgets.swap(true, Ordering::SeqCst) {
            let forget = Arc::new(Forget(Arc::downgrade(self)));
            self.watch(Instant::now() + KEEP_TABLE, forget);
        }
    }

    /// Does the system not tell in time that a remote has died while data was on its way to it, and
    /// does the program want to know?
    pub fn listens_for_remotes(&self) -> bool {
        !self.has_table && self.settings.keepalive.is_some()
    }

    /// From now on, `look` is run `after` a write.
    pub fn look_after_writes(&self, look: Weak<dyn Task>, after: Duration) {
        let _ = self.writes.look.set((look, after));
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

/// Gives the memory of the table's last reading back, and what it is read by.
struct Forget(Weak<Context>);

impl Task for Forget {
    fn run(&self, _: Instant) -> Option<Instant> {
        let context = self.0.upgrade()?;
        // In this order: a look in between asks for another.
        context.forgets.store(false, Ordering::SeqCst);
        context.table.forget();
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_reading_of_the_table_does_not_stay() {
        let context = Arc::new(Context::new(
            Settings::default(),
            "127.0.0.1:9".parse().unwrap(),
        ));
        context.start_watchdog().unwrap();
        for _ in 0..2 {
            let rows = context.look_at_table(Instant::now()).unwrap();
            let deadline = Instant::now() + Duration::from_secs(20);
            while Arc::strong_count(&rows) > 1 {
                assert!(Instant::now() < deadline, "the reading stays");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        context.watchdog.stop();
    }
}
