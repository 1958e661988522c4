//! One socket's bytes, plain or encrypted.

pub(crate) mod early;
pub(crate) mod reader;
pub(crate) mod record;
