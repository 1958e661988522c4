//! The bytes before the payload of a message.

use crate::format::{DataType, Dialect};
use crate::proto::frames::{Call, HEAD_MAX, Head};
use crate::proto::header::{HEADER_LEN, data_header};

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing: it is a stream's.
    Bare,
    /// A DATA header.
    Text,
    /// The head of a frame,
    Frame,
    /// of one that names its type,
    OtherType,
    /// or of one in a stream, whose first byte would be taken for a mark.
    Marked,
}

/// The head of the last message: equal ones are common.
pub(super) struct LastHead {
    of: Option<(usize, DataType, Shape)>,
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

    /// The same for a request or a reply. `data_type`: of another type than the agreed one.
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

/// So many bytes count as the head of a message that is to have room in the queue.
pub(super) fn room(dialect: Dialect) -> usize {
    match dialect {
        Dialect::Frames => HEAD_MAX,
        Dialect::Headers | Dialect::Peerpy => HEADER_LEN,
    }
}
