//! No mistake: what the others have in common compiles.

use lanpeer::{Connection, Json, Peer};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum Command {
    Measure,
}

#[derive(Serialize, Deserialize)]
struct Reading {
    celsius: f64,
}

fn main() -> lanpeer::Result<()> {
    let peer = Peer::bind("127.0.0.1:0")?;
    let conn: Connection<Json<Command, Reading>> = peer.connect("192.168.0.3:62626")?;
    conn.send(&Command::Measure)?;
    let reading: Reading = conn.recv()?;
    println!("{}", reading.celsius);
    conn.close()?;
    Ok(())
}
