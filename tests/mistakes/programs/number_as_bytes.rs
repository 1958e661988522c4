//! Sends a number as bytes.
//~ error: `u32` cannot be sent on a connection of `Bytes`
//~ label: cannot be encoded as a message of `Bytes`
//~ note: `Bytes` sends everything that is `AsRef<[u8]>`, `Dynamic` sends a `Message`

use lanpeer::{Bytes, Peer};

fn main() -> lanpeer::Result<()> {
    let peer = Peer::bind("127.0.0.1:0")?;
    let conn = peer.connect::<Bytes>("192.168.0.3:62626")?;
    conn.send(&5_u32)?;
    Ok(())
}
