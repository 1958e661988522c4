//! The bytes before the payload of a message.

use crate::format::{DataType, Dialect};
use crate::proto::frames::{Call, HEAD_MAX, Head};
use crate::proto::header::{HEADER_LEN, data_header};

/// What stands before a payload, which depends on the dialect and on whether the connection is a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing: it is a stream's.
    Bare,
    /// A DATA header.
    Text,
    /// The head of a frame of the agreed type.
    Frame,
    /// The head of a frame that names another type.
    OtherType,
    /// The head of a message in a stream that would have none, if its first byte would be taken for a mark.
    Marked,
}

/// The head of the last message, made anew only if the next differs. Lies in the send queue: whoever makes
/// a head uses it before the lock is released.
pub(super) struct LastHead {
    /// What the bytes were made for; `None` for a request's or a reply's, which has an id and is never
    /// used again.
    of: Option<(usize, DataType, Shape)>,
    /// The head, in the first `len` bytes. The rest is left over from longer ones.
    bytes: [u8; HEADER_LEN],
    len: usize,
}

impl LastHead {
    pub const fn new() -> LastHead {
        LastHead {
            of: None,
            bytes: [0; HEADER_LEN],
            len: 0,
        }
    }

    /// Makes the head of a message; [`bytes`](LastHead::bytes) gives it. Says how long it is.
    #[inline]
    pub fn make(&mut self, size: usize, data_type: DataType, shape: Shape) -> usize {
        if shape == Shape::Bare {
            return 0;
        }
        if self.of != Some((size, data_type, shape)) {
            self.of = Some((size, data_type, shape));
            self.write(size, data_type, shape);
        }
        self.len
    }

    /// Makes the head of a request or a reply. `data_type`: its type, if it is not the agreed one.
    pub fn make_call(&mut self, size: usize, data_type: Option<DataType>, call: Call) -> usize {
        self.of = None;
        let head = Head::of_call(size, data_type, call);
        let head = head.bytes();
        self.bytes[..head.len()].copy_from_slice(head);
        self.len = head.len();
        self.len
    }

    fn write(&mut self, size: usize, data_type: DataType, shape: Shape) {
        let head = match shape {
            Shape::Text => {
                self.bytes = data_header(size, data_type);
                self.len = HEADER_LEN;
                return;
            }
            Shape::Bare => Head::NONE,
            Shape::Frame => Head::of(size),
            Shape::OtherType => Head::of_type(size, data_type),
            Shape::Marked => Head::marked(size),
        };
        let head = head.bytes();
        self.bytes[..head.len()].copy_from_slice(head);
        self.len = head.len();
    }

    #[inline]
    pub fn bytes(&self) -> &[u8; HEADER_LEN] {
        &self.bytes
    }
}

/// How many bytes a head counts for when room in the queue is looked for: the largest that it may have.
pub(super) fn room(dialect: Dialect) -> usize {
    match dialect {
        Dialect::Frames => HEAD_MAX,
        Dialect::Headers | Dialect::Peerpy => HEADER_LEN,
    }
}
