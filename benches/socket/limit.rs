//! The limits: the best simple blocking program that we know over a bare `TcpStream`. It reads heads
//! as it must to find the messages, and checks nothing. One has the size of a message in 4 bytes
//! before it, which is what hand-written programs do. The second has headers as the text protocol's:
//! the size in decimal digits, and padding to 128 bytes. The third is the first with what a connection
//! must do that threads share and whose messages outlive its buffer: each message is sent under a lock,
//! and received as a `Vec` of its own.

use std::hint::black_box;
use std::io::{IoSlice, Read, Write};
use std::marker::PhantomData;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use lanpeer::crossbeam_channel::bounded;

use crate::link::{self, Watch};
use crate::program::{Blob, Form, JsonText, MessagePack, Program, RECEIVERS, Reading, What};

pub const HEADER: usize = 128;
const BEFORE_SIZE: &str = "DATA|data_size=";

/// What stands before a payload.
pub trait Heading: 'static {
    const NAME: &'static str;
    const LEN: usize;
    /// Is each message sent under a lock, and received as a value of its own?
    const OWNED: bool = false;

    /// Writes the head of a message of this size.
    fn write(size: usize, head: &mut [u8]);

    /// The size that a head says.
    fn size(head: &[u8]) -> usize;
}

/// 4 bytes.
pub struct Lean;

impl Heading for Lean {
    const NAME: &'static str = "limit";
    const LEN: usize = 4;

    #[inline]
    fn write(size: usize, head: &mut [u8]) {
        head.copy_from_slice(&u32::try_from(size).expect("less than 4 GiB").to_be_bytes());
    }

    #[inline]
    fn size(head: &[u8]) -> usize {
        u32::from_be_bytes(head.try_into().expect("4 bytes")) as usize
    }
}

/// 4 bytes, and messages that belong to who receives them.
pub struct Owned;

impl Heading for Owned {
    const NAME: &'static str = "owned";
    const LEN: usize = Lean::LEN;
    const OWNED: bool = true;

    #[inline]
    fn write(size: usize, head: &mut [u8]) {
        Lean::write(size, head);
    }

    #[inline]
    fn size(head: &[u8]) -> usize {
        Lean::size(head)
    }
}

/// 128 bytes of text.
pub struct Text;

impl Heading for Text {
    const NAME: &'static str = "128-byte";
    const LEN: usize = HEADER;

    fn write(size: usize, head: &mut [u8]) {
        head.fill(b'|');
        let mut head = head;
        write!(head, "{BEFORE_SIZE}{size}&data_type=bytes").expect("room");
    }

    fn size(head: &[u8]) -> usize {
        let digits = head[BEFORE_SIZE.len()..].iter();
        let digits = digits.take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |size, digit| size * 10 + usize::from(digit - b'0'))
    }
}

/// Writes and reads are gathered up to this.
const BUFFER: usize = 256 << 10;

pub struct Limit<H>(pub PhantomData<H>);

impl<H: Heading> Program for Limit<H> {
    fn name(&self) -> &'static str {
        H::NAME
    }

    fn one_way(&self, what: What, count: usize) -> Option<Duration> {
        Some(match what {
            What::Bytes(size) => one_way::<Blob, H>(vec![7; size], 1, count),
            What::MessagePack => one_way::<MessagePack, H>(Reading::example(), 1, count),
            What::Json => one_way::<JsonText, H>(Reading::example(), 1, count),
        })
    }

    fn broadcast(&self, size: usize, count: usize) -> Option<Duration> {
        Some(one_way::<Blob, H>(vec![7; size], RECEIVERS, count))
    }

    fn round_trip(&self, count: usize) -> Option<Vec<f64>> {
        let (mut socket, mut other) = pair();
        let echo = thread::spawn(move || {
            let mut message = vec![0; H::LEN + 64];
            while other.read_exact(&mut message).is_ok() {
                other.write_all(&message).expect("written");
            }
        });
        let mut message = vec![0; H::LEN + 64];
        let times = (0..count).map(|_| {
            let begin = Instant::now();
            socket.write_all(&message).expect("written");
            socket.read_exact(&mut message).expect("read");
            begin.elapsed().as_secs_f64()
        });
        let times = times.collect();
        drop(socket);
        echo.join().expect("the echo");
        Some(times)
    }

    fn spinning(&self, count: usize) -> Option<Vec<f64>> {
        // It always blocks: what spinning is compared with.
        self.round_trip(count)
    }

    fn link_receive(
        &self,
        ip: &str,
        _size: usize,
        count: usize,
        tell: &mut dyn FnMut(SocketAddr),
    ) -> Option<f64> {
        let socket = link::accept(ip, tell);
        let mut watch = Watch::default();
        read_all::<Blob, H>(&socket, count, || watch.start());
        Some(watch.seconds())
    }

    fn link_send(&self, addr: SocketAddr, size: usize, count: usize) {
        let mut socket = TcpStream::connect(addr).expect("connected");
        socket.set_nodelay(true).expect("nodelay");
        write_one::<Blob, H>(&mut socket, &vec![7; size], count);
        link::until_closed(&socket);
    }

    fn connect(&self, count: usize) -> Option<Vec<f64>> {
        if H::OWNED {
            return Some(connect_with_readers(count));
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("its address");
        let accepting = thread::spawn(move || {
            for _ in 0..count {
                let (mut other, _) = listener.accept().expect("accepted");
                let mut hello = [0; HEADER];
                other.read_exact(&mut hello).expect("read");
                other.write_all(&hello).expect("written");
                assert_eq!(other.read(&mut hello).expect("read"), 0);
            }
        });
        let times = (0..count).map(|_| {
            let begin = Instant::now();
            let mut socket = TcpStream::connect(addr).expect("connected");
            let mut hello = [b'|'; HEADER];
            socket.write_all(&hello).expect("written");
            socket.read_exact(&mut hello).expect("read");
            socket.shutdown(Shutdown::Write).expect("shut down");
            assert_eq!(socket.read(&mut hello).expect("read"), 0);
            begin.elapsed().as_secs_f64()
        });
        let times = times.collect();
        accepting.join().expect("the other side");
        Some(times)
    }
}

/// A connection whose ends both have a thread that reads, as where a program may send and receive at once:
/// the listening thread hands the socket to it, it hands the offer to the program, and the end is told from
/// thread to thread as well. No thread is started: each waits for the next connection.
fn connect_with_readers(count: usize) -> Vec<f64> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("its address");
    let (accepted, to_read) = bounded::<TcpStream>(1);
    let (offer, offers) = bounded::<Arc<TcpStream>>(1);
    let (end, ends) = bounded(1);
    let listening = thread::spawn(move || {
        for _ in 0..count {
            let (other, _) = listener.accept().expect("accepted");
            accepted.send(other).expect("its reader");
        }
    });
    let reading = thread::spawn(move || {
        for other in to_read {
            let other = Arc::new(other);
            let mut hello = [0; HEADER];
            (&*other).read_exact(&mut hello).expect("read");
            offer.send(Arc::clone(&other)).expect("who accepts");
            assert_eq!((&*other).read(&mut hello).expect("read"), 1);
            (&*other).write_all(&hello[..1]).expect("written");
            assert_eq!((&*other).read(&mut hello).expect("read"), 0);
            end.send(()).expect("who receives");
        }
    });
    let accepting = thread::spawn(move || {
        for other in offers {
            (&*other).write_all(&[b'|'; HEADER]).expect("written");
            ends.recv().expect("the end");
        }
    });
    let (connected, to_read) = bounded::<Arc<TcpStream>>(1);
    let (end, ends) = bounded(1);
    let reading_here = thread::spawn(move || {
        for socket in to_read {
            assert_eq!((&*socket).read(&mut [0; 1]).expect("read"), 1);
            socket.shutdown(Shutdown::Write).expect("shut down");
            end.send(()).expect("who closes");
        }
    });
    let times = (0..count).map(|_| {
        let begin = Instant::now();
        let socket = Arc::new(TcpStream::connect(addr).expect("connected"));
        let mut hello = [b'|'; HEADER];
        (&*socket).write_all(&hello).expect("written");
        (&*socket).read_exact(&mut hello).expect("read");
        connected.send(Arc::clone(&socket)).expect("its reader");
        (&*socket).write_all(&hello[..1]).expect("written");
        ends.recv().expect("the end");
        begin.elapsed().as_secs_f64()
    });
    let times = times.collect();
    drop(connected);
    for thread in [listening, reading, accepting, reading_here] {
        thread.join().expect("a thread");
    }
    times
}

/// The same messages to each of `receivers` sockets.
fn one_way<F: Form, H: Heading>(item: F::Item, receivers: usize, count: usize) -> Duration {
    let mut one = Vec::new();
    F::encode(&item, &mut one);
    let ready = Arc::new(Barrier::new(receivers + 2));
    let mut sockets = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..receivers {
        let (socket, other) = pair();
        sockets.push(socket);
        let ready = Arc::clone(&ready);
        readers.push(thread::spawn(move || {
            ready.wait();
            read_all::<F, H>(&other, count, || ());
        }));
    }
    let ready_too = Arc::clone(&ready);
    let sender = thread::spawn(move || {
        ready_too.wait();
        if one.len() >= BUFFER {
            write_each::<H>(&mut sockets, &one, count);
        } else if receivers == 1 {
            write_one::<F, H>(&mut sockets[0], &item, count);
        } else {
            write_gathered::<F, H>(&mut sockets, &item, count);
        }
    });
    ready.wait();
    let begin = Instant::now();
    for reader in readers {
        reader.join().expect("a reader");
    }
    let time = begin.elapsed();
    sender.join().expect("the sender");
    time
}

/// The head of the last message: most are as large as the one before.
struct Head<H> {
    size: usize,
    bytes: Vec<u8>,
    heading: PhantomData<H>,
}

impl<H: Heading> Head<H> {
    fn new() -> Head<H> {
        Head {
            size: usize::MAX,
            bytes: vec![0; H::LEN],
            heading: PhantomData,
        }
    }

    fn of(&mut self, size: usize) -> &[u8] {
        if self.size != size {
            self.size = size;
            H::write(size, &mut self.bytes);
        }
        &self.bytes
    }
}

/// What [`write_one`] writes with.
struct Writing<'a, H> {
    socket: &'a mut TcpStream,
    head: Head<H>,
    buffer: Vec<u8>,
}

impl<H: Heading> Writing<'_, H> {
    /// Encoded where it is written from.
    #[inline(always)]
    fn write<F: Form>(&mut self, item: &F::Item) {
        let Writing {
            socket,
            head,
            buffer,
        } = self;
        let begin = buffer.len();
        buffer.extend_from_slice(&head.bytes);
        F::encode(black_box(item), buffer);
        let size = buffer.len() - begin - H::LEN;
        if size != head.size {
            buffer[begin..begin + H::LEN].copy_from_slice(head.of(size));
        }
        if buffer.len() >= BUFFER {
            socket.write_all(buffer).expect("written");
            buffer.clear();
        }
    }
}

fn write_one<F: Form, H: Heading>(socket: &mut TcpStream, item: &F::Item, count: usize) {
    let mut writing = Writing {
        socket,
        head: Head::<H>::new(),
        buffer: Vec::with_capacity(BUFFER + BUFFER / 4),
    };
    if H::OWNED {
        let shared = black_box(Mutex::new(writing));
        for _ in 0..count {
            shared.lock().expect("no panic").write::<F>(item);
        }
        writing = shared.into_inner().expect("no panic");
    } else {
        for _ in 0..count {
            writing.write::<F>(item);
        }
    }
    writing.socket.write_all(&writing.buffer).expect("written");
}

/// Encoded once. Each socket has a buffer of its own, as where some get more than the broadcasts.
fn write_gathered<F: Form, H: Heading>(sockets: &mut [TcpStream], item: &F::Item, count: usize) {
    let mut head = Head::<H>::new();
    let mut buffers: Vec<_> = sockets
        .iter_mut()
        .map(|socket| (socket, Vec::with_capacity(BUFFER + BUFFER / 4)))
        .collect();
    let mut payload = Vec::new();
    for _ in 0..count {
        payload.clear();
        F::encode(black_box(item), &mut payload);
        let head = head.of(payload.len());
        for (socket, buffer) in &mut buffers {
            buffer.extend_from_slice(head);
            buffer.extend_from_slice(&payload);
            if buffer.len() >= BUFFER {
                socket.write_all(buffer).expect("written");
                buffer.clear();
            }
        }
    }
    for (socket, buffer) in &mut buffers {
        socket.write_all(buffer).expect("written");
    }
}

/// Large messages: the payload is written from where it is.
fn write_each<H: Heading>(sockets: &mut [TcpStream], payload: &[u8], count: usize) {
    let mut head = Head::<H>::new();
    let head = head.of(payload.len());
    for _ in 0..count {
        for socket in &mut *sockets {
            let both = [IoSlice::new(head), IoSlice::new(payload)];
            let written = socket.write_vectored(&both).expect("written");
            let rest = written.checked_sub(H::LEN).expect("more than the head");
            socket.write_all(&payload[rest..]).expect("written");
        }
    }
}

fn read_all<F: Form, H: Heading>(mut socket: &TcpStream, count: usize, mut came: impl FnMut()) {
    let mut buffer = vec![0; BUFFER];
    let (mut begin, mut end, mut seen) = (0, 0, 0);
    loop {
        let mut whole = H::LEN;
        while end - begin >= whole {
            whole = H::LEN + H::size(&buffer[begin..begin + H::LEN]);
            if end - begin < whole {
                break;
            }
            let payload = &buffer[begin + H::LEN..begin + whole];
            match H::OWNED {
                true => F::consume_own(payload),
                false => F::consume(payload),
            }
            begin += whole;
            whole = H::LEN;
            seen += 1;
        }
        if seen == count {
            return;
        }
        buffer.copy_within(begin..end, 0);
        (begin, end) = (0, end - begin);
        if whole > buffer.len() {
            buffer.resize(whole, 0);
        }
        let read = socket.read(&mut buffer[end..]).expect("read");
        assert!(read > 0, "more messages were announced");
        came();
        end += read;
    }
}

/// Two ends of one connection.
pub fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("its address");
    let socket = TcpStream::connect(addr).expect("connected");
    let (other, _) = listener.accept().expect("accepted");
    for socket in [&socket, &other] {
        socket.set_nodelay(true).expect("nodelay");
    }
    (socket, other)
}
