//! What is no HELLO, and what is no answer to one.

use std::time::Duration;

use lanpeer::{Bytes, ConnectOptions, Error, Json};
use serde_json::Value;

use super::arena::{Arena, is_clean};
use super::{MILLION, Then, hello};
use crate::common::wire::{HEADER, Wire, WireListener, data_header, header, json, shown};
use crate::common::{DEADLINE, builder, spawn};

fn patched(keys: &str, patch: &[u8]) -> Vec<u8> {
    let mut bytes = hello(keys);
    let at = bytes
        .windows(2)
        .position(|two| two == b"##")
        .expect("a place to patch");
    bytes.splice(at..at + patch.len(), patch.iter().copied());
    bytes.truncate(HEADER);
    bytes
}

#[test]
fn headers_that_are_no_hello_are_denied_with_a_reason() {
    let arena = Arena::new();
    let no_address = |keys: &str| header(&format!("HELLO|{keys}&data_type=json")).to_vec();
    for (bytes, reason) in [
        // not a header at all
        (vec![0; HEADER], "malformed"),
        (vec![0xff; HEADER], "malformed"),
        (vec![b'|'; HEADER], "malformed"),
        (vec![b'A'; HEADER], "malformed"),
        (b"\n".to_vec(), "malformed"),
        (b"GET / HTTP/1.1\n".to_vec(), "malformed"),
        (patched("data_type=json&x=##", b"\xff\xfe"), "malformed"),
        (patched("data_type=json&x=##", b"\xc3("), "malformed"),
        // another header
        (header("ACCEPT").to_vec(), "malformed"),
        (header("DENY|reason=busy").to_vec(), "malformed"),
        (header("PING").to_vec(), "malformed"),
        (data_header(1, "json").to_vec(), "malformed"),
        (
            header("hello|peer_name=127.0.0.1:40000&data_type=json").to_vec(),
            "malformed",
        ),
        (
            header("HELLOO|peer_name=127.0.0.1:40000&data_type=json").to_vec(),
            "malformed",
        ),
        // not key=value
        (header("HELLO").to_vec(), "malformed"),
        (hello("data_type"), "malformed"),
        (hello("data_type=json&strict"), "malformed"),
        (hello("data_type=json&&strict=1"), "malformed"),
        (hello("data_type=json&"), "malformed"),
        // a key twice
        (hello("data_type=json&data_type=json"), "malformed"),
        (hello("data_type=json&strict=1&strict=0"), "malformed"),
        (
            hello("data_type=json&peer_name=127.0.0.1:40001"),
            "malformed",
        ),
        (hello("data_type=json&later=1&later=1"), "malformed"),
        // what is needed is missing, or is no address
        (hello("strict=1"), "malformed"),
        (no_address("strict=1"), "malformed"),
        (no_address("peer_name="), "malformed"),
        (no_address("peer_name=127.0.0.1"), "malformed"),
        (no_address("peer_name=127.0.0.1:"), "malformed"),
        (no_address("peer_name=127.0.0.1:70000"), "malformed"),
        (no_address("peer_name=127.0.0.1:-1"), "malformed"),
        (no_address("peer_name=127.0.0.256:1"), "malformed"),
        (no_address("peer_name=[::1]:40000"), "malformed"),
        (no_address("peer_name=localhost:40000"), "malformed"),
        // sizes
        (hello("data_type=bytes&stream=1&data_size=0"), "malformed"),
        (hello("data_type=bytes&stream=1&data_size=-1"), "malformed"),
        (hello("data_type=bytes&stream=1&data_size="), "malformed"),
        (hello("data_type=bytes&stream=1&data_size=ten"), "malformed"),
        (hello("data_type=bytes&stream=1&data_size=+4"), "malformed"),
        (hello("data_type=bytes&stream=1&data_size=4.0"), "malformed"),
        (
            hello("data_type=bytes&stream=1&data_size=1_000"),
            "malformed",
        ),
        (
            hello(&format!(
                "data_type=bytes&stream=1&data_size=1{}",
                "0".repeat(23)
            )),
            "malformed",
        ),
        // types
        (hello("data_type=pickle"), "type"),
        (hello("data_type=Json"), "type"),
        (patched("data_type=##", b"\x1b["), "type"),
    ] {
        let mut wire = Wire::connect(arena.bob.local_addr());
        wire.write(&bytes);
        assert_eq!(wire.denied().as_deref(), Some(reason), "{}", shown(&bytes));
        wire.end();
        let told = arena.told(wire.hang_up());
        println!("{:110} {told}", shown(&bytes).trim_end_matches(['|', '"']));
        arena.is_untouched();
    }
    assert!(
        arena.bob.offers().try_recv().is_err(),
        "none of them became an offer"
    );
}

/// A stream of messages that could never be received: known at the handshake, refused there.
#[test]
fn streams_of_more_than_the_limit_are_denied() {
    let arena = Arena::with(builder().max_message_size(1_000));
    for size in ["1001", "1000000000000"] {
        let keys = format!("data_type=bytes&stream=1&data_size={size}&v=1");
        let mut wire = Wire::offer(arena.bob.local_addr(), &keys);
        let reason = wire.denied();
        assert!(reason.is_some(), "{size}");
        wire.end();
        println!("{size}: {reason:?} {}", arena.told(wire.hang_up()));
    }
    let (_wire, _conn) =
        Wire::accepted::<Bytes>(&arena.bob, "data_type=bytes&stream=1&data_size=1000&v=1");
    arena.is_untouched();
}

/// The answer may be lost where more was sent than anybody reads; the end may not.
#[test]
fn noise_instead_of_a_handshake_ends_the_connection() {
    let arena = Arena::with(builder().timeout(Duration::from_millis(600)));
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for (bytes, then) in [
        (vec![b'A'; MILLION], Then::Wait),
        (vec![b'|'; MILLION], Then::Wait),
        (vec![b'\n'; 1_000], Then::Wait),
        (vec![0xff; HEADER + 1], Then::Fin),
        (
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            Then::Wait,
        ),
        (tls.to_vec(), Then::Fin),
        (tls.to_vec(), Then::Wait),
        (tls.to_vec(), Then::Reset),
        (b"HELLO".to_vec(), Then::Fin),
        (b"H".to_vec(), Then::Fin),
        (b"H".to_vec(), Then::Reset),
    ] {
        let mut wire = Wire::connect(arena.bob.local_addr());
        let from = wire.local_addr();
        wire.write_what_goes(&bytes);
        match then {
            Then::Reset => wire.reset(),
            Then::Fin | Then::Wait => {
                if matches!(then, Then::Fin) {
                    wire.fin();
                }
                let (answer, end) = wire.rest();
                let denied = answer == header("DENY|reason=malformed");
                assert!(denied || answer.is_empty(), "{end:?} {}", shown(&answer));
                wire.hang_up();
            }
        }
        println!("{:.50}… {then:?}: {}", shown(&bytes), arena.told(from));
        arena.is_untouched();
    }
    assert!(
        arena.bob.offers().try_recv().is_err(),
        "none of them became an offer"
    );
}

#[test]
fn silence_and_dribbling_end_at_the_timeout() {
    let arena = Arena::with(builder().timeout(Duration::from_millis(600)));
    let mut silent = Wire::connect(arena.bob.local_addr());
    let mut half = Wire::connect(arena.bob.local_addr());
    half.write(b"HELLO|peer_name=127.0.");
    let mut dribbling = Wire::connect(arena.bob.local_addr());
    // Never done, and never silent for long.
    let from = dribbling.local_addr();
    let dribble = spawn(move || {
        for _ in 0..1_000 {
            dribbling.write_what_goes(b"A");
            std::thread::sleep(Duration::from_millis(20));
            if !dribbling.is_silent() {
                dribbling.rest();
                return true;
            }
        }
        false
    });
    for wire in [&mut silent, &mut half] {
        wire.rest();
        println!("{}", arena.told(wire.local_addr()));
    }
    assert!(dribble.wait("the end of a handshake that never ends"));
    println!("{}", arena.told(from));
    arena.is_untouched();
}

/// The same from the other side: what a listener may answer.
#[test]
fn answers_that_are_none_fail_the_connect() {
    let arena = Arena::new();
    let mut escape = header("DENY|reason=##[2J").to_vec();
    escape[12..14].copy_from_slice(b"\x1b\x07");
    for (bytes, then) in [
        (vec![0xff; HEADER], Then::Wait),
        (vec![b'|'; HEADER], Then::Wait),
        (vec![b'A'; MILLION], Then::Wait),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), Then::Wait),
        (
            header("HELLO|peer_name=127.0.0.1:1&data_type=json").to_vec(),
            Then::Wait,
        ),
        (header("PING").to_vec(), Then::Wait),
        (json("1"), Then::Wait),
        (header("ACCEPT|v").to_vec(), Then::Wait),
        (header("ACCEPT|v=1&v=1").to_vec(), Then::Wait),
        (header("ACCEPTED").to_vec(), Then::Wait),
        (escape, Then::Wait),
        (b"".to_vec(), Then::Fin),
        (b"".to_vec(), Then::Reset),
        (b"ACC".to_vec(), Then::Fin),
        (b"ACC".to_vec(), Then::Reset),
    ] {
        let listener = WireListener::bind();
        let (bob, addr) = (arena.bob.clone(), listener.addr());
        // The deadline is far: none of these may take until then.
        let options = ConnectOptions::new().timeout(2 * DEADLINE);
        let connecting = spawn(move || options.connect::<Json<Value>>(&bob, addr));
        let mut wire = listener.accept();
        wire.fields();
        wire.write_what_goes(&bytes);
        match then {
            Then::Wait => {}
            Then::Fin => wire.fin(),
            Then::Reset => {
                wire.reset();
                wire = Wire::connect(listener.addr());
            }
        }
        let error = connecting.wait("connect").expect_err("not accepted");
        drop(wire);
        is_clean(&error.to_string());
        println!("{:.60}… {then:?}: {error}", shown(&bytes));
        match error {
            Error::Handshake { addr: of, .. } => assert_eq!(of, addr),
            Error::Denied { addr: of, .. } => {
                assert_eq!((of, bytes.starts_with(b"DENY")), (addr, true));
            }
            other => panic!("{other:?} after {}", shown(&bytes)),
        }
        arena.is_untouched();
    }
}
