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

use std::collections::VecDeque;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyModifiers};
use crossterm::execute;
use crossterm::terminal::{self, EnterAlternateScreen, LeaveAlternateScreen};
use lanpeer::crossbeam_channel::{Select, bounded, never, tick};
use lanpeer::{Connection, Peer, PeerBuilder, Raw, Receiver, Target, TryRecvError};
use serde::{Deserialize, Serialize};

const USAGE: &str = "usage: telemetry collect [--bind IP] [--port N]
       telemetry sense [--name NAME] [--count N] [--every MS] [--bind IP] [--port N]";
/// By this, sensors find their collector.
const SERVICE: &str = "telemetry";
/// So many readings of each sensor are drawn.
const HISTORY: usize = 32;

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
            let sensor = |number| sense(&builder, &ip, format!("{name}-{number}"), number, every);
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
fn sense(
    builder: &PeerBuilder,
    ip: &str,
    name: String,
    number: u32,
    every: Duration,
) -> Result<()> {
    let peer = builder.clone().name(&name).invisible(true).bind((ip, 0))?;
    let (quantity, middle, swing) = match number % 3 {
        0 => (Quantity::Pressure, 1013.0, 12.0),
        1 => (Quantity::Temperature, 21.0, 4.0),
        _ => (Quantity::Humidity, 55.0, 20.0),
    };
    let start = Instant::now();
    for conn in peer.keep_connected::<Raw<Reading>>(Target::service(SERVICE)) {
        println!("{name} sends to {}", conn.peer_addr());
        let (name, mut value) = (name.clone(), middle);
        // A thread for each collector.
        thread::spawn(move || {
            while conn.send_latest(&Reading { quantity, value }).is_ok() {
                thread::sleep(every);
                let angle = start.elapsed().as_secs_f64() * (0.5 + 0.1 * f64::from(number));
                value = middle + swing * angle.sin();
            }
            if let Some(reason) = conn.close_reason() {
                println!("{name}: {reason}");
            }
        });
    }
    Ok(())
}

/// Takes what every sensor sends, on one thread, and shows it.
fn collect(builder: PeerBuilder, ip: &str) -> Result<()> {
    let peer = builder.service(SERVICE).bind((ip, 0))?;
    let offers = peer.offers();
    let mut screen = Screen::new()?;
    let (keys, draw) = (screen.keys(), tick(screen.pause()));
    let mut sensors: Vec<Sensor> = Vec::new();
    screen.say(format!("collecting at {}", peer.addrs()[0]))?;
    loop {
        // The connections come and go, so this is made anew each time. For a fixed set of channels
        // there is the macro `select!`.
        let mut select = Select::new();
        let (offer, key, frame) = (select.recv(&offers), select.recv(&keys), select.recv(&draw));
        for sensor in &sensors {
            select.recv(sensor.conn.receiver());
        }
        let first = frame + 1;
        match select.ready() {
            ready if ready == offer => {
                // An offer that was withdrawn, or is for something else, is none.
                if let Ok(Ok(conn)) = offers.try_recv().map(|offer| offer.accept()) {
                    sensors.push(Sensor::new(conn));
                }
            }
            ready if ready == key => return Ok(()),
            ready if ready == frame => {
                draw.try_recv()?;
                screen.draw(&mut sensors)?;
            }
            ready => {
                let sensor = &mut sensors[ready - first];
                // What has gathered, but not for ever: others wait too.
                for _ in 0..100 {
                    match sensor.conn.try_recv() {
                        Ok(reading) => sensor.take(reading),
                        Err(TryRecvError::Empty) => break,
                        Err(TryRecvError::Disconnected) => {
                            let gone = sensors.swap_remove(ready - first);
                            if let Some(reason) = gone.conn.close_reason() {
                                screen.say(format!("{} is gone: {reason}", gone.name))?;
                            }
                            break;
                        }
                    }
                }
            }
        }
    }
}

/// A connection, and what came over it.
struct Sensor {
    conn: Connection<Raw<Reading>>,
    name: String,
    quantity: Quantity,
    values: VecDeque<f64>,
    since: Instant,
}

impl Sensor {
    fn new(conn: Connection<Raw<Reading>>) -> Sensor {
        Sensor {
            // What comes from others must not steer this terminal: a name has no control characters.
            name: conn.peer_name().unwrap_or("?").to_owned(),
            conn,
            quantity: Quantity::Temperature,
            values: VecDeque::new(),
            since: Instant::now(),
        }
    }

    fn take(&mut self, reading: Reading) {
        self.quantity = reading.quantity;
        if reading.value.is_finite() {
            self.values.truncate(HISTORY - 1);
            self.values.push_front(reading.value);
        }
    }

    /// One line: the newest value, how many come, and the course of the last ones.
    fn row(&self) -> String {
        let unit = match self.quantity {
            Quantity::Temperature => "°C",
            Quantity::Humidity => "%",
            Quantity::Pressure => "hPa",
        };
        let low = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self
            .values
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        let mut row = format!(
            "{:<20} {:>8.1} {unit:<3} {:>5.1}/s  ",
            self.name,
            self.values.front().unwrap_or(&f64::NAN),
            self.conn.stats().messages_received as f64 / self.since.elapsed().as_secs_f64(),
        );
        for value in self.values.iter().rev() {
            let height = (value - low) / (high - low).max(f64::EPSILON) * 7.0;
            row.push(['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][(height as usize).min(7)]);
        }
        row
    }
}

/// A table in a terminal, lines elsewhere. The terminal is left as it was.
struct Screen {
    terminal: bool,
    note: String,
}

impl Screen {
    fn new() -> io::Result<Screen> {
        let terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
        let screen = Screen {
            terminal,
            note: String::new(),
        };
        if terminal {
            terminal::enable_raw_mode()?; // keys come at once, Ctrl-C as one of them
            execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        }
        Ok(screen)
    }

    fn pause(&self) -> Duration {
        Duration::from_millis(if self.terminal { 100 } else { 1000 })
    }

    /// Something comes when the user wants to end.
    fn keys(&self) -> Receiver<()> {
        if !self.terminal {
            return never();
        }
        let (sender, receiver) = bounded(1);
        thread::spawn(move || {
            while let Ok(event) = event::read() {
                let Event::Key(key) = event else { continue };
                let control = key.modifiers == KeyModifiers::CONTROL;
                if key.code == KeyCode::Char('q') || key.code == KeyCode::Char('c') && control {
                    let _ = sender.send(());
                }
            }
        });
        receiver
    }

    fn say(&mut self, note: String) -> io::Result<()> {
        self.note = note;
        if !self.terminal {
            writeln!(io::stdout(), "{}", self.note)?;
        }
        Ok(())
    }

    fn draw(&self, sensors: &mut [Sensor]) -> io::Result<()> {
        sensors.sort_by(|a, b| a.name.cmp(&b.name));
        if !self.terminal {
            return sensors
                .iter()
                .try_for_each(|sensor| writeln!(io::stdout(), "{}", sensor.row()));
        }
        let (columns, rows) = terminal::size()?;
        let mut text = format!("{} sensors, q ends\n\n", sensors.len());
        for sensor in sensors.iter().take(usize::from(rows.saturating_sub(4))) {
            let _ = writeln!(text, "{}", sensor.row());
        }
        let _ = write!(text, "\n{}", self.note);
        // In one piece, and each line to its end, so that nothing flickers.
        let mut page = String::new();
        for (row, line) in text.lines().enumerate() {
            let line: String = line.chars().take(usize::from(columns)).collect();
            let _ = write!(page, "{}{line}\x1b[K", MoveTo(0, row as u16));
        }
        write!(io::stdout(), "{page}\x1b[J")?;
        io::stdout().flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.terminal {
            let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
            let _ = terminal::disable_raw_mode();
        }
    }
}
