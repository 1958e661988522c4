//! The send queue of a connection, and who may write to its socket.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;

use crate::error::CloseReason;
use crate::format::{DataType, Dialect};
use crate::net::os::lock;
use crate::net::os::socket::write_now;
use crate::net::os::sync::{AtomicBool, Condvar, Instant, Mutex, MutexGuard, Ordering, TcpStream};
use crate::net::wire::record::RecordWriter;
use crate::proto::header::HEADER_LEN;

pub(crate) struct Outbox {
    pub queue: Mutex<Queue>,
    /// A close or a kill has come: a message that is being written waits for nothing more.
    pub closing: AtomicBool,
    /// Signalled when bytes have left the queue, or it has ended.
    pub room: Condvar,
    /// Signalled when the writer thread has something to do.
    pub work: Condvar,
}

pub(crate) struct Queue {
    /// Taken away at the end.
    pub socket: Option<Arc<TcpStream>>,
    /// Whole messages, to be written next; after a partial write, the rest of one first.
    pub pending: Vec<u8>,
    /// An empty buffer that changes places with `pending`.
    pub spare: Vec<u8>,
    /// The flusher will look at `pending`, or its list is just being told.
    pub listed: bool,
    /// The flusher will give the buffers' memory back.
    pub grown: bool,
    /// Of an encrypted connection; the holder of `busy` takes it along.
    pub sealing: Option<RecordWriter>,
    /// Bytes that the holder of `busy` is writing.
    pub in_flight: usize,
    /// Someone writes to the socket without holding the lock.
    pub busy: bool,
    /// There is a writer thread.
    pub writer: bool,
    /// It waits for work.
    pub parked: bool,
    /// Threads that wait for room, in the order in which they came.
    pub line: VecDeque<u64>,
    pub next_ticket: u64,
    /// Threads that wait at `room`, for whatever reason.
    pub waiters: usize,
    /// No more messages are accepted, for this reason.
    pub closed: Option<CloseReason>,
    /// Nobody waits for the close that has begun: what no thread can write ends the connection.
    pub deserted: bool,
    /// What a write met.
    pub failure: Option<CloseReason>,
    pub fin: Fin,
    /// The last DATA header: equal sizes are common.
    pub header: [u8; HEADER_LEN],
    pub header_of: Option<(usize, DataType)>,
    pub messages: u64,
    pub bytes: u64,
    /// How often what had gathered was written.
    pub writes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fin {
    /// The end is to be a reset.
    Never,
    No,
    WhenEmpty,
    Sent,
}

impl Queue {
    pub fn used(&self) -> usize {
        self.pending.len() + self.in_flight + self.sealed()
    }

    /// Bytes that are sealed and not yet written: the socket is full.
    pub fn sealed(&self) -> usize {
        self.sealing.as_ref().map_or(0, RecordWriter::left)
    }

    /// Someone writes, and looks at `pending` afterwards.
    pub fn is_held(&self) -> bool {
        self.busy || (self.writer && !self.parked)
    }

    pub fn is_idle(&self) -> bool {
        !self.busy && !self.has_work()
    }

    /// Is there something to be written?
    pub fn has_work(&self) -> bool {
        !self.pending.is_empty() || self.sealed() > 0
    }

    /// Nobody will write what is pending: no thread was to be had.
    pub fn is_left(&self) -> bool {
        !self.is_held() && !self.listed && self.has_work() && self.socket.is_some()
    }

    fn drop_all(&mut self) {
        self.pending = Vec::new();
        if let Some(sealing) = &mut self.sealing {
            sealing.clear();
        }
    }

    /// A message of this size was counted, and not accepted after all.
    pub fn take_back(&mut self, size: usize) {
        self.messages -= 1;
        self.bytes -= size as u64;
    }
}

impl Outbox {
    pub fn new(socket: Arc<TcpStream>, sealing: Option<RecordWriter>) -> Outbox {
        let queue = Queue {
            socket: Some(socket),
            pending: Vec::new(),
            spare: Vec::new(),
            listed: false,
            grown: false,
            sealing,
            in_flight: 0,
            busy: false,
            writer: false,
            parked: false,
            line: VecDeque::new(),
            next_ticket: 0,
            waiters: 0,
            closed: None,
            deserted: false,
            failure: None,
            fin: Fin::No,
            header: [0; HEADER_LEN],
            header_of: None,
            messages: 0,
            bytes: 0,
            writes: 0,
        };
        Outbox {
            queue: Mutex::new(queue),
            closing: AtomicBool::new(false),
            room: Condvar::new(),
            work: Condvar::new(),
        }
    }

    pub fn socket(&self) -> Option<Arc<TcpStream>> {
        lock(&self.queue).socket.clone()
    }

    /// Messages and bytes accepted, and bytes that wait.
    pub fn numbers(&self) -> (u64, u64, usize) {
        let queue = lock(&self.queue);
        (queue.messages, queue.bytes, queue.used())
    }

    /// The end is to be a reset, for which no FIN may come.
    pub fn is_to_be_reset(&self) -> bool {
        lock(&self.queue).fin == Fin::Never
    }

    pub fn is_fin_sent(&self) -> bool {
        lock(&self.queue).fin == Fin::Sent
    }

    pub fn failure(&self) -> Option<CloseReason> {
        lock(&self.queue).failure.clone()
    }

    /// Accepts no more messages; sends FIN (to a lanpeer) when those accepted are written.
    pub fn finish(&self, reason: CloseReason, dialect: Dialect) {
        let mut queue = lock(&self.queue);
        queue.closed.get_or_insert(reason);
        // Whoever sees this finds the reason.
        self.closing.store(true, Ordering::SeqCst);
        if dialect == Dialect::Lanpeer && queue.fin == Fin::No {
            queue.fin = Fin::WhenEmpty;
        }
        if dialect == Dialect::Peerpy && queue.fin == Fin::No {
            queue.fin = Fin::Never;
        }
        self.settle(&mut queue);
        self.room.notify_all();
        self.work.notify_one();
    }

    /// A close has begun for which nobody waits.
    pub fn abandon_close(&self) {
        lock(&self.queue).deserted = true;
    }

    /// The connection is over: drops what is queued, and lets go of the socket.
    pub fn give_up(&self, reason: CloseReason) -> Option<Arc<TcpStream>> {
        let mut queue = lock(&self.queue);
        queue.closed.get_or_insert(reason);
        self.closing.store(true, Ordering::SeqCst);
        queue.drop_all();
        self.room.notify_all();
        self.work.notify_one();
        queue.socket.take()
    }

    /// `None`: the deadline has passed.
    pub fn wait_for_room<'a>(
        &self,
        mut queue: MutexGuard<'a, Queue>,
        deadline: Option<Instant>,
    ) -> Option<MutexGuard<'a, Queue>> {
        queue.waiters += 1;
        let mut queue = match deadline {
            None => self
                .room
                .wait(queue)
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    queue.waiters -= 1;
                    return None;
                }
                self.room
                    .wait_timeout(queue, left)
                    .unwrap_or_else(|poisoned| poisoned.into_inner())
                    .0
            }
        };
        queue.waiters -= 1;
        Some(queue)
    }

    /// After bytes have left the queue: tells those who wait, and sends the FIN that is due.
    pub fn settle(&self, queue: &mut Queue) {
        if queue.waiters > 0 {
            self.room.notify_all();
        }
        if queue.fin == Fin::WhenEmpty && queue.is_idle() && self.seal_end(queue) {
            queue.fin = Fin::Sent;
            if let Some(socket) = &queue.socket {
                let _ = socket.shutdown(Shutdown::Write);
            }
        }
    }

    /// The end of an encrypted connection has a record of its own; `false`: it is still to be
    /// written, as what is queued is.
    fn seal_end(&self, queue: &mut Queue) -> bool {
        let (Some(sealing), Some(socket)) = (&mut queue.sealing, &queue.socket) else {
            return true;
        };
        match sealing.end(|records| write_now(socket, records)) {
            Ok(written) => written,
            Err(error) => {
                self.fail(queue, &error);
                true
            }
        }
    }

    /// A write failed. The reader goes on: what arrived before is still to be delivered, and it
    /// finds the end by itself.
    pub fn fail(&self, queue: &mut Queue, error: &io::Error) {
        let reason = CloseReason::from_io(error);
        queue.failure.get_or_insert(reason.clone());
        queue.closed.get_or_insert(reason);
        queue.drop_all();
        if let Some(socket) = &queue.socket {
            let _ = socket.shutdown(Shutdown::Read);
        }
        self.room.notify_all();
    }
}
