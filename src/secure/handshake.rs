//! The handshake: `Noise_NNpsk2_25519_AESGCM_SHA256`, or with `ChaChaPoly`, of the Noise protocol
//! framework, revision 34, as functions of bytes.
//!
//! ```text
//! prologue   the 128 bytes of HELLO and the 128 of ACCEPT
//! Bob ──▶    e              48 bytes, behind his ACCEPT
//! Alice ──▶  e, ee, psk     48 bytes: only who has the secret can make them
//! Bob ──▶    his answer, as a record: only who has the secret can make it
//! ```
//!
//! With several secrets, Bob tries each of them, always all, with one key agreement.
//!
//! Bob, who is asked, is the initiator: so he says nothing that depends on the secret before he
//! knows that Alice has it. The pattern's last token is the secret, so that who only listens has
//! nothing to try guesses on.

use std::sync::Arc;

use super::noise::{Ephemeral, Symmetric, wipe_stack};
use super::record::{Opener, Sealer, TAG};
use super::{Forged, Proof, Secret, Secrets, Session, Suite};

/// Each of the two messages: a public key and a tag.
pub(crate) const MESSAGE: usize = PUBLIC + TAG;
const PUBLIC: usize = 32;

/// Bob's side, between the two messages.
pub(crate) struct Asked {
    state: Symmetric,
    ephemeral: Ephemeral,
    suite: Suite,
}

impl Asked {
    /// Also returns the first message.
    pub fn begin(
        suite: Suite,
        hello: &[u8],
        accept: &[u8],
    ) -> Result<(Asked, [u8; MESSAGE]), Forged> {
        Asked::begin_with(suite, hello, accept, None)
    }

    pub(super) fn begin_with(
        suite: Suite,
        hello: &[u8],
        accept: &[u8],
        ephemeral: Option<&[u8; 32]>,
    ) -> Result<(Asked, [u8; MESSAGE]), Forged> {
        let ephemeral = Ephemeral::new(ephemeral)?;
        let mut state = Symmetric::new(suite, &[hello, accept]);
        state.mix_public(&ephemeral.public);
        let first = message(&ephemeral.public, &state.tag()?);
        let asked = Asked {
            state,
            ephemeral,
            suite,
        };
        Ok((asked, first))
    }

    /// Reads the second message. `Err`: it was made with none of the secrets, or altered.
    pub fn finish(self, secrets: &Secrets, message: &[u8; MESSAGE]) -> Result<Session, Forged> {
        let session = self.finish_and_leave(secrets, message);
        wipe_stack();
        session
    }

    #[inline(never)]
    fn finish_and_leave(
        mut self,
        secrets: &Secrets,
        message: &[u8; MESSAGE],
    ) -> Result<Session, Forged> {
        let (public, tag) = parts(message)?;
        self.state.mix_public(public);
        self.state.mix_key(&self.ephemeral.agree(public)[..]);
        // All are tried, also behind the one that fits: the time does not tell which it was.
        let mut fitting = None;
        for secret in secrets.all() {
            let mut state = self.state.clone();
            state.mix_secret(&secret.psk());
            let is_right = state.check(tag).is_ok();
            if is_right && fitting.is_none() {
                fitting = Some((state, secret));
            }
        }
        let (state, secret) = fitting.ok_or(Forged)?;
        session(&state, self.suite, true, secret)
    }
}

/// Alice's side: answers the first message with the second.
pub(crate) fn join(
    suite: Suite,
    secret: &Secret,
    hello: &[u8],
    accept: &[u8],
    message: &[u8; MESSAGE],
) -> Result<([u8; MESSAGE], Session), Forged> {
    let joined = join_with(suite, secret, hello, accept, message, None);
    wipe_stack();
    joined
}

#[inline(never)]
pub(super) fn join_with(
    suite: Suite,
    secret: &Secret,
    hello: &[u8],
    accept: &[u8],
    first: &[u8; MESSAGE],
    ephemeral: Option<&[u8; 32]>,
) -> Result<([u8; MESSAGE], Session), Forged> {
    let (public, tag) = parts(first)?;
    let mut state = Symmetric::new(suite, &[hello, accept]);
    state.mix_public(public);
    state.check(tag)?;
    let ephemeral = Ephemeral::new(ephemeral)?;
    state.mix_public(&ephemeral.public);
    state.mix_key(&ephemeral.agree(public)[..]);
    state.mix_secret(&secret.psk());
    let second = message(&ephemeral.public, &state.tag()?);
    Ok((second, session(&state, suite, false, secret)?))
}

fn message(public: &[u8; PUBLIC], tag: &[u8; TAG]) -> [u8; MESSAGE] {
    let mut message = [0; MESSAGE];
    message[..PUBLIC].copy_from_slice(public);
    message[PUBLIC..].copy_from_slice(tag);
    message
}

fn parts(message: &[u8; MESSAGE]) -> Result<(&[u8; PUBLIC], &[u8; TAG]), Forged> {
    let (public, tag) = message.split_first_chunk().ok_or(Forged)?;
    Ok((public, tag.first_chunk().ok_or(Forged)?))
}

fn session(
    state: &Symmetric,
    suite: Suite,
    is_initiator: bool,
    secret: &Secret,
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
        proof: Arc::new(Proof {
            binding: state.hash(),
            label: secret.shared_label(),
        }),
    })
}

#[cfg(all(test, target_os = "linux"))]
pub(crate) mod noted;
#[cfg(test)]
mod tests;
