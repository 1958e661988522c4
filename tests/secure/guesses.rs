//! Programs that guess at the secret of a peer, as an attacker writes them: with nothing but sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lanpeer::{Bytes, ConnectOptions, Error};

use crate::common::spawn;
use crate::common::wire::header;
use crate::{DEADLINE, bind, secured};

/// What Bob has said to one guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// He has looked at it.
    Wrong,
    /// He has computed nothing.
    Busy,
    /// He has computed his side, and not looked at it.
    Late,
}

fn guess(bob: SocketAddr) -> Answer {
    let mut socket = TcpStream::connect(bob).expect("he listens");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let hello = "HELLO|peer_name=127.0.0.1:9&data_type=bytes&strict=1&v=1&secure=chacha";
    socket.write_all(&header(hello)).expect("HELLO");
    let mut answer = [0; 128];
    socket.read_exact(&mut answer).expect("an answer");
    if answer == header("DENY|reason=busy") {
        return Answer::Busy;
    }
    assert!(answer.starts_with(b"ACCEPT|v=1&secure=chacha"));
    socket.read_exact(&mut [0; 48]).expect("a challenge");
    socket.write_all(&[7; 48]).expect("a guess");
    socket.read_exact(&mut answer).expect("an answer");
    if answer == header("DENY|reason=busy") {
        return Answer::Late;
    }
    assert_eq!(answer, header("DENY|reason=secret"));
    Answer::Wrong
}

/// So many at once, until it is over. How many guesses there were, and how many of them Bob has looked at.
struct Attack {
    is_over: Arc<AtomicBool>,
    guessed: Arc<AtomicUsize>,
    looked_at: Arc<AtomicUsize>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Attack {
    fn start(bob: SocketAddr, threads: usize) -> Attack {
        let mut attack = Attack {
            is_over: Arc::default(),
            guessed: Arc::default(),
            looked_at: Arc::default(),
            threads: Vec::new(),
        };
        for _ in 0..threads {
            let is_over = Arc::clone(&attack.is_over);
            let [guessed, looked_at] = [&attack.guessed, &attack.looked_at].map(Arc::clone);
            attack.threads.push(std::thread::spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    let answer = guess(bob);
                    guessed.fetch_add(1, Ordering::SeqCst);
                    if answer == Answer::Wrong {
                        looked_at.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }));
        }
        attack
    }

    fn guessed(&self) -> usize {
        self.guessed.load(Ordering::SeqCst)
    }

    /// Its guesses, and those that Bob has looked at.
    fn end(self) -> (usize, usize) {
        self.is_over.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("no panic");
        }
        let count = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (count(&self.guessed), count(&self.looked_at))
    }
}

#[test]
fn of_four_thousand_guesses_ten_a_second_are_looked_at() {
    let bob = bind(secured());
    let begin = Instant::now();
    let attack = Attack::start(bob.local_addr(), 24);
    crate::common::until("4,000 guesses", || attack.guessed() >= 4000);
    let (guessed, looked_at) = attack.end();
    let seconds = begin.elapsed().as_secs_f64();
    println!("{guessed} guesses in {seconds:.1} s: {looked_at} looked at");
    // Ten at once, and ten in each second.
    assert!(
        looked_at as f64 <= 10.0 + 10.0 * seconds,
        "{looked_at} in {seconds} s"
    );
    assert!(looked_at >= 10);
}

/// A member at the same address waits for at most a second where fewer than ten others do, and where there
/// are more, he has to ask again.
#[test]
fn a_member_at_the_address_of_an_attacker_gets_in() {
    let (alice, bob) = (bind(secured()), bind(secured()));
    let addr = bob.local_addr();
    let offers = bob.incoming();
    std::thread::spawn(move || {
        let conns: Vec<_> = offers.map(|offer| offer.accept::<Bytes>()).collect();
        drop(conns);
    });
    for (threads, tries) in [(8, 1), (12, usize::MAX)] {
        let attack = Attack::start(addr, threads);
        crate::common::until("no tokens", || attack.guessed() > 10);
        let begin = Instant::now();
        let mut tried = 0;
        let conn = loop {
            tried += 1;
            match alice.connect::<Bytes>(addr) {
                Ok(conn) => break conn,
                Err(Error::Denied { reason, .. }) if tried < tries => {
                    assert_eq!(reason.as_deref(), Some("busy"));
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("{error} at try {tried} beside {threads}"),
            }
            assert!(begin.elapsed() < DEADLINE, "{tried} tries beside {threads}");
        };
        println!(
            "beside {threads} attackers: in after {:?}, {tried} tries",
            begin.elapsed()
        );
        assert!(conn.is_secure());
        let (_, looked_at) = attack.end();
        assert!(looked_at > 10);
    }
    // Right proofs cost nothing, however many.
    let begin = Instant::now();
    let attack = Attack::start(addr, 1);
    crate::common::until("no tokens", || attack.guessed() > 10);
    attack.end();
    // The first waits until a token is back.
    for _ in 0..50 {
        assert!(alice.connect::<Bytes>(addr).is_ok());
    }
    println!("50 members in {:?}", begin.elapsed());
}

/// `stop` does not wait for those who wait.
#[test]
fn a_peer_that_stops_lets_go_of_those_who_wait() {
    let bob = bind(secured());
    let addr = bob.local_addr();
    // Without a token left each of them waits.
    for _ in 0..10 {
        assert_eq!(guess(addr), Answer::Wrong);
    }
    let alice = bind(secured());
    let asking = spawn(move || {
        let options = ConnectOptions::new();
        options.connect::<Bytes>(&alice, addr).map(drop)
    });
    let begin = Instant::now();
    bob.stop();
    assert!(begin.elapsed() < DEADLINE / 2, "{:?}", begin.elapsed());
    assert!(asking.wait("connect").is_err());
}
