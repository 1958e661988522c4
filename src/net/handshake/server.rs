//! The server's side: takes HELLO, has the client prove that it has the secret, and says what can be
//! offered to the program.
//!
//! ```text
//! in the clear   ◀── HELLO
//! encrypted      ◀── HELLO   ACCEPT, challenge ──▶   ◀── proof
//! ```
//!
//! A client that speaks frames also says who it is: behind HELLO, or when it is asked, or behind its
//! proof, as a record, or in its proof, where a key is shown.
//!
//! There the machine ends, with an offer or with a word why there is none. The answer comes from
//! the program; [`acceptance`] and [`denial`] are its bytes.
//!
//! A long file, since it is one machine: what each state takes and where it leads is read together.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use crate::format::{DataType, Dialect, HAS_PICKLE};
use crate::net::handshake::header::{Exactly, Header, HeaderReader, Several};
use crate::net::handshake::{
    Ended, Gate, Input, KEY, Machine, NOT_ME, RECORD, Step, dialect, spoken,
};
use crate::net::link::Agreement;
use crate::options::{Settings, StreamSize};
use crate::proto::beacon::Card;
use crate::proto::header::{
    Answer, HEADER_LEN, HeaderError, Hello, Stream, Taken, Version, Wanted, reachable,
};
use crate::proto::who::{self, Attempt};
use crate::secure::handshake::{Asked as Prover, Beginning, second_len};
use crate::secure::{self, Keys, Session, Trust};

/// The machine of one client.
pub(crate) struct Server<'a> {
    settings: &'a Settings,
    /// As it is when the handshake begins.
    trust: Arc<Trust>,
    /// Where this peer listens, so that it notices when it asks itself.
    listens: SocketAddrV4,
    /// Where the client's packets come from.
    source: Ipv4Addr,
    state: State,
}

enum State {
    /// Reads HELLO.
    Hello(HeaderReader),
    /// Asks the client who it is.
    Ask(Hello),
    /// Reads WHO.
    Who(Hello, Exactly<HEADER_LEN>),
    /// Reads WHO, as a record.
    SecureWho(Hello, Box<Session>, Exactly<RECORD>),
    /// Asks whether another proof may come from this client.
    Welcome(Hello, Wanted, Vec<u8>),
    /// Writes ACCEPT and the first message of the encryption.
    Challenge(Hello, Keys, Prover, Taken),
    /// Reads the second message, which only who has the secret can make.
    Proof(Hello, Keys, Prover, Several),
    /// Waits until it may look at it.
    Look(Hello, Keys, Prover, Vec<u8>),
    /// It was right; there may be something in it.
    Proved(Hello, Keys, Box<Session>, Vec<u8>),
    /// The outcome is known.
    Over,
}

/// What comes of a client.
pub(crate) enum Outcome {
    /// An offer, for the program to decide.
    Offer(Box<Offered>),
    /// A DENY with this word, because of what it asks for.
    Denied {
        peer_addr: SocketAddrV4,
        word: &'static str,
        /// Through which the DENY is to go, if there is one.
        session: Option<Box<Session>>,
    },
    /// It has asked for nothing. It is told this word, if there is anyone to tell.
    Failed {
        reason: String,
        word: Option<&'static str>,
    },
}

pub(crate) struct Offered {
    /// What is agreed on if the program accepts.
    pub agreed: Agreement,
    /// The keys of an encrypted connection. The answer goes through it.
    pub session: Option<Session>,
    /// What came behind HELLO.
    pub early: Vec<u8>,
}

impl Server<'_> {
    pub fn new(settings: &Settings, listens: SocketAddrV4, source: Ipv4Addr) -> Server<'_> {
        Server {
            settings,
            trust: settings.trusts.now(),
            listens,
            source,
            state: State::Hello(HeaderReader::new()),
        }
    }

    /// Takes HELLO: goes on with the proof of the secret, or comes to an outcome.
    fn examine(&mut self, header: Header) -> Step<Outcome> {
        let Header { bytes, early } = header;
        let mut hello = match Hello::parse(&bytes) {
            Ok(hello) => hello,
            Err(error) => {
                let word = match error {
                    HeaderError::DataType(_) => "type",
                    HeaderError::Suite(_) => "unsupported",
                    _ => "malformed",
                };
                return Step::Over(Outcome::Failed {
                    reason: error.to_string(),
                    word: Some(word),
                });
            }
        };
        hello.version = spoken(self.settings.version(), hello.version, &bytes);
        // First of all: a client without the secret learns nothing else.
        let has_secret = self.trust.own().is_some();
        match hello.secure {
            None if has_secret && !self.settings.clear_offers => self.deny(&hello, None, "secret"),
            None if hello.version == Version::Frames && hello.who => {
                Exactly::new().read_in(&mut self.state, |who| State::Who(hello, who))
            }
            None if hello.version == Version::Frames => {
                self.state = State::Ask(hello);
                Step::Write(who::QUESTION.to_vec())
            }
            None => self.agree(hello, None, None, early),
            Some(_) if !has_secret => self.deny(&hello, None, "no-secret"),
            // The proof covers the 128 bytes of a lanpeer's HELLO.
            Some(_) if bytes.len() != HEADER_LEN || hello.version == Version::Peerpy => {
                self.deny(&hello, None, "malformed")
            }
            // None of its kind: whatever the client proves, it is not this.
            Some(wanted) if self.trust.count(wanted.passphrase) == 0 => {
                self.deny(&hello, None, "secret")
            }
            Some(wanted) => {
                self.state = State::Welcome(hello, wanted, bytes);
                Step::Pass(Gate::Challenge)
            }
        }
    }

    /// Says how the connection is to be encrypted, and has the client prove that it has the secret.
    /// `header` is the bytes of its HELLO.
    fn challenge(&mut self, hello: Hello, wanted: Wanted, header: &[u8]) -> Step<Outcome> {
        let Wanted { suite, passphrase } = wanted;
        let suite = secure::agreed(suite);
        let shares = match passphrase {
            true => self.trust.count(true) as u8,
            false => 0,
        };
        let taken = Taken { suite, shares };
        // A client that knows of no keys is not told of them.
        let key = hello.key.map(|_| self.trust.identity().is_some());
        let keys = Keys::agreed(hello.key, key);
        let accept = Answer::Accept {
            version: hello.version,
            secure: Some(taken),
            key,
        };
        let accept = match accept.write() {
            Ok(accept) => accept,
            Err(error) => return failed(error.to_string()),
        };
        let beginning = Beginning {
            suite,
            keys,
            passphrase,
            hello: header,
            accept: &accept,
        };
        match beginning.begin(&self.trust) {
            Ok((prover, first)) => {
                self.state = State::Challenge(hello, keys, prover, taken);
                Step::Write([&accept[..], &first].concat())
            }
            Err(_) => failed("the handshake cannot be encrypted".to_owned()),
        }
    }

    /// Looks at the client's proof.
    fn check(&mut self, hello: Hello, keys: Keys, prover: Prover, message: &[u8]) -> Step<Outcome> {
        let (session, payload) = match prover.finish(&self.trust, message) {
            Ok(proved) => proved,
            Err(broken) => {
                return match broken.share() {
                    None => self.deny(&hello, None, "secret"),
                    Some(reason) => Step::Over(Outcome::Failed {
                        reason: reason.to_owned(),
                        word: Some("malformed"),
                    }),
                };
            }
        };
        self.state = State::Proved(hello, keys, Box::new(session), payload);
        Step::Pass(Gate::Proved)
    }

    /// The client has the secret.
    fn go_on(
        &mut self,
        hello: Hello,
        keys: Keys,
        session: Session,
        payload: &[u8],
    ) -> Step<Outcome> {
        match (hello.version, keys.any()) {
            (Version::Frames, true) => match payload.first_chunk() {
                Some(header) => self.meet(hello, header, Some(session)),
                None => self.deny(&hello, Some(session), "malformed"),
            },
            (Version::Frames, false) => {
                let session = Box::new(session);
                Exactly::new().read_in(&mut self.state, |who| State::SecureWho(hello, session, who))
            }
            _ => self.agree(hello, None, Some(session), Vec::new()),
        }
    }

    /// The client has said who it is.
    fn meet(
        &self,
        hello: Hello,
        header: &[u8; HEADER_LEN],
        session: Option<Session>,
    ) -> Step<Outcome> {
        match who::parse_client(header) {
            Ok((card, attempt)) => {
                self.agree(hello, Some((Arc::new(card), attempt)), session, Vec::new())
            }
            Err(_) if session.is_some() => self.deny(&hello, session, "malformed"),
            Err(error) => Step::Over(Outcome::Failed {
                reason: error.to_string(),
                word: Some("malformed"),
            }),
        }
    }

    /// The same, as a record.
    fn meet_sealed(
        &self,
        hello: Hello,
        mut session: Session,
        mut record: [u8; RECORD],
    ) -> Step<Outcome> {
        let header = session.opener.open(&mut record);
        match header.map(|header| header.first_chunk().copied()) {
            Ok(Some(header)) => self.meet(hello, &header, Some(session)),
            _ => self.deny(&hello, None, "secret"),
        }
    }

    /// What is agreed on if the program accepts; or why it will not be asked.
    fn agree(
        &self,
        hello: Hello,
        who: Option<(Arc<Card>, Option<Attempt>)>,
        session: Option<Session>,
        early: Vec<u8>,
    ) -> Step<Outcome> {
        let (who, attempt) = who.map_or((None, None), |(card, attempt)| (Some(card), attempt));
        let peer_addr = reachable(hello.addr, self.source);
        let dialect = dialect(hello.version);
        if let Some(proof) = session.as_ref().map(|session| &session.proof) {
            if !self.trust.allowed().takes(proof.key) {
                return self.deny(&hello, session, KEY);
            }
        }
        if hello.to.is_some_and(|to| to != self.settings.card.id) {
            return self.deny(&hello, session, NOT_ME);
        }
        let stream = match hello.stream.map(|stream| self.stream_size(stream)) {
            Some(None) => return self.deny(&hello, session, "size"),
            stream => stream.flatten(),
        };
        if hello.data_type == DataType::Raw && dialect == Dialect::Peerpy && !HAS_PICKLE {
            return self.deny(&hello, session, "unsupported");
        }
        if peer_addr == self.listens {
            return self.deny(&hello, session, "self");
        }
        let agreed = Agreement {
            peer_addr,
            data_type: hello.data_type,
            strict: hello.strict,
            stream,
            dialect,
            who,
            secure: session.is_some(),
            proof: session.as_ref().map(|session| Arc::clone(&session.proof)),
            ours: None,
            theirs: attempt,
        };
        Step::Over(Outcome::Offer(Box::new(Offered {
            agreed,
            session,
            early,
        })))
    }

    /// `None`: its messages are larger than what this peer takes.
    fn stream_size(&self, stream: Stream) -> Option<StreamSize> {
        match stream {
            Stream::FromFirst => Some(StreamSize::FromFirst),
            Stream::Of(size) => usize::try_from(size)
                .ok()
                .filter(|size| *size <= self.settings.max_message_size)
                .map(StreamSize::Of),
        }
    }

    /// The client has asked for something, and does not get it.
    fn deny(&self, hello: &Hello, session: Option<Session>, word: &'static str) -> Step<Outcome> {
        Step::Over(Outcome::Denied {
            peer_addr: reachable(hello.addr, self.source),
            word,
            session: session.map(Box::new),
        })
    }
}

impl Machine for Server<'_> {
    type Outcome = Outcome;

    fn take(&mut self, input: Input<'_>) -> Step<Outcome> {
        let timeout = self.settings.timeout;
        match (std::mem::replace(&mut self.state, State::Over), input) {
            (State::Hello(mut reader), input @ (Input::Bytes(_) | Input::Silence)) => {
                let header = match input {
                    Input::Bytes(bytes) => reader.take(bytes),
                    _ => reader.take_silence(Hello::may_be_whole),
                };
                if let Some(header) = header {
                    return self.examine(header);
                }
                let step = reader.read();
                self.state = State::Hello(reader);
                step
            }
            (State::Hello(_), Input::Ended(ended)) => failed(match ended {
                Ended::Deadline => format!("no HELLO within {timeout:?}"),
                Ended::Closed => "it hung up before HELLO".to_owned(),
                Ended::Lost(reason) => reason,
            }),
            (State::Ask(hello), Input::Written) => {
                Exactly::new().read_in(&mut self.state, |who| State::Who(hello, who))
            }
            (State::Who(hello, mut message), Input::Bytes(bytes)) => match message.take(bytes) {
                Some(header) => self.meet(hello, &header, None),
                None => message.read_in(&mut self.state, |message| State::Who(hello, message)),
            },
            (State::SecureWho(hello, session, mut message), Input::Bytes(bytes)) => {
                match message.take(bytes) {
                    Some(record) => self.meet_sealed(hello, *session, record),
                    None => message.read_in(&mut self.state, |rest| {
                        State::SecureWho(hello, session, rest)
                    }),
                }
            }
            (State::Who(..) | State::SecureWho(..), Input::Ended(ended)) => failed(match ended {
                Ended::Deadline => format!("no WHO within {timeout:?}"),
                Ended::Closed => "it hung up before WHO".to_owned(),
                Ended::Lost(reason) => reason,
            }),
            (State::Ask(_), Input::NotWritten(_)) => failed("it hung up before WHO".to_owned()),
            (State::Challenge(hello, keys, prover, taken), Input::Written) => {
                let payload = match hello.version == Version::Frames && keys.any() {
                    true => HEADER_LEN,
                    false => 0,
                };
                let proof = Several::new(second_len(taken.shares.into(), keys, payload));
                proof.read_in(&mut self.state, |proof| {
                    State::Proof(hello, keys, prover, proof)
                })
            }
            (State::Proof(hello, keys, prover, mut message), Input::Bytes(bytes)) => {
                match message.take(bytes) {
                    true => {
                        self.state = State::Look(hello, keys, prover, message.into_bytes());
                        Step::Pass(Gate::Proof)
                    }
                    false => message.read_in(&mut self.state, |proof| {
                        State::Proof(hello, keys, prover, proof)
                    }),
                }
            }
            (State::Welcome(hello, wanted, bytes), Input::Passed(true)) => {
                self.challenge(hello, wanted, &bytes)
            }
            (State::Look(hello, keys, prover, message), Input::Passed(true)) => {
                self.check(hello, keys, prover, &message)
            }
            (State::Welcome(hello, ..) | State::Look(hello, ..), Input::Passed(false)) => {
                self.deny(&hello, None, "busy")
            }
            (State::Proved(hello, keys, session, payload), Input::Passed(_)) => {
                self.go_on(hello, keys, *session, &payload)
            }
            (State::Proof(..), Input::Ended(Ended::Deadline)) => {
                failed(format!("no proof of its secret within {timeout:?}"))
            }
            (State::Proof(..), Input::Ended(Ended::Lost(reason))) => failed(reason),
            // A client that takes no challenge has hung up; what the system says of it is no news.
            (State::Challenge(..), Input::NotWritten(_)) | (State::Proof(..), Input::Ended(_)) => {
                failed("it hung up before the proof of its secret".to_owned())
            }
            // Not what the last step has asked for.
            (
                State::Hello(_)
                | State::Ask(_)
                | State::Who(..)
                | State::SecureWho(..)
                | State::Welcome(..)
                | State::Challenge(..)
                | State::Proof(..)
                | State::Look(..)
                | State::Proved(..)
                | State::Over,
                _,
            ) => failed("the handshake has lost its place".to_owned()),
        }
    }
}

/// Nobody is there to be told.
fn failed(reason: String) -> Step<Outcome> {
    Step::Over(Outcome::Failed { reason, word: None })
}

/// The bytes of an ACCEPT, as a record where there is a session; and who this side is, where both
/// speak frames.
pub(crate) fn acceptance(
    dialect: Dialect,
    card: &Card,
    mut session: Option<&mut Session>,
) -> Option<Vec<u8>> {
    let answer = Answer::Accept {
        version: match dialect {
            Dialect::Frames => Version::Frames,
            Dialect::Headers | Dialect::Peerpy => Version::Headers,
        },
        secure: None,
        key: None,
    };
    let mut bytes = sealed(&answer.write().ok()?, session.as_deref_mut())?;
    if dialect == Dialect::Frames {
        bytes.extend(sealed(&who::write(card), session)?);
    }
    Some(bytes)
}

/// The bytes of a DENY, as a record where there is a session.
pub(crate) fn denial(word: &str, session: Option<&mut Session>) -> Option<Vec<u8>> {
    let reason = Some(word.to_owned());
    sealed(&Answer::Deny { reason }.write().ok()?, session)
}

/// `None`: the session can seal nothing more.
fn sealed(header: &[u8; HEADER_LEN], session: Option<&mut Session>) -> Option<Vec<u8>> {
    let Some(session) = session else {
        return Some(header.to_vec());
    };
    let mut record = std::mem::take(&mut session.first);
    session.sealer.seal(header, &[], &mut record).ok()?;
    Some(record)
}

#[cfg(test)]
mod tests;
