//! Spinning: looking again and again for a moment before a thread sleeps, where the program asked for
//! it.
//!
//! It takes longer to wake a sleeping thread than to bring a small message across. But a thread that
//! spins takes its core from others, for nothing where no message comes soon. So it yields between
//! two looks, and stops spinning for a while when several spins in a row found nothing.

use std::time::Duration;

use crate::net::os::sync::{AtomicU32, Instant, Ordering, yield_now};

/// After this many fruitless spins in a row, the next [`REST`] waits do not spin.
const TRIES: u32 = 4;

/// How many waits do not spin after [`TRIES`] fruitless spins. Then one more spin is tried.
const REST: u32 = 64;

/// The spinning of one connection in one direction. Every thread that waits there shares it.
pub(crate) struct Spin {
    /// The longest spin, as the builder's `spin` says; zero turns spinning off.
    time: Duration,
    /// Up to [`TRIES`] it counts fruitless spins in a row. Above that, it counts the waits that have
    /// not spun since. Several threads may spin at once; a lost update costs one spin more or less.
    vain: AtomicU32,
}

impl Spin {
    pub fn new(time: Duration) -> Spin {
        Spin {
            time,
            vain: AtomicU32::new(0),
        }
    }

    /// Did the program ask for spinning?
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

    /// The spin itself, apart from [`until`](Spin::until) so that only the test of `is_on` is inlined.
    fn look(&self, deadline: Option<Instant>, mut found: impl FnMut() -> bool) {
        let vain = self.vain.load(Ordering::Relaxed);
        if vain >= TRIES {
            // This wait does not spin. After the last of them the next may try once.
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
