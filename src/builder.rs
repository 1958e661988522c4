//! The settings of a peer.

use std::time::Duration;

use crate::net::discovery;
use crate::options::Settings;

/// Settings of a peer, each with a default; [`bind`](PeerBuilder::bind) makes the peer.
///
/// ```
/// use lanpeer::Peer;
/// use std::time::Duration;
///
/// let peer = Peer::builder()
///     .timeout(Duration::from_millis(500))
///     .max_message_size(1 << 20)
///     .bind("127.0.0.1:0")?;
/// # Ok::<(), lanpeer::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct PeerBuilder {
    pub(crate) settings: Settings,
    pub(crate) discovery: discovery::Settings,
}

impl PeerBuilder {
    /// How long a handshake may take, the TCP connection included: as the side that asks, and as
    /// the side that waits for a HELLO. Default: 2 seconds. At most a day.
    pub fn timeout(mut self, time: Duration) -> PeerBuilder {
        self.settings.timeout = time;
        self
    }

    /// How long a graceful end may take: [`close`](crate::Connection::close), a dropped
    /// connection, and [`stop`](crate::Peer::stop). Default: 5 seconds. At most a day.
    pub fn close_timeout(mut self, time: Duration) -> PeerBuilder {
        self.settings.close_timeout = time;
        self
    }

    /// Connections in both directions, and offers that wait, at one time. A further offer is denied
    /// with the reason `busy`; a further `connect` is
    /// [`Error::TooManyConnections`](crate::Error::TooManyConnections). Default: 1,024.
    pub fn max_connections(mut self, connections: usize) -> PeerBuilder {
        self.settings.max_connections = connections;
        self
    }

    /// The largest payload that is sent or received, in bytes. A larger one that is announced ends
    /// its connection with [`CloseReason::TooLarge`](crate::CloseReason::TooLarge), before any
    /// memory is reserved for it. Default: 64 MiB.
    pub fn max_message_size(mut self, bytes: usize) -> PeerBuilder {
        self.settings.max_message_size = bytes;
        self
    }

    /// Messages that wait, per connection, for the program to receive them. While so many wait, the
    /// connection is not read. The queue's memory, one item's size for each message, is reserved
    /// when the connection is made. Default: 1,024.
    pub fn receive_queue(mut self, messages: usize) -> PeerBuilder {
        self.settings.receive_queue = messages;
        self
    }

    /// The same in bytes: payloads as they came over the wire, plus the size of the item's type.
    /// One message may go beyond it. Default: 16 MiB.
    ///
    /// Decoded values can be larger than their payloads: a JSON array of one-digit numbers takes 2
    /// bytes for each on the wire, and 32 in a `serde_json::Value`.
    pub fn receive_queue_bytes(mut self, bytes: usize) -> PeerBuilder {
        self.settings.receive_queue_bytes = bytes;
        self
    }

    /// Bytes that wait, per connection, to be written, headers included. While so many wait, `send`
    /// waits. One message may go beyond it. Default: 1 MiB.
    pub fn send_queue(mut self, bytes: usize) -> PeerBuilder {
        self.settings.send_queue = bytes;
        self
    }

    /// How long the other side's system may be silent before a connection ends with
    /// [`CloseReason::TimedOut`](crate::CloseReason::TimedOut); `None`: as long as the system's
    /// own defaults say, hours. Default: 10 seconds. At least 4 seconds, at most a day.
    ///
    /// Idle connections are probed (TCP keepalive) after half of that time. While data waits to be
    /// acknowledged, Linux is asked whether the other side still answers; other systems then notice
    /// a dead remote only when they give up retransmitting. A program that is merely slow to
    /// receive is never taken for dead. But Linux asks one that has taken nothing for a while ever
    /// more rarely: if its machine dies then, that is noticed after up to about three times as long
    /// as it has taken nothing, at most some minutes. A connection whose receive queue is full here
    /// is not read, and so ends only as the program takes messages.
    pub fn keepalive(mut self, silence: Option<Duration>) -> PeerBuilder {
        self.settings.keepalive = silence;
        self
    }

    /// How deep lists, dicts and the like may nest in a received pickle, from 1 to 128: more ends
    /// the connection with [`CloseReason::Malformed`](crate::CloseReason::Malformed), and so does a
    /// list that contains itself. Default: 128, which any thread's stack holds.
    #[cfg(feature = "pickle")]
    #[cfg_attr(docsrs, doc(cfg(feature = "pickle")))]
    pub fn max_pickle_depth(mut self, containers: usize) -> PeerBuilder {
        self.settings.pickle.depth = containers;
        self
    }

    /// How large a received pickle may become, in bytes. Default: 64 MiB.
    ///
    /// In a pickle one value can stand in many places, and each place gets its own copy: so
    /// `x = [x, x]` thirty times, 250 bytes, is a list of a milliard elements. What counts is 32
    /// bytes for every value in every place, and what texts and bytes hold (32 bytes for each of
    /// those where bytes become a sequence, such as `Vec<u8>`). More ends the connection with
    /// [`CloseReason::Malformed`](crate::CloseReason::Malformed).
    ///
    /// A pickle may always become 33 times its own size, which none exceeds that repeats nothing:
    /// [`max_message_size`](PeerBuilder::max_message_size) is the bound for those. Above that, what
    /// a message became, rather than its payload, is what
    /// [`receive_queue_bytes`](PeerBuilder::receive_queue_bytes) counts.
    #[cfg(feature = "pickle")]
    #[cfg_attr(docsrs, doc(cfg(feature = "pickle")))]
    pub fn max_pickle_expansion(mut self, bytes: usize) -> PeerBuilder {
        self.settings.pickle.expansion = bytes;
        self
    }

    // Discovery

    /// What this peer is called, for people: at most 24 bytes, without control characters and
    /// without `|`, `&` and `=`. Names need not be unique. Default: the name of the host.
    pub fn name(mut self, name: impl Into<String>) -> PeerBuilder {
        self.discovery.name = Some(name.into());
        self
    }

    /// What program this is, so that others can look for just that: at most 16 bytes, with the
    /// same restrictions as a name. Default: none.
    pub fn service(mut self, service: impl Into<String>) -> PeerBuilder {
        self.discovery.service = service.into();
        self
    }

    /// Shall the peer keep quiet when others search? They can connect to it all the same. Can be
    /// switched while it runs: [`Peer::set_invisible`](crate::Peer::set_invisible). Default: no.
    pub fn invisible(mut self, invisible: bool) -> PeerBuilder {
        self.discovery.invisible = invisible;
        self
    }

    /// The UDP port of discovery, the same for all who want to find each other. Default: 1024,
    /// which is peerpy's.
    pub fn discovery_port(mut self, port: u16) -> PeerBuilder {
        self.discovery.port = port;
        self
    }
}
