//! What a side says last: that no message follows, how many it took in, and FIN.

use std::sync::Arc;

use super::Sender;
use super::queue::{Said, SendQueue};
use crate::error::CloseReason;
use crate::format::Dialect;
use crate::net::os::lock;
use crate::proto::frames::{Word, word};

/// What is to follow the messages that were accepted. A later call may say more, never less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// Nothing yet.
    Nothing,
    /// In text, FIN. In frames, a goodbye; FIN comes with the answer to the other side's.
    Goodbye,
    /// A goodbye and FIN, in both, and the word that this many of the other side's messages were taken in,
    /// and that no more will be.
    Taken(u64),
    /// FIN, and no word before it, as of a process that has crashed.
    Fin,
    /// In frames, why a message of the other side could not be taken in, and FIN.
    Refused(String),
}

impl Sender {
    /// Accepts no more messages. What was accepted is still written, and `last` behind it.
    ///
    /// Several threads may end a connection at once: the program, the reader thread, the watchdog. The lock
    /// makes one of them the first, and the queue remembers what was said, so that nothing is said twice.
    pub fn close(self: &Arc<Sender>, reason: CloseReason, last: Last) {
        {
            let mut queue = lock(&self.queue);
            queue.close(reason);
            match self.terms.dialect {
                Dialect::Frames => self.say(&mut queue, &last),
                Dialect::Headers | Dialect::Peerpy if last != Last::Nothing => queue.finish(),
                Dialect::Headers | Dialect::Peerpy => {}
            }
            self.settle(&mut queue);
            self.tell_all(&queue);
        }
        self.flush_now();
    }

    /// Queues the frames about the end, in frames.
    fn say(&self, queue: &mut SendQueue, last: &Last) {
        let headless = self.is_headless(queue);
        let frame = |said| word(said, "", headless);
        match last {
            Last::Nothing => {}
            Last::Goodbye => queue.say(Said::Goodbye, |_| frame(Word::Goodbye(None))),
            Last::Taken(taken) => {
                queue.say(Said::All, |before| match before {
                    Said::Nothing => frame(Word::Goodbye(Some(*taken))),
                    _ => frame(Word::Taken(*taken)),
                });
                queue.finish();
            }
            Last::Fin => {
                queue.say(Said::All, |_| Vec::new());
                queue.finish();
            }
            Last::Refused(words) => {
                let refused = Word::Refused { skip: 0 };
                queue.say(Said::All, |_| word(refused, words, headless));
                queue.finish();
            }
        }
    }
}
