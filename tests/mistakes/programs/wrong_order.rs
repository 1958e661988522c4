//! Names what it receives first, and what it sends second.
//~ error: this side sends `Reading`, not `Command`
//~ note: `Json<Out, In>` and `Raw<Out, In>` name first what this side sends, then what it receives; the other side names them the other way round

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
    conn.send(&Command::Measure)?;
    Ok(())
}
