//! The feature `secure`: what only those can say and read who hold the same secret.
//!
//! Functions of bytes, like `proto`, and [`Secret`], which also comes from a file or the
//! environment. [`handshake`] makes the keys of a connection, [`record`] uses them. Without the
//! feature, `absent` stands in for both: types without a value, so that the code which would use
//! them is there, and is never compiled into anything.

#[cfg(feature = "secure")]
pub(crate) mod handshake;
#[cfg(feature = "secure")]
mod noise;
#[cfg(feature = "secure")]
pub(crate) mod record;
#[cfg(feature = "secure")]
mod secret;
#[cfg(feature = "secure")]
mod text;

#[cfg(not(feature = "secure"))]
mod absent;

#[cfg(not(feature = "secure"))]
pub(crate) use absent::*;
#[cfg(feature = "secure")]
pub use secret::{Secret, SecretError};

use std::sync::Arc;

#[cfg(feature = "secure")]
use crate::proto::header::Suite;

/// Bytes that were altered, repeated, left out, or made without the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forged;

/// What the other side has proved with its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// What no other connection has, and both sides of this one.
    pub binding: [u8; 32],
    /// What this side's program calls the secret that both have.
    pub label: Option<Arc<str>>,
}

/// The secrets of one peer.
#[cfg(feature = "secure")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    /// The one that it asks with.
    own: Option<Secret>,
    /// Others that it takes from those who ask.
    accepted: Vec<Secret>,
}

/// More would make each wrong one costly.
#[cfg(feature = "secure")]
pub(crate) const MAX_ACCEPTED: usize = 7;

#[cfg(feature = "secure")]
impl Secrets {
    pub fn set(&mut self, secret: Secret) {
        self.own = Some(secret);
    }

    pub fn accept(&mut self, secret: Secret) {
        self.accepted.push(secret);
    }

    pub fn own(&self) -> Option<&Secret> {
        self.own.as_ref()
    }

    fn all(&self) -> impl Iterator<Item = &Secret> {
        self.own.iter().chain(&self.accepted)
    }

    /// What cannot work, if anything.
    pub fn trouble(&self) -> Option<&'static str> {
        match self.accepted.len() {
            0 => None,
            _ if self.own.is_none() => Some("needs `secret` too: the one to ask with"),
            len if len > MAX_ACCEPTED => Some("at most 7 can be accepted"),
            _ => None,
        }
    }
}

/// The two directions of a connection.
#[cfg(feature = "secure")]
pub(crate) struct Session {
    pub sealer: record::Sealer,
    pub opener: record::Opener,
    pub proof: Arc<Proof>,
}

/// The suite that this processor is fast with.
#[cfg(feature = "secure")]
pub(crate) fn preferred() -> Suite {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    let has_aes = std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let has_aes = std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    let has_aes = false;
    if has_aes { Suite::Aes } else { Suite::ChaCha }
}

/// Both must be fast with AES for it to be taken.
#[cfg(feature = "secure")]
pub(crate) fn agreed(theirs: Suite) -> Suite {
    match preferred() {
        Suite::Aes => theirs,
        Suite::ChaCha => Suite::ChaCha,
    }
}
