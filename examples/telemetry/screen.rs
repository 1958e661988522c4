//! A table in a terminal, lines elsewhere.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyModifiers};
use crossterm::execute;
use crossterm::terminal::{self, EnterAlternateScreen, LeaveAlternateScreen};
use lanpeer::Receiver;
use lanpeer::crossbeam_channel::{bounded, never};

use crate::{Quantity, Reading};

/// So many readings of each sensor are drawn.
const HISTORY: usize = 32;

/// Its drop leaves the terminal as it was.
pub struct Screen {
    terminal: bool,
    note: String,
}

impl Screen {
    pub fn new() -> io::Result<Screen> {
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

    pub fn pause(&self) -> Duration {
        Duration::from_millis(if self.terminal { 100 } else { 1000 })
    }

    /// Something comes when the user wants to end.
    pub fn keys(&self) -> Receiver<()> {
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

    pub fn say(&mut self, note: String) -> io::Result<()> {
        self.note = note;
        if !self.terminal {
            writeln!(io::stdout(), "{}", self.note)?;
        }
        Ok(())
    }

    pub fn draw<'a>(&self, sensors: impl Iterator<Item = &'a Sensor>) -> io::Result<()> {
        let mut sensors: Vec<&Sensor> = sensors.collect();
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

/// What a sensor has measured.
pub struct Sensor {
    pub name: String,
    quantity: Quantity,
    /// The newest first.
    values: VecDeque<f64>,
    /// So many have come since then.
    count: u32,
    since: Instant,
}

impl Sensor {
    pub fn new(name: Option<&str>) -> Sensor {
        Sensor {
            // What comes from others must not steer this terminal: a name has no control characters.
            name: name.unwrap_or("?").to_owned(),
            quantity: Quantity::Temperature,
            values: VecDeque::new(),
            count: 0,
            since: Instant::now(),
        }
    }

    pub fn take(&mut self, reading: Reading) {
        self.count += 1;
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
        let values = || self.values.iter().copied();
        let low = values().fold(f64::INFINITY, f64::min);
        let high = values().fold(f64::NEG_INFINITY, f64::max);
        let mut row = format!(
            "{:<20} {:>8.1} {unit:<3} {:>5.1}/s  ",
            self.name,
            self.values.front().unwrap_or(&f64::NAN),
            f64::from(self.count) / self.since.elapsed().as_secs_f64(),
        );
        for value in values().rev() {
            let height = (value - low) / (high - low).max(f64::EPSILON) * 7.0;
            row.push(['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][(height as usize).min(7)]);
        }
        row
    }
}
