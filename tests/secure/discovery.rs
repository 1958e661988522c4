//! Tags in discovery: members see members, and what others say, or say again, changes nothing about them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lanpeer::{Error, Neighbour, Peer, PeerBuilder, PeerId, Presence, Receiver, Secret};

use crate::beacons::{A_WHILE, DEADLINE, LONG, Port, Speaker, padded, told};
use crate::words::WORDS;
use crate::{bind, secret};

fn other() -> Secret {
    Secret::random().expect("random numbers")
}

/// Lists members only.
fn member(port: &Port, name: &str) -> PeerBuilder {
    let builder = port.builder().name(name).secret(secret());
    builder.discovery_members_only(true)
}

/// Its name, with a star if it is a member.
fn shown(found: &Neighbour) -> String {
    let star = if found.is_member() { "*" } else { "" };
    format!("{}{star}", found.name().unwrap_or_default())
}

/// A search of this peer finds these and nobody else.
#[track_caller]
fn finds(peer: &Peer, wanted: &[&str]) {
    let search = peer.discover(LONG).expect("loopback can broadcast");
    let mut names: Vec<_> = search.take(wanted.len()).map(|one| shown(&one)).collect();
    names.sort();
    assert_eq!(names, wanted);
    let search = peer.discover(A_WHILE).expect("loopback can broadcast");
    let mut names = search.map(|one| shown(&one));
    let more = names.find(|name| !wanted.contains(&&**name));
    assert_eq!(more, None, "beside {wanted:?}");
}

#[track_caller]
fn silent(watch: &Receiver<Presence>, time: Duration) {
    let told = watch.recv_timeout(time);
    assert!(told.is_err(), "{told:?}");
}

#[track_caller]
fn found(watch: &Receiver<Presence>, name: &str) {
    match told(watch) {
        Presence::Found(found) if shown(&found) == name => {}
        other => panic!("{other}, and not {name} found"),
    }
}

#[track_caller]
fn lost(watch: &Receiver<Presence>, name: &str) {
    match told(watch) {
        Presence::Lost(lost) if shown(&lost) == name => {}
        other => panic!("{other}, and not {name} lost"),
    }
}

/// Returns once these peers have read all that was said before. So nothing is lost because a socket is full, nor
/// is a peer silent because its thread does not get to run.
fn have_read(port: &Port, peers: &[&Peer]) {
    let end = Instant::now() + DEADLINE;
    let mut missing: Vec<_> = peers.iter().map(|peer| peer.id().to_string()).collect();
    while !missing.is_empty() {
        assert!(Instant::now() < end, "no answer of {missing:?}");
        let asker = Speaker::new();
        asker.say(padded("PING 127.0.0.1:9"), port.broadcast_addr());
        while let Some(answer) = asker.answer(A_WHILE) {
            missing.retain(|id| !answer.contains(id));
            if missing.is_empty() {
                break;
            }
        }
    }
}

/// What this peer says next with this word.
fn hear(port: &Port, word: &str, id: PeerId) -> String {
    loop {
        let (text, _) = port.hear(word);
        if text.contains(&format!("id={id}")) {
            return text;
        }
    }
}

fn trimmed(text: &str) -> &str {
    text.trim_end_matches('|')
}

/// `&t=` and what follows.
fn tag(text: &str) -> &str {
    let at = text
        .rfind("&t=")
        .unwrap_or_else(|| panic!("no tag: {text}"));
    trimmed(&text[at..])
}

#[test]
fn members_see_members_only_and_others_see_all() {
    let port = Port::new();
    let (alice, bob) = (bind(member(&port, "alice")), bind(member(&port, "bob")));
    let carol = port.builder().name("carol").secret(other());
    let carol = bind(carol.discovery_members_only(true));
    let dave = port.peer("dave");
    let erin = port.builder().name("erin").secret(secret());
    let erin = bind(erin.discovery_tags(true).invisible(true));
    finds(&alice, &["bob*"]);
    finds(&bob, &["alice*"]);
    finds(&carol, &[]);
    // Who has no tags, or only marks members, sees everybody.
    finds(&dave, &["alice", "bob", "carol"]);
    finds(&erin, &["alice*", "bob*", "carol", "dave"]);
    assert_eq!(port.find(4).len(), 4, "a program that is no peer");

    let watch = alice.watch();
    found(&watch, "bob*");
    let marking = erin.watch();
    let mut all: Vec<_> = (0..4).map(|_| shown(told(&marking).neighbour())).collect();
    all.sort();
    assert_eq!(all, ["alice*", "bob*", "carol", "dave"]);
    let frank = port.peer("frank");
    let grace = bind(member(&port, "grace"));
    found(&watch, "grace*");
    frank.stop();
    grace.stop();
    lost(&watch, "grace*");
    silent(&watch, A_WHILE);
    // Somebody else's watch hears members too.
    let plain = dave.watch();
    let first = told(&plain);
    assert!(!first.neighbour().is_member(), "{first}");
}

/// What a program on the same host can say, with every address of Bob's, and what is recorded of him.
#[test]
fn a_forger_adds_loses_and_hijacks_nobody() {
    for members_only in [true, false] {
        let port = Port::new();
        let with_tags = |name| {
            let builder = port.builder().name(name).secret(secret());
            let builder = builder.discovery_tags(true);
            bind(builder.discovery_members_only(members_only))
        };
        let (alice, bob) = (with_tags("alice"), with_tags("bob"));
        let watch = alice.watch();
        found(&watch, "bob*");
        let (id, at) = (bob.id(), bob.local_addr());
        let here = hear(&port, "HERE", id);
        let old = tag(&here);
        let cut = &trimmed(&here)[..trimmed(&here).len() - 1];
        // Each way with no tag, one of his of another datagram, and an invented one.
        let lies: Vec<String> = [
            format!("GONE|v=1&id={id}"),
            // Another one at his address,
            format!("HERE {at}|v=1&id=00000000ee&name=bob&every=900"),
            format!("PONG {at}|v=1&id=00000000ee&name=bob"),
            format!("PONG {at}"),
            // he himself at another one,
            format!("HERE 127.0.0.1:666|v=1&id={id}&name=bob&every=900"),
            // he speaks so seldom that nobody would miss him, or is late already,
            format!("HERE {at}|v=1&id={id}&name=bob&every=900"),
            format!("HERE {at}|v=1&id={id}&name=bob&every=1"),
            // and somebody watches, so that nobody else has to ask him.
            "PING 127.0.0.1:9|pinger=127.0.0.1:9&v=1&id=00000000ef&watch=keep".to_owned(),
        ]
        .into_iter()
        .flat_map(|lie| {
            [
                lie.clone(),
                format!("{lie}{old}"),
                format!("{lie}&t=AAAAAAAAAAAAAAAA"),
            ]
        })
        .chain([here.clone(), cut.to_owned()])
        .collect();
        // From any port, and from the one from which peers speak.
        let speakers = [
            Speaker::new(),
            Speaker {
                socket: port.ear.try_clone().expect("a socket"),
            },
        ];
        speakers[1].socket.set_broadcast(true).expect("a socket");
        let (begin, mut said, mut wrong) = (Instant::now(), 0, 0);
        // Longer than it takes to lose somebody who is silent.
        while begin.elapsed() < Duration::from_secs(7) {
            for (lie, speaker) in lies
                .iter()
                .flat_map(|lie| speakers.iter().map(move |one| (lie, one)))
            {
                speaker.say(lie, port.broadcast_addr());
                said += 1;
            }
            have_read(&port, &[&alice, &bob]);
            std::thread::sleep(Duration::from_millis(50));
            for presence in watch.try_iter() {
                if members_only || presence.neighbour().is_member() {
                    println!("told: {presence}");
                    wrong += 1;
                }
            }
        }
        println!("{wrong} of {said} lies changed anything about a member");
        assert_eq!(wrong, 0);
        let search = alice.discover(LONG).expect("loopback can broadcast");
        let bobs = search.into_iter().find(Neighbour::is_member).expect("bob");
        assert_eq!((bobs.id(), bobs.addr()), (Some(id), at));
        // What is true is believed.
        bob.stop();
        loop {
            match told(&watch) {
                Presence::Lost(lost) if lost.is_member() => break,
                other => assert!(!members_only && !other.neighbour().is_member(), "{other}"),
            }
        }
    }
}

#[test]
fn what_was_recorded_changes_nothing_for_those_who_have_heard_more() {
    let port = Port::new();
    let (alice, bob) = (bind(member(&port, "alice")), bind(member(&port, "bob")));
    let (id, at) = (bob.id(), bob.local_addr());
    let watch = alice.watch();
    found(&watch, "bob*");
    let here = hear(&port, "HERE", id);
    bob.set_invisible(true);
    lost(&watch, "bob*");
    let gone = hear(&port, "GONE", id);
    assert!(gone.contains("&t="), "{gone}");
    bob.set_invisible(false);
    found(&watch, "bob*");
    let last = hear(&port, "HERE", id);
    let speaker = Speaker::new();
    let replay = || {
        for text in [&gone, &here, &last, &gone] {
            speaker.say(text, port.broadcast_addr());
        }
    };
    (0..20).for_each(|_| replay());
    silent(&watch, A_WHILE);
    bob.stop();
    lost(&watch, "bob*");
    (0..20).for_each(|_| replay());
    silent(&watch, A_WHILE);

    // Who begins later cannot know that it is old: see docs/security.md. It is where he was, and nowhere else.
    let erin = bind(member(&port, "erin"));
    let late = erin.watch();
    let ghost = loop {
        speaker.say(&last, port.broadcast_addr());
        match told(&late) {
            Presence::Found(ghost) if ghost.id() == Some(id) => break ghost,
            other => println!("told: {other}"),
        }
    };
    assert!(ghost.is_member() && ghost.addrs().eq([at]), "{ghost}");
    // Who is really there has its place, and keeps it.
    let fred = bind_to(member(&port, "fred"), at);
    let mut seen: Vec<_> = Vec::new();
    while seen.len() < 2 {
        let presence = told(&late);
        if presence.neighbour().addr() == at {
            seen.push(format!("{} {}", presence, presence.neighbour().is_member()));
        }
    }
    seen.sort();
    assert_eq!(
        seen,
        [
            format!("found {at} fred true"),
            format!("lost {at} bob true")
        ]
    );
    (0..20).for_each(|_| replay());
    let about_fred = late.try_iter().find(|told| told.neighbour().addr() == at);
    assert_eq!(about_fred, None);
    fred.stop();
}

fn bind_to(builder: PeerBuilder, at: SocketAddr) -> Peer {
    builder.bind(at).expect("he has gone")
}

#[test]
fn a_search_takes_no_answer_to_another_question() {
    let port = Port::new();
    let (alice, bob) = (bind(member(&port, "alice")), bind(member(&port, "bob")));
    let mut search = alice.discover(LONG).expect("loopback can broadcast");
    let (question, _) = port.hear("PING");
    assert_eq!(search.next().as_ref().map(shown).as_deref(), Some("bob*"));
    drop(search);
    // The forger asks Bob in her words, and gets a member's answer.
    let forger = Speaker::new();
    forger.say(&question, port.broadcast_addr());
    let answer = forger.answer(DEADLINE).expect("an answer");
    assert_eq!((answer.len(), question.len()), (128, 128));
    let stripped = answer.replace(tag(&answer), "");
    // Without its padding the question is one of those that people type.
    forger.say(trimmed(&question), port.broadcast_addr());
    let short = forger.answer(DEADLINE).expect("an answer");
    assert!(
        !short.contains("&t=") && short.len() <= trimmed(&question).len(),
        "{short}"
    );

    bob.set_invisible(true);
    let search = alice
        .discover(Duration::from_secs(2))
        .expect("loopback can broadcast");
    let asker = loop {
        let (next, asker) = port.hear("PING");
        if next.contains("&t=") && tag(&next) != tag(&question) {
            break asker;
        }
    };
    for lie in [
        &answer,
        &stripped,
        &format!("{}&t=AAAAAAAAAAAAAAAA", trimmed(&stripped)),
        &trimmed(&answer)[..trimmed(&answer).len() - 1].to_owned(),
    ] {
        forger.say(lie, asker);
    }
    let all: Vec<_> = search.map(|found| shown(&found)).collect();
    assert!(all.is_empty(), "{all:?}");
    bob.set_invisible(false);
    finds(&alice, &["bob*"]);
}

#[test]
fn the_secret_is_changed_and_withdrawn() {
    let port = Port::new();
    let (old, new) = (secret(), other());
    let (alice, bob) = (member(&port, "alice"), member(&port, "bob"));
    let alice = bind(alice.secret(new.clone()).accept_secret(old.clone()));
    let bob = bind(bob.accept_secret(new.clone()));
    finds(&alice, &["bob*"]);
    finds(&bob, &["alice*"]);
    let watch = alice.watch();
    found(&watch, "bob*");
    alice.set_secrets(new.clone(), []).expect("it has one");
    // What he says is from now on as good as silence.
    lost(&watch, "bob*");
    finds(&alice, &[]);
    finds(&bob, &["alice*"]);
    bob.set_secrets(new, []).expect("it has one");
    found(&watch, "bob*");
    finds(&alice, &["bob*"]);
}

#[test]
fn there_are_no_tags_of_passphrases() {
    let port = Port::new();
    let words: Secret = WORDS[0].parse().expect("a secret");
    let refused = |result: Result<(), Error>, wanted: &str| match result {
        Err(Error::InvalidOption { option, reason }) => {
            format!("{option}: {reason}").starts_with(wanted)
        }
        _ => false,
    };
    let tags = |builder: PeerBuilder| builder.discovery_tags(true);
    let only = |builder: PeerBuilder| builder.discovery_members_only(true);
    for (option, with) in [
        ("discovery_tags", tags as fn(PeerBuilder) -> PeerBuilder),
        ("discovery_members_only", only),
    ] {
        let passphrase = format!("{option}: needs random secrets");
        for builder in [
            port.builder().secret(words.clone()),
            port.builder().secret(secret()).accept_secret(words.clone()),
        ] {
            let bound = with(builder).bind("127.0.0.1:0").map(drop);
            assert!(refused(bound, &passphrase));
        }
        let bound = with(port.builder()).bind("127.0.0.1:0").map(drop);
        assert!(refused(bound, &format!("{option}: needs `secret` too")));
    }
    let (alice, _bob) = (bind(member(&port, "alice")), bind(member(&port, "bob")));
    let result = alice.set_secrets(words.clone(), []);
    assert!(refused(result, "set_secrets: needs random secrets"));
    let result = alice.set_secrets(secret(), [words]);
    assert!(refused(result, "set_secrets: needs random secrets"));
    finds(&alice, &["bob*"]);
}

/// Others fill what room there is, and leave members theirs.
#[test]
fn a_flood_of_wrong_tags_hides_no_member() {
    let port = Port::new();
    let eight = |name| (0..7).fold(member(&port, name), |one, _| one.accept_secret(other()));
    let alice = bind(eight("alice"));
    let watch = alice.watch();
    let speaker = Speaker::on("127.0.0.66");
    let begin = Instant::now();
    for n in 0..20_000 {
        let text = format!(
            "HERE 127.0.0.66:{}|v=1&id={n:010x}&name=liar&every=900&t=AAAAAAAAAAAAAAAA",
            1 + n
        );
        let _ = speaker
            .socket
            .send_to(text.as_bytes(), port.broadcast_addr());
    }
    println!("20,000 wrong tags in {:?}", begin.elapsed());
    let begin = Instant::now();
    let bob = bind(eight("bob"));
    found(&watch, "bob*");
    println!("then a member is found within {:?}", begin.elapsed());
    bob.stop();
    lost(&watch, "bob*");
}
