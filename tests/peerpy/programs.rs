//! This test program in the role of a lanpeer program in a process of its own.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use lanpeer::{Json, Peer};
use serde_json::Value;

use crate::common::peerpy::Process;

/// Set in the environment of a program that plays a role.
const ROLE: &str = "LANPEER_TEST_ROLE";

#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    match role.split(' ').collect::<Vec<_>>()[..] {
        ["echo", addr] => {
            let peer = Peer::builder().invisible(true).bind(addr).expect(addr);
            println!("\nlistening on {}", peer.local_addr());
            for offer in peer.incoming() {
                let echo = offer.accept_with::<Json<Value>>(|conn, value| {
                    conn.send(&value).expect("send");
                });
                let _ = echo.expect("accept");
            }
        }
        ["sizes", addr] => {
            let peer = Peer::builder().invisible(true).bind("0.0.0.0:0");
            let mut lines = std::io::stdin().lines();
            let turn = |_| drop(lines.next());
            super::limits::send_sizes(&peer.expect("bind"), addr.parse().expect(addr), turn);
        }
        ["peers", count] => peers(count.parse().expect(count)),
        _ => panic!("what is `{role}`?"),
    }
}

/// Visible peers; the first asks who is there, the last one hides.
fn peers(count: usize) {
    let bind = |_| Peer::bind("0.0.0.0:0").expect("bind");
    let peers: Vec<Peer> = (0..count).map(bind).collect();
    // On this host's only network.
    let port = |peer: &Peer| format!("10.77.0.1:{}", peer.local_addr().port());
    let names: Vec<String> = peers.iter().map(port).collect();
    println!("\npeers {}", names.join(" "));
    for command in std::io::stdin().lines().map_while(Result::ok) {
        if command == "list" {
            let found = peers[0].discover(Duration::from_millis(500));
            let found = found.expect("somewhere to ask");
            // Those of this machine are listed with its loopback address.
            let found = found.map(|one| format!("10.77.0.1:{}", one.addr().port()));
            let mut listed: Vec<String> = found.collect();
            listed.sort();
            println!("\nlisted {}", listed.join(" "));
        } else {
            peers[count - 1].set_invisible(command == "hide");
            println!("\ndid {command}");
        }
    }
}

/// A process that plays a role; killed when dropped.
pub struct Role(Process);

impl Role {
    pub fn start(role: &str) -> Role {
        let program = std::env::current_exe().expect("this program's path");
        Role::start_as(Command::new(program), role)
    }

    /// `command` runs this program.
    pub fn start_as(mut command: Command, role: &str) -> Role {
        let test = ["peerpy::programs::role", "--exact", "--nocapture"];
        command.args(test).arg("--test-threads=1").env(ROLE, role);
        Role(Process::start(&mut command).expect("this program once more"))
    }

    /// Where it listens.
    pub fn addr(&mut self) -> SocketAddr {
        let addr = self.0.line_after("listening on ");
        addr.parse().expect("an address")
    }

    /// The rest of the next line that starts so.
    pub fn line_after(&mut self, start: &str) -> String {
        self.0.line_after(start)
    }

    pub fn write_line(&mut self, line: &str) {
        self.0.write_line(line);
    }

    /// What it waits for.
    pub fn go_on(&mut self) {
        self.0.write_line("go on");
    }
}
