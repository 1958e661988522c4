//! The feature `secure`: what only those can say and read who hold the same secret, and who they are.
//!
//! Functions of bytes, like `proto`, and [`Secret`] and [`Identity`], which also come from files.
//! [`handshake`] makes the keys of a connection, [`record`] uses them; `tag` is for discovery. Without the
//! feature, `absent` stands in for both: types without a value, so the code that uses them compiles to
//! nothing. [`PublicKey`] always exists.

#[cfg(feature = "secure")]
pub(crate) mod handshake;
#[cfg(feature = "secure")]
mod identity;
mod key;
#[cfg(feature = "secure")]
mod noise;
#[cfg(feature = "secure")]
mod pake;
#[cfg(feature = "secure")]
pub(crate) mod record;
#[cfg(feature = "secure")]
mod secret;
#[cfg(feature = "secure")]
mod tag;
#[cfg(feature = "secure")]
mod text;

#[cfg(not(feature = "secure"))]
mod absent;

#[cfg(not(feature = "secure"))]
pub(crate) use absent::*;
#[cfg(feature = "secure")]
pub use identity::{Identity, IdentityError};
pub(crate) use key::Allowed;
pub use key::{KeyError, PublicKey};
#[cfg(feature = "secure")]
pub use secret::{Secret, SecretError};
#[cfg(feature = "secure")]
pub(crate) use tag::{TagKeys, first_count, nonce};

use std::sync::{Arc, Mutex, PoisonError};

#[cfg(feature = "secure")]
use crate::proto::header::Suite;

/// Bytes that were altered, repeated, left out, or made without the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forged;

/// Why a handshake goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It was made without the secret, or altered.
    Forged,
    /// A share of the passphrase exchange that is no element of its group.
    #[cfg_attr(not(feature = "secure"), allow(dead_code))]
    NoElement,
    /// A share that is the neutral element.
    #[cfg_attr(not(feature = "secure"), allow(dead_code))]
    Neutral,
}

impl Broken {
    /// What is wrong with a share, if that is it.
    pub fn share(self) -> Option<&'static str> {
        match self {
            Broken::Forged => None,
            Broken::NoElement => {
                Some("its share of the passphrase exchange is no element of the group")
            }
            Broken::Neutral => Some("its share of the passphrase exchange is the neutral element"),
        }
    }
}

impl From<Forged> for Broken {
    fn from(_: Forged) -> Broken {
        Broken::Forged
    }
}

/// What the other side has proved with its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// What no other connection has, and both sides of this one.
    pub binding: [u8; 32],
    /// The secret that both have, told from others by this hash.
    pub secret: [u8; 32],
    /// What this side's program calls it.
    pub label: Option<Arc<str>>,
    /// The key that it has shown, and has the private half of.
    pub key: Option<PublicKey>,
}

/// Who shows a key in a handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    /// The side that asks.
    pub alices: bool,
    /// The side that is asked.
    pub bobs: bool,
}

impl Keys {
    /// By what HELLO and ACCEPT say of it. `None`: that side does not know of keys.
    pub fn agreed(alices: Option<bool>, bobs: Option<bool>) -> Keys {
        match (alices, bobs) {
            (Some(alices), Some(bobs)) => Keys { alices, bobs },
            _ => Keys::default(),
        }
    }

    pub fn any(self) -> bool {
        self.alices || self.bobs
    }
}

/// What of a proof is not enough any more. Without the feature nothing is proved.
#[cfg_attr(not(feature = "secure"), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distrust {
    Secret,
    Key,
}

/// What one peer trusts and is trusted by, which may change while it runs. A clone is another peer's.
#[derive(Debug, Default)]
pub(crate) struct Trusts(Mutex<Arc<Trust>>);

impl Trusts {
    /// As it is now. What has begun goes on with what it began with.
    pub fn now(&self) -> Arc<Trust> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[cfg(feature = "secure")]
    pub fn change(&self, change: impl FnOnce(&mut Trust)) {
        let mut trust = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut trust));
    }
}

impl Clone for Trusts {
    fn clone(&self) -> Trusts {
        Trusts(Mutex::new(self.now()))
    }
}

/// Secrets, keys, and who this peer is itself.
#[cfg(feature = "secure")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    /// The one that it asks with.
    own: Option<Secret>,
    /// Others that it takes from those who ask.
    accepted: Vec<Secret>,
    identity: Option<Arc<Identity>>,
    allowed: Allowed,
}

/// More would make each wrong one costly.
#[cfg(feature = "secure")]
pub(crate) const MAX_ACCEPTED: usize = 7;

#[cfg(feature = "secure")]
impl Trust {
    pub fn set(&mut self, secret: Secret) {
        self.own = Some(secret);
    }

    pub fn accept(&mut self, secret: Secret) {
        self.accepted.push(secret);
    }

    pub fn set_identity(&mut self, identity: Identity) {
        self.identity = Some(Arc::new(identity));
    }

    /// These in place of all that there are.
    pub fn replace(&mut self, own: Secret, accepted: Vec<Secret>) {
        (self.own, self.accepted) = (Some(own), accepted);
    }

    /// Is a connection that this was proved for one that may go on? `Err`: what is not trusted any more.
    pub fn admits(&self, proof: &Proof) -> Result<(), Distrust> {
        let is_known = self.secrets().any(|secret| secret.id() == proof.secret);
        noise::wipe_stack();
        match (is_known, self.allowed.takes(proof.key)) {
            (false, _) => Err(Distrust::Secret),
            (_, false) => Err(Distrust::Key),
            (true, true) => Ok(()),
        }
    }

    pub fn allow(&mut self, allowed: Allowed) {
        self.allowed = allowed;
    }

    pub fn own(&self) -> Option<&Secret> {
        self.own.as_ref()
    }

    fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.own.iter().chain(&self.accepted)
    }

    /// Those that were made of a passphrase, or the others: each kind is proved in its own way.
    fn of_kind(&self, is_passphrase: bool) -> impl Iterator<Item = &Secret> {
        let is_it = move |secret: &&Secret| secret.is_passphrase() == is_passphrase;
        self.secrets().filter(is_it)
    }

    pub fn count(&self, is_passphrase: bool) -> usize {
        self.of_kind(is_passphrase).count()
    }

    /// Is what this peer asks with made of a passphrase?
    pub fn asks_with_passphrase(&self) -> bool {
        self.own().is_some_and(Secret::is_passphrase)
    }

    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }

    pub fn allowed(&self) -> &Allowed {
        &self.allowed
    }

    /// What makes and checks the tags of discovery. `Err`: why there can be none.
    pub fn tag_keys(&self) -> Result<TagKeys, &'static str> {
        let own = self.own.as_ref().ok_or("needs `secret` too")?;
        if self.count(true) > 0 {
            return Err(
                "needs random secrets: on a tag made of a passphrase, whoever hears it could \
                        try guesses at leisure",
            );
        }
        Ok(TagKeys::new(own, &self.accepted))
    }

    /// What cannot work, if anything: the option, and why.
    pub fn trouble(&self) -> Option<(&'static str, &'static str)> {
        let needs_secret = "needs `secret` too: keys are shown only to those who have it";
        match self.accepted.len() {
            len if len > 0 && self.own.is_none() => {
                Some(("accept_secret", "needs `secret` too: the one to ask with"))
            }
            len if len > MAX_ACCEPTED => Some(("accept_secret", "at most 7 can be accepted")),
            _ if self.own.is_some() => None,
            _ if self.identity.is_some() => Some(("identity", needs_secret)),
            _ if self.allowed.demands() => Some(("allow", needs_secret)),
            _ => None,
        }
    }
}

/// The two directions of a connection.
#[cfg(feature = "secure")]
pub(crate) struct Session {
    pub sealer: record::Sealer,
    pub opener: record::Opener,
    /// What is left to be said of the handshake, before the first record.
    pub first: Vec<u8>,
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
