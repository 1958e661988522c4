//! Sends a struct that cannot be serialized.
//~ error: `Reading` cannot be sent on a connection of `Json<Reading>`
//~ note: `Json<T>` and `Raw<T>` send a `T` that has `#[derive(serde::Serialize)]`
//~ help: the trait `Serialize` is not implemented for `Reading`

use lanpeer::{Json, Peer};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reading {
    celsius: f64,
}

fn main() -> lanpeer::Result<()> {
    let peer = Peer::bind("127.0.0.1:0")?;
    let conn = peer.connect::<Json<Reading>>("192.168.0.3:62626")?;
    conn.send(&Reading { celsius: 21.5 })?;
    Ok(())
}
