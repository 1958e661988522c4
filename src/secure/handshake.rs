//! The handshake of the Noise protocol framework, revision 34, as functions of bytes: X25519, SHA-256,
//! AES-GCM or ChaChaPoly, and one of four patterns, by who has an identity and shows its key.
//!
//! ```text
//! prologue   the 128 bytes of HELLO and the 128 of ACCEPT
//!
//!            neither          Bob              Alice            both
//!            NNpsk2           XNpsk2           NXpskee          XXpskee
//! Bob ──▶    e                e                e                e
//! Alice ──▶  e, ee, psk       e, ee, psk       e, ee, psk,      e, ee, psk,
//!                                              s, es            s, es
//! Bob ──▶                     s, se                             s, se
//!            his answer, as a record
//! ```
//!
//! `pskee` is a modifier of this protocol: the token `psk` stands right behind `ee`. Bob, who is asked, is
//! the initiator. "How it works" in `docs/security.md` says why.
//!
//! With several secrets, Bob tries each of them, always all, with one key agreement.
//!
//! For a secret made of a passphrase, an exchange makes the pre-shared key: see `pake`. Its shares are the
//! payload of message 1, and Alice's answer stands before message 2. Its session is the hash behind Bob's
//! `e`: of the pattern, both headers, and this key, which no other handshake has.

use std::sync::Arc;

use super::identity::Identity;
use super::key::PublicKey;
use super::noise::{Ephemeral, Key, PUBLIC, Symmetric, agree, is_canonical, wipe_stack};
use super::pake::{self, ELEMENT, Share};
use super::record::{Opener, PREFIX, Sealer, TAG};
use super::{Broken, Forged, Keys, Proof, Secret, Session, Suite, Trust};

/// The length of Bob's first message: a public key, so many shares, and a tag.
pub(crate) fn first_len(shares: usize) -> usize {
    PUBLIC + ELEMENT * shares + TAG
}

/// A public key, encrypted.
const SEALED: usize = PUBLIC + TAG;
/// Bob's second message: his key and a tag, with their length before them as a record has it. So its
/// first bytes are not those of a header.
pub(crate) const THIRD: usize = PREFIX + SEALED + TAG;

/// The length of Alice's message to so many shares, with a payload of this length.
pub(crate) fn second_len(shares: usize, keys: Keys, payload: usize) -> usize {
    let key = if keys.alices { SEALED } else { 0 };
    pake::answer_len(shares) + PUBLIC + key + payload + TAG
}

fn pattern(keys: Keys) -> &'static str {
    match (keys.bobs, keys.alices) {
        (false, false) => "NNpsk2",
        (true, false) => "XNpsk2",
        (false, true) => "NXpskee",
        (true, true) => "XXpskee",
    }
}

/// Bob's side, between the first message and the second.
pub(crate) struct Asked {
    state: Symmetric,
    ephemeral: Ephemeral,
    suite: Suite,
    keys: Keys,
    /// The passphrase exchange that this is: the hash behind the ephemeral key.
    exchange: [u8; 32],
    /// One for each of his passphrases, where Alice has one.
    shares: Vec<Share>,
}

/// What Bob begins with.
pub(crate) struct Beginning<'a> {
    pub suite: Suite,
    pub keys: Keys,
    /// Alice's secret is made of a passphrase, and so his is.
    pub passphrase: bool,
    pub hello: &'a [u8],
    pub accept: &'a [u8],
}

/// What is random, where a test says what it is.
#[derive(Default)]
pub(super) struct Fixed {
    pub ephemeral: [u8; 32],
    pub scalars: Vec<[u8; 64]>,
    pub word: [u8; 32],
}

impl Beginning<'_> {
    /// Also returns the first message. `trust` is to be the same until the end.
    pub fn begin(&self, trust: &Trust) -> Result<(Asked, Vec<u8>), Forged> {
        let begun = self.begin_with(trust, None);
        wipe_stack();
        begun
    }

    #[inline(never)]
    pub(super) fn begin_with(
        &self,
        trust: &Trust,
        fixed: Option<&Fixed>,
    ) -> Result<(Asked, Vec<u8>), Forged> {
        let (suite, keys) = (self.suite, self.keys);
        let ephemeral = Ephemeral::new(fixed.map(|fixed| &fixed.ephemeral))?;
        let mut state = Symmetric::new(pattern(keys), suite, &[self.hello, self.accept]);
        state.mix_public(&ephemeral.public);
        let exchange = state.hash();
        let mut shares = Vec::new();
        if self.passphrase {
            for (number, secret) in trust.of_kind(true).enumerate() {
                let scalar = fixed.and_then(|fixed| fixed.scalars.get(number));
                shares.push(Share::new(secret.password(), &exchange, scalar)?);
            }
        }
        let said: Vec<u8> = shares.iter().flat_map(|share| share.public).collect();
        let mut first = ephemeral.public.to_vec();
        state.encrypt(&said, &mut first)?;
        let asked = Asked {
            state,
            ephemeral,
            suite,
            keys,
            exchange,
            shares,
        };
        Ok((asked, first))
    }
}

impl Asked {
    /// Reads the second message, and returns its payload too. `Err`: it was made with none of the
    /// secrets, or altered.
    pub fn finish(self, trust: &Trust, message: &[u8]) -> Result<(Session, Vec<u8>), Broken> {
        let finished = self.finish_and_leave(trust, message);
        wipe_stack();
        finished
    }

    #[inline(never)]
    fn finish_and_leave(
        mut self,
        trust: &Trust,
        message: &[u8],
    ) -> Result<(Session, Vec<u8>), Broken> {
        let passphrase = !self.shares.is_empty();
        let answer = pake::answer_len(self.shares.len());
        let (answer, message) = message.split_at_checked(answer).ok_or(Forged)?;
        let psks: Vec<Key> = match passphrase {
            true => pake::unwrap(&self.shares, &self.exchange, answer)?,
            false => trust.of_kind(false).map(Secret::psk).collect(),
        };
        let (public, rest) = message.split_first_chunk().ok_or(Forged)?;
        self.state.mix_public(public);
        self.state.mix_key(&self.ephemeral.agree(public)?[..]);
        let (first, payload) = match self.keys.alices {
            true => rest.split_at_checked(SEALED).ok_or(Forged)?,
            false => (rest, &[][..]),
        };
        // All are tried, also behind the one that fits: the time does not tell which it was.
        let mut fitting = None;
        for (secret, psk) in trust.of_kind(passphrase).zip(&psks) {
            let mut state = self.state.clone();
            state.mix_secret(psk);
            let opened = state.decrypt(first);
            if let (Ok(opened), None) = (opened, &fitting) {
                fitting = Some((state, secret, opened));
            }
        }
        let (mut state, secret, opened) = fitting.ok_or(Forged)?;
        let (key, payload) = match self.keys.alices {
            true => {
                let key = shown(&opened)?;
                state.mix_key(&self.ephemeral.agree(key.bytes())?[..]);
                (Some(key), state.decrypt(payload)?)
            }
            false => (None, opened),
        };
        let mut third = Vec::new();
        if self.keys.bobs {
            let identity = trust.identity().ok_or(Forged)?;
            third.extend_from_slice(&((THIRD - PREFIX) as u16).to_be_bytes());
            state.encrypt(identity.public_key().bytes(), &mut third)?;
            state.mix_key(&agree(identity.private(), public)?[..]);
            state.encrypt(&[], &mut third)?;
        }
        let mut session = session(&state, self.suite, true, secret, key)?;
        session.first = third;
        Ok((session, payload))
    }
}

/// Alice's side, behind the second message.
pub(crate) enum Joined {
    /// There is no third.
    Whole(Session),
    /// The third will have Bob's key.
    Waits(Box<Waiting>),
}

/// Alice's side, between the second message and the third.
pub(crate) struct Waiting {
    state: Symmetric,
    ephemeral: Ephemeral,
    suite: Suite,
    secret: Secret,
}

impl Waiting {
    /// Reads the third message. `Err`: it was altered, or made by one who has not the secret, or not the
    /// key that it shows.
    pub fn finish(self, third: &[u8; THIRD]) -> Result<Session, Forged> {
        let session = self.finish_and_leave(third);
        wipe_stack();
        session
    }

    #[inline(never)]
    fn finish_and_leave(mut self, third: &[u8; THIRD]) -> Result<Session, Forged> {
        let (prefix, message) = third.split_at(PREFIX);
        if prefix != ((THIRD - PREFIX) as u16).to_be_bytes() {
            return Err(Forged);
        }
        let (sealed, tag) = message.split_at(SEALED);
        let key = shown(&self.state.decrypt(sealed)?)?;
        self.state.mix_key(&self.ephemeral.agree(key.bytes())?[..]);
        self.state.decrypt(tag)?;
        session(&self.state, self.suite, false, &self.secret, Some(key))
    }
}

/// What Alice joins with.
pub(crate) struct Joining<'a> {
    pub suite: Suite,
    pub keys: Keys,
    pub secret: &'a Secret,
    /// Hers, where she shows her key.
    pub identity: Option<&'a Identity>,
    pub hello: &'a [u8],
    pub accept: &'a [u8],
    /// So many ACCEPT has announced. None, where her secret is no passphrase.
    pub shares: usize,
}

impl Joining<'_> {
    /// Answers the first message with the second, which has this payload.
    pub fn answer(&self, first: &[u8], payload: &[u8]) -> Result<(Vec<u8>, Joined), Broken> {
        let joined = self.answer_with(first, payload, None);
        wipe_stack();
        joined
    }

    #[inline(never)]
    pub(super) fn answer_with(
        &self,
        first: &[u8],
        payload: &[u8],
        fixed: Option<&Fixed>,
    ) -> Result<(Vec<u8>, Joined), Broken> {
        let (public, shares) = first.split_first_chunk().ok_or(Forged)?;
        let mut state = Symmetric::new(pattern(self.keys), self.suite, &[self.hello, self.accept]);
        state.mix_public(public);
        let exchange = state.hash();
        let shares = state.decrypt(shares)?;
        // A passphrase is proved by the exchange and in no other way, and a key never by it.
        let is_agreed = self.secret.is_passphrase() == (self.shares > 0);
        if !is_agreed || shares.len() != ELEMENT * self.shares {
            return Err(Broken::Forged);
        }
        let (mut second, psk) = match self.secret.is_passphrase() {
            true => {
                let scalar = fixed.and_then(|fixed| fixed.scalars.first());
                let random = scalar.zip(fixed.map(|fixed| &fixed.word));
                pake::answer(self.secret.password(), &exchange, &shares, random)?
            }
            false => (Vec::new(), self.secret.psk()),
        };
        let ephemeral = Ephemeral::new(fixed.map(|fixed| &fixed.ephemeral))?;
        state.mix_public(&ephemeral.public);
        state.mix_key(&ephemeral.agree(public)?[..]);
        state.mix_secret(&psk);
        second.extend_from_slice(&ephemeral.public);
        if self.keys.alices {
            let identity = self.identity.ok_or(Forged)?;
            state.encrypt(identity.public_key().bytes(), &mut second)?;
            state.mix_key(&agree(identity.private(), public)?[..]);
        }
        state.encrypt(payload, &mut second)?;
        let joined = match self.keys.bobs {
            true => Joined::Waits(Box::new(Waiting {
                state,
                ephemeral,
                suite: self.suite,
                secret: self.secret.clone(),
            })),
            false => Joined::Whole(session(&state, self.suite, false, self.secret, None)?),
        };
        Ok((second, joined))
    }
}

/// The key that the other side shows. `Err`: it is written as no key is.
fn shown(opened: &[u8]) -> Result<PublicKey, Forged> {
    let public = opened.try_into().map_err(|_| Forged)?;
    match is_canonical(&public) {
        true => Ok(PublicKey::new(public)),
        false => Err(Forged),
    }
}

fn session(
    state: &Symmetric,
    suite: Suite,
    is_initiator: bool,
    secret: &Secret,
    key: Option<PublicKey>,
) -> Result<Session, Forged> {
    let [bobs, alices] = state.split();
    #[cfg(all(test, target_os = "linux"))]
    [&bobs, &alices]
        .into_iter()
        .for_each(|key| noted::note(key));
    let (out, back) = if is_initiator {
        (bobs, alices)
    } else {
        (alices, bobs)
    };
    Ok(Session {
        sealer: Sealer::new(suite, &out)?,
        opener: Opener::new(suite, &back)?,
        first: Vec::new(),
        proof: Arc::new(Proof {
            binding: state.hash(),
            secret: secret.id(),
            label: secret.shared_label(),
            key,
        }),
    })
}

#[cfg(all(test, target_os = "linux"))]
pub(crate) mod noted;
#[cfg(test)]
mod tests;
