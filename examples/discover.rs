//! A live table of the peers on the local network.
//!
//!     cargo run --example discover                            # every network of this host
//!     cargo run --example discover -- --bind 127.0.0.1        # this host only
//!     cargo run --example discover -- --service chat          # only peers that are a `chat`
//!
//! It is a peer itself, but an invisible one, so that it does not list itself elsewhere. To give it
//! something to show, run `hello_world` in another terminal. `--lines` prints what happens, a line
//! for each event, instead of a table; `--port` is for networks on which peers use another
//! discovery port than 1024. Ctrl-C ends it.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lanpeer::{Neighbour, Peer, Presence, Receiver, RecvTimeoutError};

const USAGE: &str = "usage: discover [--bind IP] [--port N] [--service NAME] [--lines]";

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
    let (mut ip, mut service, mut lines) = ("0.0.0.0".to_owned(), None, false);
    let mut builder = Peer::builder().invisible(true);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match &*arg {
            "--bind" => ip = args.next().ok_or(USAGE)?,
            "--port" => builder = builder.discovery_port(args.next().ok_or(USAGE)?.parse()?),
            "--service" => service = Some(args.next().ok_or(USAGE)?),
            "--lines" => lines = true,
            _ => return Err(USAGE.into()),
        }
    }
    let peer = builder.bind((&*ip, 0))?;
    if let Some(reason) = peer.not_discoverable() {
        println!("peers that start or stop are seen late: {reason}");
    }
    let watch = match &service {
        Some(service) => peer.watch_service(service),
        None => peer.watch(),
    };
    if lines {
        watch.iter().for_each(|presence| println!("{presence}"));
    } else {
        table(&watch);
    }
    Ok(())
}

/// Shows who is there, anew whenever someone comes or goes.
fn table(watch: &Receiver<Presence>) {
    let mut there: BTreeMap<String, (Neighbour, Instant)> = BTreeMap::new();
    loop {
        // The terminal's escape sequences for "go to the top left" and "clear from here".
        println!("\x1b[H\x1b[J{} peers\n", there.len());
        println!(
            "{:<22}{:<25}{:<17}{:<12}there for",
            "address", "name", "service", "id"
        );
        for (neighbour, since) in there.values() {
            println!(
                "{:<22}{:<25}{:<17}{:<12}{} s",
                neighbour.addr(),
                neighbour.name().unwrap_or("-"),
                neighbour.service().unwrap_or("-"),
                neighbour.id().map_or("-".to_owned(), |id| id.to_string()),
                since.elapsed().as_secs(),
            );
        }
        match watch.recv_timeout(Duration::from_secs(1)) {
            Ok(Presence::Found(neighbour)) => {
                let since = there
                    .get(&key(&neighbour))
                    .map_or_else(Instant::now, |(_, since)| *since);
                there.insert(key(&neighbour), (neighbour, since));
            }
            Ok(Presence::Lost(neighbour)) => {
                there.remove(&key(&neighbour));
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// A lanpeer is known by its id, wherever it is; a peer without one by its address.
fn key(neighbour: &Neighbour) -> String {
    neighbour
        .id()
        .map_or_else(|| neighbour.addr().to_string(), |id| id.to_string())
}
