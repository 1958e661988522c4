//! One message to many connections.

use std::sync::Arc;
use std::time::Duration;

use crate::error::SendError;
use crate::format::{DataType, Dialect, Encode, EncodeError, Encoded, Format, with_encoded};
use crate::info::ConnectionInfo;
use crate::net::link::Link;
use crate::net::os::sync::Instant;
use crate::net::{InLine, Wait, in_burst};
use crate::peer::Peer;

impl Peer {
    /// Sends one message to every connection of the format's data type, and says who got it.
    ///
    /// The message is encoded once. Never waits: a connection whose send queue is full is reported with
    /// [`SendError::Full`] and holds up nobody.
    ///
    /// Only the data type decides, not the type of the items: `Json<String>` goes to every connection of
    /// `json`, whatever that receives. To choose among them, use
    /// [`broadcast_where`](Peer::broadcast_where). With [`Dynamic`](crate::Dynamic) it goes to the
    /// connections of the message's data type. If there are none, the report is empty.
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
    /// for (info, error) in &report.failed {
    ///     eprintln!("{} did not get it: {error}", info.peer_addr());
    /// }
    /// assert_eq!(report.sent[0].peer_addr(), bob.local_addr());
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
        self.broadcast_to(item, &self.endpoint().links())
    }

    /// As [`broadcast`](Peer::broadcast), but only to those connections for which `wanted` returns true.
    ///
    /// It is asked once for each connection of the data type, before anything is sent. It may ask
    /// or close what it likes: nothing is locked meanwhile.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let carol = Peer::bind("127.0.0.1:0")?;
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<String>>(to));
    /// # let from_alice = bob.accept::<Json<String>>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// # let (to, asker) = (carol.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<String>>(to));
    /// # let carols = carol.accept::<Json<String>>()?;
    /// # let to_carol = asking.join().unwrap()?;
    /// // Alice is connected to Bob and to Carol. Bob alone has asked for news.
    /// let wants_news = [to_bob.id()];
    /// let report =
    ///     alice.broadcast_where::<Json<String>>(|info| wants_news.contains(&info.id()), "news")?;
    /// assert_eq!(report.sent.len(), 1);
    /// assert_eq!(from_alice.recv()?, "news");
    /// # to_carol.close()?;
    /// # assert!(carols.recv().is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SendError::Encode`]: nobody got it.
    pub fn broadcast_where<F: Format>(
        &self,
        mut wanted: impl FnMut(&ConnectionInfo) -> bool,
        item: &(impl Encode<F> + ?Sized),
    ) -> Result<Broadcast, SendError> {
        let data_type = item.data_type();
        let all = self.endpoint().links();
        // The program is asked once for each connection, and before anything is sent.
        let wanted = all
            .iter()
            .filter(|link| is_of_type(data_type, link) && wanted(&ConnectionInfo::new(link)));
        let links: Vec<Arc<Link>> = wanted.cloned().collect();
        self.broadcast_to(item, &links)
    }

    fn broadcast_to<F: Format>(
        &self,
        item: &(impl Encode<F> + ?Sized),
        links: &[Arc<Link>],
    ) -> Result<Broadcast, SendError> {
        let mut report = Broadcast::default();
        try_all(item, links, &mut report, |report, link, _, error| {
            report.failed.push((ConnectionInfo::new(link), error));
        })?;
        Ok(report)
    }

    /// As [`broadcast`](Peer::broadcast), and then waits for the connections that were full, for at most
    /// `timeout` in all. The others get their message at once. Those that had no room in time are reported
    /// with [`SendError::Timeout`].
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
    /// let (info, error) = &report.failed[0];
    /// assert_eq!((info.peer_addr(), error), (bob.local_addr(), &SendError::Timeout));
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
        try_all(
            item,
            &self.endpoint().links(),
            &mut report,
            |report, link, message, error| match (message, error) {
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
                (_, error) => report.failed.push((ConnectionInfo::new(link), error)),
            },
        )?;
        while !full.is_empty() {
            let now = Instant::now();
            let late = deadline.is_some_and(|deadline| now >= deadline);
            // Waits for the first full connection, but not long: another may have room earlier.
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
}

/// Is the connection one for a message of this type? `None`: the program has not said which it is.
#[inline]
fn is_of_type(data_type: Option<DataType>, link: &Link) -> bool {
    data_type.is_none_or(|own| own == link.data_type)
}

/// Encodes once for each dialect that occurs, and sends to the connections of the data type that have
/// room; `failed_at` gets the others. If the value cannot be encoded in one dialect alone, the connections
/// of that dialect fail. `Err`: nobody got it.
fn try_all<F: Format>(
    item: &(impl Encode<F> + ?Sized),
    links: &[Arc<Link>],
    report: &mut Broadcast,
    mut failed_at: impl FnMut(&mut Broadcast, &Arc<Link>, Option<Encoded<'_>>, SendError),
) -> Result<(), SendError> {
    let data_type = item.data_type();
    report.sent.reserve(links.len());
    // One broadcast is no burst, however many connections it goes to. So it is asked once whether the thread
    // was in a burst before.
    let burst = in_burst();
    let to = |dialect| {
        let is_meant =
            move |link: &&Arc<Link>| link.dialect == dialect && is_of_type(data_type, link);
        links.iter().filter(is_meant).peekable()
    };
    let mut encoded = false;
    let mut failed = None;
    for dialect in Dialect::ALL {
        if to(dialect).peek().is_none() {
            continue;
        }
        let result = with_encoded(item, dialect, |message| {
            for link in to(dialect) {
                match link.send(message, Wait::No, Some(burst)) {
                    Ok(()) => report.sent.push(ConnectionInfo::new(link)),
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
/// Holding one does not keep the connections open.
///
/// ```
/// let peer = lanpeer::Peer::bind("127.0.0.1:0")?;
/// let report = peer.broadcast::<lanpeer::Bytes>("to all")?;
/// assert_eq!((report.sent.len(), report.failed.len()), (0, 0)); // nobody is connected
/// # Ok::<(), lanpeer::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Broadcast {
    /// The connections that accepted it, as with an `Ok` from [`send`](crate::Connection::send).
    pub sent: Vec<ConnectionInfo>,
    /// The connections that did not, and why.
    pub failed: Vec<(ConnectionInfo, SendError)>,
}

impl Broadcast {
    fn add(&mut self, link: &Arc<Link>, result: Result<(), SendError>) {
        let info = ConnectionInfo::new(link);
        match result {
            Ok(()) => self.sent.push(info),
            Err(error) => self.failed.push((info, error)),
        }
    }
}
