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

#[path = "chatroom/screen.rs"]
mod screen;

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::thread;

#[cfg(feature = "secure")]
use lanpeer::Secret;
use lanpeer::crossbeam_channel::{bounded, select};
use lanpeer::{CloseReason, Connection, Json, Peer, PeerBuilder, Target};

use screen::{Line, Screen};

const USAGE: &str = "usage: chatroom [--name NAME] [--bind IP] [--port N] [--secret-file PATH]";
const SECRET: &str = "LANPEER_SECRET";
/// By this, they find each other among all peers.
const SERVICE: &str = "chatroom";
type Result<T> = std::result::Result<T, Box<dyn Error>>;

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
    let mut ip = "0.0.0.0".to_owned();
    let mut name = std::env::var("USER").unwrap_or("somebody".to_owned());
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
        println!("* others cannot find you, but you will find them: {reason}");
    }

    let (news, newest) = bounded(100);
    // Everyone does this, and so each two of them have one connection.
    let members = peer.keep_connected(Target::service(SERVICE));
    let mut screen = Screen::new()?;
    let typed = screen.input();
    loop {
        select! {
            recv(members.receiver()) -> conn => {
                let (conn, news) = (conn?, news.clone());
                thread::spawn(move || listen_to(&conn, |line| drop(news.send(line))));
            }
            recv(newest) -> line => screen.print(&line?)?,
            recv(typed) -> input => match screen.line_of(input.ok())? {
                Line::Unfinished => {}
                Line::End => break,
                Line::Whole(line) => match line.trim() {
                    "" => {}
                    "/quit" => break,
                    "/who" => screen.print(&format!("* here are {}", who_is_here(&peer)))?,
                    text => {
                        let told = peer.broadcast::<Json<String>>(text)?;
                        for (info, error) in told.failed {
                            let addr = info.peer_addr();
                            screen.print(&format!("* {addr} did not get that: {error}"))?;
                        }
                    }
                },
            },
        }
    }
    peer.stop(); // what was said still arrives, and all others see that we leave
    Ok(())
}

#[cfg(feature = "secure")]
fn protect(builder: PeerBuilder, file: Option<String>) -> Result<PeerBuilder> {
    Ok(match file {
        Some(path) => builder.secret(Secret::from_file(path)?),
        None if std::env::var_os(SECRET).is_some() => builder.secret(Secret::from_env(SECRET)?),
        None => builder,
    })
}

/// What is meant to be encrypted must not go in the clear.
#[cfg(not(feature = "secure"))]
fn protect(builder: PeerBuilder, file: Option<String>) -> Result<PeerBuilder> {
    match file.is_some() || std::env::var_os(SECRET).is_some() {
        true => Err("a secret needs a build with `--features secure`".into()),
        false => Ok(builder),
    }
}

/// Prints what one member says, from its coming to its leaving.
fn listen_to(conn: &Connection<Json<String>>, print: impl Fn(String)) {
    // A name has no control characters.
    let name = conn.peer_name().unwrap_or("somebody");
    print(format!("* {name} is here, at {}", conn.peer_addr()));
    for text in conn {
        // What comes from others must not steer this terminal.
        let printable = text.replace(char::is_control, " ");
        print(format!("{name}: {printable}"));
    }
    match conn.close_reason() {
        // It is we who leave.
        None | Some(CloseReason::Stopped | CloseReason::PeerDropped) => {}
        Some(CloseReason::ClosedThere) => print(format!("* {name} has left")),
        Some(reason) => print(format!("* {name} is gone: {reason}")),
    }
}

/// The names of all others, each once.
fn who_is_here(peer: &Peer) -> String {
    let connections = peer.connections();
    let names = connections
        .iter()
        .map(|conn| (conn.peer_id(), conn.peer_name()));
    let names: BTreeMap<_, _> = names.collect();
    let names: Vec<&str> = names.into_values().flatten().collect();
    names.join(", ")
}
