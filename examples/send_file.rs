//! Sends a file of any size, and goes on where it was when the connection was cut.
//!
//!     cargo run --example send_file -- receive downloads      # into this directory, for ever
//!     cargo run --example send_file -- send film.mkv          # on another machine
//!
//! `send` finds the one who receives; of several, `--to NAME` chooses, and `send FILE ADDRESS` needs
//! no search. What has come of a file is kept as `NAME.part`. If either side is cut off, or ends and
//! is started again, the rest follows; `send` tries it until nothing has moved for `--patience
//! SECONDS`, 60 by default. In the end both have the same CRC-32 of the whole file.
//!
//! `--limit N` sends at most N megabytes a second, `--name NAME` is what a receiver is called;
//! `--bind IP` and `--port N` say on which network and discovery port the two find each other.
//! Whoever is on the network can put files into the directory, but not replace any.

#[path = "send_file/progress.rs"]
mod progress;
#[path = "send_file/receive.rs"]
mod receive;
#[path = "send_file/words.rs"]
mod words;

use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crc32fast::Hasher;
use lanpeer::{Connection, Dynamic, Message, Peer, Target};
use progress::Progress;
use receive::receive;
use words::{CHUNK, Failure, Word, answer, say, sum_of};

const USAGE: &str = "usage: send_file receive DIRECTORY [--name NAME] [--bind IP] [--port N]
       send_file send FILE [ADDRESS] [--to NAME] [--limit N] [--patience SECONDS] [--bind IP] [--port N]";
/// By this, a sender finds its receiver.
const SERVICE: &str = "send_file";

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
    let (mut ip, mut words) = ("0.0.0.0".to_owned(), Vec::new());
    let (mut to, mut limit, mut patience) = (None, f64::INFINITY, Duration::from_secs(60));
    // Little waits in memory, however large the file and however slow the disk.
    let mut builder = Peer::builder()
        .max_message_size(1 << 20)
        .receive_queue_bytes(1 << 20);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(USAGE);
        match &*arg {
            "--bind" => ip = value()?,
            "--port" => builder = builder.discovery_port(value()?.parse()?),
            "--name" => builder = builder.name(value()?),
            "--to" => to = Some(value()?),
            "--limit" => limit = value()?.parse()?,
            "--patience" => patience = Duration::try_from_secs_f64(value()?.parse()?)?,
            _ => words.push(arg),
        }
    }
    let (file, addr) = match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["receive", directory] => return receive(builder, &ip, Path::new(directory)),
        ["send", file] => (*file, None),
        ["send", file, addr] => (*file, Some(*addr)),
        _ => return Err(USAGE.into()),
    };

    let peer = builder.invisible(true).bind((&*ip, 0))?;
    let name = Path::new(file).file_name().ok_or(USAGE)?.to_string_lossy();
    let mut progress = Progress::new(name.into_owned(), fs::metadata(file)?.len(), limit);
    let mut said = String::new();
    let target = match (addr, to) {
        (Some(addr), _) => Target::addr(addr),
        (None, Some(name)) => Target::name(name),
        (None, None) => Target::service(SERVICE),
    };
    // After a cut there is another connection by itself, and the receiver says what it has.
    let kept = peer.keep_connected::<Dynamic>(target);
    loop {
        let before = progress.done;
        let outcome = match kept.receiver().recv_timeout(Duration::from_secs(1)) {
            Ok(conn) => send(&conn, file, &mut progress),
            Err(_) => Err(Failure::Cut("nobody receives".to_owned())),
        };
        match outcome {
            Ok(()) => return Ok(()),
            Err(Failure::Final(why)) => return Err(why.into()),
            Err(Failure::Cut(why)) if progress.moved.elapsed() > patience => return Err(why.into()),
            Err(Failure::Cut(why)) if progress.done == before && why == said => {}
            Err(Failure::Cut(why)) => {
                progress.say(&format!("not through, trying again: {why}"));
                said = why;
            }
        }
    }
}

/// One try: sends what the receiver has not.
fn send(conn: &Connection<Dynamic>, path: &str, progress: &mut Progress) -> words::Result<()> {
    let (name, size) = (progress.name.clone(), progress.size);
    say(conn, &Word::File { name, size })?;
    let Word::Have { bytes, checksum } = answer(conn)? else {
        return Err(Failure::Final("an answer to another question".to_owned()));
    };
    let mut file = File::open(path)?;
    let (mut at, mut hasher) = sum_of(&file, bytes)?;
    if (at, hasher.clone().finalize()) != (bytes, checksum) {
        file.rewind()?;
        (at, hasher) = (0, Hasher::new());
    }
    say(conn, &Word::From { at })?;
    progress.begin(at);

    let mut chunk = vec![0; CHUNK];
    loop {
        let len = file.read(&mut chunk)?;
        if len == 0 {
            break;
        }
        hasher.update(&chunk[..len]);
        if conn.send(&Message::bytes(&chunk[..len])).is_err() || !conn.receiver().is_empty() {
            answer(conn)?; // says why
        }
        progress.add(len);
    }
    let checksum = hasher.finalize();
    say(conn, &Word::Done { checksum })?;
    let Word::Stored = answer(conn)? else {
        return Err(Failure::Final("it was not stored".to_owned()));
    };
    progress.say(&format!("sent, CRC-32 {checksum:08x}"));
    let _ = conn.close(); // it has been stored, whatever happens now
    Ok(())
}
