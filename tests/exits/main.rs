//! A process that ends right after a burst of messages, of which each was accepted: in each way of
//! ending in which its thread-locals are still dropped, all of them arrive.
//!
//! A program of its own, with a `main` of its own: one of those ways is the return from it, and the
//! test harness would come between. It starts itself as the process that ends.
//!
//! `LANPEER_ROUNDS=100 cargo test --test exits` has so many rounds of each case.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::Range;
use std::process::{Child, Command, Stdio, exit};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lanpeer::{Bytes, Connection, Peer, PeerBuilder};

/// Set in the environment of a process that is to end: how, where it connects to, and the size of its
/// messages.
const ROLE: &str = "LANPEER_TEST_EXIT";

const SOON: Duration = Duration::from_secs(20);
const MESSAGES: usize = 100;
const SIZES: [usize; 4] = [8, 1_000, 20_000, 100_000];

/// A way to end, and its name.
type End = (&'static str, fn(Sending));

const ENDS: [End; 8] = [
    ("exit from main", |sending| {
        sending.burst();
        exit(0)
    }),
    ("exit from another thread, which has sent", |sending| {
        let ending = thread::spawn(move || {
            sending.burst();
            exit(0)
        });
        let _ = ending.join();
    }),
    (
        "return from main, which holds the peer",
        Sending::burst_and_drop,
    ),
    (
        "return from main, another thread holds the peer",
        |sending| {
            let sending = Arc::new(sending);
            let held = Arc::clone(&sending);
            thread::spawn(move || {
                let _held = held;
                loop {
                    thread::park();
                }
            });
            sending.burst();
        },
    ),
    ("return from main, nobody drops the peer", |sending| {
        sending.burst();
        std::mem::forget(sending);
    }),
    ("the end of a thread, then exit from main", |sending| {
        let sending = Arc::new(sending);
        let sender = Arc::clone(&sending);
        thread::spawn(move || sender.burst()).join().expect("sent");
        exit(0)
    }),
    (
        "the end of a thread, whose last destructor sends the rest, then return from main",
        |sending| {
            let sending = Arc::new(sending);
            let sender = Arc::clone(&sending);
            let sent = thread::spawn(move || sender.leave_a_rest()).join();
            sent.expect("sent");
            std::mem::forget(sending);
        },
    ),
    (
        "exit from main, whose last destructor sends the rest",
        |sending| {
            Arc::new(sending).leave_a_rest();
            exit(0)
        },
    ),
];

thread_local! {
    /// Made before the library has anything in the thread, so that it is dropped behind that.
    static REST: RefCell<Option<Rest>> = const { RefCell::new(None) };
}

/// Sends the second half of the messages when it is dropped.
struct Rest(Arc<Sending>);

impl Drop for Rest {
    fn drop(&mut self) {
        self.0.part(MESSAGES / 2..MESSAGES);
    }
}

/// Messages of this size until one has had to wait for the full socket, so that its rest is in the
/// queue; then exit, and only then the other side takes anything.
const WAITED: &str = "exit behind a large message that had to wait";
const LARGE: usize = 100_000;

/// The end of a thread in a process that lives on, which then is killed.
const THREAD: &str = "the end of a thread, then a kill";

/// What the process that ends has.
struct Sending {
    _peer: Peer,
    conn: Connection<Bytes>,
    size: usize,
}

impl Sending {
    fn burst(&self) {
        self.part(0..MESSAGES);
    }

    /// The first half of the messages. The thread sends the others at its very end.
    fn leave_a_rest(self: Arc<Sending>) {
        REST.set(Some(Rest(Arc::clone(&self))));
        self.part(0..MESSAGES / 2);
    }

    fn part(&self, numbers: Range<usize>) {
        for number in numbers {
            let mut message = vec![0; self.size];
            message[..8].copy_from_slice(&(number as u64).to_be_bytes());
            self.conn.send(&message).expect("accepted");
        }
    }

    fn burst_and_drop(self) {
        self.burst();
    }
}

fn builder() -> PeerBuilder {
    Peer::builder().invisible(true).timeout(SOON)
}

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        return play(&role);
    }
    // The names of tests that are wanted.
    let mut wanted = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    if wanted.next().is_some_and(|name| !"exits".contains(&name)) {
        return;
    }
    let rounds = std::env::var("LANPEER_ROUNDS").map_or(3, |count| count.parse().expect("a count"));
    let bob = builder().bind("127.0.0.1:0").expect("a free port");
    let mut lost = false;
    let ends = ENDS.iter().map(|(name, _)| *name).chain([THREAD]);
    for (index, name) in ends.enumerate() {
        for size in SIZES {
            let whole = (0..rounds).filter(|_| arrives(&bob, index, size)).count();
            println!("{name}, {size} bytes: all arrived in {whole} of {rounds} rounds");
            lost |= whole < rounds;
        }
    }
    let bob_who_waits = builder()
        .receive_queue(1)
        .bind("127.0.0.1:0")
        .expect("a free port");
    let whole = (0..rounds).filter(|_| arrives_late(&bob_who_waits)).count();
    println!("{WAITED}: all arrived in {whole} of {rounds} rounds");
    lost |= whole < rounds;
    bob.stop();
    assert!(!lost, "messages that were accepted are lost");
}

/// One process, and whether all its messages arrived.
fn arrives(bob: &Peer, index: usize, size: usize) -> bool {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.env(ROLE, format!("{index} {} {size}", bob.local_addr()));
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = Killed(child.expect("this program once more"));
    let offer = bob.offers().recv_timeout(SOON).expect("an offer");
    let conn = offer.accept::<Bytes>().expect("accepted");
    if index == ENDS.len() {
        // It is killed when it says that its thread has ended.
        let mut said = [0];
        let mut out = child.0.stdout.take().expect("piped");
        std::io::Read::read_exact(&mut out, &mut said).expect("its word");
        drop(child);
    }
    let mut arrived = 0_u64;
    while let Ok(message) = conn.recv_timeout(SOON) {
        assert_eq!(message[..8], arrived.to_be_bytes());
        arrived += 1;
    }
    conn.close_reason().expect("it ends with its process");
    arrived == MESSAGES as u64
}

/// One process that exits behind a message that had to wait, and whether all arrived.
fn arrives_late(bob: &Peer) -> bool {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.env(ROLE, format!("waited {} {LARGE}", bob.local_addr()));
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = Killed(child.expect("this program once more"));
    let offer = bob.offers().recv_timeout(SOON).expect("an offer");
    let conn = offer.accept::<Bytes>().expect("accepted");
    let mut said = String::new();
    let out = child.0.stdout.take().expect("piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said).expect("a count");
    let sent: u64 = said.trim().parse().expect("a number");
    let mut arrived = 0;
    while conn.recv_timeout(SOON).is_ok() {
        arrived += 1;
    }
    arrived == sent
}

fn play(role: &str) {
    let words: Vec<&str> = role.split(' ').collect();
    let [index, addr, size] = words[..] else {
        panic!("{role}")
    };
    let peer = builder().bind("127.0.0.1:0").expect("a free port");
    let to: SocketAddr = addr.parse().expect("an address");
    let conn = peer.connect::<Bytes>(to).expect("connected");
    let sending = Sending {
        _peer: peer,
        conn,
        size: size.parse().expect("a size"),
    };
    if index == "waited" {
        let message = vec![7; LARGE];
        for count in 1.. {
            let start = std::time::Instant::now();
            sending.conn.send(&message).expect("accepted");
            if start.elapsed() > Duration::from_millis(40) {
                println!("{count}");
                exit(0)
            }
        }
    }
    match ENDS.get(index.parse::<usize>().expect("a number")) {
        Some((_, end)) => end(sending),
        None => {
            let sending = Arc::new(sending);
            let sender = Arc::clone(&sending);
            thread::spawn(move || sender.burst()).join().expect("sent");
            println!("!");
            loop {
                thread::park();
            }
        }
    }
}

/// Ends with its owner.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
