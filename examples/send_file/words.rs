//! What the two sides say to each other, and what can go wrong.

use std::fs::File;
use std::io::{self, Read};

use crc32fast::Hasher;
use lanpeer::{Connection, Dynamic, Message};
use serde::{Deserialize, Serialize};

/// So much of the file is in one message.
pub const CHUNK: usize = 64 << 10;

/// What is said beside the chunks, in this order.
#[derive(Serialize, Deserialize)]
pub enum Word {
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

pub enum Failure {
    /// It may go better the next time.
    Cut(String),
    /// It will not.
    Final(String),
}

pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// The checksum of the first bytes of a file, at most `size`, and how many they are.
pub fn sum_of(file: &File, size: u64) -> io::Result<(u64, Hasher)> {
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

pub fn say(conn: &Connection<Dynamic>, word: &Word) -> Result<()> {
    let message = Message::json(word).map_err(|error| Failure::Final(error.to_string()))?;
    conn.send(&message).map_err(|_| cut(conn))
}

/// The next word of the other side.
pub fn answer(conn: &Connection<Dynamic>) -> Result<Word> {
    let message = conn.recv().map_err(|_| cut(conn))?;
    match message.decode() {
        Ok(Word::Refused { why }) => Err(Failure::Final(format!("refused: {why}"))),
        Ok(word) => Ok(word),
        Err(error) => Err(Failure::Final(error.to_string())),
    }
}

pub fn cut(conn: &Connection<Dynamic>) -> Failure {
    let reason = conn.close_reason().map(|reason| reason.to_string());
    Failure::Cut(reason.unwrap_or_default())
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Final(error.to_string())
    }
}
