//! A bar in a terminal, and lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

/// A bar in a terminal, a line each second elsewhere; and the brake of `--limit`.
pub struct Progress {
    pub name: String,
    pub size: u64,
    pub done: u64,
    limit: f64,
    /// Since when, from where on.
    begin: (Instant, u64),
    pub moved: Instant,
    shown: Instant,
    terminal: bool,
}

impl Progress {
    pub fn new(name: String, size: u64, limit: f64) -> Progress {
        let now = Instant::now();
        Progress {
            name,
            size,
            done: 0,
            limit: limit * 1e6,
            begin: (now, 0),
            moved: now,
            shown: now,
            terminal: io::stdout().is_terminal(),
        }
    }

    pub fn begin(&mut self, at: u64) {
        self.done = at;
        self.begin = (Instant::now(), at);
        if at > 0 {
            self.say(&format!("goes on at byte {at}"));
        }
    }

    pub fn add(&mut self, len: usize) {
        self.done += len as u64;
        self.moved = Instant::now();
        let ahead =
            (self.done - self.begin.1) as f64 / self.limit - self.begin.0.elapsed().as_secs_f64();
        if ahead > 0.0 {
            thread::sleep(Duration::from_secs_f64(ahead));
        }
        let pause = Duration::from_millis(if self.terminal { 50 } else { 1000 });
        if self.shown.elapsed() >= pause {
            self.shown = Instant::now();
            self.show();
        }
    }

    fn show(&self) {
        let part = match self.size {
            0 => 1.0,
            size => self.done as f64 / size as f64,
        };
        let rate = (self.done - self.begin.1) as f64 / self.begin.0.elapsed().as_secs_f64();
        let (percent, rate) = ((100.0 * part) as u32, rate / 1e6);
        if self.terminal {
            let bar = "#".repeat((30.0 * part) as usize);
            print!(
                "\r{} [{bar:-<30}] {percent} %, {rate:.1} MB/s\x1b[K",
                self.name
            );
            let _ = io::stdout().flush();
        } else {
            println!("{}: {percent} %, {rate:.1} MB/s", self.name);
        }
    }

    /// A line, below the bar as it is now.
    pub fn say(&self, what: &str) {
        if self.terminal {
            self.show();
            println!();
        }
        println!("{}: {what}", self.name);
    }
}
