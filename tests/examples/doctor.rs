//! The doctor: what it says of hosts on which something is wrong, in network namespaces, and what it
//! makes of facts from systems that cannot be had here.

use std::io::Write;
use std::net::UdpSocket;
use std::process::Stdio;
use std::time::Instant;

use crate::examples::program::{Program, path_of};
use crate::network::{Actor, DEADLINE, Lan};

#[path = "../../examples/doctor/answers.rs"]
mod answers;
#[path = "../../examples/doctor/facts.rs"]
mod facts;
#[path = "../../examples/doctor/findings.rs"]
mod findings;
mod meaning;
#[path = "../../examples/doctor/systems.rs"]
mod systems;

/// What it says, with each finding in one line, and whether it has found no reason.
struct Report {
    findings: Vec<String>,
    is_fine: bool,
}

impl Report {
    fn of(mut program: Program) -> Report {
        let (lines, status) = program.finish();
        let mut findings: Vec<String> = Vec::new();
        for line in lines {
            match (line.strip_prefix("    "), findings.last_mut()) {
                (Some(more), Some(last)) => {
                    last.push(' ');
                    last.push_str(more.trim());
                }
                _ => findings.push(line),
            }
        }
        Report {
            findings,
            is_fine: status.success(),
        }
    }

    fn reasons(&self) -> Vec<&String> {
        self.findings
            .iter()
            .filter(|one| one.starts_with("! "))
            .collect()
    }

    /// It has found this reason, and no other one but what follows from it: a peer that has just
    /// started is heard, and then asked alone.
    #[track_caller]
    fn names_only(&self, parts: &[&str]) {
        let mut reasons = self.reasons();
        if !parts.iter().any(|part| part.contains("10.77.0.")) {
            reasons.retain(|one| !one.starts_with("! 10.77.0.2 "));
        }
        assert!(reasons.len() == 1 && !self.is_fine, "{:#?}", self.findings);
        for part in parts {
            assert!(
                reasons[0].contains(part),
                "{part:?} is not in {:#?}",
                self.findings
            );
        }
    }

    #[track_caller]
    fn names(&self, parts: &[&str]) {
        let is_it = |reason: &&&String| parts.iter().all(|part| reason.contains(part));
        assert!(
            self.reasons().iter().any(|one| is_it(&one)),
            "{:#?}",
            self.findings
        );
    }

    #[track_caller]
    fn says(&self, part: &str) {
        assert!(
            self.findings.iter().any(|one| one.contains(part)),
            "{part:?} is not in {:#?}",
            self.findings
        );
    }

    #[track_caller]
    fn is_fine(&self) {
        assert!(
            self.is_fine && self.reasons().is_empty(),
            "{:#?}",
            self.findings
        );
    }
}

fn doctor(lan: &Lan, host: usize, args: &[&str]) -> Report {
    Report::of(Program::run(
        lan.command(host, &path_of("doctor")).args(args),
    ))
}

fn peer(lan: &Lan, host: usize, name: &str) -> Actor {
    let mut actor = lan.actor(host);
    actor.tell(&format!("peer 0.0.0.0:0 {name}"));
    actor
}

/// Waits until the system says one of these of an interface.
#[track_caller]
fn until(lan: &Lan, host: usize, interface: &str, states: &[&str]) {
    let end = Instant::now() + DEADLINE;
    loop {
        let mut command = lan.command(host, "cat".as_ref());
        let state = command.arg(format!("/sys/class/net/{interface}/operstate"));
        let state = state.output().map(|state| state.stdout).unwrap_or_default();
        let state = String::from_utf8_lossy(&state);
        if states.contains(&state.trim()) {
            return;
        }
        assert!(Instant::now() < end, "{interface} is {state}");
    }
}

/// Gives a host a packet filter. False, after a notice, where there is none; in CI that is a failure.
fn filter(lan: &Lan, host: usize, chain: &str, rules: &[&str]) -> bool {
    let text = format!(
        "table ip doctor {{\n chain one {{\n type filter hook {chain} priority 0; policy accept;\n \
         {}\n }}\n}}\n",
        rules.join("\n ")
    );
    let mut command = lan.command(host, "nft".as_ref());
    let child = command
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let is_set = child.is_ok_and(|mut child| {
        let written = child
            .stdin
            .take()
            .expect("it is piped")
            .write_all(text.as_bytes());
        written.is_ok() & child.wait().is_ok_and(|status| status.success())
    });
    if !is_set {
        let notice = "SKIPPED, no packet filter: it needs nftables";
        assert!(std::env::var_os("LANPEER_CI").is_none(), "{notice}");
        // Written past the test harness, which keeps the output of tests that pass.
        let _ = writeln!(std::io::stderr(), "{notice}");
    }
    is_set
}

#[test]
fn hosts_on_which_nothing_is_wrong() {
    let Some(lan) = Lan::new("dfine", 2) else {
        return;
    };
    let _bob = peer(&lan, 2, "bob");
    let report = doctor(&lan, 1, &["--ask", "10.77.0.2"]);
    report.is_fine();
    report.says("bob answers");
    report.says("10.77.0.2 answers, asked alone and with all");
    // Nobody has that address.
    doctor(&lan, 1, &["--ask", "10.77.0.9"]).names_only(&["10.77.0.9", "ARP"]);
    // A host without a peer.
    drop(_bob);
    let report = doctor(&lan, 1, &["--ask", "10.77.0.2"]);
    report.names_only(&["10.77.0.2 is there, and says that nobody has UDP port 1024"]);
}

#[test]
fn a_filter_drops_the_question() {
    let Some(lan) = Lan::new("dask", 2) else {
        return;
    };
    let _bob = peer(&lan, 2, "bob");
    if !filter(&lan, 2, "input", &["udp dport 1024 drop"]) {
        return;
    }
    // On that host it is measured.
    let report = doctor(&lan, 2, &["--bind", "10.77.0.2"]);
    report.names_only(&[
        "did not come by on this host",
        "drops UDP that comes in by eth0 for port 1024",
        "Let in UDP for port 1024",
    ]);
    // On the other one it is no more than a guess. What the peer says when it starts may be heard.
    let report = doctor(&lan, 1, &[]);
    report.says("Nobody answers");
    let is_guess = |one: &&String| one.contains("10.77.0.2 speaks") && one.contains("Most likely");
    assert!(
        report.reasons().iter().all(is_guess),
        "{:#?}",
        report.findings
    );
    let report = doctor(&lan, 1, &["--ask", "10.77.0.2"]);
    report.names_only(&["10.77.0.2", "does not answer", "Run this on 10.77.0.2 too"]);
}

#[test]
fn a_filter_drops_the_answer_at_the_asking_host() {
    let Some(lan) = Lan::new("danswer", 2) else {
        return;
    };
    let _bob = peer(&lan, 2, "bob");
    // As such filters are: what was asked for comes in, and the discovery port is open.
    let rules = [
        "ct state established accept",
        "iifname \"lo\" accept",
        "udp dport 1024 accept",
        "drop",
    ];
    if !filter(&lan, 1, "input", &rules) {
        return;
    }
    let report = doctor(&lan, 1, &[]);
    report.names_only(&[
        "Answers do not come in",
        "drops the answers that come in by eth0",
        "Let in UDP from port 1024",
    ]);
    report.says("questions of others are let in by eth0");
    // It is so: a search finds nobody, and a host that is asked alone is found.
    let mut alice = peer(&lan, 1, "alice");
    assert_eq!(alice.tell("discover 300"), Vec::<String>::new());
    let mut seeded = lan.actor(1);
    seeded.tell("peer-seeds 0.0.0.0:0 seeded 10.77.0.2");
    let found = seeded.tell("discover 500");
    assert!(found.iter().any(|line| line.contains("bob")), "{found:?}");
    // The doctor sees the same.
    let report = doctor(&lan, 1, &["--ask", "10.77.0.2"]);
    report.names(&[
        "10.77.0.2 answers when asked alone, and not when all are asked",
        "That fits what was measured",
    ]);
}

#[test]
fn a_filter_refuses_what_is_outgoing() {
    let Some(lan) = Lan::new("dout", 2) else {
        return;
    };
    let mut _bob = peer(&lan, 2, "bob");
    if !filter(&lan, 1, "output", &["udp dport 1024 drop"]) {
        return;
    }
    let report = doctor(&lan, 1, &["--bind", "10.77.0.1"]);
    report.names_only(&[
        "could not be sent",
        "packet filter",
        "Let out UDP for port 1024",
    ]);
    // Answers of peers are refused on their own host.
    assert!(filter(&lan, 2, "output", &["udp sport 1024 drop"]));
    let report = doctor(&lan, 2, &["--bind", "10.77.0.2"]);
    report.names_only(&[
        "as answers are, could not be sent",
        "Let out UDP from port 1024",
    ]);
}

#[test]
fn a_filter_lets_in_questions_and_no_connections() {
    let Some(lan) = Lan::new("dtcp", 2) else {
        return;
    };
    let _bob = peer(&lan, 2, "bob");
    if !filter(&lan, 2, "input", &["meta l4proto tcp drop"]) {
        return;
    }
    let report = doctor(&lan, 1, &[]);
    report.names_only(&["bob answers, but cannot be connected to", "let in TCP port"]);
}

#[test]
fn the_network_drops_broadcasts() {
    let Some(lan) = Lan::new("dswitch", 2) else {
        return;
    };
    let _bob = peer(&lan, 2, "bob");
    // Stands for a switch, or a Wi-Fi, that passes none: nobody can tell on the asking host.
    if !filter(&lan, 2, "input", &["ip daddr 10.77.0.255 drop"]) {
        return;
    }
    let report = doctor(&lan, 1, &["--ask", "10.77.0.2"]);
    report.names_only(&[
        "10.77.0.2 answers when asked alone, and not when all are asked",
        "do not get there, or are not let in there",
        "cannot be told from here",
    ]);
}

#[test]
fn a_tunnel_takes_the_route_of_the_network() {
    let Some(lan) = Lan::new("dtun", 2) else {
        return;
    };
    let _bob = peer(&lan, 2, "bob");
    lan.ip(1, "tuntap add dev tun0 mode tun");
    lan.ip(1, "address add 10.8.0.1/24 dev tun0");
    lan.ip(1, "link set dev tun0 up");
    let report = doctor(&lan, 1, &[]);
    report.is_fine();
    report.says("tun0 has 10.8.0.1/24: a tunnel");
    report.says("bob answers");
    // As a VPN does that wants everything.
    lan.ip(1, "route add 10.77.0.0/25 dev tun0");
    lan.ip(1, "route add 10.77.0.128/25 dev tun0");
    let report = doctor(&lan, 1, &[]);
    report.names_only(&[
        "which is in this network, leaves by tun0 (10.8.0.1), a tunnel",
        "split tunnel",
    ]);
    lan.ip(1, "route del 10.77.0.0/25 dev tun0");
    lan.ip(1, "route del 10.77.0.128/25 dev tun0");
    // Nobody is broadcast to behind a tunnel.
    lan.ip(2, "address add 10.8.0.2/32 dev lo");
    lan.ip(1, "route add 10.8.0.2/32 via 10.77.0.2 dev eth0 onlink");
    let report = doctor(&lan, 1, &["--ask", "10.8.0.2"]);
    report.names(&[
        "10.8.0.2 answers when asked alone",
        "behind tun0, a tunnel",
        "seeds",
    ]);
}

#[test]
fn a_container_bridge_swallows_the_broadcast() {
    let Some(lan) = Lan::new("dbridge", 2) else {
        return;
    };
    let _bob = peer(&lan, 2, "bob");
    // A bridge of containers beside the network does no harm, and is named.
    lan.ip(1, "link add name br0 type bridge");
    lan.ip(1, "link add name x0 type veth peer name x1");
    lan.ip(1, "link set dev x0 master br0 up");
    lan.ip(1, "link set dev x1 up");
    lan.ip(1, "address add 10.99.0.1/24 dev br0");
    lan.ip(1, "link set dev br0 up");
    until(&lan, 1, "br0", &["up"]);
    let report = doctor(&lan, 1, &[]);
    report.is_fine();
    report.says("br0 has 10.99.0.1/24: a bridge without a card");
    // One in the same network that was there first takes what is broadcast.
    lan.ip(1, "address del 10.77.0.1/24 dev eth0");
    lan.ip(1, "address add 10.77.0.101/24 dev br0");
    lan.ip(1, "address add 10.77.0.1/24 dev eth0");
    let report = doctor(&lan, 1, &[]);
    report.names(&[
        "What is sent to 10.77.0.255 leaves by br0 (10.77.0.101), and not by eth0 (10.77.0.1)",
        "the broadcast is lost there",
    ]);
}

#[test]
fn two_cards_in_one_network() {
    let Some(lan) = Lan::new("dtwo", 2) else {
        return;
    };
    let _bob = peer(&lan, 2, "bob");
    lan.join_twice(1);
    let report = doctor(&lan, 1, &[]);
    report.is_fine();
    report.says(
        "What is sent to 10.77.0.255 leaves by eth0 (10.77.0.1), and not by eth2 (10.77.0.101)",
    );
    report.says("bob answers");
    // The first one's cable is out, and the system sends there all the same.
    lan.cable(1, false);
    until(&lan, 1, "eth0", &["down", "lowerlayerdown"]);
    let report = doctor(&lan, 1, &[]);
    report.names(&[
        "leaves by eth0 (10.77.0.1), and not by eth2 (10.77.0.101)",
        "eth0 is down: the broadcast is lost there",
        "Take eth0 down",
    ]);
}

#[test]
fn no_route() {
    let Some(lan) = Lan::new("droute", 1) else {
        return;
    };
    lan.ip(1, "route del broadcast 10.77.0.255 dev eth0 table local");
    let report = doctor(&lan, 1, &[]);
    report.names_only(&["10.77.0.255 is no broadcast address", "ip route show"]);
    lan.ip(1, "route del 10.77.0.0/24 dev eth0");
    let report = doctor(&lan, 1, &["--bind", "10.77.0.1"]);
    report.names(&["could not be sent", "no route to 10.77.0.255"]);
    lan.ip(1, "route add prohibit 10.77.0.255");
    let report = doctor(&lan, 1, &["--bind", "10.77.0.1"]);
    report.names(&["could not be sent", "it is no packet filter"]);
    // No network at all.
    lan.leave(1);
    doctor(&lan, 1, &[]).names_only(&["No interface that is up can broadcast"]);
}

#[test]
fn a_peer_that_is_bound_to_loopback() {
    let Some(lan) = Lan::new("dlocal", 1) else {
        return;
    };
    let mut shy = lan.actor(1);
    shy.tell("peer 127.0.0.1:0 shy");
    shy.tell("peer 0.0.0.0:0 open");
    let report = doctor(&lan, 1, &[]);
    report.is_fine();
    report.says("The peer shy of this host answers on loopback, and on no network");
    assert!(
        !report
            .findings
            .iter()
            .any(|one| one.contains("The peer open"))
    );
}

#[test]
fn two_doctors_hear_each_other() {
    let Some(lan) = Lan::new("dboth", 2) else {
        return;
    };
    let start = |host| {
        let mut command = lan.command(host, &path_of("doctor"));
        Program::run(command.args(["--time", "4", "--bind", &format!("10.77.0.{host}")]))
    };
    let (one, two) = (start(1), start(2));
    let (one, two) = (Report::of(one), Report::of(two));
    one.is_fine();
    one.says("10.77.0.2 has heard the question: another doctor runs there");
    two.is_fine();
    two.says("10.77.0.1 has heard the question");
}

#[test]
fn the_port_is_taken() {
    // Not shared.
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("it is bound").port().to_string();
    let args = ["--bind", "127.0.0.1", "--port", &port];
    let report = Report::of(Program::start("doctor", &args));
    report.names_only(&[
        "taken by a program that does not share it",
        "another `discovery_port`",
    ]);
    if cfg!(target_os = "linux") {
        report.names(&[&format!("(process {})", std::process::id())]);
    }
    drop(socket);
    Report::of(Program::start("doctor", &args)).is_fine();
}
