//! Connections that are kept, and what becomes of them when what they were proved with is withdrawn.

use std::time::{Duration, Instant};

use lanpeer::{Bytes, CloseReason, Connection, Event, KeepConnected, Peer, Secret};

use crate::common::{builder, ended, receive, spawn};
use crate::identity::known;
use crate::{DEADLINE, bind};

/// The next one that comes up.
#[track_caller]
fn up(kept: &KeepConnected<Bytes>) -> Connection<Bytes> {
    let next = kept.receiver().recv_timeout(DEADLINE);
    next.expect("a connection")
}

/// Both ends of the next one.
#[track_caller]
fn both(kept: &KeepConnected<Bytes>, bob: &Peer) -> (Connection<Bytes>, Connection<Bytes>) {
    let from_alice = bob.accept_timeout::<Bytes>(DEADLINE).expect("an offer");
    (up(kept), from_alice)
}

fn talk(one: &Connection<Bytes>, other: &Connection<Bytes>) {
    for (from, to) in [(one, other), (other, one)] {
        from.send(b"hello").expect("sent");
        assert_eq!(receive(to), b"hello");
    }
}

/// So many attempts since this moment were refused with pauses that begin at a second and double: by chance
/// each is up to a quarter shorter. However slow the machine, they do not come earlier.
#[track_caller]
fn was_slow(since: Instant, attempts: u32) {
    let least = (1..attempts).map(|n| Duration::from_millis(750) * (1 << (n - 1)));
    let (least, took) = (least.sum::<Duration>(), since.elapsed());
    println!("{attempts} attempts within {took:?}, at least {least:?}");
    assert!(took >= least, "{attempts} attempts within {took:?}");
}

/// Waits for so many denials with this word.
#[track_caller]
fn denials(bob: &Peer, count: u32, word: &str) {
    let mut seen = 0;
    while seen < count {
        let event = bob.events().recv_timeout(DEADLINE).expect("an event");
        match event {
            Event::Denied { reason, .. } => {
                assert_eq!(reason, word);
                seen += 1;
            }
            Event::Connected { .. } => panic!("connected, after {seen} denials"),
            _ => {}
        }
    }
}

fn drain(peer: &Peer) {
    peer.events().try_iter().for_each(drop);
}

#[test]
fn a_key_that_is_withdrawn_and_allowed_again() {
    let ((alice, alices), (bob, _)) = (known(), known());
    let (alice, bob) = (bind(alice), bind(bob.allow([alices])));
    let kept = alice.keep_connected::<Bytes>(bob.local_addr());
    let (to_bob, from_alice) = both(&kept, &bob);
    talk(&to_bob, &from_alice);
    drain(&bob);
    let begin = Instant::now();
    bob.allow([]).expect("it has a secret");
    assert_eq!(from_alice.close_reason(), Some(CloseReason::Revoked));
    assert!(!ended(&to_bob).is_normal());
    denials(&bob, 3, "key");
    was_slow(begin, 3);
    assert!(bob.offers().is_empty() && kept.receiver().is_empty());
    let begin = Instant::now();
    bob.allow([alices]).expect("it has a secret");
    let (to_bob, from_alice) = both(&kept, &bob);
    talk(&to_bob, &from_alice);
    println!("back {:?} after the key was allowed", begin.elapsed());
}

#[test]
fn a_key_that_the_side_that_keeps_withdraws() {
    let ((alice, _), (bob, bobs)) = (known(), known());
    let (alice, bob) = (bind(alice.allow([bobs])), bind(bob));
    let kept = alice.keep_connected::<Bytes>(bob.local_addr());
    let (to_bob, from_alice) = both(&kept, &bob);
    talk(&to_bob, &from_alice);
    let begin = Instant::now();
    alice.allow([]).expect("it has a secret");
    assert_eq!(to_bob.close_reason(), Some(CloseReason::Revoked));
    assert!(!ended(&from_alice).is_normal());
    // She asks on, slowly. His program sees that, since he shows his key only with its answer; what it
    // accepts ends at once.
    for _ in 0..3 {
        let refused = bob.accept_timeout::<Bytes>(DEADLINE).expect("an offer");
        assert!(!ended(&refused).is_normal());
    }
    was_slow(begin, 3);
    assert!(kept.receiver().is_empty());
    alice.allow([bobs]).expect("it has a secret");
    let accepting = {
        let bob = bob.clone();
        spawn(move || {
            // One more may have been on its way.
            loop {
                let conn = bob.accept_timeout::<Bytes>(DEADLINE).expect("an offer");
                if let Ok(message) = conn.recv() {
                    conn.send(&message).expect("sent");
                    return conn;
                }
            }
        })
    };
    let to_bob = up(&kept);
    to_bob.send(b"hello").expect("sent");
    assert_eq!(receive(&to_bob), b"hello");
    drop(accepting.wait("accept"));
}

#[test]
fn a_secret_that_is_withdrawn_and_taken_again() {
    let random = || Secret::random().expect("random numbers");
    let (old, new) = (random(), random());
    let with = |secret: &Secret| builder().timeout(DEADLINE).secret(secret.clone());
    let (alice, bob) = (bind(with(&old)), bind(with(&old)));
    let kept = alice.keep_connected::<Bytes>(bob.local_addr());
    let (to_bob, from_alice) = both(&kept, &bob);
    talk(&to_bob, &from_alice);
    drain(&bob);
    let begin = Instant::now();
    bob.set_secrets(new.clone(), []).expect("it has one");
    assert_eq!(from_alice.close_reason(), Some(CloseReason::Revoked));
    assert!(!ended(&to_bob).is_normal());
    denials(&bob, 3, "secret");
    was_slow(begin, 3);
    assert!(bob.offers().is_empty() && kept.receiver().is_empty());
    bob.set_secrets(new.clone(), [old]).expect("it has one");
    let (to_bob, from_alice) = both(&kept, &bob);
    talk(&to_bob, &from_alice);
    // And where she has the new one as well, nothing is left of the old.
    alice.set_secrets(new.clone(), []).expect("it has one");
    assert_eq!(to_bob.close_reason(), Some(CloseReason::Revoked));
    ended(&from_alice);
    let (to_bob, from_alice) = both(&kept, &bob);
    talk(&to_bob, &from_alice);
}

/// Both keep each other, and one takes the other's key out: his side makes no connection, and what hers
/// takes of his attempts ends at once.
#[test]
fn a_key_is_withdrawn_where_both_sides_keep_each_other() {
    let ((alice, alices), (bob, _)) = (known(), known());
    let (alice, bob) = (bind(alice), bind(bob.allow([alices])));
    let of_alice = alice.keep_connected::<Bytes>(bob.local_addr());
    let of_bob = bob.keep_connected::<Bytes>(alice.local_addr());
    let (to_bob, to_alice) = (up(&of_alice), up(&of_bob));
    talk(&to_bob, &to_alice);
    let begin = Instant::now();
    bob.allow([]).expect("it has a secret");
    assert_eq!(to_alice.close_reason(), Some(CloseReason::Revoked));
    assert!(!ended(&to_bob).is_normal());
    let mut short = 0;
    while begin.elapsed() < Duration::from_secs(4) {
        if let Ok(conn) = of_alice.receiver().recv_timeout(Duration::from_millis(100)) {
            assert!(!ended(&conn).is_normal());
            short += 1;
        }
    }
    println!("{short} of his attempts were taken, and ended at once");
    was_slow(begin, short.max(1));
    assert!(of_bob.receiver().is_empty() && bob.connections().is_empty());
    bob.allow([alices]).expect("it has a secret");
    let to_alice = up(&of_bob);
    to_alice.send(b"hello").expect("sent");
    let from_bob = loop {
        let conn = up(&of_alice);
        if let Ok(message) = conn.recv_timeout(DEADLINE) {
            assert_eq!(message, b"hello");
            break conn;
        }
    };
    from_bob.send(b"world").expect("sent");
    assert_eq!(receive(&to_alice), b"world");
}
