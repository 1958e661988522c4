//! From a seed to its program.

use std::time::Duration;

use super::super::dice::Dice;
use super::super::os::SMALLER;
use super::super::word::HEAD;
use super::{
    Accepting, Answer, EndPlan, Finish, HandlerAct, Hazards, Kind, LONG, LinkPlan, Op, PeerPlan,
    Program, Stream, Take, Taker,
};

impl Program {
    pub fn from_seed(seed: u64) -> Program {
        let mut dice = Dice::new(seed);
        let dice = &mut dice;
        let hazards = Hazards::roll(dice);
        let calm = hazards.are_none();
        let peers: Vec<PeerPlan> = (0..dice.pick(&[2, 2, 2, 3, 3, 4, 5, 6]))
            .map(|_| PeerPlan::roll(dice, hazards))
            .collect();
        let broadcasts = peers.iter().any(|peer| peer.broadcasts > 0);
        let count = dice.pick(&[1, 1, 2, 2, 3, 4, 6, 8]);
        let mut links: Vec<LinkPlan> = (0..count)
            .map(|_| LinkPlan::roll(dice, hazards, &peers, broadcasts))
            .collect();
        links.iter_mut().for_each(LinkPlan::spare_handlers);
        let uses_accept = |peer: &PeerPlan| matches!(peer.accepting, Accepting::Accept(_));
        Program {
            seed,
            hazards,
            links,
            patience: (!calm).then(|| millis(dice.pick(&[1, 5, 20, 60]))),
            drop_peers: calm && dice.chance(40) && !peers.iter().any(uses_accept),
            peers,
        }
    }
}

impl Hazards {
    fn roll(dice: &mut Dice) -> Hazards {
        if dice.chance(35) {
            return Hazards::default();
        }
        let mut chance = || dice.chance(30);
        let lazy = chance();
        Hazards {
            abort: chance(),
            lazy,
            flood: lazy && chance(),
            drop: chance(),
            stop: chance(),
            handler: chance(),
            withdraw: chance(),
            busy: chance(),
        }
    }

    pub fn are_none(&self) -> bool {
        let Hazards {
            abort,
            lazy,
            flood,
            drop,
            stop,
            handler,
            withdraw,
            busy,
        } = *self;
        ![abort, lazy, flood, drop, stop, handler, withdraw, busy].contains(&true)
    }
}

impl PeerPlan {
    fn roll(dice: &mut Dice, hazards: Hazards) -> PeerPlan {
        let broadcasts = dice.chance(20);
        PeerPlan {
            send_queue: dice.pick(&[1, 200, 1000, 16 << 10, 1 << 20]),
            receive_queue: dice.pick(&[1, 2, 5, 64, 1024]),
            receive_queue_bytes: dice.pick(&[1, 300, 4096, 16 << 20, 16 << 20]),
            spin: if dice.chance(25) {
                Duration::from_micros(dice.pick(&[20, 200, 2000]))
            } else {
                Duration::ZERO
            },
            close_timeout: if hazards.lazy {
                millis(dice.pick(&[40, 100, 250]))
            } else {
                LONG
            },
            max_connections: if hazards.busy {
                dice.between(1, 3)
            } else {
                1024
            },
            accepting: match dice.below(10) {
                0 => Accepting::Accept(Kind::roll(dice)),
                1..5 => Accepting::Incoming,
                _ => Accepting::Offers,
            },
            acceptors: dice.between(1, 2),
            broadcasts: if broadcasts { dice.between(1, 12) } else { 0 },
            broadcast_timeout: dice.chance(30),
            stop_after: (hazards.stop && dice.chance(50)).then(|| some_time(dice)),
        }
    }
}

impl Kind {
    fn roll(dice: &mut Dice) -> Kind {
        dice.pick(&[
            Kind::Bytes,
            Kind::Bytes,
            Kind::Bytes,
            Kind::Json,
            Kind::Raw,
            Kind::Dynamic,
        ])
    }

    /// Can a message announced as `self` be accepted with `other`?
    fn suits(self, other: Kind) -> bool {
        let announced = |kind| {
            if kind == Kind::Dynamic {
                Kind::Bytes
            } else {
                kind
            }
        };
        other == Kind::Dynamic || announced(self) == other
    }
}

impl LinkPlan {
    fn roll(dice: &mut Dice, hazards: Hazards, peers: &[PeerPlan], broadcasts: bool) -> LinkPlan {
        let asker = dice.below(peers.len());
        let asked = (asker + dice.between(1, peers.len() - 1)) % peers.len();
        let mut kind = Kind::roll(dice);
        let mut answer = match dice.below(20) {
            0 => Answer::Deny,
            1 => Answer::Drop,
            2 => Answer::WrongType,
            _ => Answer::Accept,
        };
        if let Accepting::Accept(taken) = peers[asked].accepting {
            // Both ends of a link have one format here.
            if kind.suits(taken) && kind != taken {
                kind = taken;
            }
            answer = if kind == taken {
                Answer::Accept
            } else {
                Answer::WrongType
            };
        }
        if answer == Answer::WrongType && kind == Kind::Dynamic {
            kind = Kind::Json;
            if peers[asked].accepting == Accepting::Accept(Kind::Json) {
                answer = Answer::Accept;
            }
        }
        let size = dice.between(HEAD, 300);
        let stream = match dice.below(12) {
            // A broadcast could be the first.
            0 if kind == Kind::Bytes && !broadcasts => Some(Stream::FromFirst),
            1 if kind == Kind::Bytes => Some(Stream::Of(size)),
            _ => None,
        };
        let sizes = Sizes { kind, stream, size };
        let mut ends = EndPlan::roll_two(dice, hazards, broadcasts, sizes);
        if matches!(peers[asked].accepting, Accepting::Accept(_)) && ends[1].handler.is_some() {
            // It takes no handler.
            ends[1].handler = None;
            ends[1].takers.push(Taker::roll(dice));
        }
        // Who waits for an answer would wait for ever for one that was replaced.
        let waits = ends.iter().any(|end| end.pings > 0);
        for (number, end) in ends.iter_mut().enumerate() {
            // Nor has `accept` a way to ask for it.
            let can = number == 0 || !matches!(peers[asked].accepting, Accepting::Accept(_));
            end.latest = !waits && can && end.handler.is_none() && dice.chance(20);
        }
        let withdraws = hazards.withdraw && dice.chance(40);
        LinkPlan {
            peers: [asker, asked],
            kind,
            stream,
            stream_size: size,
            timeout: withdraws.then(|| Duration::from_micros(dice.between(100, 4000) as u64)),
            answer,
            answer_after: if dice.chance(20) {
                some_time(dice)
            } else {
                Duration::ZERO
            },
            ends,
        }
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    kind: Kind,
    stream: Option<Stream>,
    size: usize,
}

impl Sizes {
    fn roll(&self, dice: &mut Dice) -> usize {
        if self.stream.is_some() {
            return self.size;
        }
        match dice.below(40) {
            0 if self.kind == Kind::Bytes => dice.between(64 << 10, 300 << 10),
            0..4 => dice.between(HEAD, 4000),
            _ => dice.between(HEAD, 200),
        }
    }
}

impl EndPlan {
    fn roll_two(dice: &mut Dice, hazards: Hazards, broadcasts: bool, sizes: Sizes) -> [EndPlan; 2] {
        let mut ends = [EndPlan::roll(dice, sizes), EndPlan::roll(dice, sizes)];
        if sizes.kind == Kind::Bytes && sizes.stream.is_none() && dice.chance(20) {
            // A camera, for one who may be slow: the socket is full, and pictures are replaced that wait
            // for it.
            let own = dice.below(2);
            let mut pictures = Vec::new();
            for _ in 0..dice.between(5, 40) {
                pictures.push(Op::SendLatest(
                    dice.between(20_000 / SMALLER, 300_000 / SMALLER),
                ));
                pictures.push(Op::Pause(some_time(dice)));
            }
            ends[own].senders.push(pictures);
            for taker in &mut ends[1 - own].takers {
                taker.pause = Duration::from_micros(dice.between(0, 3000) as u64);
            }
        }
        if dice.chance(30) {
            // A dialogue; who answers would be in the way of other threads' waiting in a circle.
            let own = dice.below(2);
            ends[own].handler = None;
            ends[own].takers.clear();
            ends[own].pings = dice.between(1, 40);
        } else if !broadcasts && dice.chance(15) {
            // One side sends and drops its handle; nothing is sent to it that could be lost.
            let own = dice.below(2);
            ends[own].handler = None;
            ends[own].takers.clear();
            ends[own].finish = Finish::Not;
            ends[own].after_senders = true;
            ends[1 - own].senders.clear();
            ends[1 - own].finish = Finish::Not;
        }
        let dropped =
            |end: &EndPlan| end.handler.is_none() && end.takers.is_empty() && end.pings == 0;
        if ends.iter().all(|end| end.finish == Finish::Not) && !ends.iter().any(dropped) {
            ends[dice.below(2)].finish = Finish::Close;
        }
        for end in &mut ends {
            end.endanger(dice, hazards, sizes);
        }
        ends
    }

    fn roll(dice: &mut Dice, sizes: Sizes) -> EndPlan {
        let handled = dice.chance(30);
        let handler = handled.then(|| {
            let acts = dice.chance(15);
            acts.then(|| (dice.between(1, 10), HandlerAct::Close))
        });
        let takers = if handled {
            0
        } else {
            dice.pick(&[1, 1, 1, 2, 3])
        };
        EndPlan {
            handler,
            latest: false,
            takers: (0..takers).map(|_| Taker::roll(dice)).collect(),
            senders: (0..dice.pick(&[0, 1, 1, 1, 2, 3]))
                .map(|_| {
                    let some = dice.pick(&[1, 5, 20, 60]);
                    (0..dice.between(1, some))
                        .map(|_| Op::roll(dice, sizes))
                        .collect()
                })
                .collect(),
            pings: 0,
            when: if dice.chance(30) {
                some_time(dice)
            } else {
                Duration::ZERO
            },
            after_senders: dice.chance(75),
            finish: dice.pick(&[
                Finish::Not,
                Finish::Not,
                Finish::Close,
                Finish::Close,
                Finish::CloseTwice,
                Finish::CloseListed,
            ]),
        }
    }

    fn endanger(&mut self, dice: &mut Dice, hazards: Hazards, sizes: Sizes) {
        if hazards.handler && dice.chance(40) {
            if let Some(act) = &mut self.handler {
                let what = dice.pick(&[HandlerAct::Panic, HandlerAct::Abort, HandlerAct::StopPeer]);
                *act = Some((dice.between(1, 10), what));
            }
        }
        if hazards.drop && dice.chance(50) && self.handler.is_none() && self.pings == 0 {
            for taker in &mut self.takers {
                taker.limit = Some(dice.below(10));
            }
            self.finish = Finish::Not;
        }
        if hazards.lazy && dice.chance(50) {
            if dice.chance(30) {
                self.takers.clear();
            }
            for taker in &mut self.takers {
                taker.limit = Some(dice.below(5));
            }
        }
        if hazards.flood && sizes.stream.is_none() && sizes.kind == Kind::Bytes && dice.chance(50) {
            let size = dice.pick(&[1000, 30_000, 100_000]);
            let op = dice.pick(&[
                Op::Send(size),
                Op::TrySend(size),
                Op::SendTimeout(size, millis(1)),
                Op::SendLatest(size),
            ]);
            self.senders.push(vec![op; 12_000_000 / SMALLER / size]);
        }
        if hazards.abort && dice.chance(40) {
            self.finish = dice.pick(&[Finish::Abort, Finish::AbortListed]);
        }
    }
}

impl Taker {
    fn roll(dice: &mut Dice) -> Taker {
        Taker {
            how: match dice.below(8) {
                0..3 => Take::Recv,
                3 => Take::Try,
                4 => Take::Timeout(millis(dice.pick(&[0, 1, 1000]))),
                5 => Take::Select,
                6 => Take::Iter,
                _ => Take::TryIter,
            },
            limit: None,
            pause: if dice.chance(20) {
                Duration::from_micros(dice.below(500) as u64)
            } else {
                Duration::ZERO
            },
        }
    }
}

impl Op {
    fn roll(dice: &mut Dice, sizes: Sizes) -> Op {
        let size = sizes.roll(dice);
        match dice.below(40) {
            0..18 => Op::Send(size),
            18..24 => Op::SendLatest(size),
            24..30 => Op::TrySend(size),
            30..34 => Op::SendTimeout(size, Duration::from_micros(dice.below(3000) as u64)),
            34 => Op::Flush,
            35 => Op::Look,
            36 => match sizes.stream {
                Some(Stream::Of(size)) => Op::WrongSize(size + 1),
                _ => Op::Flush,
            },
            _ => Op::Pause(some_time(dice)),
        }
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Often nothing or hardly anything, sometimes some milliseconds.
fn some_time(dice: &mut Dice) -> Duration {
    let most = dice.pick(&[0, 0, 30, 300, 3000]);
    Duration::from_micros(dice.between(0, most) as u64)
}
