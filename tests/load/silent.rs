//! An attacker at one address who connects and says nothing, or less than is needed, as often as it can.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use lanpeer::{Bytes, ConnectOptions};
use socket2::{Domain, Socket, Type};

use crate::child::Child;
use crate::common::{DEADLINE, peer, until};

const EVIL: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// Connections to a peer from the attacker's address, each of which says this and no more.
fn attack(to: SocketAddr, count: usize, says: &[u8]) -> Vec<TcpStream> {
    (0..count)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket
                .bind(&SocketAddr::from((EVIL, 0)).into())
                .expect("bound");
            socket
                .connect_timeout(&to.into(), DEADLINE)
                .expect("the system takes it");
            let mut stream = TcpStream::from(socket);
            // The peer may have hung up already.
            let _ = stream.write_all(says);
            stream
        })
        .collect()
}

/// How many of them are still open there.
fn open(attack: &[TcpStream]) -> usize {
    let is_open = |stream: &&TcpStream| {
        stream.set_nonblocking(true).expect("a socket");
        let mut answer = [0; 512];
        loop {
            match std::io::Read::read(&mut &**stream, &mut answer) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
    };
    attack.iter().filter(is_open).count()
}

#[track_caller]
fn stands(says: &[u8]) {
    let mut bob = Child::start("ulimit -n 1024");
    let alice = peer();
    let attack = attack(bob.addr, 1100, says);
    // The program itself can open what it needs.
    let files = bob.ask("files");
    bob.ask("release");
    println!("{files} file descriptors were left");
    assert!(files >= 512, "{files}");
    // And members get in, while new ones of the attacker's come all the time.
    let mut slowest = Duration::ZERO;
    let mut more = Vec::new();
    for _ in 0..100 {
        more.extend(self::attack(bob.addr, 8, says));
        let start = Instant::now();
        let conn = ConnectOptions::new()
            .timeout(Duration::from_secs(5))
            .connect::<Bytes>(&alice, bob.addr)
            .expect("a member");
        conn.send("hello").expect("sent");
        assert_eq!(conn.recv_timeout(DEADLINE).as_deref(), Ok(&b"hello"[..]));
        slowest = slowest.max(start.elapsed());
        conn.close().expect("closed");
    }
    println!("100 of 100 members got in, each within {slowest:?}");
    // An address has an eighth of 256.
    until("the others are gone", || open(&attack) + open(&more) <= 32);
}

#[test]
fn silent_connections_leave_room() {
    stands(b"");
}

/// A header that is never whole.
#[test]
fn connections_that_begin_and_stall_leave_room() {
    stands(b"HELLO|peer_name=127.0.0.1:9&data_type=by");
}

/// Encryption is asked for and not proved: a peer without a secret says no and lets that be read.
#[test]
fn connections_that_are_denied_and_stay_leave_room() {
    let hello = "HELLO|peer_name=127.0.0.1:9&data_type=bytes&strict=1&v=1&secure=aes";
    stands(format!("{hello:|<128}").as_bytes());
}
