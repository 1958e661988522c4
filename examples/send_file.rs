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

use std::collections::HashSet;
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Read, Seek, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crc32fast::Hasher;
use lanpeer::{Connection, DataType, Dynamic, Message, Peer, PeerBuilder};
use serde::{Deserialize, Serialize};

const USAGE: &str = "usage: send_file receive DIRECTORY [--name NAME] [--bind IP] [--port N]
       send_file send FILE [ADDRESS] [--to NAME] [--limit N] [--patience SECONDS] [--bind IP] [--port N]";
/// By this, a sender finds its receiver.
const SERVICE: &str = "send_file";
/// So much of the file is in one message.
const CHUNK: usize = 64 << 10;

/// What is said beside the chunks, in this order.
#[derive(Serialize, Deserialize)]
enum Word {
    /// The sender has this file.
    File { name: String, size: u64 },
    /// The receiver has this much of it, with this checksum.
    Have { bytes: u64, checksum: u32 },
    /// The sender begins here: there, or at 0 if these are the first bytes of another file.
    From { at: u64 },
    /// These were all chunks.
    Done { checksum: u32 },
    /// The receiver has the whole file.
    Stored,
    /// Instead of any of its words: the receiver does not take it.
    Refused { why: String },
}

enum Failure {
    /// It may go better the next time.
    Cut(String),
    /// It will not.
    Final(String),
}

type Result<T, E = Failure> = std::result::Result<T, E>;

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
    loop {
        let before = progress.done;
        let addr = match (addr, &to) {
            (Some(addr), _) => Some(addr.to_owned()),
            (None, to) => peer
                .discover_service(SERVICE, Duration::from_secs(1))?
                .find(|found| to.as_deref().is_none_or(|to| found.name() == Some(to)))
                .map(|found| found.addr().to_string()),
        };
        let outcome = match addr {
            Some(addr) => send(&peer, &addr, file, &mut progress),
            None => Err(Failure::Cut("nobody receives".to_owned())),
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
        thread::sleep(Duration::from_millis(200));
    }
}

/// One try: sends what the receiver has not.
fn send(peer: &Peer, addr: &str, path: &str, progress: &mut Progress) -> Result<()> {
    let conn = peer
        .connect::<Dynamic>(addr)
        .map_err(|error| Failure::Cut(error.to_string()))?;
    let (name, size) = (progress.name.clone(), progress.size);
    say(&conn, &Word::File { name, size })?;
    let Word::Have { bytes, checksum } = answer(&conn)? else {
        return Err(Failure::Final("an answer to another question".to_owned()));
    };
    let mut file = File::open(path)?;
    let (mut at, mut hasher) = sum_of(&file, bytes)?;
    if (at, hasher.clone().finalize()) != (bytes, checksum) {
        file.rewind()?;
        (at, hasher) = (0, Hasher::new());
    }
    say(&conn, &Word::From { at })?;
    progress.begin(at);

    let mut chunk = vec![0; CHUNK];
    loop {
        let len = file.read(&mut chunk)?;
        if len == 0 {
            break;
        }
        hasher.update(&chunk[..len]);
        if conn.send(&Message::bytes(&chunk[..len])).is_err() || !conn.receiver().is_empty() {
            answer(&conn)?; // says why
        }
        progress.add(len);
    }
    let checksum = hasher.finalize();
    say(&conn, &Word::Done { checksum })?;
    let Word::Stored = answer(&conn)? else {
        return Err(Failure::Final("it was not stored".to_owned()));
    };
    progress.say(&format!("sent, CRC-32 {checksum:08x}"));
    let _ = conn.close(); // it has been stored, whatever happens now
    Ok(())
}

/// Takes files of everyone who sends, each on a thread of its own.
fn receive(builder: PeerBuilder, ip: &str, directory: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(directory)?;
    let peer = builder.service(SERVICE).bind((ip, 0))?;
    println!("receiving at {}", peer.addrs()[0]);
    let coming = Arc::new(Mutex::new(HashSet::new()));
    for offer in peer.incoming() {
        let Ok(conn) = offer.accept::<Dynamic>() else {
            continue; // the sender has gone
        };
        let (directory, coming) = (directory.to_owned(), Arc::clone(&coming));
        thread::spawn(move || match store_one(&conn, &directory, &coming) {
            Ok(()) => {}
            Err(Failure::Cut(why)) => println!("{}: {why}", conn.peer_addr()),
            Err(Failure::Final(why)) => {
                println!("{}: refused: {why}", conn.peer_addr());
                let _ = say(&conn, &Word::Refused { why });
                conn.iter().for_each(drop); // until the sender has heard it, and closes
            }
        });
    }
    Ok(())
}

/// Receives one file that nobody else is sending at the same time.
fn store_one(
    conn: &Connection<Dynamic>,
    directory: &Path,
    coming: &Mutex<HashSet<String>>,
) -> Result<()> {
    let Word::File { name, size } = answer(conn)? else {
        return Err(Failure::Final("no file was named".to_owned()));
    };
    // Only the last part of a path: nobody writes outside of this directory.
    let name = Path::new(&name).file_name().and_then(|name| name.to_str());
    let name = name.filter(|name| !name.contains(char::is_control));
    let name = name.ok_or_else(|| Failure::Final("that is no name".to_owned()))?;
    if !coming.lock().unwrap().insert(name.to_owned()) {
        // Perhaps from the same sender, whose connection was cut and has not ended here yet.
        conn.abort();
        return Err(Failure::Cut("that file is coming already".to_owned()));
    }
    let outcome = store(conn, directory, name, size);
    coming.lock().unwrap().remove(name);
    outcome
}

fn store(conn: &Connection<Dynamic>, directory: &Path, name: &str, size: u64) -> Result<()> {
    let (whole, part) = (directory.join(name), directory.join(format!("{name}.part")));
    // It may be whole already, and only the sender has not heard of it.
    let is_whole = whole.exists();
    let path = if is_whole { &whole } else { &part };
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(!is_whole)
        .create(!is_whole)
        .open(path)?;
    let (had, mut hasher) = sum_of(&file, u64::MAX)?;
    let (bytes, checksum) = (had, hasher.clone().finalize());
    say(conn, &Word::Have { bytes, checksum })?;
    let at = match answer(conn)? {
        Word::From { at } if at == had && (had == size || !is_whole) => at,
        Word::From { .. } if is_whole => {
            return Err(Failure::Final(
                "there is another file of that name".to_owned(),
            ));
        }
        Word::From { at: 0 } => {
            file.set_len(0)?;
            file.rewind()?;
            hasher = Hasher::new();
            0
        }
        _ => return Err(Failure::Final("that begins somewhere else".to_owned())),
    };
    let mut progress = Progress::new(name.to_owned(), size, f64::INFINITY);
    progress.begin(at);
    loop {
        let message = conn.recv().map_err(|_| {
            progress.say("cut");
            cut(conn)
        })?;
        if message.data_type() != DataType::Bytes {
            let checksum = hasher.finalize();
            let Ok(Word::Done { checksum: sent }) = message.decode() else {
                return Err(Failure::Final("that is no end".to_owned()));
            };
            if (progress.done, checksum) != (size, sent) {
                let _ = fs::remove_file(&part); // never a file that was there before
                return Err(Failure::Final("it differs from what was sent".to_owned()));
            }
            file.sync_all()?;
            fs::rename(path, &whole)?;
            say(conn, &Word::Stored)?;
            progress.say(&format!("received, CRC-32 {checksum:08x}"));
            return Ok(());
        }
        if message.payload().len() as u64 > size.saturating_sub(progress.done) {
            return Err(Failure::Final("it is longer than was said".to_owned()));
        }
        file.write_all(message.payload())?;
        hasher.update(message.payload());
        progress.add(message.payload().len());
    }
}

/// The checksum of the first bytes of a file, at most `size`, and how many they are.
fn sum_of(file: &File, size: u64) -> io::Result<(u64, Hasher)> {
    let (mut file, mut chunk) = (file.take(size), vec![0; CHUNK]);
    let (mut sum, mut hasher) = (0, Hasher::new());
    loop {
        let len = file.read(&mut chunk)?;
        if len == 0 {
            return Ok((sum, hasher));
        }
        hasher.update(&chunk[..len]);
        sum += len as u64;
    }
}

fn say(conn: &Connection<Dynamic>, word: &Word) -> Result<()> {
    let message = Message::json(word).map_err(|error| Failure::Final(error.to_string()))?;
    conn.send(&message).map_err(|_| cut(conn))
}

/// The next word of the other side.
fn answer(conn: &Connection<Dynamic>) -> Result<Word> {
    let message = conn.recv().map_err(|_| cut(conn))?;
    match message.decode() {
        Ok(Word::Refused { why }) => Err(Failure::Final(format!("refused: {why}"))),
        Ok(word) => Ok(word),
        Err(error) => Err(Failure::Final(error.to_string())),
    }
}

fn cut(conn: &Connection<Dynamic>) -> Failure {
    let reason = conn.close_reason().map(|reason| reason.to_string());
    Failure::Cut(reason.unwrap_or_default())
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Final(error.to_string())
    }
}

/// A bar in a terminal, a line each second elsewhere; and the brake of `--limit`.
struct Progress {
    name: String,
    size: u64,
    done: u64,
    limit: f64,
    /// Since when, from where on.
    begin: (Instant, u64),
    moved: Instant,
    shown: Instant,
    terminal: bool,
}

impl Progress {
    fn new(name: String, size: u64, limit: f64) -> Progress {
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

    fn begin(&mut self, at: u64) {
        self.done = at;
        self.begin = (Instant::now(), at);
        if at > 0 {
            self.say(&format!("goes on at byte {at}"));
        }
    }

    fn add(&mut self, len: usize) {
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
    fn say(&self, what: &str) {
        if self.terminal {
            self.show();
            println!();
        }
        println!("{}: {what}", self.name);
    }
}
