//! Which networks and which far hosts discovery uses.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::LOG;
use super::networks::Network;

/// So many far hosts are asked at most.
const SEEDS_MAX: usize = 256;

/// A network interface of this host, with one of its IPv4 addresses; see
/// [`PeerBuilder::interfaces`](crate::PeerBuilder::interfaces).
///
/// ```
/// # use lanpeer::*;
/// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
/// # let builder = Peer::builder().discovery_port(port);
/// let builder = builder.interfaces(|interface: &lanpeer::Interface| {
///     println!("{} {}/{}", interface.name(), interface.addr(), interface.netmask());
///     interface.name() != "docker0"
/// });
/// assert!(builder.bind("127.0.0.1:0").is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    name: String,
    addr: Ipv4Addr,
    netmask: Ipv4Addr,
}

impl Interface {
    pub(super) fn new(network: &Network) -> Interface {
        Interface {
            name: network.name.clone(),
            addr: network.addr,
            netmask: network.mask,
        }
    }

    /// Its name, as the system has it: `eth0`, `docker0`.
    ///
    /// ```
    /// # use lanpeer::*;
    /// let builder = Peer::builder().interfaces(|interface| interface.name().starts_with("eth"));
    /// # assert!(format!("{builder:?}").contains("interfaces"));
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// This host's address on it. An interface with several is asked for with each.
    ///
    /// ```
    /// # use lanpeer::*;
    /// let builder = Peer::builder().interfaces(|interface| interface.addr().octets()[0] == 192);
    /// # assert!(format!("{builder:?}").contains("interfaces"));
    /// ```
    pub fn addr(&self) -> Ipv4Addr {
        self.addr
    }

    /// Which part of that address is the network's.
    ///
    /// ```
    /// # use lanpeer::*;
    /// # use std::net::Ipv4Addr;
    /// let small = Ipv4Addr::new(255, 255, 255, 0);
    /// let builder = Peer::builder().interfaces(move |interface| interface.netmask() == small);
    /// # assert!(format!("{builder:?}").contains("interfaces"));
    /// ```
    pub fn netmask(&self) -> Ipv4Addr {
        self.netmask
    }
}

type Choice = Arc<dyn Fn(&Interface) -> bool + Send + Sync>;

/// Where to ask, and whom besides.
#[derive(Clone)]
pub(crate) struct Reach {
    /// Only networks with this address are used; 0.0.0.0: all of them.
    pub bound: Ipv4Addr,
    /// None: all interfaces.
    interfaces: Option<Choice>,
    /// Hosts that no broadcast reaches, each with the port at which it is asked.
    pub seeds: Arc<[SocketAddrV4]>,
}

impl Reach {
    /// All networks with this address, and no host besides.
    pub fn new(bound: Ipv4Addr) -> Reach {
        Reach {
            bound,
            interfaces: None,
            seeds: Arc::new([]),
        }
    }

    pub fn choose(&mut self, choice: impl Fn(&Interface) -> bool + Send + Sync + 'static) {
        self.interfaces = Some(Arc::new(choice));
    }

    pub fn includes(&self, interface: &Interface) -> bool {
        let Some(choice) = &self.interfaces else {
            return true;
        };
        // The program's code. If it panics, discovery goes on without that interface.
        catch_unwind(AssertUnwindSafe(|| choice(interface))).unwrap_or_else(|_| {
            log::debug!(target: LOG, "{} not used: the choice of interfaces panicked", interface.name);
            false
        })
    }

    pub fn is_seed(&self, ip: Ipv4Addr) -> bool {
        self.seeds.iter().any(|seed| *seed.ip() == ip)
    }
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reach")
            .field("bound", &self.bound)
            .field("interfaces", &self.interfaces.as_ref().map(|_| "chosen"))
            .field("seeds", &self.seeds)
            .finish()
    }
}

/// Reads what a program gave as far hosts: addresses, each with a port or without. All are asked at
/// the discovery port, and at the port that was given.
pub(super) fn seeds(texts: &[String], port: u16) -> Result<Arc<[SocketAddrV4]>, String> {
    if texts.len() > SEEDS_MAX {
        return Err(format!("{} hosts, at most {SEEDS_MAX}", texts.len()));
    }
    let mut seeds = Vec::new();
    for text in texts {
        let addr = match (text.parse::<SocketAddrV4>(), text.parse::<Ipv4Addr>()) {
            (Ok(addr), _) => addr,
            (_, Ok(ip)) => SocketAddrV4::new(ip, port),
            _ => return Err(format!("`{}` is no IPv4 address", text.escape_debug())),
        };
        let ip = *addr.ip();
        if ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast() {
            return Err(format!("{ip} is no address of a host"));
        }
        for addr in [SocketAddrV4::new(ip, port), addr] {
            if addr.port() != 0 && !seeds.contains(&addr) {
                seeds.push(addr);
            }
        }
    }
    Ok(seeds.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_hosts_are_given_with_a_port_or_without() {
        let read = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| text.to_string()).collect();
            seeds(&texts, 1024).map(|seeds| seeds.iter().map(|s| s.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(read(&[]), Ok(vec![]));
        assert_eq!(
            read(&["10.8.0.3", "10.8.0.4:1024", "10.8.0.5:62626", "10.8.0.3:0"]),
            Ok([
                "10.8.0.3:1024",
                "10.8.0.4:1024",
                "10.8.0.5:1024",
                "10.8.0.5:62626"
            ]
            .map(str::to_owned)
            .to_vec())
        );
        for bad in [
            "",
            "host",
            "::1",
            "[::1]:5",
            "0.0.0.0",
            "255.255.255.255:7",
            "224.0.0.1",
        ] {
            assert!(read(&[bad]).is_err(), "{bad}");
        }
        assert!(read(&["10.0.0.1"; 257]).is_err());
    }
}
