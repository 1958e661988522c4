//! Many connections that end together, on a machine that has many more. A graceful end looks whether
//! everything is acknowledged, and the system's table of that has a row for each connection.
//!
//! `LANPEER_ROUNDS=100` repeats it so often.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use lanpeer::{Bytes, Peer};

use crate::common::peerpy::Process;
use crate::common::{DEADLINE, builder, until};

const CONNECTIONS: usize = 1_000;

/// Of the system's table, besides.
const ROWS: usize = 10_000;

const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

/// Set in the environment of the process that has them: how many connections, and rows.
const ROLE: &str = "LANPEER_LOAD_ENDS";

#[test]
fn many_connections_end_in_time() {
    let rounds = std::env::var("LANPEER_ROUNDS").map_or(1, |count| count.parse().expect("a count"));
    for case in ["stopped", "dropped"].repeat(rounds) {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -n 16000 && exec \"$0\" \"$@\""]);
        shell.arg(std::env::current_exe().expect("this program's path"));
        shell.args(["--exact", "ends::role", "--nocapture", "--test-threads=1"]);
        shell.env(ROLE, format!("{case} {CONNECTIONS} {ROWS}"));
        let mut process = Process::start(&mut shell).expect("start a shell");
        // On a busy machine it takes long to open all of them, so that it says how far it is.
        loop {
            let line = process.line_after("@ ");
            println!("{line}");
            if line.contains(" took ") {
                break;
            }
        }
        let status = process.wait(DEADLINE).expect("it ends");
        assert!(status.success(), "{}", process.story());
    }
}

#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let words: Vec<&str> = role.split(' ').collect();
    let [case, count, rows] = words[..] else {
        panic!("{role}")
    };
    let (count, rows): (usize, usize) = (count.parse().unwrap(), rows.parse().unwrap());
    let others = TcpListener::bind("127.0.0.1:0").unwrap();
    // Each has two ends, and each end a row.
    let _idle: Vec<_> = (0..rows / 2)
        .map(|_| {
            let there = TcpStream::connect(others.local_addr().unwrap()).unwrap();
            (there, others.accept().unwrap())
        })
        .collect();
    let peer = builder()
        .max_connections(2 * count)
        .timeout(DEADLINE)
        .close_timeout(CLOSE_TIMEOUT)
        .bind("127.0.0.1:0")
        .unwrap();
    println!("\n@ {rows} rows");
    match case {
        "stopped" => stopped(&peer, count, rows),
        _ => dropped(&peer, count, rows),
    }
}

/// A socket that speaks the text protocol alone, whose offer is accepted. Its system acknowledges
/// everything, and it never ends anything.
fn text_peer(peer: &Peer) -> (TcpStream, lanpeer::Connection<Bytes>) {
    let mut socket = TcpStream::connect(peer.local_addr()).unwrap();
    let own = socket.local_addr().unwrap();
    let hello = format!("HELLO|peer_name={own}&data_type=bytes&strict=1");
    socket
        .write_all(format!("{hello:|<128}").as_bytes())
        .unwrap();
    let offer = peer.offers().recv_timeout(DEADLINE).unwrap();
    let conn = offer.accept::<Bytes>().unwrap();
    socket.read_exact(&mut [0; 128]).unwrap();
    (socket, conn)
}

fn text_peers(peer: &Peer, count: usize) -> Vec<(TcpStream, lanpeer::Connection<Bytes>)> {
    let open = |number| {
        if number % 100 == 0 {
            println!("\n@ {number} are open");
        }
        text_peer(peer)
    };
    (0..count).map(open).collect()
}

fn stopped(peer: &Peer, count: usize, rows: usize) {
    let open = text_peers(peer, count);
    for (_, conn) in &open {
        conn.send("on its way").unwrap();
    }
    let start = Instant::now();
    peer.stop();
    let took = start.elapsed();
    println!("\n@ {count} connections, {rows} rows: stop took {took:?}");
    // Everything is acknowledged, so nothing is left for the deadline.
    assert!(took < CLOSE_TIMEOUT, "{took:?}");
}

/// Each with a message that nobody has taken.
fn dropped(peer: &Peer, count: usize, rows: usize) {
    let open = text_peers(peer, count * 9 / 10);
    for (mut socket, conn) in open.iter().map(|(socket, conn)| (socket, conn)) {
        let header = "DATA|data_size=4&data_type=bytes";
        socket
            .write_all(format!("{header:|<128}text").as_bytes())
            .unwrap();
        conn.send("on its way").unwrap();
    }
    until("all have come", || {
        let waits = |conn: &lanpeer::Connection<Bytes>| conn.stats().receive_queue_messages == 1;
        open.iter().all(|(_, conn)| waits(conn))
    });
    let (sockets, connections): (Vec<_>, Vec<_>) = open.into_iter().unzip();
    let count = connections.len();
    let start = Instant::now();
    drop(connections);
    let took = start.elapsed();
    println!("\n@ {count} connections, {rows} rows: to drop them took {took:?}");
    assert!(took < CLOSE_TIMEOUT / 4, "{took:?}");
    until("all have ended", || peer.connections().is_empty());
    let ended = start.elapsed();
    println!("and {ended:?} until all had ended");
    assert!(ended < CLOSE_TIMEOUT, "{ended:?}");
    drop(sockets);
}
