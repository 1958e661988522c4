//! A message that borrows: there is nothing that a received one could borrow from.
//~ error: Deserialize` is not general enough

use lanpeer::{Json, Peer};

fn main() -> lanpeer::Result<()> {
    let peer = Peer::bind("127.0.0.1:0")?;
    let _conn = peer.connect::<Json<&str>>("192.168.0.3:62626")?;
    Ok(())
}
