//! What lanpeer sends when it connects, and what it takes for an answer.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use lanpeer::{Bytes, ConnectOptions, Error, Format, Json, Peer, Raw};

use super::common::wire::{HEADER, WireListener, data, header, json};
use super::common::{builder, peer, receive};
use super::{answered, connecting};

#[test]
fn hello_byte_for_byte() {
    let alice = builder().name("alice").service("chat");
    let plain = alice
        .clone()
        .text_headers(true)
        .bind("127.0.0.1:0")
        .unwrap();
    let (alice, listener) = (alice.bind("127.0.0.1:0").unwrap(), WireListener::bind());
    let me = alice.local_addr().to_string();
    let plain_me = plain.local_addr().to_string();
    for (data_type, strict, flag) in [
        ("json", true, "1"),
        ("json", false, ""),
        ("bytes", true, "1"),
        ("raw", true, "1"),
    ] {
        let options = ConnectOptions::new().strict(strict);
        let expected =
            format!("HELLO|address_name={me}&peer_name={me}&data_type={data_type}&strict={flag}");
        let frames = [
            header(&format!("{expected}&v=2&who=1")),
            header(&format!("WHO|id={}&name=alice&service=chat", alice.id())),
        ];
        for (peer, expected) in [
            (&alice, frames.concat()),
            (
                &plain,
                header(&format!("{}&v=1", expected.replace(&me, &plain_me))).to_vec(),
            ),
        ] {
            let denied = match data_type {
                "json" => hello_of::<Json<String>>(peer, &listener, options.clone(), &expected),
                "bytes" => hello_of::<Bytes>(peer, &listener, options.clone(), &expected),
                _ => hello_of::<Raw<String>>(peer, &listener, options.clone(), &expected),
            };
            assert!(
                matches!(denied, Error::Denied { reason: None, .. }),
                "{denied:?}"
            );
        }
    }
}

fn hello_of<F: Format>(
    alice: &Peer,
    listener: &WireListener,
    options: ConnectOptions,
    expected: &[u8],
) -> Error {
    let connecting = connecting::<F>(alice, listener.addr(), options);
    let mut wire = listener.accept();
    let read = wire.read(expected.len());
    assert_eq!(
        read.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
    wire.write(&header("DENY"));
    connecting.wait("connect").expect_err("denied")
}

#[test]
fn hello_of_a_stream() {
    let (alice, listener) = (peer(), WireListener::bind());
    let from_first = ConnectOptions::new().stream();
    let of = ConnectOptions::new().stream_of(2048);
    for (options, size) in [(from_first, None), (of, Some("2048"))] {
        let _connecting = connecting::<Bytes>(&alice, listener.addr(), options);
        let hello = listener.accept().fields();
        assert_eq!(hello.get("stream"), Some("1"));
        assert_eq!(hello.get("data_size"), size);
    }
}

/// The header with everything in it is too long for the longest addresses.
#[test]
fn hello_leaves_out_the_second_name_where_both_do_not_fit() {
    let longest = Ipv4Addr::new(127, 100, 100, 100);
    let Ok(alice) = builder().bind((IpAddr::from(longest), 0)) else {
        return; // only Linux has all of 127/8
    };
    let me = alice.local_addr();
    if me.port() < 10_000 {
        return; // a digit less, and it fits
    }
    let listener = WireListener::bind();
    let options = ConnectOptions::new().stream_of(60_000_000);
    let _connecting = connecting::<Bytes>(&alice, listener.addr(), options);
    let hello = listener.accept().fields();
    assert_eq!(hello.get("address_name"), None);
    assert_eq!(hello.get("peer_name"), Some(me.to_string().as_str()));
    assert_eq!(hello.get("data_size"), Some("60000000"));
    assert_eq!(hello.get("v"), Some("2"));
}

#[test]
fn accept_in_all_its_forms() {
    let alice = peer();
    for answer in [
        header("ACCEPT").as_slice(),
        &header("ACCEPT|v=1"),
        &header("ACCEPT|colour=blue"),
        b"ACCEPT\n",
        b"ACCEPT|v=1\n",
        b"ACCEPT",
    ] {
        let (mut wire, result) = answered::<Json<String>>(&alice, ConnectOptions::new(), answer);
        let conn = result.expect("accepted");
        conn.send("out").expect("send");
        assert_eq!(wire.read(HEADER + 14), json("\"out\""));
        wire.write(&json("\"in\""));
        assert_eq!(receive(&conn), "in");
    }
}

#[test]
fn accept_in_pieces() {
    let (alice, listener) = (peer(), WireListener::bind());
    let connecting = connecting::<Bytes>(&alice, listener.addr(), ConnectOptions::new());
    let mut wire = listener.accept();
    wire.fields();
    wire.write(&header("ACCEPT|v=1")[..5]);
    wire.write(&header("ACCEPT|v=1")[5..]);
    let conn = connecting.wait("connect").expect("accepted");
    wire.write_byte_by_byte(&data("bytes", b"in"));
    assert_eq!(receive(&conn), b"in");
}

#[test]
fn messages_that_come_with_the_accept_are_not_lost() {
    let alice = peer();
    let mut answer = header("ACCEPT|v=1").to_vec();
    answer.extend(json("\"first\""));
    answer.extend(json("\"second\""));
    let (_wire, result) = answered::<Json<String>>(&alice, ConnectOptions::new(), &answer);
    let conn = result.expect("accepted");
    assert_eq!(receive(&conn), "first");
    assert_eq!(receive(&conn), "second");
}

#[test]
fn deny_in_all_its_forms() {
    let alice = peer();
    for (answer, expected) in [
        (header("DENY").as_slice(), None),
        (b"DENY\n", None),
        (b"DENY", None),
        (&header("DENY|reason=busy"), Some("busy")),
        (b"DENY|reason=busy\n", Some("busy")),
    ] {
        let (wire, result) = answered::<Json<String>>(&alice, ConnectOptions::new(), answer);
        let addr = wire.local_addr();
        match result.err() {
            Some(Error::Denied {
                addr: by, reason, ..
            }) => {
                assert_eq!((by, reason.as_deref()), (addr, expected));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn without_an_answer_the_connect_gives_up() {
    let (alice, listener) = (peer(), WireListener::bind());
    let options = ConnectOptions::new().timeout(Duration::from_millis(150));
    let connecting = connecting::<Bytes>(&alice, listener.addr(), options);
    let mut wire = listener.accept();
    wire.fields();
    match connecting.wait("connect").err() {
        Some(Error::TimedOut { addr, after }) => {
            assert_eq!((addr, after), (listener.addr(), Duration::from_millis(150)));
        }
        other => panic!("{other:?}"),
    }
    wire.end();
}

#[cfg(not(feature = "pickle"))]
#[test]
fn raw_needs_a_lanpeer_or_a_feature() {
    let alice = peer();
    let (mut wire, result) = answered::<Raw<u8>>(&alice, ConnectOptions::new(), &header("ACCEPT"));
    match result.err() {
        Some(Error::FeatureMissing { feature, .. }) => assert_eq!(feature, "pickle"),
        other => panic!("{other:?}"),
    }
    wire.end();
}
