//! What a peer with tags says, and what it believes of others.

use std::io;
use std::sync::Arc;

use crate::error::Result;
use crate::net::os::lock;
use crate::net::os::sync::{AtomicU64, Mutex, Ordering};
use crate::proto::beacon::{Beacon, Pong};
use crate::proto::header::{HEADER_LEN, HeaderError};
use crate::proto::tag::{self, COUNT_MAX, Nonce, Number, Tagged};
use crate::secure::{TagKeys, first_count, nonce};

/// Shared by the responder, the searches and the peer's calls.
pub(crate) struct Tags {
    /// Changed while the peer runs.
    keys: Mutex<Arc<TagKeys>>,
    /// Who has not the secret is not listed.
    pub members_only: bool,
    /// The count of what was said last.
    count: AtomicU64,
    /// The nonces of the watch's questions: now, and before.
    asked: Mutex<[Nonce; 2]>,
}

/// What the tag of a datagram proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// There is no tag, or it is of nobody with the secret.
    None,
    /// A member asks.
    Question,
    /// A member said this. With this count it said nothing else.
    Sign(u64),
}

impl Proof {
    pub fn count(self) -> Option<u64> {
        match self {
            Proof::Sign(count) => Some(count),
            _ => None,
        }
    }

    pub fn is_member(self) -> bool {
        self != Proof::None
    }
}

impl Tags {
    pub fn new(keys: TagKeys, members_only: bool) -> Result<Tags> {
        let first = draw()?;
        Ok(Tags {
            keys: Mutex::new(Arc::new(keys)),
            members_only,
            count: AtomicU64::new(first_count()),
            asked: Mutex::new([first; 2]),
        })
    }

    #[cfg_attr(not(feature = "secure"), allow(dead_code))]
    pub fn set_keys(&self, keys: TagKeys) {
        *lock(&self.keys) = Arc::new(keys);
    }

    fn keys(&self) -> Arc<TagKeys> {
        lock(&self.keys).clone()
    }

    /// From now on the watch asks with another nonce. Answers to the one before are still taken.
    pub fn renew(&self) {
        if let Some(nonce) = nonce() {
            let mut asked = lock(&self.asked);
            *asked = [nonce, asked[0]];
        }
    }

    pub fn asked(&self) -> [Nonce; 2] {
        *lock(&self.asked)
    }

    /// A question, or anything else that is no answer.
    pub fn write(&self, beacon: &Beacon) -> Written {
        match beacon {
            Beacon::Ping(_) => self.ask(beacon, self.asked()[0]),
            _ => {
                let last = self.count.fetch_add(1, Ordering::Relaxed);
                let number = Number::Count((last + 1).min(COUNT_MAX));
                self.with_tag(beacon, number, None)
            }
        }
    }

    pub fn ask(&self, ping: &Beacon, nonce: Nonce) -> Written {
        self.with_tag(ping, Number::Nonce(nonce), None)
    }

    /// It has the count of what was said last: so goodbyes that were said before it are known to be old.
    pub fn answer(&self, pong: Pong, nonce: &Nonce) -> Written {
        let number = Number::Count(self.count.load(Ordering::Relaxed));
        self.with_tag(&Beacon::Pong(pong), number, Some(nonce))
    }

    fn with_tag(&self, beacon: &Beacon, number: Number, question: Option<&Nonce>) -> Written {
        let keys = self.keys();
        tag::write(beacon, number, question, |covered| keys.tag(covered))
    }

    /// Costs the same for each datagram with a tag, a right or a wrong one: as many MACs as there are secrets,
    /// and for a PONG as many times that as there are nonces.
    pub fn check(&self, datagram: &[u8], asked: &[Nonce]) -> Proof {
        let Some(tagged) = Tagged::parse(datagram) else {
            return Proof::None;
        };
        let keys = self.keys();
        let is_right = |question| keys.check(&tagged.covered(question), &tagged.tag);
        let is_known = match tagged.is_pong() {
            true => asked.iter().any(|nonce| is_right(Some(nonce))),
            false => is_right(None),
        };
        match tagged.number {
            _ if !is_known => Proof::None,
            Number::Nonce(_) => Proof::Question,
            Number::Count(count) => Proof::Sign(count),
        }
    }
}

type Written = std::result::Result<[u8; HEADER_LEN], HeaderError>;

/// A nonce that nobody can foresee.
pub(crate) fn draw() -> Result<Nonce> {
    let source = || io::Error::other("the system has no random numbers");
    nonce().ok_or_else(|| crate::error::Error::Io {
        context: "drawing a number for discovery",
        source: source(),
    })
}

#[cfg(all(test, feature = "secure"))]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::proto::beacon::{Card, Here};
    use crate::secure::{Secret, Trust};

    fn trust(own: &Secret, others: usize) -> Trust {
        let mut trust = Trust::default();
        trust.set(own.clone());
        (0..others).for_each(|_| trust.accept(Secret::random().unwrap()));
        trust
    }

    fn tags(own: &Secret, others: usize) -> Tags {
        let keys = trust(own, others).tag_keys();
        Tags::new(keys.unwrap_or_else(|reason| panic!("{reason}")), true).unwrap()
    }

    fn card() -> Card {
        Card {
            id: 1,
            name: "n".repeat(24),
            service: "s".repeat(16),
        }
    }

    fn here() -> Beacon {
        Beacon::Here(Here {
            addr: "10.0.0.3:62626".parse().unwrap(),
            card: card(),
            every: Some(9),
        })
    }

    #[test]
    fn counts_rise_and_answers_fit_their_question() {
        let secret = Secret::random().unwrap();
        let (alice, bob) = (tags(&secret, 0), tags(&secret, 2));
        let count = |datagram: &[u8]| alice.check(datagram, &[]).count().expect("a member's");
        let first = count(&bob.write(&here()).unwrap());
        let gone = count(&bob.write(&Beacon::Gone { id: 1 }).unwrap());
        assert_eq!(gone, first + 1);
        let pong = Pong {
            addr: "10.0.0.3:62626".parse().unwrap(),
            card: Some(card()),
        };
        let nonce = draw().unwrap();
        let answer = bob.answer(pong, &nonce).unwrap();
        let asked = [draw().unwrap(), nonce];
        assert_eq!(alice.check(&answer, &asked), Proof::Sign(gone));
        assert_eq!(alice.check(&answer, &asked[..1]), Proof::None);
        assert_eq!(alice.check(&answer, &[]), Proof::None);
        let others = tags(&Secret::random().unwrap(), 0);
        assert_eq!(others.check(&answer, &asked), Proof::None);
        // The nonces of the watch.
        let [now, before] = alice.asked();
        alice.renew();
        assert_eq!(alice.asked()[1], now);
        assert!(alice.asked()[0] != now && before == now);
    }

    /// What a datagram with a wrong tag costs whom it is sent to.
    #[test]
    fn a_check_takes_a_bounded_time() {
        let secret = Secret::random().unwrap();
        let datagram = tags(&Secret::random().unwrap(), 0).write(&here()).unwrap();
        for others in [0, 7] {
            let tags = tags(&secret, others);
            let begin = Instant::now();
            for _ in 0..2000 {
                assert_eq!(tags.check(&datagram, &[]), Proof::None);
            }
            let each = begin.elapsed() / 2000;
            println!("{} secrets: {each:?} for a datagram", others + 1);
            assert!(each < std::time::Duration::from_millis(5), "{each:?}");
        }
    }
}
