//! A bare `TcpStream` speaks the bytes of docs/protocol.md, and sees byte for byte what lanpeer
//! answers. What is not well formed is in `hostile`.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/dice.rs"]
mod dice;
#[path = "../common/peers.rs"]
mod peers;

mod asked;
mod asking;
mod dialects;
mod ends;
mod frames;
mod hostile;
mod messages;
mod streams;

use std::net::SocketAddr;

use common::wire::{Wire, WireListener};
use common::{Task, spawn};
use lanpeer::{ConnectOptions, Connection, Error, Format, Peer};
use serde::{Deserialize, Serialize};

/// The keys of a HELLO as peerpy sends it, and as a lanpeer does.
const PEERPY: &str = "data_type=json&strict=True";
const LANPEER: &str = "data_type=json&strict=1&v=1";

type Connecting<F> = Task<Result<Connection<F>, Error>>;

fn connecting<F: Format>(alice: &Peer, addr: SocketAddr, options: ConnectOptions) -> Connecting<F> {
    let alice = alice.clone();
    spawn(move || options.connect::<F>(&alice, addr))
}

/// Alice connects to a bare socket, which answers with these bytes.
fn answered<F: Format>(
    alice: &Peer,
    options: ConnectOptions,
    answer: &[u8],
) -> (Wire, Result<Connection<F>, Error>) {
    let listener = WireListener::bind();
    let connecting = connecting::<F>(alice, listener.addr(), options);
    let mut wire = listener.accept();
    assert_eq!(wire.fields().kind, "HELLO");
    wire.write(answer);
    (wire, connecting.wait("connect"))
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: u8,
    name: String,
}

fn point() -> Point {
    Point {
        x: 7,
        name: "north".into(),
    }
}

/// {"x": 7, "name": "north"} in MessagePack: a map, with the names of the fields.
const POINT: &[u8] = b"\x82\xa1x\x07\xa4name\xa5north";
