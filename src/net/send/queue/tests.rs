//! The send queue without a socket, a thread or a clock.

use super::*;

/// A half with so many bytes that are sealed and not yet written.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Fake {
    left: usize,
}

impl Unwritten for Fake {
    fn left(&self) -> usize {
        self.left
    }

    fn clear(&mut self) {
        self.left = 0;
    }
}

fn queue(limit: usize) -> SendQueue<Fake> {
    SendQueue::new(Fake::default(), limit, false)
}

fn offer(queue: &mut SendQueue<Fake>, size: usize, burst: bool) -> Offer {
    queue.offer(size, || burst)
}

#[test]
fn a_lone_message_is_written_at_once_and_a_burst_gathers() {
    let mut queue = queue(1000);
    assert_eq!(offer(&mut queue, 10, false), Offer::WriteNow);
    assert_eq!(offer(&mut queue, 10, true), Offer::Gather);
    queue.push(0, 0, &[1; 10]);
    assert_eq!(queue.next(), Next::TellFlusher);
    queue.gathering.begin();
    assert_eq!(queue.next(), Next::Nothing, "the flusher sees to it");
    assert_eq!(
        offer(&mut queue, 10, false),
        Offer::Queue,
        "behind the others"
    );
    assert_eq!(queue.numbers(), (3, 30));
}

#[test]
fn a_large_message_is_written_from_where_it_lies_if_nothing_is_before_it() {
    let mut queue = queue(1 << 20);
    assert_eq!(offer(&mut queue, LARGE, true), Offer::WriteFromWhereItLies);
    queue.push(0, 0, &[1]);
    assert_eq!(offer(&mut queue, LARGE, true), Offer::Queue);
}

#[test]
fn much_is_written_by_whoever_brings_it() {
    let mut queue = queue(1 << 20);
    queue.push(0, 0, &[1; GATHERED]);
    assert_eq!(queue.next(), Next::WriteGathered);
}

#[test]
fn whoever_writes_has_the_turn_and_gives_the_rest_back_in_order() {
    let mut queue = queue(1000);
    queue.push(0, 0, b"first");
    let half = queue.take_half(0).expect("the turn");
    let batch = queue.take_batch();
    assert_eq!((&batch[..], queue.used()), (&b"first"[..], 5));
    assert!(queue.is_held() && queue.take_half(0).is_none() && queue.half().is_none());
    queue.push(0, 0, b"second");
    assert_eq!(
        queue.next(),
        Next::Nothing,
        "the holder looks when it is back"
    );
    assert!(queue.give_half(half, batch, 2));
    assert_eq!(queue.take_batch(), b"rstsecond");
    assert!(queue.is_drained());
}

#[test]
fn bytes_out_of_the_queue_count_as_long_as_they_are_written() {
    let mut queue = queue(100);
    let half = queue.take_half(90).expect("the turn");
    assert!(!queue.admits_at_once(20) && queue.admits_at_once(10));
    queue.give_half(half, Vec::new(), 0);
    assert!(
        queue.admits_at_once(100) && queue.admits_at_once(1000),
        "alone, it may be larger"
    );
}

#[test]
fn those_who_wait_go_in_the_order_in_which_they_came() {
    let mut queue = queue(100);
    let (first, second) = (queue.queue_up(), queue.queue_up());
    assert!(!queue.admits_at_once(1), "others were first");
    assert_eq!(queue.admits(1, Some(second)), Ok(false));
    assert_eq!(queue.admits(1, Some(first)), Ok(true));
    queue.leave_line(first);
    queue.leave_line(first);
    assert_eq!(queue.admits(1, Some(second)), Ok(true));
}

#[test]
fn nobody_writes_what_is_held_back() {
    let mut queue = SendQueue::new(Fake::default(), 100, true);
    assert_eq!(offer(&mut queue, 10, false), Offer::Queue);
    queue.push(0, 0, b"early");
    assert_eq!(queue.next(), Next::Nothing);
    assert!(queue.half().is_none() && queue.take_half(0).is_none() && !queue.is_drained());
    queue.release();
    assert_eq!(queue.next(), Next::TellFlusher);
}

#[test]
fn fin_comes_once_behind_everything() {
    let mut queue = queue(100);
    queue.push(0, 0, b"last");
    queue.close(CloseReason::ClosedHere);
    queue.finish();
    assert_eq!(
        (queue.ending(), queue.next()),
        (Ending::Nothing, Next::WakeWriter)
    );
    let half = queue.take_half(0).expect("the turn");
    let batch = queue.take_batch();
    assert_eq!(queue.ending(), Ending::Nothing, "it is being written");
    queue.give_half(half, batch, 4);
    assert_eq!(queue.ending(), Ending::Fin);
    assert!(queue.is_fin_sent());
    queue.finish();
    assert_eq!(queue.ending(), Ending::Nothing);
    assert_eq!(
        queue.admits(1, None),
        Err(SendError::Closed(CloseReason::ClosedHere))
    );
}

#[test]
fn sealed_bytes_are_for_the_writer() {
    let mut queue = SendQueue::new(Fake { left: 7 }, 100, false);
    assert_eq!((queue.used(), queue.next()), (7, Next::WakeWriter));
    for writer in [Writer::Awake, Writer::Watchdog] {
        queue.writer = writer;
        assert_eq!(queue.next(), Next::Nothing);
    }
    queue.writer = Writer::Parked;
    assert_eq!(queue.next(), Next::WakeWriter);
}

#[test]
fn what_failed_or_is_over_writes_nothing_more() {
    let mut queue = queue(100);
    queue.push(0, 0, b"lost");
    queue.fail(CloseReason::Reset);
    assert!(!queue.has_work() && queue.next() == Next::Nothing);
    let half = queue.take_half(0).expect("the turn");
    queue.give_up(CloseReason::Aborted);
    assert!(queue.is_gone() && !queue.give_half(half, b"late".to_vec(), 0));
    assert!(!queue.has_work() && !queue.is_drained());
    assert_eq!(queue.why_closed(), CloseReason::Reset, "the first cause");
}

#[test]
fn the_rest_of_a_large_message_goes_before_what_came_meanwhile() {
    let mut queue = queue(100);
    queue.push(0, 0, b"behind");
    queue.push_front([b"he", b"ad "]);
    assert_eq!(queue.take_batch(), b"head behind");
}

/// Most messages of a burst follow those that wait, and nothing is decided about them. After each
/// change of what matters, something is.
#[test]
fn a_message_follows_others_only_while_nothing_has_changed() {
    const MARK: usize = 7;
    let append =
        |queue: &mut SendQueue<Fake>| queue.append(&[1; 10], DataType::Bytes, Shape::Frame, MARK);
    let gathering = |limit: usize| {
        let mut queue = queue(limit);
        assert!(!append(&mut queue), "nothing waits");
        assert_eq!(offer(&mut queue, 10, true), Offer::Gather);
        queue.push(0, 0, &[1; 10]);
        queue.gatherer = MARK;
        queue.note_append();
        assert!(!append(&mut queue), "the flusher is not told");
        queue.gathering.begin();
        queue.note_append();
        queue
    };
    let mut queue = gathering(1 << 20);
    assert!(append(&mut queue));
    assert_eq!((queue.numbers(), queue.used()), ((2, 20), 21));
    assert!(!queue.append(&[1; 10], DataType::Bytes, Shape::Frame, MARK + 1));
    let mut small = gathering(100);
    assert!(!append(&mut small), "there may be no room");
    for change in 0..4 {
        let mut queue = gathering(1 << 20);
        match change {
            0 => queue.close(CloseReason::ClosedHere),
            1 => drop(queue.queue_up()),
            2 => drop(queue.look(Instant::now())),
            _ => {
                let half = queue.take_half(0).expect("it is here");
                assert!(!append(&mut queue));
                queue.note_append();
                assert!(append(&mut queue), "whoever writes looks afterwards");
                assert!(queue.give_half(half, Vec::new(), 0));
            }
        }
        assert!(!append(&mut queue), "{change}");
    }
    // What has gathered is much: whoever brings it writes it.
    let mut queue = gathering(1 << 20);
    while append(&mut queue) {}
    assert!((GATHERED - 200..GATHERED).contains(&queue.used()));
}
