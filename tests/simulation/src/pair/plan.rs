//! What a program of one run does: data, so that it can be made smaller.

use crate::common::copies;
use std::fmt;

use simulated_system::dice::Dice;

#[derive(Clone, Debug)]
pub struct Plan {
    /// The text protocol in place of frames.
    pub text: bool,
    /// The systems of the two show no table of connections.
    pub tableless: [bool; 2],
    /// How the second answers.
    pub answer: Answer,
    /// The first connects to the second.
    pub sides: [Side; 2],
    /// In their order in time.
    pub faults: Vec<Fault>,
    /// Each peer has room for one connection, and each side's events are looked at.
    pub is_brief: bool,
}

#[derive(Clone, Debug)]
pub struct Side {
    pub send_queue: usize,
    pub receive_queue: usize,
    pub receive_queue_bytes: usize,
    pub takes: Takes,
    /// It takes no more messages than this, and holds the connection all the same.
    pub takes_only: Option<u32>,
    /// In microseconds.
    pub spin: u64,
    /// In milliseconds.
    pub close_timeout: u64,
    /// What each thread sends.
    pub senders: Vec<Sender>,
    /// Milliseconds between two messages that it receives.
    pub slowness: u64,
    /// Each of its threads flushes behind each message.
    pub flushes: bool,
    /// Microseconds before it begins the end.
    pub jitter: u64,
    /// Milliseconds between the end of its last handle and `stop`.
    pub lingers: u64,
    pub end: End,
}

#[derive(Clone, Debug)]
pub struct Sender {
    pub messages: u32,
    pub size: usize,
    /// Microseconds between two messages.
    pub pause: u64,
    pub how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Accepts,
    /// After so many milliseconds.
    AcceptsAfter(u64),
    Denies,
    /// Drops the offer.
    Drops,
    Never,
}

/// By which way a side takes what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Recv,
    Channel,
    /// A handler, which may do something at its message of this number.
    Handler(Option<(u32, Act)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Close,
    Abort,
    /// It receives, which its thread alone could bring about.
    Receive,
    ReceiveByChannel,
    /// For so many milliseconds.
    Sleep(u64),
    /// It leaves something in its thread whose destructor takes so many milliseconds.
    Dawdle(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Send,
    /// One a side: any other would replace its messages.
    Latest,
    /// With this timeout in milliseconds; what is not taken is tried again.
    Timeout(u64),
    Try,
}

/// How a side ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It receives until the other side has ended it, and closes then.
    Waits,
    /// It closes when it has sent everything.
    Closes,
    /// It closes after so many milliseconds, while it sends.
    ClosesAfter(u64),
    AbortsAfter(u64),
    StopsAfter(u64),
    /// It stops its peer when it has sent everything.
    Stops,
    /// It drops its last handle when it has sent everything, and receives so many messages before.
    Drops(u32),
}

#[derive(Clone, Debug)]
pub struct Fault {
    /// Microseconds since the begin.
    pub at: u64,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// For so many milliseconds.
    Cut(u64),
    /// The process of this side.
    Kill(usize),
    /// The host of this side.
    PowerOff(usize),
}

impl Plan {
    pub fn draw(seed: u64) -> Plan {
        let mut dice = Dice::new(seed ^ 0x5eed);
        let dice = &mut dice;
        let text = dice.one_in(3);
        let mut sides = [Side::draw(dice), Side::draw(dice)];
        // Two that wait for each other would wait for ever.
        let waits = |side: &Side| matches!(side.end, End::Waits | End::Drops(_));
        let answer = match dice.below(20) {
            0 => Answer::Denies,
            1 => Answer::Drops,
            2 if dice.one_in(3) => Answer::Never,
            3 | 4 => Answer::AcceptsAfter(dice.below(50)),
            _ => Answer::Accepts,
        };
        if sides.iter().all(waits) {
            sides[dice.below(2) as usize].end = End::Closes;
        }
        let count = *dice.pick(&[0, 0, 0, 1, 1, 2]);
        let mut faults: Vec<Fault> = (0..count).map(|_| Fault::draw(dice)).collect();
        faults.sort_by_key(|fault| fault.at);
        // By a die of its own: a program is the same as before there were such systems. In text nobody can
        // be asked for a heartbeat, and the simulated system gives up as late as a real one.
        let mut own_dice = Dice::new(seed ^ 0x7ab1e);
        let tableless = [0, 1].map(|_| !text && own_dice.one_in(3));
        Plan {
            text,
            tableless,
            answer,
            sides,
            faults,
            is_brief: false,
        }
    }

    /// Plans that are a little smaller, the smallest first.
    pub fn smaller(&self) -> Vec<Plan> {
        copies(self, |add| {
            for index in 0..self.faults.len() {
                add(&|plan| _ = plan.faults.remove(index));
            }
            for side in 0..2 {
                if self.tableless[side] {
                    add(&|plan| plan.tableless[side] = false);
                }
            }
            for side in 0..2 {
                for index in 0..self.sides[side].senders.len() {
                    add(&|plan| _ = plan.sides[side].senders.remove(index));
                }
                for index in 0..self.sides[side].senders.len() {
                    let messages = self.sides[side].senders[index].messages;
                    if messages > 1 {
                        add(&|plan| plan.sides[side].senders[index].messages = messages / 2);
                        add(&|plan| plan.sides[side].senders[index].messages = messages - 1);
                    }
                    if self.sides[side].senders[index].size > 8 {
                        add(&|plan| plan.sides[side].senders[index].size = 8);
                    }
                }
                if self.sides[side].takes != Takes::Recv {
                    add(&|plan| plan.sides[side].takes = Takes::Recv);
                }
                if self.sides[side].spin > 0 {
                    add(&|plan| plan.sides[side].spin = 0);
                }
                if self.sides[side].slowness > 0 {
                    add(&|plan| plan.sides[side].slowness = 0);
                }
                if self.sides[side].flushes {
                    add(&|plan| plan.sides[side].flushes = false);
                }
                if self.sides[side].jitter > 0 {
                    add(&|plan| plan.sides[side].jitter = 0);
                }
            }
        })
    }
}

impl Side {
    fn draw(dice: &mut Dice) -> Side {
        let count = *dice.pick(&[0, 1, 1, 1, 2, 3]);
        let mut senders: Vec<Sender> = (0..count).map(|_| Sender::draw(dice)).collect();
        if dice.one_in(5) {
            let sender = dice.below(senders.len().max(1) as u64) as usize;
            senders
                .iter_mut()
                .skip(sender)
                .take(1)
                .for_each(|one| one.how = How::Latest);
        }
        let takes = Takes::draw(dice);
        let takes_only = dice.one_in(8).then(|| dice.below(10) as u32);
        Side {
            send_queue: *dice.pick(&[1, 500, 1 << 17, 1 << 20]),
            receive_queue: *dice.pick(&[1, 3, 4096, usize::MAX]),
            receive_queue_bytes: *dice.pick(&[1, 500, 16 << 20]),
            takes,
            takes_only,
            spin: *dice.pick(&[0, 0, 0, 20, 200]),
            close_timeout: *dice.pick(&[50, 1000, 5000]),
            senders,
            slowness: *dice.pick(&[0, 0, 0, 1, 20]),
            flushes: false,
            jitter: 0,
            lingers: 0,
            end: match dice.below(10) {
                0..4 => End::Waits,
                4 | 5 => End::Closes,
                6 => End::ClosesAfter(dice.below(30)),
                7 => End::AbortsAfter(dice.below(30)),
                8 if dice.one_in(2) => End::StopsAfter(dice.below(30)),
                8 => End::Stops,
                _ if matches!(takes, Takes::Handler(_)) => End::Waits,
                _ => End::Drops(dice.below(20) as u32),
            },
        }
    }
}

impl Takes {
    fn draw(dice: &mut Dice) -> Takes {
        let act = match dice.below(20) {
            0..4 => Some(Act::Close),
            4 => Some(Act::Abort),
            5 => Some(Act::Receive),
            6 => Some(Act::ReceiveByChannel),
            7 => Some(Act::Sleep(*dice.pick(&[100, 4000, 20_000]))),
            8 => Some(Act::Dawdle(*dice.pick(&[100, 12_000]))),
            _ => None,
        };
        match dice.below(10) {
            0..4 => Takes::Recv,
            4 | 5 => Takes::Channel,
            _ => Takes::Handler(act.map(|act| (dice.between(1, 6) as u32, act))),
        }
    }
}

impl Sender {
    fn draw(dice: &mut Dice) -> Sender {
        let size = *dice.pick(&[8, 8, 8, 8, 8, 8, 20, 20, 100, 100, 100, 3000, 3000, 70_000]);
        let most = *dice.pick(&[3, 10, 40]);
        Sender {
            // A network may cut large ones into very many segments.
            messages: dice.between(1, if size > 10_000 { 2 } else { most }) as u32,
            size,
            pause: *dice.pick(&[0, 0, 0, 10, 10, 1000, 1000, 20_000]),
            how: *dice.pick(&[How::Send, How::Send, How::Timeout(5), How::Try]),
        }
    }
}

impl Fault {
    fn draw(dice: &mut Dice) -> Fault {
        let most = *dice.pick(&[1000, 10_000, 100_000]);
        let side = dice.below(2) as usize;
        Fault {
            at: dice.below(most),
            what: match dice.below(4) {
                0 | 1 => What::Cut(*dice.pick(&[1, 100, 1000, 30_000])),
                2 => What::Kill(side),
                _ => What::PowerOff(side),
            },
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.text { "text" } else { "frames" };
        let brief = if self.is_brief { "brief, " } else { "" };
        writeln!(f, "{brief}in {protocol}, bob {:?}", self.answer)?;
        for (index, (name, side)) in ["alice, who connects", "bob"]
            .iter()
            .zip(&self.sides)
            .enumerate()
        {
            let table = if self.tableless[index] {
                "no table, "
            } else {
                ""
            };
            writeln!(f, "{name}: {table}{side:?}")?;
        }
        for fault in &self.faults {
            writeln!(f, "{fault:?}")?;
        }
        Ok(())
    }
}
