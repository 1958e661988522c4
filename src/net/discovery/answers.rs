//! Who is to be answered, and when. No sockets and no clock: time is an argument.
//!
//! Three limits hold at once, since the source of a datagram can be forged: so many answers a second to one asker,
//! so many to one machine, and so many in all. What is refused is forgotten: whoever searches asks again.

use std::hash::Hash;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::dice::Dice;
use crate::net::os::sync::{HashMap, Instant};
use crate::proto::beacon::Question;

/// So many PINGs are answered in a second, and as many at once after a pause…
const PER_SECOND: u32 = 500;
/// …so many of them to one asker…
const PER_ASKER: u32 = 10;
/// …and so many to one machine, on which several programs may ask.
const PER_MACHINE: u32 = 50;
/// So many askers, and so many machines, are told apart at a time.
const ASKERS_MAX: usize = 1024;
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
    /// When, whom and what to answer. No asker is in it twice.
    waiting: Vec<(Instant, SocketAddrV4, Question)>,
    /// What may be sent in all.
    bucket: Bucket,
    /// What one address and port may have.
    askers: Buckets<SocketAddrV4>,
    /// What one address may have.
    machines: Buckets<Ipv4Addr>,
}

impl Answers {
    pub fn new(now: Instant) -> Answers {
        Answers {
            waiting: Vec::new(),
            bucket: Bucket::new(PER_SECOND, now),
            askers: Buckets::new(PER_ASKER),
            machines: Buckets::new(PER_MACHINE),
        }
    }

    /// Someone asks, and so many peers may answer.
    pub fn asked(
        &mut self,
        asker: SocketAddrV4,
        question: Question,
        known: usize,
        now: Instant,
        dice: &mut Dice,
    ) {
        let mut waiting = self.waiting.iter();
        if self.waiting.len() >= WAITING_MAX || waiting.any(|(_, other, _)| *other == asker) {
            return;
        }
        // Who asks too often does not use up what its machine has, nor a place among the askers.
        let machine = *asker.ip();
        if !self.machines.has_any(&machine, now)
            || !self.askers.take(asker, now)
            || !self.machines.take(machine, now)
        {
            return;
        }
        // Many answers at once would overflow the asker's buffer.
        let spread = match known {
            0..=FEW => Duration::ZERO,
            _ => SPREAD_EACH.saturating_mul(known as u32).min(SPREAD_MAX),
        };
        self.waiting
            .push((now + dice.up_to(spread), asker, question));
    }

    /// Those who are to be answered now. Those for whom nothing is left in this second are dropped.
    pub fn due(&mut self, now: Instant) -> Vec<(SocketAddrV4, Question)> {
        let mut due = Vec::new();
        self.waiting.retain(|&(at, asker, question)| {
            if at <= now && self.bucket.take(now) {
                due.push((asker, question));
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
        self.waiting.iter().map(|(at, ..)| *at).min()
    }
}

/// A [`Bucket`] for each of many.
#[derive(Debug)]
struct Buckets<K> {
    each: HashMap<K, Bucket>,
    per_second: u32,
    /// When those that are full again, and so as good as new, were taken out.
    cleaned: Option<Instant>,
}

impl<K: Eq + Hash> Buckets<K> {
    fn new(per_second: u32) -> Buckets<K> {
        Buckets {
            each: HashMap::default(),
            per_second,
            cleaned: None,
        }
    }

    /// Whoever is not known yet has a full bucket.
    fn has_any(&mut self, key: &K, now: Instant) -> bool {
        self.each
            .get_mut(key)
            .is_none_or(|bucket| bucket.has_any(now))
    }

    /// Refused as well where too many are told apart already.
    fn take(&mut self, key: K, now: Instant) -> bool {
        if self.each.len() >= ASKERS_MAX && !self.each.contains_key(&key) {
            self.clean(now);
            if self.each.len() >= ASKERS_MAX {
                return false;
            }
        }
        let new = || Bucket::new(self.per_second, now);
        self.each.entry(key).or_insert_with(new).take(now)
    }

    /// At most ten times a second, since it looks at all of them.
    fn clean(&mut self, now: Instant) {
        let since = |then| now.saturating_duration_since(then);
        if self
            .cleaned
            .is_none_or(|last| since(last) >= Duration::from_millis(100))
        {
            self.cleaned = Some(now);
            self.each
                .retain(|_, bucket| since(bucket.filled) < Duration::from_secs(1));
        }
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

    /// Fills it by what has passed, and looks.
    fn has_any(&mut self, now: Instant) -> bool {
        let rate = f64::from(self.per_second);
        let passed = now.saturating_duration_since(self.filled);
        self.tokens = (self.tokens + passed.as_secs_f64() * rate).min(rate);
        self.filled = now;
        self.tokens >= 1.0
    }

    fn take(&mut self, now: Instant) -> bool {
        let any = self.has_any(now);
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

    const QUESTION: Question = Question::PADDED;

    fn askers(due: Vec<(SocketAddrV4, Question)>) -> Vec<SocketAddrV4> {
        due.into_iter().map(|(asker, _)| asker).collect()
    }

    #[test]
    fn where_few_are_known_the_answer_is_given_at_once() {
        let (mut dice, now) = (Dice::new(), Instant::now());
        let mut answers = Answers::new(now);
        answers.asked(asker(1), QUESTION, FEW, now, &mut dice);
        answers.asked(asker(1), QUESTION, FEW, now, &mut dice);
        assert_eq!(answers.next(), Some(now));
        assert_eq!(askers(answers.due(now)), [asker(1)]);
        assert_eq!((answers.due(now), answers.next()), (Vec::new(), None));
    }

    #[test]
    fn where_many_are_known_the_answers_are_spread() {
        let (mut dice, now) = (Dice::new(), Instant::now());
        let mut answers = Answers::new(now);
        (0..100).for_each(|n| answers.asked(asker(n), QUESTION, 200, now, &mut dice));
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

    /// How many of 20,000 questions, over a second, are answered.
    fn storm(known: usize, asker: impl Fn(u32) -> SocketAddrV4) -> u32 {
        let (mut dice, begin) = (Dice::new(), Instant::now());
        let mut answers = Answers::new(begin);
        let mut given = 0;
        for n in 0..20_000 {
            let now = begin + Duration::from_micros(50) * n;
            answers.asked(asker(n), QUESTION, known, now, &mut dice);
            assert!(answers.waiting.len() <= WAITING_MAX);
            assert!(answers.askers.each.len() <= ASKERS_MAX);
            assert!(answers.machines.each.len() <= ASKERS_MAX);
            given += answers.due(now).len() as u32;
        }
        given
    }

    #[test]
    fn a_storm_is_answered_at_a_bounded_rate_from_a_bounded_memory() {
        for known in [0, 1000] {
            let given = storm(known, |n| asker(n % 1000));
            assert!((900..=1001).contains(&given), "{given} in the first second");
            let given = storm(known, asker);
            assert!((500..=1001).contains(&given), "{given} in the first second");
        }
    }

    #[test]
    fn one_asker_and_one_machine_get_their_share_and_no_more() {
        let one = storm(0, |_| asker(1));
        assert!((19..=20).contains(&one), "{one} in the first second");
        let ports = storm(0, |n| SocketAddrV4::new([10, 0, 0, 1].into(), n as u16));
        assert!((98..=100).contains(&ports), "{ports} in the first second");
        // Others do not notice.
        let (mut dice, now) = (Dice::new(), Instant::now());
        let mut answers = Answers::new(now);
        (0..2400).for_each(|_| answers.asked(asker(1), QUESTION, 0, now, &mut dice));
        answers.asked(asker(2), QUESTION, 0, now, &mut dice);
        assert_eq!(askers(answers.due(now)), [asker(1), asker(2)]);
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
