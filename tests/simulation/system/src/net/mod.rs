//! Hosts, the links between them, and all sockets. A link delays what it carries, and can be cut.

pub mod tcp;
pub mod udp;

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4};

use self::tcp::{Arrival, Tcp};
use self::udp::{Datagram, Udp};
use crate::dice::Dice;
use crate::world::{self, Inner, MICRO, MILLI, Time};

/// Something that happens by itself, at its time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// The first segment on the way from this socket arrives.
    Arrives(usize),
    /// The other side's acknowledgement of so many bytes, and of the FIN, comes back to this socket.
    Acknowledged(usize, usize, bool),
    /// What this socket has sent had no answer.
    Repeats(usize),
    /// The other side has told this socket of room.
    Room(usize),
    /// Time for a probe of the other side's full window.
    Window(usize),
    /// A connection is asked for, for the n-th time.
    Asks(usize, u32),
    /// It is refused.
    Refused(usize),
    /// Time for a probe of a silent connection.
    Probes(usize),
    /// The row of a connection that has ended is forgotten.
    Forgotten(SocketAddrV4, SocketAddrV4),
    Datagram(Datagram),
}

pub struct Net {
    pub hosts: Vec<Host>,
    pub sockets: Vec<Socket>,
    /// Pairs of hosts that do not reach each other.
    cuts: Vec<(usize, usize)>,
    /// How long a segment is on its way, at least and at most.
    delay: (Time, Time),
    /// One datagram of so many is lost; 0: none.
    loss: u64,
    /// Segments have at most so many bytes.
    segment: usize,
    /// What the kernel keeps of a connection's bytes, either way.
    send_buffer: usize,
    receive_buffer: usize,
    next_port: u16,
    /// Ends of connections that are over, as the first side to close knows them.
    pub(crate) remembered: Vec<(usize, SocketAddrV4, SocketAddrV4)>,
    pub datagrams: u64,
}

pub struct Host {
    pub name: String,
    pub interfaces: Vec<(String, Ipv4Addr, Ipv4Addr)>,
    /// It has power.
    pub is_up: bool,
    /// Its system shows its table of connections.
    pub has_table: bool,
    /// Of two interfaces in one network, it sends from the last.
    pub prefers_last: bool,
    /// Rows of that table which are not in `sockets`.
    pub other_rows: u64,
}

pub enum Socket {
    Tcp(Box<Tcp>),
    Listener(Listener),
    Udp(Udp),
    Gone,
}

pub struct Listener {
    pub process: usize,
    pub host: usize,
    pub addr: SocketAddrV4,
    pub backlog: usize,
    pub waiting: std::collections::VecDeque<usize>,
    pub is_shut: bool,
    pub key: usize,
}

impl Net {
    pub fn new(dice: &mut Dice) -> Net {
        let least = *dice.pick(&[5 * MICRO, 50 * MICRO, 500 * MICRO]);
        let most = least * dice.between(1, 20);
        Net {
            hosts: Vec::new(),
            sockets: Vec::new(),
            cuts: Vec::new(),
            delay: (least, most),
            loss: *dice.pick(&[0, 0, 100, 10]),
            segment: *dice.pick(&[20, 200, 1448, 65_536]),
            send_buffer: *dice.pick(&[2_000, 20_000, 200_000]),
            receive_buffer: *dice.pick(&[2_000, 20_000, 200_000]),
            next_port: 32_768,
            remembered: Vec::new(),
            datagrams: 0,
        }
    }

    pub fn host_of(&self, from: usize, ip: Ipv4Addr) -> Option<usize> {
        if ip.is_loopback() {
            return Some(from);
        }
        let has = |host: &Host| host.interfaces.iter().any(|(_, own, _)| *own == ip);
        self.hosts.iter().position(has)
    }

    /// The address that a host speaks from towards another.
    pub fn source(&self, from: usize, to: Ipv4Addr) -> Option<Ipv4Addr> {
        if to.is_loopback() {
            return Some(Ipv4Addr::LOCALHOST);
        }
        let interfaces = &self.hosts[from].interfaces;
        let own = interfaces.iter().find(|(_, own, _)| *own == to);
        let is_near = |(_, own, mask): &&(String, Ipv4Addr, Ipv4Addr)| {
            own.to_bits() & mask.to_bits() == to.to_bits() & mask.to_bits()
        };
        let near = match self.hosts[from].prefers_last {
            true => interfaces.iter().rfind(is_near),
            false => interfaces.iter().find(is_near),
        };
        own.or(near).map(|(_, own, _)| *own)
    }

    pub fn reaches(&self, one: usize, other: usize) -> bool {
        let pair = (one.min(other), one.max(other));
        self.hosts[one].is_up && self.hosts[other].is_up && !self.cuts.contains(&pair)
    }

    pub fn tcp(&mut self, id: usize) -> &mut Tcp {
        match &mut self.sockets[id] {
            Socket::Tcp(tcp) => tcp,
            _ => panic!("socket {id} is no TCP connection"),
        }
    }

    pub fn get_tcp(&mut self, id: usize) -> Option<&mut Tcp> {
        match self.sockets.get_mut(id) {
            Some(Socket::Tcp(tcp)) => Some(tcp),
            _ => None,
        }
    }

    /// The address that a socket of this host is bound to which asks for `addr`, if nobody has it.
    pub fn claim(
        &mut self,
        host: usize,
        addr: SocketAddrV4,
        has: impl Fn(&Socket, u16) -> bool,
    ) -> io::Result<SocketAddrV4> {
        let port = match addr.port() {
            0 => self.free_port(host),
            port => port,
        };
        if self.sockets.iter().any(|socket| has(socket, port)) {
            return Err(ErrorKind::AddrInUse.into());
        }
        let ip = *addr.ip();
        if !ip.is_unspecified() && self.host_of(host, ip) != Some(host) {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        Ok(SocketAddrV4::new(ip, port))
    }

    pub fn free_port(&mut self, host: usize) -> u16 {
        loop {
            self.next_port = self.next_port.checked_add(1).unwrap_or(32_768);
            let port = self.next_port;
            let is_taken = self.sockets.iter().any(|socket| match socket {
                Socket::Tcp(tcp) => tcp.host == host && tcp.local.is_some_and(|l| l.port() == port),
                Socket::Listener(own) => own.host == host && own.addr.port() == port,
                Socket::Udp(own) => own.host == host && own.port == port,
                Socket::Gone => false,
            });
            if !is_taken {
                return port;
            }
        }
    }

    pub fn add(&mut self, socket: Socket) -> usize {
        self.sockets.push(socket);
        self.sockets.len() - 1
    }
}

impl Inner {
    /// How long a segment is on its way.
    pub fn delay(&mut self, one: usize, other: usize) -> Time {
        let (least, most) = match one == other {
            true => (2 * MICRO, 20 * MICRO),
            false => self.net.delay,
        };
        self.dice.between(least, most)
    }

    pub fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives(from) => self.arrives(from),
            Event::Acknowledged(at, bytes, fin) => self.acknowledged(at, bytes, fin),
            Event::Repeats(at) => self.repeats(at),
            Event::Room(at) => self.room(at),
            Event::Window(at) => self.window(at),
            Event::Asks(from, attempt) => self.asks(from, attempt),
            Event::Refused(at) => {
                let refused = Arrival::Refused;
                self.arrival(at, refused);
            }
            Event::Probes(at) => self.probes(at),
            Event::Forgotten(local, remote) => {
                self.net
                    .remembered
                    .retain(|(_, own, other)| (*own, *other) != (local, remote));
            }
            Event::Datagram(datagram) => self.datagram(datagram),
        }
    }

    /// Closes what a process that is killed has open.
    pub fn close_all_of(&mut self, process: usize) {
        for id in 0..self.net.sockets.len() {
            let is_own = match &self.net.sockets[id] {
                Socket::Tcp(tcp) => tcp.process == process && tcp.is_open,
                Socket::Listener(own) => own.process == process,
                Socket::Udp(own) => own.process == process,
                Socket::Gone => false,
            };
            if is_own {
                self.close(id);
            }
        }
    }

    /// The last handle of a socket is gone.
    pub fn close(&mut self, id: usize) {
        let process = match &self.net.sockets[id] {
            Socket::Tcp(tcp) => tcp.process,
            Socket::Listener(own) => own.process,
            Socket::Udp(own) => own.process,
            Socket::Gone => return,
        };
        match &mut self.net.sockets[id] {
            Socket::Tcp(_) => self.close_tcp(id),
            Socket::Listener(_) => {
                self.shut_listener(id);
                self.net.sockets[id] = Socket::Gone;
            }
            Socket::Udp(_) | Socket::Gone => self.net.sockets[id] = Socket::Gone,
        }
        let fds = &mut self.processes[process].fds;
        *fds = fds.saturating_sub(1);
    }
}

// What the referee does with the network.

/// A new host, with one interface in a network of 256.
pub fn add_host(name: &str, ip: Ipv4Addr) -> usize {
    world::with(|inner, _| {
        let mask = Ipv4Addr::new(255, 255, 255, 0);
        inner.net.hosts.push(Host {
            name: name.to_owned(),
            interfaces: vec![("eth0".to_owned(), ip, mask)],
            is_up: true,
            has_table: true,
            prefers_last: false,
            other_rows: 0,
        });
        inner.net.hosts.len() - 1
    })
}

/// One more interface of a host, in a network of 256.
pub fn add_interface(host: usize, name: &str, ip: Ipv4Addr) {
    world::with(|inner, _| {
        let mask = Ipv4Addr::new(255, 255, 255, 0);
        let own = &mut inner.net.hosts[host];
        own.interfaces.push((name.to_owned(), ip, mask));
    });
}

pub fn cut(one: usize, other: usize) {
    world::with(|inner, me| {
        inner.note(me, format_args!("the link of {one} and {other} is cut"));
        inner.net.cuts.push((one.min(other), one.max(other)));
    });
}

pub fn heal(one: usize, other: usize) {
    world::with(|inner, me| {
        inner.note(me, format_args!("the link of {one} and {other} is whole"));
        let pair = (one.min(other), one.max(other));
        inner.net.cuts.retain(|cut| *cut != pair);
    });
}

/// This host's system shows no table of connections, as all but Linux.
pub fn hide_table(host: usize) {
    world::with(|inner, _| inner.net.hosts[host].has_table = false);
}

/// This host's system sends from the last of several interfaces in one network.
pub fn prefer_last_interface(host: usize) {
    world::with(|inner, _| inner.net.hosts[host].prefers_last = true);
}

/// The table of connections of this host has so many more rows.
pub fn crowd_table(host: usize, rows: u64) {
    world::with(|inner, _| inner.net.hosts[host].other_rows = rows);
}

/// No datagram is lost.
pub fn lose_nothing() {
    world::with(|inner, _| inner.net.loss = 0);
}

/// A host loses its power: nobody hears of it again.
pub fn power_off(host: usize) {
    world::with(|inner, me| {
        inner.note(me, format_args!("host {host} loses its power"));
        inner.net.hosts[host].is_up = false;
        for process in 0..inner.processes.len() {
            if inner.processes[process].host == host && process != 0 {
                inner.kill_threads(process);
            }
        }
    });
}

/// The sockets that a process has open.
pub fn open_sockets(process: usize) -> usize {
    world::with(|inner, _| {
        let sockets = inner.net.sockets.iter();
        let own = sockets.filter(|socket| match socket {
            Socket::Tcp(tcp) => tcp.process == process && tcp.is_open,
            Socket::Listener(own) => own.process == process,
            Socket::Udp(own) => own.process == process,
            Socket::Gone => false,
        });
        own.count()
    })
}

pub const RETRY_MIN: Time = 200 * MILLI;
