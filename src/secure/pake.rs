//! A key exchange that proves a passphrase and gives nothing away to guess it by: CPace
//! (draft-irtf-cfrg-cpace-21) in the group ristretto255 and with SHA-512.
//!
//! Bob, who is asked, makes a share for each of his passphrases. Alice makes one for hers, comes to a key
//! with each of his, of which at most one is right, and cannot know which. So she draws a random word, and
//! sends it once for each of his shares, wrapped in that key. Bob unwraps as many words, of which at most
//! one is hers; the handshake, which goes on with it as its pre-shared key, tells which.
//!
//! ```text
//! Bob ──▶    Y₁ … Yₙ        a share each
//! Alice ──▶  X, w₁ … wₙ     wᵢ = word ⊕ SHA-256("lanpeer pad", i, keyᵢ)
//!            the pre-shared key is SHA-256("lanpeer psk", word, X, w₁ … wₙ)
//! ```
//!
//! Without the passphrase, all of it looks random. An attacker in Bob's place has one guess for each share
//! that he sends; one in Alice's place has one for each of Bob's passphrases.
//!
//! CPace has a new share for each run; that Alice has one for all of Bob's is ours alone. Each key has Bob's
//! share in it and is used only through a hash, and none of his shares depends on hers, which comes later. So
//! a share of his tests one guess, as a run would.

use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::{Zeroize, Zeroizing};

#[cfg(all(test, target_os = "linux"))]
use super::handshake::noted::note_spent;
use super::noise::{Key, sha256};
use super::{Broken, Forged};

/// An element of the group, a word, and each of its wrappings.
pub(super) const ELEMENT: usize = 32;

/// What CPace calls the channel: who else uses it with the same passphrase comes to other keys.
const CHANNEL: &[u8] = b"lanpeer";
/// What each side adds to its share: its role.
const BOB: &[u8] = b"bob";
const ALICE: &[u8] = b"alice";

const GENERATOR: &[u8] = b"CPaceRistretto255";
const KEY: &[u8] = b"CPaceRistretto255_ISK";
/// The input block of SHA-512.
const BLOCK: usize = 128;

/// The length of what Alice answers so many shares with.
pub(super) fn answer_len(shares: usize) -> usize {
    match shares {
        0 => 0,
        shares => ELEMENT * (1 + shares),
    }
}

/// Half of an exchange.
pub(super) struct Share {
    scalar: Box<Zeroizing<Scalar>>,
    pub public: [u8; ELEMENT],
}

impl Share {
    /// A random one, unless a test says which. `session` is what no other exchange has.
    pub fn new(password: &[u8], session: &[u8], fixed: Option<&[u8; 64]>) -> Result<Share, Forged> {
        let generator = Zeroizing::new(generator(password, CHANNEL, session));
        Share::of(&generator, fixed)
    }

    fn of(generator: &RistrettoPoint, fixed: Option<&[u8; 64]>) -> Result<Share, Forged> {
        let mut random = Zeroizing::new([0; 64]);
        match fixed {
            Some(fixed) => *random = *fixed,
            None => SystemRandom::new()
                .fill(&mut random[..])
                .map_err(|_| Forged)?,
        }
        let scalar = Box::new(Zeroizing::new(Scalar::from_bytes_mod_order_wide(&random)));
        #[cfg(all(test, target_os = "linux"))]
        note_spent(scalar.as_bytes());
        let public = (generator * **scalar).compress().to_bytes();
        Ok(Share { scalar, public })
    }

    /// What both come to, where the other's generator was the same.
    fn agree(&self, other: &RistrettoPoint) -> Zeroizing<[u8; ELEMENT]> {
        Zeroizing::new((other * **self.scalar).compress().to_bytes())
    }
}

/// Alice's answer to Bob's shares, and the pre-shared key.
pub(super) fn answer(
    password: &[u8],
    session: &[u8],
    shares: &[u8],
    fixed: Option<(&[u8; 64], &[u8; 32])>,
) -> Result<(Vec<u8>, Key), Broken> {
    let own = Share::new(password, session, fixed.map(|(scalar, _)| scalar))?;
    let mut word = Key::default();
    match fixed {
        Some((_, fixed)) => *word = *fixed,
        None => SystemRandom::new()
            .fill(&mut word[..])
            .map_err(|_| Forged)?,
    }
    let mut answer = own.public.to_vec();
    for (number, share) in shares.chunks(ELEMENT).enumerate() {
        let agreed = own.agree(&element(share)?);
        let share = share.try_into().map_err(|_| Forged)?;
        let key = key(session, &agreed, (share, BOB), (&own.public, ALICE));
        answer.extend(wrap(&word, number, &key[..]).iter());
    }
    let psk = psk(&word, &answer);
    Ok((answer, psk))
}

/// The pre-shared keys that Alice's answer may mean, one for each of Bob's shares. With all of them it
/// takes as long.
pub(super) fn unwrap(shares: &[Share], session: &[u8], answer: &[u8]) -> Result<Vec<Key>, Broken> {
    let (alices, wrapped) = answer.split_first_chunk().ok_or(Forged)?;
    let element = element(alices)?;
    let mut psks = Vec::with_capacity(shares.len());
    for ((number, share), wrapped) in shares.iter().enumerate().zip(wrapped.chunks(ELEMENT)) {
        let wrapped = wrapped.try_into().map_err(|_| Forged)?;
        let agreed = share.agree(&element);
        let key = key(session, &agreed, (&share.public, BOB), (alices, ALICE));
        let word = wrap(wrapped, number, &key[..]);
        psks.push(psk(&word, answer));
    }
    Ok(psks)
}

/// The same function unwraps.
fn wrap(word: &[u8; 32], number: usize, key: &[u8]) -> Key {
    let mut pad = Zeroizing::new(sha256(&[b"lanpeer pad", &[number as u8], key]));
    pad.iter_mut().zip(word).for_each(|(to, from)| *to ^= from);
    pad
}

/// What came with it is a part of it, so that none of it can be altered.
fn psk(word: &[u8; 32], answer: &[u8]) -> Key {
    let psk = Zeroizing::new(sha256(&[b"lanpeer psk", word, answer]));
    #[cfg(all(test, target_os = "linux"))]
    [word, &*psk].into_iter().for_each(note_spent);
    psk
}

/// Reads an element, which is written in one way. `Err`: it is none, or the neutral one, with which
/// everybody comes to the same. There are no others of a low order in this group.
fn element(bytes: &[u8]) -> Result<RistrettoPoint, Broken> {
    let compressed = CompressedRistretto::from_slice(bytes).map_err(|_| Broken::NoElement)?;
    let element = compressed.decompress().ok_or(Broken::NoElement)?;
    match element.is_identity() {
        true => Err(Broken::Neutral),
        false => Ok(element),
    }
}

fn generator(password: &[u8], channel: &[u8], session: &[u8]) -> RistrettoPoint {
    // The password fills a whole block of the hash, alone but for the name.
    let used = joined(&[GENERATOR]).len() + 1 + password.len() + 1;
    let zeros = [0; BLOCK];
    let zeros = &zeros[..BLOCK.saturating_sub(used)];
    let text = Zeroizing::new(joined(&[GENERATOR, password, zeros, channel, session]));
    let mut hash = sha512(&[&text]);
    let generator = RistrettoPoint::from_uniform_bytes(&hash);
    hash.zeroize();
    generator
}

/// CPace's intermediate session key, for one who begins, Bob, and one who answers.
fn key(
    session: &[u8],
    agreed: &[u8; ELEMENT],
    (bobs, bob): (&[u8; ELEMENT], &[u8]),
    (alices, alice): (&[u8; ELEMENT], &[u8]),
) -> Zeroizing<[u8; 64]> {
    let agreed = Zeroizing::new(joined(&[KEY, session, agreed]));
    Zeroizing::new(sha512(&[&agreed, &joined(&[bobs, bob, alices, alice])]))
}

/// Each with its length before it, of one byte: none of them is longer than 127, where the draft's would
/// have a second one.
fn joined(parts: &[&[u8]]) -> Vec<u8> {
    // Reserved, so that it never grows and leaves a copy behind.
    let mut joined = Vec::with_capacity(parts.iter().map(|part| 1 + part.len()).sum());
    for part in parts {
        joined.push(part.len() as u8);
        joined.extend_from_slice(part);
    }
    joined
}

fn sha512(data: &[&[u8]]) -> [u8; 64] {
    let mut context = digest::Context::new(&digest::SHA512);
    data.iter().for_each(|part| context.update(part));
    let mut hash = [0; 64];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests;
