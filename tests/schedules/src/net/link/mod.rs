//! A connection as far as its queues and its threads know it, without the reader.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, OnceLock};

use super::context::Context;
use super::life::{Life, Manner, Outcome};
use super::os::socket::{TcpStream, reset, without_waiting};
use super::os::table::Ends;
use super::recv::Wake;
use super::send::{Last, Sender, Terms, Wait};
use super::wire::record::RecordWriter;
use super::wire::stream::Stream;
use super::wire::write_half::WriteHalf;
use crate::error::{CloseReason, SendError};
use crate::format::{DataType, Dialect, Encoded};

pub(crate) const HERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);

pub(crate) struct Link {
    pub id: u64,
    pub dialect: Dialect,
    pub ends: Ends,
    pub life: Arc<Life>,
    pub sender: Arc<Sender>,
    pub queue: OnceLock<Arc<dyn Wake>>,
}

impl Link {
    pub fn new(
        context: &Arc<Context>,
        socket: TcpStream,
        records: Option<RecordWriter>,
        dialect: Dialect,
    ) -> Arc<Link> {
        let terms = Terms {
            id: 1,
            peer_addr: HERE.into(),
            data_type: DataType::Bytes,
            strict: true,
            dialect,
        };
        let life = Arc::new(Life::default());
        let half = WriteHalf::new(Arc::new(socket), records);
        let stream = Arc::new(Stream::new(None));
        Arc::new(Link {
            id: 1,
            dialect,
            ends: (HERE, HERE),
            sender: Sender::new(terms, half, context, &life, &stream),
            life,
            queue: OnceLock::new(),
        })
    }

    pub fn send(&self, message: Encoded<'_>, wait: Wait) -> Result<(), SendError> {
        self.sender.send(message, wait, None)
    }

    // What a system without a table of connections asks for, which this one has.

    pub fn sent(&self) -> (u64, bool) {
        let (messages, _, waiting) = self.sender.numbers();
        (messages, waiting > 0)
    }

    pub fn has_unread(&self) -> bool {
        false
    }

    pub fn heard(&self) -> u64 {
        0
    }

    pub fn want_heartbeat(self: &Arc<Link>) {}

    pub fn flush(&self) -> Result<(), SendError> {
        self.sender.drain(None)
    }

    /// Returns at once.
    pub fn close_in_background(&self, reason: CloseReason) {
        self.life.begin(reason, Manner::Finish);
        without_waiting(|| self.sender.close(self.life.why(), Last::Goodbye));
    }

    /// As the reader does where frames are spoken, when it has read the other side's goodbye.
    pub fn answer(&self, taken: u64) {
        self.life.begin(CloseReason::ClosedThere, Manner::Finish);
        without_waiting(|| self.sender.close(self.life.why(), Last::Taken(taken)));
    }

    /// Returns when all is written.
    pub fn close(&self) {
        self.close_in_background(CloseReason::ClosedHere);
        let _ = self.sender.drain(None);
    }

    pub fn kill(&self, reason: CloseReason) {
        let Some(reason) = self.life.end(reason, Outcome::Unknown) else {
            return;
        };
        if let Some(socket) = self.sender.give_up(reason) {
            reset(&socket);
        }
        if let Some(queue) = self.queue.get() {
            queue.wake();
        }
    }

    /// After both FINs.
    pub fn end(&self) {
        if let Some(reason) = self.life.end(CloseReason::ClosedHere, Outcome::Complete) {
            drop(self.sender.give_up(reason));
        }
    }
}
