//! The system's table of connections: whether the other side's system has acknowledged what was
//! written, and whether it still answers. From the kernel, see `diag`, or where it does not answer
//! from /proc. Linux and Android have it.

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use super::diag::Diag;
use super::lock;
use super::sync::{HashMap, Instant, Mutex};
use super::system::fs;

/// What the system knows of one connection: as much of its row as is needed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Bytes written by us and not yet acknowledged by the other side's system.
    pub unacknowledged: u64,
    /// The other side's system owes us an answer: a retransmission, or a probe of its full
    /// window, has been left unanswered twice or more.
    pub unanswered: bool,
}

/// This end of a connection and the other.
pub(crate) type Ends = (SocketAddrV4, SocketAddrV4);

pub(crate) type Rows = HashMap<Ends, Row>;

/// Asks for all who want to know. The table has every connection of the network namespace, and
/// where it is a file, reading it takes milliseconds for each thousand. So one reading serves everyone
/// who asked before it began.
#[derive(Default)]
pub(crate) struct Table {
    /// The last reading, and when it began. The lock is held over a whole reading, so that one thread
    /// reads and the others wait for its result.
    last: Mutex<Option<(Instant, Arc<Rows>)>>,
    /// The socket to the kernel, if it can be asked. Taken after `last`, if both are. A question about one
    /// connection takes this lock alone, since it needs no reading of the whole table.
    kernel: Mutex<Kernel>,
}

/// Whether the kernel can be asked.
#[derive(Default)]
enum Kernel {
    /// It was not asked yet, or its socket was given back by [`Table::forget`].
    #[default]
    Untried,
    /// It answered the last question.
    Answers(Diag),
    /// It cannot: the table is a file.
    Silent,
}

/// Only [`Table`] uses this, under its lock `kernel`.
impl Kernel {
    /// Asks the kernel. `None`: it does not answer now. If it never will, it is not asked again. Lack of
    /// file descriptors passes, so it does not count as "never".
    fn ask<T>(&mut self, question: impl FnOnce(&mut Diag) -> io::Result<T>) -> Option<T> {
        if let Kernel::Untried = self {
            *self = match Diag::open() {
                Ok(diag) => Kernel::Answers(diag),
                Err(error) if is_exhausted(&error) => return None,
                Err(_) => Kernel::Silent,
            };
        }
        let Kernel::Answers(diag) = self else {
            return None;
        };
        let answer = question(diag).ok();
        if answer.is_none() {
            *self = Kernel::Silent;
        }
        answer
    }
}

/// Is the process, or the system, out of file descriptors or memory for now?
fn is_exhausted(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    matches!(
        error.raw_os_error(),
        Some(ENOMEM | ENFILE | EMFILE | ENOBUFS)
    )
}

impl Table {
    /// All that are open, as they were after `since`. `None`: there is no table, or no file
    /// descriptor for it.
    pub fn look(&self, since: Instant) -> Option<Arc<Rows>> {
        // The lock is held while it is read. Those who wait for it meanwhile mostly find, when they get
        // it, a reading that began after they asked.
        let mut last = lock(&self.last);
        if let Some((begun, rows)) = &*last {
            if *begun > since {
                return Some(Arc::clone(rows));
            }
        }
        // Its memory is free before the next reading takes as much.
        *last = None;
        let begun = Instant::now();
        let rows = lock(&self.kernel).ask(Diag::all).or_else(read_file);
        let rows = Arc::new(rows?);
        *last = Some((begun, Arc::clone(&rows)));
        Some(rows)
    }

    /// One connection, as it was after `since`. `None`: as above. `Some(None)`: the system does not
    /// know it any more.
    pub fn look_at(&self, ends: Ends, since: Instant) -> Option<Option<Row>> {
        if let Some(row) = lock(&self.kernel).ask(|diag| diag.one(ends)) {
            return Some(row);
        }
        self.look(since).map(|rows| rows.get(&ends).copied())
    }

    /// For how long nothing has come of the other side's system, not even an acknowledgement. `None`: the
    /// kernel does not say.
    pub fn silence(&self, ends: Ends) -> Option<Duration> {
        lock(&self.kernel).ask(|diag| diag.silence(ends))?
    }

    /// Gives the memory of the last reading back, and the file descriptor.
    pub fn forget(&self) {
        *lock(&self.last) = None;
        let mut kernel = lock(&self.kernel);
        if let Kernel::Answers(_) = &*kernel {
            *kernel = Kernel::Untried;
        }
    }
}

/// Does this system have the table? Linux and Android do, where /proc is mounted.
pub(crate) fn has_table() -> bool {
    cfg!(any(target_os = "linux", target_os = "android")) && fs::File::open(TABLE).is_ok()
}

const TABLE: &str = "/proc/thread-self/net/tcp";

/// The connections of this network namespace, also those that wait out their last minute.
pub(super) fn read_file() -> Option<Rows> {
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        return None;
    }
    let table = fs::read_to_string(TABLE).ok()?;
    Some(table.lines().skip(1).filter_map(row).collect())
}

/// `sl local remote st tx:rx tr:when retransmits uid probes …`, numbers in hexadecimal except the
/// last two; addresses in the machine's byte order (proc_pid_net(5), get_tcp4_sock in Linux).
fn row(line: &str) -> Option<(Ends, Row)> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let mut address = || {
        let (ip, port) = columns.next()?.split_once(':')?;
        let ip = u32::from_str_radix(ip, 16).ok()?.to_ne_bytes();
        Some(SocketAddrV4::new(
            ip.into(),
            u16::from_str_radix(port, 16).ok()?,
        ))
    };
    let ends = (address()?, address()?);
    let (tx, _) = columns.nth(1)?.split_once(':')?;
    let unacknowledged = u64::from_str_radix(tx, 16).ok()?;
    let (timer, _) = columns.next()?.split_once(':')?;
    let retransmits = u64::from_str_radix(columns.next()?, 16).ok()?;
    let probes: u64 = columns.nth(1)?.parse().ok()?;
    // What the running timer waits for: 01 for an acknowledgement of what was sent again, 04 for an
    // answer to a probe of a full window.
    let unanswered = match timer {
        "01" => retransmits >= 2,
        "04" => probes >= 2,
        _ => false,
    };
    let row = Row {
        unacknowledged,
        unanswered,
    };
    Some((ends, row))
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    use std::io::Write;
    #[cfg(target_os = "linux")]
    use std::net::{TcpListener, TcpStream};

    #[cfg(target_os = "linux")]
    use super::super::socket::ends;
    use super::*;

    #[test]
    fn a_line_of_the_table() {
        let line = "  12: 0100007F:1F90 0200007F:C350 01 000001F4:00000000 01:00000014 00000003  1000 0 4711 1 0";
        let expected = Row {
            unacknowledged: 500,
            unanswered: true,
        };
        let ends = (
            "127.0.0.1:8080".parse().unwrap(),
            "127.0.0.2:50000".parse().unwrap(),
        );
        if cfg!(target_endian = "little") {
            assert_eq!(row(line), Some((ends, expected)));
        }
        let probing = line.replace("01:00000014", "04:00000014");
        assert!(
            !row(&probing).unwrap().1.unanswered,
            "a full window that is answered is alive"
        );
        assert_eq!(row("12: nonsense"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_table_shows_what_is_not_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        while stream.write(&[0; 65536]).is_ok() {}
        let rows = Table::default().look(Instant::now()).unwrap();
        assert!(rows[&ends(&stream).unwrap()].unacknowledged > 0);
        drop(accepted);
    }

    /// Of many who have asked before a reading begins, one reads.
    #[test]
    #[cfg(target_os = "linux")]
    fn those_who_wait_share_a_reading() {
        const MANY: usize = 20;
        let table = Table::default();
        let asked = std::sync::Barrier::new(MANY + 1);
        let mut readings: Vec<usize> = std::thread::scope(|scope| {
            // No reading begins before all have asked, however busy the machine is.
            let held = lock(&table.last);
            let ask = || {
                let since = Instant::now();
                asked.wait();
                table.look(since).unwrap()
            };
            let asking: Vec<_> = (0..MANY).map(|_| scope.spawn(ask)).collect();
            asked.wait();
            drop(held);
            // Its address tells one reading from the other, while all are kept.
            let rows: Vec<_> = asking.into_iter().map(|one| one.join().unwrap()).collect();
            rows.iter().map(|rows| Arc::as_ptr(rows) as usize).collect()
        });
        readings.sort_unstable();
        readings.dedup();
        assert_eq!(readings.len(), 1);
    }
}
