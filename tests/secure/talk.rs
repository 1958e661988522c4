//! Over encrypted connections, everything is as over others.

use lanpeer::{Bytes, CloseReason, ConnectOptions, Json, StreamSize};

use crate::common::{ended, receive, spawn};
use crate::proxy::Proxy;
use crate::{bind, connect, secured};

#[test]
fn messages_of_all_sizes_arrive_in_order_both_ways() {
    let (alice, bob) = (bind(secured()), bind(secured()));
    let (to_bob, from_alice) = connect::<Bytes>(&alice, &bob);
    assert!(to_bob.is_secure() && from_alice.is_secure() && alice.connections()[0].is_secure());
    // Around the sizes at which a record, a chunk and a write of its own begin or end.
    let edges = [
        0,
        1,
        2 << 10,
        64 << 10,
        65_519 - 128,
        65_519,
        2 * 65_519,
        1 << 20,
        5 << 20,
    ];
    let sizes = edges
        .into_iter()
        .flat_map(|size: usize| [size.saturating_sub(1), size, size + 1]);
    let messages: Vec<Vec<u8>> = sizes
        .map(|size| (0..size).map(|i| (i * 31 + size) as u8).collect())
        .collect();
    let echo = spawn(move || {
        for message in &from_alice {
            from_alice.send(&message).expect("sent");
        }
        from_alice.close_reason()
    });
    let (sender, sent) = (to_bob.clone(), messages.clone());
    let sending = spawn(move || {
        sent.iter()
            .for_each(|message| sender.send(message).expect("sent"))
    });
    for message in &messages {
        assert!(receive(&to_bob) == *message, "{} bytes", message.len());
    }
    sending.wait("the sender");
    to_bob.close().expect("taken in");
    assert_eq!(echo.wait("the echo"), Some(CloseReason::ClosedThere));
    assert_eq!(ended(&to_bob), CloseReason::ClosedHere);
}

#[test]
fn many_small_messages_share_records() {
    let (alice, bob) = (bind(secured()), bind(secured()));
    let proxy = Proxy::start(bob.local_addr(), |_, _, unit| vec![unit]);
    let taker = bob.clone();
    let taking = spawn(move || taker.accept::<Json<u32>>().expect("accepted"));
    let to_bob = alice.connect::<Json<u32>>(proxy.addr).expect("connected");
    let from_alice = taking.wait("accept");
    let sender = spawn(move || {
        (0..20_000).for_each(|n| to_bob.send(&n).expect("sent"));
        to_bob.close().expect("taken in");
    });
    for n in 0..20_000 {
        assert_eq!(receive(&from_alice), n);
    }
    assert_eq!(ended(&from_alice), CloseReason::ClosedThere);
    sender.wait("the sender");
}

#[test]
fn the_newest_replaces_what_waits() {
    let (alice, bob) = (bind(secured()), bind(secured().receive_queue(1)));
    let (to_bob, from_alice) = connect::<Bytes>(&alice, &bob);
    let sending = spawn(move || {
        let mut newest = 0;
        while to_bob.stats().send_replaced < 20 {
            newest += 1;
            let mut frame = vec![0; 500_000];
            frame[..4].copy_from_slice(&u32::to_be_bytes(newest));
            to_bob.send_latest(&frame).expect("sent");
        }
        (newest, to_bob)
    });
    let (newest, to_bob) = sending.wait("the sender");
    let closing = spawn(move || to_bob.close());
    let number = |frame: Vec<u8>| u32::from_be_bytes(frame[..4].try_into().expect("four bytes"));
    let seen: Vec<u32> = from_alice.iter().map(number).collect();
    assert!(seen.is_sorted() && seen.last() == Some(&newest));
    closing.wait("close").expect("taken in");
}

#[test]
fn streams() {
    for (named, size) in [(true, 3072), (false, 100_000), (true, 70_000)] {
        let (alice, bob) = (bind(secured()), bind(secured()));
        let taker = bob.clone();
        let taking = spawn(move || taker.accept::<Bytes>().expect("accepted"));
        let options = match named {
            true => ConnectOptions::new().stream_of(size),
            false => ConnectOptions::new().stream(),
        };
        let to_bob = options
            .connect::<Bytes>(&alice, bob.local_addr())
            .expect("connected");
        let from_alice = taking.wait("accept");
        let expected = if named {
            StreamSize::Of(size)
        } else {
            StreamSize::FromFirst
        };
        assert_eq!(from_alice.stream(), Some(expected));
        let sending = spawn(move || {
            for n in 0..200_u8 {
                to_bob.send(&vec![n; size]).expect("sent");
            }
            to_bob.close()
        });
        for n in 0..200_u8 {
            assert!(receive(&from_alice) == vec![n; size]);
        }
        sending.wait("the sender").expect("taken in");
        assert_eq!(ended(&from_alice), CloseReason::ClosedThere);
    }
}

#[test]
fn a_close_inside_a_handler_keeps_what_came_before() {
    let (alice, bob) = (bind(secured()), bind(secured()));
    let (count, counted) = std::sync::mpsc::channel();
    let offers = bob.offers();
    let taking = spawn(move || {
        let offer = offers.recv().expect("an offer");
        offer.accept_with::<Bytes>(move |conn, _| {
            // After the first message.
            let closed = conn.close();
            // The test looks at the first, and may be over when there is another.
            let _ = count.send(closed);
        })
    });
    let to_bob = alice.connect::<Bytes>(bob.local_addr()).expect("connected");
    let _ = taking.wait("accept").expect("accepted");
    for _ in 0..100 {
        // Until Bob has closed.
        if to_bob.send(b"one of many").is_err() {
            break;
        }
    }
    let closed = counted
        .recv_timeout(crate::DEADLINE)
        .expect("the handler runs");
    assert_eq!(closed, Ok(()));
    assert_eq!(ended(&to_bob), CloseReason::ClosedThere);
}

#[test]
fn a_panic_that_drops_a_connection_is_no_goodbye() {
    let (alice, bob) = (bind(secured()), bind(secured()));
    let (to_bob, from_alice) = connect::<Bytes>(&alice, &bob);
    let panicking = std::thread::spawn(move || {
        to_bob.send(b"before it").expect("sent");
        panic!("as planned: {:?}", to_bob.data_type());
    });
    assert!(panicking.join().is_err());
    assert_eq!(receive(&from_alice), b"before it");
    let reason = ended(&from_alice);
    assert!(
        matches!(reason, CloseReason::Cut | CloseReason::Vanished),
        "{reason:?}"
    );
    from_alice.close().expect_err("no goodbye");
}

#[test]
fn an_abort_is_a_reset() {
    let (alice, bob) = (bind(secured()), bind(secured()));
    let (to_bob, from_alice) = connect::<Bytes>(&alice, &bob);
    to_bob.abort();
    assert_eq!(ended(&from_alice), CloseReason::Reset);
    assert_eq!(to_bob.close_reason(), Some(CloseReason::Aborted));
}

/// What goes over the wire, taken down on the way: nothing of it says what was said.
#[test]
fn a_capture_shows_nothing_of_what_was_said() {
    const TEXT: &str = "the launch code is 0000, do not tell anyone";
    let of = |name: &str| bind(secured().name(name).service("rocketry"));
    let (alice, bob) = (of("alice-in-wonderland"), of("bob-the-builder"));
    let proxy = Proxy::start(bob.local_addr(), |_, _, unit| vec![unit]);
    let taker = bob.clone();
    let taking = spawn(move || taker.accept::<Json<String>>().expect("accepted"));
    let to_bob = alice
        .connect::<Json<String>>(proxy.addr)
        .expect("connected");
    let from_alice = taking.wait("accept");
    for _ in 0..3 {
        to_bob.send(TEXT).expect("sent");
        from_alice.send(TEXT).expect("sent");
        assert_eq!(
            (receive(&from_alice), receive(&to_bob)),
            (TEXT.into(), TEXT.into())
        );
    }
    let large = TEXT.repeat(10_000);
    to_bob.send(&large).expect("sent");
    assert_eq!(receive(&from_alice), large);
    to_bob.close().expect("taken in");
    let [there, back] = proxy.seen();
    assert!(there.starts_with(b"HELLO|") && back.starts_with(b"ACCEPT|v=2&secure="));
    assert_eq!(from_alice.peer_name(), Some("alice-in-wonderland"));
    assert!(there.len() > large.len(), "the capture is whole");
    for bytes in [&there[128..], &back[128..]] {
        // Eight bytes are never there by chance.
        let said = [TEXT, "alice-in-wonderland", "bob-the-builder", "rocketry"];
        let parts = said.iter().flat_map(|text| text.as_bytes().windows(8));
        for part in parts.chain([&b"DATA|data_size="[..], b"{\"data\":", b"||||||||"]) {
            let found = bytes.windows(part.len()).position(|window| window == part);
            assert_eq!(found, None, "{}", part.escape_ascii());
        }
    }
    // Each time it looks different.
    let first = &there[128 + 48..128 + 48 + 100];
    assert_eq!(
        there.windows(100).filter(|window| *window == first).count(),
        1
    );
}
