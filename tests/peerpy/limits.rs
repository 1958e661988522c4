//! What peerpy cannot do: measured and printed. Asserted is only how lanpeer comes out of it.
//!
//!     cargo test --test discovery peerpy::limits -- --nocapture

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use lanpeer::{Bytes, CloseReason, Json, Peer, SendError};
use serde_json::{Value, json};

use crate::common::peerpy::{Peerpy, Process, python};
use crate::common::{ended, next_offer, peer, spawn, until, within_deadline};
use crate::network::Lan;
use crate::peerpy::programs::Role;
use crate::peerpy::scenarios::script;

/// Sizes of messages to peerpy, and how many of each.
pub const SIZES: [usize; 7] = [1_000, 2_000, 8_192, 16_384, 65_536, 262_144, 1_048_576];
pub const OF_EACH: usize = 20;

/// Sends messages of each size, each on a connection of its own, as long as their turn comes.
pub fn send_sizes(alice: &Peer, addr: SocketAddr, mut turn: impl FnMut(usize)) {
    for size in SIZES {
        for _ in 0..OF_EACH {
            let conn = alice.connect::<Bytes>(addr).expect("connect");
            conn.send(&vec![b'x'; size]).expect("send");
            turn(size);
            conn.close()
                .expect("all of it was taken by the other system");
        }
    }
}

/// How many messages of each size peerpy heard whole.
fn whole(theirs: &mut Process, mut each: impl FnMut()) -> Vec<(usize, usize)> {
    let mut whole = Vec::new();
    for size in SIZES {
        let mut count = 0;
        for _ in 0..OF_EACH {
            let length: usize = theirs.line_after("length ").parse().expect("a number");
            assert!(length <= size);
            count += usize::from(length == size);
            each();
        }
        whole.push((size, count));
    }
    whole
}

#[test]
fn large_messages_to_peerpy_on_loopback() {
    let Some(mut theirs) = script(&["lengths"]) else {
        return;
    };
    let addr = theirs.line_after("listening ");
    let mut role = Role::start(&format!("sizes {addr}"));
    let whole = whole(&mut theirs, || role.go_on());
    println!("loopback: (size, whole of {OF_EACH}): {whole:?}");
}

#[test]
fn large_messages_to_peerpy_on_a_lan() {
    let Some(python) = python() else { return };
    let Some(lan) = Lan::new("sizes", 2) else {
        return;
    };
    // Packets as on a wire, one by one and with the time that each takes at 1 Gbit/s.
    lan.ip(2, "link set dev eth0 gso_max_segs 1");
    let mut wire = lan.command(2, Path::new("tc"));
    wire.args("qdisc add dev eth0 root tbf rate 1gbit burst 1600 latency 50ms".split(' '));
    println!("the wire: {:?}", wire.status());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peerpy/scenarios.py");
    let mut command = lan.command(1, python);
    command.args([script, "lengths", "10.77.0.1"]);
    let mut theirs = Process::start(&mut command).expect("start python");
    let addr = theirs.line_after("listening ");
    let command = lan.command(2, &std::env::current_exe().expect("this program's path"));
    let mut role = Role::start_as(command, &format!("sizes {addr}"));
    let whole = whole(&mut theirs, || role.go_on());
    println!("Ethernet: (size, whole of {OF_EACH}): {whole:?}");
}

/// The page's lines for the Python side make every message whole.
#[test]
fn the_pages_remedy_makes_messages_whole() {
    let Some(python) = python() else { return };
    let blocks = crate::peerpy::page::blocks("python");
    let remedy = blocks
        .iter()
        .find(|block| block.contains("class WholeSocket"))
        .expect("the remedy");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop-remedy");
    std::fs::create_dir_all(&path).expect("a directory");
    std::fs::write(path.join("whole_messages.py"), remedy).expect("the remedy's file");
    let program = format!(
        "import sys; sys.path[:0] = [{:?}, {:?}]\nimport whole_messages, scenarios\n\
         scenarios.main('lengths')",
        path.to_str().expect("a path"),
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peerpy"),
    );
    let mut theirs =
        Process::start(Command::new(python).args(["-c", &program])).expect("start python");
    let addr = theirs.line_after("listening ");
    let mut role = Role::start(&format!("sizes {addr}"));
    for (size, count) in whole(&mut theirs, || role.go_on()) {
        assert_eq!(count, OF_EACH, "{size}");
    }
    // And many on one connection, at once.
    let alice = peer();
    let conn = alice.connect::<Bytes>(addr.as_str()).expect("connect");
    let closing = within_deadline("send", move || {
        for size in [1 << 20, 3, 300_000, 0, 70_000] {
            conn.send(&vec![b'x'; size])?;
        }
        Ok::<_, SendError>(conn)
    })
    .expect("send");
    for size in [1 << 20, 3, 300_000, 0, 70_000] {
        assert_eq!(theirs.line_after("length "), size.to_string());
    }
    within_deadline("close", move || closing.close()).expect("close");
}

/// A peerpy that names a stream's size tells nobody: its HELLO does not say it, and no header
/// follows. So what it sends cannot be read; another peerpy hears nothing at all.
#[test]
fn peerpy_names_a_streams_size_to_itself_only() {
    let Some(mut peerpy) = Peerpy::start() else {
        return;
    };
    let bob = peer();
    let offers = bob.clone();
    let accepted = spawn(move || next_offer(&offers).accept::<Bytes>());
    let options = json!({ "data_type": "bytes", "stream": true, "data_size": 200 });
    assert!(peerpy.connect(bob.local_addr(), options));
    let conn = accepted.wait("the offer").expect("accept");
    // Its answer may be that the connection was reset meanwhile.
    peerpy.begin(json!({ "do": "send", "data": { "bytes": 200 } }));
    let reason = ended(&conn);
    assert!(matches!(reason, CloseReason::Malformed(_)), "{reason:?}");
    println!("{reason}");
    peerpy.event("close");
}

/// A message of another type would make a strict peerpy lose its place: it is not sent.
#[test]
fn another_type_is_not_sent_to_a_strict_peerpy() {
    let Some(mut peerpy) = Peerpy::start() else {
        return;
    };
    let bob = peer();
    let offers = bob.clone();
    let accepted = spawn(move || next_offer(&offers).accept::<lanpeer::Dynamic>());
    assert!(peerpy.connect(bob.local_addr(), json!({ "data_type": "json" })));
    let conn = accepted.wait("the offer").expect("accept");
    let bytes = lanpeer::Message::bytes(b"no");
    assert!(matches!(
        conn.send(&bytes),
        Err(SendError::WrongType { .. })
    ));
    conn.send(&lanpeer::Message::json(&1).expect("encode"))
        .expect("send");
    assert_eq!(peerpy.data(), json!(1));
}

/// peerpy's reader runs before its `connection` event, and hands what it reads to nobody.
#[test]
fn first_messages_are_lost_where_handlers_come_late() {
    let Some(mut theirs) = script(&["accepts"]) else {
        return;
    };
    let addr = theirs.line_after("listening ");
    let mut lost = 0;
    for _ in 0..10 {
        let alice = peer();
        let addr = addr.clone();
        let conn = within_deadline("connect", move || {
            let conn = alice.connect::<Json<Value>>(addr).expect("connect");
            conn.send(&json!("at once")).expect("send");
            (alice, conn)
        });
        theirs.line_after("connected ");
        conn.1.send(&json!("later")).expect("send");
        while theirs.line_after("data ") != "\"later\"" {
            lost -= 1;
        }
        lost += 1;
    }
    println!("lost where the data handler is set in the connection handler: {lost} of 10");
}

/// A keepalive of a peerpy that sends more than its receiver takes falls into its own message.
#[test]
fn a_keepalive_inside_a_large_message_of_its_own() {
    let Some(mut peerpy) = Peerpy::start() else {
        return;
    };
    let bob = peer();
    let offers = bob.clone();
    let (go_on, wait) = std::sync::mpsc::channel();
    let accepted = spawn(move || {
        let mut first = true;
        next_offer(&offers).accept_with::<Bytes>(move |_, _| {
            if std::mem::take(&mut first) {
                let _ = wait.recv_timeout(crate::common::DEADLINE);
            }
        })
    });
    let options = json!({ "data_type": "bytes" });
    assert!(peerpy.connect(bob.local_addr(), options));
    let conn = accepted.wait("the offer").expect("accept");
    peerpy.may_crash();
    peerpy.tell(json!({ "do": "timeout", "seconds": 0.1 }));
    conn.send(b"to wake its reader").expect("send");
    peerpy.data();
    // The handler holds the first one up, so the socket fills while the second is sent.
    peerpy.send(json!({ "bytes": 1 }));
    peerpy.event("ping");
    peerpy.begin(json!({ "do": "send", "data": { "bytes": 16 << 20 } }));
    peerpy.begin(json!({ "do": "send", "data": { "bytes": 1 } }));
    // One may have begun before; a further one may have to wait as long as the message.
    peerpy.event("ping");
    go_on.send(()).expect("the handler waits");
    until("two more messages, or the end", || {
        conn.close_reason().is_some() || conn.stats().messages_received >= 3
    });
    println!(
        "after keepalives inside a message: {:?}; threads of peerpy that died: {}",
        conn.close_reason(),
        peerpy.unasked("crash")
    );
}
