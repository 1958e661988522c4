//! Why do two peers not see each other? Run this on both hosts.
//!
//!     cargo run --example doctor                           # every network of this host
//!     cargo run --example doctor -- --bind 192.168.0.3     # only the network with this address
//!     cargo run --example doctor -- --bind 127.0.0.1       # this host only
//!
//! It looks at the interfaces, the discovery port and the routes, asks on each network who is
//! there, and listens whether its own question comes by. `--port N` if the peers use another
//! discovery port than 1024. It ends with a failure if it has found a reason.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use if_addrs::{IfAddr, IfOperStatus};
use socket2::{Domain, Socket, Type};

const USAGE: &str = "usage: doctor [--bind IP] [--port N]";
/// How long it waits for answers on each network.
const PATIENCE: Duration = Duration::from_millis(700);

fn main() -> ExitCode {
    env_logger::init();
    match run() {
        Ok(0) => {
            println!("\nThis host is fine. If a peer is still not seen, run this on its host too.");
            ExitCode::SUCCESS
        }
        Ok(reasons) => {
            println!("\n{reasons} reason(s) found; see the lines that begin with !");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns how many reasons it has found.
fn run() -> Result<usize, Box<dyn Error>> {
    let (mut bind, mut port) = (Ipv4Addr::UNSPECIFIED, 1024);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match &*arg {
            "--bind" => bind = args.next().ok_or(USAGE)?.parse()?,
            "--port" => port = args.next().ok_or(USAGE)?.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    let mut reasons = 0;

    println!("The discovery port, UDP {port}");
    let ear = match shared(port) {
        Ok(ear) => {
            println!("  can be had; {}", owners(port));
            Some(ear)
        }
        Err(error) => {
            reasons += 1;
            println!("! can not be had: {error}");
            println!(
                "  Peers on this host are not discoverable. It is held by a program that does not"
            );
            println!("  share it; {}", owners(port));
            println!("  End that program, or give all peers another `discovery_port`.");
            None
        }
    };

    println!("\nThe interfaces");
    let mut networks: Vec<(String, Ipv4Addr, Ipv4Addr)> = Vec::new();
    for interface in if_addrs::get_if_addrs()? {
        let IfAddr::V4(v4) = interface.addr else {
            continue;
        };
        let wanted =
            bind.is_unspecified() || bind == v4.ip || bind.is_loopback() && v4.ip.is_loopback();
        print!("  {} has {}/{}: ", interface.name, v4.ip, v4.prefixlen);
        let hosts = !v4.netmask.to_bits();
        let broadcast = match v4.broadcast {
            Some(set) if set != v4.ip => set,
            _ => Ipv4Addr::from_bits(v4.ip.to_bits() | hosts),
        };
        match () {
            _ if !wanted => println!("not asked for"),
            _ if v4.ip.is_loopback() => {
                println!("this host to itself");
                networks.push((interface.name, v4.ip, Ipv4Addr::new(127, 255, 255, 255)));
            }
            _ if interface.is_p2p || hosts < 2 => {
                println!("a tunnel or a network without a broadcast address.");
                println!(
                    "    Nobody is found through it; peers there can be connected to by address."
                );
            }
            _ if is_down(&interface.name, &interface.oper_status) => {
                // No reason by itself: many hosts have one that is not in use.
                println!("down. Nobody is found through it.");
                println!(
                    "    If it should be in use, plug in its cable, join its network, or set it up."
                );
            }
            _ if networks.iter().any(|(_, _, other)| *other == broadcast) => {
                println!("broadcasts to {broadcast}, as the one above.");
                println!("    The system sends to that address by one of them only.");
            }
            _ => {
                println!("broadcasts to {broadcast}");
                networks.push((interface.name, v4.ip, broadcast));
            }
        }
    }
    if networks.iter().all(|(_, ip, _)| ip.is_loopback()) && !bind.is_loopback() {
        reasons += 1;
        println!("! There is no network but this host itself: only peers on it can be found.");
    }

    println!("\nThe routes");
    // Connecting a UDP socket sends nothing. The address is one that nobody has.
    match UdpSocket::bind("0.0.0.0:0")?.connect("198.51.100.1:9") {
        Ok(()) => println!("  There is a default route."),
        Err(_) => {
            println!(
                "  There is no default route. That is no reason: lanpeer needs none. But a peerpy on"
            );
            println!("  this host can not start without one.");
        }
    }

    for (name, ip, broadcast) in &networks {
        println!("\nAsking on {name}: PING from {ip} to {broadcast}");
        match ask(*ip, *broadcast, port, ear.as_ref()) {
            Ok(answer) => reasons += explain(&answer, *ip, ear.is_some()),
            Err(error) => {
                reasons += 1;
                println!("! It could not be sent: {error}");
                println!(
                    "  The firewall of this host forbids it, or a route to {broadcast} is missing."
                );
            }
        }
    }
    Ok(reasons)
}

fn is_down(name: &str, status: &IfOperStatus) -> bool {
    // Linux knows it better than the flags that all systems have.
    let state = std::fs::read_to_string(format!("/sys/class/net/{name}/operstate"));
    state.is_ok_and(|state| matches!(state.trim(), "down" | "lowerlayerdown"))
        || matches!(status, IfOperStatus::Down | IfOperStatus::LowerLayerDown)
}

/// What came of a question.
struct Answer {
    /// The question itself was heard on this host.
    heard: bool,
    /// Who answered: the first word of the answer, and where it came from.
    peers: BTreeMap<String, SocketAddr>,
}

fn ask(
    ip: Ipv4Addr,
    broadcast: Ipv4Addr,
    port: u16,
    ear: Option<&UdpSocket>,
) -> io::Result<Answer> {
    let mouth = UdpSocket::bind((ip, 0))?;
    mouth.set_broadcast(true)?;
    let own = mouth.local_addr()?;
    // Port 0: nobody listens here. `pinger` is where peerpy sends its answer.
    let ping = format!("{:|<128}", format!("PING {ip}:0|pinger={own}"));
    let mut answer = Answer {
        heard: false,
        peers: BTreeMap::new(),
    };
    let begin = Instant::now();
    let mut sent = 0;
    let mut buffer = [0; 512];
    while begin.elapsed() < PATIENCE {
        // Thrice, since a datagram may get lost.
        if sent < 3 && begin.elapsed() >= sent * PATIENCE / 4 {
            mouth.send_to(ping.as_bytes(), (broadcast, port))?;
            sent += 1;
        }
        mouth.set_read_timeout(Some(Duration::from_millis(10)))?;
        if let Ok((len, source)) = mouth.recv_from(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..len]);
            if let Some(text) = text.strip_prefix("PONG") {
                let text = text.trim_end_matches('|').trim_start_matches([' ', '|']);
                answer.peers.insert(text.escape_debug().to_string(), source);
            }
        }
        if let Some(ear) = ear {
            ear.set_nonblocking(true)?;
            while let Ok((_, source)) = ear.recv_from(&mut buffer) {
                answer.heard |= source == own;
            }
        }
    }
    Ok(answer)
}

/// Says what an answer means, and returns how many reasons are in it.
fn explain(answer: &Answer, ip: Ipv4Addr, has_ear: bool) -> usize {
    let mut reasons = 0;
    match (has_ear, answer.heard) {
        (false, _) => println!("  Whether it can be heard was not tried, without the port."),
        (true, true) => println!("  It was heard on this host, so its firewall lets it in."),
        (true, false) => {
            reasons += 1;
            println!(
                "! It was not heard on this host: a firewall drops it. Allow incoming UDP on the"
            );
            println!("  discovery port, and TCP to the program's port.");
        }
    }
    for (text, source) in &answer.peers {
        let claimed: &str = text.split('|').next().unwrap_or_default();
        println!("  {source} answers: {claimed}");
    }
    if answer.peers.is_empty() && ip.is_loopback() {
        println!("  No peer on this host answers.");
    } else if answer.peers.is_empty() {
        println!("  Nobody answers. If there should be someone, then on that host:");
        println!("  - its firewall must let in UDP on the discovery port (run this there too);");
        println!("  - it must be on this same network: broadcasts pass no router, no guest or");
        println!("    \"isolated\" Wi-Fi, and few VPNs;");
        println!(
            "  - its peer must not be invisible, nor bound to 127.0.0.1 or another network, and"
        );
        println!("    must use the same discovery port.");
    }
    reasons
}

/// The port, shared with the peers of this host.
fn shared(port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    #[cfg(target_vendor = "apple")]
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    Ok(socket.into())
}

/// Who has this UDP port, from what Linux tells; another user's programs are not named.
fn owners(port: u16) -> String {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap_or_default();
    let suffix = format!(":{port:04X}");
    let sockets: Vec<String> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.len() > 9 && words[1].ends_with(&suffix))
        .map(|words| format!("socket:[{}]", words[9]))
        .collect();
    let mut names = Vec::new();
    for process in entries("/proc".as_ref()) {
        let id = process
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let files = entries(&process.join("fd")).into_iter();
        let mut links = files.filter_map(|file| std::fs::read_link(file).ok());
        let holds = links.any(|link| sockets.iter().any(|socket| link.as_os_str() == &**socket));
        if holds && id.parse().is_ok_and(|id: u32| id != std::process::id()) {
            let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
            names.push(format!("{} (process {id})", name.trim()));
        }
    }
    match (names.is_empty(), cfg!(target_os = "linux")) {
        (false, _) => format!("held by {}", names.join(", ")),
        (true, true) => "no other program that can be named holds it.".to_owned(),
        (true, false) => "`lsof -i UDP` or `netstat -a -b` names its owner.".to_owned(),
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
