use super::*;

const SEC: Duration = Duration::from_secs(1);

fn from(ip: &str) -> Origin {
    let ip: Ipv4Addr = ip.parse().unwrap();
    Origin {
        ip,
        is_local: ip.is_loopback() || ip == LOCAL,
        from_port: true,
    }
}

/// This host, on its network.
const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

/// A sign of life from the address that it names.
fn sighting(addr: &str, id: Option<u64>, distance: u8) -> Sighting {
    let origin = from(addr.split(':').next().unwrap());
    let card = id.map(|id| Card {
        id,
        name: format!("n{id}"),
        service: String::new(),
    });
    Sighting {
        addr: addr.parse().unwrap(),
        distance,
        origin,
        card,
        count: None,
        patience: 4 * SEC,
        promised: true,
    }
}

/// A roster with a clock, whose events are texts.
struct Told(Roster, Instant);

impl Told {
    fn new() -> Told {
        Told(Roster::default(), Instant::now())
    }

    fn seen(&mut self, sighting: Sighting) -> Vec<String> {
        let mut out = Vec::new();
        self.0.seen(sighting, self.1, &mut out);
        texts(out)
    }

    fn member_gone(&mut self, id: u64, source: &str) -> Vec<String> {
        let mut out = Vec::new();
        self.0.gone(id, from(source), true, &mut out);
        texts(out)
    }

    fn gone(&mut self, id: u64, source: &str) -> Vec<String> {
        let mut out = Vec::new();
        self.0.gone(id, from(source), false, &mut out);
        texts(out)
    }

    fn after(&mut self, time: Duration) -> Vec<String> {
        self.1 += time;
        let mut out = Vec::new();
        self.0.expire(self.1, &mut out);
        texts(out)
    }
}

fn texts(out: Vec<(Key, Presence)>) -> Vec<String> {
    out.into_iter()
        .map(|(_, presence)| presence.to_string())
        .collect()
}

const NONE: [&str; 0] = [];

#[test]
fn found_once_and_lost_once() {
    let mut told = Told::new();
    assert_eq!(
        told.seen(sighting("10.0.0.2:7", Some(1), 2)),
        ["found 10.0.0.2:7 n1"]
    );
    assert_eq!(told.seen(sighting("10.0.0.2:7", Some(1), 2)), NONE);
    assert_eq!(told.0.next(), Some(told.1 + 2 * SEC), "a doubt");
    assert_eq!(told.after(3 * SEC), NONE);
    assert_eq!(told.seen(sighting("10.0.0.2:7", Some(1), 2)), NONE);
    assert_eq!(told.after(3 * SEC), NONE);
    assert_eq!(told.0.doubted(told.1), [Ipv4Addr::new(10, 0, 0, 2)]);
    assert_eq!(told.0.next(), Some(told.1 + SEC));
    assert_eq!(told.after(SEC), ["lost 10.0.0.2:7 n1"]);
    assert_eq!(told.after(SEC), NONE);
    assert_eq!(
        told.seen(sighting("10.0.0.2:7", Some(1), 2)),
        ["found 10.0.0.2:7 n1"]
    );
}

#[test]
fn on_two_networks_it_is_one_with_the_nearest_address_first() {
    let mut told = Told::new();
    assert_eq!(
        told.seen(sighting("10.0.0.5:7", Some(1), 1)),
        ["found 10.0.0.5:7 n1"]
    );
    assert_eq!(
        told.seen(Sighting {
            origin: from("10.0.0.5"),
            ..sighting("10.1.0.5:7", Some(1), 1)
        }),
        NONE,
        "as near, and later"
    );
    assert_eq!(
        told.seen(sighting("127.0.0.1:7", Some(1), 0)),
        ["found 127.0.0.1:7 n1"]
    );
    let all: Vec<_> = told
        .0
        .iter()
        .next()
        .unwrap()
        .1
        .addrs()
        .map(|a| a.to_string())
        .collect();
    assert_eq!(all, ["127.0.0.1:7", "10.0.0.5:7", "10.1.0.5:7"]);

    told.1 += 2 * SEC;
    assert_eq!(
        told.seen(Sighting {
            origin: from("10.0.0.5"),
            ..sighting("10.1.0.5:7", Some(1), 1)
        }),
        NONE
    );
    assert_eq!(
        told.after(2 * SEC),
        ["found 10.1.0.5:7 n1"],
        "what it still answers at"
    );
    assert_eq!(told.after(2 * SEC), ["lost 10.1.0.5:7 n1"]);
}

#[test]
fn a_goodbye_on_one_network_is_none_on_the_other() {
    let mut told = Told::new();
    told.seen(sighting("10.0.0.2:7", Some(1), 2));
    told.seen(sighting("10.1.0.2:7", Some(1), 2));
    assert_eq!(told.gone(1, "10.0.0.2"), ["found 10.1.0.2:7 n1"]);
    assert_eq!(told.gone(1, "10.1.0.2"), ["lost 10.1.0.2:7 n1"]);
}

/// Someone at 10.0.0.66, or on this host, says that it is the peer at 10.0.0.2.
#[test]
fn who_claims_another_ones_id_changes_nothing_about_it() {
    for (liar, distance) in [("10.0.0.66", 2), ("127.0.0.1", 0)] {
        let mut told = Told::new();
        told.seen(sighting("10.0.0.2:7", Some(1), 2));
        let lie = sighting(&format!("{liar}:666"), Some(1), distance);
        let mut printer = lie.clone();
        printer.card.as_mut().unwrap().service = "print".to_owned();
        for round in 0..100 {
            let out = [
                told.seen(lie.clone()),
                told.gone(1, liar),
                told.seen(printer.clone()),
                told.seen(lie.clone()),
                told.gone(1, liar),
                told.gone(1, "127.0.0.1"),
            ]
            .concat();
            let about_bob = |text: &&String| text.contains("10.0.0.2:7");
            assert_eq!(out.iter().find(about_bob), None, "round {round}: {out:?}");
            let bob = told
                .0
                .iter()
                .find(|(_, n)| n.addr().to_string() == "10.0.0.2:7");
            let (_, bob) = bob.expect("it is there");
            assert_eq!((bob.name(), bob.service()), (Some("n1"), None));
        }
        // Nor does it keep it alive.
        told.1 += 2 * SEC;
        told.seen(lie.clone());
        let out = told.after(2 * SEC);
        assert!(
            out[0] == "lost 10.0.0.2:7 n1" || out[0] == "found 10.0.0.66:666 n1",
            "{out:?}"
        );
    }
}

#[test]
fn what_another_host_has_said_a_process_of_this_one_cannot_take_back() {
    let mut told = Told::new();
    told.seen(sighting("10.0.0.2:7", Some(1), 2));
    for liar in ["127.0.0.1", "127.0.0.9", "10.0.0.5", "10.0.0.3"] {
        assert_eq!(told.gone(1, liar), NONE);
        // Nor by claiming its address for another id.
        let lie = Sighting {
            origin: from(liar),
            ..sighting("10.0.0.2:7", Some(2), 2)
        };
        if lie.origin.is_local {
            assert_eq!(told.seen(lie), ["found 10.0.0.2:7 n2"]);
            assert_eq!(told.gone(2, liar), ["lost 10.0.0.2:7 n2"]);
        }
    }
    assert_eq!(told.gone(1, "10.0.0.2"), ["lost 10.0.0.2:7 n1"]);
    // On this host all addresses are one.
    told.seen(sighting("10.0.0.5:7", Some(3), 1));
    assert_eq!(told.gone(3, "127.0.0.1"), ["lost 10.0.0.5:7 n3"]);
}

#[test]
fn after_a_flood_from_one_address_others_are_found_and_lost() {
    let mut told = Told::new();
    told.seen(sighting("10.0.0.2:7", Some(1), 2));
    let mut found = 0;
    for id in 1000..3000 {
        let mut flood = sighting(&format!("10.0.0.66:{id}"), Some(id), 2);
        flood.patience = 2701 * SEC;
        found += told.seen(flood).len();
    }
    assert_eq!(found, 64);
    assert_eq!(told.0.entries.len(), 65);
    assert_eq!(
        told.seen(sighting("10.0.0.3:7", Some(2), 2)),
        ["found 10.0.0.3:7 n2"]
    );
    assert_eq!(
        told.after(4 * SEC).len(),
        2,
        "those who promised to speak every second"
    );
}

#[test]
fn started_again_on_its_old_port() {
    let mut told = Told::new();
    told.seen(sighting("10.0.0.2:7", Some(1), 2));
    let events = told.seen(sighting("10.0.0.2:7", Some(2), 2));
    assert_eq!(events, ["lost 10.0.0.2:7 n1", "found 10.0.0.2:7 n2"]);
}

#[test]
fn peerpy_is_known_by_its_address() {
    let mut told = Told::new();
    assert_eq!(
        told.seen(sighting("10.0.0.2:7", None, 2)),
        ["found 10.0.0.2:7"]
    );
    assert_eq!(
        told.seen(sighting("10.0.0.2:8", Some(1), 2)),
        ["found 10.0.0.2:8 n1"]
    );
    assert_eq!(
        told.seen(sighting("10.0.0.2:8", None, 2)),
        NONE,
        "one peer, two dialects"
    );
}

#[test]
fn a_goodbye_is_believed_only_from_where_it_lives() {
    let mut told = Told::new();
    told.seen(sighting("10.0.0.2:7", Some(1), 2));
    assert_eq!(told.gone(1, "10.0.0.3"), NONE);
    assert_eq!(told.gone(2, "10.0.0.2"), NONE);
    assert_eq!(told.gone(1, "10.0.0.2"), ["lost 10.0.0.2:7 n1"]);
    assert_eq!(told.gone(1, "10.0.0.2"), NONE);
}

#[test]
fn a_guess_does_not_shorten_a_promise() {
    let mut told = Told::new();
    told.seen(Sighting {
        patience: 40 * SEC,
        ..sighting("10.0.0.2:7", Some(1), 2)
    });
    told.seen(Sighting {
        promised: false,
        ..sighting("10.0.0.2:7", Some(1), 2)
    });
    assert_eq!(told.after(39 * SEC), NONE);
    assert_eq!(told.after(SEC), ["lost 10.0.0.2:7 n1"]);
}

#[test]
fn memory_is_bounded() {
    let mut told = Told::new();
    for id in 0..NEIGHBOURS_MAX as u64 + 200 {
        let addr = format!("10.0.{}.{}:7", id / 256 % 256, id % 256);
        told.seen(sighting(&addr, Some(id), 2));
        told.seen(sighting(
            &format!("10.0.0.1:{}", 1000 + id % 50_000),
            Some(7),
            2,
        ));
    }
    assert_eq!(told.0.entries.len(), NEIGHBOURS_MAX);
    assert!(
        told.0
            .entries
            .values()
            .all(|entry| entry.places.len() <= ADDRS_MAX)
    );
}

/// A sign of life of a member.
fn member(addr: &str, id: u64, count: u64) -> Sighting {
    Sighting {
        count: Some(count),
        ..sighting(addr, Some(id), 2)
    }
}

#[test]
fn where_a_member_is_others_are_not_believed() {
    let mut told = Told::new();
    assert_eq!(told.seen(sighting("10.0.0.2:7", Some(1), 2)).len(), 1);
    // The same, proved: it takes the place of the claim.
    let events = told.seen(member("10.0.0.2:7", 1, 10));
    assert_eq!(events, ["lost 10.0.0.2:7 n1", "found 10.0.0.2:7 n1"]);
    for lie in [Some(1), Some(2), None] {
        assert_eq!(told.seen(sighting("10.0.0.2:7", lie, 2)), NONE);
    }
    assert_eq!(told.gone(1, "10.0.0.2"), NONE);
    // Its id elsewhere is another neighbour, and gone when that says so.
    let elsewhere = told.seen(sighting("10.0.0.66:7", Some(1), 2));
    assert_eq!(elsewhere, ["found 10.0.0.66:7 n1"]);
    assert_eq!(told.gone(1, "10.0.0.66"), ["lost 10.0.0.66:7 n1"]);
    // Nor is it kept alive, or late, by them.
    told.1 += 2 * SEC;
    told.seen(Sighting {
        patience: SEC / 2,
        ..sighting("10.0.0.2:7", Some(1), 2)
    });
    assert_eq!(told.after(2 * SEC - SEC / 4), NONE);
    assert_eq!(told.after(SEC / 4), ["lost 10.0.0.2:7 n1"]);
    told.seen(member("10.0.0.2:7", 1, 11));
    assert_eq!(told.member_gone(1, "10.0.0.2"), ["lost 10.0.0.2:7 n1"]);
}

#[test]
fn an_earlier_member_does_not_come_back_to_its_address() {
    let mut told = Told::new();
    told.seen(member("10.0.0.2:7", 1, 10));
    // Started again.
    let events = told.seen(member("10.0.0.2:7", 2, 500));
    assert_eq!(events, ["lost 10.0.0.2:7 n1", "found 10.0.0.2:7 n2"]);
    assert_eq!(told.seen(member("10.0.0.2:7", 1, 11)), NONE);
    assert_eq!(told.after(4 * SEC), ["lost 10.0.0.2:7 n2"]);
}

/// An answer has the count of what was said before it, and may come late.
#[test]
fn a_late_answer_of_a_member_does_not_let_an_earlier_one_in() {
    let mut told = Told::new();
    assert_eq!(told.seen(member("10.0.0.2:7", 1, 10)).len(), 1);
    assert_eq!(told.seen(member("10.0.0.2:7", 1, 5)), NONE);
    assert_eq!(told.seen(member("10.0.0.2:7", 2, 7)), NONE);
}

#[test]
fn members_have_their_room_whoever_was_there_first() {
    let mut told = Told::new();
    let addr = |net: u64, id: u64| format!("10.{net}.{}.{}:7", id / 256, id % 256);
    for id in 0..NEIGHBOURS_MAX as u64 {
        told.seen(sighting(&addr(1, id), Some(id), 2));
    }
    for id in 0..NEIGHBOURS_MAX as u64 {
        let events = told.seen(member(&addr(2, id), id, 1));
        assert_eq!(events.len(), 2, "one goes for it: {events:?}");
        assert_eq!(told.0.entries.len(), NEIGHBOURS_MAX);
    }
    assert!(told.0.entries.keys().all(Key::is_member));
    assert_eq!(told.seen(sighting("10.3.0.1:7", Some(1), 2)), NONE);
    assert_eq!(told.seen(member("10.3.0.1:7", 5000, 1)), NONE);
}
