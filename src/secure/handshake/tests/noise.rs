//! The other side is `snow`, a whole implementation of Noise, in both roles: the handshake, its hash, and
//! its transport messages, which are our records.
//!
//! `snow` has the standard patterns alone. Those of ours that are standard talk to it as they are. For the
//! others there is a second way: a plain handshake state over the same symmetric state, which follows any
//! list of tokens. With the lists of standard patterns it talks to `snow`, and with our own lists it
//! talks to the handshake.

use super::super::super::noise::{Key, public_of};
use super::*;

use Token::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    E,
    S,
    Ee,
    Es,
    Se,
    Psk,
}

type Pattern = [&'static [Token]; 3];

/// Without the secret.
const NN: Pattern = [&[E], &[E, Ee], &[]];
const XN: Pattern = [&[E], &[E, Ee], &[S, Se]];
const NX: Pattern = [&[E], &[E, Ee, S, Es], &[]];
const XX: Pattern = [&[E], &[E, Ee, S, Es], &[S, Se]];

/// Where psk0, psk1 and so on have it.
fn with_psk(pattern: Pattern, place: usize) -> [Vec<Token>; 3] {
    let mut messages = pattern.map(<[Token]>::to_vec);
    match place {
        0 => messages[0].insert(0, Psk),
        place => messages[place - 1].push(Psk),
    }
    messages
}

/// Right behind the key agreement of the ephemeral keys.
fn with_pskee(pattern: Pattern) -> [Vec<Token>; 3] {
    let mut messages = pattern.map(<[Token]>::to_vec);
    messages[1].insert(2, Psk);
    messages
}

/// Noise's handshake state, section 5.3, for patterns with a secret.
struct Party {
    state: Symmetric,
    is_initiator: bool,
    psk: [u8; 32],
    s: Key,
    e: Option<Ephemeral>,
    rs: Option<[u8; 32]>,
    re: Option<[u8; 32]>,
}

impl Party {
    fn new(name: &str, suite: Suite, is_initiator: bool, psk: [u8; 32], s: Key) -> Party {
        Party {
            state: Symmetric::new(name, suite, &[HELLO, ACCEPT]),
            is_initiator,
            psk,
            s,
            e: None,
            rs: None,
            re: None,
        }
    }

    fn mix(&mut self, token: Token) {
        let own_is_static = match token {
            Psk => return self.state.mix_secret(&self.psk),
            Ee => false,
            // The first letter is the initiator's.
            Es => !self.is_initiator,
            Se => self.is_initiator,
            E | S => unreachable!(),
        };
        let theirs = match (token, own_is_static) {
            (Es | Se, false) => self.rs,
            _ => self.re,
        };
        let agreed = match own_is_static {
            true => agree(&self.s, &theirs.unwrap()),
            false => self.e.as_ref().unwrap().agree(&theirs.unwrap()),
        };
        self.state.mix_key(&agreed.unwrap()[..]);
    }

    fn write(&mut self, tokens: &[Token], payload: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        for token in tokens {
            match token {
                E => {
                    let e = Ephemeral::new(None).unwrap();
                    message.extend_from_slice(&e.public);
                    self.state.mix_public(&e.public);
                    self.e = Some(e);
                }
                S => {
                    let public = public_of(&self.s);
                    self.state.encrypt(&public, &mut message).unwrap();
                }
                token => self.mix(*token),
            }
        }
        self.state.encrypt(payload, &mut message).unwrap();
        message
    }

    fn read(&mut self, tokens: &[Token], mut message: &[u8]) -> Vec<u8> {
        for token in tokens {
            match token {
                E => {
                    let (public, rest) = message.split_first_chunk().unwrap();
                    self.state.mix_public(public);
                    (self.re, message) = (Some(*public), rest);
                }
                S => {
                    let (sealed, rest) = message.split_at(SEALED);
                    let public = self.state.decrypt(sealed).unwrap();
                    (self.rs, message) = (Some(public.try_into().unwrap()), rest);
                }
                token => self.mix(*token),
            }
        }
        self.state.decrypt(message).unwrap()
    }
}

const SUITES: [(Suite, &str); 2] = [(Suite::Aes, "AESGCM"), (Suite::ChaCha, "ChaChaPoly")];
const PAYLOADS: [&[u8]; 3] = [b"", b"who", b"the answer"];

fn random_key() -> Key {
    let mut key = Key::default();
    let identity = Identity::generate().unwrap();
    key.copy_from_slice(&identity.private()[..]);
    key
}

fn snow(name: &str, cipher: &str, place: u8, psk: &[u8; 32], s: &Key) -> [snow::HandshakeState; 2] {
    let name = format!("Noise_{name}_25519_{cipher}_SHA256");
    let prologue = [&HELLO[..], &ACCEPT[..]].concat();
    let builder = || {
        let builder = snow::Builder::new(name.parse().unwrap());
        let builder = builder.prologue(&prologue).unwrap();
        let builder = builder.local_private_key(&s[..]).unwrap();
        builder.psk(place, psk).unwrap()
    };
    [
        builder().build_initiator().unwrap(),
        builder().build_responder().unwrap(),
    ]
}

fn said(snow: &mut snow::HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut message = [0; 512];
    let len = snow.write_message(payload, &mut message).unwrap();
    message[..len].to_vec()
}

fn heard(snow: &mut snow::HandshakeState, message: &[u8]) -> Vec<u8> {
    let mut payload = [0; 512];
    let len = snow.read_message(message, &mut payload).unwrap();
    payload[..len].to_vec()
}

/// The symmetric state, its nonces, static keys and where a secret may stand.
#[test]
fn any_pattern_of_noise_is_spoken() {
    for (suite, cipher) in SUITES {
        for (name, pattern) in [("NN", NN), ("XN", XN), ("NX", NX), ("XX", XX)] {
            let messages = pattern.iter().filter(|tokens| !tokens.is_empty()).count();
            for place in 0..=messages {
                let name = format!("{name}psk{place}");
                let tokens = with_psk(pattern, place);
                for is_initiator in [true, false] {
                    let (psk, ours, theirs) = ([7; 32], random_key(), random_key());
                    let mut party = Party::new(&name, suite, is_initiator, psk, Key::new(*ours));
                    let [initiator, responder] = snow(&name, cipher, place as u8, &psk, &theirs);
                    let mut snow = if is_initiator { responder } else { initiator };
                    for number in 0..messages {
                        let payload = PAYLOADS[number];
                        if (number % 2 == 0) == is_initiator {
                            let message = party.write(&tokens[number], payload);
                            assert_eq!(heard(&mut snow, &message), payload, "{name}");
                        } else {
                            let message = said(&mut snow, payload);
                            assert_eq!(party.read(&tokens[number], &message), payload, "{name}");
                        }
                    }
                    assert!(snow.is_handshake_finished());
                    assert_eq!(snow.get_handshake_hash(), party.state.hash(), "{name}");
                    let public = public_of(&ours);
                    let seen = snow.get_remote_static();
                    assert!(seen.is_none_or(|seen| seen == public), "{name}");
                    let (one, other) = snow.dangerously_get_raw_split();
                    assert_eq!(party.state.split().map(|key| *key), [one, other], "{name}");
                }
            }
        }
    }
}

/// Ours, with the secret where we have it, in both roles.
#[test]
fn each_of_our_patterns_is_its_list_of_tokens() {
    for (suite, _) in SUITES {
        for (keys, name, tokens) in [
            (NOBODY, "NNpsk2", with_psk(NN, 2)),
            (NOBODY, "NNpsk2", with_pskee(NN)),
            (keys(false, true), "XNpsk2", with_psk(XN, 2)),
            (keys(true, false), "NXpskee", with_pskee(NX)),
            (keys(true, true), "XXpskee", with_pskee(XX)),
        ] {
            let own = trust(&[A]);
            let psk = *own.own().unwrap().psk();
            let theirs = random_key();
            let public = PublicKey::new(public_of(&theirs));
            let party =
                |is_initiator| Party::new(name, suite, is_initiator, psk, Key::new(*theirs));
            // Bob is ours.
            let mut alice = party(false);
            let (bob, first) = begin(suite, keys, &own, &own);
            assert_eq!(alice.read(&tokens[0], &first), b"");
            let second = alice.write(&tokens[1], b"who");
            let (session, payload) = bob.finish(&own, &second).ok().unwrap();
            assert_eq!(payload, b"who");
            if keys.bobs {
                assert_eq!(alice.read(&tokens[2], &session.first[PREFIX..]), b"");
                assert_eq!(alice.rs, Some(*key_of(&own).bytes()));
            }
            assert_eq!(session.proof.key, keys.alices.then_some(public));
            assert_eq!(session.proof.binding, alice.state.hash());
            // Alice is ours.
            let mut bob = party(true);
            let first = bob.write(&tokens[0], b"");
            let (second, joined) = joining(suite, keys, &own, &own)
                .answer(&first, b"who")
                .ok()
                .unwrap();
            assert_eq!(bob.read(&tokens[1], &second), b"who");
            let session = match joined {
                Joined::Whole(session) => session,
                Joined::Waits(waiting) => {
                    let third = bob.write(&tokens[2], b"");
                    let third = [&64_u16.to_be_bytes()[..], &third].concat();
                    waiting.finish(&third.try_into().unwrap()).ok().unwrap()
                }
            };
            assert_eq!(bob.rs, keys.alices.then(|| *key_of(&own).bytes()));
            assert_eq!(session.proof.key, keys.bobs.then_some(public));
            assert_eq!(session.proof.binding, bob.state.hash());
        }
    }
}

/// Somebody answers Alice who has not the secret, and goes by the pattern in all else: he knows what the two
/// have agreed on. Of hers he reads nothing. In Noise's own XXpsk2 he would read her key.
#[test]
fn an_impostor_does_not_see_her_key() {
    let own = trust(&[A]);
    for (suite, _) in SUITES {
        let impostor = || Party::new("XXpskee", suite, true, [9; 32], random_key());
        for tries_without in [false, true] {
            let mut bob = impostor();
            let first = bob.write(&[E], b"");
            let joining = joining(suite, keys(true, true), &own, &own);
            let (second, _) = joining.answer(&first, b"who").ok().unwrap();
            let public = key_of(&own);
            assert!(!second.windows(32).any(|part| part == public.bytes()));
            let (e, sealed) = second.split_first_chunk().unwrap();
            bob.state.mix_public(e);
            bob.re = Some(*e);
            bob.mix(Ee);
            if !tries_without {
                bob.mix(Psk);
            }
            assert!(bob.state.decrypt(&sealed[..SEALED]).is_err());
        }
        // That this can be seen: Alice as XXpsk2 has it.
        let mut alice = Party::new("XXpskee", suite, false, [7; 32], random_key());
        let mut bob = impostor();
        let first = bob.write(&[E], b"");
        alice.read(&[E], &first);
        let second = alice.write(&with_psk(XX, 2)[1], b"who");
        let (e, sealed) = second.split_first_chunk().unwrap();
        bob.state.mix_public(e);
        bob.re = Some(*e);
        bob.mix(Ee);
        let seen = bob.state.decrypt(&sealed[..SEALED]).unwrap();
        assert_eq!(seen, public_of(&alice.s));
    }
}

/// Those that are standard, with `snow` itself, and the records behind them.
#[test]
fn the_handshake_and_the_records_are_noise() {
    let own = trust(&[A]);
    let psk = own.own().unwrap().psk();
    for (suite, cipher) in SUITES {
        for (keys, name) in [(NOBODY, "NNpsk2"), (keys(false, true), "XNpsk2")] {
            let theirs = random_key();
            let public = PublicKey::new(public_of(&theirs));
            let [mut bob, mut alice] = snow(name, cipher, 2, &psk, &theirs);
            // Bob is snow.
            let first = said(&mut bob, b"");
            let (second, joined) = joining(suite, keys, &own, &own)
                .answer(&first, b"who")
                .ok()
                .unwrap();
            assert_eq!(heard(&mut bob, &second), b"who");
            let session = match joined {
                Joined::Whole(session) => session,
                Joined::Waits(waiting) => {
                    let third = [&64_u16.to_be_bytes()[..], &said(&mut bob, b"")].concat();
                    waiting.finish(&third.try_into().unwrap()).ok().unwrap()
                }
            };
            assert_eq!(session.proof.key, keys.bobs.then_some(public));
            agree_with(bob, session);
            // Alice is snow.
            let (bob, first) = begin(suite, keys, &own, &own);
            assert_eq!(heard(&mut alice, &first), b"");
            let (session, payload) = bob.finish(&own, &said(&mut alice, b"who")).ok().unwrap();
            assert_eq!(payload, b"who");
            if keys.bobs {
                assert_eq!(heard(&mut alice, &session.first[PREFIX..]), b"");
                assert_eq!(alice.get_remote_static(), Some(&key_of(&own).bytes()[..]));
            }
            agree_with(alice, session);
        }
    }
}

fn agree_with(snow: snow::HandshakeState, mut session: Session) {
    assert_eq!(snow.get_handshake_hash(), session.proof.binding);
    let mut snow = snow.into_transport_mode().unwrap();
    for text in ["one", "two", ""] {
        let mut noise = [0; 64];
        let len = snow.write_message(text.as_bytes(), &mut noise).unwrap();
        let mut record = [&(len as u16).to_be_bytes()[..], &noise[..len]].concat();
        assert_eq!(session.opener.open(&mut record), Ok(text.as_bytes()));

        let mut record = Vec::new();
        match text {
            "" => session.sealer.end(&mut record).unwrap(),
            _ => session
                .sealer
                .seal(text.as_bytes(), b"", &mut record)
                .unwrap(),
        }
        let len = snow.read_message(&record[2..], &mut noise).unwrap();
        assert_eq!(&noise[..len], text.as_bytes());
    }
}
