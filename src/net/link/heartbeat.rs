//! Signs of life, for a side whose system does not tell it in time that its remote has died.
//!
//! That side asks for them: at the beginning, so that the other one knows how soon they are wanted, and
//! when it has sent something. The other side answers within that time. As often it says without a
//! question that it is alive while it reads, and while something has come that it has not read: a
//! question may wait behind all that, because the network or its program is slow. Of heartbeats that it
//! reads it says nothing: so an idle connection costs nothing, also where both sides ask.
//!
//! All of it is left to the watchdog: the thread that reads may wait for the program.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Link;
use crate::format::Dialect;
use crate::net::os::sync::Instant;
use crate::net::os::timer::Task;
use crate::proto::frames::Pulse;

/// So many signs of life may be lost, or late, before the silence is as long as the keepalive.
const CHANCES: u32 = 4;

/// The watchdog's task: a sign of life, where one is due.
struct Beat {
    link: Weak<Link>,
}

impl Task for Beat {
    fn is_pointless(&self) -> bool {
        self.link.strong_count() == 0
    }

    fn run(&self, now: Instant) -> Option<Instant> {
        let link = self.link.upgrade()?;
        if link.life.is_ending() {
            return None;
        }
        let hears = &link.reading.hears;
        // In this order: a question that comes from here on plans the next run.
        let is_owed = hears.due();
        let has_unread = link.has_unread();
        if is_owed || has_unread {
            link.sender.say_pulse(Pulse::Beat);
        }
        // What waits may be a question; and what comes while the program keeps the thread that would read it
        // plans nothing.
        let looks_again = has_unread || !hears.is_read();
        let again = looks_again.then(|| hears.again()).flatten();
        again.map(|every| now + every)
    }
}

impl Link {
    /// The connection has begun: heartbeats may be asked for, by either side.
    pub fn begin_heartbeat(self: &Arc<Link>) {
        if self.dialect != Dialect::Frames {
            return;
        }
        let (link, context) = (Arc::downgrade(self), Arc::downgrade(&self.context));
        self.reading.hears.set_plan(move |after| {
            if let Some(context) = context.upgrade() {
                let link = Weak::clone(&link);
                context.watch(Instant::now() + after, Arc::new(Beat { link }));
            }
        });
        if self.context.listens_for_remotes() {
            self.reading.hears.count_reads();
            self.want_heartbeat();
        }
    }

    /// Asks the other side for a sign of life.
    pub fn want_heartbeat(self: &Arc<Link>) {
        if let Some(keepalive) = self.context.settings.keepalive {
            self.sender
                .say_pulse(Pulse::Wanted(wanted_within(keepalive)));
        }
    }

    /// How often something was heard of the other side; only a change of it means anything.
    pub fn heard(&self) -> u64 {
        self.reading.hears.reads()
    }

    /// Messages that were sent, and whether some wait to be written.
    pub fn sent(&self) -> (u64, bool) {
        let (messages, _, waiting) = self.sender.numbers();
        (messages, waiting > 0)
    }
}

/// In milliseconds.
fn wanted_within(keepalive: Duration) -> u64 {
    u64::try_from((keepalive / CHANCES).as_millis()).unwrap_or(u64::MAX)
}
