//! Both sides send many messages at once, and the link fails at any byte of either direction.

use std::thread;

use lanpeer::{Bytes, Connection};

use super::dice::{Dice, mix};
use super::exchange::{HEADER, World};
use super::many::try_all;
use super::peers::{SOON, numbered};
use super::proxy::{Fault, Plan, Way};

/// In each direction.
const MESSAGES: u64 = 12;

/// Both sides send at once, and a fault strikes one direction at any byte of it.
#[derive(Clone, Copy, Debug)]
struct Storm {
    seed: u64,
    fault: Fault,
}

impl Storm {
    /// A number below `bound` for each place where one is needed.
    fn below(&self, bound: u64, place: u64) -> u64 {
        Dice::new(mix(self.seed) ^ place).number_below(bound)
    }

    fn message(&self, way: Way, number: u64) -> Vec<u8> {
        let size = 8 + self.below(3000, 1000 * way as u64 + number);
        numbered(number, size as usize)
    }

    /// Where each message ends, behind the header of the handshake.
    fn ends(&self, way: Way) -> Vec<u64> {
        let mut end = HEADER;
        let lengths = (0..MESSAGES).map(|number| self.message(way, number).len() as u64);
        lengths
            .map(|length| {
                end += HEADER + length;
                end
            })
            .collect()
    }

    fn run(self, world: &World) {
        let way = [Way::Forth, Way::Back][self.below(2, 1) as usize];
        let ends = self.ends(way);
        let total = ends[MESSAGES as usize - 1];
        let at = HEADER + self.below(total - HEADER + 1, 2);
        let (passage, to_bob, to_alice) = world.link(Plan::fault(way, at, self.fault));

        let speak = |connection: &Connection<Bytes>, way| {
            (0..MESSAGES)
                .take_while(|number| connection.send(&self.message(way, *number)).is_ok())
                .count() as u64
        };
        let hear = |connection: &Connection<Bytes>, way, most| {
            let mut count = 0;
            while count < most {
                let Ok(message) = connection.recv_timeout(SOON) else {
                    break;
                };
                assert_eq!(message, self.message(way, count));
                count += 1;
            }
            count
        };
        let (alice, bob) = thread::scope(|scope| {
            let bob = scope.spawn(|| {
                let speaking = scope.spawn(|| speak(&to_alice, Way::Back));
                let heard = hear(&to_alice, Way::Forth, u64::MAX);
                let _ = to_alice.close();
                (speaking.join().expect("Bob speaks"), heard)
            });
            let hearing = scope.spawn(|| hear(&to_bob, Way::Back, MESSAGES));
            let sent = speak(&to_bob, Way::Forth);
            // She closes when she has heard all, or the end.
            let heard = hearing.join().expect("Alice hears");
            let close = to_bob.close();
            assert!(to_bob.try_recv().is_err(), "more than was sent");
            ((sent, heard, close), bob.join().expect("Bob"))
        });
        let (sent_by_alice, to_alice_count, close) = alice;
        let (sent_by_bob, to_bob_count) = bob;
        assert!(to_alice_count <= sent_by_bob && to_bob_count <= sent_by_alice);

        // What came before the fault arrives, and nothing of what comes after it.
        passage.wait_until_struck();
        let whole = ends.iter().filter(|end| **end <= at).count() as u64;
        let heard = [to_bob_count, to_alice_count][way as usize];
        assert_eq!(heard, whole, "{self:?} {way:?} at {at}");

        // A FIN that Bob has not sent deceives her; of all others she knows.
        let boundary = at == HEADER || ends.contains(&at);
        let deceived = match self.fault {
            Fault::Fin => true,
            Fault::HalfFin => way == Way::Forth && boundary,
            _ => false,
        };
        if close == Ok(()) && !deceived {
            assert_eq!(
                to_bob_count, sent_by_alice,
                "{self:?}: acknowledged, not delivered"
            );
        }
        if at == total && self.fault == Fault::HalfFin {
            assert_eq!(close, Ok(()));
            assert_eq!(to_alice_count, MESSAGES);
        }
    }
}

#[test]
fn in_the_middle_of_many_messages() {
    let faults = [Fault::HalfFin, Fault::Fin, Fault::Reset];
    let storms = (0..600).map(|seed| Storm {
        seed,
        fault: faults[seed as usize % 3],
    });
    let world = || World::new(|b| b, |b| b);
    try_all("storms", storms.collect(), 4, world, Storm::run);
}
