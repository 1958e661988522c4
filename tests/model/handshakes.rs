//! Who asks whom, and how offers are answered.

use std::sync::Arc;
use std::time::Duration;

use lanpeer::{
    Bytes, ConnectOptions, Connection, DataType, Dynamic, Error, Json, Offer, Peer, Raw,
};

use super::ends;
use super::history::{Diary, Fact};
use super::os::{select, sleep};
use super::plan::{Accepting, Answer, Kind, Stream};
use super::run::Stage;
use super::word::Carry;

pub fn ask(stage: &Arc<Stage>, diary: &Arc<Diary>, links: &[usize]) {
    for link in links {
        let asked = match stage.program.links[*link].kind {
            Kind::Bytes => ask_one::<Bytes>(stage, diary, *link),
            Kind::Json => ask_one::<Json<String>>(stage, diary, *link),
            Kind::Raw => ask_one::<Raw<Vec<u16>>>(stage, diary, *link),
            Kind::Dynamic => ask_one::<Dynamic>(stage, diary, *link),
        };
        if !asked {
            // An offer that nobody waits for any more may still come to the other side: a later one
            // could not be told from it.
            return;
        }
    }
}

/// `false`: the other side may not have seen it yet.
fn ask_one<F: Carry>(stage: &Arc<Stage>, diary: &Arc<Diary>, link: usize) -> bool {
    let plan = &stage.program.links[link];
    let [asker, asked] = plan.peers;
    let mut options = ConnectOptions::new();
    options = match plan.stream {
        Some(Stream::FromFirst) => options.stream(),
        Some(Stream::Of(size)) => options.stream_of(size),
        None => options,
    };
    if let Some(timeout) = plan.timeout {
        options = options.timeout(timeout);
    }
    if plan.ends[0].latest {
        options = options.latest();
    }
    if F::DATA_TYPE.is_none() {
        options = options.data_type(DataType::Bytes);
    }
    stage.begin(asker, asked, link);
    let (peer, addr) = (stage.peer(asker), stage.addrs[asked]);
    let connect = || match ends::handler::<F>(stage, 2 * link) {
        Some(handler) => options.connect_with(&peer, addr, handler),
        None => options.connect::<F>(&peer, addr),
    };
    let result = diary.act("connect", connect, |_| None);
    let (result, conn) = match result {
        Ok(conn) => (Ok(()), Some(conn)),
        Err(error) => (Err(error), None),
    };
    let seen = match &result {
        Ok(()) | Err(Error::TooManyConnections { .. }) => true,
        Err(Error::Denied { reason, .. }) => reason.as_deref() != Some("stopped"),
        Err(_) => false,
    };
    let end = stage.diary(format!("link {link}"), asker, Some(2 * link));
    end.note(Fact::Asked(result));
    if let Some(conn) = conn {
        stage.enter(&peer, 2 * link, conn.id());
        ends::start(stage, 2 * link, conn);
        if matches!(stage.program.peers[asked].accepting, Accepting::Accept(_)) {
            // There an accepted connection, not an offer, says which one it is.
            let stopped = || stage.is_stopping(asked) || stage.is_stopping(asker);
            while !stage.has(2 * link + 1) && !stopped() {
                sleep(Duration::from_micros(100));
            }
            if !stage.has(2 * link + 1) {
                return false;
            }
        }
    }
    seen
}

pub fn accept(stage: &Arc<Stage>, diary: &Arc<Diary>) {
    let own = diary.peer;
    let Some(peer) = stage.peer_if_any(own) else {
        return; // it is over before this thread began
    };
    match stage.program.peers[own].accepting {
        Accepting::Incoming => {
            let mut incoming = peer.incoming();
            drop(peer);
            while let Some(offer) = diary.act("incoming", || incoming.next(), |_| None) {
                answer(stage, diary, offer);
            }
        }
        Accepting::Offers => {
            let offers = peer.offers();
            drop(peer);
            let next = || select! { recv(offers) -> offer => offer.ok() };
            while let Some(offer) = diary.act("offers", next, |_| None) {
                answer(stage, diary, offer);
            }
        }
        Accepting::Accept(Kind::Bytes) => accept_all::<Bytes>(stage, diary),
        Accepting::Accept(Kind::Json) => accept_all::<Json<String>>(stage, diary),
        Accepting::Accept(Kind::Raw) => accept_all::<Raw<Vec<u16>>>(stage, diary),
        Accepting::Accept(Kind::Dynamic) => accept_all::<Dynamic>(stage, diary),
    }
}

fn accept_all<F: Carry>(stage: &Arc<Stage>, diary: &Arc<Diary>) {
    let peer = stage.peer(diary.peer);
    loop {
        let accepted = diary.act("accept", || peer.accept::<F>(), |_| None);
        match accepted {
            Ok(conn) => {
                let link = stage.link_from(conn.peer_addr(), diary.peer);
                let end = stage.diary(format!("link {link}"), diary.peer, Some(2 * link + 1));
                accepted_one(stage, &end, &peer, link, conn);
            }
            Err(Error::Stopped) => return,
            Err(error) => return diary.wrong(format!("accept: {error}")),
        }
    }
}

fn answer(stage: &Arc<Stage>, diary: &Arc<Diary>, offer: Offer) {
    let link = stage.link_from(offer.peer_addr(), diary.peer);
    let plan = &stage.program.links[link];
    if !plan.answer_after.is_zero() {
        sleep(plan.answer_after);
    }
    let end = stage.diary(format!("link {link}"), diary.peer, Some(2 * link + 1));
    let told = |result: &Result<(), Error>| match result {
        Ok(()) => Some(Fact::Denied),
        Err(_) => Some(Fact::Gone),
    };
    match plan.answer {
        Answer::Accept => match plan.kind {
            Kind::Bytes => accept_one::<Bytes>(stage, &end, link, offer),
            Kind::Json => accept_one::<Json<String>>(stage, &end, link, offer),
            Kind::Raw => accept_one::<Raw<Vec<u16>>>(stage, &end, link, offer),
            Kind::Dynamic => accept_one::<Dynamic>(stage, &end, link, offer),
        },
        Answer::Deny => drop(end.act("deny", || offer.deny("not-today"), told)),
        Answer::Drop => end.act("drop the offer", || drop(offer), |()| Some(Fact::Denied)),
        Answer::WrongType => {
            let wrong = || match offer.data_type() {
                DataType::Json => offer.accept::<Raw<u8>>().map(drop),
                _ => offer.accept::<Json<u8>>().map(drop),
            };
            let _ = end.act("accept with a wrong type", wrong, |result| match result {
                Err(Error::TypeMismatch { .. }) => Some(Fact::Denied),
                other => Some(Fact::Wrong(format!("{other:?}"))),
            });
        }
    }
}

fn accept_one<F: Carry>(stage: &Arc<Stage>, diary: &Arc<Diary>, link: usize, offer: Offer) {
    let peer = stage.peer(diary.peer);
    let accept = || match ends::handler::<F>(stage, 2 * link + 1) {
        Some(handler) => offer.accept_with(handler),
        None if stage.program.links[link].ends[1].latest => offer.accept_latest::<F>(),
        None => offer.accept::<F>(),
    };
    match diary.act("accept", accept, |_| None) {
        Ok(conn) => accepted_one(stage, diary, &peer, link, conn),
        Err(error) => diary.note(Fact::Lost(error)),
    }
}

fn accepted_one<F: Carry>(
    stage: &Arc<Stage>,
    diary: &Diary,
    peer: &Peer,
    link: usize,
    conn: Connection<F>,
) {
    diary.note(Fact::Accepted);
    stage.enter(peer, 2 * link + 1, conn.id());
    ends::start(stage, 2 * link + 1, conn);
}
