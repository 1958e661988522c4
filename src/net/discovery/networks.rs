//! The networks that this host is on, and which address of ours leads to whom.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::reach::{Interface, Reach};
pub(crate) use crate::net::os::datagram::source_towards;
use crate::net::os::system::{
    Domain, IfAddr, Protocol, SockAddr, Socket, Type, UdpSocket, get_if_addrs,
};

/// An address of this host, and the network that it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    /// The interface's name, for messages.
    pub name: String,
    pub addr: Ipv4Addr,
    pub mask: Ipv4Addr,
    /// None where there is no such thing: tunnels, networks of one or two addresses.
    pub broadcast: Option<Ipv4Addr>,
}

impl Network {
    /// This host to itself. All of 127.0.0.0/8 is one network, and on Linux a datagram to
    /// 127.255.255.255 reaches every socket on its port.
    fn loopback(addr: Ipv4Addr) -> Network {
        let mask = Ipv4Addr::new(255, 0, 0, 0);
        let broadcast = Some(Ipv4Addr::new(127, 255, 255, 255));
        Network {
            name: "loopback".to_owned(),
            addr,
            mask,
            broadcast,
        }
    }

    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        ip.to_bits() & self.mask.to_bits() == self.addr.to_bits() & self.mask.to_bits()
    }
}

/// The networks that are within this reach. Loopback comes first, and each broadcast address once.
pub(crate) fn networks(reach: &Reach) -> io::Result<Vec<Network>> {
    networks_and_others(reach).map(|(networks, _)| networks)
}

/// Also those of this host that are not within reach: who is there is not far, but not wanted.
pub(crate) fn networks_and_others(reach: &Reach) -> io::Result<(Vec<Network>, Vec<Network>)> {
    let bound = reach.bound;
    if bound.is_loopback() {
        return Ok((vec![Network::loopback(bound)], Vec::new()));
    }
    let (mut networks, others): (Vec<_>, Vec<_>) = interfaces()?.into_iter().partition(|network| {
        let is_bound = bound.is_unspecified() || bound == network.addr;
        is_bound && reach.includes(&Interface::new(network))
    });
    if bound.is_unspecified() {
        networks.insert(0, Network::loopback(Ipv4Addr::LOCALHOST));
    }
    // Two addresses in one network are one network to shout into. A second interface into the same
    // network is too: the system sends to a broadcast address by one of them.
    for index in (1..networks.len()).rev() {
        if networks[..index]
            .iter()
            .any(|network| network.broadcast == networks[index].broadcast)
        {
            networks[index].broadcast = None;
        }
    }
    Ok((networks, others))
}

/// Every address of this host and its network, but for loopback.
fn interfaces() -> io::Result<Vec<Network>> {
    let mut all = Vec::new();
    for interface in get_if_addrs()? {
        let IfAddr::V4(v4) = interface.addr else {
            continue;
        };
        if v4.ip.is_loopback() || v4.ip.is_unspecified() {
            continue;
        }
        let broadcast = match interface.is_p2p {
            true => None,
            false => broadcast_of(v4.ip, v4.netmask, v4.broadcast),
        };
        all.push(Network {
            name: interface.name,
            addr: v4.ip,
            mask: v4.netmask,
            broadcast,
        });
    }
    Ok(all)
}

/// Where a peer that listens there can be reached: the addresses of the networks, then loopback.
pub(crate) fn addrs(listen: SocketAddrV4) -> Vec<SocketAddrV4> {
    if !listen.ip().is_unspecified() {
        return vec![listen];
    }
    let ours = interfaces().unwrap_or_default();
    let ours = ours.into_iter().map(|network| network.addr);
    let mut addrs: Vec<SocketAddrV4> = Vec::new();
    for ip in ours.chain([Ipv4Addr::LOCALHOST]) {
        let addr = SocketAddrV4::new(ip, listen.port());
        if !addrs.contains(&addr) {
            addrs.push(addr);
        }
    }
    addrs
}

/// The broadcast address of a network; None if it is too small to have one.
///
/// Not every tool that gives an interface its address sets the broadcast address too. The system
/// then says none, or the interface's own address; and broadcasts all the same.
fn broadcast_of(ip: Ipv4Addr, mask: Ipv4Addr, set: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    let hosts = !mask.to_bits();
    let set = set.filter(|&broadcast| broadcast != ip && !broadcast.is_unspecified());
    (hosts > 1).then(|| set.unwrap_or(Ipv4Addr::from_bits(ip.to_bits() | hosts)))
}

/// Is this an address of this host?
pub(crate) fn is_local(ip: Ipv4Addr, networks: &[Network]) -> bool {
    ip.is_loopback() || networks.iter().any(|network| network.addr == ip)
}

/// How far away is this address? The lower the nearer.
pub(crate) fn distance(ip: Ipv4Addr, networks: &[Network]) -> u8 {
    match () {
        _ if ip.is_loopback() => 0,
        _ if is_local(ip, networks) => 1,
        _ if networks.iter().any(|network| network.contains(ip)) => 2,
        _ => 3,
    }
}

/// The address at which a peer that listens on `listen` can be reached by `asker`; None if it can
/// not, or if the asker is neither on a network of ours nor has a private address. A machine out on
/// the internet has no business here: such PINGs come with forged senders, to have the answers sent
/// to a victim.
pub(crate) fn address_for(
    listen: SocketAddrV4,
    asker: Ipv4Addr,
    networks: &[Network],
) -> Option<SocketAddrV4> {
    let bound = *listen.ip();
    if bound.is_loopback() {
        return asker.is_loopback().then_some(listen);
    }
    if bound == asker || asker.is_loopback() {
        let ip = if bound.is_unspecified() { asker } else { bound };
        return Some(SocketAddrV4::new(ip, listen.port()));
    }
    let is_near = networks.iter().any(|network| network.contains(asker));
    if !is_near && !is_private(asker) {
        return None;
    }
    let ip = match bound.is_unspecified() {
        true => source_towards(asker).ok()?,
        false => bound,
    };
    Some(SocketAddrV4::new(ip, listen.port()))
}

/// Is this an address of a private network: of a house, a company, a VPN?
pub(crate) fn is_private(ip: Ipv4Addr) -> bool {
    // 100.64.0.0/10 is what providers, and some VPNs, use inside.
    let is_shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
    ip.is_private() || ip.is_link_local() || is_shared
}

/// The address in `text` as the datagram's receiver can use it; None if it cannot be true.
///
/// A lanpeer says the address that its datagrams come from; peerpy says what it was bound to.
pub(crate) fn plausible(
    claimed: SocketAddrV4,
    source: Ipv4Addr,
    lanpeer: bool,
    networks: &[Network],
) -> Option<SocketAddrV4> {
    let from_here = is_local(source, networks);
    let ip = if claimed.ip().is_unspecified() {
        source
    } else {
        *claimed.ip()
    };
    let possible = match () {
        _ if claimed.port() == 0 || ip.is_broadcast() || ip.is_multicast() => false,
        _ if ip == source => true,
        // Another address of this same host, or someone else's 127.0.0.1?
        _ if ip.is_loopback() || lanpeer => from_here,
        _ => true,
    };
    possible.then(|| SocketAddrV4::new(ip, claimed.port()))
}

/// A socket that speaks from this address, also where the system would choose another: a lanpeer is
/// believed only what it says of the address that it speaks from. None if the system may choose.
pub(crate) fn voice(bound: Ipv4Addr) -> Option<UdpSocket> {
    if bound.is_unspecified() || bound.is_loopback() {
        return None;
    }
    let socket = UdpSocket::bind((bound, 0)).ok()?;
    socket.set_broadcast(true).ok()?;
    Some(socket)
}

/// A socket that may broadcast, on a port that several peers of one host can have together.
///
/// Linux and Windows need SO_REUSEADDR for that, the BSDs and macOS SO_REUSEPORT as well. On Linux,
/// every socket that has the port hears each broadcast, and only one of them each unicast datagram;
/// SO_REUSEPORT adds nothing there, and would shut out peers of another user, and peerpy.
pub(crate) fn shared_socket(port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(any(
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "dragonfly"
    ))]
    socket.set_reuse_port(true)?;
    socket.set_broadcast(true)?;
    let addr = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    socket.bind(&SockAddr::from(addr))?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests;
