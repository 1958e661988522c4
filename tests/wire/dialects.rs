//! The frozen bytes of each dialect, `dialects.txt`: played by a bare socket, with lanpeer on the other
//! side. What stands there is never changed; a conversation that fails is a program out there that this
//! version cannot talk with.

use std::net::{SocketAddr, UdpSocket};
use std::thread;

use lanpeer::{CloseError, Connection, Encode, Error, Format, Json, Peer, Raw};

use super::common::wire::{End, HEADER, Wire, WireListener, header, shown};
use super::common::{DEADLINE, Task, builder, ended, next_offer, receive, spawn};
use super::{ConnectOptions, Connecting, connecting};

const TEXT: &str = include_str!("dialects.txt");

#[test]
fn the_frozen_bytes_of_each_dialect() {
    // Side by side, since they wait for what must not come. A failure is told with the thread's name.
    thread::scope(|scope| {
        let played = TEXT.split("\n== ").skip(1).map(|text| {
            let (title, steps) = text.split_once('\n').expect("steps");
            let thread = thread::Builder::new().name(title.to_owned());
            let playing = thread.spawn_scoped(scope, move || play(title, steps));
            playing.expect("a thread")
        });
        assert_eq!(played.count(), 17, "a conversation is never taken out");
    });
}

/// Plays one conversation. The last lines that a failure shows are where it stands.
fn play(title: &str, steps: &str) {
    eprintln!("{title}");
    let steps: Vec<&str> = steps.lines().collect();
    let (side, name) = title.split_once(": ").expect("a name");
    match side {
        "found json" => found(&steps),
        "asked json" => asked::<Json<u32>>(&steps),
        "asked raw" => asked::<Raw<u32>>(&steps),
        "asking json" => asking::<Json<u32>>(&steps, false),
        "asking-text json" => asking::<Json<u32>>(&steps, true),
        _ => panic!("{side}, in {name}"),
    }
}

/// Who acts in this line, and the words; `None` of a comment or a blank line.
fn step(line: &str) -> Option<(char, &str)> {
    let mut chars = line.chars();
    let who = chars.next().filter(|who| "<>*".contains(*who))?;
    Some((who, chars.as_str().trim_start()))
}

/// What stands for the bytes that differ from run to run.
struct Names {
    wire: SocketAddr,
    peer: SocketAddr,
    id: String,
}

impl Names {
    fn new(wire: SocketAddr, peer: &Peer) -> Names {
        Names {
            wire,
            peer: peer.local_addr(),
            id: peer.id().to_string(),
        }
    }

    fn bytes(&self, words: &str) -> Vec<u8> {
        let (form, text) = words.split_once(' ').unwrap_or((words, ""));
        let hex = |byte| u8::from_str_radix(byte, 16).expect("a byte");
        let text = text
            .replace("{wire}", &self.wire.to_string())
            .replace("{peer}", &self.peer.to_string())
            .replace("{id}", &self.id);
        match form {
            "H" => header(&text).to_vec(),
            "T" => text.into_bytes(),
            "X" => text.split(' ').map(hex).collect(),
            _ => panic!("{words}"),
        }
    }
}

fn frozen(text_headers: bool) -> Peer {
    let builder = builder().name("frozen").service("dialects");
    let builder = builder.text_headers(text_headers);
    builder.bind("127.0.0.1:0").expect("a free port")
}

fn asked<F: Format<Item = u32>>(steps: &[&str])
where
    u32: Encode<F>,
{
    let peer = frozen(false);
    let wire = Wire::connect(peer.local_addr());
    let names = Names::new(wire.local_addr(), &peer);
    Play::<F>::new(peer, wire, None).all(steps, &names);
}

fn asking<F: Format<Item = u32>>(steps: &[&str], text_headers: bool)
where
    u32: Encode<F>,
{
    let peer = frozen(text_headers);
    let listener = WireListener::bind();
    let calling = connecting::<F>(&peer, listener.addr(), ConnectOptions::new());
    let names = Names::new(listener.addr(), &peer);
    Play::new(peer, listener.accept(), Some(calling)).all(steps, &names);
}

/// One conversation over TCP, as far as it has come.
struct Play<F: Format> {
    peer: Peer,
    wire: Wire,
    calling: Option<Connecting<F>>,
    conn: Option<Connection<F>>,
    closing: Option<Task<Result<(), CloseError>>>,
}

impl<F: Format<Item = u32>> Play<F>
where
    u32: Encode<F>,
{
    fn new(peer: Peer, wire: Wire, calling: Option<Connecting<F>>) -> Play<F> {
        Play {
            peer,
            wire,
            calling,
            conn: None,
            closing: None,
        }
    }

    fn all(mut self, steps: &[&str], names: &Names) {
        for (who, words) in steps.iter().filter_map(|line| step(line)) {
            eprintln!("  {who} {words}");
            match (who, words) {
                ('<', "FIN") => self.wire.fin(),
                ('<', words) => self.wire.write(&names.bytes(words)),
                ('>', "FIN") => assert_eq!(self.wire.end(), End::Fin),
                ('>', "RST") => assert_eq!(self.wire.end(), End::Reset),
                ('>', words) => {
                    let expected = names.bytes(words);
                    let read = self.wire.read(expected.len());
                    assert!(read == expected, "{} came", shown(&read));
                }
                (_, words) => self.program(words),
            }
        }
    }

    /// What the program does that uses lanpeer, or sees.
    fn program(&mut self, words: &str) {
        let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
        let number = || rest.parse::<u32>().expect("a number");
        match verb {
            "accept" => self.conn = Some(next_offer(&self.peer).accept().expect("accept")),
            "deny" => next_offer(&self.peer).deny(rest).expect("deny"),
            "connected" => self.conn = Some(self.called().expect("accepted")),
            "denied" => match self.called() {
                Err(Error::Denied { reason, .. }) => assert_eq!(reason.as_deref(), Some(rest)),
                other => panic!("{other:?}"),
            },
            "recv" => assert_eq!(receive(self.conn()), number()),
            "send" => self.conn().send(&number()).expect("send"),
            "answer" => {
                let (asked, answer) = rest.split_once(' ').expect("two numbers");
                let requests = self.conn().requests();
                let request = requests.recv_timeout(DEADLINE).expect("a request");
                assert_eq!(request.item().to_string(), asked);
                let answer = answer.parse::<u32>().expect("a number");
                request.reply(&answer).expect("reply");
            }
            "closing" | "close" => {
                let conn = self.conn().clone();
                self.closing = Some(spawn(move || conn.close()));
                if verb == "close" {
                    self.program("closed");
                }
            }
            "closed" => {
                let closing = self.closing.take().expect("it is closing");
                closing.wait("close").expect("all was taken in");
            }
            "ended" => assert_eq!(format!("{:?}", ended(self.conn())), rest),
            _ => panic!("{words}"),
        }
    }

    fn called(&mut self) -> Result<Connection<F>, Error> {
        self.calling.take().expect("it connects").wait("connect")
    }

    fn conn(&self) -> &Connection<F> {
        self.conn.as_ref().expect("a connection")
    }
}

/// The bare socket sends datagrams to a discovery port that one peer alone has.
fn found(steps: &[&str]) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let free = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("its address").port();
    drop(free); // the datagrams are for the peer
    let builder = Peer::builder().name("frozen").service("dialects");
    let peer = builder.discovery_port(port).bind("127.0.0.1:0");
    let peer = peer.expect("a free port");
    let names = Names::new(socket.local_addr().expect("its address"), &peer);
    for (who, words) in steps.iter().filter_map(|line| step(line)) {
        let bytes = names.bytes(words);
        if who == '<' {
            let sent = socket.send_to(&bytes, ("127.0.0.1", port));
            assert_eq!(sent.expect("send"), bytes.len());
        } else {
            let mut buffer = [0; 2 * HEADER];
            let (len, _) = socket.recv_from(&mut buffer).expect("an answer");
            let came = &buffer[..len];
            assert!(came == bytes, "{} came", shown(came));
        }
    }
}
