//! How connections ended.

use std::time::Duration;

use lanpeer::{CloseError, CloseReason};

use super::super::os::Instant;
use super::{Act, Model};

impl Model<'_> {
    pub(super) fn check_reasons(&mut self, number: usize) {
        let mut wrong = Vec::new();
        let end = &self.ends[number];
        if !end.exists {
            return;
        }
        let Some((first, _, _)) = end.reasons.first() else {
            self.wrong
                .push(format!("end {number}: it ended without a reason"));
            return;
        };
        for (reason, tick, at) in &end.reasons {
            if reason != first {
                wrong.push(format!("the reason was {first:?}, later {reason:?}"));
            }
            if !self.is_permitted(number, reason, *tick, *at) {
                wrong.push(format!("no cause for {reason:?}"));
            }
        }
        for (reason, tick, at) in &end.send_reasons {
            if !self.is_permitted(number, reason, *tick, *at) {
                wrong.push(format!("no cause for a send's {reason:?}"));
            }
        }
        wrong.dedup();
        self.wrong.extend(
            wrong
                .into_iter()
                .map(|what| format!("end {number}: {what}")),
        );
    }

    fn is_permitted(&self, end: usize, reason: &CloseReason, tick: u64, at: Instant) -> bool {
        let (here, there) = (&self.ends[end], &self.ends[end ^ 1]);
        let stops = |end: usize| self.stops[self.peer_of(end)].iter();
        let before = |acts: &[Act]| acts.iter().any(|act| act.begin < tick);
        let stopped = |end| stops(end).any(|act| act.begin < tick);
        // Has an end's closing taken as long as it may?
        let is_overdue = |closing: usize, timeout: Duration| {
            let own = &self.ends[closing];
            let mut acts = own.closes.iter().chain(&own.drops).chain(stops(closing));
            acts.any(|act| act.begin < tick && at.duration_since(act.at) >= timeout)
        };
        let timeout = |end: usize| self.program.peers[self.peer_of(end)].close_timeout;
        match reason {
            CloseReason::ClosedHere => before(&here.closes) || before(&here.drops),
            CloseReason::Aborted => before(&here.aborts),
            CloseReason::Stopped | CloseReason::PeerDropped => stopped(end),
            CloseReason::HandlerPanicked(what) => before(&here.panics) && what == "as planned",
            // Its own end, or its answer to the other one's.
            CloseReason::TimedOut => {
                is_overdue(end, timeout(end)) || is_overdue(end ^ 1, timeout(end))
            }
            CloseReason::ClosedThere => {
                !there.exists || before(&there.closes) || before(&there.drops) || stopped(end ^ 1)
            }
            // It gave up before it had the answer.
            CloseReason::Vanished => !there.exists,
            CloseReason::Reset => {
                !there.exists
                    || before(&there.aborts)
                    || before(&there.panics)
                    || (before(&there.left) && self.untaken(end ^ 1))
                    || self.is_stopped_early(end ^ 1)
                    // It gave up, or its answer to this one's close took too long.
                    || is_overdue(end ^ 1, timeout(end ^ 1))
                    || is_overdue(end, timeout(end ^ 1))
            }
            _ => false,
        }
    }

    /// Was something sent to this end that its program did not take? Of a broadcast this is not
    /// known. A message that was refused may have been half written.
    fn untaken(&self, end: usize) -> bool {
        let is_refused = !self.ends[end ^ 1].refused.is_empty();
        is_refused
            || self.missing(end) > 0
            || self.program.peers[self.peer_of(end ^ 1)].broadcasts > 0
    }

    pub(super) fn check_closes(&mut self, number: usize) {
        let mut wrong = Vec::new();
        let end = &self.ends[number];
        let timeout = self.program.peers[self.peer_of(number)].close_timeout;
        for (close, (result, took, in_handler)) in end.closes.iter().zip(&end.close_results) {
            match result {
                Ok(()) => {
                    // A handler that has closed goes on with what came before.
                    let own = matches!(
                        self.reason(number),
                        Some(CloseReason::Aborted | CloseReason::HandlerPanicked(_))
                    );
                    let nobody = !self.ends[number ^ 1].exists && !end.sent.is_empty();
                    if nobody {
                        wrong.push("close was Ok, but nobody was there".to_owned());
                    }
                    let right = self.is_normal(number) || (*in_handler && own);
                    if !right {
                        wrong.push(format!(
                            "close was Ok, the reason {:?}",
                            self.reason(number)
                        ));
                    }
                }
                Err(CloseError::Timeout) => {
                    if *took < timeout && !in_handler {
                        wrong.push(format!("close gave up after {took:?}"));
                    }
                }
                Err(CloseError::Incomplete(reason)) => {
                    // A handler that has closed goes on here as well.
                    let own = matches!(
                        self.reason(number),
                        Some(CloseReason::Aborted | CloseReason::HandlerPanicked(_))
                    );
                    if Some(reason) != self.reason(number) && !(*in_handler && own) {
                        let own = self.reason(number);
                        wrong.push(format!("close said {reason:?}, the reason is {own:?}"));
                    }
                    // A normal end is incomplete only if the other side let go of it; also `stop`
                    // may come when a connection has hardly begun.
                    let other = number ^ 1;
                    let closed = |end| {
                        let reason = self.reason(end);
                        matches!(
                            reason,
                            Some(CloseReason::ClosedHere | CloseReason::ClosedThere)
                        )
                    };
                    // The answer to an end that had begun before this close may have come too late.
                    let at = close.at + *took;
                    let mut ends = self.ends[other]
                        .closes
                        .iter()
                        .chain(&self.ends[other].drops);
                    let is_overdue =
                        ends.any(|act| at.saturating_duration_since(act.at) >= timeout);
                    let took = self.took_to_the_end(other) && self.took_to_the_end(number);
                    if closed(number) && closed(other) && took && !is_overdue {
                        wrong.push("close was incomplete, but nothing went wrong".to_owned());
                    }
                }
                Err(other) => wrong.push(format!("close: {other:?}")),
            }
            if *took > timeout + Duration::from_secs(20) {
                wrong.push(format!("close took {took:?}"));
            }
        }
        if self.program.hazards.are_none() && end.exists {
            let failed = end.close_results.iter().any(|(result, _, in_handler)| {
                !(result.is_ok() || (*in_handler && *result == Err(CloseError::Timeout)))
            });
            if failed || !self.is_normal(number) {
                wrong.push(format!("nothing was to go wrong: {:?}", end.close_results));
            }
        }
        self.wrong.extend(
            wrong
                .into_iter()
                .map(|what| format!("end {number}: {what}")),
        );
    }
}
