//! One socket's bytes, plain or encrypted.
//!
//! | file | |
//! | --- | --- |
//! | `early` | what a handshake has read beyond itself |
//! | `half` | the reading half of the socket, and what an end of input means |
//! | `frames` | bytes to messages: the buffer, the decoder, and what it has to wait for |
//! | `record` | the records of an encrypted connection, both ways |
//! | `stream` | the one size of a stream's messages |
//! | `write_half` | the writing half of the socket |

pub(crate) mod early;
pub(crate) mod frames;
pub(crate) mod half;
pub(crate) mod record;
pub(crate) mod stream;
pub(crate) mod write_half;
