//! Several addresses of one peer: the likeliest is asked first, and where it does not answer, the next
//! beside it. The first that agrees wins.
//!
//! The other side may so be asked twice. Both WHOs have the number of this call, by which it knows that
//! one connection is meant, and puts the offer that came first to its program; the other is denied as
//! `twice`. A peer without frames cannot know, and its program sees two offers, of which the loser is
//! reset.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use super::{Agreed, Withdrawal, agree};
use crate::error::{Error, Result};
use crate::net::endpoint::attempts::TWICE;
use crate::net::endpoint::{Endpoint, next_id};
use crate::net::handshake::client::Request;
use crate::net::os::sync::{Instant, Sender, unbounded};

/// How long an address may take for the TCP connection before the next is tried beside it.
const BESIDE: Duration = Duration::from_millis(50);

/// How long an address that took the connection may take for its answer before the next is tried. Its
/// program may have to decide first, and then another way to it is of no use.
const BESIDE_REACHED: Duration = Duration::from_millis(250);

/// What a thread that asks at one address tells the calling thread.
enum Told {
    /// The address took the TCP connection.
    Reached,
    /// The last that this thread tells.
    Answered(Result<Agreed>),
}

/// Asks at all addresses until one agrees. If none does, what still asks is withdrawn, so that no thread is
/// left behind for longer than it takes to notice that.
pub(super) fn agree_with_one(
    endpoint: &Arc<Endpoint>,
    addrs: &[SocketAddrV4],
    request: Request,
    deadline: Instant,
    withdrawal: &Arc<Withdrawal>,
) -> Result<Agreed> {
    let agreed = race(endpoint, addrs, request, deadline, withdrawal);
    if agreed.is_err() {
        withdrawal.withdraw();
    }
    agreed
}

/// The calling thread's part: decides when the next address is tried, and waits for what the threads tell.
fn race(
    endpoint: &Arc<Endpoint>,
    addrs: &[SocketAddrV4],
    request: Request,
    deadline: Instant,
    withdrawal: &Arc<Withdrawal>,
) -> Result<Agreed> {
    let (tell, told) = unbounded();
    let mut waiting: VecDeque<SocketAddrV4> = VecDeque::new();
    for addr in addrs {
        if !waiting.contains(addr) {
            waiting.push_back(*addr);
        }
    }
    // How many threads have not answered yet, when the next address is due, and what failed last.
    let mut asked = 0;
    let mut next = Instant::now();
    let mut failure = None;
    let is_secure = endpoint.settings.has_secret() && !request.in_the_clear;
    loop {
        if asked == 0 || Instant::now() >= next {
            if let Some(addr) = waiting.pop_front() {
                asked += 1;
                next = Instant::now() + BESIDE;
                ask(endpoint, addr, request.clone(), deadline, withdrawal, &tell);
            }
        }
        if asked == 0 {
            break;
        }
        let heard = match waiting.is_empty() {
            // Each ends by itself at the deadline.
            true => told.recv().ok(),
            false => told.recv_deadline(next).ok(),
        };
        match heard {
            Some(Told::Reached) => next = next.max(Instant::now() + BESIDE_REACHED),
            Some(Told::Answered(Ok(agreed))) => return Ok(agreed),
            Some(Told::Answered(Err(error))) => {
                asked -= 1;
                next = Instant::now();
                if is_final(&error, is_secure) {
                    return Err(error);
                }
                // Of several failures the last one is told. A timeout is told only where there was no
                // other.
                if failure.is_none() || !matches!(error, Error::TimedOut { .. }) {
                    failure = Some(error);
                }
            }
            None => {}
        }
    }
    Err(failure.unwrap_or(Error::Stopped))
}

/// Does this failure end the race? It does if it is the word of the peer that is meant, or if no other
/// address could change it.
fn is_final(error: &Error, is_secure: bool) -> bool {
    match error {
        // A side that did not prove that it has the secret does not speak for the peer that is meant.
        Error::Denied {
            reason, by_member, ..
        } => (*by_member || !is_secure) && reason.as_deref() != Some(TWICE),
        Error::FeatureMissing { .. } | Error::Stopped | Error::Withdrawn => true,
        _ => false,
    }
}

/// Asks at this address, on a thread of its own.
fn ask(
    endpoint: &Arc<Endpoint>,
    addr: SocketAddrV4,
    request: Request,
    deadline: Instant,
    withdrawal: &Arc<Withdrawal>,
    tell: &Sender<Told>,
) {
    let (own, withdrawal, told) = (Arc::clone(endpoint), Arc::clone(withdrawal), tell.clone());
    let work = move || {
        let reached = || drop(told.send(Told::Reached));
        let answer = agree(&own, addr, request, deadline, &withdrawal, reached);
        // Nobody is there to hear it where another was first. What it holds is withdrawn already.
        drop(told.send(Told::Answered(answer)));
    };
    let name = format!("lanpeer-c-{}", next_id());
    if let Err(source) = endpoint.threads.spawn(name, work) {
        let context = "a thread to connect";
        let error = Error::Io { context, source };
        drop(tell.send(Told::Answered(Err(error))));
    }
}
