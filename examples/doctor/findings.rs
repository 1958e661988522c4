//! What the facts mean. Pure functions: the tests feed them with what other systems would say.

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use super::facts::{Facts, Interface, Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Fine,
    /// May be the reason: it cannot be measured from here.
    Maybe,
    /// A reason that was measured.
    Reason,
}

/// What was found, why that matters, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    pub found: String,
    pub why: String,
    pub help: String,
}

impl Finding {
    pub fn fine(found: impl Into<String>) -> Finding {
        Finding::new(Level::Fine, found, "", "")
    }

    pub fn maybe(
        found: impl Into<String>,
        why: impl Into<String>,
        help: impl Into<String>,
    ) -> Finding {
        Finding::new(Level::Maybe, found, why, help)
    }

    pub fn reason(
        found: impl Into<String>,
        why: impl Into<String>,
        help: impl Into<String>,
    ) -> Finding {
        Finding::new(Level::Reason, found, why, help)
    }

    fn new(
        level: Level,
        found: impl Into<String>,
        why: impl Into<String>,
        help: impl Into<String>,
    ) -> Finding {
        Finding {
            level,
            found: found.into(),
            why: why.into(),
            help: help.into(),
        }
    }
}

/// The discovery port.
pub fn port(facts: &Facts) -> Vec<Finding> {
    let port = &facts.port;
    let owners = match (port.owners.is_empty(), &*facts.system.os) {
        (false, _) => format!("Held by {}.", port.owners.join(", ")),
        (true, "linux" | "android") => String::new(),
        (true, "windows") => "`netstat -a -b -p UDP` names who holds it.".to_owned(),
        (true, _) => format!("`lsof -n -i UDP:{}` names who holds it.", port.number),
    };
    let finding = match &port.error {
        None => Finding::fine(format!("It can be had. {owners}").trim_end()),
        Some(error) if error.kind == ErrorKind::AddrInUse => Finding::reason(
            "It is taken by a program that does not share it.",
            "Peers on this host are not found, and `watch` hears nobody; `discover` and `connect` \
             work.",
            format!(
                "End that program, or give all peers another `discovery_port`. {}",
                match owners.is_empty() {
                    true => "It is another user's: `sudo ss -ulpn` names it.",
                    false => &owners,
                }
            ),
        ),
        Some(error) => Finding::reason(
            format!("It cannot be had: {}", error.text),
            "Peers on this host are not found.",
            "Give all peers another `discovery_port`, of 1024 or above.",
        ),
    };
    vec![finding]
}

pub fn interfaces(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts.interfaces.iter().map(interface).collect();
    let wanted = || facts.interfaces.iter().filter(|one| one.is_wanted);
    let can_broadcast =
        |one: &Interface| one.kind != Kind::Loopback && one.broadcast.is_some() && !one.is_down;
    if wanted().next().is_none() {
        findings.push(Finding::reason(
            "No interface has the address that `--bind` names.",
            "A peer cannot be bound to it either.",
            "Take one of the addresses above.",
        ));
    } else if !facts.bind.is_loopback() && !wanted().any(can_broadcast) {
        findings.push(Finding::reason(
            "No interface that is up can broadcast.",
            "Only peers on this host are found.",
            "Join a network; or name hosts that have a route with `seeds`.",
        ));
    }
    findings.extend(doubles(facts));
    findings
}

fn interface(one: &Interface) -> Finding {
    let Interface {
        name, ip, prefix, ..
    } = one;
    let what = format!("{name} has {ip}/{prefix}");
    match (one.kind, one.broadcast) {
        _ if !one.is_wanted => Finding::fine(format!("{what}: not asked for.")),
        (Kind::Loopback, _) => Finding::fine(format!("{what}: this host to itself.")),
        (Kind::Tunnel, _) => Finding::maybe(
            format!("{what}: a tunnel, as a VPN has it."),
            "Nobody is found through it: broadcasts do not pass.",
            format!("For peers behind it, name their hosts: {}", seeds_of(one)),
        ),
        (_, None) => Finding::maybe(
            format!("{what}: a network without a broadcast address."),
            "Nobody is found through it.",
            format!("For peers on it, name their hosts: {}", seeds_of(one)),
        ),
        // Many hosts have one that is not in use.
        _ if one.is_down => Finding::maybe(
            format!("{what}: down."),
            "Nobody is found through it.",
            "If it should be in use, plug in its cable, join its network, or set it up.",
        ),
        (Kind::Inside, Some(_)) => Finding::maybe(
            format!("{what}: a bridge without a card, as containers and virtual machines have it."),
            "Only those on this host hear what is broadcast there.",
            format!(
                "If no peer is there, leave it out: `.interfaces(|one| one.name() != \"{name}\")`."
            ),
        ),
        (Kind::Card, Some(broadcast)) => {
            Finding::fine(format!("{what}, broadcasts to {broadcast}."))
        }
    }
}

fn seeds_of(one: &Interface) -> String {
    let is_last = one.ip.octets()[3] >= 254;
    let example = Ipv4Addr::from_bits(match is_last {
        true => one.ip.to_bits() - 1,
        false => one.ip.to_bits() + 1,
    });
    format!("`.seeds([\"{example}\"])`.")
}

/// Interfaces in one network, of which the system uses one.
fn doubles(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for network in &facts.networks {
        let Ok(from) = network.leaves_from else {
            continue;
        };
        let cards = facts.interfaces.iter().filter(|one| {
            let is_of_network = one.broadcast == Some(network.broadcast);
            is_of_network && one.kind == Kind::Card && !one.is_down
        });
        let Some(used) = facts.interfaces.iter().find(|one| one.ip == from) else {
            continue;
        };
        for other in cards.filter(|one| one.name != used.name) {
            let found = format!(
                "What is sent to {} leaves by {} ({}), and not by {} ({}).",
                network.broadcast,
                used.name,
                used.ip,
                other.name,
                if other.ip == used.ip {
                    network.ip
                } else {
                    other.ip
                },
            );
            let is_sink = used.is_down || used.kind != Kind::Card;
            let sink = match (used.is_down, used.kind) {
                (true, _) => "is down",
                (_, Kind::Tunnel) => "is a tunnel",
                _ => "leads nowhere but to this host's own containers and virtual machines",
            };
            findings.push(match is_sink {
                true => Finding::reason(
                    found,
                    format!("{} {sink}: the broadcast is lost there.", used.name),
                    format!(
                        "Take {} down, or give it another network than {}'s.",
                        used.name, other.name
                    ),
                ),
                false => Finding::maybe(
                    found,
                    "They are two interfaces in one network. If they are plugged into different \
                     ones, nobody behind the second is found.",
                    format!(
                        "Use one of them: take {} down, or give it an address of another network.",
                        other.name
                    ),
                ),
            });
        }
    }
    findings
}

pub fn routes(facts: &Facts) -> Vec<Finding> {
    vec![match facts.has_default_route {
        true => Finding::fine("There is a default route."),
        false => Finding::fine(
            "There is no default route. lanpeer needs none; but a peerpy on this host cannot start \
             without one.",
        ),
    }]
}
