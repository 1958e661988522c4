//! What the doctor makes of facts, also of systems that cannot be had here: macOS, Windows, WSL,
//! containers, Android.

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use super::facts::{
    Answer, Facts, Failure, Filter, Host, Interface, Kind, Network, Port, Reply, System,
};
use super::findings::{Finding, Level, interfaces, port, routes};
use super::systems::{container, profiles, system, wsl};
use super::{answers, systems};

const CARD: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 3);
const ALL: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 255);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 7);

/// A host with one card, on which all is well and nobody answers.
fn facts(os: &str) -> Facts {
    Facts {
        system: System {
            os: os.to_owned(),
            ..System::default()
        },
        port: Port {
            number: 1024,
            error: None,
            owners: Vec::new(),
        },
        bind: Ipv4Addr::UNSPECIFIED,
        interfaces: vec![interface("eth0", CARD, Kind::Card)],
        has_default_route: true,
        networks: vec![Network {
            interface: "eth0".to_owned(),
            ip: CARD,
            broadcast: ALL,
            leaves_from: Ok(CARD),
            is_broadcast: None,
            hosts_from: vec![(OTHER, Ok(CARD))],
            sent: Ok(()),
            heard: Some(true),
            answer_heard: Some(Ok(true)),
            answers: Vec::new(),
        }],
        hosts: Vec::new(),
    }
}

fn interface(name: &str, ip: Ipv4Addr, kind: Kind) -> Interface {
    let last = Ipv4Addr::from_bits(ip.to_bits() | 0xff);
    Interface {
        name: name.to_owned(),
        ip,
        prefix: 24,
        broadcast: (kind != Kind::Tunnel).then_some(last),
        kind,
        is_down: false,
        is_wanted: true,
    }
}

fn failure(kind: ErrorKind, code: Option<i32>) -> Failure {
    Failure {
        text: "the system's words".to_owned(),
        kind,
        code,
    }
}

fn on_network(facts: &Facts) -> Vec<Finding> {
    answers::network(&facts.networks[0], facts)
}

fn on_host(facts: &Facts, reply: Reply, heard: Option<&str>) -> Finding {
    let host = Host {
        ip: OTHER,
        is_named: heard.is_none(),
        heard: heard.map(str::to_owned),
        answered_broadcast: false,
        reply,
    };
    answers::host(&host, facts).remove(0)
}

fn reasons(findings: &[Finding]) -> Vec<&Finding> {
    let reasons = findings.iter().filter(|one| one.level == Level::Reason);
    reasons.collect()
}

#[track_caller]
fn has(finding: &Finding, level: Level, parts: &[&str]) {
    let text = format!("{} {} {}", finding.found, finding.why, finding.help);
    assert_eq!(finding.level, level, "{finding:?}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {finding:?}");
    }
}

#[test]
fn a_host_on_which_all_is_well() {
    for os in ["linux", "macos", "windows", "android", "freebsd"] {
        let facts = facts(os);
        let sections = [
            system(&facts),
            port(&facts),
            interfaces(&facts),
            routes(&facts),
            on_network(&facts),
        ];
        assert!(reasons(&sections.concat()).is_empty(), "{sections:?}");
    }
}

#[test]
fn a_question_that_does_not_come_by() {
    let with = |os, filter| {
        let mut facts = facts(os);
        facts.system.filter = filter;
        facts.networks[0].heard = Some(false);
        facts.networks[0].answer_heard = Some(Ok(false));
        on_network(&facts)
    };
    let linux = with("linux", Filter::Ufw);
    assert_eq!(reasons(&linux).len(), 1, "{linux:?}");
    let parts = [
        "drops UDP that comes in by eth0 for port 1024",
        "`sudo ufw allow 1024/udp`",
    ];
    has(&linux[0], Level::Reason, &parts);
    has(
        &with("linux", Filter::Firewalld)[0],
        Level::Reason,
        &["`sudo firewall-cmd --add-port=1024/udp`"],
    );
    // Where a system does not send its own broadcast past the filter, nothing is claimed.
    for os in ["macos", "windows"] {
        let findings = with(os, Filter::Unknown);
        assert!(reasons(&findings).is_empty(), "{os}: {findings:?}");
        has(&findings[0], Level::Maybe, &["may drop it"]);
    }
    // Nor where it has left by another way.
    let mut facts = facts("linux");
    facts.networks[0].heard = Some(false);
    facts.networks[0].is_broadcast = Some(false);
    let findings = on_network(&facts);
    assert_eq!(reasons(&findings).len(), 1, "{findings:?}");
    has(&findings[0], Level::Reason, &["is no broadcast address"]);
}

#[test]
fn answers_that_do_not_come_in() {
    let with = |os, heard, filter| {
        let mut facts = facts(os);
        facts.system.filter = filter;
        facts.networks[0].heard = heard;
        facts.networks[0].answer_heard = Some(Ok(false));
        facts
    };
    let linux = with("linux", Some(true), Filter::Ufw);
    let found = on_network(&linux);
    has(
        reasons(&found)[0],
        Level::Reason,
        &["drops the answers", "from any port 1024"],
    );
    let firewalld = on_network(&with("linux", Some(true), Filter::Firewalld));
    has(
        reasons(&firewalld)[0],
        Level::Reason,
        &["--add-source-port=1024/udp"],
    );
    // With the question gone as well, the question's reason says it all.
    assert_eq!(
        reasons(&on_network(&with("linux", Some(false), Filter::Ufw))).len(),
        1
    );
    assert!(reasons(&on_network(&with("windows", Some(true), Filter::Unknown))).is_empty());
    // A host that answers when it is asked alone fits that; without it, nobody is accused.
    has(
        &on_host(&linux, Reply::Answer, None),
        Level::Reason,
        &["fits what was measured"],
    );
    let fine = facts("linux");
    let swallowed = on_host(&fine, Reply::Answer, None);
    has(
        &swallowed,
        Level::Reason,
        &["cannot be told from here", "seeds"],
    );
    assert!(!swallowed.why.contains("firewall"));
}

#[test]
fn a_question_that_cannot_be_sent() {
    let with = |os, kind, code| {
        let mut facts = facts(os);
        facts.networks[0].sent = Err(failure(kind, code));
        on_network(&facts).remove(0)
    };
    let denied = ErrorKind::PermissionDenied;
    has(
        &with("linux", denied, Some(1)),
        Level::Reason,
        &["packet filter", "Let out"],
    );
    has(
        &with("linux", denied, Some(13)),
        Level::Reason,
        &["it is no packet filter"],
    );
    let unreachable = ErrorKind::NetworkUnreachable;
    has(
        &with("linux", unreachable, Some(101)),
        Level::Reason,
        &["no route to 192.168.0.255"],
    );
    let no_host = ErrorKind::HostUnreachable;
    let mac = [
        "Privacy & Security > Local Network",
        "what a missing route looks like",
    ];
    has(&with("macos", no_host, Some(65)), Level::Reason, &mac);
    has(
        &with("windows", denied, Some(10013)),
        Level::Reason,
        &["firewall"],
    );
}

#[test]
fn hosts_that_were_asked_alone() {
    let facts = facts("linux");
    let here = |reply, heard| on_host(&facts, reply, heard);
    has(
        &here(Reply::Refused, None),
        Level::Reason,
        &["nobody has UDP port 1024"],
    );
    has(
        &here(Reply::Nobody, None),
        Level::Reason,
        &["ARP", "there is no such host"],
    );
    has(
        &here(Reply::Silence, None),
        Level::Reason,
        &["cannot be told from here"],
    );
    has(
        &here(Reply::Silence, Some("HERE")),
        Level::Reason,
        &["HERE was heard", "Most likely"],
    );
    // Whoever only asks may have ended.
    for reply in [Reply::Silence, Reply::Refused] {
        assert_eq!(here(reply, Some("PING")).level, Level::Maybe);
    }
    let unreachable = failure(ErrorKind::NetworkUnreachable, Some(101));
    has(
        &here(Reply::Failed(unreachable), None),
        Level::Reason,
        &["cannot be reached"],
    );
    let refused = failure(ErrorKind::PermissionDenied, Some(1));
    has(
        &here(Reply::Failed(refused), None),
        Level::Reason,
        &["packet filter of this host"],
    );
    // In another network, and behind a tunnel.
    let mut facts = facts;
    facts.networks[0].ip = Ipv4Addr::new(10, 0, 0, 1);
    facts.interfaces = vec![interface("eth0", facts.networks[0].ip, Kind::Card)];
    let far = on_host(&facts, Reply::Answer, None);
    has(
        &far,
        Level::Reason,
        &["in no network of this host", ".seeds([\"192.168.0.7\"])"],
    );
    facts.interfaces.push(interface("wg0", CARD, Kind::Tunnel));
    has(
        &on_host(&facts, Reply::Answer, None),
        Level::Reason,
        &["behind wg0, a tunnel"],
    );
}

#[test]
fn peers_that_are_found_and_not_reached() {
    let mut facts = facts("linux");
    let answer = |kind| Answer {
        from: (OTHER, 1024).into(),
        addr: Some(std::net::SocketAddrV4::new(OTHER, 5000)),
        id: "0123456789".to_owned(),
        name: "bob".to_owned(),
        tcp: Some(Err(failure(kind, None))),
    };
    for (kind, part) in [
        (ErrorKind::TimedOut, "most likely a firewall on its host"),
        (ErrorKind::ConnectionRefused, "nobody listens there"),
    ] {
        facts.networks[0].answers = vec![answer(kind)];
        let found = on_network(&facts);
        has(
            reasons(&found)[0],
            Level::Reason,
            &["bob answers", part, "TCP port 5000"],
        );
    }
    // A tunnel has taken the route: that is the reason, and no firewall.
    facts.networks[0].answers = vec![answer(ErrorKind::TimedOut)];
    let tunnel = Ipv4Addr::new(10, 8, 0, 1);
    facts
        .interfaces
        .push(interface("utun4", tunnel, Kind::Tunnel));
    facts.networks[0].hosts_from = vec![(OTHER, Ok(tunnel))];
    let found = on_network(&facts);
    assert_eq!(reasons(&found).len(), 1, "{found:?}");
    has(
        reasons(&found)[0],
        Level::Reason,
        &["leaves by utun4", "split tunnel"],
    );
}

#[test]
fn interfaces_that_take_what_is_for_others() {
    let second = Ipv4Addr::new(192, 168, 0, 103);
    let with = |kind, is_down| {
        let mut facts = facts("linux");
        let mut other = interface("other", second, kind);
        other.is_down = is_down;
        other.broadcast = Some(ALL);
        facts.interfaces.push(other);
        facts.networks[0].leaves_from = Ok(second);
        interfaces(&facts)
    };
    has(
        reasons(&with(Kind::Inside, false))[0],
        Level::Reason,
        &["other leads nowhere but"],
    );
    has(
        reasons(&with(Kind::Card, true))[0],
        Level::Reason,
        &["other is down"],
    );
    has(
        reasons(&with(Kind::Tunnel, false))[0],
        Level::Reason,
        &["other is a tunnel"],
    );
    let two = with(Kind::Card, false);
    assert!(reasons(&two).is_empty(), "{two:?}");
    has(
        two.last().unwrap(),
        Level::Maybe,
        &["two interfaces in one network"],
    );
    // Nothing to broadcast on, and an address that nobody has.
    let mut none = facts("linux");
    none.interfaces[0].is_down = true;
    has(
        reasons(&interfaces(&none))[0],
        Level::Reason,
        &["No interface that is up can broadcast"],
    );
    none.interfaces[0].is_wanted = false;
    has(
        reasons(&interfaces(&none))[0],
        Level::Reason,
        &["that `--bind` names"],
    );
}

#[test]
fn who_has_the_port() {
    let mut facts = facts("linux");
    facts.port.owners = vec!["bob (process 7)".to_owned()];
    has(&port(&facts)[0], Level::Fine, &["Held by bob (process 7)"]);
    facts.port.error = Some(failure(ErrorKind::AddrInUse, Some(98)));
    has(
        &port(&facts)[0],
        Level::Reason,
        &["does not share it", "Held by bob (process 7)"],
    );
    facts.port.owners.clear();
    has(&port(&facts)[0], Level::Reason, &["`sudo ss -ulpn`"]);
    facts.system.os = "macos".to_owned();
    has(&port(&facts)[0], Level::Reason, &["`lsof -n -i UDP:1024`"]);
    facts.system.os = "windows".to_owned();
    has(&port(&facts)[0], Level::Reason, &["`netstat -a -b -p UDP`"]);
    facts.port.error = Some(failure(ErrorKind::PermissionDenied, Some(13)));
    has(&port(&facts)[0], Level::Reason, &["It cannot be had"]);
}

#[test]
fn macos_and_android() {
    has(
        &system(&facts("macos"))[0],
        Level::Maybe,
        &["Local Network", "Terminal"],
    );
    has(
        &system(&facts("android"))[0],
        Level::Maybe,
        &["MulticastLock"],
    );
    has(&system(&facts("linux"))[0], Level::Fine, &["linux"]);
}

#[test]
fn windows_and_its_networks() {
    let mut facts = facts("windows");
    facts.system.profiles = profiles("Wi-Fi=Public\r\nEthernet=Private\r\n\r\n");
    assert_eq!(facts.system.profiles.len(), 2);
    let found = system(&facts);
    let public = [
        "\"Wi-Fi\" is Public",
        "-InterfaceAlias \"Wi-Fi\" -NetworkCategory Private",
    ];
    has(&found[0], Level::Maybe, &public);
    has(&found[1], Level::Maybe, &["-LocalPort 1024"]);
    assert_eq!(found.len(), 2);
    facts.system.profiles.clear();
    has(
        &system(&facts)[0],
        Level::Maybe,
        &["`Get-NetConnectionProfile`"],
    );
}

#[test]
fn linux_inside_windows() {
    let two = "Linux version 5.15.153.1-microsoft-standard-WSL2 (root@941d701f84f1) (gcc 11.2.0)";
    let one = "Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com) (gcc 5.4.0)";
    assert_eq!((wsl(two), wsl(one)), (Some(2), Some(1)));
    assert_eq!(
        wsl("Linux version 6.12.0-amd64 (debian-kernel@lists.debian.org)"),
        None
    );
    assert_eq!(wsl(""), None);
    let with = |kernel: &str, mode: Option<&str>| {
        let mut facts = facts("linux");
        facts.system.kernel = kernel.to_owned();
        facts.system.wsl_mode = mode.map(str::to_owned);
        systems::system(&facts).remove(0)
    };
    has(
        &with(two, Some("nat")),
        Level::Reason,
        &["`nat`", "networkingMode=mirrored"],
    );
    has(
        &with(two, Some("mirrored")),
        Level::Maybe,
        &["New-NetFirewallHyperVRule", "1024"],
    );
    has(&with(two, Some("none")), Level::Maybe, &["`none`"]);
    has(
        &with(two, None),
        Level::Maybe,
        &["is not known", "wsl --shutdown"],
    );
    has(
        &with(one, None),
        Level::Maybe,
        &["WSL 1", "New-NetFirewallRule"],
    );
}

#[test]
fn containers() {
    let docker = "12:pids:/docker/0123456789abcdef\n0::/docker/0123456789abcdef\n";
    let pod = "0::/kubepods.slice/kubepods-besteffort.slice/cri-containerd-0123.scope\n";
    assert_eq!(
        container(true, false, "0::/\n"),
        Some(("Docker", "/.dockerenv"))
    );
    assert_eq!(
        container(false, false, docker),
        Some(("Docker", "/proc/1/cgroup"))
    );
    assert_eq!(
        container(false, true, "0::/\n"),
        Some(("Podman", "/run/.containerenv"))
    );
    assert_eq!(
        container(true, false, pod),
        Some(("Kubernetes", "/proc/1/cgroup"))
    );
    assert_eq!(
        container(false, false, "0::/lxc.payload.web\n"),
        Some(("LXC", "/proc/1/cgroup"))
    );
    assert_eq!(container(false, false, "0::/init.scope\n"), None);
    assert_eq!(container(false, false, ""), None);

    let with = |found, name, ip| {
        let mut facts = facts("linux");
        facts.system.container = Some(found);
        facts.interfaces = vec![interface(name, ip, Kind::Card)];
        system(&facts).remove(0)
    };
    let docker = ("Docker", "/.dockerenv");
    let default = with(docker, "eth0", Ipv4Addr::new(172, 17, 0, 2));
    has(
        &default,
        Level::Maybe,
        &["172.17.0.2 is one of Docker's default", "--network host"],
    );
    // With the network of its host it sees `docker0` itself.
    let host = with(docker, "docker0", Ipv4Addr::new(172, 17, 0, 1));
    has(&host, Level::Maybe, &["Unless it has the host's network"]);
    let pod = with(
        ("Kubernetes", "/proc/1/cgroup"),
        "eth0",
        Ipv4Addr::new(10, 244, 0, 5),
    );
    has(&pod, Level::Maybe, &["hostNetwork"]);
}
