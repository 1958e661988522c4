//! Where lines are typed and printed: in a terminal, or without one.

use std::io::{self, IsTerminal, Write};
use std::thread;

use crossterm::cursor::MoveToColumn;
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::style::Print;
use crossterm::terminal::{self, Clear, ClearType};
use crossterm::{execute, queue};
use lanpeer::Receiver;
use lanpeer::crossbeam_channel::bounded;

/// What is printed, and below it the line that is being typed. Its drop leaves the terminal as it was.
pub struct Screen {
    /// Some in a terminal, where keys come one by one.
    typing: Option<String>,
}

pub enum Input {
    Key(KeyCode, KeyModifiers),
    Line(String),
}

pub enum Line {
    Unfinished,
    Whole(String),
    End,
}

impl Screen {
    pub fn new() -> io::Result<Screen> {
        let mut screen = Screen { typing: None };
        if io::stdin().is_terminal() && io::stdout().is_terminal() {
            terminal::enable_raw_mode()?; // keys one by one, shown by nobody but us
            screen.typing = Some(String::new());
            screen.show_typing()?;
        }
        Ok(screen)
    }

    /// What the user types; ends with the input.
    pub fn input(&self) -> Receiver<Input> {
        let (sender, receiver) = bounded(100);
        let keys = self.typing.is_some();
        thread::spawn(move || {
            if !keys {
                let lines = io::stdin().lines().map_while(Result::ok);
                let _ = lines
                    .map(Input::Line)
                    .try_for_each(|line| sender.send(line));
            }
            while let (true, Ok(event)) = (keys, event::read()) {
                if let Event::Key(key) = event {
                    if key.kind != KeyEventKind::Release {
                        let _ = sender.send(Input::Key(key.code, key.modifiers));
                    }
                }
            }
        });
        receiver
    }

    pub fn line_of(&mut self, input: Option<Input>) -> io::Result<Line> {
        let (code, modifiers) = match input {
            Some(Input::Key(code, modifiers)) => (code, modifiers),
            Some(Input::Line(line)) => return Ok(Line::Whole(line)),
            None => return Ok(Line::End),
        };
        let typing = self.typing.get_or_insert_default();
        match code {
            KeyCode::Char('c') if modifiers == KeyModifiers::CONTROL => return Ok(Line::End),
            KeyCode::Char('d') if modifiers == KeyModifiers::CONTROL => return Ok(Line::End),
            KeyCode::Char('u') if modifiers == KeyModifiers::CONTROL => typing.clear(),
            KeyCode::Char(c) if (modifiers - KeyModifiers::SHIFT).is_empty() => typing.push(c),
            KeyCode::Backspace => drop(typing.pop()),
            KeyCode::Enter => {
                let line = std::mem::take(typing);
                self.print(&format!("> {line}"))?;
                return Ok(Line::Whole(line));
            }
            _ => {}
        }
        self.show_typing()?;
        Ok(Line::Unfinished)
    }

    /// Prints a line above the one that is being typed.
    pub fn print(&self, line: &str) -> io::Result<()> {
        let mut out = io::stdout();
        if self.typing.is_none() {
            return writeln!(out, "{line}");
        }
        queue!(
            out,
            MoveToColumn(0),
            Clear(ClearType::FromCursorDown),
            Print(line),
            Print("\r\n")
        )?;
        self.show_typing()
    }

    /// As much of it as fits into one row: its end.
    fn show_typing(&self) -> io::Result<()> {
        let typing = self.typing.as_deref().unwrap_or_default();
        let mut room = usize::from(terminal::size()?.0).saturating_sub(3);
        let fits = typing.char_indices().rev().take_while(|(_, c)| {
            let columns = if *c < '\u{1100}' { 1 } else { 2 }; // beyond are the wide ones
            room.checked_sub(columns).map(|left| room = left).is_some()
        });
        let begin = fits.last().map_or(typing.len(), |(at, _)| at);
        execute!(
            io::stdout(),
            MoveToColumn(0),
            Clear(ClearType::FromCursorDown),
            Print("> "),
            Print(&typing[begin..])
        )
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.typing.is_some() {
            let _ = execute!(
                io::stdout(),
                MoveToColumn(0),
                Clear(ClearType::FromCursorDown)
            );
            let _ = terminal::disable_raw_mode();
        }
    }
}
