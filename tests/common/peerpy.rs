//! A real peerpy 1.2.2, in a virtual environment of its own under `target/`.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::DEADLINE;

/// Installing from a package index may take this long.
const INSTALL_DEADLINE: Duration = Duration::from_secs(300);

/// The Python that has peerpy; made once. `None`, after a notice, where there is no python3 or
/// the package cannot be had. A failure instead where `LANPEER_CI` is set.
pub fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = PYTHON.get_or_init(|| {
        environment().inspect_err(|why| {
            // Written past the test harness, which keeps the output of tests that pass.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED, no peerpy to test against: {why}"
            );
        })
    });
    match made {
        Ok(python) => Some(python),
        Err(why) if std::env::var_os("LANPEER_CI").is_some() => {
            panic!("LANPEER_CI is set, so the tests against peerpy may not be skipped: {why}")
        }
        Err(_) => None,
    }
}

/// Several test programs may come here at once, and one may be stopped half-way: each makes its
/// own, and the first to finish renames it into place.
fn environment() -> Result<PathBuf, String> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let ready = home.join("peerpy-1.2.2");
    if !python_in(&ready).exists() {
        let own = home.join(format!("peerpy-1.2.2.{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&own); // of an earlier process with the same id
        let made = make_environment(&own);
        let renamed = made.is_ok() && std::fs::rename(&own, &ready).is_ok();
        if !renamed {
            let _ = std::fs::remove_dir_all(&own);
        }
        made?;
    }
    let python = python_in(&ready);
    let mut import = Command::new(&python);
    import.args(["-c", "import peerpy, requests"]);
    match run(import, DEADLINE) {
        Ok(()) => Ok(python),
        Err(why) => Err(format!(
            "{why}; remove {} to have it made anew",
            ready.display()
        )),
    }
}

fn make_environment(directory: &Path) -> Result<(), String> {
    let base = ["python3", "python"]
        .into_iter()
        .find(|name| run(version(name), DEADLINE).is_ok())
        .ok_or("python3 is not found")?;
    let mut venv = Command::new(base);
    venv.args(["-m", "venv"]).arg(directory);
    run(venv, INSTALL_DEADLINE)?;
    let mut pip = Command::new(python_in(directory));
    // peerpy imports requests, but does not declare it.
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    pip.args(["peerpy==1.2.2", "requests"]);
    run(pip, INSTALL_DEADLINE)
}

/// Fails where it is too old for peerpy.
fn version(name: &str) -> Command {
    let mut python = Command::new(name);
    python.args(["-c", "import sys; sys.exit(sys.version_info < (3, 7))"]);
    python
}

fn python_in(directory: &Path) -> PathBuf {
    if cfg!(windows) {
        directory.join("Scripts").join("python.exe")
    } else {
        directory.join("bin").join("python")
    }
}

/// Runs a command to its end; its output is the error.
fn run(mut command: Command, deadline: Duration) -> Result<(), String> {
    let what = format!("{command:?}");
    let mut process = Process::start(&mut command).map_err(|e| format!("{what}: {e}"))?;
    match process.wait(deadline) {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("{what}: {status}\n{}", process.story())),
        None => Err(format!(
            "{what}: not done within {deadline:?}\n{}",
            process.story()
        )),
    }
}

/// A program under test: its lines are awaited with a deadline, and it does not outlive its owner.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    /// Starts it with all three streams connected to this test.
    pub fn start(command: &mut Command) -> std::io::Result<Process> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let lines = lines_of(child.stdout.take().expect("piped"));
        let errors = lines_of(child.stderr.take().expect("piped"));
        let stdin = child.stdin.take();
        Ok(Process {
            child,
            stdin,
            lines,
            errors,
            seen: Vec::new(),
        })
    }

    /// The next line of its output; `None` once it has ended.
    #[track_caller]
    pub fn line(&mut self) -> Option<String> {
        self.line_until(Instant::now() + DEADLINE)
    }

    #[track_caller]
    fn line_until(&mut self, end: Instant) -> Option<String> {
        match self.lines.recv_timeout(left(end)) {
            Ok(line) => {
                self.seen.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("no further line within {DEADLINE:?}\n{}", self.story())
            }
        }
    }

    /// The rest of the next line that starts so; those before it are passed over.
    #[track_caller]
    pub fn line_after(&mut self, start: &str) -> String {
        let end = Instant::now() + DEADLINE;
        while let Some(line) = self.line_until(end) {
            if let Some(rest) = line.strip_prefix(start) {
                return rest.to_string();
            }
        }
        panic!("it ended without the line \"{start}…\"\n{}", self.story())
    }

    /// Writes a line to its input.
    #[track_caller]
    pub fn write_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("input is open");
        if let Err(e) = writeln!(stdin, "{line}").and_then(|()| stdin.flush()) {
            panic!("{e}\n{}", self.story());
        }
    }

    /// Its exit status, if it ends within the time.
    pub fn wait(&mut self, time: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + time;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
                _ => return None,
            }
        }
    }

    /// All that it has printed, for the message of a failed test.
    pub fn story(&mut self) -> String {
        // What is on its way; a program that goes on talking is not heard to the end.
        let end = Instant::now() + Duration::from_millis(200);
        self.seen.extend(std::iter::from_fn(|| {
            self.lines.recv_timeout(left(end)).ok()
        }));
        let errors = std::iter::from_fn(|| self.errors.recv_timeout(left(end)).ok());
        let errors: Vec<String> = errors.collect();
        format!(
            "its output:\n{}\nits errors:\n{}",
            self.seen.join("\n"),
            errors.join("\n")
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}

fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    receive
}

/// A process in which a real peerpy peer does what it is told; see `tests/peerpy/driver.py`.
pub struct Peerpy {
    process: Process,
    waiting: VecDeque<Value>,
    may_crash: bool,
    /// Where the peer listens.
    pub addr: SocketAddr,
}

impl Peerpy {
    /// Starts one, listening. `None` where there is no peerpy.
    #[track_caller]
    pub fn start() -> Option<Peerpy> {
        Peerpy::start_at("127.0.0.1:0")
    }

    /// Starts one that listens at this address.
    #[track_caller]
    pub fn start_at(addr: &str) -> Option<Peerpy> {
        let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peerpy/driver.py");
        let mut command = Command::new(python()?);
        let process = Process::start(command.arg(driver).arg(addr)).expect("start python");
        let addr = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut peerpy = Peerpy {
            process,
            waiting: VecDeque::new(),
            may_crash: false,
            addr,
        };
        let listening = peerpy.event("listening");
        peerpy.addr = listening["address"]
            .as_str()
            .expect("an address")
            .parse()
            .expect("parse");
        Some(peerpy)
    }

    /// Has it do something, such as `{"do": "send", "data": 1}`; gives its answer.
    #[track_caller]
    pub fn tell(&mut self, command: Value) -> Value {
        let name = command["do"].as_str().expect("a command").to_owned();
        self.begin(command);
        self.answer(&name)
    }

    /// Has it begin something that may take long.
    #[track_caller]
    pub fn begin(&mut self, command: Value) {
        self.process.write_line(&command.to_string());
    }

    /// The answer to the command of this name.
    #[track_caller]
    pub fn answer(&mut self, name: &str) -> Value {
        let answer = self.next("done", name);
        assert_eq!(answer.get("error"), None, "{}", self.process.story());
        answer
    }

    /// From now on its threads may die: the test is about that.
    pub fn may_crash(&mut self) {
        self.may_crash = true;
    }

    /// Has it connect, with peerpy's own options; whether it was accepted.
    #[track_caller]
    pub fn connect(&mut self, addr: SocketAddr, options: Value) -> bool {
        let mut command = json!({ "do": "connect", "address": addr.to_string() });
        let fields = command.as_object_mut().expect("an object");
        fields.extend(options.as_object().expect("options are an object").clone());
        self.tell(command)["connected"] == true
    }

    /// Has it connect where that raises an exception: which one.
    #[track_caller]
    pub fn connect_error(&mut self, addr: SocketAddr) -> String {
        let command = json!({ "do": "connect", "address": addr.to_string() });
        self.process.write_line(&command.to_string());
        let answer = self.next("done", "connect");
        let error = answer["error"].as_str().expect("an exception");
        error.split(':').next().unwrap_or(error).to_owned()
    }

    /// Has it send; `{"hex": "00ff"}` is bytes.
    #[track_caller]
    pub fn send(&mut self, data: Value) {
        assert_eq!(
            self.tell(json!({ "do": "send", "data": data }))["sent"],
            true
        );
    }

    /// The next event of this name. Events of other names stay for later.
    #[track_caller]
    pub fn event(&mut self, name: &str) -> Value {
        self.next("event", name)
    }

    /// The data of the next message that it received.
    #[track_caller]
    pub fn data(&mut self) -> Value {
        self.event("data")["data"].take()
    }

    /// How many events of this name have come and were not asked for.
    pub fn unasked(&self, name: &str) -> usize {
        self.waiting
            .iter()
            .filter(|line| line["event"] == name)
            .count()
    }

    #[track_caller]
    fn next(&mut self, key: &str, value: &str) -> Value {
        if let Some(at) = self.waiting.iter().position(|line| line[key] == value) {
            return self.waiting.remove(at).expect("just found");
        }
        // Not for each line: its keepalives go on and on.
        let end = Instant::now() + DEADLINE;
        while let Some(line) = self.process.line_until(end) {
            let line: Value = serde_json::from_str(&line).expect("a line of JSON");
            // A thread of peerpy that died is a failure, whatever the test is about.
            if line["event"] == "crash" && !self.may_crash {
                panic!("{line}\n{}", self.process.story());
            }
            if line[key] == value {
                return line;
            }
            self.waiting.push_back(line);
        }
        panic!(
            "peerpy's process ended before {key} {value}\n{}",
            self.process.story()
        )
    }
}
