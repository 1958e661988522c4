//! One thread sends to many connections in turn: how fast, and how much memory both ends take.
//! Each run is a process of its own.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use lanpeer::crossbeam_channel::unbounded;
use lanpeer::{Bytes, Connection};

use crate::limit::{HEADER, pair};
use crate::measure::{PEAK, THREADS, child, status};
use crate::peers::{By, peer};

pub const COUNTS: [usize; 4] = [1, 10, 100, 1_000];
/// Bytes of a message.
pub const SIZE: usize = 4 << 10;
/// In all.
const MESSAGES: usize = 200_000;
/// The limit's, each way: 256 KiB each would be half a gigabyte for 1,000 connections.
pub const BUFFER: usize = 32 << 10;

pub const ARG: &str = "--many-connections";

pub struct Many {
    /// Bytes per second, of all connections together.
    pub speed: f64,
    /// Of the whole process.
    pub peak_mib: f64,
    pub threads: u64,
}

pub fn measure(program: &str, connections: usize) -> Many {
    let run = child(&[ARG, program, &connections.to_string()])
        .stderr(Stdio::inherit())
        .output();
    let said = String::from_utf8(run.expect("a child process").stdout).expect("text");
    let said: Vec<f64> = said
        .split_whitespace()
        .map(|n| n.parse().expect("a number"))
        .collect();
    Many {
        speed: said[0],
        peak_mib: said[1] / 1024.0,
        threads: said[2] as u64,
    }
}

/// The child process.
pub fn run(program: &str, connections: usize) {
    let each = MESSAGES / connections;
    let (time, threads) = match program {
        "limit" => limit(connections, each),
        "handler" => lanpeer(By::Handler, connections, each),
        _ => lanpeer(By::Recv, connections, each),
    };
    let bytes = connections * each * SIZE;
    println!(
        "{} {} {threads}",
        bytes as f64 / time.as_secs_f64(),
        status(PEAK)
    );
    // Without the ends of so many connections.
    std::process::exit(0);
}

fn limit(connections: usize, each: usize) -> (Duration, u64) {
    let ready = Arc::new(Barrier::new(connections + 2));
    let mut sockets = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..connections {
        let (socket, mut other) = pair();
        sockets.push((socket, Vec::with_capacity(BUFFER)));
        let ready = Arc::clone(&ready);
        readers.push(thread::spawn(move || {
            let mut buffer = vec![0; BUFFER];
            ready.wait();
            let mut left = each * (HEADER + SIZE);
            while left > 0 {
                left -= other.read(&mut buffer).expect("read");
                black_box(&buffer);
            }
        }));
    }
    let sending = Arc::clone(&ready);
    let sender = thread::spawn(move || {
        sending.wait();
        let message = [&[b'|'; HEADER][..], &[7; SIZE]].concat();
        for _ in 0..each {
            for (socket, buffer) in &mut sockets {
                if buffer.len() + message.len() > BUFFER {
                    flush(socket, buffer);
                }
                buffer.extend_from_slice(&message);
            }
        }
        for (socket, buffer) in &mut sockets {
            flush(socket, buffer);
        }
    });
    ready.wait();
    let begin = Instant::now();
    let threads = status(THREADS);
    for reader in readers {
        reader.join().expect("a reader");
    }
    let time = begin.elapsed();
    sender.join().expect("the sender");
    (time, threads)
}

fn flush(socket: &mut TcpStream, buffer: &mut Vec<u8>) {
    socket.write_all(buffer).expect("written");
    buffer.clear();
}

fn lanpeer(by: By, connections: usize, each: usize) -> (Duration, u64) {
    let (bob, alice) = (peer(), peer());
    let addr = bob.local_addr();
    let (told, done) = unbounded();
    let offers = bob.incoming();
    let accepting = thread::spawn(move || {
        for offer in offers.take(connections) {
            let told = told.clone();
            let mut seen = 0;
            let mut take = move |message: Vec<u8>| {
                black_box(message);
                seen += 1;
                if seen == each {
                    told.send(()).expect("told");
                }
            };
            match by {
                By::Handler => {
                    let handler = move |_: &Connection<Bytes>, message| take(message);
                    drop(offer.accept_with(handler).expect("accepted"));
                }
                By::Recv => {
                    let conn = offer.accept::<Bytes>().expect("accepted");
                    thread::spawn(move || conn.iter().for_each(take));
                }
            }
        }
    });
    let conns: Vec<_> = (0..connections)
        .map(|_| alice.connect::<Bytes>(addr).expect("connected"))
        .collect();
    accepting.join().expect("the other side");
    let begin = Instant::now();
    let sender = thread::spawn(move || {
        let message = vec![7; SIZE];
        for _ in 0..each {
            for conn in &conns {
                conn.send(&message).expect("sent");
            }
        }
        conns
    });
    for _ in 0..connections {
        done.recv().expect("done");
    }
    let time = begin.elapsed();
    let threads = status(THREADS);
    drop(sender.join().expect("the sender"));
    (time, threads)
}
