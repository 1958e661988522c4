//! The same, where it receives.
//~ error
//~ label: expected `Reading`, found `Command`

use lanpeer::{Peer, Raw};
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
    let conn = peer.connect::<Raw<Reading, Command>>("192.168.0.3:62626")?;
    let _reading: Reading = conn.recv()?;
    Ok(())
}
