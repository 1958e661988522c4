//! One turn at the socket: a write without the lock.
//!
//! A write may take long, and nobody who only wants to queue a message is to wait for it. So whoever
//! writes takes the writing half out of the queue, and what waits there as one batch; then it lets go of
//! the lock. Others see that the half is away, and queue. There is one half, so that there is one writer
//! at a time and the order is kept. When the half comes back, its holder looks again at what has been
//! queued meanwhile: nobody else was able to write it.

use std::io;
use std::sync::Arc;

use super::Sender;
use super::queue::SendQueue;
use crate::net::os::lock;
use crate::net::os::socket::is_pause;
use crate::net::os::sync::MutexGuard;
use crate::net::wire::write_half::{Patience, Unwritten, WriteHalf};

/// Owns the writing half, and what of the queue it is to write. Its drop gives both back, also in a panic,
/// so that a turn cannot be lost. A lost turn would leave every other sender waiting for it.
pub(super) struct Turn<'a> {
    /// Where the half goes back to.
    sender: &'a Arc<Sender>,
    /// `None`: someone else has the turn, or the connection is over. Then there is nothing to do.
    half: Option<WriteHalf>,
    /// What was taken out of the queue to be written.
    batch: Vec<u8>,
    /// How much of the batch is written.
    written: usize,
    /// The batch is a message that a newer one may replace while nothing of it is written.
    is_replaceable: bool,
}

impl<'a> Turn<'a> {
    /// A turn for everything that waits.
    pub fn take(sender: &'a Arc<Sender>, mut queue: MutexGuard<'_, SendQueue>) -> Turn<'a> {
        // Half and batch are taken under one lock, so the batch is what comes next on the wire.
        let half = queue.take_half(0);
        let batch = match &half {
            Some(_) => queue.take_batch(),
            None => Vec::new(),
        };
        Turn {
            sender,
            half,
            batch,
            written: 0,
            is_replaceable: queue.is_latest_out(),
        }
    }

    /// A turn for `size` bytes that are not in the queue.
    pub fn take_for(
        sender: &'a Arc<Sender>,
        mut queue: MutexGuard<'_, SendQueue>,
        size: usize,
    ) -> Turn<'a> {
        Turn {
            sender,
            half: queue.take_half(size),
            batch: Vec::new(),
            written: 0,
            is_replaceable: false,
        }
    }

    /// Bytes that are sealed and not yet written.
    pub fn left(&self) -> usize {
        self.half.as_ref().map_or(0, Unwritten::left)
    }

    /// Writes once what is not in the queue.
    pub fn write_parts(&mut self, parts: [&[u8]; 2], patience: Patience) -> io::Result<usize> {
        let Some(half) = &mut self.half else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let written = half.write(parts, patience)?;
        self.sender.context.note_write();
        Ok(written)
    }

    /// Writes the batch as far as the socket takes it, and gives the turn back. What is left is for
    /// the writer.
    pub fn write(mut self) {
        if self.half.is_none() {
            return;
        }
        let failure = self.write_batch(Patience::None);
        let sender = self.sender;
        // Before the half goes back, with which both numbers go as well.
        let is_full = self.left() > 0 || self.written < self.batch.len();
        let mut queue = self.give_back();
        match failure {
            Some(error) => drop(sender.fail(&mut queue, &error)),
            None if is_full && !queue.is_gone() => sender.wake_writer(queue),
            None => sender.continue_writing(queue),
        }
    }

    /// As [`write`](Turn::write), and goes on with what others have queued meanwhile, since they left it to
    /// the thread that has the turn. After some rounds the flusher or the writer takes over, so that a thread
    /// that sends a lone message does not write for the others for ever.
    pub fn write_on(self) {
        const ROUNDS: usize = 16;
        let sender = self.sender;
        let mut turn = self;
        for _ in 0..ROUNDS {
            if turn.half.is_none() {
                return;
            }
            let failure = turn.write_batch(Patience::None);
            let is_full = turn.left() > 0 || turn.written < turn.batch.len();
            let mut queue = turn.give_back();
            match failure {
                Some(error) => return drop(sender.fail(&mut queue, &error)),
                None if is_full && !queue.is_gone() => return sender.wake_writer(queue),
                None => sender.settle(&mut queue),
            }
            if !queue.has_work() || queue.is_held() {
                return;
            }
            turn = Turn::take(sender, queue);
        }
        // The caller has other things to do: what comes from now on is left to the flusher or the writer.
        turn.write();
    }

    /// Writes the batch: as far as the socket takes it at once, or until all is written, and in any case no
    /// further when the connection is over. For a message that a newer one may replace it waits for one
    /// slice until the first byte leaves. An error is what the socket met.
    pub fn write_batch(&mut self, patience: Patience) -> Option<io::Error> {
        let half = self.half.as_mut()?;
        loop {
            let rest = &self.batch[self.written..];
            // Asked before each write: a batch may be a megabyte, and of a connection that is over nothing
            // more is to arrive.
            if (rest.is_empty() && half.left() == 0) || self.sender.life.is_over() {
                return None;
            }
            match half.write([rest, &[]], patience) {
                Ok(written) => {
                    self.written += written;
                    self.sender.context.note_write();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_pause(&error) => {
                    let is_begun = self.written > 0 || !self.is_replaceable;
                    if patience != Patience::Slice || !is_begun {
                        return None;
                    }
                }
                Err(error) => return Some(error),
            }
        }
    }

    /// Gives the half back, and what is left of the batch. Returns the lock, under which the caller sees to
    /// what others have queued meanwhile: if it were released in between, that could be forgotten.
    pub fn give_back(mut self) -> MutexGuard<'a, SendQueue> {
        self.put_back()
    }

    /// The half and the rest go back together, under one lock: nobody sees one without the other.
    fn put_back(&mut self) -> MutexGuard<'a, SendQueue> {
        let mut queue = lock(&self.sender.queue);
        if let Some(half) = self.half.take() {
            queue.give_half(half, std::mem::take(&mut self.batch), self.written);
        }
        queue
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.half.is_some() {
            drop(self.put_back());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::error::{CloseReason, SendError};
    use crate::format::{DataType, Dialect, Encoded};
    use crate::net::context::Context;
    use crate::net::life::{Life, Outcome};
    use crate::net::os::socket::prepare;
    use crate::net::send::{Terms, Wait};
    use crate::net::wire::stream::Stream;
    use crate::options::Settings;

    /// A sender whose queue has so many bytes, and the other end of its socket, which nobody reads.
    fn queued(count: usize) -> (Arc<Sender>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let socket = TcpStream::connect(addr).unwrap();
        prepare(&socket, None).unwrap();
        let (remote, _) = listener.accept().unwrap();
        let settings = Settings::default();
        let context = Arc::new(Context::new(settings, "127.0.0.1:9".parse().unwrap()));
        let terms = Terms {
            id: 1,
            peer_addr: addr,
            data_type: DataType::Bytes,
            strict: true,
            dialect: Dialect::Headers,
        };
        let half = WriteHalf::new(Arc::new(socket), None);
        let (life, stream) = (Arc::new(Life::default()), Arc::new(Stream::new(None)));
        let sender = Sender::new(terms, half, &context, &life, &stream);
        lock(&sender.queue).push(0, 0, &vec![7; count]);
        (sender, remote)
    }

    /// Its batch may be a megabyte, of which the other side would go on receiving.
    #[test]
    fn nothing_is_written_when_the_connection_is_over() {
        for patience in [Patience::None, Patience::Slice] {
            let (sender, _remote) = queued(100);
            let mut turn = Turn::take(&sender, lock(&sender.queue));
            sender.life.end(CloseReason::Aborted, Outcome::Unknown);
            assert!(turn.write_batch(patience).is_none());
            assert_eq!(turn.written, 0, "{patience:?}");
        }
    }

    /// The end may be met while the socket is read, before any write fails of it.
    #[test]
    fn nothing_is_accepted_behind_a_flush_that_tells_of_the_end() {
        let (sender, _remote) = queued(0);
        sender.life.note_fault(CloseReason::Reset);
        let closed = Err(SendError::Closed(CloseReason::Reset));
        assert_eq!(sender.drain(None), closed);
        let message = Encoded::new(DataType::Bytes, b"late");
        assert_eq!(sender.send(message, Wait::No, None), closed);
    }

    /// A later thread may have the same mark, and what it gathers would be left to one that is gone.
    #[test]
    fn a_thread_that_ends_leaves_no_mark_also_where_another_has_the_turn() {
        let (sender, _remote) = queued(100);
        let turn = Turn::take(&sender, lock(&sender.queue));
        let gathering = Arc::clone(&sender);
        let sent = std::thread::spawn(move || {
            let message = Encoded::new(DataType::Bytes, b"gathered");
            let sent = gathering.send(message, Wait::No, Some(true));
            assert_ne!(lock(&gathering.queue).gatherer, 0);
            sent
        });
        assert_eq!(sent.join().unwrap(), Ok(()));
        assert_eq!(lock(&sender.queue).gatherer, 0);
        drop(turn);
    }

    /// Whoever has others to serve writes what the socket takes, and waits for nothing.
    #[test]
    fn a_full_socket_is_left_alone() {
        const TOO_MUCH: usize = 64 << 20;
        let (told, heard) = crossbeam_channel::bounded(1);
        let (sender, remote) = queued(TOO_MUCH);
        let writing = Arc::clone(&sender);
        std::thread::spawn(move || {
            let mut turn = Turn::take(&writing, lock(&writing.queue));
            let failure = turn.write_batch(Patience::None);
            let _ = told.send((failure.is_none(), turn.written));
        });
        let written = heard.recv_timeout(Duration::from_secs(20));
        let (fine, written) = written.expect("it waits on and on");
        assert!(fine && (1..TOO_MUCH).contains(&written), "{written} bytes");
        drop(remote);
    }
}
