//! The receive queue without threads: what is handed over, lent and taken, by every way out.
//!
//! A long file, since its tests share one queue of known bounds and one source.

use super::super::lease::{Fed, Taken};
use super::super::producer::Producer;
use super::super::select::open;
use super::*;
use crate::net::os::sync::Instant;

const LIMIT: Amount = Amount {
    messages: 8,
    bytes: 1000,
};

type Queue = ReceiveQueue<u32>;

/// A source that the queue only keeps. `unread`: more has come than was taken.
struct Numbers {
    unread: bool,
}

impl Source<u32> for Numbers {
    fn take(&mut self, _: bool, _: &mut Option<u32>) -> Result<Taken, CloseReason> {
        unreachable!("the program reads, and not the queue")
    }

    fn read_until(
        &mut self,
        _: Option<Instant>,
        _: &mut Option<u32>,
        _: &mut dyn FnMut() -> bool,
    ) -> Result<Taken, CloseReason> {
        unreachable!("the program reads, and not the queue")
    }

    fn take_plain(&mut self, item: &mut Option<u32>) -> Option<usize> {
        std::mem::take(&mut self.unread).then(|| {
            *item = Some(7);
            1
        })
    }

    fn feed(&mut self, _: &mut Producer<u32>) -> Result<Fed, CloseReason> {
        unreachable!("the reader thread feeds, and not the queue")
    }

    fn is_begun(&self) -> bool {
        false
    }

    fn has_unread(&self) -> bool {
        self.unread
    }
}

fn queue() -> Queue {
    ReceiveQueue::new(LIMIT, None)
}

fn source(unread: bool) -> Box<dyn Source<u32>> {
    Box::new(Numbers { unread })
}

fn hand_over(queue: &mut Queue, numbers: impl IntoIterator<Item = u32>) {
    let mut fresh = Batch::default();
    for number in numbers {
        fresh.push(number, 10);
    }
    queue.hand_over(&mut fresh);
    assert_eq!(fresh.len(), 0);
}

fn channel() -> (Box<SelectProducer<u32>>, crossbeam_channel::Receiver<u32>) {
    let (producer, _, receiver) = open(LIMIT.messages, LIMIT.bytes);
    (Box::new(producer), receiver)
}

/// In words, so that it can be compared.
fn find(queue: &mut Queue) -> String {
    let mut item = None;
    match queue.find(&mut item) {
        Found::Item { wake_reader } => {
            let item = item.expect("the message that was found");
            match wake_reader {
                true => format!("{item}, wake"),
                false => item.to_string(),
            }
        }
        Found::Source(..) => "source".to_owned(),
        Found::Nothing => "nothing".to_owned(),
        Found::Ended => "ended".to_owned(),
        Found::Channel => "channel".to_owned(),
    }
}

/// Takes the source that was lent.
fn take(queue: &mut Queue) -> Box<dyn Source<u32>> {
    match queue.find(&mut None) {
        Found::Source(source, _) => source,
        _ => panic!("nothing is lent"),
    }
}

fn is_back(queue: &mut Queue, over: bool) -> bool {
    matches!(queue.collect(over), Some(Back::Source(_)))
}

#[test]
fn messages_come_in_order_however_they_are_batched() {
    for size in [1, 2, 127, 128, 129, 500] {
        let mut queue = queue();
        let mut taken = 0;
        for begin in (0..2000).step_by(size) {
            hand_over(&mut queue, begin..begin + size as u32);
            // The program is slower than the reader.
            for _ in 0..size / 2 {
                assert_eq!(find(&mut queue), taken.to_string());
                taken += 1;
            }
        }
        while taken < queue.amount().messages as u32 + taken {
            assert_eq!(find(&mut queue), taken.to_string());
            taken += 1;
        }
        assert!(taken >= 2000);
        assert_eq!(queue.amount(), Amount::default());
        assert_eq!(find(&mut queue), "nothing");
    }
}

#[test]
fn a_lone_message_is_put_into_the_batch_before_it() {
    let mut queue = queue();
    (0..SMALL.messages as u32).for_each(|number| hand_over(&mut queue, [number]));
    assert_eq!(queue.behind.len(), 1);
    hand_over(&mut queue, [0]);
    assert_eq!(queue.behind.len(), 2);
}

fn run(numbers: impl IntoIterator<Item = u32>) -> Batch<u32> {
    let mut run = Batch::default();
    numbers.into_iter().for_each(|number| run.push(number, 10));
    run
}

#[test]
fn what_a_program_reads_along_comes_before_it_reads_again() {
    let mut queue = queue();
    queue.lend(source(false));
    let source = take(&mut queue);
    queue.put_run(run([2, 3]));
    queue.put_back(source, Some(1));
    assert_eq!(queue.taken(), 3);
    assert_eq!(find(&mut queue), "2");
    assert_eq!(find(&mut queue), "3");
    assert_eq!(find(&mut queue), "source");
}

#[test]
fn what_a_program_reads_along_is_untaken_until_it_takes_it() {
    let mut queue = queue();
    queue.lend(source(false));
    let source = take(&mut queue);
    queue.put_run(run([2, 3, 4]));
    queue.put_back(source, Some(1));
    assert_eq!(find(&mut queue), "2");
    let (unread, dropped) = queue.abandon(0);
    assert!(unread);
    assert_eq!(queue.taken(), 2);
    drop(dropped);
}

#[test]
fn what_a_program_reads_along_goes_into_the_channel_that_was_asked_for_meanwhile() {
    let mut queue = queue();
    queue.lend(source(false));
    let source = take(&mut queue);
    let (producer, receiver) = channel();
    assert!(queue.select(producer).is_none());
    // As many as may wait at all.
    queue.put_run(run(2..10));
    assert!(queue.put_back(source, Some(1)).wake_reader);
    assert_eq!(queue.taken(), 9);
    assert_eq!(
        receiver.try_iter().collect::<Vec<_>>(),
        Vec::from_iter(2..10)
    );
    assert!(is_back(&mut queue, false));
}

#[test]
fn a_program_that_reads_along_is_as_fast_as_what_it_reads() {
    let mut queue = queue();
    queue.lend(source(true));
    // It leaves something behind at each look, and is fast enough each time.
    for _ in 0..5 {
        let mut numbers = 0;
        while numbers < 64 {
            let source = take(&mut queue);
            queue.put_run(run(0..8));
            queue.put_back(source, Some(1));
            numbers += 9;
            while queue.pop(&mut None).is_some() {}
        }
        assert!(queue.tick().goes_on);
    }
}

#[test]
fn the_end_comes_behind_the_messages() {
    let mut queue = queue();
    hand_over(&mut queue, [1]);
    let mut fresh = Batch::default();
    fresh.push(2, 10);
    assert!(queue.end(Some(&mut fresh)).is_none());
    let found = [(); 4].map(|()| find(&mut queue));
    assert_eq!(found, ["1", "2", "ended", "ended"]);
}

#[test]
fn a_patient_reader_waits_for_half_of_the_room_and_any_other_for_some() {
    let mut queue = queue();
    hand_over(&mut queue, 0..8);
    assert_eq!(queue.room(10, true), Room::AtHalf);
    let found = [(); 4].map(|()| find(&mut queue));
    assert_eq!(found, ["0", "1", "2", "3, wake"]);
    assert_eq!(queue.room(10, true), Room::Here);
    hand_over(&mut queue, 8..12);
    assert_eq!(queue.room(10, false), Room::AtAny);
    assert_eq!(find(&mut queue), "4, wake");
    assert_eq!(find(&mut queue), "5");
    assert_eq!(queue.room(10, false), Room::Here);
}

#[test]
fn bytes_are_bounded_too_but_for_a_message_alone() {
    let mut queue = queue();
    assert_eq!(queue.room(5000, true), Room::Here);
    hand_over(&mut queue, [1]);
    assert_eq!(queue.room(990, true), Room::Here);
    assert_eq!(queue.room(991, true), Room::AtAny);
    assert_eq!(queue.room(usize::MAX, true), Room::AtAny);
}

#[test]
fn one_thread_reads_and_the_others_wait() {
    let mut queue = queue();
    hand_over(&mut queue, [1]);
    assert!(queue.lend(source(false)));
    // What waits comes first.
    assert_eq!(find(&mut queue), "1");
    let source = take(&mut queue);
    assert_eq!(find(&mut queue), "nothing");
    assert!(!is_back(&mut queue, false));
    let returned = queue.put_back(source, Some(10));
    assert_eq!((returned.wake_reader, returned.watch), (false, false));
    assert_eq!(find(&mut queue), "source");
}

/// A message that needs no decoding does not take the source away.
#[test]
fn plain_messages_are_taken_where_the_source_lies() {
    let make: fn(&[u8]) -> u32 = |_| 0;
    let mut queue = ReceiveQueue::new(LIMIT, Some(make));
    queue.lend(source(true));
    assert_eq!(find(&mut queue), "7");
    assert_eq!(find(&mut queue), "source");
}

#[test]
fn a_recalled_source_goes_to_the_reader_wherever_it_is() {
    let mut queue = queue();
    queue.lend(source(false));
    assert!(queue.recall(), "the reader is to be woken");
    assert_eq!(find(&mut queue), "nothing");
    assert!(is_back(&mut queue, false));

    queue.lend(source(false));
    let taken = take(&mut queue);
    assert!(!queue.recall(), "it is not here yet");
    assert!(!is_back(&mut queue, true));
    assert!(queue.put_back(taken, Some(10)).wake_reader);
    assert_eq!(find(&mut queue), "nothing");
    assert!(is_back(&mut queue, false));
    assert!(!queue.recall(), "the reader reads");
}

#[test]
fn the_reader_takes_the_source_back_where_the_connection_is_over() {
    let mut queue = queue();
    queue.lend(source(false));
    assert!(is_back(&mut queue, true));
}

#[test]
fn the_reader_learns_of_the_end_that_the_program_found() {
    for reason in [Ok(()), Err(CloseReason::Reset)] {
        let mut queue = queue();
        queue.lend(source(false));
        drop(take(&mut queue));
        assert!(queue.finish(reason.clone()).wake_reader);
        assert_eq!(find(&mut queue), "nothing");
        assert!(!queue.recall());
        match queue.collect(false) {
            Some(Back::End(end)) => assert_eq!(end, reason),
            _ => panic!("no end"),
        }
        queue.end(None);
        assert_eq!(find(&mut queue), "ended");
    }
}

#[test]
fn a_program_that_does_not_come_back_loses_the_lease() {
    let mut queue = queue();
    queue.lend(source(false));
    let [first, second] = [(); 2].map(|()| queue.tick());
    assert_eq!((first.wake_reader, first.goes_on), (false, true));
    assert_eq!((second.wake_reader, second.goes_on), (true, false));
    assert!(is_back(&mut queue, false));
}

#[test]
fn a_program_that_leaves_messages_behind_twice_loses_the_lease() {
    let mut queue = queue();
    queue.lend(source(true));
    for goes_on in [true, false] {
        let source = take(&mut queue);
        queue.put_back(source, Some(10));
        assert_eq!(queue.tick().goes_on, goes_on);
    }
}

#[test]
fn a_fast_program_keeps_the_lease() {
    let mut queue = queue();
    queue.lend(source(true));
    for _ in 0..5 {
        let source = take(&mut queue);
        queue.put_back(source, Some(1 << 20));
        assert!(queue.tick().goes_on);
    }
}

#[test]
fn the_watchdog_rests_while_the_program_waits_for_the_socket() {
    let mut queue = queue();
    queue.lend(source(false));
    let source = take(&mut queue);
    let ticks = [(); 3].map(|()| queue.tick());
    assert_eq!(ticks.map(|tick| tick.goes_on), [true, false, false]);
    assert!(ticks.iter().all(|tick| !tick.wake_reader));
    assert!(
        queue.put_back(source, Some(10)).watch,
        "and is asked for again"
    );
}

#[test]
fn all_that_waits_and_comes_goes_by_the_channel() {
    let mut queue = queue();
    hand_over(&mut queue, 0..3);
    let (producer, receiver) = channel();
    assert!(queue.select(producer).is_none());
    assert_eq!(find(&mut queue), "channel");
    assert_eq!(queue.amount().messages, 0);
    assert!(
        queue
            .channel()
            .is_some_and(|mut c| c.try_push(3, 10).is_ok())
    );
    assert!(queue.channel().is_none(), "the reader has it");
    assert!(queue.end(None).is_none());
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(find(&mut queue), "channel");
}

#[test]
fn the_channel_of_an_ended_queue_has_what_waits_and_ends() {
    let mut queue = queue();
    hand_over(&mut queue, [1]);
    queue.end(None);
    let (producer, receiver) = channel();
    drop(queue.select(producer).expect("nothing more will come"));
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [1]);
}

/// The channel is asked for at any moment of a lease: the reader gets the source or the end first,
/// and then the channel.
#[test]
fn a_lease_ends_where_the_program_asks_for_the_channel() {
    for moment in ["lent", "reading", "recalled", "at its end"] {
        let mut queue = queue();
        queue.lend(source(false));
        let mut taken = None;
        match moment {
            "reading" => taken = Some(take(&mut queue)),
            "recalled" => drop(queue.recall()),
            "at its end" => {
                drop(take(&mut queue));
                queue.finish(Ok(()));
            }
            _ => {}
        }
        assert!(queue.select(channel().0).is_none());
        assert_eq!(find(&mut queue), "channel", "{moment}");
        assert!(queue.channel().is_none(), "not before the lease is over");
        if let Some(taken) = taken {
            assert!(queue.collect(false).is_none());
            assert!(queue.put_back(taken, Some(10)).wake_reader);
        }
        let back = queue.collect(false).expect("what was lent");
        assert_eq!(matches!(back, Back::End(_)), moment == "at its end");
        assert!(queue.channel().is_some(), "{moment}");
        assert_eq!(find(&mut queue), "channel", "{moment}");
    }
}

#[test]
fn an_abandoned_queue_knows_whether_something_waited() {
    for (waits, unread) in [(false, false), (true, false), (false, true)] {
        let mut queue = queue();
        hand_over(&mut queue, waits.then_some(1));
        queue.lend(source(unread));
        assert_eq!(queue.abandon(0).0, waits || unread);
        assert_eq!(queue.amount(), Amount::default());
        assert!(is_back(&mut queue, true));
    }
}

/// What was taken in is what the other side is told, however it came.
#[test]
fn what_was_taken_in_is_counted_whatever_the_way() {
    let mut queue = queue();
    hand_over(&mut queue, [1, 2, 3]);
    assert_eq!(queue.taken(), 3, "a queue that somebody has takes in all");
    assert_eq!(find(&mut queue), "1");
    (0..4).for_each(|_| queue.count_one());
    assert_eq!(queue.taken(), 7, "four came by the channel");
    assert!(!queue.is_left());
    let (unread, _dropped) = queue.abandon(3);
    assert!(unread && queue.is_left());
    assert_eq!(queue.taken(), 2, "one from here, and one from the channel");
    hand_over(&mut queue, [4]);
    queue.count_one();
    assert_eq!(queue.taken(), 2, "what comes then is for nobody");

    let mut read = self::queue();
    read.lend(source(false));
    let source = take(&mut read);
    read.put_back(source, Some(10));
    let source = take(&mut read);
    read.put_back(source, None);
    assert_eq!(read.taken(), 1, "one was read");
}

#[test]
fn the_newest_takes_the_place_of_what_waits() {
    let mut queue = queue();
    let mut fresh = Batch::default();
    for number in 1..=3 {
        fresh.push(number, 1);
        assert_eq!(queue.replace(&mut fresh), usize::from(number > 1));
        fresh.clear();
        assert_eq!(queue.amount().messages, 1);
    }
    assert_eq!(find(&mut queue), "3");
    assert_eq!(find(&mut queue), "nothing");
    assert_eq!(queue.taken(), 3, "what is replaced was taken in");
    fresh.push(4, 1);
    queue.replace(&mut fresh);
    assert!(queue.abandon(0).0);
    assert_eq!(queue.taken(), 3, "what nobody took was not");
}
