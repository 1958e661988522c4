//! The settings of a peer, and what each connection is told of them.
//!
//! A long file for the examples in its docs; the code is the smaller part.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::{DataType, Limits, MAX_DEPTH};
use crate::proto::beacon::Card;
use crate::proto::header::Version;
#[cfg(feature = "secure")]
use crate::secure::PublicKey;
use crate::secure::{Allowed, Trusts};

/// How a stream says its size.
///
/// ```
/// use lanpeer::StreamSize;
///
/// assert_eq!(StreamSize::Of(640 * 480 * 3).to_string(), "stream of 921600 bytes");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamSize {
    /// The first message decides.
    FromFirst,
    /// This many bytes, agreed in the handshake.
    Of(usize),
}

impl std::fmt::Display for StreamSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StreamSize::FromFirst => f.write_str("stream"),
            StreamSize::Of(size) => write!(f, "stream of {size} bytes"),
        }
    }
}

/// What a [`PeerBuilder`](crate::PeerBuilder) sets; see there for what each means.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub timeout: Duration,
    pub close_timeout: Duration,
    pub max_connections: usize,
    pub max_message_size: usize,
    pub receive_queue: usize,
    pub receive_queue_bytes: usize,
    pub send_queue: usize,
    pub max_requests: usize,
    pub spin: Duration,
    pub keepalive: Option<Duration>,
    pub pickle: Limits,
    /// Secrets, keys, and who this peer is itself; changes while it runs.
    pub trusts: Trusts,
    /// With a secret: does the program see offers that are not encrypted?
    pub clear_offers: bool,
    /// No frames: everything on the wire is text headers.
    pub text_headers: bool,
    /// Who this peer is.
    pub card: Card,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            timeout: Duration::from_secs(2),
            close_timeout: Duration::from_secs(5),
            max_connections: 1024,
            max_message_size: 64 << 20,
            receive_queue: 4096,
            receive_queue_bytes: 16 << 20,
            send_queue: 1 << 20,
            max_requests: 16_384,
            spin: Duration::ZERO,
            keepalive: Some(Duration::from_secs(10)),
            pickle: Limits::default(),
            trusts: Trusts::default(),
            clear_offers: false,
            text_headers: false,
            card: Card::default(),
        }
    }
}

impl Settings {
    /// What this peer speaks.
    pub fn version(&self) -> Version {
        match self.text_headers {
            true => Version::Headers,
            false => Version::Frames,
        }
    }

    /// Are its connections encrypted, unless the program asks for something else?
    pub fn has_secret(&self) -> bool {
        self.trusts.now().own().is_some()
    }

    pub fn check(&self) -> Result<()> {
        let invalid = |option, reason: &str| Err(Error::invalid_option(option, reason));
        check_timeout("timeout", self.timeout)?;
        check_timeout("close_timeout", self.close_timeout)?;
        for (option, value) in [
            ("max_connections", self.max_connections),
            ("max_message_size", self.max_message_size),
            ("receive_queue", self.receive_queue),
            ("receive_queue_bytes", self.receive_queue_bytes),
            ("send_queue", self.send_queue),
            ("max_requests", self.max_requests),
        ] {
            if value == 0 {
                return invalid(option, "must be at least 1");
            }
        }
        if !(1..=MAX_DEPTH).contains(&self.pickle.depth) {
            return invalid("max_pickle_depth", "must be from 1 to 128");
        }
        if self.spin > Duration::from_millis(10) {
            return invalid("spin", "must be at most 10 milliseconds");
        }
        if let Some((option, reason)) = self.trusts.now().trouble() {
            return invalid(option, reason);
        }
        match self.keepalive {
            // The system counts in whole seconds: two of silence, then the probes.
            Some(time) if time < Duration::from_secs(4) => {
                invalid("keepalive", "must be at least 4 seconds")
            }
            Some(time) if time > Duration::from_secs(24 * 3600) => {
                invalid("keepalive", "must be at most a day")
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn check_timeout(option: &'static str, time: Duration) -> Result<()> {
    if time.is_zero() || time > Duration::from_secs(24 * 3600) {
        let reason = "must be more than zero and at most a day";
        return Err(Error::invalid_option(option, reason));
    }
    Ok(())
}

/// Options of a connection that this side asks for; [`connect`](ConnectOptions::connect) makes it.
///
/// A builder, by value. Connecting does not use it up: it can make further connections.
///
/// ```
/// use lanpeer::{Bytes, ConnectOptions, Peer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bob = Peer::bind("127.0.0.1:0")?;
/// let bob_addr = bob.local_addr();
/// let asking = std::thread::spawn(move || {
///     let alice = Peer::bind("127.0.0.1:0")?;
///     let conn = ConnectOptions::new().stream_of(4).connect::<Bytes>(&alice, bob_addr)?;
///     Ok::<_, lanpeer::Error>((alice, conn))
/// });
/// let frames = bob.accept::<Bytes>()?;
/// let (_alice, conn) = asking.join().unwrap()?;
/// conn.send(b"1234")?;
/// assert!(conn.send(b"too long").is_err()); // nothing was written
/// assert_eq!(frames.recv()?, b"1234");
/// # Ok(()) }
/// ```
///
/// Kept for many:
///
/// ```
/// use lanpeer::{Bytes, ConnectOptions, Connection, Peer};
/// use std::{net::SocketAddr, time::Duration};
///
/// /// A frame of so many bytes at a time, to everyone in the list.
/// fn join_all(peer: &Peer, frame: usize, addrs: &[SocketAddr]) -> Vec<Connection<Bytes>> {
///     let options = ConnectOptions::new()
///         .stream_of(frame)
///         .timeout(Duration::from_millis(200));
///     addrs.iter().filter_map(|addr| options.connect(peer, addr).ok()).collect()
/// }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// # let taker = bob.clone();
/// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
/// assert_eq!(join_all(&alice, 4, &[bob.local_addr(), alice.local_addr()]).len(), 1);
/// # taking.join().unwrap()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until `connect` or `connect_with` is called on them"]
pub struct ConnectOptions {
    pub(crate) strict: Option<bool>,
    pub(crate) stream: Option<StreamSize>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) data_type: Option<DataType>,
    pub(crate) latest: bool,
    /// Only with the feature `secure`.
    pub(crate) in_the_clear: bool,
    /// The same.
    pub(crate) expected: Allowed,
}

impl ConnectOptions {
    /// The defaults: strict, no stream, the peer's timeout.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (taker, to) = (bob.clone(), bob.local_addr());
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let conn = ConnectOptions::new().connect::<Bytes>(&alice, bob.local_addr())?;
    /// assert!(conn.is_strict() && conn.stream().is_none());
    /// # taking.join().unwrap()?;
    /// # Ok(()) }
    /// ```
    pub fn new() -> ConnectOptions {
        ConnectOptions::default()
    }

    /// Does a message of another data type end the connection? If not, the message is decoded as the data
    /// type that its header names. Default: `true`, but `false` for [`Dynamic`](crate::Dynamic).
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Dynamic>());
    /// let options = ConnectOptions::new().strict(false);
    /// let to_bob = options.connect::<Json<String>>(&alice, bob.local_addr())?;
    /// # let from_alice = taking.join().unwrap()?;
    /// from_alice.send(&Message::bytes(*b"not json"))?;
    /// assert_eq!(to_bob.recv()?, "not json");
    /// # Ok(()) }
    /// ```
    pub fn strict(mut self, strict: bool) -> ConnectOptions {
        self.strict = Some(strict);
        self
    }

    /// Gives all messages, in both directions, the size of the first one: at least 1 byte. They then have no
    /// headers. Not the default.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let to_bob = ConnectOptions::new().stream().connect::<Bytes>(&alice, bob.local_addr())?;
    /// # let from_alice = taking.join().unwrap()?;
    /// assert_eq!(from_alice.stream(), Some(StreamSize::FromFirst));
    /// to_bob.send("1234")?;
    /// assert_eq!(to_bob.send("12345"), Err(SendError::WrongSize { size: 5, stream: 4 }));
    /// assert_eq!(from_alice.recv()?, b"1234");
    /// # Ok(()) }
    /// ```
    pub fn stream(mut self) -> ConnectOptions {
        self.stream = Some(StreamSize::FromFirst);
        self
    }

    /// Gives all messages, in both directions, this size in bytes, from 1 to
    /// [`max_message_size`](crate::PeerBuilder::max_message_size). They have no headers. A peer for which the
    /// size is too large denies the connection with the reason `size`. Not the default.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let to_bob = ConnectOptions::new().stream_of(4).connect::<Bytes>(&alice, bob.local_addr())?;
    /// # let from_alice = taking.join().unwrap()?;
    /// assert_eq!(from_alice.stream(), Some(StreamSize::Of(4)));
    /// assert_eq!(to_bob.send("12345"), Err(SendError::WrongSize { size: 5, stream: 4 }));
    /// # Ok(()) }
    /// ```
    pub fn stream_of(mut self, bytes: usize) -> ConnectOptions {
        self.stream = Some(StreamSize::Of(bytes));
        self
    }

    /// How long the TCP connection and the handshake may take: more than zero, at most a day.
    /// Default: the peer's [`timeout`](crate::PeerBuilder::timeout).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// let time = Duration::from_millis(20);
    /// let result = ConnectOptions::new().timeout(time).connect::<Bytes>(&alice, bob.local_addr());
    /// // Bob accepts nobody:
    /// assert!(matches!(result, Err(Error::TimedOut { after, .. }) if after == time));
    /// # Ok(()) }
    /// ```
    pub fn timeout(mut self, time: Duration) -> ConnectOptions {
        self.timeout = Some(time);
        self
    }

    /// Keeps only the newest of the messages that come, as
    /// [`Offer::accept_latest`](crate::Offer::accept_latest) does. Not the default. Not for `connect_with`: a
    /// handler gets each message, and the connection is not read meanwhile.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Json<u32>>());
    /// let options = ConnectOptions::new().latest();
    /// let position = options.connect::<Json<u32>>(&alice, bob.local_addr())?;
    /// # let from_alice = taking.join().unwrap()?;
    /// // Bob:
    /// for n in 0..100 {
    ///     from_alice.send_latest(&n)?;
    /// }
    /// from_alice.close()?;
    /// assert_eq!(position.recv()?, 99);
    /// let wrong = options.connect_with::<Json<u32>>(&alice, bob.local_addr(), |_, _| {});
    /// assert!(matches!(wrong, Err(Error::InvalidOption { option: "latest", .. })));
    /// # Ok(()) }
    /// ```
    pub fn latest(mut self) -> ConnectOptions {
        self.latest = true;
        self
    }

    /// The data type to announce with the format [`Dynamic`](crate::Dynamic). The other formats have their
    /// own; asking for another is [`Error::InvalidOption`](crate::Error::InvalidOption). Default: `json`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let options = ConnectOptions::new().data_type(DataType::Bytes);
    /// let to_bob = options.connect::<Dynamic>(&alice, bob.local_addr())?;
    /// # let from_alice = taking.join().unwrap()?;
    /// assert_eq!(from_alice.data_type(), DataType::Bytes);
    /// let wrong = options.connect::<Json<String>>(&alice, bob.local_addr());
    /// assert!(matches!(wrong, Err(Error::InvalidOption { option: "data_type", .. })));
    /// # Ok(()) }
    /// ```
    pub fn data_type(mut self, data_type: DataType) -> ConnectOptions {
        self.data_type = Some(data_type);
        self
    }

    /// Leaves the connection unencrypted, though this peer has a secret. Not the default. A peer that has a
    /// secret denies it with the reason `secret`, unless its program allows it. Needs the feature `secure`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let alice = Peer::builder().secret(Secret::random()?).bind("127.0.0.1:0")?;
    /// let printer = Peer::bind("127.0.0.1:0")?; // has no secret
    /// # let taker = printer.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let denied = alice.connect::<Bytes>(printer.local_addr());
    /// assert!(matches!(denied, Err(Error::Denied { reason: Some(word), .. }) if word == "no-secret"));
    /// let options = ConnectOptions::new().in_the_clear(true);
    /// let conn = options.connect::<Bytes>(&alice, printer.local_addr())?;
    /// assert!(!conn.is_secure());
    /// # taking.join().unwrap()?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    pub fn in_the_clear(mut self, clear: bool) -> ConnectOptions {
        self.in_the_clear = clear;
        self
    }

    /// Connects only to the peer with this key: the other side must show it and prove that it is its own. To
    /// any other peer nothing more is said, and the call fails with
    /// [`Error::WrongKey`](crate::Error::WrongKey); of several addresses the next is tried. The keys that this
    /// peer [allows](crate::PeerBuilder::allow) apply as well. Default: anyone who has the secret. Needs
    /// [`secret`](crate::PeerBuilder::secret), and the feature `secure`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (bobs, others) = (Identity::generate()?, Identity::generate()?);
    /// let (bobs_key, others_key) = (bobs.public_key(), others.public_key());
    /// let builder = Peer::builder().secret(Secret::random()?);
    /// let bob = builder.clone().identity(bobs).bind("127.0.0.1:0")?;
    /// let alice = builder.bind("127.0.0.1:0")?;
    /// # let taker = bob.clone();
    /// # std::thread::spawn(move || while let Ok(_) = taker.accept::<Bytes>() {});
    /// let conn = ConnectOptions::new().expect(bobs_key).connect::<Bytes>(&alice, bob.local_addr())?;
    /// assert_eq!(conn.peer_key(), Some(bobs_key));
    /// let wrong = ConnectOptions::new().expect(others_key).connect::<Bytes>(&alice, bob.local_addr());
    /// assert!(matches!(wrong, Err(Error::WrongKey { key, .. }) if key == Some(bobs_key)));
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    pub fn expect(mut self, key: PublicKey) -> ConnectOptions {
        self.expected = Allowed::only([key]);
        self
    }
}
