//! What a program runs on: threads, locks and the time of this machine, and its loopback.
//! `tests/simulation` has another file in its place, and runs the same programs on several hosts.

use std::net::Ipv4Addr;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};

use lanpeer::{Peer, PeerBuilder};

pub use std::collections::HashMap;
pub use std::sync::{Condvar, Mutex, MutexGuard};
pub use std::thread::{sleep, yield_now};
pub use std::time::Instant;

pub use lanpeer::crossbeam_channel::{Receiver, Sender, bounded, select};

/// Floods and pictures are so many times smaller than a real system's buffers ask for.
pub const SMALLER: usize = 1;

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the peers of a program live.
pub struct Place(Ipv4Addr);

impl Place {
    /// An address of a program's own: the port of a peer that was stopped may be the next one's at once,
    /// and who still asks for the first would be a stranger to the second.
    pub fn new(_: usize) -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let own = NEXT.fetch_add(1, Ordering::SeqCst) % 0xffff;
        let [_, _, high, low] = own.to_be_bytes();
        Place(match cfg!(target_os = "linux") {
            true => Ipv4Addr::new(127, 77, high, low),
            // Has no other.
            false => Ipv4Addr::LOCALHOST,
        })
    }

    pub fn bind(&self, _: usize, builder: PeerBuilder) -> Peer {
        builder.bind((self.0, 0)).expect("a free port on loopback")
    }

    /// Starts a thread of a peer's.
    pub fn start(&self, _: usize, work: impl FnOnce() + Send + 'static) {
        std::thread::Builder::new()
            .name("model".to_owned())
            .spawn(work)
            .expect("a thread");
    }
}
