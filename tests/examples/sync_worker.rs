//! Workers come, die in the middle of a job, and hang, while a pool counts.

use std::collections::BTreeSet;

use crate::beacons::Port;
use crate::examples::program::Program;

fn start(port: &Port, args: &[&str]) -> Program {
    let port = port.number.to_string();
    let network = ["--bind", "127.0.0.1", "--port", &port];
    Program::start("sync_worker", &[args, &network].concat())
}

#[test]
fn jobs_of_workers_that_die_are_done_by_others() {
    let port = Port::new();
    let mut pool = start(&port, &["pool", "400000", "--jobs", "30"]);
    let mut first = start(&port, &["work", "--name", "first"]);
    let mut second = start(&port, &["work", "--name", "second"]);
    first.line_after("job ");
    second.line_after("job ");

    // Stopped first, so that it cannot finish in the moment before it dies. Where it just had
    // finished, the pool has given it the next job long before the other one has begun two more.
    first.signal("STOP");
    second.skip();
    second.line_after("job ");
    second.line_after("job ");
    first.kill();
    pool.line_with(" comes back");
    second.kill();

    let mut third = start(&port, &["work", "--name", "third"]);
    third.line_after("job ");
    let lines = pool.succeed();
    let total = lines.last().map(String::as_str);
    assert_eq!(total, Some("33860 primes below 400000"));

    let done = pool.said().iter().filter(|line| line.contains(" done by "));
    let numbers: Vec<&str> = done
        .map(|line| line.split(' ').nth(1).expect("a number"))
        .collect();
    let all: BTreeSet<&str> = numbers.iter().copied().collect();
    assert_eq!((numbers.len(), all.len()), (30, 30));
}

#[test]
fn it_explains_its_arguments() {
    let mut program = Program::start("sync_worker", &["rest"]);
    program.fail(1);
    assert!(program.errors().contains("usage: "));
}
