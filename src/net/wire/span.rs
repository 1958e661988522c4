//! Where a small message lies among others.

/// The place of a small message among others: its head, and then its payload. Two small lengths and no
/// range, since a batch keeps one for each message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    head: u8,
    len: u16,
}

impl Span {
    /// The largest payload of such a message: larger ones are not worth being copied twice.
    const LARGEST: usize = 1 << 10;

    /// `None`: it is not small.
    #[inline]
    pub fn new(head: usize, len: usize) -> Option<Span> {
        let is_small = head <= usize::from(u8::MAX) && len <= Span::LARGEST;
        is_small.then_some(Span {
            head: head as u8,
            len: len as u16,
        })
    }

    /// The length of the head.
    #[inline]
    pub fn head(&self) -> usize {
        self.head.into()
    }

    /// The length of the payload.
    #[inline]
    pub fn len(&self) -> usize {
        self.len.into()
    }
}
