//! The two ends of a queue together.

use crossbeam_channel::TryRecvError;

use super::*;
use crate::net::life::Life;

const BURST: usize = 20_000;
/// What each end may keep.
const KEPT: usize = 300 << 10;

struct Queue {
    life: Life,
    producer: Producer<Vec<u8>>,
    consumer: Consumer<Vec<u8>>,
}

impl Queue {
    fn new() -> Queue {
        let addr = "127.0.0.1:1".parse().unwrap();
        let context = Arc::new(Context::new(Default::default(), addr));
        let make: fn(&[u8]) -> Vec<u8> = <[u8]>::to_vec;
        let (producer, consumer) = receive_queue(usize::MAX, usize::MAX, Some(make), &context);
        Queue {
            life: Life::default(),
            producer,
            consumer,
        }
    }

    fn push(&mut self, count: usize) {
        for _ in 0..count {
            self.producer.push_plain(&self.life, &[7; 100]).unwrap();
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
