//! TCP as Linux does it, as far as a program can tell: buffers, windows, FIN and RST in order, segments
//! that are sent again where a link is cut, and what the calls of a program get to hear of that.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddrV4;
use std::time::Duration;

use super::{Event, Listener, RETRY_MIN, Socket};
use crate::world::{self, Inner, SECOND, Time};

/// A segment is sent again so often before the connection is given up.
const RETRIES: u32 = 15;

const RETRY_MAX: Time = 120 * SECOND;

pub struct Tcp {
    pub process: usize,
    pub host: usize,
    pub local: Option<SocketAddrV4>,
    pub remote: Option<SocketAddrV4>,
    /// The other end.
    pub peer: Option<usize>,
    pub state: State,
    /// The program has a handle of it.
    pub is_open: bool,
    /// Written, and not sent.
    unsent: VecDeque<u8>,
    /// Sent, and not acknowledged.
    unacked: usize,
    /// On the way, in their order.
    way: VecDeque<Segment>,
    /// How many bytes of data those are.
    way_bytes: usize,
    /// An event is due for the first of them.
    is_moving: bool,
    received: VecDeque<u8>,
    /// The other side has sent FIN.
    is_finished: bool,
    /// FIN was asked for; sent; acknowledged.
    fin: Fin,
    is_shut_for_reading: bool,
    error: Option<ErrorKind>,
    resets_on_close: bool,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    is_nonblocking: bool,
    retry: Time,
    /// When what had no answer is sent again.
    retry_at: Time,
    retransmits: u32,
    keepalive: Option<(Time, Time, u32)>,
    heard: Time,
    probes: u32,
    /// A probe of the other side's full window is due.
    is_probing: bool,
    key: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    New,
    Asking,
    Open,
    /// Over in both directions, or reset.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fin {
    None,
    /// Behind what is unsent.
    Due,
    Sent,
    Acknowledged,
}

enum Segment {
    /// The answer to a connection that is asked for.
    Welcome,
    Data(Vec<u8>),
    Fin,
    Reset,
}

pub enum Arrival {
    Refused,
    Reset,
}

impl Tcp {
    fn new(process: usize, host: usize, now: Time) -> Tcp {
        Tcp {
            process,
            host,
            local: None,
            remote: None,
            peer: None,
            state: State::New,
            is_open: true,
            unsent: VecDeque::new(),
            unacked: 0,
            way: VecDeque::new(),
            way_bytes: 0,
            is_moving: false,
            received: VecDeque::new(),
            is_finished: false,
            fin: Fin::None,
            is_shut_for_reading: false,
            error: None,
            resets_on_close: false,
            read_timeout: None,
            write_timeout: None,
            is_nonblocking: false,
            retry: RETRY_MIN,
            retry_at: 0,
            retransmits: 0,
            keepalive: None,
            heard: now,
            probes: 0,
            is_probing: false,
            key: world::fresh_key(),
        }
    }

    /// Bytes that the other side's system has not acknowledged, FIN counted as one.
    pub fn unacknowledged(&self) -> usize {
        let fin = usize::from(matches!(self.fin, Fin::Due | Fin::Sent));
        self.unsent.len() + self.unacked + fin
    }

    /// There is something to be sent, and nothing is on its way: the window is full.
    fn is_stuck(&self) -> bool {
        self.way.is_empty() && self.unacked == 0 && !self.unsent.is_empty()
    }

    pub fn retransmits(&self) -> u32 {
        self.retransmits
    }
}

pub fn no_fd() -> io::Error {
    io::Error::from_raw_os_error(libc::EMFILE)
}

impl Inner {
    /// Counts one more open file.
    pub fn take_fd(&mut self, process: usize) -> io::Result<()> {
        let own = &mut self.processes[process];
        if own.fds >= own.fds_max {
            return Err(no_fd());
        }
        own.fds += 1;
        Ok(())
    }

    // What happens to a connection

    /// Sends what the other side has room for.
    fn pump(&mut self, id: usize) {
        let Some(tcp) = self.net.get_tcp(id) else {
            return;
        };
        let (State::Open, Some(peer)) = (tcp.state, tcp.peer) else {
            return;
        };
        let on_the_way = tcp.way_bytes;
        let waiting = match self.net.get_tcp(peer) {
            Some(other) => other.received.len(),
            None => 0,
        };
        let mut room = self.net.receive_buffer.saturating_sub(on_the_way + waiting);
        let most = self.net.segment;
        while room > 0 && !self.net.tcp(id).unsent.is_empty() {
            let at_most = self.net.tcp(id).unsent.len().min(room).min(most);
            // A box on the way may cut segments anywhere.
            let len = match self.dice.one_in(4) {
                true => self.dice.between(1, at_most as u64) as usize,
                false => at_most,
            };
            let tcp = self.net.tcp(id);
            let bytes: Vec<u8> = tcp.unsent.drain(..len).collect();
            tcp.unacked += len;
            room -= len;
            self.send(id, Segment::Data(bytes));
        }
        let now = self.now;
        let tcp = self.net.tcp(id);
        if tcp.unsent.is_empty() && tcp.fin == Fin::Due {
            tcp.fin = Fin::Sent;
            self.send(id, Segment::Fin);
        } else if tcp.is_stuck() && !tcp.is_probing {
            tcp.is_probing = true;
            self.schedule(now + RETRY_MIN, Event::Window(id));
        }
    }

    /// The other side's window is full: is it there?
    pub fn window(&mut self, id: usize) {
        let Some(tcp) = self.net.get_tcp(id) else {
            return;
        };
        tcp.is_probing = false;
        if tcp.state != State::Open || !tcp.is_stuck() {
            return;
        }
        tcp.is_probing = true;
        let (one, other) = self.hosts_of(id);
        if !self.net.reaches(one, other) {
            return self.retry(id, Event::Window(id), false);
        }
        let now = self.now;
        let tcp = self.net.tcp(id);
        (tcp.heard, tcp.probes, tcp.retransmits) = (now, 0, 0);
        // The pauses grow all the same.
        let pause = tcp.retry;
        tcp.retry = (2 * tcp.retry).min(RETRY_MAX);
        let peer = tcp.peer;
        if peer.is_some_and(|peer| self.net.tcp(peer).state == State::Closed) {
            return self.arrival(id, Arrival::Reset);
        }
        self.schedule(now + pause, Event::Window(id));
    }

    /// Puts a segment on its way, behind those that are there.
    fn send(&mut self, id: usize, segment: Segment) {
        let tcp = self.net.tcp(id);
        tcp.way_bytes += segment.len();
        tcp.way.push_back(segment);
        self.moves(id);
    }

    fn moves(&mut self, id: usize) {
        let tcp = self.net.tcp(id);
        if tcp.is_moving || tcp.way.is_empty() {
            return;
        }
        tcp.is_moving = true;
        let (from, to) = self.hosts_of(id);
        // Segments follow each other closely.
        let at = self.now + self.delay(from, to);
        self.schedule(at, Event::Arrives(id));
    }

    fn hosts_of(&mut self, id: usize) -> (usize, usize) {
        let tcp = self.net.tcp(id);
        let (from, remote) = (tcp.host, tcp.remote);
        let to = remote.and_then(|remote| self.net.host_of(from, *remote.ip()));
        (from, to.unwrap_or(from))
    }

    pub fn arrives(&mut self, id: usize) {
        if self.net.get_tcp(id).is_none() {
            return;
        }
        let (from, to) = self.hosts_of(id);
        let reaches = self.net.reaches(from, to);
        let tcp = self.net.tcp(id);
        tcp.is_moving = false;
        if tcp.way.is_empty() {
            return;
        }
        if !reaches {
            // A system that has given the connection up sends nothing again.
            if tcp.state == State::Closed {
                tcp.way.clear();
                tcp.way_bytes = 0;
                // A reset that is lost leaves the other side without an answer to what it has sent.
                let peer = tcp.peer;
                return peer.into_iter().for_each(|peer| self.repeats(peer));
            }
            return self.retry(id, Event::Arrives(id), true);
        }
        (tcp.retry, tcp.retry_at) = (RETRY_MIN, 0);
        tcp.retransmits = 0;
        // Several that came together are read together.
        let mut count = match self.dice.one_in(2) {
            true => u64::MAX,
            false => 1 + self.dice.below(8),
        };
        while let Some(segment) = self.net.tcp(id).way.pop_front() {
            self.net.tcp(id).way_bytes -= segment.len();
            self.take(id, segment);
            count -= 1;
            if count == 0 {
                break;
            }
        }
        self.moves(id);
    }

    /// No answer: the same once more, later; or the connection is given up.
    fn retry(&mut self, id: usize, event: Event, moves: bool) {
        let now = self.now;
        let tcp = self.net.tcp(id);
        // Whatever waits for an answer is sent again at one time, and counts once.
        if now >= tcp.retry_at {
            if tcp.retransmits >= RETRIES {
                tcp.way.clear();
                tcp.way_bytes = 0;
                return self.fails(id, ErrorKind::TimedOut);
            }
            tcp.retransmits += 1;
            tcp.retry_at = now + tcp.retry;
            tcp.retry = (2 * tcp.retry).min(RETRY_MAX);
        }
        tcp.is_moving |= moves;
        let at = tcp.retry_at;
        self.schedule(at, event);
    }

    /// A segment that `from` has sent has come to the other side.
    fn take(&mut self, from: usize, segment: Segment) {
        let Some(at) = self.net.tcp(from).peer else {
            return;
        };
        let (one, other) = self.hosts_of(from);
        let back = self.now + self.delay(one, other);
        let now = self.now;
        let Some(tcp) = self.net.get_tcp(at) else {
            return;
        };
        tcp.heard = now;
        tcp.probes = 0;
        match segment {
            Segment::Welcome => {
                if tcp.state == State::Asking {
                    tcp.state = State::Open;
                    tcp.retransmits = 0;
                    (tcp.retry, tcp.retry_at) = (RETRY_MIN, 0);
                    let key = tcp.key;
                    self.wake_all(key);
                    self.pump(at);
                } else {
                    self.answer_reset(at);
                }
            }
            Segment::Reset => self.arrival(at, Arrival::Reset),
            Segment::Data(bytes) => {
                if tcp.state == State::Closed {
                    return self.answer_reset(at);
                }
                let is_deaf = !tcp.is_open || tcp.is_shut_for_reading;
                if is_deaf && tcp.fin >= Fin::Due {
                    self.answer_reset(at);
                    return self.fails(at, ErrorKind::ConnectionReset);
                }
                let len = bytes.len();
                tcp.received.extend(bytes);
                let key = tcp.key;
                self.wake_all(key);
                self.schedule(back, Event::Acknowledged(from, len, false));
            }
            Segment::Fin => {
                if tcp.state == State::Closed {
                    return self.answer_reset(at);
                }
                tcp.is_finished = true;
                let key = tcp.key;
                self.wake_all(key);
                self.schedule(back, Event::Acknowledged(from, 0, true));
                self.ends(at);
            }
        }
    }

    /// A reset for whoever sends to a connection that is none.
    fn answer_reset(&mut self, at: usize) {
        self.send(at, Segment::Reset);
    }

    pub fn acknowledged(&mut self, at: usize, bytes: usize, fin: bool) {
        if self
            .net
            .get_tcp(at)
            .is_none_or(|tcp| tcp.state == State::Closed)
        {
            return;
        }
        let (one, other) = self.hosts_of(at);
        if !self.net.reaches(one, other) {
            return self.retry(at, Event::Acknowledged(at, bytes, fin), false);
        }
        let now = self.now;
        let tcp = self.net.tcp(at);
        tcp.heard = now;
        tcp.probes = 0;
        tcp.retransmits = 0;
        (tcp.retry, tcp.retry_at) = (RETRY_MIN, 0);
        tcp.unacked = tcp.unacked.saturating_sub(bytes);
        if fin {
            tcp.fin = Fin::Acknowledged;
        }
        let key = tcp.key;
        self.wake_all(key);
        self.pump(at);
        self.ends(at);
    }

    /// What this socket has sent got no answer: it is sent again.
    pub fn repeats(&mut self, at: usize) {
        let waits = |tcp: &mut Tcp| tcp.state == State::Open && tcp.unacknowledged() > 0;
        if !self.net.get_tcp(at).is_some_and(waits) {
            return;
        }
        let (one, other) = self.hosts_of(at);
        if !self.net.reaches(one, other) {
            return self.retry(at, Event::Repeats(at), false);
        }
        let peer = self.net.tcp(at).peer;
        if peer.is_some_and(|peer| self.net.tcp(peer).state == State::Closed) {
            self.arrival(at, Arrival::Reset);
        }
    }

    /// The other side's program has read: there is room.
    pub fn room(&mut self, at: usize) {
        if self
            .net
            .get_tcp(at)
            .is_none_or(|tcp| tcp.state != State::Open)
        {
            return;
        }
        let (one, other) = self.hosts_of(at);
        if !self.net.reaches(one, other) {
            if self.net.tcp(at).unsent.is_empty() {
                return;
            }
            return self.retry(at, Event::Room(at), false);
        }
        self.pump(at);
    }

    /// Is it over in both directions?
    fn ends(&mut self, at: usize) {
        let tcp = self.net.tcp(at);
        if tcp.is_finished && tcp.fin == Fin::Acknowledged && tcp.state == State::Open {
            tcp.state = State::Closed;
            if let (host, Some(local), Some(remote)) = (tcp.host, tcp.local, tcp.remote) {
                self.net.remembered.push((host, local, remote));
                let at = self.now + 60 * SECOND;
                self.schedule(at, Event::Forgotten(local, remote));
            }
        }
    }

    pub fn arrival(&mut self, at: usize, what: Arrival) {
        let Some(tcp) = self.net.get_tcp(at) else {
            return;
        };
        let kind = match what {
            Arrival::Refused => ErrorKind::ConnectionRefused,
            Arrival::Reset if tcp.state == State::Asking => ErrorKind::ConnectionRefused,
            Arrival::Reset if tcp.is_finished && tcp.fin == Fin::None => ErrorKind::BrokenPipe,
            Arrival::Reset => ErrorKind::ConnectionReset,
        };
        self.fails(at, kind);
    }

    /// The connection is over by an error.
    fn fails(&mut self, at: usize, kind: ErrorKind) {
        let tcp = self.net.tcp(at);
        if tcp.state == State::Closed {
            return;
        }
        tcp.state = State::Closed;
        tcp.error = Some(kind);
        tcp.unsent.clear();
        tcp.unacked = 0;
        let key = tcp.key;
        self.wake_all(key);
    }

    pub fn close_tcp(&mut self, id: usize) {
        let tcp = self.net.tcp(id);
        tcp.is_open = false;
        let state = tcp.state;
        if state == State::New || state == State::Asking {
            tcp.state = State::Closed;
            return;
        }
        if state == State::Closed {
            return;
        }
        let is_both = tcp.is_finished && tcp.fin >= Fin::Due;
        if !tcp.received.is_empty() || tcp.resets_on_close {
            let is_due = !is_both || !tcp.unsent.is_empty();
            tcp.state = State::Closed;
            tcp.unsent.clear();
            tcp.unacked = 0;
            if is_due {
                self.send(id, Segment::Reset);
            }
        } else if tcp.fin == Fin::None {
            tcp.fin = Fin::Due;
            self.pump(id);
        }
    }

    pub fn asks(&mut self, id: usize, attempt: u32) {
        if self
            .net
            .get_tcp(id)
            .is_none_or(|tcp| tcp.state != State::Asking)
        {
            return;
        }
        let (from, to) = self.hosts_of(id);
        let again = Event::Asks(id, attempt + 1);
        let later = self.now + (SECOND << attempt.min(6));
        if !self.net.reaches(from, to) {
            return self.schedule(later, again);
        }
        let Some(remote) = self.net.tcp(id).remote else {
            return;
        };
        let back = self.now + self.delay(from, to);
        let listener = self.net.sockets.iter().position(|socket| match socket {
            Socket::Listener(own) => {
                let is_there = own.addr.ip().is_unspecified() || own.addr.ip() == remote.ip();
                own.host == to && own.addr.port() == remote.port() && is_there && !own.is_shut
            }
            _ => false,
        });
        let Some(listener) = listener else {
            return self.schedule(back, Event::Refused(id));
        };
        let Socket::Listener(Listener {
            process,
            backlog,
            waiting,
            ..
        }) = &self.net.sockets[listener]
        else {
            return;
        };
        if waiting.len() >= *backlog {
            return self.schedule(later, again);
        }
        let mut there = Tcp::new(*process, to, self.now);
        there.local = Some(remote);
        there.remote = self.net.tcp(id).local;
        there.peer = Some(id);
        there.state = State::Open;
        there.is_open = false;
        let there = self.net.add(Socket::Tcp(Box::new(there)));
        self.net.tcp(id).peer = Some(there);
        self.send(there, Segment::Welcome);
        if let Socket::Listener(own) = &mut self.net.sockets[listener] {
            own.waiting.push_back(there);
            let key = own.key;
            self.wake_one(key);
        }
    }

    pub fn shut_listener(&mut self, id: usize) {
        let Socket::Listener(own) = &mut self.net.sockets[id] else {
            return;
        };
        own.is_shut = true;
        let (waiting, key) = (std::mem::take(&mut own.waiting), own.key);
        for there in waiting {
            self.net.tcp(there).resets_on_close = true;
            self.close_tcp(there);
        }
        self.wake_all(key);
    }

    pub fn probes(&mut self, id: usize) {
        let now = self.now;
        if self
            .net
            .get_tcp(id)
            .is_none_or(|tcp| tcp.state != State::Open)
        {
            return;
        }
        let (one, other) = self.hosts_of(id);
        let reaches = self.net.reaches(one, other);
        let peer = self.net.tcp(id).peer;
        let is_known = peer.is_some_and(|peer| self.net.tcp(peer).state != State::Closed);
        let tcp = self.net.tcp(id);
        let Some((idle, interval, most)) = tcp.keepalive else {
            return;
        };
        let silent = now - tcp.heard;
        // What is on its way is sent again, and needs no probe.
        let is_busy = tcp.unacked > 0 || !tcp.unsent.is_empty();
        let next = if silent < idle && tcp.probes == 0 {
            tcp.heard + idle
        } else if is_busy {
            now + idle
        } else if reaches && !is_known {
            // The other system has no such connection any more.
            return self.arrival(id, Arrival::Reset);
        } else if reaches {
            tcp.heard = now;
            tcp.probes = 0;
            now + idle
        } else if tcp.probes >= most {
            return self.fails(id, ErrorKind::TimedOut);
        } else {
            tcp.probes += 1;
            now + interval
        };
        self.schedule(next, Event::Probes(id));
    }

    // What a program asks for

    /// The error that a call tells, once.
    fn take_error(&mut self, id: usize) -> Option<io::Error> {
        self.net.tcp(id).error.take().map(io::Error::from)
    }
}

impl Segment {
    fn len(&self) -> usize {
        match self {
            Segment::Data(bytes) => bytes.len(),
            Segment::Welcome | Segment::Fin | Segment::Reset => 0,
        }
    }
}

// Calls. Each is a step; what waits is woken by the socket's key.

/// A new socket of this process.
pub fn open() -> io::Result<usize> {
    world::step();
    world::with(|inner, me| {
        let process = inner.process_of(me);
        inner.take_fd(process)?;
        let host = inner.processes[process].host;
        let tcp = Tcp::new(process, host, inner.now);
        Ok(inner.net.add(Socket::Tcp(Box::new(tcp))))
    })
}

pub fn connect(id: usize, to: SocketAddrV4, time: Duration) -> io::Result<()> {
    world::step();
    let (key, deadline) = world::with(|inner, me| {
        let host = inner.net.tcp(id).host;
        let Some(source) = inner.net.source(host, *to.ip()) else {
            return Err(io::Error::from(ErrorKind::NetworkUnreachable));
        };
        let port = inner.net.free_port(host);
        let at = inner.now + 10_000;
        let tcp = inner.net.tcp(id);
        if tcp.is_shut_for_reading {
            return Err(io::Error::other("shut down"));
        }
        tcp.local = Some(SocketAddrV4::new(source, port));
        tcp.remote = Some(to);
        tcp.state = State::Asking;
        let key = tcp.key;
        if inner.net.host_of(host, *to.ip()).is_some() {
            inner.schedule(at, Event::Asks(id, 0));
        }
        inner.note(me, format_args!("asks {to} from port {port}"));
        Ok((key, inner.now + world::nanos(time)))
    })?;
    loop {
        let done = world::with(|inner, _| {
            if let Some(error) = inner.take_error(id) {
                return Some(Err(error));
            }
            match inner.net.tcp(id).state {
                State::Open => Some(Ok(())),
                State::Closed => Some(Err(io::Error::other("ended meanwhile"))),
                State::New | State::Asking => None,
            }
        });
        if let Some(done) = done {
            return done;
        }
        if world::now() >= deadline {
            return Err(ErrorKind::TimedOut.into());
        }
        world::wait(&[key], Some(deadline), "connect");
    }
}

pub fn read(id: usize, out: &mut [u8], peeks: bool, dont_wait: bool) -> io::Result<usize> {
    world::step();
    let (key, timeout, waits) = world::with(|inner, _| {
        let tcp = inner.net.tcp(id);
        (tcp.key, tcp.read_timeout, !tcp.is_nonblocking && !dont_wait)
    });
    let deadline = timeout.map(|time| world::now() + world::nanos(time));
    loop {
        let done = world::with(|inner, _| {
            let tcp = inner.net.tcp(id);
            if out.is_empty() {
                return Some(Ok(0));
            }
            if !tcp.received.is_empty() {
                let len = out.len().min(tcp.received.len());
                let (front, back) = tcp.received.as_slices();
                let first = len.min(front.len());
                out[..first].copy_from_slice(&front[..first]);
                out[first..len].copy_from_slice(&back[..len - first]);
                if !peeks {
                    tcp.received.drain(..len);
                    let peer = tcp.peer;
                    if let Some(peer) = peer {
                        let (one, other) = inner.hosts_of(id);
                        let at = inner.now + inner.delay(one, other);
                        inner.schedule(at, Event::Room(peer));
                    }
                }
                return Some(Ok(len));
            }
            if tcp.is_finished {
                return Some(Ok(0));
            }
            if let Some(error) = inner.take_error(id) {
                return Some(Err(error));
            }
            let tcp = inner.net.tcp(id);
            if tcp.is_shut_for_reading || tcp.state == State::Closed {
                return Some(Ok(0));
            }
            (tcp.state == State::New).then(|| Err(ErrorKind::NotConnected.into()))
        });
        if let Some(done) = done {
            return done;
        }
        if !waits || deadline.is_some_and(|deadline| world::now() >= deadline) {
            return Err(ErrorKind::WouldBlock.into());
        }
        world::wait(&[key], deadline, "a read");
    }
}

pub fn write(id: usize, mut bytes: &[u8], dont_wait: bool) -> io::Result<usize> {
    world::step();
    let (key, timeout, waits) = world::with(|inner, _| {
        let tcp = inner.net.tcp(id);
        (
            tcp.key,
            tcp.write_timeout,
            !tcp.is_nonblocking && !dont_wait,
        )
    });
    let deadline = timeout.map(|time| world::now() + world::nanos(time));
    let mut written = 0;
    loop {
        let done = world::with(|inner, _| {
            if let Some(error) = inner.take_error(id) {
                return Err(error);
            }
            let most = inner.net.send_buffer;
            let tcp = inner.net.tcp(id);
            if tcp.state != State::Open || tcp.fin != Fin::None {
                return Err(ErrorKind::BrokenPipe.into());
            }
            let room = most.saturating_sub(tcp.unsent.len() + tcp.unacked);
            let len = room.min(bytes.len());
            tcp.unsent.extend(&bytes[..len]);
            inner.pump(id);
            Ok(len)
        });
        match done {
            Ok(len) => {
                written += len;
                bytes = &bytes[len..];
            }
            // What was taken before is told first.
            Err(error) if written == 0 => return Err(error),
            Err(error) => {
                world::with(|inner, _| {
                    if error.kind() != ErrorKind::BrokenPipe {
                        inner.net.tcp(id).error.get_or_insert(error.kind());
                    }
                });
                return Ok(written);
            }
        }
        if bytes.is_empty() {
            return Ok(written);
        }
        if !waits || deadline.is_some_and(|deadline| world::now() >= deadline) {
            return match written {
                0 => Err(ErrorKind::WouldBlock.into()),
                written => Ok(written),
            };
        }
        world::wait(&[key], deadline, "a write");
    }
}

pub fn shutdown(id: usize, reading: bool, writing: bool) -> io::Result<()> {
    world::step();
    world::with(|inner, _| {
        let tcp = inner.net.tcp(id);
        let key = tcp.key;
        match tcp.state {
            State::New | State::Closed => {
                tcp.is_shut_for_reading |= reading;
                inner.wake_all(key);
                return Err(ErrorKind::NotConnected.into());
            }
            // It asks no longer.
            State::Asking => tcp.state = State::Closed,
            State::Open => {
                tcp.is_shut_for_reading |= reading;
                if writing && tcp.fin == Fin::None {
                    tcp.fin = Fin::Due;
                    inner.pump(id);
                }
            }
        }
        inner.wake_all(key);
        Ok(())
    })
}

pub fn addr(id: usize, of_remote: bool) -> io::Result<SocketAddrV4> {
    world::with(|inner, _| {
        let tcp = inner.net.tcp(id);
        if !of_remote {
            let none = SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0);
            return Ok(tcp.local.unwrap_or(none));
        }
        match tcp.remote {
            Some(remote) if tcp.state == State::Open => Ok(remote),
            _ => Err(ErrorKind::NotConnected.into()),
        }
    })
}

/// What can be set of a connection.
pub enum Option_ {
    ReadTimeout(Option<Duration>),
    WriteTimeout(Option<Duration>),
    Nonblocking(bool),
    ResetsOnClose(bool),
    Keepalive(Duration, Duration, u32),
}

pub fn set(id: usize, option: Option_) -> io::Result<()> {
    world::with(|inner, _| {
        let now = inner.now;
        let tcp = inner.net.tcp(id);
        match option {
            Option_::ReadTimeout(Some(Duration::ZERO))
            | Option_::WriteTimeout(Some(Duration::ZERO)) => {
                return Err(ErrorKind::InvalidInput.into());
            }
            Option_::ReadTimeout(time) => tcp.read_timeout = time,
            Option_::WriteTimeout(time) => tcp.write_timeout = time,
            Option_::Nonblocking(is) => tcp.is_nonblocking = is,
            Option_::ResetsOnClose(is) => tcp.resets_on_close = is,
            Option_::Keepalive(idle, interval, most) => {
                let idle = world::nanos(idle);
                tcp.keepalive = Some((idle, world::nanos(interval), most));
                inner.schedule(now + idle, Event::Probes(id));
            }
        }
        Ok(())
    })
}

pub fn error(id: usize) -> Option<io::Error> {
    world::step();
    world::with(|inner, _| inner.take_error(id))
}

// Listeners

pub fn listen(addr: SocketAddrV4) -> io::Result<usize> {
    world::step();
    world::with(|inner, me| {
        let process = inner.process_of(me);
        let host = inner.processes[process].host;
        let addr = inner.net.claim(host, addr, |socket, port| match socket {
            Socket::Listener(own) => own.host == host && own.addr.port() == port && !own.is_shut,
            _ => false,
        })?;
        inner.take_fd(process)?;
        Ok(inner.net.add(Socket::Listener(Listener {
            process,
            host,
            addr,
            backlog: 128,
            waiting: VecDeque::new(),
            is_shut: false,
            key: world::fresh_key(),
        })))
    })
}

pub fn accept(id: usize) -> io::Result<(usize, SocketAddrV4)> {
    world::step();
    // The system takes a file descriptor before it waits.
    let key = world::with(|inner, me| {
        let process = inner.process_of(me);
        inner.take_fd(process)?;
        match &inner.net.sockets[id] {
            Socket::Listener(own) => Ok(own.key),
            _ => Err(io::Error::from(ErrorKind::InvalidInput)),
        }
    })?;
    loop {
        let accepted = world::with(|inner, me| {
            let process = inner.process_of(me);
            let Socket::Listener(own) = &mut inner.net.sockets[id] else {
                return Some(Err(ErrorKind::InvalidInput.into()));
            };
            if own.is_shut {
                inner.processes[process].fds -= 1;
                return Some(Err(ErrorKind::InvalidInput.into()));
            }
            own.waiting.pop_front().map(|there| {
                let now = inner.now;
                let tcp = inner.net.tcp(there);
                tcp.is_open = true;
                tcp.heard = now;
                let remote = tcp.remote.expect("an end");
                Ok((there, remote))
            })
        });
        if let Some(accepted) = accepted {
            return accepted;
        }
        world::wait(&[key], None, "accept");
    }
}
