//! The feature `secure`: connections that only those can make who hold the same secret.

#[path = "../common/beacons.rs"]
mod beacons;
#[path = "../common/mod.rs"]
mod common;
mod discovery;
mod guesses;
mod identity;
mod kept;
mod proxy;

mod passphrases;
mod redirection;
mod rules;
mod talk;
mod tampering;
mod words;

use common::{DEADLINE, builder, spawn};
use lanpeer::{Bytes, Connection, Format, Peer, PeerBuilder, Secret};

/// Of every test that needs one.
pub fn secret() -> Secret {
    "008J-4CT4-ANK7-F24S-NAXW-SQFE-ZWEA"
        .parse()
        .expect("a secret")
}

/// Settings of a peer that has the secret; nothing is overdue on a busy machine.
pub fn secured() -> PeerBuilder {
    builder().timeout(DEADLINE).secret(secret())
}

/// On a free port of loopback.
pub fn bind(builder: PeerBuilder) -> Peer {
    builder.bind("127.0.0.1:0").expect("a free port")
}

/// Her end and his end of a connection.
pub fn connect<F: Format + 'static>(alice: &Peer, bob: &Peer) -> (Connection<F>, Connection<F>) {
    let taker = bob.clone();
    let taking = spawn(move || taker.accept::<F>().expect("accepted"));
    let to_bob = alice.connect::<F>(bob.local_addr()).expect("connected");
    (to_bob, taking.wait("accept"))
}

/// Her end and his end of a connection in the clear: he has a secret, and takes it all the same.
pub fn connect_in_the_clear(alice: &Peer, bob: &Peer) -> (Connection<Bytes>, Connection<Bytes>) {
    let offers = bob.offers();
    let taking = spawn(move || {
        let offer = offers.recv().expect("an offer");
        offer.in_the_clear().accept::<Bytes>().expect("accepted")
    });
    let to_bob = alice.connect::<Bytes>(bob.local_addr()).expect("connected");
    (to_bob, taking.wait("accept"))
}
