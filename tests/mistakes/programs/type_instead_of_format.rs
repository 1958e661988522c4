//! Names the type of the messages where a format belongs.
//~ error: `Reading` is not a format: a connection carries `Json<T>`, `Raw<T>`, `Bytes` or `Dynamic`
//~ label: did you mean `Json<Reading>`?

use lanpeer::Peer;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Reading {
    celsius: f64,
}

fn main() -> lanpeer::Result<()> {
    let peer = Peer::bind("127.0.0.1:0")?;
    let _conn = peer.connect::<Reading>("192.168.0.3:62626")?;
    Ok(())
}
