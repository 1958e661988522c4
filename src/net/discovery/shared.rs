//! What the responder thread and the peer's calls share.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::LOG;
use super::networks::{Network, source_towards};
use super::reach::Reach;
use super::tags::Tags;
use crate::net::os::sync::Mutex;
use crate::net::os::system::UdpSocket;
use crate::net::os::{datagram, lock};
use crate::proto::beacon::{Beacon, Card, Ping, Watch};

pub(super) struct Shared {
    /// Where the peer listens. With 0.0.0.0 all networks are used, else only the one with the IP.
    pub listen: SocketAddrV4,
    pub reach: Reach,
    /// Speaks where the system would not choose the address that the peer is bound to.
    pub voice: Option<UdpSocket>,
    /// The discovery port.
    pub port: u16,
    pub card: Card,
    /// None: there are no tags in what this peer says.
    pub tags: Option<Arc<Tags>>,
    /// None only where the system gave no socket at all. The responder changes it, once it gets the
    /// discovery port that another program had.
    pub ear: Mutex<Option<Ear>>,
    /// Held while an answer is sent, so that it is not sent after a change.
    pub visible: Mutex<bool>,
    /// The peer has become visible, and has not said so yet.
    pub announce: AtomicBool,
    /// Its own allocation, since searches look at it too, and may outlive the peer.
    pub stopped: Arc<AtomicBool>,
}

/// The socket on which the responder hears others.
#[derive(Clone)]
pub(super) struct Ear {
    pub socket: Arc<UdpSocket>,
    /// It is on the discovery port, and not on some other only to watch.
    pub hears_port: bool,
}

impl Ear {
    /// The port of its socket; 0 where the system does not say.
    pub fn own_port(&self) -> u16 {
        self.socket.local_addr().map_or(0, |addr| addr.port())
    }
}

impl Shared {
    pub fn ear(&self) -> Option<Ear> {
        lock(&self.ear).clone()
    }

    /// Sends to everyone on a network. An interface that fails is no reason not to try the others.
    pub fn broadcast(&self, socket: &UdpSocket, network: &Network, beacon: &Beacon) {
        let sent = self.try_broadcast(socket, network, beacon);
        log_unsent(network, sent);
    }

    /// The same for one who holds a lock, under which the program's logger may not run: the caller logs
    /// what was not sent.
    pub fn try_broadcast(
        &self,
        socket: &UdpSocket,
        network: &Network,
        beacon: &Beacon,
    ) -> io::Result<()> {
        let Some(broadcast) = network.broadcast else {
            return Ok(());
        };
        let speaks = match beacon {
            // The answers come to the socket that has asked.
            Beacon::Ping(_) => socket,
            _ => self.voice(socket, broadcast),
        };
        let to = SocketAddrV4::new(broadcast, self.port);
        self.send(speaks, to, beacon)
    }

    /// Says something about this peer to one far host.
    pub fn tell(&self, socket: &UdpSocket, to: SocketAddrV4, beacon: &Beacon) {
        log_far(to, self.send(self.voice(socket, *to.ip()), to, beacon));
    }

    /// Asks one far host; the answer comes to this socket.
    pub fn ask(&self, ear: &Ear, to: SocketAddrV4, visible: bool) {
        let Ok(from) = source_towards(*to.ip()) else {
            return;
        };
        let ping = Ping {
            addr: Some(SocketAddrV4::new(from, self.listen_port(visible))),
            pinger: Some(SocketAddrV4::new(from, ear.own_port())),
            card: Some(self.anonymous()),
            watch: None,
        };
        log_far(to, self.send(&ear.socket, to, &Beacon::Ping(ping)));
    }

    fn send(&self, socket: &UdpSocket, to: SocketAddrV4, beacon: &Beacon) -> io::Result<()> {
        let written = match &self.tags {
            Some(tags) => tags.write(beacon),
            None => beacon.write(),
        };
        datagram::send(socket, &written.map_err(io::Error::other)?, to)
    }

    /// Where a PING says that this peer listens.
    fn listen_port(&self, visible: bool) -> u16 {
        if visible { self.listen.port() } else { 0 }
    }

    /// The id alone: by it a peer knows its own PING.
    pub fn anonymous(&self) -> Card {
        Card {
            id: self.card.id,
            name: String::new(),
            service: String::new(),
        }
    }

    /// The socket for what goes there.
    pub fn voice<'a>(&'a self, socket: &'a UdpSocket, to: Ipv4Addr) -> &'a UdpSocket {
        let is_other = || source_towards(to).is_ok_and(|ip| ip != *self.listen.ip());
        match &self.voice {
            Some(voice) if is_other() => voice,
            _ => socket,
        }
    }

    /// What a sign of life on this network says: the address that it comes from, since nothing else
    /// is believed.
    pub fn address_on(&self, network: &Network) -> SocketAddrV4 {
        let broadcast = network
            .broadcast
            .filter(|_| self.listen.ip().is_unspecified());
        let ip = broadcast.and_then(|broadcast| source_towards(broadcast).ok());
        SocketAddrV4::new(ip.unwrap_or(network.addr), self.listen.port())
    }

    /// The PING of a watch.
    ///
    /// lanpeers answer it with signs of life, which all who watch can hear. peerpy does it too,
    /// without knowing: it sends its PONG to whatever address `pinger` names, and here that is
    /// the broadcast address. A watch that does not hear the port asks like anyone else.
    pub fn watch_ping(
        &self,
        ear: &Ear,
        network: &Network,
        broadcast: Ipv4Addr,
        visible: bool,
        watch: Watch,
    ) -> Ping {
        let listen_port = self.listen_port(visible);
        let (pinger, watch) = match ear.hears_port {
            true => (SocketAddrV4::new(broadcast, self.port), Some(watch)),
            false => (SocketAddrV4::new(network.addr, ear.own_port()), None),
        };
        Ping {
            addr: Some(SocketAddrV4::new(network.addr, listen_port)),
            pinger: Some(pinger),
            card: Some(self.anonymous()),
            watch,
        }
    }
}

/// Says that a network has taken nothing.
pub(super) fn log_unsent(network: &Network, sent: io::Result<()>) {
    if let (Err(error), Some(broadcast)) = (sent, network.broadcast) {
        let name = &network.name;
        log::debug!(target: LOG, "nothing sent to {broadcast} on {name}: {error}");
    }
}

fn log_far(to: SocketAddrV4, sent: io::Result<()>) {
    if let Err(error) = sent {
        let (ip, name) = (to.ip(), "a route");
        log::debug!(target: LOG, "nothing sent to {ip} on {name}: {error}");
    }
}
