//! Asks on each network and host by host, and listens on the discovery port meanwhile.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::facts::{Answer, Failure, Host, Interface, Network, Reply};

/// So much is remembered at most of what comes to the discovery port.
const HEARD_MAX: usize = 4096;
/// So many hosts are asked one by one, besides those that are named.
const HOSTS_MAX: usize = 8;
/// A host is given so long to answer, and to take a connection.
const HOST_PATIENCE: Duration = Duration::from_millis(900);
/// A doctor is known by this, and by a number of its own behind it.
const MARK: &str = "doctor=";

/// What has come to the discovery port: from where, and its text.
type Heard = Arc<Mutex<Vec<(SocketAddr, String)>>>;

/// Listens on the discovery port, shared with the peers of this host.
pub struct Ear {
    socket: UdpSocket,
    heard: Heard,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// This doctor, among others.
fn mark() -> &'static str {
    static MINE: LazyLock<String> =
        LazyLock::new(|| format!("{MARK}{:016x}", RandomState::new().hash_one(())));
    &MINE
}

impl Ear {
    pub fn new(port: u16) -> io::Result<Ear> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
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
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
        let socket: UdpSocket = socket.into();
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let (heard, is_over) = (Heard::default(), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (socket, heard) = (socket.try_clone()?, Arc::clone(&heard));
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || listen(&socket, &heard, &is_over))
        };
        Ok(Ear {
            socket,
            heard,
            is_over,
            thread: Some(thread),
        })
    }

    fn has_heard(&self, wanted: impl Fn(SocketAddr, &str) -> bool) -> bool {
        let heard = self.heard.lock().expect("no panic");
        heard.iter().any(|(from, text)| wanted(*from, text))
    }

    /// Who else has spoken: each host with the first word of what it said last.
    fn others(&self, own: &[Ipv4Addr]) -> HashMap<Ipv4Addr, String> {
        let heard = self.heard.lock().expect("no panic");
        let mut others = HashMap::new();
        for (from, text) in heard.iter() {
            let IpAddr::V4(ip) = from.ip() else { continue };
            let word = text.split([' ', '|']).next().unwrap_or_default();
            let is_known = ["PING", "HERE", "GONE", "PONG"].contains(&word);
            if is_known && !ip.is_loopback() && !own.contains(&ip) {
                others.insert(ip, word.to_owned());
            }
        }
        others
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn listen(socket: &UdpSocket, heard: &Heard, is_over: &AtomicBool) {
    let mut buffer = [0; 512];
    while !is_over.load(Ordering::Acquire) {
        let Ok((len, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
        // A host has one discovery port: what is sent to it alone, the doctor may take from a peer.
        if text.starts_with("PING") && text.contains(MARK) && !text.contains(mark()) {
            let answer = padded(&format!("PONG 0.0.0.0:0|{}", mark()));
            let _ = socket.send_to(&answer, from);
        }
        let mut heard = heard.lock().expect("no panic");
        if heard.len() < HEARD_MAX {
            heard.push((from, text));
        }
    }
}

fn padded(text: &str) -> Vec<u8> {
    format!("{text:|<128}").into_bytes()
}

/// Port 0: nobody listens here. `pinger` is where peerpy sends its answer.
fn ping(ip: Ipv4Addr, port: u16) -> Vec<u8> {
    padded(&format!("PING {ip}:0|pinger={ip}:{port}&{}", mark()))
}

/// Where to ask: each broadcast address once, since the system sends to it by one interface.
pub fn networks(
    interfaces: &[Interface],
    bind: Ipv4Addr,
    port: u16,
    time: Duration,
    ear: Option<&Ear>,
) -> io::Result<Vec<Network>> {
    let mut networks: Vec<Network> = Vec::new();
    for one in interfaces
        .iter()
        .filter(|one| one.is_wanted && !one.is_down)
    {
        let Some(broadcast) = one.broadcast else {
            continue;
        };
        if networks.iter().any(|other| other.broadcast == broadcast) {
            continue;
        }
        // As a peer does: bound to what the program names, and else to nothing.
        let bind = match one.ip.is_loopback() {
            true => one.ip,
            false => bind,
        };
        let mut network = Network {
            interface: one.name.clone(),
            ip: one.ip,
            broadcast,
            leaves_from: source_towards(broadcast).map_err(Failure::from),
            is_broadcast: is_broadcast(broadcast),
            hosts_from: hosts_from(one, interfaces),
            sent: Ok(()),
            heard: None,
            answer_heard: None,
            answers: Vec::new(),
        };
        if let Err(error) = ask(&mut network, bind, port, time, ear) {
            network.sent = Err(error.into());
        }
        connect_to(&mut network.answers, interfaces);
        networks.push(network);
    }
    Ok(networks)
}

/// Whether the system takes this address for one to broadcast to: without leave to broadcast, a
/// socket is refused it. Only Linux says so.
fn is_broadcast(broadcast: Ipv4Addr) -> Option<bool> {
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        return None;
    }
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    match socket.connect((broadcast, 9)) {
        Ok(()) => Some(false),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some(true),
        Err(_) => None,
    }
}

/// The address from which the system would send there. Sends nothing.
fn source_towards(ip: Ipv4Addr) -> io::Result<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_broadcast(true)?;
    socket.connect((ip, 9))?;
    match socket.local_addr()?.ip() {
        IpAddr::V4(ip) => Ok(ip),
        IpAddr::V6(_) => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

/// For the first and the last hosts of a network: whoever takes its route takes both halves, or one.
fn hosts_from(
    one: &Interface,
    interfaces: &[Interface],
) -> Vec<(Ipv4Addr, Result<Ipv4Addr, Failure>)> {
    if one.ip.is_loopback() || one.prefix > 29 {
        return Vec::new();
    }
    let hosts = u32::MAX >> one.prefix;
    let first = one.ip.to_bits() & !hosts;
    let hosts = [first + 1, first + 2, first + hosts - 1, first + hosts - 2];
    let is_own = |ip: &Ipv4Addr| interfaces.iter().any(|one| one.ip == *ip);
    let hosts = hosts.into_iter().map(Ipv4Addr::from_bits);
    let hosts = hosts.filter(|ip| !is_own(ip));
    hosts
        .map(|ip| (ip, source_towards(ip).map_err(Failure::from)))
        .collect()
}

fn ask(
    network: &mut Network,
    bind: Ipv4Addr,
    port: u16,
    time: Duration,
    ear: Option<&Ear>,
) -> io::Result<()> {
    let mouth = UdpSocket::bind((bind, 0))?;
    mouth.set_broadcast(true)?;
    mouth.set_read_timeout(Some(Duration::from_millis(10)))?;
    let own = mouth.local_addr()?.port();
    let question = ping(network.ip, own);
    // What comes to this one is to the filter of this host what an answer is: from the discovery
    // port, to a port that nobody knows, and belonging to nothing that was sent there.
    let second = UdpSocket::bind("0.0.0.0:0")?;
    second.set_nonblocking(true)?;
    let second_port = second.local_addr()?.port();
    let trial = format!("doctor {} {own}", std::process::id());

    let (begin, pause) = (Instant::now(), (time / 4).min(Duration::from_millis(250)));
    let (mut sent, mut buffer) = (0, [0; 512]);
    let mut answer_heard = ear.map(|_| Ok(false));
    while begin.elapsed() < time {
        // Again and again, since a datagram may get lost, and another doctor begin later.
        if begin.elapsed() >= pause * sent {
            mouth.send_to(&question, (network.broadcast, port))?;
            sent += 1;
            if let Some(ear) = ear {
                let to = (network.broadcast, second_port);
                if let Err(error) = ear.socket.send_to(trial.as_bytes(), to) {
                    answer_heard = Some(Err(Failure::from(error)));
                }
            }
        }
        while let Ok((len, _)) = second.recv_from(&mut buffer) {
            if &buffer[..len] == trial.as_bytes() {
                answer_heard = Some(Ok(true));
            }
        }
        if let Ok((len, from)) = mouth.recv_from(&mut buffer) {
            let answer = answer(&String::from_utf8_lossy(&buffer[..len]), from);
            let is_new = |answer: &Answer| {
                let mut known = network.answers.iter();
                !known.any(|a| (a.from, a.addr) == (answer.from, answer.addr))
            };
            network.answers.extend(answer.filter(is_new));
        }
    }
    // From this host at this port: from nobody else.
    let is_own = |from: SocketAddr, text: &str| {
        from.port() == own && text.as_bytes() == question && text.starts_with("PING")
    };
    network.heard = ear.map(|ear| ear.has_heard(is_own));
    network.answer_heard = answer_heard;
    Ok(())
}

/// Reads `PONG IP:PORT|…&id=…&name=…`.
fn answer(text: &str, from: SocketAddr) -> Option<Answer> {
    let text = text.strip_prefix("PONG")?.trim_matches([' ', '|']);
    let (addr, fields) = text.split_once('|').unwrap_or((text, ""));
    let fields: HashMap<&str, &str> = fields
        .split('&')
        .filter_map(|one| one.split_once('='))
        .collect();
    let field = |name| {
        let value = fields.get(name).copied().unwrap_or_default();
        value.escape_debug().to_string()
    };
    let addr = match text.contains(MARK) {
        true => None,
        // peerpy may say it without an address of its own in the word's place.
        false => Some(addr.parse().ok().or_else(|| field("ponger").parse().ok())?),
    };
    Some(Answer {
        from,
        addr: addr.map(|addr: SocketAddrV4| match from.ip() {
            IpAddr::V4(ip) if addr.ip().is_unspecified() => SocketAddrV4::new(ip, addr.port()),
            _ => addr,
        }),
        id: field("id"),
        name: field("name"),
        tcp: None,
    })
}

/// Whether those of other hosts can be connected to.
fn connect_to(answers: &mut [Answer], interfaces: &[Interface]) {
    let is_own = |ip: &Ipv4Addr| interfaces.iter().any(|one| one.ip == *ip);
    let far = answers
        .iter_mut()
        .filter_map(|answer| answer.addr.map(|addr| (addr, answer)));
    for (addr, answer) in far
        .filter(|(addr, _)| !is_own(addr.ip()) && !addr.ip().is_loopback())
        .take(HOSTS_MAX)
    {
        let stream = TcpStream::connect_timeout(&addr.into(), HOST_PATIENCE);
        answer.tcp = Some(stream.map(drop).map_err(Failure::from));
    }
}

/// Asks hosts at their own addresses: those that are named, and those that were heard and have not
/// answered.
pub fn hosts(
    named: &[Ipv4Addr],
    networks: &[Network],
    interfaces: &[Interface],
    port: u16,
    ear: Option<&Ear>,
) -> Vec<Host> {
    let own: Vec<Ipv4Addr> = interfaces.iter().map(|one| one.ip).collect();
    let others = ear.map(|ear| ear.others(&own)).unwrap_or_default();
    let has_answered = |ip: Ipv4Addr| {
        let mut answers = networks.iter().flat_map(|network| &network.answers);
        answers.any(|answer| answer.from.ip() == ip)
    };
    let mut heard: Vec<Ipv4Addr> = others.keys().copied().collect();
    heard.sort();
    heard.retain(|ip| !has_answered(*ip) && !named.contains(ip));
    // It has said goodbye.
    heard.retain(|ip| others[ip] != "GONE");
    heard.truncate(HOSTS_MAX);
    let all = named.iter().copied().chain(heard);
    all.map(|ip| Host {
        ip,
        is_named: named.contains(&ip),
        heard: others.get(&ip).cloned(),
        answered_broadcast: has_answered(ip),
        reply: ask_alone(ip, port),
    })
    .collect()
}

fn ask_alone(ip: Ipv4Addr, port: u16) -> Reply {
    let asked = || -> io::Result<bool> {
        // This one is told when nobody listens there. A host with several addresses may answer from
        // another one, which the second one takes in.
        let strict = UdpSocket::bind("0.0.0.0:0")?;
        strict.connect((ip, port))?;
        strict.set_nonblocking(true)?;
        let SocketAddr::V4(own) = strict.local_addr()? else {
            return Ok(false);
        };
        let open = UdpSocket::bind("0.0.0.0:0")?;
        open.set_read_timeout(Some(Duration::from_millis(10)))?;
        let open_port = open.local_addr()?.port();
        let is_pong = |datagram: &[u8]| datagram.starts_with(b"PONG");
        let (begin, mut sent, mut buffer) = (Instant::now(), 0, [0; 512]);
        while begin.elapsed() < HOST_PATIENCE {
            if sent < 3 && begin.elapsed() >= sent * HOST_PATIENCE / 4 {
                strict.send(&ping(*own.ip(), own.port()))?;
                open.send_to(&ping(*own.ip(), open_port), (ip, port))?;
                sent += 1;
            }
            if open
                .recv(&mut buffer)
                .is_ok_and(|len| is_pong(&buffer[..len]))
            {
                return Ok(true);
            }
            match strict.recv(&mut buffer) {
                Ok(len) if is_pong(&buffer[..len]) => return Ok(true),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        Ok(false)
    };
    match asked() {
        Ok(true) => Reply::Answer,
        Ok(false) if is_nobody(ip) => Reply::Nobody,
        Ok(false) => Reply::Silence,
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Reply::Refused,
            _ => Reply::Failed(error.into()),
        },
    }
}

/// Does the system ask in vain which card has this address? Linux tells.
fn is_nobody(ip: Ipv4Addr) -> bool {
    let table = std::fs::read_to_string("/proc/net/arp").unwrap_or_default();
    // IP address, kind, flags, …; no flag means that nobody has answered.
    let mut lines = table.lines().map(|line| line.split_whitespace());
    lines.any(|mut words| {
        words.next().is_some_and(|word| word.parse() == Ok(ip)) && words.nth(1) == Some("0x0")
    })
}
