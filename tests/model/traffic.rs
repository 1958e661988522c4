//! How an end's threads send, take and answer.

use std::time::Duration;

use lanpeer::{Connection, RecvTimeoutError, SendError, TryRecvError};

use super::ends::{Held, pause};
use super::history::{Diary, Fact};
use super::os::{Instant, Sender, select, sleep};
use super::plan::{Op, Stream, Take, Taker};
use super::run::Stage;
use super::word::{Carry, HEAD, Source, Word};

/// The numbers of threads that answer pings begin here.
pub const ANSWERS: u8 = 100;

/// How a call is written down whose message a newer one may replace.
pub const SEND_LATEST: &str = "send_latest";

/// The one that pings.
const PINGS: u8 = 50;

pub fn send<F: Carry>(stage: &Stage, held: &Held<F>, end: usize, number: usize) {
    let Held { conn, diary, .. } = held;
    let plan = &stage.program.links[end / 2].ends[end % 2];
    let source = Source::End {
        end,
        thread: number as u8,
    };
    let broadcasts = stage.program.peers.iter().any(|peer| peer.broadcasts > 0);
    // Does nobody else send on this connection?
    let alone = plan.senders.len() == 1
        && plan.pings == 0
        && !broadcasts
        && stage.program.links[end / 2]
            .ends
            .iter()
            .all(|end| end.pings == 0);
    for (number, op) in plan.senders[number].iter().enumerate() {
        let word = |size| Word {
            source,
            number: number as u32,
            size,
            ping: false,
        };
        let result = match *op {
            Op::Send(size) => send_one::<F>(diary, "send", word(size), |item| conn.send(item)),
            Op::TrySend(size) => {
                send_one::<F>(diary, "try_send", word(size), |item| conn.try_send(item))
            }
            Op::SendTimeout(size, time) => {
                send_one::<F>(diary, "send_timeout", word(size), |item| {
                    conn.send_timeout(item, time)
                })
            }
            Op::SendLatest(size) => send_one::<F>(diary, SEND_LATEST, word(size), |item| {
                conn.send_latest(item)
            }),
            Op::WrongSize(size) => {
                let item = F::wrap(&word(size));
                let result = diary.act("send a wrong size", || conn.send(&item), |_| None);
                let refused = matches!(
                    result,
                    Err(SendError::WrongSize { .. } | SendError::Closed(_))
                );
                diary.check(
                    refused,
                    "a message of another size than the stream's was accepted",
                );
                Ok(())
            }
            Op::Flush => {
                let result = diary.act(
                    "flush",
                    || conn.flush(),
                    |result| Some(Fact::Flushed(result.clone())),
                );
                if alone && result.is_ok() {
                    let waits = conn.stats().send_queue_bytes;
                    // A word about the end is not a message, and may follow.
                    diary.check(waits <= 20, "bytes in the send queue after flush");
                }
                result
            }
            Op::Look => {
                look(stage, held, end);
                Ok(())
            }
            Op::Pause(time) => {
                pause(time);
                Ok(())
            }
        };
        if let Err(SendError::Closed(_)) = result {
            // It stays so.
            let again = conn.try_send(&F::wrap(&word(HEAD)));
            let closed = matches!(
                again,
                Err(SendError::Closed(_) | SendError::WrongSize { .. })
            );
            diary.check(closed, "a message was accepted after the end");
            return;
        }
    }
}

fn send_one<F: Carry>(
    diary: &Diary,
    how: &'static str,
    word: Word,
    call: impl FnOnce(&F::Item) -> Result<(), SendError>,
) -> Result<(), SendError> {
    let item = F::wrap(&word);
    diary.act(
        how,
        || call(&item),
        |result| Some(Fact::Sent(word, result.clone())),
    )
}

/// What is open is listed, what has ended is not.
fn look<F: Carry>(stage: &Stage, held: &Held<F>, end: usize) {
    let Held { conn, diary, .. } = held;
    let before = conn.close_reason();
    // A thread that began late may find its peer dropped.
    let Some(peer) = stage.peer_if_any(stage.program.links[end / 2].peers[end % 2]) else {
        return;
    };
    let listed = peer.connections();
    let after = conn.close_reason();
    let found = listed.iter().find(|info| info.id() == conn.id());
    diary.check(
        found.is_some() || after.is_some(),
        "an open connection is not listed",
    );
    diary.check(
        found.is_none() || before.is_none(),
        "a connection that has ended is listed",
    );
    if let Some(info) = found {
        let same = info.peer_addr() == conn.peer_addr() && info.data_type() == conn.data_type();
        diary.check(same, "the list says something else than the connection");
    }
    let other = stage.program.links[end / 2].peers[1 - end % 2];
    diary.check(
        conn.peer_addr() == stage.addrs[other],
        "another peer's address",
    );
}

// Receiving

/// Answers to pings.
pub struct Answers {
    source: Source,
    next: u32,
}

impl Answers {
    pub fn new(end: usize, thread: u8) -> Answers {
        Answers {
            source: Source::End { end, thread },
            next: 0,
        }
    }

    pub fn answer<F: Carry>(&mut self, conn: &Connection<F>, diary: &Diary, ping: Word) {
        // In a stream all messages have one size.
        let size = if conn.stream().is_some() {
            ping.size
        } else {
            HEAD
        };
        let word = Word {
            source: self.source,
            number: self.next,
            size,
            ping: false,
        };
        self.next += 1;
        let _ = send_one::<F>(diary, "answer", word, |item| conn.send(item));
    }
}

pub fn take<F: Carry>(held: &Held<F>, taker: Taker, mut answers: Answers) {
    let Held { conn, diary, .. } = held;
    let mut taken = 0;
    while taker.limit.is_none_or(|limit| taken < limit) {
        let Some(word) = take_one(conn, diary, taker.how) else {
            return;
        };
        taken += 1;
        if word.is_some_and(|word| word.ping) {
            answers.answer(conn, diary, word.expect("a ping"));
        }
        pause(taker.pause);
    }
}

/// The next message (`Some(None)` if it is not one that anybody sent); `None`: the end.
pub fn take_one<F: Carry>(conn: &Connection<F>, diary: &Diary, how: Take) -> Option<Option<Word>> {
    loop {
        let mut word = None;
        let item = diary.act(
            name_of(how),
            || take_item(conn, diary, how).map(|item| item.map(|item| read::<F>(item))),
            |item| match item {
                Some(Ok(Ok(read))) => {
                    word = Some(*read);
                    Some(Fact::Took(*read))
                }
                Some(Ok(Err(wrong))) => Some(Fact::Wrong(wrong.clone())),
                Some(Err(())) => Some(Fact::End(conn.close_reason())),
                None => None,
            },
        );
        match item {
            Some(Ok(_)) => return Some(word),
            Some(Err(())) => {
                diary.check(conn.close_reason().is_some(), "an end without a reason");
                let more = conn.try_recv();
                let ended = matches!(more, Err(TryRecvError::Disconnected));
                diary.check(ended, "a message after the end");
                return None;
            }
            None => sleep(Duration::from_micros(200)),
        }
    }
}

pub fn read<F: Carry>(item: F::Item) -> Result<Word, String> {
    Word::read(&F::unwrap(item)?)
}

fn name_of(how: Take) -> &'static str {
    match how {
        Take::Recv => "recv",
        Take::Try => "try_recv",
        Take::Timeout(_) => "recv_timeout",
        Take::Select => "select",
        Take::Iter => "iter",
        Take::TryIter => "try_iter",
    }
}

/// `None`: nothing yet. `Some(Err(()))`: the end.
fn take_item<F: Carry>(
    conn: &Connection<F>,
    diary: &Diary,
    how: Take,
) -> Option<Result<F::Item, ()>> {
    match how {
        Take::Recv => Some(conn.recv().map_err(drop)),
        Take::Try => match conn.try_recv() {
            Ok(item) => Some(Ok(item)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(())),
        },
        Take::Timeout(time) => {
            let start = Instant::now();
            match conn.recv_timeout(time) {
                Ok(item) => Some(Ok(item)),
                Err(RecvTimeoutError::Timeout) => {
                    diary.check(start.elapsed() >= time, "recv_timeout returned early");
                    None
                }
                Err(RecvTimeoutError::Disconnected) => Some(Err(())),
            }
        }
        Take::Select => select! { recv(conn.receiver()) -> item => Some(item.map_err(drop)) },
        Take::Iter => Some(conn.iter().next().ok_or(())),
        Take::TryIter => match conn.try_iter().next() {
            Some(item) => Some(Ok(item)),
            // It does not tell "not yet" from "never".
            None => take_item(conn, diary, Take::Try),
        },
    }
}

/// Sends pings, waits for each answer, and then takes until the end.
pub fn talk<F: Carry>(stage: &Stage, held: &Held<F>, end: usize, sending: Sender<()>) {
    let Held { conn, diary, .. } = held;
    let link = &stage.program.links[end / 2];
    let size = match link.stream {
        Some(Stream::Of(size)) => size,
        Some(Stream::FromFirst) => link.stream_size,
        None => HEAD + 10,
    };
    for number in 0..link.ends[end % 2].pings as u32 {
        let source = Source::End { end, thread: PINGS };
        let word = Word {
            source,
            number,
            size,
            ping: true,
        };
        if send_one::<F>(diary, "ping", word, |item| conn.send(item)).is_err() {
            break;
        }
        loop {
            match take_one(conn, diary, Take::Recv) {
                None => return,
                Some(Some(Word {
                    source:
                        Source::End {
                            thread: ANSWERS.., ..
                        },
                    ..
                })) => break,
                Some(_) => {}
            }
        }
    }
    drop(sending);
    while take_one(conn, diary, Take::Recv).is_some() {}
}
