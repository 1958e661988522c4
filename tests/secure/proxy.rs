//! Someone on the way: passes on what two peers say, unit by unit, and does what a test wants.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// From the side that asks, or to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    There,
    Back,
}

/// The header is number 0, the message of the handshake number 1; what shows the key of the side that is
/// asked, if it does, and the records follow.
pub type Meddle = dyn Fn(Way, usize, Vec<u8>) -> Vec<Vec<u8>> + Send + Sync;

pub struct Proxy {
    pub addr: SocketAddr,
    seen: Arc<Mutex<[Vec<u8>; 2]>>,
}

impl Proxy {
    /// Takes one connection to `target`.
    pub fn start(
        target: SocketAddr,
        meddle: impl Fn(Way, usize, Vec<u8>) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("its address");
        let seen = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
        let (record, meddle): (_, Arc<Meddle>) = (Arc::clone(&seen), Arc::new(meddle));
        thread::spawn(move || {
            if let Ok((near, _)) = listener.accept() {
                let far = TcpStream::connect(target).expect("the target listens");
                for (way, from, to) in [(Way::There, &near, &far), (Way::Back, &far, &near)] {
                    let from = from.try_clone().expect("a socket");
                    let to = to.try_clone().expect("a socket");
                    let (record, meddle) = (Arc::clone(&record), Arc::clone(&meddle));
                    thread::spawn(move || pass_on(way, from, to, &record, &*meddle));
                }
            }
        });
        Proxy { addr, seen }
    }

    /// All bytes that came by, before anything was done to them.
    pub fn seen(&self) -> [Vec<u8>; 2] {
        self.seen.lock().expect("no panic").clone()
    }
}

fn pass_on(
    way: Way,
    mut from: TcpStream,
    mut to: TcpStream,
    record: &Mutex<[Vec<u8>; 2]>,
    meddle: &Meddle,
) {
    to.set_nodelay(true).expect("an option");
    let (mut bytes, mut chunk, mut number) = (Vec::new(), vec![0; 64 << 10], 0);
    loop {
        let read = from.read(&mut chunk);
        let Ok(n) = read else {
            // A reset is passed on as one.
            let _ = socket2::SockRef::from(&to).set_linger(Some(std::time::Duration::ZERO));
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        };
        record.lock().expect("no panic")[way as usize].extend_from_slice(&chunk[..n]);
        bytes.extend_from_slice(&chunk[..n]);
        let seen = record.lock().expect("no panic").clone();
        let (proof, shares) = (proof_len(&seen), shares(&seen));
        while let Some(len) =
            unit(way, number, proof, shares, &bytes).filter(|len| *len <= bytes.len())
        {
            let rest = bytes.split_off(len);
            for unit in meddle(way, number, std::mem::replace(&mut bytes, rest)) {
                if to.write_all(&unit).is_err() {
                    let _ = from.shutdown(Shutdown::Both);
                    return;
                }
            }
            number += 1;
        }
        if n == 0 {
            let _ = to.write_all(&bytes);
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
    }
}

/// The length of the message with the proof, by what both headers say of keys.
fn proof_len([there, back]: &[Vec<u8>; 2]) -> usize {
    let says = |seen: &Vec<u8>, text: &[u8]| {
        let header = &seen[..seen.len().min(128)];
        header.windows(text.len()).any(|part| part == text)
    };
    let [alices, bobs] = [there, back].map(|seen| says(seen, b"key=1"));
    let are_agreed = says(there, b"key=") && says(back, b"key=");
    let (key, who) = match are_agreed && (alices || bobs) {
        true => (alices, says(back, b"v=2")),
        false => (false, false),
    };
    let exchange = match shares(&[there.clone(), back.clone()]) {
        0 => 0,
        shares => 32 + 32 * shares,
    };
    exchange + 48 + if key { 48 } else { 0 } + if who { 128 } else { 0 }
}

/// How many shares of the passphrase exchange ACCEPT announces.
fn shares([_, back]: &[Vec<u8>; 2]) -> usize {
    let header = String::from_utf8_lossy(&back[..back.len().min(128)]).into_owned();
    let found = header.split_once("&shares=");
    found.map_or(0, |(_, rest)| {
        let digits = rest.split(['&', '|']).next();
        digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    })
}

/// The length of the unit that `bytes` begin with.
fn unit(way: Way, number: usize, proof: usize, shares: usize, bytes: &[u8]) -> Option<usize> {
    match number {
        0 => Some(128),
        _ if bytes.starts_with(b"DENY|") => Some(128),
        1 if way == Way::There => Some(proof),
        1 => Some(48 + 32 * shares),
        _ => {
            let prefix = bytes.first_chunk()?;
            Some(2 + usize::from(u16::from_be_bytes(*prefix)))
        }
    }
}
