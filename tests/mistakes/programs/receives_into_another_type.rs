//! Receives another type than the connection's.
//~ error
//~ label: expected `f64`, found `Reading`

use lanpeer::{Json, Peer};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Reading {
    celsius: f64,
}

fn main() -> lanpeer::Result<()> {
    let peer = Peer::bind("127.0.0.1:0")?;
    let conn = peer.connect::<Json<Reading>>("192.168.0.3:62626")?;
    let _celsius: f64 = conn.recv()?;
    Ok(())
}
