//! Small pickles that mean a lot, each in a process of its own: its memory, its time, its words.

use std::process::Command;
use std::time::{Duration, Instant};

use lanpeer::{CloseReason, Format, Raw};
use serde::Deserialize;
use serde_json::Value;

use super::PEERPY;
use super::common::peerpy::Process;
use super::common::wire::{Wire, data};
use super::common::{DEADLINE, peer};

const MIB: usize = 1 << 20;

/// No pickle of a mebibyte may take more, decoded into a tree like `serde_json::Value`: 40 bytes for
/// each of its own while it is read, and 7 times the 33 MiB that it may become, which is what a dict
/// with one key takes there.
const MEMORY: usize = 288 * MIB;

/// Nor longer, in a debug build on a loaded machine.
const TIME: Duration = Duration::from_secs(10);

struct Bomb {
    name: &'static str,
    pickle: fn() -> Vec<u8>,
    /// Of the close reason; none where it is no bomb, only large.
    words: &'static str,
}

const BOMBS: &[Bomb] = &[
    Bomb {
        name: "[x, x] thirty times",
        pickle: || doubled(b"]", b"h\x00h\x00l", 30),
        words: "become more than",
    },
    Bomb {
        name: "[x, x] as often as fits a mebibyte",
        pickle: || doubled(b"]", b"h\x00h\x00l", MIB / 11),
        words: "deep",
    },
    Bomb {
        name: "{'': x} and x, thirty times",
        pickle: || doubled(b"}", b"}\x8c\x00h\x00sh\x00l", 30),
        words: "become more than",
    },
    Bomb {
        name: "500,000 nested lists",
        pickle: || nested(b"]", b"a"),
        words: "nested more than 128 deep",
    },
    Bomb {
        name: "500,000 nested tuples",
        pickle: || [b"N".to_vec(), b"\x85".repeat(500_000), b".".to_vec()].concat(),
        words: "nested more than 128 deep",
    },
    Bomb {
        name: "100,000 nested dicts",
        pickle: || nested_dicts(100_000),
        words: "nested more than 128 deep",
    },
    Bomb {
        name: "a million marks",
        pickle: || vec![b'('; 1_000_000],
        words: "cut",
    },
    Bomb {
        name: "100 kB of text in 10,000 places",
        pickle: || texts(b"h\x00"),
        words: "become more than",
    },
    Bomb {
        name: "a list in itself",
        pickle: || b"\x80\x04]\x94h\x00a.".to_vec(),
        words: "contains itself",
    },
    Bomb {
        name: "a dict in itself, 1,000 times",
        pickle: || {
            let entries: String = (100..1_100).map(|n| format!("V{n}\ng0\ns")).collect();
            format!("}}p0\n{entries}.").into_bytes()
        },
        words: "contains itself",
    },
    Bomb {
        name: "one dict with one key in as many places as fit",
        pickle: || row(b"](}\x94\x8c\x00Ns", b"h\x00", b"e."),
        words: "become more than",
    },
    Bomb {
        name: "as many dicts with one key as fit",
        pickle: || row(b"](", b"}\x8c\x00Ns", b"e."),
        words: "",
    },
    Bomb {
        name: "as many empty lists as fit",
        pickle: || row(b"](", b"]", b"e."),
        words: "",
    },
    Bomb {
        name: "as many lists of one as fit",
        pickle: || row(b"](", b"]Na", b"e."),
        words: "",
    },
    Bomb {
        name: "a dict with as many keys as fit",
        pickle: || {
            let pairs: Vec<u8> = (0..170_000u32)
                .flat_map(|n| {
                    [
                        0x8c,
                        3,
                        b'0' + (n % 64) as u8,
                        (n / 64 % 64) as u8,
                        (n / 4096) as u8,
                        b'N',
                    ]
                })
                .collect();
            [b"}(", &pairs[..], b"u."].concat()
        },
        words: "",
    },
];

/// `first`, and so often a list of what `again` makes of the last one, which is entry 0 of the memo.
fn doubled(first: &[u8], again: &[u8], times: usize) -> Vec<u8> {
    let again = [b"q\x000(", again].concat();
    [first, &again.repeat(times), b"."].concat()
}

fn nested(open: &[u8], close: &[u8]) -> Vec<u8> {
    [open.repeat(500_000), close.repeat(499_999), b".".to_vec()].concat()
}

fn nested_dicts(depth: usize) -> Vec<u8> {
    [
        b"}\x8c\x01a".repeat(depth),
        b"N".to_vec(),
        b"s".repeat(depth),
        b".".to_vec(),
    ]
    .concat()
}

fn texts(again: &[u8]) -> Vec<u8> {
    let text = [&b"X\xa0\x86\x01\x00"[..], &[b'a'; 100_000], b"q\x00"].concat();
    [b"](", &text[..], &again.repeat(9_999), b"e."].concat()
}

fn row(first: &[u8], again: &[u8], last: &[u8]) -> Vec<u8> {
    let times = (MIB - first.len() - last.len()) / again.len();
    [first, &again.repeat(times), last].concat()
}

#[test]
fn each_in_a_process_of_its_own() {
    for (number, bomb) in BOMBS.iter().enumerate() {
        for format in ["Value", "Nest"] {
            let mut child = Command::new(std::env::current_exe().expect("this program"));
            child.args(["--exact", "bombs::child", "--nocapture", "--test-threads=1"]);
            child.env("LANPEER_BOMB", format!("{number} {format}"));
            let mut child = Process::start(&mut child).expect("start");
            let what = child.line_after("it took ");
            println!("{:50} {format:6} {what}", bomb.name);
            let status = child.wait(DEADLINE);
            assert!(
                status.is_some_and(|s| s.success()),
                "{}: {status:?}\n{}",
                bomb.name,
                child.story()
            );
        }
    }
}

/// Calls itself, as any tree does.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[allow(dead_code)]
enum Nest {
    List(Vec<Nest>),
    Dict(std::collections::HashMap<String, Nest>),
    Text(String),
    Nothing,
}

/// Runs only in the process that the test above starts.
#[test]
fn child() {
    let Ok(which) = std::env::var("LANPEER_BOMB") else {
        return;
    };
    let (number, format) = which.split_once(' ').expect("two words");
    let bomb = &BOMBS[number.parse::<usize>().expect("a number")];
    let what = match format {
        "Value" => falls::<Raw<Value>>(bomb),
        _ => falls::<Raw<Nest>>(bomb),
    };
    println!(); // after what the harness has begun to say
    println!("it took {what}");
}

fn falls<F: Format>(bomb: &Bomb) -> String {
    let bob = peer();
    let (mut wire, conn) = Wire::accepted::<F>(&bob, PEERPY);
    let payload = (bomb.pickle)();
    let size = payload.len();
    assert!(size <= MIB, "{size}");
    let message = data("raw", &payload);
    drop(payload);
    let (before, start) = (peak(), Instant::now());
    wire.write_what_goes(&message);
    let received = conn.recv_timeout(DEADLINE).is_ok();
    let (after, time) = (peak(), start.elapsed());
    let words = match conn.close_reason() {
        Some(CloseReason::Malformed(words)) => words,
        None if received => String::new(),
        other => panic!("{other:?}"),
    };
    assert!(words.contains(bomb.words), "{words}");
    assert_eq!(received, bomb.words.is_empty(), "{words}");
    assert!(time < TIME, "{time:?}");
    let memory = after.saturating_sub(before);
    assert!(memory < MEMORY, "{memory} bytes");
    format!("{size} bytes: {} kB, {time:.1?}: {words}", memory >> 10)
}

/// The most memory that this process ever had, where the system tells.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kilobytes.unwrap_or_default() << 10
}
