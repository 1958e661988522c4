//! The one size of a stream's messages, which both directions share.

use crate::net::os::sync::{AtomicBool, AtomicUsize, Ordering};
use crate::options::StreamSize;

/// What the reading and the sending side of one connection share of a stream. Two atomics and no lock:
/// each is written once, and neither guards anything else.
pub(crate) struct Stream {
    /// What the handshake agreed on; `None`: the connection is no stream.
    asked: Option<StreamSize>,
    /// The size in bytes; 0 until the first message in either direction decides it. The thread that reads and
    /// a thread that sends may come at the same moment, so it is set by a compare-and-exchange, and the loser
    /// compares its message with the winner's.
    size: AtomicUsize,
    /// A peerpy whose own message was the stream's first goes on waiting for a header until its
    /// timeout, and then for none: it tells by its keepalive. Set by the reader for the sender.
    headerless: AtomicBool,
}

/// What a message's size is to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// This message has decided it, now.
    First,
    Same,
    /// The stream's is another.
    Other(usize),
}

impl Stream {
    pub fn new(asked: Option<StreamSize>) -> Stream {
        let size = match asked {
            Some(StreamSize::Of(size)) => size,
            _ => 0,
        };
        Stream {
            asked,
            size: AtomicUsize::new(size),
            headerless: AtomicBool::new(false),
        }
    }

    /// Is the connection a stream at all?
    #[inline]
    pub fn is_on(&self) -> bool {
        self.asked.is_some()
    }

    /// Did HELLO name the size, so that not even the first message has a header?
    pub fn is_named(&self) -> bool {
        matches!(self.asked, Some(StreamSize::Of(_)))
    }

    #[inline]
    /// The size in bytes, if it is decided.
    pub fn known(&self) -> Option<usize> {
        match self.size.load(Ordering::SeqCst) {
            0 => None,
            size => Some(size),
        }
    }

    /// Compares a message with the stream's size, or makes its size that of the stream. All messages of a
    /// stream have one size, whichever side says it first.
    pub fn agree(&self, size: usize) -> Size {
        let first = self
            .size
            .compare_exchange(0, size, Ordering::SeqCst, Ordering::SeqCst);
        match first {
            Ok(_) => Size::First,
            Err(stream) if stream == size => Size::Same,
            Err(stream) => Size::Other(stream),
        }
    }

    /// The other side expects no headers from here on.
    pub fn set_headerless(&self) {
        self.headerless.store(true, Ordering::SeqCst);
    }

    pub fn is_headerless(&self) -> bool {
        self.headerless.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_decides() {
        let stream = Stream::new(Some(StreamSize::FromFirst));
        assert_eq!(
            (stream.is_on(), stream.is_named(), stream.known()),
            (true, false, None)
        );
        assert_eq!(stream.agree(5), Size::First);
        assert_eq!(
            (stream.agree(5), stream.agree(6)),
            (Size::Same, Size::Other(5))
        );
        assert_eq!(stream.known(), Some(5));
    }

    #[test]
    fn a_named_size_is_known_from_the_beginning() {
        let stream = Stream::new(Some(StreamSize::Of(7)));
        assert!(stream.is_named() && stream.known() == Some(7));
        assert_eq!(
            (stream.agree(7), stream.agree(8)),
            (Size::Same, Size::Other(7))
        );
        assert!(!Stream::new(None).is_on());
    }
}
