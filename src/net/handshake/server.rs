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
///
/// Until the client has proved that it has the secret, what it says is taken for a guess: it is told as
/// little as possible, and computed for only behind a [`Gate`].
pub(crate) struct Server<'a> {
    settings: &'a Settings,
    /// The secrets as they are when the handshake begins. A change during it counts for the next one.
    trust: Arc<Trust>,
    /// Where this peer listens, so that it notices when it asks itself.
    listens: SocketAddrV4,
    /// Where the client's packets come from. A client that listens on every interface names none in
    /// HELLO; then this one takes its place.
    source: Ipv4Addr,
    state: State,
}

/// What the machine waits for, with what it needs for that and nothing else. HELLO is kept to the end,
/// because an offer and each DENY name what it has asked for.
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

/// An offer, with all that a connection needs if the program accepts it.
pub(crate) struct Offered {
    /// What is agreed on if the program accepts.
    pub agreed: Agreement,
    /// The keys of an encrypted connection. The answer goes through it.
    pub session: Option<Session>,
    /// What came behind HELLO.
    pub early: Vec<u8>,
}

impl Server<'_> {
    /// The machine of a client whose packets come from `source`, to a peer that listens at `listens`.
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
            // Said in one word, because a stranger may have sent it: the log tells the rest.
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
        // Whether there is a secret is looked at first, so that a client without it learns nothing else:
        // not whether its type would do, nor who is here.
        let has_secret = self.trust.own().is_some();
        match hello.secure {
            None if has_secret && !self.settings.clear_offers => self.deny(&hello, None, "secret"),
            None if hello.version == Version::Frames && hello.who => {
                Exactly::new().read_in(&mut self.state, |who| State::Who(hello, who))
            }
            // A client with a stream sends no WHO by itself. It can be asked, because it speaks frames.
            None if hello.version == Version::Frames => {
                self.state = State::Ask(hello);
                Step::Write(who::QUESTION.to_vec())
            }
            // An older client cannot say who it is; what has come behind its HELLO is its first message.
            None => self.agree(hello, None, None, early),
            Some(_) if !has_secret => self.deny(&hello, None, "no-secret"),
            // The proof covers the 128 bytes of a lanpeer's HELLO. A shorter one could be written in
            // several ways, and so would be no fixed thing to prove.
            Some(_) if bytes.len() != HEADER_LEN || hello.version == Version::Peerpy => {
                self.deny(&hello, None, "malformed")
            }
            // There is no secret of the kind that the client has, so no proof of it could be right.
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
        // One share for each passphrase, since the server cannot know which of them the client has.
        let shares = match passphrase {
            true => self.trust.count(true) as u8,
            false => 0,
        };
        let taken = Taken { suite, shares };
        // A client that knows of no keys is not told of them: it would not understand the word.
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
    ///
    /// A wrong proof and one that was altered on the way cannot be told apart. Both are denied in the
    /// clear, because there is no session with someone who has not proved anything.
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
        // Told to the gate before anything else happens, so that a member whose connection then fails is
        // not counted among those who guess.
        self.state = State::Proved(hello, keys, Box::new(session), payload);
        Step::Pass(Gate::Proved)
    }

    /// The client has the secret. What is left to learn is who it is: from the proof itself where a key
    /// was shown, and otherwise from the first record.
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
            // A member is told through the session. A stranger gets the word in the clear.
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
    ///
    /// The key is looked at first, so that one who is not allowed learns nothing else: not even whether
    /// this is the peer that it meant.
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
        // The address of a peer that has gone may belong to another one by now.
        if hello.to.is_some_and(|to| to != self.settings.card.id) {
            return self.deny(&hello, session, NOT_ME);
        }
        let stream = match hello.stream.map(|stream| self.stream_size(stream)) {
            Some(None) => return self.deny(&hello, session, "size"),
            stream => stream.flatten(),
        };
        // Such a peer sends pickles, which this build cannot read. Better no connection than one that ends
        // with the first message.
        if hello.data_type == DataType::Raw && dialect == Dialect::Peerpy && !HAS_PICKLE {
            return self.deny(&hello, session, "unsupported");
        }
        // A program that connects to whatever addresses it is given may be given its own.
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

    /// The client has asked for something, and does not get it. It is told through the session where
    /// there is one, so that it knows that a member says so.
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

    // While an arm runs, the state is `Over`. So an arm that goes on has to set the next state, and one
    // that forgets to cannot repeat what it has done.
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
            // The same word as for a peer with no room, so that a guesser does not learn how it is counted.
            (State::Welcome(hello, ..) | State::Look(hello, ..), Input::Passed(false)) => {
                self.deny(&hello, None, "busy")
            }
            // This gate only listens: a proof that was right is not refused.
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

/// Ends the machine without an offer, where nobody is there to be told why.
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
