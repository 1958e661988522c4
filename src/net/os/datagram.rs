//! Datagrams, made alike on all systems.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use super::system::UdpSocket;

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
    let mut sent = socket.send_to(datagram, to);
    if also_to_one && *to.ip() == WHOLE_HOST {
        let to_one = socket.send_to(datagram, (Ipv4Addr::LOCALHOST, to.port()));
        sent = sent.or(to_one);
    }
    sent.map(drop)
}

/// Receives a datagram, of which the buffer may take only the beginning. `Interrupted`: something was
/// received that is none, and the next can be asked for at once.
pub(crate) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    /// A datagram was larger than the buffer, which is no error elsewhere.
    const WSAEMSGSIZE: i32 = 10_040;
    socket.recv_from(buffer).map_err(|error| {
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
    use std::time::Duration;

    use super::*;

    /// A socket that hears only what is sent to 127.0.0.1.
    fn socket() -> (UdpSocket, u16) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
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
        let (len, _) = receive(&socket, &mut buffer).unwrap();
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
        match receive(&socket, &mut buffer) {
            Ok((len, _)) => assert_eq!(len, 16),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted),
        }
        let (len, _) = receive(&socket, &mut buffer).unwrap();
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
        let heard = std::iter::from_fn(|| Some(receive(&socket, &mut buffer)))
            .take(3)
            .find(
                |heard| !matches!(heard, Err(error) if error.kind() == io::ErrorKind::Interrupted),
            );
        assert_eq!(heard.unwrap().unwrap(), (4, own));
    }
}
