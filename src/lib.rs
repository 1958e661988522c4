//! Peers on one local network find each other and exchange typed messages over TCP, from synchronous
//! programs, without an async runtime, a broker or any configuration.
//!
//! # A first connection
//!
//! A [`Peer`] listens and connects. The side that connects names the format of the messages; the side
//! that accepts names the same.
//!
//! ```
//! use lanpeer::{Json, Peer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bob = Peer::bind("127.0.0.1:0")?; // this host, a free port; "0.0.0.0:0" for the network
//! let bob_addr = bob.local_addr();
//!
//! let alice = std::thread::spawn(move || {
//!     let alice = Peer::bind("127.0.0.1:0").unwrap();
//!     let conn = alice.connect::<Json<String>>(bob_addr).unwrap();
//!     conn.send("hello").unwrap();
//!     conn.send("world").unwrap();
//!     conn.close().unwrap(); // Ok: Bob has taken in both
//! });
//!
//! let conn = bob.accept::<Json<String>>()?;
//! for text in &conn {
//!     println!("{text}"); // hello, world; the loop ends with the connection
//! }
//! println!("ended: {}", conn.close_reason().unwrap()); // closed by the other side
//! # alice.join().unwrap();
//! # Ok(()) }
//! ```
//!
//! # Formats
//!
//! [`Json<T>`](Json) and [`Raw<T>`](Raw) carry any serde type `T`, as JSON or as MessagePack;
//! [`Bytes`] carries bytes; with [`Dynamic`] each message says what it is. The format is part of the
//! connection's type, so a connection that mixes types does not compile.
//!
//! `Json<Out, In>` and `Raw<Out, In>` have a type for each direction: what this side sends, then what it
//! receives. The other side names the two the other way round.
//!
//! ```
//! use lanpeer::{Connection, Raw, SendError};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Reading { sensor: u32, celsius: f64 }
//!
//! #[derive(Serialize, Deserialize)]
//! enum Command { Measure, Stop }
//!
//! // The other side has a Connection<Raw<Command, Reading>>.
//! fn measure(conn: &Connection<Raw<Reading, Command>>) -> Result<(), SendError> {
//!     while let Ok(Command::Measure) = conn.recv() {
//!         conn.send(&Reading { sensor: 7, celsius: 21.5 })?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Offers
//!
//! [`Peer::accept`] takes the next offer of its format. [`Peer::incoming`] lets the program look at each
//! [`Offer`] first, and then [`accept`](Offer::accept) it, [`deny`](Offer::deny) it with a word, or drop
//! it, which denies it too.
//!
//! ```
//! use lanpeer::{Bytes, DataType, Json, Peer};
//!
//! fn serve(peer: &Peer) {
//!     for offer in peer.incoming() { // ends when the peer is stopped
//!         match offer.data_type() {
//!             DataType::Json => std::thread::spawn(|| {
//!                 let Ok(conn) = offer.accept::<Json<serde_json::Value>>() else { return };
//!                 for value in &conn { println!("{value}") }
//!             }),
//!             DataType::Bytes => std::thread::spawn(|| {
//!                 let Ok(conn) = offer.accept::<Bytes>() else { return };
//!                 for bytes in &conn { println!("{} bytes", bytes.len()) }
//!             }),
//!             DataType::Raw => { let _ = offer.deny("no-raw-here"); continue }
//!         };
//!     }
//! }
//! ```
//!
//! [`ConnectOptions`] asks for more than the default: streams of messages that all have one size
//! and go without headers, connections that are not strict, another timeout.
//!
//! What goes between the two:
//!
//! ```text
//!   Alice                                           Bob
//!   connect()  ── TCP connect ────────────────────▶  listener: starts a reader
//!      │       ── HELLO, data type, strict, … ────▶  an Offer: accept() or incoming()
//!      ▼       ◀─────────────── ACCEPT, or DENY ──   the program's word
//!   send()     ── length, payload ────────────────▶  recv()
//!   recv()     ◀──────────────── length, payload ──  send()
//!   close()    ── what was queued, goodbye ───────▶  takes in everything
//!      ▼       ◀─── goodbye, how much it took in ──  recv() ends: ClosedThere
//!   Ok: nothing was lost
//! ```
//!
//! # Finding each other
//!
//! [`Peer::discover`] asks who is there and yields each [`Neighbour`] as it answers. [`Peer::watch`] goes
//! on, and tells who comes and goes. A peer can be found as soon as it is bound, unless it is
//! [`invisible`](PeerBuilder::invisible).
//!
//! ```
//! use lanpeer::Peer;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
//! # let builder = || Peer::builder().discovery_port(port);
//! # let kitchen = builder().name("kitchen").service("thermometer").bind("127.0.0.1:0")?;
//! # let alice = builder().bind("127.0.0.1:0")?;
//! // Elsewhere: Peer::builder().name("kitchen").service("thermometer").bind(…)
//! let mut found = alice.discover_service("thermometer", Duration::from_secs(5))?;
//! let kitchen_there = found.next().expect("a thermometer");
//! assert_eq!(kitchen_there.name(), Some("kitchen"));
//! println!("{kitchen_there}"); // 127.0.0.1:62626 kitchen
//! # assert_eq!(kitchen_there.addr(), kitchen.local_addr());
//! # Ok(()) }
//! ```
//!
//! [`Peer::keep_connected`] stays connected to all peers of a [`Target`], also after a cable was pulled, a
//! crash or a change of address, and yields each new connection. There is one for each peer at a time.
//!
//! ```
//! use lanpeer::{Json, Peer, Target};
//!
//! fn collect(peer: &Peer) {
//!     for conn in peer.keep_connected::<Json<f64>>(Target::service("thermometer")) {
//!         std::thread::spawn(move || {
//!             for reading in &conn { println!("{:?}: {reading}", conn.peer_name()) }
//!             println!("{:?}", conn.close_reason()); // the next one comes by itself
//!         });
//!     }
//! }
//! ```
//!
//! # Many connections
//!
//! A thread for each is the simplest. Or one thread receives from all: [`Connection::receiver`],
//! [`Peer::offers`] and [`Peer::events`] are crossbeam receivers, for
//! [`select!`](crossbeam_channel::select). Or the program has no thread for it: with
//! [`accept_with`](Offer::accept_with) and [`connect_with`](Peer::connect_with) a handler runs on the
//! connection's own thread for each message. [`Peer::broadcast`] sends to all and says who did not get
//! the message.
//!
//! ```
//! use lanpeer::crossbeam_channel::{Receiver, select};
//! use lanpeer::{Bytes, Connection};
//!
//! fn next_of_two(left: &Connection<Bytes>, right: &Connection<Bytes>) -> Option<Vec<u8>> {
//!     select! {
//!         recv(left.receiver()) -> bytes => bytes.ok(), // Err: it has ended
//!         recv(right.receiver()) -> bytes => bytes.ok(),
//!     }
//! }
//! ```
//!
//! # The way of a message
//!
//! ```text
//!   Alice                                          Bob
//!   send(&item)                                    recv()        handler(&conn, item)
//!      ▼                                             ▲                ▲
//!   encode, header                              receive queue         │
//!      │        └─ others wait: send queue           ▲                │
//!      │ alone, or large      ▼                      └── reader, or a recv that waits: decode
//!      │         sender, flusher or writer                     ▲
//!      ▼                      ▼                                │
//!   the system's send buffer ─────────── TCP ───── the system's receive buffer
//! ```
//!
//! Each box is bounded, and a full one stops what is before it. A send that returned Ok is queued or
//! written. If [`close`](Connection::close) returns Ok, the other side has taken in everything.
//!
//! # The end of a connection
//!
//! Every connection that has ended knows why: [`Connection::close_reason`]. A normal end is not an error.
//! [`Connection::close`] says whether the other side took in everything; [`Connection::abort`] does not
//! wait; dropping the last handle closes in the background. [`Peer::stop`] ends everything and wakes
//! every call that waits; dropping the last handle of a peer does the same. The docs of each state how long
//! it may take.
//!
//! # Errors
//!
//! Why could this not be done: [`Error`]. Why was this message not sent: [`SendError`]. Why did this connection
//! end: [`CloseReason`]. Requests have [`RequestError`], `close` has [`CloseError`], receiving crossbeam's errors.
//! With `?` all of them become an [`Error`], so a program can return [`lanpeer::Result`](Result)
//! throughout.
//!
//! ```
//! use lanpeer::{CloseReason, Connection, Json, SendError};
//!
//! fn tell(conn: &Connection<Json<String>>, text: &str) {
//!     match conn.try_send(text) {
//!         Ok(()) => {}
//!         Err(SendError::Full) => eprintln!("{} is slow; left out", conn.peer_addr()),
//!         Err(SendError::Closed(CloseReason::ClosedThere)) => eprintln!("they left"),
//!         Err(other) => eprintln!("not sent: {other}"),
//!     }
//! }
//! ```
//!
//! # Bounds
//!
//! Whatever the network sends, memory stays within these bounds, each with its default:
//! [`max_connections`](PeerBuilder::max_connections),
//! [`max_message_size`](PeerBuilder::max_message_size),
//! [`receive_queue`](PeerBuilder::receive_queue),
//! [`receive_queue_bytes`](PeerBuilder::receive_queue_bytes),
//! [`send_queue`](PeerBuilder::send_queue), [`max_requests`](PeerBuilder::max_requests); pickles have two
//! more. A full receive queue is no error: the connection is not read, and the other side's `send` waits.
//! [`try_send`](Connection::try_send) and [`send_timeout`](Connection::send_timeout) do not wait for
//! ever.
//!
//! # Threads
//!
//! ```text
//!           ┌ listener: accepts, and starts a reader for each connection
//!   Peer ───┼ responder: answers who searches, and keeps watches
//!           ├ flusher: writes what bursts have gathered, when their senders go quiet
//!           └ timer: ends what is dead or overdue; asleep while nothing is due
//!
//!   Connection ┬ reader: the handshake; then bytes to messages, to the queue or the handler
//!              └ writer: only while the socket is full; send() writes by itself where it can
//! ```
//!
//! # The protocol
//!
//! lanpeer speaks the protocol of Python's peerpy, HELLO / ACCEPT / DENY and DATA over TCP, and works with
//! real peerpy programs. IPv4 only. Without the feature `secure` it has no encryption and no
//! authentication: use it on networks that you trust.
//!
//! # Features
//!
//! `pickle`, not on by default: [`Raw`] also works with peers that are not lanpeers, such as peerpy, as
//! Python's pickle of plain data. It brings no dependency.
//!
//! `secure`, not on by default: peers that share a `Secret` connect only to each other, encrypted
//! and authenticated. It brings `ring`, `curve25519-dalek`, `argon2` and `zeroize`, and needs a C compiler.
//!
//! # Log levels
//!
//! With the crate [`log`], targets `lanpeer` and `lanpeer::discovery`: `error` for defects of lanpeer, `warn`
//! for trouble that a person should mend (for example, the peer cannot accept or be found), `debug` for peers
//! and connections that come and go and for handshakes that fail, `trace` for single datagrams. Lines about a
//! connection have its [number](Connection::id) and the other peer's address. No line has a payload.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod broadcast;
mod builder;
mod connection;
mod convert;
mod discover;
#[cfg(test)]
#[path = "../tests/common/emulated.rs"]
mod emulated;
mod error;
mod event;
mod format;
/// What fuzzers run; no part of the library.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod info;
mod keep;
mod neighbour;
mod net;
mod offer;
mod options;
mod peer;
mod proto;
mod secure;
mod target;

pub use broadcast::Broadcast;
pub use builder::PeerBuilder;
pub use connection::{Connection, Iter, TryIter};
pub use crossbeam_channel::{self, Receiver, RecvError, RecvTimeoutError, TryRecvError};
pub use error::{CloseError, CloseReason, Error, RequestError, Result, SendError};
pub use event::Event;
pub use format::{
    Bytes, DataType, DecodeError, Dynamic, Encode, EncodeError, Format, Json, Message, Raw,
    UnknownDataType,
};
pub use info::ConnectionInfo;
pub use keep::KeepConnected;
pub use neighbour::{Neighbour, PeerId, Presence, ToPeerAddrs};
pub use net::discovery::{DiscoverOptions, Interface, Neighbours, Watch, WatchIter, discover};
pub use net::endpoint::stats::{Ended, PeerStats};
pub use net::link::Stats;
pub use net::link::serving::{Request, Requests};
pub use offer::{Incoming, Offer};
pub use options::{ConnectOptions, StreamSize};
pub use peer::Peer;
#[cfg(feature = "secure")]
#[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
pub use secure::{Identity, IdentityError, Secret, SecretError};
pub use secure::{KeyError, PublicKey};
pub use target::Target;

/// Nothing of what fuzzers run is public in an ordinary build.
///
/// ```compile_fail
/// lanpeer::fuzz::headers(b"");
/// ```
#[cfg(doctest)]
struct NotPublic;

/// The manual's code blocks are tests.
#[cfg(doctest)]
mod manual {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/start.md")]
    struct Start;
    #[doc = include_str!("../docs/connections.md")]
    struct Connections;
    #[doc = include_str!("../docs/data-types.md")]
    struct DataTypes;
    #[doc = include_str!("../docs/streams.md")]
    struct Streams;
    #[doc = include_str!("../docs/discovery.md")]
    struct Discovery;
    #[doc = include_str!("../docs/broadcast.md")]
    struct Broadcast;
    #[doc = include_str!("../docs/reconnect.md")]
    struct Reconnect;
    #[doc = include_str!("../docs/many-connections.md")]
    struct ManyConnections;
    #[doc = include_str!("../docs/handlers.md")]
    struct Handlers;
    #[doc = include_str!("../docs/requests.md")]
    struct Requests;
    #[doc = include_str!("../docs/errors.md")]
    struct Errors;
    #[doc = include_str!("../docs/limits.md")]
    struct Limits;
    #[doc = include_str!("../docs/closing.md")]
    struct Closing;
    #[doc = include_str!("../docs/logging.md")]
    struct Logging;
    // Its program for Ctrl-C is for Unix.
    #[cfg(unix)]
    #[doc = include_str!("../docs/cookbook.md")]
    struct Cookbook;
    #[doc = include_str!("../docs/traps.md")]
    struct Traps;
    #[doc = include_str!("../docs/interop.md")]
    struct Interop;
    #[cfg(feature = "secure")]
    #[doc = include_str!("../docs/security.md")]
    struct Security;
    #[doc = include_str!("../docs/porting.md")]
    struct Porting;
    #[doc = include_str!("../docs/from-zeromq.md")]
    struct FromZeroMq;
    #[doc = include_str!("../docs/from-message-io.md")]
    struct FromMessageIo;
    #[doc = include_str!("../docs/threads.md")]
    struct Threads;
    #[doc = include_str!("../docs/protocol.md")]
    struct Protocol;
}
