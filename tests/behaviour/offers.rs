//! Offers: what they show, accepting, denying, every way in which they come to
//! nothing, and that nobody's silence delays anybody else.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use lanpeer::{
    Bytes, CloseReason, ConnectOptions, Connection, DataType, Dynamic, Error, Event, Format, Json,
    Offer, Peer, Raw, StreamSize,
};

use crate::peers::*;

/// Alice connects to Bob on a thread of her own.
fn connecting<F: Format + 'static>(
    options: &ConnectOptions,
    alice: &Peer,
    bob: &Peer,
) -> Call<Result<Connection<F>, Error>> {
    let (options, alice, addr) = (options.clone(), alice.clone(), bob.local_addr());
    Call::start("connect", move || options.connect::<F>(&alice, addr))
}

/// The next offer.
#[track_caller]
fn offer(bob: &Peer) -> Offer {
    bob.offers().recv_timeout(SOON).expect("an offer")
}

/// Checks that the other side was denied, with this reason.
#[track_caller]
fn assert_denied<F: Format>(result: Result<Connection<F>, Error>, by: &Peer, word: &str) {
    match result {
        Err(Error::Denied { addr, reason, .. }) => {
            assert_eq!(addr, by.local_addr());
            assert_eq!(reason.as_deref(), Some(word));
        }
        Err(error) => panic!("not denied but {error:?}"),
        Ok(_) => panic!("not denied but connected"),
    }
}

#[test]
fn an_accepted_offer_is_a_connection_in_both_directions() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let calling = connecting::<Json<String>>(&ConnectOptions::new(), &alice, &bob);
        let offer = offer(&bob);
        assert_eq!(offer.peer_addr(), alice.local_addr());
        assert_eq!(offer.data_type(), DataType::Json);
        assert!(offer.is_strict());
        assert_eq!(offer.stream(), None);
        assert!(calling.is_waiting(), "connected before the offer was taken");

        let to_alice = offer.accept::<Json<String>>().unwrap();
        let to_bob = calling.finish().unwrap();
        assert_eq!(to_alice.peer_addr(), alice.local_addr());
        assert_eq!(to_bob.peer_addr(), bob.local_addr());
        for end in [&to_alice, &to_bob] {
            assert_eq!(end.data_type(), DataType::Json);
            assert!(end.is_strict());
            assert_eq!(end.stream(), None);
            assert_eq!(end.close_reason(), None);
        }
        to_bob.send("to bob").unwrap();
        to_alice.send("to alice").unwrap();
        assert_eq!(to_alice.recv_timeout(SOON).unwrap(), "to bob");
        assert_eq!(to_bob.recv_timeout(SOON).unwrap(), "to alice");
    });
}

#[test]
fn an_offer_shows_its_options() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let loose = ConnectOptions::new().strict(false);
        let stream = ConnectOptions::new().stream();
        let stream_of = ConnectOptions::new().stream_of(48).strict(false);
        for (options, strict, size) in [
            (loose, false, None),
            (stream, true, Some(StreamSize::FromFirst)),
            (stream_of, false, Some(StreamSize::Of(48))),
        ] {
            let calling = connecting::<Bytes>(&options, &alice, &bob);
            let offer = offer(&bob);
            assert_eq!(offer.data_type(), DataType::Bytes);
            assert_eq!(offer.is_strict(), strict);
            assert_eq!(offer.stream(), size);
            let to_alice = offer.accept::<Bytes>().unwrap();
            let to_bob = calling.finish().unwrap();
            for end in [to_alice, to_bob] {
                assert_eq!(end.is_strict(), strict);
                assert_eq!(end.stream(), size);
            }
        }
    });
}

#[test]
fn a_denied_peer_is_told_why() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let calling = connecting::<Bytes>(&ConnectOptions::new(), &alice, &bob);
        offer(&bob).deny("Not-now_1.5").unwrap();
        assert_denied(calling.finish(), &bob, "Not-now_1.5");

        let longest = "x".repeat(64);
        let calling = connecting::<Bytes>(&ConnectOptions::new(), &alice, &bob);
        offer(&bob).deny(&longest).unwrap();
        assert_denied(calling.finish(), &bob, &longest);
        assert!(bob.connections().is_empty());
        assert!(alice.connections().is_empty());
    });
}

#[test]
fn a_reason_that_does_not_fit_the_wire_is_refused_and_the_peer_denied_all_the_same() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let too_long = "x".repeat(65);
        for reason in [
            "",
            "two words",
            "a|b",
            "a=b",
            "a&b",
            "ä",
            "line\n",
            &too_long,
        ] {
            let calling = connecting::<Bytes>(&ConnectOptions::new(), &alice, &bob);
            let refused = offer(&bob).deny(reason);
            assert!(
                matches!(refused, Err(Error::InvalidOption { .. })),
                "{reason:?}: {refused:?}"
            );
            match calling.finish() {
                Err(Error::Denied { .. }) => {}
                other => panic!("{reason:?}: {:?}", other.map(|_| "connected")),
            }
        }
    });
}

#[test]
fn a_dropped_offer_is_denied() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let calling = connecting::<Bytes>(&ConnectOptions::new(), &alice, &bob);
        drop(offer(&bob));
        assert_denied(calling.finish(), &bob, "dropped");
    });
}

#[test]
fn accepting_with_a_format_of_another_type_denies() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let calling = connecting::<Json<u32>>(&ConnectOptions::new(), &alice, &bob);
        match offer(&bob).accept::<Bytes>() {
            Err(Error::TypeMismatch { offered, requested }) => {
                assert_eq!((offered, requested), (DataType::Json, DataType::Bytes));
            }
            other => panic!("{:?}", other.map(|_| "accepted")),
        }
        assert_denied(calling.finish(), &bob, "type");

        let calling = connecting::<Bytes>(&ConnectOptions::new(), &alice, &bob);
        let handled = offer(&bob).accept_with::<Raw<u32>>(|_, _| {});
        assert!(matches!(handled, Err(Error::TypeMismatch { .. })));
        assert_denied(calling.finish(), &bob, "type");
    });
}

#[test]
fn accept_denies_other_types_and_waits_for_its_own() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let accepting = Call::start("accept", {
            let bob = bob.clone();
            move || bob.accept::<Json<u32>>()
        });
        let bytes = connecting::<Bytes>(&ConnectOptions::new(), &alice, &bob).finish();
        assert_denied(bytes, &bob, "type");
        let raw = connecting::<Raw<u32>>(&ConnectOptions::new(), &alice, &bob).finish();
        assert_denied(raw, &bob, "type");
        assert!(accepting.is_waiting());
        let to_bob = connecting::<Json<u32>>(&ConnectOptions::new(), &alice, &bob)
            .finish()
            .unwrap();
        to_bob.send(&7).unwrap();
        assert_eq!(accepting.finish().unwrap().recv_timeout(SOON).unwrap(), 7);
    });
}

#[test]
fn dynamic_accepts_every_type() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let json = connecting::<Json<u32>>(&ConnectOptions::new(), &alice, &bob);
        let end = offer(&bob).accept::<Dynamic>().unwrap();
        assert_eq!(end.data_type(), DataType::Json);
        let _ = json.finish().unwrap();
        let bytes = connecting::<Bytes>(&ConnectOptions::new(), &alice, &bob);
        let end = bob.accept::<Dynamic>().unwrap();
        assert_eq!(end.data_type(), DataType::Bytes);
        let _ = bytes.finish().unwrap();
    });
}

#[test]
fn offers_may_be_answered_in_any_order() {
    test(|| {
        let (bob, first, second) = (peer(), peer(), peer());
        let calling_first = connecting::<Bytes>(&ConnectOptions::new(), &first, &bob);
        let first_offer = offer(&bob);
        let calling_second = connecting::<Bytes>(&ConnectOptions::new(), &second, &bob);
        let second_offer = offer(&bob);
        let _ = second_offer.accept::<Bytes>().unwrap();
        let _second = calling_second.finish().unwrap();
        assert!(calling_first.is_waiting());
        let _ = first_offer.accept::<Bytes>().unwrap();
        let _first = calling_first.finish().unwrap();
    });
}

#[test]
fn many_may_connect_at_once() {
    test(|| {
        const PEERS: usize = 50;
        let (alice, bob) = (peer(), peer());
        let calls: Vec<_> = (0..PEERS)
            .map(|_| connecting::<Bytes>(&ConnectOptions::new(), &alice, &bob))
            .collect();
        let accepted: Vec<_> = bob
            .incoming()
            .take(PEERS)
            .map(|offer| offer.accept::<Bytes>().unwrap())
            .collect();
        let connected: Vec<_> = calls
            .into_iter()
            .map(|call| call.finish().unwrap())
            .collect();
        assert_eq!(bob.connections().len(), PEERS);
        assert_eq!(alice.connections().len(), PEERS);
        for (number, end) in connected.iter().enumerate() {
            end.send(&numbered(number as u64, 8)).unwrap();
        }
        let mut numbers: Vec<_> = accepted
            .iter()
            .map(|end| number_of(&end.recv_timeout(SOON).unwrap()))
            .collect();
        numbers.sort();
        assert_eq!(numbers, (0..PEERS as u64).collect::<Vec<_>>());
    });
}

/// What came early hides nothing here: it was read behind the HELLO.
#[test]
fn an_offer_that_is_withdrawn_behind_early_data_gives_its_place_back() {
    for accepts in [true, false] {
        test(move || {
            let (alice, bob) = (peer(), bind(builder().max_connections(1)));
            let mut client = TcpStream::connect(bob.local_addr()).unwrap();
            let hello = "HELLO|peer_name=127.0.0.1:40000&data_type=bytes&strict=1&v=1";
            client
                .write_all(format!("{hello}\nearly").as_bytes())
                .unwrap();
            let offer = offer(&bob);
            client.shutdown(std::net::Shutdown::Write).unwrap();
            drop(client);
            if accepts {
                let accepted = offer.accept::<Bytes>().map(|_| "accepted");
                assert!(matches!(accepted, Err(Error::Withdrawn)), "{accepted:?}");
            } else {
                drop(offer);
            }
            let event = bob.events().recv_timeout(SOON).expect("an event");
            assert!(matches!(event, Event::HandshakeFailed { .. }), "{event:?}");
            eventually("a free place", || {
                let calling = connecting::<Bytes>(&ConnectOptions::new(), &alice, &bob);
                let offer = bob.offers().recv_timeout(Duration::from_millis(200));
                let accepted = offer.ok().and_then(|offer| offer.accept::<Bytes>().ok());
                let _ = calling.finish();
                accepted.is_some()
            });
        });
    }
}

#[test]
fn an_offer_whose_other_side_has_gone_is_withdrawn() {
    test(|| {
        let bob = peer();
        let client = raw_offer(&bob);
        let offer = offer(&bob);
        // Its end is there when this returns. Wine lets a server of its own close sockets, a little later.
        client.shutdown(std::net::Shutdown::Write).unwrap();
        drop(client);
        match offer.accept::<Bytes>() {
            Err(Error::Withdrawn) => {}
            other => panic!("{:?}", other.map(|_| "accepted")),
        }
        assert!(bob.connections().is_empty());
    });
}

#[test]
fn incoming_skips_offers_whose_other_side_has_gone() {
    test(|| {
        let (bob, hasty, patient) = (peer(), peer(), peer());
        let options = ConnectOptions::new().timeout(Duration::from_millis(50));
        let gone = connecting::<Bytes>(&options, &hasty, &bob);
        assert!(matches!(gone.finish(), Err(Error::TimedOut { .. })));
        let calling = connecting::<Bytes>(&ConnectOptions::new(), &patient, &bob);
        let offer = within("incoming", SOON, {
            let bob = bob.clone();
            move || bob.incoming().next().expect("an offer")
        });
        assert_eq!(offer.peer_addr(), patient.local_addr());
        let _ = offer.accept::<Bytes>().unwrap();
        let _ = calling.finish().unwrap();
    });
}

#[test]
fn a_peer_with_enough_connections_says_busy() {
    test(|| {
        let alice = peer();
        let bob = bind(builder().max_connections(2));
        let first = link::<Bytes>(&alice, &bob);
        let _second = link::<Bytes>(&alice, &bob);
        let third = connecting::<Bytes>(&ConnectOptions::new(), &alice, &bob);
        assert_denied(third.finish(), &bob, "busy");

        // Room again: the place is free as soon as Bob's end is through.
        first.0.close().unwrap();
        let events = bob.events();
        eventually("room", || {
            events
                .try_iter()
                .any(|event| matches!(event, lanpeer::Event::Closed { .. }))
        });
        let _third = link::<Bytes>(&alice, &bob);
    });
}

#[test]
fn a_peer_with_enough_connections_makes_no_more() {
    test(|| {
        let alice = bind(builder().max_connections(1));
        let bob = peer();
        let first = link::<Bytes>(&alice, &bob);
        let second = connecting::<Bytes>(&ConnectOptions::new(), &alice, &bob).finish();
        match second {
            Err(Error::TooManyConnections { limit }) => assert_eq!(limit, 1),
            other => panic!("{:?}", other.map(|_| "connected")),
        }
        first.0.close().unwrap();
        let events = alice.events();
        eventually("room", || {
            events
                .try_iter()
                .any(|event| matches!(event, lanpeer::Event::Closed { .. }))
        });
        let _second = link::<Bytes>(&alice, &bob);
    });
}

/// How long connecting to a remote that accepts but says nothing took.
#[track_caller]
fn times_out(options: &ConnectOptions, alice: &Peer, limit: Duration) {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = silent.local_addr().unwrap();
    let start = Instant::now();
    match options.connect::<Bytes>(alice, remote) {
        Err(Error::TimedOut { addr, after }) => assert_eq!((addr, after), (remote, limit)),
        other => panic!("{:?}", other.map(|_| "connected")),
    }
    assert!(start.elapsed() >= limit, "gave up too early");
    assert!(start.elapsed() < limit + SOON / 2, "gave up too late");
}

#[test]
fn connecting_gives_up_at_the_timeout_of_the_peer_or_of_the_call() {
    test(|| {
        let hasty = bind(builder().timeout(Duration::from_millis(150)));
        times_out(&ConnectOptions::new(), &hasty, Duration::from_millis(150));
        let patient = bind(builder().timeout(3 * SOON));
        let options = ConnectOptions::new().timeout(Duration::from_millis(100));
        times_out(&options, &patient, Duration::from_millis(100));
        let longer = ConnectOptions::new().timeout(Duration::from_millis(400));
        times_out(&longer, &hasty, Duration::from_millis(400));
    });
}

#[test]
fn accept_waits_no_longer_than_it_is_told() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let time = Duration::from_millis(100);
        let begin = Instant::now();
        let nobody = bob.accept_timeout::<Bytes>(time).map(drop);
        assert!(matches!(nobody, Err(Error::NothingReceived)), "{nobody:?}");
        assert!(begin.elapsed() >= time, "{:?}", begin.elapsed());

        // What waits already is looked at without any time to wait: those of other types are denied.
        let offers = bob.offers();
        let mut others = Vec::new();
        for number in 1..=3 {
            others.push(connecting::<Json<u32>>(
                &ConnectOptions::new(),
                &alice,
                &bob,
            ));
            eventually("the offer", || offers.len() == number);
        }
        let bytes = connecting::<Bytes>(&ConnectOptions::new(), &alice, &bob);
        eventually("the offer", || offers.len() == 4);
        let conn = bob.accept_timeout::<Bytes>(Duration::ZERO).unwrap();
        assert_eq!(conn.peer_addr(), alice.local_addr());
        let _ = bytes.finish().unwrap();
        for json in others {
            assert!(matches!(json.finish(), Err(Error::Denied { .. })));
        }
        let nobody = bob.accept_timeout::<Bytes>(Duration::ZERO).map(drop);
        assert!(matches!(nobody, Err(Error::NothingReceived)), "{nobody:?}");

        // For ever is as `accept`.
        let waiting = Call::start("accept_timeout", {
            let bob = bob.clone();
            move || bob.accept_timeout::<Bytes>(Duration::MAX).map(drop)
        });
        waiting.wait_until_blocked();
        bob.stop();
        assert!(matches!(waiting.finish(), Err(Error::Stopped)));
        let late = bob.accept_timeout::<Bytes>(SOON).map(drop);
        assert!(matches!(late, Err(Error::Stopped)), "{late:?}");
    });
}

#[test]
fn a_refused_connection_says_so_at_once() {
    test(|| {
        let (_socket, nobody) = refusing();
        match peer().connect::<Bytes>(nobody) {
            Err(Error::Connect { addr, source }) => {
                assert_eq!(addr, nobody);
                assert_eq!(source.kind(), ErrorKind::ConnectionRefused);
            }
            other => panic!("{:?}", other.map(|_| "connected")),
        }
    });
}

#[test]
fn nobody_connects_to_himself() {
    test(|| {
        let alice = peer();
        let own = alice.local_addr();
        match alice.connect::<Bytes>(own) {
            Err(Error::SelfConnection { addr }) => assert_eq!(addr, own),
            other => panic!("{:?}", other.map(|_| "connected")),
        }

        // Bound to every interface: the address says less, it is Alice all the same.
        let alice = builder().bind("0.0.0.0:0").unwrap();
        let hosts: &[&str] = if cfg!(target_os = "linux") {
            &["127.0.0.1", "127.0.0.2", "0.0.0.0"]
        } else {
            &["127.0.0.1"]
        };
        for host in hosts {
            let own = format!("{host}:{}", alice.local_addr().port());
            match alice.connect::<Bytes>(own.as_str()) {
                Err(Error::SelfConnection { .. }) => {}
                other => panic!("{own}: {:?}", other.map(|_| "connected")),
            }
        }
        assert!(alice.connections().is_empty());
    });
}

/// Half of fifteen connections are made faster than this.
fn time_to_connect(alice: &Peer, bob: &Peer) -> Duration {
    median(
        (0..15)
            .map(|_| {
                let start = Instant::now();
                let ends = link::<Bytes>(alice, bob);
                let took = start.elapsed();
                drop(ends);
                took
            })
            .collect(),
    )
}

#[test]
fn silent_clients_delay_nobody() {
    test(|| {
        let alice = peer();
        let bob = bind(builder().timeout(3 * SOON));
        let alone = time_to_connect(&alice, &bob);
        let silent: Vec<_> = (0..200)
            .map(|_| TcpStream::connect(bob.local_addr()).unwrap())
            .collect();
        let among_silent = time_to_connect(&alice, &bob);
        // One client at a time would make this a minute: what one of them may take.
        let limit = 20 * alone + Duration::from_millis(250);
        assert!(
            among_silent < limit,
            "{alone:?} alone, {among_silent:?} among 200 silent clients"
        );

        // Nor do they hold up the end.
        within("stop", SOON, move || bob.stop());
        drop(silent);
    });
}

#[test]
fn an_ipv6_address_is_a_clear_error() {
    test(|| {
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 62626));
        let is_clear = |error: Error| {
            assert!(matches!(&error, Error::Ipv6 { addr } if addr.to_string() == v6.to_string()));
            assert!(error.to_string().contains("IPv4"), "{error}");
        };
        is_clear(Peer::bind("[::1]:62626").map(|_| ()).unwrap_err());
        is_clear(Peer::bind(v6).map(|_| ()).unwrap_err());
        let alice = peer();
        is_clear(
            alice
                .connect::<Bytes>("[::1]:62626")
                .map(|_| ())
                .unwrap_err(),
        );

        // Of several addresses, the IPv4 one is taken.
        let bob = peer();
        let addrs = [v6, bob.local_addr()];
        let calling = Call::start("connect", {
            let alice = alice.clone();
            move || alice.connect::<Bytes>(&addrs[..])
        });
        let _ = offer(&bob).accept::<Bytes>().unwrap();
        let _ = calling.finish().unwrap();
    });
}

#[test]
fn a_host_without_an_ipv4_address_is_a_clear_error() {
    test(|| {
        let alice = peer();
        let nowhere: &[SocketAddr] = &[];
        assert!(matches!(Peer::bind(nowhere), Err(Error::Resolve { .. })));
        assert!(matches!(
            alice.connect::<Bytes>(nowhere).map(|_| ()),
            Err(Error::Resolve { .. })
        ));
        // Neither an address nor a name with a port.
        for nonsense in ["", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:port"] {
            let bound = Peer::bind(nonsense).map(|_| ());
            let connected = alice.connect::<Bytes>(nonsense).map(|_| ());
            for result in [bound, connected] {
                assert!(
                    matches!(result, Err(Error::Resolve { .. })),
                    "{nonsense:?}: {result:?}"
                );
            }
        }
        for without_port in ["127.0.0.1", "localhost", "127.0.0.1:port"] {
            let error = Peer::bind(without_port).map(drop).unwrap_err().to_string();
            assert!(error.contains("the port is missing"), "{error}");
            assert!(error.contains("127.0.0.1:62626"), "{error}");
        }
        // A name that resolves is as good as an address.
        let bob = peer();
        let name = format!("localhost:{}", bob.local_addr().port());
        let calling = Call::start("connect", move || alice.connect::<Bytes>(name.as_str()));
        let _ = offer(&bob).accept::<Bytes>().unwrap();
        let _ = calling.finish().unwrap();
    });
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    test(|| {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = other.local_addr().unwrap();
        let of_a_peer = peer();
        for taken in [taken, of_a_peer.local_addr()] {
            match Peer::bind(taken) {
                Err(Error::Bind { addr, source }) => {
                    assert_eq!(addr, taken);
                    assert_eq!(source.kind(), ErrorKind::AddrInUse);
                }
                other => panic!("{:?}", other.map(|_| "bound")),
            }
        }
        // Free again as soon as the peer is stopped.
        let addr = of_a_peer.local_addr();
        of_a_peer.stop();
        let _ = builder().bind(addr).unwrap();
    });
}

#[test]
fn stopping_answers_every_offer_that_waits() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let held = connecting::<Bytes>(&ConnectOptions::new(), &alice, &bob);
        let offer = offer(&bob);
        let waiting = connecting::<Bytes>(&ConnectOptions::new(), &alice, &bob);
        eventually("the second offer waits", || !bob.offers().is_empty());
        within("stop", SOON, move || bob.stop());
        for calling in [held, waiting] {
            let result = calling.finish().map(|_| "connected");
            assert!(
                matches!(&result, Err(Error::Denied { .. } | Error::Handshake { .. })),
                "{result:?}"
            );
        }
        match offer.accept::<Bytes>() {
            Err(Error::Stopped | Error::Withdrawn) => {}
            other => panic!("{:?}", other.map(|_| "accepted")),
        }
    });
}

#[test]
fn a_connection_ends_when_the_peer_that_made_it_stops() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (to_bob, to_alice) = link::<Bytes>(&alice, &bob);
        drop(alice);
        eventually("Alice's end is over", || to_bob.close_reason().is_some());
        assert_eq!(to_bob.close_reason(), Some(CloseReason::PeerDropped));
        eventually("Bob's end is over", || to_alice.close_reason().is_some());
        assert_eq!(to_alice.close_reason(), Some(CloseReason::ClosedThere));
    });
}

/// Elsewhere a full backlog refuses.
#[cfg(target_os = "linux")]
#[test]
fn stop_wakes_a_connect_that_waits_for_tcp() {
    test(|| {
        let full =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        full.listen(0).unwrap();
        let addr = full.local_addr().unwrap().as_socket().unwrap();
        let mut waiting = Vec::new();
        while let Ok(socket) = TcpStream::connect_timeout(&addr, Duration::from_millis(100)) {
            waiting.push(socket);
        }
        let alice = bind(builder().timeout(3 * SOON));
        let connecting = Call::start("connect", {
            let alice = alice.clone();
            move || alice.connect::<Bytes>(addr).map(drop)
        });
        connecting.wait_until_blocked();
        within("stop", SOON, move || alice.stop());
        let connected = connecting.finish();
        assert!(matches!(connected, Err(Error::Stopped)), "{connected:?}");
    });
}

// Clients that send before they are answered.

/// How a client goes away.
#[derive(Clone, Copy, Debug)]
enum Vanish {
    Fin,
    Reset,
}

/// A client whose HELLO is followed by `early` bytes, in one write.
fn early_client(bob: &Peer, early: &[u8]) -> TcpStream {
    let mut client = TcpStream::connect(bob.local_addr()).expect("connected");
    client.set_nodelay(true).expect("nodelay");
    let hello = "HELLO|peer_name=127.0.0.1:40000&data_type=bytes&strict=1&v=1";
    let mut bytes = format!("{hello:|<128}").into_bytes();
    bytes.extend_from_slice(early);
    client.write_all(&bytes).expect("written");
    client
}

/// Ends the client, and waits until the system of `bob` knows. What it gives back keeps a half
/// of the connection open.
fn vanish(client: TcpStream, bob: &Peer, how: Vanish) -> Option<TcpStream> {
    let own = client.local_addr().expect("an address");
    let client = match how {
        Vanish::Fin => {
            client.shutdown(Shutdown::Write).expect("a FIN");
            Some(client)
        }
        Vanish::Reset => {
            let socket = socket2::SockRef::from(&client);
            socket
                .set_linger(Some(Duration::ZERO))
                .expect("no lingering");
            drop(client);
            None
        }
    };
    let hexadecimal = |addr: SocketAddr| match addr {
        SocketAddr::V4(addr) => {
            let ip = u32::from_ne_bytes(addr.ip().octets());
            format!("{ip:08X}:{:04X}", addr.port())
        }
        SocketAddr::V6(addr) => panic!("{addr}"),
    };
    // `local remote state`; 01 is ESTABLISHED.
    let open = format!("{} {} 01", hexadecimal(bob.local_addr()), hexadecimal(own));
    eventually("the client's end", || {
        let table = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap_or_default();
        !table.contains(&open)
    });
    client
}

/// One message of the text protocol.
fn data(payload: &[u8]) -> Vec<u8> {
    let header = format!("DATA|data_size={}&data_type=bytes", payload.len());
    [format!("{header:|<128}").as_bytes(), payload].concat()
}

/// Each is undecided when it vanishes, and while its place is asked for again.
#[test]
fn clients_that_vanish_behind_early_data_give_their_places_back() {
    const CLIENTS: usize = 8;
    for how in [Vanish::Fin, Vanish::Reset] {
        test(move || {
            let (alice, bob) = (peer(), bind(builder().max_connections(CLIENTS)));
            let clients: Vec<_> = (0..CLIENTS).map(|_| early_client(&bob, b"x")).collect();
            let offers: Vec<_> = clients.iter().map(|_| offer(&bob)).collect();
            let _halves: Vec<_> = clients
                .into_iter()
                .map(|client| vanish(client, &bob, how))
                .collect();
            for _ in 0..CLIENTS {
                match bob.events().recv_timeout(SOON).expect("an event") {
                    Event::HandshakeFailed { reason, .. } => {
                        assert_eq!(reason, "it hung up before it had an answer");
                    }
                    event => panic!("{event:?}"),
                }
            }
            let links: Vec<_> = (0..CLIENTS).map(|_| link::<Bytes>(&alice, &bob)).collect();
            for offer in offers {
                let accepted = offer.accept::<Bytes>().map(|_| "accepted");
                assert!(matches!(accepted, Err(Error::Withdrawn)), "{accepted:?}");
            }
            assert_eq!(bob.connections().len(), links.len());
        });
    }
}

/// Its end is there before the program decides, and so no decision comes to anything.
#[cfg(target_os = "linux")]
#[test]
fn an_offer_whose_end_is_hidden_behind_early_data_is_withdrawn() {
    for how in [Vanish::Fin, Vanish::Reset] {
        test(move || {
            let bob = peer();
            for round in 0..20 {
                let early = vec![b'x'; [1, 20_000][round % 2]];
                let client = early_client(&bob, &early);
                // Sometimes the reader thread knows already that data has come.
                let before = (round % 3 == 0).then(|| offer(&bob));
                let _half = vanish(client, &bob, how);
                let offer = before.unwrap_or_else(|| offer(&bob));
                let decided = match round % 4 {
                    0 => offer.deny("no"),
                    1 => offer.accept_with::<Bytes>(|_, _| ()).map(drop),
                    _ => offer.accept::<Bytes>().map(drop),
                };
                assert!(
                    matches!(decided, Err(Error::Withdrawn)),
                    "round {round}, {how:?}: {decided:?}"
                );
            }
            eventually("no connection", || bob.connections().is_empty());
        });
    }
}

#[cfg(target_os = "linux")]
#[test]
fn incoming_skips_offers_whose_end_is_hidden_behind_early_data() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let mut halves = Vec::new();
        for how in [Vanish::Fin, Vanish::Reset, Vanish::Fin] {
            halves.push(vanish(early_client(&bob, b"early"), &bob, how));
        }
        let calling = connecting::<Bytes>(&ConnectOptions::new(), &alice, &bob);
        let own = bob.clone();
        let offer = within("incoming", SOON, move || {
            own.incoming().next().expect("an offer")
        });
        assert_eq!(offer.peer_addr(), alice.local_addr());
        let _ = offer.accept::<Bytes>().unwrap();
        let _ = calling.finish().unwrap();
    });
}

#[test]
fn what_a_client_sends_before_it_is_answered_comes_first() {
    test(|| {
        let bob = peer();
        for round in 0..60 {
            // A whole message, the beginning of one, and more than one look reads.
            let early = match round % 3 {
                0 => data(b"early"),
                1 => data(b"early")[..100].to_vec(),
                _ => [data(b"early"), data(&[7; 40_000])].concat(),
            };
            let mut client = early_client(&bob, &early);
            let offer = offer(&bob);
            if round % 2 == 0 {
                // Its reader thread is to be somewhere else each time.
                std::thread::sleep(Duration::from_millis(round % 7));
            }
            let conn = offer.accept::<Bytes>().expect("accepted");
            if round % 3 == 1 {
                client.write_all(&data(b"early")[100..]).unwrap();
            }
            // Nothing else comes meanwhile that could wake anybody.
            assert_eq!(conn.recv_timeout(SOON).expect("a message"), b"early");
            if round % 3 == 2 {
                assert_eq!(conn.recv_timeout(SOON).expect("a message"), [7; 40_000]);
            }
            client.write_all(&data(b"late")).unwrap();
            assert_eq!(conn.recv_timeout(SOON).expect("a message"), b"late");
        }
    });
}

#[test]
fn a_client_that_sends_too_much_before_it_is_answered_is_refused() {
    test(|| {
        let bob = bind(builder().max_connections(1));
        let mut client = early_client(&bob, &[]);
        client.set_write_timeout(Some(SOON)).unwrap();
        let offer = offer(&bob);
        let mut sent = 0_u64;
        let error = loop {
            match client.write(&[b'x'; 1 << 16]) {
                Ok(n) => sent += n as u64,
                Err(error) => break error,
            }
            // What the systems of both sides hold of it is not lanpeer's.
            assert!(sent < 1 << 30, "there is no end of it");
        };
        assert_ne!(error.kind(), ErrorKind::WouldBlock, "nobody reads it");
        match bob.events().recv_timeout(SOON).expect("an event") {
            Event::HandshakeFailed { reason, .. } => {
                assert_eq!(
                    reason,
                    "it sent more than 65536 bytes before it had an answer"
                );
            }
            event => panic!("{event:?}"),
        }
        let accepted = offer.accept::<Bytes>().map(|_| "accepted");
        assert!(matches!(accepted, Err(Error::Withdrawn)), "{accepted:?}");
        let alice = peer();
        let _free = link::<Bytes>(&alice, &bob);
    });
}

#[test]
fn a_client_that_sends_a_little_too_much_is_told_so() {
    test(|| {
        let bob = peer();
        // One that stays within the bound waits for its answer.
        let most = early_client(&bob, &[b'x'; 1 << 16]);
        let offer = offer(&bob);
        let mut more = early_client(&bob, &[b'x'; (1 << 16) + 1]);
        let mut answer = String::new();
        more.set_read_timeout(Some(SOON)).unwrap();
        more.read_to_string(&mut answer).expect("an answer");
        assert_eq!(answer, format!("{:|<128}", "DENY|reason=malformed"));
        offer.deny("no").expect("it still waits");
        drop(most);
    });
}

#[test]
fn clients_that_have_sent_before_are_told_of_a_denial_and_of_a_stop() {
    test(|| {
        for round in 0..6_u64 {
            let bob = peer();
            let mut client = early_client(&bob, &data(b"early"));
            let offer = offer(&bob);
            std::thread::sleep(Duration::from_millis(round));
            let word = if round % 2 == 0 {
                offer.deny("no").expect("it waits");
                "no"
            } else {
                within("stop", SOON, move || bob.stop());
                let accepted = offer.accept::<Bytes>().map(|_| "accepted");
                assert!(accepted.is_err(), "{accepted:?}");
                "stopped"
            };
            let mut answer = [0; 128];
            client.set_read_timeout(Some(SOON)).unwrap();
            client.read_exact(&mut answer).expect("an answer");
            let text = format!("DENY|reason={word}");
            assert_eq!(answer, format!("{text:|<128}").as_bytes());
        }
    });
}
