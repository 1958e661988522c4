//! Messages that change hands together.
//!
//! Small messages of plain bytes come in runs: they lie one behind the other in one buffer of the batch,
//! as they came from the socket, and become items where they are taken. So the reader thread copies a
//! whole run at once; the memory of an item is allocated and freed by one thread, which is fast; and a
//! batch that is used again needs no memory for them.

use std::collections::VecDeque;
use std::mem::{needs_drop, size_of, swap, take};

use crate::net::panics::{let_go, let_go_of_all};
use crate::net::wire::span::Span;

/// A number of messages, and the bytes of all of them. The receive queue is bounded in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub messages: usize,
    pub bytes: usize,
}

impl Amount {
    #[inline]
    pub fn is_within(self, limit: Amount) -> bool {
        self.messages <= limit.messages && self.bytes <= limit.bytes
    }

    /// While this much waits, may one more message of `size` bytes wait too? The first always may, so that
    /// a message larger than the limit can pass.
    #[inline]
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

/// Messages that wait, in their order. One thread has a batch at a time: the reader thread, or one of the
/// program's that reads for itself, while it fills it; the queue's lock while it waits. All but small ones
/// change hands whole, without a copy.
pub(crate) struct Batch<T> {
    parts: VecDeque<Part<T>>,
    /// All messages of all parts, and their sizes.
    amount: Amount,
    /// The bytes of all runs, one behind the other, heads included. Those before `read` are taken.
    plain: Vec<u8>,
    read: usize,
    /// The messages in `plain`. Those before `taken` are taken.
    spans: Vec<Span>,
    taken: usize,
}

enum Part<T> {
    /// A decoded item, and its size.
    Item(T, usize),
    /// A run: this many of the next messages of `spans`.
    Run(usize),
}

/// Makes an item of plain bytes. `None` for formats whose items must be decoded, by the program's code,
/// which must not run under the queue's lock.
pub(crate) type Make<T> = Option<fn(&[u8]) -> T>;

impl<T> Default for Batch<T> {
    fn default() -> Batch<T> {
        Batch {
            parts: VecDeque::new(),
            amount: Amount::default(),
            plain: Vec::new(),
            read: 0,
            spans: Vec::new(),
            taken: 0,
        }
    }
}

impl<T> Batch<T> {
    /// An empty batch that has room for as much as this one, so that it need not grow step by step.
    pub fn empty_one(&self) -> Batch<T> {
        Batch {
            parts: VecDeque::with_capacity(self.parts.len()),
            plain: Vec::with_capacity(self.plain.len()),
            spans: Vec::with_capacity(self.spans.len()),
            amount: Amount::default(),
            read: 0,
            taken: 0,
        }
    }

    /// Puts a decoded item behind the others. `size` counts its memory, for the bounds.
    pub fn push(&mut self, item: T, size: usize) {
        self.parts.push_back(Part::Item(item, size));
        self.amount.messages += 1;
        self.amount.bytes += size;
    }

    /// Puts a run of plain messages behind the others. Their items are made when they are taken. `find`
    /// appends the place of each message to the list that it gets, and returns the bytes of all. Returns how
    /// much that is.
    pub fn push_run<'a>(&mut self, find: impl FnOnce(&mut Vec<Span>) -> &'a [u8]) -> Amount {
        let before = self.spans.len();
        let bytes = find(&mut self.spans);
        let messages = self.spans.len() - before;
        if messages == 0 {
            return Amount::default();
        }
        self.plain.extend_from_slice(bytes);
        let heads: usize = self.spans[before..].iter().map(Span::head).sum();
        let run = Amount {
            messages,
            bytes: bytes.len() - heads + messages * size_of::<T>(),
        };
        self.amount = self.amount + run;
        self.put_run(messages);
        run
    }

    /// Counts a run behind the others. Two runs in a row become one, since their bytes lie in a row as well.
    fn put_run(&mut self, messages: usize) {
        match self.parts.back_mut() {
            Some(Part::Run(last)) => *last += messages,
            _ => self.parts.push_back(Part::Run(messages)),
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.amount.messages
    }

    /// Puts the first message into `item`, and says how large it is.
    #[inline]
    pub fn pop(&mut self, make: Make<T>, item: &mut Option<T>) -> Option<usize> {
        let size = match self.parts.front_mut()? {
            Part::Run(left) => {
                let span = self.spans[self.taken];
                let begin = self.read + span.head();
                let end = begin + span.len();
                (self.taken, self.read) = (self.taken + 1, end);
                *left -= 1;
                if *left == 0 {
                    self.parts.pop_front();
                }
                *item = make.map(|make| make(&self.plain[begin..end]));
                span.len() + size_of::<T>()
            }
            Part::Item(..) => match self.parts.pop_front()? {
                Part::Item(made, size) => {
                    *item = Some(made);
                    size
                }
                Part::Run(_) => return None,
            },
        };
        self.amount.messages -= 1;
        self.amount.bytes -= size;
        if self.amount.messages == 0 {
            // The buffers keep their memory for the next time that the batch is filled.
            self.forget_runs();
        }
        Some(size)
    }

    /// The runs are taken or dropped. The memory of the buffers stays.
    fn forget_runs(&mut self) {
        self.plain.clear();
        self.spans.clear();
        (self.read, self.taken) = (0, 0);
    }

    /// Moves all messages of `other` behind its own, and leaves `other` empty. Copies bytes, so it is only
    /// for small batches.
    pub fn append(&mut self, other: &mut Batch<T>) {
        if self.len() == 0 {
            return swap(self, other);
        }
        // What is taken already need not be moved along.
        self.plain.drain(..take(&mut self.read));
        self.plain.extend_from_slice(&other.plain[other.read..]);
        self.spans.drain(..take(&mut self.taken));
        self.spans.extend_from_slice(&other.spans[other.taken..]);
        other.forget_runs();
        for part in other.parts.drain(..) {
            match part {
                Part::Run(messages) => self.put_run(messages),
                item => self.parts.push_back(item),
            }
        }
        self.amount = self.amount + take(&mut other.amount);
    }

    /// Drops all messages, and keeps its memory. The drop of each is the program's code, and may panic.
    pub fn clear(&mut self) {
        self.amount = Amount::default();
        self.forget_runs();
        self.parts.drain(..).for_each(let_go);
    }

    #[cfg(test)]
    pub fn memory(&self) -> usize {
        let parts = self.parts.capacity() * size_of::<Part<T>>();
        let spans = self.spans.capacity() * size_of::<Span>();
        parts + spans + self.plain.capacity()
    }

    #[inline]
    pub fn amount(&self) -> Amount {
        self.amount
    }
}

/// The drop of each message is the program's code, and a second panic while the first one unwinds
/// would abort the process.
impl<T> Drop for Batch<T> {
    fn drop(&mut self) {
        // Most are empty, and their threads need not keep the stack that the rest takes.
        if needs_drop::<T>() && !self.parts.is_empty() {
            let_go_of_all(self.parts.drain(..));
        }
    }
}

#[cfg(test)]
mod tests;
