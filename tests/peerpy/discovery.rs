//! Real peerpy 1.2.2 as asker and as answerer, on a LAN of network namespaces.
//!
//! peerpy knows only the port 1024 and broadcasts to whatever its default route leads to, so it is
//! never let loose on a real network. See `tests/discovery/across.rs` for what the LAN needs.

use std::time::Duration;

use crate::common::peerpy::python;
use crate::network::{Actor, Lan};

/// A peerpy peer that answers commands as the actors do. It says so when its responder has died.
const PEERPY: &str = r#"
import sys, peerpy
address = sys.argv[1]
peer = peerpy.Peer(address, handlers={"listen": lambda peer: None, "stop": lambda peer: None})
peer.start()
print("@ " + peer.address_name, "done", sep="\n@ ", flush=True)
for line in sys.stdin:
    if line.strip() == "peers":
        for found in peer.get_local_peers():
            print("@ " + found)
    if line.strip() == "alive":
        print("@", peer.pinger_thread.is_alive())
    print("@ done", flush=True)
"#;

/// Two hosts, of which one runs peerpy, with the default routes that peerpy needs to start.
fn lan(test: &str, hosts: usize) -> Option<(Lan, std::path::PathBuf)> {
    let python = python()?.to_path_buf();
    let lan = Lan::new(test, hosts)?;
    for host in 1..=hosts {
        lan.ip(host, "route add default via 10.77.0.254");
    }
    Some((lan, python))
}

fn peerpy(lan: &Lan, python: &std::path::Path, host: usize, addr: &str) -> (Actor, String) {
    let mut command = lan.command(host, python);
    command.args(["-c", PEERPY, addr]);
    let mut actor = Actor::start(command);
    let addr = actor.finish("peerpy starts").remove(0);
    (actor, addr)
}

fn lanpeer(lan: &Lan, host: usize, name: &str) -> (Actor, String) {
    let mut actor = lan.actor(host);
    let addr = actor.tell(&format!("peer 0.0.0.0:0 {name}")).remove(0);
    (actor, addr.replace("0.0.0.0", &format!("10.77.0.{host}")))
}

/// The addresses in `discover`'s answer.
fn discover(actor: &mut Actor) -> Vec<String> {
    let lines = actor.tell("discover 1000");
    let mut found: Vec<_> = lines
        .iter()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    found.sort();
    found
}

/// On a machine whose processors were all taken, a watch has once heard nothing from either peerpy
/// for half a minute. So it is tried once more, from the start: what lanpeer gets wrong fails both
/// times.
#[test]
fn each_lists_the_other() {
    if std::panic::catch_unwind(list_each_other).is_err() {
        println!("the first attempt failed; see above");
        list_each_other();
    }
}

fn list_each_other() {
    let Some((lan, python)) = lan("py", 4) else {
        return;
    };
    let (mut one, _) = lanpeer(&lan, 1, "one");
    let (mut two, _) = lanpeer(&lan, 2, "two");
    let (_second, second) = lanpeer(&lan, 2, "second");
    let (mut old, old_addr) = peerpy(&lan, &python, 3, "10.77.0.3:0");
    let (mut any, any_addr) = peerpy(&lan, &python, 4, "0.0.0.0:0");
    let (_local, _) = peerpy(&lan, &python, 4, "127.0.0.1:0");
    let any_addr = any_addr.replace("0.0.0.0", "10.77.0.4");

    // Ours lists it: at an address that can be connected to, whatever it was bound to, and not at
    // all if it is bound to its own loopback.
    let seen = discover(&mut one);
    println!("discover lists {seen:?}");
    assert!(
        seen.contains(&old_addr) && seen.contains(&any_addr) && seen.contains(&second),
        "{seen:?}"
    );
    assert_eq!(seen.len(), 4, "{seen:?}");
    assert_eq!(one.tell(&format!("reach {old_addr}")), ["true"]);
    assert_eq!(one.tell(&format!("reach {any_addr}")), ["true"]);

    // Its `get_local_peers` lists ours, at addresses where they listen on its network.
    let mut listed = old.tell("peers");
    listed.sort();
    println!("get_local_peers lists {listed:?}");
    let ours: Vec<_> = listed
        .iter()
        .filter(|a| a.starts_with("10.77.0.1:") || a.starts_with("10.77.0.2:"))
        .collect();
    assert_eq!(ours.len(), 3, "{listed:?}");
    assert!(listed.contains(&second), "{listed:?}");

    // A watch sees it come and go, and no watch, search or goodbye has harmed its responder.
    one.tell("watch");
    two.tell("watch");
    one.until(&format!("found {old_addr}"));
    two.until(&format!("found {old_addr}"));
    assert_eq!(old.tell("alive"), ["True"]);
    assert_eq!(any.tell("alive"), ["True"]);
    old.kill();
    let lost = two.until(&format!("lost {old_addr}"));
    println!("a killed peerpy is lost after {lost:?}");
    assert!(lost < Duration::from_secs(12), "{lost:?}");
    one.until(&format!("lost {old_addr}"));
}
