//! Five hundred who ask at once, half of whom then say nothing.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lanpeer::{Bytes, ConnectOptions, Event};

use crate::common::{DEADLINE, builder, spawn, until};

#[test]
fn those_who_say_nothing_delay_nobody() {
    let patience = Duration::from_secs(6);
    let bob = builder().timeout(patience).bind("127.0.0.1:0").unwrap();
    let alice = builder().timeout(DEADLINE).bind("127.0.0.1:0").unwrap();
    let (offers, events, to) = (bob.incoming(), bob.events(), bob.local_addr());
    std::thread::spawn(move || {
        for offer in offers {
            let _ = offer.accept_with::<Bytes>(|conn, message| drop(conn.send(&message)));
        }
    });
    let told = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&told);
    std::thread::spawn(move || {
        let silent = |event: &Event| match event {
            Event::HandshakeFailed { reason, .. } => {
                reason.contains("no HELLO") || reason.contains("its place was needed")
            }
            _ => false,
        };
        for _ in events.iter().filter(silent) {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let start = Instant::now();
    let silent: Vec<_> = (0..250)
        .map(|_| spawn(move || TcpStream::connect(to).expect("connected")))
        .collect();
    let asking: Vec<_> = (0..250)
        .map(|number: u32| {
            let alice = alice.clone();
            spawn(move || {
                let conn = ConnectOptions::new()
                    .connect::<Bytes>(&alice, to)
                    .expect("accepted");
                conn.send(&number.to_le_bytes()).expect("sent");
                conn.recv_timeout(DEADLINE) == Ok(number.to_le_bytes().to_vec())
            })
        })
        .collect();
    for task in asking {
        assert!(task.wait("an answer"));
    }
    println!("250 of 500 had their answers after {:?}", start.elapsed());
    let silent: Vec<_> = silent
        .into_iter()
        .map(|task| task.wait("a connection"))
        .collect();
    // And these are let go when their time is over, or when there are too many of one address.
    until("all who said nothing are told of", || {
        told.load(Ordering::SeqCst) == 250
    });
    println!("and the others were let go after {:?}", start.elapsed());
    drop(silent);
}
