//! Who is there: answers to those who ask, a search, and a watch.
//!
//! | file | |
//! | --- | --- |
//! | `networks` | the interfaces of this host, and which of our addresses leads to whom |
//! | `reach` | which of them are used, and which far hosts |
//! | `search` | asks, on the caller's thread, and yields who answers |
//! | `stranger` | a search by a program that is no peer |
//! | `responder` | the thread that answers, gives signs of life, and keeps watch |
//! | `responder::hearing` | what that thread makes of a datagram |
//! | `shared` | what that thread and the peer's calls share |
//! | `answers` | who is to be answered, and when: the rate is bounded |
//! | `pace` | when it gives signs of life: the traffic is bounded, however many peers there are |
//! | `roster` | who is there, from what was heard and when |
//! | `crowd` | how many there are, from the same |
//! | `tags` | by which members know each other's datagrams |
//! | `counts` | which of those datagrams are not new |
//! | `quota` | who may be kept where there is no room for all |
//! | `watch` | watches: what programs hold, and what tells them |
//!
//! `answers`, `pace`, `roster`, `crowd`, `counts` and `quota` are given the time and own no socket: their tests
//! need neither.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use self::networks::{addrs, networks, shared_socket, voice};
use self::reach::Reach;
use self::responder::Responder;
use self::search::Ask;
use self::shared::{Ear, Shared};
use self::tags::Tags;
use self::watch::Begun;
use super::os::{datagram, dice, lock};
use crate::error::{Error, Result};
use crate::neighbour::PeerId;
use crate::net::os::sync::{JoinHandle, Mutex, thread};
use crate::net::os::system::host_name;
use crate::proto::beacon::{Beacon, Card, NAME_MAX, SERVICE_MAX, check_label, label_from_host};
use crate::secure::TagKeys;
use dice::Dice;

mod answers;
mod counts;
mod crowd;
mod networks;
mod pace;
mod quota;
mod reach;
mod responder;
mod roster;
mod search;
mod shared;
mod stranger;
mod tags;
mod watch;

pub use reach::Interface;
pub use search::Neighbours;
pub use stranger::{DiscoverOptions, discover};
pub use watch::{Watch, WatchIter};

/// The target of log lines; `docs/logging.md` lists every one.
const LOG: &str = "lanpeer::discovery";

/// The UDP port of discovery, unless a program chooses another.
pub(crate) const DISCOVERY_PORT: u16 = 1024;

/// What a program chose; see [`PeerBuilder`](crate::PeerBuilder) for what each means.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub port: u16,
    /// None: the host's name.
    pub name: Option<String>,
    /// Empty: none.
    pub service: String,
    pub invisible: bool,
    /// What is chosen of it here, and what the peer is bound to is added when it is.
    pub reach: Reach,
    /// Far hosts, as the program gave them.
    pub seeds: Vec<String>,
    /// Members show that they are.
    pub tags: bool,
    /// And others are not listed.
    pub members_only: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            port: DISCOVERY_PORT,
            name: None,
            service: String::new(),
            invisible: false,
            reach: Reach::new(Ipv4Addr::UNSPECIFIED),
            seeds: Vec::new(),
            tags: false,
            members_only: false,
        }
    }
}

impl Settings {
    pub fn check(&self) -> Result<()> {
        let invalid = |option| move |reason| Error::InvalidOption { option, reason };
        check_port(self.port)?;
        reach::seeds(&self.seeds, self.port).map_err(invalid("seeds"))?;
        check_label(self.name.as_deref().unwrap_or_default(), NAME_MAX).map_err(invalid("name"))?;
        check_label(&self.service, SERVICE_MAX).map_err(invalid("service"))
    }
}

impl Settings {
    /// Who a peer with these settings is, by an id of its own.
    pub fn draw_card(&self) -> Card {
        let host = || host_name().map(|host| label_from_host(&host.to_string_lossy()));
        let name = self.name.clone();
        Card {
            id: Dice::new().draw_id(),
            name: name.unwrap_or_else(|| host().unwrap_or_default()),
            service: self.service.clone(),
        }
    }
}

fn check_port(port: u16) -> Result<()> {
    if port == 0 {
        let reason = "must not be 0: all peers use the same port".to_owned();
        return Err(Error::InvalidOption {
            option: "discovery_port",
            reason,
        });
    }
    Ok(())
}

/// A peer's part in discovery: its responder thread and its searches.
pub(crate) struct Discovery {
    shared: Arc<Shared>,
    /// What the responder thread takes watches from.
    begun: Arc<Begun>,
    thread: Mutex<Option<JoinHandle<()>>>,
    not_discoverable: Option<String>,
}

impl Discovery {
    /// Starts the responder; when this returns, PINGs are answered. Where the port cannot be had,
    /// the peer can still search and watch, [`Discovery::not_discoverable`] says why, and the
    /// responder tries to get it from then on.
    pub fn start(
        settings: Settings,
        listen: SocketAddrV4,
        card: Card,
        keys: Option<TagKeys>,
    ) -> Result<Discovery> {
        let tags = keys.map(|keys| Tags::new(keys, settings.members_only).map(Arc::new));
        let tags = tags.transpose()?;
        let (socket, not_discoverable) = match shared_socket(settings.port) {
            Ok(socket) => (Some(socket), None),
            Err(error) => {
                let reason = format!("UDP port {} cannot be had: {error}", settings.port);
                log::warn!(target: LOG, "{listen}: not discoverable: {reason}");
                (shared_socket(0).ok(), Some(reason))
            }
        };
        let mut reach = settings.reach;
        reach.bound = *listen.ip();
        reach.seeds = reach::seeds(&settings.seeds, settings.port).unwrap_or_default();
        let shared = Arc::new(Shared {
            listen,
            reach,
            voice: voice(*listen.ip()),
            port: settings.port,
            card,
            tags,
            visible: Mutex::new(!settings.invisible),
            ear: Mutex::new(socket.map(|socket| Ear {
                socket: Arc::new(socket),
                hears_port: not_discoverable.is_none(),
            })),
            announce: AtomicBool::new(false),
            stopped: Arc::new(AtomicBool::new(false)),
        });
        let begun = Arc::new(Begun::default());
        let thread = match shared.ear() {
            Some(ear) => {
                let responder = Responder::new(shared.clone(), ear, begun.clone());
                let builder = thread::Builder::new().name("lanpeer-responder".to_owned());
                let context = "starting the responder thread";
                Some(
                    builder
                        .spawn(|| responder.run())
                        .map_err(|source| Error::Io { context, source })?,
                )
            }
            None => {
                begun.close();
                None
            }
        };
        let thread = Mutex::new(thread);
        Ok(Discovery {
            shared,
            begun,
            thread,
            not_discoverable,
        })
    }

    /// Why other peers cannot find this one; None if they can, as far as this host is concerned.
    pub fn not_discoverable(&self) -> Option<&str> {
        let hears_port = self.shared.ear().is_some_and(|ear| ear.hears_port);
        self.not_discoverable.as_deref().filter(|_| !hears_port)
    }

    /// Has this peer tags, so that its secrets have to be such as tags are made of?
    #[cfg(feature = "secure")]
    pub fn has_tags(&self) -> bool {
        self.shared.tags.is_some()
    }

    /// From now on its tags are made and checked with other keys.
    #[cfg(feature = "secure")]
    pub fn set_tag_keys(&self, keys: TagKeys) {
        if let Some(tags) = &self.shared.tags {
            tags.set_keys(keys);
        }
    }

    /// Where others reach this peer.
    pub fn addrs(&self) -> Vec<SocketAddrV4> {
        addrs(self.shared.listen)
    }

    /// The same, to be asked later.
    pub fn own_addrs(&self) -> Box<dyn Fn() -> Vec<SocketAddrV4> + Send> {
        let listen = self.shared.listen;
        Box::new(move || addrs(listen))
    }

    /// This peer's id.
    pub fn id(&self) -> PeerId {
        PeerId::of(&self.shared.card)
    }

    /// Asks who is there, for so long.
    pub fn discover(&self, time: Duration, service: Option<String>) -> Result<Neighbours> {
        if self.shared.stopped.load(Ordering::Acquire) {
            return Err(Error::Stopped);
        }
        let Shared {
            listen,
            port,
            ref reach,
            ..
        } = *self.shared;
        let visible = *lock(&self.shared.visible);
        let ask = Ask {
            reach: reach.clone(),
            port,
            listen_port: if visible { listen.port() } else { 0 },
            // The id is there in any case: so this peer knows its own PING, and does not answer it.
            card: Some(match visible {
                true => self.shared.card.clone(),
                false => self.shared.anonymous(),
            }),
            service,
            tags: self.shared.tags.clone(),
            stopped: self.shared.stopped.clone(),
        };
        search::start(ask, time)
    }

    /// A new watch. Its channel is closed when the peer is stopped, or if no socket could be had.
    pub fn watch(&self, service: Option<String>) -> Watch {
        let watch = self.begun.begin(service);
        self.wake();
        watch
    }

    /// Begins such watches later. The thread takes each over at its next turn, within 250 ms.
    pub fn watches(&self, service: Option<String>) -> Box<dyn Fn() -> Watch + Send> {
        let begun = Arc::clone(&self.begun);
        Box::new(move || begun.begin(service.clone()))
    }

    /// Hides this peer, or shows it again. Once this has returned, it does so.
    pub fn set_invisible(&self, invisible: bool) {
        let mut visible = lock(&self.shared.visible);
        let hides = *visible && invisible;
        if !*visible && !invisible {
            self.shared.announce.store(true, Ordering::Release);
        }
        *visible = !invisible;
        drop(visible);
        // Under no lock, since it runs the program's choice of interfaces, and its logger.
        if hides {
            self.say_goodbye(1);
        }
        self.wake();
    }

    /// Says goodbye, and ends the thread, all searches and all watches. Takes milliseconds, or a
    /// quarter of a second where loopback does not carry the datagram that wakes the thread.
    pub fn stop(&self) {
        if self.shared.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        if std::mem::take(&mut *lock(&self.shared.visible)) {
            // Twice, since one may get lost.
            self.say_goodbye(2);
        }
        self.begun.close();
        self.wake();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            if thread.join().is_err() {
                let listen = self.shared.listen;
                log::error!(target: LOG, "{listen}: the responder thread panicked");
            }
        }
    }

    /// Has the responder thread look around now, and not only at its next turn: by a datagram to
    /// its own socket. Where several share the port, only a broadcast is sure to reach it; the
    /// others wake for nothing.
    ///
    /// Shutting the socket down would wake it on Linux, too. But then `recv_from` returns without a
    /// sender's address, and std panics at that.
    fn wake(&self) {
        let Some(ear) = self.shared.ear() else {
            return;
        };
        let to = match ear.hears_port {
            true => SocketAddrV4::new(datagram::WHOLE_HOST, self.shared.port),
            false => SocketAddrV4::new(Ipv4Addr::LOCALHOST, ear.own_port()),
        };
        if let Err(error) = datagram::send(&ear.socket, &[], to) {
            let listen = self.shared.listen;
            log::debug!(target: LOG, "{listen}: the responder thread is not woken: {error}");
        }
    }

    fn say_goodbye(&self, times: usize) {
        let Some(ear) = self.shared.ear().filter(|ear| ear.hears_port) else {
            return;
        };
        let Ok(networks) = networks(&self.shared.reach) else {
            return;
        };
        let gone = Beacon::Gone {
            id: self.shared.card.id,
        };
        for _ in 0..times {
            for &seed in self.shared.reach.seeds.iter() {
                self.shared.tell(&ear.socket, seed, &gone);
            }
            for network in &networks {
                self.shared.broadcast(&ear.socket, network, &gone);
            }
        }
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.stop();
    }
}
