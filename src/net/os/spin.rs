//! Looking again and again for a moment before waiting, where the program asked for it.
//!
//! To wake a sleeping thread takes longer than to bring a small message across. But a thread that
//! looks takes its core from others, and is in vain where nothing comes soon. So it lets others run
//! between two looks, and gives way for a while when several times in a row nothing came.

use std::time::Duration;

use crate::net::os::sync::{AtomicU32, Instant, Ordering, yield_now};

/// So often in vain,
const TRIES: u32 = 4;

/// and so many waits are not spun.
const REST: u32 = 64;

pub(crate) struct Spin {
    time: Duration,
    /// Up to [`TRIES`] it counts spins in vain since the last one that was not, then waits.
    vain: AtomicU32,
}

impl Spin {
    pub fn new(time: Duration) -> Spin {
        Spin {
            time,
            vain: AtomicU32::new(0),
        }
    }

    pub fn is_on(&self) -> bool {
        !self.time.is_zero()
    }

    /// Looks until `found`, or for the time asked for, and not beyond the deadline.
    #[inline]
    pub fn until(&self, deadline: Option<Instant>, found: impl FnMut() -> bool) {
        if self.is_on() {
            self.look(deadline, found);
        }
    }

    fn look(&self, deadline: Option<Instant>, mut found: impl FnMut() -> bool) {
        let vain = self.vain.load(Ordering::Relaxed);
        if vain >= TRIES {
            let next = if vain == TRIES + REST {
                TRIES - 1
            } else {
                vain + 1
            };
            self.vain.store(next, Ordering::Relaxed);
            return;
        }
        let begun = Instant::now();
        while !found() {
            let now = Instant::now();
            if now - begun >= self.time || deadline.is_some_and(|deadline| now >= deadline) {
                self.vain.store(vain + 1, Ordering::Relaxed);
                return;
            }
            yield_now();
        }
        self.vain.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_way_when_it_is_in_vain_and_tries_again_later() {
        let spin = Spin::new(Duration::from_nanos(1));
        let looked = |found: bool| {
            let mut looks = 0;
            spin.until(None, || {
                looks += 1;
                found
            });
            looks > 0
        };
        for _ in 0..TRIES {
            assert!(looked(false));
        }
        let rest = (0..1000).take_while(|_| !looked(false)).count();
        assert_eq!(rest as u32, REST + 1);
        // Still in vain: it rests again at once. A success makes it trust again.
        assert!(!looked(true));
        let rest = (0..1000).take_while(|_| !looked(true)).count();
        assert_eq!(rest as u32, REST);
        for _ in 0..TRIES {
            assert!(looked(false));
        }
    }

    #[test]
    fn without_a_time_it_never_looks() {
        Spin::new(Duration::ZERO).until(None, || unreachable!());
    }
}
