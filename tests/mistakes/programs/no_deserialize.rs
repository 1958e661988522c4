//! Connects with a struct that cannot be deserialized.
//~ error: `Reading: serde::Deserialize<'de>` is not satisfied
//~ note: for local types consider adding `#[derive(serde::Deserialize)]`

use lanpeer::{Json, Peer};
use serde::Serialize;

#[derive(Serialize)]
struct Reading {
    celsius: f64,
}

fn main() -> lanpeer::Result<()> {
    let peer = Peer::bind("127.0.0.1:0")?;
    let _conn = peer.connect::<Json<Reading>>("192.168.0.3:62626")?;
    Ok(())
}
