//! What a handshake hands on to the reader of the connection that follows it: bytes and ends that it has
//! taken from the socket can be read there only once.

use crate::error::CloseReason;

/// Runs a connection's reader until the connection ends.
pub(crate) type Start = Box<dyn FnOnce(Early) + Send>;

/// What the handshake has seen of the connection that follows it.
pub(crate) struct Early {
    /// Bytes that the handshake has read and that belong to the connection: the beginning of its first
    /// messages. The reader takes them before it reads the socket.
    pub bytes: Vec<u8>,
    /// What else has come.
    pub seen: Seen,
}

/// What a look at the socket has taken from it beside bytes, while an offer waited for its answer.
pub(crate) enum Seen {
    Nothing,
    /// Bytes, which are still to be read.
    Bytes,
    /// The end of input; maybe not the connection's.
    End,
    /// The system tells an error once: what a look at the socket met, the reader will not meet.
    Failure(CloseReason),
}
