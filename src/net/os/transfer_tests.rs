//! What `transfer.rs` and `transfer_windows.rs` promise alike.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::socket::{
    connect, has_arrived, peek, prepare, read_now, reader, reset, wait_for_input, wake_reader,
    write_all, write_now, write_slice,
};

const SOON: Duration = Duration::from_secs(20);

/// A connection's socket, and a plain one at its other end.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(addr) = listener.local_addr().unwrap() else {
        panic!()
    };
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = TcpStream::from(socket.unwrap());
    prepare(&socket, None).unwrap();
    connect(&socket, addr, SOON).unwrap();
    let (remote, _) = listener.accept().unwrap();
    remote.set_read_timeout(Some(SOON)).unwrap();
    (socket, remote)
}

#[test]
fn a_thread_that_reads_is_woken_by_this_side() {
    for look in [true, false] {
        let (socket, _remote) = pair();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| match look {
                true => wait_for_input(&socket),
                false => reader(&socket).read(&mut [0; 8]),
            });
            // Early or late, it wakes.
            std::thread::yield_now();
            wake_reader(&socket);
            assert_eq!(reading.join().unwrap().unwrap(), 0);
        });
        assert!(begun.elapsed() < SOON);
    }
}

#[test]
fn a_read_that_its_timeout_ends_is_a_pause_and_takes_nothing() {
    let (socket, mut remote) = pair();
    socket
        .set_read_timeout(Some(Duration::from_millis(30)))
        .unwrap();
    let mut bytes = [0; 8];
    let error = reader(&socket).read(&mut bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    remote.write_all(b"late").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    reader(&socket).read_exact(&mut bytes[..4]).unwrap();
    assert_eq!(&bytes[..4], b"late");
}

#[test]
fn looks_wait_for_nothing_and_take_nothing() {
    let (socket, mut remote) = pair();
    let mut bytes = [0; 8];
    let looked = [peek::<1>(&socket), read_now(&socket, &mut bytes)];
    assert!(looked.iter().all(|look| {
        let error = look.as_ref().unwrap_err();
        error.kind() == ErrorKind::WouldBlock
    }));
    assert!(!has_arrived::<3>(&socket).unwrap());
    remote.write_all(b"abc").unwrap();
    assert_eq!(wait_for_input(&socket).unwrap(), 1);
    let deadline = Instant::now() + SOON;
    while !has_arrived::<3>(&socket).unwrap() {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(peek::<8>(&socket).unwrap(), 3);
    assert_eq!(read_now(&socket, &mut bytes).unwrap(), 3);
    drop(remote);
    assert_eq!(wait_for_input(&socket).unwrap(), 0);
    assert_eq!(read_now(&socket, &mut bytes).unwrap(), 0);
}

/// What a write says is what arrives, also of one that a timeout has ended.
#[test]
fn a_full_socket_is_a_pause_and_nothing_is_lost() {
    let (socket, mut remote) = pair();
    let mut sent = Vec::new();
    let mut pauses = 0;
    while pauses < 3 {
        let chunk: Vec<u8> = (0..100_000)
            .map(|index| ((sent.len() + index) % 251) as u8)
            .collect();
        // The first write does not wait, the others do.
        let parts = [IoSlice::new(&chunk)];
        let written = match pauses {
            0 => write_now(&socket, &parts),
            _ => write_slice(&socket, &parts),
        };
        match written {
            Ok(n) => sent.extend_from_slice(&chunk[..n]),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                pauses += 1;
            }
        }
        assert!(sent.len() < 1 << 30, "it is never full");
    }
    drop(socket);
    let mut got = Vec::new();
    remote.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), sent.len());
    assert!(got == sent, "other bytes");
}

/// A FIN would tell the other side that this one has said all that it had to.
#[test]
fn a_reset_comes_without_a_fin() {
    let (socket, mut remote) = pair();
    write_all(&socket, b"the beginning").unwrap();
    reset(&socket);
    drop(socket);
    let mut got = Vec::new();
    let error = remote.read_to_end(&mut got).unwrap_err();
    let kinds = [ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted];
    assert!(kinds.contains(&error.kind()), "{error}");
}
