use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use socket2::SockRef;

use super::plan::Plan;
use super::{conversations::DEADLINE, is_clean};
use crate::connection::Connection;
use crate::error::{CloseReason, Error};
use crate::event::Event;
use crate::format::Bytes;
use crate::offer::Offer;
use crate::peer::Peer;
use crate::secure::Secret;

/// A whole connection of two peers with a secret, over loopback, and someone on the way who can
/// change each thing that they say: up to there all is as it would be, and nothing behind it is.
pub fn tampered(data: &[u8]) {
    let scene = Scene::alone();
    let mut plan = Plan::new(data);
    let addr = scene.listener.local_addr().expect("it listens");
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| scene.alice.connect::<Bytes>(addr));
        let mut way = Way::new(&scene);
        way.pass(There, 128, &mut plan); // HELLO
        way.pass(Back, 128 + 48, &mut plan); // ACCEPT, message 1
        way.pass(There, 48, &mut plan); // message 2
        let answer = match plan.byte() % 8 {
            _ if way.touched => None,
            1 => Some(scene.offer(|offer| offer.deny("no").map(|()| None))),
            _ => Some(scene.offer(|offer| offer.accept::<Bytes>().map(Some))),
        };
        way.pass(Back, 2 + 128 + 16, &mut plan);
        match (way.touched, answer.flatten()) {
            (false, Some(from_alice)) => {
                let to_bob = asking.join().expect("no panic").expect("a connection");
                talk(to_bob, from_alice, way, &mut plan);
            }
            (touched, from_alice) => {
                way.end();
                let error = asking.join().expect("no panic").expect_err("no connection");
                is_clean(&error);
                let told =
                    matches!(&error, Error::Denied { reason: Some(word), .. } if word == "no");
                assert!(touched || told, "{error}");
                if let Some(from_alice) = from_alice {
                    let ended = from_alice.recv_timeout(DEADLINE);
                    assert!(ended.is_err() && from_alice.close_reason().is_some());
                }
            }
        }
    });
    assert!(scene.bob.offers().try_recv().is_err());
    for event in scene
        .alice
        .events()
        .try_iter()
        .chain(scene.bob.events().try_iter())
    {
        if let Event::HandshakeFailed { reason, .. } | Event::Denied { reason, .. } = event {
            is_clean(&reason);
        }
    }
}

fn talk(
    to_bob: Connection<Bytes>,
    from_alice: Connection<Bytes>,
    mut way: Way,
    plan: &mut Plan<'_>,
) {
    assert!(to_bob.is_secure() && from_alice.is_secure());
    let count = plan.byte() % 4;
    let messages = (0..count).map(|number| vec![number; plan.up_to(2000)]);
    let messages: Vec<Vec<u8>> = messages.collect();
    let closed = std::thread::scope(|scope| {
        let closing = scope.spawn(|| {
            for message in &messages {
                to_bob.send(message).expect("it is open");
            }
            to_bob.close()
        });
        way.pass(There, usize::MAX, plan);
        let received = std::iter::from_fn(|| from_alice.recv_timeout(DEADLINE).ok());
        let received: Vec<Vec<u8>> = received.collect();
        let reason = from_alice.close_reason().expect("it has ended");
        match way.touched {
            false => assert_eq!(
                (received, reason),
                (messages.clone(), CloseReason::ClosedThere)
            ),
            true => {
                assert!(messages.starts_with(&received));
                let noticed = [CloseReason::Forged, CloseReason::Cut];
                assert!(noticed.contains(&reason), "{reason}");
            }
        }
        drop(from_alice);
        way.pass(Back, usize::MAX, plan);
        let touched = way.touched;
        way.end();
        let closed = closing.join().expect("no panic");
        assert_eq!(closed.is_ok(), !touched, "{closed:?}");
        closed
    });
    if let Err(error) = closed {
        is_clean(&error);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    There,
    Back,
}
use Direction::{Back, There};

/// Between the two.
struct Way {
    near: TcpStream,
    far: TcpStream,
    /// Something has been changed.
    touched: bool,
}

impl Way {
    fn new(scene: &Scene) -> Way {
        let (near, _) = scene.listener.accept().expect("she connects");
        let far = TcpStream::connect(scene.bob.local_addr()).expect("he listens");
        for socket in [&near, &far] {
            socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
            socket.set_nodelay(true).expect("an option");
        }
        Way {
            near,
            far,
            touched: false,
        }
    }

    /// Passes on so many bytes, or those before the end, and the end.
    fn pass(&mut self, direction: Direction, len: usize, plan: &mut Plan<'_>) {
        let (from, mut to) = match direction {
            There => (&self.near, &self.far),
            Back => (&self.far, &self.near),
        };
        let mut bytes = Vec::new();
        let read = from.take(len as u64).read_to_end(&mut bytes);
        let silent = read
            .as_ref()
            .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(
            !silent,
            "neither more nor an end after {} bytes",
            bytes.len()
        );
        let changed = changed(&bytes, plan);
        self.touched |= changed != bytes;
        let _ = to.write_all(&changed);
        if read.is_err() {
            let _ = SockRef::from(to).set_linger(Some(Duration::ZERO));
            let _ = to.shutdown(Shutdown::Both);
        } else if bytes.len() < len || changed.len() < len {
            let _ = to.shutdown(Shutdown::Write);
        }
    }

    /// Lets both go on to their ends, without another word.
    fn end(&mut self) {
        let _ = self.near.shutdown(Shutdown::Write);
        let _ = self.far.shutdown(Shutdown::Write);
        for mut socket in [&self.near, &self.far] {
            let _ = std::io::copy(&mut socket, &mut std::io::sink());
        }
    }
}

/// Never longer: what is behind a part would be the next one.
fn changed(bytes: &[u8], plan: &mut Plan<'_>) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let what = plan.byte() % 16;
    if bytes.is_empty() {
        return changed;
    }
    let at = match what {
        1..=6 => plan.up_to(65_535) % bytes.len(),
        _ => 0,
    };
    match what {
        1 | 2 => changed[at] ^= plan.byte(),
        3 => changed.truncate(at),
        4 => {
            let len = plan.up_to(bytes.len() - at);
            let other = plan.bytes(len);
            changed[at..at + other.len()].copy_from_slice(other);
        }
        5 => changed.rotate_left(at),
        6 => drop(changed.remove(at)),
        7 => {
            // In ACCEPT and HELLO.
            let (old, new) = match plan.flag() {
                true => ("secure=aes|||", "secure=chacha"),
                false => ("secure=aes", "strict=aes"),
            };
            let (old, new) = (old.as_bytes(), new.as_bytes());
            if let Some(at) = bytes.windows(old.len()).position(|text| text == old) {
                changed[at..at + new.len()].copy_from_slice(new);
            }
        }
        8 => {
            let deny = format!("{:|<128}", "DENY|reason=busy");
            changed = deny.into_bytes();
            changed.truncate(bytes.len());
        }
        _ => {}
    }
    changed
}

/// Both peers, and where the one on the way listens: the same for all runs.
struct Scene {
    alice: Peer,
    bob: Peer,
    listener: TcpListener,
}

impl Scene {
    /// One run at a time: each takes what it caused out of the peers' queues.
    fn alone() -> std::sync::MutexGuard<'static, Scene> {
        static SCENE: OnceLock<Mutex<Scene>> = OnceLock::new();
        let scene = SCENE.get_or_init(|| {
            let secret = "008J-4CT4-ANK7-F24S-NAXW-SQFE-ZWEA".parse::<Secret>();
            let secret = secret.expect("a secret");
            let other = Secret::random().expect("random numbers");
            let peer = || {
                Peer::builder()
                    .invisible(true)
                    .timeout(DEADLINE)
                    .close_timeout(DEADLINE)
                    // Each side speaks its last before it hears the other's: so one direction can be
                    // passed on after the other.
                    .text_headers(true)
            };
            let alice = peer().secret(secret.clone());
            let bob = peer().secret(other).accept_secret(secret);
            Mutex::new(Scene {
                alice: alice.bind("127.0.0.1:0").expect("a free port"),
                bob: bob.bind("127.0.0.1:0").expect("a free port"),
                listener: TcpListener::bind("127.0.0.1:0").expect("a free port"),
            })
        });
        scene.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer<T>(&self, decide: impl FnOnce(Offer) -> Result<T, Error>) -> T {
        let offer = self.bob.offers().recv_timeout(DEADLINE).expect("an offer");
        assert!(offer.is_secure());
        decide(offer).expect("it waits")
    }
}
