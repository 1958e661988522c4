//! What encryption costs: each figure with and without, in one run.
//!
//!     cargo bench --features secure --bench secure
//!     cargo bench --features secure --bench secure -- handshake    # that alone
//!
//! Both ends run in this process, so that the two share the machine. Rounds are interleaved, and
//! medians are printed. It prints figures and asserts nothing.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

#[path = "../tests/secure/words.rs"]
mod words;

use lanpeer::{Bytes, Connection, Identity, Peer, PeerBuilder, Secret, crossbeam_channel};
use words::WORDS;

const ROUNDS: usize = 7;

fn main() {
    if !std::env::args().any(|arg| arg == "handshake") {
        throughput();
    }
    let kinds = [
        (Kind::Plain, "plain"),
        (Kind::Secure, "a key"),
        (Kind::Known, "a key, and identities"),
        (Kind::Words(1), "a passphrase"),
        (Kind::Words(2), "2 passphrases on the side that is asked"),
        (Kind::Words(8), "8 passphrases on the side that is asked"),
    ];
    let times = compare_kinds(kinds.map(|(kind, _)| kind), handshakes);
    println!("a handshake, and the processor time of both ends, the close included:");
    for ((_, name), (time, seconds)) in kinds.into_iter().zip(times) {
        let per = seconds * 1e6 / HANDSHAKES as f64;
        println!("{name:<40} {:>6.0} µs {per:>6.0} µs", micros(time));
    }
}

fn throughput() {
    println!("                    plain       secure      ratio   processor s: plain, secure");
    for (size, count) in [
        (64, 1_000_000),
        (4 << 10, 200_000),
        (64 << 10, 20_000),
        (1 << 20, 2_000),
    ] {
        let what = format!("one way, {size} B");
        let [plain, secure] = compare(|builder| one_way(builder, size, count));
        let rate = |time: Duration| (size * count) as f64 / time.as_secs_f64() / 1e9;
        let (a, b) = (rate(plain.0), rate(secure.0));
        let per = |seconds: f64| seconds * 1e9 / (size * count) as f64;
        println!(
            "{what:<18} {a:>6.2} GB/s {b:>6.2} GB/s {:>8.2}   per GB: {:.2}, {:.2}",
            b / a,
            per(plain.1),
            per(secure.1)
        );
    }
    for (size, count) in [(64, 20_000), (4 << 10, 20_000)] {
        let what = format!("round trip, {size} B");
        let [plain, secure] = compare(|builder| round_trips(builder, size, count));
        let (a, b) = (micros(plain.0), micros(secure.0));
        println!("{what:<18} {a:>8.1} µs {b:>8.1} µs {:>8.2}", b / a);
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[derive(Clone, Copy)]
enum Kind {
    Plain,
    /// With a secret.
    Secure,
    /// And with identities.
    Known,
    /// With a passphrase instead, and so many on the side that is asked.
    Words(usize),
}

const HANDSHAKES: usize = 300;

/// Without a secret and with one: the median, and the mean of the processor time.
fn compare(program: impl Fn(PeerBuilder) -> Duration) -> [(Duration, f64); 2] {
    compare_kinds([Kind::Plain, Kind::Secure], program)
}

/// The same of these.
fn compare_kinds<const N: usize>(
    kinds: [Kind; N],
    program: impl Fn(PeerBuilder) -> Duration,
) -> [(Duration, f64); N] {
    let mut times = [const { Vec::new() }; N];
    let mut seconds = [0.0; N];
    for _ in 0..ROUNDS {
        for (at, kind) in kinds.into_iter().enumerate() {
            let mut builder = Peer::builder()
                .invisible(true)
                .timeout(Duration::from_secs(10));
            let words = |number: usize| WORDS[number].parse::<Secret>().expect("a secret");
            builder = match kind {
                Kind::Plain => builder,
                Kind::Secure | Kind::Known => {
                    builder.secret(Secret::random().expect("random numbers"))
                }
                Kind::Words(count) => (1..count)
                    .fold(builder.secret(words(0)), |builder, number| {
                        builder.accept_secret(words(number))
                    }),
            };
            if matches!(kind, Kind::Known) {
                builder = builder.identity(Identity::generate().expect("random numbers"));
            }
            let before = processor_time();
            times[at].push(program(builder));
            seconds[at] += (processor_time() - before) / ROUNDS as f64;
        }
    }
    std::array::from_fn(|at| {
        times[at].sort();
        (times[at][ROUNDS / 2], seconds[at])
    })
}

fn pair(
    builder: PeerBuilder,
    handler: impl FnMut(&Connection<Bytes>, Vec<u8>) + Send + 'static,
) -> (Peer, Peer) {
    let bind = |builder: PeerBuilder| builder.bind("127.0.0.1:0").expect("a free port");
    let (alice, bob) = (bind(builder.clone()), bind(builder));
    let offers = bob.incoming();
    thread::spawn(move || {
        let mut handler = Some(handler);
        for offer in offers {
            if let Some(handler) = handler.take() {
                let _ = offer.accept_with(handler).expect("accepted");
            }
        }
    });
    (alice, bob)
}

fn one_way(builder: PeerBuilder, size: usize, count: usize) -> Duration {
    let (told, done) = crossbeam_channel::bounded(1);
    let mut seen = 0;
    let (alice, bob) = pair(builder, move |_, message| {
        black_box(&message);
        seen += 1;
        if seen == count {
            told.send(()).expect("told");
        }
    });
    let conn = alice.connect::<Bytes>(bob.local_addr()).expect("connected");
    let message = vec![7; size];
    let begin = Instant::now();
    for _ in 0..count {
        conn.send(&message).expect("sent");
    }
    done.recv().expect("all have come");
    begin.elapsed()
}

fn round_trips(builder: PeerBuilder, size: usize, count: usize) -> Duration {
    let (alice, bob) = pair(builder, |conn, message| {
        let _ = conn.send(&message);
    });
    let conn = alice.connect::<Bytes>(bob.local_addr()).expect("connected");
    let message = vec![7; size];
    let mut times: Vec<_> = (0..count)
        .map(|_| {
            let begin = Instant::now();
            conn.send(&message).expect("sent");
            black_box(conn.recv().expect("answered"));
            begin.elapsed()
        })
        .collect();
    times.sort();
    times[count / 2]
}

fn handshakes(builder: PeerBuilder) -> Duration {
    let bind = |builder: PeerBuilder| builder.bind("127.0.0.1:0").expect("a free port");
    let (alice, bob) = (bind(builder.clone()), bind(builder));
    let offers = bob.incoming();
    thread::spawn(move || {
        for offer in offers {
            let _ = offer.accept_with::<Bytes>(|_, _| ()).expect("accepted");
        }
    });
    let mut times: Vec<_> = (0..HANDSHAKES)
        .map(|_| {
            let begin = Instant::now();
            let conn = alice.connect::<Bytes>(bob.local_addr()).expect("connected");
            let time = begin.elapsed();
            conn.close().expect("closed");
            time
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// What this process has used, in seconds; 0 where there is no /proc.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = fields.split(' ').skip(11).take(2);
    ticks
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}
