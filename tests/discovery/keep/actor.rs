//! The role in which this program runs on a host of the LAN: sensors, or whoever keeps itself connected
//! to them. A sensor numbers its readings; so the other side sees what is missing and what comes twice.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::actor::ROLE;
use lanpeer::{CloseReason, Connection, Peer, Raw, Target};

/// The name of the test below.
pub const NAME: &str = "keep::actor::actor";

#[test]
fn actor() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let mut peers: Vec<Peer> = Vec::new();
    let seen: Arc<Mutex<Seen>> = Arc::default();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["sensor", addr, name, hertz] => {
                let peer = bind(addr, name, "sensor");
                println!("@ {}", peer.local_addr().port());
                measure(&peer, hertz.parse().unwrap());
                peers.push(peer);
            }
            // Says nothing, and does not look whether the other side is there.
            ["idle", addr, name] => {
                let builder = Peer::builder().name(name).service("sensor");
                let peer = builder.keepalive(None).bind(addr).expect(addr);
                println!("@ {}", peer.local_addr().port());
                let offers = peer.incoming();
                std::thread::spawn(move || {
                    let accepted = offers.filter_map(|offer| offer.accept::<Raw<u64>>().ok());
                    accepted.collect::<Vec<_>>()
                });
                peers.push(peer);
            }
            ["keep", service] => {
                let peer = bind("0.0.0.0:0", "keeper", "keeper");
                keep(&peer, service, &seen);
                peers.push(peer);
            }
            ["report"] => {
                for (of, one) in &seen.lock().unwrap().sensors {
                    println!("@ {of} {}", one.line());
                }
            }
            // How many connections each peer has now, and how many have ended as replaced.
            ["peers"] => {
                for peer in &peers {
                    let (open, stats) = (peer.connections().len(), peer.stats());
                    println!("@ {open} {} {}", stats.connected, stats.ended.replaced);
                }
            }
            ["stop"] => peers.drain(..).for_each(|peer| peer.stop()),
            _ => panic!("what is `{line}`?"),
        }
        println!("@ done");
    }
}

/// The shortest keepalive, so that the tests need not wait for long.
fn bind(addr: &str, name: &str, service: &str) -> Peer {
    let builder = Peer::builder().name(name).service(service);
    let builder = builder.keepalive(Some(Duration::from_secs(4)));
    builder.bind(addr).expect(addr)
}

/// Sends each reading to whoever is connected.
fn measure(peer: &Peer, hertz: u32) {
    let offers = peer.incoming();
    let number = Arc::new(AtomicU64::new(1));
    let ticks = Arc::clone(&number);
    let every = Duration::from_secs(1) / hertz;
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(every);
            ticks.fetch_add(1, Ordering::SeqCst);
        }
    });
    std::thread::spawn(move || {
        for offer in offers {
            let (number, every) = (Arc::clone(&number), every);
            let Ok(conn) = offer.accept::<Raw<u64>>() else {
                continue;
            };
            std::thread::spawn(move || {
                let mut next = number.load(Ordering::SeqCst);
                loop {
                    let now = number.load(Ordering::SeqCst);
                    while next <= now {
                        if conn.send(&next).is_err() {
                            return;
                        }
                        next += 1;
                    }
                    std::thread::sleep(every);
                }
            });
        }
    });
}

#[derive(Default)]
struct Seen {
    /// By name and id.
    sensors: BTreeMap<String, Sensor>,
}

/// What is known of one sensor.
#[derive(Default)]
struct Sensor {
    open: usize,
    most_open: usize,
    /// Connections so far.
    count: usize,
    /// The highest reading.
    highest: u64,
    readings: u64,
    /// Readings that came once more.
    doubled: u64,
    /// Those that are missing within a connection, or between two of which the first one ended as if
    /// nothing was missing.
    lost: u64,
    ended_normally: bool,
    last: Option<Instant>,
}

impl Sensor {
    fn line(&self) -> String {
        let silent = self.last.map_or(u128::MAX, |at| at.elapsed().as_millis());
        format!(
            "{} {} {} {} {} {} {silent}",
            self.open, self.most_open, self.count, self.readings, self.doubled, self.lost
        )
    }
}

fn keep(peer: &Peer, service: &str, seen: &Arc<Mutex<Seen>>) {
    let kept = peer.keep_connected::<Raw<u64>>(Target::service(service));
    let seen = Arc::clone(seen);
    std::thread::spawn(move || {
        for conn in kept {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || read(&conn, &seen));
        }
    });
}

fn read(conn: &Connection<Raw<u64>>, seen: &Mutex<Seen>) {
    let (name, id) = (
        conn.peer_name().unwrap().to_owned(),
        conn.peer_id().unwrap(),
    );
    let of = format!("{name}.{id}");
    let with = |change: &mut dyn FnMut(&mut Sensor)| {
        change(seen.lock().unwrap().sensors.entry(of.clone()).or_default());
    };
    with(&mut |sensor| {
        sensor.open += 1;
        sensor.count += 1;
        sensor.most_open = sensor.most_open.max(sensor.open);
    });
    println!("@ up {name} {}", conn.peer_addr().ip());
    let mut before = None;
    for reading in conn {
        with(&mut |sensor| {
            let expected = match before {
                Some(before) => Some(before + 1),
                None if sensor.ended_normally => Some(sensor.highest + 1),
                None => None,
            };
            sensor.lost += reading.saturating_sub(expected.unwrap_or(reading));
            sensor.doubled += u64::from(reading <= sensor.highest);
            sensor.highest = sensor.highest.max(reading);
            sensor.readings += 1;
            sensor.last = Some(Instant::now());
        });
        before = Some(reading);
    }
    let reason = conn.close_reason().unwrap();
    with(&mut |sensor| {
        sensor.open -= 1;
        sensor.ended_normally = matches!(reason, CloseReason::ClosedThere);
    });
    println!(
        "@ down {name} {}",
        format!("{reason:?}").split('(').next().unwrap()
    );
}
