//! An example that runs as a process.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// For everything that one program does. They take seconds at most.
const DEADLINE: Duration = Duration::from_secs(120);

/// Killed if the test ends before it does; if the test fails, all that it said is shown.
pub struct Program {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    stdout: Lines,
    stderr: Lines,
}

impl Program {
    pub fn start(name: &str, args: &[&str]) -> Program {
        Program::run(Command::new(path_of(name)).args(args))
    }

    /// Runs any command, with all its streams connected to this test.
    pub fn run(command: &mut Command) -> Program {
        let name = format!("{command:?}");
        let mut child = command
            .env("RUST_LOG", "warn")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let end = Instant::now() + DEADLINE;
        Program {
            input: child.stdin.take(),
            stdout: Lines::of(child.stdout.take().expect("it is piped"), end),
            stderr: Lines::of(child.stderr.take().expect("it is piped"), end),
            name,
            child,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its output; None once that has ended.
    #[track_caller]
    pub fn line(&mut self) -> Option<String> {
        self.stdout.next()
    }

    /// The rest of the next line of its output that begins so.
    #[track_caller]
    pub fn line_after(&mut self, prefix: &str) -> String {
        self.stdout.after(prefix)
    }

    /// The rest of the next line on its stderr that begins so.
    #[track_caller]
    pub fn error_after(&mut self, prefix: &str) -> String {
        self.stderr.after(prefix)
    }

    /// The next line of its output that contains this.
    #[track_caller]
    pub fn line_with(&mut self, part: &str) -> String {
        while let Some(line) = self.stdout.next() {
            if line.contains(part) {
                return line;
            }
        }
        panic!("no line contains {part:?}");
    }

    /// Its output as far as it was read.
    pub fn said(&self) -> &[String] {
        &self.stdout.seen
    }

    /// Passes over what it has said until now.
    pub fn skip(&mut self) {
        self.stdout.seen.extend(self.stdout.lines.try_iter());
    }

    #[track_caller]
    pub fn write(&mut self, text: &str) {
        let input = self.input.as_mut().expect("its input is open");
        input.write_all(text.as_bytes()).expect("it reads");
        input.flush().expect("it reads");
    }

    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// Sends a signal, by its name without SIG.
    pub fn signal(&self, signal: &str) {
        let id = self.id().to_string();
        let kill = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(kill.expect("kill").success());
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has ended");
    }

    /// Waits for the end: all further lines of its output, and how it ended.
    #[track_caller]
    pub fn finish(&mut self) -> (Vec<String>, ExitStatus) {
        let lines = std::iter::from_fn(|| self.stdout.next()).collect();
        // Its output is closed, so the process is ending: this takes no time to speak of.
        while Instant::now() < self.stdout.end {
            if let Some(status) = self.child.try_wait().expect("wait for a child") {
                return (lines, status);
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("{} closed its output but did not end", self.name);
    }

    /// As `finish`, where it must succeed.
    #[track_caller]
    pub fn succeed(&mut self) -> Vec<String> {
        let (lines, status) = self.finish();
        assert!(status.success(), "{status}");
        lines
    }

    /// As `finish`, where it must fail with this code.
    #[track_caller]
    pub fn fail(&mut self, code: i32) -> Vec<String> {
        let (lines, status) = self.finish();
        assert_eq!(status.code(), Some(code));
        lines
    }

    /// What it has said on stderr; after its end that is all.
    pub fn errors(&mut self) -> String {
        while self.stderr.next().is_some() {}
        self.stderr.seen.join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            for lines in [&mut self.stdout, &mut self.stderr] {
                lines.seen.extend(lines.lines.try_iter());
            }
            eprintln!(
                "{}\nits output:\n{}\nits errors:\n{}\n",
                self.name,
                self.stdout.seen.join("\n"),
                self.stderr.seen.join("\n")
            );
        }
    }
}

struct Lines {
    lines: Receiver<String>,
    seen: Vec<String>,
    end: Instant,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static, end: Instant) -> Lines {
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Lines {
            lines,
            seen: Vec::new(),
            end,
        }
    }

    #[track_caller]
    fn next(&mut self) -> Option<String> {
        let left = self.end.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                self.seen.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("it runs longer than {DEADLINE:?}"),
        }
    }

    #[track_caller]
    fn after(&mut self, prefix: &str) -> String {
        while let Some(line) = self.next() {
            if let Some(rest) = line.strip_prefix(prefix) {
                return rest.to_owned();
            }
        }
        panic!("no line begins with {prefix:?}");
    }
}

/// Where cargo puts the example, built: `cargo test` has built it already, but
/// `cargo test --test discovery` has not.
pub fn path_of(name: &str) -> PathBuf {
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
        for (feature, is_on) in [
            ("pickle", cfg!(feature = "pickle")),
            ("secure", cfg!(feature = "secure")),
        ] {
            if is_on {
                cargo.args(["--features", feature]);
            }
        }
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
