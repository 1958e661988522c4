//! Processes of this same program that hold peers and do as they are told, a line at a time.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use lanpeer::{Bytes, Connection, Event, Peer};

use crate::common::peerpy::Process;
use crate::common::{DEADLINE, builder};

/// Set in the environment of a process that is to be a child.
const ROLE: &str = "LANPEER_LOAD_CHILD";

/// More than any of these tests wants.
pub const MANY: usize = 4000;

/// A process with one peer, which sends each message back to where it came from.
pub struct Child {
    process: Process,
    pub id: u32,
    /// Where its peer listens.
    pub addr: SocketAddr,
}

impl Child {
    /// Starts one. `limit` is a command of the shell that runs before it, such as `ulimit -n 64`.
    #[track_caller]
    pub fn start(limit: &str) -> Child {
        let mut shell = Command::new("sh");
        let script = format!("{limit} && exec \"$0\" \"$@\"");
        shell.arg("-c").arg(script);
        shell.arg(std::env::current_exe().expect("this program's path"));
        shell.args(["--exact", "child::child", "--nocapture", "--test-threads=1"]);
        // One heap: each thread's own would cost 64 MiB of addresses, and hide what is used.
        shell.env(ROLE, "1").env("MALLOC_ARENA_MAX", "1");
        let process = Process::start(&mut shell).expect("start a shell");
        let mut child = Child {
            process,
            id: 0,
            addr: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        // `exec` keeps the number of the shell.
        child.id = child.answer("@ process ").parse().expect("a number");
        child.addr = child.answer("@ listens ").parse().expect("an address");
        child
    }

    /// The rest of its next line that starts so.
    #[track_caller]
    pub fn answer(&mut self, start: &str) -> String {
        self.process.line_after(start)
    }

    /// Has it do something; what it says of it.
    #[track_caller]
    pub fn tell(&mut self, order: &str) -> String {
        self.process.write_line(order);
        self.answer("@ done ")
    }

    /// [`tell`](Child::tell), for a number.
    #[track_caller]
    pub fn ask(&mut self, order: &str) -> u64 {
        let answer = self.tell(order);
        answer
            .parse()
            .unwrap_or_else(|_| panic!("{order}: {answer}"))
    }

    pub fn threads(&self) -> u64 {
        self.status("Threads:")
    }

    /// Resident memory in kB.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The part of it that it shares with nobody, in kB.
    pub fn private(&self) -> u64 {
        number_after(&self.read("smaps_rollup"), "Private_Dirty:")
    }

    pub fn files(&self) -> u64 {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", self.id));
        folder.expect("a child that lives").count() as u64
    }

    /// Processor time so far, in hundredths of a second.
    pub fn ticks(&self) -> u64 {
        let stat = self.read("stat");
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        [11, 12]
            .map(|n| fields[n].parse::<u64>().expect("ticks"))
            .iter()
            .sum()
    }

    fn status(&self, name: &str) -> u64 {
        number_after(&self.read("status"), name)
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.id)).expect("a child that lives")
    }
}

fn number_after(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    number
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// What a child runs.
#[test]
fn child() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let peer = builder()
        .max_connections(MANY)
        // What is full or slow is the system here, not the other side's patience.
        .timeout(DEADLINE)
        .close_timeout(DEADLINE)
        .bind("127.0.0.1:0")
        .expect("a free port");
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let (events, own) = (peer.events(), Arc::clone(&seen));
    std::thread::spawn(move || {
        for event in events {
            if !matches!(event, Event::Connected { .. } | Event::Closed { .. }) {
                own.lock().unwrap().push(event.to_string());
            }
        }
    });
    let offers = peer.incoming();
    std::thread::spawn(move || {
        for offer in offers {
            // A failure is the limit's doing, and the asker's to see.
            let _ = offer.accept_with::<Bytes>(|conn, message| {
                // Bursts go through the queue, which a thread empties if there is one.
                let times = if message.starts_with(b"burst") {
                    100
                } else {
                    1
                };
                for _ in 0..times {
                    let _ = conn.send(&message);
                }
            });
        }
    });
    // The test harness has begun a line.
    println!("\n@ process {}", std::process::id());
    println!("@ listens {}", peer.local_addr());
    let mut held = Vec::new();
    let mut files = Vec::new();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            // So many connections more, all to be held.
            ["connect", to, count] => {
                let count: usize = count.parse().unwrap();
                let made = (0..count).map(|_| peer.connect::<Bytes>(to));
                match made.collect::<Result<Vec<_>, _>>() {
                    Ok(made) => {
                        held.extend(made);
                        say(held.len());
                    }
                    Err(error) => say(format!("{error:?}")),
                }
            }
            // Sends over each of them, then receives from each of them.
            ["use"] => say(use_all(&held)),
            // Connects, sends, has it back, closes; again and again.
            ["row", to, count] => say(row(&peer, to, count.parse().unwrap())),
            ["close", count] => {
                let count: usize = count.parse().unwrap();
                say(held
                    .drain(..count)
                    .filter(|conn| conn.close().is_ok())
                    .count());
            }
            ["open"] => say(peer.connections().len()),
            ["events", about] => {
                let seen = seen.lock().unwrap();
                say(seen.iter().filter(|event| event.contains(about)).count());
            }
            // Takes file descriptors until there are none.
            ["files"] => {
                files.extend(std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()));
                say(files.len());
            }
            ["release"] => {
                say(files.len());
                files.clear();
            }
            _ => panic!("{line}"),
        }
    }
    peer.stop();
}

fn say(what: impl std::fmt::Display) {
    println!("@ done {what}");
    let _ = std::io::stdout().flush();
}

fn use_all(held: &[Connection<Bytes>]) -> usize {
    for (number, conn) in held.iter().enumerate() {
        conn.send(&number.to_string()).expect("sent");
    }
    let back = |(number, conn): (usize, &Connection<Bytes>)| {
        conn.recv_timeout(DEADLINE) == Ok(number.to_string().into_bytes())
    };
    held.iter().enumerate().filter(|&pair| back(pair)).count()
}

/// How many of them went as they should.
fn row(peer: &Peer, to: &str, count: usize) -> usize {
    let once = || -> Result<bool, Box<dyn std::error::Error>> {
        let conn = peer.connect::<Bytes>(to)?;
        conn.send("there and back")?;
        let back = conn.recv_timeout(DEADLINE)?;
        conn.close()?;
        Ok(back == b"there and back")
    };
    (0..count).filter(|_| matches!(once(), Ok(true))).count()
}
