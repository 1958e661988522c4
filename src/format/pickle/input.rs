//! The bytes of a pickle, taken from its beginning to its end.

use super::arena::Span;
use super::error::{Error, Result};

pub(super) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { bytes, at: 0 }
    }

    /// Where the next byte is.
    pub fn at(&self) -> usize {
        self.at
    }

    /// How many are there in all.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many are still to come.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub fn take(&mut self, size: usize) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let bytes = rest.get(..size).ok_or_else(cut)?;
        self.at += size;
        Ok(bytes)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A length or an index of one byte.
    pub fn size1(&mut self) -> Result<usize> {
        self.array().map(|[size]| size.into())
    }

    /// Of four.
    pub fn size4(&mut self) -> Result<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    /// Of eight.
    pub fn size8(&mut self) -> Result<usize> {
        let size = u64::from_le_bytes(self.array()?);
        Ok(usize::try_from(size).unwrap_or(usize::MAX))
    }

    /// Of four, with a sign that may not be minus.
    pub fn size_signed(&mut self) -> Result<usize> {
        let size = i32::from_le_bytes(self.array()?);
        usize::try_from(size).map_err(|_| Error::new("a negative length"))
    }

    /// Up to the next newline, which is taken too.
    pub fn line(&mut self) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or_else(cut)?;
        self.at += end + 1;
        Ok(&rest[..end])
    }

    /// Takes bytes without a look at them.
    pub fn span(&mut self, size: usize) -> Result<Span> {
        let start = self.at;
        self.take(size)?;
        Ok(Span::new(start..self.at))
    }
}

pub(super) fn cut() -> Error {
    Error::new("the pickle is cut")
}
