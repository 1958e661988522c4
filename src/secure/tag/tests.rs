//! With the vectors of tests/secure/tags.txt, made by a program that has nothing in common with this code.

use super::*;
use crate::proto::beacon::{Beacon, Pong};
use crate::proto::tag::{self, Number, Tagged};

const TEXT: &str = include_str!("../../../tests/secure/tags.txt");

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    assert_eq!(hex.len(), 2 * N);
    std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
}

fn other() -> Secret {
    Secret::of_bytes([7; 16])
}

#[test]
fn the_vectors() {
    let mut seen = 0;
    for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
        seen += 1;
        let [secret, number, question, datagram] = line.splitn(4, ' ').collect::<Vec<_>>()[..]
        else {
            panic!("{line}")
        };
        let secret: Secret = secret.parse().unwrap();
        let number = match number.len() {
            16 => Number::Nonce(bytes(number)),
            _ => Number::Count(u64::from_str_radix(number, 16).unwrap()),
        };
        let question = (question != "-").then(|| bytes::<8>(question));
        let keys = TagKeys::new(&secret, &[]);
        // Read,
        let padding = "|".repeat(128 - datagram.len());
        let padded = format!("{datagram}{padding}");
        let tagged = Tagged::parse(padded.as_bytes()).expect(line);
        assert_eq!(tagged.number, number, "{line}");
        let covered = tagged.covered(question.as_ref());
        assert!(keys.check(&covered, &tagged.tag), "{line}");
        assert!(!TagKeys::new(&other(), &[]).check(&covered, &tagged.tag));
        assert!(TagKeys::new(&other(), &[secret]).check(&covered, &tagged.tag));
        // and written.
        let beacon = Beacon::parse(datagram.as_bytes()).expect(line);
        let mac = |covered: &[u8]| keys.tag(covered);
        let written = tag::write(&beacon, number, question.as_ref(), mac).expect(line);
        let written = String::from_utf8(written.to_vec()).unwrap();
        assert_eq!(written.trim_end_matches('|'), datagram);
        assert_eq!(
            matches!(beacon, Beacon::Pong(Pong { .. })),
            question.is_some()
        );
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn the_key_is_not_that_of_the_handshake_and_each_secret_has_its_own() {
    let secret = Secret::of_bytes([1; 16]);
    let keys = TagKeys::new(&secret, &[]);
    let covered = b"HERE";
    let of_psk = hmac_sha256(&secret.psk()[..], &[covered]);
    assert_ne!(keys.tag(covered)[..], of_psk[..7]);
    assert_ne!(keys.tag(covered), TagKeys::new(&other(), &[]).tag(covered));
}

#[test]
fn counts_begin_higher_at_each_start_and_leave_room() {
    let first = first_count();
    let second = (0..u32::MAX)
        .map(|_| first_count())
        .find(|count| *count != first);
    let second = second.expect("a clock that goes on");
    assert!(second > first && second < COUNT_MAX / 256 * 255);
    assert_ne!(nonce(), nonce());
}
