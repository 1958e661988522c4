//! Faults of the machine, for tests: threads that cannot be started, and moments that are hard to
//! hit.
//!
//! Compiled into the library for its own tests, as `net::faults`: what orders the faults is asked
//! where threads are started, which nobody can do from outside. A long file, because the orders and
//! the tests that give them are one thing.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};

use crate::net::os::lock;

/// Told the name of a thread that is about to be started; `Err`: it is not.
type Order = Arc<dyn Fn(&str) -> io::Result<()> + Send + Sync>;

/// For the peers that listen at these addresses; the last order of each counts.
static ORDERS: Mutex<Vec<(SocketAddr, Order)>> = Mutex::new(Vec::new());

/// Called where a peer starts a thread, and where it has `entered` a connection whose reader thread
/// waits.
pub(crate) fn before_thread(peer: SocketAddrV4, name: &str) -> io::Result<()> {
    let orders = lock(&ORDERS);
    let of_peer = orders.iter().rev().find(|(addr, _)| *addr == peer.into());
    let order = of_peer.map(|(_, order)| Arc::clone(order));
    drop(orders);
    order.map_or(Ok(()), |order| order(name))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{
        Bytes, CloseReason, ConnectOptions, Connection, Error, Event, Peer, PeerBuilder, SendError,
    };

    const SOON: Duration = Duration::from_secs(20);

    /// What the system says when there are no more threads.
    fn no_thread() -> io::Error {
        io::ErrorKind::WouldBlock.into()
    }

    fn order(peer: &Peer, order: impl Fn(&str) -> io::Result<()> + Send + Sync + 'static) {
        lock(&ORDERS).push((peer.local_addr(), Arc::new(order)));
    }

    /// From now on `peer` has no threads with these beginnings of their names.
    fn refuse(peer: &Peer, names: &'static [&str]) {
        order(peer, |name| {
            match names.iter().any(|refused| name.starts_with(refused)) {
                true => Err(no_thread()),
                false => Ok(()),
            }
        });
    }

    fn builder() -> PeerBuilder {
        Peer::builder().invisible(true).timeout(SOON)
    }

    fn bind(builder: PeerBuilder) -> Peer {
        builder.bind("127.0.0.1:0").unwrap()
    }

    /// What `work` returns, and a failure if it does not.
    fn soon<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = crossbeam_channel::bounded(1);
        thread::spawn(move || done.send(work()));
        result.recv_timeout(3 * SOON).expect(what)
    }

    fn until(what: &str, mut condition: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !condition() {
            assert!(begin.elapsed() < 3 * SOON, "{what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn link(alice: &Peer, bob: &Peer) -> (Connection<Bytes>, Connection<Bytes>) {
        let (peer, addr) = (alice.clone(), bob.local_addr());
        let connecting = thread::spawn(move || peer.connect::<Bytes>(addr).unwrap());
        let to_alice = bob.accept::<Bytes>().unwrap();
        (connecting.join().unwrap(), to_alice)
    }

    /// Alice without a thread for any writer; Bob, who has small queues, and takes nothing until a
    /// test does.
    fn without_writers(names: &'static [&str]) -> (Peer, Peer) {
        let alice = bind(builder().send_queue(64 << 10));
        refuse(&alice, names);
        (alice, bind(builder().receive_queue(2)))
    }

    const SIZE: usize = 10_000;

    fn message(number: usize) -> Vec<u8> {
        (number as u64).to_be_bytes().repeat(SIZE / 8)
    }

    /// Messages until the connection is full.
    fn fill(connection: &Connection<Bytes>) -> usize {
        fill_from(connection, 0)
    }

    /// The same, from this number on; says the next one.
    fn fill_from(connection: &Connection<Bytes>, first: usize) -> usize {
        let connection = connection.clone();
        soon("a full connection", move || {
            let (mut count, mut last) = (first, Instant::now());
            loop {
                match connection.try_send(&message(count)) {
                    Ok(()) => (count, last) = (count + 1, Instant::now()),
                    Err(SendError::Full) if is_stuck(&connection, last) => break count,
                    // The table is long: not looked at all the time.
                    Err(SendError::Full) => thread::sleep(Duration::from_millis(10)),
                    Err(error) => panic!("{error}"),
                }
            }
        })
    }

    /// Whether the other side's system takes no more; `last`: when this side took the last message.
    ///
    /// Linux's table of connections shows it: the timer that probes a full window runs (`tr` is 4,
    /// see proc_pid_net(5)). Once the probe has been answered the rest of the window may still be
    /// filled. That is far less than what waits on this side. On other systems, and where the table is
    /// another processor's and has the address turned around, refusals for most of a second say the same.
    fn is_stuck(connection: &Connection<Bytes>, last: Instant) -> bool {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let SocketAddr::V4(remote) = connection.peer_addr() else {
            return false;
        };
        let ip = u32::from_ne_bytes(remote.ip().octets());
        let remote = format!("{ip:08X}:{:04X}", remote.port());
        let mut rows = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| words.get(2) == Some(&&*remote))
            .peekable();
        match rows.peek() {
            Some(_) => rows.any(|words| words.get(5).is_some_and(|tr| tr.starts_with("04:"))),
            None => last.elapsed() > Duration::from_millis(800),
        }
    }

    #[track_caller]
    fn take(connection: &Connection<Bytes>, numbers: std::ops::Range<usize>) {
        for number in numbers {
            let received = connection.recv_timeout(SOON).expect("a message");
            assert!(received == message(number), "message {number}");
        }
    }

    /// One who comes while the thread is being started counts on it only when it is there.
    #[test]
    fn a_task_for_a_timer_whose_thread_cannot_be_started_is_run_or_refused() {
        use crate::net::os::threads::Threads;
        use crate::net::os::timer::{Task, Timer};

        struct Told(crossbeam_channel::Sender<()>);
        impl Task for Told {
            fn run(&self, _: Instant) -> Option<Instant> {
                let _ = self.0.send(());
                None
            }
        }
        // Nobody listens there; the address stands for this group of threads.
        let addr = "127.0.0.1:9".parse::<SocketAddrV4>().unwrap();
        for again in [true, false] {
            let threads = Threads::new(addr);
            let timer = Arc::new(Timer::new("lanpeer-test", None, Duration::ZERO));
            let (at_it, begun) = crossbeam_channel::bounded(2);
            let (go, gone) = crossbeam_channel::bounded::<()>(0);
            let first = AtomicBool::new(true);
            let refusal: Order = Arc::new(move |_| match first.swap(false, Ordering::SeqCst) {
                true => {
                    let _ = at_it.send(());
                    let _ = gone.recv_timeout(SOON);
                    Err(no_thread())
                }
                false if again => Err(no_thread()),
                false => Ok(()),
            });
            lock(&ORDERS).push((addr.into(), refusal));
            let schedule = || {
                let (told, heard) = crossbeam_channel::bounded(1);
                let (threads, timer) = (Arc::clone(&threads), Arc::clone(&timer));
                let scheduled = thread::spawn(move || {
                    let task = Arc::new(Told(told));
                    timer.schedule(&threads, Instant::now(), task).is_ok()
                });
                (scheduled, heard)
            };
            let (refused, _) = schedule();
            begun
                .recv_timeout(SOON)
                .expect("the first one starts a thread");
            let (scheduled, heard) = schedule();
            // It waits for the first one, or has counted on it.
            let begin = Instant::now();
            while !scheduled.is_finished() && begin.elapsed() < Duration::from_millis(50) {
                thread::sleep(Duration::from_millis(1));
            }
            drop(go);
            assert!(!refused.join().unwrap(), "there was no thread for it");
            let is_taken = scheduled.join().unwrap();
            assert_eq!(is_taken, !again);
            if is_taken {
                heard.recv_timeout(SOON).expect("it is run");
            }
            timer.stop();
            assert!(threads.wait(Instant::now() + SOON));
        }
    }

    /// Bob may have the last message a moment before Alice's side has counted it as written.
    fn is_written(to_bob: &Connection<Bytes>) {
        let begin = Instant::now();
        while to_bob.stats().send_queue_bytes > 0 {
            assert!(begin.elapsed() < SOON, "{:?}", to_bob.stats());
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn without_a_writer_thread_no_call_waits_and_nothing_is_lost() {
        nothing_is_lost(&["lanpeer-w"]);
    }

    #[test]
    fn without_a_flusher_either() {
        nothing_is_lost(&["lanpeer-w", "lanpeer-flush"]);
    }

    fn nothing_is_lost(names: &'static [&str]) {
        let (alice, bob) = without_writers(names);
        let (to_bob, to_alice) = link(&alice, &bob);
        let mut count = fill(&to_bob);
        until("messages wait", || {
            count += usize::from(to_bob.try_send(&message(count)).is_ok());
            to_bob.stats().send_queue_bytes > 0
        });
        // A little more may fit after all.
        let timed = loop {
            match to_bob.send_timeout(&message(count), Duration::from_millis(10)) {
                Ok(()) => count += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(timed, SendError::Timeout);

        // Nobody calls Alice's side any more, and it goes on.
        take(&to_alice, 0..count);
        is_written(&to_bob);

        let again = fill(&to_bob);
        let closing = to_bob.clone();
        let closing = thread::spawn(move || closing.close());
        take(&to_alice, 0..again);
        assert_eq!(closing.join().unwrap(), Ok(()));
        assert_eq!(to_alice.recv_timeout(SOON).ok(), None);
        assert_eq!(to_alice.close_reason(), Some(CloseReason::ClosedThere));
    }

    #[test]
    fn without_a_writer_thread_a_broadcast_does_not_wait_for_the_slow() {
        let (alice, slow) = without_writers(&["lanpeer-w"]);
        let quick = bind(builder());
        let (to_slow, _from_alice) = link(&alice, &slow);
        let (_to_quick, to_alice) = link(&alice, &quick);
        let mut number = fill(&to_slow);
        // A little more may fit after all.
        let report = loop {
            let own = alice.clone();
            let report = soon("a broadcast", move || {
                own.broadcast::<Bytes>(&message(number))
            });
            let report = report.unwrap();
            take(&to_alice, number..number + 1);
            match report.sent.len() {
                2 => number += 1,
                _ => break report,
            }
        };
        assert_eq!((report.sent.len(), report.failed.len()), (1, 1));
        assert_eq!(report.sent[0].peer_addr(), quick.local_addr());
        assert_eq!(report.failed[0].0.peer_addr(), slow.local_addr());
        assert_eq!(report.failed[0].1, SendError::Full);
    }

    #[test]
    fn a_writer_thread_is_started_as_soon_as_there_is_one() {
        let (alice, bob) = without_writers(&["lanpeer-w"]);
        let (to_bob, to_alice) = link(&alice, &bob);
        let mut count = fill(&to_bob);
        let started = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&started);
        order(&alice, move |name| {
            seen.fetch_or(name.starts_with("lanpeer-w"), Ordering::SeqCst);
            Ok(())
        });
        until("a writer thread", || {
            count += usize::from(to_bob.try_send(&message(count)).is_ok());
            started.load(Ordering::SeqCst)
        });
        take(&to_alice, 0..count);
        to_bob.send(&message(count)).unwrap();
        take(&to_alice, count..count + 1);
        assert_eq!(to_bob.close(), Ok(()));
    }

    /// No thread but the timer's, which every connection has: then that one writes.
    #[test]
    fn without_any_other_thread_the_timer_writes() {
        let (alice, bob) = without_writers(NO_THREADS);
        let (to_bob, to_alice) = link(&alice, &bob);
        let sender = to_bob.clone();
        let sending = thread::spawn(move || {
            for number in 0..2_000 {
                sender.send(&message(number)).unwrap();
            }
        });
        take(&to_alice, 0..2_000);
        soon("send", move || sending.join()).unwrap();
        assert_eq!(to_bob.close(), Ok(()));
    }

    #[test]
    fn without_a_writer_thread_stop_still_delivers() {
        let (alice, bob) = without_writers(&["lanpeer-w"]);
        let (to_bob, to_alice) = link(&alice, &bob);
        let count = fill(&to_bob);
        let stopping = thread::spawn(move || alice.stop());
        take(&to_alice, 0..count);
        assert_eq!(to_alice.recv_timeout(SOON).ok(), None);
        assert_eq!(to_alice.close_reason(), Some(CloseReason::ClosedThere));
        soon("stop", move || stopping.join()).unwrap();
        assert_eq!(to_bob.close_reason(), Some(CloseReason::Stopped));
    }

    #[test]
    fn without_a_writer_thread_stop_is_bounded() {
        let alice = bind(builder().close_timeout(Duration::from_millis(50)));
        refuse(&alice, &["lanpeer-w"]);
        let bob = bind(builder().receive_queue(2));
        let (to_bob, _to_alice) = link(&alice, &bob);
        fill(&to_bob);
        soon("stop", move || alice.stop());
        assert_eq!(to_bob.close_reason(), Some(CloseReason::Stopped));
    }

    const NO_THREADS: &[&str] = &["lanpeer-w", "lanpeer-flush"];

    #[test]
    fn without_any_thread_try_send_does_not_wait() {
        let (alice, bob) = without_writers(NO_THREADS);
        let (to_bob, to_alice) = link(&alice, &bob);
        let count = fill(&to_bob);
        let flushing = to_bob.clone();
        let flushing = thread::spawn(move || flushing.flush());
        take(&to_alice, 0..count);
        assert_eq!(soon("flush", move || flushing.join()).unwrap(), Ok(()));
        assert_eq!(to_bob.stats().send_queue_bytes, 0);
        let again = fill(&to_bob);
        let closing = to_bob.clone();
        let closing = thread::spawn(move || closing.close());
        take(&to_alice, 0..again);
        assert_eq!(soon("close", move || closing.join()).unwrap(), Ok(()));
    }

    #[test]
    fn without_any_thread_a_send_waits_until_its_deadline() {
        let (alice, bob) = without_writers(NO_THREADS);
        let (to_bob, to_alice) = link(&alice, &bob);
        let count = fill(&to_bob);
        let sending = to_bob.clone();
        let timed = soon("send_timeout", move || {
            let time = Duration::from_millis(20);
            let sent = (0..20).map(|more| sending.send_timeout(&message(count + more), time));
            sent.filter(Result::is_ok).count()
        });
        let flushing = to_bob.clone();
        let flushing = thread::spawn(move || flushing.flush());
        take(&to_alice, 0..count + timed);
        assert_eq!(soon("flush", move || flushing.join()).unwrap(), Ok(()));
    }

    #[test]
    fn without_any_thread_a_dropped_handle_does_not_wait() {
        let (alice, bob) = without_writers(NO_THREADS);
        let (to_bob, to_alice) = link(&alice, &bob);
        let count = fill(&to_bob);
        soon("a drop", move || drop(to_bob));
        take(&to_alice, 0..count);
        assert_eq!(to_alice.recv_timeout(SOON).ok(), None);
        assert_eq!(to_alice.close_reason(), Some(CloseReason::ClosedThere));
        until("no connection is left", || alice.connections().is_empty());
    }

    #[test]
    fn without_any_thread_stop_is_bounded() {
        let alice = bind(builder().close_timeout(Duration::from_millis(50)));
        refuse(&alice, NO_THREADS);
        let bob = bind(builder().receive_queue(2));
        let (to_bob, _to_alice) = link(&alice, &bob);
        fill(&to_bob);
        soon("stop", move || alice.stop());
        assert_eq!(to_bob.close_reason(), Some(CloseReason::Stopped));
    }

    /// One connection that is full does not keep the flusher from the others.
    #[test]
    fn without_a_writer_the_flusher_serves_all() {
        let (alice, slow) = without_writers(&["lanpeer-w"]);
        let quick = bind(builder());
        let (to_slow, from_alice) = link(&alice, &slow);
        let (to_quick, to_alice) = link(&alice, &quick);
        // In a burst, so that the flusher is there.
        to_slow.try_send(&message(0)).unwrap();
        until("a message for the flusher", || {
            to_quick.try_send(b"a").unwrap();
            to_quick.try_send(b"b").unwrap();
            to_quick.stats().send_queue_bytes > 0
        });
        let count = fill_from(&to_slow, 1);
        // Bursts, and the flusher writes their last messages.
        for number in 0..100 {
            for _ in 0..3 {
                to_quick.send(&message(number)).unwrap();
            }
            for _ in 0..3 {
                let large = |message: &Vec<u8>| message.len() == SIZE;
                let mut received = std::iter::from_fn(|| to_alice.recv_timeout(SOON).ok());
                assert!(received.find(large).expect("a message") == message(number));
            }
        }
        // It comes back to the slow one by itself.
        take(&from_alice, 0..count);
    }

    /// Every connection relies on it, from the first one on.
    #[test]
    fn without_a_timer_thread_there_are_no_connections() {
        let (alice, bob) = (bind(builder()), bind(builder()));
        refuse(&alice, &["lanpeer-timer"]);
        match alice.connect::<Bytes>(bob.local_addr()) {
            Err(Error::Io { context, .. }) => assert_eq!(context, "the timer thread"),
            other => panic!("{other:?}"),
        }
        let denied = bob.connect::<Bytes>(alice.local_addr()).unwrap_err();
        let busy = Some("busy".to_owned());
        assert!(matches!(denied, Error::Denied { reason, .. } if reason == busy));

        order(&alice, |_| Ok(()));
        let (to_bob, _to_alice) = link(&alice, &bob);
        assert_eq!(to_bob.close(), Ok(()));
    }

    #[test]
    fn without_a_reader_thread_connect_fails_and_leaves_nothing() {
        let (alice, bob) = (bind(builder().max_connections(1)), bind(builder()));
        refuse(&alice, &["lanpeer-r"]);
        match alice.connect::<Bytes>(bob.local_addr()) {
            Err(Error::Io { context, .. }) => assert_eq!(context, "the reader thread"),
            other => panic!("{other:?}"),
        }
        // The other side sees it go.
        let event = bob.events().recv_timeout(SOON).unwrap();
        assert!(matches!(event, Event::HandshakeFailed { .. }), "{event:?}");
        assert!(alice.connections().is_empty());

        order(&alice, |_| Ok(()));
        let (to_bob, _to_alice) = link(&alice, &bob);
        assert_eq!(to_bob.close(), Ok(()));
    }

    #[test]
    fn without_a_reader_thread_an_offer_is_denied() {
        let (alice, bob) = (bind(builder()), bind(builder()));
        refuse(&bob, &["lanpeer-r"]);
        let denied = alice.connect::<Bytes>(bob.local_addr()).unwrap_err();
        let busy = Some("busy".to_owned());
        assert!(matches!(denied, Error::Denied { reason, .. } if reason == busy));
        let event = bob.events().recv_timeout(SOON).unwrap();
        assert!(matches!(event, Event::HandshakeFailed { .. }), "{event:?}");

        order(&bob, |_| Ok(()));
        let (to_bob, _to_alice) = link(&alice, &bob);
        assert_eq!(to_bob.close(), Ok(()));
    }

    /// A remote that accepts, and then never says anything: not even that it has read a FIN.
    fn mute() -> (SocketAddr, thread::JoinHandle<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let accepting = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 128]).unwrap();
            let answer = format!("{:|<128}", "ACCEPT|v=1");
            stream.write_all(answer.as_bytes()).unwrap();
            stream
        });
        (addr, accepting)
    }

    /// `stop` goes through the connections and counts the threads; one that is entered but whose
    /// reader does not run yet must not outlive it.
    #[test]
    fn a_stop_before_the_reader_runs_ends_the_connection() {
        let alice = bind(builder().close_timeout(Duration::from_millis(50)));
        let stops = Arc::new(AtomicUsize::new(0));
        let (own, count) = (alice.clone(), Arc::clone(&stops));
        order(&alice, move |name| {
            if name == "entered" {
                count.fetch_add(1, Ordering::SeqCst);
                own.stop();
            }
            Ok(())
        });
        let (addr, accepting) = mute();
        let peer = alice.clone();
        let connected = soon("connect", move || {
            ConnectOptions::new().connect::<Bytes>(&peer, addr)
        });
        assert_eq!(stops.load(Ordering::SeqCst), 1);
        let _remote = accepting.join().unwrap();
        let connection = connected.unwrap();
        let waiting = connection.clone();
        assert!(soon("recv", move || waiting.recv()).is_err());
        assert_eq!(connection.close_reason(), Some(CloseReason::Stopped));
        until("no connection is left", || alice.connections().is_empty());
    }
}
