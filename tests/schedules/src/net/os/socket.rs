//! A socket that takes so many bytes and then no more until the other side reads.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;

use shuttle::sync::{Condvar, Mutex, MutexGuard};

use crate::net::os::sync::{dawdle, one_in, up_to};

pub struct TcpStream(pub Arc<Wire>);

/// What is between two sockets.
pub struct Wire {
    state: Mutex<State>,
    /// For the other side.
    changed: Condvar,
    /// The system's buffer.
    room: usize,
}

#[derive(Default)]
pub struct State {
    /// Everything that the socket took, and how much of it is read.
    pub taken: Vec<u8>,
    pub read: usize,
    /// How many of them were sent.
    pub fins: usize,
    /// No descriptor is left.
    pub closed: bool,
    /// The last close is to be a reset.
    pub linger: bool,
    /// The other side has reset the connection.
    pub broken: bool,
    /// The other side's machine has gone: nothing is acknowledged after so many bytes.
    pub gone: Option<usize>,
}

impl Wire {
    pub fn new(room: usize) -> Arc<Wire> {
        Arc::new(Wire {
            state: Mutex::default(),
            changed: Condvar::new(),
            room,
        })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics under a lock")
    }

    /// The other side: reads until the end, or until so many bytes.
    pub fn read_until(&self, enough: usize) {
        let mut state = self.state();
        while state.read < enough {
            if state.read < state.taken.len() {
                state.read += 1 + up_to(state.taken.len() - state.read - 1);
                drop(state);
                dawdle();
                state = self.state();
            } else if state.fins > 0 || state.closed || state.broken {
                return;
            } else {
                state = self.changed.wait(state).expect("no poison");
            }
        }
    }

    pub fn break_off(&self) {
        self.state().broken = true;
        self.changed.notify_all();
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.state();
        if state.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        assert_eq!(state.fins, 0, "a write behind the FIN");
        let total: usize = parts.iter().map(|part| part.len()).sum();
        assert!(total > 0, "an empty write");
        let mut n = total.min(self.room - (state.taken.len() - state.read));
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if one_in(4) {
            n = 1 + up_to(n - 1);
        }
        let written = n;
        for part in parts {
            let part = &part[..part.len().min(n)];
            state.taken.extend_from_slice(part);
            n -= part.len();
        }
        drop(state);
        self.changed.notify_all();
        Ok(written)
    }
}

impl TcpStream {
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how == Shutdown::Write {
            self.0.state().fins += 1;
            self.0.changed.notify_all();
        }
        Ok(())
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.changed.notify_all();
    }
}

pub fn keep_send_buffer_short(_: &TcpStream) {}

pub fn write_now(stream: &TcpStream, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    stream.0.write(parts)
}

shuttle::thread_local! {
    static MAY_WAIT: Cell<bool> = Cell::new(true);
}

/// Nothing in `work` may wait for the socket.
pub fn without_waiting<T>(work: impl FnOnce() -> T) -> T {
    MAY_WAIT.with(|may| may.set(false));
    let result = work();
    MAY_WAIT.with(|may| may.set(true));
    result
}

pub fn write_slice(stream: &TcpStream, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    assert!(MAY_WAIT.with(Cell::get), "a wait for the socket");
    dawdle();
    stream.0.write(parts)
}

/// As in the library.
pub const WRITE_SLICE: std::time::Duration = std::time::Duration::from_millis(50);

pub fn is_pause(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

pub fn wake_reader(_: &TcpStream) {}

pub fn reset(stream: &TcpStream) {
    stream.0.state().linger = true;
}
