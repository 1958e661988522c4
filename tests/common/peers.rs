//! What the in-process tests share: peers on loopback, connected pairs, calls
//! that can be watched, and deadlines, so that a call that hangs fails its own
//! test and says which call it was.
//!
//! Nothing here sleeps in the hope that something has happened by then. Where a
//! test has to wait it asks again and again whether it has ([`eventually`]), or
//! looks whether a thread is asleep in a call ([`Call::wait_until_blocked`]).

// Every test binary uses its own part of this.
#![allow(dead_code)]

#[path = "emulated.rs"]
mod emulated;

use std::any::Any;
use std::fs;
use std::io::Write;
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

use lanpeer::crossbeam_channel::{Receiver, bounded};
use lanpeer::{
    Bytes, CloseReason, ConnectOptions, Connection, DataType, Format, Peer, PeerBuilder, SendError,
};

pub use emulated::*;

/// Much more than any single step needs, also on a machine that is busy with
/// other things. Reached only by a test that fails.
pub const SOON: Duration = Duration::from_secs(20);

/// How long a full connection must stay full before a test calls it full, in
/// so many looks of so long each: long enough for the other side's reader and
/// the kernel to have moved whatever they still could. One long look would not
/// do: on a busy machine it can pass before any of them had its turn. Where
/// another of the library's threads still waits for its turn then, as far as the
/// system tells, it gets a little more time.
const SETTLED: usize = 40;
fn look() -> Duration {
    Duration::from_millis(if emulated() { 50 } else { 10 })
}

// ----------------------------------------------------------------- peers

/// A builder for tests: patient, so that a busy machine fails none of them.
pub fn builder() -> PeerBuilder {
    secured(Peer::builder())
        .invisible(true)
        .timeout(SOON)
        .close_timeout(SOON)
}

/// With `LANPEER_TEST_SECURE` set, and the feature, every peer has a secret: then the tests of what
/// connections do are tests of encrypted ones. Those in which a bare socket plays a peer fail then.
pub fn secured(builder: PeerBuilder) -> PeerBuilder {
    #[cfg(feature = "secure")]
    if std::env::var_os("LANPEER_TEST_SECURE").is_some() {
        let secret = "008J-4CT4-ANK7-F24S-NAXW-SQFE-ZWEA".parse();
        return builder.secret(secret.expect("a secret"));
    }
    builder
}

/// A peer on loopback with the settings of [`builder`].
pub fn peer() -> Peer {
    bind(builder())
}

/// Binds `builder` to a free port on loopback.
pub fn bind(builder: PeerBuilder) -> Peer {
    builder
        .bind("127.0.0.1:0")
        .expect("a free port on loopback")
}

/// Two peers, and the two ends of one connection from the first to the second.
pub fn pair<F: Format + 'static>() -> (Peer, Peer, Connection<F>, Connection<F>) {
    pair_of(builder(), builder())
}

/// [`pair`] with the settings of each side.
pub fn pair_of<F: Format + 'static>(
    alice: PeerBuilder,
    bob: PeerBuilder,
) -> (Peer, Peer, Connection<F>, Connection<F>) {
    let (alice, bob) = (bind(alice), bind(bob));
    let (to_bob, to_alice) = link::<F>(&alice, &bob);
    (alice, bob, to_bob, to_alice)
}

/// Connects `alice` to `bob`: her end, his end.
pub fn link<F: Format + 'static>(alice: &Peer, bob: &Peer) -> (Connection<F>, Connection<F>) {
    link_as::<F, F>(&ConnectOptions::new(), alice, bob)
}

/// [`link`] with options, and a format for each side.
pub fn link_as<A: Format + 'static, B: Format + 'static>(
    options: &ConnectOptions,
    alice: &Peer,
    bob: &Peer,
) -> (Connection<A>, Connection<B>) {
    let accepting = {
        let bob = bob.clone();
        Call::start("accept", move || {
            let offer = bob.offers().recv().expect("an offer");
            offer.accept::<B>().expect("accepted")
        })
    };
    let to_bob = options
        .connect::<A>(alice, bob.local_addr())
        .expect("connected");
    (to_bob, accepting.finish())
}

/// A socket that has made an offer of `bytes` to `bob`, and does nothing more.
/// For remotes that behave as no real peer would.
pub fn raw_offer(bob: &Peer) -> TcpStream {
    raw_offer_of(bob, DataType::Bytes)
}

pub fn raw_offer_of(bob: &Peer, data_type: DataType) -> TcpStream {
    let mut socket = TcpStream::connect(bob.local_addr()).expect("connected");
    let own = socket.local_addr().expect("an address");
    let hello = format!("HELLO|peer_name={own}&data_type={data_type}&strict=1&v=1");
    socket
        .write_all(format!("{hello:|<128}").as_bytes())
        .expect("written");
    socket
}

// ------------------------------------------------------------- deadlines

/// The body of a test: fails it when it does not end.
pub fn test(body: impl FnOnce() + Send + 'static) {
    // One type for all of them: the compiler makes what follows once, not for each of hundreds of tests.
    let body: Box<dyn FnOnce() + Send> = Box::new(body);
    within("the whole test", patience(), body);
}

/// What `work` returns, or a panic when it takes longer than `limit`.
#[track_caller]
pub fn within<R: Send + 'static>(
    what: &str,
    limit: Duration,
    work: impl FnOnce() -> R + Send + 'static,
) -> R {
    Call::start(what, work).finish_within(limit)
}

/// Returns as soon as `condition` holds; fails the test when it does not come to that.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < extended(SOON),
            "not within {SOON:?}: {what}"
        );
        thread::sleep(Duration::from_millis(2));
    }
}

/// Why the connection ended, which it has to.
#[track_caller]
pub fn ended<F: Format>(connection: &Connection<F>) -> CloseReason {
    eventually("the connection ends", || {
        connection.close_reason().is_some()
    });
    connection.close_reason().expect("a reason")
}

type Anything = Box<dyn Any + Send>;

/// A call on a thread of its own, so that the test can see whether it still
/// waits, and need not wait with it.
pub struct Call<R> {
    what: String,
    /// The thread's directory under /proc, on systems that have one.
    task: Option<String>,
    /// A value of type R, or what the call has panicked with.
    result: Receiver<thread::Result<Anything>>,
    returns: PhantomData<fn() -> R>,
}

impl<R: Send + 'static> Call<R> {
    /// Begins the call. The thread runs when this returns.
    pub fn start(what: &str, work: impl FnOnce() -> R + Send + 'static) -> Self {
        let (task, result) = on_a_thread(what, Box::new(|| Box::new(work())));
        Call {
            what: what.to_owned(),
            task,
            result,
            returns: PhantomData,
        }
    }

    /// Whether the call has not returned yet.
    pub fn is_waiting(&self) -> bool {
        self.result.is_empty()
    }

    /// Returns when the thread is asleep in the call: seen so several times in
    /// a row, because a thread may sleep for a moment on a lock.
    #[track_caller]
    pub fn wait_until_blocked(&self) {
        let Some(task) = &self.task else {
            // No /proc: nothing to look at. The tests still hold, they just
            // cannot be sure that the call waited.
            return thread::sleep(Duration::from_millis(100));
        };
        let mut asleep = 0;
        eventually(&format!("{} blocks", self.what), || {
            assert!(self.is_waiting(), "{} did not wait", self.what);
            // "TID (name) S …": the name may hold anything, so look behind it.
            let stat = fs::read_to_string(format!("{task}/stat")).unwrap_or_default();
            let state = stat
                .rsplit(") ")
                .next()
                .and_then(|rest| rest.chars().next());
            asleep = if state == Some('S') { asleep + 1 } else { 0 };
            asleep == 10
        });
    }

    /// What the call returned; fails the test when it does not return soon.
    #[track_caller]
    pub fn finish(self) -> R {
        self.finish_within(SOON)
    }

    /// [`finish`](Call::finish) with its own limit.
    #[track_caller]
    pub fn finish_within(self, limit: Duration) -> R {
        match self.result.recv_timeout(extended(limit)) {
            Ok(Ok(value)) => *value.downcast().expect("what `start` has put there"),
            Ok(Err(panic)) => panic::resume_unwind(panic),
            Err(_) => panic!("{} hangs: no end within {limit:?}", self.what),
        }
    }
}

/// The thread of a [`Call`]: its directory, and what tells of its end. Apart from the type of the result,
/// since hundreds of tests each have a type of their own, and a thread and a channel for each would be a
/// good part of what a test program consists of.
fn on_a_thread(
    what: &str,
    work: Box<dyn FnOnce() -> Anything + Send>,
) -> (Option<String>, Receiver<thread::Result<Anything>>) {
    let (started, begin) = bounded(1);
    let (done, result) = bounded(1);
    thread::Builder::new()
        .name(format!("test {what}").chars().take(15).collect())
        .spawn(move || {
            let task = fs::read_link("/proc/thread-self").ok();
            let _ = started.send(task.map(|link| format!("/proc/{}", link.display())));
            let _ = done.send(panic::catch_unwind(AssertUnwindSafe(work)));
        })
        .expect("a thread");
    (begin.recv().expect("the thread runs"), result)
}

// -------------------------------------------------------------- messages

/// A message of `size` bytes (8 at least) that carries its number and can tell
/// whether it arrived whole.
pub fn numbered(number: u64, size: usize) -> Vec<u8> {
    let mut message = number.to_be_bytes().repeat(size / 8 + 1);
    message.truncate(size);
    message
}

/// The number of a message made by [`numbered`], after checking all of it.
#[track_caller]
pub fn number_of(message: &[u8]) -> u64 {
    let number = u64::from_be_bytes(message[..8].try_into().expect("8 bytes"));
    assert!(
        message == numbered(number, message.len()),
        "message {number} ({} bytes) arrived damaged",
        message.len()
    );
    number
}

/// Sends numbered messages of `size` bytes, from number `first` on, until the
/// connection takes no more and stays so. Returns how many it took.
#[track_caller]
pub fn fill(connection: &Connection<Bytes>, first: u64, size: usize) -> u64 {
    const FAR_TOO_MUCH: u64 = 256 << 20;
    let mut count = 0;
    settle(|| {
        assert!(
            count * (size as u64) < FAR_TOO_MUCH,
            "took {count} messages of {size} bytes and is still not full"
        );
        match connection.send_timeout(&numbered(first + count, size), look()) {
            Ok(()) => count += 1,
            Err(SendError::Timeout) => return true,
            Err(error) => panic!("message {count}: {error}"),
        }
        false
    });
    count
}

/// Looks until it is so, and stays so.
#[track_caller]
pub fn settle(mut is_so: impl FnMut() -> bool) {
    let (mut looks, mut patience) = (0, 10);
    while looks < SETTLED {
        looks = if is_so() { looks + 1 } else { 0 };
        // Seldom, since there may be hundreds of threads to look at; and not for ever, since those of other tests,
        // which run beside this one, are among them.
        if looks == SETTLED && patience > 0 && wants_to_run("lanpeer") {
            (looks, patience) = (looks / 2, patience - 1);
        }
    }
}

/// Receives `count` numbered messages, which must be `first`, `first + 1`, …
#[track_caller]
pub fn take(connection: &Connection<Bytes>, first: u64, count: u64) {
    for number in first..first + count {
        match connection.recv_timeout(SOON) {
            Ok(message) => assert_eq!(number_of(&message), number),
            Err(error) => panic!(
                "instead of message {number}: {error} ({:?})",
                connection.close_reason()
            ),
        }
    }
}

/// The next item, which has to come.
#[track_caller]
pub fn next<F: Format>(connection: &Connection<F>) -> F::Item {
    match connection.recv_timeout(extended(SOON)) {
        Ok(item) => item,
        Err(error) => panic!("{error} ({:?})", connection.close_reason()),
    }
}

/// The middle one of several durations.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// An address on loopback where nobody listens, and which nobody else gets
/// while the socket lives.
pub fn refusing() -> (socket2::Socket, SocketAddr) {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&any.into()).expect("a free port");
    let addr = socket.local_addr().expect("an address");
    (socket, addr.as_socket().expect("an IP address"))
}

// ------------------------------------------------- processes and threads

/// Runs `body` in a process of its own, for tests that count what belongs to
/// the process: threads, memory. `name` is the name of the calling test.
#[track_caller]
pub fn alone(name: &str, body: impl FnOnce() + Send + 'static) {
    const VARIABLE: &str = "LANPEER_TEST_ALONE";
    if std::env::var(VARIABLE).is_ok_and(|alone| alone == name) {
        return test(body);
    }
    let output = this_program()
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, name)
        .output()
        .expect("this program once more");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{name}, in a process of its own: {}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The names of this process's threads that belong to the library. Only on
/// systems with /proc; elsewhere there are none to see.
pub fn lanpeer_threads() -> Vec<String> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("lanpeer"))
        .map(|name| name.trim_end().to_owned())
        .collect()
}

/// Whether another thread of this process whose name begins so runs, or waits for
/// a processor. On systems without /proc none does.
fn wants_to_run(name: &str) -> bool {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return false;
    };
    let own = fs::read_link("/proc/thread-self").unwrap_or_default();
    let others = tasks.filter_map(Result::ok);
    let mut others = others.filter(|task| own.file_name() != Some(&task.file_name()));
    others.any(|task| {
        // "TID (name) S …"
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let named = stat
            .split_once(" (")
            .is_some_and(|(_, rest)| rest.starts_with(name));
        named
            && stat
                .rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with('R'))
    })
}

/// The memory this process holds now, in bytes. 0 on systems without /proc.
pub fn memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB"));
    kilobytes.map_or(0, |kilobytes| {
        kilobytes.trim().parse::<usize>().unwrap_or(0) << 10
    })
}

/// The processor time that this process has used. 0 on systems without /proc.
pub fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
