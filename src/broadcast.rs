//! One message to many connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::SendError;
use crate::format::{DataType, Dialect, Encode, EncodeError, Encoded, Format, with_encoded};
use crate::net::link::Link;
use crate::net::{InLine, Wait, in_burst};
use crate::peer::Peer;

impl Peer {
    /// Sends one message to every connection of the format's data type, and says who got it.
    ///
    /// It is encoded once. Never waits: a connection whose send queue is full is reported with
    /// [`SendError::Full`], so that it holds up nobody.
    ///
    /// The data type alone decides, not the type of the items: `Json<String>` goes to every
    /// connection of `json`. With [`Dynamic`](crate::Dynamic) it goes to the connections of the
    /// message's data type. Where there is none, the report is empty.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<String>>(to));
    /// # let from_alice = bob.accept::<Json<String>>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// let report = alice.broadcast::<Json<String>>("to all")?;
    /// for (addr, error) in &report.failed {
    ///     eprintln!("{addr} did not get it: {error}");
    /// }
    /// assert_eq!(report.sent, [bob.local_addr()]);
    /// assert_eq!(from_alice.recv()?, "to all");
    /// assert!(alice.broadcast::<Bytes>("to nobody")?.sent.is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SendError::Encode`]: nobody got it.
    pub fn broadcast<F: Format>(
        &self,
        item: &(impl Encode<F> + ?Sized),
    ) -> Result<Broadcast, SendError> {
        let mut report = Broadcast::default();
        self.try_all(item, &mut report, |report, link, _, error| {
            report.failed.push((link.peer_addr, error));
        })?;
        Ok(report)
    }

    /// As [`broadcast`](Peer::broadcast), and then waits, for at most `timeout` in all, for the
    /// connections that were full. The others have their message at once. Those that had no room in
    /// time are reported with [`SendError::Timeout`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// let frame = vec![0; 1 << 20];
    /// let report = loop { // Bob takes nothing, so it becomes full
    ///     let report = alice.broadcast_timeout::<Bytes>(&frame, Duration::from_millis(10))?;
    ///     if report.sent.is_empty() { break report }
    /// };
    /// assert_eq!(report.failed, [(bob.local_addr(), SendError::Timeout)]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SendError::Encode`]: nobody got it.
    pub fn broadcast_timeout<F: Format>(
        &self,
        item: &(impl Encode<F> + ?Sized),
        timeout: Duration,
    ) -> Result<Broadcast, SendError> {
        let deadline = Instant::now().checked_add(timeout);
        let mut report = Broadcast::default();
        let mut full: Vec<Full> = Vec::new();
        self.try_all(item, &mut report, |report, link, message, error| {
            match (message, error) {
                (Some(message), SendError::Full) => {
                    let same = full.last().filter(|last| last.copy.dialect == link.dialect);
                    let copy = match same {
                        Some(last) => Arc::clone(&last.copy),
                        None => Arc::new(Copy::of(link.dialect, message)),
                    };
                    full.push(Full {
                        link: Arc::clone(link),
                        copy,
                        place: None,
                    });
                }
                (_, error) => report.failed.push((link.peer_addr, error)),
            }
        })?;
        while !full.is_empty() {
            let now = Instant::now();
            let late = deadline.is_some_and(|deadline| now >= deadline);
            // Waits for the first of them, but not long: another may have room earlier.
            let slice = deadline.map_or(now + SLICE, |deadline| deadline.min(now + SLICE));
            let mut wait = Wait::Until(slice);
            full.retain_mut(|full| {
                // The others only keep their places in the line.
                let wait = std::mem::replace(&mut wait, Wait::Until(now));
                match full.send(wait) {
                    Err(SendError::Timeout) if !late => return true,
                    result => report.add(&full.link, result),
                }
                false
            });
        }
        Ok(report)
    }

    /// Encodes once for each dialect that occurs, and sends to all who have room; `failed_at` gets the
    /// others. Where only one dialect has no form for the value, those who speak it are told so; `Err`: nobody got it.
    fn try_all<F: Format>(
        &self,
        item: &(impl Encode<F> + ?Sized),
        report: &mut Broadcast,
        mut failed_at: impl FnMut(&mut Broadcast, &Arc<Link>, Option<Encoded<'_>>, SendError),
    ) -> Result<(), SendError> {
        // One broadcast is no burst, however many it goes to: its messages need not be gathered.
        let burst = in_burst();
        let links = self.endpoint().links();
        report.sent.reserve(links.len());
        let data_type = item.data_type();
        let to = |dialect| {
            let of_type =
                move |link: &&Arc<Link>| data_type.is_none_or(|own| own == link.data_type);
            let speakers = links.iter().filter(move |link| link.dialect == dialect);
            speakers.filter(of_type).peekable()
        };
        let mut encoded = false;
        let mut failed = None;
        for dialect in [Dialect::Lanpeer, Dialect::Peerpy] {
            if to(dialect).peek().is_none() {
                continue;
            }
            let result = with_encoded(item, dialect, |message| {
                for link in to(dialect) {
                    match link.send(message, Wait::No, Some(burst)) {
                        Ok(()) => report.sent.push(link.peer_addr),
                        Err(error) => failed_at(report, link, Some(message), error),
                    }
                }
                Ok::<_, EncodeError>(())
            });
            match result {
                Ok(()) => encoded = true,
                Err(error) => failed = Some((dialect, error)),
            }
        }
        match failed {
            Some((_, error)) if !encoded => Err(error.into()),
            Some((dialect, error)) => {
                to(dialect).for_each(|link| failed_at(report, link, None, error.clone().into()));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// How long one full connection is waited for before the others are tried again.
const SLICE: Duration = Duration::from_millis(2);

/// A connection whose send queue has no room for its copy yet.
struct Full {
    link: Arc<Link>,
    copy: Arc<Copy>,
    /// Kept from one try to the next.
    place: Option<InLine>,
}

impl Full {
    fn send(&mut self, wait: Wait) -> Result<(), SendError> {
        let sender = self.link.sender();
        sender.send_in_line(self.copy.encoded(), wait, None, &mut self.place)
    }
}

/// An encoded message for those who have to wait for room.
struct Copy {
    dialect: Dialect,
    data_type: DataType,
    payload: Vec<u8>,
}

impl Copy {
    fn of(dialect: Dialect, message: Encoded<'_>) -> Copy {
        let (data_type, payload) = (message.data_type(), message.payload().to_vec());
        Copy {
            dialect,
            data_type,
            payload,
        }
    }

    fn encoded(&self) -> Encoded<'_> {
        Encoded::new(self.data_type, &self.payload)
    }
}

/// Who got a message, and who did not: the result of [`Peer::broadcast`].
///
/// Each connection is named by where its peer listens.
///
/// ```
/// let peer = lanpeer::Peer::bind("127.0.0.1:0")?;
/// let report = peer.broadcast::<lanpeer::Bytes>("to all").unwrap();
/// assert_eq!((report.sent.len(), report.failed.len()), (0, 0)); // nobody is connected
/// # Ok::<(), lanpeer::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Broadcast {
    /// They accepted it, as with an `Ok` from [`send`](crate::Connection::send).
    pub sent: Vec<SocketAddr>,
    /// They did not, and why.
    pub failed: Vec<(SocketAddr, SendError)>,
}

impl Broadcast {
    fn add(&mut self, link: &Link, result: Result<(), SendError>) {
        match result {
            Ok(()) => self.sent.push(link.peer_addr),
            Err(error) => self.failed.push((link.peer_addr, error)),
        }
    }
}
