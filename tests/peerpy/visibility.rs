//! peerpy's tests of its pinger and of invisibility, with one side replaced by ours, on a host of a
//! network of its own. `discovery.rs` has several hosts.

use std::process::Command;

use crate::common::peerpy::{Process, python};
use crate::common::until;
use crate::network::Lan;
use crate::peerpy::programs::Role;

/// Several visible peers that take commands.
const PEERPYS: &str = r#"
import os, sys, peerpy
silent = {"listen": lambda peer: None, "stop": lambda peer: None}
peers = [peerpy.Peer(handlers=silent) for _ in range(int(sys.argv[1]))]
for peer in peers:
    peer.start()
def names(peers):
    return " ".join(sorted(peer.address_name for peer in peers))
print("peers", names(peers), flush=True)
for line in sys.stdin:
    command = line.strip()
    if command == "list":
        print("listed", " ".join(sorted(peers[0].get_local_peers())), flush=True)
    else:
        peers[-1].invisible = command == "hide"
        print("did", command, flush=True)
os._exit(0)
"#;

/// A host, with the default route that peerpy needs.
fn host(test: &str) -> Option<Lan> {
    python()?;
    let lan = Lan::new(test, 1)?;
    lan.ip(1, "route add default via 10.77.0.254");
    Some(lan)
}

fn peerpys(lan: &Lan, count: usize) -> (Process, Vec<String>) {
    let mut command = lan.command(1, python().expect("host looked for it"));
    command.args(["-c", PEERPYS, &count.to_string()]);
    let mut process = Process::start(&mut command).expect("start python");
    let names = words(&process.line_after("peers "));
    (process, names)
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn ours(lan: &Lan, count: usize) -> (Role, Vec<String>) {
    let program = std::env::current_exe().expect("this program's path");
    let command: Command = lan.command(1, &program);
    let mut role = Role::start_as(command, &format!("peers {count}"));
    let names = words(&role.line_after("peers "));
    (role, names)
}

fn ask(role: &mut Role, command: &str, answer: &str) -> Vec<String> {
    role.write_line(command);
    words(&role.line_after(answer))
}

fn theirs(process: &mut Process, command: &str, answer: &str) -> Vec<String> {
    process.write_line(command);
    words(&process.line_after(answer))
}

/// test_ping_large_network: ten peers, of which one asks.
#[test]
fn ten_peers_list_each_other() {
    let Some(lan) = host("ten") else { return };
    let (mut peerpy, names) = peerpys(&lan, 5);
    let (mut lanpeer, own) = ours(&lan, 5);
    // A peer's list does not have itself. The first one asks, but names are in another order.
    let missing = |listed: Vec<String>| -> Vec<String> {
        let all = names.iter().chain(&own);
        let missing = all.filter(|name| !listed.contains(name)).cloned();
        let missing: Vec<String> = missing.collect();
        println!("{} listed, not {missing:?}", listed.len());
        missing
    };
    until("peerpy lists the others", || {
        let missing = missing(theirs(&mut peerpy, "list", "listed "));
        missing.len() == 1 && names.contains(&missing[0])
    });
    until("lanpeer lists the others", || {
        let missing = missing(ask(&mut lanpeer, "list", "listed "));
        missing.len() == 1 && own.contains(&missing[0])
    });
}

/// test_invisibility, test_invisibility_property.
#[test]
fn the_invisible_are_not_listed() {
    let Some(lan) = host("inv") else { return };
    let (mut peerpy, _) = peerpys(&lan, 2);
    let (mut lanpeer, _) = ours(&lan, 2);
    let counts = |lanpeer: &mut Role, peerpy: &mut Process, expected: usize| {
        until("as many as are visible", || {
            let listed = theirs(peerpy, "list", "listed ").len();
            let found = ask(lanpeer, "list", "listed ").len();
            (listed, found) == (expected, expected)
        });
    };
    counts(&mut lanpeer, &mut peerpy, 3);
    theirs(&mut peerpy, "hide", "did ");
    counts(&mut lanpeer, &mut peerpy, 2);
    ask(&mut lanpeer, "hide", "did ");
    counts(&mut lanpeer, &mut peerpy, 1);
    ask(&mut lanpeer, "show", "did ");
    counts(&mut lanpeer, &mut peerpy, 2);
    theirs(&mut peerpy, "show", "did ");
    counts(&mut lanpeer, &mut peerpy, 3);
}
