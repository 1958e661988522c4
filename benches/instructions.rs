//! What `.ci/instructions.py` counts the instructions of: messages of 64 bytes, sent or received in
//! one of some ways, over a connection whose other end is a bare socket in the same process, which
//! speaks frames.
//!
//!     cargo bench --bench instructions -- send 1000
//!
//! A count can only be compared if the threads do the same in every run, however they are
//! scheduled. So no thread ever waits for a single message of another: where sends gather, the
//! socket is full before the first of them, and where `recv` takes, all messages are there already.

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use lanpeer::crossbeam_channel::bounded;
use lanpeer::{Bytes, Connection, Encode, Format, Peer, Raw};
use serde::{Deserialize, Serialize};

const HEADER: usize = 128;
const SIZE: usize = 64;

/// More than the sockets hold.
const FULL: usize = 16 << 20;

/// Counts are multiples of this.
const BLOCK: usize = 500;

/// Longer than what makes two messages a burst.
const ALONE: Duration = Duration::from_micros(200);
/// Between two looks at what another thread does.
const MOMENT: Duration = Duration::from_millis(20);

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let (case, count) = (args.next(), args.next());
    let Some(count) = count.and_then(|count| count.parse().ok()) else {
        return println!(
            "how, and how many: send, send-struct, send-alone, handler, recv, recv-struct"
        );
    };
    match case.as_deref().unwrap_or_default() {
        "send" => send::<Bytes>(vec![0; FULL], vec![7; SIZE], count),
        "send-struct" => {
            let full = Reading {
                place: "x".repeat(FULL),
                ..Reading::example()
            };
            send::<Raw<Reading>>(full, Reading::example(), count);
        }
        "send-alone" => send_alone(count),
        "handler" => handler(count),
        "recv" => recv::<Bytes>(&[7; SIZE], count),
        "recv-struct" => recv::<Raw<Reading>>(&Reading::encoded(), count),
        case => panic!("{case} is not known"),
    }
}

/// 64 bytes as MessagePack.
#[derive(Serialize, Deserialize)]
struct Reading {
    sensor: u32,
    celsius: f64,
    place: String,
    valid: bool,
}

impl Reading {
    fn example() -> Reading {
        Reading {
            sensor: 70_000,
            celsius: 21.625,
            place: String::from("north side, the roof"),
            valid: true,
        }
    }

    fn encoded() -> [u8; SIZE] {
        let bytes = rmp_serde::to_vec_named(&Reading::example()).expect("encoded");
        bytes.try_into().expect("64 bytes")
    }
}

/// Sends that gather: the rest of a large message, for which the writer thread waits, is in their way
/// until all are sent.
fn send<F: Format>(full: F::Item, item: F::Item, count: usize)
where
    F::Item: Encode<F>,
{
    let (peer, conn, other) = connect(|peer, addr| peer.connect::<F>(addr), 1);
    let conn_too = conn.clone();
    // In a thread of its own, whose buffer for encoding it takes along.
    let large = thread::spawn(move || conn_too.send(&full).expect("sent"));
    large.join().expect("the large message");
    // The writer thread takes it all before the first of them comes.
    thread::sleep(10 * MOMENT);
    for _ in 0..count {
        conn.send(black_box(&item)).expect("sent");
    }
    let drain = thread::spawn(move || drain(other));
    conn.flush().expect("written");
    conn.abort();
    let _ = drain.join().expect("the drain");
    drop(peer);
}

/// Sends of which each is written to the socket at once, and read before the next.
fn send_alone(count: usize) {
    let (peer, conn, mut other) = connect(|peer, addr| peer.connect::<Bytes>(addr), 1);
    for _ in 0..count {
        conn.send(black_box(&[7; SIZE])).expect("sent");
        other.read_exact(&mut [0; 1 + SIZE]).expect("read");
        thread::sleep(ALONE);
    }
    drop(other);
    conn.abort();
    drop(peer);
}

fn handler(count: usize) {
    let (told, done) = bounded(1);
    let mut seen = 0;
    let handler = move |_: &Connection<Bytes>, message: Vec<u8>| {
        black_box(message);
        seen += 1;
        if seen == count {
            told.send(()).expect("told");
        }
    };
    let (peer, conn, other) = connect(|peer, addr| peer.connect_with::<Bytes>(addr, handler), 1);
    write(&other, &[7; SIZE], count);
    done.recv().expect("done");
    drop(other);
    conn.abort();
    drop(peer);
}

/// Messages that are received when all are decoded.
fn recv<F: Format>(payload: &[u8; SIZE], count: usize) {
    let (peer, conn, other) = connect(|peer, addr| peer.connect::<F>(addr), count);
    write(&other, payload, count);
    while conn.stats().receive_queue_messages < count {
        thread::sleep(MOMENT);
    }
    for _ in 0..count {
        black_box(conn.recv().expect("a message"));
    }
    drop(other);
    conn.abort();
    drop(peer);
}

/// A peer whose receive queue has room for `room` messages, its connection, and the other end.
fn connect<C>(
    connect: impl FnOnce(&Peer, SocketAddr) -> lanpeer::Result<C>,
    room: usize,
) -> (Peer, C, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("its address");
    let accepting = thread::spawn(move || {
        let (mut other, _) = listener.accept().expect("accepted");
        other
            .read_exact(&mut [0; 2 * HEADER])
            .expect("HELLO and WHO");
        let answer = [header("ACCEPT|v=2"), header("WHO|id=1")].concat();
        other.write_all(&answer).expect("written");
        other
    });
    let peer = Peer::builder()
        .invisible(true)
        .receive_queue(room)
        .receive_queue_bytes(1 << 30)
        .send_queue(1 << 30)
        // Or a look at the system's table of connections now and then would count.
        .keepalive(Some(Duration::from_secs(16 * 60 * 60)))
        .bind("127.0.0.1:0")
        .expect("a peer");
    let conn = connect(&peer, addr).expect("connected");
    (peer, conn, accepting.join().expect("the other end"))
}

fn header(text: &str) -> [u8; HEADER] {
    let mut header = [b'|'; HEADER];
    header[..text.len()].copy_from_slice(text.as_bytes());
    header
}

fn drain(mut other: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    while other.read(&mut buffer)? > 0 {}
    Ok(())
}

/// Writes whole blocks: the bare side costs next to nothing for each message.
fn write(mut other: &TcpStream, payload: &[u8; SIZE], count: usize) {
    let block = [&[SIZE as u8][..], payload].concat().repeat(BLOCK);
    for _ in 0..count / BLOCK {
        other.write_all(&block).expect("written");
    }
}
