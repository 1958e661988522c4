//! What the threads of one end of a connection do: send, take, answer, end it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lanpeer::{CloseReason, Connection, SendError};

use super::history::{Diary, Fact};
use super::os::{Receiver, bounded, sleep, yield_now};
use super::plan::{Finish, HandlerAct, Take};
use super::run::Stage;
use super::traffic::{ANSWERS, Answers, read, send, take, take_one, talk};
use super::word::{Carry, HEAD, Source, Word};

/// A handle of a connection; the last one that goes notes it.
pub struct Held<F: Carry> {
    pub conn: Connection<F>,
    pub diary: Arc<Diary>,
    others: Arc<AtomicUsize>,
}

impl<F: Carry> Held<F> {
    fn clone_for(&self, diary: &Arc<Diary>) -> Held<F> {
        self.others.fetch_add(1, Ordering::SeqCst);
        Held {
            conn: self.conn.clone(),
            diary: Arc::clone(diary),
            others: Arc::clone(&self.others),
        }
    }
}

impl<F: Carry> Drop for Held<F> {
    fn drop(&mut self) {
        if self.others.fetch_sub(1, Ordering::SeqCst) == 0 {
            let open = self.conn.close_reason().is_none();
            self.diary.note(Fact::Dropped { open });
        }
    }
}

/// What a thread of an end does.
type Work<F> = Box<dyn FnOnce(&Arc<Stage>, Held<F>) + Send>;

/// Starts the threads of an end.
pub fn start<F: Carry>(stage: &Arc<Stage>, end: usize, conn: Connection<F>) {
    let plan = &stage.program.links[end / 2].ends[end % 2];
    let peer = stage.program.links[end / 2].peers[end % 2];
    let first = stage.diary(format!("end {end}"), peer, Some(end));
    let held = Held {
        conn,
        diary: first,
        others: Arc::default(),
    };
    let spawn = |name: String, work: Work<F>| {
        // Counted before this function's own handle goes.
        let held = held.clone_for(&held.diary);
        let work = move |stage: &Arc<Stage>, diary: &Arc<Diary>| {
            let own = held.clone_for(diary);
            drop(held);
            work(stage, own);
        };
        stage.start(format!("{name} of end {end}"), peer, Some(end), true, work);
    };
    for number in 0..plan.takers.len() {
        let work = move |stage: &Arc<Stage>, held: Held<F>| {
            let taker = stage.program.links[end / 2].ends[end % 2].takers[number];
            let answers = Answers::new(end, ANSWERS + number as u8);
            take(&held, taker, answers);
        };
        spawn(format!("taker {number}"), Box::new(work));
    }
    if plan.handler.is_some() {
        // There `recv` waits for the end.
        let work = move |_: &Arc<Stage>, held: Held<F>| {
            let word = take_one(&held.conn, &held.diary, Take::Recv);
            held.diary
                .check(word.is_none(), "a message that was the handler's");
        };
        spawn("waiter".to_owned(), Box::new(work));
    }
    let (sending, sent) = bounded(0);
    for number in 0..plan.senders.len() {
        let sending = sending.clone();
        let work = move |stage: &Arc<Stage>, held: Held<F>| {
            send(stage, &held, end, number);
            drop(sending);
        };
        spawn(format!("sender {number}"), Box::new(work));
    }
    if plan.pings > 0 {
        let work = move |stage: &Arc<Stage>, held: Held<F>| talk(stage, &held, end, sending);
        spawn("talker".to_owned(), Box::new(work));
    } else {
        drop(sending);
    }
    let work = move |stage: &Arc<Stage>, held: Held<F>| finish(stage, held, end, &sent);
    spawn("finisher".to_owned(), Box::new(work));
}

/// The handler of an end, if it has one.
pub fn handler<F: Carry>(
    stage: &Arc<Stage>,
    end: usize,
) -> Option<impl FnMut(&Connection<F>, F::Item) + Send + 'static + use<F>> {
    let link = &stage.program.links[end / 2];
    let act = link.ends[end % 2].handler?;
    let peer = link.peers[end % 2];
    let diary = stage.diary(format!("handler of end {end}"), peer, Some(end));
    let stage = Arc::clone(stage);
    let mut answers = Answers::new(end, ANSWERS);
    let mut taken = 0;
    Some(move |conn: &Connection<F>, item: F::Item| {
        let word = match read::<F>(item) {
            Ok(word) => word,
            Err(wrong) => return diary.wrong(wrong),
        };
        diary.note(Fact::Took(word));
        taken += 1;
        if word.ping {
            answers.answer(conn, &diary, word);
        }
        let Some((_, act)) = act.filter(|(number, _)| *number == taken) else {
            return;
        };
        match act {
            HandlerAct::Close => close(&diary, true, || (conn.close(), conn.close_reason())),
            HandlerAct::Abort => diary.act("abort", || conn.abort(), |()| Some(Fact::Aborted)),
            HandlerAct::StopPeer => stage.stop(&diary, peer),
            HandlerAct::Panic => {
                diary.note(Fact::Panics);
                panic!("as planned");
            }
        }
    })
}

// The end

fn finish<F: Carry>(stage: &Arc<Stage>, held: Held<F>, end: usize, sent: &Receiver<()>) {
    let link = &stage.program.links[end / 2];
    let plan = &link.ends[end % 2];
    if plan.after_senders {
        let _ = held
            .diary
            .act("wait for the senders", || sent.recv(), |_| None);
    }
    pause(plan.when);
    let Held { conn, diary, .. } = &held;
    let listed = || {
        let peer = stage.peer_if_any(link.peers[end % 2])?;
        let mut listed = peer.connections().into_iter();
        listed.find(|info| info.id() == conn.id())
    };
    match plan.finish {
        Finish::Not => {}
        Finish::Close => close(diary, false, || (conn.close(), conn.close_reason())),
        Finish::CloseTwice => {
            let other = held.clone_for(diary);
            let work = move |_: &Arc<Stage>, diary: &Arc<Diary>| {
                close(diary, false, || {
                    (other.conn.close(), other.conn.close_reason())
                });
            };
            let label = format!("second finisher of end {end}");
            stage.start(label, link.peers[end % 2], Some(end), true, work);
            close(diary, false, || (conn.close(), conn.close_reason()));
        }
        Finish::CloseListed => match listed() {
            Some(info) => close(diary, false, || (info.close(), info.close_reason())),
            None => diary.check(
                conn.close_reason().is_some(),
                "an open connection is not listed",
            ),
        },
        Finish::Abort => diary.act("abort", || conn.abort(), |()| Some(Fact::Aborted)),
        Finish::AbortListed => match listed() {
            Some(info) => diary.act("abort", || info.abort(), |()| Some(Fact::Aborted)),
            None => diary.check(
                conn.close_reason().is_some(),
                "an open connection is not listed",
            ),
        },
    }
    if !matches!(plan.finish, Finish::Not) {
        let late = conn.try_send(&F::wrap(&Word {
            source: Source::End { end, thread: 255 },
            number: 0,
            size: HEAD,
            ping: false,
        }));
        let refused = matches!(
            late,
            Err(SendError::Closed(_) | SendError::WrongSize { .. })
        );
        diary.check(refused, "a message was accepted after close or abort");
    }
}

fn close(
    diary: &Diary,
    in_handler: bool,
    close: impl FnOnce() -> (Result<(), lanpeer::CloseError>, Option<CloseReason>),
) {
    let _ = diary.act("close", close, |(result, reason)| {
        let (result, reason) = (result.clone(), reason.clone());
        Some(Fact::Closed {
            result,
            reason,
            in_handler,
        })
    });
}

pub fn pause(time: Duration) {
    match time.as_micros() {
        0 => {}
        1..20 => yield_now(),
        _ => sleep(time),
    }
}
