//! Watches: the handle that a program holds, and the end that tells it who comes and goes.

use std::ops::Deref;
use std::sync::{Arc, Weak};

use crossbeam_channel::SendError;

use super::roster::{Key, Roster};
use crate::neighbour::{Neighbour, Presence};
use crate::net::os::lock;
use crate::net::os::sync::{HashMap, Iter, Mutex, Receiver, Sender, unbounded};

/// So many untaken reports are kept per watch.
const REPORTS_MAX: usize = 1024;

/// A watch of who comes and goes; see [`Peer::watch`](crate::Peer::watch).
///
/// Use it as the [`Receiver`] that it dereferences to: `recv`, `try_recv`, `recv_timeout`, `iter`,
/// and `recv(watch)` in [`select!`](crossbeam_channel::select). A clone takes its share of the same
/// reports, like a clone of a `Receiver`.
///
/// Dropping the last clone ends the watch within 250 ms. That is why it is not a plain `Receiver`:
/// crossbeam lets a sender find out that all receivers are gone only by sending to them, so a watch
/// with nothing to tell would go on for ever. A plain `Receiver` that was cloned out of it
/// (`Receiver::clone(&watch)`) does not keep the watch alive: once the last `Watch` is dropped, it
/// is disconnected.
///
/// ```
/// use lanpeer::crossbeam_channel::{never, select};
/// use lanpeer::{Presence, Watch};
///
/// # use std::time::Duration;
/// # use lanpeer::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
/// # let builder = Peer::builder().discovery_port(port);
/// # let alice = builder.clone().bind("127.0.0.1:0")?;
/// let watch: Watch = alice.watch();
/// # let bob = builder.bind("127.0.0.1:0")?;
/// # let messages = never::<u32>();
/// select! {
///     recv(watch) -> presence => assert!(matches!(presence?, Presence::Found(_))),
///     recv(messages) -> message => println!("{}", message?),
/// }
/// # bob.stop();
/// for presence in &watch {
///     if let Presence::Lost(_) = presence {
///         break;
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Watch {
    receiver: Receiver<Presence>,
    /// Shared by all clones; its subscriber ends when it is dropped.
    _life: Arc<Life>,
}

impl Deref for Watch {
    type Target = Receiver<Presence>;

    fn deref(&self) -> &Receiver<Presence> {
        &self.receiver
    }
}

impl<'a> IntoIterator for &'a Watch {
    type Item = Presence;
    type IntoIter = Iter<'a, Presence>;

    fn into_iter(self) -> Iter<'a, Presence> {
        self.receiver.iter()
    }
}

impl IntoIterator for Watch {
    type Item = Presence;
    type IntoIter = WatchIter;

    fn into_iter(self) -> WatchIter {
        WatchIter { watch: self }
    }
}

/// The reports of a [`Watch`], which it owns: `next` waits for one, and returns `None` once the
/// peer is stopped.
///
/// ```
/// # let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
/// # let peer = lanpeer::Peer::builder().discovery_port(port).bind("127.0.0.1:0")?;
/// let reports: lanpeer::WatchIter = peer.watch().into_iter();
/// peer.stop();
/// assert_eq!(reports.count(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct WatchIter {
    watch: Watch,
}

impl Iterator for WatchIter {
    type Item = Presence;

    fn next(&mut self) -> Option<Presence> {
        self.watch.recv().ok()
    }
}

impl std::iter::FusedIterator for WatchIter {}

/// As long as this lives, somebody holds the watch.
struct Life {
    number: u64,
    begun: Arc<Begun>,
}

impl Drop for Life {
    fn drop(&mut self) {
        // The responder notices by itself the end of what it has taken over.
        drop(lock(&self.begun.state).waiting.remove(&self.number));
    }
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Life").field(&self.number).finish()
    }
}

/// Watches that have begun and that the responder has not taken over yet.
#[derive(Default)]
pub(super) struct Begun {
    state: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    waiting: HashMap<u64, Subscriber>,
    /// So many watches have begun so far.
    count: u64,
    /// No watch begins any more.
    closed: bool,
}

impl Begun {
    /// A new watch; its channel is disconnected at once if no watch can begin any more.
    pub fn begin(self: &Arc<Self>, service: Option<String>) -> Watch {
        let mut state = lock(&self.state);
        state.count += 1;
        let life = Arc::new(Life {
            number: state.count,
            begun: self.clone(),
        });
        let (subscriber, receiver) = Subscriber::new(service, Arc::downgrade(&life));
        if !state.closed {
            state.waiting.insert(life.number, subscriber);
        }
        Watch {
            receiver,
            _life: life,
        }
    }

    /// Hands them over.
    pub fn take(&self) -> impl Iterator<Item = Subscriber> + use<> {
        std::mem::take(&mut lock(&self.state).waiting).into_values()
    }

    /// Ends them, and all that would begin later.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        drop(std::mem::take(&mut state.waiting));
    }
}

/// One watch, as the responder sees it.
///
/// A program that does not take its reports costs a bounded memory and misses no outcome: when its
/// channel is full it is told nothing more, and once it has taken some, what then differs from
/// what it was told last.
pub(crate) struct Subscriber {
    sender: Sender<Presence>,
    /// Gone when the program has dropped the watch. Sending shows that too, but only sending does.
    life: Weak<Life>,
    service: Option<String>,
    told: HashMap<Key, Neighbour>,
    behind: bool,
}

impl Subscriber {
    fn new(service: Option<String>, life: Weak<Life>) -> (Subscriber, Receiver<Presence>) {
        let (sender, receiver) = unbounded();
        // It begins behind: those who are there already are news for it.
        (
            Subscriber {
                sender,
                life,
                service,
                told: HashMap::default(),
                behind: true,
            },
            receiver,
        )
    }

    /// Does anybody still hold this watch?
    pub fn is_held(&self) -> bool {
        self.life.strong_count() > 0
    }

    /// Passes on what happened; false when nobody listens any more.
    #[must_use]
    pub fn tell(&mut self, events: &[(Key, Presence)]) -> bool {
        events.iter().all(|(key, presence)| {
            let now = match presence {
                Presence::Found(neighbour) => Some(neighbour),
                Presence::Lost(_) => None,
            };
            self.behind || self.update(key, now)
        })
    }

    /// Tells what it has missed, as far as there is room; false when nobody listens any more.
    #[must_use]
    pub fn catch_up(&mut self, roster: &Roster) -> bool {
        if !self.behind || self.sender.len() > REPORTS_MAX / 2 {
            return true;
        }
        self.behind = false;
        let told: Vec<Key> = self.told.keys().cloned().collect();
        let gone = told
            .iter()
            .filter(|key| roster.get(key).is_none())
            .map(|key| (key, None));
        let here = roster.iter().map(|(key, neighbour)| (key, Some(neighbour)));
        gone.chain(here)
            .all(|(key, now)| self.behind || self.update(key, now))
    }

    /// Brings this watch's view of one neighbour up to date; false when nobody listens any more.
    fn update(&mut self, key: &Key, now: Option<&Neighbour>) -> bool {
        let now = now.filter(|neighbour| neighbour.offers(&self.service));
        let report = match (self.told.get(key), now) {
            (Some(then), Some(now)) if then == now => return true,
            (None, None) => return true,
            (_, Some(now)) => Presence::Found(now.clone()),
            (Some(then), None) => Presence::Lost(then.clone()),
        };
        // Only this thread sends, so the bound holds; a bounded channel would reserve it all at once.
        if self.sender.len() >= REPORTS_MAX {
            self.behind = true;
            return true;
        }
        match self.sender.send(report) {
            Ok(()) => {
                match now {
                    Some(now) => self.told.insert(key.clone(), now.clone()),
                    None => self.told.remove(key),
                };
                true
            }
            Err(SendError(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::net::discovery::quota::Origin;
    use crate::net::discovery::roster::Sighting;
    use crate::proto::beacon::Card;

    fn subscriber(service: Option<&str>) -> (Subscriber, Watch) {
        let begun = Arc::new(Begun::default());
        let watch = begun.begin(service.map(str::to_owned));
        let subscriber = begun.take().next().expect("one has begun");
        (subscriber, watch)
    }

    const ORIGIN: Origin = Origin {
        ip: std::net::Ipv4Addr::new(10, 0, 0, 1),
        is_local: false,
        from_port: true,
    };

    fn see(roster: &mut Roster, id: u64, service: &str) -> Vec<(Key, Presence)> {
        let card = Card {
            id,
            name: String::new(),
            service: service.to_owned(),
        };
        let addr = std::net::SocketAddrV4::new([10, 0, 0, 1].into(), 1000 + id as u16);
        let patience = Duration::from_secs(9);
        let mut out = Vec::new();
        let sighting = Sighting {
            addr,
            distance: 2,
            origin: ORIGIN,
            card: Some(card),
            count: None,
            patience,
            promised: true,
        };
        roster.seen(sighting, Instant::now(), &mut out);
        out
    }

    fn lose(roster: &mut Roster, id: u64) -> Vec<(Key, Presence)> {
        let mut out = Vec::new();
        roster.gone(id, ORIGIN, false, &mut out);
        out
    }

    /// Adds up the reports to who is there.
    fn view(receiver: &Receiver<Presence>, there: &mut Vec<u16>) {
        for presence in receiver.try_iter() {
            let port = presence.neighbour().addr().port();
            there.retain(|&other| other != port);
            if let Presence::Found(_) = presence {
                there.push(port);
            }
        }
        there.sort_unstable();
    }

    #[test]
    fn a_watch_of_a_service_hears_of_no_other() {
        let mut roster = Roster::default();
        let (mut chat, receiver) = subscriber(Some("chat"));
        assert!(chat.catch_up(&roster));
        for (id, service) in [(1, "chat"), (2, "print"), (3, "")] {
            assert!(chat.tell(&see(&mut roster, id, service)));
        }
        assert!(chat.tell(&lose(&mut roster, 2)));
        assert_eq!(receiver.try_iter().count(), 1);
        // One that becomes another program is lost to this watch.
        assert!(chat.tell(&see(&mut roster, 1, "print")));
        assert!(matches!(receiver.try_recv(), Ok(Presence::Lost(_))));
    }

    #[test]
    fn one_who_does_not_listen_for_long_misses_no_outcome() {
        let mut roster = Roster::default();
        let (mut slow, receiver) = subscriber(None);
        assert!(slow.catch_up(&roster));
        for round in 0..600 {
            for id in 0..3 {
                assert!(slow.tell(&see(&mut roster, id, "")));
                if round < 599 || id == 1 {
                    assert!(slow.tell(&lose(&mut roster, id)));
                }
            }
        }
        assert!(slow.behind);
        assert_eq!(receiver.len(), REPORTS_MAX);
        assert!(slow.catch_up(&roster));
        assert!(slow.behind, "there is no room yet");
        let mut there = Vec::new();
        view(&receiver, &mut there);
        assert!(slow.catch_up(&roster));
        view(&receiver, &mut there);
        assert_eq!(there, [1000, 1002]);
    }

    #[test]
    fn the_end_of_a_watch_is_noticed_although_nothing_is_told() {
        let (subscriber, watch) = subscriber(None);
        let clone = watch.clone();
        drop(watch);
        assert!(subscriber.is_held());
        // A receiver that was taken out of it does not count.
        let bare = Receiver::clone(&clone);
        drop(clone);
        assert!(!subscriber.is_held());
        assert!(bare.try_recv().is_err_and(|error| !error.is_disconnected()));
        drop(subscriber);
        assert!(bare.try_recv().is_err_and(|error| error.is_disconnected()));
    }

    #[test]
    fn one_that_ends_before_it_is_taken_over_leaves_nothing() {
        let begun = Arc::new(Begun::default());
        let kept = begun.begin(None);
        (0..100).for_each(|_| drop(begun.begin(None)));
        assert_eq!(lock(&begun.state).waiting.len(), 1);
        begun.close();
        for watch in [kept, begun.begin(None)] {
            assert!(watch.try_recv().is_err_and(|error| error.is_disconnected()));
        }
    }
}
