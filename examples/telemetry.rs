//! Many sensors, and a collector that shows what all of them measure.
//!
//!     cargo run --example telemetry -- collect             # in one terminal
//!     cargo run --example telemetry -- sense --count 8     # in another, or on other machines
//!
//! Sensors and collector may start and end in any order. In a terminal the collector draws a table
//! with sparklines until `q` or Ctrl-C is pressed; elsewhere it prints a line for each sensor, each
//! second. `--every MS` is the time between two readings, `--name NAME` what the sensors of a
//! process are called; `--bind IP` and `--port N` say on which network and discovery port they find
//! each other.

#[path = "telemetry/screen.rs"]
mod screen;

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use lanpeer::crossbeam_channel::{select, tick, unbounded};
use lanpeer::{Connection, Peer, PeerBuilder, Raw, Target};
use serde::{Deserialize, Serialize};

use screen::{Screen, Sensor};

const USAGE: &str = "usage: telemetry collect [--bind IP] [--port N]
       telemetry sense [--name NAME] [--count N] [--every MS] [--bind IP] [--port N]";
/// By this, sensors find their collector.
const SERVICE: &str = "telemetry";

/// The message: any struct that serde can write and read.
#[derive(Serialize, Deserialize)]
struct Reading {
    quantity: Quantity,
    value: f64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Quantity {
    Temperature,
    Humidity,
    Pressure,
}

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    env_logger::init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let (mut ip, mut name, mut words) = ("0.0.0.0".to_owned(), "sensor".to_owned(), Vec::new());
    let (mut count, mut every) = (1, Duration::from_millis(200));
    let mut builder = Peer::builder();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(USAGE);
        match &*arg {
            "--bind" => ip = value()?,
            "--port" => builder = builder.discovery_port(value()?.parse()?),
            "--name" => name = value()?,
            "--count" => count = value()?.parse()?,
            "--every" => every = Duration::from_millis(value()?.parse()?),
            _ => words.push(arg),
        }
    }
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["collect"] => collect(builder, &ip),
        ["sense"] => thread::scope(|scope| {
            let sensor = |number| sense(&builder, &ip, &format!("{name}-{number}"), number, every);
            let sensors: Vec<_> = (1..=count)
                .map(|number| scope.spawn(move || sensor(number)))
                .collect();
            sensors
                .into_iter()
                .try_for_each(|sensor| sensor.join().expect("a sensor panicked"))
        }),
        _ => Err(USAGE.into()),
    }
}

/// A sensor, for ever: sends its readings to each collector that is there. For one that is too slow, each
/// reading replaces the one before it.
fn sense(builder: &PeerBuilder, ip: &str, name: &str, number: u32, every: Duration) -> Result<()> {
    let peer = builder.clone().name(name).invisible(true).bind((ip, 0))?;
    let (quantity, middle, swing) = match number % 3 {
        0 => (Quantity::Pressure, 1013.0, 12.0),
        1 => (Quantity::Temperature, 21.0, 4.0),
        _ => (Quantity::Humidity, 55.0, 20.0),
    };
    let kept = peer.keep_connected::<Raw<Reading>>(Target::service(SERVICE));
    let mut collectors: Vec<Connection<Raw<Reading>>> = Vec::new();
    let start = Instant::now();
    for _ in tick(every) {
        for conn in kept.receiver().try_iter() {
            println!("{name} sends to {}", conn.peer_addr());
            let name = name.to_owned();
            conn.on_end(move |reason| println!("{name}: {reason}"));
            collectors.push(conn);
        }
        let angle = start.elapsed().as_secs_f64() * (0.5 + 0.1 * f64::from(number));
        let value = middle + swing * angle.sin();
        collectors.retain(|conn| conn.send_latest(&Reading { quantity, value }).is_ok());
    }
    Ok(())
}

/// Takes what every sensor sends, and shows it.
fn collect(builder: PeerBuilder, ip: &str) -> Result<()> {
    let peer = builder.service(SERVICE).bind((ip, 0))?;
    let mut screen = Screen::new()?;
    screen.say(format!("collecting at {}", peer.addrs()[0]))?;
    let (offers, keys, draw) = (peer.offers(), screen.keys(), tick(screen.pause()));
    let sensors = Arc::new(Mutex::new(BTreeMap::<u64, Sensor>::new()));
    let (gone, farewells) = unbounded();
    loop {
        select! {
            recv(offers) -> offer => {
                let measured = Arc::clone(&sensors);
                // Called on a thread of the connection's own, for each reading.
                let accepted = offer?.accept_with(move |conn: &Connection<Raw<Reading>>, reading| {
                    let mut sensors = measured.lock().unwrap();
                    let sensor = sensors.entry(conn.id());
                    sensor.or_insert_with(|| Sensor::new(conn.peer_name())).take(reading);
                });
                // An offer that was withdrawn, or is for something else, is none.
                let Ok(conn) = accepted else { continue };
                let (sensors, gone, id) = (Arc::clone(&sensors), gone.clone(), conn.id());
                conn.on_end(move |reason| {
                    if let Some(sensor) = sensors.lock().unwrap().remove(&id) {
                        let _ = gone.send(format!("{} is gone: {reason}", sensor.name));
                    }
                });
            }
            recv(farewells) -> farewell => screen.say(farewell?)?,
            recv(draw) -> _ => screen.draw(sensors.lock().unwrap().values())?,
            recv(keys) -> _ => return Ok(()),
        }
    }
}
