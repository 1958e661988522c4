//! Requests of several threads, beside a reader thread that passes replies on and writes for them: each is
//! written whole and once, and none waits for a write that nobody comes to.

use std::sync::Arc;
use std::time::Duration;

use shuttle::thread;

use crate::error::CloseReason;
use crate::format::{DataType, Dialect, Encoded};
use crate::net::endpoint::Endpoint;
use crate::net::os::lock;
use crate::net::os::socket::{TcpStream, Wire};
use crate::net::os::sync::{Condvar, Mutex, dawdle, one_in, up_to};
use crate::net::send::{Replies, Wait};
use crate::proto::frames::{Call, Head};

pub fn written() {
    const EACH: u32 = 3;
    let limit = 60 + up_to(600);
    // Without the flusher, and with it: no request is left to that.
    let refused = if one_in(2) {
        vec!["lanpeer-flush"]
    } else {
        Vec::new()
    };
    let endpoint = Endpoint::new(limit, Duration::ZERO, None, refused);
    let wire = Wire::new(10 + up_to(300));
    let link = endpoint.link_in(Dialect::Frames, TcpStream(Arc::clone(&wire)), None);

    let askers = 1 + up_to(2) as u32;
    let requests: Vec<(u32, Vec<u8>)> = (0..askers * EACH)
        .map(|id| (id, vec![id as u8; 1 + up_to(40)]))
        .collect();
    let whole: Vec<Vec<u8>> = requests
        .iter()
        .map(|(id, payload)| {
            let head = Head::of_call(payload.len(), None, Call::Request(*id));
            [head.bytes(), payload].concat()
        })
        .collect();
    let total: usize = whole.iter().map(Vec::len).sum();

    let reading = {
        let link = Arc::clone(&link);
        thread::spawn(move || {
            let mut replies = Replies::new(&link.sender);
            // Now and then more than it passes on before it writes.
            for _ in 0..up_to(if one_in(4) { 20 } else { 5 }) {
                replies.one_more();
                if one_in(2) {
                    dawdle();
                }
                if one_in(4) {
                    replies.end();
                }
            }
        })
    };
    // A thread that ends writes what it has queued. So none does before all is read.
    let all_read = Arc::new((Mutex::new(false), Condvar::new()));
    let asking: Vec<_> = requests
        .chunks(EACH as usize)
        .map(|own| {
            let (link, own, all_read) = (Arc::clone(&link), own.to_vec(), Arc::clone(&all_read));
            thread::spawn(move || {
                for (id, payload) in &own {
                    let message = Encoded {
                        data_type: DataType::Bytes,
                        payload,
                    };
                    let sender = &link.sender;
                    let sent = sender.send_request(message, *id, Wait::Forever, one_in(4));
                    assert_eq!(sent, Ok(()));
                    if one_in(2) {
                        dawdle();
                    }
                }
                let (all_read, told) = &*all_read;
                let mut is_read = lock(all_read);
                while !*is_read {
                    is_read = told.wait(is_read).expect("no poison");
                }
            })
        })
        .collect();
    // Never ends where one is not written.
    wire.read_until(total);
    *lock(&all_read.0) = true;
    all_read.1.notify_all();
    for thread in asking.into_iter().chain([reading]) {
        thread.join().expect("no panic");
    }

    let taken = wire.state().taken.clone();
    let mut bytes = &taken[..];
    let mut left = whole;
    while !bytes.is_empty() {
        let next = left.iter().position(|whole| bytes.starts_with(whole));
        let next = left.remove(next.expect("altered, or written twice"));
        bytes = &bytes[next.len()..];
    }
    assert!(left.is_empty());
    link.kill(CloseReason::Aborted);
    link.end();
    endpoint.stop();
}
