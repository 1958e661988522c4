//! A way to another peer that is cut at some byte: both sides then see a reset.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

/// Where to connect instead of `to`: a port of `ip`. One connection is passed on, until so many
/// bytes have passed in both directions together.
pub fn start(ip: Ipv4Addr, to: SocketAddr, bytes: i64) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((ip, 0))?;
    let addr = listener.local_addr()?;
    thread::Builder::new()
        .name("relay".to_owned())
        .spawn(move || {
            // Who starts a relay connects to it at once.
            let Ok((asker, _)) = listener.accept() else {
                return;
            };
            drop(listener);
            if let Ok(asked) = TcpStream::connect_timeout(&to, Duration::from_secs(5)) {
                pass_on(asker, asked, bytes);
            }
        })?;
    Ok(addr)
}

fn pass_on(asker: TcpStream, asked: TcpStream, bytes: i64) {
    let ways = [Arc::new(asker), Arc::new(asked)];
    let left = Arc::new(AtomicI64::new(bytes));
    let (there, back) = (ways.clone(), left.clone());
    let thread = thread::Builder::new().name("relay-back".to_owned());
    let thread = thread.spawn(move || copy(&there[1], &there[0], &back));
    copy(&ways[0], &ways[1], &left);
    if let Ok(thread) = thread {
        let _ = thread.join();
    }
}

fn copy(from: &TcpStream, to: &TcpStream, left: &AtomicI64) {
    let mut bytes = [0; 16 << 10];
    loop {
        let read = match (&*from).read(&mut bytes) {
            Ok(0) if left.load(Ordering::SeqCst) > 0 => {
                // A polite end: the other direction goes on.
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(read) => read,
            Err(_) => 0,
        };
        let before = left.fetch_sub(read as i64, Ordering::SeqCst);
        let read = read.min(before.max(0) as usize);
        let passed = read > 0 && write(to, &bytes[..read], left);
        if !passed || left.load(Ordering::SeqCst) <= 0 {
            // Closing such a socket sends a reset. Nothing is shut down for writing: that would
            // send a polite end first.
            left.store(0, Ordering::SeqCst);
            for end in [from, to] {
                let _ = SockRef::from(end).set_linger(Some(Duration::ZERO));
                let _ = end.shutdown(Shutdown::Read);
            }
            return;
        }
    }
}

/// Also looks whether the other direction was cut meanwhile.
fn write(mut to: &TcpStream, mut bytes: &[u8], left: &AtomicI64) -> bool {
    let _ = to.set_write_timeout(Some(Duration::from_millis(50)));
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error)
                if error.kind() == ErrorKind::WouldBlock && left.load(Ordering::SeqCst) > 0 => {}
            Err(_) => return false,
        }
    }
    true
}
