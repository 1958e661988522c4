//! What it means who was heard and who answered, on each network and host by host.

use std::io::ErrorKind;

use super::facts::{Facts, Failure, Filter, Host, Kind, Network, Reply};
use super::findings::{Finding, Level};

pub fn network(network: &Network, facts: &Facts) -> Vec<Finding> {
    let mut findings = ways(network, facts);
    match &network.sent {
        Err(error) => findings.push(not_sent(network, error, facts)),
        Ok(()) => {
            let blocked = !findings.is_empty();
            findings.extend(heard(network, facts, blocked));
            findings.extend(answers(network, facts, blocked));
        }
    }
    findings
}

/// Where the system sends what is for this network.
fn ways(network: &Network, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let broadcast = network.broadcast;
    if let (Err(error), Ok(())) = (&network.leaves_from, &network.sent) {
        findings.push(Finding::reason(
            format!("The system has no way to {broadcast}: {}", error.text),
            "Questions to everyone on this network do not leave.",
            route_help(network),
        ));
    } else if network.is_broadcast == Some(false) && network.sent.is_ok() {
        findings.push(Finding::reason(
            format!(
                "To the system, {broadcast} is no broadcast address: its route leads elsewhere."
            ),
            "Questions go to a gateway or to nobody, and not to everyone on this network.",
            route_help(network),
        ));
    }
    let own = facts.interfaces.iter().find(|one| one.ip == network.ip);
    for (host, from) in &network.hosts_from {
        match from {
            Err(error) => findings.push(Finding::reason(
                format!(
                    "{host} is in this network, but the system has no way there: {}",
                    error.text
                ),
                "Peers there may be found, and cannot be connected to.",
                route_help(network),
            )),
            Ok(from) => {
                let by = facts.interfaces.iter().find(|one| one.ip == *from);
                let Some(by) = by.filter(|by| own.is_some_and(|own| !own.contains(by.ip))) else {
                    continue;
                };
                let what = match by.kind {
                    Kind::Tunnel => "a tunnel",
                    Kind::Inside => "a bridge inside this host",
                    _ => "another network",
                };
                findings.push(Finding::reason(
                    format!(
                        "What is sent to {host}, which is in this network, leaves by {} ({from}), \
                         {what}.",
                        by.name
                    ),
                    format!(
                        "Its route comes before that of {}. Peers on this network may be found, and \
                         cannot be connected to; answers may be lost.",
                        network.interface
                    ),
                    format!(
                        "If {} is a VPN, permit the local network in its settings (\"split \
                         tunnel\", \"LAN access\"), or end it. `ip route get {host}` shows the route.",
                        by.name
                    ),
                ));
            }
        }
    }
    // One host says it all.
    findings.dedup_by(|second, first| second.why == first.why);
    findings
}

fn route_help(network: &Network) -> String {
    let name = &network.interface;
    format!(
        "Set {name} up anew: take it down and up, or join the network again. \
         `ip route show table all dev {name}` shows its routes."
    )
}

fn not_sent(network: &Network, error: &Failure, facts: &Facts) -> Finding {
    let found = format!("The question could not be sent: {}", error.text);
    let why = "Nobody on this network is asked.";
    match (&*facts.system.os, error.code, error.kind) {
        ("linux" | "android", Some(1), _) => Finding::reason(
            found,
            format!(
                "{why} On Linux this is how a packet filter (nftables, iptables) refuses what is outgoing."
            ),
            let_through(facts, Datagrams::OutFor),
        ),
        ("linux" | "android", Some(13), _) => Finding::reason(
            found,
            format!(
                "{why} On Linux this is how a route refuses (\"prohibit\"): it is no packet filter."
            ),
            route_help(network),
        ),
        ("macos", _, ErrorKind::HostUnreachable) => Finding::reason(
            found,
            format!(
                "{why} This is how macOS refuses a program that lacks the permission for the local \
                 network; and what a missing route looks like."
            ),
            "System Settings > Privacy & Security > Local Network: allow the program, or the \
             terminal or editor that starts it; then start it again.",
        ),
        (_, _, ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable) => Finding::reason(
            format!("{found}: there is no route to {}.", network.broadcast),
            why,
            route_help(network),
        ),
        _ => Finding::reason(found, why, "Look at this host's firewall and routes."),
    }
}

/// Does what this host hears of itself come from outside the filter's reach?
fn has_filter_in_between(facts: &Facts) -> bool {
    // There a broadcast comes back as if it came in by its interface.
    matches!(&*facts.system.os, "linux" | "android")
}

fn heard(network: &Network, facts: &Facts, blocked: bool) -> Vec<Finding> {
    let port = facts.port.number;
    let name = &network.interface;
    let mut findings = Vec::new();
    match network.heard {
        None => findings.push(Finding::fine(
            "Whether this host hears questions was not tried, without the port.",
        )),
        Some(true) if network.ip.is_loopback() => {
            findings.push(Finding::fine("The question came by on this host."));
        }
        Some(true) if has_filter_in_between(facts) => findings.push(Finding::fine(format!(
            "The question came by on this host: questions of others are let in by {name}."
        ))),
        Some(true) => findings.push(Finding::fine(
            "The question came by on this host. Whether its firewall lets in those of others \
             cannot be told from that.",
        )),
        // Without a way it cannot come by.
        Some(false) if blocked => {}
        Some(false) if has_filter_in_between(facts) => findings.push(Finding::reason(
            "The question was sent, and did not come by on this host, as it would without a filter.",
            format!(
                "So a packet filter of this host drops UDP that comes in by {name} for port {port}: \
                 nobody finds the peers here, and `watch` sees nobody."
            ),
            let_through(facts, Datagrams::InFor),
        )),
        Some(false) => findings.push(Finding::maybe(
            "The question was sent, and did not come by on this host.",
            "Its firewall may drop it; or this system does not hear itself.",
            let_through(facts, Datagrams::InFor),
        )),
    }
    match &network.answer_heard {
        Some(Ok(false)) if network.heard == Some(true) && has_filter_in_between(facts) => {
            findings.push(Finding::reason(
                format!("Answers do not come in: a datagram from port {port} to a free port, as they are, did not come by, and the question did."),
                format!(
                    "So a packet filter of this host drops the answers that come in by {name}. \
                     A broadcast is answered from addresses that a filter does not expect. \
                     `discover` finds nobody; a host that is asked at its own address (`seeds`) may \
                     be found."
                ),
                let_through(facts, Datagrams::InFrom),
            ));
        }
        Some(Err(error)) if has_filter_in_between(facts) && error.code == Some(1) => {
            findings.push(Finding::reason(
                format!(
                    "A datagram from port {port}, as answers are, could not be sent: {}",
                    error.text
                ),
                "So a packet filter of this host drops the answers of its peers: nobody finds them \
                 by `discover`.",
                let_through(facts, Datagrams::OutFrom),
            ));
        }
        _ => {}
    }
    findings
}

/// What a filter is to let through, in or out: for the discovery port, or from it.
enum Datagrams {
    InFor,
    InFrom,
    OutFor,
    OutFrom,
}

fn let_through(facts: &Facts, which: Datagrams) -> String {
    let port = facts.port.number;
    let what = match which {
        Datagrams::InFor => format!("Let in UDP for port {port}"),
        Datagrams::InFrom => format!("Let in UDP from port {port}"),
        Datagrams::OutFor => format!("Let out UDP for port {port}"),
        Datagrams::OutFrom => format!("Let out UDP from port {port}"),
    };
    let how = match (facts.system.filter, which) {
        (Filter::Ufw, Datagrams::InFor) => format!("`sudo ufw allow {port}/udp`"),
        (Filter::Ufw, Datagrams::InFrom) => {
            format!("`sudo ufw allow proto udp from any port {port} to any`")
        }
        (Filter::Firewalld, Datagrams::InFor) => {
            format!("`sudo firewall-cmd --add-port={port}/udp`")
        }
        (Filter::Firewalld, Datagrams::InFrom) => {
            format!("`sudo firewall-cmd --add-source-port={port}/udp`")
        }
        _ if has_filter_in_between(facts) => {
            "`sudo nft list ruleset` or `sudo iptables -S` shows the rule".to_owned()
        }
        _ => "in the settings of the firewall".to_owned(),
    };
    format!("{what}: {how}. Connections need the TCP port of the program as well.")
}

fn answers(network: &Network, facts: &Facts, blocked: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for answer in &network.answers {
        let Some(addr) = answer.addr else {
            findings.push(Finding::fine(format!(
                "{} has heard the question: another doctor runs there.",
                answer.from.ip()
            )));
            continue;
        };
        let who = format!("{addr} {}", answer.name).trim_end().to_owned();
        match &answer.tcp {
            // Why, has been said.
            Some(Err(error)) if blocked => findings.push(Finding::maybe(
                format!("{who} answers, but cannot be connected to: {}.", error.text),
                "That fits what was found above.",
                "",
            )),
            Some(Err(error)) => findings.push(Finding::reason(
                format!("{who} answers, but cannot be connected to: {}", error.text),
                match error.kind {
                    ErrorKind::ConnectionRefused => {
                        "Its host says that nobody listens there: it has just ended, or a filter \
                         there refuses TCP."
                    }
                    _ => {
                        "UDP gets there, TCP does not: most likely a firewall on its host drops it."
                    }
                },
                format!("On {}, let in TCP port {}.", addr.ip(), addr.port()),
            )),
            _ => findings.push(Finding::fine(format!("{who} answers."))),
        }
    }
    if network.answers.is_empty() {
        let is_loopback = network.ip.is_loopback();
        findings.push(match is_loopback {
            true => Finding::fine("No peer on this host answers."),
            false => Finding::maybe(
                "Nobody answers.",
                "There is no peer on this network; or its host's firewall drops the question; or \
                 the network does not pass broadcasts (guest and \"isolated\" Wi-Fi); or it is \
                 invisible, bound to another address, on another discovery port, or has another \
                 netmask.",
                "Run this on the other host too, and here with that host's address: \
                 `cargo run --example doctor -- --ask ADDRESS`.",
            ),
        });
    }
    if !network.ip.is_loopback() {
        return findings;
    }
    // Peers of this host that answer on loopback alone.
    let others = || {
        facts
            .networks
            .iter()
            .filter(|other| !other.ip.is_loopback())
    };
    let can_tell = |other: &Network| {
        other.heard == Some(true) && other.answer_heard == Some(Ok(true)) && other.sent.is_ok()
    };
    if others().any(can_tell) {
        for answer in network
            .answers
            .iter()
            .filter(|answer| !answer.id.is_empty())
        {
            if !others().any(|other| other.answers.iter().any(|a| a.id == answer.id)) {
                findings.push(Finding::maybe(
                    format!("The peer {} of this host answers on loopback, and on no network.", answer.name),
                    "It is bound to 127.0.0.1, or its `interfaces` leaves the others out. Nobody on \
                     another host finds it.",
                    "If others should, bind it to \"0.0.0.0:0\".",
                ));
            }
        }
    }
    findings
}

/// A host that was asked at its own address.
pub fn host(host: &Host, facts: &Facts) -> Vec<Finding> {
    let (ip, port) = (host.ip, facts.port.number);
    let within = |network: &&Network| {
        let interface = facts.interfaces.iter().find(|one| one.ip == network.ip);
        interface.is_some_and(|one| one.contains(ip))
    };
    let near = facts.networks.iter().find(within);
    let tunnel = facts
        .interfaces
        .iter()
        .find(|one| one.kind == Kind::Tunnel && one.contains(ip));
    let finding = match (&host.reply, near) {
        (Reply::Answer, _) if host.answered_broadcast => {
            Finding::fine(format!("{ip} answers, asked alone and with all."))
        }
        (Reply::Answer, None) => Finding::reason(
            match tunnel {
                Some(one) => format!(
                    "{ip} answers when asked alone. It is behind {}, a tunnel, into which nothing is \
                     broadcast.",
                    one.name
                ),
                None => format!("{ip} answers when asked alone. It is in no network of this host."),
            },
            "Broadcasts do not get there, and so it is not found by them.",
            format!("Name it: `.seeds([\"{ip}\"])`."),
        ),
        (Reply::Answer, Some(network)) => {
            let is_filtered = network.heard == Some(true)
                && matches!(network.answer_heard, Some(Ok(false)))
                && has_filter_in_between(facts);
            let found = format!("{ip} answers when asked alone, and not when all are asked.");
            match is_filtered {
                true => Finding::reason(
                    found,
                    "That fits what was measured above: the filter of this host lets in the answer \
                     of a host that was asked, and no others.",
                    format!("As above; or name it: `.seeds([\"{ip}\"])`."),
                ),
                false => Finding::reason(
                    found,
                    format!(
                        "So broadcasts of {} do not get there, or are not let in there: a Wi-Fi \
                         that keeps its guests apart, a switch or a virtual network that drops them, a \
                         filter on {ip}, or another netmask there. Which of them cannot be told from \
                         here.",
                        network.interface
                    ),
                    format!("Run this on {ip} too. Or name it: `.seeds([\"{ip}\"])`."),
                ),
            }
        }
        (Reply::Refused, _) => Finding::reason(
            format!("{ip} is there, and says that nobody has UDP port {port}."),
            "No peer that can be found runs there; or a filter there refuses the port with that \
             word.",
            "Start the program there, not invisible and with the same `discovery_port`.",
        ),
        (Reply::Failed(error), _) if error.code == Some(1) && has_filter_in_between(facts) => {
            Finding::reason(
                format!("{ip} could not be asked: {}", error.text),
                "So a packet filter of this host refuses what is outgoing.",
                let_through(facts, Datagrams::OutFor),
            )
        }
        (Reply::Failed(error), near) => Finding::reason(
            format!("{ip} cannot be reached: {}", error.text),
            match near {
                Some(_) => {
                    "It is off, or not on this network; or a tunnel or the Wi-Fi keeps hosts apart."
                }
                None => "There is no route to it, or nobody has that address.",
            },
            format!("`ping {ip}` says whether it is there."),
        ),
        (Reply::Nobody, _) => Finding::reason(
            format!(
                "Nobody says that {ip} is its address (ARP): there is no such host on this network."
            ),
            "It is off, has another address, or is on another network; or the network keeps its \
             hosts apart, as guest Wi-Fi does.",
            "Look at its address there, and run this there too.",
        ),
        (Reply::Silence, _) => silent(host, port),
    };
    // Whoever only asks, as a search or a doctor that has ended, need not answer.
    let only_asks = host.heard.as_deref() == Some("PING") && host.reply != Reply::Answer;
    vec![Finding {
        level: match only_asks && !host.is_named {
            true => Level::Maybe,
            false => finding.level,
        },
        ..finding
    }]
}

fn silent(host: &Host, port: u16) -> Finding {
    let ip = host.ip;
    let help = format!("Run this on {ip} too: it says whether that host lets UDP port {port} in.");
    match &host.heard {
        Some(word) => Finding::reason(
            format!("{ip} speaks ({word} was heard), but does not answer."),
            "So its broadcasts get here. Most likely its firewall drops what comes to its discovery \
             port; or its peer is invisible, or only another doctor or search runs there.",
            help,
        ),
        None => Finding::reason(
            format!("{ip} does not answer, asked alone or with all."),
            "Its firewall drops the question, or its peer is invisible, or something on the way \
             drops it. Which of them cannot be told from here.",
            help,
        ),
    }
}
