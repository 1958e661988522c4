//! Why a call failed, and why a connection ended.
//!
//! A long file because of its lists; there is no logic in it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::format::{DataType, DecodeError, EncodeError, UnknownDataType};
use crate::neighbour::PeerId;
use crate::proto::header::is_reason;
#[cfg(feature = "secure")]
use crate::secure::{IdentityError, SecretError};
use crate::secure::{KeyError, PublicKey};

/// Why a peer could not be bound, or a connection could not be made.
///
/// Every other error of this crate becomes an `Error` by `?`, so that a program can use
/// [`lanpeer::Result`](Result) throughout. The last variants, from [`Send`](Error::Send) on, are for
/// that; calls that make peers and connections return the others.
///
/// ```
/// use lanpeer::{Error, Json, Peer};
///
/// let alice = Peer::bind("127.0.0.1:0")?;
/// match alice.connect::<Json<String>>(alice.local_addr()) {
///     Err(Error::SelfConnection { addr }) => assert_eq!(addr, alice.local_addr()),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Error>(())
/// ```
///
/// One error for a whole program:
///
/// ```
/// use lanpeer::{Connection, Error, Json};
///
/// fn answer(conn: &Connection<Json<u64>>) -> lanpeer::Result<()> {
///     let number = conn.recv()?; // RecvError
///     conn.send(&(number + 1))?; // SendError
///     conn.close()?; // CloseError
///     Ok(())
/// }
/// # use lanpeer::*;
/// # fn main() -> lanpeer::Result<()> {
/// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// # let (to, asker) = (bob.local_addr(), alice.clone());
/// # let asking = std::thread::spawn(move || asker.connect::<Json<u64>>(to));
/// # let from_alice = bob.accept::<Json<u64>>()?;
/// # let to_bob = asking.join().unwrap()?;
/// to_bob.close()?;
/// assert!(matches!(answer(&from_alice), Err(Error::Ended)));
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// An IPv6 address: the protocol is IPv4 only. Use the host's IPv4 address.
    Ipv6 {
        /// The address that was given.
        addr: SocketAddr,
    },
    /// The address could not be resolved, for example an unknown host name or a missing port. It is
    /// written `HOST:PORT`; port 0 lets the system choose a free one.
    Resolve {
        /// What the resolver said.
        source: io::Error,
    },
    /// The peer cannot listen on the address: another program uses it, or it is not an address of this host.
    /// Port 0 lets the system choose a free one.
    Bind {
        /// The address that was given.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing could be reached at the address: nobody listens there (refused), or no route.
    Connect {
        /// The address that was tried last.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The other side did not answer in time, neither ACCEPT nor DENY.
    TimedOut {
        /// Whom we asked.
        addr: SocketAddr,
        /// The timeout that applied.
        after: Duration,
    },
    /// The other side said no.
    Denied {
        /// Whom we asked.
        addr: SocketAddr,
        /// Its reason, one word, if it gave one: `busy`, `type`, `dropped`, `malformed`, `unsupported`,
        /// `size`, `self`, `twice`, `stopped`, `secret` (it accepts only those who have its secret),
        /// `no-secret` (it has none), `key` (it accepts only certain keys) or a word of the program there.
        /// If the connection was to be encrypted and the answer came in the clear, only words of the
        /// library count.
        reason: Option<String>,
        /// It has proved that it has the secret. `false`: anyone on the network may have said it.
        by_member: bool,
    },
    /// Somebody other than the wanted [`Neighbour`](crate::Neighbour) answered: another program has its
    /// address now, or somebody redirects connections. The fields tell who answered, if it said so.
    NotWhoItSaid {
        /// Whom we asked.
        addr: SocketAddr,
        /// Its id.
        id: Option<PeerId>,
        /// Its name.
        name: Option<String>,
        /// Its service.
        service: Option<String>,
    },
    /// A peer cannot connect to itself.
    SelfConnection {
        /// The peer's own address.
        addr: SocketAddr,
    },
    /// The other side's answer breaks the protocol; perhaps it is not a peer.
    Handshake {
        /// The other side.
        addr: SocketAddr,
        /// What was wrong.
        reason: String,
    },
    /// The connection would not be encrypted, though this peer has a secret: the other side answered, or
    /// asked, in the clear. Nothing more was sent.
    NotSecure {
        /// The other side.
        addr: SocketAddr,
    },
    /// The other side could not prove that it has the secret, or something was altered on the way.
    Forged {
        /// The other side.
        addr: SocketAddr,
    },
    /// The other side has proved that it has a secret, but this peer no longer accepts that secret:
    /// `Peer::set_secrets` (feature `secure`) has left it out meanwhile.
    SecretWithdrawn {
        /// The other side.
        addr: SocketAddr,
    },
    /// The other side has not the key that was expected (`ConnectOptions::expect`), or one that this peer does
    /// not allow (`PeerBuilder::allow`), or it shows none. If it has shown a key, it has also proved that it has
    /// the secret. The two methods need the feature `secure`.
    WrongKey {
        /// Whom we asked.
        addr: SocketAddr,
        /// Its key; `None`: it shows none.
        key: Option<PublicKey>,
    },
    /// The offer is for another data type than the format it was accepted with; it was denied.
    TypeMismatch {
        /// What the other side offered.
        offered: DataType,
        /// What this side accepted it with.
        requested: DataType,
    },
    /// The other side has hung up meanwhile: it waits for an answer only until its timeout.
    Withdrawn,
    /// This peer has as many connections as [`PeerBuilder::max_connections`](crate::PeerBuilder::max_connections) allows.
    TooManyConnections {
        /// The limit.
        limit: usize,
    },
    /// The connection needs an optional part that this build does not have.
    FeatureMissing {
        /// The missing feature.
        feature: &'static str,
        /// What it is needed for.
        needed_for: &'static str,
    },
    /// The peer was stopped.
    Stopped,
    /// An option is out of range, or does not fit the others.
    InvalidOption {
        /// The option's name.
        option: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refused something else: no more file descriptors or threads, for example.
    Io {
        /// What was being done.
        context: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A message was not sent. From a [`SendError`] or an [`EncodeError`].
    Send(SendError),
    /// `close` cannot say that everything arrived. From a [`CloseError`].
    Close(CloseError),
    /// A request has no reply. From a [`RequestError`].
    Request(RequestError),
    /// Nothing more can be received: the connection has ended and all its messages were taken; or, if
    /// offers, events or neighbours were received, the peer was stopped. From a
    /// [`RecvError`](crate::RecvError), or from `Disconnected` in [`TryRecvError`](crate::TryRecvError)
    /// and [`RecvTimeoutError`](crate::RecvTimeoutError).
    Ended,
    /// Nothing is there, or nothing came in time: no offer
    /// ([`accept_timeout`](crate::Peer::accept_timeout)), or no message; the connection goes on. Also from
    /// [`TryRecvError::Empty`](crate::TryRecvError::Empty) and
    /// [`RecvTimeoutError::Timeout`](crate::RecvTimeoutError::Timeout).
    NothingReceived,
    /// A [`Message`](crate::Message) does not hold such a value. From a [`DecodeError`].
    Decode(DecodeError),
    /// A text names no data type. From an [`UnknownDataType`].
    DataType(UnknownDataType),
    /// A text is no key. From a [`KeyError`].
    Key(KeyError),
    /// There is no identity. From an [`IdentityError`]; only with the feature `secure`.
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    Identity(IdentityError),
    /// There is no secret. From a [`SecretError`]; only with the feature `secure`.
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    Secret(SecretError),
}

/// The result of everything that makes a peer or a connection.
///
/// ```
/// fn listen() -> lanpeer::Result<lanpeer::Peer> {
///     lanpeer::Peer::bind("127.0.0.1:0")
/// }
/// assert!(listen().is_ok());
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Ipv6 { addr } => write!(f, "{addr} is an IPv6 address: use an IPv4 address"),
            Error::Resolve { source } => {
                write!(f, "cannot resolve the address: {source}")?;
                // What std says to a text that it cannot take apart does not name the port.
                if source.kind() == io::ErrorKind::InvalidInput {
                    f.write_str(
                        ": the port is missing or wrong; write HOST:PORT, as in 127.0.0.1:62626, \
                         or port 0 for a free one",
                    )?;
                }
                Ok(())
            }
            Error::Bind { addr, source } => write!(f, "cannot listen on {addr}: {source}"),
            Error::Connect { addr, source } => write!(f, "cannot connect to {addr}: {source}"),
            Error::TimedOut { addr, after } => write!(f, "{addr} did not answer within {after:?}"),
            Error::Denied {
                addr,
                reason: Some(reason),
                ..
            } => {
                write!(f, "{addr} denied the connection: {}", reason.escape_debug())
            }
            Error::Denied { addr, .. } => write!(f, "{addr} denied the connection"),
            Error::NotWhoItSaid { addr, .. } => {
                write!(f, "{addr} is not the peer that was found there")
            }
            Error::SelfConnection { addr } => write!(f, "{addr} is this peer itself"),
            Error::Handshake { addr, reason } => {
                write!(f, "handshake with {addr} failed: {reason}")
            }
            Error::NotSecure { addr } => {
                write!(f, "{addr} does not encrypt, but this peer has a secret")
            }
            Error::Forged { addr } => {
                write!(
                    f,
                    "{addr} did not prove that it has the secret, or was tampered with"
                )
            }
            Error::SecretWithdrawn { addr } => {
                write!(f, "the secret of {addr} is no longer accepted here")
            }
            Error::WrongKey {
                addr,
                key: Some(key),
            } => write!(f, "{addr} has the key {key}, which is not an expected one"),
            Error::WrongKey { addr, key: None } => {
                write!(f, "{addr} shows no key, though one is expected")
            }
            Error::TypeMismatch { offered, requested } => {
                write!(
                    f,
                    "the offer is for {offered}, but was accepted as {requested}, so it was denied"
                )
            }
            Error::Withdrawn => f.write_str("the other side has withdrawn its offer"),
            Error::TooManyConnections { limit } => {
                write!(
                    f,
                    "there are already {limit} connections, the most that max_connections allows"
                )
            }
            Error::FeatureMissing {
                feature,
                needed_for,
            } => {
                write!(f, "{needed_for} needs lanpeer's feature `{feature}`")
            }
            Error::Stopped => f.write_str("the peer is stopped"),
            Error::InvalidOption { option, reason } => write!(f, "option {option}: {reason}"),
            Error::Io { context, source } => write!(f, "{context}: {source}"),
            Error::Send(error) => error.fmt(f),
            Error::Close(error) => error.fmt(f),
            Error::Request(error) => error.fmt(f),
            Error::Ended => f.write_str("nothing more to receive: it has ended"),
            Error::NothingReceived => f.write_str("nothing was received in time"),
            Error::Decode(error) => error.fmt(f),
            Error::DataType(error) => error.fmt(f),
            Error::Key(error) => error.fmt(f),
            #[cfg(feature = "secure")]
            Error::Identity(error) => error.fmt(f),
            #[cfg(feature = "secure")]
            Error::Secret(error) => error.fmt(f),
        }
    }
}

impl Error {
    /// An error about an option, and why its value cannot work.
    pub(crate) fn invalid_option(option: &'static str, reason: impl Into<String>) -> Error {
        let reason = reason.into();
        Error::InvalidOption { option, reason }
    }

    /// For the log: without what the other side wrote, except the one word of a DENY.
    pub(crate) fn without_quotes(&self) -> String {
        match self {
            Error::Denied {
                addr,
                reason: Some(reason),
                ..
            } if !is_reason(reason) => format!("{addr} denied the connection: …"),
            Error::Handshake { addr, reason } => {
                let reason = without_quotes(reason);
                format!("handshake with {addr} failed: {reason}")
            }
            error => error.to_string(),
        }
    }
}

/// Leaves out what a text quotes, from the first backtick to the last: the quoted may contain some.
pub(crate) fn without_quotes(text: &str) -> String {
    match (text.find('`'), text.rfind('`')) {
        (Some(first), Some(last)) => format!("{}…{}", &text[..first], &text[last + 1..]),
        _ => text.to_owned(),
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Resolve { source }
            | Error::Bind { source, .. }
            | Error::Connect { source, .. }
            | Error::Io { source, .. } => Some(source),
            // The text of the others already has that of the error in them: a report would have it twice.
            #[cfg(feature = "secure")]
            Error::Identity(error) => error.source(),
            #[cfg(feature = "secure")]
            Error::Secret(error) => error.source(),
            _ => None,
        }
    }
}

/// Why a connection ended. The first cause counts.
///
/// A normal close, [`ClosedHere`](CloseReason::ClosedHere) or
/// [`ClosedThere`](CloseReason::ClosedThere), is not an error: see [`is_normal`](CloseReason::is_normal).
///
/// ```
/// use lanpeer::CloseReason;
///
/// assert_eq!(CloseReason::ClosedThere.to_string(), "closed by the other side");
/// assert!(CloseReason::ClosedThere.is_normal());
/// assert!(!CloseReason::Reset.is_normal());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it, by `close` or by dropping its last handle.
    ClosedHere,
    /// The other side closed it, and everything that it sent before has arrived. Two lanpeers tell each
    /// other so. With a peer without frames, such as peerpy, a process that ends between two messages
    /// looks the same.
    ClosedThere,
    /// This side called `abort`.
    Aborted,
    /// This side's peer was stopped, by [`stop`](crate::Peer::stop).
    Stopped,
    /// The last handle of this side's [`Peer`](crate::Peer) was dropped, which stops the peer. Keep a
    /// handle as long as its connections are used.
    PeerDropped,
    /// The other side reset it, dropped it with messages that it had not received, or its process
    /// died: what was on its way may be lost.
    Reset,
    /// The other side was silent for longer than [`keepalive`](crate::PeerBuilder::keepalive) allows, or
    /// did not finish a close in time.
    TimedOut,
    /// The other side's process or machine ended without a goodbye: it was killed, it crashed, it exited
    /// without a [`close`](crate::Connection::close), or a panic there dropped the last handle. What was
    /// on its way may be lost. Only between two lanpeers that speak frames.
    Vanished,
    /// The other side keeps itself connected (`keep_connected`), has lost this connection and has come
    /// again with a new offer. What was on its way may be lost. Only between two lanpeers that speak
    /// frames.
    Replaced,
    /// This side no longer accepts the other side's key, or the secret that both had: `Peer::allow` or
    /// `Peer::set_secrets` (feature `secure`) has left it out.
    Revoked,
    /// The other side closed it in the middle of a message.
    Truncated,
    /// An encrypted connection ended without the record that ends it: it was cut on the way, or the
    /// process there ended. What was on its way may be lost.
    Cut,
    /// What came on an encrypted connection is not what the other side sent: something was altered,
    /// repeated, left out or reordered. Nothing of it was delivered.
    Forged,
    /// A message of another data type than the agreed one, on a strict connection.
    DeniedType {
        /// What the connection is for.
        expected: DataType,
        /// What the message said it was.
        got: DataType,
    },
    /// A header or payload that breaks the protocol; the text says what was wrong.
    Malformed(String),
    /// A message larger than [`PeerBuilder::max_message_size`](crate::PeerBuilder::max_message_size)
    /// was announced; nothing of it was read.
    TooLarge {
        /// The size in its header, in bytes.
        size: u64,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The other side could not take in a message of this side, and says why, for example "missing
    /// field `b`". The text comes from the other side: at most 256 bytes, without control characters. Only
    /// between two lanpeers that speak frames.
    RefusedThere(String),
    /// The program's handler panicked; the text is the panic's message.
    HandlerPanicked(String),
    /// Another error of the system.
    Io {
        /// Its kind.
        kind: io::ErrorKind,
        /// Its text.
        message: String,
    },
}

impl CloseReason {
    /// Did one of the two sides simply close it? True for [`ClosedHere`](CloseReason::ClosedHere),
    /// [`ClosedThere`](CloseReason::ClosedThere), [`Stopped`](CloseReason::Stopped) and
    /// [`PeerDropped`](CloseReason::PeerDropped).
    ///
    /// ```
    /// use lanpeer::CloseReason;
    ///
    /// assert!(CloseReason::ClosedHere.is_normal() && CloseReason::Stopped.is_normal());
    /// assert!(!CloseReason::Aborted.is_normal() && !CloseReason::TimedOut.is_normal());
    /// ```
    pub fn is_normal(&self) -> bool {
        matches!(
            self,
            CloseReason::ClosedHere
                | CloseReason::ClosedThere
                | CloseReason::Stopped
                | CloseReason::PeerDropped
        )
    }

    /// For the log: without the text that may quote a message. Only what stands before the first colon is
    /// this library's.
    pub(crate) fn without_payload(&self) -> String {
        match self {
            CloseReason::Malformed(what) => what.split(": ").next().unwrap_or_default().to_owned(),
            CloseReason::HandlerPanicked(_) => "the handler panicked".to_owned(),
            CloseReason::RefusedThere(_) => "a message was refused by the other side".to_owned(),
            reason => reason.to_string(),
        }
    }

    pub(crate) fn from_io(error: &io::Error) -> CloseReason {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => CloseReason::Reset,
            // Where nobody answers for the address any more, Linux says so instead of "timed out".
            io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => CloseReason::TimedOut,
            // Of encrypted connections; no system call has these.
            io::ErrorKind::UnexpectedEof => CloseReason::Cut,
            io::ErrorKind::InvalidData => CloseReason::Forged,
            kind => CloseReason::Io {
                kind,
                message: error.to_string(),
            },
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::ClosedHere => f.write_str("closed by this side"),
            CloseReason::ClosedThere => f.write_str("closed by the other side"),
            CloseReason::Aborted => f.write_str("aborted by this side"),
            CloseReason::Stopped => f.write_str("this peer was stopped"),
            CloseReason::PeerDropped => f.write_str(
                "the last handle of this side's Peer was dropped: keep one while its connections are used",
            ),
            CloseReason::Reset => f.write_str("reset by the other side"),
            CloseReason::TimedOut => f.write_str("the other side no longer answers"),
            CloseReason::Vanished => f.write_str("the other side ended without a goodbye"),
            CloseReason::Replaced => f.write_str("replaced by a new connection of the other side"),
            CloseReason::Revoked => f.write_str("its key or its secret is no longer accepted here"),
            CloseReason::Truncated => {
                f.write_str("closed by the other side in the middle of a message")
            }
            CloseReason::Cut => f.write_str("cut before the other side had ended it"),
            CloseReason::Forged => {
                f.write_str("tampered with: what came is not what the other side sent")
            }
            CloseReason::DeniedType { expected, got } => {
                write!(f, "a {got} message on a strict {expected} connection")
            }
            CloseReason::Malformed(what) => f.write_str(what),
            CloseReason::TooLarge { size, limit } => {
                write!(f, "a message of {size} bytes, the limit is {limit}")
            }
            CloseReason::RefusedThere(why) => {
                write!(f, "the other side could not take a message: {why}")
            }
            CloseReason::HandlerPanicked(what) => write!(f, "the handler panicked: {what}"),
            CloseReason::Io { message, .. } => f.write_str(message),
        }
    }
}

/// Why a message was not sent. No part of it was sent, and the connection goes on, except after
/// [`Closed`](SendError::Closed).
///
/// ```
/// use lanpeer::SendError;
///
/// # use lanpeer::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// # let (to, asker) = (bob.local_addr(), alice.clone());
/// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
/// # let from_alice = bob.accept::<Bytes>()?;
/// # let to_bob = asking.join().unwrap()?;
/// to_bob.close()?;
/// match to_bob.send("late") {
///     Err(SendError::Closed(reason)) => assert!(reason.is_normal()),
///     other => panic!("{other:?}"),
/// }
/// let error = SendError::TooLarge { size: 10, limit: 5 };
/// assert_eq!(error.to_string(), "a message of 10 bytes, the limit is 5");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The send queue is full; only from `try_send` and `broadcast`. Try again later.
    Full,
    /// The send queue was full until the deadline; only from `send_timeout` and
    /// `broadcast_timeout`.
    Timeout,
    /// The connection has ended, or is being closed.
    Closed(CloseReason),
    /// Larger than this side's [`PeerBuilder::max_message_size`](crate::PeerBuilder::max_message_size).
    TooLarge {
        /// The payload's size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// All messages of a stream have one size, and it is at least 1 byte.
    WrongSize {
        /// The payload's size in bytes.
        size: usize,
        /// The stream's in bytes; 0 while it is not known yet.
        stream: usize,
    },
    /// A message of another data type on a strict connection or on a stream.
    WrongType {
        /// What the connection is for.
        expected: DataType,
        /// What the message is.
        got: DataType,
    },
    /// The value cannot be encoded.
    Encode(EncodeError),
    /// The request has been answered; only from [`Request::reply`](crate::Request::reply).
    Answered,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Full => f.write_str("the send queue is full"),
            SendError::Timeout => f.write_str("the send queue was full until the deadline"),
            SendError::Closed(reason) => write!(f, "the connection is closed: {reason}"),
            SendError::TooLarge { size, limit } => {
                write!(f, "a message of {size} bytes, the limit is {limit}")
            }
            SendError::WrongSize { size: 0, .. } => {
                f.write_str("a message of a stream cannot be empty")
            }
            SendError::WrongSize { size, stream } => {
                write!(f, "a message of {size} bytes in a stream of {stream} bytes")
            }
            SendError::WrongType { expected, got } => {
                write!(
                    f,
                    "a {got} message cannot go over this {expected} connection"
                )
            }
            SendError::Encode(error) => error.fmt(f),
            SendError::Answered => f.write_str("the request was answered before"),
        }
    }
}

impl std::error::Error for SendError {}

/// Why a request has no reply; from [`Connection::request`](crate::Connection::request). The connection
/// goes on, except after [`Closed`](RequestError::Closed).
///
/// The other side may have worked on the request, unless the variant says otherwise.
///
/// ```
/// # use std::time::Duration;
/// # use lanpeer::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// # let (to, asker) = (bob.local_addr(), alice.clone());
/// # let asking = std::thread::spawn(move || asker.connect::<Json<String>>(to));
/// # let from_alice = bob.accept::<Json<String>>()?;
/// # let to_bob = asking.join().unwrap()?;
/// let requests = from_alice.requests();
/// let slow = to_bob.request("anyone?", Duration::from_millis(1));
/// assert_eq!(slow, Err(RequestError::TimedOut));
/// from_alice.close()?;
/// match to_bob.request("anyone?", Duration::from_secs(5)) {
///     Err(RequestError::Closed(reason)) => assert!(reason.is_normal()),
///     other => panic!("{other:?}"),
/// }
/// # drop(requests);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// No reply came in time. A later reply is counted and dropped.
    TimedOut,
    /// The connection has ended, or is being closed.
    Closed(CloseReason),
    /// The program there dropped the request unanswered.
    Unanswered,
    /// The program there panicked while it had the request.
    Panicked,
    /// The program there takes no requests: nothing was done.
    NotServed,
    /// As many requests of this side as
    /// [`PeerBuilder::max_requests`](crate::PeerBuilder::max_requests) allows are under way on this
    /// connection: nothing was sent. Try again later.
    Full,
    /// The other side has too many unanswered requests, by its own limits: nothing was done. Try again
    /// later.
    Busy,
    /// The request is no value of the type that the other side expects: nothing was done. The text comes
    /// from the other side: at most 256 bytes, without control characters.
    Refused(String),
    /// The connection carries no requests: it is a stream, or the other side speaks no frames.
    Unsupported,
    /// Called on the connection's reader thread, for example by its handler, which would wait for itself:
    /// nothing was sent.
    WaitsForItself,
    /// The value cannot be encoded: nothing was sent.
    Encode(EncodeError),
    /// The request cannot go over this connection, nor could a message: nothing was sent.
    Send(SendError),
    /// The reply is no value of the type that this side expects.
    Decode(DecodeError),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::TimedOut => f.write_str("no reply came in time"),
            RequestError::Closed(reason) => write!(f, "the connection is closed: {reason}"),
            RequestError::Unanswered => f.write_str("the other side dropped the request unanswered"),
            RequestError::Panicked => f.write_str("the other side panicked while it had the request"),
            RequestError::NotServed => f.write_str("the other side takes no requests"),
            RequestError::Full => f.write_str("too many requests are under way"),
            RequestError::Busy => f.write_str("too many requests are unanswered at the other side"),
            RequestError::Refused(why) => {
                write!(f, "the other side could not take the request: {why}")
            }
            RequestError::Unsupported => f.write_str(
                "this connection carries no requests: it is a stream, or the other side speaks no frames",
            ),
            RequestError::WaitsForItself => {
                f.write_str("a handler of the connection would wait for itself")
            }
            RequestError::Encode(error) => error.fmt(f),
            RequestError::Send(error) => error.fmt(f),
            RequestError::Decode(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RequestError {}

impl From<SendError> for RequestError {
    fn from(error: SendError) -> RequestError {
        match error {
            SendError::Closed(reason) => RequestError::Closed(reason),
            SendError::Full | SendError::Timeout => RequestError::TimedOut,
            SendError::Encode(error) => RequestError::Encode(error),
            other => RequestError::Send(other),
        }
    }
}

impl From<EncodeError> for RequestError {
    fn from(error: EncodeError) -> RequestError {
        RequestError::Encode(error)
    }
}

impl From<DecodeError> for RequestError {
    fn from(error: DecodeError) -> RequestError {
        RequestError::Decode(error)
    }
}

impl From<EncodeError> for SendError {
    fn from(error: EncodeError) -> SendError {
        SendError::Encode(error)
    }
}

/// Why [`close`](crate::Connection::close) cannot say that everything arrived.
///
/// ```
/// use lanpeer::{CloseError, CloseReason};
///
/// let error = CloseError::Incomplete(CloseReason::Reset);
/// assert!(error.to_string().starts_with("the other side may not have taken in everything"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseError {
    /// The other side did not take in everything within
    /// [`PeerBuilder::close_timeout`](crate::PeerBuilder::close_timeout).
    Timeout,
    /// The connection ended first, for another reason.
    Incomplete(CloseReason),
}

impl fmt::Display for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other side may not have taken in everything: ")?;
        match self {
            CloseError::Timeout => f.write_str("it did not answer the close in time"),
            CloseError::Incomplete(reason) => reason.fmt(f),
        }
    }
}

impl std::error::Error for CloseError {}
