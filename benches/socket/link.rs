//! One-way messages over a link of 1 Gbit/s between two network namespaces, where bytes cost what they
//! cost on a LAN. Each side is a process of its own. Needs root and the programs `ip` and `tc`; where
//! they are not to be had, the rows are left out.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::measure::median;
use crate::program::Program;

/// The sizes of the messages in bytes, and what the rows are called.
pub const ROWS: [(usize, &str); 4] = [
    (16, "one-way, 16 B, 1 Gbit/s"),
    (64, "one-way, 64 B, 1 Gbit/s"),
    (256, "one-way, 256 B, 1 Gbit/s"),
    (1024, "one-way, 1 KiB, 1 Gbit/s"),
];
/// What a receiver's process is called with, and a sender's.
pub const RECEIVE: &str = "link-receive";
pub const SEND: &str = "link-send";

/// Bytes per second of the link, and how long a program runs in one round.
const RATE: f64 = 125e6;
const ROUND: f64 = 0.5;

const SENDER: &str = "10.78.0.1";
const RECEIVER: &str = "10.78.0.2";

/// Two network namespaces and the link between them, taken away when this is dropped.
struct Link {
    names: [String; 2],
}

impl Link {
    fn new() -> Option<Link> {
        let names = ["a", "b"].map(|side| format!("lanpeer-link-{side}-{}", std::process::id()));
        let link = Link { names };
        let [a, b] = &link.names;
        let ip = |args: &str| run("ip", args);
        ip(&format!("netns add {a}"))?;
        ip(&format!("netns add {b}"))?;
        ip(&format!(
            "-n {a} link add link0 type veth peer name link0 netns {b}"
        ))?;
        for (name, addr) in [(a, SENDER), (b, RECEIVER)] {
            ip(&format!("-n {name} addr add {addr}/24 dev link0"))?;
            ip(&format!("-n {name} link set link0 up"))?;
            let qdisc = "qdisc add dev link0 root tbf rate 1gbit burst 64kb latency 50ms";
            ip(&format!("netns exec {name} tc {qdisc}"))?;
        }
        Some(link)
    }

    /// Messages per second of one program.
    fn measure(&self, program: &str, size: usize) -> Option<f64> {
        let count = ((RATE * ROUND) as usize / (size + 4)).to_string();
        let exe = std::env::current_exe().ok()?;
        let [a, b] = &self.names;
        let start = |name: &str, args: &[&str]| {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", name]).arg(&exe).args(args);
            command.stdout(Stdio::piped()).spawn().ok()
        };
        let size = size.to_string();
        let mut receiver = start(b, &[RECEIVE, program, &size, &count])?;
        let mut lines = BufReader::new(receiver.stdout.take()?).lines();
        let addr = lines.next()?.ok()?;
        if addr.parse::<SocketAddr>().is_err() {
            // It cannot do that, and says so in place of an address.
            receiver.wait().ok()?;
            return None;
        }
        let mut sender = start(a, &[SEND, program, &addr, &size, &count])?;
        let seconds: f64 = lines.next()?.ok()?.parse().ok()?;
        sender.wait().ok()?;
        receiver.wait().ok()?;
        Some(count.parse::<f64>().ok()? / seconds)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for name in &self.names {
            run("ip", &format!("netns del {name}"));
        }
    }
}

/// Runs a program, quietly; `None` where it fails.
pub fn run(program: &str, args: &str) -> Option<()> {
    let mut command = Command::new(program);
    command.args(args.split_whitespace());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().ok()?.success().then_some(())
}

/// Messages per second of each program, for each of [`ROWS`]: medians. `None`: this machine has no
/// such link.
pub fn measure(programs: &[&dyn Program], rounds: usize) -> Option<Vec<Vec<Option<f64>>>> {
    let link = Link::new()?;
    let of_size = |(size, _)| {
        let mut values = vec![Vec::new(); programs.len()];
        for _ in 0..rounds {
            for (program, values) in programs.iter().zip(&mut values) {
                values.extend(link.measure(program.name(), size));
            }
        }
        let middle = |values: &Vec<f64>| (!values.is_empty()).then(|| median(values));
        values.iter().map(middle).collect()
    };
    Some(ROWS.into_iter().map(of_size).collect())
}

/// The receiver's process. Says where it listens, and then how long the messages took.
pub fn receive(program: &dyn Program, size: usize, count: usize) {
    let mut out = std::io::stdout();
    let mut tell = |addr: SocketAddr| {
        writeln!(out, "{addr}").expect("written");
        out.flush().expect("written");
    };
    let seconds = program.link_receive(RECEIVER, size, count, &mut tell);
    println!("{}", seconds.unwrap_or(f64::NAN));
}

/// A stopwatch that the first message starts.
#[derive(Default)]
pub struct Watch(Option<Instant>);

impl Watch {
    #[inline]
    pub fn start(&mut self) {
        self.0.get_or_insert_with(Instant::now);
    }

    pub fn seconds(&self) -> f64 {
        self.0
            .map_or(f64::NAN, |begin| begin.elapsed().as_secs_f64())
    }
}

/// A socket that has been accepted at this address.
pub fn accept(ip: &str, tell: &mut dyn FnMut(SocketAddr)) -> TcpStream {
    let listener = TcpListener::bind((ip, 0)).expect("a port");
    tell(listener.local_addr().expect("its address"));
    listener.accept().expect("accepted").0
}

/// Waits until the other side has closed.
pub fn until_closed(mut socket: &TcpStream) {
    while matches!(socket.read(&mut [0; 1024]), Ok(1..)) {}
}
