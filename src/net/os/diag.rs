//! The system's word on one connection, or on all that are open, by netlink's sock_diag
//! (sock_diag(7)). A question about one costs microseconds, however many connections there are and
//! however many wait out their last minute, where reading /proc costs milliseconds for each thousand.
//! Linux alone has it, and some sandboxes do not let it through.

use std::io::{self, Read};
use std::net::SocketAddrV4;
use std::time::Duration;

use super::system::{Domain, Protocol, Socket, Type};
use super::table::{Ends, Row, Rows};

// Numbers of netlink and sock_diag, from linux/netlink.h and linux/sock_diag.h. No crate of ours has them.
const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// The kernel's answer to a question about a connection that it does not know.
const ENOENT: i32 = 2;

// Of the question itself: IPv4 and TCP alone, since lanpeer has no other connections.
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
// Numbers of TCP's states, from linux/tcp_states.h. A connection in one of these can still owe something.
const ESTABLISHED: u32 = 1;
const FIN_WAIT_1: u32 = 4;
const FIN_WAIT_2: u32 = 5;
const CLOSE_WAIT: u32 = 8;
const LAST_ACK: u32 = 9;
const CLOSING: u32 = 11;
const OPEN: u32 = 1 << ESTABLISHED
    | 1 << FIN_WAIT_1
    | 1 << FIN_WAIT_2
    | 1 << CLOSE_WAIT
    | 1 << LAST_ACK
    | 1 << CLOSING;
/// A listener, which is in the table but is no connection.
const LISTEN: u8 = 10;

/// The connection's timer waits for the answer to what was sent again.
const RETRANSMISSION: u8 = 1;
/// The connection's timer waits for the answer to a probe of a full window.
const PROBE: u8 = 4;

/// How long a read of the answer may block. The kernel answers at once, so this only keeps an unforeseen
/// silence from blocking the thread that asks for ever.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks for `struct tcp_info` behind an answer, and marks it there (linux/inet_diag.h).
const INET_DIAG_INFO: u16 = 2;
/// Where `tcpi_last_data_recv` and `tcpi_last_ack_recv` lie in it (linux/tcp.h): the milliseconds since data, or an
/// acknowledgement, has come. Data that comes in order and acknowledges nothing new counts as data alone, so the
/// smaller of the two is the silence, as it is for the kernel's own keepalive.
const LAST_DATA_RECV: usize = 52;
const LAST_ACK_RECV: usize = 56;

/// The bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// The bytes of a whole question: the header and `struct inet_diag_req_v2`.
const QUESTION: usize = HEADER + 56;
/// The bytes of `struct inet_diag_msg`, the part of an answer that is read here.
const ANSWER: usize = 72;
/// The kernel fills so much at a time.
const BUFFER: usize = 32 << 10;

/// A socket to the kernel. It belongs to the [`Table`](super::table::Table), whose lock makes sure that one
/// thread at a time asks: two questions at once would read each other's answers.
pub(super) struct Diag {
    socket: Socket,
    /// The number of the last question, which its answers repeat. An answer with another number is left
    /// over from a question that was given up, and is skipped.
    asked: u32,
}

impl Diag {
    /// Opens the socket. `Unsupported` where the system is not Linux.
    pub fn open() -> io::Result<Diag> {
        if !cfg!(target_os = "linux") {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let domain = Domain::from(AF_NETLINK);
        let protocol = Protocol::from(NETLINK_SOCK_DIAG);
        let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Diag { socket, asked: 0 })
    }

    /// What the system knows of this connection, if it has it. One that waits out its last minute is
    /// known, and owes nothing.
    pub fn one(&mut self, ends: Ends) -> io::Result<Option<Row>> {
        self.about(ends, false, |_, row| Some(row))
    }

    /// For how long nothing has come of the other side's system, not even an acknowledgement. `None`: the
    /// connection is gone, or the kernel does not say.
    pub fn silence(&mut self, ends: Ends) -> io::Result<Option<Duration>> {
        self.about(ends, true, |body, _| silence(body))
    }

    /// What `read` finds in the answer about this connection, of which it gets the row as well.
    fn about<T>(
        &mut self,
        ends: Ends,
        with_info: bool,
        read: impl Fn(&[u8], Row) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let mut found = None;
        self.ask(Some(ends), with_info, |body| {
            // Where the connection is gone, a listener at its port is found in its place.
            let row = answer(body).filter(|(seen, _)| *seen == ends);
            found = row.and_then(|(_, row)| read(body, row));
        })?;
        Ok(found)
    }

    /// All that are open.
    pub fn all(&mut self) -> io::Result<Rows> {
        let mut rows = Rows::default();
        self.ask(None, false, |body| rows.extend(answer(body)))?;
        Ok(rows)
    }

    /// Asks one question and passes each row of the answer to `seen`. Blocks for at most [`PATIENCE`] for
    /// each datagram.
    fn ask(
        &mut self,
        about: Option<Ends>,
        with_info: bool,
        mut seen: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.asked = self.asked.wrapping_add(1);
        self.socket.send(&question(self.asked, about, with_info))?;
        let mut buffer = vec![0; if about.is_some() { 1 << 10 } else { BUFFER }];
        loop {
            let length = match (&self.socket).read(&mut buffer) {
                // A signal came: the answer is still to come.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            for message in messages(&buffer[..length]) {
                let Message { kind, number, body } = message;
                // Left over from an earlier question, whose reader gave up.
                if number != self.asked {
                    continue;
                }
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return refused(body),
                    SOCK_DIAG_BY_FAMILY => {
                        seen(body);
                        if about.is_some() {
                            return Ok(());
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`. Addresses are in the order of the network, all
/// else in the machine's.
fn question(number: u32, about: Option<Ends>, with_info: bool) -> [u8; QUESTION] {
    let info = match with_info {
        true => 1 << (INET_DIAG_INFO - 1),
        false => 0,
    };
    let (flags, states) = match about {
        Some(_) => (NLM_F_REQUEST, u32::MAX),
        None => (NLM_F_REQUEST | NLM_F_DUMP, OPEN),
    };
    let mut bytes = [0; QUESTION];
    let mut at = 0;
    let mut put = |part: &[u8]| {
        bytes[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    };
    put(&(QUESTION as u32).to_ne_bytes());
    put(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(&flags.to_ne_bytes());
    put(&number.to_ne_bytes());
    put(&0u32.to_ne_bytes());
    put(&[AF_INET, IPPROTO_TCP, info, 0]);
    put(&states.to_ne_bytes());
    if let Some((own, other)) = about {
        put(&own.port().to_be_bytes());
        put(&other.port().to_be_bytes());
        for end in [own, other] {
            put(&end.ip().octets());
            put(&[0; 12]);
        }
        put(&0u32.to_ne_bytes());
        // No cookie: whichever connection has these ends.
        put(&[0xff; 8]);
    }
    bytes
}

/// One netlink message of a datagram: `kind` says what `body` is, `number` to which question it belongs.
struct Message<'a> {
    kind: u16,
    number: u32,
    body: &'a [u8],
}

/// The messages of a datagram, as far as they are whole.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = word(bytes, 0)? as usize;
        let body = bytes.get(HEADER..length)?;
        let message = Message {
            kind: u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?),
            number: word(bytes, 8)?,
            body,
        };
        // Each begins at a multiple of four.
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// `struct nlmsgerr`: a negative error number, or none.
fn refused(body: &[u8]) -> io::Result<()> {
    match word(body, 0).map(|error| (error as i32).wrapping_neg()) {
        Some(0 | ENOENT) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(error)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// `struct inet_diag_msg`.
fn answer(body: &[u8]) -> Option<(Ends, Row)> {
    let body: &[u8; ANSWER] = body.first_chunk()?;
    let [_, state, timer, tries, ..] = *body;
    let port = |at: usize| Some(u16::from_be_bytes(*body.get(at..)?.first_chunk()?));
    let ip = |at: usize| Some(<[u8; 4]>::into(*body.get(at..)?.first_chunk()?));
    let own = SocketAddrV4::new(ip(8)?, port(4)?);
    let other = SocketAddrV4::new(ip(24)?, port(6)?);
    if state == LISTEN {
        return None;
    }
    let row = Row {
        unacknowledged: word(body, 60)?.into(),
        unanswered: matches!(timer, RETRANSMISSION | PROBE) && tries >= 2,
    };
    Some(((own, other), row))
}

/// Of `struct tcp_info`, among the attributes (`struct rtattr`) behind `struct inet_diag_msg`.
fn silence(body: &[u8]) -> Option<Duration> {
    let mut attributes = body.get(ANSWER..)?;
    loop {
        let half = |at: usize| Some(u16::from_ne_bytes(*attributes.get(at..)?.first_chunk()?));
        let (length, kind) = (usize::from(half(0)?), half(2)?);
        let value = attributes.get(4..length)?;
        if kind == INET_DIAG_INFO {
            let ms = word(value, LAST_ACK_RECV)?.min(word(value, LAST_DATA_RECV)?);
            return Some(Duration::from_millis(ms.into()));
        }
        // Each begins at a multiple of four.
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};

    use proptest::prelude::*;

    use super::super::socket::ends;
    use super::*;

    fn pair() -> (TcpListener, TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        (listener, stream, accepted)
    }

    /// What cannot be asked here is no failure: the table in /proc is read then.
    fn diag() -> Option<Diag> {
        let mut diag = Diag::open().ok()?;
        diag.all().ok().map(|_| diag)
    }

    #[test]
    fn one_connection_of_many() {
        let Some(mut diag) = diag() else { return };
        let (_listener, mut stream, accepted) = pair();
        stream.set_nonblocking(true).unwrap();
        while stream.write(&[0; 65536]).is_ok() {}
        let (to_accepted, to_stream) = (ends(&stream).unwrap(), ends(&accepted).unwrap());
        let row = diag.one(to_accepted).unwrap().unwrap();
        assert!(row.unacknowledged > 0);
        let other = diag.one(to_stream).unwrap().unwrap();
        assert_eq!(other.unacknowledged, 0);
        let all = diag.all().unwrap();
        assert!(all[&to_accepted].unacknowledged > 0 && all.contains_key(&to_stream));
    }

    #[test]
    fn one_that_is_gone_is_not_its_listener() {
        let Some(mut diag) = diag() else { return };
        let (_listener, stream, accepted) = pair();
        let (to_accepted, to_stream) = (ends(&stream).unwrap(), ends(&accepted).unwrap());
        // This side's end waits out its last minute, and the other's is gone.
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!((&accepted).read(&mut [0]).unwrap(), 0);
        drop(accepted);
        assert_eq!((&stream).read(&mut [0]).unwrap(), 0);
        let known = diag.one(to_accepted).unwrap();
        assert_eq!(known.map(|row| row.unacknowledged), Some(0));
        assert_eq!(diag.one(to_stream).unwrap(), None);
    }

    #[test]
    fn how_long_the_other_side_is_silent() {
        let Some(mut diag) = diag() else { return };
        let (_listener, mut stream, mut accepted) = pair();
        let ends = ends(&stream).unwrap();
        let Some(silence) = diag.silence(ends).unwrap() else {
            return;
        };
        assert!(silence < Duration::from_secs(20));
        let pause = Duration::from_millis(300);
        std::thread::sleep(pause);
        // The kernel counts in ticks of up to 10 ms.
        assert!(diag.silence(ends).unwrap().unwrap() >= pause * 9 / 10);
        let before = std::time::Instant::now();
        stream.write_all(&[0]).unwrap();
        accepted.read_exact(&mut [0]).unwrap();
        accepted.write_all(&[0]).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        let silence = diag.silence(ends).unwrap().unwrap();
        assert!(silence <= before.elapsed() + pause / 10, "{silence:?}");
        let gone = (ends.0, "127.0.0.1:1".parse().unwrap());
        assert_eq!(diag.silence(gone).unwrap(), None);
    }

    /// The kernel does not count such data as an acknowledgement, above all if nobody reads it.
    #[test]
    fn one_who_only_sends_is_not_silent() {
        let Some(mut diag) = diag() else { return };
        let (_listener, mut stream, mut accepted) = pair();
        let ends = ends(&stream).unwrap();
        stream.write_all(&[0]).unwrap();
        accepted.read_exact(&mut [0]).unwrap();
        for count in 1..=40 {
            std::thread::sleep(Duration::from_millis(25));
            let before = std::time::Instant::now();
            accepted.write_all(&[0]).unwrap();
            // Left unread.
            while stream.peek(&mut [0; 64]).unwrap() < count {
                assert!(before.elapsed() < Duration::from_secs(20), "it comes");
            }
            let Some(silence) = diag.silence(ends).unwrap() else {
                return;
            };
            let bound = before.elapsed() + Duration::from_millis(30);
            assert!(silence <= bound, "{silence:?} at byte {count}");
        }
    }

    #[test]
    fn as_the_table_says() {
        let Some(mut diag) = diag() else { return };
        let (_listener, stream, _accepted) = pair();
        let ends = ends(&stream).unwrap();
        let row = super::super::table::read_file().unwrap()[&ends];
        assert_eq!(diag.one(ends).unwrap(), Some(row));
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for Message { body, .. } in messages(&bytes) {
                let _ = (answer(body), refused(body), silence(body));
            }
        }
    }
}
