//! Requests and replies: many at once, in any order, beside messages; and how each fails that has no
//! reply.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use lanpeer::crossbeam_channel::{bounded, select, unbounded};
use lanpeer::{
    Bytes, CloseError, CloseReason, ConnectOptions, Connection, DataType, Dynamic, Error, Json,
    Message, Peer, Raw, Request, RequestError, SendError,
};

use crate::peers::*;

type Numbers = Json<u64>;

/// Long enough for what has to come, and not the reason for it.
const PATIENT: Duration = Duration::from_secs(60);

/// Alice asks; Bob's end is returned beside hers.
fn numbers() -> (Peer, Peer, Connection<Numbers>, Connection<Numbers>) {
    pair::<Numbers>()
}

/// Answers each request of a connection with one more, until that ends.
fn serve(conn: &Connection<Numbers>) -> thread::JoinHandle<u64> {
    let requests = conn.requests();
    thread::spawn(move || {
        let mut count = 0;
        for request in requests {
            let _ = request.reply(&(request.item() + 1));
            count += 1;
        }
        count
    })
}

fn serving(alice: &Peer, bob: &Peer) -> (Connection<Numbers>, Connection<Numbers>) {
    let accepting = {
        let bob = bob.clone();
        Call::start("accept", move || {
            let offer = bob.offers().recv().expect("an offer");
            let serve = |request: Request<Numbers>| drop(request.reply(&(request.item() + 1)));
            offer.accept_serving::<Numbers>(serve).expect("accepted")
        })
    };
    let to_bob = alice.connect::<Numbers>(bob.local_addr()).unwrap();
    (to_bob, accepting.finish())
}

fn ask(conn: &Connection<Numbers>, number: u64) -> Call<Result<u64, RequestError>> {
    let conn = conn.clone();
    Call::start("request", move || conn.request(&number, PATIENT))
}

#[test]
fn one_after_the_other() {
    test(|| {
        let count = campaign(2000) as u64;
        let (_alice, _bob, to_bob, to_alice) = numbers();
        let served = serve(&to_alice);
        for number in 0..count {
            assert_eq!(to_bob.request(&number, PATIENT), Ok(number + 1));
        }
        assert_eq!(to_bob.close(), Ok(()));
        assert_eq!(served.join().unwrap(), count);
        let (asked, answered) = (to_bob.stats(), to_alice.stats());
        assert_eq!(
            (asked.messages_sent, asked.messages_received),
            (count, count)
        );
        assert_eq!(asked.bytes_sent, answered.bytes_received);
        assert_eq!(asked.late_replies, 0);
        assert_eq!(ended(&to_alice), CloseReason::ClosedThere);
    });
}

#[test]
fn a_server_on_the_reader_thread() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (to_bob, to_alice) = serving(&alice, &bob);
        // It lives without a handle.
        drop(to_alice);
        for number in 0..campaign(2000) as u64 {
            assert_eq!(to_bob.request(&number, PATIENT), Ok(number + 1));
        }
        assert_eq!(to_bob.close(), Ok(()));

        // And the other way round: the side serves that connects.
        let taking = {
            let bob = bob.clone();
            Call::start("accept", move || bob.accept::<Numbers>().unwrap())
        };
        let serve = |request: Request<Numbers>| drop(request.reply(&(request.item() + 1)));
        let options = ConnectOptions::new();
        let served = options.connect_serving(&alice, bob.local_addr(), serve);
        drop(served.unwrap());
        let to_alice = taking.finish();
        assert_eq!(to_alice.request(&1, PATIENT), Ok(2));
    });
}

#[test]
fn many_threads_on_one_connection() {
    test(|| {
        let each = campaign(500);
        let (alice, bob) = (peer(), peer());
        let (by_thread, at_bob) = link::<Numbers>(&alice, &bob);
        let (by_reader, _served) = serving(&alice, &bob);
        let _serving = serve(&at_bob);
        for to_bob in [by_thread, by_reader] {
            thread::scope(|scope| {
                for who in 0..8u64 {
                    let to_bob = &to_bob;
                    scope.spawn(move || {
                        for number in (who << 32..).take(each) {
                            assert_eq!(to_bob.request(&number, PATIENT), Ok(number + 1));
                        }
                    });
                }
            });
            assert_eq!(to_bob.stats().messages_sent, 8 * each as u64);
            assert_eq!(to_bob.close(), Ok(()));
        }
    });
}

/// So many threads ask at once, and the answers come in another order.
#[test]
fn ten_thousand_are_under_way_at_once() {
    test(|| {
        let count = campaign(10_000) as u64;
        let (_alice, _bob, to_bob, to_alice) = numbers();
        let answering = Call::start("answers", move || {
            let mut all: Vec<_> = to_alice.requests().take(count as usize).collect();
            // Messages go on beside them.
            to_alice.send(&7).unwrap();
            all.sort_unstable_by_key(|request| request.item().reverse_bits());
            for request in &all {
                request.reply(&(request.item() * 2)).unwrap();
            }
            to_alice
        });
        let asking: Vec<_> = (0..count)
            .map(|number| {
                let to_bob = to_bob.clone();
                let thread = thread::Builder::new().stack_size(256 << 10);
                let ask = move || to_bob.request(&number, PATIENT);
                thread.spawn(ask).expect("a thread")
            })
            .collect();
        assert_eq!(to_bob.recv_timeout(PATIENT), Ok(7));
        for (number, asking) in asking.into_iter().enumerate() {
            assert_eq!(asking.join().unwrap(), Ok(number as u64 * 2));
        }
        let _to_alice = answering.finish();
        assert_eq!(to_bob.stats().late_replies, 0);
        assert_eq!(to_bob.close(), Ok(()));
    });
}

#[test]
fn both_sides_ask_at_once() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = numbers();
        let _serving = (serve(&to_alice), serve(&to_bob));
        let asking = [to_bob.clone(), to_alice.clone()].map(|conn| {
            Call::start("asking", move || {
                (0..campaign(2000) as u64)
                    .all(|number| conn.request(&number, PATIENT) == Ok(number + 1))
            })
        });
        asking
            .into_iter()
            .for_each(|asking| assert!(asking.finish_within(PATIENT)));
        assert_eq!(to_bob.close(), Ok(()));
    });
}

/// The thread that asks meets them in the socket; they are for whoever receives, in order.
#[test]
fn messages_go_on_beside_requests() {
    test(|| {
        let count = campaign(1000) as u64;
        let (_alice, _bob, to_bob, to_alice) = numbers();
        let answering = {
            let to_alice = to_alice.clone();
            thread::spawn(move || {
                let mut next = 0..;
                for request in to_alice.requests() {
                    for number in next.by_ref().take((request.item() % 4) as usize) {
                        to_alice.send(&number).unwrap();
                    }
                    let _ = request.reply(&(request.item() + 1));
                }
                next.start
            })
        };
        let receiving = {
            let to_bob = to_bob.clone();
            Call::start("recv", move || to_bob.iter().collect::<Vec<_>>())
        };
        for number in 0..count {
            assert_eq!(to_bob.request(&number, PATIENT), Ok(number + 1));
            to_bob.send(&number).unwrap();
        }
        assert_eq!(to_bob.close(), Ok(()));
        let sent = answering.join().unwrap();
        assert_eq!(receiving.finish(), (0..sent).collect::<Vec<_>>());
        assert_eq!(
            to_alice.iter().collect::<Vec<_>>(),
            (0..count).collect::<Vec<_>>()
        );
    });
}

#[test]
fn messages_that_a_request_meets_wait_for_recv() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = numbers();
        let requests = to_alice.requests();
        for by_channel in [false, true] {
            let asking = ask(&to_bob, 1);
            let request = requests.recv_timeout(SOON).unwrap();
            for number in 0..100 {
                to_alice.send(&number).unwrap();
            }
            request.reply(&2).unwrap();
            assert_eq!(asking.finish(), Ok(2));
            for number in 0..100 {
                let received = match by_channel {
                    false => to_bob.recv().ok(),
                    true => to_bob.receiver().recv_timeout(SOON).ok(),
                };
                assert_eq!(received, Some(number));
            }
        }
    });
}

#[test]
fn a_timeout_frees_its_place_and_a_late_reply_is_counted() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) =
            pair_of::<Numbers>(builder().max_requests(1), builder());
        let requests = to_alice.requests();
        for time in [1, 5, 30] {
            let time = Duration::from_millis(time);
            let begin = Instant::now();
            assert_eq!(to_bob.request(&0, time), Err(RequestError::TimedOut));
            assert!(begin.elapsed() >= time);
        }
        let zero = to_bob.request(&0, Duration::ZERO);
        assert_eq!(zero, Err(RequestError::TimedOut));
        let late: Vec<_> = requests.clone().take(4).collect();
        let asking = ask(&to_bob, 5);
        asking.wait_until_blocked();
        assert_eq!(to_bob.request(&6, PATIENT), Err(RequestError::Full));
        let request = requests.recv_timeout(SOON).unwrap();
        for late in &late {
            late.reply(&9).unwrap();
        }
        request.reply(&6).unwrap();
        assert_eq!(asking.finish(), Ok(6));
        assert_eq!(to_bob.stats().late_replies, 4);
        // A dropped one that is late is counted as well.
        let short = Duration::from_millis(1);
        assert_eq!(to_bob.request(&0, short), Err(RequestError::TimedOut));
        drop(requests.recv_timeout(SOON).unwrap());
        eventually("it is counted", || to_bob.stats().late_replies == 5);
        assert_eq!(to_bob.close(), Ok(()));
    });
}

#[test]
fn what_is_too_much_for_the_other_side_fails_at_once() {
    test(|| {
        let bob = builder().max_requests(2).receive_queue_bytes(1000);
        let (_alice, _bob, to_bob, to_alice) = pair_of::<Bytes>(builder(), bob);
        let requests = to_alice.requests();
        let ask = |size: usize| {
            let to_bob = to_bob.clone();
            Call::start("request", move || to_bob.request(&vec![7; size], PATIENT))
        };
        let first = ask(5000);
        let request = requests.recv_timeout(SOON).unwrap();
        assert_eq!(
            to_bob.request(&[], PATIENT),
            Err(RequestError::Busy),
            "bytes"
        );
        request.reply("first").unwrap();
        assert_eq!(first.finish(), Ok(b"first".to_vec()));
        drop(request);
        let held: Vec<_> = [ask(1), ask(1)].into();
        let requests: Vec<_> = requests.take(2).collect();
        assert_eq!(
            to_bob.request(&[], PATIENT),
            Err(RequestError::Busy),
            "number"
        );
        drop(requests);
        for held in held {
            assert_eq!(held.finish(), Err(RequestError::Unanswered));
        }
        assert_eq!(to_bob.close(), Ok(()));
    });
}

/// As messages do.
#[test]
fn requests_and_replies_wait_for_room_in_the_queue() {
    const SIZE: usize = 60_000;
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        let requests = to_alice.requests();
        let sent = fill(&to_bob, 0, SIZE);
        let asking = {
            let conn = to_bob.clone();
            Call::start("request", move || conn.request(&[1; SIZE], PATIENT))
        };
        asking.wait_until_blocked();
        take(&to_alice, 0, sent);
        let request = requests
            .recv_timeout(PATIENT)
            .expect("it comes behind them");
        let sent = fill(&to_alice, 0, SIZE);
        let replying = Call::start("reply", move || request.reply(&[2; SIZE]));
        replying.wait_until_blocked();
        take(&to_bob, 0, sent);
        assert_eq!(replying.finish(), Ok(()));
        assert_eq!(asking.finish(), Ok(vec![2; SIZE]));
        assert_eq!(to_bob.close(), Ok(()));
    });
}

type End = fn(Peer, Peer, &Connection<Numbers>, Connection<Numbers>);

/// Whatever ends the connection ends the waits, at once and with its reason.
#[test]
fn the_end_fails_those_that_wait() {
    use CloseReason::{Aborted, ClosedHere, ClosedThere, PeerDropped, Reset, Stopped};
    let ends: [(End, CloseReason); 8] = [
        (|_, _, to_bob, _| drop(to_bob.close()), ClosedHere),
        (|_, _, to_bob, _| to_bob.abort(), Aborted),
        (|alice, _, _, _| alice.stop(), Stopped),
        (|alice, _, _, _| drop(alice), PeerDropped),
        (|_, _, _, to_alice| drop(to_alice.close()), ClosedThere),
        (|_, _, _, to_alice| to_alice.abort(), Reset),
        (|_, bob, _, _| bob.stop(), ClosedThere),
        (|_, bob, _, _| drop(bob), ClosedThere),
    ];
    for (number, (end, reason)) in ends.into_iter().enumerate() {
        for count in [1, 8] {
            let reason = reason.clone();
            test(move || {
                let (alice, bob, to_bob, to_alice) = numbers();
                let requests = to_alice.requests();
                let asking: Vec<_> = (0..count).map(|n| ask(&to_bob, n)).collect();
                let held: Vec<_> = requests.clone().take(count as usize).collect();
                asking.iter().for_each(Call::wait_until_blocked);
                let serving = Call::start("requests", move || requests.count());
                serving.wait_until_blocked();
                let kept = to_alice.clone();
                end(alice, bob, &to_bob, to_alice);
                for asking in asking {
                    let closed = RequestError::Closed(reason.clone());
                    assert_eq!(asking.finish(), Err(closed), "{number}");
                }
                assert_eq!(serving.finish(), 0);
                for request in &held {
                    assert!(matches!(request.reply(&1), Err(SendError::Closed(_))));
                }
                let closed = RequestError::Closed(reason);
                assert_eq!(to_bob.request(&1, PATIENT), Err(closed));
                assert_eq!(kept.requests().count(), 0);
            });
        }
    }
}

/// Both kinds of servers.
#[test]
fn a_request_that_is_dropped_or_panicked_over_fails_at_once() {
    fn act(request: Request<Numbers>) {
        match request.item() {
            0 => drop(request),
            1 => panic!("as planned"),
            n => request.reply(n).unwrap(),
        }
    }
    test(|| {
        let (alice, bob) = (peer(), peer());
        let taking = {
            let bob = bob.clone();
            Call::start("accept", move || {
                let offer = bob.offers().recv().unwrap();
                offer.accept_serving(act).unwrap()
            })
        };
        let by_reader = alice.connect::<Numbers>(bob.local_addr()).unwrap();
        let _served = taking.finish();
        let (by_thread, to_alice) = link::<Numbers>(&alice, &bob);
        let requests = to_alice.requests();
        let _threads = thread::spawn(move || {
            for request in requests {
                let _ = thread::spawn(move || act(request)).join();
            }
        });
        for conn in [by_reader, by_thread] {
            for _ in 0..3 {
                assert_eq!(conn.request(&0, PATIENT), Err(RequestError::Unanswered));
                assert_eq!(conn.request(&1, PATIENT), Err(RequestError::Panicked));
                assert_eq!(conn.request(&2, PATIENT), Ok(2), "it goes on");
            }
            assert_eq!(conn.close(), Ok(()));
        }
    });
}

#[test]
fn a_request_is_answered_once() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        let asking = {
            let to_bob = to_bob.clone();
            Call::start("request", move || to_bob.request("?", PATIENT))
        };
        let request = to_alice.requests().recv_timeout(SOON).unwrap();
        assert_eq!(request.item(), b"?");
        let large = vec![0; 65 << 20];
        let refused = request.reply(&large);
        assert!(matches!(refused, Err(SendError::TooLarge { .. })));
        request.reply("first").unwrap();
        assert_eq!(request.reply("second"), Err(SendError::Answered));
        drop(request);
        assert_eq!(asking.finish(), Ok(b"first".to_vec()));
        assert_eq!(to_bob.stats().late_replies, 0);
        assert!(matches!(
            to_bob.request(&large, PATIENT),
            Err(RequestError::Send(SendError::TooLarge { .. }))
        ));
        assert_eq!(to_bob.close(), Ok(()));
        assert_eq!(to_bob.stats().late_replies, 0);
    });
}

/// What comes in the first moment waits for a program that is about to ask for it.
#[test]
fn early_requests_wait_a_moment_and_no_longer() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = numbers();
        let asking = ask(&to_bob, 1);
        asking.wait_until_blocked();
        let _serving = serve(&to_alice);
        assert_eq!(asking.finish(), Ok(2));

        let (_alice, _bob, to_bob, to_alice) = numbers();
        let asking: Vec<_> = (0..3).map(|number| ask(&to_bob, number)).collect();
        for asking in asking {
            assert_eq!(asking.finish(), Err(RequestError::NotServed));
        }
        // By now it is known that nobody takes requests.
        let begin = Instant::now();
        for _ in 0..100 {
            assert_eq!(to_bob.request(&1, PATIENT), Err(RequestError::NotServed));
        }
        assert!(begin.elapsed() < SOON);
        // Messages go on, and later it serves.
        to_bob.send(&7).unwrap();
        assert_eq!(to_alice.recv_timeout(SOON), Ok(7));
        let _serving = serve(&to_alice);
        assert_eq!(to_bob.request(&1, PATIENT), Ok(2));
        assert_eq!(to_bob.close(), Ok(()));
    });
}

#[test]
fn types_that_do_not_agree_fail_one_request_alone() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let options = ConnectOptions::new();
        let (to_bob, to_alice) =
            link_as::<Json<String, String>, Json<u64, u64>>(&options, &alice, &bob);
        let requests = to_alice.requests();
        match to_bob.request("no number", PATIENT) {
            Err(RequestError::Refused(why)) => assert!(why.contains("invalid type"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert!(requests.is_empty());

        let (to_bob, to_alice) =
            link_as::<Json<u64, String>, Json<u64, u64>>(&options, &alice, &bob);
        let _serving = serve_any(&to_alice);
        assert!(matches!(
            to_bob.request(&1, PATIENT),
            Err(RequestError::Decode(_))
        ));
        assert_eq!(to_bob.close_reason(), None);
        let error: Error = to_bob.request(&1, PATIENT).unwrap_err().into();
        assert!(matches!(error, Error::Request(RequestError::Decode(_))));
        assert_eq!(to_bob.close(), Ok(()));
    });
}

fn serve_any(conn: &Connection<Json<u64, u64>>) -> thread::JoinHandle<u64> {
    serve(conn)
}

#[test]
fn every_format_and_size() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (to_bob, to_alice) = link::<Raw<Vec<String>>>(&alice, &bob);
        let requests = to_alice.requests();
        let _raw = thread::spawn(move || {
            for request in requests {
                let reversed: Vec<_> = request.item().iter().rev().cloned().collect();
                request.reply(&reversed).unwrap();
            }
        });
        let words = ["a", "b"].map(str::to_owned);
        let reply = to_bob.request(&words[..], PATIENT).unwrap();
        assert_eq!(reply, ["b", "a"]);

        let (to_bob, to_alice) = link::<Bytes>(&alice, &bob);
        let requests = to_alice.requests();
        let _bytes = thread::spawn(move || {
            for request in requests {
                request.reply(request.item()).unwrap();
            }
        });
        for size in [0, 1, 127, 128, 16_600, 65_536, 300_000, 5 << 20] {
            let sent = numbered(size as u64, size.max(8));
            assert_eq!(
                to_bob.request(&sent[..size], PATIENT).as_deref(),
                Ok(&sent[..size])
            );
        }
        assert_eq!(to_bob.close(), Ok(()));

        let options = ConnectOptions::new().data_type(DataType::Json);
        let (to_bob, to_alice) = link_as::<Dynamic, Dynamic>(&options, &alice, &bob);
        let requests = to_alice.requests();
        let _dynamic = thread::spawn(move || {
            for request in requests {
                assert_eq!(request.item().decode::<u64>().unwrap(), 7);
                request.reply(&Message::bytes(*b"bytes")).unwrap();
            }
        });
        let reply = to_bob
            .request(&Message::json(&7).unwrap(), PATIENT)
            .unwrap();
        assert_eq!(reply, Message::bytes(*b"bytes"));
    });
}

#[test]
fn where_there_are_no_frames_or_a_stream_it_says_so() {
    test(|| {
        let (alice, old) = (peer(), bind(builder().text_headers(true)));
        let (to_old, from_alice) = link::<Numbers>(&alice, &old);
        let (stream, _at_bob) = {
            let options = ConnectOptions::new().stream_of(4);
            link_as::<Bytes, Bytes>(&options, &alice, &peer_kept())
        };
        for asked in [
            to_old.request(&1, PATIENT),
            from_alice.request(&1, PATIENT),
            stream.request("1234", PATIENT).map(|_| 0),
        ] {
            assert_eq!(asked, Err(RequestError::Unsupported));
        }
        to_old.send(&1).unwrap();
        assert_eq!(from_alice.recv_timeout(SOON), Ok(1));
        let requests = from_alice.requests();
        to_old.close().unwrap();
        assert_eq!(requests.count(), 0);
    });
}

/// For as long as the test runs.
fn peer_kept() -> Peer {
    let peer = peer();
    std::mem::forget(peer.clone());
    peer
}

#[test]
fn a_handler_cannot_wait_for_itself() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (tell, told) = unbounded();
        let taking = {
            let (bob, tell) = (bob.clone(), tell.clone());
            Call::start("accept", move || {
                let offer = bob.offers().recv().unwrap();
                let handler = move |conn: &Connection<Numbers>, item| {
                    tell.send(conn.request(&item, PATIENT)).unwrap();
                };
                offer.accept_with(handler).unwrap()
            })
        };
        let to_bob = alice.connect::<Numbers>(bob.local_addr()).unwrap();
        let handled = taking.finish();
        to_bob.send(&1).unwrap();
        let said = told.recv_timeout(SOON).unwrap();
        assert_eq!(said, Err(RequestError::WaitsForItself));
        // From elsewhere it may ask, and it may be asked.
        let _serving = (serve(&to_bob), serve(&handled));
        assert_eq!(handled.request(&1, PATIENT), Ok(2));
        assert_eq!(to_bob.request(&1, PATIENT), Ok(2));
        assert_eq!(to_bob.close(), Ok(()));

        let (give, given) = bounded::<Connection<Numbers>>(1);
        let taking = {
            let bob = bob.clone();
            Call::start("accept", move || {
                let offer = bob.offers().recv().unwrap();
                let serve = move |request: Request<Numbers>| {
                    let conn = given.recv().unwrap();
                    tell.send(conn.request(&1, PATIENT)).unwrap();
                    assert!(conn.recv().is_err());
                    assert_eq!(conn.close(), Err(CloseError::Timeout));
                    drop(request);
                };
                offer.accept_serving(serve).unwrap()
            })
        };
        let to_bob = alice.connect::<Numbers>(bob.local_addr()).unwrap();
        give.send(taking.finish()).unwrap();
        let asked = to_bob.request(&1, PATIENT);
        assert_eq!(
            told.recv_timeout(SOON).unwrap(),
            Err(RequestError::WaitsForItself)
        );
        let closed = RequestError::Closed(CloseReason::ClosedThere);
        assert_eq!(asked, Err(closed));
        assert_eq!(ended(&to_bob), CloseReason::ClosedThere);
    });
}

/// A server without a handle that receives takes no messages, and says so.
#[test]
fn a_message_that_nobody_can_receive_ends_a_server() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (to_bob, served) = serving(&alice, &bob);
        to_bob.send(&7).unwrap();
        assert_eq!(served.recv_timeout(SOON), Ok(7));
        drop(served);
        assert_eq!(to_bob.request(&1, PATIENT), Ok(2));
        to_bob.send(&8).unwrap();
        assert_eq!(ended(&to_bob), CloseReason::Reset);
    });
}

#[test]
fn requests_are_a_channel_too() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = numbers();
        let requests = to_alice.requests();
        let asking = ask(&to_bob, 1);
        select! {
            recv(requests) -> request => request.unwrap().reply(&2).unwrap(),
            recv(to_alice.receiver()) -> _ => panic!("a message"),
            default(SOON) => panic!("nothing"),
        }
        assert_eq!(asking.finish(), Ok(2));
        // Several share them.
        let threads: Vec<_> = [(); 3].map(|()| serve(&to_alice)).into();
        for number in 0..300 {
            assert_eq!(to_bob.request(&number, PATIENT), Ok(number + 1));
        }
        drop((requests, to_alice));
        let served = threads.into_iter().map(|thread| thread.join().unwrap());
        assert_eq!(served.sum::<u64>(), 300);
    });
}

// A remote that is no lanpeer.

/// A socket that has made a connection of `bytes` with frames.
fn remote(bob: &Peer) -> (TcpStream, Connection<Bytes>) {
    let mut socket = TcpStream::connect(bob.local_addr()).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let own = socket.local_addr().unwrap();
    let hello = format!("HELLO|peer_name={own}&data_type=bytes&strict=1&v=2&who=1");
    for header in [hello, "WHO|id=1".to_owned()] {
        socket
            .write_all(format!("{header:|<128}").as_bytes())
            .unwrap();
    }
    let conn = bob.offers().recv_timeout(SOON).unwrap().accept().unwrap();
    let mut answer = [0; 2 * 128];
    socket.read_exact(&mut answer).unwrap();
    assert!(answer.starts_with(b"ACCEPT|"));
    (socket, conn)
}

/// This peer's answer to a request is small, and what waits for a remote that does not read is bounded.
#[test]
fn a_flood_of_requests_that_nobody_answers_is_bounded() {
    const BLOCKS: usize = 400;
    alone(
        "requests::a_flood_of_requests_that_nobody_answers_is_bounded",
        || {
            let bob = bind(secretless().max_requests(10));
            let (mut socket, conn) = remote(&bob);
            let requests = conn.requests();
            let reading = socket.try_clone().unwrap();
            let (before, blocks) = (memory(), campaign(BLOCKS));
            // Requests of no bytes, with ids from 0 to 63, again and again.
            let block: Vec<u8> = (0..4096)
                .flat_map(|n: u32| [0xf1, 2, 0, (n % 64) as u8])
                .collect();
            for _ in 0..blocks {
                socket.write_all(&block).unwrap();
            }
            let grown = memory().saturating_sub(before);
            // A pointer for each would be more.
            assert!(grown < 12 << 20, "{grown} bytes");
            eventually("they have come", || {
                conn.stats().messages_received == blocks as u64 * 4096
            });
            assert_eq!(requests.len(), 10);
            assert!(conn.stats().send_queue_bytes <= 3 << 20);
            assert_eq!(conn.close_reason(), None);
            drop(reading);
        },
    );
}

fn secretless() -> lanpeer::PeerBuilder {
    let builder = Peer::builder()
        .invisible(true)
        .timeout(SOON)
        .close_timeout(SOON);
    // Elsewhere the bare socket would read heartbeats as well.
    match cfg!(any(target_os = "linux", target_os = "android")) {
        true => builder,
        false => builder.keepalive(None),
    }
}

#[test]
fn replies_to_nothing_are_counted_and_dropped() {
    test(|| {
        let bob = bind(secretless());
        let (mut socket, conn) = remote(&bob);
        let mut block = Vec::new();
        for n in 0..1000u32 {
            // A reply of 3 bytes, and a failure with words.
            block.extend([0xf2, 5, 0, (n % 100) as u8, 1, 2, 3]);
            block.extend([0xf3, 4, (n % 100) as u8, 99, b'n', b'o']);
        }
        block.extend([2, 7, 8]); // a message
        for _ in 0..100 {
            socket.write_all(&block).unwrap();
            assert_eq!(conn.recv_timeout(SOON).unwrap(), [7, 8]);
        }
        assert_eq!(conn.stats().late_replies, 200_000);

        // In between, an answer to a real one, by a code that a later version may know.
        let asking = {
            let conn = conn.clone();
            Call::start("request", move || conn.request("?", PATIENT))
        };
        let mut request = [0; 5];
        socket.read_exact(&mut request).unwrap();
        assert_eq!(request, [0xf1, 3, 0, 0, b'?']);
        socket.write_all(&[0xf3, 2, 0, 77]).unwrap();
        assert_eq!(asking.finish(), Err(RequestError::Unanswered));
    });
}

/// It reads on with a deadline, from the socket, and a reply may come in pieces.
#[test]
fn a_reply_in_pieces_is_taken_whole_or_not_at_all() {
    test(|| {
        let bob = bind(secretless());
        let (mut socket, conn) = remote(&bob);
        for (round, size) in [(0, 100usize), (1, 100), (2, 200_000), (3, 100)] {
            let patient = round != 1;
            let asking = {
                let conn = conn.clone();
                let time = if patient {
                    PATIENT
                } else {
                    Duration::from_millis(50)
                };
                Call::start("request", move || conn.request("?", time))
            };
            let mut request = [0; 5];
            socket.read_exact(&mut request).unwrap();
            assert_eq!(request, [0xf1, 3, 0, round, b'?']);
            let payload = vec![round; size];
            let length = size + 2;
            let mut reply = vec![0xf2];
            match length {
                0..128 => reply.push(length as u8),
                _ => {
                    let rest = (length - 16_512) as u32;
                    reply.extend([0xc0 | (rest >> 16) as u8, (rest >> 8) as u8, rest as u8]);
                }
            }
            reply.extend([0, round]);
            reply.extend(&payload);
            let (first, rest) = reply.split_at(reply.len() / 2);
            socket.write_all(first).unwrap();
            match patient {
                true => {
                    asking.wait_until_blocked();
                    socket.write_all(rest).unwrap();
                    assert_eq!(asking.finish(), Ok(payload));
                }
                false => {
                    assert_eq!(asking.finish(), Err(RequestError::TimedOut));
                    socket.write_all(rest).unwrap();
                    eventually("it is counted", || conn.stats().late_replies == 1);
                }
            }
        }
    });
}

/// A thread that polls for messages meets replies, and a reader of deadlines too.
#[test]
fn replies_reach_their_thread_whoever_reads() {
    test(|| {
        let all = campaign(3000) as u64;
        let (_alice, _bob, to_bob, to_alice) = pair::<Bytes>();
        let requests = to_alice.requests();
        let serving = thread::spawn(move || {
            for request in requests {
                let _ = request.reply(request.item());
                let _ = to_alice.send(request.item());
            }
        });
        let receiving: Vec<_> = (0..3)
            .map(|how| {
                let conn = to_bob.clone();
                Call::start("receive", move || {
                    let mut count = 0;
                    while conn.close_reason().is_none() {
                        count += u64::from(match how {
                            0 => conn.try_recv().is_ok(),
                            1 => conn.recv_timeout(Duration::from_micros(100)).is_ok(),
                            _ => conn.recv().is_ok(),
                        });
                    }
                    count + conn.try_iter().count() as u64
                })
            })
            .collect();
        for number in 0..all {
            let sent = numbered(number, 16);
            assert_eq!(to_bob.request(&sent, PATIENT), Ok(sent));
        }
        assert_eq!(to_bob.close(), Ok(()));
        serving.join().unwrap();
        let counts = receiving.into_iter().map(Call::finish);
        assert_eq!(counts.sum::<u64>(), all);
    });
}
