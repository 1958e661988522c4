//! How long to wait before the next attempt.

use std::time::Duration;

use crate::net::os::dice::Dice;

/// The pauses of one peer: each is twice the one before it, up to a bound, less a random part of up to a
/// quarter. So many peers that have lost the same one do not all come back at once.
#[derive(Debug, Default)]
pub(super) struct Pause {
    /// Failures since the last reset, which may be over soon.
    failures: u32,
    /// Refusals since the last reset. Counted apart: a refusal is to be followed by a long pause, however
    /// few failures there were before.
    refusals: u32,
}

/// The first and the longest pause after a failure that may be over soon.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

/// The first and the longest pause after a refusal, which stays until somebody changes something there.
const FIRST_SLOW: Duration = Duration::from_secs(1);
const LONGEST_SLOW: Duration = Duration::from_secs(30);

impl Pause {
    /// There is no connection, or one has ended.
    pub fn after_failure(&mut self, dice: &mut Dice) -> Duration {
        doubled(FIRST, LONGEST, &mut self.failures, dice)
    }

    /// The other side has said no.
    pub fn after_refusal(&mut self, dice: &mut Dice) -> Duration {
        doubled(FIRST_SLOW, LONGEST_SLOW, &mut self.refusals, dice)
    }

    /// A connection has lasted, or something about the peer has changed: the pauses begin anew.
    pub fn reset(&mut self) {
        *self = Pause::default();
    }
}

fn doubled(first: Duration, longest: Duration, count: &mut u32, dice: &mut Dice) -> Duration {
    let pause = first.saturating_mul(1 << (*count).min(16)).min(longest);
    *count = count.saturating_add(1);
    pause - dice.up_to(pause / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound_and_begin_anew() {
        let mut dice = Dice::new();
        let mut pause = Pause::default();
        for (next, first, longest) in [
            (Pause::after_failure as fn(&mut _, &mut _) -> _, 50, 5_000),
            (Pause::after_refusal, 1_000, 30_000),
        ] {
            for round in 0..40_u32 {
                let most = Duration::from_millis((first << round.min(16)).min(longest));
                let drawn = next(&mut pause, &mut dice);
                assert!(drawn <= most && drawn >= most * 3 / 4, "{round}: {drawn:?}");
            }
        }
        pause.reset();
        assert!(pause.after_failure(&mut dice) <= FIRST);
    }

    #[test]
    fn they_differ_by_chance() {
        let mut dice = Dice::new();
        let draw = |dice: &mut Dice| Pause::default().after_failure(dice);
        let first = draw(&mut dice);
        assert!((0..100).any(|_| draw(&mut dice) != first));
    }
}
