//! A LAN of network namespaces, and programs that run on its hosts.
#![allow(dead_code)] // each test program uses its own part of it

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub const DEADLINE: Duration = Duration::from_secs(30);

/// For what is said at once: on a busy machine enough, and less than a silence that would tell the same, which
/// takes three seconds at least.
pub const AT_ONCE: Duration = Duration::from_secs(2);

/// A LAN; removed when dropped. `lan.sh` says what it is made of.
pub struct Lan {
    name: String,
}

impl Lan {
    /// None, after a notice, where there can be none: it needs root and iproute2 on Linux. In CI
    /// that is a failure.
    pub fn new(test: &str, hosts: usize) -> Option<Lan> {
        let trial = format!("lp{}t-{test}", std::process::id());
        if !cfg!(target_os = "linux") || !run("ip", &["netns", "add", &trial]) {
            let notice = format!(
                "SKIPPED, no LAN of network namespaces for `{test}`: it needs root and iproute2"
            );
            assert!(std::env::var_os("LANPEER_CI").is_none(), "{notice}");
            // Written past the test harness, which keeps the output of tests that pass.
            let _ = writeln!(std::io::stderr(), "{notice}");
            return None;
        }
        run("ip", &["netns", "del", &trial]);
        // Names of interfaces and namespaces stay short, and those of two tests differ.
        let lan = Lan {
            name: format!("lp{}-{test}", std::process::id()),
        };
        lan.script(&["up", &lan.name, &hosts.to_string()]);
        Some(lan)
    }

    /// Puts a host on the second network too.
    pub fn join(&self, host: usize) {
        self.script(&["join", &self.name, &host.to_string()]);
    }

    /// Puts a host on the first network by a second interface.
    pub fn join_twice(&self, host: usize) {
        self.script(&["twice", &self.name, &host.to_string()]);
    }

    /// Takes a host off the first network.
    pub fn leave(&self, host: usize) {
        self.script(&["leave", &self.name, &host.to_string()]);
    }

    /// Runs `ip` on a host.
    pub fn ip(&self, host: usize, arguments: &str) {
        let namespace = self.namespace(host);
        let arguments: Vec<_> = ["-n", &namespace]
            .into_iter()
            .chain(arguments.split(' '))
            .collect();
        assert!(run("ip", &arguments), "ip {arguments:?}");
    }

    /// Makes a host a router between its networks.
    pub fn forward(&self, host: usize) {
        let mut shell = self.command(host, Path::new("sh"));
        let status = shell.args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
        assert!(status.status().is_ok_and(|status| status.success()));
    }

    /// Pulls a host's cable out of the first network's switch, or puts it back.
    pub fn cable(&self, host: usize, plugged: bool) {
        let (switch, port) = (format!("{}-s", self.name), format!("swa{host}"));
        let state = if plugged { "up" } else { "down" };
        assert!(run("ip", &["-n", &switch, "link", "set", &port, state]));
    }

    pub fn namespace(&self, host: usize) -> String {
        format!("{}-{host}", self.name)
    }

    /// A command that will run on a host.
    pub fn command(&self, host: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace(host)])
            .arg(program);
        command
    }

    /// A peer's program on a host: this test program itself, in another role.
    pub fn actor(&self, host: usize) -> Actor {
        self.actor_as(super::actor::NAME, host)
    }

    /// The same in the role that the test of this name plays.
    pub fn actor_as(&self, role: &str, host: usize) -> Actor {
        let mut command =
            self.command(host, &std::env::current_exe().expect("this program's path"));
        command
            .args([role, "--exact", "--nocapture", "--test-threads=1"])
            .env(super::actor::ROLE, "1");
        Actor::start(command)
    }

    fn script(&self, arguments: &[&str]) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/discovery/lan.sh");
        assert!(run(script, arguments), "{script} {arguments:?}");
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        self.script(&["down", &self.name]);
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// A program that takes commands as lines and answers with lines.
pub struct Actor {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Actor {
    pub fn start(mut command: Command) -> Actor {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ip netns exec");
        let input = child.stdin.take().expect("it is piped");
        let output = child.stdout.take().expect("it is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // What the test harness says itself is not for us.
                if let Some((_, line)) = line.split_once("@ ") {
                    let _ = sender.send(line.to_owned());
                }
            }
        });
        Actor {
            child,
            input,
            lines,
        }
    }

    /// Gives a command, and returns its answer, which ends with the line `done`.
    #[track_caller]
    pub fn tell(&mut self, command: &str) -> Vec<String> {
        self.begin(command);
        self.finish(command)
    }

    pub fn begin(&mut self, command: &str) {
        writeln!(self.input, "{command}")
            .and_then(|()| self.input.flush())
            .expect("it reads");
    }

    #[track_caller]
    pub fn finish(&mut self, command: &str) -> Vec<String> {
        let mut answer = Vec::new();
        loop {
            match self.line(command) {
                line if line == "done" => return answer,
                line => answer.push(line),
            }
        }
    }

    /// The next line that it writes.
    #[track_caller]
    pub fn line(&mut self, what: &str) -> String {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => line,
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// Waits for a line that begins so; says how long that took.
    #[track_caller]
    pub fn until(&mut self, begin: &str) -> Duration {
        let start = Instant::now();
        self.line_that(&format!("`{begin}`"), |line| line.starts_with(begin));
        start.elapsed()
    }

    /// The first line of this kind that comes; those before it are printed.
    #[track_caller]
    pub fn line_that(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if is_it(&line) => return line,
                Ok(line) => println!("    past: {line}"),
                Err(error) => panic!("no {what}: {error}"),
            }
        }
    }

    /// What it writes within this time.
    pub fn lines_within(&mut self, time: Duration) -> Vec<String> {
        let end = Instant::now() + time;
        let next = || {
            let left = end.saturating_duration_since(Instant::now());
            self.lines.recv_timeout(left).ok()
        };
        std::iter::from_fn(next).collect()
    }

    /// Is it silent for so long?
    pub fn is_silent(&mut self, time: Duration) -> bool {
        self.lines.recv_timeout(time).is_err()
    }

    /// Sends it a signal: `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(run("kill", &[&format!("-{name}"), &id]), "kill -{name}");
    }

    /// Ends it without a chance to say goodbye.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
