//! Sensors that measure a thousand times a second, and a live table of them. Kill them, stop them, pull
//! their cables: each comes back by itself, on one connection.
//!
//!     cargo run --release --example lab -- 30 [IP PORT]      # sensors; or 3 on each of ten machines
//!     cargo run --release --example lab -- show [IP PORT]    # the table
use lanpeer::{Connection, Peer, Raw, Target};
use std::{collections::BTreeMap, env, error::Error, sync::Mutex, thread, time::Duration};
/// Of a sensor: connections so far, those that are open, readings.
type Row = (u32, u32, u64);
static TABLE: Mutex<BTreeMap<String, Row>> = Mutex::new(BTreeMap::new());

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let arg = |n: usize, default| args.get(n).map_or(default, String::as_str);
    let (what, ip) = (arg(0, "show"), arg(1, "0.0.0.0"));
    let builder = Peer::builder().discovery_port(arg(2, "1024").parse()?);
    if what == "show" {
        thread::spawn(draw);
        let peer = builder.bind((ip, 0))?;
        for conn in peer.keep_connected(Target::service("lab")) {
            thread::spawn(|| read(conn));
        }
        return Ok(());
    }
    for number in 1..=what.parse()? {
        let builder = builder.clone().name(format!("sensor-{number}"));
        let sensor = builder.service("lab").bind((ip, 0))?;
        thread::spawn(move || {
            while let Ok(conn) = sensor.accept::<Raw<u64>>() {
                let pause = |_| thread::sleep(Duration::from_millis(1));
                let send = move |reading: &u64| conn.send(reading).is_ok();
                thread::spawn(move || (0..).take_while(send).for_each(pause));
            }
        });
    }
    loop {
        thread::park();
    }
}

fn read(conn: Connection<Raw<u64>>) {
    let name = conn.peer_name().unwrap_or("?").to_owned();
    let note = |change: fn(&mut Row)| {
        let mut table = TABLE.lock().unwrap();
        change(table.entry(name.clone()).or_default());
    };
    note(|row| (row.0, row.1) = (row.0 + 1, row.1 + 1));
    conn.iter().for_each(|_| note(|row| row.2 += 1));
    note(|row| row.1 -= 1);
}

fn draw() {
    loop {
        println!("\x1b[H\x1b[Jsensor       times open readings");
        for (name, row) in &*TABLE.lock().unwrap() {
            println!("{name:<12}{:>6}{:>5}{:>9}", row.0, row.1, row.2);
        }
        thread::sleep(Duration::from_millis(500));
    }
}
