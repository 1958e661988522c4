//! The wire, as pure functions of bytes: no sockets, no threads, no clock.
//!
//! ```text
//! connect      HELLO|address_name=IP:PORT&peer_name=IP:PORT&data_type=json&strict=1&v=1|||…   128 bytes
//! answer       ACCEPT|v=1|||…   or   DENY|reason=word|||…                                    128 bytes
//! message      DATA|data_size=17&data_type=json|||…                                          128 bytes
//!              {"data":"a text"}                                                             data_size bytes
//! stream       only payloads, all of one size; the first after a DATA header, unless HELLO named the size
//! keepalive    PING|||…   between messages, from peerpy only; no message
//! end          TCP's FIN
//! encrypted    HELLO and ACCEPT with secure=…, two messages of 48 bytes, and then records; see `secure`
//! discovery    PING IP:PORT|pinger=IP:PORT&…   and   PONG IP:PORT|ponger=IP:PORT&…           UDP, 128 bytes
//! ```
//!
//! Two lanpeers that both say `v=2` go on in frames, whose heads have 1 to 9 bytes, and say goodbye at
//! the end; see [`frames`].
//!
//! [`header`] reads and writes the 128 bytes, [`frame`] turns what comes after the handshake into
//! messages, [`beacon`] is the datagrams, [`tag`] what members know each other's by. Nothing here reserves memory for what a header claims.

pub(crate) mod beacon;
pub(crate) mod data_type;
pub(crate) mod frame;
pub(crate) mod frames;
pub(crate) mod header;
pub(crate) mod tag;
pub(crate) mod who;
