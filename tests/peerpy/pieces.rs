//! What is hard to see on loopback: headers that come in pieces, and streams whose first answer comes
//! at different times.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use lanpeer::{Bytes, CloseReason, Connection, Json};
use serde_json::{Value, json};

use crate::common::peerpy::Peerpy;
use crate::common::{ended, next_offer, peer, receive, spawn};

/// Passes on what comes, in small pieces one way and as it comes the other way.
fn relay_in_pieces(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let (from, _) = listener.accept().expect("a connection");
        let to = TcpStream::connect(to).expect("connect");
        for socket in [&from, &to] {
            socket.set_nodelay(true).expect("an option");
        }
        let (back_from, back_to) = (to.try_clone(), from.try_clone());
        let back = thread::spawn(move || {
            pass_on(
                back_from.expect("a handle"),
                back_to.expect("a handle"),
                8_192,
            )
        });
        pass_on(from, to, 7);
        let _ = back.join();
    });
    addr
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, piece: usize) {
    let mut bytes = vec![0; piece];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn peerpys_bytes_come_in_pieces() {
    let Some(mut peerpy) = Peerpy::start() else {
        return;
    };
    let bob = peer();
    let relay = relay_in_pieces(bob.local_addr());
    let offers = bob.clone();
    let accepted = spawn(move || next_offer(&offers).accept::<Json<Value>>());
    assert!(peerpy.connect(relay, json!({ "data_type": "json" })));
    let conn = accepted.wait("the offer").expect("accept");
    assert_eq!(conn.peer_addr(), peerpy.addr);
    peerpy.tell(json!({ "do": "timeout", "seconds": 0.1 }));
    conn.send(&json!("to wake its reader")).expect("send");
    peerpy.data();
    for length in [1, 100, 1_000, 30_000] {
        peerpy.event("ping");
        peerpy.send(json!({ "text": length }));
        let text = crate::peerpy::kinds::digits(length);
        assert_eq!(receive(&conn), json!(text));
    }
    peerpy.tell(json!({ "do": "close" }));
    assert_eq!(ended(&conn), CloseReason::ClosedThere);
}

/// A stream that peerpy connects with this timeout, and whose first message it has sent.
fn stream(seconds: f64) -> Option<(Peerpy, Connection<Bytes>, lanpeer::Peer)> {
    let mut peerpy = Peerpy::start()?;
    let bob = peer();
    let offers = bob.clone();
    let accepted = spawn(move || next_offer(&offers).accept::<Bytes>());
    // It reads for as long at a time.
    peerpy.tell(json!({ "do": "timeout", "seconds": seconds }));
    let options = json!({ "data_type": "bytes", "stream": true });
    assert!(peerpy.connect(bob.local_addr(), options));
    let conn = accepted.wait("the offer").expect("accept");
    peerpy.send(json!({ "bytes": 10 }));
    assert_eq!(receive(&conn), b"0123456789");
    Some((peerpy, conn, bob))
}

/// Its reader has begun to wait for a header before it sent anything, and still does.
#[test]
fn an_answer_before_peerpys_timeout_has_a_header() {
    let Some((mut peerpy, conn, _bob)) = stream(10.0) else {
        return;
    };
    for answer in [b"abcdefghij", b"klmnopqrst"] {
        conn.send(answer).expect("send");
        let hex: String = answer.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(peerpy.data(), json!({ "hex": hex }));
    }
}

/// Its keepalive tells that it waits for bytes without a header now.
#[test]
fn an_answer_after_peerpys_timeout_has_no_header() {
    let Some((mut peerpy, conn, _bob)) = stream(1.0) else {
        return;
    };
    // Each is reported before it is sent: at the second one, the first one is on its way. What
    // comes after it tells that it has been read.
    peerpy.event("ping");
    peerpy.event("ping");
    peerpy.send(json!({ "bytes": 10 }));
    assert_eq!(receive(&conn), b"0123456789");
    for answer in [b"abcdefghij", b"klmnopqrst"] {
        conn.send(answer).expect("send");
        let hex: String = answer.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(peerpy.data(), json!({ "hex": hex }));
    }
    conn.abort();
}
