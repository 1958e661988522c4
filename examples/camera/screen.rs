//! Pictures in a terminal, lines elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::thread;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyModifiers};
use crossterm::execute;
use crossterm::terminal::{self, EnterAlternateScreen, LeaveAlternateScreen};
use lanpeer::Receiver;
use lanpeer::crossbeam_channel::{bounded, never};

use crate::picture::{HEIGHT, WIDTH, pixel};

/// Its drop leaves the terminal as it was.
pub struct Screen {
    terminal: bool,
}

impl Screen {
    pub fn new() -> io::Result<Screen> {
        let terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
        let screen = Screen { terminal };
        if terminal {
            terminal::enable_raw_mode()?; // keys come at once, Ctrl-C as one of them
            execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        }
        Ok(screen)
    }

    /// `s`, and `q` for what ends the program.
    pub fn keys(&self) -> Receiver<char> {
        if !self.terminal {
            return never();
        }
        let (sender, receiver) = bounded(1);
        thread::spawn(move || {
            while let Ok(event) = event::read() {
                let Event::Key(key) = event else { continue };
                let control = key.modifiers == KeyModifiers::CONTROL;
                let _ = match key.code {
                    KeyCode::Char(c @ ('s' | 'q')) => sender.send(c),
                    KeyCode::Char('c') if control => sender.send('q'),
                    _ => continue,
                };
            }
        });
        receiver
    }

    /// Below the picture.
    pub fn say(&self, line: String) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.terminal {
            return writeln!(out, "{line}");
        }
        let (columns, rows) = terminal::size()?;
        let line: String = line.chars().take(usize::from(columns)).collect();
        write!(out, "{}{line}\x1b[K", MoveTo(0, rows.saturating_sub(1)))?;
        out.flush()
    }

    /// Two pixels in each place: the upper half of a block is one, what is behind it the other.
    pub fn draw(&self, frame: &[u8]) -> io::Result<()> {
        if !self.terminal {
            return Ok(());
        }
        let (columns, rows) = terminal::size()?;
        let (columns, rows) = (
            usize::from(columns),
            2 * usize::from(rows.saturating_sub(1)),
        );
        // As wide or as high as the terminal, whichever is reached first.
        let width = columns.min(rows * WIDTH / HEIGHT);
        let height = width * HEIGHT / WIDTH / 2 * 2;
        let pixel = |x, y| pixel(frame, x * WIDTH / width, y * HEIGHT / height);
        let mut text = String::new();
        for y in (0..height).step_by(2) {
            let _ = write!(text, "{}", MoveTo(0, y as u16 / 2));
            let mut last = None;
            for x in 0..width {
                let both = (pixel(x, y), pixel(x, y + 1));
                if last.replace(both) != Some(both) {
                    let ([r, g, b], [r2, g2, b2]) = both;
                    let _ = write!(text, "\x1b[38;2;{r};{g};{b};48;2;{r2};{g2};{b2}m");
                }
                text.push('▀');
            }
            text.push_str("\x1b[0m");
        }
        let mut out = io::stdout().lock(); // in one piece, so that nothing flickers
        out.write_all(text.as_bytes())?;
        out.flush()
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
