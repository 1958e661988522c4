//! Broadcast: one message to every connection of its type, encoded once, with
//! a report of who did not get it and why; nobody holds up the others.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lanpeer::{
    Broadcast, Bytes, ConnectOptions, Connection, ConnectionInfo, DataType, Dynamic, Format, Json,
    Message, Peer, PeerBuilder, Raw, SendError,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::peers::*;

/// `count` peers that are connected to `bob`: each with its end and Bob's.
fn audience<F: Format + 'static>(
    bob: &Peer,
    count: usize,
) -> Vec<(Peer, Connection<F>, Connection<F>)> {
    (0..count)
        .map(|_| {
            let alice = bind(small().receive_queue(4));
            let (to_bob, to_alice) = link::<F>(&alice, bob);
            (alice, to_bob, to_alice)
        })
        .collect()
}

/// A peer whose connections are soon full, and which does not insist at its end.
fn small() -> PeerBuilder {
    builder()
        .send_queue(64 << 10)
        .close_timeout(Duration::from_millis(300))
}

fn addrs<F: Format>(audience: &[(Peer, Connection<F>, Connection<F>)]) -> BTreeSet<SocketAddr> {
    audience
        .iter()
        .map(|(alice, ..)| alice.local_addr())
        .collect()
}

/// Where those who got it listen.
fn sent(report: &Broadcast) -> Vec<SocketAddr> {
    report.sent.iter().map(ConnectionInfo::peer_addr).collect()
}

/// Where the others listen, and what they were told.
fn failed(report: &Broadcast) -> Vec<(SocketAddr, SendError)> {
    let failed = report.failed.iter();
    failed
        .map(|(info, error)| (info.peer_addr(), error.clone()))
        .collect()
}

fn set(addrs: &[SocketAddr]) -> BTreeSet<SocketAddr> {
    let set: BTreeSet<_> = addrs.iter().copied().collect();
    assert_eq!(set.len(), addrs.len(), "somebody is in it twice");
    set
}

#[test]
fn everybody_of_the_type_gets_it_and_nobody_else() {
    test(|| {
        let bob = peer();
        let json = audience::<Json<String>>(&bob, 5);
        let bytes = audience::<Bytes>(&bob, 3);

        let report = bob.broadcast::<Json<String>>("news").unwrap();
        assert_eq!(set(&sent(&report)), addrs(&json));
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        for (_, end, _) in &json {
            assert_eq!(end.recv_timeout(SOON).unwrap(), "news");
        }

        let report = bob.broadcast::<Bytes>(b"bytes").unwrap();
        assert_eq!(set(&sent(&report)), addrs(&bytes));
        for (_, end, _) in &bytes {
            assert_eq!(end.recv_timeout(SOON).unwrap(), b"bytes");
            assert!(end.try_recv().is_err(), "the news too?");
        }
        for (_, end, _) in &json {
            assert!(end.try_recv().is_err(), "the bytes too?");
        }
    });
}

#[test]
fn it_goes_to_connections_made_from_either_side() {
    test(|| {
        let (alice, bob, carol) = (peer(), peer(), peer());
        let (to_bob, _keep) = link::<Bytes>(&alice, &bob);
        let (_keep, to_bob_too) = link::<Bytes>(&bob, &carol);
        let report = bob.broadcast::<Bytes>(b"both").unwrap();
        assert_eq!(
            set(&sent(&report)),
            BTreeSet::from([alice.local_addr(), carol.local_addr()])
        );
        assert_eq!(to_bob.recv_timeout(SOON).unwrap(), b"both");
        assert_eq!(to_bob_too.recv_timeout(SOON).unwrap(), b"both");
    });
}

#[test]
fn without_connections_nobody_gets_it() {
    test(|| {
        let report = peer().broadcast::<Bytes>(b"hello?").unwrap();
        assert!(report.sent.is_empty());
        assert!(report.failed.is_empty());
    });
}

#[test]
fn every_receiver_gets_the_same_order() {
    test(|| {
        const COUNT: u64 = 1000;
        let bob = peer();
        let audience = audience::<Bytes>(&bob, 4);
        let receiving: Vec<_> = audience
            .iter()
            .map(|(_, end, _)| {
                let end = end.clone();
                Call::start("recv", move || take(&end, 0, COUNT))
            })
            .collect();
        for number in 0..COUNT {
            let report = bob
                .broadcast_timeout::<Bytes>(&numbered(number, 300), SOON)
                .unwrap();
            assert_eq!(report.sent.len(), audience.len(), "{:?}", report.failed);
        }
        for call in receiving {
            call.finish();
        }
    });
}

/// A large text that counts how often it is encoded.
struct Counted<'a>(&'a AtomicUsize);

const COUNTED: usize = 16 << 10;

impl Serialize for Counted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.fetch_add(1, Ordering::SeqCst);
        serializer.serialize_str(&"x".repeat(COUNTED))
    }
}

impl<'de> Deserialize<'de> for Counted<'_> {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("nobody sends these to Bob"))
    }
}

type CountedJson = Json<Counted<'static>>;

#[test]
fn it_is_encoded_once() {
    static ENCODED: AtomicUsize = AtomicUsize::new(0);
    test(|| {
        let bob = peer();
        let audience = audience::<Json<String>>(&bob, 6);
        let report = bob.broadcast::<CountedJson>(&Counted(&ENCODED)).unwrap();
        assert_eq!(report.sent.len(), audience.len());
        for (_, end, _) in &audience {
            assert_eq!(end.recv_timeout(SOON).unwrap().len(), COUNTED);
        }
        assert_eq!(ENCODED.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn it_is_encoded_once_also_where_some_are_waited_for() {
    static ENCODED: AtomicUsize = AtomicUsize::new(0);
    test(|| {
        let bob = bind(small());
        let audience = audience::<Json<String>>(&bob, 2);
        let text = "x".repeat(COUNTED);
        while audience[0]
            .2
            .send_timeout(&text, Duration::from_millis(400))
            .is_ok()
        {}
        let timeout = Duration::from_millis(10);
        let report = bob
            .broadcast_timeout::<CountedJson>(&Counted(&ENCODED), timeout)
            .unwrap();
        assert_eq!(sent(&report), [audience[1].0.local_addr()]);
        assert_eq!(
            failed(&report),
            [(audience[0].0.local_addr(), SendError::Timeout)]
        );
        assert_eq!(ENCODED.load(Ordering::SeqCst), 1);
    });
}

/// Bob's audience, of which one does not read until it is told to.
struct Stuck {
    bob: Peer,
    /// The one whose connection is full, and of how many messages.
    one: (Peer, Connection<Bytes>, Connection<Bytes>),
    count: u64,
    others: Vec<(Peer, Connection<Bytes>, Connection<Bytes>)>,
}

fn one_is_stuck() -> Stuck {
    let bob = bind(small());
    let one = audience::<Bytes>(&bob, 1).remove(0);
    let count = fill(&one.2, 0, 16 << 10);
    let others = audience::<Bytes>(&bob, 3);
    Stuck {
        bob,
        one,
        count,
        others,
    }
}

#[test]
fn one_that_is_full_is_reported_and_holds_up_nobody() {
    test(|| {
        let Stuck {
            bob,
            one,
            count,
            others,
        } = one_is_stuck();
        let (stuck, end, _) = &one;
        for number in 0..20 {
            let message = numbered(number, 16 << 10);
            let report = within("broadcast", SOON, {
                let bob = bob.clone();
                move || bob.broadcast::<Bytes>(&message).unwrap()
            });
            assert_eq!(set(&sent(&report)), addrs(&others));
            match &failed(&report)[..] {
                [(addr, SendError::Full)] => assert_eq!(*addr, stuck.local_addr()),
                other => panic!("{other:?}"),
            }
            for (_, end, _) in &others {
                take(end, number, 1);
            }
        }
        // It got what it was sent, and none of what the report says it did not get.
        take(end, 0, count);
        assert!(end.try_recv().is_err());
        eventually("room", || {
            let report = bob.broadcast::<Bytes>(&numbered(count, 8)).unwrap();
            report.failed.is_empty()
        });
        take(end, count, 1);
    });
}

#[test]
fn with_a_timeout_the_others_have_it_at_once() {
    test(|| {
        let Stuck {
            bob,
            one,
            count,
            others,
        } = one_is_stuck();
        let (stuck, end, _) = &one;
        let broadcasting = Call::start("broadcast_timeout", {
            let bob = bob.clone();
            move || bob.broadcast_timeout::<Bytes>(&numbered(count, 16 << 10), 10 * SOON)
        });
        for (_, other, _) in &others {
            take(other, count, 1);
        }
        broadcasting.wait_until_blocked();
        // The one that was full takes something: now it gets this too.
        take(end, 0, count + 1);
        let report = broadcasting.finish().unwrap();
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        let mut everybody = addrs(&others);
        everybody.insert(stuck.local_addr());
        assert_eq!(set(&sent(&report)), everybody);
    });
}

#[test]
fn one_that_stays_full_does_not_hold_up_another_that_was_full_too() {
    test(|| {
        let bob = bind(small());
        let audience = audience::<Bytes>(&bob, 3);
        let counts: Vec<_> = audience
            .iter()
            .map(|(.., to)| fill(to, 0, 16 << 10))
            .collect();
        let timeout = Duration::from_secs(3);
        let broadcasting = Call::start("broadcast_timeout", {
            let bob = bob.clone();
            move || bob.broadcast_timeout::<Bytes>(&numbered(u64::MAX, 16 << 10), timeout)
        });
        broadcasting.wait_until_blocked();
        // Two of them take; whichever they are, the third one is not waited for.
        for (at, (_, end, _)) in audience.iter().enumerate().skip(1) {
            take(end, 0, counts[at]);
            assert_eq!(number_of(&end.recv_timeout(SOON).unwrap()), u64::MAX);
        }
        assert!(
            broadcasting.is_waiting(),
            "only got there at the end of the timeout"
        );
        let report = broadcasting.finish().unwrap();
        assert_eq!(set(&sent(&report)), addrs(&audience[1..]));
        assert_eq!(report.failed.len(), 1);
        assert_eq!(failed(&report)[0].0, audience[0].0.local_addr());
    });
}

#[test]
fn the_timeout_is_one_for_all_of_them() {
    test(|| {
        let bob = bind(small());
        let audience = audience::<Bytes>(&bob, 4);
        let counts: Vec<_> = audience
            .iter()
            .map(|(.., to)| fill(to, 0, 16 << 10))
            .collect();
        let timeout = Duration::from_secs(1);
        let start = Instant::now();
        let report = bob
            .broadcast_timeout::<Bytes>(&numbered(u64::MAX, 16 << 10), timeout)
            .unwrap();
        let took = start.elapsed();
        assert!(report.sent.is_empty());
        assert_eq!(report.failed.len(), 4);
        for (addr, error) in &failed(&report) {
            assert!(addrs(&audience).contains(addr));
            assert!(matches!(error, SendError::Timeout), "{error:?}");
        }
        assert!(took >= timeout, "{took:?}");
        // Four in a row would be 4 s at least.
        assert!(took < 3 * timeout, "{took:?}");
        for ((_, end, _), count) in audience.iter().zip(counts) {
            take(end, 0, count);
            assert!(end.try_recv().is_err());
        }
    });
}

#[test]
fn a_message_over_the_limit_is_reported_for_everybody() {
    test(|| {
        let bob = bind(builder().max_message_size(1000));
        let audience = audience::<Bytes>(&bob, 2);
        let report = bob.broadcast::<Bytes>(&vec![0; 1001]).unwrap();
        assert!(report.sent.is_empty());
        assert_eq!(report.failed.len(), 2);
        for (_, error) in report.failed {
            assert_eq!(
                error,
                SendError::TooLarge {
                    size: 1001,
                    limit: 1000
                }
            );
        }
        bob.broadcast::<Bytes>(&numbered(0, 1000)).unwrap();
        for (_, end, _) in &audience {
            take(end, 0, 1);
        }
    });
}

#[test]
fn a_message_that_can_not_be_encoded_is_an_error() {
    test(|| {
        type Map = BTreeMap<Vec<u8>, u8>;
        let bob = peer();
        let audience = audience::<Json<Map>>(&bob, 2);
        let refused = bob.broadcast::<Json<Map>>(&Map::from([(vec![1], 1)]));
        assert!(matches!(refused, Err(SendError::Encode(_))), "{refused:?}");
        bob.broadcast::<Json<Map>>(&Map::new()).unwrap();
        for (_, end, _) in &audience {
            assert_eq!(end.recv_timeout(SOON).unwrap(), Map::new());
        }
    });
}

#[test]
fn a_stream_of_another_size_is_reported() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let options = ConnectOptions::new().stream_of(8);
        let (stream, _stream_end) = link_as::<Bytes, Bytes>(&options, &alice, &bob);
        let carol = peer();
        let (plain, _plain_end) = link::<Bytes>(&carol, &bob);
        let report = bob.broadcast::<Bytes>(&numbered(0, 9)).unwrap();
        assert_eq!(sent(&report), [carol.local_addr()]);
        match &failed(&report)[..] {
            [(addr, SendError::WrongSize { size: 9, stream: 8 })] => {
                assert_eq!(*addr, alice.local_addr());
            }
            other => panic!("{other:?}"),
        }
        take(&plain, 0, 1);
        bob.broadcast::<Bytes>(&numbered(1, 8)).unwrap();
        take(&stream, 1, 1);
        take(&plain, 1, 1);
    });
}

#[test]
fn dynamic_ends_count_by_their_data_type() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let options = ConnectOptions::new().data_type(DataType::Json);
        let (to_bob, _to_alice) = link_as::<Dynamic, Dynamic>(&options, &alice, &bob);
        let report = bob.broadcast::<Json<u32>>(&5).unwrap();
        assert_eq!(sent(&report), [alice.local_addr()]);
        assert_eq!(
            to_bob.recv_timeout(SOON).unwrap().decode::<u32>().unwrap(),
            5
        );
        let report = bob.broadcast::<Bytes>(b"other").unwrap();
        assert!(report.sent.is_empty() && report.failed.is_empty());
        let report = bob
            .broadcast::<Dynamic>(&Message::json(&6).unwrap())
            .unwrap();
        assert_eq!(sent(&report), [alice.local_addr()]);
        assert_eq!(
            to_bob.recv_timeout(SOON).unwrap().decode::<u32>().unwrap(),
            6
        );
    });
}

#[test]
fn only_those_who_are_wanted_get_it() {
    test(|| {
        let bob = peer();
        let json = audience::<Json<u32>>(&bob, 4);
        let bytes = audience::<Bytes>(&bob, 1);
        let wanted: Vec<u64> = json[1..3].iter().map(|(.., to)| to.id()).collect();
        let mut asked = Vec::new();
        let report = bob
            .broadcast_where::<Json<u32>>(
                |info| {
                    assert_eq!(info.data_type(), DataType::Json);
                    // Nothing is locked meanwhile.
                    assert_eq!(bob.connections().len(), 5);
                    asked.push(info.id());
                    wanted.contains(&info.id())
                },
                &7,
            )
            .unwrap();
        // Each once, and before anything was sent; those of another type not at all.
        let all: Vec<u64> = json.iter().map(|(.., to)| to.id()).collect();
        assert_eq!(asked, all);
        let ids: Vec<u64> = report.sent.iter().map(ConnectionInfo::id).collect();
        assert_eq!(ids, wanted);
        assert_eq!(set(&sent(&report)), addrs(&json[1..3]));
        assert!(report.failed.is_empty());
        // What comes after it shows that it did not come to the others.
        bob.broadcast::<Json<u32>>(&8).unwrap();
        for (number, (_, end, _)) in json.iter().enumerate() {
            if (1..3).contains(&number) {
                assert_eq!(end.recv_timeout(SOON), Ok(7));
            }
            assert_eq!(end.recv_timeout(SOON), Ok(8));
        }
        assert!(bytes[0].1.try_recv().is_err());
    });
}

#[test]
fn what_nobody_wants_is_not_encoded() {
    test(|| {
        static ENCODED: AtomicUsize = AtomicUsize::new(0);
        let bob = peer();
        let _audience = audience::<CountedJson>(&bob, 2);
        let report = bob
            .broadcast_where::<CountedJson>(|_| false, &Counted(&ENCODED))
            .unwrap();
        assert!(report.sent.is_empty() && report.failed.is_empty());
        assert_eq!(ENCODED.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_report_lists_connections() {
    test(|| {
        let bob = peer();
        let audience = audience::<Bytes>(&bob, 2);
        let report = bob.broadcast::<Bytes>(b"hello").unwrap();
        let open = bob.connections();
        assert_eq!(report.sent.len(), 2);
        assert!(report.sent.iter().all(|info| open.contains(info)));
        // A report keeps no connection open, and can end one.
        let (alice, _, to_alice) = &audience[0];
        let info = report
            .sent
            .iter()
            .find(|info| info.id() == to_alice.id())
            .unwrap();
        assert_eq!(info.peer_addr(), alice.local_addr());
        info.abort();
        assert_eq!(to_alice.close_reason(), info.close_reason());
    });
}

#[test]
fn an_ended_connection_is_not_counted_as_reached() {
    test(|| {
        let bob = peer();
        let audience = audience::<Bytes>(&bob, 3);
        audience[0].1.abort();
        eventually("Bob knows", || audience[0].2.close_reason().is_some());
        let report = bob.broadcast::<Bytes>(b"who is left?").unwrap();
        assert_eq!(set(&sent(&report)), addrs(&audience[1..]));
        for (addr, error) in &failed(&report) {
            assert_eq!(*addr, audience[0].0.local_addr());
            assert!(matches!(error, SendError::Closed(_)), "{error:?}");
        }
        bob.stop();
        let report = bob.broadcast::<Bytes>(b"anybody?").unwrap();
        assert!(report.sent.is_empty(), "{:?}", report.sent);
    });
}

#[test]
fn connections_of_another_type_have_no_say_in_how_it_is_encoded() {
    test(|| {
        let (bob, alice) = (peer(), peer());
        // One that speaks the other dialect, in which MessagePack has no form.
        let mut old = std::net::TcpStream::connect(bob.local_addr()).unwrap();
        std::io::Write::write_all(
            &mut old,
            b"HELLO|peer_name=127.0.0.1:9&data_type=json&strict=1\n",
        )
        .unwrap();
        let _old = bob.accept::<Json<u32>>().unwrap();
        let raw = link::<Raw<u32>>(&alice, &bob);
        let report = bob
            .broadcast::<Dynamic>(&Message::raw(&7).unwrap())
            .unwrap();
        assert_eq!(sent(&report), [alice.local_addr()]);
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        assert_eq!(raw.0.recv_timeout(SOON).unwrap(), 7);
    });
}

#[test]
fn a_broadcast_does_not_overtake_the_answer_to_an_offer() {
    test(|| {
        const OFFERS: usize = 300;
        let bob = peer();
        let over = Arc::new(AtomicBool::new(false));
        let broadcasting: Vec<_> = (0..3)
            .map(|_| {
                let (bob, over) = (bob.clone(), Arc::clone(&over));
                Call::start("broadcast", move || {
                    while !over.load(Ordering::SeqCst) {
                        bob.broadcast::<Bytes>(b"news").unwrap();
                    }
                })
            })
            .collect();
        let accepting = Call::start("accept", {
            let bob = bob.clone();
            move || {
                for offer in bob.incoming().take(OFFERS) {
                    drop(offer.accept::<Bytes>().unwrap());
                }
            }
        });
        for number in 0..OFFERS {
            let mut socket = raw_offer(&bob);
            socket.set_read_timeout(Some(SOON)).unwrap();
            let mut answer = [0; 128];
            socket.read_exact(&mut answer).unwrap();
            assert!(
                answer.starts_with(b"ACCEPT"),
                "offer {number}: {}",
                answer.escape_ascii()
            );
        }
        accepting.finish();
        over.store(true, Ordering::SeqCst);
        broadcasting.into_iter().for_each(Call::finish);
    });
}

/// Waking a thread of each connection for each message would cost far more than the message.
#[test]
fn a_burst_over_many_connections_is_gathered_by_one_thread() {
    alone(
        "broadcast::a_burst_over_many_connections_is_gathered_by_one_thread",
        || {
            let bob = peer();
            let audience = audience::<Bytes>(&bob, 16);
            for _ in 0..3 {
                // Fewer than the receive queues and the sockets hold: nobody is ever full.
                bob.broadcast::<Bytes>(b"to all").unwrap();
            }
            for (_, to_bob, _) in &audience {
                for _ in 0..3 {
                    assert_eq!(to_bob.recv_timeout(SOON).unwrap(), b"to all");
                }
            }
            let threads = lanpeer_threads();
            let writers = threads.iter().filter(|name| name.starts_with("lanpeer-w"));
            assert_eq!(writers.count(), 0, "{threads:?}");
        },
    );
}

/// It waits in one line with those who `send`, and no one who comes later is ahead of it.
#[test]
fn one_that_waits_keeps_its_place_in_the_line() {
    test(|| {
        let bob = bind(small());
        let (_alice, end, to_alice) = audience::<Bytes>(&bob, 1).remove(0);
        let count = fill(&to_alice, 0, 16 << 10);
        let broadcast = Call::start("broadcast", {
            let bob = bob.clone();
            move || {
                let message = numbered(count, 40_000);
                bob.broadcast_timeout::<Bytes>(&message, SOON).unwrap()
            }
        });
        broadcast.wait_until_blocked();
        let later: Vec<_> = (1..4)
            .map(|n| {
                let to_alice = to_alice.clone();
                let sending = Call::start("send", move || {
                    to_alice.send(&numbered(count + n, 16 << 10)).unwrap();
                });
                sending.wait_until_blocked();
                sending
            })
            .collect();
        // For some of its waits none of them moves.
        std::thread::sleep(Duration::from_millis(20));
        assert!(broadcast.is_waiting() && later.iter().all(Call::is_waiting));
        take(&end, 0, count + 4);
        assert_eq!(broadcast.finish().sent.len(), 1);
        for sending in later {
            sending.finish();
        }
    });
}
