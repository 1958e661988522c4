//! The feature `pickle`: `raw` towards peers that are not lanpeers. Python's own pickle and
//! pickletools are the reference.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/dice.rs"]
mod dice;

mod bombs;
mod mutations;
mod plain;
mod python;
mod settings;
mod values;

/// A HELLO's keys, of a peer that is not a lanpeer.
const PEERPY: &str = "data_type=raw&strict=1";
