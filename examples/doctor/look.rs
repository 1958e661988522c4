//! Reads what this host says of itself: its system, its interfaces, who has the port.

use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use if_addrs::{IfAddr, IfOperStatus};

use super::facts::{Filter, Interface, Kind, System};
use super::systems::{container, profiles, wsl};

pub fn system() -> System {
    let kernel = text("/proc/version");
    let exists = |path: &str| Path::new(path).exists();
    let categories = "Get-NetConnectionProfile | ForEach-Object { $_.InterfaceAlias + '=' + \
                      $_.NetworkCategory }";
    System {
        os: std::env::consts::OS.to_owned(),
        container: container(
            exists("/.dockerenv"),
            exists("/run/.containerenv"),
            &text("/proc/1/cgroup"),
        ),
        wsl_mode: match wsl(&kernel) {
            Some(2) => output("wslinfo", &["--networking-mode"]),
            _ => None,
        },
        profiles: match cfg!(windows) {
            true => output("powershell", &["-NoProfile", "-Command", categories]),
            false => None,
        }
        .map(|text| profiles(&text))
        .unwrap_or_default(),
        filter: match () {
            _ if text("/etc/ufw/ufw.conf").contains("ENABLED=yes") => Filter::Ufw,
            _ if exists("/run/firewalld.pid") => Filter::Firewalld,
            _ => Filter::Unknown,
        },
        kernel,
    }
}

/// Is there a route to the rest of the world?
pub fn has_default_route() -> bool {
    // Connecting a UDP socket sends nothing. The address is one that nobody has.
    let socket = UdpSocket::bind("0.0.0.0:0");
    socket.is_ok_and(|socket| socket.connect("198.51.100.1:9").is_ok())
}

pub fn interfaces(bind: Ipv4Addr) -> Result<Vec<Interface>, Box<dyn Error>> {
    let mut interfaces = Vec::new();
    for one in if_addrs::get_if_addrs()? {
        let IfAddr::V4(v4) = one.addr else {
            continue;
        };
        let kind = match v4.ip.is_loopback() {
            true => Kind::Loopback,
            false => kind(&one.name, one.is_p2p),
        };
        let hosts = !v4.netmask.to_bits();
        let broadcast = match (kind, v4.broadcast) {
            (Kind::Loopback, _) => Some(Ipv4Addr::new(127, 255, 255, 255)),
            (Kind::Tunnel, _) => None,
            _ if hosts < 2 => None,
            (_, Some(set)) if set != v4.ip && !set.is_unspecified() => Some(set),
            // The system broadcasts also where no tool has set the address.
            _ => Some(Ipv4Addr::from_bits(v4.ip.to_bits() | hosts)),
        };
        interfaces.push(Interface {
            is_wanted: match bind.is_loopback() {
                true => v4.ip.is_loopback(),
                false => bind.is_unspecified() || bind == v4.ip,
            },
            is_down: is_down(&one.name, &one.oper_status),
            ip: v4.ip,
            prefix: v4.prefixlen,
            name: one.name,
            broadcast,
            kind,
        });
    }
    Ok(interfaces)
}

fn kind(name: &str, is_p2p: bool) -> Kind {
    if is_p2p {
        return Kind::Tunnel;
    }
    // Linux: a bridge, and whether a real card is among its ports.
    let directory = Path::new("/sys/class/net").join(name);
    if directory.join("bridge").exists() {
        let ports = entries(&directory.join("brif")).into_iter();
        let mut names = ports.filter_map(|port| port.file_name().map(|name| name.to_owned()));
        let has_card = names.any(|port| {
            let port = Path::new("/sys/class/net").join(port);
            port.join("device").exists()
        });
        return match has_card {
            true => Kind::Card,
            false => Kind::Inside,
        };
    }
    // Elsewhere their names tell.
    let inside = ["vboxnet", "vmnet", "vEthernet (", "VMware", "VirtualBox"];
    match inside.iter().any(|begin| name.starts_with(begin)) {
        true => Kind::Inside,
        false => Kind::Card,
    }
}

fn is_down(name: &str, status: &IfOperStatus) -> bool {
    // Linux knows it better than the flags that all systems have.
    let state = text(&format!("/sys/class/net/{name}/operstate"));
    matches!(state.trim(), "down" | "lowerlayerdown")
        || matches!(status, IfOperStatus::Down | IfOperStatus::LowerLayerDown)
}

/// Who has this UDP port, from what Linux tells; another user's programs are not named.
pub fn owners(port: u16) -> Vec<String> {
    let table = text("/proc/net/udp");
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
        let mut links = files.filter_map(|file| fs::read_link(file).ok());
        let holds = links.any(|link| sockets.iter().any(|socket| link.as_os_str() == &**socket));
        if holds && id.parse().is_ok_and(|id: u32| id != std::process::id()) {
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            names.push(format!("{} (process {id})", name.trim()));
        }
    }
    names
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// What a command prints; None where there is none, or it fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
