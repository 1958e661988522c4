//! Messages of which only the newest counts, on the way out and on the way in: all others arrive, nothing
//! overtakes anything, the newest is never lost, and what was replaced is counted.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::TryRecvError;
use shuttle::thread::{self, JoinHandle};

use crate::error::{CloseReason, SendError};
use crate::format::{DataType, Dialect, Encoded};
use crate::net::endpoint::Endpoint;
use crate::net::link::Link;
use crate::net::os::socket::{TcpStream, Wire, without_waiting};
use crate::net::os::sync::{AtomicUsize, Ordering, dawdle, one_in, up_to, yield_now};
use crate::net::recv::latest_queue;
use crate::net::send::Wait;
use crate::net::wire::record::{END, RecordWriter};
use crate::proto::header::{HEADER_LEN, data_header};

/// What one thread sent: its name, its number, and how long it is; whether it may be replaced.
type Sent = Vec<(Vec<u8>, bool)>;

/// By the sender, whose socket is full now and then.
pub fn sent() {
    let is_sealed = one_in(3);
    let refused = ["lanpeer-w", "lanpeer-flush"];
    let refused = refused.into_iter().filter(|_| one_in(8)).collect();
    let endpoint = Endpoint::new(1 + up_to(600), Duration::ZERO, None, refused);
    let wire = Wire::new(10 + up_to(400));
    let sealing = is_sealed.then(RecordWriter::default);
    let link = endpoint.link_in(Dialect::Headers, TcpStream(Arc::clone(&wire)), sealing);
    // One that stops reading goes on when all is sent.
    let stops_at = one_in(2).then(|| up_to(500));
    let mut remotes = vec![read(&wire, stops_at.unwrap_or(usize::MAX))];
    let senders: Vec<_> = (0..1 + up_to(1) as u8)
        .map(|name| send(&link, name, stops_at.map(|_| Arc::clone(&wire))))
        .collect();
    let is_killed = one_in(4);
    if is_killed {
        dawdle();
        link.kill(CloseReason::Aborted);
    }
    let mut sent = Vec::new();
    for sender in senders {
        let (all, remote) = sender.join().expect("a sender");
        sent.push(all);
        remotes.extend(remote);
    }
    match up_to(2) {
        0 if !is_killed => {
            assert_eq!(link.flush(), Ok(()));
            assert_eq!(link.sender.numbers().2, 0, "bytes are left after a flush");
        }
        // Somebody sees to it, also where nobody flushes.
        1 if !is_killed => {
            while link.sender.numbers().2 > 0 {
                yield_now();
            }
        }
        _ => {}
    }
    link.close();
    for remote in remotes {
        remote.join().expect("the other side");
    }
    check(&link, &wire, &sent, is_killed, is_sealed);
    link.end();
    endpoint.stop();
}

fn read(wire: &Arc<Wire>, enough: usize) -> JoinHandle<()> {
    let wire = Arc::clone(wire);
    thread::spawn(move || wire.read_until(enough))
}

/// Sends messages of both kinds. `stopped`: where the other side does not read. It goes on behind the
/// last one, before this thread ends, which would wait for that.
fn send(
    link: &Arc<Link>,
    name: u8,
    stopped: Option<Arc<Wire>>,
) -> JoinHandle<(Sent, Option<JoinHandle<()>>)> {
    let link = Arc::clone(link);
    let waits_in_vain = stopped.is_some();
    thread::spawn(move || {
        let mut sent = Vec::new();
        for number in 0..1 + up_to(6) as u8 {
            let mut payload = vec![number; [3 + up_to(30), 300][usize::from(one_in(5))]];
            payload[0] = name;
            let message = Encoded {
                data_type: DataType::Bytes,
                payload: &payload,
            };
            let is_latest = !one_in(4);
            let result = match is_latest {
                true => without_waiting(|| link.sender.send_latest(message)),
                false if waits_in_vain => link.send(message, Wait::No),
                false => link.send(message, Wait::Forever),
            };
            match result {
                Err(SendError::Full) => {}
                Ok(()) => sent.push((payload, is_latest)),
                Err(SendError::Closed(_)) => break,
                Err(other) => panic!("{other}"),
            }
            if !waits_in_vain && one_in(6) {
                let _ = link.flush();
            }
            if one_in(2) {
                dawdle();
            }
        }
        let remote = stopped.map(|wire| read(&wire, usize::MAX));
        (sent, remote)
    })
}

fn check(link: &Link, wire: &Wire, sent: &[Sent], is_killed: bool, is_sealed: bool) {
    let state = wire.state();
    let mut bytes = &state.taken[..];
    if is_sealed && state.fins > 0 {
        let (last, rest) = bytes.split_last().expect("the end");
        assert_eq!(*last, END);
        bytes = rest;
    }
    let mut next = vec![0; sent.len()];
    let mut arrived = 0;
    while bytes.len() > HEADER_LEN {
        let name = usize::from(bytes[HEADER_LEN]);
        let is_this = |payload: &[u8]| {
            let whole = [&data_header(payload.len(), DataType::Bytes)[..], payload].concat();
            let part = bytes.len().min(whole.len());
            (bytes[..part] == whole[..part]).then_some(whole.len())
        };
        let found = sent[name].iter().enumerate().skip(next[name]);
        let mut found = found.filter_map(|(at, (payload, _))| Some((at, is_this(payload)?)));
        let Some((at, size)) = found.next() else {
            // One that a kill has cut was not accepted.
            assert!(is_killed, "altered, or out of order");
            return;
        };
        let left_out = &sent[name][next[name]..at];
        assert!(left_out.iter().all(|(_, is_latest)| *is_latest), "lost");
        next[name] = at + 1;
        if size > bytes.len() {
            assert!(is_killed, "cut");
            return;
        }
        bytes = &bytes[size..];
        arrived += 1;
    }
    if is_killed {
        return;
    }
    assert!(bytes.is_empty());
    let left = sent
        .iter()
        .zip(&next)
        .flat_map(|(sent, next)| &sent[*next..]);
    assert!(left.clone().all(|(_, is_latest)| *is_latest), "lost");
    if let [one] = sent {
        // Whatever is behind it, the newest has arrived.
        let newest = one.iter().rposition(|(_, is_latest)| *is_latest);
        assert!(
            newest.is_none_or(|newest| newest < next[0]),
            "the newest is lost"
        );
    }
    let accepted: usize = sent.iter().map(Vec::len).sum();
    assert_eq!(link.sender.numbers().0, arrived);
    assert_eq!(link.sender.replaced() + arrived, accepted as u64);
}

/// By the receiver, whose program takes them when it comes to it.
pub fn received() {
    let endpoint = Endpoint::new(1000, Duration::ZERO, None, Vec::new());
    let link = endpoint.link(TcpStream(Wire::new(1)), None);
    let (mut producer, consumer) = latest_queue::<usize>(None, endpoint.context());
    let _ = link.queue.set(producer.waker());
    let consumer = Arc::new(consumer);
    let count = 1 + up_to(8);
    let leaves = one_in(4);
    let newest = Arc::new(AtomicUsize::new(usize::MAX));
    let reading = {
        let (link, newest) = (Arc::clone(&link), Arc::clone(&newest));
        thread::spawn(move || {
            for number in 0..count {
                producer.push(&link.life, number, 1).expect("never in vain");
                if one_in(3) {
                    producer.hand_over();
                    dawdle();
                }
            }
            // It is there without anything behind it.
            while !leaves && newest.load(Ordering::SeqCst) != count - 1 {
                yield_now();
            }
        })
    };
    let selecting = one_in(2).then(|| {
        let consumer = Arc::clone(&consumer);
        thread::spawn(move || {
            dawdle();
            consumer.channel();
        })
    });
    let enough = if leaves { up_to(3) } else { usize::MAX };
    let mut taken = Vec::new();
    while taken.len() < enough {
        if let Some(number) = taken.last() {
            newest.store(*number, Ordering::SeqCst);
        }
        match one_in(3) {
            true => match consumer.try_recv() {
                Ok(number) => taken.push(number),
                Err(TryRecvError::Empty) => dawdle(),
                Err(TryRecvError::Disconnected) => break,
            },
            false => match consumer.recv(None) {
                Ok(number) => taken.push(number),
                Err(_) => break,
            },
        }
    }
    if let Some(selecting) = selecting {
        selecting.join().expect("a thread that selects");
    }
    let queue = link.queue.get().expect("a queue");
    assert!(taken.is_sorted_by(|one, other| one < other), "{taken:?}");
    if leaves {
        consumer.abandon();
        reading.join().expect("the reader");
        let counted = queue.taken() as usize;
        assert!(counted <= count && taken.len() <= counted);
    } else {
        reading.join().expect("the reader");
        assert_eq!(taken.last(), Some(&(count - 1)), "the newest is lost");
        assert_eq!(queue.replaced() as usize + taken.len(), count);
        assert_eq!(queue.taken() as usize, count);
    }
    link.end();
    endpoint.stop();
}
