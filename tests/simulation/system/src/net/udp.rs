//! Datagrams: they get lost, and overtake each other.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::{Event, Socket};
use crate::world::{self, Inner};

/// So many datagrams wait at a socket; further ones are lost.
const WAITING: usize = 100;

pub struct Udp {
    pub process: usize,
    pub host: usize,
    pub ip: Ipv4Addr,
    pub port: u16,
    pub is_shared: bool,
    pub is_broadcasting: bool,
    pub towards: Option<Ipv4Addr>,
    pub read_timeout: Option<Duration>,
    pub is_nonblocking: bool,
    waiting: VecDeque<(Vec<u8>, SocketAddrV4)>,
    key: usize,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datagram {
    from: SocketAddrV4,
    from_host: usize,
    to: SocketAddrV4,
    to_host: usize,
    is_broadcast: bool,
    bytes: Vec<u8>,
}

impl Inner {
    pub fn datagram(&mut self, datagram: Datagram) {
        let Datagram {
            from,
            from_host,
            to,
            to_host,
            is_broadcast,
            bytes,
        } = datagram;
        if !self.net.reaches(from_host, to_host) {
            return;
        }
        let mut keys = Vec::new();
        for socket in self.net.sockets.iter_mut().rev() {
            let Socket::Udp(own) = socket else { continue };
            let is_bound = own.ip.is_unspecified() || own.ip == *to.ip();
            if own.host != to_host || own.port != to.port() || !is_bound {
                continue;
            }
            if own.waiting.len() < WAITING {
                own.waiting.push_back((bytes.clone(), from));
                keys.push(own.key);
            }
            // Of those that share a port, the last has what is sent to one.
            if !is_broadcast {
                break;
            }
        }
        for key in keys {
            self.wake_all(key);
        }
    }
}

pub fn open() -> io::Result<usize> {
    world::step();
    world::with(|inner, me| {
        let process = inner.process_of(me);
        inner.take_fd(process)?;
        let host = inner.processes[process].host;
        Ok(inner.net.add(Socket::Udp(Udp {
            process,
            host,
            ip: Ipv4Addr::UNSPECIFIED,
            port: 0,
            is_shared: false,
            is_broadcasting: false,
            towards: None,
            read_timeout: None,
            is_nonblocking: false,
            waiting: VecDeque::new(),
            key: world::fresh_key(),
        })))
    })
}

pub fn change<T>(id: usize, f: impl FnOnce(&mut Udp) -> T) -> T {
    world::with(|inner, _| match &mut inner.net.sockets[id] {
        Socket::Udp(own) => f(own),
        _ => panic!("socket {id} is no UDP socket"),
    })
}

pub fn bind(id: usize, addr: SocketAddrV4) -> io::Result<()> {
    world::with(|inner, me| {
        let process = inner.process_of(me);
        let host = inner.processes[process].host;
        let Socket::Udp(own) = &inner.net.sockets[id] else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let is_shared = own.is_shared;
        let addr = inner.net.claim(host, addr, |socket, port| match socket {
            Socket::Udp(own) => {
                own.host == host && own.port == port && !(own.is_shared && is_shared)
            }
            _ => false,
        })?;
        if let Socket::Udp(own) = &mut inner.net.sockets[id] {
            (own.ip, own.port) = (*addr.ip(), addr.port());
        }
        Ok(())
    })
}

pub fn local(id: usize) -> SocketAddrV4 {
    world::with(|inner, _| {
        let Socket::Udp(own) = &inner.net.sockets[id] else {
            panic!("socket {id} is no UDP socket");
        };
        let (host, ip, port, towards) = (own.host, own.ip, own.port, own.towards);
        let source = towards.and_then(|to| inner.net.source(host, to));
        SocketAddrV4::new(source.unwrap_or(ip), port)
    })
}

pub fn connect(id: usize, to: Ipv4Addr) -> io::Result<()> {
    world::with(|inner, _| {
        let Socket::Udp(own) = &inner.net.sockets[id] else {
            return Err(ErrorKind::InvalidInput.into());
        };
        if inner.net.source(own.host, to).is_none() {
            return Err(ErrorKind::NetworkUnreachable.into());
        }
        if let Socket::Udp(own) = &mut inner.net.sockets[id] {
            own.towards = Some(to);
        }
        Ok(())
    })
}

/// A datagram whose sender's address is forged, from this thread's host.
pub fn forge(bytes: &[u8], from: SocketAddrV4, to: SocketAddrV4) {
    world::step();
    world::with(|inner, me| {
        let host = inner.processes[inner.process_of(me)].host;
        let Some(to_host) = inner.net.host_of(host, *to.ip()) else {
            return;
        };
        let at = inner.now + inner.delay(host, to_host);
        let datagram = Datagram {
            from,
            from_host: host,
            to,
            to_host,
            is_broadcast: false,
            bytes: bytes.to_vec(),
        };
        inner.schedule(at, Event::Datagram(datagram));
    });
}

pub fn send_to(id: usize, bytes: &[u8], to: SocketAddrV4) -> io::Result<usize> {
    world::step();
    world::with(|inner, _| {
        let Socket::Udp(own) = &inner.net.sockets[id] else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let (host, ip, port) = (own.host, own.ip, own.port);
        let Some(source) = inner.net.source(host, *to.ip()) else {
            return Err(ErrorKind::NetworkUnreachable.into());
        };
        let source = if ip.is_unspecified() { source } else { ip };
        let from = SocketAddrV4::new(source, port);
        let is_network = |(_, own, mask): &(String, Ipv4Addr, Ipv4Addr)| {
            Ipv4Addr::from_bits(own.to_bits() | !mask.to_bits()) == *to.ip()
        };
        let here = Ipv4Addr::new(127, 255, 255, 255);
        let (hosts, is_broadcast): (Vec<usize>, bool) = if *to.ip() == here {
            (vec![host], true)
        } else if inner.net.hosts[host].interfaces.iter().any(is_network) {
            let hosts = inner.net.hosts.iter().enumerate();
            let there = hosts.filter(|(_, host)| host.interfaces.iter().any(is_network));
            (there.map(|(index, _)| index).collect(), true)
        } else {
            (
                inner.net.host_of(host, *to.ip()).into_iter().collect(),
                false,
            )
        };
        inner.net.datagrams += u64::from(!to.ip().is_loopback() && *to.ip() != here);
        for to_host in hosts {
            let loss = inner.net.loss;
            if to_host != host && loss > 0 && inner.dice.one_in(loss) {
                continue;
            }
            let at = inner.now + inner.delay(host, to_host);
            let datagram = Datagram {
                from,
                from_host: host,
                to,
                to_host,
                is_broadcast,
                bytes: bytes.to_vec(),
            };
            inner.schedule(at, Event::Datagram(datagram));
        }
        Ok(bytes.len())
    })
}

pub fn recv_from(id: usize, out: &mut [u8]) -> io::Result<(usize, SocketAddrV4)> {
    world::step();
    let (key, timeout, waits) = change(id, |own| (own.key, own.read_timeout, !own.is_nonblocking));
    let deadline = timeout.map(|time| world::now() + world::nanos(time));
    loop {
        if let Some((bytes, from)) = change(id, |own| own.waiting.pop_front()) {
            let len = bytes.len().min(out.len());
            out[..len].copy_from_slice(&bytes[..len]);
            return Ok((len, from));
        }
        if !waits || deadline.is_some_and(|deadline| world::now() >= deadline) {
            return Err(ErrorKind::WouldBlock.into());
        }
        world::wait(&[key], deadline, "a datagram");
    }
}
