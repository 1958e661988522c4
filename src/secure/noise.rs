//! What the handshake needs of the Noise protocol framework: its symmetric state (section 5.2), for
//! SHA-256, and X25519.
//!
//! A whole implementation of Noise tries one secret for each key agreement. Here several are tried
//! with one, in a time that does not depend on which of them fits. And everything that keys are made
//! of is wiped.

use std::hint::black_box;

use curve25519_dalek::montgomery::MontgomeryPoint;
use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};
use zeroize::Zeroizing;

use super::record::{TAG, algorithm};
use super::{Forged, Suite};

pub(super) type Key = Zeroizing<[u8; 32]>;

/// The chaining key, the hash of everything so far, and the key of the next tag.
#[derive(Clone)]
pub(super) struct Symmetric {
    suite: Suite,
    chain: Key,
    hash: [u8; 32],
    key: Key,
}

impl Symmetric {
    pub fn new(suite: Suite, prologue: &[&[u8]]) -> Symmetric {
        let name = match suite {
            Suite::Aes => "Noise_NNpsk2_25519_AESGCM_SHA256",
            Suite::ChaCha => "Noise_NNpsk2_25519_ChaChaPoly_SHA256",
        };
        // A name of 32 bytes or fewer is its own hash, with zeros behind it.
        let mut hash = [0; 32];
        match hash.get_mut(..name.len()) {
            Some(whole) => whole.copy_from_slice(name.as_bytes()),
            None => hash = sha256(&[name.as_bytes()]),
        }
        let mut state = Symmetric {
            suite,
            chain: Zeroizing::new(hash),
            hash,
            key: Key::default(),
        };
        state.mix_hash(prologue);
        state
    }

    fn mix_hash(&mut self, data: &[&[u8]]) {
        self.hash = sha256(&[&[&self.hash[..]], data].concat());
    }

    fn hkdf<const N: usize>(&self, input: &[u8]) -> [Key; N] {
        let inner = hmac_sha256(&self.chain[..], &[input]);
        let mut outputs: [Key; N] = std::array::from_fn(|_| Key::default());
        for index in 0..N {
            let number = [index as u8 + 1];
            outputs[index] = match index.checked_sub(1) {
                Some(last) => hmac_sha256(&inner[..], &[&outputs[last][..], &number]),
                None => hmac_sha256(&inner[..], &[&number]),
            };
        }
        outputs
    }

    /// The token `e`, in a pattern with a secret.
    pub fn mix_public(&mut self, public: &[u8; 32]) {
        self.mix_hash(&[public]);
        self.mix_key(public);
    }

    /// The token `ee`, which has led to these bytes.
    pub fn mix_key(&mut self, input: &[u8]) {
        let [chain, key] = self.hkdf(input);
        (self.chain, self.key) = (chain, key);
    }

    /// The token `psk`.
    pub fn mix_secret(&mut self, psk: &[u8; 32]) {
        let [chain, hash, key] = self.hkdf(psk);
        self.mix_hash(&[&hash[..]]);
        (self.chain, self.key) = (chain, key);
    }

    fn cipher(&self) -> Result<(LessSafeKey, Nonce), Forged> {
        let key = UnboundKey::new(algorithm(self.suite), &self.key[..]).map_err(|_| Forged)?;
        Ok((LessSafeKey::new(key), Nonce::assume_unique_for_key([0; 12])))
    }

    /// Writes an empty payload: its tag.
    pub fn tag(&mut self) -> Result<[u8; TAG], Forged> {
        let (cipher, nonce) = self.cipher()?;
        let tag = cipher.seal_in_place_separate_tag(nonce, Aad::from(self.hash), &mut []);
        let tag = tag.map_err(|_| Forged)?;
        let tag = <[u8; TAG]>::try_from(tag.as_ref()).map_err(|_| Forged)?;
        self.mix_hash(&[&tag]);
        Ok(tag)
    }

    /// Reads an empty payload. `Err`: it was made with another key, or of another past.
    pub fn check(&mut self, tag: &[u8; TAG]) -> Result<(), Forged> {
        let (cipher, nonce) = self.cipher()?;
        let opened = cipher
            .open_in_place(nonce, Aad::from(self.hash), &mut tag.clone())
            .map(drop);
        self.mix_hash(&[tag]);
        opened.map_err(|_| Forged)
    }

    /// The keys of the initiator's direction and of the responder's.
    pub fn split(&self) -> [Key; 2] {
        self.hkdf(&[])
    }

    /// The hash of all that was said. Both sides have the same, and no other connection has it.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }
}

/// Half of a key agreement.
pub(super) struct Ephemeral {
    private: Key,
    pub public: [u8; 32],
}

impl Ephemeral {
    /// A random one, unless a test says which.
    pub fn new(fixed: Option<&[u8; 32]>) -> Result<Ephemeral, Forged> {
        let mut private = Key::default();
        match fixed {
            Some(fixed) => *private = *fixed,
            None => SystemRandom::new()
                .fill(&mut private[..])
                .map_err(|_| Forged)?,
        }
        let public = MontgomeryPoint::mul_base_clamped(*private).to_bytes();
        Ok(Ephemeral { private, public })
    }

    pub fn agree(&self, other: &[u8; 32]) -> Key {
        let agreed = MontgomeryPoint(*other).mul_clamped(*self.private);
        Zeroizing::new(agreed.to_bytes())
    }
}

fn sha256(data: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    data.iter().for_each(|part| context.update(part));
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn hmac_sha256(key: &[u8], data: &[&[u8]]) -> Key {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    data.iter().for_each(|part| context.update(part));
    let mut tag = Key::default();
    tag.copy_from_slice(context.sign().as_ref());
    tag
}

/// Overwrites what was left below on this thread's stack: what is moved leaves copies, and the
/// libraries wipe nothing.
#[inline(never)]
pub(super) fn wipe_stack() {
    let mut below = [0_u8; 32 << 10];
    black_box(&mut below);
}
