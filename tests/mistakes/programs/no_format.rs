//! Does not say what the connection carries.
//~ error: type annotations needed

use lanpeer::Peer;

fn main() -> lanpeer::Result<()> {
    let peer = Peer::bind("127.0.0.1:0")?;
    let conn = peer.connect("192.168.0.3:62626")?;
    conn.close()?;
    Ok(())
}
