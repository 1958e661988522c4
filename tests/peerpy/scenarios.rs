//! The scenarios of peerpy's own test suite, with one side replaced by ours.
//!
//! | its tests | here |
//! | --- | --- |
//! | connect, receive, send, stream, large, disconnect | `peerpy_connects`, `lanpeer_connects` |
//! | handlers | `lanpeer_connects`: the handler of data is set where its tests set it |
//! | deny | `super::offers` |
//! | pinger, invisibility | `super::visibility` |
//! | none | `broadcasts` |
//! | `with Peer(...)` | each of the above |

use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;

use lanpeer::{Bytes, CloseReason, ConnectOptions, Dynamic, Format, Json, Message, Peer};
use serde_json::{Value, json};

use crate::common::peerpy::{Peerpy, Process, python};
use crate::common::{DEADLINE, peer, receive, within_deadline};

/// Of a peerpy without the feature `pickle`, no raw connection is accepted.
const TYPES: &[&str] = if cfg!(feature = "pickle") {
    &["raw", "json", "bytes"]
} else {
    &["json", "bytes"]
};

pub fn script(arguments: &[&str]) -> Option<Process> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peerpy/scenarios.py");
    let mut command = Command::new(python()?);
    Some(Process::start(command.arg(script).args(arguments)).expect("start python"))
}

/// What one connection was and brought.
struct Record {
    data_type: String,
    streams: bool,
    messages: Vec<Message>,
    reason: CloseReason,
}

#[test]
fn peerpy_connects() {
    let bob = peer();
    let addr = bob.local_addr().to_string();
    let mut arguments = vec!["connects", &addr];
    arguments.extend(TYPES);
    let (ended, records) = channel();
    let offers = bob.incoming();
    thread::spawn(move || {
        for offer in offers {
            let ended = ended.clone();
            thread::spawn(move || {
                let (data_type, streams) = (offer.data_type(), offer.stream().is_some());
                let conn = offer.accept::<Dynamic>().expect("accept");
                let messages = conn.iter().collect();
                let record = Record {
                    data_type: data_type.to_string(),
                    streams,
                    messages,
                    reason: conn.close_reason().expect("a reason"),
                };
                let _ = ended.send(record);
            });
        }
    });
    let Some(mut theirs) = script(&arguments) else {
        return;
    };
    theirs.line_after("done");
    let status = theirs.wait(DEADLINE);
    assert!(
        status.is_some_and(|status| status.success()),
        "{}",
        theirs.story()
    );

    let count = 2 + TYPES.len() + 2 + 1 + 1 + 1;
    let next = || records.recv_timeout(DEADLINE).expect("a connection's end");
    let records: Vec<Record> = (0..count).map(|_| next()).collect();
    for record in &records {
        assert_eq!(record.reason, CloseReason::ClosedThere);
    }
    let of = |messages: &[Value], data_type: &str, streams: bool| {
        let same = |record: &&Record| {
            let values: Vec<Value> = record.messages.iter().map(value).collect();
            record.data_type == data_type && record.streams == streams && values == messages
        };
        records.iter().filter(same).count()
    };
    for data_type in TYPES {
        assert_eq!(of(&[json!("2easy4u")], data_type, false), 1, "{data_type}");
    }
    let many: Vec<Value> = (0..15).map(|i| json!(format!("data{i}"))).collect();
    assert_eq!(of(&many, "json", false), 2);
    assert_eq!(of(&vec![json!("data"); 15], TYPES[0], true), 1);
    // Two that sent nothing were closed, one because the same peer asked for another data type.
    assert_eq!(of(&[], "json", false), 2);
    assert_eq!(of(&[], "bytes", false), 1);
    let large = records
        .iter()
        .filter(|record| record.data_type == TYPES[0])
        .filter_map(|record| record.messages.first()?.decode::<Vec<u32>>().ok());
    let large: Vec<Vec<u32>> = large.collect();
    assert_eq!(large.len(), 1);
    assert!(large[0].iter().copied().eq(0..2_000_000));
}

/// Large numbers are looked at elsewhere, and faster.
fn value(message: &Message) -> Value {
    if message.payload().len() > 1000 {
        return Value::Null;
    }
    match message.decode::<String>() {
        Ok(text) => json!(text),
        Err(_) => json!(String::from_utf8_lossy(message.payload())),
    }
}

#[test]
fn lanpeer_connects() {
    let Some(mut theirs) = script(&["accepts"]) else {
        return;
    };
    let addr = theirs.line_after("listening ");
    let mut new = |alice: &Peer| {
        assert_eq!(
            theirs.line_after("connected "),
            alice.local_addr().to_string()
        );
    };

    // Two at once, and a third that streams.
    let (one, two, three, four) = (peer(), peer(), peer(), peer());
    let first = connect::<Json<String>>(&one, &addr, false);
    new(&one);
    let second = connect::<Json<String>>(&two, &addr, false);
    new(&two);
    let stream = connect::<Bytes>(&three, &addr, true);
    new(&three);
    let bytes = connect::<Bytes>(&four, &addr, false);
    new(&four);
    let mut expected = Vec::new();
    for i in 0..15 {
        first.send(&format!("one{i}")).expect("send");
        second.send(&format!("two{i}")).expect("send");
        stream.send(b"data").expect("send");
        bytes.send(format!("2easy4u{i}").as_bytes()).expect("send");
        let hex = |text: &str| -> String { text.bytes().map(|b| format!("{b:02x}")).collect() };
        expected.extend([
            format!("\"one{i}\""),
            format!("\"two{i}\""),
            format!("\"{}\"", hex("data")),
            format!("\"{}\"", hex(&format!("2easy4u{i}"))),
        ]);
    }
    let mut heard: Vec<String> = (0..60).map(|_| theirs.line_after("data ")).collect();
    heard.sort();
    expected.sort();
    assert_eq!(heard, expected);

    within_deadline("close", move || {
        first.close()?;
        second.close()?;
        stream.close()?;
        bytes.close()
    })
    .expect("close");
    for _ in 0..4 {
        theirs.line_after("closed");
    }
}

fn connect<F: Format>(alice: &Peer, addr: &str, streams: bool) -> lanpeer::Connection<F> {
    let (alice, addr) = (alice.clone(), addr.to_owned());
    let conn = within_deadline("connect", move || {
        let mut options = ConnectOptions::new();
        if streams {
            options = options.stream();
        }
        options.connect::<F>(&alice, addr)
    });
    conn.expect("connect")
}

/// peerpy to several lanpeers, and lanpeer to several peerpys.
#[test]
fn broadcasts() {
    let (Some(mut one), Some(mut two)) = (Peerpy::start(), Peerpy::start()) else {
        return;
    };
    let (ours, other) = (peer(), peer());
    let connect = |alice: &Peer, peerpy: &mut Peerpy| {
        let conn = connect::<Json<Value>>(alice, &peerpy.addr.to_string(), false);
        peerpy.event("connection");
        conn
    };
    let first = connect(&ours, &mut one);
    let second = connect(&ours, &mut two);
    let third = connect(&other, &mut one);

    let sent = ours
        .broadcast::<Json<Value>>(&json!("to all"))
        .expect("encode");
    assert_eq!((sent.sent.len(), sent.failed.len()), (2, 0));
    for peerpy in [&mut one, &mut two] {
        assert_eq!(peerpy.data(), json!("to all"));
    }
    one.tell(json!({ "do": "broadcast", "data": ["from", "one"] }));
    for conn in [&first, &third] {
        assert_eq!(receive(conn), json!(["from", "one"]));
    }
    two.tell(json!({ "do": "broadcast", "data": "from two" }));
    assert_eq!(receive(&second), json!("from two"));
    assert_eq!(one.unasked("data") + two.unasked("data"), 0);
}
