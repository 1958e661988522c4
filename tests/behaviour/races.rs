//! Moments that random programs met (`tests/model/`), each made likely or certain here.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use lanpeer::crossbeam_channel::bounded;
use lanpeer::{Bytes, CloseError, CloseReason, Error, SendError};
use socket2::SockRef;

use crate::peers::*;

#[test]
fn an_abort_leaves_no_message_out() {
    test(|| {
        for round in 0..60 {
            // A small queue, so that the writer thread has something in its hands all the time.
            let (_alice, _bob, to_bob, to_alice) =
                pair_of::<Bytes>(builder().send_queue(4 << 10), builder());
            let start = Arc::new(Barrier::new(3));
            let sending: Vec<_> = (0..2)
                .map(|_| {
                    let (to_bob, start) = (to_bob.clone(), Arc::clone(&start));
                    Call::start("send", move || {
                        start.wait();
                        (0..).find(|number| to_bob.send(&numbered(*number, 700)).is_err())
                    })
                })
                .collect();
            start.wait();
            thread::sleep(Duration::from_micros(round * 40));
            to_bob.abort();
            // Two threads send the same numbers: with both in order, each number that comes is at
            // most the count of those before it.
            let mut seen = Vec::new();
            for message in to_alice.iter() {
                let number = number_of(&message) as usize;
                seen.resize(seen.len().max(number + 1), 0);
                seen[number] += 1;
                let gap = number > 0 && seen[number] > seen[number - 1];
                assert!(!gap, "round {round}: {number} came before {}", number - 1);
            }
            for call in sending {
                let _ = call.finish();
            }
            assert_eq!(to_alice.close_reason(), Some(CloseReason::Reset));
        }
    });
}

#[test]
fn a_close_in_a_handler_knows_of_a_reset_that_a_send_met() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (entered, in_handler) = bounded(1);
        let (go_on, wait) = bounded::<()>(1);
        let (told, result) = bounded(1);
        let accepting = Call::start("accept", {
            let bob = bob.clone();
            move || {
                let offer = bob.offers().recv().unwrap();
                let handler = move |conn: &lanpeer::Connection<Bytes>, _| {
                    let _ = entered.send(());
                    let _ = wait.recv();
                    let _ = told.send(conn.close());
                };
                offer.accept_with::<Bytes>(handler).unwrap()
            }
        });
        let to_bob = alice.connect::<Bytes>(bob.local_addr()).unwrap();
        let to_alice = accepting.finish();
        to_bob.send(b"one").unwrap();
        in_handler.recv_timeout(SOON).unwrap();
        to_bob.abort();
        // The reader is in the handler: so it is a send that meets the reset.
        let mut accepted = 0;
        eventually("a send that fails", || {
            let sent = to_alice.try_send(&[1; 1000]);
            accepted += u64::from(sent.is_ok());
            sent == Err(SendError::Closed(CloseReason::Reset))
        });
        let stats = to_alice.stats();
        assert_eq!(stats.messages_sent, accepted, "a refused message counts");
        assert_eq!(stats.bytes_sent, 1000 * accepted);
        go_on.send(()).unwrap();
        let closed = result.recv_timeout(SOON).unwrap();
        assert!(
            matches!(closed, Err(CloseError::Incomplete(_) | CloseError::Timeout)),
            "what was sent has not arrived: {closed:?}"
        );
        eventually("the end", || to_alice.close_reason().is_some());
        assert_eq!(to_alice.close_reason(), Some(CloseReason::Reset));
    });
}

#[test]
fn one_who_accepts_and_resets_at_once_has_accepted() {
    test(|| {
        let alice = peer();
        let bob = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = bob.local_addr().unwrap();
        let resetting = Call::start("reset", move || {
            for _ in 0..100 {
                let (mut socket, _) = bob.accept().unwrap();
                socket.read_exact(&mut [0; 128]).unwrap();
                socket
                    .write_all(format!("{:|<128}", "ACCEPT|v=1").as_bytes())
                    .unwrap();
                SockRef::from(&socket)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
            }
        });
        for _ in 0..100 {
            let to_bob = alice.connect::<Bytes>(addr).expect("it was accepted");
            assert!(to_bob.recv().is_err());
            assert_eq!(to_bob.close_reason(), Some(CloseReason::Reset));
        }
        resetting.finish();
    });
}

/// The other side may have accepted in that moment, and sent: a FIN would say that all of it was
/// taken in.
#[test]
fn a_peer_that_stops_while_it_asks_resets() {
    test(|| {
        let alice = peer();
        let bob = TcpListener::bind("127.0.0.1:0").unwrap();
        let asking = Call::start("connect", {
            let (alice, addr) = (alice.clone(), bob.local_addr().unwrap());
            move || alice.connect::<Bytes>(addr).map(drop)
        });
        let (mut socket, _) = bob.accept().unwrap();
        socket.read_exact(&mut [0; 2 * 128]).unwrap(); // HELLO and WHO
        alice.stop();
        assert!(matches!(asking.finish(), Err(Error::Stopped)));
        socket.set_read_timeout(Some(SOON)).unwrap();
        let seen = socket.read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(seen, Err(ErrorKind::ConnectionReset));
    });
}

#[test]
fn a_send_without_a_deadline_never_says_timeout() {
    test(|| {
        for round in 0..campaign(60) as u64 {
            let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
            let sending = Call::start("send", {
                let to_bob = to_bob.clone();
                move || loop {
                    if let Err(error) = to_bob.send(&[0; 70_000]) {
                        break error;
                    }
                }
            });
            let taking = Call::start("take", move || to_alice.iter().count());
            thread::sleep(Duration::from_micros(round * 30));
            to_bob.close().unwrap();
            let error = sending.finish();
            assert_eq!(error, SendError::Closed(CloseReason::ClosedHere));
            taking.finish();
        }
    });
}
