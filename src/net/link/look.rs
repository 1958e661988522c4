//! Looks at the socket by others than its reader.
//!
//! The system tells an error of a socket once, also to one who only looks. The next read is told
//! "end of input", as after a FIN; and behind our own FIN the two can not be told apart any more.
//! So what a look has met is kept, and whoever finds an end asks for it.

use std::net::TcpStream;
use std::time::Instant;

use super::Link;
use crate::error::CloseReason;
use crate::net::os::lock;
use crate::net::os::socket;
#[cfg(unix)]
use crate::net::wire::record::LAST_RECORD;

impl Link {
    /// Can something be read, or an end? Looks without waiting; `true` where that can not be told.
    pub(crate) fn is_readable(&self, socket: &TcpStream) -> bool {
        #[cfg(unix)]
        {
            self.look::<1>(socket).is_some()
        }
        #[cfg(not(unix))]
        {
            let _ = socket;
            true
        }
    }

    /// Has something come that was not read, other than an end? No where that can not be told.
    pub fn has_unread(&self) -> bool {
        self.holds_records() || self.reading().is_ok_and(|socket| self.is_unread(&socket))
    }

    #[cfg(unix)]
    fn is_unread(&self, socket: &TcpStream) -> bool {
        // Of an encrypted connection, the end is bytes too.
        let end = self.opening.is_some().then_some(LAST_RECORD);
        let seen = self.look::<32>(socket).unwrap_or(0);
        seen > 0 && Some(seen) != end
    }

    #[cfg(not(unix))]
    fn is_unread(&self, _: &TcpStream) -> bool {
        false
    }

    /// How much is there, up to N bytes; 0 is an end. `None`: nothing is.
    #[cfg(unix)]
    fn look<const N: usize>(&self, socket: &TcpStream) -> Option<usize> {
        // Held meanwhile: whoever finds the end waits here until it is known why.
        let mut met = lock(&self.met);
        match socket::peek::<N>(socket) {
            Ok(seen) => Some(seen),
            Err(error) if socket::is_pause(&error) => None,
            Err(error) => {
                met.get_or_insert(CloseReason::from_io(&error));
                Some(0)
            }
        }
    }

    /// What a look has met.
    pub(crate) fn met(&self) -> Option<CloseReason> {
        lock(&self.met).clone()
    }

    /// One that was not yet a connection's.
    pub(crate) fn has_met(&self, reason: CloseReason) {
        lock(&self.met).get_or_insert(reason);
    }

    /// Both sides have sent FIN: waits until the other side's system has acknowledged all of ours.
    /// `false`: it did not before the deadline, or reset the connection instead.
    pub(crate) fn is_acknowledged(&self, socket: &TcpStream, deadline: Instant) -> bool {
        socket::acknowledged(socket, deadline) && self.met().is_none()
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn a_reset_is_no_fin_also_where_a_look_meets_it_first() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let link = Link::without_threads(socket);
        let (mut remote, _) = listener.accept().unwrap();
        link.outbox.finish(CloseReason::ClosedHere, link.dialect);
        assert_eq!(remote.read(&mut [0; 1]).unwrap(), 0, "our FIN is there");
        socket::reset(&remote);
        drop(remote);

        let deadline = Instant::now() + SOON;
        while link.met().is_none() {
            assert!(!link.has_unread() && Instant::now() < deadline);
        }
        let socket = link.reading().unwrap();
        let (mut reading, mut chunk) = (&*socket, [0; 1]);
        assert_eq!(reading.read(&mut chunk).unwrap(), 0, "as after a FIN");
        assert_eq!(link.end_of_input(&socket), Err(CloseReason::Reset));
        assert!(!link.is_acknowledged(&socket, deadline));
    }
}
