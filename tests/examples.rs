//! The examples run as their first lines say: the tour to its end, and
//! hello_world between two processes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// For everything that one program does. They take seconds at most.
const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn tour_explains_itself_and_ends() {
    let mut tour = Program::start("tour", &[]);
    let (lines, status) = tour.finish();
    assert!(status.success(), "{status}\n{}", lines.join("\n"));
    for said in [
        "I listen on 127.0.0.1:",
        "received Reading",
        "received \"three\"",
        "received 1000 frames",
        "denied, reason Some(\"not-today\")",
        "ended: closed by the other side",
        "ended: aborted by this side",
        "ended: reset by the other side",
        "ended: this peer was stopped",
        "That was all.",
    ] {
        assert!(
            lines.iter().any(|line| line.contains(said)),
            "the tour does not say {said:?}:\n{}",
            lines.join("\n")
        );
    }
}

#[test]
fn hello_world_between_two_processes() {
    let mut listener = Program::start("hello_world", &[]);
    let addr = listener.line_after("listening on ");
    let mut caller = Program::start("hello_world", &[&addr]);

    let (called, status) = caller.finish();
    assert!(status.success(), "{status}\n{}", called.join("\n"));
    let (heard, status) = listener.finish();
    assert!(status.success(), "{status}\n{}", heard.join("\n"));

    let received = |lines: &[String]| -> Vec<String> {
        lines
            .iter()
            .filter_map(|line| line.strip_prefix("received: "))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(
        received(&heard),
        [r#""hello, world""#, r#"{"from":"lanpeer","n":1}"#]
    );
    assert_eq!(
        received(&called),
        [
            r#"{"heard":"hello, world"}"#,
            r#"{"heard":{"from":"lanpeer","n":1}}"#
        ]
    );
    assert_eq!(
        called.last().map(String::as_str),
        Some("ended: closed by this side")
    );
    assert_eq!(
        heard.last().map(String::as_str),
        Some("ended: closed by the other side")
    );
}

#[test]
fn hello_world_listens_where_it_is_told() {
    let mut listener = Program::start("hello_world", &["--listen", "127.0.0.2:0"]);
    let addr = listener.line_after("listening on ");
    assert!(addr.starts_with("127.0.0.2:"), "{addr}");
    let (_, status) = Program::start("hello_world", &[&addr]).finish();
    assert!(status.success(), "{status}");
    let (_, status) = listener.finish();
    assert!(status.success(), "{status}");
}

#[test]
fn hello_world_explains_its_arguments() {
    let (_, status) = Program::start("hello_world", &["--help"]).finish();
    assert!(!status.success());
    let (_, status) = Program::start("hello_world", &["no address"]).finish();
    assert!(!status.success());
}

/// An example that runs; killed if the test ends before it does.
struct Program {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
    started: Instant,
}

impl Program {
    fn start(name: &'static str, args: &[&str]) -> Program {
        let mut child = Command::new(path_of(name))
            .args(args)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Program {
            name,
            child,
            lines,
            started: Instant::now(),
        }
    }

    /// The rest of the first line that begins with `prefix`.
    fn line_after(&mut self, prefix: &str) -> String {
        loop {
            let line = self
                .next_line()
                .unwrap_or_else(|| panic!("{}: no {prefix:?}", self.name));
            if let Some(rest) = line.strip_prefix(prefix) {
                return rest.to_owned();
            }
        }
    }

    /// Waits for the end: all further lines, and how it ended.
    fn finish(&mut self) -> (Vec<String>, ExitStatus) {
        let lines = std::iter::from_fn(|| self.next_line()).collect();
        // Its output is closed, so the process is ending: this takes no time to speak of.
        while self.started.elapsed() < DEADLINE {
            if let Some(status) = self.child.try_wait().expect("wait for a child") {
                return (lines, status);
            }
            thread::yield_now();
        }
        panic!("{} closed its output but did not end", self.name);
    }

    fn next_line(&mut self) -> Option<String> {
        match self
            .lines
            .recv_timeout(DEADLINE.saturating_sub(self.started.elapsed()))
        {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("{} runs longer than {DEADLINE:?}", self.name),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where cargo puts the example, built: `cargo test` has built it already, but
/// `cargo test --test examples` has not.
fn path_of(name: &str) -> PathBuf {
    static EXAMPLES: OnceLock<PathBuf> = OnceLock::new();
    let examples = EXAMPLES.get_or_init(|| {
        let test = std::env::current_exe().expect("the path of this test");
        let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--quiet", "--examples", "--target-dir"])
            .arg(parent(profile));
        cargo.args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ]);
        match profile.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => {}
            Some(name) => {
                cargo.args(["--profile", name]);
            }
        }
        assert!(
            cargo.status().expect("run cargo").success(),
            "the examples do not build"
        );
        profile.join("examples")
    });
    examples.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

fn parent(path: &Path) -> &Path {
    path.parent().expect("a path with a parent")
}
