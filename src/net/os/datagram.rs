//! Datagrams, made alike on all systems.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

#[cfg(target_vendor = "apple")]
use super::outlet;
use super::system::UdpSocket;
use super::transfer;

/// A datagram to this address is for every socket of this host that has its port.
pub(crate) const WHOLE_HOST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);

/// On Linux loopback carries broadcasts. On the BSDs and macOS it is no interface that can broadcast,
/// and for Windows nothing is written about it.
const LOOPBACK_BROADCASTS: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Sends a datagram. What is for the whole host goes to 127.0.0.1 as well, where loopback may carry no
/// broadcasts: then it reaches at least one of those who have the port.
pub(crate) fn send(socket: &UdpSocket, datagram: &[u8], to: SocketAddrV4) -> io::Result<()> {
    send_twice(socket, datagram, to, !LOOPBACK_BROADCASTS)
}

fn send_twice(
    socket: &UdpSocket,
    datagram: &[u8],
    to: SocketAddrV4,
    also_to_one: bool,
) -> io::Result<()> {
    let mut sent = send_one(socket, datagram, to);
    if also_to_one && *to.ip() == WHOLE_HOST {
        let to_one = socket.send_to(datagram, (Ipv4Addr::LOCALHOST, to.port()));
        sent = sent.or(to_one);
    }
    sent.map(drop)
}

#[cfg(not(target_vendor = "apple"))]
fn send_one(socket: &UdpSocket, datagram: &[u8], to: SocketAddrV4) -> io::Result<usize> {
    socket.send_to(datagram, to)
}

/// A broadcast says by which interface it leaves; see `outlet`.
#[cfg(target_vendor = "apple")]
fn send_one(socket: &UdpSocket, datagram: &[u8], to: SocketAddrV4) -> io::Result<usize> {
    let preferred = match socket.local_addr()?.ip() {
        IpAddr::V4(own) if !own.is_unspecified() => Some(own),
        _ => route_towards(*to.ip()).ok(),
    };
    match outlet::towards(*to.ip(), preferred) {
        Some(by) => outlet::send(socket, datagram, to, by.index),
        None => socket.send_to(datagram, to),
    }
}

/// Our address on the way to `ip`, as [`send`] has it if the socket has none of its own. Sends nothing.
///
/// Of two interfaces in one network the system sends from one, whose address is not always that of
/// the network that was listed first.
pub(crate) fn source_towards(ip: Ipv4Addr) -> io::Result<Ipv4Addr> {
    let routed = route_towards(ip);
    #[cfg(target_vendor = "apple")]
    if let Some(by) = outlet::towards(ip, routed.as_ref().ok().copied()) {
        return Ok(by.addr);
    }
    routed
}

/// The same, as the system chooses it.
fn route_towards(ip: Ipv4Addr) -> io::Result<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_broadcast(true)?;
    socket.connect((ip, 9))?;
    match socket.local_addr()?.ip() {
        IpAddr::V4(ip) => Ok(ip),
        IpAddr::V6(_) => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

/// Waits for a datagram, for no longer than this, and receives it; the buffer may take only its beginning.
/// `WouldBlock` or `TimedOut`: none has come. `Interrupted`: something was received that is none, and the
/// next can be asked for at once.
pub(crate) fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
    wait: Duration,
) -> io::Result<(usize, SocketAddr)> {
    /// A datagram was larger than the buffer, which is no error elsewhere.
    const WSAEMSGSIZE: i32 = 10_040;
    transfer::receive(socket, buffer, wait).map_err(|error| {
        // Windows also reports here that a host has refused a datagram of ours.
        let is_refusal = error.kind() == io::ErrorKind::ConnectionReset;
        let is_too_large = error.raw_os_error() == Some(WSAEMSGSIZE);
        match cfg!(windows) && (is_refusal || is_too_large) {
            true => io::ErrorKind::Interrupted.into(),
            false => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// A socket that hears only what is sent to 127.0.0.1.
    fn socket() -> (UdpSocket, u16) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        (socket, port)
    }

    #[test]
    fn what_is_for_the_whole_host_also_goes_to_one_address() {
        let speaker = UdpSocket::bind("127.0.0.1:0").unwrap();
        speaker.set_broadcast(true).unwrap();
        let (socket, port) = socket();
        let to = SocketAddrV4::new(WHOLE_HOST, port);
        send_twice(&speaker, b"twice", to, true).unwrap();
        let mut buffer = [0; 16];
        let (len, _) = receive(&socket, &mut buffer, SOON).unwrap();
        assert_eq!(&buffer[..len], b"twice");
    }

    #[test]
    fn a_datagram_that_is_too_large_is_no_error() {
        let speaker = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (socket, port) = socket();
        let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        send(&speaker, &[7; 100], to).unwrap();
        send(&speaker, b"small", to).unwrap();
        let mut buffer = [0; 16];
        match receive(&socket, &mut buffer, SOON) {
            Ok((len, _)) => assert_eq!(len, 16),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted),
        }
        let (len, _) = receive(&socket, &mut buffer, SOON).unwrap();
        assert_eq!(&buffer[..len], b"small");
    }

    #[test]
    fn a_refusal_is_no_error() {
        let (socket, _) = socket();
        // Nobody has it: a socket that was there a moment ago.
        let nobody = {
            let (other, port) = self::socket();
            drop(other);
            SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
        };
        send(&socket, b"is somebody there?", nobody).unwrap();
        let own = socket.local_addr().unwrap();
        socket.send_to(b"I am", own).unwrap();
        let mut buffer = [0; 32];
        let heard = std::iter::from_fn(|| Some(receive(&socket, &mut buffer, SOON)))
            .take(3)
            .find(
                |heard| !matches!(heard, Err(error) if error.kind() == io::ErrorKind::Interrupted),
            );
        assert_eq!(heard.unwrap().unwrap(), (4, own));
    }

    /// On Windows the system's own timeouts are half a second at least. It is only told from that here
    /// if one of the waits is not disturbed.
    #[test]
    fn a_wait_is_as_short_as_it_was_meant_to_be() {
        let (socket, port) = socket();
        let mut buffer = [0; 16];
        let mut wait = |time| {
            let begun = Instant::now();
            let error = receive(&socket, &mut buffer, time).unwrap_err();
            let kind = error.kind();
            assert!(matches!(
                kind,
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ));
            begun.elapsed()
        };
        for time in [Duration::ZERO, Duration::from_millis(30)] {
            let waits = (0..50).map(|_| wait(time));
            let is_short = |waited: &Duration| *waited < time + Duration::from_millis(100);
            assert!(waits.into_iter().any(|waited| is_short(&waited)));
        }
        // The next wait is a wait again, and what is there already ends it.
        let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        send(&socket, b"here", to).unwrap();
        assert_eq!(receive(&socket, &mut buffer, SOON).unwrap().0, 4);
    }
}
