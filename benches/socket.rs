//! lanpeer beside a bare socket: one-way throughput and round trips, in one run.
//!
//!     cargo bench --bench socket
//!
//! The limit is the best blocking program that we know over a bare `TcpStream`, with the same
//! 128-byte headers: writes and reads of 256 KiB, the consumer reads the socket itself. Both ends
//! run in this process. Rounds are interleaved, and medians are printed, as ratios to the limit of
//! the same run. It prints figures and asserts nothing.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use lanpeer::{Bytes, Connection, Peer, crossbeam_channel};

const ROUNDS: usize = 5;
const HEADER: usize = 128;
const BUFFER: usize = 256 << 10;

fn main() {
    println!(
        "one-way            limit     handler   recv      processor s per million: limit, handler, recv"
    );
    for (size, count) in [(64, 2_000_000), (4 << 10, 300_000), (1 << 20, 2_000)] {
        one_way(size, count);
    }
    println!("round trip, 64 B   limit     handler   recv      (p50; lower is better)");
    round_trip(10_000);
}

fn one_way(size: usize, count: usize) {
    let mut rates = [const { Vec::new() }; 3];
    let mut seconds = [0.0; 3];
    for _ in 0..ROUNDS {
        let programs: [fn(usize, usize) -> Duration; 3] =
            [one_way_limit, one_way_handler, one_way_recv];
        for (i, program) in programs.into_iter().enumerate() {
            let before = processor_time();
            let time = program(size, count);
            seconds[i] += processor_time() - before;
            rates[i].push(count as f64 / time.as_secs_f64());
        }
    }
    let [limit, handler, recv] = rates.map(median);
    let per_million = seconds.map(|s| s / (ROUNDS * count) as f64 * 1e6);
    println!(
        "{size:>9} B  {:>9.1} k/s  {:>8.2}  {:>8.2}      {:.2}, {:.2}, {:.2}",
        limit / 1e3,
        handler / limit,
        recv / limit,
        per_million[0],
        per_million[1],
        per_million[2],
    );
}

fn one_way_limit(size: usize, count: usize) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("its address");
    let sender = thread::spawn(move || {
        let mut socket = TcpStream::connect(addr).expect("connected");
        socket.set_nodelay(true).expect("nodelay");
        let (header, payload) = ([b'|'; HEADER], vec![7; size]);
        let mut buffer = Vec::with_capacity(BUFFER);
        for _ in 0..count {
            if buffer.len() + HEADER + size > BUFFER {
                socket.write_all(&buffer).expect("written");
                buffer.clear();
            }
            buffer.extend_from_slice(&header);
            if size >= BUFFER {
                socket.write_all(&buffer).expect("written");
                buffer.clear();
                socket.write_all(&payload).expect("written");
            } else {
                buffer.extend_from_slice(&payload);
            }
        }
        socket.write_all(&buffer).expect("written");
    });
    let (mut socket, _) = listener.accept().expect("accepted");
    let begin = Instant::now();
    let mut buffer = vec![0; BUFFER.max(HEADER + size)];
    let (mut have, mut seen) = (0, 0);
    while seen < count {
        have += socket.read(&mut buffer[have..]).expect("read");
        let whole = have / (HEADER + size);
        for message in buffer[..have].chunks_exact(HEADER + size) {
            black_box(&message[HEADER..]);
        }
        seen += whole;
        buffer.copy_within(whole * (HEADER + size)..have, 0);
        have -= whole * (HEADER + size);
    }
    let time = begin.elapsed();
    sender.join().expect("the sender");
    time
}

fn one_way_handler(size: usize, count: usize) -> Duration {
    let (told, done) = crossbeam_channel::bounded(1);
    lanpeer_one_way(size, count, move |offers| {
        let mut seen = 0;
        let handler = move |_: &Connection<Bytes>, message: Vec<u8>| {
            black_box(&message);
            seen += 1;
            if seen == count {
                told.send(()).expect("told");
            }
        };
        let begin = Instant::now();
        let conn = offers
            .incoming()
            .next()
            .expect("an offer")
            .accept_with(handler);
        let _conn = conn.expect("accepted");
        done.recv().expect("done");
        begin.elapsed()
    })
}

fn one_way_recv(size: usize, count: usize) -> Duration {
    lanpeer_one_way(size, count, move |bob| {
        let conn = bob.accept::<Bytes>().expect("accepted");
        let begin = Instant::now();
        for _ in 0..count {
            black_box(conn.recv().expect("a message"));
        }
        begin.elapsed()
    })
}

fn lanpeer_one_way(size: usize, count: usize, receive: impl FnOnce(&Peer) -> Duration) -> Duration {
    let (bob, alice) = (peer(), peer());
    let addr = bob.local_addr();
    let sender = thread::spawn(move || {
        let conn = alice.connect::<Bytes>(addr).expect("connected");
        let payload = vec![7; size];
        for _ in 0..count {
            conn.send(&payload).expect("sent");
        }
        conn.close().expect("closed");
    });
    let time = receive(&bob);
    sender.join().expect("the sender");
    time
}

fn round_trip(count: usize) {
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let programs: [fn(usize) -> f64; 3] =
            [round_trip_limit, round_trip_handler, round_trip_recv];
        for (i, program) in programs.into_iter().enumerate() {
            times[i].push(program(count));
        }
    }
    let [limit, handler, recv] = times.map(median);
    println!(
        "                 {:>6.1} µs  {:>8.2}  {:>8.2}",
        limit * 1e6,
        handler / limit,
        recv / limit
    );
}

fn round_trip_limit(count: usize) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("its address");
    let echo = thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("accepted");
        socket.set_nodelay(true).expect("nodelay");
        let mut message = [0; HEADER + 64];
        while socket.read_exact(&mut message).is_ok() {
            socket.write_all(&message).expect("written");
        }
    });
    let mut socket = TcpStream::connect(addr).expect("connected");
    socket.set_nodelay(true).expect("nodelay");
    let mut message = [0; HEADER + 64];
    let times = (0..count).map(|_| {
        let begin = Instant::now();
        socket.write_all(&message).expect("written");
        socket.read_exact(&mut message).expect("read");
        begin.elapsed().as_secs_f64()
    });
    let time = median(times.collect());
    drop(socket);
    echo.join().expect("the echo");
    time
}

fn round_trip_handler(count: usize) -> f64 {
    let (bob, alice) = (peer(), peer());
    let addr = bob.local_addr();
    let offers = bob.incoming();
    let accepting = thread::spawn(move || {
        for offer in offers {
            let echo =
                |conn: &Connection<Bytes>, message: Vec<u8>| conn.send(&message).expect("sent");
            offer.accept_with(echo).expect("accepted");
        }
    });
    let (told, done) = crossbeam_channel::bounded(1);
    let mut times = Vec::with_capacity(count);
    let mut begin = None::<Instant>;
    let pong = move |conn: &Connection<Bytes>, message: Vec<u8>| {
        times.extend(begin.map(|begin| begin.elapsed().as_secs_f64()));
        if times.len() == count {
            told.send(std::mem::take(&mut times)).expect("told");
        } else {
            begin = Some(Instant::now());
            conn.send(&message).expect("sent");
        }
    };
    let conn = alice.connect_with::<Bytes>(addr, pong).expect("connected");
    conn.send(&[0; 64]).expect("sent");
    let time = median(done.recv().expect("the times"));
    conn.close().expect("closed");
    bob.stop();
    accepting.join().expect("the echo");
    time
}

fn round_trip_recv(count: usize) -> f64 {
    let (bob, alice) = (peer(), peer());
    let addr = bob.local_addr();
    let echo = thread::spawn(move || {
        let conn = bob.accept::<Bytes>().expect("accepted");
        for message in &conn {
            conn.send(&message).expect("sent");
        }
    });
    let conn = alice.connect::<Bytes>(addr).expect("connected");
    let times = (0..count).map(|_| {
        let begin = Instant::now();
        conn.send(&[0; 64]).expect("sent");
        black_box(conn.recv().expect("an answer"));
        begin.elapsed().as_secs_f64()
    });
    let time = median(times.collect());
    conn.close().expect("closed");
    echo.join().expect("the echo");
    time
}

fn peer() -> Peer {
    Peer::builder()
        .invisible(true)
        .bind("127.0.0.1:0")
        .expect("a peer")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds that this process has used on all processors; 0 where the system does not say.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let columns: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let ticks = |i: usize| {
        columns
            .get(i)
            .and_then(|c| c.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(12) + ticks(13)) / 100.0
}
