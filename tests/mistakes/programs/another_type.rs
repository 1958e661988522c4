//! Sends another type than the connection's.
//~ error: this side sends `Reading`, not `f64`
//~ label: not a `Reading`, nor what one can be borrowed as

use lanpeer::{Json, Peer};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Reading {
    celsius: f64,
}

fn main() -> lanpeer::Result<()> {
    let peer = Peer::bind("127.0.0.1:0")?;
    let conn = peer.connect::<Json<Reading>>("192.168.0.3:62626")?;
    conn.send(&21.5_f64)?;
    Ok(())
}
