use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, OnceLock};

use crossbeam_channel::RecvTimeoutError;

use super::agreed::{Agreed, End};
use super::conversations::{DEADLINE, MAX_SIZE, Scene, Wire, denial};
use super::framed::{Said, plainly};
use super::is_clean;
use super::plan::Plan;
use crate::connection::Connection;
use crate::error::CloseReason;
use crate::format::{DataType, Dynamic};
use crate::options::{ConnectOptions, StreamSize};
use crate::proto::frame::Rules;
use crate::proto::frames::{Call, Word, word};
use crate::proto::header::{Answer, HEADER_LEN, Hello, Stream, Version};
use crate::proto::who;

/// Any bytes as what a lanpeer that speaks frames sends behind the handshake, or as what it says of
/// itself: the peer delivers the messages that are in them, ends for the right reason, says that to the
/// other side, and calls nothing taken in that the other side does not.
pub fn spoken(data: &[u8]) {
    let scene = alone();
    let mut plan = Plan::new(data);
    let choice = plan.byte();
    let is = |bit: u8| choice >> bit & 1 == 1;
    let data_type = plan.pick(&[DataType::Bytes, DataType::Json, DataType::Raw]);
    let size = plan.up_to(500) + 1;
    let stream = match choice & 3 {
        0 | 1 => None,
        2 => Some(StreamSize::FromFirst),
        _ => Some(StreamSize::Of(size)),
    };
    let asks = Asks {
        data_type,
        strict: is(2),
        stream,
    };
    let mut card = WHO;
    if is(4) {
        // Of any bytes, or the padding would hardly ever be right.
        let text = plan.bytes(HEADER_LEN);
        card = [b'|'; HEADER_LEN];
        card[..text.len()].copy_from_slice(text);
    }
    let bytes = plan.rest();
    match is(3) {
        true => asked(&scene, asks, &card, bytes),
        false => asking(&scene, asks, is(5), bytes),
    }
}

#[derive(Clone, Copy)]
struct Asks {
    data_type: DataType,
    strict: bool,
    stream: Option<StreamSize>,
}

const WHO: [u8; HEADER_LEN] = {
    let (mut header, text) = ([b'|'; HEADER_LEN], b"WHO|id=00000000ab&name=wire");
    let mut at = 0;
    while at < text.len() {
        header[at] = text[at];
        at += 1;
    }
    header
};

const ACCEPT: Answer = Answer::Accept {
    version: Version::Frames,
    secure: None,
    key: None,
};

fn asked(scene: &Scene, asks: Asks, card: &[u8; HEADER_LEN], bytes: &[u8]) {
    let parsed = who::parse_client(card);
    if matches!(parsed, Ok((_, Some(_)))) {
        // What becomes of it depends on those that came before; `tests/keep` has that.
        return;
    }
    let mut wire = Wire::new(TcpStream::connect(scene.peer.local_addr()).expect("it listens"));
    let hello = Hello {
        addr: "127.0.0.1:9".parse().expect("an address"),
        data_type: asks.data_type,
        strict: asks.strict,
        stream: asks.stream.map(|stream| match stream {
            StreamSize::FromFirst => Stream::FromFirst,
            StreamSize::Of(size) => Stream::Of(size as u64),
        }),
        version: Version::Frames,
        who: asks.stream.is_none(),
        secure: None,
        to: None,
        key: None,
    };
    wire.write(&hello.write().expect("fits"));
    if asks.stream.is_some() {
        assert_eq!(wire.read(), who::QUESTION);
    }
    wire.write(card);
    let card = match parsed {
        Ok((card, _)) => card,
        Err(error) => {
            assert_eq!(scene.failed(&wire), error.to_string());
            return wire.ends_with(&denial("malformed"));
        }
    };
    wire.write(bytes);
    let offer = scene.peer.offers().recv_timeout(DEADLINE);
    let offer = offer.expect("an offer");
    assert_eq!(
        offer.peer_addr(),
        SocketAddr::from((Ipv4Addr::LOCALHOST, 9))
    );
    let name = Some(card.name.as_str()).filter(|name| !name.is_empty());
    assert_eq!(offer.peer_name(), name);
    let conn = offer.accept::<Dynamic>().expect("it waits");
    assert_eq!(wire.read(), ACCEPT.write().expect("fits"));
    assert!(who::parse(&wire.read()).is_ok());
    wire.fin();
    hears(conn, asks, bytes, wire);
}

fn asking(scene: &Scene, asks: Asks, asks_who: bool, bytes: &[u8]) {
    let options = ConnectOptions::new()
        .data_type(asks.data_type)
        .strict(asks.strict)
        .timeout(DEADLINE);
    let options = match asks.stream {
        None => options,
        Some(StreamSize::FromFirst) => options.stream(),
        Some(StreamSize::Of(size)) => options.stream_of(size),
    };
    let addr = scene.listener.local_addr().expect("it listens");
    let (wire, conn) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| options.connect::<Dynamic>(&scene.peer, addr));
        let (socket, _) = scene.listener.accept().expect("it connects");
        let mut wire = Wire::new(socket);
        let hello = Hello::parse(&wire.read()).expect("a HELLO");
        assert_eq!(hello.version, Version::Frames);
        assert_eq!(hello.who, asks.stream.is_none());
        if asks.stream.is_none() {
            assert!(who::parse(&wire.read()).is_ok());
        } else if asks_who {
            wire.write(&who::QUESTION);
            assert!(who::parse(&wire.read()).is_ok());
        }
        let accept = ACCEPT.write().expect("fits");
        wire.write(&[&accept, &WHO, bytes].concat());
        wire.fin();
        let conn = asking.join().expect("no panic");
        (wire, conn.expect("it was accepted"))
    });
    assert_eq!(conn.peer_name(), Some("wire"));
    hears(conn, asks, bytes, wire);
}

/// The other side has sent these bytes, and FIN.
fn hears(conn: Connection<Dynamic>, asks: Asks, bytes: &[u8], mut wire: Wire) {
    let named = match asks.stream {
        Some(StreamSize::Of(size)) => Some(size),
        _ => None,
    };
    let rules = Rules {
        data_type: asks.data_type,
        strict: asks.strict,
        streaming: asks.stream.is_some(),
        lanpeer: true,
        max_size: MAX_SIZE,
    };
    let agreed = Agreed {
        rules,
        named,
        sent: None,
    };
    let (said, end) = plainly(agreed, bytes);
    let mut said = said.into_iter();
    let mut count = 0;
    let mut was_asked = false;
    let word_said = loop {
        let (data_type, payload) = match said.next() {
            Some(Said::Message(data_type, payload)) => (data_type, payload),
            Some(Said::Call(call, ..)) => {
                was_asked |= matches!(call, Call::Request(_));
                count += 1;
                continue;
            }
            Some(Said::Failed(..)) => continue,
            word => break word,
        };
        let message = conn.recv_timeout(DEADLINE).expect("a message");
        let received = (message.data_type(), message.payload());
        assert_eq!(received, (data_type, &payload[..]));
        count += 1;
    };
    let over = conn
        .recv_timeout(DEADLINE)
        .map(|message| message.payload().len());
    assert_eq!(over, Err(RecvTimeoutError::Disconnected));
    let reason = conn.close_reason().expect("it has ended");
    is_clean(&reason);

    let malformed = |what: &str| CloseReason::Malformed(format!("malformed: {what}"));
    let too_many = |n: u64| format!("the other side took in {n} messages of 0");
    let goodbye = word(Word::Goodbye(Some(count)), "", named.is_some());
    let refuses = |reason: &CloseReason| {
        let refused = Word::Refused { skip: 0 };
        word(refused, &reason.to_string(), named.is_some())
    };
    // Why it ends, what the other side is told, and whether all was taken in: of nothing, all is.
    let (expected, told, is_ok) = match word_said {
        Some(Said::Goodbye(None)) => match said.next() {
            // It lies. Whether that is found before the program is told of the end depends on whether one read
            // has brought both words.
            Some(Said::Taken(n @ 1..)) if reason != CloseReason::ClosedThere => {
                (malformed(&too_many(n)), Vec::new(), false)
            }
            next => {
                let is_ok = next == Some(Said::Taken(0));
                (CloseReason::ClosedThere, goodbye, is_ok)
            }
        },
        Some(Said::Goodbye(Some(0))) => (CloseReason::ClosedThere, goodbye, true),
        Some(Said::Goodbye(Some(n))) => (malformed(&too_many(n)), Vec::new(), false),
        Some(Said::Taken(_)) => {
            let reason = malformed("a count of messages before the goodbye");
            let told = refuses(&reason);
            (reason, told, false)
        }
        Some(Said::Refused(words)) => {
            let plain = words.replace(|c: char| c.is_control(), "?");
            (CloseReason::RefusedThere(plain), Vec::new(), false)
        }
        Some(Said::Message(..) | Said::Call(..) | Said::Failed(..)) => {
            unreachable!("it does not end the loop")
        }
        None => match end {
            End::Input { left: 0 } => (CloseReason::Vanished, Vec::new(), false),
            End::Input { .. } | End::Payload { .. } => (CloseReason::Truncated, Vec::new(), false),
            End::Error(words) => {
                let is_malformed = matches!(reason, CloseReason::Malformed(_));
                let prefix = if is_malformed { "malformed: " } else { "" };
                assert_eq!(reason.to_string(), format!("{prefix}{words}"));
                (reason.clone(), refuses(&reason), false)
            }
        },
    };
    assert_eq!(reason, expected);
    let close = conn.close();
    assert_eq!(close.is_ok(), is_ok, "{close:?}");
    drop(conn);
    if was_asked {
        // Requests are answered, or not, as the end leaves time for it.
        return;
    }
    // This `close` may have been before the answer to a goodbye, which then is a word of its own.
    let apart = [Word::Goodbye(None), Word::Taken(count)];
    let apart = apart.map(|said| word(said, "", named.is_some())).concat();
    let answer = wire.rest();
    let is_apart = expected == CloseReason::ClosedThere && answer == apart;
    assert!(answer == told || is_apart, "{answer:x?} for {told:x?}");
}

/// One run at a time: each takes what it caused out of the peer's queues.
fn alone() -> MutexGuard<'static, Scene> {
    static SCENE: OnceLock<Mutex<Scene>> = OnceLock::new();
    Scene::enter(SCENE.get_or_init(|| Mutex::new(Scene::new(false))))
}
