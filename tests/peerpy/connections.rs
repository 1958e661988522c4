//! Messages both ways and both ends, for each kind of connection.

use std::fmt;
use std::thread;

use lanpeer::{
    Bytes, CloseReason, ConnectOptions, Connection, DataType, Dynamic, Json, Message, Peer,
    StreamSize,
};
use serde_json::json;

use crate::common::peerpy::Peerpy;
use crate::common::{ended, next_offer, peer, receive, spawn, until, within_deadline};
use crate::peerpy::Who;
use crate::peerpy::kinds::Kind;
use crate::peerpy::page::patiently;

/// peerpy's timeout, in seconds, once it shall ping and end soon, and until then: a keepalive that
/// falls into a large message of its own would damage that.
const QUICK: f64 = 0.1;
const PATIENT: f64 = 10.0;

/// Lengths of messages. What lanpeer sends is as long as peerpy is sure to read whole.
const FROM_PEERPY: [usize; 5] = [1, 128, 8_192, 8_193, 1 << 20];
const FROM_LANPEER: [usize; 4] = [1, 128, 1_000, 8_192];

/// Sizes of the messages of streams: less than a header, as a header, more.
const STREAMED: [usize; 3] = [20, 128, 4_000];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    No,
    /// The first message decides the size; this side sends it.
    FirstFrom(Who),
    /// HELLO names the size. peerpy cannot send such a HELLO.
    Named,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stream::No => f.write_str("no"),
            Stream::FirstFrom(who) => write!(f, "size from {who}'s first message"),
            Stream::Named => f.write_str("size named in HELLO"),
        }
    }
}

#[derive(Clone, Copy)]
struct Case {
    connects: Who,
    strict: bool,
    stream: Stream,
}

/// What a case showed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    from_peerpy: String,
    from_lanpeer: String,
    peerpy_closes: String,
    lanpeer_closes: String,
}

/// The rows of the page's table, `raw` last. `None` where there is no peerpy.
pub fn table() -> Option<Vec<String>> {
    // Each step has its deadline, so the threads need none.
    let mut tasks = vec![
        thread::spawn(|| patiently(|| rows::<Json<String>>(Who::Peerpy))),
        thread::spawn(|| patiently(|| rows::<Json<String>>(Who::Lanpeer))),
        thread::spawn(|| patiently(|| rows::<Bytes>(Who::Peerpy))),
        thread::spawn(|| patiently(|| rows::<Bytes>(Who::Lanpeer))),
        thread::spawn(|| patiently(mixed)),
    ];
    if cfg!(feature = "pickle") {
        tasks.push(thread::spawn(|| patiently(|| raw(Who::Peerpy))));
        tasks.push(thread::spawn(|| patiently(|| raw(Who::Lanpeer))));
    }
    let mut rows = vec![
        "| connects | data type | strict | stream | peerpy to lanpeer | lanpeer to peerpy \
         | peerpy closes first | lanpeer closes first |"
            .to_owned(),
        "| --- | --- | --- | --- | --- | --- | --- | --- |".to_owned(),
    ];
    for task in tasks {
        rows.extend(task.join().expect("a case failed; see above")?);
    }
    Some(rows)
}

fn rows<K: Kind>(connects: Who) -> Option<Vec<String>> {
    let mut peerpy = Peerpy::start()?;
    let ours = peer();
    let mut streams = vec![
        Stream::No,
        Stream::FirstFrom(Who::Peerpy),
        Stream::FirstFrom(Who::Lanpeer),
    ];
    if connects == Who::Lanpeer {
        streams.push(Stream::Named);
    }
    let mut rows = Vec::new();
    for stream in streams {
        let mut run = |strict| {
            let case = Case {
                connects,
                strict,
                stream,
            };
            case.run::<K>(&mut peerpy, &ours)
        };
        let (strict, not) = (run(true), run(false));
        let mut row = |word: &str, seen: &Seen| {
            rows.push(format!(
                "| {connects} | {} | {word} | {stream} | {} | {} | {} | {} |",
                K::NAME,
                seen.from_peerpy,
                seen.from_lanpeer,
                seen.peerpy_closes,
                seen.lanpeer_closes,
            ))
        };
        if strict == not {
            row("yes, and no", &strict);
        } else {
            row("yes", &strict);
            row("no", &not);
        }
    }
    rests(&mut peerpy);
    Some(rows)
}

#[cfg(feature = "pickle")]
fn raw(connects: Who) -> Option<Vec<String>> {
    rows::<lanpeer::Raw<String>>(connects)
}

#[cfg(not(feature = "pickle"))]
fn raw(_: Who) -> Option<Vec<String>> {
    None
}

impl Case {
    fn run<K: Kind>(self, peerpy: &mut Peerpy, ours: &Peer) -> Seen {
        if self.stream == Stream::No {
            let mut both = Exchange::<K>::begin(self, None, peerpy, ours);
            both.messages(&FROM_PEERPY, &FROM_LANPEER);
            let peerpy_closes = both.peerpy_closes();
            let mut both = Exchange::<K>::begin(self, None, peerpy, ours);
            both.messages(&FROM_PEERPY, &FROM_LANPEER);
            return Seen {
                from_peerpy: sizes(&FROM_PEERPY),
                from_lanpeer: sizes(&FROM_LANPEER),
                peerpy_closes,
                lanpeer_closes: both.lanpeer_closes(),
            };
        }
        let mut ends = (String::new(), String::new());
        for (n, size) in STREAMED.into_iter().enumerate() {
            let mut both = Exchange::<K>::begin(self, Some(size), peerpy, ours);
            let own = K::length_in(size, Who::Lanpeer);
            let other = K::length_in(size, Who::Peerpy);
            both.messages(&[other; 4], &[own; 4]);
            // The last size, whose end differs from the one before, ends as either of the two.
            let peerpy_first = if n == 2 { self.strict } else { n == 0 };
            if peerpy_first {
                ends.0 = both.peerpy_closes();
            } else {
                ends.1 = both.lanpeer_closes();
            }
        }
        Seen {
            from_peerpy: sizes(&STREAMED),
            from_lanpeer: sizes(&STREAMED),
            peerpy_closes: ends.0,
            lanpeer_closes: ends.1,
        }
    }
}

/// One connection, and what both sides say of it.
struct Exchange<'a, K: Kind> {
    case: Case,
    peerpy: &'a mut Peerpy,
    ours: &'a Peer,
    conn: Connection<K>,
    /// The size of a stream's messages, or of the ones that keepalives come between.
    lengths: (usize, usize),
}

impl<'a, K: Kind> Exchange<'a, K> {
    fn begin(case: Case, size: Option<usize>, peerpy: &'a mut Peerpy, ours: &'a Peer) -> Self {
        peerpy.tell(json!({ "do": "timeout", "seconds": PATIENT }));
        let conn = match case.connects {
            Who::Peerpy => {
                let offers = ours.clone();
                let accepted = spawn(move || {
                    let offer = next_offer(&offers);
                    assert_eq!(offer.data_type().to_string(), K::NAME);
                    assert_eq!(offer.is_strict(), case.strict);
                    let stream = (case.stream != Stream::No).then_some(StreamSize::FromFirst);
                    assert_eq!(offer.stream(), stream);
                    offer.accept::<K>().expect("accept")
                });
                let mut options = json!({ "data_type": K::NAME, "strict": case.strict });
                if case.stream != Stream::No {
                    options["stream"] = json!(true);
                }
                assert!(peerpy.connect(ours.local_addr(), options));
                peerpy.event("connection");
                accepted.wait("the offer")
            }
            Who::Lanpeer => {
                let options = ConnectOptions::new().strict(case.strict);
                let options = match (case.stream, size) {
                    (Stream::Named, Some(size)) => options.stream_of(size),
                    (Stream::FirstFrom(_), _) => options.stream(),
                    _ => options,
                };
                let (alice, addr) = (ours.clone(), peerpy.addr);
                let conn = within_deadline("connect", move || options.connect::<K>(&alice, addr))
                    .expect("connect");
                let offer = peerpy.event("offer");
                assert_eq!(offer["target"], ours.local_addr().to_string());
                assert_eq!(offer["data_type"], K::NAME);
                assert_eq!(offer["strict"], case.strict);
                // Before this, it has sent ACCEPT but does not yet count the connection.
                peerpy.event("connection");
                conn
            }
        };
        assert_eq!(conn.peer_addr(), peerpy.addr);
        Exchange {
            case,
            peerpy,
            ours,
            conn,
            lengths: (1, 1),
        }
    }

    /// Sends each, one after the other: whoever shall be first is first.
    fn messages(&mut self, from_peerpy: &[usize], from_lanpeer: &[usize]) {
        self.lengths = (from_peerpy[0], from_lanpeer[0]);
        let lanpeer_first = self.case.stream == Stream::FirstFrom(Who::Lanpeer);
        for n in 0..from_peerpy.len().max(from_lanpeer.len()) {
            for theirs in [!lanpeer_first, lanpeer_first] {
                match (theirs, from_peerpy.get(n), from_lanpeer.get(n)) {
                    (true, Some(&length), _) => self.peerpy_sends(length),
                    (false, _, Some(&length)) => self.lanpeer_sends(length),
                    _ => {}
                }
            }
        }
        // Keepalives between two messages, also in a stream.
        self.quick();
        let (theirs, own) = self.lengths;
        self.peerpy_sends(theirs);
        self.peerpy.event("ping");
        self.peerpy.event("ping");
        self.peerpy_sends(theirs);
        self.lanpeer_sends(own);
        assert_eq!(self.conn.close_reason(), None);
        let sent = self.conn.stats().messages_sent;
        assert_eq!(sent, from_lanpeer.len() as u64 + 2);
    }

    fn peerpy_sends(&mut self, length: usize) {
        self.peerpy.send(K::told(length));
        assert!(receive(&self.conn) == K::item(length), "{length}");
    }

    fn lanpeer_sends(&mut self, length: usize) {
        self.conn.send(&K::item(length)).expect("send");
        assert_eq!(self.peerpy.data(), K::reported(length));
    }

    /// The new timeout counts from its next message on.
    fn quick(&mut self) {
        self.peerpy
            .tell(json!({ "do": "timeout", "seconds": QUICK }));
        self.lanpeer_sends(self.lengths.1);
    }

    fn peerpy_closes(mut self) -> String {
        let (theirs, _) = self.lengths;
        self.peerpy.send(K::told(theirs));
        self.peerpy.tell(json!({ "do": "close" }));
        assert!(receive(&self.conn) == K::item(theirs), "the last message");
        let reason = ended(&self.conn);
        assert_eq!(reason, CloseReason::ClosedThere);
        self.over();
        format!("all, then `{reason:?}`")
    }

    fn lanpeer_closes(mut self) -> String {
        let (_, own) = self.lengths;
        self.conn.send(&K::item(own)).expect("send");
        if self.case.stream != Stream::No {
            let stats = self.conn.stats();
            let size = stats.bytes_sent / stats.messages_sent;
            assert_eq!(stats.bytes_received, size * stats.messages_received);
        }
        let closing = self.conn.clone();
        within_deadline("close", move || closing.close()).expect("close");
        assert_eq!(ended(&self.conn), CloseReason::ClosedHere);
        assert_eq!(self.peerpy.data(), K::reported(own));
        self.over();
        "all, then its `close` event".to_owned()
    }

    /// Both sides have noticed.
    fn over(&mut self) {
        self.peerpy.event("close");
        let peerpy = &mut self.peerpy;
        until("the end", || {
            let state = peerpy.tell(json!({ "do": "state" }));
            assert_eq!(state["closed"], true);
            state["connections"] == 0
        });
        let ours = &self.ours;
        until("the end", || ours.connections().is_empty());
        assert_eq!(self.peerpy.unasked("close"), 0, "closed twice");
        assert_eq!(self.peerpy.unasked("data"), 0, "more than was sent");
    }
}

/// Messages of two data types on one connection that is not strict: what `Dynamic` sends. peerpy
/// sends only the connection's own type.
fn mixed() -> Option<Vec<String>> {
    let mut peerpy = Peerpy::start()?;
    let ours = peer();
    let mut rows = Vec::new();
    for connects in [Who::Peerpy, Who::Lanpeer] {
        let mut end = |closes: Who| {
            let case = Case {
                connects,
                strict: false,
                stream: Stream::No,
            };
            let conn = case.dynamic(&mut peerpy, &ours);
            for n in 0..3 {
                conn.send(&Message::json(&json!({ "n": n })).expect("encode"))
                    .expect("send");
                assert_eq!(peerpy.data(), json!({ "n": n }));
                conn.send(&Message::bytes(vec![n, 255])).expect("send");
                assert_eq!(peerpy.data(), json!({ "hex": format!("{n:02x}ff") }));
                peerpy.send(json!(n));
                let answer = receive(&conn);
                assert_eq!(answer.data_type(), DataType::Json);
                assert_eq!(answer.decode::<u8>().expect("a number"), n);
            }
            peerpy.tell(json!({ "do": "timeout", "seconds": QUICK }));
            conn.send(&Message::bytes(b"last")).expect("send");
            let seen = match closes {
                Who::Peerpy => {
                    peerpy.data();
                    peerpy.tell(json!({ "do": "close" }));
                    format!("all, then `{:?}`", ended(&conn))
                }
                Who::Lanpeer => {
                    let closing = conn.clone();
                    within_deadline("close", move || closing.close()).expect("close");
                    assert_eq!(peerpy.data(), json!({ "hex": "6c617374" }));
                    "all, then its `close` event".to_owned()
                }
            };
            peerpy.event("close");
            until("the end", || {
                peerpy.tell(json!({ "do": "state" }))["connections"] == 0
            });
            seen
        };
        let (peerpy_closes, lanpeer_closes) = (end(Who::Peerpy), end(Who::Lanpeer));
        rows.push(format!(
            "| {connects} | json | no | no | json | json and bytes | {peerpy_closes} | {lanpeer_closes} |"
        ));
    }
    rests(&mut peerpy);
    Some(rows)
}

impl Case {
    fn dynamic(self, peerpy: &mut Peerpy, ours: &Peer) -> Connection<Dynamic> {
        peerpy.tell(json!({ "do": "timeout", "seconds": PATIENT }));
        if self.connects == Who::Lanpeer {
            let (alice, addr) = (ours.clone(), peerpy.addr);
            let conn = within_deadline("connect", move || alice.connect::<Dynamic>(addr));
            peerpy.event("connection");
            return conn.expect("connect");
        }
        let offers = ours.clone();
        let accepted = spawn(move || next_offer(&offers).accept::<Dynamic>());
        let options = json!({ "data_type": "json", "strict": false });
        assert!(peerpy.connect(ours.local_addr(), options));
        peerpy.event("connection");
        accepted.wait("the offer").expect("accept")
    }
}

/// After all its connections have ended: no thread of peerpy spins, as it would after a FIN.
fn rests(peerpy: &mut Peerpy) {
    peerpy.tell(json!({ "do": "timeout", "seconds": PATIENT }));
    let share = peerpy.tell(json!({ "do": "cpu", "seconds": 0.3 }))["share"].as_f64();
    assert!(share.expect("a number") < 0.1, "takes {share:?} of a core");
}

fn sizes(sizes: &[usize]) -> String {
    let texts = sizes.iter().map(|&size| match size {
        1_048_576 => "1 MiB".to_owned(),
        size => format!("{size} B"),
    });
    texts.collect::<Vec<_>>().join(", ")
}
