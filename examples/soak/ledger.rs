//! What each process has sent and received, in a file that outlives it: a page of twelve numbers
//! for each side of each connection, kept up to date.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Outcome;

/// What a number of a page says.
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum Field {
    /// The connection's number, the same on both of its sides.
    Session,
    /// [`super::message::BACKWARDS`] on the side that was asked, and [`super::message::RELAYED`].
    Flags,
    /// Who was asked, as a [`process`].
    Partner,
    /// Messages for which `send` returned Ok.
    Sent,
    /// What became of them, as far as this side was told.
    End,
    Received,
    /// Why no more came.
    Reason,
    Altered,
    Doubled,
    Reordered,
    Missing,
    /// The process was killed, at that time or later; entered by the supervisor.
    Killed,
}

const FIELDS: usize = 12;

/// [`Field::End`] and [`Field::Reason`] are 0 until there is something to say: also when the
/// process was killed before.
pub mod end {
    /// `close` said Ok.
    pub const ACKNOWLEDGED: u64 = 1;
    /// `close` said that it might not all have been taken in.
    pub const ERROR: u64 = 2;
    /// The handle was dropped, nobody asked.
    pub const DROPPED: u64 = 3;
}

pub mod reason {
    pub const CLOSED_THERE: u64 = 1;
    pub const CLOSED_HERE: u64 = 2;
    pub const STOPPED: u64 = 3;
    pub const ABORTED: u64 = 4;
    pub const RESET: u64 = 5;
    pub const TRUNCATED: u64 = 6;
    pub const TIMED_OUT: u64 = 7;
    /// This side dropped its handle and did not wait for the end.
    pub const DROPPED: u64 = 8;
    /// The connection had ended before its first message.
    pub const NEVER_BEGAN: u64 = 9;
    /// Both: the FIN of the stop was out, perhaps, when the program aborted.
    pub const STOPPED_AND_ABORTED: u64 = 10;
    /// The other side's process or a relay ended, without a goodbye.
    pub const VANISHED: u64 = 11;
}

/// A process by its place and by how often there was one before it.
pub const fn process(index: u64, generation: u64) -> u64 {
    index << 32 | generation
}

pub struct Ledger {
    file: Mutex<File>,
    pages: AtomicU64,
}

impl Ledger {
    pub fn create(path: &Path) -> std::io::Result<Ledger> {
        Ok(Ledger {
            file: Mutex::new(File::create_new(path)?),
            pages: AtomicU64::new(0),
        })
    }

    pub fn page(&self, session: u64, flags: u64, partner: u64) -> Page<'_> {
        let number = self.pages.fetch_add(1, Ordering::Relaxed);
        let page = Page {
            ledger: self,
            at: number * (FIELDS * 8) as u64,
        };
        let mut fields = [0; FIELDS];
        fields[Field::Session as usize] = session;
        fields[Field::Flags as usize] = flags;
        fields[Field::Partner as usize] = partner;
        let bytes: Vec<u8> = fields.iter().flat_map(|n| n.to_le_bytes()).collect();
        page.write(0, &bytes);
        page
    }
}

pub struct Page<'a> {
    ledger: &'a Ledger,
    at: u64,
}

impl Page<'_> {
    pub fn set(&self, field: Field, number: u64) {
        self.write(field as u64 * 8, &number.to_le_bytes());
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        let mut file = self
            .ledger
            .file
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.at + offset))
            .and_then(|_| file.write_all(bytes))
            .expect("the ledger can be written");
    }
}

/// A page as it was left.
#[derive(Clone, Copy, Default)]
pub struct Record(pub [u64; FIELDS]);

impl Record {
    pub fn get(&self, field: Field) -> u64 {
        self.0[field as usize]
    }
}

pub fn read(path: &Path) -> Outcome<Vec<Record>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    let pages = bytes.chunks_exact(FIELDS * 8).map(|page| {
        let mut record = Record::default();
        for (field, bytes) in record.0.iter_mut().zip(page.chunks_exact(8)) {
            *field = number(bytes);
        }
        record
    });
    Ok(pages.collect())
}
