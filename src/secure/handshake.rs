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
//! Bob, who is asked, is the initiator: so he says nothing that depends on the secret before he
//! knows that Alice has it. The pattern's last token is the secret, so that who only listens has
//! nothing to try guesses on.

use snow::HandshakeState;
use zeroize::Zeroizing;

use super::record::{Opener, Sealer};
use super::{Forged, Secret, Secrets, Session, Suite};

/// Each of the two messages: a public key and a tag.
pub(crate) const MESSAGE: usize = 48;

/// Where the secret stands in the pattern.
const PSK: u8 = 2;

/// Bob's side, between the two messages.
pub(crate) struct Asked {
    noise: HandshakeState,
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
        let prologue = [hello, accept].concat();
        let mut noise = builder(suite, &prologue, ephemeral)?.build_initiator()?;
        let mut message = [0; MESSAGE];
        noise.write_message(&[], &mut message)?;
        Ok((Asked { noise, suite }, message))
    }

    /// Reads the second message. `Err`: it was made with none of the secrets, or altered.
    pub fn finish(mut self, secrets: &Secrets, message: &[u8; MESSAGE]) -> Result<Session, Forged> {
        for secret in secrets.all() {
            self.noise.set_psk(PSK.into(), &*secret.psk())?;
            if self.noise.read_message(message, &mut []).is_ok() {
                return session(self.noise, self.suite);
            }
        }
        Err(Forged)
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
    join_with(suite, secret, hello, accept, message, None)
}

pub(super) fn join_with(
    suite: Suite,
    secret: &Secret,
    hello: &[u8],
    accept: &[u8],
    message: &[u8; MESSAGE],
    ephemeral: Option<&[u8; 32]>,
) -> Result<([u8; MESSAGE], Session), Forged> {
    let (prologue, psk) = ([hello, accept].concat(), secret.psk());
    let builder = builder(suite, &prologue, ephemeral)?.psk(PSK, &psk)?;
    let mut noise = builder.build_responder()?;
    noise.read_message(message, &mut [])?;
    let mut answer = [0; MESSAGE];
    noise.write_message(&[], &mut answer)?;
    Ok((answer, session(noise, suite)?))
}

fn builder<'a>(
    suite: Suite,
    prologue: &'a [u8],
    ephemeral: Option<&'a [u8; 32]>,
) -> Result<snow::Builder<'a>, Forged> {
    let pattern = match suite {
        Suite::Aes => "Noise_NNpsk2_25519_AESGCM_SHA256",
        Suite::ChaCha => "Noise_NNpsk2_25519_ChaChaPoly_SHA256",
    };
    let builder = snow::Builder::new(pattern.parse()?).prologue(prologue)?;
    Ok(match ephemeral {
        Some(key) => builder.fixed_ephemeral_key_for_testing_only(key),
        None => builder,
    })
}

fn session(mut noise: HandshakeState, suite: Suite) -> Result<Session, Forged> {
    let (bobs, alices) = noise.dangerously_get_raw_split();
    let (bobs, alices) = (Zeroizing::new(bobs), Zeroizing::new(alices));
    let (out, back) = if noise.is_initiator() {
        (bobs, alices)
    } else {
        (alices, bobs)
    };
    Ok(Session {
        sealer: Sealer::new(suite, &out)?,
        opener: Opener::new(suite, &back)?,
    })
}

impl From<snow::Error> for Forged {
    fn from(_: snow::Error) -> Forged {
        Forged
    }
}

#[cfg(test)]
mod tests;
