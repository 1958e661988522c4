//! A watch tells who comes and goes.

use std::time::{Duration, Instant};

use lanpeer::crossbeam_channel::{Select, never, select};
use lanpeer::{Presence, Receiver};

use crate::beacons::{A_WHILE, DEADLINE, Port, Speaker, told};
use crate::network::AT_ONCE;
use crate::peers::{alone, memory};

#[test]
fn those_who_are_there_are_found_and_those_who_come() {
    let port = Port::new();
    let early = port.peer("early");
    let alice = port.peer("alice");
    let watch = alice.watch();
    assert_eq!(
        told(&watch).to_string(),
        format!("found {} early", early.local_addr())
    );
    let begin = Instant::now();
    let late = port.peer("late");
    assert_eq!(
        told(&watch).to_string(),
        format!("found {} late", late.local_addr())
    );
    let took = begin.elapsed();
    println!("found {took:?} after its start");
    assert!(took < AT_ONCE, "{took:?}");
    // Nothing of herself, and nothing twice, through several rounds.
    assert!(watch.recv_timeout(Duration::from_secs(3)).is_err());
}

#[test]
fn one_who_stops_is_lost_at_once() {
    let port = Port::new();
    let (alice, bob) = (port.peer("alice"), port.peer("bob"));
    let watch = alice.watch();
    assert!(matches!(told(&watch), Presence::Found(_)));
    let begin = Instant::now();
    bob.stop();
    assert_eq!(
        told(&watch).to_string(),
        format!("lost {} bob", bob.local_addr())
    );
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
}

#[test]
fn one_who_hides_is_lost_and_one_who_shows_itself_is_found() {
    let port = Port::new();
    let (alice, bob) = (port.peer("alice"), port.peer("bob"));
    let watch = alice.watch();
    assert!(matches!(told(&watch), Presence::Found(_)));
    for _ in 0..3 {
        bob.set_invisible(true);
        assert!(matches!(told(&watch), Presence::Lost(_)));
        let begin = Instant::now();
        bob.set_invisible(false);
        assert!(matches!(told(&watch), Presence::Found(_)));
        assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    }
}

#[test]
fn one_who_falls_silent_is_lost_within_the_stated_time() {
    let port = Port::new();
    let alice = port.peer("alice");
    let watch = alice.watch();
    port.hear("PING"); // it has begun to watch
    let bob = Speaker::new();
    let sign = "HERE 127.0.0.1:4242|v=1&id=00000000bb&name=bob&every=1";
    let begin = Instant::now();
    bob.say(sign, port.broadcast_addr());
    assert_eq!(told(&watch).to_string(), "found 127.0.0.1:4242 bob");
    // Each sign of life counts from when it came.
    std::thread::sleep(Duration::from_millis(1500));
    bob.say(sign, port.broadcast_addr());
    let last = begin.elapsed();
    assert_eq!(told(&watch).to_string(), "lost 127.0.0.1:4242 bob");
    let took = begin.elapsed() - last;
    println!("lost {took:?} after its last sign of life");
    assert!(took > Duration::from_millis(3900), "{took:?}");
    assert!(took < Duration::from_millis(6000), "{took:?}");
}

#[test]
fn a_peer_that_speaks_only_the_old_words_is_watched_too() {
    let port = Port::new();
    let alice = port.peer("alice");
    let watch = alice.watch();
    // peerpy answers to whatever address `pinger` names.
    let (ping, _) = port.hear("PING");
    let pinger = ping
        .split("pinger=")
        .nth(1)
        .unwrap()
        .split('&')
        .next()
        .unwrap();
    let pinger: std::net::SocketAddr = pinger.parse().unwrap();
    assert_eq!(pinger, port.broadcast_addr());
    let old = Speaker::new();
    old.say("PONG|ponger=127.0.0.1:4242", pinger);
    let found = told(&watch);
    assert_eq!(found.to_string(), "found 127.0.0.1:4242");
    assert_eq!(
        (found.neighbour().name(), found.neighbour().id()),
        (None, None)
    );
    // It is asked again and again while it is watched.
    for _ in 0..3 {
        port.hear("PING");
    }
    assert_eq!(told(&watch).to_string(), "lost 127.0.0.1:4242");
}

#[test]
fn several_watches_each_hear_all_and_a_service_only_its_own() {
    let port = Port::new();
    let alice = port.peer("alice");
    let (all, chat) = (alice.watch(), alice.watch_service("chat"));
    let bob = port
        .builder()
        .name("bob")
        .service("chat")
        .bind("127.0.0.1:0")
        .unwrap();
    let carol = port
        .builder()
        .name("carol")
        .service("print")
        .bind("127.0.0.1:0")
        .unwrap();
    let both = |watch: &Receiver<Presence>| {
        let mut found = [told(watch), told(watch)].map(|presence| presence.to_string());
        found.sort();
        found
    };
    let mut expected = [&bob, &carol].map(|peer| peer.local_addr());
    expected.sort();
    let expected = expected.map(|addr| match addr == bob.local_addr() {
        true => format!("found {addr} bob"),
        false => format!("found {addr} carol"),
    });
    assert_eq!(both(&all), expected);
    assert_eq!(told(&chat).neighbour().addr(), bob.local_addr());
    // One that begins later hears first of those who are there.
    assert_eq!(both(&alice.watch()), expected);
    carol.stop();
    assert!(matches!(told(&all), Presence::Lost(_)));
    assert!(chat.recv_timeout(A_WHILE).is_err());
}

#[test]
fn an_invisible_peer_watches_and_is_not_seen() {
    let port = Port::new();
    let hidden = port
        .builder()
        .name("hidden")
        .invisible(true)
        .bind("127.0.0.1:0")
        .unwrap();
    let seen = hidden.watch();
    let bob = port.peer("bob");
    assert_eq!(
        told(&seen).to_string(),
        format!("found {} bob", bob.local_addr())
    );
    let watch = bob.watch();
    assert!(watch.recv_timeout(Duration::from_secs(3)).is_err());
}

#[test]
fn one_who_starts_again_on_its_port_is_lost_and_found() {
    let port = Port::new();
    let alice = port.peer("alice");
    let watch = alice.watch();
    port.hear("PING"); // it has begun to watch
    let bob = Speaker::new();
    bob.say(
        "HERE 127.0.0.1:4242|v=1&id=00000000b1&every=900",
        port.broadcast_addr(),
    );
    assert!(matches!(told(&watch), Presence::Found(_)));
    bob.say(
        "HERE 127.0.0.1:4242|v=1&id=00000000b2&every=900",
        port.broadcast_addr(),
    );
    assert!(
        matches!(told(&watch), Presence::Lost(old) if old.id().unwrap().to_string() == "00000000b1")
    );
    assert!(
        matches!(told(&watch), Presence::Found(new) if new.id().unwrap().to_string() == "00000000b2")
    );
    // It can be on several networks, and is one: only a nearer address would be news.
    bob.say(
        "HERE 127.0.0.2:4242|v=1&id=00000000b2&every=900",
        port.broadcast_addr(),
    );
    bob.say("GONE|v=1&id=00000000b2", port.broadcast_addr());
    assert!(matches!(told(&watch), Presence::Lost(_)));
}

#[test]
fn nobody_speaks_while_nobody_watches() {
    let port = Port::new();
    let (alice, _bob) = (port.peer("alice"), port.peer("bob"));
    let watch = alice.watch();
    assert!(matches!(told(&watch), Presence::Found(_)));
    // Nothing comes or goes that the watch would have to be told of.
    drop(watch);
    // Signs of life are promised until 4 seconds after the last question; then there is silence.
    let begin = Instant::now();
    let mut buffer = [0; 200];
    port.ear
        .set_read_timeout(Some(Duration::from_secs(3)))
        .unwrap();
    while port.ear.recv(&mut buffer).is_ok() {
        assert!(begin.elapsed() < DEADLINE, "someone still speaks");
    }
}

#[test]
fn a_clone_keeps_a_watch_alive_and_a_receiver_does_not() {
    let port = Port::new();
    let alice = port.peer("alice");
    let watch = alice.watch();
    let clone = watch.clone();
    let bare: Receiver<Presence> = Receiver::clone(&watch);
    drop(watch);
    let bob = port.peer("bob");
    assert_eq!(told(&clone).neighbour().addr(), bob.local_addr());
    drop(clone);
    assert!(
        bare.recv_timeout(DEADLINE)
            .is_err_and(|error| error.is_disconnected())
    );
}

#[test]
fn a_watch_is_used_like_the_receiver_that_it_is() {
    let port = Port::new();
    let (alice, bob) = (port.peer("alice"), port.peer("bob"));
    let watch = alice.watch();
    let other = never::<()>();
    let found = select! {
        recv(watch) -> presence => presence.unwrap(),
        recv(other) -> _ => unreachable!(),
        default(DEADLINE) => panic!("nothing to tell"),
    };
    assert!(matches!(found, Presence::Found(_)));
    // By reference too, and alone.
    let by_reference = &watch;
    select! {
        recv(by_reference) -> presence => panic!("{presence:?}"),
        default => {}
    }
    let mut select = Select::new();
    select.recv(&watch);
    bob.set_invisible(true);
    assert_eq!(select.ready_timeout(DEADLINE), Ok(0));
    assert!(matches!(watch.try_recv(), Ok(Presence::Lost(_))));
    bob.set_invisible(false);
    for presence in &watch {
        if matches!(presence, Presence::Found(_)) {
            break;
        }
    }
    let all = std::thread::spawn(move || {
        let mut all = Vec::new();
        for presence in watch {
            all.push(presence);
        }
        all
    });
    bob.stop();
    let begin = Instant::now();
    // Watched by another, who is told no later than the first.
    let late = alice.watch();
    assert!(late.recv_timeout(A_WHILE).is_err());
    alice.stop();
    assert!(matches!(all.join().unwrap()[..], [Presence::Lost(_)]));
    assert!(begin.elapsed() < DEADLINE);
}

#[test]
fn dropped_watches_keep_no_memory() {
    alone("watch::dropped_watches_keep_no_memory", || {
        let port = Port::new();
        let alice = port.peer("alice");
        (0..1000).for_each(|_| drop(alice.watch()));
        let before = memory();
        // Each sends a datagram, which is slow in emulation.
        let many = if cfg!(windows) { 20_000 } else { 200_000 };
        (0..many).for_each(|_| drop(alice.watch()));
        let grown = memory().saturating_sub(before);
        println!("{grown} bytes more after {many} watches");
        assert!(grown < 1 << 20, "{grown} bytes more");
    });
}
