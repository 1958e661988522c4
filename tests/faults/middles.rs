//! The link fails in the middle of something large: a message, a full queue, a close, a handler.

use std::sync::Arc;
use std::time::Duration;

use lanpeer::crossbeam_channel::bounded;
use lanpeer::{
    Bytes, CloseError, CloseReason, ConnectOptions, Connection, Error, Event, PeerBuilder,
    SendError,
};

use super::exchange::{HEADER, World};
use super::many::try_all;
use super::peers::{Call, SOON, eventually, fill, number_of, numbered, take, test};
use super::proxy::{Fault, Pace, Passage, Plan, Way};

const SIZE: usize = 16 << 10;

/// More than the system holds of what is on its way.
const HUGE: usize = 32 << 20;

/// So much of it comes through: messages of [`SIZE`], and a part of one.
const WHOLE: u64 = 40;
const PART: u64 = HEADER + WHOLE * (HEADER + SIZE as u64) + HEADER + 1234;

fn small_queue(builder: PeerBuilder) -> PeerBuilder {
    builder.send_queue(64 << 10)
}

fn world() -> World {
    World::new(small_queue, |b| b)
}

/// What arrives until the end: numbered messages of [`SIZE`], in order. How many, and the end.
fn rest(connection: &Connection<Bytes>) -> (u64, CloseReason) {
    let mut count = 0;
    while let Ok(message) = connection.recv_timeout(SOON) {
        assert_eq!((number_of(&message), message.len()), (count, SIZE));
        count += 1;
    }
    (count, connection.close_reason().expect("it has ended"))
}

fn sending(
    connection: &Connection<Bytes>,
    number: u64,
    size: usize,
) -> Call<Result<(), SendError>> {
    let connection = connection.clone();
    let call = Call::start("send", move || connection.send(&numbered(number, size)));
    call.wait_until_blocked();
    call
}

fn is_reset(result: Result<(), SendError>) -> bool {
    result == Err(SendError::Closed(CloseReason::Reset))
}

fn broken(reason: CloseReason) -> Result<(), CloseError> {
    Err(CloseError::Incomplete(reason))
}

/// The first bytes of a large message have gone, from where it lies; the rest waits.
fn in_a_large_message() -> (World, Arc<Passage>, Connection<Bytes>, Connection<Bytes>) {
    let world = world();
    let stall = Plan::fault(Way::Forth, HEADER + HEADER + 100_000, Fault::Stall);
    let (passage, to_bob, to_alice) = world.link(stall);
    (world, passage, to_bob, to_alice)
}

#[test]
fn a_large_message_is_reset_in_the_middle() {
    test(|| {
        let (_world, passage, to_bob, to_alice) = in_a_large_message();
        let send = sending(&to_bob, 0, HUGE);
        passage.wait_until_struck();
        passage.reset();
        assert!(is_reset(send.finish()));
        assert_eq!(rest(&to_alice), (0, CloseReason::Reset));
        assert_eq!(rest(&to_bob), (0, CloseReason::Reset));
        assert_eq!(to_bob.close(), broken(CloseReason::Reset));
        assert!(is_reset(to_bob.send("late")));
    });
}

#[test]
fn a_large_message_is_cut_in_the_middle() {
    test(|| {
        let (_world, passage, to_bob, to_alice) = in_a_large_message();
        let send = sending(&to_bob, 0, HUGE);
        // A part of it is through: an end before it would be an ordinary one.
        passage.wait_until_struck();
        passage.fin();
        // Alice sees a FIN, and then that her bytes are refused: the second can overtake the first.
        let (none, reason) = rest(&to_bob);
        let known = [CloseReason::ClosedThere, CloseReason::Reset];
        assert!(none == 0 && known.contains(&reason), "{reason}");
        match send.finish() {
            // It was accepted with its first byte; `close` says that it did not arrive.
            Ok(()) => {}
            Err(SendError::Closed(reason)) => assert!(known.contains(&reason), "{reason}"),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(to_bob.close(), broken(reason));
        assert_eq!(rest(&to_alice), (0, CloseReason::Truncated));
    });
}

#[test]
fn a_large_message_that_was_held_up_arrives() {
    test(|| {
        let (_world, passage, to_bob, to_alice) = in_a_large_message();
        let send = sending(&to_bob, 7, HUGE);
        passage.release();
        let message = to_alice.recv_timeout(SOON).expect("the message");
        assert_eq!((number_of(&message), message.len()), (7, HUGE));
        assert_eq!(send.finish(), Ok(()));
        assert_eq!(to_bob.close(), Ok(()));
    });
}

/// From below the size that is written without a copy to far above it.
#[test]
fn large_messages_at_every_pace() {
    const SIZES: [usize; 5] = [(64 << 10) - 1, 64 << 10, (64 << 10) + 1, 100_000, 1 << 20];
    let moment = Duration::from_millis(1);
    let paces = vec![
        Pace::Merge(Duration::from_millis(3)),
        Pace::Delay(moment),
        Pace::Throttle(50_000, moment),
    ];
    try_all("large messages", paces, 3, world, |pace, world| {
        let (_, to_bob, to_alice) = world.link(Plan::pace(pace));
        let sending = Call::start("send", move || {
            for (number, size) in (0..).zip(SIZES) {
                to_bob.send(&numbered(number, size)).expect("sent");
            }
            to_bob.close()
        });
        for (number, size) in (0..).zip(SIZES) {
            let message = to_alice.recv_timeout(SOON).expect("a message");
            assert_eq!((number_of(&message), message.len()), (number, size));
        }
        assert_eq!(sending.finish(), Ok(()));
    });
}

/// The send queue is full, a send waits, and what has come through ends in the middle of a message.
fn full() -> (
    World,
    Arc<Passage>,
    Connection<Bytes>,
    Connection<Bytes>,
    u64,
) {
    let world = world();
    let (passage, to_bob, to_alice) = world.link(Plan::fault(Way::Forth, PART, Fault::Stall));
    // On a busy machine it may look full before the proxy has taken its part.
    let mut count = 0;
    eventually("the proxy has its part", || {
        count += fill(&to_bob, count, SIZE);
        passage.has_struck()
    });
    count += fill(&to_bob, count, SIZE);
    assert!(count > WHOLE);
    (world, passage, to_bob, to_alice, count)
}

#[test]
fn a_full_queue_is_reset() {
    test(|| {
        let (_world, passage, to_bob, to_alice, count) = full();
        let send = sending(&to_bob, count, SIZE);
        passage.reset();
        assert!(is_reset(send.finish()));
        assert_eq!(rest(&to_alice), (WHOLE, CloseReason::Reset));
        assert_eq!(rest(&to_bob), (0, CloseReason::Reset));
        assert_eq!(to_bob.close(), broken(CloseReason::Reset));
        eventually("the queue is dropped", || {
            to_bob.stats().send_queue_bytes == 0
        });
    });
}

#[test]
fn a_full_queue_is_cut() {
    test(|| {
        let (_world, passage, to_bob, to_alice, count) = full();
        let send = sending(&to_bob, count, SIZE);
        passage.fin();
        let (none, reason) = rest(&to_bob);
        let known = [CloseReason::ClosedThere, CloseReason::Reset];
        assert!(none == 0 && known.contains(&reason), "{reason}");
        let closed = known.map(|reason| Err(SendError::Closed(reason)));
        assert!(closed.contains(&send.finish()));
        assert_eq!(to_bob.close(), broken(reason));
        assert_eq!(rest(&to_alice), (WHOLE, CloseReason::Truncated));
    });
}

#[test]
fn a_full_queue_that_was_held_up_is_delivered() {
    test(|| {
        let (_world, passage, to_bob, to_alice, count) = full();
        let send = sending(&to_bob, count, SIZE);
        passage.release();
        take(&to_alice, 0, count + 1);
        assert_eq!(send.finish(), Ok(()));
        assert_eq!(to_bob.close(), Ok(()));
        assert_eq!(rest(&to_alice), (0, CloseReason::ClosedThere));
    });
}

// ----------------------------------------------------------------- closes

/// A close that waits for a queue which the link does not take.
fn closing() -> (
    World,
    Arc<Passage>,
    Connection<Bytes>,
    Connection<Bytes>,
    u64,
    Closing,
) {
    let (world, passage, to_bob, to_alice, count) = full();
    let own = to_bob.clone();
    let close = Call::start("close", move || own.close());
    close.wait_until_blocked();
    (world, passage, to_bob, to_alice, count, close)
}

type Closing = Call<Result<(), CloseError>>;

#[test]
fn a_close_that_was_held_up_delivers() {
    test(|| {
        let (_world, passage, to_bob, to_alice, count, close) = closing();
        passage.release();
        assert_eq!(rest(&to_alice), (count, CloseReason::ClosedThere));
        assert_eq!(close.finish(), Ok(()));
        assert_eq!(to_bob.close_reason(), Some(CloseReason::ClosedHere));
    });
}

#[test]
fn a_close_is_reset() {
    test(|| {
        let (_world, passage, to_bob, to_alice, _, close) = closing();
        passage.reset();
        assert_eq!(close.finish(), broken(CloseReason::Reset));
        assert_eq!(to_bob.close_reason(), Some(CloseReason::Reset));
        assert_eq!(rest(&to_alice), (WHOLE, CloseReason::Reset));
    });
}

#[test]
fn a_close_into_silence_can_be_aborted() {
    test(|| {
        let (_world, _passage, to_bob, _to_alice, _, close) = closing();
        to_bob.abort();
        assert_eq!(close.finish(), broken(CloseReason::Aborted));
    });
}

#[test]
fn a_stop_into_silence_is_bounded() {
    test(|| {
        let short = Duration::from_millis(100);
        let world = World::new(
            |b| small_queue(b).close_timeout(short),
            |b| b.close_timeout(short),
        );
        let (passage, to_bob, to_alice) = world.link(Plan::fault(Way::Forth, PART, Fault::Stall));
        let mut count = 0;
        eventually("the proxy has its part", || {
            count += fill(&to_bob, count, SIZE);
            passage.has_struck()
        });
        world.alice.stop();
        assert_eq!(to_bob.close_reason(), Some(CloseReason::Stopped));
        drop(world);
        // Bob's own end of the proxy's connection.
        assert_eq!(rest(&to_alice).0, WHOLE);
    });
}

// --------------------------------------------------------------- handlers

#[test]
fn a_reset_while_a_handler_runs() {
    test(|| {
        let world = world();
        let (entered, has_entered) = bounded(8);
        let (go_on, may_go_on) = bounded::<()>(0);
        let passage = world.proxy.next(Plan::default());
        let bob = world.bob.clone();
        let accepting = Call::start("accept", move || {
            let offer = bob.offers().recv().expect("an offer");
            let handler = move |conn: &Connection<Bytes>, message: Vec<u8>| {
                entered.send(message).expect("the test listens");
                let _ = may_go_on.recv();
                let end = (
                    conn.send("answer"),
                    conn.send("answer"),
                    conn.close_reason(),
                );
                entered
                    .send(format!("{end:?}").into())
                    .expect("the test listens");
            };
            offer.accept_with::<Bytes>(handler).expect("accepted")
        });
        let to_bob = world
            .alice
            .connect::<Bytes>(world.proxy.addr())
            .expect("connected");
        let to_alice = accepting.finish();
        to_bob.send("first").expect("sent");
        assert_eq!(
            has_entered.recv_timeout(SOON).expect("the handler runs"),
            b"first"
        );
        to_bob.send("second").expect("sent");
        eventually("both are with Bob's system", || {
            passage.passed(Way::Forth) == HEADER + 2 * HEADER + 11
        });
        passage.reset();
        assert_eq!(rest(&to_bob), (0, CloseReason::Reset));
        eventually("the proxy has let go", || to_alice.send("x").is_err());

        // What had arrived before is still handled; answers cannot be sent.
        drop(go_on);
        let closed: Result<(), SendError> = Err(SendError::Closed(CloseReason::Reset));
        let said = |expected: &[u8]| {
            let said = has_entered.recv_timeout(SOON).expect("the handler runs");
            assert_eq!(
                said.escape_ascii().to_string(),
                expected.escape_ascii().to_string()
            );
        };
        let end = format!("{:?}", (&closed, &closed, None::<CloseReason>));
        said(end.as_bytes());
        said(b"second");
        said(end.as_bytes());
        assert!(to_alice.recv_timeout(SOON).is_err());
        assert_eq!(to_alice.close_reason(), Some(CloseReason::Reset));
        assert!(has_entered.try_recv().is_err(), "and nothing else");
    });
}

// ------------------------------------------------------------- handshakes

/// Something listens and accepts, and says nothing, to any number of those who ask.
#[test]
fn a_link_that_says_nothing() {
    test(|| {
        let world = world();
        let asking: Vec<_> = (0..16)
            .map(|_| {
                let silent = world.proxy.also(Plan::fault(Way::Back, 0, Fault::Stall));
                let (alice, addr) = (world.alice.clone(), world.proxy.addr());
                let ask = Call::start("connect", move || {
                    let options = ConnectOptions::new().timeout(Duration::from_millis(300));
                    options.connect::<Bytes>(&alice, addr).map(drop)
                });
                eventually("it goes through the proxy", || silent.has_begun());
                ask
            })
            .collect();
        for ask in asking {
            assert!(matches!(ask.finish(), Err(Error::TimedOut { .. })));
        }
        eventually("no place is taken", || world.alice.connections().is_empty());
    });
}

/// Bob's ACCEPT is lost on the way; what he says next is not.
#[test]
fn an_accept_that_is_swallowed() {
    test(|| {
        let world = world();
        let _passage = world
            .proxy
            .next(Plan::fault(Way::Back, 0, Fault::Swallow(HEADER)));
        let (alice, addr) = (world.alice.clone(), world.proxy.addr());
        let ask = Call::start("connect", move || alice.connect::<Bytes>(addr).map(drop));
        let to_alice = world.bob.accept::<Bytes>().expect("accepted");
        ask.wait_until_blocked();
        to_alice.send("first").expect("sent");
        match ask.finish() {
            Err(Error::Handshake { reason, .. }) => {
                assert_eq!(reason, "a header `DATA` where ACCEPT or DENY was expected");
            }
            other => panic!("{other:?}"),
        }
        // Alice has left bytes unread.
        assert_eq!(rest(&to_alice), (0, CloseReason::Reset));
        assert_eq!(to_alice.close(), broken(CloseReason::Reset));
    });
}

#[test]
fn events_tell_of_a_reset_once() {
    test(|| {
        let world = world();
        let events = world.bob.events();
        let (passage, to_bob, to_alice) = world.link(Plan::default());
        passage.reset();
        rest(&to_bob);
        rest(&to_alice);
        let closed = |event: &Event| matches!(event, Event::Closed { .. });
        let mut told = 0;
        eventually("the end is told", || {
            told += events.try_iter().filter(closed).count();
            told > 0
        });
        world.bob.stop();
        told += events.try_iter().filter(closed).count();
        assert_eq!(told, 1);
    });
}
