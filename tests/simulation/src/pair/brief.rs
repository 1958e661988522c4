//! Programs of few messages, both of whose sides end at about the same time: most of what goes wrong between
//! two threads goes wrong then.

use simulated_system::dice::Dice;

use super::plan::{Act, Answer, End, Fault, How, Plan, Sender, Side, Takes, What};

impl Plan {
    pub fn draw_brief(seed: u64) -> Plan {
        let mut dice = Dice::new(seed ^ 0xb21ef);
        let dice = &mut dice;
        let text = dice.one_in(2);
        let mut sides = [side(dice), side(dice)];
        let answer = match dice.below(12) {
            0 => Answer::Drops,
            1 => Answer::AcceptsAfter(dice.below(3)),
            _ => Answer::Accepts,
        };
        // One who only waits for the other, or for room that nobody makes, would wait for ever.
        let joins = |side: &Side| {
            matches!(
                side.end,
                End::Waits | End::Closes | End::Drops(_) | End::Stops
            )
        };
        if sides.iter().all(joins) {
            let one = dice.below(2) as usize;
            sides[one].end = match dice.below(3) {
                0 => End::AbortsAfter(dice.below(3)),
                _ => End::ClosesAfter(dice.below(*dice.clone().pick(&[2, 10, 300]))),
            };
        }
        let mut faults = Vec::new();
        if dice.one_in(6) {
            let side = dice.below(2) as usize;
            faults.push(Fault {
                at: dice.below(*dice.clone().pick(&[1000, 5000])),
                what: match dice.below(4) {
                    0 => What::Cut(*dice.pick(&[1, 100, 10_000])),
                    1 => What::PowerOff(side),
                    _ => What::Kill(side),
                },
            });
        }
        let tableless = [0, 1].map(|_| !text && dice.one_in(4));
        // By a die of its own: the other programs are as they were before there were these.
        let mut own_dice = Dice::new(seed ^ 0x1a7e);
        let is_late = own_dice.one_in(10);
        if is_late || own_dice.one_in(20) {
            let sides = match is_late {
                true => late_word(sides, &mut own_dice),
                false => half_a_message(sides, &mut own_dice),
            };
            return Plan {
                text: true,
                tableless: [false; 2],
                answer: Answer::Accepts,
                sides,
                faults: Vec::new(),
                is_brief: true,
            };
        }
        Plan {
            text,
            tableless,
            answer,
            sides,
            faults,
            is_brief: true,
        }
    }
}

/// One side closes, and lets go when that has timed out; the other has not read its end, and says a last word.
fn late_word(mut sides: [Side; 2], dice: &mut Dice) -> [Side; 2] {
    let late = dice.below(2) as usize;
    let sender = |messages: u64, pause: u64| Sender {
        messages: messages as u32,
        size: 8,
        pause,
        how: How::Send,
    };
    let of_late = &mut sides[late];
    of_late.takes = *dice.pick(&[Takes::Recv, Takes::Channel]);
    of_late.takes_only = None;
    of_late.slowness = *dice.pick(&[100, 200, 300]);
    of_late.receive_queue = 1;
    of_late.senders = vec![sender(1, 700_000)];
    of_late.close_timeout = 1000;
    of_late.end = End::Closes;
    let first = &mut sides[1 - late];
    first.takes = *dice.pick(&[Takes::Recv, Takes::Channel]);
    first.takes_only = Some(0);
    first.senders = vec![sender(dice.between(2, 9), 0)];
    first.send_queue = 1 << 20;
    first.close_timeout = 500;
    first.lingers = 1000;
    first.end = End::Closes;
    sides
}

/// One side closes, and gives up in the middle of a large message of the other.
fn half_a_message(mut sides: [Side; 2], dice: &mut Dice) -> [Side; 2] {
    let large = dice.below(2) as usize;
    let of_large = &mut sides[large];
    of_large.takes = Takes::Recv;
    of_large.takes_only = None;
    of_large.senders = vec![Sender {
        messages: 1,
        size: 70_000,
        pause: *dice.pick(&[0, 500, 3000]),
        how: How::Send,
    }];
    of_large.close_timeout = 1000;
    of_large.end = End::Closes;
    let other = &mut sides[1 - large];
    other.takes = Takes::Recv;
    other.takes_only = Some(0);
    other.senders.clear();
    other.close_timeout = 200;
    other.lingers = 1000;
    other.end = End::ClosesAfter(dice.below(20));
    sides
}

fn side(dice: &mut Dice) -> Side {
    let count = *dice.pick(&[0, 1, 1, 2]);
    let takes = match dice.below(10) {
        0..5 => Takes::Recv,
        5..8 => Takes::Channel,
        8 => Takes::Handler(None),
        _ => {
            let act = *dice.pick(&[Act::Close, Act::Abort]);
            Takes::Handler(Some((dice.between(1, 2) as u32, act)))
        }
    };
    let after = |dice: &mut Dice| dice.below(*dice.clone().pick(&[1, 2, 5, 100]));
    Side {
        send_queue: *dice.pick(&[1, 500, 4000, 1 << 20]),
        receive_queue: *dice.pick(&[1, 1, 3, 4096]),
        receive_queue_bytes: *dice.pick(&[1, 500, 16 << 20]),
        takes,
        takes_only: dice.one_in(3).then(|| dice.below(4) as u32),
        spin: *dice.pick(&[0, 0, 200, 1000]),
        close_timeout: *dice.pick(&[50, 50, 1000]),
        senders: (0..count).map(|_| sender(dice)).collect(),
        slowness: 0,
        flushes: dice.one_in(3),
        jitter: dice.below(*dice.clone().pick(&[1, 50, 500, 3000])),
        lingers: 0,
        end: match dice.below(12) {
            0 | 1 => End::Waits,
            2 | 3 => End::Closes,
            4 | 5 => End::ClosesAfter(after(dice)),
            6 | 7 => End::AbortsAfter(after(dice)),
            8 => End::StopsAfter(after(dice)),
            9 => End::Stops,
            _ if matches!(takes, Takes::Handler(_)) => End::Waits,
            _ => End::Drops(dice.below(3) as u32),
        },
    }
}

fn sender(dice: &mut Dice) -> Sender {
    Sender {
        messages: dice.between(1, 4) as u32,
        size: *dice.pick(&[8, 8, 8, 100, 3000, 3000]),
        pause: *dice.pick(&[0, 0, 0, 20, 20, 500, 200_000]),
        how: *dice.pick(&[How::Send, How::Send, How::Send, How::Timeout(5), How::Try]),
    }
}
