//! A handler for another type than the format's.
//~ error: type mismatch in closure arguments
//~ note: expected closure signature `for<'a> fn(&'a Connection<_>, String) -> _`

use lanpeer::{Connection, Json, Peer};

fn main() -> lanpeer::Result<()> {
    let peer = Peer::bind("127.0.0.1:0")?;
    for offer in peer.incoming() {
        let _ = offer.accept_with::<Json<String>>(|_: &Connection<Json<String>>, n: u32| println!("{n}"))?;
    }
    Ok(())
}
