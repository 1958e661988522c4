//! Promises that only a race, a hostile remote or an unlucky setting can break: what `close` says
//! of messages that nobody takes, and what is bounded in time whatever the other side does.
//!
//! Each test repeats itself a few times. `LANPEER_ROUNDS=1000` repeats it a thousand times; a test
//! that fails says in how many of its rounds, and how.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lanpeer::crossbeam_channel::{Receiver, Sender, bounded};
use lanpeer::{
    Bytes, CloseError, CloseReason, Connection, ConnectionInfo, Json, Peer, PeerBuilder,
};

use serde_json::Value;

use crate::peers::*;

/// What a busy machine may add to a bound of time.
const SLACK: Duration = Duration::from_secs(4);

/// Runs `round` a few times, or as often as the environment says, with the number of the round.
/// Fails if any round did, and says what came of how many.
fn repeat(few: usize, mut round: impl FnMut(usize) -> Result<(), String> + Send + 'static) {
    let asked = std::env::var("LANPEER_ROUNDS").ok();
    let count = asked.map_or(few.min(campaign(few).max(6)), |rounds| {
        rounds.parse().expect("a number of rounds")
    });
    let limit = patience().max(Duration::from_secs(6) * count as u32);
    within("the whole test", limit, move || {
        let mut failures = BTreeMap::new();
        for number in 0..count {
            if let Err(failure) = round(number) {
                *failures.entry(failure).or_insert(0) += 1;
            }
        }
        let failed: usize = failures.values().sum();
        assert_eq!(failed, 0, "of {count} rounds; {failures:#?}");
    });
}

fn check(holds: bool, otherwise: impl Into<String>) -> Result<(), String> {
    holds.then_some(()).ok_or_else(|| otherwise.into())
}

// ----------------------------------------- what nobody takes is not delivered

/// How Alice learns what became of her messages.
#[derive(Clone, Copy, Debug)]
enum Asks {
    Close,
    /// She waits for the end, and asks for its reason.
    Reason,
    /// `close`, on a connection with a handler.
    CloseHandled,
}

const ASKS: [Asks; 3] = [Asks::Close, Asks::Reason, Asks::CloseHandled];

/// Alice's end of a connection that Bob accepts, and what Bob does with his on a thread.
fn with_bob(
    alice: &Peer,
    bob: &Peer,
    asks: Asks,
    does: impl FnOnce(Connection<Bytes>) + Send + 'static,
) -> (Connection<Bytes>, Receiver<Vec<u8>>, Bob) {
    let accepting = Call::start("Bob", {
        let bob = bob.clone();
        move || {
            let to_alice = bob.accept::<Bytes>().expect("accepted");
            let id = to_alice.id();
            let info = bob.connections().into_iter().find(|info| info.id() == id);
            does(to_alice);
            info
        }
    });
    let (told, heard) = bounded(100);
    let addr = bob.local_addr();
    let to_bob = match asks {
        Asks::Close | Asks::Reason => alice.connect::<Bytes>(addr),
        Asks::CloseHandled => alice.connect_with::<Bytes>(addr, move |_, message| {
            let _ = told.send(message);
        }),
    };
    (to_bob.expect("connected"), heard, accepting)
}

/// What Bob does, and then his view of the connection, unless it ended before he could look.
type Bob = Call<Option<ConnectionInfo>>;

/// Had Bob's library taken in everything before he dropped the connection? Then he left it in his
/// queue, and Alice's `close` may have returned Ok before that.
fn was_first(asks: Asks, bob: Bob) -> bool {
    let info = match (asks, bob.finish()) {
        // She does not close: the end was his.
        (Asks::Reason, _) => return false,
        (_, None) => return true,
        (_, Some(info)) => info,
    };
    eventually("Bob's end", || info.close_reason().is_some());
    info.close_reason() == Some(CloseReason::ClosedThere)
}

/// Alice is told that not everything was taken in, if so: by `close`, and by the reason.
fn told(to_bob: &Connection<Bytes>, asks: Asks, lost: bool) -> Result<(), String> {
    let closed = match asks {
        Asks::Close | Asks::CloseHandled => Some(to_bob.close()),
        Asks::Reason => {
            eventually("the end", || to_bob.close_reason().is_some());
            // The connection is over when nothing can come any more.
            while to_bob.recv_timeout(SOON).is_ok() {}
            None
        }
    };
    let reason = to_bob.close_reason();
    let said = format!("lost: {lost}, {asks:?}: {closed:?}, {reason:?}");
    let Some(reason) = reason else {
        return Err(said);
    };
    let right = match (lost, &closed) {
        (true, Some(Err(CloseError::Incomplete(why)))) => !why.is_normal() && !reason.is_normal(),
        (true, None) => !reason.is_normal(),
        (false, Some(Ok(())) | None) => reason.is_normal(),
        _ => false,
    };
    check(right, said)
}

/// Whether Bob has asked for the channel of his connection before he lets go of it.
fn drop_it(to_alice: Connection<Bytes>, number: usize) {
    if number % 2 == 1 {
        let _ = to_alice.receiver();
    }
    drop(to_alice);
}

#[test]
fn a_message_for_one_who_accepts_and_drops_is_never_told_to_be_delivered() {
    let (alice, bob) = (peer(), peer());
    repeat(60, move |number| {
        let asks = ASKS[number % 3];
        let drops = move |to_alice| drop_it(to_alice, number / 3);
        let (to_bob, _, accepting) = with_bob(&alice, &bob, asks, drops);
        let sent = to_bob.send(&numbered(0, 60)).is_ok();
        let result = told(&to_bob, asks, sent);
        result.or_else(|told| check(was_first(asks, accepting), told))
    });
}

#[test]
fn nor_is_one_that_is_sent_when_the_drop_has_returned() {
    let (alice, bob) = (peer(), peer());
    repeat(60, move |number| {
        let asks = ASKS[number % 3];
        let drops = move |to_alice| drop_it(to_alice, number / 3);
        let (to_bob, _, accepting) = with_bob(&alice, &bob, asks, drops);
        accepting.finish();
        let sent = to_bob.send(&numbered(0, 60)).is_ok();
        told(&to_bob, asks, sent)
    });
}

#[test]
fn nor_is_a_question_behind_the_last_one_that_was_answered() {
    let (alice, bob) = (peer(), peer());
    repeat(60, move |number| {
        let asks = ASKS[number % 3];
        let answers = move |to_alice: Connection<Bytes>| {
            take(&to_alice, 0, 1);
            to_alice.send(&numbered(10, 60)).expect("answered");
            drop_it(to_alice, number / 3);
        };
        let (to_bob, heard, accepting) = with_bob(&alice, &bob, asks, answers);
        to_bob.send(&numbered(0, 60)).expect("asked");
        let answer = || match asks {
            Asks::CloseHandled => heard.recv_timeout(SOON).map_err(|_| ()),
            Asks::Close | Asks::Reason => to_bob.recv_timeout(SOON).map_err(|_| ()),
        };
        // At once, or when the answer to the first is there.
        let at_once = number % 4 < 2;
        let before = at_once.then(|| to_bob.send(&numbered(1, 60)).is_ok());
        let answered = answer();
        let lost = before.unwrap_or_else(|| to_bob.send(&numbered(1, 60)).is_ok());
        let result = told(&to_bob, asks, lost);
        check(answered == Ok(numbered(10, 60)), "the answer is lost")?;
        result.or_else(|told| check(was_first(asks, accepting), told))
    });
}

#[test]
fn nor_is_a_large_message() {
    let (alice, bob) = (peer(), peer());
    let large = numbered(0, 20_000_000);
    repeat(6, move |number| {
        let asks = ASKS[number % 3];
        let drops = move |to_alice| drop_it(to_alice, number / 3);
        let (to_bob, _, accepting) = with_bob(&alice, &bob, asks, drops);
        let sent = to_bob.send(&large).is_ok();
        let result = match sent {
            true => told(&to_bob, asks, true),
            // A part of it may have been written before it was refused.
            false => Ok(()),
        };
        result.or_else(|told| check(was_first(asks, accepting), told))
    });
}

/// Both sides let go at once: Alice's messages and Bob's drop cross each other anywhere.
#[test]
fn nor_is_any_of_many_that_cross_the_drop() {
    let (alice, bob) = (peer(), peer());
    repeat(60, move |number| {
        let asks = ASKS[number % 3];
        let takes = number as u64 % 7;
        let some = move |to_alice: Connection<Bytes>| {
            take(&to_alice, 0, takes);
            drop_it(to_alice, number / 3);
        };
        let (to_bob, _, accepting) = with_bob(&alice, &bob, asks, some);
        let sent = (0..10).take_while(|at| to_bob.send(&numbered(*at, 300)).is_ok());
        let sent = sent.count() as u64;
        let result = told(&to_bob, asks, sent > takes);
        result.or_else(|told| check(was_first(asks, accepting), told))
    });
}

#[test]
fn what_was_sent_before_a_drop_arrives_and_its_end_is_a_close() {
    let (alice, bob) = (peer(), peer());
    repeat(60, move |number| {
        let (count, size) = [(0, 0), (1, 60), (5, 60), (40, 100_000)][number % 4];
        let sends = move |to_alice: Connection<Bytes>| {
            for at in 0..count {
                to_alice.send(&numbered(at, size)).expect("sent");
            }
            drop_it(to_alice, number / 4);
        };
        let (to_bob, _, accepting) = with_bob(&alice, &bob, Asks::Close, sends);
        // She sends something, or nothing.
        let sent = number % 3 == 0 && to_bob.send(&numbered(0, 60)).is_ok();
        let mut taken = 0;
        while let Ok(message) = to_bob.recv_timeout(SOON) {
            assert_eq!(number_of(&message), taken);
            taken += 1;
        }
        accepting.finish();
        let reason = to_bob.close_reason();
        check(taken == count, format!("{taken} of {count}, {reason:?}"))?;
        check(
            sent || reason == Some(CloseReason::ClosedThere),
            format!("nothing sent: {reason:?}"),
        )?;
        told(&to_bob, Asks::Close, sent)
    });
}

/// The other side resets what has left its messages untaken. Whoever left learns of its own end, or of the
/// close that was first, and not of that reset.
#[test]
fn one_who_drops_while_the_other_closes_was_not_reset() {
    let mut peers = None;
    repeat(400, move |number| {
        let (alice, bob) = peers.get_or_insert_with(|| (peer(), peer()));
        let (to_bob, to_alice) = link::<Bytes>(alice, bob);
        for _ in 0..5 {
            to_bob.send(&[7; 1000]).unwrap();
        }
        eventually("they are there", || to_alice.stats().messages_received == 5);
        let (tell, told) = bounded(1);
        to_alice.on_end(move |reason| tell.send(reason).unwrap());
        let closing = Call::start("close", move || to_bob.close());
        // Before, beside and behind the close.
        let until = Instant::now() + Duration::from_micros(number as u64 % 200);
        while Instant::now() < until {}
        drop(to_alice);
        let reason = told.recv_timeout(SLACK).expect("it ends");
        let _ = closing.finish();
        let right = matches!(reason, CloseReason::ClosedHere | CloseReason::ClosedThere);
        check(right, format!("it says {reason:?}"))
    });
}

/// The FIN of a close that has timed out is on its way, or still due, when the last handle is dropped.
/// It must not tell the other side that what it sends from then on is taken in.
#[test]
fn nor_is_one_for_a_connection_that_is_dropped_behind_a_close_that_timed_out() {
    repeat(8, |number| {
        let alice = bind(hasty().send_queue(64 << 10));
        let bob = bind(builder().receive_queue(1));
        let (to_bob, to_alice) = link::<Bytes>(&alice, &bob);
        let is_due = number % 2 == 0;
        let count = match is_due {
            true => fill(&to_bob, 0, 10_000),
            // The system takes them all.
            false => (0..20)
                .filter(|at| to_bob.send(&numbered(*at, 10_000)).is_ok())
                .count() as u64,
        };
        let closed = to_bob.close();
        check(
            closed == Err(CloseError::Timeout),
            format!("Alice: {closed:?}"),
        )?;
        drop_it(to_bob, number / 2);
        if to_alice.try_send(&numbered(0, 60)).is_err() {
            // A machine so slow that he was told before.
            return Ok(());
        }
        // All that Alice has sent arrives, or Bob is told of that as well.
        let mut taken = 0;
        while taken < count && to_alice.recv_timeout(SOON).is_ok() {
            taken += 1;
        }
        let closed = to_alice.close();
        let reason = to_alice.close_reason();
        let said = format!("{taken} of {count}, {closed:?}, {reason:?}");
        // Where her goodbye came long before the word that nothing more is taken in, he knew the end
        // already; `close` tells him.
        let told = closed == Err(CloseError::Incomplete(CloseReason::ClosedThere));
        check(
            closed.is_err() && reason.is_some_and(|why| told || !why.is_normal()),
            said,
        )
    });
}

/// The other side ends while a large message is being written, and then resets the rest. Whether `send`
/// takes the message back or leaves it to the queue, a part of it was on its way.
#[test]
fn nor_is_a_large_message_that_the_other_sides_end_cuts() {
    repeat(30, |number| {
        let bob = peer();
        // It reads nothing.
        let socket = raw_offer(&bob);
        let to_alice = bob.accept::<Bytes>().expect("accepted");
        let sender = to_alice.clone();
        let sending = Call::start("send", move || sender.send(&vec![7; 32 << 20]));
        sending.wait_until_blocked();
        socket.shutdown(Shutdown::Write).expect("a FIN");
        if number % 2 == 0 {
            eventually("the end is known", || to_alice.close_reason().is_some());
        }
        drop(socket);
        let sent = sending.finish();
        let closed = to_alice.close();
        // Where a thread cannot be seen to wait, the end may have been there before the message was.
        let too_late = !cfg!(target_os = "linux") && sent.is_err();
        check(closed.is_err() || too_late, format!("{sent:?}, {closed:?}"))
    });
}

// -------------------------------------- a graceful end is over after its time

const TIMEOUT: Duration = Duration::from_millis(300);

fn hasty() -> PeerBuilder {
    builder().close_timeout(TIMEOUT)
}

/// A message as a remote without the library writes it.
fn data(payload: &[u8]) -> Vec<u8> {
    let header = format!("DATA|data_size={}&data_type=bytes", payload.len());
    [format!("{header:|<128}").as_bytes(), payload].concat()
}

/// Reads what it is sent, and says nothing more by itself; it never sends FIN.
fn polite_but_silent(bob: &Peer) -> TcpStream {
    let socket = raw_offer(bob);
    let mut reading = socket.try_clone().expect("a clone");
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while reading.read(&mut bytes).is_ok_and(|count| count > 0) {}
    });
    socket
}

#[test]
fn a_close_in_a_handler_takes_in_no_message_that_is_no_value_of_its_type() {
    let (alice, bob) = (peer(), peer());
    let (tell, told) = bounded(1);
    let (go, gone) = bounded(1);
    let addr = bob.local_addr();
    let connecting = std::thread::spawn(move || {
        let to_bob = alice.connect::<Json<Value>>(addr).unwrap();
        (to_bob, alice)
    });
    let offer = bob.offers().recv_timeout(SOON).unwrap();
    let _to_alice = offer
        .accept_with::<Json<u32>>(move |conn, number| {
            gone.recv_timeout(SOON).unwrap();
            let _ = tell.send((number, conn.close()));
        })
        .unwrap();
    let (to_bob, _alice) = connecting.join().unwrap();
    to_bob.send(&Value::from(7)).unwrap();
    to_bob.send(&Value::from("seven")).unwrap();
    go.send(()).unwrap();
    let close = to_bob.close();
    let reason = ended(&to_bob);
    assert!(matches!(close, Err(CloseError::Incomplete(_))), "{close:?}");
    assert!(matches!(reason, CloseReason::RefusedThere(_)), "{reason:?}");
    let (number, close) = told.recv_timeout(SOON).unwrap();
    assert_eq!(number, 7);
    assert!(
        matches!(
            close,
            Err(CloseError::Incomplete(CloseReason::Malformed(_)))
        ),
        "{close:?}"
    );
}

#[test]
fn a_close_in_a_handler_ends_a_connection_whose_remote_never_does() {
    let bob = bind(hasty());
    repeat(4, move |number| {
        let mut socket = polite_but_silent(&bob);
        let calls = Arc::new(AtomicUsize::new(0));
        let (told, heard) = bounded(1);
        let to_socket = bob.offers().recv_timeout(SOON).unwrap();
        let to_socket = to_socket
            .accept_with::<Bytes>({
                let calls = calls.clone();
                move |conn, _| {
                    calls.fetch_add(1, Ordering::SeqCst);
                    let start = Instant::now();
                    let closed = conn.close();
                    let _ = told.try_send((closed, start.elapsed(), conn.close_reason()));
                }
            })
            .unwrap();
        socket.write_all(&data(b"close")).unwrap();
        if number % 2 == 1 {
            // It does not end, and it does not fall silent either.
            for _ in 0..50 {
                socket.write_all(&data(b"more")).unwrap();
            }
        }
        let (closed, time, reason) = heard.recv_timeout(SOON).unwrap();
        check(
            closed == Err(CloseError::Timeout),
            format!("close: {closed:?}"),
        )?;
        check(
            (TIMEOUT..TIMEOUT + SLACK).contains(&time),
            format!("in {time:?}"),
        )?;
        check(
            reason == Some(CloseReason::TimedOut),
            format!("afterwards: {reason:?}"),
        )?;
        check(bob.connections().is_empty(), "it is still listed")?;
        // This may go well for a moment: the reset comes back later.
        while socket.write_all(&data(b"more")).is_ok() {
            std::thread::yield_now();
        }
        eventually("the handler is gone", || Arc::strong_count(&calls) == 1);
        let calls = calls.load(Ordering::SeqCst);
        check(calls == 1, format!("the handler was called {calls} times"))?;
        check(
            to_socket.close() == Err(CloseError::Incomplete(CloseReason::TimedOut)),
            "close again",
        )
    });
}

/// It has closed its connection, and has other work to do.
#[test]
fn a_handler_that_works_on_behind_its_close_has_closed_all_the_same() {
    let (alice, bob) = (peer(), bind(hasty()));
    repeat(4, move |_| {
        let (told, heard) = bounded(1);
        let (go, gone) = bounded::<()>(0);
        let accepting = Call::start("accept", {
            let bob = bob.clone();
            move || {
                let offer = bob.offers().recv().expect("an offer");
                offer
                    .accept_with::<Bytes>(move |conn, _| {
                        told.send(conn.close()).unwrap();
                        let _ = gone.recv();
                        told.send(conn.close()).unwrap();
                    })
                    .expect("accepted")
            }
        });
        let to_bob = alice.connect::<Bytes>(bob.local_addr()).expect("connected");
        let to_alice = accepting.finish();
        to_bob.send(b"close").unwrap();
        let first = heard.recv_timeout(SOON).unwrap();
        check(first == Ok(()), format!("in the handler: {first:?}"))?;
        // Its time passes.
        let elsewhere = to_alice.close();
        check(elsewhere == Ok(()), format!("elsewhere: {elsewhere:?}"))?;
        eventually("it is over", || bob.connections().is_empty());
        let reason = to_alice.close_reason();
        check(
            reason == Some(CloseReason::ClosedHere),
            format!("{reason:?}"),
        )?;
        drop(go);
        let again = heard.recv_timeout(SOON).unwrap();
        check(again == Ok(()), format!("again: {again:?}"))?;
        check(
            to_bob.close_reason() == Some(CloseReason::ClosedThere),
            "the other side",
        )
    });
}

#[test]
fn a_wait_for_messages_ends_soon_after_a_close_that_timed_out() {
    let bob = bind(hasty());
    let bound = (2 * TIMEOUT).max(TIMEOUT + Duration::from_secs(1));
    repeat(4, move |number| {
        let socket = polite_but_silent(&bob);
        let to_socket = bob.accept::<Bytes>().unwrap();
        let by_channel = number % 2 == 1;
        let receiving = if by_channel {
            let channel = to_socket.receiver().clone();
            Call::start("recv", move || {
                (channel.recv().is_err(), Instant::now(), None)
            })
        } else {
            let to_socket = to_socket.clone();
            Call::start("recv", move || {
                let received = to_socket.recv().is_err();
                (received, Instant::now(), to_socket.close_reason())
            })
        };
        receiving.wait_until_blocked();
        let start = Instant::now();
        let closed = to_socket.close();
        check(
            closed == Err(CloseError::Timeout),
            format!("close: {closed:?}"),
        )?;
        check(start.elapsed() < TIMEOUT + SLACK, "close took too long")?;
        // Kept, or dropped.
        let kept = (number % 4 < 2).then(|| to_socket.clone());
        drop(to_socket);
        let limit = bound + SLACK;
        eventually_or(limit, || !receiving.is_waiting())
            .map_err(|()| format!("channel: {by_channel}; recv still waits"))?;
        let (ended, at, reason) = receiving.finish();
        check(ended, "a message out of nothing")?;
        check(at - start < limit, format!("after {:?}", at - start))?;
        if let Some(kept) = kept {
            let reason = kept.close_reason();
            check(
                reason == Some(CloseReason::TimedOut),
                format!("kept: {reason:?}"),
            )?;
        }
        check(
            by_channel || reason == Some(CloseReason::TimedOut),
            format!("{reason:?}"),
        )?;
        drop(socket);
        Ok(())
    });
}

/// Waits until `condition` holds, for at most `limit`.
fn eventually_or(limit: Duration, mut condition: impl FnMut() -> bool) -> Result<(), ()> {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > limit {
            return Err(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

// ------------------------------------------------------- abort ends at once

#[test]
fn the_place_of_an_aborted_connection_is_free_at_once() {
    let (alice, bob) = (bind(builder().max_connections(1)), peer());
    // Bob takes whatever comes, has work for it, and keeps it.
    let taking = bob.clone();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for conn in taking.incoming().flat_map(|offer| offer.accept::<Bytes>()) {
            let _ = conn.send(b"work");
            kept.push(conn);
        }
    });
    let addr = bob.local_addr();
    repeat(20, move |number| {
        let (told, busy) = bounded(1);
        let (let_go, held) = bounded::<()>(0);
        let handled = number % 2 == 1;
        let to_bob = match handled {
            false => alice.connect::<Bytes>(addr),
            true => alice.connect_with::<Bytes>(addr, move |_, _| {
                let _ = told.send(());
                let _ = held.recv();
            }),
        };
        let to_bob = to_bob.map_err(|error| format!("the first: {error}"))?;
        if handled {
            busy.recv_timeout(SOON).expect("the handler works");
        }
        to_bob.abort();
        let next = alice.connect::<Bytes>(addr);
        let next = next.map_err(|error| format!("handled: {handled}; {error}"));
        drop(let_go);
        next?.abort();
        Ok(())
    });
}

// ------------------------------------------------------------ stop is bounded

/// Its drop takes until it may go on, or for long.
#[cfg(not(windows))]
struct Slow(Receiver<()>);

#[cfg(not(windows))]
impl Drop for Slow {
    fn drop(&mut self) {
        let _ = self.0.recv_timeout(Duration::from_secs(12));
    }
}

#[cfg(not(windows))]
thread_local! {
    static KEPT: std::cell::RefCell<Option<Slow>> = const { std::cell::RefCell::new(None) };
}

/// Under Wine, and by its documentation on Windows, threads end one at a time: there it does.
#[test]
#[cfg(not(windows))]
fn a_thread_local_whose_drop_takes_long_does_not_hold_up_stop() {
    repeat(2, |number| {
        let (alice, bob) = (peer(), bind(hasty()));
        let (let_go, held) = bounded::<()>(0);
        let (told, heard) = bounded(10);
        let mut ends = Vec::new();
        for _ in 0..3 {
            let accepting = Call::start("accept", {
                let (bob, held, told) = (bob.clone(), held.clone(), told.clone());
                move || {
                    let offer = bob.offers().recv().expect("an offer");
                    offer
                        .accept_with::<Bytes>(move |_, _| {
                            KEPT.set(Some(Slow(held.clone())));
                            told.send(()).unwrap();
                        })
                        .expect("accepted")
                }
            });
            let to_bob = alice.connect::<Bytes>(bob.local_addr()).expect("connected");
            to_bob.send(b"keep it").unwrap();
            heard.recv_timeout(SOON).unwrap();
            ends.push((to_bob, accepting.finish()));
        }
        if number % 2 == 1 {
            // Their threads are on their way out when stop begins.
            for (to_bob, _) in &ends {
                to_bob.close().unwrap();
            }
            eventually("they have ended", || bob.connections().is_empty());
        }
        let start = Instant::now();
        bob.stop();
        let time = start.elapsed();
        drop(let_go);
        let bound = TIMEOUT + Duration::from_secs(2);
        check(time < bound + SLACK, format!("stop took {:?}", time))
    });
}

// ------------------------------------- a close in a handler waits for its time

#[test]
fn a_close_in_a_handler_waits_also_with_the_smallest_queue() {
    let (alice, bob) = (
        peer(),
        bind(hasty().receive_queue_bytes(1).receive_queue(1)),
    );
    repeat(6, move |number| {
        // What comes behind the message at which it closes.
        let (count, size) = [(0, 0), (10, 100), (1, 900_000), (600, 10_000)][number % 4];
        let (go, gone) = bounded::<()>(0);
        let (told, heard) = bounded(1);
        let accepting = Call::start("accept", {
            let bob = bob.clone();
            move || {
                let offer = bob.offers().recv().expect("an offer");
                let mut first = true;
                offer
                    .accept_with::<Bytes>(move |conn, _| {
                        if std::mem::take(&mut first) {
                            let _ = gone.recv();
                            conn.send(b"goodbye").unwrap();
                            let start = Instant::now();
                            let closed = conn.close();
                            told.send((closed, start.elapsed())).unwrap();
                        }
                    })
                    .expect("accepted")
            }
        });
        let to_bob = alice.connect::<Bytes>(bob.local_addr()).expect("connected");
        let to_alice = accepting.finish();
        to_bob.send(b"close").unwrap();
        for at in 0..count {
            // More than fits everywhere is not to be waited for.
            let _ = to_bob.try_send(&numbered(at, size));
        }
        go.send(()).unwrap();
        let (closed, time) = heard.recv_timeout(SOON).unwrap();
        let said = format!("{count} of {size}: {closed:?}");
        match closed {
            Ok(()) => {}
            // Only where so much comes that it is not kept.
            Err(CloseError::Timeout) if count == 600 => {
                check(time >= TIMEOUT, format!("{said} in {time:?}"))?;
            }
            Err(_) => return Err(said),
        }
        check(time < TIMEOUT + SLACK, format!("{said} in {time:?}"))?;
        eventually("the end", || {
            to_alice.close_reason().is_some() && bob.connections().is_empty()
        });
        if closed.is_ok() {
            let received = to_bob.recv_timeout(SOON);
            check(received == Ok(b"goodbye".to_vec()), format!("{said}, lost"))?;
        }
        Ok(())
    });
}

// --------------------------------------------- receiving in the own handler

#[test]
fn the_channel_of_a_handled_connection_holds_up_neither_its_handler_nor_stop() {
    alone(
        "promises::the_channel_of_a_handled_connection_holds_up_neither_its_handler_nor_stop",
        || {
            repeat(4, |number| {
                let (alice, bob) = (bind(hasty()), bind(hasty()));
                let (told, heard) = bounded(1);
                let (give, given) = bounded::<Receiver<Vec<u8>>>(1);
                let accepting = Call::start("accept", {
                    let bob = bob.clone();
                    move || {
                        let offer = bob.offers().recv().expect("an offer");
                        offer
                            .accept_with::<Bytes>(move |conn, _| {
                                let own = conn.receiver().recv().is_err()
                                    && conn.receiver().try_recv().is_err()
                                    && conn.iter().next().is_none();
                                let _ = told.send(own);
                                // One that another thread has asked for waits for the end.
                                if let Ok(other) = given.try_recv() {
                                    let _ = other.recv();
                                }
                            })
                            .expect("accepted")
                    }
                });
                let to_bob = alice.connect::<Bytes>(bob.local_addr()).expect("connected");
                let to_alice = accepting.finish();
                let waiting = Call::start("recv", {
                    let to_alice = to_alice.clone();
                    move || to_alice.receiver().recv().is_err()
                });
                waiting.wait_until_blocked();
                if number % 2 == 1 {
                    give.send(to_alice.receiver().clone()).unwrap();
                }
                to_bob.send(b"go").unwrap();
                let own = heard.recv_timeout(SOON / 4);
                if own.is_err() {
                    // It would hang there for ever, and stop with it.
                    std::mem::forget((bob, to_alice));
                    return Err("the handler hangs".to_owned());
                }
                check(own == Ok(true), "it receives something")?;
                check(waiting.is_waiting(), "the other thread does not wait")?;
                match number % 4 {
                    // By the other side, where nothing holds up the handler. A busy machine may
                    // need longer than the hasty peers of this test allow.
                    0 => assert!(matches!(to_bob.close(), Ok(()) | Err(CloseError::Timeout))),
                    2 => to_alice.abort(),
                    _ => {}
                }
                let start = Instant::now();
                bob.stop();
                let time = start.elapsed();
                check(
                    time < TIMEOUT + Duration::from_secs(2) + SLACK,
                    format!("stop took {time:?}"),
                )?;
                check(waiting.finish(), "the other thread receives something")?;
                alice.stop();
                eventually(
                    &format!("no thread is left: {:?}", lanpeer_threads()),
                    || lanpeer_threads().is_empty(),
                );
                Ok(())
            });
        },
    );
}

#[test]
fn the_place_of_a_closed_connection_is_free_when_close_says_so() {
    let (alice, bob) = (bind(builder().max_connections(1)), peer());
    let taking = bob.clone();
    std::thread::spawn(move || {
        for offer in taking.incoming() {
            if let Ok(to_alice) = offer.accept::<Bytes>() {
                while to_alice.recv().is_ok() {}
            }
        }
    });
    let addr = bob.local_addr();
    repeat(100, move |_| {
        let to_bob = alice.connect::<Bytes>(addr);
        let to_bob = to_bob.map_err(|error| error.to_string())?;
        to_bob.close().map_err(|error| error.to_string())
    });
}

/// What is dropped with the last handle is the program's, and may panic.
#[test]
fn an_item_whose_drop_panics_does_not_keep_its_connection_open() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Item(u32);
    impl Drop for Item {
        fn drop(&mut self) {
            if self.0 == 7 && !std::thread::panicking() {
                panic!("an item's drop");
            }
        }
    }
    repeat(5, |_| {
        let (_alice, bob, to_bob, to_alice) = pair::<lanpeer::Json<Item>>();
        for number in 0..10 {
            let item = std::mem::ManuallyDrop::new(Item(number));
            to_bob.send(&*item).expect("sent");
        }
        eventually("all are queued", || {
            to_alice.stats().receive_queue_messages == 10
        });
        let dropped = std::panic::AssertUnwindSafe(|| drop(to_alice));
        check(std::panic::catch_unwind(dropped).is_err(), "no panic")?;
        let ended = to_bob.recv_timeout(SOON);
        check(
            ended.is_err_and(|error| error.is_disconnected()),
            "it is still open",
        )?;
        eventually("no connection is left", || bob.connections().is_empty());
        let reason = to_bob.close_reason();
        check(reason == Some(CloseReason::Reset), format!("{reason:?}"))
    });
}

// ------------------------------------------------- what a thread has gathered

/// What the process of the next test does, with the address that it connects to.
const LEAVES: &str = "LANPEER_TEST_LEAVES";

/// A burst that was accepted is written out when its thread ends, and when that thread ends the
/// process.
#[test]
fn a_burst_is_not_lost_with_its_thread_or_its_process() {
    if let Ok(order) = std::env::var(LEAVES) {
        let (how, addr) = order.split_once(' ').expect("how, and where to");
        let alice = peer();
        let to_bob = alice.connect::<Bytes>(addr).expect("connected");
        let burst = {
            let to_bob = to_bob.clone();
            move || (0..100).for_each(|number| to_bob.send(&numbered(number, 60)).expect("sent"))
        };
        if how == "exit" {
            burst();
            std::process::exit(0);
        }
        // The thread ends, and the process dies before any other can do something for it.
        std::thread::spawn(burst).join().expect("all sent");
        std::process::abort();
    }
    let bob = peer();
    repeat(6, move |number| {
        let how = ["exit", "end"][number % 2];
        let test = "promises::a_burst_is_not_lost_with_its_thread_or_its_process";
        let mut leaving = this_program()
            .args(["--exact", test])
            .env(LEAVES, format!("{how} {}", bob.local_addr()))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("a process");
        let to_alice = bob.accept::<Bytes>().expect("accepted");
        let mut arrived = 0;
        while to_alice.recv_timeout(SOON).is_ok() {
            arrived += 1;
        }
        leaving.wait().expect("its end");
        check(arrived == 100, format!("{how}: {arrived} of 100"))
    });
}

/// A thread that ends waits a moment for a full socket: once, however much its destructors send.
#[test]
fn destructors_that_send_in_vain_hold_up_their_thread_once() {
    const MANY: usize = 100;
    struct Sends(Connection<Bytes>, Sender<usize>);
    impl Drop for Sends {
        fn drop(&mut self) {
            let sent = (0..MANY).filter(|_| self.0.try_send(&[7; 100]).is_ok());
            let _ = self.1.send(sent.count());
        }
    }
    thread_local! {
        static SENDS: RefCell<Option<Sends>> = const { RefCell::new(None) };
    }
    let (_alice, _bob, to_bob, _to_alice) =
        pair_of::<Bytes>(builder().send_queue(4 << 20), builder().receive_queue(1));
    // What is left of the queue has room for all of them.
    fill(&to_bob, 0, 1 << 20);
    let (told, sent) = bounded(1);
    let ending = std::thread::spawn(move || {
        // Made before the library has anything in this thread, so that it is dropped behind that.
        SENDS.set(Some(Sends(to_bob.clone(), told)));
        to_bob.try_send(&[7; 100]).expect("room");
    });
    let begun = Instant::now();
    ending.join().expect("its end");
    // Each on its own would take a fifth of a second.
    assert!(begun.elapsed() < SOON / 2, "{:?}", begun.elapsed());
    assert_eq!(sent.recv().unwrap(), MANY);
}

/// While the queue has room, a large message waits for the socket for a moment only.
#[test]
fn large_messages_fill_the_queue_without_waiting() {
    repeat(2, |_| {
        let (_alice, _bob, to_bob, _to_alice) = pair_of::<Bytes>(
            builder().send_queue(1 << 20),
            builder().receive_queue(1).receive_queue_bytes(1),
        );
        let message = vec![7; 100_000];
        let (told, heard) = bounded(0);
        let sending = to_bob.clone();
        std::thread::spawn(
            move || while sending.send(&message).is_ok() && told.send(()).is_ok() {},
        );
        // Each is accepted soon, until the queue is full.
        while heard.recv_timeout(SLACK).is_ok() {}
        let queued = to_bob.stats().send_queue_bytes;
        to_bob.abort();
        check(
            queued > (1 << 20) - 110_000,
            format!("{queued} bytes queued"),
        )
    });
}
