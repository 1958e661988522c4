//! A key pair of one peer, and its file.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::{Zeroize, Zeroizing};

use super::key::{PublicKey, read_hex};
use super::noise::{self, Key, wipe_stack};

/// What the line with the private key begins with: so a public key in its place is noticed, and a
/// later form can be told from this one.
const MARK: &str = "lanpeer-identity-1";

/// A file that is longer than this holds no identity.
const MAX_FILE: u64 = 4096;

/// The key pair of one peer among those who share a secret. Needs the feature `secure`.
///
/// A peer shows its [`PublicKey`] to those who have the same secret, and proves that it has the private
/// half: see [`PeerBuilder::identity`](crate::PeerBuilder::identity). The private half is wiped from
/// memory when it is dropped, and `Debug` does not show it.
///
/// ```
/// use lanpeer::{Bytes, Identity, Peer, Secret};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (alices, bobs) = (Identity::generate()?, Identity::generate()?);
/// let (alices_key, bobs_key) = (alices.public_key(), bobs.public_key());
/// let builder = Peer::builder().secret(Secret::random()?);
/// let alice = builder.clone().identity(alices).bind("127.0.0.1:0")?;
/// let bob = builder.identity(bobs).bind("127.0.0.1:0")?;
/// # let taker = bob.clone();
/// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
/// let to_bob = alice.connect::<Bytes>(bob.local_addr())?;
/// # let from_alice = taking.join().unwrap()?;
/// assert_eq!(to_bob.peer_key(), Some(bobs_key));
/// assert_eq!(from_alice.peer_key(), Some(alices_key));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Identity {
    // In one place, of which moves make no copies.
    private: Box<Key>,
    public: PublicKey,
}

impl Identity {
    /// A new identity, from the system's random numbers. It is gone when the program ends:
    /// [`load_or_create`](Identity::load_or_create) keeps one.
    ///
    /// ```
    /// use lanpeer::Identity;
    ///
    /// let (one, other) = (Identity::generate()?, Identity::generate()?);
    /// assert_ne!(one.public_key(), other.public_key());
    /// # Ok::<(), lanpeer::IdentityError>(())
    /// ```
    ///
    /// # Errors
    /// [`IdentityError::System`]: the system has no random numbers.
    pub fn generate() -> Result<Identity, IdentityError> {
        let mut private: Box<Key> = Box::default();
        let filled = SystemRandom::new().fill(&mut private[..]);
        filled.map_err(|_| IdentityError::System("random numbers"))?;
        Ok(Identity::of(private))
    }

    pub(super) fn of(private: Box<Key>) -> Identity {
        let public = PublicKey::new(noise::public_of(&private));
        wipe_stack();
        Identity { private, public }
    }

    /// The private half, so that a test that looks for it does not find it there.
    #[cfg(all(test, target_os = "linux"))]
    pub(crate) fn masked(&self, mask: u8) -> [u8; 32] {
        std::array::from_fn(|at| self.private[at] ^ mask)
    }

    /// One whose halves do not belong together.
    #[cfg(test)]
    pub(super) fn pretended(private: Box<Key>, public: PublicKey) -> Identity {
        Identity { private, public }
    }

    pub(super) fn private(&self) -> &Key {
        &self.private
    }

    /// The public half, which others may know.
    ///
    /// ```
    /// # use lanpeer::Identity;
    /// let key = Identity::generate()?.public_key();
    /// println!("my key is {key}"); // 64 hexadecimal digits, for the others' lists
    /// assert_eq!(key.to_string().len(), 64);
    /// # Ok::<(), lanpeer::IdentityError>(())
    /// ```
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Reads the identity from this file, or creates it and the file.
    ///
    /// The file is text: empty lines, comments that begin with `#`, and one line with the word
    /// `lanpeer-identity-1`, a space, and the private key in 64 hexadecimal digits. It is created whole or not
    /// at all, and never replaces another; only this user can read it (on Unix; elsewhere it has the folder's
    /// permissions). If two processes create it at once, both get the same identity, on every file system
    /// that has hard links.
    ///
    /// A file that other users can read or write is refused: they may have the key already.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("lanpeer-me-{}.key", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// use lanpeer::Identity;
    ///
    /// let identity = Identity::load_or_create(&path)?; // the first time: created
    /// let again = Identity::load_or_create(&path)?;
    /// assert_eq!(again.public_key(), identity.public_key());
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`IdentityError::Exposed`]: others can read or write the file. [`IdentityError::Content`]: it
    /// holds something else. [`IdentityError::File`]: it can be neither read nor created.
    /// [`IdentityError::System`]: no random numbers.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Identity, IdentityError> {
        let path = path.as_ref();
        if let Some(identity) = Identity::load(path)? {
            return Ok(identity);
        }
        let identity = Identity::generate()?;
        let failed = |source| IdentityError::File {
            path: path.to_owned(),
            source,
        };
        if identity.create(path).map_err(failed)? {
            return Ok(identity);
        }
        // Another process was first.
        let theirs = Identity::load(path)?;
        theirs.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
    }

    /// `None`: there is no such file.
    fn load(path: &Path) -> Result<Option<Identity>, IdentityError> {
        let failed = |source| IdentityError::File {
            path: path.to_owned(),
            source,
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        // Of the file that is open, so that no other can be put in its place in between.
        if let Some(mode) = exposed(&file).map_err(failed)? {
            let path = path.to_owned();
            return Err(IdentityError::Exposed { path, mode });
        }
        // Reserved, so that it never grows and leaves a copy behind.
        let mut text = Zeroizing::new(String::with_capacity(MAX_FILE as usize + 1));
        let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
        let content = || IdentityError::Content {
            path: path.to_owned(),
        };
        match read {
            Ok(len) if len as u64 <= MAX_FILE => {}
            Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(failed(error)),
            _ => return Err(content()),
        }
        let private = parse(&text).ok_or_else(content)?;
        Ok(Some(Identity::of(private)))
    }

    /// Writes a new file, whole or not at all. `false`: there is one already.
    fn create(&self, path: &Path) -> io::Result<bool> {
        let mut random = [0; 8];
        let filled = SystemRandom::new().fill(&mut random);
        filled.map_err(|_| io::Error::other("no random numbers"))?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:016x}.new", u64::from_be_bytes(random)));
        let new = path.with_file_name(name);
        let created = self.write(&new).and_then(|()| place(&new, path));
        // The name only, where it was linked; what is left of it, where something failed.
        let _ = fs::remove_file(&new);
        created
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut text = Zeroizing::new(String::with_capacity(512));
        text.push_str(
            "# The private key of one lanpeer. Whoever has it is that peer: keep it to yourself.\n",
        );
        text.push_str(&format!("# The public key: {}\n", self.public));
        text.push_str(MARK);
        text.push(' ');
        for byte in &self.private[..] {
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(digit.into(), 16));
            }
        }
        text.push('\n');
        let mut file = options.open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }
}

/// Gives a file that is whole its name, unless there is one of that name. `false`: there is.
fn place(new: &Path, path: &Path) -> io::Result<bool> {
    match fs::hard_link(new, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // A file system without links, as on some sticks. There two processes that create it in the
        // same moment may take turns, and so what is in it then counts.
        Err(_) if !path.try_exists()? => fs::rename(new, path).map(|()| false),
        Err(_) => Ok(false),
    }
}

fn parse(text: &str) -> Option<Box<Key>> {
    let is_content = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with('#');
    let mut lines = text.lines().filter(is_content);
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return None;
    };
    let digits = line.trim().strip_prefix(MARK)?;
    let mut private: Box<Key> = Box::default();
    read_hex(digits.strip_prefix(' ')?.trim(), &mut private).ok()?;
    Some(private)
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.private.zeroize();
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.public)
    }
}

/// Its permissions, where they let others at it.
#[cfg(unix)]
fn exposed(file: &File) -> io::Result<Option<u32>> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata()?;
    let mode = metadata.mode() & 0o777;
    // What is no file has no key in it, and is told by its content.
    Ok((metadata.is_file() && mode & 0o077 != 0).then_some(mode))
}

#[cfg(not(unix))]
fn exposed(_: &File) -> io::Result<Option<u32>> {
    Ok(None)
}

/// Why there is no [`Identity`]. Never shows the text that was read.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("lanpeer-not-{}.key", std::process::id()));
/// use lanpeer::{Identity, IdentityError};
///
/// std::fs::write(&path, "not an identity")?;
/// # #[cfg(unix)]
/// # std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
/// let error = Identity::load_or_create(&path).unwrap_err();
/// assert!(matches!(error, IdentityError::Content { .. }));
/// # std::fs::remove_file(&path)?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum IdentityError {
    /// Other users of this machine can read or write the file. If they may have done so, delete it: the
    /// next call creates another identity, whose key the others then have to learn. If not,
    /// `chmod 600`.
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permissions, as `chmod` takes them.
        mode: u32,
    },
    /// The file holds something other than one identity.
    Content {
        /// Which file.
        path: PathBuf,
    },
    /// The file cannot be read or created.
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system has none of what this names, such as random numbers.
    System(&'static str),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityError::Exposed { path, mode } => {
                let path = path.display();
                write!(
                    f,
                    "other users can read or write the identity in {path} (mode {mode:o}): \
                     chmod 600 it, or delete it if they may have done so"
                )
            }
            IdentityError::Content { path } => {
                write!(
                    f,
                    "{} holds something else than one identity",
                    path.display()
                )
            }
            IdentityError::File { path, source } => write!(f, "{}: {source}", path.display()),
            IdentityError::System(what) => write!(f, "the system has no {what}"),
        }
    }
}

impl std::error::Error for IdentityError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            IdentityError::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
