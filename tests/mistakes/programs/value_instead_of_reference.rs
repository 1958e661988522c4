//! Gives the message away where a reference to it will do.
//~ error
//~ help: borrowing

use lanpeer::{Json, Peer};

fn main() -> lanpeer::Result<()> {
    let peer = Peer::bind("127.0.0.1:0")?;
    let conn = peer.connect::<Json<String>>("192.168.0.3:62626")?;
    conn.send(String::from("hello"))?;
    Ok(())
}
