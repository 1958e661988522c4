//! Peers on one local network find each other and exchange typed messages over TCP: from
//! synchronous programs, without an async runtime, a broker or a configuration.
//!
//! # A first connection
//!
//! A [`Peer`] listens and connects. Whoever connects names the format of the messages; whoever
//! accepts names the same.
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
//! [`Json<T>`] and [`Raw<T>`] carry any serde type `T`, as JSON or as MessagePack; [`Bytes`] carries
//! bytes; with [`Dynamic`] each message says what it is. The format is part of the connection's
//! type, so a connection that mixes types does not compile.
//!
//! ```
//! use lanpeer::{Connection, Raw, SendError};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Reading { sensor: u32, celsius: f64 }
//!
//! fn report(conn: &Connection<Raw<Reading>>) -> Result<(), SendError> {
//!     conn.send(&Reading { sensor: 7, celsius: 21.5 })
//! }
//! ```
//!
//! # Offers
//!
//! [`Peer::accept`] takes the next offer of its format. [`Peer::incoming`] lets the program look at
//! each [`Offer`] first: [`accept`](Offer::accept) it, [`deny`](Offer::deny) it with a word, or
//! drop it, which denies it too.
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
//! # Many connections
//!
//! A thread for each is the simplest. Or one thread receives from all: [`Connection::receiver`],
//! [`Peer::offers`] and [`Peer::events`] are crossbeam receivers, for
//! [`select!`](crossbeam_channel::select). Or no thread at all: with
//! [`accept_with`](Offer::accept_with) and [`connect_with`](Peer::connect_with) a handler runs on the
//! connection's own thread, which has the lowest latency.
//! [`Peer::broadcast`] sends to all and says who did not get it.
//!
//! # The end of a connection
//!
//! Every connection that has ended knows why: [`Connection::close_reason`]. A normal end is not an
//! error. [`Connection::close`] says whether the other side took in everything;
//! [`Connection::abort`] does not wait; dropping the last handle closes in the background.
//! [`Peer::stop`] ends everything, wakes every call that waits, and is what dropping the last
//! handle of a peer does. None of them hangs: each has a bound, stated with it.
//!
//! # Bounds
//!
//! Whatever the network sends, memory stays within what these say, each with its default:
//! [`max_connections`](PeerBuilder::max_connections),
//! [`max_message_size`](PeerBuilder::max_message_size),
//! [`receive_queue`](PeerBuilder::receive_queue),
//! [`receive_queue_bytes`](PeerBuilder::receive_queue_bytes),
//! [`send_queue`](PeerBuilder::send_queue); and for pickles two more. A full queue is no error: the connection is not read,
//! TCP pushes back, and the other side's `send` waits. [`try_send`](Connection::try_send) and
//! [`send_timeout`](Connection::send_timeout) do not wait for ever.
//!
//! # Threads
//!
//! ```text
//!              ┌ listener: accepts ─ starts ┐
//!   Peer ──────┤                            ▼
//!              └ pulse: notices dead      reader, one per connection
//!                remotes; asleep            socket ─▶ decode ─▶ queue ─▶ recv()
//!                while nothing is sent                      └─▶ handler(&conn, item)
//!
//!   send() ─▶ socket, when nothing waits and no burst is on
//!         └─▶ queue ─▶ the sender itself, when 64 KiB have gathered ─▶ socket
//!                  ├─▶ flusher, when the sender goes quiet ─▶ socket
//!                  └─▶ writer, one per connection, only while the socket is full ─▶ socket
//! ```
//!
//! # The protocol
//!
//! lanpeer speaks the protocol of Python's peerpy, HELLO / ACCEPT / DENY and DATA over TCP, and real
//! peerpy programs join in. IPv4 only. It has no encryption and no authentication: use it on
//! networks that you trust.
//!
//! # Features
//!
//! `pickle`, not on by default: [`Raw`] also towards peers that are not lanpeers, such as peerpy, as
//! Python's pickle, of plain data. It brings no dependency.
//!
//! # Log levels
//!
//! With the crate [`log`], target `lanpeer`: `warn` when the peer is in trouble (it can not accept,
//! a thread does not end), `debug` for connections made, denied and ended, `trace` for what its
//! threads do. Never a payload.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod broadcast;
mod builder;
mod connection;
mod discover;
mod error;
mod event;
mod format;
mod info;
mod neighbour;
mod net;
mod offer;
mod options;
mod peer;
mod proto;

pub use broadcast::Broadcast;
pub use builder::PeerBuilder;
pub use connection::{Connection, Iter, TryIter};
pub use crossbeam_channel::{self, Receiver, RecvError, RecvTimeoutError, TryRecvError};
pub use error::{CloseError, CloseReason, Error, Result, SendError};
pub use event::Event;
pub use format::{
    Bytes, DataType, DecodeError, Dynamic, Encode, EncodeError, Format, Json, Message, Raw,
    UnknownDataType,
};
pub use info::ConnectionInfo;
pub use neighbour::{Neighbour, PeerId, Presence};
pub use net::discovery::{DiscoverOptions, Neighbours, discover};
pub use net::link::Stats;
pub use offer::{Incoming, Offer};
pub use options::{ConnectOptions, StreamSize};
pub use peer::Peer;

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
    #[doc = include_str!("../docs/many-connections.md")]
    struct ManyConnections;
    #[doc = include_str!("../docs/handlers.md")]
    struct Handlers;
    #[doc = include_str!("../docs/errors.md")]
    struct Errors;
    #[doc = include_str!("../docs/limits.md")]
    struct Limits;
    #[doc = include_str!("../docs/closing.md")]
    struct Closing;
    #[doc = include_str!("../docs/logging.md")]
    struct Logging;
    #[doc = include_str!("../docs/interop.md")]
    struct Interop;
    #[doc = include_str!("../docs/security.md")]
    struct Security;
    #[doc = include_str!("../docs/porting.md")]
    struct Porting;
    #[doc = include_str!("../docs/threads.md")]
    struct Threads;
    #[doc = include_str!("../docs/protocol.md")]
    struct Protocol;
}
