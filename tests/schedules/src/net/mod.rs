//! The files that are checked, from where they are, between stand-ins for their neighbours.

pub(crate) mod os {
    #[path = "../../../../../src/net/os/spin.rs"]
    pub(crate) mod spin;

    pub(crate) mod socket;
    pub(crate) mod sync;

    use sync::{Mutex, MutexGuard};

    pub(crate) const LOG: &str = "lanpeer";

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }
}

pub(crate) mod wire {
    pub(crate) mod reader;
    pub(crate) mod record;
}

pub(crate) mod recv {
    #[path = "../../../../../src/net/recv/batch.rs"]
    pub(crate) mod batch;
    #[path = "../../../../../src/net/recv/consumer.rs"]
    pub(crate) mod consumer;
    #[path = "../../../../../src/net/recv/lease.rs"]
    pub(crate) mod lease;
    #[path = "../../../../../src/net/recv/producer.rs"]
    pub(crate) mod producer;
    #[path = "../../../../../src/net/recv/select.rs"]
    pub(crate) mod select;

    pub(crate) mod lending;
    pub(crate) mod receiving;
}

pub(crate) mod send {
    #[path = "../../../../../src/net/send/flusher.rs"]
    pub(crate) mod flusher;
    #[path = "../../../../../src/net/send/queue.rs"]
    pub(crate) mod queue;
    #[path = "../../../../../src/net/send/sender.rs"]
    pub(crate) mod sender;
    #[path = "../../../../../src/net/send/writer.rs"]
    pub(crate) mod writer;

    pub(crate) mod sending;
}

pub(crate) mod link;

pub(crate) mod endpoint;
