//! The keys that errors name.

#[path = "../../../src/secure/key.rs"]
mod key;

pub(crate) use key::{KeyError, PublicKey};
