//! The send queue: each message that was accepted is written once, whole and in order, or the end is
//! told; FIN comes once and last; and nobody waits for ever. In frames, a goodbye comes behind the last
//! message, and FIN behind the word of what was taken in.

use std::sync::Arc;
use std::time::Duration;

use shuttle::thread::{self, JoinHandle};

use crate::error::{CloseReason, SendError};
use crate::format::{DataType, Dialect, Encoded};
use crate::net::endpoint::Endpoint;
use crate::net::link::Link;
use crate::net::os::socket::{TcpStream, Wire, without_waiting};
use crate::net::os::sync::{Instant, dawdle, one_in, up_to};
use crate::net::send::Wait;
use crate::net::wire::record::{END, RecordWriter};
use crate::proto::frames::{Head, Word, word};
use crate::proto::header::{HEADER_LEN, data_header};

/// A message that the caller writes itself.
const LARGE: usize = 64 << 10;

/// What happens to the connection, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// When all is sent and flushed.
    CloseLast,
    /// In the middle.
    Close,
    Kill,
    /// The other side resets the connection.
    Break,
    /// The other side stops reading; then a close, and a kill as at its deadline.
    Stuck,
}

pub fn closed() {
    run([End::CloseLast, End::Close][up_to(1)], Vec::new());
}

/// In frames: this side says goodbye, and its reader, at any time, what was taken in.
pub fn in_frames() {
    run_in(Dialect::Frames, End::Close, Vec::new());
}

/// What the reader says was taken in.
const TAKEN: u64 = 300;

pub fn killed() {
    run([End::Kill, End::Break, End::Stuck][up_to(2)], Vec::new());
}

/// Without some of the threads, the others do their work.
pub fn without_threads() {
    let names = ["lanpeer-w", "lanpeer-flush"];
    let refused = names.into_iter().filter(|_| one_in(2)).collect();
    let ends = [
        End::CloseLast,
        End::Close,
        End::Kill,
        End::Break,
        End::Stuck,
    ];
    run(ends[up_to(4)], refused);
}

/// What one thread sends, and what came of it.
type Sent = Vec<(Vec<u8>, Result<(), SendError>)>;

fn run(end: End, refused: Vec<&'static str>) {
    run_in(Dialect::Headers, end, refused);
}

fn run_in(dialect: Dialect, end: End, refused: Vec<&'static str>) {
    let large = one_in(8);
    let limit = match large {
        true => 2 * LARGE,
        false => 1 + up_to(600),
    };
    let room = if large {
        8_000 + up_to(LARGE)
    } else {
        20 + up_to(500)
    };
    let endpoint = Endpoint::new(limit, Duration::ZERO, None, refused);
    let wire = Wire::new(room);
    let is_sealed = !large && one_in(3);
    let sealing = is_sealed.then(RecordWriter::default);
    let link = endpoint.link_in(dialect, TcpStream(Arc::clone(&wire)), sealing);

    let stuck_at = up_to(700);
    let remote = {
        let wire = Arc::clone(&wire);
        thread::spawn(move || {
            let enough = if end == End::Stuck {
                stuck_at
            } else {
                usize::MAX
            };
            wire.read_until(enough);
        })
    };
    let senders: Vec<_> = (0..1 + up_to(2) as u8)
        .map(|name| send(&link, name, large))
        .collect();
    let ending = match end {
        End::CloseLast => None,
        _ => Some(bring_about(end, &link, &wire)),
    };
    let answering = (dialect == Dialect::Frames).then(|| {
        let link = Arc::clone(&link);
        thread::spawn(move || {
            for _ in 0..up_to(8) {
                dawdle();
            }
            link.answer(TAKEN);
        })
    });
    let sent: Vec<Sent> = senders
        .into_iter()
        .map(|sender| sender.join().expect("a sender"))
        .collect();
    if end == End::CloseLast {
        if one_in(2) {
            assert_eq!(link.flush(), Ok(()));
            assert_eq!(link.sender.numbers().2, 0, "bytes are left after a flush");
        }
        link.close();
        // The last handle's drop.
        link.close_in_background(CloseReason::ClosedHere);
    }
    for ending in ending.into_iter().chain(answering) {
        ending.join().expect("the end");
    }
    remote.join().expect("the other side");
    check(dialect, end, &link, &wire, &sent, is_sealed);
    link.end();
    endpoint.stop();
    drop(link);
    let state = wire.state();
    assert!(state.closed, "the socket is still open");
    assert!(state.fins <= 1, "{} FINs", state.fins);
}

fn bring_about(end: End, link: &Arc<Link>, wire: &Arc<Wire>) -> JoinHandle<()> {
    let (link, wire) = (Arc::clone(link), Arc::clone(wire));
    thread::spawn(move || {
        for _ in 0..up_to(8) {
            dawdle();
        }
        match end {
            End::CloseLast => {}
            End::Close => link.close_in_background(CloseReason::ClosedHere),
            End::Kill => link.kill(CloseReason::Aborted),
            End::Break => wire.break_off(),
            End::Stuck => {
                link.close_in_background(CloseReason::ClosedHere);
                dawdle();
                link.kill(CloseReason::TimedOut);
            }
        }
    })
}

fn send(link: &Arc<Link>, name: u8, large: bool) -> JoinHandle<Sent> {
    let link = Arc::clone(link);
    let payload = move |number: u8| {
        let size = match up_to(5) {
            0 if large => LARGE + up_to(3),
            1 => 300,
            _ => 3 + up_to(30),
        };
        let mut payload = vec![number; size];
        payload[0] = name;
        payload
    };
    thread::spawn(move || {
        let mut sent = Vec::new();
        for number in 0..1 + up_to(3) as u8 {
            let payload = payload(number);
            let wait = match up_to(3) {
                0 => Wait::No,
                1 => Wait::Until(Instant::now() + Duration::from_millis(100)),
                _ => Wait::Forever,
            };
            let message = Encoded {
                data_type: DataType::Bytes,
                payload: &payload,
            };
            let result = match wait {
                Wait::No => without_waiting(|| link.send(message, wait)),
                _ => link.send(message, wait),
            };
            match &result {
                Ok(()) | Err(SendError::Closed(_)) => {}
                Err(SendError::Full) => assert!(matches!(wait, Wait::No)),
                Err(SendError::Timeout) => assert!(matches!(wait, Wait::Until(_))),
                Err(other) => panic!("{other}"),
            }
            let is_over = matches!(result, Err(SendError::Closed(_)));
            sent.push((payload, result));
            if is_over {
                break;
            }
            if one_in(6) {
                let _ = link.flush();
            }
            if one_in(2) {
                dawdle();
            }
        }
        sent
    })
}

/// What the other side's system got is what was accepted.
fn check(dialect: Dialect, end: End, link: &Link, wire: &Wire, sent: &[Sent], is_sealed: bool) {
    let state = wire.state();
    let is_whole = matches!(end, End::CloseLast | End::Close) && !link.life.is_over();
    let mut bytes = &state.taken[..];
    if is_whole {
        assert_eq!(state.fins, 1);
        if is_sealed {
            let (last, rest) = bytes.split_last().expect("the end");
            assert_eq!(*last, END);
            bytes = rest;
        }
    } else if is_sealed && state.fins > 0 {
        bytes = &bytes[..bytes.len() - 1];
    }
    let is_frames = dialect == Dialect::Frames;
    if is_frames {
        let said = |words: &[Word]| -> Vec<u8> {
            let said = words.iter().flat_map(|said| word(*said, "", false));
            said.collect()
        };
        let apart = said(&[Word::Goodbye(None), Word::Taken(TAKEN)]);
        let at_once = said(&[Word::Goodbye(Some(TAKEN))]);
        let rest = bytes.strip_suffix(&apart[..]);
        let rest = rest.or(bytes.strip_suffix(&at_once[..]));
        bytes = rest.expect("a goodbye, once, behind all messages");
    }
    // The next message of each sender.
    let mut next = vec![0; sent.len()];
    while !bytes.is_empty() {
        let head = match bytes[0] {
            _ if !is_frames => HEADER_LEN,
            0..=0x7f => 1,
            0x80..=0xbf => 2,
            _ => 3,
        };
        let Some(name) = bytes.get(head).map(|name| usize::from(*name)) else {
            break;
        };
        // Those that were refused are not there.
        let messages = sent[name].iter().skip(next[name]);
        let ours = |result: &Result<(), SendError>| match result {
            Ok(()) => true,
            // A write that failed, or an end in the middle, may have brought a part across.
            Err(SendError::Closed(_)) => !is_whole,
            Err(_) => false,
        };
        let mut messages = messages.skip_while(|(_, result)| !ours(result));
        let (payload, _) = messages.next().expect("more than was accepted");
        next[name] = sent[name].len() - messages.count();
        let mut whole = match is_frames {
            true => Head::of(payload.len()).bytes().to_vec(),
            false => data_header(payload.len(), DataType::Bytes).to_vec(),
        };
        whole.extend_from_slice(payload);
        let part = bytes.len().min(whole.len());
        assert!(whole[..part] == bytes[..part], "altered, or out of order");
        if part < whole.len() {
            assert!(!is_whole, "a message is cut");
            return;
        }
        bytes = &bytes[part..];
    }
    if is_whole {
        assert!(bytes.is_empty());
        let accepted = sent.iter().flatten().filter(|(_, result)| result.is_ok());
        let left = sent.iter().zip(next).flat_map(|(sent, next)| &sent[next..]);
        assert!(left.into_iter().all(|(_, result)| result.is_err()), "lost");
        assert_eq!(link.sender.numbers().0, accepted.count() as u64);
    }
}
