//! How a connection ends: gracefully, in one of three [`Manner`]s, or at once, by
//! [`kill`](Link::kill). Every way leads through [`Life`](crate::net::life::Life), which says who is
//! the one to let go of what the connection holds.
//!
//! A long file, since each way to end may turn into another, and all are read together.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::overdue::Overdue;
use super::pump::read_ahead;
use super::{Link, OnEnd};
use crate::error::{CloseError, CloseReason};
use crate::format::Dialect;
use crate::net::life::{Manner, Outcome};
use crate::net::os::lock;
use crate::net::os::socket::reset;
use crate::net::os::sync::{Instant, TcpStream};
use crate::net::send::Last;
use crate::net::wire::answer::read_answer;
use crate::net::wire::frames::Ahead;
use crate::net::wire::half::Farewell;
use crate::net::wire::reasons::malformed;

/// After a `close` that has timed out the connection goes on closing for `close_timeout` once more,
/// and at least for this time.
const GRACE: Duration = Duration::from_secs(1);

/// How long a side that has refused a message waits for the other side to read why.
const REFUSAL: Duration = Duration::from_secs(1);

/// A `close` inside a handler reads ahead at least so much, however small the receive queue is.
const READ_AHEAD: usize = 1 << 20;

impl Link {
    // At once

    /// Ends the connection at once: resets it, and wakes everyone who is blocked on it.
    pub fn kill(&self, cause: CloseReason) {
        self.end(cause, Outcome::Unknown, reset);
    }

    /// Ends it, unless it is over: lets go of all that it holds, and tells its peer.
    pub(super) fn end(&self, cause: CloseReason, outcome: Outcome, part: fn(&TcpStream)) {
        // Several threads may end it at once. Whoever takes what lies under this lock is the one.
        let (tell, ended) = {
            let mut on_end = lock(&self.on_end);
            let Some(OnEnd { slot, tell }) = on_end.take() else {
                return;
            };
            // Under the lock, for two reasons. A thread that finds the connection ended finds its place
            // free, and no message is accepted any more. And a thread that comes second goes on only
            // when there is a reason, which it may then tell.
            drop(slot);
            self.sender.accept_no_more(&cause);
            (tell, self.life.end(cause, outcome))
        };
        let Some(reason) = ended else {
            return;
        };
        // From here on no lock is held: each of these wakes threads that take locks themselves.
        let socket = self.sender.give_up(reason.clone());
        drop(self.reading.take());
        if let Some(socket) = socket {
            part(&socket);
        }
        if let Some(end) = self.end_of_requests.get() {
            end();
        }
        // After the channel of requests has ended: this also wakes those who wait for requests.
        self.fail_requests(reason.clone());
        match self.queue.get() {
            Some(queue) if self.is_handled() => queue.end(),
            Some(queue) => queue.wake(),
            None => {}
        }
        tell(self, reason);
    }

    // Gracefully

    /// Closes gracefully and waits for the other side, for at most `close_timeout`. After that what was sent
    /// may still arrive for some time, unless the connection has a handler, which would be called on and on.
    ///
    /// The thread that calls this waits; the reader thread brings the end. A handler that closes its own
    /// connection is on the reader thread, and so reads on itself.
    pub fn close(self: &Arc<Link>) -> Result<(), CloseError> {
        let timeout = self.context.settings.close_timeout;
        let deadline = Instant::now() + timeout;
        let over_at = match self.is_handled() {
            true => deadline,
            false => deadline + timeout.max(GRACE),
        };
        self.begin(CloseReason::ClosedHere, self.polite(), over_at);
        if self.on_reader_thread() && !self.is_handled() && !self.life.is_over() {
            // A thread that serves requests is the reader thread. Only it could see the other side's end, and
            // it has no handler for which it could read ahead.
            return Err(CloseError::Timeout);
        }
        if self.on_reader_thread() && self.dialect.is_lanpeer() {
            // Only this thread could see the other side's end. What comes before it is still for the
            // handler, so the connection is not over yet.
            match self.read_to_the_end(deadline) {
                Some(Outcome::Complete) => {
                    self.life.complete();
                    return Ok(());
                }
                Some(Outcome::Unknown) => {
                    let reason = self.life.fault().unwrap_or(CloseReason::Reset);
                    return Err(CloseError::Incomplete(reason));
                }
                None => {}
            }
            if let Some(fault) = self.life.fault() {
                return Err(CloseError::Incomplete(fault));
            }
        }
        match self.life.wait(deadline) {
            Some((_, Outcome::Complete)) => Ok(()),
            // The watchdog has the same deadline, and may have been first.
            Some((CloseReason::TimedOut, _)) if Instant::now() >= deadline => {
                Err(CloseError::Timeout)
            }
            Some((reason, Outcome::Unknown)) => Err(CloseError::Incomplete(reason)),
            None => {
                if self.is_handled() {
                    self.kill(CloseReason::TimedOut);
                }
                match self.life.wait(deadline) {
                    // It was closed inside the handler, which is still at work.
                    Some((_, Outcome::Complete)) => Ok(()),
                    _ => Err(CloseError::Timeout),
                }
            }
        }
    }

    /// Begins a graceful end and returns at once. At `close_timeout` it is over. Of a thread that panics
    /// it is the end of a program that crashes: what was accepted is written, and no goodbye.
    pub fn close_in_background(self: &Arc<Link>, reason: CloseReason) {
        // A `stop` that the program calls while it unwinds is a stop.
        if reason == CloseReason::PeerDropped && self.crash(&reason) {
            return;
        }
        let deadline = Instant::now() + self.context.settings.close_timeout;
        self.begin(reason, self.polite(), deadline);
    }

    /// Begins the end of a program that crashes: if the current thread panics and the connection speaks
    /// frames.
    fn crash(self: &Arc<Link>, reason: &CloseReason) -> bool {
        if !std::thread::panicking() || self.dialect != Dialect::Frames || self.life.is_ending() {
            return false;
        }
        self.crashed.store(true, Ordering::SeqCst);
        self.sender.close(reason.clone(), Last::Fin);
        let deadline = Instant::now() + self.context.settings.close_timeout;
        self.begin(reason.clone(), Manner::Finish, deadline);
        true
    }

    /// The last handle was dropped: nobody will take what comes. `unread`: something has come that
    /// nobody took. A panic that drops it is a crash, as in [`close_in_background`](Self::close_in_background).
    pub fn leave_in_background(self: &Arc<Link>, unread: bool) {
        if self.crash(&CloseReason::ClosedHere) {
            return;
        }
        let deadline = Instant::now() + self.context.settings.close_timeout;
        let manner = match self.polite() {
            _ if self.dialect == Dialect::Frames => Manner::Leave,
            _ if unread => Manner::Reset,
            Manner::Finish => Manner::Leave,
            manner => manner,
        };
        self.begin(CloseReason::ClosedHere, manner, deadline);
    }

    fn polite(&self) -> Manner {
        match self.dialect {
            Dialect::Frames | Dialect::Headers => Manner::Finish,
            Dialect::Peerpy => Manner::Reset,
        }
    }

    /// Accepts no more messages, and has what was accepted written. The watchdog does the rest, at the
    /// deadline at the latest. Returns at once, so any thread may call it.
    fn begin(self: &Arc<Link>, reason: CloseReason, manner: Manner, deadline: Instant) {
        if !self.life.begin(reason, manner) {
            return;
        }
        // No reply is waited for any more, though some may come.
        self.fail_requests(self.life.why());
        // An earlier call may have begun it in a harder manner, which stays.
        let manner = self.life.manner();
        let last = match manner {
            Some(Manner::Finish) => Last::Goodbye,
            // The other side is told at once what was taken in. The reader throws away the rest.
            Some(Manner::Leave | Manner::Reset) if self.dialect == Dialect::Frames => {
                Last::Taken(self.taken())
            }
            _ => Last::Nothing,
        };
        self.sender.close(self.life.why(), last);
        // The other side's end is to be read, whether or not the program receives.
        if let Some(queue) = self.queue.get() {
            queue.recall();
        }
        let at = match manner {
            Some(Manner::Finish) | None => deadline,
            Some(Manner::Leave | Manner::Reset) if self.dialect == Dialect::Frames => deadline,
            Some(Manner::Leave | Manner::Reset) => Instant::now(),
        };
        self.context.watch(at, Overdue::task(self, deadline));
    }

    /// A message has come for which nobody is left: the other side is to learn of that. In frames by
    /// a word. In text by a reset, as soon as what this side has sent is there, or at once where it could
    /// take a FIN that was sent for an answer to its own. Waits for it, and says why the connection
    /// ended.
    pub fn discard(self: &Arc<Link>) -> CloseReason {
        let deadline = Instant::now() + self.context.settings.close_timeout;
        if self.dialect == Dialect::Frames {
            self.begin(CloseReason::ClosedHere, Manner::Leave, deadline);
            self.reading.discard(deadline);
            return CloseReason::ClosedHere;
        }
        self.begin(CloseReason::ClosedHere, Manner::Reset, deadline);
        if self.life.is_fin_sent() {
            self.kill(self.life.why());
        }
        let ended = self.life.wait(deadline);
        ended.map_or(CloseReason::ClosedHere, |(reason, _)| reason)
    }

    /// A `close` inside the connection's own handler, which runs on the thread that would read the
    /// other side's end: reads until there, and keeps what comes before for the handler. `None`: it did
    /// not come in time.
    fn read_to_the_end(self: &Arc<Link>, deadline: Instant) -> Option<Outcome> {
        let limit = self.context.settings.receive_queue_bytes.max(READ_AHEAD);
        // The other side's program may close in a handler as well, and wait for this word.
        let take_in = |messages| self.sender.close(self.life.why(), Last::Taken(messages));
        let complete = match read_ahead(deadline, limit, take_in)? {
            Ahead::Taken(taken) => {
                let (sent, ..) = self.sender.numbers();
                if taken > sent {
                    self.life.note_fault(too_many(taken, sent));
                }
                taken == sent
            }
            Ahead::Broken(reason) => {
                // The reader comes to it as well, behind what is kept for the handler.
                self.life.note_fault(reason);
                false
            }
            Ahead::Fin => {
                let socket = self.reading.socket().ok()?;
                self.reading.end_of_input(&socket).is_ok()
                    && self.reading.is_acknowledged(&socket, deadline)
            }
        };
        match complete {
            true => Some(Outcome::Complete),
            false if self.dialect == Dialect::Frames => Some(Outcome::Unknown),
            false => None,
        }
    }

    /// How many messages of the other side were taken in: by the handler, or into the queue of a
    /// program that has not dropped its handle.
    fn taken(&self) -> u64 {
        match self.queue.get() {
            Some(queue) if !self.is_handled() => queue.taken() + self.calls.taken(),
            _ => self.received.numbers().0,
        }
    }

    /// Has this side's program left, and is the other side told so, in frames?
    fn is_leaving(&self) -> bool {
        let is_left = matches!(self.life.manner(), Some(Manner::Leave | Manner::Reset));
        is_left && self.dialect == Dialect::Frames
    }

    // The reader's end

    /// The other side has said that no more messages come. `let_go` ends what waits for messages. Only its
    /// first call does something.
    pub(super) fn finish_reading(self: &Arc<Link>, let_go: &mut dyn FnMut()) {
        match self.dialect {
            Dialect::Frames => self.finish_frames(let_go),
            Dialect::Headers | Dialect::Peerpy => self.finish_text(let_go),
        }
    }

    /// The reader has read the other side's goodbye.
    fn finish_frames(self: &Arc<Link>, let_go: &mut dyn FnMut()) {
        let deadline = Instant::now() + self.context.settings.close_timeout;
        let farewell = self.reading.farewell();
        let is_leaving = self.is_leaving();
        // No more messages are accepted, before anyone learns of the end, and so that the numbers of
        // messages can be compared.
        let why = match self.life.is_ending() {
            true => self.life.why(),
            false => CloseReason::ClosedThere,
        };
        self.sender.close(why.clone(), Last::Nothing);
        // No reply comes behind a goodbye.
        self.fail_requests(why);
        if let Farewell::Leaving(taken) = farewell {
            let (sent, ..) = self.sender.numbers();
            if taken != sent {
                let cause = match taken < sent {
                    _ if is_leaving => CloseReason::ClosedHere,
                    true => CloseReason::Reset,
                    false => too_many(taken, sent),
                };
                self.kill(cause);
                return let_go();
            }
        }
        self.life.remote_finished();
        if self.life.is_answering() {
            // The program learns of the end at once, and not only when that is answered.
            let_go();
        }
        // Counted after the program was told: a handle may be dropped meanwhile.
        let taken_in = self.taken();
        self.sender.close(self.life.why(), Last::Taken(taken_in));
        // Its handle was dropped meanwhile, and the other side, which learns that messages were left, resets.
        let has_left_some = taken_in < self.received.numbers().0;
        let drained = self.sender.drain(Some(deadline)).is_ok();
        let answer = match farewell {
            Farewell::Leaving(taken) => Ok(Some(taken)),
            _ => read_answer(&self.reading, self.rules(), self.is_headless(), deadline),
        };
        let (sent, ..) = self.sender.numbers();
        let cause = match answer {
            Err(_) if is_leaving => CloseReason::ClosedHere,
            Err(_) if has_left_some => self.life.why(),
            Err(reason) => reason,
            Ok(Some(taken)) if taken > sent => too_many(taken, sent),
            Ok(Some(taken)) if taken == sent => {
                // Where its own word could not be written, nothing may look as if it had been.
                let part = if drained { |_: &TcpStream| {} } else { reset };
                self.end(self.life.why(), Outcome::Complete, part);
                self.life.why()
            }
            Ok(_) if is_leaving || self.is_leaving() => CloseReason::ClosedHere,
            // Its program has left meanwhile.
            Ok(Some(taken)) if taken < sent => CloseReason::Reset,
            Ok(_) => match self.life.fault() {
                Some(fault) => fault,
                None if Instant::now() >= deadline => CloseReason::TimedOut,
                None => CloseReason::Vanished,
            },
        };
        // Does nothing if it is over, as it is after a complete end.
        self.kill(cause);
        // Whoever has closed it learns first what became of that.
        let_go();
    }

    /// Do messages of the other side's stream have no head?
    fn is_headless(&self) -> bool {
        let begun = self.received.numbers().0 > 0;
        self.stream.is_some() && (begun || self.stream_terms.is_named())
    }

    /// The reader has read the other side's FIN, between two messages.
    fn finish_text(self: &Arc<Link>, let_go: &mut dyn FnMut()) {
        if self.is_released() {
            if self.reading.is_encrypted() {
                if self.has_unread() {
                    // It has come since, and the record of the end would be read before the reset.
                    self.kill(self.why_released());
                    return let_go();
                }
                self.sender.say_end();
            }
            // Whether the program there has taken in what was sent cannot be known any more.
            let (sent, ..) = self.sender.numbers();
            let outcome = match sent {
                0 => Outcome::Complete,
                _ => Outcome::Unknown,
            };
            self.end(self.why_released(), outcome, |_| {});
            return let_go();
        }
        let deadline = Instant::now() + self.context.settings.close_timeout;
        self.life.remote_finished();
        let is_reset = self.life.manner() == Some(Manner::Reset);
        let last = match self.dialect.is_lanpeer() && !is_reset {
            true => Last::Goodbye,
            false => Last::Nothing,
        };
        self.sender.close(self.life.why(), last);
        if self.life.is_answering() {
            // The program learns of the end at once, and not only when our FIN is acknowledged.
            let_go();
            self.answer(deadline);
        } else {
            // Whoever has closed it learns first what became of that.
            self.answer(deadline);
            let_go();
        }
    }

    /// Is the reader to close the socket as a whole?
    pub(super) fn is_released(&self) -> bool {
        // What comes in the last moment makes a reset of it.
        self.released.load(Ordering::SeqCst) && self.life.manner() == Some(Manner::Leave)
    }

    /// Why a connection has ended whose socket is closed as a whole.
    fn why_released(&self) -> CloseReason {
        match self.life.why() {
            // A `close` was first, and has not seen the other side's end in its time.
            CloseReason::ClosedHere if self.life.is_fin_sent() => CloseReason::TimedOut,
            why => why,
        }
    }

    /// Writes what is still queued, and ends the connection when it is known what became of it.
    fn answer(self: &Arc<Link>, deadline: Instant) {
        let Ok(socket) = self.reading.socket() else {
            return;
        };
        let drained = self.sender.drain(Some(deadline)).is_ok();
        let is_reset = self.life.manner() == Some(Manner::Reset);
        let complete = match self.dialect {
            _ if self.dialect.is_lanpeer() && is_reset => {
                let _ = drained && self.wait_until_acknowledged(deadline);
                false
            }
            Dialect::Frames | Dialect::Headers => {
                let acknowledged = drained && self.reading.is_acknowledged(&socket, deadline);
                // The other side's end was the first. Where it does not wait for ours, which is a
                // record of an encrypted connection, it resets that; no message is lost by it.
                acknowledged || (self.life.is_answering() && self.sender.is_unused())
            }
            Dialect::Peerpy => drained && self.wait_until_acknowledged(deadline),
        };
        drop(socket);
        let cause = match self.life.fault() {
            None if complete || is_reset => self.life.why(),
            None if Instant::now() >= deadline => CloseReason::TimedOut,
            None => CloseReason::Reset,
            Some(fault) => fault,
        };
        let outcome = match complete {
            true => Outcome::Complete,
            false => Outcome::Unknown,
        };
        match self.dialect {
            Dialect::Frames | Dialect::Headers if complete => self.end(cause, outcome, |_| {}),
            // Nothing that waits in the socket may leave a half-closed connection behind.
            _ => self.end(cause, outcome, reset),
        }
    }

    /// The reader has met this in place of a message.
    pub(super) fn fail_reading(self: &Arc<Link>, reason: CloseReason) {
        // Of a connection that nobody holds any more, a part of a message is thrown away.
        if self.is_leaving() {
            return self.kill(CloseReason::ClosedHere);
        }
        // The other side resets what has no goodbye.
        if self.crashed.load(Ordering::SeqCst) {
            return self.kill(self.life.why());
        }
        if self.is_released() {
            return self.kill(self.why_released());
        }
        if self.dialect == Dialect::Frames && is_about_a_message(&reason) {
            self.refuse(&reason);
        }
        self.kill(reason);
    }

    /// Tells the other side why a message could not be taken in, and lets it read that.
    fn refuse(self: &Arc<Link>, reason: &CloseReason) {
        self.fail_requests(reason.clone());
        let deadline = Instant::now() + REFUSAL;
        let words = Last::Refused(reason.to_string());
        self.sender.close(reason.clone(), words);
        if self.sender.drain(Some(deadline)).is_ok() {
            self.reading.discard(deadline);
        }
    }
}

/// Is this about what the other side has sent?
fn is_about_a_message(reason: &CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::Malformed(_) | CloseReason::TooLarge { .. } | CloseReason::DeniedType { .. }
    )
}

/// The other side says that it took in more messages than there are.
fn too_many(taken: u64, sent: u64) -> CloseReason {
    malformed(format_args!(
        "the other side took in {taken} messages of {sent}"
    ))
}
