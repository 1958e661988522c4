//! Messages from the shell: lines become messages, and messages become lines.
//!
//!     cargo run --example netcat -- listen 127.0.0.1:5000                # prints what comes
//!     echo hello | cargo run --example netcat -- connect 127.0.0.1:5000
//!     echo '{"n": 1}' | cargo run --example netcat -- connect --json --wait 2 127.0.0.1:5000
//!     cargo run --example netcat -- discover
//!
//! `connect` sends each line of its input as a message of `bytes`; with `--json` each JSON value,
//! with `--raw` the same as MessagePack. It closes when its input ends, or with `--wait SECONDS`
//! once nothing has come for so long after that. `listen` takes one connection of any data type,
//! sends its input in that type, and ends with the connection. Both print each message as one line,
//! bytes as they are and everything else as JSON; what is no message goes to stderr, and with
//! `--quiet` only errors do.
//!
//! `discover [--time SECONDS] [--service NAME]` prints address, name and service of each peer,
//! with tabs between. `--bind IP` and `--port N` say on which network and discovery port.
//!
//! Encrypted, and only with those who have the same secret:
//!
//!     cargo run --features secure --example netcat -- secret lab.secret  # makes one, in a new file
//!     cargo run --features secure --example netcat -- listen --secret-file lab.secret 127.0.0.1:5000
//!
//! The environment variable `LANPEER_SECRET` with the secret's text does the same as the file.
//!
//! Ends with 0 when all went well: everything was sent, and either side closed; a peer was found.
//! With 1 when it did not, and with 2 when it does not understand its arguments.

#[path = "netcat/options.rs"]
mod options;
#[path = "netcat/talk.rs"]
mod talk;

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

#[cfg(feature = "secure")]
use lanpeer::Secret;
use lanpeer::{ConnectOptions, DataType, DiscoverOptions, Dynamic, Peer};
use options::{Options, Result};
use talk::talk;

const USAGE: &str =
    "usage: netcat listen  [--wait SECONDS] [--port N] [--quiet] [--secret-file PATH] ADDRESS
       netcat connect [--json | --raw] [--wait SECONDS] [--bind IP] [--quiet]
                      [--secret-file PATH] ADDRESS
       netcat discover [--time SECONDS] [--service NAME] [--bind IP] [--port N]
       netcat secret PATH";
fn main() -> ExitCode {
    env_logger::init();
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let outcome = match (&*command, Options::parse(args)) {
        ("listen", Ok(options)) if !options.addr.is_empty() => listen(&options),
        ("connect", Ok(options)) if !options.addr.is_empty() => connect(&options),
        ("secret", Ok(options)) if !options.addr.is_empty() => make_secret(&options.addr),
        ("discover", Ok(options)) if options.addr.is_empty() => discover(&options),
        (_, wrong) => {
            let why = wrong.err().map(|error| format!("{error}\n"));
            eprintln!("{}{USAGE}", why.unwrap_or_default());
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netcat: {error}");
            ExitCode::FAILURE
        }
    }
}

fn listen(options: &Options) -> Result<()> {
    let mut builder = options.protect(Peer::builder().service("netcat"))?;
    if let Some(port) = options.port {
        builder = builder.discovery_port(port);
    }
    let peer = builder.bind(&*options.addr)?;
    options.say(format!("listening on {}", peer.addrs()[0]));
    let conn = peer.accept::<Dynamic>()?;
    // What it sends ends with its input, but it goes on receiving: only `--wait` ends that.
    talk(&conn, options.wait, options)
}

fn connect(options: &Options) -> Result<()> {
    // The other side is told where this peer listens: on loopback only that.
    let bind = match options.bind {
        Some(ip) => ip,
        None if options.addr.starts_with("127.") => Ipv4Addr::LOCALHOST,
        None => Ipv4Addr::UNSPECIFIED,
    };
    let builder = options.protect(Peer::builder().invisible(true))?;
    let peer = builder.bind((bind, 0))?;
    let how = ConnectOptions::new().data_type(options.data_type.unwrap_or(DataType::Bytes));
    let conn = how.strict(true).connect::<Dynamic>(&peer, &*options.addr)?;
    talk(&conn, Some(options.wait.unwrap_or_default()), options)
}

fn discover(options: &Options) -> Result<()> {
    let mut search = DiscoverOptions::new();
    if let Some(ip) = options.bind {
        search.bind(ip);
    }
    if let Some(port) = options.port {
        search.port(port);
    }
    if let Some(service) = &options.service {
        search.service(service);
    }
    let mut found = 0;
    for peer in search.discover(options.time.unwrap_or(Duration::from_millis(500)))? {
        let (name, service) = (peer.name().unwrap_or("-"), peer.service().unwrap_or("-"));
        writeln!(io::stdout(), "{}\t{name}\t{service}", peer.addr())?;
        found += 1;
    }
    if found == 0 {
        return Err("nobody was found".into());
    }
    Ok(())
}

#[cfg(feature = "secure")]
fn make_secret(path: &str) -> Result<()> {
    Ok(Secret::random()?.save(path)?)
}

#[cfg(not(feature = "secure"))]
fn make_secret(_: &str) -> Result<()> {
    Err("a secret needs a build with `--features secure`".into())
}
