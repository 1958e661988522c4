//! What a responder answers, byte by byte, and what it does not let itself be talked into.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lanpeer::{Json, Peer};

use crate::beacons::{A_WHILE, DEADLINE, LONG, Port, Speaker, padded};
use crate::peers::alone;

#[test]
fn a_ping_in_each_form_is_answered_in_its_form_to_where_it_came_from() {
    let port = Port::new();
    let bob = port.peer("bob");
    let at_bob = bob.local_addr();
    let both = format!("PONG {at_bob}|ponger={at_bob}");
    let with_card = format!("{both}&v=1&id={}&name=bob", bob.id());
    // One whom the text names, and who must not hear of it.
    let third = Speaker::on("127.0.0.3");
    let at = third.addr();
    let manual = format!("PONG {at_bob}");
    for (text, expected) in [
        (format!("PING {at}"), &manual),
        (
            format!("PING|pinger={at}"),
            &format!("PONG|ponger={at_bob}"),
        ),
        (format!("PING {at}|pinger={at}"), &both),
        (
            format!("PING {at}|unknown=1&pinger={at}&v=1&id=00000000ff&name=eve&service=s"),
            &with_card,
        ),
        ("PING 192.0.2.7:9|pinger=192.0.2.7:9".to_owned(), &both),
        ("PING 192.0.2.7:10009|pinger=no address".to_owned(), &manual),
    ] {
        // The last as `nc` and `echo` send it.
        for (form, expected) in [
            (text.clone(), expected),
            (padded(&text), &padded(&with_card)),
            (format!("{text}\n"), expected),
        ] {
            let asker = Speaker::new();
            asker.say(&form, port.broadcast_addr());
            let answer = asker
                .answer(DEADLINE)
                .unwrap_or_else(|| panic!("no answer to {form}"));
            assert_eq!(&answer, expected, "{form}");
        }
    }
    assert_eq!(third.answer(A_WHILE), None);
}

#[test]
fn an_answer_is_no_more_than_the_question_but_for_the_length_of_an_address() {
    let port = Port::new();
    let bob = port
        .builder()
        .name("n".repeat(24))
        .service("s".repeat(16))
        .bind("127.0.0.1:0")
        .unwrap();
    let mut worst: [f64; 2] = [0.0, 0.0];
    let mut ask = |question: &str, is_padded: usize| {
        let asker = Speaker::new();
        asker.say(question, port.broadcast_addr());
        let answer = asker.answer(if question.contains(':') {
            DEADLINE
        } else {
            A_WHILE
        });
        let gain = answer.as_ref().map_or(0, String::len) as f64 / question.len() as f64;
        worst[is_padded] = worst[is_padded].max(gain);
        answer
    };
    for addr in [
        "127.0.0.1:9",
        "10.0.0.1:1",
        "1.2.3.4:5",
        "255.255.255.255:65535",
    ] {
        for words in [format!("PING {addr}"), format!("PING|pinger={addr}")] {
            assert!(ask(&words, 0).is_some(), "{words}");
            assert!(ask(&padded(&words), 1).is_some(), "{words}");
        }
    }
    for words in [
        "PING",
        "PING|v=1&id=00000000ff",
        "PING|pinger=",
        "PING|name=a",
    ] {
        assert_eq!(ask(words, 0), None, "{words}");
        assert_eq!(ask(&padded(words), 1), None, "{words}");
    }
    println!("at most {worst:?} times as many bytes, of short and of padded PINGs");
    assert!(worst[0] <= 1.7 && worst[1] <= 1.0, "{worst:?}");
    drop(bob);
}

#[test]
fn what_is_no_ping_is_not_answered_and_ends_nothing() {
    let port = Port::new();
    let bob = port.peer("bob");
    let asker = Speaker::new();
    let to = port.broadcast_addr();
    let mut sent = 0;
    let mut say = |bytes: &[u8]| {
        asker.say(bytes, to);
        sent += 1;
        if sent % 50 == 0 {
            // Not faster than it reads, so that each datagram is read.
            assert_eq!(port.find(1).len(), 1);
        }
    };
    for length in (0..600).chain([1024, 1472, 1473, 4096, 30_000]) {
        for byte in [0, b'P', b'|', b'=', 0xff] {
            say(&vec![byte; length]);
        }
    }
    for text in [
        "PINGU",
        "ping",
        "PING x",
        "PING 1.2.3.4",
        "PING 1.2.3.4:99999",
        "PING|pinger",
        "PING|a=1&a=1",
        "PING|a=b=c",
        "PING||||x",
        "PONG 127.0.0.1:1",
        "HELLO|peer_name=1.2.3.4:5",
        "DATA|data_size=4&data_type=raw",
        "PING|v=1&id=xyz",
        "PING|v=1&id=-1",
        "HERE",
        "HERE 1.2.3.4:5|v=1&id=1&every=x",
        "GONE",
        "GONE|v=1&id=",
        "GONE|v=1&id=1",
        "PING|v=1&id=1&watch=new",
        "PING [::1]:5",
    ] {
        say(text.as_bytes());
        say(padded(text).as_bytes());
    }
    say(&[b"PING|".as_slice(), &[b'&'; 123]].concat());
    say(&[b"PING ".as_slice(), &[0xc3; 20]].concat());
    // Its own id: as good as a PING of its own.
    say(format!("PING|v=1&id={}", bob.id()).as_bytes());
    assert_eq!(asker.answer(A_WHILE), None);
    assert_eq!(port.find(1), [format!("{} bob", bob.local_addr())]);
}

#[test]
fn a_storm_of_pings_is_answered_at_a_bounded_rate_and_disturbs_no_connection() {
    alone(
        "wire::a_storm_of_pings_is_answered_at_a_bounded_rate_and_disturbs_no_connection",
        || {
            let port = Port::new();
            let (alice, bob) = (port.peer("alice"), port.peer("bob"));
            let echo = std::thread::spawn({
                let bob = bob.clone();
                move || {
                    let conn = bob.accept::<Json<u32>>().unwrap();
                    while let Ok(n) = conn.recv() {
                        conn.send(&n).unwrap();
                    }
                }
            });
            let conn = alice.connect::<Json<u32>>(bob.local_addr()).unwrap();
            alice.set_invisible(true);

            let asker = Speaker::new();
            let counter = asker.socket.try_clone().unwrap();
            counter
                .set_read_timeout(Some(Duration::from_secs(1)))
                .unwrap();
            let (over, done) = mpsc::channel::<()>();
            let own = format!("PONG {}", bob.local_addr()).into_bytes();
            let counting = std::thread::spawn(move || {
                let (mut answers, mut buffer) = (0, [0; 200]);
                loop {
                    match counter.recv(&mut buffer) {
                        // Of this peer, should another test have been given the same port.
                        Ok(len) => answers += u32::from(buffer[..len].starts_with(&own)),
                        Err(_) if done.try_recv() == Err(mpsc::TryRecvError::Disconnected) => {
                            return answers;
                        }
                        Err(_) => {}
                    }
                }
            });
            let memory = memory();
            let begin = Instant::now();
            for n in 0..100_000u32 {
                // Full buffers on the way are part of a storm.
                let _ = asker
                    .socket
                    .send_to(b"PING 127.0.0.1:9", port.broadcast_addr());
                if n % 1000 == 0 {
                    conn.send(&n).unwrap();
                    assert_eq!(conn.recv_timeout(DEADLINE), Ok(n));
                }
            }
            let lasted = begin.elapsed();
            let grown = self::memory().saturating_sub(memory);
            assert_eq!(
                port.find(1),
                [format!("{} bob", bob.local_addr())],
                "afterwards all is as before"
            );
            drop(over);
            let answers = counting.join().unwrap();
            println!("100,000 PINGs in {lasted:?}: {answers} answers, {grown} kB more memory");
            let bound = 10.0 * (begin.elapsed().as_secs_f64() + 1.0);
            assert!(
                answers > 0 && f64::from(answers) <= bound,
                "{answers} answers, at most {bound}, to a storm of {lasted:?}"
            );
            // 100,000 of anything that is kept would show.
            assert!(grown < 4096, "{grown} kB");
            conn.close().unwrap();
            echo.join().unwrap();
        },
    );
}

#[test]
fn a_storm_of_forged_peers_fills_no_memory() {
    alone("wire::a_storm_of_forged_peers_fills_no_memory", || {
        let port = Port::new();
        let bob = port.peer("bob");
        let watch = bob.watch();
        port.hear("PING");
        let liar = Speaker::new();
        let storm = |range: std::ops::Range<u32>| {
            for n in range {
                let text = format!(
                    "HERE 127.0.0.1:{}|v=1&id={n:010x}&name=liar&every=900",
                    1 + n % 60_000
                );
                let _ = liar.socket.send_to(text.as_bytes(), port.broadcast_addr());
            }
        };
        storm(1..20_000); // the tables are full now
        let memory = memory();
        storm(20_000..60_000);
        let grown = self::memory().saturating_sub(memory);
        assert!(grown < 4096, "{grown} kB");
        assert!(watch.len() <= 1024);
        assert_eq!(port.discover(LONG).next().unwrap().addr(), bob.local_addr());
        let begin = Instant::now();
        bob.stop();
        assert!(begin.elapsed() < DEADLINE);
    });
}

/// What an attacker's program does, over and over until it is dropped.
struct Attack {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

impl Attack {
    /// `step` says how many datagrams it has sent.
    fn new(mut step: impl FnMut() -> usize + Send + 'static) -> Attack {
        let over = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let over = over.clone();
            move || {
                let mut sent = 0;
                while !over.load(Ordering::Relaxed) {
                    sent += step();
                }
                sent
            }
        });
        Attack {
            over,
            thread: Some(thread),
        }
    }

    fn end(mut self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// How many of twenty searches of two seconds find all that are there.
fn complete_searches(port: &Port, among: &[Peer]) -> usize {
    let is_complete = |_: &u32| {
        let mut missing: HashSet<_> = among.iter().map(Peer::local_addr).collect();
        let mut search = port.discover(Duration::from_secs(2));
        search.any(|found| {
            missing.remove(&found.addr());
            missing.is_empty()
        })
    };
    (0..20).filter(is_complete).count()
}

#[test]
fn a_storm_of_invented_answers_hides_nobody_from_a_search() {
    let mut complete = 0;
    for liar in ["127.0.0.66", "127.0.0.1"] {
        let port = Port::new();
        let peers: Vec<_> = (0..5).map(|n| port.peer(&format!("p{n}"))).collect();
        let (ear, speaker) = (port.ear.try_clone().unwrap(), Speaker::on(liar));
        ear.set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let mut id = 0u64;
        let ip = speaker.addr().ip();
        let (volley, volleys) = mpsc::channel();
        let attack = Attack::new(move || {
            let mut buffer = [0; 200];
            let Ok((len, asker)) = ear.recv_from(&mut buffer) else {
                return 0;
            };
            if !buffer[..len].starts_with(b"PING") {
                return 0;
            }
            for n in 0..1024 {
                id += 1;
                let text = format!("PONG {ip}:{}|v=1&id={id:010x}&name=liar", 1 + n);
                let _ = speaker.socket.send_to(text.as_bytes(), asker);
            }
            let _ = volley.send(asker);
            1024
        });
        for _ in 0..10 {
            // The lies come first, 1,024 to each of three PINGs.
            peers.iter().for_each(|peer| peer.set_invisible(true));
            let mut missing: HashSet<_> = peers.iter().map(Peer::local_addr).collect();
            let mut search = port.discover(Duration::from_secs(5));
            let searching = std::thread::spawn(move || {
                search.any(|found| {
                    missing.remove(&found.addr());
                    missing.is_empty()
                })
            });
            // There may still be one for the search before.
            let mut heard: HashMap<SocketAddr, u32> = HashMap::new();
            while heard.values().all(|&count| count < 3) {
                let asker = volleys.recv_timeout(DEADLINE).unwrap();
                *heard.entry(asker).or_default() += 1;
            }
            peers.iter().for_each(|peer| peer.set_invisible(false));
            complete += usize::from(searching.join().unwrap());
        }
        println!("{complete} searches were complete, {} lies", attack.end());
    }
    assert_eq!(complete, 20);
}

#[test]
fn a_storm_of_pings_from_one_host_leaves_searches_complete() {
    for (ip, text) in [("127.0.0.66", "PING"), ("127.0.0.1", "PING 127.0.0.1:9")] {
        let port = Port::new();
        let peers: Vec<_> = (0..5).map(|n| port.peer(&format!("p{n}"))).collect();
        let (speaker, to) = (Speaker::on(ip), port.broadcast_addr());
        let (begun, begins) = mpsc::channel();
        // 2,400 a second, evenly.
        let (begin, mut sent) = (Instant::now(), 0);
        let attack = Attack::new(move || {
            let due = begin + Duration::from_secs(1) * sent / 2400;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let _ = speaker.socket.send_to(text.as_bytes(), to);
            sent += 1;
            let _ = begun.send(());
            1
        });
        // It has gone on for a second.
        (0..2400).for_each(|_| begins.recv_timeout(DEADLINE).expect("it goes on"));
        let complete = complete_searches(&port, &peers);
        println!(
            "{complete} of 20 searches are complete, among {} PINGs",
            attack.end()
        );
        assert_eq!(complete, 20);
    }
}

#[test]
fn one_asker_is_answered_ten_times_a_second() {
    let port = Port::new();
    let _bob = port.peer("bob");
    let asker = Speaker::new();
    let begin = Instant::now();
    let mut answers = 0;
    while begin.elapsed() < Duration::from_secs(2) {
        asker.say("PING 127.0.0.1:9", port.broadcast_addr());
        answers += usize::from(asker.answer(Duration::from_millis(3)).is_some());
    }
    // Ten at once, and then ten a second.
    let most = 10.0 + 10.0 * begin.elapsed().as_secs_f64();
    assert!((10.0..=most).contains(&(answers as f64)), "{answers}");
}

#[test]
fn a_neighbour_that_claims_two_hundred_addresses_has_eight() {
    let port = Port::new();
    let alice = port.peer("alice");
    let watch = alice.watch();
    let search = port.discover(LONG);
    let asker = port.hear_searcher();
    let speaker = Speaker::on("127.0.0.7");
    for n in 0..200 {
        let at = format!("127.0.0.7:{}", 4000 + n);
        speaker.say(format!("PONG {at}|v=1&id=00000000aa"), asker);
        let here = format!("HERE {at}|v=1&id=00000000aa&every=900");
        speaker.say(here, port.broadcast_addr());
    }
    // Read only now, so that all answers of this one peer have come before it is yielded.
    let found = search
        .into_iter()
        .find(|found| found.id().is_some_and(|id| id.to_string() == "00000000aa"))
        .expect("it is there");
    println!("{} addresses", found.addrs().count());
    assert!(found.addrs().count() <= 8);
    let first = watch.recv_timeout(DEADLINE).unwrap();
    assert!(first.neighbour().addrs().count() <= 8);
    let late = alice.watch();
    let told = late.recv_timeout(DEADLINE).unwrap();
    assert!(told.neighbour().addrs().count() <= 8);
}

/// The memory that this process has, in kB; 0 where that is not known.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or("0");
    line.split_whitespace()
        .next()
        .and_then(|kb| kb.parse().ok())
        .unwrap_or(0)
}
