//! Who is to be answered, and when. No sockets and no clock: time is an argument.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use super::dice::Dice;

/// So many PINGs are answered in a second, and as many at once after a pause.
const PER_SECOND: u32 = 500;
/// With more peers than this known, answers are spread…
const FEW: usize = 64;
/// …over this time for each of them…
const SPREAD_EACH: Duration = Duration::from_micros(250);
/// …and at most over this.
const SPREAD_MAX: Duration = Duration::from_millis(100);
/// So many answers wait at most for their time.
const WAITING_MAX: usize = 256;

/// The answers that are still to be given.
#[derive(Debug)]
pub(crate) struct Answers {
    /// No asker is in it twice.
    waiting: Vec<(Instant, SocketAddrV4)>,
    bucket: Bucket,
}

impl Answers {
    pub fn new(now: Instant) -> Answers {
        Answers {
            waiting: Vec::new(),
            bucket: Bucket::new(PER_SECOND, now),
        }
    }

    /// Someone asks, and so many peers may answer.
    pub fn asked(&mut self, asker: SocketAddrV4, known: usize, now: Instant, dice: &mut Dice) {
        let is_waiting = |(_, other): &(Instant, SocketAddrV4)| *other == asker;
        if self.waiting.len() >= WAITING_MAX || self.waiting.iter().any(is_waiting) {
            return;
        }
        let spread = match known {
            0..=FEW => Duration::ZERO,
            _ => SPREAD_EACH.saturating_mul(known as u32).min(SPREAD_MAX),
        };
        self.waiting.push((now + dice.up_to(spread), asker));
    }

    /// Those who are to be answered now.
    pub fn due(&mut self, now: Instant) -> Vec<SocketAddrV4> {
        let mut due = Vec::new();
        self.waiting.retain(|&(at, asker)| {
            if at <= now && self.bucket.take(now) {
                due.push(asker);
            }
            at > now
        });
        due
    }

    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// When `due` next has someone.
    pub fn next(&self) -> Option<Instant> {
        self.waiting.iter().map(|(at, _)| *at).min()
    }
}

/// Lets through a bounded number in a second.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
    per_second: u32,
}

impl Bucket {
    /// So many a second, and after a pause so many at once.
    fn new(per_second: u32, now: Instant) -> Bucket {
        Bucket {
            tokens: per_second.into(),
            filled: now,
            per_second,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let rate = f64::from(self.per_second);
        let passed = now.saturating_duration_since(self.filled);
        self.tokens = (self.tokens + passed.as_secs_f64() * rate).min(rate);
        self.filled = now;
        let any = self.tokens >= 1.0;
        if any {
            self.tokens -= 1.0;
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(n: u32) -> SocketAddrV4 {
        SocketAddrV4::new(n.into(), 9)
    }

    #[test]
    fn where_few_are_known_the_answer_is_given_at_once() {
        let (mut dice, now) = (Dice::new(), Instant::now());
        let mut answers = Answers::new(now);
        answers.asked(asker(1), FEW, now, &mut dice);
        answers.asked(asker(1), FEW, now, &mut dice);
        assert_eq!(answers.next(), Some(now));
        assert_eq!(answers.due(now), [asker(1)]);
        assert_eq!((answers.due(now), answers.next()), (Vec::new(), None));
    }

    #[test]
    fn where_many_are_known_the_answers_are_spread() {
        let (mut dice, now) = (Dice::new(), Instant::now());
        let mut answers = Answers::new(now);
        (0..100).for_each(|n| answers.asked(asker(n), 200, now, &mut dice));
        let half = answers.due(now + Duration::from_millis(25)).len();
        assert!(
            (20..80).contains(&half),
            "{half} of 100 within half of the time"
        );
        assert_eq!(
            answers.due(now + Duration::from_millis(50)).len(),
            100 - half
        );
    }

    #[test]
    fn a_storm_is_answered_at_a_bounded_rate_from_a_bounded_memory() {
        let (mut dice, now) = (Dice::new(), Instant::now());
        for known in [0, 1000] {
            let mut answers = Answers::new(now);
            let mut given = 0;
            for n in 0..100_000 {
                let now = now + Duration::from_micros(10) * n;
                answers.asked(asker(n), known, now, &mut dice);
                assert!(answers.waiting.len() <= WAITING_MAX);
                given += answers.due(now).len();
            }
            assert!((900..=1001).contains(&given), "{given} in the first second");
        }
    }

    #[test]
    fn a_bucket_is_bounded() {
        let now = Instant::now();
        let mut bucket = Bucket::new(500, now);
        let mut taken = 0;
        for micros in 0..100_000 {
            taken += u32::from(bucket.take(now + Duration::from_micros(10 * micros)));
        }
        assert!((990..=1001).contains(&taken), "{taken} in the first second");
        assert!(
            !bucket.take(now),
            "a clock that goes backwards gives nothing"
        );
    }
}
