//! A random program: which peers there are, who connects to whom, and what each thread does.

mod roll;

use std::fmt;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Program {
    pub seed: u64,
    pub hazards: Hazards,
    pub peers: Vec<PeerPlan>,
    pub links: Vec<LinkPlan>,
    /// So long the program may run before all peers are stopped; `None`: it ends by itself.
    pub patience: Option<Duration>,
    /// At the end the peers are dropped, not stopped.
    pub drop_peers: bool,
}

/// What may go wrong in a program. Where nothing may, everything must arrive and all calls end by
/// themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hazards {
    /// Ends abort.
    pub abort: bool,
    /// Ends do not take what comes; and so closes have short timeouts.
    pub lazy: bool,
    /// Lazy ends are sent more than all queues hold.
    pub flood: bool,
    /// Ends drop their handles before they have taken all.
    pub drop: bool,
    /// Peers are stopped in the middle.
    pub stop: bool,
    /// Handlers panic, abort, and stop their own peer.
    pub handler: bool,
    /// Those who ask hardly wait for the answer.
    pub withdraw: bool,
    /// Peers take few connections.
    pub busy: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct PeerPlan {
    pub send_queue: usize,
    pub receive_queue: usize,
    pub receive_queue_bytes: usize,
    pub spin: Duration,
    pub close_timeout: Duration,
    pub max_connections: usize,
    pub accepting: Accepting,
    pub acceptors: usize,
    pub broadcasts: usize,
    pub broadcast_timeout: bool,
    pub stop_after: Option<Duration>,
}

/// How a peer takes offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepting {
    Incoming,
    Offers,
    /// `Peer::accept`, which denies all of another type.
    Accept(Kind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bytes,
    Json,
    Raw,
    /// Announced as bytes, and not strict.
    Dynamic,
}

#[derive(Clone, Debug)]
pub struct LinkPlan {
    /// Who asks whom.
    pub peers: [usize; 2],
    pub kind: Kind,
    pub stream: Option<Stream>,
    /// Of its messages, where it is a stream.
    pub stream_size: usize,
    pub timeout: Option<Duration>,
    pub answer: Answer,
    pub answer_after: Duration,
    /// Of the one who asks, and of the one who is asked.
    pub ends: [EndPlan; 2],
}

#[derive(Clone, Copy, Debug)]
pub enum Stream {
    FromFirst,
    Of(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Accept,
    Deny,
    Drop,
    WrongType,
}

#[derive(Clone, Debug, Default)]
pub struct EndPlan {
    /// `Some`: no takers, but a handler. It may do something at its message of this number.
    pub handler: Option<Option<(usize, HandlerAct)>>,
    /// Of what comes, only the newest waits.
    pub latest: bool,
    pub takers: Vec<Taker>,
    pub senders: Vec<Vec<Op>>,
    /// A thread sends so many pings, and waits for the answer to each; then it takes.
    pub pings: usize,
    pub when: Duration,
    pub after_senders: bool,
    pub finish: Finish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandlerAct {
    Close,
    Panic,
    Abort,
    StopPeer,
}

#[derive(Clone, Copy, Debug)]
pub struct Taker {
    pub how: Take,
    /// After so many messages it stops; else it goes on until the end.
    pub limit: Option<usize>,
    pub pause: Duration,
}

#[derive(Clone, Copy, Debug)]
pub enum Take {
    Recv,
    Try,
    Timeout(Duration),
    Select,
    Iter,
    TryIter,
}

#[derive(Clone, Copy, Debug)]
pub enum Op {
    Send(usize),
    TrySend(usize),
    SendTimeout(usize, Duration),
    SendLatest(usize),
    /// Of another size than the stream's.
    WrongSize(usize),
    Flush,
    /// Are the connections listed that are open?
    Look,
    Pause(Duration),
}

impl LinkPlan {
    /// A handler that closes its connection reads ahead for a mebibyte. If more is on its way, it waits for
    /// `close_timeout`, which nobody waits for here. Then it does not close.
    fn spare_handlers(&mut self) {
        let sent = |end: &EndPlan| -> usize {
            let sizes = end.senders.iter().flatten().map(|op| match *op {
                Op::Send(size) | Op::TrySend(size) | Op::SendLatest(size) => size,
                Op::SendTimeout(size, _) => size,
                Op::WrongSize(_) | Op::Flush | Op::Look | Op::Pause(_) => 0,
            });
            sizes.sum()
        };
        let sent = [0, 1].map(|end| sent(&self.ends[1 - end]));
        for (end, sent) in self.ends.iter_mut().zip(sent) {
            if let Some(Some((_, HandlerAct::Close))) = end.handler {
                if sent > 1_000_000 {
                    end.handler = Some(None);
                }
            }
        }
    }
}

/// How an end ends its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Finish {
    /// It waits for the other one, or until the peer is stopped.
    #[default]
    Not,
    Close,
    /// By two threads at once.
    CloseTwice,
    /// Through `Peer::connections`.
    CloseListed,
    Abort,
    AbortListed,
}

/// Longer than any program that does nothing wrong needs.
pub const LONG: Duration = Duration::from_secs(120);

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Program {
            seed,
            hazards,
            patience,
            drop_peers,
            ..
        } = self;
        writeln!(
            f,
            "seed {seed}, patience {patience:?}, peers dropped: {drop_peers}\n{hazards:?}"
        )?;
        for (number, peer) in self.peers.iter().enumerate() {
            writeln!(f, "peer {number}: {peer:?}")?;
        }
        for (number, link) in self.links.iter().enumerate() {
            let LinkPlan {
                peers: [asker, asked],
                kind,
                stream,
                timeout,
                answer,
                ..
            } = link;
            let after = link.answer_after;
            writeln!(
                f,
                "link {number}: peer {asker} asks peer {asked}, {kind:?}, stream {stream:?}, timeout {timeout:?}; {answer:?} after {after:?}"
            )?;
            for (side, end) in link.ends.iter().enumerate() {
                writeln!(f, "  end {}: {end:?}", 2 * number + side)?;
            }
        }
        Ok(())
    }
}
