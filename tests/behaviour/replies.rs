//! Replies that go wrong, and the places of requests.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use lanpeer::{Bytes, CloseError, Connection, Json, Peer, Request, RequestError, SendError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::peers::*;

const PATIENT: Duration = Duration::from_secs(60);

/// A number of which 13 cannot be written and 14 cannot be read.
#[derive(Debug, PartialEq)]
struct Moody(u32);

impl Serialize for Moody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert_ne!(self.0, 13, "13 is not sent");
        serializer.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for Moody {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Moody, D::Error> {
        let number = u32::deserialize(from)?;
        assert_ne!(number, 14, "14 is not taken");
        Ok(Moody(number))
    }
}

type Ends<F> = (Peer, Peer, Connection<F>, Connection<F>);

/// Bob answers each request with the number that it has, on his reader thread.
fn echoing() -> Ends<Json<Moody>> {
    let (alice, bob) = (peer(), peer());
    let accepting = {
        let bob = bob.clone();
        Call::start("accept", move || {
            let offer = bob.offers().recv().expect("an offer");
            let echo = |request: Request<Json<Moody>>| drop(request.reply(request.item()));
            offer.accept_serving::<Json<Moody>>(echo).expect("accepted")
        })
    };
    let to_bob = alice.connect::<Json<Moody>>(bob.local_addr()).unwrap();
    (alice, bob, to_bob, accepting.finish())
}

/// It fails the request, and ends nothing: neither the connection nor what serves it.
#[test]
fn a_request_whose_deserialize_panics_fails_alone() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = echoing();
        for _ in 0..3 {
            let panicked = to_bob.request(&Moody(14), PATIENT);
            assert_eq!(panicked, Err(RequestError::Panicked));
            assert_eq!(to_bob.request(&Moody(1), PATIENT), Ok(Moody(1)));
        }
        assert_eq!(to_alice.close_reason(), None);
        assert_eq!(to_bob.close(), Ok(()));
    });
}

#[test]
fn a_reply_whose_serialize_panics_fails_at_once_and_another_one_can_be_sent() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair::<Json<Moody>>();
        let requests = to_alice.requests();
        let asking = {
            let to_bob = to_bob.clone();
            Call::start("request", move || to_bob.request(&Moody(1), PATIENT))
        };
        let request = requests.recv_timeout(PATIENT).expect("a request");
        let replying = thread::spawn(move || {
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                request.reply(&Moody(13))
            }));
            assert!(panic.is_err());
            request
        });
        let request = replying.join().expect("the panic was caught");
        assert_eq!(request.reply(&Moody(2)), Ok(()));
        assert_eq!(request.reply(&Moody(3)), Err(SendError::Answered));
        assert_eq!(asking.finish(), Ok(Moody(2)));
        let asking = {
            let to_bob = to_bob.clone();
            Call::start("request", move || to_bob.request(&Moody(1), PATIENT))
        };
        let request = requests.recv_timeout(PATIENT).expect("a request");
        thread::spawn(move || request.reply(&Moody(13)))
            .join()
            .expect_err("it panics");
        assert_eq!(asking.finish(), Err(RequestError::Panicked));
        assert_eq!(to_bob.close(), Ok(()));
    });
}

/// A request that has its answer makes room for the next, whatever the program still does with it.
#[test]
fn an_answered_request_has_no_place_any_more() {
    test(|| {
        let (alice, bob) = (peer(), bind(builder().max_requests(1)));
        let (to_bob, to_alice) = link::<Json<u32>>(&alice, &bob);
        let requests = to_alice.requests();
        let serving = thread::spawn(move || {
            let kept = requests.inspect(|request| {
                request.reply(request.item()).expect("a reply");
            });
            kept.collect::<Vec<_>>().len()
        });
        for number in 0..100 {
            assert_eq!(to_bob.request(&number, PATIENT), Ok(number));
        }
        assert_eq!(to_bob.close(), Ok(()));
        assert_eq!(serving.join().unwrap(), 100);
    });
}

/// A message that fills the queue, and that nobody takes, does not hold up the reply behind which it came.
#[test]
fn a_reply_comes_in_time_beside_a_queue_that_is_full() {
    test(|| {
        let (alice, bob) = (peer(), bind(builder().receive_queue(1)));
        let (to_bob, to_alice) = link::<Json<u32>>(&alice, &bob);
        let serving = {
            let requests = to_bob.requests();
            thread::spawn(move || {
                for request in requests {
                    if *request.item() == 1 {
                        to_bob.send(&7).expect("there is room");
                    }
                    request.reply(&1).expect("a reply");
                }
            })
        };
        for number in 0..5 {
            assert_eq!(to_alice.request(&number, PATIENT), Ok(1), "{number}");
        }
        assert_eq!(to_alice.recv_timeout(SOON), Ok(7));
        assert_eq!(to_alice.close(), Ok(()));
        serving.join().unwrap();
    });
}

/// In text: whoever only sent what a newer one may replace has sent something, and a reset may have taken it.
#[test]
fn a_newest_value_that_nobody_took_is_never_told_to_be_delivered() {
    test(|| {
        let bob = bind(builder().text_headers(true));
        let mut alice = TcpStream::connect(bob.local_addr()).unwrap();
        let hello = "HELLO|peer_name=127.0.0.1:9&data_type=bytes&strict=1&v=1";
        alice
            .write_all(format!("{hello:|<128}").as_bytes())
            .unwrap();
        let to_alice = bob.accept::<Bytes>().unwrap();
        alice.read_exact(&mut [0; 128]).unwrap();
        // More than the system takes.
        to_alice.send_latest(&vec![7; 8 << 20]).unwrap();
        alice.shutdown(Shutdown::Write).unwrap();
        assert!(to_alice.recv_timeout(SOON).is_err(), "she has ended");
        let closing = {
            let to_alice = to_alice.clone();
            Call::start("close", move || to_alice.close())
        };
        closing.wait_until_blocked();
        drop(alice); // with what she has not read: a reset
        let closed = closing.finish();
        assert!(
            matches!(closed, Err(CloseError::Incomplete(_))),
            "{closed:?}"
        );
    });
}
