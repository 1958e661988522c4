//! The role in which a test program runs on a host of the LAN: peers that do as they are told.

use std::io::BufRead;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use lanpeer::{Json, Peer, Presence, Watch};

/// Set in the environment of a program that is to be an actor.
pub const ROLE: &str = "LANPEER_TEST_ACTOR";

/// The name of the test below.
pub const NAME: &str = "actor::actor";

#[test]
fn actor() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let mut peers: Vec<Peer> = Vec::new();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["peer", addr, name] => {
                let peer = Peer::builder().name(name).bind(addr).expect(addr);
                println!("@ {}", peer.local_addr());
                serve(&peer);
                peers.push(peer);
            }
            ["peer", addr, name, service] => {
                let builder = Peer::builder().name(name).service(service);
                let peer = builder.bind(addr).expect(addr);
                println!("@ {} {}", peer.local_addr(), peer.id());
                serve(&peer);
                peers.push(peer);
            }
            ["peer-on", addr, name, interface] => {
                let interface = interface.to_owned();
                let builder = Peer::builder().name(name);
                let builder = builder.interfaces(move |one| one.name() == interface);
                let peer = builder.bind(addr).expect(addr);
                serve(&peer);
                peers.push(peer);
            }
            ["peer-seeds", addr, name, seeds] => {
                let builder = Peer::builder().name(name).seeds(seeds.split(','));
                let peer = builder.bind(addr).expect(addr);
                serve(&peer);
                peers.push(peer);
            }
            ["addrs"] => peers[0]
                .addrs()
                .iter()
                .for_each(|addr| println!("@ {addr}")),
            ["say", from, to, times, millis, ..] => {
                let text = line.splitn(6, ' ').nth(5).expect("a text");
                let socket = speaker(from);
                for _ in 0..times.parse().unwrap() {
                    let _ = socket.send_to(text.as_bytes(), to);
                    std::thread::sleep(Duration::from_millis(millis.parse().unwrap()));
                }
            }
            ["flood", from, to, count] => {
                let socket = speaker(from);
                let ip = socket.local_addr().unwrap().ip();
                let begin = Instant::now();
                for n in 0..count.parse::<u32>().unwrap() {
                    let port = 1 + n % 60_000;
                    let text = format!("HERE {ip}:{port}|v=1&id={n:010x}&name=liar&every=900");
                    let _ = socket.send_to(text.as_bytes(), to);
                    // Not faster than who is flooded can read.
                    if n % 20 == 0 {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
                println!("@ {}", begin.elapsed().as_millis());
            }
            ["discover", millis] => {
                let begin = Instant::now();
                let time = Duration::from_millis(millis.parse().unwrap());
                for found in peers[0].discover(time).expect("somewhere to ask") {
                    let all: Vec<_> = found.addrs().map(|addr| addr.to_string()).collect();
                    println!(
                        "@ {found} {} {}",
                        begin.elapsed().as_micros(),
                        all.join(",")
                    );
                }
            }
            ["watch"] => tell(peers[0].watch(), ""),
            ["watch-service", service] => {
                tell(peers[0].watch_service(service), &format!("{service} "));
            }
            ["watch-all"] => {
                for peer in &peers {
                    let watch = peer.watch();
                    std::thread::spawn(move || watch.iter().count());
                }
            }
            ["connect", addr] => match peers[0].connect::<Json<u32>>(addr) {
                Ok(conn) => {
                    conn.send(&1).unwrap();
                    println!("@ {}", conn.recv_timeout(Duration::from_secs(10)).is_ok());
                }
                Err(error) => println!("@ {error}"),
            },
            ["reach", addr] => println!("@ {}", peers[0].connect::<Json<u32>>(addr).is_ok()),
            ["sleeps"] => println!("@ {}", sleeps()),
            ["stop"] => peers.drain(..).for_each(|peer| peer.stop()),
            ["count", seconds] => count(Duration::from_secs(seconds.parse().unwrap())),
            _ => panic!("what is `{line}`?"),
        }
        println!("@ done");
    }
}

/// Prints what a watch tells.
fn tell(watch: Watch, prefix: &str) {
    let prefix = prefix.to_owned();
    std::thread::spawn(move || {
        for presence in watch {
            match presence {
                Presence::Found(found) => println!("@ {prefix}found {found}"),
                Presence::Lost(lost) => println!("@ {prefix}lost {lost}"),
                _ => {}
            }
        }
    });
}

/// A socket that says what no peer would, on a port that it may share.
fn speaker(from: &str) -> UdpSocket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_broadcast(true).unwrap();
    let from: std::net::SocketAddrV4 = from.parse().unwrap();
    socket.bind(&from.into()).unwrap();
    socket.into()
}

/// Accepts whoever comes, and echoes.
fn serve(peer: &Peer) {
    let offers = peer.incoming();
    std::thread::spawn(move || {
        for offer in offers {
            let _ = offer.accept_with::<Json<u32>>(|conn, n| {
                let _ = conn.send(&n);
            });
        }
    });
}

/// How often the responder threads of this process have gone to sleep.
fn sleeps() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let statuses =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok());
    let responders = statuses.filter(|status| status.starts_with("Name:\tlanpeer-respond"));
    let counts = responders.filter_map(|status| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    });
    counts.sum()
}

/// Counts the datagrams that are broadcast to the discovery port, by their words.
fn count(time: Duration) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket
        .bind(&std::net::SocketAddrV4::new([0, 0, 0, 0].into(), 1024).into())
        .unwrap();
    let socket: UdpSocket = socket.into();
    let end = Instant::now() + time;
    let mut counts = std::collections::BTreeMap::new();
    let mut buffer = [0; 600];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left)).unwrap();
        if let Ok((len, _)) = socket.recv_from(&mut buffer) {
            let word = String::from_utf8_lossy(&buffer[..len.min(4)]).into_owned();
            *counts.entry(word).or_insert(0) += 1;
        }
    }
    for (word, count) in counts {
        println!("@ {word} {count}");
    }
}
