//! Asks a Python program, a thermometer made with peerpy, for three readings.
//! The Python program is in docs/interop.md. Start it first: it prints where it
//! listens.
//!
//!     cargo run --example ask_peerpy -- 127.0.0.1:PORT

use lanpeer::{Json, Peer};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::time::Duration;

/// In Python a dict, `{"sensor": 7, "celsius": 21.5}`. A question has no celsius.
#[derive(Serialize, Deserialize)]
struct Reading {
    sensor: u32,
    celsius: Option<f64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init(); // RUST_LOG=lanpeer=debug shows what lanpeer does
    let Some(addr) = std::env::args().nth(1) else {
        println!("usage: ask_peerpy ADDRESS");
        return Ok(());
    };
    let peer = Peer::bind("0.0.0.0:0")?;
    let conn = peer.connect::<Json<Reading>>(addr)?;
    for sensor in 1..=3 {
        let celsius = None;
        conn.send(&Reading { sensor, celsius })?;
        let reading = conn.recv_timeout(Duration::from_secs(5))?;
        println!("sensor {}: {:?}", reading.sensor, reading.celsius);
    }
    conn.close()?; // the Python side's `close` handler is called
    Ok(())
}
