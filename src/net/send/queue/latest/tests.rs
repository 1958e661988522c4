//! Messages that are replaced, without a socket, a thread or a clock.

use super::super::tests::Fake;
use super::super::*;

type Queue = SendQueue<Fake>;

fn queue() -> Queue {
    SendQueue::new(Fake::default(), 100, false)
}

/// A plain message without a head.
fn send(queue: &mut Queue, payload: &[u8]) {
    queue.offer(payload.len(), || true);
    queue.push(0, 0, payload);
}

/// One that waits and may be replaced, as where the socket is full. Has it replaced another?
fn send_latest(queue: &mut Queue, payload: &[u8]) -> bool {
    let withdrawn = queue.withdraw();
    let replaced = withdrawn.is_some();
    queue.offer_latest(payload.len(), withdrawn);
    queue.push_latest(0, payload);
    replaced
}

/// What one turn takes, which is written as far as that, or to the end.
fn turn(queue: &mut Queue, written: impl Into<Option<usize>>) -> Vec<u8> {
    let half = queue.take_half(0).expect("the turn");
    let batch = queue.take_batch();
    let taken = batch.clone();
    let written = written.into().unwrap_or(batch.len());
    assert!(queue.give_half(half, batch, written));
    taken
}

/// Everything that is left, turn by turn.
fn rest(queue: &mut Queue) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while queue.has_work() {
        all.push(turn(queue, None));
    }
    all
}

#[test]
fn the_newest_replaces_the_one_that_waits_and_is_counted_for_it() {
    let mut queue = queue();
    assert!(queue.offer_latest(1, None), "nothing waits: it is written");
    queue.take_back(1);
    for number in 1..=5 {
        assert_eq!(send_latest(&mut queue, &[number; 10]), number > 1);
        assert_eq!((queue.numbers(), queue.waiting()), ((1, 10), 10));
        assert_eq!(queue.replaced(), u64::from(number) - 1);
    }
    assert!(queue.has_work() && !queue.is_drained());
    assert_eq!(queue.next(), Next::WakeWriter);
    assert_eq!(rest(&mut queue), [[5; 10]]);
    assert!(queue.is_drained());
    assert_eq!(
        (queue.numbers(), queue.replaced(), queue.waiting()),
        ((1, 10), 4, 0)
    );
}

#[test]
fn everything_keeps_its_order_but_for_what_is_replaced() {
    let mut queue = queue();
    send(&mut queue, b"one ");
    send_latest(&mut queue, b"first");
    send(&mut queue, b"two ");
    let mut same = self::queue();
    send(&mut same, b"one ");
    send_latest(&mut same, b"first");
    send(&mut same, b"two ");
    assert_eq!(
        rest(&mut same),
        [&b"one "[..], b"first", b"two "],
        "as they were sent"
    );

    assert!(
        send_latest(&mut queue, b"second"),
        "in spite of what is behind it"
    );
    send(&mut queue, b"three ");
    assert_eq!(rest(&mut queue), [&b"one two "[..], b"second", b"three "]);
    assert_eq!(queue.numbers().0, 4);
}

#[test]
fn what_has_begun_to_leave_is_finished() {
    let mut queue = queue();
    send_latest(&mut queue, b"begun");
    assert_eq!(turn(&mut queue, 1), b"begun");
    assert!(!send_latest(&mut queue, b"newer"), "it has begun to leave");
    send(&mut queue, b"plain");
    assert!(send_latest(&mut queue, b"newest"));
    assert_eq!(rest(&mut queue), [&b"egunplain"[..], b"newest"]);
    assert_eq!((queue.numbers().0, queue.replaced()), (3, 1));
}

#[test]
fn one_that_the_socket_does_not_take_waits_on_or_is_replaced_meanwhile() {
    let mut queue = queue();
    send_latest(&mut queue, b"old");
    turn(&mut queue, 0);
    assert!(send_latest(&mut queue, b"new"), "nothing of it has left");

    let half = queue.take_half(0).expect("the turn");
    let batch = queue.take_batch();
    assert!(queue.is_latest_out() && !queue.latest.waits());
    send(&mut queue, b"plain");
    assert!(
        !send_latest(&mut queue, b"newer"),
        "what is out is looked at when it is back"
    );
    assert_eq!(queue.numbers().0, 3);
    assert!(queue.give_half(half, batch, 0));
    assert_eq!((queue.numbers(), queue.replaced()), ((2, 10), 2));
    assert_eq!(rest(&mut queue), [&b"plain"[..], b"newer"]);

    send_latest(&mut queue, b"alone");
    let half = queue.take_half(0).expect("the turn");
    let batch = queue.take_batch();
    send(&mut queue, b"behind");
    assert!(queue.give_half(half, batch, 0));
    assert_eq!(rest(&mut queue), [&b"alone"[..], b"behind"], "in its place");
}

#[test]
fn it_takes_no_room_from_others_and_waits_for_none() {
    let mut queue = queue();
    send_latest(&mut queue, &[1; 1000]);
    assert!(queue.admits_at_once(100), "it waits");
    turn(&mut queue, 1);
    assert!(queue.admits_at_once(100), "its rest is to leave");
    send(&mut queue, &[2; 60]);
    assert!(queue.admits_at_once(40) && !queue.admits_at_once(41));
    let half = queue.take_half(0).expect("the turn");
    let batch = queue.take_batch();
    assert_eq!(batch.len(), 999 + 60);
    assert!(
        queue.admits_at_once(40) && !queue.admits_at_once(41),
        "others are with it"
    );
    assert!(queue.give_half(half, batch, 999 + 20));
    assert!(queue.admits_at_once(60) && !queue.admits_at_once(61));
    send_latest(&mut queue, &[3; 1000]);
    assert_eq!(queue.waiting(), 40 + 1000);
}

#[test]
fn the_rest_of_a_large_message_goes_before_it() {
    let mut queue = queue();
    send(&mut queue, b"then ");
    send_latest(&mut queue, b"last");
    queue.push_front([b"fir", b"st "]);
    assert_eq!(rest(&mut queue), [&b"first then "[..], b"last"]);
}

#[test]
fn the_end_comes_behind_it_and_takes_it_along_when_all_is_over() {
    let mut queue = queue();
    send_latest(&mut queue, b"last");
    queue.close(CloseReason::ClosedHere);
    assert_eq!(queue.refusal(), Some(&CloseReason::ClosedHere));
    queue.say(Said::Goodbye, |_| b"bye".to_vec());
    queue.finish();
    assert_eq!(queue.ending(), Ending::Nothing);
    assert_eq!(rest(&mut queue), [&b"last"[..], b"bye"]);
    assert_eq!(queue.ending(), Ending::Fin);

    let mut broken = self::queue();
    send_latest(&mut broken, b"lost");
    broken.give_up(CloseReason::Reset);
    assert!(!broken.has_work() && broken.waiting() == 0);
}

/// Where it cannot be replaced after all, it is as it was.
#[test]
fn what_is_restored_was_never_away() {
    let mut queue = queue();
    send(&mut queue, b"one ");
    send_latest(&mut queue, b"kept");
    send(&mut queue, b" two");
    let withdrawn = queue.withdraw();
    assert_eq!(queue.numbers(), (2, 8));
    queue.restore(withdrawn);
    assert_eq!((queue.numbers(), queue.replaced()), ((3, 12), 0));
    assert_eq!(rest(&mut queue), [&b"one "[..], b"kept", b" two"]);
}

#[test]
fn a_message_that_may_be_replaced_is_a_use() {
    let mut queue = queue();
    assert!(queue.is_unused());
    send_latest(&mut queue, &[1]);
    assert!(!queue.is_unused());
}
