//! Files arrive as they were, whoever dies on the way, and in little memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::beacons::Port;
use crate::examples::program::Program;
use crate::examples::terminal::{Terminal, rows};

/// A directory for one test, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("lanpeer-{test}-{}", std::process::id()));
        fs::create_dir_all(path.join("in")).expect("a directory for files");
        Directory(path)
    }

    /// A file of so many megabytes, no two pages of it the same.
    fn file(&self, name: &str, megabytes: usize) -> PathBuf {
        let path = self.0.join(name);
        let numbers = 0..(megabytes << 20) as u32 / 4;
        let content: Vec<u8> = numbers
            .flat_map(|n| n.wrapping_mul(2654435761).to_be_bytes())
            .collect();
        fs::write(&path, content).expect("room for a file");
        path
    }

    fn received(&self, name: &str) -> PathBuf {
        self.0.join("in").join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn start(port: &Port, args: &[&str]) -> Program {
    let port = port.number.to_string();
    Program::start(
        "send_file",
        &[args, &["--bind", "127.0.0.1", "--port", &port]].concat(),
    )
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

fn same(one: &Path, other: &Path) -> bool {
    fs::read(one).expect("the one") == fs::read(other).expect("the other")
}

/// The most that a process ever had in memory, in megabytes, where the system tells.
fn peak(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().split(' ').next()?.parse::<u64>().ok()? / 1024)
}

#[test]
fn a_large_file_needs_little_memory() {
    let (port, directory) = (Port::new(), Directory::new("large"));
    let file = directory.file("large", 24);
    let mut receiver = start(&port, &["receive", text(&directory.0.join("in"))]);
    receiver.line_after("receiving at ");
    let mut sender = start(&port, &["send", text(&file)]);
    let mut most = None;
    let end = Instant::now() + Duration::from_secs(60);
    while !directory.received("large").exists() {
        assert!(Instant::now() < end, "it does not arrive");
        most = most.max(peak(sender.id()));
        std::thread::sleep(Duration::from_millis(5));
    }
    let sent = sender.succeed().pop().expect("a line");
    let received = receiver.line_after("large: received, CRC-32 ");
    assert_eq!(sent, format!("large: sent, CRC-32 {received}"));
    assert!(same(&file, &directory.received("large")));
    for (who, peak) in [("sender", most), ("receiver", peak(receiver.id()))] {
        assert!(
            peak.is_none_or(|megabytes| megabytes < 16),
            "the {who} had {peak:?} MB"
        );
    }

    // It is not replaced by another, and not sent again.
    let mut again = start(&port, &["send", text(&file)]);
    again.succeed();
    receiver.line_after("large: received");
    fs::write(&file, "another").expect("it can be written");
    let mut other = start(&port, &["send", text(&file)]);
    other.fail(1);
    let errors = other.errors(); // a line of the log may be among them
    assert!(
        errors.ends_with("refused: there is another file of that name"),
        "{errors}"
    );
    assert_eq!(
        fs::metadata(directory.received("large"))
            .expect("it is there")
            .len(),
        24 << 20
    );
}

#[test]
fn it_goes_on_after_either_side_was_killed() {
    let (port, directory) = (Port::new(), Directory::new("killed"));
    let file = directory.file("film", 4);
    let into = directory.0.join("in");
    let receive = || start(&port, &["receive", text(&into)]);
    let send = |limit| start(&port, &["send", text(&file), "--limit", limit]);
    let part = directory.received("film.part");
    let grown_to = |megabytes: u64| {
        let end = Instant::now() + Duration::from_secs(60);
        while fs::metadata(&part).map_or(0, |part| part.len()) < megabytes << 20 {
            assert!(Instant::now() < end, "the part does not grow");
            std::thread::sleep(Duration::from_millis(5));
        }
    };

    let mut receiver = receive();
    let mut sender = send("2");
    grown_to(1);
    receiver.kill();
    sender.line_after("film: not through, trying again: ");
    let mut receiver = receive(); // at another address
    let at: u64 = sender
        .line_after("film: goes on at byte ")
        .parse()
        .expect("a number");
    assert!(at >= 1 << 20);
    receiver.line_after("film: goes on at byte ");

    grown_to(2);
    sender.kill();
    receiver.line_after("film: cut");
    assert!(!directory.received("film").exists());
    let mut sender = send("100");
    let at: u64 = sender
        .line_after("film: goes on at byte ")
        .parse()
        .expect("a number");
    assert!(at >= 2 << 20);
    sender.succeed();
    receiver.line_after("film: received");
    assert!(same(&file, &directory.received("film")) && !part.exists());
}

#[test]
fn the_rest_of_another_file_is_not_appended() {
    let (port, directory) = (Port::new(), Directory::new("other"));
    let file = directory.file("notes", 1);
    fs::write(directory.received("notes.part"), "of other notes").expect("a part");
    let mut receiver = start(
        &port,
        &["receive", text(&directory.0.join("in")), "--name", "home"],
    );
    let addr = receiver.line_after("receiving at ");
    let port = port.number.to_string();
    let args = [
        "send",
        text(&file),
        &addr,
        "--bind",
        "127.0.0.1",
        "--port",
        &port,
    ];
    if let Some(terminal) = Terminal::start("send_file", &args) {
        terminal.until("the whole bar", |screen| {
            let bar = format!("notes [{}] 100 %, ", "#".repeat(30));
            rows(screen)
                .iter()
                .any(|row| row.starts_with(&bar))
                .then_some(())
        });
        terminal.ended(0);
    } else {
        Program::start("send_file", &args).succeed();
    }
    assert!(same(&file, &directory.received("notes")));
}

#[test]
fn it_gives_up_where_nobody_receives() {
    let (port, directory) = (Port::new(), Directory::new("nobody"));
    let file = directory.file("file", 1);
    let mut sender = start(&port, &["send", text(&file), "--patience", "0.1"]);
    sender.fail(1);
    assert_eq!(sender.errors(), "nobody receives");
    let mut sender = start(&port, &["send", "no such file"]);
    sender.fail(1);
}
