//! What connections cost while nothing happens on them: memory, threads and processor time of one
//! end, which is a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::measure::{RESIDENT, THREADS, child, processor_time, status};
use crate::program::Program;

/// The first connections pay for what is made once.
const FIRST: usize = 10;
const FURTHER: usize = 500;
const QUIET: Duration = Duration::from_secs(2);

pub const ARG: &str = "--idle-end";

/// Per connection.
pub struct Idle {
    pub kib: f64,
    pub threads: f64,
    /// Of all of them together, in one second.
    pub processor: f64,
}

/// Makes the connections from here to a child process, which says what they cost there.
pub fn measure(program: &dyn Program) -> Option<Idle> {
    let mut end = child(&[ARG, program.name()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child process");
    let mut tell = end.stdin.take().expect("its input");
    let mut lines = BufReader::new(end.stdout.take().expect("its output")).lines();
    let mut line = || lines.next().and_then(Result::ok);
    let outcome = line().map(|addr| {
        let addr = addr.parse().expect("an address");
        let _first = program.dial(addr, FIRST);
        line().expect("the first are there");
        let _further = program.dial(addr, FURTHER);
        let said = line().expect("what they cost");
        let said: Vec<f64> = said
            .split(' ')
            .map(|n| n.parse().expect("a number"))
            .collect();
        Idle {
            kib: said[0] / FURTHER as f64,
            threads: said[1] / FURTHER as f64,
            processor: said[2] / QUIET.as_secs_f64(),
        }
    });
    let _ = tell.write_all(b"\n");
    end.wait().expect("its end");
    outcome
}

/// The child process.
pub fn end(program: &dyn Program) {
    let Some(mut served) = program.serve() else {
        return;
    };
    println!("{}", served.addr);
    (served.wait)(FIRST);
    let before = (status(RESIDENT), status(THREADS));
    println!("ready");
    (served.wait)(FURTHER);
    let kib = status(RESIDENT).saturating_sub(before.0);
    let threads = status(THREADS).saturating_sub(before.1);
    let ticks = processor_time();
    thread::sleep(QUIET);
    println!("{kib} {threads} {}", processor_time() - ticks);
    let _ = std::io::stdin().lock().read_line(&mut String::new());
    // Without the ends of so many connections.
    std::process::exit(0);
}
