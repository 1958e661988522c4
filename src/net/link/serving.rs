//! Requests of the other side on their way to the program, and the program's replies.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::TryRecvError;

use super::Link;
use super::calls::Unreplied;
use crate::error::SendError;
use crate::format::{Encode, Format, with_encoded};
use crate::net::context::Context;
use crate::net::os::lock;
use crate::net::os::sync::{Instant, Mutex, Receiver, Sender, unbounded};
use crate::net::os::timer::Task;
use crate::net::panics::unless_it_panics;
use crate::net::recv::waiter::{Waited, Waiter};
use crate::net::send::Wait;
use crate::proto::frames::Failure;

/// How long after the connection was made requests wait for a program that has not called
/// [`requests`](crate::Connection::requests) yet: the other side may be quicker.
const GRACE: Duration = Duration::from_secs(1);

/// A request of the other side; see [`Connection::requests`](crate::Connection::requests).
///
/// Answer it with [`reply`](Request::reply), from any thread, at any time, and in any order. If it is
/// dropped unanswered, it fails at once at the other side. It does not keep its connection open.
///
/// ```
/// # use std::time::Duration;
/// # use lanpeer::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// # let (to, asker) = (bob.local_addr(), alice.clone());
/// # let asking = std::thread::spawn(move || asker.connect::<Json<u32>>(to));
/// # let from_alice = bob.accept::<Json<u32>>()?;
/// # let to_bob = asking.join().unwrap()?;
/// let bobs_side = std::thread::spawn(move || {
///     for request in from_alice.requests() {
///         match *request.item() {
///             0 => drop(request), // no answer
///             n => request.reply(&(100 / n)).unwrap(),
///         }
///     }
/// });
/// assert_eq!(to_bob.request(&20, Duration::from_secs(5)), Ok(5));
/// let error = to_bob.request(&0, Duration::from_secs(5));
/// assert_eq!(error, Err(RequestError::Unanswered));
/// to_bob.close()?;
/// # bobs_side.join().unwrap();
/// # Ok(()) }
/// ```
#[must_use = "a request that is dropped unanswered fails at the other side"]
pub struct Request<F: Format> {
    item: F::Item,
    unreplied: Unreplied,
}

impl<F: Format> Request<F> {
    pub(super) fn new(item: F::Item, unreplied: Unreplied) -> Request<F> {
        Request { item, unreplied }
    }

    /// What the other side asks.
    pub fn item(&self) -> &F::Item {
        &self.item
    }

    /// Answers the request. Waits while the send queue is full, and takes what
    /// [`send`](crate::Connection::send) takes.
    ///
    /// `Ok` means accepted, as with `send`. After an error other than `Answered`, another answer may be
    /// tried.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lanpeer::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
    /// # let (to, asker) = (bob.local_addr(), alice.clone());
    /// # let asking = std::thread::spawn(move || asker.connect::<Json<String>>(to));
    /// # let from_alice = bob.accept::<Json<String>>()?;
    /// # let to_bob = asking.join().unwrap()?;
    /// # let bobs_side = std::thread::spawn(move || -> lanpeer::Result<()> {
    /// for request in from_alice.requests() {
    ///     request.reply(&request.item().to_uppercase())?;
    ///     assert_eq!(request.reply("again"), Err(SendError::Answered));
    /// }
    /// # Ok(()) });
    /// assert_eq!(to_bob.request("hello", Duration::from_secs(5))?, "HELLO");
    /// # to_bob.close()?;
    /// # bobs_side.join().unwrap()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SendError::Answered`]: it was answered before. Or as [`send`](crate::Connection::send).
    pub fn reply(&self, item: &(impl Encode<F> + ?Sized)) -> Result<(), SendError> {
        let Request { unreplied, .. } = self;
        if unreplied.is_said() {
            return Err(SendError::Answered);
        }
        let link = &unreplied.link;
        // The turn is taken behind the program's `Serialize`, which may panic.
        with_encoded(item, link.dialect, |message| {
            if !unreplied.take_turn() {
                return Err(SendError::Answered);
            }
            // Before the other side has it, and asks the next.
            unreplied.give_place_back();
            link.sender
                .send_reply(message, unreplied.id, Wait::Forever)
                .inspect_err(|_| unreplied.give_turn_back())
        })
    }

    /// No program will see it.
    fn fail(self, why: Failure) {
        self.unreplied.fail(why, "");
    }

    fn is_too_late(&self) -> bool {
        self.unreplied.link.life.is_ending()
    }
}

impl<F: Format> fmt::Debug for Request<F>
where
    F::Item: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("item", &self.item)
            .finish_non_exhaustive()
    }
}

/// Requests of the other side: iterates over them, waits for each, and ends with the connection. See
/// [`Connection::requests`](crate::Connection::requests).
///
/// It dereferences to the crossbeam channel behind it, for deadlines and for `select!`. The channel may
/// also hold requests whose connection has ended; nobody can answer those.
///
/// ```
/// # use std::time::Duration;
/// # use lanpeer::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// # let (to, asker) = (bob.local_addr(), alice.clone());
/// # let asking = std::thread::spawn(move || asker.connect::<Json<u32>>(to));
/// # let from_alice = bob.accept::<Json<u32>>()?;
/// # let to_bob = asking.join().unwrap()?;
/// let requests = from_alice.requests();
/// let none = requests.recv_timeout(Duration::from_millis(1));
/// assert!(matches!(none, Err(RecvTimeoutError::Timeout)));
/// to_bob.close()?;
/// assert_eq!(requests.count(), 0);
/// # Ok(()) }
/// ```
pub struct Requests<F: Format> {
    receiver: Receiver<Request<F>>,
    waiter: Waiter<F::Item>,
    link: Arc<Link>,
}

impl<F: Format> Clone for Requests<F> {
    fn clone(&self) -> Requests<F> {
        Requests {
            receiver: self.receiver.clone(),
            waiter: self.waiter.clone(),
            link: Arc::clone(&self.link),
        }
    }
}

impl<F: Format> Deref for Requests<F> {
    type Target = Receiver<Request<F>>;

    fn deref(&self) -> &Receiver<Request<F>> {
        &self.receiver
    }
}

impl<F: Format> Iterator for Requests<F> {
    type Item = Request<F>;

    fn next(&mut self) -> Option<Request<F>> {
        loop {
            match self.wait() {
                // Nobody waits for an answer any more.
                Some(request) if request.is_too_late() => {}
                next => return next,
            }
        }
    }
}

impl<F: Format> FusedIterator for Requests<F> {}

impl<F: Format> Requests<F> {
    fn wait(&self) -> Option<Request<F>> {
        let mut next = Err(TryRecvError::Empty);
        // Asked again when it is there, it takes no other.
        let mut look = || {
            if next.is_err() {
                next = self.receiver.try_recv();
            }
            !matches!(next, Err(TryRecvError::Empty))
        };
        // Where nothing waits, a look costs more than this.
        if self.receiver.is_empty() || !look() {
            // The connection's reader thread would wait for itself.
            if self.link.on_reader_thread() {
                return None;
            }
            // What this thread has answered is to leave before it waits.
            let flush = |_| self.link.sender.flush_now();
            match self.waiter.wait(None, true, look, flush) {
                Waited::Done | Waited::Late => {}
                Waited::Follow(_awaits) => return self.receiver.recv().ok(),
            }
        }
        next.ok()
    }
}

impl<F: Format> fmt::Debug for Requests<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("waiting", &self.receiver.len())
            .finish_non_exhaustive()
    }
}

/// What a program does with each request, on the connection's reader thread.
pub(crate) type Serve<F> = Box<dyn FnMut(Request<F>) + Send>;

/// Between whoever reads the socket, and so meets requests, and the program, which may want them.
pub(crate) struct Server<F: Format> {
    /// Until when requests wait for a program that has not asked for them.
    grace: Instant,
    /// By which way requests go. A request is never dropped under this lock: its item is the program's,
    /// and its drop writes to the socket.
    state: Mutex<State<F>>,
}

struct State<F: Format> {
    way: Way<F>,
    /// The watchdog will look when the time is over.
    watched: bool,
}

/// By which way requests reach the program.
enum Way<F: Format> {
    /// Nobody has asked for them yet, and none has come: most connections have none, and need no channel.
    Unused,
    /// Nobody has asked for them yet, and some have come.
    Early(Sender<Request<F>>, Receiver<Request<F>>),
    /// Nobody has asked for them in time.
    Nobody,
    /// The program takes requests from this channel.
    Channel(Sender<Request<F>>, Receiver<Request<F>>),
    /// The connection has ended.
    Over,
}

impl<F: Format> Server<F> {
    pub fn new() -> Arc<Server<F>> {
        Arc::new(Server {
            grace: Instant::now() + GRACE,
            state: Mutex::new(State {
                way: Way::Unused,
                watched: false,
            }),
        })
    }

    /// From now on the program takes requests.
    pub fn requests(&self, link: &Arc<Link>, waiter: Waiter<F::Item>) -> Requests<F> {
        let mut state = lock(&self.state);
        let (sender, receiver) = match std::mem::replace(&mut state.way, Way::Over) {
            Way::Early(sender, receiver) | Way::Channel(sender, receiver) => {
                (Some(sender), receiver)
            }
            Way::Unused | Way::Nobody => {
                let (sender, receiver) = unbounded();
                (Some(sender), receiver)
            }
            Way::Over => (None, unbounded().1),
        };
        if let Some(sender) = sender {
            state.way = Way::Channel(sender, receiver.clone());
        }
        Requests {
            receiver,
            waiter,
            link: Arc::clone(link),
        }
    }

    /// A request has come.
    pub(super) fn deliver(self: &Arc<Server<F>>, request: Request<F>, context: &Context) {
        let mut state = lock(&self.state);
        if matches!(state.way, Way::Unused) {
            let (sender, receiver) = unbounded();
            state.way = Way::Early(sender, receiver);
        }
        let unsent = match &state.way {
            Way::Early(sender, _) | Way::Channel(sender, _) => {
                sender.send(request).map_err(|unsent| unsent.0).err()
            }
            Way::Unused | Way::Nobody => Some(request),
            Way::Over => {
                drop(state);
                return drop(request);
            }
        };
        if matches!(state.way, Way::Early(..)) && !std::mem::replace(&mut state.watched, true) {
            let task = Arc::new(Unserved(Arc::downgrade(self)));
            context.watch(self.grace, task);
        }
        drop(state);
        if let Some(request) = unsent {
            request.fail(Failure::NotServed);
        }
    }

    /// The connection has ended: nobody waits for requests any more, or for their answers.
    pub fn end(&self) {
        let before = std::mem::replace(&mut lock(&self.state).way, Way::Over);
        if let Way::Early(sender, receiver) | Way::Channel(sender, receiver) = before {
            drop(sender);
            receiver.try_iter().for_each(crate::net::panics::let_go);
        }
    }

    /// The program had its time to ask for requests.
    fn give_up(&self) {
        let mut state = lock(&self.state);
        if !matches!(state.way, Way::Early(..)) {
            return;
        }
        let before = std::mem::replace(&mut state.way, Way::Nobody);
        drop(state);
        if let Way::Early(_, receiver) = before {
            for request in receiver.try_iter() {
                // The drop of its item is the program's code.
                let _ = unless_it_panics(|| {
                    request.fail(Failure::NotServed);
                    Ok(())
                });
            }
        }
    }
}

struct Unserved<F: Format>(Weak<Server<F>>);

impl<F: Format> Task for Unserved<F> {
    fn run(&self, now: Instant) -> Option<Instant> {
        let server = self.0.upgrade()?;
        if now < server.grace {
            return Some(server.grace);
        }
        server.give_up();
        None
    }

    fn is_pointless(&self) -> bool {
        self.0.strong_count() == 0
    }
}
