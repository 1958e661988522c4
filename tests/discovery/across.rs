//! Discovery across a LAN: hosts with one and with two networks, cables that are pulled, hosts that die.
//!
//! The LAN is made of network namespaces, so that no real network hears of it; that needs root and
//! iproute2 on Linux, and elsewhere these tests say that they are skipped. To see what they measure:
//!
//! ```text
//! cargo test --release --test discovery across -- --nocapture
//! cargo test --release --test discovery across -- --nocapture --ignored
//! ```

use std::time::{Duration, Instant};

use crate::network::{AT_ONCE, Actor, DEADLINE, Lan};

/// The names of those whom a search of half a second finds, sorted, each with every address it was found at.
fn found(actor: &mut Actor) -> Vec<String> {
    let mut found: Vec<_> = actor
        .tell("discover 500")
        .iter()
        .map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            let ip = words[0].split(':').next().unwrap();
            format!("{} {ip}", words[1])
        })
        .collect();
    found.sort();
    found
}

/// Searches until a search finds enough. On a busy machine answers can come when a search is over.
#[track_caller]
fn search_until(actor: &mut Actor, what: &[&str], is_enough: impl Fn(&[String]) -> bool) {
    let end = Instant::now() + DEADLINE;
    loop {
        let found = found(actor);
        if is_enough(&found) {
            return;
        }
        assert!(Instant::now() < end, "{found:?}, and not {what:?}");
    }
}

/// Searches until one search finds all of these. None finds anyone else.
#[track_caller]
fn assert_finds(actor: &mut Actor, wanted: &[&str]) {
    search_until(actor, wanted, |found| {
        let stranger = found.iter().find(|one| !wanted.contains(&one.as_str()));
        assert_eq!(stranger, None, "{found:?}");
        found == wanted
    });
}

/// Searches until this one is found, maybe among others.
#[track_caller]
fn assert_finds_also(actor: &mut Actor, wanted: &str) {
    search_until(actor, &[wanted], |found| {
        found.iter().any(|one| one == wanted)
    });
}

fn peer(lan: &Lan, host: usize, ip: &str, name: &str) -> Actor {
    let mut actor = lan.actor(host);
    actor.tell(&format!("peer {ip}:0 {name}"));
    actor
}

#[test]
fn hosts_on_one_network_and_on_two() {
    let Some(lan) = Lan::new("nets", 5) else {
        return;
    };
    // 1 and 2 are on A, 3 and 4 on A and B, 5 on B.
    for host in [3, 4, 5] {
        lan.join(host);
    }
    lan.leave(5);
    let mut one = peer(&lan, 1, "0.0.0.0", "one");
    let mut two = peer(&lan, 2, "0.0.0.0", "two");
    two.tell("peer 10.77.0.2:0 two-fixed");
    two.tell("peer 127.0.0.1:0 two-local");
    let mut three = peer(&lan, 3, "0.0.0.0", "three");
    three.tell("peer 10.78.0.3:0 three-b");
    let mut four = peer(&lan, 4, "0.0.0.0", "four");
    let mut five = peer(&lan, 5, "0.0.0.0", "five");

    assert_finds(
        &mut one,
        &[
            "four 10.77.0.4",
            "three 10.77.0.3",
            "two 10.77.0.2",
            "two-fixed 10.77.0.2",
        ],
    );
    assert_finds(
        &mut five,
        &["four 10.78.0.4", "three 10.78.0.3", "three-b 10.78.0.3"],
    );
    // Its own host is nearest: there it is asked on loopback.
    assert_finds(
        &mut two,
        &[
            "four 10.77.0.4",
            "one 10.77.0.1",
            "three 10.77.0.3",
            "two-fixed 10.77.0.2",
            "two-local 127.0.0.1",
        ],
    );

    // A peer on both of its networks is there once, and can be reached at what was said first.
    let lines = four.tell("discover 500");
    let names: Vec<_> = lines
        .iter()
        .map(|line| line.split(' ').nth(1).unwrap())
        .collect();
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(
        sorted,
        ["five", "one", "three", "three-b", "two", "two-fixed"]
    );
    for line in lines {
        println!("four found {line}");
        let addr = line.split(' ').next().unwrap();
        assert_eq!(four.tell(&format!("connect {addr}")), ["true"], "{line}");
    }
    // One that is bound to an address searches only on that network.
    let mut fixed = peer(&lan, 3, "10.77.0.3", "three-a");
    assert_finds(
        &mut fixed,
        &[
            "four 10.77.0.4",
            "one 10.77.0.1",
            "three 10.77.0.3",
            "two 10.77.0.2",
            "two-fixed 10.77.0.2",
        ],
    );
}

#[test]
fn hosts_with_little_network_or_bad_network() {
    let Some(lan) = Lan::new("bad", 3) else {
        return;
    };
    // 1 has only loopback.
    lan.leave(1);
    let mut lonely = peer(&lan, 1, "0.0.0.0", "lonely");
    let _near = peer(&lan, 1, "0.0.0.0", "near");
    assert_finds(&mut lonely, &["near 127.0.0.1"]);
    // 2 has an interface with an address that is down, one with nobody behind it, which has a second
    // address without a network, and one that refuses to broadcast.
    for (name, ip) in [
        ("dead", "10.99.0.2"),
        ("empty", "10.98.0.2"),
        ("mute", "10.97.0.2"),
    ] {
        lan.ip(
            2,
            &format!("link add name {name} type veth peer name x-{name}"),
        );
        lan.ip(2, &format!("address add {ip}/24 dev {name}"));
    }
    for name in ["empty", "x-empty", "mute", "x-mute"] {
        lan.ip(2, &format!("link set dev {name} up"));
    }
    lan.ip(2, "address add 10.96.0.2/32 dev empty");
    lan.ip(2, "route del broadcast 10.97.0.255 dev mute table local");
    lan.ip(2, "route add prohibit 10.97.0.255");
    let mut two = peer(&lan, 2, "0.0.0.0", "two");
    let mut three = peer(&lan, 3, "0.0.0.0", "three");
    assert_finds(&mut two, &["three 10.77.0.3"]);
    assert_finds(&mut three, &["two 10.77.0.2"]);

    // None of them keeps its thread awake, and watching it, once what it says at first is said.
    two.tell("watch");
    two.until("found 10.77.0.3");
    let mut sleeps = || two.tell("sleeps")[0].parse::<u64>().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let before = sleeps();
        std::thread::sleep(Duration::from_secs(2));
        let awake = sleeps() - before;
        println!("the responder thread of a watch wakes {awake} times in two seconds");
        if (1..80).contains(&awake) {
            break;
        }
        assert!(Instant::now() < deadline, "{awake} times in two seconds");
    }
}

/// A LAN on which host 1 watches, and has found host 2 at once.
fn found_at_once(name: &str) -> Option<(Lan, Actor, Actor)> {
    let lan = Lan::new(name, 3)?;
    let mut one = peer(&lan, 1, "0.0.0.0", "one");
    one.tell("watch");
    let mut two = lan.actor(2);
    let begin = Instant::now();
    two.tell("peer 0.0.0.0:0 two");
    one.until("found 10.77.0.2");
    let took = begin.elapsed();
    println!("a peer that starts is found after {took:?}");
    assert!(took < AT_ONCE, "{took:?}");
    Some((lan, one, two))
}

/// With two or three peers, one that falls silent is lost after 4 seconds; that it speaks only once a second
/// makes it a second less after the event.
#[track_caller]
fn lost(one: &mut Actor, what: &str) {
    let took = one.until("lost 10.77.0.2");
    println!("{what}: lost after {took:?}");
    assert!(
        took > Duration::from_secs(2) && took < Duration::from_secs(6),
        "{took:?}"
    );
}

#[test]
fn cables_and_interfaces_that_come_and_go() {
    let Some((lan, mut one, mut two)) = found_at_once("flap") else {
        return;
    };
    let back = |one: &mut Actor, what: &str| {
        let took = one.until("found 10.77.0.2");
        println!("{what}: found after {took:?}");
        assert!(took < Duration::from_secs(4), "{took:?}");
    };
    lan.cable(2, false);
    lost(&mut one, "its cable pulled");
    lan.cable(2, true);
    back(&mut one, "its cable plugged in");

    lan.ip(2, "link set eth0 down");
    lost(&mut one, "its interface down");
    lan.ip(2, "link set eth0 up");
    back(&mut one, "its interface up");
    assert_finds(&mut two, &["one 10.77.0.1"]);

    // The watcher's own interface, too.
    lan.ip(1, "link set eth0 down");
    lost(&mut one, "the watcher's interface down");
    lan.ip(1, "link set eth0 up");
    back(&mut one, "the watcher's interface up");
}

#[test]
fn hosts_that_get_another_address_stop_or_die() {
    let Some((lan, mut one, mut two)) = found_at_once("moves") else {
        return;
    };
    // An interface that is there only later, with a new address.
    lan.ip(2, "address flush dev eth0");
    lost(&mut one, "its address taken");
    lan.ip(2, "address add 10.77.0.20/24 dev eth0");
    let took = one.until("found 10.77.0.20");
    println!("with another address: found after {took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");

    two.begin("stop");
    let took = one.until("lost 10.77.0.20");
    println!("stopped politely: lost after {took:?}");
    assert!(took < AT_ONCE, "{took:?}");
    two.finish("stop");

    let three = peer(&lan, 3, "0.0.0.0", "three");
    one.until("found 10.77.0.3");
    three.kill();
    let took = one.until("lost 10.77.0.3");
    println!("killed: lost after {took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert!(one.is_silent(Duration::from_secs(2)));
}

/// As a laptop with cable and Wi-Fi on one LAN.
#[test]
fn a_host_with_two_interfaces_in_one_network() {
    let Some(lan) = Lan::new("two", 4) else {
        return;
    };
    // The system sends from the interface whose address it was given first.
    lan.join_twice(2);
    lan.join_twice(3);
    lan.ip(3, "address del 10.77.0.3/24 dev eth0");
    lan.ip(3, "address add 10.77.0.3/24 dev eth0");
    let mut one = peer(&lan, 1, "0.0.0.0", "one");
    one.tell("watch");
    let mut actors: Vec<Actor> = Vec::new();
    for (host, bound, seen) in [
        (2, "0.0.0.0", "10.77.0.2"),
        (2, "10.77.0.2", "10.77.0.2"),
        (2, "10.77.0.102", "10.77.0.102"),
        (3, "0.0.0.0", "10.77.0.103"),
        (3, "10.77.0.3", "10.77.0.3"),
        (3, "10.77.0.103", "10.77.0.103"),
    ] {
        let name = format!("on-{host}-{bound}");
        let mut actor = peer(&lan, host, bound, &name);
        let begin = format!("found {seen}:");
        let line = one.line_that(&name, |line| {
            line.starts_with(&begin) && line.ends_with(&name)
        });
        assert_finds_also(&mut one, &format!("{name} {seen}"));
        let addr = line.split(' ').nth(1).unwrap();
        assert_eq!(one.tell(&format!("connect {addr}")), ["true"], "{line}");
        // It sees others as well, by searches and by a watch.
        assert_finds_also(&mut actor, "one 10.77.0.1");
        actor.tell("watch");
        actor.until("found 10.77.0.1:");
        actor.begin("stop");
        let took = one.until(&format!("lost {addr}"));
        // It says goodbye. Without that it would be lost some four seconds later.
        assert!(took < Duration::from_secs(3), "{took:?}");
        actor.finish("stop");
        actors.push(actor);
    }
}

#[test]
fn networks_that_are_not_chosen_are_left_alone() {
    let Some(lan) = Lan::new("pick", 4) else {
        return;
    };
    // 1 is on A, 2 and 3 on both, 4 on B.
    for host in [2, 3, 4] {
        lan.join(host);
    }
    lan.leave(4);
    let mut one = peer(&lan, 1, "0.0.0.0", "one");
    let mut two = lan.actor(2);
    two.tell("peer-on 0.0.0.0:0 two eth1"); // not A
    let mut three = peer(&lan, 3, "0.0.0.0", "three");
    let mut four = peer(&lan, 4, "0.0.0.0", "four");
    assert_finds(&mut one, &["three 10.77.0.3"]);
    assert_finds(&mut two, &["four 10.78.0.4", "three 10.78.0.3"]);
    assert_finds(&mut four, &["three 10.78.0.3", "two 10.78.0.2"]);
    // A watch neither: it hears only of the peers on B, and those on A do not hear of it.
    two.tell("watch");
    one.tell("watch");
    let seen = two.lines_within(Duration::from_secs(5));
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen.iter().all(|line| line.contains("found 10.78.0.")));
    let seen = one.lines_within(Duration::from_secs(2));
    assert!(
        matches!(&seen[..], [line] if line.starts_with("found 10.77.0.3:")),
        "{seen:?}"
    );
    // It can be connected to all the same.
    let addrs = two.tell("addrs");
    assert!(
        addrs[0].starts_with("10.77.0.2:") && addrs[1].starts_with("10.78.0.2:"),
        "{addrs:?}"
    );
    assert!(
        addrs[2].starts_with("127.0.0.1:") && addrs.len() == 3,
        "{addrs:?}"
    );
    assert_eq!(one.tell(&format!("connect {}", addrs[0])), ["true"]);
    drop(three.tell("stop"));
}

/// Host 2 is a router between two networks.
#[test]
fn hosts_that_no_broadcast_reaches_are_asked_one_by_one() {
    let Some(lan) = Lan::new("seed", 3) else {
        return;
    };
    for host in [2, 3] {
        lan.join(host);
    }
    lan.leave(3);
    lan.forward(2);
    lan.ip(1, "route add default via 10.77.0.2");
    lan.ip(3, "route add default via 10.78.0.2");
    let mut three = peer(&lan, 3, "0.0.0.0", "three");
    let mut one = lan.actor(1);
    one.tell("peer 0.0.0.0:0 alone");
    assert_eq!(found(&mut one), [""; 0], "no broadcast gets there");
    one.tell("stop");
    one.tell("peer-seeds 0.0.0.0:0 one 10.78.0.3,10.78.0.99");
    assert_finds(&mut one, &["three 10.78.0.3"]);
    one.tell("watch");
    let took = one.until("found 10.78.0.3:");
    println!("watched: found after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    // It stays, through several rounds, and is lost when it has gone.
    assert_eq!(one.lines_within(Duration::from_secs(7)), [""; 0]);
    three.tell("stop");
    let took = one.until("lost 10.78.0.3:");
    println!("stopped: lost after {took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
    // Where each knows the other, it says goodbye.
    three.tell("peer-seeds 0.0.0.0:0 three 10.77.0.1");
    one.until("found 10.78.0.3:");
    assert_finds(&mut three, &["one 10.77.0.1"]);
    three.tell("stop");
    let took = one.until("lost 10.78.0.3:");
    println!("stopped with a goodbye: lost after {took:?}");
    assert!(took < AT_ONCE, "{took:?}");
}

/// A LAN on which host 1 watches and has found host 2, and the id of the peer there.
fn watched(name: &str) -> Option<(Lan, Actor, Actor, String)> {
    let lan = Lan::new(name, 3)?;
    let mut one = peer(&lan, 1, "0.0.0.0", "one");
    one.tell("watch");
    one.tell("watch-service chat");
    let mut two = lan.actor(2);
    let line = two.tell("peer 0.0.0.0:0 two chat").remove(0);
    let id = line.split(' ').nth(1).unwrap().to_owned();
    // One watch finds it, the other one too, and neither does so again.
    for _ in 0..2 {
        one.line_that("sign of host 2", |line| about_two(&&line.to_owned()));
    }
    let seen = one.lines_within(Duration::from_secs(1));
    assert_eq!(seen.iter().find(about_two), None, "{seen:?}");
    Some((lan, one, two, id))
}

fn about_two(line: &&String) -> bool {
    line.contains(" 10.77.0.2:")
}

/// Host 2 is found as before; and what it says is believed.
fn two_is_itself(one: &mut Actor, two: &mut Actor) {
    assert_finds_also(one, "two 10.77.0.2");
    let of_two = |line: &String| line.starts_with("two ") && line != "two 10.77.0.2";
    assert_eq!(found(one).into_iter().find(of_two), None);
    two.begin("stop");
    assert!(one.until("lost 10.77.0.2") < AT_ONCE);
    two.finish("stop");
}

#[test]
fn a_stranger_who_asks_all_the_time_loses_nobody() {
    let Some((lan, mut one, mut two, _)) = watched("asks") else {
        return;
    };
    let mut three = lan.actor(3);
    // So often that it never asks by itself, if it believes that someone else does.
    // Host 2 would fall silent four seconds later, and would be lost after four more.
    three.begin("say 10.77.0.3:0 10.77.0.1:1024 30 400 PING 10.77.0.3:0|v=1&id=1&watch=keep");
    let told = one.lines_within(Duration::from_secs(12) + Duration::from_secs(6));
    three.finish("say");
    assert_eq!(told.iter().find(about_two), None, "PINGs: {told:?}");
    two_is_itself(&mut one, &mut two);
}

/// An attacker at 10.77.0.3, and one on the watcher's own host, who forge no address.
#[test]
fn nobody_is_lost_or_taken_over_by_what_an_attacker_says() {
    let Some((lan, mut one, mut two, id)) = watched("evil") else {
        return;
    };
    let mut three = lan.actor(3);
    let mut other_user = lan.actor(1);
    let everyone = "10.77.0.255:1024";
    // From any port, and from the one from which peers speak.
    for port in [0, 1024] {
        let from = format!("10.77.0.3:{port}");
        for _ in 0..5 {
            for card in [
                "name=two&service=chat",
                "name=two&service=print",
                "name=evil",
            ] {
                let here = format!("HERE 10.77.0.3:666|v=1&id={id}&{card}&every=900");
                let gone = format!("GONE|v=1&id={id}");
                for text in [&here, &gone, &here] {
                    three.tell(&format!("say {from} {everyone} 1 1 {text}"));
                }
            }
        }
    }
    let told = one.lines_within(Duration::from_secs(1));
    assert_eq!(told.iter().find(about_two), None, "a claim: {told:?}");

    for to in [
        "127.255.255.255:1024",
        "127.0.0.1:1024",
        "10.77.0.1:1024",
        everyone,
    ] {
        for from in ["0.0.0.0:0", "127.0.0.1:1024", "10.77.0.1:1024"] {
            other_user.tell(&format!("say {from} {to} 1 1 GONE|v=1&id={id}"));
        }
    }
    // Long enough to lose it, if its own signs of life counted for nothing any more.
    let told = one.lines_within(Duration::from_secs(6));
    assert_eq!(told.iter().find(about_two), None, "a goodbye: {told:?}");

    two_is_itself(&mut one, &mut two);
}

#[test]
fn a_flood_from_one_address_blinds_no_watch() {
    let Some(lan) = Lan::new("flood", 4) else {
        return;
    };
    let mut one = peer(&lan, 1, "0.0.0.0", "one");
    one.tell("watch");
    let mut three = lan.actor(3);
    for port in [0, 1024] {
        let flood = format!("flood 10.77.0.3:{port} 10.77.0.255:1024 1200");
        println!("1,200 invented peers within {} ms", three.tell(&flood)[0]);
        let begin = Instant::now();
        let two = peer(&lan, 2, "0.0.0.0", "two");
        one.until("found 10.77.0.2");
        let took = begin.elapsed();
        println!("behind it a new peer is found within {took:?} of the start of its process");
        assert!(took < AT_ONCE, "{took:?}");
        // Its promises, too, are made after the flood.
        one.lines_within(Duration::from_secs(2));
        two.kill();
        let took = one.until("lost 10.77.0.2");
        println!("and a dead one is lost after {took:?}");
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}

#[test]
#[ignore = "a measurement"]
fn how_long_twenty_peers_on_ten_hosts_take_to_be_found() {
    let Some(lan) = Lan::new("time", 11) else {
        return;
    };
    let mut actors: Vec<_> = (1..=10)
        .map(|host| peer(&lan, host, "0.0.0.0", "first"))
        .collect();
    actors
        .iter_mut()
        .for_each(|actor| drop(actor.tell("peer 0.0.0.0:0 second")));
    let mut asker = peer(&lan, 11, "0.0.0.0", "asker");
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for _ in 0..21 {
        let lines = asker.tell("discover 500");
        assert_eq!(lines.len(), 20);
        let micros = |line: &String| line.split(' ').nth(2).unwrap().parse::<u64>().unwrap();
        first.push(micros(&lines[0]));
        last.push(micros(&lines[19]));
    }
    for (what, times) in [("first", &mut first), ("last", &mut last)] {
        times.sort();
        println!(
            "{what} of 20 peers: median {} µs, from {} to {} µs",
            times[10], times[0], times[20]
        );
    }
}

#[test]
#[ignore = "a measurement of some minutes"]
fn how_traffic_grows_with_the_number_of_peers() {
    for (hosts, each) in [(2, 1), (10, 2), (10, 20)] {
        let Some(lan) = Lan::new("traf", hosts + 1) else {
            return;
        };
        let mut ear = lan.actor(hosts + 1);
        let mut quiet = lan.actor(hosts + 1);
        let mut actors: Vec<_> = (1..=hosts).map(|host| lan.actor(host)).collect();
        quiet.begin("count 5");
        for actor in &mut actors {
            for _ in 0..each {
                actor.tell("peer 0.0.0.0:0 p");
            }
        }
        let peers = hosts * each;
        println!(
            "{peers} peers on {hosts} hosts start: {:?} in 5 s",
            quiet.finish("count")
        );
        println!(
            "{peers} peers, nobody watches: {:?} in 10 s",
            ear.tell("count 10")
        );
        ear.begin("count 5");
        actors[0].tell("watch");
        println!(
            "{peers} peers, one begins to watch: {:?} in 5 s",
            ear.finish("count")
        );
        ear.begin("count 5");
        actors
            .iter_mut()
            .for_each(|actor| drop(actor.tell("watch-all")));
        println!(
            "{peers} peers, all begin to watch: {:?} in 5 s",
            ear.finish("count")
        );
        // Until the first promises have been kept, it is not yet as it will be.
        std::thread::sleep(Duration::from_secs(peers as u64 / 4));
        ear.begin("count 60");
        std::thread::sleep(Duration::from_secs(60));
        println!(
            "{peers} peers, all watch: {:?} in 60 s",
            ear.finish("count")
        );
        let mut asker = lan.actor(hosts + 1);
        asker.tell("peer 0.0.0.0:0 asker");
        let lines = asker.tell("discover 500");
        println!(
            "{peers} peers, one search finds {}, the last as {:?}",
            lines.len(),
            lines.last()
        );
    }
}
