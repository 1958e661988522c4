//! A way to another peer that is cut at some byte: both sides then see a reset.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

struct End {
    socket: TcpStream,
    /// Locked while something is written: the system tells an error of a socket once, to the read or
    /// the write that comes first, and a read that comes second finds what looks like a polite end.
    writing: Mutex<()>,
}

impl End {
    fn new(socket: TcpStream) -> Arc<End> {
        let writing = Mutex::default();
        Arc::new(End { socket, writing })
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pass_on(asker: TcpStream, asked: TcpStream, bytes: i64) {
    let ways = [End::new(asker), End::new(asked)];
    let left = Arc::new(AtomicI64::new(bytes));
    let (there, back) = (ways.clone(), left.clone());
    let thread = thread::Builder::new().name("relay-back".to_owned());
    let thread = thread.spawn(move || copy(&there[1], &there[0], &back));
    copy(&ways[0], &ways[1], &left);
    if let Ok(thread) = thread {
        let _ = thread.join();
    }
}

/// `left`: how many bytes may still pass.
fn copy(from: &End, to: &End, left: &AtomicI64) {
    let mut bytes = [0; 16 << 10];
    loop {
        let read = match (&from.socket).read(&mut bytes) {
            Ok(0) => {
                drop(from.lock());
                if left.load(Ordering::SeqCst) > 0 {
                    // A polite end: the other direction goes on.
                    let _ = to.socket.shutdown(Shutdown::Write);
                    return;
                }
                0
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
                let _ = SockRef::from(&end.socket).set_linger(Some(Duration::ZERO));
                let _ = end.socket.shutdown(Shutdown::Read);
            }
            return;
        }
    }
}

/// Also looks whether the other direction was cut meanwhile.
fn write(to: &End, mut bytes: &[u8], left: &AtomicI64) -> bool {
    let _ = to.socket.set_write_timeout(Some(Duration::from_millis(50)));
    while !bytes.is_empty() {
        let _writing = to.lock();
        match (&to.socket).write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error)
                if error.kind() == ErrorKind::WouldBlock && left.load(Ordering::SeqCst) > 0 => {}
            Err(_) => {
                left.store(0, Ordering::SeqCst);
                return false;
            }
        }
    }
    true
}
