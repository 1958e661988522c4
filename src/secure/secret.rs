//! What the peers of one group share.
//!
//! A long file: half of it is the documentation and the tests of one public type.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use log::warn;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::{Zeroize, Zeroizing};

use super::noise::sha256;
use super::text::{self, SECRET_LEN};

/// The target of log lines.
const LOG: &str = "lanpeer";

/// The longest file that is read, in bytes. A longer one holds no secret.
const MAX_FILE: u64 = 4096;

const PASSPHRASE: std::ops::RangeInclusive<usize> = 12..=1024;
const CONTEXT: std::ops::RangeInclusive<usize> = 8..=64;
/// The least number of characters of a passphrase that do not follow from those before.
const SURPRISES_MIN: usize = 8;

/// A secret that some peers share: only they can connect to each other. Needs the feature `secure`.
///
/// 128 bits. It is wiped from memory when it is dropped, and `Debug` does not show it. `docs/security.md`
/// says what it protects, and what not.
///
/// ```
/// use lanpeer::{Error, Json, Peer, Secret};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let secret: Secret = "008J-4CT4-ANK7-F24S-NAXW-SQFE-ZWEA".parse()?; // write your own: see `random`
/// let bob = Peer::builder().secret(secret.clone()).bind("127.0.0.1:0")?;
/// let alice = Peer::builder().secret(secret).bind("127.0.0.1:0")?;
/// let stranger = Peer::bind("127.0.0.1:0")?;
/// # let taker = bob.clone();
/// # let taking = std::thread::spawn(move || taker.accept::<Json<String>>());
/// let denied = stranger.connect::<Json<String>>(bob.local_addr());
/// assert!(matches!(denied, Err(Error::Denied { reason: Some(word), .. }) if word == "secret"));
/// let to_bob = alice.connect::<Json<String>>(bob.local_addr())?;
/// assert!(to_bob.is_secure());
/// # taking.join().unwrap()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Secret {
    // In one place, of which moves make no copies.
    bytes: Box<[u8; SECRET_LEN]>,
    // What the program calls it.
    label: Option<Arc<str>>,
    // Somebody who can try guesses could find it. So it is proved in another way.
    is_passphrase: bool,
}

impl Secret {
    fn empty() -> Secret {
        Secret {
            bytes: Box::default(),
            label: None,
            is_passphrase: false,
        }
    }

    /// A new secret, from the system's random numbers.
    ///
    /// ```
    /// use lanpeer::Secret;
    ///
    /// let secret = Secret::random()?;
    /// println!("keep this to yourselves: {}", secret.reveal());
    /// assert_ne!(secret.reveal(), Secret::random()?.reveal());
    /// # Ok::<(), lanpeer::SecretError>(())
    /// ```
    ///
    /// # Errors
    /// [`SecretError::System`]: the system has no random numbers.
    pub fn random() -> Result<Secret, SecretError> {
        let mut secret = Secret::empty();
        let filled = SystemRandom::new().fill(&mut secret.bytes[..]);
        filled.map_err(|_| SecretError::System("random numbers"))?;
        Ok(secret)
    }

    /// The secret as text: seven groups of four letters and digits. `parse` reads it, in either case, with
    /// or without hyphens and spaces, `O` as 0, `I` and `L` as 1. The last two characters are a check: one
    /// or two wrong characters are always noticed.
    ///
    /// ```
    /// use lanpeer::{Secret, SecretError};
    ///
    /// let secret: Secret = "008j 4ct4 ank7 f24s naxw sqfe zwea".parse()?;
    /// assert_eq!(secret.reveal(), "008J-4CT4-ANK7-F24S-NAXW-SQFE-ZWEA");
    /// let wrong = "008J-4CT4-ANK7-F24S-NAXV-SQFE-ZWEA".parse::<Secret>();
    /// assert!(matches!(wrong, Err(SecretError::Check)));
    /// # Ok::<(), SecretError>(())
    /// ```
    pub fn reveal(&self) -> String {
        text::write(&self.bytes, self.is_passphrase)
    }

    /// Reads the secret from a file: its text, besides empty lines and lines that begin with `#`.
    ///
    /// If other users can read the file, a `warn` line in the log says so.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("lanpeer-doc-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// use lanpeer::Secret;
    ///
    /// let secret = Secret::random()?;
    /// secret.save(&path)?; // once, on one machine; then copy the file
    /// assert_eq!(Secret::from_file(&path)?.reveal(), secret.reveal());
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SecretError::File`], or what `parse` finds wrong with the text.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Secret, SecretError> {
        let path = path.as_ref();
        let failed = |source| SecretError::File {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        if is_open_to_others(&file).map_err(failed)? {
            let path = path.display();
            warn!(target: LOG, "other users can read the secret in {path}: chmod 600 {path}");
        }
        Secret::from_content(file, path)
    }

    /// The file's path is for the errors.
    pub(crate) fn from_content(content: impl Read, path: &Path) -> Result<Secret, SecretError> {
        let failed = |source| SecretError::File {
            path: path.to_owned(),
            source,
        };
        // Reserved, so that it never grows and leaves a copy behind.
        let mut text = Zeroizing::new(String::with_capacity(MAX_FILE as usize + 1));
        let read = content.take(MAX_FILE + 1).read_to_string(&mut text);
        if read.map_err(failed)? as u64 > MAX_FILE {
            return Err(failed(io::ErrorKind::InvalidData.into()));
        }
        let is_content = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with('#');
        let mut lines = text.lines().filter(is_content);
        match (lines.next(), lines.next()) {
            (line, None) => line.unwrap_or_default().parse(),
            _ => Err(failed(io::ErrorKind::InvalidData.into())),
        }
    }

    /// Writes the secret to a new file that only this user can read (on Unix; elsewhere with the
    /// folder's permissions).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("lanpeer-save-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// use lanpeer::{Secret, SecretError};
    ///
    /// Secret::random()?.save(&path)?;
    /// let again = Secret::random()?.save(&path); // never over another
    /// assert!(matches!(again, Err(SecretError::File { .. })));
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SecretError::File`]: it exists already, or cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), SecretError> {
        let path = path.as_ref();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let text = Zeroizing::new(self.reveal());
        let write = || {
            let mut file = options.open(path)?;
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")
        };
        write().map_err(|source| SecretError::File {
            path: path.to_owned(),
            source,
        })
    }

    /// Reads the secret from an environment variable. Other programs of the same user can read it too.
    ///
    /// ```
    /// use lanpeer::{Secret, SecretError};
    ///
    /// match Secret::from_env("MY_LAB_SECRET") {
    ///     Err(SecretError::Env { name }) => assert_eq!(name, "MY_LAB_SECRET"), // it is not set
    ///     other => panic!("{other:?}"),
    /// }
    /// ```
    ///
    /// # Errors
    /// [`SecretError::Env`], or what `parse` finds wrong with the text.
    pub fn from_env(name: &str) -> Result<Secret, SecretError> {
        let text = std::env::var(name).map_err(|_| SecretError::Env {
            name: name.to_owned(),
        })?;
        Zeroizing::new(text).parse()
    }

    /// A secret made of words that people remember. An attacker who pretends to be a peer has at most 8
    /// guesses at each connection that is made to him, one at each that he makes, and none if he only
    /// listens. So the words must withstand some thousands of guesses: six words drawn by lot from a list
    /// of thousands do, a sentence from a book does not.
    ///
    /// Each call takes about a fifth of a second and 64 MiB, for Argon2id. A thief of the result is a
    /// member, but has to spend as much for each guess at the words.
    ///
    /// `passphrase` has 12 to 1,024 bytes, and must not mainly repeat itself (`aaaaaaaaaaaa`,
    /// `lablablablab`) or count (`123456789012`). Words, names and dates are not recognised: avoid them.
    /// `context`, 8 to 64 bytes, need not be secret: for example the name of the installation, so that two
    /// with the same words differ. Both are taken byte by byte.
    ///
    /// ```
    /// use lanpeer::Secret;
    ///
    /// # fn main() -> Result<(), lanpeer::SecretError> {
    /// # if cfg!(debug_assertions) {
    /// #     assert!(Secret::from_passphrase("short", "example lab, hall 3").is_err());
    /// #     return Ok(()); // it is slow on purpose, and slower without optimization
    /// # }
    /// let words = "correct horse battery staple and so on";
    /// let secret = Secret::from_passphrase(words, "example lab, hall 3")?;
    /// assert_ne!(secret.reveal(), Secret::from_passphrase(words, "example lab, hall 4")?.reveal());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SecretError::Passphrase`]: too short or too long, or it repeats itself.
    /// [`SecretError::System`]: no memory.
    pub fn from_passphrase(passphrase: &str, context: &str) -> Result<Secret, SecretError> {
        if !PASSPHRASE.contains(&passphrase.len()) {
            let reason = "a passphrase has 12 to 1,024 bytes";
            return Err(SecretError::Passphrase { reason });
        }
        if surprises(passphrase) < SURPRISES_MIN {
            let reason = "a passphrase that mainly repeats itself, or counts, is guessed at once";
            return Err(SecretError::Passphrase { reason });
        }
        if !CONTEXT.contains(&context.len()) {
            let reason = "the context of a passphrase has 8 to 64 bytes";
            return Err(SecretError::Passphrase { reason });
        }
        // The second recommended option of RFC 9106, section 4.
        let mut secret = Secret::empty();
        secret.is_passphrase = true;
        let params = Params::new(64 << 10, 3, 4, Some(SECRET_LEN));
        params
            .map(|params| Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
            .and_then(|argon2| {
                let (words, salt) = (passphrase.as_bytes(), context.as_bytes());
                argon2.hash_password_into(words, salt, &mut secret.bytes[..])
            })
            .map_err(|_| SecretError::System("memory for Argon2id"))?;
        Ok(secret)
    }

    /// The same secret with a label, which is never sent and tells several secrets apart: see
    /// [`Connection::secret_label`](crate::Connection::secret_label). Default: none.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (old, new) = (Secret::random()?.with_label("spring"), Secret::random()?.with_label("autumn"));
    /// assert_eq!(new.label(), Some("autumn"));
    /// let bob = Peer::builder().secret(new.clone()).accept_secret(old.clone()).bind("127.0.0.1:0")?;
    /// let alice = Peer::builder().secret(old).bind("127.0.0.1:0")?; // she has not the new one yet
    /// # let bob_addr = bob.local_addr();
    /// # let asking = std::thread::spawn(move || alice.connect::<Bytes>(bob_addr).map(|c| (alice, c)));
    /// let from_alice = bob.accept::<Bytes>()?;
    /// assert_eq!(from_alice.secret_label(), Some("spring"));
    /// # asking.join().unwrap()?;
    /// # Ok(()) }
    /// ```
    pub fn with_label(mut self, label: impl Into<String>) -> Secret {
        self.label = Some(Arc::from(label.into()));
        self
    }

    /// What [`with_label`](Secret::with_label) has set.
    ///
    /// ```
    /// # use lanpeer::Secret;
    /// assert_eq!(Secret::random()?.label(), None);
    /// # Ok::<(), lanpeer::SecretError>(())
    /// ```
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    #[cfg(test)]
    pub(super) fn of_bytes(bytes: [u8; SECRET_LEN]) -> Secret {
        let mut secret = Secret::empty();
        *secret.bytes = bytes;
        secret
    }

    pub(super) fn shared_label(&self) -> Option<Arc<str>> {
        self.label.clone()
    }

    /// Tells it from others; nobody comes from this to the secret. Leaves copies of the secret on the stack.
    pub(super) fn id(&self) -> [u8; 32] {
        let kind: &[u8] = match self.is_passphrase {
            true => b"which passphrase ",
            false => b"which ",
        };
        sha256(&[kind, &self.psk()[..]])
    }

    pub(crate) fn is_passphrase(&self) -> bool {
        self.is_passphrase
    }

    /// What the passphrase was made into.
    pub(super) fn password(&self) -> &[u8] {
        &self.bytes[..]
    }

    /// What Noise takes: 32 bytes.
    pub(super) fn psk(&self) -> Zeroizing<[u8; 32]> {
        let mut psk = Zeroizing::new(*b"................lanpeer secret 1");
        psk[..SECRET_LEN].copy_from_slice(&self.bytes[..]);
        psk
    }
}

/// How many characters of a text do not follow from those before it: by being the same as the last or
/// its neighbour, or by repeating what stands a few characters before.
fn surprises(text: &str) -> usize {
    let chars: Vec<u32> = text.chars().map(u32::from).collect();
    let follows = |at: usize| {
        let here = chars[at];
        let is_near = at > 0 && chars[at - 1].abs_diff(here) <= 1;
        // Two in a row must repeat, or one letter that occurs often would count as a repetition.
        let repeats = |by: usize| {
            let same = |at: usize| at >= by && chars[at] == chars[at - by];
            same(at) && (at > 0 && same(at - 1) || chars.get(at + 1).is_some() && same(at + 1))
        };
        is_near || (1..=at).any(repeats)
    };
    (0..chars.len()).filter(|at| !follows(*at)).count()
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Secret, SecretError> {
        let mut secret = Secret::empty();
        secret.is_passphrase = text::read(text, &mut secret.bytes)?;
        Ok(secret)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(unix)]
fn is_open_to_others(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata()?;
    // A directory's name by mistake: nobody is to be told to change its permissions.
    Ok(metadata.is_file() && metadata.mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &File) -> io::Result<bool> {
    Ok(false)
}

/// Why there is no [`Secret`]. Never shows the text that was read.
///
/// ```
/// use lanpeer::{Secret, SecretError};
///
/// let error = "not a secret".parse::<Secret>().unwrap_err();
/// assert!(matches!(error, SecretError::Length { characters: 10 }));
/// assert_eq!(error.to_string(), "10 characters: a secret has 28, in seven groups of four");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum SecretError {
    /// A secret has 28 characters, hyphens and spaces not counted.
    Length {
        /// How many there were.
        characters: usize,
    },
    /// A character that no secret can have.
    Character {
        /// How many characters stand before it.
        position: usize,
    },
    /// The check characters do not match: a typing error.
    Check,
    /// The file cannot be read or written, or holds something other than one secret.
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The environment variable is not set, or is not text.
    Env {
        /// Its name.
        name: String,
    },
    /// A passphrase or its context is too short or too long, or a passphrase repeats itself.
    Passphrase {
        /// Which, and what its length may be.
        reason: &'static str,
    },
    /// The system has none of what this names, such as random numbers.
    System(&'static str),
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretError::Length { characters } => {
                write!(
                    f,
                    "{characters} characters: a secret has 28, in seven groups of four"
                )
            }
            SecretError::Character { position } => {
                write!(f, "character {} is none that a secret has", position + 1)
            }
            SecretError::Check => f.write_str("a typing error: the secret's check does not fit"),
            SecretError::File { path, source } if source.kind() == io::ErrorKind::InvalidData => {
                write!(f, "{} holds something else than one secret", path.display())
            }
            SecretError::File { path, source } => write!(f, "{}: {source}", path.display()),
            SecretError::Env { name } => {
                write!(
                    f,
                    "the environment variable {name} is not set, or is no text"
                )
            }
            SecretError::Passphrase { reason } => f.write_str(reason),
            SecretError::System(what) => write!(f, "the system has no {what}"),
        }
    }
}

impl std::error::Error for SecretError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SecretError::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_and_errors_show_nothing_of_it() {
        let secret = Secret::random().unwrap();
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(..) Secret(..)");
        let mut wrong = secret.reveal();
        wrong.replace_range(0..1, if wrong.starts_with('7') { "8" } else { "7" });
        let error = wrong.parse::<Secret>().unwrap_err();
        for shown in [format!("{error}"), format!("{error:?}")] {
            assert!(!shown.contains(&wrong[5..9]), "{shown}");
        }
    }

    #[test]
    fn passphrases_have_their_limits() {
        for (passphrase, context) in [
            ("eleven byte", "12345678"),
            ("twelve bytes", "1234567"),
            (&*"x".repeat(1025), "12345678"),
            ("twelve bytes", &*"x".repeat(65)),
        ] {
            let made = Secret::from_passphrase(passphrase, context);
            assert!(matches!(made, Err(SecretError::Passphrase { .. })));
        }
    }

    #[test]
    fn passphrases_that_repeat_themselves_or_count_are_refused() {
        let long = "ab".repeat(500);
        for weak in [
            "aaaaaaaaaaaa",
            "123456789012",
            "abcdefghijklmnop",
            "zyxwvutsrqponmlk",
            "lablablablab",
            "passpasspasspass",
            "aaaabbbbccccdddd",
            "111122223333",
            "            ",
            "hunter2hunter2hunter2",
            &long,
        ] {
            let made = Secret::from_passphrase(weak, "12345678");
            let shown = format!("{:?}", made.as_ref().err());
            assert!(shown.contains("repeats itself"), "{weak}: {shown}");
        }
        for fair in [
            "twelve bytes",
            "correct horse battery staple and so on",
            "Wn3-pQ8!zR5x",
            "anna und otto im bett",
            "мой дом у моря",
        ] {
            assert!(
                surprises(fair) >= SURPRISES_MIN,
                "{fair}: {}",
                surprises(fair)
            );
        }
    }

    /// Checked against argon2-cffi 25.1, `hash_secret_raw(…, 3, 65536, 4, 16, Type.ID)`.
    #[test]
    fn a_passphrase_is_what_others_make_of_it() {
        let secret = Secret::from_passphrase("twelve bytes", "12345678").unwrap();
        assert_eq!(secret.reveal(), "8AYJ-KPNN-MR7H-RHWY-YSYT-YC4N-BECJ");
    }

    #[test]
    fn files() {
        let name = format!("lanpeer-secret-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let text = "008J-4CT4-ANK7-F24S-NAXW-SQFE-ZWEA";
        let read = |content: &str| {
            std::fs::write(&path, content).unwrap();
            Secret::from_file(&path)
        };
        let noted = format!("# of the lab\n\n  {text}  \n# the end\n");
        assert_eq!(read(&noted).unwrap().reveal(), text);
        let twice = read(&format!("{text}\n{text}\n")).unwrap_err();
        assert!(matches!(twice, SecretError::File { .. }), "{twice:?}");
        let none = read("# nothing\n").unwrap_err();
        assert!(matches!(none, SecretError::Length { characters: 0 }));
        let large = read(&"#\n".repeat(4096)).unwrap_err();
        assert!(matches!(large, SecretError::File { .. }), "{large:?}");
        assert!(!format!("{twice} {large}").contains("008J"));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(
            Secret::from_file(&path),
            Err(SecretError::File { .. })
        ));

        let secret: Secret = text.parse().unwrap();
        secret.save(&path).unwrap();
        assert!(!is_open_to_others(&File::open(&path).unwrap()).unwrap());
        #[cfg(unix)]
        assert!(!is_open_to_others(&File::open("/").unwrap()).unwrap());
        assert_eq!(Secret::from_file(&path).unwrap().reveal(), text);
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
            std::fs::set_permissions(&path, mode).unwrap();
            assert!(is_open_to_others(&File::open(&path).unwrap()).unwrap());
        }
        std::fs::remove_file(&path).unwrap();
    }
}
