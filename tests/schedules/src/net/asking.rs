//! Waits for what is no message, beside those who receive: whoever reads, each reply reaches its thread,
//! and each message the program, once and in order.

use std::sync::{Arc, Mutex as Record};
use std::time::Duration;

use crossbeam_channel::TryRecvError;
use shuttle::thread;

use crate::error::CloseReason;
use crate::net::endpoint::Endpoint;
use crate::net::lending::read_to_the_end;
use crate::net::link::Link;
use crate::net::os::lock;
use crate::net::os::socket::{TcpStream, Wire};
use crate::net::os::sync::{AtomicBool, Condvar, Instant, Mutex, Ordering, dawdle, one_in, up_to};
use crate::net::recv::lease::{Fed, Source, Taken};
use crate::net::recv::producer::Producer;
use crate::net::recv::receive_queue;
use crate::net::recv::waiter::{Waited, Waiter};

type Item = Vec<u8>;

#[derive(Clone, Copy)]
enum Frame {
    Message(usize),
    Reply(usize),
}

/// What has arrived in the socket.
#[derive(Default)]
struct Socket {
    state: Mutex<(Vec<Frame>, bool)>,
    news: Condvar,
}

impl Socket {
    fn arrive(&self, frame: Frame) {
        lock(&self.state).0.push(frame);
        self.news.notify_all();
    }

    fn end(&self) {
        lock(&self.state).1 = true;
        self.news.notify_all();
    }
}

/// Where one thread waits for its reply, as in `link/calls.rs`.
struct Slot {
    done: Mutex<bool>,
    told: Condvar,
    leads: AtomicBool,
}

impl Slot {
    fn new() -> Slot {
        Slot {
            done: Mutex::new(false),
            told: Condvar::new(),
            leads: AtomicBool::new(true),
        }
    }

    fn tell(&self, link: &Link) {
        *lock(&self.done) = true;
        match self.leads.load(Ordering::SeqCst) {
            true => link.queue.get().expect("set").news(),
            false => self.told.notify_one(),
        }
    }

    /// `limited`: with a deadline. Late, it waits once more.
    fn wait(&self, waiter: &Waiter<Item>, alone: bool, limited: bool) {
        while !self.wait_once(waiter, alone, limited) {}
    }

    fn wait_once(&self, waiter: &Waiter<Item>, alone: bool, limited: bool) -> bool {
        let deadline = limited.then(|| Instant::now() + Duration::from_secs(3600));
        let done = || *lock(&self.done);
        let leads = |leads| self.leads.store(leads, Ordering::SeqCst);
        match waiter.wait(deadline, alone, done, leads) {
            Waited::Done => {}
            Waited::Late => return done(),
            Waited::Follow(_awaits) => {
                let mut done = lock(&self.done);
                while !*done {
                    done = self.told.wait(done).expect("no poison");
                }
            }
        }
        assert!(done());
        true
    }
}

struct Frames {
    socket: Arc<Socket>,
    link: Arc<Link>,
    slots: Arc<Vec<Slot>>,
    next: usize,
    /// A reply that was met when there was no time for it.
    stashed: Option<usize>,
}

enum Next {
    Message(usize),
    Reply(usize),
    Fin,
    Wait,
}

impl Frames {
    fn next(&mut self, mut may_wait: impl FnMut() -> bool) -> Next {
        let mut asked = false;
        loop {
            let state = lock(&self.socket.state);
            if let Some(frame) = state.0.get(self.next) {
                self.next += 1;
                return match *frame {
                    Frame::Message(number) => Next::Message(number),
                    Frame::Reply(id) => Next::Reply(id),
                };
            }
            if state.1 {
                return Next::Fin;
            }
            if asked {
                drop(self.socket.news.wait(state).expect("no poison"));
                continue;
            }
            drop(state);
            if !may_wait() {
                return Next::Wait;
            }
            asked = true;
        }
    }

    fn take_stashed(&mut self) {
        if let Some(id) = self.stashed.take() {
            self.slots[id].tell(&self.link);
        }
    }
}

impl Frames {
    /// `None`: it was a reply, whose thread is told.
    fn take_next(&mut self, may_wait: impl Fn() -> bool, item: &mut Option<Item>) -> Option<Taken> {
        Some(match self.next(may_wait) {
            Next::Message(number) => {
                *item = Some(vec![number as u8]);
                Taken::Message(1)
            }
            Next::Reply(id) => {
                self.slots[id].tell(&self.link);
                return None;
            }
            Next::Fin => Taken::End,
            Next::Wait => Taken::Nothing,
        })
    }
}

impl Source<Item> for Frames {
    fn take(&mut self, wait: bool, item: &mut Option<Item>) -> Result<Taken, CloseReason> {
        self.take_stashed();
        loop {
            if let Some(taken) = self.take_next(|| wait, item) {
                return Ok(taken);
            }
        }
    }

    fn read_until(
        &mut self,
        deadline: Option<Instant>,
        item: &mut Option<Item>,
        done: &mut dyn FnMut() -> bool,
    ) -> Result<Taken, CloseReason> {
        loop {
            self.take_stashed();
            if done() {
                return Ok(Taken::Nothing);
            }
            // A wait that could have no end.
            let may_wait = || deadline.is_none() || one_in(2);
            if let Some(taken) = self.take_next(may_wait, item) {
                return Ok(taken);
            }
        }
    }

    fn take_plain(&mut self, item: &mut Option<Item>) -> Option<usize> {
        if self.stashed.is_some() {
            return None;
        }
        match self.next(|| false) {
            Next::Message(number) => {
                *item = Some(vec![number as u8]);
                return Some(1);
            }
            Next::Reply(id) => self.stashed = Some(id),
            Next::Fin | Next::Wait => {}
        }
        None
    }

    fn feed(&mut self, producer: &mut Producer<Item>) -> Result<Fed, CloseReason> {
        self.take_stashed();
        loop {
            match self.next(|| {
                producer.hand_over();
                !producer.is_awaited()
            }) {
                Next::Message(number) => producer.push(&self.link.life, vec![number as u8], 1)?,
                Next::Reply(id) => self.slots[id].tell(&self.link),
                Next::Fin => return Ok(Fed::End),
                Next::Wait => return Ok(Fed::Awaited),
            }
        }
    }

    fn is_begun(&self) -> bool {
        self.stashed.is_some()
    }

    fn has_unread(&self) -> bool {
        self.is_begun() || lock(&self.socket.state).0.len() > self.next
    }
}

pub fn by_one() {
    run(1);
}

pub fn by_many() {
    run(2 + up_to(1));
}

fn run(askers: usize) {
    const EACH: usize = 2;
    let messages = up_to(4);
    let spin = Duration::from_micros(if one_in(2) { 0 } else { 30 });
    let endpoint = Endpoint::new(1000, spin, None, Vec::new());
    let link = endpoint.link(TcpStream(Wire::new(1)), None);
    let make: fn(&[u8]) -> Item = <[u8]>::to_vec;
    let make = one_in(2).then_some(make);
    let limit = 1 + up_to(3);
    let (producer, consumer) = receive_queue(limit, 1000, make, endpoint.context());
    let _ = link.queue.set(producer.waker());
    let consumer = Arc::new(consumer);
    let socket = Arc::new(Socket::default());
    let slots: Arc<Vec<Slot>> = Arc::new((0..askers * EACH).map(|_| Slot::new()).collect());

    let reading = {
        let link = Arc::clone(&link);
        let source: Box<dyn Source<Item>> = Box::new(Frames {
            socket: Arc::clone(&socket),
            link: Arc::clone(&link),
            slots: Arc::clone(&slots),
            next: 0,
            stashed: None,
        });
        thread::spawn(move || read_to_the_end(producer, source, &link))
    };
    let remote = {
        let socket = Arc::clone(&socket);
        thread::spawn(move || {
            for number in 0..messages {
                dawdle();
                socket.arrive(Frame::Message(number));
            }
        })
    };
    let receiving = {
        let consumer = Arc::clone(&consumer);
        let select = one_in(4);
        thread::spawn(move || {
            let mut taken = Vec::new();
            loop {
                let item = match up_to(2) {
                    _ if select && taken.len() == 1 => consumer.channel().recv().ok(),
                    0 => match consumer.try_recv() {
                        Err(TryRecvError::Empty) => continue,
                        item => item.ok(),
                    },
                    _ => consumer.recv(None).ok(),
                };
                match item {
                    Some(item) => taken.push(usize::from(item[0])),
                    None => return taken,
                }
            }
        })
    };
    let answered = Arc::new(Record::new(0));
    let asking: Vec<_> = (0..askers)
        .map(|who| {
            let (socket, slots) = (Arc::clone(&socket), Arc::clone(&slots));
            let (waiter, answered) = (consumer.waiter(), Arc::clone(&answered));
            thread::spawn(move || {
                for which in 0..EACH {
                    let id = who * EACH + which;
                    let replying = {
                        let socket = Arc::clone(&socket);
                        thread::spawn(move || {
                            dawdle();
                            socket.arrive(Frame::Reply(id));
                        })
                    };
                    let alone = askers == 1 || one_in(4);
                    slots[id].wait(&waiter, alone, one_in(2));
                    *answered.lock().unwrap() += 1;
                    replying.join().expect("a reply");
                }
            })
        })
        .collect();
    for asking in asking {
        asking.join().expect("an asker");
    }
    remote.join().expect("the remote");
    socket.end();
    reading.join().expect("the reader");
    let taken = receiving.join().expect("the receiver");
    assert_eq!(taken, (0..messages).collect::<Vec<_>>());
    assert_eq!(*answered.lock().unwrap(), askers * EACH);
    link.end();
    endpoint.stop();
}
