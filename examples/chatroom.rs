//! A chat room without a server: everyone on the network who runs this is in it.
//!
//!     cargo run --example chatroom                                     # on each machine
//!     cargo run --example chatroom -- --name bob --bind 127.0.0.1      # several on this one
//!
//! Type a line and all others see it. `/who` lists who is here; `/quit`, Ctrl-D or Ctrl-C leaves.
//! In a terminal, the line that you are typing stays below what arrives meanwhile; without one,
//! each line of the input is said, and the end of the input leaves. `--port N` is for networks on
//! which peers use another discovery port than 1024.
//!
//! Built with `--features secure`, `--secret-file PATH`, or the text of a secret in the environment
//! variable `LANPEER_SECRET`, makes it a room for those who have the secret: what they say is
//! encrypted, but not their names and addresses on the network. The example netcat makes such files.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread;

use crossterm::cursor::MoveToColumn;
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::style::Print;
use crossterm::terminal::{self, Clear, ClearType};
use crossterm::{execute, queue};
#[cfg(feature = "secure")]
use lanpeer::Secret;
use lanpeer::crossbeam_channel::{Sender, bounded, select};
use lanpeer::{CloseReason, Connection, Json, Peer, PeerBuilder, Receiver, Target};
use serde::{Deserialize, Serialize};

const USAGE: &str = "usage: chatroom [--name NAME] [--bind IP] [--port N] [--secret-file PATH]";
const SECRET: &str = "LANPEER_SECRET";
/// By this, they find each other among all peers.
const SERVICE: &str = "chatroom";

/// What goes over the connections: `{"Say":{"text":"hello"}}`.
#[derive(Serialize, Deserialize)]
enum Word {
    Hello { name: String },
    Say { text: String },
}

/// What the threads share.
struct Room {
    peer: Peer,
    name: String,
    /// Who is here, by the number of the connection.
    members: Mutex<BTreeMap<u64, String>>,
    /// Lines for the screen. Only the main thread writes there.
    news: Sender<String>,
}

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

fn run() -> Result<(), Box<dyn Error>> {
    let (mut ip, mut name) = (
        "0.0.0.0".to_owned(),
        std::env::var("USER").unwrap_or("somebody".to_owned()),
    );
    // Nobody types more than this.
    let mut builder = Peer::builder().service(SERVICE).max_message_size(1 << 16);
    let mut secret_file = None;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match &*arg {
            "--bind" => ip = args.next().ok_or(USAGE)?,
            "--name" => name = args.next().ok_or(USAGE)?,
            "--secret-file" => secret_file = Some(args.next().ok_or(USAGE)?),
            "--port" => builder = builder.discovery_port(args.next().ok_or(USAGE)?.parse()?),
            _ => return Err(USAGE.into()),
        }
    }
    let builder = protect(builder, secret_file)?;
    let peer = builder.name(&*name).bind((&*ip, 0))?;
    println!("* you are {name}, at {}", peer.addrs()[0]);
    if let Some(reason) = peer.not_discoverable() {
        println!("* others can not find you, but you will find them: {reason}");
    }

    let (news, newest) = bounded(100);
    let room = Arc::new(Room {
        peer,
        name,
        members: Mutex::default(),
        news,
    });
    let meets = Arc::clone(&room);
    thread::spawn(move || meets.meet_everyone());

    let mut screen = Screen::new()?;
    let typed = screen.input();
    loop {
        select! {
            recv(newest) -> line => screen.print(&line?)?,
            recv(typed) -> input => match screen.line_of(input.ok())? {
                Line::Unfinished => {}
                Line::End => break,
                Line::Whole(line) => match line.trim() {
                    "" => {}
                    "/quit" => break,
                    "/who" => {
                        let members = room.members.lock().unwrap();
                        let names: Vec<&str> = members.values().map(String::as_str).collect();
                        screen.print(&format!("* here are {}", names.join(", ")))?;
                    }
                    text => {
                        let text = text.to_owned();
                        let told = room.peer.broadcast::<Json<Word>>(&Word::Say { text })?;
                        for (info, error) in told.failed {
                            let addr = info.peer_addr();
                            screen.print(&format!("* {addr} did not get that: {error}"))?;
                        }
                    }
                },
            },
        }
    }
    room.peer.stop(); // what was said still arrives, and all others see that we leave
    Ok(())
}

#[cfg(feature = "secure")]
fn protect(builder: PeerBuilder, file: Option<String>) -> Result<PeerBuilder, Box<dyn Error>> {
    Ok(match file {
        Some(path) => builder.secret(Secret::from_file(path)?),
        None if std::env::var_os(SECRET).is_some() => builder.secret(Secret::from_env(SECRET)?),
        None => builder,
    })
}

/// What is meant to be encrypted must not go in the clear.
#[cfg(not(feature = "secure"))]
fn protect(builder: PeerBuilder, file: Option<String>) -> Result<PeerBuilder, Box<dyn Error>> {
    match file.is_some() || std::env::var_os(SECRET).is_some() {
        true => Err("a secret needs a build with `--features secure`".into()),
        false => Ok(builder),
    }
}

impl Room {
    /// Everyone does this, and so each two of them have one connection.
    fn meet_everyone(self: Arc<Room>) {
        for conn in self.peer.keep_connected(Target::service(SERVICE)) {
            let room = Arc::clone(&self);
            thread::spawn(move || room.listen_to(&conn));
        }
    }

    /// Prints what one member says, from its coming to its leaving.
    fn listen_to(&self, conn: &Connection<Json<Word>>) {
        let own = self.name.clone();
        let _ = conn.send(&Word::Hello { name: own }); // fails if it has ended already
        let mut name = None;
        for word in conn {
            match (word, &name) {
                (Word::Hello { name: new }, None) => {
                    let new = printable(new.chars().take(24));
                    self.members.lock().unwrap().insert(conn.id(), new.clone());
                    self.print(format!("* {new} is here, at {}", conn.peer_addr()));
                    name = Some(new);
                }
                (Word::Say { text }, Some(name)) => {
                    self.print(format!("{name}: {}", printable(text.chars())));
                }
                _ => {} // no member yet, or already one
            }
        }
        self.members.lock().unwrap().remove(&conn.id());
        match (name, conn.close_reason()) {
            (None, _) | (_, None | Some(CloseReason::Stopped | CloseReason::PeerDropped)) => {} // stopped: it is we who leave
            (Some(name), Some(CloseReason::ClosedThere)) => {
                self.print(format!("* {name} has left"))
            }
            (Some(name), Some(reason)) => self.print(format!("* {name} is gone: {reason}")),
        }
    }

    fn print(&self, line: String) {
        let _ = self.news.send(line); // fails only at the end
    }
}

/// What is printed, and below it the line that is being typed.
struct Screen {
    /// Some in a terminal, where keys come one by one.
    typing: Option<String>,
}

enum Input {
    Key(KeyCode, KeyModifiers),
    Line(String),
}

enum Line {
    Unfinished,
    Whole(String),
    End,
}

impl Screen {
    fn new() -> io::Result<Screen> {
        let mut screen = Screen { typing: None };
        if io::stdin().is_terminal() && io::stdout().is_terminal() {
            terminal::enable_raw_mode()?; // keys one by one, shown by nobody but us
            screen.typing = Some(String::new());
            screen.show_typing()?;
        }
        Ok(screen)
    }

    /// What the user types; ends with the input.
    fn input(&self) -> Receiver<Input> {
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

    fn line_of(&mut self, input: Option<Input>) -> io::Result<Line> {
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
    fn print(&self, line: &str) -> io::Result<()> {
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

/// What comes from others must not steer this terminal.
fn printable(text: impl Iterator<Item = char>) -> String {
    text.map(|c| if c.is_control() { ' ' } else { c }).collect()
}
