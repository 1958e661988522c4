//! The two ends of a queue together.

use crossbeam_channel::TryRecvError;

use super::batch::Batch;
use super::lease::{Back, Fed, Source, Taken};
use super::queue::Found;
use super::waiter::Waited;
use super::*;
use crate::error::CloseReason;
use crate::net::life::Life;
use crate::net::os::sync::Instant;
use crate::net::wire::span::Span;

const BURST: usize = 20_000;
/// What each end may keep.
const KEPT: usize = 300 << 10;

struct Queue {
    producer: Producer<Vec<u8>>,
    consumer: Consumer<Vec<u8>>,
}

impl Queue {
    fn new() -> Queue {
        let addr = "127.0.0.1:1".parse().unwrap();
        let context = Arc::new(Context::new(Default::default(), addr));
        let make: fn(&[u8]) -> Vec<u8> = <[u8]>::to_vec;
        let (producer, consumer) = receive_queue(usize::MAX, usize::MAX, Some(make), &context);
        Queue { producer, consumer }
    }

    fn push(&mut self, count: usize) {
        for _ in 0..count {
            let frame = [&[100][..], &[7; 100]].concat();
            let pushed = self.producer.push_run(|messages, bytes, _, spans| {
                assert!(messages > 0 && bytes >= frame.len());
                spans.extend(Span::new(1, 100));
                &frame
            });
            assert!(pushed);
        }
        self.producer.hand_over();
    }

    /// These, of which there are enough.
    fn take(&self, count: usize) {
        for _ in 0..count {
            assert_eq!(self.consumer.try_recv(), Ok(vec![7; 100]));
        }
    }

    /// Memory of the queue, and of what the reader has.
    fn memory(&self) -> [usize; 2] {
        let queue = lock(&self.consumer.meeting.queue).memory();
        [queue, self.producer.memory()]
    }

    fn assert_keeps_little(&self) {
        let memory = self.memory();
        assert!(memory.iter().all(|kept| *kept <= KEPT), "{memory:?}");
    }
}

#[test]
fn a_burst_leaves_no_memory_behind() {
    let mut queue = Queue::new();
    queue.push(BURST);
    assert!(queue.memory()[0] > 2_000_000);
    queue.take(BURST);
    assert_eq!(queue.consumer.try_recv(), Err(TryRecvError::Empty));
    queue.assert_keeps_little();
}

#[test]
fn a_burst_with_something_behind_it_leaves_none_either() {
    let mut queue = Queue::new();
    queue.push(BURST);
    queue.take(BURST);
    queue.push(1);
    queue.take(1);
    assert_eq!(queue.consumer.try_recv(), Err(TryRecvError::Empty));
    queue.assert_keeps_little();
}

/// Batches change places with what the reader has.
#[test]
fn the_reader_keeps_no_memory_of_a_burst() {
    let mut queue = Queue::new();
    queue.push(BURST);
    queue.take(BURST);
    queue.push(1);
    queue.take(1);
    queue.push(1);
    queue.assert_keeps_little();
    queue.take(1);
}

/// An item that counts those that were dropped.
struct Counted(u32, Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

/// By whichever way they come, only the newest waits, and all others are let go of at once.
#[test]
fn only_the_newest_waits_by_either_way() {
    let addr = "127.0.0.1:1".parse().unwrap();
    let context = Arc::new(Context::new(Default::default(), addr));
    let (mut producer, consumer) = latest_queue(None, &context);
    let (life, dropped) = (Life::default(), Arc::new(AtomicUsize::new(0)));
    let mut push = |number| {
        let item = Counted(number, Arc::clone(&dropped));
        producer.push(&life, item, 1).unwrap();
    };
    let replaced = || consumer.meeting.replaced();
    let taken = || consumer.try_recv().map(|item| item.0);
    (1..=4).for_each(&mut push);
    assert_eq!((dropped.load(Ordering::SeqCst), replaced()), (3, 3));
    assert_eq!(
        (consumer.len(), taken(), taken()),
        (1, Ok(4), Err(TryRecvError::Empty))
    );
    push(5);
    let channel = consumer.channel();
    push(6);
    push(7);
    assert_eq!(
        (channel.len(), replaced()),
        (1, 5),
        "what waited is replaced there"
    );
    assert_eq!(taken(), Ok(7));
    push(8);
    assert_eq!(consumer.meeting.taken(), 8, "all of them were taken in");
    drop(producer);
    assert_eq!((taken(), taken()), (Ok(8), Err(TryRecvError::Disconnected)));
    assert_eq!(dropped.load(Ordering::SeqCst), 8);
}

/// Whoever drops the last handle has not taken what waits then.
#[test]
fn the_newest_is_not_taken_in_by_one_who_leaves() {
    let addr = "127.0.0.1:1".parse().unwrap();
    let context = Arc::new(Context::new(Default::default(), addr));
    for by_channel in [false, true] {
        let (mut producer, consumer) = latest_queue::<u32>(None, &context);
        let life = Life::default();
        if by_channel {
            consumer.channel();
        }
        for number in 0..3 {
            producer.push(&life, number, 1).unwrap();
        }
        assert!(consumer.abandon().0);
        producer.push(&life, 3, 1).unwrap();
        assert!(producer.is_abandoned());
        assert_eq!(consumer.meeting.taken(), 2, "{by_channel}");
    }
}

/// Nothing ever comes from it. It panics when it is read far too often, which ends the wait as well.
struct Silent(Arc<AtomicUsize>);

impl Source<Vec<u8>> for Silent {
    fn take(&mut self, _: bool, _: &mut Option<Vec<u8>>) -> Result<Taken, CloseReason> {
        unreachable!("no message is wanted")
    }

    fn read_until(
        &mut self,
        deadline: Option<Instant>,
        _: &mut Option<Vec<u8>>,
        done: &mut dyn FnMut() -> bool,
    ) -> Result<Taken, CloseReason> {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) < 1_000);
        while !done() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            std::thread::yield_now();
        }
        Ok(Taken::Nothing)
    }

    fn take_plain(&mut self, _: &mut Option<Vec<u8>>) -> Option<usize> {
        None
    }

    fn feed(&mut self, _: &mut Producer<Vec<u8>>) -> Result<Fed, CloseReason> {
        unreachable!("the reader thread sleeps")
    }

    fn is_begun(&self) -> bool {
        false
    }

    fn has_unread(&self) -> bool {
        false
    }
}

/// The source that it puts back is there for it again; it must not read on for no time at all.
#[test]
fn a_wait_that_reads_for_itself_ends_at_its_deadline() {
    let queue = Queue::new();
    let reads = Arc::new(AtomicUsize::new(0));
    let source = Box::new(Silent(Arc::clone(&reads)));
    lock(&queue.consumer.meeting.queue).lend(source);
    let deadline = Instant::now() + std::time::Duration::from_millis(5);
    let waiter = queue.consumer.waiter();
    let waited = waiter.wait(Some(deadline), true, || false, |_| ());
    assert!(matches!(waited, Waited::Late));
    assert!(Instant::now() >= deadline);
    assert_eq!(reads.load(Ordering::SeqCst), 1);
}

/// It has room for fewer then. Filled by both, the channel had no room for all.
#[test]
fn the_reader_counts_what_was_put_in_while_its_source_was_lent() {
    let addr = "127.0.0.1:1".parse().unwrap();
    let context = Arc::new(Context::new(Default::default(), addr));
    let (mut producer, consumer) = receive_queue::<Vec<u8>>(3, usize::MAX, None, &context);
    let soon = Some(Instant::now() + std::time::Duration::from_secs(20));
    let reader = std::thread::spawn(move || {
        let life = Life::default();
        let source = Box::new(Silent(Arc::default()));
        let back = producer.lend(&life, source);
        assert!(matches!(back, Back::Source(_)));
        for number in 2..5 {
            producer.push(&life, vec![number], 1).unwrap();
        }
        producer.hand_over();
        assert!(!producer.is_abandoned());
    });
    let source = loop {
        if let Found::Source(source, _) = lock(&consumer.meeting.queue).find(&mut None) {
            break source;
        }
        assert!(!is_late(soon), "nothing was lent");
        std::thread::yield_now();
    };
    consumer.channel();
    let mut run = Batch::default();
    (0..2).for_each(|number| run.push(vec![number], 1));
    let mut queue = lock(&consumer.meeting.queue);
    queue.put_run(run);
    assert!(queue.put_back(source, None).wake_reader);
    drop(queue);
    consumer.meeting.room.notify_one();
    for number in 0..5 {
        assert_eq!(consumer.recv(soon), Ok(vec![number]));
    }
    reader.join().unwrap();
}
