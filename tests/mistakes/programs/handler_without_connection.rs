//! A handler that takes the message alone.
//~ error: closure is expected to take 2 arguments, but it takes 1 argument

use lanpeer::{Json, Peer};

fn main() -> lanpeer::Result<()> {
    let peer = Peer::bind("127.0.0.1:0")?;
    for offer in peer.incoming() {
        let _ = offer.accept_with::<Json<String>>(|text| println!("{text}"))?;
    }
    Ok(())
}
