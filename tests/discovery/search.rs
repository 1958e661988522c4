//! Peers find each other: what one host's loopback can show.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use lanpeer::{Error, Event, Json, Neighbour, Peer};

use crate::beacons::{A_WHILE, DEADLINE, LONG, Port, Speaker, padded};

#[test]
fn a_peer_is_found_by_another_and_can_be_connected_to() {
    let port = Port::new();
    let alice = port.peer("alice");
    let bob = port
        .builder()
        .name("bob")
        .service("chat")
        .bind("127.0.0.1:0")
        .unwrap();

    let found = alice.discover(LONG).unwrap().next().expect("bob");
    assert_eq!(found.to_string(), format!("{} bob", bob.local_addr()));
    assert_eq!(found.addr(), bob.local_addr());
    assert_eq!(found.addrs().collect::<Vec<_>>(), [bob.local_addr()]);
    assert_eq!((found.name(), found.service()), (Some("bob"), Some("chat")));
    assert_eq!(found.id(), Some(bob.id()));
    assert_ne!(alice.id(), bob.id());

    let accept = std::thread::spawn(move || bob.accept::<Json<u32>>().unwrap().recv());
    let conn = alice.connect::<Json<u32>>(found.addr()).unwrap();
    conn.send(&7).unwrap();
    assert_eq!(accept.join().unwrap(), Ok(7));
}

#[test]
fn several_peers_of_one_host_are_all_found_and_each_once() {
    let port = Port::new();
    let peers: Vec<Peer> = (0..8).map(|n| port.peer(&format!("p{n}"))).collect();
    let mut expected: Vec<_> = peers.iter().map(|peer| peer.local_addr()).collect();
    expected.sort();

    let mut all: Vec<_> = port
        .discover(LONG)
        .take(8)
        .map(|found| found.addr())
        .collect();
    all.sort();
    assert_eq!(all, expected);

    // To the end of the time, in which the question is repeated: nobody twice, and never oneself.
    let others: Vec<_> = peers[0]
        .discover(A_WHILE)
        .unwrap()
        .map(|found| found.addr())
        .collect();
    let distinct: HashSet<_> = others.iter().collect();
    assert_eq!(distinct.len(), others.len());
    assert!(!distinct.contains(&peers[0].local_addr()));
}

#[test]
fn the_answer_names_the_address_that_the_peer_is_bound_to() {
    let port = Port::new();
    let speaker = Speaker::on("127.0.0.9");
    let bob = port.builder().name("bob").bind("127.0.0.5:0").unwrap();
    speaker.say(padded("PING 127.0.0.1:0"), port.broadcast_addr());
    let answer = speaker.answer(DEADLINE).expect("an answer");
    assert!(answer.starts_with(&format!(
        "PONG {}|ponger={0}&v=1&id={}",
        bob.local_addr(),
        bob.id()
    )));
}

#[test]
fn the_time_is_kept() {
    let port = Port::new();
    for time in [
        Duration::ZERO,
        Duration::from_millis(1),
        Duration::from_millis(150),
    ] {
        let begin = Instant::now();
        let mut search = port.discover(time);
        assert_eq!(search.next(), None);
        assert!(begin.elapsed() >= time);
        assert!(begin.elapsed() < time + DEADLINE);
        assert_eq!(search.next(), None, "and it stays over");
    }
}

#[test]
fn one_who_misses_the_first_question_hears_another() {
    let port = Port::new();
    let search = std::thread::spawn({
        let discover = port.discover(LONG);
        move || discover.take(1).collect::<Vec<_>>()
    });
    let (_, first) = port.hear("PING");
    let (_, again) = port.hear("PING");
    assert_eq!(first, again);
    Speaker::new().say("PONG 127.0.0.1:4242", again);
    assert_eq!(
        search.join().unwrap()[0].addr(),
        "127.0.0.1:4242".parse().unwrap()
    );
}

#[test]
fn an_answer_in_each_form_is_listed() {
    let port = Port::new();
    let discover = port.discover(LONG);
    let (_, asker) = port.hear("PING");
    let speaker = Speaker::on("127.0.0.7");
    for text in [
        "PONG|ponger=127.0.0.7:4001",
        "PONG 127.0.0.7:4002",
        &padded("PONG|ponger=127.0.0.7:4003"),
        "PING 127.0.0.7:4004", // as the manual prints it once
        "PONG|ponger=0.0.0.0:4005",
        "PONG 127.0.0.7:4006|ponger=127.0.0.7:4006&v=1&id=00000000aa&name=bob",
        // The same peer, from another of its addresses.
        "PONG 127.0.0.8:4006|ponger=127.0.0.8:4006&v=1&id=00000000aa&name=bob",
    ] {
        speaker.say(text, asker);
    }
    for nonsense in [
        "PONG",
        "PONG|ponger=",
        "PONG|ponger=1.2.3.4",
        "PONG|ponger=127.0.0.1:0",
        "",
        "PONG 224.0.0.1:7",
        "HERE 127.0.0.1:7|v=1&id=1",
        "PONG 1.2.3.4:5|a=1&a=2",
    ] {
        speaker.say(nonsense, asker);
    }
    speaker.say(b"PONG\xff\xfe", asker);
    speaker.say([b'x'; 5000], asker);
    speaker.say("PONG 127.0.0.7:4007", asker);
    let mut found: Vec<_> = discover
        .take(7)
        .map(|found| (found.to_string(), found.id().is_some()))
        .collect();
    found.sort();
    let expected = (4001..=4007).map(|port| match port {
        4006 => (format!("127.0.0.7:{port} bob"), true),
        _ => (format!("127.0.0.7:{port}"), false),
    });
    assert_eq!(found, expected.collect::<Vec<_>>());
}

#[test]
fn a_search_can_be_limited_to_a_service() {
    let port = Port::new();
    let of = |service: &str| {
        port.builder()
            .name(service)
            .service(service)
            .bind("127.0.0.1:0")
            .unwrap()
    };
    let (chat, print) = (of("chat"), of("print"));
    // Both answer the same question, in any order: had both been wanted, both had been found.
    let found: Vec<_> = chat
        .discover_service("print", LONG)
        .unwrap()
        .take(1)
        .collect();
    assert_eq!(found[0].addr(), print.local_addr());
    let all: Vec<_> = print
        .discover_service("chat", A_WHILE)
        .unwrap()
        .map(|found| found.addr())
        .collect();
    assert_eq!(all, [chat.local_addr()]);
}

#[test]
fn an_invisible_peer_is_not_found_but_finds() {
    let port = Port::new();
    let bob = port.peer("bob");
    let hidden = port
        .builder()
        .name("hidden")
        .invisible(true)
        .bind("127.0.0.1:0")
        .unwrap();
    let found = hidden.discover(LONG).unwrap().next().expect("bob");
    assert_eq!(found.addr(), bob.local_addr());
    // It does not say in its question who asks.
    let (ping, _) = port.hear("PING 127.0.0.1:0|");
    assert!(!ping.contains("hidden"), "{ping}");
    assert_eq!(
        port.discover(A_WHILE)
            .map(|found| found.addr())
            .collect::<Vec<_>>(),
        [bob.local_addr()]
    );

    hidden.set_invisible(false);
    assert_eq!(port.find(2).len(), 2);

    hidden.set_invisible(true);
    let speaker = Speaker::new();
    speaker.say(padded("PING 127.0.0.1:0"), port.broadcast_addr());
    let answers: Vec<_> = std::iter::from_fn(|| speaker.answer(A_WHILE)).collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(answers[0].contains("name=bob"));
}

#[test]
fn without_the_port_a_peer_works_and_says_why_it_is_not_found() {
    let alone = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = alone.local_addr().unwrap().port();
    let bob = Peer::builder()
        .discovery_port(port)
        .bind("127.0.0.1:0")
        .unwrap();
    let reason = bob.not_discoverable().expect("not discoverable").to_owned();
    assert!(reason.contains(&format!("UDP port {port}")), "{reason}");
    match bob.events().recv_timeout(DEADLINE) {
        Ok(Event::NotDiscoverable { reason: told }) => assert_eq!(told, reason),
        other => panic!("{other:?}"),
    }
    // It can search: whoever holds the port hears the question.
    let mut search = bob.discover(LONG).unwrap();
    let mut buffer = [0; 600];
    alone.set_read_timeout(Some(DEADLINE)).unwrap();
    let (len, asker) = alone.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..5], len), (&b"PING "[..], 128));
    alone.send_to(b"PONG|ponger=127.0.0.1:4242", asker).unwrap();
    assert_eq!(search.next().unwrap().addr().port(), 4242);
    // And connect.
    let alice = Port::new().peer("alice");
    let addr = bob.local_addr();
    let accept = std::thread::spawn(move || bob.accept::<Json<u32>>().unwrap().recv());
    alice.connect::<Json<u32>>(addr).unwrap().send(&1).unwrap();
    assert_eq!(accept.join().unwrap(), Ok(1));

    let visible = Port::new().peer("visible");
    assert_eq!(visible.not_discoverable(), None);
}

#[test]
fn a_port_that_another_program_had_is_taken_once_it_is_free() {
    let alone = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = alone.local_addr().unwrap().port();
    let builder = Peer::builder().discovery_port(port);
    let bob = builder.clone().name("bob").bind("127.0.0.1:0").unwrap();
    let watch = bob.watch();
    assert!(bob.not_discoverable().is_some());
    drop(alone);
    let begin = Instant::now();
    while let Some(reason) = bob.not_discoverable() {
        assert!(begin.elapsed() < DEADLINE, "{reason}");
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("discoverable {:?} after the port is free", begin.elapsed());
    // It is found, and the watch that began before goes on.
    let carol = builder.name("carol").bind("127.0.0.1:0").unwrap();
    let found = carol.discover(LONG).unwrap().next().expect("bob");
    assert_eq!(found.addr(), bob.local_addr());
    assert_eq!(
        crate::beacons::told(&watch).neighbour().addr(),
        carol.local_addr()
    );
    carol.stop();
    assert!(matches!(
        crate::beacons::told(&watch),
        lanpeer::Presence::Lost(_)
    ));
    let begin = Instant::now();
    bob.stop();
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn far_hosts_are_addresses_of_any_form() {
    let port = Port::new();
    let ip = std::net::Ipv4Addr::new(127, 0, 0, 77);
    let ear = UdpSocket::bind((ip, 0)).unwrap();
    ear.set_read_timeout(Some(DEADLINE)).unwrap();
    let addr = ear.local_addr().unwrap();
    for builder in [
        port.builder().seeds([addr]),
        port.builder().seeds([addr.to_string()]),
        port.builder().seeds(vec!["127.0.0.78", &*addr.to_string()]),
    ] {
        let alice = builder.bind("127.0.0.1:0").unwrap();
        let search = alice.discover(LONG).unwrap();
        // Past the goodbye of the one before.
        let (text, asker) = loop {
            let mut buffer = [0; 600];
            let (len, asker) = ear.recv_from(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if text.starts_with("PING") {
                break (text, asker);
            }
        };
        assert!(
            text.starts_with(&format!("PING {}|", alice.local_addr())),
            "{text}"
        );
        ear.send_to(b"PONG 127.0.0.77:4242|v=1&id=00000000aa", asker)
            .unwrap();
        let found = search.into_iter().next().unwrap();
        assert_eq!(found.addr().to_string(), "127.0.0.77:4242");
    }
    let builder = port.builder().seeds([ip]);
    assert!(builder.bind("127.0.0.1:0").is_ok());
    for bad in ["", "host", "::1", "0.0.0.0", "10.0.0.300"] {
        match port.builder().seeds([bad]).bind("127.0.0.1:0") {
            Err(Error::InvalidOption {
                option: "seeds", ..
            }) => {}
            other => panic!("{bad:?}: {other:?}"),
        }
    }
}

#[test]
fn what_would_break_a_header_is_refused_when_the_peer_is_built() {
    let refused = |builder: lanpeer::PeerBuilder| match builder.bind("127.0.0.1:0") {
        Err(Error::InvalidOption { option, .. }) => option,
        other => panic!("{other:?}"),
    };
    let long = "n".repeat(25);
    for bad in [
        "a|b",
        "a&b",
        "a=b",
        "a\nb",
        "\u{1b}[31m",
        " a",
        "a ",
        "a\u{202e}b",
        "a\u{200b}",
        "\u{feff}a",
        "a\u{200d}b",
        "\u{2067}a",
        &long,
    ] {
        assert_eq!(refused(Peer::builder().name(bad)), "name", "{bad:?}");
        assert_eq!(refused(Peer::builder().service(bad)), "service", "{bad:?}");
    }
    assert_eq!(refused(Peer::builder().discovery_port(0)), "discovery_port");

    let port = Port::new();
    let builder = port.builder().name("n".repeat(24)).service("s".repeat(16));
    let longest = builder.bind("127.0.0.1:0").unwrap();
    let found = port.discover(LONG).next().unwrap();
    assert_eq!(found.name(), Some("n".repeat(24).as_str()));
    assert_eq!(found.service(), Some("s".repeat(16).as_str()));
    assert_eq!(found.addr(), longest.local_addr());

    let nameless = Port::new();
    let _peer = nameless.builder().name("").bind("127.0.0.1:0").unwrap();
    assert_eq!(nameless.discover(LONG).next().unwrap().name(), None);
}

#[test]
fn what_is_not_seen_in_a_name_is_written_out() {
    let port = Port::new();
    let alice = port.peer("alice");
    let watch = alice.watch();
    let search = port.discover(LONG);
    let asker = port.hear_searcher();
    let speaker = Speaker::on("127.0.0.7");
    let card = "v=1&id=00000000aa&name=b\u{202e}o\u{200b}b\u{1b}[2J&service=ch\u{feff}at";
    speaker.say(format!("PONG 127.0.0.7:4001|{card}"), asker);
    speaker.say(
        format!("HERE 127.0.0.7:4001|{card}&every=1"),
        port.broadcast_addr(),
    );
    let is_it = |found: &Neighbour| found.addr().port() == 4001;
    let searched = search.into_iter().find(is_it).expect("it is there");
    let watched = crate::beacons::told(&watch);
    for found in [&searched, watched.neighbour()] {
        let name = r"b\u{202e}o\u{200b}b\u{1b}[2J";
        assert_eq!(found.to_string(), format!("127.0.0.7:4001 {name}"));
        assert_eq!(found.name(), Some(name));
        assert_eq!(found.service(), Some(r"ch\u{feff}at"));
    }
}

#[test]
fn the_name_is_the_hosts_unless_chosen() {
    let port = Port::new();
    let _peer = port.builder().bind("127.0.0.1:0").unwrap();
    let found = port.discover(LONG).next().unwrap();
    let host = hostname::get().unwrap().into_string().unwrap();
    let first = host.split('.').next().unwrap();
    assert_eq!(found.name(), Some(first.get(..24).unwrap_or(first)));
}

#[test]
fn stop_ends_a_search_and_a_watch_at_once() {
    let port = Port::new();
    let peer = port.peer("peer");
    let (search, watch) = (peer.discover(Duration::MAX).unwrap(), peer.watch());
    let searching = std::thread::spawn(move || search.count());
    let watching = std::thread::spawn(move || watch.iter().count());
    port.hear("PING"); // it has begun
    let begin = Instant::now();
    peer.stop();
    assert_eq!(
        (searching.join().unwrap(), watching.join().unwrap()),
        (0, 0)
    );
    let took = begin.elapsed();
    println!("a peer, its search and its watch have ended within {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(matches!(peer.discover(A_WHILE), Err(Error::Stopped)));
    assert!(
        peer.watch()
            .recv_timeout(DEADLINE)
            .is_err_and(|error| error.is_disconnected())
    );
}

#[test]
fn a_stopped_peer_is_no_longer_found() {
    let port = Port::new();
    let (bob, carol) = (port.peer("bob"), port.peer("carol"));
    assert_eq!(port.find(2).len(), 2);
    bob.stop();
    assert_eq!(
        port.discover(A_WHILE)
            .map(|found| found.addr())
            .collect::<Vec<_>>(),
        [carol.local_addr()]
    );
}
