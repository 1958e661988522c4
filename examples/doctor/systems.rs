//! What to look at on which system. None of this could be tried on the system itself: what was measured
//! says more.

use std::net::Ipv4Addr;

use super::facts::{Facts, System};
use super::findings::Finding;

/// Which container this is, from what its files say.
pub fn container(
    has_dockerenv: bool,
    has_containerenv: bool,
    cgroup: &str,
) -> Option<(&'static str, &'static str)> {
    let says = |word| cgroup.contains(word);
    match () {
        _ if says("kubepods") => Some(("Kubernetes", "/proc/1/cgroup")),
        _ if has_dockerenv => Some(("Docker", "/.dockerenv")),
        _ if has_containerenv => Some(("Podman", "/run/.containerenv")),
        _ if says("docker") => Some(("Docker", "/proc/1/cgroup")),
        _ if says("libpod") => Some(("Podman", "/proc/1/cgroup")),
        _ if says("lxc") => Some(("LXC", "/proc/1/cgroup")),
        _ => None,
    }
}

/// Windows Subsystem for Linux, 1 or 2, from `/proc/version`.
pub fn wsl(kernel: &str) -> Option<u8> {
    match () {
        // "Linux version 5.15.90.1-microsoft-standard-WSL2 …"
        _ if kernel.contains("microsoft-standard") || kernel.contains("WSL2") => Some(2),
        // "Linux version 4.4.0-19041-Microsoft …"
        _ if kernel.contains("Microsoft") => Some(1),
        _ => None,
    }
}

/// Of lines such as `Wi-Fi=Public`.
pub fn profiles(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.trim().rsplit_once('='));
    lines
        .map(|(name, category)| (name.to_owned(), category.to_owned()))
        .collect()
}

pub fn system(facts: &Facts) -> Vec<Finding> {
    let System { os, kernel, .. } = &facts.system;
    let mut findings = match (wsl(kernel), &**os) {
        (Some(version), _) => vec![in_windows(facts, version)],
        (None, "macos") => vec![macos()],
        (None, "windows") => windows(facts),
        (None, "android") => vec![android()],
        _ => Vec::new(),
    };
    if let Some((name, file)) = facts.system.container {
        findings.push(in_container(facts, name, file));
    }
    if findings.is_empty() {
        findings.push(Finding::fine(format!("{os}, and no container.")));
    }
    findings
}

fn in_windows(facts: &Facts, version: u8) -> Finding {
    let port = facts.port.number;
    if version == 1 {
        return Finding::maybe(
            "This is WSL 1: its programs use the network of Windows.",
            "The firewall of Windows decides what comes in.",
            rule(port),
        );
    }
    let nat = "It has a network of its own behind Windows: nothing that is broadcast passes, in either \
               direction.";
    let mirror = "In `%UserProfile%\\.wslconfig`, below `[wsl2]`, write `networkingMode=mirrored`, then run \
                  `wsl --shutdown` in Windows (Windows 11 22H2 or newer). Or run the program in \
                  Windows; or name the others with `seeds`, whom it can then connect to, while they \
                  do not find it.";
    match facts.system.wsl_mode.as_deref() {
        Some("nat") => Finding::reason(
            "This is WSL 2, and `wslinfo --networking-mode` says `nat`.",
            nat,
            mirror,
        ),
        Some("mirrored") => Finding::maybe(
            "This is WSL 2, and `wslinfo --networking-mode` says `mirrored`.",
            "It has the addresses of Windows, but what comes in must pass the Hyper-V firewall, which \
             drops it unless told otherwise.",
            format!(
                "In a PowerShell of an administrator: `New-NetFirewallHyperVRule -Name lanpeer \
                 -DisplayName lanpeer -Direction Inbound -VMCreatorId \
                 '{{40E0AC32-46A5-438A-A0B2-2B479E8F2E90}}' -Protocol UDP -LocalPorts {port}`, and the \
                 same with TCP for the program's port. If broadcasts do not come in all the same, \
                 name the others with `seeds`."
            ),
        ),
        Some(other) => Finding::maybe(
            format!(
                "This is WSL 2, and `wslinfo --networking-mode` says `{}`.",
                other.escape_debug()
            ),
            "Unless that is `mirrored` or `bridged`, nothing that is broadcast passes Windows.",
            mirror,
        ),
        None => Finding::maybe(
            "This is WSL 2.",
            format!(
                "How it is on the network is not known. By default: {}{}",
                nat[..1].to_lowercase(),
                &nat[1..]
            ),
            mirror,
        ),
    }
}

fn macos() -> Finding {
    Finding::maybe(
        "This is macOS.",
        "From macOS 15 on, a program needs the permission for the local network, unless it runs as \
         root or was started from Terminal or by SSH: this doctor may have it while an app, or a \
         program that an editor started, has not. The firewall asks for each program once as well.",
        "System Settings > Privacy & Security > Local Network: allow the program. System Settings > \
         Network > Firewall > Options: let it take incoming connections.",
    )
}

fn windows(facts: &Facts) -> Vec<Finding> {
    let port = facts.port.number;
    let public = |(_, category): &&(String, String)| category == "Public";
    let mut findings: Vec<Finding> = facts
        .system
        .profiles
        .iter()
        .filter(public)
        .map(|(name, _)| {
            Finding::maybe(
                format!("This is Windows, and the network of \"{name}\" is Public."),
                "There the firewall drops what comes in for a program that was allowed on private networks \
                 only, as most are.",
                format!(
                    "If that network is to be trusted, in a PowerShell of an administrator: \
                     `Set-NetConnectionProfile -InterfaceAlias \"{name}\" -NetworkCategory Private`."
                ),
            )
        })
        .collect();
    findings.push(Finding::maybe(
        match facts.system.profiles.is_empty() {
            true => "This is Windows. `Get-NetConnectionProfile` says whether a network is Public.",
            false => "This is Windows.",
        },
        "Its firewall asks once for each program whether others may reach it. After \"Cancel\", nobody \
         finds it.",
        rule(port),
    ));
    findings
}

fn rule(port: u16) -> String {
    format!(
        "In a PowerShell of an administrator: `New-NetFirewallRule -DisplayName lanpeer -Direction \
         Inbound -Protocol UDP -LocalPort {port} -Action Allow`, and a rule with `-Program` for the \
         program's TCP port; or allow the program in Windows Security > Firewall > Allow an app."
    )
}

fn android() -> Finding {
    Finding::maybe(
        "This is Android.",
        "To spare the battery many phones drop broadcasts before a program sees them, above all with the \
         screen off. An app needs the permission INTERNET, and on newer systems one for the local \
         network.",
        "In an app, hold a `WifiManager.MulticastLock` (permission CHANGE_WIFI_MULTICAST_STATE) while \
         it searches. If that does not help, name the others with `seeds`.",
    )
}

fn in_container(facts: &Facts, name: &str, file: &str) -> Finding {
    let found = format!("This runs in a container of {name} ({file} says so).");
    // 172.17.0.0/16 is that of Docker's `docker0`.
    let is_default = |ip: Ipv4Addr| ip.octets()[..2] == [172, 17];
    let own = facts.interfaces.iter().find(|one| is_default(one.ip));
    match (name, own) {
        ("Docker", Some(own)) if own.name != "docker0" => Finding::maybe(
            format!(
                "{found} Its address {} is one of Docker's default network.",
                own.ip
            ),
            "What is broadcast there reaches containers of this host only.",
            "Start it with `docker run --network host` (on Linux; with Docker Desktop that is the \
             network of its virtual machine), or on a macvlan network; or name the others with \
             `seeds`.",
        ),
        ("Kubernetes", _) => Finding::maybe(
            found,
            "Most cluster networks pass no broadcasts.",
            "Set `hostNetwork: true` in the pod's spec, or name the others with `seeds`.",
        ),
        _ => Finding::maybe(
            found,
            "Unless it has the host's network, what is broadcast reaches containers of this host only.",
            "Give it the host's network (`--network host`) or a macvlan; or name the others with `seeds`.",
        ),
    }
}
