//! The same bodies without a fuzzer: every file of the corpus, changes of them, and any bytes. The
//! same in every run.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use super::dice::Dice;
use crate::emulated::campaign;

/// Runs a target on what `tests/fuzz` holds for it, and on so many inputs beside that.
fn run(target: &str, dictionary: &str, body: fn(&[u8]), times: usize) {
    let Some(corpus) = corpus(target) else {
        return;
    };
    let tokens = tokens(dictionary);
    for (name, bytes) in &corpus {
        check(target, body, bytes, &format!("corpus/{target}/{name}"));
    }
    let (mut dice, times) = (Dice::new(1), campaign(times));
    for number in 0..times {
        let mut bytes = match dice.below(8) {
            0 => {
                let length = dice.below(400);
                (0..length).map(|_| dice.below(256) as u8).collect()
            }
            _ => corpus[dice.below(corpus.len())].1.clone(),
        };
        for _ in 0..=dice.below(4) {
            change(&mut dice, &mut bytes, &corpus, &tokens);
        }
        check(target, body, &bytes, &format!("input {number}"));
    }
    println!("{target}: {} files and {times} more inputs", corpus.len());
}

/// Says which input it was that broke a promise.
fn check(target: &str, body: fn(&[u8]), bytes: &[u8], name: &str) {
    if let Err(panic) = catch_unwind(|| body(bytes)) {
        eprintln!("{target}, {name}: b\"{}\"", bytes.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

type Corpus = Vec<(String, Vec<u8>)>;

/// `None` only in the published package, which has no `tests/fuzz`.
fn corpus(target: &str) -> Option<Corpus> {
    let root = root();
    if !root.exists() && std::env::var_os("LANPEER_CI").is_none() {
        println!("skipped: there is no {}", root.display());
        return None;
    }
    let mut corpus = Vec::new();
    for entry in fs::read_dir(root.join("corpus").join(target)).expect("a corpus") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        corpus.push((name, fs::read(entry.path()).expect("a file")));
    }
    assert!(!corpus.is_empty(), "the corpus of {target} is empty");
    corpus.sort();
    Some(corpus)
}

/// What a dictionary names, in libFuzzer's form: `"text"`, with `\"`, `\\` and `\xff`.
fn tokens(dictionary: &str) -> Vec<Vec<u8>> {
    let path = root()
        .join("dictionaries")
        .join(format!("{dictionary}.dict"));
    let text = fs::read_to_string(&path).expect("a dictionary");
    text.lines().map(token).collect()
}

fn token(line: &str) -> Vec<u8> {
    let quoted = line
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let mut bytes = quoted.unwrap_or_else(|| panic!("no token: {line}")).bytes();
    let mut token = Vec::new();
    while let Some(byte) = bytes.next() {
        token.push(match byte {
            b'\\' => match bytes.next().expect("what is escaped") {
                b'x' => {
                    let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                    let digits = String::from_utf8_lossy(&digits);
                    u8::from_str_radix(&digits, 16).expect("two digits")
                }
                escaped => escaped,
            },
            byte => byte,
        });
    }
    token
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

/// Does one thing to `bytes`, as a fuzzer would.
fn change(dice: &mut Dice, bytes: &mut Vec<u8>, corpus: &Corpus, tokens: &[Vec<u8>]) {
    let at = dice.below(bytes.len() + 1);
    let end = at + dice.below(bytes.len() - at + 1);
    match dice.below(8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
        1 if at < bytes.len() => bytes[at] = dice.below(256) as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
        5 => {
            // The end of another one.
            let other = &corpus[dice.below(corpus.len())].1;
            let from = other.len().min(at);
            bytes.splice(at.., other[from..].iter().copied());
        }
        _ => {
            let token = tokens[dice.below(tokens.len())].clone();
            // In place of as many bytes, or between two.
            let over = dice.below(2) * token.len();
            let end = (at + over).min(bytes.len());
            bytes.splice(at..end, token);
        }
    }
    bytes.truncate(8192);
}

#[test]
fn headers() {
    run("headers", "wire", super::headers, 4000);
}

#[test]
fn frames() {
    run("frames", "wire", super::frames, 3000);
}

#[test]
fn framed() {
    run("framed", "frames", super::framed, 6000);
}

#[test]
fn datagrams() {
    run("datagrams", "wire", super::datagrams, 6000);
}

#[test]
fn json() {
    run("json", "json", super::json, 3000);
}

#[test]
fn raw() {
    run("raw", "raw", super::raw, 3000);
}

#[cfg(feature = "pickle")]
#[test]
fn pickle() {
    run("pickle", "pickle", super::pickle, 3000);
}

#[test]
fn asked() {
    run("asked", "wire", super::asked, 100);
}

#[test]
fn asking() {
    run("asking", "wire", super::asking, 100);
}

#[test]
fn spoken() {
    run("spoken", "frames", super::spoken, 400);
}

#[cfg(feature = "secure")]
#[test]
fn handshake() {
    run("handshake", "wire", super::handshake, 1500);
}

#[cfg(feature = "secure")]
#[test]
fn passphrase() {
    run("passphrase", "wire", super::passphrase, 600);
}

#[cfg(feature = "secure")]
#[test]
fn records() {
    run("records", "wire", super::records, 3000);
}

#[cfg(feature = "secure")]
#[test]
fn secrets() {
    run("secrets", "secrets", super::secrets, 6000);
}

#[cfg(feature = "secure")]
#[test]
fn tampered() {
    run("tampered", "wire", super::tampered, 300);
}
