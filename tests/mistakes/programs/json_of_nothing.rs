//! Does not say what the JSON is.
//~ error: missing generics for struct `Json`
//~ note: with at least 1 generic parameter: `Out`

use lanpeer::{Json, Peer};

fn main() -> lanpeer::Result<()> {
    let peer = Peer::bind("127.0.0.1:0")?;
    let _conn = peer.connect::<Json>("192.168.0.3:62626")?;
    Ok(())
}
