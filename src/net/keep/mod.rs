//! Connections that come back.
//!
//! | file | |
//! | --- | --- |
//! | `machine` | whom it knows, who is connected, what is next: a machine |
//! | `pause` | how long to wait before the next attempt |
//! | `driver` | the thread that does what the machine says |

pub(crate) mod driver;
mod machine;
mod pause;
