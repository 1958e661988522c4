//! Programs that are a little smaller, the smallest first.

use crate::common::copies;
use std::time::Duration;

use super::plan::{Finish, Op, Program};

impl Program {
    pub fn smaller(&self) -> Vec<Program> {
        copies(self, |add| {
            for link in 0..self.links.len() {
                if self.links.len() > 1 {
                    add(&|program| _ = program.links.remove(link));
                }
            }
            for peer in 0..self.peers.len() {
                let plan = &self.peers[peer];
                if plan.broadcasts > 0 {
                    add(&|program| program.peers[peer].broadcasts = 0);
                }
                if plan.acceptors > 1 {
                    add(&|program| program.peers[peer].acceptors = 1);
                }
                if plan.stop_after.is_some() {
                    add(&|program| program.peers[peer].stop_after = None);
                }
                if !plan.spin.is_zero() {
                    add(&|program| program.peers[peer].spin = Duration::ZERO);
                }
            }
            for (number, link) in self.links.iter().enumerate() {
                if !link.answer_after.is_zero() {
                    add(&|program| program.links[number].answer_after = Duration::ZERO);
                }
                for (side, end) in link.ends.iter().enumerate() {
                    if end.pings > 1 {
                        add(&|program| program.links[number].ends[side].pings /= 2);
                    }
                    if end.takers.len() > 1 {
                        add(&|program| _ = program.links[number].ends[side].takers.pop());
                    }
                    if end.finish == Finish::CloseTwice || end.finish == Finish::CloseListed {
                        add(&|program| program.links[number].ends[side].finish = Finish::Close);
                    }
                    for (sender, ops) in end.senders.iter().enumerate() {
                        let half = ops.len() / 2;
                        add(&|program| {
                            _ = program.links[number].ends[side].senders.remove(sender);
                        });
                        if half > 0 {
                            add(&|program| {
                                program.links[number].ends[side].senders[sender].truncate(half);
                            });
                            add(&|program| {
                                _ = program.links[number].ends[side].senders[sender]
                                    .drain(..half)
                                    .count();
                            });
                        }
                        if ops.len() < 10 {
                            for op in 0..ops.len() {
                                add(&|program| {
                                    _ = program.links[number].ends[side].senders[sender].remove(op);
                                });
                            }
                        }
                        if ops.iter().any(|op| matches!(op, Op::Pause(_))) {
                            add(&|program| {
                                program.links[number].ends[side].senders[sender]
                                    .retain(|op| !matches!(op, Op::Pause(_)));
                            });
                        }
                    }
                }
            }
        })
    }
}
