//! The lease: the program reads for itself while it waits, and the reader thread does when it does
//! not. Everything arrives once and in order, however the source changes hands.

use std::sync::{Arc, Mutex as Record};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, TryRecvError};
use shuttle::thread::{self, JoinHandle};

use crate::error::CloseReason;
use crate::net::endpoint::Endpoint;
use crate::net::link::Link;
use crate::net::os::lock;
use crate::net::os::socket::{TcpStream, Wire};
use crate::net::os::sync::{Condvar, Instant, Mutex, dawdle, one_in, up_to};
use crate::net::recv::batch::{Amount, Batch};
use crate::net::recv::consumer::Consumer;
use crate::net::recv::lease::{Back, Fed, Source, Taken};
use crate::net::recv::producer::Producer;
use crate::net::recv::receive_queue;

type Item = Vec<u8>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The other side's.
    Fin,
    Kill,
    Abandon,
    /// The same as the first; the program receives no more at some time.
    Alone,
}

pub fn to_the_end() {
    run(End::Fin, false);
}

pub fn killed() {
    run(End::Kill, false);
}

pub fn abandoned() {
    run(End::Abandon, false);
}

pub fn left_alone() {
    run(End::Alone, false);
}

pub fn selected() {
    run([End::Fin, End::Kill][up_to(1)], true);
}

/// What has arrived in the socket.
#[derive(Default)]
struct Socket {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    arrived: usize,
    fin: bool,
    shut: bool,
}

impl Socket {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.news.notify_all();
    }
}

/// Reads numbers from the socket.
struct Numbers {
    socket: Arc<Socket>,
    link: Arc<Link>,
    next: usize,
    /// Read up to here.
    read: usize,
    decoded: Arc<Record<usize>>,
}

enum Next {
    Number(usize),
    Fin,
    Wait,
}

impl Numbers {
    fn next(
        &mut self,
        mut may_wait: impl FnMut() -> Result<bool, CloseReason>,
    ) -> Result<Next, CloseReason> {
        loop {
            if self.next < self.read {
                self.next += 1;
                *self.decoded.lock().unwrap() = self.next;
                return Ok(Next::Number(self.next - 1));
            }
            if !may_wait()? {
                return Ok(Next::Wait);
            }
            let mut state = lock(&self.socket.state);
            loop {
                if state.shut {
                    return Err(self.link.life.why());
                }
                if state.arrived > self.read {
                    self.read += 1 + up_to(state.arrived - self.read - 1);
                    break;
                }
                if state.fin {
                    return Ok(Next::Fin);
                }
                state = self.socket.news.wait(state).expect("no poison");
            }
        }
    }
}

impl Source<Item> for Numbers {
    fn take(&mut self, wait: bool, item: &mut Option<Item>) -> Result<Taken, CloseReason> {
        let readable = {
            let state = lock(&self.socket.state);
            state.arrived > self.read || state.fin || state.shut
        };
        Ok(match self.next(|| Ok(wait || readable))? {
            Next::Number(number) => {
                *item = Some(vec![number as u8]);
                Taken::Message(1)
            }
            Next::Fin => Taken::End,
            Next::Wait => Taken::Nothing,
        })
    }

    fn take_along(&mut self, run: &mut Batch<Item>, limit: Amount) {
        let most = up_to(3);
        while run.len() < most && run.amount().has_room(1, limit) {
            match self.next(|| Ok(false)) {
                Ok(Next::Number(number)) => run.push(vec![number as u8], 1),
                _ => return,
            }
        }
    }

    fn read_until(
        &mut self,
        _deadline: Option<Instant>,
        item: &mut Option<Item>,
        done: &mut dyn FnMut() -> bool,
    ) -> Result<Taken, CloseReason> {
        match done() {
            true => Ok(Taken::Nothing),
            false => self.take(true, item),
        }
    }

    fn take_plain(&mut self, item: &mut Option<Item>) -> Option<usize> {
        match self.next(|| Ok(false)) {
            Ok(Next::Number(number)) => {
                *item = Some(vec![number as u8]);
                Some(1)
            }
            _ => None,
        }
    }

    fn feed(&mut self, producer: &mut Producer<Item>) -> Result<Fed, CloseReason> {
        loop {
            if producer.is_abandoned() {
                return Err(CloseReason::ClosedHere);
            }
            let link = Arc::clone(&self.link);
            let next = self.next(|| {
                producer.hand_over();
                if producer.is_abandoned() {
                    return Err(CloseReason::ClosedHere);
                }
                Ok(link.life.is_ending() || !producer.is_awaited())
            });
            match next? {
                Next::Number(number) => producer.push(&link.life, vec![number as u8], 1)?,
                Next::Fin => return Ok(Fed::End),
                Next::Wait => return Ok(Fed::Awaited),
            }
        }
    }

    fn is_begun(&self) -> bool {
        self.next < self.read
    }

    fn has_unread(&self) -> bool {
        self.is_begun() || lock(&self.socket.state).arrived > self.read
    }
}

/// The reader thread.
pub(super) fn read_to_the_end<T: Send + 'static>(
    mut producer: Producer<T>,
    mut source: Box<dyn Source<T>>,
    link: &Link,
) {
    loop {
        match source.feed(&mut producer) {
            Ok(Fed::End) | Err(_) => return,
            Ok(Fed::Awaited) => match producer.lend(&link.life, source) {
                Back::Source(back) => source = back,
                Back::End(_) => return,
            },
        }
    }
}

fn run(end: End, select: bool) {
    let count = 3 + up_to(6);
    let spin = Duration::from_micros(if one_in(2) { 0 } else { 30 });
    let endpoint = Endpoint::new(1000, spin, None, Vec::new());
    let link = endpoint.link(TcpStream(Wire::new(1)), None);
    let limit = match end {
        End::Alone => count,
        _ => 1 + up_to(3),
    };
    let (producer, consumer) = receive_queue(limit, 1000, None, endpoint.context());
    let _ = link.queue.set(producer.waker());
    let consumer = Arc::new(consumer);
    let socket = Arc::new(Socket::default());
    let decoded = Arc::new(Record::new(0));

    let reading = {
        let (link, socket) = (Arc::clone(&link), Arc::clone(&socket));
        let source: Box<dyn Source<Item>> = Box::new(Numbers {
            socket: Arc::clone(&socket),
            link: Arc::clone(&link),
            next: 0,
            read: 0,
            decoded: Arc::clone(&decoded),
        });
        thread::spawn(move || read_to_the_end(producer, source, &link))
    };
    let remote = {
        let socket = Arc::clone(&socket);
        thread::spawn(move || {
            for _ in 0..count {
                dawdle();
                socket.change(|state| state.arrived += 1);
            }
            dawdle();
            if [End::Fin, End::Alone].contains(&end) {
                socket.change(|state| state.fin = true);
            }
        })
    };
    let takers = 1 + up_to(1);
    let enough = match end {
        // There is nobody who would end their waiting.
        End::Abandon | End::Alone => up_to(count / takers),
        _ => usize::MAX,
    };
    let takers: Vec<_> = (0..takers).map(|_| take(&consumer, enough)).collect();
    if select {
        let consumer = Arc::clone(&consumer);
        thread::spawn(move || {
            dawdle();
            consumer.channel();
        });
    }
    if one_in(2) {
        // As a close does that this side begins.
        link.queue.get().expect("set").recall();
    }
    if end == End::Kill {
        dawdle();
        link.kill(CloseReason::Aborted);
        socket.change(|state| state.shut = true);
    }
    let one = takers.len() == 1;
    let mut taken = Vec::new();
    for taker in takers {
        taken.extend(taker.join().expect("a receiver"));
    }
    remote.join().expect("the remote");
    if end == End::Abandon {
        let waits = consumer.abandon().0;
        socket.change(|state| state.fin = true);
        reading.join().expect("the reader");
        // What was decoded is taken, or known to have waited.
        assert!(waits || taken.len() <= *decoded.lock().unwrap());
    } else {
        reading.join().expect("the reader");
        if end == End::Alone {
            assert_eq!(*decoded.lock().unwrap(), count);
        }
    }
    if one {
        assert!(taken.is_sorted(), "out of order: {taken:?}");
    }
    taken.sort_unstable();
    let expected = match end {
        End::Fin => count,
        _ => taken.len(),
    };
    assert_eq!(taken, (0..expected).collect::<Vec<_>>());
    link.end();
    endpoint.stop();
}

/// Receives until the end, or enough, in whichever way.
fn take(consumer: &Arc<Consumer<Item>>, enough: usize) -> JoinHandle<Vec<usize>> {
    let consumer = Arc::clone(consumer);
    thread::spawn(move || {
        let mut taken = Vec::new();
        while taken.len() < enough {
            if one_in(4) {
                dawdle();
            }
            let item = match up_to(3) {
                0 => match consumer.try_recv() {
                    Ok(item) => item,
                    Err(TryRecvError::Disconnected) => break,
                    Err(TryRecvError::Empty) => continue,
                },
                1 => match consumer.recv(Some(Instant::now() + Duration::from_millis(5))) {
                    Ok(item) => item,
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => continue,
                },
                _ => match consumer.recv(None) {
                    Ok(item) => item,
                    Err(_) => break,
                },
            };
            taken.push(usize::from(item[0]));
        }
        taken
    })
}
