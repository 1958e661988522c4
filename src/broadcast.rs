//! One message to many connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::SendError;
use crate::format::{with_encoded, Dialect, Encode, Format};
use crate::net::link::Link;
use crate::net::{Burst, Wait};
use crate::peer::Peer;

impl Peer {
    /// Sends one message to every connection of the format's data type, and says who got it.
    ///
    /// It is encoded once. Never waits: a connection whose send queue is full is reported with
    /// [`SendError::Full`], so that it holds up nobody.
    ///
    /// ```
    /// use lanpeer::{Json, Peer};
    ///
    /// let peer = Peer::bind("127.0.0.1:0")?;
    /// let report = peer.broadcast::<Json<String>>("to all").unwrap();
    /// for (addr, error) in &report.failed {
    ///     eprintln!("{addr} did not get it: {error}");
    /// }
    /// assert_eq!(report.sent.len(), 0); // nobody is connected
    /// # Ok::<(), lanpeer::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`SendError::Encode`]: nobody got it.
    pub fn broadcast<F: Format>(
        &self,
        item: &(impl Encode<F> + ?Sized),
    ) -> Result<Broadcast, SendError> {
        let links = self.hub().links();
        let mut report = Broadcast::default();
        report.sent.reserve(links.len());
        self.each(item, &links, Wait::No, |link, result| {
            report.add(link, result)
        })?;
        Ok(report)
    }

    /// As [`broadcast`](Peer::broadcast), and then waits, for at most `timeout` in all, for the
    /// connections that were full. The others have their message at once.
    ///
    /// # Errors
    /// [`SendError::Encode`]: nobody got it.
    pub fn broadcast_timeout<F: Format>(
        &self,
        item: &(impl Encode<F> + ?Sized),
        timeout: Duration,
    ) -> Result<Broadcast, SendError> {
        let wait = Instant::now()
            .checked_add(timeout)
            .map_or(Wait::Forever, Wait::Until);
        let links = self.hub().links();
        let mut report = Broadcast::default();
        let mut full = Vec::new();
        self.each(item, &links, Wait::No, |link, result| match result {
            Err(SendError::Full) => full.push(Arc::clone(link)),
            result => report.add(link, result),
        })?;
        self.each(item, &full, wait, |link, result| report.add(link, result))?;
        Ok(report)
    }

    /// Encodes once for each dialect that occurs, and sends to all.
    fn each<F: Format>(
        &self,
        item: &(impl Encode<F> + ?Sized),
        links: &[Arc<Link>],
        wait: Wait,
        mut told: impl FnMut(&Arc<Link>, Result<(), SendError>),
    ) -> Result<(), SendError> {
        // One broadcast is no burst, however many it goes to: its messages need not be gathered.
        let burst = Burst::now();
        for dialect in [Dialect::Lanpeer, Dialect::Peerpy] {
            let mut to = links
                .iter()
                .filter(|link| link.dialect == dialect)
                .peekable();
            if to.peek().is_none() {
                continue;
            }
            with_encoded::<F, _>(item, dialect, |message| {
                for link in to
                    .filter(|link| F::DATA_TYPE.is_none() || link.data_type == message.data_type())
                {
                    told(link, link.send(message, wait, Some(burst)));
                }
            })?;
        }
        Ok(())
    }
}

/// Who got a message, and who did not: the result of [`Peer::broadcast`].
///
/// Each connection is named by where its peer listens.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Broadcast {
    /// They accepted it, as with an `Ok` from [`send`](Connection::send).
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
