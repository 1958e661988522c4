//! The writing half of a connection's socket. Whoever owns it may write, so its owner has the turn.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::record::RecordWriter;
use crate::net::os::socket::{write_now, write_slice};
use crate::net::os::sync::TcpStream;

/// The socket and, of an encrypted connection, what encrypts. It is moved, never shared: it lies in the
/// send queue, under its lock, or is with the one thread that writes without the lock. So bytes of two
/// threads cannot mix.
pub(crate) struct WriteHalf {
    /// Shared with the reading half and with those who end the connection, who need no turn for that.
    socket: Arc<TcpStream>,
    /// The way out of an encrypted connection.
    records: Option<RecordWriter>,
}

/// What a queue knows of the half that it keeps while nobody writes.
pub(crate) trait Unwritten {
    /// Bytes that are sealed and not yet written: the socket is full.
    fn left(&self) -> usize;

    /// Gives up what is sealed and not yet written: the connection is over.
    fn clear(&mut self);
}

impl Unwritten for WriteHalf {
    fn left(&self) -> usize {
        self.records.as_ref().map_or(0, RecordWriter::left)
    }

    fn clear(&mut self) {
        if let Some(records) = &mut self.records {
            records.clear();
        }
    }
}

/// How long a write may wait for the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It writes what the socket takes at once. For writes under the lock, and by threads that must not wait.
    None,
    /// At most [`WRITE_SLICE`](crate::net::os::socket::WRITE_SLICE), so that the thread sees soon when its
    /// connection was ended.
    Slice,
}

impl WriteHalf {
    pub fn new(socket: Arc<TcpStream>, records: Option<RecordWriter>) -> WriteHalf {
        WriteHalf { socket, records }
    }

    pub fn socket(&self) -> &Arc<TcpStream> {
        &self.socket
    }

    /// Writes once. Returns how much of `parts` is written, or sealed, which counts as written, since the
    /// rest of its record must follow.
    pub fn write(&mut self, parts: [&[u8]; 2], patience: Patience) -> io::Result<usize> {
        let write = match patience {
            Patience::None => write_now,
            Patience::Slice => write_slice,
        };
        match &mut self.records {
            None => {
                // An empty slice in front would cost the system call for nothing.
                let skip = usize::from(parts[0].is_empty());
                write(&self.socket, &parts.map(IoSlice::new)[skip..])
            }
            Some(records) => records.write(parts, |records| write(&self.socket, records)),
        }
    }

    /// Writes what ends this direction, before FIN: a record of its own on an encrypted connection, else
    /// nothing. `false`: a part of it is left.
    pub fn end(&mut self) -> io::Result<bool> {
        match &mut self.records {
            None => Ok(true),
            Some(records) => records.end(|records| write_now(&self.socket, records)),
        }
    }
}
