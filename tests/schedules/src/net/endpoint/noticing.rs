//! The watchdog: it sleeps while nothing is outstanding, and no write is missed by it, also not one that
//! happens while it is about to go to sleep.

use std::sync::Arc;
use std::time::Duration;

use shuttle::thread;

use crate::error::CloseReason;
use crate::format::{DataType, Encoded};
use crate::net::endpoint::Endpoint;
use crate::net::os::socket::{TcpStream, Wire};
use crate::net::os::sync::{dawdle, up_to};
use crate::net::os::table::show;
use crate::net::send::Wait;

/// The other side's machine goes at some moment. If it owes an answer then, the connection ends,
/// though nobody calls it any more.
pub fn dead_remote() {
    let wire = Wire::new(1_000_000);
    show(Some(&wire));
    let endpoint = Endpoint::new(
        10_000,
        Duration::ZERO,
        Some(Duration::from_millis(80)),
        Vec::new(),
    );
    let link = endpoint.link(TcpStream(Arc::clone(&wire)), None);
    let going = {
        let wire = Arc::clone(&wire);
        thread::spawn(move || {
            for _ in 0..up_to(6) {
                dawdle();
            }
            let mut state = wire.state();
            state.gone = Some(state.taken.len());
        })
    };
    for _ in 0..1 + up_to(3) {
        let message = Encoded {
            data_type: DataType::Bytes,
            payload: b"?",
        };
        // An error: it was noticed already.
        let _ = link.send(message, Wait::Forever);
        for _ in 0..up_to(3) {
            dawdle();
        }
    }
    let _ = link.flush();
    going.join().expect("a machine");
    let owes = {
        let state = wire.state();
        state.gone < Some(state.taken.len())
    };
    if owes {
        wire.read_until(usize::MAX);
        assert_eq!(link.life.reason(), Some(CloseReason::TimedOut));
    }
    show(None);
    link.end();
    endpoint.stop();
}
