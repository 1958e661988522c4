//! Sends a text on a connection of messages that say what they are.
//~ error: `str` cannot be sent on a connection of `Dynamic`
//~ note: `Bytes` sends everything that is `AsRef<[u8]>`, `Dynamic` sends a `Message`

use lanpeer::{Dynamic, Peer};

fn main() -> lanpeer::Result<()> {
    let peer = Peer::bind("127.0.0.1:0")?;
    let conn = peer.connect::<Dynamic>("192.168.0.3:62626")?;
    conn.send("hello")?;
    Ok(())
}
