//! Messages to the socket, in order: the send queue, and who writes.

pub(crate) mod flusher;
pub(crate) mod queue;
pub(crate) mod sender;
pub(crate) mod writer;
