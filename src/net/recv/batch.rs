//! Messages that change hands together.
//!
//! Small messages of plain bytes lie one behind the other in one buffer of the batch, and become items
//! where they are taken. So the memory of an item is allocated and freed by one thread, which is fast,
//! and a batch that is used again needs no memory for them.

use std::collections::VecDeque;
use std::mem::{needs_drop, size_of, swap, take};

use crate::net::panics::{let_go, let_go_of_all};

/// So many messages, and the bytes of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub messages: usize,
    pub bytes: usize,
}

impl Amount {
    pub fn is_within(self, limit: Amount) -> bool {
        self.messages <= limit.messages && self.bytes <= limit.bytes
    }

    /// Where so much waits, may one more message of `size` bytes wait too? The first always may.
    pub fn has_room(self, size: usize, limit: Amount) -> bool {
        let bytes = self.bytes.saturating_add(size);
        self.messages == 0 || (self.messages < limit.messages && bytes <= limit.bytes)
    }
}

impl std::ops::Add for Amount {
    type Output = Amount;

    fn add(self, other: Amount) -> Amount {
        Amount {
            messages: self.messages + other.messages,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl std::ops::Sub for Amount {
    type Output = Amount;

    fn sub(self, other: Amount) -> Amount {
        Amount {
            messages: self.messages - other.messages,
            bytes: self.bytes - other.bytes,
        }
    }
}

/// Messages that wait, in their order.
pub(crate) struct Batch<T> {
    /// Messages and their sizes. `None` stands for the next one of `plain`.
    items: VecDeque<(Option<T>, usize)>,
    /// The sizes of all items, summed up.
    bytes: usize,
    /// Small messages of plain bytes, one behind the other. Those before `read` are taken.
    plain: Vec<u8>,
    read: usize,
}

/// Makes an item of plain bytes. `None` for formats whose items must be decoded.
pub(crate) type Make<T> = Option<fn(&[u8]) -> T>;

impl<T> Default for Batch<T> {
    fn default() -> Batch<T> {
        Batch {
            items: VecDeque::new(),
            bytes: 0,
            plain: Vec::new(),
            read: 0,
        }
    }
}

impl<T> Batch<T> {
    /// Another that has room for as much, without growing step by step.
    pub fn empty_one(&self) -> Batch<T> {
        Batch {
            items: VecDeque::with_capacity(self.items.len()),
            plain: Vec::with_capacity(self.plain.len()),
            ..Batch::default()
        }
    }

    /// Puts a decoded item behind the others. `size` counts its memory, for the bounds.
    pub fn push(&mut self, item: T, size: usize) {
        self.items.push_back((Some(item), size));
        self.bytes += size;
    }

    /// Puts a message of plain bytes behind the others, of which no item is made yet.
    pub fn push_plain(&mut self, payload: &[u8]) {
        let size = payload.len() + size_of::<T>();
        self.plain.extend_from_slice(payload);
        self.items.push_back((None, size));
        self.bytes += size;
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Takes the first message, and its size.
    pub fn pop(&mut self, make: Make<T>) -> Option<(T, usize)> {
        let (item, size) = self.items.pop_front()?;
        self.bytes -= size;
        let item = item.or_else(|| {
            let begin = self.read;
            self.read += size - size_of::<T>();
            make.map(|make| make(&self.plain[begin..self.read]))
        });
        if self.items.is_empty() {
            // The buffer keeps its memory for the next time that the batch is filled.
            self.plain.clear();
            self.read = 0;
        }
        Some((item?, size))
    }

    /// Moves all messages of `other` behind its own. `other` is empty then.
    pub fn append(&mut self, other: &mut Batch<T>) {
        if self.items.is_empty() {
            return swap(self, other);
        }
        if other.items.is_empty() {
            return;
        }
        // What is taken already need not be moved along.
        self.plain.drain(..take(&mut self.read));
        self.plain
            .extend_from_slice(&other.plain[take(&mut other.read)..]);
        other.plain.clear();
        self.items.append(&mut other.items);
        self.bytes += take(&mut other.bytes);
    }

    /// Drops all messages, and keeps its memory. The drop of each is the program's code, and may panic.
    pub fn clear(&mut self) {
        self.bytes = 0;
        self.plain.clear();
        self.read = 0;
        self.items.drain(..).for_each(let_go);
    }

    #[cfg(test)]
    pub fn memory(&self) -> usize {
        self.items.capacity() * size_of::<(Option<T>, usize)>() + self.plain.capacity()
    }

    pub fn amount(&self) -> Amount {
        Amount {
            messages: self.items.len(),
            bytes: self.bytes,
        }
    }
}

/// The drop of each message is the program's code, and a second panic while the first one unwinds
/// would abort the process.
impl<T> Drop for Batch<T> {
    fn drop(&mut self) {
        if needs_drop::<T>() {
            let_go_of_all(self.items.drain(..).map(|(item, _)| item));
        }
    }
}
