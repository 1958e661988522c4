//! An encrypted connection's bytes on their way between the socket and the rest. A connection that is not
//! encrypted has neither of the two types here.

use std::io::{self, IoSlice, Read};
use std::ops::Range;

use crate::net::os::socket::is_pause;
use crate::secure::record::{MAX_PLAIN, Opener, PREFIX, Sealer, TAG};
use crate::secure::{Forged, Session};

/// How many bytes are sealed for one write: two records. More would only have to be kept if the socket is
/// full.
const CHUNK: usize = 2 * MAX_PLAIN;

/// The buffer for records begins with this size, and doubles while reads fill it.
const BUFFER_MIN: usize = 2 << 10;
/// The largest buffer: two of the largest records, so that one read can bring the rest of one and the next.
const BUFFER_MAX: usize = 2 * (PREFIX + TAG + MAX_PLAIN);

/// Encrypts what is written. It is part of the writing half, so whoever has the turn has it, and no lock
/// of its own is needed. The order of its records is that of the turns.
pub(crate) struct RecordWriter {
    sealer: Sealer,
    /// Sealed records; the bytes before `written` are written. A record that was sealed has to follow those
    /// before it: its number is part of its seal.
    records: Vec<u8>,
    written: usize,
}

impl RecordWriter {
    pub fn new(sealer: Sealer) -> RecordWriter {
        RecordWriter {
            sealer,
            records: Vec::new(),
            written: 0,
        }
    }

    /// Sealed bytes that are not yet written.
    pub fn left(&self) -> usize {
        self.records.len() - self.written
    }

    /// Gives up what is sealed and not written. Only for a connection that is over: the other side cannot
    /// open what would come after a gap.
    pub fn clear(&mut self) {
        self.records.clear();
        self.written = 0;
    }

    /// Seals what `parts` begin with, unless sealed bytes are left, and writes once. Returns how much of
    /// `parts` was sealed, which counts as written, since its record must follow. A full socket is an error
    /// only if nothing was sealed.
    pub fn write(
        &mut self,
        parts: [&[u8]; 2],
        write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut taken = 0;
        if self.left() == 0 {
            self.clear();
            let [first, second] = parts;
            let first = &first[..first.len().min(CHUNK)];
            let second = &second[..second.len().min(CHUNK - first.len())];
            let sealed = self.sealer.seal(first, second, &mut self.records);
            sealed.map_err(|Forged| io::Error::other("the message cannot be encrypted"))?;
            taken = first.len() + second.len();
        }
        match self.write_left(write) {
            Err(error) if taken == 0 || !is_pause(&error) => Err(error),
            _ => Ok(taken),
        }
    }

    /// Writes the record that says that no other follows. `false`: a part of it is left, and this is to be
    /// called again; the record is sealed once.
    pub fn end(
        &mut self,
        write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        if !self.sealer.has_ended() {
            self.clear();
            let sealed = self.sealer.end(&mut self.records);
            sealed.map_err(|Forged| io::Error::other("the end cannot be encrypted"))?;
        }
        match self.write_left(write) {
            Err(error) if !is_pause(&error) => Err(error),
            _ => Ok(self.left() == 0),
        }
    }

    fn write_left(
        &mut self,
        write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<()> {
        if self.left() > 0 {
            self.written += write(&[IoSlice::new(&self.records[self.written..])])?;
        }
        Ok(())
    }
}

/// The size of the record that ends a direction. It is the only one without a payload, so its size tells an
/// end from data without opening it.
pub(crate) const LAST_RECORD: usize = PREFIX + TAG;

/// Decrypts what is read. The [`ReadHalf`](super::half::ReadHalf) has it under a lock, which the thread that
/// reads holds over the whole read.
pub(crate) struct RecordReader {
    opener: Opener,
    /// The buffer of which the two ranges below are parts. A record is opened in place, so `plain` lies
    /// before `sealed`, and the buffer is moved only when `plain` is empty.
    bytes: Vec<u8>,
    /// Decrypted and not yet taken.
    plain: Range<usize>,
    /// Read and not yet decrypted.
    sealed: Range<usize>,
    /// Why no more will come: the last record came, or one that was forged. Kept, so that each later read
    /// says the same.
    end: Option<Result<(), Forged>>,
}

impl RecordReader {
    pub fn new(opener: Opener) -> RecordReader {
        RecordReader {
            opener,
            bytes: Vec::new(),
            plain: 0..0,
            sealed: 0..0,
            end: None,
        }
    }

    /// As a socket's `read`; 0 is the other side's word that it has finished. The end of input
    /// without that is `UnexpectedEof`, and a record that does not open `InvalidData`.
    pub fn read(&mut self, mut socket: impl Read, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.plain.is_empty() {
                let n = self.plain.len().min(out.len());
                let start = self.plain.start;
                out[..n].copy_from_slice(&self.bytes[start..start + n]);
                self.plain.start += n;
                return Ok(n);
            }
            match self.end {
                None => {}
                Some(Ok(())) => return Ok(0),
                Some(Err(Forged)) => return Err(io::ErrorKind::InvalidData.into()),
            }
            match self.open() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(Forged) => {
                    self.end = Some(Err(Forged));
                    continue;
                }
            }
            let read = socket.read(&mut self.bytes[self.sealed.end..])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.sealed.end += read;
            let size = self.bytes.len();
            if self.sealed.end == size && size < BUFFER_MAX {
                // It filled the buffer: there is probably more than it holds.
                self.bytes.resize((size * 2).min(BUFFER_MAX), 0);
            }
        }
    }

    /// Has something been read and not taken yet, other than the last record?
    pub fn has_more(&self) -> bool {
        !self.plain.is_empty() || ![0, LAST_RECORD].contains(&self.sealed.len())
    }

    /// Opens the next record, if it is there; else makes room for it.
    fn open(&mut self) -> Result<bool, Forged> {
        let bytes = &self.bytes[self.sealed.clone()];
        let len = Opener::record_len(bytes)?;
        if let Some(len) = len.filter(|len| *len <= self.sealed.len()) {
            let start = self.sealed.start;
            let plain = self.opener.open(&mut self.bytes[start..start + len])?;
            self.plain = start + PREFIX..start + PREFIX + plain.len();
            self.sealed.start += len;
            if plain.is_empty() {
                self.end = Some(Ok(()));
            }
            return Ok(true);
        }
        let (unread, size) = (self.sealed.len(), self.bytes.len());
        let need = len.unwrap_or(PREFIX).max(BUFFER_MIN);
        if unread == 0 || self.sealed.end == size || self.sealed.start + need > size {
            self.bytes.copy_within(self.sealed.clone(), 0);
            self.sealed = 0..unread;
        }
        if need > size {
            self.bytes.resize(need, 0);
        }
        Ok(false)
    }
}

/// The two ways of one connection.
pub(crate) fn split(session: Option<Session>) -> (Option<RecordWriter>, Option<RecordReader>) {
    let split = |session: Session| (session.sealer, session.opener);
    let (sealer, opener) = session.map(split).unzip();
    (sealer.map(RecordWriter::new), opener.map(RecordReader::new))
}
