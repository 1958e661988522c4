//! One socket's bytes, plain or encrypted. Nothing here starts a thread: the reading half belongs to
//! whoever reads, the writing half to whoever has the turn to write.
//!
//! | file | |
//! | --- | --- |
//! | `answer` | what follows the other side's goodbye |
//! | `decoding` | whose rules find the messages in bytes: text or frames |
//! | `early` | what a handshake has read beyond itself |
//! | `half` | the reading half of the socket, and what an end of input means |
//! | `frames` | bytes to messages: the buffer, the decoder, and what it has to wait for. `ahead`: for a `close` in a handler |
//! | `hears` | whether the other side is heard, and wants to hear |
//! | `record` | the records of an encrypted connection, both ways |
//! | `reasons` | why bytes end the connection |
//! | `span` | where a small message lies among others |
//! | `stream` | the one size of a stream's messages |
//! | `write_half` | the writing half of the socket |

pub(crate) mod answer;
mod decoding;
pub(crate) mod early;
pub(crate) mod frames;
pub(crate) mod half;
pub(crate) mod hears;
pub(crate) mod reasons;
pub(crate) mod record;
pub(crate) mod span;
pub(crate) mod stream;
pub(crate) mod write_half;
