//! Ignores what calls return: a peer that ends at once, a connection that closes at once, and an
//! error.
//~ warning: unused `Peer` that must be used
//~ note: a peer stops when its last handle is dropped, and ends its connections: keep it as long as they are used
//~ warning: unused `Connection` that must be used
//~ note: a connection without a handler closes when its last handle is dropped: keep it; if it has a handler, `let _ =` says that it need not be kept
//~ warning: unused `Result` that must be used

use lanpeer::{Json, Peer};

fn main() -> lanpeer::Result<()> {
    Peer::bind("127.0.0.1:0")?;
    let peer = Peer::bind("127.0.0.1:0")?;
    peer.connect::<Json<String>>("192.168.0.3:62626")?;
    let conn = peer.connect::<Json<String>>("192.168.0.3:62626")?;
    conn.send("hello");
    Ok(())
}
