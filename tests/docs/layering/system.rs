//! What a program waits with, and what differs from run to run: threads, time, locks, channels, sockets,
//! files. All of it comes from `net/os/sync.rs` and `net/os/system.rs`, so that another system can stand
//! in their place.

use super::paths::paths_from;
use super::tokens::{Kind, Token};

/// The two files that may name it.
const FROM: &[&[&str]] = &[&["net", "os", "sync"], &["net", "os", "system"]];

/// Everything below these paths, except what ends in `Error`: an error waits for nothing.
const THERE: &[&[&str]] = &[
    &["crossbeam_channel"],
    &["hostname"],
    &["if_addrs"],
    &["socket2"],
    &["std", "collections", "HashMap"],
    &["std", "collections", "HashSet"],
    &["std", "env"],
    &["std", "fs"],
    &["std", "hash", "RandomState"],
    &["std", "net", "TcpListener"],
    &["std", "net", "TcpStream"],
    &["std", "net", "UdpSocket"],
    &["std", "process"],
    &["std", "sync", "Barrier"],
    &["std", "sync", "Condvar"],
    &["std", "sync", "LazyLock"],
    &["std", "sync", "Mutex"],
    &["std", "sync", "MutexGuard"],
    &["std", "sync", "Once"],
    &["std", "sync", "OnceLock"],
    &["std", "sync", "RwLock"],
    &["std", "sync", "mpsc"],
    &["std", "thread"],
    &["std", "time", "Instant"],
];

/// Asks only whether this thread panics.
const HARMLESS: &[&str] = &["std", "thread", "panicking"];

/// Each way to the system in a file of this module, with its line.
pub fn named(module: &[String], tokens: &[Token]) -> Vec<(usize, String)> {
    let is_module = |other: &&[&str]| module.iter().map(String::as_str).eq(other.iter().copied());
    let last = module.last().map_or("", String::as_str);
    if FROM.iter().any(is_module) || last.ends_with("tests") || last == "faults" {
        return Vec::new();
    }
    let mut found = Vec::new();
    let crates = [
        "std",
        "crossbeam_channel",
        "hostname",
        "if_addrs",
        "socket2",
    ];
    for (line, path) in paths_from(&crates, tokens) {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let is_there = THERE.iter().any(|there| path.starts_with(there));
        let is_error = path.last().is_some_and(|last| last.ends_with("Error"));
        if is_there && !is_error && path != HARMLESS {
            found.push((line, path.join("::")));
        }
    }
    let own = ["crate", "self", "super"];
    let is_imported = paths_from(&own, tokens)
        .iter()
        .any(|(_, path)| path.last().is_some_and(|last| last == "thread_local"));
    for pair in tokens.windows(2) {
        let is_macro = pair[0].kind == Kind::Word("thread_local".to_owned());
        if is_macro && pair[1].kind == Kind::Mark('!') && !is_imported {
            found.push((pair[0].line, "std::thread_local".to_owned()));
        }
    }
    let said = |(line, what)| (line, format!("names `{what}`, which comes from `net/os`"));
    found.into_iter().map(said).collect()
}
