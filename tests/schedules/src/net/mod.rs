//! The files that are checked, from where they are, between stand-ins for their neighbours.

#[path = "../../../../src/net/batch.rs"]
mod batch;
#[path = "../../../../src/net/channel.rs"]
mod channel;
#[path = "../../../../src/net/flusher.rs"]
mod flusher;
#[path = "../../../../src/net/inbox.rs"]
mod inbox;
#[path = "../../../../src/net/intake.rs"]
mod intake;
#[path = "../../../../src/net/outbox.rs"]
mod outbox;
#[path = "../../../../src/net/pulse.rs"]
mod pulse;
#[path = "../../../../src/net/seat.rs"]
mod seat;
#[path = "../../../../src/net/sender.rs"]
mod sender;
#[path = "../../../../src/net/spin.rs"]
mod spin;
#[path = "../../../../src/net/writer.rs"]
mod writer;

mod cipher;
mod hub;
mod link;
mod reader;
mod socket;
pub(crate) mod sync;

pub(crate) mod lending;
pub(crate) mod noticing;
pub(crate) mod receiving;
pub(crate) mod sending;

use sync::{Mutex, MutexGuard};

const LOG: &str = "lanpeer";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}
