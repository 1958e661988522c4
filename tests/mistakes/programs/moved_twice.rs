//! Moves one handle into two threads.
//~ error: use of moved value: `conn`
//~ help: cloning

use std::thread;

use lanpeer::{Json, Peer};

fn main() -> lanpeer::Result<()> {
    let peer = Peer::bind("127.0.0.1:0")?;
    let conn = peer.connect::<Json<String>>("192.168.0.3:62626")?;
    thread::spawn(move || for text in &conn { println!("{text}") });
    thread::spawn(move || conn.send("hello"));
    Ok(())
}
