//! The vectors were made by `tests/secure/vectors.py`, which has nothing in common with this code.

use super::*;

#[test]
fn the_test_vectors() {
    let text = include_str!("../../../../tests/secure/vectors.txt");
    let mut count = 0;
    for vector in text.split("\n\n").filter(|part| part.contains("secret = ")) {
        let value = |key: &str| {
            let mut lines = vector.lines().filter_map(|line| line.split_once(" = "));
            let found = lines.find(|(name, _)| *name == key);
            found.unwrap_or_else(|| panic!("{key}")).1.to_owned()
        };
        let bytes = |key: &str| hex(&value(key));
        let secret: Secret = value("secret").parse().unwrap();
        let suite = match value("suite").as_str() {
            "aes" => Suite::Aes,
            _ => Suite::ChaCha,
        };
        let own = vector
            .lines()
            .filter_map(|line| line.strip_prefix("bobs_secret = "));
        let mut bobs = Trust::default();
        bobs.set(secret.clone());
        for (number, text) in own.enumerate() {
            match number {
                0 => bobs.set(text.parse().unwrap()),
                _ => bobs.accept(text.parse().unwrap()),
            }
        }
        let passphrase = secret.is_passphrase();
        if !passphrase {
            assert_eq!(secret.psk()[..], bytes("psk"));
        }
        let (hello, accept) = (value("hello"), value("accept"));
        let (hello, accept) = (hello.as_bytes(), accept.as_bytes());
        assert_eq!((hello.len(), accept.len()), (128, 128));
        let key = |name| <[u8; 32]>::try_from(bytes(name)).unwrap();
        let bobs_key = key("bob_ephemeral");
        let identity = |name| {
            let private = Box::new(crate::secure::noise::Key::new(key(name)));
            Identity::of(private)
        };
        let has = |name: &str| vector.contains(&format!("\n{name} = "));
        let keys = keys(has("alice_static"), has("bob_static"));
        let scalars = |name: &str| {
            let lines = vector.lines().filter_map(|line| line.split_once(" = "));
            let such = lines.filter(|(key, _)| *key == name);
            such.map(|(_, value)| hex(value).try_into().unwrap())
                .collect()
        };
        let beginning = Beginning {
            suite,
            keys,
            passphrase,
            hello,
            accept,
        };
        if keys.bobs {
            bobs.set_identity(identity("bob_static"));
        }
        let mut fixed = Fixed {
            ephemeral: bobs_key,
            scalars: scalars("bob_scalar"),
            word: [0; 32],
        };
        let begun = beginning.begin_with(&bobs, Some(&fixed));
        let (asked, first) = begun.unwrap_or_else(|_| panic!());
        assert_eq!(first[..], bytes("message_1"));
        fixed.ephemeral = key("alice_ephemeral");
        if passphrase {
            fixed.scalars = scalars("alice_scalar");
            fixed.word = key("word");
        }
        let alices = keys.alices.then(|| identity("alice_static"));
        let joining = Joining {
            suite,
            keys,
            secret: &secret,
            identity: alices.as_ref(),
            hello,
            accept,
            shares: if passphrase { bobs.count(true) } else { 0 },
        };
        let payload = bytes("payload_2");
        let joined = joining.answer_with(&first, &payload, Some(&fixed));
        let (second, joined) = joined.ok().unwrap();
        assert_eq!(second[..], bytes("message_2"));
        let (mut bob, seen) = asked.finish(&bobs, &second).ok().unwrap();
        assert_eq!(seen, payload);
        assert_eq!(bob.first, bytes("message_3"));
        let mut alice = match joined {
            Joined::Whole(session) => session,
            Joined::Waits(waiting) => {
                let third = (&bob.first[..]).try_into().unwrap();
                waiting.finish(third).ok().unwrap()
            }
        };
        assert_eq!(alice.proof.binding[..], bytes("hash"));
        assert_eq!(bob.proof.binding, alice.proof.binding);
        let mut record = Vec::new();
        bob.sealer
            .seal(&bytes("bob_plain_0"), b"", &mut record)
            .unwrap();
        assert_eq!(record, bytes("bob_record_0"));
        alice.opener.open(&mut record).unwrap();
        let plain = bytes("alice_plain");
        for number in 0..65536 {
            record.clear();
            alice.sealer.seal(&plain, b"", &mut record).unwrap();
            if number == 0 || number == 65535 {
                assert_eq!(record, bytes(&format!("alice_record_{number}")));
            }
        }
        record.clear();
        alice.sealer.end(&mut record).unwrap();
        assert_eq!(record, bytes("alice_end_65536"), "with the next key");
        count += 1;
    }
    assert_eq!(count, 12);
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}
