//! What a responder answers, byte by byte, and what it does not let itself be talked into.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use lanpeer::Json;

use crate::beacons::{A_WHILE, DEADLINE, LONG, Port, Speaker, padded};
use crate::peers::alone;

#[test]
fn a_ping_in_each_form_is_answered_to_where_it_came_from() {
    let port = Port::new();
    let bob = port.peer("bob");
    let expected = format!(
        "PONG {}|ponger={0}&v=1&id={}&name=bob",
        bob.local_addr(),
        bob.id()
    );
    // One whom the text names, and who must not hear of it.
    let third = Speaker::on("127.0.0.3");
    let at = third.addr();
    for text in [
        "PING".to_owned(),
        format!("PING {at}"),
        format!("PING|pinger={at}"),
        format!("PING {at}|pinger={at}"),
        format!("PING {at}|unknown=1&pinger={at}&v=1&id=00000000ff&name=eve&service=s"),
        "PING 192.0.2.7:9|pinger=192.0.2.7:9".to_owned(),
        "PING 192.0.2.7:9|pinger=no address".to_owned(),
    ] {
        // The last as `nc` and `echo` send it.
        for form in [text.clone(), padded(&text), format!("{text}\n")] {
            let asker = Speaker::new();
            asker.say(&form, port.broadcast_addr());
            let answer = asker
                .answer(DEADLINE)
                .unwrap_or_else(|| panic!("no answer to {form}"));
            assert_eq!(answer, padded(&expected), "{form}");
        }
    }
    assert_eq!(third.answer(A_WHILE), None);
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
            let counting = std::thread::spawn(move || {
                let (mut answers, mut buffer) = (0, [0; 200]);
                loop {
                    match counter.recv(&mut buffer) {
                        Ok(_) => answers += 1,
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
                let _ = asker.socket.send_to(b"PING", port.broadcast_addr());
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
            let bound = 500.0 * (begin.elapsed().as_secs_f64() + 1.0);
            assert!(
                answers > 0 && f64::from(answers) <= bound,
                "{answers} answers in {lasted:?}"
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
