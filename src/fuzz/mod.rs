//! What a fuzzer runs, as ordinary functions: each takes any bytes and panics where a promise is
//! broken. Only in builds for tests and for fuzzing; `tests/fuzz` has the targets and the corpus.
//!
//! | file | promises |
//! | --- | --- |
//! | `headers` | headers mean what a second, plainer reading of the protocol says, and survive writing |
//! | `frames` | messages do not depend on how their bytes are cut, and stay within the limits |
//! | `framed` | frames mean what a second, plainer reading of the protocol says, however they are cut |
//! | `datagrams` | the same for discovery |
//! | `payloads` | JSON, MessagePack and pickles: what is decoded can be encoded, and is then the same |
//! | `sealed` | the feature `secure`: what someone on the way touched is refused, and the rest is understood |
//! | `secrets` | secrets as text, and in files: what a second, plainer reading says |
//! | `conversations` | whole connections over loopback end in time, with the reason that is due |
//! | `spoken` | so do those in frames, and each side is told what became of its messages |
//! | `tampered` | so do encrypted ones with someone on the way, and nothing that he touched is believed |
//!
//! Nothing here needs a crate that the library itself does not: a program that is fuzzed is built
//! with `cfg(fuzzing)` too, and so are its dependencies.

mod agreed;
mod conversations;
mod datagrams;
#[path = "../../tests/common/dice.rs"]
mod dice;
mod framed;
mod frames;
mod headers;
mod payloads;
mod plan;
#[cfg(feature = "secure")]
mod sealed;
#[cfg(feature = "secure")]
mod secrets;
mod spoken;
#[cfg(feature = "secure")]
mod tampered;
#[cfg(test)]
mod tests;
mod values;

pub use conversations::{asked, asking};
pub use datagrams::datagrams;
pub use framed::framed;
pub use frames::frames;
pub use headers::headers;
#[cfg(feature = "pickle")]
pub use payloads::pickle;
pub use payloads::{json, raw};
#[cfg(feature = "secure")]
pub use sealed::{handshake, passphrase, records};
#[cfg(feature = "secure")]
pub use secrets::secrets;
pub use spoken::spoken;
#[cfg(feature = "secure")]
pub use tampered::tampered;

/// Text for logs and terminals is bounded, and holds nothing that a remote could steer them with.
fn is_clean(text: &impl std::fmt::Display) {
    let text = text.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(text.len() < 2_000, "{} bytes: {text}", text.len());
}
