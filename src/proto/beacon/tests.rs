use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Beacon, HeaderError> {
    Beacon::parse(text.as_bytes())
}

fn ping(text: &str) -> Ping {
    match parse(text) {
        Ok(Beacon::Ping(ping)) => ping,
        other => panic!("{text}: {other:?}"),
    }
}

fn addr(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

#[test]
fn a_ping_in_each_of_its_forms() {
    let manual = ping("PING 192.168.0.2:51515");
    assert_eq!(manual.addr, Some(addr("192.168.0.2:51515")));
    assert_eq!(
        (manual.pinger, manual.card, manual.watch),
        (None, None, None)
    );

    let peerpy = ping("PING|pinger=192.168.0.2:1024");
    assert_eq!(
        (peerpy.addr, peerpy.pinger),
        (None, Some(addr("192.168.0.2:1024")))
    );

    let both = ping(
        "PING 192.168.0.2:51515|pinger=192.168.0.2:40000&v=1&id=00000000ff&name=bob&service=chat",
    );
    let card = Card {
        id: 255,
        name: "bob".into(),
        service: "chat".into(),
    };
    assert_eq!(both.card, Some(card));

    assert_eq!(ping("PING").addr, None);
    assert_eq!(ping("PING 10.0.0.1:5\n"), ping("PING 10.0.0.1:5"));
    // Nobody reads it, so nobody minds.
    assert_eq!(ping("PING 10.0.0.1:5|pinger=nonsense").pinger, None);

    for text in [
        "PING 1.2.3.4:5",
        "PING|pinger=1.2.3.4:5",
        "PING 1.2.3.4:5|pinger=1.2.3.4:5&v=1&id=1",
    ] {
        assert_eq!(ping(&format!("{text:|<128}")), ping(text), "padded: {text}");
    }
}

#[test]
fn a_pong_in_each_of_its_forms() {
    let expected = Ok(Beacon::Pong(Pong {
        addr: addr("10.0.0.3:62626"),
        card: None,
    }));
    for text in [
        "PONG|ponger=10.0.0.3:62626",
        "PONG 10.0.0.3:62626",
        "PONG 10.0.0.3:62626|ponger=10.0.0.3:62626",
        "PONG 10.0.0.3:62626|ponger=10.0.0.3:62626&unknown=&v=0&id=1||||",
    ] {
        assert_eq!(parse(text), expected, "{text}");
    }
}

#[test]
fn what_is_malformed_is_named() {
    use HeaderError::*;
    let address = |key, value: &str| {
        Err(Address {
            key,
            value: value.into(),
        })
    };
    let number = |key, value: &str| {
        Err(Number {
            key,
            value: value.into(),
        })
    };
    for (text, error) in [
        (
            "",
            Err(Unexpected {
                expected: "PING, PONG, HERE or GONE",
                got: "".into(),
            }),
        ),
        (
            "PINGU 1.2.3.4:5",
            Err(Unexpected {
                expected: "PING, PONG, HERE or GONE",
                got: "PINGU".into(),
            }),
        ),
        ("PING there", address("PING", "there")),
        ("PING |v=1", address("PING", "")),
        ("PING [::1]:80", address("PING", "[::1]:80")),
        ("PONG", Err(Missing("ponger"))),
        (
            "PONG|ponger=1.2.3.4:70000",
            address("ponger", "1.2.3.4:70000"),
        ),
        ("PONG 1.2.3.4|ponger=1.2.3.4:5", address("PONG", "1.2.3.4")),
        ("PONG|ponger", Err(NoEquals("ponger".into()))),
        (
            "PONG|ponger=1.2.3.4:5&ponger=1.2.3.4:5",
            Err(Repeated("ponger".into())),
        ),
        ("PONG 1.2.3.4:5|v=1&id=+1", number("id", "+1")),
        (
            "PONG 1.2.3.4:5|v=1&id=11112222333344445",
            number("id", "11112222333344445"),
        ),
        ("HERE 1.2.3.4:5", Err(Missing("id"))),
        ("HERE|v=1&id=1", address("HERE", "")),
        ("HERE 1.2.3.4:5|v=1&id=1&every=-1", number("every", "-1")),
        ("GONE|v=1", Err(Missing("id"))),
    ] {
        assert_eq!(parse(text), error, "{text}");
    }
    assert_eq!(Beacon::parse(b"PING \xff"), Err(NotUtf8));
    assert_eq!(Beacon::parse(&[b'|'; 129]), Err(TooLong { len: 129 }));
}

#[test]
fn a_promise_is_kept_in_bounds() {
    for (text, every) in [("0", 1), ("1", 1), ("900", 900), ("65535", EVERY_MAX)] {
        let text = format!("HERE 1.2.3.4:5|v=1&id=1&every={text}");
        let Ok(Beacon::Here(here)) = parse(&text) else {
            panic!("{text}")
        };
        assert_eq!(here.every, Some(every));
    }
}

#[test]
fn names_that_would_harm_a_terminal_are_written_out() {
    let ping = ping("PING|v=1&id=1&name=\x1b[2Jevil&service=ok");
    assert_eq!(
        ping.card,
        Some(Card {
            id: 1,
            name: r"\u{1b}[2Jevil".into(),
            service: "ok".into()
        })
    );
}

/// The arithmetic that fixes the lengths of ids, names and services.
#[test]
fn the_longest_of_each_fits() {
    let card = Card {
        id: ID_MASK,
        name: "n".repeat(NAME_MAX),
        service: "s".repeat(SERVICE_MAX),
    };
    let addr = addr("255.255.255.255:65535");
    let ping = Ping {
        addr: Some(addr),
        pinger: Some(addr),
        card: Some(card.clone()),
        watch: None,
    };
    for beacon in [
        Beacon::Ping(ping),
        Beacon::Pong(Pong {
            addr,
            card: Some(card.clone()),
        }),
        Beacon::Here(Here {
            addr,
            card: card.clone(),
            every: Some(EVERY_MAX),
        }),
        Beacon::Gone { id: card.id },
    ] {
        assert_eq!(Beacon::parse(&beacon.write().unwrap()), Ok(beacon));
    }
}

#[test]
fn labels() {
    assert_eq!(check_label("kitchen display", NAME_MAX), Ok(()));
    assert_eq!(check_label("", NAME_MAX), Ok(()));
    assert_eq!(check_label("Küche", 6), Ok(()));
    for bad in ["a|b", "a&b", "a=b", "a\nb", "\x1b[0m", " a", "a ", "Küche!"] {
        assert!(check_label(bad, 6).is_err(), "{bad:?}");
    }
    for hidden in [
        "\u{202e}",
        "\u{200b}",
        "\u{200d}",
        "\u{2066}",
        "\u{feff}",
        "\u{e0041}",
        "\u{85}",
    ] {
        assert!(check_label(&format!("a{hidden}"), 6).is_err(), "{hidden:?}");
        assert_eq!(label_from_host(&format!("a{hidden}b")), "a-b");
        let text = format!("HERE 10.0.0.1:5|v=1&id=1&name=a{hidden}b&service={hidden}");
        let Ok(Beacon::Here(here)) = parse(&text) else {
            panic!("{text:?}");
        };
        let shown: String = hidden.chars().flat_map(char::escape_unicode).collect();
        assert_eq!(here.card.name, format!("a{shown}b"));
        assert_eq!(here.card.service, shown);
    }
    for seen in ["Küche", "кухня", "厨房", "مطبخ", "מטבח", "🍳"] {
        assert_eq!(check_label(seen, NAME_MAX), Ok(()));
        assert_eq!(label_from_host(seen), seen);
    }
    assert_eq!(label_from_host("bob.example.org"), "bob");
    assert_eq!(label_from_host("a=b|c\n"), "a-b-c");
    assert_eq!(label_from_host(&"ü".repeat(20)), "ü".repeat(12));
    assert_eq!(label_from_host(""), "");
}

#[test]
fn an_answer_has_the_form_of_its_question() {
    let pong = Pong {
        addr: addr("10.0.0.12:62626"),
        card: Some(Card {
            id: 255,
            name: "bob".into(),
            service: String::new(),
        }),
    };
    let manual = Some("PONG 10.0.0.12:62626");
    let both = "PONG 10.0.0.12:62626|ponger=10.0.0.12:62626";
    let all = format!("{both}&v=1&id=00000000ff&name=bob");
    for (question, expected) in [
        ("PING", None),
        ("PING|pinger=nonsense", None),
        ("PING|v=1&id=1", None),
        ("PING 10.0.0.9:51515", manual),
        ("PING 10.0.0.9:51515\n", manual),
        ("PING 10.0.0.9:9", manual),
        // Too short for what would come back: nobody's real address is that much shorter.
        ("PING 1.1.1.1", None),
        (
            "PING|pinger=10.0.0.9:9",
            Some("PONG|ponger=10.0.0.12:62626"),
        ),
        ("PING 10.0.0.9:9|pinger=10.0.0.9:9", Some(both)),
        (&format!("{:|<127}", "PING 10.0.0.9:9"), Some(&*all)),
        (
            &format!("{:|<128}", "PING 10.0.0.9:9"),
            Some(&*format!("{all:|<128}")),
        ),
    ] {
        let answer = parse(question).ok().and_then(|beacon| match beacon {
            Beacon::Ping(ping) => Question::new(&ping, question.len()),
            _ => None,
        });
        let answer = answer.and_then(|form| pong.answer(form).unwrap());
        let answer = answer.map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(answer.as_deref(), expected, "{question}");
    }
}

fn any_addr() -> impl Strategy<Value = SocketAddrV4> {
    (any::<u32>(), any::<u16>()).prop_map(|(ip, port)| SocketAddrV4::new(ip.into(), port))
}

fn any_card() -> impl Strategy<Value = Card> {
    let label = |max: usize| {
        proptest::collection::vec(any::<char>(), 0..max).prop_map(move |chars| {
            let mut text: String = chars.into_iter().filter(|c| !is_hidden(*c)).collect();
            text.retain(|c| !matches!(c, '|' | '&' | '='));
            while text.len() > max {
                text.pop();
            }
            text.trim().to_owned()
        })
    };
    (0..=ID_MASK, label(NAME_MAX), label(SERVICE_MAX)).prop_map(|(id, name, service)| Card {
        id,
        name,
        service,
    })
}

fn any_beacon() -> impl Strategy<Value = Beacon> {
    let option = proptest::option::of::<BoxedStrategy<Card>>;
    prop_oneof![
        (
            proptest::option::of(any_addr()),
            proptest::option::of(any_addr()),
            option(any_card().boxed())
        )
            .prop_map(|(addr, pinger, card)| Beacon::Ping(Ping {
                addr,
                pinger,
                card,
                watch: None
            })),
        (
            any_addr(),
            any_addr(),
            prop_oneof![Just(Watch::New), Just(Watch::Keep)],
            0..=ID_MASK
        )
            .prop_map(|(addr, pinger, watch, id)| Beacon::Ping(Ping {
                addr: Some(addr),
                pinger: Some(pinger),
                card: Some(Card {
                    id,
                    name: String::new(),
                    service: String::new()
                }),
                watch: Some(watch),
            })),
        (any_addr(), option(any_card().boxed()))
            .prop_map(|(addr, card)| Beacon::Pong(Pong { addr, card })),
        (any_addr(), any_card(), proptest::option::of(1..=EVERY_MAX))
            .prop_map(|(addr, card, every)| Beacon::Here(Here { addr, card, every })),
        (0..=ID_MASK).prop_map(|id| Beacon::Gone { id }),
    ]
}

proptest! {
    #[test]
    fn an_answer_is_hardly_longer_than_its_question(
        asker in any_addr(),
        pinger in any_addr(),
        form in 0..3u8,
        padding in 0..130usize,
        (addr, card) in (any_addr(), any_card()),
    ) {
        let mut question = match form {
            0 => format!("PING {asker}"),
            1 => format!("PING|pinger={pinger}"),
            _ => format!("PING {asker}|pinger={pinger}"),
        };
        while question.len() < padding {
            question.push('|');
        }
        if let Ok(Beacon::Ping(ping)) = parse(&question) {
            let form = Question::new(&ping, question.len()).unwrap();
            let pong = Pong { addr, card: Some(card) };
            if let Some(answer) = pong.answer(form).unwrap() {
                prop_assert!(answer.len() * 10 <= question.len() * 17);
                prop_assert!(question.len() < 128 || answer.len() == 128);
                match Beacon::parse(&answer) {
                    Ok(Beacon::Pong(read)) => prop_assert_eq!(read.addr, addr),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(beacon in any_beacon()) {
        let bytes = beacon.write().unwrap();
        prop_assert_eq!(Beacon::parse(&bytes), Ok(beacon.clone()));
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        prop_assert_eq!(Beacon::parse(text.trim_end_matches('|').as_bytes()), Ok(beacon));
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Beacon::parse(&bytes);
    }

    #[test]
    fn near_beacons_are_answered(
        text in "(PING|PONG|HERE|GONE)( ?[0-9.:]{0,9})(\\||&|=|v=1|id=|every=|[a-z]{1,9}|[0-9.:]{1,6}){0,20}"
    ) {
        let _ = parse(&text);
    }

    #[test]
    fn every_prefix_of_a_beacon_is_answered(beacon in any_beacon()) {
        let bytes = beacon.write().unwrap();
        for end in 0..bytes.len() {
            let _ = Beacon::parse(&bytes[..end]);
        }
    }
}
