//! `docs/interop.md` says what the tests saw, and prints programs that work.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::common::DEADLINE;
use crate::common::example::example;
use crate::common::peerpy::{Process, python};

/// Runs cases; the table's rows, or `None` where there is no peerpy.
type Table = fn() -> Option<Vec<String>>;

/// What is between these marks of the page is made by the test run.
const TABLES: [(&str, Table); 3] = [
    ("connections", super::connections::table),
    ("offers", super::offers::table),
    ("restarts", super::restarts::table),
];

/// Under load a peerpy now and then sends no keepalive any more. Its `send` makes the socket
/// blocking for a moment, and a reader that begins to wait in that moment waits without a timeout
/// (read in its code; seen as a keepalive that never came). So a group of cases that fails is tried
/// again, from the start and with a new peerpy, twice at most; what lanpeer gets wrong fails each
/// time.
pub fn patiently<T>(group: impl Fn() -> T) -> T {
    for attempt in 1..3 {
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(&group)) {
            Ok(seen) => return seen,
            Err(_) => println!("attempt {attempt} failed; see above"),
        }
    }
    group()
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/interop.md")
}

fn read(path: &Path) -> String {
    let text = std::fs::read_to_string(path).expect("a page of docs/");
    text.replace("\r\n", "\n")
}

/// The page's code blocks of this language.
pub fn blocks(language: &str) -> Vec<String> {
    blocks_of(&path(), language)
}

fn blocks_of(path: &Path, language: &str) -> Vec<String> {
    let page = read(path);
    let start = format!("\n```{language}\n");
    let blocks = page.split(&start).skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("\n```").next());
    blocks.map(|block| format!("{block}\n")).collect()
}

#[test]
fn the_tables_are_what_happens() {
    let made = TABLES.map(|(name, table)| (name, thread::spawn(move || patiently(table))));
    let page = read(&path());
    let mut new = page.clone();
    for (name, table) in made {
        let Some(mut rows) = table.join().expect("a case failed; see above") else {
            return;
        };
        let (start, end) = (
            format!("<!-- {name}: made by tests/peerpy -->\n"),
            format!("<!-- end of {name} -->"),
        );
        let (before, rest) = new.split_once(&start).expect(&start);
        let (old, after) = rest.split_once(&end).expect(&end);
        if !cfg!(feature = "pickle") {
            // Without the feature there is nothing to see.
            let raw = old.lines().filter(|row| row.contains("| raw |"));
            rows.extend(raw.map(str::to_owned));
        }
        println!("{}", rows.join("\n"));
        new = format!("{before}{start}{}\n{end}{after}", rows.join("\n"));
    }
    if std::env::var_os("LANPEER_WRITE_TABLES").is_some() {
        std::fs::write(path(), new).expect("docs/interop.md");
    } else {
        assert!(
            new == page,
            "docs/interop.md says something else; LANPEER_WRITE_TABLES=1 writes this:\n{new}"
        );
    }
}

/// The Python program from the page, and the Rust program that is both on the page and an example.
#[test]
fn the_two_programs_talk() {
    let printed = &blocks("rust")[0];
    let example_text = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ask_peerpy.rs"),
    );
    assert_eq!(*printed, example_text.expect("the example"));
    let Some(python) = python() else { return };
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("thermometer.py");
    std::fs::write(&path, &blocks("python")[0]).expect("the program's file");

    let mut theirs = Process::start(Command::new(python).arg(path)).expect("start python");
    let addr = theirs.line_after("listening on ");
    let mut ours = Process::start(Command::new(example("ask_peerpy")).arg(addr)).expect("start");
    for sensor in 1..=3 {
        assert_eq!(theirs.line_after("asked for sensor "), sensor.to_string());
        let seen = ours.line_after(&format!("sensor {sensor}: "));
        assert_eq!(seen, format!("Some({}.5)", 20 + sensor));
    }
    theirs.line_after("they have gone");
    for (name, mut program) in [("ask_peerpy", ours), ("thermometer.py", theirs)] {
        let status = program.wait(DEADLINE);
        let success = status.is_some_and(|status| status.success());
        assert!(success, "{name}: {status:?}\n{}", program.story());
    }
}

/// The page on porting has one program twice; its Rust is a doc test.
#[test]
fn the_program_to_port_does_what_its_port_does() {
    let Some(python) = python() else { return };
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/porting.md");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hello_ada.py");
    std::fs::write(&path, &blocks_of(&page, "python")[0]).expect("the program's file");
    patiently(|| {
        let mut program = Process::start(Command::new(python).arg(&path)).expect("start python");
        program.line_after("hello, Ada");
        let status = program.wait(DEADLINE);
        let success = status.is_some_and(|status| status.success());
        assert!(success, "{status:?}\n{}", program.story());
    });
}
