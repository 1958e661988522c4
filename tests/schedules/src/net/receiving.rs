//! The receive queue: everything arrives once and in order, or the end is told; the bounds hold; and
//! nobody waits for ever.

use std::mem::size_of;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex as Record};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, TryRecvError};
use shuttle::thread::{self, JoinHandle};

use crate::error::CloseReason;
use crate::net::endpoint::Endpoint;
use crate::net::os::socket::{TcpStream, Wire};
use crate::net::os::sync::{Instant, dawdle, one_in, up_to};
use crate::net::recv::consumer::Consumer;
use crate::net::recv::receive_queue;
use crate::net::wire::span::Span;

type Item = Vec<u8>;

/// What else happens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The reader comes to the end of input.
    Input,
    Kill,
    Abandon,
}

/// Until the other side's end.
pub fn to_the_end() {
    run(End::Input, false);
}

pub fn killed() {
    run(End::Kill, false);
}

pub fn abandoned() {
    run(End::Abandon, false);
}

/// The program asks for a channel in the middle.
pub fn selected() {
    let ends = [End::Input, End::Kill, End::Abandon];
    run(ends[up_to(2)], true);
}

fn message(number: usize) -> Item {
    let size = if number % 5 == 3 { 40 } else { 1 + number % 3 };
    vec![number as u8; size]
}

fn run(end: End, select: bool) {
    let count = 3 + up_to(9);
    let limit = (1 + up_to(3), 60 + up_to(100));
    let spin = Duration::from_micros(if one_in(2) { 0 } else { 30 });
    let endpoint = Endpoint::new(1000, spin, None, Vec::new());
    let link = endpoint.link(TcpStream(Wire::new(1)), None);
    let is_plain = one_in(2);
    let make: Option<fn(&[u8]) -> Item> = is_plain.then_some(<[u8]>::to_vec);
    let (mut producer, consumer) = receive_queue(limit.0, limit.1, make, endpoint.context());
    let _ = link.queue.set(producer.waker());
    let consumer = Arc::new(consumer);
    let takers = 1 + up_to(1);
    let story = Arc::new(Story::default());

    let reading = {
        let (link, story) = (Arc::clone(&link), Arc::clone(&story));
        thread::spawn(move || {
            for number in 0..count {
                let item = message(number);
                let size = item.len();
                let in_a_run = is_plain
                    && one_in(2)
                    && producer.push_run(|messages, bytes, each, spans| {
                        if messages == 0 || size + each > bytes {
                            return &[];
                        }
                        spans.extend(Span::new(0, size));
                        &item
                    });
                let pushed = match in_a_run {
                    true => Ok(()),
                    false => producer.push(&link.life, item, size),
                };
                if pushed.is_err() {
                    assert!(link.life.is_over());
                    return number;
                }
                if !producer.is_abandoned() {
                    story.pushed(number);
                    story.check(limit, takers);
                }
                if one_in(3) {
                    producer.hand_over();
                    dawdle();
                }
            }
            count
        })
    };
    let taking: Vec<_> = (0..takers)
        .map(|_| take(&consumer, &story, end, limit.0))
        .collect();
    let selecting = select.then(|| {
        let consumer = Arc::clone(&consumer);
        thread::spawn(move || {
            dawdle();
            consumer.channel();
        })
    });
    if end == End::Kill {
        dawdle();
        link.kill(CloseReason::Aborted);
    }
    for taker in taking {
        taker.join().expect("a receiver");
    }
    if let Some(selecting) = selecting {
        selecting.join().expect("a thread that selects");
    }
    let mut consumer = Some(consumer);
    if end == End::Abandon {
        consumer.take().expect("the last handle").abandon();
    }
    let read = reading.join().expect("the reader");
    if end == End::Abandon {
        // What the other side is told.
        let told = link.queue.get().expect("a queue").taken() as usize;
        let taken = story.taken.lock().unwrap().len();
        assert_eq!(told, taken, "it says how many the program has taken");
    }
    let mut taken = story.taken.lock().unwrap().clone();
    if let Some(consumer) = consumer {
        while let Ok(item) = consumer.recv(None) {
            taken.push(usize::from(item[0]));
        }
    }
    if takers == 1 {
        assert!(taken.is_sorted(), "out of order: {taken:?}");
    }
    taken.sort_unstable();
    let expected = match end {
        End::Input => count,
        // What was read is delivered, but for the message that met the end.
        End::Kill => read,
        End::Abandon => taken.len(),
    };
    assert_eq!(taken, (0..expected).collect::<Vec<_>>());
    link.end();
    endpoint.stop();
}

/// What has happened, as far as both sides have noted it.
#[derive(Default)]
struct Story {
    pushed: AtomicUsize,
    pushed_bytes: AtomicUsize,
    taken: Record<Vec<usize>>,
}

impl Story {
    fn size(number: usize) -> usize {
        message(number).len() + size_of::<Item>()
    }

    fn pushed(&self, number: usize) {
        self.pushed.fetch_add(1, SeqCst);
        self.pushed_bytes.fetch_add(Story::size(number), SeqCst);
    }

    /// What waits is within the bounds, but for what each receiver has taken and not yet noted.
    fn check(&self, (messages, bytes): (usize, usize), takers: usize) {
        let taken = self.taken.lock().unwrap();
        let waiting = self.pushed.load(SeqCst).saturating_sub(taken.len());
        assert!(waiting <= messages + takers, "{waiting} messages");
        let taken: usize = taken.iter().copied().map(Story::size).sum();
        let waiting = self.pushed_bytes.load(SeqCst).saturating_sub(taken);
        let in_hand = takers * Story::size(3);
        assert!(waiting <= bytes + in_hand, "{waiting} bytes");
    }
}

/// Receives until the end, in whichever way.
fn take(
    consumer: &Arc<Consumer<Item>>,
    story: &Arc<Story>,
    end: End,
    limit: usize,
) -> JoinHandle<()> {
    let (consumer, story) = (Arc::clone(consumer), Arc::clone(story));
    let enough = match end {
        End::Input => usize::MAX,
        End::Kill if one_in(2) => usize::MAX,
        // From then on the reader waits for room.
        End::Kill | End::Abandon => up_to(4),
    };
    thread::spawn(move || {
        let mut last = None;
        for _ in 0..enough {
            assert!(consumer.len() <= limit, "{} messages wait", consumer.len());
            let deadline = match up_to(2) {
                0 => None,
                1 => Some(Instant::now() + Duration::from_secs(1)),
                _ => Some(Instant::now()),
            };
            let item = match deadline {
                Some(_) if one_in(2) => match consumer.try_recv() {
                    Ok(item) => item,
                    Err(TryRecvError::Disconnected) => return,
                    Err(TryRecvError::Empty) => {
                        dawdle();
                        continue;
                    }
                },
                deadline => match consumer.recv(deadline) {
                    Ok(item) => item,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return,
                },
            };
            let number = usize::from(item[0]);
            assert_eq!(item, message(number));
            assert!(last < Some(number), "{number} after {last:?}");
            last = Some(number);
            story.taken.lock().unwrap().push(number);
        }
    })
}
