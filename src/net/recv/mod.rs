//! Messages to the program: the receive queue, and who reads.

pub(crate) mod batch;
pub(crate) mod consumer;
pub(crate) mod lease;
pub(crate) mod producer;
pub(crate) mod select;
