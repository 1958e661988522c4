//! In place of `tests/model/os.rs`: each peer is a process on a host of its own.

use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError};

use lanpeer::{Peer, PeerBuilder};
use simulated_system::{net, world};

pub use simulated_system::sync::thread::{sleep, yield_now};
pub use simulated_system::sync::{
    Condvar, HashMap, Instant, Mutex, MutexGuard, Receiver, Sender, bounded, select,
};

/// The buffers of this system are small.
pub const SMALLER: usize = 20;

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Place(Vec<(usize, Ipv4Addr)>);

impl Place {
    pub fn new(count: usize) -> Place {
        let process = |number: usize| {
            let ip = Ipv4Addr::new(10, 0, 0, number as u8 + 1);
            let name = format!("peer{number}");
            let host = net::add_host(&name, ip);
            (world::new_process(&name, host), ip)
        };
        Place((0..count).map(process).collect())
    }

    pub fn processes(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().map(|(process, _)| *process)
    }

    pub fn bind(&self, number: usize, builder: PeerBuilder) -> Peer {
        let (process, ip) = self.0[number];
        let bound = Arc::<std::sync::Mutex<Option<Peer>>>::default();
        let own = Arc::clone(&bound);
        let work = move || {
            let peer = builder.bind((ip, 0)).expect("a free port");
            *own.lock().unwrap_or_else(PoisonError::into_inner) = Some(peer);
        };
        world::join(world::spawn_in(process, "binds", Box::new(work)));
        let mut bound = bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.take().expect("a peer")
    }

    pub fn start(&self, number: usize, work: impl FnOnce() + Send + 'static) {
        world::spawn_in(self.0[number].0, "model", Box::new(work));
    }
}
