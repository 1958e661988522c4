//! Runs a program: its peers and threads, until all of them have ended.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lanpeer::{Bytes, ConnectionInfo, Error, Peer};

use super::handshakes;
use super::history::{Clock, Diary, Fact, lock};
use super::os::{self, Condvar, HashMap, Instant, Place, sleep};
use super::plan::Program;
use super::word::{Source, Word};

/// A program that runs, and what it left behind.
pub struct Stage {
    pub program: Program,
    pub clock: Arc<Clock>,
    pub place: Place,
    peers: os::Mutex<Vec<Option<Peer>>>,
    pub addrs: Vec<SocketAddr>,
    pub diaries: Mutex<Vec<Arc<Diary>>>,
    pub ends: Mutex<HashMap<usize, EndInfo>>,
    /// Which link is under way, of those with the same two peers: one at a time.
    current: Vec<Vec<AtomicUsize>>,
    /// Peers whose stop has begun.
    stopping: Vec<AtomicBool>,
    /// Threads that still run, by what they are.
    running: os::Mutex<Running>,
    ended: Condvar,
}

/// One end of a link that came about.
pub struct EndInfo {
    pub id: u64,
    /// `None`: the connection had ended before it could be looked up.
    pub info: Option<ConnectionInfo>,
}

#[derive(Default)]
struct Running {
    /// They end by themselves, if nothing blocks them.
    workers: usize,
    /// They wait for whatever comes, until their peer is stopped.
    servants: usize,
}

/// Beyond this a call hangs.
pub const HANGS: Duration = Duration::from_secs(60);

/// Runs it; `Err` tells who hangs where.
pub fn run(program: Program) -> (Arc<Stage>, Result<(), String>) {
    let place = Place::new(program.peers.len());
    let peers: Vec<Peer> = program
        .peers
        .iter()
        .enumerate()
        .map(|(number, plan)| {
            let builder = Peer::builder()
                .invisible(true)
                .timeout(Duration::from_secs(60))
                .close_timeout(plan.close_timeout)
                .send_queue(plan.send_queue)
                .receive_queue(plan.receive_queue)
                .receive_queue_bytes(plan.receive_queue_bytes)
                .spin(plan.spin)
                .max_connections(plan.max_connections);
            place.bind(number, builder)
        })
        .collect();
    let none = || {
        (0..peers.len())
            .map(|_| AtomicUsize::new(usize::MAX))
            .collect()
    };
    let stage = Arc::new(Stage {
        program,
        place,
        clock: Arc::default(),
        addrs: peers.iter().map(Peer::local_addr).collect(),
        current: peers.iter().map(|_| none()).collect(),
        stopping: peers.iter().map(|_| AtomicBool::new(false)).collect(),
        peers: os::Mutex::new(peers.into_iter().map(Some).collect()),
        diaries: Mutex::default(),
        ends: Mutex::default(),
        running: os::Mutex::default(),
        ended: Condvar::new(),
    });
    let result = play(&stage);
    (stage, result)
}

fn play(stage: &Arc<Stage>) -> Result<(), String> {
    let count = stage.addrs.len();
    for peer in 0..count {
        let events = stage.peer(peer).events();
        stage.start(
            format!("events of {peer}"),
            peer,
            None,
            false,
            move |_, diary| {
                while let Ok(event) = diary.act("events", || events.recv(), |_| None) {
                    diary.note(Fact::Happened(event));
                }
            },
        );
        for number in 0..stage.program.peers[peer].acceptors {
            stage.start(
                format!("acceptor {number} of {peer}"),
                peer,
                None,
                false,
                handshakes::accept,
            );
        }
    }
    for asker in 0..count {
        for asked in 0..count {
            let to = |link: &usize| stage.program.links[*link].peers == [asker, asked];
            let links: Vec<usize> = (0..stage.program.links.len()).filter(to).collect();
            if !links.is_empty() {
                let label = format!("asker from {asker} to {asked}");
                stage.start(label, asker, None, true, move |stage, diary| {
                    handshakes::ask(stage, diary, &links)
                });
            }
        }
        let plan = stage.program.peers[asker];
        if plan.broadcasts > 0 {
            stage.start(
                format!("broadcaster of {asker}"),
                asker,
                None,
                true,
                broadcast,
            );
        }
        if let Some(after) = plan.stop_after {
            stage.start(
                format!("stopper of {asker}"),
                asker,
                None,
                true,
                move |stage, diary| {
                    sleep(after);
                    stage.stop(diary, asker);
                },
            );
        }
    }
    let patience = stage.program.patience;
    let quiet = stage.wait(patience.unwrap_or(HANGS), |running| running.workers == 0);
    if !quiet && patience.is_none() {
        return Err(stage.who_hangs("nothing may go wrong, and yet it does not end by itself"));
    }
    if stage.program.drop_peers {
        let peers: Vec<_> = os::lock(&stage.peers).drain(..).collect();
        for (number, peer) in peers.into_iter().enumerate() {
            let work = move |_: &Arc<Stage>, diary: &Arc<Diary>| {
                diary.act(
                    "drop the peer",
                    || drop(peer),
                    |()| Some(Fact::Stopped(number)),
                );
            };
            stage.start(format!("dropper of {number}"), number, None, true, work);
        }
    } else {
        for number in 0..count {
            let work = move |stage: &Arc<Stage>, diary: &Arc<Diary>| stage.stop(diary, number);
            stage.start(
                format!("last stopper of {number}"),
                number,
                None,
                true,
                work,
            );
        }
    }
    if !stage.wait(HANGS, |running| running.workers + running.servants == 0) {
        return Err(stage.who_hangs("all peers were stopped"));
    }
    let diary = stage.diary("after the end".to_owned(), 0, None);
    for (number, peer) in os::lock(&stage.peers).drain(..).enumerate() {
        let Some(peer) = peer else { continue };
        diary.check(
            peer.connections().is_empty(),
            "a stopped peer lists connections",
        );
        diary.check(peer.events().recv().is_err(), "events after stop");
        let other = stage.addrs[(number + 1) % count];
        let refused = matches!(peer.connect::<Bytes>(other), Err(Error::Stopped));
        diary.check(refused, "a stopped peer connects");
        diary.check(peer.accept::<Bytes>().is_err(), "a stopped peer accepts");
    }
    Ok(())
}

impl Stage {
    pub fn peer(&self, number: usize) -> Peer {
        let peers = os::lock(&self.peers);
        peers[number]
            .clone()
            .expect("dropped only when all has ended")
    }

    /// The same for those who may begin when the peers have been dropped.
    pub fn peer_if_any(&self, number: usize) -> Option<Peer> {
        os::lock(&self.peers).get(number)?.clone()
    }

    pub fn diary(&self, label: String, peer: usize, end: Option<usize>) -> Arc<Diary> {
        let diary = Diary::new(&self.clock, label, peer, end);
        lock(&self.diaries).push(Arc::clone(&diary));
        diary
    }

    /// Starts a thread. A worker ends by itself, unless something blocks it.
    pub fn start(
        self: &Arc<Stage>,
        label: String,
        peer: usize,
        end: Option<usize>,
        worker: bool,
        work: impl FnOnce(&Arc<Stage>, &Arc<Diary>) + Send + 'static,
    ) {
        let diary = self.diary(label, peer, end);
        self.count(worker, 1);
        let stage = Arc::clone(self);
        let body = move || {
            let result = catch_unwind(AssertUnwindSafe(|| work(&stage, &diary)));
            if result.is_err() {
                diary.wrong("this thread panicked");
            }
            stage.count(worker, -1);
        };
        self.place.start(peer, body);
    }

    fn count(&self, worker: bool, by: isize) {
        let mut running = os::lock(&self.running);
        let Running { workers, servants } = &mut *running;
        let count = if worker { workers } else { servants };
        *count = count.checked_add_signed(by).expect("not below zero");
        self.ended.notify_all();
    }

    fn wait(&self, limit: Duration, done: impl Fn(&Running) -> bool) -> bool {
        let end = Instant::now() + limit;
        let mut running = os::lock(&self.running);
        while !done(&running) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            running = match self.ended.wait_timeout(running, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    fn who_hangs(&self, when: &str) -> String {
        let diaries = lock(&self.diaries);
        let all: Vec<_> = diaries.iter().filter_map(|diary| diary.now()).collect();
        format!("hangs ({when}):\n{}", all.join("\n"))
    }

    /// A link is asked for.
    pub fn begin(&self, from: usize, to: usize, link: usize) {
        self.current[from][to].store(link, Ordering::SeqCst);
    }

    /// Which one that is.
    pub fn link_from(&self, from: SocketAddr, to: usize) -> usize {
        let asker = self.addrs.iter().position(|addr| *addr == from);
        self.current[asker.expect("one of the peers")][to].load(Ordering::SeqCst)
    }

    pub fn is_stopping(&self, number: usize) -> bool {
        self.stopping[number].load(Ordering::SeqCst)
    }

    pub fn stop(&self, diary: &Diary, number: usize) {
        let peer = self.peer(number);
        self.stopping[number].store(true, Ordering::SeqCst);
        diary.act("stop", || peer.stop(), |()| Some(Fact::Stopped(number)));
    }

    pub fn enter(&self, peer: &Peer, end: usize, id: u64) {
        let info = peer.connections().into_iter().find(|info| info.id() == id);
        lock(&self.ends).insert(end, EndInfo { id, info });
    }

    pub fn has(&self, end: usize) -> bool {
        lock(&self.ends).contains_key(&end)
    }
}

fn broadcast(stage: &Arc<Stage>, diary: &Arc<Diary>) {
    let own = diary.peer;
    let plan = stage.program.peers[own];
    let peer = stage.peer(own);
    for number in 0..plan.broadcasts as u32 {
        let source = Source::Broadcast { peer: own };
        let size = 30 + (number as usize * 37) % 200;
        let word = Word {
            source,
            number,
            size,
            ping: false,
        };
        let bytes = word.write();
        let cast = || {
            if plan.broadcast_timeout {
                peer.broadcast_timeout::<Bytes>(&bytes, Duration::from_millis(20))
            } else {
                peer.broadcast::<Bytes>(&bytes)
            }
        };
        let _ = diary.act("broadcast", cast, |report| {
            Some(Fact::Cast {
                word,
                report: report.clone(),
            })
        });
        sleep(Duration::from_micros(u64::from(number % 4) * 200));
    }
}
