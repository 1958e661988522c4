//! The receiving side: files that come, and what there is of them already.

use std::collections::HashSet;
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{Seek, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use crc32fast::Hasher;
use lanpeer::{Connection, DataType, Dynamic, PeerBuilder};

use crate::SERVICE;
use crate::progress::Progress;
use crate::words::{Failure, Result, Word, answer, cut, say, sum_of};

/// Takes files of everyone who sends, each on a thread of its own.
pub fn receive(builder: PeerBuilder, ip: &str, directory: &Path) -> Result<(), Box<dyn Error>> {
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
