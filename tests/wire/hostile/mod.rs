//! Whatever comes over the network, the answer is a DENY or a precise reason, no memory is
//! reserved for what is only claimed, and a connection that minds its own business goes on.
//!
//! With `--nocapture` the tests print what they sent and the reasons that came of it.

mod arena;
mod cuts;
mod frames;
mod frames_cut;
mod handshakes;
mod headers;
mod memory;
mod payloads;
#[cfg(feature = "pickle")]
mod pickles;
mod random;

use serde::{Deserialize, Serialize};

use crate::common::wire::header;

const JSON: &str = "data_type=json&strict=1&v=1";
const RAW: &str = "data_type=raw&strict=1&v=1";
const BYTES: &str = "data_type=bytes&strict=1&v=1";
const MILLION: usize = 1_000_000;

/// How an attack ends.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// It waits for what the other side does.
    Wait,
    Fin,
    Reset,
}

/// A HELLO with these keys after the address.
fn hello(keys: &str) -> Vec<u8> {
    header(&format!("HELLO|peer_name=127.0.0.1:40000&{keys}")).to_vec()
}

/// Decodes by calling itself, as any tree does.
#[derive(Debug, Serialize, Deserialize)]
struct Nested(Vec<Nested>);

#[derive(Debug, Serialize, Deserialize)]
struct Point {
    x: u8,
}
