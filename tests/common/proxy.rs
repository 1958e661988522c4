//! A link between two peers that misbehaves on demand: a TCP proxy on loopback.
//!
//! It delays, splits, merges and throttles what goes through, and at one exact byte of either
//! direction it pauses, stalls, swallows, cuts with FIN or resets with RST. Ends that the peers make
//! themselves go through as they are: a FIN as a FIN, a reset as a reset, each behind the bytes that
//! were sent before it.
//!
//! A long file: the faults, and the threads that do them, are one thing.
//!
//! It ends TCP on both sides, so its own system acknowledges what it holds back. Where the tests say
//! what a peer may believe, they say what that means.

// Every test binary uses its own part of this.
#![allow(dead_code)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::SockRef;

/// How long a test waits for the fault that it has ordered.
const SOON: Duration = Duration::from_secs(20);

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the side that connects.
    Forth,
    /// To it.
    Back,
}

impl Way {
    /// The other one.
    pub fn opposite(self) -> Way {
        match self {
            Way::Forth => Way::Back,
            Way::Back => Way::Forth,
        }
    }
}

/// What happens in place of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing for a time; then it goes on, nothing lost.
    Pause(Duration),
    /// Nothing more, not even an end; until [`Passage::release`].
    Stall,
    /// So many bytes do not get through, the others do.
    Swallow(u64),
    /// The receiver gets a FIN; what the sender goes on to send disappears. The other direction
    /// works.
    HalfFin,
    /// Both sides get a FIN, and whatever they send from then on a reset: as from a process that
    /// ends.
    Fin,
    /// Both sides get a reset.
    Reset,
}

/// How the bytes go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// As they come.
    #[default]
    Straight,
    /// Each byte as its own segment.
    Split,
    /// Gathered until none has come for this long, then in one write.
    Merge(Duration),
    /// Each write so much later.
    Delay(Duration),
    /// So many bytes, then a pause.
    Throttle(usize, Duration),
}

/// What is to happen to one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    pace: Pace,
    fault: Option<(Way, u64, Fault)>,
}

impl Plan {
    /// Both directions at this pace.
    pub fn pace(pace: Pace) -> Plan {
        Plan { pace, fault: None }
    }

    /// `fault` in place of byte `at` of one direction, counted from 0; the end of that direction's
    /// bytes counts as a byte.
    pub fn fault(way: Way, at: u64, fault: Fault) -> Plan {
        Plan {
            pace: Pace::Straight,
            fault: Some((way, at, fault)),
        }
    }
}

/// The proxy; ends with all its connections when dropped.
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// For the next connection.
    next: Mutex<Option<Arc<Passage>>>,
    stopped: AtomicBool,
    passages: Mutex<Vec<Arc<Passage>>>,
}

impl Proxy {
    /// A proxy on a free port of loopback, from which everything goes to `target`.
    pub fn to(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let listener = thread::spawn(move || {
            for near in listener.incoming() {
                if own.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let near = near.expect("a connection to the proxy");
                let passage = lock(&own.next).take();
                let passage = passage.unwrap_or_else(|| Passage::of(Plan::default()));
                let far = TcpStream::connect(target).expect("a connection to the target");
                passage.start(near, far);
            }
        });
        Proxy {
            addr,
            shared,
            listener: Some(listener),
        }
    }

    /// Where to connect to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Orders `plan` for the next connection. Earlier ones are over with that.
    pub fn next(&self, plan: Plan) -> Arc<Passage> {
        self.end_all();
        self.also(plan)
    }

    /// [`next`](Proxy::next), without an end to the earlier ones.
    pub fn also(&self, plan: Plan) -> Arc<Passage> {
        let passage = Passage::of(plan);
        *lock(&self.shared.next) = Some(Arc::clone(&passage));
        lock(&self.shared.passages).push(Arc::clone(&passage));
        passage
    }

    fn end_all(&self) {
        let passages = std::mem::take(&mut *lock(&self.shared.passages));
        passages.iter().for_each(|passage| passage.end());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        let listener = self.listener.take().expect("only taken here").join();
        self.end_all();
        assert!(listener.is_ok() || thread::panicking(), "the proxy failed");
    }
}

/// One connection through the proxy.
pub struct Passage {
    plan: Plan,
    /// Bytes that went through: forth, back.
    passed: [AtomicU64; 2],
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The two ends while they are open: the one that connected, the target's.
    ends: Option<[Arc<End>; 2]>,
    pumps: Vec<JoinHandle<()>>,
    struck: bool,
    released: bool,
    over: bool,
}

struct End {
    stream: TcpStream,
    /// This side has sent its FIN there.
    fin_sent: AtomicBool,
    /// A write has met the reset of the other side, which the reads do not learn then.
    broken: AtomicBool,
}

impl End {
    fn of(stream: TcpStream) -> Arc<End> {
        stream.set_nodelay(true).expect("nodelay");
        // A blocked write looks so often whether all is over.
        let slice = Some(Duration::from_millis(20));
        stream.set_write_timeout(slice).expect("a write timeout");
        Arc::new(End {
            stream,
            fin_sent: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        })
    }

    fn fin(&self) {
        self.fin_sent.store(true, Ordering::SeqCst);
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads say that the input has ended. With a FIN, or with a reset of which a write has had the
    /// error?
    fn was_reset(&self) -> bool {
        let fin_sent = self.fin_sent.load(Ordering::SeqCst);
        self.broken.load(Ordering::SeqCst) || (!fin_sent && self.stream.peer_addr().is_err())
    }
}

impl Passage {
    fn of(plan: Plan) -> Arc<Passage> {
        Arc::new(Passage {
            plan,
            passed: [AtomicU64::new(0), AtomicU64::new(0)],
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Bytes that went through in this direction.
    pub fn passed(&self, way: Way) -> u64 {
        self.passed[way as usize].load(Ordering::SeqCst)
    }

    /// Has someone connected?
    pub fn has_begun(&self) -> bool {
        lock(&self.state).ends.is_some()
    }

    /// Has the fault happened?
    pub fn has_struck(&self) -> bool {
        lock(&self.state).struck
    }

    /// Waits until the fault has happened.
    #[track_caller]
    pub fn wait_until_struck(&self) {
        let end = Instant::now() + SOON;
        let mut state = lock(&self.state);
        while !state.struck {
            assert!(
                Instant::now() < end,
                "the fault was not reached: {:?}",
                self.plan
            );
            state = wait(&self.changed, state, Duration::from_millis(100));
        }
    }

    /// Ends a stall: what was held back goes through.
    pub fn release(&self) {
        lock(&self.state).released = true;
        self.changed.notify_all();
    }

    /// Both sides get a reset, now.
    pub fn reset(&self) {
        self.is_over(|end| {
            let _ = SockRef::from(&end.stream).set_linger(Some(Duration::ZERO));
        });
    }

    /// Both sides get a FIN, now, and whatever they send from then on a reset.
    pub fn fin(&self) {
        self.is_over(End::fin);
    }

    /// Closes both ends, and waits for the threads.
    pub fn end(&self) {
        self.is_over(|_| {});
        let pumps = std::mem::take(&mut lock(&self.state).pumps);
        for pump in pumps {
            assert!(pump.join().is_ok() || thread::panicking(), "a pump failed");
        }
    }

    fn start(self: &Arc<Passage>, near: TcpStream, far: TcpStream) {
        let ends = [End::of(near), End::of(far)];
        let mut state = lock(&self.state);
        if state.over {
            return;
        }
        state.ends = Some(ends.clone());
        let [near, far] = ends;
        for (way, from, to) in [
            (Way::Forth, Arc::clone(&near), Arc::clone(&far)),
            (Way::Back, far, near),
        ] {
            let own = Arc::clone(self);
            state
                .pumps
                .push(thread::spawn(move || own.pump(way, from, to)));
        }
    }

    /// Lets go of both ends after `last` words to each. They are closed when the threads have let go
    /// too.
    fn is_over(&self, last: impl Fn(&End)) {
        let mut state = lock(&self.state);
        if state.over {
            return;
        }
        state.over = true;
        for end in state.ends.take().into_iter().flatten() {
            last(&end);
            // Wakes the thread that reads from it; nothing is sent.
            let _ = end.stream.shutdown(Shutdown::Read);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// One direction.
    fn pump(&self, way: Way, from: Arc<End>, to: Arc<End>) {
        let mut buffer = vec![0; 64 << 10];
        let mut at = 0;
        let mut fault = match self.plan.fault {
            Some((of, at, fault)) if of == way => Some((at, fault)),
            _ => None,
        };
        // Bytes that are not to get through.
        let mut swallow = 0;
        loop {
            let read = self.read(&from, &mut buffer);
            if lock(&self.state).over {
                return;
            }
            let Ok(mut bytes) = read.map(|n| &buffer[..n]) else {
                return self.reset();
            };
            let ended = bytes.is_empty();
            if ended && from.was_reset() {
                return self.reset();
            }
            if let Some((place, fault)) = fault.take_if(|(place, _)| match ended {
                true => at == *place,
                false => at + bytes.len() as u64 > *place,
            }) {
                let (before, behind) = bytes.split_at((place - at) as usize);
                self.forward(way, &to, before);
                at += before.len() as u64;
                bytes = behind;
                match fault {
                    Fault::Reset => self.reset(),
                    Fault::Fin => self.fin(),
                    Fault::HalfFin => to.fin(),
                    Fault::Swallow(n) => swallow = n,
                    Fault::Pause(_) | Fault::Stall => {}
                }
                lock(&self.state).struck = true;
                self.changed.notify_all();
                match fault {
                    Fault::Reset | Fault::Fin => return,
                    Fault::HalfFin => swallow = u64::MAX,
                    Fault::Pause(time) => thread::sleep(time),
                    Fault::Stall => self.wait_for_release(),
                    Fault::Swallow(_) => {}
                }
                if lock(&self.state).over {
                    return;
                }
            }
            if ended {
                return to.fin();
            }
            at += bytes.len() as u64;
            let lost = swallow.min(bytes.len() as u64);
            swallow -= lost;
            self.forward(way, &to, &bytes[lost as usize..]);
        }
    }

    fn wait_for_release(&self) {
        let mut state = lock(&self.state);
        while !state.released && !state.over {
            state = wait(&self.changed, state, SOON);
        }
    }

    fn read(&self, from: &End, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stream = &from.stream;
        let n = read(stream, buffer)?;
        let Pace::Merge(silence) = self.plan.pace else {
            return Ok(n);
        };
        let mut len = n;
        stream.set_read_timeout(Some(silence))?;
        while n > 0 && len < buffer.len() {
            match stream.read(&mut buffer[len..]) {
                // An end is read again.
                Ok(0) => break,
                Ok(n) => len += n,
                Err(_) => break,
            }
        }
        stream.set_read_timeout(None)?;
        Ok(len)
    }

    fn forward(&self, way: Way, to: &End, bytes: &[u8]) {
        match self.plan.pace {
            Pace::Straight | Pace::Merge(_) => self.write(way, to, bytes),
            Pace::Split => bytes.chunks(1).for_each(|byte| self.write(way, to, byte)),
            Pace::Delay(time) => {
                thread::sleep(time);
                self.write(way, to, bytes);
            }
            Pace::Throttle(size, time) => bytes.chunks(size).for_each(|bytes| {
                self.write(way, to, bytes);
                thread::sleep(time);
            }),
        }
    }

    fn write(&self, way: Way, to: &End, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match (&to.stream).write(bytes) {
                Ok(n) => {
                    self.passed[way as usize].fetch_add(n as u64, Ordering::SeqCst);
                    bytes = &bytes[n..];
                }
                Err(error) if is_pause(&error) && !lock(&self.state).over => {}
                // The thread of the other direction passes the reset on, behind what it still has.
                Err(_) => return to.broken.store(true, Ordering::SeqCst),
            }
        }
    }
}

fn read(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>, time: Duration) -> MutexGuard<'a, T> {
    let waited = condition.wait_timeout(guard, time);
    waited.unwrap_or_else(PoisonError::into_inner).0
}
