//! The settings of a peer.
//!
//! A long file for the examples in its docs; the code is the smaller part.

use std::time::Duration;

use crate::net::discovery;
use crate::options::Settings;
#[cfg(feature = "secure")]
use crate::secure::{Allowed, Identity, PublicKey, Secret};

/// Settings of a peer, each with a default. [`bind`](PeerBuilder::bind) checks them and makes the peer.
///
/// ```
/// use lanpeer::{Error, Peer};
/// use std::time::Duration;
///
/// let builder = Peer::builder()
///     .timeout(Duration::from_millis(500))
///     .max_message_size(1 << 20);
/// assert!(builder.bind("127.0.0.1:0").is_ok());
/// let error = builder.receive_queue(0).bind("127.0.0.1:0").unwrap_err();
/// assert!(matches!(error, Error::InvalidOption { option: "receive_queue", .. }));
/// ```
#[derive(Clone, Debug, Default)]
pub struct PeerBuilder {
    pub(crate) settings: Settings,
    pub(crate) discovery: discovery::Settings,
}

impl PeerBuilder {
    /// How long a handshake may take, including the TCP connection: for the side that connects, and for the
    /// side that waits for a HELLO. Default: 2 seconds. More than zero, at most a day.
    ///
    /// ```
    /// # use std::{net::TcpListener, time::Duration};
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let time = Duration::from_millis(20);
    /// let alice = Peer::builder().timeout(time).bind("127.0.0.1:0")?;
    /// let silent = TcpListener::bind("127.0.0.1:0")?; // no peer: it answers nothing
    /// let error = alice.connect::<Bytes>(silent.local_addr()?).unwrap_err();
    /// assert!(matches!(error, Error::TimedOut { after, .. } if after == time));
    /// # Ok(()) }
    /// ```
    pub fn timeout(mut self, time: Duration) -> PeerBuilder {
        self.settings.timeout = time;
        self
    }

    /// How long a graceful end may take: [`close`](crate::Connection::close), a dropped connection,
    /// and [`stop`](crate::Peer::stop). Default: 5 seconds. More than zero, at most a day.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bob = Peer::builder().receive_queue(1).bind("127.0.0.1:0")?;
    /// let alice = Peer::builder().close_timeout(Duration::from_millis(20)).bind("127.0.0.1:0")?;
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// for _ in 0..3 { to_bob.send("one waits, one is in hand, one is not read")?; }
    /// assert_eq!(to_bob.close(), Err(CloseError::Timeout)); // Bob does not take them
    /// # Ok(()) }
    /// ```
    pub fn close_timeout(mut self, time: Duration) -> PeerBuilder {
        self.settings.close_timeout = time;
        self
    }

    /// The most connections in both directions and waiting offers at one time. A further offer is denied
    /// with the reason `busy`; a further `connect` fails with
    /// [`Error::TooManyConnections`](crate::Error::TooManyConnections). Default: 1,024. At least 1.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let alice = Peer::builder().max_connections(1).bind("127.0.0.1:0")?;
    /// # let bob = Peer::bind("127.0.0.1:0")?;
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// let error = alice.connect::<Bytes>(bob.local_addr()).unwrap_err(); // has one already
    /// assert!(matches!(error, Error::TooManyConnections { limit: 1 }));
    /// let error = bob.connect::<Bytes>(alice.local_addr()).unwrap_err();
    /// assert!(matches!(error, Error::Denied { reason: Some(reason), .. } if reason == "busy"));
    /// # Ok(()) }
    /// ```
    pub fn max_connections(mut self, connections: usize) -> PeerBuilder {
        self.settings.max_connections = connections;
        self
    }

    /// The largest payload that is sent or received, in bytes. If the other side announces a larger one, the
    /// connection ends with [`CloseReason::TooLarge`](crate::CloseReason::TooLarge), before any memory is
    /// reserved for it. Default: 64 MiB. At least 1.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bob = Peer::builder().max_message_size(4).bind("127.0.0.1:0")?;
    /// # let alice = Peer::bind("127.0.0.1:0")?;
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// assert_eq!(from_alice.send("12345"), Err(SendError::TooLarge { size: 5, limit: 4 }));
    /// to_bob.send("12345")?; // her own limit is larger
    /// assert!(from_alice.recv().is_err());
    /// assert_eq!(from_alice.close_reason(), Some(CloseReason::TooLarge { size: 5, limit: 4 }));
    /// # Ok(()) }
    /// ```
    pub fn max_message_size(mut self, bytes: usize) -> PeerBuilder {
        self.settings.max_message_size = bytes;
        self
    }

    /// The most messages of one connection that wait for the program. While as many wait, the connection
    /// is not read. Default: 4,096. At least 1.
    ///
    /// [`Connection::receiver`](crate::Connection::receiver) reserves memory for as many items at once;
    /// otherwise memory grows with what waits.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bob = Peer::builder().receive_queue(16).bind("127.0.0.1:0")?;
    /// # let alice = Peer::bind("127.0.0.1:0")?;
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// assert_eq!(from_alice.receiver().capacity(), Some(16));
    /// # Ok(()) }
    /// ```
    pub fn receive_queue(mut self, messages: usize) -> PeerBuilder {
        self.settings.receive_queue = messages;
        self
    }

    /// The most bytes of one connection that wait for the program: payloads as they came over the wire, plus
    /// the size of the item's type. A message larger than this is taken when the queue is empty. Default:
    /// 16 MiB. At least 1.
    ///
    /// Decoded values can be larger than their payloads: a JSON array of one-digit numbers takes 2
    /// bytes for each on the wire, and 32 in a `serde_json::Value`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bob = Peer::builder().receive_queue_bytes(1).bind("127.0.0.1:0")?;
    /// # let alice = Peer::bind("127.0.0.1:0")?;
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// for _ in 0..9 { to_bob.send("each is more than the queue")?; }
    /// for _ in 0..9 {
    ///     assert!(from_alice.stats().receive_queue_messages <= 1); // so they wait one by one
    ///     from_alice.recv()?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn receive_queue_bytes(mut self, bytes: usize) -> PeerBuilder {
        self.settings.receive_queue_bytes = bytes;
        self
    }

    /// The most bytes of one connection that wait to be written, including headers. While a message does
    /// not fit, `send` waits. A larger one goes in when the queue is empty, so at most this many bytes
    /// wait, or one message. Default: 1 MiB. At least 1.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bob = Peer::bind("127.0.0.1:0")?;
    /// let alice = Peer::builder().send_queue(1).bind("127.0.0.1:0")?;
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// let frame = vec![0; 100_000]; // each is more than the queue
    /// while to_bob.try_send(&frame).is_ok() {} // until the one before has to wait
    /// assert!(to_bob.stats().send_queue_bytes <= 128 + 100_000); // a header and one message
    /// # Ok(()) }
    /// ```
    pub fn send_queue(mut self, bytes: usize) -> PeerBuilder {
        self.settings.send_queue = bytes;
        self
    }

    /// The most requests of one connection that may be under way at once: this many of this side, and as many
    /// of the other side that this side has not answered. A further request of this side fails with
    /// [`RequestError::Full`](crate::RequestError::Full), one of the other side fails there with
    /// [`RequestError::Busy`](crate::RequestError::Busy); none waits for a place. The other side's unanswered
    /// requests are also bounded in bytes, by
    /// [`receive_queue_bytes`](PeerBuilder::receive_queue_bytes). Default: 16,384. At least 1.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let alice = Peer::bind("127.0.0.1:0")?;
    /// let bob = Peer::builder().max_requests(1).bind("127.0.0.1:0")?;
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Bytes>(to));
    /// # let from_alice = bob.accept::<Bytes>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// let requests = from_alice.requests();
    /// let slow = to_bob.request("anyone?", Duration::from_millis(1));
    /// assert_eq!(slow, Err(RequestError::TimedOut)); // Bob has it
    /// let error = to_bob.request("anyone else?", Duration::from_secs(5));
    /// assert_eq!(error, Err(RequestError::Busy));
    /// # drop(requests);
    /// # Ok(()) }
    /// ```
    pub fn max_requests(mut self, requests: usize) -> PeerBuilder {
        self.settings.max_requests = requests;
        self
    }

    /// How long the other side's system may be silent before a connection ends with
    /// [`CloseReason::TimedOut`](crate::CloseReason::TimedOut). `None`: the system's own default, which is
    /// hours. Default: 10 seconds. At least 4 seconds, at most a day.
    ///
    /// An idle connection is probed (TCP keepalive) after half of this time. While sent data is not
    /// acknowledged, lanpeer asks Linux whether the other side still answers; on other systems it asks the
    /// other side itself, by heartbeats. In the text protocol, those systems notice a dead remote only
    /// when they give up retransmitting.
    ///
    /// A program that is slow to receive is not taken for dead. But Linux probes a side that takes nothing
    /// less and less often: if its machine dies then, this is noticed after up to about three times the
    /// time for which it has taken nothing, at most some minutes. A connection whose receive queue is full
    /// here is not read: its end is noticed only when the program takes messages.
    ///
    /// ```
    /// use lanpeer::Peer;
    /// use std::time::Duration;
    ///
    /// for (silence, fits) in [(4, true), (3, false)] {
    ///     let silence = Some(Duration::from_secs(silence));
    ///     assert_eq!(Peer::builder().keepalive(silence).bind("127.0.0.1:0").is_ok(), fits);
    /// }
    /// assert!(Peer::builder().keepalive(None).bind("127.0.0.1:0").is_ok());
    /// ```
    pub fn keepalive(mut self, silence: Option<Duration>) -> PeerBuilder {
        self.settings.keepalive = silence;
        self
    }

    /// How long threads that wait for messages, or read them, spin before they sleep. Default: zero, never. At
    /// most 10 ms; 50 µs is a sensible choice.
    ///
    /// If answers come within some microseconds, spinning can halve the time of a round trip. It uses a
    /// core while it lasts, so it helps only if both sides have cores to spare. A spinning thread yields
    /// to others, and a connection that spins in vain stops for a while, so an idle one costs nothing.
    ///
    /// ```
    /// use lanpeer::{Error, Peer};
    /// use std::time::Duration;
    ///
    /// assert!(Peer::builder().spin(Duration::from_micros(50)).bind("127.0.0.1:0").is_ok());
    /// let error = Peer::builder().spin(Duration::from_secs(1)).bind("127.0.0.1:0").unwrap_err();
    /// assert!(matches!(error, Error::InvalidOption { option: "spin", .. }));
    /// ```
    pub fn spin(mut self, time: Duration) -> PeerBuilder {
        self.settings.spin = time;
        self
    }

    /// How deep lists, dicts and the like may nest in a received pickle, from 1 to 128. A deeper one ends the
    /// connection with [`CloseReason::Malformed`](crate::CloseReason::Malformed), and so does a list that
    /// contains itself. Default: 128, for which any thread's stack is large enough.
    ///
    /// ```
    /// # use lanpeer::{Error, Peer};
    /// assert!(Peer::builder().max_pickle_depth(8).bind("127.0.0.1:0").is_ok());
    /// let error = Peer::builder().max_pickle_depth(129).bind("127.0.0.1:0").unwrap_err();
    /// assert!(matches!(error, Error::InvalidOption { option: "max_pickle_depth", .. }));
    /// ```
    #[cfg(feature = "pickle")]
    #[cfg_attr(docsrs, doc(cfg(feature = "pickle")))]
    pub fn max_pickle_depth(mut self, containers: usize) -> PeerBuilder {
        self.settings.pickle.depth = containers;
        self
    }

    /// How large a received pickle may become, in bytes. Default: 16 MiB.
    ///
    /// In a pickle one value can stand in many places, each of which gets a copy: `x = [x, x]` thirty
    /// times, 272 bytes, means 2^30 lists. This counts 32 bytes for every value in every place, plus the
    /// content of texts and bytes (32 bytes for each byte if bytes become a sequence, such as `Vec<u8>`).
    /// A larger pickle ends the connection with [`CloseReason::Malformed`](crate::CloseReason::Malformed).
    ///
    /// A pickle may always become 33 times its own size. One that repeats nothing never exceeds that, so
    /// [`max_message_size`](PeerBuilder::max_message_size) bounds it. If a message became larger,
    /// [`receive_queue_bytes`](PeerBuilder::receive_queue_bytes) counts what it became instead of its payload.
    ///
    /// ```
    /// # use std::io::Write;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bob = Peer::builder().max_pickle_expansion(1000).bind("127.0.0.1:0")?;
    /// # let mut peerpy = std::net::TcpStream::connect(bob.local_addr())?;
    /// # let hello = "HELLO|address_name=127.0.0.1:9&peer_name=127.0.0.1:9&data_type=raw&strict=1";
    /// # write!(peerpy, "{hello:|<128}")?;
    /// # let from_peerpy = bob.accept::<Raw<serde_json::Value>>()?;
    /// let mut pickle = b"\x80\x02K\x01".to_vec(); // x = 1
    /// for _ in 0..10 { pickle.extend(b"2\x86") } // x = (x, x)
    /// pickle.push(b'.');
    /// # let header = format!("DATA|data_size={}&data_type=raw", pickle.len());
    /// # write!(peerpy, "{header:|<128}")?;
    /// # peerpy.write_all(&pickle)?;
    /// assert!(from_peerpy.recv().is_err()); // a peerpy has sent this
    /// assert!(matches!(from_peerpy.close_reason(), Some(CloseReason::Malformed(_))));
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "pickle")]
    #[cfg_attr(docsrs, doc(cfg(feature = "pickle")))]
    pub fn max_pickle_expansion(mut self, bytes: usize) -> PeerBuilder {
        self.settings.pickle.expansion = bytes;
        self
    }

    /// Makes every connection speak the text protocol of peerpy's manual, with a header of 128 bytes before
    /// each message, even between two lanpeers. For those who read captures, or teach the protocol.
    /// Default: no; two lanpeers then speak frames, which are smaller and faster.
    ///
    /// With text headers there are no [requests](crate::Connection::request), no
    /// [`peer_id`](crate::Connection::peer_id) and [`peer_name`](crate::Connection::peer_name), no
    /// [`CloseReason::Vanished`](crate::CloseReason::Vanished) and no
    /// [`CloseReason::RefusedThere`](crate::CloseReason::RefusedThere).
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bob = Peer::builder().text_headers(true).bind("127.0.0.1:0")?;
    /// # let alice = Peer::bind("127.0.0.1:0")?;
    /// # let bob_addr = bob.local_addr();
    /// # let asking = std::thread::spawn(move || alice.connect::<Bytes>(bob_addr).map(|c| (alice, c)));
    /// let from_alice = bob.accept::<Bytes>()?;
    /// assert_eq!(from_alice.peer_id(), None); // he has not asked who she is
    /// # drop(asking.join().unwrap()?);
    /// # Ok(()) }
    /// ```
    pub fn text_headers(mut self, text: bool) -> PeerBuilder {
        self.settings.text_headers = text;
        self
    }

    // Secrets

    /// The secret that this peer shares with others. It connects only to peers that have the same one,
    /// encrypted, and denies all others with the reason `secret`. Default: none, and nothing is encrypted.
    /// Needs the feature `secure`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = Peer::builder().secret(Secret::random()?); // or `from_file`, or `parse`
    /// let (bob, alice) = (builder.clone().bind("127.0.0.1:0")?, builder.bind("127.0.0.1:0")?);
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let to_bob = alice.connect::<Bytes>(bob.local_addr())?;
    /// # let from_alice = taking.join().unwrap()?;
    /// assert!(to_bob.is_secure() && from_alice.is_secure());
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    pub fn secret(self, secret: Secret) -> PeerBuilder {
        self.settings.trusts.change(|trust| trust.set(secret));
        self
    }

    /// Another secret with which others may connect to this peer, besides its own: to change the secret while
    /// peers run. First make every peer accept the new secret; then make it each peer's own, with the old one
    /// accepted; then leave the old one out. At most 7. Default: none. Needs the feature `secure`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (old, new) = (Secret::random()?, Secret::random()?);
    /// let bob = Peer::builder().secret(old.clone()).accept_secret(new.clone());
    /// let bob = bob.bind("127.0.0.1:0")?;
    /// let alice = Peer::builder().secret(new).accept_secret(old).bind("127.0.0.1:0")?;
    /// # let (a, b) = (alice.clone(), bob.clone());
    /// # std::thread::spawn(move || a.accept::<Bytes>());
    /// # std::thread::spawn(move || b.accept::<Bytes>());
    /// assert!(alice.connect::<Bytes>(bob.local_addr()).is_ok());
    /// assert!(bob.connect::<Bytes>(alice.local_addr()).is_ok());
    /// let alone = Peer::builder().accept_secret(Secret::random()?).bind("127.0.0.1:0");
    /// assert!(matches!(alone, Err(Error::InvalidOption { option: "accept_secret", .. })));
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    pub fn accept_secret(self, secret: Secret) -> PeerBuilder {
        self.settings.trusts.change(|trust| trust.accept(secret));
        self
    }

    /// With a secret: does the program see offers that are not encrypted? It can accept them only after
    /// [`Offer::in_the_clear`](crate::Offer::in_the_clear); else they are denied with the reason `secret`.
    /// Default: no, they are denied at once. Needs the feature `secure`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = Peer::builder().secret(Secret::random()?);
    /// let bob = builder.clear_offers(true).bind("127.0.0.1:0")?;
    /// let printer = Peer::bind("127.0.0.1:0")?; // has no secret
    /// # let bob_addr = bob.local_addr();
    /// # let asking = std::thread::spawn(move || printer.connect::<Bytes>(bob_addr).map(drop));
    /// let offer = bob.incoming().next().unwrap();
    /// assert!(!offer.is_secure());
    /// # drop(offer);
    /// # assert!(asking.join().unwrap().is_err());
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    pub fn clear_offers(mut self, clear: bool) -> PeerBuilder {
        self.settings.clear_offers = clear;
        self
    }

    // Identities

    /// The identity of this peer, which shows its key to those who have the same secret and proves that it
    /// is its own. [`Connection::peer_key`](crate::Connection::peer_key) has the key of the other side.
    /// Default: none; the peer still sees the keys of others. Needs [`secret`](PeerBuilder::secret), and
    /// the feature `secure`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("lanpeer-builder-{}.key", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// let identity = Identity::load_or_create(&path)?; // the same at the next start
    /// let key = identity.public_key();
    /// let builder = Peer::builder().secret(Secret::random()?);
    /// let bob = builder.clone().identity(identity).bind("127.0.0.1:0")?;
    /// let alice = builder.bind("127.0.0.1:0")?; // has none
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let to_bob = alice.connect::<Bytes>(bob.local_addr())?;
    /// # let from_alice = taking.join().unwrap()?;
    /// assert_eq!((to_bob.peer_key(), from_alice.peer_key()), (Some(key), None));
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    pub fn identity(self, identity: Identity) -> PeerBuilder {
        let trusts = &self.settings.trusts;
        trusts.change(|trust| trust.set_identity(identity));
        self
    }

    /// Allows encrypted connections, in either direction, only with peers that prove one of these keys.
    /// Offers of others are denied with the reason `key` before the program sees them; connecting to
    /// others fails with [`Error::WrongKey`](crate::Error::WrongKey). Default: all who have the secret.
    /// [`Peer::allow`](crate::Peer::allow) changes the keys while the peer runs. Connections [in the
    /// clear](PeerBuilder::clear_offers) are not concerned. Needs [`secret`](PeerBuilder::secret), and the
    /// feature `secure`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (alices, carols) = (Identity::generate()?, Identity::generate()?);
    /// let builder = Peer::builder().secret(Secret::random()?);
    /// let bob = builder.clone().allow([alices.public_key()]).bind("127.0.0.1:0")?;
    /// let alice = builder.clone().identity(alices).bind("127.0.0.1:0")?;
    /// let carol = builder.identity(carols).bind("127.0.0.1:0")?; // has the secret too
    /// # let taker = bob.clone();
    /// # let taking = std::thread::spawn(move || taker.accept::<Bytes>());
    /// let denied = carol.connect::<Bytes>(bob.local_addr());
    /// assert!(matches!(denied, Err(Error::Denied { reason: Some(word), .. }) if word == "key"));
    /// assert!(alice.connect::<Bytes>(bob.local_addr()).is_ok());
    /// # taking.join().unwrap()?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    pub fn allow(self, keys: impl IntoIterator<Item = PublicKey>) -> PeerBuilder {
        let allowed = Allowed::only(keys);
        self.settings.trusts.change(|trust| trust.allow(allowed));
        self
    }

    // Discovery

    /// The peer's name, for people: at most 24 bytes, without control characters, invisible characters (of no
    /// width, or that change the direction of writing), `|`, `&` and `=`, and without spaces at its ends.
    /// Names need not be unique; an empty name is none. Default: the first part of the host's name.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// let bob = builder.clone().name("bob").bind("127.0.0.1:0")?;
    /// # let alice = builder.bind("127.0.0.1:0")?;
    /// let found = alice.discover(Duration::from_secs(5))?.next().unwrap();
    /// assert_eq!(found.name(), Some("bob"));
    /// let error = Peer::builder().name("a=b").bind("127.0.0.1:0").unwrap_err();
    /// assert!(matches!(error, Error::InvalidOption { option: "name", .. }));
    /// # Ok(()) }
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> PeerBuilder {
        self.discovery.name = Some(name.into());
        self
    }

    /// The kind of program, for which others can search: at most 16 bytes, restricted like a name.
    /// Default: none.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// let bob = builder.clone().service("chat").bind("127.0.0.1:0")?;
    /// # let alice = builder.bind("127.0.0.1:0")?;
    /// let found = alice.discover_service("chat", Duration::from_secs(5))?.next().unwrap();
    /// assert_eq!(found.service(), Some("chat"));
    /// # Ok(()) }
    /// ```
    pub fn service(mut self, service: impl Into<String>) -> PeerBuilder {
        self.discovery.service = service.into();
        self
    }

    /// Does the peer keep quiet when others search? They can still connect to it.
    /// [`Peer::set_invisible`](crate::Peer::set_invisible) changes it while the peer runs. Default: no.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// let bob = builder.clone().invisible(true).bind("127.0.0.1:0")?;
    /// # let alice = builder.bind("127.0.0.1:0")?;
    /// assert_eq!(alice.discover(Duration::from_millis(10))?.count(), 0);
    /// assert_eq!(bob.not_discoverable(), None); // it could be found, but does not want to
    /// # Ok(()) }
    /// ```
    pub fn invisible(mut self, invisible: bool) -> PeerBuilder {
        self.discovery.invisible = invisible;
        self
    }

    /// The UDP port of discovery. Peers find each other only if they have the same. Not 0. Default: 1024,
    /// which is peerpy's.
    ///
    /// ```
    /// # use std::{net::UdpSocket, time::Duration};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use lanpeer::Peer;
    ///
    /// let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port(); // some free port
    /// let alice = Peer::builder().discovery_port(port).bind("127.0.0.1:0")?;
    /// let bob = Peer::builder().discovery_port(port).bind("127.0.0.1:0")?;
    /// let found = alice.discover(Duration::from_secs(5))?.next().unwrap();
    /// assert_eq!(found.id(), Some(bob.id()));
    /// # Ok(()) }
    /// ```
    pub fn discovery_port(mut self, port: u16) -> PeerBuilder {
        self.discovery.port = port;
        self
    }

    /// Makes this peer prove in discovery that it has the secret, and check whether others do: each datagram
    /// ends with a tag that only those can make and check who have the secret, the members.
    /// [`Neighbour::is_member`](crate::Neighbour::is_member) says who is one. Others cannot make a member look
    /// lost or move. Peers without tags are found as before, and find this one. Default: no. Needs the feature
    /// `secure`.
    ///
    /// The tag is made with [`secret`](PeerBuilder::secret); one made with any accepted secret is right. All
    /// must be random, or [`bind`](PeerBuilder::bind) fails: on a tag made with a passphrase, anyone who hears
    /// it could test guesses at leisure.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// let members = builder.clone().secret(Secret::random()?).discovery_tags(true);
    /// let bob = members.clone().name("bob").bind("127.0.0.1:0")?;
    /// let stranger = builder.name("stranger").bind("127.0.0.1:0")?;
    /// let alice = members.bind("127.0.0.1:0")?;
    /// for found in alice.discover(Duration::from_secs(5))?.take(2) {
    ///     assert_eq!(found.is_member(), found.name() == Some("bob"));
    /// }
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    pub fn discovery_tags(mut self, tags: bool) -> PeerBuilder {
        self.discovery.tags = tags;
        self
    }

    /// The same as [`discovery_tags`](PeerBuilder::discovery_tags), and only members are listed: by
    /// searches, watches and [`keep_connected`](crate::Peer::keep_connected). Others can still find this
    /// peer; [`invisible`](PeerBuilder::invisible) hides it. Default: no. Needs the feature `secure`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let builder = Peer::builder().discovery_port(port);
    /// let members = builder.clone().secret(Secret::random()?).discovery_members_only(true);
    /// let bob = members.clone().bind("127.0.0.1:0")?;
    /// let stranger = builder.bind("127.0.0.1:0")?;
    /// let alice = members.bind("127.0.0.1:0")?;
    /// let found: Vec<_> = alice.discover(Duration::from_millis(300))?.collect();
    /// assert!(found.iter().all(|found| found.id() == Some(bob.id())));
    /// // Nothing to prove:
    /// let plain = Peer::builder().discovery_members_only(true).bind("127.0.0.1:0");
    /// assert!(matches!(plain, Err(Error::InvalidOption { option: "discovery_members_only", .. })));
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "secure")]
    #[cfg_attr(docsrs, doc(cfg(feature = "secure")))]
    pub fn discovery_members_only(mut self, only: bool) -> PeerBuilder {
        self.discovery.members_only = only;
        self
    }
}
