//! What the handshake needs of the Noise protocol framework: its symmetric state (section 5.2), for
//! SHA-256, and X25519.
//!
//! A whole implementation of Noise tries one secret for each key agreement. Here several are tried
//! with one, in a time that does not depend on which of them fits. And everything that keys are made
//! of is wiped. What its handshake state does with the tokens of a pattern is in `handshake`.

use std::hint::black_box;

use curve25519_dalek::montgomery::MontgomeryPoint;
use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};
use zeroize::Zeroizing;

use super::record::algorithm;
use super::{Forged, Suite};

pub(super) type Key = Zeroizing<[u8; 32]>;

/// The length of a public key.
pub(super) const PUBLIC: usize = 32;

/// The chaining key, the hash of everything so far, and the key of what is encrypted next.
#[derive(Clone)]
pub(super) struct Symmetric {
    suite: Suite,
    chain: Key,
    hash: [u8; 32],
    key: Key,
    /// How much was encrypted with this key.
    count: u64,
}

impl Symmetric {
    /// `pattern` is its name, modifiers included.
    pub fn new(pattern: &str, suite: Suite, prologue: &[&[u8]]) -> Symmetric {
        let cipher = match suite {
            Suite::Aes => "AESGCM",
            Suite::ChaCha => "ChaChaPoly",
        };
        let name = format!("Noise_{pattern}_25519_{cipher}_SHA256");
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
            count: 0,
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
    pub fn mix_public(&mut self, public: &[u8; PUBLIC]) {
        self.mix_hash(&[public]);
        self.mix_key(public);
    }

    /// A token of a key agreement, which has led to these bytes.
    pub fn mix_key(&mut self, input: &[u8]) {
        let [chain, key] = self.hkdf(input);
        (self.chain, self.key, self.count) = (chain, key, 0);
    }

    /// The token `psk`.
    pub fn mix_secret(&mut self, psk: &[u8; 32]) {
        let [chain, hash, key] = self.hkdf(psk);
        self.mix_hash(&[&hash[..]]);
        (self.chain, self.key, self.count) = (chain, key, 0);
    }

    fn cipher(&mut self) -> Result<(LessSafeKey, Nonce), Forged> {
        let key = UnboundKey::new(algorithm(self.suite), &self.key[..]).map_err(|_| Forged)?;
        let nonce = nonce(self.suite, self.count);
        self.count += 1;
        Ok((LessSafeKey::new(key), nonce))
    }

    /// A payload, or the public key of the token `s`: appends it to `message`, encrypted, with its tag.
    pub fn encrypt(&mut self, plain: &[u8], message: &mut Vec<u8>) -> Result<(), Forged> {
        let (cipher, nonce) = self.cipher()?;
        let begin = message.len();
        message.extend_from_slice(plain);
        let (aad, plain) = (Aad::from(self.hash), &mut message[begin..]);
        let tag = cipher.seal_in_place_separate_tag(nonce, aad, plain);
        message.extend_from_slice(tag.map_err(|_| Forged)?.as_ref());
        self.mix_hash(&[&message[begin..]]);
        Ok(())
    }

    /// Reads what `encrypt` has written. `Err`: it was made with another key, or of another past.
    pub fn decrypt(&mut self, sealed: &[u8]) -> Result<Vec<u8>, Forged> {
        let (cipher, nonce) = self.cipher()?;
        let mut plain = sealed.to_vec();
        let opened = cipher.open_in_place(nonce, Aad::from(self.hash), &mut plain);
        let len = opened.map(|opened| opened.len());
        self.mix_hash(&[sealed]);
        plain.truncate(len.map_err(|_| Forged)?);
        Ok(plain)
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

/// The nonce of the message of this number under one key.
pub(super) fn nonce(suite: Suite, number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&match suite {
        Suite::Aes => number.to_be_bytes(),
        Suite::ChaCha => number.to_le_bytes(),
    });
    Nonce::assume_unique_for_key(nonce)
}

/// Half of a key agreement.
pub(super) struct Ephemeral {
    private: Box<Key>,
    pub public: [u8; PUBLIC],
}

impl Ephemeral {
    /// A random one, unless a test says which.
    pub fn new(fixed: Option<&[u8; 32]>) -> Result<Ephemeral, Forged> {
        let mut private: Box<Key> = Box::default();
        match fixed {
            Some(fixed) => **private = *fixed,
            None => SystemRandom::new()
                .fill(&mut private[..])
                .map_err(|_| Forged)?,
        }
        let public = public_of(&private);
        Ok(Ephemeral { private, public })
    }

    /// With the public key of the other side.
    pub fn agree(&self, other: &[u8; PUBLIC]) -> Result<Key, Forged> {
        agree(&self.private, other)
    }
}

pub(super) fn public_of(private: &Key) -> [u8; PUBLIC] {
    MontgomeryPoint::mul_base_clamped(**private).to_bytes()
}

/// What both sides come to. `Err`: the other side's key is one of the few with which everybody comes to
/// the same, so that nothing would be proved.
pub(super) fn agree(private: &Key, other: &[u8; PUBLIC]) -> Result<Key, Forged> {
    let agreed = MontgomeryPoint(*other).mul_clamped(**private);
    let agreed = Zeroizing::new(agreed.to_bytes());
    match agreed.iter().fold(0, |bits, byte| bits | byte) {
        0 => Err(Forged),
        _ => Ok(agreed),
    }
}

/// Is this the one way to write this public key? X25519 takes others, and whoever has a key could so
/// show several.
pub(super) fn is_canonical(public: &[u8; PUBLIC]) -> bool {
    // Below 2^255 - 19.
    let [low, middle @ .., high] = public;
    match (high, middle.iter().all(|byte| *byte == 0xff)) {
        (0x80.., _) => false,
        (0x7f, true) => *low < 0xed,
        _ => true,
    }
}

pub(super) fn sha256(data: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    data.iter().for_each(|part| context.update(part));
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

pub(super) fn hmac_sha256(key: &[u8], data: &[&[u8]]) -> Key {
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
