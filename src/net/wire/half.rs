//! The reading half of a connection's socket: bytes as the other side has sent them, decrypted where
//! the connection is encrypted, and whether an end of input is the other side's word.

use std::io::{self, Read};
use std::sync::Arc;

use super::hears::Hears;
use super::record::{LAST_RECORD, RecordReader};
use crate::error::CloseReason;
use crate::net::life::Life;
use crate::net::os::sync::{Instant, Mutex, TcpStream};
use crate::net::os::{lock, socket};

/// What the other side has said at the end of its messages, where it speaks frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// Nothing.
    #[default]
    None,
    /// That its messages have ended.
    Goodbye,
    /// That its messages have ended, and that it takes in no more of ours than this many.
    Leaving(u64),
}

/// The reading half of one connection's socket. One thread reads at a time; the others only look, or take
/// the socket away. No thread holds two of its locks at once.
pub(crate) struct ReadHalf {
    /// Taken away at the end, so that a handler that does not return keeps no socket open. Whoever
    /// reads holds a clone for the time of one read. The lock itself is held for a moment, never over a
    /// read.
    socket: Mutex<Option<Arc<TcpStream>>>,
    /// The decrypting reader of an encrypted connection. The lock is held over a read, which may last
    /// for ever, so everyone but the reading thread only tries it.
    records: Option<Mutex<RecordReader>>,
    /// Where an end of input is compared with what others know of the end.
    life: Arc<Life>,
    /// Left by the thread that has read the goodbye, for the reader thread, which answers it: they may be
    /// two, where the program read for itself.
    farewell: Mutex<(Farewell, Vec<u8>)>,
    /// That something was heard, and whether the other side wants to hear.
    pub hears: Hears,
}

impl ReadHalf {
    pub fn new(
        socket: Arc<TcpStream>,
        records: Option<RecordReader>,
        life: Arc<Life>,
    ) -> Arc<ReadHalf> {
        Arc::new(ReadHalf {
            socket: Mutex::new(Some(socket)),
            records: records.map(Mutex::new),
            life,
            farewell: Mutex::default(),
            hears: Hears::default(),
        })
    }

    /// The socket, for one read. `Err`: the connection has ended.
    pub fn socket(&self) -> Result<Arc<TcpStream>, CloseReason> {
        let socket = lock(&self.socket).clone();
        socket.ok_or_else(|| self.life.why())
    }

    /// Takes the socket away: nobody is to read any more. For the thread that ends the connection.
    pub fn take(&self) -> Option<Arc<TcpStream>> {
        lock(&self.socket).take()
    }

    pub fn is_encrypted(&self) -> bool {
        self.records.is_some()
    }

    /// Reads what the other side has sent, once, and waits for as long as the socket's timeout says. 0: end
    /// of input.
    pub fn read(&self, socket: &TcpStream, out: &mut [u8]) -> io::Result<usize> {
        self.hears.set_read(true);
        // A record is long, and on a slow network each part of it is a sign of life.
        let read = match &self.records {
            None => self.noting(socket).read(out),
            Some(records) => lock(records).read(self.noting(socket), out),
        };
        self.hears.set_read(false);
        if matches!(read, Ok(1..)) {
            self.hears.note_taken();
        }
        read
    }

    /// The socket, of which each read is noted that brings something.
    fn noting<'a>(&'a self, socket: &'a TcpStream) -> impl Read + 'a {
        Noting(socket::reader(socket), &self.hears)
    }

    /// Reads `want` bytes onto the end of `body`, or what comes before the end of input. These are many reads, so
    /// it does not tell `hears` that one is under way.
    pub fn read_onto(
        &self,
        socket: &TcpStream,
        body: &mut Vec<u8>,
        want: usize,
    ) -> io::Result<usize> {
        let Some(records) = &self.records else {
            let reader = socket::reader(socket);
            // Of a large message that comes slowly each part is a sign of life.
            return match self.hears.is_on() {
                false => reader.take(want as u64).read_to_end(body),
                true => self.noting(socket).take(want as u64).read_to_end(body),
            };
        };
        let (mut records, begin) = (lock(records), body.len());
        body.resize(begin + want, 0);
        let mut filled = begin;
        while filled < body.len() {
            match records.read(self.noting(socket), &mut body[filled..]) {
                Ok(0) => body.truncate(filled),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled - begin)
    }

    // The end of input

    /// The socket says "end of input": because the other side has sent FIN (`Ok`), or because of this side
    /// or an error (`Err`). A read alone cannot tell: a shutdown by this side, and an error that another
    /// thread was told first, look like FIN. So the life is asked before the FIN is believed.
    pub fn end_of_input(&self, socket: &TcpStream) -> Result<(), CloseReason> {
        if self.life.is_over() {
            return Err(self.life.why());
        }
        if let Some(fault) = self.life.fault() {
            return Err(fault);
        }
        // A write may have met the error in this moment, and not said so yet.
        if socket::is_over(socket) && !self.life.is_fin_sent() {
            return Err(CloseReason::Reset);
        }
        Ok(())
    }

    /// Why the connection ends whose read met `error`.
    pub fn why_unread(&self, socket: &TcpStream, error: &io::Error) -> CloseReason {
        match CloseReason::from_io(error) {
            // An encrypted connection ended without its last record. If this side or an error ended it, that
            // is the reason.
            CloseReason::Cut => self.end_of_input(socket).err().unwrap_or(CloseReason::Cut),
            reason => reason,
        }
    }

    /// Both sides have sent FIN: waits until the other side's system has acknowledged all of ours.
    /// `false`: it did not before the deadline, or reset the connection instead. Or this side has ended it
    /// meanwhile: a reset leaves when this thread lets go of the socket.
    pub fn is_acknowledged(&self, socket: &TcpStream, deadline: Instant) -> bool {
        let is_over = || self.life.is_over();
        socket::acknowledged(socket, deadline, is_over) && self.life.fault().is_none()
    }

    // Looks at the socket, without reading

    /// Can something be read, or an end? Looks without waiting.
    pub fn is_readable(&self, socket: &TcpStream) -> bool {
        self.peek::<1>(socket).is_some()
    }

    /// Has something come that was not read, other than an end?
    pub fn has_unread(&self) -> bool {
        self.holds_records() || self.socket().is_ok_and(|socket| self.is_unread(&socket))
    }

    fn is_unread(&self, socket: &TcpStream) -> bool {
        // Of an encrypted connection, the end is bytes too.
        let end = self.records.is_some().then_some(LAST_RECORD);
        let seen = self.peek::<32>(socket).unwrap_or(0);
        seen > 0 && Some(seen) != end
    }

    /// Does an encrypted connection hold something of a message that was read from the socket? `false` while
    /// someone reads it: that thread would have taken it, and waiting for it could take for ever.
    fn holds_records(&self) -> bool {
        let records = self.records.as_ref();
        let records = records.and_then(|records| records.try_lock().ok());
        records.is_some_and(|records| records.has_more())
    }

    /// How much is there, up to N bytes; 0 is an end. `None`: nothing is. The look may take an error from the
    /// socket, which the life then keeps for the thread that reads.
    fn peek<const N: usize>(&self, socket: &TcpStream) -> Option<usize> {
        let seen = self.life.look(|| match socket::peek::<N>(socket) {
            Err(error) if !socket::is_pause(&error) => Err(CloseReason::from_io(&error)),
            seen => Ok(seen.ok()),
        });
        seen.unwrap_or(Some(0))
    }

    /// Reads and throws away what comes, until the end of input, an error, or the deadline.
    pub fn discard(&self, deadline: Instant) {
        let mut chunk = vec![0; 64 << 10];
        while let Ok(socket) = self.socket() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
                return;
            }
            match self.read(&socket, &mut chunk) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if socket::is_pause(&error) => {}
                Err(_) => return,
            }
        }
    }

    // What stands at the end of frames

    /// The other side's messages have ended; `rest` was read behind that.
    pub fn keep_farewell(&self, farewell: Farewell, rest: Vec<u8>) {
        *lock(&self.farewell) = (farewell, rest);
    }

    /// What the other side has said at the end of its messages.
    pub fn farewell(&self) -> Farewell {
        lock(&self.farewell).0
    }

    /// What was read behind that.
    pub fn take_rest(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.farewell).1)
    }

    pub fn life(&self) -> &Life {
        &self.life
    }
}

/// Notes each read that brings something.
struct Noting<'a, R>(R, &'a Hears);

impl<R: Read> Read for Noting<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(out);
        if matches!(read, Ok(1..)) {
            self.1.note_read();
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener};
    use std::time::Duration;

    use super::*;
    use crate::net::life::Manner;

    const SOON: Duration = Duration::from_secs(20);

    /// A record of 64 KiB takes longer than a keepalive where a network is slow.
    #[cfg(feature = "secure")]
    #[test]
    fn each_part_of_a_record_is_a_sign_of_life() {
        use std::io::Write;

        use crate::proto::header::Suite;
        use crate::secure::record::Opener;

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let (mut remote, _) = listener.accept().unwrap();
        let opener = Opener::new(Suite::Aes, &[7; 32]).ok().unwrap();
        let records = Some(RecordReader::new(opener));
        let half = ReadHalf::new(Arc::clone(&socket), records, Arc::default());
        half.hears.count_reads();
        let reading = Arc::clone(&half);
        let reader = std::thread::spawn(move || reading.read(&socket, &mut [0; 10]).is_err());
        let deadline = Instant::now() + SOON;
        for parts in 1..4 {
            // The first says that the record has 16 KiB.
            remote.write_all(&[64, 0]).unwrap();
            while half.hears.reads() < parts {
                assert!(Instant::now() < deadline, "part {parts} was not noted");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        drop(remote);
        assert!(reader.join().unwrap());
    }

    /// Elsewhere nobody waits.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn who_waits_for_acknowledgements_lets_go_when_it_is_over() {
        use crate::net::life::Outcome;

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let life = Arc::new(Life::default());
        let half = ReadHalf::new(Arc::clone(&socket), None, Arc::clone(&life));
        // The other side does not finish.
        let (_remote, _) = listener.accept().unwrap();
        life.end(CloseReason::Aborted, Outcome::Unknown);
        let begin = Instant::now();
        assert!(!half.is_acknowledged(&socket, begin + SOON));
        assert!(begin.elapsed() < SOON / 2);
    }

    #[test]
    fn a_reset_is_no_fin_also_where_a_look_meets_it_first() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let life = Arc::new(Life::default());
        let half = ReadHalf::new(Arc::new(socket), None, Arc::clone(&life));
        let (mut remote, _) = listener.accept().unwrap();
        life.begin(CloseReason::ClosedHere, Manner::Finish);
        half.socket().unwrap().shutdown(Shutdown::Write).unwrap();
        life.fin_sent();
        assert_eq!(remote.read(&mut [0; 1]).unwrap(), 0, "our FIN is there");
        socket::reset(&remote);
        drop(remote);

        let deadline = Instant::now() + SOON;
        while life.fault().is_none() {
            assert!(!half.has_unread() && Instant::now() < deadline);
        }
        let socket = half.socket().unwrap();
        let (mut reading, mut chunk) = (&*socket, [0; 1]);
        assert_eq!(reading.read(&mut chunk).unwrap(), 0, "as after a FIN");
        assert_eq!(half.end_of_input(&socket), Err(CloseReason::Reset));
        assert!(!half.is_acknowledged(&socket, deadline));
    }
}
