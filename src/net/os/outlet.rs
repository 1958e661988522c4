//! By which interface a broadcast leaves, where the system needs to be told.
//!
//! macOS and iOS send a broadcast of a network by the interface that their routes prefer, which need not
//! be one in that network. A socket can be bound to an interface there, but then it also hears nothing
//! that comes by another one. So each single datagram says by which interface it is to leave
//! (`IP_PKTINFO`), and the socket stays as it is: questions leave from the port to which the answers come.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4};

use super::system::{IfAddr, Interface, MsgHdr, SockRef, UdpSocket, get_if_addrs};

/// An interface, and an address that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outlet {
    pub index: u32,
    pub addr: Ipv4Addr,
}

/// The interface by which a datagram to this address is to leave. None if the address is no network's
/// broadcast address: then the system knows the way. `preferred` is the address from which it would be
/// sent otherwise.
pub(super) fn towards(to: Ipv4Addr, preferred: Option<Ipv4Addr>) -> Option<Outlet> {
    choose(&get_if_addrs().ok()?, to, preferred)
}

/// Of the interfaces in the network with this broadcast address, the one with the preferred address, else
/// the first.
fn choose(all: &[Interface], to: Ipv4Addr, preferred: Option<Ipv4Addr>) -> Option<Outlet> {
    let outlets = all.iter().filter_map(|interface| {
        let IfAddr::V4(v4) = &interface.addr else {
            return None;
        };
        let hosts = !v4.netmask.to_bits();
        let is_broadcast = v4.broadcast == Some(to) || v4.ip.to_bits() | hosts == to.to_bits();
        let reaches = hosts > 1 && is_broadcast && !v4.ip.is_loopback() && !interface.is_p2p;
        Some(Outlet {
            index: interface.index.filter(|_| reaches)?,
            addr: v4.ip,
        })
    });
    let mut first = None;
    for outlet in outlets {
        if Some(outlet.addr) == preferred {
            return Some(outlet);
        }
        first.get_or_insert(outlet);
    }
    first
}

/// Sends by this interface.
pub(super) fn send(
    socket: &UdpSocket,
    datagram: &[u8],
    to: SocketAddrV4,
    index: u32,
) -> io::Result<usize> {
    let (to, parts, control) = (to.into(), [IoSlice::new(datagram)], control(index));
    let message = MsgHdr::new()
        .with_addr(&to)
        .with_buffers(&parts)
        .with_control(&control);
    SockRef::from(socket).sendmsg(&message, 0)
}

/// The bytes of `struct cmsghdr`, filled up to where its data begins.
const HEADER: usize = size_of::<libc::cmsghdr>().next_multiple_of(ALIGNMENT);
const ALIGNMENT: usize = match cfg!(target_vendor = "apple") {
    true => 4,
    false => size_of::<usize>(),
};
/// The bytes of `struct in_pktinfo`: the interface's index and two addresses.
const PKTINFO: usize = 12;
const LENGTH: usize = HEADER + PKTINFO;

/// `struct cmsghdr` and `struct in_pktinfo`, which names the interface and leaves the address to the system.
fn control(index: u32) -> [u8; LENGTH.next_multiple_of(ALIGNMENT)] {
    let mut bytes = [0; LENGTH.next_multiple_of(ALIGNMENT)];
    // Apple's length has 4 bytes, Linux's as many as a pointer.
    let length = LENGTH.to_ne_bytes();
    let length = match cfg!(target_vendor = "apple") {
        true => &(LENGTH as u32).to_ne_bytes()[..],
        false => &length[..],
    };
    let parts = [
        length,
        &libc::IPPROTO_IP.to_ne_bytes(),
        &libc::IP_PKTINFO.to_ne_bytes(),
    ];
    let mut at = 0;
    for part in parts {
        bytes[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    bytes[HEADER..HEADER + 4].copy_from_slice(&index.to_ne_bytes());
    bytes
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use super::super::system::{IfOperStatus, Ifv4Addr};
    use super::*;

    fn interface(index: u32, ip: [u8; 4], prefix: u8, is_p2p: bool) -> Interface {
        let ip = Ipv4Addr::from(ip);
        let netmask = Ipv4Addr::from_bits(!(u32::MAX >> prefix));
        let addr = IfAddr::V4(Ifv4Addr {
            ip,
            netmask,
            prefixlen: prefix,
            broadcast: Some(Ipv4Addr::from_bits(ip.to_bits() | !netmask.to_bits())),
        });
        Interface {
            name: format!("if{index}"),
            addr,
            index: Some(index),
            oper_status: IfOperStatus::Up,
            is_p2p,
        }
    }

    #[test]
    fn a_broadcast_leaves_by_an_interface_in_its_network() {
        let all = [
            interface(1, [127, 0, 0, 1], 8, false),
            interface(2, [10, 0, 0, 1], 24, true),
            interface(3, [10, 0, 0, 5], 24, false),
            interface(4, [10, 0, 0, 6], 24, false),
            interface(5, [10, 1, 0, 6], 16, false),
        ];
        let index = |to: [u8; 4], preferred: Option<[u8; 4]>| {
            choose(&all, to.into(), preferred.map(Into::into)).map(|outlet| outlet.index)
        };
        assert_eq!(index([10, 0, 0, 255], None), Some(3));
        assert_eq!(index([10, 0, 0, 255], Some([10, 0, 0, 6])), Some(4));
        // What the system would choose is in another network.
        assert_eq!(index([10, 0, 0, 255], Some([10, 1, 0, 6])), Some(3));
        assert_eq!(index([10, 1, 255, 255], Some([10, 0, 0, 5])), Some(5));
        // One host, loopback, and nobody's network.
        for to in [[10, 0, 0, 7], [127, 255, 255, 255], [10, 2, 255, 255]] {
            assert_eq!(index(to, None), None);
        }
    }

    /// The system takes the word on the interface, and follows it: loopback leads to loopback alone.
    #[test]
    fn one_datagram_leaves_by_the_interface_that_it_names() {
        let ear = UdpSocket::bind("127.0.0.1:0").unwrap();
        ear.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let port = ear.local_addr().unwrap().port();
        let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let all = get_if_addrs().unwrap();
        let loopback = all.iter().find(|interface| interface.is_loopback());
        let index = loopback.unwrap().index.unwrap();
        let mouth = UdpSocket::bind("0.0.0.0:0").unwrap();
        send(&mouth, b"by loopback", to, index).unwrap();
        let mut buffer = [0; 32];
        let (len, from) = ear.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"by loopback");
        assert_eq!(from.port(), mouth.local_addr().unwrap().port());
        // Loopback is no network to broadcast to, so that the system knows the way.
        assert_eq!(towards(Ipv4Addr::new(127, 255, 255, 255), None), None);
        // There is no interface with this number.
        assert!(send(&mouth, b"by nothing", to, u32::MAX >> 1).is_err());
    }
}
