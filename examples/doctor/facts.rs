//! What was read and measured on this host, without a judgement. `findings` judges.
#![allow(dead_code)] // The tests use a part of it.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

pub struct Facts {
    pub system: System,
    pub port: Port,
    /// What `--bind` names, else 0.0.0.0.
    pub bind: Ipv4Addr,
    pub interfaces: Vec<Interface>,
    pub has_default_route: bool,
    pub networks: Vec<Network>,
    /// Hosts that were asked one by one.
    pub hosts: Vec<Host>,
}

#[derive(Default)]
pub struct System {
    /// As `std::env::consts::OS` has it.
    pub os: String,
    /// `/proc/version`, or nothing.
    pub kernel: String,
    /// In what kind of container this runs, and which file says so.
    pub container: Option<(&'static str, &'static str)>,
    /// What `wslinfo --networking-mode` prints.
    pub wsl_mode: Option<String>,
    /// Windows: each network interface with its category, `Public` or `Private`.
    pub profiles: Vec<(String, String)>,
    /// What manages the packet filter.
    pub filter: Filter,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    Ufw,
    Firewalld,
    #[default]
    Unknown,
}

pub struct Port {
    pub number: u16,
    /// Why it cannot be had.
    pub error: Option<Failure>,
    /// The programs that hold it, as far as they can be named.
    pub owners: Vec<String>,
}

/// An error of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub text: String,
    pub kind: std::io::ErrorKind,
    /// Its number, by which Linux tells a packet filter (1) from a forbidden route (13).
    pub code: Option<i32>,
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure {
            text: error.to_string(),
            kind: error.kind(),
            code: error.raw_os_error(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Interface {
    pub name: String,
    pub ip: Ipv4Addr,
    pub prefix: u8,
    /// None: it has no such address, or is a tunnel.
    pub broadcast: Option<Ipv4Addr>,
    pub kind: Kind,
    pub is_down: bool,
    /// Asked for by `--bind`.
    pub is_wanted: bool,
}

impl Interface {
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix));
        (ip.to_bits() ^ self.ip.to_bits()) & mask.unwrap_or(0) == 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Loopback,
    Card,
    /// From one point to another, as most VPNs are.
    Tunnel,
    /// Between containers or virtual machines of this host, and without a card.
    Inside,
}

/// A broadcast address that was asked.
pub struct Network {
    pub interface: String,
    pub ip: Ipv4Addr,
    pub broadcast: Ipv4Addr,
    /// The address from which the system sends to the broadcast address, or why it does not.
    pub leaves_from: Result<Ipv4Addr, Failure>,
    /// False: to the system it is the address of one host. None: it cannot be told.
    pub is_broadcast: Option<bool>,
    /// The same for hosts of this network, each with the address that it would be reached from.
    pub hosts_from: Vec<(Ipv4Addr, Result<Ipv4Addr, Failure>)>,
    pub sent: Result<(), Failure>,
    /// Did the question come by on this host? None: the port cannot be had.
    pub heard: Option<bool>,
    /// Did a datagram come by that is to this host what an answer is?
    pub answer_heard: Option<Result<bool, Failure>>,
    pub answers: Vec<Answer>,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub from: SocketAddr,
    /// Where the peer listens. None: it is another doctor.
    pub addr: Option<SocketAddrV4>,
    pub id: String,
    pub name: String,
    /// Whether its port can be connected to; None: not tried.
    pub tcp: Option<Result<(), Failure>>,
}

/// A host that was asked at its own address.
#[derive(Clone, Debug)]
pub struct Host {
    pub ip: Ipv4Addr,
    /// By `--ask`; else it was heard.
    pub is_named: bool,
    /// What it has broadcast to the discovery port meanwhile, by its first word.
    pub heard: Option<String>,
    /// It has answered the broadcast question.
    pub answered_broadcast: bool,
    pub reply: Reply,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Answer,
    /// It says that nobody has that port.
    Refused,
    /// It cannot be sent to.
    Failed(Failure),
    /// It does not even say which card has that address.
    Nobody,
    Silence,
}
