use super::*;

const SEC: Duration = Duration::from_secs(1);

fn sighting(addr: &str, id: Option<u64>, distance: u8) -> Sighting {
    let card = id.map(|id| Card {
        id,
        name: format!("n{id}"),
        service: String::new(),
    });
    Sighting {
        addr: addr.parse().unwrap(),
        distance,
        card,
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

    fn gone(&mut self, id: u64, source: &str) -> Vec<String> {
        let mut out = Vec::new();
        self.0.gone(id, source.parse().unwrap(), &mut out);
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
    assert_eq!(told.after(3 * SEC), NONE);
    assert_eq!(told.seen(sighting("10.0.0.2:7", Some(1), 2)), NONE);
    assert_eq!(told.after(3 * SEC), NONE);
    assert_eq!(told.0.next_expiry(), Some(told.1 + SEC));
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
        told.seen(sighting("10.0.0.2:7", Some(1), 2)),
        ["found 10.0.0.2:7 n1"]
    );
    assert_eq!(
        told.seen(sighting("10.1.0.2:7", Some(1), 2)),
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
    assert_eq!(all, ["127.0.0.1:7", "10.0.0.2:7", "10.1.0.2:7"]);

    told.1 += 2 * SEC;
    assert_eq!(told.seen(sighting("10.1.0.2:7", Some(1), 2)), NONE);
    assert_eq!(
        told.after(2 * SEC),
        ["found 10.1.0.2:7 n1"],
        "what it still answers at"
    );
    assert_eq!(told.after(2 * SEC), ["lost 10.1.0.2:7 n1"]);
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
    let mut crowd = Crowd::default();
    for id in 0..3 * NEIGHBOURS_MAX as u64 {
        let addr = format!("10.0.{}.{}:7", id / 256 % 256, id % 256);
        told.seen(sighting(&addr, Some(id), 2));
        told.seen(sighting(
            &format!("10.0.0.1:{}", 1000 + id % 50_000),
            Some(7),
            2,
        ));
        crowd.note(id, None, told.1);
    }
    assert!(told.0.entries.len() <= NEIGHBOURS_MAX);
    assert!(
        told.0
            .entries
            .values()
            .all(|entry| entry.places.len() <= ADDRS_MAX)
    );
    assert_eq!(crowd.len(), NEIGHBOURS_MAX);
    crowd.expire(told.1 + Crowd::UNPROMISED);
    assert_eq!(crowd.len(), 0);
}
