//! A conversation of two peers through the proxy, and what each side saw of it.
//!
//! Alice connects, and sends `a1`. Bob answers each message that he gets: `b1` to `a1`, `b2` to
//! `a2`. When she has `b2` she closes; when he has learnt of that, he closes too. At each moment
//! only one of them has something to say: so what a fault at one byte does to either is known
//! exactly.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lanpeer::crossbeam_channel::{Receiver, Sender, bounded, select};
use lanpeer::{
    Bytes, CloseError, CloseReason, ConnectOptions, Connection, Encode, Error, Event, Format, Json,
    Peer, PeerBuilder, RecvTimeoutError, SendError,
};

use super::peers::{Call, SOON, bind, builder};
use super::proxy::{Passage, Plan, Proxy, Way};

/// Bytes in a header.
pub const HEADER: u64 = 128;

/// Messages in each direction.
pub const MESSAGES: usize = 2;

/// What the conversation is about.
pub trait Words: Format<Item: Encode<Self> + Send> + Sized + 'static {
    fn say(text: &str) -> Self::Item;
    fn text(item: &Self::Item) -> String;
    /// The payload's size for a text of two letters.
    const SIZE: u64;
}

impl Words for Json<String> {
    fn say(text: &str) -> String {
        text.to_owned()
    }
    fn text(item: &String) -> String {
        item.clone()
    }
    const SIZE: u64 = r#"{"data":"a1"}"#.len() as u64;
}

impl Words for Bytes {
    fn say(text: &str) -> Vec<u8> {
        text.into()
    }
    fn text(item: &Vec<u8>) -> String {
        item.escape_ascii().to_string()
    }
    const SIZE: u64 = 2;
}

/// A kind of connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    JsonStrict,
    BytesLoose,
    BytesStream,
    JsonStreamOf,
}

impl Kind {
    pub const ALL: [Kind; 4] = [
        Kind::JsonStrict,
        Kind::BytesLoose,
        Kind::BytesStream,
        Kind::JsonStreamOf,
    ];

    fn options(self) -> ConnectOptions {
        let options = ConnectOptions::new();
        match self {
            Kind::JsonStrict => options,
            Kind::BytesLoose => options.strict(false),
            Kind::BytesStream => options.stream(),
            Kind::JsonStreamOf => options.stream_of(<Json<String>>::SIZE as usize),
        }
    }

    fn size(self) -> u64 {
        match self {
            Kind::BytesLoose | Kind::BytesStream => Bytes::SIZE,
            Kind::JsonStrict | Kind::JsonStreamOf => <Json<String>>::SIZE,
        }
    }

    /// Where the header of the handshake and the messages behind it end, in bytes from the start of
    /// one direction.
    pub fn ends(self) -> [u64; 1 + MESSAGES] {
        let (first, second) = match self {
            Kind::JsonStrict | Kind::BytesLoose => (HEADER, HEADER),
            Kind::BytesStream => (HEADER, 0),
            Kind::JsonStreamOf => (0, 0),
        };
        let first = HEADER + first + self.size();
        [HEADER, first, first + second + self.size()]
    }

    /// All the bytes of one direction.
    pub fn total(self) -> u64 {
        self.ends()[MESSAGES]
    }
}

/// Two peers with a proxy between them.
pub struct World {
    pub alice: Peer,
    pub bob: Peer,
    pub proxy: Proxy,
}

impl World {
    /// Patient peers, except for these settings of Alice and of Bob.
    pub fn new(
        of_alice: impl Fn(PeerBuilder) -> PeerBuilder,
        of_bob: impl Fn(PeerBuilder) -> PeerBuilder,
    ) -> World {
        // The proxy's system is alive, whatever the link does: there is nobody to probe. The places of
        // the faults are those of the text protocol; frames have tests of their own.
        let common = || builder().keepalive(None).text_headers(true);
        let bob = bind(of_bob(common()));
        World {
            alice: bind(of_alice(common())),
            proxy: Proxy::to(bob.local_addr()),
            bob,
        }
    }

    /// Peers that speak frames, both with these settings.
    pub fn in_frames(settings: impl Fn(PeerBuilder) -> PeerBuilder) -> World {
        let bind = || bind(settings(builder().keepalive(None)));
        let bob = bind();
        World {
            alice: bind(),
            proxy: Proxy::to(bob.local_addr()),
            bob,
        }
    }

    /// A connection through the proxy: what the link does, Alice's end, Bob's end.
    pub fn link(&self, plan: Plan) -> (Arc<Passage>, Connection<Bytes>, Connection<Bytes>) {
        let passage = self.proxy.next(plan);
        let bob = self.bob.clone();
        let accepting = Call::start("accept", move || bob.accept::<Bytes>().expect("accepted"));
        let to_bob = self.alice.connect(self.proxy.addr()).expect("connected");
        (passage, to_bob, accepting.finish())
    }

    /// Has a conversation of which it is known how it will go.
    pub fn run(&self, kind: Kind, plan: Plan, course: Course) -> (Outcome, Outcome) {
        match kind {
            Kind::JsonStrict | Kind::JsonStreamOf => {
                self.run_as::<Json<String>>(kind, plan, course)
            }
            Kind::BytesLoose | Kind::BytesStream => self.run_as::<Bytes>(kind, plan, course),
        }
    }

    fn run_as<F: Words>(&self, kind: Kind, plan: Plan, mut course: Course) -> (Outcome, Outcome) {
        loop {
            let (passage, outcomes) = self.try_as::<F>(kind, plan, course);
            // On a busy machine Alice may give up before there is a fault, or before Bob's program has
            // a connection, or before she has read what came: then her system resets.
            let early = !passage.has_struck() || !outcomes.1.has_connected();
            match &mut course.timeout {
                Some(timeout) if early && *timeout < SOON => *timeout *= 2,
                _ if !course.struck => return outcomes,
                _ => {
                    passage.wait_until_struck();
                    return outcomes;
                }
            }
        }
    }

    fn try_as<F: Words>(
        &self,
        kind: Kind,
        plan: Plan,
        course: Course,
    ) -> (Arc<Passage>, (Outcome, Outcome)) {
        let passage = self.proxy.next(plan);
        // One that Alice had given up before Bob saw it.
        self.bob.offers().try_iter().for_each(drop);
        let (gone, wait) = bounded(1);
        let turn = |way| match course.closer {
            Some(closer) if closer == way => Turn::First(gone.clone()),
            Some(_) => Turn::Second(wait.clone()),
            None => Turn::AtTheEnd,
        };
        let (alice_turn, bob_turn) = (turn(Way::Forth), turn(Way::Back));
        let outcomes = thread::scope(|scope| {
            let bob = scope.spawn(|| bob::<F>(&self.bob, course.to_bob, bob_turn));
            let alice = alice::<F>(self, kind, course, alice_turn);
            (alice, bob.join().expect("Bob's side"))
        });
        (passage, outcomes)
    }
}

/// How a conversation will go.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// Messages that each side will receive.
    pub to_alice: usize,
    pub to_bob: usize,
    /// On a link that has fallen silent: the sender into this direction closes first, and the other
    /// when that one is gone. `None`: an end comes by itself, and each side closes then.
    pub closer: Option<Way>,
    /// How long Alice waits for an answer, if that is meant to be too short.
    pub timeout: Option<Duration>,
    /// The fault that is planned will be reached.
    pub struck: bool,
}

impl Course {
    /// Nothing goes wrong.
    pub const STRAIGHT: Course = Course {
        to_alice: MESSAGES,
        to_bob: MESSAGES,
        closer: None,
        timeout: None,
        struck: false,
    };
}

/// What one side saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No connection.
    None(No),
    Connection(Seen),
}

impl Outcome {
    /// There was a connection, which the other side's system did not reset.
    fn has_connected(&self) -> bool {
        matches!(self, Outcome::Connection(seen) if seen.reason != CloseReason::Reset)
    }
}

/// Why there was no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum No {
    /// Alice: `Error::TimedOut`. Bob: no HELLO in time.
    TimedOut,
    /// The other side hung up before it had said its part.
    HungUp,
    /// The system said that the connection was reset.
    Reset,
    /// Bob's `accept` found the offer withdrawn.
    Withdrawn,
    Other(String),
}

/// What one side of a connection saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Those for which `send` returned Ok.
    pub sent: Vec<String>,
    pub received: Vec<String>,
    pub close: Result<(), CloseError>,
    pub reason: CloseReason,
}

enum Turn {
    /// It closes at once, and tells the other when it is gone.
    First(Sender<()>),
    Second(Receiver<()>),
    AtTheEnd,
}

fn alice<F: Words>(world: &World, kind: Kind, course: Course, turn: Turn) -> Outcome {
    let events = world.alice.events();
    let mut options = kind.options();
    if let Some(timeout) = course.timeout {
        options = options.timeout(timeout);
    }
    let connected = options.connect(&world.alice, world.proxy.addr());
    let connection: Connection<F> = match connected {
        Ok(connection) => connection,
        Err(error) => return Outcome::None(No::of(&error)),
    };
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    while received.len() < MESSAGES {
        say(&connection, &mut sent, "a");
        if received.len() == course.to_alice || !hear(&connection, &mut received) {
            break;
        }
    }
    if received.len() < MESSAGES {
        turn.await_end(&connection, &mut received);
    }
    Outcome::Connection(close(connection, &events, sent, received, turn))
}

fn bob<F: Words>(bob: &Peer, expected: usize, turn: Turn) -> Outcome {
    let events = bob.events();
    let accepted = select! {
        recv(bob.offers()) -> offer => offer.expect("it is not stopped").accept::<F>(),
        recv(events) -> event => return Outcome::None(No::told(event.expect("an event"))),
        default(SOON) => panic!("Bob heard of nothing"),
    };
    let connection = match accepted {
        Ok(connection) => connection,
        Err(Error::Withdrawn) => {
            events.recv_timeout(SOON).expect("an event says so");
            return Outcome::None(No::Withdrawn);
        }
        Err(error) => panic!("accept: {error}"),
    };
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    while received.len() < expected && hear(&connection, &mut received) {
        say(&connection, &mut sent, "b");
    }
    turn.await_end(&connection, &mut received);
    Outcome::Connection(close(connection, &events, sent, received, turn))
}

fn say<F: Words>(connection: &Connection<F>, sent: &mut Vec<String>, who: &str) {
    let text = format!("{who}{}", sent.len() + 1);
    match connection.send(&F::say(&text)) {
        Ok(()) => sent.push(text),
        Err(SendError::Closed(_)) => {}
        Err(error) => panic!("send: {error}"),
    }
}

/// The next message; `false`: the connection has ended.
fn hear<F: Words>(connection: &Connection<F>, received: &mut Vec<String>) -> bool {
    match connection.recv_timeout(SOON) {
        Ok(item) => received.push(F::text(&item)),
        Err(RecvTimeoutError::Disconnected) => return false,
        Err(RecvTimeoutError::Timeout) => panic!("neither a message nor the end"),
    }
    true
}

impl Turn {
    /// Waits until the time has come to close.
    fn await_end<F: Words>(&self, connection: &Connection<F>, received: &mut Vec<String>) {
        match self {
            Turn::First(_) => {}
            Turn::Second(gone) => gone.recv_timeout(SOON).expect("the other is gone"),
            // Messages that should not come are recorded as well.
            Turn::AtTheEnd => while hear(connection, received) {},
        }
    }
}

fn close<F: Words>(
    connection: Connection<F>,
    events: &Receiver<Event>,
    sent: Vec<String>,
    mut received: Vec<String>,
    turn: Turn,
) -> Seen {
    let id = connection.id();
    let begin = Instant::now();
    let close = connection.close();
    assert!(begin.elapsed() < SOON, "close took {:?}", begin.elapsed());
    received.extend(connection.try_iter().map(|item| F::text(&item)));
    let known = connection.close_reason();
    // Where `close` gave up, the last handle's drop gives the other side that time once more.
    drop(connection);
    let reason = loop {
        match events.recv_timeout(SOON).expect("the end is told") {
            Event::Closed { id: of, reason, .. } if of == id => break reason,
            Event::Connected { id: of, .. } if of == id => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(known.is_none_or(|known| known == reason), "{reason}");
    if let Turn::First(gone) = turn {
        gone.send(()).expect("the other waits");
    }
    Seen {
        sent,
        received,
        close,
        reason,
    }
}

impl No {
    fn of(error: &Error) -> No {
        match error {
            Error::TimedOut { .. } => No::TimedOut,
            Error::Handshake { reason, .. } => No::because(reason),
            other => No::Other(format!("{other:?}")),
        }
    }

    fn told(event: Event) -> No {
        match event {
            Event::HandshakeFailed { reason, .. } => No::because(&reason),
            other => panic!("{other:?} instead of an offer"),
        }
    }

    fn because(reason: &str) -> No {
        if reason.starts_with("it hung up") {
            No::HungUp
        } else if reason.starts_with("no HELLO within") {
            No::TimedOut
        } else if reason.starts_with("Connection reset by peer") {
            No::Reset
        } else {
            No::Other(reason.to_owned())
        }
    }
}
