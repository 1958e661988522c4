//! Stats and the list of connections: what they count, and that looking keeps
//! nothing alive.

use lanpeer::{Bytes, CloseReason, ConnectOptions, DataType, Json, Raw};

use crate::peers::*;

#[test]
fn messages_and_payload_bytes_are_counted_each_way() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        let sizes = [0, 1, 100, 70_000];
        for size in sizes {
            to_bob.send(&vec![1; size]).unwrap();
        }
        to_alice.send(b"12345").unwrap();
        for size in sizes {
            assert_eq!(to_alice.recv_timeout(SOON).unwrap().len(), size);
        }
        to_bob.recv_timeout(SOON).unwrap();
        let total = sizes.iter().sum::<usize>() as u64;
        let (alice, bob) = (to_bob.stats(), to_alice.stats());
        assert_eq!((alice.messages_sent, alice.bytes_sent), (4, total));
        assert_eq!((alice.messages_received, alice.bytes_received), (1, 5));
        assert_eq!((bob.messages_received, bob.bytes_received), (4, total));
        assert_eq!((bob.messages_sent, bob.bytes_sent), (1, 5));

        // They stay when the connection has ended.
        to_bob.close().unwrap();
        assert_eq!(to_bob.stats().bytes_sent, total);
        assert_eq!(to_alice.stats().bytes_received, total);
    });
}

#[test]
fn what_has_been_received_is_counted_already() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        for number in 0..2000 {
            to_bob.send(&numbered(number, 8)).unwrap();
            take(&to_alice, number, 1);
            let stats = to_alice.stats();
            assert_eq!(stats.messages_received, number + 1);
            assert_eq!(stats.bytes_received, 8 * (number + 1));
        }
    });
}

#[test]
fn both_sides_count_the_same_bytes_in_every_format() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (json, json_end) = link::<Json<Vec<u32>>>(&alice, &bob);
        let (raw, raw_end) = link::<Raw<Vec<u32>>>(&alice, &bob);
        let options = ConnectOptions::new().stream_of(30);
        let (stream, stream_end) = link_as::<Bytes, Bytes>(&options, &alice, &bob);
        json.send(&[1, 2, 3][..]).unwrap();
        raw.send(&[1, 2, 3][..]).unwrap();
        stream.send(&[0; 30]).unwrap();
        json_end.recv_timeout(SOON).unwrap();
        raw_end.recv_timeout(SOON).unwrap();
        stream_end.recv_timeout(SOON).unwrap();
        let payload = b"[1,2,3]".len() as u64;
        assert_eq!(json.stats().bytes_sent, payload);
        assert_eq!(json_end.stats().bytes_received, payload);
        assert_eq!(raw.stats().bytes_sent, 4);
        assert_eq!(raw_end.stats().bytes_received, 4);
        assert_eq!(stream.stats().bytes_sent, 30);
        assert_eq!(stream_end.stats().bytes_received, 30);
    });
}

#[test]
fn the_receive_queue_is_counted_in_messages() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        assert_eq!(to_alice.stats().receive_queue_messages, 0);
        for number in 0..10 {
            to_bob.send(&numbered(number, 8)).unwrap();
        }
        eventually("all ten", || to_alice.stats().receive_queue_messages == 10);
        take(&to_alice, 0, 4);
        assert_eq!(to_alice.stats().receive_queue_messages, 6);
        take(&to_alice, 4, 6);
        assert_eq!(to_alice.stats().receive_queue_messages, 0);
    });
}

#[test]
fn the_send_queue_is_counted_in_bytes() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) =
            pair_of::<Bytes>(builder().send_queue(64 << 10), builder().receive_queue(4));
        assert_eq!(to_bob.stats().send_queue_bytes, 0);
        let count = fill(&to_bob, 0, 8 << 10);
        assert!(to_bob.stats().send_queue_bytes > 0);
        // What was refused is not counted as sent.
        assert_eq!(to_bob.stats().messages_sent, count);
        take(&to_alice, 0, count);
        to_bob.flush().unwrap();
        assert_eq!(to_bob.stats().send_queue_bytes, 0);
    });
}

#[test]
fn connections_lists_what_is_open() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        assert!(bob.connections().is_empty());
        let (json, json_end) = link::<Json<u32>>(&alice, &bob);
        let loose = ConnectOptions::new().strict(false);
        let (bytes, bytes_end) = link_as::<Bytes, Bytes>(&loose, &alice, &bob);
        json.send(&5).unwrap();
        json_end.recv_timeout(SOON).unwrap();

        let mut list = bob.connections();
        list.sort_by_key(|info| info.id() != json_end.id());
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].id(), json_end.id());
        assert_eq!(list[0].data_type(), DataType::Json);
        assert!(list[0].is_strict());
        assert_eq!(list[0].stats().messages_received, 1);
        assert_eq!(list[1].id(), bytes_end.id());
        assert_eq!(list[1].data_type(), DataType::Bytes);
        assert!(!list[1].is_strict());
        for info in &list {
            assert_eq!(info.peer_addr(), alice.local_addr());
            assert_eq!(info.close_reason(), None);
        }
        bytes.close().unwrap();
        eventually("one is left", || bob.connections().len() == 1);
        assert_eq!(bob.connections()[0].id(), json_end.id());
        assert_eq!(list[1].close_reason(), Some(CloseReason::ClosedThere));
        assert_eq!(alice.connections().len(), 1);
    });
}

#[test]
fn a_listed_connection_is_not_kept_open() {
    test(|| {
        let (alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        let info = alice.connections().remove(0);
        assert_eq!(info.id(), to_bob.id());
        drop(to_bob);
        assert!(to_alice.recv_timeout(SOON).is_err());
        assert_eq!(to_alice.close_reason(), Some(CloseReason::ClosedThere));
        eventually("the end", || info.close_reason().is_some());
        assert_eq!(info.close_reason(), Some(CloseReason::ClosedHere));
        info.close().unwrap();
    });
}

#[test]
fn a_listed_connection_can_be_ended() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (to_bob, to_alice) = link::<Bytes>(&alice, &bob);
        to_bob.send(&numbered(0, 8)).unwrap();
        alice.connections().remove(0).close().unwrap();
        take(&to_alice, 0, 1);
        assert!(to_alice.recv().is_err());
        assert_eq!(to_bob.close_reason(), Some(CloseReason::ClosedHere));
        assert_eq!(to_alice.close_reason(), Some(CloseReason::ClosedThere));

        let (to_bob, to_alice) = link::<Bytes>(&alice, &bob);
        eventually("the first is gone", || alice.connections().len() == 1);
        alice.connections().remove(0).abort();
        assert!(to_alice.recv_timeout(SOON).is_err());
        assert_eq!(to_bob.close_reason(), Some(CloseReason::Aborted));
        assert_eq!(to_alice.close_reason(), Some(CloseReason::Reset));
    });
}

#[test]
fn totals_keep_what_has_ended() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        assert_eq!(alice.stats(), Default::default());
        let mut expected = 0;
        for round in 1..=3u64 {
            let (to_bob, to_alice) = link::<Bytes>(&alice, &bob);
            for number in 0..10 * round {
                to_bob.send(&numbered(number, 8)).unwrap();
                take(&to_alice, number, 1);
                to_alice.send(b"ok").unwrap();
                to_bob.recv_timeout(SOON).unwrap();
                expected += 1;
                for (stats, sent, received) in [(alice.stats(), 8, 2), (bob.stats(), 2, 8)] {
                    let messages = (stats.messages_sent, stats.messages_received);
                    assert_eq!(messages, (expected, expected));
                    let bytes = (stats.bytes_sent, stats.bytes_received);
                    assert_eq!(bytes, (sent * expected, received * expected));
                    assert_eq!(stats.connected, round);
                    assert_eq!(stats.ended.total(), round - 1);
                }
            }
            to_bob.close().unwrap();
            assert_eq!(alice.stats().ended.closed_here, round);
            ended(&to_alice);
            eventually("Bob counts it", || bob.stats().ended.closed_there == round);
        }
        let (to_bob, to_alice) = link::<Bytes>(&alice, &bob);
        to_bob.abort();
        assert_eq!(ended(&to_alice), CloseReason::Reset);
        eventually("Bob counts it", || bob.stats().ended.reset == 1);
        let stats = alice.stats();
        assert_eq!((stats.connected, stats.ended.aborted), (4, 1));
        assert_eq!((stats.ended.normal(), stats.ended.total()), (3, 4));
        assert_eq!(stats.messages_sent, expected);
        assert_eq!(
            (stats.denied, stats.connects_failed, stats.replaced),
            (0, 0, 0)
        );
    });
}

#[test]
fn what_came_to_nothing_is_in_the_totals() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let calling = Call::start("connect", {
            let (alice, addr) = (alice.clone(), bob.local_addr());
            move || alice.connect::<Bytes>(addr).is_err()
        });
        bob.offers().recv_timeout(SOON).unwrap().deny("no").unwrap();
        assert!(calling.finish());
        drop(std::net::TcpStream::connect(bob.local_addr()).unwrap());
        eventually("the handshake fails", || bob.stats().handshakes_failed == 1);
        let (alices, bobs) = (alice.stats(), bob.stats());
        assert_eq!((alices.connects_failed, alices.connected), (1, 0));
        assert_eq!(
            (bobs.denied, bobs.connected, bobs.events_dropped),
            (1, 0, 0)
        );
        for _ in 0..300 {
            drop(std::net::TcpStream::connect(bob.local_addr()).unwrap());
        }
        eventually("they fail", || bob.stats().handshakes_failed == 301);
        // One place is kept for the word of those that were dropped.
        eventually("events are dropped", || {
            bob.stats().events_dropped == 302 - 256
        });
    });
}
