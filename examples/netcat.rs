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

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

#[cfg(feature = "secure")]
use lanpeer::Secret;
use lanpeer::crossbeam_channel::{Receiver, after, bounded, never, select};
use lanpeer::{ConnectOptions, Connection, DataType, DiscoverOptions, Dynamic, Message};
use lanpeer::{Peer, PeerBuilder};
use serde_json::Value;

const USAGE: &str =
    "usage: netcat listen  [--wait SECONDS] [--port N] [--quiet] [--secret-file PATH] ADDRESS
       netcat connect [--json | --raw] [--wait SECONDS] [--bind IP] [--quiet]
                      [--secret-file PATH] ADDRESS
       netcat discover [--time SECONDS] [--service NAME] [--bind IP] [--port N]
       netcat secret PATH";
const SECRET: &str = "LANPEER_SECRET";

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Default)]
struct Options {
    addr: String,
    data_type: Option<DataType>,
    bind: Option<Ipv4Addr>,
    port: Option<u16>,
    service: Option<String>,
    time: Option<Duration>,
    wait: Option<Duration>,
    quiet: bool,
    secret_file: Option<String>,
}

fn main() -> ExitCode {
    env_logger::init();
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let outcome = match (&*command, options(args)) {
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

fn options(mut args: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options::default();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match &*arg {
            "--json" => options.data_type = Some(DataType::Json),
            "--raw" => options.data_type = Some(DataType::Raw),
            "--bind" => options.bind = Some(value()?.parse()?),
            "--port" => options.port = Some(value()?.parse()?),
            "--service" => options.service = Some(value()?),
            "--time" => options.time = Some(Duration::try_from_secs_f64(value()?.parse()?)?),
            "--wait" => options.wait = Some(Duration::try_from_secs_f64(value()?.parse()?)?),
            "--quiet" => options.quiet = true,
            "--secret-file" => options.secret_file = Some(value()?),
            addr if !addr.starts_with('-') && options.addr.is_empty() => options.addr = arg,
            _ => return Err(format!("what is {arg}?").into()),
        }
    }
    Ok(options)
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

/// Sends the input and prints what comes: until the other side closes, or, where `wait` is given,
/// nothing has come for so long after the end of the input.
fn talk(conn: &Connection<Dynamic>, mut wait: Option<Duration>, options: &Options) -> Result<()> {
    options.say(format!(
        "connected: {}, {}",
        conn.peer_addr(),
        conn.data_type()
    ));
    // On a thread of its own: two programs that both wait to send must still receive.
    let mut input = spawn(conn, send_input);
    let (mut sent, mut closed, mut silence) = (None, None, never());
    loop {
        select! {
            recv(conn.receiver()) -> message => match message {
                Ok(message) => print(&message)?,
                Err(_) => break, // it has ended, and everything is printed
            },
            recv(input) -> outcome => {
                let outcome = outcome?;
                if outcome.is_err() {
                    wait = Some(Duration::ZERO);
                }
                (input, sent) = (never(), Some(outcome));
            }
            recv(silence) -> _ => {
                wait = None;
                closed = Some(spawn(conn, close));
            }
        }
        silence = match wait {
            Some(wait) if sent.is_some() => after(wait),
            _ => never(),
        };
    }
    let reason = conn.close_reason().ok_or("it has not ended")?;
    options.say(format!("ended: {reason}"));
    if let Some(closed) = closed {
        closed.recv()??;
    }
    if !reason.is_normal() {
        return Err(reason.to_string().into());
    }
    // Input that could not be sent any more is an error. To wait for more of it would be none.
    let moment = Duration::from_millis(100);
    sent.or_else(|| input.recv_timeout(moment).ok())
        .unwrap_or(Ok(()))
}

fn close(conn: &Connection<Dynamic>) -> Result<()> {
    let outcome = conn.close();
    conn.abort(); // where `close` ran out of time; otherwise this does nothing
    Ok(outcome?)
}

fn send_input(conn: &Connection<Dynamic>) -> Result<()> {
    let stdin = io::stdin().lock();
    if conn.data_type() == DataType::Bytes {
        for line in stdin.split(b'\n') {
            conn.send(&Message::bytes(line?))?;
        }
        return Ok(());
    }
    for value in serde_json::Deserializer::from_reader(stdin).into_iter::<Value>() {
        let value = value.map_err(|error| format!("stdin: {error}"))?;
        conn.send(&match conn.data_type() {
            DataType::Json => Message::json(&value)?,
            _ => Message::raw(&value)?,
        })?;
    }
    Ok(())
}

fn print(message: &Message) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match message.data_type() {
        DataType::Bytes => stdout.write_all(message.payload())?,
        _ => write!(stdout, "{}", message.decode::<Value>()?)?,
    }
    Ok(writeln!(stdout)?)
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

/// Does something with the connection on another thread; the channel brings the outcome.
fn spawn(
    conn: &Connection<Dynamic>,
    work: impl FnOnce(&Connection<Dynamic>) -> Result<()> + Send + 'static,
) -> Receiver<Result<()>> {
    let (done, outcome) = bounded(1);
    let conn = conn.clone();
    thread::spawn(move || done.send(work(&conn)));
    outcome
}

impl Options {
    #[cfg(feature = "secure")]
    fn protect(&self, builder: PeerBuilder) -> Result<PeerBuilder> {
        Ok(match &self.secret_file {
            Some(path) => builder.secret(Secret::from_file(path)?),
            None if std::env::var_os(SECRET).is_some() => builder.secret(Secret::from_env(SECRET)?),
            None => builder,
        })
    }

    /// What is meant to be encrypted must not go in the clear.
    #[cfg(not(feature = "secure"))]
    fn protect(&self, builder: PeerBuilder) -> Result<PeerBuilder> {
        match self.secret_file.is_some() || std::env::var_os(SECRET).is_some() {
            true => Err("a secret needs a build with `--features secure`".into()),
            false => Ok(builder),
        }
    }

    fn say(&self, what: String) {
        if !self.quiet {
            eprintln!("{what}");
        }
    }
}
