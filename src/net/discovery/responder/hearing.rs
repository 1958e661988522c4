//! What the responder makes of a datagram: whom it believes what.
//!
//! A datagram proves nothing but the address that it came from, and on a shared network not even that. So
//! what it says is believed only as far as that address goes: a GONE takes off what is at that address, a HERE
//! is listed at an address that its sender can plausibly have, and a question is answered to its source alone.

use std::net::SocketAddrV4;

use super::Responder;
use crate::error::without_quotes;
use crate::net::discovery::LOG;
use crate::net::discovery::networks::{distance, is_local, is_private, plausible};
use crate::net::discovery::pace::{every, patience};
use crate::net::discovery::quota::Origin;
use crate::net::discovery::roster::Sighting;
use crate::net::discovery::tags::Proof;
use crate::net::os::sync::Instant;
use crate::proto::beacon::{Beacon, Card, Here, Ping, Pong, Question};
use crate::proto::tag::{Number, Tagged};

impl Responder {
    /// Takes in a datagram. One that is malformed, from a network that is not used, or from this peer itself is
    /// ignored.
    pub(super) fn hear(&mut self, datagram: &[u8], source: SocketAddrV4) {
        let beacon = match Beacon::parse(datagram) {
            Ok(beacon) => beacon,
            Err(error) => {
                // In the macro, so that it costs nothing where nobody listens.
                log::trace!(target: LOG, "datagram from {source} ignored: {}", without_quotes(&error.to_string()));
                return;
            }
        };
        let ip = *source.ip();
        let network = self
            .networks
            .iter()
            .position(|network| network.contains(ip));
        // A far host may ask, and one that was chosen may say anything that others may.
        let is_question = matches!(beacon, Beacon::Ping(Ping { watch: None, .. }));
        let is_far = !self.other_networks.iter().any(|other| other.contains(ip));
        let is_welcome = self.shared.reach.is_seed(ip) || (is_question && is_far && is_private(ip));
        if network.is_none() && !ip.is_loopback() && !is_welcome {
            log::trace!(target: LOG, "datagram from {source} ignored: not of this network");
            return;
        }
        let origin = self.origin(source);
        let now = Instant::now();
        let me = self.shared.card.id;
        let tags = self.shared.tags.as_ref();
        let proof = tags.map_or(Proof::None, |tags| tags.check(datagram, &tags.asked()));
        let is_me = |card: &Option<Card>| card.as_ref().is_some_and(|card| card.id == me);
        match beacon {
            Beacon::Ping(Ping { card, .. }) if is_me(&card) => {}
            // Another peer watches on this network. Its PING asks everyone for a HERE, and keeps other watchers
            // from asking as well. It is not answered alone.
            Beacon::Ping(Ping {
                watch: Some(watch), ..
            }) => {
                if let Some(network) = network {
                    let (others, pace) = (self.crowd.others(), &mut self.paces[network]);
                    // Somebody without the secret may fall silent on purpose, or ask this peer alone.
                    match tags.is_none() || proof.is_member() {
                        true => pace.heard(watch, others, now, &mut self.dice),
                        false => pace.asked(watch, others, now, &mut self.dice),
                    }
                }
            }
            // A search. The answer is no longer than the question; see `Question`.
            Beacon::Ping(ping) => match Question::new(&ping, datagram.len()) {
                Some(question) => {
                    // Also with a tag that is unknown here: the asker may know this peer's, while the secret is
                    // being changed.
                    let number = Tagged::parse(datagram).map(|tagged| tagged.number);
                    let question = match (tags, number) {
                        (Some(_), Some(Number::Nonce(nonce))) => question.with_nonce(nonce),
                        _ => question,
                    };
                    let known = self.crowd.others().heard;
                    self.answers
                        .asked(source, question, known, now, &mut self.dice);
                }
                None => {
                    log::trace!(target: LOG, "no answer to {source}: it names no address");
                }
            },
            Beacon::Pong(Pong { card, .. }) if is_me(&card) => {}
            // An answer to a watch of a peer that has no HERE, such as peerpy, or to a question of ours to a seed.
            Beacon::Pong(Pong { addr, card }) => {
                if let Some(Card { id, .. }) = card {
                    // It covers the nonce of a question of this peer: so it is new, whatever its count.
                    if let Some(count) = proof.count() {
                        self.counts.sign(id, addr, count, now);
                    }
                    if self.counts_in(proof) {
                        self.crowd.note(id, origin, None, now);
                    }
                }
                self.see(addr, source, card, proof.count(), None, now);
            }
            Beacon::Here(Here { addr, card, every }) => {
                if card.id != me && self.is_new(card.id, addr, source, proof, now) {
                    if self.counts_in(proof) {
                        let promise = every.map(patience);
                        self.crowd.note(card.id, origin, promise, now);
                    }
                    self.see(addr, source, Some(card), proof.count(), every, now);
                }
            }
            Beacon::Gone { id } => {
                let count = proof.count();
                if id == me || count.is_some_and(|count| !self.counts.gone(id, count, now)) {
                    return;
                }
                if self.counts_in(proof) {
                    self.crowd.gone(id, origin);
                }
                let mut events = Vec::new();
                self.roster.gone(id, origin, count.is_some(), &mut events);
                self.tell(&events);
            }
        }
    }

    /// Does it count in the number of peers, which decides how often each of them speaks? With tags only members
    /// do: others can be invented.
    fn counts_in(&self, proof: Proof) -> bool {
        self.shared.tags.is_none() || proof.is_member()
    }

    /// False for a member's sign of life that somebody has recorded and says again, or says from an address that
    /// it does not name: signs of members that have long gone would count as peers.
    fn is_new(
        &mut self,
        id: u64,
        claimed: SocketAddrV4,
        source: SocketAddrV4,
        proof: Proof,
        now: Instant,
    ) -> bool {
        let Some(count) = proof.count() else {
            return true;
        };
        let is_new = plausible(claimed, *source.ip(), true, &self.networks)
            .is_some_and(|addr| self.counts.sign(id, addr, count, now));
        if !is_new {
            log::trace!(target: LOG, "datagram from {source} ignored: said before, or of another address");
        }
        is_new
    }

    /// What is known of a sender by its address alone.
    fn origin(&self, source: SocketAddrV4) -> Origin {
        Origin {
            ip: *source.ip(),
            is_local: is_local(*source.ip(), &self.networks),
            from_port: source.port() == self.shared.port,
        }
    }

    /// A sign of life was heard.
    fn see(
        &mut self,
        claimed: SocketAddrV4,
        source: SocketAddrV4,
        card: Option<Card>,
        count: Option<u64>,
        promise: Option<u16>,
        now: Instant,
    ) {
        if self.subscribers.is_empty() {
            return;
        }
        let tags = self.shared.tags.as_ref();
        if count.is_none() && tags.is_some_and(|tags| tags.members_only) {
            log::trace!(target: LOG, "datagram from {source} ignored: not of a member");
            return;
        }
        let Some(addr) = plausible(claimed, *source.ip(), card.is_some(), &self.networks) else {
            log::trace!(target: LOG, "datagram from {source} ignored: it claims to be at {claimed}");
            return;
        };
        // An answer of this peer itself, in the words without an id.
        if card.is_none() && self.is_my_address(addr) {
            return;
        }
        // One that does not say when it will be heard again is expected as often as a lanpeer would be.
        let patience = patience(promise.unwrap_or_else(|| every(self.crowd.others().staying)));
        let distance = distance(*addr.ip(), &self.networks);
        let sighting = Sighting {
            addr,
            distance,
            origin: self.origin(source),
            card,
            count,
            patience,
            promised: promise.is_some(),
        };
        let mut events = Vec::new();
        self.roster.seen(sighting, now, &mut events);
        self.tell(&events);
    }

    fn is_my_address(&self, addr: SocketAddrV4) -> bool {
        is_local(*addr.ip(), &self.networks) && addr.port() == self.shared.listen.port()
    }
}

#[cfg(all(test, feature = "secure"))]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::net::discovery::networks::Network;
    use crate::net::discovery::pace::Pace;
    use crate::net::discovery::reach::Reach;
    use crate::net::discovery::shared::{Ear, Shared};
    use crate::net::discovery::tags::Tags;
    use crate::net::discovery::watch::Begun;
    use crate::net::os::sync::Mutex;
    use crate::net::os::system::UdpSocket;
    use crate::secure::{Secret, Trust};

    fn tags(secret: &Secret) -> Arc<Tags> {
        let mut trust = Trust::default();
        trust.set(secret.clone());
        let keys = trust.tag_keys().unwrap_or_else(|reason| panic!("{reason}"));
        Arc::new(Tags::new(keys, true).unwrap())
    }

    /// One with the secret that is on 10.0.0.0/24, and is not asked to send anything.
    fn responder(secret: &Secret) -> Responder {
        let ear = Ear {
            socket: Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap()),
            hears_port: true,
        };
        let shared = Shared {
            listen: "127.0.0.1:9".parse().unwrap(),
            reach: Reach::new(Ipv4Addr::LOCALHOST),
            voice: None,
            port: 1024,
            card: card(1),
            tags: Some(tags(secret)),
            ear: Mutex::new(Some(ear.clone())),
            visible: Mutex::new(false),
            announce: AtomicBool::new(false),
            stopped: Arc::default(),
        };
        let mut responder = Responder::new(Arc::new(shared), ear, Arc::new(Begun::default()));
        responder.networks.push(Network {
            name: "net".to_owned(),
            addr: [10, 0, 0, 1].into(),
            mask: [255, 255, 255, 0].into(),
            broadcast: None,
        });
        responder.paces.push(Pace::default());
        responder
    }

    fn card(id: u64) -> Card {
        Card {
            id,
            name: String::new(),
            service: String::new(),
        }
    }

    /// Or whoever has recorded members for long could make all of them speak seldom.
    #[test]
    fn a_sign_from_an_address_that_it_does_not_name_counts_nobody() {
        let secret = Secret::random().unwrap();
        let (member, mut responder) = (tags(&secret), responder(&secret));
        let addr: SocketAddrV4 = "10.0.0.5:62626".parse().unwrap();
        let recorded = (2..20).map(|id| {
            let here = Here {
                addr,
                card: card(id),
                every: Some(9),
            };
            member.write(&Beacon::Here(here)).unwrap()
        });
        let recorded: Vec<_> = recorded.collect();
        for datagram in &recorded {
            responder.hear(datagram, "10.0.0.66:1024".parse().unwrap());
        }
        assert_eq!(responder.crowd.others().heard, 0);
        // From where it says, it counts.
        responder.hear(&recorded[0], "10.0.0.5:1024".parse().unwrap());
        assert_eq!(responder.crowd.others().heard, 1);
    }
}
