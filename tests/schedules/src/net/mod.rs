//! The files that are checked, from where they are, between stand-ins for their neighbours.

pub(crate) mod os {
    #[path = "../../../../../src/net/os/condvar.rs"]
    pub(crate) mod condvar;
    #[path = "../../../../../src/net/os/spin.rs"]
    pub(crate) mod spin;
    #[path = "../../../../../src/net/os/timer.rs"]
    pub(crate) mod timer;

    pub(crate) mod socket;
    pub(crate) mod sync;
    pub(crate) mod table;
    pub(crate) mod threads;

    use sync::{Mutex, MutexGuard};

    pub(crate) const LOG: &str = "lanpeer";

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }
}

#[path = "../../../../src/net/burst.rs"]
pub(crate) mod burst;
#[path = "../../../../src/net/context.rs"]
pub(crate) mod context;
#[path = "../../../../src/net/life.rs"]
pub(crate) mod life;

/// No program's code runs here.
pub(crate) mod panics {
    use crate::error::CloseReason;

    pub(crate) fn unless_it_panics<T>(
        run: impl FnOnce() -> Result<T, CloseReason>,
    ) -> Result<T, CloseReason> {
        run()
    }

    pub(crate) fn let_go<T>(owned: T) {
        drop(owned);
    }

    pub(crate) fn let_go_of_all<T>(owned: impl IntoIterator<Item = T>) {
        owned.into_iter().for_each(drop);
    }
}

pub(crate) mod wire {
    #[path = "../../../../../src/net/wire/span.rs"]
    pub(crate) mod span;
    #[path = "../../../../../src/net/wire/stream.rs"]
    pub(crate) mod stream;
    #[path = "../../../../../src/net/wire/write_half.rs"]
    pub(crate) mod write_half;

    pub(crate) mod record;
}

pub(crate) mod asking;
pub(crate) mod lending;
pub(crate) mod receiving;
#[path = "../../../../src/net/recv/mod.rs"]
pub(crate) mod recv;
pub(crate) mod replacing;
pub(crate) mod requesting;
#[path = "../../../../src/net/send/mod.rs"]
pub(crate) mod send;
pub(crate) mod sending;

pub(crate) mod link;

pub(crate) mod endpoint;
