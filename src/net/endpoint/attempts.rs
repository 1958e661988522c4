//! Offers that are one of several attempts of their client, which it says in WHO.
//!
//! A call that tries several addresses makes one offer by each; the program is asked once. A client that
//! keeps itself connected wants one connection: when it comes again, it has lost the one before, and that
//! ends here as [`Replaced`](CloseReason::Replaced) before the program sees the new offer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::Endpoint;
use super::offers::Pending;
use crate::error::CloseReason;
use crate::format::DataType;
use crate::net::link::{Agreement, Link};
use crate::net::os::lock;
use crate::net::os::sync::Instant;
use crate::proto::beacon::Card;
use crate::proto::who::Attempt;

/// The word for an offer that is another way to one that is there already, or older than one that is.
pub(crate) const TWICE: &str = "twice";

/// What keeps this peer connected to others. The room `keep` implements it, so that this room need not know
/// of that. Called by reader threads, without a lock.
pub(crate) trait Keeper: Send + Sync {
    /// Is this, of a client that keeps itself connected to this peer, what it wants as well?
    fn wants(&self, agreed: &Agreement) -> bool;

    /// Takes the offer, or gives it back where it has ended.
    fn take(&self, offer: Pending) -> Result<(), Pending>;
}

/// The most attempts that are remembered.
const REMEMBERED: usize = 1024;

/// How long an attempt is remembered. A client's other ways to this peer come within a second.
const REMEMBER: Duration = Duration::from_secs(60);

/// The attempts that have come lately: when, of whom, and which. Under a lock of the endpoint, so that of
/// two offers of one attempt, each on its own thread, one is the first.
#[derive(Default)]
pub(super) struct Recent(VecDeque<(Instant, u64, Attempt)>);

impl Recent {
    /// `false`: it has come already.
    fn is_first(&mut self, id: u64, attempt: Attempt, now: Instant) -> bool {
        while let Some((at, ..)) = self.0.front() {
            if self.0.len() < REMEMBERED && now.saturating_duration_since(*at) < REMEMBER {
                break;
            }
            self.0.pop_front();
        }
        let mut recent = self.0.iter();
        if recent.any(|(_, other, known)| *other == id && known.is_same(attempt)) {
            return false;
        }
        self.0.push_back((now, id, attempt));
        true
    }
}

impl Endpoint {
    /// Ends the connections that an offer comes in place of. `Err`: the offer itself is one too many,
    /// and is to be denied with [`TWICE`].
    pub(super) fn make_way(&self, agreed: &Agreement) -> Result<(), Twice> {
        let (Some(who), Some(attempt)) = (&agreed.who, agreed.theirs) else {
            return Ok(());
        };
        if !lock(&self.recent).is_first(who.id, attempt, Instant::now()) {
            return Err(Twice);
        }
        // The list is a copy: ending a connection takes the lock of the list.
        let replaced = replaced(&Ask::of(agreed), self.links().iter())?;
        for link in replaced {
            link.kill(CloseReason::Replaced);
        }
        Ok(())
    }
}

impl Endpoint {
    /// From now on this keeper gets the offers that it wants before the program does.
    pub fn add_keeper(&self, keeper: Arc<dyn Keeper>) {
        lock(&self.keepers).push(keeper);
    }

    pub fn remove_keeper(&self, keeper: &Arc<dyn Keeper>) {
        lock(&self.keepers).retain(|other| !Arc::ptr_eq(other, keeper));
    }

    /// Hands an offer to whoever wants it, or to the program. One that nobody can take is denied.
    pub(super) fn hand_over(&self, mut offer: Pending) {
        if offer.agreed.theirs.is_some() && !offer.forbidden {
            // A copy of the list: a keeper that takes an offer takes locks of its own.
            let keepers = lock(&self.keepers).clone();
            for keeper in keepers {
                if keeper.wants(&offer.agreed) {
                    match keeper.take(offer) {
                        Ok(()) => return,
                        Err(back) => offer = back,
                    }
                }
            }
        }
        self.hand_to_program(offer);
    }

    /// Hands an offer to the program, or denies it if nobody can take it.
    pub fn hand_to_program(&self, offer: Pending) {
        if let Err(offer) = self.deliver(offer) {
            offer.deny("busy");
        }
    }
}

/// The offer is one too many.
#[derive(Debug)]
pub(super) struct Twice;

/// What a connection is to an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    None,
    /// The client had this one before, and has it no more.
    Older,
    /// It is what the offer asks for, or what came of a later attempt.
    SameOrNewer,
}

/// What a client asks for.
pub(super) struct Ask<'a> {
    who: Option<&'a Card>,
    attempt: Option<Attempt>,
    data_type: DataType,
    secure: bool,
}

impl Ask<'_> {
    fn of(agreed: &Agreement) -> Ask<'_> {
        Ask {
            who: agreed.who.as_deref(),
            attempt: agreed.theirs,
            data_type: agreed.data_type,
            secure: agreed.secure,
        }
    }

    /// What was asked for, of a connection that came of it.
    pub fn of_link(link: &Link) -> Ask<'_> {
        Ask {
            who: link.who.as_deref(),
            attempt: link.theirs,
            data_type: link.data_type,
            secure: link.secure,
        }
    }
}

/// Those of these connections that end because of what a client asks for. `Err`: the offer itself is one
/// too many.
pub(super) fn replaced<'a>(
    asked: &Ask<'_>,
    links: impl Iterator<Item = &'a Arc<Link>>,
) -> Result<Vec<Arc<Link>>, Twice> {
    let mut older = Vec::new();
    for link in links {
        match relation(link, asked) {
            Relation::None => {}
            Relation::Older => older.push(Arc::clone(link)),
            Relation::SameOrNewer => return Err(Twice),
        }
    }
    Ok(older)
}

/// What `link` is to what a client asks for.
fn relation(link: &Link, asked: &Ask<'_>) -> Relation {
    let is_of = |card: &Arc<Card>| asked.who.is_some_and(|who| who.id == card.id);
    let (Some(attempt), true) = (asked.attempt, link.who.as_ref().is_some_and(is_of)) else {
        return Relation::None;
    };
    // An encrypted connection is of someone who has the secret. Only another such offer may end it.
    if (link.secure && !asked.secure) || link.life.is_over() {
        return Relation::None;
    }
    match (link.theirs, attempt) {
        (Some(Attempt::Keep(old)), Attempt::Keep(new)) if old.keep == new.keep => {
            return match new.attempt > old.attempt {
                true => Relation::Older,
                false => Relation::SameOrNewer,
            };
        }
        // Another address of the same call.
        (Some(old), new) if old.is_same(new) => return Relation::SameOrNewer,
        _ => {}
    }
    // Both sides keep each other: it has seen the offer of which this connection came, and yet asks.
    match (link.ours, attempt) {
        (Some(Attempt::Keep(ours)), Attempt::Keep(theirs))
            if ours.attempt == theirs.seen && link.data_type == asked.data_type =>
        {
            Relation::Older
        }
        _ => Relation::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_first_once_and_the_memory_is_bounded() {
        let (mut recent, now) = (Recent::default(), Instant::now());
        for number in 0..5_000 {
            assert!(recent.is_first(7, Attempt::Call(number), now));
            assert!(!recent.is_first(7, Attempt::Call(number), now));
            assert!(recent.is_first(8, Attempt::Call(number), now), "of another");
            assert!(recent.0.len() <= REMEMBERED);
        }
        assert!(recent.is_first(7, Attempt::Call(4_999), now + REMEMBER));
        assert_eq!(recent.0.len(), 1);
    }
}
