//! What a process still has in its memory of connections that have ended.

use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use crate::format::Bytes;
use crate::peer::Peer;
use crate::secure::handshake::noted::{MASK, noted, spent};
use crate::secure::{Identity, Secret};

/// Set in the environment of the process that looks at itself: others that run tests have keys of their
/// own.
const ROLE: &str = "LANPEER_WIPED_CHILD";
const SOON: Duration = Duration::from_secs(20);

/// How often each of these stands in the process's memory.
fn scan(masked: &[[u8; 32]]) -> Vec<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut memory = std::fs::File::open("/proc/self/mem").unwrap();
    let mut counts = vec![0; masked.len()];
    let mut chunk = vec![0; 1 << 20];
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let range = line.split(' ').next().unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).unwrap());
        let mut at = start;
        while at < end {
            let len = chunk.len().min((end - at) as usize);
            // Some of what the system maps cannot be read.
            let read = memory
                .seek(SeekFrom::Start(at))
                .and_then(|_| memory.read_exact(&mut chunk[..len]));
            if read.is_ok() {
                find(&chunk[..len], masked, &mut counts);
            }
            // A key may lie across the end of a chunk; found twice there, it is found.
            at += (len.max(64) - 32) as u64;
            if len < chunk.len() {
                break;
            }
        }
    }
    counts
}

fn find(bytes: &[u8], masked: &[[u8; 32]], counts: &mut [usize]) {
    let mut begins = [false; 256];
    for key in masked {
        begins[usize::from(key[0] ^ MASK)] = true;
    }
    for window in bytes.windows(32) {
        if begins[usize::from(window[0])] {
            for (key, count) in masked.iter().zip(&mut *counts) {
                let mut pairs = window.iter().zip(key);
                *count += usize::from(pairs.all(|(a, b)| *a == b ^ MASK));
            }
        }
    }
}

/// The process that looks at itself.
#[test]
fn child() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let secret: Secret = match std::env::var(ROLE).as_deref() {
        // Made of a passphrase.
        Ok("words") => "000G-40R4-0M30-E209-185G-R38E-1Y05".parse().unwrap(),
        _ => Secret::random().unwrap(),
    };
    let is_passphrase = secret.is_passphrase();
    let builder = Peer::builder().invisible(true).timeout(SOON).secret(secret);
    let mut identities = Vec::new();
    let mut bind = || {
        let identity = Identity::generate().unwrap();
        identities.push(identity.masked(MASK));
        let builder = builder.clone().identity(identity);
        builder.bind("127.0.0.1:0").unwrap()
    };
    let (bob, alice) = (bind(), bind());
    let mut open = Vec::new();
    for _ in 0..2 {
        let taker = bob.clone();
        let taking = std::thread::spawn(move || taker.accept::<Bytes>().unwrap());
        let to_bob = alice.connect::<Bytes>(bob.local_addr()).unwrap();
        let from_alice = taking.join().unwrap();
        to_bob.send("hello").unwrap();
        assert_eq!(from_alice.recv_timeout(SOON).unwrap(), b"hello");
        from_alice.send("hello").unwrap();
        assert_eq!(to_bob.recv_timeout(SOON).unwrap(), b"hello");
        open.push((to_bob, from_alice));
    }
    // Each side of a connection has both of its keys.
    let mut noted = noted();
    assert_eq!(noted.len(), 8);
    println!("open: {:?}", scan(&noted));
    assert!(
        scan(&noted).iter().all(|count| *count >= 2),
        "they are in use"
    );
    assert!(scan(&identities).iter().all(|count| *count >= 1));
    noted.extend(identities);
    // Of each connection two scalars, and a word and a key on both sides.
    let spent = spent();
    assert_eq!(spent.len(), if is_passphrase { 12 } else { 0 });
    let counts = scan(&spent);
    println!("spent: {counts:?}");
    assert!(counts.iter().all(|count| *count == 0), "{counts:?}");
    noted.extend(spent);
    for (to_bob, from_alice) in open {
        to_bob.close().unwrap();
        drop(from_alice);
    }
    alice.stop();
    bob.stop();
    drop((alice, bob));
    let counts = scan(&noted);
    println!("ended: {counts:?}");
    assert!(counts.iter().all(|count| *count == 0), "{counts:?}");
}

#[test]
fn keys_of_ended_connections_are_nowhere() {
    look_at("random");
}

#[test]
fn nor_is_what_a_passphrase_has_led_to() {
    look_at("words");
}

fn look_at(secret: &str) {
    let mut command = crate::emulated::this_program();
    let name = "net::wiped::child";
    let args = ["--exact", name, "--nocapture", "--test-threads=1"];
    let output = command.args(args).env(ROLE, secret).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    println!("{text}");
    assert!(output.status.success(), "{text}");
    assert!(text.contains("ended: "), "it did not run: {text}");
}
