//! The networks that this host is on, and which address of ours leads to whom.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use if_addrs::IfAddr;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

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

/// The networks that a peer bound to this address uses: all of them for 0.0.0.0, else only the one
/// with that address. Loopback comes first, and each broadcast address once.
pub(crate) fn networks(bound: Ipv4Addr) -> io::Result<Vec<Network>> {
    if bound.is_loopback() {
        return Ok(vec![Network::loopback(bound)]);
    }
    let mut networks = Vec::new();
    for interface in if_addrs::get_if_addrs()? {
        let IfAddr::V4(v4) = interface.addr else {
            continue;
        };
        if v4.ip.is_loopback() || v4.ip.is_unspecified() {
            continue;
        }
        if bound.is_unspecified() || bound == v4.ip {
            let broadcast = if interface.is_p2p {
                None
            } else {
                broadcast_of(v4.ip, v4.netmask, v4.broadcast)
            };
            networks.push(Network {
                name: interface.name,
                addr: v4.ip,
                mask: v4.netmask,
                broadcast,
            });
        }
    }
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
    Ok(networks)
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
/// not, or if the asker is not on a network of ours. A machine further away has no business here:
/// such PINGs come with forged senders, to have the answers sent to a victim.
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
    if !networks.iter().any(|network| network.contains(asker)) {
        return None;
    }
    let ip = match bound.is_unspecified() {
        true => source_towards(asker).ok()?,
        false => bound,
    };
    Some(SocketAddrV4::new(ip, listen.port()))
}

/// The address in `text` as the datagram's receiver can use it; None if it can not be true.
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

/// Our address on the way to `ip`, as the system would choose it. Sends nothing.
///
/// Of two interfaces in one network the system sends from one, whose address is not always that of
/// the network that was listed first.
pub(crate) fn source_towards(ip: Ipv4Addr) -> io::Result<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_broadcast(true)?;
    socket.connect((ip, 9))?;
    match socket.local_addr()?.ip() {
        std::net::IpAddr::V4(ip) => Ok(ip),
        std::net::IpAddr::V6(_) => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
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
mod tests {
    use super::*;

    fn network(addr: [u8; 4], prefix: u32) -> Network {
        let mask = Ipv4Addr::from_bits(u32::MAX << (32 - prefix));
        Network {
            name: "test".into(),
            addr: addr.into(),
            mask,
            broadcast: None,
        }
    }

    fn addr(text: &str) -> SocketAddrV4 {
        text.parse().unwrap()
    }

    #[test]
    fn a_peer_on_loopback_uses_nothing_else() {
        let bound = Ipv4Addr::new(127, 0, 0, 2);
        let networks = networks(bound).unwrap();
        assert_eq!(networks.len(), 1);
        assert_eq!(
            (networks[0].addr, networks[0].broadcast),
            (bound, Some([127, 255, 255, 255].into()))
        );
    }

    #[test]
    fn loopback_is_first_and_no_broadcast_address_is_twice() {
        let networks = networks(Ipv4Addr::UNSPECIFIED).unwrap();
        assert!(networks[0].addr.is_loopback());
        for (index, network) in networks.iter().enumerate() {
            let twice = networks[..index]
                .iter()
                .any(|other| other.broadcast == network.broadcast);
            assert!(!twice || network.broadcast.is_none());
        }
    }

    #[test]
    fn broadcast_addresses_that_nobody_has_set() {
        let of = |ip: &str, mask: &str, set: Option<&str>| {
            let set = set.map(|set| set.parse().unwrap());
            broadcast_of(ip.parse().unwrap(), mask.parse().unwrap(), set).map(|ip| ip.to_string())
        };
        let usual = Some("10.0.0.255".to_owned());
        assert_eq!(of("10.0.0.5", "255.255.255.0", Some("10.0.0.255")), usual);
        assert_eq!(
            of("10.0.0.5", "255.255.255.0", Some("10.0.0.5")),
            usual,
            "as Linux says"
        );
        assert_eq!(of("10.0.0.5", "255.255.255.0", Some("0.0.0.0")), usual);
        assert_eq!(of("10.0.0.5", "255.255.255.0", None), usual);
        assert_eq!(
            of("10.0.0.5", "255.255.255.0", Some("10.0.255.255")),
            Some("10.0.255.255".to_owned())
        );
        assert_eq!(
            of("10.0.0.5", "255.255.255.252", None),
            Some("10.0.0.7".to_owned())
        );
        assert_eq!(of("10.0.0.5", "255.255.255.254", None), None);
        assert_eq!(of("10.0.0.5", "255.255.255.255", Some("10.0.0.5")), None);
    }

    #[test]
    fn distances() {
        let networks = [network([127, 0, 0, 1], 8), network([10, 0, 0, 5], 24)];
        for (ip, expected) in [
            ("127.0.0.9", 0),
            ("10.0.0.5", 1),
            ("10.0.0.6", 2),
            ("10.0.1.6", 3),
        ] {
            assert_eq!(distance(ip.parse().unwrap(), &networks), expected, "{ip}");
        }
    }

    #[test]
    fn who_is_told_which_address() {
        let networks = [network([127, 0, 0, 1], 8)];
        let asked_by = |listen: &str, asker: &str| {
            address_for(addr(listen), asker.parse().unwrap(), &networks)
        };
        assert_eq!(
            asked_by("127.0.0.1:7", "127.0.0.5"),
            Some(addr("127.0.0.1:7"))
        );
        assert_eq!(
            asked_by("127.0.0.1:7", "10.0.0.5"),
            None,
            "only on loopback"
        );
        assert_eq!(
            asked_by("0.0.0.0:7", "127.0.0.5"),
            Some(addr("127.0.0.5:7"))
        );
        assert_eq!(
            asked_by("10.0.0.9:7", "127.0.0.1"),
            Some(addr("10.0.0.9:7")),
            "the same host"
        );
        assert_eq!(
            asked_by("0.0.0.0:7", "8.8.8.8"),
            None,
            "not on a network of ours"
        );
    }

    #[test]
    fn which_claims_are_believed() {
        let networks = [network([127, 0, 0, 1], 8), network([10, 0, 0, 5], 24)];
        let claim = |claimed: &str, source: &str, lanpeer| {
            plausible(addr(claimed), source.parse().unwrap(), lanpeer, &networks)
        };
        assert_eq!(
            claim("10.0.0.6:7", "10.0.0.6", true),
            Some(addr("10.0.0.6:7"))
        );
        assert_eq!(
            claim("0.0.0.0:7", "10.0.0.6", false),
            Some(addr("10.0.0.6:7"))
        );
        assert_eq!(
            claim("10.0.0.7:7", "10.0.0.6", true),
            None,
            "a lanpeer does not speak for others"
        );
        assert_eq!(
            claim("10.0.0.5:7", "127.0.0.1", true),
            Some(addr("10.0.0.5:7")),
            "the same host"
        );
        assert_eq!(
            claim("10.9.9.7:7", "10.0.0.6", false),
            Some(addr("10.9.9.7:7")),
            "peerpy on two networks"
        );
        assert_eq!(
            claim("127.0.0.1:7", "10.0.0.6", false),
            None,
            "its own loopback"
        );
        assert_eq!(
            claim("127.0.0.1:7", "10.0.0.5", false),
            Some(addr("127.0.0.1:7")),
            "ours"
        );
        for nonsense in ["10.0.0.6:0", "255.255.255.255:7", "224.0.0.1:7"] {
            assert_eq!(claim(nonsense, "10.0.0.6", false), None, "{nonsense}");
        }
    }
}
