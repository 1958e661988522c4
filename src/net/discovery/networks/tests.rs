use super::*;

fn network(addr: [u8; 4], prefix: u32) -> Network {
    let mask = Ipv4Addr::from_bits(u32::MAX << (32 - prefix));
    Network {
        name: "test".into(),
        addr: addr.into(),
        mask,
        broadcast: None,
    }
}

fn addr(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

#[test]
fn a_peer_on_loopback_uses_nothing_else() {
    let bound = Ipv4Addr::new(127, 0, 0, 2);
    let networks = networks(&Reach::new(bound)).unwrap();
    assert_eq!(networks.len(), 1);
    assert_eq!(
        (networks[0].addr, networks[0].broadcast),
        (bound, Some([127, 255, 255, 255].into()))
    );
}

#[test]
fn loopback_is_first_and_no_broadcast_address_is_twice() {
    let networks = networks(&Reach::new(Ipv4Addr::UNSPECIFIED)).unwrap();
    assert!(networks[0].addr.is_loopback());
    for (index, network) in networks.iter().enumerate() {
        let twice = networks[..index]
            .iter()
            .any(|other| other.broadcast == network.broadcast);
        assert!(!twice || network.broadcast.is_none());
    }
}

#[test]
fn a_peer_can_be_reached_at_every_address_loopback_last() {
    assert_eq!(addrs(addr("10.0.0.5:7")), [addr("10.0.0.5:7")]);
    let all = addrs(addr("0.0.0.0:7"));
    assert_eq!(all.last(), Some(&addr("127.0.0.1:7")));
    assert!(all.iter().all(|addr| !addr.ip().is_unspecified()));
    assert_eq!(all.iter().filter(|addr| addr.ip().is_loopback()).count(), 1);
}

#[test]
fn networks_that_were_not_chosen_are_not_used() {
    let mut reach = Reach::new(Ipv4Addr::UNSPECIFIED);
    reach.choose(|_| false);
    let left = networks(&reach).unwrap();
    assert_eq!(left, [Network::loopback(Ipv4Addr::LOCALHOST)]);
    reach.choose(|_| panic!("by a program's mistake"));
    assert_eq!(networks(&reach).unwrap().len(), 1);
    let all = networks(&Reach::new(Ipv4Addr::UNSPECIFIED)).unwrap();
    let Some(last) = all.last().filter(|last| !last.addr.is_loopback()).cloned() else {
        return; // a machine without a network
    };
    let name = last.name.clone();
    reach.choose(move |interface| interface.name() == name);
    let left = networks(&reach).unwrap();
    assert!(left.iter().skip(1).all(|network| network.name == last.name));
    assert_eq!(left.last().map(|network| network.addr), Some(last.addr));
}

#[test]
fn broadcast_addresses_that_nobody_has_set() {
    let of = |ip: &str, mask: &str, set: Option<&str>| {
        let set = set.map(|set| set.parse().unwrap());
        broadcast_of(ip.parse().unwrap(), mask.parse().unwrap(), set).map(|ip| ip.to_string())
    };
    let usual = Some("10.0.0.255".to_owned());
    assert_eq!(of("10.0.0.5", "255.255.255.0", Some("10.0.0.255")), usual);
    assert_eq!(
        of("10.0.0.5", "255.255.255.0", Some("10.0.0.5")),
        usual,
        "as Linux says"
    );
    assert_eq!(of("10.0.0.5", "255.255.255.0", Some("0.0.0.0")), usual);
    assert_eq!(of("10.0.0.5", "255.255.255.0", None), usual);
    assert_eq!(
        of("10.0.0.5", "255.255.255.0", Some("10.0.255.255")),
        Some("10.0.255.255".to_owned())
    );
    assert_eq!(
        of("10.0.0.5", "255.255.255.252", None),
        Some("10.0.0.7".to_owned())
    );
    assert_eq!(of("10.0.0.5", "255.255.255.254", None), None);
    assert_eq!(of("10.0.0.5", "255.255.255.255", Some("10.0.0.5")), None);
}

#[test]
fn distances() {
    let networks = [network([127, 0, 0, 1], 8), network([10, 0, 0, 5], 24)];
    for (ip, expected) in [
        ("127.0.0.9", 0),
        ("10.0.0.5", 1),
        ("10.0.0.6", 2),
        ("10.0.1.6", 3),
    ] {
        assert_eq!(distance(ip.parse().unwrap(), &networks), expected, "{ip}");
    }
}

#[test]
fn who_is_told_which_address() {
    let networks = [network([127, 0, 0, 1], 8)];
    for (ip, expected) in [
        ("10.8.0.1", true),
        ("172.31.0.1", true),
        ("192.168.9.9", true),
        ("100.127.0.1", true),
        ("169.254.1.1", true),
        ("100.128.0.1", false),
        ("172.32.0.1", false),
        ("8.8.8.8", false),
    ] {
        assert_eq!(is_private(ip.parse().unwrap()), expected, "{ip}");
    }
    let asked_by =
        |listen: &str, asker: &str| address_for(addr(listen), asker.parse().unwrap(), &networks);
    assert_eq!(
        asked_by("127.0.0.1:7", "127.0.0.5"),
        Some(addr("127.0.0.1:7"))
    );
    assert_eq!(
        asked_by("127.0.0.1:7", "10.0.0.5"),
        None,
        "only on loopback"
    );
    assert_eq!(
        asked_by("0.0.0.0:7", "127.0.0.5"),
        Some(addr("127.0.0.5:7"))
    );
    assert_eq!(
        asked_by("10.0.0.9:7", "127.0.0.1"),
        Some(addr("10.0.0.9:7")),
        "the same host"
    );
    assert_eq!(
        asked_by("0.0.0.0:7", "8.8.8.8"),
        None,
        "not on a network of ours"
    );
}

#[test]
fn which_claims_are_believed() {
    let networks = [network([127, 0, 0, 1], 8), network([10, 0, 0, 5], 24)];
    let claim = |claimed: &str, source: &str, lanpeer| {
        plausible(addr(claimed), source.parse().unwrap(), lanpeer, &networks)
    };
    assert_eq!(
        claim("10.0.0.6:7", "10.0.0.6", true),
        Some(addr("10.0.0.6:7"))
    );
    assert_eq!(
        claim("0.0.0.0:7", "10.0.0.6", false),
        Some(addr("10.0.0.6:7"))
    );
    assert_eq!(
        claim("10.0.0.7:7", "10.0.0.6", true),
        None,
        "a lanpeer does not speak for others"
    );
    assert_eq!(
        claim("10.0.0.5:7", "127.0.0.1", true),
        Some(addr("10.0.0.5:7")),
        "the same host"
    );
    assert_eq!(
        claim("10.9.9.7:7", "10.0.0.6", false),
        Some(addr("10.9.9.7:7")),
        "peerpy on two networks"
    );
    assert_eq!(
        claim("127.0.0.1:7", "10.0.0.6", false),
        None,
        "its own loopback"
    );
    assert_eq!(
        claim("127.0.0.1:7", "10.0.0.5", false),
        Some(addr("127.0.0.1:7")),
        "ours"
    );
    for nonsense in ["10.0.0.6:0", "255.255.255.255:7", "224.0.0.1:7"] {
        assert_eq!(claim(nonsense, "10.0.0.6", false), None, "{nonsense}");
    }
}
