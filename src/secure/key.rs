//! The key that peers know each other by.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

/// The public half of a peer's `Identity`. The other side of a connection proves in the handshake that it
/// has the private half. Without the feature `secure` no call yields a key.
///
/// As text it is 64 hexadecimal digits, in lower case; either case is read.
///
/// ```
/// use lanpeer::PublicKey;
///
/// let text = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
/// let key: PublicKey = text.parse()?;
/// assert_eq!(key.to_string(), text);
/// assert_eq!(key, text.to_uppercase().parse()?);
/// # Ok::<(), lanpeer::KeyError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    #[cfg(feature = "secure")]
    pub(super) fn new(bytes: [u8; 32]) -> PublicKey {
        PublicKey(bytes)
    }

    #[cfg(feature = "secure")]
    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<PublicKey, KeyError> {
        let mut key = [0; 32];
        read_hex(text, &mut key)?;
        Ok(PublicKey(key))
    }
}

/// 64 hexadecimal digits.
pub(super) fn read_hex(text: &str, bytes: &mut [u8; 32]) -> Result<(), KeyError> {
    let characters = text.chars().count();
    if characters != 64 {
        return Err(KeyError::Length { characters });
    }
    for (position, char) in text.chars().enumerate() {
        let digit = char.to_digit(16).ok_or(KeyError::Character { position })?;
        let byte = &mut bytes[position / 2];
        *byte = *byte << 4 | digit as u8;
    }
    Ok(())
}

/// Why a text is no [`PublicKey`].
///
/// ```
/// use lanpeer::{KeyError, PublicKey};
///
/// let error = "de9edb".parse::<PublicKey>().unwrap_err();
/// assert_eq!(error, KeyError::Length { characters: 6 });
/// assert_eq!(error.to_string(), "6 characters: a key has 64 hexadecimal digits");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// A key has 64 characters.
    Length {
        /// How many there were.
        characters: usize,
    },
    /// A character that is no hexadecimal digit.
    Character {
        /// How many characters stand before it.
        position: usize,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Length { characters } => {
                write!(
                    f,
                    "{characters} characters: a key has 64 hexadecimal digits"
                )
            }
            KeyError::Character { position } => {
                write!(f, "character {} is no hexadecimal digit", position + 1)
            }
        }
    }
}

impl std::error::Error for KeyError {}

/// Whose keys will do, where that matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowed(Option<HashSet<PublicKey>>);

impl Allowed {
    /// Only these.
    #[cfg(feature = "secure")]
    pub fn only(keys: impl IntoIterator<Item = PublicKey>) -> Allowed {
        Allowed(Some(keys.into_iter().collect()))
    }

    /// Must the other side show a key?
    pub fn demands(&self) -> bool {
        self.0.is_some()
    }

    /// Will this key do, or none?
    pub fn takes(&self, key: Option<PublicKey>) -> bool {
        match (&self.0, key) {
            (None, _) => true,
            (Some(keys), Some(key)) => keys.contains(&key),
            (Some(_), None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let key = PublicKey(std::array::from_fn(|i| i as u8 * 8));
        assert_eq!(key.to_string().parse(), Ok(key));
        for (text, error) in [
            ("", KeyError::Length { characters: 0 }),
            (&"0".repeat(63), KeyError::Length { characters: 63 }),
            (&"0".repeat(65), KeyError::Length { characters: 65 }),
            (
                &format!("{}é", "0".repeat(63)),
                KeyError::Character { position: 63 },
            ),
            (
                &format!("+{}", "0".repeat(63)),
                KeyError::Character { position: 0 },
            ),
        ] {
            assert_eq!(text.parse::<PublicKey>(), Err(error), "{text}");
        }
    }
}
