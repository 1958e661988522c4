//! Sockets, interfaces and files, with as much of the interfaces of std, socket2, if-addrs and hostname as
//! the library uses.

use std::ffi::OsString;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::ops::Deref;
use std::time::Duration;

use crate::net::tcp::{self, Option_};
use crate::net::{Socket as Kind, udp};
use crate::world;

/// A file descriptor.
#[derive(Debug)]
struct Fd(usize);

impl Drop for Fd {
    fn drop(&mut self) {
        if world::is_inside() {
            world::step();
            world::with(|inner, _| inner.close(self.0));
        }
    }
}

fn only_v4(addr: impl ToSocketAddrs) -> io::Result<SocketAddrV4> {
    let v4 = addr.to_socket_addrs()?.find_map(|addr| match addr {
        SocketAddr::V4(addr) => Some(addr),
        SocketAddr::V6(_) => None,
    });
    v4.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

// std

#[derive(Debug)]
pub struct TcpStream(Fd);

impl TcpStream {
    pub fn connect(addr: impl ToSocketAddrs) -> io::Result<TcpStream> {
        let addr = SocketAddr::V4(only_v4(addr)?);
        TcpStream::connect_timeout(&addr, Duration::from_secs(100))
    }

    pub fn connect_timeout(addr: &SocketAddr, time: Duration) -> io::Result<TcpStream> {
        let stream = TcpStream(Fd(tcp::open()?));
        tcp::connect(stream.0.0, only_v4(addr)?, time)?;
        Ok(stream)
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        tcp::addr(self.0.0, false).map(SocketAddr::V4)
    }

    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        tcp::addr(self.0.0, true).map(SocketAddr::V4)
    }

    pub fn set_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    pub fn set_read_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        tcp::set(self.0.0, Option_::ReadTimeout(time))
    }

    pub fn set_write_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        tcp::set(self.0.0, Option_::WriteTimeout(time))
    }

    pub fn set_nonblocking(&self, is: bool) -> io::Result<()> {
        tcp::set(self.0.0, Option_::Nonblocking(is))
    }

    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(tcp::error(self.0.0))
    }

    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let (reading, writing) = (how != Shutdown::Write, how != Shutdown::Read);
        tcp::shutdown(self.0.0, reading, writing)
    }

    pub fn peek(&self, out: &mut [u8]) -> io::Result<usize> {
        tcp::read(self.0.0, out, true, false)
    }
}

impl Read for &TcpStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        tcp::read(self.0.0, out, false, false)
    }
}

impl Write for &TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        tcp::write(self.0.0, bytes, false)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        (&*self).read(out)
    }
}

impl Write for TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
pub struct TcpListener(Fd);

impl TcpListener {
    pub fn bind(addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
        tcp::listen(only_v4(addr)?).map(|id| TcpListener(Fd(id)))
    }

    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (id, remote) = tcp::accept(self.0.0)?;
        Ok((TcpStream(Fd(id)), SocketAddr::V4(remote)))
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        world::with(|inner, _| match &inner.net.sockets[self.0.0] {
            Kind::Listener(own) => Ok(SocketAddr::V4(own.addr)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        })
    }
}

#[derive(Debug)]
pub struct UdpSocket(Fd);

impl UdpSocket {
    pub fn bind(addr: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        let socket = UdpSocket(Fd(udp::open()?));
        udp::bind(socket.0.0, only_v4(addr)?)?;
        Ok(socket)
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::V4(udp::local(self.0.0)))
    }

    pub fn connect(&self, addr: impl ToSocketAddrs) -> io::Result<()> {
        udp::connect(self.0.0, *only_v4(addr)?.ip())
    }

    pub fn set_broadcast(&self, is: bool) -> io::Result<()> {
        udp::change(self.0.0, |own| own.is_broadcasting = is);
        Ok(())
    }

    pub fn set_read_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        udp::change(self.0.0, |own| own.read_timeout = time);
        Ok(())
    }

    pub fn set_nonblocking(&self, is: bool) -> io::Result<()> {
        udp::change(self.0.0, |own| own.is_nonblocking = is);
        Ok(())
    }

    pub fn send_to(&self, bytes: &[u8], to: impl ToSocketAddrs) -> io::Result<usize> {
        udp::send_to(self.0.0, bytes, only_v4(to)?)
    }

    pub fn recv_from(&self, out: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, from) = udp::recv_from(self.0.0, out)?;
        Ok((len, SocketAddr::V4(from)))
    }
}

// socket2

/// A family of addresses, by its number.
pub struct Domain(i32);

impl Domain {
    pub const IPV4: Domain = Domain(libc::AF_INET);
}

impl From<i32> for Domain {
    fn from(number: i32) -> Domain {
        Domain(number)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Type {
    STREAM,
    DGRAM,
}

pub struct Protocol(());

impl Protocol {
    pub const TCP: Protocol = Protocol(());
    pub const UDP: Protocol = Protocol(());
}

impl From<i32> for Protocol {
    fn from(_: i32) -> Protocol {
        Protocol(())
    }
}

pub struct SockAddr(SocketAddr);

impl From<SocketAddrV4> for SockAddr {
    fn from(addr: SocketAddrV4) -> SockAddr {
        SockAddr(SocketAddr::V4(addr))
    }
}

impl From<SocketAddr> for SockAddr {
    fn from(addr: SocketAddr) -> SockAddr {
        SockAddr(addr)
    }
}

pub struct Socket(Fd);

impl Socket {
    /// Like some sandboxes, this system lets nobody ask its kernel about connections by a socket.
    pub fn new(domain: Domain, kind: Type, _: Option<Protocol>) -> io::Result<Socket> {
        if domain.0 != libc::AF_INET {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let id = match kind {
            Type::STREAM => tcp::open()?,
            Type::DGRAM => udp::open()?,
        };
        Ok(Socket(Fd(id)))
    }

    pub fn set_reuse_address(&self, is: bool) -> io::Result<()> {
        udp::change(self.0.0, |own| own.is_shared = is);
        Ok(())
    }

    pub fn set_broadcast(&self, is: bool) -> io::Result<()> {
        udp::change(self.0.0, |own| own.is_broadcasting = is);
        Ok(())
    }

    pub fn bind(&self, addr: &SockAddr) -> io::Result<()> {
        udp::bind(self.0.0, only_v4(addr.0)?)
    }

    pub fn set_read_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        udp::change(self.0.0, |own| own.read_timeout = time);
        Ok(())
    }

    /// To the kernel, which takes nothing.
    pub fn send(&self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::NotConnected.into())
    }
}

impl Read for &Socket {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::NotConnected.into())
    }
}

impl From<Socket> for TcpStream {
    fn from(socket: Socket) -> TcpStream {
        TcpStream(socket.0)
    }
}

impl From<Socket> for UdpSocket {
    fn from(socket: Socket) -> UdpSocket {
        UdpSocket(socket.0)
    }
}

#[derive(Clone)]
pub struct TcpKeepalive {
    idle: Duration,
    interval: Duration,
    retries: u32,
}

impl TcpKeepalive {
    #[allow(clippy::new_without_default)]
    pub fn new() -> TcpKeepalive {
        TcpKeepalive {
            idle: Duration::from_secs(7200),
            interval: Duration::from_secs(75),
            retries: 9,
        }
    }

    pub fn with_time(self, idle: Duration) -> TcpKeepalive {
        TcpKeepalive { idle, ..self }
    }

    pub fn with_interval(self, interval: Duration) -> TcpKeepalive {
        TcpKeepalive { interval, ..self }
    }

    pub fn with_retries(self, retries: u32) -> TcpKeepalive {
        TcpKeepalive { retries, ..self }
    }
}

/// A socket for a moment.
pub struct SockRef(usize);

pub trait HasFd {
    fn id(&self) -> usize;
}

impl HasFd for TcpStream {
    fn id(&self) -> usize {
        self.0.0
    }
}

impl HasFd for TcpListener {
    fn id(&self) -> usize {
        self.0.0
    }
}

impl HasFd for UdpSocket {
    fn id(&self) -> usize {
        self.0.0
    }
}

impl HasFd for std::sync::Arc<TcpListener> {
    fn id(&self) -> usize {
        self.deref().0.0
    }
}

impl<T: HasFd> From<&T> for SockRef {
    fn from(socket: &T) -> SockRef {
        SockRef(socket.id())
    }
}

impl SockRef {
    pub fn connect_timeout(&self, addr: &SockAddr, time: Duration) -> io::Result<()> {
        tcp::connect(self.0, only_v4(addr.0)?, time)
    }

    pub fn set_tcp_keepalive(&self, keepalive: &TcpKeepalive) -> io::Result<()> {
        let TcpKeepalive {
            idle,
            interval,
            retries,
        } = *keepalive;
        tcp::set(self.0, Option_::Keepalive(idle, interval, retries))
    }

    pub fn set_linger(&self, time: Option<Duration>) -> io::Result<()> {
        tcp::set(self.0, Option_::ResetsOnClose(time == Some(Duration::ZERO)))
    }

    pub fn set_tcp_notsent_lowat(&self, _: u32) -> io::Result<()> {
        Ok(())
    }

    pub fn set_send_buffer_size(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    pub fn set_recv_buffer_size(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    pub fn listen(&self, backlog: i32) -> io::Result<()> {
        world::with(|inner, _| {
            if let Kind::Listener(own) = &mut inner.net.sockets[self.0] {
                own.backlog = backlog as usize;
            }
        });
        Ok(())
    }

    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        world::step();
        let is_listener = world::with(|inner, _| {
            let is_listener = matches!(inner.net.sockets[self.0], Kind::Listener(_));
            if is_listener {
                inner.shut_listener(self.0);
            }
            is_listener
        });
        match is_listener {
            true => Ok(()),
            false => tcp::shutdown(self.0, how != Shutdown::Write, how != Shutdown::Read),
        }
    }

    pub fn send_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_vectored_with_flags(parts, 0)
    }

    pub fn send_vectored_with_flags(&self, parts: &[IoSlice<'_>], flags: i32) -> io::Result<usize> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        tcp::write(self.0, &bytes, flags & libc::MSG_DONTWAIT != 0)
    }

    pub fn recv_with_flags(&self, out: &mut [MaybeUninit<u8>], flags: i32) -> io::Result<usize> {
        let mut bytes = vec![0; out.len()];
        let peeks = flags & libc::MSG_PEEK != 0;
        let len = tcp::read(self.0, &mut bytes, peeks, flags & libc::MSG_DONTWAIT != 0)?;
        for (to, from) in out.iter_mut().zip(&bytes[..len]) {
            to.write(*from);
        }
        Ok(len)
    }
}

// if-addrs

pub struct Interface {
    pub name: String,
    pub addr: IfAddr,
    pub is_p2p: bool,
}

pub enum IfAddr {
    V4(Ifv4Addr),
    V6(()),
}

pub struct Ifv4Addr {
    pub ip: Ipv4Addr,
    pub netmask: Ipv4Addr,
    pub broadcast: Option<Ipv4Addr>,
}

pub fn get_if_addrs() -> io::Result<Vec<Interface>> {
    world::step();
    world::with(|inner, me| {
        let host = inner.processes[inner.process_of(me)].host;
        let interfaces = inner.net.hosts[host].interfaces.iter();
        let interfaces = interfaces.map(|(name, ip, mask)| Interface {
            name: name.clone(),
            addr: IfAddr::V4(Ifv4Addr {
                ip: *ip,
                netmask: *mask,
                broadcast: Some(Ipv4Addr::from_bits(ip.to_bits() | !mask.to_bits())),
            }),
            is_p2p: false,
        });
        Ok(interfaces.collect())
    })
}

// hostname

pub fn host_name() -> io::Result<OsString> {
    world::with(|inner, me| {
        let host = inner.processes[inner.process_of(me)].host;
        Ok(inner.net.hosts[host].name.clone().into())
    })
}

pub mod fs {
    //! The two files in which Linux tells of a process.

    use std::fmt::Write;
    use std::io;
    use std::net::SocketAddrV4;
    use std::path::Path;

    use crate::net::Socket;
    use crate::net::tcp::{State, no_fd};
    use crate::world::{self, Inner, MICRO};

    pub struct File;

    impl File {
        pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
            read_to_string(path).map(|_| File)
        }
    }

    pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
        world::step();
        let path = path.as_ref().to_string_lossy().into_owned();
        world::with(|inner, me| {
            let process = inner.process_of(me);
            let own = &inner.processes[process];
            if own.fds >= own.fds_max {
                return Err(no_fd());
            }
            match path.as_str() {
                "/proc/self/limits" => Ok(format!("Max open files {} {0} files\n", own.fds_max)),
                "/proc/thread-self/net/tcp" if inner.net.hosts[own.host].has_table => {
                    let host = own.host;
                    // Nobody else runs meanwhile, as on one processor.
                    inner.now += inner.net.hosts[host].other_rows * MICRO;
                    Ok(table(inner, host))
                }
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        })
    }

    fn table(inner: &Inner, host: usize) -> String {
        let mut text = "  sl  local_address rem_address   st tx_queue rx_queue\n".to_owned();
        let hex = |addr: SocketAddrV4| {
            let ip = u32::from_ne_bytes(addr.ip().octets());
            format!("{ip:08X}:{:04X}", addr.port())
        };
        let mut row = |local, remote, state: u8, waits: usize, timer: u8, retries: u32| {
            let (local, remote) = (hex(local), hex(remote));
            let _ = writeln!(
                text,
                "   0: {local} {remote} {state:02X} {waits:08X}:00000000 {timer:02X}:00000000 {retries:08X} 0 0 1"
            );
        };
        for socket in &inner.net.sockets {
            let Socket::Tcp(tcp) = socket else { continue };
            let (Some(local), Some(remote)) = (tcp.local, tcp.remote) else {
                continue;
            };
            if tcp.host == host && tcp.state == State::Open {
                let waits = tcp.unacknowledged();
                row(
                    local,
                    remote,
                    1,
                    waits,
                    u8::from(waits > 0),
                    tcp.retransmits(),
                );
            }
        }
        for &(own, local, remote) in &inner.net.remembered {
            if own == host {
                row(local, remote, 6, 0, 3, 0);
            }
        }
        text
    }
}
