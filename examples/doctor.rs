//! Why do two peers not see each other? Run this on both hosts, best at the same time.
//!
//!     cargo run --example doctor                           # every network of this host
//!     cargo run --example doctor -- --ask 192.168.0.7      # and this host, at its own address
//!     cargo run --example doctor -- --bind 192.168.0.3     # only the network with this address
//!     cargo run --example doctor -- --bind 127.0.0.1       # this host only
//!
//! It looks at the system, the discovery port, the interfaces and the routes; asks on each network
//! who is there, listens whether its own question comes by, and whether an answer could; and asks
//! hosts that it hears, or that `--ask` names, at their own addresses. What differs tells what was
//! dropped, and where. `--port N` if the peers use another discovery port than 1024; `--time SECONDS`
//! to listen longer than 0.7 s on each network.
//!
//! `!` marks a reason that was measured, `?` what may be one and cannot be measured. It ends with a
//! failure if there is one of the first.

#[path = "doctor/answers.rs"]
mod answers;
#[path = "doctor/ask.rs"]
mod ask;
#[path = "doctor/facts.rs"]
mod facts;
#[path = "doctor/findings.rs"]
mod findings;
#[path = "doctor/look.rs"]
mod look;
#[path = "doctor/systems.rs"]
mod systems;

use std::error::Error;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use ask::Ear;
use facts::{Facts, Failure, Port};
use findings::{Finding, Level};

const USAGE: &str = "usage: doctor [--bind IP] [--ask IP]... [--port N] [--time SECONDS]";
/// Lines are broken here.
const WIDTH: usize = 92;

fn main() -> ExitCode {
    env_logger::init();
    let facts = match examine() {
        Ok(facts) => facts,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut reasons = 0;
    let mut section = |title: String, findings: Vec<Finding>| {
        println!("{title}");
        for finding in findings {
            reasons += usize::from(finding.level == Level::Reason);
            print(&finding);
        }
        println!();
    };
    let number = facts.port.number;
    section("The system".to_owned(), systems::system(&facts));
    let title = format!("The discovery port, UDP {number}");
    section(title, findings::port(&facts));
    section("The interfaces".to_owned(), findings::interfaces(&facts));
    section("The routes".to_owned(), findings::routes(&facts));
    for network in &facts.networks {
        let (name, to) = (&network.interface, network.broadcast);
        let title = format!("Asking on {name}: PING to {to}:{number}");
        section(title, answers::network(network, &facts));
    }
    for host in &facts.hosts {
        let title = format!("Asking one host: PING to {}:{number}", host.ip);
        section(title, answers::host(host, &facts));
    }
    match reasons {
        0 => {
            println!(
                "Nothing was measured that keeps peers apart. If one is still not seen, look at"
            );
            println!("the lines that begin with ?, and run this on its host too.");
            ExitCode::SUCCESS
        }
        _ => {
            println!("{reasons} reason(s) found; see the lines that begin with !");
            ExitCode::FAILURE
        }
    }
}

fn examine() -> Result<Facts, Box<dyn Error>> {
    let (mut bind, mut number, mut time) = (Ipv4Addr::UNSPECIFIED, 1024, 0.7);
    let mut named = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().ok_or(USAGE)?;
        match &*arg {
            "--bind" => bind = value.parse()?,
            "--ask" => named.push(value.parse()?),
            "--port" => number = value.parse()?,
            "--time" => time = value.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    let time = Duration::try_from_secs_f64(time)?;
    let (ear, error) = match Ear::new(number) {
        Ok(ear) => (Some(ear), None),
        Err(error) => (None, Some(Failure::from(error))),
    };
    let owners = look::owners(number);
    let interfaces = look::interfaces(bind)?;
    let networks = ask::networks(&interfaces, bind, number, time, ear.as_ref())?;
    let hosts = ask::hosts(&named, &networks, &interfaces, number, ear.as_ref());
    Ok(Facts {
        system: look::system(),
        port: Port {
            number,
            error,
            owners,
        },
        bind,
        interfaces,
        has_default_route: look::has_default_route(),
        networks,
        hosts,
    })
}

/// What was found, why it matters, and what to do.
fn print(finding: &Finding) {
    let mark = match finding.level {
        Level::Fine => ' ',
        Level::Maybe => '?',
        Level::Reason => '!',
    };
    for (begin, text) in [
        (format!("{mark} "), &finding.found),
        ("    ".to_owned(), &finding.why),
        ("    -> ".to_owned(), &finding.help),
    ] {
        if !text.is_empty() {
            println!("{}", wrapped(&begin, text));
        }
    }
}

/// The text in lines of some width, the further ones indented.
fn wrapped(begin: &str, text: &str) -> String {
    let (mut lines, mut line) = (String::new(), begin.to_owned());
    for word in text.split(' ') {
        let is_full = line.chars().count() + word.chars().count() >= WIDTH;
        if is_full && line.len() > begin.len() {
            lines.push_str(line.trim_end());
            lines.push('\n');
            line = " ".repeat(begin.chars().count().max(4));
        }
        line.push_str(word);
        line.push(' ');
    }
    lines + line.trim_end()
}
