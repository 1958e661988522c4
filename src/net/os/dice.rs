//! Randomness for delays and ids: not secret, only different everywhere.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use super::sync::{RandomState, process_id};
use crate::proto::beacon::ID_MASK;

/// A generator of random numbers. Each thread that needs one has its own, so it needs no lock.
pub(crate) struct Dice(u64);

impl Dice {
    /// Seeded by the system: std's `RandomState` draws its keys there.
    pub fn new() -> Dice {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(process_id());
        // Xorshift must not begin at zero.
        Dice(hasher.finish() | 1)
    }

    pub fn draw(&mut self) -> u64 {
        // Vigna's xorshift64*.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number of 40 bits, as ids have.
    pub fn draw_id(&mut self) -> u64 {
        self.draw() & ID_MASK
    }

    /// From nothing to just below this time, evenly.
    pub fn up_to(&mut self, time: Duration) -> Duration {
        time.mul_f64((self.draw() >> 11) as f64 / (1u64 << 53) as f64)
    }
}
