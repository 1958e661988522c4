//! Messages of which only the newest counts.
//!
//! The system's own buffer would hold old ones, so it is kept short from the first of them on. What it
//! does not take at once is left to the writer; and while it has taken nothing of a message, a newer one
//! replaces that.

use std::sync::Arc;

use super::Sender;
use super::exit;
use super::head::Shape;
use crate::error::SendError;
use crate::format::Encoded;
use crate::net::os::lock;
use crate::net::os::socket::keep_send_buffer_short;
use crate::net::os::sync::Ordering;

impl Sender {
    /// Sends a message that a newer one may replace while nothing of it has left. Never waits.
    ///
    /// All is decided under one lock: the older message is taken out and the newer one put in before another
    /// thread can write.
    pub fn send_latest(self: &Arc<Sender>, message: Encoded<'_>) -> Result<(), SendError> {
        self.check(&message)?;
        let payload = message.payload;
        let mut queue = lock(&self.queue);
        if let Some(reason) = queue.refusal() {
            return Err(SendError::Closed(reason.clone()));
        }
        self.keep_short();
        let withdrawn = queue.withdraw();
        let shape = match self.shape(&queue, &message) {
            Ok(shape) => shape,
            Err(error) => {
                queue.restore(withdrawn);
                return Err(error);
            }
        };
        let header_len = queue.head.make(payload.len(), message.data_type, shape);
        let is_free = queue.offer_latest(payload.len(), withdrawn);
        // The messages behind the first of a stream have no head, so that one is never taken out.
        let is_first = self.stream.is_on() && matches!(shape, Shape::Frame | Shape::Text);
        if is_free {
            let written = self.write_directly(&mut queue, header_len, payload)?;
            if written == header_len + payload.len() {
                self.settle(&mut queue);
            } else {
                let at_exit = exit::note(self, &mut queue);
                match written {
                    0 if !is_first => queue.push_latest(header_len, payload),
                    _ => queue.push_rest_of_latest(header_len, written, payload),
                }
                self.wake_writer(queue);
                at_exit.settle(self);
            }
            self.context.note_write();
            return Ok(());
        }
        let at_exit = exit::note(self, &mut queue);
        match is_first {
            true => queue.push(header_len, 0, payload),
            false => queue.push_latest(header_len, payload),
        }
        self.write_unless_held(queue);
        at_exit.settle(self);
        Ok(())
    }

    /// From now on the system is to hold little. The flag only makes sure that it is asked once.
    fn keep_short(&self) {
        if !self.is_short.swap(true, Ordering::Relaxed) {
            if let Some(socket) = lock(&self.socket).as_ref() {
                keep_send_buffer_short(socket);
            }
        }
    }

    /// How many messages were replaced by newer ones.
    pub fn replaced(&self) -> u64 {
        lock(&self.queue).replaced()
    }
}

#[cfg(test)]
#[cfg(any(target_os = "linux", target_os = "android"))]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use socket2::SockRef;

    use crate::net::os::lock;
    use crate::net::send::Sender;
    use crate::{Bytes, ConnectOptions, Peer};

    #[derive(Debug, PartialEq)]
    struct Options {
        /// So many bytes may wait in the system that it cannot send yet.
        unsent: u32,
        send_buffer: usize,
        receive_buffer: usize,
        write_timeout: Option<Duration>,
    }

    impl Options {
        fn of(socket: &TcpStream) -> Options {
            let options = SockRef::from(socket);
            Options {
                unsent: options.tcp_notsent_lowat().unwrap(),
                send_buffer: options.send_buffer_size().unwrap(),
                receive_buffer: options.recv_buffer_size().unwrap(),
                write_timeout: socket.write_timeout().unwrap(),
            }
        }

        fn of_sender(sender: &Sender) -> Options {
            Options::of(lock(&sender.socket).as_ref().expect("it is open"))
        }
    }

    /// The two sizes of buffers are the system's, which makes them larger as it likes, and never smaller than
    /// it began with: a size of our own would be kept.
    #[test]
    fn the_system_holds_little_that_it_cannot_send_and_chooses_its_buffers() {
        let (alice, bob) = (
            Peer::bind("127.0.0.1:0").unwrap(),
            Peer::bind("127.0.0.1:0").unwrap(),
        );
        let (taker, addr) = (bob.clone(), bob.local_addr());
        let accepting = std::thread::spawn(move || taker.accept::<Bytes>().unwrap());
        let options = ConnectOptions::new().latest();
        let to_bob = options.connect::<Bytes>(&alice, addr).unwrap();
        let to_alice = accepting.join().unwrap();
        let sender = |peer: &Peer| {
            let links = peer.endpoint().links();
            std::sync::Arc::clone(links[0].sender())
        };

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let plain = Options::of(&TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        for peer in [&alice, &bob] {
            let before = Options::of_sender(&sender(peer));
            assert_eq!(before.unsent, plain.unsent);
            assert!(before.send_buffer >= plain.send_buffer);
            // Also where only the newest is kept.
            assert!(before.receive_buffer >= plain.receive_buffer);
        }
        let before = Options::of_sender(&sender(&bob));
        to_alice.send_latest(&[7; 1000]).unwrap();
        let after = Options::of_sender(&sender(&bob));
        assert_eq!(after.unsent, 128 << 10);
        // The system rounds it up to its ticks: 5 ms are 8 where it has 250 a second.
        let slice = after.write_timeout.expect("a write comes back");
        assert!((5..=20).contains(&slice.as_millis()), "{slice:?}");
        assert!(after.send_buffer >= before.send_buffer);
        assert_eq!(to_bob.recv().unwrap(), [7; 1000]);
        assert_eq!(Options::of_sender(&sender(&alice)).unsent, plain.unsent);
    }
}
