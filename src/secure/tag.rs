//! The tags by which members know each other's datagrams in discovery.
//!
//! A tag is the beginning of HMAC-SHA256, with a key that is derived from the secret for this alone.
//! Anyone who hears a tag can test guesses at the secret. That is hopeless for 128 random bits and easy
//! for a passphrase, so there are no tags of passphrases.

use std::time::{Duration, SystemTime};

use ring::rand::{SecureRandom, SystemRandom};

use super::Secret;
use super::noise::{Key, hmac_sha256, wipe_stack};
use crate::proto::tag::{COUNT_MAX, Nonce, Tag};

/// What the key is derived for. The handshake takes the secret itself.
const PURPOSE: &[u8] = b"lanpeer discovery tag 1";

/// The keys that a peer's secrets lead to.
pub(crate) struct TagKeys {
    own: Box<Key>,
    accepted: Vec<Key>,
}

impl TagKeys {
    pub fn new(own: &Secret, accepted: &[Secret]) -> TagKeys {
        let derive = |secret: &Secret| hmac_sha256(&secret.psk()[..], &[PURPOSE]);
        let keys = TagKeys {
            own: Box::new(derive(own)),
            accepted: accepted.iter().map(derive).collect(),
        };
        wipe_stack();
        keys
    }

    /// With this peer's own secret.
    pub fn tag(&self, covered: &[u8]) -> Tag {
        tag(&self.own, covered)
    }

    /// Was it made with one of the secrets? Tries all of them, whichever fits.
    pub fn check(&self, covered: &[u8], theirs: &Tag) -> bool {
        let keys = std::iter::once(&*self.own).chain(&self.accepted);
        keys.fold(false, |known, key| {
            let ours = tag(key, covered);
            let pairs = ours.iter().zip(theirs);
            known | (pairs.fold(0, |bits, (ours, theirs)| bits | (ours ^ theirs)) == 0)
        })
    }
}

fn tag(key: &Key, covered: &[u8]) -> Tag {
    let mac = hmac_sha256(&key[..], &[covered]);
    std::array::from_fn(|at| mac[at])
}

/// For a question. `None`: the system has no random numbers.
pub(crate) fn nonce() -> Option<Nonce> {
    let mut nonce = Nonce::default();
    SystemRandom::new().fill(&mut nonce).ok()?;
    Some(nonce)
}

/// Where a peer's count begins: above all that an earlier peer at the same address, and so on the same
/// host, has come to. No deadline depends on it, and no two hosts' clocks are compared. If the clock was
/// set back, the new peer is not listed until the old one has been silent for long enough.
pub(crate) fn first_count() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // In 1/256 s: more than a peer ever says in this time.
    let ticks = since.unwrap_or(Duration::ZERO).as_millis() * 256 / 1000;
    (ticks as u64).min(COUNT_MAX)
}

#[cfg(test)]
mod tests;
