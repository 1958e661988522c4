//! What the events of a peer say, in programs that look at them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lanpeer::{ConnectOptions, Error, Event, Peer};
use simulated_system::sync::thread;

use super::{Shared, name, wrong};
use crate::common::lock;

/// Takes the events until they end. When one tells that the connection has ended, its place must be free.
pub fn listen(index: usize, peer: &Peer, shared: Arc<Shared>) -> thread::JoinHandle<()> {
    let events = peer.events();
    let peer = peer.clone();
    // Nobody listens there.
    let nobody = SocketAddr::from(([10, 0, 0, 2 - index as u8], 1));
    let listen = move || {
        let (mut connected, mut closed, mut dropped) = (0, 0, 0);
        let mut peer = Some(peer);
        while let Ok(event) = events.recv() {
            match event {
                Event::Connected { .. } => connected += 1,
                Event::Closed { reason, .. } => {
                    closed += 1;
                    lock(&shared.sides[index]).told = Some(reason);
                    if let Some(peer) = peer.take() {
                        let options = ConnectOptions::new().timeout(Duration::from_millis(5));
                        let again = options.connect::<lanpeer::Bytes>(&peer, nobody);
                        if matches!(again, Err(Error::TooManyConnections { .. })) {
                            let what = "its end was told, and its place was not free";
                            wrong(&shared, index, what.to_owned());
                        }
                    }
                }
                Event::Dropped { count } => dropped += count,
                _ => {}
            }
        }
        if connected != closed && dropped == 0 {
            let what = format!("events tell of {connected} begins and {closed} ends");
            wrong(&shared, index, what);
        }
    };
    let builder = thread::Builder::new().name(format!("{}-e", name(index)));
    builder.spawn(listen).expect("a thread")
}
