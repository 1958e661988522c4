//! Items whose drop is the program's code, and panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use lanpeer::{CloseReason, Connection, Json, Peer};
use serde::{Deserialize, Deserializer, Serialize};

use crate::peers::*;

static DROPPED: AtomicUsize = AtomicUsize::new(0);

/// Panics each time.
struct Fragile;

impl Drop for Fragile {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::SeqCst);
        panic!("a drop of an item");
    }
}

impl Serialize for Fragile {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for Fragile {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Fragile, D::Error> {
        u8::deserialize(from).map(|_| Fragile)
    }
}

/// Alice sends numbers to Bob, for whom they are fragile; `count` wait there.
fn waiting(count: usize) -> (Peer, Peer, Connection<Json<u8>>, Connection<Json<Fragile>>) {
    let (alice, bob) = (peer(), peer());
    let options = lanpeer::ConnectOptions::new();
    let (to_bob, to_alice) = link_as::<Json<u8>, Json<Fragile>>(&options, &alice, &bob);
    for _ in 0..count {
        to_bob.send(&1).unwrap();
    }
    eventually("all wait", || {
        to_alice.stats().receive_queue_messages == count
    });
    (alice, bob, to_bob, to_alice)
}

/// Both sides see the end, nobody is left with half a connection, and both peers go on.
fn ends(alice: Peer, bob: Peer, to_bob: &Connection<Json<u8>>) {
    eventually("Alice sees the end", || to_bob.close_reason().is_some());
    assert_ne!(to_bob.close_reason(), Some(CloseReason::ClosedThere));
    eventually("Bob has none", || bob.connections().is_empty());
    eventually("Alice has none", || alice.connections().is_empty());
    let (again, from_alice) = link::<Json<u8>>(&alice, &bob);
    again.send(&7).unwrap();
    assert_eq!(from_alice.recv_timeout(SOON), Ok(7));
    within("stop", SOON, move || {
        alice.stop();
        bob.stop();
    });
}

/// Those that wait when the last handle goes: one, or several, of which the second would panic while
/// the first one unwinds. In a process of its own, which that would end.
#[test]
fn dropping_what_waits() {
    alone("drops::dropping_what_waits", || {
        for count in [1, 2, 50] {
            let (alice, bob, to_bob, to_alice) = waiting(count);
            let before = DROPPED.load(Ordering::SeqCst);
            let _ = catch_unwind(AssertUnwindSafe(|| drop(to_alice)));
            ends(alice, bob, &to_bob);
            assert_eq!(DROPPED.load(Ordering::SeqCst) - before, count);
        }
    });
}

#[test]
fn dropping_what_waits_while_the_thread_panics() {
    alone("drops::dropping_what_waits_while_the_thread_panics", || {
        let (alice, bob, to_bob, to_alice) = waiting(3);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _to_alice = to_alice;
            panic!("the program's own");
        }));
        let text = panicked.unwrap_err();
        assert_eq!(text.downcast_ref(), Some(&"the program's own"));
        ends(alice, bob, &to_bob);
    });
}

#[test]
fn dropping_what_waits_in_the_channel() {
    alone("drops::dropping_what_waits_in_the_channel", || {
        for count in [1, 2, 50] {
            let (alice, bob, to_bob, to_alice) = waiting(count);
            assert_eq!(to_alice.receiver().len(), count);
            let _ = catch_unwind(AssertUnwindSafe(|| drop(to_alice)));
            ends(alice, bob, &to_bob);
        }
    });
}

/// Dropped by the reader thread, for which nobody receives any more.
#[test]
fn dropping_what_comes_later() {
    alone("drops::dropping_what_comes_later", || {
        for as_channel in [false, true] {
            let (alice, bob, to_bob, to_alice) = waiting(0);
            if as_channel {
                to_alice.receiver();
            }
            let sending = Call::start("send", {
                let to_bob = to_bob.clone();
                move || while to_bob.send(&1).is_ok() {}
            });
            eventually("one is sent", || to_bob.stats().messages_sent > 0);
            let _ = catch_unwind(AssertUnwindSafe(|| drop(to_alice)));
            sending.finish();
            ends(alice, bob, &to_bob);
        }
    });
}

/// In the handler: its connection ends with a word of that.
#[test]
fn dropping_what_a_handler_was_given() {
    alone("drops::dropping_what_a_handler_was_given", || {
        let (alice, bob) = (peer(), peer());
        let offers = bob.incoming();
        let accepting = Call::start("accept", move || {
            let offer = offers.into_iter().next().unwrap();
            offer.accept_with::<Json<Fragile>>(|_, _| ()).unwrap()
        });
        let to_bob = alice.connect::<Json<u8>>(bob.local_addr()).unwrap();
        let to_alice = accepting.finish();
        to_bob.send(&1).unwrap();
        eventually("the end", || to_alice.close_reason().is_some());
        assert_eq!(
            to_alice.close_reason(),
            Some(CloseReason::HandlerPanicked("a drop of an item".into()))
        );
        ends(alice, bob, &to_bob);
    });
}
