//! Stands in for encryption: the records are the bytes themselves, and an end of one byte.

use std::io::{self, IoSlice};

use crate::net::os::socket::is_pause;

pub const END: u8 = b'.';
const CHUNK: usize = 100;

#[derive(Default)]
pub(crate) struct RecordWriter {
    records: Vec<u8>,
    ended: bool,
}

impl RecordWriter {
    pub fn left(&self) -> usize {
        self.records.len()
    }

    pub fn clear(&mut self) {
        self.records.clear();
    }

    pub fn write(
        &mut self,
        parts: [&[u8]; 2],
        write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut taken = 0;
        if self.left() == 0 {
            for part in parts {
                let part = &part[..part.len().min(CHUNK - taken)];
                self.records.extend_from_slice(part);
                taken += part.len();
            }
        }
        match self.write_left(write) {
            Err(error) if taken == 0 || !is_pause(&error) => Err(error),
            _ => Ok(taken),
        }
    }

    pub fn end(
        &mut self,
        write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        if !self.ended {
            self.ended = true;
            self.records = vec![END];
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
            let written = write(&[IoSlice::new(&self.records)])?;
            self.records.drain(..written);
        }
        Ok(())
    }
}
