//! A tour: two peers in one process meet on loopback, exchange all three data
//! types, stream, refuse each other once, and part with reasons. At the end one
//! speaks the protocol of the manual to a bare socket, which prints it.
//!
//!     cargo run --example tour
//!
//! It needs nothing and ends by itself. `RUST_LOG=lanpeer=debug` in front of
//! the command shows what the library does meanwhile.

use lanpeer::{Bytes, ConnectOptions, Connection, Error, Format, Json, Peer, Raw};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// What the sensor of this tour measures. Any serde type can be a message.
#[derive(Debug, Serialize, Deserialize)]
struct Reading {
    place: String,
    celsius: f64,
}

fn main() -> Outcome {
    env_logger::init();

    title("Two peers");
    let alice = Peer::bind("127.0.0.1:0")?; // port 0: the system picks a free one
    let bob = Peer::bind("127.0.0.1:0")?;
    say("alice", format!("I listen on {}", alice.local_addr()));
    say("bob", format!("and I on {}", bob.local_addr()));

    title("json: any serde type, readable on the wire");
    let (to_bob, to_alice) = meet::<Json<Reading>>(&alice, &bob, &ConnectOptions::new())?;
    let (place, celsius) = ("kitchen".to_owned(), 21.5);
    let reading = Reading { place, celsius };
    to_bob.send(&reading)?;
    say("alice", format!("sent     {reading:?}"));
    say("bob", format!("received {:?}", to_alice.recv()?));
    to_bob.close()?; // Ok: bob has taken in everything
    how_it_ended(&to_bob, &to_alice);

    title("raw: the same serde types, smaller on the wire (MessagePack)");
    let (to_bob, to_alice) = meet::<Raw<Vec<Reading>>>(&alice, &bob, &ConnectOptions::new())?;
    to_bob.send(&[reading][..])?; // a Vec<T> is sent from any slice
    say("bob", format!("received {:?}", to_alice.recv()?));
    let size = to_bob.stats().bytes_sent;
    say("alice", format!("that took {size} bytes"));
    to_alice.close()?; // either side may close
    how_it_ended(&to_bob, &to_alice);

    title("bytes: as they are");
    let (to_bob, to_alice) = meet::<Bytes>(&alice, &bob, &ConnectOptions::new())?;
    for word in ["one", "two", "three"] {
        to_bob.send(word.as_bytes())?;
    }
    to_bob.close()?; // what was sent before still arrives
    for message in &to_alice {
        say("bob", format!("received {:?}", String::from_utf8(message)?));
    }
    how_it_ended(&to_bob, &to_alice);

    title("A stream: messages of one size, without a header each");
    let frame = [7u8; 64 * 48];
    let options = ConnectOptions::new().stream_of(frame.len());
    let (to_bob, to_alice) = meet::<Bytes>(&alice, &bob, &options)?;
    let camera = thread::spawn(move || -> Outcome {
        for _ in 0..1_000 {
            to_bob.send(&frame)?;
        }
        say("alice", "sent 1000 frames");
        if let Err(refused) = to_bob.send(b"too short") {
            say("alice", format!("a frame of another size: {refused}"));
        }
        Ok(to_bob.close()?)
    });
    let frames = to_alice.iter().count();
    camera.join().expect("alice's thread panicked")?;
    say("bob", format!("received {frames} frames"));

    title("No");
    let bobs_word = thread::spawn({
        let bob = bob.clone(); // a second handle to the same peer
        move || bob.incoming().next().map(|offer| offer.deny("not-today"))
    });
    let Err(Error::Denied { reason, .. }) = alice.connect::<Bytes>(bob.local_addr()) else {
        return Err("bob was to deny".into());
    };
    say("alice", format!("denied, reason {reason:?}"));
    let denied = bobs_word.join().expect("bob's thread panicked");
    denied.transpose()?;

    title("Each side knows why a connection ended");
    let (to_bob, to_alice) = meet::<Json<String>>(&alice, &bob, &ConnectOptions::new())?;
    to_bob.abort(); // at once; what is on its way is lost
    how_it_ended(&to_bob, &to_alice);
    let (to_bob, to_alice) = meet::<Json<String>>(&alice, &bob, &ConnectOptions::new())?;
    bob.stop(); // closes all its connections, wakes every blocked call
    how_it_ended(&to_bob, &to_alice);

    title("what is on the wire, in the manual's protocol");
    let teacher = Peer::builder().text_headers(true).bind("127.0.0.1:0")?;
    let listener = TcpListener::bind("127.0.0.1:0")?; // no lanpeer: a bare socket
    let addr = listener.local_addr()?;
    let speaking = thread::spawn(move || -> Outcome {
        let conn = teacher.connect::<Json<String>>(addr)?;
        conn.send("hello")?;
        Ok(conn.close()?) // waits until the other side has closed as well
    });
    let (mut socket, _) = listener.accept()?;
    let mut hello = [0; 128];
    socket.read_exact(&mut hello)?;
    say(
        "wire",
        String::from_utf8_lossy(&hello).trim_end_matches('|'),
    );
    socket.write_all(format!("{:|<128}", "ACCEPT|v=1").as_bytes())?;
    let mut rest = String::new();
    socket.read_to_string(&mut rest)?; // the message, until the end
    let (header, payload) = rest.split_at(128);
    say("wire", header.trim_end_matches('|'));
    say("wire", payload);
    drop(socket);
    speaking.join().expect("the teacher panicked")?;

    println!("\nThat was all. Next: examples/hello_world.rs, docs/start.md");
    Ok(())
}

/// Alice connects, Bob accepts. Both calls block until the other side is there,
/// so one of them runs on a thread of its own, as it does in real programs.
fn meet<F: Format>(
    alice: &Peer,
    bob: &Peer,
    options: &ConnectOptions,
) -> Result<(Connection<F>, Connection<F>), Error> {
    let bob_thread = thread::spawn({
        let bob = bob.clone();
        move || bob.accept::<F>()
    });
    let to_bob = options.connect::<F>(alice, bob.local_addr())?;
    let to_alice = bob_thread.join().expect("bob's thread panicked")?;
    say("alice", format!("connected: {}", to_bob.data_type()));
    Ok((to_bob, to_alice))
}

/// Waits until each side has seen the end of the connection, and prints why.
fn how_it_ended<F: Format>(to_bob: &Connection<F>, to_alice: &Connection<F>) {
    for (who, conn) in [("alice", to_bob), ("bob", to_alice)] {
        while conn.recv().is_ok() {} // recv fails once the connection has ended
        if let Some(reason) = conn.close_reason() {
            say(who, format!("ended: {reason}"));
        }
    }
}

fn title(text: &str) {
    println!("\n{text}");
}

fn say(who: &str, what: impl AsRef<str>) {
    println!("  {who:>5}: {}", what.as_ref());
}
