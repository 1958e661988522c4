//! The client's side: says HELLO, proves that it has the secret, and takes the answer.
//!
//! ```text
//! in the clear   HELLO ──▶  ◀── answer
//! encrypted      HELLO ──▶  ◀── ACCEPT, challenge   proof ──▶  ◀── [key], answer, as a record
//! ```
//!
//! Where both sides speak frames, each also says who it is: WHO stands behind HELLO, or behind the
//! proof as a record, or inside it where a key is shown, and behind the answer. A stream's HELLO goes
//! alone, since one who speaks no frames would take what follows for data; a server that does asks,
//! by a WHO of its own.
//!
//! A server may say DENY in the clear at each point where it has something to say.
//!
//! A long file, since it is one machine: what each state takes and where it leads is read together.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::format::{DataType, Dialect, HAS_PICKLE};
use crate::neighbour::PeerId;
use crate::net::handshake::header::{Exactly, Header, HeaderReader, Several};
use crate::net::handshake::{Ended, Input, Machine, NOT_ME, RECORD, Step, dialect, spoken};
use crate::net::link::Agreement;
use crate::options::{Settings, StreamSize};
use crate::proto::beacon::Card;
use crate::proto::header::{
    Answer, HEADER_LEN, Hello, Stream, Suite, Taken, Version, Wanted, reachable,
};
use crate::proto::who::{self, Attempt};
use crate::secure::handshake::{Joined, Joining, THIRD, Waiting, first_len};
use crate::secure::record::{Opener, PREFIX};
use crate::secure::{self, Allowed, Forged, Keys, PublicKey, Session, Trust};

/// What a server says in the clear to a client that wants encryption, before it knows who that is.
///
/// Anybody on the way can say these words too, so they are only hints. A word that a program has
/// chosen is not among them: a program is asked only once the client has proved itself.
const CLEAR_WORDS: [&str; 7] = [
    "busy",
    "malformed",
    "no-secret",
    "secret",
    "stopped",
    "type",
    "unsupported",
];

/// What a connection is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub data_type: DataType,
    pub strict: bool,
    pub stream: Option<StreamSize>,
    pub timeout: Duration,
    /// Not encrypted, also where there is a secret.
    pub in_the_clear: bool,
    /// Which attempt this is, where it is one of several.
    pub attempt: Option<Attempt>,
    /// Who is meant, where that is known. Nobody else will do.
    pub whom: Option<Whom>,
    /// Whose key the other side must show, beside what this peer allows.
    pub expected: Allowed,
}

/// One peer, and no other.
#[derive(Clone, Debug)]
pub(crate) struct Whom {
    pub id: PeerId,
    /// What it is to say of itself; `None`: its id is enough.
    pub card: Option<Arc<Card>>,
}

impl Whom {
    /// Where the whole card is known all of it has to fit, not only the id.
    fn is(&self, who: &Card) -> bool {
        let card = self.card.as_deref();
        self.id == PeerId::of(who) && card.is_none_or(|card| card == who)
    }
}

/// The machine of one connection that is asked for.
///
/// Its fields are fixed by HELLO, except `version`, `may_ask`, `is_asked` and the state. It holds no
/// deadline: whoever drives it says when the time is over, as an [`Input`].
pub(crate) struct Client<'a> {
    /// The secrets as they are when the handshake begins. A change during it counts for the next one.
    trust: Arc<Trust>,
    /// Who this side is.
    card: &'a Card,
    /// What HELLO has offered to speak; with the answer, what both do.
    version: Version,
    /// The server may still ask who this side is.
    may_ask: bool,
    /// The server has asked: it speaks frames, and so what is not padded is not whole.
    is_asked: bool,
    /// Where the other peer listens.
    addr: SocketAddrV4,
    request: Request,
    /// The encryption that HELLO has offered.
    offered: Option<Wanted>,
    /// What was written. The proof covers it, so that nobody can alter it on the way.
    hello: [u8; HEADER_LEN],
    state: State,
}

/// What the machine waits for, with what it needs for that and nothing else. So a message that comes
/// in the wrong state cannot be looked at with keys of another one.
enum State {
    /// Reads the answer; or, where HELLO has offered encryption, the word that it is taken.
    Answer(HeaderReader),
    /// Writes WHO, because the server has asked.
    Tell,
    /// Reads WHO, behind an answer in the clear.
    Who(Exactly<HEADER_LEN>),
    /// Reads the first message of the encryption, which stands behind this ACCEPT.
    Challenge(Taken, Keys, Vec<u8>, Several),
    /// Writes the second message, which proves that this side has the secret.
    Proof(Joined),
    /// Reads the third message, with the server's key; or the beginning of a DENY in the clear.
    Third(Box<Waiting>, Exactly<THIRD>),
    /// Reads the rest of that DENY.
    Deny([u8; THIRD], Exactly<{ HEADER_LEN - THIRD }>),
    /// Reads as much of the encrypted answer as a DENY in the clear has: a server that found no proof
    /// of the secret has no session to deny through.
    Record(Box<Session>, Exactly<HEADER_LEN>),
    /// Reads the rest of it.
    Rest(
        Box<Session>,
        [u8; HEADER_LEN],
        Exactly<{ RECORD - HEADER_LEN }>,
    ),
    /// Reads WHO behind the answer, as a record.
    SecureWho(Box<Session>, Exactly<RECORD>),
    /// The outcome is known.
    Over,
}

/// The other side has accepted this.
pub(crate) struct Accepted {
    pub agreed: Agreement,
    /// The keys of an encrypted connection.
    pub session: Option<Session>,
    /// What came behind the answer.
    pub early: Vec<u8>,
}

/// There is no connection.
#[derive(Debug)]
pub(crate) struct Failure {
    pub error: Error,
    /// The other side has accepted all the same. It is to see a reset, since a FIN would say that
    /// all was taken in, and a peerpy would not notice it.
    pub reset: bool,
}

type Outcome = Result<Box<Accepted>, Failure>;

impl Client<'_> {
    /// Also returns HELLO, which is to be written. `listens` is where this peer listens, `source`
    /// where its packets come from.
    pub fn new(
        settings: &Settings,
        listens: SocketAddrV4,
        source: Ipv4Addr,
        addr: SocketAddrV4,
        request: Request,
    ) -> Result<(Client<'_>, Vec<u8>), Error> {
        let trust = settings.trusts.now();
        // A peer with a secret never falls back to a connection in the clear by itself. If it did, whoever
        // answers "no-secret" could read everything.
        let encrypted = trust.own().is_some() && !request.in_the_clear;
        let version = settings.version();
        // WHO follows at once only where nobody can take it for something else: behind a stream's HELLO
        // an old server expects messages, and encrypted it would tell strangers who this is.
        let has_who = version == Version::Frames && request.stream.is_none() && !encrypted;
        let hello = Hello {
            addr: reachable(listens, source),
            data_type: request.data_type,
            strict: request.strict,
            stream: request.stream.map(|stream| match stream {
                StreamSize::FromFirst => Stream::FromFirst,
                StreamSize::Of(size) => Stream::Of(size as u64),
            }),
            version,
            who: has_who,
            secure: encrypted.then(|| Wanted {
                suite: secure::preferred(),
                passphrase: trust.asks_with_passphrase(),
            }),
            to: request.whom.as_ref().map(|whom| whom.id.number()),
            key: encrypted.then(|| trust.identity().is_some()),
        };
        let header = hello
            .write()
            .map_err(|error| handshake_error(addr, error.to_string()))?;
        let mut written = header.to_vec();
        if has_who {
            written.extend_from_slice(&who::write_client(&settings.card, request.attempt));
        }
        let client = Client {
            trust,
            card: &settings.card,
            version,
            may_ask: version == Version::Frames && !has_who && !encrypted,
            is_asked: false,
            addr,
            request,
            offered: hello.secure,
            hello: header,
            state: State::Answer(HeaderReader::new()),
        };
        Ok((client, written))
    }

    /// Takes the first header that the server has sent. Without encryption it is the answer.
    fn examine(&mut self, header: Header) -> Step<Outcome> {
        let Header { bytes, early } = header;
        // Asked once at most, so that a server cannot keep this handshake going by asking again.
        if self.may_ask && bytes == who::QUESTION {
            self.may_ask = false;
            self.is_asked = true;
            self.state = State::Tell;
            let own = who::write_client(self.card, self.request.attempt);
            return Step::Write(own.to_vec());
        }
        if self.offered.is_some() && bytes == who::QUESTION {
            // It is asked only in the clear.
            let addr = self.addr.into();
            return failure(Error::NotSecure { addr }, true);
        }
        let (version, taken, key) = match Answer::parse(&bytes) {
            Ok(Answer::Accept {
                version,
                secure,
                key,
            }) => (version, secure, key),
            Ok(Answer::Deny { reason }) => return self.denied_in_the_clear(reason),
            Err(error) => return self.failed(error.to_string()),
        };
        // From here on the version is what both speak, no longer what was offered.
        self.version = spoken(self.version, version, &bytes);
        let is_lanpeer = self.version != Version::Peerpy;
        match (self.offered, taken) {
            (None, None) if self.version == Version::Frames => {
                Exactly::new().read_in(&mut self.state, State::Who)
            }
            (None, None) => self.agree(None, None, early),
            // A connection in the clear is not what the program has asked for.
            (Some(_), None) => {
                let addr = self.addr.into();
                failure(Error::NotSecure { addr }, true)
            }
            // ChaCha20 is what every side can do. The proof covers an ACCEPT of 128 bytes, and so one
            // that came in another form could not be proved. A passphrase is never proved in another
            // way than by the exchange, since every other proof could be used to guess at it offline.
            (Some(offered), Some(taken))
                if is_lanpeer
                    && [offered.suite, Suite::ChaCha].contains(&taken.suite)
                    && offered.passphrase == (taken.shares > 0)
                    && bytes.len() == HEADER_LEN
                    && early.is_empty() =>
            {
                let keys = Keys::agreed(Some(self.trust.identity().is_some()), key);
                // A server that shows no key is not the one that is meant, and is told nothing more.
                // If someone has altered what ACCEPT says of the key, the proof fails later.
                if !keys.bobs && self.demands_key() {
                    return self.wrong_key(None);
                }
                let message = Several::new(first_len(taken.shares.into()));
                message.read_in(&mut self.state, |message| {
                    State::Challenge(taken, keys, bytes, message)
                })
            }
            _ => self.failed("it wants an encryption that was not offered".to_owned()),
        }
    }

    /// Answers the first message of the encryption.
    ///
    /// This is the first place that computes with the secret. The server has proved nothing yet: whether
    /// it has the secret too, its answer tells.
    fn prove(&mut self, taken: Taken, keys: Keys, accept: &[u8], message: &[u8]) -> Step<Outcome> {
        // HELLO has offered encryption, so there was a secret; without one nothing can be proved.
        let Some(secret) = self.trust.own() else {
            return self.forged();
        };
        let joining = Joining {
            suite: taken.suite,
            keys,
            secret,
            identity: self.trust.identity(),
            hello: &self.hello,
            accept,
            shares: taken.shares.into(),
        };
        let own = who::write_client(self.card, self.request.attempt);
        let has_who = self.version == Version::Frames;
        // Where a key is shown, the records may not have begun yet.
        let payload: &[u8] = match has_who && keys.any() {
            true => &own,
            false => &[],
        };
        let (mut written, mut joined) = match joining.answer(message, payload) {
            Ok(answered) => answered,
            // A share that could not be read has a reason of its own. Otherwise a wrong secret and a
            // forged message look the same.
            Err(broken) => {
                return match broken.share() {
                    None => self.forged(),
                    Some(reason) => self.failed(reason.to_owned()),
                };
            }
        };
        // Without keys the session is complete, so WHO can be its first record.
        if let (Joined::Whole(session), true, false) = (&mut joined, has_who, keys.any()) {
            if session.sealer.seal(&own, &[], &mut written).is_err() {
                return self.forged();
            }
        }
        self.state = State::Proof(joined);
        Step::Write(written)
    }

    /// Takes the third message, or the beginning of a DENY in the clear from a server that found no
    /// proof of the secret.
    fn meet_key(&mut self, waiting: Waiting, third: [u8; THIRD]) -> Step<Outcome> {
        // A DENY begins with a length that no third message has, and so the two cannot be confused.
        if third[..PREFIX] == *b"DE" {
            return Exactly::new().read_in(&mut self.state, |rest| State::Deny(third, rest));
        }
        match waiting.finish(&third) {
            Ok(session) => self.await_record(Box::new(session)),
            Err(Forged) => self.forged(),
        }
    }

    /// The encryption is ready, and the next thing to come is the answer. Its first 128 bytes are read
    /// alone, because a DENY in the clear has no more.
    fn await_record(&mut self, session: Box<Session>) -> Step<Outcome> {
        Exactly::new().read_in(&mut self.state, |begin| State::Record(session, begin))
    }

    /// Must the server show a key?
    fn demands_key(&self) -> bool {
        self.trust.allowed().demands() || self.request.expected.demands()
    }

    /// Somebody else than who is expected, or allowed.
    fn wrong_key(&self, key: Option<PublicKey>) -> Step<Outcome> {
        let addr = self.addr.into();
        failure(Error::WrongKey { addr, key }, true)
    }

    /// Reads what is missing of the answer.
    fn read_answer(&mut self, reader: HeaderReader) -> Step<Outcome> {
        let step = reader.read();
        self.state = State::Answer(reader);
        step
    }

    /// Takes the first 128 bytes of the answer: all of a DENY in the clear, or most of a record.
    fn begin_record(&mut self, session: Box<Session>, begin: [u8; HEADER_LEN]) -> Step<Outcome> {
        // Read as a DENY first: as a record it would be opened in vain, and its reason lost.
        if let Ok(Answer::Deny { reason }) = Answer::parse(&begin) {
            return self.denied_in_the_clear(reason);
        }
        if Opener::record_len(&begin) != Ok(Some(RECORD)) {
            return self.forged();
        }
        Exactly::new().read_in(&mut self.state, |rest| State::Rest(session, begin, rest))
    }

    /// Takes the whole record of the answer. That it opens is the server's proof.
    fn open(&mut self, mut session: Session, begin: &[u8], rest: &[u8]) -> Step<Outcome> {
        let mut record = [begin, rest].concat();
        let answer = match session.opener.open(&mut record) {
            Ok(header) => Answer::parse(header),
            Err(Forged) => return self.forged(),
        };
        match answer {
            Ok(Answer::Accept { .. }) if self.version == Version::Frames => {
                let session = Box::new(session);
                Exactly::new().read_in(&mut self.state, |who| State::SecureWho(session, who))
            }
            Ok(Answer::Accept { .. }) => self.agree(None, Some(session), Vec::new()),
            // Only a member can seal a record, so this word is believed, whatever it is.
            Ok(Answer::Deny { reason }) => self.denied(reason, true),
            Err(error) => self.failed(error.to_string()),
        }
    }

    /// The server has said who it is.
    fn meet(&self, header: &[u8; HEADER_LEN], session: Option<Session>) -> Step<Outcome> {
        match who::parse(header) {
            Ok(card) => self.agree(Some(Arc::new(card)), session, Vec::new()),
            Err(error) => failure(handshake_error(self.addr, error.to_string()), true),
        }
    }

    /// The same, as a record.
    fn meet_sealed(&self, mut session: Session, mut record: [u8; RECORD]) -> Step<Outcome> {
        let header = session.opener.open(&mut record);
        match header.map(|header| header.first_chunk().copied()) {
            Ok(Some(header)) => self.meet(&header, Some(session)),
            _ => self.forged(),
        }
    }

    /// The server has accepted, and what it has accepted is what was asked for.
    fn agree(
        &self,
        who: Option<Arc<Card>>,
        session: Option<Session>,
        early: Vec<u8>,
    ) -> Step<Outcome> {
        let dialect = dialect(self.version);
        if let Some(session) = &session {
            let key = session.proof.key;
            if !self.trust.allowed().takes(key) || !self.request.expected.takes(key) {
                return self.wrong_key(key);
            }
        }
        if let (Some(whom), Some(who)) = (&self.request.whom, &who) {
            if !whom.is(who) {
                let error = Error::NotWhoItSaid {
                    addr: self.addr.into(),
                    id: Some(PeerId::of(who)),
                    name: who.name().map(str::to_owned),
                    service: who.service().map(str::to_owned),
                };
                return failure(error, true);
            }
        }
        let Request {
            data_type,
            strict,
            stream,
            ..
        } = self.request;
        if data_type == DataType::Raw && dialect == Dialect::Peerpy && !HAS_PICKLE {
            let error = Error::FeatureMissing {
                feature: "pickle",
                needed_for: "raw towards a peer that is not a lanpeer",
            };
            return failure(error, true);
        }
        let agreed = Agreement {
            peer_addr: self.addr,
            data_type,
            strict,
            stream,
            dialect,
            who,
            secure: session.is_some(),
            proof: session.as_ref().map(|session| Arc::clone(&session.proof)),
            ours: self.request.attempt,
            theirs: None,
        };
        Step::Over(Ok(Box::new(Accepted {
            agreed,
            session,
            early,
        })))
    }

    /// The server does not want this connection. `by_member`: the word came through the encryption, so
    /// it is from someone who has the secret.
    fn denied(&self, reason: Option<String>, by_member: bool) -> Step<Outcome> {
        let addr = self.addr.into();
        // To the program this is the same as a WHO of somebody else: the address leads to another
        // peer by now. It only came earlier, and without a name.
        if self.request.whom.is_some() && reason.as_deref() == Some(NOT_ME) {
            let (id, name, service) = (None, None, None);
            let error = Error::NotWhoItSaid {
                addr,
                id,
                name,
                service,
            };
            return failure(error, false);
        }
        let error = Error::Denied {
            addr,
            reason,
            by_member,
        };
        failure(error, false)
    }

    /// A word in the clear. Where the connection is to be encrypted nobody has proved anything by it: a
    /// program's word would come as a record, so this one can be none.
    fn denied_in_the_clear(&self, reason: Option<String>) -> Step<Outcome> {
        let is_ours = |word: &String| self.offered.is_none() || CLEAR_WORDS.contains(&&**word);
        self.denied(reason.filter(is_ours), false)
    }

    /// Somebody on the way has altered something, or the server has not the secret.
    fn forged(&self) -> Step<Outcome> {
        let addr = self.addr.into();
        failure(Error::Forged { addr }, false)
    }

    /// The handshake has failed for a reason that has no error of its own.
    fn failed(&self, reason: String) -> Step<Outcome> {
        failure(handshake_error(self.addr, reason), false)
    }
}

impl Machine for Client<'_> {
    type Outcome = Outcome;

    // While an arm runs, the state is `Over`. So an arm that goes on has to set the next state, and one
    // that forgets to cannot repeat what it has done.
    fn take(&mut self, input: Input<'_>) -> Step<Outcome> {
        match (std::mem::replace(&mut self.state, State::Over), input) {
            (State::Answer(mut reader), input @ (Input::Bytes(_) | Input::Silence)) => {
                let header = match input {
                    Input::Bytes(bytes) => reader.take(bytes),
                    // Who asks speaks frames, and pads what it says: a silence ends none of it.
                    _ if self.is_asked => None,
                    _ => reader.take_silence(Answer::may_be_whole),
                };
                if let Some(header) = header {
                    return self.examine(header);
                }
                self.read_answer(reader)
            }
            (State::Tell, Input::Written) => self.read_answer(HeaderReader::new()),
            // Each of these arms goes on in its state until all that it reads is there.
            (State::Who(mut message), Input::Bytes(bytes)) => match message.take(bytes) {
                Some(header) => self.meet(&header, None),
                None => message.read_in(&mut self.state, State::Who),
            },
            (State::SecureWho(session, mut message), Input::Bytes(bytes)) => {
                match message.take(bytes) {
                    Some(record) => self.meet_sealed(*session, record),
                    None => message.read_in(&mut self.state, |message| {
                        State::SecureWho(session, message)
                    }),
                }
            }
            (State::Challenge(taken, keys, accept, mut message), Input::Bytes(bytes)) => {
                match message.take(bytes) {
                    true => self.prove(taken, keys, &accept, &message.into_bytes()),
                    false => message.read_in(&mut self.state, |message| {
                        State::Challenge(taken, keys, accept, message)
                    }),
                }
            }
            (State::Proof(Joined::Whole(session)), Input::Written) => {
                self.await_record(Box::new(session))
            }
            (State::Proof(Joined::Waits(waiting)), Input::Written) => {
                Exactly::new().read_in(&mut self.state, |third| State::Third(waiting, third))
            }
            (State::Third(waiting, mut third), Input::Bytes(bytes)) => match third.take(bytes) {
                Some(third) => self.meet_key(*waiting, third),
                None => third.read_in(&mut self.state, |third| State::Third(waiting, third)),
            },
            (State::Deny(begin, mut rest), Input::Bytes(bytes)) => match rest.take(bytes) {
                Some(rest) => match Answer::parse(&[&begin[..], &rest].concat()) {
                    Ok(Answer::Deny { reason }) => self.denied_in_the_clear(reason),
                    _ => self.forged(),
                },
                None => rest.read_in(&mut self.state, |rest| State::Deny(begin, rest)),
            },
            (State::Record(session, mut begin), Input::Bytes(bytes)) => match begin.take(bytes) {
                Some(begin) => self.begin_record(session, begin),
                None => begin.read_in(&mut self.state, |begin| State::Record(session, begin)),
            },
            (State::Rest(session, begin, mut rest), Input::Bytes(bytes)) => {
                match rest.take(bytes) {
                    Some(rest) => self.open(*session, &begin, &rest),
                    None => rest.read_in(&mut self.state, |rest| State::Rest(session, begin, rest)),
                }
            }
            // In every other state the handshake ends with what has ended it.
            (_, Input::NotWritten(reason) | Input::Ended(Ended::Lost(reason))) => {
                self.failed(reason)
            }
            (_, Input::Ended(Ended::Closed)) => {
                self.failed("it hung up without an answer".to_owned())
            }
            (_, Input::Ended(Ended::Deadline)) => {
                let (addr, after) = (self.addr.into(), self.request.timeout);
                failure(Error::TimedOut { addr, after }, false)
            }
            // Not what the last step has asked for.
            (_, Input::Bytes(_) | Input::Silence | Input::Written | Input::Passed(_)) => {
                self.failed("the handshake has lost its place".to_owned())
            }
        }
    }
}

/// Ends the machine without a connection. `reset`: see [`Failure::reset`].
fn failure(error: Error, reset: bool) -> Step<Outcome> {
    Step::Over(Err(Failure { error, reset }))
}

/// Whoever listens there does not speak this protocol, or not any more.
pub(crate) fn handshake_error(addr: SocketAddrV4, reason: String) -> Error {
    let addr = addr.into();
    Error::Handshake { addr, reason }
}

#[cfg(test)]
mod tests;
