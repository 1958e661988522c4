//! From a socket to an agreement.
//!
//! Each side is a machine of bytes, without a socket, a thread or a clock: [`client`] and
//! [`server`]. A machine is told what has happened, as an [`Input`], and says what is to be done
//! next, as a [`Step`]. [`io`] does it with a socket and a deadline. What becomes of the outcome,
//! an offer or a connection, is decided in `endpoint`.

pub(crate) mod client;
mod header;
pub(crate) mod io;
#[cfg(test)]
mod play;
#[cfg(all(test, feature = "secure"))]
mod secure_tests;
pub(crate) mod server;

use crate::format::Dialect;
use crate::proto::header::{HEADER_LEN, Version};
use crate::secure::record::{PREFIX, TAG};

/// Why a server denies a client that means another peer.
const NOT_ME: &str = "not-me";

/// Why a server denies a client that shows no key, or one that is not allowed.
const KEY: &str = "key";

/// A header as a record.
const RECORD: usize = PREFIX + HEADER_LEN + TAG;

/// What both sides speak. The other side's `header` has said `theirs`.
fn spoken(ours: Version, theirs: Version, header: &[u8]) -> Version {
    let most = match header.len() {
        HEADER_LEN => Version::Frames,
        // One that is not padded is typed by hand, and no frames follow it.
        _ => Version::Headers,
    };
    ours.min(theirs).min(most)
}

/// How two peers speak that have agreed on this version.
fn dialect(version: Version) -> Dialect {
    match version {
        Version::Peerpy => Dialect::Peerpy,
        Version::Headers => Dialect::Headers,
        Version::Frames => Dialect::Frames,
    }
}

/// One side of a handshake.
pub(crate) trait Machine {
    /// What the handshake has come to.
    type Outcome;

    /// Takes what has happened since the last step. After [`Step::Over`] there is nothing to take.
    fn take(&mut self, input: Input<'_>) -> Step<Self::Outcome>;
}

/// What has happened since the last step.
#[derive(Clone, Debug)]
pub(crate) enum Input<'a> {
    /// These bytes came: no more of them than the step asked for. None at all begins a handshake.
    Bytes(&'a [u8]),
    /// No bytes came for a while, where the step asked to be told.
    Silence,
    /// All of the bytes were written.
    Written,
    /// They were not written, for this reason.
    NotWritten(String),
    /// The gate is open, or not.
    Passed(bool),
    /// No more bytes will come.
    Ended(Ended),
}

/// Why no more bytes will come.
#[derive(Clone, Debug)]
pub(crate) enum Ended {
    /// The handshake has taken too long.
    Deadline,
    /// The other side has hung up.
    Closed,
    /// The system says that the connection is lost.
    Lost(String),
}

/// Where a handshake is held up that may be a guess at the secret: of one address only so many are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Before anything is computed. Nobody waits here.
    Challenge,
    /// Before a proof is looked at. Behind this one it counts as wrong, until it has passed the next.
    Proof,
    /// The proof was right. This is always open.
    Proved,
}

/// What is to be done next.
pub(crate) enum Step<T> {
    /// Read at most `most` bytes. Bytes behind them belong to somebody else. With `silence`, say so
    /// when none come for a while.
    Read { most: usize, silence: bool },
    /// Write these bytes, all of them.
    Write(Vec<u8>),
    /// Say whether the handshake may go on here, if need be after a while.
    Pass(Gate),
    /// Nothing: this is the outcome.
    Over(T),
}
