//! Hello, world: one program listens, the other is given its address.
//!
//!     cargo run --example hello_world                        # first terminal
//!     cargo run --example hello_world -- 127.0.0.1:PORT      # second terminal
//!
//! The messages are JSON values, so the other side may be any program that
//! speaks the protocol, peerpy included. Between two machines, listen on an
//! address that the other one can reach: `-- --listen 192.168.0.3:0`.

use lanpeer::{Json, Peer, RecvTimeoutError};
use serde_json::{Value, json};
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

/// How long the caller waits for each answer.
const PATIENCE: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    env_logger::init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        [] => listen("127.0.0.1:0"),
        ["--listen", addr] => listen(addr),
        [addr] if !addr.starts_with('-') => call(addr),
        _ => Err("usage: hello_world [ADDRESS | --listen ADDRESS]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for one connection, answers each of its messages, ends with it.
fn listen(addr: &str) -> Result<(), Box<dyn Error>> {
    let peer = Peer::bind(addr)?;
    println!("listening on {}", peer.addrs()[0]);

    let conn = peer.accept::<Json<Value>>()?;
    println!("connected: {}", conn.peer_addr());
    for message in &conn {
        println!("received: {message}");
        if let Err(gone) = conn.send(&json!({ "heard": message })) {
            println!("not answered: {gone}");
        }
    }
    if let Some(reason) = conn.close_reason() {
        println!("ended: {reason}");
    }
    Ok(())
}

/// Sends a string and an object, and prints what comes back.
fn call(addr: &str) -> Result<(), Box<dyn Error>> {
    // The other side is told where this peer listens: on loopback only that.
    let loopback = addr.starts_with("127.");
    let peer = Peer::bind(if loopback { "127.0.0.1:0" } else { "0.0.0.0:0" })?;
    let conn = peer.connect::<Json<Value>>(addr)?;
    println!("connected: {}", conn.peer_addr());

    for message in [json!("hello, world"), json!({ "from": "lanpeer", "n": 1 })] {
        conn.send(&message)?;
        println!("sent: {message}");
        match conn.recv_timeout(PATIENCE) {
            Ok(answer) => println!("received: {answer}"),
            Err(RecvTimeoutError::Timeout) => println!("no answer within {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    conn.close()?;
    if let Some(reason) = conn.close_reason() {
        println!("ended: {reason}");
    }
    Ok(())
}
