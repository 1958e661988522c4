//! A process ends in each way in which one can, with a connection that is idle, that receives, or that
//! sends. What the other side sees of it is never a normal end, and its `close` never Ok.
//!
//! A program of its own, with a `main` of its own: it starts itself as the process that ends, and one
//! of the ways is a panic in `main`.
//!
//! `LANPEER_ROUNDS=30 cargo test --test ends` has so many rounds of each case, and prints the table
//! that docs/closing.md has in short.

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
fn main() {
    unix::main();
}

#[cfg(unix)]
mod unix {
    use std::collections::BTreeMap;
    use std::io::Read;
    use std::net::SocketAddr;
    use std::process::{Child, Command, Stdio, abort, exit};
    use std::thread;
    use std::time::{Duration, Instant};

    use lanpeer::{Bytes, Connection, Peer, PeerBuilder, SendError};

    /// Set in the environment of a process that is to end: how, what it does until then, and where it
    /// connects to.
    const ROLE: &str = "LANPEER_TEST_END";

    const SOON: Duration = Duration::from_secs(20);

    /// How a process ends.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Way {
        Signal(&'static str),
        Exit,
        Abort,
        /// Another thread, or nobody at all, holds what `main` does not let go of.
        Panic,
        /// The stack of `main` holds the peer, and its connection: they are dropped.
        PanicAndDrop,
    }

    const WAYS: [(&str, Way); 7] = [
        ("kill -9", Way::Signal("KILL")),
        ("SIGINT", Way::Signal("INT")),
        ("SIGTERM", Way::Signal("TERM")),
        ("`exit`", Way::Exit),
        ("`abort`", Way::Abort),
        ("panic in `main`, which holds nothing", Way::Panic),
        ("panic in `main`, which drops the peer", Way::PanicAndDrop),
    ];

    const STATES: [&str; 3] = ["idle", "receiving", "sending"];

    fn builder() -> PeerBuilder {
        Peer::builder().invisible(true).timeout(SOON)
    }

    pub fn main() {
        if let Ok(role) = std::env::var(ROLE) {
            return play(&role);
        }
        // The names of tests that are wanted.
        let mut wanted = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
        if wanted.next().is_some_and(|name| !"ends".contains(&name)) {
            return;
        }
        let rounds = std::env::var("LANPEER_ROUNDS");
        let rounds = rounds.map_or(2, |count| count.parse().expect("a count"));
        let bob = builder().bind("127.0.0.1:0").expect("a free port");
        println!("| how it ends | {} |", STATES.join(" | "));
        println!("| --- | --- | --- | --- |");
        for (index, (name, way)) in WAYS.into_iter().enumerate() {
            if way == Way::Signal("INT") && ignores_sigint() {
                println!("| {name} | ignored here | | |");
                continue;
            }
            let cells = STATES.map(|state| {
                let mut seen = BTreeMap::new();
                for round in 0..rounds {
                    let seen_now = one(&bob, index, way, state, round);
                    *seen.entry(seen_now).or_insert(0) += 1;
                }
                let of = |(what, count)| format!("{count} {what}");
                seen.into_iter().map(of).collect::<Vec<_>>().join(", ")
            });
            println!("| {name} | {} |", cells.join(" | "));
        }
        bob.stop();
    }

    /// A shell starts what runs in the background so, and a process passes it on to its children.
    fn ignores_sigint() -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|m| m & 2 != 0))
    }

    /// One process, and what the survivor sees of its end.
    fn one(bob: &Peer, index: usize, way: Way, state: &str, round: u64) -> String {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.env(ROLE, format!("{index} {state} {}", bob.local_addr()));
        command.stdin(Stdio::piped());
        let child = command.stderr(Stdio::null()).spawn();
        let mut child = Killed(child.expect("this program once more"));
        let offer = bob.offers().recv_timeout(SOON).expect("an offer");
        let conn = offer.accept::<Bytes>().expect("accepted");
        conn.send(b"go").expect("sent");
        assert_eq!(conn.recv_timeout(SOON).expect("its answer"), b"ready");
        // It may be anywhere in what it does.
        let until = Instant::now() + Duration::from_millis(round % 7);
        let ending = thread::spawn(move || {
            thread::sleep(until.saturating_duration_since(Instant::now()));
            match way {
                Way::Signal(signal) => {
                    let id = child.0.id().to_string();
                    let kill = Command::new("kill").args(["-s", signal, &id]).status();
                    assert!(kill.expect("kill").success());
                }
                _ => drop(child.0.stdin.take()),
            }
            child.ends()
        });
        if state == "receiving" {
            let end = Instant::now() + SOON;
            while Instant::now() < end {
                match conn.send_timeout(&[7; 1000], SOON) {
                    Ok(()) => {}
                    Err(SendError::Closed(_)) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        let mut received = 0_u64;
        let end = Instant::now() + SOON;
        while let Ok(message) = conn.recv_timeout(SOON) {
            assert_eq!(message[..8], received.to_be_bytes(), "in order, each once");
            received += 1;
            assert!(Instant::now() < end, "it does not end");
        }
        let reason = conn.close_reason().expect("it ends with its process");
        let begin = Instant::now();
        let close = conn.close();
        assert!(
            begin.elapsed() < SOON / 2,
            "close took {:?}",
            begin.elapsed()
        );
        ending.join().expect("the child");
        let case = format!("{way:?}, {state}, {round}: {reason:?}, {close:?}");
        assert!(!reason.is_normal(), "{case}");
        assert!(close.is_err(), "{case}");
        let variant = format!("{reason:?}");
        let close = if close.is_ok() { " (close Ok)" } else { "" };
        format!("{}{close}", variant.split(' ').next().unwrap_or_default())
    }

    fn play(role: &str) {
        let words: Vec<&str> = role.split(' ').collect();
        let [index, state, addr] = words[..] else {
            panic!("{role}")
        };
        let (_, way) = WAYS[index.parse::<usize>().expect("a number")];
        let peer = builder().bind("127.0.0.1:0").expect("a free port");
        let to: SocketAddr = addr.parse().expect("an address");
        let conn = peer.connect::<Bytes>(to).expect("connected");
        assert_eq!(conn.recv().expect("a message"), b"go");
        conn.send(b"ready").expect("sent");
        let working = conn.clone();
        let state = state.to_owned();
        thread::spawn(move || work(&working, &state));
        let held = match way {
            Way::PanicAndDrop => Some((peer, conn)),
            _ => {
                std::mem::forget((peer, conn));
                None
            }
        };
        // Until the other process lets go of it; a signal comes before.
        let _ = std::io::stdin().read(&mut [0]);
        match way {
            Way::Exit => exit(0),
            Way::Abort => abort(),
            Way::Panic | Way::PanicAndDrop => {
                let _held = held;
                panic!("on purpose")
            }
            Way::Signal(_) => loop {
                thread::park();
            },
        }
    }

    fn work(conn: &Connection<Bytes>, state: &str) {
        match state {
            "receiving" => while conn.recv().is_ok() {},
            "sending" => {
                let mut message = vec![0; 1000];
                for number in 0_u64.. {
                    message[..8].copy_from_slice(&number.to_be_bytes());
                    if conn.send(&message).is_err() {
                        return;
                    }
                }
            }
            _ => {}
        }
    }

    /// Ends with its owner.
    struct Killed(Child);

    impl Killed {
        /// Waits for its end, which is near.
        fn ends(mut self) {
            let end = Instant::now() + SOON;
            while self.0.try_wait().expect("a child").is_none() {
                assert!(Instant::now() < end, "it does not end");
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}
