//! What the tests share: deadlines, a bare speaker of the wire, a real peerpy.
#![allow(dead_code)] // each test program uses its own part of it

pub mod example;
pub mod peerpy;
pub mod wire;

use std::time::{Duration, Instant};

use lanpeer::{CloseReason, Connection, Format, Offer, Peer, PeerBuilder, RecvTimeoutError};

/// What must happen, happens within this time, also on a loaded machine. Reaching it is a failure.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Settings for a test.
pub fn builder() -> PeerBuilder {
    let builder = Peer::builder().invisible(true);
    // Where the system has no table of connections, a peer asks for heartbeats, and they would be among the
    // bytes that a bare socket reads.
    match cfg!(any(target_os = "linux", target_os = "android")) {
        true => builder,
        false => builder.keepalive(None),
    }
}

/// A peer on a free port of loopback.
pub fn peer() -> Peer {
    builder()
        .bind("127.0.0.1:0")
        .expect("a free port on loopback")
}

/// Waits until `done` says so, for what can only be observed by looking.
#[track_caller]
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The next offer.
#[track_caller]
pub fn next_offer(peer: &Peer) -> Offer {
    peer.offers().recv_timeout(DEADLINE).expect("an offer")
}

/// The next message.
#[track_caller]
pub fn receive<F: Format>(conn: &Connection<F>) -> F::Item {
    match conn.recv_timeout(DEADLINE) {
        Ok(item) => item,
        Err(e) => panic!("{e}; close reason: {:?}", conn.close_reason()),
    }
}

/// Why the connection ended, once it has; no message may come before that.
#[track_caller]
pub fn ended<F: Format>(conn: &Connection<F>) -> CloseReason {
    match conn.recv_timeout(DEADLINE) {
        Ok(_) => panic!("a message where the end was expected"),
        Err(RecvTimeoutError::Timeout) => panic!("the connection did not end"),
        Err(RecvTimeoutError::Disconnected) => conn
            .close_reason()
            .expect("a reason once recv reports the end"),
    }
}

/// Runs `work` on its own thread and waits for its result, so that a call that hangs fails the
/// test and does not hang it.
#[track_caller]
pub fn within_deadline<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    spawn(work).wait(what)
}

/// Work on another thread whose result is awaited with a deadline.
pub struct Task<T>(std::sync::mpsc::Receiver<T>);

/// Starts `work` on another thread.
pub fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(work()));
    Task(receive)
}

impl<T> Task<T> {
    /// The result.
    #[track_caller]
    pub fn wait(self, what: &str) -> T {
        match self.0.recv_timeout(DEADLINE) {
            Ok(result) => result,
            Err(e) => panic!("{what}: {e}"),
        }
    }
}
