//! Networks as they are: cables, machines that get another address, processes that are stopped and
//! killed. In network namespaces, which need root and iproute2 on Linux; elsewhere these tests say that
//! they are skipped.
//!
//! ```text
//! cargo test --release --test discovery table -- --nocapture --ignored
//! ```

use std::time::{Duration, Instant};

use crate::network::{Actor, DEADLINE, Lan};

/// A sensor on a host, and the port that it listens on.
fn sensor(lan: &Lan, host: usize, addr: &str, name: &str, hertz: u32) -> (Actor, String) {
    let mut actor = lan.actor_as(super::actor::NAME, host);
    let port = actor
        .tell(&format!("sensor {addr} {name} {hertz}"))
        .remove(0);
    (actor, port)
}

fn keeper(lan: &Lan, host: usize) -> Actor {
    let mut actor = lan.actor_as(super::actor::NAME, host);
    actor.tell("keep sensor");
    actor
}

/// What a keeper says of one sensor.
#[derive(Clone, Debug, Default)]
struct Report {
    /// Its name and id, for those who read a failure.
    #[allow(dead_code)]
    of: String,
    open: u64,
    most_open: u64,
    connections: u64,
    readings: u64,
    doubled: u64,
    lost: u64,
    silent: Duration,
}

fn reports(keeper: &mut Actor) -> Vec<Report> {
    keeper.begin("report");
    let mut all = Vec::new();
    loop {
        let line = keeper.line("report");
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["done"] => return all,
            // What happens meanwhile.
            ["up" | "down", ..] => println!("    past: {line}"),
            [of, open, most, count, readings, doubled, lost, silent] => {
                let number = |text: &str| text.parse::<u128>().unwrap_or(u128::MAX) as u64;
                all.push(Report {
                    of: of.to_owned(),
                    open: number(open),
                    most_open: number(most),
                    connections: number(count),
                    readings: number(readings),
                    doubled: number(doubled),
                    lost: number(lost),
                    silent: Duration::from_millis(number(silent)),
                });
            }
            _ => panic!("{line}"),
        }
    }
}

/// Until this many sensors are heard; how long that took.
#[track_caller]
fn until_heard(keeper: &mut Actor, count: usize) -> Duration {
    let start = Instant::now();
    loop {
        let all = reports(keeper);
        let heard = all.iter().filter(|one| one.open > 0 && one.silent < FRESH);
        if heard.count() == count {
            return start.elapsed();
        }
        assert!(start.elapsed() < DEADLINE, "{all:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One that was heard no longer ago is heard.
const FRESH: Duration = Duration::from_millis(250);

/// No reading twice, none lost without word, and never two connections.
#[track_caller]
fn check(keeper: &mut Actor) -> Vec<Report> {
    let all = reports(keeper);
    for one in &all {
        assert_eq!((one.doubled, one.lost), (0, 0), "{all:#?}");
        assert!(one.most_open <= 1 && one.readings > 0, "{all:#?}");
    }
    all
}

/// How many connections a sensor has and had, and how many ended as replaced.
#[track_caller]
fn of_sensor(sensor: &mut Actor) -> [u64; 3] {
    let line = sensor.tell("peers").remove(0);
    let numbers: Vec<u64> = line.split(' ').map(|text| text.parse().unwrap()).collect();
    numbers.try_into().expect("three")
}

#[test]
fn a_cable_out_for_a_moment_changes_nothing_and_for_longer_makes_one_new_connection() {
    let Some(lan) = Lan::new("kcable", 2) else {
        return;
    };
    let (mut sensor, _) = sensor(&lan, 2, "0.0.0.0:0", "s", 100);
    let mut keeper = keeper(&lan, 1);
    keeper.until("up s");
    until_heard(&mut keeper, 1);
    lan.cable(2, false);
    std::thread::sleep(Duration::from_millis(1500));
    lan.cable(2, true);
    println!("after 1.5 s: {:?}", until_heard(&mut keeper, 1));
    assert_eq!(
        of_sensor(&mut sensor),
        [1, 1, 0],
        "it is the same connection"
    );
    // For longer than keepalive, and than the patience of discovery.
    lan.cable(2, false);
    println!("noticed after {:?}", keeper.until("down s TimedOut"));
    std::thread::sleep(Duration::from_secs(3));
    lan.cable(2, true);
    println!("after a long time: {:?}", until_heard(&mut keeper, 1));
    let [open, made, _] = of_sensor(&mut sensor);
    assert_eq!((open, made), (1, 2));
    check(&mut keeper);
}

#[test]
fn what_only_one_side_has_lost_is_replaced_at_the_other() {
    let Some(lan) = Lan::new("kidle", 2) else {
        return;
    };
    let mut sensor = lan.actor_as(super::actor::NAME, 2);
    sensor.tell("idle 0.0.0.0:0 s");
    let mut keeper = keeper(&lan, 1);
    keeper.until("up s");
    for round in 1..=2 {
        lan.cable(2, false);
        keeper.until("down s TimedOut");
        assert_eq!(of_sensor(&mut sensor), [1, round, round - 1]);
        lan.cable(2, true);
        println!("up after {:?}", keeper.until("up s"));
        assert_eq!(of_sensor(&mut sensor), [1, round + 1, round]);
    }
}

#[test]
fn a_host_that_gets_another_address_is_found_there() {
    let Some(lan) = Lan::new("kaddr", 2) else {
        return;
    };
    let (mut sensor, _) = sensor(&lan, 2, "0.0.0.0:0", "s", 100);
    // Others on the same host, which are known at the old address for longer.
    for name in ["t", "u"] {
        sensor.tell(&format!("sensor 0.0.0.0:0 {name} 100"));
    }
    let mut keeper = keeper(&lan, 1);
    until_heard(&mut keeper, 3);
    lan.ip(2, "address del 10.77.0.2/24 dev eth0");
    lan.ip(2, "address add 10.77.0.52/24 dev eth0");
    println!("there after {:?}", keeper.until("up s 10.77.0.52"));
    println!("and all of them after {:?}", until_heard(&mut keeper, 3));
    for one in check(&mut keeper) {
        assert_eq!(one.connections, 2, "{one:?}");
    }
    // What is left of the first ends there as replaced or timed out, and no second one stays.
    let start = Instant::now();
    while of_sensor(&mut sensor)[0] != 1 {
        assert!(start.elapsed() < DEADLINE);
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn of_two_addresses_one_may_be_dead() {
    let Some(lan) = Lan::new("kdead", 2) else {
        return;
    };
    for host in [1, 2] {
        lan.join(host);
    }
    let (mut sensor, _) = sensor(&lan, 2, "0.0.0.0:0", "s", 100);
    let mut keeper = keeper(&lan, 1);
    keeper.until("up s");
    until_heard(&mut keeper, 1);
    // The one that is used, or the other.
    lan.cable(2, false);
    std::thread::sleep(Duration::from_secs(6));
    println!("heard after {:?} more", until_heard(&mut keeper, 1));
    check(&mut keeper);
    assert_eq!(of_sensor(&mut sensor)[0], 1);
}

#[test]
fn a_process_that_is_stopped_goes_on_or_comes_back() {
    let Some(lan) = Lan::new("kstop", 2) else {
        return;
    };
    let (mut sensor, _) = sensor(&lan, 2, "0.0.0.0:0", "s", 100);
    let mut keeper = keeper(&lan, 1);
    keeper.until("up s");
    until_heard(&mut keeper, 1);
    // Its system answers for it, so that the connection goes on, also while discovery has lost it.
    sensor.signal("STOP");
    std::thread::sleep(Duration::from_secs(8));
    sensor.signal("CONT");
    println!("the sensor was stopped: {:?}", until_heard(&mut keeper, 1));
    assert_eq!(of_sensor(&mut sensor), [1, 1, 0]);
    // The same of the keeper.
    keeper.signal("STOP");
    std::thread::sleep(Duration::from_secs(8));
    keeper.signal("CONT");
    println!("the keeper was stopped: {:?}", until_heard(&mut keeper, 1));
    assert_eq!(of_sensor(&mut sensor)[0], 1);
    check(&mut keeper);
}

#[test]
fn a_process_that_is_killed_is_found_again_at_the_same_port_and_at_another() {
    let Some(lan) = Lan::new("kkill", 2) else {
        return;
    };
    let (mut actor, port) = sensor(&lan, 2, "0.0.0.0:0", "s", 100);
    let mut keeper = keeper(&lan, 1);
    keeper.until("up s");
    for at in [&*port, "0", &*port] {
        until_heard(&mut keeper, 1);
        actor.kill();
        keeper.until("down s");
        actor = sensor(&lan, 2, &format!("0.0.0.0:{at}"), "s", 100).0;
        println!("up after {:?}", keeper.until("up s"));
    }
    until_heard(&mut keeper, 1);
    check(&mut keeper);
    assert_eq!(of_sensor(&mut actor), [1, 1, 0]);
}

// --------------------------------------------------------- the table

const HOSTS: usize = 10;
const EACH: usize = 3;

struct Lab {
    lan: Lan,
    /// Of each host its process, with three sensors.
    sensors: Vec<Actor>,
    ports: Vec<Vec<String>>,
    keeper: Actor,
}

impl Lab {
    fn new() -> Option<Lab> {
        let lan = Lan::new("ktable", HOSTS + 1)?;
        let mut lab = Lab {
            sensors: Vec::new(),
            ports: Vec::new(),
            keeper: keeper(&lan, HOSTS + 1),
            lan,
        };
        for host in 0..HOSTS {
            let (actor, ports) = lab.start(host, &["0"; EACH]);
            lab.sensors.push(actor);
            lab.ports.push(ports);
        }
        until_heard(&mut lab.keeper, HOSTS * EACH);
        Some(lab)
    }

    fn start(&self, host: usize, ports: &[impl AsRef<str>]) -> (Actor, Vec<String>) {
        let mut actor = self.lan.actor_as(super::actor::NAME, host + 1);
        let mut all = Vec::new();
        for (number, port) in ports.iter().enumerate() {
            let port = port.as_ref();
            let command = format!("sensor 0.0.0.0:{port} s{host}-{number} 1000");
            all.push(actor.tell(&command).remove(0));
        }
        (actor, all)
    }

    /// Runs a fault that lasts for so long, and what heals it; prints what came of it.
    fn row(
        &mut self,
        fault: &str,
        lasts: Duration,
        begin: impl FnOnce(&mut Lab),
        heal: impl FnOnce(&mut Lab),
    ) {
        let before = reports(&mut self.keeper);
        begin(self);
        std::thread::sleep(lasts);
        let during = reports(&mut self.keeper);
        heal(self);
        let again = until_heard(&mut self.keeper, HOSTS * EACH);
        // What is wrong would show in the next second.
        std::thread::sleep(Duration::from_secs(1));
        let after = reports(&mut self.keeper);
        let open = |all: &[Report]| {
            let open = all.iter().filter(|one| one.open > 0).count();
            (open, all.iter().map(|one| one.open).max().unwrap_or(0))
        };
        let at_sensors: u64 = (0..HOSTS)
            .flat_map(|host| self.sensors[host].tell("peers"))
            .map(|line| line.split(' ').next().unwrap().parse::<u64>().unwrap())
            .max()
            .unwrap_or(0);
        let sum = |of: fn(&Report) -> u64, all: &[Report]| all.iter().map(of).sum::<u64>();
        let made = sum(|one| one.connections, &after) - sum(|one| one.connections, &before);
        let most = after.iter().map(|one| one.most_open).max().unwrap_or(0);
        let (doubled, lost) = (sum(|one| one.doubled, &after), sum(|one| one.lost, &after));
        println!(
            "| {fault} | {} | {} | {most} | {at_sensors} | {made} | {:.2} s | {doubled} | {lost} |",
            open(&during).0,
            open(&after).0,
            again.as_secs_f64(),
        );
        assert_eq!((doubled, lost, most, at_sensors), (0, 0, 1, 1));
        assert_eq!(open(&after), (HOSTS * EACH, 1));
    }
}

/// Prints the table. Takes about two minutes.
#[test]
#[ignore = "prints figures"]
fn table() {
    let Some(mut lab) = Lab::new() else {
        return;
    };
    println!(
        "| fault (30 sensors at 1 kHz on 10 hosts) | connected during | after | most at once | at the sensor | made anew | data flows again | doubled | lost without word |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    let second = Duration::from_secs(1);
    lab.row("none", second, |_| {}, |_| {});
    // At once, or it would last longer for the first.
    let cables = |plugged: bool| {
        move |lab: &mut Lab| {
            let lan = &lab.lan;
            std::thread::scope(|scope| {
                for host in 1..=3 {
                    scope.spawn(move || lan.cable(host, plugged));
                }
            });
        }
    };
    lab.row(
        "3 cables out for 2 s",
        2 * second,
        cables(false),
        cables(true),
    );
    lab.row(
        "3 cables out for 15 s",
        15 * second,
        cables(false),
        cables(true),
    );
    let signal = |name: &'static str| {
        move |lab: &mut Lab| {
            lab.sensors[3..6]
                .iter()
                .for_each(|actor| actor.signal(name))
        }
    };
    lab.row(
        "3 processes stopped for 8 s",
        8 * second,
        signal("STOP"),
        signal("CONT"),
    );
    let kill = |lab: &mut Lab| {
        for _ in 0..3 {
            lab.sensors.remove(0).kill();
        }
    };
    let restart = |is_same: bool| {
        move |lab: &mut Lab| {
            for host in (0..3).rev() {
                let ports = match is_same {
                    true => lab.ports[host].clone(),
                    false => vec!["0".to_owned(); EACH],
                };
                let (actor, ports) = lab.start(host, &ports);
                lab.sensors.insert(0, actor);
                lab.ports[host] = ports;
            }
        }
    };
    lab.row(
        "3 processes killed, started at the same ports",
        second,
        kill,
        restart(true),
    );
    lab.row(
        "3 processes killed, started at other ports",
        second,
        kill,
        restart(false),
    );
    lab.row(
        "a host gets another address",
        second,
        |_| {},
        |lab| {
            lab.lan.ip(9, "address del 10.77.0.9/24 dev eth0");
            lab.lan.ip(9, "address add 10.77.0.99/24 dev eth0");
            // Or what came just before would be taken for fresh.
            std::thread::sleep(2 * FRESH);
        },
    );
    let keeper = |name: &'static str| move |lab: &mut Lab| lab.keeper.signal(name);
    // Its reports wait meanwhile.
    lab.row(
        "the keeper stopped for 8 s",
        Duration::ZERO,
        |_| {},
        |lab| {
            keeper("STOP")(lab);
            std::thread::sleep(Duration::from_secs(8));
            keeper("CONT")(lab);
        },
    );
}
