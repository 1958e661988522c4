use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::Error;
use crate::event::Event;
use crate::format::DataType;
use crate::net::handshake::client::{Client, Failure, Request};
use crate::net::handshake::{Input, Machine, Step};
use crate::options::Settings;
use crate::peer::Peer;
use crate::secure::Secret;

const SOON: Duration = Duration::from_secs(20);

/// A client with the secret that sends behind its proof, before it has its answer.
#[test]
fn an_encrypted_client_that_sends_before_its_answer_is_refused() {
    let secret = Secret::random().unwrap();
    let builder = Peer::builder().invisible(true).timeout(SOON);
    let bob = builder.secret(secret.clone()).bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(addr) = bob.local_addr() else {
        panic!()
    };
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();

    let mut settings = Settings::default();
    settings.secrets.set(secret);
    let request = Request {
        data_type: DataType::Bytes,
        strict: true,
        stream: None,
        timeout: SOON,
        in_the_clear: false,
    };
    let own = "127.0.0.1:40000".parse().unwrap();
    let client = Client::new(&settings, own, Ipv4Addr::LOCALHOST, addr, request);
    let (mut client, hello) = client.unwrap();
    socket.write_all(&hello).unwrap();
    let mut step = client.take(Input::Bytes(&[]));
    let outcome = loop {
        step = match step {
            Step::Read { most, .. } => {
                let mut bytes = vec![0; most];
                let len = socket.read(&mut bytes).unwrap();
                client.take(Input::Bytes(&bytes[..len]))
            }
            Step::Write(proof) => {
                socket.write_all(&[&proof[..], b"x"].concat()).unwrap();
                client.take(Input::Written)
            }
            Step::Over(outcome) => break outcome,
        };
    };
    match outcome {
        Err(Failure {
            error: Error::Denied { reason, .. },
            ..
        }) => assert_eq!(reason.as_deref(), Some("malformed")),
        _ => panic!("not denied"),
    }
    match bob.events().recv_timeout(SOON).unwrap() {
        Event::HandshakeFailed { reason, .. } => {
            assert_eq!(reason, "it sent encrypted data before it had an answer");
        }
        event => panic!("{event:?}"),
    }
    let offer = bob.offers().recv_timeout(SOON).unwrap();
    let accepted = offer.accept::<crate::format::Bytes>().map(|_| "accepted");
    assert!(matches!(accepted, Err(Error::Withdrawn)), "{accepted:?}");
}
